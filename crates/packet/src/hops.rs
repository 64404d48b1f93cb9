//! The ways of health checks through firewalls: for each next hop whose `addr` lies beyond it, a routing
//! table of its own, which connections with its mark look into.
//!
//! Everything that we add carries our number as its origin, so that what a process before has left
//! is found and taken away.

use crate::netlink::Netlink;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

/// Who added a rule or a route (`RTPROT_…`); below are the kernel's own and those of routing daemons.
const ORIGIN: u8 = 109;
/// Before the rule of the main table.
const PRIORITY: u32 = 1000;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;

const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_TABLE: u16 = 15;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_PROTOCOL: u16 = 21;

/// One next hop's way: what is marked goes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// The mark of connections, and the number of the table.
    pub mark: u32,
    /// The next hop.
    pub via: IpAddr,
    /// The interface that it is behind.
    pub ifindex: u32,
}

/// The rules and routes that are ours.
pub struct Hops {
    netlink: Netlink,
    wanted: BTreeSet<Hop>,
}

impl Hops {
    /// Takes away what a process before has left.
    pub fn open() -> io::Result<Hops> {
        let mut hops = Hops {
            netlink: Netlink::strict()?,
            wanted: BTreeSet::new(),
        };
        hops.clear()?;
        Ok(hops)
    }

    /// Takes everything of ours away.
    pub fn clear(&mut self) -> io::Result<()> {
        for v6 in [false, true] {
            for mark in self.rules(v6)? {
                self.rule(v6, mark, false)?;
            }
            for hop in self.routes(v6)? {
                self.route(hop, false)?;
            }
        }
        self.wanted.clear();
        Ok(())
    }

    /// Brings rules and routes to what is wanted; `look` has the kernel asked for those that are gone with
    /// their interface.
    pub fn set(&mut self, wanted: BTreeSet<Hop>, look: bool) -> io::Result<()> {
        if wanted == self.wanted && (!look || wanted.is_empty()) {
            return Ok(());
        }
        for v6 in [false, true] {
            let of = |h: &&Hop| h.via.is_ipv6() == v6;
            let marks: BTreeSet<u32> = wanted.iter().filter(of).map(|h| h.mark).collect();
            let (rules, routes) = (self.rules(v6)?, self.routes(v6)?);
            for mark in rules.difference(&marks) {
                self.rule(v6, *mark, false)?;
            }
            for hop in routes.iter().filter(|h| !wanted.contains(h)) {
                self.route(*hop, false)?;
            }
            for hop in wanted.iter().filter(of).filter(|h| !routes.contains(h)) {
                self.route(*hop, true)?;
            }
            for mark in marks.difference(&rules) {
                self.rule(v6, *mark, true)?;
            }
        }
        self.wanted = wanted;
        Ok(())
    }

    fn rules(&mut self, v6: bool) -> io::Result<BTreeSet<u32>> {
        let found = self.netlink.dump(RTM_GETRULE, &head(v6, 0, 0))?;
        let ours = found
            .iter()
            .filter(|m| m.bytes(FRA_PROTOCOL) == Some(&[ORIGIN]));
        Ok(ours.filter_map(|m| m.number(FRA_FWMARK)).collect())
    }

    fn routes(&mut self, v6: bool) -> io::Result<BTreeSet<Hop>> {
        let found = self.netlink.dump(RTM_GETROUTE, &head(v6, ORIGIN, 0))?;
        let ours = found.iter().filter(|m| m.fixed().get(5) == Some(&ORIGIN));
        let hop = |m: &crate::netlink::Message| {
            Some(Hop {
                mark: m.number(RTA_TABLE)?,
                via: m.address(RTA_GATEWAY)?,
                ifindex: m.number(RTA_OIF)?,
            })
        };
        Ok(ours.filter_map(hop).collect())
    }

    fn rule(&mut self, v6: bool, mark: u32, there: bool) -> io::Result<()> {
        let kind = if there { RTM_NEWRULE } else { RTM_DELRULE };
        // FR_ACT_TO_TBL.
        let words = [
            (FRA_PRIORITY, PRIORITY.to_ne_bytes().to_vec()),
            (FRA_FWMARK, mark.to_ne_bytes().to_vec()),
            (FRA_TABLE, mark.to_ne_bytes().to_vec()),
            (FRA_PROTOCOL, vec![ORIGIN]),
        ];
        self.netlink.tell(kind, there, &head(v6, 0, 1), &words)
    }

    fn route(&mut self, hop: Hop, there: bool) -> io::Result<()> {
        let kind = if there { RTM_NEWROUTE } else { RTM_DELROUTE };
        let via = match hop.via {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let words = [
            (RTA_TABLE, hop.mark.to_ne_bytes().to_vec()),
            (RTA_GATEWAY, via),
            (RTA_OIF, hop.ifindex.to_ne_bytes().to_vec()),
        ];
        // RTN_UNICAST.
        self.netlink
            .tell(kind, there, &head(hop.via.is_ipv6(), ORIGIN, 1), &words)
    }
}

/// `struct rtmsg` and `struct fib_rule_hdr`, which begin alike: the family, lengths, the table where
/// its number is small, the origin of routes, and the action.
fn head(v6: bool, origin: u8, action: u8) -> [u8; 12] {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    [family as u8, 0, 0, 0, 0, origin, 0, action, 0, 0, 0, 0]
}
