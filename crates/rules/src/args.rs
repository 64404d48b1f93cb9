//! Arguments in parentheses: `name(a,"b c",3)`.

use crate::vars::VarName;

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgKind {
    /// Any text.
    Str,
    /// A whole number.
    Int,
    /// `scope.name`.
    Var,
    /// A regular expression.
    Regex,
}

/// The arguments of one table entry: kinds in order, of which the first `required` must be given.
#[derive(Clone, Copy, Debug)]
pub struct ArgSpec {
    /// Kinds in order; the last one repeats when `repeats`.
    pub kinds: &'static [ArgKind],
    /// How many must be given.
    pub required: usize,
    /// Whether more of the last kind may follow.
    pub repeats: bool,
}

/// No arguments.
pub const NONE: ArgSpec = ArgSpec {
    kinds: &[],
    required: 0,
    repeats: false,
};

/// `required` of `kinds`.
pub const fn args(kinds: &'static [ArgKind], required: usize) -> ArgSpec {
    ArgSpec {
        kinds,
        required,
        repeats: false,
    }
}

/// A parsed argument.
#[derive(Clone, Debug)]
pub enum Arg {
    /// Text.
    Str(Box<[u8]>),
    /// A number.
    Int(i64),
    /// A variable.
    Var(VarName),
    /// A compiled expression.
    Regex(Box<regex::bytes::Regex>),
}

/// Reading arguments by position; what is not given is `None`.
pub trait ArgList {
    /// Text, or a number's text.
    fn text(&self, at: usize) -> Option<&[u8]>;
    /// A number.
    fn int(&self, at: usize) -> Option<i64>;
    /// A variable.
    fn var(&self, at: usize) -> Option<&VarName>;
    /// A regular expression.
    fn regex(&self, at: usize) -> Option<&regex::bytes::Regex>;
}

impl ArgList for [Arg] {
    fn text(&self, at: usize) -> Option<&[u8]> {
        match self.get(at)? {
            Arg::Str(text) => Some(text),
            _ => None,
        }
    }
    fn int(&self, at: usize) -> Option<i64> {
        match self.get(at)? {
            Arg::Int(n) => Some(*n),
            _ => None,
        }
    }
    fn var(&self, at: usize) -> Option<&VarName> {
        match self.get(at)? {
            Arg::Var(name) => Some(name),
            _ => None,
        }
    }
    fn regex(&self, at: usize) -> Option<&regex::bytes::Regex> {
        match self.get(at)? {
            Arg::Regex(regex) => Some(regex),
            _ => None,
        }
    }
}

/// Splits `(a,'b,c',d)` at the start of `text`; returns the arguments and what follows the
/// closing parenthesis. Quotes and backslashes protect commas and parentheses.
pub fn split(text: &str) -> Result<(Vec<String>, &str), String> {
    let Some(inner) = text.strip_prefix('(') else {
        return Ok((Vec::new(), text));
    };
    let mut arguments = vec![String::new()];
    let mut quote = None;
    let mut depth = 0;
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        let Some(current) = arguments.last_mut() else {
            break;
        };
        match (c, quote) {
            ('\\', None | Some('"')) => match chars.next() {
                Some((_, c)) if matches!(c, ',' | '(' | ')' | '\\' | '"' | '\'') => current.push(c),
                Some((_, c)) => {
                    current.push('\\');
                    current.push(c);
                }
                None => return Err("a backslash at the end protects nothing".into()),
            },
            (c, Some(q)) if c == q => quote = None,
            (c, Some(_)) => current.push(c),
            ('"' | '\'', None) => quote = Some(c),
            ('(', None) => {
                depth += 1;
                current.push(c);
            }
            (')', None) if depth > 0 => {
                depth -= 1;
                current.push(c);
            }
            (')', None) => {
                let rest = inner.get(at + 1..).unwrap_or_default();
                if arguments.len() == 1 && arguments[0].is_empty() {
                    arguments.clear();
                }
                return Ok((arguments, rest));
            }
            (',', None) => arguments.push(String::new()),
            (c, None) => current.push(c),
        }
    }
    Err(format!("'{text}' has no closing parenthesis"))
}

/// Checks texts against a spec.
pub fn check(name: &str, spec: &ArgSpec, texts: Vec<String>) -> Result<Box<[Arg]>, String> {
    if texts.len() < spec.required {
        return Err(format!(
            "'{name}' wants {} argument{}, has {}",
            spec.required,
            if spec.required == 1 { "" } else { "s" },
            texts.len()
        ));
    }
    if texts.len() > spec.kinds.len() && !spec.repeats {
        return Err(match spec.kinds.len() {
            0 => format!("'{name}' takes no argument: remove the parentheses"),
            n => format!("'{name}' takes at most {n} arguments, has {}", texts.len()),
        });
    }
    let kind_at = |i: usize| spec.kinds.get(i).or(spec.kinds.last()).copied();
    texts
        .into_iter()
        .enumerate()
        .map(|(i, text)| match kind_at(i).unwrap_or(ArgKind::Str) {
            ArgKind::Str => Ok(Arg::Str(text.into_bytes().into())),
            // An argument that may be left out may be left empty, too.
            ArgKind::Var | ArgKind::Int if text.is_empty() && i >= spec.required => {
                Ok(Arg::Str(Box::default()))
            }
            ArgKind::Int => {
                let n = text.trim().parse();
                n.map(Arg::Int)
                    .map_err(|_| format!("'{name}' wants a number, not '{text}'"))
            }
            ArgKind::Var => VarName::parse(&text).map(Arg::Var),
            ArgKind::Regex => crate::pattern::regex(&text, false).map(|r| Arg::Regex(Box::new(r))),
        })
        .collect()
}
