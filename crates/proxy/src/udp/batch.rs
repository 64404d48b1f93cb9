//! Many datagrams in one call: `recvmmsg` and `sendmmsg`, with the kernel's own joining of
//! datagrams (UDP_GRO on the way in, UDP_SEGMENT on the way out) where both sides have it.
//!
//! This is the kernel's interface: raw structures that point at each other stand here only. The two
//! usual calls bypass the C library's wrappers, as those of streams do (`io.rs`).

use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;

/// Datagrams that one call takes at most.
pub const MOST: usize = 32;
/// Room for each, with what the kernel has joined.
const ROOM: usize = 65_536;
/// Room for what comes beside a datagram: an address and a segment's length.
const CONTROL: usize = 128;

/// Control bytes, aligned as the kernel wants them.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// One datagram as received.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Its payload; or those of several of one sender, where `segment` is less than its length.
    pub bytes: &'a [u8],
    /// Who sent it; `None` on a connected socket.
    pub from: Option<SocketAddr>,
    /// The address of ours that it was sent to, where the socket tells.
    pub to: Option<IpAddr>,
    /// The length of each datagram in it, the last one's excepted.
    pub segment: Option<u16>,
}

impl Datagram<'_> {
    /// How many datagrams it is.
    pub fn count(&self) -> u64 {
        match self.segment {
            Some(segment) => self.bytes.len().div_ceil(usize::from(segment)).max(1) as u64,
            None => 1,
        }
    }
}

/// What came with one call.
pub struct Batch {
    buffers: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    /// How many are asked for: twice what the last call brought.
    wanted: usize,
    held: usize,
}

impl Batch {
    /// Room for [`MOST`] datagrams; what is never used costs no memory.
    pub fn new() -> Batch {
        // SAFETY: all-zero addresses, headers and vectors are valid.
        let (name, header, vector) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Batch {
            buffers: vec![0; MOST * ROOM],
            names: vec![name; MOST],
            controls: vec![Control([0; CONTROL]); MOST],
            headers: vec![header; MOST],
            vectors: vec![vector; MOST],
            wanted: 4,
            held: 0,
        }
    }

    /// Takes what is there; whether that was all.
    pub fn receive(&mut self, fd: RawFd) -> io::Result<bool> {
        self.held = 0;
        let wanted = self.wanted;
        let buffers = self.buffers.chunks_exact_mut(ROOM);
        let names = self.names.iter_mut().zip(&mut self.controls);
        let slots = self.headers.iter_mut().zip(&mut self.vectors);
        for ((buffer, (name, control)), (header, vector)) in
            buffers.zip(names).zip(slots).take(wanted)
        {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = ROOM;
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL;
            header.msg_hdr.msg_flags = 0;
        }
        // SAFETY: the first `wanted` headers point at buffers, addresses and control bytes of
        // `self` with their true lengths, and none of them moves during the call.
        let n = unsafe {
            libc::syscall(
                libc::SYS_recvmmsg,
                fd,
                self.headers.as_mut_ptr(),
                wanted,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut::<libc::timespec>(),
            )
        };
        let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        self.held = n.min(wanted);
        self.wanted = (n * 2).clamp(4, MOST);
        Ok(n < wanted)
    }

    /// Takes one datagram of a connected socket that joins none.
    pub fn receive_one(&mut self, fd: RawFd) -> io::Result<()> {
        self.held = 0;
        let (Some(room), Some(header)) = (self.buffers.get_mut(..ROOM), self.headers.first_mut())
        else {
            return Ok(());
        };
        let (at, flags) = (room.as_mut_ptr(), libc::MSG_DONTWAIT);
        let (no_name, no_length) = (std::ptr::null_mut::<u8>(), std::ptr::null_mut::<u8>());
        // SAFETY: pointer and length describe `room`; nobody's address is asked for.
        let n =
            unsafe { libc::syscall(libc::SYS_recvfrom, fd, at, ROOM, flags, no_name, no_length) };
        let n = u32::try_from(n).map_err(|_| io::Error::last_os_error())?;
        header.msg_len = n;
        header.msg_hdr.msg_namelen = 0;
        header.msg_hdr.msg_controllen = 0;
        self.held = 1;
        Ok(())
    }

    /// How many messages the last call brought.
    pub fn len(&self) -> usize {
        self.held
    }

    /// One of them.
    pub fn get(&self, at: usize) -> Option<Datagram<'_>> {
        if at >= self.held {
            return None;
        }
        let header = self.headers.get(at)?;
        let buffer = self.buffers.get(at * ROOM..(at + 1) * ROOM)?;
        let (to, segment) = beside(&header.msg_hdr);
        Some(Datagram {
            bytes: buffer.get(..header.msg_len as usize)?,
            from: self
                .names
                .get(at)
                .and_then(|name| address(name, header.msg_hdr.msg_namelen)),
            to,
            segment,
        })
    }
}

fn address(name: &libc::sockaddr_storage, len: libc::socklen_t) -> Option<SocketAddr> {
    if len == 0 {
        return None;
    }
    // SAFETY: `SockAddrStorage` is a transparent wrapper of `sockaddr_storage`, which the kernel
    // has filled with an address of `len` bytes.
    unsafe {
        let storage =
            std::mem::transmute::<libc::sockaddr_storage, socket2::SockAddrStorage>(*name);
        socket2::SockAddr::new(storage, len).as_socket()
    }
}

/// What came beside a datagram: the address it was sent to, and the length of its segments.
fn beside(header: &libc::msghdr) -> (Option<IpAddr>, Option<u16>) {
    let (mut four, mut six, mut segment) = (None, None, None);
    // SAFETY: the kernel has written whole control messages of `msg_controllen` bytes in all into
    // memory that `header` points at and that outlives this; what is read of each is what its
    // level and type say that it holds.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while !at.is_null() {
            let data = libc::CMSG_DATA(at);
            match ((*at).cmsg_level, (*at).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = data.cast::<libc::in_pktinfo>().read_unaligned();
                    // Not the one in the packet, which may be everybody's: nothing can be sent from that.
                    let bytes = info.ipi_spec_dst.s_addr.to_ne_bytes();
                    four = Some(Ipv4Addr::from(bytes));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    six = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let length = data.cast::<libc::c_int>().read_unaligned();
                    segment = u16::try_from(length).ok().filter(|n| *n > 0);
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
    let to = match (four, six) {
        // IPv4 by a socket of IPv6.
        (Some(four), Some(_)) => Some(IpAddr::V6(four.to_ipv6_mapped())),
        (Some(four), None) => Some(IpAddr::V4(four)),
        (None, six) => six.filter(|ip| !ip.is_multicast()).map(IpAddr::V6),
    };
    (to, segment)
}

/// Where datagrams go.
#[derive(Clone, Copy)]
pub struct Route<'a> {
    /// The socket.
    pub fd: RawFd,
    /// To whom; `None` on a connected socket.
    pub to: Option<&'a socket2::SockAddr>,
    /// From which address of ours, where the socket has several.
    pub from: Option<IpAddr>,
    /// What each datagram begins with.
    pub prefix: &'a [u8],
}

/// What one message of a call carries: a datagram, or several where `segment` says how long each is.
#[derive(Clone, Copy)]
struct Piece<'a> {
    bytes: &'a [u8],
    segment: Option<u16>,
    to: Option<&'a socket2::SockAddr>,
    from: Option<IpAddr>,
}

/// Sends datagrams in as few calls as possible. What the socket has no room for, or is too long for the way
/// it is to go, is lost, as datagrams are; the first other error ends it.
pub fn send(route: &Route<'_>, datagrams: &[Datagram<'_>]) -> io::Result<()> {
    let plain = route.prefix.is_empty();
    if let ([one], None, true) = (datagrams, route.from, plain)
        && one.count() == 1
    {
        return send_one(route, one.bytes);
    }
    let piece = |bytes, segment| Piece {
        bytes,
        segment,
        to: route.to,
        from: route.from,
    };
    let mut pieces: Vec<Piece<'_>> = Vec::with_capacity(datagrams.len());
    for datagram in datagrams {
        match datagram.segment.filter(|_| datagram.count() > 1) {
            // The kernel takes them apart again.
            Some(segment) if plain => pieces.push(piece(datagram.bytes, Some(segment))),
            Some(segment) => {
                let parts = datagram.bytes.chunks(usize::from(segment));
                pieces.extend(parts.map(|p| piece(p, None)));
            }
            None => pieces.push(piece(datagram.bytes, None)),
        }
    }
    let send = |some: &[Piece<'_>]| send_some(route.fd, route.prefix, some).map_err(|(_, e)| e);
    for some in pieces.chunks(MOST) {
        match send(some) {
            Err(e) if is_unsegmentable(&e) && some.iter().any(|p| p.segment.is_some()) => {
                for joined in some {
                    let length = joined.segment.map_or(joined.bytes.len(), usize::from);
                    for part in joined.bytes.chunks(length.max(1)) {
                        send(&[piece(part, None)])?;
                    }
                }
            }
            other => other?,
        }
    }
    Ok(())
}

/// A short datagram on its way out, its bytes kept elsewhere.
pub struct Parcel {
    /// To whom.
    pub to: socket2::SockAddr,
    /// From which address of ours, where the socket has several.
    pub from: Option<IpAddr>,
    /// Where its bytes end; they begin where those of the one before end.
    pub end: usize,
}

/// Sends datagrams to as many clients, in as few calls as possible; what cannot be sent is lost.
pub fn send_parcels(fd: RawFd, parcels: &[Parcel], bytes: &[u8]) {
    let mut at = 0;
    let pieces = parcels.iter().map(|parcel| {
        let begin = std::mem::replace(&mut at, parcel.end);
        Piece {
            bytes: bytes.get(begin..parcel.end).unwrap_or_default(),
            segment: None,
            to: Some(&parcel.to),
            from: parcel.from,
        }
    });
    let pieces: Vec<Piece<'_>> = pieces.collect();
    for mut some in pieces.chunks(MOST) {
        while let Err((at, _)) = send_some(fd, b"", some) {
            // That one is at fault: others have theirs coming all the same.
            some = some.get(at + 1..).unwrap_or_default();
        }
    }
}

/// A way out that cannot send segments.
fn is_unsegmentable(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE)
    )
}

/// Whether a datagram was lost, for want of room or because it is `alone` and too long: that is no reason
/// to give up.
fn is_lost(e: &io::Error, alone: bool) -> bool {
    match e.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR) => true,
        Some(libc::EMSGSIZE) => alone,
        _ => false,
    }
}

/// Whether the news is that a datagram was too long for its way. The system remembers how long one may be
/// there, and takes the next one apart.
pub fn was_too_long(e: &io::Error) -> bool {
    e.raw_os_error() == Some(libc::EMSGSIZE)
}

fn send_one(route: &Route<'_>, bytes: &[u8]) -> io::Result<()> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let (to, len) = match route.to {
        Some(to) => (to.as_ptr().cast::<u8>(), to.len()),
        None => (std::ptr::null(), 0),
    };
    // SAFETY: pointer and length describe `bytes`; the address is null with length 0, or one that
    // outlives the call with its true length.
    let n = unsafe {
        let (at, length) = (bytes.as_ptr(), bytes.len());
        libc::syscall(libc::SYS_sendto, route.fd, at, length, flags, to, len)
    };
    match n {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error())
            .or_else(|e| if is_lost(&e, true) { Ok(()) } else { Err(e) }),
    }
}

/// Up to [`MOST`] pieces. An error is that of the first one that could not be sent, with its place.
fn send_some(fd: RawFd, prefix: &[u8], pieces: &[Piece<'_>]) -> Result<(), (usize, io::Error)> {
    let mut vectors = [[IoSlice::new(&[]); 2]; MOST];
    let mut controls = [MaybeUninit::<Control>::uninit(); MOST];
    // SAFETY: an all-zero header is valid.
    let mut headers: [libc::mmsghdr; MOST] = unsafe { zeroed() };
    let count = pieces.len().min(MOST);
    let slots = headers.iter_mut().zip(&mut vectors).zip(&mut controls);
    for (((header, vector), control), piece) in slots.zip(pieces) {
        *vector = [IoSlice::new(prefix), IoSlice::new(piece.bytes)];
        let skip = usize::from(prefix.is_empty());
        let header = &mut header.msg_hdr;
        // `IoSlice` is ABI-compatible with iovec.
        header.msg_iov = vector.as_mut_ptr().wrapping_add(skip).cast();
        header.msg_iovlen = 2 - skip;
        if let Some(to) = piece.to {
            header.msg_name = to.as_ptr().cast_mut().cast();
            header.msg_namelen = to.len();
        }
        if piece.from.is_some() || piece.segment.is_some() {
            let control = control.write(Control([0; CONTROL]));
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = write_control(control, piece.from, piece.segment);
        }
    }
    let mut at = 0;
    while at < count {
        let rest = headers.get_mut(at..count).unwrap_or_default();
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: each of these headers points at slices, an address and control bytes that
        // outlive the call, with their true lengths; their number is that of `rest`.
        let n = unsafe { libc::sendmmsg(fd, rest.as_mut_ptr(), rest.len() as u32, flags as _) };
        match usize::try_from(n) {
            Ok(n) => at += n.max(1),
            Err(_) => {
                let e = io::Error::last_os_error();
                let alone = pieces.get(at).is_some_and(|p| p.segment.is_none());
                if !is_lost(&e, alone) {
                    return Err((at, e));
                }
                at += 1;
            }
        }
    }
    Ok(())
}

/// Writes what goes beside a datagram; how many bytes that is.
fn write_control(control: &mut Control, from: Option<IpAddr>, segment: Option<u16>) -> usize {
    let mut used = 0;
    let mut push = |level: i32, kind: i32, data: &[u8]| {
        // SAFETY: only computes lengths.
        let (space, len) = unsafe {
            (
                libc::CMSG_SPACE(data.len() as u32) as usize,
                libc::CMSG_LEN(data.len() as u32) as usize,
            )
        };
        let header = size_of::<libc::cmsghdr>();
        let Some(place) = control.0.get_mut(used..used + space) else {
            return;
        };
        // SAFETY: all zeros are a valid header; the place has room for it and is aligned for it,
        // because the whole is, and every message takes a multiple of the alignment.
        unsafe {
            let mut head: libc::cmsghdr = zeroed();
            head.cmsg_len = len as _;
            head.cmsg_level = level;
            head.cmsg_type = kind;
            place
                .as_mut_ptr()
                .cast::<libc::cmsghdr>()
                .write_unaligned(head);
        }
        if let Some(room) = place.get_mut(header..header + data.len()) {
            room.copy_from_slice(data);
        }
        used += space;
    };
    match from {
        Some(IpAddr::V4(ip)) => {
            // Interface (any), source, and a field that is for receiving only.
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&ip.octets());
            push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        Some(IpAddr::V6(ip)) => {
            let mut info = [0; 20];
            info[..16].copy_from_slice(&ip.octets());
            push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        None => {}
    }
    if let Some(segment) = segment {
        push(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    fn pair() -> (UdpSocket, UdpSocket) {
        let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
        a.connect(b.local_addr().expect("an address"))
            .expect("connects");
        (a, b)
    }

    fn all(batch: &Batch) -> Vec<Vec<u8>> {
        let some = (0..batch.len()).filter_map(|at| batch.get(at));
        some.flat_map(|d| {
            let length = d.segment.map_or(d.bytes.len(), usize::from).max(1);
            let parts: Vec<Vec<u8>> = d.bytes.chunks(length).map(<[u8]>::to_vec).collect();
            if parts.is_empty() {
                vec![Vec::new()]
            } else {
                parts
            }
        })
        .collect()
    }

    #[test]
    fn datagrams_arrive_one_by_one_and_many_at_a_time() {
        let (a, b) = pair();
        let texts: Vec<Vec<u8>> = (0..40u8).map(|i| vec![i; usize::from(i)]).collect();
        let datagrams: Vec<Datagram<'_>> = texts
            .iter()
            .map(|t| Datagram {
                bytes: t,
                from: None,
                to: None,
                segment: None,
            })
            .collect();
        let route = Route {
            fd: a.as_raw_fd(),
            to: None,
            from: None,
            prefix: b"",
        };
        send(&route, &datagrams[..1]).expect("sent");
        send(&route, &datagrams[1..]).expect("sent");
        let mut batch = Batch::new();
        let mut received = Vec::new();
        while received.len() < texts.len() {
            batch.receive(b.as_raw_fd()).expect("received");
            let from = batch.get(0).and_then(|d| d.from);
            assert_eq!(from, a.local_addr().ok());
            received.extend(all(&batch));
        }
        assert_eq!(received, texts);
        assert!(batch.receive(b.as_raw_fd()).is_err());
    }

    #[test]
    fn one_that_cannot_be_sent_keeps_no_other_back() {
        let to: Vec<UdpSocket> = (0..40)
            .map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port"))
            .collect();
        let from = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let (mut parcels, mut bytes) = (Vec::new(), Vec::new());
        for (at, socket) in to.iter().enumerate() {
            let mut to = socket.local_addr().expect("an address");
            if at % 7 == 3 {
                // Nothing goes to a port 0.
                to.set_port(0);
            }
            bytes.extend_from_slice(&vec![at as u8; at]);
            parcels.push(Parcel {
                to: to.into(),
                from: None,
                end: bytes.len(),
            });
        }
        send_parcels(from.as_raw_fd(), &parcels, &bytes);
        let mut buffer = [0; 100];
        for (at, socket) in to.iter().enumerate().filter(|(at, _)| at % 7 != 3) {
            let n = socket.recv(&mut buffer).expect("it comes");
            assert_eq!(&buffer[..n], vec![at as u8; at]);
            socket.set_nonblocking(true).expect("it does not wait");
            assert!(socket.recv(&mut buffer).is_err(), "it comes once");
        }
    }

    #[test]
    fn joined_datagrams_come_out_as_they_went_in() {
        let (a, b) = pair();
        let bytes: Vec<u8> = (0..2500u32).map(|i| i as u8).collect();
        let one = Datagram {
            bytes: &bytes,
            from: None,
            to: None,
            segment: Some(1000),
        };
        assert_eq!(one.count(), 3);
        let to = socket2::SockAddr::from(b.local_addr().expect("an address"));
        let free = UdpSocket::bind("127.0.0.1:0").expect("a port");
        for (route, begin) in [
            (
                Route {
                    fd: a.as_raw_fd(),
                    to: None,
                    from: None,
                    prefix: b"",
                },
                &b""[..],
            ),
            (
                Route {
                    fd: free.as_raw_fd(),
                    to: Some(&to),
                    from: Some([127, 0, 0, 1].into()),
                    prefix: b"head",
                },
                b"head",
            ),
        ] {
            send(&route, &[one]).expect("sent");
            let mut batch = Batch::new();
            let mut received = Vec::new();
            while received.len() < 3 {
                batch.receive(b.as_raw_fd()).expect("received");
                received.extend(all(&batch));
            }
            let wanted: Vec<Vec<u8>> = bytes.chunks(1000).map(|c| [begin, c].concat()).collect();
            assert_eq!(received, wanted);
        }
    }
}
