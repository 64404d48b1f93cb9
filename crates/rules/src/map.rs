//! The lines and values of maps (manual section 7.3.1, `map`).

use crate::{Sample, Type};

/// Key and value of a line; `None` for an empty line or a comment.
pub fn entry(line: &str) -> Option<(&str, &str)> {
    if line.starts_with('#') {
        return None;
    }
    let blank = |c| matches!(c, ' ' | '\t' | '\r');
    let line = line.trim_matches(blank);
    let (key, value) = line.split_once(blank).unwrap_or((line, ""));
    (!key.is_empty()).then(|| (key, value.trim_start_matches(blank)))
}

/// A value, or the default, as what the map's name says.
pub fn typed(text: &str, output: Type) -> Option<Sample<'static>> {
    match output {
        Type::Int => text.parse().ok().map(Sample::Int),
        Type::Addr => text.parse().ok().map(Sample::ip),
        _ => Some(Sample::owned(text)),
    }
}
