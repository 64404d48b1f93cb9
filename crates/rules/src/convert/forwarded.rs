//! The header Forwarded (RFC 7239 section 4). Of a list, the first element counts.

use super::{ConvertDef, convert, text};
use crate::Sample;
use crate::args::{ArgKind::*, ArgList, NONE, args};

pub static TABLE: &[ConvertDef] = &[
    convert! { "rfc7239_field", args(&[Word(&["proto", "host", "for", "by"])], 1), Str => Str,
        "a parameter of a Forwarded value",
        "str('for=\"127.0.0.1:9999\";proto=http'),rfc7239_field(for)" => "127.0.0.1:9999",
        |a, s, _| {
            let wanted = a.text(0)?;
            let pairs = element(&s.to_bytes())?;
            let found = pairs.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.and_then(|(_, value)| text(value))
        }
    },
    convert! { "rfc7239_is_valid", NONE, Str => Bool, "whether it is a Forwarded value",
        "str('for=127.0.0.1;proto=http'),rfc7239_is_valid" => "1",
        |_, s, _| Some(Sample::Bool(element(&s.to_bytes()).is_some_and(|p| p.iter().all(|(n, v)| valid(n, v)))))
    },
    convert! { "rfc7239_n2nn", NONE, Str => Any, "the name in a node: an address, 'unknown' or '_…'",
        "str('[2001:db8::1]:4711'),rfc7239_n2nn" => "2001:db8::1", |_, s, _| node_name(&s)
    },
    convert! { "rfc7239_n2np", NONE, Str => Any, "the port in a node: a number or '_…'",
        "str(127.0.0.1:9999),rfc7239_n2np" => "9999", |_, s, _| node_port(&s)
    },
    convert! { "rfc7239_nn", NONE, Str => Any, "the same as rfc7239_n2nn",
        "str('[2001:db8::1]:4711'),rfc7239_nn" => "2001:db8::1", |_, s, _| node_name(&s)
    },
    convert! { "rfc7239_np", NONE, Str => Any, "the same as rfc7239_n2np",
        "str(127.0.0.1:9999),rfc7239_np" => "9999", |_, s, _| node_port(&s)
    },
];

fn node_name<'s>(sample: &Sample<'_>) -> Option<Sample<'s>> {
    let bytes = sample.to_bytes();
    let name = node(&bytes)?.0;
    Sample::str(name)
        .to_ip()
        .map(Sample::ip)
        .or_else(|| text(name))
}

fn node_port<'s>(sample: &Sample<'_>) -> Option<Sample<'s>> {
    let bytes = sample.to_bytes();
    let port = node(&bytes)?.1?;
    match port.first()? {
        b'_' => text(port),
        _ => Sample::str(port).to_int().map(Sample::Int),
    }
}

/// Names and values of the first element, quotes taken off.
fn element(header: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut pairs = Vec::new();
    let mut rest = header;
    loop {
        let equals = rest.iter().position(|b| *b == b'=')?;
        let name = rest.get(..equals)?.trim_ascii();
        rest = rest.get(equals + 1..)?;
        let mut value = Vec::new();
        if let [b'"', quoted @ ..] = rest {
            rest = quoted;
            loop {
                match rest {
                    [b'"', after @ ..] => {
                        rest = after;
                        break;
                    }
                    [b'\\', b, after @ ..] | [b, after @ ..] => {
                        value.push(*b);
                        rest = after;
                    }
                    [] => return None,
                }
            }
        } else {
            let end = rest.iter().position(|b| b";, \t".contains(b));
            let (token, after) = rest.split_at(end.unwrap_or(rest.len()));
            value.extend_from_slice(token);
            rest = after;
        }
        pairs.push((name.to_vec(), value));
        rest = rest.trim_ascii_start();
        match rest {
            [b';', after @ ..] => rest = after,
            [] | [b',', ..] => return Some(pairs),
            _ => return None,
        }
    }
}

fn valid(name: &[u8], value: &[u8]) -> bool {
    match name.to_ascii_lowercase().as_slice() {
        b"for" | b"by" => node(value).is_some(),
        b"proto" => matches!(value, b"http" | b"https"),
        b"host" => !value.is_empty() && value.iter().all(u8::is_ascii_graphic),
        _ => false,
    }
}

/// Name and port of a node identifier (RFC 7239 section 6).
fn node(bytes: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let (name, port) = http::uri::split_port(bytes);
    let inner = name.strip_prefix(b"[").and_then(|n| n.strip_suffix(b"]"));
    let hidden = |t: &[u8]| {
        let word = |b: &u8| b.is_ascii_alphanumeric() || b"._-".contains(b);
        t.len() > 1 && t.first() == Some(&b'_') && t.iter().all(word)
    };
    let good = match inner {
        Some(ip) => {
            matches!(Sample::str(ip), s if matches!(s.to_ip(), Some(std::net::IpAddr::V6(_))))
        }
        None => {
            name == b"unknown"
                || hidden(name)
                || matches!(Sample::str(name).to_ip(), Some(std::net::IpAddr::V4(_)))
        }
    };
    let number = |p: &[u8]| (1..=5).contains(&p.len()) && p.iter().all(u8::is_ascii_digit);
    let port_good = port.is_none_or(|p| hidden(p) || number(p));
    (good && port_good).then(|| (inner.unwrap_or(name), port))
}
