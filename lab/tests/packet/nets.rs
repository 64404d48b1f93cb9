//! Networks that several files of tests lay out: the balancer between clients and servers, and the
//! balancer with one arm beside a router.
#![allow(dead_code)] // each test file uses its part

use crate::balancer::mulgil;
use crate::ends::{serve_http, serve_tcp, serve_udp};
use crate::net::Net;
use std::net::SocketAddr;

/// An address with a port.
#[track_caller]
pub fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A way to lay a cable: [`Net::cable`] or [`Net::loose_cable`].
pub type Cable = fn(&Net, &str, &str);

/// The names that the servers `s1` and `s2` say.
pub const SERVERS: [(&str, &str); 2] = [("s1", "one"), ("s2", "two")];

/// client – balancer – switch – two servers; the servers' gateway is the balancer. At port 8080 they
/// take all that comes, at 8000 they speak HTTP.
pub fn two_arms_of(cable: Cable) -> Net {
    let net = Net::new(&["c", "l", "w", "s1", "s2"]);
    cable(&net, "c:e0", "l:front");
    cable(&net, "w:trunk", "l:back");
    net.ip("w", "link add name switch type bridge");
    net.ip("w", "link set dev switch up");
    net.ip("w", "link set dev trunk master switch");
    for n in 1..=2 {
        cable(&net, &format!("w:p{n}"), &format!("s{n}:e0"));
        net.ip("w", &format!("link set dev p{n} master switch"));
        let host = format!("s{n}");
        net.ip(&host, &format!("addr add 10.0.0.1{n}/24 dev e0"));
        net.ip(&host, &format!("addr add fd00::1{n}/64 dev e0 nodad"));
        net.ip(&host, "route add default via 10.0.0.1");
        net.ip(&host, "route add default via fd00::1");
    }
    net.ip("c", "addr add 198.51.100.2/24 dev e0");
    net.ip("c", "addr add 2001:db8:1::2/64 dev e0 nodad");
    net.ip("c", "route add 10.0.0.0/24 via 198.51.100.1");
    net.ip("c", "route add fd00::/64 via 2001:db8:1::1");
    net.ip("l", "addr add 198.51.100.1/24 dev front");
    net.ip("l", "addr add 2001:db8:1::1/64 dev front nodad");
    net.ip("l", "addr add 10.0.0.1/24 dev back");
    net.ip("l", "addr add fd00::1/64 dev back nodad");
    forward(&net, "l");
    net.open_for_programs("c", "e0");
    net.open_for_programs("w", "trunk");
    for (host, name) in SERVERS {
        let n = &host[1..];
        let addresses = [format!("10.0.0.1{n}"), format!("[fd00::1{n}]")];
        net.within(host, move || {
            for address in addresses {
                serve_tcp(at(&format!("{address}:8080")), name);
                serve_udp(at(&format!("{address}:8080")), name);
                serve_http(at(&format!("{address}:8000")), name);
            }
        });
    }
    net
}

/// client – balancer – one machine with two servers, whose gateway the balancer is.
pub fn line() -> Net {
    let net = Net::new(&["c", "l", "s"]);
    net.loose_cable("c:e0", "l:front");
    net.loose_cable("s:e0", "l:back");
    for n in 2..6 {
        net.ip("c", &format!("addr add 198.51.100.{n}/24 dev e0"));
    }
    net.ip("l", "addr add 198.51.100.1/24 dev front");
    net.ip("l", "addr add 10.0.0.1/24 dev back");
    net.exec("l", "sysctl -qw net.ipv4.ip_forward=0");
    for n in 1..=2 {
        net.ip("s", &format!("addr add 10.0.0.1{n}/24 dev e0"));
    }
    net.ip("s", "route add default via 10.0.0.1");
    net.within("s", || {
        for (address, name) in [("10.0.0.11", "one"), ("10.0.0.12", "two")] {
            serve_tcp(at(&format!("{address}:80")), name);
            serve_udp(at(&format!("{address}:53")), name);
        }
    });
    net
}

/// The kernel routes packets of both families.
pub fn forward(net: &Net, host: &str) {
    let both = "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
    net.exec(host, both);
}

/// What is not the same in all networks of one arm.
#[derive(Clone, Copy)]
pub struct OneArm {
    /// Words after `mulgil server-setup`; nothing is set up where there are none.
    pub setup: &'static str,
    /// How cables are laid.
    pub cable: Cable,
    /// Servers are in a network of their own, behind the router.
    pub far: bool,
    /// The servers' gateway is the balancer.
    pub gateway: bool,
    /// Each address is served by the servers' addresses of the other family.
    pub crossed: bool,
}

/// The virtual addresses in such a network.
pub const VIPS: [&str; 2] = ["203.0.113.100", "2001:db8:3::100"];

impl OneArm {
    /// The beginnings of the servers' addresses of both families: their numbers follow.
    pub fn servers(&self) -> [&'static str; 2] {
        match self.far {
            true => ["10.1.0.", "fd01::"],
            false => ["203.0.113.", "2001:db8:3::"],
        }
    }

    /// client – router – one network with the balancer, and two servers there or on another link of
    /// the router. They take all that comes at port 80, speak HTTP at 8000, and answer datagrams at 53.
    pub fn lay(self) -> Net {
        let net = Net::new(&["c", "r", "w", "l", "s1", "s2"]);
        let cable = self.cable;
        cable(&net, "c:e0", "r:out");
        let [four, six] = self.servers();
        let servers = if self.far { "far" } else { "lan" };
        let lan = ["203.0.113.", "2001:db8:3::"];
        let mut switches = String::new();
        for switch in ["lan", "far"] {
            switches += &format!("link add name {switch} up type bridge mcast_snooping 0\n");
        }
        let gateway = if self.gateway { 2 } else { 1 };
        let by_default = |[four, six]: [&str; 2], n: u32| {
            format!("route add default via {four}{n}\nroute add default via {six}{n}\n")
        };
        for (host, port, switch, own, net_of, n, more) in [
            ("r", "p0", "lan", "lan", lan, 1, String::new()),
            (
                "r",
                "p4",
                "far",
                "far",
                ["10.1.0.", "fd01::"],
                1,
                String::new(),
            ),
            ("l", "p1", "lan", "lan", lan, 2, by_default(lan, 1)),
            (
                "s1",
                "p2",
                servers,
                "lan",
                [four, six],
                11,
                by_default([four, six], gateway),
            ),
            (
                "s2",
                "p3",
                servers,
                "lan",
                [four, six],
                12,
                by_default([four, six], gateway),
            ),
        ] {
            cable(&net, &format!("w:{port}"), &format!("{host}:{own}"));
            switches += &format!("link set dev {port} master {switch}\n");
            let [four, six] = net_of;
            net.ip_lines(
                host,
                &format!(
                    "addr add {four}{n}/24 dev {own}\naddr add {six}{n}/64 dev {own} nodad\n{more}"
                ),
            );
        }
        net.ip_lines("w", &switches);
        net.ip_lines(
            "r",
            "addr add 198.51.100.1/24 dev out\naddr add 2001:db8:1::1/64 dev out nodad\n",
        );
        net.ip_lines(
            "c",
            "addr add 198.51.100.2/24 dev e0
addr add 2001:db8:1::2/64 dev e0 nodad
route add default via 198.51.100.1
route add default via 2001:db8:1::1
",
        );
        forward(&net, "r");
        net.open_for_programs("w", "p1");
        self.set_up(&net, "");
        for (host, name) in SERVERS {
            let n = &host[1..];
            let mut own = vec![format!("{four}1{n}"), format!("[{six}1{n}]")];
            if !self.setup.is_empty() {
                own.extend([VIPS[0].to_string(), format!("[{}]", VIPS[1])]);
            }
            net.within(host, move || {
                for address in own {
                    serve_tcp(at(&format!("{address}:80")), name);
                    serve_http(at(&format!("{address}:8000")), name);
                    serve_udp(at(&format!("{address}:53")), name);
                }
            });
        }
        net
    }

    /// Sets both servers up, or with more words takes that back.
    pub fn set_up(&self, net: &Net, more: &str) {
        if self.setup.is_empty() {
            return;
        }
        let command = format!("server-setup {} {more}", self.setup);
        std::thread::scope(|both| {
            for (host, _) in SERVERS {
                both.spawn(|| mulgil(net, host, &command));
            }
        });
    }

    /// A configuration with an address of each family, served in this way; a pool of full NAT is
    /// that of the family.
    pub fn config(&self, forward: impl Fn(usize) -> String) -> String {
        let mut text = String::new();
        for (family, name) in ["four", "six"].into_iter().enumerate() {
            let of = if self.crossed { 1 - family } else { family };
            let (vip, own) = (VIPS[family], self.servers()[of]);
            let vip = if family == 1 {
                format!("[{vip}]")
            } else {
                vip.to_string()
            };
            let forward = forward(family);
            let server = |n: u32| match of {
                1 => format!("[{own}{n}]"),
                _ => format!("{own}{n}"),
            };
            let (one, two) = (server(11), server(12));
            // A lost packet is sent again after a second: a check may take as long as its interval.
            text.push_str(&format!(
                "frontend {name}
    mode packet
    bind {vip}:80,{vip}:8000
    default_backend {name}
frontend dns-{name}
    mode packet
    bind {vip}:53 proto udp
    default_backend {name}
backend {name}
    mode packet
    forward {forward}
    server one {one} check port 80 inter 2s fastinter 200ms downinter 200ms fall 2 rise 1
    server two {two} check port 80 inter 2s fastinter 200ms downinter 200ms fall 2 rise 1
"
            ));
        }
        text
    }
}
