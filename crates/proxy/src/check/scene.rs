//! What one check knows, and what its expressions may see: there is no client, but a server, its
//! backend, and the answer so far.

use super::clock::Clock;
use super::dial::{self, Route};
use crate::transport::Transport;
use crate::worker::{Worker, wall_now};
use http::Head;
use model::{Check, CheckTls, SendProxy};
use rules::{Ctx, Expr, LogFormat, Sample, SessionInfo, StreamInfo, Vars};
use state::health::Finding;
use state::{Backend, Generation, Server, Target, View};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// What came of an answer so far, for expressions.
#[derive(Default)]
pub struct Seen<'a> {
    /// The head, if it is one of HTTP.
    pub head: Option<&'a mut Head>,
    /// The bytes, or those of the body.
    pub bytes: &'a [u8],
}

impl Seen<'_> {
    /// Bytes without a head.
    pub fn bytes(bytes: &[u8]) -> Seen<'_> {
        Seen { head: None, bytes }
    }

    /// The same for another look.
    pub fn again(&mut self) -> Seen<'_> {
        Seen {
            head: self.head.as_deref_mut(),
            bytes: self.bytes,
        }
    }
}

/// One check while it runs.
pub struct Scene<'a> {
    /// Who checks.
    pub worker: &'a Rc<Worker>,
    /// The server's backend.
    pub backend: &'a Backend,
    /// Who is checked.
    pub server: &'a Server,
    /// How.
    pub check: &'a Check,
    /// The time that is left.
    pub clock: &'a Clock,
    generation: Arc<Generation>,
    session: SessionInfo,
    stream: StreamInfo,
    vars: RefCell<Vars>,
    rng: Cell<u64>,
}

impl<'a> Scene<'a> {
    /// A check that begins.
    pub fn new(
        worker: &'a Rc<Worker>,
        backend: &'a Backend,
        server: &'a Server,
        check: &'a Check,
        clock: &'a Clock,
    ) -> Scene<'a> {
        let generation = worker.generation();
        let limits = generation.config.global.tuning.vars;
        Scene {
            worker,
            backend,
            server,
            check,
            clock,
            session: SessionInfo {
                worker: worker.id as u16,
                accepted: wall_now(),
                ..SessionInfo::default()
            },
            stream: StreamInfo {
                backend: Some(Arc::clone(&backend.name)),
                backend_id: backend.id,
                server: Some(Arc::clone(&server.name)),
                server_id: server.id,
                ..StreamInfo::default()
            },
            vars: RefCell::new(Vars::limited(limits)),
            rng: Cell::new(worker.rng.get() ^ u64::from(server.uid) << 32 | 1),
            generation,
        }
    }

    /// Calls `f` with what expressions may see.
    pub fn with<T>(&self, seen: Seen<'_>, f: impl FnOnce(&Ctx<'_>) -> T) -> T {
        let view = View {
            process: &self.worker.process,
            generation: &self.generation,
            now: std::time::Instant::now(),
            tracked: None,
        };
        f(&Ctx {
            res: seen.head,
            res_body: seen.bytes,
            ..Ctx::bare(
                &self.session,
                &self.stream,
                wall_now(),
                &self.vars,
                &view,
                &self.rng,
            )
        })
    }

    /// What a format gives.
    pub fn render(&self, format: &LogFormat, seen: Seen<'_>) -> Vec<u8> {
        self.with(seen, |cx| {
            let mut out = Vec::new();
            format.render(cx, &mut out);
            out
        })
    }

    /// What an expression gives.
    pub fn eval(&self, expr: &Expr, seen: Seen<'_>) -> Option<Sample<'static>> {
        self.with(seen, |cx| expr.eval(cx).map(Sample::into_owned))
    }

    /// The number that an expression gives; bytes are read as text.
    pub fn number(&self, expr: &Expr, seen: Seen<'_>) -> Option<i64> {
        match self.eval(expr, seen)? {
            Sample::Bin(text) => Sample::Str(text).to_int(),
            value => value.to_int(),
        }
    }

    /// A number that nobody can guess from the one before.
    pub fn random(&self) -> u64 {
        self.with(Seen::default(), |cx| cx.random())
    }

    /// Where checks of this server go when nothing else is said.
    pub fn target(&self) -> Result<Target, Finding> {
        dial::target(self.server, self.check)
    }

    /// A connection as the server line has it.
    pub async fn connect(&self) -> Result<Transport, Finding> {
        let route = Route::of_check(self.server, self.check)?;
        dial::connect(self.backend, self.server, &route, self.clock).await
    }

    /// A connection.
    pub async fn connect_to(
        &self,
        target: Target,
        port: Option<u16>,
        tls: Option<&CheckTls>,
        send_proxy: Option<SendProxy>,
        socks4: Option<SocketAddr>,
    ) -> Result<Transport, Finding> {
        let route = Route {
            target,
            port,
            tls,
            send_proxy,
            socks4,
            silent: false,
        };
        dial::connect(self.backend, self.server, &route, self.clock).await
    }
}
