//! Who has an address, told to a whole link without being asked: gratuitous ARP (RFC 5227 section 3,
//! RFC 826) and unsolicited neighbour advertisements (RFC 4861 section 7.2.6), as whole Ethernet
//! frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The frames that say that `mac` has `address`: for IPv4 an ARP request and a reply, because
/// there are hosts that learn from only one of them.
pub fn frames(address: IpAddr, mac: [u8; 6]) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(a) => vec![arp(a, mac, 1), arp(a, mac, 2)],
        IpAddr::V6(a) => vec![neighbour(a, mac)],
    }
}

fn arp(address: Ipv4Addr, mac: [u8; 6], operation: u8) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend([0xff; 6]);
    frame.extend(mac);
    frame.extend([0x08, 0x06]);
    // Ethernet and IPv4, with addresses of 6 and 4 bytes.
    frame.extend([0, 1, 0x08, 0, 6, 4, 0, operation]);
    frame.extend(mac);
    frame.extend(address.octets());
    // A reply is for everyone, a request for nobody yet known.
    frame.extend(if operation == 2 { [0xff; 6] } else { [0; 6] });
    frame.extend(address.octets());
    frame
}

/// All nodes of the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn neighbour(address: Ipv6Addr, mac: [u8; 6]) -> Vec<u8> {
    // Type 136, flags: a router (RFC 9568 section 6.4.2), unsolicited, overriding what is known.
    let mut message = vec![136, 0, 0, 0, 0xa0, 0, 0, 0];
    message.extend(address.octets());
    // Option: the target's link-layer address, one unit of 8 bytes.
    message.extend([2, 1]);
    message.extend(mac);
    let mut sum = 58 + message.len() as u32;
    let octets = [address.octets(), ALL_NODES.octets()].concat();
    for pair in octets.chunks_exact(2).chain(message.chunks_exact(2)) {
        sum += pair.iter().fold(0, |word, b| word << 8 | u32::from(*b));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
    let mut frame = Vec::with_capacity(86);
    frame.extend([0x33, 0x33, 0, 0, 0, 1]);
    frame.extend(mac);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend((message.len() as u16).to_be_bytes());
    frame.extend([58, 255]);
    frame.extend(address.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    #[test]
    fn an_address_of_ipv4_is_announced_by_request_and_reply() {
        let frames = frames(IpAddr::from([203, 0, 113, 10]), MAC);
        let operations: Vec<&[u8]> = frames.iter().map(|f| &f[20..22]).collect();
        assert_eq!(operations, [[0, 1], [0, 2]]);
        for frame in frames {
            assert_eq!(frame.len(), 42);
            assert_eq!(frame[..6], [0xff; 6]);
            assert_eq!(frame[12..14], [8, 6]);
            // Sender and target are the same address: that is what makes it gratuitous.
            assert_eq!(frame[28..32], [203, 0, 113, 10]);
            assert_eq!(frame[38..42], [203, 0, 113, 10]);
            assert_eq!(frame[22..28], MAC);
        }
    }

    #[test]
    fn an_address_of_ipv6_is_announced_by_a_neighbour_advertisement() {
        let address: Ipv6Addr = "2001:db8::10".parse().expect("an address");
        let frames = frames(address.into(), MAC);
        let [frame] = frames.as_slice() else {
            panic!("{frames:?}")
        };
        assert_eq!(frame.len(), 86);
        assert_eq!((frame[20], frame[21], frame[54]), (58, 255, 136));
        assert_eq!(frame[62..78], address.octets());
        assert_eq!(frame[80..86], MAC);
        // The sum over pseudo-header and message, checksum included, is all ones.
        let mut sum: u32 = 58 + 32;
        for pair in frame[22..].chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
