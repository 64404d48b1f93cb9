//! The way of a connection's bytes to a server: the backend it entered, its place there, what is
//! counted and logged of it. `mode tcp` has one for each connection, `mode smtp` one for each message.

use crate::account;
use crate::choose;
use crate::connect::{self, ConnectFailure};
use crate::observe;
use crate::place;
use crate::pool::ServerConn;
use crate::present::{self, Told};
use crate::report;
use crate::session::Client;
use crate::stick::{self, Sticking};
use crate::termination::{Cause, Phase, Termination};
use crate::worker::Worker;
use rules::{LogFacts, LogLevelChange, StreamInfo, Timers};
use state::{Backend, Slot};
use std::sync::Arc;
use std::time::Instant;

/// What is known of it while it lasts.
pub struct Passage {
    /// What rules and logs may know.
    pub info: StreamInfo,
    /// When it began.
    pub begun: Instant,
    queued: Option<Instant>,
    connected: Option<Instant>,
    /// The place on a server.
    pub slot: Option<Slot>,
    backend: Option<Arc<Backend>>,
    /// It counts among the backend's sessions.
    entered: bool,
    retries: u32,
    redispatched: bool,
    /// `set-log-level`.
    pub log_level: LogLevelChange,
    /// The server that the first attempt passes over, by its `uid`.
    pub avoid: Option<u32>,
    /// `option logasap` has had its line written already.
    pub logged_early: bool,
}

/// What has passed, and how it ended.
#[derive(Clone, Copy, Default)]
pub struct Outcome {
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// Bytes to the server and from it, where they are counted apart.
    pub server_bytes: Option<[u64; 2]>,
    /// The code of the last reply, where there are replies.
    pub status: Option<u16>,
    /// How it ended.
    pub ended: Termination,
}

/// The backend that `use_backend` and `default_backend` lead to.
pub fn switch(
    worker: &Worker,
    client: &Client,
    info: &StreamInfo,
) -> Result<Arc<Backend>, Termination> {
    let generation = worker.generation();
    let frontend = Arc::clone(&client.frontend);
    let chosen = place::with_ctx(worker, client, info, |cx| {
        choose::switch(&frontend, &generation, cx)
    });
    chosen.ok_or(Termination::new(Cause::ServerAbort, Phase::Connect))
}

impl Passage {
    /// One that has led nowhere yet.
    pub fn new(begun: Instant) -> Passage {
        Passage {
            info: StreamInfo::default(),
            begun,
            queued: None,
            connected: None,
            slot: None,
            backend: None,
            entered: false,
            retries: 0,
            redispatched: false,
            log_level: LogLevelChange::Unchanged,
            avoid: None,
            logged_early: false,
        }
    }

    /// The backend that was entered.
    pub fn backend(&self) -> Option<&Arc<Backend>> {
        self.backend.as_ref()
    }

    /// It belongs to this backend from now on.
    pub fn enter(&mut self, worker: &Worker, client: &Client, backend: Arc<Backend>) {
        self.info.backend = Some(Arc::clone(&backend.name));
        self.info.backend_id = backend.id;
        backend.sessions().enter();
        let counters = backend.counters().of(worker.id);
        counters.stot.add(1);
        counters.sess_rate.event(worker.millis());
        client.seat.live.enter(backend.id);
        self.backend = Some(backend);
        self.entered = true;
    }

    /// It belongs to none any more, and gives its place back.
    pub fn leave(&mut self) {
        self.slot = None;
        self.depart();
        self.backend = None;
    }

    /// It is no session of the backend's any more, but still known as one that was.
    pub fn depart(&mut self) {
        if let Some(backend) = self.backend.as_ref().filter(|_| self.entered) {
            backend.sessions().leave();
        }
        self.entered = false;
    }

    /// Another begins on the way that this one has made: same backend, same server.
    pub fn again(&mut self, begun: Instant) {
        self.begun = begun;
        (self.queued, self.connected) = (None, None);
        (self.retries, self.redispatched) = (0, false);
        self.logged_early = false;
        self.log_level = LogLevelChange::Unchanged;
        (self.info.priority_class, self.info.priority_offset) = Default::default();
    }

    /// A place on a server and a connection to it.
    pub async fn reach(
        &mut self,
        worker: &Worker,
        client: &mut Client,
        backend: &Arc<Backend>,
    ) -> Result<ServerConn, Termination> {
        let mut avoid = self.avoid.take();
        let mut sticking = sticking(worker, client, backend, &self.info);
        let mut last = None;
        let mut scheduled = true;
        loop {
            let sticky = sticking.server.take();
            let (avoided, again) = (avoid.take(), last.take());
            let same = again.is_some();
            let asked = place::Asked {
                again,
                avoid: avoided,
                sticky,
            };
            let taken = place::take(worker, client, backend, &self.info, asked).await;
            let (slot, by_scheduler) = match taken {
                Ok(taken) => taken,
                Err(ended) => {
                    if ended.cause != Cause::ClientAbort {
                        backend.counters().of(worker.id).econ.add(1);
                    }
                    return Err(ended);
                }
            };
            if !same {
                scheduled = by_scheduler;
            }
            self.queued.get_or_insert_with(|| worker.now());
            let server = Arc::clone(slot.server());
            self.info.server = Some(Arc::clone(&server.name));
            self.info.server_id = server.id;
            client.seat.live.assign(server.id);
            self.slot = Some(slot);
            let counters = server.counters.of(worker.id);
            let now = worker.millis();
            counters.stot.add(1);
            counters.sess_rate.event(now);
            for c in [counters, backend.counters().of(worker.id)] {
                c.lbtot.add(u64::from(by_scheduler));
                c.last_session.raise(now + 1);
            }
            let told = told(worker, client, &self.info, backend, &server);
            match connect::open(worker, client, backend, &server, told, &self.info).await {
                Ok(connection) => {
                    let now = worker.now();
                    sticking.store(&server, worker.process.millis(now));
                    self.connected = Some(now);
                    self.info.server_tls = connection.io.tls_info();
                    observe::plain_connection(worker, backend, &server, true);
                    if let (Some(slot), Some(began)) = (&self.slot, self.queued) {
                        let took = now.saturating_duration_since(began);
                        slot.answered(took, worker.process.millis(now));
                    }
                    return Ok(connection);
                }
                Err(ConnectFailure::ClientGone) => {
                    return Err(Termination::new(Cause::ClientAbort, Phase::Connect));
                }
                // It was there, and may have understood that somebody came: not for another try.
                Err(ConnectFailure::Reset) => {
                    self.connected = Some(worker.now());
                    return Err(Termination::new(Cause::ServerAbort, Phase::Data));
                }
                Err(failure) => {
                    observe::plain_connection(worker, backend, &server, false);
                    if let Some(slot) = &self.slot {
                        slot.failed(worker.millis());
                    }
                    let all = [counters, backend.counters().of(worker.id)];
                    let side = backend.side();
                    if self.retries >= crate::overrides::retries(side, &self.info) {
                        all.iter().for_each(|c| c.econ.add(1));
                        return Err(Termination::new(failure.cause(), Phase::Connect));
                    }
                    self.retries += 1;
                    self.slot = None;
                    if choose::redispatches(backend, self.retries, scheduled) {
                        avoid = Some(server.uid);
                        self.redispatched = true;
                        all.iter().for_each(|c| c.wredis.add(1));
                    } else {
                        last = Some(Arc::clone(&server));
                        all.iter().for_each(|c| c.wretr.add(1));
                        let pause = std::time::Duration::from_secs(1);
                        let pause = backend
                            .proxy()
                            .timeouts
                            .connect
                            .map_or(pause, |t| t.min(pause));
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    }

    /// A server was reached but is of no use after all: it does not greet, or says that it is busy.
    /// The next attempt may be made, elsewhere where that is allowed; else the end.
    pub fn dismiss(
        &mut self,
        worker: &Worker,
        backend: &Backend,
        cause: Cause,
    ) -> Result<(), Termination> {
        let ended = Termination::new(cause, Phase::Connect);
        let Some(slot) = &self.slot else {
            return Err(ended);
        };
        slot.failed(worker.process.millis(worker.now()));
        let server = Arc::clone(slot.server());
        let all = [
            server.counters.of(worker.id),
            backend.counters().of(worker.id),
        ];
        if self.retries >= crate::overrides::retries(backend.side(), &self.info) {
            all.iter().for_each(|c| c.econ.add(1));
            return Err(ended);
        }
        self.retries += 1;
        self.slot = None;
        if choose::redispatches(backend, self.retries, true) {
            self.avoid = Some(server.uid);
            self.redispatched = true;
            all.iter().for_each(|c| c.wredis.add(1));
        } else {
            all.iter().for_each(|c| c.wretr.add(1));
        }
        Ok(())
    }

    /// Counts what has passed.
    pub fn count(&self, worker: &Worker, client: &mut Client, outcome: &Outcome) {
        let Outcome {
            received,
            sent,
            ended,
            ..
        } = *outcome;
        let backend = self.backend.as_ref();
        let server = self.slot.as_ref().map(|s| Arc::clone(s.server()));
        let counters = [
            Some(client.frontend.counters().of(worker.id)),
            backend.map(|b| b.counters().of(worker.id)),
            server.as_ref().map(|s| s.counters.of(worker.id)),
        ];
        for (i, c) in counters.into_iter().enumerate() {
            let Some(c) = c else { continue };
            c.bin.add(received);
            c.bout.add(sent);
            if i > 0 {
                let end = worker.now();
                let span =
                    |a: Instant, b: Instant| b.saturating_duration_since(a).as_millis() as u64;
                if let Some(queued) = self.queued {
                    c.qtime.event(span(self.begun, queued));
                    if let Some(connected) = self.connected {
                        c.ctime.event(span(queued, connected));
                    }
                }
                c.ttime.event(span(self.begun, end));
            }
            match ended.cause {
                Cause::ClientAbort | Cause::ClientTimeout if i > 0 => c.cli_abrt.add(1),
                Cause::ServerAbort if i > 0 && ended.phase == Phase::Data => c.srv_abrt.add(1),
                _ => {}
            }
        }
        for c in account::of_client(worker, client).skip(1) {
            c.bin.add(received);
            c.bout.add(sent);
        }
        worker.process.counters.of(worker.id).bytes_out.add(sent);
        let now = worker.millis();
        client.tracked.passed(received, sent, now);
    }

    /// Writes the log line: at the end, or with `option logasap` once the server is connected.
    pub fn log(&self, worker: &Worker, client: &mut Client, outcome: &Outcome, unfinished: bool) {
        let Outcome {
            received,
            sent,
            server_bytes,
            status,
            ended,
        } = *outcome;
        let end = Instant::now();
        let server = self.slot.as_ref().map(|s| Arc::clone(s.server()));
        let proxy = client.frontend.proxy();
        let side = client.frontend.side();
        let null = side.dontlognull && received == 0 && sent == 0 && !unfinished;
        if proxy.logs.is_empty() || null || (side.dontlog_normal && ended.is_normal()) {
            return;
        }
        let span = |a: Option<Instant>, b: Option<Instant>| match (a, b) {
            (Some(a), Some(b)) => b.saturating_duration_since(a).as_millis() as i64,
            _ => -1,
        };
        let client_came_to = self.info.overrides.dst(&client.info);
        let facts = LogFacts {
            request: worker.wall(self.begun),
            end: worker.wall(end),
            timers: Some(Timers {
                th: client.handshake.as_millis() as i64,
                ti: -1,
                tr_request: -1,
                tw: span(Some(self.begun), self.queued),
                tc: span(self.queued, self.connected),
                tr: -1,
                td: span(self.connected, Some(end)),
                ta: span(Some(self.begun), Some(end)),
                tt: span(Some(self.begun), Some(end)),
            }),
            status,
            termination: ended.flags(*b"--"),
            bytes_read: sent,
            bytes_uploaded: received,
            server_bytes,
            actconn: worker.process.connections.now(),
            feconn: client.frontend.sessions().now(),
            beconn: self.backend.as_ref().map_or(0, |b| b.sessions().now()),
            // At the end this session counts no more.
            srv_conn: server.as_ref().map_or(0, |s| {
                s.sessions.now().saturating_sub(u64::from(!unfinished))
            }),
            retries: self.retries,
            redispatched: self.redispatched,
            server_address: server
                .and_then(|s| s.target())
                .and_then(|t| t.socket(client_came_to)),
            tls: client.info.tls.is_some(),
            unfinished,
            ..LogFacts::default()
        };
        let format = worker.format_of(&side.log_format);
        let level = match self.log_level {
            LogLevelChange::Silent => return,
            LogLevelChange::Level(n) => crate::log_level(n),
            LogLevelChange::Unchanged => model::LogLevel::Info,
        };
        client.destination();
        let info = &self.info;
        report::log_session(worker, client, Some(info), &facts, &format, level, end);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.depart();
    }
}

/// What the `stick` rules find, those for responses included: of a connection nothing more is
/// known later.
fn sticking(worker: &Worker, client: &Client, backend: &Backend, info: &StreamInfo) -> Sticking {
    let generation = worker.generation();
    let now_ms = worker.millis();
    place::with_ctx(worker, client, info, |cx| {
        stick::connection(backend, &generation, cx, now_ms)
    })
}

/// What the server is told of this client.
fn told(
    worker: &Worker,
    client: &Client,
    info: &StreamInfo,
    backend: &Backend,
    server: &state::Server,
) -> Told {
    let settings = server.settings();
    if settings.tls.is_none() && settings.send_proxy.is_none() {
        return Told::default();
    }
    let unique = client.frontend.side().unique_id_format.as_deref();
    place::with_ctx(worker, client, info, |cx| {
        present::told(&settings, backend.side(), unique, cx)
    })
}
