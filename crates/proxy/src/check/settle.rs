//! Results taken into a server's health, and told.

use crate::worker::Worker;
use model::LogLevel;
use state::health::{CheckStatus, Finding, Noted};
use state::news::{self, Cause, Standing};
use state::{Backend, Server};
use std::sync::Arc;
use std::time::Instant;

/// A check of a server's health came to this.
pub fn health(worker: &Worker, backend: &Arc<Backend>, server: &Server, found: Finding) {
    let took = (found.status != CheckStatus::Analysis).then_some(found.took);
    take(worker, backend, server, found, false);
    if let Some(took) = took.filter(|_| server.is_up()) {
        backend.checked(server, took);
    }
}

/// Its agent said this.
pub fn agent(worker: &Worker, backend: &Arc<Backend>, server: &Server, found: Finding) {
    take(worker, backend, server, found, true);
}

/// Traffic met so many errors that they count as a check (`observe`).
pub fn observed(worker: &Worker, backend: &Arc<Backend>, server: &Server) {
    health(worker, backend, server, Finding::of(CheckStatus::Analysis));
}

fn take(worker: &Worker, backend: &Arc<Backend>, server: &Server, found: Finding, agent: bool) {
    let now = Instant::now();
    let before = Standing::of(backend, server);
    let deadline = server.settings().check.as_ref().and_then(|c| c.deadline);
    let mut health = server.health();
    let Noted { change, news } = match agent {
        false => health.on_result(found, deadline, now),
        true => health.on_agent(found, now),
    };
    let cause = change.and_then(|_| match agent {
        false => Some(health.last.clone()),
        true => health.agent().map(|a| a.last.clone()),
    });
    drop(health);
    if news
        && backend.side().log_health_checks
        && let Some(line) = news::check_line(backend, server, agent)
    {
        let news = &worker.process.news;
        news.mail(backend.proxy(), LogLevel::Info, &line);
        news.tell(backend.proxy(), LogLevel::Notice, line);
    }
    if let Some(found) = cause {
        let cause = Cause::Found(&found);
        worker.process.changed(backend, server, before, cause, now);
    }
}
