//! Where one data connection of a client is awaited.

use crate::listen;
use crate::socket;
use model::BindOptions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A listening socket.
pub struct Door {
    socket: AsyncFd<OwnedFd>,
    /// Its port.
    pub port: u16,
}

impl Door {
    /// Listens on an address of ours, on one of these ports where they are given: the first that is
    /// free from a place on that `chance` gives, so that it cannot be told beforehand (RFC 2577
    /// section 8).
    pub fn open(
        ip: IpAddr,
        ports: Option<(u16, u16)>,
        chance: u64,
        options: &BindOptions,
    ) -> io::Result<Door> {
        let (first, last) = ports.unwrap_or((0, 0));
        let count = u64::from(last.saturating_sub(first)) + 1;
        let mut error = io::ErrorKind::AddrInUse.into();
        for step in 0..count {
            let offset = ((chance % count) + step) % count;
            let port = first.saturating_add(offset as u16);
            match socket::listen_beside(SocketAddr::new(ip, port), options) {
                Ok(fd) => return Door::of(fd),
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => error = e,
                Err(e) => return Err(e),
            }
        }
        Err(error)
    }

    fn of(fd: OwnedFd) -> io::Result<Door> {
        let address = socket::local_address(fd.as_raw_fd());
        let port = address.ok_or(io::ErrorKind::AddrNotAvailable)?.port();
        // SAFETY: the `OwnedFd` is open, and stays open and the same until the `AsyncFd` that owns
        // it is dropped: nothing takes it out.
        let socket = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Door { socket, port })
    }

    /// The first connection from this address; those from others are closed.
    pub fn poll_accept(&self, cx: &mut Context<'_>, from: IpAddr) -> Poll<io::Result<OwnedFd>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(cx))?;
            match guard.try_io(|fd| listen::accept_one(fd.as_raw_fd())) {
                Err(_would_block) => {}
                Ok(Ok((fd, Some(peer)))) if peer.ip().to_canonical() == from => {
                    return Poll::Ready(Ok(fd));
                }
                Ok(Ok(_)) => {}
                Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Ok(Err(e)) => return Poll::Ready(Err(e)),
            }
        }
    }
}
