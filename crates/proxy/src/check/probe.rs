//! What a check of a server's health does on the wire, by its kind.

use super::clock::Clock;
use super::scene::Scene;
use super::{converse, datagram, external, grpc, raw, script};
use crate::worker::Worker;
use model::{Check, CheckKind};
use state::health::{CheckStatus, Finding};
use state::{Backend, Server};
use std::sync::Arc;

/// One check from beginning to end.
pub async fn health(
    worker: &Worker,
    backend: &Backend,
    server: &Server,
    check: &Check,
    clock: &Clock,
) -> Finding {
    let kind = Arc::clone(&backend.side().check);
    let scene = Scene::new(worker, backend, server, check, clock);
    let outcome = match &*kind {
        CheckKind::Tcp => scene.connect().await.map(|_| reached(check)),
        CheckKind::Script(script) => script::run(&scene, script).await,
        CheckKind::Udp(script) => datagram::run(&scene, script).await,
        CheckKind::Probe(probe) => converse::run(&scene, probe).await,
        CheckKind::Grpc(service) => grpc::run(&scene, service).await,
        CheckKind::Echo => raw::echo(&scene).await,
        CheckKind::HalfOpen => raw::half_open(&scene).await,
        CheckKind::External(external) => external::run(&scene, external).await,
    };
    outcome.unwrap_or_else(|found| found)
}

/// What a connection that was made proves.
pub fn reached(check: &Check) -> Finding {
    Finding::of(match check.tls {
        None => CheckStatus::L4Ok,
        Some(_) => CheckStatus::L6Ok,
    })
}
