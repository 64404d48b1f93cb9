//! Conditional blocks and `-cc` (manual section 2.4 of 2.6): one evaluator for both.

use std::collections::BTreeMap;

/// The level of HAProxy's language that this program speaks.
pub const LANGUAGE_LEVEL: (u32, u32, u32) = (3, 0, 0);

/// Features that `feature(…)` affirms and `-vv` lists, with HAProxy's names.
pub const FEATURES: &[&str] = &[
    "ACCEPT4",
    "BACKTRACE",
    "CPU_AFFINITY",
    "CRYPT_H",
    "EPOLL",
    "GETADDRINFO",
    "LINUX_SPLICE",
    "LINUX_TPROXY",
    "NS",
    "OPENSSL",
    "OPENSSL_AWSLC",
    "POLL",
    "PRCTL",
    "PROMEX",
    "SLZ",
    "SYSTEMD",
    "TFO",
    "THREAD",
    "TPROXY",
];

/// Whether an expression holds. An error says where (bytes) and why.
pub fn evaluate(text: &str, env: &BTreeMap<String, String>) -> Result<bool, (usize, String)> {
    let mut p = Parser {
        text,
        at: 0,
        env,
        depth: 0,
    };
    p.spaces();
    if p.rest().is_empty() {
        return Ok(false);
    }
    let result = p.or()?;
    p.spaces();
    if p.rest().is_empty() {
        Ok(result)
    } else {
        Err((
            p.at,
            format!("'{}' stands where the expression should end", p.rest()),
        ))
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    env: &'a BTreeMap<String, String>,
    /// Operators and parentheses around the term being read.
    depth: usize,
}

/// Deeper nesting is refused, so that a line cannot exhaust the stack.
const DEEPEST: usize = 100;

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.spaces();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn or(&mut self) -> Result<bool, (usize, String)> {
        let mut value = self.and()?;
        while self.eat("||") {
            value |= self.and()?;
        }
        Ok(value)
    }

    fn and(&mut self) -> Result<bool, (usize, String)> {
        let mut value = self.term()?;
        while self.eat("&&") {
            value &= self.term()?;
        }
        Ok(value)
    }

    fn term(&mut self) -> Result<bool, (usize, String)> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err((self.at, "the expression is nested too deeply".into()));
        }
        let value = self.nested_term();
        self.depth -= 1;
        value
    }

    fn nested_term(&mut self) -> Result<bool, (usize, String)> {
        if self.eat("!") {
            return self.term().map(|v| !v);
        }
        if self.eat("(") {
            let open = self.at;
            let value = self.or()?;
            if !self.eat(")") {
                return Err((open, "this parenthesis is not closed".into()));
            }
            return Ok(value);
        }
        self.spaces();
        let start = self.at;
        let name: String = self
            .rest()
            .chars()
            .enumerate()
            .take_while(|(at, c)| {
                c.is_alphanumeric() || *c == '_' || (*at == 0 && matches!(c, '-' | '+'))
            })
            .map(|(_, c)| c)
            .collect();
        self.at += name.len();
        if let Ok(n) = name.parse::<i64>() {
            return Ok(n != 0);
        }
        match name.as_str() {
            "true" => return Ok(true),
            "false" => return Ok(false),
            _ => {}
        }
        let (arguments, after) = args(self.rest()).map_err(|m| (start, m))?;
        self.at = self.text.len() - after.len();
        self.predicate(&name, &arguments).map_err(|m| (start, m))
    }

    fn predicate(&self, name: &str, a: &[String]) -> Result<bool, String> {
        let arg = |i: usize| a.get(i).map(String::as_str).unwrap_or_default();
        let want = |n: usize| {
            if a.len() == n {
                Ok(())
            } else {
                Err(format!(
                    "'{name}' wants {n} argument{}, has {}",
                    if n == 1 { "" } else { "s" },
                    a.len()
                ))
            }
        };
        match name {
            "defined" => want(1).map(|()| self.env.contains_key(arg(0))),
            "feature" => want(1).map(|()| FEATURES.contains(&arg(0))),
            "streq" => want(2).map(|()| arg(0) == arg(1)),
            "strneq" => want(2).map(|()| arg(0) != arg(1)),
            "strstr" => want(2).map(|()| arg(0).contains(arg(1))),
            "version_atleast" => want(1).and_then(|()| Ok(LANGUAGE_LEVEL >= version(arg(0))?)),
            "version_before" => want(1).and_then(|()| Ok(LANGUAGE_LEVEL < version(arg(0))?)),
            "openssl_version_atleast" => want(1).and_then(|()| Ok(OPENSSL_LEVEL >= openssl_version(arg(0))?)),
            "openssl_version_before" => want(1).and_then(|()| Ok(OPENSSL_LEVEL < openssl_version(arg(0))?)),
            "ssllib_name_startswith" => want(1).map(|()| "AWS-LC".starts_with(arg(0))),
            "enabled" => want(1).map(|()| matches!(arg(0), "POLL" | "EPOLL" | "SPLICE" | "GETADDRINFO")),
            "awslc_api_atleast" | "awslc_api_before" => want(1).map(|()| false),
            "" => Err("an expression stands here: a number, true, false or a predicate such as defined(NAME)".into()),
            _ => {
                let names = ["defined", "feature", "streq", "strneq", "strstr", "version_atleast", "version_before", "openssl_version_atleast", "openssl_version_before", "ssllib_name_startswith", "enabled", "true", "false"];
                Err(match rules::nearest(name, names) {
                    Some(near) => format!("unknown predicate '{name}': did you mean '{near}'?"),
                    None => format!("unknown predicate '{name}'"),
                })
            }
        }
    }
}

/// `(a,"b")` at the start of `text`, and what follows.
fn args(text: &str) -> Result<(Vec<String>, &str), String> {
    let Some(inner) = text.strip_prefix('(') else {
        return Ok((Vec::new(), text));
    };
    let mut arguments = vec![String::new()];
    let mut quote = None;
    for (at, c) in inner.char_indices() {
        let Some(current) = arguments.last_mut() else {
            break;
        };
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            (c, Some(_)) => current.push(c),
            ('"' | '\'', None) => quote = Some(c),
            (')', None) => return Ok((arguments, inner.get(at + 1..).unwrap_or_default())),
            (',', None) => arguments.push(String::new()),
            (c, None) => current.push(c),
        }
    }
    Err("this parenthesis is not closed".into())
}

/// The version of OpenSSL whose features the TLS library has, as its own OpenSSL face says.
const OPENSSL_LEVEL: (u32, u32, u32) = (1, 1, 1);

/// `1.1.1`, `3.0.0`, `1.1.0f`.
fn openssl_version(text: &str) -> Result<(u32, u32, u32), String> {
    version(text.trim_end_matches(|c: char| c.is_ascii_alphabetic()))
}

/// `3.0`, `2.6-dev1`, `2.6.12`.
fn version(text: &str) -> Result<(u32, u32, u32), String> {
    let plain = text.split('-').next().unwrap_or_default();
    let mut parts = plain.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(major)), None, _) => Ok((major, 0, 0)),
        (Some(Ok(major)), Some(Ok(minor)), None) => Ok((major, minor, 0)),
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Ok((major, minor, patch)),
        _ => Err(format!("'{text}' is no version, such as 2.6 or 3.0.1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_evaluated_like_the_manual_says() {
        let env = BTreeMap::from([("X".to_string(), String::new())]);
        for (text, expected) in [
            ("", false),
            ("1", true),
            ("0", false),
            ("-3", true),
            ("+0", false),
            ("streq(a, a)", false),
            ("streq(\"a b\",a b)", true),
            ("true && !false", true),
            ("false || (true && 1)", true),
            ("defined(X)", true),
            ("!defined(Y) && defined(X)", true),
            ("streq(a,a) && strneq(\"a\",'b')", true),
            ("strstr(abc,b)", true),
            ("version_atleast(2.6)", true),
            ("version_atleast(3.0-dev0)", true),
            ("version_atleast(3.1)", false),
            ("version_before(3.1)", true),
            ("feature(THREAD)", true),
            ("feature(QUIC)", false),
        ] {
            assert_eq!(evaluate(text, &env), Ok(expected), "{text}");
        }
        for bad in [
            "nosuch(1)",
            "defined(",
            "1 2",
            "-",
            "--1",
            "(1",
            "&& 1",
            "version_atleast(x)",
            "streq(a)",
        ] {
            assert!(evaluate(bad, &env).is_err(), "{bad}");
        }
    }
}
