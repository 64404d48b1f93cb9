//! What traffic tells of a server's health (`observe`, `error-limit`, `on-error`).

use crate::check;
use crate::stream::Stream;
use crate::worker::Worker;
use model::{Balance, LogLevel, Observe, OnError};
use state::{Backend, Server};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The response has begun: what a server's time to first byte is to the schedulers.
pub fn answered(stream: &Stream<'_>) {
    let times = &stream.times;
    if let (Some(slot), Some(from), Some(to)) = (&stream.slot, times.connected, times.responded) {
        let took = to.saturating_duration_since(from);
        slot.answered(took, stream.worker.process.millis(to));
    }
}

/// The server did not do what it was asked.
pub fn failed(stream: &Stream<'_>) {
    if let Some(slot) = &stream.slot {
        slot.failed(stream.worker.millis());
    }
}

/// Bytes have passed.
pub fn carried(stream: &Stream<'_>) {
    let (Some(slot), Some(backend)) = (&stream.slot, &stream.backend) else {
        return;
    };
    if matches!(backend.side().balance, Balance::Bandwidth) {
        let now = stream.worker.millis();
        slot.carried(stream.up.sent + stream.down.received, now);
    }
}

/// A connection was made, or could not be.
pub fn connection(stream: &Stream<'_>, ok: bool) {
    if !ok {
        failed(stream);
    }
    note(stream, Observe::Layer4, ok);
    if !ok {
        outlier(stream, false);
    }
}

/// A response came; without one, or with a status that means a broken server, it is an error.
pub fn response(stream: &Stream<'_>, status: Option<u16>) {
    if status.is_none() {
        failed(stream);
    }
    let ok = status.is_some_and(|s| (100..500).contains(&s) || matches!(s, 501 | 505));
    note(stream, Observe::Layer7, ok);
    outlier(stream, ok);
}

fn outlier(stream: &Stream<'_>, ok: bool) {
    if let (Some(slot), Some(backend)) = (&stream.slot, &stream.backend) {
        traffic(stream.worker, backend, slot.server(), ok);
    }
}

/// Traffic with a server went well or failed: takes it out where `eject` says so, and back when its
/// time is over.
pub fn traffic(worker: &Worker, backend: &Arc<Backend>, server: &Arc<Server>, ok: bool) {
    let Some(eject) = backend.side().eject else {
        return;
    };
    if !server.fails(ok, eject.errors) {
        return;
    }
    let process = Arc::clone(&worker.process);
    let now = process.millis(worker.now());
    let Some(until) = backend.eject(server, now) else {
        return;
    };
    let away = Duration::from_millis(until.saturating_sub(now));
    let who = format!("Server {}/{}", backend.name, server.name);
    let line = format!(
        "{who} takes no new clients for {away:?}: {} failures in a row.",
        eject.errors
    );
    process.news.tell(backend.proxy(), LogLevel::Warning, line);
    let (backend, server) = (Arc::clone(backend), Arc::clone(server));
    tokio::task::spawn_local(async move {
        tokio::time::sleep(away).await;
        // Another configuration may be in force by now.
        let generation = process.generation.load_full();
        let backend = generation.backend(&backend.name).unwrap_or(&backend);
        if backend.take_back(&server, process.millis(Instant::now())) {
            let line = format!("{who} takes new clients again.");
            process.news.tell(backend.proxy(), LogLevel::Notice, line);
        }
    });
}

fn note(stream: &Stream<'_>, layer: Observe, ok: bool) {
    if let (Some(slot), Some(backend)) = (&stream.slot, &stream.backend) {
        note_of(stream.worker, backend, slot.server(), layer, ok);
    }
}

/// A connection of `mode tcp` was made, or could not be.
pub fn plain_connection(worker: &Worker, backend: &Arc<Backend>, server: &Arc<Server>, ok: bool) {
    note_of(worker, backend, server, Observe::Layer4, ok);
    traffic(worker, backend, server, ok);
}

fn note_of(
    worker: &Worker,
    backend: &Arc<Backend>,
    server: &Arc<Server>,
    layer: Observe,
    ok: bool,
) {
    let settings = server.settings();
    // A failed connection is an error on either layer; a good one says nothing of the seventh.
    let counts = match settings.observe {
        None => false,
        Some(observed) => observed == layer || (layer == Observe::Layer4 && !ok),
    };
    if !counts || settings.check.is_none() || !server.is_up() {
        return;
    }
    let Some(action) = server.observed(ok) else {
        return;
    };
    if matches!(action, OnError::SuddenDeath | OnError::MarkDown) {
        server.health().brink();
    }
    if matches!(action, OnError::FailCheck | OnError::MarkDown) {
        check::observed(worker, backend, server);
    }
    // Whatever else is done, what is the matter is asked soon.
    if let Some(soon) = settings.check.as_ref().and_then(|c| c.fastinter) {
        server.haste.wish(worker.now() + soon);
    }
}
