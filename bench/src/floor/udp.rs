//! Datagrams there and back: one socket towards the server for each client, by which its answers are
//! known to be its own.
//!
//! Questions of many clients come with one call and their answers leave with one; each takes a `send`
//! to the server and a `recv` from there. With `--close` the client's session ends with its answer,
//! and the next new client takes its socket, so that none is made.

use super::batch::{Batch, MOST};
use crate::args::Args;
use crate::net::{self, Epoll};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const VALUED: &[&str] = &["--listen", "--to", "--seconds"];
const CLIENTS: u64 = u64::MAX;

/// `bench floor udp`.
pub fn run(words: &[String]) -> Result<(), String> {
    let args = Args::parse(words, VALUED, &["--close"])?;
    let (listen, to): (SocketAddr, SocketAddr) = (args.need("--listen")?, args.need("--to")?);
    let seconds = args.get("--seconds")?.unwrap_or(600);
    net::raise_descriptors(20_000);
    let relayed = Relay::new(listen, to, args.has("--close"))
        .and_then(|relay| relay.serve(Duration::from_secs(seconds)));
    relayed.map_err(|e| format!("floor on {listen}: {e}"))
}

/// The way of one client's datagrams to the server.
struct Session {
    socket: UdpSocket,
    client: libc::sockaddr_in,
}

struct Relay {
    to: SocketAddr,
    close: bool,
    clients: UdpSocket,
    epoll: Epoll,
    sessions: Vec<Session>,
    /// Sessions without a client.
    free: Vec<u32>,
    /// The session of each port of the one host that clients are on.
    by_port: Vec<Option<u32>>,
}

impl Relay {
    fn new(listen: SocketAddr, to: SocketAddr, close: bool) -> io::Result<Relay> {
        let clients = UdpSocket::bind(listen)?;
        let epoll = Epoll::new()?;
        epoll.add(clients.as_raw_fd(), CLIENTS, false)?;
        Ok(Relay {
            to,
            close,
            clients,
            epoll,
            sessions: Vec::new(),
            free: Vec::new(),
            by_port: vec![None; 1 << 16],
        })
    }

    fn serve(mut self, lifetime: Duration) -> io::Result<()> {
        let until = Instant::now() + lifetime;
        let (mut questions, mut answers) = (Batch::new(), Batch::new());
        let mut events = Vec::new();
        while Instant::now() < until {
            self.epoll.wait(&mut events, Duration::from_millis(500))?;
            let mut asked = false;
            for event in &events {
                match event.token {
                    CLIENTS => asked = true,
                    session => self.answer(session as u32, &mut answers)?,
                }
            }
            answers.send(self.clients.as_raw_fd());
            if asked {
                questions.receive(self.clients.as_raw_fd())?;
                self.ask(&questions)?;
            }
        }
        Ok(())
    }

    fn answer(&mut self, index: u32, answers: &mut Batch) -> io::Result<()> {
        let Some(session) = self.sessions.get(index as usize) else {
            return Ok(());
        };
        if answers.len() == MOST {
            answers.send(self.clients.as_raw_fd());
        }
        let come = answers.read(session.socket.as_raw_fd(), session.client)?;
        if come && self.close {
            if let Some(place) = self.by_port.get_mut(usize::from(session.client.sin_port)) {
                *place = None;
            }
            self.free.push(index);
        }
        Ok(())
    }

    fn ask(&mut self, questions: &Batch) -> io::Result<()> {
        for at in 0..questions.len() {
            let Some((bytes, client)) = questions.get(at) else {
                continue;
            };
            let known = self.by_port.get(usize::from(client.sin_port));
            let index = match known.copied().flatten() {
                Some(index) => index,
                None => self.begin(*client)?,
            };
            if let Some(session) = self.sessions.get(index as usize) {
                // What there is no room for is lost.
                net::send(session.socket.as_raw_fd(), bytes)?;
            }
        }
        Ok(())
    }

    /// A session for a client that has none.
    fn begin(&mut self, client: libc::sockaddr_in) -> io::Result<u32> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                socket.connect(self.to)?;
                let index = self.sessions.len() as u32;
                self.epoll
                    .add(socket.as_raw_fd(), u64::from(index), false)?;
                self.sessions.push(Session { socket, client });
                index
            }
        };
        if let Some(session) = self.sessions.get_mut(index as usize) {
            session.client = client;
        }
        if let Some(place) = self.by_port.get_mut(usize::from(client.sin_port)) {
            *place = Some(index);
        }
        Ok(index)
    }
}
