//! The words of a `server` line about its health: checks, the agent, what traffic tells.

use super::{ServerWord, num, time};
use crate::address::{self, Purpose};
use crate::diag::Fault;
use crate::line::Line;
use model::{Address, Host, InitState, MarkedDown, Observe, OnError, PortSpec};

/// Where checks go; a name must have an address by now.
fn place(line: &Line<'_>, at: usize) -> Result<Address, Fault> {
    let parsed = address::parse(line.arg(at), Purpose::Connect, None, line.source);
    match line.map(at, parsed)?.0 {
        Address::Inet {
            host: Host::Name(name),
            ..
        } => line.fail(
            at,
            format!("'{name}' has no address here: name an IP address"),
        ),
        address => Ok(address),
    }
}

/// Where an agent is: an IP address, for its port has a word of its own.
fn agent_place(line: &Line<'_>, at: usize) -> Result<Address, Fault> {
    match place(line, at)? {
        address @ Address::Inet {
            port: PortSpec::None,
            ..
        } => Ok(address),
        _ => line.fail(
            at,
            format!(
                "'{}' is no plain address: name an IP address here and the port by agent-port",
                line.arg(at)
            ),
        ),
    }
}

/// Words about health. The place given to a function is that of its argument.
pub static SERVER_CHECK_WORDS: &[ServerWord] = &[
    word!(
        "addr",
        "ADDRESS",
        "127.0.0.1",
        "where checks go",
        |r, l, at| {
            r.check.addr = Some(place(l, at)?);
            Ok(())
        }
    ),
    word!(
        "agent-addr",
        "ADDRESS",
        "127.0.0.1",
        "where its agent is",
        |r, l, at| {
            r.agent.addr = Some(agent_place(l, at)?);
            Ok(())
        }
    ),
    word!(
        "agent-check",
        "",
        "",
        "ask an agent on it for weight and state",
        |r, _, _| {
            // The port may come later in the line: it is looked for when the line is over.
            r.agent.wanted = true;
            Ok(())
        }
    ),
    word!(
        "agent-inter",
        "TIME",
        "5s",
        "between two questions to its agent",
        |r, l, at| {
            r.agent.inter = Some(time(l, at)?);
            Ok(())
        }
    ),
    word!(
        "agent-port",
        "N",
        "9777",
        "the port of its agent",
        |r, l, at| {
            r.agent.port = Some(num(l, at, 1, 65535)? as u16);
            Ok(())
        }
    ),
    word!(
        "agent-send",
        "TEXT",
        "app",
        "what its agent is sent",
        |r, l, at| {
            r.agent.send = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!("check", "", "", "check its health", |r, _, _| {
        r.checked = true;
        Ok(())
    }),
    word!(
        "downinter",
        "TIME",
        "5s",
        "between checks while down",
        |r, l, at| {
            r.check.downinter = Some(time(l, at)?);
            Ok(())
        }
    ),
    word!("fall", "N", "3", "bad checks until down", |r, l, at| {
        r.check.fall = num(l, at, 1, 1 << 20)?;
        Ok(())
    }),
    word!(
        "fastinter",
        "TIME",
        "500ms",
        "between checks while in doubt",
        |r, l, at| {
            r.check.fastinter = Some(time(l, at)?);
            Ok(())
        }
    ),
    word!(
        "init-state",
        "STATE",
        "fully-down",
        "what it counts as before its first check: fully-up, up, down or fully-down",
        |r, l, at| {
            r.check.init = match l.arg(at) {
                "fully-up" => InitState::FullyUp,
                "up" => InitState::Up,
                "down" => InitState::Down,
                "fully-down" => InitState::FullyDown,
                other => {
                    let names = ["fully-up", "up", "down", "fully-down"];
                    return l.fail(at, crate::keyword::near("state", other, &names));
                }
            };
            Ok(())
        }
    ),
    word!("inter", "TIME", "2s", "between checks", |r, l, at| {
        r.check.inter = time(l, at)?;
        Ok(())
    }),
    word!(
        "no-agent-check",
        "",
        "",
        "do not ask an agent",
        |r, _, _| {
            r.agent.wanted = false;
            Ok(())
        }
    ),
    word!("no-check", "", "", "do not check its health", |r, _, _| {
        r.checked = false;
        Ok(())
    }),
    word!(
        "observe",
        "LAYER",
        "layer7",
        "learn from traffic",
        |r, l, at| {
            r.server.observe = match l.arg(at) {
                "none" => None,
                "layer4" => Some(Observe::Layer4),
                "layer7" => Some(Observe::Layer7),
                other => {
                    let names = ["none", "layer4", "layer7"];
                    return l.fail(at, crate::keyword::near("layer", other, &names));
                }
            };
            Ok(())
        }
    ),
    word!(
        "error-limit",
        "N",
        "10",
        "errors in a row until on-error",
        |r, l, at| {
            r.server.error_limit = num(l, at, 1, 1 << 30)?;
            Ok(())
        }
    ),
    word!(
        "on-error",
        "ACTION",
        "mark-down",
        "what error-limit brings about",
        |r, l, at| {
            r.server.on_error = match l.arg(at) {
                "fastinter" => OnError::FastInter,
                "fail-check" => OnError::FailCheck,
                "sudden-death" => OnError::SuddenDeath,
                "mark-down" => OnError::MarkDown,
                other => {
                    let names = ["fastinter", "fail-check", "sudden-death", "mark-down"];
                    return l.fail(at, crate::keyword::near("action", other, &names));
                }
            };
            Ok(())
        }
    ),
    word!(
        "on-marked-down",
        "ACTION",
        "shutdown-sessions",
        "shutdown-sessions: what is on it ends when it goes down; drain (mode packet): TCP sessions go on",
        |r, l, at| {
            r.server.on_marked_down = match l.arg(at) {
                "shutdown-sessions" => Some(MarkedDown::ShutdownSessions),
                "drain" => Some(MarkedDown::Drain),
                other => {
                    let names = ["shutdown-sessions", "drain"];
                    return l.fail(at, crate::keyword::near("action", other, &names));
                }
            };
            Ok(())
        }
    ),
    word!(
        "on-marked-up",
        "ACTION",
        "shutdown-backup-sessions",
        "shutdown-backup-sessions: what is on backups ends when it comes up",
        |r, l, at| {
            match l.arg(at) {
                "shutdown-backup-sessions" => r.server.shutdown_backup_sessions = true,
                other => {
                    let names = ["shutdown-backup-sessions"];
                    return l.fail(at, crate::keyword::near("action", other, &names));
                }
            }
            Ok(())
        }
    ),
    word!("port", "N", "8081", "the port checks go to", |r, l, at| {
        r.check.port = Some(num(l, at, 1, 65535)? as u16);
        Ok(())
    }),
    word!(
        "check-deadline",
        "TIME",
        "30s",
        "down after so long without a good check, whatever fall says",
        |r, l, at| {
            r.check.deadline = Some(time(l, at)?);
            Ok(())
        }
    ),
    word!(
        "check-send-proxy",
        "",
        "",
        "checks begin with a PROXY header, too",
        |r, _, _| {
            r.check_send_proxy = true;
            Ok(())
        }
    ),
    word!(
        "no-check-send-proxy",
        "",
        "",
        "checks begin with a PROXY header where the traffic does",
        |r, _, _| {
            r.check_send_proxy = false;
            Ok(())
        }
    ),
    word!(
        "check-via-socks4",
        "",
        "",
        "checks go through its SOCKS proxy, too",
        |r, _, _| {
            r.check.via_socks4 = true;
            Ok(())
        }
    ),
    word!("rise", "N", "2", "good checks until up", |r, l, at| {
        r.check.rise = num(l, at, 1, 1 << 20)?;
        Ok(())
    }),
    word!(
        "track",
        "[BACKEND/]SERVER",
        "app/one",
        "its state is that server's",
        |r, l, at| {
            r.server.track = Some(l.arg(at).into());
            Ok(())
        }
    ),
];
