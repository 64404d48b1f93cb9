//! The table of commands.

use crate::cli::{Cli, World, help};
use crate::stat::{self, RowKind};
use model::CliLevel;
use state::health::{Change, CheckStatus};
use state::{Admin, Backend, Server, Target};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// One command.
pub struct Command {
    /// The words it begins with.
    pub words: &'static [&'static str],
    /// How it is written.
    pub usage: &'static str,
    /// One line.
    pub doc: &'static str,
    /// Who may use it.
    pub level: CliLevel,
    pub(crate) run: fn(&mut Cli, &World<'_>, &[&str]) -> String,
}

macro_rules! command {
    ($words:expr, $usage:literal, $doc:literal, $level:ident, $run:expr) => {
        Command {
            words: &$words,
            usage: $usage,
            doc: $doc,
            level: CliLevel::$level,
            run: $run,
        }
    };
}

/// All commands.
pub static COMMANDS: &[Command] = &[
    command!(
        ["clear", "counters"],
        "clear counters [all]",
        "clear max statistics counters (or all counters)",
        Operator,
        clear_counters
    ),
    command!(
        ["disable", "frontend"],
        "disable frontend <frontend>",
        "temporarily disable specific frontend",
        Admin,
        |_, w, a| frontend(w, a, |f| f.set_enabled(false))
    ),
    command!(
        ["disable", "health"],
        "disable health <bk>/<srv>",
        "disable health checks",
        Admin,
        |_, w, a| with_server(w, a, |_, s| {
            s.checks_enabled.store(false, Relaxed);
            String::new()
        })
    ),
    command!(
        ["disable", "server"],
        "disable server <bk>/<srv>",
        "disable a server for maintenance (use 'set server' instead)",
        Admin,
        |_, w, a| with_server(w, a, |b, s| {
            admin(b, s, Admin::FORCED_MAINT, true);
            String::new()
        })
    ),
    command!(
        ["enable", "frontend"],
        "enable frontend <frontend>",
        "re-enable specific frontend",
        Admin,
        |_, w, a| frontend(w, a, |f| f.set_enabled(true))
    ),
    command!(
        ["enable", "health"],
        "enable health <bk>/<srv>",
        "enable health checks",
        Admin,
        |_, w, a| with_server(w, a, |_, s| {
            s.checks_enabled.store(true, Relaxed);
            String::new()
        })
    ),
    command!(
        ["enable", "server"],
        "enable server <bk>/<srv>",
        "enable a disabled server (use 'set server' instead)",
        Admin,
        |_, w, a| with_server(w, a, |b, s| {
            ready(b, s);
            String::new()
        })
    ),
    command!(
        ["get", "weight"],
        "get weight <bk>/<srv>",
        "report a server's current weight",
        User,
        |_, w, a| with_server(w, a, |_, s| format!(
            "{} (initial {})\n",
            s.weight(),
            s.settings().weight
        ))
    ),
    command!(
        ["help"],
        "help [<command>]",
        "list matching or all commands",
        User,
        |c, _, a| help(a, c.level(), false)
    ),
    command!(
        ["operator"],
        "operator",
        "lower the level of the current CLI session to operator",
        Operator,
        |c, _, _| {
            c.lower(CliLevel::Operator);
            String::new()
        }
    ),
    command!(
        ["set", "maxconn", "frontend"],
        "set maxconn frontend <frontend> <value>",
        "change a frontend's maxconn setting",
        Admin,
        |_, w, a| match number(a.get(1)) {
            Some(n) => frontend(w, a, |f| f.set_maxconn(n)),
            None => "Integer value expected.\n".into(),
        }
    ),
    command!(
        ["set", "maxconn", "global"],
        "set maxconn global <value>",
        "change the per-process maxconn setting",
        Admin,
        |_, w, a| match number(a.first()) {
            Some(n) => {
                w.process.set_maxconn(n);
                String::new()
            }
            None => "Expects an integer value.\n".into(),
        }
    ),
    command!(
        ["set", "maxconn", "server"],
        "set maxconn server <bk>/<srv>",
        "change a server's maxconn setting",
        Admin,
        |_, w, a| match number(a.get(1)) {
            Some(n) => with_server(w, a, |b, s| {
                s.set_maxconn(n);
                b.refresh();
                String::new()
            }),
            None => "Missing maxconn value.\n".into(),
        }
    ),
    command!(
        ["set", "server"],
        "set server <bk>/<srv> [opts]",
        "change a server's state, weight, address or ssl",
        Admin,
        |_, w, a| with_server(w, a, |b, s| set_server(
            w,
            b,
            s,
            a.get(1..).unwrap_or_default()
        ))
    ),
    command!(
        ["set", "weight"],
        "set weight <bk>/<srv>  (DEPRECATED)",
        "change a server's weight (use 'set server' instead)",
        Admin,
        |_, w, a| with_server(w, a, |b, s| weight(
            b,
            s,
            a.get(1).copied().unwrap_or_default()
        ))
    ),
    command!(
        ["show", "backend"],
        "show backend",
        "list backends in the current running config",
        User,
        |_, w, _| {
            let names = w
                .generation
                .backends
                .iter()
                .map(|b| format!("{}\n", b.name));
            format!("# name\n{}", names.collect::<String>())
        }
    ),
    command!(
        ["show", "cli", "level"],
        "show cli level",
        "display the level of the current CLI session",
        User,
        |c, _, _| match c.level() {
            CliLevel::Admin => "admin\n".into(),
            CliLevel::Operator => "operator\n".into(),
            CliLevel::User => "user\n".into(),
        }
    ),
    command!(
        ["show", "env"],
        "show env [var]",
        "dump environment variables known to the process",
        Operator,
        show_env
    ),
    command!(
        ["show", "errors"],
        "show errors [<px>] [request|response]",
        "report last request and/or response errors for each proxy",
        Operator,
        |_, _, _| not_yet("show errors")
    ),
    command!(
        ["show", "info"],
        "show info [desc|json|typed|float]*",
        "report information about the running process",
        User,
        show_info
    ),
    command!(
        ["show", "servers", "state"],
        "show servers state [<backend>]",
        "dump volatile server information (all or for a single backend)",
        Operator,
        servers_state
    ),
    command!(
        ["show", "sess"],
        "show sess [id]",
        "report the list of current sessions or dump this exact session",
        Operator,
        |_, _, _| not_yet("show sess")
    ),
    command!(
        ["show", "stat"],
        "show stat [desc|json|no-maint|typed|up]*",
        "report counters for each proxy and server",
        User,
        show_stat
    ),
    command!(
        ["show", "version"],
        "show version",
        "show version of the current process",
        User,
        |_, _, _| format!("{}\n", crate::VERSION)
    ),
    command!(
        ["user"],
        "user",
        "lower the level of the current CLI session to user",
        User,
        |c, _, _| {
            c.lower(CliLevel::User);
            String::new()
        }
    ),
];

/// The answer to a command that is known and not built.
fn not_yet(name: &str) -> String {
    format!("'{name}' is a command of HAProxy that mulgil does not have yet.\n")
}

fn number(text: Option<&&str>) -> Option<u32> {
    text.and_then(|t| t.parse().ok())
}

fn frontend(w: &World<'_>, args: &[&str], f: impl FnOnce(&state::Frontend)) -> String {
    let Some(name) = args.first() else {
        return "A frontend name is expected.\n".into();
    };
    match w.generation.frontend(name) {
        Some(frontend) => {
            f(frontend);
            String::new()
        }
        None => "No such frontend.\n".into(),
    }
}

fn with_server(
    w: &World<'_>,
    args: &[&str],
    f: impl FnOnce(&Arc<Backend>, &Arc<Server>) -> String,
) -> String {
    let Some((backend, server)) = args.first().and_then(|a| a.split_once('/')) else {
        return "Require 'backend/server'.\n".into();
    };
    let Some(backend) = w.generation.backend(backend) else {
        return "No such backend.\n".into();
    };
    match backend.server(server) {
        Some(server) => f(backend, server),
        None => "No such server.\n".into(),
    }
}

fn admin(backend: &Arc<Backend>, server: &Server, flag: u8, on: bool) {
    server.change_admin(flag, on);
    backend.refresh();
}

fn ready(backend: &Arc<Backend>, server: &Server) {
    for flag in [
        Admin::FORCED_MAINT,
        Admin::CONFIGURED_MAINT,
        Admin::FORCED_DRAIN,
    ] {
        server.change_admin(flag, false);
    }
    backend.refresh();
}

fn weight(backend: &Arc<Backend>, server: &Server, text: &str) -> String {
    if text.is_empty() {
        return "Require <weight> or <weight%>.\n".into();
    }
    let value = match text.strip_suffix('%') {
        Some(percent) => match percent.parse::<u32>() {
            Ok(p) if p <= 100 => u32::from(server.settings().weight) * p / 100,
            Ok(_) => return "Relative weight must be positive.\n".into(),
            Err(_) => return "Trailing garbage in weight string.\n".into(),
        },
        None => match text.parse::<u32>() {
            Ok(n) if n <= 256 => n,
            Ok(_) => return "Absolute weight can only be between 0 and 256 inclusive.\n".into(),
            Err(_) => return "Trailing garbage in weight string.\n".into(),
        },
    };
    server.set_weight(value);
    backend.refresh();
    String::new()
}

fn set_server(w: &World<'_>, backend: &Arc<Backend>, server: &Server, args: &[&str]) -> String {
    let value = args.get(1).copied().unwrap_or_default();
    match args.first().copied().unwrap_or_default() {
        "weight" => weight(backend, server, value),
        "state" => {
            match value {
                "ready" => ready(backend, server),
                "drain" => admin(backend, server, Admin::FORCED_DRAIN, true),
                "maint" => admin(backend, server, Admin::FORCED_MAINT, true),
                _ => return "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n".into(),
            }
            String::new()
        }
        "health" => {
            let change = match value {
                "up" => Change::Up,
                "down" => Change::Down,
                "stopping" => Change::Stopping,
                _ => return "'set server <srv> health' expects 'up', 'stopping', or 'down'.\n".into(),
            };
            server.health().force(change, w.now);
            server.mirror_health();
            backend.refresh();
            String::new()
        }
        "addr" => set_address(server, backend, value, args.get(2..).unwrap_or_default()),
        _ => "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | check-addr | check-port | fqdn | health | ssl | state | weight\n".into(),
    }
}

fn set_address(server: &Server, backend: &Arc<Backend>, text: &str, rest: &[&str]) -> String {
    let Ok(ip) = text.parse::<std::net::IpAddr>() else {
        return format!("Invalid addr format detected: '{text}' is no IP address\n");
    };
    let old = server.target();
    let mut port = match old.as_deref() {
        Some(Target::Tcp { port, .. }) => *port,
        _ => model::PortSpec::None,
    };
    let old_ip = match old.as_deref() {
        Some(Target::Tcp { ip, .. }) => Some(*ip),
        _ => None,
    };
    let old_port = port;
    if let ["port", text, ..] = rest {
        match text.parse::<u16>() {
            Ok(n) if n > 0 => port = model::PortSpec::Fixed(n),
            _ => return format!("provided port '{text}' is not an integer from 1 to 65535\n"),
        }
    }
    server.set_target(Target::Tcp { ip, port });
    backend.refresh();
    let shown = |p: model::PortSpec| match p {
        model::PortSpec::Fixed(n) => n.to_string(),
        _ => "0".into(),
    };
    let mut out = match old_ip {
        Some(old) if old == ip => "no need to change the addr".to_string(),
        Some(old) => format!("IP changed from '{old}' to '{ip}'"),
        None => format!("IP changed from '(none)' to '{ip}'"),
    };
    if port != old_port {
        let _ = write!(
            out,
            ", port changed from '{}' to '{}'",
            shown(old_port),
            shown(port)
        );
    }
    out + " by 'stats socket command'\n"
}

fn clear_counters(cli: &mut Cli, w: &World<'_>, args: &[&str]) -> String {
    let all = args.first() == Some(&"all");
    if all && cli.level() < CliLevel::Admin {
        return "Permission denied\n".into();
    }
    for frontend in &w.generation.frontends {
        frontend.sessions().clear_max();
        if all {
            frontend.counters().clear();
        }
    }
    for backend in &w.generation.backends {
        backend.sessions().clear_max();
        backend.queued().clear_max();
        if all {
            backend.counters().clear();
        }
        for server in backend.servers() {
            server.sessions.clear_max();
            server.queued.clear_max();
            if all {
                server.counters.clear();
            }
        }
    }
    String::new()
}

fn show_env(_: &mut Cli, w: &World<'_>, args: &[&str]) -> String {
    match args.first() {
        None => w.env.iter().map(|(k, v)| format!("{k}={v}\n")).collect(),
        Some(name) => match w.env.iter().find(|(k, _)| k == name) {
            Some((k, v)) => format!("{k}={v}\n"),
            None => "Variable not found\n".into(),
        },
    }
}

fn show_stat(_: &mut Cli, w: &World<'_>, args: &[&str]) -> String {
    let mut rows = stat::rows(w.process, &w.generation, w.now);
    let mut words = args.iter().copied().peekable();
    // `<iid|proxy> <type> <sid>` may stand before the words; -1 is any.
    if let Some(first) = words.peek().copied()
        && !matches!(first, "typed" | "json" | "desc" | "up" | "no-maint")
    {
        words.next();
        let kinds: i64 = words.next().and_then(|t| t.parse().ok()).unwrap_or(-1);
        let sid: i64 = words.next().and_then(|t| t.parse().ok()).unwrap_or(-1);
        rows.retain(|row| {
            let proxy = first == "-1" || first == row.get("pxname") || first == row.iid.to_string();
            let bit = match row.kind {
                RowKind::Frontend => 1,
                RowKind::Backend => 2,
                RowKind::Server => 4,
            };
            let own = row.kind != RowKind::Server || sid < 0 || i64::from(row.sid) == sid;
            proxy && (kinds < 0 || kinds & bit != 0) && own
        });
    }
    let mut json = false;
    for word in words {
        match word {
            "up" => rows.retain(|r| {
                r.kind != RowKind::Server
                    || r.get("status").starts_with("UP")
                    || r.get("status") == "no check"
            }),
            "no-maint" => rows.retain(|r| r.get("status") != "MAINT"),
            "json" => json = true,
            _ => {}
        }
    }
    if json {
        return as_json(&rows);
    }
    stat::csv(&rows)
}

fn as_json(rows: &[stat::Row]) -> String {
    let escape = |t: &str| t.replace('\\', "\\\\").replace('"', "\\\"");
    let row = |r: &stat::Row| {
        let fields = stat::fields().filter(|f| !r.get(f).is_empty());
        let fields = fields.map(|f| match r.get(f).parse::<i64>() {
            Ok(n) => format!("\"{f}\":{n}"),
            Err(_) => format!("\"{f}\":\"{}\"", escape(r.get(f))),
        });
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    };
    format!("[{}]\n", rows.iter().map(row).collect::<Vec<_>>().join(","))
}

fn show_info(_: &mut Cli, w: &World<'_>, _: &[&str]) -> String {
    let p = w.process;
    let up = w.now.saturating_duration_since(p.start).as_secs();
    let now = p.millis(w.now);
    let c = &p.counters;
    let uptime = format!(
        "{}d {}h{:02}m{:02}s",
        up / 86400,
        up / 3600 % 24,
        up / 60 % 60,
        up % 60
    );
    let fields: Vec<(&str, String)> = vec![
        ("Name", "Mulgil".into()),
        ("Version", crate::VERSION.into()),
        ("Nbthread", p.workers.to_string()),
        ("Nbproc", "1".into()),
        ("Process_num", "1".into()),
        ("Pid", p.pid.to_string()),
        ("Uptime", uptime),
        ("Uptime_sec", up.to_string()),
        ("Memmax_MB", "0".into()),
        ("Ulimit-n", p.max_descriptors.to_string()),
        ("Maxsock", p.max_descriptors.to_string()),
        ("Maxconn", p.maxconn().to_string()),
        ("Hard_maxconn", p.maxconn().to_string()),
        ("CurrConns", p.connections.now().to_string()),
        ("CumConns", c.sum(|c| &c.connections).to_string()),
        ("CumReq", c.sum(|c| &c.requests).to_string()),
        ("MaxSslConns", "0".into()),
        ("CurrSslConns", "0".into()),
        ("CumSslConns", c.sum(|c| &c.ssl_connections).to_string()),
        ("ConnRate", c.rate(now, |c| &c.conn_rate).to_string()),
        ("ConnRateLimit", "0".into()),
        (
            "MaxConnRate",
            c.used().map(|c| c.conn_rate.max()).sum::<u64>().to_string(),
        ),
        ("SessRate", c.rate(now, |c| &c.sess_rate).to_string()),
        ("SessRateLimit", "0".into()),
        (
            "MaxSessRate",
            c.used().map(|c| c.sess_rate.max()).sum::<u64>().to_string(),
        ),
        ("SslRate", c.rate(now, |c| &c.ssl_rate).to_string()),
        ("Tasks", p.connections.now().to_string()),
        ("Run_queue", "0".into()),
        ("node", p.node.clone()),
        ("Stopping", u8::from(p.is_stopping()).to_string()),
        (
            "Listeners",
            w.generation
                .config
                .proxies
                .iter()
                .filter_map(|p| p.frontend.as_ref())
                .map(|f| f.binds.len())
                .sum::<usize>()
                .to_string(),
        ),
        ("TotalBytesOut", c.sum(|c| &c.bytes_out).to_string()),
        ("Build info", crate::VERSION.into()),
        ("Start_time_sec", p.started.secs.to_string()),
    ];
    let mut out = String::new();
    for (name, value) in fields {
        let _ = writeln!(out, "{name}: {value}");
    }
    if let Some(text) = &w.generation.config.global.description {
        let _ = writeln!(out, "description: {text}");
    }
    out
}

/// The numbers that `show servers state` writes for check results.
fn check_number(status: CheckStatus) -> u32 {
    match status {
        CheckStatus::Unknown => 0,
        CheckStatus::Init => 1,
        CheckStatus::Analysis => 4,
        CheckStatus::SockErr => 5,
        CheckStatus::L4Ok => 6,
        CheckStatus::L4TimeOut => 7,
        CheckStatus::L4Con => 8,
        CheckStatus::L6Ok => 9,
        CheckStatus::L6TimeOut => 10,
        CheckStatus::L6Response => 11,
        CheckStatus::L7TimeOut => 12,
        CheckStatus::L7Response => 13,
        CheckStatus::L7Ok => 15,
        CheckStatus::L7OkCond => 16,
        CheckStatus::L7Status => 17,
    }
}

fn servers_state(_: &mut Cli, w: &World<'_>, args: &[&str]) -> String {
    if let Some(name) = args.first()
        && w.generation.backend(name).is_none()
    {
        return "Can't find backend.\n".into();
    }
    let mut out = String::from(
        "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n",
    );
    for backend in &w.generation.backends {
        if args.first().is_some_and(|n| **n != *backend.name) {
            continue;
        }
        for server in backend.servers() {
            let settings = server.settings();
            let health = server.health();
            let (ip, port) = match server.target().as_deref() {
                Some(Target::Tcp {
                    ip,
                    port: model::PortSpec::Fixed(port),
                }) => (ip.to_string(), *port),
                Some(Target::Tcp { ip, .. }) => (ip.to_string(), 0),
                _ => ("-".into(), 0),
            };
            let operational = match (health.is_up(), health.is_stopping()) {
                (_, _) if server.admin().in_maintenance() => 0,
                (false, _) => 0,
                (true, true) => 3,
                (true, false) => 2,
            };
            let since = health.changed.unwrap_or(w.process.start);
            let since = w.now.saturating_duration_since(since).as_secs();
            let checked = settings.check.is_some();
            let result = match health.status {
                CheckStatus::Unknown | CheckStatus::Init => 0,
                CheckStatus::L4Ok | CheckStatus::L6Ok | CheckStatus::L7Ok => 3,
                CheckStatus::L7OkCond => 4,
                _ => 2,
            };
            let (at, _) = health.progress();
            let rise = settings.check.as_ref().map_or(2, |c| c.rise);
            let value = if health.is_up() { rise + at - 1 } else { at };
            let _ = writeln!(
                out,
                "{} {} {} {} {ip} {operational} {} {} {} {since} {} {result} {value} {} 0 0 0 {} {port} - 0 0 - - 0",
                backend.id,
                backend.name,
                server.id,
                server.name,
                server.admin().0,
                server.weight(),
                settings.weight,
                if checked {
                    check_number(health.status)
                } else {
                    1
                },
                if checked { 6 } else { 0 },
                settings.hostname.as_deref().unwrap_or("-"),
            );
        }
    }
    out
}
