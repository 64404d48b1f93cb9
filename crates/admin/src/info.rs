//! `show info`: what is known of the whole process.

use crate::typed::{self, Field};
use state::peers::Link;
use state::{Generation, Process, RateLimit};
use std::fmt::Write;
use std::time::Instant;

/// A field with its value; `None` is not shown, but keeps its place.
pub(crate) type Known = (Field, Option<String>);

/// All fields in their order.
pub(crate) fn fields(
    p: &Process,
    generation: &Generation,
    now: Instant,
    float: bool,
) -> Vec<Known> {
    let up = now.saturating_duration_since(p.start);
    let seconds = up.as_secs();
    let now = p.millis(now);
    let c = &p.counters;
    let uptime = format!(
        "{}d {}h{:02}m{:02}s",
        seconds / 86400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    );
    let (uptime_sec, started) = if float {
        (
            format!("{seconds}.{:06}", up.subsec_micros()),
            format!("{}.{:06}", p.started.secs, p.started.micros),
        )
    } else {
        (seconds.to_string(), p.started.secs.to_string())
    };
    let proxies = || generation.config.proxies.iter();
    let listeners: usize = proxies()
        .filter_map(|p| p.frontend.as_ref())
        .map(|f| f.binds.len())
        .sum();
    let mut links = Vec::new();
    for section in &generation.peers {
        let places = 0..section.settings.others.len();
        links.extend(places.filter_map(|at| section.peer(at).map(|p| p.link)));
    }
    let linked =
        |wanted: &dyn Fn(Link) -> bool| links.iter().filter(|l| wanted(**l)).count() as u64;
    let sockets = generation.config.global.stats_sockets.len();
    let connections = p.connections.now();
    let failures = ["nx", "timeout", "refused", "other", "invalid"];
    let servers = generation.resolvers.values().flat_map(|r| &r.counters);
    let counts = servers.flat_map(|c| c.all());
    let failed = counts.filter(|(name, _)| failures.contains(name));
    let unresolved: u64 = failed.map(|(_, count)| count).sum();
    let n = |n: u64| Some(n.to_string());
    let none = || Some("0".to_string());
    let ssl_rate = c.rate(now, |c| &c.ssl_rate);
    let key_rate = c.rate(now, |c| &c.ssl_key_rate).min(ssl_rate);
    // Of all handshakes of the last second, those that were no full ones; rounded.
    let reused = match ssl_rate {
        0 => 0,
        all => 100 - (100 * key_rate + (all - 1) / 2) / all,
    };
    let (lookups, misses) = tls::session_lookups();
    let max = |of: &dyn Fn(&state::ProcessCounters) -> u64| n(c.used().map(of).sum());
    let rows: Vec<(
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        Option<String>,
    )> = vec![
        ("Name", "POS", "str", "the program", Some("Mulgil".into())),
        (
            "Version",
            "POS",
            "str",
            "its version",
            Some(crate::VERSION.into()),
        ),
        (
            "Release_date",
            "POS",
            "str",
            "day of its sources",
            Some(crate::RELEASE_DATE.into()),
        ),
        ("Nbthread", "CGS", "u32", "workers", n(p.workers as u64)),
        ("Nbproc", "CGS", "u32", "processes, always 1", n(1)),
        (
            "Process_num",
            "KGP",
            "u32",
            "number of this process, always 1",
            n(1),
        ),
        (
            "Pid",
            "SGP",
            "u32",
            "the system's number of this process",
            n(p.pid.into()),
        ),
        ("Uptime", "MDP", "str", "time since the start", Some(uptime)),
        (
            "Uptime_sec",
            "MDP",
            "u32",
            "seconds since the start",
            Some(uptime_sec),
        ),
        (
            "Memmax_MB",
            "CLP",
            "u32",
            "limit of memory in MB, 0 for none",
            n(p.machine.megabytes),
        ),
        (
            "PoolAlloc_MB",
            "MGP",
            "u32",
            "MB held by pools",
            n(c.sum(|c| &c.spare_bytes) >> 20),
        ),
        ("PoolUsed_MB", "MGP", "u32", "MB used from pools", none()),
        (
            "PoolFailed",
            "MCP",
            "u32",
            "allocations that failed",
            none(),
        ),
        (
            "Ulimit-n",
            "CLP",
            "u32",
            "descriptors at most",
            n(p.max_descriptors),
        ),
        (
            "Maxsock",
            "CLP",
            "u32",
            "sockets at most",
            n(p.max_descriptors),
        ),
        (
            "Maxconn",
            "CLP",
            "u32",
            "connections at most",
            n(p.maxconn().into()),
        ),
        (
            "Hard_maxconn",
            "CLP",
            "u32",
            "connections that descriptors allow",
            n(p.hard_maxconn().into()),
        ),
        ("CurrConns", "MGP", "u32", "connections", n(connections)),
        (
            "CumConns",
            "MCP",
            "u32",
            "connections so far",
            n(c.sum(|c| &c.connections)),
        ),
        (
            "CumReq",
            "MCP",
            "u32",
            "requests so far",
            n(c.sum(|c| &c.requests)),
        ),
        (
            "MaxSslConns",
            "MMP",
            "u32",
            "TLS connections at most, 0 for any number",
            n(p.generation
                .load()
                .config
                .global
                .maxsslconn
                .unwrap_or(0)
                .into()),
        ),
        (
            "CurrSslConns",
            "MGP",
            "u32",
            "TLS connections",
            n(p.tls_connections.now()),
        ),
        (
            "CumSslConns",
            "MCP",
            "u32",
            "TLS connections so far",
            n(c.sum(|c| &c.ssl_connections)),
        ),
        (
            "Maxpipes",
            "CLP",
            "u32",
            "pipes at most, 0 for any number",
            none(),
        ),
        ("PipesUsed", "MGP", "u32", "pipes in use", none()),
        ("PipesFree", "MGP", "u32", "pipes kept", none()),
        (
            "ConnRate",
            "MRP",
            "u32",
            "connections in the last second",
            n(c.rate(now, |c| &c.conn_rate)),
        ),
        (
            "ConnRateLimit",
            "CLP",
            "u32",
            "connections a second at most",
            n(p.rate_limit(RateLimit::Connections).into()),
        ),
        (
            "MaxConnRate",
            "MMP",
            "u32",
            "most connections in a second",
            max(&|c| c.conn_rate.max()),
        ),
        (
            "SessRate",
            "MRP",
            "u32",
            "sessions in the last second",
            n(c.rate(now, |c| &c.sess_rate)),
        ),
        (
            "SessRateLimit",
            "CLP",
            "u32",
            "sessions a second at most",
            n(p.rate_limit(RateLimit::Sessions).into()),
        ),
        (
            "MaxSessRate",
            "MRP",
            "u32",
            "most sessions in a second",
            max(&|c| c.sess_rate.max()),
        ),
        (
            "SslRate",
            "MRP",
            "u32",
            "TLS sessions in the last second",
            n(c.rate(now, |c| &c.ssl_rate)),
        ),
        (
            "SslRateLimit",
            "CLP",
            "u32",
            "TLS sessions a second at most",
            n(p.rate_limit(RateLimit::SslSessions).into()),
        ),
        (
            "MaxSslRate",
            "MMP",
            "u32",
            "most TLS sessions in a second",
            max(&|c| c.ssl_rate.max()),
        ),
        (
            "SslFrontendKeyRate",
            "MGP",
            "u32",
            "TLS keys computed for clients in the last second",
            n(key_rate),
        ),
        (
            "SslFrontendMaxKeyRate",
            "MMP",
            "u32",
            "most TLS keys for clients in a second",
            max(&|c| c.ssl_key_rate.max()),
        ),
        (
            "SslFrontendSessionReuse_pct",
            "MGP",
            "u32",
            "percent of TLS sessions resumed",
            n(reused),
        ),
        (
            "SslBackendKeyRate",
            "MRP",
            "u32",
            "TLS keys computed for servers in the last second",
            n(c.rate(now, |c| &c.ssl_server_key_rate)),
        ),
        (
            "SslBackendMaxKeyRate",
            "MMP",
            "u32",
            "most TLS keys for servers in a second",
            max(&|c| c.ssl_server_key_rate.max()),
        ),
        (
            "SslCacheLookups",
            "MCP",
            "u32",
            "TLS sessions looked for",
            n(lookups),
        ),
        (
            "SslCacheMisses",
            "MCP",
            "u32",
            "TLS sessions not found",
            n(misses),
        ),
        (
            "CompressBpsIn",
            "MRP",
            "u32",
            "bytes a second given to compression",
            n(c.rate(now, |c| &c.comp_in_rate)),
        ),
        (
            "CompressBpsOut",
            "MRP",
            "u32",
            "bytes a second that compression gives",
            n(c.rate(now, |c| &c.comp_out_rate)),
        ),
        (
            "CompressBpsRateLim",
            "CLP",
            "u32",
            "limit of bytes a second given to compression",
            n(u64::from(generation.config.global.maxcomprate) * 1024),
        ),
        ("ZlibMemUsage", "MGP", "u32", "memory of zlib", None),
        (
            "MaxZlibMemUsage",
            "CLP",
            "u32",
            "limit of zlib's memory",
            None,
        ),
        ("Tasks", "MGP", "u32", "tasks", n(c.sum(|c| &c.tasks))),
        (
            "Run_queue",
            "MGP",
            "u32",
            "tasks that wait to run",
            n(c.sum(|c| &c.run_queue)),
        ),
        (
            "Idle_pct",
            "MaP",
            "u32",
            "percent of time without work",
            n(100 - p.busy_percent().min(100)),
        ),
        (
            "node",
            "COS",
            "str",
            "name of this node",
            Some(p.node.clone()),
        ),
        (
            "description",
            "COS",
            "str",
            "as configured",
            generation
                .config
                .global
                .description
                .as_deref()
                .map(str::to_string),
        ),
        (
            "Stopping",
            "MGP",
            "u32",
            "1 while it ends softly",
            n(p.is_stopping().into()),
        ),
        (
            "Jobs",
            "MGP",
            "u32",
            "connections and listeners",
            n(connections + (listeners + sockets) as u64),
        ),
        (
            "Unstoppable Jobs",
            "MGP",
            "u32",
            "jobs that do not keep it from ending",
            none(),
        ),
        (
            "Listeners",
            "MGP",
            "u32",
            "listening sockets, control sockets included",
            n((listeners + sockets) as u64),
        ),
        (
            "ActivePeers",
            "MGP",
            "u32",
            "peers",
            n(linked(&|l| l != Link::None)),
        ),
        (
            "ConnectedPeers",
            "MGP",
            "u32",
            "connected peers",
            n(linked(&|l| l == Link::Established)),
        ),
        (
            "DroppedLogs",
            "MGP",
            "u32",
            "log lines that could not be sent",
            n(c.sum(|c| &c.dropped_logs)),
        ),
        (
            "BusyPolling",
            "MGP",
            "u32",
            "1 where workers never sleep",
            none(),
        ),
        (
            "FailedResolutions",
            "MGP",
            "u32",
            "names that could not be resolved",
            n(unresolved),
        ),
        (
            "TotalBytesOut",
            "MGP",
            "u64",
            "bytes sent",
            n(c.sum(|c| &c.bytes_out)),
        ),
        (
            "TotalSplicedBytesOut",
            "MGP",
            "u64",
            "bytes sent through pipes",
            n(c.sum(|c| &c.spliced_out)),
        ),
        (
            "BytesOutRate",
            "MRP",
            "u64",
            "bytes sent in the last second",
            n(c.rate(now, |c| &c.bytes_out_rate)),
        ),
        (
            "DebugCommandsIssued",
            "MGP",
            "u32",
            "debugging commands so far",
            none(),
        ),
        ("CumRecvLogs", "MCP", "u32", "log lines received", none()),
        (
            "Build info",
            "POS",
            "str",
            "its version in full",
            Some(crate::VERSION.into()),
        ),
        (
            "Memmax_bytes",
            "CLP",
            "u32",
            "limit of memory, 0 for none",
            n(p.machine.megabytes << 20),
        ),
        (
            "PoolAlloc_bytes",
            "MGP",
            "u64",
            "bytes held by pools",
            n(c.sum(|c| &c.spare_bytes)),
        ),
        (
            "PoolUsed_bytes",
            "MGP",
            "u64",
            "bytes used from pools",
            none(),
        ),
        (
            "Start_time_sec",
            "MDP",
            "u32",
            "when it started, seconds since 1970",
            Some(started),
        ),
        (
            "Tainted",
            "SGP",
            "str",
            "0 while nothing unusual was asked of it",
            none(),
        ),
    ];
    let field = |(name, tags, kind, doc, value)| {
        let field = Field {
            name,
            tags,
            kind,
            doc,
        };
        (field, value)
    };
    rows.into_iter().map(field).collect()
}

/// A field a line, with its type if asked.
pub(crate) fn text(fields: &[Known], typed: bool, desc: bool) -> String {
    let mut out = String::new();
    for (at, (field, value)) in fields.iter().enumerate() {
        let Some(value) = value else { continue };
        if typed {
            typed::typed(&mut out, "", at, field, value);
        } else {
            let _ = write!(out, "{}: {value}", field.name);
        }
        if desc {
            let _ = write!(out, ":\"{}\"", field.doc);
        }
        out.push('\n');
    }
    out
}

/// An array of fields.
pub(crate) fn json(fields: &[Known]) -> String {
    let mut out = String::from("[");
    for (at, (field, value)) in fields.iter().enumerate() {
        let Some(value) = value else { continue };
        if out.len() > 1 {
            out.push(',');
        }
        typed::json(&mut out, "", at, field, value);
    }
    out.push_str("]\n");
    out
}
