//! What a configuration for packets finds on this machine: looked at without changing anything.

use crate::abi::{self, Hop};
use crate::askers::{self, Taken};
use crate::attach::Way;
use crate::capabilities;
use crate::device::{self, Needs, Offloads};
use crate::kernel::{Error, because};
use crate::netlink::XDP_GENERIC;
use crate::probe::{Numbers, Probe, Said};
use crate::settings::{self, Asks};
use crate::tunnels;
use crate::ways::Ways;
use model::{Address, Config, Forward, Host, Mode, PortSpec, Transport};
use state::doctor::{Finding, ok, wrong};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long neighbours may take to answer.
const NEIGHBOURS: Duration = Duration::from_secs(2);
/// Servers of one backend that are connected to, and as many that are asked as a client's packet would:
/// each may take its time to stay silent.
const CONNECTED: usize = 16;

/// How many more servers of a backend have a turn.
struct Turns(usize);

impl Turns {
    fn take(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Looks at everything that packet mode needs of the machine.
pub fn examine(config: &Config) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    found.extend(capabilities::lacking().map(|fact| wrong(fact, capabilities::REMEDY)));
    let asks_servers = capabilities::sends_frames();
    if !asks_servers {
        found.push(wrong(
            "servers are not asked as clients' packets would: this process lacks CAP_NET_RAW"
                .into(),
            "run the doctor as root",
        ));
    }
    let mut ways = Ways::new(0).map_err(|e| because("the routes cannot be read", &e))?;
    let mut asks = Asks::default();
    let proxies = || {
        let all = config.proxies.iter();
        all.filter(|p| p.mode == Mode::Packet && !p.disabled)
    };
    let mut names = BTreeSet::new();
    let mut marks = Marks::default();
    let mut leading: BTreeMap<&str, Leading> = BTreeMap::new();
    let taken = Taken::of(config);
    let mut numbers = Numbers::default();
    for proxy in proxies() {
        let (Some(side), Some(backend)) = (&proxy.frontend, proxy.leads_to()) else {
            continue;
        };
        let led = leading.entry(backend).or_default();
        led.services.extend(side.binds.iter().filter_map(service));
        for bind in &side.binds {
            let near = |a, b| ways.are_neighbours(a, b);
            led.fronts.extend(askers::fronts(bind, &ways.machine, near));
        }
        let mut proxies = config.proxies.iter();
        let backend = proxies.find(|p| p.name == *backend && p.backend.is_some());
        let forward = backend.and_then(|b| Some(b.backend.as_ref()?.packets.forward));
        for bind in &side.binds {
            let named = bind.options.interface.iter().flat_map(|n| n.split(','));
            for name in named.filter(|n| !n.is_empty()) {
                names.insert(name.to_string());
                if forward == Some(Forward::Bridge) {
                    marks.bridges.insert(name.to_string());
                }
                if bind.options.vlan.is_some() {
                    marks.tagged.insert(name.to_string());
                }
            }
            found.extend(vip(bind, &ways));
        }
    }
    wait_for_neighbours(config, &mut ways);
    for proxy in proxies() {
        let Some(side) = &proxy.backend else { continue };
        let forward = side.packets.forward;
        let (mut connected, mut asked) = (Turns(CONNECTED), Turns(CONNECTED));
        for server in &side.servers {
            let Address::Inet {
                host: Host::Ip(ip),
                port,
                ..
            } = &server.address
            else {
                continue;
            };
            match (forward, ip.is_ipv6()) {
                (Forward::Nat(_) | Forward::Route, true) => asks.forward6 = true,
                (Forward::Nat(_) | Forward::Route, false) => asks.forward4 = true,
                _ => {}
            }
            let title = format!("server {}/{} ({ip})", proxy.name, server.name);
            let (hop, _) = ways.to(*ip, server.vlan.unwrap_or(0));
            let link = ways
                .interface_to(*ip)
                .and_then(|i| ways.links.get(&i).cloned());
            let Some(link) = link else {
                if forward != Forward::Bridge {
                    found.push(wrong(
                        format!("{title}: no route leads there"),
                        "add a route, or correct the address",
                    ));
                }
                continue;
            };
            names.insert(link.name.clone());
            if server.vlan.is_some() {
                marks.tagged.insert(link.name.clone());
            }
            match forward {
                // What comes and goes by one arm is no reason to tell anybody of a shorter way.
                Forward::Nat(_) | Forward::Route if server.vlan.is_some() => {
                    asks.silent.insert(link.name.clone());
                }
                _ => {}
            }
            match forward {
                Forward::Dsr => drop(asks.silent.insert(link.name.clone())),
                Forward::Route => drop(asks.loose.insert(link.name.clone())),
                _ => {}
            }
            if hop.ifindex == 0 {
                let next = ways.next_to(*ip);
                if let Some(vlan) = server.vlan.filter(|_| link.vlan.is_none()) {
                    found.push(ok(format!(
                        "{title}: {next} has not said its address in VLAN {vlan} of '{}', where it can be asked only while mulgil runs",
                        link.name
                    )));
                    continue;
                }
                found.push(wrong(
                    format!("{title}: {next} does not say its address on '{}'", link.name),
                    format!("see whether it is up and in the same network: 'ping {next}', 'ip neighbour show dev {}'", link.name),
                ));
                continue;
            }
            if forward == Forward::Dsr && ways.next_to(*ip) != *ip {
                found.push(wrong(
                    format!("{title} is behind a router, and 'forward dsr' reaches the link only"),
                    "use 'forward tunnel' or 'forward dscp', or put the server on this link",
                ));
            }
            found.extend(room(forward, *ip, &mut ways, &title));
            if let Some(port) = probed(port, server, proxy).filter(|_| connected.take()) {
                found.push(connect(SocketAddr::new(*ip, port), &title));
            }
            let Some(led) = leading.get(&*proxy.name) else {
                continue;
            };
            if asks_servers && asked.take() {
                let whom = Whom {
                    forward,
                    ip: *ip,
                    port,
                    hop,
                };
                let own = |six, on: &_| taken.own(&ways.machine, six, on);
                found.extend(whom.probe(led, own, link.index, &mut numbers, &title));
            }
        }
    }
    for name in &names {
        found.extend(interface(name, &ways, &marks, config));
    }
    let faults = settings::wrong(&asks, settings::read);
    let auto = config.global.tuning.sysctl_auto;
    found.extend(faults.iter().map(|w| {
        let fact = format!("{} is {}: {}", w.dotted(), w.now, w.why);
        match auto {
            true => ok(format!("{fact}; 'sysctl auto' sets it at the start")),
            false => wrong(fact, format!("sysctl -w {}", w.assignment())),
        }
    }));
    if faults.is_empty() && asks != Asks::default() {
        found.push(ok("settings of the kernel are as packets need them".into()));
    }
    Ok(found)
}

/// Asks for the neighbours of all servers at once, and waits until they have answered or not.
fn wait_for_neighbours(config: &Config, ways: &mut Ways) {
    let until = Instant::now() + NEIGHBOURS;
    loop {
        let mut missing = false;
        for server in config
            .proxies
            .iter()
            .filter(|p| p.mode == Mode::Packet)
            .flat_map(|p| p.backend.iter().flat_map(|b| &b.servers))
        {
            if let Address::Inet {
                host: Host::Ip(ip), ..
            } = &server.address
            {
                let routed = ways.interface_to(*ip).is_some();
                missing |= routed && ways.to(*ip, 0).0.ifindex == 0;
            }
        }
        if !missing || Instant::now() >= until || ways.refresh().is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether an address is this machine's or is answered for by the programs.
fn vip(bind: &model::Bind, ways: &Ways) -> Option<Finding> {
    let Address::Inet {
        host: Host::Ip(ip), ..
    } = &bind.address
    else {
        return None;
    };
    let vlan = bind.options.vlan;
    let within = vlan.map_or(String::new(), |v| format!(" in VLAN {v}"));
    if let Some(bits) = bind.prefix {
        return Some(ok(format!(
            "what passes to {ip}/{bits}{within} is balanced"
        )));
    }
    if ip.is_unspecified() {
        return None;
    }
    let own = ways.machine.addresses.iter().any(|(a, _)| a == ip);
    let kind = match bind.options.transport {
        Some(Transport::Udp) => "UDP",
        Some(Transport::Any) => "all protocols",
        _ => "TCP",
    };
    Some(ok(match own {
        _ if vlan.is_some() => {
            format!("address {ip} ({kind}): ARP and ND are answered by the program{within}")
        }
        true => format!("address {ip} ({kind}) is on an interface of this machine"),
        false => format!(
            "address {ip} ({kind}) is on no interface: ARP and ND are answered by the program"
        ),
    }))
}

/// Whether packets of a full size fit where headers are put before them.
fn room(forward: Forward, ip: IpAddr, ways: &mut Ways, title: &str) -> Option<Finding> {
    let headers = tunnels::headers(forward, ip)?;
    let (link, mtu) = ways.room_to(ip)?;
    let left = mtu.saturating_sub(headers);
    Some(match left >= tunnels::FULL {
        true => ok(format!(
            "{title}: packets of {} bytes fit into the tunnel (MTU {mtu})",
            tunnels::FULL
        )),
        false => wrong(
            format!(
                "{title}: the tunnel leaves {left} of the {mtu} bytes on '{}'",
                link.name
            ),
            tunnels::remedy(&link.name, headers),
        ),
    })
}

/// The port that a server takes connections at, where that is known.
fn probed(port: &PortSpec, server: &model::Server, proxy: &model::Proxy) -> Option<u16> {
    let checked = server.check.as_ref().and_then(|c| c.port);
    let own = match port {
        PortSpec::Fixed(port) if *port != 0 => Some(*port),
        _ => None,
    };
    let route = proxy
        .backend
        .as_ref()
        .is_some_and(|b| b.packets.forward == Forward::Route);
    checked.or(own).filter(|_| !route)
}

fn connect(at: SocketAddr, title: &str) -> Finding {
    match TcpStream::connect_timeout(&at, PATIENCE) {
        Ok(_) => ok(format!("{title} takes connections at port {}", at.port())),
        Err(e) => wrong(
            format!("{title} takes no connection at {at}: {e}"),
            "start the service there, or let it through the server's firewall (a service of UDP only needs neither)",
        ),
    }
}

/// Names of interfaces of which more is wanted.
#[derive(Default)]
struct Marks {
    /// Ports of bridges.
    bridges: BTreeSet<String>,
    /// Those where tags are read and written.
    tagged: BTreeSet<String>,
}

fn interface(name: &str, ways: &Ways, marks: &Marks, config: &Config) -> Vec<Finding> {
    let links = || ways.links.values();
    let Some(link) = links().find(|l| l.name == *name) else {
        return vec![wrong(
            format!("there is no interface '{name}'"),
            "correct the name, or make the interface before the start",
        )];
    };
    let mut found = Vec::new();
    if !link.carrier {
        found.push(wrong(
            format!("interface '{name}' has no link"),
            format!("'ip link set dev {name} up', and look at the cable"),
        ));
    }
    let needs = Needs {
        bridge: marks.bridges.contains(name),
        tags: marks.tagged.contains(name),
    };
    let wish = config.global.tuning.packet_attach;
    let offloads = Offloads::of(name);
    let (ways, reason) = device::ways(link, links(), needs, wish, offloads.takes_tags);
    let first = ways.first().map(ToString::to_string).unwrap_or_default();
    let software = device::is_software(link, links());
    let in_driver = ways.first() == Some(&Way::Driver);
    if software && in_driver {
        found.push(wrong(
            format!("interface '{name}' is software ({}), where senders leave sums to be computed that XDP does not see", link.kind),
            format!("leave 'tune.packet.attach' out, or on every sender there: 'ethtool -K IF tx off txvlan off' (here: {name})"),
        ));
    }
    if in_driver && needs.tags && (offloads.takes_tags || offloads.puts_tags) {
        found.push(wrong(
            format!("interface '{name}' keeps tags of VLANs beside frames, where programs in its driver do not see them"),
            format!("leave 'tune.packet.attach' out, or 'ethtool -K {name} rxvlan off txvlan off'"),
        ));
    }
    if offloads.joins {
        found.push(wrong(
            format!("interface '{name}' joins segments in hardware: what is forwarded must stay as it came, and few drivers take XDP then"),
            format!("ethtool -K {name} lro off"),
        ));
    }
    if link.xdp == XDP_GENERIC {
        found.push(wrong(
            format!("interface '{name}' has somebody's XDP program in its generic form, which Mulgil never uses: packets meet it first"),
            format!("see whose it is ('bpftool net'), or 'ip link set dev {name} xdpgeneric off'"),
        ));
    }
    let why = match reason {
        "" => "its driver is tried first",
        reason => reason,
    };
    let now = match link.xdp {
        0 | XDP_GENERIC => "",
        _ => "; XDP stands in its driver now",
    };
    found.push(ok(format!(
        "interface '{name}': {first}; {why}{now}; MTU {}; {offloads}",
        link.mtu
    )));
    found
}

/// A virtual address that leads to a backend, with the port of TCP; without one for what an echo has to
/// stand for.
fn service(bind: &model::Bind) -> Option<(IpAddr, Option<u16>)> {
    let Address::Inet {
        host: Host::Ip(ip),
        port,
        ..
    } = &bind.address
    else {
        return None;
    };
    let port = match (bind.options.transport, port) {
        (None | Some(Transport::Tcp), PortSpec::Fixed(port)) => Some(*port).filter(|p| *p != 0),
        _ => None,
    };
    (bind.prefix.is_none() && !ip.is_unspecified()).then_some((*ip, port))
}

/// What leads to a backend.
#[derive(Default)]
struct Leading {
    services: Vec<(IpAddr, Option<u16>)>,
    /// Interfaces that clients come by.
    fronts: BTreeSet<u32>,
}

/// A server, and the way there.
struct Whom<'a> {
    forward: Forward,
    ip: IpAddr,
    port: &'a PortSpec,
    hop: Hop,
}

impl Whom<'_> {
    /// Asks it as a client's packet would: through the virtual address, where the server has that, or
    /// from another network, where answers must come back here.
    fn probe(
        &self,
        led: &Leading,
        own: impl Fn(bool, &BTreeSet<u32>) -> Option<IpAddr>,
        link: u32,
        numbers: &mut Numbers,
        title: &str,
    ) -> Vec<Finding> {
        let services = &led.services;
        let mut found = Vec::new();
        if let Forward::Nat(None) = self.forward {
            let port = match self.port {
                PortSpec::Fixed(port) if *port != 0 => Some(*port),
                _ => services.first().and_then(|s| s.1),
            };
            let mut elsewhere = led.fronts.clone();
            elsewhere.remove(&link);
            let from = own(self.ip.is_ipv6(), &elsewhere);
            found.extend(from.and_then(|from| self.comes_back(from, port, numbers, title)));
            return found;
        }
        if !answers_past_us(self.forward) {
            return found;
        }
        let here = BTreeSet::from([link]);
        for six in [false, true] {
            let mut fitting = services.iter().filter(|(vip, _)| vip.is_ipv6() == six);
            let with_port = fitting.clone().find(|(_, port)| port.is_some());
            let Some((vip, port)) = with_port.or_else(|| fitting.next()) else {
                continue;
            };
            let outer = own(self.ip.is_ipv6(), &here);
            if let (Some(outer), Some(from)) = (outer, own(six, &here)) {
                found.extend(self.answers_itself((outer, from), (*vip, *port), numbers, title));
            }
        }
        found
    }

    fn ask(
        &self,
        (outer, from): (IpAddr, IpAddr),
        ends: (IpAddr, IpAddr),
        port: Option<u16>,
        numbers: &mut Numbers,
    ) -> Option<Said> {
        let probe = Probe {
            forward: self.forward,
            hop: self.hop,
            outer: (outer, self.ip),
            from,
            to: ends.0,
            answers: ends.1,
            port,
        };
        // Without the right to send frames nothing is known.
        probe.ask(numbers).ok()
    }

    /// Answers to other networks find this machine.
    fn comes_back(
        &self,
        from: IpAddr,
        port: Option<u16>,
        numbers: &mut Numbers,
        title: &str,
    ) -> Option<Finding> {
        let said = self.ask((from, from), (self.ip, self.ip), port, numbers)?;
        Some(match said {
            Said::Yes | Said::No => ok(format!("{title} answers {from} through this machine")),
            Said::Nothing => wrong(
                format!(
                    "{title} does not answer {from}, which is in another network: its answers to clients go elsewhere"
                ),
                "make this machine its gateway ('ip route replace default via' an address of ours), or use 'forward nat source'",
            ),
        })
    }

    /// The server answers for the virtual address itself.
    fn answers_itself(
        &self,
        own: (IpAddr, IpAddr),
        (vip, port): (IpAddr, Option<u16>),
        numbers: &mut Numbers,
        title: &str,
    ) -> Option<Finding> {
        let to = match self.forward {
            Forward::Dscp(_) => self.ip,
            _ => vip,
        };
        let said = self.ask(own, (to, vip), port, numbers)?;
        let service = match port {
            Some(port) => format!("{vip} port {port}"),
            None => vip.to_string(),
        };
        let setup = setup(self.forward).unwrap_or_default();
        Some(match said {
            Said::Yes => ok(format!("{title} answers for {service} itself")),
            Said::No => wrong(
                format!(
                    "{title} has {vip}, but nobody listens there at port {}",
                    port.unwrap_or(0)
                ),
                "have the service listen at that address, or at all of them",
            ),
            Said::Nothing => wrong(
                format!("{title} does not answer for {service}"),
                format!(
                    "on it, as root: 'mulgil server-setup {setup} --vip {vip}'; and let it through the server's firewall"
                ),
            ),
        })
    }
}

/// Whether servers answer clients themselves.
fn answers_past_us(forward: Forward) -> bool {
    setup(forward).is_some()
}

/// What `mulgil server-setup` is told on servers of this way to forward, if they need it.
fn setup(forward: Forward) -> Option<String> {
    match forward {
        Forward::Dsr => Some("dsr".to_string()),
        Forward::Ipip | Forward::Gre => Some("tunnel".into()),
        Forward::Gue(port) => Some(format!("tunnel --port {port}")),
        Forward::Dscp(point) => Some(format!("dscp --dscp {point}")),
        _ => None,
    }
}

/// The members of a file's services that answer past this machine, with what must be run on each.
pub fn on_servers(config: &Config) -> Vec<String> {
    let mut lines: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for proxy in config
        .proxies
        .iter()
        .filter(|p| p.mode == Mode::Packet && !p.disabled)
    {
        let (Some(side), Some(name)) = (&proxy.frontend, proxy.leads_to()) else {
            continue;
        };
        let mut proxies = config.proxies.iter();
        let backend = proxies.find(|p| p.name == *name && p.backend.is_some());
        let Some(backend) = backend.and_then(|b| b.backend.as_ref()) else {
            continue;
        };
        let Some(kind) = setup(backend.packets.forward) else {
            continue;
        };
        for bind in &side.binds {
            let Address::Inet {
                host: Host::Ip(ip), ..
            } = &bind.address
            else {
                continue;
            };
            let command = format!(
                "mulgil server-setup {kind} --vip {}",
                abi::ip(&abi::address(*ip))
            );
            let servers = backend.servers.iter().map(|s| s.name.to_string());
            lines.entry(command).or_default().extend(servers);
        }
    }
    let line = |(command, servers): (String, BTreeSet<String>)| {
        let servers: Vec<String> = servers.into_iter().collect();
        format!("{command}    # on {}", servers.join(", "))
    };
    lines.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_to_an_end() {
        let mut turns = Turns(CONNECTED);
        let taken = (0..CONNECTED * 2).filter(|_| turns.take()).count();
        assert_eq!(taken, CONNECTED);
    }
}
