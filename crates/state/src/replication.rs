//! What is shared with another machine: which virtual addresses, who serves them, and how far copies
//! of their sessions are. The election writes who serves, the synchronisation how far it is; the
//! packet plane and the statistics read.

use crate::VrrpStatus;
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A virtual address whose sessions are kept alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// Whether this machine serves it.
    pub active: bool,
    /// Whether its sessions here are a copy that the one who serves it keeps up to date.
    pub copied: bool,
    /// Since when both are as they are.
    pub since: Instant,
}

/// How far a table is towards one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncStatus {
    /// The other machine.
    pub peer: SocketAddr,
    /// `sessions` or `tables`.
    pub table: &'static str,
    /// Towards the peer: `unconnected`, `greeting`, `snapshot`, `changes` or `in-sync`.
    pub sending: &'static str,
    /// From the peer: `unconnected`, `snapshot` or `in-sync`.
    pub receiving: &'static str,
    /// How long the oldest change has waited to be acknowledged.
    pub lag: Duration,
    /// Bytes of changes that wait.
    pub backlog: usize,
    /// Why the last conversation ended.
    pub broken: Option<String>,
    /// Counters by name: changes sent, taken, snapshots, conversations that ended.
    pub counters: Vec<(&'static str, u64)>,
}

/// What is kept alike.
#[derive(Debug, Default)]
pub struct Replication {
    roles: ArcSwap<BTreeMap<IpAddr, Role>>,
    status: Mutex<Vec<SyncStatus>>,
    routers: ArcSwap<Vec<VrrpStatus>>,
}

impl Replication {
    /// The virtual addresses as they are now.
    pub fn roles(&self) -> Arc<BTreeMap<IpAddr, Role>> {
        self.roles.load_full()
    }

    /// These addresses are kept alike, and served here or not.
    pub fn set_roles(&self, wanted: &BTreeMap<IpAddr, bool>, now: Instant) {
        self.roles.rcu(|old| {
            let new = wanted.iter().map(|(ip, active)| {
                let fresh = Role {
                    active: *active,
                    copied: false,
                    since: now,
                };
                let kept = old.get(ip).filter(|r| r.active == *active);
                (*ip, kept.copied().unwrap_or(fresh))
            });
            new.collect::<BTreeMap<_, _>>()
        });
    }

    /// The sessions of these addresses are an up-to-date copy from now on, or no longer.
    pub fn set_copied<'a>(
        &self,
        addresses: impl Iterator<Item = &'a IpAddr> + Clone,
        copied: bool,
        now: Instant,
    ) {
        self.roles.rcu(|old| {
            let mut new = BTreeMap::clone(old);
            for ip in addresses.clone() {
                if let Some(role) = new.get_mut(ip).filter(|r| r.copied != copied) {
                    role.copied = copied;
                    role.since = now;
                }
            }
            new
        });
    }

    /// The virtual routers as they were a moment ago: of a change of state at once, of counters
    /// about a second.
    pub fn routers(&self) -> Arc<Vec<VrrpStatus>> {
        self.routers.load_full()
    }

    /// Tells how the virtual routers are.
    pub fn set_routers(&self, all: Vec<VrrpStatus>) {
        self.routers.store(Arc::new(all));
    }

    /// How far all tables are.
    pub fn status(&self) -> Vec<SyncStatus> {
        let status = self.status.lock();
        status.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells how far all tables are.
    pub fn set_status(&self, all: Vec<SyncStatus>) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Whether everything that this peer has is here, too.
    pub fn is_in_step(&self, peer: SocketAddr) -> bool {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_peer = status.iter().filter(|s| s.peer == peer).peekable();
        of_peer.peek().is_some() && of_peer.all(|s| s.receiving == "in-sync")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_copy_until_it_is_served_here() {
        let all = Replication::default();
        let ip: IpAddr = [203, 0, 113, 10].into();
        let start = Instant::now();
        let role = || all.roles().get(&ip).copied();
        all.set_roles(&BTreeMap::from([(ip, false)]), start);
        all.set_copied([ip].iter(), true, start);
        let later = start + Duration::from_secs(9);
        all.set_roles(&BTreeMap::from([(ip, false)]), later);
        assert_eq!(role().map(|r| (r.copied, r.since)), Some((true, start)));
        all.set_roles(&BTreeMap::from([(ip, true)]), later);
        let served = Role {
            active: true,
            copied: false,
            since: later,
        };
        assert_eq!(role(), Some(served));
        all.set_roles(&BTreeMap::new(), later);
        assert_eq!(role(), None);
    }

    #[test]
    fn a_peer_is_in_step_when_all_its_tables_are() {
        let all = Replication::default();
        let peer: SocketAddr = ([10, 9, 0, 2], 7112).into();
        assert!(!all.is_in_step(peer));
        let one = |table, receiving| SyncStatus {
            peer,
            table,
            sending: "in-sync",
            receiving,
            lag: Duration::ZERO,
            backlog: 0,
            broken: None,
            counters: Vec::new(),
        };
        all.set_status(vec![one("sessions", "in-sync"), one("tables", "snapshot")]);
        assert!(!all.is_in_step(peer));
        all.set_status(vec![one("sessions", "in-sync"), one("tables", "in-sync")]);
        assert!(all.is_in_step(peer));
    }
}
