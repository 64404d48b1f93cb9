//! What a NetScaler writes before a connection's bytes: the IP and TCP headers with which the client
//! came to it ("Client IP insertion"; HAProxy's netscaler-client-ip-insertion-protocol.txt).
//!
//! Both forms begin with four bytes that both sides have agreed on and a length of four bytes. In the
//! older one the two headers follow; in the newer one (from 10.5 on) a type and their length, of two
//! bytes each, stand before them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What stands at the start of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A whole header of so many bytes: who came, and where to.
    Header {
        /// Bytes that belong to it.
        len: usize,
        /// The client.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
    /// The beginning of one.
    NeedMore,
    /// It does not begin with the number.
    OtherNumber,
    /// It holds no TCP over IP.
    OtherProtocol,
}

/// Headers are no longer than this: both with all of their options, and what stands before them.
pub const LONGEST: usize = 12 + 60 + 60;

/// Reads the header that begins with this number.
pub fn read(bytes: &[u8], magic: u32) -> Read {
    let number = magic.to_be_bytes();
    let known = bytes.len().min(number.len());
    if bytes.get(..known) != number.get(..known) {
        return Read::OtherNumber;
    }
    let Some(first) = bytes.get(8) else {
        return Read::NeedMore;
    };
    // A version of IP stands where the newer form has a type, which is small.
    let (start, length) = match first >> 4 {
        0 => (12, be16(bytes, 10).map(usize::from)),
        _ => {
            let high = be16(bytes, 4);
            let low = be16(bytes, 6);
            let length = high
                .zip(low)
                .map(|(high, low)| usize::from(high) << 16 | usize::from(low));
            (8, length)
        }
    };
    let Some(length) = length else {
        return Read::NeedMore;
    };
    if length > LONGEST {
        return Read::OtherProtocol;
    }
    let Some(headers) = bytes.get(start..start + length) else {
        return Read::NeedMore;
    };
    match ends(headers) {
        Some((source, destination)) => Read::Header {
            len: start + length,
            source,
            destination,
        },
        None => Read::OtherProtocol,
    }
}

/// Both ends of a TCP segment, from its IP header on.
fn ends(packet: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let first = packet.first()?;
    let (protocol, length, source, destination): (u8, usize, IpAddr, IpAddr) = match first >> 4 {
        4 => {
            let address = |at: usize| {
                let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
                Some(Ipv4Addr::from(octets).into())
            };
            let length = usize::from(first & 15) * 4;
            (*packet.get(9)?, length, address(12)?, address(16)?)
        }
        6 => {
            let address = |at: usize| {
                let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
                Some(Ipv6Addr::from(octets).into())
            };
            (*packet.get(6)?, 40, address(8)?, address(24)?)
        }
        _ => return None,
    };
    const TCP: u8 = 6;
    if protocol != TCP || length < 20 {
        return None;
    }
    let (from, to) = (be16(packet, length)?, be16(packet, length + 2)?);
    Some((
        SocketAddr::new(source, from),
        SocketAddr::new(destination, to),
    ))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let two: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(two))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: u32 = 0x1234_5678;

    fn ip4(protocol: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet.extend([192, 0, 2, 7, 198, 51, 100, 9]);
        packet.extend([16, 225, 1, 187]);
        packet.extend([0; 16]);
        packet
    }

    fn older(packet: &[u8]) -> Vec<u8> {
        let length = (packet.len() as u32).to_be_bytes();
        [&MAGIC.to_be_bytes()[..], &length, packet].concat()
    }

    fn newer(packet: &[u8]) -> Vec<u8> {
        let (whole, part) = (packet.len() as u32 + 12, packet.len() as u16);
        let mut bytes = [MAGIC.to_be_bytes(), whole.to_be_bytes()].concat();
        bytes.extend([0, 1]);
        bytes.extend(part.to_be_bytes());
        bytes.extend(packet);
        bytes
    }

    #[test]
    fn both_forms_name_the_client_and_take_no_byte_of_what_follows() {
        let packet = ip4(6);
        for header in [older(&packet), newer(&packet)] {
            let mut bytes = header.clone();
            bytes.extend(b"GET / HTTP/1.1");
            for end in 0..header.len() {
                assert_eq!(read(&bytes[..end], MAGIC), Read::NeedMore, "{end}");
            }
            let wanted = Read::Header {
                len: header.len(),
                source: "192.0.2.7:4321".parse().expect("an address"),
                destination: "198.51.100.9:443".parse().expect("an address"),
            };
            assert_eq!(read(&bytes, MAGIC), wanted);
            assert_eq!(read(&bytes, MAGIC + 1), Read::OtherNumber);
        }
        let mut packet = vec![0x60, 0, 0, 0, 0, 20, 6, 64];
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        packet.extend([16, 225, 1, 187]);
        packet.extend([0; 16]);
        let Read::Header { source, .. } = read(&newer(&packet), MAGIC) else {
            panic!("it is one");
        };
        assert_eq!(source.to_string(), "[2001:db8::7]:4321");
    }

    #[test]
    fn what_is_no_tcp_over_ip_is_refused_and_no_bytes_do_harm() {
        assert_eq!(read(&older(&ip4(17)), MAGIC), Read::OtherProtocol);
        assert_eq!(read(&older(&[0x55; 40]), MAGIC), Read::OtherProtocol);
        assert_eq!(read(&older(&ip4(6)[..22]), MAGIC), Read::OtherProtocol);
        let endless = [&MAGIC.to_be_bytes()[..], &[0xff; 8]].concat();
        assert_eq!(read(&endless, MAGIC), Read::OtherProtocol);
        let mut bytes = newer(&ip4(6));
        for at in 4..bytes.len() {
            for value in [0, 1, 0x45, 0x4f, 0x60, 0xff] {
                let kept = bytes[at];
                bytes[at] = value;
                if let Read::Header { len, .. } = read(&bytes, MAGIC) {
                    assert!(len <= bytes.len());
                }
                bytes[at] = kept;
            }
        }
    }
}
