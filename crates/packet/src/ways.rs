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
        self.machine = Machine {
            interfaces: links.iter().map(|l| (l.name.clone(), l.index)).collect(),
            addresses: self.netlink.addresses()?,
        };
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

    /// The way to a server, and our own address towards it. The neighbour is looked for where it is
    /// not known or was not heard of for long.
    pub fn to(&mut self, to: IpAddr) -> (Hop, Address) {
        let Some(route) = self.route(to).filter(|r| !r.local) else {
            return Default::default();
        };
        let local = route.source.map_or([0; 16], abi::address);
        let known = self.neighbours.get(&(route.ifindex, route.next)).copied();
        let usable = known.filter(|(_, state)| state & USABLE != 0);
        let stale = usable.is_some_and(|(_, state)| state & NUD_STALE != 0);
        if usable.is_none() || stale && self.round.is_multiple_of(REFRESH) {
            // What fails here fails again next second, and the counter of packets says so.
            let _ = self.netlink.look_for(route.ifindex, route.next);
        }
        let (Some((mac, _)), Some(link)) = (usable, self.links.get(&route.ifindex)) else {
            return (Hop::default(), local);
        };
        let hop = Hop {
            dst: mac,
            vlan: 0,
            src: link.mac,
            mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
            ifindex: route.ifindex,
        };
        (hop, local)
    }
}
