//! Sessions in the loop: which addresses are kept alike, and whether this machine has what it needs
//! to take over from one that is alive.

use super::Running;
use crate::machine::{State, Wait};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long sessions that do not come keep a better router from taking over.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks of the statistics while nothing happens.
const OFTEN: Duration = Duration::from_secs(1);

impl Running {
    /// Tells who copies sessions which addresses are served here.
    pub(super) fn publish(&mut self, now: Instant) {
        let mut roles: BTreeMap<IpAddr, bool> = BTreeMap::new();
        for (instance, member) in self.instances.iter().zip(&self.router.members) {
            if instance.vrrp.sync.is_some() {
                let active = member.machine.state() == State::Active;
                let addresses = instance.vrrp.addresses.iter();
                roles.extend(addresses.map(|a| (a.ip, active)));
            }
        }
        if roles != self.roles {
            self.replication.set_roles(&roles, now);
            self.roles = roles;
        }
    }

    /// Tells the statistics how everything is, once in a while and when a state has changed.
    pub(super) fn show(&mut self, now: Instant) {
        let states: Vec<State> = self
            .router
            .members
            .iter()
            .map(|m| m.machine.state())
            .collect();
        let before = self.shown.as_ref();
        if before.is_some_and(|(at, was)| now < *at + OFTEN && *was == states) {
            return;
        }
        let all = (0..self.instances.len()).map(|at| self.status(at, now));
        self.replication.set_routers(all.collect());
        self.shown = Some((now, states));
    }

    /// Lets those take over from one that is alive that have its sessions; the others wait, for a
    /// while.
    pub(super) fn follow_copies(&mut self, now: Instant) {
        for (instance, member) in self.instances.iter_mut().zip(&mut self.router.members) {
            let vrrp = &instance.vrrp;
            let in_step =
                vrrp.sync.is_none() || vrrp.peers.iter().any(|p| self.replication.is_in_step(*p));
            if in_step || member.machine.state() == State::Active {
                instance.unready = None;
                member.machine.set_ready(true, now);
                continue;
            }
            let late = now >= *instance.unready.get_or_insert(now) + PATIENCE;
            member.machine.set_ready(late, now);
        }
    }

    /// Says what a backup begins to wait for, but for its peer, of which it is said how that is.
    pub(super) fn say_waits(&mut self, now: Instant) {
        for (instance, member) in self.instances.iter_mut().zip(&self.router.members) {
            let waits = member.machine.waits(now);
            let before = std::mem::replace(&mut instance.waits, waits);
            let Some(what) = waits.filter(|w| before != waits && *w != Wait::Peer) else {
                continue;
            };
            let line = format!("would be active, but waits for {}", what.words());
            if instance.may_say(&line, now) {
                (self.say)(&format!("notice: vrrp {}: {line}", instance.vrrp.name));
            }
        }
    }

    /// When somebody has waited for long enough.
    pub(super) fn copies_due(&self, now: Instant) -> Option<Instant> {
        let waiting = self.instances.iter().filter_map(|i| i.unready);
        let ends = waiting.map(|since| since + PATIENCE);
        ends.filter(|end| *end > now).min()
    }
}
