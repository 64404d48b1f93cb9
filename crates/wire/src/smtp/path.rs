//! Mail addresses as `MAIL` and `RCPT` name them (RFC 5321 section 4.1.2).

/// An address between angle brackets. A source route before it is left out, as RFC 5321 appendix
/// C asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// The whole without its brackets; empty is nobody, whom reports of failures come from.
    pub address: &'a [u8],
    /// What stands behind the last `@`; empty where there is none.
    pub domain: &'a [u8],
}

/// The longest path, its brackets included (RFC 5321 section 4.5.3.1.3), bytes.
const LONGEST: usize = 256;
const LONGEST_LOCAL: usize = 64;
const LONGEST_DOMAIN: usize = 255;

impl<'a> Path<'a> {
    /// Reads a path at the start of `text`; what follows it is given back. `None`: it is none.
    pub(super) fn read(text: &'a [u8]) -> Option<(Path<'a>, &'a [u8])> {
        let inner = text.strip_prefix(b"<")?;
        let (inner, rest) = inner.split_at_checked(end(inner)?)?;
        let rest = rest.strip_prefix(b">")?;
        if inner.len() + 2 > LONGEST {
            return None;
        }
        Some((Path::of(without_route(inner)?)?, rest))
    }

    fn of(address: &'a [u8]) -> Option<Path<'a>> {
        let nowhere = Path {
            address,
            domain: &[],
        };
        if address.is_empty() || address.eq_ignore_ascii_case(b"postmaster") {
            return Some(nowhere);
        }
        let at = address.iter().rposition(|b| *b == b'@')?;
        let (local, domain) = (address.get(..at)?, address.get(at + 1..)?);
        let good = is_local(local) && is_domain(domain);
        good.then_some(Path { address, domain })
    }

    /// Whether anything in it is beyond ASCII, which only `SMTPUTF8` (RFC 6531) allows.
    pub fn is_international(&self) -> bool {
        !self.address.is_ascii()
    }
}

/// Where the path ends: at the first `>` outside of quotes.
fn end(inner: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    inner.iter().position(|b| {
        let literal = std::mem::take(&mut escaped);
        match b {
            _ if literal => {}
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' => return !quoted,
            _ => {}
        }
        false
    })
}

/// What stands behind `@one,@two:`.
fn without_route(inner: &[u8]) -> Option<&[u8]> {
    if !inner.starts_with(b"@") {
        return Some(inner);
    }
    let colon = inner.iter().position(|b| *b == b':')?;
    let (route, address) = (inner.get(..colon)?, inner.get(colon + 1..)?);
    let good = route
        .split(|b| *b == b',')
        .all(|hop| hop.strip_prefix(b"@").is_some_and(is_domain));
    (good && !address.is_empty()).then_some(address)
}

fn is_local(local: &[u8]) -> bool {
    if local.is_empty() || local.len() > LONGEST_LOCAL {
        return false;
    }
    match local.strip_prefix(b"\"") {
        Some(rest) => rest.strip_suffix(b"\"").is_some_and(is_quoted),
        None => local.split(|b| *b == b'.').all(is_atom),
    }
}

/// The inside of a quoted string.
fn is_quoted(inside: &[u8]) -> bool {
    let mut escaped = false;
    let good = inside.iter().all(|b| {
        let literal = std::mem::take(&mut escaped);
        match b {
            b'\\' if !literal => escaped = true,
            b'"' => return literal,
            _ => {}
        }
        matches!(b, 32..=126) || *b >= 128
    });
    good && !escaped && std::str::from_utf8(inside).is_ok()
}

fn is_atom(atom: &[u8]) -> bool {
    let good =
        |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(b) || !b.is_ascii();
    !atom.is_empty() && atom.iter().all(good) && std::str::from_utf8(atom).is_ok()
}

/// A name of labels, or an address between square brackets.
pub(super) fn is_domain(domain: &[u8]) -> bool {
    if domain.len() > LONGEST_DOMAIN {
        return false;
    }
    if let Some(inside) = domain.strip_prefix(b"[") {
        let good = |b: &u8| b.is_ascii_alphanumeric() || b".:-".contains(b);
        return inside
            .strip_suffix(b"]")
            .is_some_and(|i| !i.is_empty() && i.iter().all(good));
    }
    domain.split(|b| *b == b'.').all(is_label) && std::str::from_utf8(domain).is_ok()
}

/// Underscores are in no host's name, but in many a domain.
fn is_label(label: &[u8]) -> bool {
    let good = |b: &u8| b.is_ascii_alphanumeric() || b"-_".contains(b) || !b.is_ascii();
    !label.is_empty() && label.len() <= 63 && label.iter().all(good)
}
