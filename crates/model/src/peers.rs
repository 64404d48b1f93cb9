//! `peers` sections: with whom stick tables are shared.

use crate::{Address, Bind};
use std::net::SocketAddr;
use std::sync::Arc;

/// A section in which this machine has its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Peers {
    /// Its name.
    pub name: Arc<str>,
    /// This machine's name among the peers.
    pub local: Arc<str>,
    /// Where the others find it.
    pub binds: Vec<Bind>,
    /// How a process that is replaced finds the one that replaces it, by the way of the others.
    pub successor: Option<Peer>,
    /// The others.
    pub others: Vec<Peer>,
}

/// A peer, and how it is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens: an address with its port, or a UNIX socket.
    pub address: Address,
    /// `ssl` and its like.
    pub tls: Option<Arc<tls::Connector>>,
    /// `source`.
    pub source: Option<crate::SourceAddress>,
    /// `namespace`.
    pub namespace: Option<Arc<str>>,
}

impl Peer {
    /// Its Internet address.
    pub fn socket(&self) -> Option<SocketAddr> {
        match &self.address {
            Address::Inet {
                host: crate::Host::Ip(ip),
                port: crate::PortSpec::Fixed(port),
                ..
            } => Some((*ip, *port).into()),
            _ => None,
        }
    }
}
