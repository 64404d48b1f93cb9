//! What is left to do when the process dies without a word (kill -9, a crash): a farewell, so that
//! the backup need not wait until we count as gone, and the addresses' removal, so that no dead
//! machine answers for them. A small process of its own does it, told beforehand what to do.
//!
//! The serving thread writes its [`Will`] whenever that changes. At the end of the stream the last
//! one is carried out; a graceful end leaves an empty one.

use crate::link::Netlink;
use crate::routes::Marked;
use model::VirtualAddress;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use wire::vrrp::{HOPS, PROTOCOL};

/// The word on the command line that makes this program a guardian.
pub const WORD: &str = "vrrp-guardian";

/// What is to be done if we die.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Will {
    /// Farewells: interface, source, destination, what follows the IP header.
    pub farewells: Vec<(u32, IpAddr, IpAddr, Vec<u8>)>,
    /// Addresses to remove, each with its interface.
    pub addresses: Vec<(u32, VirtualAddress)>,
    /// Routes and rules to remove.
    pub marked: Vec<Marked>,
    /// Interfaces of virtual hardware addresses to remove.
    pub links: Vec<u32>,
}

impl Will {
    fn write(&self) -> String {
        // Whatever was cut off before, a new one begins here.
        let mut text = String::from("\n!\n");
        for (link, source, to, bytes) in &self.farewells {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            text.push_str(&format!("f {link} {source} {to} {hex}\n"));
        }
        for (link, address) in &self.addresses {
            text.push_str(&format!("a {link} {address}\n"));
        }
        for one in &self.marked {
            text.push_str(&format!("m {}\n", one.line()));
        }
        for link in &self.links {
            text.push_str(&format!("l {link}\n"));
        }
        text.push_str(".\n");
        text
    }

    /// The last whole one of a stream.
    fn last(text: &str) -> Will {
        let mut will = Will::default();
        let mut next = Will::default();
        for line in text.split_inclusive('\n') {
            let words: Vec<&str> = line.trim_end_matches('\n').split(' ').collect();
            match words.as_slice() {
                ["!"] => next = Will::default(),
                ["."] if line.ends_with('\n') => will = std::mem::take(&mut next),
                ["f", link, source, to, hex] => {
                    next.farewells.extend(farewell(link, source, to, hex))
                }
                ["l", link] => next.links.extend(link.parse::<u32>()),
                ["m", ..] => next.marked.extend(
                    line.trim_end_matches('\n')
                        .split_once(' ')
                        .and_then(|(_, rest)| Marked::read(rest)),
                ),
                ["a", link, address] => next.addresses.extend(address_of(link, address)),
                _ => {}
            }
        }
        will
    }
}

fn farewell(
    link: &str,
    source: &str,
    to: &str,
    hex: &str,
) -> Option<(u32, IpAddr, IpAddr, Vec<u8>)> {
    let bytes = hex.as_bytes().chunks(2);
    let bytes = bytes.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    Some((
        link.parse().ok()?,
        source.parse().ok()?,
        to.parse().ok()?,
        bytes.collect::<Option<_>>()?,
    ))
}

fn address_of(link: &str, address: &str) -> Option<(u32, VirtualAddress)> {
    Some((link.parse().ok()?, VirtualAddress::read(address)?))
}

/// The way to our guardian.
#[derive(Debug)]
pub struct Guardian {
    to: UnixStream,
    child: Child,
    told: Will,
}

impl Guardian {
    /// Starts it: this program once more, with a word instead of a configuration.
    pub fn start() -> io::Result<Guardian> {
        let (to, its) = UnixStream::pair()?;
        // A guardian that does not read must not stop us.
        to.set_nonblocking(true)?;
        let child = Command::new("/proc/self/exe")
            .arg0("mulgil")
            .arg(WORD)
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Guardian {
            to,
            child,
            told: Will::default(),
        })
    }

    /// Tells it what to do if we die, when that has changed.
    pub fn tell(&mut self, will: Will) {
        // What does not go out is told again with the next change.
        if will != self.told && self.to.write_all(will.write().as_bytes()).is_ok() {
            self.told = will;
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.tell(Will::default());
        let _ = self.to.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// The guardian's whole life: reads wills from its standard input until that ends, then carries
/// out the last one.
pub fn guard() {
    // Signals for the process that it guards mean nothing to it: it ends with that one.
    for signal in [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGUSR2,
    ] {
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // Nor is a farewell to wait for its turn.
    crate::running::hurry();
    // What takes time is made before it is needed.
    let netlink = Netlink::open();
    let sockets = [false, true].map(|ipv6| speaker(ipv6).ok());
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    let mut input = io::stdin().lock();
    while let Ok(n) = input.read(&mut chunk)
        && n > 0
    {
        text.extend_from_slice(chunk.get(..n).unwrap_or_default());
        // Only the last will counts; what stands before it is forgotten.
        let ends: Vec<usize> = ends_of(&text);
        if let [.., before, _] = ends.as_slice() {
            text.drain(..*before);
        }
    }
    let will = Will::last(&String::from_utf8_lossy(&text));
    for (link, source, to, bytes) in &will.farewells {
        let [narrow, wide] = &sockets;
        if let Some(socket) = if source.is_ipv6() { wide } else { narrow } {
            let _ = say(socket, *link, *source, *to, bytes);
        }
    }
    if let Ok(mut netlink) = netlink {
        // Routes first: they may be by way of an address.
        for one in &will.marked {
            let _ = netlink.unset(one);
        }
        for (link, address) in &will.addresses {
            let _ = netlink.remove(*link, *address);
        }
        for link in &will.links {
            let _ = netlink.remove_virtual_mac(*link);
        }
    }
}

/// Where wills end in a stream.
fn ends_of(text: &[u8]) -> Vec<usize> {
    let lines = text.windows(3).enumerate();
    let mut ends: Vec<usize> = lines
        .filter(|(_, w)| w == b"\n.\n")
        .map(|(at, _)| at + 3)
        .collect();
    if text.starts_with(b".\n") {
        ends.insert(0, 2);
    }
    ends
}

fn speaker(ipv6: bool) -> io::Result<Socket> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(PROTOCOL))))?;
    socket.set_recv_buffer_size(1)?;
    if ipv6 {
        socket.set_unicast_hops_v6(HOPS.into())?;
        socket.set_multicast_hops_v6(HOPS.into())?;
        socket.set_multicast_loop_v6(false)?;
    } else {
        socket.set_ttl_v4(HOPS.into())?;
        socket.set_multicast_ttl_v4(HOPS.into())?;
        socket.set_multicast_loop_v4(false)?;
    }
    Ok(socket)
}

fn say(socket: &Socket, link: u32, source: IpAddr, to: IpAddr, bytes: &[u8]) -> io::Result<()> {
    let mut from = SocketAddr::new(source, 0);
    let mut to = SocketAddr::new(to, 0);
    for address in [&mut from, &mut to] {
        if let SocketAddr::V6(six) = address {
            six.set_scope_id(link);
        }
    }
    match source {
        IpAddr::V4(ip) => socket.set_multicast_if_v4(&ip)?,
        IpAddr::V6(_) => socket.set_multicast_if_v6(link)?,
    }
    socket.bind(&SockAddr::from(from))?;
    socket.send_to(bytes, &SockAddr::from(to)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn will() -> Will {
        let source = IpAddr::from([10, 0, 0, 1]);
        Will {
            farewells: vec![(3, source, [224, 0, 0, 18].into(), vec![0x31, 51, 0, 255])],
            addresses: vec![(
                3,
                VirtualAddress {
                    ip: "2001:db8::10".parse().expect("an address"),
                    prefix: 64,
                },
            )],
            marked: [
                "route 3 192.0.2.0/25 via 10.0.0.9",
                "rule from 10.0.0.0/8 table 7",
            ]
            .iter()
            .filter_map(|line| Marked::read(line))
            .collect(),
            links: vec![7],
        }
    }

    #[test]
    fn the_last_whole_will_counts() {
        let text = will().write();
        assert_eq!(Will::last(&text), will());
        assert_eq!(Will::last(&format!("{text}.\n")), Will::default());
        for cut in 0..text.len() {
            let stream = format!("{text}{}", &text[..cut]);
            assert_eq!(Will::last(&stream), will(), "{cut}");
        }
        assert_eq!(Will::last("f x\na 1\na 1 1.2.3.4/x\n.\n"), Will::default());
    }

    #[test]
    fn wills_that_are_over_are_found_in_a_stream() {
        let text = will().write();
        let twice = format!(".\n{text}{text}");
        let ends = ends_of(twice.as_bytes());
        assert_eq!(ends, [2, 2 + text.len(), 2 + 2 * text.len()]);
    }
}
