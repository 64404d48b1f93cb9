//! Whether what was heard is an advert for a virtual router of ours (RFC 9568 section 7.1).

use crate::socket::Heard;
use model::Vrrp;
use std::collections::BTreeSet;
use std::net::IpAddr;
use wire::vrrp::{Advert, Fault, GROUP_V4, GROUP_V6, HOPS, Sum};

/// Why a packet was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// It has passed a router.
    Hops,
    /// It was sent to somebody else.
    Destination,
    /// Its length is not what it says.
    Length,
    /// Its version is not that of the section.
    Version,
    /// It is not an advertisement.
    Type,
    /// Its checksum is wrong.
    Checksum,
    /// Its interval is zero, or in version 2 not that of the section.
    Interval,
    /// It wants authentication, which RFC 3768 took away.
    Authentication,
    /// It comes from our own address.
    Own,
    /// It comes from a router that `unicast` does not name.
    Stranger,
    /// It is about other addresses (version 2, RFC 3768 section 7.1).
    Addresses,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 11] = [
        Refusal::Hops,
        Refusal::Destination,
        Refusal::Length,
        Refusal::Version,
        Refusal::Type,
        Refusal::Checksum,
        Refusal::Interval,
        Refusal::Authentication,
        Refusal::Own,
        Refusal::Stranger,
        Refusal::Addresses,
    ];

    /// The name of its counter.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Hops => "refused_ttl",
            Refusal::Destination => "refused_destination",
            Refusal::Length => "refused_length",
            Refusal::Version => "refused_version",
            Refusal::Type => "refused_type",
            Refusal::Checksum => "refused_checksum",
            Refusal::Interval => "refused_interval",
            Refusal::Authentication => "refused_authentication",
            Refusal::Own => "refused_own_address",
            Refusal::Stranger => "refused_stranger",
            Refusal::Addresses => "refused_addresses",
        }
    }

    /// What is wrong and what to do, for a log line.
    pub fn words(self) -> &'static str {
        match self {
            Refusal::Hops => {
                "it has passed a router (TTL below 255): adverts are for one link only"
            }
            Refusal::Destination => {
                "it was sent neither to the group of VRRP nor, with 'unicast', to us"
            }
            Refusal::Length => "its length is not what it says",
            Refusal::Version => "it is of another version: set 'version' alike on all routers",
            Refusal::Type => "it is no advertisement",
            Refusal::Checksum => "its checksum is wrong",
            Refusal::Interval => {
                "its interval differs: set 'advertise-interval' alike on all routers"
            }
            Refusal::Authentication => {
                "it has an authentication, which RFC 3768 took away: turn it off there"
            }
            Refusal::Own => {
                "it comes from our own address: another machine has it too, or the network sends our packets back"
            }
            Refusal::Stranger => "its sender is not among those that 'unicast' names",
            Refusal::Addresses => "it is about other addresses: set 'address' alike on all routers",
        }
    }
}

/// An advert that may be heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// What it says.
    pub advert: Advert,
    /// How its sender makes checksums.
    pub sum: Sum,
    /// Whether it is about the addresses of the section. In version 3 another list is no reason
    /// to refuse it (RFC 9568 section 7.1): that would make two routers active.
    pub same_addresses: bool,
}

/// Checks a packet that is about the section's virtual router, by its second byte.
pub fn check(vrrp: &Vrrp, own: Option<IpAddr>, heard: &Heard) -> Result<Passed, Refusal> {
    if heard.hops != HOPS {
        return Err(Refusal::Hops);
    }
    if Some(heard.source) == own {
        return Err(Refusal::Own);
    }
    let group: IpAddr = match heard.source {
        IpAddr::V4(_) => GROUP_V4.into(),
        IpAddr::V6(_) => GROUP_V6.into(),
    };
    if vrrp.unicast.is_empty() {
        if heard.destination != group {
            return Err(Refusal::Destination);
        }
    } else if heard.destination != group && Some(heard.destination) != own {
        return Err(Refusal::Destination);
    } else if !vrrp.unicast.contains(&heard.source) {
        return Err(Refusal::Stranger);
    }
    let read = Advert::decode(&heard.bytes, heard.source, heard.destination);
    let (advert, sum) = read.map_err(|fault| match fault {
        Fault::Length | Fault::Vrid => Refusal::Length,
        Fault::Version(_) => Refusal::Version,
        Fault::Type(_) => Refusal::Type,
        Fault::Checksum => Refusal::Checksum,
        Fault::Interval => Refusal::Interval,
        Fault::Authentication(_) => Refusal::Authentication,
    })?;
    if advert.version != vrrp.version {
        return Err(Refusal::Version);
    }
    if vrrp.version == 2 && advert.interval != vrrp.interval {
        return Err(Refusal::Interval);
    }
    let ours: BTreeSet<IpAddr> = vrrp.addresses.iter().map(|a| a.ip).collect();
    let theirs: BTreeSet<IpAddr> = advert.addresses.iter().copied().collect();
    let same_addresses = ours == theirs;
    if !same_addresses && vrrp.version == 2 && advert.priority != 255 {
        return Err(Refusal::Addresses);
    }
    Ok(Passed {
        advert,
        sum,
        same_addresses,
    })
}

#[cfg(test)]
pub(crate) mod tests;
