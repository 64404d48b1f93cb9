//! `snat`: what servers open outward leaves with an address of a pool.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/ends.rs"]
mod ends;
#[path = "packet/net.rs"]
mod net;

use balancer::{Balancer, detach};
use ends::{MUCH, ask, serve_tcp, serve_udp, talk, udp};
use net::{Net, possible, wait_until};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn servers_reach_the_outside_by_the_pool_and_are_served_as_before() {
    if !possible() {
        return;
    }
    let net = Net::new(&["c", "l", "s"]);
    net.cable("c:e0", "l:front");
    net.cable("s:e0", "l:back");
    net.open_for_programs("c", "e0");
    net.open_for_programs("s", "e0");
    for (host, link, four, six) in [
        ("c", "e0", "198.51.100.2/24", "2001:db8::2/64"),
        ("l", "front", "198.51.100.1/24", "2001:db8::1/64"),
        ("l", "back", "10.0.0.1/24", "fd00::1/64"),
        ("s", "e0", "10.0.0.11/24", "fd00::11/64"),
    ] {
        net.ip(host, &format!("addr add {four} dev {link}"));
        net.ip(host, &format!("addr add {six} dev {link} nodad"));
    }
    for via in ["10.0.0.1", "fd00::1"] {
        net.ip("s", &format!("route add default via {via}"));
    }
    net.exec(
        "l",
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
    );
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/own/outward.cfg");
    let config = std::fs::read_to_string(example).expect("an example");
    let balancer = Balancer::start(&net, "l", &config);
    net.within("s", || {
        serve_tcp(at("10.0.0.11:8080"), "server");
        serve_tcp(at("[fd00::11]:8080"), "server");
    });
    net.within("c", || {
        for address in ["198.51.100.2:80", "[2001:db8::2]:80"] {
            serve_tcp(at(address), "outside");
            serve_udp(at(address), "outside");
        }
    });
    let pool = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (20..=23).contains(&ip.octets()[3]) && ip.octets()[..3] == [198, 51, 100],
        IpAddr::V6(ip) => {
            ip.segments()[..7] == [0x2001, 0xdb8, 0, 0, 0, 0, 0] && ip.segments()[7] == 0x20
        }
    };
    for far in ["198.51.100.2:80", "[2001:db8::2]:80"] {
        let heard = net.within("s", move || talk(at(far), MUCH));
        let heard = heard.unwrap_or_else(|e| {
            panic!(
                "{far}: {e}\n{}\n{}",
                balancer.output(),
                balancer.control("show packets").unwrap_or_default()
            )
        });
        assert!(pool(heard.client.ip()), "{}", heard.client);
    }
    for (server, far) in [
        ("10.0.0.11:5353", "198.51.100.2:80"),
        ("[fd00::11]:5353", "[2001:db8::2]:80"),
    ] {
        let answer = net.within("s", move || ask(&udp(at(server), at(far)), b"question"));
        assert_eq!(answer.expect("an answer"), "outside", "{far}");
    }
    // Clients still see the virtual address, and servers the clients'.
    for vip in ["198.51.100.80:80", "[2001:db8::80]:80"] {
        let heard = net
            .within("c", move || talk(at(vip), 1000))
            .expect("served");
        assert!(!pool(heard.client.ip()) && heard.name == "server");
    }
    // A session that is ended from the control socket is over for both sides.
    assert!(
        balancer
            .control("show flows fe=web")
            .expect("answers")
            .contains("srv=one")
    );
    assert!(
        balancer
            .control("clear flows")
            .expect("answers")
            .contains("wants texts")
    );
    let ended = balancer
        .control("clear flows fe=web be=web proto=tcp")
        .expect("answers");
    assert!(
        ended.starts_with(char::is_numeric) && !ended.starts_with('0'),
        "{ended}"
    );
    let left = balancer
        .control("show flows fe=web be=web ")
        .expect("answers");
    assert_eq!(left.trim(), "");
    balancer.control("disable frontend web").expect("answers");
    let short = Duration::from_millis(300);
    wait_until("nothing leaves", || {
        let far = at("198.51.100.2:80");
        net.within("s", move || TcpStream::connect_timeout(&far, short))
            .is_err()
    });
    drop(balancer);
    detach(&net, "l");
}
