//! The packet plane of a process: what the live objects say goes into the tables, what the tables
//! counted goes into the live objects.

mod accounts;
mod guards;
mod links;
mod list;
mod requests;
mod tidy;
mod trace;
mod watch;

use crate::abi::{
    self, Flow, FlowKey, GatewayKey, Kept, Lane, Origin, OriginKey, Port, Prefix, PrefixKey,
    SeatKey, Service, ServiceKey, Settings, SourceKey, Traffic,
};
use crate::attach::{self, Wanted, Way};
use crate::capabilities;
use crate::copies::Exchange;
use crate::hops::{Hop, Hops};
use crate::kernel::{Error, Kernel, Sizes, because};
use crate::origins;
use crate::pins::{Pins, Presence};
use crate::plan::{Plan, Target, frontend_number};
use crate::sessions;
use crate::table::{self, Shared, Walk};
use crate::ways::Ways;
use aya::maps::lpm_trie::Key;
use model::{Mode, SessionTimeouts};
use state::{Generation, Process};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// Entries of the session table looked at in one go.
const GLANCE: usize = 4096;

/// What the tables say now.
#[derive(Default)]
struct Written {
    servers: HashMap<u32, abi::Server>,
    services: BTreeMap<ServiceKey, Service>,
    vips: BTreeMap<abi::Address, u32>,
    prefixes: BTreeMap<(PrefixKey, u32), Prefix>,
    gateways: BTreeMap<GatewayKey, u32>,
    /// By frontend: the table's index and what stands in it.
    tables: HashMap<Arc<str>, (u32, Vec<u32>)>,
    guards: guards::Guards,
    macs: HashMap<u32, u64>,
    ports: BTreeMap<u32, Port>,
    lanes: BTreeSet<Lane>,
    tags: BTreeMap<abi::Address, u32>,
    origins: BTreeMap<OriginKey, Origin>,
    seats: BTreeMap<SeatKey, u32>,
}

/// The packet plane.
pub struct Plane {
    kernel: Kernel,
    sizes: Sizes,
    pins: Pins,
    /// What another version of mulgil has left, until ours takes its place.
    others: Vec<Pins>,
    ways: Ways,
    hops: Option<Hops>,
    live: Shared,
    flows: OwnedFd,
    exchange: Arc<Exchange>,
    written: Written,
    /// Places of servers by identity; those that no plan has any more wait for their sessions' end.
    places: HashMap<u64, u32>,
    free_places: VecDeque<u32>,
    free_tables: VecDeque<u32>,
    plan: Plan,
    generation: Option<Arc<Generation>>,
    wanted: BTreeMap<u32, Wanted>,
    /// What did not work when the programs were last attached.
    unattached: Vec<String>,
    /// Where each interface has its program, and why not in its driver.
    stands: BTreeMap<u32, (Way, &'static str)>,
    said: BTreeSet<String>,
    traffic: HashMap<u32, Traffic>,
    accounted: Option<Instant>,
    /// Entries of the session table as it is.
    room: u32,
    /// Backends and servers that no way leads to, and at how many looks by now.
    lost: HashMap<(Arc<str>, Arc<str>), u8>,
    /// Sessions that found no room, and those that found no place in a pool, at the last look.
    refused: Option<(u64, u64)>,
    walk: Walk<FlowKey, Flow>,
    sources: OwnedFd,
    sources_walk: Walk<SourceKey, Kept>,
    /// Sessions by server, of the walk under way and of the last whole one.
    met: HashMap<u32, u32>,
    met_before: HashMap<u32, u32>,
}

/// Whether a configuration has anything for packets.
pub fn is_wanted(config: &model::Config) -> bool {
    config
        .proxies
        .iter()
        .any(|p| p.mode == Mode::Packet && p.frontend.is_some() && !p.disabled)
}

impl Plane {
    /// Loads the programs, or takes over those of a process before. Nothing is served yet.
    pub fn open(sizes: Sizes) -> Result<Plane, Error> {
        if let Some(lacking) = capabilities::lacking() {
            return Err(Error(format!("{lacking}: {}", capabilities::REMEDY)));
        }
        let pins = Pins::open()?;
        let mut kernel = Kernel::load(sizes, Some(&pins.path()))?;
        let mut written = Written::default();
        let mut places = HashMap::new();
        let mut free_places = VecDeque::new();
        let servers = kernel.servers()?;
        for at in 0..servers.len() {
            match servers.get(&at, 0) {
                Ok(server) if server.identity != 0 => {
                    places.insert(server.identity, at);
                    written.servers.insert(at, server);
                }
                _ if at == abi::OUTWARD => {}
                _ => free_places.push_back(at),
            }
        }
        let count = servers.len() as usize;
        let services = kernel.services()?;
        let known = services.iter().flatten();
        // Whose turn it is changes with every session, and is not ours to say.
        written
            .services
            .extend(known.map(|(k, s)| (k, Service { cursor: 0, ..s })));
        written.ports.extend(kernel.ports()?.iter().flatten());
        let lanes = kernel.lanes()?;
        written.lanes.extend(lanes.keys().flatten());
        written.tags.extend(kernel.tags()?.iter().flatten());
        written.origins.extend(kernel.origins()?.iter().flatten());
        written.seats.extend(kernel.seats()?.iter().flatten());
        written.vips.extend(kernel.vips()?.iter().flatten());
        let prefixes = kernel.prefixes()?;
        let known = prefixes.iter().flatten();
        written
            .prefixes
            .extend(known.map(|(k, v)| ((k.data(), v.bits), v)));
        written.gateways.extend(kernel.gateways()?.iter().flatten());
        let used: BTreeSet<u32> = written.services.values().map(|s| s.table).collect();
        let tables = kernel.tables()?.len();
        let free_tables = (0..tables).filter(|t| !used.contains(t)).collect();
        let epoch = kernel
            .settings()?
            .get(&0, 0)
            .map_or(0, |s: Settings| s.epoch);
        let ways = Ways::new(epoch.wrapping_add(1) & 0x7fff_ffff)
            .map_err(|e| because("the routes cannot be read", &e))?;
        let live = kernel.descriptor("live")?;
        let live = Shared::new(live.as_fd(), count)
            .map_err(|e| because("the counts of connections", &e))?;
        let flows = kernel.descriptor("flows")?;
        let sources = kernel.descriptor("sources")?;
        let room = table::room(flows.as_fd()).unwrap_or(sizes.flows);
        let mut plane = Plane {
            kernel,
            sizes,
            others: pins.of_others(),
            pins,
            ways,
            hops: Hops::open().ok(),
            live,
            flows,
            exchange: Arc::default(),
            written,
            places,
            free_places,
            free_tables,
            plan: Plan::default(),
            generation: None,
            wanted: BTreeMap::new(),
            unattached: Vec::new(),
            stands: BTreeMap::new(),
            said: BTreeSet::new(),
            traffic: HashMap::new(),
            accounted: None,
            room,
            lost: HashMap::new(),
            refused: None,
            walk: Walk::new(GLANCE),
            sources,
            sources_walk: Walk::new(GLANCE),
            met: HashMap::new(),
            met_before: HashMap::new(),
        };
        // What was counted for a process before is not ours to report.
        let before: Vec<u32> = plane.places.values().copied().collect();
        for at in before {
            let traffic = plane.traffic_of(at);
            plane.traffic.insert(at, traffic);
        }
        Ok(plane)
    }

    /// Notes that this process is there.
    pub(crate) fn enter(&self) -> std::io::Result<Presence> {
        self.pins.enter()
    }

    /// Sentences that were not said before.
    fn say(&mut self, faults: Vec<String>) {
        for fault in &faults {
            if !self.said.contains(fault) {
                let _ = writeln!(std::io::stderr(), "warning: packets: {fault}");
            }
        }
        self.said = faults.into_iter().collect();
    }

    /// Brings the tables to what the live objects say; `look` asks the kernel's routing anew, too.
    pub fn sync(&mut self, process: &Process, look: bool) -> Result<(), Error> {
        let mut faults = Vec::new();
        let mut changed = false;
        if look {
            match self.ways.refresh() {
                Ok(any) => changed = any,
                Err(e) => faults.push(format!("the routes cannot be read: {e}")),
            }
        }
        let generation = process.generation.load_full();
        let mut plan = Plan::of(&generation, &self.ways.machine);
        self.generation = Some(generation);
        faults.append(&mut plan.faults);
        let mut indices = Vec::with_capacity(plan.targets.len());
        for target in &plan.targets {
            indices.push(self.place(target)?);
        }
        self.write_servers(&plan, &indices)?;
        self.exchange.set_places(&self.places, self.sides(&plan));
        let vlan = |at| self.written.servers.get(at).map_or(0, |s| s.hop.vlan);
        let vlans: Vec<u16> = indices.iter().map(vlan).collect();
        origins::find(&mut plan, &vlans);
        self.have(plan.features)?;
        faults.extend(
            self.lead_checks(&plan, changed)
                .err()
                .map(|e| format!("health checks cannot be led through their firewalls: {e}")),
        );
        links::bring(
            &mut self.kernel.origins()?,
            &self.written.origins,
            &plan.origins,
        )?;
        self.written.origins.clone_from(&plan.origins);
        self.plan = plan;
        self.write_guards(&mut faults)?;
        self.write_tables(&indices)?;
        self.write_vips()?;
        self.write_prefixes()?;
        self.write_macs()?;
        self.write_links(&mut faults)?;
        let settings = Settings {
            epoch: self.ways.epoch,
            flags: match process.replication.roles().is_empty() {
                true => 0,
                false => abi::setting::TELL,
            },
        };
        set(self.kernel.settings()?.set(0, settings, 0))?;
        self.remove_others(&mut faults);
        self.attach(look, &mut faults);
        if look {
            self.watch_settings(&mut faults);
            self.watch_tunnels(&mut faults);
            self.watch_ways(&mut faults);
            self.watch_room(&mut faults)?;
        }
        if look {
            self.say(faults);
        }
        Ok(())
    }

    /// Programs that have these features. Others are loaded with the same tables, and take the place
    /// of those that are attached.
    fn have(&mut self, mut features: u32) -> Result<(), Error> {
        // Spliced connections go on without the guard that began them.
        if self.kernel.splices()?.keys().next().is_some() {
            features |= abi::feature::SPLICE;
        }
        if self.sizes.features != features {
            self.kernel.again(features)?;
            self.sizes.features = features;
            self.wanted.clear();
        }
        Ok(())
    }

    /// The place of a server in the tables.
    fn place(&mut self, target: &Target) -> Result<u32, Error> {
        if let Some(at) = self.places.get(&target.identity) {
            return Ok(*at);
        }
        let at = self.free_places.pop_front();
        let at = at.ok_or_else(|| {
            Error("there are more servers than the packet tables have room for".into())
        })?;
        self.places.insert(target.identity, at);
        Ok(at)
    }

    fn write_servers(&mut self, plan: &Plan, indices: &[u32]) -> Result<(), Error> {
        let mut wanted = HashMap::new();
        let stations = self.kernel.stations().ok();
        for (target, at) in plan.targets.iter().zip(indices) {
            let mut entry = target.entry;
            entry.identity = target.identity;
            match target.ip {
                Some(ip) if !target.ports.is_empty() => {
                    let stations = &stations;
                    let met = |mac| stations.as_ref()?.get(&mac_key(mac), 0).ok();
                    entry.hop = self.ways.across(ip, target.vlan, &target.ports, |mac| {
                        met(mac).map(|s: abi::Station| s.ifindex)
                    });
                }
                Some(ip) => (entry.hop, entry.local) = self.ways.to(ip, target.vlan),
                None => {}
            }
            wanted.insert(*at, entry);
        }
        // A server that is not in the file any more: its sessions are over, as those of a dead one.
        for (at, old) in &self.written.servers {
            wanted
                .entry(*at)
                .or_insert(abi::Server { flags: 0, ..*old });
        }
        let gateways = plan.targets.iter().zip(indices);
        let gateways = gateways.filter(|(t, _)| t.is_next_hop());
        let gateways: BTreeMap<GatewayKey, u32> = gateways
            .filter_map(|(target, at)| {
                let hop = wanted.get(at)?.hop;
                let key = GatewayKey {
                    mac: hop.dst,
                    family: if target.ip?.is_ipv4() { 4 } else { 6 },
                    place: abi::place(hop.ifindex, hop.vlan),
                };
                let value = *at | u32::from(target.near_vlan()) << 16;
                (hop.ifindex != 0).then_some((key, value))
            })
            .collect();
        self.write_gateways(gateways)?;
        self.write_seats(plan, indices)?;
        let mut table = self.kernel.servers()?;
        for (at, entry) in wanted {
            if self.written.servers.get(&at) != Some(&entry) {
                set(table.set(at, entry, 0))?;
                self.written.servers.insert(at, entry);
            }
        }
        Ok(())
    }

    /// Where each frontend finds the servers that clients keep.
    fn write_seats(&mut self, plan: &Plan, indices: &[u32]) -> Result<(), Error> {
        let kept = plan.targets.iter().zip(indices);
        let kept = kept.filter(|(t, _)| t.backend.side().packets.persistence.is_some());
        let seat = |target: &Target| SeatKey {
            member: target.entry.member,
            frontend: frontend_number(&target.frontend),
        };
        let seats: BTreeMap<SeatKey, u32> = kept.map(|(t, at)| (seat(t), *at)).collect();
        links::bring(&mut self.kernel.seats()?, &self.written.seats, &seats)?;
        self.written.seats = seats;
        Ok(())
    }

    /// Turns and services. A table that changes is a new one, so that a service goes from the old to
    /// the new in one step, size and all.
    fn write_tables(&mut self, indices: &[u32]) -> Result<(), Error> {
        let mut given_back = Vec::new();
        let mut tables = HashMap::new();
        let mut numbers = Vec::new();
        for (frontend, turns) in &self.plan.tables {
            let turns: Vec<u32> = turns
                .iter()
                .filter_map(|t| indices.get(*t))
                .copied()
                .collect();
            let (at, old) = match self.written.tables.remove(frontend) {
                Some((at, old)) => (Some(at), old),
                None => (None, Vec::new()),
            };
            let at = match at {
                Some(at) if old == turns => at,
                old => {
                    given_back.extend(old);
                    let room = self.free_tables.pop_front();
                    let at = room.ok_or_else(|| {
                        Error(
                            "there are more frontends than the packet tables have room for".into(),
                        )
                    })?;
                    self.kernel.set_table(at, &turns)?;
                    at
                }
            };
            numbers.push(at);
            tables.insert(Arc::clone(frontend), (at, turns));
        }
        given_back.extend(self.written.tables.drain().map(|(_, (at, _))| at));
        self.written.tables = tables;

        let mut services = self.kernel.services()?;
        let guards = &self.written.guards;
        let planned = self.plan.services.iter();
        let wanted: BTreeMap<ServiceKey, Service> = planned
            .filter_map(|(key, p)| {
                Some((
                    *key,
                    Service {
                        table: *numbers.get(p.table)?,
                        guard: match p.guarded {
                            true => guards.of(&self.plan.tables.get(p.table)?.0),
                            false => 0,
                        },
                        ..p.service
                    },
                ))
            })
            .collect();
        for (key, service) in &wanted {
            if self.written.services.get(key) != Some(service) {
                // The round goes on: who stands first would have its turn again with every change.
                let before = services.get(key, 0).map_or(0, |s| s.cursor);
                let cursor = before.checked_rem(service.size).unwrap_or(before);
                set(services.insert(key, Service { cursor, ..*service }, 0))?;
            }
        }
        for key in self
            .written
            .services
            .keys()
            .filter(|k| !wanted.contains_key(k))
        {
            set(services.remove(key))?;
        }
        self.written.services = wanted;
        self.free_tables.extend(given_back);
        Ok(())
    }

    fn write_vips(&mut self) -> Result<(), Error> {
        let mut vips = self.kernel.vips()?;
        for (address, kinds) in &self.plan.vips {
            if self.written.vips.get(address) != Some(kinds) {
                set(vips.insert(address, kinds, 0))?;
            }
        }
        for address in self
            .written
            .vips
            .keys()
            .filter(|a| !self.plan.vips.contains_key(*a))
        {
            set(vips.remove(address))?;
        }
        self.written.vips.clone_from(&self.plan.vips);
        Ok(())
    }

    /// Checks of what lies beyond a next hop cross that one.
    fn lead_checks(&mut self, plan: &Plan, look: bool) -> std::io::Result<()> {
        let mut wanted = BTreeSet::new();
        for target in &plan.targets {
            if let (Some(mark), Some(via)) = (target.backend.check_mark(&target.server), target.ip)
                && let Some(ifindex) = self.ways.interface_to(via)
            {
                wanted.insert(Hop { mark, via, ifindex });
            }
        }
        match &mut self.hops {
            Some(hops) => hops.set(wanted, look),
            None if wanted.is_empty() => Ok(()),
            None => self.hops.insert(Hops::open()?).set(wanted, look),
        }
    }

    fn write_gateways(&mut self, wanted: BTreeMap<GatewayKey, u32>) -> Result<(), Error> {
        let mut table = self.kernel.gateways()?;
        let written = &mut self.written.gateways;
        for (key, at) in wanted.iter().filter(|(k, v)| written.get(k) != Some(v)) {
            set(table.insert(key, at, 0))?;
        }
        for key in written.keys().filter(|k| !wanted.contains_key(k)) {
            set(table.remove(key))?;
        }
        *written = wanted;
        Ok(())
    }

    fn write_prefixes(&mut self) -> Result<(), Error> {
        let mut table = self.kernel.prefixes()?;
        let (wanted, written) = (&self.plan.prefixes, &mut self.written.prefixes);
        // The place's 32 bits count always.
        let entry = |(key, bits): &(PrefixKey, u32)| Key::new(32 + bits, *key);
        for (key, prefix) in wanted.iter().filter(|(k, v)| written.get(k) != Some(v)) {
            set(table.insert(&entry(key), prefix, 0))?;
        }
        for key in written.keys().filter(|k| !wanted.contains_key(k)) {
            set(table.remove(&entry(key)))?;
        }
        written.clone_from(wanted);
        Ok(())
    }

    fn write_macs(&mut self) -> Result<(), Error> {
        let mut table = self.kernel.macs()?;
        for link in self.ways.links.values() {
            let mac = mac_key(link.mac);
            if self.written.macs.insert(link.index, mac) != Some(mac) {
                set(table.insert(link.index, mac, 0))?;
            }
        }
        Ok(())
    }

    /// Timeouts of the sessions of each place.
    fn timeouts(&self) -> HashMap<u32, SessionTimeouts> {
        let targets = self.plan.targets.iter();
        let known = targets.filter_map(|t| {
            Some((
                *self.places.get(&t.identity)?,
                t.backend.side().packets.timeouts,
            ))
        });
        known.collect()
    }

    /// Places of servers that no plan has, once no session is left on them.
    fn release_places(&mut self) -> Result<(), Error> {
        let planned: BTreeSet<u64> = self.plan.targets.iter().map(|t| t.identity).collect();
        let free: Vec<(u64, u32)> = self
            .places
            .iter()
            .filter(|(identity, at)| {
                !planned.contains(identity) && !self.met_before.contains_key(at)
            })
            .map(|(identity, at)| (*identity, *at))
            .collect();
        for (identity, at) in free {
            set(self.kernel.servers()?.set(at, abi::Server::default(), 0))?;
            self.written.servers.remove(&at);
            self.places.remove(&identity);
            self.free_places.push_back(at);
        }
        Ok(())
    }
}

/// A table's key of an address on the link.
fn mac_key(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_ne_bytes([a, b, c, d, e, f, 0, 0])
}

fn set(result: Result<(), aya::maps::MapError>) -> Result<(), Error> {
    result.map_err(|e| because("a packet table takes no entry", &e))
}

/// Detaches everything of this network namespace and forgets its sessions. How many things were
/// there.
pub fn detach() -> Result<usize, Error> {
    Hops::open().map_err(|e| because("routes of health checks", &e))?;
    let pins = Pins::open()?;
    let filters = attach::remove_filters(&pins) + attach::remove_others(pins.of_others())?;
    Ok(pins.remove()? + filters + crate::settings::restore()?)
}
