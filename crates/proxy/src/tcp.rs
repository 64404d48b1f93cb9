//! `mode tcp`: bytes in both directions.

use crate::account;
use crate::flow::HEAD_ROOM;
use crate::inspect;
use crate::passage::{self, Outcome, Passage};
use crate::pool::ServerConn;
use crate::relay::Relay;
use crate::session::Client;
use crate::termination::{Cause, Phase, Termination};
use crate::worker::Worker;
use rules::action::{Effects, run as run_rules};
use rules::{Ctx, NoTrace, StreamInfo, Verdict};
use state::Backend;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// A session of bytes that goes on in HTTP.
pub struct Upgrade {
    /// What is decided about its first request.
    pub info: StreamInfo,
    /// The backend that it is for already: what was said of bytes is not asked again of the request.
    pub backend: Option<Arc<Backend>>,
}

/// Where the rules lead a session of bytes.
pub(crate) enum Way {
    /// To a backend of bytes.
    Bytes(Arc<Backend>),
    /// To where HTTP begins, and to this backend if that is the reason.
    Http(Option<Arc<Backend>>),
}

/// What is known of one connection while it lasts.
struct Session {
    passage: Passage,
    relay: Relay,
    server: Option<ServerConn>,
}

impl Session {
    /// Moves bytes in both directions.
    fn poll(
        &mut self,
        worker: &Worker,
        client: &mut Client,
        backend: &Backend,
        cx: &mut Context<'_>,
    ) -> Poll<Termination> {
        let Some(server) = &mut self.server else {
            return Poll::Ready(Termination::new(Cause::Internal, Phase::Data));
        };
        let behind = (backend, self.passage.slot.as_ref());
        self.relay.poll(worker, cx, (client, server), behind)
    }

    fn outcome(&self, ended: Termination) -> Outcome {
        Outcome {
            received: self.relay.up.received,
            sent: self.relay.down.sent,
            server_bytes: Some([self.relay.up.sent, self.relay.down.received]),
            status: None,
            ended,
        }
    }
}

/// Serves one connection to its end. One that turns out to carry HTTP is given back, with what is
/// decided about it so far.
pub async fn run(worker: &Rc<Worker>, client: &mut Client) -> Option<Box<Upgrade>> {
    let mut passage = Passage::new(client.accepted);
    passage.info.inspection.bytes = true;
    let mut session = Session {
        passage,
        relay: Relay::new(worker.now()),
        server: None,
    };
    client.seat.live.begin(0);
    // Boxed, because it is over when the long part begins.
    let ended = match Box::pin(prepare(worker, client, &mut session)).await {
        Err(ended) => ended,
        Ok(Way::Http(backend)) => {
            session.passage.info.inspection = Default::default();
            let info = std::mem::take(&mut session.passage.info);
            return Some(Box::new(Upgrade { info, backend }));
        }
        Ok(Way::Bytes(backend)) => {
            // What was found in the first bytes is not kept as long as the session.
            session.passage.info.inspection = Default::default();
            session.relay.begin(worker.now());
            session.relay.up.last = !backend.side().nolinger;
            session.relay.down.last = !client.frontend.side().nolinger;
            // Boxed, because few backends have such rules.
            let judged = match backend.proxy().tcp_response_content.is_empty() {
                true => Ok(()),
                false => Box::pin(inspect_response(worker, client, &mut session, &backend)).await,
            };
            let ended = match judged {
                Err(ended) => ended,
                Ok(()) => poll_fn(|cx| session.poll(worker, client, &backend, cx)).await,
            };
            session.passage.info.overrides.server.set(None);
            // What it goes on sending has nowhere to go.
            client.unread = ended.cause == Cause::ServerAbort;
            if let Some(server) = session.server.take()
                && backend.side().nolinger
            {
                server.io.socket().close_at_once();
            }
            ended
        }
    };
    let ended = if client.seat.live.was_killed() {
        Termination::new(Cause::Killed, ended.phase)
    } else {
        ended
    };
    let outcome = session.outcome(ended);
    session.passage.count(worker, client, &outcome);
    session.passage.depart();
    if !session.passage.logged_early {
        session.passage.log(worker, client, &outcome, false);
    }
    session.relay.up.recycle(worker);
    session.relay.down.recycle(worker);
    None
}

/// The rules for what the server says first.
async fn inspect_response(
    worker: &Rc<Worker>,
    client: &mut Client,
    session: &mut Session,
    backend: &Backend,
) -> Result<(), Termination> {
    let Session {
        passage,
        relay,
        server: Some(server),
    } = session
    else {
        return Ok(());
    };
    relay.hold();
    let behind = (backend, passage.slot.as_ref());
    inspect::response(worker, client, server, behind, &mut passage.info, relay).await
}

/// From the first rules to a connection to a server, or to where HTTP begins.
async fn prepare(
    worker: &Rc<Worker>,
    client: &mut Client,
    session: &mut Session,
) -> Result<Way, Termination> {
    let way = choose_backend(worker, client, &mut session.passage.info).await?;
    let Way::Bytes(backend) = way else {
        return Ok(way);
    };
    let passage = &mut session.passage;
    passage.enter(worker, client, Arc::clone(&backend));
    read_early(worker, client)?;
    session.server = Some(passage.reach(worker, client, &backend).await?);
    let passage = &mut session.passage;
    if client.frontend.side().logasap {
        passage.logged_early = true;
        let so_far = session.outcome(Termination::default());
        session.passage.log(worker, client, &so_far, true);
    }
    Ok(Way::Bytes(backend))
}

/// Takes what the client has said by now, so that it can go with the packet that makes the connection
/// to the server. Its end is found again by who reads on.
fn read_early(worker: &Worker, client: &mut Client) -> Result<(), Termination> {
    let Some(io) = client.io.plain().filter(|_| client.carry.is_empty()) else {
        return Ok(());
    };
    let mut scratch = worker.scratch.borrow_mut();
    let room = scratch.get_mut(..HEAD_ROOM).unwrap_or_default();
    match io.read_at_once(room) {
        Ok(n) => client
            .carry
            .extend_from_slice(room.get(..n).unwrap_or_default()),
        Err(_) => return Err(Termination::new(Cause::ClientAbort, Phase::Connect)),
    }
    Ok(())
}

/// The frontend's rules for content, the choice of a backend, and its rules. The session is to go on in
/// HTTP by a rule, or because the backend is one for that.
pub(crate) async fn choose_backend(
    worker: &Worker,
    client: &mut Client,
    info: &mut StreamInfo,
) -> Result<Way, Termination> {
    let frontend = Arc::clone(&client.frontend);
    if inspect(worker, client, frontend.proxy(), info).await? == Course::Http {
        return Ok(Way::Http(None));
    }
    info.inspection.settle();
    let backend = passage::switch(worker, client, info)?;
    if backend.proxy().mode == model::Mode::Http {
        return Ok(Way::Http(Some(backend)));
    }
    info.backend = Some(Arc::clone(&backend.name));
    info.backend_id = backend.id;
    if !Arc::ptr_eq(backend.proxy(), frontend.proxy()) {
        inspect(worker, client, backend.proxy(), info).await?;
        info.inspection.settle();
    }
    Ok(Way::Bytes(backend))
}

/// How a session goes on when its content has been looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Course {
    Bytes,
    Http,
}

/// Runs `tcp-request content` rules; while a value that they ask for may still change they wait for
/// more bytes, at most for `inspect-delay` and as far as a buffer holds.
async fn inspect(
    worker: &Worker,
    client: &mut Client,
    proxy: &model::Proxy,
    info: &mut StreamInfo,
) -> Result<Course, Termination> {
    let rules = &proxy.tcp_request_content;
    if rules.is_empty() {
        return Ok(Course::Bytes);
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
            res_body: &[],
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
                account::of_client(worker, client).for_each(|c| c.dreq.add(1));
                return Err(Termination::new(Cause::Proxy, Phase::Request));
            }
            Verdict::Allow => return Ok(Course::Bytes),
            Verdict::SwitchMode => return Ok(Course::Http),
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
    Ok(Course::Bytes)
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
        assert!(bytes <= 664, "{bytes} bytes");
    }
}
