//! What comes first on a connection to a server, before TLS and everything else: the way through a
//! SOCKS proxy, and the PROXY header.

use crate::io::Io;
use state::Target;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddrV4};
use std::task::{Context, Poll, ready};
use wire::socks;

/// It is worked off as the connection takes it; nothing is left when it is open.
#[derive(Default)]
pub struct Opening {
    /// The server is behind a proxy, which is asked to lead there.
    pub tunnel: Option<Tunnel>,
    /// Sent as it is.
    pub header: Vec<u8>,
}

impl Opening {
    /// Ready when all is said and answered.
    pub fn poll(&mut self, cx: &mut Context<'_>, io: &Io) -> Poll<io::Result<()>> {
        if let Some(tunnel) = &mut self.tunnel {
            ready!(tunnel.poll(cx, io))?;
            self.tunnel = None;
        }
        while !self.header.is_empty() {
            let n = ready!(io.poll_write(cx, &[IoSlice::new(&self.header)]))?;
            self.header.drain(..n);
        }
        Poll::Ready(Ok(()))
    }

    /// Why the proxy did not lead to the server, by its number in `rules::faults`, where this error is
    /// the proxy's: until it has answered, who resets a connection that was made is the proxy.
    pub fn fault(&self, error: &io::Error) -> Option<u8> {
        let tunnel = self.tunnel.as_ref()?;
        match was_made(error) {
            true => Some(rules::faults::SOCKS_ABORTED),
            false => tunnel.fault,
        }
    }
}

/// Whether the connection that failed so had been made before.
pub fn was_made(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(
        kind,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// A request to a SOCKS proxy, version 4, and its answer.
pub struct Tunnel {
    request: Vec<u8>,
    answer: [u8; socks::ANSWER],
    /// Bytes of the answer that are there.
    got: usize,
    fault: Option<u8>,
}

impl Tunnel {
    /// To a server whose address does not depend on clients; `None` where SOCKS 4 has no words for it.
    pub fn to(target: &Target) -> Option<Tunnel> {
        let address = target.socket(None)?;
        let IpAddr::V4(ip) = address.ip() else {
            return None;
        };
        let to = SocketAddrV4::new(ip, address.port());
        Some(Tunnel {
            request: socks::request(to, USER),
            answer: [0; socks::ANSWER],
            got: 0,
            fault: None,
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>, io: &Io) -> Poll<io::Result<()>> {
        while !self.request.is_empty() {
            let written = ready!(io.poll_write(cx, &[IoSlice::new(&self.request)]));
            self.fault = written.is_err().then_some(rules::faults::SOCKS_WRITE);
            self.request.drain(..written?);
        }
        // No byte more: what follows is the server's.
        while let Some(room) = self.answer.get_mut(self.got..).filter(|r| !r.is_empty()) {
            let read = ready!(io.poll_read(cx, room));
            match read {
                Ok(n) if n > 0 => self.got += n,
                read => {
                    self.fault = Some(rules::faults::SOCKS_READ);
                    return Poll::Ready(Err(read
                        .err()
                        .unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())));
                }
            }
        }
        if !socks::is_granted(self.answer) {
            self.fault = Some(rules::faults::SOCKS_DENIED);
            return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        Poll::Ready(Ok(()))
    }
}

/// On whose behalf proxies are asked.
const USER: &str = "Mulgil";
