//! Packets of every shape: valid ones of sessions, and what is wrong with them.

use super::frame::{Frame, Load, sum};
use super::read::*;
use std::net::SocketAddr;

/// The generator of Steele, Lea and Flood (SplitMix64): the same numbers for a seed, everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below a number.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Once in so many times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// A packet of this key that nothing is wrong with.
pub fn plain(key: &Key, flags: u8, data: &[u8]) -> Frame {
    let four = key.0.is_ipv4();
    let load = match key.4 {
        TCP => Load::Tcp {
            flags,
            seq: 1000,
            ack: 5000,
            options: vec![],
            data: data.to_vec(),
        },
        UDP => Load::Udp {
            sum: true,
            data: data.to_vec(),
        },
        1 | 58 => Load::Icmp {
            kind: if four { 8 } else { 128 },
            code: 0,
            word: u32::from(key.1) << 16 | 1,
            data: data.to_vec(),
        },
        proto => Load::Raw {
            proto,
            data: data.to_vec(),
        },
    };
    Frame {
        to: super::OWN_MAC,
        from: super::CLIENT_MAC,
        vlan: None,
        src: SocketAddr::new(key.0, key.1),
        dst: SocketAddr::new(key.2, key.3),
        ttl: 64,
        tos: 0,
        id: 1,
        fragment: 0x4000,
        ip_options: vec![],
        load,
    }
}

/// The same with everything by chance that a sender may choose.
fn varied(dice: &mut Dice, key: &Key) -> Frame {
    let len = match dice.below(8) {
        0 => 0,
        1 => 1400 + dice.below(120),
        2 if !super::BEHIND_DRIVER => dice.below(3200),
        _ => dice.below(64),
    };
    let data = match dice.below(6) {
        0 => vec![0; len],
        1 => vec![0xff; len],
        _ => dice.bytes(len),
    };
    let flags = dice.of(&[2, 16, 24, 18, 17, 4, 20, 1, 0, 0x3f, 0xff, 6, 3]);
    let mut frame = plain(key, flags, &data);
    if dice.one_in(4) {
        frame = plain(key, dice.next() as u8, &data);
    }
    match &mut frame.load {
        Load::Tcp { options, .. } => {
            let words = dice.below(11);
            *options = dice.bytes(words * 4);
        }
        Load::Udp { sum, .. } => *sum = !dice.one_in(4),
        Load::Icmp { kind, code, .. } if dice.one_in(4) => {
            *kind = dice.next() as u8;
            *code = dice.next() as u8;
        }
        _ => {}
    }
    frame.ttl = dice.of(&[0, 1, 2, 64, 128, 255]);
    frame.tos = dice.next() as u8;
    frame.id = dice.next() as u16;
    frame.fragment = dice.of(&[0, 0x4000, 0x8000, 0xc000]);
    if key.0.is_ipv4() && dice.one_in(4) {
        let words = dice.below(11);
        frame.ip_options = dice.bytes(words * 4);
    }
    frame
}

/// Extension headers before `load` of protocol `next`, in any order; the first one's number.
fn extended(dice: &mut Dice, next: u8, load: &[u8]) -> (u8, Vec<u8>) {
    let mut chain: Vec<(u8, Vec<u8>)> = Vec::new();
    for _ in 0..dice.below(9) {
        let kind = dice.of(&[0, 43, 60, 60, 51, 135, 43]);
        let words = if dice.one_in(40) { 120 } else { dice.below(3) };
        let mut header = dice.bytes(8 + words * 8);
        header[1] = words as u8;
        match kind {
            43 => header[3] = dice.of(&[0, 0, 0, 1, 2]),
            // Its length is in words of four bytes, two of which are not counted.
            51 => header[1] = (words * 2) as u8,
            _ => {}
        }
        chain.push((kind, header));
    }
    if dice.one_in(6) {
        // A datagram in one piece.
        let mut header = dice.bytes(8);
        header[2..4].copy_from_slice(&[0, 0]);
        let at = dice.below(chain.len() + 1);
        chain.insert(at, (44, header));
    }
    let mut kinds: Vec<u8> = chain.iter().map(|c| c.0).collect();
    kinds.push(next);
    let mut out = Vec::new();
    for (i, (_, header)) in chain.iter_mut().enumerate() {
        header[0] = kinds[i + 1];
        out.extend_from_slice(header);
    }
    out.extend_from_slice(load);
    (kinds[0], out)
}

/// An IPv6 packet with this behind its header.
fn six_of(frame: &Frame, next: u8, load: &[u8]) -> Vec<u8> {
    let mut packet = frame.packet_of(load);
    packet[6] = next;
    packet
}

/// The packets that become of one: mostly itself, or its pieces in any order.
fn packets(dice: &mut Dice, frame: &Frame) -> Vec<Vec<u8>> {
    let four = frame.src.is_ipv4();
    let load = frame.transport();
    if dice.one_in(4) {
        return pieces(dice, frame, &load);
    }
    if !four && dice.one_in(3) {
        let (next, load) = extended(dice, frame.proto(), &load);
        return vec![six_of(frame, next, &load)];
    }
    vec![frame.packet_of(&load)]
}

fn pieces(dice: &mut Dice, frame: &Frame, load: &[u8]) -> Vec<Vec<u8>> {
    let id = dice.next() as u32;
    let mut out = Vec::new();
    // The first may be tiny, others may overlap it, and the last may lie.
    let size = dice.of(&[8, 16, 24, 32, 64, 512]);
    let mut at = 0;
    while at < load.len().max(1) {
        let end = (at + size).min(load.len());
        let more = end < load.len() || dice.one_in(8);
        let offset = if dice.one_in(10) {
            dice.below(8191)
        } else {
            at / 8
        };
        let body = &load[at.min(end)..end];
        if frame.src.is_ipv4() {
            let piece = Frame {
                id: id as u16,
                fragment: offset as u16 | if more { 0x2000 } else { 0 },
                ..frame.clone()
            };
            out.push(piece.packet_of(body));
        } else {
            let mut header = vec![frame.proto(), 0];
            header.extend((((offset << 3) as u16) | u16::from(more)).to_be_bytes());
            header.extend(id.to_be_bytes());
            header.extend(body);
            out.push(six_of(frame, 44, &header));
        }
        at = if dice.one_in(8) {
            at + 8
        } else {
            end.max(at + 8)
        };
        if out.len() == 4 {
            break;
        }
    }
    if dice.one_in(4) {
        out.reverse();
    }
    out
}

/// An error from `from` to `to` about a packet of this key, with as much of it as chance wants.
fn error(dice: &mut Dice, from: std::net::IpAddr, about: &Key) -> Frame {
    let mut quoted = varied(dice, about);
    if dice.one_in(8) {
        quoted.fragment = dice.of(&[0x2000, 0x2001, 1, 0x1fff]);
    }
    let mut packet = quoted.packet();
    if dice.one_in(8) {
        packet[0] = packet[0] & 0xf0 | dice.below(16) as u8;
    }
    let keep = if dice.one_in(2) {
        dice.below(packet.len().min(128))
    } else {
        packet.len().min(dice.of(&[28, 48, 60, 68, 128, 500]))
    };
    packet.truncate(keep);
    let four = from.is_ipv4();
    let kind = if four {
        dice.of(&[3, 11, 12, 3, 4, 5])
    } else {
        dice.of(&[1, 2, 3, 4, 1, 5])
    };
    let mut frame = plain(&(from, 0, about.0, 0, if four { 1 } else { 58 }), 0, b"");
    frame.load = Load::Icmp {
        kind,
        code: dice.below(16) as u8,
        word: dice.next() as u32,
        data: packet,
    };
    frame.ttl = dice.of(&[0, 1, 2, 64, 255]);
    frame.tos = dice.next() as u8;
    frame.id = dice.next() as u16;
    if four && dice.one_in(8) {
        let words = dice.below(11);
        frame.ip_options = dice.bytes(words * 4);
    }
    frame
}

/// What comes by on a session of the client `key`, whose answers come with `answers`: frames in the order of their
/// coming.
pub fn frames(
    dice: &mut Dice,
    key: &Key,
    answers: Option<&Key>,
    others: &[std::net::IpAddr],
) -> Vec<Vec<u8>> {
    let router = others[dice.below(others.len())];
    let (mut frame, back) = match (dice.below(8), answers) {
        (0 | 1, Some(answers)) => (varied(dice, answers), true),
        // From before the balancer, about what the client got; the client may say it itself.
        (2, _) => {
            let from = if dice.one_in(2) { key.0 } else { router };
            (error(dice, from, &reversed(key)), false)
        }
        // From behind it, about what the server got.
        (3, Some(answers)) => {
            let from = if dice.one_in(2) { answers.0 } else { router };
            (error(dice, from, &reversed(answers)), true)
        }
        (4, _) => {
            let stray = dice.below(65536) as u16;
            let stray = match dice.below(4) {
                0 => (key.0, stray, key.2, key.3, key.4),
                1 => (key.0, key.1, key.2, stray, key.4),
                2 => (router, key.1, key.2, key.3, key.4),
                _ => (key.2, key.3, key.2, key.3, key.4),
            };
            (varied(dice, &stray), false)
        }
        _ => (varied(dice, key), false),
    };
    if back {
        (frame.to, frame.from) = (super::INNER_MAC, super::SERVER_MAC);
    }
    let made = packets(dice, &frame);
    // The kernel takes test runs of a page.
    let made = made.iter().map(|packet| spoilt(dice, &frame, packet));
    made.filter(|frame| frame.len() <= 3400).collect()
}

/// A frame around a packet, with something wrong in half of all.
fn spoilt(dice: &mut Dice, frame: &Frame, packet: &[u8]) -> Vec<u8> {
    let mut out = frame.around(packet);
    let ip = 14;
    let four = packet[0] >> 4 == 4;
    let any = |dice: &mut Dice, out: &Vec<u8>| dice.below(out.len().min(120) - 14) + 14;
    match dice.below(20) {
        0 => {
            let at = any(dice, &out);
            out[at] = dice.next() as u8;
        }
        1 => {
            let at = any(dice, &out);
            out[at] ^= 1 << dice.below(8);
        }
        // Lengths that lie.
        2 => {
            let at = if four { ip + 2 } else { ip + 4 };
            let len = dice.below(out.len() + 40) as u16;
            out[at..at + 2].copy_from_slice(&len.to_be_bytes());
        }
        3 => out[ip] = out[ip] & 0xf0 | dice.below(16) as u8,
        4 => {
            let least = if super::BEHIND_DRIVER { 54 } else { 14 };
            let cut = least + dice.below(out.len().saturating_sub(least));
            out.truncate(cut);
        }
        // Behind the packet, as short frames are filled up.
        5 => {
            let more = 1 + dice.below(60);
            out.extend(dice.bytes(more));
        }
        6 => {
            out[..6].copy_from_slice(&dice.of(&[
                [0xff; 6],
                [1, 0, 0x5e, 0, 0, 1],
                [2, 0, 0, 0, 9, 9],
            ]));
        }
        // Sources and destinations that nobody has.
        7 => {
            let (src, dst, len) = if four { (12, 16, 4) } else { (8, 24, 16) };
            let at = ip + dice.of(&[src, dst]);
            let whole: Vec<u8> = match dice.below(5) {
                0 => vec![0; len],
                1 => vec![0xff; len],
                2 if four => vec![127, 0, 0, 1],
                3 if four => vec![224, 0, 0, 1],
                _ => out[ip + dst..ip + dst + len].to_vec(),
            };
            out[at..at + len].copy_from_slice(&whole);
        }
        8 if !super::BEHIND_DRIVER => {
            let tci = dice.of(&[0u16, 0x6000, 5, 0x2005, 4095]).to_be_bytes();
            let kind = dice.of(&[[0x81, 0], [0x81, 0], [0x88, 0xa8]]);
            let tag = [kind, tci].concat();
            out.splice(12..12, tag);
            if dice.one_in(3) {
                out.splice(12..12, [0x81, 0, 0, 7]);
            }
        }
        // Of the transport's header or a quotation's.
        9 => {
            let at = (34 + dice.below(60)).min(out.len() - 1);
            out[at] = dice.next() as u8;
        }
        _ => {}
    }
    // What a router on the way would have refused; but the programs do not compute this sum.
    if four && out.len() >= 34 && dice.one_in(2) && out[12..14] == [8, 0] {
        let header = usize::from(out[ip] & 15) * 4;
        if header >= 20 && out.len() >= ip + header {
            out[ip + 10..ip + 12].copy_from_slice(&[0, 0]);
            let check = !(sum(&out[ip..ip + header]) as u16);
            out[ip + 10..ip + 12].copy_from_slice(&check.to_be_bytes());
        }
    }
    out
}
