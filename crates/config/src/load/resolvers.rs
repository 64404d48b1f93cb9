//! The `resolvers` section (manual section 5.3.2).

use super::section::check_name;
use crate::address::{self, Purpose};
use crate::diag::Fault;
use crate::line::Line;
use crate::source::Source;
use crate::units;
use model::{Address, Host, Nameserver, PortSpec, Resolvers, SocketKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The port of DNS (RFC 1035 section 4.2).
const PORT: u16 = 53;

/// Where the machine's own name servers stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";

const KEYWORDS: [&str; 6] = [
    "accepted_payload_size",
    "hold",
    "nameserver",
    "parse-resolv-conf",
    "resolve_retries",
    "timeout",
];

/// A line of the section.
pub(super) fn line(section: &mut Resolvers, l: &mut Line<'_>) -> Result<(), Fault> {
    let name = l.words.first().map_or("", |w| w.text.as_str());
    match name {
        "nameserver" => nameserver(section, l),
        "parse-resolv-conf" => {
            l.surplus(0);
            let found = of_machine(l.source).or_else(|m| l.fail(0, m))?;
            if found.is_empty() {
                let message = format!("{RESOLV_CONF} names no server: add a 'nameserver' line");
                return Err(Fault::warning(0, message));
            }
            for server in found {
                add(section, server).or_else(|m| l.fail(0, m))?;
            }
            Ok(())
        }
        "hold" => {
            let slot = match l.arg(0) {
                "valid" => &mut section.hold.valid,
                "nx" => &mut section.hold.nx,
                "refused" => &mut section.hold.refused,
                "timeout" => &mut section.hold.timeout,
                "other" => &mut section.hold.other,
                "obsolete" => &mut section.hold.obsolete,
                other => {
                    let known = ["valid", "nx", "refused", "timeout", "other", "obsolete"];
                    return l.fail(0, crate::keyword::near("answer to hold", other, &known));
                }
            };
            *slot = time(l, "a kind of answer and a time, such as 'hold nx 30s'")?;
            Ok(())
        }
        "timeout" => {
            let slot = match l.arg(0) {
                "resolve" => &mut section.resolve,
                "retry" => &mut section.retry,
                other => {
                    let known = ["resolve", "retry"];
                    return l.fail(0, crate::keyword::near("timeout", other, &known));
                }
            };
            // Neither can be nothing: names would be asked for without a pause.
            *slot = time(l, "a name and a time, such as 'timeout resolve 1s'")?;
            *slot = (*slot).max(Duration::from_millis(10));
            Ok(())
        }
        "resolve_retries" => {
            l.exactly(1, "a number")?;
            section.retries = l.map(0, units::number(l.arg(0), 0, 100))? as u32;
            Ok(())
        }
        "accepted_payload_size" => {
            l.exactly(1, "a number of bytes")?;
            section.payload = l.map(0, units::number(l.arg(0), 12, 65535))? as u16;
            Ok(())
        }
        other => {
            let message = match rules::nearest(other, KEYWORDS) {
                Some(near) => {
                    format!("unknown keyword '{other}' in 'resolvers': did you mean '{near}'?")
                }
                None => format!(
                    "unknown keyword '{other}' in 'resolvers': use {}",
                    KEYWORDS.join(", ")
                ),
            };
            Err(Fault::at(0, message))
        }
    }
}

fn time(l: &Line<'_>, what: &str) -> Result<Duration, Fault> {
    l.exactly(2, what)?;
    l.map(1, units::time(l.arg(1), 1_000))
}

fn nameserver(section: &mut Resolvers, l: &mut Line<'_>) -> Result<(), Fault> {
    let name = l.arg(0);
    if l.arg(1).is_empty() {
        return l.fail(
            0,
            "'nameserver' wants <name> <address>:<port>, such as 10.0.0.2:53",
        );
    }
    l.map(0, check_name("name", name))?;
    let text = l.arg(1);
    // Without a word for the kind of socket it is asked over UDP.
    let (address, _) = l.map(
        1,
        address::parse(text, Purpose::Datagram, None, &Unnamed(l.source)),
    )?;
    let Address::Inet { host, port, kind } = address else {
        return l.fail(
            1,
            format!("'{text}' is no Internet address: name servers have one"),
        );
    };
    let ip = match host {
        Host::Ip(ip) => ip,
        Host::Name(name) => {
            return l.fail(
                1,
                format!(
                    "'{name}' is a name, which only a name server could resolve: write its address"
                ),
            );
        }
        Host::Any | Host::Any6 => {
            return l.fail(1, format!("'{text}' is no address that can be asked"));
        }
    };
    let PortSpec::Fixed(port) = port else {
        return l.fail(1, format!("'{text}' has no port: write {ip}:53"));
    };
    let stream = kind == SocketKind::Stream;
    if !l.arg(2).is_empty() {
        let message = match stream {
            true => format!(
                "'{}' is a word for name servers over TCP that mulgil does not have yet",
                l.arg(2)
            ),
            false => format!("'{}' is one word too many: remove it", l.arg(2)),
        };
        return l.fail(2, message);
    }
    let server = Nameserver {
        name: name.into(),
        address: SocketAddr::new(ip, port),
        stream,
    };
    add(section, server).or_else(|m| l.fail(0, m))
}

fn add(section: &mut Resolvers, server: Nameserver) -> Result<(), String> {
    if section.nameservers.iter().any(|s| s.name == server.name) {
        return Err(format!(
            "'{}' has a name server '{}' already: give this one another name",
            section.name, server.name
        ));
    }
    section.nameservers.push(server);
    Ok(())
}

/// The name servers that the machine itself asks, named by their addresses (resolv.conf(5)).
pub(super) fn of_machine(source: &dyn Source) -> Result<Vec<Nameserver>, String> {
    let bytes = source
        .read(RESOLV_CONF)
        .map_err(|e| format!("cannot read '{RESOLV_CONF}': {e}"))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut found: Vec<Nameserver> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some("nameserver"), Some(address)) = (words.next(), words.next()) else {
            continue;
        };
        // A link-local address says by which interface; without one it cannot be asked.
        let Ok(ip) = address.parse::<IpAddr>() else {
            continue;
        };
        if !found.iter().any(|s| s.address.ip() == ip) {
            found.push(Nameserver {
                name: address.into(),
                address: SocketAddr::new(ip, PORT),
                stream: false,
            });
        }
    }
    Ok(found)
}

/// A source that knows no names.
pub(crate) struct Unnamed<'a>(pub &'a dyn Source);

impl Source for Unnamed<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.read(path)
    }
    fn list(&self, path: &str) -> Option<Vec<String>> {
        self.0.list(path)
    }
    fn resolve(&self, _: &str) -> Vec<IpAddr> {
        Vec::new()
    }
    fn user(&self, name: &str) -> Option<u32> {
        self.0.user(name)
    }
    fn group(&self, name: &str) -> Option<u32> {
        self.0.group(name)
    }
    fn variable(&self, name: &str) -> Option<String> {
        self.0.variable(name)
    }
}
