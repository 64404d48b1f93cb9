//! `cookie`, `force-persist`, `ignore-persist`: what sends a client back to its server.

use crate::diag::Fault;
use crate::draft::Draft;
use crate::line::Line;
use crate::units;
use model::{CookieMode, PersistRule, PersistenceCookie};
use std::sync::Arc;
use std::time::Duration;

const WORDS: [&str; 14] = [
    "rewrite", "insert", "prefix", "indirect", "nocache", "postonly", "preserve", "httponly",
    "secure", "domain", "maxidle", "maxlife", "dynamic", "attr",
];

/// Those that are about a cookie that is inserted.
const INSERT_ONLY: [&str; 8] = [
    "nocache", "postonly", "httponly", "secure", "domain", "maxidle", "maxlife", "attr",
];

pub fn cookie(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let name = l.arg(0);
    if name.is_empty() {
        return l.fail(
            0,
            "'cookie' wants a name, such as 'cookie SRV insert indirect'",
        );
    }
    // One that stands before the section's own line is of the defaults.
    let first = d.marks.get("cookie");
    let own = first.filter(|p| p.file == d.place.file && p.line > d.place.line);
    if let Some(first) = own {
        let message = format!(
            "the 'cookie' of '{}' stands at {} already: keep one of them",
            d.name,
            first.origin()
        );
        return l.fail(0, message);
    }
    let mut cookie = PersistenceCookie {
        name: name.into(),
        ..PersistenceCookie::default()
    };
    let (mut domains, mut httponly, mut secure, mut attrs) = (String::new(), "", "", String::new());
    let mut at = 1;
    while !l.arg(at).is_empty() {
        let word = l.arg(at);
        let takes_value = matches!(word, "domain" | "maxidle" | "maxlife" | "attr");
        let value = l.arg(at + 1);
        if takes_value && value.is_empty() {
            return l.fail(at, format!("'{word}' wants a value after it"));
        }
        match word {
            "rewrite" | "insert" | "prefix" => {
                let mode = match word {
                    "rewrite" => CookieMode::Rewrite,
                    "insert" => CookieMode::Insert,
                    _ => CookieMode::Prefix,
                };
                if cookie.mode != CookieMode::Passive && cookie.mode != mode {
                    return l.fail(at, "only one of 'rewrite', 'insert' and 'prefix' can be");
                }
                cookie.mode = mode;
            }
            "indirect" => cookie.indirect = true,
            "nocache" => cookie.nocache = true,
            "postonly" => cookie.postonly = true,
            "preserve" => cookie.preserve = true,
            "httponly" => httponly = "; HttpOnly",
            "secure" => secure = "; Secure",
            "domain" => {
                // A name that begins with a dot has to have another one (RFC 6265 section 5.2.3).
                if !value.get(1..).is_some_and(|rest| rest.contains('.')) {
                    let message = format!(
                        "'{value}' is no domain that browsers take: write one with a dot within, such as .example.com"
                    );
                    l.warn(at + 1, message);
                }
                domains += &format!("; domain={value}");
            }
            "attr" => {
                if value.contains(|c: char| c.is_control() || c == ';') {
                    return l.fail(at + 1, "an attribute has no ';' and no control characters");
                }
                attrs += &format!("; {value}");
            }
            "maxidle" => cookie.max_idle = seconds(l, at + 1)?,
            "maxlife" => cookie.max_life = seconds(l, at + 1)?,
            "dynamic" => cookie.dynamic = true,
            other => return l.fail(at, super::near("word of 'cookie'", other, &WORDS)),
        }
        at += 1 + usize::from(takes_value);
    }
    if cookie.mode != CookieMode::Insert {
        let idle = (1..l.args().len()).find(|at| INSERT_ONLY.contains(&l.arg(*at)));
        if let Some(at) = idle {
            let message = format!(
                "'{}' has an effect with 'insert' only: remove it",
                l.arg(at)
            );
            l.warn(at, message);
        }
    }
    if cookie.mode == CookieMode::Rewrite && cookie.indirect {
        let message =
            "'rewrite' and 'indirect' exclude each other: the client has to see the cookie";
        return l.fail(0, message);
    }
    if cookie.preserve && cookie.mode != CookieMode::Insert && !cookie.indirect {
        return l.fail(0, "'preserve' needs 'insert' or 'indirect'");
    }
    cookie.attributes = (domains + httponly + secure + &attrs).into();
    d.back.cookie = Some(Arc::new(cookie));
    d.marks.insert("cookie", l.place_of_keyword());
    Ok(())
}

/// A time that counts in seconds where it has no unit; 0 is none.
fn seconds(l: &Line<'_>, at: usize) -> Result<Option<Duration>, Fault> {
    let text = l.arg(at);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    // The unit alone may be longer than a timer can be: a cookie may live for months.
    let Ok(number) = units::number(number, 0, u32::MAX.into()) else {
        let message = format!("'{text}' is no time: write a number and a unit, such as 30m");
        return l.fail(at, message);
    };
    let one = l.map(at, units::time(&format!("1{unit}"), 1_000_000))?;
    let time = one.checked_mul(number as u32);
    Ok(time.filter(|t| t.as_secs() > 0))
}

/// `persist rdp-cookie` or `persist rdp-cookie(NAME)`.
pub fn rdp_cookie(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    l.exactly(0, "nothing after it")?;
    let keyword = l.keyword();
    let name = keyword.split_once('(').map_or("msts", |(_, name)| name);
    d.back.rdp_cookie = Some(name.trim_end_matches(')').into());
    Ok(())
}

/// `force-persist` and `ignore-persist`: the first that matches counts.
pub fn rule(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    if !matches!(l.arg(0), "if" | "unless") {
        return l.fail(
            0,
            format!("'{}' wants 'if' or 'unless' and a condition", l.keyword()),
        );
    }
    let condition = l.rules(0, &d.acls, rules::Cond::parse)?;
    let force = l.keyword().starts_with("force");
    d.back.persist_rules.push(PersistRule { force, condition });
    Ok(())
}

/// `capture cookie NAME len N`; a name that ends in `=` is whole, any other the beginning of one.
pub fn capture(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let len = super::front::capture_len(l)?;
    let whole = l.arg(0).strip_suffix('=');
    d.front.capture_cookie = Some((whole.unwrap_or(l.arg(0)).into(), whole.is_none(), len));
    Ok(())
}
