//! Interfaces: where programs are attached, which are ports of bridges, which VLANs are ours there.

use super::{Plane, set};
use crate::abi::{self, Lane, Port, vip};
use crate::attach::{self, Wanted, Way};
use crate::copies::Sides;
use crate::device::{self, Needs, Offloads};
use crate::kernel::Error;
use crate::plan::Plan;
use model::PacketAttach;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl Plane {
    /// Takes away what another version has left: no earlier than right before ours is attached, as a start
    /// that fails before leaves the other process serving.
    pub(super) fn remove_others(&mut self, faults: &mut Vec<String>) {
        match attach::remove_others(std::mem::take(&mut self.others)) {
            Ok(0) => {}
            Ok(_) => faults.push("another version of mulgil stood here, whose tables are laid out otherwise: its sessions are over".into()),
            Err(e) => faults.push(format!("what another version of mulgil has left stays: {e}")),
        }
    }

    /// Attaches the programs where they are not yet as they should be. What did not work is tried again at
    /// each look, which is when it is said.
    pub(super) fn attach(&mut self, look: bool, faults: &mut Vec<String>) {
        let wish = self
            .generation
            .as_ref()
            .map_or(PacketAttach::Auto, |g| g.config.global.tuning.packet_attach);
        let (mut wanted, mut reasons) = (BTreeMap::new(), BTreeMap::new());
        for (ifindex, needs) in self.interfaces() {
            let Some(link) = self.ways.links.get(&ifindex) else {
                continue;
            };
            let keeps_tags = needs.tags && Offloads::of(&link.name).takes_tags;
            let (ways, reason) =
                device::ways(link, self.ways.links.values(), needs, wish, keeps_tags);
            let sent = if needs == Needs::default() {
                Vec::new()
            } else if wish == PacketAttach::Clsact {
                vec![Way::Clsact]
            } else {
                vec![Way::Tcx, Way::Clsact]
            };
            let name = link.name.clone();
            reasons.insert(ifindex, reason);
            wanted.insert(ifindex, Wanted { name, ways, sent });
        }
        if wanted == self.wanted && (!look || self.unattached.is_empty()) {
            return;
        }
        let (stands, failed) = attach::attach(&mut self.kernel, &self.pins, &wanted);
        let stands = stands.into_iter().map(|(ifindex, way)| {
            let reason = reasons.get(&ifindex).copied().unwrap_or_default();
            (ifindex, (way, reason))
        });
        self.stands = stands.collect();
        self.unattached = failed.into_iter().map(|e| e.0).collect();
        faults.extend_from_slice(&self.unattached);
        self.wanted = wanted;
    }

    /// One line for each interface: where its program stands.
    pub fn attached(&self) -> String {
        let line = |(ifindex, (way, reason)): (&u32, &(Way, &str))| {
            let name = self.wanted.get(ifindex).map_or("?", |w| w.name.as_str());
            match *reason {
                "" => format!("interface {name}: {way}\n"),
                reason => format!("interface {name}: {way}; {reason}\n"),
            }
        };
        self.stands.iter().map(line).collect()
    }

    /// VLANs that the machine takes part in by the programs: those of addresses and servers that have no
    /// interface of their own.
    fn lanes(&mut self) -> BTreeSet<Lane> {
        let mut lanes = BTreeSet::new();
        for lane in &self.plan.lanes {
            let all = self.ways.links.values().filter(|l| l.usable);
            let on = all.filter(|l| lane.ifindex == 0 || lane.ifindex == l.index);
            lanes.extend(on.map(|l| Lane {
                ifindex: l.index,
                vlan: lane.vlan,
            }));
        }
        for target in self.plan.targets.iter().filter(|t| t.vlan != 0) {
            let routed = target.ip.and_then(|ip| self.ways.interface_to(ip));
            let on = target.ports.iter().copied();
            let on = on.chain(routed.filter(|_| target.ports.is_empty()));
            let vlan = target.vlan.into();
            lanes.extend(on.map(|ifindex| Lane { ifindex, vlan }));
        }
        for (ifindex, number) in self.ways.links.values().filter_map(|l| l.vlan) {
            let vlan = number.into();
            lanes.remove(&Lane { ifindex, vlan });
        }
        lanes
    }

    /// Where those clients are who no route leads back to, for sessions of another machine.
    pub(super) fn sides(&self, plan: &Plan) -> Sides {
        let mut sides = Sides::default();
        for (key, planned) in &plan.services {
            let vlan = plan
                .vips
                .get(&key.address)
                .map_or(0, |v| v >> vip::VLAN_SHIFT);
            if vlan == 0 && planned.service.forward != abi::forward::BRIDGE {
                continue;
            }
            let named = planned.service.ifindex.iter().filter(|i| **i != 0);
            let ports = named.filter_map(|i| Some((*i, self.ways.links.get(i)?.mac)));
            sides.ports.insert(key.address, ports.collect());
        }
        if !sides.ports.is_empty() {
            let servers = self.written.servers.iter();
            sides.servers = servers.map(|(at, s)| (*at, s.hop.ifindex)).collect();
        }
        sides
    }

    /// VLANs in which our own addresses are told of: virtual ones are in theirs, others where the servers
    /// are whose network they are in.
    fn announced(&mut self) -> BTreeMap<abi::Address, u32> {
        let targets = self.plan.targets.iter().filter(|t| t.vlan != 0);
        let next_hops: Vec<_> = targets
            .filter_map(|t| Some((self.ways.next_to(t.ip?), u32::from(t.vlan))))
            .collect();
        let own = self.ways.machine.addresses.iter().map(|(ip, _)| *ip);
        let own = own.chain(self.plan.shared.iter().copied());
        let vlan = |ip: IpAddr| {
            let virtually = self.plan.vips.get(&abi::address(ip));
            let virtually = virtually.map(|v| v >> vip::VLAN_SHIFT);
            let mut near = next_hops.iter();
            let near = near.find(|(next, _)| self.ways.are_neighbours(ip, *next));
            virtually
                .or(near.map(|(_, vlan)| *vlan))
                .filter(|v| *v != 0)
        };
        own.filter_map(|ip| Some((abi::address(ip), vlan(ip)?)))
            .collect()
    }

    /// What the programs must know of interfaces where frames are more than balanced.
    pub(super) fn write_links(&mut self, faults: &mut Vec<String>) -> Result<(), Error> {
        let lanes = self.lanes();
        let mut ports = BTreeMap::new();
        for (ifindex, other) in &self.plan.bridges {
            let (Some(link), Some(beyond)) =
                (self.ways.links.get(ifindex), self.ways.links.get(other))
            else {
                continue;
            };
            if !link.carrier {
                faults.push(format!(
                    "port '{}' of a bridge has no link: nothing passes",
                    link.name
                ));
            }
            let both = [(*ifindex).min(*other), (*ifindex).max(*other)];
            let port = Port {
                other: *other,
                home: self.ways.home(&both).unwrap_or(0),
                mac: link.mac,
                other_mac: beyond.mac,
                vlans: [0; abi::ASKED],
            };
            ports.insert(*ifindex, port);
        }
        for lane in &lanes {
            let mac = self.ways.links.get(&lane.ifindex).map(|l| l.mac);
            let mac = mac.unwrap_or_default();
            let port = ports.entry(lane.ifindex).or_insert(Port {
                mac,
                ..Port::default()
            });
            // Servers are looked for in theirs.
            let bound = |on| {
                self.plan.lanes.contains(&Lane {
                    ifindex: on,
                    ..*lane
                })
            };
            if !bound(lane.ifindex) && !bound(0) {
                continue;
            }
            match port.vlans.iter_mut().find(|v| **v == 0) {
                Some(free) => *free = lane.vlan as u16,
                None => faults.push(format!(
                    "interface '{}' has more than {} VLANs of 'bind' and 'snat': in VLAN {} nobody is found who has not sent anything",
                    self.ways.links.get(&lane.ifindex).map_or("?", |l| l.name.as_str()),
                    abi::ASKED,
                    lane.vlan
                )),
            }
        }
        let mut tags = self.announced();
        for target in self.plan.targets.iter().filter(|t| t.vlan != 0) {
            let Some(ip) = target.ip else { continue };
            for ip in [ip, self.ways.next_to(ip)] {
                tags.insert(abi::address(ip), u32::from(target.vlan));
            }
        }
        bring(&mut self.kernel.ports()?, &self.written.ports, &ports)?;
        bring(&mut self.kernel.tags()?, &self.written.tags, &tags)?;
        let one = |lanes: &BTreeSet<Lane>| lanes.iter().map(|l| (*l, 1)).collect();
        let mut table = self.kernel.lanes()?;
        bring(&mut table, &one(&self.written.lanes), &one(&lanes))?;
        let written = table.iter().flatten();
        let written = written.filter(|(lane, _)| lane.vlan == 0).collect();
        let links = self.ways.links.values();
        let beneath = links.filter_map(|l| {
            let own = Lane {
                ifindex: l.index,
                vlan: 0,
            };
            Some((own, l.vlan?.0))
        });
        bring(&mut table, &written, &beneath.collect())?;
        (self.written.ports, self.written.tags, self.written.lanes) = (ports, tags, lanes);
        Ok(())
    }

    /// Interfaces that packets come in by: those that `bind` names and those that servers are behind;
    /// where a `bind` names none, all that can.
    fn interfaces(&mut self) -> BTreeMap<u32, Needs> {
        let services = self.plan.services.values();
        let named = services.flat_map(|p| {
            let named = p.service.ifindex.iter().filter(|i| **i != 0);
            // Every interface, where none is named.
            let any = p.service.ifindex.iter().take(1).filter(|i| **i == 0);
            named.chain(any).copied().collect::<Vec<_>>()
        });
        let mut wanted: BTreeSet<u32> = named.collect();
        if wanted.remove(&0) {
            let all = self.ways.links.values();
            wanted.extend(
                all.filter(|l| l.usable && l.master.is_none())
                    .map(|l| l.index),
            );
        }
        let routed = self.plan.targets.iter().filter(|t| t.ports.is_empty());
        let servers: Vec<_> = routed.filter_map(|t| t.ip).collect();
        let servers = servers.into_iter();
        // Frames of a VLAN's own interface leave by the one that it is on; they come in by it.
        wanted.extend(servers.filter_map(|ip| self.ways.interface_to(ip)));
        let needs = |ifindex: &u32| Needs {
            bridge: self.plan.bridges.contains_key(ifindex),
            tags: self.written.lanes.iter().any(|l| l.ifindex == *ifindex),
        };
        wanted.into_iter().map(|i| (i, needs(&i))).collect()
    }
}

/// Brings a table from what it says to what it should say.
pub(super) fn bring<K: aya::Pod + Ord, V: aya::Pod + PartialEq>(
    table: &mut aya::maps::HashMap<&mut aya::maps::MapData, K, V>,
    from: &BTreeMap<K, V>,
    to: &BTreeMap<K, V>,
) -> Result<(), Error> {
    for (key, value) in to.iter().filter(|(k, v)| from.get(k) != Some(v)) {
        set(table.insert(key, value, 0))?;
    }
    for key in from.keys().filter(|k| !to.contains_key(k)) {
        set(table.remove(key))?;
    }
    Ok(())
}
