//! Answers of our own: error pages, redirects, what rules return.

use crate::account;
use crate::response;
use crate::session::Client;
use crate::stream::{Next, Stream};
use crate::termination::{Cause, Phase, Termination};
use crate::worker::Worker;
use http::framing::Body as Framing;
use http::{Head, Version, h1, status};
use model::{ErrorLocation, ErrorPage, ErrorPages};
use rules::Ctx;
use rules::action::{Body, Redirect, Reply};
use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

/// An answer that comes from no server.
#[derive(Debug, Default)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Fields besides those of framing.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body; `None` is the proxy's page for the status.
    pub body: Option<Vec<u8>>,
    /// A whole message, head and body, that replaces all of the above.
    pub message: Option<Vec<u8>>,
    /// The `http-errors` section whose page is wanted.
    pub section: Option<Box<str>>,
}

impl Answer {
    /// The page for a status.
    pub fn error(status: u16) -> Answer {
        Answer {
            status,
            ..Answer::default()
        }
    }

    /// A 302 to there, which caches are not to keep.
    pub fn found(location: Vec<u8>) -> Answer {
        let mut answer = Answer::error(302);
        answer.body = Some(Vec::new());
        answer
            .headers
            .push((b"cache-control".to_vec(), b"no-cache".to_vec()));
        answer.headers.push((b"location".to_vec(), location));
        answer
    }

    /// What a rule returns.
    pub fn from_rule(reply: &Reply, cx: &Ctx<'_>) -> Answer {
        let mut answer = Answer::error(reply.status);
        match &reply.body {
            Body::ErrorPage => {}
            Body::Empty => answer.body = Some(Vec::new()),
            Body::Fixed(bytes) => answer.body = Some(bytes.to_vec()),
            Body::Format(format) => {
                let mut out = Vec::new();
                format.render(cx, &mut out);
                answer.body = Some(out);
            }
            Body::Message(bytes) => answer.message = Some(bytes.to_vec()),
            Body::Section(name) => answer.section = Some(name.clone()),
        }
        if let Some(kind) = &reply.content_type {
            answer
                .headers
                .push((b"content-type".to_vec(), kind.as_bytes().to_vec()));
        }
        for (name, format) in &reply.headers {
            let mut value = Vec::new();
            format.render(cx, &mut value);
            answer.headers.push((name.to_vec(), value));
        }
        answer
    }

    /// What a redirect says.
    pub fn redirect(redirect: &Redirect, cx: &Ctx<'_>) -> Answer {
        let mut answer = Answer::error(redirect.status);
        answer.body = Some(Vec::new());
        answer
            .headers
            .push((b"location".to_vec(), redirect.location(cx)));
        if !matches!(redirect.status, 301 | 308) {
            answer
                .headers
                .push((b"cache-control".to_vec(), b"no-cache".to_vec()));
        }
        if let Some(cookie) = &redirect.cookie {
            answer
                .headers
                .push((b"set-cookie".to_vec(), cookie.as_bytes().to_vec()));
        }
        answer
    }

    /// The page of the configuration that says it, if there is one.
    fn page<'p>(&self, pages: &[&'p ErrorPages]) -> Option<&'p ErrorPage> {
        if self.body.is_some() || self.message.is_some() {
            return None;
        }
        pages.iter().find_map(|p| p.pages.get(&self.status))
    }

    /// Whether the connection is to be closed without a word (`errorfile CODE /dev/null`).
    fn is_silent(&self, pages: &[&ErrorPages]) -> bool {
        matches!(self.page(pages), Some(ErrorPage::Raw(bytes)) if bytes.is_empty())
    }

    /// Writes the head, and returns the body.
    fn build(self, pages: &[&ErrorPages], head: &mut Head) -> Vec<u8> {
        let status = self.status;
        let page = self.page(pages);
        let raw = match (self.message, page) {
            (Some(message), _) => Some(message),
            (None, Some(ErrorPage::Raw(bytes))) => Some(bytes.to_vec()),
            _ => None,
        };
        if let Some(raw) = raw {
            let parsed = h1::parse_response(&raw, &h1::ParseOptions::default(), head);
            if let Ok(Some(used)) = parsed {
                let body = raw.get(used..).unwrap_or_default().to_vec();
                response::drop_hop_by_hop(head, false);
                head.set_version(Version::Http11);
                head.set(b"Content-Length", body.len().to_string().as_bytes());
                // Whoever is asked for a password must be told how to give it.
                let challenges = self.headers.iter().filter(|(n, _)| is_challenge(n));
                for (name, value) in challenges.filter(|_| page.is_some()) {
                    head.append(name, value);
                }
                return body;
            }
        }
        head.reset();
        if let Some(ErrorPage::Redirect(kind, url)) = page {
            let status = match kind {
                ErrorLocation::Found302 => 302,
                ErrorLocation::SeeOther303 => 303,
            };
            head.start_response(Version::Http11, status, status::reason(status).as_bytes());
            head.append(b"content-length", b"0");
            head.append(b"cache-control", b"no-cache");
            head.append(b"location", url.as_bytes());
            return Vec::new();
        }
        head.start_response(Version::Http11, status, status::reason(status).as_bytes());
        let body = match self.body {
            Some(body) => body,
            None => {
                head.append(b"cache-control", b"no-cache");
                head.append(b"content-type", b"text/html");
                error_page(status)
            }
        };
        for (name, value) in &self.headers {
            head.append(name, value);
        }
        head.append(b"content-length", body.len().to_string().as_bytes());
        body
    }
}

fn is_challenge(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"www-authenticate")
}

/// The built-in page.
fn error_page(status: u16) -> Vec<u8> {
    let reason = status::reason(status);
    let sentence = match status {
        200 => "This service is ready.",
        400 => "The request could not be understood.",
        401 | 407 => "This needs a user name and a password.",
        403 => "A rule of this site forbids the request.",
        404 => "There is nothing at this address.",
        405 => "This method is not allowed here.",
        408 => "The request did not arrive in time.",
        410 => "What was at this address is gone.",
        413 => "The request's body is too large.",
        414 => "The request's address is too long.",
        421 => "This server does not answer for that name.",
        422 => "The request's content could not be processed.",
        425 => "The request came too early to be safe.",
        429 => "There were too many requests. Try again later.",
        431 => "The request's header fields are too large.",
        500 => "Something went wrong in this proxy.",
        501 => "The request asks for something that is not implemented.",
        502 => "The server sent no valid response.",
        503 => "No server can handle the request now.",
        504 => "The server did not respond in time.",
        _ => "The request was not served.",
    };
    format!("<html><body><h1>{status} {reason}</h1>\n{sentence}\n</body></html>\n").into_bytes()
}

impl Stream<'_> {
    /// Sends an answer of our own; says whether the connection can go on.
    pub(crate) async fn answer(&mut self, answer: Answer) -> Next {
        if !self.skip_request_body() {
            self.client_close = true;
            self.client.unread = true;
        }
        let mut head = self.response.take().unwrap_or_else(|| self.worker.head());
        head.reset();
        let section = answer
            .section
            .as_ref()
            .and_then(|n| self.generation.config.http_errors.get(&**n))
            .cloned();
        let backend = self.backend.as_ref().map(|b| b.proxy().errors.clone());
        let frontend = self.frontend.proxy().errors.clone();
        let mut pages: Vec<&ErrorPages> = Vec::new();
        pages.extend(section.as_deref());
        pages.extend(backend.as_deref());
        pages.push(&frontend);
        let status = answer.status;
        if answer.is_silent(&pages) {
            self.status = Some(status);
            self.response = Some(head);
            return Next::Close;
        }
        let body = answer.build(&pages, &mut head);
        let empty = matches!(head.status(), 204 | 304) || self.head_request;
        self.status = Some(status);
        self.response = Some(head);
        response::after_response(self);
        response::finish_head(self);
        let mut out = self.worker.buffer();
        if let Some(head) = &self.response {
            head.write_to(&mut out);
        }
        if !empty {
            out.extend_from_slice(&body);
        }
        if self.client_close && !self.frontend.side().nolinger {
            self.client.io.socket().end_follows();
        }
        let sent = send(
            self.worker,
            self.client,
            &self.frontend.proxy().timeouts,
            &out,
        )
        .await;
        self.down.sent += out.len() as u64;
        self.worker.recycle(out);
        if !sent || self.client_close {
            Next::Close
        } else {
            Next::KeepAlive
        }
    }

    /// Whether the request's body is done with: there was none, or all of it is here already.
    fn skip_request_body(&mut self) -> bool {
        if self.times.connected.is_some() || !self.early_body.is_empty() {
            // It was on its way to a server that failed: what came is in our hands.
            return self.up.finished();
        }
        match self.request_framing.body {
            Framing::None => true,
            Framing::Length(n) => {
                let whole = usize::try_from(n).is_ok_and(|n| self.client.carry.len() >= n);
                if whole {
                    self.client.carry.drain(..n as usize);
                }
                whole
            }
            Framing::Chunked => {
                let mut ignored = Vec::new();
                let scan = http::chunk::Decoder::new().payload(&self.client.carry, &mut ignored);
                match scan {
                    Ok(scan) if scan.done => {
                        self.client.carry.drain(..scan.consumed);
                        true
                    }
                    _ => false,
                }
            }
            Framing::UntilClose | Framing::Tunnel => false,
        }
    }
}

/// Sends bytes to the client within its timeout.
pub(crate) async fn send(
    worker: &Worker,
    client: &mut Client,
    timeouts: &model::Timeouts,
    bytes: &[u8],
) -> bool {
    client.timer.arm(timeouts.client.map(|t| worker.now() + t));
    let mut at = 0;
    poll_fn(|cx| {
        while let Some(rest) = bytes.get(at..).filter(|r| !r.is_empty()) {
            match client.io.poll_write(cx, &[IoSlice::new(rest)]) {
                Poll::Ready(Ok(n)) => at += n,
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending if client.timer.poll_expired(cx).is_ready() => {
                    return Poll::Ready(false);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        match client.io.poll_flush(cx) {
            Poll::Ready(result) => Poll::Ready(result.is_ok()),
            Poll::Pending if client.timer.poll_expired(cx).is_ready() => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Why there is no request to serve.
pub enum Refused {
    /// The client closed or failed after so many bytes.
    ClientClosed { bytes: usize },
    /// It was silent too long, after so many bytes.
    TimedOut { bytes: usize },
    /// What it sent is no request.
    Malformed {
        error: h1::Error,
        first_byte: Instant,
    },
}

/// Answers, counts and logs a request that never became one.
pub async fn refuse(
    worker: &Rc<Worker>,
    client: &mut Client,
    idle_since: Instant,
    refused: Refused,
) {
    let (status, bytes, cause, first) = match &refused {
        Refused::ClientClosed { bytes } => (400, *bytes, Cause::ClientAbort, idle_since),
        Refused::TimedOut { bytes } => (408, *bytes, Cause::ClientTimeout, idle_since),
        Refused::Malformed { error, first_byte } => (error.status(), 1, Cause::Proxy, *first_byte),
    };
    let frontend = std::sync::Arc::clone(&client.frontend);
    let silent = bytes == 0 && (frontend.side().dontlognull || frontend.proxy().http.ignore_probes);
    let ended = Termination::new(cause, Phase::Request);
    let answer = Answer::error(status);
    let pages = [&*frontend.proxy().errors];
    let answered = !(answer.is_silent(&pages) || bytes == 0 && frontend.proxy().http.ignore_probes);
    let mut sent = 0;
    if answered {
        let mut head = worker.head();
        let body = answer.build(&pages, &mut head);
        head.append(b"Connection", b"close");
        let mut out = worker.buffer();
        head.write_to(&mut out);
        out.extend_from_slice(&body);
        client.io.socket().end_follows();
        send(worker, client, &frontend.proxy().timeouts, &out).await;
        sent = out.len() as u64;
        worker.recycle(out);
        worker.recycle_head(head);
    }
    account::refused(
        worker, client, status, sent, ended, idle_since, first, !silent,
    );
    client.io.shutdown_write();
}
