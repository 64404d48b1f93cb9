//! From the live objects to what the tables should say. Pure: the machine's facts come in.

use crate::abi::{
    self, Address, INTERFACES, Lane, Origin, OriginKey, Prefix, PrefixKey, Server, Service,
    ServiceKey,
};
use crate::guard;
use crate::ring;
use model::{Balance, Forward, Host, MarkedDown, Mode, NoFlow, PacketPart, PortSpec, Transport};
use state::{Backend, Frontend, Generation};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What a plan must know of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Interfaces by name.
    pub interfaces: HashMap<String, u32>,
    /// Addresses of this machine and their interfaces.
    pub addresses: Vec<(IpAddr, u32)>,
}

/// A server as one frontend's sessions reach it.
pub struct Target {
    /// Of frontend, backend and server.
    pub identity: u64,
    /// Where sessions come from.
    pub frontend: Arc<Frontend>,
    /// The server's backend.
    pub backend: Arc<Backend>,
    /// The server.
    pub server: Arc<state::Server>,
    /// Where it is, if it has an IP address.
    pub ip: Option<IpAddr>,
    /// The table's entry but for the way there.
    pub entry: Server,
    /// Its VLAN; 0: none.
    pub vlan: u16,
    /// The ports of the bridge that it is behind; none where there is no bridge.
    pub ports: Vec<u32>,
}

impl Target {
    /// The VLAN of those whose traffic goes through it and who are not beyond; 0: none. Where the frontend has
    /// several, its first one.
    pub fn near_vlan(&self) -> u16 {
        let side = self.frontend.proxy().frontend.as_ref();
        let mut binds = side.into_iter().flat_map(|s| &s.binds);
        let first = binds.find(|b| b.prefix.is_some());
        first.and_then(|b| b.options.vlan).unwrap_or(0)
    }

    /// Whether it is a next hop of transit traffic.
    pub fn is_next_hop(&self) -> bool {
        self.backend.side().packets.forward == Forward::Route
    }
}

/// A service and whose turns it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The table's entry but for `table`.
    pub service: Service,
    /// Index in [`Plan::tables`].
    pub table: usize,
    /// Whether it has the guard of its frontend.
    pub guarded: bool,
}

/// What all tables should say.
#[derive(Default)]
pub struct Plan {
    /// Servers.
    pub targets: Vec<Target>,
    /// For each frontend its name and whose turn it is: indices in `targets`.
    pub tables: Vec<(Arc<str>, Vec<usize>)>,
    /// Guards, by frontend.
    pub guards: BTreeMap<Arc<str>, model::Guard>,
    /// Services.
    pub services: BTreeMap<ServiceKey, Planned>,
    /// Virtual addresses and pool addresses with bits of [`abi::vip`].
    pub vips: BTreeMap<Address, u32>,
    /// Prefixes that services stand for, and those that none does, whatever wider ones say.
    pub prefixes: BTreeMap<(PrefixKey, u32), Prefix>,
    /// Services by their servers, where that is one only.
    pub origins: BTreeMap<OriginKey, Origin>,
    /// What programs must have for this, bits of [`abi::feature`].
    pub features: u32,
    /// The ports of bridges, each with its other one.
    pub bridges: BTreeMap<u32, u32>,
    /// VLANs of addresses, by interface; 0 is every one.
    pub lanes: BTreeSet<Lane>,
    /// Addresses of `vrrp` sections.
    pub shared: Vec<IpAddr>,
    /// What could not be done, one sentence each.
    pub faults: Vec<String>,
}

impl Plan {
    /// The plan of a generation.
    pub fn of(generation: &Generation, machine: &Machine) -> Plan {
        let vrrp = generation.config.vrrp.iter();
        let mut plan = Plan {
            shared: vrrp.flat_map(|v| &v.addresses).map(|a| a.ip).collect(),
            ..Plan::default()
        };
        for frontend in &generation.frontends {
            let proxy = frontend.proxy();
            if proxy.mode != Mode::Packet || proxy.disabled {
                continue;
            }
            let Some(backend) = proxy.leads_to().and_then(|name| generation.backend(name)) else {
                continue;
            };
            plan.add(frontend, backend, machine);
        }
        if !plan.prefixes.is_empty() {
            plan.features |= abi::feature::PREFIX;
            plan.keep_own(machine);
        }
        plan
    }

    /// Prefixes are for traffic that goes on: what is for this machine, for its links, or for the
    /// firewalls themselves is left to the stack.
    fn keep_own(&mut self, machine: &Machine) {
        let hops = self.targets.iter().filter(|t| t.is_next_hop());
        let hops = hops.filter_map(|t| t.ip);
        let own = machine.addresses.iter().map(|(ip, _)| *ip);
        let hosts: Vec<IpAddr> = own.chain(hops).collect();
        let whole = |ip: &IpAddr| if ip.is_ipv4() { 32 } else { 128 };
        let hosts = hosts.iter().map(|ip| (*ip, whole(ip)));
        for (ip, bits) in hosts.chain(ON_LINKS) {
            self.prefix(0, ip, bits, abi::vip::PASS);
        }
    }

    /// Notes a prefix; its key.
    fn prefix(&mut self, place: u32, ip: IpAddr, bits: u8, kinds: u32) -> PrefixKey {
        let address = abi::address(ip);
        let bits = u32::from(bits) + if ip.is_ipv4() { 96 } else { 0 };
        let key = PrefixKey { place, address };
        let known = self.prefixes.entry((key, bits)).or_insert(Prefix {
            address,
            bits,
            kinds: 0,
        });
        known.kinds |= kinds;
        key
    }

    fn add(&mut self, frontend: &Arc<Frontend>, backend: &Arc<Backend>, machine: &Machine) {
        let first = self.targets.len();
        let servers = backend.servers();
        self.targets
            .extend(servers.iter().map(|s| target(frontend, backend, s)));
        for (index, share) in backend.shared() {
            if let Some(target) = self.targets.get_mut(first + index as usize) {
                target.entry.weight = share.max(1);
            }
        }
        // A frontend that is disabled finishes what it has.
        let takes = frontend.is_enabled() && !frontend.is_shut();
        let turns = if takes { turns(backend) } else { Vec::new() };
        let turns = turns.into_iter().map(|i| first + i as usize);
        let turns: Vec<usize> = turns
            .filter(|t| self.targets.get(*t).is_some_and(|t| t.ip.is_some()))
            .collect();
        let table = self.tables.len();
        if backend.side().packets.forward == Forward::Route {
            self.features |= abi::feature::ROUTE;
        }
        let guard = frontend.proxy().guard.over(&backend.proxy().guard);
        let guarded = !guard.is_empty();
        if guarded {
            self.features |= guard::features(&guard);
            // Nobody is asked to prove itself for what it will not get.
            let cookies = guard.cookies.filter(|_| takes);
            let guard = model::Guard { cookies, ..guard };
            self.guards.insert(Arc::clone(&frontend.name), guard);
        }
        let mut service = Service {
            frontend: frontend_number(frontend),
            ..service(backend, turns.len() as u32)
        };
        if service.keep != 0 {
            self.features |= abi::feature::SOURCES;
        }
        if !takes {
            service.keep = 0;
        }
        self.tables.push((Arc::clone(&frontend.name), turns));
        if let Forward::Nat(Some(pool)) = backend.side().packets.forward {
            // Who asks for these is in the servers' network.
            let vlan = servers.iter().find_map(|s| s.settings().vlan).unwrap_or(0);
            for ip in pool.addresses() {
                self.claim(ip, 0, vlan, machine);
            }
        }
        let Some(side) = frontend.proxy().frontend.as_ref() else {
            return;
        };
        for snat in &side.snat {
            self.lead_outward(snat, takes, machine, &frontend.name);
            let vlans = [snat.vlan, snat.to_vlan];
            if side.binds.is_empty() {
                vlans.iter().flatten().for_each(|v| self.take_part(*v, &[]));
            }
            for bind in &side.binds {
                let named = bind.options.interface.as_deref().unwrap_or_default();
                let on = named.split(',').filter_map(|n| machine.interfaces.get(n));
                let on: Vec<u32> = on.copied().collect();
                if named.is_empty() || !on.is_empty() {
                    vlans.iter().flatten().for_each(|v| self.take_part(*v, &on));
                }
            }
        }
        for bind in &side.binds {
            let Some(interfaces) = self.interfaces(bind, machine) else {
                continue;
            };
            let unsaid = bind.options.transport.is_none() && bind.prefix.is_some();
            let vlan = bind.options.vlan.unwrap_or(0);
            let bridge = backend.side().packets.forward == Forward::Bridge;
            if bridge {
                let targets = self.targets.get_mut(first..).unwrap_or_default();
                for target in targets {
                    target.ports.clone_from(&interfaces);
                    // One network: the server is in the address's VLAN unless it says otherwise.
                    if target.server.settings().vlan.is_none() {
                        target.vlan = vlan;
                    }
                }
            }
            if let (true, [a, b]) = (bridge, interfaces.as_slice()) {
                self.bridges.extend([(*a, *b), (*b, *a)]);
            }
            self.take_part(vlan, &interfaces);
            let mut ifindex = [0; INTERFACES];
            ifindex
                .iter_mut()
                .zip(&interfaces)
                .for_each(|(to, from)| *to = *from);
            let (proto, kind) = match bind.options.transport {
                None if unsaid
                    && matches!(
                        &bind.address,
                        model::Address::Inet {
                            port: PortSpec::Fixed(0),
                            ..
                        }
                    ) =>
                {
                    (0, abi::vip::ANY)
                }
                None | Some(Transport::Tcp) => (TCP, abi::vip::PORT),
                Some(Transport::Udp) => (UDP, abi::vip::PORT),
                Some(Transport::Any) => (0, abi::vip::ANY),
            };
            let model::Address::Inet { host, port, .. } = &bind.address else {
                continue;
            };
            let port = match port {
                PortSpec::Fixed(port) => *port,
                _ => 0,
            };
            if let (Some(bits), Host::Ip(ip)) = (bind.prefix, host) {
                let kind = if port == 0 && proto != 0 {
                    abi::vip::PROTO
                } else {
                    kind
                };
                let anywhere = interfaces.is_empty().then_some(0);
                for on in interfaces.iter().copied().chain(anywhere) {
                    if vlan != 0 && on >= abi::SOURCES_IFINDEX {
                        self.faults.push(format!(
                            "{}: interface {on} has a number that leaves no room for a VLAN: prefixes in VLANs are not served there until the machine has started anew",
                            bind.origin
                        ));
                        continue;
                    }
                    let place = abi::place(on, vlan);
                    let prefix = self.prefix(place, *ip, bits, kind);
                    let key = ServiceKey {
                        address: prefix.address,
                        place,
                        port: port.to_be(),
                        proto,
                        bits: bits + if ip.is_ipv4() { 96 } else { 0 },
                    };
                    let service = Service { ifindex, ..service };
                    let planned = Planned {
                        service,
                        table,
                        guarded,
                    };
                    self.serve(key, planned, &bind.origin);
                }
                continue;
            }
            for ip in addresses(host, &interfaces, machine) {
                let key = ServiceKey {
                    address: abi::address(ip),
                    port: port.to_be(),
                    proto,
                    ..ServiceKey::default()
                };
                let planned = Planned {
                    service: Service {
                        ifindex,
                        vlan: vlan.into(),
                        ..service
                    },
                    table,
                    guarded,
                };
                self.serve(key, planned, &bind.origin);
                self.claim(ip, kind, vlan, machine);
            }
        }
    }

    /// `snat`: a service by where packets come from.
    fn lead_outward(&mut self, snat: &model::Snat, takes: bool, machine: &Machine, name: &str) {
        self.features |= abi::feature::SNAT;
        let (ip, bits) = snat.from;
        let place = abi::sources(snat.vlan.unwrap_or(0));
        let vlan = snat.to_vlan.unwrap_or(0);
        let prefix = self.prefix(place, ip, bits, abi::vip::ANY);
        let key = ServiceKey {
            address: prefix.address,
            place,
            bits: bits + if ip.is_ipv4() { 96 } else { 0 },
            ..ServiceKey::default()
        };
        let service = Service {
            pool_first: abi::address(snat.to.first),
            // Who may begin nothing is dropped: without an address of the pool nothing leaves.
            pool_size: if takes { snat.to.size } else { 0 },
            port_first: snat.to.ports.0,
            port_last: snat.to.ports.1,
            vlan: vlan.into(),
            ..Service::default()
        };
        let table = self.tables.len().saturating_sub(1);
        let planned = Planned {
            service,
            table,
            guarded: false,
        };
        self.serve(key, planned, name);
        for ip in snat.to.addresses() {
            self.claim(ip, 0, vlan, machine);
        }
    }

    /// In a VLAN this machine takes part at these interfaces, or at all of them.
    fn take_part(&mut self, vlan: u16, interfaces: &[u32]) {
        let vlan = u32::from(vlan);
        let anywhere = interfaces.is_empty().then_some(0);
        let on = interfaces.iter().copied().chain(anywhere);
        if vlan != 0 {
            self.lanes.extend(on.map(|ifindex| Lane { ifindex, vlan }));
        }
    }

    fn serve(&mut self, key: ServiceKey, planned: Planned, origin: &str) {
        if self.services.insert(key, planned).is_some() {
            let (ip, port) = (abi::ip(&key.address), u16::from_be(key.port));
            self.faults.push(format!(
                "{origin}: {ip} port {port} is served twice: the last one counts"
            ));
        }
    }

    /// The interfaces that a `bind` means, none for all of them; `None` where it names some and none
    /// of those is there.
    fn interfaces(&mut self, bind: &model::Bind, machine: &Machine) -> Option<Vec<u32>> {
        let Some(names) = &bind.options.interface else {
            return Some(Vec::new());
        };
        let mut found = Vec::new();
        for name in names.split(',').filter(|n| !n.is_empty()) {
            match machine.interfaces.get(name) {
                Some(ifindex) => found.push(*ifindex),
                None => self.faults.push(format!(
                    "{}: there is no interface '{name}': packets are not served there",
                    bind.origin
                )),
            }
        }
        (!found.is_empty()).then_some(found)
    }

    fn claim(&mut self, ip: IpAddr, kind: u32, vlan: u16, machine: &Machine) {
        let local = machine.addresses.iter().any(|(a, _)| *a == ip);
        // No interface of the kernel's is in the VLAN; and what machines share is on an interface where it is
        // served, elsewhere nobody answers.
        let here = local && vlan == 0 || self.shared.contains(&ip);
        let answer = if here { 0 } else { abi::vip::ANSWER };
        let vlan = u32::from(vlan) << abi::vip::VLAN_SHIFT;
        *self.vips.entry(abi::address(ip)).or_insert(vlan) |= kind | answer;
    }
}

/// Prefixes that no router carries on: this network, the loopback, a link, many at a time.
const ON_LINKS: [(IpAddr, u8); 8] = [
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
    (IpAddr::V4(Ipv4Addr::BROADCAST), 32),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
];

/// The addresses that a `bind` means: all of this machine's where it names none.
fn addresses(host: &Host, interfaces: &[u32], machine: &Machine) -> Vec<IpAddr> {
    let own = |six: bool| {
        let own = machine.addresses.iter();
        own.filter(|(ip, of)| {
            ip.is_ipv6() == six
                && !ip.is_loopback()
                && (interfaces.is_empty() || interfaces.contains(of))
        })
        .map(|(ip, _)| *ip)
        .collect()
    };
    match host {
        Host::Ip(ip) => vec![*ip],
        Host::Any => own(false),
        Host::Any6 => own(true),
        Host::Name(_) => Vec::new(),
    }
}

/// Whose turn it is: indices of the backend's servers.
fn turns(backend: &Arc<Backend>) -> Vec<u32> {
    let side = backend.side();
    let consistent = side.hash_method == model::HashMethod::Consistent;
    match &side.balance {
        _ if side.packets.forward == Forward::Route => maglev(backend),
        Balance::LeastConn | Balance::ResponseTime | Balance::First => backend.choosable(),
        Balance::Source | Balance::Hash(_) if !consistent => backend.turns(),
        Balance::Source | Balance::Hash(_) | Balance::Maglev(_) => maglev(backend),
        _ => backend.turns(),
    }
}

fn maglev(backend: &Arc<Backend>) -> Vec<u32> {
    let members = backend.choosable();
    let weight = |i: u32, s: &state::Server| if members.contains(&i) { s.share() } else { 0 };
    let servers = (0..).zip(backend.servers());
    let servers: Vec<_> = servers
        .map(|(i, s)| (i, s.name.as_bytes(), weight(i, s)))
        .collect();
    ring::maglev(&servers)
}

fn service(backend: &Backend, size: u32) -> Service {
    let side = backend.side();
    let packets = &side.packets;
    let mut service = Service {
        size,
        schedule: match &side.balance {
            Balance::LeastConn | Balance::ResponseTime => abi::schedule::LEAST,
            Balance::First => abi::schedule::FIRST,
            Balance::Maglev(by) if by.is_empty() => abi::schedule::FLOW,
            Balance::Source | Balance::Hash(_) | Balance::Maglev(_) => abi::schedule::HASH,
            Balance::Random { .. } => abi::schedule::RANDOM,
            _ => abi::schedule::TURN,
        },
        by: hashed(&side.balance),
        no_flow: match packets.no_flow {
            NoFlow::Drop => abi::no_flow::DROP,
            NoFlow::Reset => abi::no_flow::RESET,
            NoFlow::Hash => abi::no_flow::HASH,
        },
        ..Service::default()
    };
    if let Some(kept) = packets.persistence {
        let v6 = backend.servers().iter().any(|s| is_ipv6(s));
        // An IPv4 address is the end of 16 bytes; a client's family is not known before it comes where
        // servers are of another one.
        let bits = kept.netmask.unwrap_or(128);
        service.source_bits = if v6 || bits > 32 { bits } else { 96 + bits };
        service.keep = u32::try_from(kept.time.as_secs()).unwrap_or(u32::MAX);
        service.keeper = state::hash::xxh64(backend.name.as_bytes()) as u32;
    }
    match packets.forward {
        Forward::Nat(pool) => {
            service.forward = abi::forward::NAT;
            if let Some(pool) = pool {
                service.pool_first = abi::address(pool.first);
                service.pool_size = pool.size;
                (service.port_first, service.port_last) = pool.ports;
            }
        }
        Forward::Dsr => service.forward = abi::forward::DSR,
        Forward::Bridge => service.forward = abi::forward::BRIDGE,
        Forward::Ipip => service.forward = abi::forward::IPIP,
        Forward::Gre => service.forward = abi::forward::GRE,
        Forward::Gue(port) => {
            service.forward = abi::forward::GUE;
            service.port_first = port;
        }
        Forward::Route => {
            service.forward = abi::forward::ROUTE;
            service.schedule = abi::schedule::PAIR;
        }
        Forward::Dscp(point) => {
            service.forward = abi::forward::DSCP;
            service.dscp = point;
        }
    }
    service
}

/// What is hashed, bits of [`abi::hash`].
fn hashed(balance: &Balance) -> u8 {
    if matches!(balance, Balance::Source) {
        return abi::hash::SRC;
    }
    let parts = balance.packet_parts().unwrap_or_default();
    let bit = |part| match part {
        PacketPart::Source => abi::hash::SRC,
        PacketPart::Destination => abi::hash::DST,
        PacketPart::SourcePort => abi::hash::SPORT,
        PacketPart::DestinationPort => abi::hash::DPORT,
        PacketPart::SourceMac => abi::hash::MAC,
    };
    parts.into_iter().fold(0, |by, part| by | bit(part))
}

fn is_ipv6(server: &state::Server) -> bool {
    matches!(server.target().as_deref(), Some(state::Target::Tcp { ip, .. }) if ip.is_ipv6())
}

/// What the tables know a frontend by.
pub(crate) fn frontend_number(frontend: &Frontend) -> u32 {
    state::hash::xxh64(frontend.name.as_bytes()) as u32
}

fn target(frontend: &Arc<Frontend>, backend: &Arc<Backend>, server: &Arc<state::Server>) -> Target {
    let identity = format!("{}\0{}\0{}", frontend.name, backend.name, server.name);
    let member = format!("{}\0{}", backend.name, server.name);
    let member = state::hash::xxh64(member.as_bytes());
    let (ip, port) = match server.target().as_deref() {
        Some(state::Target::Tcp {
            ip,
            port: PortSpec::Fixed(port),
        }) => (Some(*ip), *port),
        Some(state::Target::Tcp { ip, .. }) => (Some(*ip), 0),
        _ => (None, 0),
    };
    let drains = server.settings().on_marked_down == Some(MarkedDown::Drain);
    let flags = if server.usable() {
        abi::server::TAKES
    } else if drains || server.is_up() {
        // Who is in maintenance finishes what it has.
        abi::server::KEEPS
    } else {
        0
    };
    Target {
        identity: state::hash::xxh64(identity.as_bytes()).max(1),
        frontend: Arc::clone(frontend),
        backend: Arc::clone(backend),
        server: Arc::clone(server),
        ip,
        entry: Server {
            address: ip.map_or([0; 16], abi::address),
            flags,
            weight: server.share().max(1),
            maxconn: server.maxconn(),
            member: [member as u32, (member >> 32) as u32],
            port: if backend.side().packets.forward.is_nat() {
                port.to_be()
            } else {
                0
            },
            ..Server::default()
        },
        vlan: server.settings().vlan.unwrap_or(0),
        ports: Vec::new(),
    }
}
