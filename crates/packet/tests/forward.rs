//! The other ways to forward: packet in, packet out.

mod common;

use common::*;
use packet::abi::{self, Service, forward};

const CLIENT: &str = "198.51.100.7:40000";
const VIP: &str = "203.0.113.10:80";
const CLIENT6: &str = "[2001:db8:1::7]:40000";
const VIP6: &str = "[2001:db8:2::10]:80";

fn way(forward: u8) -> Service {
    Service {
        forward,
        ..Service::default()
    }
}

fn linked(frame: &Frame) -> Frame {
    Frame {
        to: SERVER_MAC,
        from: INNER_MAC,
        ..frame.clone()
    }
}

#[test]
fn dsr_changes_the_link_and_nothing_else() {
    let Some(mut bench) = bench() else { return };
    for (client, vip, server) in [
        (CLIENT, VIP, "10.0.0.11:0"),
        (CLIENT6, VIP6, "[fd00::11]:0"),
    ] {
        bench.service(at(vip), TCP, way(forward::DSR), &[at(server)]);
        for (flags, ttl) in [(SYN, 64), (ACK, 1), (FIN | ACK, 64)] {
            let frame = Frame {
                ttl,
                ..tcp(client, vip, flags, b"kept")
            };
            same(
                &bench.expect(&frame.bytes(), XDP_REDIRECT),
                &linked(&frame).bytes(),
                "dsr",
            );
        }
    }
    // A server behind the interface that the packet came in by.
    bench.change(0, |s| s.hop.ifindex = HERE);
    bench.expect(&tcp(CLIENT, VIP, ACK, b"").bytes(), XDP_TX);
    assert_eq!(
        bench.sessions(),
        2,
        "one entry for each: answers are not seen"
    );
}

#[test]
fn dscp_marks_the_packet_and_names_the_server() {
    let Some(mut bench) = bench() else { return };
    let service = |dscp| Service {
        dscp,
        ..way(forward::DSCP)
    };
    for (client, vip, server) in [
        (CLIENT, VIP, "10.0.0.11:80"),
        (CLIENT6, VIP6, "[fd00::11]:80"),
    ] {
        bench.service(at(vip), TCP, service(10), &[at(server)]);
        // The bits of congestion notification are the sender's.
        let frame = Frame {
            tos: 0xff,
            ..tcp(client, vip, SYN, b"data")
        };
        let wanted = Frame {
            dst: at(server),
            tos: 10 << 2 | 3,
            ttl: 63,
            ..linked(&frame)
        };
        same(
            &bench.expect(&frame.bytes(), XDP_REDIRECT),
            &wanted.bytes(),
            "dscp",
        );
    }
}

#[test]
fn tunnels_of_all_four_pairings() {
    let Some(mut bench) = bench() else { return };
    for (client, vip, proto) in [(CLIENT, VIP, 4), (CLIENT6, VIP6, 41)] {
        for (ours, server) in [
            ("10.0.0.1:0", "10.0.0.11:0"),
            ("[fd00::1]:0", "[fd00::11]:0"),
        ] {
            bench
                .0
                .flows()
                .expect("flows")
                .remove(&key_of(client, vip))
                .ok();
            let index = bench.servers(&[at(server)]);
            bench.change(index, |s| s.local = abi::address(at(ours).ip()));
            bench.service(at(vip), TCP, way(forward::IPIP), &[]);
            bench.0.set_table(99, &[index]).expect("a table");
            let key = abi::ServiceKey {
                address: abi::address(at(vip).ip()),
                port: 80u16.to_be(),
                proto: TCP,
                ..packet::abi::ServiceKey::default()
            };
            let service = Service {
                table: 99,
                size: 1,
                ..way(forward::IPIP)
            };
            bench
                .0
                .services()
                .expect("services")
                .insert(key, service, 0)
                .expect("fits");

            let inner = Frame {
                tos: 0x28,
                ..tcp(client, vip, SYN, b"x")
            };
            let outer = Frame {
                src: at(ours),
                dst: at(server),
                id: 0,
                ttl: 64,
                load: Load::Raw {
                    proto,
                    data: inner.packet(),
                },
                ..linked(&inner)
            };
            same(
                &bench.expect(&inner.bytes(), XDP_REDIRECT),
                &outer.bytes(),
                "tunnel",
            );
            // Bytes that only fill the frame stay outside.
            let mut padded = inner.bytes();
            padded.extend([0xee; 5]);
            let out = bench.expect(&padded, XDP_REDIRECT);
            same(&out[..out.len() - 5], &outer.bytes(), "padded");
        }
    }
}

#[test]
fn gre_and_gue_have_their_headers_between() {
    let Some(mut bench) = bench() else { return };
    let gue = Service {
        port_first: 6080,
        ..way(forward::GUE)
    };
    for (client, vip, kind, inner_proto) in
        [(CLIENT, VIP, [8, 0], 4), (CLIENT6, VIP6, [0x86, 0xdd], 41)]
    {
        let (server, ours) = ("10.0.0.11:0", "10.0.0.1:0");
        for service in [way(forward::GRE), gue] {
            let mut inner = tcp(client, vip, SYN, b"x");
            inner.src.set_port(40000 + u16::from(service.forward));
            bench.service(at(vip), TCP, service, &[at(server)]);
            let index = bench
                .0
                .services()
                .expect("services")
                .iter()
                .flatten()
                .find(|(k, _)| k.address == abi::address(at(vip).ip()))
                .map(|(_, s)| s.table)
                .expect("there");
            bench.change(index, |s| s.local = abi::address(at(ours).ip()));
            let out = bench.expect(&inner.bytes(), XDP_REDIRECT);
            let data = inner.packet();
            let (proto, shim) = if service.forward == forward::GRE {
                (47, vec![0, 0, kind[0], kind[1]])
            } else {
                let len = (data.len() as u16 + 12).to_be_bytes();
                let source = [out[34], out[35]];
                assert!(source[0] >= 0xc0, "a port of those that are nobody's");
                (
                    17,
                    [
                        &source[..],
                        &6080u16.to_be_bytes(),
                        &len,
                        &[0, 0],
                        &[0, inner_proto, 0, 0],
                    ]
                    .concat(),
                )
            };
            let outer = Frame {
                src: at(ours),
                dst: at(server),
                id: 0,
                ttl: 64,
                load: Load::Raw {
                    proto,
                    data: [shim, data].concat(),
                },
                ..linked(&inner)
            };
            same(&out, &outer.bytes(), "tunnel");
        }
    }
}

fn key_of(src: &str, dst: &str) -> abi::FlowKey {
    abi::FlowKey {
        src: abi::address(at(src).ip()),
        dst: abi::address(at(dst).ip()),
        sport: at(src).port().to_be(),
        dport: at(dst).port().to_be(),
        proto: TCP,
        vlan: 0,
        pad: 0,
    }
}

#[test]
fn who_sends_more_than_a_tunnel_can_take_is_told_how_much_it_can() {
    let Some(mut bench) = bench() else { return };
    for (client, vip, header) in [(CLIENT, VIP, 20), (CLIENT6, VIP6, 40)] {
        let server = if header == 20 {
            "10.0.0.11:0"
        } else {
            "[fd00::11]:0"
        };
        bench.service(at(vip), TCP, way(forward::IPIP), &[at(server)]);
        bench.expect(&tcp(client, vip, SYN, b"").bytes(), XDP_REDIRECT);
        let room = 1500 - header - header - 20;
        bench.expect(&tcp(client, vip, ACK, &vec![1; room]).bytes(), XDP_REDIRECT);
        let large = tcp(client, vip, ACK, &vec![1; room + 1]);
        let mtu = (1500 - header) as u32;
        let quoted = large.packet()[..header + 8].to_vec();
        let (kind, code) = if header == 20 { (3, 4) } else { (2, 0) };
        let wanted = Frame {
            to: CLIENT_MAC,
            from: OWN_MAC,
            src: large.dst,
            dst: large.src,
            id: 0,
            load: Load::Icmp {
                kind,
                code,
                word: mtu,
                data: quoted,
            },
            ..large.clone()
        };
        same(
            &bench.expect(&large.bytes(), XDP_TX),
            &wanted.bytes(),
            "too big",
        );
    }
}

fn pool(first: &str, size: u32, ports: (u16, u16)) -> Service {
    Service {
        pool_first: abi::address(ip(first)),
        pool_size: size,
        port_first: ports.0,
        port_last: ports.1,
        ..way(forward::NAT)
    }
}

/// Source and destination of what came out.
fn ends(frame: &[u8]) -> (String, String) {
    let ip = |at: usize| {
        format!(
            "{}.{}.{}.{}",
            frame[at],
            frame[at + 1],
            frame[at + 2],
            frame[at + 3]
        )
    };
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    (
        format!("{}:{}", ip(26), port(34)),
        format!("{}:{}", ip(30), port(36)),
    )
}

#[test]
fn full_nat_replaces_both_ends_and_answers_find_back() {
    let Some(mut bench) = bench() else { return };
    bench.service(
        at(VIP),
        TCP,
        pool("10.0.0.200", 4, (1024, 65535)),
        &[at("10.0.0.11:8080")],
    );
    let syn = tcp(CLIENT, VIP, SYN, b"");
    let out = bench.expect(&syn.bytes(), XDP_REDIRECT);
    let (src, dst) = ends(&out);
    assert_eq!(dst, "10.0.0.11:8080");
    assert!(
        (200..204).any(|n| src.starts_with(&format!("10.0.0.{n}:"))),
        "{src}"
    );
    let wanted = Frame {
        src: at(&src),
        dst: at(&dst),
        ttl: 63,
        ..linked(&syn)
    };
    same(&out, &wanted.bytes(), "forward");
    let back = Frame {
        src: at(&dst),
        dst: at(&src),
        load: tcp(CLIENT, VIP, SYN | ACK, b"data").load,
        ..syn.clone()
    };
    let wanted = Frame {
        src: at(VIP),
        dst: at(CLIENT),
        to: CLIENT_MAC,
        from: OWN_MAC,
        ttl: 63,
        ..back.clone()
    };
    same(
        &bench.expect(&back.bytes(), XDP_TX),
        &wanted.bytes(),
        "back",
    );
}

#[test]
fn no_two_sessions_share_a_place_of_the_pool_and_its_end_is_counted() {
    let Some(mut bench) = bench() else { return };
    // 2 addresses with 8 ports: 16 places towards each server.
    bench.service(
        at(VIP),
        TCP,
        pool("10.0.0.200", 2, (5000, 5007)),
        &[at("10.0.0.11:8080")],
    );
    let mut seen = std::collections::HashSet::new();
    for port in 1000..1040 {
        let mut syn = tcp(CLIENT, VIP, SYN, b"");
        syn.src.set_port(port);
        let (verdict, out) = bench.run(&syn.bytes());
        if verdict == XDP_REDIRECT {
            assert!(seen.insert(ends(&out).0), "a place twice");
        } else {
            assert_eq!(verdict, XDP_DROP);
        }
    }
    assert_eq!(seen.len(), 16);
    assert_eq!(bench.0.event("pool-empty"), 24);
}

#[test]
fn errors_on_the_way_reach_who_sent_the_packet() {
    // Before and after the server's first answer, where its direction is made by that.
    for late in [0, 1] {
        errors_reach_the_client(late);
    }
}

/// An error that says that a packet is too large.
fn error(from: &str, to: &str, quoted: &Frame) -> Frame {
    let (kind, code) = if quoted.src.is_ipv4() { (3, 4) } else { (2, 0) };
    let load = Load::Icmp {
        kind,
        code,
        word: 1400,
        data: quoted.packet(),
    };
    let ends = [from, to].map(|end| format!("{}:0", host(end)));
    Frame {
        id: 9,
        ..frame(&ends[0], &ends[1], load)
    }
}

/// Between the ports of a bridge nobody is a router: nothing lives a hop less, and who sends stays who it was.
#[test]
fn a_bridge_turns_back_what_errors_quote_and_changes_nothing_else() {
    let Some(mut bench) = bench() else { return };
    for (client, vip, server, router) in [
        (CLIENT, VIP, "10.0.0.11:8080", "10.9.9.9:0"),
        (CLIENT6, VIP6, "[fd00::11]:8080", "[fd00:9::9]:0"),
    ] {
        bench.service(at(vip), TCP, way(forward::BRIDGE), &[at(server)]);
        for ttl in [64, 1] {
            let sent = Frame {
                ttl,
                ..tcp(client, vip, SYN, b"12345678")
            };
            let on = Frame {
                to: SERVER_MAC,
                dst: at(server),
                ..sent.clone()
            };
            let got = bench.expect(&sent.bytes(), XDP_REDIRECT);
            same(&got, &on.bytes(), "a first packet");
            // Straight to the client, or to us as its gateway.
            for to in [CLIENT_MAC, INNER_MAC] {
                for (from, seen_from) in [(router, router), (server, vip)] {
                    let came = Frame {
                        to,
                        from: SERVER_MAC,
                        ttl,
                        ..error(from, client, &on)
                    };
                    let wanted = Frame {
                        to: CLIENT_MAC,
                        from: OWN_MAC,
                        ttl,
                        ..error(seen_from, client, &sent)
                    };
                    let got = bench.expect(&came.bytes(), XDP_TX);
                    same(&got, &wanted.bytes(), "to the client");
                }
            }
            let answer = tcp(vip, client, ACK, b"answer");
            let came = Frame {
                ttl,
                ..error(client, vip, &answer)
            };
            let sent_by_server = Frame {
                src: at(server),
                ..answer
            };
            let wanted = Frame {
                to: SERVER_MAC,
                ttl,
                ..error(client, server, &sent_by_server)
            };
            let got = bench.expect(&came.bytes(), XDP_REDIRECT);
            same(&got, &wanted.bytes(), "to the server");
        }
    }
}

fn errors_reach_the_client(late: u8) {
    let Some(mut bench) = bench() else { return };
    for (client, vip, server, router) in [
        (CLIENT, VIP, "10.0.0.11:8080", "10.9.9.9:0"),
        (CLIENT6, VIP6, "[fd00::11]:8080", "[fd00:9::9]:0"),
    ] {
        let nat = Service {
            late,
            ..way(forward::NAT)
        };
        bench.service(at(vip), TCP, nat, &[at(server)]);
        bench.expect_answers(at(server), at(vip), TCP);
        let sent = tcp(client, vip, SYN, b"12345678");
        bench.expect(&sent.bytes(), XDP_REDIRECT);
        // A router, and the server itself, about what we sent on; the client knows the server by
        // its virtual address.
        let on = Frame {
            dst: at(server),
            ttl: 63,
            ..sent.clone()
        };
        for (from, seen_from) in [(router, router), (server, vip)] {
            let came = Frame {
                to: INNER_MAC,
                from: SERVER_MAC,
                ..error(from, client, &on)
            };
            let undone = Frame {
                dst: at(vip),
                ..on.clone()
            };
            let wanted = Frame {
                to: CLIENT_MAC,
                from: OWN_MAC,
                ttl: 63,
                ..error(seen_from, client, &undone)
            };
            same(
                &bench.expect(&came.bytes(), XDP_TX),
                &wanted.bytes(),
                "to the client",
            );
        }
        // The client's side about an answer of the server.
        let answer = tcp(vip, client, ACK, b"answer");
        let came = error(client, vip, &answer);
        let sent_by_server = Frame {
            src: at(server),
            ..answer
        };
        let wanted = Frame {
            to: SERVER_MAC,
            from: INNER_MAC,
            ttl: 63,
            ..error(client, server, &sent_by_server)
        };
        same(
            &bench.expect(&came.bytes(), XDP_REDIRECT),
            &wanted.bytes(),
            "to the server",
        );
    }
    let stray = frame(
        CLIENT,
        VIP,
        Load::Icmp {
            kind: 3,
            code: 1,
            word: 0,
            data: tcp("1.2.3.4:5", CLIENT, ACK, b"").packet(),
        },
    );
    let bytes = stray.bytes();
    same(&bench.expect(&bytes, XDP_PASS), &bytes, "of no session");
}

/// What a router on the way to the client says about an answer that went past the balancer.
fn error_of_a_router(vip: &str, client: &str) -> Frame {
    let six = client.starts_with('[');
    let router = if six { "[fd00:9::9]:0" } else { "10.9.9.9:0" };
    let (kind, code) = if six { (2, 0) } else { (3, 4) };
    frame(
        router,
        &format!("{}:0", host(vip)),
        Load::Icmp {
            kind,
            code,
            word: 1400,
            data: tcp(vip, client, ACK, b"answer").packet(),
        },
    )
}

#[test]
fn errors_about_answers_that_went_past_the_balancer_reach_their_server() {
    let Some(mut bench) = bench() else { return };
    for (client, vip, server, ours) in [
        (CLIENT, VIP, "10.0.0.11:0", "10.0.0.1:0"),
        (CLIENT6, VIP6, "[fd00::11]:0", "[fd00::1]:0"),
    ] {
        let came = error_of_a_router(vip, client);
        for kind in [forward::DSR, forward::DSCP, forward::IPIP, forward::GRE] {
            bench
                .0
                .flows()
                .expect("flows")
                .remove(&key_of(client, vip))
                .ok();
            let service = Service {
                dscp: 10,
                ..way(kind)
            };
            // One of no session is not ours.
            same(
                &bench.expect(&came.bytes(), XDP_PASS),
                &came.bytes(),
                "none",
            );
            bench.service(at(vip), TCP, service, &[at(server)]);
            for index in 0..16 {
                bench.change(index, |s| s.local = abi::address(at(ours).ip()));
            }
            bench.expect(&tcp(client, vip, SYN, b"").bytes(), XDP_REDIRECT);
            let shim = match at(vip).is_ipv4() {
                _ if kind != forward::GRE => Vec::new(),
                true => vec![0, 0, 0x08, 0],
                false => vec![0, 0, 0x86, 0xdd],
            };
            let wanted = match kind {
                forward::DSR => linked(&came),
                forward::DSCP => Frame {
                    src: at(ours),
                    dst: at(server),
                    tos: 10 << 2,
                    ttl: 63,
                    ..linked(&came)
                },
                _ => Frame {
                    src: at(ours),
                    dst: at(server),
                    id: 0,
                    ttl: 64,
                    load: Load::Raw {
                        proto: match (kind, at(vip).is_ipv4()) {
                            (forward::GRE, _) => 47,
                            (_, true) => 4,
                            (_, false) => 41,
                        },
                        data: [shim, came.packet()].concat(),
                    },
                    ..linked(&came)
                },
            };
            same(
                &bench.expect(&came.bytes(), XDP_REDIRECT),
                &wanted.bytes(),
                &format!("forward {kind}"),
            );
        }
    }
}

/// Who sent the error would not know what an error about it means, and its quoted client has sent nothing.
#[test]
fn an_error_that_does_not_fit_into_a_tunnel_is_answered_to_nobody() {
    let Some(mut bench) = bench() else { return };
    for (client, vip, server) in [
        (CLIENT, VIP, "10.0.0.11:0"),
        (CLIENT6, VIP6, "[fd00::11]:0"),
    ] {
        bench.service(at(vip), TCP, way(forward::IPIP), &[at(server)]);
        bench.expect(&tcp(client, vip, SYN, b"").bytes(), XDP_REDIRECT);
        let came = error_of_a_router(vip, client);
        bench.expect(&came.bytes(), XDP_REDIRECT);
        for index in 0..16 {
            bench.change(index, |s| s.hop.mtu = came.packet().len() as u16);
        }
        bench.expect(&came.bytes(), XDP_DROP);
    }
}

fn host(end: &str) -> String {
    end.rsplit_once(':')
        .map(|(h, _)| h.to_string())
        .expect("an address with a port")
}

#[test]
fn arp_is_answered_for_addresses_that_no_interface_has() {
    let Some(mut bench) = bench() else { return };
    let mac = [2, 0, 0, 0, 0, 0x77];
    let mut own = [0; 8];
    own[..6].copy_from_slice(&mac);
    bench
        .0
        .macs()
        .expect("macs")
        .insert(HERE, u64::from_ne_bytes(own), 0)
        .expect("fits");
    let ask = |target: [u8; 4]| {
        let mut out = [
            &[0xff; 6][..],
            &CLIENT_MAC,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &CLIENT_MAC,
            &[198, 51, 100, 7],
        ]
        .concat();
        out.extend([0; 6]);
        out.extend(target);
        out
    };
    let mut vips = bench.0.vips().expect("vips");
    vips.insert(
        abi::address(ip("203.0.113.10")),
        abi::vip::PORT | abi::vip::ANSWER,
        0,
    )
    .expect("fits");
    vips.insert(abi::address(ip("203.0.113.11")), abi::vip::PORT, 0)
        .expect("fits");
    let request = ask([203, 0, 113, 10]);
    let mut wanted = [
        &CLIENT_MAC[..],
        &mac,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
        &mac,
        &[203, 0, 113, 10],
    ]
    .concat();
    wanted.extend(CLIENT_MAC);
    wanted.extend([198, 51, 100, 7]);
    same(&bench.expect(&request, XDP_TX), &wanted, "ARP");
    for other in [[203, 0, 113, 11], [203, 0, 113, 12]] {
        let request = ask(other);
        same(
            &bench.expect(&request, XDP_PASS),
            &request,
            "not ours to answer",
        );
    }
}
