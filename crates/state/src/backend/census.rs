//! How many servers of a backend could be chosen, counted change by change: of thousands that go down together
//! each is looked at alone.

use crate::eject::allowed;
use crate::server::Server;
use std::sync::Arc;

/// Servers, or backup servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// Those that could be chosen but for being out because their traffic failed.
    pub fit: usize,
    /// Those of them that are out.
    pub out: usize,
}

/// As what a server was counted last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Noted {
    fit: bool,
    out: bool,
    backup: bool,
}

/// The counts, and what they were made from: `noted` has one entry for each server, in order, and `groups`
/// are the sums of these.
#[derive(Debug, Default)]
pub(crate) struct Census {
    noted: Vec<Noted>,
    groups: [Group; 2],
    /// How often all servers were looked at.
    pub walks: u64,
}

impl Census {
    /// Counts all servers anew.
    pub fn take(&mut self, servers: &[Arc<Server>]) {
        self.noted.clear();
        self.noted.extend(servers.iter().map(|s| Noted::of(s)));
        self.groups = [Group::default(); 2];
        for noted in &self.noted {
            noted.count(&mut self.groups, |n| n + 1);
        }
        self.walks += 1;
    }

    /// Counts the server of this place anew.
    pub fn note(&mut self, place: usize, server: &Server) {
        if let Some(noted) = self.noted.get_mut(place) {
            noted.count(&mut self.groups, |n| n.saturating_sub(1));
            *noted = Noted::of(server);
            noted.count(&mut self.groups, |n| n + 1);
        }
    }

    /// One of the two groups.
    pub fn group(&self, backup: bool) -> Group {
        let [active, backups] = self.groups;
        if backup { backups } else { active }
    }

    /// How many of a group may be chosen where so many percent may be out at a time.
    pub fn choosable(&self, backup: bool, percent: u8) -> usize {
        let Group { fit, out } = self.group(backup);
        fit - out.min(allowed(fit, percent))
    }

    /// Whether any server may be chosen: of those that are fit never all are out.
    pub fn serves(&self) -> bool {
        self.groups.iter().any(|g| g.fit > 0)
    }
}

impl Noted {
    fn of(server: &Server) -> Noted {
        let fit = server.is_fit();
        Noted {
            fit,
            out: fit && server.is_ejected(),
            backup: server.is_backup(),
        }
    }

    fn count(&self, groups: &mut [Group; 2], by: impl Fn(usize) -> usize) {
        let [active, backups] = groups;
        let group = if self.backup { backups } else { active };
        if self.fit {
            group.fit = by(group.fit);
        }
        if self.out {
            group.out = by(group.out);
        }
    }
}
