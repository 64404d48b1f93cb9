//! Which backend, and which of its servers.

use crate::reply::Answer;
use crate::stream::{Halt, Stream};
use crate::termination::{Cause, Phase, Termination};
use model::{Balance, SwitchTarget};
use rules::NoTrace;
use state::{Backend, Pick, PickKey, Server, Slot};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

/// The backend that `use_backend` and `default_backend` lead to.
pub fn backend(stream: &mut Stream<'_>) -> Result<Arc<Backend>, Halt> {
    let frontend = Arc::clone(&stream.frontend);
    let side = frontend.side();
    for switch in &side.switches {
        let matched = match &switch.condition {
            Some(condition) => condition.eval(&ctx!(stream), &mut NoTrace),
            None => true,
        };
        if !matched {
            continue;
        }
        match &switch.target {
            SwitchTarget::Name(name) => {
                if let Some(backend) = stream.generation.backend(name) {
                    return Ok(Arc::clone(backend));
                }
            }
            SwitchTarget::Format(format) => {
                let mut name = stream.worker.buffer();
                format.render(&ctx!(stream), &mut name);
                let found = std::str::from_utf8(&name)
                    .ok()
                    .and_then(|n| stream.generation.backend(n));
                let found = found.cloned();
                stream.worker.recycle(name);
                if let Some(backend) = found {
                    return Ok(backend);
                }
                // A name that no backend has: the default backend serves (manual, use_backend).
                break;
            }
        }
    }
    let name = side.default_backend.as_deref().unwrap_or(&frontend.name);
    match stream.generation.backend(name) {
        Some(backend) => Ok(Arc::clone(backend)),
        None => Err(Halt::Answer(
            Answer::error(503),
            Termination::new(Cause::ServerAbort, Phase::Connect),
        )),
    }
}

/// A place on a server: the scheduler's choice, or the wait for one.
pub async fn server(stream: &mut Stream<'_>) -> Result<Slot, Halt> {
    let Some(backend) = stream.backend.clone() else {
        return Err(no_server(stream));
    };
    let avoid = stream.avoid.take();
    let mut pick = match stream.insist.take() {
        Some(server) if server.usable() => backend.reserve(&server),
        _ => match use_server(stream, &backend).or_else(|| stream.persistence.server().cloned()) {
            Some(server) if avoid != Some(server.uid) => backend.reserve(&server),
            _ => match last_server(stream, &backend, avoid) {
                Some(slot) => Pick::Server(slot),
                None => backend.pick(key(stream, &backend), avoid),
            },
        },
    };
    if matches!(pick, Pick::None) && avoid.is_some() {
        pick = backend.pick(key(stream, &backend), None);
    }
    if let Pick::Full(Some(wanted)) = &pick {
        let most = u64::from(wanted.settings().maxqueue);
        if most > 0 && wanted.queued.now() >= most {
            let insists = stream
                .persistence
                .server()
                .is_some_and(|s| s.uid == wanted.uid);
            if insists && backend.side().redispatch.is_none() {
                stream.info.server = Some(Arc::clone(&wanted.name));
                let ended = Termination::new(Cause::ServerAbort, Phase::Queue);
                return Err(Halt::Answer(Answer::error(503), ended));
            }
            // Its queue is full: better another server than none.
            stream.persistence.redispatched();
            pick = match backend.pick(key(stream, &backend), Some(wanted.uid)) {
                Pick::None => Pick::Full(None),
                Pick::Full(_) => Pick::Full(None),
                pick => pick,
            };
        }
    }
    match pick {
        Pick::Server(slot) => Ok(slot),
        Pick::None => Err(no_server(stream)),
        Pick::Full(wanted) => queue(stream, &backend, wanted).await,
    }
}

/// The server that a `use-server` rule names, when it can be used.
fn use_server(stream: &mut Stream<'_>, backend: &Arc<Backend>) -> Option<Arc<Server>> {
    for rule in &backend.side().use_server {
        let matched = match &rule.condition {
            Some(condition) => condition.eval(&ctx!(stream), &mut NoTrace),
            None => true,
        };
        if !matched {
            continue;
        }
        let mut name = stream.worker.buffer();
        match &rule.target {
            SwitchTarget::Name(fixed) => name.extend_from_slice(fixed.as_bytes()),
            SwitchTarget::Format(format) => format.render(&ctx!(stream), &mut name),
        }
        let server = backend
            .servers()
            .iter()
            .find(|s| s.name.as_bytes() == name.as_slice());
        stream.worker.recycle(name);
        let server = server.filter(|s| s.usable()).cloned();
        if server.is_some() {
            stream.persistence.overrule();
        }
        return server;
    }
    None
}

/// A place on the server of the client's request before, with `option prefer-last-server` and where
/// the choice does not follow from the request itself.
fn last_server(
    stream: &mut Stream<'_>,
    backend: &Arc<Backend>,
    avoid: Option<u32>,
) -> Option<Slot> {
    let free = matches!(
        backend.side().balance,
        Balance::RoundRobin
            | Balance::StaticRr
            | Balance::LeastConn
            | Balance::First
            | Balance::Random { .. }
    );
    if !backend.side().prefer_last_server || !free {
        return None;
    }
    let last = stream.client.last_server.as_ref()?;
    let ours = backend.servers().iter().any(|s| Arc::ptr_eq(s, last));
    if !ours || !last.schedulable() || avoid == Some(last.uid) {
        return None;
    }
    match backend.reserve(last) {
        Pick::Server(slot) => Some(slot),
        _ => None,
    }
}

/// What the scheduler hashes.
fn key(stream: &mut Stream<'_>, backend: &Backend) -> PickKey {
    let function = backend.side().hash_function;
    let hash = match &backend.side().balance {
        Balance::Source => {
            let src = stream.client.info.src;
            src.map(|src| source_hash(src.ip(), function))
        }
        Balance::Uri {
            len,
            depth,
            whole,
            path_only,
        } => {
            let target = stream.request.target();
            let part = state::hash::uri_part(target, *len, *depth, *whole, *path_only);
            Some(state::hash::bytes(part, function))
        }
        Balance::UrlParam { name, .. } => {
            let query = stream.request.query().unwrap_or_default();
            http::uri::query_param(query, name.as_bytes()).map(|v| state::hash::bytes(&v, function))
        }
        Balance::Header {
            name,
            use_domain_only,
        } => {
            let value = stream.request.get(name.as_bytes());
            value.map(|v| {
                if *use_domain_only {
                    state::hash::bytes(state::hash::domain(v), function)
                } else {
                    state::hash::bytes(v, function)
                }
            })
        }
        Balance::Hash(expr) => {
            let cx = ctx!(stream);
            expr.eval(&cx)
                .map(|sample| state::hash::bytes(&sample.to_bytes(), function))
        }
        Balance::Random { .. } => Some((ctx!(stream).random() >> 32) as u32),
        Balance::RdpCookie { .. }
        | Balance::RoundRobin
        | Balance::StaticRr
        | Balance::LeastConn
        | Balance::Maglev
        | Balance::First => None,
    };
    PickKey { hash }
}

/// The hash of a client's address.
pub fn source_hash(ip: std::net::IpAddr, function: model::HashFunction) -> u32 {
    match ip.to_canonical() {
        std::net::IpAddr::V4(ip) => state::hash::bytes(&ip.octets(), function),
        std::net::IpAddr::V6(ip) => state::hash::bytes(&ip.octets(), function),
    }
}

/// Waits in the queue until a server has a place, `timeout queue` runs out, or the client leaves.
async fn queue(
    stream: &mut Stream<'_>,
    backend: &Arc<Backend>,
    wanted: Option<Arc<Server>>,
) -> Result<Slot, Halt> {
    let timeouts = &backend.proxy().timeouts;
    let patience = timeouts.queue.or(timeouts.connect);
    stream
        .client
        .timer
        .arm(patience.map(|t| stream.worker.now() + t));
    let mut ticket = backend.enqueue(wanted.as_ref(), 0);
    let position = ticket.position() as u32;
    if wanted.is_some() {
        stream.queue_positions.0 = position;
    } else {
        stream.queue_positions.1 = position;
    }
    let abort_on_close = backend.side().abortonclose;
    let client = &mut *stream.client;
    poll_fn(|cx| {
        if let Poll::Ready(slot) = ticket.poll(cx.waker()) {
            return Poll::Ready(Ok(slot));
        }
        if client.timer.poll_expired(cx).is_ready() {
            let ended = Termination::new(Cause::ServerTimeout, Phase::Queue);
            return Poll::Ready(Err(Halt::Answer(Answer::error(503), ended)));
        }
        if client.poll_gone(cx, abort_on_close) {
            let ended = Termination::new(Cause::ClientAbort, Phase::Queue);
            return Poll::Ready(Err(Halt::Silent(ended)));
        }
        Poll::Pending
    })
    .await
}

fn no_server(stream: &mut Stream<'_>) -> Halt {
    stream.info.server = None;
    let ended = Termination::new(Cause::ServerAbort, Phase::Connect);
    Halt::Answer(Answer::error(503), ended)
}

/// The next attempt goes elsewhere if there is an elsewhere.
pub fn avoid(stream: &mut Stream<'_>, failed: Option<&Slot>) {
    stream.avoid = failed.map(|slot| slot.server().uid);
    stream.insist = None;
}

/// The next attempt goes to the same server.
pub fn insist(stream: &mut Stream<'_>, failed: Option<&Slot>) {
    stream.insist = failed.map(|slot| Arc::clone(slot.server()));
    stream.avoid = None;
}
