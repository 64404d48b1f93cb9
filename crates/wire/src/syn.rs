//! The first two segments of a TCP connection (RFC 9293 section 3.1), for checks that never finish
//! the handshake.

use crate::icmp::checksum;
use std::net::{IpAddr, SocketAddr};

/// A SYN from one address to another; without addresses of one family the checksum is wrong.
pub fn segment(from: SocketAddr, to: SocketAddr, sequence: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    out.extend_from_slice(&from.port().to_be_bytes());
    out.extend_from_slice(&to.port().to_be_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    // Six words of header, the flag SYN, a window, and the option of the usual segment size.
    out.extend_from_slice(&[0x60, SYN, 0x72, 0x10, 0, 0, 0, 0, 2, 4, 0x05, 0xb4]);
    let mut pseudo = Vec::new();
    for ip in [from.ip(), to.ip()] {
        match ip {
            IpAddr::V4(ip) => pseudo.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => pseudo.extend_from_slice(&ip.octets()),
        }
    }
    let length = (out.len() as u16).to_be_bytes();
    pseudo.extend_from_slice(&[0, TCP, length[0], length[1]]);
    let sum = checksum(&[&pseudo, &out]).to_be_bytes();
    out[16..18].copy_from_slice(&sum);
    out
}

/// What answers a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// SYN and ACK: somebody listens.
    Listening,
    /// RST: nobody does.
    Refused,
}

/// The answer to the SYN with this number between these ports, if that is what these bytes are.
/// What a raw socket of version 4 receives begins with the IP header.
pub fn answer(bytes: &[u8], v6: bool, from: u16, to: u16, sequence: u32) -> Option<Answer> {
    let start = match bytes.first() {
        Some(first) if !v6 => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let [a, b, c, d, _, _, _, _, e, f, g, h, _, flags, ..] = bytes.get(start..)? else {
        return None;
    };
    let ours = u16::from_be_bytes([*a, *b]) == to
        && u16::from_be_bytes([*c, *d]) == from
        && u32::from_be_bytes([*e, *f, *g, *h]) == sequence.wrapping_add(1)
        && flags & ACK != 0;
    match flags & (SYN | RST) {
        _ if !ours => None,
        SYN => Some(Answer::Listening),
        RST => Some(Answer::Refused),
        _ => None,
    }
}

const TCP: u8 = 6;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_segment_and_its_pseudo_header_sum_up_to_nothing() {
        let out = segment(at("10.0.0.1:1000"), at("10.0.0.2:80"), 7);
        let pseudo = [10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, 24];
        assert_eq!(checksum(&[&pseudo, &out]), 0);
        assert_eq!(out.len(), 24);
    }

    #[test]
    fn only_the_answer_to_this_very_segment_counts() {
        let reply = |flags: u8, acknowledged: u32| {
            let mut out = vec![0x45; 20];
            out.extend_from_slice(&[0, 80, 0x03, 0xe8, 0, 0, 0, 1]);
            out.extend_from_slice(&acknowledged.to_be_bytes());
            out.extend_from_slice(&[0x50, flags, 0, 0, 0, 0, 0, 0]);
            out
        };
        let of = |bytes: &[u8]| answer(bytes, false, 1000, 80, 7);
        assert_eq!(of(&reply(SYN | ACK, 8)), Some(Answer::Listening));
        assert_eq!(of(&reply(RST | ACK, 8)), Some(Answer::Refused));
        assert_eq!(of(&reply(SYN | ACK, 9)), None);
        assert_eq!(of(&reply(ACK, 8)), None);
        assert_eq!(of(&reply(SYN, 8)), None);
        assert_eq!(answer(&reply(SYN | ACK, 8), false, 1001, 80, 7), None);
        assert_eq!(of(&[]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..80), v6: bool) {
            let _ = answer(&bytes, v6, 1, 2, 3);
        }
    }
}
