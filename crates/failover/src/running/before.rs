//! Processes of this machine before and after this one: what they left, what they hand over.

use super::Running;
use crate::door::{Door, Inheritance, others};
use crate::link::{Link, Netlink};
use crate::machine::State;
use crate::rights;
use crate::routes::Marked;
use crate::service::Say;
use crate::virtual_mac;
use model::Vrrp;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whether a process that is gone left something with our mark here, and nobody is there whose it
/// could be, and whether this process may remove it.
pub fn is_left_behind() -> bool {
    // Who may not remove it has nothing to look for.
    if !rights::may_act() {
        return false;
    }
    let Ok(mut netlink) = Netlink::open() else {
        return false;
    };
    let links = netlink.links().unwrap_or_default();
    let on_links = links
        .iter()
        .any(|l| l.virtual_mac || l.addresses.iter().any(|a| a.ours));
    (on_links || netlink.marked().is_ok_and(|m| !m.is_empty())) && !others(&[])
}

impl Running {
    /// Takes away what carries our mark and nobody hands over to these sections: whoever set it is
    /// gone, and another router may have it. What no section names may be another process's, while
    /// there is one.
    pub(super) fn clean(&mut self, sections: &[Arc<Vrrp>], inherited: &[Option<Inheritance>]) {
        let alone = !others(sections);
        self.clean_marked(sections, inherited, alone);
        let kept = inherited.iter().flatten().flat_map(|i| &i.added);
        let kept: Vec<_> = kept.map(|a| a.ip).collect();
        let named = |link: &Link, ip| {
            sections
                .iter()
                .filter(|s| *s.interface == *link.name)
                .any(|s| s.addresses.iter().any(|a| a.ip == ip))
        };
        for link in self.links.iter().filter(|l| !l.virtual_mac) {
            let stale = link.addresses.iter().filter(|a| a.ours);
            let stale = stale.filter(|a| !kept.contains(&a.ip) && (alone || named(link, a.ip)));
            for address in stale {
                let stale = model::VirtualAddress {
                    ip: address.ip,
                    prefix: address.prefix,
                };
                let what = format!("{stale} from {}", link.name);
                say_removed(&self.say, &what, self.netlink.remove(link.index, stale));
            }
        }
        self.clean_own_links(sections, inherited, alone);
        self.refresh_links();
    }

    /// Routes and rules: before addresses, by which some of them may lead.
    fn clean_marked(
        &mut self,
        sections: &[Arc<Vrrp>],
        inherited: &[Option<Inheritance>],
        alone: bool,
    ) {
        let (mut kept, mut named) = (Vec::new(), Vec::new());
        for (section, inherited) in sections.iter().zip(inherited) {
            let link = self.links.iter().find(|l| l.name == *section.interface);
            let wanted = Marked::all_of(section, link.map(|l| l.index));
            match inherited {
                Some(before) => {
                    named.extend(before.marked.iter().copied());
                    kept.extend(wanted.into_iter().filter(|_| before.active));
                }
                None => named.extend(wanted),
            }
        }
        let one_of = |all: &[Marked], one: &Marked| all.iter().any(|a| one.is_as(a));
        let listed = match self.netlink.marked() {
            Ok(listed) => listed,
            Err(e) => {
                (self.say)(&format!(
                    "warning: vrrp: cannot list routes and rules: {e}; of what a process before this one left there only what the file names is removed"
                ));
                // Nobody knows whether they are there: it is tried.
                for one in named.iter().filter(|n| !kept.iter().any(|k| k.is_same(n))) {
                    if let Err(e) = self.netlink.unset(one) {
                        (self.say)(&format!("warning: vrrp: cannot remove {one}: {e}"));
                    }
                }
                return;
            }
        };
        for one in listed {
            if !one_of(&kept, &one) && (alone || one_of(&named, &one)) {
                say_removed(&self.say, &one.to_string(), self.netlink.unset(&one));
            }
        }
    }

    /// Interfaces of virtual hardware addresses that a process before this one left, with all
    /// that is on them.
    fn clean_own_links(
        &mut self,
        sections: &[Arc<Vrrp>],
        inherited: &[Option<Inheritance>],
        alone: bool,
    ) {
        for link in self.links.iter().filter(|l| l.virtual_mac) {
            let is_of = |s: &Vrrp| {
                let mut bases = self.links.iter().filter(|l| *l.name == *s.interface);
                bases.any(|base| virtual_mac::name(s, base.index) == link.name)
            };
            let of = sections.iter().zip(inherited).find(|(s, _)| is_of(s));
            let stale = match of {
                Some((section, inherited)) => inherited.is_none() || !section.virtual_mac,
                None => alone,
            };
            if !stale {
                continue;
            }
            let what = format!("interface {}", link.name);
            say_removed(
                &self.say,
                &what,
                self.netlink.remove_virtual_mac(link.index),
            );
        }
    }

    /// What a process that is to be replaced hands over, section by section. Without one to
    /// replace nobody else may run the same virtual router here. The doors are open from now on: who
    /// starts meanwhile must see that somebody serves.
    pub(super) fn inherit(
        &mut self,
        replaces: bool,
        sections: &[Arc<Vrrp>],
    ) -> Result<(Vec<Option<Inheritance>>, Vec<Door>), String> {
        let (mut all, mut doors) = (Vec::new(), Vec::new());
        for section in sections {
            let (one, door) = match replaces {
                true => (Inheritance::ask(section), open_door(section)),
                false => (None, Door::open(section)),
            };
            all.push(one);
            doors.push(door.map_err(|e| shut_out(section, &e))?);
        }
        Ok((all, doors))
    }

    /// Hands over what another process of this machine asks for.
    pub(super) fn answer_doors(&mut self, ready: &[RawFd]) {
        for at in (0..self.doors.len()).rev() {
            let asked = self.doors[at].as_ref().filter(|d| ready.contains(&d.fd()));
            let Some(stream) = asked.and_then(Door::asked) else {
                continue;
            };
            let instance = &self.instances[at];
            let active = self.router.members[at].machine.state() == State::Active;
            let handed = Inheritance {
                active,
                added: instance.added.clone(),
                marked: match active {
                    true => instance.marked(),
                    false => Vec::new(),
                },
            };
            if !handed.give(stream) {
                continue;
            }
            (self.say)(&format!(
                "notice: vrrp {}: handed over to another process of this machine",
                instance.vrrp.name
            ));
            self.router.members[at].machine.hand_over();
            self.router.members.remove(at);
            self.instances.remove(at);
            self.trackers.remove(at);
            self.doors.remove(at);
        }
    }
}

/// Why there is no door for a section.
pub(super) fn shut_out(section: &Vrrp, e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "another process runs virtual router {} on {} already: stop it, or replace it with -sf",
            section.vrid, section.interface
        ),
        _ => format!("vrrp needs a UNIX socket: {e}"),
    }
}

/// Tells of something that was left here.
fn say_removed(say: &Say, what: &str, done: std::io::Result<()>) {
    say(&match done {
        Ok(()) => {
            format!("notice: vrrp: removed {what}, which a process before this one left there")
        }
        Err(e) => format!("warning: vrrp: cannot remove {what}: {e}"),
    });
}

/// The door of a virtual router that another process has just handed over: it closes its own a
/// moment later.
fn open_door(vrrp: &Vrrp) -> std::io::Result<Door> {
    let end = Instant::now() + Duration::from_millis(500);
    loop {
        match Door::open(vrrp) {
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(2));
            }
            door => return door,
        }
    }
}
