//! Checks below connections: an ICMP echo, and a TCP handshake that is never finished.
//!
//! Both want a raw socket (`CAP_NET_RAW`); an echo also does with a ping socket where
//! `net.ipv4.ping_group_range` allows it.

use super::clock::Phase;
use super::dial::{said, served_port};
use super::scene::Scene;
use model::PortSpec;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use state::Target;
use state::health::{CheckStatus, Finding};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wire::{icmp, syn};

/// Where the packets go; a server on a UNIX socket has no such place.
fn address(scene: &Scene<'_>) -> Result<(IpAddr, Option<u16>), Finding> {
    match scene.target()? {
        Target::Tcp { ip, port } => {
            let own = match port {
                PortSpec::Fixed(port) => Some(port),
                _ => served_port(scene.server),
            };
            Ok((ip, scene.check.port.or(own)))
        }
        _ => Err(Finding::of(CheckStatus::SockErr).because("a UNIX socket has no IP address")),
    }
}

fn broken(e: io::Error) -> Finding {
    Finding::of(CheckStatus::SockErr).because(said(&e))
}

fn unreachable(e: io::Error) -> Finding {
    Finding::of(CheckStatus::L4Con).because(said(&e))
}

fn raw(ip: IpAddr, protocol: Protocol) -> io::Result<Socket> {
    let domain = Domain::for_address(SocketAddr::new(ip, 0));
    Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))
}

/// Has packets cross the server where it is a next hop, and what is checked lies beyond.
fn lead(scene: &Scene<'_>, socket: &Socket) -> io::Result<()> {
    match scene.backend.check_mark(scene.server) {
        Some(mark) => socket.set_mark(mark),
        None => Ok(()),
    }
}

/// Waits for a datagram that `take` wants.
async fn receive<T>(socket: &Socket, take: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
    // SAFETY: the socket is borrowed for as long as the registration lives, which ends with this
    // call, and nobody closes it meanwhile.
    let ready = unsafe { AsyncFd::register_with_interest(socket.as_raw_fd(), Interest::READABLE) };
    let ready = ready.map_err(io::Error::from)?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    loop {
        let mut guard = ready.readable().await?;
        let read = guard.try_io(|_| {
            let n = socket.recv(&mut buffer)?;
            // SAFETY: the kernel has written the first `n` bytes, which are within the buffer.
            Ok(unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), n) })
        });
        if let Ok(bytes) = read
            && let Some(taken) = take(bytes?)
        {
            return Ok(taken);
        }
    }
}

/// `option icmp-check`: an echo request and its reply.
pub async fn echo(scene: &Scene<'_>) -> Result<Finding, Finding> {
    scene.clock.enter(Phase::Connect);
    let (ip, _) = address(scene)?;
    let v6 = ip.is_ipv6();
    let protocol = if v6 {
        Protocol::ICMPV6
    } else {
        Protocol::ICMPV4
    };
    let domain = Domain::for_address(SocketAddr::new(ip, 0));
    let ping = Socket::new(domain, Type::DGRAM.nonblocking(), Some(protocol));
    // The kernel numbers the requests of ping sockets itself, and sorts the replies.
    let (socket, checked) = match ping {
        Ok(socket) => (socket, false),
        Err(_) => (raw(ip, protocol).map_err(broken)?, true),
    };
    lead(scene, &socket).map_err(broken)?;
    socket
        .connect(&SocketAddr::new(ip, 0).into())
        .map_err(unreachable)?;
    let random = scene.random();
    let (id, sequence) = ((random >> 16) as u16, random as u16);
    socket
        .send(&icmp::request(v6, id, sequence))
        .map_err(unreachable)?;
    let id = checked.then_some(id);
    let mine = |bytes: &[u8]| icmp::is_reply(v6, bytes, id, sequence).then_some(());
    receive(&socket, mine).await.map_err(unreachable)?;
    Ok(Finding::of(CheckStatus::L4Ok))
}

/// `option half-open-check`: SYN, SYN and ACK, RST. The port that we send from is reserved by a
/// socket that never connects, so that the kernel answers the server's SYN and ACK by the RST.
pub async fn half_open(scene: &Scene<'_>) -> Result<Finding, Finding> {
    scene.clock.enter(Phase::Connect);
    let (ip, port) = address(scene)?;
    let Some(port) = port else {
        return Err(Finding::of(CheckStatus::SockErr).because("no port to check"));
    };
    let to = SocketAddr::new(ip, port);
    let domain = Domain::for_address(to);
    let own = own_address(scene, to).map_err(unreachable)?;
    let reserved = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).map_err(broken)?;
    reserved
        .bind(&SocketAddr::new(own, 0).into())
        .map_err(broken)?;
    let from = reserved.local_addr().map_err(broken)?.as_socket();
    let Some(from) = from else {
        return Err(Finding::of(CheckStatus::SockErr).because("no port to check from"));
    };
    let socket = raw(ip, Protocol::TCP).map_err(broken)?;
    lead(scene, &socket).map_err(broken)?;
    socket
        .attach_filter(&to_port(ip.is_ipv6(), from.port()))
        .map_err(broken)?;
    // The port of a raw socket's address is none of TCP.
    socket
        .connect(&SocketAddr::new(ip, 0).into())
        .map_err(unreachable)?;
    let sequence = scene.random() as u32;
    socket
        .send(&syn::segment(from, to, sequence))
        .map_err(unreachable)?;
    let mine = |bytes: &[u8]| syn::answer(bytes, ip.is_ipv6(), from.port(), port, sequence);
    match receive(&socket, mine).await.map_err(unreachable)? {
        syn::Answer::Listening => Ok(Finding::of(CheckStatus::L4Ok)),
        syn::Answer::Refused => Err(Finding::of(CheckStatus::L4Con).because("Connection refused")),
    }
}

/// A filter that keeps the segments to one port (kernel, `networking/filter.rst`): a raw socket is
/// given a copy of every segment that the server sends us.
fn to_port(v6: bool, port: u16) -> Vec<SockFilter> {
    // Where the TCP header begins goes to the index register; then its second half word.
    let start = match v6 {
        true => SockFilter::new((libc::BPF_LDX | libc::BPF_IMM) as u16, 0, 0, 0),
        false => SockFilter::new(
            (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16,
            0,
            0,
            0,
        ),
    };
    let load = (libc::BPF_LD | libc::BPF_H | libc::BPF_IND) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let give = (libc::BPF_RET | libc::BPF_K) as u16;
    vec![
        start,
        SockFilter::new(load, 0, 0, 2),
        SockFilter::new(equal, 0, 1, port.into()),
        SockFilter::new(give, 0, 0, u32::MAX),
        SockFilter::new(give, 0, 0, 0),
    ]
}

/// Our address on the way to another: connecting a UDP socket asks the routes and sends nothing.
fn own_address(scene: &Scene<'_>, to: SocketAddr) -> io::Result<IpAddr> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    lead(scene, &socket)?;
    socket.connect(&to.into())?;
    let own = socket.local_addr()?.as_socket();
    own.map(|a| a.ip())
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}
