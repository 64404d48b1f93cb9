//! Variables, by scope and name (manual section 2.8).

use crate::Sample;

/// How long a variable lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // names of the manual
pub enum VarScope {
    Proc,
    Sess,
    Txn,
    Req,
    Res,
    Check,
}

/// A variable's name, scope and all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VarName {
    /// How long it lives.
    pub scope: VarScope,
    /// What follows the dot.
    pub name: Box<str>,
}

impl VarName {
    /// Reads `scope.name`.
    pub fn parse(text: &str) -> Result<VarName, String> {
        let (scope, name) = text.split_once('.').ok_or_else(|| {
            format!("variable '{text}' has no scope: write txn.{text}, req.{text} or sess.{text}")
        })?;
        let scope = match scope {
            "proc" => VarScope::Proc,
            "sess" => VarScope::Sess,
            "txn" => VarScope::Txn,
            "req" => VarScope::Req,
            "res" => VarScope::Res,
            "check" => VarScope::Check,
            _ => {
                return Err(format!(
                    "'{scope}' is no variable scope: use proc, sess, txn, req, res or check"
                ));
            }
        };
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if name.is_empty() || !name.chars().all(valid) {
            return Err(format!(
                "variable name '{name}' may have only letters, digits, '_' and '.'"
            ));
        }
        Ok(VarName {
            scope,
            name: name.into(),
        })
    }
}

/// The variables of one session and request.
#[derive(Clone, Debug, Default)]
pub struct Vars {
    entries: Vec<(VarName, Sample<'static>)>,
}

impl Vars {
    /// The value, if it was set.
    pub fn get(&self, name: &VarName) -> Option<&Sample<'static>> {
        self.entries.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// Sets or replaces.
    pub fn set(&mut self, name: &VarName, value: Sample<'static>) {
        match self.entries.iter_mut().find(|(n, _)| n == name) {
            Some((_, slot)) => *slot = value,
            None => self.entries.push((name.clone(), value)),
        }
    }

    /// Forgets.
    pub fn unset(&mut self, name: &VarName) {
        self.entries.retain(|(n, _)| n != name);
    }

    /// Forgets all of one scope.
    pub fn clear(&mut self, scope: VarScope) {
        self.entries.retain(|(n, _)| n.scope != scope);
    }

    /// Forgets what lives no longer than a request; what lives as long as the session stays.
    pub fn end_request(&mut self) {
        self.entries
            .retain(|(n, _)| matches!(n.scope, VarScope::Sess | VarScope::Proc));
    }
}
