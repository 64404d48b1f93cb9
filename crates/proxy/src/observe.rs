//! What traffic tells of a server's health (`observe`, `error-limit`, `on-error`).

use crate::check;
use crate::stream::Stream;
use model::{Balance, Observe, OnError};
use std::sync::Arc;

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
}

/// A response came; without one, or with a status that means a broken server, it is an error.
pub fn response(stream: &Stream<'_>, status: Option<u16>) {
    if status.is_none() {
        failed(stream);
    }
    let ok = status.is_some_and(|s| (100..500).contains(&s) || matches!(s, 501 | 505));
    note(stream, Observe::Layer7, ok);
}

fn note(stream: &Stream<'_>, layer: Observe, ok: bool) {
    let (Some(slot), Some(backend)) = (&stream.slot, &stream.backend) else {
        return;
    };
    let server = slot.server();
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
    match action {
        OnError::FastInter => return server.health().doubt(),
        OnError::SuddenDeath => return server.health().brink(),
        OnError::MarkDown => server.health().brink(),
        OnError::FailCheck => {}
    }
    let backend = Arc::clone(backend);
    check::observed(stream.worker, &backend, server);
}
