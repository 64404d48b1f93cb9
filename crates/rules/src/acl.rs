//! Named and anonymous ACLs (manual section 7.1).

use crate::error::ParseError;
use crate::expr::Expr;
use crate::fetch;
use crate::lists::{Matcher, PatternList};
use crate::pattern::{MATCHES, Match, PatternFault, int_texts};
use crate::{Ctx, Sample, Scope, Type};
use std::collections::HashMap;
use std::sync::Arc;

/// One `acl` line: an expression and the patterns one of which it must match.
#[derive(Clone, Debug)]
pub struct AclLine {
    expr: Expr,
    matchers: Vec<Arc<Matcher>>,
}

impl AclLine {
    /// Whether any value of the expression matches.
    pub fn eval(&self, cx: &Ctx<'_>) -> bool {
        let matches = |s: &Sample<'_>| self.matchers.iter().any(|m| m.matches(s));
        self.expr.any(cx, matches).0
    }

    /// Reads `criterion [flags] [patterns]`.
    pub fn parse(words: &[&str], scope: &Scope<'_>) -> Result<AclLine, ParseError> {
        let Some(criterion) = words.first() else {
            return Err(ParseError::at(
                0,
                "an ACL wants a criterion, such as path_beg /static",
            ));
        };
        let (expr, mut how) = parse_criterion(criterion, scope)?;
        // A word that a flag takes, by what it is.
        let value = |at: usize, what: &str| {
            let word = words.get(at).copied();
            word.ok_or_else(|| ParseError::at(at - 1, format!("'{}' wants {what}", words[at - 1])))
        };
        let (mut as_map, mut fold, mut id) = (false, false, None);
        let mut files: Vec<File<'_>> = Vec::new();
        let mut at = 1;
        while let Some(word) = words.get(at) {
            match *word {
                "-i" => fold = true,
                // Names are never resolved here.
                "-n" => {}
                "-M" => as_map = true,
                "-u" => {
                    at += 1;
                    let text = value(at, "a number")?;
                    id = Some(text.parse::<u32>().map_err(|_| {
                        ParseError::at(at, format!("'{text}' is no number for '-u'"))
                    })?);
                }
                "-m" if !files.is_empty() => {
                    return Err(ParseError::at(at, "'-m' stands behind '-f': put it first"));
                }
                "-m" => {
                    at += 1;
                    how = Some(method(value(at, "a match method")?, at)?);
                }
                "-f" => {
                    at += 1;
                    let path = value(at, "a file")?;
                    files.push(File {
                        path,
                        at,
                        fold,
                        as_map,
                    });
                }
                "--" => {
                    at += 1;
                    break;
                }
                flag if flag.len() == 2
                    && flag.starts_with('-')
                    && !flag.ends_with(|c: char| c.is_ascii_digit()) =>
                {
                    let message =
                        format!("unknown flag '{flag}': write '--' before patterns that begin so");
                    return Err(ParseError::at(at, message));
                }
                _ => break,
            }
            at += 1;
        }
        let texts = words.get(at..).unwrap_or_default();
        let how = how.ok_or_else(|| {
            let kind = expr.output().name();
            ParseError::at(
                0,
                format!(
                    "{kind} can be matched in more than one way: write '-m' and one, such as -m str"
                ),
            )
        })?;
        let alone = texts.is_empty() && files.is_empty();
        if how == Match::Found && !alone {
            return Err(ParseError::at(
                at.min(words.len() - 1),
                "'-m found' takes no patterns: remove them, or use another match",
            ));
        }
        let mut matchers = Vec::new();
        for file in &files {
            matchers.push(file.matcher(how, scope)?);
        }
        let texts: Vec<String> = texts.iter().map(|t| t.to_string()).collect();
        let fault = |(i, fault): (usize, PatternFault)| {
            let at = if texts.is_empty() { 0 } else { at + i };
            ParseError::at(at, fault.to_string())
        };
        let patterns = match how {
            Match::Int | Match::Len => int_texts(&texts).map_err(fault)?,
            _ => texts.clone(),
        };
        let list = match scope.lists {
            None => PatternList::alone(&patterns),
            Some(lists) => {
                let list = lists.line(criterion, &patterns, id);
                list.map_err(|message| ParseError::at(0, message))?
            }
        };
        matchers.push(list.matcher(how, fold, Type::Any).map_err(fault)?);
        // Without patterns in the line nothing is looked for there, until somebody adds some.
        Ok(AclLine { expr, matchers })
    }
}

/// A file of patterns, and the flags that stand before it.
struct File<'w> {
    path: &'w str,
    at: usize,
    fold: bool,
    as_map: bool,
}

impl File<'_> {
    fn matcher(&self, how: Match, scope: &Scope<'_>) -> Result<Arc<Matcher>, ParseError> {
        let path = self.path;
        let list = scope.list(path, self.as_map, true).map_err(|e| {
            ParseError::at(self.at, format!("cannot read pattern file '{path}': {e}"))
        })?;
        if let Some(lists) = scope.lists {
            lists.shown_as_acl(&list);
        }
        let made = list.matcher(how, self.fold, Type::Any);
        made.map_err(|(_, fault)| ParseError::at(self.at, fault.to_string()))
    }
}

fn method(name: &str, at: usize) -> Result<Match, ParseError> {
    Match::by_name(name).ok_or_else(|| {
        let names = MATCHES.iter().map(|(n, _)| *n);
        let message = match crate::nearest(name, names.clone()) {
            Some(near) => format!("unknown match method '{name}': did you mean '{near}'?"),
            None => {
                let all: Vec<_> = names.collect();
                format!(
                    "unknown match method '{name}': use one of {}",
                    all.join(", ")
                )
            }
        };
        ParseError::at(at, message)
    })
}

/// The expression of a criterion, and the match that goes with it, if one does.
fn parse_criterion(word: &str, scope: &Scope<'_>) -> Result<(Expr, Option<Match>), ParseError> {
    let end = word.find(['(', ',']).unwrap_or(word.len());
    let (name, rest) = word.split_at(end);
    let usual = |expr: &Expr| match expr.output() {
        Type::Bool => Some(Match::Bool),
        Type::Int => Some(Match::Int),
        Type::Addr => Some(Match::Ip),
        Type::Bin | Type::Any => None,
        Type::Str | Type::Method => Some(Match::Str),
    };
    if let Some((fetch, suffix)) = fetch::acl_alias(name)
        && !fetch::fetches().any(|f| f.names.contains(&name))
    {
        let expr = Expr::parse(&format!("{fetch}{rest}"), scope)?;
        // Behind converters, their type says how to match.
        let how = if expr.is_converted() {
            usual(&expr)
        } else {
            Match::by_name(suffix)
        };
        return Ok((expr, how));
    }
    let expr = Expr::parse(word, scope)?;
    let how = usual(&expr);
    Ok((expr, how))
}

/// An ACL that an expression names.
#[derive(Clone, Debug)]
pub struct Named {
    negated: bool,
    lines: Arc<Vec<AclLine>>,
}

impl Named {
    /// Reads a name, `!` before it or not.
    pub fn parse(text: &str, scope: &Scope<'_>) -> Option<Named> {
        let (negated, name) = match text.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, text),
        };
        let lines = scope.acls.get(name)?;
        Some(Named { negated, lines })
    }

    /// Whether it holds.
    pub fn holds(&self, cx: &Ctx<'_>) -> bool {
        self.lines.iter().any(|line| line.eval(cx)) != self.negated
    }
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
    /// Of `around` all counts but the ACLs.
    pub fn add(&mut self, words: &[&str], around: &Scope<'_>) -> Result<(), ParseError> {
        let Some((name, rest)) = words.split_first() else {
            return Err(ParseError::at(0, "'acl' wants a name and a criterion"));
        };
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if name.is_empty() || !name.chars().all(valid) {
            let message =
                format!("ACL name '{name}' may have only letters, digits, '-', '_', '.' and ':'");
            return Err(ParseError::at(0, message));
        }
        let scope = Scope {
            acls: self,
            ..*around
        };
        let line = AclLine::parse(rest, &scope);
        // The name of a line that cannot be read is declared all the same: what uses it is right.
        let lines = self.by_name.entry((*name).into()).or_default();
        Arc::make_mut(lines).push(line.map_err(|e| e.shifted(1))?);
        Ok(())
    }

    /// The lines of a name.
    pub fn get(&self, name: &str) -> Option<Arc<Vec<AclLine>>> {
        if let Some(lines) = self.by_name.get(name) {
            return Some(Arc::clone(lines));
        }
        let (_, criterion) = PREDEFINED.iter().find(|(n, _)| *n == name)?;
        let words: Vec<&str> = criterion.split(' ').collect();
        let line = AclLine::parse(&words, &Scope::bare()).ok()?;
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
