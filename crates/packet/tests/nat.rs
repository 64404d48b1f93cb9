//! `forward nat`: packet in, packet out.

mod common;

use common::*;
use packet::abi::{self, Service, forward, no_flow};
use proptest::prelude::*;

fn nat() -> Service {
    Service {
        forward: forward::NAT,
        ..Service::default()
    }
}

/// The frame as the server gets it.
fn forwarded(frame: &Frame, server: &str) -> Frame {
    Frame {
        to: SERVER_MAC,
        from: INNER_MAC,
        dst: at(server),
        ttl: frame.ttl - 1,
        ..frame.clone()
    }
}

/// A server's answer to `frame`, as it reaches the balancer, and as it leaves.
fn answer(frame: &Frame, server: &str, load: Load) -> (Frame, Frame) {
    let came = Frame {
        to: INNER_MAC,
        from: SERVER_MAC,
        src: at(server),
        dst: frame.src,
        load,
        ..frame.clone()
    };
    // Without a route the way back is the way that the client's frame came.
    let left = Frame {
        to: CLIENT_MAC,
        from: OWN_MAC,
        src: frame.dst,
        ttl: 63,
        ..came.clone()
    };
    (came, left)
}

struct Family {
    client: &'static str,
    vip: &'static str,
    server: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        client: "198.51.100.7:40000",
        vip: "203.0.113.10:80",
        server: "10.0.0.11:8080",
    },
    Family {
        client: "[2001:db8:1::7]:40000",
        vip: "[2001:db8:2::10]:80",
        server: "[fd00::11]:8080",
    },
];

fn data(flags: u8, data: &[u8]) -> Load {
    Load::Tcp {
        flags,
        seq: 77,
        ack: 1001,
        options: vec![1, 1, 1, 0],
        data: data.to_vec(),
    }
}

#[test]
fn a_connection_reaches_its_server_and_answers_come_from_the_virtual_address() {
    converses(nat(), 2);
}

#[test]
fn a_half_open_connection_takes_one_entry_and_its_answers_are_known_all_the_same() {
    converses(late(), 1);
}

/// Where one service alone leads to a server.
fn late() -> Service {
    Service { late: 1, ..nat() }
}

/// Whole conversations; `opening` entries of the table are taken by a first packet.
fn converses(service: Service, opening: usize) {
    let Some(mut bench) = bench() else { return };
    for f in FAMILIES {
        let before = bench.sessions();
        bench.service(at(f.vip), TCP, service, &[at(f.server)]);
        bench.expect_answers(at(f.server), at(f.vip), TCP);
        let syn = tcp(f.client, f.vip, SYN, b"");
        same(
            &bench.expect(&syn.bytes(), XDP_REDIRECT),
            &forwarded(&syn, f.server).bytes(),
            "SYN",
        );
        assert_eq!(bench.sessions(), before + opening);
        let (came, left) = answer(&syn, f.server, data(SYN | ACK, b""));
        same(
            &bench.expect(&came.bytes(), XDP_TX),
            &left.bytes(),
            "SYN-ACK",
        );
        for payload in [
            &b"x"[..],
            b"",
            b"GET / HTTP/1.1\r\n\r\n",
            &[0xff; 999],
            &[0; 1000],
        ] {
            let more = tcp(f.client, f.vip, ACK, payload);
            same(
                &bench.expect(&more.bytes(), XDP_REDIRECT),
                &forwarded(&more, f.server).bytes(),
                "data",
            );
            let (came, left) = answer(&more, f.server, data(ACK, payload));
            same(
                &bench.expect(&came.bytes(), XDP_TX),
                &left.bytes(),
                "answer",
            );
        }
    }
}

#[test]
fn a_late_answer_is_of_its_session_only() {
    let Some(mut bench) = bench() else { return };
    for f in FAMILIES {
        bench.service(at(f.vip), TCP, late(), &[at(f.server)]);
        bench.expect_answers(at(f.server), at(f.vip), TCP);
        let sessions = bench.sessions();
        // Of no session; of one that has begun, but no first answer; to another port of its client.
        let syn = tcp(f.client, f.vip, SYN, b"");
        let (foreign, _) = answer(&syn, f.server, data(SYN | ACK, b""));
        assert_eq!(bench.expect(&foreign.bytes(), XDP_PASS), foreign.bytes());
        bench.expect(&syn.bytes(), XDP_REDIRECT);
        let (early, _) = answer(&syn, f.server, data(ACK, b"x"));
        assert_eq!(bench.expect(&early.bytes(), XDP_PASS), early.bytes());
        let mut other = syn.clone();
        other.src.set_port(40_001);
        let (foreign, _) = answer(&other, f.server, data(SYN | ACK, b""));
        assert_eq!(bench.expect(&foreign.bytes(), XDP_PASS), foreign.bytes());
        assert_eq!(bench.sessions(), sessions + 1);
        // A server that refuses: both directions know that it is over, and the port may begin anew.
        let (came, left) = answer(&syn, f.server, data(RST | ACK, b""));
        same(&bench.expect(&came.bytes(), XDP_TX), &left.bytes(), "RST");
        let over = bench.0.flows().expect("flows");
        let over = over.iter().flatten();
        let over = over.filter(|(_, flow)| flow.state & abi::flow_state::RESET != 0);
        assert_eq!(over.count(), if f.server.starts_with('[') { 4 } else { 2 });
        bench.expect(&syn.bytes(), XDP_REDIRECT);
        let (came, left) = answer(&syn, f.server, data(SYN | ACK, b""));
        same(&bench.expect(&came.bytes(), XDP_TX), &left.bytes(), "anew");
        bench.expect(&tcp(f.client, f.vip, RST, b"").bytes(), XDP_REDIRECT);
    }
}

#[test]
fn datagrams_keep_a_missing_sum_missing() {
    let Some(mut bench) = bench() else { return };
    let f = &FAMILIES[0];
    bench.service(at(f.vip), UDP, nat(), &[at(f.server)]);
    for sum in [true, false] {
        let one = frame(
            f.client,
            f.vip,
            Load::Udp {
                sum,
                data: b"odd".to_vec(),
            },
        );
        same(
            &bench.expect(&one.bytes(), XDP_REDIRECT),
            &forwarded(&one, f.server).bytes(),
            "datagram",
        );
        let (came, left) = answer(
            &one,
            f.server,
            Load::Udp {
                sum,
                data: b"answer".to_vec(),
            },
        );
        same(
            &bench.expect(&came.bytes(), XDP_TX),
            &left.bytes(),
            "answer",
        );
    }
}

#[test]
fn a_sum_of_a_datagram_that_comes_out_as_zero_is_written_as_its_other_form() {
    let Some(mut bench) = bench() else { return };
    let f = &FAMILIES[0];
    bench.service(at(f.vip), UDP, nat(), &[at(f.server)]);
    let mut met = 0;
    for word in 0..=u16::MAX {
        let one = frame(
            f.client,
            f.vip,
            Load::Udp {
                sum: true,
                data: word.to_be_bytes().to_vec(),
            },
        );
        let wanted = forwarded(&one, f.server).bytes();
        if wanted[14 + 20 + 6..][..2] == [0xff, 0xff] {
            met += 1;
            same(
                &bench.expect(&one.bytes(), XDP_REDIRECT),
                &wanted,
                "datagram",
            );
        }
    }
    assert!(met > 0);
}

#[test]
fn options_and_tags_are_kept() {
    let Some(mut bench) = bench() else { return };
    let f = &FAMILIES[0];
    bench.service(at(f.vip), TCP, nat(), &[at(f.server)]);
    // Router alert (RFC 2113).
    let syn = Frame {
        ip_options: vec![0x94, 4, 0, 0],
        tos: 0xb9,
        ..tcp(f.client, f.vip, SYN, b"")
    };
    same(
        &bench.expect(&syn.bytes(), XDP_REDIRECT),
        &forwarded(&syn, f.server).bytes(),
        "options",
    );
}

#[test]
fn what_no_service_claims_is_untouched() {
    let Some(mut bench) = bench() else { return };
    for f in FAMILIES {
        bench.service(at(f.vip), TCP, nat(), &[at(f.server)]);
        let mut others = vec![
            udp(f.client, f.vip, b"not this protocol"),
            tcp(f.client, f.server, SYN, b""),
            tcp(f.server, f.client, ACK, b"of no session"),
        ];
        let mut port = tcp(f.client, f.vip, SYN, b"");
        port.dst.set_port(81);
        others.push(port);
        others.push(frame(
            f.client,
            f.vip,
            Load::Icmp {
                kind: 8,
                code: 0,
                word: 1,
                data: vec![],
            },
        ));
        others.push(frame(
            f.client,
            f.vip,
            Load::Raw {
                proto: 50,
                data: vec![1; 40],
            },
        ));
        for other in others {
            let bytes = other.bytes();
            same(&bench.expect(&bytes, XDP_PASS), &bytes, "not ours");
        }
    }
    let lldp = [
        &[1, 0x80, 0xc2, 0, 0, 0xe][..],
        &CLIENT_MAC,
        &[0x88, 0xcc],
        &[0; 46],
    ]
    .concat();
    same(&bench.expect(&lldp, XDP_PASS), &lldp, "no IP");
}

#[test]
fn malformed_packets_are_dropped_and_counted() {
    let Some(mut bench) = bench() else { return };
    let mut wrong: Vec<(String, Vec<u8>)> = Vec::new();
    for f in FAMILIES {
        bench.service(at(f.vip), TCP, nat(), &[at(f.server)]);
        let good = tcp(f.client, f.vip, SYN, b"payload");
        let v4 = good.src.is_ipv4();
        let header = if v4 { 20 } else { 40 };
        let bytes = good.bytes();
        // Behind the driver the kernel takes no test run of less than IP's header.
        let least = if BEHIND_DRIVER { 14 + header } else { 14 };
        for cut in least..14 + header + 20 {
            wrong.push((format!("cut at {cut}"), bytes[..cut].to_vec()));
        }
        let mut change = |what: &str, at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            wrong.push((what.to_string(), bytes));
        };
        change("version", 14, 0x75);
        change("TCP header too short", 14 + header + 12, 0x40);
        change("TCP header past the end", 14 + header + 12, 0xf0);
        if v4 {
            change("IHL 4", 14, 0x44);
            change("IHL past the end", 14, 0x4f);
            change("length past the end", 16, 0x10);
            change("length less than the header", 17, 19);
        } else {
            change("payload past the end", 18, 0x10);
        }
        let mut short = udp(f.client, f.vip, b"data").bytes();
        short[14 + header + 5] = 7;
        wrong.push(("UDP length 7".into(), short.clone()));
        short[14 + header + 5] = 200;
        wrong.push(("UDP length past the end".into(), short));
    }
    for (what, frame) in &wrong {
        let before = bench.0.event("malformed");
        let (verdict, _) = bench.run(frame);
        assert_eq!(verdict, XDP_DROP, "{what}: {}", show(frame));
        assert_eq!(bench.0.event("malformed"), before + 1, "{what}");
    }
    assert_eq!(bench.sessions(), 0);
}

#[test]
fn the_first_packet_of_a_connection_must_be_a_syn() {
    let Some(mut bench) = bench() else { return };
    for f in FAMILIES {
        let stray = tcp(f.client, f.vip, ACK, b"hello");
        bench.service(at(f.vip), TCP, nat(), &[at(f.server)]);
        bench.expect(&stray.bytes(), XDP_DROP);
        bench.service(
            at(f.vip),
            TCP,
            Service {
                no_flow: no_flow::RESET,
                ..nat()
            },
            &[at(f.server)],
        );
        let wanted = Frame {
            to: CLIENT_MAC,
            from: OWN_MAC,
            src: at(f.vip),
            dst: at(f.client),
            id: 0,
            load: Load::Tcp {
                flags: RST,
                seq: 5000,
                ack: 0,
                options: vec![],
                data: vec![],
            },
            ..stray.clone()
        };
        let mut wanted = wanted.bytes();
        // A reset announces no window.
        let place = wanted.len() - 6;
        let old = sum(&wanted[place..place + 2]);
        wanted[place..place + 2].fill(0);
        let kept = u16::from_be_bytes([wanted[place + 2], wanted[place + 3]]);
        let fixed = !(sum(&[(!kept).to_be_bytes(), (!(old as u16)).to_be_bytes()].concat()) as u16);
        wanted[place + 2..place + 4].copy_from_slice(&fixed.to_be_bytes());
        same(&bench.expect(&stray.bytes(), XDP_TX), &wanted, "reset");
        bench.expect(&tcp(f.client, f.vip, RST, b"").bytes(), XDP_DROP);
        bench.service(
            at(f.vip),
            TCP,
            Service {
                no_flow: no_flow::HASH,
                ..nat()
            },
            &[at(f.server)],
        );
        bench.expect(&stray.bytes(), XDP_REDIRECT);
    }
}

#[test]
fn turns_are_even() {
    let Some(mut bench) = bench() else { return };
    let f = &FAMILIES[0];
    let servers = ["10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:9090"];
    bench.service(at(f.vip), TCP, nat(), &servers.map(at));
    let mut shares = std::collections::BTreeMap::new();
    for port in 1..=30 {
        let mut syn = tcp(f.client, f.vip, SYN, b"");
        syn.src.set_port(port);
        let out = bench.expect(&syn.bytes(), XDP_REDIRECT);
        let server = servers.iter().find(|s| out == forwarded(&syn, s).bytes());
        *shares.entry(*server.expect("one of them")).or_insert(0) += 1;
    }
    assert_eq!(shares.values().copied().collect::<Vec<_>>(), [10, 10, 10]);
}

#[test]
fn without_a_server_a_connection_is_refused() {
    let Some(mut bench) = bench() else { return };
    let f = &FAMILIES[0];
    bench.service(at(f.vip), TCP, nat(), &[]);
    let out = bench.expect(&tcp(f.client, f.vip, SYN, b"").bytes(), XDP_TX);
    assert!(sums_are_right(&out));
    assert_eq!(out[14 + 20 + 13], RST | ACK);
    assert_eq!(bench.0.event("no-server"), 1);
}

#[test]
fn sessions_of_a_dead_server_are_reset_and_datagrams_move() {
    let Some(mut bench) = bench() else { return };
    let f = &FAMILIES[0];
    bench.service(at(f.vip), TCP, nat(), &[at(f.server)]);
    bench.service(at(f.vip), UDP, nat(), &[at("10.0.0.21:53")]);
    let datagram = udp(f.client, f.vip, b"q");
    bench.expect(&tcp(f.client, f.vip, SYN, b"").bytes(), XDP_REDIRECT);
    bench.expect(&datagram.bytes(), XDP_REDIRECT);
    bench.change(0, |s| s.flags = 0);
    bench.change(1, |s| s.flags = 0);
    let other = bench.servers(&[at("10.0.0.22:53")]);
    bench.0.set_table(1, &[other]).expect("a table");
    let out = bench.expect(&datagram.bytes(), XDP_REDIRECT);
    same(&out, &forwarded(&datagram, "10.0.0.22:53").bytes(), "moved");
    let out = bench.expect(&tcp(f.client, f.vip, ACK, b"data").bytes(), XDP_TX);
    assert_eq!((out[14 + 20 + 13], sums_are_right(&out)), (RST, true));
    assert_eq!(bench.0.event("reset"), 1);
}

#[test]
fn a_port_used_again_after_the_end_is_a_new_session() {
    let Some(mut bench) = bench() else { return };
    let f = &FAMILIES[0];
    bench.service(
        at(f.vip),
        TCP,
        nat(),
        &[at("10.0.0.11:80"), at("10.0.0.12:80")],
    );
    let syn = tcp(f.client, f.vip, SYN, b"");
    let first = bench.expect(&syn.bytes(), XDP_REDIRECT);
    assert_eq!(
        bench.expect(&syn.bytes(), XDP_REDIRECT),
        first,
        "a repeated SYN stays"
    );
    bench.expect(&tcp(f.client, f.vip, FIN | ACK, b"").bytes(), XDP_REDIRECT);
    assert_eq!(
        bench.expect(&syn.bytes(), XDP_REDIRECT),
        first,
        "half closed"
    );
    let (fin, _) = answer(&syn, "10.0.0.11:80", data(FIN | ACK, b""));
    bench.expect(&fin.bytes(), XDP_TX);
    assert_eq!(
        bench.0.live().expect("live").get(&0, 0).expect("a count"),
        0
    );
    assert_ne!(bench.expect(&syn.bytes(), XDP_REDIRECT), first, "anew");
}

#[test]
fn pieces_of_a_datagram_follow_the_first() {
    let Some(mut bench) = bench() else { return };
    let f = &FAMILIES[0];
    bench.service(at(f.vip), UDP, nat(), &[at(f.server)]);
    let whole = frame(
        f.client,
        f.vip,
        Load::Udp {
            sum: true,
            data: (0..3000u16).map(|i| i as u8).collect(),
        },
    );
    let load = whole.transport();
    let moved = forwarded(&whole, f.server);
    let moved_load = moved.transport();
    let pieces = [
        (0, 1480, 0x2000),
        (1480, 2960, 0x2000 | 185),
        (2960, 3008, 370),
    ];
    let piece = |f: &Frame, load: &[u8], (from, to, word): (usize, usize, u16)| {
        let f = Frame {
            fragment: word,
            ..f.clone()
        };
        f.around(&f.packet_of(&load[from..to]))
    };
    // A later one before the first is nobody's yet.
    bench.expect(&piece(&whole, &load, pieces[1]), XDP_DROP);
    assert_eq!(bench.0.event("fragment-lost"), 1);
    for p in pieces {
        same(
            &bench.expect(&piece(&whole, &load, p), XDP_REDIRECT),
            &piece(&moved, &moved_load, p),
            "piece",
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the addresses and the payload: sums stay right, the payload stays, and the answer's
    /// rewrite undoes the first one.
    #[test]
    fn a_rewrite_keeps_sums_and_payload_and_is_undone(
        client in any::<u32>(), vip in any::<u32>(), server in any::<u32>(),
        ports in any::<[u16; 3]>(), six in any::<bool>(), is_udp in any::<bool>(),
        data in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let Some(mut bench) = bench() else { return Ok(()) };
        let make = |n: u32, port: u16| -> std::net::SocketAddr {
            if six {
                let six = [0x2001, 0xdb8, (n >> 8) as u16, n as u16, 1, 2, (n >> 16) as u16, n as u16];
                (std::net::Ipv6Addr::from(six), port.max(1)).into()
            } else {
                (std::net::Ipv4Addr::from(n), port.max(1)).into()
            }
        };
        let (client, vip, server) = (make(client, ports[0]), make(vip, ports[1]), make(server, ports[2]));
        let load = if is_udp {
            Load::Udp { sum: true, data: data.clone() }
        } else {
            Load::Tcp { flags: SYN, seq: 1, ack: 2, options: vec![], data: data.clone() }
        };
        let came = frame(&client.to_string(), &vip.to_string(), load);
        bench.service(vip, came.proto(), nat(), &[server]);
        let out = bench.expect(&came.bytes(), XDP_REDIRECT);
        prop_assert!(sums_are_right(&out));
        prop_assert!(out.ends_with(&data));
        // The server sends the same back: what arrives is the first with its ends swapped.
        let back = Frame { src: server, dst: client, ..came.clone() };
        if back.src != came.src || back.dst != came.dst {
            let out = bench.expect(&back.bytes(), XDP_TX);
            let wanted = Frame { src: vip, to: CLIENT_MAC, from: OWN_MAC, ttl: 63, ..back };
            prop_assert_eq!(out, wanted.bytes());
        }
    }
}

#[test]
fn a_network_of_clients_keeps_its_server_for_a_time() {
    let Some(mut bench) = bench_with(abi::feature::SOURCES) else {
        return;
    };
    let kept = |source_bits, keep| Service {
        source_bits,
        keep,
        keeper: 7,
        ..nat()
    };
    let servers = [at("10.0.0.11:8080"), at("10.0.0.12:8080")];
    let vip = "203.0.113.10:80";
    bench.service(at(vip), TCP, kept(96 + 24, 3600), &servers);
    let chosen = |bench: &mut Bench, from: &str| {
        let out = bench.expect(&tcp(from, vip, SYN, b"").bytes(), XDP_REDIRECT);
        out[33]
    };
    let first = chosen(&mut bench, "198.51.100.7:40000");
    for from in [
        "198.51.100.7:40001",
        "198.51.100.8:40000",
        "198.51.100.254:1",
    ] {
        assert_eq!(chosen(&mut bench, from), first, "{from}");
    }
    // Of other networks each begins with the next turn.
    let others = [1, 2, 3, 4].map(|n| chosen(&mut bench, &format!("198.51.{n}.7:40000")));
    assert!(others.contains(&11) && others.contains(&12), "{others:?}");
    // A server that is gone is nobody's any more, nor is another one in its place.
    let index = u32::from(first) - 11;
    bench.change(index, |s| s.flags = 0);
    let next = chosen(&mut bench, "198.51.100.7:40002");
    assert!([11, 12].contains(&next));
    let mut table = bench.0.sources().expect("sources");
    let keys: Vec<_> = table.keys().flatten().collect();
    assert_eq!(keys.len(), 5);
    for key in keys {
        let kept = table.get(&key, 0).expect("there");
        assert!(kept.until > 3000);
        let other = abi::Kept {
            member: [kept.member[0] + 100, 1],
            ..kept
        };
        table.insert(key, other, 0).expect("fits");
    }
    bench.change(index, |s| s.flags = abi::server::TAKES);
    let turns: Vec<u8> = (0..2)
        .map(|n| chosen(&mut bench, &format!("198.51.{}.9:50000", n + 1)))
        .collect();
    assert_ne!(turns[0], turns[1], "scheduled anew");
}
