//! Texts: their parts, their case, what is put behind them.

use super::{ConvertDef, binary, convert, int, text};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, NONE, args};
use crate::{Ctx, Sample};
use std::ops::Range;

const PART: ArgSpec = args(&[IntBut0, Str, Int], 2);
const TRIMMED: ArgSpec = args(&[Str], 1);

pub static TABLE: &[ConvertDef] = &[
    convert! { "add_item", args(&[Str, Var, Str], 1), Str => Str,
        "followed by a separator (unless empty), a variable and a text",
        "str(a),add_item(-,,b)" => "a-b", |a, s, cx| add_item(a, &s, cx)
    },
    convert! { "bytes", args(&[IntOrVar, IntOrVar], 1), Bin => Bin, "bytes from an offset, so many",
        "str(hello),bytes(1,3)" => "ell", |a, s, cx| bytes(a, &s, cx)
    },
    convert! { "concat", args(&[Str, Var, Str], 0), Str => Str, "followed by a text, a variable, a text",
        "str(hi),concat(<,,>)" => "hi<>", |a, s, cx| {
            let mut out = s.into_bytes().into_owned();
            out.extend_from_slice(a.text(0).unwrap_or_default());
            out.extend_from_slice(&variable(a, 1, cx));
            out.extend_from_slice(a.text(2).unwrap_or_default());
            text(out)
        }
    },
    convert! { "cut_crlf", NONE, Str => Str, "up to its first line end",
        "bin(610d0a62),cut_crlf" => "a", |_, s, _| {
            let bytes = s.to_bytes();
            text(bytes.split(|b| matches!(b, b'\r' | b'\n')).next()?)
        }
    },
    convert! { "field", PART, Str => Str, "the n-th field between separators, empty ones counted",
        "str(f1_f2_f3__f5),field(-2,_,3)" => "f2_f3_", |a, s, _| field(a, &s)
    },
    convert! { "iif", args(&[Str, Str], 2), Bool => Str, "the first text if true, else the second",
        "int(0),iif(yes,no)" => "no", |a, s, _| a.text(if s.to_bool()? { 0 } else { 1 }).map(Sample::str)
    },
    convert! { "language", args(&[Str, Str], 1), Str => Str,
        "which of some languages an Accept-Language wants most",
        "str(\"fr;q=0.5,de\"),language(fr;de)" => "de", |a, s, _| language(a, &s)
    },
    convert! { "length", NONE, Str => Int, "its length in bytes",
        "str(hello),length" => "5", |_, s, _| int(s.to_bytes().len() as i64)
    },
    convert! { "lower", NONE, Str => Str, "in lower case",
        "str(AbC),lower" => "abc", |_, s, _| text(s.to_bytes().to_ascii_lowercase())
    },
    convert! { "ltrim", TRIMMED, Str => Str, "without the given characters at its start",
        "str(xxhix),ltrim(x)" => "hix", |a, s, _| {
            let (bytes, drop) = (s.to_bytes(), a.text(0)?);
            let at = bytes.iter().position(|b| !drop.contains(b));
            text(bytes.get(at.unwrap_or(bytes.len())..)?)
        }
    },
    convert! { "param", args(&[Str, Str], 1), Str => Str, "the value of a parameter in a query",
        "query,param(a)" => "1", |a, s, _| {
            let separator = a.text(1).and_then(|t| t.first()).copied().unwrap_or(b'&');
            http::uri::query_param_raw(&s.to_bytes(), a.text(0)?, separator).and_then(text)
        }
    },
    convert! { "regsub", args(&[Regex(2), Str, Str], 2), Str => Str,
        "with what the expression matches replaced (flags g, i)",
        "str(aXbX),regsub(x,-,gi)" => "a-b-", |a, s, _| {
            let global = a.text(2).is_some_and(|f| f.contains(&b'g'));
            text(substitute(a.regex(0)?, &s.to_bytes(), a.text(1)?, global))
        }
    },
    convert! { "reverse", NONE, Str => Str, "its bytes in reverse order",
        "str(abc),reverse" => "cba", |_, s, _| text(s.to_bytes().iter().rev().copied().collect::<Vec<_>>())
    },
    convert! { "reverse_dom", NONE, Str => Str, "the labels of a name in reverse, so that names below it begin alike",
        "str(www.example.org),reverse_dom" => "org.example.www", |_, s, _| {
            let bytes = s.to_bytes();
            let mut labels: Vec<&[u8]> = bytes.split(|b| *b == b'.').collect();
            labels.reverse();
            text(labels.join(&b"."[..]))
        }
    },
    convert! { "rtrim", TRIMMED, Str => Str, "without the given characters at its end",
        "str(xhixx),rtrim(x)" => "xhi", |a, s, _| {
            let (bytes, drop) = (s.to_bytes(), a.text(0)?);
            let last = bytes.iter().rposition(|b| !drop.contains(b));
            text(bytes.get(..last.map_or(0, |p| p + 1))?)
        }
    },
    convert! { "secure_memcmp", args(&[Var], 1), Bin => Bool,
        "whether it is equal to a variable, found out in constant time",
        "str(k),set-var(txn.k),secure_memcmp(txn.k)" => "1", |a, s, cx| {
            let other = value(a, 0, cx)?.cast(crate::Type::Bin)?;
            let (ours, other) = (s.to_bytes(), other.to_bytes());
            let differing = ours.iter().zip(&*other).fold(0, |d, (x, y)| std::hint::black_box(d | (x ^ y)));
            Some(Sample::Bool(ours.len() == other.len() && differing == 0))
        }
    },
    convert! { "strcmp", args(&[Var], 1), Str => Int, "compared with a variable: below, equal to or above 0",
        "str(b),set-var(txn.c),lower,strcmp(txn.c)" => "0", |a, s, cx| {
            let other = value(a, 0, cx)?;
            let (ours, other) = (s.to_bytes(), other.to_text());
            let differing = ours.iter().zip(&*other).find(|(x, y)| x != y);
            int(differing.map_or_else(
                || ours.len().cmp(&other.len()) as i64,
                |(x, y)| i64::from(*x) - i64::from(*y),
            ))
        }
    },
    convert! { "upper", NONE, Str => Str, "in upper case",
        "str(AbC),upper" => "ABC", |_, s, _| text(s.to_bytes().to_ascii_uppercase())
    },
    convert! { "word", PART, Str => Str, "the n-th word between separators, empty ones not counted",
        "str(/f1/f2/f3),word(-1,/)" => "f3", |a, s, _| word(a, &s)
    },
];

/// A variable that an argument names.
fn value(args: &[Arg], at: usize, cx: &Ctx<'_>) -> Option<Sample<'static>> {
    cx.var(args.var(at)?)
}

/// The text of a variable that an argument names; empty without one.
fn variable(args: &[Arg], at: usize, cx: &Ctx<'_>) -> Vec<u8> {
    let value = value(args, at, cx);
    value.map(|v| v.to_text().into_owned()).unwrap_or_default()
}

fn add_item<'s>(args: &[Arg], sample: &Sample<'_>, cx: &Ctx<'_>) -> Option<Sample<'s>> {
    let mut out = sample.to_bytes().into_owned();
    let mut item = variable(args, 1, cx);
    item.extend_from_slice(args.text(2).unwrap_or_default());
    if !out.is_empty() && !item.is_empty() {
        out.extend_from_slice(args.text(0)?);
    }
    out.append(&mut item);
    text(out)
}

fn bytes<'s>(args: &[Arg], sample: &Sample<'_>, cx: &Ctx<'_>) -> Option<Sample<'s>> {
    let number = |at: usize| args.int(at).or_else(|| value(args, at, cx)?.to_int());
    let bytes = sample.to_bytes();
    let from = usize::try_from(number(0)?).ok()?.min(bytes.len());
    let rest = bytes.get(from..)?;
    let most = match args.get(1) {
        None | Some(Arg::None) => rest.len(),
        Some(_) => usize::try_from(number(1)?).unwrap_or(rest.len()),
    };
    binary(rest.get(..most.min(rest.len()))?)
}

/// Which of `ranges` an index (from 1, or from -1 at the end) and a count mean, first and last.
fn chosen(ranges: &[Range<usize>], args: &[Arg]) -> Option<(usize, usize)> {
    let last = ranges.len().checked_sub(1)?;
    let index = args.int(0)?;
    let steps = usize::try_from(index.unsigned_abs()).ok()?.checked_sub(1)?;
    let more = match args.int(2).unwrap_or(1) {
        n if n > 0 => usize::try_from(n).ok()? - 1,
        _ => last,
    };
    if index > 0 {
        (steps <= last).then(|| (steps, steps.saturating_add(more).min(last)))
    } else {
        let end = last.checked_sub(steps)?;
        Some((end.saturating_sub(more), end))
    }
}

/// Where the parts between separators are; there is always one.
fn parts(bytes: &[u8], separators: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if separators.contains(byte) {
            found.push(start..at);
            start = at + 1;
        }
    }
    found.push(start..bytes.len());
    found
}

fn field<'s>(args: &[Arg], sample: &Sample<'_>) -> Option<Sample<'s>> {
    let bytes = sample.to_bytes();
    let fields = parts(&bytes, args.text(1)?);
    let (first, last) = chosen(&fields, args)?;
    text(bytes.get(fields.get(first)?.start..fields.get(last)?.end)?)
}

fn word<'s>(args: &[Arg], sample: &Sample<'_>) -> Option<Sample<'s>> {
    let bytes = sample.to_bytes();
    let mut words = parts(&bytes, args.text(1)?);
    words.retain(|w| !w.is_empty());
    let Some((first, last)) = chosen(&words, args) else {
        return text("");
    };
    // Where more words are asked for than there are, separators at the end come with them.
    let count = args.int(2).unwrap_or(1);
    let all = |n: usize| count <= 0 || usize::try_from(count).is_ok_and(|c| c > n);
    let forward = args.int(0)? > 0;
    let start = match first {
        0 if !forward && all(last + 1) => 0,
        _ => words.get(first)?.start,
    };
    let end = match last + 1 == words.len() && forward && all(last + 1 - first) {
        true => bytes.len(),
        false => words.get(last)?.end,
    };
    text(bytes.get(start..end)?)
}

/// The wanted language of the highest quality, the first of equals.
fn language<'s>(args: &'s [Arg], sample: &Sample<'_>) -> Option<Sample<'s>> {
    let offered = args.text(0)?.split(|b| *b == b';');
    let offered: Vec<&[u8]> = offered.filter(|l| !l.is_empty()).collect();
    let header = sample.to_bytes();
    let mut best: Option<(&[u8], f32)> = None;
    for wanted in header.split(|b| *b == b',') {
        let mut words = wanted.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let name = words.next().unwrap_or_default();
        let quality = words.find_map(|w| w.strip_prefix(b"q="));
        let quality = quality.and_then(|q| std::str::from_utf8(q).ok()?.parse().ok());
        let quality = quality.unwrap_or(1.0);
        if quality <= 0.0 {
            continue;
        }
        let base = name.split(|b| *b == b'-').next().unwrap_or_default();
        let known = |name: &[u8]| offered.iter().find(|l| **l == name);
        if let Some(language) = known(name).or_else(|| known(base))
            && best.is_none_or(|(_, q)| quality > q)
        {
            best = Some((language, quality));
        }
    }
    best.map(|(language, _)| language)
        .or(args.text(1))
        .map(Sample::str)
}

/// Replaces matches; `\1` to `\9` in the replacement are groups.
fn substitute(
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

/// Writes a replacement with its groups (`\1`) and bytes (`\x41`) filled in.
pub fn expand(captures: &regex::bytes::Captures<'_>, replacement: &[u8], out: &mut Vec<u8>) {
    let mut rest = replacement;
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'\\', [d, after @ ..]) if d.is_ascii_digit() => {
                let group = captures.get(usize::from(d - b'0'));
                out.extend_from_slice(group.map(|g| g.as_bytes()).unwrap_or_default());
                rest = after;
            }
            (b'\\', [b'x', high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                out.extend(crate::pattern::unhex(&[*high, *low]).unwrap_or_default());
                rest = after;
            }
            (b'\\', [other, after @ ..]) => {
                out.push(*other);
                rest = after;
            }
            (b'\\', []) => {}
            _ => out.push(*first),
        }
    }
}
