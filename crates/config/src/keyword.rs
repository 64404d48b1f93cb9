//! The table of proxy keywords, and the functions that read them.

mod check;
mod http;
mod options;

pub use check::default_send;
pub use http::error_file;
pub use options::OPTIONS;

use crate::diag::Fault;
use crate::draft::sections::*;
use crate::draft::{Draft, Line, Reference};
use crate::units;
use model::{Balance, HashMethod, Mode, SwitchRule, SwitchTarget};
use std::sync::Arc;
use std::time::Duration;

/// One keyword of a proxy section.
pub struct Keyword {
    /// Its word or words.
    pub name: &'static str,
    /// Where it may stand, bits of [`crate::draft::sections`].
    pub sections: u8,
    /// Whether `no` may stand before it.
    pub negatable: bool,
    /// Its arguments.
    pub args: &'static str,
    /// One line.
    pub doc: &'static str,
    pub(crate) parse: fn(&mut Draft, &mut Line<'_>) -> Result<(), Fault>,
}

macro_rules! keyword {
    ($name:literal, $sections:expr, $args:literal, $doc:literal, $parse:expr) => {
        Keyword {
            name: $name,
            sections: $sections,
            negatable: false,
            args: $args,
            doc: $doc,
            parse: $parse,
        }
    };
    (no $name:literal, $sections:expr, $args:literal, $doc:literal, $parse:expr) => {
        Keyword {
            name: $name,
            sections: $sections,
            negatable: true,
            args: $args,
            doc: $doc,
            parse: $parse,
        }
    };
}

/// All keywords of proxy sections. Names of two words come before those of one that they begin with.
pub static KEYWORDS: &[Keyword] = &[
    keyword!(
        "acl",
        ALL,
        "NAME CRITERION [FLAGS] [PATTERN]*",
        "declare an ACL",
        |d, l| {
            let read = |path: &str| l.source.read(path);
            let result = d.acls.add(&l.texts(0), &read);
            result.map_err(|e| Fault::rule(e, l.skip))
        }
    ),
    keyword!(
        "backlog",
        FRONT,
        "N",
        "connections that may wait to be accepted",
        |d, l| {
            d.front.backlog = Some(num(l, 0, 1, 1 << 30)?);
            Ok(())
        }
    ),
    keyword!(
        "balance",
        BACK,
        "ALGORITHM [ARGUMENTS]",
        "how servers are chosen",
        balance
    ),
    keyword!(
        "bind",
        F | L,
        "ADDRESS[,ADDRESS]* [WORDS]",
        "where clients connect",
        |d, l| {
            let next = d.front.binds.last().map_or(1, |b| b.id + 1);
            d.front.binds.extend(crate::bind::parse(l, next)?);
            Ok(())
        }
    ),
    keyword!(
        "capture request header",
        F | L,
        "NAME len N",
        "keep a request header for the log",
        |d, l| {
            d.front
                .capture_request
                .push((l.arg(0).into(), capture_len(l)?));
            Ok(())
        }
    ),
    keyword!(
        "capture response header",
        F | L,
        "NAME len N",
        "keep a response header for the log",
        |d, l| {
            d.front
                .capture_response
                .push((l.arg(0).into(), capture_len(l)?));
            Ok(())
        }
    ),
    keyword!(
        "clitcpka-cnt",
        FRONT,
        "N",
        "keep-alive probes to clients",
        |d, l| {
            d.clitcpka.1.0 = Some(num(l, 0, 1, 255)?);
            Ok(())
        }
    ),
    keyword!(
        "clitcpka-idle",
        FRONT,
        "TIME",
        "silence before keep-alive probes to clients",
        |d, l| {
            d.clitcpka.1.1 = time(l, 0)?;
            Ok(())
        }
    ),
    keyword!(
        "clitcpka-intvl",
        FRONT,
        "TIME",
        "between keep-alive probes to clients",
        |d, l| {
            d.clitcpka.1.2 = time(l, 0)?;
            Ok(())
        }
    ),
    keyword!(
        "declare capture",
        F | L,
        "request|response len N",
        "a slot for a capture rule",
        |d, l| {
            let n = num(l, 2, 1, 65535)? as usize;
            match l.arg(0) {
                "request" => d.front.declared_captures.0.push(n),
                "response" => d.front.declared_captures.1.push(n),
                other => return l.fail(0, format!("'{other}' is neither request nor response")),
            }
            Ok(())
        }
    ),
    keyword!(
        "default-server",
        BACK,
        "WORDS",
        "words for the servers below",
        |d, l| {
            *d.default_server = crate::server::default_server(l, &d.default_server)?;
            Ok(())
        }
    ),
    keyword!(
        "default_backend",
        FRONT,
        "NAME",
        "where requests go that no use_backend takes",
        |d, l| {
            l.exactly(1, "the name of a backend")?;
            d.front.default_backend = Some(l.arg(0).into());
            d.references.push(Reference {
                name: l.arg(0).into(),
                place: l.place(0),
            });
            Ok(())
        }
    ),
    keyword!(
        "description",
        NAMED,
        "TEXT",
        "shown in the statistics",
        |d, l| {
            d.description = Some(l.texts(0).join(" ").into());
            Ok(())
        }
    ),
    keyword!("disabled", ALL, "", "this proxy is off", |d, l| {
        l.exactly(0, "nothing")?;
        d.disabled = true;
        Ok(())
    }),
    keyword!("enabled", ALL, "", "this proxy is on", |d, l| {
        l.exactly(0, "nothing")?;
        d.disabled = false;
        Ok(())
    }),
    keyword!(
        "errorfile",
        ALL,
        "CODE FILE",
        "what is answered instead of the built-in page",
        http::error_file
    ),
    keyword!(
        "errorfiles",
        ALL,
        "NAME [CODE]*",
        "pages of an http-errors section",
        http::error_files
    ),
    keyword!(
        "errorloc302",
        ALL,
        "CODE URL",
        "redirect instead of a page (302)",
        http::error_location
    ),
    keyword!(
        "errorloc303",
        ALL,
        "CODE URL",
        "redirect instead of a page (303)",
        http::error_location
    ),
    keyword!(
        "errorloc",
        ALL,
        "CODE URL",
        "redirect instead of a page (302)",
        http::error_location
    ),
    keyword!(
        "fullconn",
        BACK,
        "N",
        "accepted: for dynamic limits",
        |d, l| {
            d.back.fullconn = Some(num(l, 0, 0, 1 << 30)?);
            Ok(())
        }
    ),
    keyword!(
        "hash-type",
        BACK,
        "METHOD [FUNCTION [MODIFIER]]",
        "how hashes choose servers",
        |d, l| match l.arg(0) {
            "map-based" => {
                d.back.hash_method = HashMethod::MapBased;
                Ok(())
            }
            "consistent" => l.fail(
                0,
                "'consistent' is a hash method of HAProxy that mulgil does not have yet"
            ),
            other => l.fail(0, format!("unknown hash method '{other}': use map-based")),
        }
    ),
    keyword!(
        "http-check expect",
        BACK,
        "[!] status|string|rstring|rstatus PATTERN",
        "what a good answer is",
        check::http_expect
    ),
    keyword!(
        "http-check send",
        BACK,
        "[meth M] [uri U | uri-lf F] [ver V] [hdr NAME FMT]* [body B | body-lf F]",
        "what a check asks",
        check::http_send
    ),
    keyword!(
        "http-check connect",
        BACK,
        "[port N]",
        "a check connects",
        check::http_connect
    ),
    keyword!(
        "http-check disable-on-404",
        BACK,
        "",
        "404 means: no new sessions",
        |d, l| {
            l.exactly(0, "nothing")?;
            d.back.disable_on_404 = true;
            Ok(())
        }
    ),
    keyword!(
        "http-check send-state",
        BACK,
        "",
        "tell the server its state in checks",
        |d, l| {
            l.exactly(0, "nothing")?;
            d.back.check_send_state = true;
            Ok(())
        }
    ),
    keyword!(
        "http-request",
        ALL,
        "ACTION [if|unless CONDITION]",
        "a rule for requests",
        http::rule
    ),
    keyword!(
        "http-response",
        ALL,
        "ACTION [if|unless CONDITION]",
        "a rule for responses",
        http::rule
    ),
    keyword!(
        "http-after-response",
        ALL,
        "ACTION [if|unless CONDITION]",
        "a rule for all responses, our own included",
        http::rule
    ),
    keyword!(
        "http-reuse",
        BACK,
        "never|safe|aggressive|always",
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
        "[NAME]",
        "tell the server its name",
        |d, l| {
            d.http.send_name_header = (!l.arg(0).is_empty()).then(|| l.arg(0).into());
            Ok(())
        }
    ),
    keyword!("id", NAMED, "N", "this proxy's number", |d, l| {
        d.id = Some(num(l, 0, 1, i32::MAX as u64)?);
        Ok(())
    }),
    keyword!(
        "load-server-state-from-file",
        BACK,
        "global|local|none",
        "server states of the process before",
        |_, l| {
            match l.arg(0) {
        "none" => Ok(()),
        _ => l.fail(0, "'load-server-state-from-file' is a keyword of HAProxy that mulgil does not have yet"),
    }
        }
    ),
    keyword!(
        "log-format",
        FRONT,
        "FMT",
        "the line for each request",
        |d, l| {
            l.exactly(1, "a format")?;
            d.front.log_format = model::LogFormatSpec::Custom(l.line_format(0, &d.acls)?);
            Ok(())
        }
    ),
    keyword!(
        "log-tag",
        ALL,
        "TEXT",
        "the tag of this proxy's lines",
        |d, l| {
            d.log_tag = Some(l.arg(0).into());
            Ok(())
        }
    ),
    keyword!(no "log", ALL, "global | TARGET [len N] [format F] [sample S] FACILITY [LEVEL [MIN]]", "where lines go", |d, l| {
        if l.negated {
            d.logs.clear();
            d.log_global = false;
        } else if l.arg(0) == "global" {
            l.exactly(1, "nothing after 'global'")?;
            d.log_global = true;
        } else {
            d.logs.push(crate::log::parse(l)?);
        }
        Ok(())
    }),
    keyword!("maxconn", FRONT, "N", "sessions at a time", |d, l| {
        l.exactly(1, "a number")?;
        d.front.maxconn = Some(num(l, 0, 0, 1 << 30)?).filter(|n| *n > 0);
        Ok(())
    }),
    keyword!("mode", ALL, "http|tcp", "what is spoken", |d, l| {
        l.exactly(1, "http or tcp")?;
        d.mode =
            match l.arg(0) {
                "http" => Mode::Http,
                "tcp" => Mode::Tcp,
                "health" => return l.fail(
                    0,
                    "'mode health' is gone from the language: use 'http-request return status 200'",
                ),
                "log" | "spop" | "haterm" => {
                    return l.fail(
                        0,
                        format!(
                            "mode '{}' is one of HAProxy's that mulgil does not have yet",
                            l.arg(0)
                        ),
                    );
                }
                other => return l.fail(0, near("mode", other, &["http", "tcp"])),
            };
        Ok(())
    }),
    keyword!(
        "monitor fail",
        F | L,
        "if|unless CONDITION",
        "when monitor-uri answers 503",
        |d, l| {
            let cond = l.rules(0, &d.acls, rules::Cond::parse)?;
            d.front.monitor_fail.push(cond);
            Ok(())
        }
    ),
    keyword!(
        "monitor-uri",
        FRONT,
        "URI",
        "answered here with 200",
        |d, l| {
            l.exactly(1, "a URI")?;
            d.front.monitor_uri = Some(l.arg(0).into());
            Ok(())
        }
    ),
    keyword!(no "option", ALL, "NAME [ARGUMENTS]", "a behaviour", options::option),
    keyword!(
        "redirect",
        NAMED,
        "location|prefix|scheme FMT [code N] [OPTION]* [if|unless CONDITION]",
        "send clients elsewhere",
        |d, l| {
            let rule = l.rules(0, &d.acls, rules::Rule::redirect)?;
            d.http_request.push(rule);
            Ok(())
        }
    ),
    keyword!("retries", BACK, "N", "attempts after the first", |d, l| {
        l.exactly(1, "a number")?;
        d.back.retries = num(l, 0, 0, 100)?;
        Ok(())
    }),
    keyword!(
        "retry-on",
        BACK,
        "EVENT*",
        "what is worth another attempt",
        retry_on
    ),
    keyword!(
        "server",
        L | B,
        "NAME ADDRESS[:PORT] [WORDS]",
        "a server",
        server
    ),
    keyword!(
        "srvtcpka-cnt",
        BACK,
        "N",
        "keep-alive probes to servers",
        |d, l| {
            d.srvtcpka.1.0 = Some(num(l, 0, 1, 255)?);
            Ok(())
        }
    ),
    keyword!(
        "srvtcpka-idle",
        BACK,
        "TIME",
        "silence before keep-alive probes to servers",
        |d, l| {
            d.srvtcpka.1.1 = time(l, 0)?;
            Ok(())
        }
    ),
    keyword!(
        "srvtcpka-intvl",
        BACK,
        "TIME",
        "between keep-alive probes to servers",
        |d, l| {
            d.srvtcpka.1.2 = time(l, 0)?;
            Ok(())
        }
    ),
    keyword!(
        "stats",
        ALL,
        "WORD [ARGUMENTS]",
        "the statistics page",
        http::stats
    ),
    keyword!(
        "tcp-check connect",
        BACK,
        "[port N] [linger]",
        "a check connects",
        check::tcp_connect
    ),
    keyword!(
        "tcp-check expect",
        BACK,
        "[!] string|rstring|binary PATTERN",
        "what a good answer holds",
        check::tcp_expect
    ),
    keyword!(
        "tcp-check send-binary",
        BACK,
        "HEX",
        "a check sends bytes",
        check::tcp_send_binary
    ),
    keyword!(
        "tcp-check send",
        BACK,
        "TEXT",
        "a check sends text",
        check::tcp_send
    ),
    keyword!(
        "tcp-check comment",
        BACK,
        "TEXT",
        "shown when the next step fails",
        check::tcp_comment
    ),
    keyword!(
        "tcp-request connection",
        FRONT,
        "ACTION [if|unless CONDITION]",
        "a rule for new connections",
        http::rule
    ),
    keyword!(
        "tcp-request session",
        FRONT,
        "ACTION [if|unless CONDITION]",
        "a rule for new sessions",
        http::rule
    ),
    keyword!(
        "tcp-request content",
        ALL,
        "ACTION [if|unless CONDITION]",
        "a rule for content",
        http::rule
    ),
    keyword!(
        "timeout",
        ALL,
        "WHAT TIME",
        "how long to be patient",
        timeout
    ),
    keyword!(
        "unique-id-format",
        FRONT,
        "FMT",
        "what a request is named by",
        |d, l| {
            l.exactly(1, "a format")?;
            d.front.unique_id_format = Some(l.line_format(0, &d.acls)?);
            Ok(())
        }
    ),
    keyword!(
        "unique-id-header",
        FRONT,
        "NAME",
        "the header that carries the name",
        |d, l| {
            l.exactly(1, "a header name")?;
            d.front.unique_id_header = Some(l.arg(0).into());
            Ok(())
        }
    ),
    keyword!(
        "use-server",
        L | B,
        "NAME if|unless CONDITION",
        "a server for some requests",
        |d, l| {
            let rule = switch(d, l)?;
            d.back.use_server.push(rule);
            Ok(())
        }
    ),
    keyword!(
        "use_backend",
        F | L,
        "NAME [if|unless CONDITION]",
        "a backend for some requests",
        |d, l| {
            let rule = switch(d, l)?;
            if let SwitchTarget::Name(name) = &rule.target {
                d.references.push(Reference {
                    name: Arc::clone(name),
                    place: l.place(0),
                });
            }
            d.front.switches.push(rule);
            Ok(())
        }
    ),
];

fn num(line: &Line<'_>, at: usize, least: u64, most: u64) -> Result<u32, Fault> {
    line.map(at, units::number(line.arg(at), least, most))
        .map(|n| n as u32)
}

fn time(line: &Line<'_>, at: usize) -> Result<Option<Duration>, Fault> {
    line.map(at, units::timeout(line.arg(at)))
}

fn capture_len(line: &Line<'_>) -> Result<usize, Fault> {
    if line.arg(1) != "len" {
        return line.fail(1, format!("'{}' wants NAME len N", line.keyword()));
    }
    num(line, 2, 1, 65535).map(|n| n as usize)
}

/// "unknown X 'y': did you mean 'z'?"
pub(crate) fn near(what: &str, word: &str, names: &[&str]) -> String {
    match rules::nearest(word, names.iter().copied()) {
        Some(near) => format!("unknown {what} '{word}': did you mean '{near}'?"),
        None => format!("unknown {what} '{word}': use {}", names.join(", ")),
    }
}

/// The sentence for a word that no table of ours has.
pub(crate) fn unknown_word<'a>(
    what: &str,
    word: &str,
    known: &str,
    ours: impl Iterator<Item = &'a str>,
) -> String {
    if known.lines().any(|k| k == word) {
        return format!("'{word}' is a keyword of HAProxy that mulgil does not have yet");
    }
    match rules::nearest(word, ours) {
        Some(near) => format!("unknown {what} word '{word}': did you mean '{near}'?"),
        None if word.starts_with("//") || word.starts_with(';') => {
            format!("'{word}' starts no comment: comments start with '#'")
        }
        None => format!("unknown {what} word '{word}'"),
    }
}

fn timeout(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    l.exactly(2, "a name and a time, such as 'timeout client 30s'")?;
    let value = l.map(1, units::timeout(l.arg(1)))?;
    let t = &mut d.timeouts;
    let slot = match l.arg(0) {
        "check" => &mut t.check,
        "client" => &mut t.client,
        "client-fin" => &mut t.client_fin,
        "client-hs" => &mut t.client_hs,
        "connect" => &mut t.connect,
        "http-keep-alive" => &mut t.http_keep_alive,
        "http-request" => &mut t.http_request,
        "queue" => &mut t.queue,
        "server" => &mut t.server,
        "server-fin" => &mut t.server_fin,
        "tarpit" => &mut t.tarpit,
        "tunnel" => &mut t.tunnel,
        other => {
            let names = [
                "check",
                "client",
                "client-fin",
                "client-hs",
                "connect",
                "http-keep-alive",
                "http-request",
                "queue",
                "server",
                "server-fin",
                "tarpit",
                "tunnel",
            ];
            return l.fail(0, near("timeout", other, &names));
        }
    };
    *slot = value;
    Ok(())
}

fn balance(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let name = l.arg(0);
    let end = name.find('(').unwrap_or(name.len());
    let (bare, argument) = name.split_at(end);
    let argument = argument.strip_prefix('(').and_then(|a| a.strip_suffix(')'));
    d.back.balance = match bare {
        "roundrobin" => Balance::RoundRobin,
        "static-rr" => Balance::StaticRr,
        "leastconn" => Balance::LeastConn,
        "first" => Balance::First,
        "source" => Balance::Source,
        "random" => {
            let draws = match argument {
                None => 2,
                Some(n) => l.map(0, units::number(n, 1, 1000))? as u32,
            };
            Balance::Random { draws }
        }
        "uri" => {
            let (mut len, mut depth, mut whole, mut path_only) = (None, None, false, false);
            let mut at = 1;
            while !l.arg(at).is_empty() {
                match l.arg(at) {
                    "len" => {
                        len = Some(num(l, at + 1, 1, 1 << 20)?);
                        at += 1;
                    }
                    "depth" => {
                        depth = Some(num(l, at + 1, 1, 1 << 20)?);
                        at += 1;
                    }
                    "whole" => whole = true,
                    "path-only" => path_only = true,
                    other => {
                        return l.fail(
                            at,
                            near(
                                "word of 'balance uri'",
                                other,
                                &["len", "depth", "whole", "path-only"],
                            ),
                        );
                    }
                }
                at += 1;
            }
            Balance::Uri {
                len,
                depth,
                whole,
                path_only,
            }
        }
        "url_param" => Balance::UrlParam {
            name: l.arg(1).into(),
            check_post: None,
        },
        "hdr" => match argument {
            Some(header) if !header.is_empty() => Balance::Header {
                name: header.into(),
                use_domain_only: l.arg(1) == "use_domain_only",
            },
            _ => return l.fail(0, "'balance hdr' wants a header's name, such as hdr(host)"),
        },
        "hash" => {
            let expr = l.rules(1, &rules::Acls::default(), |words, scope| {
                rules::Expr::parse(words.first().copied().unwrap_or_default(), scope)
            })?;
            Balance::Hash(Arc::new(expr))
        }
        "rdp-cookie" | "log-hash" | "sticky" => {
            return l.fail(
                0,
                format!("'{bare}' is a way to balance of HAProxy that mulgil does not have yet"),
            );
        }
        "" => return l.fail(0, "'balance' wants an algorithm, such as roundrobin"),
        other => {
            let names = [
                "roundrobin",
                "static-rr",
                "leastconn",
                "first",
                "source",
                "uri",
                "url_param",
                "hdr",
                "random",
                "hash",
            ];
            return l.fail(0, near("algorithm", other, &names));
        }
    };
    Ok(())
}

fn server(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let mut server = crate::server::server(l, &d.default_server)?;
    if server.id == 0 {
        // Numbers count on from the last one given.
        server.id = d.back.servers.last().map_or(1, |s| s.id.saturating_add(1));
    }
    d.default_server.share(&server);
    d.back.servers.push(server);
    Ok(())
}

fn switch(d: &Draft, l: &Line<'_>) -> Result<SwitchRule, Fault> {
    let name = l.arg(0);
    if name.is_empty() || name == "if" || name == "unless" {
        return l.fail(
            0,
            format!("'{}' wants a name before the condition", l.keyword()),
        );
    }
    let target = if name.contains('%') {
        let format = l.format(0)?;
        match format.fixed() {
            Some(fixed) => SwitchTarget::Name(String::from_utf8_lossy(fixed).as_ref().into()),
            None => SwitchTarget::Format(format),
        }
    } else {
        SwitchTarget::Name(name.into())
    };
    let condition = match l.arg(1) {
        "" => None,
        "if" | "unless" => Some(l.rules(1, &d.acls, rules::Cond::parse)?),
        other => return l.fail(1, format!("'{other}' stands where 'if' or 'unless' should")),
    };
    Ok(SwitchRule { target, condition })
}

fn retry_on(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    use model::RetryOn;
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
