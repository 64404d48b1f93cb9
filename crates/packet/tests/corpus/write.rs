//! What the model's packets are when they leave: headers changed by what a session says, and sums computed over
//! everything, as wrong as they came in.

use super::frame::sum;
use super::model::{DSCP, Fate, Kind, Side};
use super::read::*;
use std::net::IpAddr;

/// What a sum of a region comes to, modulo 0xffff, with the pseudo header where there is one.
fn residual(bytes: &[u8], pseudo: Option<&Key>) -> u16 {
    let mut all = u64::from(sum(bytes));
    if let Some(key) = pseudo {
        for ip in [key.0, key.2] {
            all += match ip {
                IpAddr::V4(ip) => u64::from(sum(&ip.octets())),
                IpAddr::V6(ip) => u64::from(sum(&ip.octets())),
            };
        }
        all += u64::from(key.4) + bytes.len() as u64;
    }
    (all % 0xffff) as u16
}

/// Writes a sum so that the region comes to what it came to before.
fn restore(frame: &mut [u8], at: usize, region: (usize, usize), pseudo: Option<&Key>, wanted: u16) {
    frame[at..at + 2].copy_from_slice(&[0, 0]);
    let without = residual(&frame[region.0..region.1], pseudo);
    let check = (u32::from(wanted) + 0xffff - u32::from(without)) % 0xffff;
    // A sum may stand at an odd place only in what nobody sends.
    let check = if (at - region.0).is_multiple_of(2) {
        check as u16
    } else {
        (check as u16).swap_bytes()
    };
    frame[at..at + 2].copy_from_slice(&check.to_be_bytes());
}

pub fn put_address(frame: &mut [u8], at: usize, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => frame[at..at + 4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => frame[at..at + 16].copy_from_slice(&ip.octets()),
    }
}

pub fn put16(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Where a packet of this protocol has its sum, behind `l4`.
fn sum_at(proto: u8, four: bool) -> Option<usize> {
    match proto {
        TCP => Some(16),
        UDP => Some(6),
        58 if !four => Some(2),
        _ => None,
    }
}

pub fn link(frame: &mut [u8], to: [u8; 6], from: [u8; 6]) {
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&from);
}

pub fn mac(frame: &[u8], at: usize) -> [u8; 6] {
    frame[at..at + 6].try_into().unwrap()
}

/// Addresses, ports, time to live and DSCP of a packet that goes on.
pub fn rewrite(out: &mut [u8], sums: &mut Vec<usize>, p: &Packet, side: &Side, kind: Kind) {
    let header = residual(&out[p.l3..p.l4], None);
    let transport = residual(&out[p.l4..p.end], Some(&p.key));
    let to = side.to;
    readdress(out, p, &to, kind);
    if p.four() {
        restore(out, p.l3 + 10, (p.l3, p.l4), None, header);
        sums.push(p.l3 + 10);
    }
    if p.piece == Piece::Later {
        return;
    }
    let Some(at) = sum_at(p.proto(), p.four()).map(|at| p.l4 + at) else {
        return;
    };
    if has_ports(p.proto()) {
        put16(out, p.l4, to.1);
        put16(out, p.l4 + 2, to.3);
    }
    // None in UDP stays none.
    if p.proto() == UDP && be16(out, at) == 0 {
        return;
    }
    restore(out, at, (p.l4, p.end), Some(&to), transport);
    if p.proto() == UDP {
        not_none(out, at);
    } else {
        sums.push(at);
    }
}

/// A sum of UDP that is zero is written as its other form (RFC 768).
fn not_none(out: &mut [u8], at: usize) {
    if be16(out, at) == 0 {
        put16(out, at, 0xffff);
    }
}

/// The IP header of a packet that goes on, but for its sum.
fn readdress(out: &mut [u8], p: &Packet, to: &Key, kind: Kind) {
    let l3 = p.l3;
    let places = if p.four() { [12, 16] } else { [8, 24] };
    put_address(out, l3 + places[0], to.0);
    put_address(out, l3 + places[1], to.2);
    if kind.is_hop() {
        out[l3 + if p.four() { 8 } else { 7 }] -= 1;
    }
    if kind == Kind::Dscp {
        let tos = DSCP << 2 | p.tos & 3;
        if p.four() {
            out[l3 + 1] = tos;
        } else {
            let word = be16(out, l3) & !0x0ff0 | u16::from(tos) << 4;
            put16(out, l3, word);
        }
    }
}

/// An error, and what it quotes turned back into what its sender sent.
pub fn rewrite_quote(
    out: &mut [u8],
    sums: &mut Vec<usize>,
    p: &Packet,
    quote: &Quote,
    side: &Side,
    kind: Kind,
) {
    let header = residual(&out[p.l3..p.l4], None);
    let pseudo = Some(&p.key).filter(|_| !p.four());
    let message = residual(&out[p.l4..p.end], pseudo);
    let inner_header = residual(&out[quote.l3..quote.l4], None);
    let inner = residual(&out[quote.l4..p.end], Some(&quote.key));
    // The quoted packet is the other direction's before it was rewritten.
    let sent = reversed(&side.to);
    // What the other end itself reports comes from the address that is known for it.
    let own = p.key.0 == quote.key.2;
    let to = (
        if own { side.to.0 } else { p.key.0 },
        p.key.1,
        side.to.2,
        p.key.3,
        p.key.4,
    );
    readdress(out, p, &to, kind);
    let places = if p.four() { [12, 16] } else { [8, 24] };
    put_address(out, quote.l3 + places[0], sent.0);
    put_address(out, quote.l3 + places[1], sent.2);
    if p.four() {
        restore(out, p.l3 + 10, (p.l3, p.l4), None, header);
        restore(out, quote.l3 + 10, (quote.l3, quote.l4), None, inner_header);
        sums.extend([p.l3 + 10, quote.l3 + 10]);
    }
    if has_ports(sent.4) {
        put16(out, quote.l4, sent.1);
        put16(out, quote.l4 + 2, sent.3);
        let at = quote.l4 + sum_at(sent.4, p.four()).unwrap();
        if at + 2 <= p.end && !(sent.4 == UDP && be16(out, at) == 0) {
            restore(out, at, (quote.l4, p.end), Some(&sent), inner);
            if sent.4 == UDP {
                not_none(out, at);
            } else {
                sums.push(at);
            }
        }
    }
    let pseudo = Some(&to).filter(|_| !p.four());
    restore(out, p.l4 + 2, (p.l4, p.end), pseudo, message);
    sums.push(p.l4 + 2);
}

/// Word to who sends more than a tunnel takes.
pub fn too_big(frame: &[u8], p: &Packet, mtu: usize) -> Fate {
    let header = if p.four() { 20 } else { 40 };
    // Behind options nothing is quoted.
    if p.l4 != p.l3 + header {
        return Fate::Dropped("too-big");
    }
    let quoted = &frame[p.l3..p.l3 + header + 8];
    let mut out = frame[..p.l3].to_vec();
    link(&mut out, mac(frame, 6), mac(frame, 0));
    let mut message = if p.four() { vec![3, 4] } else { vec![2, 0] };
    message.extend([0; 4]);
    message.extend((mtu as u16).to_be_bytes());
    message.extend(quoted);
    let key = (p.key.2, 0, p.key.0, 0, if p.four() { 1 } else { 58 });
    let pseudo = Some(&key).filter(|_| !p.four());
    let len = message.len();
    restore(&mut message, 2, (0, len), pseudo, 0);
    let l3 = p.l3;
    if p.four() {
        out.extend([0x45, 0, 0, (20 + len) as u8, 0, 0, 0x40, 0, 64, 1, 0, 0]);
        out.extend([0; 8]);
        put_address(&mut out, l3 + 12, key.0);
        put_address(&mut out, l3 + 16, key.2);
        restore(&mut out, l3 + 10, (l3, l3 + 20), None, 0);
    } else {
        out.extend([0x60, 0, 0, 0, 0, len as u8, 58, 64]);
        out.extend([0; 32]);
        put_address(&mut out, l3 + 8, key.0);
        put_address(&mut out, l3 + 24, key.2);
    }
    out.extend(message);
    Fate::Sent {
        out: false,
        frame: out,
        sums: vec![],
        spread: None,
    }
}

/// A sum in one of its two forms of zero as the other.
pub fn without_minus_zero(frame: &mut [u8], sums: &[usize]) {
    for at in sums {
        if frame.get(*at..*at + 2) == Some(&[0xff, 0xff][..]) {
            put16(frame, *at, 0);
        }
    }
}
