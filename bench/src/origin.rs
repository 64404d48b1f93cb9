//! A server that answers from static buffers.
//!
//! `/1k`, `/64k` and `/1m` give bodies of that length, everything else (health checks) an empty
//! one; the status is always 200. A request ends with its head.

use crate::args::Args;
use crate::net::{self, Epoll};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

const VALUED: &[&str] = &["--listen", "--seconds"];

/// `bench origin`.
pub fn run(words: &[String]) -> Result<(), String> {
    let args = Args::parse(words, VALUED, &[])?;
    let addr: SocketAddr = args.need("--listen")?;
    let seconds = args.get("--seconds")?.unwrap_or(600);
    net::raise_descriptors(60_000);
    serve(addr, Duration::from_secs(seconds)).map_err(|e| format!("origin on {addr}: {e}"))
}

/// Paths and the lengths of their bodies.
const BODIES: [(&[u8], usize); 3] = [(b"/1k", 1024), (b"/64k", 65536), (b"/1m", 1 << 20)];

/// Answers ready to send, keep-alive and close.
struct Answers(Vec<[Vec<u8>; 2]>);

impl Answers {
    fn new() -> Answers {
        let lengths = BODIES.iter().map(|(_, length)| *length).chain([0]);
        let answer = |length: usize, connection: &str| {
            let head = format!(
                "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\n\
                 Content-Length: {length}\r\n{connection}\r\n"
            );
            let mut bytes = head.into_bytes();
            bytes.resize(bytes.len() + length, b'a');
            bytes
        };
        Answers(
            lengths
                .map(|l| [answer(l, ""), answer(l, "Connection: close\r\n")])
                .collect(),
        )
    }

    fn of(&self, wanted: Wanted) -> &[u8] {
        let both = self.0.get(wanted.body);
        both.map_or(&[], |both| &both[usize::from(wanted.close)])
    }
}

/// What one request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// Index into the answers.
    body: usize,
    close: bool,
}

/// The first request in `bytes` and its length; `None` when it is not complete.
fn parse(bytes: &[u8]) -> Option<(Wanted, usize)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = &bytes[..end];
    let mut words = head.split(|b| *b == b' ' || *b == b'\r');
    let path = words.nth(1).unwrap_or_default();
    let old = words.next() == Some(b"HTTP/1.0");
    let body = BODIES.iter().position(|(known, _)| *known == path);
    let close = head
        .split(|b| *b == b'\n')
        .any(|line| line.len() >= 17 && line[..17].eq_ignore_ascii_case(b"connection: close"));
    let wanted = Wanted {
        body: body.unwrap_or(BODIES.len()),
        close: close || old,
    };
    Some((wanted, end))
}

struct Conn {
    fd: OwnedFd,
    /// A request that is not complete, or not yet answered.
    partial: Vec<u8>,
    /// An answer that the socket did not take whole, and how much it took.
    sending: Option<(Wanted, usize)>,
}

const LISTENER: u64 = u64::MAX;

fn serve(addr: SocketAddr, lifetime: Duration) -> std::io::Result<()> {
    let listener = net::listen(addr)?;
    let mut epoll = Epoll::new()?;
    epoll.add(listener.as_raw_fd(), LISTENER, false)?;
    let answers = Answers::new();
    let until = Instant::now() + lifetime;
    let mut scratch = vec![0; 64 * 1024];
    let mut events = Vec::new();
    let mut conns: Vec<Option<Conn>> = Vec::new();
    while Instant::now() < until {
        epoll.wait(&mut events, Duration::from_millis(500))?;
        for event in &events {
            if event.token == LISTENER {
                while let Some(fd) = net::accept(&listener) {
                    let index = fd.as_raw_fd() as usize;
                    if conns.len() <= index {
                        conns.resize_with(index + 1, || None);
                    }
                    epoll.add(fd.as_raw_fd(), index as u64, false)?;
                    conns[index] = Some(Conn {
                        fd,
                        partial: Vec::new(),
                        sending: None,
                    });
                }
                continue;
            }
            let Some(place) = conns.get_mut(event.token as usize) else {
                continue;
            };
            let Some(conn) = place else { continue };
            if progress(conn, &epoll, &answers, &mut scratch).is_none() {
                *place = None;
            }
        }
    }
    Ok(())
}

/// Answers what can be answered now; `None` when the connection is over.
fn progress(conn: &mut Conn, epoll: &Epoll, answers: &Answers, scratch: &mut [u8]) -> Option<()> {
    let fd = conn.fd.as_raw_fd();
    if let Some((wanted, done)) = conn.sending {
        let sent = net::send(fd, answers.of(wanted).get(done..)?).ok()?;
        conn.sending = after(fd, epoll, answers, wanted, done + sent.unwrap_or(0), true)?;
        if conn.sending.is_some() {
            return Some(());
        }
        let waiting = std::mem::take(&mut conn.partial);
        return answer(conn, epoll, answers, &waiting);
    }
    let count = match net::recv(fd, scratch).ok()? {
        None => return Some(()),
        Some(0) => return None,
        Some(count) => count,
    };
    if conn.partial.is_empty() {
        return answer(conn, epoll, answers, &scratch[..count]);
    }
    conn.partial.extend_from_slice(&scratch[..count]);
    let all = std::mem::take(&mut conn.partial);
    answer(conn, epoll, answers, &all)
}

/// Answers the requests in `bytes` one after the other; keeps what must wait.
fn answer(conn: &mut Conn, epoll: &Epoll, answers: &Answers, bytes: &[u8]) -> Option<()> {
    let fd = conn.fd.as_raw_fd();
    let mut rest = bytes;
    while conn.sending.is_none()
        && let Some((wanted, length)) = parse(rest)
    {
        rest = &rest[length..];
        let sent = net::send(fd, answers.of(wanted)).ok()?;
        conn.sending = after(fd, epoll, answers, wanted, sent.unwrap_or(0), false)?;
    }
    if !rest.is_empty() {
        conn.partial = rest.to_vec();
    }
    Some(())
}

/// What is still to be sent once `done` bytes of an answer are; `None` when the connection ends.
fn after(
    fd: RawFd,
    epoll: &Epoll,
    answers: &Answers,
    wanted: Wanted,
    done: usize,
    writing: bool,
) -> Option<Option<(Wanted, usize)>> {
    let complete = done == answers.of(wanted).len();
    if writing == complete {
        epoll.set_writing(fd, fd as u64, !complete).ok()?;
    }
    match (complete, wanted.close) {
        (true, true) => None,
        (true, false) => Some(None),
        (false, _) => Some(Some((wanted, done))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_its_path_and_connection() {
        let wanted = |text: &str| parse(text.as_bytes()).map(|(wanted, _)| wanted);
        let is = |body, close| Some(Wanted { body, close });
        assert_eq!(wanted("GET /1k HTTP/1.1\r\nHost: x\r\n\r\n"), is(0, false));
        assert_eq!(wanted("GET /1m HTTP/1.0\r\n\r\n"), is(2, true));
        assert_eq!(
            wanted("OPTIONS / HTTP/1.1\r\nconnection: Close\r\n\r\n"),
            is(3, true)
        );
        assert_eq!(wanted("GET /1k HTTP/1.1\r\nHost: x\r\n"), None);
        assert_eq!(wanted("\r\n\r\n"), is(3, false));
    }

    #[test]
    fn answers_have_the_length_they_claim() {
        let answers = Answers::new();
        for (index, length) in [(0, 1024), (1, 65536), (2, 1 << 20), (3, 0)] {
            for close in [false, true] {
                let bytes = answers.of(Wanted { body: index, close });
                let mut answer = crate::answer::Answer::default();
                assert_eq!(
                    answer.feed(bytes, Some(length)),
                    crate::answer::Fed::Complete
                );
            }
        }
    }
}
