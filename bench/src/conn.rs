//! One connection of the load generator: it sends the same request and checks the answer.

use crate::answer::{Answer, Fed};
use crate::net;
use crate::tls;
use rustls::client::ClientConnection;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// What every request of a load has in common.
pub struct Shared {
    /// Where to.
    pub to: SocketAddr,
    /// The request's bytes.
    pub request: Vec<u8>,
    /// The length its answer's body must have.
    pub length: Option<u64>,
    /// How TLS is spoken, if it is.
    pub tls: Option<tls::Client>,
    /// What every read goes into.
    pub scratch: Vec<u8>,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It waits for the peer.
    Wait,
    /// It waits for room to write.
    Full,
    /// The answer is there.
    Answered,
    /// The peer has closed, after an answer or before a request.
    Closed,
    /// The answer is not what was wanted, or there will be none.
    Failed,
}

/// A connection.
pub struct Conn {
    fd: OwnedFd,
    tls: Option<Box<ClientConnection>>,
    /// Bytes of the request that have been sent.
    sent: usize,
    answer: Answer,
    /// Whether a request waits for its answer.
    asked: bool,
}

/// Any error of a connection is the same to us: the request failed.
struct Lost;

impl From<io::Error> for Lost {
    fn from(_: io::Error) -> Lost {
        Lost
    }
}

impl From<rustls::Error> for Lost {
    fn from(_: rustls::Error) -> Lost {
        Lost
    }
}

impl Conn {
    /// Starts a connection, with its first request.
    pub fn open(shared: &Shared) -> io::Result<Conn> {
        let tls = shared.tls.as_ref().map(tls::Client::open).transpose();
        Ok(Conn {
            fd: net::connect(shared.to)?,
            tls: tls.map_err(io::Error::other)?,
            sent: 0,
            answer: Answer::default(),
            asked: false,
        })
    }

    /// The descriptor.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Sends the request.
    pub fn ask(&mut self, shared: &Shared) -> Step {
        self.sent = 0;
        self.answer.reset();
        self.asked = true;
        if let Some(tls) = &mut self.tls {
            // Kept by the TLS layer until the handshake is over.
            if tls.writer().write_all(&shared.request).is_err() {
                return Step::Failed;
            }
            self.sent = shared.request.len();
        }
        self.write(shared)
    }

    /// Sends what is still to be sent.
    pub fn write(&mut self, shared: &Shared) -> Step {
        let written = match self.tls.is_some() {
            true => self.write_tls(),
            false => self.write_plain(shared),
        };
        match written {
            Ok(true) => Step::Wait,
            Ok(false) => Step::Full,
            Err(Lost) => Step::Failed,
        }
    }

    fn write_plain(&mut self, shared: &Shared) -> Result<bool, Lost> {
        while let Some(rest) = shared.request.get(self.sent..).filter(|r| !r.is_empty()) {
            match net::send(self.raw(), rest)? {
                Some(count) => self.sent += count,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn write_tls(&mut self) -> Result<bool, Lost> {
        let mut socket = Socket(self.fd.as_raw_fd());
        let Some(tls) = &mut self.tls else {
            return Ok(true);
        };
        while tls.wants_write() {
            match tls.write_tls(&mut socket) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }

    /// Receives what is there.
    pub fn read(&mut self, shared: &mut Shared) -> Step {
        let read = match self.tls.is_some() {
            true => self.read_tls(shared),
            false => self.read_plain(shared),
        };
        match read {
            Ok(Step::Answered) => {
                self.asked = false;
                Step::Answered
            }
            Ok(Step::Closed) if self.asked && self.answer.may_end() => {
                self.asked = false;
                Step::Answered
            }
            Ok(Step::Closed) if self.asked => Step::Failed,
            Ok(step) => step,
            Err(Lost) => Step::Failed,
        }
    }

    fn read_plain(&mut self, shared: &mut Shared) -> Result<Step, Lost> {
        let mut body = 0;
        loop {
            // What of a body cannot come with its head is not looked at.
            let room = shared.scratch.len();
            let count = if body > room as u64 {
                net::discard(self.raw(), usize::try_from(body).unwrap_or(usize::MAX))?
            } else {
                net::recv(self.raw(), &mut shared.scratch)?
            };
            let fed = match count {
                None => return Ok(Step::Wait),
                Some(0) => return Ok(Step::Closed),
                Some(_) if !self.asked => return Err(Lost),
                Some(count) if body > room as u64 => self.answer.skip(count),
                Some(count) => {
                    let bytes = shared.scratch.get(..count).unwrap_or_default();
                    self.answer.feed(bytes, shared.length)
                }
            };
            match fed {
                Fed::Complete => return Ok(Step::Answered),
                Fed::Wrong => return Err(Lost),
                Fed::Body(left) => body = left,
                Fed::Head | Fed::UntilClose => return Ok(Step::Wait),
            }
        }
    }

    fn read_tls(&mut self, shared: &mut Shared) -> Result<Step, Lost> {
        let mut socket = Socket(self.fd.as_raw_fd());
        let mut answered = false;
        loop {
            let Some(tls) = &mut self.tls else {
                return Err(Lost);
            };
            let ended = match tls.read_tls(&mut socket) {
                Ok(count) => count == 0,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e.into()),
            };
            tls.process_new_packets()?;
            loop {
                match tls.reader().read(&mut shared.scratch) {
                    Ok(0) => break,
                    Ok(_) if !self.asked || answered => return Err(Lost),
                    Ok(count) => {
                        let bytes = shared.scratch.get(..count).unwrap_or_default();
                        match self.answer.feed(bytes, shared.length) {
                            Fed::Complete => answered = true,
                            Fed::Wrong => return Err(Lost),
                            Fed::Head | Fed::Body(_) | Fed::UntilClose => {}
                        }
                    }
                    // Nothing (more) decrypted; or cut off, which `ended` says as well.
                    Err(_) => break,
                }
            }
            if ended {
                let step = if answered {
                    Step::Answered
                } else {
                    Step::Closed
                };
                return Ok(step);
            }
        }
        if !self.write_tls()? {
            return Ok(Step::Full);
        }
        Ok(if answered { Step::Answered } else { Step::Wait })
    }
}

/// The socket as the TLS layer wants it.
struct Socket(RawFd);

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        net::recv(self.0, into)?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        net::send(self.0, bytes)?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
