//! Variables, by scope and name (manual section 2.8).

use crate::Sample;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// The variables of the `proc` scope, which every session shares.
///
/// A session works with the set it saw when its request began ([`Vars::refresh`]); what it sets
/// itself it sees at once.
#[derive(Debug, Default)]
pub struct ProcVars {
    version: AtomicU64,
    values: Mutex<Values>,
}

type Values = Arc<Vec<(VarName, Sample<'static>)>>;

impl ProcVars {
    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, if it was set.
    pub fn get(&self, name: &VarName) -> Option<Sample<'static>> {
        let values = self.values();
        let found = values.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.clone())
    }

    /// Sets, replaces or, with `None`, forgets.
    pub fn set(&self, name: &VarName, value: Option<Sample<'static>>) {
        let mut values = self.values();
        let mut next = Vec::clone(&values);
        next.retain(|(n, _)| n != name);
        next.extend(value.map(|v| (name.clone(), v)));
        *values = Arc::new(next);
        self.version.fetch_add(1, Release);
    }
}

/// The variables of one session and request.
#[derive(Clone, Debug, Default)]
pub struct Vars {
    entries: Vec<(VarName, Sample<'static>)>,
    shared: Option<Arc<ProcVars>>,
    /// The shared ones as last seen; `None` while there are none.
    seen: Option<(u64, Values)>,
}

impl Vars {
    /// Those of a session in a process with these shared ones.
    pub fn sharing(shared: &Arc<ProcVars>) -> Vars {
        let mut vars = Vars {
            shared: Some(Arc::clone(shared)),
            ..Vars::default()
        };
        vars.refresh();
        vars
    }

    /// Looks at the shared variables anew.
    pub fn refresh(&mut self) {
        let Some(shared) = &self.shared else { return };
        let version = shared.version.load(Acquire);
        if self.seen.as_ref().map_or(0, |(seen, _)| *seen) != version {
            self.seen = Some((version, Arc::clone(&shared.values())));
        }
    }

    /// The value, if it was set.
    pub fn get(&self, name: &VarName) -> Option<&Sample<'static>> {
        let entries = match (&self.shared, name.scope) {
            (Some(_), VarScope::Proc) => self.seen.as_ref().map(|(_, values)| &**values)?,
            _ => &self.entries,
        };
        entries.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// Sets or replaces.
    pub fn set(&mut self, name: &VarName, value: Sample<'static>) {
        if let (Some(shared), VarScope::Proc) = (&self.shared, name.scope) {
            shared.set(name, Some(value));
            self.refresh();
            return;
        }
        match self.entries.iter_mut().find(|(n, _)| n == name) {
            Some((_, slot)) => *slot = value,
            None => self.entries.push((name.clone(), value)),
        }
    }

    /// Forgets.
    pub fn unset(&mut self, name: &VarName) {
        if let (Some(shared), VarScope::Proc) = (&self.shared, name.scope) {
            shared.set(name, None);
            self.refresh();
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_the_process_is_seen_by_every_session_that_looks_anew() {
        let shared = Arc::new(ProcVars::default());
        let name = VarName::parse("proc.n").expect("a name");
        let (mut one, mut two) = (Vars::sharing(&shared), Vars::sharing(&shared));
        one.set(&name, Sample::Int(3));
        assert_eq!(one.get(&name), Some(&Sample::Int(3)));
        assert_eq!(two.get(&name), None, "not in the middle of a request");
        two.refresh();
        assert_eq!(two.get(&name), Some(&Sample::Int(3)));
        two.unset(&name);
        one.refresh();
        assert_eq!((one.get(&name), shared.get(&name)), (None, None));
    }
}
