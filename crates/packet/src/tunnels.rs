//! What tunnels take of the room that packets have.

use model::Forward;
use std::net::IpAddr;

/// What networks carry unless somebody says otherwise, bytes of an IP packet (RFC 894).
pub(crate) const FULL: u32 = 1500;

/// Bytes of the headers that a tunnel to this server puts before a packet; `None` where there is no tunnel.
pub(crate) fn headers(forward: Forward, server: IpAddr) -> Option<u32> {
    let outer = if server.is_ipv6() { 40 } else { 20 };
    match forward {
        Forward::Ipip => Some(outer),
        Forward::Gre => Some(outer + 4),
        Forward::Gue(_) => Some(outer + 12),
        _ => None,
    }
}

/// Where packets of a full size do not fit into a tunnel: what happens to them, and what helps.
pub(crate) fn remedy(link: &str, headers: u32) -> String {
    format!(
        "clients are told so (fragmentation needed), and of smaller segments where 'mulgil server-setup tunnel' was run on the server; for full packets: 'ip link set dev {link} mtu {}', and as much all the way to the servers",
        FULL + headers
    )
}
