//! Values that are written in the expression.

use super::{FetchDef, fetch, int, truth};
use crate::Sample;
use crate::args::{ArgKind::*, ArgList, ArgSpec, Family, NONE, args, repeated};
use std::borrow::Cow;

const TEXT: ArgSpec = args(&[Str], 1);

pub static TABLE: &[FetchDef] = &[
    fetch! { ["acl"], repeated(&[Acl], 1), Bool, Internal, "whether these ACLs, declared above, all hold",
        "acl(TRUE,!FALSE)" => "1", |a, cx| truth(a.iter().all(|a| match a {
            crate::args::Arg::Acl(acl) => acl.holds(cx),
            _ => false,
        }))
    },
    fetch! { ["always_false"], NONE, Bool, Internal, "false", "always_false" => "0", |_, _| truth(false) },
    fetch! { ["always_true"], NONE, Bool, Internal, "true", "always_true" => "1", |_, _| truth(true) },
    fetch! { ["bin"], TEXT, Bin, Internal, "the bytes of the given hexadecimal digits",
        "bin(4142)" => "AB", |a, _| crate::pattern::unhex(a.text(0)?).map(|b| Sample::Bin(Cow::Owned(b)))
    },
    fetch! { ["bool"], args(&[Word(&["true", "false", "1", "0"])], 1), Bool, Internal, "the given boolean",
        "bool(true)" => "1", |a, _| truth(matches!(a.text(0)?, b"true" | b"1"))
    },
    fetch! { ["int"], args(&[Int], 1), Int, Internal, "the given number",
        "int(-5)" => "-5", |a, _| a.int(0).and_then(int)
    },
    fetch! { ["ipv4"], args(&[Ip(Family::V4)], 1), Addr, Internal, "the given IPv4 address",
        "ipv4(192.0.2.1)" => "192.0.2.1", |a, _| a.ip(0).map(Sample::ip)
    },
    fetch! { ["ipv6"], args(&[Ip(Family::V6)], 1), Addr, Internal, "the given IPv6 address",
        "ipv6(2001:DB8::0:1)" => "2001:db8::1", |a, _| a.ip(0).map(Sample::ip)
    },
    fetch! { ["meth"], TEXT, Method, Internal, "the given method",
        "meth(GET)" => "GET", |a, _| Some(Sample::Method(Cow::Borrowed(a.text(0)?)))
    },
    fetch! { ["quic_enabled"], NONE, Bool, Internal, "whether QUIC is listened on: never",
        "quic_enabled" => "0", |_, _| truth(false)
    },
    fetch! { ["str"], args(&[Str], 0), Str, Internal, "the given string",
        "str(a b)" => "a b", |a, _| Some(Sample::str(a.text(0).unwrap_or_default()))
    },
];
