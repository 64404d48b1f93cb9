//! The virtual routers of one machine, and the groups of them that move together.

use crate::machine::{Machine, State};
use std::sync::Arc;
use std::time::Instant;

/// All virtual routers of this machine. Members of a group (`group NAME`) are active all or none:
/// the group claims when every member would, yields when one has to, and is at fault with any.
#[derive(Debug, Default)]
pub struct Router {
    /// Each machine with the name of its group.
    pub members: Vec<Member>,
}

/// A machine and its group.
#[derive(Debug)]
pub struct Member {
    /// The name of its group, if it is in one.
    pub group: Option<Arc<str>>,
    /// The election.
    pub machine: Machine,
}

impl Router {
    /// Lets the groups follow what happened to their members; to be called after every event,
    /// before actions are polled.
    pub fn settle(&mut self, now: Instant) {
        let mut names: Vec<Arc<str>> = self
            .members
            .iter()
            .filter_map(|m| m.group.clone())
            .collect();
        names.sort();
        names.dedup();
        for name in names {
            self.settle_group(&name, now);
        }
    }

    fn group<'a>(&'a mut self, name: &'a str) -> impl Iterator<Item = &'a mut Machine> {
        let members = self.members.iter_mut();
        let ours = members.filter(move |m| m.group.as_deref() == Some(name));
        ours.map(|m| &mut m.machine)
    }

    fn settle_group(&mut self, name: &str, now: Instant) {
        let faults = self.group(name).filter(|m| m.health().fault).count();
        for machine in self.group(name) {
            let others = faults - usize::from(machine.health().fault);
            machine.set_group_fault(others > 0, now);
        }
        let active = |m: &Machine| m.state() == State::Active;
        let every = self.group(name).all(|m| active(m) || m.is_pending());
        if every {
            self.group(name).for_each(|m| m.claim(now));
        } else if self.group(name).any(|m| active(m)) {
            self.group(name).for_each(|m| m.yield_to_group(now));
        }
    }

    /// When something is to be done next.
    pub fn deadline(&self) -> Option<Instant> {
        let deadlines = self.members.iter().filter_map(|m| m.machine.deadline());
        deadlines.min()
    }

    /// Does what is due in every member.
    pub fn tick(&mut self, now: Instant) {
        for member in &mut self.members {
            member.machine.tick(now);
        }
        self.settle(now);
    }
}

#[cfg(test)]
mod tests;
