//! `resolvers` sections, and what `server` lines say of them (manual section 5.3).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// One `resolvers` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolvers {
    /// Its name.
    pub name: Arc<str>,
    /// All are asked at once; the first good answer counts.
    pub nameservers: Vec<Nameserver>,
    /// `resolve_retries`: times a name is asked for before it counts as failed.
    pub retries: u32,
    /// `timeout resolve`: between two resolutions of a name.
    pub resolve: Duration,
    /// `timeout retry`: how long an answer is waited for.
    pub retry: Duration,
    /// `hold`.
    pub hold: Hold,
    /// `accepted_payload_size`: the longest answer over UDP, in bytes.
    pub payload: u16,
    /// `dns-accept-family`, which all sections have in common.
    pub families: Families,
}

impl Resolvers {
    /// A section of which only the name has been read.
    pub fn named(name: Arc<str>) -> Resolvers {
        Resolvers {
            name,
            nameservers: Vec::new(),
            retries: 3,
            resolve: Duration::from_secs(1),
            retry: Duration::from_secs(1),
            hold: Hold::default(),
            payload: 512,
            families: Families::default(),
        }
    }
}

/// A `nameserver` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nameserver {
    /// Its name.
    pub name: Arc<str>,
    /// Where it answers.
    pub address: SocketAddr,
    /// Whether it is asked over TCP.
    pub stream: bool,
}

/// How long the last good answer holds against each kind of bad one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// How long `do-resolve` takes an answer for its next requests.
    pub valid: Duration,
    /// Against the answer that there is no such name.
    pub nx: Duration,
    /// Against a refusal.
    pub refused: Duration,
    /// Against silence.
    pub timeout: Duration,
    /// Against all other bad answers.
    pub other: Duration,
    /// How long a record counts after it was last seen.
    pub obsolete: Duration,
}

impl Default for Hold {
    fn default() -> Hold {
        let usual = Duration::from_secs(30);
        Hold {
            valid: Duration::from_secs(10),
            nx: usual,
            refused: usual,
            timeout: usual,
            other: usual,
            obsolete: Duration::ZERO,
        }
    }
}

/// Which address is taken where a name has both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Family {
    V4,
    #[default]
    V6,
}

/// Which kinds of addresses names are asked for, and taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// Both.
    #[default]
    Both,
    /// One only.
    Only(Family),
    /// IPv4, and IPv6 while this machine has a way into that Internet.
    Auto,
}

/// How a server's name is resolved while the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The section.
    pub resolvers: Arc<str>,
    /// `resolve-prefer`.
    pub prefer: Family,
    /// `resolve-net`: addresses in these networks go before others; bits of the prefix.
    pub nets: Vec<(IpAddr, u8)>,
    /// `resolve-opts allow-dup-ip`: servers of one name may have one address.
    pub same_address: bool,
    /// `resolve-opts ignore-weight`: the weight of an SRV record does not count.
    pub ignore_weight: bool,
}

/// Whether a name asks for services (SRV records, RFC 2782) and not for addresses.
pub fn names_service(name: &str) -> bool {
    name.starts_with('_')
}
