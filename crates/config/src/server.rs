//! The words of a `server` line.

use crate::address::{self, Purpose};
use crate::diag::Fault;
use crate::draft::Line;
use crate::units;
use model::{Address, Check, Host, MarkedDown, Observe, OnError, Server, SourceAddress};
use std::sync::Arc;
use std::time::Duration;

impl Default for Reading {
    fn default() -> Reading {
        Reading {
            server: blank(),
            check: Check::default(),
            checked: false,
            init_addr: None,
            shared_check: None,
        }
    }
}

/// A server before anything is said of it.
fn blank() -> Server {
    Server {
        name: "".into(),
        id: 0,
        address: Address::Fd(-1),
        hostname: None,
        weight: 1,
        backup: false,
        disabled: false,
        maxconn: 0,
        minconn: 0,
        maxqueue: 0,
        cookie: None,
        check: None,
        agent: None,
        track: None,
        tls: None,
        source: None,
        slowstart: None,
        pool_max_conn: None,
        pool_purge_delay: Duration::from_secs(5),
        max_reuse: None,
        send_proxy: false,
        send_proxy_v2: false,
        observe: None,
        error_limit: 10,
        on_error: OnError::default(),
        on_marked_down: None,
        shutdown_backup_sessions: false,
        redir: None,
        tcp_user_timeout: None,
    }
}

/// A server line being read: check timers may be set before `check` turns them on.
#[derive(Clone)]
pub struct Reading {
    server: Server,
    check: Check,
    checked: bool,
    init_addr: Option<Vec<model::InitAddr>>,
    /// The check settings of the servers before, shared by those that have the same.
    shared_check: Option<Arc<Check>>,
}

impl Reading {
    /// Lets later servers share the check settings of this one.
    pub fn share(&mut self, server: &Server) {
        self.shared_check.clone_from(&server.check);
    }
}

/// One word of a `server` or `default-server` line.
pub struct ServerWord {
    /// The word.
    pub name: &'static str,
    /// Its arguments.
    pub args: &'static str,
    /// One line.
    pub doc: &'static str,
    parse: fn(&mut Reading, &Line<'_>, usize) -> Result<(), Fault>,
}

macro_rules! word {
    ($name:literal, $args:literal, $doc:literal, $parse:expr) => {
        ServerWord {
            name: $name,
            args: $args,
            doc: $doc,
            parse: $parse,
        }
    };
}

fn num(line: &Line<'_>, at: usize, least: u64, most: u64) -> Result<u32, Fault> {
    line.map(at, units::number(line.arg(at), least, most))
        .map(|n| n as u32)
}

fn time(line: &Line<'_>, at: usize) -> Result<Duration, Fault> {
    let time = line.map(at, units::time(line.arg(at), 1_000))?;
    if time.is_zero() {
        return line.fail(at, format!("'{}' must be longer than 0", line.arg(at - 1)));
    }
    Ok(time.max(Duration::from_millis(1)))
}

/// All words that `server` understands. The place given to a function is that of its argument.
pub static SERVER_WORDS: &[ServerWord] = &[
    word!("addr", "ADDRESS", "where checks go", |r, l, at| {
        r.check.addr = Some(
            l.map(
                at,
                address::parse(l.arg(at), Purpose::Connect, None, l.source),
            )?
            .0,
        );
        Ok(())
    }),
    word!(
        "backup",
        "",
        "used only when all others are out",
        |r, _, _| {
            r.server.backup = true;
            Ok(())
        }
    ),
    word!("check", "", "check its health", |r, _, _| {
        r.checked = true;
        Ok(())
    }),
    word!(
        "cookie",
        "VALUE",
        "its name in the persistence cookie",
        |r, l, at| {
            r.server.cookie = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!("disabled", "", "starts in maintenance", |r, _, _| {
        r.server.disabled = true;
        Ok(())
    }),
    word!(
        "downinter",
        "TIME",
        "between checks while down",
        |r, l, at| {
            r.check.downinter = Some(time(l, at)?);
            Ok(())
        }
    ),
    word!("enabled", "", "does not start in maintenance", |r, _, _| {
        r.server.disabled = false;
        Ok(())
    }),
    word!("fall", "N", "bad checks until down", |r, l, at| {
        r.check.fall = num(l, at, 1, 1 << 20)?;
        Ok(())
    }),
    word!(
        "fastinter",
        "TIME",
        "between checks while in doubt",
        |r, l, at| {
            r.check.fastinter = Some(time(l, at)?);
            Ok(())
        }
    ),
    word!("id", "N", "its number in the backend", |r, l, at| {
        r.server.id = num(l, at, 1, u32::MAX.into())?;
        Ok(())
    }),
    word!(
        "init-addr",
        "METHODS",
        "how a name finds an address at start",
        |r, l, at| {
            let methods = l.arg(at).split(',').map(|m| match m {
                "last" => Ok(model::InitAddr::Last),
                "libc" => Ok(model::InitAddr::Libc),
                "none" => Ok(model::InitAddr::None),
                ip => ip.parse().map(model::InitAddr::Ip).map_err(|_| {
                    format!("'{ip}' is no init-addr method: use last, libc, none or an address")
                }),
            });
            r.init_addr = Some(l.map(at, methods.collect())?);
            Ok(())
        }
    ),
    word!("inter", "TIME", "between checks", |r, l, at| {
        r.check.inter = time(l, at)?;
        Ok(())
    }),
    word!(
        "max-reuse",
        "N",
        "requests a connection carries",
        |r, l, at| {
            r.server.max_reuse = if l.arg(at) == "-1" {
                None
            } else {
                Some(num(l, at, 0, 1 << 30)?)
            };
            Ok(())
        }
    ),
    word!(
        "maxconn",
        "N",
        "sessions at a time; others wait",
        |r, l, at| {
            r.server.maxconn = num(l, at, 0, 1 << 30)?;
            Ok(())
        }
    ),
    word!("no-check", "", "do not check its health", |r, _, _| {
        r.checked = false;
        Ok(())
    }),
    word!(
        "maxqueue",
        "N",
        "most that wait for it alone",
        |r, l, at| {
            r.server.maxqueue = num(l, at, 0, 1 << 30)?;
            Ok(())
        }
    ),
    word!(
        "minconn",
        "N",
        "the limit that grows to maxconn with the load",
        |r, l, at| {
            r.server.minconn = num(l, at, 0, 1 << 30)?;
            Ok(())
        }
    ),
    word!("no-backup", "", "not a backup", |r, _, _| {
        r.server.backup = false;
        Ok(())
    }),
    word!("observe", "LAYER", "learn from traffic", |r, l, at| {
        r.server.observe = Some(match l.arg(at) {
            "layer4" => Observe::Layer4,
            "layer7" => Observe::Layer7,
            other => {
                return l.fail(
                    at,
                    crate::keyword::near("layer", other, &["layer4", "layer7"]),
                );
            }
        });
        Ok(())
    }),
    word!(
        "error-limit",
        "N",
        "errors in a row until on-error",
        |r, l, at| {
            r.server.error_limit = num(l, at, 1, 1 << 30)?;
            Ok(())
        }
    ),
    word!(
        "on-error",
        "ACTION",
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
        "shutdown-sessions: what is on it ends when it goes down",
        |r, l, at| {
            r.server.on_marked_down = match l.arg(at) {
                "shutdown-sessions" => Some(MarkedDown::ShutdownSessions),
                other => {
                    let names = ["shutdown-sessions"];
                    return l.fail(at, crate::keyword::near("action", other, &names));
                }
            };
            Ok(())
        }
    ),
    word!(
        "on-marked-up",
        "ACTION",
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
    word!(
        "pool-low-conn",
        "N",
        "accepted: each worker keeps its own connections",
        |_, l, at| num(l, at, 0, 1 << 30).map(|_| ())
    ),
    word!("pool-max-conn", "N", "idle connections kept", |r, l, at| {
        r.server.pool_max_conn = if l.arg(at) == "-1" {
            None
        } else {
            Some(num(l, at, 0, 1 << 30)?)
        };
        Ok(())
    }),
    word!(
        "pool-purge-delay",
        "TIME",
        "how long idle connections are kept",
        |r, l, at| {
            r.server.pool_purge_delay = l.map(at, units::time(l.arg(at), 1_000))?;
            Ok(())
        }
    ),
    word!("port", "N", "the port checks go to", |r, l, at| {
        r.check.port = Some(num(l, at, 1, 65535)? as u16);
        Ok(())
    }),
    word!(
        "redir",
        "PREFIX",
        "send GET and HEAD there by a 302",
        |r, l, at| {
            r.server.redir = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!("rise", "N", "good checks until up", |r, l, at| {
        r.check.rise = num(l, at, 1, 1 << 20)?;
        Ok(())
    }),
    word!(
        "slowstart",
        "TIME",
        "how long until its whole weight counts",
        |r, l, at| {
            r.server.slowstart = l.map(at, units::timeout(l.arg(at)))?;
            Ok(())
        }
    ),
    word!(
        "source",
        "ADDRESS",
        "the address connections come from",
        |r, l, at| {
            let parsed = address::parse(l.arg(at), Purpose::Connect, None, l.source);
            let ip = match l.map(at, parsed)?.0 {
                Address::Inet {
                    host: Host::Ip(ip),
                    port,
                    ..
                } => (ip, port),
                Address::Inet {
                    host: Host::Any,
                    port,
                    ..
                } => ([0, 0, 0, 0].into(), port),
                _ => return l.fail(at, "a source is an IP address"),
            };
            let port = match ip.1 {
                model::PortSpec::Fixed(p) => p,
                _ => 0,
            };
            r.server.source = Some(Arc::new(SourceAddress {
                address: (ip.0, port).into(),
                last_port: None,
                interface: None,
            }));
            Ok(())
        }
    ),
    word!("tcp-ut", "TIME", "TCP user timeout", |r, l, at| {
        r.server.tcp_user_timeout = l.map(at, units::timeout(l.arg(at)))?;
        Ok(())
    }),
    word!(
        "track",
        "[BACKEND/]SERVER",
        "its state is that server's",
        |r, l, at| {
            r.server.track = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!("weight", "N", "its share, 0 to 256", |r, l, at| {
        r.server.weight = num(l, at, 0, 256)? as u16;
        Ok(())
    }),
];

/// Reads the words from argument `at` on, over what `from` says.
fn words(line: &Line<'_>, mut at: usize, from: &Reading) -> Result<Reading, Fault> {
    let mut reading = from.clone();
    while at < line.args().len() {
        let name = line.arg(at);
        let Some(word) = SERVER_WORDS.iter().find(|w| w.name == name) else {
            let known = include_str!("known/server.txt");
            let names = SERVER_WORDS.iter().map(|w| w.name);
            return line.fail(
                at,
                crate::keyword::unknown_word("server", name, known, names),
            );
        };
        if !word.args.is_empty() && line.arg(at + 1).is_empty() {
            return line.fail(
                at,
                format!("'{name}' wants {} after it", word.args.to_lowercase()),
            );
        }
        (word.parse)(&mut reading, line, at + 1)?;
        at += 1 + usize::from(!word.args.is_empty());
    }
    Ok(reading)
}

/// Reads a `default-server` line.
pub fn default_server(line: &Line<'_>, from: &Reading) -> Result<Reading, Fault> {
    words(line, 0, from)
}

/// Reads a `server` line.
pub fn server(line: &Line<'_>, from: &Reading) -> Result<Server, Fault> {
    let name = line.arg(0);
    if name.is_empty() {
        return line.fail(0, "'server' wants <name> <address>[:<port>]");
    }
    if line.arg(1).is_empty() {
        return line.fail(0, "'server' wants <name> <address>[:<port>], but has only a name: add an address, for example 10.0.0.7:80");
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if let Some(bad) = name.chars().find(|c| !valid(*c)) {
        return line.fail(
            0,
            format!(
                "server name '{name}' has a '{bad}': use letters, digits, '-', '_', '.' and ':'"
            ),
        );
    }
    let (address, hostname) = line.map(
        1,
        address::parse(line.arg(1), Purpose::Connect, None, line.source),
    )?;
    let reading = words(line, 2, from)?;
    let mut server = reading.server;
    // A limit that grows has nowhere to grow to: it stays (manual, `minconn`).
    server.maxconn = server.maxconn.max(server.minconn);
    server.name = name.into();
    server.hostname = hostname.map(Into::into);
    server.address = start_address(line, address, reading.init_addr.as_deref())?;
    server.check = reading.checked.then(|| match &from.shared_check {
        Some(shared) if **shared == reading.check => Arc::clone(shared),
        _ => Arc::new(reading.check),
    });
    Ok(server)
}

/// What `init-addr` makes of a name that was or was not resolved.
fn start_address(
    line: &Line<'_>,
    address: Address,
    methods: Option<&[model::InitAddr]>,
) -> Result<Address, Fault> {
    let Address::Inet {
        host: Host::Name(name),
        port,
        kind,
    } = address
    else {
        return Ok(address);
    };
    for method in methods.unwrap_or(&[model::InitAddr::Last, model::InitAddr::Libc]) {
        match method {
            model::InitAddr::None => {
                return Ok(Address::Inet {
                    host: Host::Name(name),
                    port,
                    kind,
                });
            }
            model::InitAddr::Ip(ip) => {
                return Ok(Address::Inet {
                    host: Host::Ip(*ip),
                    port,
                    kind,
                });
            }
            model::InitAddr::Last | model::InitAddr::Libc => {}
        }
    }
    line.fail(1, format!("could not resolve address '{name}': name an address, or start without one by 'init-addr last,libc,none'"))
}
