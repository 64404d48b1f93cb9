//! Keywords of the side that faces clients.

use super::{Keyword, keyword, num, persist, time};
use crate::diag::Fault;
use crate::draft::Reference;
use crate::draft::sections::*;
use crate::line::Line;
use model::{CaptureSlot, SwitchTarget};
use std::sync::Arc;

/// Keywords of frontends.
pub(super) static FRONT_KEYWORDS: &[Keyword] = &[
    keyword!(
        "backlog",
        FRONT,
        "N",
        "1000",
        "connections that may wait to be accepted",
        |d, l| {
            l.exactly(1, "a number")?;
            d.front.backlog = Some(num(l, 0, 1, 1 << 30)?);
            Ok(())
        }
    ),
    keyword!(
        "bind",
        F | L,
        "ADDRESS[,ADDRESS]* [WORDS]",
        "127.0.0.1:8080",
        "where clients connect",
        |d, l| {
            let binds = crate::bind::parse(l)?;
            d.front.binds.extend(binds);
            d.bind_places.resize(d.front.binds.len(), l.place(0));
            Ok(())
        }
    ),
    keyword!(
        "capture cookie",
        F | L,
        "NAME len N",
        "SESSION len 32",
        "keep a cookie for the log",
        persist::capture
    ),
    keyword!(
        "error-log-format",
        FRONT,
        "FMT",
        "%ci:%cp",
        "the line for what never became a request",
        |d, l| {
            l.exactly(1, "a format")?;
            d.front.error_log_format = Some(l.line_format(0, &d.acls)?);
            Ok(())
        }
    ),
    keyword!(
        "log-format-sd",
        FRONT,
        "FMT",
        "[web@32473\\ status=\\\"%ST\\\"]",
        "the structured data of lines to targets of format rfc5424",
        |d, l| {
            l.exactly(1, "a format")?;
            d.front.structured_log_format = Some(l.line_format(0, &d.acls)?);
            Ok(())
        }
    ),
    keyword!(
        "rate-limit sessions",
        FRONT,
        "N",
        "100",
        "new sessions a second",
        |d, l| {
            l.exactly(1, "a number")?;
            d.front.rate_limit_sessions = Some(num(l, 0, 0, 1 << 30)?);
            Ok(())
        }
    ),
    keyword!(
        "capture request header",
        F | L,
        "NAME len N",
        "User-Agent len 64",
        "keep a request header for the log",
        |d, l| {
            d.front
                .request_captures
                .push(CaptureSlot::header(l.arg(0), capture_len(l)?));
            Ok(())
        }
    ),
    keyword!(
        "capture response header",
        F | L,
        "NAME len N",
        "Server len 20",
        "keep a response header for the log",
        |d, l| {
            d.front
                .response_captures
                .push(CaptureSlot::header(l.arg(0), capture_len(l)?));
            Ok(())
        }
    ),
    keyword!(
        "clitcpka-cnt",
        FRONT,
        "N",
        "3",
        "keep-alive probes to clients",
        |d, l| {
            l.surplus(1);
            d.clitcpka.1.0 = Some(num(l, 0, 0, 255)?);
            Ok(())
        }
    ),
    keyword!(
        "clitcpka-idle",
        FRONT,
        "TIME",
        "10s",
        "silence before keep-alive probes to clients",
        |d, l| {
            l.surplus(1);
            d.clitcpka.1.1 = time(l, 0)?;
            Ok(())
        }
    ),
    keyword!(
        "clitcpka-intvl",
        FRONT,
        "TIME",
        "5s",
        "between keep-alive probes to clients",
        |d, l| {
            l.surplus(1);
            d.clitcpka.1.2 = time(l, 0)?;
            Ok(())
        }
    ),
    keyword!(
        "declare capture",
        F | L,
        "request|response len N",
        "request len 32",
        "a slot for a capture rule",
        |d, l| {
            if l.arg(1) != "len" {
                return l.fail(1, "'declare capture' wants request or response, then len N");
            }
            let n = num(l, 2, 0, 65535)? as usize;
            l.surplus(3);
            match l.arg(0) {
                "request" => d.front.request_captures.push(CaptureSlot::declared(n)),
                "response" => d.front.response_captures.push(CaptureSlot::declared(n)),
                other => return l.fail(0, format!("'{other}' is neither request nor response")),
            }
            Ok(())
        }
    ),
    keyword!(
        "default_backend",
        FRONT,
        "NAME",
        "app",
        "where requests go that no use_backend takes",
        |d, l| {
            l.exactly(1, "the name of a backend")?;
            d.front.default_backend = Some(l.arg(0).into());
            d.references.push(Reference {
                name: l.arg(0).into(),
                keyword: "default_backend",
                place: l.place(0),
            });
            Ok(())
        }
    ),
    keyword!(
        "maxconn",
        FRONT,
        "N",
        "2000",
        "sessions at a time",
        |d, l| {
            l.exactly(1, "a number")?;
            d.front.maxconn = Some(num(l, 0, 0, 1 << 30)?).filter(|n| *n > 0);
            Ok(())
        }
    ),
    keyword!(
        "max-session-srv-conns",
        FRONT,
        "N",
        "5",
        "connections to servers that are kept for one client alone",
        |d, l| {
            l.exactly(1, "a number")?;
            d.front.max_session_srv_conns = Some(num(l, 0, 0, 1 << 16)?);
            Ok(())
        }
    ),
    keyword!(
        "monitor fail",
        F | L,
        "if|unless CONDITION",
        "if { nbsrv(app) eq 0 }",
        "when monitor-uri answers 503",
        |d, l| {
            let cond = l.rules(0, &d.acls, rules::Cond::parse)?;
            d.front.monitor_fail.push(cond);
            Ok(())
        }
    ),
    keyword!(
        "force-be-switch",
        F | L,
        "if|unless CONDITION",
        "if { src 10.0.0.0/8 }",
        "who is led to backends that are not published, too",
        |d, l| {
            if !matches!(l.arg(0), "if" | "unless") {
                return l.fail(
                    0,
                    "'force-be-switch' wants 'if' or 'unless' and a condition",
                );
            }
            let cond = l.rules(0, &d.acls, rules::Cond::parse)?;
            d.front.force_switch.push(cond);
            Ok(())
        }
    ),
    keyword!(
        "monitor-uri",
        FRONT,
        "URI",
        "/alive",
        "answered here with 200",
        |d, l| {
            l.exactly(1, "a URI")?;
            d.front.monitor_uri = Some(l.arg(0).into());
            Ok(())
        }
    ),
    keyword!(
        "unique-id-format",
        FRONT,
        "FMT",
        "%{+X}o%ci",
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
        "X-Unique-ID",
        "the header that carries the name",
        |d, l| {
            l.exactly(1, "a header name")?;
            d.front.unique_id_header = Some(l.arg(0).into());
            Ok(())
        }
    ),
    keyword!(
        "use_backend",
        F | L,
        "NAME [if|unless CONDITION]",
        "app if { path_beg /app }",
        "a backend for some requests",
        |d, l| {
            let rule = super::switch(d, l)?;
            if let SwitchTarget::Name(name) = &rule.target {
                d.references.push(Reference {
                    name: Arc::clone(name),
                    keyword: "use_backend",
                    place: l.place(0),
                });
            }
            d.front.switches.push(rule);
            Ok(())
        }
    ),
];

pub(super) fn capture_len(line: &Line<'_>) -> Result<usize, Fault> {
    if line.arg(1) != "len" {
        return line.fail(1, format!("'{}' wants NAME len N", line.keyword()));
    }
    let len = num(line, 2, 0, 65535)? as usize;
    if line.arg(3).is_empty() {
        return Ok(len);
    }
    line.fail(
        3,
        format!("'{}' is one word too many here: remove it", line.arg(3)),
    )
}
