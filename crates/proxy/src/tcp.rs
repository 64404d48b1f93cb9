//! `mode tcp`: bytes in both directions.

use crate::connect::{self, ConnectFailure};
use crate::flow::{Broken, Flow, Progress};
use crate::pool::ServerConn;
use crate::report;
use crate::session::Client;
use crate::stick::{self, Sticking};
use crate::termination::{Cause, Phase, Termination};
use crate::worker::Worker;
use model::{StickStore, SwitchTarget};
use rules::action::{Effects, run as run_rules};
use rules::{Ctx, LogFacts, NoTrace, StreamInfo, Timers, Verdict};
use state::{Backend, Pick, PickKey, Slot};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

/// What is known of one connection while it lasts.
struct Session {
    info: StreamInfo,
    queued: Option<Instant>,
    connected: Option<Instant>,
    slot: Option<Slot>,
    retries: u32,
    redispatched: bool,
    logged_early: bool,
    up: Flow,
    down: Flow,
}

/// Serves one connection to its end.
pub async fn run(worker: &Rc<Worker>, client: &mut Client) {
    let mut session = Session {
        info: StreamInfo::default(),
        queued: None,
        connected: None,
        slot: None,
        retries: 0,
        redispatched: false,
        logged_early: false,
        up: Flow::idle(),
        down: Flow::idle(),
    };
    let mut entered = None;
    client.seat.live.begin(0);
    let ended = match choose_backend(worker, client).await {
        Err(ended) => ended,
        Ok(backend) => {
            backend.sessions().enter();
            let counters = backend.counters().of(worker.id);
            counters.stot.add(1);
            session.info.backend = Some(Arc::clone(&backend.name));
            session.info.backend_id = backend.id;
            client.seat.live.enter(backend.id);
            entered = Some(Arc::clone(&backend));
            match reach(worker, client, &backend, &mut session).await {
                Err(ended) => ended,
                Ok(mut server) => {
                    if client.frontend.side().logasap {
                        session.logged_early = true;
                        let so_far = Termination::default();
                        log(worker, client, Some(&backend), &session, so_far, true);
                    }
                    relay(worker, client, &backend, &mut session, &mut server).await
                }
            }
        }
    };
    let ended = if client.seat.live.was_killed() {
        Termination::new(Cause::Killed, ended.phase)
    } else {
        ended
    };
    finish(worker, client, entered, &session, ended);
    session.up.recycle(worker);
    session.down.recycle(worker);
}

/// The frontend's rules for content, the choice of a backend, and its rules.
async fn choose_backend(worker: &Worker, client: &mut Client) -> Result<Arc<Backend>, Termination> {
    let frontend = Arc::clone(&client.frontend);
    inspect(worker, client, frontend.proxy(), None).await?;
    let backend = switch(worker, client)?;
    if !Arc::ptr_eq(backend.proxy(), frontend.proxy()) {
        inspect(worker, client, backend.proxy(), Some(&backend)).await?;
    }
    Ok(backend)
}

/// Runs `tcp-request content` rules; while a value that they ask for may still change they wait for
/// more bytes, at most for `inspect-delay` and as far as a buffer holds.
async fn inspect(
    worker: &Worker,
    client: &mut Client,
    proxy: &model::Proxy,
    backend: Option<&Backend>,
) -> Result<(), Termination> {
    let rules = &proxy.tcp_request_content;
    if rules.is_empty() {
        return Ok(());
    }
    let generation = worker.generation();
    let longest = generation.config.global.tuning.bufsize;
    let end = proxy.inspect_delay.map(|delay| Instant::now() + delay);
    client.timer.arm(end);
    let mut info = StreamInfo::default();
    if let Some(backend) = backend {
        info.backend = Some(Arc::clone(&backend.name));
        info.backend_id = backend.id;
    }
    let mut over = end.is_none();
    let mut from = 0;
    while from < rules.len() {
        let now = Instant::now();
        info.inspection.waiting = !over && client.carry.len() < longest;
        info.inspection.undecided.set(false);
        let view = state::View {
            process: &worker.process,
            generation: &generation,
            now,
            tracked: Some(&client.tracked),
        };
        let mut cx = Ctx {
            session: &client.info,
            stream: &info,
            now: worker.wall(now),
            req: None,
            res: None,
            req_body: &client.carry,
            captures: [&[], &[]],
            vars: &client.vars,
            facts: &view,
            log: None,
            rng: &worker.rng,
        };
        let mut effects = Effects::default();
        // Rule by rule: one that cannot be decided yet holds up those after it.
        let this = rules.get(..=from).unwrap_or_default();
        let verdict = run_rules(this, from, &mut cx, &mut effects, &mut NoTrace);
        let fd = client.io.socket().raw();
        crate::socket::mark(fd, effects.tos, effects.mark);
        if let Some(silence) = effects.silence {
            crate::socket::silence(fd, silence);
        }
        match verdict {
            Verdict::Reject | Verdict::Deny(_) => {
                let counters = client.frontend.counters();
                counters.of(worker.id).dreq.add(1);
                return Err(Termination::new(Cause::Proxy, Phase::Request));
            }
            Verdict::Allow => return Ok(()),
            _ if !info.inspection.undecided.get() => {
                from += 1;
                continue;
            }
            _ => {}
        }
        over |= poll_fn(|task| {
            let mut scratch = worker.scratch.borrow_mut();
            match client.io.poll_read(task, &mut scratch) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    client
                        .carry
                        .extend_from_slice(scratch.get(..n).unwrap_or_default());
                    Poll::Ready(false)
                }
                Poll::Ready(_) => Poll::Ready(true),
                Poll::Pending => client.timer.poll_expired(task).map(|_| true),
            }
        })
        .await;
    }
    Ok(())
}

fn switch(worker: &Worker, client: &mut Client) -> Result<Arc<Backend>, Termination> {
    let generation = worker.generation();
    let frontend = Arc::clone(&client.frontend);
    let none = StreamInfo::default();
    let now = worker.now();
    let view = state::View {
        process: &worker.process,
        generation: &generation,
        now,
        tracked: Some(&client.tracked),
    };
    let cx = Ctx {
        session: &client.info,
        stream: &none,
        now: worker.wall(now),
        req: None,
        res: None,
        req_body: &client.carry,
        captures: [&[], &[]],
        vars: &client.vars,
        facts: &view,
        log: None,
        rng: &worker.rng,
    };
    let side = frontend.side();
    for switch in &side.switches {
        let matched = switch
            .condition
            .as_ref()
            .is_none_or(|c| c.eval(&cx, &mut NoTrace));
        if !matched {
            continue;
        }
        let backend = match &switch.target {
            SwitchTarget::Name(name) => generation.backend(name),
            SwitchTarget::Format(format) => {
                let mut name = Vec::new();
                format.render(&cx, &mut name);
                std::str::from_utf8(&name)
                    .ok()
                    .and_then(|n| generation.backend(n))
            }
        };
        if let Some(backend) = backend {
            return Ok(Arc::clone(backend));
        }
        break;
    }
    let name = side.default_backend.as_deref().unwrap_or(&frontend.name);
    let nobody = Termination::new(Cause::ServerAbort, Phase::Connect);
    generation.backend(name).cloned().ok_or(nobody)
}

/// A place on a server and a connection to it.
async fn reach(
    worker: &Rc<Worker>,
    client: &mut Client,
    backend: &Arc<Backend>,
    session: &mut Session,
) -> Result<ServerConn, Termination> {
    let mut avoid = None;
    let mut sticking = sticking(worker, client, backend, &session.info);
    loop {
        let sticky = sticking.server.take();
        let slot = place(worker, client, backend, avoid, sticky).await?;
        session.queued.get_or_insert_with(|| worker.now());
        let server = Arc::clone(slot.server());
        session.info.server = Some(Arc::clone(&server.name));
        session.info.server_id = server.id;
        client.seat.live.assign(server.id);
        session.slot = Some(slot);
        let counters = server.counters.of(worker.id);
        counters.stot.add(1);
        counters.lbtot.add(1);
        backend.counters().of(worker.id).lbtot.add(1);
        let name = tls_name(worker, client, &session.info, &server);
        match connect::open(worker, client, backend, &server, name).await {
            Ok(connection) => {
                session.connected = Some(worker.now());
                sticking.store(&server, worker.process.millis(worker.now()));
                return Ok(connection);
            }
            Err(ConnectFailure::ClientGone) => {
                return Err(Termination::new(Cause::ClientAbort, Phase::Connect));
            }
            Err(failure) => {
                counters.econ.add(1);
                backend.counters().of(worker.id).econ.add(1);
                let side = backend.side();
                if session.retries >= side.retries {
                    return Err(Termination::new(failure.cause(), Phase::Connect));
                }
                session.retries += 1;
                session.slot = None;
                if side.redispatch.is_some() {
                    avoid = Some(server.uid);
                    session.redispatched = true;
                    counters.wredis.add(1);
                } else {
                    counters.wretr.add(1);
                    let pause = std::time::Duration::from_secs(1);
                    let pause = backend
                        .proxy()
                        .timeouts
                        .connect
                        .map_or(pause, |t| t.min(pause));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

/// What the `stick` rules find, those for responses included: of a connection nothing more is
/// known later.
fn sticking(worker: &Worker, client: &Client, backend: &Backend, info: &StreamInfo) -> Sticking {
    if backend.side().stick_rules.is_empty() {
        return Sticking::default();
    }
    let generation = worker.generation();
    let now = worker.now();
    let view = state::View {
        process: &worker.process,
        generation: &generation,
        now,
        tracked: Some(&client.tracked),
    };
    let cx = Ctx {
        session: &client.info,
        stream: info,
        now: worker.wall(now),
        req: None,
        res: None,
        req_body: &client.carry,
        captures: [&[], &[]],
        vars: &client.vars,
        facts: &view,
        log: None,
        rng: &worker.rng,
    };
    let now_ms = worker.process.millis(now);
    let read = |when| stick::read(backend, &generation, &cx, now_ms, when, false);
    let mut found = read(StickStore::Request);
    found.join(read(StickStore::Response));
    found
}

/// The name that a TLS connection to this server asks for.
fn tls_name(
    worker: &Worker,
    client: &Client,
    info: &StreamInfo,
    server: &state::Server,
) -> Option<Box<str>> {
    server.settings().tls.as_ref()?;
    let generation = worker.generation();
    let now = worker.now();
    let view = state::View {
        process: &worker.process,
        generation: &generation,
        now,
        tracked: Some(&client.tracked),
    };
    let cx = Ctx {
        session: &client.info,
        stream: info,
        now: worker.wall(now),
        req: None,
        res: None,
        req_body: &[],
        captures: [&[], &[]],
        vars: &client.vars,
        facts: &view,
        log: None,
        rng: &worker.rng,
    };
    connect::server_name(server, &cx)
}

async fn place(
    worker: &Worker,
    client: &mut Client,
    backend: &Arc<Backend>,
    avoid: Option<u32>,
    sticky: Option<Arc<state::Server>>,
) -> Result<Slot, Termination> {
    let hash = match &backend.side().balance {
        model::Balance::Source => client
            .info
            .src
            .map(|a| crate::choose::source_hash(a.ip(), backend.side().hash_function)),
        _ => None,
    };
    let pick = match sticky {
        Some(server) => backend.reserve(&server),
        None => backend.pick(PickKey { hash }, avoid),
    };
    match pick {
        Pick::Server(slot) => Ok(slot),
        Pick::None => Err(Termination::new(Cause::ServerAbort, Phase::Connect)),
        Pick::Full(wanted) => {
            let timeouts = &backend.proxy().timeouts;
            let patience = timeouts.queue.or(timeouts.connect);
            client.timer.arm(patience.map(|t| worker.now() + t));
            let mut ticket = backend.enqueue(wanted.as_ref(), 0);
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
    }
}

/// Moves bytes until both directions have ended, one has failed, or both are silent too long.
async fn relay(
    worker: &Worker,
    client: &mut Client,
    backend: &Backend,
    session: &mut Session,
    server: &mut ServerConn,
) -> Termination {
    session.up.progress = Progress::UntilClose;
    session.down.progress = Progress::UntilClose;
    let front = client.frontend.proxy().timeouts;
    let back = backend.proxy().timeouts;
    let (mut up_over, mut down_over) = (false, false);
    let mut client_active = worker.now();
    let mut server_active = client_active;
    let mut cut = None;
    let mut inspected = std::mem::take(&mut client.carry);
    poll_fn(|cx| {
        if !inspected.is_empty() {
            // What the rules looked at goes first.
            let fed = session.up.feed(worker, cx, &mut server.io, &[], &inspected);
            worker.recycle(std::mem::take(&mut inspected));
            if fed.is_err() {
                return Poll::Ready(Termination::new(Cause::ServerAbort, Phase::Data));
            }
        }
        if let Some(slot) = &session.slot {
            let watch = cut.get_or_insert_with(|| slot.watch_cuts(cx.waker()));
            if watch.as_ref().is_some_and(state::cut::Watch::is_cut) {
                return Poll::Ready(Termination::cut(slot.server(), Phase::Data));
            }
        }
        let before = (
            session.up.received,
            session.up.sent,
            session.down.received,
            session.down.sent,
        );
        let mut surplus = Vec::new();
        if !up_over {
            match session
                .up
                .poll(worker, cx, &mut client.io, &mut server.io, &mut surplus)
            {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    up_over = true;
                    server.io.shutdown_write();
                }
                Poll::Ready(Err(broken)) => {
                    let cause = match broken {
                        Broken::ReceiverFailed => Cause::ServerAbort,
                        _ => Cause::ClientAbort,
                    };
                    return Poll::Ready(Termination::new(cause, Phase::Data));
                }
            }
        }
        if !down_over {
            match session
                .down
                .poll(worker, cx, &mut server.io, &mut client.io, &mut surplus)
            {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    down_over = true;
                    client.io.shutdown_write();
                }
                Poll::Ready(Err(broken)) => {
                    let cause = match broken {
                        Broken::ReceiverFailed => Cause::ClientAbort,
                        _ => Cause::ServerAbort,
                    };
                    return Poll::Ready(Termination::new(cause, Phase::Data));
                }
            }
        }
        if up_over && down_over {
            return Poll::Ready(Termination::default());
        }
        let after = (
            session.up.received,
            session.up.sent,
            session.down.received,
            session.down.sent,
        );
        if before != after {
            let now = worker.now();
            if before.0 != after.0 || before.3 != after.3 {
                client_active = now;
            }
            if before.1 != after.1 || before.2 != after.2 {
                server_active = now;
            }
        }
        let tunnel = back
            .tunnel
            .filter(|_| session.down.received > 0 && session.up.received > 0);
        let client_limit = tunnel.or(front.client);
        let server_limit = tunnel.or(back.server);
        let client_limit = if down_over {
            front.client_fin.or(client_limit)
        } else {
            client_limit
        };
        let server_limit = if up_over {
            back.server_fin.or(server_limit)
        } else {
            server_limit
        };
        // Each side's own silence counts while bytes are still expected from it.
        let client_deadline = client_limit
            .filter(|_| !up_over)
            .map(|t| client_active.max(server_active) + t);
        let server_deadline = server_limit
            .filter(|_| !down_over)
            .map(|t| client_active.max(server_active) + t);
        let (deadline, cause) = match (client_deadline, server_deadline) {
            (Some(c), Some(s)) if s < c => (Some(s), Cause::ServerTimeout),
            (Some(c), _) => (Some(c), Cause::ClientTimeout),
            (None, s) => (s, Cause::ServerTimeout),
        };
        client.timer.arm(deadline);
        if client.timer.poll_expired(cx).is_ready() {
            return Poll::Ready(Termination::new(cause, Phase::Data));
        }
        Poll::Pending
    })
    .await
}

fn finish(
    worker: &Worker,
    client: &mut Client,
    backend: Option<Arc<Backend>>,
    session: &Session,
    ended: Termination,
) {
    let server = session.slot.as_ref().map(|s| Arc::clone(s.server()));
    let (received, sent) = (session.up.received, session.down.sent);
    let counters = [
        Some(client.frontend.counters().of(worker.id)),
        backend.as_ref().map(|b| b.counters().of(worker.id)),
        server.as_ref().map(|s| s.counters.of(worker.id)),
    ];
    for (i, c) in counters.into_iter().enumerate() {
        let Some(c) = c else { continue };
        c.bin.add(received);
        c.bout.add(sent);
        match ended.cause {
            Cause::ClientAbort | Cause::ClientTimeout if i > 0 => c.cli_abrt.add(1),
            Cause::ServerAbort if i > 0 && ended.phase == Phase::Data => c.srv_abrt.add(1),
            _ => {}
        }
    }
    worker.process.counters.of(worker.id).bytes_out.add(sent);
    let now = worker.process.millis(worker.now());
    client.tracked.bytes(received, sent, now);
    if let Some(backend) = &backend {
        backend.sessions().leave();
    }
    if !session.logged_early {
        log(worker, client, backend.as_ref(), session, ended, false);
    }
}

/// Writes the log line: at the end, or with `option logasap` once the server is connected.
fn log(
    worker: &Worker,
    client: &mut Client,
    backend: Option<&Arc<Backend>>,
    session: &Session,
    ended: Termination,
    unfinished: bool,
) {
    let end = Instant::now();
    let server = session.slot.as_ref().map(|s| Arc::clone(s.server()));
    let (received, sent) = (session.up.received, session.down.sent);
    let proxy = client.frontend.proxy();
    let side = client.frontend.side();
    let null = side.dontlognull && received == 0 && sent == 0 && !unfinished;
    if proxy.logs.is_empty() || null || (side.dontlog_normal && ended.is_normal()) {
        return;
    }
    let span = |a: Option<Instant>, b: Option<Instant>| match (a, b) {
        (Some(a), Some(b)) => b.saturating_duration_since(a).as_millis() as i64,
        _ => -1,
    };
    let client_came_to = client.info.dst;
    let facts = LogFacts {
        request: client.info.accepted,
        end: worker.wall(end),
        timers: Some(Timers {
            th: client.handshake.as_millis() as i64,
            ti: -1,
            tr_request: -1,
            tw: span(Some(client.accepted), session.queued),
            tc: span(session.queued, session.connected),
            tr: -1,
            td: span(session.connected, Some(end)),
            ta: span(Some(client.accepted), Some(end)),
            tt: span(Some(client.accepted), Some(end)),
        }),
        termination: ended.flags(*b"--"),
        bytes_read: sent,
        bytes_uploaded: received,
        actconn: worker.process.connections.now(),
        feconn: client.frontend.sessions().now(),
        beconn: backend.as_ref().map_or(0, |b| b.sessions().now()),
        srv_conn: server.as_ref().map_or(0, |s| s.sessions.now()),
        retries: session.retries,
        redispatched: session.redispatched,
        server_address: server
            .and_then(|s| s.target())
            .and_then(|t| t.socket(client_came_to)),
        tls: client.info.tls.is_some(),
        unfinished,
        ..LogFacts::default()
    };
    let format = worker.format_of(&side.log_format);
    client.destination();
    let info = &session.info;
    report::log_session(
        worker,
        client,
        Some(info),
        &facts,
        &format,
        model::LogLevel::Info,
        end,
    );
}
