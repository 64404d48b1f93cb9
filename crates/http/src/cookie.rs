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

/// A Cookie line without the cookie of that name (and its `$` attributes, RFC 2965), empty when
/// nothing is left; `None` when it has no such cookie.
pub fn without(line: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    if !pairs(line).any(|(n, _)| n == name) {
        return None;
    }
    let mut out = Vec::with_capacity(line.len());
    let mut dropping = false;
    for part in line.split(|b| *b == b';').map(trim) {
        dropping = match pair(part) {
            Some((n, _)) if n == name => true,
            _ => dropping && part.starts_with(b"$"),
        };
        if dropping || part.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(part);
    }
    Some(out)
}

/// A Cookie or Set-Cookie line whose first cookie of that name has another value; `None` when it
/// has no such cookie, or `change` leaves it.
pub fn with_value(
    line: &[u8],
    name: &[u8],
    change: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut start = 0;
    for part in line.split(|b| *b == b';') {
        match pair(part) {
            Some((n, value)) if n == name => {
                // `value` is a part of `part`, after its first equals sign.
                let eq = start + memchr::memchr(b'=', part)? + 1;
                let lead = line.get(eq..)?.iter().take_while(|b| is_blank(**b)).count();
                let from = eq + if value.is_empty() { 0 } else { lead };
                let mut out = line.get(..from)?.to_vec();
                out.extend(change(value)?);
                out.extend_from_slice(line.get(from + value.len()..)?);
                return Some(out);
            }
            _ => start += part.len() + 1,
        }
    }
    None
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = trim(text);
    let eq = memchr::memchr(b'=', text)?;
    let name = trim(text.get(..eq)?);
    (!name.is_empty()).then(|| (name, trim(text.get(eq + 1..).unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_taken_out_with_its_attributes() {
        for (line, left) in [
            ("S=1", Some("")),
            ("a=b; S=1; c=d", Some("a=b; c=d")),
            ("S = 1 ;z=1", Some("z=1")),
            ("$Version=1; S=1; $Path=/; k=v", Some("$Version=1; k=v")),
            ("S=1; S=2", Some("")),
            ("s=1; xS=1", None),
            ("", None),
        ] {
            let left = left.map(|l| l.as_bytes().to_vec());
            assert_eq!(without(line.as_bytes(), b"S"), left, "{line}");
        }
    }

    #[test]
    fn a_value_is_changed_in_its_place() {
        let changed = |line: &str| {
            with_value(line.as_bytes(), b"S", |v| Some([b"<", v, b">"].concat()))
                .map(|l| String::from_utf8_lossy(&l).into_owned())
        };
        assert_eq!(
            changed("a=b; S= 1 ; c=d").as_deref(),
            Some("a=b; S= <1> ; c=d")
        );
        assert_eq!(changed("S=; path=/").as_deref(), Some("S=<>; path=/"));
        assert_eq!(changed("s=1"), None);
        assert_eq!(with_value(b"S=1", b"S", |_| None), None);
    }
}
