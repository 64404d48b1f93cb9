//! VRRP advertisements: version 3 (RFC 9568) over IPv4 and IPv6, version 2 (RFC 3768) over IPv4.
//!
//! The bytes are those after the IP header. Whether a packet is for a router of ours, and from a
//! neighbour (TTL 255), is for whoever has received it to say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The number of the protocol in an IP header.
pub const PROTOCOL: u8 = 112;

/// Where adverts go over IPv4.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// Where adverts go over IPv6.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// The hop limit of every advert; one that comes with less has passed a router.
pub const HOPS: u8 = 255;

/// The longest interval of version 3: twelve bits of hundredths of a second.
pub const LONGEST_V3: Duration = Duration::from_millis(40_950);

/// The longest interval of version 2.
pub const LONGEST_V2: Duration = Duration::from_secs(255);

/// An advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// 2 or 3.
    pub version: u8,
    /// The virtual router, 1 to 255.
    pub vrid: u8,
    /// 0: the sender leaves; 255: it owns the addresses.
    pub priority: u8,
    /// Between two adverts: whole seconds in version 2, hundredths in version 3.
    pub interval: Duration,
    /// The addresses of the virtual router, all of one family.
    pub addresses: Vec<IpAddr>,
}

/// How the checksum of version 3 over IPv4 is made. RFC 9568 section 5.2.8 sums the message alone;
/// RFC 5798 was read as wanting a pseudo-header over IPv4, too, and most of what is deployed
/// does so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sum {
    /// The message and a pseudo-header, as over IPv6.
    #[default]
    PseudoHeader,
    /// The message alone.
    Message,
    /// The message and a pseudo-header of an advert to the group, to whomever it is sent: keepalived up to 1.3.6,
    /// and later with `old_unicast_checksum`.
    Group,
}

/// Why bytes are no advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fewer or more bytes than it says it has.
    Length,
    /// Neither version 2 nor 3, or version 2 over IPv6.
    Version(u8),
    /// Not an advertisement.
    Type(u8),
    /// The checksum does not fit.
    Checksum,
    /// A virtual router of number 0.
    Vrid,
    /// An interval of zero, for who does not leave.
    Interval,
    /// Version 2 with a kind of authentication, which RFC 3768 took away.
    Authentication(u8),
}

fn add(sum: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(sum, |sum, pair| {
        let high = pair.first().copied().unwrap_or(0);
        let low = pair.get(1).copied().unwrap_or(0);
        sum + u32::from(u16::from_be_bytes([high, low]))
    })
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of a pseudo-header (RFC 8200 section 8.1; the same fields with addresses of IPv4).
fn pseudo_header(source: IpAddr, destination: IpAddr, len: usize) -> u32 {
    let mut sum = u32::from(PROTOCOL) + len as u32;
    for address in [source, destination] {
        sum = match address {
            IpAddr::V4(a) => add(sum, &a.octets()),
            IpAddr::V6(a) => add(sum, &a.octets()),
        };
    }
    sum
}

impl Advert {
    /// The bytes after the IP header. Intervals are cut to what the version can carry.
    pub fn encode(&self, source: IpAddr, destination: IpAddr, how: Sum) -> Vec<u8> {
        let count = u8::try_from(self.addresses.len()).unwrap_or(u8::MAX);
        let mut bytes = vec![self.version << 4 | 1, self.vrid, self.priority, count];
        if self.version == 2 {
            bytes.push(0);
            bytes.push(self.interval.min(LONGEST_V2).as_secs() as u8);
        } else {
            let hundredths = self.interval.min(LONGEST_V3).as_millis() / 10;
            bytes.extend((hundredths as u16).to_be_bytes());
        }
        bytes.extend([0, 0]);
        for address in self.addresses.iter().take(count.into()) {
            match address {
                IpAddr::V4(a) => bytes.extend(a.octets()),
                IpAddr::V6(a) => bytes.extend(a.octets()),
            }
        }
        if self.version == 2 {
            bytes.extend([0; 8]);
        }
        let base = match how {
            _ if source.is_ipv6() => pseudo_header(source, destination, bytes.len()),
            Sum::PseudoHeader if self.version == 3 => {
                pseudo_header(source, destination, bytes.len())
            }
            Sum::Group if self.version == 3 => pseudo_header(source, GROUP_V4.into(), bytes.len()),
            _ => 0,
        };
        let sum = !fold(add(base, &bytes));
        if let Some(place) = bytes.get_mut(6..8) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    /// Reads the bytes after the IP header; also how the sender made its checksum.
    pub fn decode(
        bytes: &[u8],
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<(Advert, Sum), Fault> {
        let Some((head, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(Fault::Length);
        };
        let [first, vrid, priority, count, fifth, sixth, _, _] = *head;
        let version = first >> 4;
        if version != 3 && (version != 2 || source.is_ipv6()) {
            return Err(Fault::Version(version));
        }
        if first & 0x0f != 1 {
            return Err(Fault::Type(first & 0x0f));
        }
        let size = if source.is_ipv6() { 16 } else { 4 };
        let (listed, tail) = rest
            .split_at_checked(usize::from(count) * size)
            .ok_or(Fault::Length)?;
        if tail.len() != if version == 2 { 8 } else { 0 } {
            return Err(Fault::Length);
        }
        let sum = add(0, bytes);
        let fits =
            |to| version == 3 && fold(sum + pseudo_header(source, to, bytes.len())) == 0xffff;
        let how = if fits(destination) {
            Sum::PseudoHeader
        } else if source.is_ipv4() && fits(GROUP_V4.into()) {
            Sum::Group
        } else if source.is_ipv4() && fold(sum) == 0xffff {
            Sum::Message
        } else {
            return Err(Fault::Checksum);
        };
        if vrid == 0 {
            return Err(Fault::Vrid);
        }
        let interval = if version == 2 {
            if fifth != 0 {
                return Err(Fault::Authentication(fifth));
            }
            Duration::from_secs(sixth.into())
        } else {
            Duration::from_millis(u64::from(u16::from_be_bytes([fifth & 0x0f, sixth])) * 10)
        };
        if interval.is_zero() && priority != 0 {
            return Err(Fault::Interval);
        }
        let addresses = listed.chunks_exact(size).map(|bytes| {
            let wide = <[u8; 16]>::try_from(bytes).map(|b| IpAddr::V6(b.into()));
            let narrow = <[u8; 4]>::try_from(bytes).map(|b| IpAddr::V4(b.into()));
            wide.or(narrow).unwrap_or(source)
        });
        let advert = Advert {
            version,
            vrid,
            priority,
            interval,
            addresses: addresses.collect(),
        };
        Ok((advert, how))
    }
}

/// The hardware address of a virtual router (RFC 9568 section 7.3): the same on whichever machine is
/// active.
pub fn virtual_mac(vrid: u8, ipv6: bool) -> [u8; 6] {
    [0, 0, 0x5e, 0, if ipv6 { 2 } else { 1 }, vrid]
}

/// An advert to the group as a whole Ethernet frame: so it can come from the virtual router's own
/// hardware address, as RFC 9568 section 7.2 wants. Nothing when `source` is not of the same family
/// as the `group`.
pub fn frame(mac: [u8; 6], source: IpAddr, group: IpAddr, advert: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(advert.len()).ok()?;
    let mut frame = Vec::with_capacity(54 + advert.len());
    match (source, group) {
        (IpAddr::V4(source), IpAddr::V4(group)) => {
            let [_, b, c, d] = group.octets();
            frame.extend([1, 0, 0x5e, b & 0x7f, c, d]);
            frame.extend(mac);
            frame.extend([8, 0]);
            // Internetwork control, not to be fragmented.
            let mut head = vec![0x45, 0xc0];
            head.extend(length.checked_add(20)?.to_be_bytes());
            head.extend([0, 0, 0x40, 0, HOPS, PROTOCOL, 0, 0]);
            head.extend(source.octets());
            head.extend(group.octets());
            let sum = !fold(add(0, &head));
            if let Some(place) = head.get_mut(10..12) {
                place.copy_from_slice(&sum.to_be_bytes());
            }
            frame.extend(head);
        }
        (IpAddr::V6(source), IpAddr::V6(group)) => {
            let [.., a, b, c, d] = group.octets();
            frame.extend([0x33, 0x33, a, b, c, d]);
            frame.extend(mac);
            frame.extend([0x86, 0xdd, 0x6c, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([PROTOCOL, HOPS]);
            frame.extend(source.octets());
            frame.extend(group.octets());
        }
        _ => return None,
    }
    frame.extend(advert);
    Some(frame)
}

#[cfg(test)]
mod tests;
