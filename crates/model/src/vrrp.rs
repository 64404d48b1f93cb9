//! `vrrp`: addresses that this machine shares with others (RFC 9568).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A `vrrp` section: one virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vrrp {
    /// Its name.
    pub name: Arc<str>,
    /// Where adverts come and go, and where the addresses are.
    pub interface: Arc<str>,
    /// The virtual router's number, 1 to 255.
    pub vrid: u8,
    /// 2 or 3.
    pub version: u8,
    /// 1 to 254; 255: this machine owns the addresses.
    pub priority: u8,
    /// Between two adverts.
    pub interval: Duration,
    /// Whether a higher priority takes over from a lower one that is alive.
    pub preempt: bool,
    /// How long it waits before it does.
    pub preempt_delay: Duration,
    /// The addresses, of one family.
    pub addresses: Vec<VirtualAddress>,
    /// Routes by the interface that the active router has.
    pub routes: Vec<VirtualRoute>,
    /// Rules of routing that the active router has.
    pub rules: Vec<VirtualRule>,
    /// Whether the addresses have the virtual router's own hardware address (RFC 9568 section 7.3),
    /// which does not change when they move.
    pub virtual_mac: bool,
    /// Whether packets to the addresses are taken as our own (`Accept_Mode`, RFC 9568 section 6.1).
    pub accept: bool,
    /// Where adverts come from; otherwise the interface's first address.
    pub source: Option<IpAddr>,
    /// Routers that get adverts one by one instead of by multicast.
    pub unicast: Vec<IpAddr>,
    /// The same router over a second path.
    pub peers: Vec<SocketAddr>,
    /// What authenticates the second path.
    pub peer_key: Option<PeerKey>,
    /// Whether sessions and stick tables are kept alike with the peers.
    pub sync: Option<SyncSessions>,
    /// The group that moves as one.
    pub group: Option<Arc<str>>,
    /// What must be well for this machine to be active.
    pub tracks: Vec<Track>,
    /// Commands run at each change of state.
    pub notify: Vec<Arc<str>>,
    /// Between two announcements of the addresses while active; zero: only after a claim.
    pub refresh: Duration,
}

impl Vrrp {
    /// Whether it is about addresses of IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.addresses.first().is_some_and(|a| a.ip.is_ipv6())
    }
}

/// A virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualAddress {
    /// The address.
    pub ip: IpAddr,
    /// The length of its network's prefix, bits.
    pub prefix: u8,
}

impl VirtualAddress {
    /// Reads what [`fmt::Display`](std::fmt::Display) wrote.
    pub fn read(text: &str) -> Option<VirtualAddress> {
        let (ip, prefix) = text.split_once('/')?;
        let ip: IpAddr = ip.parse().ok()?;
        let prefix = prefix.parse().ok()?;
        (prefix <= if ip.is_ipv4() { 32 } else { 128 }).then_some(VirtualAddress { ip, prefix })
    }
}

/// A route that goes with the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualRoute {
    /// The network; a prefix of 0 is everything.
    pub destination: VirtualAddress,
    /// The next router; none: they are on the link.
    pub via: Option<IpAddr>,
    /// The routing table; none: the main one.
    pub table: Option<u32>,
}

impl std::fmt::Display for VirtualRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.destination.fmt(f)?;
        self.via.map_or(Ok(()), |via| write!(f, " via {via}"))?;
        self.table.map_or(Ok(()), |n| write!(f, " table {n}"))
    }
}

/// A rule that goes with the addresses: which packets are routed by which table. At least one of
/// `from` and `to` is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualRule {
    /// Where packets come from.
    pub from: Option<VirtualAddress>,
    /// Where they go.
    pub to: Option<VirtualAddress>,
    /// The routing table.
    pub table: u32,
    /// Its place among all rules; none: before those that are there.
    pub priority: Option<u32>,
}

impl VirtualRule {
    /// Whether it is about packets of IPv6.
    pub fn is_ipv6(&self) -> bool {
        let end = self.from.or(self.to);
        end.is_some_and(|n| n.ip.is_ipv6())
    }
}

impl std::fmt::Display for VirtualRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (word, network) in [("from", self.from), ("to", self.to)] {
            network.map_or(Ok(()), |n| write!(f, "{word} {n} "))?;
        }
        write!(f, "table {}", self.table)?;
        self.priority.map_or(Ok(()), |n| write!(f, " priority {n}"))
    }
}

impl std::fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

/// A `sync sessions` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncSessions {
    /// The interface of a link that only the machines themselves are on: nothing else is taken or
    /// sent, and no key is needed.
    pub dedicated: Option<Arc<str>>,
}

/// A shared secret; it shows in no dump.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerKey(pub Arc<[u8]>);

impl std::fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerKey(…)")
    }
}

/// A `track` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// What is watched.
    pub what: Tracked,
    /// What it does to the priority: a negative weight is added while it is down, a positive one
    /// while it is up. Without one, down is a fault: this machine takes no part.
    pub weight: Option<i32>,
}

/// What can be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// An interface: up while it is there, up and has a carrier.
    Interface(Arc<str>),
    /// A frontend: up while it takes connections.
    Frontend(Arc<str>),
    /// A backend: up while one of its servers is usable.
    Backend(Arc<str>),
    /// A command: up while it exits with 0.
    Script(Script),
    /// A file with a number: up while the number is 0, or there is no file. A weight is
    /// multiplied by the number.
    File(Arc<str>),
}

/// A command that is run again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// For `/bin/sh -c`.
    pub command: Arc<str>,
    /// Between two runs.
    pub inter: Duration,
    /// How long a run may take.
    pub timeout: Duration,
    /// Good runs in a row before it counts as up.
    pub rise: u32,
    /// Bad runs in a row before it counts as down.
    pub fall: u32,
}
