//! Sockets of VRRP: raw ones for adverts (raw(7), ip(7), ipv6(7)) and a packet socket for
//! announcements (packet(7)).

use crate::link::Link;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use wire::vrrp::{GROUP_V4, GROUP_V6, HOPS, PROTOCOL};

/// The longest advert: 255 addresses of IPv6; IPv4 adds its header, with options.
const LONGEST: usize = 8 + 255 * 16 + 60;

/// Where adverts of one interface and family come in.
#[derive(Debug)]
pub struct Ear {
    socket: Socket,
    /// The interface.
    pub link: u32,
    /// The family.
    pub ipv6: bool,
}

/// What came in, before anything is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// What is left of the way it may go.
    pub hops: u8,
    /// What follows the IP header.
    pub bytes: Vec<u8>,
}

fn raw(ipv6: bool, link: &Link) -> io::Result<Socket> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(PROTOCOL))))?;
    socket.bind_device(Some(link.name.as_bytes()))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Ear {
    /// Listens on an interface, for the protocol's group and for ourselves.
    pub fn open(link: &Link, ipv6: bool) -> io::Result<Ear> {
        let socket = raw(ipv6, link)?;
        if ipv6 {
            socket.join_multicast_v6(&GROUP_V6, link.index)?;
            set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT)?;
            set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
        } else {
            let place = InterfaceIndexOrAddress::Index(link.index);
            socket.join_multicast_v4_n(&GROUP_V4, &place)?;
        }
        Ok(Ear {
            socket,
            link: link.index,
            ipv6,
        })
    }

    /// Readable when something has come.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The next packet; `None` when there are no more. Packets that no IP stack would make are
    /// passed over.
    pub fn hear(&self) -> Option<Heard> {
        loop {
            let mut bytes = vec![0; LONGEST];
            let mut control = Control([0; 128]);
            // SAFETY: zeros are a valid sockaddr_storage.
            let mut from: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
            let mut part = libc::iovec {
                iov_base: bytes.as_mut_ptr().cast(),
                iov_len: bytes.len(),
            };
            // SAFETY: zeros are a valid msghdr.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_name = (&raw mut from).cast();
            message.msg_namelen = size_of_val(&from) as u32;
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = control.0.len();
            // SAFETY: every pointer in `message` is to a live variable of the length beside it.
            let n = unsafe { libc::recvmsg(self.fd(), &raw mut message, 0) };
            let n = usize::try_from(n).ok()?;
            bytes.truncate(n);
            let heard = if self.ipv6 {
                // SAFETY: the kernel has filled `from` for a socket of IPv6.
                let from = unsafe { (&raw const from).cast::<libc::sockaddr_in6>().read() };
                with_control(&message, from.sin6_addr.s6_addr.into(), bytes)
            } else {
                without_header(&bytes)
            };
            if heard.is_some() {
                return heard;
            }
        }
    }
}

/// Room for control messages, aligned as they are.
#[repr(align(8))]
struct Control([u8; 128]);

fn set(socket: &Socket, level: i32, option: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and length describe `on`.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as u32,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes hop limit and destination from what the kernel says beside a packet of IPv6.
fn with_control(message: &libc::msghdr, source: IpAddr, bytes: Vec<u8>) -> Option<Heard> {
    let (mut hops, mut destination) = (None, None);
    // SAFETY: the macros walk the control messages that recvmsg has written into `message`; each
    // is read as the type that its level and type stand for.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = at.as_ref() {
            let data = libc::CMSG_DATA(at);
            match (header.cmsg_level, header.cmsg_type) {
                (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                    hops = u8::try_from(data.cast::<libc::c_int>().read_unaligned()).ok();
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    destination = Some(info.ipi6_addr.s6_addr.into());
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(message, at);
        }
    }
    Some(Heard {
        source,
        destination: destination?,
        hops: hops?,
        bytes,
    })
}

/// Takes a packet of IPv4 apart: raw sockets show its header.
fn without_header(packet: &[u8]) -> Option<Heard> {
    let head = packet.first_chunk::<20>()?;
    let length = usize::from(head[0] & 0x0f) * 4;
    let octets = |at: usize| -> Option<Ipv4Addr> {
        let four: [u8; 4] = head.get(at..at + 4)?.try_into().ok()?;
        Some(four.into())
    };
    Some(Heard {
        source: octets(12)?.into(),
        destination: octets(16)?.into(),
        hops: head[8],
        bytes: packet.get(length.max(20)..)?.to_vec(),
    })
}

/// Where adverts of one virtual router go out.
#[derive(Debug)]
pub struct Mouth {
    socket: Socket,
    /// The address they come from.
    pub source: IpAddr,
    /// The interface.
    pub link: u32,
}

impl Mouth {
    /// Speaks on an interface from one of its addresses.
    pub fn open(link: &Link, source: IpAddr) -> io::Result<Mouth> {
        let socket = raw(source.is_ipv6(), link)?;
        // Nobody reads what the kernel queues here, too.
        socket.set_recv_buffer_size(1)?;
        match source {
            IpAddr::V4(ip) => {
                socket.set_ttl_v4(HOPS.into())?;
                socket.set_multicast_ttl_v4(HOPS.into())?;
                socket.set_multicast_loop_v4(false)?;
                socket.set_multicast_if_v4(&ip)?;
                socket.bind(&SocketAddrV4::new(ip, 0).into())?;
            }
            IpAddr::V6(ip) => {
                socket.set_unicast_hops_v6(HOPS.into())?;
                socket.set_multicast_hops_v6(HOPS.into())?;
                socket.set_multicast_loop_v6(false)?;
                socket.set_multicast_if_v6(link.index)?;
                let scope = if ip.is_unicast_link_local() {
                    link.index
                } else {
                    0
                };
                socket.bind(&SocketAddrV6::new(ip, 0, 0, scope).into())?;
            }
        }
        Ok(Mouth {
            socket,
            source,
            link: link.index,
        })
    }

    /// Sends what follows the IP header.
    pub fn say(&self, bytes: &[u8], to: IpAddr) -> io::Result<()> {
        let to: SockAddr = match to {
            IpAddr::V4(ip) => SocketAddrV4::new(ip, 0).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, 0, 0, self.link).into(),
        };
        self.socket.send_to(bytes, &to).map(|_| ())
    }
}

/// Sends whole Ethernet frames.
#[derive(Debug)]
pub struct Frames(Socket);

impl Frames {
    /// Opens it; it receives nothing.
    pub fn open() -> io::Result<Frames> {
        Socket::new(Domain::PACKET, Type::RAW, None).map(Frames)
    }

    /// Sends one on an interface.
    pub fn send(&self, link: u32, frame: &[u8]) -> io::Result<()> {
        // SAFETY: zeros are a valid sockaddr_ll.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = link as i32;
        // SAFETY: both pointers are to live variables of the lengths beside them.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                size_of_val(&to) as u32,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
