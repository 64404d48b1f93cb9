//! Frames and packets as bytes, such as the saved SYN of a connection (`fc_saved_syn`): fields of
//! Ethernet, of IP (RFC 791, RFC 8200) and of TCP (RFC 9293).

use super::{ConvertDef, binary, convert, int};
use crate::Sample;
use crate::args::NONE;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A SYN over IPv4, with a converter behind it.
macro_rules! ip {
    ($convert:literal) => {
        concat!(
            "bin(4510003c000140004006000",
            "0c0000207c0000201),",
            $convert
        )
    };
}

/// The TCP part of a SYN.
macro_rules! tcp {
    ($convert:literal) => {
        concat!(
            "bin(9c4000500000000100000000a002ffff00000000",
            "020405b40402080a000000640000000001030307),",
            $convert
        )
    };
}

/// The head of a frame with a VLAN's tag, and the first byte behind it.
macro_rules! eth {
    ($convert:literal) => {
        concat!("bin(02000000000102000000000281000064080045),", $convert)
    };
}

pub static TABLE: &[ConvertDef] = &[
    convert! { "eth.data", NONE, Bin => Bin, "what a frame carries: all behind its head and tags",
        eth!("eth.data,hex") => "45", |_, s, _| {
            let bytes = s.to_bytes();
            binary(bytes.get(frame(&bytes)?.length..)?)
        }
    },
    convert! { "eth.dst", NONE, Bin => Bin, "the address a frame is for",
        eth!("eth.dst,hex") => "020000000001", |_, s, _| binary(s.to_bytes().get(..6)?)
    },
    convert! { "eth.hdr", NONE, Bin => Bin, "a frame's head, with its tags",
        eth!("eth.hdr,hex") => "020000000001020000000002810000640800", |_, s, _| {
            let bytes = s.to_bytes();
            binary(bytes.get(..frame(&bytes)?.length)?)
        }
    },
    convert! { "eth.proto", NONE, Bin => Int, "the number of what a frame carries, behind its tags",
        eth!("eth.proto") => "2048", |_, s, _| int(frame(&s.to_bytes())?.protocol.into())
    },
    convert! { "eth.src", NONE, Bin => Bin, "the address a frame is from",
        eth!("eth.src,hex") => "020000000002", |_, s, _| binary(s.to_bytes().get(6..12)?)
    },
    convert! { "eth.vlan", NONE, Bin => Int, "the VLAN of a frame, the innermost",
        eth!("eth.vlan") => "100", |_, s, _| int(frame(&s.to_bytes())?.vlan?.into())
    },
    convert! { "ip.data", NONE, Bin => Bin, "what a packet carries: all behind its head",
        ip!("ip.data,length") => "0", |_, s, _| {
            let bytes = s.to_bytes();
            binary(bytes.get(packet(&bytes)?.length..)?)
        }
    },
    convert! { "ip.df", NONE, Bin => Int, "1 where a packet must not be cut on its way, which is always so with IPv6",
        ip!("ip.df") => "1", |_, s, _| {
            let bytes = s.to_bytes();
            int(match packet(&bytes)?.version {
                4 => i64::from(bytes.get(6)? >> 6 & 1),
                _ => 1,
            })
        }
    },
    convert! { "ip.dst", NONE, Bin => Addr, "the address a packet is for",
        ip!("ip.dst") => "192.0.2.1", |_, s, _| address(&s.to_bytes(), 16, 24)
    },
    convert! { "ip.hdr", NONE, Bin => Bin, "a packet's head, with its options or extensions",
        ip!("ip.hdr,hex") => "4510003C0001400040060000C0000207C0000201", |_, s, _| {
            let bytes = s.to_bytes();
            binary(bytes.get(..packet(&bytes)?.length)?)
        }
    },
    convert! { "ip.proto", NONE, Bin => Int, "the number of what a packet carries, behind extensions: 6 is TCP",
        ip!("ip.proto") => "6", |_, s, _| int(packet(&s.to_bytes())?.protocol.into())
    },
    convert! { "ip.src", NONE, Bin => Addr, "the address a packet is from",
        ip!("ip.src") => "192.0.2.7", |_, s, _| address(&s.to_bytes(), 12, 8)
    },
    convert! { "ip.tos", NONE, Bin => Int, "a packet's type of service, or its class of traffic",
        ip!("ip.tos") => "16", |_, s, _| {
            let bytes = s.to_bytes();
            int(match packet(&bytes)?.version {
                4 => i64::from(*bytes.get(1)?),
                _ => number(&bytes, 0, 2)? >> 4 & 0xff,
            })
        }
    },
    convert! { "ip.ttl", NONE, Bin => Int, "how many routers a packet may still pass",
        ip!("ip.ttl") => "64", |_, s, _| {
            let bytes = s.to_bytes();
            let at = if packet(&bytes)?.version == 4 { 8 } else { 7 };
            int((*bytes.get(at)?).into())
        }
    },
    convert! { "ip.ver", NONE, Bin => Int, "a packet's version: 4 or 6",
        ip!("ip.ver") => "4", |_, s, _| int(packet(&s.to_bytes())?.version.into())
    },
    convert! { "tcp.dst", NONE, Bin => Int, "the port a segment is for",
        tcp!("tcp.dst") => "80", |_, s, _| int(number(&s.to_bytes(), 2, 2)?)
    },
    convert! { "tcp.flags", NONE, Bin => Int, "a segment's flags: 1 FIN, 2 SYN, 4 RST, 8 PSH, 16 ACK, 32 URG, 64 ECE, 128 CWR",
        tcp!("tcp.flags") => "2", |_, s, _| int(number(&s.to_bytes(), 13, 1)?)
    },
    convert! { "tcp.options.mss", NONE, Bin => Int, "the largest segment that the option for it names",
        tcp!("tcp.options.mss") => "1460", |_, s, _| int(number(&option(&s.to_bytes(), 2)?, 0, 2)?)
    },
    convert! { "tcp.options.sack", NONE, Bin => Int, "1 where the option that permits selective acknowledgements is there",
        tcp!("tcp.options.sack") => "1", |_, s, _| there(&s.to_bytes(), 4)
    },
    convert! { "tcp.options.tsopt", NONE, Bin => Int, "1 where the option of time stamps is there",
        tcp!("tcp.options.tsopt") => "1", |_, s, _| there(&s.to_bytes(), 8)
    },
    convert! { "tcp.options.tsval", NONE, Bin => Int, "the time stamp in that option",
        tcp!("tcp.options.tsval") => "100", |_, s, _| int(number(&option(&s.to_bytes(), 8)?, 0, 4)?)
    },
    convert! { "tcp.options.wscale", NONE, Bin => Int, "by how many bits the window is shifted, as the option for it says",
        tcp!("tcp.options.wscale") => "7", |_, s, _| int(number(&option(&s.to_bytes(), 3)?, 0, 1)?)
    },
    convert! { "tcp.options.wsopt", NONE, Bin => Int, "1 where the option that scales the window is there",
        tcp!("tcp.options.wsopt") => "1", |_, s, _| there(&s.to_bytes(), 3)
    },
    convert! { "tcp.options_list", NONE, Bin => Bin, "the kinds of all options in their order, a byte each",
        tcp!("tcp.options_list,hex") => "0204080103", |_, s, _| {
            let bytes = s.to_bytes();
            binary(options(&bytes)?.map(|(kind, _)| kind).collect::<Vec<_>>())
        }
    },
    convert! { "tcp.seq", NONE, Bin => Int, "a segment's number",
        tcp!("tcp.seq") => "1", |_, s, _| int(number(&s.to_bytes(), 4, 4)?)
    },
    convert! { "tcp.src", NONE, Bin => Int, "the port a segment is from",
        tcp!("tcp.src") => "40000", |_, s, _| int(number(&s.to_bytes(), 0, 2)?)
    },
    convert! { "tcp.win", NONE, Bin => Int, "the window a segment names, not scaled",
        tcp!("tcp.win") => "65535", |_, s, _| int(number(&s.to_bytes(), 14, 2)?)
    },
];

/// The big-endian number in `length` bytes from `at` on.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<i64> {
    let part = bytes.get(at..at.checked_add(length)?)?;
    Some(part.iter().fold(0, |n, b| n << 8 | i64::from(*b)))
}

/// What the head of a frame says.
struct Frame {
    /// Its bytes, tags included.
    length: usize,
    protocol: u16,
    vlan: Option<u16>,
}

/// The types of tags: of customers (IEEE 802.1Q) and of providers (802.1ad).
const TAGS: [i64; 2] = [0x8100, 0x88a8];

fn frame(bytes: &[u8]) -> Option<Frame> {
    let (mut at, mut vlan) = (12, None);
    loop {
        let kind = number(bytes, at, 2)?;
        at += 2;
        if !TAGS.contains(&kind) {
            return Some(Frame {
                length: at,
                protocol: kind as u16,
                vlan,
            });
        }
        vlan = Some(number(bytes, at, 2)? as u16 & 0xfff);
        at += 2;
    }
}

/// What the head of a packet says.
struct Packet {
    /// Its bytes, options and extensions included.
    length: usize,
    version: u8,
    /// What it carries.
    protocol: u8,
}

fn packet(bytes: &[u8]) -> Option<Packet> {
    match bytes.first()? >> 4 {
        4 => {
            let length = usize::from(bytes.first()? & 0xf) * 4;
            (length >= 20 && bytes.len() >= length).then_some(Packet {
                length,
                version: 4,
                protocol: *bytes.get(9)?,
            })
        }
        6 => {
            let (mut at, mut protocol) = (40, *bytes.get(6)?);
            // Extensions with a length in units of eight bytes beyond the first; that of a fragment
            // is fixed, and authentication counts in four, beyond the first two (RFC 4302).
            loop {
                let length = match protocol {
                    0 | 43 | 60 => (usize::from(*bytes.get(at + 1)?) + 1) * 8,
                    44 => 8,
                    51 => (usize::from(*bytes.get(at + 1)?) + 2) * 4,
                    _ => break,
                };
                protocol = *bytes.get(at)?;
                at += length;
            }
            (bytes.len() >= at).then_some(Packet {
                length: at,
                version: 6,
                protocol,
            })
        }
        _ => None,
    }
}

/// The address that stands at a place of each version's own.
fn address<'s>(bytes: &[u8], v4: usize, v6: usize) -> Option<Sample<'s>> {
    let ip: IpAddr = match packet(bytes)?.version {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(v4..v4 + 4)?).ok()?).into(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(v6..v6 + 16)?).ok()?).into(),
    };
    Some(Sample::ip(ip))
}

/// Kinds and values of a segment's options, up to the end of the list or to one that is broken.
fn options(bytes: &[u8]) -> Option<impl Iterator<Item = (u8, &[u8])>> {
    let length = usize::from(bytes.get(12)? >> 4) * 4;
    let mut rest = bytes.get(20..length)?;
    Some(std::iter::from_fn(move || match rest {
        [] | [0, ..] => None,
        [1, behind @ ..] => {
            rest = behind;
            Some((1, &[][..]))
        }
        [kind, length, ..] => {
            let whole = usize::from(*length);
            let value = rest.get(2..whole)?;
            rest = rest.get(whole..)?;
            Some((*kind, value))
        }
        _ => None,
    }))
}

/// The value of the first option of a kind.
fn option(bytes: &[u8], kind: u8) -> Option<Vec<u8>> {
    let mut all = options(bytes)?;
    all.find(|(k, _)| *k == kind)
        .map(|(_, value)| value.to_vec())
}

/// 1 where there is an option of a kind, else 0.
fn there<'s>(bytes: &[u8], kind: u8) -> Option<Sample<'s>> {
    int(options(bytes)?.any(|(k, _)| k == kind).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet of IPv6 with extensions of these kinds and so many further units of each.
    fn extended(kinds: &[(u8, u8)], carried: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 40];
        bytes[..8].copy_from_slice(&[0x61, 0x20, 0, 0, 0, 0, 6, 9]);
        bytes[23] = 1;
        bytes[39] = 2;
        let (mut next_at, mut last) = (6, 6);
        for (kind, units) in kinds {
            bytes[next_at] = *kind;
            next_at = bytes.len();
            let length = match kind {
                44 => 8,
                51 => (usize::from(*units) + 2) * 4,
                _ => (usize::from(*units) + 1) * 8,
            };
            let mut extension = vec![0; length];
            extension[1] = if *kind == 44 { 0 } else { *units };
            bytes.extend(extension);
            last = next_at;
        }
        bytes[last] = 6;
        bytes.extend_from_slice(carried);
        bytes
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd_to_be_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some(frame) = frame(&bytes) {
                prop_assert!(frame.length <= bytes.len());
            }
            if let Some(packet) = packet(&bytes) {
                prop_assert!(packet.length <= bytes.len());
            }
            if let Some(options) = options(&bytes) {
                prop_assert!(options.count() <= 40);
            }
            let _ = address(&bytes, 16, 24);
        }

        #[test]
        fn tags_are_passed_however_many(
            tags in proptest::collection::vec((any::<bool>(), 0u16..4096), 0..4),
            protocol in 0u16..0x8100,
        ) {
            let mut bytes = vec![7; 12];
            for (provider, vlan) in &tags {
                bytes.extend(if *provider { [0x88, 0xa8] } else { [0x81, 0] });
                // The bits before a VLAN's number are a priority.
                bytes.extend((vlan | 0xe000).to_be_bytes());
            }
            bytes.extend(protocol.to_be_bytes());
            let read = frame(&bytes).expect("a frame");
            prop_assert_eq!(read.length, bytes.len());
            prop_assert_eq!(read.protocol, protocol);
            prop_assert_eq!(read.vlan, tags.last().map(|(_, vlan)| *vlan));
            bytes.pop();
            prop_assert!(frame(&bytes).is_none(), "its head is cut");
        }

        #[test]
        fn extensions_are_passed_and_what_they_lead_to_is_found(
            kinds in proptest::collection::vec((prop::sample::select(vec![0u8, 43, 44, 51, 60]), 0u8..4), 0..5),
            carried in proptest::collection::vec(any::<u8>(), 0..30),
        ) {
            let bytes = extended(&kinds, &carried);
            let read = packet(&bytes).expect("a packet");
            prop_assert_eq!((read.version, read.protocol), (6, 6));
            prop_assert_eq!(&bytes[read.length..], &carried[..]);
        }

        #[test]
        fn options_come_back_in_their_order(
            all in proptest::collection::vec((2u8..=255, proptest::collection::vec(any::<u8>(), 0..5)), 0..5),
            pads in 0usize..3,
        ) {
            let mut list = vec![1; pads];
            for (kind, value) in &all {
                list.extend([*kind, value.len() as u8 + 2]);
                list.extend(value);
            }
            list.resize(list.len().div_ceil(4) * 4, 0);
            let mut bytes = vec![0; 20];
            bytes[12] = ((20 + list.len()) / 4) as u8 * 16;
            bytes.extend(&list);
            let read: Vec<_> = options(&bytes).expect("options").skip(pads).collect();
            let wanted: Vec<_> = all.iter().map(|(kind, value)| (*kind, &value[..])).collect();
            prop_assert_eq!(read, wanted);
        }
    }
}
