//! What carries bytes to one peer: a socket, or TLS over one.

use crate::io::Io;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

/// One peer's byte stream.
pub enum Transport {
    /// A plain socket.
    Plain(Io),
}

impl Transport {
    /// Reads what is there; 0 is the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Transport::Plain(io) => io.poll_read(cx, buf),
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
        }
    }

    /// Ready when all that was taken is with the kernel.
    pub fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ends our direction, after everything written.
    pub fn shutdown_write(&mut self) {
        match self {
            Transport::Plain(io) => io.shutdown_write(),
        }
    }

    /// The socket itself when bytes may bypass us (no TLS between).
    pub fn plain(&self) -> Option<&Io> {
        match self {
            Transport::Plain(io) => Some(io),
        }
    }

    /// The socket, for options and addresses.
    pub fn socket(&self) -> &Io {
        match self {
            Transport::Plain(io) => io,
        }
    }

    /// See [`Io::is_quiet`]; bytes inside the TLS layer count as noise.
    pub fn is_quiet(&self, cx: &mut Context<'_>) -> bool {
        match self {
            Transport::Plain(io) => io.is_quiet(cx),
        }
    }
}
