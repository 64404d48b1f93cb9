//! Where a program belongs on an interface: in the driver, where every sum and tag is in the frame, or
//! behind it, where the kernel says what is not there yet.

use crate::attach::Way;
use crate::netlink::Link;
use model::PacketAttach;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What the packets of an interface need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// It is a port of a bridge.
    pub bridge: bool,
    /// Tags are read and written there.
    pub tags: bool,
}

/// Whether no wire ends at this interface, one of these. A bond hands on what its members do.
pub fn is_software<'l>(link: &Link, links: impl IntoIterator<Item = &'l Link>) -> bool {
    if link.kind != "bond" {
        return !link.kind.is_empty();
    }
    let mut members = links.into_iter().filter(|l| l.master == Some(link.index));
    members.any(|l| !l.kind.is_empty())
}

/// Ways to attach to an interface, one of these, the best first, and why they are not all there are.
///
/// Interfaces that are software hand frames on whose sums nobody has computed,
/// because they never met a wire; a driver may keep tags beside frames; and only behind the driver can a
/// frame go to the kernel's protocols and to another port too. There programs see all of that.
pub fn ways<'l>(
    link: &Link,
    links: impl IntoIterator<Item = &'l Link>,
    needs: Needs,
    wish: PacketAttach,
    keeps_tags: bool,
) -> (Vec<Way>, &'static str) {
    let behind = || match wish {
        PacketAttach::Clsact => vec![Way::Clsact],
        PacketAttach::Tcx => vec![Way::Tcx],
        PacketAttach::Auto | PacketAttach::Xdp => vec![Way::Tcx, Way::Clsact],
    };
    if needs.bridge {
        return (behind(), "a port of a bridge");
    }
    match wish {
        PacketAttach::Xdp => (vec![Way::Driver], "as tune.packet.attach says"),
        PacketAttach::Tcx | PacketAttach::Clsact => (behind(), "as tune.packet.attach says"),
        PacketAttach::Auto if is_software(link, links) => {
            (behind(), "not hardware: sums may be pending")
        }
        PacketAttach::Auto if needs.tags && keeps_tags => {
            (behind(), "its driver takes tags off (ethtool rxvlan)")
        }
        PacketAttach::Auto => (vec![Way::Driver, Way::Tcx, Way::Clsact], ""),
    }
}

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETH_FLAG_TXVLAN: u32 = 1 << 7;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
const ETH_FLAG_LRO: u32 = 1 << 15;

/// What an interface does to frames that programs in its driver do not see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Takes VLAN tags off (`ethtool -k`: rx-vlan-offload).
    pub takes_tags: bool,
    /// Puts them on as a frame leaves (tx-vlan-offload).
    pub puts_tags: bool,
    /// Joins segments in hardware (large-receive-offload).
    pub joins: bool,
    /// Joins segments in the kernel (generic-receive-offload).
    pub joins_later: bool,
    /// Computes sums as a frame leaves (tx-checksumming).
    pub sums: bool,
}

impl Offloads {
    /// Those of an interface; none where it cannot be asked.
    pub fn of(name: &str) -> Offloads {
        let flags = ask(name, ETHTOOL_GFLAGS).unwrap_or(0);
        let on = |command| ask(name, command).is_some_and(|v| v != 0);
        Offloads {
            takes_tags: flags & ETH_FLAG_RXVLAN != 0,
            puts_tags: flags & ETH_FLAG_TXVLAN != 0,
            joins: flags & ETH_FLAG_LRO != 0,
            joins_later: on(ETHTOOL_GGRO),
            sums: on(ETHTOOL_GTXCSUM),
        }
    }
}

impl std::fmt::Display for Offloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = |on| if on { "on" } else { "off" };
        write!(
            f,
            "rxvlan {}, txvlan {}, lro {}, gro {}, tx {}",
            word(self.takes_tags),
            word(self.puts_tags),
            word(self.joins),
            word(self.joins_later),
            word(self.sums)
        )
    }
}

/// The value that a driver gives for one of its settings.
fn ask(name: &str, command: u32) -> Option<u32> {
    let mut value = [command, 0];
    // SAFETY: plain calls; the request is zeroed, names the interface within its NUL-terminated field, and
    // its pointer is to a value of the two words that these commands read and write.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return None;
        }
        let fd = OwnedFd::from_raw_fd(fd);
        let mut request: libc::ifreq = std::mem::zeroed();
        let room = request.ifr_name.len() - 1;
        for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        let asked = libc::ioctl(fd.as_raw_fd(), SIOCETHTOOL as _, &raw mut request);
        (asked == 0).then_some(value[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(kind: &str) -> Link {
        Link {
            index: 2,
            name: "eth0".into(),
            mac: [2; 6],
            mtu: 1500,
            master: None,
            kind: kind.into(),
            usable: true,
            carrier: true,
            vlan: None,
            xdp: 0,
        }
    }

    #[test]
    fn hardware_is_served_in_its_driver_and_software_behind_it() {
        let none = Needs::default();
        let tags = Needs { tags: true, ..none };
        let bridge = Needs {
            bridge: true,
            ..none
        };
        let first = |kind, needs, wish, keeps| ways(&link(kind), [], needs, wish, keeps).0[0];
        let auto = PacketAttach::Auto;
        assert_eq!(first("", none, auto, true), Way::Driver);
        assert_eq!(first("bond", none, auto, false), Way::Driver);
        assert_eq!(first("", tags, auto, false), Way::Driver);
        assert_eq!(first("", tags, auto, true), Way::Tcx);
        for kind in ["veth", "tun", "macvlan", "vlan", "vxlan", "bridge"] {
            assert_eq!(first(kind, none, auto, false), Way::Tcx, "{kind}");
        }
        assert_eq!(first("veth", none, PacketAttach::Xdp, false), Way::Driver);
        let bond = |kind| {
            let members = ["", kind].map(|kind| Link {
                index: 3,
                master: Some(2),
                ..link(kind)
            });
            ways(&link("bond"), &members, none, auto, false).0[0]
        };
        assert_eq!([bond(""), bond("veth")], [Way::Driver, Way::Tcx]);
        assert_eq!(first("", bridge, PacketAttach::Xdp, false), Way::Tcx);
        assert_eq!(first("", bridge, PacketAttach::Clsact, false), Way::Clsact);
    }
}
