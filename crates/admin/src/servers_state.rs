//! What is known of the servers, as `show servers state` writes it and state files are read
//! (management.txt, `show servers state`; configuration.txt, `load-server-state-from-file`).

use model::PortSpec;
use state::health::{Change, CheckStatus, Outcome};
use state::{Admin, Backend, Generation, Process, Server, Target};
use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

const FIELDS: &str = "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port";

/// Bits of `srv_check_state` and `srv_agent_state`.
const CONFIGURED: u8 = 2;
const ENABLED: u8 = 4;
const PAUSED: u8 = 8;
const AGENT: u8 = 16;

/// The numbers of check results.
fn check_number(status: CheckStatus) -> u32 {
    match status {
        CheckStatus::Unknown | CheckStatus::Init => 1,
        CheckStatus::Checked => 3,
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
        CheckStatus::ProcErr => 18,
        CheckStatus::ProcTimeOut => 19,
        CheckStatus::ProcOk => 20,
    }
}

/// A server's address and port, or what is added to the client's, as these dumps show them.
pub(crate) fn address(server: &Server) -> (String, i32) {
    match server.target().as_deref() {
        Some(Target::Tcp {
            ip,
            port: PortSpec::Fixed(port),
        }) => (ip.to_string(), i32::from(*port)),
        Some(Target::Tcp {
            ip,
            port: PortSpec::Offset(offset),
        }) => (ip.to_string(), *offset),
        Some(Target::Tcp { ip, .. }) => (ip.to_string(), 0),
        Some(_) => ("-".into(), 0),
        None => match server.port() {
            PortSpec::Fixed(port) => ("-".into(), i32::from(port)),
            PortSpec::Offset(offset) => ("-".into(), offset),
            _ => ("-".into(), 0),
        },
    }
}

/// The bits of `srv_admin_state`. That the file disables a server stays a fact when an operator
/// enables it.
fn admin_bits(server: &Server) -> u8 {
    let admin = server.admin();
    let inherited = admin.0 & (Admin::INHERITED_MAINT | Admin::INHERITED_DRAIN | Admin::UNRESOLVED);
    let forced = admin.0 & (Admin::FORCED_MAINT | Admin::CONFIGURED_MAINT) != 0;
    let maintenance = if forced { Admin::FORCED_MAINT } else { 0 };
    let named = match server.given() {
        Some(_) => NAMED_WHILE_RUNNING,
        None => 0,
    };
    let added = server.added.load(Relaxed);
    let configured = match server.settings().disabled && !added {
        true => Admin::CONFIGURED_MAINT,
        false => 0,
    };
    maintenance | configured | inherited | named | admin.0 & Admin::FORCED_DRAIN
}

/// The bit of a name that the file does not have.
const NAMED_WHILE_RUNNING: u8 = 1 << 6;

/// The dump of all backends, or of one.
pub(crate) fn dump(
    process: &Process,
    generation: &Generation,
    only: Option<&str>,
    now: Instant,
) -> String {
    let mut out = format!("1\n# {FIELDS}\n");
    for backend in &generation.backends {
        if only.is_some_and(|n| *n != *backend.name) {
            continue;
        }
        for server in backend.servers() {
            line(process, backend, server, now, &mut out);
        }
    }
    out
}

fn line(process: &Process, backend: &Backend, server: &Server, now: Instant, out: &mut String) {
    let settings = server.settings();
    let health = server.health();
    let (ip, port) = address(server);
    let operational = match (health.is_up(), health.is_stopping()) {
        _ if server.admin().in_maintenance() => 0,
        (false, _) => 0,
        (true, true) => 3,
        (true, false) => 2,
    };
    let since = health.changed.unwrap_or(process.start);
    let since = now.saturating_duration_since(since).as_secs();
    let result = match health.last.status.outcome() {
        _ if settings.check.is_none() => 0,
        Outcome::Neutral => 0,
        Outcome::Passed => 3,
        Outcome::Conditional => 4,
        Outcome::Failed => 2,
    };
    let maintained = server.admin().in_maintenance();
    let value = match &settings.check {
        Some(_) if maintained => 0,
        Some(_) => health.counter(),
        None if operational == 0 => 0,
        None => 2,
    };
    let checking = settings.check.is_some();
    // Before it is enabled, a server that was added has no checks that could pause.
    let paused = match server.added.load(Relaxed) {
        true => checking && server.admin().0 & Admin::CONFIGURED_MAINT == 0,
        false => checking || settings.disabled,
    };
    let bit = |bit: u8, on: bool| if on { bit } else { 0 };
    let check_state = bit(CONFIGURED, checking)
        | bit(ENABLED, server.has_check())
        | bit(PAUSED, maintained && paused);
    let agent_state = match settings.agent.is_some() {
        true => CONFIGURED | AGENT | bit(ENABLED, server.has_agent()),
        false => 0,
    };
    let check = settings.check.as_deref();
    let _ = writeln!(
        out,
        "{} {} {} {} {ip} {operational} {} {} {} {since} {} {result} {value} {check_state} {agent_state} 0 0 {} {port} {} {} {} {} {} {}",
        backend.id,
        backend.name,
        server.id,
        server.name,
        admin_bits(server),
        server.weight(),
        settings.weight,
        check_number(health.last.status),
        server.hostname().as_deref().unwrap_or("-"),
        server.service().as_deref().unwrap_or("-"),
        u8::from(settings.tls.is_some()),
        check.and_then(|c| c.port).unwrap_or(0),
        ip_of(check.and_then(|c| c.addr.as_ref())),
        ip_of(settings.agent.as_ref().and_then(|a| a.addr.as_ref())),
        settings.agent.as_ref().map_or(0, |a| a.port),
    );
}

/// The IP address of a check, `-` where it has none of its own.
fn ip_of(address: Option<&model::Address>) -> String {
    match address {
        Some(model::Address::Inet {
            host: model::Host::Ip(ip),
            ..
        }) => ip.to_string(),
        _ => "-".into(),
    }
}

/// Takes what a state file says of the servers of these backends. Lines of what is not there (any
/// more) mean nothing; a server that has another address now keeps only its weight and
/// administrative state. Says what could not be read.
pub fn restore(text: &str, backends: &[Arc<Backend>], now: Instant) -> Vec<String> {
    let mut faults = Vec::new();
    let mut lines = text.lines();
    if lines.next().map(str::trim) != Some("1") {
        return vec!["the file of server states does not begin with its version, 1".into()];
    }
    let mut names: Vec<&str> = FIELDS.split(' ').collect();
    let by_name: HashMap<&str, &Arc<Backend>> = backends.iter().map(|b| (&*b.name, b)).collect();
    let mut changed = HashMap::new();
    for line in lines {
        if let Some(header) = line.strip_prefix('#') {
            names = header.split_whitespace().collect();
            continue;
        }
        let values: Vec<&str> = line.split_whitespace().collect();
        let field = |name: &str| {
            let at = names.iter().position(|n| *n == name)?;
            values.get(at).copied()
        };
        let (Some(backend), Some(server)) = (field("be_name"), field("srv_name")) else {
            if !values.is_empty() {
                faults.push(format!("'{line}' names no server"));
            }
            continue;
        };
        let Some(backend) = by_name.get(backend) else {
            continue;
        };
        if let Some(server) = backend.server(server) {
            take(server, &field, now);
            changed.insert(backend.id, backend);
        }
    }
    changed.values().for_each(|backend| backend.refresh());
    faults
}

fn take<'a>(server: &Server, field: &dyn Fn(&str) -> Option<&'a str>, now: Instant) {
    let number = |name: &str| field(name).and_then(|t| t.parse::<u32>().ok());
    let settings = server.settings();
    // A weight that the file has changed since is the operator's latest word.
    if let (Some(weight), Some(initial)) = (number("srv_uweight"), number("srv_iweight"))
        && initial == u32::from(settings.weight)
        && weight <= 256
    {
        server.set_weight(weight);
    }
    if let Some(bits) = number("srv_admin_state").and_then(|n| u8::try_from(n).ok()) {
        let forced = bits & Admin::FORCED_MAINT != 0;
        let configured = bits & Admin::CONFIGURED_MAINT != 0;
        // Where the file had disabled it, the file of now has the word, unless an operator had
        // enabled it.
        server.change_admin(Admin::FORCED_MAINT, forced && !configured);
        if configured && !forced {
            server.change_admin(Admin::CONFIGURED_MAINT, false);
        }
        server.change_admin(Admin::FORCED_DRAIN, bits & Admin::FORCED_DRAIN != 0);
    }
    let ip = field("srv_addr").and_then(|t| t.parse::<IpAddr>().ok());
    let port = number("srv_port").and_then(|n| u16::try_from(n).ok());
    if let Some(Target::Tcp {
        ip: own,
        port: own_port,
    }) = server.target().as_deref()
        && let Some(ip) = ip
        && settings.hostname.is_some()
        && *own != ip
    {
        // A name may have other addresses by now: the one that was in use goes on.
        server.set_target(Target::Tcp {
            ip,
            port: *own_port,
        });
    }
    let same = match server.target().as_deref() {
        Some(Target::Tcp {
            ip: own,
            port: PortSpec::Fixed(own_port),
        }) => Some(*own) == ip && Some(*own_port) == port,
        Some(Target::Tcp { ip: own, .. }) => Some(*own) == ip,
        _ => false,
    };
    if same && settings.check.is_some() {
        let change = match number("srv_op_state") {
            Some(0) if number("srv_admin_state") == Some(0) => Some(Change::Down),
            Some(3) => Some(Change::Stopping),
            _ => None,
        };
        if let Some(change) = change {
            server.health().force(change, now);
        }
        if number("srv_op_state") == Some(2) {
            server.health().go_on();
        }
        server.mirror_health();
    }
}
