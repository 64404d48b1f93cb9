//! LDAPv3 (RFC 4511): an anonymous bind, in BER.

use super::{Next, Verdict};

/// LDAPMessage { 1, BindRequest { version 3, name "", simple "" } }.
pub const BIND: &[u8] = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00";

const OTHER: &str = "Not LDAPv3 protocol";

pub fn hear(heard: &[u8], ended: bool) -> Next {
    match result(heard) {
        Ok(Some(0)) => Verdict::passed(0, ""),
        Ok(Some(code)) => Verdict::status(
            code.into(),
            "See RFC: http://tools.ietf.org/html/rfc4511#section-4.1.9",
        ),
        Ok(None) if !ended => Next::More,
        Ok(None) => Verdict::invalid(""),
        Err(()) => Verdict::invalid(OTHER),
    }
}

/// The result code of a BindResponse; `None` while it has not come whole.
fn result(heard: &[u8]) -> Result<Option<u8>, ()> {
    let Some(rest) = opened(heard, 0x30)? else {
        return Ok(None);
    };
    let Some((id, rest)) = element(rest, 0x02)? else {
        return Ok(None);
    };
    if id != [1] {
        return Err(());
    }
    let Some(rest) = opened(rest, 0x61)? else {
        return Ok(None);
    };
    match element(rest, 0x0a)? {
        Some(([code], _)) => Ok(Some(*code)),
        Some(_) => Err(()),
        None => Ok(None),
    }
}

/// What follows the tag and the length of an element, whose content may still come.
fn opened(bytes: &[u8], tag: u8) -> Result<Option<&[u8]>, ()> {
    Ok(head(bytes, tag)?.map(|(_, rest)| rest))
}

/// Content and what follows it; `None` while it has not come, an error where it is another element.
type Part<'a> = Result<Option<(&'a [u8], &'a [u8])>, ()>;

fn element(bytes: &[u8], tag: u8) -> Part<'_> {
    let Some((length, rest)) = head(bytes, tag)? else {
        return Ok(None);
    };
    Ok(rest.split_at_checked(length))
}

fn head(bytes: &[u8], tag: u8) -> Result<Option<(usize, &[u8])>, ()> {
    match bytes {
        [found, ..] if *found != tag => Err(()),
        [_, length @ 0..=0x7f, rest @ ..] => Ok(Some((usize::from(*length), rest))),
        // The long form: so many bytes of length (X.690 section 8.1.3.5).
        [_, long @ 0x81..=0x84, rest @ ..] => {
            let count = usize::from(long - 0x80);
            let Some((digits, rest)) = rest.split_at_checked(count) else {
                return Ok(None);
            };
            let length = digits.iter().fold(0, |n, d| n << 8 | usize::from(*d));
            Ok(Some((length, rest)))
        }
        [_, 0x80 | 0x85..=0xff, ..] => Err(()),
        _ => Ok(None),
    }
}
