//! The kernel's interfaces: epoll, sockets, limits. All that is `unsafe` is here, and in
//! `floor/batch.rs`.

use crate::args::Args;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Something happened on the connection of this token.
#[derive(Clone, Copy)]
pub struct Event {
    /// As given when it was added.
    pub token: u64,
    /// There may be room to write.
    pub writable: bool,
    /// The peer has ended its direction; known of what is watched edge-triggered.
    pub ended: bool,
}

/// An epoll instance, level-triggered unless said otherwise.
pub struct Epoll {
    fd: OwnedFd,
    raw: Vec<libc::epoll_event>,
}

impl Epoll {
    /// A new one, which reports up to 1024 events at a time.
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: plain call; the descriptor is ours alone when there is one.
        let fd = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let raw = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
        Ok(Epoll { fd, raw })
    }

    /// Watches a descriptor for reading, and for writing where asked. Closing it ends that.
    pub fn add(&self, fd: RawFd, token: u64, writing: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, writing)
    }

    /// Changes whether a descriptor is watched for writing.
    pub fn set_writing(&self, fd: RawFd, token: u64, writing: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, writing)
    }

    fn control(&self, what: i32, fd: RawFd, token: u64, writing: bool) -> io::Result<()> {
        let writing = if writing { libc::EPOLLOUT } else { 0 };
        self.watch(what, fd, token, libc::EPOLLIN | writing)
    }

    /// Watches a descriptor for what comes and its end, each told once, and for room to write where asked.
    pub fn add_edge(&self, fd: RawFd, token: u64, writing: bool) -> io::Result<()> {
        let writing = if writing { libc::EPOLLOUT } else { 0 };
        self.watch(libc::EPOLL_CTL_ADD, fd, token, EDGE | writing)
    }

    /// Has a descriptor that is watched so be watched for room to write, too.
    pub fn set_edge(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.watch(libc::EPOLL_CTL_MOD, fd, token, EDGE | libc::EPOLLOUT)
    }

    fn watch(&self, what: i32, fd: RawFd, token: u64, events: i32) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: token,
        };
        // SAFETY: the event outlives the call; a descriptor that is not open fails with EBADF.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), what, fd, &raw mut event) })
    }

    /// Waits for events, no longer than `patience`.
    pub fn wait(&mut self, events: &mut Vec<Event>, patience: Duration) -> io::Result<()> {
        events.clear();
        let millis = patience.as_millis().min(60_000) as i32;
        // SAFETY: pointer and length describe `raw`.
        let count = unsafe {
            let (to, room) = (self.raw.as_mut_ptr(), self.raw.len() as i32);
            libc::epoll_wait(self.fd.as_raw_fd(), to, room, millis)
        };
        let count = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => 0,
                e => return Err(e),
            },
        };
        events.extend(self.raw.iter().take(count).map(|e| Event {
            token: e.u64,
            writable: e.events & libc::EPOLLOUT as u32 != 0,
            ended: e.events & libc::EPOLLRDHUP as u32 != 0,
        }));
        Ok(())
    }
}

/// What comes and its end, edge-triggered.
const EDGE: i32 = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET;

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What a transfer came to, where "not now" is `None`.
fn moved(count: isize) -> io::Result<Option<usize>> {
    match usize::try_from(count) {
        Ok(count) => Ok(Some(count)),
        Err(_) => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // A connection still being made; the event that it is there will come.
            e if e.kind() == io::ErrorKind::NotConnected => Ok(None),
            e => Err(e),
        },
    }
}

/// Sends what the socket takes now; `None` is nothing.
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<Option<usize>> {
    // SAFETY: pointer and length describe `bytes`.
    moved(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) })
}

/// Receives what is there; `Some(0)` is the end, `None` nothing yet.
pub fn recv(fd: RawFd, into: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: pointer and length describe `into`.
    moved(unsafe { libc::recv(fd, into.as_mut_ptr().cast(), into.len(), 0) })
}

/// Takes up to `count` bytes off the socket without copying them (tcp(7), `MSG_TRUNC`).
pub fn discard(fd: RawFd, count: usize) -> io::Result<Option<usize>> {
    // SAFETY: with MSG_TRUNC the kernel writes nothing to the buffer of a TCP socket.
    moved(unsafe { libc::recv(fd, std::ptr::null_mut(), count, libc::MSG_TRUNC) })
}

/// A listening socket with a long queue.
pub fn listen(addr: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // What is accepted inherits it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(65535)?;
    Ok(socket)
}

/// The next connection that waits, non-blocking.
pub fn accept(listener: &Socket) -> Option<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null means that the peer's address is not wanted; the descriptor, when there is one,
    // is ours alone.
    unsafe {
        let fd = libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            flags,
        );
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    }
}

/// Starts a connection.
pub fn connect(addr: SocketAddr) -> io::Result<OwnedFd> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&addr.into()) {
        Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
        _ => Ok(socket.into()),
    }
}

/// Takes a socket's connection away, so that it can make another; whether that is so, which takes that
/// all it had to say, its end included, was acknowledged.
pub fn disconnect(socket: &Socket) -> io::Result<bool> {
    let mut unacknowledged: libc::c_int = 0;
    // SAFETY: the integer outlives the call (SIOCOUTQ of tcp(7) is TIOCOUTQ).
    check(unsafe {
        let to = &raw mut unacknowledged;
        libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, to)
    })?;
    if unacknowledged > 0 {
        return Ok(false);
    }
    // SAFETY: an all-zero address is one of no family (AF_UNSPEC); it outlives the call.
    check(unsafe {
        let nowhere: libc::sockaddr = std::mem::zeroed();
        let length = size_of::<libc::sockaddr>() as libc::socklen_t;
        libc::connect(socket.as_raw_fd(), &raw const nowhere, length)
    })?;
    Ok(true)
}

/// Raises the limit of open descriptors to `wanted`, where the system lets us.
pub fn raise_descriptors(wanted: u64) {
    // SAFETY: the structure outlives both calls.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < wanted {
            limit.rlim_max = limit.rlim_max.max(wanted);
            limit.rlim_cur = wanted;
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
                // Without the right to raise the hard limit: as far as that.
                libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
            }
        }
    }
}

/// `bench awake`: spins in the idle class, so that its core never sleeps and nobody waits for it.
pub fn awake(words: &[String]) -> Result<(), String> {
    let args = Args::parse(words, &["--seconds"], &[])?;
    let until = Instant::now() + Duration::from_secs(args.get("--seconds")?.unwrap_or(600));
    // SAFETY: the structure outlives the call.
    let set = unsafe {
        let param: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const param)
    };
    check(set).map_err(|e| format!("cannot enter the idle class: {e}"))?;
    while Instant::now() < until {
        for _ in 0..10_000 {
            std::hint::spin_loop();
        }
    }
    Ok(())
}
