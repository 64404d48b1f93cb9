//! The table of converters (manual section 7.3.1).

use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, NONE, args};
use crate::sample::hex;
use crate::{Ctx, Sample, Type};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::borrow::Cow;

type Eval = for<'s> fn(&'s [Arg], Sample<'s>, &'s Ctx<'_>) -> Option<Sample<'s>>;

/// One converter.
pub struct ConvertDef {
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub args: ArgSpec,
    /// The type of its result.
    pub output: Type,
    /// One line.
    pub doc: &'static str,
    /// The function.
    pub eval: Eval,
}

impl std::fmt::Debug for ConvertDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! convert {
    ($name:literal, $args:expr, $out:ident, $doc:literal, $eval:expr) => {
        ConvertDef {
            name: $name,
            args: $args,
            output: Type::$out,
            doc: $doc,
            eval: $eval,
        }
    };
}

/// A number, or a variable that holds one.
const OPERAND: ArgSpec = args(&[Str], 1);
const FIELD: ArgSpec = args(&[Int, Str, Int], 2);
const SEED: ArgSpec = args(&[Int], 0);

/// All converters.
pub static CONVERTERS: &[ConvertDef] = &[
    // Strings
    convert!("lower", NONE, Str, "in lower case", |_, s, _| Some(
        Sample::owned(s.to_bytes().to_ascii_lowercase())
    )),
    convert!("upper", NONE, Str, "in upper case", |_, s, _| Some(
        Sample::owned(s.to_bytes().to_ascii_uppercase())
    )),
    convert!("length", NONE, Int, "its length in bytes", |_, s, _| Some(
        Sample::Int(s.to_bytes().len() as i64)
    )),
    convert!(
        "reverse",
        NONE,
        Str,
        "its bytes in reverse order",
        |_, s, _| Some(Sample::owned(
            s.to_bytes().iter().rev().copied().collect::<Vec<_>>()
        ))
    ),
    convert!(
        "ltrim",
        args(&[Str], 1),
        Str,
        "without the given characters at its start",
        |a, s, _| {
            let drop = a.text(0)?;
            let bytes = s.to_bytes();
            let at = bytes
                .iter()
                .position(|b| !drop.contains(b))
                .unwrap_or(bytes.len());
            Some(Sample::owned(bytes.get(at..)?))
        }
    ),
    convert!(
        "rtrim",
        args(&[Str], 1),
        Str,
        "without the given characters at its end",
        |a, s, _| {
            let drop = a.text(0)?;
            let bytes = s.to_bytes();
            let end = bytes
                .iter()
                .rposition(|b| !drop.contains(b))
                .map_or(0, |p| p + 1);
            Some(Sample::owned(bytes.get(..end)?))
        }
    ),
    convert!(
        "bytes",
        args(&[Int, Int], 1),
        Bin,
        "bytes from an offset, so many",
        |a, s, _| {
            let binary = matches!(s, Sample::Bin(_));
            let bytes = s.to_bytes();
            let from = usize::try_from(a.int(0)?).ok()?;
            let rest = bytes.get(from..)?;
            let n = a
                .int(1)
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(rest.len())
                .min(rest.len());
            let part = rest.get(..n)?.to_vec();
            Some(if binary {
                Sample::Bin(Cow::Owned(part))
            } else {
                Sample::owned(part)
            })
        }
    ),
    convert!(
        "field",
        FIELD,
        Str,
        "the n-th field between separators, empty ones counted",
        |a, s, _| {
            let parts = |bytes: &[u8], separators: &[u8]| {
                bytes
                    .split(|b| separators.contains(b))
                    .map(<[u8]>::to_vec)
                    .collect::<Vec<_>>()
            };
            nth_part(a, &s, parts)
        }
    ),
    convert!(
        "word",
        FIELD,
        Str,
        "the n-th word between separators, empty ones not counted",
        |a, s, _| {
            let parts = |bytes: &[u8], separators: &[u8]| {
                bytes
                    .split(|b| separators.contains(b))
                    .filter(|p| !p.is_empty())
                    .map(<[u8]>::to_vec)
                    .collect::<Vec<_>>()
            };
            nth_part(a, &s, parts)
        }
    ),
    convert!(
        "regsub",
        args(&[Regex, Str, Str], 2),
        Str,
        "with what the expression matches replaced (flags g, i)",
        |a, s, _| {
            let bytes = s.to_bytes();
            let global = a.text(2).is_some_and(|f| f.contains(&b'g'));
            Some(Sample::owned(substitute(
                a.regex(0)?,
                &bytes,
                a.text(1)?,
                global,
            )))
        }
    ),
    convert!(
        "concat",
        args(&[Str, Var, Str], 0),
        Str,
        "followed by text, a variable, text",
        |a, s, cx| {
            let mut out = s.to_bytes().into_owned();
            out.extend_from_slice(a.text(0).unwrap_or_default());
            if let Some(value) = a.var(1).and_then(|v| cx.vars.borrow().get(v).cloned()) {
                out.extend_from_slice(&value.to_bytes());
            }
            out.extend_from_slice(a.text(2).unwrap_or_default());
            Some(Sample::owned(out))
        }
    ),
    convert!(
        "iif",
        args(&[Str, Str], 2),
        Str,
        "the first text if true, else the second",
        |a, s, _| { a.text(if s.to_bool()? { 0 } else { 1 }).map(Sample::str) }
    ),
    convert!(
        "strcmp",
        args(&[Var], 1),
        Int,
        "compared with a variable: below, equal to or above 0",
        |a, s, cx| {
            let vars = cx.vars.borrow();
            let other = vars.get(a.var(0)?)?.to_bytes();
            Some(Sample::Int(match (*s.to_bytes()).cmp(&*other) {
                std::cmp::Ordering::Less => -1,
                std::cmp::Ordering::Equal => 0,
                std::cmp::Ordering::Greater => 1,
            }))
        }
    ),
    convert!(
        "param",
        args(&[Str, Str], 1),
        Str,
        "the value of a parameter in a query",
        |a, s, _| {
            let separator = a.text(1).and_then(|t| t.first()).copied().unwrap_or(b'&');
            let bytes = s.to_bytes();
            http::uri::query_param_raw(&bytes, a.text(0)?, separator).map(Sample::owned)
        }
    ),
    convert!(
        "url_dec",
        args(&[Int], 0),
        Str,
        "percent-decoded",
        |a, s, _| {
            let plus = a.int(0) == Some(1);
            Some(Sample::owned(
                http::uri::percent_decode(&s.to_bytes(), plus).into_owned(),
            ))
        }
    ),
    convert!(
        "url_enc",
        args(&[Str], 0),
        Str,
        "percent-encoded",
        |_, s, _| {
            let mut out = Vec::new();
            for b in s.to_bytes().iter() {
                if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') {
                    out.push(*b);
                } else {
                    out.push(b'%');
                    out.extend(hex(&[*b]));
                }
            }
            Some(Sample::owned(out))
        }
    ),
    convert!(
        "host_only",
        NONE,
        Str,
        "a Host value without its port",
        |_, s, _| {
            let bytes = s.to_bytes();
            Some(Sample::owned(http::uri::split_port(&bytes).0))
        }
    ),
    convert!(
        "port_only",
        NONE,
        Int,
        "a Host value's port, 0 without one",
        |_, s, _| {
            let bytes = s.to_bytes();
            let port = http::uri::split_port(&bytes).1;
            Some(Sample::Int(
                port.and_then(|p| Sample::str(p).to_int()).unwrap_or(0),
            ))
        }
    ),
    convert!(
        "json",
        args(&[Str], 0),
        Str,
        "escaped for a JSON string",
        |_, s, _| {
            let mut out = Vec::new();
            for b in s.to_bytes().iter() {
                match b {
                    b'"' => out.extend_from_slice(b"\\\""),
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    b'\n' => out.extend_from_slice(b"\\n"),
                    b'\r' => out.extend_from_slice(b"\\r"),
                    b'\t' => out.extend_from_slice(b"\\t"),
                    0x08 => out.extend_from_slice(b"\\b"),
                    0x0c => out.extend_from_slice(b"\\f"),
                    b'/' => out.extend_from_slice(b"\\/"),
                    0..=0x1f => out.extend_from_slice(format!("\\u{b:04x}").as_bytes()),
                    _ => out.push(*b),
                }
            }
            Some(Sample::owned(out))
        }
    ),
    // Numbers
    convert!("add", OPERAND, Int, "plus", |a, s, cx| Some(Sample::Int(
        s.to_int()?.saturating_add(operand(a, cx)?)
    ))),
    convert!("sub", OPERAND, Int, "minus", |a, s, cx| Some(Sample::Int(
        s.to_int()?.saturating_sub(operand(a, cx)?)
    ))),
    convert!("mul", OPERAND, Int, "times", |a, s, cx| Some(Sample::Int(
        s.to_int()?.saturating_mul(operand(a, cx)?)
    ))),
    convert!(
        "div",
        OPERAND,
        Int,
        "divided by; by 0 is the largest number",
        |a, s, cx| Some(Sample::Int(
            s.to_int()?.checked_div(operand(a, cx)?).unwrap_or(i64::MAX)
        ))
    ),
    convert!(
        "mod",
        OPERAND,
        Int,
        "the rest of a division; by 0 is 0",
        |a, s, cx| Some(Sample::Int(
            s.to_int()?.checked_rem(operand(a, cx)?).unwrap_or(0)
        ))
    ),
    convert!("and", OPERAND, Int, "bits in both", |a, s, cx| Some(
        Sample::Int(s.to_int()? & operand(a, cx)?)
    )),
    convert!("or", OPERAND, Int, "bits in either", |a, s, cx| Some(
        Sample::Int(s.to_int()? | operand(a, cx)?)
    )),
    convert!("xor", OPERAND, Int, "bits in one of them", |a, s, cx| Some(
        Sample::Int(s.to_int()? ^ operand(a, cx)?)
    )),
    convert!("cpl", NONE, Int, "all bits turned", |_, s, _| Some(
        Sample::Int(!s.to_int()?)
    )),
    convert!("neg", NONE, Int, "the negative", |_, s, _| Some(
        Sample::Int(s.to_int()?.wrapping_neg())
    )),
    convert!("bool", NONE, Bool, "whether it is not 0", |_, s, _| Some(
        Sample::Bool(s.to_bool()?)
    )),
    convert!("not", NONE, Bool, "whether it is 0", |_, s, _| Some(
        Sample::Bool(!s.to_bool()?)
    )),
    convert!("even", NONE, Bool, "whether it is even", |_, s, _| Some(
        Sample::Bool(s.to_int()? % 2 == 0)
    )),
    convert!("odd", NONE, Bool, "whether it is odd", |_, s, _| Some(
        Sample::Bool(s.to_int()? % 2 != 0)
    )),
    convert!(
        "be2dec",
        args(&[Str, Int, Int], 2),
        Str,
        "big-endian chunks as decimal numbers, joined",
        |a, s, _| {
            let size = usize::try_from(a.int(1)?)
                .ok()
                .filter(|n| (1..=8).contains(n))?;
            let bytes = s.to_bytes();
            let numbers = bytes.chunks(size).map(|c| {
                c.iter()
                    .fold(0u64, |n, b| n << 8 | u64::from(*b))
                    .to_string()
            });
            let separator = String::from_utf8_lossy(a.text(0)?).into_owned();
            Some(Sample::owned(numbers.collect::<Vec<_>>().join(&separator)))
        }
    ),
    // Encodings
    convert!("hex", NONE, Str, "hexadecimal digits", |_, s, _| Some(
        Sample::owned(hex(&s.to_bytes()))
    )),
    convert!(
        "hex2i",
        NONE,
        Int,
        "the number that hexadecimal digits mean",
        |_, s, _| {
            let bytes = s.to_bytes();
            i64::from_str_radix(std::str::from_utf8(&bytes).ok()?.trim(), 16)
                .ok()
                .map(Sample::Int)
        }
    ),
    convert!("base64", NONE, Str, "in base64", |_, s, _| Some(
        Sample::owned(STANDARD.encode(s.to_bytes()))
    )),
    convert!("b64dec", NONE, Bin, "decoded from base64", |_, s, _| {
        STANDARD
            .decode(s.to_bytes().as_ref())
            .ok()
            .map(|b| Sample::Bin(Cow::Owned(b)))
    }),
    convert!(
        "ub64enc",
        NONE,
        Str,
        "in URL-safe base64 without padding",
        |_, s, _| Some(Sample::owned(URL_SAFE_NO_PAD.encode(s.to_bytes())))
    ),
    convert!(
        "ub64dec",
        NONE,
        Bin,
        "decoded from URL-safe base64",
        |_, s, _| {
            let bytes = s.to_bytes();
            let unpadded: Vec<u8> = bytes.iter().copied().filter(|b| *b != b'=').collect();
            URL_SAFE_NO_PAD
                .decode(unpadded)
                .ok()
                .map(|b| Sample::Bin(Cow::Owned(b)))
        }
    ),
    // Dates
    convert!(
        "http_date",
        args(&[Int, Str], 0),
        Str,
        "Unix seconds as an HTTP date",
        |a, s, _| {
            let divisor = match a.text(1) {
                Some(b"ms") => 1000,
                Some(b"us") => 1_000_000,
                _ => 1,
            };
            let secs = s
                .to_int()?
                .saturating_add(a.int(0).unwrap_or(0))
                .div_euclid(divisor);
            Some(Sample::owned(crate::tags::http_date(secs)))
        }
    ),
    convert!(
        "utime",
        args(&[Str, Int], 1),
        Str,
        "Unix seconds in a strftime format, UTC",
        |a, s, _| {
            let format = a.text(0)?;
            Some(Sample::owned(crate::tags::strftime(
                format,
                s.to_int()?.saturating_add(a.int(1).unwrap_or(0)),
            )))
        }
    ),
    convert!(
        "ltime",
        args(&[Str, Int], 1),
        Str,
        "Unix seconds in a strftime format, local time (UTC here)",
        |a, s, _| {
            let format = a.text(0)?;
            Some(Sample::owned(crate::tags::strftime(
                format,
                s.to_int()?.saturating_add(a.int(1).unwrap_or(0)),
            )))
        }
    ),
    // Hashes
    convert!(
        "djb2",
        SEED,
        Int,
        "DJB2 hash (avalanched with 1)",
        |a, s, _| {
            let h = s.to_bytes().iter().fold(5381u32, |h, b| {
                h.wrapping_mul(33).wrapping_add(u32::from(*b))
            });
            Some(Sample::Int(avalanched(h, a).into()))
        }
    ),
    convert!(
        "sdbm",
        SEED,
        Int,
        "SDBM hash (avalanched with 1)",
        |a, s, _| {
            let h = s.to_bytes().iter().fold(0u32, |h, b| {
                u32::from(*b)
                    .wrapping_add(h << 6)
                    .wrapping_add(h << 16)
                    .wrapping_sub(h)
            });
            Some(Sample::Int(avalanched(h, a).into()))
        }
    ),
    convert!(
        "crc32",
        SEED,
        Int,
        "CRC-32 of IEEE 802.3 (avalanched with 1)",
        |a, s, _| {
            Some(Sample::Int(
                avalanched(crc(&s.to_bytes(), 0xedb8_8320), a).into(),
            ))
        }
    ),
    convert!(
        "crc32c",
        SEED,
        Int,
        "CRC-32C, Castagnoli (avalanched with 1)",
        |a, s, _| {
            Some(Sample::Int(
                avalanched(crc(&s.to_bytes(), 0x82f6_3b78), a).into(),
            ))
        }
    ),
    // Addresses
    convert!(
        "ipmask",
        args(&[Str, Str], 1),
        Addr,
        "an address with only its network bits",
        |a, s, _| {
            let ip = s.to_ip()?;
            let mask = a.text(if ip.is_ipv4() { 0 } else { 1 })?;
            let mask = std::str::from_utf8(mask).ok()?;
            Some(Sample::ip(masked(ip, mask)?))
        }
    ),
    // Variables
    convert!(
        "set-var",
        args(&[Var], 1),
        Any,
        "itself, kept in a variable",
        |a, s, cx| {
            let s = s.into_owned();
            cx.vars.borrow_mut().set(a.var(0)?, s.clone());
            Some(s)
        }
    ),
    convert!(
        "unset-var",
        args(&[Var], 1),
        Any,
        "itself; the variable is forgotten",
        |a, s, cx| {
            cx.vars.borrow_mut().unset(a.var(0)?);
            Some(s)
        }
    ),
];

/// What stands for a number: digits, or a variable's name.
fn operand(args: &[Arg], cx: &Ctx<'_>) -> Option<i64> {
    let text = std::str::from_utf8(args.text(0)?).ok()?;
    if let Ok(n) = text.trim().parse() {
        return Some(n);
    }
    let name = crate::vars::VarName::parse(text).ok()?;
    cx.vars.borrow().get(&name)?.to_int()
}

/// `field` and `word`: index (from 1, negative from the end), separators, how many (0: all).
fn nth_part<'s>(
    args: &[Arg],
    sample: &Sample<'_>,
    split: impl Fn(&[u8], &[u8]) -> Vec<Vec<u8>>,
) -> Option<Sample<'s>> {
    let separators = args.text(1)?;
    let bytes = sample.to_bytes();
    let parts = split(&bytes, separators);
    let index = args.int(0)?;
    let count = args.int(2).unwrap_or(1);
    let at = match index {
        0 => return None,
        n if n > 0 => usize::try_from(n).ok()? - 1,
        n => parts
            .len()
            .checked_sub(usize::try_from(n.unsigned_abs()).ok()?)?,
    };
    let rest = parts.get(at..).filter(|r| !r.is_empty())?;
    let n = if count <= 0 {
        rest.len()
    } else {
        usize::try_from(count).ok()?.min(rest.len())
    };
    let separator = separators.get(..1).unwrap_or_default();
    Some(Sample::owned(rest.get(..n)?.join(separator)))
}

/// Replaces matches; `\1` to `\9` in the replacement are groups.
pub fn substitute(
    regex: &regex::bytes::Regex,
    text: &[u8],
    replacement: &[u8],
    global: bool,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for captures in regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else {
            continue;
        };
        out.extend_from_slice(text.get(at..whole.start()).unwrap_or_default());
        expand(&captures, replacement, &mut out);
        at = whole.end();
        if !global {
            break;
        }
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    out
}

/// Writes a replacement with its groups filled in.
pub fn expand(captures: &regex::bytes::Captures<'_>, replacement: &[u8], out: &mut Vec<u8>) {
    let mut bytes = replacement.iter();
    while let Some(b) = bytes.next() {
        if *b != b'\\' {
            out.push(*b);
            continue;
        }
        match bytes.next() {
            Some(d) if d.is_ascii_digit() => {
                let group = captures.get(usize::from(d - b'0'));
                out.extend_from_slice(group.map(|g| g.as_bytes()).unwrap_or_default());
            }
            Some(other) => out.push(*other),
            None => {}
        }
    }
}

/// Spreads a hash over all its bits when the argument is 1 (Bob Jenkins' full avalanche).
fn avalanched(hash: u32, args: &[Arg]) -> u32 {
    if args.int(0) != Some(1) {
        return hash;
    }
    let mut a = hash;
    a = a.wrapping_add(0x7ed5_5d16).wrapping_add(a << 12);
    a = (a ^ 0xc761_c23c) ^ (a >> 19);
    a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    a = a.wrapping_add(0xd3a2_646c) ^ (a << 9);
    a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    (a ^ 0xb55a_4f09) ^ (a >> 16)
}

fn crc(bytes: &[u8], polynomial: u32) -> u32 {
    !bytes.iter().fold(!0u32, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |c, _| {
            (c >> 1) ^ (polynomial & (c & 1).wrapping_neg())
        })
    })
}

fn masked(ip: std::net::IpAddr, mask: &str) -> Option<std::net::IpAddr> {
    use std::net::IpAddr;
    Some(match ip {
        IpAddr::V4(ip) => {
            let bits = match mask.parse::<u32>() {
                Ok(len) => u32::MAX.checked_shl(32 - len.min(32)).unwrap_or(0),
                Err(_) => mask.parse::<std::net::Ipv4Addr>().ok()?.into(),
            };
            IpAddr::V4((u32::from(ip) & bits).into())
        }
        IpAddr::V6(ip) => {
            let bits = match mask.parse::<u32>() {
                Ok(len) => u128::MAX.checked_shl(128 - len.min(128)).unwrap_or(0),
                Err(_) => mask.parse::<std::net::Ipv6Addr>().ok()?.into(),
            };
            IpAddr::V6((u128::from(ip) & bits).into())
        }
    })
}
