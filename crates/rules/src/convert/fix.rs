//! Messages of the Financial Information eXchange protocol (FIX, "tag=value" encoding): fields
//! `tag=value`, each with a byte 0x01 behind it.

use super::{ConvertDef, convert};
use crate::Sample;
use crate::args::{ArgKind::*, ArgList, NONE, args};

pub static TABLE: &[ConvertDef] = &[
    convert! { "fix_is_valid", NONE, Bin => Bool,
        "whether it is a whole message of FIX, with the right length and checksum",
        "bin(383d4649582e342e3401393d350133353d300131303d31363301),fix_is_valid" => "1",
        |_, s, _| Some(Sample::Bool(is_valid(&s.to_bytes())))
    },
    convert! { "fix_tag_value", args(&[Str], 1), Bin => Bin,
        "the value of a field of FIX, by its number or name",
        "bin(383d4649582e342e3401393d350133353d300131303d31363301),fix_tag_value(MsgType)" => "0",
        |a, s, _| {
            let wanted = number_of(a.text(0)?);
            let bytes = s.into_bytes();
            let found = fields(&bytes).flatten().find(|(tag, _)| *tag == wanted);
            found.map(|(_, value)| Sample::Bin(value.to_vec().into()))
        }
    },
];

/// The fields; what has no tag, no value or no end is `None`.
fn fields(message: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    let body = message.strip_suffix(b"\x01");
    let parts = body.map(|b| b.split(|b| *b == 1));
    parts.into_iter().flatten().map(|field| {
        let at = field.iter().position(|b| *b == b'=')?;
        let (tag, value) = (field.get(..at)?, field.get(at + 1..)?);
        let numeric = !tag.is_empty() && tag.iter().all(u8::is_ascii_digit);
        (numeric && !value.is_empty()).then_some((tag, value))
    })
}

/// The number of a field that is named.
fn number_of(name: &[u8]) -> &[u8] {
    match name {
        b"BeginString" => b"8",
        b"BodyLength" => b"9",
        b"CheckSum" => b"10",
        b"MsgType" => b"35",
        b"SenderCompID" => b"49",
        b"TargetCompID" => b"56",
        number => number,
    }
}

fn is_valid(message: &[u8]) -> bool {
    let all: Option<Vec<_>> = fields(message).collect();
    let Some([begin, length, kind, .., check]) = all.as_deref() else {
        return false;
    };
    let versions: [&[u8]; 6] = [
        b"FIX.4.0",
        b"FIX.4.1",
        b"FIX.4.2",
        b"FIX.4.3",
        b"FIX.4.4",
        b"FIXT.1.1",
    ];
    let ordered = begin.0 == b"8" && length.0 == b"9" && kind.0 == b"35" && check.0 == b"10";
    // What stands before the body, and the checksum behind it, with their signs and ends.
    let before = begin.1.len() + length.1.len() + "8=\x019=\x01".len();
    let behind = check.1.len() + "10=\x01".len();
    let body = message.len().checked_sub(before + behind);
    let says = |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<usize>().ok();
    let summed = message.get(..message.len().saturating_sub(behind));
    let sum = summed.unwrap_or_default().iter();
    let sum = sum.fold(0u8, |sum, b| sum.wrapping_add(*b));
    ordered
        && versions.contains(&begin.1)
        && says(length.1).is_some_and(|n| Some(n) == body)
        && check.1.len() == 3
        && says(check.1) == Some(usize::from(sum))
}
