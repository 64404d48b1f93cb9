//! Two stateful firewalls between an inner and an outer balancer, which drop what comes the wrong way:
//! what they let pass, whom they lead to, and how the balancers are told of them.

use crate::at;
use crate::balancer::Balancer;
use crate::ends::{serve_tcp, serve_udp};
use crate::net::{Net, wait_until};

/// New sessions come from the inside, and to port 8080 from the outside; nothing else begins, and what
/// belongs to no session that began here is dropped. Whatever comes is noted, by both ends.
const RULES: &str = "
table inet firewall {
    set met4 {
        type ipv4_addr . inet_service . ipv4_addr . inet_service
        flags dynamic
        size 65536
        counter
    }
    set met6 {
        type ipv6_addr . inet_service . ipv6_addr . inet_service
        flags dynamic
        size 65536
        counter
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
        meta l4proto { tcp, udp } update @met4 { ip saddr . th sport . ip daddr . th dport }
        meta l4proto { tcp, udp } update @met6 { ip6 saddr . th sport . ip6 daddr . th dport }
        ct state established,related accept
        ct state invalid drop
        meta l4proto { icmp, ipv6-icmp } accept
        iifname i ct state new meta l4proto udp accept
        iifname i ct state new tcp flags & (fin | syn | rst | ack) == syn accept
        iifname o ct state new tcp dport 8080 tcp flags & (fin | syn | rst | ack) == syn accept
    }
}
";

/// Conversations in both directions, of both families: who begins, and with whom.
pub const CONVERSATIONS: [(&str, &str); 4] = [
    ("in", "198.51.100.2:80"),
    ("in", "[2001:db8::2]:80"),
    ("out", "10.0.0.2:8080"),
    ("out", "[fd00::2]:8080"),
];

/// Has both firewalls know where everybody is, and keep the rules.
pub fn guard(net: &Net) {
    let folder = lab::Folder::new();
    let rules = folder.file("rules.nft", RULES.as_bytes());
    for firewall in ["f1", "f2"] {
        routes_of(net, firewall);
        net.exec(firewall, &format!("nft -f {rules}"));
        net.exec(
            firewall,
            "sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0",
        );
    }
}

/// Servers on both sides.
pub fn serve(net: &Net) {
    net.within("out", || {
        for address in ["198.51.100.2:80", "[2001:db8::2]:80"] {
            serve_tcp(at(address), "outside");
            serve_udp(at(address), "outside");
        }
    });
    net.within("in", || {
        for address in ["10.0.0.2:8080", "[fd00::2]:8080"] {
            serve_tcp(at(address), "inside");
        }
    });
}

/// Where everybody is, for a firewall.
pub fn routes_of(net: &Net, firewall: &str) {
    for (to, via) in [
        ("10.0.0.0/24", "10.1.0.254"),
        ("fd00::/64", "fd01::254"),
        ("198.51.100.0/24", "10.2.0.254"),
        ("2001:db8::/64", "fd02::254"),
    ] {
        net.ip(firewall, &format!("route replace {to} via {via}"));
    }
}

/// The configuration of the inner balancer. A busy machine may be late with an echo.
pub fn inner() -> String {
    let example = include_str!("../../../examples/own/firewalls.cfg");
    example.replace("timeout check 500ms", "timeout check 1s")
}

/// That of the outer one: the same firewalls from their other side, and somebody beyond.
pub fn outer() -> String {
    let mut text = inner();
    for (inner, outer) in [
        ("10.1.0.", "10.2.0."),
        ("fd01::", "fd02::"),
        ("198.51.100.2", "10.0.0.2"),
        ("2001:db8::2", "fd00::2"),
    ] {
        assert!(text.contains(inner), "{inner}");
        text = text.replace(inner, outer);
    }
    text
}

/// Waits until both balancers have a firewall in this state, in both families.
pub fn is(balancers: &[&Balancer], server: &str, status: &str) {
    for backend in ["four", "six"] {
        for balancer in balancers {
            wait_until(&format!("{backend}/{server} is {status}"), || {
                // Whoever is up before anybody has asked may go down yet.
                let asked = balancer.stat(backend, server, "check_status");
                let known = status != "UP" || asked.ends_with("OK");
                known && balancer.stat(backend, server, "status").starts_with(status)
            });
        }
    }
}
