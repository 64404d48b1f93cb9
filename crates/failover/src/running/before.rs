//! Processes of this machine before and after this one: what they left, what they hand over.

use super::Running;
use crate::door::{Door, Inheritance, others};
use crate::machine::State;
use crate::virtual_mac;
use model::Vrrp;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Running {
    /// Takes addresses with our mark from the interfaces of these sections: whoever added them is
    /// gone, and another router may have them.
    pub(super) fn clean(&mut self, sections: &[Arc<Vrrp>], inherited: &[Option<Inheritance>]) {
        let kept = inherited.iter().flatten().flat_map(|i| &i.added);
        let kept: Vec<_> = kept.map(|a| a.ip).collect();
        // Addresses that no section names are those of another process, while there is one.
        let alone = !others();
        let named = |ip| {
            sections
                .iter()
                .any(|s| s.addresses.iter().any(|a| a.ip == ip))
        };
        for link in &self.links {
            if !sections.iter().any(|s| *s.interface == *link.name) {
                continue;
            }
            // Those of a section that is handed over stay.
            let left = sections
                .iter()
                .zip(inherited)
                .filter(|(s, i)| *s.interface == *link.name && i.is_none());
            for (section, _) in left {
                let (routes, rules) = (&section.routes, &section.rules);
                for wrong in crate::instance::removed(&mut self.netlink, Some(link), routes, rules)
                {
                    (self.say)(&format!("warning: vrrp: {wrong}"));
                }
            }
            let stale = link.addresses.iter().filter(|a| a.ours);
            let stale = stale.filter(|a| !kept.contains(&a.ip) && (alone || named(a.ip)));
            for address in stale {
                let stale = model::VirtualAddress {
                    ip: address.ip,
                    prefix: address.prefix,
                };
                let line = match self.netlink.remove(link.index, stale) {
                    Ok(()) => format!(
                        "notice: vrrp: removed {stale} from {}, which a process before this one left there",
                        link.name
                    ),
                    Err(e) => format!(
                        "warning: vrrp: cannot remove {stale} from {}: {e}",
                        link.name
                    ),
                };
                (self.say)(&line);
            }
        }
        self.clean_own_links(sections, inherited);
        self.refresh_links();
    }

    /// Interfaces of virtual hardware addresses that a process before this one left, with all
    /// that is on them.
    fn clean_own_links(&mut self, sections: &[Arc<Vrrp>], inherited: &[Option<Inheritance>]) {
        let alone = !others();
        for link in self.links.iter().filter(|l| virtual_mac::is_ours(l)) {
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
            let line = match self.netlink.remove_virtual_mac(link.index) {
                Ok(()) => format!(
                    "notice: vrrp: removed interface {}, which a process before this one left",
                    link.name
                ),
                Err(e) => format!("warning: vrrp: cannot remove interface {}: {e}", link.name),
            };
            (self.say)(&line);
        }
    }

    /// What a process that is to be replaced hands over, section by section. Without one to
    /// replace nobody else may run the same virtual router here.
    pub(super) fn inherit(
        &mut self,
        replaces: bool,
        sections: &[Arc<Vrrp>],
    ) -> Result<Vec<Option<Inheritance>>, String> {
        let mut all = Vec::new();
        for section in sections {
            let (one, door) = match replaces {
                true => (Inheritance::ask(section), open_door(section)),
                false => (None, Door::open(section)),
            };
            all.push(one);
            match door {
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {
                    return Err(format!(
                        "another process runs virtual router {} on {} already: stop it, or replace it with -sf",
                        section.vrid, section.interface
                    ));
                }
                Err(e) => return Err(format!("vrrp needs a UNIX socket: {e}")),
            }
        }
        Ok(all)
    }

    /// Hands over what another process of this machine asks for.
    pub(super) fn answer_doors(&mut self, ready: &[RawFd]) {
        for at in (0..self.doors.len()).rev() {
            let asked = self.doors[at].as_ref().filter(|d| ready.contains(&d.fd()));
            let Some(stream) = asked.and_then(Door::asked) else {
                continue;
            };
            let instance = &self.instances[at];
            let handed = Inheritance {
                active: self.router.members[at].machine.state() == State::Active,
                added: instance.added.clone(),
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
