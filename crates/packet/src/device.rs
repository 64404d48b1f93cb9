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

/// Ways to attach to an interface, the best first, and why they are not all there are.
///
/// Interfaces that are software (`kind` is not empty) hand frames on whose sums nobody has computed,
/// because they never met a wire; a driver may keep tags beside frames; and only behind the driver can a
/// frame go to the kernel's protocols and to another port too. There programs see all of that.
pub fn ways(
    link: &Link,
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
        // A bond hands on what its members' drivers do.
        PacketAttach::Auto if !link.kind.is_empty() && link.kind != "bond" => {
            (behind(), "not hardware: sums may be pending")
        }
        PacketAttach::Auto if needs.tags && keeps_tags => {
            (behind(), "its driver takes tags off (ethtool rxvlan)")
        }
        PacketAttach::Auto => (vec![Way::Driver, Way::Tcx, Way::Clsact], ""),
    }
}

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

/// Whether a driver takes VLAN tags off frames before programs in it see them (`ethtool -k`:
/// rx-vlan-offload). Where that cannot be asked, it does not.
pub fn keeps_tags(name: &str) -> bool {
    let mut value = [ETHTOOL_GFLAGS, 0];
    // SAFETY: plain calls; the request is zeroed, names the interface within its NUL-terminated field, and
    // its pointer is to a value of the two words that this command reads and writes.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return false;
        }
        let fd = OwnedFd::from_raw_fd(fd);
        let mut request: libc::ifreq = std::mem::zeroed();
        let room = request.ifr_name.len() - 1;
        for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        libc::ioctl(fd.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) == 0
            && value[1] & ETH_FLAG_RXVLAN != 0
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
        let first = |kind, needs, wish, keeps| ways(&link(kind), needs, wish, keeps).0[0];
        let auto = PacketAttach::Auto;
        assert_eq!(first("", none, auto, true), Way::Driver);
        assert_eq!(first("bond", none, auto, false), Way::Driver);
        assert_eq!(first("", tags, auto, false), Way::Driver);
        assert_eq!(first("", tags, auto, true), Way::Tcx);
        for kind in ["veth", "tun", "macvlan", "vlan", "vxlan", "bridge"] {
            assert_eq!(first(kind, none, auto, false), Way::Tcx, "{kind}");
        }
        assert_eq!(first("veth", none, PacketAttach::Xdp, false), Way::Driver);
        assert_eq!(first("", bridge, PacketAttach::Xdp, false), Way::Tcx);
        assert_eq!(first("", bridge, PacketAttach::Clsact, false), Way::Clsact);
    }
}
