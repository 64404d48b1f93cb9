//! Addresses as dumps show them.

use model::Address;

/// An address as `bind` lines write it, with its family where it is not IPv4.
pub fn shown(address: &Address) -> String {
    match address {
        Address::Inet { host, port, .. } => {
            let (family, host) = match host {
                model::Host::Any => ("ipv4", "0.0.0.0".into()),
                model::Host::Any6 => ("ipv6", "::".into()),
                model::Host::Ip(ip) if ip.is_ipv4() => ("ipv4", ip.to_string()),
                model::Host::Ip(ip) => ("ipv6", ip.to_string()),
                model::Host::Name(name) => ("ipv4", name.to_string()),
            };
            match port {
                model::PortSpec::Fixed(port) => format!("{family}@{host}:{port}"),
                _ => format!("{family}@{host}"),
            }
        }
        Address::Unix { path, .. } => format!("unix@{path}"),
        Address::Abstract { name, .. } => format!("abns@{name}"),
        Address::Fd(fd) => format!("sockpair@{fd}"),
    }
}
