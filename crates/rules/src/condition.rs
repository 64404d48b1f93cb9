//! Conditions: `if a b !c or { path /x }` (manual section 7.2).

use crate::acl::AclLine;
use crate::error::{ParseError, nearest};
use crate::trace::Tracer;
use crate::{Ctx, Scope};
use std::sync::Arc;

#[derive(Clone, Debug)]
struct Term {
    negated: bool,
    name: Box<str>,
    lines: Arc<Vec<AclLine>>,
}

/// A condition: alternatives of terms that must all hold.
#[derive(Clone, Debug)]
pub struct Cond {
    unless: bool,
    alternatives: Vec<Vec<Term>>,
}

impl Cond {
    /// Reads the words from `if` or `unless` on, to the end of the line.
    pub fn parse(words: &[&str], scope: &Scope<'_>) -> Result<Cond, ParseError> {
        let unless = match words.first() {
            Some(&"if") => false,
            Some(&"unless") => true,
            Some(other) => {
                let message = format!("'{other}' stands where 'if' or 'unless' should");
                return Err(ParseError::at(0, message));
            }
            None => {
                return Err(ParseError::at(
                    0,
                    "a condition starts with 'if' or 'unless'",
                ));
            }
        };
        let mut alternatives = vec![Vec::new()];
        let mut negated = false;
        let mut at = 1;
        while let Some(word) = words.get(at) {
            match *word {
                "or" | "||" => {
                    if negated || alternatives.last().is_some_and(Vec::is_empty) {
                        return Err(ParseError::at(
                            at,
                            format!("nothing stands before '{word}'"),
                        ));
                    }
                    alternatives.push(Vec::new());
                }
                "!" => negated = !negated,
                "{" | "!{" => {
                    negated ^= *word == "!{";
                    let close = words
                        .iter()
                        .skip(at)
                        .position(|w| *w == "}")
                        .ok_or_else(|| {
                            ParseError::at(at, "this '{' has no ' }' (spaces around both)")
                        })?;
                    let inner = words.get(at + 1..at + close).unwrap_or_default();
                    let line = AclLine::parse(inner, scope).map_err(|e| e.shifted(at + 1))?;
                    let term = Term {
                        negated: std::mem::take(&mut negated),
                        name: inner.join(" ").into(),
                        lines: Arc::new(vec![line]),
                    };
                    if let Some(terms) = alternatives.last_mut() {
                        terms.push(term);
                    }
                    at += close;
                }
                name => {
                    let (bang, name) = match name.strip_prefix('!') {
                        Some(rest) => (true, rest),
                        None => (false, name),
                    };
                    let lines = scope.acls.get(name).ok_or_else(|| {
                        let near = nearest(name, scope.acls.names());
                        ParseError::at(at, match near {
                            Some(near) => format!("no ACL '{name}' stands above: did you mean '{near}'?"),
                            None => format!("no ACL '{name}' stands above: declare it with 'acl {name} …' before this line"),
                        })
                    })?;
                    let term = Term {
                        negated: std::mem::take(&mut negated) != bang,
                        name: name.into(),
                        lines,
                    };
                    if let Some(terms) = alternatives.last_mut() {
                        terms.push(term);
                    }
                }
            }
            at += 1;
        }
        if negated || alternatives.last().is_some_and(Vec::is_empty) {
            let last = words.len().saturating_sub(1);
            return Err(ParseError::at(
                last,
                "the condition ends where an ACL should stand",
            ));
        }
        Ok(Cond {
            unless,
            alternatives,
        })
    }

    /// Whether it holds.
    pub fn eval<T: Tracer>(&self, cx: &Ctx<'_>, tracer: &mut T) -> bool {
        if cx.stream.inspection.waiting {
            return self.eval_early(cx, tracer);
        }
        let holds = self.alternatives.iter().any(|terms| {
            terms.iter().all(|term| {
                let result = term.lines.iter().any(|line| line.eval(cx));
                tracer.acl(&term.name, result);
                result != term.negated
            })
        });
        holds != self.unless
    }

    /// Whether it holds while more bytes may come. A term that does not hold, but may when they have,
    /// is neither true nor false, negated or not; the condition then does not hold yet, and says so
    /// in [`Inspection::undecided`](crate::Inspection).
    fn eval_early<T: Tracer>(&self, cx: &Ctx<'_>, tracer: &mut T) -> bool {
        let undecided = &cx.stream.inspection.undecided;
        let mut missed = false;
        let holds = self.alternatives.iter().any(|terms| {
            terms.iter().all(|term| {
                undecided.set(false);
                let result = term.lines.iter().any(|line| line.eval(cx));
                tracer.acl(&term.name, result);
                let unknown = !result && undecided.get();
                missed |= unknown;
                !unknown && result != term.negated
            })
        });
        undecided.set(missed && !holds);
        if missed && !holds {
            return false;
        }
        holds != self.unless
    }
}

/// Splits off a condition at the end of a line: the words before it, and the condition.
pub(crate) fn split<'w>(
    words: &'w [&'w str],
    scope: &Scope<'_>,
) -> Result<(&'w [&'w str], Option<Cond>), ParseError> {
    match words.iter().position(|w| matches!(*w, "if" | "unless")) {
        None => Ok((words, None)),
        Some(at) => {
            let condition = words.get(at..).unwrap_or_default();
            let condition = Cond::parse(condition, scope).map_err(|e| e.shifted(at))?;
            Ok((words.get(..at).unwrap_or_default(), Some(condition)))
        }
    }
}
