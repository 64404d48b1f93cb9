//! `Cookie` and `Set-Cookie` lines (RFC 6265 sections 4.1 and 4.2, read leniently).

use crate::syntax::trim;

/// Each `name=value` of a Cookie line; quotes around a value stay.
pub fn pairs(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    line.split(|b| *b == b';').filter_map(pair)
}

/// The `name=value` of a Set-Cookie line, without its attributes.
pub fn set_pair(line: &[u8]) -> Option<(&[u8], &[u8])> {
    line.split(|b| *b == b';').next().and_then(pair)
}

fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = trim(text);
    let eq = memchr::memchr(b'=', text)?;
    let name = trim(text.get(..eq)?);
    (!name.is_empty()).then(|| (name, trim(text.get(eq + 1..).unwrap_or_default())))
}
