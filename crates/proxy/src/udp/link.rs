//! Sockets towards servers, and those that rest between two sessions.
//!
//! Where it is known how many answers a datagram has (`udp-responses`), a session ends with the last
//! of them, and nothing more is to come by its socket. Making another one, connecting it, having it
//! watched and closing it would cost more than all else that a session of one question does. So
//! the socket rests: for as long as something may come late, which is thrown away with the socket, and
//! then it may serve another client. Its port changes after a while, so that nobody can get used to it.

use super::batch::Batch;
use crate::reactor::{Ready, Registration};
use crate::socket;
use model::Server;
use state::Backend;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What is no answer of this session any more has come by then.
const REST: Duration = Duration::from_millis(20);

/// How long one port is used.
const LIFE: Duration = Duration::from_secs(10);

/// Sockets of one server that rest at most.
const MOST: usize = 2048;

/// What a socket was made for: these settings of a server, this address, this backend.
#[derive(Clone)]
pub struct Aim {
    /// The server's settings.
    pub settings: Arc<Server>,
    /// Its address.
    pub address: SocketAddr,
    /// Its backend, whose source addresses may be used.
    pub backend: Arc<Backend>,
}

impl Aim {
    fn is(&self, other: &Aim) -> bool {
        Arc::ptr_eq(&self.settings, &other.settings)
            && self.address == other.address
            && Arc::ptr_eq(&self.backend, &other.backend)
    }
}

/// A connected socket.
pub struct Link {
    // Ends before its socket does.
    watch: Registration,
    socket: OwnedFd,
    aim: Aim,
    made: Instant,
    /// The kernel joins datagrams of the server, where it can.
    joined: Cell<bool>,
}

impl Link {
    /// One that was just made.
    pub fn new(socket: OwnedFd, aim: Aim, now: Instant) -> io::Result<Link> {
        Ok(Link {
            watch: Registration::of_datagrams(socket.as_raw_fd())?,
            socket,
            aim,
            made: now,
            joined: Cell::new(false),
        })
    }

    /// Takes what has come; it is told again that there is more, unless that is known at once. Where no
    /// more than one datagram is awaited, that one is taken by the cheapest call there is.
    pub fn receive(&self, batch: &mut Batch, one: bool) -> io::Result<()> {
        let drained = if one && !self.joined.get() {
            batch.receive_one(self.raw()).map(|()| true)
        } else {
            batch.receive(self.raw())
        };
        match drained {
            Ok(false) => return Ok(()),
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
            _ => self.watch.all_heard(),
        }
        drained.map(|_| ())
    }

    /// Has the kernel join datagrams from now on: several have come in a row.
    pub fn join(&self) {
        if !self.joined.replace(true) {
            socket::join_datagrams(self.raw());
        }
    }

    /// The descriptor.
    pub fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Ready when there is an answer, or the news that a datagram could not be delivered.
    pub fn poll_news(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.watch.poll_ready(cx, Ready::FOR_READING).map(|_| ())
    }

    /// Whether nothing has come until now, neither an answer nor an error: a late answer must not go to
    /// another client. The system is asked: what the reactor knows is as old as its last turn.
    fn is_quiet(&self) -> bool {
        if self.watch.ready() != Ready::default() {
            return false;
        }
        let mut byte = [0u8; 1];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        // SAFETY: the pointer and the length describe `byte`, which outlives the call.
        let n = unsafe { libc::recv(self.raw(), byte.as_mut_ptr().cast(), byte.len(), flags) };
        n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
    }
}

/// Those that rest, by the server's `uid`; the longest rested first.
#[derive(Default)]
pub struct Resting {
    queues: RefCell<HashMap<u32, VecDeque<(Instant, Link)>>>,
    /// Of the task that is told when something comes late.
    keeper: RefCell<Option<Waker>>,
}

impl Resting {
    /// One for this aim that has rested enough, if there is one.
    pub fn take(&self, uid: u32, aim: &Aim, now: Instant) -> Option<Link> {
        let mut all = self.queues.borrow_mut();
        let queue = all.get_mut(&uid)?;
        while let Some((_, link)) = oldest(queue, REST, now) {
            if link.made + LIFE > now && link.aim.is(aim) && link.is_quiet() {
                return Some(link);
            }
        }
        None
    }

    /// One whose session has ended with its last answer.
    pub fn put(&self, uid: u32, link: Link, now: Instant) {
        let keeper = self.keeper.borrow();
        let Some(keeper) = &*keeper else { return };
        let mut all = self.queues.borrow_mut();
        let queue = all.entry(uid).or_default();
        let fit = queue.len() < MOST && link.made + LIFE > now;
        if fit
            && link
                .poll_news(&mut Context::from_waker(keeper))
                .is_pending()
        {
            queue.push_back((now, link));
        }
    }

    /// Closes those by which something comes late, for the life of the worker: nobody would read it,
    /// and the system would tell of it again and again.
    pub async fn keep(&self) {
        poll_fn(|cx| -> Poll<()> {
            *self.keeper.borrow_mut() = Some(cx.waker().clone());
            for queue in self.queues.borrow_mut().values_mut() {
                queue.retain(|(_, link)| link.poll_news(cx).is_pending());
            }
            Poll::Pending
        })
        .await;
    }

    /// Closes those that have not been wanted for long.
    pub fn purge(&self, now: Instant) {
        self.queues.borrow_mut().retain(|_, queue| {
            while oldest(queue, LIFE, now).is_some() {}
            !queue.is_empty()
        });
    }

    /// Closes all: descriptors are wanted elsewhere.
    pub fn clear(&self) {
        self.queues.borrow_mut().clear();
    }
}

/// The one that has rested longest, if that is as long as this.
fn oldest(
    queue: &mut VecDeque<(Instant, Link)>,
    rested: Duration,
    now: Instant,
) -> Option<(Instant, Link)> {
    let (since, _) = queue.front()?;
    let enough = *since + rested <= now;
    enough.then(|| queue.pop_front()).flatten()
}
