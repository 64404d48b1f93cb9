//! Handing a virtual router over to another process of this machine, without a farewell and
//! without touching its addresses: `-sf` and `-st` replace a process that serves.
//!
//! Whoever runs a virtual router listens on an abstract UNIX socket named after it; such names
//! belong to the network namespace, as the router does. Connecting asks for it. The answer is the
//! state and the addresses that were added; whoever has answered forgets the virtual router.

use crate::routes::Marked;
use model::{VirtualAddress, Vrrp};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

/// How long the other process may take to answer; one that is stopped never does.
const PATIENCE: Duration = Duration::from_millis(500);

const PREFIX: &str = "mulgil-vrrp/";

/// Where another process may ask for a virtual router.
#[derive(Debug)]
pub struct Door(UnixListener);

/// What another process has handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inheritance {
    /// Whether it was active.
    pub active: bool,
    /// The addresses that it had added.
    pub added: Vec<VirtualAddress>,
    /// The routes and rules that it had set.
    pub marked: Vec<Marked>,
}

fn text(vrrp: &Vrrp) -> String {
    let family = if vrrp.is_ipv6() { 6 } else { 4 };
    format!("{PREFIX}{}/{}/{family}", vrrp.interface, vrrp.vrid)
}

fn name(vrrp: &Vrrp) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(text(vrrp))
}

/// Whether any process of this network namespace runs a virtual router that is none of `own`, whose
/// doors the caller has. Where that cannot be known there may be one.
pub fn others(own: &[Arc<Vrrp>]) -> bool {
    let own: Vec<String> = own.iter().map(|v| text(v)).collect();
    std::fs::read_to_string("/proc/thread-self/net/unix").map_or(true, |all| has_others(&all, &own))
}

/// Whether a list of sockets has a door that is none of `own`.
fn has_others(sockets: &str, own: &[String]) -> bool {
    // Abstract names are shown with an '@' before them, at the end of the line.
    let mut doors = sockets.lines().filter_map(|line| {
        let at = line.find(&format!("@{PREFIX}"))?;
        line.get(at + 1..)
    });
    doors.any(|door| !own.iter().any(|o| o == door))
}

/// Whether a process of this network namespace runs this virtual router.
pub fn is_open(vrrp: &Vrrp) -> bool {
    let sockets = std::fs::read_to_string("/proc/thread-self/net/unix").unwrap_or_default();
    let wanted = format!("@{}", text(vrrp));
    sockets.lines().any(|l| l.ends_with(&wanted))
}

impl Door {
    /// Opens it; fails while another process has it.
    pub fn open(vrrp: &Vrrp) -> io::Result<Door> {
        let listener = UnixListener::bind_addr(&name(vrrp)?)?;
        listener.set_nonblocking(true)?;
        Ok(Door(listener))
    }

    /// Readable when somebody asks.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Who asks now, if that is root or our own user.
    pub fn asked(&self) -> Option<UnixStream> {
        let (stream, _) = self.0.accept().ok()?;
        // SAFETY: plain call.
        let own = unsafe { libc::geteuid() };
        let user = user_of(&stream)?;
        (user == 0 || user == own).then_some(stream)
    }
}

fn user_of(stream: &UnixStream) -> Option<u32> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of_val(&peer) as u32;
    // SAFETY: pointer and length describe `peer`.
    let got = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    (got == 0).then_some(peer.uid)
}

impl Inheritance {
    /// Asks whoever runs a virtual router now for it; `None` when nobody does, or answers.
    pub fn ask(vrrp: &Vrrp) -> Option<Inheritance> {
        let mut stream = UnixStream::connect_addr(&name(vrrp).ok()?).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Inheritance::read(&text)
    }

    /// Hands it over; whether it went out.
    pub fn give(&self, mut stream: UnixStream) -> bool {
        stream.write_all(self.write().as_bytes()).is_ok()
    }

    /// The state and the addresses in the first line, then a line for each route and rule.
    fn write(&self) -> String {
        let state = if self.active { "active" } else { "backup" };
        let addresses: String = self.added.iter().map(|a| format!(" {a}")).collect();
        let marked: String = self.marked.iter().map(|m| m.line() + "\n").collect();
        format!("{state}{addresses}\n{marked}")
    }

    fn read(text: &str) -> Option<Inheritance> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let mut words = lines.next()?.split(' ');
        let active = match words.next()? {
            "active" => true,
            "backup" => false,
            _ => return None,
        };
        Some(Inheritance {
            active,
            added: words.map(VirtualAddress::read).collect::<Option<_>>()?,
            marked: lines.map(Marked::read).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_of_our_own_is_nobody_elses() {
        let sockets = |names: &[&str]| {
            let lines = names.iter().map(|n| {
                format!("0000000000000000: 00000002 00000000 00010000 0001 01 4711 {n}\n")
            });
            String::from("Num       RefCount Protocol Flags    Type St Inode Path\n")
                + &lines.collect::<String>()
        };
        let own = ["mulgil-vrrp/eth0/51/4".to_string()];
        let (first, second) = ("@mulgil-vrrp/eth0/51/4", "@mulgil-vrrp/eth0/5/4");
        assert!(!has_others(&sockets(&["/run/x.sock", "@other"]), &[]));
        assert!(has_others(&sockets(&[first]), &[]));
        assert!(!has_others(&sockets(&["/run/x.sock", first, first]), &own));
        assert!(has_others(&sockets(&[first, second]), &own));
    }

    #[test]
    fn what_is_handed_over_is_read_as_it_was_written() {
        for (active, addresses, marked) in [
            (
                true,
                vec!["203.0.113.10/24", "2001:db8::10/64"],
                vec!["route 3 192.0.2.0/25", "rule from 10.0.0.0/8 table 7"],
            ),
            (false, Vec::new(), Vec::new()),
        ] {
            let given = Inheritance {
                active,
                added: addresses
                    .into_iter()
                    .filter_map(VirtualAddress::read)
                    .collect(),
                marked: marked.into_iter().filter_map(Marked::read).collect(),
            };
            assert_eq!(
                given.added.len() + given.marked.len(),
                if active { 4 } else { 0 }
            );
            assert_eq!(Inheritance::read(&given.write()), Some(given));
        }
        for odd in [
            "",
            "active",
            "active x\n",
            "active 1.2.3.4\n",
            "master\n",
            "active\nrout\n",
        ] {
            assert_eq!(Inheritance::read(odd), None, "{odd}");
        }
    }
}
