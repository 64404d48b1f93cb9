//! A client that speaks HTTP/1.1 as it is told to.

use crate::PATIENCE;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One end of a connection, with exact bytes.
pub struct Client {
    /// The socket.
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to a port of the loopback.
    pub fn connect(port: u16) -> Client {
        Client::connect_to(([127, 0, 0, 1], port).into())
    }

    /// Connects to a port of the loopback from an address of it.
    pub fn connect_from(source: [u8; 4], port: u16) -> Client {
        let kind = (socket2::Domain::IPV4, socket2::Type::STREAM);
        let socket = socket2::Socket::new(kind.0, kind.1, None).expect("a socket");
        let from = SocketAddr::from((source, 0));
        socket.bind(&from.into()).expect("an address");
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        socket.connect(&to.into()).expect("it listens");
        Client::of(socket.into())
    }

    /// Connects to an address.
    pub fn connect_to(addr: SocketAddr) -> Client {
        Client::of(TcpStream::connect(addr).expect("it listens"))
    }

    /// On a connection that is there already.
    pub fn of(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Client {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    fn more(&mut self) -> bool {
        let mut chunk = [0; 65536];
        match self.stream.read(&mut chunk) {
            Ok(n) if n > 0 => {
                self.buffer.extend_from_slice(&chunk[..n]);
                true
            }
            _ => false,
        }
    }

    fn take_head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.more() {
                return None;
            }
        }
    }

    fn take(&mut self, n: usize) -> String {
        while self.buffer.len() < n && self.more() {}
        let n = n.min(self.buffer.len());
        let body: Vec<u8> = self.buffer.drain(..n).collect();
        String::from_utf8_lossy(&body).into_owned()
    }

    fn body(&mut self, head: &str, until_close: bool) -> String {
        let field = |name: &str| {
            head.lines().find_map(|l| {
                let (n, v) = l.split_once(':')?;
                n.eq_ignore_ascii_case(name).then(|| v.trim().to_string())
            })
        };
        if field("transfer-encoding").is_some() {
            while !self.buffer.ends_with(b"\r\n\r\n") && self.more() {}
            let all = self.buffer.len();
            return self.take(all);
        }
        match field("content-length").and_then(|n| n.parse().ok()) {
            Some(n) => self.take(n),
            None if until_close => {
                while self.more() {}
                let all = self.buffer.len();
                self.take(all)
            }
            None => String::new(),
        }
    }

    /// The next request, head and body; `None` when the peer is gone.
    pub fn request(&mut self) -> Option<String> {
        let head = self.take_head()?;
        let body = self.body(&head, false);
        Some(head + &body)
    }

    /// The next response; empty when there is none.
    pub fn response(&mut self) -> Response {
        let head = self.take_head().unwrap_or_default();
        let bodyless = head.contains(" 204 ") || head.contains(" 304 ") || head.contains(" 1");
        let status: u16 = head.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0);
        let none = bodyless && (status < 200 || status == 204 || status == 304);
        let body = if none || head.is_empty() {
            String::new()
        } else {
            self.body(&head, true)
        };
        Response { status, head, body }
    }

    /// Sends a request and reads its response.
    pub fn ask(&mut self, request: &str) -> Response {
        self.send(request);
        self.response()
    }

    /// Whether the peer closes now, with nothing more to say.
    pub fn closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more() && self.buffer.is_empty()
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status; 0 when there was no response.
    pub status: u16,
    /// Its head as it came.
    pub head: String,
    /// Its body as it came.
    pub body: String,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|l| {
            let (n, v) = l.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| v.trim().to_string())
        })
    }
}

/// `GET` of a path on a connection of its own.
pub fn get(port: u16, path: &str) -> Response {
    let mut client = Client::connect(port);
    client.ask(&format!(
        "GET {path} HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n"
    ))
}
