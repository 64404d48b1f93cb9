//! A hardware address that moves with the virtual ones (RFC 9568 section 7.3): on the active
//! machine an interface of its own stands on that of the section, with the virtual router's hardware
//! address and the virtual addresses (a macvlan; in bridge mode, because in private mode the adverts
//! of another active router, which come from the same address, would not reach the interface
//! below). It is there only while this machine is active: a backup must not take frames for the
//! virtual router.

use crate::link::{Link, Netlink};
use model::Vrrp;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};
use std::io;
use wire::vrrp::virtual_mac;

/// The name of a section's interface on that of number `base`, within the 15 letters of a name.
pub fn name(vrrp: &Vrrp, base: u32) -> String {
    let family = if vrrp.is_ipv6() { 6 } else { 4 };
    format!("vrrp{family}.{}.{base}", vrrp.vrid)
}

/// What our interfaces carry as their alias: other programs name theirs much as we do, and give them
/// the same hardware addresses.
const ALIAS: &str = "mulgil";

/// Whether an interface is one that a process of ours has made: by its alias and its kind, and
/// because name, hardware address and the interface below say the same.
pub fn is_ours(message: &LinkMessage) -> bool {
    let (mut name, mut mac, mut base, mut alias, mut macvlan) = (None, None, None, None, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.as_str()),
            LinkAttribute::Address(bytes) => mac = Some(bytes.as_slice()),
            LinkAttribute::Link(index) => base = Some(*index),
            LinkAttribute::IfAlias(text) => alias = Some(text.as_str()),
            LinkAttribute::LinkInfo(all) => {
                macvlan = all.contains(&LinkInfo::Kind(InfoKind::MacVlan));
            }
            _ => {}
        }
    }
    let Some((ipv6, vrid, below)) = name.and_then(read) else {
        return false;
    };
    alias == Some(ALIAS)
        && macvlan
        && base == Some(below)
        && mac == Some(virtual_mac(vrid, ipv6).as_slice())
}

/// Reads what [`name`] wrote: whether it is IPv6, the virtual router, the interface below.
fn read(name: &str) -> Option<(bool, u8, u32)> {
    let (family, rest) = name.strip_prefix("vrrp")?.split_once('.')?;
    let (vrid, base) = rest.split_once('.')?;
    let ipv6 = match family {
        "4" => false,
        "6" => true,
        _ => return None,
    };
    Some((ipv6, vrid.parse().ok()?, base.parse().ok()?))
}

impl Netlink {
    /// Makes the interface of a section on that of number `base`, up, without addresses.
    pub fn add_virtual_mac(&mut self, vrrp: &Vrrp, base: &Link) -> io::Result<Link> {
        let name = name(vrrp, base.index);
        let mac = virtual_mac(vrrp.vrid, vrrp.is_ipv6());
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.clone()),
            LinkAttribute::Link(base.index),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::MacVlan),
                LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(
                    MacVlanMode::Bridge,
                )])),
            ]),
        ];
        let new = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.ask(RouteNetlinkMessage::NewLink(message), new) {
            // A start before this one has left it.
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {
                if !self.find(&name)?.virtual_mac {
                    return Err(io::Error::other(format!(
                        "{name} is there and is not ours: ip link del {name}, or give it another name"
                    )));
                }
            }
            done => drop(done?),
        }
        let index = self.find(&name)?.index;
        // The kernel takes no alias for an interface that it makes.
        let mut mark = LinkMessage::default();
        mark.header.index = index;
        mark.attributes = vec![LinkAttribute::IfAlias(ALIAS.into())];
        self.ask(RouteNetlinkMessage::SetLink(mark), NLM_F_ACK)?;
        settle(vrrp, &base.name, &name)?;
        let mut up = LinkMessage::default();
        up.header.index = index;
        up.header.flags = LinkFlags::Up;
        up.header.change_mask = LinkFlags::Up;
        self.ask(RouteNetlinkMessage::SetLink(up), NLM_F_ACK)?;
        Ok(Link {
            index,
            name,
            mac,
            up: true,
            virtual_mac: true,
            addresses: Vec::new(),
        })
    }

    /// Removes an interface of ours; one that is gone already is no error.
    pub fn remove_virtual_mac(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        match self.ask(RouteNetlinkMessage::DelLink(message), NLM_F_ACK) {
            Err(e) if e.raw_os_error() != Some(libc::ENODEV) => Err(e),
            _ => Ok(()),
        }
    }

    fn find(&mut self, name: &str) -> io::Result<Link> {
        let found = self.links()?.into_iter().find(|l| l.name == name);
        found.ok_or_else(|| io::Error::other(format!("there is no interface {name}")))
    }
}

/// What the kernel must know of it, and of the interface below.
fn settle(vrrp: &Vrrp, base: &str, name: &str) -> io::Result<()> {
    set("ipv4", name, "arp_ignore", "1")?;
    if vrrp.is_ipv6() {
        // Its own link-local address would be the same on both machines.
        set("ipv6", name, "addr_gen_mode", "1")?;
        return set("ipv6", name, "accept_ra", "0");
    }
    set("ipv6", name, "disable_ipv6", "1")?;
    // The way back is by the interface below.
    set("ipv4", name, "rp_filter", "2")?;
    // Each answers for its own addresses only, and asks in its own name, or clients would see two
    // hardware addresses.
    set("ipv4", base, "arp_ignore", "1")?;
    set("ipv4", base, "arp_announce", "2")
}

fn set(family: &str, link: &str, word: &str, value: &str) -> io::Result<()> {
    let file = format!("/proc/sys/net/{family}/conf/{link}/{word}");
    match std::fs::write(&file, value) {
        // There is no IPv6 at all.
        Err(e) if family == "ipv6" && e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io::Error::new(e.kind(), format!("{file}: {e}"))),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, mac: [u8; 6], base: u32, kind: InfoKind, alias: &str) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.into()),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::Link(base),
            LinkAttribute::IfAlias(alias.into()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]),
        ];
        message
    }

    #[test]
    fn only_what_we_have_made_is_ours() {
        let mac = |family, vrid| [0, 0, 0x5e, 0, family, vrid];
        let ours = |name, mac, base| is_ours(&message(name, mac, base, InfoKind::MacVlan, ALIAS));
        assert!(ours("vrrp4.51.2", mac(1, 51), 2));
        assert!(ours("vrrp6.255.4294967", mac(2, 255), 4_294_967));
        for (name, mac, base) in [
            // keepalived's and FRR's.
            ("vrrp.51", mac(1, 51), 2),
            ("vrrp4-2-51", mac(1, 51), 2),
            ("vrrp4.51.2", mac(2, 51), 2),
            ("vrrp4.51.2", mac(1, 52), 2),
            ("vrrp4.51.2", mac(1, 51), 3),
            ("vrrp5.51.2", mac(1, 51), 2),
            ("vrrp4.51.2.1", mac(1, 51), 2),
            ("vrrp4.300.2", mac(1, 44), 2),
            ("vrrp4.51.", mac(1, 51), 2),
            ("eth0", mac(1, 51), 2),
        ] {
            assert!(!ours(name, mac, base), "{name} {mac:?} {base}");
        }
        let name = "vrrp4.51.2";
        let plain = message(name, mac(1, 51), 2, InfoKind::MacVlan, "");
        assert!(!is_ours(&plain));
        let other = message(name, mac(1, 51), 2, InfoKind::Dummy, ALIAS);
        assert!(!is_ours(&other));
        assert!(!is_ours(&LinkMessage::default()));
    }
}
