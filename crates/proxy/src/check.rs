//! Active health checks on the wire: connect, or ask over HTTP, and judge.

use crate::io::Io;
use crate::socket::{self, Outgoing};
use crate::transport::Transport;
use crate::worker::Worker;
use http::{Head, h1};
use model::{
    Check, CheckKind, Expect, HttpCheckSend, HttpCheckStep, PortSpec, SendProxy, TcpCheckStep,
};
use rules::{Ctx, NoFacts, SessionInfo, StreamInfo, Vars};
use state::health::{Change, CheckStatus};
use state::{Backend, Generation, Server, Target};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Keeps one task per checked server of this worker's share, whatever configuration is in force.
pub async fn run(worker: Rc<Worker>) {
    let watched = Rc::new(RefCell::new(HashSet::new()));
    loop {
        let generation = worker.generation();
        for backend in &generation.backends {
            for server in backend.servers() {
                let ours = server.uid as usize % worker.process.workers == worker.id;
                if ours {
                    keep_up(&worker, &generation, backend, server);
                }
                if ours
                    && server.settings().check.is_some()
                    && watched.borrow_mut().insert(server.uid)
                {
                    let (worker, server) = (Rc::clone(&worker), Arc::clone(server));
                    let (name, watched) = (Arc::clone(&backend.name), Rc::clone(&watched));
                    tokio::task::spawn_local(async move {
                        watch(&worker, &name, &server).await;
                        watched.borrow_mut().remove(&server.uid);
                    });
                }
            }
        }
        drop(generation);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Moves a slow start on, and follows the server that is tracked.
fn keep_up(worker: &Worker, generation: &Generation, backend: &Arc<Backend>, server: &Server) {
    let now = Instant::now();
    let mut changed = server.advance_start(worker.process.millis(now));
    if let Some(track) = &server.settings().track {
        let (of, name) = track.split_once('/').unwrap_or((&backend.name, track));
        let tracked = generation.backend(of).and_then(|b| b.server(name));
        changed |= tracked.is_some_and(|tracked| server.follow(tracked, now));
    }
    if changed {
        backend.refresh();
    }
}

/// Checks one server until the configuration has no such check any more.
async fn watch(worker: &Worker, backend: &str, server: &Arc<Server>) {
    // The first checks are spread over an interval of at most a second, so that a thousand servers
    // are not asked in one instant.
    let spread = server
        .settings()
        .check
        .as_ref()
        .map_or(Duration::ZERO, |c| c.inter);
    let servers = worker
        .generation()
        .backend(backend)
        .map_or(1, |b| b.servers().len().max(1));
    let place = (server.id as usize).saturating_sub(1) % servers;
    let delay = spread.min(Duration::from_secs(1)) * place as u32 / servers as u32;
    tokio::time::sleep(delay).await;
    loop {
        let generation = worker.generation();
        let Some(backend) = generation.backend(backend).cloned() else {
            return;
        };
        if !backend.servers().iter().any(|s| Arc::ptr_eq(s, server)) {
            return;
        }
        let Some(check) = server.settings().check.clone() else {
            return;
        };
        drop(generation);
        let begin = Instant::now();
        if server.checks_enabled.load(Relaxed) && !server.admin().in_maintenance() {
            let timeouts = &backend.proxy().timeouts;
            // `timeout check` is for the answer after the connection; without it, `inter` bounds all.
            let patience = match timeouts.check {
                Some(answer) => answer + timeouts.connect.unwrap_or(check.inter).min(check.inter),
                None => check.inter,
            };
            let outcome = tokio::time::timeout(patience, probe(&backend, server, &check)).await;
            let (status, code) = outcome.unwrap_or_else(|_| {
                let http = matches!(*backend.side().check, CheckKind::Http(_));
                (
                    if http {
                        CheckStatus::L7TimeOut
                    } else {
                        CheckStatus::L4TimeOut
                    },
                    None,
                )
            });
            settle(worker, &backend, server, status, code, begin);
        }
        let interval = server.health().interval(&check);
        tokio::time::sleep(interval.saturating_sub(begin.elapsed())).await;
    }
}

/// Takes a result into the server's health and tells of a change.
pub fn settle(
    worker: &Worker,
    backend: &Arc<Backend>,
    server: &Server,
    status: CheckStatus,
    code: Option<u16>,
    begin: Instant,
) {
    let now = Instant::now();
    let took = now.saturating_duration_since(begin);
    let change = server.health().on_result(status, code, took, now);
    let Some(change) = change else { return };
    server.mirror_health();
    backend.refresh();
    let (word, level) = match change {
        Change::Up => ("UP", model::LogLevel::Notice),
        Change::Down => ("DOWN", model::LogLevel::Alert),
        Change::Stopping => ("stopping", model::LogLevel::Notice),
        Change::Running => ("running", model::LogLevel::Notice),
    };
    let code = code.map_or(String::new(), |c| format!(", code: {c}"));
    let message = format!(
        "Server {}/{} is {word}, reason: {}{code}, check duration: {}ms. {} active and {} backup servers left.",
        backend.name,
        server.name,
        status.describe(),
        took.as_millis(),
        backend
            .servers()
            .iter()
            .filter(|s| s.usable() && !s.settings().backup)
            .count(),
        backend
            .servers()
            .iter()
            .filter(|s| s.usable() && s.settings().backup)
            .count(),
    );
    let logs = &backend.proxy().logs;
    worker.logs.send(
        logs,
        backend.proxy().log_tag.as_deref(),
        level,
        worker.wall(now),
        message.as_bytes(),
    );
    if change == Change::Down && backend.usable() == 0 {
        let message = format!("backend {} has no server available!", backend.name);
        worker.logs.send(
            logs,
            None,
            model::LogLevel::Emerg,
            worker.wall(now),
            message.as_bytes(),
        );
    }
}

type Verdict = (CheckStatus, Option<u16>);

/// One check from beginning to end.
async fn probe(backend: &Backend, server: &Server, check: &Check) -> Verdict {
    let kind = Arc::clone(&backend.side().check);
    let outcome = match &*kind {
        CheckKind::Tcp => connect(server, check, None)
            .await
            .map(|_| (reached(check), None)),
        CheckKind::TcpScript(steps) => script(server, check, steps).await,
        CheckKind::Http(steps) => http_check(backend, server, check, steps).await,
    };
    outcome.unwrap_or_else(|verdict| verdict)
}

/// What a connection that was made proves.
fn reached(check: &Check) -> CheckStatus {
    match check.tls {
        None => CheckStatus::L4Ok,
        Some(_) => CheckStatus::L6Ok,
    }
}

async fn connect(server: &Server, check: &Check, port: Option<u16>) -> Result<Transport, Verdict> {
    let failed = (CheckStatus::L4Con, None);
    let own = check.addr.as_ref().and_then(Target::of);
    let target = match own {
        Some(target) => target,
        None => (*server.target().ok_or((CheckStatus::SockErr, None))?).clone(),
    };
    let fd = match &target {
        Target::Tcp { ip, port: own } => {
            let served = match server.target().as_deref() {
                Some(Target::Tcp {
                    port: PortSpec::Fixed(p),
                    ..
                }) => Some(*p),
                _ => None,
            };
            let fixed = match own {
                PortSpec::Fixed(p) => Some(*p),
                _ => None,
            };
            let port = port
                .or(check.port)
                .or(fixed)
                .or(served)
                .ok_or((CheckStatus::SockErr, None))?;
            let settings = server.settings();
            let options = Outgoing {
                source: settings.source.as_deref(),
                keepalive: None,
                user_timeout: settings.tcp_user_timeout,
                fast_open: false,
                congestion: settings.congestion.as_deref(),
                namespace: settings.namespace.as_deref(),
            };
            socket::connect_tcp((*ip, port).into(), &options)
        }
        Target::Unix(path) => socket::connect_unix(path),
        Target::Abstract { name, padded } => socket::connect_abstract(name, *padded),
    };
    let io = fd.map(Io::new).map_err(|_| failed)?;
    poll_fn(|cx| io.poll_connected(cx))
        .await
        .map_err(|_| failed)?;
    let mut io = match &check.tls {
        None => Transport::Plain(io),
        Some(tls) => Transport::to_server(io, &tls.connector, tls.sni.as_deref(), &target)
            .map_err(|_| (CheckStatus::L6Response, None))?,
    };
    // A check speaks for itself: there is no client to tell of.
    let mut first = match check.send_proxy {
        None => Vec::new(),
        Some(SendProxy::V1) => wire::proxy::line(None),
        Some(SendProxy::V2 { crc32c, .. }) => wire::proxy::header(None, &[], crc32c),
    };
    poll_fn(|cx| io.poll_established(cx, &mut first))
        .await
        .map_err(|_| (CheckStatus::L6Response, None))?;
    Ok(io)
}

async fn send(io: &mut Transport, bytes: &[u8]) -> Result<(), Verdict> {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|r| !r.is_empty()) {
        let n = poll_fn(|cx| io.poll_write(cx, &[IoSlice::new(rest)])).await;
        at += n.map_err(|_| (CheckStatus::L7Response, None))?;
    }
    poll_fn(|cx| io.poll_flush(cx))
        .await
        .map_err(|_| (CheckStatus::L7Response, None))
}

/// Appends what comes next; 0 is the end.
async fn receive(io: &mut Transport, into: &mut Vec<u8>) -> usize {
    let mut chunk = [0; 4096];
    let n = poll_fn(|cx| io.poll_read(cx, &mut chunk))
        .await
        .unwrap_or(0);
    into.extend_from_slice(&chunk[..n]);
    n
}

/// Bytes of an answer that are looked at.
const ANSWER: usize = 64 * 1024;

async fn script(
    server: &Server,
    check: &Check,
    steps: &[TcpCheckStep],
) -> Result<Verdict, Verdict> {
    let mut io = None;
    let mut received = Vec::new();
    for step in steps {
        if let TcpCheckStep::Connect { port, .. } = step {
            io = Some(connect(server, check, *port).await?);
            received.clear();
            continue;
        }
        let io = match &mut io {
            Some(io) => io,
            None => io.insert(connect(server, check, None).await?),
        };
        match step {
            TcpCheckStep::Send(bytes) => send(io, bytes).await?,
            TcpCheckStep::SendFormat(format) => send(io, &render(format)).await?,
            TcpCheckStep::Expect(expect) => loop {
                match (holds(expect, &received), negated(expect)) {
                    (true, false) => break,
                    (true, true) => return Err((CheckStatus::L7Response, None)),
                    (false, wanted_absent) => {
                        let over =
                            received.len() >= ANSWER || receive(io, &mut received).await == 0;
                        if over && wanted_absent {
                            break;
                        }
                        if over {
                            return Err((CheckStatus::L7Response, None));
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
        connect(server, check, None).await?;
        return Ok((reached(check), None));
    }
    Ok((CheckStatus::L7Ok, None))
}

fn negated(expect: &Expect) -> bool {
    match expect {
        Expect::Status { negated, .. }
        | Expect::StatusRegex { negated, .. }
        | Expect::String { negated, .. }
        | Expect::Regex { negated, .. }
        | Expect::Binary { negated, .. } => *negated,
    }
}

/// Whether bytes hold what is expected, without regard to negation.
fn holds(expect: &Expect, bytes: &[u8]) -> bool {
    match expect {
        Expect::String { needle, .. } | Expect::Binary { needle, .. } => {
            needle.is_empty() || bytes.windows(needle.len()).any(|w| w == &**needle)
        }
        Expect::Regex { regex, .. } => rules::regex_matches(regex, bytes),
        Expect::Status { .. } | Expect::StatusRegex { .. } => false,
    }
}

async fn http_check(
    backend: &Backend,
    server: &Server,
    check: &Check,
    steps: &[HttpCheckStep],
) -> Result<Verdict, Verdict> {
    let mut io = None;
    let mut answer = None;
    let mut expected = false;
    for step in steps {
        match step {
            HttpCheckStep::Connect { port, .. } => io = Some(connect(server, check, *port).await?),
            HttpCheckStep::Send(request) => {
                let io = match &mut io {
                    Some(io) => io,
                    None => io.insert(connect(server, check, None).await?),
                };
                send(io, &request_bytes(backend, server, request)).await?;
                answer = Some(read_answer(io, &request.method).await?);
            }
            HttpCheckStep::Expect(expect) => {
                expected = true;
                let Some((status, body)) = &answer else {
                    continue;
                };
                if let Some(verdict) = disabled(backend, *status) {
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
                    return Err((failure, Some(*status)));
                }
            }
        }
    }
    let Some((status, _)) = answer else {
        return Ok((CheckStatus::L4Ok, None));
    };
    if let Some(verdict) = disabled(backend, status) {
        return Ok(verdict);
    }
    if expected || (200..400).contains(&status) {
        Ok((CheckStatus::L7Ok, Some(status)))
    } else {
        Err((CheckStatus::L7Status, Some(status)))
    }
}

fn disabled(backend: &Backend, status: u16) -> Option<Verdict> {
    (backend.side().disable_on_404 && status == 404).then_some((CheckStatus::L7OkCond, Some(404)))
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
async fn read_answer(io: &mut Transport, method: &str) -> Result<(u16, Vec<u8>), Verdict> {
    let invalid = (CheckStatus::L7Response, None);
    let mut bytes = Vec::new();
    let mut head = Head::default();
    let options = h1::ParseOptions::default();
    let used = loop {
        match h1::parse_response(&bytes, &options, &mut head) {
            Ok(Some(used)) => break used,
            Ok(None) if bytes.len() < ANSWER && receive(io, &mut bytes).await > 0 => {}
            _ => return Err(invalid),
        }
    };
    let framed =
        http::framing::response(&mut head, method.as_bytes(), false).map_err(|_| invalid)?;
    let mut body = bytes.split_off(used);
    let wanted = match framed.body {
        http::framing::Body::None => 0,
        http::framing::Body::Length(n) => usize::try_from(n).unwrap_or(ANSWER).min(ANSWER),
        _ => ANSWER,
    };
    while body.len() < wanted && receive(io, &mut body).await > 0 {}
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
        tls: None,
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
