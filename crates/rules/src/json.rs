//! Values in JSON (RFC 8259), found by a path such as `$.a.b[2]`. Reads, checks only what it
//! passes, and never recurses.

/// A value.
#[derive(Debug, PartialEq)]
pub enum Value<'a> {
    /// A string, unescaped.
    Text(Vec<u8>),
    /// A number as written.
    Number(&'a [u8]),
    /// `true` or `false`.
    Bool(bool),
    /// An array as written.
    Array(&'a [u8]),
    /// An object.
    Object,
    /// `null`.
    Null,
}

/// The value at a path: `$`, then `.name` (a backslash protects a dot) and `[n]`.
pub fn find<'a>(document: &'a [u8], path: &[u8]) -> Option<Value<'a>> {
    let mut at = blank(document, 0);
    let mut path = path.strip_prefix(b"$")?;
    while let [first, rest @ ..] = path {
        if *first == b'[' {
            let end = rest.iter().position(|b| *b == b']')?;
            let n = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?;
            at = item(document, at, n)?;
            path = rest.get(end + 1..)?;
        } else if *first == b'.' {
            let mut name = Vec::new();
            path = rest;
            loop {
                path = match path {
                    [b'\\', b, rest @ ..] => {
                        name.push(*b);
                        rest
                    }
                    [] | [b'.' | b'[', ..] => break,
                    [b, rest @ ..] => {
                        name.push(*b);
                        rest
                    }
                };
            }
            at = member(document, at, &name)?;
        } else {
            return None;
        }
    }
    let raw = document.get(at..skip(document, at)?)?;
    Some(match raw.first()? {
        b'"' => Value::Text(unescape(raw.get(1..raw.len() - 1)?)?),
        b'{' => Value::Object,
        b'[' => Value::Array(raw),
        b't' if raw == b"true" => Value::Bool(true),
        b'f' if raw == b"false" => Value::Bool(false),
        b'n' if raw == b"null" => Value::Null,
        b'-' | b'0'..=b'9' => Value::Number(raw),
        _ => return None,
    })
}

/// Where the next thing that is no blank stands.
fn blank(json: &[u8], at: usize) -> usize {
    let rest = json.get(at..).unwrap_or_default();
    let blanks = rest.iter().take_while(|b| b" \t\r\n".contains(b));
    at + blanks.count()
}

/// Where the value that stands here ends.
fn skip(json: &[u8], at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => string(json, at),
        b'{' | b'[' => {
            let mut depth = 0usize;
            let mut at = at;
            loop {
                match json.get(at)? {
                    b'"' => {
                        at = string(json, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let rest = json.get(at..)?;
            let word = rest.iter().take_while(|b| !b",]} \t\r\n".contains(b));
            Some(at + word.count()).filter(|end| *end > at)
        }
    }
}

/// Where the string that begins here ends.
fn string(json: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where the value of a name stands in the object that begins here.
fn member(json: &[u8], at: usize, name: &[u8]) -> Option<usize> {
    let mut at = opened(json, at, b'{')?;
    loop {
        if json.get(at)? != &b'"' {
            return None;
        }
        let end = string(json, at)?;
        let key = unescape(json.get(at + 1..end - 1)?)?;
        at = blank(json, end);
        if json.get(at)? != &b':' {
            return None;
        }
        at = blank(json, at + 1);
        if key == name {
            return Some(at);
        }
        at = next(json, at)?;
    }
}

/// Where the n-th value stands in the array that begins here.
fn item(json: &[u8], at: usize, n: usize) -> Option<usize> {
    let mut at = opened(json, at, b'[')?;
    for _ in 0..n {
        at = next(json, at)?;
    }
    (json.get(at)? != &b']').then_some(at)
}

/// What stands behind an opening bracket.
fn opened(json: &[u8], at: usize, bracket: u8) -> Option<usize> {
    (json.get(at)? == &bracket).then(|| blank(json, at + 1))
}

/// What stands behind this value and a comma.
fn next(json: &[u8], at: usize) -> Option<usize> {
    let at = blank(json, skip(json, at)?);
    (json.get(at)? == &b',').then(|| blank(json, at + 1))
}

/// A string's content without its escapes, as UTF-8.
fn unescape(raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let (escape, after) = after.split_first()?;
        rest = after;
        out.push(match escape {
            b'"' | b'\\' | b'/' => *escape,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (point, after) = unicode(after)?;
                rest = after;
                out.extend_from_slice(point.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        });
    }
    Some(out)
}

/// The character of four digits, or of two halves of a pair.
fn unicode(digits: &[u8]) -> Option<(char, &[u8])> {
    let unit = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes.get(..4)?).ok()?;
        u16::from_str_radix(text, 16).ok()
    };
    let high = unit(digits)?;
    let rest = digits.get(4..)?;
    if let Some(c) = char::from_u32(high.into()) {
        return Some((c, rest));
    }
    let low = rest.strip_prefix(b"\\u")?;
    let pair = [high, unit(low)?];
    let c = char::decode_utf16(pair).next()?.ok()?;
    Some((c, low.get(4..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_lead_to_values() {
        let json = br#" { "a" : { "b": [ 1, -2.5, {"c.d": "x\u00e9\ud83d\ude00\n"} ] }, "t": true, "n": null } "#;
        for (path, value) in [
            ("$.a.b[0]", Some(Value::Number(b"1"))),
            ("$.a.b[1]", Some(Value::Number(b"-2.5"))),
            ("$.a.b[2].c\\.d", Some(Value::Text("xé😀\n".into()))),
            ("$.a.b[3]", None),
            ("$.a", Some(Value::Object)),
            ("$.t", Some(Value::Bool(true))),
            ("$.n", Some(Value::Null)),
            ("$.b", None),
            ("a", None),
        ] {
            assert_eq!(find(json, path.as_bytes()), value, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_document_makes_it_panic(json in "[{}\\[\\]\",:a1.\\\\u ]{0,40}", path in "\\$[.a\\[\\]0-2\\\\]{0,8}") {
            let _ = find(json.as_bytes(), path.as_bytes());
        }
    }
}
