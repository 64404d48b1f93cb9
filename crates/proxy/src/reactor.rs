//! Which of a worker's connections can be read or written: an epoll instance of its own, and a slot
//! of a few words for each socket that was ever waited for.
//!
//! The runtime watches this instance as it would watch one socket. Its own registrations take ten
//! times the memory and a system call each to undo, because they may be used by any thread and for
//! descriptors that are not closed; a connection belongs to one worker and one task, and closing it
//! ends its registration.

use std::cell::{OnceCell, RefCell};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What is known of a socket, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready(u8);

impl Ready {
    const READ: Ready = Ready(1);
    const WRITE: Ready = Ready(2);
    const READ_CLOSED: Ready = Ready(4);
    /// The connection is dead.
    pub const FAILED: Ready = Ready(8);
    const URGENT: Ready = Ready(16);
    /// A read gives bytes, the end or an error.
    pub const FOR_READING: Ready = Ready(1 | 4 | 8);
    /// The peer has ended its direction, or the connection is dead.
    pub const HANGUP: Ready = Ready(4 | 8);
    /// A write gives bytes away or an error.
    pub const FOR_WRITING: Ready = Ready(2 | 8);

    /// There may be bytes.
    pub fn is_readable(self) -> bool {
        self.has(Ready::READ)
    }

    /// The peer has ended its direction.
    pub fn is_read_closed(self) -> bool {
        self.has(Ready::READ_CLOSED)
    }

    /// The peer has marked bytes as urgent: a read ends there, so that a short one does not mean
    /// that there is no more.
    pub fn is_urgent(self) -> bool {
        self.has(Ready::URGENT)
    }

    /// The connection is dead.
    pub fn is_failed(self) -> bool {
        self.has(Ready::FAILED)
    }

    fn has(self, any: Ready) -> bool {
        self.0 & any.0 != 0
    }

    fn of(events: u32) -> Ready {
        let when = |flags: i32, ready: Ready| {
            if events & flags as u32 != 0 {
                ready.0
            } else {
                0
            }
        };
        Ready(
            when(libc::EPOLLIN, Ready::READ)
                | when(libc::EPOLLOUT, Ready::WRITE)
                | when(libc::EPOLLRDHUP | libc::EPOLLHUP, Ready::READ_CLOSED)
                | when(libc::EPOLLHUP | libc::EPOLLERR, Ready::FAILED)
                | when(libc::EPOLLPRI, Ready::URGENT),
        )
    }
}

#[derive(Default)]
struct Slot {
    /// Who waits, for any of `wanted`.
    waker: Option<Waker>,
    /// Tells a socket's events from those of the one that had the slot before it.
    generation: u32,
    ready: Ready,
    wanted: Ready,
    /// The system tells of it again and again, until all is read.
    repeated: bool,
    /// Room to write is watched for.
    room: bool,
}

#[derive(Default)]
struct Slots {
    all: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Reactor {
    epoll: OnceCell<OwnedFd>,
    slots: RefCell<Slots>,
}

thread_local! {
    static REACTOR: Reactor = Reactor::default();
}

/// Makes this thread's reactor. Sockets can be watched once [`drive`] runs as a task of the thread.
pub fn start() -> io::Result<()> {
    // SAFETY: the new descriptor, when there is one, is ours alone.
    let epoll = unsafe {
        match libc::epoll_create1(libc::EPOLL_CLOEXEC) {
            -1 => return Err(io::Error::last_os_error()),
            fd => OwnedFd::from_raw_fd(fd),
        }
    };
    REACTOR.with(|reactor| {
        reactor.epoll.get_or_init(|| epoll);
    });
    Ok(())
}

/// Wakes whoever waits for sockets, for the life of the worker.
pub async fn drive() -> io::Result<()> {
    let epoll = REACTOR.with(Reactor::descriptor)?;
    // SAFETY: the descriptor stays open as long as its thread, whose runtime ends before.
    let watch = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) }?;
    loop {
        let mut guard = watch.readable().await?;
        if REACTOR.with(|reactor| reactor.turn(epoll)) {
            guard.clear_ready();
        } else {
            // Those who were woken go first.
            tokio::task::yield_now().await;
        }
    }
}

/// What comes from a peer: bytes, urgent ones, its end; each told once.
const COMES: i32 = libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLRDHUP | libc::EPOLLET;

/// How many events are taken at a time.
const EVENTS: usize = 256;

impl Reactor {
    fn descriptor(&self) -> io::Result<RawFd> {
        let made = self.epoll.get().map(AsRawFd::as_raw_fd);
        made.ok_or_else(|| io::Error::other("this thread has no reactor"))
    }

    /// Begins or changes what is watched for.
    fn control(&self, what: i32, socket: RawFd, interest: i32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest as u32,
            u64: token,
        };
        // SAFETY: a plain call; the event outlives it.
        match unsafe { libc::epoll_ctl(self.descriptor()?, what, socket, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Takes what has happened; whether that is all of it.
    fn turn(&self, epoll: RawFd) -> bool {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        // SAFETY: the pointer and the count describe `events`; the call does not wait.
        let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), EVENTS as i32, 0) };
        let mut all = count < EVENTS as i32;
        let mut slots = self.slots.borrow_mut();
        let happened = events.get(..usize::try_from(count).unwrap_or(0));
        for event in happened.unwrap_or_default() {
            let (index, generation) = (event.u64 as u32, (event.u64 >> 32) as u32);
            if let Some(slot) = slots.all.get_mut(index as usize)
                && slot.generation == generation
            {
                slot.ready.0 |= Ready::of(event.events).0;
                // Only when it has nothing more to tell is it quiet until something new comes.
                all &= !slot.repeated;
                // Waking runs no task here: it only queues them.
                if slot.ready.has(slot.wanted)
                    && let Some(waker) = slot.waker.take()
                {
                    waker.wake();
                }
            }
        }
        all
    }
}

/// A socket's place in the reactor of the thread that made it. It is dropped together with its
/// socket: what ends the watch is that the socket is closed.
pub struct Registration {
    index: u32,
    /// Stays on its thread.
    _here: PhantomData<*const ()>,
}

impl Registration {
    /// Watches a connected socket for what comes; the first event says how it is by then. Room to write
    /// is taken for granted until [`Registration::filled`] says otherwise: most sockets take all that
    /// they are given, and an event that says so to begin with would be one of three in a short life.
    pub fn new(socket: RawFd) -> io::Result<Registration> {
        Registration::watch(socket, COMES, Ready::WRITE)
    }

    /// Watches a socket that takes nothing now: it is full, or its connection is still under way.
    pub fn full(socket: RawFd) -> io::Result<Registration> {
        Registration::watch(socket, COMES | libc::EPOLLOUT, Ready::default())
    }

    /// Watches a socket of datagrams for what comes and for errors. What is not read is told again in the
    /// next turn, so that who reads one datagram need not ask whether there is another: that costs three
    /// times as much as to be told.
    pub fn of_datagrams(socket: RawFd) -> io::Result<Registration> {
        Registration::watch(socket, libc::EPOLLIN, Ready::default())
    }

    fn watch(socket: RawFd, interest: i32, ready: Ready) -> io::Result<Registration> {
        REACTOR.with(|reactor| {
            let mut slots = reactor.slots.borrow_mut();
            let index = slots.free.pop().unwrap_or_else(|| {
                slots.all.push(Slot::default());
                (slots.all.len() - 1) as u32
            });
            let Some(slot) = slots.all.get_mut(index as usize) else {
                return Err(io::ErrorKind::NotFound.into());
            };
            slot.ready = ready;
            slot.repeated = interest & libc::EPOLLET == 0;
            slot.room = interest & libc::EPOLLOUT != 0;
            let token = u64::from(slot.generation) << 32 | u64::from(index);
            if let Err(error) = reactor.control(libc::EPOLL_CTL_ADD, socket, interest, token) {
                slots.free.push(index);
                return Err(error);
            }
            Ok(Registration {
                index,
                _here: PhantomData,
            })
        })
    }

    /// What is known of the socket, once that is any of `wanted`; until then the task is woken when
    /// it is. Only one task waits for a socket.
    pub fn poll_ready(&self, cx: &mut Context<'_>, wanted: Ready) -> Poll<Ready> {
        let ready = self.with(|slot| {
            if slot.ready.has(wanted) {
                return Some(slot.ready);
            }
            match &slot.waker {
                Some(waker) if waker.will_wake(cx.waker()) => slot.wanted.0 |= wanted.0,
                _ => {
                    slot.waker = Some(cx.waker().clone());
                    slot.wanted = wanted;
                }
            }
            None
        });
        let Some(ready) = ready.flatten() else {
            return Poll::Pending;
        };
        // A socket that is always ready must not keep the others from their turn.
        ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
        Poll::Ready(ready)
    }

    /// What is known of the socket now.
    pub fn ready(&self) -> Ready {
        self.with(|slot| slot.ready).unwrap_or_default()
    }

    /// Nothing is left to read, until the next event.
    pub fn read_all(&self) {
        self.with(|slot| slot.ready.0 &= !Ready::READ.0);
    }

    /// Nothing is left to read and no error to hear of, until the next event; or the system will tell
    /// of it again.
    pub fn all_heard(&self) {
        self.with(|slot| slot.ready = Ready::default());
    }

    /// There is no room to write in this registration's socket, until the next event.
    pub fn filled(&self, socket: RawFd) -> io::Result<()> {
        let generation = self.with(|slot| {
            slot.ready.0 &= !Ready::WRITE.0;
            let watched = std::mem::replace(&mut slot.room, true);
            (!watched).then_some(slot.generation)
        });
        let Some(generation) = generation.flatten() else {
            return Ok(());
        };
        let token = u64::from(generation) << 32 | u64::from(self.index);
        // Changed so, the system looks again: room that has come meanwhile makes an event.
        let interest = COMES | libc::EPOLLOUT;
        REACTOR.with(|r| r.control(libc::EPOLL_CTL_MOD, socket, interest, token))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        REACTOR.with(|reactor| {
            let mut slots = reactor.slots.borrow_mut();
            slots.all.get_mut(self.index as usize).map(f)
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // A thread that ends may have lost its reactor already.
        let _ = REACTOR.try_with(|reactor| {
            let mut slots = reactor.slots.borrow_mut();
            let index = self.index;
            if let Some(slot) = slots.all.get_mut(index as usize) {
                *slot = Slot {
                    generation: slot.generation.wrapping_add(1),
                    ..Slot::default()
                };
            }
            slots.free.push(index);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Write;
    use std::net::UdpSocket;
    use std::os::unix::net::UnixStream;

    fn within(test: impl Future<Output = ()>) {
        start().expect("a reactor");
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(Default::default());
        let runtime = runtime.expect("a runtime");
        runtime.block_on(async {
            tokio::task::spawn_local(drive());
            test.await;
        });
    }

    #[test]
    fn who_waits_is_woken_by_bytes_and_by_the_end() {
        within(async {
            let (ours, mut theirs) = UnixStream::pair().expect("a pair");
            let watch = Registration::new(ours.as_raw_fd()).expect("a place");
            let writable = watch.ready();
            assert!(writable.has(Ready::WRITE) && !writable.has(Ready::FOR_READING));
            watch.filled(ours.as_raw_fd()).expect("watched");
            assert!(!watch.ready().has(Ready::WRITE));
            let writable = poll_fn(|cx| watch.poll_ready(cx, Ready::FOR_WRITING)).await;
            assert!(writable.has(Ready::WRITE) && !writable.has(Ready::FOR_READING));
            theirs.write_all(b"x").expect("written");
            let readable = poll_fn(|cx| watch.poll_ready(cx, Ready::FOR_READING)).await;
            assert!(!readable.is_read_closed());
            watch.read_all();
            assert!(!watch.ready().has(Ready::FOR_READING));
            drop(theirs);
            let over = poll_fn(|cx| watch.poll_ready(cx, Ready::FOR_READING)).await;
            assert!(over.is_read_closed() && over.is_failed());
        });
    }

    #[test]
    fn a_datagram_that_was_left_is_told_of_again() {
        within(async {
            let [ours, theirs] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
            theirs
                .connect(ours.local_addr().expect("an address"))
                .expect("connects");
            let watch = Registration::of_datagrams(ours.as_raw_fd()).expect("a place");
            for said in [b"1", b"2", b"3"] {
                theirs.send(said).expect("sent");
            }
            let mut byte = [0];
            for said in [b"1", b"2", b"3"] {
                poll_fn(|cx| watch.poll_ready(cx, Ready::FOR_READING)).await;
                ours.recv(&mut byte).expect("it is there");
                assert_eq!(&byte, said);
                watch.all_heard();
            }
            for _ in 0..10 {
                tokio::task::yield_now().await;
                assert_eq!(watch.ready(), Ready::default());
            }
        });
    }

    #[test]
    fn a_place_taken_again_knows_nothing_of_the_socket_before() {
        within(async {
            let (first, theirs) = UnixStream::pair().expect("a pair");
            let watch = Registration::new(first.as_raw_fd()).expect("a place");
            let index = watch.index;
            // Kept open elsewhere: its events go on, but nobody is told of them.
            let copy = first.try_clone().expect("a copy");
            drop((watch, first));
            let (second, _other) = UnixStream::pair().expect("a pair");
            let watch = Registration::full(second.as_raw_fd()).expect("a place");
            assert_eq!(watch.index, index);
            drop(theirs);
            poll_fn(|cx| watch.poll_ready(cx, Ready::FOR_WRITING)).await;
            assert!(!watch.ready().is_read_closed());
            drop(copy);
        });
    }
}
