//! One session of datagrams: its server, its limits, its end.

mod ending;

use super::Key;
use super::batch::{self, Datagram};
use super::link::{Aim, Link};
use super::open::{OpenedDatagrams, allowed, with_ctx};
use super::{outbox, pause};
use crate::choose;
use crate::present;
use crate::socket::{self, Outgoing};
use crate::stick;
use crate::termination::{Cause, Phase, Termination};
use crate::timer::Timer;
use crate::worker::Worker;
use model::{Balance, SendProxy};
use rules::StreamInfo;
use state::{Backend, Pick, Slot};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How long a session may be silent where no timeout says so.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest datagram that is kept for another server, bytes.
const KEPT: usize = 4096;

/// Steps before others have their turn.
const STEPS_AT_ONCE: u32 = 16;

/// The way to one server.
struct Route {
    slot: Slot,
    link: Rc<Link>,
    /// The PROXY header that each datagram begins with.
    prefix: Vec<u8>,
    /// Ends it because its server went down.
    cut: Option<state::cut::Watch>,
}

/// What has passed.
#[derive(Default)]
struct Counts {
    received: Cell<u64>,
    sent: Cell<u64>,
    /// Datagrams from the client.
    requests: Cell<u64>,
    /// Datagrams from the server.
    answers: Cell<u64>,
    redispatches: Cell<u32>,
}

/// One session.
pub struct Session {
    opened: OpenedDatagrams,
    key: Key,
    peer: socket2::SockAddr,
    backend: Arc<Backend>,
    stream: RefCell<StreamInfo>,
    route: RefCell<Option<Route>>,
    counts: Counts,
    timer: Timer,
    /// When something last passed.
    active: Cell<Instant>,
    /// The client has asked and not been answered since.
    asking: Cell<bool>,
    /// What it asked last, in case that its server is gone.
    unanswered: RefCell<Vec<u8>>,
    ended: Cell<Option<Termination>>,
    /// Of the session's task, for a socket that it does not know yet.
    waker: RefCell<Option<Waker>>,
}

impl Session {
    /// A session that the rules allow and that has a server; else it is logged and dropped.
    pub fn begin(
        worker: &Worker,
        opened: OpenedDatagrams,
        key: Key,
        first: &[u8],
    ) -> Option<Session> {
        let mut stream = StreamInfo::default();
        let frontend = Arc::clone(&opened.frontend);
        let chosen = allowed(worker, &opened, frontend.proxy(), &stream, first)
            .then(|| {
                let generation = worker.generation();
                with_ctx(worker, &opened, &stream, first, |cx| {
                    choose::switch(worker, &frontend, &generation, cx)
                })
            })
            .flatten();
        let Some(backend) = chosen else {
            frontend.counters().of(worker.id).dreq.add(1);
            return None;
        };
        stream.backend = Some(Arc::clone(&backend.name));
        stream.backend_id = backend.id;
        let shared = Arc::ptr_eq(backend.proxy(), frontend.proxy());
        if !shared && !allowed(worker, &opened, backend.proxy(), &stream, first) {
            frontend.counters().of(worker.id).dreq.add(1);
            return None;
        }
        backend.sessions().enter();
        backend.counters().of(worker.id).stot.add(1);
        opened.seat.begin(0);
        opened.seat.enter(backend.id);
        let session = Session {
            peer: key.peer.into(),
            key,
            backend,
            stream: RefCell::new(stream),
            route: RefCell::new(None),
            counts: Counts::default(),
            timer: worker.timers.timer(),
            active: Cell::new(worker.now()),
            asking: Cell::new(false),
            unanswered: RefCell::default(),
            ended: Cell::new(None),
            waker: RefCell::default(),
            opened,
        };
        if !session.rehome(worker, first, None) {
            session.finish(worker, Termination::new(Cause::ServerAbort, Phase::Connect));
            return None;
        }
        Some(session)
    }

    /// Whether it takes no more datagrams.
    pub fn is_over(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Passes on what its client sent.
    pub fn client_says(&self, worker: &Worker, datagrams: &[Datagram<'_>]) {
        let Some(last) = datagrams.last() else { return };
        if !self.has_server() && !self.rehome(worker, last.bytes, None) {
            self.end(Termination::new(Cause::ServerAbort, Phase::Connect));
            return;
        }
        if self.send_up(datagrams).is_err() && !self.elsewhere(worker, last.bytes, datagrams) {
            return;
        }
        let bytes: u64 = datagrams.iter().map(|d| d.bytes.len() as u64).sum();
        let count: u64 = datagrams.iter().map(Datagram::count).sum();
        add(&self.counts.received, bytes);
        add(&self.counts.requests, count);
        self.count(worker, bytes, 0);
        self.active.set(worker.now());
        if self.backend.side().udp_responses != Some(0) {
            self.asking.set(true);
            let mut kept = self.unanswered.borrow_mut();
            kept.clear();
            if last.bytes.len() <= KEPT && last.count() == 1 {
                kept.extend_from_slice(last.bytes);
            }
        }
        self.timer.arm(Some(self.deadline()));
    }

    fn send_up(&self, datagrams: &[Datagram<'_>]) -> io::Result<()> {
        let route = self.route.borrow();
        let Some(route) = &*route else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let way = batch::Route {
            fd: route.link.raw(),
            to: None,
            from: None,
            prefix: &route.prefix,
        };
        batch::send(&way, datagrams)
    }

    /// The server cannot be reached: finds another and sends there; whether that went well.
    fn elsewhere(&self, worker: &Worker, key: &[u8], datagrams: &[Datagram<'_>]) -> bool {
        let failed = self.route.borrow().as_ref().map(|route| {
            let server = route.slot.server();
            route.slot.failed(worker.millis());
            server.counters.of(worker.id).econ.add(1);
            server.uid
        });
        self.backend.counters().of(worker.id).econ.add(1);
        let tries = self.backend.side().retries.max(1);
        let found = self.counts.redispatches.get() < tries && self.rehome(worker, key, failed);
        if found && self.send_up(datagrams).is_ok() {
            return true;
        }
        self.end(Termination::new(Cause::ServerAbort, Phase::Connect));
        false
    }

    /// Whether its server may still be used.
    fn has_server(&self) -> bool {
        let route = self.route.borrow();
        route.as_ref().is_some_and(|r| r.slot.server().usable())
    }

    /// Chooses a server, by what `payload` says where that matters, and opens a socket to it.
    fn rehome(&self, worker: &Worker, payload: &[u8], avoid: Option<u32>) -> bool {
        let again = self.route.borrow_mut().take().is_some();
        let now = worker.millis();
        let generation = worker.generation();
        let (wanted, key, mut sticking) = {
            let stream = self.stream.borrow();
            with_ctx(worker, &self.opened, &stream, payload, |cx| {
                let side = self.backend.side();
                (
                    choose::use_server(&self.backend, cx),
                    choose::key(side, cx, now),
                    stick::connection(&self.backend, &generation, cx, now),
                )
            })
        };
        let wanted = wanted.or(sticking.server.take());
        let pick = match wanted.filter(|s| avoid != Some(s.uid)) {
            Some(server) => self.backend.reserve(&server),
            None => self.backend.pick(key, avoid),
        };
        let Pick::Server(slot) = pick else {
            return false;
        };
        let server = Arc::clone(slot.server());
        {
            let mut stream = self.stream.borrow_mut();
            stream.server = Some(Arc::clone(&server.name));
            stream.server_id = server.id;
        }
        self.opened.seat.assign(server.id);
        let counters = server.counters.of(worker.id);
        counters.stot.add(1);
        counters.lbtot.add(1);
        self.backend.counters().of(worker.id).lbtot.add(1);
        if again {
            counters.wredis.add(1);
            add32(&self.counts.redispatches);
        }
        let Ok(link) = self.connect(worker, &server) else {
            slot.failed(now);
            counters.econ.add(1);
            return false;
        };
        sticking.store(&server, now);
        let waker = self.waker.borrow();
        let cut = slot.watch_cuts(waker.as_ref().unwrap_or(Waker::noop()));
        *self.route.borrow_mut() = Some(Route {
            slot,
            link: Rc::new(link),
            prefix: self.prefix(worker, &server, payload),
            cut,
        });
        if let Some(waker) = &*waker {
            waker.wake_by_ref();
        }
        true
    }

    fn connect(&self, worker: &Worker, server: &state::Server) -> io::Result<Link> {
        let target = server.target().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let address = target.socket(self.opened.info.ends.dst());
        let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let settings = Arc::clone(&server.settings());
        let side = self.backend.side();
        let source = settings.source.as_deref().or(side.source.as_deref());
        let foreign = present::foreign_source(source, self.opened.info.ends.src(), None);
        let aim = Aim {
            settings: Arc::clone(&settings),
            address,
            backend: Arc::clone(&self.backend),
        };
        let resting = &worker.datagrams.resting;
        if foreign.is_none()
            && let Some(link) = resting.take(server.uid, &aim, worker.now())
        {
            return Ok(link);
        }
        let options = Outgoing {
            mark: None,
            tos: None,
            source,
            keepalive: None,
            user_timeout: None,
            fast_open: false,
            early: false,
            congestion: None,
            signed: None,
            namespace: settings.namespace.as_deref(),
            foreign,
            silent: false,
        };
        let made = socket::connect_udp(address, &options).or_else(|e| {
            if !matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
                return Err(e);
            }
            resting.clear();
            socket::connect_udp(address, &options)
        });
        Link::new(made?, aim, worker.now())
    }

    /// Has the socket rest, by which nothing more is to come.
    fn rest(&self, worker: &Worker, route: Route) {
        let source = route.slot.server().settings();
        let source = source.source.as_deref();
        let source = source.or(self.backend.side().source.as_deref());
        if present::foreign_source(source, self.opened.info.ends.src(), None).is_none()
            && let Some(link) = Rc::into_inner(route.link)
        {
            let uid = route.slot.server().uid;
            worker.datagrams.resting.put(uid, link, worker.now());
        }
    }

    fn prefix(&self, worker: &Worker, server: &state::Server, payload: &[u8]) -> Vec<u8> {
        let settings = server.settings();
        let Some(SendProxy::V2 { crc32c, .. }) = settings.send_proxy else {
            return Vec::new();
        };
        let unique = self.opened.frontend.side().unique_id_format.as_deref();
        let stream = self.stream.borrow();
        let extensions = with_ctx(worker, &self.opened, &stream, payload, |cx| {
            present::extensions(&settings, unique, cx)
        });
        let extensions: Vec<(u8, &[u8])> =
            extensions.iter().map(|(k, v)| (*k, v.as_slice())).collect();
        let addresses = self.opened.info.ends.src().zip(self.opened.info.ends.dst());
        wire::proxy::datagram_header(addresses, &extensions, crc32c)
    }

    /// Passes answers on until the session is over.
    pub async fn run(&self, worker: &Worker) {
        let ended = poll_fn(|cx| self.poll(worker, cx)).await;
        self.finish(worker, ended);
    }

    fn poll(&self, worker: &Worker, cx: &mut Context<'_>) -> Poll<Termination> {
        worker.new_poll();
        self.remember(cx);
        for _ in 0..STEPS_AT_ONCE {
            if self.opened.seat.was_killed() {
                self.end(Termination::new(Cause::Killed, Phase::Data));
            }
            if let Some(ended) = self.ended.get() {
                return Poll::Ready(ended);
            }
            if self.is_cut() {
                self.move_on(worker);
                continue;
            }
            let Some(link) = self.link() else {
                self.end(Termination::new(Cause::ServerAbort, Phase::Connect));
                continue;
            };
            if link.poll_news(cx).is_ready() {
                self.read(worker, &link);
                continue;
            }
            self.timer.arm(Some(self.deadline()));
            if self.timer.poll_expired(cx).is_pending() {
                return Poll::Pending;
            }
            self.end(self.patience_over());
        }
        // Others want to be served, too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn link(&self) -> Option<Rc<Link>> {
        self.route.borrow().as_ref().map(|r| Rc::clone(&r.link))
    }

    fn read(&self, worker: &Worker, link: &Link) {
        let mut batch = worker.datagrams.answers();
        // A question has one answer, as a rule.
        match link.receive(&mut batch, self.asking.get()) {
            Ok(()) => {
                pause::passed(batch.len());
                match (batch.len(), batch.get(0)) {
                    (1, Some(one)) => self.server_says(worker, &[one]),
                    (several, _) => {
                        if self.backend.side().udp_responses.is_none() {
                            link.join();
                        }
                        let all: Vec<Datagram<'_>> =
                            (0..several).filter_map(|at| batch.get(at)).collect();
                        self.server_says(worker, &all);
                    }
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted || batch::was_too_long(&e) => {}
            Err(_) => {
                // The last word from there was that nobody listens.
                drop(batch);
                self.move_on(worker);
            }
        }
    }

    /// Finds another server, and asks it what the last one did not answer.
    fn move_on(&self, worker: &Worker) {
        let unanswered = std::mem::take(&mut *self.unanswered.borrow_mut());
        let waiting = self.asking.get() && !unanswered.is_empty();
        let again = Datagram {
            bytes: &unanswered,
            from: None,
            to: None,
            segment: None,
        };
        let again = std::slice::from_ref(&again);
        let again = if waiting { again } else { &[] };
        self.elsewhere(worker, &unanswered, again);
        *self.unanswered.borrow_mut() = unanswered;
    }

    fn is_cut(&self) -> bool {
        let route = self.route.borrow();
        let cut = route.as_ref().and_then(|r| r.cut.as_ref());
        cut.is_some_and(state::cut::Watch::is_cut)
    }

    fn remember(&self, cx: &mut Context<'_>) {
        let mut known = self.waker.borrow_mut();
        if known.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            return;
        }
        *known = Some(cx.waker().clone());
        self.opened.seat.wake_by(cx.waker());
        // Whoever ends sessions must find this one.
        if let Some(route) = &mut *self.route.borrow_mut() {
            route.cut = route.slot.watch_cuts(cx.waker());
        }
    }

    fn server_says(&self, worker: &Worker, datagrams: &[Datagram<'_>]) {
        if datagrams.is_empty() {
            return;
        }
        let (socket, outbox) = (&self.opened.socket, &worker.datagrams.outbox);
        match datagrams {
            [one] if one.count() == 1 && one.bytes.len() <= outbox::LONGEST => {
                outbox.put(socket, &self.peer, self.key.local, one.bytes);
            }
            several => {
                // Nothing overtakes what this session has said before.
                outbox.send();
                let way = batch::Route {
                    fd: socket.as_raw_fd(),
                    to: Some(&self.peer),
                    from: self.key.local,
                    prefix: &[],
                };
                // A client that cannot be reached is found out by its silence.
                let _ = batch::send(&way, several);
            }
        }
        let bytes: u64 = datagrams.iter().map(|d| d.bytes.len() as u64).sum();
        let count: u64 = datagrams.iter().map(Datagram::count).sum();
        add(&self.counts.sent, bytes);
        add(&self.counts.answers, count);
        self.count(worker, 0, bytes);
        let now = worker.now();
        if self.asking.replace(false)
            && let Some(route) = &*self.route.borrow()
        {
            let took = now.saturating_duration_since(self.active.get());
            route.slot.answered(took, worker.process.millis(now));
        }
        self.active.set(now);
        if self
            .awaited()
            .is_some_and(|n| self.counts.answers.get() >= n)
        {
            self.end(Termination::default());
        }
    }

    /// How many answers there are to be for what the client has asked, where that is known.
    fn awaited(&self) -> Option<u64> {
        let each = self.backend.side().udp_responses.filter(|n| *n > 0)?;
        Some(u64::from(each) * self.counts.requests.get())
    }

    /// Whether each answer that there is to be has come, by the one socket there was, and no other.
    fn is_answered(&self) -> bool {
        let counts = &self.counts;
        counts.redispatches.get() == 0 && self.awaited() == Some(counts.answers.get())
    }

    /// When it has been silent for too long: its server, while the client waits for an answer; else
    /// its client.
    fn deadline(&self) -> Instant {
        let limit = if self.asking.get() {
            self.backend.proxy().timeouts.server
        } else {
            self.opened.frontend.proxy().timeouts.client
        };
        self.active.get() + limit.unwrap_or(PATIENCE)
    }

    fn patience_over(&self) -> Termination {
        if self.asking.get() {
            Termination::new(Cause::ServerTimeout, Phase::Data)
        } else {
            // A client of datagrams does not say that it leaves.
            Termination::default()
        }
    }

    fn end(&self, how: Termination) {
        if self.ended.get().is_none() {
            self.ended.set(Some(how));
            if let Some(waker) = &*self.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }

    fn count(&self, worker: &Worker, received: u64, sent: u64) {
        let route = self.route.borrow();
        let server = route.as_ref().map(|r| r.slot.server());
        if let Some(route) = &*route
            && matches!(self.backend.side().balance, Balance::Bandwidth)
        {
            route.slot.passed(received + sent, worker.millis());
        }
        for counters in [
            Some(self.opened.frontend.counters().of(worker.id)),
            Some(self.backend.counters().of(worker.id)),
        ]
        .into_iter()
        .flatten()
        {
            counters.bin.add(received);
            counters.bout.add(sent);
        }
        if let Some(server) = server {
            let counters = server.counters.of(worker.id);
            counters.bin.add(received);
            counters.bout.add(sent);
        }
        let process = worker.process.counters.of(worker.id);
        process.bytes_out.add(sent);
    }
}

fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get() + n);
}

fn add32(cell: &Cell<u32>) {
    cell.set(cell.get().saturating_add(1));
}
