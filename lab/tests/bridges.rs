//! `forward bridge` and `vlan`: transparent between two ports, and one arm that is inline by its VLANs.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/ends.rs"]
mod ends;
#[path = "packet/net.rs"]
mod net;

use balancer::{Balancer, detach};
use ends::{MUCH, ask, serve_tcp, serve_udp, talk, udp};
use net::{Net, possible, wait_until};
use std::net::SocketAddr;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// One network: client – p0 balancer p1 – switch – two servers. The balancer has an address on the
/// port towards the client. Sums are whole on the wire, or left to whoever sends last.
fn inline(whole: bool) -> Net {
    let net = Net::new(&["c", "l", "w", "s1", "s2"]);
    let cable = |a: &str, b: &str| {
        if whole {
            net.cable(a, b)
        } else {
            net.loose_cable(a, b)
        }
    };
    cable("c:e0", "l:p0");
    cable("w:trunk", "l:p1");
    net.ip("w", "link add name switch type bridge");
    net.ip("w", "link set dev switch up");
    net.ip("w", "link set dev trunk master switch");
    let give = |host: &str, port: &str, n: u32| {
        net.ip(host, &format!("addr add 203.0.113.{n}/24 dev {port}"));
        net.ip(
            host,
            &format!("addr add 2001:db8:3::{n}/64 dev {port} nodad"),
        );
    };
    for n in 1..=2 {
        cable(&format!("w:q{n}"), &format!("s{n}:e0"));
        net.ip("w", &format!("link set dev q{n} master switch"));
        give(&format!("s{n}"), "e0", 10 + n);
    }
    give("c", "e0", 2);
    give("l", "p0", 3);
    for (host, name) in [("s1", "one"), ("s2", "two")] {
        let n = &host[1..];
        let addresses = [
            format!("203.0.113.1{n}:8080"),
            format!("[2001:db8:3::1{n}]:8080"),
        ];
        net.within(host, move || {
            for address in addresses {
                serve_tcp(at(&address), name);
                serve_udp(at(&address), name);
            }
        });
    }
    net
}

/// Waits until both servers serve: they have to be found, and checked.
fn serve(net: &Net, vip: &'static str) {
    wait_until("both serve", || {
        let heard = net.within("c", move || [talk(at(vip), 10), talk(at(vip), 10)]);
        let names: Vec<_> = heard.into_iter().flatten().map(|h| h.name).collect();
        names.len() == 2 && names[0] != names[1]
    });
}

const BRIDGE: &str = include_str!("../../examples/own/packet-bridge.cfg");

/// The same with checks that outlast a lost packet, which is sent again after a second.
fn patient_bridge() -> String {
    BRIDGE.replace("inter 200ms", "inter 2s fastinter 200ms downinter 200ms")
}

fn carries_over_the_bridge(net: &Net, attach: &str) {
    let bridge = patient_bridge();
    let config = format!("global\n    tune.packet.attach {attach}\n{bridge}");
    let balancer = Balancer::start(net, "l", &config);
    // Checks reach servers behind the port that has no address.
    for server in ["one", "two"] {
        wait_until("checks succeed", || {
            balancer.stat("web", server, "check_status") == "L4OK"
        });
    }
    for vip in ["203.0.113.100:80", "[2001:db8:3::100]:80"] {
        serve(net, vip);
        let mut names = Vec::new();
        for bytes in [MUCH, 1] {
            let heard = net.within("c", move || talk(at(vip), bytes));
            let heard = heard.unwrap_or_else(|e| {
                panic!(
                    "{vip} {bytes}: {e}\n{}\n{}",
                    balancer.output(),
                    balancer.control("show packets").unwrap_or_default()
                )
            });
            let client = if vip.starts_with('[') {
                "2001:db8:3::2"
            } else {
                "203.0.113.2"
            };
            assert_eq!(heard.client.ip().to_string(), client);
            names.push(heard.name);
        }
        names.sort();
        assert_eq!(names, ["one", "two"], "in turns");
    }
    for (client, vip) in [
        ("203.0.113.2:5353", "203.0.113.100:53"),
        ("[2001:db8:3::2]:5353", "[2001:db8:3::100]:53"),
    ] {
        let answer = net.within("c", move || ask(&udp(at(client), at(vip)), &[7; 1000]));
        answer.unwrap_or_else(|e| panic!("{vip}: {e}"));
    }
    // What is not balanced passes: neighbours ask for each other, conversations, pieces of datagrams.
    for server in ["203.0.113.11:8080", "[2001:db8:3::12]:8080"] {
        let heard = net.within("c", move || talk(at(server), MUCH));
        heard.unwrap_or_else(|e| panic!("{server}: {e}"));
    }
    let pieces = net.within("c", || {
        ask(
            &udp(at("203.0.113.2:5354"), at("203.0.113.12:8080")),
            &[9; 6000],
        )
    });
    assert_eq!(pieces.expect("an answer"), "two");
    let shown = balancer.control("show packets").unwrap_or_default();
    let way = if attach == "clsact" { "clsact" } else { "TCX" };
    for port in ["p0", "p1"] {
        let line = format!("interface {port}: TC behind its driver ({way}); a port of a bridge");
        assert!(shown.contains(&line), "{shown}");
    }
    // A dead server is noticed, and the other takes all.
    net.ip("s1", "link set dev e0 down");
    wait_until("it is down", || {
        balancer.stat("web", "one", "status").starts_with("DOWN")
    });
    for _ in 0..3 {
        let heard = net.within("c", || talk(at("203.0.113.100:80"), 10));
        assert_eq!(heard.expect("the other serves").name, "two");
    }
    // Without the process the bridge stays one.
    balancer.kill();
    let heard = net.within("c", || talk(at("203.0.113.100:80"), MUCH));
    assert_eq!(heard.expect("the other serves").name, "two");
    detach(net, "l");
}

#[test]
fn a_bridge_passes_everything_and_balances_what_is_for_its_address() {
    if !possible() {
        return;
    }
    carries_over_the_bridge(&inline(true), "auto");
}

#[test]
fn a_bridge_keeps_sums_right_that_nobody_has_computed_yet() {
    if !possible() {
        return;
    }
    carries_over_the_bridge(&inline(false), "clsact");
}

#[test]
fn a_bridge_without_an_address_of_its_own_finds_its_servers() {
    if !possible() {
        return;
    }
    let net = inline(true);
    net.ip("l", "addr flush dev p0 scope global");
    let config = BRIDGE.replace(" check inter 200ms fall 2 rise 1", "");
    let balancer = Balancer::start(&net, "l", &config);
    wait_until("it serves", || {
        net.within("c", || talk(at("203.0.113.100:80"), MUCH))
            .is_ok()
    });
    wait_until("it serves", || {
        net.within("c", || talk(at("[2001:db8:3::100]:80"), MUCH))
            .is_ok()
    });
    drop(balancer);
    detach(&net, "l");
}

/// Beside the switch: the servers hand answers to the balancer, which is their gateway.
#[test]
fn a_bridge_of_one_port_serves_beside_the_switch() {
    if !possible() {
        return;
    }
    let net = Net::new(&["c", "r", "w", "l", "s1", "s2"]);
    net.cable("c:e0", "r:out");
    let give = |host: &str, port: &str, network: [&str; 2], n: u32| {
        let [four, six] = network;
        net.ip(host, &format!("addr add {four}{n}/24 dev {port}"));
        net.ip(host, &format!("addr add {six}{n}/64 dev {port} nodad"));
    };
    let (outside, inside) = (
        ["198.51.100.", "2001:db8:1::"],
        ["203.0.113.", "2001:db8:3::"],
    );
    let leave_by = |host: &str, network: [&str; 2], n: u32| {
        let [four, six] = network;
        net.ip(host, &format!("route add default via {four}{n}"));
        net.ip(host, &format!("route add default via {six}{n}"));
    };
    give("c", "e0", outside, 2);
    give("r", "out", outside, 1);
    leave_by("c", outside, 1);
    net.ip("w", "link add name switch type bridge mcast_snooping 0");
    net.ip("w", "link set switch up");
    for (host, port, n) in [
        ("r", "q0", 1),
        ("l", "q1", 3),
        ("s1", "q2", 11),
        ("s2", "q3", 12),
    ] {
        net.cable(&format!("w:{port}"), &format!("{host}:p0"));
        net.ip("w", &format!("link set dev {port} master switch"));
        give(host, "p0", inside, n);
        if host.starts_with('s') {
            leave_by(host, inside, 3);
        }
    }
    leave_by("l", inside, 1);
    let both = "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
    net.exec("r", both);
    for (host, name) in [("s1", "one"), ("s2", "two")] {
        let n = &host[1..];
        let addresses = [
            format!("203.0.113.1{n}:8080"),
            format!("[2001:db8:3::1{n}]:8080"),
        ];
        net.within(host, move || {
            for address in addresses {
                serve_tcp(at(&address), name);
                serve_udp(at(&address), name);
            }
        });
    }
    let config = patient_bridge().replace("interface p0,p1", "interface p0");
    let balancer = Balancer::start(&net, "l", &config);
    for (vip, client) in [
        ("203.0.113.100", "198.51.100.2"),
        ("[2001:db8:3::100]", "[2001:db8:1::2]"),
    ] {
        let to = at(&format!("{vip}:80"));
        let said = || balancer.control("show packets").unwrap_or_default();
        // Checks need the way that packets need.
        wait_until("both serve", || {
            let heard = net.within("c", move || [talk(to, 10), talk(to, 10)]);
            let names: Vec<_> = heard.into_iter().flatten().map(|h| h.name).collect();
            names.len() == 2 && names[0] != names[1]
        });
        let mut names = Vec::new();
        for bytes in [MUCH, 10] {
            let heard = net.within("c", move || talk(to, bytes));
            let heard = heard.unwrap_or_else(|e| panic!("{vip}: {e}\n{}", said()));
            assert_eq!(heard.client.ip(), at(&format!("{client}:0")).ip());
            names.push(heard.name);
        }
        names.sort();
        assert_eq!(names, ["one", "two"]);
        let (from, dns) = (at(&format!("{client}:5353")), at(&format!("{vip}:53")));
        let answer = net.within("c", move || ask(&udp(from, dns), &[7; 1000]));
        answer.unwrap_or_else(|e| panic!("{dns}: {e}\n{}", said()));
    }
    drop(balancer);
    detach(&net, "l");
}

/// One arm of the balancer: clients are in VLAN 100, servers in VLAN 200, on one switch that passes
/// tags. The ends have no interfaces for VLANs here: a program puts tags on and takes them off.
fn one_arm() -> Net {
    let net = Net::new(&["c", "w", "l", "s1", "s2"]);
    net.ip("w", "link add name switch type bridge");
    net.ip("w", "link set switch up");
    for (host, port) in [("c", "q0"), ("l", "q1"), ("s1", "q2"), ("s2", "q3")] {
        net.cable(&format!("w:{port}"), &format!("{host}:arm"));
        net.ip("w", &format!("link set dev {port} master switch"));
        let tag = match host {
            "l" => continue,
            "c" => "push100",
            _ => "push200",
        };
        net.classify(host, "arm", "egress", tag);
        net.classify(host, "arm", "ingress", "pop");
    }
    for (host, four, six) in [
        ("c", "198.51.100.2/24", "2001:db8:1::2/64"),
        ("l", "198.51.100.1/24", "2001:db8:1::1/64"),
        ("l", "10.0.0.1/24", "fd00::1/64"),
        ("s1", "10.0.0.11/24", "fd00::11/64"),
        ("s2", "10.0.0.12/24", "fd00::12/64"),
    ] {
        net.ip(host, &format!("addr add {four} dev arm"));
        net.ip(host, &format!("addr add {six} dev arm nodad"));
    }
    net.exec(
        "l",
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
    );
    for (host, name) in [("s1", "one"), ("s2", "two")] {
        net.ip(host, "route add default via 10.0.0.1");
        net.ip(host, "route add default via fd00::1");
        let n = &host[1..];
        let addresses = [format!("10.0.0.1{n}:8080"), format!("[fd00::1{n}]:8080")];
        net.within(host, move || {
            for address in addresses {
                serve_tcp(at(&address), name);
                serve_udp(at(&address), name);
            }
        });
    }
    net
}

const VLANS: &str = include_str!("../../examples/own/packet-vlan.cfg");

fn serves_vlans(attach: &str, config: &str, client: Option<(&str, &str)>) {
    if !possible() {
        return;
    }
    let net = one_arm();
    if attach == "xdp" {
        // Tags stand in frames, as on a wire; and who is sent to by the driver has a program.
        for (host, port) in [
            ("w", "q0"),
            ("w", "q1"),
            ("w", "q2"),
            ("w", "q3"),
            ("l", "arm"),
        ] {
            net.keep_tags_in_frames(host, port);
        }
        net.open_for_programs("w", "q1");
    }
    let config = format!("global\n    tune.packet.attach {attach}\n{config}");
    let balancer = Balancer::start(&net, "l", &config);
    for server in ["one", "two"] {
        wait_until("checks reach the servers' VLAN", || {
            balancer.stat("web", server, "check_status") == "L4OK"
        });
    }
    for vip in ["198.51.100.80:80", "[2001:db8:1::80]:80"] {
        serve(&net, vip);
        let mut names = Vec::new();
        for bytes in [MUCH, 1] {
            let heard = net.within("c", move || talk(at(vip), bytes));
            let heard = heard.unwrap_or_else(|e| {
                panic!(
                    "{attach} {vip} {bytes}: {e}\n{}\n{}",
                    balancer.output(),
                    balancer.control("show packets").unwrap_or_default()
                )
            });
            let (four, six) = client.unwrap_or(("198.51.100.2", "2001:db8:1::2"));
            let wanted = if vip.starts_with('[') { six } else { four };
            assert_eq!(heard.client.ip().to_string(), wanted);
            names.push(heard.name);
        }
        names.sort();
        assert_eq!(names, ["one", "two"], "in turns");
    }
    let answer = net.within("c", || {
        ask(
            &udp(at("198.51.100.2:5353"), at("198.51.100.80:53")),
            &[7; 1000],
        )
    });
    answer.expect("an answer");
    drop(balancer);
    detach(&net, "l");
}

#[test]
fn one_arm_is_inline_by_its_vlans() {
    serves_vlans("auto", VLANS, None);
}

#[test]
fn one_arm_is_inline_by_its_vlans_in_the_driver() {
    serves_vlans("xdp", VLANS, None);
}

#[test]
fn full_nat_leads_from_one_vlan_to_another() {
    let config = VLANS
        .replace(
            "backend web\n    mode packet\n    forward nat",
            "backend web\n    mode packet\n    forward nat source 10.0.0.200",
        )
        .replace(
            "backend six\n    mode packet\n    forward nat",
            "backend six\n    mode packet\n    forward nat source fd00::200",
        );
    serves_vlans("clsact", &config, Some(("10.0.0.200", "fd00::200")));
}
