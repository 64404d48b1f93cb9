//! `set server` and what shares its parts.

use crate::cli::{Grave, Said, World};
use model::{Address, AgentCheck, Check, Host, PortSpec, SocketKind};
use state::health::Change;
use state::names::Given;
use state::news::{Cause, Standing};
use state::{Admin, Backend, Process, Server, Target};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Changes a server as an operator says, and has it told.
pub(crate) fn change(
    process: &Process,
    backend: &Arc<Backend>,
    server: &Server,
    now: Instant,
    change: impl FnOnce(&Server),
) {
    let before = Standing::of(backend, server);
    change(server);
    process.changed(backend, server, before, Cause::Cli, now);
}

/// Maintenance (`set server … state maint`).
pub(crate) fn maintain(process: &Process, backend: &Arc<Backend>, server: &Server, now: Instant) {
    change(process, backend, server, now, |s| {
        s.administer(Admin::FORCED_DRAIN, false, now);
        s.administer(Admin::FORCED_MAINT, true, now);
    });
}

/// No new sessions (`set server … state drain`).
pub(crate) fn drain(process: &Process, backend: &Arc<Backend>, server: &Server, now: Instant) {
    change(process, backend, server, now, |s| {
        s.make_ready(now);
        s.administer(Admin::FORCED_DRAIN, true, now);
    });
}

/// Neither (`set server … state ready`).
pub(crate) fn ready(process: &Process, backend: &Arc<Backend>, server: &Server, now: Instant) {
    change(process, backend, server, now, |s| s.make_ready(now));
}

/// The weight that `text` means for a server of this initial weight.
fn weight(text: &str, initial: u32) -> Result<u32, Said> {
    let absolute = || Said::fault("Absolute weight can only be between 0 and 256 inclusive.");
    let (digits, percent) = match text.strip_suffix('%') {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    let end = digits
        .bytes()
        .enumerate()
        .take_while(|(i, b)| b.is_ascii_digit() || *i == 0 && *b == b'-')
        .count();
    if text.is_empty() {
        return Err(Said::fault("Require <weight> or <weight%>."));
    }
    if end == 0 || digits == "-" {
        return Err(Said::close_fault(
            "Empty weight string empty or preceded by garbage",
        ));
    }
    if end < digits.len() {
        return Err(Said::close_fault("Trailing garbage in weight string"));
    }
    let value: i64 = digits.parse().map_err(|_| absolute())?;
    if percent {
        if value < 0 {
            return Err(Said::fault("Relative weight must be positive."));
        }
        let share = i64::from(initial).saturating_mul(value) / 100;
        return Ok(u32::try_from(share.min(256)).unwrap_or(256));
    }
    u32::try_from(value)
        .ok()
        .filter(|n| *n <= 256)
        .ok_or_else(absolute)
}

pub(super) fn set_weight(
    w: &World<'_>,
    backend: &Arc<Backend>,
    server: &Server,
    text: &str,
) -> Said {
    let initial = u32::from(server.settings().weight);
    match weight(text, initial) {
        Ok(value) if backend.weights_stay() && value != 0 && value != initial => Said::fault(
            "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.",
        ),
        Ok(value) => {
            change(w.process, backend, server, w.now, |s| s.set_weight(value));
            Said::nothing()
        }
        Err(fault) => fault,
    }
}

const USAGE: &str = "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | \
                     agent-send | check-addr | check-port | fqdn | health | ssl | state | weight";

pub(super) fn set_server(
    w: &World<'_>,
    backend: &Arc<Backend>,
    server: &Server,
    args: &[&str],
) -> Said {
    let value = args.get(1).copied().unwrap_or_default();
    let rest = args.get(2..).unwrap_or_default();
    match args.first().copied().unwrap_or_default() {
        "weight" => return set_weight(w, backend, server, value),
        "state" => match value {
            "ready" => ready(w.process, backend, server, w.now),
            "drain" => drain(w.process, backend, server, w.now),
            "maint" => maintain(w.process, backend, server, w.now),
            _ => {
                return Said::fault(
                    "'set server <srv> state' expects 'ready', 'drain' and 'maint'.",
                );
            }
        },
        "health" if server.settings().track.is_some() => {
            return Said::fault("cannot change health on a tracking server.");
        }
        "health" => {
            let to = match value {
                "up" => Change::Up,
                "down" => Change::Down,
                "stopping" => Change::Stopping,
                _ => {
                    return Said::fault(
                        "'set server <srv> health' expects 'up', 'stopping', or 'down'.",
                    );
                }
            };
            change(w.process, backend, server, w.now, |s| {
                s.health().force(to, w.now);
            });
        }
        "addr" if value.is_empty() => {
            return Said::fault(
                "set server <b>/<s> addr requires an address and optionally a port.",
            );
        }
        "addr" => return set_address(w, server, backend, value, rest),
        "check-addr" if value.is_empty() => {
            return Said::fault(
                "set server <b>/<s> check-addr requires an address and optionally a port.",
            );
        }
        "check-addr" => return set_check_address(server, value, rest),
        "check-port" if value.is_empty() => {
            return Said::fault("set server <b>/<s> check-port requires a port.");
        }
        "check-port" => return set_check_port(server, value),
        "agent" if !server.has_agent() => return no_agent(true),
        "agent" => {
            let down = match value {
                "up" => false,
                "down" => true,
                _ => return Said::fault("'set server <srv> agent' expects 'up' or 'down'."),
            };
            change(w.process, backend, server, w.now, |s| {
                s.health().force_agent(down, w.now);
            });
        }
        "agent-send" if !server.has_agent() => return no_agent(true),
        "agent-send" => change_agent(server, |agent| agent.send = Some(value.into())),
        "agent-addr" if value.is_empty() => {
            return Said::fault(
                "set server <b>/<s> agent-addr requires an address and optionally a port.",
            );
        }
        "agent-port" if value.is_empty() => {
            return Said::fault("set server <b>/<s> agent-port requires a port.");
        }
        "agent-addr" | "agent-port" if !server.has_agent() => return no_agent(false),
        "agent-addr" => return set_agent_address(server, value, rest),
        "agent-port" => match check_port(value) {
            Ok(port) => change_agent(server, |agent| agent.port = port),
            Err(fault) => return fault,
        },
        "fqdn" if value.is_empty() => {
            return Said::fault("set server <b>/<s> fqdn requires a FQDN.");
        }
        "fqdn" => return set_hostname(server, backend, value),
        "ssl" => return set_tls(server, value),
        _ => return Said::fault(USAGE),
    }
    Said::nothing()
}

/// Turns TLS to a server on or off, where it is known how.
fn set_tls(server: &Server, value: &str) -> Said {
    let on = match value {
        "on" => true,
        "off" => false,
        _ => return Said::fault("'set server <srv> ssl' expects 'on' or 'off'."),
    };
    if server.settings().tls_known.is_none() {
        return Said::fault(
            "'set server <srv> ssl' cannot be set.  default-server should define ssl settings",
        );
    }
    server.change_settings(|s| s.tls = s.tls_known.clone().filter(|_| on));
    Said::message(Grave::Notice, "server ssl setting updated.")
}

fn no_agent(stop: bool) -> Said {
    if stop {
        Said::fault("agent checks are not enabled on this server.")
    } else {
        Said::close_fault("agent checks are not enabled on this server")
    }
}

/// Changes how a server's agent is asked.
fn change_agent(server: &Server, change: impl Fn(&mut AgentCheck)) {
    server.change_settings(|settings| {
        if let Some(agent) = &mut settings.agent {
            change(Arc::make_mut(agent));
        }
    });
}

fn set_agent_address(server: &Server, text: &str, rest: &[&str]) -> Said {
    let (address, port) = match new_place(text, rest) {
        Ok(place) => place,
        Err(fault) => return fault,
    };
    change_agent(server, |agent| {
        agent.addr = Some(address.clone());
        agent.port = port.unwrap_or(agent.port);
    });
    Said::nothing()
}

/// Changes a server's check, or says that there is none.
fn change_check(server: &Server, change: impl Fn(&mut Check)) -> Said {
    if server.settings().check.is_none() {
        return Said::close_fault("health checks are not enabled on this server");
    }
    server.change_settings(|settings| {
        if let Some(check) = &mut settings.check {
            change(Arc::make_mut(check));
        }
    });
    Said::nothing()
}

fn check_port(text: &str) -> Result<u16, Said> {
    match text.parse::<i64>() {
        Ok(n) => match u16::try_from(n) {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(Said::close_fault("provided port is invalid")),
        },
        Err(_) => Err(Said::close_fault("provided port is not an integer")),
    }
}

fn set_check_port(server: &Server, text: &str) -> Said {
    match check_port(text) {
        Ok(port) => change_check(server, |check| check.port = Some(port)),
        Err(fault) => fault,
    }
}

/// `ADDRESS [port PORT]`.
fn new_place(text: &str, rest: &[&str]) -> Result<(Address, Option<u16>), Said> {
    let ip: IpAddr = text
        .parse()
        .map_err(|_| Said::close_fault(format!("invalid addr '{text}'")))?;
    let port = match rest {
        ["port", given @ ..] => Some(check_port(given.first().unwrap_or(&""))?),
        _ => None,
    };
    let address = Address::Inet {
        host: Host::Ip(ip),
        port: PortSpec::None,
        kind: SocketKind::Stream,
    };
    Ok((address, port))
}

fn set_check_address(server: &Server, text: &str, rest: &[&str]) -> Said {
    match new_place(text, rest) {
        Ok((address, port)) => change_check(server, |check| {
            check.addr = Some(address.clone());
            check.port = port.or(check.port);
        }),
        Err(fault) => fault,
    }
}

/// A port as `server` lines write it: a number, or one added to the client's.
fn port_spec(text: &str) -> Option<PortSpec> {
    if text.starts_with(['+', '-']) {
        let offset: i32 = text.parse().ok()?;
        return (offset.unsigned_abs() <= 65535).then_some(PortSpec::Offset(offset));
    }
    let port: u16 = text.parse().ok()?;
    (port > 0).then_some(PortSpec::Fixed(port))
}

fn shown(port: PortSpec) -> String {
    match port {
        PortSpec::Fixed(n) | PortSpec::Range(n, _) => n.to_string(),
        PortSpec::Offset(n) => format!("{n:+}"),
        PortSpec::None => "0".into(),
    }
}

const BY: &str = "by 'stats socket command'";

/// `set server … fqdn`: another name, which is resolved from now on.
fn set_hostname(server: &Server, backend: &Backend, name: &str) -> Said {
    if server.settings().resolution.is_none() {
        return Said::fault("set server <b>/<s> fqdn failed because no resolution is configured.");
    }
    if server.service().is_some() {
        return Said::fault("set server <b>/<s> fqdn failed because SRV resolution is configured.");
    }
    let old = server.hostname();
    server.pin(false);
    if old.as_deref() == Some(name) {
        return Said::message(
            Grave::Warning,
            format_args!("no need to change the FDQN {BY}"),
        );
    }
    server.give(Some(Given {
        host: name.into(),
        port: None,
        addressed: false,
    }));
    Said::message(
        Grave::Warning,
        format_args!(
            "{}/{} changed its FQDN from {} to {name} {BY}",
            backend.name,
            server.name,
            old.as_deref().unwrap_or("(null)")
        ),
    )
}

/// Whether checks go to the port of the server.
fn has_no_check_port(server: &Server) -> bool {
    let settings = server.settings();
    settings.check.as_ref().is_none_or(|c| c.port.is_none())
}

fn set_address(
    w: &World<'_>,
    server: &Server,
    backend: &Arc<Backend>,
    text: &str,
    rest: &[&str],
) -> Said {
    let Ok(ip) = text.parse::<IpAddr>() else {
        return Said::fault(format_args!("Invalid addr '{text}' {BY}"));
    };
    let (old_ip, old_port) = match server.target().as_deref() {
        Some(Target::Tcp { ip, port }) => (Some(*ip), *port),
        _ => (None, server.port()),
    };
    let mut out = match old_ip {
        Some(old) if old == ip => "no need to change the addr".to_string(),
        Some(old) => format!("IP changed from '{old}' to '{ip}'"),
        None => format!("IP changed from '(none)' to '{ip}'"),
    };
    let mut port = old_port;
    if let ["port", given @ ..] = rest {
        let text = given.first().copied().unwrap_or_default();
        match port_spec(text) {
            Some(same) if same == old_port => out.push_str(", no need to change the port"),
            Some(PortSpec::Offset(_)) if has_no_check_port(server) => {
                out.push_str(", can't change <port> to port map because it is incompatible with current health check port configuration (use 'port' statement from the 'server' directive.");
            }
            Some(new) => {
                let (old, new_text) = (shown(old_port), shown(new));
                let _ = write!(out, ", port changed from '{old}' to '{new_text}'");
                port = new;
            }
            None => {
                return Said::fault(format_args!(
                    "{out}, problem converting port '{text}' to an int {BY}"
                ));
            }
        }
    }
    if old_ip != Some(ip) || port != old_port {
        server.pin(true);
        server.set_target(Target::Tcp { ip, port });
        server.administer(Admin::UNRESOLVED, false, w.now);
        backend.refresh();
        w.process.follow(server, w.now);
    }
    Said::message(Grave::Warning, format_args!("{out} {BY}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_absolute_or_a_share_of_the_initial_one() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("256", Some(256)),
            ("257", None),
            ("-1", None),
            ("50%", Some(5)),
            ("200%", Some(20)),
            ("99999%", Some(256)),
            ("-5%", None),
            ("", None),
            ("x", None),
            ("5x", None),
            ("%", None),
            ("-", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(weight(text, 10).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn a_port_is_a_number_or_an_offset() {
        assert_eq!(port_spec("80"), Some(PortSpec::Fixed(80)));
        assert_eq!(port_spec("+1"), Some(PortSpec::Offset(1)));
        assert_eq!(shown(PortSpec::Offset(-3)), "-3");
        for bad in ["0", "65536", "x", "", "+99999"] {
            assert_eq!(port_spec(bad), None, "{bad}");
        }
    }
}
