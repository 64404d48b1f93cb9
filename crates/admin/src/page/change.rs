//! What a form that is sent from the page changes (`stats admin`).

use super::Visit;
use crate::commands::{self, drain, maintain, ready};
use state::health::Change;
use state::{Backend, Process, Server};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything was done.
    Done,
    /// Something was done.
    Partly,
    /// There was nothing to do.
    Nothing,
    /// It names what is not there.
    Wrong,
    /// This visitor may not.
    Denied,
}

impl Outcome {
    /// The word for it in the page's address.
    pub(super) fn code(self) -> &'static str {
        match self {
            Outcome::Done => "DONE",
            Outcome::Partly => "PART",
            Outcome::Nothing => "NONE",
            Outcome::Wrong => "ERRP",
            Outcome::Denied => "DENY",
        }
    }

    /// A sentence for a word of the page's address.
    pub(super) fn sentence(code: &str) -> Option<&'static str> {
        Some(match code {
            "DONE" => "The change was made.",
            "PART" => "The change was made for some of the servers only.",
            "NONE" => "Nothing was changed.",
            "ERRP" => "Nothing was changed: a server, a backend or the change is not known.",
            "DENY" => "Nothing was changed: you may not.",
            _ => return None,
        })
    }
}

/// The changes, by their names in a form.
pub(super) const CHANGES: &[(&str, &str)] = &[
    ("ready", "state: ready"),
    ("drain", "state: drain"),
    ("maint", "state: maintenance"),
    ("dhlth", "checks: off"),
    ("ehlth", "checks: on"),
    ("hrunn", "health: up"),
    ("hnolb", "health: up, nothing new"),
    ("hdown", "health: down"),
    ("dagent", "agent: off"),
    ("eagent", "agent: on"),
    ("arunn", "agent: up"),
    ("adown", "agent: down"),
];

/// Makes one change; whether it could be made.
fn change(
    process: &Process,
    backend: &Arc<Backend>,
    server: &Server,
    action: &str,
    now: Instant,
) -> bool {
    let force = |to| {
        commands::change(process, backend, server, now, |s| {
            s.health().force(to, now);
        });
    };
    let agent = |down| {
        commands::change(process, backend, server, now, |s| {
            s.health().force_agent(down, now);
        });
    };
    let checked = server.settings().check.is_some();
    let asked = server.settings().agent.is_some();
    // A server that tracks another has that one's.
    let own_health = server.settings().track.is_none();
    match action {
        "ready" => ready(process, backend, server, now),
        "drain" => drain(process, backend, server, now),
        "maint" => maintain(process, backend, server, now),
        "dhlth" | "ehlth" if checked => {
            server.checks_enabled.store(action == "ehlth", Relaxed);
        }
        "dagent" | "eagent" if asked => {
            server.agent_enabled.store(action == "eagent", Relaxed);
        }
        "arunn" if server.has_agent() => agent(false),
        "adown" if server.has_agent() => agent(true),
        "hrunn" if own_health => force(Change::Up),
        "hnolb" if own_health => force(Change::Stopping),
        "hdown" if own_health => force(Change::Down),
        _ => return false,
    }
    true
}

/// Does what the form says: `s` are servers, `b` is the backend or `#` and its number, `action`
/// is the change.
pub(super) fn apply(visit: &Visit<'_>, form: &[u8]) -> Outcome {
    if !visit.admin {
        return Outcome::Denied;
    }
    let fields = fields(form);
    let first = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, v)| &**v);
    let servers: Vec<&str> = fields
        .iter()
        .filter(|(n, _)| n == "s")
        .map(|(_, v)| &**v)
        .collect();
    let (Some(name), Some(action)) = (first("b"), first("action").filter(|a| !a.is_empty())) else {
        return Outcome::Nothing;
    };
    let known = CHANGES.iter().any(|(n, _)| *n == action);
    let backend = match name.strip_prefix('#') {
        Some(id) => {
            let mut all = visit.generation.backends.iter();
            all.find(|b| b.id.to_string() == id)
        }
        None => visit.generation.backend(name),
    };
    let in_scope = |b: &&Arc<Backend>| {
        let scope = &visit.page.scope;
        scope.is_empty() || scope.contains(&b.name)
    };
    let Some(backend) = backend.filter(in_scope).filter(|_| known) else {
        return Outcome::Wrong;
    };
    if servers.is_empty() {
        return Outcome::Nothing;
    }
    let found: Vec<&Arc<Server>> = servers.iter().filter_map(|s| backend.server(s)).collect();
    if found.is_empty() {
        return Outcome::Wrong;
    }
    let changed = found
        .iter()
        .filter(|s| change(visit.process, backend, s, action, visit.now))
        .count();
    match changed {
        0 => Outcome::Nothing,
        n if n == servers.len() => Outcome::Done,
        _ => Outcome::Partly,
    }
}

/// The fields of a form (`application/x-www-form-urlencoded`).
fn fields(form: &[u8]) -> Vec<(String, String)> {
    let decode = |bytes: &[u8]| {
        let mut out = Vec::new();
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            let digits = after.get(..2).and_then(|d| std::str::from_utf8(d).ok());
            match (byte, digits.and_then(|d| u8::from_str_radix(d, 16).ok())) {
                (b'+', _) => out.push(b' '),
                (b'%', Some(value)) => {
                    out.push(value);
                    rest = after.get(2..).unwrap_or_default();
                }
                _ => out.push(byte),
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    let pairs = form.split(|b| *b == b'&').filter(|p| !p.is_empty());
    pairs
        .map(|pair| {
            let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(at);
            (decode(name), decode(value.get(1..).unwrap_or_default()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_with_its_escapes() {
        let read = fields(b"s=a%20b&b=%23l&&x&y=%zz+%2");
        let wanted = [("s", "a b"), ("b", "#l"), ("x", ""), ("y", "%zz %2")];
        let wanted: Vec<(String, String)> = wanted
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        assert_eq!(read, wanted);
    }

    #[test]
    fn every_outcome_has_a_sentence() {
        for outcome in [
            Outcome::Done,
            Outcome::Partly,
            Outcome::Nothing,
            Outcome::Wrong,
            Outcome::Denied,
        ] {
            assert!(Outcome::sentence(outcome.code()).is_some());
        }
        assert_eq!(Outcome::sentence("<script>"), None);
    }
}
