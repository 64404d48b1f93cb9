//! `do-resolve`: a name of the request becomes an address (manual, `http-request do-resolve`).

use super::words::Words;
use crate::error::ParseError;
use crate::expr::Expr;
use crate::vars::VarName;
use std::sync::Arc;

/// What is to be resolved, and where the address goes.
#[derive(Clone, Debug)]
pub struct Resolve {
    /// Set to the address; left alone when there is none.
    pub variable: VarName,
    /// The `resolvers` section.
    pub resolvers: Arc<str>,
    /// Whether IPv4 is asked for first.
    pub ipv4: bool,
    pub(super) name: Expr,
}

/// Reads `do-resolve(VAR,RESOLVERS[,ipv4|ipv6]) EXPR`.
pub(super) fn parse(w: &mut Words<'_>) -> Result<Resolve, ParseError> {
    let inner = w.name.split_once('(');
    let inner = inner.and_then(|(_, rest)| rest.strip_suffix(')'));
    let mut words = inner.unwrap_or_default().split(',').map(str::trim);
    let (Some(variable), Some(resolvers)) = (words.next(), words.next()) else {
        return w.fail(
            "'do-resolve' wants a variable and a resolvers section, such as do-resolve(txn.ip,dns)",
        );
    };
    let variable = VarName::parse(variable).or_else(|m| w.fail(m))?;
    let ipv4 = match words.next() {
        None | Some("ipv6") => false,
        Some("ipv4") => true,
        Some(other) => return w.fail(format!("unknown family '{other}': use ipv4 or ipv6")),
    };
    if let Some(extra) = words.next() {
        return w.fail(format!("'{extra}' is one argument too many: remove it"));
    }
    Ok(Resolve {
        variable,
        resolvers: resolvers.into(),
        ipv4,
        name: w.rest_expr()?,
    })
}
