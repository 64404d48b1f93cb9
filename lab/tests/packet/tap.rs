//! Interfaces whose frames the test itself sends and takes, byte for byte.

use crate::net::Net;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// The cable of an interface of a host; gone with the value.
pub struct Tap(File);

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

impl Tap {
    /// A new interface of this name on a host, up, with this address on the link.
    pub fn new(net: &Net, host: &str, name: &'static str, mac: &str) -> Tap {
        let file = net.within(host, move || {
            // SAFETY: plain calls; the request is zeroed and its name is NUL-terminated, and the new
            // descriptor belongs to nobody else.
            unsafe {
                let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK;
                let fd = libc::open(c"/dev/net/tun".as_ptr(), flags);
                assert!(fd >= 0, "/dev/net/tun: {}", std::io::Error::last_os_error());
                let fd = OwnedFd::from_raw_fd(fd);
                let mut request: libc::ifreq = std::mem::zeroed();
                for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
                    *to = from as libc::c_char;
                }
                request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
                let made = libc::ioctl(fd.as_raw_fd(), TUNSETIFF as _, &raw mut request);
                assert_eq!(made, 0, "{name}: {}", std::io::Error::last_os_error());
                File::from(fd)
            }
        });
        net.exec(
            host,
            &format!("sysctl -qw net.ipv6.conf.{name}.accept_dad=0"),
        );
        net.exec(
            host,
            &format!("sysctl -qw net.ipv6.conf.{name}.router_solicitations=0"),
        );
        net.ip(host, &format!("link set dev {name} address {mac} up"));
        Tap(file)
    }

    /// A frame comes in.
    pub fn send(&self, frame: &[u8]) {
        (&self.0).write_all(frame).expect("a frame");
    }

    /// The next frame that goes out, or `None` when none does for a while.
    fn next(&self, end: Instant) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        loop {
            match (&self.0).read(&mut buffer) {
                Ok(n) => {
                    buffer.truncate(n);
                    return Some(buffer);
                }
                Err(_) if Instant::now() >= end => return None,
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// The next frame that goes out of those that this is about.
    pub fn wanted(&self, mut about: impl FnMut(&[u8]) -> bool) -> Option<Vec<u8>> {
        let end = Instant::now() + Duration::from_secs(5);
        std::iter::from_fn(|| self.next(end)).find(|f| about(f))
    }

    /// Exactly this frame goes out.
    #[track_caller]
    pub fn gives(&self, frame: &[u8], what: &str) {
        let show = |f: &[u8]| f.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let mut met = Vec::new();
        let found = self.wanted(|f| {
            met.push(show(f));
            f == frame
        });
        let wanted = show(frame);
        assert!(found.is_some(), "{what}: not {wanted}, but {met:#?}");
    }

    /// Whether one of those that this is about goes out, of all that have been sent by now.
    pub fn comes(&self, about: impl Fn(&[u8]) -> bool) -> bool {
        let end = Instant::now() + Duration::from_millis(300);
        std::iter::from_fn(|| self.next(end)).any(|f| about(&f))
    }

    /// None of those goes out.
    #[track_caller]
    pub fn keeps(&self, about: impl Fn(&[u8]) -> bool, what: &str) {
        assert!(!self.comes(about), "{what}");
    }
}

/// A frame that a host itself sends at an interface.
pub fn says(net: &Net, host: &str, interface: &'static std::ffi::CStr, frame: Vec<u8>) {
    net.within(host, move || {
        // SAFETY: plain calls with live values; the descriptor is new and ours.
        let sent = unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            let socket = OwnedFd::from_raw_fd(fd);
            let mut at: libc::sockaddr_ll = std::mem::zeroed();
            at.sll_family = libc::AF_PACKET as u16;
            at.sll_ifindex = libc::if_nametoindex(interface.as_ptr()) as i32;
            libc::sendto(
                socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const at).cast(),
                size_of_val(&at) as u32,
            )
        };
        assert!(sent > 0, "{}", std::io::Error::last_os_error());
    });
}
