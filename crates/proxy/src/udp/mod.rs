//! `mode udp`: datagrams between clients and servers.
//!
//! A session is a client's address and port at one listening socket. It has one server and one
//! socket towards it, whose answers are the client's. The worker that reads a listening socket
//! serves all of its sessions, so that no datagram changes threads: what comes from clients is read
//! and passed on here, what comes from a server by the session's own task.
//!
//! With `accept-proxy` each datagram begins with a header that names the client: then a session is
//! that client's, behind the one who spoke for it.

pub mod batch;
mod link;
mod open;
mod outbox;
mod pause;
mod session;

pub use outbox::carry;
pub use pause::before_sleep;
pub use session::Session;

use crate::listeners::Listener;
use crate::worker::Worker;
use batch::{Batch, Datagram};
use link::Resting;
use outbox::Outbox;
use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wire::proxy::Header;

/// Who a session belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Who sends, and gets the answers.
    pub peer: SocketAddr,
    /// The address of ours it speaks to, where the listening socket has several.
    pub local: Option<IpAddr>,
    /// Whom it speaks for, as the header of a datagram says.
    pub source: Option<SocketAddr>,
}

/// Most keys are a sender's address and port and nothing else, which are one number: to hash the parts one
/// after the other costs three times as much.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.peer {
            SocketAddr::V4(peer) => {
                state.write_u64(u64::from(peer.ip().to_bits()) << 16 | u64::from(peer.port()));
            }
            SocketAddr::V6(peer) => {
                state.write_u128(peer.ip().to_bits());
                state.write_u64(u64::from(peer.scope_id()) << 16 | u64::from(peer.port()));
            }
        }
        if self.local.is_some() || self.source.is_some() {
            (self.local, self.source).hash(state);
        }
    }
}

/// The sessions of one listening socket. They outlive a configuration.
pub type Sessions = RefCell<HashMap<Key, Rc<Session>>>;

/// Closes sockets that something comes by while they rest, for the life of the worker.
pub async fn keep(worker: Rc<Worker>) {
    worker.datagrams.resting.keep().await;
}

/// Calls for datagrams before others have their turn.
const READS_AT_ONCE: u32 = 16;

/// Passes on what comes to a listening socket, until the task is dropped.
pub async fn serve(worker: Rc<Worker>, listener: Arc<Listener>) {
    let Ok(fd) = listener.socket.try_clone() else {
        return;
    };
    // SAFETY: the `OwnedFd` is open, and stays open and the same until the `AsyncFd` that owns it
    // is dropped: nothing takes it out.
    let socket = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    let Ok(socket) = socket else { return };
    let sessions = worker.datagrams.sessions(&listener.bind.address);
    let place = Place {
        worker,
        listener,
        sessions,
    };
    poll_fn(|cx| place.poll(cx, &socket)).await
}

/// A listening socket and all that its sessions are made from.
struct Place {
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    sessions: Rc<Sessions>,
}

impl Place {
    fn poll(&self, cx: &mut Context<'_>, socket: &AsyncFd<OwnedFd>) -> Poll<()> {
        self.worker.new_poll();
        for _ in 0..READS_AT_ONCE {
            let Ok(mut ready) = ready!(socket.poll_read_ready(cx)) else {
                return Poll::Ready(());
            };
            let mut batch = self.worker.datagrams.questions();
            match batch.receive(socket.as_raw_fd()) {
                Ok(drained) => {
                    if drained {
                        ready.clear_ready();
                    }
                    pause::passed(batch.len());
                    self.pass_on(&batch);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                // What an earlier datagram met on its way to a client is told here; it is lost.
                Err(_) => {}
            }
        }
        // Others want to be served, too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gives each session what is its own, as many datagrams at a time as came in a row.
    fn pass_on(&self, batch: &Batch) {
        let mut run = Vec::with_capacity(batch.len());
        let mut of: Option<(Key, Option<Header>)> = None;
        for datagram in (0..batch.len()).filter_map(|at| batch.get(at)) {
            let Some((key, header, datagram)) = self.read(datagram) else {
                continue;
            };
            if let Some((before, header)) = of.take_if(|(before, _)| *before != key) {
                self.deliver(before, header, &run);
                run.clear();
            }
            of.get_or_insert((key, header));
            run.push(datagram);
        }
        if let Some((key, header)) = of {
            self.deliver(key, header, &run);
        }
    }

    /// Whose datagram it is, the header it begins with where it must, and the rest of it.
    fn read<'d>(&self, datagram: Datagram<'d>) -> Option<(Key, Option<Header>, Datagram<'d>)> {
        let mut key = Key {
            peer: datagram.from?,
            local: datagram.to,
            source: None,
        };
        if !self.listener.bind.options.accept_proxy {
            return Some((key, None, datagram));
        }
        let Some(header) = wire::proxy::read_datagram(datagram.bytes) else {
            let generation = self.worker.generation();
            let frontend = generation.frontend(&self.listener.frontend)?;
            frontend.counters().of(self.worker.id).ereq.add(1);
            return None;
        };
        key.source = header.addresses.map(|(source, _)| source);
        let bytes = datagram.bytes.get(header.len..).unwrap_or_default();
        Some((key, Some(header), Datagram { bytes, ..datagram }))
    }

    fn deliver(&self, key: Key, header: Option<Header>, run: &[Datagram<'_>]) {
        let known = self.sessions.borrow().get(&key).cloned();
        let session = match known {
            Some(session) if !session.is_over() => session,
            _ => {
                let first = run.first().map(|d| d.bytes).unwrap_or_default();
                let Some(opened) = self.open(key, header, first) else {
                    return;
                };
                opened
            }
        };
        session.client_says(&self.worker, run);
    }

    /// A new session for a client, unless a limit or a rule refuses it.
    fn open(&self, key: Key, header: Option<Header>, first: &[u8]) -> Option<Rc<Session>> {
        let opening = open::open_datagrams(&self.worker, &self.listener, key, header)?;
        let session = Session::begin(&self.worker, opening, key, first)?;
        let session = Rc::new(session);
        self.sessions.borrow_mut().insert(key, Rc::clone(&session));
        let (worker, sessions) = (Rc::clone(&self.worker), Rc::clone(&self.sessions));
        let kept = Rc::clone(&session);
        tokio::task::spawn_local(async move {
            kept.run(&worker).await;
            // A new one may have taken its place already.
            let mut all = sessions.borrow_mut();
            if all.get(&key).is_some_and(|now| Rc::ptr_eq(now, &kept)) {
                all.remove(&key);
            }
        });
        Some(session)
    }
}

/// What the sessions of datagrams of one worker share.
#[derive(Default)]
pub struct Shared {
    sessions: RefCell<HashMap<model::Address, Rc<Sessions>>>,
    questions: RefCell<Option<Batch>>,
    answers: RefCell<Option<Batch>>,
    resting: Resting,
    outbox: Outbox,
}

impl Shared {
    /// The sessions of the listening socket of this address.
    fn sessions(&self, address: &model::Address) -> Rc<Sessions> {
        let mut all = self.sessions.borrow_mut();
        Rc::clone(all.entry(address.clone()).or_default())
    }

    /// Closes sockets that have not been wanted for long.
    pub fn purge(&self, now: Instant) {
        self.resting.purge(now);
    }

    /// Closes sockets that rest: descriptors are wanted elsewhere.
    pub fn give_up_resting(&self) {
        self.resting.clear();
    }

    /// Where datagrams of clients are received; only for the time of one poll.
    fn questions(&self) -> RefMut<'_, Batch> {
        let batch = self.questions.borrow_mut();
        RefMut::map(batch, |b| b.get_or_insert_with(Batch::new))
    }

    /// The same of servers, of whom fewer come at a time.
    fn answers(&self) -> RefMut<'_, Batch> {
        let batch = self.answers.borrow_mut();
        RefMut::map(batch, |b| b.get_or_insert_with(Batch::new))
    }
}
