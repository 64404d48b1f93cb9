//! `option httpchk`, `http-check`, `tcp-check`: what a backend's checks say and want to hear.

mod connect;
mod expect;
mod finish;
mod probe;
mod send;
mod vars;

pub use finish::finish;
pub use probe::{external_check, grpc_check, mysql_check, of_kind, of_probe, pgsql_check, smtpchk};
pub use send::httpchk;

use super::{Keyword, keyword, near};
use crate::diag::Fault;
use crate::draft::sections::*;
use crate::draft::{CheckRules, Draft};
use crate::line::Line;
use model::{CheckAction, CheckStep};
use rules::LogFormat;
use std::sync::Arc;

/// Which kind of rules.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Tcp,
    Udp,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Http => "http-check",
            Kind::Tcp => "tcp-check",
            Kind::Udp => "udp-check",
        }
    }

    /// The rules of this kind; the first of a section takes the place of those of its defaults.
    fn rules(self, d: &mut Draft) -> &mut CheckRules {
        let rules = match self {
            Kind::Http => &mut d.check.http,
            Kind::Tcp => &mut d.check.tcp,
            Kind::Udp => &mut d.check.udp,
        };
        if rules.inherited {
            *rules = CheckRules::default();
        }
        rules
    }
}

/// Keywords of checks.
pub(super) static CHECK_KEYWORDS: &[Keyword] = &[
    keyword!(
        "external-check command",
        BACK,
        "PROGRAM",
        "/bin/true",
        "the program that checks a server",
        |d, l| {
            l.exactly(1, "a program")?;
            d.check.command = Some(l.arg(0).into());
            Ok(())
        }
    ),
    keyword!(
        "external-check path",
        BACK,
        "PATH",
        "/usr/bin:/bin",
        "where that program looks for others",
        |d, l| {
            l.exactly(1, "a path")?;
            d.check.path = Some(l.arg(0).into());
            Ok(())
        }
    ),
    keyword!(
        "http-check comment",
        BACK,
        "TEXT",
        "login",
        "told when the next rule fails",
        |d, l| comment(d, l, Kind::Http)
    ),
    keyword!(
        "http-check connect",
        BACK,
        "[default] [port N|EXPR] [addr IP] [send-proxy] [ssl] [sni NAME] [alpn LIST] [linger] [proto NAME] [comment TEXT]",
        "port 8080 addr 127.0.0.1 send-proxy linger comment web",
        "a check connects",
        |d, l| connect::connect(d, l, Kind::Http)
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
        "http-check expect",
        BACK,
        "[min-recv N] [comment TEXT] [ok-status ST] [error-status ST] [tout-status ST] [on-success FMT] [on-error FMT] [status-code EXPR] [!] status|rstatus|hdr|fhdr|string|rstring|string-lf PATTERN",
        "comment page status 200-399",
        "what a good answer is",
        |d, l| expect::expect(d, l, Kind::Http)
    ),
    keyword!(
        "http-check send",
        BACK,
        "[meth M] [uri U | uri-lf F] [ver V] [hdr NAME FMT]* [body B | body-lf F] [comment TEXT]",
        "meth GET uri /status",
        "what a check asks",
        send::request
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
        "http-check set-var",
        BACK,
        "(NAME[,COND…]) EXPR",
        "(check.port) int(8080)",
        "set a variable of the check",
        |d, l| vars::set(d, l, Kind::Http, false)
    ),
    keyword!(
        "http-check set-var-fmt",
        BACK,
        "(NAME[,COND…]) FMT",
        "(check.name) %[srv_name]",
        "set a variable of the check to a text",
        |d, l| vars::set(d, l, Kind::Http, true)
    ),
    keyword!(
        "http-check unset-var",
        BACK,
        "(NAME)",
        "(check.port)",
        "forget a variable of the check",
        |d, l| vars::unset(d, l, Kind::Http)
    ),
    keyword!(
        "tcp-check comment",
        BACK,
        "TEXT",
        "ping",
        "told when the next rule fails",
        |d, l| comment(d, l, Kind::Tcp)
    ),
    keyword!(
        "tcp-check connect",
        BACK,
        "[default] [port N|EXPR] [addr IP] [send-proxy] [ssl] [sni NAME] [alpn LIST] [linger] [proto NAME] [comment TEXT]",
        "port 8080 linger",
        "a check connects",
        |d, l| connect::connect(d, l, Kind::Tcp)
    ),
    keyword!(
        "tcp-check expect",
        BACK,
        "[min-recv N] [comment TEXT] [ok-status ST] [error-status ST] [tout-status ST] [on-success FMT] [on-error FMT] [status-code EXPR] [!] string|rstring|string-lf|binary|rbinary|binary-lf PATTERN",
        "string +PONG",
        "what a good answer holds",
        |d, l| expect::expect(d, l, Kind::Tcp)
    ),
    keyword!(
        "tcp-check send",
        BACK,
        "TEXT [comment TEXT]",
        "PING",
        "a check sends text",
        |d, l| send::bytes(d, l, Kind::Tcp, send::How::Text)
    ),
    keyword!(
        "tcp-check send-binary",
        BACK,
        "HEX [comment TEXT]",
        "50494e470d0a",
        "a check sends bytes",
        |d, l| send::bytes(d, l, Kind::Tcp, send::How::Hex)
    ),
    keyword!(
        "tcp-check send-binary-lf",
        BACK,
        "HEXFMT [comment TEXT]",
        "%[srv_name,hex]",
        "a check sends the bytes that a format gives in hexadecimal",
        |d, l| send::bytes(d, l, Kind::Tcp, send::How::HexFormat)
    ),
    keyword!(
        "tcp-check send-lf",
        BACK,
        "FMT [comment TEXT]",
        "%[srv_name]",
        "a check sends what a format gives",
        |d, l| send::bytes(d, l, Kind::Tcp, send::How::Format)
    ),
    keyword!(
        "tcp-check set-var",
        BACK,
        "(NAME[,COND…]) EXPR",
        "(check.port) int(8080)",
        "set a variable of the check",
        |d, l| vars::set(d, l, Kind::Tcp, false)
    ),
    keyword!(
        "tcp-check set-var-fmt",
        BACK,
        "(NAME[,COND…]) FMT",
        "(check.name) %[srv_name]",
        "set a variable of the check to a text",
        |d, l| vars::set(d, l, Kind::Tcp, true)
    ),
    keyword!(
        "tcp-check unset-var",
        BACK,
        "(NAME)",
        "(check.port)",
        "forget a variable of the check",
        |d, l| vars::unset(d, l, Kind::Tcp)
    ),
    keyword!(
        "udp-check expect",
        BACK,
        "[min-recv N] [comment TEXT] … [!] string|rstring|string-lf|binary|rbinary|binary-lf PATTERN",
        "string pong",
        "what a good answer holds",
        |d, l| expect::expect(d, l, Kind::Udp)
    ),
    keyword!(
        "udp-check send",
        BACK,
        "TEXT [comment TEXT]",
        "ping",
        "a check sends a datagram",
        |d, l| send::bytes(d, l, Kind::Udp, send::How::Text)
    ),
    keyword!(
        "udp-check send-binary",
        BACK,
        "HEX [comment TEXT]",
        "00ff",
        "a check sends a datagram of these bytes",
        |d, l| send::bytes(d, l, Kind::Udp, send::How::Hex)
    ),
];

/// Adds a rule; a comment before it is its own unless it has one.
fn push(d: &mut Draft, kind: Kind, action: CheckAction, comment: Option<Arc<str>>) {
    let rules = kind.rules(d);
    rules.lines += 1;
    let speaks = !matches!(action, CheckAction::SetVar(_) | CheckAction::UnsetVar(_));
    let before = if speaks { rules.comment.take() } else { None };
    rules.steps.push(CheckStep {
        action,
        comment: comment.or(before),
        number: rules.lines,
    });
}

fn comment(d: &mut Draft, l: &mut Line<'_>, kind: Kind) -> Result<(), Fault> {
    if l.arg(0).is_empty() {
        return l.exactly(1, "a text");
    }
    l.surplus(1);
    let rules = kind.rules(d);
    rules.lines += 1;
    rules.comment = Some(l.arg(0).into());
    Ok(())
}

/// The value after the word at `at`.
fn value<'a>(l: &Line<'a>, at: usize) -> Result<&'a str, Fault> {
    match l.arg(at + 1) {
        "" => l.fail(at, format!("'{}' wants a value after it", l.arg(at))),
        value => Ok(value),
    }
}

/// A text as a format: its percent signs are doubled, so that it parses to itself.
fn fixed(text: &str) -> Arc<LogFormat> {
    Arc::new(LogFormat::parse(&text.replace('%', "%%"), &rules::Scope::bare()).unwrap_or_default())
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
