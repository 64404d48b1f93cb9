//! Peers: stick tables that several machines share (manual section 3.5).
//!
//! All of it runs on the first worker. Each section has a task that keeps a conversation with each
//! of the others, whoever began it; of two with the same peer the later one counts. When the process
//! is to end, the same task tells what it knows to the process that replaces it.

mod entry;
mod talk;

use crate::io::Io;
use crate::listeners::Listener;
use crate::opening::Opening;
use crate::socket::{self, Outgoing};
use crate::tls::TlsStream;
use crate::transport::Transport;
use crate::worker::Worker;
use model::{Address, Peer};
use state::Target;
use state::peers::{From, Link, PeerSection};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use talk::{Broken, Talk, With};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use wire::peers::{Hello, HelloRead, Status, read_hello, read_status, write_hello};

/// Between two looks at what the configuration wants.
const LOOK: Duration = Duration::from_millis(100);
/// How long a connection and its handshake may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a process that ends tries to reach the one that replaces it.
const FAREWELLS: u32 = 20;
/// Two that begin within this time did not know of each other.
const SIMULTANEOUS: Duration = Duration::from_secs(2);
/// What a conversation may do before others have their turn.
const STEPS: u32 = 16;
/// Between two of these.
const FAREWELL_PAUSE: Duration = Duration::from_millis(100);

/// The conversations of a worker, by section and peer.
#[derive(Default)]
pub struct Talks(RefCell<HashMap<Key, Begun>>);

/// A section and a peer of it.
type Key = (Arc<str>, Arc<str>);

/// A conversation that goes on.
struct Begun {
    /// What ends it.
    end: Rc<Notify>,
    /// Since when, where this side began it.
    ours: Option<Instant>,
}

impl Talks {
    /// Makes a conversation, which this side began or not, the one with its peer; whether there was
    /// another.
    fn begin(&self, section: &PeerSection, peer: &Arc<str>, ours: bool) -> (Place<'_>, bool) {
        let key = (Arc::clone(&section.settings.name), Arc::clone(peer));
        let end = Rc::new(Notify::new());
        let begun = Begun {
            end: Rc::clone(&end),
            ours: ours.then(Instant::now),
        };
        let before = self.0.borrow_mut().insert(key.clone(), begun);
        if let Some(before) = &before {
            before.end.notify_one();
        }
        let place = Place {
            talks: self,
            key,
            end,
        };
        (place, before.is_some())
    }

    fn has(&self, section: &PeerSection, peer: &Arc<str>) -> bool {
        let key = (Arc::clone(&section.settings.name), Arc::clone(peer));
        self.0.borrow().contains_key(&key)
    }

    /// Whether this side has just begun one with a peer.
    fn has_begun(&self, section: &PeerSection, peer: &Arc<str>) -> bool {
        let key = (Arc::clone(&section.settings.name), Arc::clone(peer));
        let talks = self.0.borrow();
        let since = talks.get(&key).and_then(|begun| begun.ours);
        since.is_some_and(|since| since.elapsed() < SIMULTANEOUS)
    }

    /// Ends all of a section.
    fn end(&self, section: &PeerSection) {
        let talks = self.0.borrow();
        let of = |key: &Key| key.0 == section.settings.name;
        let mine = talks.iter().filter(|(key, _)| of(key));
        mine.for_each(|(_, begun)| begun.end.notify_one());
    }
}

/// The place of a conversation among all.
struct Place<'t> {
    talks: &'t Talks,
    key: Key,
    end: Rc<Notify>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut talks = self.talks.0.borrow_mut();
        if talks
            .get(&self.key)
            .is_some_and(|begun| Rc::ptr_eq(&begun.end, &self.end))
        {
            talks.remove(&self.key);
        }
    }
}

/// Starts a task for each section as it comes into force.
pub async fn run(worker: Rc<Worker>) {
    let mut driven: Vec<Arc<PeerSection>> = Vec::new();
    loop {
        let generation = worker.generation();
        driven.retain(|d| generation.peers.iter().any(|s| Arc::ptr_eq(s, d)));
        for section in &generation.peers {
            if !driven.iter().any(|d| Arc::ptr_eq(d, section)) {
                driven.push(Arc::clone(section));
                tokio::task::spawn_local(drive(Rc::clone(&worker), Arc::clone(section)));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether a section is in force.
fn in_force(worker: &Worker, section: &Arc<PeerSection>) -> bool {
    let generation = worker.generation();
    generation.peers.iter().any(|s| Arc::ptr_eq(s, section))
}

/// One section, until another takes its place or the process ends.
async fn drive(worker: Rc<Worker>, section: Arc<PeerSection>) {
    let keep = |at| tokio::task::spawn_local(keep(Rc::clone(&worker), Arc::clone(&section), at));
    let keeping: Vec<_> = (0..section.settings.others.len()).map(keep).collect();
    while in_force(&worker, &section) && !worker.process.is_stopping() {
        section.resync().tick(Instant::now());
        tokio::time::sleep(LOOK / 4).await;
    }
    keeping.iter().for_each(tokio::task::JoinHandle::abort);
    worker.peers.end(&section);
    if worker.process.is_stopping() {
        farewell(&worker, &section).await;
        section.release();
    }
}

/// Tells everything to the process that replaces this one. Without one nobody listens there.
async fn farewell(worker: &Rc<Worker>, section: &Arc<PeerSection>) {
    let Some(successor) = &section.settings.successor else {
        return;
    };
    for _ in 0..FAREWELLS {
        // Our own listening socket closes in a moment.
        tokio::time::sleep(FAREWELL_PAUSE).await;
        match connect(worker, section, successor).await {
            Ok(io) => {
                let with = With::Successor;
                if converse(worker, section, io, with, &Notify::new()).await {
                    return;
                }
            }
            Err(Failure::Refused(Status::TryAgain)) => {}
            Err(_) => return,
        }
    }
}

/// Keeps a conversation with one of the others.
async fn keep(worker: Rc<Worker>, section: Arc<PeerSection>, at: usize) {
    let Some(peer) = section.settings.others.get(at) else {
        return;
    };
    loop {
        if !worker.peers.has(&section, &peer.name) {
            show(&section, at, Link::Connecting);
            if let Some(mut state) = section.peer(at) {
                state.connections += 1;
            }
            match connect(&worker, &section, peer).await {
                // Both began at the same time: that of the first by name counts, on both sides.
                Ok(_) if worker.peers.has(&section, &peer.name) && !goes_first(&section, peer) => {}
                Ok(io) => {
                    let (place, _) = worker.peers.begin(&section, &peer.name, true);
                    let with = With::Source(From::Peer(at));
                    converse(&worker, &section, io, with, &place.end).await;
                }
                Err(_) => show(&section, at, Link::Failed),
            }
        }
        // At random, so that two do not connect to each other at the same time again and again.
        let pause = 50 + rules::random(&worker.rng) % 2000;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Whether a conversation that this side begins counts more than one that the peer begins.
fn goes_first(section: &PeerSection, peer: &Peer) -> bool {
    section.settings.local < peer.name
}

fn show(section: &PeerSection, at: usize, link: Link) {
    if let Some(mut state) = section.peer(at)
        && state.link != link
    {
        state.link = link;
        state.since = Some(Instant::now());
    }
}

/// Why there is no conversation.
enum Failure {
    /// The other does not want it.
    Refused(Status),
    /// It is not there, or is silent.
    Lost,
}

impl std::convert::From<io::Error> for Failure {
    fn from(_: io::Error) -> Failure {
        Failure::Lost
    }
}

/// Connects to a peer and makes the handshake.
async fn connect(
    worker: &Worker,
    section: &PeerSection,
    peer: &Peer,
) -> Result<Transport, Failure> {
    let made = tokio::time::timeout(PATIENCE, async {
        let (fd, target) = match &peer.address {
            Address::Unix { path, .. } => {
                (socket::connect_unix(path)?, Target::Unix(Arc::clone(path)))
            }
            _ => {
                let address = peer.socket().ok_or(Failure::Lost)?;
                let options = Outgoing {
                    source: peer.source.as_ref(),
                    keepalive: None,
                    tos: None,
                    mark: None,
                    user_timeout: None,
                    fast_open: false,
                    early: false,
                    congestion: None,
                    signed: peer.signed.as_deref(),
                    namespace: peer.namespace.as_deref(),
                    silent: false,
                    foreign: None,
                };
                let target = Target::Tcp {
                    ip: address.ip(),
                    port: model::PortSpec::Fixed(address.port()),
                };
                (socket::connect_tcp(address, &options)?, target)
            }
        };
        let io = Io::new(fd);
        let mut io = match &peer.tls {
            None => Transport::Plain(io),
            Some(connector) => {
                Transport::to_server(io, connector, None, &target).map_err(|_| Failure::Lost)?
            }
        };
        let hello = Hello {
            to: peer.name.to_string(),
            from: section.settings.local.to_string(),
            process: worker.process.pid,
        };
        poll_fn(|cx| io.poll_established(cx, &mut Opening::default())).await?;
        let mut first = Vec::new();
        write_hello(&hello, &mut first);
        send(&mut io, &first).await?;
        // A byte at a time: what follows belongs to the conversation.
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            match poll_fn(|cx| io.poll_read(cx, &mut byte)).await? {
                0 => return Err(Failure::Lost),
                _ => line.extend(byte),
            }
            match read_status(&line) {
                Ok(Some((Status::Succeeded, _))) => return Ok(io),
                Ok(Some((status, _))) => return Err(Failure::Refused(status)),
                Ok(None) => {}
                Err(_) => return Err(Failure::Lost),
            }
        }
    });
    made.await.unwrap_or(Err(Failure::Lost))
}

async fn send(io: &mut Transport, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = poll_fn(|cx| io.poll_write(cx, &[IoSlice::new(bytes)])).await?;
        bytes = bytes.get(n..).unwrap_or_default();
    }
    poll_fn(|cx| io.poll_flush(cx)).await
}

/// Takes conversations that others begin, until the task is dropped.
pub async fn accept(worker: Rc<Worker>, listener: Arc<Listener>) {
    let Ok(fd) = listener.socket.try_clone() else {
        return;
    };
    // SAFETY: the `OwnedFd` is open, and stays open and the same until the `AsyncFd` that owns it
    // is dropped: nothing takes it out.
    let socket = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    let Ok(socket) = socket else { return };
    while let Ok(mut ready) = socket.readable().await {
        match ready.try_io(|fd| crate::listen::accept_one(fd.as_raw_fd())) {
            Ok(Ok((fd, _))) => {
                let (worker, listener) = (Rc::clone(&worker), Arc::clone(&listener));
                tokio::task::spawn_local(answer(worker, listener, fd));
            }
            // No descriptors left, or the like: others end in a moment.
            Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(_would_block) => {}
        }
    }
}

/// A connection from somebody who may be a peer.
async fn answer(worker: Rc<Worker>, listener: Arc<Listener>, fd: OwnedFd) {
    let io = Io::new(fd);
    let mut io = match &listener.bind.options.tls {
        None => Transport::Plain(io),
        Some(acceptor) => Transport::Tls(Box::new(TlsStream::accept(io, Arc::clone(acceptor)))),
    };
    let heard = tokio::time::timeout(PATIENCE, hello(&mut io)).await;
    let Ok(Some(said)) = heard else { return };
    let generation = worker.generation();
    let mut sections = generation.peers.iter();
    let section = sections.find(|s| s.settings.name == listener.frontend);
    let judged = match (said, section) {
        (Err(status), _) => Err(status),
        (Ok(_), None) => Err(Status::TryAgain),
        (Ok(hello), Some(section)) => judge(&worker, section, &hello).map(|with| (with, section)),
    };
    let (status, accepted) = match judged {
        Ok(accepted) => (Status::Succeeded, Some(accepted)),
        Err(status) => (status, None),
    };
    if send(&mut io, status.line().as_bytes()).await.is_err() {
        return;
    }
    let Some((from, section)) = accepted else {
        return;
    };
    let section = Arc::clone(section);
    drop(generation);
    let local = Arc::clone(&section.settings.local);
    let name = match from {
        From::Predecessor => local,
        From::Peer(at) => match section.settings.others.get(at) {
            Some(peer) => Arc::clone(&peer.name),
            None => return,
        },
    };
    let (place, collides) = worker.peers.begin(&section, &name, false);
    if let From::Peer(at) = from
        && let Some(mut state) = section.peer(at)
    {
        state.collisions += u64::from(collides);
    }
    converse(&worker, &section, io, With::Source(from), &place.end).await;
}

/// Reads the hello, or what to answer instead; `None` where the connection ends.
async fn hello(io: &mut Transport) -> Option<Result<Hello, Status>> {
    if let Transport::Tls(tls) = io {
        poll_fn(|cx| tls.poll_handshake(cx, &mut None)).await.ok()?;
    }
    let mut lines = Vec::new();
    loop {
        let mut byte = [0];
        match poll_fn(|cx| io.poll_read(cx, &mut byte)).await {
            Ok(n) if n > 0 => lines.extend(byte),
            _ => return None,
        }
        match read_hello(&lines) {
            HelloRead::NeedMore => {}
            HelloRead::Hello(hello, _) => return Some(Ok(hello)),
            HelloRead::Refused(status) => return Some(Err(status)),
        }
    }
}

/// Whether somebody may speak with us, and who that is.
fn judge(worker: &Worker, section: &PeerSection, hello: &Hello) -> Result<From, Status> {
    if *hello.to != *section.settings.local {
        return Err(Status::LocalName);
    }
    if *hello.from == *section.settings.local {
        // A process that ends may reach itself for a moment.
        let other = hello.process != worker.process.pid && !worker.process.is_stopping();
        return other.then_some(From::Predecessor).ok_or(Status::TryAgain);
    }
    let at = section.place(&hello.from).ok_or(Status::RemoteName)?;
    let peer = section.settings.others.get(at);
    if peer.is_some_and(|p| goes_first(section, p) && worker.peers.has_begun(section, &p.name)) {
        return Err(Status::TryAgain);
    }
    Ok(From::Peer(at))
}

/// Speaks with a peer until one of both ends it; whether all was said.
async fn converse(
    worker: &Worker,
    section: &Arc<PeerSection>,
    mut io: Transport,
    with: With,
    end: &Notify,
) -> bool {
    let generation = worker.generation();
    let at_once = generation.config.global.tuning.peer_updates as usize;
    let now = Instant::now();
    let mut talk = Talk::new(Arc::clone(section), &generation.tables, with, at_once, now);
    drop(generation);
    if let With::Source(From::Peer(at)) = with {
        show(section, at, Link::Established);
    }
    let broken = {
        let mut ended = pin!(end.notified());
        let mut sleep = pin!(tokio::time::sleep_until(talk.deadline().into()));
        let mut out = Vec::new();
        poll_fn(|cx| {
            if ended.as_mut().poll(cx).is_ready() || talk.is_over() {
                return Poll::Ready(None);
            }
            for _ in 0..STEPS {
                match step(worker, &mut io, &mut talk, &mut out, cx) {
                    Poll::Ready(Err(broken)) => return Poll::Ready(broken),
                    Poll::Ready(Ok(())) if talk.is_over() => return Poll::Ready(None),
                    Poll::Ready(Ok(())) => continue,
                    Poll::Pending => {}
                }
                let mut deadline = talk.deadline();
                if out.is_empty() && !talk.wait(cx.waker()) {
                    deadline = deadline.min(talk.next());
                }
                sleep.as_mut().reset(deadline.into());
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
            // Others have their turn.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    };
    if let With::Source(from) = with {
        section.resync().lost(from, Instant::now());
        if let From::Peer(at) = from {
            if let Some(mut state) = section.peer(at) {
                state.faults += u64::from(broken == Some(Broken::Protocol));
            }
            show(section, at, Link::None);
        }
    }
    talk.is_over()
}

/// Moves what can be moved. Ready where there may be more at once; an error ends the conversation.
fn step(
    worker: &Worker,
    io: &mut Transport,
    talk: &mut Talk,
    out: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Option<Broken>>> {
    let now = Instant::now();
    let now_ms = worker.process.millis(now);
    let mut more = false;
    if out.is_empty() {
        more = talk.speak(now, now_ms, out).map_err(Some)?;
    }
    while !out.is_empty() {
        match io.poll_write(cx, &[IoSlice::new(out)]) {
            Poll::Ready(Ok(n)) => {
                out.drain(..n);
            }
            Poll::Ready(Err(_)) => return Poll::Ready(Err(None)),
            Poll::Pending => {
                more = false;
                break;
            }
        }
    }
    if let Poll::Ready(Err(_)) = io.poll_flush(cx) {
        return Poll::Ready(Err(None));
    }
    let mut scratch = worker.scratch.borrow_mut();
    match io.poll_read(cx, &mut scratch) {
        Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(None)),
        Poll::Ready(Ok(n)) => {
            let bytes = scratch.get(..n).unwrap_or_default();
            if let Err(broken) = talk.hear(bytes, now, now_ms, out) {
                // What is to be said of it goes out, if there is room.
                let _ = io.poll_write(cx, &[IoSlice::new(out)]);
                return Poll::Ready(Err(Some(broken)));
            }
            more = true;
        }
        Poll::Pending => {}
    }
    if !more {
        return Poll::Pending;
    }
    Poll::Ready(Ok(()))
}
