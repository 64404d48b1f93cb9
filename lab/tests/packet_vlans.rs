//! One physical arm that is inline by its VLANs, in every way to forward; and a pair of such machines, of
//! which one dies.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/ends.rs"]
mod ends;
#[path = "packet/net.rs"]
mod net;

use balancer::{Balancer, detach};
use ends::{Numbers, serve_numbers};
use lab::Folder;
use net::{Net, possible, wait_until};
use std::net::SocketAddr;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A switch that passes tags, with a client in VLAN 100, a server in VLAN 200, and two balancers that have
/// one arm there and a cable between them.
fn two_balancers() -> Net {
    let net = Net::new(&["c", "w", "l1", "l2", "s"]);
    net.ip("w", "link add name switch type bridge mcast_snooping 0");
    net.ip("w", "link set switch up");
    for (host, port) in [("c", "q0"), ("l1", "q1"), ("l2", "q2"), ("s", "q3")] {
        net.cable(&format!("w:{port}"), &format!("{host}:arm"));
        net.ip("w", &format!("link set dev {port} master switch"));
        let tag = match host {
            "c" => "push100",
            "s" => "push200",
            _ => continue,
        };
        net.classify(host, "arm", "egress", tag);
        net.classify(host, "arm", "ingress", "pop");
    }
    net.cable("l1:e2", "l2:e2");
    for (host, own, addresses) in [
        ("c", 2, ["198.51.100.", "2001:db8:1::"]),
        ("l1", 3, ["198.51.100.", "2001:db8:1::"]),
        ("l2", 4, ["198.51.100.", "2001:db8:1::"]),
        ("l1", 3, ["10.0.0.", "fd00::"]),
        ("l2", 4, ["10.0.0.", "fd00::"]),
        ("s", 11, ["10.0.0.", "fd00::"]),
    ] {
        let [four, six] = addresses;
        net.ip(host, &format!("addr add {four}{own}/24 dev arm"));
        net.ip(host, &format!("addr add {six}{own}/64 dev arm nodad"));
    }
    for n in 1..=2 {
        let host = format!("l{n}");
        net.ip(&host, &format!("addr add 10.9.0.{n}/24 dev e2"));
        let both = "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
        net.exec(&host, both);
    }
    net.ip("s", "route add default via 10.0.0.1");
    net.ip("s", "route add default via fd00::1");
    net.within("s", || {
        serve_numbers(at("10.0.0.11:8080"));
        serve_numbers(at("10.0.0.11:8081"));
        serve_numbers(at("[fd00::11]:8080"));
    });
    net
}

const VIPS: [&str; 3] = [
    "198.51.100.80:80",
    "198.51.100.80:81",
    "[2001:db8:1::80]:80",
];

/// The configuration of the n-th of both.
fn config(n: u8, key: &str) -> String {
    let (priority, other) = (250 - n, 3 - n);
    let mut text = String::new();
    for (name, vip, forward, server) in [
        ("four", VIPS[0], "nat", "10.0.0.11:8080"),
        ("bridged", VIPS[1], "bridge", "10.0.0.11:8081"),
        ("six", VIPS[2], "nat", "[fd00::11]:8080"),
    ] {
        text.push_str(&format!(
            "listen {name}\n    mode packet\n    bind {vip} interface arm vlan 100\n    forward {forward}\n    server one {server} vlan 200\n"
        ));
    }
    for (n, (name, address)) in [
        ("public", "198.51.100.80/24"),
        ("inside", "10.0.0.1/24"),
        ("public-six", "2001:db8:1::80/64"),
        ("inside-six", "fd00::1/64"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = 51 + n;
        text.push_str(&format!(
            "vrrp {name}
    interface arm
    virtual-router-id {id}
    priority {priority}
    advertise-interval 100ms
    address {address}
    group edge
    peer 10.9.0.{other}
    peer-key {key}
    sync sessions
"
        ));
    }
    text
}

fn state(balancer: &Balancer) -> String {
    let shown = balancer.control("show vrrp").unwrap_or_default();
    let packets = balancer.control("show packets").unwrap_or_default();
    let flows = balancer.control("show flows").unwrap_or_default();
    format!("{shown}{packets}{flows}{}", balancer.output())
}

#[test]
fn sessions_in_vlans_and_over_a_bridge_outlive_the_active_machine() {
    if !possible() {
        return;
    }
    let net = two_balancers();
    let keys = Folder::new();
    let key = keys.file("key", b"0123456789abcdef0123456789abcdef\n");
    let first = Balancer::start(&net, "l1", &config(1, &key));
    let second = Balancer::start(&net, "l2", &config(2, &key));
    let shows = |balancer: &Balancer, section: &str, what: &str| {
        let shown = balancer.control(&format!("show vrrp {section}"));
        shown.is_some_and(|t| t.lines().any(|l| l.contains(what)))
    };
    for section in ["public", "inside", "public-six", "inside-six"] {
        wait_until("one is active", || shows(&first, section, "state: active"));
        wait_until("the other is not", || {
            shows(&second, section, "state: backup")
        });
    }
    wait_until("the backup follows", || {
        shows(&second, "public", "receiving in-sync")
    });
    let mut open: Vec<Numbers> = VIPS
        .into_iter()
        .map(|vip| {
            let numbers = || net.within("c", move || Numbers::of(at(vip)));
            let mut found = None;
            // The server has to be found first.
            wait_until(&format!("{vip} serves"), || {
                found = numbers().ok();
                found.is_some()
            });
            let mut numbers = found.expect("connected");
            let heard = numbers.go_on(100);
            heard.unwrap_or_else(|e| panic!("{vip}: {e}\n{}", state(&first)));
            numbers
        })
        .collect();
    let listed = |balancer: &Balancer, name: &str| {
        let flows = balancer.control(&format!("show flows fe={name} ESTABLISHED"));
        flows.is_some_and(|t| t.contains("src="))
    };
    for name in ["four", "bridged", "six"] {
        wait_until("the backup has it", || listed(&second, name));
    }
    // The whole machine dies: nobody says so.
    net.ip("w", "link set q1 down");
    net.ip("l1", "link set e2 down");
    first.kill();
    for section in ["public", "public-six"] {
        wait_until("the backup is active", || {
            shows(&second, section, "state: active")
        });
    }
    for (numbers, vip) in open.iter_mut().zip(VIPS) {
        let heard = numbers.go_on(500);
        heard.unwrap_or_else(|e| panic!("{vip}: {e}\n{}", state(&second)));
        // New ones, too.
        let heard = net.within("c", move || Numbers::of(at(vip))?.go_on(10));
        heard.unwrap_or_else(|e| panic!("{vip}: {e}\n{}", state(&second)));
    }
    drop(second);
    for host in ["l1", "l2"] {
        detach(&net, host);
    }
}
