//! `mode packet`: what the kernel does with packets.

use std::net::IpAddr;
use std::time::Duration;

/// What `bind … proto` names beside the protocols of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Transport {
    Tcp,
    Udp,
    /// Every protocol and port of the address.
    Any,
}

/// Addresses from first to last, both of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The lowest.
    pub first: IpAddr,
    /// How many; at most 65,536.
    pub size: u32,
    /// First and last of the ports that sessions get.
    pub ports: (u16, u16),
}

impl Pool {
    /// All of them.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let first = self.first;
        (0..self.size).map(move |at| match first {
            IpAddr::V4(ip) => IpAddr::V4(u32::from(ip).wrapping_add(at).into()),
            IpAddr::V6(ip) => IpAddr::V6(u128::from(ip).wrapping_add(at.into()).into()),
        })
    }
}

/// `snat`: connections that these hosts open outward leave with an address of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snat {
    /// Where they come from: an address and how many of its bits count.
    pub from: (IpAddr, u8),
    /// The VLAN that they are in.
    pub vlan: Option<u16>,
    /// What they get.
    pub to: Pool,
    /// The VLAN that those addresses are in.
    pub to_vlan: Option<u16>,
}

/// `forward`: what is changed in packets on their way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The destination; with a pool the source too.
    Nat(Option<Pool>),
    /// The destination on the link only.
    Dsr,
    /// Nothing: the packet goes inside another, IP in IP (RFC 2003, RFC 2473).
    Ipip,
    /// The same inside GRE (RFC 2784).
    Gre,
    /// The same inside UDP to this port (generic UDP encapsulation, variant 0).
    Gue(u16),
    /// The destination's addresses on the link and of IP; answers are turned back.
    Bridge,
    /// The destination, and this code point from which the server knows the virtual address.
    Dscp(u8),
    /// The next hop only: servers are firewalls or routers, which answers cross, too.
    Route,
}

impl Default for Forward {
    fn default() -> Self {
        Forward::Nat(None)
    }
}

impl Forward {
    /// Whether answers come back this way and are turned back.
    pub fn is_nat(&self) -> bool {
        matches!(self, Forward::Nat(_) | Forward::Bridge)
    }
}

/// `no-flow`: what becomes of a TCP packet that belongs to no session and begins none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NoFlow {
    #[default]
    Drop,
    Reset,
    /// It is given a server like one that begins a session.
    Hash,
}

/// `tune.packet.attach`: where the programs stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketAttach {
    /// In the driver where it can and every sum is whole there, else behind it.
    #[default]
    Auto,
    /// In the driver.
    Xdp,
    /// Behind the driver, by a link (from Linux 6.6 on).
    Tcx,
    /// Behind the driver, by a filter of traffic control.
    Clsact,
}

/// How long sessions without packets are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimeouts {
    /// `timeout session`: established.
    pub established: Duration,
    /// `timeout session-syn`: while they begin.
    pub syn: Duration,
    /// `timeout session-fin`: when one side has said its last.
    pub fin: Duration,
    /// `timeout session-closed`: when both have, or one has reset it.
    pub closed: Duration,
    /// `timeout session-udp`: everything but TCP and ICMP.
    pub udp: Duration,
    /// `timeout session-icmp`.
    pub icmp: Duration,
}

impl Default for SessionTimeouts {
    fn default() -> Self {
        SessionTimeouts {
            established: Duration::from_secs(15 * 60),
            syn: Duration::from_secs(30),
            fin: Duration::from_secs(120),
            closed: Duration::from_secs(10),
            udp: Duration::from_secs(60),
            icmp: Duration::from_secs(30),
        }
    }
}

/// `source-persistence`: clients keep the server that they had last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePersistence {
    /// How long after the last new session.
    pub time: Duration,
    /// Bits of the client's address that count; `None`: all of them.
    pub netmask: Option<u8>,
}

/// What a backend in packet mode does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Packets {
    /// `forward`.
    pub forward: Forward,
    /// `no-flow`.
    pub no_flow: NoFlow,
    /// `timeout session…`.
    pub timeouts: SessionTimeouts,
    /// `source-persistence`.
    pub persistence: Option<SourcePersistence>,
}
