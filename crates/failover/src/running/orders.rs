//! What is asked of the loop from outside: another configuration, a release, a look.

use super::Running;
use super::before::shut_out;
use crate::door::{Door, Inheritance};
use crate::instance::Instance;
use crate::machine::{Machine, State, Wait};
use crate::router::Member;
use crate::routes::Marked;
use crate::service::Command;
use crate::track::Tracker;
use model::Vrrp;
use state::VrrpStatus;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

impl Running {
    /// Does what was ordered; whether that is to stop.
    pub(super) fn obey(&mut self, orders: &Receiver<Command>, now: Instant) -> bool {
        while let Ok(order) = orders.try_recv() {
            // Whoever asked may have lost patience: then nobody hears the answer.
            match order {
                Command::Reload(sections, answer) => {
                    self.reload(sections, now);
                    let _ = answer.send(Vec::new());
                }
                Command::Status(answer) => {
                    // The kernel is asked only where it has told of a change: to list interfaces may
                    // take long on a busy machine, and whoever looks often must not delay adverts.
                    if self.netlink.changed() {
                        self.refresh_links();
                        self.follow_links(now);
                    }
                    let all = (0..self.instances.len()).map(|at| self.status(at, now));
                    let _ = answer.send(all.collect());
                }
                Command::Release(name, released, answer) => {
                    let _ = answer.send(self.release(name.as_deref(), released, now));
                }
                Command::Reduce => {
                    if let Err(e) = crate::rights::reduce() {
                        (self.say)(&format!("warning: vrrp: rights cannot be reduced: {e}"));
                    }
                }
                // The loop looks at copies whenever it is woken.
                Command::Look => {}
                Command::Stop => return true,
            }
        }
        false
    }

    fn release(&mut self, name: Option<&str>, released: bool, now: Instant) -> Result<(), String> {
        let mut any = false;
        for (member, instance) in self.router.members.iter_mut().zip(&self.instances) {
            if name.is_some_and(|n| n != &*instance.vrrp.name) {
                continue;
            }
            any = true;
            if released {
                member.machine.release(now);
            } else {
                member.machine.resume(now);
            }
        }
        self.router.settle(now);
        match (any, name) {
            (true, _) => Ok(()),
            (false, Some(name)) => Err(format!("there is no vrrp section '{name}'")),
            (false, None) => Err("there is no vrrp section".into()),
        }
    }

    /// Sections that are the same virtual router keep their state; what is new begins, what is no
    /// more leaves gracefully.
    fn reload(&mut self, sections: Vec<Arc<Vrrp>>, now: Instant) {
        let kept = |i: &Instance| sections.iter().any(|s| i.is_same(s));
        for at in (0..self.instances.len()).rev() {
            if !kept(&self.instances[at]) {
                self.router.members[at].machine.stop(now);
                self.act(now);
                self.instances.remove(at);
                self.router.members.remove(at);
                self.trackers.remove(at);
                self.doors.remove(at);
            }
        }
        for section in sections {
            match self.instances.iter().position(|i| i.is_same(&section)) {
                Some(at) => self.replace(at, section, now),
                None => {
                    // Without it another process cannot take over, but all else works.
                    let door = Door::open(&section).map_err(|e| {
                        let why = shut_out(&section, &e);
                        (self.say)(&format!("error: vrrp {}: {why}", section.name));
                    });
                    self.add(section, None, door.ok(), now);
                }
            }
        }
        self.refresh_links();
        self.follow_links(now);
    }

    /// Begins with a section: with what another process has handed over, and with the door where it may
    /// be asked for in turn.
    pub(super) fn add(
        &mut self,
        section: Arc<Vrrp>,
        inherited: Option<Inheritance>,
        door: Option<Door>,
        now: Instant,
    ) {
        let trackers = section.tracks.iter();
        self.trackers
            .push(trackers.map(|t| Tracker::new(t.clone(), now)).collect());
        let group = section.group.clone();
        let mut instance = Instance::new(section, now);
        self.doors.push(door);
        let mut machine = Machine::new(instance.settings());
        if let Some(inherited) = inherited {
            instance.added = inherited.added;
            if inherited.active {
                machine.inherit(now);
            }
        }
        self.instances.push(instance);
        self.router.members.push(Member { group, machine });
    }

    fn replace(&mut self, at: usize, section: Arc<Vrrp>, now: Instant) {
        let instance = &mut self.instances[at];
        if instance.vrrp == section {
            return;
        }
        let old = std::mem::replace(&mut instance.vrrp, section);
        instance.follow_peers(now);
        let new = Arc::clone(&instance.vrrp);
        let marked = instance.marked();
        let mut before = Marked::all_of(&old, instance.link.as_ref().map(|l| l.index));
        before.retain(|b| !marked.iter().any(|m| m.is_same(b)));
        let mut wrong = instance.remove_routes(&mut self.netlink, &before);
        let keep = |a: &model::VirtualAddress| new.addresses.contains(a);
        wrong.extend(instance.remove_addresses(&mut self.netlink, keep));
        for wrong in wrong {
            (self.say)(&format!("error: vrrp {}: {wrong}", new.name));
        }
        // What is still watched keeps what is known of it.
        let mut before = std::mem::take(&mut self.trackers[at]);
        self.trackers[at] = new
            .tracks
            .iter()
            .map(|t| match before.iter().position(|b| b.track() == t) {
                Some(known) => before.swap_remove(known),
                None => Tracker::new(t.clone(), now),
            })
            .collect();
        let settings = instance.settings();
        let member = &mut self.router.members[at];
        member.group.clone_from(&new.group);
        member.machine.reconfigure(settings, now);
        if member.machine.state() == State::Active
            && (&old.addresses, &old.routes, &old.rules)
                != (&new.addresses, &new.routes, &new.rules)
        {
            self.claim(at);
        }
    }

    pub(super) fn status(&self, at: usize, now: Instant) -> VrrpStatus {
        let (instance, machine) = (&self.instances[at], &self.router.members[at].machine);
        let vrrp = &instance.vrrp;
        let home = match vrrp.virtual_mac {
            true => instance.own_link.as_ref().map(|l| l.name.as_str()),
            false => Some(&*vrrp.interface),
        };
        let link = self.links.iter().find(|l| Some(l.name.as_str()) == home);
        let there = |ip| link.is_some_and(|l| l.addresses.iter().any(|a| a.ip == ip));
        let addresses = vrrp.addresses.iter();
        let tracks = self.trackers[at].iter();
        VrrpStatus {
            name: Arc::clone(&vrrp.name),
            interface: Arc::clone(&vrrp.interface),
            vrid: vrrp.vrid,
            version: vrrp.version,
            group: vrrp.group.clone(),
            state: machine.state().name(),
            cause: instance.since.1.words(),
            since: now.saturating_duration_since(instance.since.0),
            priority: machine.priority(),
            configured: vrrp.priority,
            interval: vrrp.interval,
            source: instance.own(),
            addresses: addresses
                .map(|a| (a.to_string(), there(a.ip), instance.added.contains(a)))
                .collect(),
            heard: instance
                .heard
                .map(|(ip, p, at)| (ip, p, now.saturating_duration_since(at))),
            released: machine.is_released(),
            blocked: machine.is_blocked(),
            waits: machine.waits(now).map(Wait::words),
            peers: instance
                .peers
                .iter()
                .map(|p| {
                    (
                        p.address,
                        p.answered
                            .map(|(s, at)| (s.name(), now.saturating_duration_since(at))),
                    )
                })
                .collect(),
            tracks: tracks.map(|t| (t.name(), t.up)).collect(),
            sync: match vrrp.sync {
                Some(_) => {
                    let mut all = self.replication.status();
                    all.retain(|s| vrrp.peers.contains(&s.peer));
                    all
                }
                None => Vec::new(),
            },
            fault: instance.fault.clone(),
            counters: instance.counters.list(),
        }
    }
}
