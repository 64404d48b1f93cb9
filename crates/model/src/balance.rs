//! `balance`, `hash-type` and what belongs to them.

use std::sync::Arc;

/// `hash-type` method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum HashMethod {
    #[default]
    MapBased,
    Consistent,
}

/// `hash-type` function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum HashKind {
    #[default]
    Sdbm,
    Djb2,
    Crc32,
    /// The key is the hash already: a number in decimal digits.
    None,
}

/// `hash-preserve-affinity`: when a hash leads elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PreserveAffinity {
    /// Never: a request waits for its server.
    #[default]
    Always,
    /// When its server is at its `maxconn`.
    Maxconn,
    /// When its server's queue is at its `maxqueue`.
    Maxqueue,
}

/// `hash-type` function and modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HashFunction {
    /// The function.
    pub kind: HashKind,
    /// `avalanche`: its result is spread over all bits.
    pub avalanche: bool,
}

/// `hash-balance-factor`, percent; 0 is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HashBalance(pub u32);

/// `balance`.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)] // manual section 4.2, `balance`
pub enum Balance {
    #[default]
    RoundRobin,
    StaticRr,
    LeastConn,
    First,
    Sticky,
    Source,
    Uri {
        len: Option<u32>,
        depth: Option<u32>,
        whole: bool,
        path_only: bool,
    },
    UrlParam {
        name: Arc<str>,
        check_post: bool,
    },
    Header {
        name: Arc<str>,
        use_domain_only: bool,
    },
    Random {
        draws: u32,
    },
    RdpCookie {
        name: Arc<str>,
    },
    /// The values of all expressions together are hashed.
    Hash(Arc<[Arc<rules::Expr>]>),
    /// The same by a Maglev table; without an expression by the source address.
    Maglev(Arc<[Arc<rules::Expr>]>),
    /// Least sessions times time to first byte.
    ResponseTime,
    /// Least time to first byte.
    Fastest,
    /// In turn, by weights that follow the times of checks.
    WeightedResponseTime,
    /// In turn, by weights that agents give.
    Agent,
    /// Fewest bytes a second.
    Bandwidth,
}

impl Balance {
    /// Whether a hash of something of the client decides, so that the same client comes to the same
    /// server again.
    pub fn by_hash(&self) -> bool {
        matches!(
            self,
            Balance::Source
                | Balance::Uri { .. }
                | Balance::UrlParam { .. }
                | Balance::Header { .. }
                | Balance::RdpCookie { .. }
                | Balance::Hash(_)
                | Balance::Maglev(_)
        )
    }

    /// What of a packet is hashed, where packets are what is balanced and this says so by expressions; `None`
    /// where one of them reads something else.
    pub fn packet_parts(&self) -> Option<Vec<PacketPart>> {
        let (Balance::Hash(by) | Balance::Maglev(by)) = self else {
            return Some(Vec::new());
        };
        by.iter().map(|e| PacketPart::of(e)).collect()
    }
}

/// What of a packet a hash may be of in `mode packet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketPart {
    /// The client's address.
    Source,
    /// The address of the service that it was sent to.
    Destination,
    /// The client's port.
    SourcePort,
    /// The service's port.
    DestinationPort,
    /// The sender's address on the link (48 bits): with a router between, the router's.
    SourceMac,
}

impl PacketPart {
    /// The part that an expression reads.
    fn of(expr: &rules::Expr) -> Option<PacketPart> {
        Some(match expr.names().collect::<Vec<_>>().as_slice() {
            ["src"] => PacketPart::Source,
            ["dst"] => PacketPart::Destination,
            ["src_port"] => PacketPart::SourcePort,
            ["dst_port"] => PacketPart::DestinationPort,
            ["fc_saved_syn", "eth.src"] => PacketPart::SourceMac,
            _ => return None,
        })
    }
}
