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

/// Whether an interface is one of ours, by its name and its hardware address.
pub fn is_ours(link: &Link) -> bool {
    let [a, b, c, d, e, _] = link.mac;
    link.name.starts_with("vrrp") && [a, b, c, d] == [0, 0, 0x5e, 0] && (e == 1 || e == 2)
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
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
            done => drop(done?),
        }
        settle(vrrp, &base.name, &name)?;
        let index = self.index_of(&name)?;
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

    fn index_of(&mut self, name: &str) -> io::Result<u32> {
        let found = self.links()?.into_iter().find(|l| l.name == name);
        found
            .map(|l| l.index)
            .ok_or_else(|| io::Error::other(format!("there is no interface {name}")))
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
