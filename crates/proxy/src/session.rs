//! A client's connection: accept, then one request after another.
//!
//! An idle session is small (see the size test): it owns the socket, a deadline and what the rules
//! may know of the connection. All that a request needs is made when its first byte arrives, and
//! given back when it is answered.

use crate::flow::HEAD_ROOM;
use crate::moment::{Moment, Span};
use crate::prelude::{self, Headers};
use crate::stream::{self, Next};
use crate::tcp::{self, Upgrade};
use crate::timer::Timer;
use crate::transport::Transport;
use crate::worker::{SCRATCH, Worker};
use crate::{ftp, malformed, pool::ServerConn, reply, smtp};
use http::{Head, h1};
use rules::{Ends, SessionInfo, Vars};
use state::Frontend;
use state::stick::Tracked;
use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// A client's side of a session.
pub struct Client {
    /// The transport, past any handshake.
    pub io: Transport,
    /// Bytes received that no message has claimed yet (pipelining, early body).
    pub carry: Vec<u8>,
    /// The one deadline of this session.
    pub timer: Timer,
    /// What rules and logs may know of the connection.
    pub info: SessionInfo,
    /// The frontend it came in by.
    pub frontend: Arc<Frontend>,
    /// Requests received so far.
    pub requests: u32,
    /// The client may still be sending what nobody reads any more.
    pub unread: bool,
    /// Since when it waits for its next request.
    pub idle_since: Moment,
    /// Time the handshakes took.
    pub handshake: Span,
    /// The server of the request before, for `option prefer-last-server`.
    pub last_server: Option<Arc<state::Server>>,
    /// A server connection that only this session may use (`http-reuse never`), with its server.
    pub private: Option<Box<(u32, ServerConn)>>,
    /// Variables of the session, and of its request while there is one.
    pub vars: RefCell<Vars>,
    /// Entries of stick tables that the session and its request hold.
    pub tracked: Tracked,
    /// The place in the limits of frontend and listener; held for its drop.
    pub _guard: crate::seat::Places,
    /// The place in the worker's load and roster.
    pub seat: crate::seat::Seat,
}

impl Client {
    /// Whether the client has gone while something else is waited for: its connection failed, or,
    /// where `on_close` says that this counts, it ended its direction, or an operator ended the
    /// session. Bytes that wait are left.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, on_close: bool) -> bool {
        self.poll_gone_in(cx, on_close, true)
    }

    /// The same where little is waited for: a connection that nobody has waited for yet is not watched
    /// for that, which would cost a call, unless `on_close` asks for it. That an operator ends the session is
    /// seen all the same.
    pub fn poll_gone_meanwhile(&mut self, cx: &mut Context<'_>, on_close: bool) -> bool {
        self.poll_gone_in(cx, on_close, on_close)
    }

    fn poll_gone_in(&mut self, cx: &mut Context<'_>, on_close: bool, watch: bool) -> bool {
        if !watch && !self.io.socket().is_watched() {
            self.seat.wake_by(cx.waker());
        }
        let gone = self.io.socket().poll_gone(cx, on_close, watch);
        gone || self.seat.was_killed()
    }

    /// Whether it has said more than was read, as far as is known without asking; a client that is not
    /// watched is asked where it may have more to say.
    pub fn is_talking(&self, has_more: bool) -> bool {
        !self.carry.is_empty() || self.io.socket().holds_bytes(has_more)
    }

    /// Sets the deadline for the first byte of a request that is waited for since then.
    fn arm_for_request(&self, since: Instant) {
        let timeouts = &self.frontend.proxy().timeouts;
        // Before the first byte a kept-alive connection has its own patience.
        let patience = match self.requests {
            0 => None,
            _ => timeouts.http_keep_alive,
        };
        let patience = patience.or(timeouts.http_request).or(timeouts.client);
        self.timer.arm(patience.map(|t| since + t));
    }

    /// The words of the `bind` line that it came in by.
    pub fn bind(&self) -> Option<&Arc<model::BindOptions>> {
        let mut binds = self.frontend.side().binds.iter();
        let bind = binds.find(|b| b.id == self.info.listener.id);
        bind.map(|b| &b.options)
    }

    /// The address the client connected to, asked of the system when it is not known.
    pub fn destination(&mut self) -> Option<SocketAddr> {
        let (src, mut dst) = (self.info.ends.src(), self.info.ends.dst());
        if dst.is_none() && src.is_some() {
            dst = crate::socket::local_address(self.io.socket().raw());
            self.info.ends = Ends::new(src, dst);
        }
        dst
    }
}

/// When the parts of a request arrived.
#[derive(Clone, Copy)]
pub struct Arrival {
    /// When this request began to be waited for: accept, or the end of the one before.
    pub idle_since: Instant,
    /// Its first byte.
    pub first_byte: Instant,
    /// Its last header byte.
    pub complete: Instant,
}

/// What waiting for a request brought.
enum Received {
    Request(Box<Head>, Arrival),
    /// A part of one, since then.
    Begun(Instant),
    /// The client closed before a request.
    Closed {
        bytes: usize,
    },
    /// The client's connection failed.
    Failed {
        bytes: usize,
    },
    TimedOut {
        bytes: usize,
    },
    Malformed(h1::Error, Instant),
}

/// A session as a task.
pub struct Session {
    worker: Rc<Worker>,
    state: State,
}

/// A part of a session that is more than waiting for a request. What one part needs is gone when the
/// next begins.
type Work = Pin<Box<dyn Future<Output = Then>>>;

/// How a session goes on when a part of it is over.
pub(crate) enum Then {
    /// The client may send another request.
    Waits(Box<Client>),
    /// With this.
    Works(Work),
    /// Not at all.
    Ends,
}

enum State {
    /// For the first bytes of a request, as long as there is a client.
    Waiting(Option<Box<Client>>),
    Busy(Work),
}

impl Session {
    /// Serves one connection to its end.
    pub fn new(worker: &Rc<Worker>, client: Box<Client>, headers: Headers) -> Session {
        let worker = Rc::clone(worker);
        let tls = matches!(client.io, Transport::Tls(_));
        let prelude = (tls || headers != Headers::default()).then_some(headers);
        let http = client.frontend.proxy().mode == model::Mode::Http;
        let state = match http && prelude.is_none() {
            true => State::waiting(&worker, client),
            false => State::Busy(Box::pin(enter(Rc::clone(&worker), client, prelude))),
        };
        Session { worker, state }
    }
}

impl State {
    fn waiting(worker: &Worker, client: Box<Client>) -> State {
        client.arm_for_request(worker.instant(client.idle_since));
        State::Waiting(Some(client))
    }
}

impl Future for Session {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Session { worker, state } = &mut *self;
        worker.new_poll();
        loop {
            *state = match state {
                State::Waiting(waiting) => {
                    let Some(mut client) = waiting.take() else {
                        return Poll::Ready(());
                    };
                    let Poll::Ready(received) = poll_first(worker, &mut client, cx) else {
                        *waiting = Some(client);
                        return Poll::Pending;
                    };
                    State::Busy(Box::pin(answer(Rc::clone(worker), client, received, None)))
                }
                State::Busy(work) => match ready!(work.as_mut().poll(cx)) {
                    Then::Waits(client) => State::waiting(worker, client),
                    Then::Works(work) => State::Busy(work),
                    Then::Ends => State::Waiting(None),
                },
            };
        }
    }
}

/// What comes before the first request, and what begins a session in the other modes.
async fn enter(worker: Rc<Worker>, mut client: Box<Client>, prelude: Option<Headers>) -> Then {
    if let Some(headers) = prelude
        && !Box::pin(prelude::run(&worker, &mut client, headers)).await
    {
        return Then::Ends;
    }
    match client.frontend.proxy().mode {
        model::Mode::Tcp => return tcp::run(worker, client).await,
        model::Mode::Ftp => Box::pin(ftp::run(&worker, &mut client)).await,
        model::Mode::Smtp => Box::pin(smtp::run(&worker, &mut client)).await,
        _ => return Then::Waits(client),
    }
    end(&worker, client)
}

/// The first request of a session that began as one of bytes, of which so much is decided.
pub(crate) async fn go_on(
    worker: Rc<Worker>,
    mut client: Box<Client>,
    begun: Box<Upgrade>,
) -> Then {
    // What was said and waited for as bytes takes nothing from the time for a request.
    client.arm_for_request(worker.now());
    let received = poll_fn(|cx| poll_first(&worker, &mut client, cx)).await;
    answer(worker, client, received, Some(begun)).await
}

/// Answers a request, or says why there is none.
async fn answer(
    worker: Rc<Worker>,
    mut client: Box<Client>,
    mut received: Received,
    begun: Option<Box<Upgrade>>,
) -> Then {
    if let Received::Begun(first_byte) = received {
        // Half a head is a request under way: who stops softly waits for it.
        client.seat.begin(client.requests);
        received = poll_fn(|cx| poll_rest(&worker, &mut client, cx, first_byte)).await;
    }
    let refused = match received {
        Received::Request(head, arrival) => {
            client.requests += 1;
            let next = stream::serve(&worker, &mut client, head, arrival, begun).await;
            let leaves_idle = client.frontend.side().idle_close_on_response;
            let stopping =
                || worker.process.is_stopping() && client.carry.is_empty() && !leaves_idle;
            if next == Next::KeepAlive && !stopping() {
                client.idle_since = worker.moment(worker.now());
                return Then::Waits(client);
            }
            None
        }
        Received::Closed { bytes: 0 } | Received::Failed { bytes: 0 } if client.requests > 0 => {
            None
        }
        Received::TimedOut { bytes: 0 } if client.requests > 0 => None,
        Received::Closed { bytes } | Received::Failed { bytes } => {
            Some(reply::Refused::ClientClosed { bytes })
        }
        Received::TimedOut { bytes } => Some(reply::Refused::TimedOut { bytes }),
        Received::Malformed(error, first_byte) => {
            client.unread = true;
            malformed::request(&worker, &client, &error);
            Some(reply::Refused::Malformed { error, first_byte })
        }
        Received::Begun(_) => None,
    };
    if let Some(refused) = refused {
        let idle_since = worker.instant(client.idle_since);
        Box::pin(reply::refuse(&worker, &mut client, idle_since, refused)).await;
    }
    end(&worker, client)
}

/// Ends a connection on which all is said.
pub(crate) fn end(worker: &Rc<Worker>, client: Box<Client>) -> Then {
    if client.frontend.side().nolinger {
        client.io.socket().close_at_once();
    } else if client.unread {
        return Then::Works(Box::pin(linger(Rc::clone(worker), client)));
    }
    Then::Ends
}

/// Ends our direction and reads on for a while: a close with bytes unread becomes a reset, which
/// may take away the answer before the client has read it.
async fn linger(worker: Rc<Worker>, mut client: Box<Client>) -> Then {
    client.io.shutdown_write();
    client.timer.arm(Some(Instant::now() + LINGER));
    poll_fn(|cx| {
        if client.timer.poll_expired(cx).is_ready() {
            return Poll::Ready(Then::Ends);
        }
        let mut scratch = worker.scratch.borrow_mut();
        for _ in 0..READS_AT_ONCE {
            match client.io.poll_read(cx, &mut scratch) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Then::Ends),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Others want to be served, too.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// How long a client may go on sending what nobody reads.
const LINGER: Duration = Duration::from_secs(2);
const READS_AT_ONCE: u32 = 16;

/// Waits for the first bytes of a request, which mostly are all of its head.
fn poll_first(worker: &Worker, client: &mut Client, cx: &mut Context<'_>) -> Poll<Received> {
    let parsed;
    if client.carry.is_empty() {
        let mut scratch = worker.scratch.borrow_mut();
        let room = match client.io.plain() {
            Some(_) => HEAD_ROOM,
            None => SCRATCH,
        };
        let room = scratch.get_mut(..room).unwrap_or_default();
        let bytes = match client.io.poll_read(cx, room) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Received::Closed { bytes: 0 }),
            Poll::Ready(Ok(n)) => room.get(..n).unwrap_or_default(),
            Poll::Ready(Err(_)) => return Poll::Ready(Received::Failed { bytes: 0 }),
            Poll::Pending => {
                let expired = client.timer.poll_expired(cx);
                return expired.map(|()| Received::TimedOut { bytes: 0 });
            }
        };
        parsed = parse(worker, client, bytes);
        // What cannot be read is kept, too: `show errors` shows it.
        let used = parsed.as_ref().map_or(0, |p| p.as_ref().map_or(0, |p| p.1));
        let rest = bytes.get(used..).unwrap_or_default();
        client.carry.extend_from_slice(rest);
    } else {
        // What was carried over may already hold a whole head.
        parsed = parse(worker, client, &client.carry);
        if let Ok(Some((_, used))) = parsed {
            client.carry.drain(..used);
        }
    }
    let now = worker.now();
    Poll::Ready(match parsed {
        Ok(Some((head, _))) => Received::Request(head, arrival(worker, client, now)),
        Ok(None) => {
            let timeouts = &client.frontend.proxy().timeouts;
            if client.requests > 0 {
                let patience = timeouts.http_request.or(timeouts.client);
                client.timer.arm(patience.map(|t| now + t));
            }
            Received::Begun(now)
        }
        Err(error) => Received::Malformed(error, now),
    })
}

/// Waits for the rest of a head.
fn poll_rest(
    worker: &Worker,
    client: &mut Client,
    cx: &mut Context<'_>,
    first_byte: Instant,
) -> Poll<Received> {
    loop {
        let mut scratch = worker.scratch.borrow_mut();
        let bytes = client.carry.len();
        let n = match client.io.poll_read(cx, &mut scratch) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Received::Closed { bytes }),
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(_)) => return Poll::Ready(Received::Failed { bytes }),
            Poll::Pending => {
                let expired = client.timer.poll_expired(cx);
                return expired.map(|()| Received::TimedOut { bytes });
            }
        };
        let come = scratch.get(..n).unwrap_or_default();
        client.carry.extend_from_slice(come);
        // A head cannot end without a line end: do not read the same bytes over and over.
        let longest = parse_options(worker, client).max_head;
        if !come.contains(&b'\n') && client.carry.len() <= longest {
            continue;
        }
        match parse(worker, client, &client.carry) {
            Ok(Some((head, used))) => {
                client.carry.drain(..used);
                let arrival = arrival(worker, client, first_byte);
                return Poll::Ready(Received::Request(head, arrival));
            }
            Ok(None) => {}
            Err(error) => return Poll::Ready(Received::Malformed(error, first_byte)),
        }
    }
}

fn arrival(worker: &Worker, client: &Client, first_byte: Instant) -> Arrival {
    Arrival {
        idle_since: worker.instant(client.idle_since),
        first_byte,
        complete: worker.now(),
    }
}

/// The head at the start of these bytes, with its length, once it is whole.
fn parse(
    worker: &Worker,
    client: &Client,
    bytes: &[u8],
) -> Result<Option<(Box<Head>, usize)>, h1::Error> {
    let mut head = worker.head();
    match h1::parse_request(bytes, &parse_options(worker, client), &mut head) {
        Ok(Some(used)) => Ok(Some((head, used))),
        other => {
            worker.recycle_head(head);
            other.map(|_| None)
        }
    }
}

/// How requests of this client are read.
fn parse_options(worker: &Worker, client: &Client) -> h1::ParseOptions {
    let generation = worker.process.generation.load();
    let tuning = &generation.config.global.tuning;
    h1::ParseOptions {
        max_head: tuning.bufsize.saturating_sub(tuning.maxrewrite),
        max_headers: tuning.http_maxhdr,
        accept_unsafe: client.frontend.proxy().http.unsafe_request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a session costs while it waits for a request. The runtime adds a hundred bytes to the
    /// task. Everything else is made when the first byte comes, and given back.
    #[test]
    fn an_idle_session_is_small() {
        let task = size_of::<Session>();
        assert!(task <= 24, "{task} bytes fit into the smallest task");
        let bytes = size_of::<Client>();
        assert!(bytes <= 232, "{bytes} bytes");
    }
}
