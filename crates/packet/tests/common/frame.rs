//! Frames as values. Sums are computed over the whole, the plain way (RFC 1071), so that they judge
//! the incremental ones.

use std::net::{IpAddr, SocketAddr};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMP6: u8 = 58;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// What stands after the IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    Tcp {
        flags: u8,
        seq: u32,
        ack: u32,
        options: Vec<u8>,
        data: Vec<u8>,
    },
    /// `sum`: whether it has one.
    Udp { sum: bool, data: Vec<u8> },
    /// Type, code, the word after the sum, and what follows.
    Icmp {
        kind: u8,
        code: u8,
        word: u32,
        data: Vec<u8>,
    },
    /// Anything else, ready made.
    Raw { proto: u8, data: Vec<u8> },
}

/// A frame with an IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub to: [u8; 6],
    pub from: [u8; 6],
    pub vlan: Option<u16>,
    pub src: SocketAddr,
    pub dst: SocketAddr,
    pub ttl: u8,
    pub tos: u8,
    pub id: u16,
    /// The word of flags and offset of IPv4.
    pub fragment: u16,
    /// Options of IPv4, a multiple of four bytes.
    pub ip_options: Vec<u8>,
    pub load: Load,
}

pub fn tcp(src: &str, dst: &str, flags: u8, data: &[u8]) -> Frame {
    frame(
        src,
        dst,
        Load::Tcp {
            flags,
            seq: 1000,
            ack: 5000,
            options: Vec::new(),
            data: data.to_vec(),
        },
    )
}

pub fn udp(src: &str, dst: &str, data: &[u8]) -> Frame {
    frame(
        src,
        dst,
        Load::Udp {
            sum: true,
            data: data.to_vec(),
        },
    )
}

pub fn frame(src: &str, dst: &str, load: Load) -> Frame {
    Frame {
        to: super::OWN_MAC,
        from: super::CLIENT_MAC,
        vlan: None,
        src: super::at(src),
        dst: super::at(dst),
        ttl: 64,
        tos: 0,
        id: 0x1234,
        fragment: 0x4000,
        ip_options: Vec::new(),
        load,
    }
}

/// The one's complement sum of RFC 1071.
pub fn sum(bytes: &[u8]) -> u32 {
    let words = bytes
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | c.get(1).map_or(0, |b| u32::from(*b)));
    let mut sum: u64 = words.map(u64::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u32
}

pub fn check(bytes: &[u8]) -> u16 {
    !(sum(bytes) as u16)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

impl Frame {
    pub fn proto(&self) -> u8 {
        match &self.load {
            Load::Tcp { .. } => TCP,
            Load::Udp { .. } => UDP,
            Load::Icmp { .. } if self.src.is_ipv4() => ICMP,
            Load::Icmp { .. } => ICMP6,
            Load::Raw { proto, .. } => *proto,
        }
    }

    fn pseudo(&self, len: usize) -> Vec<u8> {
        let mut out = octets(self.src.ip());
        out.extend(octets(self.dst.ip()));
        out.extend((len as u32).to_be_bytes());
        out.extend([0, 0, 0, self.proto()]);
        out
    }

    /// The transport's header and what it carries, with its sum.
    pub fn transport(&self) -> Vec<u8> {
        let ports = [self.src.port().to_be_bytes(), self.dst.port().to_be_bytes()].concat();
        let (mut out, place) = match &self.load {
            Load::Tcp {
                flags,
                seq,
                ack,
                options,
                data,
            } => {
                let mut out = ports;
                out.extend(seq.to_be_bytes());
                out.extend(ack.to_be_bytes());
                out.extend([
                    (5 + options.len() as u8 / 4) << 4,
                    *flags,
                    0xfa,
                    0xf0,
                    0,
                    0,
                    0,
                    0,
                ]);
                out.extend(options);
                out.extend(data);
                (out, Some(16))
            }
            Load::Udp { sum, data } => {
                let mut out = ports;
                out.extend((8 + data.len() as u16).to_be_bytes());
                out.extend([0, 0]);
                out.extend(data);
                (out, sum.then_some(6))
            }
            Load::Icmp {
                kind,
                code,
                word,
                data,
            } => {
                let mut out = vec![*kind, *code, 0, 0];
                out.extend(word.to_be_bytes());
                out.extend(data);
                (out, Some(2))
            }
            Load::Raw { data, .. } => (data.clone(), None),
        };
        if let Some(place) = place {
            let pseudo = if self.proto() == ICMP {
                Vec::new()
            } else {
                self.pseudo(out.len())
            };
            let mut sum = check(&[pseudo, out.clone()].concat());
            if self.proto() == UDP && sum == 0 {
                sum = 0xffff;
            }
            out[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        }
        out
    }

    /// The IP packet.
    pub fn packet(&self) -> Vec<u8> {
        self.packet_of(&self.transport())
    }

    /// The IP packet around these bytes.
    pub fn packet_of(&self, load: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if self.src.is_ipv4() {
            let header = 20 + self.ip_options.len();
            out.extend([0x40 | (header / 4) as u8, self.tos]);
            out.extend(((header + load.len()) as u16).to_be_bytes());
            out.extend(self.id.to_be_bytes());
            out.extend(self.fragment.to_be_bytes());
            out.extend([self.ttl, self.proto(), 0, 0]);
            out.extend(octets(self.src.ip()));
            out.extend(octets(self.dst.ip()));
            out.extend(&self.ip_options);
            let sum = check(&out);
            out[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            out.extend((6u32 << 28 | u32::from(self.tos) << 20).to_be_bytes());
            out.extend((load.len() as u16).to_be_bytes());
            out.extend([self.proto(), self.ttl]);
            out.extend(octets(self.src.ip()));
            out.extend(octets(self.dst.ip()));
        }
        out.extend(load);
        out
    }

    /// The frame around these bytes.
    pub fn around(&self, packet: &[u8]) -> Vec<u8> {
        let mut out = [self.to, self.from].concat();
        if let Some(vlan) = self.vlan {
            out.extend([0x81, 0]);
            out.extend(vlan.to_be_bytes());
        }
        out.extend(if packet[0] >> 4 == 4 {
            [8, 0]
        } else {
            [0x86, 0xdd]
        });
        out.extend(packet);
        out
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.around(&self.packet())
    }
}

/// Whether every sum in a frame is right: of the IPv4 header, and of the transport.
pub fn sums_are_right(frame: &[u8]) -> bool {
    let ip = &frame[14..];
    let (header, proto, addresses) = match ip[0] >> 4 {
        4 => (usize::from(ip[0] & 15) * 4, ip[9], &ip[12..20]),
        _ => (40, ip[6], &ip[8..40]),
    };
    if ip[0] >> 4 == 4 && sum(&ip[..header]) != 0xffff {
        return false;
    }
    let len = match ip[0] >> 4 {
        4 => usize::from(u16::from_be_bytes([ip[2], ip[3]])),
        _ => 40 + usize::from(u16::from_be_bytes([ip[4], ip[5]])),
    };
    let load = &ip[header..len];
    if proto == UDP && load[6..8] == [0, 0] {
        return true;
    }
    let mut whole = Vec::new();
    if proto != ICMP {
        whole.extend(addresses);
        whole.extend((load.len() as u32).to_be_bytes());
        whole.extend([0, 0, 0, proto]);
    }
    whole.extend(load);
    sum(&whole) == 0xffff
}

/// A frame in hexadecimal.
pub fn show(frame: &[u8]) -> String {
    frame.iter().map(|b| format!("{b:02x}")).collect()
}

#[track_caller]
pub fn same(got: &[u8], wanted: &[u8], what: &str) {
    assert!(
        got == wanted,
        "{what}\n got    {}\n wanted {}",
        show(got),
        show(wanted)
    );
}
