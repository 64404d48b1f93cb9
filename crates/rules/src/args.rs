//! Arguments in parentheses: `name(a,"b c",3)`.

use crate::acl::Named;
use crate::digest::Digest;
use crate::lists::Matcher;
use crate::pattern::Match;
use crate::stick::{TableName, TableUse};
use crate::vars::VarName;
use crate::{Scope, Type};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::net::IpAddr;
use std::sync::Arc;

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgKind {
    /// Any text.
    Str,
    /// A whole number.
    Int,
    /// A whole number in a range, both ends included.
    IntIn(i64, i64),
    /// A whole number other than 0.
    IntBut0,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, in any case; it is kept in lower case.
    AnyCase(&'static [&'static str]),
    /// `scope.name`.
    Var,
    /// A number or `scope.name`.
    IntOrVar,
    /// Base64 or `scope.name`.
    KeyOrVar,
    /// A regular expression; the flags are the argument at this index.
    Regex(usize),
    /// An address.
    Ip(Family),
    /// A place: a number, or with a sign one that counts from another place.
    Offset,
    /// The mask of an address: bits, or in the form of an address.
    Mask(Family),
    /// The name of a message digest.
    Digest,
    /// A field of a protocol buffers message, such as `48.59.1`.
    Fields,
    /// A text or `scope.name`.
    StrOrVar,
    /// A secret, a file with a public key or a certificate, or `scope.name`.
    JwtKey,
    /// A map's file: how keys match, and what its values are.
    Map(Match, Type),
    /// An ACL's name, with `!` or without.
    Acl,
    /// A stick table; left out, the proxy's own.
    Table,
    /// A stick table that may be left out.
    MaybeTable,
    /// The number under which something is tracked.
    Tracked,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Both.
    Any,
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

impl std::fmt::Display for ArgSpec {
    /// As HAProxy lists them: `(string[,integer])`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(last) = self.kinds.len().checked_sub(1) else {
            return Ok(());
        };
        f.write_str("(")?;
        for (at, kind) in self.kinds.iter().enumerate() {
            if at >= self.required {
                f.write_str("[")?;
            }
            if at > 0 {
                f.write_str(",")?;
            }
            f.write_str(kind.name())?;
            if at == last && self.repeats {
                f.write_str(",...")?;
            }
        }
        for _ in self.required..self.kinds.len() {
            f.write_str("]")?;
        }
        f.write_str(")")
    }
}

impl ArgKind {
    /// Its name in a list.
    fn name(self) -> &'static str {
        match self {
            ArgKind::Int | ArgKind::IntIn(..) | ArgKind::IntBut0 => "integer",
            ArgKind::Regex(_) => "regex",
            ArgKind::Ip(_) => "address",
            ArgKind::Mask(_) => "mask",
            ArgKind::Map(..) => "map",
            ArgKind::Table | ArgKind::MaybeTable => "table",
            ArgKind::Var => "variable",
            _ => "string",
        }
    }
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

/// `required` of `kinds`, and any number of the last.
pub const fn repeated(kinds: &'static [ArgKind], required: usize) -> ArgSpec {
    ArgSpec {
        kinds,
        required,
        repeats: true,
    }
}

/// A parsed argument.
#[derive(Clone, Debug)]
pub enum Arg {
    /// Left out, but for its comma.
    None,
    /// Text.
    Str(Box<[u8]>),
    /// A number.
    Int(i64),
    /// A variable.
    Var(VarName),
    /// A compiled expression.
    Regex(Box<regex::bytes::Regex>),
    /// An address, or a mask.
    Ip(IpAddr),
    /// A message digest.
    Digest(Digest),
    /// Numbers of nested fields.
    Fields(Box<[u64]>),
    /// A public key (SubjectPublicKeyInfo, RFC 5280 section 4.1.2.7).
    PublicKey(Box<[u8]>),
    /// A map.
    Map(Arc<Matcher>),
    /// An ACL.
    Acl(Named),
    /// A stick table.
    Table(TableName),
}

/// Reading arguments by position; what is not given is `None`.
pub trait ArgList {
    /// Text.
    fn text(&self, at: usize) -> Option<&[u8]>;
    /// A number.
    fn int(&self, at: usize) -> Option<i64>;
    /// A variable.
    fn var(&self, at: usize) -> Option<&VarName>;
    /// A regular expression.
    fn regex(&self, at: usize) -> Option<&regex::bytes::Regex>;
    /// An address or a mask.
    fn ip(&self, at: usize) -> Option<IpAddr>;
    /// A stick table.
    fn table(&self, at: usize) -> Option<&TableName>;
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
    fn ip(&self, at: usize) -> Option<IpAddr> {
        match self.get(at)? {
            Arg::Ip(ip) => Some(*ip),
            _ => None,
        }
    }
    fn table(&self, at: usize) -> Option<&TableName> {
        match self.get(at)? {
            Arg::Table(name) => Some(name),
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
            ('\\', None | Some('"')) => match (chars.next().map(|(_, c)| c), quote) {
                (Some('t'), _) => current.push('\t'),
                (Some('n'), _) => current.push('\n'),
                (Some('r'), _) => current.push('\r'),
                (Some(c @ ('\\' | '"' | '\'' | ' ')), _) => current.push(c),
                (Some(c @ (',' | '(' | ')')), None) => current.push(c),
                (Some(c), _) => {
                    current.push('\\');
                    current.push(c);
                }
                (None, _) => return Err("a backslash at the end protects nothing".into()),
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
pub fn check(
    name: &str,
    spec: &ArgSpec,
    texts: &[String],
    scope: &Scope<'_>,
) -> Result<Box<[Arg]>, String> {
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
    let kinds = spec
        .kinds
        .iter()
        .chain(spec.kinds.last().into_iter().cycle());
    let each = texts.iter().zip(kinds).enumerate();
    let read = each.map(|(i, (text, kind))| match kind {
        ArgKind::Table if text.is_empty() => own_table(name, scope),
        ArgKind::Str => Ok(Arg::Str(text.as_bytes().into())),
        // An argument that may be left out may be left empty, too.
        _ if text.is_empty() && i >= spec.required => Ok(Arg::None),
        ArgKind::Regex(flags) => {
            let fold = texts.get(*flags).is_some_and(|f| f.contains('i'));
            crate::pattern::regex(text, fold).map(|r| Arg::Regex(Box::new(r)))
        }
        _ => one(*kind, text, scope)
            .map_err(|wanted| format!("'{name}' wants {wanted}, not '{text}'")),
    });
    let left_out = spec.kinds.get(texts.len()) == Some(&ArgKind::Table);
    let own = left_out.then(|| own_table(name, scope));
    read.chain(own).collect()
}

/// The stick table of the proxy that the rule stands in.
fn own_table(name: &str, scope: &Scope<'_>) -> Result<Arg, String> {
    if scope.proxy.is_empty() {
        return Err(format!("'{name}' wants the name of a stick table here"));
    }
    Ok(table(scope.proxy, scope))
}

fn table(name: &str, scope: &Scope<'_>) -> Arg {
    let table = TableName::new(name);
    (scope.uses_table)(TableUse {
        table: Arc::clone(&table.name),
        key: None,
    });
    Arg::Table(table)
}

/// Reads one argument; an error says what it should have been.
fn one(kind: ArgKind, text: &str, scope: &Scope<'_>) -> Result<Arg, String> {
    let int = || text.parse::<i64>().map_err(|_| "a number".to_string());
    let ip = || text.parse::<IpAddr>().ok();
    match kind {
        ArgKind::Str | ArgKind::Regex(_) => Ok(Arg::Str(text.as_bytes().into())),
        ArgKind::Int => int().map(Arg::Int),
        ArgKind::Offset => match int() {
            Ok(_) => Ok(Arg::Str(text.as_bytes().into())),
            Err(_) => Err("an offset such as 4, +2 or -2".into()),
        },
        ArgKind::IntIn(low, high) => match int()? {
            n if (low..=high).contains(&n) => Ok(Arg::Int(n)),
            _ if high == i64::MAX => Err(format!("a number from {low} on")),
            _ => Err(format!("a number from {low} to {high}")),
        },
        ArgKind::IntBut0 => match int()? {
            0 => Err("a number other than 0".into()),
            n => Ok(Arg::Int(n)),
        },
        ArgKind::Word(words) if words.contains(&text) => Ok(Arg::Str(text.as_bytes().into())),
        ArgKind::AnyCase(words) => {
            let lower = text.to_ascii_lowercase();
            match words.contains(&lower.as_str()) {
                true => Ok(Arg::Str(lower.into_bytes().into())),
                false => Err(format!("one of {}", words.join(", "))),
            }
        }
        ArgKind::Word(words) => Err(format!("one of {}", words.join(", "))),
        ArgKind::Var => VarName::parse(text).map(Arg::Var).map_err(variable),
        ArgKind::IntOrVar => int().map(Arg::Int).or_else(|_| {
            let name = VarName::parse(text).map(Arg::Var);
            name.map_err(|_| "a number or a variable such as txn.name".into())
        }),
        ArgKind::KeyOrVar => VarName::parse(text).map(Arg::Var).or_else(|_| {
            let key = STANDARD.decode(text).map(|k| Arg::Str(k.into()));
            key.map_err(|_| "base64 or a variable such as txn.name".into())
        }),
        ArgKind::StrOrVar => Ok(VarName::parse(text)
            .map(Arg::Var)
            .unwrap_or_else(|_| Arg::Str(text.as_bytes().into()))),
        ArgKind::JwtKey => jwt_key(text, scope),
        ArgKind::Ip(family) => match (family, ip()) {
            (Family::V4, Some(ip @ IpAddr::V4(_)))
            | (Family::V6, Some(ip @ IpAddr::V6(_)))
            | (Family::Any, Some(ip)) => Ok(Arg::Ip(ip)),
            (Family::Any, None) => Err("an address".into()),
            (Family::V4, _) => Err("an IPv4 address".into()),
            (Family::V6, _) => Err("an IPv6 address".into()),
        },
        ArgKind::Mask(family) => {
            let bits = text.parse::<u32>().ok();
            let mask = match (family, bits, ip()) {
                (Family::V4, Some(n @ 0..=32), _) => {
                    Some(IpAddr::V4(u32::MAX.checked_shl(32 - n).unwrap_or(0).into()))
                }
                (Family::V6, Some(n @ 0..=128), _) => Some(IpAddr::V6(
                    u128::MAX.checked_shl(128 - n).unwrap_or(0).into(),
                )),
                (Family::V4, None, Some(ip @ IpAddr::V4(_)))
                | (Family::V6, None, Some(ip @ IpAddr::V6(_))) => Some(ip),
                _ => None,
            };
            mask.map(Arg::Ip).ok_or_else(|| "a mask such as 24".into())
        }
        ArgKind::Digest => Digest::by_name(text).map(Arg::Digest).ok_or_else(|| {
            let names: Vec<_> = Digest::NAMES.iter().map(|(n, _)| *n).collect();
            format!("one of {}", names.join(", "))
        }),
        ArgKind::Fields => {
            let fields = text.split('.').map(|n| n.parse().ok().filter(|n| *n > 0));
            let fields: Option<Box<[u64]>> = fields.collect();
            fields
                .map(Arg::Fields)
                .ok_or_else(|| "a field's number such as 48.59.1".into())
        }
        ArgKind::Map(how, output) => scope
            .list(text, true, true)
            .and_then(|list| {
                list.matcher(how, false, output)
                    .map_err(|(at, fault)| format!("entry {}: {fault}", at + 1))
            })
            .map(Arg::Map)
            .map_err(|e| format!("a map that can be read ({e})")),
        ArgKind::Acl => Named::parse(text, scope)
            .map(Arg::Acl)
            .ok_or_else(|| "an ACL declared above".into()),
        ArgKind::Table | ArgKind::MaybeTable => Ok(table(text, scope)),
        ArgKind::Tracked => match int()? {
            n if usize::try_from(n).is_ok_and(|n| n < scope.stick_counters) => Ok(Arg::Int(n)),
            _ => Err(format!(
                "a number below {} ('tune.stick-counters' may allow more)",
                scope.stick_counters
            )),
        },
    }
}

/// What checks a token's signature: a variable, a file's public key, or the text as a secret.
fn jwt_key(text: &str, scope: &Scope<'_>) -> Result<Arg, String> {
    if let Ok(name) = VarName::parse(text) {
        return Ok(Arg::Var(name));
    }
    match (scope.read_file)(text) {
        Ok(pem) => match tls::public_key(&pem) {
            Some(key) => Ok(Arg::PublicKey(key.into())),
            None if text.starts_with('/') => {
                Err("a file with a public key or a certificate".into())
            }
            None => Ok(Arg::Str(text.as_bytes().into())),
        },
        Err(e) if text.starts_with('/') => Err(format!("a file that can be read ({e})")),
        Err(_) => Ok(Arg::Str(text.as_bytes().into())),
    }
}

fn variable(reason: String) -> String {
    format!("a variable such as txn.name ({reason})")
}
