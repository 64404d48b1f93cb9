//! What an operator should know without asking: settings of the kernel, a table that is full or of
//! another size than the file says.

use super::Plane;
use crate::abi;
use crate::kernel::Error;
use crate::settings::{self, Asks};
use crate::tunnels;
use model::Forward;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Looks, one a second, after which a server that is not found is told of: neighbours take their time.
const LOST: u8 = 5;

impl Plane {
    /// Settings of the kernel that are not as the ways to forward need them: set where the file says so,
    /// otherwise said.
    pub(super) fn watch_settings(&mut self, faults: &mut Vec<String>) {
        let asks = self.asks();
        let wrong = settings::wrong(&asks, settings::read);
        if wrong.is_empty() {
            return;
        }
        let generation = self.generation.as_ref();
        if generation.is_some_and(|g| g.config.global.tuning.sysctl_auto) {
            faults.extend(settings::set(&wrong).err().map(|e| e.0));
            return;
        }
        faults.extend(wrong.iter().map(|w| {
            format!(
                "{} is {}: {}; run 'sysctl -w {}', or write 'sysctl auto' into 'global'",
                w.dotted(),
                w.now,
                w.why,
                w.assignment()
            )
        }));
    }

    /// What the plan asks of the kernel.
    fn asks(&mut self) -> Asks {
        let mut asks = Asks::default();
        let mut direct = false;
        let mut through = false;
        for target in &self.plan.targets {
            match target.backend.side().packets.forward {
                Forward::Nat(_) | Forward::Route => match target.ip {
                    Some(ip) if ip.is_ipv6() => asks.forward6 = true,
                    Some(_) => asks.forward4 = true,
                    None => {}
                },
                Forward::Dsr => direct = true,
                _ => {}
            }
            through |= target.is_next_hop();
        }
        let names: Vec<String> = self.wanted.values().map(|w| w.name.clone()).collect();
        if direct {
            asks.silent.extend(names.iter().cloned());
        }
        if through {
            asks.loose.extend(names);
        }
        if asks.forward4 {
            // What comes and goes by one arm is no reason to tell anybody of a shorter way.
            let tagged = self.written.lanes.iter().map(|l| l.ifindex);
            let tagged = tagged.filter_map(|i| self.wanted.get(&i));
            asks.silent.extend(tagged.map(|w| w.name.clone()));
        }
        asks
    }

    /// Servers that take sessions, and that no way leads to: without health checks nobody else notices.
    pub(super) fn watch_ways(&mut self, faults: &mut Vec<String>) {
        let mut lost = HashMap::new();
        for target in &self.plan.targets {
            let place = self.places.get(&target.identity);
            let entry = place.and_then(|at| self.written.servers.get(at));
            let is_found = entry.is_some_and(|s| s.hop.ifindex != 0);
            let takes = target.entry.flags & abi::server::TAKES != 0;
            let Some(ip) = target.ip.filter(|_| takes && !is_found) else {
                continue;
            };
            let names = (
                Arc::clone(&target.backend.name),
                Arc::clone(&target.server.name),
            );
            let looks = self
                .lost
                .get(&names)
                .map_or(1, |n: &u8| n.saturating_add(1));
            if lost.insert(names, looks).is_some() || looks < LOST {
                continue;
            }
            let next = self.ways.next_to(ip);
            let link = self.ways.room_to(ip).map(|(link, _)| link.name.clone());
            let why = match link {
                Some(link) => format!(
                    "{next} does not say its address on '{link}': see whether it is up and in the same network ('ip neighbour show dev {link}')"
                ),
                None if !target.ports.is_empty() => format!(
                    "{ip} was met behind no port of the bridge: see whether it is up and in the same network"
                ),
                None => format!("no route leads to {ip}: add one, or correct the address"),
            };
            let (backend, server) = (&target.backend.name, &target.server.name);
            faults.push(format!(
                "packets for server {backend}/{server} are dropped: {why}"
            ));
        }
        self.lost = lost;
    }

    /// Tunnels that packets of a full size do not fit into. What is known of links and routes counts: a server
    /// that is not there for a while changes nothing of it.
    pub(super) fn watch_tunnels(&mut self, faults: &mut Vec<String>) {
        let mut tight = BTreeSet::new();
        for target in &self.plan.targets {
            let forward = target.backend.side().packets.forward;
            let Some((ip, headers)) = target
                .ip
                .and_then(|ip| Some((ip, tunnels::headers(forward, ip)?)))
            else {
                continue;
            };
            if let Some((link, mtu)) = self.ways.room_to(ip)
                && mtu.saturating_sub(headers) < tunnels::FULL
            {
                tight.insert((&target.backend.name, link.index, mtu, headers));
            }
        }
        for (backend, link, mtu, headers) in tight {
            let Some(link) = self.ways.links.get(&link) else {
                continue;
            };
            faults.push(format!(
                "the tunnels of backend '{backend}' leave {} of the {mtu} bytes on '{}': {}",
                mtu.saturating_sub(headers),
                link.name,
                tunnels::remedy(&link.name, headers)
            ));
        }
    }

    /// Sessions that found no room since the last look, and a table of another size than the file says.
    pub(super) fn watch_room(&mut self, faults: &mut Vec<String>) -> Result<(), Error> {
        let generation = self.generation.as_ref();
        let asked = generation.map(|g| g.config.global.tuning.packet_flows);
        if let Some(asked) = asked.filter(|n| crate::entries(*n) != self.room) {
            faults.push(format!(
                "the session table has room for {} sessions, and 'tune.packet.flows' says {asked}: sessions that are there would be lost, so it stays; 'mulgil packet detach' and a start make it anew",
                self.room / 2
            ));
        }
        let (full, empty) = (
            self.kernel.event("table-full"),
            self.kernel.event("pool-empty"),
        );
        let (full_before, empty_before) =
            self.refused.replace((full, empty)).unwrap_or((full, empty));
        if full != full_before {
            faults.push(format!(
                "the session table is full ({} entries): {} new sessions were turned away in the last second, sessions that are there go on; raise 'tune.packet.flows', or shorten 'timeout session' and its kind",
                self.room,
                full.wrapping_sub(full_before)
            ));
        }
        if empty != empty_before {
            faults.push(
                "a pool of 'nat source' or 'snat' has no address and port left: new sessions are turned away; give it more addresses".into(),
            );
        }
        Ok(())
    }
}
