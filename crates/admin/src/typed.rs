//! Fields with their types and tags, and the forms `show info` and `show stat` have them in.

use std::fmt::Write;

/// A field: its name, its tags (origin, nature, scope; management.txt 9.2), its type, a line.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Three letters.
    pub tags: &'static str,
    /// `u32`, `u64`, `s32` or `str`.
    pub kind: &'static str,
    /// What it is.
    pub doc: &'static str,
}

/// The three tags in words.
fn tags(letters: &str) -> [&'static str; 3] {
    let mut letters = letters.bytes();
    let origin = match letters.next() {
        Some(b'M') => "Metric",
        Some(b'S') => "Status",
        Some(b'K') => "Key",
        Some(b'C') => "Config",
        Some(b'P') => "Product",
        _ => "Unknown",
    };
    let nature = match letters.next() {
        Some(b'A') => "Age",
        Some(b'a') => "Avg",
        Some(b'C') => "Counter",
        Some(b'D') => "Duration",
        Some(b'G') => "Gauge",
        Some(b'L') => "Limit",
        Some(b'M') => "Max",
        Some(b'm') => "Min",
        Some(b'N') => "Name",
        Some(b'O') => "Output",
        Some(b'R') => "Rate",
        Some(b'T') => "Time",
        _ => "Unknown",
    };
    let scope = match letters.next() {
        Some(b'C') => "Cluster",
        Some(b'P') => "Process",
        Some(b'S') => "Service",
        Some(b's') => "System",
        _ => "Unknown",
    };
    [origin, nature, scope]
}

/// `.name.1:TAGS:type:value`, behind what says whose field it is.
pub(crate) fn typed(out: &mut String, whose: &str, at: usize, field: &Field, value: &str) {
    let Field {
        name, tags, kind, ..
    } = field;
    let _ = write!(out, "{whose}{at}.{name}.1:{tags}:{kind}:{value}");
}

/// One field as an object; `whose` are the members that say whose it is, each with its comma.
pub(crate) fn json(out: &mut String, whose: &str, at: usize, field: &Field, value: &str) {
    let [origin, nature, scope] = tags(field.tags);
    let value = if field.kind == "str" {
        quoted(value)
    } else {
        value.to_string()
    };
    let _ = write!(
        out,
        "{{{whose}\"field\":{{\"pos\":{at},\"name\":\"{}\"}},\"processNum\":1,\
         \"tags\":{{\"origin\":\"{origin}\",\"nature\":\"{nature}\",\"scope\":\"{scope}\"}},\
         \"value\":{{\"type\":\"{}\",\"value\":{value}}}}}",
        field.name, field.kind
    );
}

/// A JSON string (RFC 8259 section 7).
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What the JSON of `show info json` and `show stat json` looks like, as a schema (draft 4).
pub(crate) fn schema() -> String {
    let common = "\"field\":{\"type\":\"object\",\"properties\":{\"pos\":{\"type\":\"integer\"},\
                  \"name\":{\"type\":\"string\"}}},\"processNum\":{\"type\":\"integer\"},\
                  \"tags\":{\"type\":\"object\",\"properties\":{\"origin\":{\"type\":\"string\"},\
                  \"nature\":{\"type\":\"string\"},\"scope\":{\"type\":\"string\"}}},\
                  \"value\":{\"type\":\"object\",\"properties\":{\"type\":{\"enum\":[\"s32\",\
                  \"s64\",\"u32\",\"u64\",\"str\"]},\"value\":{\"type\":[\"integer\",\"string\"]}}}";
    let info = format!(
        "{{\"title\":\"Info\",\"type\":\"array\",\"items\":{{\"type\":\"object\",\
         \"properties\":{{{common}}},\"required\":[\"field\",\"processNum\",\"tags\",\"value\"]}}}}"
    );
    let stat = format!(
        "{{\"title\":\"Stat\",\"type\":\"array\",\"items\":{{\"type\":\"array\",\
         \"items\":{{\"type\":\"object\",\"properties\":{{\"objType\":{{\"enum\":[\"Frontend\",\
         \"Backend\",\"Listener\",\"Server\"]}},\"proxyId\":{{\"type\":\"integer\"}},\
         \"id\":{{\"type\":\"integer\"}},{common}}},\"required\":[\"objType\",\"proxyId\",\"id\",\
         \"field\",\"processNum\",\"tags\",\"value\"]}}}}}}"
    );
    format!(
        "{{\"$schema\":\"http://json-schema.org/draft-04/schema#\",\"oneOf\":[{info},{stat}]}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELD: Field = Field {
        name: "slim",
        tags: "CLP",
        kind: "u32",
        doc: "limit",
    };

    #[test]
    fn a_field_is_typed_with_its_tags_or_an_object_with_them_in_words() {
        let mut out = String::new();
        typed(&mut out, "S.3.1.", 6, &FIELD, "5");
        assert_eq!(out, "S.3.1.6.slim.1:CLP:u32:5");
        out.clear();
        json(&mut out, "", 6, &FIELD, "5");
        assert_eq!(
            out,
            r#"{"field":{"pos":6,"name":"slim"},"processNum":1,"tags":{"origin":"Config","nature":"Limit","scope":"Process"},"value":{"type":"u32","value":5}}"#
        );
    }

    #[test]
    fn json_strings_are_escaped() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\u000a""#);
    }

    #[test]
    fn the_schema_is_balanced() {
        let text = schema();
        let count = |c: char| text.matches(c).count();
        assert_eq!((count('{'), count('[')), (count('}'), count(']')));
    }
}
