//! A client's connection: accept, then one request after another.
//!
//! The future of an idle session is small (see the size test): it owns the socket, a deadline
//! and what the rules may know of the connection. All that a request needs is made when its
//! first byte arrives, and given back when it is answered.

use crate::stream::{self, Next};
use crate::timer::Timer;
use crate::transport::Transport;
use crate::worker::Worker;
use crate::{malformed, pool::ServerConn, prelude, reply, smtp, tcp};
use http::{Head, h1};
use rules::{SessionInfo, Vars};
use state::Frontend;
use state::stick::Tracked;
use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
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
    pub info: Box<SessionInfo>,
    /// A PROXY header comes before everything else.
    pub accept_proxy: bool,
    /// The frontend it came in by.
    pub frontend: Arc<Frontend>,
    /// Requests received so far.
    pub requests: u32,
    /// The client may still be sending what nobody reads any more.
    pub unread: bool,
    /// When the connection was accepted.
    pub accepted: Instant,
    /// Time the handshakes took.
    pub handshake: Duration,
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
    /// where `on_close` says that this counts, it ended its direction. Bytes that wait are left.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, on_close: bool) -> bool {
        match self.io.socket().poll_hangup(cx, on_close) {
            Some(crate::io::Hangup::Failed) => true,
            Some(crate::io::Hangup::Closed) => on_close,
            None => false,
        }
    }

    /// The address the client connected to, asked of the system when it is not known.
    pub fn destination(&mut self) -> Option<SocketAddr> {
        if self.info.dst.is_none() && self.info.src.is_some() {
            self.info.dst = crate::socket::local_address(self.io.socket().raw());
        }
        self.info.dst
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

/// Serves one connection to its end.
pub async fn run(worker: &Rc<Worker>, client: &mut Client) {
    let prelude = client.accept_proxy || matches!(client.io, Transport::Tls(_));
    if prelude && !Box::pin(prelude::run(worker, client)).await {
        return;
    }
    match client.frontend.proxy().mode {
        model::Mode::Tcp => Box::pin(tcp::run(worker, client)).await,
        model::Mode::Smtp => Box::pin(smtp::run(worker, client)).await,
        _ => http1(worker, client).await,
    }
    match client.frontend.side().nolinger {
        true => client.io.socket().close_at_once(),
        false if client.unread => linger(worker, client).await,
        false => {}
    }
}

async fn http1(worker: &Rc<Worker>, client: &mut Client) {
    let mut idle_since = client.accepted;
    loop {
        let next = match receive(worker, client, idle_since).await {
            Received::Request(head, arrival) => {
                client.requests += 1;
                Box::pin(stream::serve(worker, client, head, arrival)).await
            }
            Received::Closed { bytes } | Received::Failed { bytes }
                if bytes == 0 && client.requests > 0 =>
            {
                Next::Close
            }
            Received::TimedOut { bytes } if bytes == 0 && client.requests > 0 => Next::Close,
            other => {
                let refused = match other {
                    Received::Closed { bytes } => reply::Refused::ClientClosed { bytes },
                    Received::Failed { bytes } => reply::Refused::ClientClosed { bytes },
                    Received::TimedOut { bytes } => reply::Refused::TimedOut { bytes },
                    Received::Malformed(error, first_byte) => {
                        client.unread = true;
                        malformed::request(worker, client, &error);
                        reply::Refused::Malformed { error, first_byte }
                    }
                    Received::Request(..) => return,
                };
                Box::pin(reply::refuse(worker, client, idle_since, refused)).await;
                Next::Close
            }
        };
        match next {
            Next::KeepAlive => idle_since = worker.now(),
            Next::Close => return,
        }
        if worker.process.is_stopping() && client.carry.is_empty() {
            return;
        }
    }
}

/// Ends our direction and reads on for a while: a close with bytes unread becomes a reset, which
/// may take away the answer before the client has read it.
async fn linger(worker: &Worker, client: &mut Client) {
    client.io.shutdown_write();
    client.timer.arm(Some(Instant::now() + LINGER));
    poll_fn(|cx| {
        if client.timer.poll_expired(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = worker.scratch.borrow_mut();
        for _ in 0..READS_AT_ONCE {
            match client.io.poll_read(cx, &mut scratch) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
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

/// Waits for the next request's head.
async fn receive(worker: &Rc<Worker>, client: &mut Client, idle_since: Instant) -> Received {
    let timeouts = client.frontend.proxy().timeouts;
    // Before the first byte a kept-alive connection has its own patience.
    let patience = if client.requests > 0 {
        timeouts
            .http_keep_alive
            .or(timeouts.http_request)
            .or(timeouts.client)
    } else {
        timeouts.http_request.or(timeouts.client)
    };
    client.timer.arm(patience.map(|t| idle_since + t));
    let mut first_byte = None;
    if !client.carry.is_empty() {
        let now = worker.now();
        first_byte = Some(now);
        client
            .timer
            .arm(timeouts.http_request.or(timeouts.client).map(|t| now + t));
    }
    let mut tried = false;
    poll_fn(|cx| poll_receive(worker, client, cx, idle_since, &mut first_byte, &mut tried)).await
}

fn poll_receive(
    worker: &Worker,
    client: &mut Client,
    cx: &mut Context<'_>,
    idle_since: Instant,
    first_byte: &mut Option<Instant>,
    tried: &mut bool,
) -> Poll<Received> {
    let arrival = |first: Instant| Arrival {
        idle_since,
        first_byte: first,
        complete: worker.now(),
    };
    let options = parse_options(worker, client);
    // What was carried over may already hold a whole head.
    if !*tried
        && let Some(first) = *first_byte
        && !client.carry.is_empty()
    {
        *tried = true;
        let mut head = worker.head();
        match h1::parse_request(&client.carry, &options, &mut head) {
            Ok(Some(used)) => {
                client.carry.drain(..used);
                return Poll::Ready(Received::Request(head, arrival(first)));
            }
            Ok(None) => worker.recycle_head(head),
            Err(error) => {
                worker.recycle_head(head);
                return Poll::Ready(Received::Malformed(error, first));
            }
        }
    }
    loop {
        let mut scratch = worker.scratch.borrow_mut();
        let n = match client.io.poll_read(cx, &mut scratch) {
            Poll::Ready(Ok(0)) => {
                return Poll::Ready(Received::Closed {
                    bytes: client.carry.len(),
                });
            }
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(_)) => {
                return Poll::Ready(Received::Failed {
                    bytes: client.carry.len(),
                });
            }
            Poll::Pending => {
                if client.timer.poll_expired(cx).is_ready() {
                    return Poll::Ready(Received::TimedOut {
                        bytes: client.carry.len(),
                    });
                }
                return Poll::Pending;
            }
        };
        let first = *first_byte.get_or_insert_with(|| {
            let now = worker.now();
            let timeouts = &client.frontend.proxy().timeouts;
            if client.requests > 0 {
                client
                    .timer
                    .arm(timeouts.http_request.or(timeouts.client).map(|t| now + t));
            }
            now
        });
        let mut head = worker.head();
        let parsed = if client.carry.is_empty() {
            let bytes = &scratch[..n];
            let parsed = h1::parse_request(bytes, &options, &mut head);
            match parsed {
                Ok(Some(used)) => client.carry.extend_from_slice(&bytes[used..]),
                // What cannot be read is kept, too: `show errors` shows it.
                Ok(None) | Err(_) => client.carry.extend_from_slice(bytes),
            }
            parsed
        } else {
            let bytes = &scratch[..n];
            client.carry.extend_from_slice(bytes);
            // A head cannot end without a line end: do not read the same bytes over and over.
            if !bytes.contains(&b'\n') && client.carry.len() <= options.max_head {
                worker.recycle_head(head);
                continue;
            }
            let parsed = h1::parse_request(&client.carry, &options, &mut head);
            if let Ok(Some(used)) = parsed {
                client.carry.drain(..used);
            }
            parsed
        };
        match parsed {
            Ok(Some(_)) => return Poll::Ready(Received::Request(head, arrival(first))),
            Ok(None) => worker.recycle_head(head),
            Err(error) => {
                worker.recycle_head(head);
                return Poll::Ready(Received::Malformed(error, first));
            }
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

    /// What a session costs while it waits for a request: the future that waits, and the client.
    /// Everything else is made when the first byte comes, and given back.
    #[test]
    fn an_idle_session_is_small() {
        fn future<'a, F: Future + 'a>(_: impl Fn(&'a Rc<Worker>, &'a mut Client) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = future(run) + size_of::<Client>() + size_of::<SessionInfo>();
        assert!(bytes <= 688, "{bytes} bytes");
    }
}
