//! Maps from files. What a name says: how keys match, then what the values are.

use super::{ConvertDef, convert, text};
use crate::Sample;
use crate::args::{Arg, ArgKind, ArgKind::*, Family, args};
use crate::pattern::Match;

macro_rules! map {
    ($name:literal, $in:ident, $how:ident, $out:ident, $default:expr) => {
        ConvertDef {
            name: $name,
            args: args(
                const { &[ArgKind::Map(Match::$how, crate::Type::$out), $default] },
                1,
            ),
            input: crate::Type::$in,
            output: crate::Type::$out,
            doc: "what a file maps it to, or the default",
            example: (
                concat!(key!($in), ",", $name, "(", key!($in file), value!($out), ")"),
                value!($out),
            ),
            eval: |a, s, _| find(a, &s),
        }
    };
}

/// For the examples: what is looked up, what stands in the file, and what belongs to it there.
macro_rules! key {
    (Str) => {
        "str(k)"
    };
    (Int) => {
        "int(7)"
    };
    (Addr) => {
        "ipv4(10.1.2.3)"
    };
    (Str file) => {
        "k "
    };
    (Int file) => {
        "5:9 "
    };
    (Addr file) => {
        "10.0.0.0/8 "
    };
}
macro_rules! value {
    (Str) => {
        "v"
    };
    (Int) => {
        "5"
    };
    (Addr) => {
        "192.0.2.1"
    };
}

pub static TABLE: &[ConvertDef] = &[
    map!("map", Str, Str, Str, Str),
    map!("map_beg", Str, Beg, Str, Str),
    map!("map_beg_int", Str, Beg, Int, Int),
    map!("map_beg_ip", Str, Beg, Addr, Ip(Family::Any)),
    map!("map_dir", Str, Dir, Str, Str),
    map!("map_dir_int", Str, Dir, Int, Int),
    map!("map_dir_ip", Str, Dir, Addr, Ip(Family::Any)),
    map!("map_dom", Str, Dom, Str, Str),
    map!("map_dom_int", Str, Dom, Int, Int),
    map!("map_dom_ip", Str, Dom, Addr, Ip(Family::Any)),
    map!("map_end", Str, End, Str, Str),
    map!("map_end_int", Str, End, Int, Int),
    map!("map_end_ip", Str, End, Addr, Ip(Family::Any)),
    map!("map_int", Int, Int, Str, Str),
    map!("map_int_int", Int, Int, Int, Int),
    map!("map_int_ip", Int, Int, Addr, Ip(Family::Any)),
    map!("map_ip", Addr, Ip, Str, Str),
    map!("map_ip_int", Addr, Ip, Int, Int),
    map!("map_ip_ip", Addr, Ip, Addr, Ip(Family::Any)),
    map!("map_reg", Str, Reg, Str, Str),
    map!("map_reg_int", Str, Reg, Int, Int),
    map!("map_reg_ip", Str, Reg, Addr, Ip(Family::Any)),
    convert! { "map_regm", args(&[ArgKind::Map(Match::Reg, crate::Type::Str), Str], 1), Str => Str,
        "what a file maps it to, with groups (\\1) filled in, or the default",
        "str(abc),map_regm('a(.)c x\\1\\0')" => "xbabc", |a, s, _| match a.first()? {
            Arg::Map(map) => map.expanded(&s).and_then(text).or_else(|| default(a)),
            _ => None,
        }
    },
    map!("map_str", Str, Str, Str, Str),
    map!("map_str_int", Str, Str, Int, Int),
    map!("map_str_ip", Str, Str, Addr, Ip(Family::Any)),
    map!("map_sub", Str, Sub, Str, Str),
    map!("map_sub_int", Str, Sub, Int, Int),
    map!("map_sub_ip", Str, Sub, Addr, Ip(Family::Any)),
];

fn find<'s>(args: &'s [Arg], sample: &Sample<'_>) -> Option<Sample<'s>> {
    match args.first()? {
        Arg::Map(map) => map.value(sample).or_else(|| default(args)),
        _ => None,
    }
}

fn default<'s>(args: &'s [Arg]) -> Option<Sample<'s>> {
    match args.get(1)? {
        Arg::Str(text) => Some(Sample::str(text)),
        Arg::Int(n) => Some(Sample::Int(*n)),
        Arg::Ip(ip) => Some(Sample::ip(*ip)),
        _ => None,
    }
}
