//! What carries bytes to one peer: a socket, or TLS over one.

use crate::io::Io;
use crate::opening::Opening;
use crate::tls::{HandshakeError, TlsStream};
use ::tls::{Connector, PeerName};
use state::Target;
use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// One peer's byte stream.
pub enum Transport {
    /// A plain socket.
    Plain(Io),
    /// TLS.
    Tls(Box<TlsStream>),
}

impl Transport {
    /// TLS to a server, over a socket whose connection may still be under way.
    pub fn to_server(
        io: Io,
        connector: &Connector,
        sni: Option<&str>,
        target: &Target,
    ) -> Result<Transport, HandshakeError> {
        let name = server_name(sni, target);
        TlsStream::connect(io, connector, &name).map(|tls| Transport::Tls(Box::new(tls)))
    }

    /// Has TLS begin on a plain connection whose bytes so far have all been read. An error means
    /// that the system has no descriptor left; the connection is as it was.
    pub fn begin_tls<E>(
        &mut self,
        begin: impl FnOnce(Io) -> Result<TlsStream, E>,
    ) -> io::Result<Result<(), E>> {
        let Transport::Plain(io) = self else {
            return Err(io::ErrorKind::AlreadyExists.into());
        };
        // Something must stand in its place while it changes hands.
        let placeholder = Io::new(UnixDatagram::unbound()?.into());
        let taken = std::mem::replace(io, placeholder);
        Ok(begin(taken).map(|tls| *self = Transport::Tls(Box::new(tls))))
    }

    /// What a handshake with a server agreed on.
    pub fn tls_info(&self) -> Option<Arc<rules::TlsInfo>> {
        match self {
            Transport::Plain(_) => None,
            Transport::Tls(tls) => tls.noted(),
        }
    }

    /// Ready when the connection is made, what must come first is said, and the TLS handshake is
    /// made.
    pub fn poll_established(
        &mut self,
        cx: &mut Context<'_>,
        opening: &mut Opening,
    ) -> Poll<io::Result<()>> {
        ready!(self.socket().poll_connected(cx))?;
        ready!(opening.poll(cx, self.socket()))?;
        match self {
            Transport::Plain(_) => Poll::Ready(Ok(())),
            Transport::Tls(tls) => tls.poll_handshake(cx, &mut None).map_err(io::Error::other),
        }
    }

    /// Reads what is there; 0 is the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Transport::Plain(io) => io.poll_read(cx, buf),
            Transport::Tls(tls) => tls.poll_read(cx, buf),
        }
    }

    /// Takes as much of the slices as there is room for. What was taken may still be on its way:
    /// see [`Transport::poll_flush`].
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Transport::Plain(io) => io.poll_write(cx, bufs),
            Transport::Tls(tls) => tls.poll_write(cx, bufs),
        }
    }

    /// Ready when all that was taken is with the kernel.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(_) => Poll::Ready(Ok(())),
            Transport::Tls(tls) => tls.poll_flush(cx),
        }
    }

    /// Ends our direction, after everything written.
    pub fn shutdown_write(&mut self) {
        match self {
            Transport::Plain(io) => io.shutdown_write(),
            Transport::Tls(tls) => tls.shutdown_write(),
        }
    }

    /// Ends it by a reset, and not by anything that the peer could take for a good end.
    pub fn close_at_once(&mut self) {
        match self {
            Transport::Plain(io) => io.close_at_once(),
            Transport::Tls(tls) => tls.close_at_once(),
        }
    }

    /// The same, unless the peer has said all itself.
    pub fn abandon(&mut self) {
        match self {
            Transport::Plain(io) => {
                io.abandon();
            }
            Transport::Tls(tls) => tls.abandon(),
        }
    }

    /// The socket itself when bytes may bypass us (no TLS between).
    pub fn plain(&self) -> Option<&Io> {
        match self {
            Transport::Plain(io) => Some(io),
            Transport::Tls(_) => None,
        }
    }

    /// The socket, for options and addresses.
    pub fn socket(&self) -> &Io {
        match self {
            Transport::Plain(io) => io,
            Transport::Tls(tls) => tls.socket(),
        }
    }

    /// See [`Io::is_quiet`]; bytes inside the TLS layer count as noise.
    pub fn is_quiet(&self) -> bool {
        match self {
            Transport::Plain(io) => io.is_quiet(),
            Transport::Tls(tls) => tls.is_quiet(),
        }
    }
}

/// What a server's certificate must be for.
pub fn server_name<'a>(sni: Option<&'a str>, target: &Target) -> PeerName<'a> {
    match (sni, target) {
        (Some(name), _) => PeerName::Name(name),
        (None, Target::Tcp { ip, .. }) => PeerName::Address(*ip),
        (None, _) => PeerName::Address(Ipv4Addr::LOCALHOST.into()),
    }
}
