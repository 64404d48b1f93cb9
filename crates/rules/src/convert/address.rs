//! Addresses, and the values of Host.

use super::{ConvertDef, convert, int, text};
use crate::Sample;
use crate::args::{ArgKind::*, ArgList, Family, NONE, args};
use std::net::IpAddr;

pub static TABLE: &[ConvertDef] = &[
    convert! { "host_only", NONE, Str => Str, "a Host value without its port, in lower case",
        "req.hdr(host),host_only" => "www.example.org", |_, s, _| {
            text(split_port(&s.to_bytes()).0.to_ascii_lowercase())
        }
    },
    convert! { "ipmask", args(&[Mask(Family::V4), Mask(Family::V6)], 1), Addr => Addr,
        "an address with only its network bits",
        "src,ipmask(24)" => "192.0.2.0", |a, s, _| match s.to_ip()?.to_canonical() {
            IpAddr::V4(ip) => match a.ip(0)? {
                IpAddr::V4(mask) => Some(Sample::Ip4(ip & mask)),
                IpAddr::V6(_) => None,
            },
            IpAddr::V6(ip) => match a.ip(1)? {
                IpAddr::V6(mask) => Some(Sample::Ip6(ip & mask)),
                IpAddr::V4(_) => None,
            },
        }
    },
    convert! { "port_only", NONE, Str => Int, "a Host value's port, 0 without one",
        "req.hdr(host),port_only" => "8080", |_, s, _| {
            let bytes = s.to_bytes();
            let port = split_port(&bytes).1;
            int(port.and_then(|p| Sample::str(p).to_int()).unwrap_or(0))
        }
    },
];

/// Host and port: what stands before and behind the last colon that is in no brackets.
fn split_port(value: &[u8]) -> (&[u8], Option<&[u8]>) {
    match value.iter().rposition(|b| matches!(b, b':' | b']')) {
        Some(at) if value.get(at) == Some(&b':') => {
            (value.get(..at).unwrap_or_default(), value.get(at + 1..))
        }
        _ => (value, None),
    }
}
