//! What a check of a server's health does on the wire, by its kind.

use super::clock::Clock;
use super::dial::{self, Route};
use super::scene::Scene;
use super::{converse, datagram, external, grpc, raw, script};
use crate::worker::Worker;
use model::{Check, CheckKind};
use state::health::{CheckStatus, Finding};
use state::{Backend, Server};
use std::rc::Rc;

/// One check from beginning to end.
pub async fn health(
    worker: &Rc<Worker>,
    backend: &Backend,
    server: &Server,
    check: &Check,
    clock: &Clock,
) -> Finding {
    let outcome = match &*backend.side().check {
        CheckKind::Tcp => connect(backend, server, check, clock).await,
        kind => {
            let scene = Scene::new(worker, backend, server, check, clock);
            Box::pin(on_scene(scene, kind)).await
        }
    };
    outcome.unwrap_or_else(|found| found)
}

/// Whether a connection can be made. No expression has a say in it.
async fn connect(
    backend: &Backend,
    server: &Server,
    check: &Check,
    clock: &Clock,
) -> Result<Finding, Finding> {
    let mut route = Route::of_check(server, check)?;
    route.silent = route.tls.is_none() && route.send_proxy.is_none();
    // The server sees an ordinary end: it need not log an error for each check.
    dial::connect(backend, server, &route, clock).await?;
    Ok(reached(check))
}

async fn on_scene(scene: Scene<'_>, kind: &CheckKind) -> Result<Finding, Finding> {
    match kind {
        CheckKind::Tcp => scene.connect().await.map(|_| reached(scene.check)),
        CheckKind::Script(script) => script::run(&scene, script).await,
        CheckKind::Udp(script) => datagram::run(&scene, script).await,
        CheckKind::Probe(probe) => converse::run(&scene, probe).await,
        CheckKind::Grpc(service) => grpc::run(&scene, service).await,
        CheckKind::Echo => raw::echo(&scene).await,
        CheckKind::HalfOpen => raw::half_open(&scene).await,
        CheckKind::External(external) => external::run(&scene, external).await,
    }
}

/// What a connection that was made proves.
pub fn reached(check: &Check) -> Finding {
    Finding::of(match check.tls {
        None => CheckStatus::L4Ok,
        Some(_) => CheckStatus::L6Ok,
    })
}
