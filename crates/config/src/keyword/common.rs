//! Keywords of both sides: what a proxy is, says and logs.

use super::{Keyword, keyword, near, num, options, pages, stats};
use crate::diag::Fault;
use crate::draft::sections::*;
use crate::draft::{Draft, Said};
use crate::line::Line;
use crate::units;
use model::Mode;

/// Keywords that stand on either side.
pub(super) static COMMON: &[Keyword] = &[
    keyword!(
        "acl",
        ALL,
        "NAME CRITERION [FLAGS] [PATTERN]*",
        "is_static path_beg /static",
        "declare an ACL",
        |d, l| {
            l.rules(0, &rules::Acls::default(), |words, scope| {
                d.acls.add(words, scope)
            })
        }
    ),
    keyword!(
        "description",
        NAMED,
        "TEXT",
        "a proxy of ours",
        "shown in the statistics",
        |d, l| {
            if l.args().is_empty() {
                return l.fail(0, "'description' wants a text");
            }
            d.description = Some(l.texts(0).join(" ").into());
            Ok(())
        }
    ),
    keyword!(
        "guid",
        NAMED,
        "NAME",
        "shop",
        "what it is called in files of statistics",
        |d, l| {
            l.exactly(1, "a name")?;
            d.guid = Some(super::guid(l, 0)?);
            Ok(())
        }
    ),
    keyword!("disabled", ALL, "", "", "this proxy is off", |d, l| {
        l.exactly(0, "nothing")?;
        d.disabled = true;
        Ok(())
    }),
    keyword!("enabled", ALL, "", "", "this proxy is on", |d, l| {
        l.exactly(0, "nothing")?;
        d.disabled = false;
        Ok(())
    }),
    keyword!(
        "errorfile",
        ALL,
        "CODE FILE",
        "503 sorry.http",
        "what is answered instead of the built-in page",
        pages::error_file_line
    ),
    keyword!(
        "errorfiles",
        ALL,
        "NAME [CODE]*",
        "pages 503",
        "pages of an http-errors section",
        pages::error_files
    ),
    keyword!(
        "errorloc302",
        ALL,
        "CODE URL",
        "503 https://sorry.example/",
        "redirect instead of a page (302)",
        pages::error_location
    ),
    keyword!(
        "errorloc303",
        ALL,
        "CODE URL",
        "503 https://sorry.example/",
        "redirect instead of a page (303)",
        pages::error_location
    ),
    keyword!(
        "errorloc",
        ALL,
        "CODE URL",
        "503 https://sorry.example/",
        "redirect instead of a page (302)",
        pages::error_location
    ),
    keyword!(
        "http-error",
        ALL,
        "status CODE [content-type T] [string S | file P | errorfile P | errorfiles N | default-errorfiles] [hdr NAME FMT]*",
        "status 503 content-type text/plain string sorry",
        "what is answered instead of the built-in page",
        pages::http_error
    ),
    keyword!("id", NAMED, "N", "4711", "this proxy's number", |d, l| {
        l.exactly(1, "a number")?;
        d.id = Some(num(l, 0, 1, i32::MAX as u64)?);
        Ok(())
    }),
    keyword!(
        "log-format",
        FRONT,
        "FMT",
        "%ci",
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
        "web",
        "the tag of this proxy's lines",
        |d, l| {
            if l.args().is_empty() {
                return l.fail(0, "'log-tag' wants a tag");
            }
            l.surplus(1);
            d.log_tag = Some(l.arg(0).into());
            Ok(())
        }
    ),
    keyword!(no "log", ALL, "global | TARGET [len N] [format F] [sample S] FACILITY [LEVEL [MIN]]", "127.0.0.1:514 local0", "where lines go", |d, l| {
        if l.negated {
            l.exactly(0, "nothing after 'no log'")?;
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
    keyword!(
        "mode",
        ALL,
        "http|tcp|udp|smtp|ftp|packet",
        "http",
        "what is spoken, or packets in the kernel",
        |d, l| {
            l.exactly(1, "http, tcp, udp, smtp, ftp or packet")?;
            d.mode = match l.arg(0) {
                "http" => Mode::Http,
                "tcp" => Mode::Tcp,
                "udp" => Mode::Udp,
                "smtp" => Mode::Smtp,
                "ftp" => Mode::Ftp,
                "packet" => Mode::Packet,
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
                other => {
                    return l.fail(
                        0,
                        near(
                            "mode",
                            other,
                            &["http", "tcp", "udp", "smtp", "ftp", "packet"],
                        ),
                    );
                }
            };
            Ok(())
        }
    ),
    keyword!(no "option", ALL, "NAME [ARGUMENTS]", "http-no-delay", "a behaviour", options::option),
    keyword!(
        "stats",
        ALL,
        "WORD [ARGUMENTS]",
        "enable",
        "the statistics page",
        stats::stats
    ),
    keyword!(
        "timeout",
        ALL,
        "WHAT TIME",
        "http-request 10s",
        "how long to be patient",
        timeout
    ),
];

/// Timeouts and where they mean something.
const TIMEOUTS: [(&str, u8); 18] = [
    ("timeout check", BACK),
    ("timeout client", FRONT),
    ("timeout client-fin", FRONT),
    ("timeout client-hs", FRONT),
    ("timeout connect", BACK),
    ("timeout http-keep-alive", ALL),
    ("timeout http-request", ALL),
    ("timeout queue", BACK),
    ("timeout session", BACK),
    ("timeout session-closed", BACK),
    ("timeout session-fin", BACK),
    ("timeout session-icmp", BACK),
    ("timeout session-syn", BACK),
    ("timeout session-udp", BACK),
    ("timeout server", BACK),
    ("timeout server-fin", BACK),
    ("timeout tarpit", ALL),
    ("timeout tunnel", BACK),
];

fn timeout(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let names = TIMEOUTS.map(|(name, _)| name.strip_prefix("timeout ").unwrap_or(name));
    if l.args().is_empty() {
        return l.fail(0, format!("'timeout' wants a name: {}", names.join(", ")));
    }
    let Some(at) = names.iter().position(|name| *name == l.arg(0)) else {
        return l.fail(0, near("timeout", l.arg(0), &names));
    };
    let (name, sections) = TIMEOUTS[at];
    if sections & d.section == 0 {
        return super::misplaced(d, l, name, sections, timeout_value);
    }
    let place = l.place_of_keyword();
    d.said.insert(Said::Keyword(name), place.clone());
    if let Some(before) = d.marks.insert(name, place)
        && d.section != D
        && before.file == d.place.file
        && before.line > d.place.line
    {
        let message = format!(
            "'{name}' stands at line {} already: this one counts",
            before.line
        );
        l.warnings.push(Fault::warning(0, message));
    }
    timeout_value(d, l)
}

fn timeout_value(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
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
        "session" => &mut t.session,
        "session-closed" => &mut t.session_closed,
        "session-fin" => &mut t.session_fin,
        "session-icmp" => &mut t.session_icmp,
        "session-syn" => &mut t.session_syn,
        "session-udp" => &mut t.session_udp,
        "tarpit" => &mut t.tarpit,
        _ => &mut t.tunnel,
    };
    l.exactly(2, "a name and a time, such as 'timeout client 30s'")?;
    let time = l.map(1, units::timeout(l.arg(1)))?;
    if time.is_none() && l.arg(0).starts_with("session") {
        let message =
            "sessions of which nothing is heard cannot be kept for ever: write a time, such as 1h";
        return l.fail(1, message);
    }
    *slot = time;
    Ok(())
}
