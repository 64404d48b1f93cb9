//! Maps: a file's keys and the values that belong to them (manual section 7.3.1, `map`).

use crate::convert::expand;
use crate::pattern::{Match, Patterns};
use crate::{Sample, Scope, Type};
use std::collections::HashMap;

/// What a map is asked for and answers with.
#[derive(Debug)]
pub struct Map {
    keys: Keys,
    values: Vec<Sample<'static>>,
}

#[derive(Debug)]
enum Keys {
    /// Whole strings; the first of equal ones counts.
    Exact(HashMap<Box<[u8]>, usize>),
    /// Networks, the longest first.
    Nets(Vec<(std::net::IpAddr, u8, usize)>),
    /// In the file's order.
    Ordered(Vec<Patterns>),
}

impl Map {
    /// Reads a map's file: a key a line, then its value. Values become what `output` says.
    pub fn load(path: &str, how: Match, output: Type, scope: &Scope<'_>) -> Result<Map, String> {
        let bytes = (scope.read_file)(path)?;
        let text = String::from_utf8_lossy(&bytes);
        let (mut texts, mut values) = (Vec::new(), Vec::new());
        for (at, line) in text.lines().enumerate() {
            let Some((key, value)) = entry(line) else {
                continue;
            };
            let typed = typed(value, output)
                .ok_or_else(|| format!("line {}: '{value}' is no value of this map", at + 1))?;
            texts.push(key.to_string());
            values.push(typed);
        }
        let keys = match how {
            Match::Str => {
                let mut exact = HashMap::with_capacity(texts.len());
                for (at, key) in texts.into_iter().enumerate() {
                    exact.entry(key.into_bytes().into()).or_insert(at);
                }
                Keys::Exact(exact)
            }
            Match::Ip => {
                let nets = texts.iter().enumerate().map(|(at, key)| {
                    let (ip, len) = crate::pattern::network(key)
                        .ok_or_else(|| format!("'{key}' is no address or network"))?;
                    Ok((ip, len, at))
                });
                let mut nets = nets.collect::<Result<Vec<_>, String>>()?;
                nets.sort_by_key(|(_, len, _)| std::cmp::Reverse(*len));
                Keys::Nets(nets)
            }
            _ => {
                let all = texts.into_iter();
                let all = all.map(|t| Patterns::compile(how, &[t], false).map_err(|(_, m)| m));
                Keys::Ordered(all.collect::<Result<_, _>>()?)
            }
        };
        Ok(Map { keys, values })
    }

    /// The value that belongs to a sample.
    pub fn find(&self, sample: &Sample<'_>) -> Option<&Sample<'static>> {
        self.values.get(match &self.keys {
            Keys::Exact(exact) => *exact.get(&*sample.to_bytes())?,
            Keys::Nets(nets) => {
                let ip = sample.to_ip()?;
                let found = nets.iter();
                let mut found = found.filter(|(n, l, _)| crate::pattern::contains(*n, *l, ip));
                found.next()?.2
            }
            Keys::Ordered(all) => all.iter().position(|p| p.matches(sample))?,
        })
    }

    /// The value with its `\1` and so on filled in from the match of a regular expression.
    pub fn find_expanded(&self, sample: &Sample<'_>) -> Option<Vec<u8>> {
        let Keys::Ordered(all) = &self.keys else {
            return None;
        };
        let bytes = sample.to_bytes();
        all.iter().zip(&self.values).find_map(|(patterns, value)| {
            let Patterns::Regexes(regexes) = patterns else {
                return None;
            };
            let captures = regexes.first()?.captures(&bytes)?;
            let mut out = Vec::new();
            expand(&captures, &value.to_bytes(), &mut out);
            Some(out)
        })
    }
}

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
