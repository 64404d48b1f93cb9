//! Networks of a test: namespaces joined by cables, each gone with the value that stands for it.

#![allow(dead_code)] // each test file uses its part

use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Whether networks can be made here; says so where not.
pub fn possible() -> bool {
    possible_with(&[])
}

/// The same with more programs than every test takes.
pub fn possible_with(more: &[&str]) -> bool {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|o| o.stdout == b"0\n");
    let all = [&["ip"], more].concat();
    let there = |t: &&str| Command::new(t).arg("--version").output().is_ok();
    let tools = all.iter().all(there);
    if !root || !tools {
        println!("not root, or without one of {all:?}: no packets were sent");
    }
    root && tools
}

/// Some namespaces.
pub struct Net {
    prefix: String,
    hosts: Vec<String>,
    /// Hosts and interfaces that cables end at.
    ends: Mutex<Vec<(String, String)>>,
}

impl Net {
    /// New ones of these names, each with its loopback up.
    pub fn new(hosts: &[&str]) -> Net {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Net {
            prefix: format!("mg{}x{n}", std::process::id()),
            hosts: hosts.iter().map(|h| h.to_string()).collect(),
            ends: Mutex::default(),
        };
        let names = hosts.iter().map(|h| format!("netns add {}\n", net.name(h)));
        batch(&["-batch", "-"], &names.collect::<String>());
        for host in hosts {
            net.configure(host, "lo", Interface::up);
        }
        net
    }

    fn name(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    /// Runs `ip` in a namespace.
    #[track_caller]
    pub fn ip(&self, host: &str, args: &str) {
        run(&format!("ip -n {} {args}", self.name(host)));
    }

    /// Runs `ip` in a namespace once for many lines.
    #[track_caller]
    pub fn ip_lines(&self, host: &str, lines: &str) {
        batch(&["-n", &self.name(host), "-batch", "-"], lines);
    }

    /// Sets something of an interface without a process for it.
    fn configure<T: Send + 'static>(
        &self,
        host: &str,
        interface: &str,
        does: impl FnOnce(&mut Interface) -> T + Send + 'static,
    ) -> T {
        let name = interface.to_string();
        self.within(host, move || does(&mut Interface::of(&name)))
    }

    /// An interface gives and takes tags of VLANs in frames, as on a wire.
    pub fn keep_tags_in_frames(&self, host: &str, interface: &str) {
        self.configure(host, interface, |interface| {
            let now = interface.ethtool(GET_FLAGS, 0);
            interface.ethtool(SET_FLAGS, now & !(TAGS_OUT | TAGS_IN));
        });
    }

    /// The cables that were laid so far leave sums to whoever takes a packet off them, as virtual ones do.
    pub fn loosen(&self) {
        for (host, interface) in self.ends.lock().expect("whole").iter() {
            self.configure(host, interface, |i| i.ethtool(SET_SUMS, 1));
        }
    }

    /// Whether the kernel has interfaces of all these kinds.
    pub fn has_kinds(&self, host: &str, kinds: &[&str]) -> bool {
        kinds.iter().all(|kind| {
            let more = if *kind == "vrf" { " table 99" } else { "" };
            let name = self.name(host);
            let add = format!("-n {name} link add probe type {kind}{more}");
            let made = Command::new("ip").args(add.split(' ')).output();
            let made = made.is_ok_and(|o| o.status.success());
            if made {
                self.ip(host, "link del probe");
            }
            made
        })
    }

    /// Runs a command in a namespace; what it wrote.
    #[track_caller]
    pub fn exec(&self, host: &str, command: &str) -> String {
        run(&format!("ip netns exec {} {command}", self.name(host)))
    }

    /// A cable between two namespaces, given as `host:interface`. Sums are computed by the senders,
    /// as on a real wire, and both ends take frames that are redirected to them.
    pub fn cable(&self, a: &str, b: &str) {
        let end = |text: &str| {
            text.split_once(':')
                .map(|(h, i)| (h.to_string(), i.to_string()))
                .expect("host:interface")
        };
        let ((host_a, a), (host_b, b)) = (end(a), end(b));
        let (ns_a, ns_b) = (self.name(&host_a), self.name(&host_b));
        run(&format!(
            "ip link add name {a} netns {ns_a} type veth peer name {b} netns {ns_b}"
        ));
        for (host, interface) in [(host_a, a), (host_b, b)] {
            self.configure(&host, &interface, |interface| {
                interface.ethtool(SET_SUMS, 0);
                interface.up();
            });
            self.ends.lock().expect("whole").push((host, interface));
        }
    }

    /// A cable whose ends leave sums to whoever takes a packet off it, as virtual ones do.
    pub fn loose_cable(&self, a: &str, b: &str) {
        self.cable(a, b);
        for end in [a, b] {
            let (host, interface) = end.split_once(':').expect("host:interface");
            self.configure(host, interface, |i| i.ethtool(SET_SUMS, 1));
        }
    }

    /// One of the programs for tags, at an interface.
    pub fn classify(&self, host: &str, interface: &str, direction: &str, program: &str) {
        let object = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../crates/packet/bpf/tag.bpf.o"
        );
        if direction == "egress" {
            self.exec(host, &format!("tc qdisc add dev {interface} clsact"));
        }
        self.exec(
            host,
            &format!(
                "tc filter add dev {interface} {direction} bpf da obj {object} sec classifier/{program}"
            ),
        );
    }

    /// A program on a peer of an interface that packets are sent out of by programs.
    pub fn open_for_programs(&self, host: &str, interface: &str) {
        let object = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../crates/packet/bpf/pass.bpf.o"
        );
        self.ip(
            host,
            &format!("link set dev {interface} xdp obj {object} sec xdp"),
        );
    }

    /// Runs something with all its sockets in a namespace.
    pub fn within<T: Send + 'static>(
        &self,
        host: &str,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        lab::net::within(&self.name(host), f)
    }

    /// Starts a program in a namespace.
    pub fn spawn(&self, host: &str, program: &str, args: &[&str], output: File) -> Child {
        let copy = output.try_clone().expect("a descriptor");
        Command::new("ip")
            .args(["netns", "exec", &self.name(host), program])
            .args(args)
            .stdin(Stdio::null())
            .stdout(copy)
            .stderr(output)
            .spawn()
            .expect("it starts")
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in &self.hosts {
            let name = self.name(host);
            if let Ok(Ok(cookie)) = lab::net::try_within(&name, cookie) {
                forget(cookie);
            }
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

/// The number of the namespace that the thread is in, as the names of what mulgil keeps for it have it.
pub fn cookie() -> std::io::Result<u64> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let (mut cookie, mut size) = (0u64, size_of::<u64>() as libc::socklen_t);
    // SAFETY: the pointers are to live values, the size is that of the first. 71 is SO_NETNS_COOKIE.
    let got = unsafe {
        let value = (&raw mut cookie).cast();
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            71,
            value,
            &raw mut size,
        )
    };
    match got {
        0 => Ok(cookie),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Removes what mulgil keeps for a namespace beyond its own life: nobody else gets the number.
fn forget(cookie: u64) {
    for folder in ["/run/mulgil/bpf", "/run/mulgil/lists"] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(&format!("{cookie}-")) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
    for kind in ["server", "settings"] {
        let _ = std::fs::remove_file(format!("/run/mulgil/{kind}-{cookie}"));
    }
}

/// Of <linux/ethtool.h>: `ETHTOOL_STXCSUM`, `ETHTOOL_GFLAGS`, `ETHTOOL_SFLAGS` and its flags `ETH_FLAG_TXVLAN` and
/// `ETH_FLAG_RXVLAN`.
const SET_SUMS: u32 = 0x17;
const GET_FLAGS: u32 = 0x25;
const SET_FLAGS: u32 = 0x26;
const TAGS_OUT: u32 = 1 << 7;
const TAGS_IN: u32 = 1 << 8;
/// Of <linux/sockios.h>.
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// An interface of the namespace that the thread is in.
struct Interface {
    socket: UdpSocket,
    request: libc::ifreq,
}

impl Interface {
    fn of(name: &str) -> Interface {
        // SAFETY: all of its bytes may be zero.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero.
        for (to, from) in request.ifr_name[..15].iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        Interface { socket, request }
    }

    fn ask(&mut self, what: libc::c_ulong) {
        // SAFETY: the request is a live value of the kind that all of these take, and what it points to lives
        // as long as the call.
        let done =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), what as _, &raw mut self.request) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    fn up(&mut self) {
        self.ask(libc::SIOCGIFFLAGS as _);
        // SAFETY: the call before has set the flags.
        unsafe { self.request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
        self.ask(libc::SIOCSIFFLAGS as _);
    }

    /// Gives a command a value; what is there then.
    fn ethtool(&mut self, command: u32, value: u32) -> u32 {
        let mut words = [command, value];
        self.request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        self.ask(SIOCETHTOOL);
        words[1]
    }
}

/// Runs `ip` with lines for it; all of them must succeed.
#[track_caller]
fn batch(args: &[&str], lines: &str) {
    let mut child = Command::new("ip")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(lines.as_bytes()).expect("it reads");
    drop(stdin);
    let out = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{lines}: {said}");
}

/// Runs a command; what it wrote. It must succeed.
#[track_caller]
pub fn run(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let out = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(out.status.success(), "{command}: {text}");
    text
}

/// Waits until something is so.
#[track_caller]
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
