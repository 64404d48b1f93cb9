//! What another configuration changes.

use crate::{Config, Proxy, ProxyKind};
use std::collections::HashMap;
use std::sync::Arc;

/// What a configuration changes of the one before it, by proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Proxies that were not there.
    pub added: Vec<Arc<str>>,
    /// Proxies whose lines, files or defaults differ.
    pub changed: Vec<Arc<str>>,
    /// Proxies that are no more.
    pub removed: Vec<Arc<str>>,
    /// Proxies of which nothing differs.
    pub unchanged: Vec<Arc<str>>,
}

/// A frontend and a backend may have one name.
type Key<'a> = (&'a str, ProxyKind);

/// Compares two configurations. Proxies are the same when name and kind are; they differ when
/// anything does that they were read from.
pub fn diff(old: &Config, new: &Config) -> Diff {
    let mut before: HashMap<Key<'_>, &Arc<Proxy>> = old
        .proxies
        .iter()
        .map(|p| ((&*p.name, p.kind), p))
        .collect();
    let mut diff = Diff::default();
    for proxy in &new.proxies {
        let list = match before.remove(&(&*proxy.name, proxy.kind)) {
            None => &mut diff.added,
            Some(was) if was.fingerprint == proxy.fingerprint => &mut diff.unchanged,
            Some(_) => &mut diff.changed,
        };
        list.push(Arc::clone(&proxy.name));
    }
    let left = |p: &&Arc<Proxy>| before.contains_key(&(&*p.name, p.kind));
    diff.removed = old
        .proxies
        .iter()
        .filter(left)
        .map(|p| Arc::clone(&p.name))
        .collect();
    diff
}

impl std::fmt::Display for Diff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = [
            (self.added.len(), "added"),
            (self.changed.len(), "changed"),
            (self.removed.len(), "removed"),
            (self.unchanged.len(), "unchanged"),
        ];
        for (i, (count, what)) in counts.into_iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {what}")?;
        }
        Ok(())
    }
}
