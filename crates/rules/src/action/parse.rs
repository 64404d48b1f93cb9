//! How a rule is read.

use super::words::{Words, redirect};
use super::{Action, Rule, RuleSet, actions};
use crate::Scope;
use crate::condition;
use crate::error::ParseError;
use crate::expr::unknown;

impl Rule {
    /// Reads the words after the set's keyword.
    pub fn parse(set: RuleSet, words: &[&str], scope: &Scope<'_>) -> Result<Rule, ParseError> {
        rule(set, words, scope)
    }

    /// A rule that redirects (`redirect` outside `http-request`).
    pub fn redirect(words: &[&str], scope: &Scope<'_>) -> Result<Rule, ParseError> {
        redirect_rule(words, scope)
    }
}

fn rule(set: RuleSet, words: &[&str], scope: &Scope<'_>) -> Result<Rule, ParseError> {
    let Some(full) = words.first() else {
        return Err(ParseError::at(
            0,
            format!("'{}' wants an action", set.keyword()),
        ));
    };
    let name = full.split('(').next().unwrap_or_default();
    let (before, condition) = condition::split(words, scope)?;
    let mut w = Words {
        words: before,
        at: 1,
        name: full,
        scope,
        capture_len: None,
    };
    let def = actions()
        .find(|a| a.name == super::stick::entry_of(name))
        .ok_or_else(|| ParseError::at(0, unknown("action", name, actions().map(|a| &a.name))))?;
    if !def.sets.contains(&set) {
        let sets: Vec<_> = def.sets.iter().map(|s| s.keyword()).collect();
        let message = format!(
            "'{name}' is no action of '{}': it belongs to {}",
            set.keyword(),
            sets.join(", ")
        );
        return Err(ParseError::at(0, message));
    }
    let action = (def.parse)(&mut w, set)?;
    if let Some(extra) = before.get(w.at) {
        let message = format!(
            "'{extra}' is one word too many for '{name}': remove it, or write 'if' before a condition"
        );
        return Err(ParseError::at(w.at, message));
    }
    Ok(Rule {
        action,
        condition,
        capture_len: w.capture_len,
        line: "".into(),
    })
}

fn redirect_rule(words: &[&str], scope: &Scope<'_>) -> Result<Rule, ParseError> {
    let (before, condition) = condition::split(words, scope)?;
    let mut w = Words {
        words: before,
        at: 0,
        name: "redirect",
        scope,
        capture_len: None,
    };
    let redirect = redirect(&mut w)?;
    Ok(Rule {
        action: Action::Redirect(Box::new(redirect)),
        condition,
        capture_len: None,
        line: "".into(),
    })
}
