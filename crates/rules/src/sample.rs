//! Typed values and how one becomes another (manual section 7.1).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The types of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Type {
    Any,
    Bool,
    Int,
    Addr,
    Str,
    Bin,
    Method,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Sample<'a> {
    Bool(bool),
    Int(i64),
    Ip4(Ipv4Addr),
    Ip6(Ipv6Addr),
    Str(Cow<'a, [u8]>),
    Bin(Cow<'a, [u8]>),
    Method(Cow<'a, [u8]>),
}

impl<'a> Sample<'a> {
    /// A borrowed string.
    pub fn str(bytes: &'a [u8]) -> Sample<'a> {
        Sample::Str(Cow::Borrowed(bytes))
    }

    /// An owned string.
    pub fn owned(bytes: impl Into<Vec<u8>>) -> Sample<'a> {
        Sample::Str(Cow::Owned(bytes.into()))
    }

    /// An address.
    pub fn ip(ip: IpAddr) -> Sample<'a> {
        match ip {
            IpAddr::V4(ip) => Sample::Ip4(ip),
            IpAddr::V6(ip) => Sample::Ip6(ip),
        }
    }

    /// Its type.
    pub fn kind(&self) -> Type {
        match self {
            Sample::Bool(_) => Type::Bool,
            Sample::Int(_) => Type::Int,
            Sample::Ip4(_) | Sample::Ip6(_) => Type::Addr,
            Sample::Str(_) => Type::Str,
            Sample::Bin(_) => Type::Bin,
            Sample::Method(_) => Type::Method,
        }
    }

    /// As text, the way a log or a header shows it: binary as hexadecimal, booleans as 1 and 0.
    pub fn to_text(&self) -> Cow<'_, [u8]> {
        match self {
            Sample::Bin(bytes) => Cow::Owned(hex(bytes)),
            _ => self.to_bytes(),
        }
    }

    /// As bytes: binary as it is, all else as text.
    pub fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Sample::Bool(true) => Cow::Borrowed(b"1"),
            Sample::Bool(false) => Cow::Borrowed(b"0"),
            Sample::Int(n) => Cow::Owned(n.to_string().into_bytes()),
            Sample::Ip4(ip) => Cow::Owned(ip.to_string().into_bytes()),
            Sample::Ip6(ip) => Cow::Owned(ip.to_string().into_bytes()),
            Sample::Str(b) | Sample::Bin(b) | Sample::Method(b) => Cow::Borrowed(b),
        }
    }

    /// The same as [`Sample::to_bytes`], keeping the lifetime of what was borrowed.
    pub fn into_bytes(self) -> Cow<'a, [u8]> {
        match self {
            Sample::Str(b) | Sample::Bin(b) | Sample::Method(b) => b,
            other => Cow::Owned(other.to_bytes().into_owned()),
        }
    }

    /// As an integer; a string must be one from its first byte to its last.
    pub fn to_int(&self) -> Option<i64> {
        match self {
            Sample::Bool(b) => Some(i64::from(*b)),
            Sample::Int(n) => Some(*n),
            Sample::Ip4(ip) => Some(i64::from(u32::from(*ip))),
            Sample::Ip6(_) | Sample::Method(_) => None,
            Sample::Str(b) => std::str::from_utf8(b).ok()?.trim().parse().ok(),
            Sample::Bin(b) => {
                let mut n = 0i64;
                for byte in b.iter().take(8) {
                    n = n.wrapping_shl(8) | i64::from(*byte);
                }
                Some(n)
            }
        }
    }

    /// As a boolean: a number that is not 0.
    pub fn to_bool(&self) -> Option<bool> {
        match self {
            Sample::Bool(b) => Some(*b),
            other => other.to_int().map(|n| n != 0),
        }
    }

    /// As an address; text is read as one.
    pub fn to_ip(&self) -> Option<IpAddr> {
        match self {
            Sample::Ip4(ip) => Some(IpAddr::V4(*ip)),
            Sample::Ip6(ip) => Some(IpAddr::V6(*ip)),
            Sample::Int(n) => u32::try_from(*n).ok().map(|n| IpAddr::V4(n.into())),
            Sample::Str(b) => std::str::from_utf8(b).ok()?.trim().parse().ok(),
            _ => None,
        }
    }

    /// Without borrowing.
    pub fn into_owned(self) -> Sample<'static> {
        match self {
            Sample::Bool(b) => Sample::Bool(b),
            Sample::Int(n) => Sample::Int(n),
            Sample::Ip4(ip) => Sample::Ip4(ip),
            Sample::Ip6(ip) => Sample::Ip6(ip),
            Sample::Str(b) => Sample::Str(Cow::Owned(b.into_owned())),
            Sample::Bin(b) => Sample::Bin(Cow::Owned(b.into_owned())),
            Sample::Method(b) => Sample::Method(Cow::Owned(b.into_owned())),
        }
    }
}

/// Upper-case hexadecimal digits, two a byte.
pub fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .collect()
}
