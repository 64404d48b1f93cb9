//! Named and anonymous ACLs (manual section 7.1).

use crate::error::ParseError;
use crate::expr::Expr;
use crate::fetch;
use crate::pattern::{Match, Patterns};
use crate::{Ctx, Type};
use std::collections::HashMap;
use std::sync::Arc;

/// One `acl` line: an expression and the patterns one of which it must match.
#[derive(Clone, Debug)]
pub struct AclLine {
    expr: Expr,
    patterns: Patterns,
}

impl AclLine {
    /// Whether any value of the expression matches.
    pub fn eval(&self, cx: &Ctx<'_>) -> bool {
        self.expr.any(cx, |sample| self.patterns.matches(sample)).0
    }

    /// Reads `criterion [flags] [patterns]`.
    pub fn parse(
        words: &[&str],
        read_file: &dyn Fn(&str) -> Result<Vec<u8>, String>,
    ) -> Result<AclLine, ParseError> {
        let Some(criterion) = words.first() else {
            return Err(ParseError::at(
                0,
                "an ACL wants a criterion, such as path_beg /static",
            ));
        };
        let (expr, mut how) = parse_criterion(criterion)?;
        let mut texts: Vec<String> = Vec::new();
        let mut places: Vec<usize> = Vec::new();
        let mut fold = false;
        let mut given = false;
        let mut at = 1;
        while let Some(word) = words.get(at) {
            match *word {
                "-i" => fold = true,
                "-n" | "-u" | "-M" => {
                    if *word == "-u" {
                        at += 1;
                    }
                }
                "-m" => {
                    at += 1;
                    let name = words.get(at).copied().unwrap_or_default();
                    how = Match::by_name(name).ok_or_else(|| {
                        let names = crate::pattern::MATCHES.iter().map(|(n, _)| *n);
                        ParseError::at(at.min(words.len() - 1), match crate::nearest(name, names) {
                            Some(near) => format!("unknown match method '{name}': did you mean '{near}'?"),
                            None => format!("unknown match method '{name}': use found, bool, int, ip, bin, len, str, sub, dir, dom, beg, end or reg"),
                        })
                    })?;
                }
                "-f" => {
                    at += 1;
                    given = true;
                    let file = words.get(at).copied().unwrap_or_default();
                    let bytes = read_file(file).map_err(|e| {
                        ParseError::at(
                            at.min(words.len() - 1),
                            format!("cannot read pattern file '{file}': {e}"),
                        )
                    })?;
                    for line in String::from_utf8_lossy(&bytes).lines() {
                        let line = line.trim();
                        if !line.is_empty() && !line.starts_with('#') {
                            texts.push(line.to_string());
                            places.push(at);
                        }
                    }
                }
                "--" => {
                    at += 1;
                    break;
                }
                _ => break,
            }
            at += 1;
        }
        for (i, word) in words.iter().enumerate().skip(at) {
            texts.push((*word).to_string());
            places.push(i);
        }
        if texts.is_empty() && !given && !matches!(how, Match::Found | Match::Bool) {
            // A criterion alone asks whether there is a value, or whether it is not 0.
            how = if expr.output() == Type::Int {
                Match::Bool
            } else {
                Match::Found
            };
        }
        if how == Match::Found && !texts.is_empty() {
            return Err(ParseError::at(
                at.min(words.len() - 1),
                "'-m found' takes no patterns: remove them, or use another match",
            ));
        }
        let fold = fold || expr.output() == Type::Method;
        let patterns = Patterns::compile(how, &texts, fold)
            .map_err(|(i, message)| ParseError::at(places.get(i).copied().unwrap_or(0), message))?;
        Ok(AclLine { expr, patterns })
    }
}

/// The expression of a criterion, and the match that goes with it.
fn parse_criterion(word: &str) -> Result<(Expr, Match), ParseError> {
    let end = word.find(['(', ',']).unwrap_or(word.len());
    let (name, rest) = word.split_at(end);
    if let Some((fetch, suffix)) = fetch::acl_alias(name)
        && !fetch::FETCHES.iter().any(|f| f.names.contains(&name))
    {
        let expr = Expr::parse(&format!("{fetch}{rest}"))?;
        return Ok((expr, Match::by_name(suffix).unwrap_or(Match::Str)));
    }
    let expr = Expr::parse(word)?;
    let how = match expr.output() {
        Type::Bool => Match::Bool,
        Type::Int => Match::Int,
        Type::Addr => Match::Ip,
        Type::Bin => Match::Bin,
        Type::Str | Type::Method | Type::Any => Match::Str,
    };
    Ok((expr, how))
}

/// The ACLs declared in a proxy, and the predefined ones.
#[derive(Clone, Debug, Default)]
pub struct Acls {
    by_name: HashMap<Box<str>, Arc<Vec<AclLine>>>,
}

/// Predefined ACLs (manual section 7.4): name and criterion.
pub const PREDEFINED: &[(&str, &str)] = &[
    ("FALSE", "always_false"),
    ("HTTP", "req.proto_http"),
    ("HTTP_1.0", "req.ver 1.0"),
    ("HTTP_1.1", "req.ver 1.1"),
    ("HTTP_2.0", "req.ver 2.0"),
    ("HTTP_CONTENT", "req.hdr_val(content-length) gt 0"),
    ("HTTP_URL_ABS", "url_reg ^[^/:]*://"),
    ("HTTP_URL_SLASH", "url_beg /"),
    ("HTTP_URL_STAR", "url *"),
    ("LOCALHOST", "src 127.0.0.1/8 ::1"),
    ("METH_CONNECT", "method CONNECT"),
    ("METH_DELETE", "method DELETE"),
    ("METH_GET", "method GET HEAD"),
    ("METH_HEAD", "method HEAD"),
    ("METH_OPTIONS", "method OPTIONS"),
    ("METH_POST", "method POST"),
    ("METH_PUT", "method PUT"),
    ("METH_TRACE", "method TRACE"),
    ("TRUE", "always_true"),
    ("WAIT_END", "wait_end"),
];

impl Acls {
    /// Reads the words after `acl`: `NAME criterion [flags] [patterns]`. Lines of one name add up.
    pub fn add(
        &mut self,
        words: &[&str],
        read_file: &dyn Fn(&str) -> Result<Vec<u8>, String>,
    ) -> Result<(), ParseError> {
        let Some((name, rest)) = words.split_first() else {
            return Err(ParseError::at(0, "'acl' wants a name and a criterion"));
        };
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if name.is_empty() || !name.chars().all(valid) {
            let message =
                format!("ACL name '{name}' may have only letters, digits, '-', '_', '.' and ':'");
            return Err(ParseError::at(0, message));
        }
        let line = AclLine::parse(rest, read_file).map_err(|e| e.shifted(1))?;
        let lines = self.by_name.entry((*name).into()).or_default();
        Arc::make_mut(lines).push(line);
        Ok(())
    }

    /// The lines of a name.
    pub fn get(&self, name: &str) -> Option<Arc<Vec<AclLine>>> {
        if let Some(lines) = self.by_name.get(name) {
            return Some(Arc::clone(lines));
        }
        let (_, criterion) = PREDEFINED.iter().find(|(n, _)| *n == name)?;
        let words: Vec<&str> = criterion.split(' ').collect();
        let line = AclLine::parse(&words, &|_| Err(String::new())).ok()?;
        Some(Arc::new(vec![line]))
    }

    /// All names, for "did you mean".
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name
            .keys()
            .map(|k| &**k)
            .chain(PREDEFINED.iter().map(|(n, _)| *n))
    }
}
