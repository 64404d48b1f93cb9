//! The rules of `http-check` and `tcp-check`, one after another (manual section 4.2).

use super::answer::{Answer, LIMIT};
use super::clock::{Phase, Timeout};
use super::dial::{receive, send};
use super::judge::{self, Verdict};
use super::scene::{Scene, Seen};
use crate::pool::{Limits, ServerConn, Wanted};
use crate::transport::Transport;
use crate::worker::Worker;
use model::{
    CheckAction, CheckConnect, CheckExpect, CheckPayload, CheckPort, CheckScript, CheckStep,
    CheckTls, HttpCheckSend, Match, SendProxy, VarValue,
};
use rules::Sample;
use state::Target;
use state::health::{CheckStatus, Finding};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection that a script uses.
enum Way {
    /// Made for it.
    Own(Transport),
    /// One that requests use otherwise (`check-reuse-pool`).
    Kept(Box<ServerConn>),
}

impl Way {
    fn io(&mut self) -> &mut Transport {
        match self {
            Way::Own(io) => io,
            Way::Kept(connection) => &mut connection.io,
        }
    }
}

/// The connection of a script and what came on it.
struct Line {
    way: Way,
    linger: bool,
    /// What came since the last bytes were sent, not as HTTP.
    received: Vec<u8>,
    /// The peer sends no more.
    ended: bool,
    /// The method of the request whose answer has not been read yet.
    asked: Option<Arc<str>>,
    answer: Option<Answer>,
}

impl Line {
    /// What expressions see of it.
    fn seen(&mut self) -> Seen<'_> {
        match &mut self.answer {
            Some(answer) => answer.seen(),
            None => Seen::bytes(&self.received),
        }
    }
}

/// Runs the rules; what the last one says is the result.
///
/// A server may end a kept connection at the very moment when a check takes it, which says nothing of the
/// server: there the rules run once more, on a connection of their own.
pub async fn run(scene: &Scene<'_>, script: &CheckScript) -> Result<Finding, Finding> {
    let mut doubtful = false;
    let reuse = scene.check.reuse_pool && script.http;
    let name = asked_name(scene, script);
    let found = run_on(scene, script, reuse, name.as_ref(), &mut doubtful).await;
    match found {
        Err(_) if doubtful => run_on(scene, script, false, name.as_ref(), &mut doubtful).await,
        found => found,
    }
}

/// The name that is asked for where no rule connects: `check-sni`, or by `check-sni-auto` that of the Host field.
fn asked_name(scene: &Scene<'_>, script: &CheckScript) -> Option<Arc<str>> {
    let tls = scene.check.tls.as_ref()?;
    let connects = |s: &CheckStep| matches!(s.action, CheckAction::Connect(_)) && s.number > 0;
    if tls.sni.is_some() || !tls.sni_auto || script.steps.iter().any(connects) {
        return tls.sni.clone();
    }
    let request = script.steps.iter().find_map(|s| match &s.action {
        CheckAction::Request(request) => Some(request),
        _ => None,
    })?;
    let mut fields = request.headers.iter();
    let (_, host) = fields.find(|(name, _)| name.eq_ignore_ascii_case("host"))?;
    let host = scene.render(host, Seen::default());
    let (name, _) = http::uri::split_port(&host);
    Some(std::str::from_utf8(name).ok()?.into())
}

/// Runs the rules, over kept connections if they may be used; `doubtful` while nothing has come on one.
async fn run_on(
    scene: &Scene<'_>,
    script: &CheckScript,
    reuse: bool,
    name: Option<&Arc<str>>,
    doubtful: &mut bool,
) -> Result<Finding, Finding> {
    let mut line: Option<Line> = None;
    let mut last = Finding::of(CheckStatus::L7Ok);
    for step in &script.steps {
        scene.clock.step(Timeout {
            status: None,
            info: waiting(script, step),
        });
        match &step.action {
            CheckAction::Connect(rule) => {
                finish(scene, line.take());
                let kept = if reuse && is_plain(rule) {
                    kept(scene, name)
                } else {
                    None
                };
                *doubtful = kept.is_some();
                let mut way = match kept {
                    Some(connection) => Way::Kept(Box::new(connection)),
                    None => {
                        let io = connect(scene, rule, name).await;
                        Way::Own(io.map_err(|found| located(found, script, step))?)
                    }
                };
                let tls = matches!(way.io(), Transport::Tls(_));
                line = Some(Line {
                    way,
                    linger: rule.linger,
                    received: Vec::new(),
                    ended: false,
                    asked: None,
                    answer: None,
                });
                let status = if tls {
                    CheckStatus::L6Ok
                } else {
                    CheckStatus::L4Ok
                };
                last = Finding::of(status);
            }
            CheckAction::Send(payload) => {
                if let Some(line) = &mut line {
                    let bytes = payload_of(scene, payload, line.seen(), step)?;
                    line.received.clear();
                    let sent = send(line.way.io(), &bytes).await;
                    sent.map_err(|found| located(found, script, step))?;
                }
                last = Finding::of(CheckStatus::L7Ok).with_code(0u32);
            }
            CheckAction::Request(request) => {
                if let Some(line) = &mut line {
                    line.answer = None;
                    line.asked = Some(Arc::clone(&request.method));
                    let kept = matches!(line.way, Way::Kept(_));
                    let bytes = request_bytes(scene, request, kept);
                    send(line.way.io(), &bytes).await?;
                }
            }
            CheckAction::Expect(expect) => {
                let Some(on) = &mut line else { continue };
                scene.clock.enter(Phase::Answer);
                scene.clock.step(Timeout {
                    status: Some(expect.timeout),
                    info: waiting(script, step),
                });
                last = match script.http {
                    true => expect_http(scene, on, expect, step, doubtful).await?,
                    false => {
                        let found = expect_bytes(scene, on, expect, step).await;
                        found.map_err(|found| located(found, script, step))?
                    }
                };
                if last.status == CheckStatus::L7OkCond && script.http && expect_404(scene, on) {
                    finish(scene, line.take());
                    return Ok(last);
                }
            }
            CheckAction::SetVar(rule) => {
                let seen = line.as_mut().map(Line::seen).unwrap_or_default();
                let value = match &rule.value {
                    VarValue::Expr(expr) => scene.eval(expr, seen),
                    VarValue::Format(format) => Some(Sample::owned(scene.render(format, seen))),
                };
                if let Some(value) = value {
                    scene.with(Seen::default(), |cx| {
                        cx.set_var(&rule.name, value, &rule.conditions)
                    });
                }
            }
            CheckAction::UnsetVar(name) => scene.with(Seen::default(), |cx| cx.unset_var(name)),
        }
    }
    let sent_last = matches!(
        script.steps.last().map(|s| &s.action),
        Some(CheckAction::Send(_))
    );
    if !sent_last {
        finish(scene, line.take());
    }
    // Where no rule was written, none is named.
    let written = script.steps.last().is_some_and(|s| s.number > 0);
    if !script.http && written && last.info.is_empty() {
        last.info = "(tcp-check)".into();
    }
    Ok(last)
}

/// Ends a connection on which all is said: by a reset, so that it leaves nothing behind here, unless
/// the rule wants a clean end. One that was kept is kept on.
fn finish(scene: &Scene<'_>, line: Option<Line>) {
    let Some(line) = line else { return };
    match (line.way, line.answer) {
        (Way::Kept(connection), Some(answer)) if line.asked.is_none() => {
            let worker = Rc::clone(scene.worker);
            let (uid, limits) = (
                scene.server.uid,
                Limits::of(&scene.server.settings(), scene.server),
            );
            let patience = scene.check.inter;
            tokio::task::spawn_local(async move {
                keep_on(&worker, uid, limits, patience, *connection, answer).await;
            });
        }
        (Way::Kept(connection), _) => connection.retire(),
        (Way::Own(io), _) if !line.linger => io.socket().close_at_once(),
        (Way::Own(_), _) => {}
    }
}

/// Puts a connection back once all of the answer has come. The check itself does not wait for that: its
/// result may be known from the head.
async fn keep_on(
    worker: &Worker,
    server: u32,
    limits: Limits,
    patience: Duration,
    mut connection: ServerConn,
    mut answer: Answer,
) {
    let left = answer.leaves_connection(&mut connection.io);
    if !tokio::time::timeout(patience, left).await.unwrap_or(false) {
        return connection.retire();
    }
    connection.served += 1;
    worker.pools.put(server, connection, limits, Instant::now());
}

/// Whether a rule connects as the server line says.
fn is_plain(rule: &CheckConnect) -> bool {
    let elsewhere = rule.port.is_some() || rule.addr.is_some() || rule.via_socks4;
    let otherwise = rule.send_proxy || rule.ssl || rule.sni.is_some() || !rule.alpn.is_empty();
    rule.default && !elsewhere && !otherwise
}

/// An idle connection of this worker's to the server.
fn kept(scene: &Scene<'_>, asked: Option<&Arc<str>>) -> Option<ServerConn> {
    let (check, settings) = (scene.check, scene.server.settings());
    let wanted = Wanted {
        target: &*scene.server.target()?,
        name: check.pool_name.as_deref().or(asked.map(|a| &**a)),
        tls: settings.tls.as_ref().filter(|tls| !tls.offered),
        socks4: settings.socks4,
    };
    scene.worker.pools.take(scene.server.uid, wanted, false)
}

/// Whether the answer is the 404 of `http-check disable-on-404`.
fn expect_404(scene: &Scene<'_>, line: &Line) -> bool {
    let status = line.answer.as_ref().map(|a| a.head.status());
    scene.backend.side().disable_on_404 && status == Some(404)
}

/// Where a rule stands, for rules on bytes: HTTP's say what they saw.
fn place(script: &CheckScript, step: &CheckStep, what: &str) -> String {
    if script.http {
        return String::new();
    }
    let comment = step
        .comment
        .as_ref()
        .map_or(String::new(), |c| format!(" comment: '{c}'"));
    match step.number {
        0 => " at initial connection step of tcp-check".into(),
        number => format!(" at step {number} of tcp-check ({what}){comment}"),
    }
}

/// What is told when time runs out in this step.
fn waiting(script: &CheckScript, step: &CheckStep) -> String {
    let what = match &step.action {
        CheckAction::Connect(rule) => connecting(rule),
        CheckAction::Send(_) | CheckAction::Request(_) => "send".into(),
        CheckAction::Expect(expect) => match &expect.what {
            Match::Text(text) => format!("expect string '{}'", String::from_utf8_lossy(text)),
            Match::Binary(bytes) => format!("expect binary '{}'", String::from_utf8_lossy(bytes)),
            Match::Regex(_) => "expect regex".into(),
            Match::BinaryRegex(_) => "expect binary regex".into(),
            Match::TextFormat(_) => "expect log-format string".into(),
            Match::BinaryFormat(_) => "expect log-format binary".into(),
            Match::Status(_) | Match::StatusRegex(_) | Match::Header(_) => "expect".into(),
        },
        CheckAction::SetVar(_) | CheckAction::UnsetVar(_) => return String::new(),
    };
    place(script, step, &what)
}

fn connecting(rule: &CheckConnect) -> String {
    match &rule.port {
        Some(CheckPort::Fixed(port)) => format!("connect port {port}"),
        _ => "connect".into(),
    }
}

/// What a step met, with where that was.
fn located(found: Finding, script: &CheckScript, step: &CheckStep) -> Finding {
    let connects = matches!(step.action, CheckAction::Connect(_));
    if !connects && found.status != CheckStatus::SockErr {
        return found;
    }
    let info = format!("{}{}", found.info, waiting(script, step));
    found.because(info)
}

async fn connect(
    scene: &Scene<'_>,
    rule: &CheckConnect,
    name: Option<&Arc<str>>,
) -> Result<Transport, Finding> {
    let port = match &rule.port {
        None => None,
        Some(CheckPort::Fixed(port)) => Some(*port),
        Some(CheckPort::Expr(expr)) => {
            let value = scene.number(expr, Seen::default());
            let port = value.and_then(|n| u16::try_from(n).ok()).filter(|p| *p > 0);
            Some(port.ok_or_else(|| {
                Finding::of(CheckStatus::SockErr).because("the expression gives no port")
            })?)
        }
    };
    let own = rule.addr.as_ref().and_then(Target::of);
    let target = match own {
        Some(target) => target,
        None => scene.target()?,
    };
    let check = scene.check;
    let server_tls = check.tls.as_ref().filter(|_| rule.default);
    let mut tls: Option<CheckTls> = match rule.ssl {
        true => check.script_tls.clone(),
        false => server_tls.cloned(),
    };
    if let Some(tls) = &mut tls {
        tls.sni = match (&rule.sni, rule.default) {
            (Some(name), _) => Some(Arc::clone(name)),
            (None, true) => name.cloned(),
            (None, false) => None,
        };
        if !rule.alpn.is_empty() {
            tls.connector = Arc::new(tls.connector.offering(&rule.alpn));
        }
    }
    let send_proxy = match (rule.send_proxy, rule.default) {
        (true, _) => check.send_proxy.or(Some(SendProxy::V1)),
        (false, true) => check.send_proxy,
        (false, false) => None,
    };
    let port = port.or(check.port);
    let socks4 = scene.server.settings().socks4;
    let socks4 = socks4.filter(|_| rule.via_socks4 || (rule.default && check.via_socks4));
    scene
        .connect_to(target, port, tls.as_ref(), send_proxy, socks4)
        .await
}

fn payload_of(
    scene: &Scene<'_>,
    payload: &CheckPayload,
    seen: Seen<'_>,
    step: &CheckStep,
) -> Result<Vec<u8>, Finding> {
    Ok(match payload {
        CheckPayload::Bytes(bytes) => bytes.to_vec(),
        CheckPayload::Format(format) => scene.render(format, seen),
        // What is no hexadecimal is nothing that could be sent.
        CheckPayload::HexFormat(format) => {
            rules::unhex(&scene.render(format, seen)).ok_or_else(|| {
                let number = step.number;
                let text =
                    format!("tcp-check send : failed to build log-format string at step {number}");
                Finding::of(CheckStatus::L7Response).because(text)
            })?
        }
    })
}

/// A request; on a connection that is `kept` it asks for that.
fn request_bytes(scene: &Scene<'_>, request: &HttpCheckSend, kept: bool) -> Vec<u8> {
    let body = request
        .body
        .as_ref()
        .map(|b| scene.render(b, Seen::default()));
    let body = body.unwrap_or_default();
    let mut out = Vec::new();
    out.extend_from_slice(request.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(&one_line(scene.render(&request.uri, Seen::default())));
    out.push(b' ');
    out.extend_from_slice(request.version.as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut field = |name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    let mut said = false;
    for (name, value) in &request.headers {
        // How the body is framed is said below.
        let framing = ["content-length", "transfer-encoding"];
        if framing.iter().any(|f| name.eq_ignore_ascii_case(f)) {
            continue;
        }
        said |= name.eq_ignore_ascii_case("connection");
        field(name, &one_line(scene.render(value, Seen::default())));
    }
    if scene.backend.side().check_send_state {
        field("X-Haproxy-Server-State", server_state(scene).as_bytes());
    }
    if !body.is_empty() {
        field("Content-Length", body.len().to_string().as_bytes());
    }
    match (&*request.version, kept) {
        _ if said => {}
        ("HTTP/1.0", true) => field("Connection", b"keep-alive"),
        ("HTTP/1.0", false) | (_, true) => {}
        (_, false) => field("Connection", b"close"),
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    out
}

/// Without what would end a line of a request.
fn one_line(mut text: Vec<u8>) -> Vec<u8> {
    text.retain(|b| !matches!(b, b'\r' | b'\n' | 0));
    text
}

/// The value of `X-Haproxy-Server-State` (manual, `http-check send-state`).
fn server_state(scene: &Scene<'_>) -> String {
    let (server, backend) = (scene.server, scene.backend);
    let health = server.health();
    let (at, of) = health.progress();
    let word = match (health.passes(), health.is_stopping()) {
        (true, true) => "NOLB",
        (true, false) => "UP",
        (false, _) => "DOWN",
    };
    let doubt = match health.in_doubt() && at != of {
        true => format!(" {at}/{of}"),
        false => String::new(),
    };
    drop(health);
    let (address, port) = match server.target().as_deref() {
        Some(target @ Target::Tcp { ip, .. }) => {
            let port = target.socket(None).map_or(0, |s| s.port());
            (ip.to_string(), port.to_string())
        }
        _ => ("unix".into(), "unix".into()),
    };
    let node = &scene.worker.process.node;
    format!(
        "{word}{doubt}; address={address}; port={port}; name={}/{}; node={node}; weight={}/{}; scur={}/{}; qcur={}",
        backend.name,
        server.name,
        server.weight(),
        backend.total_weight(),
        server.sessions.now(),
        backend.sessions().now(),
        server.queued.now(),
    )
}

/// An `expect` on bytes as they come.
async fn expect_bytes(
    scene: &Scene<'_>,
    line: &mut Line,
    expect: &CheckExpect,
    step: &CheckStep,
) -> Result<Finding, Finding> {
    let least = expect.min_recv.unwrap_or(0) as usize;
    loop {
        let over = line.ended || line.received.len() >= LIMIT;
        if !over && (line.received.is_empty() || line.received.len() < least) {
            line.ended = !receive(line.way.io(), &mut line.received).await?;
            continue;
        }
        if line.received.is_empty() {
            let text = format!("TCPCHK got an empty response at step {}", step.number);
            let found = Finding::of(CheckStatus::L7Response);
            return Err(found.because(judge::commented(text, step)));
        }
        let verdict = Verdict {
            scene,
            expect,
            step,
        };
        let holds = judge::bytes(scene, &expect.what, &line.received);
        let holds = holds.map_err(|why| verdict.unfit(why))?;
        // With `min-recv 0` what has come decides; else more may still change it.
        let sure = over || holds || expect.min_recv == Some(0);
        if sure {
            return verdict.on_bytes(holds, &line.received);
        }
        line.ended = !receive(line.way.io(), &mut line.received).await?;
    }
}

/// An `expect` on an HTTP answer.
async fn expect_http(
    scene: &Scene<'_>,
    line: &mut Line,
    expect: &CheckExpect,
    step: &CheckStep,
    doubtful: &mut bool,
) -> Result<Finding, Finding> {
    if let Some(method) = line.asked.take() {
        line.answer = Some(Answer::read(line.way.io(), &method).await?);
        *doubtful = false;
    }
    let Some(answer) = &mut line.answer else {
        return Err(Finding::of(CheckStatus::L7Response));
    };
    let verdict = Verdict {
        scene,
        expect,
        step,
    };
    // A server that is down stays down, whatever it says of its end.
    if answer.head.status() == 404
        && scene.backend.side().disable_on_404
        && scene.server.health().passes()
    {
        return Ok(Finding::of(CheckStatus::L7OkCond).with_code(404u32));
    }
    if let Some(holds) = judge::head(scene, &expect.what, answer) {
        let holds = holds.map_err(|why| verdict.unfit(why))?;
        return verdict.on_answer(holds, answer);
    }
    loop {
        let least = expect.min_recv.unwrap_or(0) as usize;
        let enough = answer.complete || answer.body.len() >= least;
        let holds = match enough {
            true => judge::bytes(scene, &expect.what, &answer.body),
            false => Ok(false),
        };
        let holds = holds.map_err(|why| verdict.unfit(why))?;
        if holds || answer.complete || (enough && expect.min_recv == Some(0)) {
            return verdict.on_answer(holds, answer);
        }
        answer.more(line.way.io()).await?;
    }
}
