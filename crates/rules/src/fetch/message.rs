//! What requests and responses have in common: headers, cookies, the version.

use crate::Sample;
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, args};
use crate::ctx::Captured;
use http::{Head, uri};
use std::borrow::Cow;

/// A header's name, and which of its values: 1 the first, -1 the last.
pub const HEADER: ArgSpec = args(&[Str, Int], 0);

pub fn version<'s>(head: &Head) -> Option<Sample<'s>> {
    let version = head.version().as_str().strip_prefix("HTTP/");
    version.map(|v| Sample::str(v.as_bytes()))
}

/// The value at `occurrence`: 1 is the first, -1 the last; without one, the last.
fn pick<'s>(
    mut values: impl Iterator<Item = &'s [u8]>,
    occurrence: Option<i64>,
) -> Option<Sample<'s>> {
    match occurrence.unwrap_or(-1) {
        -1 | 0 => values.last(),
        n if n > 0 => values.nth(usize::try_from(n).ok()? - 1),
        n => {
            let all: Vec<_> = values.collect();
            let at = all
                .len()
                .checked_sub(usize::try_from(n.unsigned_abs()).ok()?);
            at.and_then(|i| all.get(i).copied())
        }
    }
    .map(Sample::str)
}

/// The comma-separated values of a line, empty ones, too; a comma in quotes separates nothing.
fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let comma = move |b: &u8| {
        let protected = std::mem::take(&mut escaped);
        match b {
            b'\\' if quoted && !protected => escaped = true,
            b'"' if !protected => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    };
    line.split(comma).map(<[u8]>::trim_ascii)
}

/// The values of a header.
fn items<'s>(name: &'s [u8], head: &'s Head) -> impl Iterator<Item = &'s [u8]> {
    head.values(name).flat_map(split)
}

pub fn header<'s>(args: &'s [Arg], head: &'s Head) -> Option<Sample<'s>> {
    pick(items(args.text(0)?, head), args.int(1))
}

pub fn full_header<'s>(args: &'s [Arg], head: &'s Head) -> Option<Sample<'s>> {
    pick(head.values(args.text(0)?), args.int(1))
}

/// The n-th value; where one is asked for by its number, there is no other.
pub fn nth_item<'s>(args: &'s [Arg], head: &'s Head, n: usize) -> Option<Sample<'s>> {
    match args.int(1) {
        Some(_) => header(args, head).filter(|_| n == 0),
        None => items(args.text(0)?, head).nth(n).map(Sample::str),
    }
}

pub fn nth_line<'s>(args: &'s [Arg], head: &'s Head, n: usize) -> Option<Sample<'s>> {
    match args.int(1) {
        Some(_) => full_header(args, head).filter(|_| n == 0),
        None => head.values(args.text(0)?).nth(n).map(Sample::str),
    }
}

pub fn count<'s>(args: &[Arg], head: &Head) -> Option<Sample<'s>> {
    let n = match args.text(0) {
        Some(name) => items(name, head).count(),
        None => head.fields().map(|(_, v)| split(v).count()).sum(),
    };
    Some(Sample::Int(n as i64))
}

pub fn count_lines<'s>(args: &[Arg], head: &Head) -> Option<Sample<'s>> {
    let n = match args.text(0) {
        Some(name) => head.values(name).count(),
        None => head.count(),
    };
    Some(Sample::Int(n as i64))
}

/// A value as a number, 0 where it is none.
pub fn number<'s>(value: &Sample<'_>) -> Sample<'s> {
    Sample::Int(value.to_int().unwrap_or(0))
}

/// An address, with or without port and brackets.
pub fn address<'s>(sample: &Sample<'_>) -> Option<Sample<'s>> {
    let bytes = sample.to_bytes();
    let plain = Sample::str(&bytes).to_ip();
    let plain = plain.or_else(|| {
        let (host, _) = uri::split_port(&bytes);
        let inner = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]"));
        Sample::str(inner.unwrap_or(host)).to_ip()
    });
    plain.map(Sample::ip)
}

/// The n-th of the values that are addresses.
pub fn nth_address<'s>(args: &'s [Arg], head: &'s Head, n: usize) -> Option<Sample<'s>> {
    let all = (0..).map_while(|i| nth_item(args, head, i));
    all.filter_map(|value| address(&value)).nth(n)
}

/// Texts, one behind the other.
pub fn joined<'s, 'n>(
    args: &[Arg],
    names: impl Iterator<Item = Cow<'n, [u8]>>,
) -> Option<Sample<'s>> {
    let names: Vec<_> = names.collect();
    Some(Sample::owned(names.join(args.text(0).unwrap_or(b","))))
}

pub fn names<'s>(args: &[Arg], head: &Head) -> Option<Sample<'s>> {
    joined(
        args,
        head.fields().map(|(n, _)| n.to_ascii_lowercase().into()),
    )
}

/// All headers, a line each, and the empty line behind them.
pub fn all<'s>(head: &Head) -> Option<Sample<'s>> {
    let mut out = Vec::new();
    for (name, value) in head.fields() {
        out.extend(name.to_ascii_lowercase());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Some(Sample::Bin(Cow::Owned(out)))
}

/// All headers as lengths and bytes, two empty texts behind them.
pub fn all_binary<'s>(head: &Head) -> Option<Sample<'s>> {
    let mut out = Vec::new();
    for (name, value) in head.fields() {
        length(name.len(), &mut out);
        out.extend(name.to_ascii_lowercase());
        length(value.len(), &mut out);
        out.extend_from_slice(value);
    }
    out.extend_from_slice(&[0, 0]);
    Some(Sample::Bin(Cow::Owned(out)))
}

/// A number as SPOE encodes it: up to 239 a byte, else four bits, then seven a byte.
fn length(n: usize, out: &mut Vec<u8>) {
    if n < 240 {
        out.push(n as u8);
        return;
    }
    out.push(n as u8 | 240);
    let mut rest = (n - 240) >> 4;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest = (rest - 128) >> 7;
    }
    out.push(rest as u8);
}

/// What the slot of a number holds.
pub fn captured<'s>(args: &[Arg], slots: Captured<'s>) -> Option<Sample<'s>> {
    let slot = slots.get(usize::try_from(args.int(0)?).ok()?)?;
    slot.as_deref().map(Sample::str)
}
