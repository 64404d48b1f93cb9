//! Actions on stick tables: `track-sc…`, `sc-…`.

use super::words::Words;
use super::{Action, Amount, RuleSet, Tracking};
use crate::error::ParseError;
use crate::expr::Expr;
use crate::stick::{Counter, TableName, TableUse};
use std::sync::Arc;

const TRACK: &str = "track-sc";

/// The name under which the table has an action: `track-sc7` is an entry like `track-sc0`.
pub fn entry_of(name: &str) -> &str {
    match name.strip_prefix(TRACK).map(str::parse::<usize>) {
        Some(Ok(number)) if number > 2 => "track-sc0",
        _ => name,
    }
}

/// `track-sc0 KEY [table TABLE]`.
pub fn track(w: &mut Words<'_>, set: RuleSet) -> Result<Action, ParseError> {
    let number = w.name.strip_prefix(TRACK).unwrap_or_default();
    let number = below(w, number, w.scope.stick_counters)?;
    let key = w.rest_expr()?;
    let table = match w.next() {
        None if w.scope.proxy.is_empty() => {
            return w.fail(format!(
                "'{}' wants the name of a stick table here: add 'table NAME'",
                w.name
            ));
        }
        None => TableName::new(w.scope.proxy),
        Some("table") => TableName::new(w.expect("the name of a stick table")?),
        Some(other) => {
            return w.fail(format!(
                "'{other}' stands where 'table' should, or the condition"
            ));
        }
    };
    (w.scope.uses_table)(TableUse {
        table: Arc::clone(&table.name),
        key: Some(key.output()),
    });
    let session = matches!(
        set,
        RuleSet::TcpRequestConnection | RuleSet::TcpRequestSession
    );
    Ok(Action::Track(Box::new(Tracking {
        number,
        key,
        table,
        session,
    })))
}

/// `sc-inc-gpc0(N)` and `sc-inc-gpc1(N)`: the counter that the name says grows by one.
pub fn count_named(w: &mut Words<'_>, index: u32) -> Result<Action, ParseError> {
    let [number] = numbers(w, "(0)")?;
    let number = below(w, number, w.scope.stick_counters)?;
    Ok(Action::Count(
        number,
        Counter::Named(index),
        Amount::Fixed(1),
    ))
}

/// `sc-inc-gpc(INDEX,N)`.
pub fn count(w: &mut Words<'_>) -> Result<Action, ParseError> {
    let (counter, number) = indexed(w)?;
    Ok(Action::Count(number, counter, Amount::Fixed(1)))
}

/// `sc-add-gpc(INDEX,N) NUMBER|EXPR`.
pub fn add(w: &mut Words<'_>) -> Result<Action, ParseError> {
    let (counter, number) = indexed(w)?;
    Ok(Action::Count(number, counter, amount(w)?))
}

/// `sc-set-gpt(INDEX,N) NUMBER|EXPR`.
pub fn tag(w: &mut Words<'_>) -> Result<Action, ParseError> {
    let (counter, number) = indexed(w)?;
    Ok(Action::Tag(number, counter, amount(w)?))
}

/// `sc-set-gpt0(N) NUMBER|EXPR`.
pub fn tag_named(w: &mut Words<'_>) -> Result<Action, ParseError> {
    let [number] = numbers(w, "(0)")?;
    let number = below(w, number, w.scope.stick_counters)?;
    Ok(Action::Tag(number, Counter::Named(0), amount(w)?))
}

fn indexed(w: &mut Words<'_>) -> Result<(Counter, usize), ParseError> {
    let [index, number] = numbers(w, "(1,0)")?;
    let counter = match index.parse() {
        Ok(index @ 0..=99) => Counter::Indexed(index),
        _ => return w.fail(format!("'{index}' is no index from 0 to 99")),
    };
    Ok((counter, below(w, number, w.scope.stick_counters)?))
}

/// The numbers in the parentheses of the action's name.
fn numbers<'w, const N: usize>(w: &Words<'w>, example: &str) -> Result<[&'w str; N], ParseError> {
    let inner = w.name.split_once('(').map(|(_, rest)| rest);
    let inner = inner.and_then(|rest| rest.strip_suffix(')'));
    let parts: Option<Vec<&str>> = inner.map(|inner| inner.split(',').map(str::trim).collect());
    match parts.map(<[&str; N]>::try_from) {
        Some(Ok(numbers)) => Ok(numbers),
        _ => {
            let numbers = if N == 1 {
                "the number"
            } else {
                "an index and the number"
            };
            w.fail(format!(
                "'{}' wants {numbers} of what is tracked in parentheses, such as {example}",
                w.name
            ))
        }
    }
}

/// A number under which something may be tracked.
fn below(w: &Words<'_>, text: &str, limit: usize) -> Result<usize, ParseError> {
    match text.parse::<usize>() {
        Ok(n) if n < limit => Ok(n),
        _ => w.fail(format!(
            "'{text}' is no number below {limit} of what is tracked: 'tune.stick-counters' says \
             how many there may be"
        )),
    }
}

fn amount(w: &mut Words<'_>) -> Result<Amount, ParseError> {
    let at = w.at;
    let text = w.expect("a number or an expression")?;
    if let Ok(n) = text.parse::<u32>() {
        return Ok(Amount::Fixed(n));
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return w.fail(format!("'{text}' is no number from 0 to {}", u32::MAX));
    }
    let expr = Expr::parse(text, w.scope).map_err(|e| e.shifted(at))?;
    Ok(Amount::Of(Box::new(expr)))
}
