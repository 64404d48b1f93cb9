//! Names of servers: where their addresses come from, at start and later.

use super::Reading;
use crate::diag::Fault;
use crate::line::Line;
use model::{Address, Host, InitAddr, Resolution};
use std::net::IpAddr;

/// Where nothing is said by `init-addr`.
const USUAL: &[InitAddr] = &[InitAddr::Last, InitAddr::Libc];

impl Reading {
    /// What `resolvers` and the words that go with it say.
    pub(super) fn resolution(&mut self) -> &mut Resolution {
        self.resolution.get_or_insert_with(|| {
            Box::new(Resolution {
                resolvers: "".into(),
                prefer: model::Family::default(),
                nets: Vec::new(),
                same_address: false,
                ignore_weight: false,
            })
        })
    }

    /// Whether the machine is asked for the address of this server at start. Of services it knows
    /// nothing.
    pub(super) fn looks_up(&self, address: &str) -> bool {
        let methods = self.init_addr.as_deref().unwrap_or(USUAL);
        let first = methods.iter().find(|m| **m != InitAddr::Last);
        first == Some(&InitAddr::Libc) && !model::names_service(address)
    }
}

/// A network as `resolve-net` names it: an address, and the bits that count.
pub(super) fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, bits) = text.split_once('/').unwrap_or((text, ""));
    let ip: IpAddr = address.parse().map_err(|_| {
        format!("'{text}' is no network: write an address and a prefix, such as 10.0.0.0/8")
    })?;
    let all = if ip.is_ipv4() { 32 } else { 128 };
    match bits {
        "" if address == text => Ok((ip, all)),
        bits => match bits.parse() {
            Ok(bits) if bits <= all => Ok((ip, bits)),
            _ => Err(format!(
                "'{bits}' in '{text}' is no prefix of 0 to {all} bits"
            )),
        },
    }
}

/// What `init-addr` makes of a name that was or was not resolved.
pub(super) fn start_address(
    line: &mut Line<'_>,
    at: usize,
    address: Address,
    methods: Option<&[InitAddr]>,
    resolved_later: bool,
) -> Result<Address, Fault> {
    let Address::Inet {
        host: Host::Name(name),
        port,
        kind,
    } = address
    else {
        return Ok(address);
    };
    let last = line.bases.ignores_unresolved.then_some(InitAddr::None);
    for method in methods.unwrap_or(USUAL).iter().chain(&last) {
        let host = match method {
            InitAddr::None => Host::Name(name),
            InitAddr::Ip(ip) => Host::Ip(*ip),
            InitAddr::Last | InitAddr::Libc => continue,
        };
        return Ok(Address::Inet { host, port, kind });
    }
    if !resolved_later {
        return line.fail(at, format!("could not resolve address '{name}': name an address, or start without one by 'init-addr last,libc,none'"));
    }
    if !model::names_service(&name) {
        let message =
            format!("could not resolve address '{name}': the server waits until it can be");
        line.warnings.push(Fault::warning(line.skip + at, message));
    }
    Ok(Address::Inet {
        host: Host::Name(name),
        port,
        kind,
    })
}
