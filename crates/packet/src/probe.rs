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

    /// A packet as it leaves, with the tag of the server's VLAN where that has no interface of the kernel's. (Answers
    /// come without: tags stand beside frames where they are taken.)
    fn frame(&self, packet: &[u8]) -> Vec<u8> {
        let [high, low] = self.hop.vlan.to_be_bytes();
        let tag = [0x81, 0, high, low];
        let tag = if self.hop.vlan == 0 { &[][..] } else { &tag };
        let kind = match packet.first() {
            Some(first) if first >> 4 == 6 => [0x86, 0xdd],
            _ => [8, 0],
        };
        [&self.hop.dst, &self.hop.src, tag, &kind[..], packet].concat()
    }

    /// What an answer says, if the packet is one to something that was sent with one of these numbers.
    fn read(&self, packet: &[u8], numbers: &[u16]) -> Option<Said> {
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
            Some(port) if proto == TCP && word(0)? == port && numbers.contains(&word(2)?) => {
                match load.get(13)? & (SYN | ACK | RST) {
                    flags if flags & RST != 0 => Some(Said::No),
                    flags if flags == SYN | ACK => Some(Said::Yes),
                    _ => None,
                }
            }
            None if proto == echo_of(self.to).0 => {
                let answers = *load.first()? == echo_of(self.to).2 && numbers.contains(&word(4)?);
                answers.then_some(Said::Yes)
            }
            _ => None,
        }
    }

    /// Sends it, and waits for what comes back.
    pub fn ask(&self, numbers: &mut Numbers) -> io::Result<Said> {
        let socket = Wire::open(self.answers, self.from)?;
        let mut sent = Vec::with_capacity(TRIES);
        let said = self.try_over(&socket, numbers, &mut sent)?;
        // The server waits for none of them: one may have answered late, or the wrong way.
        if said != Said::No && self.port.is_some() {
            for number in sent {
                socket.send(self.hop.ifindex, &self.frame(&self.packet(number, RST)))?;
            }
        }
        Ok(said)
    }

    fn try_over(
        &self,
        socket: &Wire,
        numbers: &mut Numbers,
        sent: &mut Vec<u16>,
    ) -> io::Result<Said> {
        for _ in 0..TRIES {
            let number = numbers.next();
            sent.push(number);
            socket.send(self.hop.ifindex, &self.frame(&self.packet(number, SYN)))?;
            let end = Instant::now() + PATIENCE;
            while let Some(packet) = socket.next(end)? {
                if let Some(said) = self.read(&packet, sent) {
                    return Ok(said);
                }
            }
        }
        Ok(Said::Nothing)
    }
}

/// Ports of TCP, or numbers of echoes, that probes bear, one after the other: whoever remembers one does not
/// take the next for it.
pub struct Numbers(u16);

/// How many there are, below those that the kernel itself gives to connections, and the first.
const NUMBERS: u16 = 10_000;
const FIRST: u16 = 20_000;

impl Default for Numbers {
    fn default() -> Self {
        Numbers((std::process::id() % u32::from(NUMBERS)) as u16)
    }
}

impl Numbers {
    fn next(&mut self) -> u16 {
        self.0 = (self.0 + 1) % NUMBERS;
        FIRST + self.0
    }
}

/// Bytes of a frame that are taken: what is read of an answer is in them.
const TAKEN: usize = 2048;
/// Room for frames that were not read yet, bytes.
const ROOM: libc::c_int = 1 << 20;

/// Classic BPF that takes Ethernet's frames of IP between these addresses, and no others.
fn filter(from: IpAddr, to: IpAddr) -> Vec<libc::sock_filter> {
    let load = |width: u32, at: u32| (libc::BPF_LD | width | libc::BPF_ABS, at, false);
    let equal = |value: u32| (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, true);
    let (kind, addresses) = match from {
        IpAddr::V4(_) => (libc::ETH_P_IP, 14 + 12),
        IpAddr::V6(_) => (libc::ETH_P_IPV6, 14 + 8),
    };
    let mut steps = vec![load(libc::BPF_H, 12), equal(kind as u32)];
    let both = [octets(from), octets(to)].concat();
    for (at, word) in (addresses..).step_by(4).zip(both.chunks_exact(4)) {
        let value = word.iter().fold(0, |n, b| n << 8 | u32::from(*b));
        steps.extend([load(libc::BPF_W, at), equal(value)]);
    }
    let ends = libc::BPF_RET | libc::BPF_K;
    steps.extend([(ends, TAKEN as u32, false), (ends, 0, false)]);
    let last = steps.len() - 1;
    let step = |(at, (code, k, differs)): (usize, (u32, u32, bool))| libc::sock_filter {
        code: code as u16,
        jt: 0,
        // To the last step, which takes nothing.
        jf: if differs { (last - at - 1) as u8 } else { 0 },
        k,
    };
    steps.into_iter().enumerate().map(step).collect()
}

/// Has a socket get what passes a filter, from the next frame on.
fn attach(socket: &OwnedFd, filter: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    set(socket, libc::SO_ATTACH_FILTER, &program)
}

fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer is to a live value of the size given, and what it points to lives as long.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as u32,
        )
    };
    match done < 0 {
        true => Err(io::Error::last_os_error()),
        false => Ok(()),
    }
}

/// The address of an interface, 0 of all.
fn link(ifindex: u32) -> libc::sockaddr_ll {
    // SAFETY: all of its bytes may be zero.
    let mut link: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    link.sll_family = libc::AF_PACKET as u16;
    link.sll_ifindex = ifindex as i32;
    link.sll_halen = 6;
    link
}

/// Frames of this machine's interfaces from one address to another.
struct Wire(OwnedFd);

impl Wire {
    fn open(from: IpAddr, to: IpAddr) -> io::Result<Wire> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // Without a protocol nothing comes before the filter stands.
        // SAFETY: plain call; the new descriptor belongs to nobody else.
        let socket = unsafe {
            let fd = libc::socket(libc::AF_PACKET, kind, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        attach(&socket, &mut filter(from, to))?;
        // Without CAP_NET_ADMIN the usual room has to do.
        let _ = set(&socket, libc::SO_RCVBUFFORCE, &ROOM);
        let wire = Wire(socket);
        let mut all = link(0);
        all.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: the pointer is to a live value of the size given.
        let bound = unsafe {
            libc::bind(
                wire.0.as_raw_fd(),
                (&raw const all).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        match bound < 0 {
            true => Err(io::Error::last_os_error()),
            false => Ok(wire),
        }
    }

    fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        let to = link(ifindex);
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

    /// The next packet of IP that comes, without what stands before it.
    fn next(&self, end: Instant) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0u8; TAKEN];
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
    use std::collections::BTreeSet;
    use std::os::unix::net::UnixDatagram;

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
        let sent = [20_000, 20_001];
        let read = |flags, from| asks.read(&answer(flags, from), &sent);
        assert_eq!(read(SYN | ACK, "203.0.113.1"), Some(Said::Yes));
        assert_eq!(read(RST | ACK, "203.0.113.1"), Some(Said::No));
        assert_eq!(read(SYN | ACK, "203.0.113.2"), None);
        let others = asks.read(&answer(SYN | ACK, "203.0.113.1"), &[20_001]);
        assert_eq!(others, None);
        for length in 0..40 {
            let cut = &answer(SYN | ACK, "203.0.113.1")[..length];
            let _ = asks.read(cut, &sent);
        }
    }

    #[test]
    fn a_frame_has_the_tag_of_its_servers_vlan() {
        let mut asks = probe(Forward::Dsr, None);
        let packet = asks.packet(20_000, SYN);
        let plain = asks.frame(&packet);
        assert_eq!(plain[12..], [&[8, 0][..], &packet].concat());
        asks.hop.vlan = 0x234;
        let tagged = asks.frame(&packet);
        assert_eq!(tagged[..12], plain[..12]);
        assert_eq!(tagged[12..16], [0x81, 0, 2, 0x34]);
        assert_eq!(tagged[16..], plain[12..]);
    }

    #[test]
    fn numbers_stay_in_their_range_and_come_again_only_after_all_others() {
        let mut numbers = Numbers(NUMBERS - 2);
        let all: BTreeSet<u16> = (0..NUMBERS).map(|_| numbers.next()).collect();
        assert_eq!(all.len(), usize::from(NUMBERS));
        assert_eq!(all.first(), Some(&FIRST));
        assert_eq!(all.last(), Some(&(FIRST + NUMBERS - 1)));
    }

    #[test]
    fn the_filter_takes_what_is_between_both_addresses_and_nothing_else() {
        for (from, to, other) in [
            ("203.0.113.1", "10.0.0.1", "203.0.114.1"),
            ("2001:db8::1", "2001:db8:1::1", "2001:db8:0:1::1"),
        ] {
            let [from, to, other]: [IpAddr; 3] = [from, to, other].map(|a| a.parse().expect("one"));
            // The kernel runs the same filters before sockets that are its own.
            let (near, far) = UnixDatagram::pair().expect("a pair");
            let far = OwnedFd::from(far);
            attach(&far, &mut filter(from, to)).expect("the kernel takes it");
            let far = UnixDatagram::from(far);
            far.set_nonblocking(true).expect("it can");
            let asks = probe(Forward::Dsr, None);
            let frame = |from, to| asks.frame(&ip(from, to, TCP, 0, &[1, 2, 3, 4]));
            let wanted = frame(from, to);
            let mut tagged = wanted.clone();
            tagged.splice(12..12, [0x81, 0, 0, 7]);
            for refused in [
                frame(to, from),
                frame(other, to),
                frame(from, other),
                tagged,
                wanted[..30].to_vec(),
                vec![0],
            ] {
                // Some kernels tell the sender that nobody took it.
                let _ = near.send(&refused);
            }
            near.send(&wanted).expect("it is taken");
            let mut buffer = [0; 256];
            let got = far.recv(&mut buffer).expect("it is there");
            assert_eq!(buffer[..got], wanted[..]);
            assert!(far.recv(&mut buffer).is_err(), "only that");
        }
    }
}
