//! Checks that only mulgil has: an ICMP echo, a handshake that is not finished, the end of a long
//! silence; states at the start that the oracle has since a later version; and how a check ends.

use lab::{PATIENCE, Program, Proxy};
use std::io::{ErrorKind, Read};
use std::net::TcpListener;
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

#[test]
fn an_unfinished_handshake_finds_a_listener_that_never_hears_of_it() {
    if !may_send_packets() {
        return;
    }
    let listener = lab::listener();
    listener.set_nonblocking(true).expect("non-blocking");
    let port = listener.local_addr().expect("an address").port();
    let listener6 = TcpListener::bind("[::1]:0");
    let port6 = listener6
        .as_ref()
        .map_or(1, |l| l.local_addr().expect("an address").port());
    let free = lab::refusing();
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}backend b\n    option half-open-check\n    server up 127.0.0.1:{port} check inter 50\n    server six [::1]:{port6} check inter 50\n    server closed 127.0.0.1:{free} check inter 50\n"
        ),
    );
    proxy.wait_for("b", "up", "check_status", "L4OK");
    proxy.wait_for("b", "up", "status", "UP");
    if listener6.is_ok() {
        proxy.wait_for("b", "six", "check_status", "L4OK");
    }
    proxy.wait_for("b", "closed", "check_status", "L4CON");
    proxy.wait_for("b", "closed", "last_chk", "Connection refused");
    proxy.wait_for("b", "closed", "status", "DOWN");
    std::thread::sleep(Duration::from_millis(300));
    let heard = listener.accept().map(|_| ()).map_err(|e| e.kind());
    assert_eq!(heard, Err(ErrorKind::WouldBlock), "nothing was accepted");
    assert_eq!(proxy.stat("b", "up", "check_status"), "L4OK");
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
