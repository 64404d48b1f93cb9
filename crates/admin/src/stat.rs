//! One row per frontend, server and backend, with HAProxy's fields (management.txt 9.1).

use crate::stat_fields::{self, FIELDS, MODULES};
use crate::typed::Field;
use model::{Balance, Mode};
use state::health::Finding;
use state::{
    Admin, Backend, Frontend, Generation, PerWorker, Process, ProxyCounters, Server, Socket,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// A frontend.
    Frontend = 0,
    /// A backend.
    Backend = 1,
    /// A server.
    Server = 2,
    /// A listening socket.
    Listener = 3,
}

/// One row: fields by name; what is missing is empty.
pub struct Row {
    /// What it is about.
    pub kind: RowKind,
    /// The proxy's number.
    pub iid: u32,
    /// The server's number; 0 for a proxy.
    pub sid: u32,
    fields: HashMap<&'static str, String>,
}

impl Row {
    /// A field's text.
    pub fn get(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// The fields that it has, with their places.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (usize, Field)> {
        let has = |f: &(usize, &Field)| self.fields.contains_key(f.1.name);
        let all = FIELDS.iter().chain(MODULES).enumerate().filter(has);
        all.map(|(at, field)| (at, stat_fields::of(field, self.kind)))
    }

    fn set(&mut self, name: &'static str, value: impl ToString) {
        self.fields.insert(name, value.to_string());
    }
}

/// The rows of all proxies, as the statistics show them.
pub fn rows(process: &Process, generation: &Generation, now: Instant) -> Vec<Row> {
    let mut rows = Vec::new();
    for proxy in &generation.config.proxies {
        // A frontend and a backend may have the same name.
        let frontend = proxy.frontend.as_ref();
        if let Some(frontend) = frontend.and_then(|_| generation.frontend(&proxy.name)) {
            rows.push(frontend_row(process, frontend, now));
            let sockets = frontend.sockets().iter();
            rows.extend(sockets.map(|socket| socket_row(frontend, socket)));
        }
        let backend = proxy.backend.as_ref();
        if let Some(backend) = backend.and_then(|_| generation.backend(&proxy.name)) {
            for server in backend.servers() {
                rows.push(server_row(process, generation, backend, server, now));
            }
            rows.push(backend_row(process, backend, now));
        }
    }
    rows
}

/// Keeps the rows that the words of `show stat` or of the page's URI ask for.
pub fn retain(rows: &mut Vec<Row>, word: &str) {
    match word {
        "up" => rows.retain(|r| r.kind != RowKind::Server || is_up(r)),
        "no-maint" => rows.retain(|r| r.get("status") != "MAINT"),
        _ => {}
    }
}

fn is_up(row: &Row) -> bool {
    let status = row.get("status");
    status.starts_with("UP") || status == "no check"
}

fn new_row(kind: RowKind, iid: u32, sid: u32, proxy: &str, name: &str, mode: Mode) -> Row {
    let mut row = Row {
        kind,
        iid,
        sid,
        fields: HashMap::new(),
    };
    row.set("pxname", proxy);
    row.set("svname", name);
    row.set("pid", 1);
    row.set("iid", iid);
    row.set("sid", sid);
    row.set("type", kind as u32);
    row.set("mode", mode.name());
    row
}

fn count(row: &mut Row, c: &PerWorker<ProxyCounters>, mode: Mode, now_ms: u64) {
    row.set("stot", c.sum(|c| &c.stot));
    row.set("bin", c.sum(|c| &c.bin));
    row.set("bout", c.sum(|c| &c.bout));
    row.set("rate", c.rate(now_ms, |c| &c.sess_rate));
    row.set("rate_max", c.used().map(|c| c.sess_rate.max()).sum::<u64>());
    if mode == Mode::Packet {
        count_packets(row, c, now_ms);
    }
    for (class, name) in [
        "hrsp_1xx",
        "hrsp_2xx",
        "hrsp_3xx",
        "hrsp_4xx",
        "hrsp_5xx",
        "hrsp_other",
    ]
    .iter()
    .enumerate()
    {
        if mode == Mode::Http {
            row.set(name, c.responses(class));
        }
    }
    row.set("dresp", c.sum(|c| &c.dresp));
    row.set("eint", c.sum(|c| &c.eint));
    // Heads have no room that could be too small for what rules write.
    row.set("wrew", 0);
    row.set("ssl_sess", c.sum(|c| &c.ssl_sess));
    row.set("ssl_reused_sess", c.sum(|c| &c.ssl_reused_sess));
    row.set("ssl_failed_handshake", c.sum(|c| &c.ssl_failed_handshake));
}

/// What rows of frontends and backends say of the versions of HTTP: open connections, all so far,
/// requests under way where they are known, all so far, bytes received and sent.
fn versions(row: &mut Row, [open, all, streams, received, sent]: [u64; 5], busy: Option<u64>) {
    let second = MODULES.iter().filter(|f| f.name.starts_with("h2_"));
    second.for_each(|f| row.set(f.name, 0));
    row.set("h1_open_connections", open);
    row.set("h1_total_connections", all);
    row.set("h1_total_streams", streams);
    row.set("h1_bytes_in", received);
    row.set("h1_bytes_out", sent);
    if let Some(busy) = busy {
        row.set("h1_open_streams", busy);
    }
}

/// What rows of `mode packet` have beside those of all others.
fn count_packets(row: &mut Row, c: &PerWorker<ProxyCounters>, now_ms: u64) {
    let mut sums = [0; 6];
    for p in c.used().filter_map(|c| c.packets.get()) {
        let own = [
            p.packets_in.get(),
            p.packets_out.get(),
            p.packets_in_rate.per_second(now_ms),
            p.packets_out_rate.per_second(now_ms),
            p.bits_in_rate.per_second(now_ms),
            p.bits_out_rate.per_second(now_ms),
        ];
        sums.iter_mut().zip(own).for_each(|(sum, n)| *sum += n);
    }
    for (name, sum) in PACKETS.into_iter().zip(sums) {
        row.set(name, sum);
    }
}

/// Fields of `mode packet`.
pub(crate) const PACKETS: [&str; 6] = [
    "pkts_in",
    "pkts_out",
    "pkt_rate_in",
    "pkt_rate_out",
    "bit_rate_in",
    "bit_rate_out",
];

/// What rows of servers and backends have and those of frontends have not.
fn count_back(row: &mut Row, c: &PerWorker<ProxyCounters>, mode: Mode, now_ms: u64) {
    row.set("econ", c.sum(|c| &c.econ));
    row.set("eresp", c.sum(|c| &c.eresp));
    row.set("wretr", c.sum(|c| &c.wretr));
    row.set("wredis", c.sum(|c| &c.wredis));
    row.set("lbtot", c.sum(|c| &c.lbtot));
    if mode == Mode::Http {
        row.set("req_tot", c.sum(|c| &c.req_tot));
    }
    row.set("cli_abrt", c.sum(|c| &c.cli_abrt));
    row.set("srv_abrt", c.sum(|c| &c.srv_abrt));
    row.set("connect", c.sum(|c| &c.connect));
    row.set("reuse", c.sum(|c| &c.reuse));
    row.set("qtime", c.average(|c| &c.qtime));
    row.set("ctime", c.average(|c| &c.ctime));
    row.set("rtime", c.average(|c| &c.rtime));
    row.set("ttime", c.average(|c| &c.ttime));
    row.set(
        "qtime_max",
        c.used().map(|c| c.qtime.max()).max().unwrap_or(0),
    );
    row.set(
        "ctime_max",
        c.used().map(|c| c.ctime.max()).max().unwrap_or(0),
    );
    row.set(
        "rtime_max",
        c.used().map(|c| c.rtime.max()).max().unwrap_or(0),
    );
    row.set(
        "ttime_max",
        c.used().map(|c| c.ttime.max()).max().unwrap_or(0),
    );
    let last = c.max(|c| &c.last_session);
    let ago = last
        .checked_sub(1)
        .map(|at| now_ms.saturating_sub(at) / 1000);
    row.set("lastsess", ago.map_or(-1, |s| s as i64));
}

fn frontend_row(process: &Process, frontend: &Frontend, now: Instant) -> Row {
    let mode = frontend.proxy().mode;
    let now_ms = process.millis(now);
    let mut row = new_row(
        RowKind::Frontend,
        frontend.id,
        0,
        &frontend.name,
        "FRONTEND",
        mode,
    );
    let c = frontend.counters();
    count(&mut row, c, mode, now_ms);
    row.set("scur", frontend.sessions().now());
    row.set("smax", frontend.sessions().max());
    row.set("slim", frontend.maxconn());
    row.set(
        "status",
        match (frontend.is_shut(), frontend.is_enabled()) {
            (true, _) => "STOP",
            (false, true) => "OPEN",
            (false, false) => "PAUSED",
        },
    );
    row.set("dreq", c.sum(|c| &c.dreq));
    row.set("ereq", c.sum(|c| &c.ereq));
    row.set("rate_lim", frontend.side().rate_limit_sessions.unwrap_or(0));
    row.set("req_rate", c.rate(now_ms, |c| &c.req_rate));
    row.set(
        "req_rate_max",
        c.used().map(|c| c.req_rate.max()).sum::<u64>(),
    );
    row.set("req_tot", c.sum(|c| &c.req_tot));
    row.set("conn_rate", c.rate(now_ms, |c| &c.conn_rate));
    row.set(
        "conn_rate_max",
        c.used().map(|c| c.conn_rate.max()).sum::<u64>(),
    );
    row.set("conn_tot", c.sum(|c| &c.conn_tot));
    count_compression(&mut row, c);
    row.set("dcon", c.sum(|c| &c.dcon));
    row.set("dses", c.sum(|c| &c.dses));
    let http = match mode {
        Mode::Http => [
            frontend.sessions().now(),
            c.sum(|c| &c.conn_tot),
            c.sum(|c| &c.req_tot),
            c.sum(|c| &c.bin),
            c.sum(|c| &c.bout),
        ],
        _ => [0; 5],
    };
    versions(&mut row, http, None);
    if mode == Mode::Http {
        row.set("h1_sess", c.sum(|c| &c.stot));
        row.set("h1req", c.sum(|c| &c.req_tot));
        row.set("reqbin", c.sum(|c| &c.bin));
        row.set("resbout", c.sum(|c| &c.bout));
        row.set("intercepted", c.sum(|c| &c.intercepted));
        for name in ["cache_lookups", "cache_hits"] {
            row.set(name, 0);
        }
    }
    row
}

fn socket_row(frontend: &Frontend, socket: &Socket) -> Row {
    let mode = frontend.proxy().mode;
    let (kind, c) = (RowKind::Listener, socket.counters());
    let mut row = new_row(
        kind,
        frontend.id,
        socket.id,
        &frontend.name,
        &socket.name,
        mode,
    );
    row.set("scur", socket.sessions().now());
    row.set("smax", socket.sessions().max());
    row.set("slim", socket.maxconn);
    row.set("stot", c.sum(|c| &c.stot));
    row.set("bin", c.sum(|c| &c.bin));
    row.set("bout", c.sum(|c| &c.bout));
    row.set("dreq", c.sum(|c| &c.dreq));
    row.set("dresp", c.sum(|c| &c.dresp));
    row.set("ereq", c.sum(|c| &c.ereq));
    row.set("dcon", c.sum(|c| &c.dcon));
    row.set("dses", c.sum(|c| &c.dses));
    row.set("wrew", 0);
    row.set("eint", 0);
    row.set(
        "status",
        if frontend.is_enabled() {
            "OPEN"
        } else {
            "PAUSED"
        },
    );
    row
}

fn count_compression(row: &mut Row, c: &PerWorker<ProxyCounters>) {
    row.set("comp_in", c.sum(|c| &c.comp_in));
    row.set("comp_out", c.sum(|c| &c.comp_out));
    row.set("comp_byp", c.sum(|c| &c.comp_byp));
    row.set("comp_rsp", c.sum(|c| &c.comp_rsp));
}

/// `UP`, `DOWN 1/2`, `MAINT`, `DRAIN (agent)`, `no check`, as the statistics say it. A server that
/// tracks another is as that one.
pub fn status_of(server: &Server, tracked: Option<&Server>) -> String {
    let admin = server.admin();
    if admin.0 & Admin::UNRESOLVED != 0 && !Admin(admin.0 & !Admin::UNRESOLVED).in_maintenance() {
        return "MAINT (resolution)".into();
    }
    if admin.in_maintenance() {
        return match tracked.filter(|_| admin.0 & Admin::INHERITED_MAINT != 0) {
            Some(t) => format!("MAINT (via {}/{})", t.backend, t.name),
            None => "MAINT".into(),
        };
    }
    let judged = tracked.unwrap_or(server);
    let health = judged.health();
    let agent = judged.has_agent();
    if agent && health.agent_down() && health.passes() {
        return "DOWN (agent)".into();
    }
    if server.is_ejected() && health.is_up() {
        return "NOLB".into();
    }
    let drain = if agent { "DRAIN (agent)" } else { "DRAIN" };
    if !judged.has_check() {
        return match (health.is_up(), admin.draining()) {
            (false, _) => "DOWN".into(),
            (true, true) => drain.into(),
            (true, false) => "no check".into(),
        };
    }
    let (at, of) = health.progress();
    let word = match (health.passes(), health.is_stopping(), admin.draining()) {
        (false, ..) => "DOWN",
        (true, true, _) => return "NOLB".into(),
        (true, _, true) if agent => return drain.into(),
        (true, _, true) => drain,
        (true, ..) => "UP",
    };
    let doubt = health.in_doubt() && at != of && (health.passes() || at > 0);
    match doubt {
        true => format!("{word} {at}/{of}"),
        false => word.into(),
    }
}

fn server_row(
    process: &Process,
    generation: &Generation,
    backend: &Backend,
    server: &Server,
    now: Instant,
) -> Row {
    let mode = backend.proxy().mode;
    let now_ms = process.millis(now);
    let mut row = new_row(
        RowKind::Server,
        backend.id,
        server.id,
        &backend.name,
        &server.name,
        mode,
    );
    let settings = server.settings();
    count(&mut row, &server.counters, mode, now_ms);
    count_back(&mut row, &server.counters, mode, now_ms);
    row.set("qcur", server.queued.now());
    row.set("qmax", server.queued.max());
    row.set("scur", server.sessions.now());
    row.set("smax", server.sessions.max());
    if server.maxconn() > 0 {
        row.set("slim", server.maxconn());
    }
    if settings.maxqueue > 0 {
        row.set("qlimit", settings.maxqueue);
    }
    let tracked = settings.track.as_ref().and_then(|track| {
        let (of, name) = track.split_once('/').unwrap_or((&backend.name, track));
        row.set("tracked", format!("{of}/{name}"));
        generation.backend(of)?.server(name)
    });
    row.set("status", status_of(server, tracked.map(|t| &**t)));
    row.set("weight", server.weight());
    row.set("uweight", server.weight());
    row.set("act", u8::from(!settings.backup));
    row.set("bck", u8::from(settings.backup));
    {
        let health = server.health();
        let since = health.changed.map_or(process.start, |c| c);
        let lastchg = now.saturating_duration_since(since).as_secs();
        row.set("lastchg", lastchg);
        let maintained = server.admin().in_maintenance();
        let checked = settings.check.as_ref().filter(|_| server.has_check());
        if let Some(check) = checked {
            let down = !health.is_up() || maintained;
            let down_now = if down { lastchg } else { 0 };
            row.set("downtime", health.downtime.as_secs() + down_now);
            row.set("chkfail", health.failed);
            row.set("chkdown", health.went_down);
            if !maintained {
                found(&mut row, &health.last, CHECK);
                row.set("check_rise", check.rise);
                row.set("check_fall", check.fall);
                row.set("check_health", health.counter());
            }
        }
        if let Some(agent) = health.agent().filter(|_| server.has_agent()) {
            found(&mut row, &agent.last, AGENT);
            row.set("agent_rise", 1);
            row.set("agent_fall", 1);
            row.set("agent_health", u8::from(!agent.down));
        }
    }
    let port = None;
    if let Some(addr) = server.target().and_then(|t| t.socket(port)) {
        row.set("addr", addr);
    }
    if let Some(cookie) = backend.cookie_of(server) {
        row.set("cookie", cookie);
    }
    let idle = process.idle_connections(server.uid);
    row.set("srv_icur", idle);
    if let Some(most) = settings.pool_max_conn {
        row.set("src_ilim", most);
    }
    // Each has carried a request, so that the next one may be lost on any of them.
    row.set("idle_conn_cur", idle);
    row.set("safe_conn_cur", 0);
    row.set("used_conn_cur", server.sessions.now());
    row.set("need_conn_est", server.sessions.max());
    row
}

/// The fields of a check's result: status, code, duration, description, text.
type Names = [&'static str; 5];
const CHECK: Names = [
    "check_status",
    "check_code",
    "check_duration",
    "check_desc",
    "last_chk",
];
const AGENT: Names = [
    "agent_status",
    "agent_code",
    "agent_duration",
    "agent_desc",
    "last_agt",
];

fn found(row: &mut Row, found: &Finding, [status, code, duration, desc, info]: Names) {
    row.set(status, found.status.code());
    if let Some(number) = found.code {
        row.set(code, number);
    }
    row.set(duration, found.took.as_millis());
    row.set(desc, found.status.describe());
    row.set(info, &found.info);
}

/// The name of a kind of `balance`.
pub fn algorithm(balance: &Balance) -> &'static str {
    match balance {
        Balance::RoundRobin => "roundrobin",
        Balance::StaticRr => "static-rr",
        Balance::LeastConn => "leastconn",
        Balance::First => "first",
        Balance::Sticky => "sticky",
        Balance::Source => "source",
        Balance::Uri { .. } => "uri",
        Balance::UrlParam { .. } => "url_param",
        Balance::Header { .. } => "hdr",
        Balance::Random { .. } => "random",
        Balance::RdpCookie { .. } => "rdp-cookie",
        Balance::Hash(_) => "hash",
        Balance::Maglev(_) => "maglev",
        Balance::ResponseTime => "response-time",
        Balance::Fastest => "fastest",
        Balance::WeightedResponseTime => "weighted-response-time",
        Balance::Agent => "agent",
        Balance::Bandwidth => "bandwidth",
    }
}

fn backend_row(process: &Process, backend: &Arc<Backend>, now: Instant) -> Row {
    let proxy = backend.proxy();
    let now_ms = process.millis(now);
    let mut row = new_row(
        RowKind::Backend,
        backend.id,
        0,
        &backend.name,
        "BACKEND",
        proxy.mode,
    );
    let c = backend.counters();
    count(&mut row, c, proxy.mode, now_ms);
    count_back(&mut row, c, proxy.mode, now_ms);
    row.set("dreq", c.sum(|c| &c.dreq));
    row.set("qcur", backend.queued().now());
    row.set("qmax", backend.queued().max());
    row.set("scur", backend.sessions().now());
    row.set("smax", backend.sessions().max());
    row.set("slim", backend.fullconn());
    backend.catch_up();
    let down = !backend.serves() && !backend.servers().is_empty();
    row.set("status", if down { "DOWN" } else { "UP" });
    row.set("weight", backend.total_weight());
    row.set("uweight", backend.total_weight());
    let up = |backup: bool| {
        let all = backend.servers().iter();
        all.filter(|s| s.schedulable() && s.settings().backup == backup)
            .count()
    };
    row.set("act", up(false));
    row.set("bck", up(true));
    let turns = backend.ups_and_downs();
    let since = turns.changed.unwrap_or(process.start);
    let lastchg = now.saturating_duration_since(since).as_secs();
    row.set("chkdown", turns.went_down);
    if !backend.servers().is_empty() {
        let down_now = if turns.down { lastchg } else { 0 };
        row.set("downtime", turns.downtime.as_secs() + down_now);
    }
    row.set("lastchg", lastchg);
    for name in [
        "agg_server_status",
        "agg_server_check_status",
        "agg_check_status",
    ] {
        row.set(name, 0);
    }
    let all = backend.servers().iter();
    let idle = all.map(|s| process.idle_connections(s.uid)).sum::<u64>();
    let busy = backend.sessions().now();
    let http = match proxy.mode {
        Mode::Http => [
            busy + idle,
            c.sum(|c| &c.connect),
            c.sum(|c| &c.req_tot),
            c.sum(|c| &c.bout),
            c.sum(|c| &c.bin),
        ],
        _ => [0; 5],
    };
    let streams = if proxy.mode == Mode::Http { busy } else { 0 };
    versions(&mut row, http, Some(streams));
    if let Some(cookie) = &backend.side().cookie {
        row.set("cookie", &cookie.name);
    }
    row.set("algo", algorithm(&backend.side().balance));
    count_compression(&mut row, c);
    if proxy.mode == Mode::Http {
        for name in ["cache_lookups", "cache_hits"] {
            row.set(name, 0);
        }
    }
    row
}
