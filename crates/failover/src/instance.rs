//! One virtual router with its sockets and addresses.

use crate::check::Refusal;
use crate::link::{Link, Netlink};
use crate::machine::{Cause, Settings, State, Version, Wait};
use crate::peer::Peer;
use crate::routes::Marked;
use crate::socket::{Frames, Mouth};
use crate::virtual_mac;
use model::{VirtualAddress, Vrrp};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::vrrp::{Advert, GROUP_V4, GROUP_V6, Sum};

/// The same thing is said once in this time.
const QUIET: Duration = Duration::from_secs(60);

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Times it became active.
    pub active: u64,
    /// Times it became a backup.
    pub backup: u64,
    /// Times it stopped taking part.
    pub initialize: u64,
    /// Adverts sent.
    pub sent: u64,
    /// Adverts that could not be sent.
    pub unsent: u64,
    /// Adverts that passed all checks.
    pub received: u64,
    /// Farewells sent and received.
    pub farewells: (u64, u64),
    /// Announcements of all addresses.
    pub announced: u64,
    /// Adverts of a worse router while active.
    pub contended: u64,
    /// Adverts about other addresses that were heard all the same.
    pub other_addresses: u64,
    /// Packets refused, by [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Answers over the second path, and those refused.
    pub peer_answers: (u64, u64),
}

impl Counters {
    /// Each with its name.
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        let mut list = vec![
            ("became_active", self.active),
            ("became_backup", self.backup),
            ("became_initialize", self.initialize),
            ("adverts_sent", self.sent),
            ("adverts_unsent", self.unsent),
            ("adverts_received", self.received),
            ("farewells_sent", self.farewells.0),
            ("farewells_received", self.farewells.1),
            ("announcements", self.announced),
            ("contended", self.contended),
            ("other_addresses", self.other_addresses),
            ("peer_answers", self.peer_answers.0),
            ("peer_refused", self.peer_answers.1),
        ];
        let refused = Refusal::ALL.iter().zip(self.refused);
        list.extend(refused.map(|(r, n)| (r.name(), n)));
        list
    }

    /// Counts a refusal.
    pub fn refuse(&mut self, why: Refusal) {
        let all = Refusal::ALL.iter().zip(&mut self.refused);
        for (_, n) in all.filter(|(r, _)| **r == why) {
            *n += 1;
        }
    }
}

/// A virtual router of this machine, all but its election.
pub struct Instance {
    /// The section.
    pub vrrp: Arc<Vrrp>,
    /// The interface, while it is there.
    pub link: Option<Link>,
    /// The interface that has the virtual router's hardware address, while it is there.
    pub own_link: Option<Link>,
    /// Where adverts go out, while there is an address to send from.
    pub mouth: Option<Mouth>,
    /// How checksums are made: as the other router makes them.
    pub sum: Sum,
    /// Addresses that this process has added and not removed.
    pub added: Vec<VirtualAddress>,
    /// The same router over second paths.
    pub peers: Vec<Peer>,
    /// Since when, and why, it is in its state.
    pub since: (Instant, Cause),
    /// The router heard last, its priority, and when.
    pub heard: Option<(IpAddr, u8, Instant)>,
    /// What it waited for when that was looked at last.
    pub waits: Option<Wait>,
    /// Why it takes no part.
    pub fault: Option<String>,
    /// Since when the sessions that it would need to take over from one that is alive are missing.
    pub unready: Option<Instant>,
    /// What happened so far.
    pub counters: Counters,
    /// What was said lately.
    said: Vec<(String, Instant)>,
}

impl Instance {
    /// Not on any interface yet.
    pub fn new(vrrp: Arc<Vrrp>, now: Instant) -> Instance {
        let mut instance = Instance {
            vrrp,
            link: None,
            own_link: None,
            mouth: None,
            sum: Sum::default(),
            added: Vec::new(),
            peers: Vec::new(),
            since: (now, Cause::Started),
            heard: None,
            waits: None,
            fault: None,
            unready: None,
            counters: Counters::default(),
            said: Vec::new(),
        };
        instance.follow_peers(now);
        instance
    }

    /// Asks those that the section names; what is known of the others stays.
    pub fn follow_peers(&mut self, now: Instant) {
        let wanted = &self.vrrp.peers;
        self.peers.retain(|p| wanted.contains(&p.address));
        for address in wanted {
            if !self.peers.iter().any(|p| p.address == *address) {
                self.peers.push(Peer::new(*address, now));
            }
        }
    }

    /// Whether a section is about the same virtual router: then a reload keeps its state.
    pub fn is_same(&self, other: &Vrrp) -> bool {
        let identity = |v: &Vrrp| (v.vrid, v.version, v.is_ipv6(), v.virtual_mac);
        let v = &self.vrrp;
        (&v.name, &v.interface) == (&other.name, &other.interface) && identity(v) == identity(other)
    }

    /// What the election is told.
    pub fn settings(&self) -> Settings {
        let v = &self.vrrp;
        Settings {
            version: if v.version == 2 {
                Version::V2
            } else {
                Version::V3
            },
            priority: v.priority,
            interval: v.interval,
            preempt: v.preempt,
            preempt_delay: v.preempt_delay,
            own: self.own().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            refresh: v.refresh,
            grouped: v.group.is_some(),
        }
    }

    /// The address its adverts come from.
    pub fn own(&self) -> Option<IpAddr> {
        self.mouth.as_ref().map(|m| m.source)
    }

    /// Takes note of the interface as it is now; what is wrong with it is a fault.
    pub fn follow_link(&mut self, links: &[Link]) -> Result<(), String> {
        let name = &self.vrrp.interface;
        let link = links.iter().find(|l| l.name == **name);
        self.link = link.cloned();
        self.own_link = None;
        let Some(link) = &self.link else {
            self.mouth = None;
            return Err(format!("there is no interface {name}"));
        };
        if self.vrrp.virtual_mac {
            let own = virtual_mac::name(&self.vrrp, link.index);
            self.own_link = links
                .iter()
                .find(|l| l.virtual_mac && l.name == own)
                .cloned();
        }
        if !link.up {
            return Err(format!("interface {name} is down"));
        }
        let wanted = match source_of(&self.vrrp, link) {
            Ok(wanted) => wanted,
            Err(why) => {
                self.mouth = None;
                return Err(why);
            }
        };
        let there = self.mouth.as_ref().map(|m| (m.link, m.source));
        if there != Some((link.index, wanted)) {
            let opened = Mouth::open(link, wanted);
            let failed = |e| format!("cannot send from {wanted} on {name}: {e}");
            self.mouth = Some(opened.map_err(failed)?);
        }
        Ok(())
    }

    /// Sends an advertisement.
    pub fn advertise(&mut self, frames: &Frames, priority: u8) {
        let Some(mouth) = &self.mouth else {
            self.counters.unsent += 1;
            return;
        };
        let whole = self.vrrp.virtual_mac && self.vrrp.unicast.is_empty();
        let mac = whole.then(|| wire::vrrp::virtual_mac(self.vrrp.vrid, self.vrrp.is_ipv6()));
        for (to, bytes) in self.adverts(mouth.source, priority) {
            let frame = mac.and_then(|mac| wire::vrrp::frame(mac, mouth.source, to, &bytes));
            let sent = match frame {
                Some(frame) => frames.send(mouth.link, &frame),
                None => mouth.say(&bytes, to),
            };
            match sent {
                Ok(()) => self.counters.sent += 1,
                Err(_) => self.counters.unsent += 1,
            }
        }
        self.counters.farewells.0 += u64::from(priority == 0);
    }

    /// An advertisement as bytes, for each that it goes to.
    fn adverts(&self, source: IpAddr, priority: u8) -> Vec<(IpAddr, Vec<u8>)> {
        let advert = Advert {
            version: self.vrrp.version,
            vrid: self.vrrp.vrid,
            priority,
            interval: self.vrrp.interval,
            addresses: self.vrrp.addresses.iter().map(|a| a.ip).collect(),
        };
        let group: IpAddr = match source {
            IpAddr::V4(_) => GROUP_V4.into(),
            IpAddr::V6(_) => GROUP_V6.into(),
        };
        let group = [group];
        let to: &[IpAddr] = match self.vrrp.unicast.is_empty() {
            true => &group,
            false => &self.vrrp.unicast,
        };
        let to = to.iter();
        to.map(|to| (*to, advert.encode(source, *to, self.sum)))
            .collect()
    }

    /// What somebody else would send to say that we are gone: interface, source, destination,
    /// bytes.
    pub fn farewells(&self) -> Vec<(u32, IpAddr, IpAddr, Vec<u8>)> {
        let Some(mouth) = &self.mouth else {
            return Vec::new();
        };
        let all = self.adverts(mouth.source, 0).into_iter();
        all.map(|(to, bytes)| (mouth.link, mouth.source, to, bytes))
            .collect()
    }

    /// The interface that has the addresses: the section's, or one of their own.
    pub fn home(&self) -> Option<&Link> {
        match self.vrrp.virtual_mac {
            true => self.own_link.as_ref(),
            false => self.link.as_ref(),
        }
    }

    /// Puts the addresses on their interface, but for those that are there already, and says what
    /// went wrong.
    pub fn add_addresses(&mut self, netlink: &mut Netlink) -> Vec<String> {
        let Some(base) = &self.link else {
            return Vec::new();
        };
        let mut wrong = Vec::new();
        if self.vrrp.virtual_mac && self.own_link.is_none() {
            match netlink.add_virtual_mac(&self.vrrp, base) {
                Ok(link) => self.own_link = Some(link),
                Err(e) => wrong.push(format!(
                    "cannot make the interface of the virtual hardware address on {}: {e}",
                    base.name
                )),
            }
        }
        let Some(home) = self.home().cloned() else {
            return wrong;
        };
        for address in &self.vrrp.addresses {
            if home.addresses.iter().any(|a| a.ip == address.ip) || self.added.contains(address) {
                continue;
            }
            match netlink.add(home.index, *address) {
                Ok(()) => self.added.push(*address),
                // Somebody else has added it in the meantime: it is theirs.
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
                Err(e) => wrong.push(format!("cannot add {address} to {}: {e}", home.name)),
            }
        }
        wrong
    }

    /// Takes the addresses that were added from their interface, those that `keep` does not name.
    pub fn remove_addresses(
        &mut self,
        netlink: &mut Netlink,
        keep: impl Fn(&VirtualAddress) -> bool,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        for address in std::mem::take(&mut self.added) {
            if keep(&address) {
                self.added.push(address);
                continue;
            }
            let Some(home) = self.home() else { continue };
            match netlink.remove(home.index, address) {
                Ok(()) => {}
                Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {}
                Err(e) => wrong.push(format!("cannot remove {address} from {}: {e}", home.name)),
            }
        }
        wrong
    }

    /// Removes the interface of the virtual hardware address, and says what went wrong.
    pub fn remove_own_link(&mut self, netlink: &mut Netlink) -> Option<String> {
        let link = self.own_link.take()?;
        let e = netlink.remove_virtual_mac(link.index).err()?;
        Some(format!("cannot remove interface {}: {e}", link.name))
    }

    /// The routes and rules that it has while it is active.
    pub fn marked(&self) -> Vec<Marked> {
        Marked::all_of(&self.vrrp, self.link.as_ref().map(|l| l.index))
    }

    /// Sets the routes and rules of the section, and says what went wrong.
    pub fn add_routes(&self, netlink: &mut Netlink) -> Vec<String> {
        if self.link.is_none() {
            return Vec::new();
        }
        let mut wrong = Vec::new();
        for one in self.marked() {
            if let Err(e) = netlink.set(&one) {
                wrong.push(format!("cannot set {one} on {}: {e}", self.vrrp.interface));
            }
        }
        wrong
    }

    /// Removes routes and rules that are ours, and says what went wrong. Routes go with their
    /// interface, rules stay.
    pub fn remove_routes(&self, netlink: &mut Netlink, marked: &[Marked]) -> Vec<String> {
        let mut wrong = Vec::new();
        for one in marked {
            if let Err(e) = netlink.unset(one) {
                wrong.push(format!(
                    "cannot remove {one} on {}: {e}",
                    self.vrrp.interface
                ));
            }
        }
        wrong
    }

    /// Tells the link who has the addresses.
    pub fn announce(&mut self, frames: &Frames) {
        let Some(link) = &self.link else { return };
        let mac = self.own_link.as_ref().unwrap_or(link).mac;
        for address in &self.vrrp.addresses {
            for frame in wire::announce::frames(address.ip, mac) {
                // The link may have gone down just now: it is announced again when it is back.
                let _ = frames.send(link.index, &frame);
            }
        }
        self.counters.announced += 1;
    }

    /// Whether something may be said now that was perhaps said just before.
    pub fn may_say(&mut self, what: &str, now: Instant) -> bool {
        self.said.retain(|(_, at)| now < *at + QUIET);
        if self.said.iter().any(|(said, _)| said == what) || self.said.len() >= 64 {
            return false;
        }
        self.said.push((what.to_string(), now));
        true
    }

    /// Counts a change of state.
    pub fn changed(&mut self, to: State, cause: Cause, now: Instant) {
        self.since = (now, cause);
        match to {
            State::Initialize => self.counters.initialize += 1,
            State::Backup => self.counters.backup += 1,
            State::Active => self.counters.active += 1,
        }
    }
}

/// Where adverts come from: what the section says, or the first address of the interface that is
/// not virtual; over IPv6 its link-local address (RFC 9568 section 5.1.2.1).
pub fn source_of(vrrp: &Vrrp, link: &Link) -> Result<IpAddr, String> {
    let wide = vrrp.is_ipv6();
    let on_link = link.addresses.iter().filter(|a| a.usable && !a.ours);
    let mut candidates = on_link
        .filter(|a| a.ip.is_ipv6() == wide)
        .filter(|a| !matches!(a.ip, IpAddr::V6(ip) if !ip.is_unicast_link_local()));
    if let Some(source) = vrrp.source {
        let there = link.addresses.iter().any(|a| a.ip == source && a.usable);
        return match there {
            true => Ok(source),
            false => Err(format!("'source {source}' is no address of {}", link.name)),
        };
    }
    let own = |ip: IpAddr| vrrp.addresses.iter().any(|a| a.ip == ip) && vrrp.priority != 255;
    let found = candidates.find(|a| !own(a.ip)).map(|a| a.ip);
    found.ok_or_else(|| match wide {
        true => format!(
            "{} has no link-local address of IPv6 to send from",
            link.name
        ),
        false => format!("{} has no address of IPv4 to send from", link.name),
    })
}
