//! A connection's visit at a backend: its place on a server there, when it came to it, and what is
//! counted and logged of it. It lasts as long as the connection, so it is kept small.

use crate::account;
use crate::moment::{Lag, Moment};
use crate::report;
use crate::session::Client;
use crate::termination::{Cause, Phase, Termination};
use crate::worker::Worker;
use rules::{LogFacts, LogLevelChange, StreamInfo, Timers};
use state::{Backend, Slot};
use std::sync::Arc;
use std::time::Instant;

/// What is known of it.
pub struct Visit {
    /// When it began.
    begun: Moment,
    /// How long after that it had a place on a server first.
    queued: Option<Lag>,
    /// How long after its beginning it was connected.
    connected: Option<Lag>,
    /// The place on a server.
    pub slot: Option<Slot>,
    /// The backend that was entered.
    pub backend: Option<Arc<Backend>>,
    /// Attempts after the first.
    pub retries: u32,
    /// It counts among the backend's sessions.
    entered: bool,
    /// One of the attempts was made elsewhere.
    pub redispatched: bool,
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

impl Visit {
    /// One that has led nowhere yet.
    pub fn new(begun: Moment) -> Visit {
        Visit {
            begun,
            queued: None,
            connected: None,
            slot: None,
            backend: None,
            retries: 0,
            entered: false,
            redispatched: false,
            logged_early: false,
        }
    }

    /// It has a place on a server; the first counts.
    pub fn placed(&mut self, at: Moment) {
        self.queued.get_or_insert(Lag::new(self.begun, at));
    }

    /// It is connected.
    pub fn connected(&mut self, at: Moment) {
        self.connected = Some(Lag::new(self.begun, at));
    }

    /// It counts among this backend's sessions.
    pub fn enter(&mut self, backend: Arc<Backend>) {
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

    /// Another begins at the same backend and the same server.
    pub fn again(&mut self, begun: Moment) {
        self.begun = begun;
        (self.queued, self.connected) = (None, None);
        (self.retries, self.redispatched) = (0, false);
        self.logged_early = false;
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
                let took = worker.moment(worker.now()).since(self.begun);
                if let Some(queued) = self.queued.map(Lag::millis) {
                    c.qtime.event(queued);
                    if let Some(connected) = self.connected.map(Lag::millis) {
                        c.ctime.event(connected.saturating_sub(queued));
                    }
                }
                c.ttime.event(took.as_millis() as u64);
            }
            match ended.cause {
                Cause::ClientAbort | Cause::ClientTimeout if i > 0 => c.cli_abrt.add(1),
                Cause::ServerAbort | Cause::ServerTimeout
                    if i > 0 && ended.phase == Phase::Data =>
                {
                    c.srv_abrt.add(1);
                }
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
    pub fn log(
        &self,
        worker: &Worker,
        client: &mut Client,
        info: &StreamInfo,
        outcome: &Outcome,
        unfinished: bool,
    ) {
        let Outcome {
            received,
            sent,
            server_bytes,
            status,
            ended,
        } = *outcome;
        let end = Instant::now();
        let over = worker.moment(end).since(self.begun).as_millis() as u64;
        let server = self.slot.as_ref().map(|s| Arc::clone(s.server()));
        let proxy = client.frontend.proxy();
        let side = client.frontend.side();
        let null = side.dontlognull && received == 0 && sent == 0 && !unfinished;
        if proxy.logs.is_empty() || null || (side.dontlog_normal && ended.is_normal()) {
            return;
        }
        let (queued, connected) = (
            self.queued.map(Lag::millis),
            self.connected.map(Lag::millis),
        );
        let span = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => b.saturating_sub(a) as i64,
            _ => -1,
        };
        let client_came_to = info.overrides.dst(&client.info);
        let facts = LogFacts {
            request: worker.wall(worker.instant(self.begun)),
            end: worker.wall(end),
            timers: Some(Timers {
                th: client.handshake.millis(),
                ti: -1,
                tr_request: -1,
                tw: span(Some(0), queued),
                tc: span(queued, connected),
                tr: -1,
                td: span(connected, Some(over)),
                ta: over as i64,
                tt: over as i64,
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
            unfinished: side.logasap,
            ..LogFacts::default()
        };
        let format = worker.format_of(&client.frontend);
        let level = match info.log_level {
            LogLevelChange::Silent => return,
            LogLevelChange::Level(n) => crate::log_level(n),
            LogLevelChange::Unchanged => model::LogLevel::Info,
        };
        client.destination();
        report::log_session(worker, client, Some(info), &facts, &format, level, end);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.depart();
    }
}
