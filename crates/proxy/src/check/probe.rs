//! What a check of a server's health does on the wire.

use super::clock::Clock;
use super::dial::{self, Route, receive, send};
use crate::transport::Transport;
use http::{Head, h1};
use model::{Check, CheckKind, Expect, HttpCheckSend, HttpCheckStep, TcpCheckStep};
use rules::{Ctx, NoFacts, SessionInfo, StreamInfo, Vars};
use state::health::{CheckStatus, Finding};
use state::{Backend, Server, Target};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// One check from beginning to end.
pub async fn health(backend: &Backend, server: &Server, check: &Check, clock: &Clock) -> Finding {
    let kind = Arc::clone(&backend.side().check);
    let dialer = Dialer {
        backend,
        server,
        check,
        clock,
    };
    let outcome = match &*kind {
        CheckKind::Tcp => dialer
            .connect(None)
            .await
            .map(|_| Finding::of(reached(check))),
        CheckKind::TcpScript(steps) => script(&dialer, steps).await,
        CheckKind::Udp(steps) => {
            super::datagram::script(backend, server, check, steps, clock).await
        }
        CheckKind::Http(steps) => http_check(&dialer, steps).await,
    };
    outcome.unwrap_or_else(|found| found)
}

struct Dialer<'a> {
    backend: &'a Backend,
    server: &'a Server,
    check: &'a Check,
    clock: &'a Clock,
}

impl Dialer<'_> {
    async fn connect(&self, port: Option<u16>) -> Result<Transport, Finding> {
        let own = self.check.addr.as_ref().and_then(Target::of);
        let target = own.or_else(|| self.server.target().map(|t| (*t).clone()));
        let Some(target) = target else {
            let found = Finding::of(CheckStatus::SockErr);
            return Err(found.because("the server has no address"));
        };
        let route = Route {
            target,
            port: port.or(self.check.port),
            tls: self.check.tls.as_ref(),
            send_proxy: self.check.send_proxy,
        };
        dial::connect(self.backend, self.server, &route, self.clock).await
    }
}

/// What a connection that was made proves.
fn reached(check: &Check) -> CheckStatus {
    match check.tls {
        None => CheckStatus::L4Ok,
        Some(_) => CheckStatus::L6Ok,
    }
}

/// Bytes of an answer that are looked at.
const ANSWER: usize = 64 * 1024;

async fn script(dialer: &Dialer<'_>, steps: &[TcpCheckStep]) -> Result<Finding, Finding> {
    let mut io = None;
    let mut received = Vec::new();
    for step in steps {
        if let TcpCheckStep::Connect { port, .. } = step {
            io = Some(dialer.connect(*port).await?);
            received.clear();
            continue;
        }
        let io = match &mut io {
            Some(io) => io,
            None => io.insert(dialer.connect(None).await?),
        };
        match step {
            TcpCheckStep::Send(bytes) => send(io, bytes).await?,
            TcpCheckStep::SendFormat(format) => send(io, &render(format)).await?,
            TcpCheckStep::Expect(expect) => loop {
                match (holds(expect, &received), negated(expect)) {
                    (true, false) => break,
                    (true, true) => return Err(Finding::of(CheckStatus::L7Response)),
                    (false, wanted_absent) => {
                        let over = received.len() >= ANSWER || !receive(io, &mut received).await;
                        if over && wanted_absent {
                            break;
                        }
                        if over {
                            return Err(Finding::of(CheckStatus::L7Response));
                        }
                        if wanted_absent {
                            break;
                        }
                    }
                }
            },
            TcpCheckStep::Comment(_) | TcpCheckStep::Connect { .. } => {}
        }
    }
    if io.is_none() {
        dialer.connect(None).await?;
        return Ok(Finding::of(reached(dialer.check)));
    }
    Ok(Finding::of(CheckStatus::L7Ok))
}

pub(super) fn negated(expect: &Expect) -> bool {
    match expect {
        Expect::Status { negated, .. }
        | Expect::StatusRegex { negated, .. }
        | Expect::String { negated, .. }
        | Expect::Regex { negated, .. }
        | Expect::Binary { negated, .. } => *negated,
    }
}

/// Whether bytes hold what is expected, without regard to negation.
pub(super) fn holds(expect: &Expect, bytes: &[u8]) -> bool {
    match expect {
        Expect::String { needle, .. } | Expect::Binary { needle, .. } => {
            needle.is_empty() || bytes.windows(needle.len()).any(|w| w == &**needle)
        }
        Expect::Regex { regex, .. } => rules::regex_matches(regex, bytes),
        Expect::Status { .. } | Expect::StatusRegex { .. } => false,
    }
}

async fn http_check(dialer: &Dialer<'_>, steps: &[HttpCheckStep]) -> Result<Finding, Finding> {
    let mut io = None;
    let mut answer = None;
    let mut expected = false;
    for step in steps {
        match step {
            HttpCheckStep::Connect { port, .. } => io = Some(dialer.connect(*port).await?),
            HttpCheckStep::Send(request) => {
                let io = match &mut io {
                    Some(io) => io,
                    None => io.insert(dialer.connect(None).await?),
                };
                send(io, &request_bytes(dialer.backend, dialer.server, request)).await?;
                answer = Some(read_answer(io, &request.method).await?);
            }
            HttpCheckStep::Expect(expect) => {
                expected = true;
                let Some((status, body)) = &answer else {
                    continue;
                };
                if let Some(verdict) = disabled(dialer.backend, *status) {
                    return Ok(verdict);
                }
                let good = match expect {
                    Expect::Status { ranges, .. } => ranges
                        .iter()
                        .any(|(low, high)| (*low..=*high).contains(status)),
                    Expect::StatusRegex { regex, .. } => {
                        rules::regex_matches(regex, status.to_string().as_bytes())
                    }
                    other => holds(other, body),
                };
                if good == negated(expect) {
                    let by_status =
                        matches!(expect, Expect::Status { .. } | Expect::StatusRegex { .. });
                    let failure = if by_status {
                        CheckStatus::L7Status
                    } else {
                        CheckStatus::L7Response
                    };
                    return Err(Finding::of(failure).with_code(*status));
                }
            }
        }
    }
    let Some((status, _)) = answer else {
        return Ok(Finding::of(CheckStatus::L4Ok));
    };
    if let Some(verdict) = disabled(dialer.backend, status) {
        return Ok(verdict);
    }
    if expected || (200..400).contains(&status) {
        Ok(Finding::of(CheckStatus::L7Ok).with_code(status))
    } else {
        Err(Finding::of(CheckStatus::L7Status).with_code(status))
    }
}

fn disabled(backend: &Backend, status: u16) -> Option<Finding> {
    (backend.side().disable_on_404 && status == 404)
        .then_some(Finding::of(CheckStatus::L7OkCond).with_code(404u16))
}

fn request_bytes(backend: &Backend, server: &Server, send: &HttpCheckSend) -> Vec<u8> {
    let mut out = Vec::new();
    let body = send.body.as_ref().map(|b| render(b)).unwrap_or_default();
    out.extend_from_slice(send.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(&render(&send.uri));
    out.push(b' ');
    out.extend_from_slice(send.version.as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut field = |name: &[u8], value: &[u8]| {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    for (name, value) in &send.headers {
        field(name.as_bytes(), &render(value));
    }
    if backend.side().check_send_state {
        let up = if server.is_up() { "UP" } else { "DOWN" };
        let (at, of) = server.health().progress();
        let state = format!("{up} {at}/{of}; name={}/{}", backend.name, server.name);
        field(b"X-Haproxy-Server-State", state.as_bytes());
    }
    if !body.is_empty() {
        field(b"Content-Length", body.len().to_string().as_bytes());
    }
    field(b"Connection", b"close");
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    out
}

/// Status and body of an answer.
async fn read_answer(io: &mut Transport, method: &str) -> Result<(u16, Vec<u8>), Finding> {
    let invalid = || Finding::of(CheckStatus::L7Response);
    let mut bytes = Vec::new();
    let mut head = Head::default();
    let options = h1::ParseOptions::default();
    let used = loop {
        match h1::parse_response(&bytes, &options, &mut head) {
            Ok(Some(used)) => break used,
            Ok(None) if bytes.len() < ANSWER && receive(io, &mut bytes).await => {}
            _ => return Err(invalid()),
        }
    };
    let framed =
        http::framing::response(&mut head, method.as_bytes(), false).map_err(|_| invalid())?;
    let mut body = bytes.split_off(used);
    let wanted = match framed.body {
        http::framing::Body::None => 0,
        http::framing::Body::Length(n) => usize::try_from(n).unwrap_or(ANSWER).min(ANSWER),
        _ => ANSWER,
    };
    while body.len() < wanted && receive(io, &mut body).await {}
    Ok((head.status(), body))
}

/// A format where there is no session.
fn render(format: &rules::LogFormat) -> Vec<u8> {
    let session = SessionInfo {
        src: None,
        dst: None,
        frontend: "".into(),
        frontend_id: 0,
        listener: "".into(),
        listener_id: 0,
        worker: 0,
        accepted: rules::Wall::default(),
        ..SessionInfo::default()
    };
    let (vars, rng) = (RefCell::new(Vars::default()), Cell::new(1));
    let cx = Ctx {
        session: &session,
        stream: &StreamInfo::default(),
        now: crate::worker::wall_now(),
        req: None,
        res: None,
        req_body: &[],
        captures: [&[], &[]],
        vars: &vars,
        facts: &NoFacts,
        log: None,
        rng: &rng,
    };
    let mut out = Vec::new();
    format.render(&cx, &mut out);
    out
}
