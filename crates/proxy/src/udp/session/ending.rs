//! How a session of datagrams ends: what it held, what is logged of it.

use super::Session;
use crate::report;
use crate::termination::{Cause, Termination};
use crate::worker::Worker;
use rules::{LogFacts, Timers};
use std::sync::Arc;
use std::time::Instant;

impl Session {
    /// Gives back what it held, and writes its line.
    pub(super) fn finish(&self, worker: &Worker, ended: Termination) {
        self.backend.sessions().leave();
        let millis = worker.millis();
        let (received, sent) = (self.counts.received.get(), self.counts.sent.get());
        self.opened.tracked.passed(received, sent, millis);
        let route = self.route.borrow_mut().take();
        let server = route.as_ref().map(|r| r.slot.server());
        if let (Some(server), Cause::ServerTimeout) = (server, ended.cause) {
            server.counters.of(worker.id).srv_abrt.add(1);
            self.backend.counters().of(worker.id).srv_abrt.add(1);
        }
        self.log(worker, ended, server);
        if let Some(route) = route.filter(|_| self.is_answered()) {
            self.rest(worker, route);
        }
    }

    fn log(&self, worker: &Worker, ended: Termination, server: Option<&Arc<state::Server>>) {
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
            srv_conn: server.map_or(0, |s| s.sessions.now()),
            retries: self.counts.redispatches.get(),
            redispatched: self.counts.redispatches.get() > 0,
            server_address: server
                .and_then(|s| s.target())
                .and_then(|t| t.socket(self.opened.info.ends.dst())),
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
        let format = worker.format_of(&self.opened.frontend);
        report::write(worker, &told, &facts, &format, model::LogLevel::Info, end);
    }
}
