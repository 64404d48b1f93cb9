//! A line into words: quotes, escapes, comments, variables (manual sections 2.2 and 2.3).

use std::collections::BTreeMap;

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What it says, without quotes and escapes.
    pub text: String,
    /// Where it starts in the line, bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// For each byte of `text` where the line has it, kept only where the two differ.
    map: Option<Box<[u32]>>,
}

impl Word {
    /// A word that stands in no line.
    pub fn loose(text: &str) -> Word {
        Word {
            text: text.to_string(),
            start: 0,
            end: text.len(),
            map: None,
        }
    }

    /// Where in the line the byte at `offset` of the text comes from.
    pub fn place(&self, offset: usize) -> usize {
        match &self.map {
            Some(map) => map.get(offset).map_or(self.end, |at| *at as usize),
            None => (self.start + offset).min(self.end),
        }
    }
}

/// What `$NAME` may stand for on a line.
#[derive(Clone, Copy)]
pub struct Variables<'a> {
    /// The environment.
    pub env: &'a BTreeMap<String, String>,
    /// `.FILE`.
    pub file: &'a str,
    /// `.LINE`.
    pub line: usize,
    /// `.SECTION`: the name of the section, or its kind when it has none.
    pub section: &'a str,
}

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        match name {
            ".FILE" => Some(self.file.into()),
            ".LINE" => Some(self.line.to_string()),
            ".SECTION" => Some(self.section.into()),
            _ => self.env.get(name).cloned(),
        }
    }
}

/// What is wrong with a line's lexical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LexError {
    /// Where, bytes.
    pub at: usize,
    /// What.
    pub message: String,
}

/// Splits one line, without its line end, into words. A carriage return outside quotes ends it.
pub fn words(line: &str, variables: &Variables<'_>) -> Result<Vec<Word>, LexError> {
    let bytes = line.as_bytes();
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        return Err(LexError {
            at,
            message: "the line has a NUL byte: remove it".into(),
        });
    }
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while matches!(bytes.get(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        match bytes.get(at) {
            None | Some(b'#' | b'\r') => return Ok(words),
            Some(_) => at = word(line, at, variables, &mut words)?,
        }
    }
}

/// Reads the word at `start`; returns where it ends.
fn word(
    line: &str,
    start: usize,
    variables: &Variables<'_>,
    words: &mut Vec<Word>,
) -> Result<usize, LexError> {
    let bytes = line.as_bytes();
    // The plain word, which almost all are.
    let plain = bytes
        .get(start..)
        .unwrap_or_default()
        .iter()
        .position(|b| matches!(b, b' ' | b'\t' | b'\r' | b'#' | b'"' | b'\'' | b'\\' | b'$'));
    let stop = plain.map_or(bytes.len(), |n| start + n);
    if matches!(bytes.get(stop), None | Some(b' ' | b'\t' | b'\r' | b'#')) {
        let text = line.get(start..stop).unwrap_or_default().to_string();
        words.push(Word {
            text,
            start,
            end: stop,
            map: None,
        });
        return Ok(stop);
    }
    let mut text: Vec<u8> = Vec::new();
    let mut map: Vec<u32> = Vec::new();
    let mut weak = None;
    let mut strong = None;
    let mut at = start;
    while let Some(&b) = bytes.get(at) {
        match b {
            b'\r' => break,
            b' ' | b'\t' | b'#' if weak.is_none() && strong.is_none() => break,
            b'\'' if weak.is_none() => {
                strong = if strong.is_some() { None } else { Some(at) };
                at += 1;
                continue;
            }
            b'"' if strong.is_none() => {
                weak = if weak.is_some() { None } else { Some(at) };
                at += 1;
                continue;
            }
            b'\\' if strong.is_none() => {
                let (byte, used) = escape(bytes, at, weak.is_some())?;
                for b in byte {
                    text.push(b);
                    map.push(at as u32);
                }
                at += used;
                continue;
            }
            b'$' if weak.is_some() => {
                match variable(line, at, variables)? {
                    (Value::One(value), used) => {
                        for b in value.bytes() {
                            text.push(b);
                            map.push(at as u32);
                        }
                        at += used;
                        continue;
                    }
                    (Value::Many(values), used) => {
                        // `${VAR[*]}`: each word of the value is a word of its own.
                        let mut values = values.into_iter().peekable();
                        while let Some(value) = values.next() {
                            for b in value.bytes() {
                                text.push(b);
                                map.push(at as u32);
                            }
                            if values.peek().is_some() {
                                words.push(finish(&mut text, &mut map, start, at + used));
                            }
                        }
                        at += used;
                        continue;
                    }
                }
            }
            _ => {}
        }
        text.push(b);
        map.push(at as u32);
        at += 1;
    }
    if let Some(open) = strong {
        let message = "this quote ' is not closed: add one at its end".into();
        return Err(LexError { at: open, message });
    }
    if let Some(open) = weak {
        let message = "this quote \" is not closed: add one at its end".into();
        return Err(LexError { at: open, message });
    }
    words.push(finish(&mut text, &mut map, start, at));
    Ok(at)
}

fn finish(text: &mut Vec<u8>, map: &mut Vec<u32>, start: usize, end: usize) -> Word {
    let bytes = std::mem::take(text);
    let map = std::mem::take(map).into_boxed_slice();
    // An escape may have made bytes that are no text; they are shown as replacement characters
    // and no keyword has them.
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    Word {
        text,
        start,
        end,
        map: Some(map),
    }
}

/// What a backslash and what follows mean, and how many bytes of the line that is.
fn escape(bytes: &[u8], at: usize, weak: bool) -> Result<(Vec<u8>, usize), LexError> {
    let one = |b: u8| Ok((vec![b], 2));
    match bytes.get(at + 1) {
        Some(b @ (b' ' | b'#' | b'\\' | b'"' | b'\'')) => one(*b),
        Some(b'$') if weak => one(b'$'),
        Some(b'n') => one(b'\n'),
        Some(b'r') => one(b'\r'),
        Some(b't') => one(b'\t'),
        Some(b'x') => {
            let digit = |n: usize| bytes.get(at + n).copied().and_then(http::uri::hex);
            match (digit(2), digit(3)) {
                (Some(h), Some(l)) => Ok((vec![h * 16 + l], 4)),
                _ => Err(LexError {
                    at,
                    message: "'\\x' wants two hexadecimal digits, such as \\x20".into(),
                }),
            }
        }
        _ => Ok((vec![b'\\'], 1)),
    }
}

enum Value {
    One(String),
    Many(Vec<String>),
}

/// The variable at a `$`, and how many bytes of the line it takes.
fn variable(line: &str, at: usize, variables: &Variables<'_>) -> Result<(Value, usize), LexError> {
    let rest = line.get(at + 1..).unwrap_or_default();
    let name_of = |text: &str| -> String {
        let dot = usize::from(text.starts_with('.'));
        let letters = text.bytes().skip(dot);
        let len = letters
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
            .count();
        text.get(..dot + len).unwrap_or_default().into()
    };
    let valid = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            || matches!(name, ".FILE" | ".LINE" | ".SECTION")
    };
    let fail = |message: String| Err(LexError { at, message });
    let Some(inner) = rest.strip_prefix('{') else {
        let name = name_of(rest);
        if !valid(&name) {
            return fail(
                "no variable name follows this '$': name one, or write '\\$' for a dollar sign"
                    .into(),
            );
        }
        let value = variables.get(&name).unwrap_or_default();
        return Ok((Value::One(value), 1 + name.len()));
    };
    let Some(close) = inner.find('}') else {
        return fail("'${' has no '}': close the variable's name".into());
    };
    let inside = inner.get(..close).unwrap_or_default();
    let name = name_of(inside);
    let used = close + 3;
    if !valid(&name) {
        return fail(format!(
            "'{inside}' is no variable name: letters, digits and '_' only"
        ));
    }
    let value = variables.get(&name);
    match inside.get(name.len()..).unwrap_or_default() {
        "" => Ok((Value::One(value.unwrap_or_default()), used)),
        "[*]" => {
            let value = value.unwrap_or_default();
            let values = value.split_whitespace().map(str::to_string).collect();
            Ok((Value::Many(values), used))
        }
        other => match other.strip_prefix('-') {
            Some(default) => Ok((Value::One(value.unwrap_or_else(|| default.into())), used)),
            None => fail(format!(
                "'{other}' after variable '{name}' is neither '-default' nor '[*]'"
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(env: &BTreeMap<String, String>) -> Variables<'_> {
        Variables {
            env,
            file: "a.cfg",
            line: 7,
            section: "web",
        }
    }

    fn split(line: &str) -> Result<Vec<String>, usize> {
        let env = [("A", "one"), ("L", "x y  z"), ("E", "")];
        let env = env
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        words(line, &at(&env))
            .map(|w| w.into_iter().map(|w| w.text).collect())
            .map_err(|e| e.at)
    }

    #[test]
    fn words_quotes_escapes_comments_and_variables() {
        for (line, expected) in [
            ("  bind :80  # comment", &["bind", ":80"][..]),
            ("a#b", &["a"]),
            ("a\\#b 'c#d' \"e#f\"", &["a#b", "c#d", "e#f"]),
            ("a\\ b \"c d\" 'e f'g", &["a b", "c d", "e fg"]),
            (
                "\"a'b\" 'c\"d' \"e\\\"f\" 'g\\h'",
                &["a'b", "c\"d", "e\"f", "g\\h"],
            ),
            ("\\x41\\n\\t|", &["A\n\t|"]),
            (
                "\"\\n\\x41\" \"\\\\\" \"\\$A\" \\$A",
                &["\nA", "\\", "$A", "\\$A"],
            ),
            (
                "$A ${A} \"$A\" '$A' \"x${A}y\"",
                &["$A", "${A}", "one", "$A", "xoney"],
            ),
            (
                "\"${Z-def}\" \"${E-def}\" \"${A-def}\" \"${Z}\"",
                &["def", "", "one", ""],
            ),
            ("a \"${L[*]}\" b", &["a", "x", "y", "z", "b"]),
            ("cost$ $5 \"\\$5\"", &["cost$", "$5", "$5"]),
            ("\"${.FILE}:$.LINE\" \"$.SECTION\"", &["a.cfg:7", "web"]),
            ("regex \\. \\d+", &["regex", "\\.", "\\d+"]),
            ("'' \"\"", &["", ""]),
            ("a\r", &["a"]),
            ("a\rb c", &["a"]),
        ] {
            let expected: Vec<String> = expected.iter().map(|s| s.to_string()).collect();
            assert_eq!(split(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_read_names_its_place() {
        assert_eq!(split("a \"b"), Err(2));
        assert_eq!(split("a 'b"), Err(2));
        assert_eq!(split("a \"${A"), Err(3));
        assert_eq!(split("a \"${1}\""), Err(3));
        assert_eq!(split("a \"${A!}\""), Err(3));
        assert_eq!(split("a \"$5\""), Err(3));
        assert_eq!(split("a \"b$\""), Err(4));
        assert_eq!(split("a \"${.WHAT}\""), Err(3));
        assert_eq!(split("a \"b\rc\""), Err(2));
        assert_eq!(split("a \\x4g"), Err(2));
        assert_eq!(split("a\0b"), Err(1));
    }

    #[test]
    fn a_byte_of_a_word_knows_where_it_came_from() {
        let words = words("x 'a b'c", &at(&BTreeMap::new())).expect("valid");
        assert_eq!(words[1].text, "a bc");
        assert_eq!(
            (words[1].place(0), words[1].place(3), words[1].place(9)),
            (3, 7, 8)
        );
    }
}
