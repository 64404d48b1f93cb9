//! Fields of protocol buffers messages, bare or in gRPC.

use super::{ConvertDef, binary, convert, int};
use crate::Sample;
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, args};

const FIELD: ArgSpec = args(
    &[
        Fields,
        Word(&[
            "int32", "int64", "uint32", "uint64", "sint32", "sint64", "bool", "enum", "fixed32",
            "fixed64", "sfixed32", "sfixed64", "float", "double",
        ]),
    ],
    1,
);

pub static TABLE: &[ConvertDef] = &[
    convert! { "protobuf", FIELD, Bin => Bin, "a field of a protocol buffers message, its bytes or a number",
        "bin(0a020805),protobuf(1.1,int32)" => "5", |a, s, _| field(a, &s.to_bytes())
    },
    convert! { "ungrpc", FIELD, Bin => Bin, "a field of a gRPC message, its bytes or a number",
        "bin(00000000040a020805),ungrpc(1.1,int32)" => "5", |a, s, _| {
            // One byte says whether it is compressed, four how long it is.
            let bytes = s.to_bytes();
            match bytes.split_at_checked(5)? {
                ([0, ..], message) => field(a, message),
                _ => None,
            }
        }
    },
];

/// The bytes of a field, and whether it is a number of its own (`varint`).
enum Content<'m> {
    Varint(u64),
    Bytes(&'m [u8]),
}

fn field<'s>(args: &[Arg], message: &[u8]) -> Option<Sample<'s>> {
    let Arg::Fields(path) = args.first()? else {
        return None;
    };
    let mut content = Content::Bytes(message);
    for number in path {
        let Content::Bytes(message) = content else {
            return None;
        };
        content = member(message, *number)?;
    }
    let number = match (args.text(1), content) {
        (None, Content::Bytes(bytes)) => return binary(bytes),
        (None, Content::Varint(n)) => n as i64,
        (Some(kind), Content::Varint(n)) => match kind {
            b"int64" | b"uint64" | b"bool" => n as i64,
            b"uint32" => i64::from(n as u32),
            b"int32" | b"enum" => i64::from(n as i32),
            b"sint32" | b"sint64" => (n >> 1) as i64 ^ -((n & 1) as i64),
            _ => return None,
        },
        (Some(kind), Content::Bytes(bytes)) => match (kind, bytes.len()) {
            (b"fixed32", 4) => u32::from_le_bytes(bytes.try_into().ok()?).into(),
            (b"sfixed32", 4) => i32::from_le_bytes(bytes.try_into().ok()?).into(),
            (b"float", 4) => f32::from_le_bytes(bytes.try_into().ok()?) as i64,
            (b"fixed64" | b"sfixed64", 8) => i64::from_le_bytes(bytes.try_into().ok()?),
            (b"double", 8) => f64::from_le_bytes(bytes.try_into().ok()?) as i64,
            _ => return None,
        },
    };
    int(number)
}

/// The first field of that number.
fn member(message: &[u8], number: u64) -> Option<Content<'_>> {
    let mut rest = message;
    loop {
        let (key, after) = varint(rest)?;
        let (content, after) = match key & 7 {
            0 => {
                let (n, after) = varint(after)?;
                (Content::Varint(n), after)
            }
            kind => {
                let (length, after) = match kind {
                    1 => (8, after),
                    2 => varint(after)?,
                    5 => (4, after),
                    _ => return None,
                };
                let (bytes, after) = after.split_at_checked(length.try_into().ok()?)?;
                (Content::Bytes(bytes), after)
            }
        };
        if key >> 3 == number {
            return Some(content);
        }
        rest = after;
    }
}

/// A number of seven bits a byte, the lowest first, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let last = bytes.iter().take(10).position(|b| b & 0x80 == 0)?;
    let (digits, rest) = bytes.split_at(last + 1);
    let digits = digits.iter().rev();
    let n = digits.fold(0u64, |n, b| n << 7 | u64::from(b & 0x7f));
    Some((n, rest))
}
