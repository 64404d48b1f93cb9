//! Adverts and frames made by hand.

use lab::net::{Net, within};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// An advertisement of virtual router 51 over IPv4, right or wrong in any place.
#[derive(Clone, Debug)]
pub struct Advert {
    pub ttl: u8,
    pub from: [u8; 4],
    pub to: [u8; 4],
    pub version: u8,
    pub kind: u8,
    pub priority: u8,
    pub address: [u8; 4],
    /// Hundredths of a second in version 3, seconds in version 2.
    pub interval: u8,
    pub authentication: u8,
    /// Bytes left out at the end.
    pub cut: usize,
    /// Added to the checksum.
    pub spoil: u8,
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|p| u32::from(p[0]) << 8 | u32::from(*p.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Advert {
    /// One that is right, of a router better than any in these tests.
    pub fn new() -> Advert {
        Advert {
            ttl: 255,
            from: [203, 0, 113, 77],
            to: [224, 0, 0, 18],
            version: 3,
            kind: 1,
            priority: 250,
            address: [203, 0, 113, 10],
            interval: 10,
            authentication: 0,
            cut: 0,
            spoil: 0,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut said = vec![self.version << 4 | self.kind, 51, self.priority, 1];
        match self.version {
            2 => said.extend([self.authentication, self.interval]),
            _ => said.extend([0, self.interval]),
        }
        said.extend([0, 0]);
        said.extend(self.address);
        let mut summed = Vec::new();
        if self.version == 2 {
            said.extend([0; 8]);
        } else {
            summed.extend(self.from);
            summed.extend(self.to);
            summed.extend([0, 112, 0, said.len() as u8]);
        }
        summed.extend(&said);
        let [high, low] = sum(&summed).to_be_bytes();
        (said[6], said[7]) = (high, low.wrapping_add(self.spoil));
        said.truncate(said.len() - self.cut);
        let length = (20 + said.len()) as u16;
        let mut packet = vec![0x45, 0xc0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0, 0, self.ttl, 112, 0, 0]);
        packet.extend(self.from);
        packet.extend(self.to);
        let header = sum(&packet).to_be_bytes();
        packet[10..12].copy_from_slice(&header);
        packet.extend(said);
        packet
    }

    /// Sends it as a whole frame from an interface of a namespace.
    pub fn send(&self, namespace: &str, interface: &'static str) {
        let mut frame = match self.to[0] {
            224 => vec![1, 0, 0x5e, 0, 0, 18],
            // Whoever listens takes what goes to all.
            _ => vec![0xff; 6],
        };
        frame.extend([2, 0, 0, 0, 0, 77, 8, 0]);
        frame.extend(self.bytes());
        within(namespace, move || {
            let socket = packet_socket(interface);
            // SAFETY: pointer and length describe a live value.
            let sent =
                unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            assert!(sent > 0, "{}", std::io::Error::last_os_error());
        });
    }
}

/// A socket for whole frames on an interface of the thread's namespace.
fn packet_socket(interface: &str) -> OwnedFd {
    let name = std::ffi::CString::new(interface).expect("no zero");
    let all = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: plain calls with live values; the descriptor is new and ours.
    unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        let socket = OwnedFd::from_raw_fd(fd);
        let mut at: libc::sockaddr_ll = std::mem::zeroed();
        at.sll_family = libc::AF_PACKET as u16;
        at.sll_protocol = all;
        at.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
        let bound = libc::bind(
            fd,
            (&raw const at).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        );
        assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
        let on: libc::c_int = 1;
        // Its own frames are not told to it (packet(7)).
        libc::setsockopt(
            fd,
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            (&raw const on).cast(),
            size_of_val(&on) as u32,
        );
        socket
    }
}

/// An address, and the hardware address that somebody says it has.
type Claim = (IpAddr, [u8; 6]);

/// Who says on the link that it has an address: the hardware addresses of those who announced it, in
/// the order of the announcements (gratuitous ARP; unsolicited neighbour advertisements).
pub struct Announcements {
    enough: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<Claim>>>,
    thread: Option<JoinHandle<()>>,
}

impl Announcements {
    /// Listens where a namespace's interface is.
    pub fn listen(namespace: &str, interface: &'static str) -> Announcements {
        let socket = within(namespace, move || packet_socket(interface));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let enough = Arc::new(AtomicBool::new(false));
        let (over, all) = (Arc::clone(&enough), Arc::clone(&heard));
        let thread = std::thread::spawn(move || {
            while !over.load(Relaxed) {
                let mut polled = libc::pollfd {
                    fd: socket.as_raw_fd(),
                    events: libc::POLLIN,
                    revents: 0,
                };
                // SAFETY: one live value.
                if unsafe { libc::poll(&raw mut polled, 1, 50) } < 1 {
                    continue;
                }
                let mut frame = [0; 2048];
                // SAFETY: pointer and length describe a live value.
                let n = unsafe { libc::recv(polled.fd, frame.as_mut_ptr().cast(), frame.len(), 0) };
                let frame = &frame[..usize::try_from(n).unwrap_or(0)];
                if let Some(one) = announced(frame) {
                    all.lock().expect("no panic").push(one);
                }
            }
        });
        Announcements {
            enough,
            heard,
            thread: Some(thread),
        }
    }

    /// How often a router has announced an address.
    pub fn count(&self, address: &str, mac: [u8; 6]) -> usize {
        let address: IpAddr = address.parse().expect("an address");
        let heard = self.heard.lock().expect("no panic");
        heard.iter().filter(|one| **one == (address, mac)).count()
    }
}

impl Drop for Announcements {
    fn drop(&mut self) {
        self.enough.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The address that a frame announces, and the hardware address that it names.
fn announced(frame: &[u8]) -> Option<Claim> {
    match frame.get(12..14)? {
        // ARP (RFC 826; gratuitous: RFC 5227 section 3): the sender asks all for itself. The reply
        // that follows is the same announcement.
        [8, 6] => {
            let (mac, own) = (frame.get(22..28)?, frame.get(28..32)?);
            let asks = frame.get(20..22)? == [0, 1];
            let whole = asks && frame.get(..6)? == [0xff; 6] && own == frame.get(38..42)?;
            let own: [u8; 4] = own.try_into().ok()?;
            whole.then_some((IpAddr::from(own), mac.try_into().ok()?))
        }
        // A neighbour advertisement to all nodes (RFC 4861 section 7.2.6): not solicited, it
        // overrides, and the target's hardware address is its option.
        [0x86, 0xdd] => {
            let packet = frame.get(14..)?;
            let all: std::net::Ipv6Addr = "ff02::1".parse().ok()?;
            let message = packet.get(40..)?;
            let right = packet.get(6..8)? == [58, 255]
                && packet.get(24..40)? == all.octets()
                && message.first() == Some(&136)
                && message.get(4)? & 0x60 == 0x20
                && message.get(24..26)? == [2, 1];
            let target: [u8; 16] = message.get(8..24)?.try_into().ok()?;
            right.then_some((IpAddr::from(target), message.get(26..32)?.try_into().ok()?))
        }
        _ => None,
    }
}

/// Stands between a router and the switch: each frame goes on twice, and each two of them turned.
pub struct Relay {
    enough: Arc<AtomicBool>,
    passed: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Takes a port off its bridge and puts itself between.
    pub fn between(net: &Net, port: &'static str, bridge: &str) -> Relay {
        let client = net.client();
        net.ip(&client, &format!("link set {port} nomaster"));
        net.ip(&client, "link add relay0 type veth peer name relay1");
        net.ip(&client, &format!("link set relay0 master {bridge} up"));
        net.ip(&client, "link set relay1 up");
        let ends = within(&client, move || {
            [packet_socket(port), packet_socket("relay1")]
        });
        let enough = Arc::new(AtomicBool::new(false));
        let passed = Arc::new(AtomicUsize::new(0));
        let (over, counted) = (Arc::clone(&enough), Arc::clone(&passed));
        let thread = std::thread::spawn(move || {
            // A network does not wait for a processor.
            let first = libc::sched_param { sched_priority: 1 };
            // SAFETY: a plain call for this thread, with a live value.
            unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const first) };
            let mut held: [Option<Vec<u8>>; 2] = [None, None];
            while !over.load(Relaxed) {
                let mut polled = [0, 1].map(|at: usize| libc::pollfd {
                    fd: ends[at].as_raw_fd(),
                    events: libc::POLLIN,
                    revents: 0,
                });
                // SAFETY: the array is live, and the count is the array's.
                unsafe { libc::poll(polled.as_mut_ptr(), 2, 50) };
                for at in [0, 1] {
                    if polled[at].revents & libc::POLLIN == 0 {
                        continue;
                    }
                    let mut frame = vec![0; 4096];
                    // SAFETY: pointers and lengths describe live values.
                    let n = unsafe {
                        libc::recv(
                            ends[at].as_raw_fd(),
                            frame.as_mut_ptr().cast(),
                            frame.len(),
                            0,
                        )
                    };
                    frame.truncate(usize::try_from(n).unwrap_or(0));
                    counted.fetch_add(1, Relaxed);
                    let Some(before) = held[at].take() else {
                        held[at] = Some(frame);
                        continue;
                    };
                    for frame in [&frame, &frame, &before, &before] {
                        let to = ends[1 - at].as_raw_fd();
                        // SAFETY: as above.
                        unsafe { libc::send(to, frame.as_ptr().cast(), frame.len(), 0) };
                    }
                }
            }
        });
        Relay {
            enough,
            passed,
            thread: Some(thread),
        }
    }

    /// Frames that came so far.
    pub fn count(&self) -> usize {
        self.passed.load(Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.enough.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
