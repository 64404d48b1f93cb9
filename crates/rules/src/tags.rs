//! The table of log tags (manual section 8.2.6), and how values look in a log line.

use crate::Ctx;
use crate::ctx::{LogFacts, Timers};
use crate::date::{Zone, clf_date, log_date};
use crate::digits::{self, decimal, three};
use crate::logformat::{Flags, log_text};
use std::io::Write;
use std::net::SocketAddr;

type Show = fn(&Ctx<'_>, &LogFacts<'_>, Flags, &mut Vec<u8>);

/// One tag.
#[derive(Debug)]
pub struct TagDef {
    /// Its letters, without the percent sign.
    pub name: &'static str,
    /// One line.
    pub doc: &'static str,
    show: Show,
}

macro_rules! tag {
    ($name:literal, $doc:literal, $show:expr) => {
        TagDef {
            name: $name,
            doc: $doc,
            show: $show,
        }
    };
}

/// All tags.
pub static TAGS: &[TagDef] = &[
    tag!("B", "bytes sent to the client", |_, l, _, o| growing(
        l.bytes_read as i64,
        l,
        o
    )),
    tag!("CC", "captured request cookie", |_, l, f, o| quoted(
        l.cookie_captures[0].unwrap_or_default(),
        f,
        o
    )),
    tag!("CS", "captured response cookie", |_, l, f, o| quoted(
        l.cookie_captures[1].unwrap_or_default(),
        f,
        o
    )),
    tag!("H", "this machine's name", |cx, _, _, o| o
        .extend_from_slice(cx.facts.hostname().as_bytes())),
    tag!("HM", "the request's method", |cx, l, f, o| shown(
        request_part(cx, l, 0),
        f,
        o
    )),
    tag!(
        "HP",
        "the request's path, with what precedes it",
        |cx, l, f, o| {
            let target = request_part(cx, l, 1);
            shown(
                target.split(|b| *b == b'?').next().unwrap_or_default(),
                f,
                o,
            );
        }
    ),
    tag!("HPO", "the request's path only", |cx, l, f, o| {
        let target = request_part(cx, l, 1);
        let path = match target {
            UNREAD => target,
            b"*" => b"",
            _ => http::uri::path(target),
        };
        shown(path, f, o);
    }),
    tag!("HQ", "the query, with its question mark", |cx, l, f, o| {
        let target = request_part(cx, l, 1);
        let at = target.iter().position(|b| *b == b'?');
        let query = at.and_then(|at| target.get(at..)).unwrap_or_default();
        shown(if target == UNREAD { target } else { query }, f, o);
    }),
    tag!("HU", "the request's target", |cx, l, f, o| shown(
        request_part(cx, l, 1),
        f,
        o
    )),
    tag!("HV", "the request's version", |cx, l, f, o| shown(
        request_part(cx, l, 2),
        f,
        o
    )),
    tag!("ID", "the unique ID", |cx, _, f, o| log_text(
        cx.stream.unique_id.get(cx).unwrap_or_default(),
        f,
        o
    )),
    tag!("ST", "the status code", |_, l, _, o| number(
        l.status.map_or(-1, i64::from),
        o
    )),
    tag!("T", "the accept date, GMT", |cx, _, _, o| clf_date(
        cx.session.accepted.secs,
        &Zone::utc(0),
        o
    )),
    tag!("Ta", "active time of the request, ms", |_, l, _, o| time(
        l,
        |t| t.ta,
        true,
        o
    )),
    tag!("Tc", "connect time, ms", |_, l, _, o| time(
        l,
        |t| t.tc,
        false,
        o
    )),
    tag!("Td", "data time, ms", |_, l, _, o| time(
        l,
        |t| t.td,
        false,
        o
    )),
    tag!("Th", "handshake time, ms", |_, l, _, o| time(
        l,
        |t| t.th,
        false,
        o
    )),
    tag!("Ti", "idle time before the request, ms", |_, l, _, o| time(
        l,
        |t| t.ti,
        false,
        o
    )),
    tag!("Tl", "the accept date, local", |cx, _, _, o| {
        let at = cx.session.accepted.secs;
        clf_date(at, &cx.facts.local_zone(at), o)
    }),
    tag!(
        "Tq",
        "handshake, idle and request time, ms",
        |_, l, _, o| time(l, Timers::tq, false, o)
    ),
    tag!("TR", "time to receive the request, ms", |_, l, _, o| time(
        l,
        |t| t.tr_request,
        false,
        o
    )),
    tag!("Tr", "the server's response time, ms", |_, l, _, o| time(
        l,
        |t| t.tr,
        false,
        o
    )),
    tag!("Ts", "accept date, Unix seconds", |cx, _, f, o| base(
        cx.session.accepted.secs,
        f,
        o
    )),
    tag!("Tt", "total time, ms", |_, l, _, o| time(
        l,
        |t| t.tt,
        true,
        o
    )),
    tag!("Tu", "total time seen by the user, ms", |_, l, _, o| time(
        l,
        Timers::tu,
        true,
        o
    )),
    tag!("Tw", "time in the queue, ms", |_, l, _, o| time(
        l,
        |t| t.tw,
        false,
        o
    )),
    tag!("U", "bytes received from the client", |_, l, _, o| growing(
        l.bytes_uploaded as i64,
        l,
        o
    )),
    tag!("ac", "connections of the process", |_, l, _, o| number(
        l.actconn as i64,
        o
    )),
    tag!("b", "the backend's name", |cx, _, f, o| quoted(
        backend_name(cx),
        f,
        o
    )),
    tag!("bc", "sessions of the backend", |_, l, _, o| number(
        l.beconn as i64,
        o
    )),
    tag!("bi", "our address towards the server", |cx, _, f, o| {
        address(back(cx), f, o)
    }),
    tag!("bp", "our port towards the server", |cx, _, f, o| port(
        back(cx),
        f,
        o
    )),
    tag!(
        "bq",
        "position in the backend's queue",
        |_, l, _, o| number(l.backend_queue.into(), o)
    ),
    tag!("ci", "the client's address", |cx, _, f, o| address(
        cx.src(),
        f,
        o
    )),
    tag!("cp", "the client's port", |cx, _, f, o| port(
        cx.src(),
        f,
        o
    )),
    tag!("f", "the frontend's name", |cx, _, f, o| quoted(
        cx.session.listener.frontend.as_bytes(),
        f,
        o
    )),
    tag!("fc", "sessions of the frontend", |_, l, _, o| number(
        l.feconn as i64,
        o
    )),
    tag!(
        "fi",
        "the address the client connected to",
        |cx, _, f, o| address(cx.dst(), f, o)
    ),
    tag!(
        "fp",
        "the port the client connected to",
        |cx, _, f, o| port(cx.dst(), f, o)
    ),
    tag!(
        "ft",
        "the frontend's name, ~ behind it with TLS",
        |cx, l, f, o| {
            let mut name = cx.session.listener.frontend.as_bytes().to_vec();
            if l.tls {
                name.push(b'~');
            }
            quoted(&name, f, o);
        }
    ),
    tag!("hr", "captured request headers", |cx, _, f, o| captures(
        cx.captures[0],
        f,
        o,
        false
    )),
    tag!(
        "hrl",
        "captured request headers, a field each",
        |cx, _, f, o| captures(cx.captures[0], f, o, true)
    ),
    tag!("hs", "captured response headers", |cx, _, f, o| captures(
        cx.captures[1],
        f,
        o,
        false
    )),
    tag!(
        "hsl",
        "captured response headers, a field each",
        |cx, _, f, o| captures(cx.captures[1], f, o, true)
    ),
    tag!(
        "lc",
        "lines that the frontend has logged so far",
        |cx, _, f, o| {
            let frontend = &cx.session.listener.frontend;
            base(cx.facts.lines(frontend) as i64, f, o);
        }
    ),
    tag!("ms", "milliseconds of the accept date", |cx, _, f, o| {
        let ms = cx.session.accepted.micros / 1000;
        if f.hex {
            let _ = write!(o, "{ms:02X}");
        } else {
            three(ms.into(), o);
        }
    }),
    tag!("pid", "the process's number", |cx, _, f, o| base(
        cx.facts.pid().into(),
        f,
        o
    )),
    tag!("r", "the request line", |cx, l, f, o| {
        quoted(request_line(cx, l), f, o);
    }),
    tag!(
        "rc",
        "retries, + before it when redispatched",
        |_, l, _, o| {
            if l.redispatched {
                o.push(b'+');
            }
            number(l.retries.into(), o);
        }
    ),
    tag!(
        "rt",
        "the number of the request or session",
        |cx, _, f, o| {
            base(cx.stream.overrides.number(cx.facts) as i64, f, o);
        }
    ),
    tag!("s", "the server's name", |cx, _, f, o| {
        let name = cx.stream.server.as_deref().map(str::as_bytes);
        quoted(name.unwrap_or(b"<NOSRV>"), f, o);
    }),
    tag!("sc", "sessions of the server", |_, l, _, o| number(
        l.srv_conn as i64,
        o
    )),
    tag!("si", "the server's address", |_, l, f, o| address(
        l.server_address,
        f,
        o
    )),
    tag!("sp", "the server's port", |_, l, f, o| port(
        l.server_address,
        f,
        o
    )),
    tag!("sq", "position in the server's queue", |_, l, _, o| number(
        l.srv_queue.into(),
        o
    )),
    tag!("sslc", "TLS cipher", |cx, _, f, o| quoted(
        cx.session
            .tls
            .as_ref()
            .map_or(&b""[..], |t| t.agreed.cipher.as_bytes()),
        f,
        o
    )),
    tag!("sslv", "TLS version", |cx, _, f, o| quoted(
        cx.session
            .tls
            .as_ref()
            .map_or(&b""[..], |t| t.agreed.version.as_bytes()),
        f,
        o
    )),
    tag!("t", "the accept date with milliseconds", |cx, _, _, o| {
        let at = cx.session.accepted;
        log_date(at, &cx.facts.local_zone(at.secs), o)
    }),
    tag!(
        "tr",
        "the request's date with milliseconds",
        |cx, l, _, o| log_date(l.request, &cx.facts.local_zone(l.request.secs), o)
    ),
    tag!("trg", "the request's date, GMT", |_, l, _, o| clf_date(
        l.request.secs,
        &Zone::utc(0),
        o
    )),
    tag!("trl", "the request's date, local", |cx, l, _, o| clf_date(
        l.request.secs,
        &cx.facts.local_zone(l.request.secs),
        o
    )),
    tag!("ts", "the two termination flags", |_, l, _, o| o
        .extend_from_slice(
            l.termination.get(..2).unwrap_or_default()
        )),
    tag!(
        "tsc",
        "the termination flags with those for cookies",
        |_, l, _, o| o.extend_from_slice(&l.termination)
    ),
];

impl TagDef {
    /// Whether it shows nothing at all where there is nothing to show.
    pub(crate) fn is_optional(&self) -> bool {
        matches!(self.name, "hr" | "hrl" | "hs" | "hsl")
    }
}

/// The tag of that name.
pub fn find(name: &str) -> Option<&'static TagDef> {
    TAGS.iter().find(|t| t.name == name)
}

/// Appends a tag's value; outside of logs, of what is known by then.
pub(crate) fn write(tag: &TagDef, flags: Flags, cx: &Ctx<'_>, out: &mut Vec<u8>) {
    match cx.log {
        Some(facts) => (tag.show)(cx, facts, flags, out),
        None => {
            let facts = LogFacts {
                request: cx.now,
                end: cx.now,
                termination: *b"----",
                ..LogFacts::default()
            };
            (tag.show)(cx, &facts, flags, out);
        }
    }
}

/// Appends text as [`quoted`] does, but nothing when empty.
fn shown(text: &[u8], flags: Flags, out: &mut Vec<u8>) {
    if !text.is_empty() || flags.quote {
        quoted(text, flags, out);
    }
}

/// Appends text as a log line shows it: `-` when empty; quotes, control and non-ASCII bytes as `#XX`.
pub(crate) fn quoted(text: &[u8], flags: Flags, out: &mut Vec<u8>) {
    if text.is_empty() && !flags.quote {
        out.push(b'-');
        return;
    }
    if flags.quote {
        out.push(b'"');
    }
    // Nearly always all of it stays as it is.
    let plain = |b: &u8| !matches!(b, b'"' | b'\\' | b']' | b'#' | 0..=0x1f | 0x7f..);
    if text.iter().all(plain) {
        out.extend_from_slice(text);
    } else {
        escaped(text, flags, b"", out);
    }
    if flags.quote {
        out.push(b'"');
    }
}

/// `more`: what is written as `#XX`, too.
fn escaped(text: &[u8], flags: Flags, more: &[u8], out: &mut Vec<u8>) {
    for b in text {
        match b {
            b'\\' | b']' if flags.escape => out.extend_from_slice(&[b'\\', *b]),
            b'"' | b'#' | 0..=0x1f | 0x7f.. => {
                let _ = write!(out, "#{b:02X}");
            }
            b if more.contains(b) => {
                let _ = write!(out, "#{b:02X}");
            }
            _ => out.push(*b),
        }
    }
}

fn number(n: i64, out: &mut Vec<u8>) {
    decimal(n, out);
}

fn base(n: i64, flags: Flags, out: &mut Vec<u8>) {
    if flags.hex {
        let _ = write!(out, "{n:04X}");
    } else {
        number(n, out);
    }
}

/// A number that still grows shows so.
fn growing(n: i64, facts: &LogFacts<'_>, out: &mut Vec<u8>) {
    if facts.unfinished {
        out.push(b'+');
    }
    number(n, out);
}

fn time(facts: &LogFacts<'_>, of: impl Fn(&Timers) -> i64, total: bool, out: &mut Vec<u8>) {
    if total && facts.unfinished {
        out.push(b'+');
    }
    number(facts.timers.as_ref().map_or(-1, of), out);
}

fn backend_name<'s>(cx: &'s Ctx<'_>) -> &'s [u8] {
    cx.stream
        .backend
        .as_deref()
        .unwrap_or(&cx.session.listener.frontend)
        .as_bytes()
}

/// Our address towards the server.
fn back(cx: &Ctx<'_>) -> Option<SocketAddr> {
    Some(cx.stream.overrides.back(cx.facts)?.0)
}

fn address(address: Option<SocketAddr>, flags: Flags, out: &mut Vec<u8>) {
    let Some(address) = address else {
        return quoted(b"", flags, out);
    };
    let ip = address.ip().to_canonical();
    let _ = match (ip, flags.hex) {
        (std::net::IpAddr::V4(ip), true) => write!(out, "{:08X}", u32::from(ip)),
        (std::net::IpAddr::V6(ip), true) => write!(out, "{:032X}", u128::from(ip)),
        (ip, false) if flags.quote => write!(out, "\"{ip}\""),
        (ip, false) => {
            digits::address(ip, out);
            Ok(())
        }
    };
}

fn port(address: Option<SocketAddr>, flags: Flags, out: &mut Vec<u8>) {
    match address {
        Some(address) => base(address.port().into(), flags, out),
        None => out.push(b'-'),
    }
}

/// The request line: as it was received, or, while rules run, as it is.
fn request_line<'a>(cx: &'a Ctx<'_>, facts: &LogFacts<'a>) -> &'a [u8] {
    match (facts.request_line, cx.request()) {
        (b"", Some(head)) => head.start_line(),
        (b"", None) => UNREAD,
        (line, _) => line,
    }
}

/// Method, target or version of the request line.
fn request_part<'a>(cx: &'a Ctx<'_>, facts: &LogFacts<'a>, part: usize) -> &'a [u8] {
    match request_line(cx, facts) {
        UNREAD => UNREAD,
        line => line.splitn(3, |b| *b == b' ').nth(part).unwrap_or_default(),
    }
}

/// What stands for a request that could not be read, and for its parts.
const UNREAD: &[u8] = b"<BADREQ>";

fn captures(slots: &[Option<Box<[u8]>>], flags: Flags, out: &mut Vec<u8>, separate: bool) {
    // Where nothing is captured the field is left out, and the space before the next one with it.
    if slots.is_empty() {
        return;
    }
    let quote: &[u8] = if flags.quote { b"\"" } else { b"" };
    let (before, between, after): (&[u8], &[u8], &[u8]) = match separate {
        true => (b"", b" ", b""),
        false => (b"{", b"|", b"}"),
    };
    if !separate {
        out.extend_from_slice(quote);
    }
    out.extend_from_slice(before);
    for (i, slot) in slots.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(between);
        }
        match slot.as_deref() {
            None if separate => quoted(b"", flags, out),
            None => {}
            Some(text) => {
                let around = if separate { quote } else { b"" };
                out.extend_from_slice(around);
                escaped(text, flags, b"{|}", out);
                out.extend_from_slice(around);
            }
        }
    }
    out.extend_from_slice(after);
    if !separate {
        out.extend_from_slice(quote);
    }
}
