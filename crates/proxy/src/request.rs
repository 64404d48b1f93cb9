//! The request's part of a stream's itinerary, up to the choice of a server.

use crate::account;
use crate::malformed;
use crate::overrides;
use crate::reply::{self, Answer};
use crate::service::{ServiceRequest, StatsRequest};
use crate::socket;
use crate::stream::{Halt, Stream};
use crate::termination::{Cause, Phase, Termination};
use http::Version;
use http::framing::{self, Body};
use model::{Balance, ConnectionMode, Proxy, RestrictNames};
use rules::action::{Effects, run};
use rules::{NoTrace, Rule, Service, Verdict};
use state::Backend;
use std::future::poll_fn;
use std::io::Write;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

impl Stream<'_> {
    /// Decides where the body ends, and forgets what concerned only the client's connection.
    pub(crate) fn read_framing(&mut self) -> Result<(), Halt> {
        let tolerance = framing::Tolerance {
            unsafe_framing: self.frontend.proxy().http.unsafe_request,
            any_payload: self.generation.config.global.h1_any_payload,
        };
        match framing::request(&mut self.request, tolerance) {
            Ok(framed) => self.request_framing = framed,
            Err(error) => {
                account::bad_request(self);
                self.unread = true;
                malformed::framing(self, &error);
                self.client_close = true;
                // Where its body ends is not known.
                self.client.unread = true;
                let ended = Termination::new(Cause::Proxy, Phase::Request);
                return Err(Halt::Answer(Answer::error(error.status()), ended));
            }
        }
        self.client_close = !self.request_framing.keep_alive
            || self.frontend.proxy().http.connection == ConnectionMode::Close
            || self.worker.process.is_stopping();
        if self.frontend.proxy().http.proxy_header && self.means_a_proxy() {
            self.client_close |= self.request.has_token(b"proxy-connection", b"close");
        }
        crate::response::drop_hop_by_hop(&mut self.request, self.request_framing.upgrade);
        match self.frontend.proxy().http.restrict_names {
            None => {}
            Some(policy) => self.restrict_names(policy)?,
        }
        Ok(())
    }

    /// Whether the request is written as to a proxy: its target neither a path nor `*`.
    pub(crate) fn means_a_proxy(&self) -> bool {
        !matches!(self.request.target().first(), Some(b'/' | b'*'))
    }

    fn restrict_names(&mut self, policy: RestrictNames) -> Result<(), Halt> {
        let fits = |name: &[u8]| name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
        match policy {
            RestrictNames::Delete => self.request.retain(|name, _| fits(name)),
            RestrictNames::Reject => {
                if self.request.fields().any(|(name, _)| !fits(name)) {
                    account::denied(self);
                    let ended = Termination::new(Cause::Proxy, Phase::Request);
                    return Err(Halt::Answer(Answer::error(403), ended));
                }
            }
        }
        Ok(())
    }

    /// Unique ID, captures, the frontend's rules, and what it answers itself.
    pub(crate) async fn frontend_rules(&mut self) -> Result<(), Halt> {
        let frontend = Arc::clone(&self.frontend);
        let side = frontend.side();
        if let Some(format) = &side.unique_id_format {
            let mut id = Vec::new();
            crate::report::with_log_facts(self, |cx| format.render(cx, &mut id));
            if let Some(header) = &side.unique_id_header {
                self.request.set(header.as_bytes(), &id);
            }
            self.info.unique_id = rules::UniqueId::made(id);
        }
        account::capture_request(self);
        if let Some(uri) = &side.monitor_uri
            && self.request.target() == uri.as_bytes()
        {
            let failed = side
                .monitor_fail
                .iter()
                .any(|c| c.eval(&ctx!(self), &mut NoTrace));
            let status = if failed { 503 } else { 200 };
            self.monitored = true;
            let ended = Termination::new(Cause::Local, Phase::Request);
            return Err(Halt::Answer(Answer::error(status), ended));
        }
        let proxy = Arc::clone(frontend.proxy());
        // They have run already where they were what made this a session of HTTP.
        if !self.upgraded {
            self.content_rules(&proxy).await?;
        }
        if proxy.http.buffer_request {
            self.wait_for_body(None, None).await?;
        }
        self.request_rules(&proxy, &proxy.http_request).await?;
        self.statistics(&proxy).await
    }

    /// `tcp-request content` rules. The request is there, so that nothing has to be waited for.
    async fn content_rules(&mut self, proxy: &Arc<Proxy>) -> Result<(), Halt> {
        let rules: &[Rule] = &proxy.tcp_request_content;
        if rules.is_empty() {
            return Ok(());
        }
        let mut from = 0;
        loop {
            let mut effects = Effects::default();
            let verdict = run(rules, from, &mut ctx!(self), &mut effects, &mut NoTrace);
            self.take_effects(effects, false);
            match verdict {
                Verdict::Reject | Verdict::Deny(_) => {
                    account::denied(self);
                    // Content is looked at before there is a request.
                    self.unread = true;
                    let ended = Termination::new(Cause::Proxy, Phase::Request);
                    return Err(Halt::Silent(ended));
                }
                Verdict::Resolve { rule, name, resume } => {
                    self.resolve(rule, &name).await;
                    from = resume;
                }
                _ => return Ok(()),
            }
        }
    }

    /// The backend's rules, unless they have run as the frontend's of the same `listen`.
    pub(crate) async fn backend_rules(&mut self) -> Result<(), Halt> {
        let Some(backend) = self.backend.clone() else {
            return Ok(());
        };
        let proxy = Arc::clone(backend.proxy());
        // A session that began as bytes may be led to where requests are not understood.
        if proxy.mode != model::Mode::Http {
            let ended = Termination::new(Cause::Internal, Phase::Request);
            return Err(Halt::Silent(ended));
        }
        if proxy.http.connection == ConnectionMode::Close {
            self.client_close = true;
        }
        if Arc::ptr_eq(&proxy, self.frontend.proxy()) {
            return Ok(());
        }
        self.content_rules(&proxy).await?;
        if proxy.http.buffer_request && !self.frontend.proxy().http.buffer_request {
            self.wait_for_body(None, None).await?;
        }
        self.request_rules(&proxy, &proxy.http_request).await?;
        self.statistics(&proxy).await
    }

    async fn request_rules(&mut self, proxy: &Arc<Proxy>, rules: &[Rule]) -> Result<(), Halt> {
        if rules.is_empty() {
            return Ok(());
        }
        let mut from = 0;
        loop {
            let mut effects = Effects::default();
            let verdict = run(rules, from, &mut ctx!(self), &mut effects, &mut NoTrace);
            self.early_hints(&effects.early_hints, proxy).await;
            self.take_effects(effects, false);
            let refused = Termination::new(Cause::Proxy, Phase::Request);
            let local = Termination::new(Cause::Local, Phase::Request);
            match verdict {
                Verdict::Continue | Verdict::Allow | Verdict::CloseServer | Verdict::SwitchMode => {
                    return Ok(());
                }
                Verdict::Deny(reply) => {
                    account::denied(self);
                    return Err(Halt::Answer(Answer::from_rule(reply, &ctx!(self)), refused));
                }
                Verdict::Tarpit(reply) => {
                    account::denied(self);
                    let answer = Answer::from_rule(reply, &ctx!(self));
                    return Err(self.tarpit(proxy, answer).await);
                }
                Verdict::Return(reply) => {
                    return Err(Halt::Answer(Answer::from_rule(reply, &ctx!(self)), local));
                }
                Verdict::Redirect(redirect) => {
                    return Err(Halt::Answer(Answer::redirect(redirect, &ctx!(self)), local));
                }
                Verdict::Reject => {
                    account::denied(self);
                    return Err(Halt::Silent(refused));
                }
                Verdict::Service(service) => {
                    return Err(Halt::Answer(self.serve(service), local));
                }
                Verdict::Pause { time_ms, resume } => {
                    self.pause(Duration::from_millis(time_ms)).await?;
                    from = resume;
                }
                Verdict::WaitForBody {
                    time_ms,
                    at_least,
                    resume,
                } => {
                    self.wait_for_body(Some(Duration::from_millis(time_ms)), at_least)
                        .await?;
                    from = resume;
                }
                Verdict::Resolve { rule, name, resume } => {
                    self.resolve(rule, &name).await;
                    from = resume;
                }
            }
        }
    }

    /// `do-resolve`: without an answer the variable stays as it is.
    async fn resolve(&mut self, rule: &rules::action::Resolve, name: &str) {
        if let Some(address) = crate::resolve::for_rule(&self.generation, rule, name).await {
            ctx!(self).set_var(&rule.variable, address, &[]);
        }
    }

    /// Sends fields ahead of the response (RFC 8297), to a client that knows such responses.
    async fn early_hints(&mut self, hints: &[(Box<[u8]>, Vec<u8>)], proxy: &Proxy) {
        if hints.is_empty() || self.request.version() != Version::Http11 {
            return;
        }
        let mut out = b"HTTP/1.1 103 Early Hints\r\n".to_vec();
        for (name, value) in hints {
            out.extend_from_slice(&[name, &b": "[..], value, b"\r\n"].concat());
        }
        out.extend_from_slice(b"\r\n");
        // A client that is gone is found out when the response is sent.
        let _ = reply::send(self.worker, self.client, &proxy.timeouts, &out).await;
    }

    pub(crate) fn take_effects(&mut self, effects: Effects, response: bool) {
        if effects.log_level != rules::LogLevelChange::Unchanged {
            self.log_level = effects.log_level;
        }
        self.retry_forbidden |= effects.no_retry;
        self.info.prioritise(&effects);
        let fd = self.client.io.socket().raw();
        socket::mark(fd, effects.tos, effects.mark);
        if let Some(silence) = effects.silence {
            socket::silence(fd, silence);
        }
        let converted = self.info.overrides.given(|g| {
            let captured = g.captured.take();
            (!captured.is_empty()).then_some(captured)
        });
        for (response, slot, value) in converted.into_iter().flatten() {
            self.captures
                .put(response, slot, &value, self.frontend.side());
        }
        for (slot, value) in effects.captures {
            self.captures
                .put(response, slot, &value, self.frontend.side());
        }
    }

    /// The address that the client connected to, as it counts now.
    fn destination(&mut self) -> Option<std::net::SocketAddr> {
        let set = self.info.overrides.given(|g| g.dst.get());
        set.or_else(|| self.client.destination())
    }

    /// Holds a request for `timeout tarpit`, so that its sender waits in vain.
    async fn tarpit(&mut self, proxy: &Proxy, answer: Answer) -> Halt {
        let ended = Termination::new(Cause::Proxy, Phase::Tarpit);
        let timeouts = overrides::timeouts(&proxy.timeouts, &self.info);
        let patience = timeouts.tarpit.or(timeouts.connect);
        self.client
            .timer
            .arm(patience.map(|t| self.worker.now() + t));
        let client = &mut *self.client;
        let left = poll_fn(|cx| {
            if client.poll_gone(cx, true) {
                return Poll::Ready(true);
            }
            if patience.is_none() || client.timer.poll_expired(cx).is_ready() {
                return Poll::Ready(false);
            }
            Poll::Pending
        })
        .await;
        if left {
            Halt::Silent(ended)
        } else {
            Halt::Answer(answer, ended)
        }
    }

    /// What a service that a rule names answers.
    fn serve(&mut self, service: Service) -> Answer {
        let label = match service {
            Service::PrometheusExporter => "<PROMEX>",
        };
        self.info.server = Some(label.into());
        self.worker.services.named.serve(&ServiceRequest {
            service,
            request: &self.request,
            process: &self.worker.process,
            generation: &self.generation,
            now: self.times.arrival.complete,
        })
    }

    /// The statistics page, where this proxy has one and the request is for it.
    async fn statistics(&mut self, proxy: &Arc<Proxy>) -> Result<(), Halt> {
        let Some(page) = &proxy.stats else {
            return Ok(());
        };
        let mine = self.request.target().starts_with(page.uri.as_bytes());
        if !mine || !matches!(self.request.method(), b"GET" | b"HEAD" | b"POST") {
            return Ok(());
        }
        self.info.server = Some("<STATS>".into());
        self.request_rules(proxy, &page.http_request).await?;
        let admin = {
            let cx = ctx!(self);
            page.admin.iter().any(|c| c.eval(&cx, &mut NoTrace))
        };
        if admin && self.request.method() == b"POST" {
            self.wait_for_body(None, None).await?;
        }
        let answer = self.worker.services.stats.serve(&StatsRequest {
            page,
            proxy: &proxy.name,
            request: &self.request,
            body: &self.body,
            admin,
            process: &self.worker.process,
            generation: &self.generation,
            now: self.times.arrival.complete,
        });
        let ended = Termination::new(Cause::Local, Phase::Request);
        Err(Halt::Answer(answer, ended))
    }

    /// `balance url_param … check_post`: the body is waited for where the parameter may be in it.
    pub(crate) async fn read_posted_key(&mut self, backend: &Backend) -> Result<(), Halt> {
        let Balance::UrlParam {
            name,
            check_post: true,
        } = &backend.side().balance
        else {
            return Ok(());
        };
        let query = self.request.query().unwrap_or_default();
        let in_query = http::uri::query_param(query, name.as_bytes()).is_some();
        let posted = self.request.method() == b"POST" && self.body.is_empty();
        if in_query || !posted || self.request.get(b"expect").is_some() {
            return Ok(());
        }
        self.wait_for_body(None, None).await
    }

    /// Reads the body into memory until it is complete, long enough, or a buffer is full.
    async fn wait_for_body(
        &mut self,
        patience: Option<Duration>,
        at_least: Option<u64>,
    ) -> Result<(), Halt> {
        if self.request_framing.body == Body::None {
            return Ok(());
        }
        let proxy = Arc::clone(self.frontend.proxy());
        let patience = patience
            .or(proxy.timeouts.http_request)
            .or(proxy.timeouts.client);
        self.client
            .timer
            .arm(patience.map(|t| self.worker.now() + t));
        let limit = self.generation.config.global.tuning.bufsize;
        let framed = self.request_framing.body;
        let worker = self.worker;
        let client = &mut *self.client;
        let ending = |cause| Termination::new(cause, Phase::Request);
        let left = || Halt::Silent(ending(Cause::ClientAbort));
        let told = |status, cause| Halt::Answer(Answer::error(status), ending(cause));
        let ended = poll_fn(|cx| {
            loop {
                let enough = match framed {
                    Body::Length(n) => client.carry.len() as u64 >= n,
                    Body::Chunked => {
                        let mut payload = Vec::new();
                        let scan = http::chunk::Decoder::new().payload(&client.carry, &mut payload);
                        scan.map_or(true, |s| s.done)
                    }
                    _ => true,
                };
                let long = at_least.is_some_and(|n| client.carry.len() as u64 >= n);
                if enough || long || client.carry.len() >= limit {
                    return Poll::Ready(Ok(()));
                }
                let mut scratch = worker.scratch.borrow_mut();
                match client.io.poll_read(cx, &mut scratch) {
                    Poll::Ready(Ok(n)) if n > 0 => client.carry.extend_from_slice(&scratch[..n]),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(left())),
                    Poll::Ready(Ok(_)) if client.seat.was_killed() => {
                        return Poll::Ready(Err(left()));
                    }
                    // It has ended its direction, and may listen.
                    Poll::Ready(Ok(_)) => return Poll::Ready(Err(told(400, Cause::ClientAbort))),
                    Poll::Pending if client.timer.poll_expired(cx).is_ready() => {
                        return Poll::Ready(Err(told(408, Cause::ClientTimeout)));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
        if let Err(halt) = ended {
            self.client_close = true;
            return Err(halt);
        }
        self.body.clear();
        match framed {
            Body::Length(n) => {
                let n = usize::try_from(n)
                    .unwrap_or(usize::MAX)
                    .min(self.client.carry.len());
                self.body.extend_from_slice(&self.client.carry[..n]);
            }
            Body::Chunked => {
                let mut payload = Vec::new();
                // A malformed body is refused when it is forwarded; the rules see what came before.
                let _ = http::chunk::Decoder::new().payload(&self.client.carry, &mut payload);
                self.body = payload;
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds what the configuration tells servers about the client and the connection.
    pub(crate) fn prepare_request(&mut self) {
        let Some(backend) = self.backend.clone() else {
            return;
        };
        let (front, back) = (
            Arc::clone(self.frontend.proxy()),
            Arc::clone(backend.proxy()),
        );
        let mut text = self.worker.buffer();
        if let Some(src) = self.info.overrides.src(&self.client.info) {
            // The frontend's setting counts, else the backend's (manual, `option forwardfor`).
            if let Some(option) = front
                .http
                .forwardfor
                .as_ref()
                .or(back.http.forwardfor.as_ref())
            {
                let ip = src.ip().to_canonical();
                let except = option
                    .except
                    .is_some_and(|(n, l)| rules::network_contains(n, l, ip));
                let name = back
                    .http
                    .forwardfor
                    .as_ref()
                    .map_or(&option.header, |b| &b.header);
                let present = option.if_none && self.request.get(name.as_bytes()).is_some();
                if !except && !present {
                    rules::digits::address(ip, &mut text);
                    self.request.append(name.as_bytes(), &text);
                }
            }
            if front.http.forwarded || back.http.forwarded {
                text.clear();
                let tls = self.client.info.tls.is_some();
                let scheme = if tls { "https" } else { "http" };
                let _ = match src.ip().to_canonical() {
                    std::net::IpAddr::V4(ip) => write!(text, "proto={scheme};for={ip}"),
                    std::net::IpAddr::V6(ip) => write!(text, "proto={scheme};for=\"[{ip}]\""),
                };
                self.request.append(b"forwarded", &text);
            }
        }
        if let Some(option) = front
            .http
            .originalto
            .as_ref()
            .or(back.http.originalto.as_ref())
            && let Some(dst) = self.destination()
        {
            let ip = dst.ip().to_canonical();
            if !option
                .except
                .is_some_and(|(n, l)| rules::network_contains(n, l, ip))
            {
                text.clear();
                rules::digits::address(ip, &mut text);
                self.request.append(option.header.as_bytes(), &text);
            }
        }
        self.worker.recycle(text);
        let strict = front.http.connection.max_with(back.http.connection);
        if self.request_framing.upgrade {
            self.request.append(b"Connection", b"upgrade");
        } else if strict != ConnectionMode::KeepAlive && !back.http.pretend_keepalive {
            if self.request.version() != Version::Http10 {
                self.request.append(b"Connection", b"close");
            }
        } else if self.request.version() == Version::Http10 {
            self.request.append(b"Connection", b"keep-alive");
        }
        self.server_close = strict != ConnectionMode::KeepAlive;
    }

    /// Adds what depends on the server that was chosen.
    pub(crate) fn name_server(&mut self) {
        let (Some(backend), Some(slot)) = (&self.backend, &self.slot) else {
            return;
        };
        if let Some(header) = &backend.proxy().http.send_name_header {
            self.request
                .set(header.as_bytes(), slot.server().name.as_bytes());
        }
        if backend.proxy().http.recase_to_server {
            recase(&mut self.request, &self.generation.config);
        }
    }
}

/// Writes header names as `h1-case-adjust` says.
pub(crate) fn recase(head: &mut http::Head, config: &model::Config) {
    let known = &config.global.header_case;
    head.recase(|name| known.get(&*name.to_ascii_lowercase()).map(|to| &**to));
}

/// The stricter of two connection modes.
trait Stricter {
    fn max_with(self, other: Self) -> Self;
}

impl Stricter for ConnectionMode {
    fn max_with(self, other: Self) -> Self {
        match (self, other) {
            (ConnectionMode::Close, _) | (_, ConnectionMode::Close) => ConnectionMode::Close,
            (ConnectionMode::ServerClose, _) | (_, ConnectionMode::ServerClose) => {
                ConnectionMode::ServerClose
            }
            _ => ConnectionMode::KeepAlive,
        }
    }
}
