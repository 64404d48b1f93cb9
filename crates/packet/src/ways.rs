//! The ways to servers: which interface, whom to hand packets to on its link. Kept up to date, so
//! that the programs never have to ask.

use crate::abi::{self, Address, Hop};
use crate::netlink::{Changes, Link, NUD_STALE, Neighbours, Netlink, Route, USABLE};
use crate::plan::Machine;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;

/// Seconds after which a neighbour that the kernel has not heard of lately is looked for again.
const REFRESH: u64 = 15;

/// What is known of links and neighbours.
pub struct Ways {
    netlink: Netlink,
    changes: Changes,
    /// Interfaces by number.
    pub links: BTreeMap<u32, Link>,
    /// Addresses and names of this machine.
    pub machine: Machine,
    /// Addresses of this machine, each with how many bits name its network.
    networks: Vec<(IpAddr, u8)>,
    neighbours: Neighbours,
    routes: HashMap<IpAddr, Option<Route>>,
    /// Counts what may have changed the way of answers.
    pub epoch: u32,
    round: u64,
}

impl Ways {
    /// Looks around for the first time.
    pub fn new(epoch: u32) -> io::Result<Ways> {
        let mut ways = Ways {
            changes: Changes::new()?,
            netlink: Netlink::new()?,
            links: BTreeMap::new(),
            machine: Machine::default(),
            networks: Vec::new(),
            neighbours: HashMap::new(),
            routes: HashMap::new(),
            epoch,
            round: 0,
        };
        ways.look_at_links()?;
        ways.neighbours = ways.netlink.neighbours()?;
        Ok(ways)
    }

    fn look_at_links(&mut self) -> io::Result<()> {
        let links = self.netlink.links()?;
        let addresses = self.netlink.addresses()?;
        self.machine = Machine {
            interfaces: links.iter().map(|l| (l.name.clone(), l.index)).collect(),
            addresses: addresses.iter().map(|(ip, _, of)| (*ip, *of)).collect(),
        };
        self.networks = addresses.iter().map(|(ip, bits, _)| (*ip, *bits)).collect();
        self.links = links.into_iter().map(|l| (l.index, l)).collect();
        Ok(())
    }

    /// Looks again, about once a second; whether links, addresses or routes have changed.
    pub fn refresh(&mut self) -> io::Result<bool> {
        self.round += 1;
        let changed = self.changes.any();
        if changed {
            self.look_at_links()?;
            self.routes.clear();
        }
        // Room that was found out holds for a while only, and no word comes of its end.
        self.routes
            .retain(|_, route| route.is_none_or(|r| r.mtu.is_none()));
        let now = self.netlink.neighbours()?;
        let moved = self.neighbours.iter().any(|(who, (mac, _))| {
            now.get(who)
                .is_some_and(|(other, state)| other != mac && state & USABLE != 0)
        });
        self.neighbours = now;
        if changed || moved {
            self.epoch = self.epoch.wrapping_add(1) & 0x7fff_ffff;
        }
        Ok(changed)
    }

    /// Looks for a neighbour that packets wait for.
    pub fn look_for(&mut self, ip: IpAddr, link: u32) {
        // What fails here is asked for again with the next packet.
        let _ = self.netlink.look_for(link, ip);
    }

    fn route(&mut self, to: IpAddr) -> Option<Route> {
        if let Some(known) = self.routes.get(&to) {
            return *known;
        }
        let route = self.netlink.route(to).ok().flatten();
        self.routes.insert(to, route);
        route
    }

    /// The interface that a server is behind.
    pub fn interface_to(&mut self, to: IpAddr) -> Option<u32> {
        self.route(to).filter(|r| !r.local).map(|r| r.ifindex)
    }

    /// The link that a server is behind, and the bytes that a packet may have on the way to it.
    pub fn room_to(&mut self, to: IpAddr) -> Option<(&Link, u32)> {
        let route = self.route(to).filter(|r| !r.local)?;
        let link = self.links.get(&route.ifindex)?;
        Some((link, route.mtu_on(link)))
    }

    /// The neighbour's address on the link. It is looked for where it is not known or was not heard of
    /// for long.
    fn neighbour(&mut self, ifindex: u32, next: IpAddr) -> Option<[u8; 6]> {
        let known = self.neighbours.get(&(ifindex, next)).copied();
        let usable = known.filter(|(_, state)| state & USABLE != 0);
        let stale = usable.is_some_and(|(_, state)| state & NUD_STALE != 0);
        if usable.is_none() || stale && self.round.is_multiple_of(REFRESH) {
            // What fails here fails again next second, and the counter of packets says so.
            let _ = self.netlink.look_for(ifindex, next);
        }
        usable.map(|(mac, _)| mac)
    }

    /// The way to a server, and our own address towards it.
    pub fn to(&mut self, to: IpAddr, vlan: u16) -> (Hop, Address) {
        // Sessions are known by their VLAN even before the server is found.
        let unknown = Hop {
            vlan,
            ..Hop::default()
        };
        let Some(route) = self.route(to).filter(|r| !r.local) else {
            return (unknown, Address::default());
        };
        let local = route.source.map_or([0; 16], abi::address);
        let mac = self.neighbour(route.ifindex, route.next);
        let (Some(mac), Some(link)) = (mac, self.links.get(&route.ifindex)) else {
            return (unknown, local);
        };
        // Who has an interface for the VLAN sends by the one that it is on, as the programs do.
        let (ifindex, own) = link.vlan.unwrap_or((link.index, 0));
        let hop = Hop {
            dst: mac,
            vlan: if vlan == 0 { own } else { vlan },
            src: link.mac,
            mtu: u16::try_from(route.mtu_on(link)).unwrap_or(u16::MAX),
            ifindex,
        };
        (hop, local)
    }

    /// Of the ports of a bridge the one that the kernel sends from and hears at: the first that has an
    /// address, else the first.
    pub fn home(&self, ports: &[u32]) -> Option<u32> {
        let has = |port: &&u32| self.machine.addresses.iter().any(|(_, of)| of == *port);
        ports.iter().find(has).or(ports.first()).copied()
    }

    /// The way to a server behind one of these ports; `at` says where the owner of an address on the
    /// link was met.
    pub fn across(
        &mut self,
        to: IpAddr,
        vlan: u16,
        ports: &[u32],
        at: impl Fn([u8; 6]) -> Option<u32>,
    ) -> Hop {
        let unknown = Hop {
            vlan,
            ..Hop::default()
        };
        let route = self.route(to).filter(|r| ports.contains(&r.ifindex));
        // Without an address of its own the machine asks all the same.
        let (from, next) = match route {
            Some(route) => (route.ifindex, route.next),
            None => match self.home(ports) {
                Some(home) => (home, to),
                None => return unknown,
            },
        };
        let Some(mac) = self.neighbour(from, next) else {
            return unknown;
        };
        let port = if ports.len() > 1 { at(mac) } else { Some(from) };
        let port = port.filter(|p| ports.contains(p));
        let Some(link) = port.and_then(|p| self.links.get(&p)) else {
            let _ = self.netlink.look_for(from, next);
            return unknown;
        };
        if !link.carrier {
            return unknown;
        }
        Hop {
            dst: mac,
            vlan,
            src: link.mac,
            mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
            ifindex: link.index,
        }
    }

    /// Whether both are in one of the networks that this machine is in.
    pub fn are_neighbours(&self, a: IpAddr, b: IpAddr) -> bool {
        let within = |own: &IpAddr, bits: &u8, other: IpAddr| {
            let number = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
                IpAddr::V6(ip) => (u128::from(ip), 128),
            };
            let ((own, width), (other, of)) = (number(*own), number(other));
            width == of && (own ^ other).leading_zeros() >= u32::from(*bits)
        };
        let mut networks = self.networks.iter().filter(|(_, bits)| *bits != 0);
        networks.any(|(own, bits)| within(own, bits, a) && within(own, bits, b))
    }

    /// Whom packets to a server are handed to.
    pub fn next_to(&mut self, to: IpAddr) -> IpAddr {
        self.route(to).map_or(to, |r| r.next)
    }
}
