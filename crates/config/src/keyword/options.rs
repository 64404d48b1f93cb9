//! The table of `option`s.

use super::{Keyword, back, check, keyword};
use crate::diag::Fault;
use crate::draft::sections::*;
use crate::draft::{CheckChoice, Draft, Said};
use crate::line::Line;
use model::{
    CheckKind, ConnectionMode, ForwardFor, LogFormatSpec, OriginalTo, Probe, Redispatch,
    RestrictNames,
};
use std::net::IpAddr;
use std::sync::Arc;

/// All options.
pub static OPTIONS: &[Keyword] = &[
    keyword!(
        "external-check",
        BACK,
        "",
        "",
        "check health by a program",
        check::external_check
    ),
    keyword!(
        "grpc-check",
        BACK,
        "[service NAME]",
        "service shop.Cart",
        "check health by gRPC's health service",
        check::grpc_check
    ),
    keyword!(
        "half-open-check",
        BACK,
        "",
        "",
        "check health by a TCP handshake that is not finished",
        |d, l| check::of_kind(d, l, CheckKind::HalfOpen)
    ),
    keyword!(
        "icmp-check",
        BACK,
        "",
        "",
        "check health by an ICMP echo",
        |d, l| check::of_kind(d, l, CheckKind::Echo)
    ),
    keyword!(
        "ldap-check",
        BACK,
        "",
        "",
        "check health by an LDAPv3 bind",
        |d, l| check::of_probe(d, l, Probe::Ldap)
    ),
    keyword!(
        "mysql-check",
        BACK,
        "[user NAME [post-41|pre-41]]",
        "user check",
        "check health by MySQL's greeting, or a login",
        check::mysql_check
    ),
    keyword!(
        "pgsql-check",
        BACK,
        "user NAME",
        "user check",
        "check health by PostgreSQL's start",
        check::pgsql_check
    ),
    keyword!(
        "redis-check",
        BACK,
        "",
        "",
        "check health by Redis's PING",
        |d, l| check::of_probe(d, l, Probe::Redis)
    ),
    keyword!(
        "smtpchk",
        BACK,
        "[HELO|EHLO DOMAIN]",
        "EHLO check.example",
        "check health by SMTP's greeting",
        check::smtpchk
    ),
    keyword!(
        "ssl-hello-chk",
        BACK,
        "",
        "",
        "check health by the hello of TLS",
        |d, l| check::of_probe(d, l, Probe::TlsHello)
    ),
    keyword!(
        no "abortonclose",
        BACK,
        "", "",
        "a client that closes gives up",
        |d, l| {
            d.back.abortonclose = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "accept-invalid-http-request",
        FRONT,
        "", "",
        "older name of accept-unsafe-violations-in-http-request",
        |d, l| {
            d.http.unsafe_request = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "accept-invalid-http-response",
        BACK,
        "", "",
        "older name of accept-unsafe-violations-in-http-response",
        |d, l| {
            d.http.unsafe_response = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "accept-unsafe-violations-in-http-request",
        FRONT,
        "", "",
        "accept some malformed requests",
        |d, l| {
            d.http.unsafe_request = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "accept-unsafe-violations-in-http-response",
        BACK,
        "", "",
        "accept some malformed responses",
        |d, l| {
            d.http.unsafe_response = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "allbackups",
        BACK,
        "", "",
        "use all backup servers, not the first",
        |d, l| {
            d.back.allbackups = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "checkcache",
        BACK,
        "", "",
        "block responses that a cache might keep and that set cookies",
        |d, l| {
            d.back.check_cache = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "http-use-proxy-header",
        FRONT,
        "", "",
        "Proxy-Connection counts for requests that mean a proxy",
        |d, l| {
            d.http.proxy_header = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "socket-stats",
        FRONT,
        "", "",
        "count each listening socket by itself",
        |d, l| {
            d.front.socket_stats = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "transparent",
        BACK,
        "", "",
        "connect where the client meant to",
        back::transparent
    ),
    keyword!(
        no "clitcpka",
        FRONT,
        "", "",
        "TCP keep-alive to clients",
        |d, l| {
            d.clitcpka.0 = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "contstats",
        FRONT,
        "", "",
        "accepted: counters always run on",
        |_, _| Ok(())
    ),
    keyword!(
        no "disable-h2-upgrade",
        FRONT,
        "", "",
        "accepted: a connection never changes to HTTP/2 here",
        |_, _| Ok(())
    ),
    keyword!(
        no "dontlog-normal",
        FRONT,
        "", "",
        "log only what went wrong",
        |d, l| {
            d.front.dontlog_normal = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "dontlognull",
        FRONT,
        "", "",
        "do not log connections without data",
        |d, l| {
            d.front.dontlognull = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        "forwarded",
        ALL,
        "",
        "",
        "add a Forwarded header (RFC 7239)",
        |d, l| {
            if !l.arg(1).is_empty() {
                return l.fail(1, "parameters of 'option forwarded' are something of HAProxy that mulgil does not have yet");
            }
            d.http.forwarded = true;
            Ok(())
        }
    ),
    keyword!(
        "forwardfor",
        ALL,
        "[except NET] [header NAME] [if-none]",
        "except 127.0.0.0/8 header X-Client if-none",
        "tell the server the client's address",
        |d, l| {
            let mut made = ForwardFor {
                header: "X-Forwarded-For".into(),
                except: None,
                if_none: false,
            };
            let mut at = 1;
            while !l.arg(at).is_empty() {
                match l.arg(at) {
                    "except" => {
                        made.except = Some(network(l, at + 1)?);
                        at += 1;
                    }
                    "header" => {
                        made.header = header(l, at + 1)?;
                        at += 1;
                    }
                    "if-none" => made.if_none = true,
                    other => {
                        return l.fail(
                            at,
                            super::near(
                                "option forwardfor word",
                                other,
                                &["except", "header", "if-none"],
                            ),
                        );
                    }
                }
                at += 1;
            }
            d.http.forwardfor = Some(Arc::new(made));
            Ok(())
        }
    ),
    keyword!(
        no "h1-case-adjust-bogus-client",
        FRONT,
        "", "",
        "header names go to clients as h1-case-adjust writes them",
        |d, l| {
            d.http.recase_to_client = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "h1-case-adjust-bogus-server",
        BACK,
        "", "",
        "header names go to servers as h1-case-adjust writes them",
        |d, l| {
            d.http.recase_to_server = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "http-buffer-request",
        ALL,
        "", "",
        "wait for the body before the rules go on",
        |d, l| {
            d.http.buffer_request = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "http-ignore-probes",
        FRONT,
        "", "",
        "no answer and no line for connections without a request",
        |d, l| {
            d.http.ignore_probes = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "http-keep-alive",
        ALL,
        "", "",
        "keep connections on both sides",
        |d, l| mode(d, l, ConnectionMode::KeepAlive)
    ),
    keyword!(
        no "http-no-delay",
        ALL,
        "", "",
        "accepted: nothing is ever delayed",
        |d, l| {
            d.http.no_delay = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "http-pretend-keepalive",
        BACK,
        "", "",
        "do not tell the server that the connection closes",
        |d, l| {
            d.http.pretend_keepalive = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        "http-restrict-req-hdr-names",
        ALL,
        "preserve|delete|reject",
        "delete",
        "what happens to odd header names",
        |d, l| {
            l.surplus(2);
            d.http.restrict_names = match l.arg(1) {
                "preserve" => None,
                "delete" => Some(RestrictNames::Delete),
                "reject" => Some(RestrictNames::Reject),
                other => {
                    return l.fail(
                        1,
                        super::near("policy", other, &["preserve", "delete", "reject"]),
                    );
                }
            };
            Ok(())
        }
    ),
    keyword!(
        no "http-server-close",
        ALL,
        "", "",
        "close to the server, keep to the client",
        |d, l| mode(d, l, ConnectionMode::ServerClose)
    ),
    keyword!(
        "httpchk",
        BACK,
        "[URI | METHOD URI [VERSION [HOST]]]",
        "GET /status",
        "check health by HTTP",
        check::httpchk
    ),
    keyword!(
        no "httpclose",
        ALL,
        "", "",
        "close both sides after each request",
        |d, l| mode(d, l, ConnectionMode::Close)
    ),
    keyword!(
        "httplog",
        FRONT,
        "[clf]",
        "clf",
        "a log line for each request",
        |d, l| {
            l.surplus(2);
            d.front.log_format = match l.arg(1) {
                "" => LogFormatSpec::Http,
                "clf" => LogFormatSpec::HttpClf,
                other => {
                    return l.fail(1, super::near("option httplog word", other, &["clf"]));
                }
            };
            Ok(())
        }
    ),
    keyword!(
        no "httpslog",
        ALL,
        "", "",
        "a log line for each request, with TLS fields",
        |d, l| {
            d.front.log_format = if l.negated {
                LogFormatSpec::Default
            } else {
                LogFormatSpec::Https
            };
            Ok(())
        }
    ),
    keyword!(
        no "independent-streams",
        ALL,
        "", "",
        "what is sent to a peer does not count as its life",
        |d, l| {
            d.independent_streams = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "log-health-checks",
        BACK,
        "", "",
        "log every change of health",
        |d, l| {
            d.back.log_health_checks = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "log-separate-errors",
        FRONT,
        "", "",
        "log errors at level err",
        |d, l| {
            d.front.log_separate_errors = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        "originalto",
        ALL,
        "[except NET] [header NAME]",
        "except 127.0.0.0/8 header X-Dst",
        "tell the server the address the client came to",
        |d, l| {
            let mut made = OriginalTo {
                header: "X-Original-To".into(),
                except: None,
            };
            let mut at = 1;
            while !l.arg(at).is_empty() {
                match l.arg(at) {
                    "except" => made.except = Some(network(l, at + 1)?),
                    "header" => made.header = header(l, at + 1)?,
                    other => {
                        return l.fail(
                            at,
                            super::near("option originalto word", other, &["except", "header"]),
                        );
                    }
                }
                at += 2;
            }
            d.http.originalto = Some(Arc::new(made));
            Ok(())
        }
    ),
    keyword!(
        no "logasap",
        FRONT,
        "", "",
        "log as soon as the response begins",
        |d, l| {
            d.front.logasap = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "nolinger",
        ALL,
        "", "",
        "close connections by a reset",
        |d, l| {
            d.front.nolinger = !l.negated;
            d.back.nolinger = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "http-drop-request-trailers",
        BACK,
        "", "",
        "leave trailers of requests out",
        |d, l| {
            d.back.drop_trailers = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "http-drop-response-trailers",
        FRONT,
        "", "",
        "leave trailers of responses out",
        |d, l| {
            d.front.drop_trailers = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "idle-close-on-response",
        FRONT,
        "", "",
        "at a soft stop leave connections that wait to their next response",
        |d, l| {
            d.front.idle_close_on_response = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "prefer-last-server",
        BACK,
        "", "",
        "stay with the server of the request before",
        |d, l| {
            d.back.prefer_last_server = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "persist",
        BACK,
        "", "",
        "a cookie counts even while its server is down",
        |d, l| {
            d.back.persist = !l.negated;
            Ok(())
        }
    ),
    keyword!(no "redispatch", BACK, "[N]", "2", "retry elsewhere", |d, l| {
        l.surplus(2);
        let interval = match (l.negated, l.arg(1)) {
            (true, _) => {
                d.back.redispatch = None;
                return Ok(());
            }
            (false, "") => -1,
            (false, n) => match n.parse::<i32>() {
                Ok(n) => n,
                Err(_) => return l.fail(1, format!("'{n}' is no number of retries")),
            },
        };
        d.back.redispatch = (interval != 0).then_some(Redispatch { interval });
        Ok(())
    }),
    keyword!(
        no "splice-auto",
        ALL,
        "", "",
        "accepted: bodies are always spliced where it pays",
        |_, _| Ok(())
    ),
    keyword!(
        no "splice-request",
        ALL,
        "", "",
        "accepted: bodies are always spliced where it pays",
        |_, _| Ok(())
    ),
    keyword!(
        no "splice-response",
        ALL,
        "", "",
        "accepted: bodies are always spliced where it pays",
        |_, _| Ok(())
    ),
    keyword!(no "srvtcpka", BACK, "", "", "TCP keep-alive to servers", |d, l| {
        d.srvtcpka.0 = !l.negated;
        Ok(())
    }),
    keyword!(
        "tcp-check",
        BACK,
        "",
        "",
        "check health by a script",
        |d, _| {
            d.check.choice = Some(CheckChoice::Tcp);
            Ok(())
        }
    ),
    keyword!(
        no "tcp-smart-accept",
        FRONT,
        "", "",
        "a client's first bytes are acknowledged by the answer",
        |d, l| {
            d.front.smart_accept = !l.negated;
            Ok(())
        }
    ),
    keyword!(
        no "tcp-smart-connect",
        BACK,
        "", "",
        "the handshake's last packet carries the first bytes, where they are there (as without it)",
        |d, l| {
            d.back.prompt_ack = l.negated;
            Ok(())
        }
    ),
    keyword!(
        "tcpka",
        ALL,
        "",
        "",
        "TCP keep-alive on both sides",
        |d, _| {
            d.clitcpka.0 = true;
            d.srvtcpka.0 = true;
            Ok(())
        }
    ),
    keyword!(
        "tcplog",
        FRONT,
        "",
        "",
        "a log line for each connection",
        |d, _| {
            d.front.log_format = LogFormatSpec::Tcp;
            Ok(())
        }
    ),
    keyword!(
        "smtplog",
        FRONT,
        "",
        "",
        "a log line for each message of SMTP",
        |d, _| {
            d.front.log_format = LogFormatSpec::Smtp;
            Ok(())
        }
    ),
    keyword!(
        "udp-check",
        BACK,
        "",
        "",
        "check health by datagrams: see udp-check",
        |d, _| {
            d.check.choice = Some(CheckChoice::Udp);
            Ok(())
        }
    ),
];

/// `option NAME …`.
pub fn option(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let name = l.arg(0);
    let Some(def) = OPTIONS.iter().find(|o| o.name == name) else {
        if name.is_empty() {
            return l.fail(0, "'option' wants a name");
        }
        if include_str!("../known/options.txt")
            .lines()
            .any(|k| k == name)
        {
            return l.fail(
                0,
                format!("'option {name}' is a keyword of HAProxy that mulgil does not have yet"),
            );
        }
        return l.fail(
            0,
            match rules::nearest(name, OPTIONS.iter().map(|o| o.name)) {
                Some(near) => format!("unknown option '{name}': did you mean '{near}'?"),
                None => format!("unknown option '{name}'"),
            },
        );
    };
    if def.args.is_empty() && !l.arg(1).is_empty() {
        return l.fail(
            1,
            format!(
                "'{}' is one word too many for 'option {name}': remove it",
                l.arg(1)
            ),
        );
    }
    if l.negated && !def.negatable {
        return l.fail(
            0,
            format!("'option {name}' cannot be taken back with 'no' or 'default': remove the line that sets it"),
        );
    }
    if def.sections & d.section == 0 {
        let name = format!("option {name}");
        return super::misplaced(d, l, &name, def.sections, def.parse);
    }
    (def.parse)(d, l)?;
    let said = Said::Option(def.name);
    match l.negated {
        true => d.said.remove(&said),
        false => d.said.insert(said, l.place_of_keyword()),
    };
    let mark = match def.name {
        "httplog" | "httpslog" | "tcplog" | "smtplog" => "log-format",
        "forwardfor" => "option forwardfor",
        "forwarded" => "option forwarded",
        "originalto" => "option originalto",
        "http-buffer-request" => "option http-buffer-request",
        _ => return Ok(()),
    };
    if l.negated {
        d.marks.remove(mark);
    } else {
        d.marks.insert(mark, l.place_of_keyword());
    }
    Ok(())
}

/// A later mode replaces an earlier one; `no` takes back only its own.
fn mode(d: &mut Draft, l: &Line<'_>, mode: ConnectionMode) -> Result<(), Fault> {
    if !l.negated {
        d.http.connection = mode;
    } else if d.http.connection == mode {
        d.http.connection = ConnectionMode::KeepAlive;
    }
    Ok(())
}

fn header(l: &Line<'_>, at: usize) -> Result<Arc<str>, Fault> {
    match l.arg(at) {
        "" => l.fail(at, "a header name is missing here"),
        name => Ok(name.into()),
    }
}

fn network(l: &Line<'_>, at: usize) -> Result<(IpAddr, u8), Fault> {
    let text = l.arg(at);
    match rules::network(text) {
        Some(network) => Ok(network),
        None => l.fail(
            at,
            format!("'{text}' is no address or network, such as 127.0.0.0/8"),
        ),
    }
}
