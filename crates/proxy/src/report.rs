//! What is written of a request, or of a connection that brought none: the facts that log tags
//! show, and the line.

use crate::session::Client;
use crate::stream::Stream;
use crate::termination::{Cause, Phase, Termination};
use crate::transport::Transport;
use crate::worker::Worker;
use model::{LogFormatSpec, LogLevel};
use rules::{Ctx, LogFacts, LogLevelChange, Timers};
use state::Server;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Writes the line of a stream that is over.
pub fn stream(
    s: &mut Stream<'_>,
    server: Option<Arc<Server>>,
    end: Instant,
    received: u64,
    sent: u64,
) {
    let proxy = Arc::clone(s.frontend.proxy());
    if proxy.logs.is_empty() || s.monitored || s.log_level == LogLevelChange::Silent {
        return;
    }
    let side = s.frontend.side();
    let failed = !s.ended.is_normal() && !matches!(s.ended.cause, Cause::Local)
        || s.status.is_some_and(|c| c >= 500);
    if side.dontlog_normal && !failed && s.retries == 0 {
        return;
    }
    let level = match s.log_level {
        LogLevelChange::Level(n) => crate::log_level(n),
        _ if side.log_separate_errors && failed => LogLevel::Err,
        _ => LogLevel::Info,
    };
    let format = match &side.error_log_format {
        Some(format) if s.unread => Arc::clone(format),
        _ => s.worker.format_of(&s.frontend),
    };
    let (mut line, mut data) = (s.worker.buffer(), Vec::new());
    let now = s.worker.wall(end);
    let frontend = Arc::clone(&s.frontend);
    let side = frontend.side();
    let slots = side.response_captures.len();
    if s.captures.response.len() < slots {
        s.captures.response.resize(slots, None);
    }
    with_facts(s, server, end, received, sent, |cx| {
        format.render_log(cx, &mut line);
        if let Some(format) = &side.structured_log_format {
            format.render_log(cx, &mut data);
        }
    });
    let tag = proxy.log_tag.as_deref();
    s.worker
        .logs
        .send(&proxy.logs, tag, level, now, &line, &data);
    frontend.lines().of(s.worker.id).add(1);
    s.worker.recycle(line);
}

/// Calls `f` with what log tags show before the stream's end is known (the unique ID).
pub fn with_log_facts(s: &mut Stream<'_>, f: impl FnOnce(&Ctx<'_>)) {
    let now = s.times.arrival.complete;
    with_facts(s, None, now, 0, 0, f);
}

fn with_facts(
    s: &mut Stream<'_>,
    server: Option<Arc<Server>>,
    end: Instant,
    received: u64,
    sent: u64,
    f: impl FnOnce(&Ctx<'_>),
) {
    let ms = |d: Duration| d.as_millis() as i64;
    let span = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
        (Some(a), Some(b)) => ms(b.saturating_duration_since(a)),
        _ => -1,
    };
    let a = s.times.arrival;
    let first_request = s.client.requests <= 1;
    let handshake = if first_request {
        s.client.handshake.duration()
    } else {
        Duration::ZERO
    };
    let begun = a.idle_since + handshake;
    let responded = s.times.responded;
    let timers = Timers {
        th: ms(handshake),
        ti: ms(a.first_byte.saturating_duration_since(begun)),
        tr_request: match s.unread {
            true => -1,
            false => ms(a.complete.saturating_duration_since(a.first_byte)),
        },
        tw: span(Some(a.complete), s.times.queued),
        tc: span(s.times.queued, s.times.connected),
        tr: span(s.times.connected, responded),
        td: span(responded, Some(end)),
        ta: ms(end.saturating_duration_since(a.first_byte)),
        tt: ms(end.saturating_duration_since(a.idle_since)),
    };
    let client = s.info.overrides.dst(&s.client.info);
    let now = s.worker.wall(end);
    let facts = LogFacts {
        request: s.worker.wall(a.first_byte),
        end: now,
        timers: Some(timers),
        termination: s.ended.flags(s.persistence.flags),
        status: s.status,
        bytes_read: sent,
        bytes_uploaded: received,
        server_bytes: Some([s.up.sent, s.server_heads_len + s.down.received]),
        actconn: s.worker.process.connections.now(),
        feconn: s.frontend.sessions().now(),
        beconn: s.backend.as_ref().map_or(0, |b| b.sessions().now()),
        srv_conn: server.as_ref().map_or(0, |s| s.sessions.now()),
        retries: s.retries,
        redispatched: s.redispatched,
        srv_queue: s.info.queued[0],
        backend_queue: s.info.queued[1],
        request_line: if s.unread { b"" } else { &s.request_line },
        cookie_captures: [
            s.captures.cookies[0].as_deref(),
            s.captures.cookies[1].as_deref(),
        ],
        // A server that could not be reached has its address in the line as well.
        server_address: server
            .or_else(|| {
                s.backend
                    .as_ref()?
                    .server(s.info.server.as_deref()?)
                    .cloned()
            })
            .and_then(|s| s.target())
            .and_then(|t| t.socket(client)),
        unfinished: s.frontend.side().logasap,
        tls: s.client.info.tls.is_some(),
    };
    let view = state::View {
        process: &s.worker.process,
        generation: &s.generation,
        now: end,
        tracked: Some(&s.client.tracked),
    };
    let cx = Ctx {
        session: &s.client.info,
        stream: &s.info,
        now,
        req: (!s.unread).then_some(&mut s.request),
        res: s.response.as_deref_mut(),
        req_body: &s.body,
        res_body: &s.response_body,
        captures: [&s.captures.request, &s.captures.response],
        vars: &s.client.vars,
        facts: &view,
        log: Some(&facts),
        rng: &s.worker.rng,
    };
    f(&cx);
}

/// Logs a connection that never became a session, in HAProxy's form (manual section 8.2.5).
/// `empty`: it ended without a byte.
pub fn unborn(worker: &Worker, client: &Client, message: &str, empty: bool) {
    let frontend = &client.frontend;
    let proxy = frontend.proxy();
    let side = frontend.side();
    let silent = empty && side.dontlognull;
    // HAProxy says nothing of them unless it is told how sessions or errors are logged.
    let plain =
        matches!(side.log_format, LogFormatSpec::Default) && side.error_log_format.is_none();
    if silent || plain || proxy.logs.is_empty() {
        return;
    }
    let level = if side.log_separate_errors {
        LogLevel::Err
    } else {
        LogLevel::Info
    };
    let info = &client.info;
    if let Some(format) = &side.error_log_format {
        let now = worker.now();
        let since = worker.moment(now).since(client.seat.accepted());
        let since = since.as_millis() as i64;
        let facts = LogFacts {
            request: info.accepted,
            end: worker.wall(now),
            timers: Some(Timers {
                th: client.handshake.millis(),
                ti: -1,
                tr_request: -1,
                tw: -1,
                tc: -1,
                tr: -1,
                td: -1,
                ta: since,
                tt: since,
            }),
            status: Some(0),
            tls: matches!(client.io, Transport::Tls(_)),
            actconn: worker.process.connections.now(),
            feconn: frontend.sessions().now(),
            termination: Termination::new(Cause::Proxy, Phase::Request).flags(*b"--"),
            ..LogFacts::default()
        };
        return log_session(worker, client, None, &facts, format, level, now);
    }
    let mut line = match info.ends.src() {
        Some(src) => format!("{}:{} [", src.ip().to_canonical(), src.port()),
        None => "unix:1 [".to_string(),
    }
    .into_bytes();
    let zone = (worker.process.machine.local_zone)(info.accepted.secs);
    rules::log_date(info.accepted, &zone, &mut line);
    line.extend_from_slice(format!("] {}/", info.listener.frontend).as_bytes());
    if info.listener.name.is_empty() {
        line.extend_from_slice(info.listener.id.to_string().as_bytes());
    } else {
        line.extend_from_slice(info.listener.name.as_bytes());
    }
    line.extend_from_slice(b": ");
    line.extend_from_slice(message.as_bytes());
    let now = worker.wall(worker.now());
    worker.logs.send(
        &proxy.logs,
        proxy.log_tag.as_deref(),
        level,
        now,
        &line,
        b"",
    );
}

/// What a line about a session without a request is about.
pub struct Told<'a> {
    /// The frontend's settings.
    pub proxy: &'a model::Proxy,
    /// The session.
    pub session: &'a rules::SessionInfo,
    /// Its variables.
    pub vars: &'a std::cell::RefCell<rules::Vars>,
    /// What it tracks.
    pub tracked: &'a state::stick::Tracked,
    /// What was decided of it.
    pub stream: &'a rules::StreamInfo,
}

/// Writes such a line.
pub fn write(
    worker: &Worker,
    told: &Told<'_>,
    facts: &LogFacts<'_>,
    format: &rules::LogFormat,
    level: LogLevel,
    end: Instant,
) {
    let generation = worker.generation();
    let view = state::View {
        process: &worker.process,
        generation: &generation,
        now: end,
        tracked: Some(told.tracked),
    };
    let cx = Ctx {
        log: Some(facts),
        ..Ctx::bare(
            told.session,
            told.stream,
            worker.wall(end),
            told.vars,
            &view,
            &worker.rng,
        )
    };
    let (mut line, mut data) = (worker.buffer(), Vec::new());
    format.render_log(&cx, &mut line);
    let (proxy, now) = (told.proxy, worker.wall(end));
    let side = proxy.frontend.as_deref();
    if let Some(format) = side.and_then(|s| s.structured_log_format.as_ref()) {
        format.render_log(&cx, &mut data);
    }
    let tag = proxy.log_tag.as_deref();
    worker.logs.send(&proxy.logs, tag, level, now, &line, &data);
    if let Some(frontend) = generation.frontend(&told.session.listener.frontend) {
        frontend.lines().of(worker.id).add(1);
    }
    worker.recycle(line);
}

/// Writes a line about a client's session without a request.
pub fn log_session(
    worker: &Worker,
    client: &Client,
    info: Option<&rules::StreamInfo>,
    facts: &LogFacts<'_>,
    format: &rules::LogFormat,
    level: LogLevel,
    end: Instant,
) {
    let none = rules::StreamInfo::default();
    let told = Told {
        proxy: client.frontend.proxy(),
        session: &client.info,
        vars: &client.vars,
        tracked: &client.tracked,
        stream: info.unwrap_or(&none),
    };
    write(worker, &told, facts, format, level, end);
}

/// The formats that options name, parsed once.
pub struct Formats {
    /// Where nothing is said, in HTTP and otherwise.
    default: [Arc<rules::LogFormat>; 2],
    tcp: Arc<rules::LogFormat>,
    http: Arc<rules::LogFormat>,
    https: Arc<rules::LogFormat>,
    clf: Arc<rules::LogFormat>,
    smtp: Arc<rules::LogFormat>,
}

impl Default for Formats {
    fn default() -> Formats {
        let scope = rules::Scope::bare();
        let parse = |text| Arc::new(rules::LogFormat::parse(text, &scope).unwrap_or_default());
        Formats {
            default: [
                parse("Connect from %ci:%cp to %fi:%fp (%f/HTTP)"),
                parse("Connect from %ci:%cp to %fi:%fp (%f/TCP)"),
            ],
            tcp: parse(rules::formats::TCP),
            http: parse(rules::formats::HTTP),
            https: parse(rules::formats::HTTPS),
            clf: parse(rules::formats::HTTP_CLF),
            smtp: parse(rules::formats::SMTP),
        }
    }
}

impl Formats {
    /// The format that a setting means in a mode.
    pub fn of(&self, spec: &LogFormatSpec, mode: model::Mode) -> Arc<rules::LogFormat> {
        let [http, tcp] = &self.default;
        match spec {
            LogFormatSpec::Default if mode == model::Mode::Http => Arc::clone(http),
            LogFormatSpec::Default => Arc::clone(tcp),
            LogFormatSpec::Tcp => Arc::clone(&self.tcp),
            LogFormatSpec::Http => Arc::clone(&self.http),
            LogFormatSpec::Https => Arc::clone(&self.https),
            LogFormatSpec::HttpClf => Arc::clone(&self.clf),
            LogFormatSpec::Smtp => Arc::clone(&self.smtp),
            LogFormatSpec::Custom(format) => Arc::clone(format),
        }
    }
}
