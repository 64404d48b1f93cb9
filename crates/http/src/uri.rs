//! Request targets (RFC 9112 section 3.2, RFC 3986).

use memchr::{memchr, memchr2};
use std::borrow::Cow;

/// The scheme of an absolute-form target.
pub fn scheme(target: &[u8]) -> Option<&[u8]> {
    let colon = memchr(b':', target)?;
    let scheme = target.get(..colon)?;
    let valid = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    (valid && target.get(colon + 1..colon + 3) == Some(b"//")).then_some(scheme)
}

/// What follows the authority of an absolute-form target; the target itself in other forms.
pub fn path_and_query_and_fragment(target: &[u8]) -> &[u8] {
    if matches!(target.first(), Some(b'/' | b'*') | None) {
        return target;
    }
    match scheme(target) {
        Some(s) => {
            let rest = target.get(s.len() + 3..).unwrap_or_default();
            let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#'));
            end.and_then(|e| rest.get(e..)).unwrap_or_default()
        }
        None => &[],
    }
}

/// The path without query and fragment: `/` and on; `*` stays `*`; empty where there is none.
pub fn path(target: &[u8]) -> &[u8] {
    let rest = path_and_query_and_fragment(target);
    let end = memchr2(b'?', b'#', rest).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

/// Path and query.
pub fn path_and_query(target: &[u8]) -> &[u8] {
    let rest = path_and_query_and_fragment(target);
    let end = memchr(b'#', rest).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

/// What follows the first `?`, without fragment.
pub fn query(target: &[u8]) -> Option<&[u8]> {
    let rest = path_and_query(target);
    rest.get(memchr(b'?', rest)? + 1..)
}

/// The authority of an absolute-form target, or the whole target of CONNECT; without user info.
pub fn authority(target: &[u8], connect: bool) -> Option<&[u8]> {
    let authority = if connect {
        target
    } else {
        let rest = target.get(scheme(target)?.len() + 3..)?;
        let end = rest
            .iter()
            .position(|b| matches!(b, b'/' | b'?' | b'#'))
            .unwrap_or(rest.len());
        rest.get(..end)?
    };
    match authority.iter().rposition(|b| *b == b'@') {
        Some(at) => authority.get(at + 1..),
        None => Some(authority),
    }
}

/// Whether two authorities name the same host and port; no port is `default_port`.
pub fn same_authority(a: &[u8], b: &[u8], default_port: u16) -> bool {
    let (host_a, port_a) = split_port(a);
    let (host_b, port_b) = split_port(b);
    let number = |port: Option<&[u8]>| match port {
        None | Some(b"") => Some(default_port),
        Some(digits) => std::str::from_utf8(digits).ok()?.parse::<u16>().ok(),
    };
    host_a.eq_ignore_ascii_case(host_b) && number(port_a) == number(port_b)
}

/// Host (with brackets, for IPv6) and port of an authority.
pub fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let search_from = memchr(b']', authority).unwrap_or(0);
    let tail = authority.get(search_from..).unwrap_or_default();
    match memchr(b':', tail) {
        Some(colon) => {
            let at = search_from + colon;
            (
                authority.get(..at).unwrap_or_default(),
                authority.get(at + 1..),
            )
        }
        None => (authority, None),
    }
}

/// The value of the first parameter of that name in a query, as written (not decoded).
pub fn query_param_raw<'a>(query: &'a [u8], name: &[u8], separator: u8) -> Option<&'a [u8]> {
    params(query, separator)
        .find(|(n, _)| *n == name)
        .map(|(_, v)| v)
}

/// Each `name=value` of a query, as written; a name without `=` has an empty value.
pub fn params(query: &[u8], separator: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
    query
        .split(move |b| *b == separator)
        .filter(|p| !p.is_empty())
        .map(|pair| match memchr(b'=', pair) {
            Some(eq) => (
                pair.get(..eq).unwrap_or_default(),
                pair.get(eq + 1..).unwrap_or_default(),
            ),
            None => (pair, &pair[..0]),
        })
}

/// The value of the first parameter of that name (`&` separates), percent-decoded.
pub fn query_param<'a>(query: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    query_param_raw(query, name, b'&').map(|v| percent_decode(v, true))
}

/// Decodes `%XX`, and `+` as a space where `plus` says so. A malformed escape stays as it is.
pub fn percent_decode(bytes: &[u8], plus: bool) -> Cow<'_, [u8]> {
    if !bytes.iter().any(|b| *b == b'%' || (plus && *b == b'+')) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(b) = bytes.get(at) {
        let decoded = match (b, bytes.get(at + 1), bytes.get(at + 2)) {
            (b'%', Some(h), Some(l)) => hex(*h).zip(hex(*l)).map(|(h, l)| h * 16 + l),
            _ => None,
        };
        match decoded {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(if plus && *b == b'+' { b' ' } else { *b });
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// The value of a hexadecimal digit.
pub fn hex(b: u8) -> Option<u8> {
    match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    }
}
