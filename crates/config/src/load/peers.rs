//! `peers` sections: who shares stick tables, and tables that belong to no proxy (manual section
//! 3.5).

use super::Loader;
use crate::address::{self, Purpose};
use crate::bind;
use crate::diag::{Fault, Severity};
use crate::draft::{Draft, Place};
use crate::keyword::{near, read_table};
use crate::line::Line;
use crate::server::{Reading, default_server, is_word, server, way};
use crate::units;
use model::{Address, Bind, BindOptions, Host, Peer, Peers, PortSpec, Server, StickTable};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A section as far as it has been read.
pub(super) struct PeersDraft {
    /// Its name.
    pub name: Arc<str>,
    /// Its first line.
    place: Place,
    /// `disabled`.
    disabled: bool,
    /// Peers by name, and how they are reached.
    peers: Vec<(Arc<str>, Server)>,
    /// `bind`, or the address of this machine's own `peer` line.
    binds: Vec<Bind>,
    /// Where `bind` stands.
    bound: Option<Place>,
    /// `default-bind`.
    options: Arc<BindOptions>,
    /// `default-server`.
    defaults: Reading,
    /// `shards`.
    shards: u16,
    /// `table` lines; the names have the section's before them.
    tables: Vec<StickTable>,
}

const WORDS: [&str; 9] = [
    "peer",
    "server",
    "bind",
    "default-bind",
    "default-server",
    "table",
    "shards",
    "disabled",
    "enabled",
];

impl PeersDraft {
    pub fn new(name: Arc<str>, place: Place) -> PeersDraft {
        PeersDraft {
            name,
            place,
            disabled: false,
            peers: Vec::new(),
            binds: Vec::new(),
            bound: None,
            options: Arc::default(),
            defaults: Reading::default(),
            shards: 0,
            tables: Vec::new(),
        }
    }

    /// Reads a line of the section; `here`: this machine's name.
    pub fn line(&mut self, l: &mut Line<'_>, here: &str) -> Result<(), Fault> {
        match l.keyword().as_str() {
            "disabled" | "enabled" => {
                l.exactly(0, "nothing")?;
                self.disabled = l.keyword() == "disabled";
                Ok(())
            }
            "bind" => {
                if let Some(first) = &self.bound {
                    let message = format!(
                        "peers listen on one address, and {} has one: remove this line",
                        first.origin()
                    );
                    return l.fail(0, message);
                }
                self.binds = bind::parse(l)?;
                self.bound = Some(l.place_of_keyword());
                Ok(())
            }
            "default-bind" => {
                self.options = Arc::new(bind::options(l, 0)?.0);
                Ok(())
            }
            "default-server" => {
                self.defaults = default_server(l, &self.defaults)?;
                Ok(())
            }
            "peer" | "server" => self.peer(l, here),
            "table" => {
                if l.arg(0).is_empty() {
                    return l.fail(0, "'table' wants a name before its type");
                }
                let name: Arc<str> = format!("{}/{}", self.name, l.arg(0)).into();
                if self.tables.iter().any(|t| t.name == name) {
                    let message = format!("there is a table '{}' here already", l.arg(0));
                    return l.fail(0, message);
                }
                let (table, _) = read_table(name, l, 1, false)?;
                self.tables.push(table);
                Ok(())
            }
            "shards" => {
                l.exactly(1, "into how many parts keys are cut")?;
                self.shards = l.map(0, units::number(l.arg(0), 1, u16::MAX.into()))? as u16;
                Ok(())
            }
            "log" => {
                if l.arg(0) != "global" {
                    crate::log::parse(l)?;
                }
                let message = "nothing is written of conversations between peers, here as in HAProxy: 'show peers' tells of them";
                l.warn(0, message);
                Ok(())
            }
            other => Err(Fault::at(0, near("keyword of 'peers'", other, &WORDS))),
        }
    }

    /// `peer NAME ADDRESS`, or `server NAME [ADDRESS]`.
    fn peer(&mut self, l: &mut Line<'_>, here: &str) -> Result<(), Fault> {
        let name: Arc<str> = l.arg(0).into();
        if name.is_empty() {
            return l.fail(
                0,
                "a peer wants a name and an address, such as one 192.0.2.1:10000",
            );
        }
        if self.peers.iter().any(|(n, ..)| *n == name) {
            return l.fail(0, format!("there is a peer '{name}' already"));
        }
        if *name == *here {
            let addressed = !l.arg(1).is_empty() && !is_word(l.arg(1));
            if addressed {
                if let Some(bound) = &self.bound {
                    let message = format!(
                        "'bind' says where this machine listens, at {}: remove the address here",
                        bound.origin()
                    );
                    return l.fail(1, message);
                }
                let parsed = address::parse(l.arg(1), Purpose::Listen, None, l.source);
                let (address, _) = l.map(1, parsed)?;
                self.binds.push(Bind {
                    address,
                    prefix: None,
                    options: Arc::clone(&self.options),
                    origin: l.origin(),
                    id: 0,
                });
                self.bound = Some(l.place(0));
            }
            let way = way(l, 1 + usize::from(addressed), &self.defaults)?;
            self.peers.push((name, way));
            return Ok(());
        }
        let settings = server(l, &self.defaults)?;
        if settings.check.is_some() || settings.agent.is_some() || settings.resolution.is_some() {
            let message = "peers are neither checked nor looked up by name while running: \
                           'check', 'agent-check' and 'resolvers' have no effect here";
            l.warnings.push(Fault::warning(l.skip, message));
        }
        if settings.socks4.is_some() {
            return l.fail(
                1,
                "peers are reached without a proxy in between: remove 'socks4'",
            );
        }
        let fixed = matches!(
            settings.address,
            Address::Inet {
                host: Host::Ip(_),
                port: PortSpec::Fixed(_),
                ..
            } | Address::Unix { .. }
        );
        if !fixed {
            let message = format!("'{}' has no port to connect to: add one", l.arg(1));
            return l.fail(1, message);
        }
        self.peers.push((name, settings));
        Ok(())
    }

    /// What the section means for the machine called `here`; `None` where it has no place there.
    fn finish(&self, here: &str) -> Option<Peers> {
        let own = self.peers.iter().find(|(n, _)| **n == *here);
        let (local, own) = own.filter(|_| !self.disabled)?;
        let reached = |settings: &Server, name: &Arc<str>| Peer {
            name: Arc::clone(name),
            address: settings.address.clone(),
            tls: settings.tls.as_ref().map(|t| Arc::clone(&t.connector)),
            source: settings.source.as_deref().cloned(),
            signed: settings.signed.clone(),
            namespace: settings.namespace.clone(),
            shard: settings.shard,
        };
        let others = self.peers.iter().filter(|(n, _)| **n != *here);
        let others = others.map(|(n, settings)| reached(settings, n));
        let successor = self.binds.first().and_then(|bind| {
            Some(Peer {
                address: reachable(&bind.address)?,
                ..reached(own, local)
            })
        });
        Some(Peers {
            name: Arc::clone(&self.name),
            local: Arc::clone(local),
            binds: self.binds.clone(),
            successor,
            others: others.collect(),
            shards: self.shards,
        })
    }
}

/// An address to connect to, of one that is listened on.
fn reachable(address: &Address) -> Option<Address> {
    let Address::Inet { host, port, kind } = address else {
        return matches!(address, Address::Unix { .. }).then(|| address.clone());
    };
    let ip = match host {
        Host::Ip(ip) => *ip,
        Host::Any => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Host::Any6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        Host::Name(_) => return None,
    };
    Some(Address::Inet {
        host: Host::Ip(ip),
        port: *port,
        kind: *kind,
    })
}

impl Loader<'_> {
    /// The tables of all sections, and what the sections mean; tells tables of proxies with whom
    /// they are shared.
    pub(super) fn peers(&mut self, drafts: &[Draft], tables: &mut Vec<StickTable>) {
        let here = self.env.get("HAPROXY_LOCALPEER").cloned();
        let here = here.unwrap_or_default();
        let sections = std::mem::take(&mut self.peers);
        for reference in drafts.iter().filter_map(|d| d.peers.as_ref()) {
            let name = &reference.name;
            if sections.iter().any(|s| s.name == *name) {
                continue;
            }
            let message = match rules::nearest(name, sections.iter().map(|s| &*s.name)) {
                Some(near) => format!("no 'peers {name}': did you mean '{near}'?"),
                None => format!("no 'peers {name}': add that section, or remove the word"),
            };
            self.at(&reference.place, Severity::Error, message);
        }
        for section in sections {
            let meaning = section.finish(&here);
            if meaning.is_none() && !section.disabled {
                let message = format!(
                    "'peers {}' has no peer called '{here}', which is this machine: its tables are \
                     not shared; add it, or say by 'localpeer' or -L who this machine is",
                    section.name
                );
                self.at(&section.place, Severity::Warning, message);
            }
            let shares = meaning.is_some().then(|| Arc::clone(&section.name));
            for draft in drafts {
                let named = draft.peers.as_ref().is_some_and(|p| p.name == section.name);
                if let Some((table, _)) = draft.stick_table.as_ref().filter(|_| named)
                    && let Some(table) = tables.iter_mut().find(|t| t.name == table.name)
                {
                    table.peers.clone_from(&shares);
                }
            }
            tables.extend(section.tables.into_iter().map(|table| StickTable {
                peers: shares.clone(),
                ..table
            }));
            if let Some(meaning) = meaning {
                self.config.peers.push(Arc::new(meaning));
            }
        }
    }
}
