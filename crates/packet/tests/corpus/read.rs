//! Reading frames the plain way, for the model: after RFC 791, 8200, 9293, 768 and 792, without a look at the
//! programs. What they refuse for reasons of their own is said where it is asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// Extension headers that are passed over before the transport's.
const EXTENSIONS: usize = 6;
/// The last place in a frame where another one may begin, and where the transport's header may: what is longer is
/// dropped as malformed.
const FAR: (usize, usize) = (1024, 2048);

/// Addresses, ports and protocol; the number of an echo stands for both ports, others than these have none.
pub type Key = (IpAddr, u16, IpAddr, u16, u8);

pub fn reversed(&(src, sport, dst, dport, proto): &Key) -> Key {
    (dst, dport, src, sport, proto)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    Whole,
    First,
    Later,
}

#[derive(Debug)]
pub enum Read {
    /// No packet of IP, or one behind two tags.
    Foreign,
    Malformed,
    Ip(Packet),
}

/// What a frame says that it is. Offsets count from the frame's beginning.
#[derive(Clone, Debug)]
pub struct Packet {
    pub vlan: u16,
    pub l3: usize,
    pub l4: usize,
    /// Where IP says that it ends.
    pub end: usize,
    pub key: Key,
    pub ttl: u8,
    pub tos: u8,
    pub id: u32,
    pub piece: Piece,
    /// Flags of TCP.
    pub flags: u8,
    /// Type of ICMP.
    pub kind: Option<u8>,
}

pub fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub fn address(bytes: &[u8], at: usize, four: bool) -> IpAddr {
    if four {
        let octets: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
        Ipv4Addr::from(octets).into()
    } else {
        let octets: [u8; 16] = bytes[at..at + 16].try_into().unwrap();
        Ipv6Addr::from(octets).into()
    }
}

impl Packet {
    pub fn four(&self) -> bool {
        self.key.0.is_ipv4()
    }

    pub fn proto(&self) -> u8 {
        self.key.4
    }

    pub fn is_icmp(&self) -> bool {
        self.proto() == if self.four() { 1 } else { 58 }
    }

    /// Unreachable, too big, time exceeded, parameter problem.
    pub fn is_error(&self) -> bool {
        let four = [3, 11, 12];
        let six = [1, 2, 3, 4];
        self.kind.is_some_and(|k| {
            if self.four() {
                four.contains(&k)
            } else {
                six.contains(&k)
            }
        })
    }

    /// Begins a connection.
    pub fn is_syn(&self) -> bool {
        self.proto() == TCP && self.flags & 0x16 == 2
    }
}

pub fn has_ports(proto: u8) -> bool {
    proto == TCP || proto == UDP
}

pub fn read(frame: &[u8]) -> Read {
    let (mut kind, mut l3, mut vlan) = (be16(frame, 12), 14, 0);
    if kind == 0x8100 {
        if frame.len() < 18 {
            return Read::Malformed;
        }
        vlan = be16(frame, 14) & 0xfff;
        kind = be16(frame, 16);
        l3 = 18;
    }
    let read = match kind {
        0x0800 => four(frame, l3),
        0x86dd => six(frame, l3),
        _ => return Read::Foreign,
    };
    match read {
        None => Read::Malformed,
        Some(p) => Read::Ip(Packet { vlan, ..p }),
    }
}

fn four(frame: &[u8], l3: usize) -> Option<Packet> {
    let ip = frame.get(l3..).filter(|ip| ip.len() >= 20)?;
    let (header, len) = (usize::from(ip[0] & 15) * 4, usize::from(be16(ip, 2)));
    if ip[0] >> 4 != 4 || header < 20 || len < header || len > ip.len() {
        return None;
    }
    let offset = be16(ip, 6);
    let p = Packet {
        vlan: 0,
        l3,
        l4: l3 + header,
        end: l3 + len,
        key: (address(ip, 12, true), 0, address(ip, 16, true), 0, ip[9]),
        ttl: ip[8],
        tos: ip[1],
        id: be16(ip, 4).into(),
        piece: match (offset & 0x1fff, offset & 0x2000) {
            (0, 0) => Piece::Whole,
            (0, _) => Piece::First,
            _ => Piece::Later,
        },
        flags: 0,
        kind: None,
    };
    transport(frame, p)
}

fn six(frame: &[u8], l3: usize) -> Option<Packet> {
    let ip = frame.get(l3..).filter(|ip| ip.len() >= 40)?;
    let len = 40 + usize::from(be16(ip, 4));
    if ip[0] >> 4 != 6 || len > ip.len() {
        return None;
    }
    let (mut next, mut at, mut id, mut piece) = (ip[6], 40, 0, Piece::Whole);
    for _ in 0..EXTENSIONS {
        if ![0, 43, 44, 60].contains(&next) || piece == Piece::Later {
            break;
        }
        if l3 + at > FAR.0 {
            return None;
        }
        let header = ip[..len].get(at..at + 8)?;
        let bytes = if next == 44 {
            8
        } else {
            8 + usize::from(header[1]) * 8
        };
        if at + bytes > len {
            return None;
        }
        // It is for somebody else, whose address the sums count (RFC 8200 section 8.1).
        if next == 43 && header[3] != 0 {
            break;
        }
        if next == 44 {
            id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            piece = match (be16(header, 2) & !7, be16(header, 2) & 1) {
                (0, 0) => piece,
                (0, _) => Piece::First,
                _ => Piece::Later,
            };
        }
        next = header[0];
        at += bytes;
    }
    if piece != Piece::Later && l3 + at > FAR.1 {
        return None;
    }
    let p = Packet {
        vlan: 0,
        l3,
        l4: l3 + at,
        end: l3 + len,
        key: (address(ip, 8, false), 0, address(ip, 24, false), 0, next),
        ttl: ip[7],
        tos: (be16(ip, 0) >> 4) as u8,
        id,
        piece,
        flags: 0,
        kind: None,
    };
    transport(frame, p)
}

fn transport(frame: &[u8], mut p: Packet) -> Option<Packet> {
    if p.piece == Piece::Later {
        return Some(p);
    }
    let load = &frame[p.l4..p.end];
    let whole = p.piece == Piece::Whole;
    match p.proto() {
        TCP => {
            let header = usize::from(load.get(..20)?[12] >> 4) * 4;
            if header < 20 || (whole && header > load.len()) {
                return None;
            }
            p.flags = load[13];
        }
        UDP => {
            let len = usize::from(be16(load.get(..8)?, 4));
            if len < 8 || (whole && len > load.len()) {
                return None;
            }
        }
        _ if p.is_icmp() => {
            p.kind = Some(load.get(..8)?[0]);
            let echo = if p.four() { [0, 8] } else { [128, 129] };
            if p.kind.is_some_and(|k| echo.contains(&k)) {
                p.key.1 = be16(load, 4);
                p.key.3 = be16(load, 4);
            }
            return Some(p);
        }
        _ => return Some(p),
    }
    p.key.1 = be16(load, 0);
    p.key.3 = be16(load, 2);
    Some(p)
}

/// What an error quotes, as far as one must know it: the key, where its headers begin, whether ports are there.
pub struct Quote {
    pub l3: usize,
    pub l4: usize,
    pub key: Key,
}

/// Of an error; none where too little is quoted to tell whose it is.
pub fn quote(frame: &[u8], p: &Packet) -> Option<Quote> {
    let l3 = p.l4 + 8;
    let ip = frame[..p.end].get(l3..)?;
    let (header, mut key) = if p.four() {
        let header = usize::from(ip.get(..20)?[0] & 15) * 4;
        if ip[0] >> 4 != 4 || header < 20 || be16(ip, 6) & 0x1fff != 0 {
            return None;
        }
        (
            header,
            (address(ip, 12, true), 0, address(ip, 16, true), 0, ip[9]),
        )
    } else {
        if ip.get(..40)?[0] >> 4 != 6 {
            return None;
        }
        (
            40,
            (address(ip, 8, false), 0, address(ip, 24, false), 0, ip[6]),
        )
    };
    let load = ip.get(header..)?;
    if has_ports(key.4) {
        load.get(..4)?;
        (key.1, key.3) = (be16(load, 0), be16(load, 2));
    } else if key.4 == if p.four() { 1 } else { 58 } {
        let echo = if p.four() { [0, 8] } else { [128, 129] };
        if echo.contains(&load.get(..8)?[0]) {
            (key.1, key.3) = (be16(load, 4), be16(load, 4));
        }
    }
    Some(Quote {
        l3,
        l4: l3 + header,
        key,
    })
}
