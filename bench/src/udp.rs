//! Datagrams through a proxy: this program is both the clients and the server behind.
//!
//! Each client has one datagram under way, and sends the next when it is answered; a new socket
//! for each with `--close`. The server sends back what it gets. What is lost is sent again.

use crate::args::Args;
use crate::load::account;
use crate::net::{self, Epoll};
use crate::watch::{self, Usage};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const VALUED: &[&str] = &[
    "--to",
    "--listen",
    "--length",
    "--connections",
    "--requests",
    "--seconds",
    "--watch",
];
const SERVER: u64 = u64::MAX;
/// A client that has waited for so long asks again.
const LOST: Duration = Duration::from_millis(200);

/// `bench udp`.
pub fn run(words: &[String]) -> Result<(), String> {
    let args = Args::parse(words, VALUED, &["--close"])?;
    let plan = Plan {
        to: args.need("--to")?,
        listen: args.need("--listen")?,
        length: args.get("--length")?.unwrap_or(64),
        clients: args.get("--connections")?.unwrap_or(64),
        requests: args.get("--requests")?.unwrap_or(u64::MAX),
        limit: Duration::from_secs(args.get("--seconds")?.unwrap_or(2)),
        close: args.has("--close"),
    };
    let watched: Vec<u32> = args.all("--watch")?;
    net::raise_descriptors(plan.clients as u64 + 100);
    let before = Usage::of(&watched);
    let began = Instant::now();
    let answered = plan
        .exchange(began)
        .map_err(|e| format!("udp through {}: {e}", plan.to))?;
    let elapsed = began.elapsed();
    let used = Usage::of(&watched).since(&before);
    println!("answered={answered}\nelapsed_ns={}", elapsed.as_nanos());
    println!("rss_kib={}", watch::rss_kib(&watched));
    print!("{}", account(&used));
    Ok(())
}

struct Plan {
    to: SocketAddr,
    listen: SocketAddr,
    length: usize,
    clients: usize,
    requests: u64,
    limit: Duration,
    close: bool,
}

struct Client {
    socket: UdpSocket,
    asked: Instant,
}

impl Plan {
    fn client(&self, epoll: &Epoll, index: usize) -> std::io::Result<Client> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(self.to)?;
        socket.set_nonblocking(true)?;
        epoll.add(socket.as_raw_fd(), index as u64, false)?;
        Ok(Client {
            socket,
            asked: Instant::now(),
        })
    }

    /// Asks and answers until enough is answered or the time is over; how many answers came.
    fn exchange(&self, began: Instant) -> std::io::Result<u64> {
        let server = UdpSocket::bind(self.listen)?;
        server.set_nonblocking(true)?;
        let mut epoll = Epoll::new()?;
        epoll.add(server.as_raw_fd(), SERVER, false)?;
        let question = vec![b'q'; self.length];
        let mut clients = Vec::with_capacity(self.clients);
        for index in 0..self.clients {
            let client = self.client(&epoll, index)?;
            client.socket.send(&question)?;
            clients.push(client);
        }
        let mut buffer = vec![0; 65536];
        let mut events = Vec::new();
        let mut answered = 0;
        let mut swept = began;
        while answered < self.requests && began.elapsed() < self.limit {
            epoll.wait(&mut events, Duration::from_millis(50))?;
            for event in &events {
                if event.token == SERVER {
                    while let Ok((n, from)) = server.recv_from(&mut buffer) {
                        let _ = server.send_to(&buffer[..n], from);
                    }
                    continue;
                }
                let index = event.token as usize;
                let Some(client) = clients.get_mut(index) else {
                    continue;
                };
                let Ok(n) = client.socket.recv(&mut buffer) else {
                    continue;
                };
                if n != self.length {
                    return Err(std::io::Error::other(format!("an answer of {n} bytes")));
                }
                answered += 1;
                if self.close {
                    *client = self.client(&epoll, index)?;
                }
                let _ = client.socket.send(&question);
                client.asked = Instant::now();
            }
            if swept.elapsed() > LOST {
                swept = Instant::now();
                for client in clients.iter_mut().filter(|c| c.asked.elapsed() > LOST) {
                    let _ = client.socket.send(&question);
                    client.asked = swept;
                }
            }
        }
        Ok(answered)
    }
}
