//! A pair of packet balancers that share an address and their sessions: whatever becomes of the
//! active one, long downloads go on.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/net.rs"]
mod net;

use balancer::{Balancer, detach, mulgil};
use lab::Folder;
use net::{Net, possible, wait_until};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

const VIP: &str = "203.0.113.10";
const SECOND: &str = "2001:db8::11";

/// Where services are that forward by NAT, by NAT of both ends, directly, and by a tunnel.
const WAYS: [&str; 4] = [
    "203.0.113.10:80",
    "203.0.113.10:81",
    "203.0.113.10:82",
    "203.0.113.10:83",
];

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn byte(at: usize) -> u8 {
    (at * 31 + at / 251) as u8
}

/// A server that sends to each client for as long as it listens.
fn stream_forever(at: SocketAddr) {
    let listener = TcpListener::bind(at).expect("binds");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut sent = 0;
                loop {
                    let piece: Vec<u8> = (sent..sent + 4000).map(byte).collect();
                    if stream.write_all(&piece).is_err() {
                        return;
                    }
                    sent += piece.len();
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
    });
}

/// A download that is going on.
struct Download {
    to: &'static str,
    got: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
    stream: TcpStream,
    thread: JoinHandle<Result<(), String>>,
}

impl Download {
    fn start(net: &Net, to: &'static str) -> Download {
        let got = Arc::new(AtomicUsize::new(0));
        let enough = Arc::new(AtomicBool::new(false));
        let (counted, over) = (Arc::clone(&got), Arc::clone(&enough));
        let stream = net.within("c", move || {
            TcpStream::connect_timeout(&at(to), Duration::from_secs(5))
        });
        let mut stream = stream.unwrap_or_else(|e| panic!("{to}: {e}"));
        let wait = Some(Duration::from_secs(15));
        stream.set_read_timeout(wait).expect("a timeout");
        let copy = stream.try_clone().expect("a descriptor");
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 16 << 10];
            let mut at = 0;
            while !over.load(Relaxed) {
                let n = stream.read(&mut buffer).map_err(|e| e.to_string())?;
                if n == 0 {
                    return Err("it ended".into());
                }
                let right = buffer[..n]
                    .iter()
                    .enumerate()
                    .all(|(i, b)| *b == byte(at + i));
                if !right {
                    return Err(format!("a wrong byte after {at}"));
                }
                at += n;
                counted.store(at, Relaxed);
            }
            Ok(())
        });
        Download {
            to,
            got,
            enough,
            stream: copy,
            thread,
        }
    }

    /// Waits until so many more bytes have come.
    fn goes_on(&self, about: &dyn Fn() -> String) {
        let before = self.got.load(Relaxed);
        let end = std::time::Instant::now() + Duration::from_secs(15);
        while self.got.load(Relaxed) < before + 100_000 {
            assert!(
                std::time::Instant::now() < end && !self.thread.is_finished(),
                "{} does not go on after {before} bytes\n{}",
                self.to,
                about()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(self) {
        self.enough.store(true, Relaxed);
        let result = self.thread.join().expect("no panic");
        assert_eq!(result, Ok(()), "{}", self.to);
    }
}

/// A client and two balancers on one switch with a server that answers past them; behind the
/// balancers, on another switch, a server whose gateway they are; a cable between the two.
fn network() -> Net {
    let net = Net::new(&["c", "w", "l1", "l2", "s1", "s2"]);
    for switch in ["front", "inner"] {
        net.ip(
            "w",
            &format!("link add name {switch} type bridge mcast_snooping 0"),
        );
        net.ip("w", &format!("link set {switch} up"));
    }
    let ports = [
        ("front", "f0", "c", "e0", "203.0.113.100/24"),
        ("front", "f1", "l1", "e0", "203.0.113.1/24"),
        ("front", "f2", "l2", "e0", "203.0.113.2/24"),
        ("front", "f3", "s2", "e0", "203.0.113.31/24"),
        ("inner", "i1", "l1", "e1", "10.0.0.21/24"),
        ("inner", "i2", "l2", "e1", "10.0.0.22/24"),
        ("inner", "i3", "s1", "e0", "10.0.0.11/24"),
    ];
    for (switch, port, host, interface, address) in ports {
        net.cable(&format!("w:{port}"), &format!("{host}:{interface}"));
        net.ip("w", &format!("link set {port} master {switch}"));
        net.ip(host, &format!("addr add {address} dev {interface}"));
        if host.starts_with('l') {
            net.open_for_programs("w", port);
        }
    }
    net.cable("l1:e2", "l2:e2");
    for n in 1..=2 {
        let host = format!("l{n}");
        net.ip(&host, &format!("addr add 10.9.0.{n}/24 dev e2"));
        net.exec(&host, "sysctl -qw net.ipv4.ip_forward=1");
    }
    net.ip("s1", "route add default via 10.0.0.1");
    mulgil(&net, "s2", &format!("server-setup tunnel --vip {VIP}"));
    net.within("s1", || {
        stream_forever(at("10.0.0.11:8080"));
    });
    net.within("s2", || {
        for port in [82, 83] {
            stream_forever(at(&format!("{VIP}:{port}")));
        }
    });
    net
}

/// Both balancers and what they share.
struct Pair {
    net: Net,
    keys: Folder,
}

impl Pair {
    fn new() -> Pair {
        Pair {
            net: network(),
            keys: Folder::new(),
        }
    }

    /// The configuration of one of them, with its own key and more lines of the section.
    fn config(&self, n: u8, key: &str, more: &str) -> String {
        let key = self.keys.file(&format!("key{n}"), key.as_bytes());
        let (priority, other) = (250 - n, 3 - n);
        let services = [
            ("nat", 80, "nat", "10.0.0.11:8080"),
            (
                "source",
                81,
                "nat source 10.0.0.200-10.0.0.201",
                "10.0.0.11:8080",
            ),
            ("direct", 82, "dsr", "203.0.113.31"),
            ("tunnelled", 83, "tunnel ipip", "203.0.113.31"),
        ];
        let services = services.map(|(name, port, forward, server)| {
            format!(
                "listen {name}\n    mode packet\n    bind {VIP}:{port}\n    forward {forward}\n    server one {server}\n"
            )
        });
        let datagrams = [
            ("nat", 53, "10.0.0.11"),
            ("nat source 10.0.0.202-10.0.0.203", 54, "10.0.0.11"),
            ("dsr", 55, "203.0.113.31"),
            ("tunnel ipip", 56, "203.0.113.31"),
        ];
        let datagrams = datagrams.map(|(forward, port, server)| {
            format!(
                "listen datagrams{port}\n    mode packet\n    bind {VIP}:{port} proto udp\n    forward {forward}\n    server one {server}\n"
            )
        });
        let datagrams = datagrams.concat();
        // The same servers in another order: places in tables are not the same on both.
        let mut services = services.to_vec();
        if n == 2 {
            services.reverse();
        }
        let services = services.concat();
        format!(
            "defaults
    timeout client 900s
    timeout server 900s
    timeout connect 2s
listen proxied
    mode tcp
    bind {VIP}:90
    server one 10.0.0.11:8080
{services}
{datagrams}
vrrp public
    interface e0
    virtual-router-id 51
    priority {priority}
    advertise-interval 250ms
    address {VIP}/24
    group edge
    peer 10.9.0.{other}
    peer-key {key}
    sync sessions
{more}
vrrp inside
    interface e1
    virtual-router-id 52
    priority {priority}
    advertise-interval 250ms
    address 10.0.0.1/24
    address 10.0.0.200/24
    address 10.0.0.201/24
    address 10.0.0.202/24
    address 10.0.0.203/24
    group edge
"
        )
    }

    /// Both machines at work: an address each, one of either family, crossed in their priorities.
    fn crossed(&self, n: u8) -> Balancer {
        let key = self.keys.file(&format!("key{n}"), KEY.as_bytes());
        let other = 3 - n;
        let half = |name: &str, vrid: u8, priority: u8, bind: &str, server: &str, address: &str| {
            format!(
                "listen {name}\n    mode packet\n    bind {bind}:82\n    forward dsr\n    server s {server}\n\
                 vrrp {name}\n    interface e0\n    virtual-router-id {vrid}\n    priority {priority}\n    \
                 advertise-interval 250ms\n    address {address}\n    peer 10.9.0.{other}\n    peer-key {key}\n    \
                 sync sessions\n"
            )
        };
        let (one, two) = if n == 1 { (200, 100) } else { (100, 200) };
        let halves = [
            half("one", 51, one, VIP, "203.0.113.31", &format!("{VIP}/24")),
            half(
                "two",
                53,
                two,
                &format!("[{SECOND}]"),
                "[2001:db8::31]",
                &format!("{SECOND}/64"),
            ),
        ];
        let defaults =
            "defaults\n    timeout client 60s\n    timeout server 60s\n    timeout connect 2s\n";
        let config = defaults.to_string() + &halves.concat();
        Balancer::start_for(&self.net, &format!("l{n}"), 10_000, &config)
    }

    /// A machine's cables, all of them at once.
    fn cables(&self, n: u8, way: &str) {
        for (host, port) in [("w", format!("f{n}")), ("w", format!("i{n}"))] {
            self.net.ip(host, &format!("link set {port} {way}"));
        }
        self.net.ip(&format!("l{n}"), &format!("link set e2 {way}"));
    }

    fn start(&self, n: u8) -> Balancer {
        let config = self.config(n, KEY, "");
        Balancer::start_for(&self.net, &format!("l{n}"), 200_000, &config)
    }

    /// The first active, the second a backup that has its sessions.
    fn started(&self) -> (Balancer, Balancer) {
        let (first, second) = (self.start(1), self.start(2));
        wait_for(&first, "state: active");
        wait_for(&second, "state: backup");
        wait_for_sessions(&first, "sending in-sync");
        wait_for_sessions(&second, "receiving in-sync");
        (first, second)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for host in ["l1", "l2"] {
            detach(&self.net, host);
        }
    }
}

const KEY: &str = "0123456789abcdef0123456789abcdef\n";

fn state(balancer: &Balancer) -> String {
    let shown = balancer.control("show vrrp public").unwrap_or_default();
    let packets = balancer.control("show packets").unwrap_or_default();
    format!("{shown}{packets}{}", balancer.output())
}

#[track_caller]
fn wait_for(balancer: &Balancer, what: &str) {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while !balancer
        .control("show vrrp public")
        .is_some_and(|t| t.contains(what))
    {
        assert!(
            std::time::Instant::now() < end,
            "never '{what}':\n{}",
            state(balancer)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until both or one direction of sessions is as far.
#[track_caller]
fn wait_for_sessions(balancer: &Balancer, what: &str) {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    let so = || {
        let shown = balancer.control("show vrrp public").unwrap_or_default();
        let mut lines = shown.lines();
        lines.any(|l| l.starts_with("sync: sessions") && l.contains(what))
    };
    while !so() {
        assert!(
            std::time::Instant::now() < end,
            "never '{what}':\n{}",
            state(balancer)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sessions as both machines list them, but for their ages.
fn sessions(balancer: &Balancer, of: &str) -> BTreeSet<String> {
    let listed = balancer
        .control(&format!("show flows {of}"))
        .expect("answers");
    let lines = listed.lines().filter(|l| l.contains("src="));
    lines
        .map(|l| l.split(" state=").next().unwrap_or_default().to_string())
        .collect()
}

#[test]
fn long_downloads_outlive_the_active_machine_in_every_way_to_forward() {
    if !possible() {
        return;
    }
    let pair = Pair::new();
    let (first, second) = pair.started();
    let downloads = WAYS.map(|way| Download::start(&pair.net, way));
    let proxied = Download::start(&pair.net, "203.0.113.10:90");
    for download in downloads.iter().chain([&proxied]) {
        download.goes_on(&|| state(&first));
    }
    wait_until("the backup has all", || {
        sessions(&first, "proto=tcp") == sessions(&second, "proto=tcp")
            && sessions(&second, "proto=tcp").len() == 4
    });
    // The whole machine dies: nobody closes connections in its name.
    pair.cables(1, "down");
    first.kill();
    wait_for(&second, "state: active");
    for download in &downloads {
        download.goes_on(&|| state(&second));
    }
    wait_until("they count where they are now", || {
        ["nat", "source", "direct", "tunnelled"]
            .iter()
            .all(|name| second.stat(name, "BACKEND", "scur") == "1")
    });
    // What was proxied is known to nobody any more: it is reset as soon as a packet comes.
    (&proxied.stream).write_all(b"x").expect("room for a byte");
    wait_until("the proxied connection ends", || {
        proxied.thread.is_finished()
    });
    let end = proxied
        .thread
        .join()
        .expect("no panic")
        .expect_err("it ended");
    assert!(end.contains("reset"), "{end}");
    // And back: the first one waits until it has the sessions.
    pair.cables(1, "up");
    let first = pair.start(1);
    wait_for(&first, "state: active");
    wait_for(&second, "state: backup");
    for download in &downloads {
        download.goes_on(&|| state(&first));
    }
    wait_until("the backup has all", || {
        sessions(&first, "proto=tcp") == sessions(&second, "proto=tcp")
    });
    downloads.into_iter().for_each(Download::end);
}

#[test]
fn two_machines_that_share_the_load_have_each_others_sessions() {
    if !possible() {
        return;
    }
    let pair = Pair::new();
    for (host, n) in [("c", "100"), ("l1", "1"), ("l2", "2"), ("s2", "31")] {
        let address = format!("addr add 2001:db8::{n}/64 dev e0 nodad");
        pair.net.ip(host, &address);
    }
    pair.net.ip("s2", &format!("addr add {SECOND}/128 dev lo"));
    pair.net
        .within("s2", || stream_forever(at("[2001:db8::11]:82")));
    let (first, second) = (pair.crossed(1), pair.crossed(2));
    let settles = |balancer: &Balancer, section: &str, wanted: &[&str]| {
        wait_until(&format!("{section}: {wanted:?}"), || {
            let shown = balancer.control(&format!("show vrrp {section}"));
            shown.is_some_and(|t| wanted.iter().all(|w| t.contains(w)))
        });
    };
    let both_ways = "sending in-sync receiving in-sync";
    settles(&first, "one", &["state: active", both_ways]);
    settles(&first, "two", &["state: backup"]);
    settles(&second, "one", &["state: backup"]);
    settles(&second, "two", &["state: active", both_ways]);
    let downloads =
        ["203.0.113.10:82", "[2001:db8::11]:82"].map(|to| Download::start(&pair.net, to));
    let go_on = |about: &Balancer| downloads.iter().for_each(|d| d.goes_on(&|| state(about)));
    go_on(&first);
    let alike = |a: &Balancer, b: &Balancer| {
        wait_until("each has the sessions of both", || {
            let all = sessions(a, "proto=tcp");
            all.len() == 2 && all == sessions(b, "proto=tcp")
        });
    };
    alike(&first, &second);
    pair.cables(1, "down");
    first.kill();
    settles(&second, "one", &["state: active"]);
    go_on(&second);
    // It takes its own half back when it has the sessions, and then the other one dies.
    pair.cables(1, "up");
    let first = pair.crossed(1);
    settles(&first, "one", &["state: active"]);
    settles(&second, "one", &["state: backup"]);
    settles(&second, "two", &["state: active"]);
    go_on(&first);
    alike(&first, &second);
    settles(&first, "two", &["state: backup"]);
    pair.cables(2, "down");
    second.kill();
    settles(&first, "two", &["state: active"]);
    go_on(&first);
    downloads.into_iter().for_each(Download::end);
}

/// The example as its page has it: the second machine's file is made by the page's own command.
#[test]
fn the_pair_of_the_example_works_as_its_page_says() {
    if !possible() {
        return;
    }
    let page = include_str!("../../docs/pair.md");
    let pair = Pair::new();
    pair.net.within("s1", || stream_forever(at("10.0.0.11:80")));
    let folder = Folder::new();
    folder.file("pair.cfg", include_bytes!("../../examples/own/pair.cfg"));
    let command = page.lines().find(|l| l.starts_with("sed "));
    let made = std::process::Command::new("sh")
        .args(["-c", command.expect("a command")])
        .current_dir(folder.path("."))
        .status();
    assert!(made.is_ok_and(|s| s.success()));
    let start = |n: u8, file: &str| {
        let text = std::fs::read_to_string(folder.path(file)).expect("a file");
        // The control socket is the proving ground's; cables have other names here.
        let lines = text
            .lines()
            .filter(|l| !l.contains("stats socket") && *l != "global");
        let text: Vec<String> = lines.map(|l| l.replace(" eth", " e")).collect();
        Balancer::start_for(
            &pair.net,
            &format!("l{n}"),
            10_000,
            &(text.join("\n") + "\n"),
        )
    };
    let (first, second) = (start(1, "pair.cfg"), start(2, "second.cfg"));
    wait_for(&first, "state: active");
    wait_for(&second, "state: backup");
    wait_for_sessions(&first, "sending in-sync");
    wait_for_sessions(&second, "receiving in-sync");
    let download = Download::start(&pair.net, "203.0.113.10:80");
    download.goes_on(&|| state(&first));
    let both = || {
        let all = sessions(&first, "proto=tcp");
        all.len() == 1 && all == sessions(&second, "proto=tcp")
    };
    wait_until("the backup has it", both);
    first.control("vrrp release");
    wait_for(&second, "state: active");
    download.goes_on(&|| state(&second));
    first.control("vrrp resume");
    wait_for(&first, "state: active");
    download.goes_on(&|| state(&first));
    wait_until("the backup has it again", both);
    first.kill();
    wait_for(&second, "state: active");
    download.goes_on(&|| state(&second));
    download.end();
}

/// Sends one datagram from each of so many places, in turn to what is forwarded in each way.
fn datagrams(net: &Net, count: u32) {
    net.within("c", move || {
        // SAFETY: plain calls; the descriptor is new and ours, the pointers are to live values.
        let socket = unsafe {
            let fd = libc::socket(
                libc::AF_INET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::IPPROTO_RAW,
            );
            assert!(fd >= 0, "a raw socket");
            OwnedFd::from_raw_fd(fd)
        };
        let vip: Ipv4Addr = VIP.parse().expect("an address");
        for n in 0..count {
            let from = SocketAddrV4::new(
                Ipv4Addr::from(u32::from(Ipv4Addr::new(203, 0, 113, 128)) + n / 50_000),
                (10_000 + n % 50_000) as u16,
            );
            let mut packet = vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0];
            packet.extend(from.ip().octets());
            packet.extend(vip.octets());
            packet.extend(from.port().to_be_bytes());
            packet.extend([0, 53 + (n % 4) as u8, 0, 9, 0, 0, b'x']);
            // SAFETY: an address of all zeros is one, and the fields are set.
            let mut to: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            to.sin_family = libc::AF_INET as u16;
            to.sin_addr.s_addr = u32::from_ne_bytes(vip.octets());
            // SAFETY: pointers and lengths describe live values.
            let sent = unsafe {
                libc::sendto(
                    socket.as_raw_fd(),
                    packet.as_ptr().cast(),
                    packet.len(),
                    0,
                    (&raw const to).cast(),
                    size_of::<libc::sockaddr_in>() as u32,
                )
            };
            assert!(sent > 0, "{}", std::io::Error::last_os_error());
            if n % 100 == 0 {
                // Queues of virtual cables hold few frames.
                std::thread::sleep(Duration::from_micros(500));
            }
        }
    });
}

/// Sends until the balancer has a session for each of so many places, and those that it had.
fn fill(net: &Net, balancer: &Balancer, count: u32, others: u32) {
    for _ in 0..20 {
        datagrams(net, count);
        std::thread::sleep(Duration::from_millis(200));
        if counted(balancer) == count + others {
            return;
        }
    }
    panic!("{} sessions:\n{}", counted(balancer), state(balancer));
}

fn counted(balancer: &Balancer) -> u32 {
    let text = balancer.control("show flows count").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[test]
fn of_a_hundred_thousand_sessions_none_is_lost() {
    if !possible() {
        return;
    }
    let pair = Pair::new();
    let (first, second) = pair.started();
    let downloads = WAYS.map(|way| Download::start(&pair.net, way));
    // Some come while the backup listens, others while it is away.
    fill(&pair.net, &first, 60_000, 4);
    let both = || sessions(&first, "proto=") == sessions(&second, "proto=");
    wait_until("the second has them", both);
    second.kill();
    fill(&pair.net, &first, 100_000, 4);
    let second = pair.start(2);
    wait_for_sessions(&second, "receiving in-sync");
    let before = sessions(&first, "proto=");
    assert_eq!(before.len(), 100_004, "{}", state(&first));
    for port in 53..57 {
        let of = before
            .iter()
            .filter(|l| l.contains(&format!("fe=datagrams{port} ")));
        assert_eq!(of.count(), 25_000, "port {port}");
    }
    wait_until("the second has them again", || {
        before == sessions(&second, "proto=")
    });
    // The whole machine dies.
    pair.cables(1, "down");
    first.kill();
    wait_for(&second, "state: active");
    for download in &downloads {
        download.goes_on(&|| state(&second));
    }
    assert!(before == sessions(&second, "proto="), "some are gone");
    downloads.into_iter().for_each(Download::end);
}

#[test]
fn a_better_machine_waits_for_the_sessions_and_two_that_are_active_keep_what_they_have() {
    if !possible() {
        return;
    }
    let pair = Pair::new();
    let (first, second) = a_better_machine_waits_for_the_sessions_before_it_takes_over(&pair);
    two_that_are_active_by_mistake_say_so_and_keep_what_they_have(&pair, &first, &second);
}

fn a_better_machine_waits_for_the_sessions_before_it_takes_over(
    pair: &Pair,
) -> (Balancer, Balancer) {
    let second = pair.start(2);
    wait_for(&second, "state: active");
    let download = Download::start(&pair.net, "203.0.113.10:80");
    download.goes_on(&|| state(&second));
    let wrong = pair.config(1, "another key, which is as long as that", "");
    let first = Balancer::start_for(&pair.net, "l1", 200_000, &wrong);
    wait_until("the wrong key is said", || {
        let said = "not sealed with our key: give both the same 'peer-key'";
        first.output().contains(said) && second.output().contains(said)
    });
    wait_for(&first, "state: backup");
    wait_for(&first, "waits_for: the sessions of the active router");
    wait_for(&first, "entries_taken 0");
    assert_eq!(counted(&first), 0);
    // With the right one it has them, and then the address.
    first.reload(&pair.config(1, KEY, ""));
    wait_for(&first, "state: active");
    wait_for(&second, "state: backup");
    download.goes_on(&|| state(&first));
    download.end();
    (first, second)
}

/// One pair for all of these: the kernel's check of the programs at each start is most of the time.
#[test]
fn sessions_outlive_a_machine_that_stands_still_a_pulled_cable_and_a_cut_between_the_machines() {
    if !possible() {
        return;
    }
    let pair = Pair::new();
    let (first, second) = pair.started();
    a_machine_stands_still_and_a_cable_is_pulled(&pair, &first, &second);
    wait_for(&second, "state: backup");
    for balancer in [&first, &second] {
        // What was ended stays for a while, on the machine that saw its end.
        balancer.control("clear flows all");
    }
    wait_for_sessions(&first, "sending in-sync");
    wait_for_sessions(&second, "receiving in-sync");
    a_cut_between_the_machines_is_resumed_and_changes_nothing_else(&pair, first, second);
}

fn a_machine_stands_still_and_a_cable_is_pulled(pair: &Pair, first: &Balancer, second: &Balancer) {
    let downloads = ["203.0.113.10:80", "203.0.113.10:82"].map(|to| Download::start(&pair.net, to));
    let go_on = |about: &Balancer| downloads.iter().for_each(|d| d.goes_on(&|| state(about)));
    go_on(first);
    first.signal("-STOP");
    wait_for(second, "state: active");
    go_on(second);
    first.signal("-CONT");
    // It yields to who took over, gets the sessions anew, and is active again.
    wait_for(second, "state: backup");
    wait_for(first, "state: active");
    assert!(
        state(first).contains("became_backup: 2"),
        "{}",
        state(first)
    );
    go_on(first);
    pair.net.ip("w", "link set f1 down");
    wait_for(second, "state: active");
    go_on(second);
    pair.net.ip("w", "link set f1 up");
    wait_for(first, "state: active");
    go_on(first);
    downloads.into_iter().for_each(Download::end);
}

fn a_cut_between_the_machines_is_resumed_and_changes_nothing_else(
    pair: &Pair,
    first: Balancer,
    second: Balancer,
) {
    let download = Download::start(&pair.net, "203.0.113.10:80");
    let both = || {
        let all = sessions(&first, "proto=");
        !all.is_empty() && all == sessions(&second, "proto=")
    };
    wait_until("the second has it", both);
    let snapshots = |b: &Balancer| {
        let shown = b.control("show vrrp public").unwrap_or_default();
        let line = shown
            .lines()
            .find(|l| l.contains("snapshots_sent"))
            .map(str::to_string);
        line.expect("counted")
    };
    let before = snapshots(&first);
    // Nothing of the one reaches the other, which sees silence; then nothing reaches either.
    pair.net.exec("l2", "nft add table inet cut");
    pair.net.exec(
        "l2",
        "nft add chain inet cut in { type filter hook input priority 0 ; }",
    );
    pair.net.exec(
        "l2",
        "nft add rule inet cut in iifname e2 tcp sport 7112 drop",
    );
    pair.net.exec(
        "l2",
        "nft add rule inet cut in iifname e2 tcp dport 7112 drop",
    );
    wait_for_sessions(&second, "receiving unconnected");
    wait_for_sessions(&first, "sending unconnected");
    let more = Download::start(&pair.net, "203.0.113.10:81");
    for d in [&download, &more] {
        d.goes_on(&|| state(&first));
    }
    assert!(state(&first).contains("state: active") && state(&second).contains("state: backup"));
    pair.net.exec("l2", "nft delete table inet cut");
    wait_until("the second has both", both);
    assert_eq!(snapshots(&first), before, "it was resumed");
    first.kill();
    wait_for(&second, "state: active");
    for d in [&download, &more] {
        d.goes_on(&|| state(&second));
    }
    download.end();
    more.end();
}

fn two_that_are_active_by_mistake_say_so_and_keep_what_they_have(
    pair: &Pair,
    first: &Balancer,
    second: &Balancer,
) {
    let download = Download::start(&pair.net, "203.0.113.10:82");
    let other = pair
        .config(2, KEY, "")
        .replace("interval 250ms", "interval 1s\n    version 2");
    second.reload(&other);
    // As long as they can ask each other, the mistake has no consequence.
    wait_for(second, "blocked_by_peer: yes");
    pair.net.exec("l2", "nft add table inet cut");
    pair.net.exec(
        "l2",
        "nft add chain inet cut in { type filter hook input priority 0 ; }",
    );
    pair.net
        .exec("l2", "nft add rule inet cut in udp dport 7112 drop");
    wait_for(second, "state: active");
    wait_until("it is said", || {
        first.output().contains("two routers are active now")
            && second.output().contains("two routers are active now")
    });
    wait_for_sessions(second, "receiving in-sync");
    download.goes_on(&|| state(first));
    // Corrected, one of them yields, and the session is still there.
    second.reload(&pair.config(2, KEY, ""));
    wait_for(second, "state: backup");
    download.goes_on(&|| state(first));
    download.end();
}
