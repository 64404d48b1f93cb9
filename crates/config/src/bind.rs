//! The words of a `bind` line.

use crate::address::{self, Purpose};
use crate::diag::Fault;
use crate::line::Line;
use crate::tls::{BIND_TLS_WORDS, BindDraft};
use crate::units;
use model::{Address, Bind, BindOptions, PortSpec, Transport};
use std::sync::Arc;

/// One word of a `bind` or `stats socket` line.
pub struct BindWord {
    /// The word.
    pub name: &'static str,
    /// Its arguments.
    pub args: &'static str,
    /// Arguments that are valid.
    pub example: &'static str,
    /// One line.
    pub doc: &'static str,
    parse: fn(&mut BindOptions, &Line<'_>, usize) -> Result<(), Fault>,
}

macro_rules! word {
    ($name:literal, $args:literal, $example:literal, $doc:literal, $parse:expr) => {
        BindWord {
            name: $name,
            args: $args,
            example: $example,
            doc: $doc,
            parse: $parse,
        }
    };
}

fn num(line: &Line<'_>, at: usize, least: u64, most: u64) -> Result<u32, Fault> {
    line.map(at, units::number(line.arg(at), least, most))
        .map(|n| n as u32)
}

fn text(line: &Line<'_>, at: usize, what: &str) -> Result<Arc<str>, Fault> {
    match line.arg(at) {
        "" => line.fail(
            at,
            format!("'{}' wants {what} after it", line.arg(at.saturating_sub(1))),
        ),
        text => Ok(text.into()),
    }
}

/// The name of a network namespace, which must be there.
pub fn namespace(line: &Line<'_>, at: usize) -> Result<Arc<str>, Fault> {
    let name = text(line, at, "the name of a network namespace")?;
    let folders = ["/run/netns", "/var/run/netns"];
    let mut names = folders
        .iter()
        .filter_map(|f| line.source.list(f))
        .flatten()
        .filter_map(|path| path.rsplit('/').next().map(str::to_string));
    if names.any(|n| n == *name) {
        return Ok(name);
    }
    line.fail(
        at,
        format!("there is no network namespace '{name}' on this machine: make it by 'ip netns add {name}'"),
    )
}

/// The name of a congestion control that this machine has.
pub fn congestion(line: &Line<'_>, at: usize) -> Result<Arc<str>, Fault> {
    const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let name = text(line, at, "the name of a congestion control")?;
    let Ok(list) = line.source.read(AVAILABLE) else {
        return line.fail(
            at,
            format!("'cc {name}' cannot be checked: {AVAILABLE} is not there"),
        );
    };
    let list = String::from_utf8_lossy(&list).trim().to_string();
    if list.split_whitespace().any(|n| n == &*name) {
        return Ok(name);
    }
    line.fail(
        at,
        format!("this machine has no congestion control '{name}': use one of {list}"),
    )
}

/// The word that segments of TCP are signed with, which the kernel has 80 bytes for.
pub fn signature(line: &Line<'_>, at: usize) -> Result<Arc<str>, Fault> {
    let word = text(line, at, "the word that segments are signed with")?;
    if word.len() > 80 {
        let said = format!(
            "the word after 'tcp-md5sig' has {} bytes: the kernel takes 80 at most",
            word.len()
        );
        // At the keyword: the word itself is not shown.
        return line.fail(at.saturating_sub(1), said);
    }
    Ok(word)
}

/// All words that `bind` understands. The place given to a function is that of its argument.
pub static BIND_WORDS: &[BindWord] = &[
    word!(
        "accept-netscaler-cip",
        "MAGIC",
        "305419896",
        "each connection begins with what a NetScaler tells of the client, and that with this number",
        |o, l, at| {
            o.netscaler = Some(num(l, at, 1, u32::MAX.into())?);
            Ok(())
        }
    ),
    word!(
        "accept-proxy",
        "",
        "",
        "each connection begins with a PROXY header",
        |o, _, _| {
            o.accept_proxy = true;
            Ok(())
        }
    ),
    word!(
        "backlog",
        "N",
        "1000",
        "connections that may wait to be accepted",
        |o, l, at| {
            o.backlog = Some(num(l, at, 1, 1 << 30)?);
            Ok(())
        }
    ),
    word!(
        "cc",
        "NAME",
        "reno",
        "the congestion control of its connections",
        |o, l, at| {
            o.congestion = Some(congestion(l, at)?);
            Ok(())
        }
    ),
    word!(
        "defer-accept",
        "",
        "",
        "accept only once data has come",
        |o, _, _| {
            o.defer_accept = true;
            Ok(())
        }
    ),
    word!(
        "gid",
        "N",
        "0",
        "the UNIX socket's group number",
        |o, l, at| {
            o.gid = Some(num(l, at, 0, u32::MAX.into())?);
            Ok(())
        }
    ),
    word!(
        "group",
        "NAME",
        "nogroup",
        "the UNIX socket's group",
        |o, l, at| {
            let name = text(l, at, "a group")?;
            o.gid = Some(
                l.map(
                    at,
                    l.source
                        .group(&name)
                        .ok_or_else(|| format!("there is no group '{name}' on this machine")),
                )?,
            );
            Ok(())
        }
    ),
    word!("id", "N", "7", "the listener's number", |_, l, at| num(
        l,
        at,
        1,
        u32::MAX.into()
    )
    .map(|_| ())),
    word!(
        "interface",
        "NAME",
        "lo",
        "only what arrives on this interface",
        |o, l, at| {
            o.interface = Some(text(l, at, "an interface")?);
            Ok(())
        }
    ),
    word!(
        "maxconn",
        "N",
        "500",
        "connections at a time that came in here",
        |o, l, at| {
            let most = num(l, at, 0, 1 << 30)?;
            o.maxconn = (most > 0).then_some(most);
            Ok(())
        }
    ),
    word!(
        "mode",
        "OCTAL",
        "660",
        "the UNIX socket's permissions",
        |o, l, at| {
            let mode = u32::from_str_radix(l.arg(at), 8)
                .ok()
                .filter(|m| *m <= 0o7777);
            o.mode = Some(l.map(
                at,
                mode.ok_or_else(|| format!("'{}' is no octal mode, such as 660", l.arg(at))),
            )?);
            Ok(())
        }
    ),
    word!("mss", "N", "1400", "largest TCP segment", |o, l, at| {
        let mss = l
            .arg(at)
            .parse::<i32>()
            .ok()
            .filter(|n| *n != 0 && n.abs() <= 65535);
        o.mss = Some(l.map(
            at,
            mss.ok_or_else(|| format!("'{}' is no segment size", l.arg(at))),
        )?);
        Ok(())
    }),
    word!("name", "TEXT", "web", "the listener's name", |o, l, at| {
        o.name = Some(text(l, at, "a name")?);
        Ok(())
    }),
    word!(
        "namespace",
        "NAME",
        "blue",
        "listen in this network namespace",
        |o, l, at| {
            o.namespace = Some(namespace(l, at)?);
            Ok(())
        }
    ),
    word!(
        "nice",
        "N",
        "10",
        "accepted: every connection has the same share",
        |o, l, at| {
            let nice = l.arg(at).parse::<i32>().ok().filter(|n| n.abs() <= 1024);
            o.nice = l.map(
                at,
                nice.ok_or_else(|| format!("'{}' is no number from -1024 to 1024", l.arg(at))),
            )?;
            Ok(())
        }
    ),
    word!(
        "process",
        "SET",
        "1",
        "accepted: any worker may accept",
        |o, l, at| {
            o.thread = Some(text(l, at, "a set")?);
            Ok(())
        }
    ),
    word!("proto", "NAME", "h1", "the protocol spoken", |o, l, at| {
        match l.arg(at) {
            "h1" | "none" => {
                o.proto = Some(l.arg(at).into());
                Ok(())
            }
            "tcp" => {
                o.transport = Some(Transport::Tcp);
                Ok(())
            }
            "udp" => {
                o.transport = Some(Transport::Udp);
                Ok(())
            }
            "any" => {
                o.transport = Some(Transport::Any);
                Ok(())
            }
            "h2" | "fcgi" | "quic" => l.fail(
                at,
                format!(
                    "protocol '{}' is one of HAProxy's that mulgil does not have yet",
                    l.arg(at)
                ),
            ),
            other => l.fail(
                at,
                format!("unknown protocol '{other}': use h1, or in packet mode tcp, udp or any"),
            ),
        }
    }),
    word!(
        "shards",
        "N|by-thread",
        "by-thread",
        "accepted: any worker may accept",
        |_, l, at| text(l, at, "a number").map(|_| ())
    ),
    word!(
        "tcp-md5sig",
        "WORD",
        "secret",
        "segments are signed with this word (RFC 2385), and what comes without is not heard",
        |o, l, at| {
            o.signed = Some(signature(l, at)?);
            Ok(())
        }
    ),
    word!(
        "tcp-ss",
        "0|1|2",
        "1",
        "the packet that begins a connection is saved for fc_saved_syn: 1 from IP on, 2 from the frame on",
        |o, l, at| {
            o.save_syn = num(l, at, 0, 2)? as u8;
            Ok(())
        }
    ),
    word!("tcp-ut", "TIME", "30s", "TCP user timeout", |o, l, at| {
        o.tcp_user_timeout = l.map(at, units::timeout(l.arg(at)))?;
        Ok(())
    }),
    word!("tfo", "", "", "TCP fast open", |o, _, _| {
        o.tfo = true;
        Ok(())
    }),
    word!(
        "thread",
        "SET",
        "1",
        "accepted: any worker may accept",
        |o, l, at| {
            o.thread = Some(text(l, at, "a set")?);
            Ok(())
        }
    ),
    word!(
        "transparent",
        "",
        "",
        "accept connections to addresses that are not ours",
        |o, _, _| {
            o.transparent = true;
            Ok(())
        }
    ),
    word!(
        "uid",
        "N",
        "0",
        "the UNIX socket's user number",
        |o, l, at| {
            o.uid = Some(num(l, at, 0, u32::MAX.into())?);
            Ok(())
        }
    ),
    word!(
        "user",
        "NAME",
        "nobody",
        "the UNIX socket's user",
        |o, l, at| {
            let name = text(l, at, "a user")?;
            o.uid = Some(
                l.map(
                    at,
                    l.source
                        .user(&name)
                        .ok_or_else(|| format!("there is no user '{name}' on this machine")),
                )?,
            );
            Ok(())
        }
    ),
    word!(
        "vlan",
        "N",
        "100",
        "in packet mode: the VLAN the address is in, 1 to 4094",
        |o, l, at| {
            o.vlan = Some(num(l, at, 1, 4094)? as u16);
            Ok(())
        }
    ),
    word!(
        "v4v6",
        "",
        "",
        "an IPv6 wildcard takes IPv4 too",
        |o, _, _| {
            o.v4v6 = true;
            Ok(())
        }
    ),
    word!(
        "v6only",
        "",
        "",
        "an IPv6 wildcard takes IPv6 only",
        |o, _, _| {
            o.v6only = true;
            Ok(())
        }
    ),
];

/// Reads the words from argument `at` on.
pub fn options(line: &mut Line<'_>, mut at: usize) -> Result<(BindOptions, Option<u32>), Fault> {
    let mut options = BindOptions::default();
    let mut tls = BindDraft::new(line);
    let mut id = None;
    let mut faults = Vec::new();
    while at < line.args().len() {
        if line.arg(at) == "id" {
            id = line.arg(at + 1).parse().ok();
        }
        at = match word(&mut options, &mut tls, line, at) {
            Ok(next) => next,
            Err(fault) => line.pass(at, fault, &mut faults, |w| {
                names().chain(KNOWN.lines()).any(|k| k == w)
            }),
        };
    }
    line.faults(faults)?;
    options.starttls = tls.offered();
    options.tls = tls.finish(line)?;
    Ok((options, id))
}

/// Reads the word at `at`; returns where the next one stands.
fn word(
    options: &mut BindOptions,
    tls: &mut BindDraft,
    line: &Line<'_>,
    at: usize,
) -> Result<usize, Fault> {
    let name = line.arg(at);
    if let Some(taken) = tls.word(line, at)? {
        return Ok(at + taken);
    }
    let Some(word) = BIND_WORDS.iter().find(|w| w.name == name) else {
        let of_control = crate::control::CONTROL_WORDS.iter().any(|w| w.name == name);
        let message = match of_control {
            true => format!(
                "'{name}' is for control sockets: remove it, or write it behind 'stats socket'"
            ),
            false => crate::keyword::unknown_word("bind", name, KNOWN, names()),
        };
        return line.fail(at, message);
    };
    (word.parse)(options, line, at + 1)?;
    Ok(at + 1 + usize::from(!word.args.is_empty()))
}

/// Words of HAProxy's `bind` lines, whether we have them or not.
const KNOWN: &str = include_str!("known/bind.txt");

/// The words that we have.
fn names() -> impl Iterator<Item = &'static str> {
    let names = BIND_WORDS.iter().map(|w| w.name);
    names.chain(BIND_TLS_WORDS.iter().map(|w| w.name))
}

/// Reads `bind ADDRESS[,ADDRESS]* [words]`; a range becomes one bind a port. The first has the `id`
/// given, all others have none yet (0).
pub fn parse(line: &mut Line<'_>) -> Result<Vec<Bind>, Fault> {
    let list = line.arg(0);
    if list.is_empty() {
        return line.fail(0, "'bind' wants an address, such as :80 or 192.0.2.1:443");
    }
    let (mut options, id) = options(line, 1)?;
    let (prefix, common) = &line.bases.unix_bind;
    options.mode = options.mode.or(common.mode);
    options.uid = options.uid.or(common.uid);
    options.gid = options.gid.or(common.gid);
    // Every port of an address is meant by none.
    let default_port = (options.transport == Some(Transport::Any)).then_some(0);
    let options = Arc::new(options);
    let mut binds = Vec::new();
    for text in list.split(',') {
        let (address, bits) = match line.map(0, address::prefix(text))? {
            Some((ip, bits, rest)) => {
                let read = address::parse_any(rest, Purpose::Listen, Some(0), line.source);
                (of_prefix(ip, line.map(0, read)?.0), Some(bits))
            }
            None => {
                let read = address::parse_any(text, Purpose::Listen, default_port, line.source);
                (line.map(0, read)?.0, None)
            }
        };
        let mut push = |address: Address| {
            let id = id.filter(|_| binds.is_empty()).unwrap_or(0);
            binds.push(Bind {
                address,
                prefix: bits,
                options: Arc::clone(&options),
                origin: line.origin(),
                id,
            });
        };
        match address {
            Address::Inet {
                host: model::Host::Name(name),
                ..
            } => {
                return line.fail(
                    0,
                    format!("'{name}' has no address here: name an address of this machine"),
                );
            }
            Address::Inet {
                host,
                port: PortSpec::Range(first, last),
                kind,
            } => {
                for port in first..=last {
                    push(Address::Inet {
                        host: host.clone(),
                        port: PortSpec::Fixed(port),
                        kind,
                    });
                }
            }
            Address::Unix { path, kind } => push(Address::Unix {
                path: format!("{prefix}{path}").into(),
                kind,
            }),
            address => push(address),
        }
    }
    Ok(binds)
}

/// The ports of an address that was read without its host, with this one.
fn of_prefix(ip: std::net::IpAddr, ports: Address) -> Address {
    match ports {
        Address::Inet { port, kind, .. } => Address::Inet {
            host: model::Host::Ip(ip),
            port,
            kind,
        },
        other => other,
    }
}

/// Reads `unix-bind [prefix P] [mode M] [user U] [uid N] [group G] [gid N]`.
pub fn unix_bind(line: &mut Line<'_>) -> Result<(String, BindOptions), Fault> {
    let (mut prefix, mut options) = (String::new(), BindOptions::default());
    let mut at = 0;
    while at < line.args().len() {
        let name = line.arg(at);
        if name == "prefix" {
            prefix = text(line, at + 1, "the beginning of a path")?.to_string();
        } else {
            let known = UNIX_WORDS.contains(&name);
            let word = BIND_WORDS.iter().find(|w| known && w.name == name);
            let Some(word) = word else {
                let known = ["prefix"].into_iter().chain(UNIX_WORDS).collect::<Vec<_>>();
                return line.fail(at, crate::keyword::near("unix-bind word", name, &known));
            };
            (word.parse)(&mut options, line, at + 1)?;
        }
        at += 2;
    }
    Ok((prefix, options))
}

/// The words of `bind` for UNIX sockets.
const UNIX_WORDS: [&str; 5] = ["mode", "user", "uid", "group", "gid"];
