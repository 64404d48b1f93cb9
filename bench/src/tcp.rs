//! Bytes through a TCP proxy: this program is both the client and the server behind.
//!
//! The server writes from a static buffer as fast as it is taken; the client counts the bytes and
//! leaves them in the kernel. The CPU time is that of the watched proxy, for the whole transfer.

use crate::args::Args;
use crate::load::account;
use crate::net::{self, Epoll};
use crate::watch::Usage;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

const VALUED: &[&str] = &[
    "--to",
    "--listen",
    "--bytes",
    "--connections",
    "--seconds",
    "--watch",
];
const LISTENER: u64 = u64::MAX;
/// Set in the token of a server's connection.
const SERVER: u64 = 1 << 32;

/// `bench tcp`.
pub fn run(words: &[String]) -> Result<(), String> {
    let args = Args::parse(words, VALUED, &[])?;
    let to: SocketAddr = args.need("--to")?;
    let listen: SocketAddr = args.need("--listen")?;
    let bytes: u64 = args.get("--bytes")?.unwrap_or(1 << 30);
    let connections: usize = args.get("--connections")?.unwrap_or(4);
    let limit = Duration::from_secs(args.get("--seconds")?.unwrap_or(60));
    let watched: Vec<u32> = args.all("--watch")?;
    let before = Usage::of(&watched);
    let began = Instant::now();
    let received = transfer(to, listen, connections, bytes, began + limit)
        .map_err(|e| format!("tcp through {to}: {e}"))?;
    let elapsed = began.elapsed();
    let used = Usage::of(&watched).since(&before);
    println!("bytes={received}\nelapsed_ns={}", elapsed.as_nanos());
    print!("{}", account(&used));
    if received < bytes {
        return Err(format!("only {received} of {bytes} bytes came"));
    }
    Ok(())
}

/// Moves so many bytes over so many connections, and says how many have come.
fn transfer(
    to: SocketAddr,
    listen: SocketAddr,
    connections: usize,
    bytes: u64,
    until: Instant,
) -> std::io::Result<u64> {
    let listener = net::listen(listen)?;
    let mut epoll = Epoll::new()?;
    epoll.add(listener.as_raw_fd(), LISTENER, false)?;
    let clients: Vec<OwnedFd> = (0..connections)
        .map(|_| net::connect(to))
        .collect::<Result<_, _>>()?;
    for (index, client) in clients.iter().enumerate() {
        epoll.add(client.as_raw_fd(), index as u64, false)?;
    }
    let chunk = vec![b'a'; 256 * 1024];
    let mut servers: Vec<Option<OwnedFd>> = Vec::new();
    let mut events = Vec::new();
    let mut received = 0;
    while received < bytes && Instant::now() < until {
        epoll.wait(&mut events, Duration::from_millis(100))?;
        for event in &events {
            if event.token == LISTENER {
                while let Some(server) = net::accept(&listener) {
                    epoll.add(server.as_raw_fd(), SERVER | servers.len() as u64, true)?;
                    servers.push(Some(server));
                }
            } else if event.token & SERVER != 0 {
                let place = servers.get_mut((event.token & !SERVER) as usize);
                let Some(place) = place else { continue };
                // A connection that is not one of ours (a proxy's probe) may come and go.
                let gone = match place.as_ref().filter(|_| event.writable) {
                    Some(server) => net::send(server.as_raw_fd(), &chunk).is_err(),
                    None => false,
                };
                if gone {
                    *place = None;
                }
            } else if let Some(client) = clients.get(event.token as usize) {
                match net::discard(client.as_raw_fd(), 1 << 20)? {
                    Some(0) => return Ok(received),
                    count => received += count.unwrap_or(0) as u64,
                }
            }
        }
    }
    Ok(received)
}
