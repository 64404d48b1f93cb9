//! Arguments of a `vrrp` section's lines.

use crate::diag::Fault;
use crate::line::Line;
use crate::units;
use model::{VirtualAddress, VirtualRoute, VirtualRule};
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

/// A network, or a single address: no bit is set after the prefix.
pub fn network(text: &str) -> Result<VirtualAddress, String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (ip(address)?, Some(prefix)),
        None => (ip(text)?, None),
    };
    let most = if address.is_ipv6() { 128 } else { 32 };
    let prefix = prefix.map_or(Ok(most), |p| units::number(p, 0, most))? as u8;
    let bits = match address {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => ip.into(),
    };
    if bits.checked_shl(prefix.into()).unwrap_or(0) != 0 {
        return Err(format!(
            "'{text}' names a host within the network: write zeros after the first {prefix} bits"
        ));
    }
    Ok(VirtualAddress {
        ip: address,
        prefix,
    })
}

/// The number of a routing table that is not the kernel's own.
pub fn table(text: &str) -> Result<u32, String> {
    let number = units::number(text, 1, u64::from(u32::MAX))?;
    match number {
        255 => Err("table 255 is the kernel's own, of local addresses: use another".into()),
        n => Ok(n as u32),
    }
}

/// `NETWORK|default [via ADDRESS] [table N]`.
pub fn virtual_route(l: &mut Line<'_>) -> Result<VirtualRoute, Fault> {
    let (mut via, mut into) = (None, None);
    let mut at = 1;
    while !l.arg(at).is_empty() {
        let value = l.arg(at + 1);
        match l.arg(at) {
            "via" => via = Some(l.map(at + 1, ip(value))?),
            "table" => into = Some(l.map(at + 1, table(value))?),
            other => {
                let message = format!("'{other}' stands where 'via ADDRESS' or 'table NUMBER' may");
                return l.fail(at, message);
            }
        }
        at += 2;
    }
    let (text, wide) = (l.arg(0), via.is_some_and(|v: IpAddr| v.is_ipv6()));
    let text = match text {
        "default" if via.is_none() => {
            return l.fail(0, "'default' has no router: write 'default via ADDRESS'");
        }
        "default" => ["0.0.0.0/0", "::/0"][usize::from(wide)],
        _ if !text.contains('/') => {
            let message =
                format!("'{text}' has no prefix: write one such as 198.51.100.0/24, or 'default'");
            return l.fail(0, message);
        }
        _ => text,
    };
    let destination = l.map(0, network(text))?;
    if via.is_some() && wide != destination.ip.is_ipv6() {
        let message = format!("'{text}' is of another family than the router after 'via'");
        return l.fail(0, message);
    }
    Ok(VirtualRoute {
        destination,
        via,
        table: into,
    })
}

/// `[from NETWORK] [to NETWORK] table N [priority N]`.
pub fn virtual_rule(l: &mut Line<'_>) -> Result<VirtualRule, Fault> {
    const WORDS: [&str; 4] = ["from", "to", "table", "priority"];
    let (mut from, mut to, mut into, mut priority) = (None, None, None, None);
    let mut at = 0;
    while !l.arg(at).is_empty() {
        let value = l.arg(at + 1);
        match l.arg(at) {
            "from" => from = Some(l.map(at + 1, network(value))?),
            "to" => to = Some(l.map(at + 1, network(value))?),
            "table" => into = Some(l.map(at + 1, table(value))?),
            // Those of the kernel's own rules are 0, 32766 and 32767.
            "priority" => {
                priority = Some(l.map(at + 1, units::number(value, 1, 32_765))? as u32);
            }
            other => return l.fail(at, crate::keyword::near("word", other, &WORDS)),
        }
        at += 2;
    }
    let Some(table) = into else {
        return l.fail(0, "'rule' has no table: write 'from NETWORK table NUMBER'");
    };
    let families = [from, to].map(|n: Option<VirtualAddress>| n.map(|n| n.ip.is_ipv6()));
    match families {
        [None, None] => l.fail(
            0,
            "'rule' is about all packets: say which, with 'from NETWORK' or 'to NETWORK'",
        ),
        [Some(a), Some(b)] if a != b => l.fail(0, "'from' and 'to' are of different families"),
        _ => Ok(VirtualRule {
            from,
            to,
            table,
            priority,
        }),
    }
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
