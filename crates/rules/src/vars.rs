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

/// How many bytes variables may take (`tune.vars.…-max-size`); 0 is without limit. What a
/// transaction holds counts for its session, too, and a request's or response's for both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // names of the manual
pub struct VarLimits {
    pub all: usize,
    pub proc: usize,
    pub sess: usize,
    pub txn: usize,
    pub reqres: usize,
}

/// What a variable takes besides its content, bytes: its name and its place.
const OVERHEAD: usize = size_of::<(VarName, Sample<'static>)>();

/// When a variable may be set, by what it holds and what it is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It was set, or not.
    Set(bool),
    /// What it is to hold is empty, or not; numbers and addresses never are.
    Empty(bool),
    /// It is greater than what it is to hold, if both are numbers.
    Greater,
    /// It is less.
    Less,
}

impl Condition {
    /// Each name.
    pub const NAMES: &'static [&'static str] = &[
        "ifexists",
        "ifnotexists",
        "ifempty",
        "ifnotempty",
        "ifset",
        "ifnotset",
        "ifgt",
        "iflt",
    ];

    /// By its name.
    pub fn by_name(name: &str) -> Option<Condition> {
        Some(match name {
            "ifexists" | "ifset" => Condition::Set(true),
            "ifnotexists" | "ifnotset" => Condition::Set(false),
            "ifempty" => Condition::Empty(true),
            "ifnotempty" => Condition::Empty(false),
            "ifgt" => Condition::Greater,
            "iflt" => Condition::Less,
            _ => return None,
        })
    }

    fn holds(self, old: Option<&Sample<'_>>, new: &Sample<'_>) -> bool {
        let compared = match (old, new) {
            (Some(Sample::Int(old)), Sample::Int(new)) => Some(old.cmp(new)),
            _ => None,
        };
        match self {
            Condition::Set(set) => old.is_some() == set,
            Condition::Empty(wanted) => {
                matches!(new, Sample::Str(b) | Sample::Bin(b) if b.is_empty()) == wanted
            }
            Condition::Greater => compared.is_none_or(|c| c.is_gt()),
            Condition::Less => compared.is_none_or(|c| c.is_lt()),
        }
    }
}

/// The variables of one session and request: one pointer, because most have none.
#[derive(Clone, Debug, Default)]
pub struct Vars(Option<Box<Kept>>);

#[derive(Clone, Debug, Default)]
struct Kept {
    entries: Vec<(VarName, Sample<'static>)>,
    limits: VarLimits,
}

impl Vars {
    /// None yet, and no more than these limits allow later.
    pub fn limited(limits: VarLimits) -> Vars {
        let kept = || {
            let entries = Vec::new();
            Box::new(Kept { entries, limits })
        };
        Vars((limits != VarLimits::default()).then(kept))
    }

    /// The value, if it was set.
    pub fn get(&self, name: &VarName) -> Option<&Sample<'static>> {
        let mut all = self.0.iter().flat_map(|kept| &kept.entries);
        all.find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// Sets or replaces; whether there was room. Without room the variable stays as it was.
    pub fn set(&mut self, name: &VarName, value: Sample<'static>) -> bool {
        let kept = self.0.get_or_insert_default();
        if !kept.has_room(name, &value) {
            return false;
        }
        match kept.entries.iter_mut().find(|(n, _)| n == name) {
            Some((_, slot)) => *slot = value,
            None => kept.entries.push((name.clone(), value)),
        }
        true
    }

    /// Sets or replaces where all conditions hold and there is room; whether it did.
    pub fn set_if(
        &mut self,
        name: &VarName,
        value: Sample<'static>,
        conditions: &[Condition],
    ) -> bool {
        let old = self.get(name);
        conditions.iter().all(|c| c.holds(old, &value)) && self.set(name, value)
    }

    /// Forgets.
    pub fn unset(&mut self, name: &VarName) {
        self.retain(|n| n != name);
    }

    /// Forgets what lives no longer than the request is processed.
    pub fn begin_response(&mut self) {
        self.retain(|n| n.scope != VarScope::Req);
    }

    /// Forgets what lives no longer than a request; what lives as long as the session stays.
    pub fn end_request(&mut self) {
        self.retain(|n| matches!(n.scope, VarScope::Sess | VarScope::Proc));
    }

    fn retain(&mut self, stays: impl Fn(&VarName) -> bool) {
        if let Some(kept) = &mut self.0 {
            kept.entries.retain(|(name, _)| stays(name));
        }
    }
}

impl Kept {
    fn has_room(&self, name: &VarName, value: &Sample<'_>) -> bool {
        use VarScope::{Check, Proc, Req, Res, Sess, Txn};
        let limits = &self.limits;
        if *limits == VarLimits::default() {
            return true;
        }
        let others = |scopes: &[VarScope]| {
            let counted = self.entries.iter();
            let counted = counted.filter(|(n, _)| n != name && scopes.contains(&n.scope));
            counted.map(|(_, v)| OVERHEAD + content(v)).sum::<usize>()
        };
        let fits = |limit: usize, scopes: &[VarScope]| {
            limit == 0
                || !scopes.contains(&name.scope)
                || others(scopes) + OVERHEAD + content(value) <= limit
        };
        fits(limits.reqres, &[Req, Res])
            && fits(limits.txn, &[Req, Res, Txn])
            && fits(limits.sess, &[Req, Res, Txn, Sess])
            && fits(limits.proc, &[Proc])
            && fits(limits.all, &[Req, Res, Txn, Sess, Proc, Check])
    }
}

/// The bytes of a text; numbers have room in the variable itself.
fn content(value: &Sample<'_>) -> usize {
    match value {
        Sample::Str(b) | Sample::Bin(b) | Sample::Method(b) => b.len(),
        _ => 0,
    }
}
