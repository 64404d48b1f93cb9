//! A stream socket registered once, edge-triggered, with the worker's reactor.
//!
//! Reads and writes are attempted at once; only a refusal waits. A read that gives less than
//! was asked for means that the socket is drained, which saves the call that would say so.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How a peer has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// It has ended its direction.
    Closed,
    /// The connection is dead.
    Failed,
}

/// One connected stream socket, TCP or UNIX.
pub struct Io {
    fd: AsyncFd<OwnedFd>,
}

impl Io {
    /// Registers a socket that is already non-blocking. Must be called inside the worker's runtime.
    pub fn new(fd: OwnedFd) -> io::Result<Io> {
        // SAFETY: the `OwnedFd` is open, and stays open and the same until the `AsyncFd` that owns
        // it is dropped: nothing takes it out.
        let fd = unsafe {
            AsyncFd::register_with_interest(fd, Interest::READABLE | Interest::WRITABLE)
        }?;
        Ok(Io { fd })
    }

    /// The descriptor, for socket options.
    pub fn raw(&self) -> RawFd {
        self.fd.get_ref().as_raw_fd()
    }

    /// Reads what is there, up to the buffer's length; 0 is the peer's end of stream.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            // SAFETY: the pointer and length describe `buf`, which outlives the call.
            let n = unsafe { libc::recv(self.raw(), buf.as_mut_ptr().cast(), buf.len(), 0) };
            if let Ok(n) = usize::try_from(n) {
                if n > 0 && n < buf.len() {
                    guard.clear_ready();
                }
                return Poll::Ready(Ok(n));
            }
            match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Writes as much of the slices as the socket takes now.
    pub fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            let flags = libc::MSG_NOSIGNAL;
            let n = if let [one] = bufs {
                // SAFETY: the pointer and length describe `one`, which outlives the call.
                unsafe { libc::send(self.raw(), one.as_ptr().cast(), one.len(), flags) }
            } else {
                // SAFETY: an all-zero msghdr is valid; `IoSlice` is ABI-compatible with iovec, and
                // the array outlives the call.
                unsafe {
                    let mut msg: libc::msghdr = std::mem::zeroed();
                    msg.msg_iov = bufs.as_ptr().cast_mut().cast();
                    msg.msg_iovlen = bufs.len() as _;
                    libc::sendmsg(self.raw(), &msg, flags)
                }
            };
            if let Ok(n) = usize::try_from(n) {
                let wanted: usize = bufs.iter().map(|b| b.len()).sum();
                if n < wanted {
                    guard.clear_ready();
                }
                return Poll::Ready(Ok(n));
            }
            match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Moves up to `len` bytes from this socket into a pipe; 0 is the end of stream.
    pub fn poll_splice_in(
        &self,
        cx: &mut Context<'_>,
        pipe: RawFd,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            match splice(self.raw(), pipe, len) {
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Moves up to `len` bytes from a pipe that holds them into this socket.
    pub fn poll_splice_out(
        &self,
        cx: &mut Context<'_>,
        pipe: RawFd,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            match splice(pipe, self.raw(), len) {
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Waits until a `connect` in progress has ended, and says how.
    pub fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _guard = ready!(self.fd.poll_write_ready(cx))?;
        Poll::Ready(match socket_error(self.raw()) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        })
    }

    /// Whether nothing has happened on an idle connection since it was last drained: no byte,
    /// no end of stream, no error. Costs no system call; an event that the reactor has not
    /// collected yet is not seen.
    pub fn is_quiet(&self, cx: &mut Context<'_>) -> bool {
        matches!(self.fd.poll_read_ready(cx), Poll::Pending)
    }

    /// Whether the peer has ended its direction or the connection has failed, as far as the
    /// reactor knows; the task is woken when something new happens.
    pub fn poll_hangup(&self, cx: &mut Context<'_>) -> Option<Hangup> {
        match self.fd.poll_read_ready(cx) {
            Poll::Pending => None,
            Poll::Ready(Err(_)) => Some(Hangup::Failed),
            Poll::Ready(Ok(guard)) => {
                let ready = guard.ready();
                if ready.is_write_closed() || ready.is_error() {
                    Some(Hangup::Failed)
                } else if ready.is_read_closed() {
                    Some(Hangup::Closed)
                } else {
                    None
                }
            }
        }
    }

    /// Closing will reset the connection instead of ending it in four packets and a minute of
    /// waiting. For connections on which both sides have said all they had to say.
    pub fn close_at_once(&self) {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: value and length describe `linger`.
        unsafe {
            libc::setsockopt(
                self.raw(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            )
        };
    }

    /// Ends our direction of the stream; an error means that the peer is gone already.
    pub fn shutdown_write(&self) {
        // SAFETY: plain call on an owned descriptor.
        unsafe { libc::shutdown(self.raw(), libc::SHUT_WR) };
    }
}

fn splice(from: RawFd, to: RawFd, len: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: null offsets are allowed for pipes and sockets.
    let n = unsafe {
        libc::splice(
            from,
            std::ptr::null_mut(),
            to,
            std::ptr::null_mut(),
            len,
            flags,
        )
    };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// `SO_ERROR`, which is cleared by reading it.
fn socket_error(fd: RawFd) -> i32 {
    let mut errno: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: value and length describe `errno`.
    let rc = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut errno).cast(),
            &raw mut len,
        )
    };
    if rc == 0 { errno } else { libc::EBADF }
}

/// A kernel pipe through which bodies pass without being copied.
pub struct Pipe {
    /// Read end.
    pub out: OwnedFd,
    /// Write end.
    pub into: OwnedFd,
    /// Bytes inside.
    pub held: usize,
}

impl Pipe {
    /// A new, empty, non-blocking pipe of the size that one scratch buffer has.
    pub fn new() -> io::Result<Pipe> {
        let mut fds = [0; 2];
        // SAFETY: `fds` has room for the two descriptors, which are owned from here on.
        unsafe {
            if libc::pipe2(fds.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) != 0 {
                return Err(io::Error::last_os_error());
            }
            let pipe = Pipe {
                out: OwnedFd::from_raw_fd(fds[0]),
                into: OwnedFd::from_raw_fd(fds[1]),
                held: 0,
            };
            // A larger pipe is a gain, not a need: an unprivileged limit may refuse it.
            libc::fcntl(fds[1], libc::F_SETPIPE_SZ, PIPE_SIZE as libc::c_int);
            Ok(pipe)
        }
    }
}

/// What one splice may move at most, bytes.
pub const PIPE_SIZE: usize = 256 * 1024;
