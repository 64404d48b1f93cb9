//! Patterns: what an ACL compares a sample with (manual section 7.1).

use crate::Sample;
use regex::bytes::{Regex, RegexBuilder};
use std::collections::HashSet;
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

/// Compiled patterns of one ACL line: one is enough.
#[derive(Clone, Debug)]
pub enum Patterns {
    /// The sample exists.
    Found,
    /// The sample is true.
    True,
    /// Ranges, both ends included; negated ones do not exist.
    Ints(Vec<(i64, i64)>),
    /// Networks.
    Nets(Vec<(IpAddr, u8)>),
    /// Whole strings; folded to lower case when `fold`.
    Exact { set: HashSet<Box<[u8]>>, fold: bool },
    /// Strings compared by their place in the sample.
    Texts {
        how: Match,
        texts: Vec<Box<[u8]>>,
        fold: bool,
    },
    /// Regular expressions.
    Regexes(Vec<Regex>),
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

impl Patterns {
    /// Compiles pattern texts. An error names the text's index.
    pub fn compile(how: Match, texts: &[String], fold: bool) -> Result<Patterns, (usize, String)> {
        let each = |i: usize, m: String| (i, m);
        Ok(match how {
            Match::Found => Patterns::Found,
            // What is true matches, whatever the patterns say.
            Match::Bool => Patterns::True,
            Match::Int | Match::Len => {
                let ranges = int_ranges(texts)?;
                if how == Match::Len {
                    // Lengths are compared like numbers, of another thing.
                    return Ok(Patterns::Texts {
                        how,
                        texts: ranges
                            .iter()
                            .map(|(a, b)| format!("{a}:{b}").into_bytes().into())
                            .collect(),
                        fold: false,
                    });
                }
                Patterns::Ints(ranges)
            }
            Match::Ip => {
                let nets = texts.iter().enumerate().map(|(i, t)| {
                    network(t).ok_or_else(|| {
                        each(
                            i,
                            format!("'{t}' is no address or network, such as 10.0.0.0/8"),
                        )
                    })
                });
                Patterns::Nets(nets.collect::<Result<_, _>>()?)
            }
            Match::Reg => {
                let all = texts.iter().enumerate();
                let all = all.map(|(i, t)| regex(t, fold).map_err(|m| each(i, m)));
                Patterns::Regexes(all.collect::<Result<_, _>>()?)
            }
            Match::Bin => {
                let all = texts.iter().enumerate().map(|(i, t)| {
                    unhex(t.as_bytes())
                        .map(Vec::into_boxed_slice)
                        .ok_or_else(|| each(i, format!("'{t}' is not hexadecimal")))
                });
                Patterns::Exact {
                    set: all.collect::<Result<_, _>>()?,
                    fold: false,
                }
            }
            Match::Str => Patterns::Exact {
                set: texts.iter().map(|t| folded(t.as_bytes(), fold)).collect(),
                fold,
            },
            Match::Sub | Match::Dir | Match::Dom | Match::Beg | Match::End => Patterns::Texts {
                how,
                texts: texts.iter().map(|t| folded(t.as_bytes(), fold)).collect(),
                fold,
            },
        })
    }

    /// Whether the sample matches one of them.
    pub fn matches(&self, sample: &Sample<'_>) -> bool {
        match self {
            Patterns::Found => true,
            Patterns::True => sample.to_bool() == Some(true),
            Patterns::Ints(ranges) => sample
                .to_int()
                .is_some_and(|n| ranges.iter().any(|(low, high)| (*low..=*high).contains(&n))),
            Patterns::Nets(nets) => sample
                .to_ip()
                .is_some_and(|ip| nets.iter().any(|(net, len)| contains(*net, *len, ip))),
            Patterns::Exact { set, fold: false } => set.contains(&*sample.to_bytes()),
            Patterns::Exact { set, fold: true } => {
                let bytes = sample.to_bytes();
                if set.len() <= 4 {
                    set.iter().any(|s| s.eq_ignore_ascii_case(&bytes))
                } else {
                    set.contains(bytes.to_ascii_lowercase().as_slice())
                }
            }
            Patterns::Texts { how, texts, fold } => {
                let bytes = sample.to_bytes();
                texts.iter().any(|t| text_matches(*how, &bytes, t, *fold))
            }
            Patterns::Regexes(all) => {
                let bytes = sample.to_bytes();
                all.iter().any(|r| r.is_match(&bytes))
            }
        }
    }
}

fn folded(text: &[u8], fold: bool) -> Box<[u8]> {
    if fold {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}

fn equal(a: &[u8], b: &[u8], fold: bool) -> bool {
    if fold {
        a.eq_ignore_ascii_case(b)
    } else {
        a == b
    }
}

fn text_matches(how: Match, sample: &[u8], pattern: &[u8], fold: bool) -> bool {
    let n = pattern.len();
    match how {
        Match::Beg => sample.get(..n).is_some_and(|s| equal(s, pattern, fold)),
        Match::End => sample
            .len()
            .checked_sub(n)
            .and_then(|at| sample.get(at..))
            .is_some_and(|s| equal(s, pattern, fold)),
        Match::Sub => n == 0 || sample.windows(n).any(|w| equal(w, pattern, fold)),
        Match::Dir => delimited(sample, pattern, fold, b"/?"),
        Match::Dom => delimited(sample, pattern, fold, b"/?.:"),
        Match::Len => {
            let mut ends = pattern
                .split(|b| *b == b':')
                .map(|t| Sample::str(t).to_int());
            let (low, high) = (ends.next().flatten(), ends.next().flatten());
            let len = sample.len() as i64;
            low.is_some_and(|low| low <= len) && high.is_some_and(|high| len <= high)
        }
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

/// `5`, `1:10`, `1:`, `:10`, and operators `eq ge gt le lt` before a number.
fn int_ranges(texts: &[String]) -> Result<Vec<(i64, i64)>, (usize, String)> {
    let mut ranges = Vec::new();
    let mut operator: Option<&str> = None;
    for (i, text) in texts.iter().enumerate() {
        if matches!(text.as_str(), "eq" | "ge" | "gt" | "le" | "lt") {
            operator = Some(text);
            continue;
        }
        let bad = || {
            (
                i,
                format!("'{text}' is no number, range (1:10) or comparison (gt 5)"),
            )
        };
        let number = |t: &str| t.trim().parse::<i64>().map_err(|_| bad());
        let range = match operator {
            Some("gt") => (number(text)?.saturating_add(1), i64::MAX),
            Some("ge") => (number(text)?, i64::MAX),
            Some("lt") => (i64::MIN, number(text)?.saturating_sub(1)),
            Some("le") => (i64::MIN, number(text)?),
            _ => match text.split_once(':') {
                None => (number(text)?, number(text)?),
                Some((low, high)) => (
                    if low.is_empty() {
                        i64::MIN
                    } else {
                        number(low)?
                    },
                    if high.is_empty() {
                        i64::MAX
                    } else {
                        number(high)?
                    },
                ),
            },
        };
        ranges.push(range);
    }
    if ranges.is_empty() && operator.is_some() {
        return Err((
            texts.len() - 1,
            "a comparison wants a number after it".into(),
        ));
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
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
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
