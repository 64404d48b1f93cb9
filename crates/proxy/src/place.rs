//! A place on a server for a connection of `mode tcp`: by rule, by RDP cookie, by the scheduler, or
//! after a wait.

use crate::choose;
use crate::session::Client;
use crate::termination::{Cause, Phase, Termination};
use crate::worker::Worker;
use rules::{Ctx, StreamInfo};
use state::{Backend, Pick, Server, Slot};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

/// Calls `f` with what expressions may see of the connection now.
pub fn with_ctx<R>(
    worker: &Worker,
    client: &Client,
    info: &StreamInfo,
    f: impl FnOnce(&mut Ctx<'_>) -> R,
) -> R {
    let generation = worker.generation();
    let now = worker.now();
    let view = state::View {
        process: &worker.process,
        generation: &generation,
        now,
        tracked: Some(&client.tracked),
    };
    f(&mut Ctx {
        req_body: &client.carry,
        ..Ctx::bare(
            &client.info,
            info,
            worker.wall(now),
            &client.vars,
            &view,
            &worker.rng,
        )
    })
}

/// Which server is asked for.
#[derive(Default)]
pub struct Asked {
    /// The one of the attempt before.
    pub again: Option<Arc<Server>>,
    /// This one is passed over while there is another.
    pub avoid: Option<u32>,
    /// The one that a table remembers.
    pub sticky: Option<Arc<Server>>,
}

/// Takes a place on a server: once more on the same, by rule, by cookie, by a table, or by the
/// scheduler; whether it was the scheduler.
pub async fn take(
    worker: &Worker,
    client: &mut Client,
    backend: &Arc<Backend>,
    info: &StreamInfo,
    asked: Asked,
) -> Result<(Slot, bool), Termination> {
    let now = worker.millis();
    let (wanted, key) = with_ctx(worker, client, info, |cx| {
        let wanted = choose::use_server(backend, cx).or_else(|| by_cookie(backend, cx));
        (wanted, choose::key(backend.side(), cx, now))
    });
    let Asked {
        again,
        avoid,
        sticky,
    } = asked;
    if let Some(direct) = backend.direct() {
        return match backend.reserve(direct) {
            Pick::Server(slot) => Ok((slot, false)),
            _ => Err(Termination::new(Cause::ServerAbort, Phase::Connect)),
        };
    }
    let again = again.filter(|server| server.usable());
    let wanted = again.or(wanted).or(sticky);
    let mut scheduled = false;
    let mut pick = match wanted.filter(|server| avoid != Some(server.uid)) {
        Some(server) => backend.reserve(&server),
        None => {
            scheduled = true;
            backend.pick(key, avoid)
        }
    };
    if let Pick::Full(Some(busy)) = &pick {
        let most = u64::from(busy.settings().maxqueue);
        if most > 0 && busy.queued.now() >= most {
            scheduled = true;
            pick = match backend.pick(key, Some(busy.uid)) {
                Pick::Server(slot) => Pick::Server(slot),
                _ => Pick::Full(None),
            };
        }
    }
    match pick {
        Pick::Server(slot) => Ok((slot, scheduled)),
        Pick::None => Err(Termination::new(Cause::ServerAbort, Phase::Connect)),
        Pick::Full(wanted) => {
            let slot = wait(worker, client, backend, info, wanted).await?;
            Ok((slot, scheduled))
        }
    }
}

/// The server that an RDP cookie names by its address (`persist rdp-cookie`).
fn by_cookie(backend: &Backend, cx: &Ctx<'_>) -> Option<Arc<Server>> {
    let name = backend.side().rdp_cookie.as_ref()?;
    let value = wire::rdp::cookie(cx.req_body, name.as_bytes())?;
    let address = SocketAddr::V4(wire::rdp::routing_token(value)?);
    let named = |server: &&Arc<Server>| {
        let target = server.target().and_then(|t| t.socket(cx.dst()));
        target == Some(address)
    };
    let server = backend.servers().iter().find(named)?;
    let counts = server.usable() || backend.side().persist;
    counts.then(|| Arc::clone(server))
}

async fn wait(
    worker: &Worker,
    client: &mut Client,
    backend: &Arc<Backend>,
    info: &StreamInfo,
    wanted: Option<Arc<Server>>,
) -> Result<Slot, Termination> {
    let timeouts = crate::overrides::timeouts(&backend.proxy().timeouts, info);
    let patience = timeouts.queue.or(timeouts.connect);
    client.timer.arm(patience.map(|t| worker.now() + t));
    let priority = state::Priority {
        class: info.priority_class,
        offset: info.priority_offset,
        now: worker.millis(),
    };
    let mut ticket = backend.enqueue(wanted.as_ref(), priority);
    poll_fn(|cx| {
        if let Poll::Ready(slot) = ticket.poll(cx.waker()) {
            return Poll::Ready(Ok(slot));
        }
        if client.timer.poll_expired(cx).is_ready() {
            return Poll::Ready(Err(Termination::new(Cause::ServerTimeout, Phase::Queue)));
        }
        if client.poll_gone(cx, true) {
            return Poll::Ready(Err(Termination::new(Cause::ClientAbort, Phase::Queue)));
        }
        Poll::Pending
    })
    .await
}
