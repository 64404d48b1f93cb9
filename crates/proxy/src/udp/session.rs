//! One session of datagrams: its server, its limits, its end.

use super::Key;
use super::batch::{self, Datagram};
use super::open::{OpenedDatagrams, allowed, with_ctx};
use crate::choose;

use crate::present;
use crate::report;
use crate::socket::{self, Outgoing};
use crate::termination::{Cause, Phase, Termination};
use crate::timer::Timer;
use crate::worker::Worker;
use model::SendProxy;
use rules::{LogFacts, StreamInfo, Timers};
use state::{Backend, Pick, Slot};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// How long a session may be silent where no timeout says so.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest datagram that is kept for another server, bytes.
const KEPT: usize = 4096;

/// The way to one server.
struct Route {
    slot: Slot,
    socket: Rc<AsyncFd<OwnedFd>>,
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
                    choose::switch(&frontend, &generation, cx)
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
        opened.seat.live.begin(0);
        opened.seat.live.enter(backend.id);
        let session = Session {
            peer: key.0.into(),
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
            fd: route.socket.as_raw_fd(),
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
        let (wanted, key) = {
            let stream = self.stream.borrow();
            with_ctx(worker, &self.opened, &stream, payload, |cx| {
                let side = self.backend.side();
                (
                    choose::use_server(&self.backend, cx),
                    choose::key(side, cx, now),
                )
            })
        };
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
        self.opened.seat.live.assign(server.id);
        let counters = server.counters.of(worker.id);
        counters.stot.add(1);
        counters.lbtot.add(1);
        self.backend.counters().of(worker.id).lbtot.add(1);
        if again {
            counters.wredis.add(1);
            add32(&self.counts.redispatches);
        }
        let Ok(socket) = self.connect(&server) else {
            slot.failed(now);
            counters.econ.add(1);
            return false;
        };
        let waker = self.waker.borrow();
        let cut = slot.watch_cuts(waker.as_ref().unwrap_or(Waker::noop()));
        *self.route.borrow_mut() = Some(Route {
            slot,
            socket: Rc::new(socket),
            prefix: self.prefix(worker, &server, payload),
            cut,
        });
        if let Some(waker) = &*waker {
            waker.wake_by_ref();
        }
        true
    }

    fn connect(&self, server: &state::Server) -> io::Result<AsyncFd<OwnedFd>> {
        let target = server.target().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let address = target.socket(self.opened.info.dst);
        let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let settings = server.settings();
        let source = settings.source.as_deref();
        let options = Outgoing {
            mark: None,
            tos: None,
            source: source.or(self.backend.side().source.as_deref()),
            keepalive: None,
            user_timeout: None,
            fast_open: false,
            congestion: None,
            namespace: settings.namespace.as_deref(),
            silent: false,
            many: self.backend.side().udp_responses.is_none(),
            foreign: present::foreign_source(
                source.or(self.backend.side().source.as_deref()),
                self.opened.info.src,
                None,
            ),
        };
        let fd = socket::connect_udp(address, &options)?;
        // SAFETY: the `OwnedFd` is open, and stays open and the same until the `AsyncFd` that owns
        // it is dropped: nothing takes it out.
        let socket = unsafe { AsyncFd::register_with_interest(fd, answer_or_refusal()) };
        Ok(socket?)
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
        let addresses = self.opened.info.src.zip(self.opened.info.dst);
        wire::proxy::datagram_header(addresses, &extensions, crc32c)
    }

    /// Passes answers on until the session is over.
    pub async fn run(&self, worker: &Worker) {
        loop {
            if self.opened.seat.live.was_killed() {
                self.end(Termination::new(Cause::Killed, Phase::Data));
            }
            if let Some(ended) = self.ended.get() {
                return self.finish(worker, ended);
            }
            if self.is_cut() {
                self.move_on(worker);
                continue;
            }
            let Some(socket) = self.socket() else {
                self.end(Termination::new(Cause::ServerAbort, Phase::Connect));
                continue;
            };
            match self.answers(worker, &socket).await {
                Some(Ok(mut ready)) => self.read(worker, &socket, &mut ready),
                Some(Err(_)) => self.end(Termination::new(Cause::Resource, Phase::Data)),
                None => {}
            }
        }
    }

    fn socket(&self) -> Option<Rc<AsyncFd<OwnedFd>>> {
        self.route.borrow().as_ref().map(|r| Rc::clone(&r.socket))
    }

    /// Waits for an answer, or for the refusal that stands for one; `None` when something else has
    /// happened that the session must look at.
    async fn answers<'s>(
        &self,
        worker: &Worker,
        socket: &'s Rc<AsyncFd<OwnedFd>>,
    ) -> Option<io::Result<AsyncFdReadyGuard<'s, OwnedFd>>> {
        let mut wait = pin!(socket.ready(answer_or_refusal()));
        poll_fn(|cx| {
            worker.new_poll();
            self.remember(cx);
            if let Poll::Ready(ready) = wait.as_mut().poll(cx) {
                return Poll::Ready(Some(ready));
            }
            let moved = self.socket().is_none_or(|now| !Rc::ptr_eq(&now, socket));
            if moved || self.is_over() || self.is_cut() || self.opened.seat.live.was_killed() {
                return Poll::Ready(None);
            }
            self.timer.arm(Some(self.deadline()));
            if self.timer.poll_expired(cx).is_ready() {
                self.end(self.patience_over());
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    fn read(
        &self,
        worker: &Worker,
        socket: &AsyncFd<OwnedFd>,
        ready: &mut AsyncFdReadyGuard<'_, OwnedFd>,
    ) {
        let mut batch = worker.datagrams.batch();
        match batch.receive(socket.as_raw_fd()) {
            Ok(drained) => {
                if drained {
                    ready.clear_ready();
                }
                let all: Vec<Datagram<'_>> =
                    (0..batch.len()).filter_map(|at| batch.get(at)).collect();
                self.server_says(worker, &all);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
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
        self.opened.seat.live.wake_by(cx.waker());
        // Whoever ends sessions must find this one.
        if let Some(route) = &mut *self.route.borrow_mut() {
            route.cut = route.slot.watch_cuts(cx.waker());
        }
    }

    fn server_says(&self, worker: &Worker, datagrams: &[Datagram<'_>]) {
        if datagrams.is_empty() {
            return;
        }
        let way = batch::Route {
            fd: self.opened.socket.as_raw_fd(),
            to: Some(&self.peer),
            from: self.key.1,
            prefix: &[],
        };
        // A client that cannot be reached is found out by its silence.
        let _ = batch::send(&way, datagrams);
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
        if let Some(each) = self.backend.side().udp_responses.filter(|n| *n > 0)
            && self.counts.answers.get() >= u64::from(each) * self.counts.requests.get()
        {
            self.end(Termination::default());
        }
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

    /// Gives back what it held, and writes its line.
    fn finish(&self, worker: &Worker, ended: Termination) {
        self.backend.sessions().leave();
        let millis = worker.millis();
        let (received, sent) = (self.counts.received.get(), self.counts.sent.get());
        self.opened.tracked.passed(received, sent, millis);
        let route = self.route.borrow_mut().take();
        let server = route.as_ref().map(|r| Arc::clone(r.slot.server()));
        if let (Some(server), Cause::ServerTimeout) = (&server, ended.cause) {
            server.counters.of(worker.id).srv_abrt.add(1);
            self.backend.counters().of(worker.id).srv_abrt.add(1);
        }
        let proxy = self.opened.frontend.proxy();
        let side = self.opened.frontend.side();
        if proxy.logs.is_empty() || (side.dontlog_normal && ended.is_normal()) {
            return;
        }
        let end = Instant::now();
        let lasted = end.saturating_duration_since(self.opened.at).as_millis() as i64;
        let facts = LogFacts {
            request: self.opened.info.accepted,
            end: worker.wall(end),
            timers: Some(Timers {
                th: 0,
                ti: -1,
                tr_request: -1,
                tw: if server.is_some() { 0 } else { -1 },
                tc: if server.is_some() { 0 } else { -1 },
                tr: -1,
                td: lasted,
                ta: lasted,
                tt: lasted,
            }),
            termination: ended.flags(*b"--"),
            bytes_read: self.counts.sent.get(),
            bytes_uploaded: self.counts.received.get(),
            actconn: worker.process.connections.now(),
            feconn: self.opened.frontend.sessions().now(),
            beconn: self.backend.sessions().now(),
            srv_conn: server.as_ref().map_or(0, |s| s.sessions.now()),
            retries: self.counts.redispatches.get(),
            redispatched: self.counts.redispatches.get() > 0,
            server_address: server
                .and_then(|s| s.target())
                .and_then(|t| t.socket(self.opened.info.dst)),
            ..LogFacts::default()
        };
        let stream = self.stream.borrow();
        let told = report::Told {
            proxy,
            session: &self.opened.info,
            vars: &self.opened.vars,
            tracked: &self.opened.tracked,
            stream: &stream,
        };
        let format = worker.format_of(&side.log_format);
        report::write(worker, &told, &facts, &format, model::LogLevel::Info, end);
    }
}

/// What wakes a session: a datagram, or the news that one could not be delivered.
fn answer_or_refusal() -> Interest {
    Interest::READABLE.add(Interest::ERROR)
}

fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get() + n);
}

fn add32(cell: &Cell<u32>) {
    cell.set(cell.get().saturating_add(1));
}
