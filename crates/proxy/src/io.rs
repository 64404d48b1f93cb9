//! A stream socket, registered edge-triggered with the worker's reactor when it is first waited for.
//!
//! Reads and writes are attempted at once; only a refusal waits, and only a wait needs the
//! reactor: a connection whose request is there when it is accepted, and whose answer the socket
//! takes, never is registered. A read that gives less than was asked for means that the socket is
//! drained, which saves the call that would say so.

use crate::reactor::{Ready, Registration};
use std::cell::{Cell, OnceCell};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll, ready};

/// One connected stream socket, TCP or UNIX.
pub struct Io {
    registration: OnceCell<Registration>,
    fd: OwnedFd,
    /// Before it was registered a read has taken all there was.
    drained: Cell<bool>,
    /// The peer may mark bytes as urgent: a read ends before such a mark, so that a short one does
    /// not mean that there is no more.
    urgent: Cell<bool>,
    /// Our direction ends right behind what is written now.
    ending: Cell<bool>,
}

impl Io {
    /// Takes a socket that is already non-blocking.
    pub fn new(fd: OwnedFd) -> Io {
        Io {
            registration: OnceCell::new(),
            fd,
            drained: Cell::new(false),
            urgent: Cell::new(false),
            ending: Cell::new(false),
        }
    }

    /// Says that our direction ends right behind what is written next, by a shutdown or by closing:
    /// the last bytes may wait for that, so that both leave in one packet. Should the end not follow
    /// at once, the system sends them after a fifth of a second. Not for a connection that is to be
    /// reset, which would take them away.
    pub fn end_follows(&self) {
        self.ending.set(true);
    }

    /// Whether the peer has ended its direction and all that it said has been read, as far as is known
    /// without asking.
    pub fn is_at_end(&self) -> bool {
        self.registration.get().is_some_and(|registration| {
            let ready = registration.ready();
            ready.is_read_closed() && !ready.is_readable() && !ready.is_failed()
        })
    }

    /// Takes bytes that the peer marks as urgent in their order, like all others.
    pub fn take_urgent(&self) {
        self.urgent.set(true);
        crate::socket::urgent_inline(self.raw());
    }

    /// The descriptor, for socket options.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The registration, made now if there is none. Must be called inside the worker's runtime.
    fn registered(&self) -> io::Result<&Registration> {
        if let Some(registration) = self.registration.get() {
            return Ok(registration);
        }
        let made = Registration::new(self.raw())?;
        Ok(self.registration.get_or_init(|| made))
    }

    /// The same for a socket that has just been found full, or not yet connected.
    fn registered_full(&self) -> io::Result<&Registration> {
        if let Some(registration) = self.registration.get() {
            return Ok(registration);
        }
        let made = Registration::full(self.raw())?;
        Ok(self.registration.get_or_init(|| made))
    }

    /// Reads what is there, up to the buffer's length; 0 is the peer's end of stream.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        // What comes between such a read and the registration makes the reactor's first event.
        if self.registration.get().is_none() && !self.drained.get() {
            match self.read_unwatched(buf) {
                Err(e) if is_wait(&e) => {}
                read => return Poll::Ready(read),
            }
        }
        let registration = self.registered()?;
        loop {
            ready!(registration.poll_ready(cx, Ready::FOR_READING));
            match outcome(call::recv(self.raw(), buf, 0)) {
                Ok(n) => {
                    let urgent = self.urgent.get() || registration.ready().is_urgent();
                    if n > 0 && n < buf.len() && !urgent {
                        registration.read_all();
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => registration.read_all(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    fn read_unwatched(&self, buf: &mut [u8]) -> io::Result<usize> {
        let n = outcome(call::recv(self.raw(), buf, 0))?;
        let all = n > 0 && n < buf.len() && !self.urgent.get();
        self.drained.set(all);
        Ok(n)
    }

    /// Reads what is there on a connection that was not waited for yet; 0 where that is nothing, or the
    /// end, which the next read finds again.
    pub fn read_at_once(&self, buf: &mut [u8]) -> io::Result<usize> {
        if self.registration.get().is_some() || self.drained.get() {
            return Ok(0);
        }
        match self.read_unwatched(buf) {
            Err(e) if is_wait(&e) => {
                self.drained.set(e.kind() == io::ErrorKind::WouldBlock);
                Ok(0)
            }
            read => read,
        }
    }

    /// Looks at what is there without taking it. `seen` bytes are known already: ready only when
    /// there are more, or the end.
    pub fn poll_peek(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        seen: usize,
    ) -> Poll<io::Result<usize>> {
        let registration = self.registered()?;
        loop {
            let ready = ready!(registration.poll_ready(cx, Ready::FOR_READING));
            let closed = ready.is_read_closed();
            match outcome(call::recv(self.raw(), buf, libc::MSG_PEEK)) {
                Ok(n) if n == seen && n > 0 && !closed => registration.read_all(),
                // The end has come, and nothing before it.
                Ok(n) if n == seen => return Poll::Ready(Ok(0)),
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => registration.read_all(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Writes as much as the socket takes now; nobody is woken when it takes more.
    pub fn write_now(&self, bytes: &[u8]) -> usize {
        outcome(call::send(self.raw(), bytes, libc::MSG_NOSIGNAL)).unwrap_or(0)
    }

    /// Writes as much of the slices as the socket takes now.
    pub fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let more = match self.ending.get() {
            true => libc::MSG_MORE,
            false => 0,
        };
        let attempt = || {
            let flags = libc::MSG_NOSIGNAL | more;
            outcome(match bufs {
                [one] => call::send(self.raw(), one, flags),
                several => call::send_all(self.raw(), several, flags),
            })
        };
        if self.registration.get().is_none() {
            match attempt() {
                Err(e) if is_wait(&e) => {}
                other => return Poll::Ready(other),
            }
        }
        let registration = self.registered_full()?;
        loop {
            ready!(registration.poll_ready(cx, Ready::FOR_WRITING));
            match attempt() {
                Ok(n) => {
                    if n < bufs.iter().map(|b| b.len()).sum() {
                        registration.filled(self.raw())?;
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    registration.filled(self.raw())?
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
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
        let registration = self.registered()?;
        loop {
            ready!(registration.poll_ready(cx, Ready::FOR_READING));
            match splice(self.raw(), pipe, len) {
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => registration.read_all(),
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
        let registration = self.registered()?;
        loop {
            ready!(registration.poll_ready(cx, Ready::FOR_WRITING));
            match splice(pipe, self.raw(), len) {
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    registration.filled(self.raw())?
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Waits until a `connect` in progress has ended, and says how.
    pub fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.registration.get().is_none() {
            match call::poll_out(self.raw()) {
                0 => {}
                libc::POLLOUT => return Poll::Ready(Ok(())),
                _ => return Poll::Ready(self.connect_error()),
            }
        }
        let ready = ready!(self.registered_full()?.poll_ready(cx, Ready::FOR_WRITING));
        // A connection that failed is reported as failed together with being writable.
        if !ready.is_failed() {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.connect_error())
    }

    fn connect_error(&self) -> io::Result<()> {
        match socket_error(self.raw()) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn peek(&self) -> io::Result<usize> {
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        outcome(call::recv(self.raw(), &mut [0], flags))
    }

    /// Whether bytes of the peer's wait to be read, as far as is known; `ask`s the system about a
    /// connection that the reactor does not watch.
    pub fn holds_bytes(&self, ask: bool) -> bool {
        match self.registration.get() {
            Some(registration) => registration.ready().is_readable(),
            None => ask && self.peek().is_ok_and(|n| n > 0),
        }
    }

    /// Whether nothing has happened on an idle connection since it was last drained: no byte,
    /// no end of stream, no error. Costs no system call, unless the last read or splice took
    /// exactly what it asked for; an event that the reactor has not collected yet is not seen.
    pub fn is_quiet(&self) -> bool {
        let drained = || {
            let peeked = self.peek();
            peeked.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
        };
        let Some(registration) = self.registration.get() else {
            // From here on the reactor watches it.
            return drained() && self.registered().is_ok();
        };
        let ready = registration.ready();
        if ready.is_read_closed() || ready.is_failed() {
            return false;
        }
        if ready.is_readable() {
            if !drained() {
                return false;
            }
            registration.read_all();
        }
        true
    }

    /// Whether the connection is dead, or has been ended in both directions, or, where `on_close` says that
    /// this counts, the peer has ended its direction, as far as the reactor knows; the task is woken when it
    /// is. `watch` registers a socket that has not been waited for yet; without it nothing is known of
    /// such a one.
    pub fn poll_gone(&self, cx: &mut Context<'_>, on_close: bool, watch: bool) -> bool {
        let registration = match watch {
            true => self.registered().ok(),
            false => self.registration.get(),
        };
        let wanted = match on_close {
            true => Ready::HANGUP,
            false => Ready::FAILED,
        };
        registration.is_some_and(|r| r.poll_ready(cx, wanted).is_ready())
    }

    /// Whether the reactor tells of it.
    pub fn is_watched(&self) -> bool {
        self.registration.get().is_some()
    }

    /// Whether the connection is dead, or has been ended in both directions; the task is woken when it
    /// is, whatever else it waits for.
    pub fn poll_failed(&self, cx: &mut Context<'_>) -> bool {
        self.poll_gone(cx, false, true)
    }

    /// Closing will reset the connection instead of ending it in four packets and a minute of
    /// waiting. For connections on which both sides have said all they had to say.
    pub fn close_at_once(&self) {
        self.ending.set(false);
        crate::socket::close_at_once(self.raw());
    }

    /// The same where the peer would else take what it has heard for all, unless it has said all itself;
    /// whether that is so.
    pub fn abandon(&self) -> bool {
        let registration = self.registration.get();
        let resets = !registration.is_some_and(|r| r.ready().is_read_closed());
        if resets {
            self.close_at_once();
        }
        resets
    }

    /// Ends our direction of the stream; an error means that the peer is gone already.
    pub fn shutdown_write(&self) {
        self.ending.set(false);
        // SAFETY: plain call on an owned descriptor.
        unsafe { libc::shutdown(self.raw(), libc::SHUT_WR) };
    }
}

impl Drop for Io {
    /// Bytes that wait for the end leave with it. A close alone would throw them away where the peer has
    /// said something that nobody read.
    fn drop(&mut self) {
        if self.ending.get() {
            self.shutdown_write();
        }
    }
}

/// What a call that counts bytes came to.
fn outcome(n: i64) -> io::Result<usize> {
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Whether the call is to be made again, now or later.
fn is_wait(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// The calls that every request makes. The C library wraps them into points where a thread may
/// be cancelled, which costs more than what they do on our side; no thread is cancelled here.
mod call {
    use std::io::IoSlice;
    use std::os::fd::RawFd;
    use std::ptr::null_mut;

    pub fn recv(fd: RawFd, buf: &mut [u8], flags: i32) -> i64 {
        let (at, len) = (buf.as_mut_ptr(), buf.len());
        let none = null_mut::<u8>();
        // SAFETY: the pointer and length describe `buf`, which outlives the call; no address is
        // asked for.
        unsafe { libc::syscall(libc::SYS_recvfrom, fd, at, len, flags, none, none) }
    }

    pub fn send(fd: RawFd, buf: &[u8], flags: i32) -> i64 {
        let (at, len) = (buf.as_ptr(), buf.len());
        // SAFETY: the pointer and length describe `buf`, which outlives the call; no address is
        // given.
        unsafe { libc::syscall(libc::SYS_sendto, fd, at, len, flags, null_mut::<u8>(), 0) }
    }

    /// What `poll` says of writing, now: `POLLOUT`, errors, or nothing.
    pub fn poll_out(fd: RawFd) -> libc::c_short {
        let mut wanted = libc::pollfd {
            fd,
            events: libc::POLLOUT,
            revents: 0,
        };
        // SAFETY: one entry, and a count that says so; the call does not wait.
        unsafe { libc::poll(&raw mut wanted, 1, 0) };
        wanted.revents
    }

    pub fn send_all(fd: RawFd, bufs: &[IoSlice<'_>], flags: i32) -> i64 {
        // SAFETY: an all-zero msghdr is valid; `IoSlice` is ABI-compatible with iovec, and the
        // array outlives the call.
        unsafe {
            let mut msg: libc::msghdr = std::mem::zeroed();
            msg.msg_iov = bufs.as_ptr().cast_mut().cast();
            msg.msg_iovlen = bufs.len() as _;
            libc::syscall(libc::SYS_sendmsg, fd, &raw const msg, flags)
        }
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
