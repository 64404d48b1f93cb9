//! JSON: texts escaped for it, values found in it, and the tokens made of it (RFC 7519).

use super::{ConvertDef, convert, text};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, args};
use crate::json;
use crate::{Sample, Type};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::io::Write;

const CODE: ArgSpec = args(&[Word(&["ascii", "utf8", "utf8s", "utf8p", "utf8ps"])], 0);
const QUERY: ArgSpec = args(&[Str, Word(&["int"])], 1);
const JWT_QUERY: ArgSpec = args(&[Str, Word(&["int"])], 0);

pub static TABLE: &[ConvertDef] = &[
    convert! { "json", CODE, Str => Str, "escaped for a JSON string",
        "str('a\"/é'),json(utf8)" => "a\\\"\\/\\u00e9", |a, s, _| escape(&s.to_bytes(), a.text(0).unwrap_or_default())
    },
    convert! { "json_query", QUERY, Str => Any, "the value at a path in JSON",
        "str('{\"a\":{\"b\":[1,\"x\"]}}'),json_query('$.a.b[1]')" => "x",
        |a, s, _| query(&s.to_bytes(), a)
    },
    convert! { "jwt_header_query", JWT_QUERY, Bin => Any, "the value at a path in a token's header, or all of it",
        "str(eyJhbGciOiJIUzI1NiJ9.e30.x),jwt_header_query('$.alg')" => "HS256", |a, s, _| jwt(&s.to_bytes(), 0, a)
    },
    convert! { "jwt_payload_query", JWT_QUERY, Bin => Any, "the value at a path in a token's payload, or all of it",
        "str(e30.eyJpc3MiOiJqb2UifQ.x),jwt_payload_query('$.iss')" => "joe", |a, s, _| jwt(&s.to_bytes(), 1, a)
    },
];

/// A value at a path; numbers that are not whole, and what is made of parts, stay as written.
fn query<'s>(document: &[u8], args: &[Arg]) -> Option<Sample<'s>> {
    let found = match json::find(document, args.text(0)?)? {
        json::Value::Text(text) => Sample::owned(text),
        json::Value::Bool(b) => Sample::Bool(b),
        json::Value::Number(digits) => match std::str::from_utf8(digits).ok()?.parse() {
            Ok(n) => Sample::Int(n),
            Err(_) => Sample::owned(digits),
        },
        json::Value::Array(raw) if args.len() < 2 => Sample::owned(raw),
        json::Value::Array(_) | json::Value::Object | json::Value::Null => return None,
    };
    // What is no number stays what it is.
    match (args.get(1), &found) {
        (Some(Arg::Str(_)), Sample::Str(t))
            if t.first().is_none_or(|b| !b"-0123456789".contains(b)) =>
        {
            Some(found)
        }
        (Some(Arg::Str(_)), _) => found.cast(Type::Int),
        _ => Some(found),
    }
}

/// One of the three parts of a token in compact form.
fn jwt<'s>(token: &[u8], part: usize, args: &[Arg]) -> Option<Sample<'s>> {
    let parts: Vec<&[u8]> = token.split(|b| *b == b'.').collect();
    if parts.len() != 3 {
        return None;
    }
    let decoded = URL_SAFE_NO_PAD.decode(parts.get(part)?).ok()?;
    match args.text(0) {
        Some(_) => query(&decoded, args),
        None => text(decoded),
    }
}

/// Escapes text that is ASCII, or UTF-8: `s` leaves out what is wrong, `p` takes what is written
/// with more bytes than it needs. Without `s`, what is wrong makes no value.
fn escape<'s>(bytes: &[u8], code: &[u8]) -> Option<Sample<'s>> {
    let utf8 = code.starts_with(b"utf8");
    let skip = code.contains(&b's') && utf8;
    let permissive = code.contains(&b'p');
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let (point, length) = match utf8 {
            true => decode(rest, permissive),
            false => (Some(u32::from(*first)), 1),
        };
        rest = rest.get(length..).unwrap_or_default();
        // The escape has room for four digits.
        let Some(point) = point.filter(|p| *p <= 0xffff) else {
            if skip {
                continue;
            }
            return None;
        };
        match u8::try_from(point) {
            Ok(b'"') => out.extend_from_slice(b"\\\""),
            Ok(b'\\') => out.extend_from_slice(b"\\\\"),
            Ok(b'/') => out.extend_from_slice(b"\\/"),
            Ok(b'\n') => out.extend_from_slice(b"\\n"),
            Ok(b'\r') => out.extend_from_slice(b"\\r"),
            Ok(b'\t') => out.extend_from_slice(b"\\t"),
            Ok(0x08) => out.extend_from_slice(b"\\b"),
            Ok(0x0c) => out.extend_from_slice(b"\\f"),
            Ok(b @ 0x20..=0x7e) => out.push(b),
            _ => {
                let _ = write!(out, "\\u{point:04x}");
            }
        }
    }
    text(out)
}

/// The code point that bytes begin with, if it is one, and how many bytes it took.
fn decode(bytes: &[u8], permissive: bool) -> (Option<u32>, usize) {
    let Some(&first) = bytes.first() else {
        return (None, 0);
    };
    let (length, low) = match first {
        0..=0x7f => return (Some(first.into()), 1),
        0xc0..=0xdf => (2, u32::from(first & 0x1f)),
        0xe0..=0xef => (3, u32::from(first & 0x0f)),
        0xf0..=0xf7 => (4, u32::from(first & 0x07)),
        _ => return (None, 1),
    };
    let mut point = low;
    for at in 1..length {
        match bytes.get(at) {
            Some(b @ 0x80..=0xbf) => point = point << 6 | u32::from(b & 0x3f),
            _ => return (None, at),
        }
    }
    let least = [0, 0, 0x80, 0x800, 0x1_0000];
    let overlong = least.get(length).is_some_and(|l| point < *l);
    let valid = char::from_u32(point).is_some() && (permissive || !overlong);
    (valid.then_some(point), length)
}
