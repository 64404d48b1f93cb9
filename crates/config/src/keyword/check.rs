//! `option httpchk`, `http-check`, `tcp-check`.

use super::{Keyword, keyword, near, num};
use crate::diag::Fault;
use crate::draft::sections::*;
use crate::draft::{Draft, Line};
use model::{Expect, HttpCheckSend, HttpCheckStep, TcpCheckStep};
use rules::LogFormat;
use std::sync::Arc;

/// Keywords of checks.
pub(super) static CHECK_KEYWORDS: &[Keyword] = &[
    keyword!(
        "http-check expect",
        BACK,
        "[!] status|string|rstring|rstatus PATTERN",
        "status 200-399",
        "what a good answer is",
        http_expect
    ),
    keyword!(
        "http-check send",
        BACK,
        "[meth M] [uri U | uri-lf F] [ver V] [hdr NAME FMT]* [body B | body-lf F]",
        "meth GET uri /status",
        "what a check asks",
        http_send
    ),
    keyword!(
        "http-check connect",
        BACK,
        "[port N]",
        "port 8080",
        "a check connects",
        http_connect
    ),
    keyword!(
        "http-check disable-on-404",
        BACK,
        "",
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
        "",
        "tell the server its state in checks",
        |d, l| {
            l.exactly(0, "nothing")?;
            d.back.check_send_state = true;
            Ok(())
        }
    ),
    keyword!(
        "tcp-check connect",
        BACK,
        "[port N] [linger]",
        "port 8080",
        "a check connects",
        tcp_connect
    ),
    keyword!(
        "tcp-check expect",
        BACK,
        "[!] string|rstring|binary PATTERN",
        "string +PONG",
        "what a good answer holds",
        tcp_expect
    ),
    keyword!(
        "tcp-check send-binary",
        BACK,
        "HEX",
        "50494e470d0a",
        "a check sends bytes",
        tcp_send_binary
    ),
    keyword!(
        "tcp-check send",
        BACK,
        "TEXT",
        "PING",
        "a check sends text",
        tcp_send
    ),
    keyword!(
        "tcp-check comment",
        BACK,
        "TEXT",
        "ping",
        "shown when the next step fails",
        tcp_comment
    ),
];

fn fixed(text: &str) -> Arc<LogFormat> {
    // A fixed text has its percent signs doubled, so that it parses to itself.
    Arc::new(LogFormat::parse(&text.replace('%', "%%"), &rules::Scope::bare()).unwrap_or_default())
}

/// What a check sends when nothing is said.
pub fn default_send() -> HttpCheckSend {
    HttpCheckSend {
        method: "OPTIONS".into(),
        uri: fixed("/"),
        version: "HTTP/1.0".into(),
        headers: Vec::new(),
        body: None,
    }
}

/// `option httpchk [URI | METHOD URI [VERSION [HOST]]]`.
pub fn httpchk(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    d.check.http = true;
    d.check.tcp = false;
    if !l.arg(5).is_empty() {
        return l.exactly(5, "a request");
    }
    let mut send = default_send();
    match (l.arg(1), l.arg(2)) {
        ("", _) => {}
        (uri, "") => send.uri = fixed(uri),
        (method, uri) => {
            send.method = method.into();
            send.uri = fixed(uri);
        }
    }
    // What follows the version is the Host, or header lines joined by `\r\n` in older files.
    let version = l.arg(3);
    if !version.is_empty() {
        let mut parts = version.split("\r\n");
        if version.contains("\r\n") {
            let message = "headers behind the version are an old way to name them: use 'http-check send hdr NAME VALUE'";
            l.warnings.push(Fault::warning(l.skip + 3, message));
        }
        send.version = parts.next().unwrap_or("HTTP/1.0").into();
        for header in parts {
            if let Some((name, value)) = header.split_once(':') {
                send.headers.push((name.trim().into(), fixed(value.trim())));
            }
        }
    }
    match l.arg(4) {
        "" => {}
        host => send.headers.push((
            "Host".into(),
            fixed(host.strip_prefix("Host: ").unwrap_or(host)),
        )),
    }
    d.check.send = Some(send);
    Ok(())
}

pub fn http_connect(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let mut port = None;
    let mut at = 0;
    while !l.arg(at).is_empty() {
        match l.arg(at) {
            "port" => {
                port = Some(num(l, at + 1, 1, 65535)? as u16);
                at += 1;
            }
            "default" | "linger" => {}
            other => return l.fail(at, connect_word("http-check", other)),
        }
        at += 1;
    }
    d.check.steps.push(HttpCheckStep::Connect {
        port,
        ssl: None,
        sni: None,
        send_proxy: false,
    });
    Ok(())
}

pub fn http_send(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let mut send = d.check.send.clone().unwrap_or_else(default_send);
    send.headers.clear();
    let explicit = d.check.send.is_none();
    if explicit {
        send.method = "GET".into();
    }
    let mut at = 0;
    while !l.arg(at).is_empty() {
        let value = l.arg(at + 1);
        match l.arg(at) {
            "meth" => send.method = value.into(),
            "uri" => send.uri = fixed(value),
            "uri-lf" => send.uri = l.format(at + 1)?,
            "ver" => send.version = value.into(),
            "hdr" => {
                send.headers.push((value.into(), l.format(at + 2)?));
                at += 1;
            }
            "body" => send.body = Some(fixed(value)),
            "body-lf" => send.body = Some(l.format(at + 1)?),
            "comment" => {}
            other => {
                return l.fail(
                    at,
                    near(
                        "http-check send word",
                        other,
                        &[
                            "meth", "uri", "uri-lf", "ver", "hdr", "body", "body-lf", "comment",
                        ],
                    ),
                );
            }
        }
        if value.is_empty() {
            return l.fail(at, format!("'{}' wants a value after it", l.arg(at)));
        }
        at += 2;
    }
    d.check.steps.push(HttpCheckStep::Send(send));
    Ok(())
}

pub fn http_expect(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let mut at = 0;
    // Words that change how results are reported stand before the pattern.
    while matches!(
        l.arg(at),
        "min-recv"
            | "comment"
            | "ok-status"
            | "error-status"
            | "tout-status"
            | "on-success"
            | "on-error"
            | "status-code"
    ) {
        at += 2;
    }
    let negated = l.arg(at) == "!";
    at += usize::from(negated);
    let value = l.arg(at + 1);
    if value.is_empty() {
        return l.fail(
            at,
            "'http-check expect' wants a kind and a pattern, such as status 200",
        );
    }
    if l.args().len() > at + 2 {
        return l.exactly(at + 2, "one pattern");
    }
    let expect = match l.arg(at) {
        "status" => {
            let ranges = value.split(',').map(|r| {
                let (low, high) = r.split_once('-').unwrap_or((r, r));
                Some((low.parse::<u16>().ok()?, high.parse::<u16>().ok()?))
            });
            match ranges.collect::<Option<Vec<_>>>() {
                Some(ranges) => Expect::Status { negated, ranges },
                None => {
                    return l.fail(
                        at + 1,
                        format!("'{value}' is no list of statuses, such as 200-399"),
                    );
                }
            }
        }
        "rstatus" => Expect::StatusRegex {
            negated,
            regex: regex(l, at + 1)?,
        },
        "string" => Expect::String {
            negated,
            needle: value.as_bytes().into(),
        },
        "rstring" => Expect::Regex {
            negated,
            regex: regex(l, at + 1)?,
        },
        other => {
            return l.fail(
                at,
                near(
                    "expectation",
                    other,
                    &["status", "rstatus", "string", "rstring"],
                ),
            );
        }
    };
    d.check.steps.push(HttpCheckStep::Expect(expect));
    d.check.expects = true;
    Ok(())
}

/// A regular expression that compiles.
fn regex(l: &Line<'_>, at: usize) -> Result<Arc<str>, Fault> {
    let text = l.arg(at);
    rules::check_regex(text).or_else(|m| l.fail(at, m))?;
    Ok(text.into())
}

/// The sentence for a word of `connect` that we do not have.
fn connect_word(kind: &str, word: &str) -> String {
    let known = [
        "addr",
        "send-proxy",
        "via-socks4",
        "ssl",
        "sni",
        "alpn",
        "proto",
        "comment",
    ];
    if known.contains(&word) {
        return format!(
            "'{kind} connect {word}' is something of HAProxy that mulgil does not have yet"
        );
    }
    let what = format!("{kind} connect word");
    near(&what, word, &["port", "linger", "default"])
}

pub fn tcp_connect(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let (mut port, mut linger) = (None, false);
    let mut at = 0;
    while !l.arg(at).is_empty() {
        match l.arg(at) {
            "port" => {
                port = Some(num(l, at + 1, 1, 65535)? as u16);
                at += 1;
            }
            "linger" => linger = true,
            "default" => {}
            other => return l.fail(at, connect_word("tcp-check", other)),
        }
        at += 1;
    }
    d.check.script.push(TcpCheckStep::Connect {
        port,
        ssl: false,
        send_proxy: false,
        linger,
    });
    Ok(())
}

pub fn tcp_send(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    l.exactly(1, "a text")?;
    d.check
        .script
        .push(TcpCheckStep::Send(l.arg(0).as_bytes().into()));
    Ok(())
}

pub fn tcp_send_binary(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    l.exactly(1, "hexadecimal digits")?;
    let bytes = unhex(l, 0)?;
    d.check.script.push(TcpCheckStep::Send(bytes));
    Ok(())
}

pub fn tcp_comment(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    l.exactly(1, "a text")?;
    d.check.script.push(TcpCheckStep::Comment(l.arg(0).into()));
    Ok(())
}

pub fn tcp_expect(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let negated = l.arg(0) == "!";
    let at = usize::from(negated);
    let value = l.arg(at + 1);
    if value.is_empty() {
        return l.fail(
            at,
            "'tcp-check expect' wants a kind and a pattern, such as string +PONG",
        );
    }
    if l.args().len() > at + 2 {
        return l.exactly(at + 2, "one pattern");
    }
    let expect = match l.arg(at) {
        "string" => Expect::String {
            negated,
            needle: value.as_bytes().into(),
        },
        "rstring" => Expect::Regex {
            negated,
            regex: regex(l, at + 1)?,
        },
        "binary" => Expect::Binary {
            negated,
            needle: unhex(l, at + 1)?,
        },
        other => {
            return l.fail(
                at,
                near("expectation", other, &["string", "rstring", "binary"]),
            );
        }
    };
    d.check.script.push(TcpCheckStep::Expect(expect));
    Ok(())
}

fn unhex(l: &Line<'_>, at: usize) -> Result<Arc<[u8]>, Fault> {
    match rules::unhex(l.arg(at).as_bytes()) {
        Some(bytes) => Ok(bytes.into()),
        None => l.fail(
            at,
            format!("'{}' is not hexadecimal, two digits a byte", l.arg(at)),
        ),
    }
}
