//! What log lines say when a server's state changes, word for word as HAProxy says it.

use crate::backend::Backend;
use crate::generation::Generation;
use crate::health::Finding;
use crate::server::{Admin, Server};
use model::{LogLevel, Proxy};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

/// A line for the logs of a proxy, or for its mails.
#[derive(Debug)]
pub struct Line {
    /// Whether it goes by mail.
    pub mail: bool,
    /// Whose logs it is for.
    pub proxy: Arc<Proxy>,
    /// How grave it is.
    pub level: LogLevel,
    /// What it says.
    pub text: String,
}

/// Lines on their way to whoever writes logs, in the order they were told.
#[derive(Debug, Default)]
pub struct News {
    waiting: Mutex<(VecDeque<Line>, Option<Waker>)>,
}

impl News {
    /// Hands a line over.
    pub fn tell(&self, proxy: &Arc<Proxy>, level: LogLevel, text: String) {
        if !proxy.logs.is_empty() {
            self.hand_over(proxy, level, text, false);
        }
    }

    /// Hands a line over that goes by mail, where the proxy wants mails of such gravity.
    pub fn mail(&self, proxy: &Arc<Proxy>, level: LogLevel, text: &str) {
        let email = proxy.backend.as_ref().and_then(|b| b.email.as_ref());
        if email.is_some_and(|e| level <= e.level) {
            let text = text.strip_suffix('.').unwrap_or(text);
            self.hand_over(proxy, level, text.to_string(), true);
        }
    }

    fn hand_over(&self, proxy: &Arc<Proxy>, level: LogLevel, text: String, mail: bool) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0.push_back(Line {
            mail,
            proxy: Arc::clone(proxy),
            level,
            text,
        });
        if let Some(waker) = waiting.1.take() {
            waker.wake();
        }
    }

    /// The next line; `waker` is told when there is one.
    pub fn poll_next(&self, waker: &Waker) -> Poll<Line> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.0.pop_front() {
            Some(line) => Poll::Ready(line),
            None => {
                waiting.1 = Some(waker.clone());
                Poll::Pending
            }
        }
    }
}

/// What brought a change about.
#[derive(Clone, Copy, Debug)]
pub enum Cause<'a> {
    /// A check, or the agent.
    Found(&'a Finding),
    /// An operator.
    Cli,
    /// The server that it tracks, as `backend/server`.
    Via(&'a str),
}

/// How a server stands, to be compared before and after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    up: bool,
    stopping: bool,
    admin: Admin,
    /// Whether its backend could choose any server.
    serves: bool,
}

impl Standing {
    /// How it stands now.
    pub fn of(backend: &Backend, server: &Server) -> Standing {
        Standing {
            up: server.is_up(),
            stopping: server.is_stopping(),
            admin: server.admin(),
            serves: backend.serves(),
        }
    }

    /// Whether what came of it since `before` is worth a mail: up, down and drain are, maintenance
    /// is not (manual, `email-alert level`).
    pub fn is_worth_a_mail(&self, before: Standing) -> bool {
        let maintained = before.admin.in_maintenance() || self.admin.in_maintenance();
        let drains = !before.admin.draining() && self.admin.draining();
        let turned = (before.up, before.stopping) != (self.up, self.stopping);
        !maintained && (drains || turned)
    }
}

/// The lines that tell what has changed since `before`; the backend has taken note of it.
pub fn lines(
    backend: &Backend,
    server: &Server,
    before: Standing,
    cause: Cause<'_>,
) -> Vec<(LogLevel, String)> {
    let now = Standing::of(backend, server);
    let kind = if server.is_backup() { "Backup " } else { "" };
    let who = format!("{kind}Server {}/{}", backend.name, server.name);
    let via = match cause {
        Cause::Via(other) => format!(" via {other}"),
        _ => String::new(),
    };
    let forced = if via.is_empty() { "forced " } else { "" };
    // What was not serving anyway is no alarm.
    let grave = match before.admin.draining() {
        true => LogLevel::Notice,
        false => LogLevel::Alert,
    };
    let remains = match via.is_empty() {
        true => format!("{who} remains in forced drain mode."),
        false => format!("{who} is leaving forced drain but remains in drain mode{via}."),
    };
    let mut out = Vec::new();
    match (
        before.admin.in_maintenance(),
        now.admin.in_maintenance(),
        before.admin.draining(),
        now.admin.draining(),
    ) {
        (false, true, ..) if before.up => out.push((
            grave,
            format!(
                "{who} is going DOWN for maintenance{via}. {}",
                left(backend, server)
            ),
        )),
        (false, true, ..) => out.push((
            LogLevel::Notice,
            format!("{who} was DOWN and now enters maintenance{via}."),
        )),
        (true, false, _, drains) => {
            let up = if now.up { "UP" } else { "DOWN" };
            let mode = if drains { "DRAIN" } else { "READY" };
            out.push((
                LogLevel::Notice,
                format!("{who} is {up}/{mode} (leaving {forced}maintenance)."),
            ));
            if drains {
                out.push((LogLevel::Notice, remains));
            }
        }
        (true, true, ..) => {}
        (false, false, false, true) => out.push((
            LogLevel::Notice,
            format!("{who} enters drain state{via}. {}", online(backend)),
        )),
        (false, false, true, false) => {
            let up = if now.up { "UP" } else { "DOWN" };
            out.push((
                LogLevel::Notice,
                format!("{who} is {up} (leaving forced drain)."),
            ));
        }
        (false, false, _, drains) => {
            let cause = match cause {
                Cause::Cli => ", changed from CLI".to_string(),
                // The line about the check has said why already.
                Cause::Found(_) if backend.side().log_health_checks => String::new(),
                Cause::Found(found) => format!(", reason: {}", found.reason()),
                Cause::Via(_) => via,
            };
            let line = match ((before.up, before.stopping), (now.up, now.stopping)) {
                (b, n) if b == n => None,
                (_, (false, _)) => Some((
                    grave,
                    format!("{who} is DOWN{cause}. {}", left(backend, server)),
                )),
                (_, (true, true)) => Some((
                    LogLevel::Notice,
                    format!("{who} is stopping{cause}. {}", online(backend)),
                )),
                _ => Some((
                    LogLevel::Notice,
                    format!("{who} is UP{cause}. {}", online(backend)),
                )),
            };
            let turned = line.is_some();
            out.extend(line);
            if drains && turned {
                out.push((LogLevel::Notice, remains));
            }
        }
    }
    if before.serves && !now.serves {
        out.push((LogLevel::Emerg, deserted(backend)));
    }
    out
}

/// The line that a backend has lost its last server.
pub fn deserted(backend: &Backend) -> String {
    let kind = backend.proxy().kind.in_lines();
    format!("{kind} {} has no server available!", backend.name)
}

/// What becomes of a frontend by an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// It takes nobody any more, for now.
    Off,
    /// It takes clients again.
    On,
}

/// The line that an operator has turned a frontend off or on.
pub fn turned(frontend: &crate::Frontend, turned: Turned) -> String {
    let done = match turned {
        Turned::Off => "Paused",
        Turned::On => "Resumed",
    };
    let kind = frontend.proxy().kind.in_lines();
    format!("{done} {kind} {}.", frontend.name)
}

/// The line that a proxy takes nobody any more for good, and how many connections each of its sides had.
pub fn stopped(generation: &Generation, proxy: &Proxy) -> String {
    let front = generation.frontend(&proxy.name);
    let back = generation.backend(&proxy.name);
    let front = front.map_or(0, |f| f.counters().sum(|c| &c.conn_tot));
    let back = back.map_or(0, |b| b.counters().sum(|c| &c.stot));
    let name = &proxy.name;
    format!("Proxy {name} stopped (cumulated conns: FE: {front}, BE: {back}).")
}

/// The line of `option log-health-checks` about one check.
pub fn check_line(backend: &Backend, server: &Server, agent: bool) -> Option<String> {
    use crate::health::Outcome;
    let health = server.health();
    let (kind, found, up, at, of) = if agent {
        let agent = health.agent()?;
        ("Agent", &agent.last, !agent.down, u32::from(!agent.down), 1)
    } else {
        let (at, of) = health.progress();
        ("Health", &health.last, health.passes(), at, of)
    };
    let result = match found.status.outcome() {
        Outcome::Passed => "succeeded",
        Outcome::Conditional => "conditionally succeeded",
        _ => "failed",
    };
    let backup = if server.is_backup() { "backup " } else { "" };
    let state = match (up, server.weight()) {
        (false, _) => "DOWN",
        (true, 0) => "DRAIN",
        (true, _) => "UP",
    };
    Some(format!(
        "{kind} check for {backup}server {}/{} {result}, reason: {}, status: {at}/{of} {state}.",
        backend.name,
        server.name,
        found.reason(),
    ))
}

fn on_backup(active: usize, backup: usize) -> &'static str {
    match (active, backup) {
        (0, 1..) => " Running on backup.",
        _ => "",
    }
}

pub(crate) fn left(backend: &Backend, server: &Server) -> String {
    let (active, backup) = backend.counts();
    format!(
        "{active} active and {backup} backup servers left.{} {} sessions active, 0 requeued, {} remaining in queue.",
        on_backup(active, backup),
        server.sessions.now(),
        server.queued.now(),
    )
}

fn online(backend: &Backend) -> String {
    let (active, backup) = backend.counts();
    format!(
        "{active} active and {backup} backup servers online.{} 0 sessions requeued, {} total in queue.",
        on_backup(active, backup),
        backend.queued().now(),
    )
}
