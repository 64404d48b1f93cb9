//! Arguments of a `vrrp` section's lines.

use crate::diag::Fault;
use crate::draft::Line;
use crate::units;
use model::{VirtualAddress, VirtualRoute};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The port of the second path when none is given.
pub const PEER_PORT: u16 = 7112;

/// A number from 1 on.
pub fn number(l: &Line<'_>, most: u64) -> Result<u8, Fault> {
    l.exactly(1, "a number")?;
    l.map(0, units::number(l.arg(0), 1, most)).map(|n| n as u8)
}

/// One word.
pub fn text(l: &Line<'_>, what: &str) -> Result<Arc<str>, Fault> {
    l.exactly(1, what)?;
    Ok(l.arg(0).into())
}

/// An address.
pub fn ip(text: &str) -> Result<IpAddr, String> {
    let not = |_| format!("'{text}' is no address: write one such as 203.0.113.10 or 2001:db8::10");
    text.parse().map_err(not)
}

/// A time, in milliseconds where it names no unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    units::time(text, 1000)
}

/// The name of an interface.
pub fn interface(l: &Line<'_>, at: usize) -> Result<Arc<str>, Fault> {
    let name = l.arg(at);
    // IFNAMSIZ of Linux counts a NUL.
    if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) {
        return l.fail(
            at,
            format!("'{name}' is no name of an interface: 1 to 15 letters, such as eth0"),
        );
    }
    Ok(name.into())
}

/// An address that machines can share, with its prefix.
pub fn virtual_address(text: &str) -> Result<VirtualAddress, String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (ip(address)?, Some(prefix)),
        None => (ip(text)?, None),
    };
    let most = if address.is_ipv6() { 128 } else { 32 };
    let prefix = match prefix {
        Some(prefix) => units::number(prefix, 1, most)? as u8,
        None => most as u8,
    };
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err(format!(
            "'{address}' cannot be shared between machines: use an address of the network"
        ));
    }
    Ok(VirtualAddress {
        ip: address,
        prefix,
    })
}

/// A network, or everything, and the router that leads there.
pub fn virtual_route(text: &str, via: Option<IpAddr>) -> Result<VirtualRoute, String> {
    let (network, prefix) = match (text, via) {
        ("default", Some(via)) => (if via.is_ipv6() { "::" } else { "0.0.0.0" }, "0"),
        ("default", None) => {
            return Err("'default' has no router: write 'default via ADDRESS'".into());
        }
        _ => text.split_once('/').ok_or_else(|| {
            format!("'{text}' has no prefix: write one such as 198.51.100.0/24, or 'default'")
        })?,
    };
    let address = ip(network)?;
    let most = if address.is_ipv6() { 128 } else { 32 };
    let prefix = units::number(prefix, 0, most)? as u8;
    let bits = match address {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => ip.into(),
    };
    if bits.checked_shl(prefix.into()).unwrap_or(0) != 0 {
        return Err(format!(
            "'{text}' names a host within the network: write zeros after the first {prefix} bits"
        ));
    }
    if via.is_some_and(|via| via.is_ipv6() != address.is_ipv6()) {
        return Err(format!(
            "'{text}' is of another family than the router after 'via'"
        ));
    }
    Ok(VirtualRoute {
        destination: VirtualAddress {
            ip: address,
            prefix,
        },
        via,
    })
}

/// The other machine's address, and its port if it is not the usual one.
pub fn peer(text: &str) -> Result<SocketAddr, String> {
    let socket = text.parse::<SocketAddr>();
    let socket = socket.or_else(|_| ip(text).map(|ip| SocketAddr::new(ip, PEER_PORT)))?;
    if socket.port() == 0 {
        return Err(format!(
            "'{text}' has port 0: use another, or none for {PEER_PORT}"
        ));
    }
    Ok(socket)
}
