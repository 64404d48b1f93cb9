//! Keywords of the side that faces servers.

use super::{Keyword, balance, compression, keyword, near, num, persist, time};
use crate::diag::Fault;
use crate::draft::sections::*;
use crate::draft::{Draft, Reference};
use crate::line::Line;
use model::{Address, LoadState, PortSpec, SwitchTarget};
use std::sync::Arc;
use std::time::Duration;

/// Keywords of backends.
pub(super) static BACK_KEYWORDS: &[Keyword] = &[
    keyword!(
        "balance",
        BACK,
        "ALGORITHM [ARGUMENTS]",
        "roundrobin",
        "how servers are chosen",
        balance::balance
    ),
    keyword!(
        "cookie",
        BACK,
        "NAME [rewrite|insert|prefix] [WORDS]",
        "SRV insert indirect nocache",
        "a cookie that leads clients back to their server",
        persist::cookie
    ),
    keyword!(
        "be-unpublished",
        B | L,
        "",
        "",
        "no rule of a frontend leads here until the control socket's 'publish backend'",
        |d, l| {
            l.surplus(0);
            d.back.unpublished = true;
            Ok(())
        }
    ),
    keyword!(
        "dynamic-cookie-key",
        BACK,
        "KEY",
        "secret",
        "the secret in computed cookies",
        |d, l| {
            l.exactly(1, "a key")?;
            d.back.dynamic_cookie_key = Some(l.arg(0).into());
            Ok(())
        }
    ),
    keyword!(
        "force-persist",
        L | B,
        "if|unless CONDITION",
        "if { src 10.0.0.0/8 }",
        "a cookie counts even while its server is down",
        persist::rule
    ),
    keyword!(
        "ignore-persist",
        L | B,
        "if|unless CONDITION",
        "if { path_beg /static }",
        "the cookie does not count",
        persist::rule
    ),
    keyword!(
        "default-server",
        BACK,
        "[WORDS]",
        "check inter 1s",
        "words for the servers below",
        |d, l| {
            *d.default_server = crate::server::default_server(l, &d.default_server)?;
            Ok(())
        }
    ),
    keyword!(
        "dispatch",
        B | L,
        "ADDRESS:PORT",
        "127.0.0.1:8080",
        "where all sessions go instead of to a server",
        |d, l| {
            l.exactly(1, "an address and a port")?;
            let server = crate::server::direct(l, l.arg(0))?;
            if let Address::Inet {
                port: PortSpec::None,
                ..
            } = &server.address
            {
                return l.fail(
                    0,
                    format!(
                        "'{}' has no port: write {}:80 for example",
                        l.arg(0),
                        l.arg(0)
                    ),
                );
            }
            d.back.direct = Some(Arc::new(server));
            Ok(())
        }
    ),
    keyword!(
        "transparent",
        BACK,
        "",
        "",
        "older name of 'option transparent'",
        |d, l| {
            l.exactly(0, "nothing")?;
            transparent(d, l)
        }
    ),
    keyword!(
        "eject",
        BACK,
        "errors N [for TIME] [at-most PERCENT%]",
        "errors 5 for 30s at-most 50%",
        "no new clients for a server whose traffic fails so often in a row",
        eject
    ),
    keyword!(
        "fullconn",
        BACK,
        "N",
        "1000",
        "sessions at which minconn has grown to maxconn",
        |d, l| {
            l.exactly(1, "a number")?;
            d.back.fullconn = Some(num(l, 0, 0, 1 << 30)?);
            Ok(())
        }
    ),
    keyword!(
        "hash-type",
        BACK,
        "METHOD [FUNCTION [MODIFIER]]",
        "map-based",
        "how hashes choose servers",
        balance::hash_type
    ),
    keyword!(
        "hash-preserve-affinity",
        BACK,
        "always|maxconn|maxqueue",
        "maxconn",
        "when a hash may lead to another server",
        balance::preserve_affinity
    ),
    keyword!(
        "max-keep-alive-queue",
        BACK,
        "N",
        "0",
        "how many may wait for a client's last server before another is preferred; -1 is any number",
        |d, l| {
            l.exactly(1, "a number")?;
            d.back.max_keep_alive_queue = match l.arg(0) {
                "-1" => None,
                _ => Some(num(l, 0, 0, 1 << 30)?),
            };
            Ok(())
        }
    ),
    keyword!(
        "persist rdp-cookie",
        BACK,
        "",
        "",
        "a cookie of RDP that leads clients back to their server",
        persist::rdp_cookie
    ),
    keyword!(
        "compression",
        ALL,
        "algo ALGORITHM* | type TYPE* | offload",
        "algo gzip",
        "compress responses",
        compression::compression
    ),
    keyword!(
        "filter",
        NAMED,
        "compression",
        "compression",
        "where 'compression' stands among filters: it is the only one, and works without this line, too",
        |_, l| compression::filter(l)
    ),
    keyword!(
        "hash-balance-factor",
        BACK,
        "PERCENT",
        "150",
        "how far above its share a server may be, with consistent hashing",
        |d, l| {
            l.exactly(1, "a percentage above 100, or 0")?;
            let percent = num(l, 0, 0, 65535)?;
            if (1..=100).contains(&percent) {
                return l.fail(0, "it must be 0 or more than 100, such as 150");
            }
            d.back.hash_balance = model::HashBalance(percent);
            Ok(())
        }
    ),
    keyword!(
        "http-reuse",
        BACK,
        "never|safe|aggressive|always",
        "safe",
        "how server connections are shared",
        |d, l| {
            l.exactly(1, "never, safe, aggressive or always")?;
            d.back.reuse = match l.arg(0) {
                "never" => model::HttpReuse::Never,
                "safe" => model::HttpReuse::Safe,
                "aggressive" => model::HttpReuse::Aggressive,
                "always" => model::HttpReuse::Always,
                other => {
                    return l.fail(
                        0,
                        near(
                            "reuse mode",
                            other,
                            &["never", "safe", "aggressive", "always"],
                        ),
                    );
                }
            };
            Ok(())
        }
    ),
    keyword!(
        "http-send-name-header",
        BACK,
        "NAME",
        "X-Server",
        "tell the server its name",
        |d, l| {
            if l.args().is_empty() {
                return l.fail(0, "'http-send-name-header' wants a header's name");
            }
            l.surplus(1);
            d.http.send_name_header = Some(l.arg(0).into());
            Ok(())
        }
    ),
    keyword!(
        "load-server-state-from-file",
        BACK,
        "global|local|none",
        "none",
        "server states of the process before",
        |d, l| {
            l.surplus(1);
            d.back.load_state = match l.arg(0) {
                "global" => LoadState::Global,
                "local" => LoadState::Local,
                "none" => LoadState::None,
                other => {
                    let names = ["global", "local", "none"];
                    return l.fail(0, near("source of server states", other, &names));
                }
            };
            Ok(())
        }
    ),
    keyword!(
        "server-state-file-name",
        BACK,
        "[use-backend-name|FILE]",
        "use-backend-name",
        "the file of load-server-state-from-file local",
        |d, l| {
            l.surplus(1);
            d.back.state_file = match l.arg(0) {
                "" | "use-backend-name" => None,
                file => Some(file.into()),
            };
            Ok(())
        }
    ),
    keyword!(
        "retries",
        BACK,
        "N",
        "3",
        "attempts after the first",
        |d, l| {
            l.exactly(1, "a number")?;
            d.back.retries = num(l, 0, 0, 1 << 31)?;
            Ok(())
        }
    ),
    keyword!(
        "retry-on",
        BACK,
        "EVENT*",
        "conn-failure 503",
        "what is worth another attempt",
        retry_on
    ),
    keyword!(
        "server",
        L | B,
        "NAME ADDRESS[:PORT] [WORDS]",
        "a 127.0.0.1:8080 check",
        "a server",
        server
    ),
    keyword!(
        "server-template",
        L | B,
        "PREFIX NUMBER|FIRST-LAST ADDRESS[:PORT] [WORDS]",
        "s 1-3 127.0.0.1:8080 check",
        "several servers of one address",
        |d, l| {
            let servers = crate::server::template(l, &d.default_server)?;
            d.back.servers.extend(servers);
            Ok(())
        }
    ),
    keyword!(
        "source",
        BACK,
        "ADDRESS[:PORT] [interface NAME]",
        "127.0.0.1",
        "the address connections to servers come from",
        |d, l| {
            let (source, used) = crate::server::source(l, 0, false)?;
            if used < l.args().len() {
                return l.fail(
                    used,
                    near("source word", l.arg(used), &["interface", "usesrc"]),
                );
            }
            d.back.source = Some(source);
            Ok(())
        }
    ),
    keyword!(
        "srvtcpka-cnt",
        BACK,
        "N",
        "3",
        "keep-alive probes to servers",
        |d, l| {
            l.surplus(1);
            d.srvtcpka.1.0 = Some(num(l, 0, 0, 255)?);
            Ok(())
        }
    ),
    keyword!(
        "srvtcpka-idle",
        BACK,
        "TIME",
        "10s",
        "silence before keep-alive probes to servers",
        |d, l| {
            l.surplus(1);
            d.srvtcpka.1.1 = time(l, 0)?;
            Ok(())
        }
    ),
    keyword!(
        "srvtcpka-intvl",
        BACK,
        "TIME",
        "5s",
        "between keep-alive probes to servers",
        |d, l| {
            l.surplus(1);
            d.srvtcpka.1.2 = time(l, 0)?;
            Ok(())
        }
    ),
    keyword!(
        "use-server",
        L | B,
        "NAME if|unless CONDITION",
        "a if { path_beg /a }",
        "a server for some requests",
        |d, l| {
            let rule = super::switch(d, l)?;
            if rule.condition.is_none() {
                return l.fail(0, "'use-server' wants 'if' or 'unless' and a condition");
            }
            if let SwitchTarget::Name(name) = &rule.target {
                d.server_references.push(Reference {
                    name: Arc::clone(name),
                    keyword: "use-server",
                    place: l.place(0),
                });
            }
            d.back.use_server.push(rule);
            Ok(())
        }
    ),
];

fn server(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let server = crate::server::server(l, &d.default_server)?;
    d.default_server.share(&server);
    d.back.servers.push(server);
    Ok(())
}

/// `option transparent`: sessions go where their clients meant to.
pub fn transparent(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    d.back.direct = match l.negated {
        true => None,
        false => Some(Arc::new(crate::server::direct(l, "0.0.0.0")?)),
    };
    Ok(())
}

fn retry_on(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    use model::RetryOn;
    if l.args().is_empty() {
        return l.fail(0, "'retry-on' wants an event, such as conn-failure");
    }
    let mut bits = 0;
    for (at, word) in l.texts(0).iter().enumerate() {
        bits |= match *word {
            "none" => 0,
            "conn-failure" => RetryOn::CONN_FAILURE,
            "empty-response" => RetryOn::EMPTY_RESPONSE,
            "junk-response" => RetryOn::JUNK_RESPONSE,
            "response-timeout" => RetryOn::RESPONSE_TIMEOUT,
            "0rtt-rejected" => RetryOn::EARLY_DATA,
            "all-retryable-errors" => {
                let all = RetryOn::CONN_FAILURE
                    | RetryOn::EMPTY_RESPONSE
                    | RetryOn::JUNK_RESPONSE
                    | RetryOn::RESPONSE_TIMEOUT
                    | RetryOn::EARLY_DATA;
                all | [500, 502, 503, 504]
                    .iter()
                    .fold(0, |b, s| b | RetryOn::status_bit(*s))
            }
            status => match status.parse::<u16>().map(RetryOn::status_bit) {
                Ok(bit) if bit != 0 => bit,
                _ => {
                    return l.fail(
                        at,
                        near(
                            "retry event",
                            status,
                            &[
                                "none",
                                "conn-failure",
                                "empty-response",
                                "junk-response",
                                "response-timeout",
                                "0rtt-rejected",
                                "all-retryable-errors",
                            ],
                        ),
                    );
                }
            },
        };
    }
    d.back.retry_on = RetryOn(bits);
    Ok(())
}

/// `eject errors N [for TIME] [at-most PERCENT%]`.
fn eject(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let mut eject = model::Eject {
        errors: 0,
        time: Duration::from_secs(30),
        at_most: 50,
    };
    let mut at = 0;
    while !l.arg(at).is_empty() {
        let value = at + 1;
        match l.arg(at) {
            "errors" => eject.errors = num(l, value, 1, 1 << 20)?,
            "for" => {
                eject.time = l.map(value, crate::units::time(l.arg(value), 1_000))?;
                if eject.time.is_zero() {
                    return l.fail(value, "no time at all: write how long, such as 30s");
                }
            }
            "at-most" => {
                let text = l.arg(value);
                let number = text.strip_suffix('%').unwrap_or(text).parse::<u8>();
                match number {
                    Ok(percent) if (1..=100).contains(&percent) => eject.at_most = percent,
                    _ => {
                        return l.fail(value, format!("'{text}' is no percentage from 1% to 100%"));
                    }
                }
            }
            other => {
                let words = ["errors", "for", "at-most"];
                return l.fail(at, super::near("word of 'eject'", other, &words));
            }
        }
        at += 2;
    }
    if eject.errors == 0 {
        return l.fail(0, "'eject' wants 'errors' and a number, such as errors 5");
    }
    d.back.eject = Some(eject);
    Ok(())
}
