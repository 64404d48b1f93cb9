//! Making sockets: listening, connecting, accepting.

use crate::{netns, signature};
use model::{Address, Bind, Host, PortSpec, SocketKind, SourceAddress};
use rules::Silence;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

/// Keep-alive numbers of `clitcpka-*`/`srvtcpka-*`: count, idle, interval.
pub type KeepAlive = (Option<u32>, Option<Duration>, Option<Duration>);

/// How a connection to a server is made.
pub struct Outgoing<'a> {
    /// `source`.
    pub source: Option<&'a SourceAddress>,
    /// `option srvtcpka`.
    pub keepalive: Option<KeepAlive>,
    /// `set-bc-tos`.
    pub tos: Option<u8>,
    /// `set-bc-mark`.
    pub mark: Option<u32>,
    /// `tcp-ut`.
    pub user_timeout: Option<Duration>,
    /// `tfo`, where the client's bytes are there to go with the first packet.
    pub fast_open: bool,
    /// Bytes follow as soon as it is made (`tcp-smart-connect`).
    pub early: bool,
    /// `cc`.
    pub congestion: Option<&'a str>,
    /// `tcp-md5sig`: the word that segments are signed with.
    pub signed: Option<&'a str>,
    /// `namespace`.
    pub namespace: Option<&'a str>,
    /// Nothing will be said on it.
    pub silent: bool,
    /// The address it comes from, which is not one of ours (`usesrc`).
    pub foreign: Option<SocketAddr>,
}

/// Starts a TCP connection; it is made, refused or still under way when this returns.
pub fn connect_tcp(addr: SocketAddr, options: &Outgoing<'_>) -> io::Result<OwnedFd> {
    let socket = netns::within(options.namespace, || {
        new_stream(Domain::for_address(addr), Some(Protocol::TCP))
    })?;
    if options.silent || options.early {
        // The acknowledgement of the handshake goes with the first bytes, or the end of the
        // connection (tcp(7)); where the system does not do that, with a packet of its own.
        acknowledge(socket.as_raw_fd(), true);
    }
    if !options.silent {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(name) = options.congestion {
        socket.set_tcp_congestion(name.as_bytes())?;
    }
    if let Some(word) = options.signed {
        signature::sign_towards(socket.as_raw_fd(), addr, word)?;
    }
    if options.fast_open {
        // Where the system does not have it, the connection opens as usual.
        let _ = set_int(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_FASTOPEN_CONNECT,
            1,
        );
    }
    if let Some(keepalive) = options.keepalive {
        set_keepalive(&socket, keepalive)?;
    }
    mark(socket.as_raw_fd(), options.tos, options.mark);
    if let Some(timeout) = options.user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    if let Some(source) = options.source {
        if let Some(interface) = &source.interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        socket.set_reuse_address(true)?;
        bind_source(&socket, source, options.foreign)?;
    }
    start(socket, &addr.into())
}

/// A socket that sends datagrams to one address, and takes them from there only.
pub fn connect_udp(addr: SocketAddr, options: &Outgoing<'_>) -> io::Result<OwnedFd> {
    let socket = netns::within(options.namespace, || {
        new_datagram(Domain::for_address(addr))
    })?;
    if let Some(source) = options.source {
        if let Some(interface) = &source.interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        bind_source(&socket, source, options.foreign)?;
    }
    socket.connect(&addr.into())?;
    Ok(socket.into())
}

fn new_datagram(domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
}

/// Lets the kernel join datagrams of one sender, where it can.
pub fn join_datagrams(socket: RawFd) {
    let _ = set_int(socket, libc::SOL_UDP, libc::UDP_GRO, 1);
}

/// A socket for the datagrams of many clients. On an unspecified address it tells of each which
/// address of ours it came to.
fn listen_datagrams(
    addr: SocketAddr,
    options: &model::BindOptions,
    reuse_port: bool,
) -> io::Result<OwnedFd> {
    let domain = Domain::for_address(addr);
    let socket = netns::within(options.namespace.as_deref(), || new_datagram(domain))?;
    choose_families(&socket, addr, options)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if options.transparent {
        set_transparent(&socket, addr)?;
    }
    if let Some(interface) = &options.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if addr.ip().is_unspecified() {
        // A socket of IPv6 may take IPv4, too: only this tells which address of ours answers a broadcast.
        set_int(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        if addr.is_ipv6() {
            let (level, name) = (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO);
            set_int(socket.as_raw_fd(), level, name, 1)?;
        }
    }
    // Joined, only the first of them would begin with the header.
    if !options.accept_proxy {
        join_datagrams(socket.as_raw_fd());
    }
    // A burst may be longer than the usual room; less is what the system allows.
    let _ = socket.set_recv_buffer_size(BURST);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Whether IPv4 comes by a socket for all of IPv6, too: as the system has it (`net.ipv6.bindv6only`), where
/// no word says so.
fn choose_families(
    socket: &Socket,
    addr: SocketAddr,
    options: &model::BindOptions,
) -> io::Result<()> {
    match addr.is_ipv6() && (options.v6only || options.v4v6) {
        true => socket.set_only_v6(options.v6only),
        false => Ok(()),
    }
}

/// The options of linux/tcp.h, which libc has not.
const TCP_SAVE_SYN: libc::c_int = 27;
const TCP_SAVED_SYN: libc::c_int = 28;

/// Room for datagrams that have not been read yet, bytes.
const BURST: usize = 1 << 20;

fn set_transparent(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    match addr {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => set_transparent_v6(socket),
    }
}

fn bind_source(
    socket: &Socket,
    source: &SourceAddress,
    foreign: Option<SocketAddr>,
) -> io::Result<()> {
    if let Some(address) = foreign {
        set_transparent(socket, address)?;
        if address.port() == 0 {
            // The port is chosen when the server's is known: there are more of them then.
            let (level, name) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
            set_int(socket.as_raw_fd(), level, name, 1)?;
        }
        return socket.bind(&address.into());
    }
    let first = source.address.port();
    let last = source.last_port.unwrap_or(first);
    let mut result = Ok(());
    for port in first..=last.max(first) {
        let mut addr = source.address;
        addr.set_port(port);
        result = socket.bind(&addr.into());
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The addresses of a connection over IP: ours and the peer's.
pub fn ends(fd: RawFd) -> Option<(SocketAddr, SocketAddr)> {
    // SAFETY: whoever asks holds the socket open for the whole call, and nothing here closes it.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let socket = socket2::SockRef::from(&fd);
    let (own, peer) = (socket.local_addr().ok()?, socket.peer_addr().ok()?);
    own.as_socket().zip(peer.as_socket())
}

/// What the kernel knows of a TCP connection; the descriptor is open while rules look at it.
pub fn tcp_info(fd: RawFd) -> Option<rules::TcpInfo> {
    // SAFETY: all zeroes is a value of this structure of numbers; value and length describe it.
    let (info, rc) = unsafe {
        let mut info: libc::tcp_info = std::mem::zeroed();
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        let rc = libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        );
        (info, rc)
    };
    (rc == 0).then_some(rules::TcpInfo {
        rtt_us: info.tcpi_rtt,
        rttvar_us: info.tcpi_rttvar,
        unacked: info.tcpi_unacked,
        sacked: info.tcpi_sacked,
        lost: info.tcpi_lost,
        retrans: info.tcpi_retrans,
        fackets: info.tcpi_fackets,
        reordering: info.tcpi_reordering,
    })
}

/// The packet that began an accepted connection, where its listener has it saved; the
/// kernel gives it once. The descriptor is open while rules look at it.
pub fn saved_syn(fd: RawFd) -> Option<Vec<u8>> {
    // The longest heads that a SYN can have: of a frame, of IP and of TCP.
    let mut bytes = vec![0; 256];
    let mut length = bytes.len() as libc::socklen_t;
    // SAFETY: pointer and length describe `bytes`, which lives through the call.
    let rc = unsafe {
        libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            TCP_SAVED_SYN,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    bytes.truncate(length as usize);
    (rc == 0 && !bytes.is_empty()).then_some(bytes)
}

/// Starts a connection to a UNIX socket.
pub fn connect_unix(path: &str) -> io::Result<OwnedFd> {
    start(new_stream(Domain::UNIX, None)?, &SockAddr::unix(path)?)
}

/// Starts a connection to a socket of the abstract namespace.
pub fn connect_abstract(name: &str, padded: bool) -> io::Result<OwnedFd> {
    start(
        new_stream(Domain::UNIX, None)?,
        &abstract_address(name, padded)?,
    )
}

fn new_stream(domain: Domain, protocol: Option<Protocol>) -> io::Result<Socket> {
    // `Socket::new` sets close-on-exec; non-blocking goes along in the same call.
    Socket::new(domain, Type::STREAM.nonblocking(), protocol)
}

fn start(socket: Socket, addr: &SockAddr) -> io::Result<OwnedFd> {
    match socket.connect(addr) {
        Ok(()) => Ok(socket.into()),
        Err(e)
            if e.raw_os_error() == Some(libc::EINPROGRESS)
                || e.kind() == io::ErrorKind::WouldBlock =>
        {
            Ok(socket.into())
        }
        Err(e) => Err(e),
    }
}

/// Turns keep-alive on for an accepted connection; one that cannot have it does without.
pub fn keep_alive(fd: &OwnedFd, keepalive: KeepAlive) {
    let _ = set_keepalive(&socket2::SockRef::from(fd), keepalive);
}

fn set_keepalive(socket: &Socket, (count, idle, interval): KeepAlive) -> io::Result<()> {
    let mut keepalive = TcpKeepalive::new();
    if let Some(idle) = idle {
        keepalive = keepalive.with_time(idle);
    }
    if let Some(interval) = interval {
        keepalive = keepalive.with_interval(interval);
    }
    if let Some(count) = count {
        keepalive = keepalive.with_retries(count);
    }
    socket.set_tcp_keepalive(&keepalive)
}

fn abstract_address(name: &str, padded: bool) -> io::Result<SockAddr> {
    let mut bytes = vec![0u8];
    bytes.extend_from_slice(name.as_bytes());
    if padded {
        // `sun_path` has 108 bytes; a padded name fills them all.
        bytes.resize(108.max(bytes.len()), 0);
    }
    use std::os::unix::ffi::OsStrExt;
    SockAddr::unix(Path::new(std::ffi::OsStr::from_bytes(&bytes)))
}

/// A listening socket for `bind`, non-blocking. An inherited one is taken as it is.
pub fn listen(bind: &Bind, backlog: u32, reuse_port: bool) -> io::Result<OwnedFd> {
    let options = &bind.options;
    match &bind.address {
        Address::Inet {
            host,
            port: PortSpec::Fixed(port),
            kind,
        } => {
            let addr = match host {
                Host::Any => SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, *port)),
                Host::Any6 => SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, *port, 0, 0)),
                Host::Ip(ip) => SocketAddr::new(*ip, *port),
                Host::Name(_) => return Err(io::ErrorKind::AddrNotAvailable.into()),
            };
            if *kind == SocketKind::Datagram {
                return listen_datagrams(addr, options, reuse_port);
            }
            let domain = Domain::for_address(addr);
            let socket = netns::within(options.namespace.as_deref(), || {
                new_stream(domain, Some(Protocol::TCP))
            })?;
            choose_families(&socket, addr, options)?;
            socket.set_reuse_address(true)?;
            if reuse_port {
                socket.set_reuse_port(true)?;
            }
            if options.transparent {
                set_transparent(&socket, addr)?;
            }
            if options.moves {
                if addr.is_ipv4() {
                    socket.set_freebind_v4(true)?;
                } else {
                    socket.set_freebind_v6(true)?;
                }
            }
            if let Some(interface) = &options.interface {
                socket.bind_device(Some(interface.as_bytes()))?;
            }
            if let Some(mss) = options.mss.filter(|m| *m > 0) {
                socket.set_tcp_mss(mss.unsigned_abs())?;
            }
            if let Some(name) = &options.congestion {
                socket.set_tcp_congestion(name.as_bytes())?;
            }
            if let Some(timeout) = options.tcp_user_timeout {
                socket.set_tcp_user_timeout(Some(timeout))?;
            }
            if let Some(word) = &options.signed {
                signature::sign_accepted(socket.as_raw_fd(), addr, Some(word))?;
            }
            // Inherited by what is accepted; saves a call per connection.
            socket.set_tcp_nodelay(true)?;
            if options.save_syn > 0 {
                let (level, name) = (libc::IPPROTO_TCP, TCP_SAVE_SYN);
                set_int(socket.as_raw_fd(), level, name, options.save_syn.into())?;
            }
            if options.defer_accept {
                set_int(
                    socket.as_raw_fd(),
                    libc::IPPROTO_TCP,
                    libc::TCP_DEFER_ACCEPT,
                    60,
                )?;
            }
            if options.tfo {
                set_int(
                    socket.as_raw_fd(),
                    libc::IPPROTO_TCP,
                    libc::TCP_FASTOPEN,
                    backlog as i32,
                )?;
            }
            socket.bind(&addr.into())?;
            socket.listen(backlog as i32)?;
            Ok(socket.into())
        }
        Address::Unix { path, .. } => listen_unix(path, options, backlog),
        Address::Abstract { name, padded } => {
            let socket = new_stream(Domain::UNIX, None)?;
            socket.bind(&abstract_address(name, *padded)?)?;
            socket.listen(backlog as i32)?;
            Ok(socket.into())
        }
        Address::Fd(fd) => inherited(*fd),
        Address::Inet { .. } => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// A socket that listens on one address for few connections, in the network that `bind` names.
pub fn listen_beside(addr: SocketAddr, options: &model::BindOptions) -> io::Result<OwnedFd> {
    let domain = Domain::for_address(addr);
    let socket = netns::within(options.namespace.as_deref(), || {
        new_stream(domain, Some(Protocol::TCP))
    })?;
    // Connections of before that linger on do not keep the port.
    socket.set_reuse_address(true)?;
    if let Some(interface) = &options.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(FEW)?;
    Ok(socket.into())
}

/// Starts a connection from one of our addresses, in the network that `bind` names.
pub fn connect_beside(
    from: IpAddr,
    addr: SocketAddr,
    options: &model::BindOptions,
) -> io::Result<OwnedFd> {
    let socket = netns::within(options.namespace.as_deref(), || {
        new_stream(Domain::for_address(addr), Some(Protocol::TCP))
    })?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    start(socket, &addr.into())
}

/// Connections that may wait where one is expected: strangers may be quicker than it.
const FEW: i32 = 8;

/// A UNIX socket is made beside its place and moved there, so that a path never names a socket
/// that nobody listens on.
fn listen_unix(path: &str, options: &model::BindOptions, backlog: u32) -> io::Result<OwnedFd> {
    let temporary = format!("{path}.{}.tmp", std::process::id());
    let _ = std::fs::remove_file(&temporary);
    let socket = new_stream(Domain::UNIX, None)?;
    socket.bind(&SockAddr::unix(&temporary)?)?;
    let prepared = prepare_unix(&temporary, path, options).and_then(|()| {
        socket.listen(backlog as i32)?;
        std::fs::rename(&temporary, path)
    });
    if let Err(e) = prepared {
        let _ = std::fs::remove_file(&temporary);
        return Err(e);
    }
    Ok(socket.into())
}

fn prepare_unix(temporary: &str, path: &str, options: &model::BindOptions) -> io::Result<()> {
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        use std::os::unix::fs::FileTypeExt;
        if !meta.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the path exists and is not a socket",
            ));
        }
    }
    if options.uid.is_some() || options.gid.is_some() {
        std::os::unix::fs::chown(temporary, options.uid, options.gid)?;
    }
    if let Some(mode) = options.mode {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(temporary, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Duplicates a listening descriptor that the parent gave us.
fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on a number that may not be open fails with EBADF; on success the new
    // descriptor is ours alone.
    let owned = unsafe {
        let duplicate = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3);
        if duplicate < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(duplicate)
    };
    let socket = Socket::from(owned);
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Marks what a connection sends: its type of service (`set-tos`), the firewall's mark
/// (`set-mark`). What the system does not allow is left as it is.
pub fn mark(fd: RawFd, tos: Option<u8>, mark: Option<u32>) {
    if let Some(tos) = tos {
        let tos = i32::from(tos);
        let _ = set_int(fd, libc::IPPROTO_IP, libc::IP_TOS, tos);
        let _ = set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, tos);
    }
    if let Some(mark) = mark {
        let _ = set_int(fd, libc::SOL_SOCKET, libc::SO_MARK, mark as i32);
    }
}

/// Has a connection end without the client's hearing of it when it is closed: in repair mode the
/// kernel sends nothing, which needs CAP_NET_ADMIN; else a reset that passes no router.
pub fn silence(fd: RawFd, how: Silence) {
    let quiet =
        how == Silence::Complete && set_int(fd, libc::IPPROTO_TCP, libc::TCP_REPAIR, 1).is_ok();
    if quiet {
        return;
    }
    let ttl = match how {
        Silence::Complete => 1,
        Silence::Reset(ttl) => i32::from(ttl),
    };
    // Those of the other family are refused, and so is all of this where there is no IP.
    let _ = set_int(fd, libc::IPPROTO_IP, libc::IP_TTL, ttl);
    let _ = set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, ttl);
    close_at_once(fd);
}

/// Has the acknowledgement of what comes first wait for what is sent next (`late`), where the system does
/// that, or not. What a listening socket accepts from now on inherits it; who had such a socket before may
/// have had it otherwise, and `listen` begins with the usual.
pub fn acknowledge(fd: RawFd, late: bool) {
    let _ = set_int(fd, libc::IPPROTO_TCP, libc::TCP_QUICKACK, i32::from(!late));
}

/// Has urgent bytes come in their order; where there is no TCP there are none.
pub fn urgent_inline(fd: RawFd) {
    let _ = set_int(fd, libc::SOL_SOCKET, libc::SO_OOBINLINE, 1);
}

/// Has a connection end with a reset when it is closed.
pub fn close_at_once(fd: RawFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: value and length describe `linger`.
    unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
}

fn set_int(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: value and length describe a live integer.
    let rc = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn set_transparent_v6(socket: &Socket) -> io::Result<()> {
    set_int(
        socket.as_raw_fd(),
        libc::IPPROTO_IPV6,
        libc::IPV6_TRANSPARENT,
        1,
    )
}

/// The local address of a connected or listening socket; it stays when the peer has reset.
pub fn local_address(fd: RawFd) -> Option<SocketAddr> {
    // SAFETY: borrowed for the call only; the caller keeps it open.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    socket2::SockRef::from(&borrowed)
        .local_addr()
        .ok()?
        .as_socket()
}
