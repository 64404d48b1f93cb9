//! Services of prefixes, and `forward route`: packet in, packet out.

mod common;

use common::*;
use packet::abi::{self, Service, feature, forward, no_flow, schedule};
use packet::guard::abi::{Guard, Limit, flag};
use packet::guard::set_guard;
use std::net::SocketAddr;

const BOTH: u32 = feature::PREFIX | feature::ROUTE;
const SECOND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];

fn route() -> Service {
    Service {
        forward: forward::ROUTE,
        schedule: schedule::PAIR,
        no_flow: no_flow::HASH,
        ..Service::default()
    }
}

fn passed_on(frame: &Frame, mac: [u8; 6]) -> Frame {
    Frame {
        to: mac,
        from: INNER_MAC,
        ttl: frame.ttl - 1,
        ..frame.clone()
    }
}

struct Family {
    all: &'static str,
    inside: &'static str,
    outside: &'static str,
    firewalls: [&'static str; 2],
    number: u16,
}

const FAMILIES: [Family; 2] = [
    Family {
        all: "0.0.0.0/0",
        inside: "10.0.0.7:40000",
        outside: "198.51.100.9:443",
        firewalls: ["10.1.0.1:0", "10.1.0.2:0"],
        number: 4,
    },
    Family {
        all: "::/0",
        inside: "[fd00::7]:40000",
        outside: "[2001:db8::9]:443",
        firewalls: ["[fd01::1]:0", "[fd01::2]:0"],
        number: 6,
    },
];

#[test]
fn what_a_firewall_lets_through_is_not_guarded() {
    for f in &FAMILIES {
        let features = BOTH | feature::GUARD | feature::LIMITS;
        let Some(mut bench) = bench_with(features) else {
            return;
        };
        let guarded = Service {
            guard: 3,
            ..route()
        };
        let first = bench.serve_prefix(HERE, f.all, 0, guarded, &f.firewalls.map(at));
        // Nothing may come.
        let never = Limit {
            cost: 1 << 16,
            burst: 0,
        };
        let guard = Guard {
            flags: flag::SERVICE,
            service: [never; 3],
            ..Guard::default()
        };
        set_guard(&bench.0, 3, &guard).expect("written");
        let packet = udp(f.inside, f.outside, b"x").bytes();
        bench.expect(&packet, XDP_DROP);
        bench.gateway(HERE, CLIENT_MAC, f.number, first);
        bench.expect(&packet, XDP_PASS);
    }
}

/// A bench with two firewalls behind; the first one's index.
fn firewalls(f: &Family) -> Option<(Bench, u32)> {
    let mut bench = bench_with(BOTH)?;
    let first = bench.serve_prefix(HERE, f.all, 0, route(), &f.firewalls.map(at));
    bench.change(first + 1, |s| s.hop.dst = SECOND_MAC);
    Some((bench, first))
}

#[test]
fn transit_traffic_crosses_a_firewall_with_its_addresses_and_ports() {
    for f in &FAMILIES {
        let Some((mut bench, _)) = firewalls(f) else {
            return;
        };
        let syn = tcp(f.inside, f.outside, SYN, b"");
        let out = bench.expect(&syn.bytes(), XDP_REDIRECT);
        let mac: [u8; 6] = out[..6].try_into().expect("six bytes");
        assert!(mac == SERVER_MAC || mac == SECOND_MAC);
        same(&out, &passed_on(&syn, mac).bytes(), "SYN");
        for data in [&b"x"[..], &[7; 1000]] {
            let more = tcp(f.inside, f.outside, ACK, data);
            let out = bench.expect(&more.bytes(), XDP_REDIRECT);
            same(&out, &passed_on(&more, mac).bytes(), "data");
        }
        // What the firewall lets back goes the way the first packet came.
        let back = Frame {
            to: INNER_MAC,
            from: mac,
            ..tcp(f.outside, f.inside, SYN | ACK, b"")
        };
        let wanted = Frame {
            to: CLIENT_MAC,
            from: OWN_MAC,
            ttl: 63,
            ..back.clone()
        };
        same(
            &bench.expect(&back.bytes(), XDP_TX),
            &wanted.bytes(),
            "answer",
        );
        assert_eq!(bench.sessions(), 2);
    }
}

/// The index of the firewall that a frame goes to.
fn chosen(bench: &mut Bench, frame: &Frame, first: u32) -> u32 {
    let out = bench.expect(&frame.bytes(), XDP_REDIRECT);
    first + u32::from(out[..6] == SECOND_MAC)
}

#[test]
fn both_balancers_choose_the_same_firewall_for_both_directions() {
    for f in &FAMILIES {
        let Some((mut inside, first)) = firewalls(f) else {
            return;
        };
        let Some((mut outside, other)) = firewalls(f) else {
            return;
        };
        let mut met = [0; 2];
        for n in 1..=64 {
            let from = match f.number {
                4 => format!("10.0.{n}.7:40000"),
                _ => format!("[fd00::{n}]:40000"),
            };
            let there = chosen(&mut inside, &udp(&from, f.outside, b"x"), first) - first;
            // The outer one knows nothing of the session, nor do ports matter.
            let to = from.replace("40000", "53");
            let back = chosen(&mut outside, &udp(f.outside, &to, b"x"), other) - other;
            assert_eq!(there, back, "{from}");
            met[there as usize] += 1;
        }
        assert!(met.iter().all(|n| *n > 10), "{met:?}");
    }
}

#[test]
fn answers_go_back_to_the_firewall_that_the_first_packet_came_through() {
    for f in &FAMILIES {
        for n in 0..2 {
            let Some((mut bench, first)) = firewalls(f) else {
                return;
            };
            let mac = [SERVER_MAC, SECOND_MAC][n as usize];
            bench.gateway(HERE, mac, f.number, first + n);
            // For somebody behind us: the stack knows the way.
            let came = Frame {
                from: mac,
                ..tcp(f.outside, f.inside, SYN, b"")
            };
            same(
                &bench.expect(&came.bytes(), XDP_PASS),
                &came.bytes(),
                "untouched",
            );
            let answer = tcp(f.inside, f.outside, SYN | ACK, b"");
            let out = bench.expect(&answer.bytes(), XDP_REDIRECT);
            same(&out, &passed_on(&answer, mac).bytes(), "answer");
        }
    }
}

#[test]
fn sessions_of_a_dead_firewall_move_and_the_others_stay() {
    let f = &FAMILIES[0];
    let Some((mut bench, first)) = firewalls(f) else {
        return;
    };
    let sessions: Vec<Frame> = (1..=32)
        .map(|n| tcp(&format!("10.0.{n}.7:40000"), f.outside, SYN, b""))
        .collect();
    let before: Vec<u32> = sessions
        .iter()
        .map(|s| chosen(&mut bench, s, first))
        .collect();
    bench
        .0
        .set_table(first, &[first + 1, first + 1])
        .expect("a table");
    bench.change(first, |s| s.flags = 0);
    for (syn, before) in sessions.iter().zip(&before) {
        let more = tcp(&syn.src.to_string(), f.outside, ACK, b"more");
        assert_eq!(chosen(&mut bench, &more, first), first + 1);
        let _ = before;
    }
    // Back again: who has moved stays, and whoever was there has never moved.
    bench
        .0
        .set_table(first, &[first, first + 1])
        .expect("a table");
    bench.change(first, |s| s.flags = abi::server::TAKES);
    for syn in &sessions {
        let more = tcp(&syn.src.to_string(), f.outside, ACK, b"more");
        assert_eq!(chosen(&mut bench, &more, first), first + 1);
    }
    assert!(before.contains(&first) && before.contains(&(first + 1)));
}

#[test]
fn what_is_for_this_machine_or_for_many_is_left_alone() {
    let f = &FAMILIES[0];
    let Some((mut bench, _)) = firewalls(f) else {
        return;
    };
    bench.prefix(0, "10.0.0.1/32", abi::vip::PASS);
    bench.prefix(0, "224.0.0.0/4", abi::vip::PASS);
    let broadcast = Frame {
        to: [0xff; 6],
        ..udp(f.inside, "10.0.0.255:137", b"x")
    };
    let frames = [
        tcp(f.inside, "10.0.0.1:22", SYN, b""),
        udp(f.inside, "224.0.0.251:5353", b"x"),
        broadcast,
        // No prefix of its family.
        tcp(FAMILIES[1].inside, FAMILIES[1].outside, SYN, b""),
    ];
    for frame in frames {
        same(
            &bench.expect(&frame.bytes(), XDP_PASS),
            &frame.bytes(),
            "untouched",
        );
    }
    assert_eq!(bench.sessions(), 0);
}

#[test]
fn pieces_and_other_protocols_cross_too() {
    let f = &FAMILIES[0];
    let Some((mut bench, first)) = firewalls(f) else {
        return;
    };
    let whole = chosen(&mut bench, &udp(f.inside, f.outside, b"x"), first);
    let piece = Frame {
        fragment: 0x2001,
        ..udp(f.inside, f.outside, &[1; 64])
    };
    assert_eq!(chosen(&mut bench, &piece, first), whole);
    let esp = frame(
        f.inside,
        f.outside,
        Load::Raw {
            proto: 50,
            data: vec![9; 40],
        },
    );
    assert_eq!(chosen(&mut bench, &esp, first), whole);
}

#[test]
fn errors_about_a_session_take_its_way() {
    let f = &FAMILIES[0];
    let Some((mut bench, first)) = firewalls(f) else {
        return;
    };
    let sent = tcp(f.outside, f.inside, ACK, b"too large");
    // The session is that of the inside.
    let whole = chosen(&mut bench, &tcp(f.inside, f.outside, SYN, b""), first);
    let quoted = sent.packet()[..28].to_vec();
    let error = frame(
        "10.0.0.254:0",
        f.outside,
        Load::Icmp {
            kind: 3,
            code: 4,
            word: 1400,
            data: quoted,
        },
    );
    let out = bench.expect(&error.bytes(), XDP_REDIRECT);
    let mac = [SERVER_MAC, SECOND_MAC][(whole - first) as usize];
    same(&out, &passed_on(&error, mac).bytes(), "error");
}

#[test]
fn a_prefix_is_served_like_an_address_and_the_narrower_one_wins() {
    let Some(mut bench) = bench_with(feature::PREFIX) else {
        return;
    };
    let nat = Service::default();
    bench.serve_prefix(0, "203.0.113.0/24", 80, nat, &[at("10.0.0.11:8080")]);
    bench.serve_prefix(HERE, "203.0.113.128/25", 80, nat, &[at("10.0.0.12:8080")]);
    bench.serve_prefix(0, "2001:db8:2::/48", 80, nat, &[at("[fd00::11]:8080")]);
    let cases = [
        ("198.51.100.7:40000", "203.0.113.9:80", "10.0.0.11:8080"),
        ("198.51.100.7:40000", "203.0.113.200:80", "10.0.0.12:8080"),
        (
            "[2001:db8:1::7]:40000",
            "[2001:db8:2:9::1]:80",
            "[fd00::11]:8080",
        ),
    ];
    for (client, vip, server) in cases {
        let syn = tcp(client, vip, SYN, b"");
        let wanted = Frame {
            dst: at(server),
            ..passed_on(&syn, SERVER_MAC)
        };
        same(
            &bench.expect(&syn.bytes(), XDP_REDIRECT),
            &wanted.bytes(),
            vip,
        );
        let back = Frame {
            to: INNER_MAC,
            from: SERVER_MAC,
            ..tcp(server, client, SYN | ACK, b"")
        };
        let wanted = Frame {
            to: CLIENT_MAC,
            from: OWN_MAC,
            src: at(vip),
            ttl: 63,
            ..back.clone()
        };
        same(
            &bench.expect(&back.bytes(), XDP_TX),
            &wanted.bytes(),
            "answer",
        );
    }
    for vip in ["203.0.114.9:80", "203.0.113.9:81"] {
        let syn = tcp("198.51.100.7:40000", vip, SYN, b"");
        same(
            &bench.expect(&syn.bytes(), XDP_PASS),
            &syn.bytes(),
            "nobody's",
        );
    }
}

const SNAT: u32 = feature::PREFIX | feature::SNAT;

/// A bench where servers of this prefix leave with addresses of a pool.
fn outward(from: &str, first: &str, addresses: u32, ports: (u16, u16)) -> Option<Bench> {
    let mut bench = bench_with(SNAT)?;
    let service = Service {
        pool_first: abi::address(ip(first)),
        pool_size: addresses,
        port_first: ports.0,
        port_last: ports.1,
        ..Service::default()
    };
    bench.serve_prefix(abi::SOURCES, from, 0, service, &[]);
    Some(bench)
}

/// The pool's address and port that a server's packet got.
fn left_from(bench: &mut Bench, frame: &Frame) -> Option<SocketAddr> {
    bench.run(&frame.bytes());
    let mut flows = bench.0.flows().expect("flows");
    let key = abi::FlowKey {
        src: abi::address(frame.src.ip()),
        dst: abi::address(frame.dst.ip()),
        sport: frame.src.port().to_be(),
        dport: frame.dst.port().to_be(),
        proto: frame.proto(),
        ..abi::FlowKey::default()
    };
    let mut flow = flows.get(&key, 0).ok()?;
    // As if the routes had said so.
    flow.hop = abi::Hop {
        dst: SERVER_MAC,
        src: INNER_MAC,
        ifindex: BEHIND,
        ..abi::Hop::default()
    };
    flow.epoch = 0;
    flows.insert(key, flow, 0).expect("there");
    Some((abi::ip(&flow.src), u16::from_be(flow.sport)).into())
}

#[test]
fn connections_of_servers_leave_with_an_address_of_the_pool_and_come_back() {
    let cases = [
        (
            "10.0.0.0/24",
            "203.0.113.20",
            "10.0.0.11:40000",
            "198.51.100.9:443",
        ),
        (
            "fd00::/64",
            "2001:db8:2::20",
            "[fd00::11]:40000",
            "[2001:db8::9]:443",
        ),
    ];
    for (from, pool, server, far) in cases {
        let Some(mut bench) = outward(from, pool, 4, (1024, 65535)) else {
            return;
        };
        for protocol in [TCP, UDP] {
            let out = |flags, data: &[u8]| match protocol {
                TCP => tcp(server, far, flags, data),
                _ => udp(server, far, data),
            };
            let own = left_from(&mut bench, &out(SYN, b"x")).expect("a session");
            let last = |ip: std::net::IpAddr| abi::address(ip)[15];
            assert!((last(ip(pool))..last(ip(pool)) + 4).contains(&last(own.ip())));
            let more = out(ACK, b"more");
            let wanted = Frame {
                src: own,
                ..passed_on(&more, SERVER_MAC)
            };
            same(
                &bench.expect(&more.bytes(), XDP_REDIRECT),
                &wanted.bytes(),
                "out",
            );
            let back = Frame {
                to: INNER_MAC,
                from: SERVER_MAC,
                src: more.dst,
                dst: own,
                ..out(SYN | ACK, b"answer")
            };
            let wanted = Frame {
                to: CLIENT_MAC,
                from: OWN_MAC,
                dst: at(server),
                ttl: 63,
                ..back.clone()
            };
            same(
                &bench.expect(&back.bytes(), XDP_TX),
                &wanted.bytes(),
                "back",
            );
            // A router beyond has something to say about what left.
            let quoted = Frame {
                src: own,
                ..more.clone()
            };
            let (kind, code) = if own.is_ipv4() { (3, 4) } else { (2, 0) };
            let error = |to: SocketAddr, about: &Frame| {
                frame(
                    &SocketAddr::new(at(far).ip(), 0).to_string(),
                    &SocketAddr::new(to.ip(), 0).to_string(),
                    Load::Icmp {
                        kind,
                        code,
                        word: 1400,
                        data: about.packet()[..if own.is_ipv4() { 28 } else { 48 }].to_vec(),
                    },
                )
            };
            let out = bench.expect(&error(own, &quoted).bytes(), XDP_TX);
            assert!(sums_are_right(&out));
            let inner = if own.is_ipv4() {
                14 + 20 + 8
            } else {
                14 + 40 + 8
            };
            let ports = inner + if own.is_ipv4() { 20 } else { 40 };
            assert_eq!(
                out[ports..ports + 2],
                40000u16.to_be_bytes(),
                "the server's port"
            );
        }
    }
}

#[test]
fn what_stays_or_does_not_begin_keeps_its_address_and_an_empty_pool_is_counted() {
    let Some(mut bench) = outward("10.0.0.0/24", "203.0.113.20", 1, (2000, 2001)) else {
        return;
    };
    bench.prefix(0, "10.9.0.1/32", abi::vip::PASS);
    let kept = [
        tcp("10.0.0.11:40000", "10.0.0.12:80", SYN, b""),
        tcp("10.0.0.11:40000", "10.9.0.1:22", SYN, b""),
        tcp("10.0.0.11:40000", "198.51.100.9:443", ACK, b"x"),
        tcp("10.0.1.11:40000", "198.51.100.9:443", SYN, b""),
    ];
    for frame in kept {
        same(
            &bench.expect(&frame.bytes(), XDP_PASS),
            &frame.bytes(),
            "untouched",
        );
    }
    let mut got = Vec::new();
    for port in 1..=3 {
        let syn = tcp(&format!("10.0.0.11:{port}"), "198.51.100.9:443", SYN, b"");
        got.extend(left_from(&mut bench, &syn));
    }
    got.sort();
    assert_eq!(got, [at("203.0.113.20:2000"), at("203.0.113.20:2001")]);
    assert_eq!(bench.0.event("pool-empty"), 1);
    let other = tcp("10.0.0.11:3", "198.51.100.10:443", SYN, b"");
    assert!(
        left_from(&mut bench, &other).is_some(),
        "to another host there is room"
    );
}
