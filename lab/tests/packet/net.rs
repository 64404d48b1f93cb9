//! Networks of a test: namespaces joined by cables, each gone with the value that stands for it.

#![allow(dead_code)] // each test file uses its part

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
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
    let all = [&["ip", "ethtool"], more].concat();
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
}

impl Net {
    /// New ones of these names, each with its loopback up.
    pub fn new(hosts: &[&str]) -> Net {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Net {
            prefix: format!("mg{}x{n}", std::process::id()),
            hosts: hosts.iter().map(|h| h.to_string()).collect(),
        };
        for host in hosts {
            run(&format!("ip netns add {}", net.name(host)));
            net.ip(host, "link set lo up");
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
            self.exec(&host, &format!("ethtool -K {interface} tx off"));
            self.ip(&host, &format!("link set dev {interface} up"));
        }
    }

    /// A cable whose ends leave sums to whoever takes a packet off it, as virtual ones do.
    pub fn loose_cable(&self, a: &str, b: &str) {
        self.cable(a, b);
        for end in [a, b] {
            let (host, interface) = end.split_once(':').expect("host:interface");
            self.exec(host, &format!("ethtool -K {interface} tx on"));
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
