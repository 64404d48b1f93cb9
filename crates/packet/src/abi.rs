//! What the programs and we share: `bpf/types.h` field by field.
//!
//! Addresses are 16 bytes in network order, IPv4 as `::ffff:a.b.c.d`; ports are in network order
//! where a field does not say otherwise. [`ABI`] names this layout: tables of another are not taken
//! over.

use std::net::{IpAddr, Ipv6Addr};

/// Changes whenever a layout below does: part of the folder's name that tables are pinned in.
pub const ABI: u32 = 6;

/// An address as the tables have it.
pub type Address = [u8; 16];

/// Any address as 16 bytes.
pub fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that 16 bytes mean.
pub fn ip(address: &Address) -> IpAddr {
    Ipv6Addr::from(*address).to_canonical()
}

/// `struct flow_key`: a packet's addresses as it came.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say it
pub struct FlowKey {
    pub src: Address,
    pub dst: Address,
    pub sport: u16,
    pub dport: u16,
    pub vlan: u16,
    pub proto: u8,
    pub pad: u8,
}

impl FlowKey {
    /// The two ends: where it comes from, where it goes.
    pub fn ends(&self) -> (std::net::SocketAddr, std::net::SocketAddr) {
        (
            (ip(&self.src), u16::from_be(self.sport)).into(),
            (ip(&self.dst), u16::from_be(self.dport)).into(),
        )
    }
}

/// `struct hop`: where a frame goes on its link.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// The next one's address on the link.
    pub dst: [u8; 6],
    /// The tag, 0 for none.
    pub vlan: u16,
    /// Ours.
    pub src: [u8; 6],
    /// Bytes that an IP packet may have there.
    pub mtu: u16,
    /// 0: not known.
    pub ifindex: u32,
}

/// `struct flow`: what is done to packets of one direction of a session.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Source after the rewrite.
    pub src: Address,
    /// Destination after the rewrite.
    pub dst: Address,
    /// Source port after the rewrite.
    pub sport: u16,
    /// Destination port after the rewrite.
    pub dport: u16,
    /// Of answers; what goes to servers takes the server's, and has its VLAN here.
    pub hop: Hop,
    /// Index in `servers`.
    pub server: u32,
    /// Bits of [`flow_state`].
    pub state: u32,
    /// Second of the monotonic clock.
    pub seen: u32,
    /// When it began, likewise.
    pub born: u32,
    /// Of [`Settings`] when `hop` was found.
    pub epoch: u32,
    /// What the rewrite adds to the sum of the IPv4 header,
    pub ip_delta: u16,
    /// to a pseudo header by its addresses,
    pub address_delta: u16,
    /// to TCP and UDP by their ports.
    pub port_delta: u16,
    /// What is done, bits of [`step`].
    pub steps: u8,
    /// The code point where `steps` sets one.
    pub dscp: u8,
    /// Zero.
    pub pad: u32,
}

/// Bits of [`Flow::state`].
#[allow(missing_docs)] // see types.h
pub mod flow_state {
    pub const FORWARD: u32 = 1;
    pub const CONFIRMED: u32 = 1 << 1;
    pub const FIN: u32 = 1 << 2;
    pub const PEER_FIN: u32 = 1 << 3;
    pub const RESET: u32 = 1 << 4;
    pub const COUNTED: u32 = 1 << 5;
    pub const SPLICED: u32 = 1 << 7;
}

/// Bits of [`Flow::steps`].
#[allow(missing_docs)] // see types.h
pub mod step {
    pub const ADDRESSES: u8 = 1;
    pub const TTL: u8 = 1 << 1;
    pub const DSCP: u8 = 1 << 2;
    pub const ENCAP: u8 = 1 << 3;
    pub const BRIDGE: u8 = 1 << 6;
    pub const ROUTE: u8 = 1 << 7;
}

/// What the tables use, of which the programs have only what is: the constant `features`.
#[allow(missing_docs)] // see tables.h
pub mod feature {
    pub const PREFIX: u32 = 1;
    pub const ROUTE: u32 = 1 << 1;
    pub const SNAT: u32 = 1 << 2;
    pub const SOURCES: u32 = 1 << 8;
    pub const GUARD: u32 = 1 << 3;
    pub const LISTS: u32 = 1 << 4;
    pub const LIMITS: u32 = 1 << 5;
    pub const COOKIES: u32 = 1 << 6;
    pub const SPLICE: u32 = 1 << 7;
}

/// `struct service_key`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// The virtual address, or the beginning of them.
    pub address: Address,
    /// Of a prefix that counts in one place ([`place`]); otherwise 0.
    pub place: u32,
    /// 0: all of them.
    pub port: u16,
    /// 0: all of them.
    pub proto: u8,
    /// Of a prefix, in 16 bytes; 0 of an address.
    pub bits: u8,
}

/// `struct prefix_key` behind its length: a place, or 0, and an address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrefixKey {
    /// Where it counts ([`place`]); 0: anywhere.
    pub place: u32,
    /// The beginning; zero from there on.
    pub address: Address,
}

/// `struct prefix`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// As in its key.
    pub address: Address,
    /// Bits of [`vip`].
    pub kinds: u32,
    /// How many of the address count, in 16 bytes.
    pub bits: u32,
}

/// Interfaces with VLANs have numbers below this one; it stands for prefixes of sources (`snat`), which count at all
/// interfaces.
pub const SOURCES_IFINDEX: u32 = 0x7_ffff;

/// The place of sources without a tag: there is no VLAN 4095.
pub const SOURCES: u32 = u32::MAX;

/// Where a prefix or a next hop counts: at an interface (0: at all of them), or in a VLAN there (0: none).
pub fn place(ifindex: u32, vlan: u16) -> u32 {
    match vlan {
        0 => ifindex,
        vlan => 1 << 31 | u32::from(vlan) << 19 | (ifindex & SOURCES_IFINDEX),
    }
}

/// The place of sources in a VLAN (0: none).
pub fn sources(vlan: u16) -> u32 {
    match vlan {
        0 => SOURCES,
        vlan => place(SOURCES_IFINDEX, vlan),
    }
}

/// The VLAN of a place; 0: none.
pub fn vlan_of(place: u32) -> u16 {
    match place {
        SOURCES => 0,
        place if place >> 31 == 0 => 0,
        place => (place >> 19 & 0xfff) as u16,
    }
}

/// Whether a place is one of sources.
pub fn is_of_sources(place: u32) -> bool {
    place >> 31 == 1 && place & SOURCES_IFINDEX == SOURCES_IFINDEX
}

/// The place of all sessions that servers have opened outward.
pub const OUTWARD: u32 = 16_383;

/// `struct gateway_key`: who a frame comes from.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayKey {
    /// Its address on the link.
    pub mac: [u8; 6],
    /// 4 or 6.
    pub family: u16,
    /// Where it comes in ([`place`]).
    pub place: u32,
}

/// Interfaces that one service may name.
pub const INTERFACES: usize = 4;

/// `struct service`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Index in `tables`.
    pub table: u32,
    /// Entries of that table.
    pub size: u32,
    /// The programs' own.
    pub cursor: u32,
    /// Only what comes in at one of these; all 0: anywhere.
    pub ifindex: [u32; INTERFACES],
    /// First source address of full NAT.
    pub pool_first: Address,
    /// How many; 0: the client's address stays.
    pub pool_size: u32,
    /// First port of the pool, or the port of GUE, in our own byte order.
    pub port_first: u16,
    /// Last port of the pool, likewise.
    pub port_last: u16,
    /// One of [`forward`].
    pub forward: u8,
    /// One of [`schedule`].
    pub schedule: u8,
    /// One of [`no_flow`].
    pub no_flow: u8,
    /// The code point of `forward dscp`.
    pub dscp: u8,
    /// 1: the direction of answers is made when the first one comes ([`Origin`]).
    pub late: u8,
    /// Bits of a client's address that [`SourceKey`] has.
    pub source_bits: u8,
    /// Bits of [`hash`], for [`schedule::HASH`].
    pub by: u8,
    /// Zero.
    pub pad: u8,
    /// Seconds that a client's server is remembered; 0: not at all.
    pub keep: u32,
    /// Whose memory that is: of a backend.
    pub keeper: u32,
    /// Whose sessions these are, as in [`SeatKey`].
    pub frontend: u32,
    /// Index in `guards`; 0: none.
    pub guard: u32,
    /// Of its address, or of those of `snat`; 0: none.
    pub vlan: u32,
}

/// `struct source_key`: a client, or its network.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// Its address, or the beginning of it.
    pub address: Address,
    /// As in [`Service`].
    pub keeper: u32,
}

/// `struct kept`: the server that it had last, whichever frontend led to it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// As in [`Server`].
    pub member: [u32; 2],
    /// Second of the monotonic clock.
    pub until: u32,
}

/// `struct seat_key`: a server of a backend, as sessions of one frontend have it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeatKey {
    /// As in [`Server`].
    pub member: [u32; 2],
    /// Of the frontend's name.
    pub frontend: u32,
}

/// `struct origin_key`: an end that only one service leads to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OriginKey {
    /// The server's,
    pub address: Address,
    /// and its port.
    pub port: u16,
    /// Its VLAN.
    pub vlan: u16,
    /// TCP or UDP.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// `struct origin`: that service, as its clients name it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The virtual address,
    pub address: Address,
    /// and its port.
    pub port: u16,
    /// Its VLAN.
    pub vlan: u16,
}

/// [`Service::forward`].
#[allow(missing_docs)] // see types.h
pub mod forward {
    pub const NAT: u8 = 0;
    pub const DSR: u8 = 1;
    pub const IPIP: u8 = 2;
    pub const DSCP: u8 = 3;
    pub const GRE: u8 = 4;
    pub const GUE: u8 = 5;
    pub const BRIDGE: u8 = 6;
    pub const ROUTE: u8 = 7;
}

/// [`Service::schedule`].
#[allow(missing_docs)] // see types.h
pub mod schedule {
    pub const TURN: u8 = 0;
    pub const FLOW: u8 = 1;
    pub const HASH: u8 = 2;
    pub const LEAST: u8 = 3;
    pub const FIRST: u8 = 4;
    pub const RANDOM: u8 = 5;
    pub const PAIR: u8 = 6;
}

/// [`Service::by`].
#[allow(missing_docs)] // see types.h
pub mod hash {
    pub const SRC: u8 = 1;
    pub const DST: u8 = 2;
    pub const SPORT: u8 = 4;
    pub const DPORT: u8 = 8;
    pub const MAC: u8 = 16;
}

/// [`Service::no_flow`].
#[allow(missing_docs)] // see types.h
pub mod no_flow {
    pub const DROP: u8 = 0;
    pub const RESET: u8 = 1;
    pub const HASH: u8 = 2;
}

/// Values of `vips`: which kinds of service an address has, and in the upper half its VLAN.
#[allow(missing_docs)] // see types.h
pub mod vip {
    pub const PORT: u32 = 1;
    pub const PROTO: u32 = 2;
    pub const ANY: u32 = 4;
    pub const ANSWER: u32 = 8;
    pub const PASS: u32 = 16;
    pub const VLAN_SHIFT: u32 = 16;
}

/// `struct server`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub address: Address,
    /// Ours towards it: the outer source of tunnels.
    pub local: Address,
    /// The way to it.
    pub hop: Hop,
    /// Bits of [`server`].
    pub flags: u32,
    /// Relative to others of its service, not 0.
    pub weight: u32,
    /// Connections at a time; 0: no limit.
    pub maxconn: u32,
    /// 0: the client's.
    pub port: u16,
    /// Zero.
    pub pad: [u16; 3],
    /// Of frontend, backend and server; 0: this place is free.
    pub identity: u64,
    /// Of backend and server: the same whichever frontend leads here.
    pub member: [u32; 2],
}

/// Bits of [`Server::flags`].
#[allow(missing_docs)] // see types.h
pub mod server {
    pub const TAKES: u32 = 1;
    pub const KEEPS: u32 = 2;
}

/// `struct traffic`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sessions begun.
    pub sessions: u64,
    /// Packets of clients.
    pub packets_in: u64,
    /// Bytes of them, from the IP header on.
    pub bytes_in: u64,
    /// Packets of servers that came back this way.
    pub packets_out: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// Sessions reset because their server is gone.
    pub resets: u64,
    /// Zero.
    pub refused: u64,
}

/// `struct settings`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Counts changes of links, routes and neighbours.
    pub epoch: u32,
    /// Bits of [`setting`].
    pub flags: u32,
}

/// VLANs of one interface in which a receiver is looked for.
pub const ASKED: usize = 8;

/// `struct port`: an interface that more is known of.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// The other port of a bridge; 0: none.
    pub other: u32,
    /// Where the kernel's protocols see what comes in at either port.
    pub home: u32,
    /// Its address on the link.
    pub mac: [u8; 6],
    /// That of the other port.
    pub other_mac: [u8; 6],
    /// In which who was not met yet is asked for; 0: no more.
    pub vlans: [u16; ASKED],
}

/// `struct lane`: a VLAN that this machine takes part in without an interface for it; with VLAN 0 a VLAN's own interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names say it
pub struct Lane {
    pub ifindex: u32,
    pub vlan: u32,
}

/// `struct station`: where the owner of an address on the link is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub struct Station {
    pub ifindex: u32,
    pub vlan: u32,
}

/// [`Settings::flags`].
#[allow(missing_docs)] // see types.h
pub mod setting {
    pub const TELL: u32 = 1;
}

/// `struct news`: a session that another machine should know, or its end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Of the direction from the client.
    pub key: FlowKey,
    /// That direction.
    pub flow: Flow,
    /// 1: it is over.
    pub over: u32,
    /// Zero.
    pub pad: u32,
}

/// `struct wanted`: somebody on a link whose address there is not known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Its IP address.
    pub ip: Address,
    /// The link.
    pub ifindex: u32,
}

/// Names of the counters in `events`, in their order.
pub const EVENTS: [&str; 13] = [
    "malformed",
    "no-server",
    "no-flow",
    "table-full",
    "pool-empty",
    "no-neighbour",
    "fragment-lost",
    "too-big",
    "reset",
    "icmp-error",
    "arp",
    "failed",
    "loop",
];

// SAFETY: all of these are `repr(C)`, hold integers and arrays of integers only, and their fields
// fill them without padding (the assertions below add them up), so that any bytes are a value and every
// byte of a value is set.
unsafe impl aya::Pod for FlowKey {}
unsafe impl aya::Pod for Flow {}
unsafe impl aya::Pod for ServiceKey {}
unsafe impl aya::Pod for PrefixKey {}
unsafe impl aya::Pod for Prefix {}
unsafe impl aya::Pod for GatewayKey {}
unsafe impl aya::Pod for Service {}
unsafe impl aya::Pod for SourceKey {}
unsafe impl aya::Pod for Kept {}
unsafe impl aya::Pod for SeatKey {}
unsafe impl aya::Pod for OriginKey {}
unsafe impl aya::Pod for Origin {}
unsafe impl aya::Pod for Server {}
unsafe impl aya::Pod for Traffic {}
unsafe impl aya::Pod for Settings {}
unsafe impl aya::Pod for Port {}
unsafe impl aya::Pod for Lane {}
unsafe impl aya::Pod for Station {}
unsafe impl aya::Pod for News {}
unsafe impl aya::Pod for Wanted {}

const _: () = {
    assert!(size_of::<Hop>() == 20);
    assert!(size_of::<FlowKey>() == 40);
    assert!(size_of::<Flow>() == 36 + 20 + 20 + 8 + 4);
    assert!(size_of::<ServiceKey>() == 24);
    assert!(size_of::<PrefixKey>() == 20);
    assert!(size_of::<Prefix>() == 24);
    assert!(size_of::<GatewayKey>() == 12);
    assert!(size_of::<News>() == 40 + 88 + 4 + 4);
    assert!(size_of::<Wanted>() == 20);
    assert!(size_of::<Service>() == 12 + 16 + 16 + 8 + 4 + 4 + 20);
    assert!(size_of::<SourceKey>() == 20);
    assert!(size_of::<Kept>() == 12);
    assert!(size_of::<SeatKey>() == 12);
    assert!(size_of::<OriginKey>() == 24);
    assert!(size_of::<Origin>() == 20);
    assert!(size_of::<Server>() == 32 + 20 + 12 + 8 + 8 + 8);
    assert!(size_of::<Traffic>() == 56);
    assert!(size_of::<Port>() == 20 + 2 * ASKED);
};
