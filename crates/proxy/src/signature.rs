//! Segments of TCP that carry a signature (RFC 2385): the kernel makes it and asks for it, and what
//! comes without is as if it had not come.

use crate::socket::local_address;
use model::{Address, Bind, SocketKind};
use socket2::SockAddr;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The longest word that the kernel takes (`TCP_MD5SIG_MAXKEYLEN`), bytes.
const LONGEST: usize = 80;
/// As `TCP_MD5SIG`, for all whose address begins alike; libc has it not (linux/tcp.h).
const TCP_MD5SIG_EXT: libc::c_int = 32;
/// That the length of the beginning is given.
const PREFIX: u8 = 1;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct Key {
    peer: libc::sockaddr_storage,
    flags: u8,
    prefix: u8,
    length: u16,
    interface: libc::c_int,
    word: [u8; LONGEST],
}

/// Has what is accepted on a socket that listened before be signed as `bind` says now.
pub fn sign_kept(socket: &OwnedFd, bind: &Bind) -> io::Result<()> {
    let tcp = matches!(
        &bind.address,
        Address::Inet {
            kind: SocketKind::Stream,
            ..
        }
    );
    match local_address(socket.as_raw_fd()).filter(|_| tcp) {
        Some(own) => sign_accepted(socket.as_raw_fd(), own, bind.options.signed.as_deref()),
        None => Ok(()),
    }
}

/// Has what a listening socket accepts be signed with this word, whoever the client is; with none it
/// is signed no longer.
pub fn sign_accepted(fd: RawFd, own: SocketAddr, word: Option<&str>) -> io::Result<()> {
    let Some(word) = word else {
        // Where there was no key, or can be none, there is nothing to take back.
        let _ = every(fd, own, "");
        return Ok(());
    };
    every(fd, own, word)
}

/// Sets the keys of all clients; an empty word takes them back.
fn every(fd: RawFd, own: SocketAddr, word: &str) -> io::Result<()> {
    let anyone: SocketAddr = match own {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    if own.is_ipv6() {
        // Clients of IPv4, where the socket takes them, have keys of their own.
        let mapped = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
        set(fd, TCP_MD5SIG_EXT, (mapped, 0).into(), word)?;
    }
    set(fd, TCP_MD5SIG_EXT, anyone, word)
}

/// Has a connection that is about to be made be signed with this word.
pub fn sign_towards(fd: RawFd, peer: SocketAddr, word: &str) -> io::Result<()> {
    set(fd, libc::TCP_MD5SIG, peer, word)
}

/// Whether this kernel can sign what it sends; the error says what it lacks.
pub fn available() -> io::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    sign_accepted(
        socket.as_raw_fd(),
        (Ipv4Addr::LOCALHOST, 0).into(),
        Some("x"),
    )
}

fn set(fd: RawFd, option: libc::c_int, peer: SocketAddr, word: &str) -> io::Result<()> {
    let mut key = Key {
        // SAFETY: zeroes are an address of no family.
        peer: unsafe { std::mem::zeroed() },
        flags: if option == TCP_MD5SIG_EXT { PREFIX } else { 0 },
        prefix: 0,
        length: word.len().min(LONGEST) as u16,
        interface: 0,
        word: [0; LONGEST],
    };
    for (to, from) in key.word.iter_mut().zip(word.bytes()) {
        *to = from;
    }
    let address = SockAddr::from(peer);
    // SAFETY: an address of IP is shorter than the storage, which is part of `key`; value and length
    // describe `key`, which lives through the call.
    let rc = unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            (&raw mut key.peer).cast(),
            (address.len() as usize).min(size_of::<libc::sockaddr_storage>()),
        );
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            option,
            (&raw const key).cast(),
            size_of::<Key>() as libc::socklen_t,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
