//! The words of a rule, and what several actions read from them.

use super::answer::{Body, Redirect, RedirectKind, Reply};
use super::{Action, RuleSet};
use crate::error::ParseError;
use crate::expr::Expr;
use crate::logformat::LogFormat;
use crate::vars::{Condition, VarName};
use crate::{Scope, pattern};

pub(crate) type ParseFn = fn(&mut Words<'_>, RuleSet) -> Result<Action, ParseError>;

/// The words of one action, read from left to right.
pub(crate) struct Words<'w> {
    pub words: &'w [&'w str],
    pub at: usize,
    pub name: &'w str,
    pub scope: &'w Scope<'w>,
    pub capture_len: Option<usize>,
}

impl<'w> Words<'w> {
    pub fn next(&mut self) -> Option<&'w str> {
        let word = self.words.get(self.at).copied()?;
        self.at += 1;
        Some(word)
    }

    pub fn expect(&mut self, what: &str) -> Result<&'w str, ParseError> {
        let (at, name) = (self.at, self.name);
        self.next().ok_or_else(|| {
            ParseError::at(at.saturating_sub(1), format!("'{name}' wants {what} here"))
        })
    }

    pub fn fail<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::at(self.at.saturating_sub(1), message))
    }

    pub fn format(&mut self, what: &str) -> Result<LogFormat, ParseError> {
        let at = self.at;
        let word = self.expect(what)?;
        LogFormat::parse(word, self.scope).map_err(|e| e.shifted(at))
    }

    pub fn header_name(&mut self) -> Result<Box<[u8]>, ParseError> {
        let name = self.expect("a header name")?;
        let valid = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b);
        // Some write the colon that stands behind a name on the wire.
        let bare = name.strip_suffix(':').unwrap_or(name);
        if bare.is_empty() || !bare.bytes().all(valid) {
            return self.fail(format!("'{name}' is no header name"));
        }
        Ok(bare.as_bytes().into())
    }

    pub fn regex(&mut self) -> Result<regex::bytes::Regex, ParseError> {
        let text = self.expect("a regular expression")?;
        pattern::regex(text, false).or_else(|m| self.fail(m))
    }

    pub fn status(&mut self) -> Result<u16, ParseError> {
        let text = self.expect("a status code")?;
        match text.parse::<u16>() {
            Ok(status) if (200..=599).contains(&status) => Ok(status),
            _ => self.fail(format!("'{text}' is no status code from 200 to 599")),
        }
    }

    /// The words left, joined as an expression that was split at spaces.
    pub fn rest_expr(&mut self) -> Result<Expr, ParseError> {
        let at = self.at;
        let word = self.expect("an expression")?;
        Expr::parse(word, self.scope).map_err(|e| e.shifted(at))
    }

    /// A number, decimal or `0x…`, up to `most`.
    pub fn number(&mut self, most: u32) -> Result<u32, ParseError> {
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

    pub fn file(&mut self) -> Result<Vec<u8>, ParseError> {
        let path = self.expect("a file")?;
        (self.scope.read_file)(path).or_else(|e| self.fail(format!("cannot read '{path}': {e}")))
    }
}

/// A number of bytes, `k`, `m` or `g` behind it or not.
pub fn bytes(text: &str) -> Option<u64> {
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
pub fn millis(text: &str) -> Option<u64> {
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
pub fn variable(w: &Words<'_>) -> Result<(VarName, Vec<Condition>), ParseError> {
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
pub fn bad_request() -> Reply {
    Reply {
        status: 400,
        body: Body::default(),
        content_type: None,
        headers: Vec::new(),
    }
}

pub fn redirect(w: &mut Words<'_>) -> Result<Redirect, ParseError> {
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

/// Reads the words of `deny` for a command of SMTP: a code that refuses, and its text.
pub fn smtp_reply(w: &mut Words<'_>) -> Result<Reply, ParseError> {
    let mut made = Reply {
        status: 550,
        body: Body::default(),
        content_type: None,
        headers: Vec::new(),
    };
    while let Some(word) = w.next() {
        match word {
            "status" => {
                let text = w.expect("a status code")?;
                made.status = match text.parse() {
                    Ok(status @ 400..=599) => status,
                    _ => {
                        return w.fail(format!(
                            "'{text}' refuses nothing: use a code from 400 (try again) to 599 (never)"
                        ));
                    }
                };
            }
            "string" => made.body = Body::Fixed(w.expect("a string")?.as_bytes().into()),
            "lf-string" => made.body = Body::Format(w.format("a format")?),
            other => {
                return w.fail(format!(
                    "unknown word '{other}' for '{}': use status, string or lf-string, and 'if' before a condition",
                    w.name
                ));
            }
        }
    }
    Ok(made)
}

/// The words of `deny`, `tarpit` and `return`.
pub fn reply(w: &mut Words<'_>, status: u16, error: bool) -> Result<Reply, ParseError> {
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

/// `auth [realm TEXT]`: without a realm it is the proxy's name.
pub(super) fn challenge(w: &mut Words<'_>) -> Result<Reply, ParseError> {
    let realm = match w.next() {
        None => "%f".to_string(),
        Some("realm") => w.expect("a realm")?.replace('%', "%%").replace('"', "'"),
        Some(other) => {
            return w.fail(format!(
                "unknown word '{other}' for 'auth': did you mean 'realm'?"
            ));
        }
    };
    let challenge = LogFormat::parse(&format!("Basic realm=\"{realm}\""), w.scope)
        .or_else(|e| w.fail(e.message))?;
    Ok(Reply {
        status: 401,
        body: Body::ErrorPage,
        content_type: None,
        headers: vec![(b"www-authenticate"[..].into(), challenge)],
    })
}
