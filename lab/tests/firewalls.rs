//! `forward route`: two balancers with two stateful firewalls between them, which drop what comes the
//! wrong way.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/ends.rs"]
mod ends;
#[path = "packet/firewalls.rs"]
mod firewalls;
#[path = "packet/net.rs"]
mod net;

use balancer::{Balancer, detach};
use ends::{MUCH, ask, talk, udp};
use firewalls::{CONVERSATIONS, inner, is, outer, routes_of};
use net::{Net, possible_with, wait_until};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The last numbers of clients inside.
const CLIENTS: std::ops::Range<u32> = 2..20;

/// inside – a – two firewalls – b – outside.
fn chain() -> Net {
    let net = Net::new(&["in", "a", "wi", "f1", "f2", "wo", "b", "out"]);
    net.cable("in:e0", "a:near");
    net.cable("out:e0", "b:near");
    for (switch, balancer, side) in [("wi", "a", "i"), ("wo", "b", "o")] {
        net.ip(switch, "link add name switch type bridge");
        net.ip(switch, "link set dev switch up");
        net.cable(&format!("{switch}:pb"), &format!("{balancer}:far"));
        for n in 1..=2 {
            net.cable(&format!("{switch}:p{n}"), &format!("f{n}:{side}"));
        }
        for port in ["pb", "p1", "p2"] {
            net.ip(switch, &format!("link set dev {port} master switch"));
        }
        net.open_for_programs(switch, "pb");
    }
    net.open_for_programs("in", "e0");
    net.open_for_programs("out", "e0");
    let add = |host: &str, address: &str, link: &str| {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        net.ip(host, &format!("addr add {address} dev {link}{nodad}"));
    };
    for n in CLIENTS {
        add("in", &format!("10.0.0.{n}/24"), "e0");
        add("in", &format!("fd00::{n}/64"), "e0");
    }
    for (host, four, six, link) in [
        ("a", "10.0.0.1/24", "fd00::1/64", "near"),
        ("a", "10.1.0.254/24", "fd01::254/64", "far"),
        ("f1", "10.1.0.1/24", "fd01::1/64", "i"),
        ("f2", "10.1.0.2/24", "fd01::2/64", "i"),
        ("f1", "10.2.0.1/24", "fd02::1/64", "o"),
        ("f2", "10.2.0.2/24", "fd02::2/64", "o"),
        ("b", "10.2.0.254/24", "fd02::254/64", "far"),
        ("b", "198.51.100.1/24", "2001:db8::1/64", "near"),
        ("out", "198.51.100.2/24", "2001:db8::2/64", "e0"),
    ] {
        add(host, four, link);
        add(host, six, link);
    }
    for (host, to, via) in [
        ("in", "default", "10.0.0.1"),
        ("in", "default", "fd00::1"),
        ("out", "default", "198.51.100.1"),
        ("out", "default", "2001:db8::1"),
        ("a", "default", "10.1.0.1"),
        ("a", "default", "fd01::1"),
        ("b", "default", "10.2.0.1"),
        ("b", "default", "fd02::1"),
    ] {
        net.ip(host, &format!("route add {to} via {via}"));
    }
    for host in ["a", "b", "f1", "f2"] {
        net.exec(
            host,
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
        );
    }
    firewalls::guard(&net);
    firewalls::serve(&net);
    net
}

/// Conversations in both directions, of both families.
fn everything_goes_through(net: &Net, a: &Balancer, b: &Balancer, bytes: usize) {
    let said = || {
        let show = |x: &Balancer| {
            format!(
                "{}\n{}\n{}",
                x.output(),
                x.control("show flows").unwrap_or_default(),
                x.control("show packets").unwrap_or_default()
            )
        };
        format!("a: {}\nb: {}", show(a), show(b))
    };
    for (host, to) in CONVERSATIONS {
        let heard = net.within(host, move || talk(at(to), bytes));
        heard.unwrap_or_else(|e| panic!("{to}: {e}\n{}", said()));
    }
    for n in CLIENTS {
        let heard = net.within("in", move || {
            let four = udp(at(&format!("10.0.0.{n}:5353")), at("198.51.100.2:80"));
            let six = udp(at(&format!("[fd00::{n}]:5353")), at("[2001:db8::2]:80"));
            [ask(&four, b"question"), ask(&six, b"question")]
        });
        for heard in heard {
            heard.unwrap_or_else(|e| panic!("client {n}: {e}\n{}", said()));
        }
    }
}

/// Directions of conversations that a firewall has met: both ends, the sender first.
fn met(net: &Net, firewall: &str) -> BTreeSet<[String; 4]> {
    let sets = net.exec(firewall, "nft list table inet firewall");
    let ends = |line: &str| {
        let (ends, _) = line.split_once(" counter packets ")?;
        let ends = ends.rsplit(['{', ',']).next()?;
        let ends: Vec<String> = ends.split(" . ").map(|w| w.trim().to_string()).collect();
        ends.try_into().ok()
    };
    let elements = sets.split_inclusive(" packets ");
    elements.filter_map(ends).collect()
}

/// No direction of a session was met by both firewalls, and whoever met one direction met the other.
fn each_crossed_one(net: &Net) {
    let (first, second) = (met(net, "f1"), met(net, "f2"));
    assert!(
        first.len() > 20 && second.len() > 20,
        "{first:?} {second:?}"
    );
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");
    for met in [first, second] {
        for [from, port, to, other] in &met {
            let back = [to, other, from, port].map(String::clone);
            assert!(met.contains(&back), "no {back:?} in {met:?}");
        }
    }
}

/// Whether a session of the inner balancer's goes through the first firewall.
fn is_through_first(flows: &str, client: SocketAddr) -> bool {
    let line = flows
        .lines()
        .find(|l| l.contains(&format!("src={client} ")));
    let line = line.unwrap_or_else(|| panic!("{client}: {flows}"));
    line.contains("srv=fw1")
}

/// The first firewall dies, on these links of its; its sessions move, the others stay.
fn dies_on(net: &Net, a: &Balancer, b: &Balancer, links: &[&str]) {
    let both = [a, b];
    let open = |n: u32| {
        net.within("in", move || {
            let socket = bound(at(&format!("10.0.0.{n}:0")), at("198.51.100.2:80"));
            let asks = udp(at(&format!("10.0.0.{n}:0")), at("198.51.100.2:80"));
            ask(&asks, b"before").expect("an answer");
            (socket, asks)
        })
    };
    let open: Vec<(TcpStream, UdpSocket)> = CLIENTS.map(open).collect();
    let flows = a.control("show flows").expect("answers");
    let (first, second): (Vec<_>, Vec<_>) = open
        .into_iter()
        .partition(|(stream, _)| is_through_first(&flows, stream.local_addr().expect("known")));
    assert!(!first.is_empty() && !second.is_empty());
    for link in links {
        net.ip("f1", &format!("link set dev {link} down"));
    }
    is(&both, "fw1", "DOWN");
    is(&both, "fw2", "UP");
    // The other one takes datagrams that it has not seen the first of, and no such segments.
    for (_, asks) in &first {
        wait_until("sessions move", || ask(asks, b"after").is_ok());
        let flows = a.control("show flows proto=udp").expect("answers");
        let own = asks.local_addr().expect("known");
        assert!(!is_through_first(&flows, own), "{own}: {flows}");
    }
    everything_goes_through(net, a, b, 100_000);
    for (mut stream, asks) in second {
        ask(&asks, b"after").expect("it stays where it is");
        let own = stream.local_addr().expect("known");
        stream.write_all(b"more").expect("room");
        stream.shutdown(Shutdown::Write).expect("room");
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("an answer");
        let back = String::from_utf8_lossy(&back).into_owned();
        assert!(back.contains(" 4 "), "{own} stays where it is: {back}");
    }
    for link in links {
        net.ip("f1", &format!("link set dev {link} up"));
        let network = if *link == "i" { 1 } else { 2 };
        let six = format!("fd0{network}::1/64");
        net.ip("f1", &format!("addr replace {six} dev {link} nodad"));
    }
    routes_of(net, "f1");
    is(&both, "fw1", "UP");
    everything_goes_through(net, a, b, 100_000);
}

#[test]
fn a_session_crosses_one_firewall_in_both_directions() {
    if !possible_with(&["nft"]) {
        return;
    }
    let net = chain();
    // A busy machine may be late with an echo.
    let a = Balancer::start(&net, "a", &inner());
    let b = Balancer::start(&net, "b", &outer());
    let both = [&a, &b];
    is(&both, "fw1", "UP");
    is(&both, "fw2", "UP");
    everything_goes_through(&net, &a, &b, MUCH);
    each_crossed_one(&net);
    for balancer in both {
        let flows = balancer.control("show flows").expect("answers");
        assert!(
            flows.contains("srv=fw1") && flows.contains("srv=fw2"),
            "{flows}"
        );
    }
    // Its far side alone: nothing on the link tells the inner balancer.
    dies_on(&net, &a, &b, &["o"]);
    dies_on(&net, &a, &b, &["i", "o"]);
    for balancer in ["a", "b"] {
        detach(&net, balancer);
        let rules = net.exec(balancer, "ip rule show");
        assert!(!rules.contains("fwmark"), "{rules}");
    }
}

/// A connection from this address.
fn bound(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(from),
        socket2::Type::STREAM,
        None,
    );
    let socket = socket.expect("a socket");
    socket.bind(&from.into()).expect("binds");
    socket
        .connect_timeout(&to.into(), Duration::from_secs(3))
        .expect("connects");
    let stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(lab::net::PATIENCE))
        .expect("a timeout");
    stream
}
