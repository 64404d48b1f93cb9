//! `mode tcp`: bytes in both directions.

use crate::choose;
use crate::connect::{self, ConnectFailure};
use crate::place;
use crate::pool::ServerConn;
use crate::present::{self, Told};
use crate::relay::Relay;
use crate::report;
use crate::session::Client;
use crate::stick::{self, Sticking};
use crate::termination::{Cause, Phase, Termination};
use crate::worker::Worker;
use model::StickStore;
use rules::action::{Effects, run as run_rules};
use rules::{Ctx, LogFacts, NoTrace, StreamInfo, Timers, Verdict};
use state::{Backend, Slot};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// What is known of one connection while it lasts.
struct Session {
    info: StreamInfo,
    queued: Option<Instant>,
    connected: Option<Instant>,
    slot: Option<Slot>,
    backend: Option<Arc<Backend>>,
    server: Option<ServerConn>,
    retries: u32,
    redispatched: bool,
    logged_early: bool,
    relay: Relay,
}

/// Serves one connection to its end.
pub async fn run(worker: &Rc<Worker>, client: &mut Client) {
    let mut session = Session {
        info: StreamInfo::default(),
        queued: None,
        connected: None,
        slot: None,
        backend: None,
        server: None,
        retries: 0,
        redispatched: false,
        logged_early: false,
        relay: Relay::new(worker.now()),
    };
    client.seat.live.begin(0);
    // Boxed, because it is over when the long part begins.
    let ended = match Box::pin(prepare(worker, client, &mut session)).await {
        Err(ended) => ended,
        Ok(()) => {
            session.relay.begin(worker.now());
            let ended = poll_fn(|cx| session.poll(worker, client, cx)).await;
            session.leave();
            // What it goes on sending has nowhere to go.
            client.unread = ended.cause == Cause::ServerAbort;
            ended
        }
    };
    let ended = if client.seat.live.was_killed() {
        Termination::new(Cause::Killed, ended.phase)
    } else {
        ended
    };
    finish(worker, client, &session, ended);
    session.relay.up.recycle(worker);
    session.relay.down.recycle(worker);
}

impl Session {
    /// Moves bytes between the client and its server.
    fn poll(
        &mut self,
        worker: &Worker,
        client: &mut Client,
        cx: &mut Context<'_>,
    ) -> Poll<Termination> {
        let (Some(backend), Some(server)) = (&self.backend, &mut self.server) else {
            return Poll::Ready(Termination::new(Cause::Internal, Phase::Connect));
        };
        let slot = self.slot.as_ref();
        self.relay
            .poll(worker, cx, (client, server), (backend, slot))
    }

    /// Closes the connection to the server.
    fn leave(&mut self) {
        self.info.overrides.server.set(None);
        let nolinger = self.backend.as_ref().is_some_and(|b| b.side().nolinger);
        if let Some(server) = self.server.take()
            && nolinger
        {
            server.io.socket().close_at_once();
        }
    }
}

/// From the first rules to a connection to a server.
async fn prepare(
    worker: &Rc<Worker>,
    client: &mut Client,
    session: &mut Session,
) -> Result<(), Termination> {
    let backend = choose_backend(worker, client, &mut session.info).await?;
    backend.sessions().enter();
    backend.counters().of(worker.id).stot.add(1);
    client.seat.live.enter(backend.id);
    session.backend = Some(Arc::clone(&backend));
    session.server = Some(reach(worker, client, &backend, session).await?);
    if client.frontend.side().logasap {
        session.logged_early = true;
        log(worker, client, session, Termination::default(), true);
    }
    Ok(())
}

/// The frontend's rules for content, the choice of a backend, and its rules.
async fn choose_backend(
    worker: &Worker,
    client: &mut Client,
    info: &mut StreamInfo,
) -> Result<Arc<Backend>, Termination> {
    let frontend = Arc::clone(&client.frontend);
    inspect(worker, client, frontend.proxy(), info).await?;
    let backend = switch(worker, client, info)?;
    info.backend = Some(Arc::clone(&backend.name));
    info.backend_id = backend.id;
    if !Arc::ptr_eq(backend.proxy(), frontend.proxy()) {
        inspect(worker, client, backend.proxy(), info).await?;
    }
    Ok(backend)
}

/// Runs `tcp-request content` rules; while a value that they ask for may still change they wait for
/// more bytes, at most for `inspect-delay` and as far as a buffer holds.
async fn inspect(
    worker: &Worker,
    client: &mut Client,
    proxy: &model::Proxy,
    info: &mut StreamInfo,
) -> Result<(), Termination> {
    let rules = &proxy.tcp_request_content;
    if rules.is_empty() {
        return Ok(());
    }
    let generation = worker.generation();
    let longest = generation.config.global.tuning.bufsize;
    let end = proxy.inspect_delay.map(|delay| Instant::now() + delay);
    client.timer.arm(end);
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
        let mut effects = Effects::default();
        // Rule by rule: one that cannot be decided yet holds up those after it.
        let this = rules.get(..=from).unwrap_or_default();
        let verdict = run_rules(this, from, &mut cx, &mut effects, &mut NoTrace);
        let fd = client.io.socket().raw();
        crate::socket::mark(fd, effects.tos, effects.mark);
        if let Some(silence) = effects.silence {
            crate::socket::silence(fd, silence);
        }
        info.prioritise(&effects);
        match verdict {
            Verdict::Reject | Verdict::Deny(_) => {
                let counters = client.frontend.counters();
                counters.of(worker.id).dreq.add(1);
                return Err(Termination::new(Cause::Proxy, Phase::Request));
            }
            Verdict::Allow => return Ok(()),
            Verdict::Resolve { rule, name, .. } if !info.inspection.undecided.get() => {
                let address = crate::resolve::for_rule(&generation, rule, &name).await;
                if let Some(address) = address {
                    let mut vars = client.vars.borrow_mut();
                    vars.set_if(&rule.variable, address, &[]);
                }
                from += 1;
                continue;
            }
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

fn switch(
    worker: &Worker,
    client: &Client,
    info: &StreamInfo,
) -> Result<Arc<Backend>, Termination> {
    let generation = worker.generation();
    let frontend = Arc::clone(&client.frontend);
    let chosen = place::with_ctx(worker, client, info, |cx| {
        choose::switch(&frontend, &generation, cx)
    });
    chosen.ok_or(Termination::new(Cause::ServerAbort, Phase::Connect))
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
        let slot = place::take(worker, client, backend, &session.info, avoid, sticky).await?;
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
        let told = told(worker, client, &session.info, backend, &server);
        match connect::open(worker, client, backend, &server, told, &session.info).await {
            Ok(connection) => {
                let now = worker.now();
                sticking.store(&server, worker.process.millis(now));
                session.connected = Some(now);
                if let (Some(slot), Some(began)) = (&session.slot, session.queued) {
                    let took = now.saturating_duration_since(began);
                    slot.answered(took, worker.process.millis(now));
                }
                return Ok(connection);
            }
            Err(ConnectFailure::ClientGone) => {
                return Err(Termination::new(Cause::ClientAbort, Phase::Connect));
            }
            // It was there, and may have understood that somebody came: not for another try.
            Err(ConnectFailure::Reset) => {
                session.connected = Some(worker.now());
                return Err(Termination::new(Cause::ServerAbort, Phase::Data));
            }
            Err(failure) => {
                if let Some(slot) = &session.slot {
                    slot.failed(worker.millis());
                }
                counters.econ.add(1);
                backend.counters().of(worker.id).econ.add(1);
                let side = backend.side();
                if session.retries >= crate::overrides::retries(side, &session.info) {
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
    let now_ms = worker.millis();
    place::with_ctx(worker, client, info, |cx| {
        let read = |when| stick::read(backend, &generation, cx, now_ms, when, false);
        let mut found = read(StickStore::Request);
        found.join(read(StickStore::Response));
        found
    })
}

/// What the server is told of this client.
fn told(
    worker: &Worker,
    client: &Client,
    info: &StreamInfo,
    backend: &Backend,
    server: &state::Server,
) -> Told {
    let settings = server.settings();
    if settings.tls.is_none() && settings.send_proxy.is_none() {
        return Told::default();
    }
    let unique = client.frontend.side().unique_id_format.as_deref();
    place::with_ctx(worker, client, info, |cx| {
        present::told(&settings, backend.side(), unique, cx)
    })
}

fn finish(worker: &Worker, client: &mut Client, session: &Session, ended: Termination) {
    let backend = session.backend.as_ref();
    let server = session.slot.as_ref().map(|s| Arc::clone(s.server()));
    let (received, sent) = (session.relay.up.received, session.relay.down.sent);
    let counters = [
        Some(client.frontend.counters().of(worker.id)),
        backend.map(|b| b.counters().of(worker.id)),
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
    let now = worker.millis();
    client.tracked.passed(received, sent, now);
    if let Some(backend) = backend {
        backend.sessions().leave();
    }
    if !session.logged_early {
        log(worker, client, session, ended, false);
    }
}

/// Writes the log line: at the end, or with `option logasap` once the server is connected.
fn log(
    worker: &Worker,
    client: &mut Client,
    session: &Session,
    ended: Termination,
    unfinished: bool,
) {
    let end = Instant::now();
    let server = session.slot.as_ref().map(|s| Arc::clone(s.server()));
    let (received, sent) = (session.relay.up.received, session.relay.down.sent);
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
    let client_came_to = session.info.overrides.dst(&client.info);
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
        beconn: session.backend.as_ref().map_or(0, |b| b.sessions().now()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a session costs while it waits for bytes, besides its client.
    #[test]
    fn an_idle_session_is_small() {
        fn future<'a, F: Future + 'a>(_: impl Fn(&'a Rc<Worker>, &'a mut Client) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = future(run);
        assert!(bytes <= 912, "{bytes} bytes");
    }
}
