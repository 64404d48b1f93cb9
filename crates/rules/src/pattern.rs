//! Patterns: what an ACL compares a sample with (manual section 7.1).

use regex::bytes::{Regex, RegexBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a sample is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // names of `-m`
pub enum Match {
    Found,
    Bool,
    Int,
    Ip,
    Bin,
    Len,
    Str,
    Sub,
    Dir,
    Dom,
    Beg,
    End,
    Reg,
}

impl Match {
    /// By the name that `-m` takes.
    pub fn by_name(name: &str) -> Option<Match> {
        MATCHES.iter().find(|(n, _)| *n == name).map(|(_, m)| *m)
    }
}

/// Every name that `-m` takes.
pub const MATCHES: &[(&str, Match)] = &[
    ("found", Match::Found),
    ("bool", Match::Bool),
    ("int", Match::Int),
    ("ip", Match::Ip),
    ("bin", Match::Bin),
    ("len", Match::Len),
    ("str", Match::Str),
    ("sub", Match::Sub),
    ("dir", Match::Dir),
    ("dom", Match::Dom),
    ("beg", Match::Beg),
    ("end", Match::End),
    ("reg", Match::Reg),
];

/// One pattern that is compared on its own; those that are looked up are keys of an index.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// A range, both ends included.
    Int(i64, i64),
    /// A range of lengths.
    Len(i64, i64),
    /// A string compared by its place in the sample.
    Text {
        how: Match,
        text: Box<[u8]>,
        fold: bool,
    },
    /// A regular expression.
    Regex(Regex),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternFault {
    /// A number was wanted.
    Number(String),
    /// An address or a network was wanted.
    Address(String),
    /// The value that belongs to a key is not of the map's type.
    Value(String),
    /// Another reason.
    Other(String),
}

impl std::fmt::Display for PatternFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PatternFault::Number(t) => {
                write!(f, "'{t}' is no number, range (1:10) or comparison (gt 5)")
            }
            PatternFault::Address(t) => {
                write!(f, "'{t}' is no address or network, such as 10.0.0.0/8")
            }
            PatternFault::Value(t) => write!(f, "'{t}' is no value of this map"),
            PatternFault::Other(reason) => f.write_str(reason),
        }
    }
}

/// Compiles one regular expression; says why when the engine here cannot have it.
pub fn regex(text: &str, fold: bool) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .case_insensitive(fold)
        .unicode(false)
        .size_limit(1 << 22)
        .build()
        .map_err(|e| {
            let reason = e.to_string();
            let reason = reason
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            format!("'{text}' is not a regular expression that can be used: {reason}")
        })
}

impl Pattern {
    /// Compiles a pattern's text.
    pub fn compile(how: Match, text: &str, fold: bool) -> Result<Pattern, PatternFault> {
        Ok(match how {
            Match::Int | Match::Len => {
                let (low, high) =
                    int_range(text).ok_or_else(|| PatternFault::Number(text.into()))?;
                match how {
                    Match::Len => Pattern::Len(low, high),
                    _ => Pattern::Int(low, high),
                }
            }
            Match::Reg => Pattern::Regex(regex(text, fold).map_err(PatternFault::Other)?),
            _ => Pattern::Text {
                how,
                text: folded(text.as_bytes(), fold),
                fold,
            },
        })
    }

    /// Whether a number matches.
    pub fn matches_int(&self, n: i64) -> bool {
        matches!(self, Pattern::Int(low, high) if (*low..=*high).contains(&n))
    }

    /// Whether bytes match.
    pub fn matches_bytes(&self, bytes: &[u8]) -> bool {
        match self {
            Pattern::Int(..) => false,
            Pattern::Len(low, high) => (*low..=*high).contains(&(bytes.len() as i64)),
            Pattern::Text { how, text, fold } => text_matches(*how, bytes, text, *fold),
            Pattern::Regex(regex) => regex.is_match(bytes),
        }
    }
}

pub fn folded(text: &[u8], fold: bool) -> Box<[u8]> {
    if fold {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}

pub fn equal(a: &[u8], b: &[u8], fold: bool) -> bool {
    if fold {
        a.eq_ignore_ascii_case(b)
    } else {
        a == b
    }
}

fn text_matches(how: Match, sample: &[u8], pattern: &[u8], fold: bool) -> bool {
    let n = pattern.len();
    match how {
        Match::Sub => n == 0 || sample.windows(n).any(|w| equal(w, pattern, fold)),
        Match::Dir => delimited(sample, pattern, fold, b"/?"),
        Match::Dom => delimited(sample, pattern, fold, b"/?.:"),
        _ => equal(sample, pattern, fold),
    }
}

/// Whether the pattern stands between delimiters (or the ends); its own at the ends are ignored.
fn delimited(sample: &[u8], pattern: &[u8], fold: bool, delimiters: &[u8]) -> bool {
    let mut p = pattern;
    while let [first, rest @ ..] = p
        && delimiters.contains(first)
    {
        p = rest;
    }
    while let [rest @ .., last] = p
        && delimiters.contains(last)
    {
        p = rest;
    }
    if p.is_empty() {
        return false;
    }
    let at_border = |b: Option<&u8>| b.is_none_or(|b| delimiters.contains(b));
    sample.windows(p.len()).enumerate().any(|(at, w)| {
        equal(w, p, fold)
            && at_border(at.checked_sub(1).and_then(|i| sample.get(i)))
            && at_border(sample.get(at + p.len()))
    })
}

/// `5`, `1:10`, `1:` and `:10`.
fn int_range(text: &str) -> Option<(i64, i64)> {
    let number = |t: &str| t.trim().parse::<i64>().ok();
    let Some((low, high)) = text.split_once(':') else {
        return number(text).map(|n| (n, n));
    };
    let low = if low.is_empty() {
        i64::MIN
    } else {
        number(low)?
    };
    let high = if high.is_empty() {
        i64::MAX
    } else {
        number(high)?
    };
    Some((low, high))
}

/// Patterns of numbers with the operators `eq ge gt le lt` made into ranges; an operator holds for
/// all numbers behind it. An error names the text's index.
pub fn int_texts(texts: &[String]) -> Result<Vec<String>, (usize, PatternFault)> {
    let mut ranges = Vec::new();
    let mut operator: Option<&str> = None;
    for (i, text) in texts.iter().enumerate() {
        if matches!(text.as_str(), "eq" | "ge" | "gt" | "le" | "lt") {
            operator = Some(text);
            continue;
        }
        let bad = || (i, PatternFault::Number(text.clone()));
        let number = || text.trim().parse::<i64>().map_err(|_| bad());
        // A range says itself where it begins and ends.
        ranges.push(match operator.filter(|_| !text.contains(':')) {
            Some("gt") => format!("{}:", number()?.saturating_add(1)),
            Some("ge") => format!("{}:", number()?),
            Some("lt") => format!(":{}", number()?.saturating_sub(1)),
            Some("le") => format!(":{}", number()?),
            _ => {
                int_range(text).ok_or_else(bad)?;
                text.clone()
            }
        });
    }
    if ranges.is_empty() && operator.is_some() {
        let message = "a comparison wants a number after it".to_string();
        return Err((texts.len() - 1, PatternFault::Other(message)));
    }
    Ok(ranges)
}

/// `a.b.c.d`, `a.b.c.d/len`, `a.b.c.d/mask`, the same for IPv6.
pub fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, len) = match text.split_once('/') {
        None => (text, None),
        Some((ip, len)) => (ip, Some(len)),
    };
    let ip: IpAddr = match ip.parse() {
        Ok(ip) => ip,
        Err(_) => IpAddr::V4(short_ip4(ip)?),
    };
    let max = if ip.is_ipv4() { 32 } else { 128 };
    let len = match len {
        None => max,
        Some(len) => match len.parse::<u8>() {
            Ok(len) if len <= max => len,
            Ok(_) => return None,
            Err(_) => {
                let mask = u32::from(len.parse::<Ipv4Addr>().ok()?);
                (mask.leading_ones() + mask.trailing_zeros() == 32 || mask == 0)
                    .then(|| mask.leading_ones() as u8)?
            }
        },
    };
    Some((ip, len))
}

/// `127.1` and the like: what is left out between the first numbers and the last is 0.
fn short_ip4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let numbers: Option<Vec<u8>> = text.split('.').map(|n| n.parse().ok()).collect();
    let (last, first) = numbers.as_deref()?.split_last()?;
    octets
        .get_mut(..first.len())
        .filter(|o| o.len() < 4)?
        .copy_from_slice(first);
    octets[3] = *last;
    Some(octets.into())
}

/// The IPv4 address in an IPv6 one: `::ffff:a.b.c.d`, `::a.b.c.d` or `2002:` and it (6to4).
pub fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let pair = match s {
        [0x2002, high, low, ..] => [high, low],
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => [high, low],
        _ => return None,
    };
    Some((u32::from(pair[0]) << 16 | u32::from(pair[1])).into())
}

/// Whether a network holds an address. Where one is of IPv4 and the other of IPv6, the address is
/// taken as one of the network's family.
pub fn contains(net: IpAddr, len: u8, ip: IpAddr) -> bool {
    match (net, ip) {
        (IpAddr::V4(_), IpAddr::V6(ip)) => {
            embedded(ip).is_some_and(|ip| contains(net, len, ip.into()))
        }
        (IpAddr::V6(_), IpAddr::V4(ip)) => contains(net, len, ip.to_ipv6_mapped().into()),
        (IpAddr::V4(net), IpAddr::V4(ip)) => {
            let shift = 32 - u32::from(len.min(32));
            u32::from(net).checked_shr(shift).unwrap_or(0)
                == u32::from(ip).checked_shr(shift).unwrap_or(0)
        }
        (IpAddr::V6(net), IpAddr::V6(ip)) => {
            let shift = 128 - u32::from(len.min(128));
            u128::from(net).checked_shr(shift).unwrap_or(0)
                == u128::from(ip).checked_shr(shift).unwrap_or(0)
        }
    }
}

/// Bytes of hexadecimal digits, two a byte.
pub fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| Some(http::uri::hex(pair[0])? * 16 + http::uri::hex(pair[1])?))
        .collect()
}
