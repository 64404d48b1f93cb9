//! What we ask the kernel's routing about, in the few messages that takes (rtnetlink(7)): links,
//! addresses, neighbours, the way to an address; and word of changes.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its address on the link; all zero where it has none.
    pub mac: [u8; 6],
    /// Bytes that an IP packet may have.
    pub mtu: u32,
    /// The bridge or bond that it belongs to.
    pub master: Option<u32>,
    /// `veth`, `bridge` and so on; hardware has none.
    pub kind: String,
    /// Whether it is up and is of Ethernet, and not the loopback.
    pub usable: bool,
    /// Whether its cable leads somewhere.
    pub carrier: bool,
    /// Of a VLAN's own interface: the one that it is on, and its number.
    pub vlan: Option<(u32, u16)>,
    /// The program for packets that stands there, whoever put it: `XDP_ATTACHED_…`.
    pub xdp: u8,
}

/// [`Link::xdp`]: in its generic form, behind the driver.
pub const XDP_GENERIC: u8 = 2;

/// The way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The interface.
    pub ifindex: u32,
    /// Whom to hand packets to on its link.
    pub next: IpAddr,
    /// Our own address towards it.
    pub source: Option<IpAddr>,
    /// Whether the address is one of this machine.
    pub local: bool,
    /// Bytes that an IP packet may have on the whole way, where that is known.
    pub mtu: Option<u32>,
}

impl Route {
    /// Bytes that a packet may have on the whole way, which begins on this link.
    pub fn mtu_on(&self, link: &Link) -> u32 {
        self.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu))
    }
}

/// Neighbours by interface and address, with the state of what is known (`NUD_…`).
pub type Neighbours = HashMap<(u32, IpAddr), ([u8; 6], u16)>;

/// States in which an address on the link may be used.
pub const USABLE: u16 =
    NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_NOARP | NUD_PERMANENT;
/// Known for long, not lately.
pub const NUD_STALE: u16 = 0x04;
const NUD_REACHABLE: u16 = 0x02;
const NUD_DELAY: u16 = 0x08;
const NUD_PROBE: u16 = 0x10;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_EXCL: u16 = 0x200;
const NETLINK_GET_STRICT_CHK: i32 = 12;
/// An address is used at once, without asking whether another has it.
const IFA_F_NODAD: u8 = 2;

/// Bytes of a message's header.
const HEADER: usize = 16;

/// A conversation with the kernel.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

fn open(groups: u32, flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain calls; the address is a live value of the size given, and the descriptor is ours.
    unsafe {
        let fd = libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags,
            libc::NETLINK_ROUTE,
        );
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = OwnedFd::from_raw_fd(fd);
        let mut address: libc::sockaddr_nl = std::mem::zeroed();
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = groups;
        let size = size_of::<libc::sockaddr_nl>() as u32;
        if libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(fd)
    }
}

impl Netlink {
    /// Opens one in this network namespace.
    pub fn new() -> io::Result<Netlink> {
        Ok(Netlink {
            socket: open(0, 0)?,
            sequence: 0,
        })
    }

    /// Opens one in which the kernel heeds all that a request for a list says.
    pub fn strict() -> io::Result<Netlink> {
        let netlink = Netlink::new()?;
        let on = 1i32;
        // SAFETY: the pointer is to a live value of the size given.
        let result = unsafe {
            libc::setsockopt(
                netlink.socket.as_raw_fd(),
                libc::SOL_NETLINK,
                NETLINK_GET_STRICT_CHK,
                (&raw const on).cast(),
                size_of::<i32>() as u32,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(netlink)
    }

    /// All of a kind, after a fixed part of 12 bytes.
    pub fn dump(&mut self, kind: u16, fixed: &[u8; 12]) -> io::Result<Vec<Message>> {
        let answers = self.ask(kind, NLM_F_DUMP, fixed)?;
        Ok(answers.into_iter().map(Message).collect())
    }

    /// Has something be there, or not: a fixed part of 12 bytes and attributes. What is so already is
    /// no mistake.
    pub fn tell(
        &mut self,
        kind: u16,
        there: bool,
        fixed: &[u8; 12],
        attributes: &[(u16, Vec<u8>)],
    ) -> io::Result<()> {
        let mut body = fixed.to_vec();
        for (kind, value) in attributes {
            push(&mut body, *kind, value);
        }
        let flags = if there { NLM_F_CREATE | NLM_F_EXCL } else { 0 };
        match self.ask(kind, NLM_F_ACK | flags, &body) {
            Err(e)
                if !matches!(
                    e.raw_os_error(),
                    Some(libc::EEXIST | libc::ENOENT | libc::ESRCH)
                ) =>
            {
                Err(e)
            }
            _ => Ok(()),
        }
    }

    /// Sends a request; the bodies of all answers, up to the last.
    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(body);
        // SAFETY: pointer and length are those of `message`.
        let sent = unsafe {
            libc::send(
                self.socket.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                0,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let several = flags & NLM_F_DUMP == NLM_F_DUMP;
        let mut answers = Vec::new();
        let mut buffer = vec![0u8; 64 * 1024];
        loop {
            // SAFETY: pointer and length are those of `buffer`.
            let got = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                )
            };
            let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
            let mut rest = buffer.get(..got).unwrap_or_default();
            while let Some(len) = u32_at(rest, 0) {
                let Some((one, after)) = rest.split_at_checked(len.max(HEADER as u32) as usize)
                else {
                    break;
                };
                let padding = (len as usize).next_multiple_of(4) - len as usize;
                rest = after.get(padding..).unwrap_or_default();
                let kind = u16_at(one, 4).unwrap_or(0);
                if u32_at(one, 8) != Some(self.sequence) {
                    continue;
                }
                let body = one.get(HEADER..).unwrap_or_default();
                match kind {
                    NLMSG_DONE => return Ok(answers),
                    NLMSG_ERROR => {
                        return match u32_at(body, 0).unwrap_or(0) as i32 {
                            0 => Ok(answers),
                            code => Err(io::Error::from_raw_os_error(-code)),
                        };
                    }
                    _ => answers.push(body.to_vec()),
                }
            }
            if !several && flags & NLM_F_ACK == 0 && !answers.is_empty() {
                return Ok(answers);
            }
        }
    }

    /// All interfaces.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let answers = self.ask(RTM_GETLINK, NLM_F_DUMP, &[0; 16])?;
        Ok(answers.iter().filter_map(|body| link(body)).collect())
    }

    /// All addresses of this machine, each with the length of its network's prefix and its interface.
    pub fn addresses(&mut self) -> io::Result<Vec<(IpAddr, u8, u32)>> {
        let answers = self.ask(RTM_GETADDR, NLM_F_DUMP, &[0; 8])?;
        let address = |body: &Vec<u8>| {
            let attributes = attributes(body, 8);
            // IFA_LOCAL is ours where the other end has another (IFA_ADDRESS).
            let own = attributes.get(&2).or(attributes.get(&1))?;
            Some((ip(own)?, *body.get(1)?, u32_at(body, 4)?))
        };
        Ok(answers.iter().filter_map(address).collect())
    }

    /// All neighbours whose address on the link is known.
    pub fn neighbours(&mut self) -> io::Result<Neighbours> {
        let answers = self.ask(RTM_GETNEIGH, NLM_F_DUMP, &[0; 12])?;
        let neighbour = |body: &Vec<u8>| {
            let attributes = attributes(body, 12);
            let mac = attributes.get(&2)?.get(..6)?.try_into().ok()?;
            let key = (u32_at(body, 4)?, ip(attributes.get(&1)?)?);
            Some((key, (mac, u16_at(body, 8)?)))
        };
        Ok(answers.iter().filter_map(neighbour).collect())
    }

    /// The way that the routes have for an address; `None` where there is none.
    pub fn route(&mut self, to: IpAddr) -> io::Result<Option<Route>> {
        let octets = octets(to);
        let family = family(to);
        let mut body = vec![
            family,
            (octets.len() * 8) as u8,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        push(&mut body, 1, &octets);
        let answers = match self.ask(RTM_GETROUTE, 0, &body) {
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::ENETUNREACH | libc::EHOSTUNREACH)
                ) =>
            {
                return Ok(None);
            }
            answers => answers?,
        };
        let Some(body) = answers.first() else {
            return Ok(None);
        };
        let attributes = attributes(body, 12);
        let Some(ifindex) = attributes.get(&4).and_then(|a| u32_at(a, 0)) else {
            return Ok(None);
        };
        // RTA_VIA is a gateway of another family: its number stands before the address.
        let gateway = attributes.get(&5).and_then(|a| ip(a));
        let gateway = gateway.or_else(|| attributes.get(&18).and_then(|a| ip(a.get(2..)?)));
        Ok(Some(Route {
            ifindex,
            next: gateway.unwrap_or(to),
            source: attributes.get(&7).and_then(|a| ip(a)),
            local: body.get(7) == Some(&2),
            // RTA_METRICS with RTAX_MTU in it.
            mtu: attributes
                .get(&8)
                .and_then(|m| u32_at(self::attributes(m, 0).get(&2)?, 0)),
        }))
    }

    /// Gives an interface an address, or takes it away.
    pub fn set_address(&mut self, ifindex: u32, address: IpAddr, there: bool) -> io::Result<()> {
        let octets = octets(address);
        let mut body = vec![family(address), (octets.len() * 8) as u8, IFA_F_NODAD, 0];
        body.extend(ifindex.to_ne_bytes());
        push(&mut body, 2, &octets);
        push(&mut body, 1, &octets);
        let (kind, flags) = if there {
            (RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE)
        } else {
            (RTM_DELADDR, 0)
        };
        self.ask(kind, NLM_F_ACK | flags, &body).map(|_| ())
    }

    /// Has the kernel find out a neighbour's address on the link, or whether it is still true.
    pub fn look_for(&mut self, ifindex: u32, neighbour: IpAddr) -> io::Result<()> {
        let mut body = vec![family(neighbour), 0, 0, 0];
        body.extend(ifindex.to_ne_bytes());
        // State none, flag NTF_USE: as if a packet had asked for it.
        body.extend([0, 0, 1, 0]);
        push(&mut body, 1, &octets(neighbour));
        self.ask(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE, &body)
            .map(|_| ())
    }
}

/// An answer with a fixed part of 12 bytes.
pub struct Message(Vec<u8>);

impl Message {
    /// The fixed part.
    pub fn fixed(&self) -> &[u8] {
        self.0.get(..12).unwrap_or_default()
    }

    /// An attribute.
    pub fn bytes(&self, kind: u16) -> Option<&[u8]> {
        attributes(&self.0, 12).get(&kind).copied()
    }

    /// An attribute that is a number.
    pub fn number(&self, kind: u16) -> Option<u32> {
        u32_at(self.bytes(kind)?, 0)
    }

    /// An attribute that is an address.
    pub fn address(&self, kind: u16) -> Option<IpAddr> {
        ip(self.bytes(kind)?)
    }
}

/// Word of changes of links, addresses and routes.
pub struct Changes(OwnedFd);

impl Changes {
    /// Listens from now on.
    pub fn new() -> io::Result<Changes> {
        // RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE.
        Ok(Changes(open(
            0x1 | 0x10 | 0x40 | 0x100 | 0x400,
            libc::SOCK_NONBLOCK,
        )?))
    }

    /// Whether there were any since the last call.
    pub fn any(&self) -> bool {
        let mut buffer = [0u8; 16 * 1024];
        let mut any = false;
        loop {
            // SAFETY: pointer and length are those of `buffer`.
            let got = unsafe {
                libc::recv(
                    self.0.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                )
            };
            if got > 0 {
                any = true;
                continue;
            }
            // Word that was lost for want of room is word of changes, too.
            return any || io::Error::last_os_error().raw_os_error() == Some(libc::ENOBUFS);
        }
    }
}

fn link(body: &[u8]) -> Option<Link> {
    let (hardware, index, flags) = (u16_at(body, 2)?, u32_at(body, 4)?, u32_at(body, 8)?);
    let attributes = attributes(body, 16);
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .trim_end_matches('\0')
            .to_string()
    };
    let mac = attributes.get(&1).and_then(|m| m.get(..6)?.try_into().ok());
    let info = attributes.get(&18).map(|info| self::attributes(info, 0));
    let kind = info.as_ref().and_then(|i| i.get(&1).map(|kind| text(kind)));
    let data = info.as_ref().and_then(|i| i.get(&2));
    let vlan = data
        .filter(|_| kind.as_deref() == Some("vlan"))
        .and_then(|data| {
            let number = self::attributes(data, 0)
                .get(&1)
                .and_then(|n| u16_at(n, 0))?;
            Some((attributes.get(&5).and_then(|l| u32_at(l, 0))?, number))
        });
    // IFLA_XDP with IFLA_XDP_ATTACHED in it.
    let xdp = attributes.get(&43).map(|xdp| self::attributes(xdp, 0));
    let xdp = xdp.and_then(|x| x.get(&2)?.first().copied());
    Some(Link {
        index,
        name: text(attributes.get(&3)?),
        mac: mac.unwrap_or_default(),
        mtu: attributes
            .get(&4)
            .and_then(|m| u32_at(m, 0))
            .unwrap_or(1500),
        master: attributes.get(&10).and_then(|m| u32_at(m, 0)),
        kind: kind.unwrap_or_default(),
        // IFF_UP; ARPHRD_ETHER.
        usable: flags & 1 != 0 && hardware == 1,
        // IFF_LOWER_UP.
        carrier: flags & 1 << 16 != 0,
        vlan,
        xdp: xdp.unwrap_or(0),
    })
}

/// The attributes after a message's fixed part, by kind.
fn attributes(body: &[u8], fixed: usize) -> HashMap<u16, &[u8]> {
    let mut rest = body.get(fixed..).unwrap_or_default();
    let mut found = HashMap::new();
    while let (Some(len), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let len = usize::from(len);
        let Some(value) = rest.get(4..len) else { break };
        // The upper two bits are flags.
        found.insert(kind & 0x3fff, value);
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn push(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() {
        libc::AF_INET as u8
    } else {
        libc::AF_INET6 as u8
    }
}
