//! The statistics in the text format of Prometheus: what `http-request use-service
//! prometheus-exporter` answers. Names and labels are HAProxy's (the exporter of 2.6), the facts
//! those of `show info` and `show stat`.

mod guard;
mod vrrp;

use crate::info;
use crate::page::Page;
use crate::stat::{self, Row, RowKind};
use crate::stat_fields::FIELDS;
use crate::typed::quoted;
use http::uri;
use state::{Generation, Process};
use std::fmt::Write;
use std::time::Instant;

/// How a field becomes samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// As it is; `NaN` where it is empty.
    Number,
    /// As it is, where HTTP is spoken.
    Http,
    /// As it is, in `mode packet`.
    Packets,
    /// Milliseconds, in seconds.
    Seconds,
    /// As `Number` and `Seconds`, of servers whose checks are in effect.
    Check,
    CheckSeconds,
    /// Responses, a sample for each class of status codes.
    Codes,
    /// A sample for each state, 1 for the one it is in.
    State,
    /// A sample for each result of a check, 1 for the last one.
    CheckResult,
    /// How many of a backend's servers are in each state.
    ServerStates,
    /// How many of a backend's servers had each result of a check.
    CheckResults,
    /// 1, with the text as a label.
    Version,
}
use Shape::*;

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";

/// Name, field of `show info`, type, shape.
#[rustfmt::skip]
const PROCESS: &[(&str, &str, &str, Shape)] = &[
    ("nbthread", "Nbthread", GAUGE, Number),
    ("nbproc", "Nbproc", GAUGE, Number),
    ("relative_process_id", "Process_num", GAUGE, Number),
    ("uptime_seconds", "Uptime_sec", GAUGE, Number),
    ("pool_failures_total", "PoolFailed", COUNTER, Number),
    ("max_fds", "Ulimit-n", GAUGE, Number),
    ("max_sockets", "Maxsock", GAUGE, Number),
    ("max_connections", "Maxconn", GAUGE, Number),
    ("hard_max_connections", "Hard_maxconn", GAUGE, Number),
    ("current_connections", "CurrConns", GAUGE, Number),
    ("connections_total", "CumConns", COUNTER, Number),
    ("requests_total", "CumReq", COUNTER, Number),
    ("max_ssl_connections", "MaxSslConns", GAUGE, Number),
    ("current_ssl_connections", "CurrSslConns", GAUGE, Number),
    ("ssl_connections_total", "CumSslConns", COUNTER, Number),
    ("max_pipes", "Maxpipes", GAUGE, Number),
    ("pipes_used_total", "PipesUsed", COUNTER, Number),
    ("pipes_free_total", "PipesFree", COUNTER, Number),
    ("current_connection_rate", "ConnRate", GAUGE, Number),
    ("limit_connection_rate", "ConnRateLimit", GAUGE, Number),
    ("max_connection_rate", "MaxConnRate", GAUGE, Number),
    ("current_session_rate", "SessRate", GAUGE, Number),
    ("limit_session_rate", "SessRateLimit", GAUGE, Number),
    ("max_session_rate", "MaxSessRate", GAUGE, Number),
    ("current_ssl_rate", "SslRate", GAUGE, Number),
    ("limit_ssl_rate", "SslRateLimit", GAUGE, Number),
    ("max_ssl_rate", "MaxSslRate", GAUGE, Number),
    ("current_frontend_ssl_key_rate", "SslFrontendKeyRate", GAUGE, Number),
    ("max_frontend_ssl_key_rate", "SslFrontendMaxKeyRate", GAUGE, Number),
    ("frontend_ssl_reuse", "SslFrontendSessionReuse_pct", GAUGE, Number),
    ("current_backend_ssl_key_rate", "SslBackendKeyRate", GAUGE, Number),
    ("max_backend_ssl_key_rate", "SslBackendMaxKeyRate", GAUGE, Number),
    ("ssl_cache_lookups_total", "SslCacheLookups", COUNTER, Number),
    ("ssl_cache_misses_total", "SslCacheMisses", COUNTER, Number),
    ("http_comp_bytes_in_total", "CompressBpsIn", COUNTER, Number),
    ("http_comp_bytes_out_total", "CompressBpsOut", COUNTER, Number),
    ("limit_http_comp", "CompressBpsRateLim", GAUGE, Number),
    ("current_zlib_memory", "ZlibMemUsage", GAUGE, Number),
    ("max_zlib_memory", "MaxZlibMemUsage", GAUGE, Number),
    ("current_tasks", "Tasks", GAUGE, Number),
    ("current_run_queue", "Run_queue", GAUGE, Number),
    ("idle_time_percent", "Idle_pct", GAUGE, Number),
    ("stopping", "Stopping", GAUGE, Number),
    ("jobs", "Jobs", GAUGE, Number),
    ("unstoppable_jobs", "Unstoppable Jobs", GAUGE, Number),
    ("listeners", "Listeners", GAUGE, Number),
    ("active_peers", "ActivePeers", GAUGE, Number),
    ("connected_peers", "ConnectedPeers", GAUGE, Number),
    ("dropped_logs_total", "DroppedLogs", COUNTER, Number),
    ("busy_polling_enabled", "BusyPolling", GAUGE, Number),
    ("failed_resolutions", "FailedResolutions", COUNTER, Number),
    ("bytes_out_total", "TotalBytesOut", COUNTER, Number),
    ("spliced_bytes_out_total", "TotalSplicedBytesOut", COUNTER, Number),
    ("bytes_out_rate", "BytesOutRate", GAUGE, Number),
    ("recv_logs_total", "CumRecvLogs", COUNTER, Number),
    ("build_info", "Version", GAUGE, Version),
    ("max_memory_bytes", "Memmax_bytes", GAUGE, Number),
    ("pool_allocated_bytes", "PoolAlloc_bytes", GAUGE, Number),
    ("pool_used_bytes", "PoolUsed_bytes", GAUGE, Number),
    ("start_time_seconds", "Start_time_sec", GAUGE, Number),
];

/// Name, field of `show stat`, type, whose (F frontends, B backends, S servers), shape.
#[rustfmt::skip]
const PROXIES: &[(&str, &str, &str, &str, Shape)] = &[
    ("current_queue", "qcur", GAUGE, "BS", Number),
    ("max_queue", "qmax", GAUGE, "BS", Number),
    ("current_sessions", "scur", GAUGE, "FBS", Number),
    ("max_sessions", "smax", GAUGE, "FBS", Number),
    ("limit_sessions", "slim", GAUGE, "FBS", Number),
    ("sessions_total", "stot", COUNTER, "FBS", Number),
    ("bytes_in_total", "bin", COUNTER, "FBS", Number),
    ("bytes_out_total", "bout", COUNTER, "FBS", Number),
    ("requests_denied_total", "dreq", COUNTER, "FB", Number),
    ("responses_denied_total", "dresp", COUNTER, "FBS", Number),
    ("request_errors_total", "ereq", COUNTER, "F", Number),
    ("connection_errors_total", "econ", COUNTER, "BS", Number),
    ("response_errors_total", "eresp", COUNTER, "BS", Number),
    ("retry_warnings_total", "wretr", COUNTER, "BS", Number),
    ("redispatch_warnings_total", "wredis", COUNTER, "BS", Number),
    ("status", "status", GAUGE, "FBS", State),
    ("weight", "weight", GAUGE, "BS", Number),
    ("active_servers", "act", GAUGE, "B", Number),
    ("backup_servers", "bck", GAUGE, "B", Number),
    ("check_failures_total", "chkfail", COUNTER, "S", Number),
    ("check_up_down_total", "chkdown", COUNTER, "BS", Number),
    ("check_last_change_seconds", "lastchg", GAUGE, "BS", Number),
    ("downtime_seconds_total", "downtime", COUNTER, "BS", Number),
    ("queue_limit", "qlimit", GAUGE, "S", Number),
    ("current_throttle", "throttle", GAUGE, "S", Number),
    ("loadbalanced_total", "lbtot", COUNTER, "BS", Number),
    ("limit_session_rate", "rate_lim", GAUGE, "F", Number),
    ("max_session_rate", "rate_max", GAUGE, "FBS", Number),
    ("check_status", "check_status", GAUGE, "S", CheckResult),
    ("check_code", "check_code", GAUGE, "S", Check),
    ("check_duration_seconds", "check_duration", GAUGE, "S", CheckSeconds),
    ("http_responses_total", "hrsp_1xx", COUNTER, "FBS", Codes),
    ("http_requests_rate_max", "req_rate_max", GAUGE, "F", Http),
    ("http_requests_total", "req_tot", COUNTER, "FB", Http),
    ("client_aborts_total", "cli_abrt", COUNTER, "BS", Number),
    ("server_aborts_total", "srv_abrt", COUNTER, "BS", Number),
    ("http_comp_bytes_in_total", "comp_in", COUNTER, "FB", Http),
    ("http_comp_bytes_out_total", "comp_out", COUNTER, "FB", Http),
    ("http_comp_bytes_bypassed_total", "comp_byp", COUNTER, "FB", Http),
    ("http_comp_responses_total", "comp_rsp", COUNTER, "FB", Http),
    ("last_session_seconds", "lastsess", GAUGE, "BS", Number),
    ("queue_time_average_seconds", "qtime", GAUGE, "BS", Seconds),
    ("connect_time_average_seconds", "ctime", GAUGE, "BS", Seconds),
    ("response_time_average_seconds", "rtime", GAUGE, "BS", Seconds),
    ("total_time_average_seconds", "ttime", GAUGE, "BS", Seconds),
    ("connections_rate_max", "conn_rate_max", GAUGE, "F", Number),
    ("connections_total", "conn_tot", COUNTER, "F", Number),
    ("intercepted_requests_total", "intercepted", COUNTER, "F", Http),
    ("denied_connections_total", "dcon", COUNTER, "F", Number),
    ("denied_sessions_total", "dses", COUNTER, "F", Number),
    ("failed_header_rewriting_total", "wrew", COUNTER, "FBS", Number),
    ("connection_attempts_total", "connect", COUNTER, "BS", Number),
    ("connection_reuses_total", "reuse", COUNTER, "BS", Number),
    ("http_cache_lookups_total", "cache_lookups", COUNTER, "FB", Http),
    ("http_cache_hits_total", "cache_hits", COUNTER, "FB", Http),
    ("idle_connections_current", "srv_icur", GAUGE, "S", Number),
    ("idle_connections_limit", "src_ilim", GAUGE, "S", Number),
    ("max_queue_time_seconds", "qtime_max", GAUGE, "BS", Seconds),
    ("max_connect_time_seconds", "ctime_max", GAUGE, "BS", Seconds),
    ("max_response_time_seconds", "rtime_max", GAUGE, "BS", Seconds),
    ("max_total_time_seconds", "ttime_max", GAUGE, "BS", Seconds),
    ("internal_errors_total", "eint", COUNTER, "FBS", Number),
    ("unsafe_idle_connections_current", "idle_conn_cur", GAUGE, "S", Number),
    ("safe_idle_connections_current", "safe_conn_cur", GAUGE, "S", Number),
    ("used_connections_current", "used_conn_cur", GAUGE, "S", Number),
    ("need_connections_current", "need_conn_est", GAUGE, "S", Number),
    ("uweight", "uweight", GAUGE, "BS", Number),
    ("packets_in_total", "pkts_in", COUNTER, "FBS", Packets),
    ("packets_out_total", "pkts_out", COUNTER, "FBS", Packets),
    ("current_packet_rate_in", "pkt_rate_in", GAUGE, "FBS", Packets),
    ("current_packet_rate_out", "pkt_rate_out", GAUGE, "FBS", Packets),
    ("current_bit_rate_in", "bit_rate_in", GAUGE, "FBS", Packets),
    ("current_bit_rate_out", "bit_rate_out", GAUGE, "FBS", Packets),
    ("agg_server_status", "agg_server_status", GAUGE, "B", ServerStates),
    ("agg_server_check_status", "agg_server_check_status", GAUGE, "B", ServerStates),
    ("agg_check_status", "agg_check_status", GAUGE, "B", CheckResults),
];

/// Classes of status codes: label and field.
const CODES: [(&str, &str); 6] = [
    ("1xx", "hrsp_1xx"),
    ("2xx", "hrsp_2xx"),
    ("3xx", "hrsp_3xx"),
    ("4xx", "hrsp_4xx"),
    ("5xx", "hrsp_5xx"),
    ("other", "hrsp_other"),
];
/// States of servers; proxies have the first two.
const STATES: [&str; 5] = ["DOWN", "UP", "MAINT", "DRAIN", "NOLB"];
/// Results of checks.
const RESULTS: [&str; 16] = [
    "HANA", "SOCKERR", "L4OK", "L4TOUT", "L4CON", "L6OK", "L6TOUT", "L6RSP", "L7TOUT", "L7RSP",
    "L7OK", "L7OKC", "L7STS", "PROCERR", "PROCTOUT", "PROCOK",
];

/// What a query asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wanted {
    process: bool,
    frontends: bool,
    backends: bool,
    servers: bool,
    /// Leave out servers in maintenance.
    no_maint: bool,
}

impl Wanted {
    const ALL: Wanted = Wanted {
        process: true,
        frontends: true,
        backends: true,
        servers: true,
        no_maint: false,
    };

    /// Reads `scope=NAME` (the first one takes the place of "everything", further ones add to it)
    /// and `no-maint`; other parameters mean nothing. `None` for a scope that there is not.
    fn of(target: &[u8]) -> Option<Wanted> {
        let mut wanted = Wanted::ALL;
        let mut chosen = false;
        let parameters = uri::query(target).unwrap_or_default();
        for parameter in parameters.split(|b| *b == b'&') {
            let mut halves = parameter.splitn(2, |b| *b == b'=');
            let name = uri::percent_decode(halves.next().unwrap_or_default(), true);
            let value = halves.next().map(|v| uri::percent_decode(v, true));
            let no_maint = wanted.no_maint;
            match (&*name, value.as_deref()) {
                (b"no-maint", _) => wanted.no_maint = true,
                (b"scope", Some(scope)) => {
                    if !chosen || scope.is_empty() {
                        wanted = Wanted::default();
                    }
                    chosen = true;
                    match scope {
                        b"" => {}
                        b"*" => wanted = Wanted::ALL,
                        b"global" => wanted.process = true,
                        b"frontend" => wanted.frontends = true,
                        b"backend" => wanted.backends = true,
                        b"server" => wanted.servers = true,
                        // Known, and nothing is counted for them.
                        b"listener" | b"sticktable" => {}
                        _ => return None,
                    }
                    wanted.no_maint = no_maint;
                }
                (b"scope", None) => return None,
                _ => {}
            }
        }
        Some(wanted)
    }
}

/// Answers a request for the metrics.
pub fn metrics(target: &[u8], process: &Process, generation: &Generation, now: Instant) -> Page {
    let headers = vec![("cache-control", "no-cache".to_string())];
    let Some(wanted) = Wanted::of(target) else {
        return Page {
            status: 400,
            content_type: "text/html",
            headers,
            body: "<html><body><h1>400 Bad request</h1>\nThere is no such scope.\n</body></html>\n"
                .into(),
        };
    };
    let mut body = String::new();
    if wanted.process {
        of_process(&mut body, &info::fields(process, generation, now, false));
        vrrp::of_routers(&mut body, &process.replication.routers());
        guard::of_guards(&mut body, &process.guarded);
    }
    let rows = stat::rows(process, generation, now);
    for (asked, kind) in [
        (wanted.frontends, RowKind::Frontend),
        (wanted.backends, RowKind::Backend),
        (wanted.servers, RowKind::Server),
    ] {
        if asked {
            of_rows(&mut body, &rows, kind, wanted.no_maint);
        }
    }
    Page {
        status: 200,
        content_type: "text/plain; version=0.0.4",
        headers,
        body,
    }
}

fn of_process(out: &mut String, fields: &[info::Known]) {
    for (name, field, kind, shape) in PROCESS {
        let Some((field, value)) = fields.iter().find(|(f, _)| f.name == *field) else {
            continue;
        };
        let name = format!("haproxy_process_{name}");
        let value = value.as_deref().unwrap_or_default();
        head(out, &name, field.doc, kind);
        if *shape == Version {
            let _ = writeln!(out, "{name}{{version={}}} 1", quoted(value));
        } else {
            let _ = writeln!(out, "{name} {}", number(value));
        }
    }
}

fn of_rows(out: &mut String, rows: &[Row], kind: RowKind, no_maint: bool) {
    let (letter, scope) = match kind {
        RowKind::Frontend => ('F', "frontend"),
        RowKind::Backend => ('B', "backend"),
        RowKind::Server => ('S', "server"),
        RowKind::Listener => return,
    };
    let hidden = |r: &Row| no_maint && r.kind == RowKind::Server && r.get("status") == "MAINT";
    let mine: Vec<&Row> = rows
        .iter()
        .filter(|r| r.kind == kind && !hidden(r))
        .collect();
    for (name, field, metric, whose, shape) in PROXIES {
        if !whose.contains(letter) {
            continue;
        }
        let name = format!("haproxy_{scope}_{name}");
        let mut samples = String::new();
        if *shape == Codes {
            // All proxies of one class before those of the next.
            for (code, field) in CODES {
                let more = format!(",code=\"{code}\"");
                for row in mine.iter().filter(|r| speaks_http(r)) {
                    sample(&mut samples, &name, row, &more, number(row.get(field)));
                }
            }
        } else {
            for row in &mine {
                of_row(&mut samples, &name, row, field, *shape, rows);
            }
        }
        if samples.is_empty() {
            continue;
        }
        let doc = FIELDS
            .iter()
            .find(|f| f.name == *field)
            .map_or("", |f| f.doc);
        let in_seconds = matches!(shape, Seconds | CheckSeconds);
        let doc = if in_seconds {
            doc.replace("milliseconds", "seconds")
        } else {
            doc.into()
        };
        head(out, &name, &doc, metric);
        out.push_str(&samples);
    }
}

/// The samples that one row has of a metric.
fn of_row(out: &mut String, name: &str, row: &Row, field: &str, shape: Shape, all: &[Row]) {
    let value = row.get(field);
    let checked = !row.get("check_status").is_empty();
    let mut states = |states: &[&str], count: &dyn Fn(&str) -> usize| {
        for state in states {
            let more = format!(",state=\"{state}\"");
            sample(out, name, row, &more, &count(state).to_string());
        }
    };
    let servers = || {
        let of_backend = |r: &&Row| r.kind == RowKind::Server && r.iid == row.iid;
        all.iter().filter(of_backend)
    };
    match shape {
        Number => sample(out, name, row, "", number(value)),
        Packets if row.get("mode") == "packet" => sample(out, name, row, "", number(value)),
        Http if speaks_http(row) => sample(out, name, row, "", number(value)),
        Seconds => sample(out, name, row, "", &seconds(value)),
        // A check that saw no code has the code 0.
        Check if checked => {
            let code = if value.is_empty() { "0" } else { value };
            sample(out, name, row, "", code);
        }
        CheckSeconds if checked => sample(out, name, row, "", &seconds(value)),
        State => {
            let known = if row.kind == RowKind::Server { 5 } else { 2 };
            let known = STATES.get(..known).unwrap_or_default();
            states(known, &|s| usize::from(state_of(row) == s));
        }
        CheckResult if checked => states(&RESULTS, &|s| usize::from(value == s)),
        ServerStates if servers().next().is_some() => {
            states(&STATES, &|s| servers().filter(|r| state_of(r) == s).count());
        }
        CheckResults if servers().next().is_some() => {
            let had = |r: &Row, s: &str| r.get("check_status") == s;
            states(&RESULTS, &|s| servers().filter(|r| had(r, s)).count());
        }
        _ => {}
    }
}

fn head(out: &mut String, name: &str, doc: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {doc}\n# TYPE {name} {kind}");
}

fn sample(out: &mut String, name: &str, row: &Row, more: &str, value: &str) {
    let _ = write!(out, "{name}{{proxy={}", quoted(row.get("pxname")));
    if row.kind == RowKind::Server {
        let _ = write!(out, ",server={}", quoted(row.get("svname")));
    }
    let _ = writeln!(out, "{more}}} {value}");
}

fn number(value: &str) -> &str {
    if value.is_empty() { "NaN" } else { value }
}

/// Milliseconds as seconds.
fn seconds(milliseconds: &str) -> String {
    match milliseconds.parse::<u64>() {
        Ok(n) => format!("{}.{:03}000", n / 1000, n % 1000),
        Err(_) => "NaN".into(),
    }
}

fn speaks_http(row: &Row) -> bool {
    row.get("mode") == "http"
}

/// The state behind a status: `UP 1/3` is up, and so is what is not checked and what is open.
fn state_of(row: &Row) -> &str {
    match row.get("status").split(' ').next().unwrap_or_default() {
        "no" | "OPEN" | "PAUSED" => "UP",
        "STOP" => "DOWN",
        state => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_add_up_and_an_empty_one_begins_anew() {
        let of = |query: &str| Wanted::of(format!("/metrics{query}").as_bytes());
        assert_eq!(of(""), Some(Wanted::ALL));
        assert_eq!(of("?x=y&desc"), Some(Wanted::ALL));
        assert_eq!(of("?scope=*"), Some(Wanted::ALL));
        assert_eq!(of("?scope=*&scope="), Some(Wanted::default()));
        assert_eq!(of("?scope=listener"), Some(Wanted::default()));
        let servers = Wanted {
            servers: true,
            ..Wanted::default()
        };
        assert_eq!(of("?scope=%73erver"), Some(servers));
        let both = Wanted {
            process: true,
            no_maint: true,
            ..servers
        };
        assert_eq!(of("?no-maint=1&scope=server&scope=global"), Some(both));
        for wrong in [
            "?scope",
            "?scope=serve%",
            "?scope=Server",
            "?scope=a&scope=*",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_are_in_seconds_and_what_is_not_known_is_no_number() {
        assert_eq!(seconds("0"), "0.000000");
        assert_eq!(seconds("12345"), "12.345000");
        assert_eq!(seconds(""), "NaN");
        assert_eq!(number(""), "NaN");
        assert_eq!(number("-1"), "-1");
    }

    #[test]
    fn every_metric_is_of_a_field_that_there_is() {
        for (name, field, ..) in PROXIES {
            assert!(FIELDS.iter().any(|f| f.name == *field), "{name}: {field}");
        }
    }
}
