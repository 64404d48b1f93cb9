//! A packet as the programs would send it to a server, and what comes back: whether a client's packets
//! would be answered, before there is any client.

use crate::abi::Hop;
use model::Forward;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a server may take to answer one packet.
const PATIENCE: Duration = Duration::from_millis(400);
/// Packets that are sent: one may get lost.
const TRIES: usize = 3;

const TCP: u8 = 6;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Where it goes, and how.
pub struct Probe {
    /// The way to forward.
    pub forward: Forward,
    /// The way to the server on the link.
    pub hop: Hop,
    /// The outer addresses of tunnels: ours and the server's.
    pub outer: (IpAddr, IpAddr),
    /// Who asks: an address of this machine.
    pub from: IpAddr,
    /// Whom the packet is for as it arrives at the server.
    pub to: IpAddr,
    /// Who must answer.
    pub answers: IpAddr,
    /// The port, or an ICMP echo.
    pub port: Option<u16>,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// A connection is accepted, or an echo came.
    Yes,
    /// Nobody listens at the port.
    No,
    /// Nothing.
    Nothing,
}

fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|p| p.chunks(2));
    let mut sum: u32 = words
        .map(|w| match w {
            [a, b] => u32::from(u16::from_be_bytes([*a, *b])),
            [a] => u32::from(*a) << 8,
            _ => 0,
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// A header of IP before what it carries; both addresses are of one family.
fn ip(from: IpAddr, to: IpAddr, proto: u8, dscp: u8, load: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + load.len());
    let tos = dscp << 2;
    if to.is_ipv4() {
        let length = (20 + load.len()) as u16;
        packet.extend([0x45, tos]);
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, proto, 0, 0]);
        packet.extend(octets(from));
        packet.extend(octets(to));
        let check = sum(&[&packet]).to_be_bytes();
        if let Some(place) = packet.get_mut(10..12) {
            place.copy_from_slice(&check);
        }
    } else {
        packet.extend([0x60 | tos >> 4, tos << 4, 0, 0]);
        packet.extend((load.len() as u16).to_be_bytes());
        packet.extend([proto, 64]);
        packet.extend(octets(from));
        packet.extend(octets(to));
    }
    packet.extend_from_slice(load);
    packet
}

fn pseudo(from: IpAddr, to: IpAddr, proto: u8, length: usize) -> Vec<u8> {
    let mut bytes = [octets(from), octets(to)].concat();
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, 0, 0, proto]);
    bytes
}

fn echo_of(to: IpAddr) -> (u8, u8, u8) {
    // Protocol, request, answer: RFC 792 and RFC 4443.
    if to.is_ipv4() {
        (1, 8, 0)
    } else {
        (58, 128, 129)
    }
}

impl Probe {
    /// A packet of the client's, with these flags where it is of TCP.
    fn packet(&self, number: u16, flags: u8) -> Vec<u8> {
        let (proto, at, mut load) = match self.port {
            Some(port) => {
                let mut tcp = Vec::with_capacity(20);
                tcp.extend(number.to_be_bytes());
                tcp.extend(port.to_be_bytes());
                // The reset follows the first segment.
                let sequence = u32::from(number) + u32::from(flags & RST != 0);
                tcp.extend(sequence.to_be_bytes());
                tcp.extend([0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
                (TCP, 16, tcp)
            }
            None => {
                let (proto, request, _) = echo_of(self.to);
                let [high, low] = number.to_be_bytes();
                (proto, 2, vec![request, 0, 0, 0, high, low, 0, 1])
            }
        };
        let before = match proto {
            1 => Vec::new(),
            _ => pseudo(self.from, self.to, proto, load.len()),
        };
        let check = sum(&[&before, &load]).to_be_bytes();
        if let Some(place) = load.get_mut(at..at + 2) {
            place.copy_from_slice(&check);
        }
        let dscp = match self.forward {
            Forward::Dscp(point) => point,
            _ => 0,
        };
        self.wrapped(ip(self.from, self.to, proto, dscp, &load))
    }

    fn wrapped(&self, inner: Vec<u8>) -> Vec<u8> {
        let (own, server) = self.outer;
        // IP's number and Ethernet's of what is inside.
        let (proto, kind) = match self.to {
            IpAddr::V4(_) => (4, [8, 0]),
            IpAddr::V6(_) => (41, [0x86, 0xdd]),
        };
        match self.forward {
            Forward::Ipip => ip(own, server, proto, 0, &inner),
            Forward::Gre => ip(
                own,
                server,
                47,
                0,
                &[&[0, 0, kind[0], kind[1]][..], &inner].concat(),
            ),
            Forward::Gue(port) => {
                let length = (8 + 4 + inner.len()) as u16;
                let mut udp = Vec::from(port.to_be_bytes());
                udp.extend(port.to_be_bytes());
                udp.extend(length.to_be_bytes());
                udp.extend([0, 0, 0, proto, 0, 0]);
                udp.extend(inner);
                let check = sum(&[&pseudo(own, server, 17, udp.len()), &udp]);
                let check = if check == 0 { 0xffff } else { check };
                if let Some(place) = udp.get_mut(6..8) {
                    place.copy_from_slice(&check.to_be_bytes());
                }
                ip(own, server, 17, 0, &udp)
            }
            _ => inner,
        }
    }

    fn frame(&self, packet: &[u8]) -> Vec<u8> {
        let kind = match packet.first() {
            Some(first) if first >> 4 == 6 => [0x86, 0xdd],
            _ => [8, 0],
        };
        [&self.hop.dst, &self.hop.src, &kind[..], packet].concat()
    }

    /// What an answer says, if the packet is one.
    fn read(&self, packet: &[u8], number: u16) -> Option<Said> {
        let byte = |at: usize| packet.get(at).copied();
        let (proto, at, ends) = match byte(0)? >> 4 {
            4 => (
                byte(9)?,
                usize::from(byte(0)? & 15) * 4,
                packet.get(12..20)?,
            ),
            6 => (byte(6)?, 40, packet.get(8..40)?),
            _ => return None,
        };
        if ends != [octets(self.answers), octets(self.from)].concat() {
            return None;
        }
        let load = packet.get(at..)?;
        let word = |at: usize| Some(u16::from_be_bytes(load.get(at..at + 2)?.try_into().ok()?));
        match self.port {
            Some(port) if proto == TCP && word(0)? == port && word(2)? == number => {
                match load.get(13)? & (SYN | ACK | RST) {
                    flags if flags & RST != 0 => Some(Said::No),
                    flags if flags == SYN | ACK => Some(Said::Yes),
                    _ => None,
                }
            }
            None if proto == echo_of(self.to).0 => {
                let answers = *load.first()? == echo_of(self.to).2 && word(4)? == number;
                answers.then_some(Said::Yes)
            }
            _ => None,
        }
    }

    /// Sends it, and waits for what comes back.
    pub fn ask(&self) -> io::Result<Said> {
        let socket = Wire::open()?;
        for turn in 0..TRIES {
            // Below what the kernel itself gives to connections.
            let number = 20_000 + (std::process::id() as u16).wrapping_add(turn as u16) % 10_000;
            socket.send(self.hop.ifindex, &self.frame(&self.packet(number, SYN)))?;
            let end = Instant::now() + PATIENCE;
            while let Some(packet) = socket.next(end)? {
                let Some(said) = self.read(&packet, number) else {
                    continue;
                };
                if said == Said::Yes && self.port.is_some() {
                    // The server does not wait for us.
                    socket.send(self.hop.ifindex, &self.frame(&self.packet(number, RST)))?;
                }
                return Ok(said);
            }
        }
        Ok(Said::Nothing)
    }
}

/// All frames of this machine's interfaces.
struct Wire(OwnedFd);

impl Wire {
    fn open() -> io::Result<Wire> {
        let all = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: plain call; the new descriptor belongs to nobody else.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, kind, i32::from(all));
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Wire(OwnedFd::from_raw_fd(fd)))
        }
    }

    fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        // SAFETY: all of its bytes may be zero.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = ifindex as i32;
        to.sll_halen = 6;
        // SAFETY: the pointers are to live values of the sizes given.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        match sent < 0 {
            true => Err(io::Error::last_os_error()),
            false => Ok(()),
        }
    }

    /// The next packet of IP that some interface sees, without what stands before it.
    fn next(&self, end: Instant) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0u8; 2048];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let mut waits = libc::pollfd {
                fd: self.0.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: the pointers are to live values, the length is that of `buffer`.
            let got = unsafe {
                libc::poll(&raw mut waits, 1, left.as_millis() as i32 + 1);
                let room = buffer.as_mut_ptr().cast();
                libc::recv(self.0.as_raw_fd(), room, buffer.len(), 0)
            };
            let Ok(got) = usize::try_from(got) else {
                match io::Error::last_os_error() {
                    e if e.kind() == io::ErrorKind::WouldBlock => continue,
                    e if e.kind() == io::ErrorKind::Interrupted => continue,
                    e => return Err(e),
                }
            };
            let frame = buffer.get(..got).unwrap_or_default();
            if matches!(frame.get(12..14), Some([8, 0] | [0x86, 0xdd])) {
                return Ok(Some(frame.get(14..).unwrap_or_default().to_vec()));
            }
        }
    }
}

/// Whether an address can be asked from beyond its link.
pub fn is_routable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && ip != Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(ip) => !ip.is_loopback() && ip.segments()[0] & 0xffc0 != 0xfe80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(forward: Forward, port: Option<u16>) -> Probe {
        let at = |text: &str| text.parse().expect("an address");
        Probe {
            forward,
            hop: Hop::default(),
            outer: (at("10.0.0.1"), at("10.0.0.2")),
            from: at("10.0.0.1"),
            to: at("203.0.113.1"),
            answers: at("203.0.113.1"),
            port,
        }
    }

    #[test]
    fn what_is_sent_has_right_sums_in_every_way() {
        for forward in [
            Forward::Dsr,
            Forward::Dscp(10),
            Forward::Ipip,
            Forward::Gre,
            Forward::Gue(6080),
        ] {
            for port in [Some(80), None] {
                let packet = probe(forward, port).packet(20_000, SYN);
                assert_eq!(sum(&[&packet[..20]]), 0, "{forward:?}");
                let start = match forward {
                    Forward::Ipip => 20,
                    Forward::Gre => 24,
                    Forward::Gue(_) => 32,
                    _ => 0,
                };
                let inner = &packet[start..];
                assert_eq!(sum(&[&inner[..20]]), 0, "{forward:?}");
                let load = &inner[20..];
                let before = match port {
                    Some(_) => pseudo(
                        "10.0.0.1".parse().expect("one"),
                        "203.0.113.1".parse().expect("one"),
                        TCP,
                        load.len(),
                    ),
                    None => Vec::new(),
                };
                assert_eq!(sum(&[&before, load]), 0, "{forward:?} {port:?}");
            }
        }
    }

    #[test]
    fn answers_are_known_by_who_gives_them_and_others_are_passed_over() {
        let asks = probe(Forward::Dsr, Some(80));
        let answer = |flags: u8, from: &str| {
            let mut tcp = vec![0, 80, 0x4e, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags];
            tcp.extend([0; 6]);
            ip(from.parse().expect("one"), asks.from, TCP, 0, &tcp)
        };
        assert_eq!(
            asks.read(&answer(SYN | ACK, "203.0.113.1"), 20_000),
            Some(Said::Yes)
        );
        assert_eq!(
            asks.read(&answer(RST | ACK, "203.0.113.1"), 20_000),
            Some(Said::No)
        );
        assert_eq!(asks.read(&answer(SYN | ACK, "203.0.113.2"), 20_000), None);
        assert_eq!(asks.read(&answer(SYN | ACK, "203.0.113.1"), 20_001), None);
        for length in 0..40 {
            let cut = &answer(SYN | ACK, "203.0.113.1")[..length];
            let _ = asks.read(cut, 20_000);
        }
    }
}
