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
    /// `shards`: into so many parts keys are cut; 0 is not at all.
    pub shards: u16,
}

impl Peers {
    /// Whether the peer of this place among the others is told of a key with this hash.
    pub fn tells(&self, at: usize, hash: impl FnOnce() -> u64) -> bool {
        let shard = self.others.get(at).map_or(0, |peer| peer.shard);
        let all = shard == 0 || shard > self.shards;
        all || hash() % u64::from(self.shards) + 1 == u64::from(shard)
    }
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
    /// `tcp-md5sig`.
    pub signed: Option<Arc<str>>,
    /// `namespace`.
    pub namespace: Option<Arc<str>>,
    /// `shard`: the part of the keys that it is told of; 0, and what is more than there are, is all.
    pub shard: u16,
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
