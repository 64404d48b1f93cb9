//! The table of actions: name, where it may stand, its words, a line, how they are read.

use super::RuleSet::{self, *};
use super::normalize::Normalizer;
use super::resolve;
use super::stick;
use super::words::{bad_request, bytes, challenge, millis, redirect, reply, smtp_reply, variable};
use super::{Action, ActionDef, LogLevelChange, NameMatch, Service, Silence};
use crate::pattern;

/// Every set of rules.
const EVERYWHERE: [RuleSet; 8] = [
    HttpRequest,
    HttpResponse,
    HttpAfterResponse,
    TcpRequestConnection,
    TcpRequestSession,
    TcpRequestContent,
    TcpResponseContent,
    SmtpRequest,
];
/// Those that may begin to track an entry, or forget a connection.
const TRACKING: [RuleSet; 6] = [
    HttpRequest,
    HttpResponse,
    TcpRequestConnection,
    TcpRequestSession,
    TcpRequestContent,
    SmtpRequest,
];
/// Those that let pass what they do not reject.
const ACCEPTING: [RuleSet; 5] = [
    TcpRequestConnection,
    TcpRequestSession,
    TcpRequestContent,
    TcpResponseContent,
    SmtpRequest,
];
/// Those that see a message of HTTP.
const HTTP: [RuleSet; 3] = [HttpRequest, HttpResponse, HttpAfterResponse];

const LEVELS: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

macro_rules! action {
    ($name:literal, $sets:expr, $args:literal, $doc:literal, $parse:expr) => {
        ActionDef {
            name: $name,
            sets: &$sets,
            args: $args,
            doc: $doc,
            parse: $parse,
        }
    };
}

/// All actions.
pub static ACTIONS: &[ActionDef] = &[
    action!("accept", ACCEPTING, "", "no further rules", |_, _| Ok(
        Action::Allow
    )),
    action!("allow", HTTP, "", "no further rules", |_, _| Ok(
        Action::Allow
    )),
    action!(
        "reject",
        [
            TcpRequestConnection,
            TcpRequestSession,
            TcpRequestContent,
            TcpResponseContent,
            SmtpRequest,
            HttpRequest
        ],
        "",
        "close without an answer; in mode smtp with 421",
        |_, _| Ok(Action::Reject)
    ),
    action!(
        "deny",
        [HttpRequest, HttpResponse, SmtpRequest],
        "[deny_status N | status N] [content-type T] [string S | lf-string F | file P | lf-file P | errorfile P | errorfiles N | default-errorfiles] [hdr NAME FMT]*",
        "answer with an error; to a command of SMTP: [status N] [string S | lf-string F]",
        |w, set| Ok(Action::Deny(Box::new(match set {
            SmtpRequest => smtp_reply(w)?,
            set => reply(w, if set.on_response() { 502 } else { 403 }, true)?,
        })))
    ),
    action!(
        "tarpit",
        [HttpRequest],
        "as deny",
        "hold the request for `timeout tarpit`, then answer with an error",
        |w, _| Ok(Action::Tarpit(Box::new(reply(w, 500, true)?)))
    ),
    action!(
        "auth",
        [HttpRequest],
        "[realm TEXT]",
        "ask for a user and a password",
        |w, _| Ok(Action::Return(Box::new(challenge(w)?)))
    ),
    action!(
        "return",
        [HttpRequest, HttpResponse],
        "[status N] [content-type T] [string S | lf-string F | file P | lf-file P | errorfile P | errorfiles N | default-errorfiles] [hdr NAME FMT]*",
        "answer",
        |w, _| Ok(Action::Return(Box::new(reply(w, 200, false)?)))
    ),
    action!(
        "redirect",
        [HttpRequest, HttpResponse],
        "location|prefix|scheme FMT [code N] [option]*",
        "send the client elsewhere",
        |w, _| Ok(Action::Redirect(Box::new(redirect(w)?)))
    ),
    action!(
        "silent-drop",
        TRACKING,
        "[rst-ttl N]",
        "forget the connection without telling the client, or with a reset that dies on its way",
        |w, _| match w.next() {
            None => Ok(Action::SilentDrop(Silence::Complete)),
            Some("rst-ttl") => match w.number(255)? {
                0 => w.fail("'rst-ttl' is a number from 1 to 255"),
                ttl => Ok(Action::SilentDrop(Silence::Reset(ttl as u8))),
            },
            Some(other) => w.fail(format!(
                "'{other}' stands where 'rst-ttl' or the condition should"
            )),
        }
    ),
    action!(
        "use-service",
        [HttpRequest],
        "prometheus-exporter",
        "have the proxy itself answer, here with its statistics for Prometheus",
        |w, _| {
            let name = w.expect("a service")?;
            match Service::ALL.into_iter().find(|s| s.name() == name) {
                Some(service) => Ok(Action::UseService(service)),
                None if name.starts_with("lua.") => w.fail(format!(
                    "'{name}' is written in Lua, which is something of HAProxy that mulgil does not have yet"
                )),
                None => {
                    let names = Service::ALL.map(Service::name).join(", ");
                    w.fail(format!("unknown service '{name}': there is {names}"))
                }
            }
        }
    ),
    action!(
        "set-header",
        HTTP,
        "NAME FMT",
        "replace all headers of that name",
        |w, _| Ok(Action::SetHeader(w.header_name()?, w.format("a value")?))
    ),
    action!("add-header", HTTP, "NAME FMT", "add a header", |w, _| Ok(
        Action::AddHeader(w.header_name()?, w.format("a value")?)
    )),
    action!(
        "del-header",
        HTTP,
        "NAME [-m str|beg|end|sub|reg]",
        "remove headers",
        |w, _| {
            let name = w.expect("a header name")?;
            let bytes: Box<[u8]> = name.as_bytes().into();
            Ok(Action::DelHeader(match w.next() {
                None => NameMatch::Exact(bytes),
                Some("-m") => match w.expect("a match method")? {
                    "str" => NameMatch::Exact(bytes),
                    "beg" => NameMatch::Begins(bytes),
                    "end" => NameMatch::Ends(bytes),
                    "sub" => NameMatch::Contains(bytes),
                    "reg" => NameMatch::Regex(pattern::regex(name, true).or_else(|m| w.fail(m))?),
                    other => {
                        return w.fail(format!(
                            "unknown match method '{other}': use str, beg, end, sub or reg"
                        ));
                    }
                },
                Some(other) => {
                    return w.fail(format!(
                        "'{other}' stands where '-m' or the condition should"
                    ));
                }
            }))
        }
    ),
    action!(
        "replace-header",
        HTTP,
        "NAME REGEX FMT",
        "replace in whole header lines",
        |w, _| Ok(Action::ReplaceHeader(
            w.header_name()?,
            w.regex()?,
            w.format("a replacement")?
        ))
    ),
    action!(
        "replace-value",
        HTTP,
        "NAME REGEX FMT",
        "replace in each comma-separated value",
        |w, _| Ok(Action::ReplaceValue(
            w.header_name()?,
            w.regex()?,
            w.format("a replacement")?
        ))
    ),
    action!(
        "replace-uri",
        [HttpRequest],
        "REGEX FMT",
        "replace in the target",
        |w, _| Ok(Action::ReplaceUri(w.regex()?, w.format("a replacement")?))
    ),
    action!(
        "replace-path",
        [HttpRequest],
        "REGEX FMT",
        "replace in the path",
        |w, _| Ok(Action::ReplacePath(w.regex()?, w.format("a replacement")?))
    ),
    action!(
        "replace-pathq",
        [HttpRequest],
        "REGEX FMT",
        "replace in path and query",
        |w, _| Ok(Action::ReplacePathq(w.regex()?, w.format("a replacement")?))
    ),
    action!(
        "set-method",
        [HttpRequest],
        "FMT",
        "change the method",
        |w, _| Ok(Action::SetMethod(w.format("a method")?))
    ),
    action!(
        "set-uri",
        [HttpRequest],
        "FMT",
        "change the target",
        |w, _| Ok(Action::SetUri(w.format("a target")?))
    ),
    action!(
        "set-path",
        [HttpRequest],
        "FMT",
        "change the path",
        |w, _| Ok(Action::SetPath(w.format("a path")?))
    ),
    action!(
        "set-pathq",
        [HttpRequest],
        "FMT",
        "change path and query",
        |w, _| Ok(Action::SetPathq(w.format("a path")?))
    ),
    action!(
        "set-query",
        [HttpRequest],
        "FMT",
        "change the query",
        |w, _| Ok(Action::SetQuery(w.format("a query")?))
    ),
    action!(
        "set-status",
        [HttpResponse, HttpAfterResponse],
        "N [reason STR]",
        "change the status",
        |w, _| {
            let text = w.expect("a status code")?;
            let status = match text.parse::<u16>() {
                Ok(s) if (100..=999).contains(&s) => s,
                _ => return w.fail(format!("'{text}' is no status code from 100 to 999")),
            };
            let reason = match w.next() {
                None => None,
                Some("reason") => Some(w.expect("a reason")?.as_bytes().into()),
                Some(other) => return w.fail(format!("'{other}' stands where 'reason' should")),
            };
            Ok(Action::SetStatus(status, reason))
        }
    ),
    action!(
        "set-var",
        EVERYWHERE,
        "(NAME[,CONDITION]*) EXPR",
        "set a variable",
        |w, _| {
            let (name, conditions) = variable(w)?;
            Ok(Action::SetVar(name, conditions, w.rest_expr()?))
        }
    ),
    action!(
        "set-var-fmt",
        EVERYWHERE,
        "(NAME[,CONDITION]*) FMT",
        "set a variable from a format",
        |w, _| {
            let (name, conditions) = variable(w)?;
            Ok(Action::SetVarFmt(name, conditions, w.format("a format")?))
        }
    ),
    action!(
        "unset-var",
        EVERYWHERE,
        "(NAME)",
        "forget a variable",
        |w, _| match variable(w)? {
            (name, conditions) if conditions.is_empty() => Ok(Action::UnsetVar(name)),
            _ => w.fail("'unset-var' takes a name and no conditions"),
        }
    ),
    action!(
        "normalize-uri",
        [HttpRequest],
        "NORMALIZER [full|strict]",
        "spell the target as others that mean the same",
        |w, _| {
            let name = w.expect("a normalizer")?;
            let option = w.next();
            match Normalizer::by_name(name, option) {
                Some(normalizer) => Ok(Action::Normalize(normalizer, Box::new(bad_request()))),
                None => w.fail(format!(
                    "unknown normalizer '{name} {}': use fragment-encode, fragment-strip, \
                     path-merge-slashes, path-strip-dot, path-strip-dotdot [full], \
                     percent-decode-unreserved [strict], percent-to-uppercase [strict] or \
                     query-sort-by-name",
                    option.unwrap_or_default()
                )),
            }
        }
    ),
    action!(
        "set-tos",
        [HttpRequest, HttpResponse, TcpRequestContent],
        "N",
        "the type of service of what is sent to the client",
        |w, _| Ok(Action::SetTos(w.number(255)? as u8))
    ),
    action!(
        "set-fc-tos",
        [HttpRequest, HttpResponse, TcpRequestContent],
        "N",
        "the type of service of what is sent to the client",
        |w, _| Ok(Action::SetTos(w.number(255)? as u8))
    ),
    action!(
        "set-mark",
        [HttpRequest, HttpResponse, TcpRequestContent],
        "N",
        "the firewall's mark of what is sent to the client",
        |w, _| Ok(Action::SetMark(w.number(u32::MAX)?))
    ),
    action!(
        "set-fc-mark",
        [HttpRequest, HttpResponse, TcpRequestContent],
        "N",
        "the firewall's mark of what is sent to the client",
        |w, _| Ok(Action::SetMark(w.number(u32::MAX)?))
    ),
    action!(
        "early-hint",
        [HttpRequest],
        "NAME FMT",
        "send a header ahead of the response (103, RFC 8297)",
        |w, _| Ok(Action::EarlyHint(w.header_name()?, w.format("a value")?))
    ),
    action!(
        "set-log-level",
        [
            HttpRequest,
            HttpResponse,
            HttpAfterResponse,
            TcpRequestContent,
            TcpResponseContent,
            SmtpRequest
        ],
        "LEVEL|silent",
        "change the severity of the log line",
        |w, _| {
            let text = w.expect("a level")?;
            let level = LEVELS.iter().position(|l| *l == text);
            match (text, level) {
                ("silent", _) => Ok(Action::SetLogLevel(LogLevelChange::Silent)),
                (_, Some(level)) => Ok(Action::SetLogLevel(LogLevelChange::Level(level as u8))),
                _ => w.fail(format!(
                    "unknown level '{text}': use silent, {}",
                    LEVELS.join(", ")
                )),
            }
        }
    ),
    action!(
        "expect-proxy",
        [TcpRequestConnection],
        "layer4",
        "a PROXY header comes before everything else, as with 'bind … accept-proxy'",
        |w, _| match w.expect("layer4")? {
            "layer4" => Ok(Action::ExpectProxy),
            other => w.fail(format!("'{other}' stands where 'layer4' should")),
        }
    ),
    action!(
        "expect-netscaler-cip",
        [TcpRequestConnection],
        "layer4",
        "a NetScaler tells of the client first, as with 'bind … accept-netscaler-cip', and with the number said there",
        |w, _| match w.expect("layer4")? {
            "layer4" => Ok(Action::ExpectNetscaler),
            other => w.fail(format!("'{other}' stands where 'layer4' should")),
        }
    ),
    action!(
        "switch-mode",
        [TcpRequestContent],
        "http [proto h1]",
        "a session of 'mode tcp' goes on as one of HTTP, with the frontend's rules for that",
        |w, _| {
            match w.expect("http")? {
                "http" => {}
                other => return w.fail(format!("'{other}' stands where 'http' should")),
            }
            if w.words.get(w.at) == Some(&"proto") {
                w.at += 1;
                match w.expect("h1")? {
                    "h1" => {}
                    other => {
                        return w.fail(format!(
                            "'{other}' is no protocol that is spoken here: write h1"
                        ));
                    }
                }
            }
            Ok(Action::SwitchMode)
        }
    ),
    action!(
        "set-nice",
        [
            HttpRequest,
            HttpResponse,
            TcpRequestContent,
            TcpResponseContent
        ],
        "N",
        "accepted: every request has the same share of a worker",
        |w, _| {
            let text = w.expect("a number")?;
            match text.parse::<i32>() {
                Ok(_) => Ok(Action::Nothing),
                Err(_) => w.fail(format!("'{text}' is no number from -1024 to 1024")),
            }
        }
    ),
    action!(
        "strict-mode",
        HTTP,
        "on|off",
        "accepted: a rewrite here never fails for want of room",
        |w, _| match w.expect("on or off")? {
            "on" | "off" => Ok(Action::Nothing),
            other => w.fail(format!("'{other}' is neither on nor off")),
        }
    ),
    action!(
        "disable-l7-retry",
        [HttpRequest],
        "",
        "send this request once only",
        |_, _| Ok(Action::DisableL7Retry)
    ),
    action!(
        "wait-for-handshake",
        [HttpRequest],
        "",
        "nothing to wait for: requests are read after the handshake, since early data is not taken",
        |_, _| Ok(Action::WaitForHandshake)
    ),
    action!(
        "set-priority-class",
        [HttpRequest, TcpRequestContent, SmtpRequest],
        "EXPR",
        "the class of this request in a queue, -2047 (first) to 2047",
        |w, _| Ok(Action::SetPriorityClass(w.rest_expr()?))
    ),
    action!(
        "set-priority-offset",
        [HttpRequest, TcpRequestContent, SmtpRequest],
        "EXPR",
        "by how many milliseconds this request counts as later in a queue",
        |w, _| Ok(Action::SetPriorityOffset(w.rest_expr()?))
    ),
    action!(
        "capture",
        [
            HttpRequest,
            HttpResponse,
            HttpAfterResponse,
            TcpRequestContent
        ],
        "EXPR len N | EXPR id N",
        "keep a value for the log",
        |w, _| {
            let expr = w.rest_expr()?;
            let how = w.expect("'len' or 'id'")?;
            let text = w.expect("a number")?;
            let Ok(n) = text.parse::<usize>() else {
                return w.fail(format!("'{text}' is no number"));
            };
            match how {
                "len" => {
                    w.capture_len = Some(n);
                    Ok(Action::Capture(expr, 0))
                }
                "id" => Ok(Action::CaptureTo(expr, n)),
                other => w.fail(format!("'{other}' stands where 'len' or 'id' should")),
            }
        }
    ),
    action!(
        "track-sc0",
        TRACKING,
        "KEY [table TABLE]",
        "track an entry of a stick table",
        stick::track
    ),
    action!(
        "track-sc1",
        TRACKING,
        "KEY [table TABLE]",
        "track an entry of a stick table as the second",
        stick::track
    ),
    action!(
        "track-sc2",
        TRACKING,
        "KEY [table TABLE]",
        "track an entry of a stick table as the third; `tune.stick-counters` allows more",
        stick::track
    ),
    action!(
        "sc-inc-gpc0",
        EVERYWHERE,
        "(N)",
        "add 1 to the first counter of what is tracked",
        |w, _| stick::count_named(w, 0)
    ),
    action!(
        "sc-inc-gpc1",
        EVERYWHERE,
        "(N)",
        "add 1 to the second counter of what is tracked",
        |w, _| stick::count_named(w, 1)
    ),
    action!(
        "sc-inc-gpc",
        EVERYWHERE,
        "(INDEX,N)",
        "add 1 to a counter of what is tracked",
        |w, _| stick::count(w)
    ),
    action!(
        "sc-add-gpc",
        EVERYWHERE,
        "(INDEX,N) NUMBER|EXPR",
        "add to a counter of what is tracked",
        |w, _| stick::add(w)
    ),
    action!(
        "sc-set-gpt0",
        EVERYWHERE,
        "(N) NUMBER|EXPR",
        "set the first tag of what is tracked",
        |w, _| stick::tag_named(w)
    ),
    action!(
        "sc-set-gpt",
        EVERYWHERE,
        "(INDEX,N) NUMBER|EXPR",
        "set a tag of what is tracked",
        |w, _| stick::tag(w)
    ),
    action!(
        "do-resolve",
        [HttpRequest, TcpRequestContent],
        "(VAR,RESOLVERS[,ipv4|ipv6]) EXPR",
        "ask name servers for an address",
        |w, _| Ok(Action::Resolve(Box::new(resolve::parse(w)?)))
    ),
    action!(
        "wait-for-body",
        [HttpRequest, HttpResponse],
        "time T [at-least N]",
        "read the body before going on",
        |w, _| {
            let mut time = None;
            let mut at_least = None;
            while let Some(word) = w.next() {
                let text = w.expect("a value")?;
                match word {
                    "time" => match millis(text) {
                        Some(ms) => time = Some(ms),
                        None => return w.fail(format!("'{text}' is no time, such as 500ms or 2s")),
                    },
                    "at-least" => match bytes(text) {
                        // 0 is the whole body.
                        Some(n) => at_least = Some(n).filter(|n| *n > 0),
                        None => return w.fail(format!("'{text}' is no number of bytes")),
                    },
                    other => {
                        return w.fail(format!(
                            "'{other}' stands where 'time' or 'at-least' should"
                        ));
                    }
                }
            }
            match time {
                Some(time_ms) => Ok(Action::WaitForBody { time_ms, at_least }),
                None => w.fail("'wait-for-body' wants a time, such as time 1s"),
            }
        }
    ),
];
