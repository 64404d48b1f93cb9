//! Keywords of packet mode.

use super::{Keyword, keyword, near};
use crate::diag::Fault;
use crate::draft::Draft;
use crate::draft::sections::*;
use crate::line::Line;
use crate::units;
use model::{Forward, NoFlow, Pool, Snat, SourcePersistence};
use std::net::IpAddr;

/// Keywords of packet mode.
pub(super) static PACKET_KEYWORDS: &[Keyword] = &[
    keyword!(
        "forward",
        BACK,
        "nat [source ADDRESS[-ADDRESS] [ports FIRST-LAST]] | dsr | tunnel ipip|gre|gue [port N] | dscp N | bridge | route",
        "nat",
        "what is changed in packets on their way to a server",
        forward
    ),
    keyword!(
        "no-flow",
        BACK,
        "drop|reset|hash",
        "reset",
        "what becomes of a TCP packet that belongs to no session and begins none",
        |d, l| {
            l.exactly(1, "drop, reset or hash")?;
            d.back.packets.no_flow = match l.arg(0) {
                "drop" => NoFlow::Drop,
                "reset" => NoFlow::Reset,
                "hash" => NoFlow::Hash,
                other => return l.fail(0, near("answer", other, &["drop", "reset", "hash"])),
            };
            Ok(())
        }
    ),
    keyword!(
        "source-persistence",
        BACK,
        "TIME [netmask BITS]",
        "30m netmask 24",
        "a client, or its network, keeps the server that it had last for new sessions",
        source_persistence
    ),
    keyword!(
        "snat",
        FRONT,
        "ADDRESS/BITS [vlan N] to ADDRESS[-ADDRESS] [ports FIRST-LAST] [vlan N]",
        "10.0.0.0/24 to 203.0.113.20-203.0.113.23",
        "connections that servers open outward leave with an address of a pool",
        snat
    ),
];

/// The registered port of generic UDP encapsulation.
const GUE_PORT: u16 = 6080;

fn forward(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let (forward, words) = match (l.arg(0), l.arg(1)) {
        ("nat", "") => (Forward::Nat(None), 1),
        ("nat", "source") => {
            let (pool, words) = pool_at(l, 2, &["ports"])?;
            (Forward::Nat(Some(pool)), words)
        }
        ("nat", other) => return l.fail(1, near("word after 'nat'", other, &["source"])),
        ("dsr", _) => (Forward::Dsr, 1),
        ("bridge", _) => (Forward::Bridge, 1),
        ("tunnel", "ipip") => (Forward::Ipip, 2),
        ("tunnel", "gre") => (Forward::Gre, 2),
        ("tunnel", "gue") if l.arg(2) == "port" => {
            let port = l.map(3, units::number(l.arg(3), 1, 65535))?;
            (Forward::Gue(port as u16), 4)
        }
        ("tunnel", "gue") => (Forward::Gue(GUE_PORT), 2),
        ("tunnel", "") => {
            return l.fail(0, "'tunnel' wants its kind after it: ipip, gre or gue");
        }
        ("tunnel", other) => return l.fail(1, near("tunnel", other, &["ipip", "gre", "gue"])),
        ("dscp", _) => {
            let point = l.map(1, units::number(l.arg(1), 1, 63))?;
            (Forward::Dscp(point as u8), 2)
        }
        ("route", _) => (Forward::Route, 1),
        ("", _) => {
            return l.fail(
                0,
                "'forward' wants a way: nat, dsr, tunnel, dscp, bridge or route",
            );
        }
        (other, _) => {
            let ways = ["nat", "dsr", "tunnel", "dscp", "bridge", "route"];
            return l.fail(0, near("way to forward", other, &ways));
        }
    };
    if l.args().len() > words {
        return l.fail(
            words,
            format!(
                "'{}' is one word too many for 'forward': remove it",
                l.arg(words)
            ),
        );
    }
    d.back.packets.forward = forward;
    Ok(())
}

fn source_persistence(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let netmask = match l.args().len() {
        1 => None,
        3 if l.arg(1) == "netmask" => Some(l.map(2, units::number(l.arg(2), 1, 128))? as u8),
        3 => return l.fail(1, near("word after the time", l.arg(1), &["netmask"])),
        _ => {
            return l.fail(
                0,
                "'source-persistence' wants a time and perhaps a mask: write 'source-persistence 30m netmask 24' for example",
            );
        }
    };
    let time = l.map(0, units::timeout(l.arg(0)))?;
    let Some(time) = time.filter(|t| t.as_secs() > 0) else {
        return l.fail(0, "a client's server is remembered for a second at least");
    };
    d.back.packets.persistence = Some(SourcePersistence { time, netmask });
    Ok(())
}

fn snat(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    if l.args().len() < 3 {
        l.exactly(3, "addresses of servers, 'to' and a pool")?;
    }
    let Some((ip, bits, "")) = l.map(0, crate::address::prefix(l.arg(0)))? else {
        return l.fail(
            0,
            format!("'{}' is no prefix: write 10.0.0.0/24 for example", l.arg(0)),
        );
    };
    let (vlan, word) = vlan_at(l, 1)?;
    if l.arg(word) != "to" {
        let known: &[&str] = if word == 1 { &["to", "vlan"] } else { &["to"] };
        return l.fail(word, near("word after the servers", l.arg(word), known));
    }
    let (to, end) = pool_at(l, word + 1, &["ports", "vlan"])?;
    if to.first.is_ipv4() != ip.is_ipv4() {
        return l.fail(
            word + 1,
            "the pool is of another family than the servers: use one of the same",
        );
    }
    let (to_vlan, end) = vlan_at(l, end)?;
    if l.args().len() > end {
        let extra = l.arg(end);
        return l.fail(
            end,
            format!("'{extra}' is one word too many for 'snat': remove it"),
        );
    }
    d.front.snat.push(Snat {
        from: (ip, bits),
        vlan,
        to,
        to_vlan,
    });
    Ok(())
}

/// `vlan N`, if that is what stands there, and the number of the first word behind.
fn vlan_at(l: &mut Line<'_>, at: usize) -> Result<(Option<u16>, usize), Fault> {
    if l.arg(at) != "vlan" {
        return Ok((None, at));
    }
    let vlan = l.map(at + 1, units::number(l.arg(at + 1), 1, 4094))?;
    Ok((Some(vlan as u16), at + 2))
}

/// A pool and the ports of its addresses, and the number of the first word behind; `words` may follow the pool.
fn pool_at(l: &mut Line<'_>, at: usize, words: &[&str]) -> Result<(Pool, usize), Fault> {
    let mut pool = l.map(at, pool(l.arg(at)))?;
    match l.arg(at + 1) {
        "ports" => {}
        other if other.is_empty() || words.contains(&other) => return Ok((pool, at + 1)),
        other => return l.fail(at + 1, near("word after the pool", other, words)),
    }
    pool.ports = l.map(at + 2, pool_ports(l.arg(at + 2)))?;
    Ok((pool, at + 3))
}

/// `FIRST-LAST`.
fn pool_ports(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|p| *p > 0);
    text.split_once('-')
        .and_then(|(first, last)| Some((port(first)?, port(last)?)))
        .filter(|(first, last)| first <= last)
        .ok_or_else(|| format!("'{text}' is no range of ports: write 20000-29999 for example"))
}

/// Ports of a pool unless its line says otherwise: all that need no privilege.
const POOL_PORTS: (u16, u16) = (1024, 65_535);

/// `ADDRESS` or `ADDRESS-ADDRESS`.
fn pool(text: &str) -> Result<Pool, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let address = |text: &str| {
        text.trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .map_err(|_| {
                format!("'{text}' is no address: a pool is 10.0.0.200-10.0.0.215 for example")
            })
    };
    let (first, last) = (address(first)?, address(last)?);
    let distance = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(u32::from(b)).checked_sub(u32::from(a).into()),
        (IpAddr::V6(a), IpAddr::V6(b)) => u128::from(b).checked_sub(a.into()),
        _ => return Err(format!("'{text}' has addresses of two families: use one")),
    };
    let Some(distance) = distance else {
        return Err(format!(
            "pool '{text}' is empty: write the lower address first"
        ));
    };
    // The last four bytes are counted up in the kernel.
    let low = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u32::from(ip),
        IpAddr::V6(ip) => u128::from(ip) as u32,
    };
    if distance >= 65_536 || low(last) < low(first) {
        return Err(format!(
            "pool '{text}' is too large: at most 65536 addresses"
        ));
    }
    Ok(Pool {
        first,
        size: distance as u32 + 1,
        ports: POOL_PORTS,
    })
}

#[cfg(test)]
mod tests {
    use super::{pool, pool_ports};

    #[test]
    fn pools_are_addresses_from_first_to_last() {
        assert_eq!(pool("10.0.0.200-10.0.0.215").expect("a pool").size, 16);
        assert_eq!(pool("10.0.0.200").expect("a pool").size, 1);
        assert_eq!(pool("fd00::1-fd00::ff").expect("a pool").size, 255);
        for wrong in [
            "",
            "10.0.0.9-10.0.0.8",
            "10.0.0.1-fd00::1",
            "x",
            "10.0.0.0-10.2.0.0",
        ] {
            assert!(pool(wrong).is_err(), "{wrong}");
        }
        assert_eq!(pool_ports("20000-29999"), Ok((20_000, 29_999)));
        for wrong in ["", "5", "0-9", "9-8", "1-65536", "a-b"] {
            assert!(pool_ports(wrong).is_err(), "{wrong}");
        }
    }
}
