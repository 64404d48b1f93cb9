//! Interfaces and their addresses, by netlink (rtnetlink(7)).
//!
//! Addresses that we add carry a mark (`IFA_PROTO`, Linux 5.18 and later): it tells them from
//! those that were there before, also after this process has died and been started anew.

use crate::virtual_mac;
use model::VirtualAddress;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

/// The mark of our addresses: the number of VRRP's protocol.
pub const MARK: u8 = wire::vrrp::PROTOCOL;

/// Groups of notifications: changes of links, and of addresses of both families
/// (linux/rtnetlink.h).
const GROUPS: [u32; 3] = [1, 5, 9];

/// What ends an answer: NLMSG_ERROR, NLMSG_DONE (linux/netlink.h).
const ENDS: [u16; 2] = [2, 3];

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The length of its prefix, bits.
    pub prefix: u8,
    /// Whether a process of ours added it.
    pub ours: bool,
    /// Whether it can be used: IPv6 first looks whether anybody else has it.
    pub usable: bool,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address, if it has one of 6 bytes.
    pub mac: [u8; 6],
    /// Whether it is up and has a carrier.
    pub up: bool,
    /// Whether a process of ours made it, for a virtual hardware address.
    pub virtual_mac: bool,
    /// Its addresses, in the kernel's order.
    pub addresses: Vec<Address>,
}

/// What asks the kernel, and what hears of changes.
pub struct Netlink {
    requests: Socket,
    changes: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens both sockets.
    pub fn open() -> io::Result<Netlink> {
        let mut requests = Socket::new(NETLINK_ROUTE)?;
        requests.bind_auto()?;
        requests.connect(&SocketAddr::new(0, 0))?;
        let mut changes = Socket::new(NETLINK_ROUTE)?;
        changes.bind_auto()?;
        for group in GROUPS {
            changes.add_membership(group)?;
        }
        changes.set_non_blocking(true)?;
        Ok(Netlink {
            requests,
            changes,
            sequence: 0,
        })
    }

    /// Readable when something has changed.
    pub fn changes(&self) -> RawFd {
        self.changes.as_raw_fd()
    }

    /// Takes all notifications that wait; whether there were any. One that got lost counts.
    pub fn changed(&self) -> bool {
        let mut any = false;
        loop {
            match self.changes.recv_from_full() {
                Ok(_) => any = true,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return any,
                Err(_) => return true,
            }
        }
    }

    /// Whether the kernel is to heed what a request for a list says about which entries; kernels
    /// before 4.20 list all.
    pub(crate) fn choose_strictly(&mut self, strictly: bool) {
        let _ = self.requests.set_netlink_get_strict_chk(strictly);
    }

    pub(crate) fn ask(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.requests.send(&bytes, 0)?;
        let mut found = Vec::new();
        loop {
            let (answer, _) = self.requests.recv_from_full()?;
            if take(&answer, self.sequence, &mut found)? {
                return Ok(found);
            }
        }
    }

    /// All interfaces with their addresses.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let mut all: Vec<Link> = Vec::new();
        for message in self.ask(links, NLM_F_DUMP)? {
            if let RouteNetlinkMessage::NewLink(link) = message {
                all.push(link_of(&link));
            }
        }
        let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        for message in self.ask(addresses, NLM_F_DUMP)? {
            if let RouteNetlinkMessage::NewAddress(message) = message
                && let Some(link) = all.iter_mut().find(|l| l.index == message.header.index)
                && let Some(address) = address_of(&message)
            {
                link.addresses.push(address);
            }
        }
        Ok(all)
    }

    /// Adds an address with our mark. One of IPv6 is usable at once: that nobody else has it is
    /// what the election is about.
    pub fn add(&mut self, link: u32, address: VirtualAddress) -> io::Result<()> {
        let mut message = message_of(link, address);
        message
            .attributes
            .push(AddressAttribute::Protocol(AddressProtocol::Other(MARK)));
        if address.ip.is_ipv6() {
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let request = RouteNetlinkMessage::NewAddress(message);
        self.ask(request, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)
            .map(|_| ())
    }

    /// Removes an address.
    pub fn remove(&mut self, link: u32, address: VirtualAddress) -> io::Result<()> {
        let request = RouteNetlinkMessage::DelAddress(message_of(link, address));
        self.ask(request, NLM_F_ACK).map(|_| ())
    }
}

/// Takes what answers the request of a number; whether that is the end of the answer.
fn take(mut rest: &[u8], sequence: u32, found: &mut Vec<RouteNetlinkMessage>) -> io::Result<bool> {
    let unread = |e| io::Error::other(format!("netlink: {e}"));
    while !rest.is_empty() {
        let header = NetlinkBuffer::new_checked(rest).map_err(unread)?;
        let one = rest.get(..header.length() as usize).unwrap_or(rest);
        // Messages are aligned to four bytes.
        rest = rest
            .get(one.len().next_multiple_of(4)..)
            .unwrap_or_default();
        if header.sequence_number() != sequence {
            continue;
        }
        match NetlinkMessage::deserialize(one).map(|m| m.payload) {
            // A list may end with what has cut it short.
            Ok(NetlinkPayload::Done(end)) if end.code < 0 => {
                return Err(io::Error::from_raw_os_error(end.code.saturating_neg()));
            }
            Ok(NetlinkPayload::Done(_)) => return Ok(true),
            Ok(NetlinkPayload::Error(e)) if e.code.is_some() => return Err(e.to_io()),
            Ok(NetlinkPayload::Error(_)) => return Ok(true),
            Ok(NetlinkPayload::InnerMessage(inner)) => found.push(inner),
            Ok(_) => {}
            Err(e) if ENDS.contains(&header.message_type()) => return Err(unread(e)),
            // A newer kernel may list what cannot be read here: the others count all the same.
            Err(_) => {}
        }
    }
    Ok(false)
}

fn message_of(link: u32, address: VirtualAddress) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = match address.ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.prefix_len = address.prefix;
    message.header.index = link;
    let link_local = matches!(address.ip, IpAddr::V6(a) if a.is_unicast_link_local());
    message.header.scope = match link_local {
        true => AddressScope::Link,
        false => AddressScope::Universe,
    };
    message.attributes.push(AddressAttribute::Local(address.ip));
    message
        .attributes
        .push(AddressAttribute::Address(address.ip));
    message
}

fn link_of(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: [0; 6],
        up: message
            .header
            .flags
            .contains(LinkFlags::Up | LinkFlags::Running),
        virtual_mac: virtual_mac::is_ours(message),
        addresses: Vec::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().unwrap_or_default(),
            _ => {}
        }
    }
    link
}

fn address_of(message: &AddressMessage) -> Option<Address> {
    let (mut local, mut address, mut ours) = (None, None, false);
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::Protocol(mark) => ours = u8::from(*mark) == MARK,
            _ => {}
        }
    }
    Some(Address {
        ip: local.or(address)?,
        prefix: message.header.prefix_len,
        ours,
        usable: !flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = 16 + payload.len() as u32;
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn address(sequence: u32) -> Vec<u8> {
        let address = VirtualAddress::read("203.0.113.10/24").expect("an address");
        let mut message =
            NetlinkMessage::from(RouteNetlinkMessage::NewAddress(message_of(3, address)));
        message.header.sequence_number = sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    #[test]
    fn an_answer_is_read_to_its_end_whatever_is_in_it() {
        let taken = |packets: &[Vec<u8>]| {
            let mut found = Vec::new();
            take(&packets.concat(), 7, &mut found).map(|end| (end, found.len()))
        };
        let done = |code: i32| packet(3, 7, &code.to_ne_bytes());
        // An address message (RTM_NEWADDR, 20) that is cut off.
        let odd = packet(20, 7, &[2, 24]);
        assert_eq!(taken(&[]).ok(), Some((false, 0)));
        assert_eq!(taken(&[address(7)]).ok(), Some((false, 1)));
        assert_eq!(
            taken(&[address(6), address(7), done(0)]).ok(),
            Some((true, 1))
        );
        assert_eq!(
            taken(&[address(7), odd, address(7), done(0)]).ok(),
            Some((true, 2))
        );
        let cut = taken(&[address(7), done(-libc::EINVAL)]).expect_err("an error");
        assert_eq!(cut.raw_os_error(), Some(libc::EINVAL));
        // What ends it must be read; nor is there anything after half a message.
        assert!(taken(&[packet(2, 7, &[0])]).is_err());
        assert!(taken(&[address(7), vec![1, 2, 3]]).is_err());
    }
}
