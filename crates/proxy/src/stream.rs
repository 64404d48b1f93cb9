//! One request's way through the proxy, from its head to its log line.
//!
//! [`Stream::itinerary`] is the whole of it, one call per step; the retry is the loop in it.

use crate::choose::{self, Choice};
use crate::connect::{self, ConnectFailure};
use crate::exchange::Exchanged;
use crate::flow::Flow;
use crate::persistence::{self, Persistence};
use crate::pool::{Limits, ServerConn};
use crate::reply::Answer;
use crate::session::{Arrival, Client};
use crate::stick::{self, Sticking};
use crate::tcp::Upgrade;
use crate::termination::{Cause, Phase, Termination};
use crate::worker::Worker;
use crate::{account, compress, observe};
use http::{Head, framing};
use rules::{LogLevelChange, StreamInfo};
use state::{Backend, Frontend, Generation, Slot};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It waits for the next request.
    KeepAlive,
    /// It closes.
    Close,
}

/// Why the itinerary ended before its end.
pub enum Halt {
    /// We answer ourselves.
    Answer(Answer, Termination),
    /// The connection closes without a word.
    Silent(Termination),
}

/// The times of one request; `None` is not reached.
pub struct Times {
    /// As it arrived.
    pub arrival: Arrival,
    /// It left the queue.
    pub queued: Option<Instant>,
    /// The server's connection was there.
    pub connected: Option<Instant>,
    /// The response's head was there.
    pub responded: Option<Instant>,
}

/// A request and everything that is known of it.
pub struct Stream<'c> {
    pub(crate) worker: &'c Rc<Worker>,
    pub(crate) client: &'c mut Client,
    pub(crate) generation: Arc<Generation>,
    pub(crate) frontend: Arc<Frontend>,
    pub(crate) backend: Option<Arc<Backend>>,
    pub(crate) slot: Option<Slot>,
    pub(crate) server: Option<ServerConn>,
    pub(crate) request: Box<Head>,
    /// `METHOD target VERSION` as received, for the log.
    pub(crate) request_line: Vec<u8>,
    pub(crate) response: Option<Box<Head>>,
    pub(crate) request_framing: framing::Request,
    pub(crate) info: StreamInfo,
    pub(crate) times: Times,
    pub(crate) ended: Termination,
    /// Client to server.
    pub(crate) up: Flow,
    /// Server to client.
    pub(crate) down: Flow,
    /// Request body bytes that came before there was a server, kept for a retry.
    pub(crate) early_body: Vec<u8>,
    /// Whether the response asked the client to close.
    pub(crate) client_close: bool,
    pub(crate) status: Option<u16>,
    pub(crate) retries: u32,
    pub(crate) redispatched: bool,
    pub(crate) log_level: LogLevelChange,
    pub(crate) captures: account::Captures,
    pub(crate) persistence: Persistence,
    /// What `stick` rules found, where there are any.
    pub(crate) sticking: Option<Box<Sticking>>,
    /// How the client wants its response compressed.
    pub(crate) compression: Option<model::CompressionAlgo>,
    /// It is not compressed, because the process compresses enough.
    pub(crate) compression_bypassed: bool,
    pub(crate) retry_forbidden: bool,
    /// The method was HEAD when the request came: the response has no body.
    pub(crate) head_request: bool,
    /// What of the body was waited for, decoded.
    pub(crate) body: Vec<u8>,
    /// What of the response's body was waited for, decoded.
    pub(crate) response_body: Vec<u8>,
    /// Refused before it counts as a request: the log shows none.
    pub(crate) unread: bool,
    /// The first request of a session that began as one of bytes.
    pub(crate) upgraded: bool,
    /// The backend that such a session was led to.
    destined: Option<Arc<Backend>>,
    /// Answered by `monitor-uri`: not logged.
    pub(crate) monitored: bool,
    /// The log line is written while the response is still on its way.
    pub(crate) logged_early: bool,
    /// The server's connection closes after this request.
    pub(crate) server_close: bool,
    /// The server that the next attempt passes over.
    pub(crate) avoid: Option<u32>,
    /// Who chose the server.
    pub(crate) choice: Choice,
    /// The server that the next attempt goes to.
    pub(crate) insist: Option<Arc<state::Server>>,
    /// Bytes of the request's head as received.
    pub(crate) request_head_len: u64,
    pub(crate) response_head_len: u64,
    /// Bytes of the heads that the server sent.
    pub(crate) server_heads_len: u64,
}

/// Serves one request and says what becomes of the connection. `begun` is what was decided about it
/// while it was a session of bytes.
pub async fn serve(
    worker: &Rc<Worker>,
    client: &mut Client,
    request: Box<Head>,
    arrival: Arrival,
    begun: Option<Box<Upgrade>>,
) -> Next {
    let generation = worker.generation();
    let frontend = Arc::clone(&client.frontend);
    client.seat.begin(client.requests);
    let upgraded = begun.is_some();
    let begun = begun.map(|begun| (begun.info, begun.backend));
    let (info, destined) = begun.unwrap_or_default();
    let mut stream = Stream {
        generation,
        backend: None,
        slot: None,
        server: None,
        request_line: Vec::new(),
        response: None,
        request_framing: framing::Request::default(),
        upgraded,
        destined,
        info: StreamInfo {
            follows: client.requests > 1,
            ..info
        },
        times: Times {
            arrival,
            queued: None,
            connected: None,
            responded: None,
        },
        ended: Termination::default(),
        up: Flow::idle(),
        down: Flow::idle(),
        early_body: Vec::new(),
        client_close: false,
        status: None,
        retries: 0,
        redispatched: false,
        log_level: LogLevelChange::default(),
        captures: account::Captures::default(),
        persistence: Persistence::default(),
        sticking: None,
        compression: None,
        compression_bypassed: false,
        retry_forbidden: false,
        head_request: request.method() == b"HEAD",
        body: Vec::new(),
        response_body: Vec::new(),
        unread: false,
        monitored: false,
        logged_early: false,
        server_close: false,
        avoid: None,
        choice: Choice::Scheduler,
        insist: None,
        request_head_len: request.arena_len() as u64,
        response_head_len: 0,
        server_heads_len: 0,
        worker,
        client,
        frontend,
        request,
    };
    let next = stream.run().await;
    stream.release(next);
    next
}

impl Stream<'_> {
    async fn run(&mut self) -> Next {
        account::request_received(self);
        let outcome = self.itinerary().await;
        let next = match outcome {
            Ok(next) => next,
            Err(Halt::Answer(answer, termination)) => {
                self.ended = termination;
                self.answer(answer).await
            }
            Err(Halt::Silent(termination)) => {
                self.ended = termination;
                Next::Close
            }
        };
        account::finished(self);
        // Only what was sent could be lost; who was sent nothing may not even hear of the end.
        if next == Next::Close
            && self.down.sent > 0
            && self.client.is_talking(self.request_framing.keep_alive)
        {
            self.client.unread = true;
        }
        next
    }

    /// The steps of one request.
    async fn itinerary(&mut self) -> Result<Next, Halt> {
        self.read_framing()?;
        self.frontend_rules().await?;
        let backend = match self.destined.take() {
            Some(backend) => backend,
            None => choose::backend(self)?,
        };
        self.enter_backend(backend);
        self.backend_rules().await?;
        if let Some(backend) = self.backend.clone() {
            persistence::read(self, &backend);
            stick::request(self, &backend);
            self.read_posted_key(&backend).await?;
        }
        compress::read_request(self);
        self.prepare_request();
        loop {
            self.choose_server().await?;
            let outcome = match self.connect().await {
                Ok(()) => self.exchange().await,
                Err(failure) => Exchanged::NoConnection(failure),
            };
            match outcome {
                Exchanged::Done(next) => return Ok(next),
                Exchanged::NoConnection(failure) => self.connection_failed(failure).await?,
                Exchanged::Retry => self.before_retry(),
                Exchanged::Failed(halt) => return Err(halt),
            }
        }
    }

    /// The backend, once chosen.
    pub(crate) fn backend(&self) -> Option<&Arc<Backend>> {
        self.backend.as_ref()
    }

    fn enter_backend(&mut self, backend: Arc<Backend>) {
        self.info.backend = Some(Arc::clone(&backend.name));
        self.info.backend_id = backend.id;
        self.client.seat.enter(backend.id);
        account::backend_entered(self, &backend);
        self.backend = Some(backend);
    }

    /// Takes a place on a server, waiting in the queue where all are full.
    async fn choose_server(&mut self) -> Result<(), Halt> {
        let (slot, choice) = choose::server(self).await?;
        if choice != Choice::Again {
            self.choice = choice;
        }
        self.redirect_to(&slot)?;
        let now = self.worker.now();
        self.times.queued.get_or_insert(now);
        self.info.server = Some(Arc::clone(&slot.server().name));
        self.info.server_id = slot.server().id;
        if self
            .backend
            .as_ref()
            .is_some_and(|b| b.side().prefer_last_server)
        {
            self.client.last_server = Some(Arc::clone(slot.server()));
        }
        self.client.seat.assign(slot.server().id);
        self.slot = Some(slot);
        account::assigned(self, choice == Choice::Scheduler);
        self.name_server();
        Ok(())
    }

    /// `redir`: the client is sent to the server instead of through us, where a redirect loses nothing.
    fn redirect_to(&mut self, slot: &Slot) -> Result<(), Halt> {
        let settings = slot.server().settings();
        let Some(prefix) = &settings.redir else {
            return Ok(());
        };
        if !matches!(self.request.method(), b"GET" | b"HEAD") {
            return Ok(());
        }
        self.info.server = Some(Arc::clone(&slot.server().name));
        self.info.server_id = slot.server().id;
        let location = [
            prefix.as_bytes(),
            http::uri::path_and_query(self.request.target()),
        ]
        .concat();
        let ended = Termination::new(Cause::Local, Phase::Connect);
        Err(Halt::Answer(Answer::found(location), ended))
    }

    async fn connect(&mut self) -> Result<(), ConnectFailure> {
        let connection = connect::to_server(self).await?;
        self.times.connected = Some(self.worker.now());
        self.info.server_tls = connection.io.tls_info();
        self.server = Some(connection);
        observe::connection(self, true);
        stick::connected(self);
        Ok(())
    }

    /// A failed connection is tried again while retries are left: on the same server after a
    /// pause, or elsewhere when `option redispatch` says so (manual section 4.2, `retries`).
    async fn connection_failed(&mut self, failure: ConnectFailure) -> Result<(), Halt> {
        let Some(backend) = self.backend.clone() else {
            return Err(Halt::Silent(Termination::new(
                Cause::Internal,
                Phase::Connect,
            )));
        };
        // A server whose sessions are ended has not failed.
        let cut = failure == ConnectFailure::Cut;
        if failure != ConnectFailure::ClientGone && !cut {
            observe::connection(self, false);
        }
        let side = backend.side();
        let allowed = side.retry_on.has(model::RetryOn::CONN_FAILURE);
        if failure == ConnectFailure::ClientGone {
            self.slot = None;
            return Err(Halt::Silent(Termination::new(
                Cause::ClientAbort,
                Phase::Connect,
            )));
        }
        if !allowed || self.retries >= crate::overrides::retries(side, &self.info) {
            let slot = self.slot.take();
            let failed = slot.as_ref().map(|slot| &**slot.server());
            account::unserved(self, failed);
            return Err(Halt::Answer(Answer::error(503), failure.ended(failed)));
        }
        if let Some(failed) = self.again(&backend, cut) {
            // The same server again, not before a second has passed since the first attempt,
            // so that a server being restarted has the time to come back.
            drop(failed);
            let pause = match backend.proxy().timeouts.connect {
                Some(connect) => connect.min(RETRY_PAUSE),
                None => RETRY_PAUSE,
            };
            let patient = matches!(failure, ConnectFailure::TimedOut | ConnectFailure::Cut);
            if !patient && !backend.servers().is_empty() {
                self.pause(pause).await?;
            }
        }
        Ok(())
    }

    /// Waits, unless the client goes away meanwhile.
    pub(crate) async fn pause(&mut self, pause: Duration) -> Result<(), Halt> {
        self.client.timer.arm(Some(self.worker.now() + pause));
        let abort_on_close = self.backend.as_ref().is_some_and(|b| b.side().abortonclose);
        let client = &mut *self.client;
        std::future::poll_fn(|cx| {
            if client.timer.poll_expired(cx).is_ready() {
                return std::task::Poll::Ready(Ok(()));
            }
            if client.poll_gone(cx, abort_on_close) {
                let ended = Termination::new(Cause::ClientAbort, Phase::Connect);
                return std::task::Poll::Ready(Err(Halt::Silent(ended)));
            }
            std::task::Poll::Pending
        })
        .await
    }

    fn before_retry(&mut self) {
        observe::failed(self);
        // Rules that choose another server must not take it for the answer.
        self.response = None;
        self.response_body.clear();
        if let Some(backend) = self.backend.clone() {
            self.again(&backend, false);
        }
    }

    /// Prepares another attempt: elsewhere, where the server's sessions were `cut` in any case, or on the
    /// same server, whose place is returned.
    fn again(&mut self, backend: &Arc<Backend>, cut: bool) -> Option<Slot> {
        self.retries += 1;
        let scheduled = self.choice == Choice::Scheduler;
        let elsewhere = cut || choose::redispatches(backend, self.retries, scheduled);
        let elsewhere = elsewhere && !self.persistence.is_forced();
        account::retried(self, elsewhere);
        let failed = self.slot.take();
        if elsewhere {
            self.persistence.redispatched();
            choose::avoid(self, failed.as_ref());
            self.redispatched = true;
            return None;
        }
        choose::insist(self, failed.as_ref());
        failed
    }

    /// Keeps the server's connection for the next request, if it can carry one.
    pub(crate) fn keep_server(&mut self, reusable: bool) {
        self.info.overrides.server.set(None);
        let (Some(mut connection), Some(slot)) = (self.server.take(), self.slot.as_ref()) else {
            return;
        };
        let nolinger = self.backend.as_ref().is_some_and(|b| b.side().nolinger);
        if !reusable {
            if nolinger {
                connection.io.socket().close_at_once();
            }
            return;
        }
        if self.server_close || self.worker.process.is_stopping() {
            return connection.retire();
        }
        connection.served += 1;
        let server = slot.server();
        let settings = server.settings();
        // What was told of one client must not be taken for another.
        let never = settings.send_proxy.is_some()
            || self
                .backend
                .as_ref()
                .is_some_and(|b| b.side().reuse == model::HttpReuse::Never);
        if never {
            // No other client could have it closed, where connections are bounded.
            let wanted = connection._room.is_some();
            if wanted || self.frontend.side().max_session_srv_conns == Some(0) {
                return connection.retire();
            }
            self.client.private = Some(Box::new((server.uid, connection)));
            return;
        }
        let limits = Limits::of(&settings, server);
        self.worker
            .pools
            .put(server.uid, connection, limits, self.worker.now());
    }

    /// Gives everything back to the worker.
    fn release(mut self, _next: Next) {
        let worker = self.worker;
        worker.recycle_head(self.request);
        if let Some(response) = self.response {
            worker.recycle_head(response);
        }
        worker.recycle(self.request_line);
        worker.recycle(self.early_body);
        self.up.recycle(worker);
        self.down.recycle(worker);
    }
}

/// Least time between two attempts on the same server.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
