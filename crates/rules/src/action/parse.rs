//! The table of actions, and how their words are read.

use super::RuleSet::*;
use super::answer::{Body, Redirect, RedirectKind, Reply};
use super::normalize::Normalizer;
use super::{Action, ActionDef, LogLevelChange, NameMatch, Rule, RuleSet};
use crate::condition;
use crate::error::ParseError;
use crate::expr::{Expr, unknown};
use crate::logformat::LogFormat;
use crate::vars::{Condition, VarName};
use crate::{Scope, pattern};

pub(crate) type ParseFn = fn(&mut Words<'_>, RuleSet) -> Result<Action, ParseError>;

/// The words of one action, read from left to right.
pub(crate) struct Words<'w> {
    words: &'w [&'w str],
    at: usize,
    name: &'w str,
    scope: &'w Scope<'w>,
    capture_len: Option<usize>,
}

impl<'w> Words<'w> {
    fn next(&mut self) -> Option<&'w str> {
        let word = self.words.get(self.at).copied()?;
        self.at += 1;
        Some(word)
    }

    fn expect(&mut self, what: &str) -> Result<&'w str, ParseError> {
        let (at, name) = (self.at, self.name);
        self.next().ok_or_else(|| {
            ParseError::at(at.saturating_sub(1), format!("'{name}' wants {what} here"))
        })
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::at(self.at.saturating_sub(1), message))
    }

    fn format(&mut self, what: &str) -> Result<LogFormat, ParseError> {
        let at = self.at;
        let word = self.expect(what)?;
        LogFormat::parse(word, self.scope).map_err(|e| e.shifted(at))
    }

    fn header_name(&mut self) -> Result<Box<[u8]>, ParseError> {
        let name = self.expect("a header name")?;
        let valid = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b);
        if name.is_empty() || !name.bytes().all(valid) {
            return self.fail(format!("'{name}' is no header name"));
        }
        Ok(name.as_bytes().into())
    }

    fn regex(&mut self) -> Result<regex::bytes::Regex, ParseError> {
        let text = self.expect("a regular expression")?;
        pattern::regex(text, false).or_else(|m| self.fail(m))
    }

    fn status(&mut self) -> Result<u16, ParseError> {
        let text = self.expect("a status code")?;
        match text.parse::<u16>() {
            Ok(status) if (200..=599).contains(&status) => Ok(status),
            _ => self.fail(format!("'{text}' is no status code from 200 to 599")),
        }
    }

    /// The words left, joined as an expression that was split at spaces.
    fn rest_expr(&mut self) -> Result<Expr, ParseError> {
        let at = self.at;
        let word = self.expect("an expression")?;
        Expr::parse(word, self.scope).map_err(|e| e.shifted(at))
    }

    /// A number, decimal or `0x…`, up to `most`.
    fn number(&mut self, most: u32) -> Result<u32, ParseError> {
        let text = self.expect("a number")?;
        let n = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        match n {
            Ok(n) if n <= most => Ok(n),
            _ => self.fail(format!("'{text}' is no number from 0 to {most}")),
        }
    }

    fn file(&mut self) -> Result<Vec<u8>, ParseError> {
        let path = self.expect("a file")?;
        (self.scope.read_file)(path).or_else(|e| self.fail(format!("cannot read '{path}': {e}")))
    }
}

macro_rules! action {
    ($name:literal, [$($set:ident),+], $args:literal, $doc:literal, $parse:expr) => {
        ActionDef { name: $name, sets: &[$($set),+], args: $args, doc: $doc, parse: $parse }
    };
}

/// All actions.
pub static ACTIONS: &[ActionDef] = &[
    action!(
        "accept",
        [
            TcpRequestConnection,
            TcpRequestSession,
            TcpRequestContent,
            TcpResponseContent
        ],
        "",
        "no further rules",
        |_, _| Ok(Action::Allow)
    ),
    action!(
        "allow",
        [HttpRequest, HttpResponse, HttpAfterResponse],
        "",
        "no further rules",
        |_, _| Ok(Action::Allow)
    ),
    action!(
        "reject",
        [
            TcpRequestConnection,
            TcpRequestSession,
            TcpRequestContent,
            TcpResponseContent,
            HttpRequest
        ],
        "",
        "close without an answer",
        |_, _| Ok(Action::Reject)
    ),
    action!(
        "deny",
        [HttpRequest, HttpResponse],
        "[deny_status N | status N] [content-type T] [string S | lf-string F | file P | lf-file P | errorfile P | errorfiles N | default-errorfiles] [hdr NAME FMT]*",
        "answer with an error",
        |w, set| Ok(Action::Deny(Box::new(reply(
            w,
            if set.on_response() { 502 } else { 403 },
            true
        )?)))
    ),
    action!(
        "tarpit",
        [HttpRequest],
        "as deny",
        "hold the request for `timeout tarpit`, then answer with an error",
        |w, _| Ok(Action::Tarpit(Box::new(reply(w, 500, true)?)))
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
        "set-header",
        [HttpRequest, HttpResponse, HttpAfterResponse],
        "NAME FMT",
        "replace all headers of that name",
        |w, _| Ok(Action::SetHeader(w.header_name()?, w.format("a value")?))
    ),
    action!(
        "add-header",
        [HttpRequest, HttpResponse, HttpAfterResponse],
        "NAME FMT",
        "add a header",
        |w, _| Ok(Action::AddHeader(w.header_name()?, w.format("a value")?))
    ),
    action!(
        "del-header",
        [HttpRequest, HttpResponse, HttpAfterResponse],
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
        [HttpRequest, HttpResponse, HttpAfterResponse],
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
        [HttpRequest, HttpResponse, HttpAfterResponse],
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
        [
            HttpRequest,
            HttpResponse,
            HttpAfterResponse,
            TcpRequestConnection,
            TcpRequestSession,
            TcpRequestContent,
            TcpResponseContent
        ],
        "(NAME[,CONDITION]*) EXPR",
        "set a variable",
        |w, _| {
            let (name, conditions) = variable(w)?;
            Ok(Action::SetVar(name, conditions, w.rest_expr()?))
        }
    ),
    action!(
        "set-var-fmt",
        [
            HttpRequest,
            HttpResponse,
            HttpAfterResponse,
            TcpRequestConnection,
            TcpRequestSession,
            TcpRequestContent,
            TcpResponseContent
        ],
        "(NAME[,CONDITION]*) FMT",
        "set a variable from a format",
        |w, _| {
            let (name, conditions) = variable(w)?;
            Ok(Action::SetVarFmt(name, conditions, w.format("a format")?))
        }
    ),
    action!(
        "unset-var",
        [
            HttpRequest,
            HttpResponse,
            HttpAfterResponse,
            TcpRequestConnection,
            TcpRequestSession,
            TcpRequestContent,
            TcpResponseContent
        ],
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
            TcpResponseContent
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
        [HttpRequest, HttpResponse, HttpAfterResponse],
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
        "wait-for-body",
        [HttpRequest],
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
                        Some(n) => at_least = Some(n),
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

const LEVELS: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

/// A number of bytes, `k`, `m` or `g` behind it or not.
fn bytes(text: &str) -> Option<u64> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let n: u64 = text.get(..end)?.parse().ok()?;
    let unit = match text.get(end..)?.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    n.checked_mul(1 << unit)
}

/// A time in milliseconds when no unit is given.
fn millis(text: &str) -> Option<u64> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let n: u64 = text.get(..end)?.parse().ok()?;
    Some(match text.get(end..)? {
        "" | "ms" => n,
        "us" => n.div_ceil(1000),
        "s" => n.checked_mul(1000)?,
        "m" => n.checked_mul(60_000)?,
        "h" => n.checked_mul(3_600_000)?,
        "d" => n.checked_mul(86_400_000)?,
        _ => return None,
    })
}

/// The variable in the parentheses of `set-var(txn.x,ifexists)`, and the conditions.
fn variable(w: &Words<'_>) -> Result<(VarName, Vec<Condition>), ParseError> {
    let inner = w.name.split_once('(');
    let Some(inner) = inner.and_then(|(_, rest)| rest.strip_suffix(')')) else {
        return w.fail(format!(
            "'{}' wants a variable in parentheses, such as (txn.name)",
            w.name
        ));
    };
    let mut words = inner.split(',').map(str::trim);
    let name = VarName::parse(words.next().unwrap_or_default()).or_else(|m| w.fail(m))?;
    let mut conditions = Vec::new();
    for word in words {
        match Condition::by_name(word) {
            Some(condition) => conditions.push(condition),
            None => {
                return w.fail(format!(
                    "unknown condition '{word}': use {}",
                    Condition::NAMES.join(", ")
                ));
            }
        }
    }
    Ok((name, conditions))
}

/// What a request gets that cannot be spelt better.
fn bad_request() -> Reply {
    Reply {
        status: 400,
        body: Body::default(),
        content_type: None,
        headers: Vec::new(),
    }
}

pub(super) fn rule(set: RuleSet, words: &[&str], scope: &Scope<'_>) -> Result<Rule, ParseError> {
    let Some(full) = words.first() else {
        return Err(ParseError::at(
            0,
            format!("'{}' wants an action", set.keyword()),
        ));
    };
    let name = full.split('(').next().unwrap_or_default();
    let (before, condition) = condition::split(words, scope)?;
    let mut w = Words {
        words: before,
        at: 1,
        name: full,
        scope,
        capture_len: None,
    };
    let def = ACTIONS.iter().find(|a| a.name == name).ok_or_else(|| {
        ParseError::at(0, unknown("action", name, ACTIONS.iter().map(|a| &a.name)))
    })?;
    if !def.sets.contains(&set) {
        let sets: Vec<_> = def.sets.iter().map(|s| s.keyword()).collect();
        let message = format!(
            "'{name}' is no action of '{}': it belongs to {}",
            set.keyword(),
            sets.join(", ")
        );
        return Err(ParseError::at(0, message));
    }
    let action = (def.parse)(&mut w, set)?;
    if let Some(extra) = before.get(w.at) {
        let message = format!(
            "'{extra}' is one word too many for '{name}': remove it, or write 'if' before a condition"
        );
        return Err(ParseError::at(w.at, message));
    }
    Ok(Rule {
        action,
        condition,
        capture_len: w.capture_len,
    })
}

pub(super) fn redirect_rule(words: &[&str], scope: &Scope<'_>) -> Result<Rule, ParseError> {
    let (before, condition) = condition::split(words, scope)?;
    let mut w = Words {
        words: before,
        at: 0,
        name: "redirect",
        scope,
        capture_len: None,
    };
    let redirect = redirect(&mut w)?;
    Ok(Rule {
        action: Action::Redirect(Box::new(redirect)),
        condition,
        capture_len: None,
    })
}

fn redirect(w: &mut Words<'_>) -> Result<Redirect, ParseError> {
    let mut kind = None;
    let mut made = Redirect {
        kind: RedirectKind::Location(LogFormat::default()),
        status: 302,
        drop_query: false,
        append_slash: false,
        ignore_empty: false,
        cookie: None,
    };
    while let Some(word) = w.next() {
        match word {
            "location" => kind = Some(RedirectKind::Location(w.format("a location")?)),
            "prefix" => kind = Some(RedirectKind::Prefix(w.format("a prefix")?)),
            "scheme" => kind = Some(RedirectKind::Scheme(w.format("a scheme")?)),
            "code" => {
                let text = w.expect("a code")?;
                made.status = match text {
                    "301" => 301,
                    "302" => 302,
                    "303" => 303,
                    "307" => 307,
                    "308" => 308,
                    _ => {
                        return w.fail(format!(
                            "redirect code '{text}' is not 301, 302, 303, 307 or 308"
                        ));
                    }
                };
            }
            "drop-query" => made.drop_query = true,
            "append-slash" => made.append_slash = true,
            "ignore-empty" => made.ignore_empty = true,
            "set-cookie" => {
                made.cookie = Some(format!("{}; path=/;", w.expect("NAME[=value]")?).into())
            }
            "clear-cookie" => {
                let name = w.expect("NAME[=]")?;
                made.cookie = Some(format!("{name}; path=/; Max-Age=0;").into());
            }
            other => {
                let words = [
                    "location",
                    "prefix",
                    "scheme",
                    "code",
                    "drop-query",
                    "append-slash",
                    "ignore-empty",
                    "set-cookie",
                    "clear-cookie",
                ];
                return w.fail(match crate::nearest(other, words) {
                    Some(near) => {
                        format!("unknown redirect word '{other}': did you mean '{near}'?")
                    }
                    None => format!("unknown redirect word '{other}'"),
                });
            }
        }
    }
    match kind {
        Some(kind) => Ok(Redirect { kind, ..made }),
        None => w.fail("a redirect wants 'location', 'prefix' or 'scheme'"),
    }
}

/// The words of `deny`, `tarpit` and `return`.
fn reply(w: &mut Words<'_>, status: u16, error: bool) -> Result<Reply, ParseError> {
    let mut made = Reply {
        status,
        body: Body::default(),
        content_type: None,
        headers: Vec::new(),
    };
    let mut has_body = false;
    while let Some(word) = w.next() {
        match word {
            "status" => made.status = w.status()?,
            "deny_status" if error => made.status = w.status()?,
            "content-type" => made.content_type = Some(w.expect("a content type")?.into()),
            "hdr" => {
                let name = w.header_name()?;
                made.headers.push((name, w.format("a value")?));
            }
            "default-errorfiles" => made.body = Body::ErrorPage,
            "errorfiles" => made.body = Body::Section(w.expect("a section name")?.into()),
            "errorfile" => made.body = Body::Message(w.file()?.into()),
            "string" => made.body = Body::Fixed(w.expect("a string")?.as_bytes().into()),
            "lf-string" => made.body = Body::Format(w.format("a format")?),
            "file" => made.body = Body::Fixed(w.file()?.into()),
            "lf-file" => {
                let text = String::from_utf8_lossy(&w.file()?).into_owned();
                made.body =
                    Body::Format(LogFormat::parse(&text, w.scope).or_else(|e| w.fail(e.message))?);
            }
            other => {
                let words = [
                    "status",
                    "deny_status",
                    "content-type",
                    "hdr",
                    "string",
                    "lf-string",
                    "file",
                    "lf-file",
                    "errorfile",
                    "errorfiles",
                    "default-errorfiles",
                ];
                return w.fail(match crate::nearest(other, words) {
                    Some(near) => format!(
                        "unknown word '{other}' for '{}': did you mean '{near}'?",
                        w.name
                    ),
                    None => format!(
                        "unknown word '{other}' for '{}': write 'if' before a condition",
                        w.name
                    ),
                });
            }
        }
        has_body |= matches!(
            word,
            "string"
                | "lf-string"
                | "file"
                | "lf-file"
                | "errorfile"
                | "errorfiles"
                | "default-errorfiles"
        );
    }
    if !error && !has_body {
        made.body = Body::Empty;
    }
    if !matches!(
        made.body,
        Body::ErrorPage | Body::Empty | Body::Message(_) | Body::Section(_)
    ) && made.content_type.is_none()
    {
        return w.fail("a body wants 'content-type' before it, such as content-type text/plain");
    }
    Ok(made)
}
