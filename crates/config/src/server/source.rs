//! `source`: the address that connections to servers come from.

use crate::address::{self, Purpose};
use crate::diag::Fault;
use crate::line::Line;
use model::{Address, Host, PortSpec, SourceAddress, UseSource};
use std::net::IpAddr;
use std::sync::Arc;

/// Reads `ADDRESS[:PORT[-PORT]] [interface NAME]` from argument `at` on; returns where it ends, too.
pub fn source(
    line: &Line<'_>,
    at: usize,
    ranges: bool,
) -> Result<(Arc<SourceAddress>, usize), Fault> {
    if line.arg(at).is_empty() {
        return line.fail(at, "'source' wants an address of this machine");
    }
    let purpose = if ranges {
        Purpose::Source
    } else {
        Purpose::Connect
    };
    let parsed = address::parse(line.arg(at), purpose, None, line.source);
    let Address::Inet { host, port, .. } = line.map(at, parsed)?.0 else {
        return line.fail(at, "a source is an IP address");
    };
    let ip: IpAddr = match host {
        Host::Ip(ip) => ip,
        Host::Any => [0, 0, 0, 0].into(),
        Host::Any6 => [0u16; 8].into(),
        Host::Name(name) => {
            return line.fail(
                at,
                format!("'{name}' has no address here: name an IP address"),
            );
        }
    };
    let (port, last_port) = match port {
        PortSpec::None => (0, None),
        PortSpec::Fixed(port) => (port, None),
        PortSpec::Range(first, last) => (first, Some(last)),
        PortSpec::Offset(_) => return line.fail(at, "a source has no port offset: name a port"),
    };
    let mut end = at + 1;
    let interface = match line.arg(end) {
        "interface" if line.arg(end + 1).is_empty() => {
            return line.fail(end, "'interface' wants the name of a network interface");
        }
        "interface" => {
            end += 2;
            Some(line.arg(end - 1).into())
        }
        _ => None,
    };
    let usesrc = match line.arg(end) {
        "usesrc" => {
            end += 2;
            Some(use_source(line, end - 1)?)
        }
        _ => None,
    };
    let source = SourceAddress {
        address: (ip, port).into(),
        last_port,
        interface,
        usesrc,
    };
    Ok((Arc::new(source), end))
}

/// Reads what stands after `usesrc`.
fn use_source(line: &Line<'_>, at: usize) -> Result<UseSource, Fault> {
    let text = line.arg(at);
    if let Some(inner) = text
        .strip_prefix("hdr_ip(")
        .and_then(|t| t.strip_suffix(')'))
    {
        let (name, occurrence) = inner.split_once(',').unwrap_or((inner, "-1"));
        return match occurrence.parse::<i32>() {
            Ok(occurrence) if !name.is_empty() => Ok(UseSource::Header {
                name: name.into(),
                occurrence,
            }),
            _ => line.fail(at, format!("'{text}' is no hdr_ip(NAME[,OCCURRENCE])")),
        };
    }
    match text {
        "client" => Ok(UseSource::Client),
        "clientip" => Ok(UseSource::ClientIp),
        "" => line.fail(
            at,
            "'usesrc' wants client, clientip, hdr_ip(NAME) or an address",
        ),
        _ => {
            let parsed = address::parse(text, Purpose::Source, None, line.source);
            match line.map(at, parsed)?.0 {
                Address::Inet {
                    host: Host::Ip(ip),
                    port,
                    ..
                } => Ok(UseSource::Address(
                    (
                        ip,
                        match port {
                            PortSpec::Fixed(port) => port,
                            _ => 0,
                        },
                    )
                        .into(),
                )),
                _ => line.fail(
                    at,
                    format!("'{text}' is neither client, clientip, hdr_ip(NAME) nor an address"),
                ),
            }
        }
    }
}
