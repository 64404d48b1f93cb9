//! `mode tcp`: bytes in both directions.

use crate::account;
use crate::flow::HEAD_ROOM;
use crate::inspect;
use crate::passage::{self, Passage};
use crate::place;
use crate::relay::Relay;
use crate::session::{self, Client, Then};
use crate::termination::{Cause, Phase, Termination};
use crate::transport::Transport;
use crate::visit::Visit;
use crate::worker::Worker;
use rules::action::{Effects, run as run_rules};
use rules::{NoTrace, StreamInfo, UniqueId, Verdict};
use state::Backend;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
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

/// A session of bytes on its way to a server.
struct Beginning {
    passage: Passage,
    relay: Relay,
    server: Option<Transport>,
}

/// Serves one connection until it turns out to carry HTTP, until bytes may pass in both directions, or to
/// its end.
pub async fn run(worker: Rc<Worker>, mut client: Box<Client>) -> Then {
    let begun = client.seat.accepted();
    let mut session = Beginning {
        passage: Passage::new(begun),
        relay: Relay::new(begun),
        server: None,
    };
    session.passage.info.inspection.bytes = true;
    client.seat.begin(0);
    if let Some(format) = &client.frontend.side().unique_id_format {
        session.passage.info.unique_id = UniqueId::later(Arc::clone(format));
    }
    let way = prepare(&worker, &mut client, &mut session).await;
    let judged = match way {
        Err(ended) => Err(ended),
        Ok(Way::Http(backend)) => {
            let mut info = session.passage.info;
            info.inspection = Default::default();
            let begun = Box::new(Upgrade { info, backend });
            return Then::Works(Box::pin(session::go_on(worker, client, begun)));
        }
        Ok(Way::Bytes(backend)) => {
            // What was found in the first bytes is not kept as long as the session.
            session.passage.info.inspection = Default::default();
            session.relay.begin(worker.moment(worker.now()));
            session.relay.up.last = !backend.side().nolinger;
            session.relay.down.last = !client.frontend.side().nolinger;
            // Boxed, because few backends have such rules.
            match backend.proxy().tcp_response_content.is_empty() {
                true => Ok(()),
                false => {
                    let session = &mut session;
                    Box::pin(inspect_response(&worker, &mut client, session, &backend)).await
                }
            }
        }
    };
    if session.server.is_none() {
        // What the client said before anybody was there to hear it came all the same.
        session.relay.up.received += client.carry.len() as u64;
    }
    let mut passing = Passing::new(&client, session);
    match judged {
        Err(ended) => passing.end(&worker, client, ended),
        Ok(()) => {
            passing.client = Some(client);
            Then::Works(Box::pin(passing))
        }
    }
}

/// A session while bytes pass, or may pass. What its beginning needed is gone: this is what each of
/// thousands of idle connections keeps.
struct Passing {
    client: Option<Box<Client>>,
    server: Option<Transport>,
    visit: Visit,
    /// What a log line shows, where one will be written.
    info: Option<Box<StreamInfo>>,
    relay: Relay,
}

impl Passing {
    fn new(client: &Client, session: Beginning) -> Passing {
        let Passage { info, visit, .. } = session.passage;
        let logs = !client.frontend.proxy().logs.is_empty() && !visit.logged_early;
        Passing {
            client: None,
            server: session.server,
            visit,
            info: logs.then(|| Box::new(info)),
            relay: session.relay,
        }
    }

    /// Lets the server go, counts and logs.
    fn end(&mut self, worker: &Rc<Worker>, mut client: Box<Client>, ended: Termination) -> Then {
        if let Some(mut server) = self.server.take() {
            if let Some(info) = &self.info {
                info.overrides.server.set(None);
            }
            // What the client goes on sending has nowhere to go.
            client.unread = ended.cause == Cause::ServerAbort;
            let backend = self.visit.backend.as_ref();
            // A server must not take what it has of a client that failed for all.
            let cut_short = ended.cause == Cause::ClientAbort && !self.relay.up.is_read();
            if cut_short {
                server.abandon();
            } else if backend.is_some_and(|b| b.side().nolinger) {
                server.socket().close_at_once();
            }
        }
        let ended = match client.seat.was_killed() {
            true => Termination::new(Cause::Killed, ended.phase),
            false => ended,
        };
        let outcome = self.relay.outcome(ended);
        self.visit.count(worker, &mut client, &outcome);
        self.visit.depart();
        if let Some(info) = &self.info {
            let client = &mut client;
            self.visit.log(worker, client, info, &outcome, false);
        }
        self.visit.leave();
        self.relay.recycle(worker);
        session::end(worker, client)
    }
}

impl Future for Passing {
    type Output = Then;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Then> {
        let this = &mut *self;
        let (Some(client), Some(server)) = (&mut this.client, &mut this.server) else {
            return Poll::Ready(Then::Ends);
        };
        let worker = Rc::clone(client.seat.worker());
        let ended = match &this.visit.backend {
            Some(backend) => {
                let behind = (&**backend, this.visit.slot.as_ref());
                ready!(this.relay.poll(&worker, cx, (client, server), behind))
            }
            None => Termination::new(Cause::Internal, Phase::Data),
        };
        Poll::Ready(match this.client.take() {
            Some(client) => this.end(&worker, client, ended),
            None => Then::Ends,
        })
    }
}

/// The rules for what the server says first.
async fn inspect_response(
    worker: &Rc<Worker>,
    client: &mut Client,
    session: &mut Beginning,
    backend: &Backend,
) -> Result<(), Termination> {
    let Beginning {
        passage: Passage { info, visit, .. },
        relay,
        server: Some(server),
    } = session
    else {
        return Ok(());
    };
    relay.hold();
    let behind = (backend, visit.slot.as_ref());
    inspect::response(worker, client, server, behind, info, relay).await
}

/// From the first rules to a connection to a server, or to where HTTP begins.
async fn prepare(
    worker: &Rc<Worker>,
    client: &mut Client,
    session: &mut Beginning,
) -> Result<Way, Termination> {
    let way = choose_backend(worker, client, &mut session.passage.info).await;
    if client.frontend.side().unique_id_format.is_some() {
        // What it is made of may be gone when somebody asks for it.
        let info = &session.passage.info;
        place::with_ctx(worker, client, info, |cx| {
            info.unique_id.get(cx);
        });
    }
    let way = way?;
    let Way::Bytes(backend) = way else {
        return Ok(way);
    };
    let passage = &mut session.passage;
    passage.enter(worker, client, Arc::clone(&backend));
    read_early(worker, client)?;
    let server = passage.reach(worker, client, &backend).await?;
    session.server = Some(server.io);
    if client.frontend.side().logasap {
        let Passage { info, visit, .. } = &mut session.passage;
        visit.logged_early = true;
        let so_far = session.relay.outcome(Termination::default());
        visit.log(worker, client, info, &so_far, true);
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
        info.inspection.waiting = !over && client.carry.len() < longest;
        info.inspection.undecided.set(false);
        let mut effects = Effects::default();
        // Rule by rule: one that cannot be decided yet holds up those after it.
        let this = rules.get(..=from).unwrap_or_default();
        let verdict = place::with_ctx(worker, client, info, |cx| {
            run_rules(this, from, cx, &mut effects, &mut NoTrace)
        });
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
                info.overrides.waited();
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
        if client.seat.was_killed() {
            return Err(Termination::new(Cause::Killed, Phase::Request));
        }
    }
    Ok(Course::Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a session costs while it waits for bytes, besides its client.
    #[test]
    fn an_idle_session_is_small() {
        let bytes = size_of::<Passing>();
        assert!(bytes <= 248, "{bytes} bytes");
    }
}
