//! Which backend, and which of its servers.

use crate::account;
use crate::reply::Answer;
use crate::stream::{Halt, Stream};
use crate::termination::{Cause, Phase, Termination};
use crate::worker::Worker;
use model::{Balance, SwitchTarget};
use rules::{Ctx, Expr, NoTrace, Sample};
use state::{Backend, Pick, PickKey, Server, Slot};
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;

/// The backend that `use_backend` and `default_backend` lead to.
pub fn backend(stream: &mut Stream<'_>) -> Result<Arc<Backend>, Halt> {
    let frontend = Arc::clone(&stream.frontend);
    let found = switch(stream.worker, &frontend, &stream.generation, &ctx!(stream));
    found.ok_or_else(|| {
        Halt::Answer(
            Answer::error(503),
            Termination::new(Cause::ServerAbort, Phase::Connect),
        )
    })
}

/// Who chose a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The scheduler.
    Scheduler,
    /// A cookie, a table or a rule.
    Persistence,
    /// It is the server of the attempt before.
    Again,
}

/// Whether `option redispatch` lets this retry (the first is 1) go to another server. One that the
/// scheduler chose is left at once where the scheduler would choose another next; else the option's
/// interval counts, from the end where it is negative.
pub fn redispatches(backend: &Arc<Backend>, retry: u32, scheduled: bool) -> bool {
    let side = backend.side();
    if backend.direct().is_some() {
        return false;
    }
    let Some(redispatch) = &side.redispatch else {
        return false;
    };
    if scheduled && !side.balance.by_hash() && backend.usable() > 1 {
        return true;
    }
    let interval = redispatch.interval.unsigned_abs();
    match redispatch.interval > 0 {
        true => retry.is_multiple_of(interval),
        false => side.retries + 1 - retry.min(side.retries) == interval,
    }
}

/// A place on a server: the scheduler's choice, or the wait for one.
pub async fn server(stream: &mut Stream<'_>) -> Result<(Slot, Choice), Halt> {
    let Some(backend) = stream.backend.clone() else {
        return Err(no_server(stream));
    };
    if let Some(direct) = backend.direct() {
        return match backend.reserve(direct) {
            Pick::Server(slot) => Ok((slot, Choice::Persistence)),
            _ => Err(no_server(stream)),
        };
    }
    let avoid = stream.avoid.take();
    let mut choice = Choice::Scheduler;
    let mut pick = match stream.insist.take() {
        Some(server) if server.usable() || stream.persistence.is_forced() => {
            choice = Choice::Again;
            backend.reserve(&server)
        }
        _ => match wanted(stream, &backend) {
            Some(server) if avoid != Some(server.uid) => {
                choice = Choice::Persistence;
                backend.reserve(&server)
            }
            _ => match last_server(stream, &backend, avoid) {
                Some(slot) => Pick::Server(slot),
                None => backend.pick(stream_key(stream, &backend), avoid),
            },
        },
    };
    if matches!(pick, Pick::None) && avoid.is_some() {
        pick = backend.pick(stream_key(stream, &backend), None);
    }
    if let Pick::Full(Some(wanted)) = &pick {
        let most = u64::from(wanted.settings().maxqueue);
        if most > 0 && wanted.queued.now() >= most {
            let insists = stream
                .persistence
                .server()
                .is_some_and(|s| s.uid == wanted.uid);
            let stays = stream.persistence.is_forced() || backend.side().redispatch.is_none();
            if insists && stays {
                stream.info.server = Some(Arc::clone(&wanted.name));
                account::unserved(stream, Some(wanted));
                let ended = Termination::new(Cause::ServerAbort, Phase::Queue);
                return Err(Halt::Answer(Answer::error(503), ended));
            }
            // Its queue is full: better another server than none.
            stream.persistence.redispatched();
            choice = Choice::Scheduler;
            pick = match backend.pick(stream_key(stream, &backend), Some(wanted.uid)) {
                Pick::None => Pick::Full(None),
                Pick::Full(_) => Pick::Full(None),
                pick => pick,
            };
        }
    }
    match pick {
        Pick::Server(slot) => Ok((slot, choice)),
        Pick::None => Err(no_server(stream)),
        Pick::Full(wanted) => {
            let slot = queue(stream, &backend, wanted).await?;
            Ok((slot, choice))
        }
    }
}

/// The server that a `use-server` rule names, when it can be used.
pub fn use_server(backend: &Backend, cx: &Ctx<'_>) -> Option<Arc<Server>> {
    for rule in &backend.side().use_server {
        let matched = match &rule.condition {
            Some(condition) => condition.eval(cx, &mut NoTrace),
            None => true,
        };
        if !matched {
            continue;
        }
        let mut name = Vec::new();
        let name = match &rule.target {
            SwitchTarget::Name(fixed) => fixed.as_bytes(),
            SwitchTarget::Format(format) => {
                format.render(cx, &mut name);
                &name
            }
        };
        let mut servers = backend.servers().iter();
        let server = servers.find(|s| s.name.as_bytes() == name);
        return server.filter(|s| s.usable()).cloned();
    }
    None
}

/// The server that a rule or the cookie wants.
fn wanted(stream: &mut Stream<'_>, backend: &Backend) -> Option<Arc<Server>> {
    if !backend.side().use_server.is_empty()
        && let Some(server) = use_server(backend, &ctx!(stream))
    {
        stream.persistence.overrule();
        return Some(server);
    }
    stream.persistence.server().cloned()
}

/// The backend that the rules of a frontend lead to. Those that are not published are passed over, but
/// for `force-be-switch`.
pub fn switch(
    worker: &Worker,
    frontend: &state::Frontend,
    generation: &state::Generation,
    cx: &Ctx<'_>,
) -> Option<Arc<Backend>> {
    let side = frontend.side();
    let holds = |c: &rules::Cond| c.eval(cx, &mut NoTrace);
    let open = |b: &&Arc<Backend>| b.is_published() || side.force_switch.iter().any(holds);
    for switch in &side.switches {
        if !switch.condition.as_ref().is_none_or(holds) {
            continue;
        }
        let named = match &switch.target {
            SwitchTarget::Name(name) => generation.backend(name),
            SwitchTarget::Format(format) => {
                let mut name = worker.buffer();
                format.render(cx, &mut name);
                let text = std::str::from_utf8(&name).ok();
                let named = text.and_then(|n| generation.backend(n));
                worker.recycle(name);
                named
            }
        };
        // A name that no backend has: the default backend serves (manual, use_backend).
        let Some(backend) = named else { break };
        if open(&backend) {
            return Some(Arc::clone(backend));
        }
    }
    let default = generation.backend(frontend.proxy().leads_to()?)?;
    // The servers of a `listen` section are its own, published or not.
    (side.default_backend.is_none() || open(&default)).then(|| Arc::clone(default))
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
            | Balance::ResponseTime
            | Balance::Fastest
            | Balance::WeightedResponseTime
            | Balance::Agent
            | Balance::Bandwidth
    );
    if !backend.side().prefer_last_server || !free {
        return None;
    }
    let last = stream.client.last_server.as_ref()?;
    let ours = backend.servers().iter().any(|s| Arc::ptr_eq(s, last));
    if !ours || !last.schedulable() || avoid == Some(last.uid) {
        return None;
    }
    let most = backend.side().max_keep_alive_queue;
    if most.is_some_and(|most| last.queued.now() > u64::from(most)) {
        return None;
    }
    match backend.reserve(last) {
        Pick::Server(slot) => Some(slot),
        _ => None,
    }
}

fn stream_key(stream: &mut Stream<'_>, backend: &Backend) -> PickKey {
    let now = stream.worker.millis();
    key(backend.side(), &ctx!(stream), now)
}

/// What the scheduler goes by.
pub fn key(side: &model::Backend, cx: &Ctx<'_>, now: u64) -> PickKey {
    PickKey {
        hash: hash(side, cx),
        now,
    }
}

/// The hash that `balance` asks for; the number that chance gives for `random`.
fn hash(side: &model::Backend, cx: &Ctx<'_>) -> Option<u32> {
    let function = side.hash_function;
    let of = |bytes: &[u8]| state::hash::bytes(bytes, function);
    match &side.balance {
        Balance::Source => {
            let src = cx.session.ends.src()?;
            Some(state::hash::address(src.ip(), function))
        }
        Balance::Uri {
            len,
            depth,
            whole,
            path_only,
        } => {
            let target = cx.req.as_ref()?.target();
            let part = state::hash::uri_part(target, *len, *depth, *whole, *path_only);
            Some(of(part))
        }
        Balance::UrlParam { name, check_post } => {
            let request = cx.req.as_ref()?;
            let query = request.query().unwrap_or_default();
            let value = parameter(query, name.as_bytes());
            let posted = || {
                let body = cx.req_body;
                let post = *check_post && request.method() == b"POST";
                post.then(|| parameter(body, name.as_bytes()))?
            };
            value.or_else(posted).map(of)
        }
        Balance::Header {
            name,
            use_domain_only,
        } => {
            let value = cx.req.as_ref()?.get(name.as_bytes());
            let value = value.filter(|v| !v.is_empty())?;
            Some(match *use_domain_only {
                true => of(state::hash::domain(value)),
                false => of(value),
            })
        }
        Balance::RdpCookie { name } => wire::rdp::cookie(cx.req_body, name.as_bytes()).map(of),
        Balance::Hash(exprs) => values(exprs, cx).map(|v| of(&v)),
        Balance::Maglev(exprs) if exprs.is_empty() => {
            cx.src().map(|src| table_hash(&address(src.ip())))
        }
        Balance::Maglev(exprs) => values(exprs, cx).map(|v| table_hash(&v)),
        Balance::Random { .. } => Some((cx.random() >> 32) as u32),
        Balance::RoundRobin
        | Balance::StaticRr
        | Balance::LeastConn
        | Balance::First
        | Balance::Sticky
        | Balance::ResponseTime
        | Balance::Fastest
        | Balance::WeightedResponseTime
        | Balance::Agent
        | Balance::Bandwidth => None,
    }
}

/// The value of a parameter, as it is written; without `=` there is none.
fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut pairs = query.split(|b| *b == b'&');
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

/// Maglev's own hash: `hash-type` is for maps and rings.
fn table_hash(bytes: &[u8]) -> u32 {
    (state::hash::xxh64(bytes) >> 32) as u32
}

/// The values of expressions, one after the other; `None` when none of them has one.
fn values(exprs: &[Arc<Expr>], cx: &Ctx<'_>) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut found = false;
    for (at, expr) in exprs.iter().enumerate() {
        if at > 0 {
            // So that ("ab", "c") is not ("a", "bc").
            all.push(0);
        }
        let Some(sample) = expr.eval(cx) else {
            continue;
        };
        found = true;
        match sample {
            Sample::Ip4(ip) => all.extend_from_slice(&ip.octets()),
            Sample::Ip6(ip) => all.extend_from_slice(&ip.octets()),
            Sample::Int(n) => all.extend_from_slice(&n.to_be_bytes()),
            Sample::Bool(b) => all.extend_from_slice(&i64::from(b).to_be_bytes()),
            other => all.extend_from_slice(&other.to_bytes()),
        }
    }
    found.then_some(all)
}

/// The bytes of an address.
fn address(ip: IpAddr) -> Vec<u8> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// Waits in the queue until a server has a place, `timeout queue` runs out, or the client leaves.
async fn queue(
    stream: &mut Stream<'_>,
    backend: &Arc<Backend>,
    wanted: Option<Arc<Server>>,
) -> Result<Slot, Halt> {
    let timeouts = crate::overrides::timeouts(&backend.proxy().timeouts, &stream.info);
    let patience = timeouts.queue.or(timeouts.connect);
    stream
        .client
        .timer
        .arm(patience.map(|t| stream.worker.now() + t));
    let priority = state::Priority {
        class: stream.info.priority_class,
        offset: stream.info.priority_offset,
        now: stream.worker.millis(),
    };
    let mut ticket = backend.enqueue(wanted.as_ref(), priority);
    let position = ticket.position() as u32;
    if wanted.is_some() {
        stream.info.queued[0] = position;
    } else {
        stream.info.queued[1] = position;
    }
    let abort_on_close = backend.side().abortonclose;
    let client = &mut *stream.client;
    let ended = poll_fn(|cx| {
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
    .await;
    if matches!(ended, Err(Halt::Answer(..))) {
        account::unserved(stream, wanted.as_deref());
    }
    ended
}

fn no_server(stream: &mut Stream<'_>) -> Halt {
    stream.info.server = None;
    account::unserved(stream, None);
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
