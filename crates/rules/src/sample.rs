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

impl Type {
    /// What it is called in a message.
    pub fn name(self) -> &'static str {
        match self {
            Type::Any => "any value",
            Type::Bool => "a boolean",
            Type::Int => "a number",
            Type::Addr => "an address",
            Type::Str => "a string",
            Type::Bin => "bytes",
            Type::Method => "a method",
        }
    }

    /// Whether a value of this type can be one of the other, at least sometimes.
    pub fn casts_to(self, to: Type) -> bool {
        match (self, to) {
            (a, b) if a == b => true,
            (Type::Any, _) | (_, Type::Any | Type::Str | Type::Bin) => true,
            (Type::Bin | Type::Method, _) => false,
            (Type::Bool | Type::Int | Type::Addr, Type::Method) => false,
            (Type::Bool, Type::Addr) => false,
            _ => true,
        }
    }
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
    /// What it is, by HAProxy's short names.
    pub fn type_name(&self) -> &'static str {
        match self {
            Sample::Bool(_) => "bool",
            Sample::Int(_) => "sint",
            Sample::Ip4(_) => "ipv4",
            Sample::Ip6(_) => "ipv6",
            Sample::Str(_) => "str",
            Sample::Bin(_) => "bin",
            Sample::Method(_) => "meth",
        }
    }

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

    /// As text, the way a log or a header shows it: of bytes, what stands before the first NUL.
    pub fn to_text(&self) -> Cow<'_, [u8]> {
        match self {
            Sample::Bin(bytes) => Cow::Borrowed(before_nul(bytes)),
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
            Sample::Ip6(ip) => Cow::Owned(ip6_text(*ip).into_bytes()),
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

    /// As an integer; of a string the digits it begins with, as far as they fit.
    pub fn to_int(&self) -> Option<i64> {
        match self {
            Sample::Bool(b) => Some(i64::from(*b)),
            Sample::Int(n) => Some(*n),
            Sample::Ip4(ip) => Some(i64::from(u32::from(*ip))),
            Sample::Ip6(_) | Sample::Method(_) | Sample::Bin(_) => None,
            Sample::Str(b) => (!b.is_empty()).then(|| leading_int(b)),
        }
    }

    /// As a boolean: a number that is not 0.
    pub fn to_bool(&self) -> Option<bool> {
        match self {
            Sample::Bool(b) => Some(*b),
            other => other.to_int().map(|n| n != 0),
        }
    }

    /// As an address; text is read as one, of a number the lower 32 bits.
    pub fn to_ip(&self) -> Option<IpAddr> {
        match self {
            Sample::Ip4(ip) => Some(IpAddr::V4(*ip)),
            Sample::Ip6(ip) => Some(IpAddr::V6(*ip)),
            Sample::Int(n) => Some(IpAddr::V4((*n as u32).into())),
            Sample::Str(b) => std::str::from_utf8(b).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// As another type, where that has a meaning; [`Type::casts_to`] says which have none.
    pub fn cast(self, to: Type) -> Option<Sample<'a>> {
        if to == Type::Any || self.kind() == to {
            return Some(self);
        }
        Some(match to {
            Type::Any | Type::Bool => Sample::Bool(self.to_bool()?),
            Type::Int => Sample::Int(self.to_int()?),
            Type::Addr => Sample::ip(self.to_ip()?),
            Type::Str => Sample::Str(match self {
                Sample::Bin(Cow::Borrowed(b)) => Cow::Borrowed(before_nul(b)),
                Sample::Bin(Cow::Owned(b)) => Cow::Owned(before_nul(&b).to_vec()),
                other => other.into_bytes(),
            }),
            Type::Method => Sample::Method(self.into_bytes()),
            Type::Bin => Sample::Bin(match self {
                Sample::Bool(b) => Cow::Owned(i64::from(b).to_be_bytes().to_vec()),
                Sample::Int(n) => Cow::Owned(n.to_be_bytes().to_vec()),
                Sample::Ip4(ip) => Cow::Owned(ip.octets().to_vec()),
                Sample::Ip6(ip) => Cow::Owned(ip.octets().to_vec()),
                other => other.into_bytes(),
            }),
        })
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

/// Like inet_ntop(3): the address `::a.b.c.d` shows its dots, too.
fn ip6_text(ip: Ipv6Addr) -> String {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            format!("::{}", Ipv4Addr::new(a, b, c, d))
        }
        _ => ip.to_string(),
    }
}

fn before_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

/// The number that bytes begin with, 0 without one; what is too large becomes the largest.
fn leading_int(bytes: &[u8]) -> i64 {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    let digits = digits.iter().take_while(|b| b.is_ascii_digit());
    digits.fold(0i64, |n, d| {
        let d = i64::from(d - b'0');
        let n = n.saturating_mul(10);
        if negative {
            n.saturating_sub(d)
        } else {
            n.saturating_add(d)
        }
    })
}

/// Upper-case hexadecimal digits, two a byte.
pub fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .collect()
}
