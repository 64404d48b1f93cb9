//! Addresses of this machine that servers are asked from, before there is any client.
//!
//! An answer says something about clients only where it takes the way of answers to them, and only where it
//! comes to the kernel: what a frontend or a virtual router has is answered for elsewhere.

use crate::plan::Machine;
use crate::probe;
use model::{Address, Bind, Config, Host, Mode};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Addresses that no server is asked from: those of services for packets and of virtual routers.
#[derive(Debug, Default)]
pub(crate) struct Taken(BTreeSet<IpAddr>);

impl Taken {
    /// All of a configuration.
    pub(crate) fn of(config: &Config) -> Taken {
        let packets = config.proxies.iter().filter(|p| p.mode == Mode::Packet);
        let binds = packets.flat_map(|p| p.frontend.iter().flat_map(|f| &f.binds));
        let routers = config.vrrp.iter().flat_map(|v| &v.addresses);
        Taken(binds.filter_map(vip).chain(routers.map(|a| a.ip)).collect())
    }

    /// This machine's own address of a family, on one of these interfaces.
    pub(crate) fn own(&self, machine: &Machine, six: bool, on: &BTreeSet<u32>) -> Option<IpAddr> {
        let mut all = machine.addresses.iter();
        all.find(|(ip, of)| {
            ip.is_ipv6() == six
                && on.contains(of)
                && probe::is_routable(*ip)
                && !self.0.contains(ip)
        })
        .map(|(ip, _)| *ip)
    }
}

fn vip(bind: &Bind) -> Option<IpAddr> {
    match bind.address {
        Address::Inet {
            host: Host::Ip(ip), ..
        } if !ip.is_unspecified() => Some(ip),
        _ => None,
    }
}

/// Interfaces that a frontend's clients come by: those that its line names; else those where its address is,
/// or whose network it is of.
pub(crate) fn fronts(
    bind: &Bind,
    machine: &Machine,
    is_near: impl Fn(IpAddr, IpAddr) -> bool,
) -> Vec<u32> {
    match &bind.options.interface {
        Some(names) => {
            let indices = names.split(',').map(|name| machine.interfaces.get(name));
            indices.flatten().copied().collect()
        }
        None => {
            let near = |own: IpAddr| vip(bind).is_some_and(|vip| own == vip || is_near(own, vip));
            let all = machine.addresses.iter().filter(|(own, _)| near(*own));
            all.map(|(_, of)| *of).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn at(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn machine() -> Machine {
        let addresses = [
            ("127.0.0.1", 1),
            ("172.17.0.1", 2),
            ("198.51.100.80", 3),
            ("198.51.100.90", 3),
            ("198.51.100.1", 3),
            ("10.0.0.1", 4),
        ];
        let names = [("docker0", 2), ("front", 3), ("back", 4)];
        Machine {
            interfaces: names.map(|(name, of)| (name.to_string(), of)).into(),
            addresses: addresses.map(|(ip, of)| (at(ip), of)).into(),
        }
    }

    fn is_near(a: IpAddr, b: IpAddr) -> bool {
        let start = |ip: IpAddr| {
            ip.to_string()
                .rsplit_once('.')
                .map(|(net, _)| net.to_string())
        };
        start(a) == start(b)
    }

    fn bind(ip: &str, interface: Option<&str>) -> Bind {
        let options = model::BindOptions {
            interface: interface.map(Into::into),
            ..Default::default()
        };
        Bind {
            id: 1,
            address: Address::Inet {
                host: Host::Ip(at(ip)),
                port: model::PortSpec::Fixed(80),
                kind: Default::default(),
            },
            prefix: None,
            options: Arc::new(options),
            origin: "test:1".into(),
        }
    }

    #[test]
    fn servers_are_asked_from_where_clients_come_and_from_no_virtual_address() {
        let machine = machine();
        let taken = Taken([at("198.51.100.80"), at("198.51.100.90")].into());
        for (bind, wanted) in [
            (bind("198.51.100.80", None), Some("198.51.100.1")),
            (bind("198.51.100.7", None), Some("198.51.100.1")),
            (bind("203.0.113.1", Some("front")), Some("198.51.100.1")),
            (bind("203.0.113.1", None), None),
            (bind("203.0.113.1", Some("elsewhere")), None),
        ] {
            let on = fronts(&bind, &machine, is_near).into_iter().collect();
            assert_eq!(taken.own(&machine, false, &on), wanted.map(at), "{bind:?}");
            assert_eq!(taken.own(&machine, true, &on), None);
        }
    }
}
