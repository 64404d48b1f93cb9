//! The words of a `server` line.

macro_rules! word {
    ($name:literal, $args:literal, $example:literal, $doc:literal, $parse:expr) => {
        ServerWord {
            name: $name,
            args: $args,
            example: $example,
            doc: $doc,
            parse: $parse,
        }
    };
}

mod check;
mod line;
mod names;
mod proxy;
mod socket;
mod source;

pub use check::SERVER_CHECK_WORDS;
pub use line::{direct, from_words, server, template, way};
pub use proxy::SERVER_PROXY_WORDS;
pub use socket::SERVER_SOCKET_WORDS;
pub use source::source;

use crate::diag::Fault;
use crate::line::Line;
use crate::tls::{SERVER_TLS_WORDS, ServerDraft};
use crate::units;
use model::{Address, Check, Family, HashKey, OnError, Resolution, Server};
use std::sync::Arc;
use std::time::Duration;

impl Default for Reading {
    fn default() -> Reading {
        Reading {
            server: blank(),
            check: Check::default(),
            checked: false,
            agent: AgentDraft::default(),
            init_addr: None,
            resolution: None,
            tls: None,
            check_send_proxy: false,
            proxy_options: Vec::new(),
            shared_check: None,
        }
    }
}

/// What is said of an agent; `agent-check` turns it on.
#[derive(Clone, Default)]
struct AgentDraft {
    wanted: bool,
    port: Option<u16>,
    addr: Option<Address>,
    inter: Option<Duration>,
    send: Option<Arc<str>>,
}

/// A server before anything is said of it.
fn blank() -> Server {
    Server {
        name: "".into(),
        id: 0,
        address: Address::Fd(-1),
        hostname: None,
        resolution: None,
        weight: 1,
        priority: 1,
        hash_key: HashKey::default(),
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
        tls_known: None,
        source: None,
        slowstart: None,
        pool_max_conn: None,
        pool_purge_delay: Duration::from_secs(5),
        max_reuse: None,
        send_proxy: None,
        xclient: false,
        proxy_extensions: None,
        observe: None,
        error_limit: 10,
        on_error: OnError::default(),
        on_marked_down: None,
        shutdown_backup_sessions: false,
        guid: None,
        redir: None,
        non_stick: false,
        socks4: None,
        tcp_user_timeout: None,
        tfo: false,
        congestion: None,
        signed: None,
        shard: 0,
        namespace: None,
        vlan: None,
    }
}

/// A server line being read: check timers may be set before `check` turns them on.
#[derive(Clone)]
pub struct Reading {
    server: Server,
    check: Check,
    checked: bool,
    agent: AgentDraft,
    init_addr: Option<Vec<model::InitAddr>>,
    /// Words of name resolution, of which `resolvers` is what turns it on.
    resolution: Option<Box<Resolution>>,
    tls: Option<Box<ServerDraft>>,
    check_send_proxy: bool,
    /// Words of `proxy-v2-options`.
    proxy_options: Vec<&'static str>,
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
    /// Arguments that are valid.
    pub example: &'static str,
    /// One line.
    pub doc: &'static str,
    parse: fn(&mut Reading, &Line<'_>, usize) -> Result<(), Fault>,
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

/// What `server` understands besides TLS and checks. The place given to a function is that of its argument.
pub static SERVER_WORDS: &[ServerWord] = &[
    word!(
        "backup",
        "",
        "",
        "used only when all others are out",
        |r, _, _| {
            r.server.backup = true;
            Ok(())
        }
    ),
    word!(
        "cookie",
        "VALUE",
        "s1",
        "its name in the persistence cookie",
        |r, l, at| {
            r.server.cookie = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!("disabled", "", "", "starts in maintenance", |r, _, _| {
        r.server.disabled = true;
        Ok(())
    }),
    word!(
        "enabled",
        "",
        "",
        "does not start in maintenance",
        |r, _, _| {
            r.server.disabled = false;
            Ok(())
        }
    ),
    word!(
        "hash-key",
        "KEY",
        "addr-port",
        "what its places on the ring follow from",
        |r, l, at| {
            r.server.hash_key = match l.arg(at) {
                "id" => HashKey::Id,
                "addr" => HashKey::Addr,
                "addr-port" => HashKey::AddrPort,
                other => {
                    let names = ["id", "addr", "addr-port"];
                    return l.fail(at, crate::keyword::near("hash key", other, &names));
                }
            };
            Ok(())
        }
    ),
    word!("id", "N", "7", "its number in the backend", |r, l, at| {
        r.server.id = num(l, at, 1, u32::MAX.into())?;
        Ok(())
    }),
    word!(
        "init-addr",
        "METHODS",
        "last,libc,none",
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
    word!(
        "max-reuse",
        "N",
        "100",
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
        "50",
        "sessions at a time; others wait",
        |r, l, at| {
            r.server.maxconn = num(l, at, 0, 1 << 30)?;
            Ok(())
        }
    ),
    word!(
        "vlan",
        "N",
        "200",
        "in packet mode: the VLAN it is in, 1 to 4094",
        |r, l, at| {
            r.server.vlan = Some(num(l, at, 1, 4094)? as u16);
            Ok(())
        }
    ),
    word!(
        "maxqueue",
        "N",
        "100",
        "most that wait for it alone",
        |r, l, at| {
            r.server.maxqueue = num(l, at, 0, 1 << 30)?;
            Ok(())
        }
    ),
    word!(
        "minconn",
        "N",
        "10",
        "the limit that grows to maxconn with the load",
        |r, l, at| {
            r.server.minconn = num(l, at, 0, 1 << 30)?;
            Ok(())
        }
    ),
    word!(
        "shard",
        "N",
        "1",
        "of a peer: the part of the keys that it is told of, of as many as 'shards' says",
        |r, l, at| {
            r.server.shard = num(l, at, 0, u16::MAX.into())? as u16;
            Ok(())
        }
    ),
    word!("no-backup", "", "", "not a backup", |r, _, _| {
        r.server.backup = false;
        Ok(())
    }),
    word!(
        "pool-low-conn",
        "N",
        "5",
        "accepted: each worker keeps its own connections",
        |_, l, at| num(l, at, 0, 1 << 30).map(|_| ())
    ),
    word!(
        "pool-max-conn",
        "N",
        "100",
        "idle connections kept",
        |r, l, at| {
            r.server.pool_max_conn = if l.arg(at) == "-1" {
                None
            } else {
                Some(num(l, at, 0, 1 << 30)?)
            };
            Ok(())
        }
    ),
    word!(
        "pool-purge-delay",
        "TIME",
        "10s",
        "how long idle connections are kept",
        |r, l, at| {
            r.server.pool_purge_delay = l.map(at, units::time(l.arg(at), 1_000))?;
            Ok(())
        }
    ),
    word!(
        "priority",
        "N",
        "2",
        "its level with 'balance priority': 1 serves first",
        |r, l, at| {
            r.server.priority = num(l, at, 1, 256)? as u16;
            Ok(())
        }
    ),
    word!(
        "non-stick",
        "",
        "",
        "no `stick` rule remembers it",
        |r, _, _| {
            r.server.non_stick = true;
            Ok(())
        }
    ),
    word!(
        "guid",
        "NAME",
        "shop:one",
        "what it is called in files of statistics",
        |r, l, at| {
            r.server.guid = Some(crate::keyword::guid(l, at)?);
            Ok(())
        }
    ),
    word!(
        "redir",
        "PREFIX",
        "http://www.example",
        "send GET and HEAD there by a 302",
        |r, l, at| {
            r.server.redir = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "resolve-net",
        "NETWORK[,NETWORK]*",
        "10.0.0.0/8,192.168.0.0/16",
        "addresses in these networks are taken before others",
        |r, l, at| {
            let nets = l.arg(at).split(',').map(names::network);
            r.resolution().nets = l.map(at, nets.collect())?;
            Ok(())
        }
    ),
    word!(
        "resolve-opts",
        "OPTION[,OPTION]*",
        "allow-dup-ip,ignore-weight",
        "allow-dup-ip, prevent-dup-ip: whether servers of one name may share an address; ignore-weight: that of SRV records",
        |r, l, at| {
            for option in l.arg(at).split(',') {
                match option {
                    "allow-dup-ip" => r.resolution().same_address = true,
                    "prevent-dup-ip" => r.resolution().same_address = false,
                    "ignore-weight" => r.resolution().ignore_weight = true,
                    other => {
                        let known = ["allow-dup-ip", "ignore-weight", "prevent-dup-ip"];
                        return l.fail(at, crate::keyword::near("option", other, &known));
                    }
                }
            }
            Ok(())
        }
    ),
    word!(
        "resolve-prefer",
        "ipv4|ipv6",
        "ipv4",
        "the kind of address that is asked for first",
        |r, l, at| {
            r.resolution().prefer = match l.arg(at) {
                "ipv4" => Family::V4,
                "ipv6" => Family::V6,
                other => {
                    let known = ["ipv4", "ipv6"];
                    return l.fail(at, crate::keyword::near("family", other, &known));
                }
            };
            Ok(())
        }
    ),
    word!(
        "resolvers",
        "SECTION",
        "dns",
        "who resolves its name while the process runs",
        |r, l, at| {
            r.resolution().resolvers = l.arg(at).into();
            Ok(())
        }
    ),
    word!(
        "slowstart",
        "TIME",
        "10s",
        "how long until its whole weight counts",
        |r, l, at| {
            r.server.slowstart = l.map(at, units::timeout(l.arg(at)))?;
            Ok(())
        }
    ),
    word!(
        "source",
        "ADDRESS[:PORT[-PORT]] [interface NAME] [usesrc client|clientip|hdr_ip(NAME[,N])|ADDRESS[:PORT]]",
        "127.0.0.1:10000-10100 interface lo",
        "the address connections come from",
        |r, l, at| {
            r.server.source = Some(source(l, at, true)?.0);
            Ok(())
        }
    ),
    word!(
        "xclient",
        "",
        "",
        "a server of SMTP is told of the client by XCLIENT, as postfix knows it",
        |r, _, _| {
            r.server.xclient = true;
            Ok(())
        }
    ),
    word!("weight", "N", "20", "its share, 0 to 256", |r, l, at| {
        r.server.weight = num(l, at, 0, 256)? as u16;
        Ok(())
    }),
];

/// Reads the words from argument `at` on, over what `from` says.
fn words(line: &mut Line<'_>, mut at: usize, from: &Reading) -> Result<Reading, Fault> {
    let mut reading = from.clone();
    let mut faults = Vec::new();
    while at < line.args().len() {
        at = match word(&mut reading, line, at) {
            Ok(next) => next,
            Err(fault) => line.pass(at, fault, &mut faults, |w| {
                names().chain(KNOWN.lines()).any(|k| k == w)
            }),
        };
    }
    line.faults(faults)?;
    Ok(reading)
}

/// Reads the word at `at`; returns where the next one stands.
fn word(reading: &mut Reading, line: &Line<'_>, at: usize) -> Result<usize, Fault> {
    let name = line.arg(at);
    if let Some(taken) = ServerDraft::word(&mut reading.tls, line, at)? {
        return Ok(at + taken);
    }
    if let Some(rest) = name.strip_prefix("set-proxy-v2-tlv-fmt") {
        return proxy::extension(reading, line, at, rest);
    }
    let mut all = all_words();
    let Some(word) = all.find(|w| w.name == name) else {
        let message = crate::keyword::unknown_word("server", name, KNOWN, names());
        return line.fail(at, message);
    };
    if !word.args.is_empty() && line.arg(at + 1).is_empty() {
        return line.fail(at, format!("'{name}' wants {} after it", word.args));
    }
    (word.parse)(reading, line, at + 1)?;
    match name {
        "source" => source(line, at + 1, true).map(|(_, end)| end),
        _ => Ok(at + 1 + usize::from(!word.args.is_empty())),
    }
}

/// The tables of all words but those of TLS.
fn all_words() -> impl Iterator<Item = &'static ServerWord> {
    let tables = [
        SERVER_WORDS,
        SERVER_CHECK_WORDS,
        SERVER_PROXY_WORDS,
        SERVER_SOCKET_WORDS,
    ];
    tables.into_iter().flatten()
}

/// Words of HAProxy's `server` lines, whether we have them or not.
const KNOWN: &str = include_str!("known/server.txt");

/// Whether a word is one of `server` lines.
pub fn is_word(word: &str) -> bool {
    names().any(|n| n == word)
}

/// The words that we have.
fn names() -> impl Iterator<Item = &'static str> {
    let all = all_words();
    let names = all.map(|w| w.name);
    names.chain(SERVER_TLS_WORDS.iter().map(|w| w.name))
}

/// Reads a `default-server` line.
pub fn default_server(line: &mut Line<'_>, from: &Reading) -> Result<Reading, Fault> {
    let reading = words(line, 0, from)?;
    // It may also be the value of another word, which comes later here.
    match line.texts(0).iter().position(|w| *w == "id") {
        Some(at) if reading.server.id > 0 => {
            line.fail(at, "'id' is of one server only: put it on a server line")
        }
        _ => Ok(reading),
    }
}
