//! `normalize-uri`: one spelling of a target for all that mean the same (RFC 3986 section 6.2.2).

use http::uri;

/// What is made the same. Where there is a flag, it is `strict` (broken sequences are refused) or
/// `full` (`..` at the beginning goes, too).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // names of the manual
pub enum Normalizer {
    FragmentEncode,
    FragmentStrip,
    PathMergeSlashes,
    PathStripDot,
    PathStripDotdot { full: bool },
    PercentDecodeUnreserved { strict: bool },
    PercentToUppercase { strict: bool },
    QuerySortByName,
}

/// A sequence behind a percent sign that is none.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

impl Normalizer {
    /// By its name and the option behind it.
    pub fn by_name(name: &str, option: Option<&str>) -> Option<Normalizer> {
        Some(match (name, option) {
            ("fragment-encode", None) => Normalizer::FragmentEncode,
            ("fragment-strip", None) => Normalizer::FragmentStrip,
            ("path-merge-slashes", None) => Normalizer::PathMergeSlashes,
            ("path-strip-dot", None) => Normalizer::PathStripDot,
            ("path-strip-dotdot", None | Some("full")) => Normalizer::PathStripDotdot {
                full: option.is_some(),
            },
            ("percent-decode-unreserved", None | Some("strict")) => {
                Normalizer::PercentDecodeUnreserved {
                    strict: option.is_some(),
                }
            }
            ("percent-to-uppercase", None | Some("strict")) => Normalizer::PercentToUppercase {
                strict: option.is_some(),
            },
            ("query-sort-by-name", None) => Normalizer::QuerySortByName,
            _ => return None,
        })
    }

    /// The target as it should be spelt.
    pub fn apply(self, target: &[u8]) -> Result<Vec<u8>, Broken> {
        let path = uri::path(target);
        let start = target.len() - uri::path_and_query_and_fragment(target).len();
        let (before, rest) = target.split_at(start);
        let after = rest.get(path.len()..).unwrap_or_default();
        let with_path = |path: Vec<u8>| Ok([before, &path, after].concat());
        let hash = target.iter().position(|b| *b == b'#');
        match self {
            Normalizer::FragmentEncode => Ok(match hash {
                Some(at) => [&target[..at], b"%23", &target[at + 1..]].concat(),
                None => target.to_vec(),
            }),
            Normalizer::FragmentStrip => Ok(target[..hash.unwrap_or(target.len())].to_vec()),
            Normalizer::PathMergeSlashes => {
                let mut merged = path.to_vec();
                merged.dedup_by(|b, a| *a == b'/' && *b == b'/');
                with_path(merged)
            }
            Normalizer::PathStripDot => with_path(strip_dot(path)),
            Normalizer::PathStripDotdot { full } => with_path(strip_dotdot(path, full)),
            Normalizer::PercentDecodeUnreserved { strict } => {
                sequences(target, strict, |value, raw, out| match value {
                    b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => out.push(b),
                    _ => out.extend_from_slice(raw),
                })
            }
            Normalizer::PercentToUppercase { strict } => {
                sequences(target, strict, |_, raw, out| {
                    out.extend(raw.to_ascii_uppercase())
                })
            }
            Normalizer::QuerySortByName => {
                let Some(query) = uri::query(target) else {
                    return Ok(target.to_vec());
                };
                let mut pairs: Vec<&[u8]> = query.split(|b| *b == b'&').collect();
                pairs.sort_by_key(|pair| pair.split(|b| *b == b'=').next());
                let fragment = after.get(1 + query.len()..).unwrap_or_default();
                Ok([before, path, b"?", &pairs.join(&b'&'), fragment].concat())
            }
        }
    }
}

/// Segments between the slashes; those that are one dot are left out.
fn strip_dot(path: &[u8]) -> Vec<u8> {
    let last = path.split(|b| *b == b'/').count() - 1;
    let segments = path.split(|b| *b == b'/').enumerate();
    // A dot at the end leaves its slash behind.
    let kept = segments.filter_map(|(i, segment)| match segment {
        b"." if i == last && i > 0 => Some(&b""[..]),
        b"." if i > 0 => None,
        other => Some(other),
    });
    kept.collect::<Vec<_>>().join(&b'/')
}

/// Two dots take the segment before them away.
fn strip_dotdot(path: &[u8], full: bool) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let segments: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    for (i, segment) in segments.iter().enumerate() {
        if *segment != b".." || i == 0 {
            kept.push(segment);
            continue;
        }
        // The first is what stands before the first slash: nothing.
        match kept.last() {
            Some(last) if kept.len() > 1 && *last != b".." => {
                kept.pop();
            }
            _ if full => {}
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if i + 1 == segments.len() {
            kept.push(b"");
        }
    }
    kept.join(&b'/')
}

/// The target with each sequence of a percent sign and two digits shown anew.
fn sequences(
    target: &[u8],
    strict: bool,
    show: impl Fn(u8, &[u8], &mut Vec<u8>),
) -> Result<Vec<u8>, Broken> {
    let mut out = Vec::with_capacity(target.len());
    let mut rest = target;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let digits = |high: &u8, low: &u8| Some(uri::hex(*high)? << 4 | uri::hex(*low)?);
        match after {
            [high, low, after @ ..] if digits(high, low).is_some() => {
                let value = digits(high, low).unwrap_or_default();
                show(value, &[b'%', *high, *low], &mut out);
                rest = after;
            }
            _ if strict => return Err(Broken),
            _ => out.push(b'%'),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_spelt_as_the_manual_says() {
        for (name, option, target, expected) in [
            ("fragment-encode", None, "/#foo", Some("/%23foo")),
            ("fragment-strip", None, "/#foo", Some("/")),
            ("path-strip-dot", None, "/.", Some("/")),
            ("path-strip-dot", None, "/./bar/", Some("/bar/")),
            ("path-strip-dot", None, "/a/./a", Some("/a/a")),
            (
                "path-strip-dot",
                None,
                "/.well-known/",
                Some("/.well-known/"),
            ),
            ("path-strip-dotdot", None, "/foo/../", Some("/")),
            ("path-strip-dotdot", None, "/foo/../bar/", Some("/bar/")),
            ("path-strip-dotdot", None, "/foo/bar/../", Some("/foo/")),
            ("path-strip-dotdot", None, "/../bar/", Some("/../bar/")),
            ("path-strip-dotdot", None, "/bar/../../", Some("/../")),
            ("path-strip-dotdot", None, "/foo//../", Some("/foo/")),
            ("path-strip-dotdot", None, "/foo/..", Some("/")),
            (
                "path-strip-dotdot",
                None,
                "/foo/%2E%2E/",
                Some("/foo/%2E%2E/"),
            ),
            ("path-strip-dotdot", Some("full"), "/../bar/", Some("/bar/")),
            ("path-strip-dotdot", Some("full"), "/bar/../../", Some("/")),
            (
                "path-merge-slashes",
                None,
                "http://h//foo//bar?a=//",
                Some("http://h/foo/bar?a=//"),
            ),
            (
                "percent-decode-unreserved",
                None,
                "/%61dmin%3F",
                Some("/admin%3F"),
            ),
            ("percent-decode-unreserved", None, "/%%36%36", Some("/%66")),
            (
                "percent-decode-unreserved",
                Some("strict"),
                "/%%36%36",
                None,
            ),
            ("percent-decode-unreserved", Some("strict"), "/%ZZ", None),
            ("percent-to-uppercase", None, "/%6f%zz", Some("/%6F%zz")),
            ("percent-to-uppercase", Some("strict"), "/%zz", None),
            (
                "query-sort-by-name",
                None,
                "/?aaa=3&a=1&aa=2",
                Some("/?a=1&aa=2&aaa=3"),
            ),
            (
                "query-sort-by-name",
                None,
                "/?a=3&b=4&a=1&b=5",
                Some("/?a=3&a=1&b=4&b=5"),
            ),
        ] {
            let normalizer = Normalizer::by_name(name, option).expect("a normalizer");
            let made = normalizer.apply(target.as_bytes()).ok();
            let made = made.map(|m| String::from_utf8_lossy(&m).into_owned());
            assert_eq!(made.as_deref(), expected, "{name} {target}");
        }
    }
}
