//! What must hold in packet mode, where no connection ends here and nothing is read of its content.

use super::Loader;
use super::servers::lacks_check_port;
use crate::diag::Severity;
use crate::draft::{CheckChoice, Draft};
use model::{
    Address, Balance, BindOptions, Forward, Host, Mode, PortSpec, SessionTimeouts, Transport,
};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// What a packet backend wants of the addresses that lead to it.
#[derive(Clone, Copy)]
pub(super) struct Wants {
    /// Whether they must be of IPv6; `None` where any will do.
    six: Option<bool>,
    /// Whether they come in at the ports of a bridge.
    bridge: bool,
    /// Whether answers are turned back here.
    turned: bool,
}

/// Of all backends in packet mode.
pub(super) type Backends = HashMap<Arc<str>, Wants>;

pub(super) fn backends(drafts: &[Draft]) -> Backends {
    let packet = drafts
        .iter()
        .filter(|d| d.mode == Mode::Packet && d.has_back());
    let wants = |d: &Draft| Wants {
        six: family_of(d),
        bridge: d.back.packets.forward == Forward::Bridge,
        turned: d.back.packets.forward.is_nat(),
    };
    packet.map(|d| (Arc::clone(&d.name), wants(d))).collect()
}

/// The backend that packets of a frontend go to.
fn backend_of(draft: &Draft) -> Option<&Arc<str>> {
    match &draft.front.default_backend {
        None if draft.has_back() => Some(&draft.name),
        named => named.as_ref(),
    }
}

/// The interfaces that a `bind` names.
fn interfaces(options: &BindOptions) -> Vec<&str> {
    let names = options.interface.iter().flat_map(|i| i.split(','));
    names.filter(|n| !n.is_empty()).collect()
}

/// Interfaces that one `bind` may name: as many as the tables in the kernel have room for.
const INTERFACES: usize = 4;

fn family_of(draft: &Draft) -> Option<bool> {
    match draft.back.packets.forward {
        // The packet inside may be of another family, and who only changes links sees none.
        Forward::Ipip | Forward::Gre | Forward::Gue(_) | Forward::Dsr => None,
        Forward::Nat(_) | Forward::Bridge | Forward::Dscp(_) | Forward::Route => {
            draft.back.servers.iter().find_map(|s| is_ipv6(&s.address))
        }
    }
}

/// A next hop has no port that checks could go to: where none is named, an ICMP echo says whether
/// packets come through.
pub(super) fn default_check(draft: &mut Draft) {
    let mut checked = draft.back.servers.iter().filter(|s| s.check.is_some());
    let portless = checked.next().is_some_and(lacks_check_port) && checked.all(lacks_check_port);
    if draft.mode == Mode::Packet
        && draft.back.packets.forward == Forward::Route
        && draft.check.choice.is_none()
        && portless
    {
        draft.check.choice = Some(CheckChoice::Kind(model::CheckKind::Echo));
    }
}

/// A word of `bind` about connections, if there is one.
fn idle_word_of_bind(options: &BindOptions) -> Option<&'static str> {
    let words = [
        ("backlog", options.backlog.is_some()),
        ("cc", options.congestion.is_some()),
        ("defer-accept", options.defer_accept),
        ("maxconn", options.maxconn.is_some()),
        ("mss", options.mss.is_some()),
        ("nice", options.nice != 0),
        ("tcp-ut", options.tcp_user_timeout.is_some()),
        ("tfo", options.tfo),
        ("thread", options.thread.is_some()),
        ("transparent", options.transparent),
        ("v4v6", options.v4v6),
        ("v6only", options.v6only),
    ];
    words.iter().find(|(_, said)| *said).map(|(word, _)| *word)
}

/// A word of `server` about connections, if there is one.
fn idle_word_of_server(server: &model::Server) -> Option<&'static str> {
    let words = [
        ("max-reuse", server.max_reuse.is_some()),
        ("maxqueue", server.maxqueue != 0),
        ("minconn", server.minconn != 0),
        ("non-stick", server.non_stick),
        ("observe", server.observe.is_some()),
        ("pool-max-conn", server.pool_max_conn.is_some()),
        ("redir", server.redir.is_some()),
    ];
    words.iter().find(|(_, said)| *said).map(|(word, _)| *word)
}

/// Whether nobody elsewhere sends to such an address: this machine's own, and groups.
fn is_nobodys(address: &Address) -> bool {
    matches!(address, Address::Inet { host: Host::Ip(ip), .. } if ip.is_loopback() || ip.is_multicast())
}

/// Where addresses of a proxy stand, which ones, and in which VLAN each has to be.
type Claim = (Rc<str>, Vec<IpAddr>, Option<u16>);

fn claims(draft: &Draft) -> Vec<Claim> {
    let mut claims = Vec::new();
    for bind in &draft.front.binds {
        // A prefix may be balanced in several, by other firewalls in each.
        if let (
            Address::Inet {
                host: Host::Ip(ip), ..
            },
            None,
        ) = (&bind.address, bind.prefix)
        {
            let place = format!("the 'bind' at {}", bind.origin);
            claims.push((place.into(), vec![*ip], bind.options.vlan));
        }
    }
    for snat in &draft.front.snat {
        let (ip, bits) = snat.from;
        let place = format!("the 'snat {ip}/{bits}' of '{}'", draft.name);
        claims.push((place.into(), snat.to.addresses().collect(), snat.to_vlan));
    }
    if let Forward::Nat(Some(pool)) = draft.back.packets.forward
        && draft.has_back()
    {
        // Who answers to it is in the servers' network.
        let vlan = draft.back.servers.iter().find_map(|s| s.vlan);
        let place = format!("the 'forward nat source' of '{}'", draft.name);
        claims.push((place.into(), pool.addresses().collect(), vlan));
    }
    claims
}

fn is_ipv6(address: &Address) -> Option<bool> {
    match address {
        Address::Inet {
            host: Host::Ip(ip), ..
        } => Some(ip.is_ipv6()),
        Address::Inet {
            host: Host::Any6, ..
        } => Some(true),
        _ => None,
    }
}

impl Loader<'_> {
    /// Checks a proxy in packet mode, and gives its sessions their timeouts.
    pub(super) fn fit_packets(&mut self, draft: &mut Draft, backends: &Backends) {
        self.refuse_rules(draft);
        self.check_cookies(draft, backends);
        if draft.has_front() {
            self.check_binds(draft, backends);
        }
        if draft.has_back() {
            self.check_packet_servers(draft);
            self.fit_route(draft);
            let default = SessionTimeouts::default();
            let t = &draft.timeouts;
            draft.back.packets.timeouts = SessionTimeouts {
                established: t.session.unwrap_or(default.established),
                syn: t.session_syn.unwrap_or(default.syn),
                fin: t.session_fin.unwrap_or(default.fin),
                closed: t.session_closed.unwrap_or(default.closed),
                udp: t.session_udp.unwrap_or(default.udp),
                icmp: t.session_icmp.unwrap_or(default.icmp),
            };
        }
    }

    /// Who translates numbers must see both directions.
    fn check_cookies(&mut self, draft: &Draft, backends: &Backends) {
        let own = draft.has_back().then_some(&draft.name);
        let led = draft.has_front().then(|| backend_of(draft)).flatten();
        let mut both = own.into_iter().chain(led).filter_map(|b| backends.get(b));
        if draft.guard.cookies.is_some_and(|c| c.transparent) && both.any(|w| !w.turned) {
            let message = format!(
                "'guard syn-cookies transparent' of '{}' wants 'forward nat' or 'forward bridge', because answers must come this way: use 'safe-reset'",
                draft.name
            );
            let place = draft.marks.get("guard").unwrap_or(&draft.place);
            self.at(place, Severity::Error, message);
        }
    }

    /// What several proxies must agree on: a port is of one bridge, an address in one VLAN.
    pub(super) fn compare_packet_binds(&mut self, drafts: &[Draft], backends: &Backends) {
        let mut others: HashMap<&str, &str> = HashMap::new();
        let fronts = drafts
            .iter()
            .filter(|d| d.mode == Mode::Packet && d.has_front());
        for draft in fronts {
            let wants = backend_of(draft).and_then(|b| backends.get(b));
            let bridge = wants.is_some_and(|w| w.bridge);
            for bind in &draft.front.binds {
                let ports = interfaces(&bind.options);
                if let (true, [a, b]) = (bridge, ports.as_slice()) {
                    for (port, other) in [(*a, *b), (*b, *a)] {
                        let known = *others.entry(port).or_insert(other);
                        if known != other {
                            let message = format!(
                                "the 'bind' at {}: port '{port}' is a bridge with '{known}' already, not with '{other}': use other ports",
                                bind.origin
                            );
                            self.at(&draft.place, Severity::Error, message);
                        }
                    }
                }
            }
        }
        self.compare_vlans(drafts);
    }

    fn compare_vlans(&mut self, drafts: &[Draft]) {
        let mut known: HashMap<IpAddr, (Option<u16>, Rc<str>)> = HashMap::new();
        for draft in drafts.iter().filter(|d| d.mode == Mode::Packet) {
            for (place, addresses, vlan) in claims(draft) {
                let word = |vlan: Option<u16>| vlan.map_or("none".into(), |v| format!("vlan {v}"));
                let differs = addresses.into_iter().find_map(|ip| {
                    let first = known.entry(ip).or_insert_with(|| (vlan, Rc::clone(&place)));
                    (first.0 != vlan).then(|| {
                        format!(
                            "{place}: {ip} is in one VLAN, and stands here with {} and in {} with {}: make them equal",
                            word(vlan),
                            first.1,
                            word(first.0)
                        )
                    })
                });
                if let Some(message) = differs {
                    self.at(&draft.place, Severity::Error, message);
                }
            }
        }
    }

    /// Words of packet mode where connections end here.
    pub(super) fn refuse_packet_words(&mut self, draft: &Draft) {
        for word in ["forward", "guard", "no-flow", "snat", "source-persistence"] {
            if let Some(place) = draft.marks.get(word) {
                let message = format!(
                    "'{word}' is for 'mode packet', which '{}' is not in: set that mode, or remove it",
                    draft.name
                );
                self.at(place, Severity::Error, message);
            }
        }
        let drains = |s: &&model::Server| s.on_marked_down == Some(model::MarkedDown::Drain);
        if let Some(server) = draft.back.servers.iter().find(drains) {
            let message = format!(
                "server '{}/{}' has 'on-marked-down drain', which is for 'mode packet': connections that end here go on anyway, remove it",
                draft.name, server.name
            );
            self.at(&draft.place, Severity::Error, message);
        }
        let tagged = draft.front.binds.iter().find(|b| b.options.vlan.is_some());
        if let Some(bind) = tagged {
            let message = format!(
                "the 'bind' at {} has 'vlan', which is for 'mode packet': set that mode, or bind to the VLAN's own interface",
                bind.origin
            );
            self.at(&draft.place, Severity::Error, message);
        }
        if let Some(server) = draft.back.servers.iter().find(|s| s.vlan.is_some()) {
            let message = format!(
                "server '{}/{}' has 'vlan', which is for 'mode packet': set that mode, or remove it",
                draft.name, server.name
            );
            self.at(&draft.place, Severity::Error, message);
        }
        let packets = |t| {
            matches!(t, Some(Transport::Any))
                || draft.mode != Mode::Udp && matches!(t, Some(Transport::Udp))
        };
        let mut binds = draft.front.binds.iter();
        if let Some(bind) = binds.find(|b| b.prefix.is_some()) {
            let message = format!(
                "the 'bind' at {} names a prefix, which is for 'mode packet': set that mode, or name an address",
                bind.origin
            );
            self.at(&draft.place, Severity::Error, message);
        }
        let mut binds = draft.front.binds.iter();
        if let Some(bind) = binds.find(|b| packets(b.options.transport)) {
            let message = format!(
                "the 'bind' at {} serves datagrams or packets, which is for 'mode packet': set that mode",
                bind.origin
            );
            self.at(&draft.place, Severity::Error, message);
        }
    }

    /// Nothing that reads or answers what connections carry can be done to packets.
    fn refuse_rules(&mut self, draft: &Draft) {
        let name = &draft.name;
        let words = [
            ("http-request", !draft.http_request.is_empty()),
            ("http-response", !draft.http_response.is_empty()),
            ("http-after-response", !draft.http_after_response.is_empty()),
            ("tcp-request content", !draft.tcp_request_content.is_empty()),
            (
                "tcp-response content",
                !draft.tcp_response_content.is_empty(),
            ),
            (
                "tcp-request connection",
                !draft.front.tcp_request_connection.is_empty(),
            ),
            (
                "tcp-request session",
                !draft.front.tcp_request_session.is_empty(),
            ),
            ("use_backend", !draft.front.switches.is_empty()),
            ("use-server", !draft.back.use_server.is_empty()),
            ("cookie", draft.back.cookie.is_some()),
            ("compression", draft.http.compression.is_some()),
            ("stats", draft.stats.is_some()),
            ("source", draft.back.source.is_some()),
        ];
        for (word, _) in words.into_iter().filter(|(_, there)| *there) {
            let message = format!(
                "'{word}' cannot be done in '{name}', which is in 'mode packet': no connection ends here; use 'mode tcp' or 'http', or remove it"
            );
            let place = draft.marks.get(word).unwrap_or(&draft.place);
            self.at(place, Severity::Error, message);
        }
    }

    fn check_binds(&mut self, draft: &Draft, backends: &Backends) {
        let name = &draft.name;
        let front = &draft.front;
        let reachable = !front.binds.is_empty() || !front.snat.is_empty();
        let reachable = reachable || draft.refused.contains("bind");
        if !reachable && !draft.disabled {
            let message = format!("'{name}' has no 'bind' line, so no packet is for it: add one");
            self.at(&draft.place, Severity::Warning, message);
        }
        let Some(backend) = backend_of(draft) else {
            let message =
                format!("'{name}' leads nowhere: add 'default_backend' with a backend's name");
            self.at(&draft.place, Severity::Error, message);
            return;
        };
        let wants = backends.get(backend).copied();
        let family = wants.and_then(|w| w.six);
        let bridge = wants.is_some_and(|w| w.bridge);
        for bind in &draft.front.binds {
            let (address, options) = (&bind.address, &bind.options);
            let ports = interfaces(options).len();
            if let Some(word) = idle_word_of_bind(options) {
                let message = format!(
                    "the 'bind' at {} has '{word}', which has no effect in 'mode packet', where no connection ends here: remove it",
                    bind.origin
                );
                self.at(&draft.place, Severity::Warning, message);
            }
            let wrong = if !matches!(address, Address::Inet { .. }) {
                "packets have IP addresses: name one".to_string()
            } else if is_nobodys(address) {
                "packets for that address cross no interface: name one that clients send to"
                    .to_string()
            } else if options.namespace.is_some() {
                "packets are served in the namespace that mulgil runs in: remove 'namespace', or start another mulgil there"
                    .to_string()
            } else if bridge && !(1..=2).contains(&ports) {
                "a bridge has two ports, or one beside a switch: name them, 'interface p0,p1' for example"
                    .to_string()
            } else if ports > INTERFACES {
                format!(
                    "it names more than {INTERFACES} interfaces: leave 'interface' out to serve on all of them"
                )
            } else if options.tls.is_some() || options.accept_proxy {
                "'ssl' and 'accept-proxy' are for connections that end here: remove them"
                    .to_string()
            } else if family.is_some_and(|wanted| is_ipv6(address).is_some_and(|six| six != wanted))
            {
                format!(
                    "its address is of another family than the servers of '{backend}': use a backend for each"
                )
            } else {
                continue;
            };
            let message = format!("the 'bind' at {}: {wrong}", bind.origin);
            self.at(&draft.place, Severity::Error, message);
        }
    }

    /// Firewalls are chosen by both addresses of a packet, whoever asks first, and a packet of a
    /// session that is not known here is given to the one that knows it.
    fn fit_route(&mut self, draft: &mut Draft) {
        if draft.back.packets.forward != Forward::Route {
            return;
        }
        if !draft.marks.contains_key("no-flow") {
            draft.back.packets.no_flow = model::NoFlow::Hash;
        }
        if !matches!(draft.back.balance, Balance::Maglev(_))
            && let Some(place) = draft.marks.get("balance")
        {
            let message = "'forward route' chooses by both addresses of a packet, so that answers meet the same firewall: this line has no effect, remove it";
            self.at(place, Severity::Warning, message.into());
        }
    }

    fn check_packet_servers(&mut self, draft: &Draft) {
        let name = &draft.name;
        let readable = match &draft.back.balance {
            Balance::Uri { .. } => Some("uri"),
            Balance::UrlParam { .. } => Some("url_param"),
            Balance::Header { .. } => Some("hdr"),
            Balance::RdpCookie { .. } => Some("rdp-cookie"),
            Balance::Sticky => Some("sticky"),
            _ => None,
        };
        if let Some(kind) = readable {
            let message = format!(
                "'balance {kind}' needs what connections carry or how long they take, which 'mode packet' of '{name}' does not see: use roundrobin, leastconn, source, hash, maglev, random or first"
            );
            let place = draft.marks.get("balance").unwrap_or(&draft.place);
            self.at(place, Severity::Error, message);
        }
        let place = draft.marks.get("balance").unwrap_or(&draft.place);
        if draft.back.balance.packet_parts().is_none() {
            let message = format!(
                "this 'balance' hashes something else than 'src', 'dst', 'src_port', 'dst_port' and 'fc_saved_syn,eth.src', which is all that 'mode packet' of '{name}' reads: hash some of these"
            );
            self.at(place, Severity::Error, message);
        }
        let timed = matches!(
            draft.back.balance,
            Balance::ResponseTime | Balance::Fastest | Balance::WeightedResponseTime
        );
        if timed && !draft.back.servers.iter().any(|s| s.check.is_some()) {
            let message = format!(
                "'mode packet' of '{name}' knows only by health checks how long servers take, and none is checked: add 'check' to them, or use another 'balance'"
            );
            self.at(place, Severity::Warning, message);
        }
        let family = family_of(draft);
        if let Some(bits) = draft.back.packets.persistence.and_then(|p| p.netmask)
            && bits > 32
            && family == Some(false)
        {
            let message = format!(
                "'netmask {bits}' is too long for IPv4 addresses, which servers of '{name}' have: use 1 to 32"
            );
            let place = draft.marks.get("source-persistence");
            self.at(place.unwrap_or(&draft.place), Severity::Error, message);
        }
        let pool = match draft.back.packets.forward {
            Forward::Nat(pool) => pool,
            _ => None,
        };
        for server in &draft.back.servers {
            let wrong = match &server.address {
                Address::Inet {
                    port: PortSpec::Offset(_),
                    ..
                } => {
                    "has a port relative to the client's: name a port, or none for the client's own"
                }
                Address::Inet {
                    host: Host::Ip(ip), ..
                } if ip.is_loopback() => "is this machine's own: packets cannot be sent there",
                Address::Inet {
                    host: Host::Ip(ip), ..
                } if pool.is_some_and(|p| p.first.is_ipv6() != ip.is_ipv6()) => {
                    "is of another family than the pool: use one of the same"
                }
                Address::Inet {
                    host: Host::Ip(ip), ..
                } if family.is_some_and(|f| f != ip.is_ipv6()) => {
                    "is of another family than the first: use a backend for each"
                }
                Address::Inet {
                    host: Host::Ip(_) | Host::Name(_),
                    ..
                } if server.tls.is_some() || server.send_proxy.is_some() => {
                    "has 'ssl' or 'send-proxy', which are for connections that begin here: remove it"
                }
                Address::Inet {
                    host: Host::Ip(_) | Host::Name(_),
                    ..
                } if server.namespace.is_some() => {
                    "has 'namespace', and packets are sent in the one that mulgil runs in: remove it"
                }
                Address::Inet {
                    host: Host::Ip(_) | Host::Name(_),
                    ..
                } => continue,
                _ => "is no address that packets can be sent to: name an IP address",
            };
            let message = format!("server '{name}/{}' {wrong}", server.name);
            self.at(&draft.place, Severity::Error, message);
        }
        let mut idle = draft.back.servers.iter();
        if let Some((server, word)) = idle.find_map(|s| Some((s, idle_word_of_server(s)?))) {
            let message = format!(
                "server '{name}/{}' has '{word}', which has no effect in 'mode packet', where no connection ends here: remove it",
                server.name
            );
            self.at(&draft.place, Severity::Warning, message);
        }
        let fixed = |a: &Address| {
            matches!(
                a,
                Address::Inet {
                    port: PortSpec::Fixed(_),
                    ..
                }
            )
        };
        let mut servers = draft.back.servers.iter();
        if !draft.back.packets.forward.is_nat()
            && servers.any(|s| fixed(&s.address) && s.check.is_none())
        {
            let message = format!(
                "ports of servers in '{name}' have no effect: this way to forward keeps the client's; leave them out"
            );
            self.at(&draft.place, Severity::Warning, message);
        }
    }
}
