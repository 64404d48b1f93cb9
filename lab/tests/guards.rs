//! Guards of packet frontends as users see them: floods are dropped, clients are served.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/ends.rs"]
mod ends;
#[path = "packet/net.rs"]
mod net;
#[path = "packet/nets.rs"]
mod nets;

use balancer::{Balancer, detach};
use ends::{MUCH, talk};
use lab::Folder;
use net::{Net, possible, wait_until};
use nets::{at, two_arms_of};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

const VIP: &str = "198.51.100.80:80";
const VIP6: &str = "[2001:db8:1::80]:80";
const FLOODER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);

fn config(guard: &str) -> String {
    let mut text = String::new();
    for (name, vip, server) in [
        ("four", VIP, "10.0.0.11:8080"),
        ("six", VIP6, "[fd00::11]:8080"),
    ] {
        text.push_str(&format!(
            "listen {name}\n    mode packet\n    bind {vip}\n{guard}    forward nat\n    server one {server}\n"
        ));
    }
    text
}

fn sum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | u32::from(c[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Sends so many SYNs for the virtual address, the n-th from the address that `from` says.
fn flood(count: u32, from: impl Fn(u32) -> Ipv4Addr) {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).expect("raw");
    let to = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 80), 0);
    for n in 0..count {
        let from = from(n).octets();
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
        packet.extend(from);
        packet.extend(to.ip().octets());
        let port = (1024 + n % 60_000) as u16;
        packet.extend(port.to_be_bytes());
        packet.extend([
            0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0,
        ]);
        let pseudo = [&packet[12..20], &[0, 6, 0, 20], &packet[20..]].concat();
        let check = sum(&pseudo).to_be_bytes();
        packet[36..38].copy_from_slice(&check);
        // A queue that is full loses some, as a wire does.
        let _ = socket.send_to(&packet, &to.into());
    }
}

/// What a frontend's guard did.
fn did(balancer: &Balancer, frontend: &str, reason: &str) -> u64 {
    let lines = balancer.control("show guard").expect("answers");
    let start = format!("fe={frontend} {reason}: ");
    let line = lines.lines().find_map(|l| l.strip_prefix(&start));
    let line = line.unwrap_or_else(|| panic!("{start}in {lines}{}", balancer.output()));
    line.parse().expect("a number")
}

fn whole(net: &Net, vip: &'static str, balancer: &Balancer) {
    let heard = net.within("c", move || talk(at(vip), MUCH));
    let heard = heard.unwrap_or_else(|e| {
        let flows = balancer.control("show flows").unwrap_or_default();
        let guard = balancer.control("show guard").unwrap_or_default();
        panic!("{vip}: {e}\n{}\n{flows}\n{guard}", balancer.output())
    });
    assert_eq!(heard.name, "one");
}

#[test]
fn one_that_floods_is_held_back_and_a_download_is_whole() {
    if !possible() {
        return;
    }
    let net = two_arms_of(Net::cable);
    let limits =
        "    guard limit source syns 20 burst 40\n    guard limit source packets 1000000\n";
    let balancer = Balancer::start(&net, "l", &config(limits));
    net.within("c", || flood(5_000, |_| FLOODER));
    whole(&net, VIP, &balancer);
    net.within("c", || flood(5_000, |_| FLOODER));
    whole(&net, VIP6, &balancer);
    assert!(did(&balancer, "four", "source-limit") > 0);
    assert_eq!(did(&balancer, "six", "source-limit"), 0);
    wait_until("the statistics", || {
        balancer.stat("four", "FRONTEND", "dreq") != "0"
    });
    drop(balancer);
    detach(&net, "l");
}

#[test]
fn a_flood_of_sources_that_are_not_there_leaves_no_sessions() {
    if !possible() {
        return;
    }
    for (how, proof) in [("safe-reset", "proven"), ("transparent", "spliced")] {
        leaves_no_sessions(how, proof);
    }
}

fn leaves_no_sessions(how: &str, proof: &str) {
    let net = two_arms_of(Net::cable);
    let guard = format!("    guard syn-cookies {how} above 0\n");
    let balancer = Balancer::start(&net, "l", &config(&guard));
    let nobody = |n: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 0, 2, 0)) + n % 250);
    net.within("c", move || flood(5_000, nobody));
    whole(&net, VIP, &balancer);
    net.within("c", move || flood(5_000, nobody));
    whole(&net, VIP, &balancer);
    whole(&net, VIP6, &balancer);
    assert!(did(&balancer, "four", "challenged") > 0);
    assert!(did(&balancer, "four", proof) > 0);
    let flows = balancer.control("show flows").expect("answers");
    assert!(!flows.contains("src=192.0.2."), "{flows}");
    drop(balancer);
    detach(&net, "l");
}

/// Who was answered by a cookie would be connected, to nobody.
#[test]
fn a_frontend_that_is_disabled_challenges_nobody() {
    if !possible() {
        return;
    }
    let net = two_arms_of(Net::cable);
    let guard = "    guard syn-cookies transparent above 0\n";
    let balancer = Balancer::start(&net, "l", &config(guard));
    let challenged = || did(&balancer, "four", "challenged");
    whole(&net, VIP, &balancer);
    whole(&net, VIP6, &balancer);
    assert!(challenged() > 0);
    balancer.control("disable frontend four").expect("answers");
    let mut before = 0;
    wait_until("nobody is answered", || {
        before = challenged();
        let short = Duration::from_millis(300);
        let fails = || {
            net.within("c", move || {
                TcpStream::connect_timeout(&at(VIP), short).is_err()
            })
        };
        // One that is slow was challenged nevertheless.
        (0..3).all(|_| fails()) && challenged() == before
    });
    let nobody = |n: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 0, 2, 0)) + n % 250);
    net.within("c", move || flood(500, nobody));
    // The other one goes on, behind them.
    whole(&net, VIP6, &balancer);
    assert_eq!(challenged(), before);
    balancer.control("enable frontend four").expect("answers");
    wait_until("clients are asked for their proof again", || {
        let heard = net.within("c", || talk(at(VIP), 10));
        heard.is_ok() && challenged() > before
    });
    drop(balancer);
    detach(&net, "l");
}

#[test]
fn a_source_is_blocked_while_running_and_stays_so() {
    if !possible() {
        return;
    }
    let net = two_arms_of(Net::cable);
    let folder = Folder::new();
    let list = folder.file("blocked.lst", b"# bad ones\n192.0.2.0/24\n");
    let config = config(&format!("    guard deny {list}\n"));
    let balancer = Balancer::start(&net, "l", &config);
    whole(&net, VIP, &balancer);
    // Who is let in answers much sooner; waiting longer would prove no more.
    let patience = Duration::from_millis(300);
    let is_blocked = |vip: &'static str| {
        net.within("c", move || {
            TcpStream::connect_timeout(&at(vip), patience).is_err()
        })
    };
    for (vip, frontend, entry) in [
        (VIP, "four", "198.51.100.2"),
        (VIP6, "six", "2001:db8:1::/64"),
    ] {
        let before = did(&balancer, frontend, "denied");
        balancer.control(&format!("add acl {list} {entry}"));
        wait_until("it is blocked and counted", || {
            is_blocked(vip) && did(&balancer, frontend, "denied") > before
        });
        let shown = balancer
            .control(&format!("show acl {list}"))
            .unwrap_or_default();
        assert!(shown.contains(entry), "{shown}");
    }
    balancer.reload(&config);
    assert!(is_blocked(VIP) && is_blocked(VIP6), "after a reload");
    balancer.kill();
    assert!(is_blocked(VIP) && is_blocked(VIP6), "without a process");
    let balancer = Balancer::start(&net, "l", &config);
    assert!(is_blocked(VIP) && is_blocked(VIP6), "after another start");
    for entry in ["198.51.100.2", "2001:db8:1::/64"] {
        balancer.control(&format!("del acl {list} {entry}"));
    }
    wait_until("it is let in", || !is_blocked(VIP));
    wait_until("it is let in", || !is_blocked(VIP6));
    let refused = balancer
        .control(&format!("add acl {list} nonsense"))
        .unwrap_or_default();
    assert!(
        refused.contains("'nonsense' is not a valid IPv4 or IPv6 address"),
        "{refused}"
    );
    drop(balancer);
    detach(&net, "l");
}
