//! Checks that only mulgil has: an ICMP echo, a handshake that is not finished, the end of a long
//! silence; states at the start that the oracle has since a later version; and how a check ends.

use lab::{PATIENCE, Program, Proxy};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::io::{ErrorKind, Read};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const TIMES: &str =
    "defaults\n    timeout client 3s\n    timeout server 3s\n    timeout connect 1s\n";

/// Raw sockets are for root.
fn may_send_packets() -> bool {
    let may = std::fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find_map(|l| u64::from_str_radix(l.strip_prefix("CapEff:\t")?, 16).ok())
        .is_some_and(|caps| caps & (1 << 13) != 0);
    if !may {
        println!("without CAP_NET_RAW no packet is sent: not tried");
    }
    may
}

#[test]
fn an_echo_asks_the_machine_and_not_its_services() {
    if !may_send_packets() {
        return;
    }
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}backend b\n    option icmp-check\n    server v4 127.0.0.1:1 check inter 100\n    server v6 [::1]:1 check inter 100\n    server nobody 127.0.0.1:1 check inter 100 addr 240.0.0.1 fall 1\n"
        ),
    );
    proxy.wait_for("b", "v4", "check_status", "L4OK");
    proxy.wait_for("b", "v4", "status", "UP");
    if std::path::Path::new("/proc/net/if_inet6").exists() {
        proxy.wait_for("b", "v6", "check_status", "L4OK");
    }
    proxy.wait_for("b", "nobody", "status", "DOWN");
}

/// The TCP segments that one machine sends itself, seen by a raw socket.
struct Wire(Socket);

impl Wire {
    fn of(domain: Domain, port: u16) -> Wire {
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::TCP)).expect("a raw socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
            .attach_filter(&of_port(domain, port))
            .expect("a filter");
        Wire(socket)
    }

    /// The flags of the next segment from or to a port, and the port at the other end.
    fn next(&self, port: u16) -> (u8, u16) {
        let mut buffer = [MaybeUninit::new(0); 2048];
        loop {
            let n = self.0.recv(&mut buffer).expect("a segment");
            let bytes: Vec<u8> = buffer[..n]
                .iter()
                // SAFETY: every byte was written when the buffer was made.
                .map(|b| unsafe { b.assume_init() })
                .collect();
            // Of IPv6 a raw socket is given what is behind the header (RFC 3542 section 3).
            let header = match bytes.first() {
                Some(first) if first >> 4 == 4 && self.is_v4() => usize::from(first & 15) * 4,
                _ => 0,
            };
            let tcp = &bytes[header..];
            let at = |i: usize| u16::from_be_bytes([tcp[i], tcp[i + 1]]);
            match (at(0), at(2)) {
                (from, to) if to == port => return (tcp[13], from),
                (from, to) if from == port => return (tcp[13], to),
                _ => {}
            }
        }
    }

    fn is_v4(&self) -> bool {
        self.0.domain().is_ok_and(|d| d == Domain::IPV4)
    }
}

/// A filter for segments from or to a port (kernel, `networking/filter.rst`), so that what other tests
/// send fills no buffer.
fn of_port(domain: Domain, port: u16) -> [SockFilter; 7] {
    let op = |code: u32, jt: u8, jf: u8, k: u32| SockFilter::new(code as u16, jt, jf, k);
    let start = match domain == Domain::IPV6 {
        true => op(libc::BPF_LDX | libc::BPF_IMM, 0, 0, 0),
        false => op(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0),
    };
    let half = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let give = libc::BPF_RET | libc::BPF_K;
    [
        start,
        op(half, 0, 0, 2),
        op(equal, 2, 0, port.into()),
        op(half, 0, 0, 0),
        op(equal, 0, 1, port.into()),
        op(give, 0, 0, u32::MAX),
        op(give, 0, 0, 0),
    ]
}

/// How many connections wait to be accepted on a port (kernel, `networking/proc_net_tcp.rst`: of a
/// listening socket the receive queue).
fn waiting(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let text = tables.map(|t| std::fs::read_to_string(t).unwrap_or_default());
    text.iter().flat_map(|t| t.lines()).find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _, state) = (words.next()?, words.next()?, words.next()?);
        let (_, queue) = words.next()?.split_once(':')?;
        let here = local.ends_with(&format!(":{port:04X}")) && state == "0A";
        here.then(|| u32::from_str_radix(queue, 16).ok())?
    })
}

/// Two servers that never accept. One is asked by whole connections, which wait in its queue until
/// that is full; the other is only asked whether it would.
#[test]
fn an_unfinished_handshake_finds_a_listener_that_never_hears_of_it() {
    if !may_send_packets() {
        return;
    }
    let listener = |any: &str| {
        let listener = TcpListener::bind(any).ok()?;
        // SAFETY: the descriptor is the listener's, which is alive.
        let short = unsafe { libc::listen(listener.as_raw_fd(), 2) };
        assert_eq!(short, 0, "a short queue");
        let port = listener.local_addr().expect("an address").port();
        Some((listener, port))
    };
    let (asked, port) = listener("127.0.0.1:0").expect("a port");
    let (_whole, whole) = listener("127.0.0.1:0").expect("a port");
    let six = listener("[::1]:0");
    let port6 = six.as_ref().map_or(1, |(_, port)| *port);
    let free = lab::refusing();
    let wires = [
        Some((Wire::of(Domain::IPV4, port), port)),
        six.as_ref()
            .map(|(_, port)| (Wire::of(Domain::IPV6, *port), *port)),
    ];
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}    default-server check inter 50 fall 2\n    timeout check 300ms\n\
             backend whole\n    server s 127.0.0.1:{whole}\n\
             backend b\n    option half-open-check\n    server up 127.0.0.1:{port}\n    server six [::1]:{port6}\n    server closed 127.0.0.1:{free}\n"
        ),
    );
    proxy.wait_for("b", "up", "check_status", "L4OK");
    proxy.wait_for("b", "up", "status", "UP");
    proxy.wait_for("b", "closed", "check_status", "L4CON");
    proxy.wait_for("b", "closed", "last_chk", "Connection refused");
    proxy.wait_for("b", "closed", "status", "DOWN");
    // SYN, SYN and ACK, RST (RFC 9293 section 3.1), ten times; the next check is from another port.
    for (wire, port) in wires.into_iter().flatten() {
        let mut last = 0;
        for _ in 0..10 {
            let mut seen = wire.next(port);
            while seen.1 == last || seen.0 != 2 {
                seen = wire.next(port);
            }
            last = seen.1;
            assert_eq!(wire.next(port), (0x12, last), "port {port}");
            assert_eq!(wire.next(port), (4, last), "port {port}");
        }
    }
    proxy.wait_for("whole", "s", "status", "DOWN");
    assert!(waiting(whole) > Some(0), "{:?}", waiting(whole));
    assert_eq!(waiting(port), Some(0));
    asked.set_nonblocking(true).expect("non-blocking");
    let heard = asked.accept().map(|_| ()).map_err(|e| e.kind());
    assert_eq!(heard, Err(ErrorKind::WouldBlock), "nothing was accepted");
    proxy.wait_for("b", "up", "status", "UP");
    if six.is_some() {
        assert_eq!(waiting(port6), Some(0));
        proxy.wait_for("b", "six", "status", "UP");
    }
}

#[test]
fn a_long_silence_brings_a_server_down_whatever_tries_are_left() {
    let listener = lab::listener();
    let port = listener.local_addr().expect("an address").port();
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}backend b\n    default-server check inter 100 fall 1000000\n    server patient 127.0.0.1:{port}\n    server strict 127.0.0.1:{port} check-deadline 500\n"
        ),
    );
    proxy.wait_for("b", "patient", "check_status", "L4OK");
    proxy.wait_for("b", "strict", "check_status", "L4OK");
    drop(listener);
    let end = Instant::now() + PATIENCE;
    while !proxy.stat("b", "strict", "status").starts_with("DOWN") {
        assert!(Instant::now() < end, "it goes down");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(proxy.stat("b", "patient", "status").starts_with("UP"));
}

#[test]
fn a_check_of_a_connection_ends_in_the_ordinary_way() {
    let listener = lab::listener();
    let port = listener.local_addr().expect("an address").port();
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!("{TIMES}backend b\n    server s 127.0.0.1:{port} check inter 50\n"),
    );
    proxy.wait_for("b", "s", "check_status", "L4OK");
    for _ in 0..3 {
        let (mut stream, _) = listener.accept().expect("a check");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let end = stream.read(&mut [0]).map_err(|e| e.kind());
        assert_eq!(end, Ok(0), "no reset, and nothing said");
    }
}

/// One check is made; the next would come after the test.
#[test]
fn what_a_server_counts_as_before_its_first_check_is_said() {
    let listener = lab::listener();
    let good = listener.local_addr().expect("an address").port();
    let bad = lab::refusing();
    let mut config = format!(
        "    max-spread-checks 1\n{TIMES}    default-server check inter 1h rise 2 fall 3\nbackend silent\n    option httpchk\n    \
         server down 127.0.0.1:{good} init-state down\n    server up 127.0.0.1:{good} init-state up\n"
    );
    for (backend, port) in [("good", good), ("bad", bad)] {
        config += &format!("backend {backend}\n");
        for state in ["fully-up", "up", "down", "fully-down"] {
            config += &format!("    server {state} 127.0.0.1:{port} init-state {state}\n");
        }
    }
    let proxy = Proxy::start(&Program::mulgil(), &config);
    // Nobody answers these.
    for (server, status) in [("down", "DOWN 1/2"), ("up", "UP 1/3")] {
        assert_eq!(proxy.stat("silent", server, "status"), status);
    }
    let told = ["status", "check_status"];
    for (backend, server, status, check) in [
        ("good", "fully-up", "UP", "L4OK"),
        ("good", "up", "UP", "L4OK"),
        ("good", "down", "UP", "L4OK"),
        ("good", "fully-down", "DOWN 1/2", "L4OK"),
        ("bad", "fully-up", "UP 2/3", "L4CON"),
        ("bad", "up", "DOWN", "L4CON"),
        ("bad", "down", "DOWN", "L4CON"),
        ("bad", "fully-down", "DOWN", "L4CON"),
    ] {
        proxy.wait_for_stats((backend, server), &told, &[status, check], server);
    }
}
