//! VLANs: tagged in and tagged out, byte for byte, in every way to forward; tags that are nobody's.
//!
//! A test run does not take a frame's tag off as the kernel does before programs behind the driver: those are
//! tested with real frames, in lab/tests/taps.rs and vlan_ways.rs.

mod common;

use common::*;
use packet::abi::{self, Lane, Port, Service, feature, forward, no_flow, schedule};
use std::net::SocketAddr;
use std::process::Command;

const CLIENT: [&str; 2] = ["198.51.100.7:40000", "[2001:db8:1::7]:40000"];
const VIP: [&str; 2] = ["203.0.113.10:80", "[2001:db8:2::10]:80"];
const SERVER: [&str; 2] = ["10.0.0.11:80", "[fd00::11]:80"];
const OWN: [&str; 2] = ["10.0.0.1:0", "[fd00::1]:0"];
const SECOND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];

/// Where clients are, and where servers are.
const NEAR: u16 = 100;
const FAR: u16 = 200;
/// The bits before a VLAN's number: a priority, and that the frame may be dropped first.
const PRIORITY: u16 = 0xb000;

fn tagged(vlan: u16, frame: &Frame) -> Frame {
    Frame {
        vlan: Some(vlan | PRIORITY),
        ..frame.clone()
    }
}

fn untagged(frame: &Frame) -> Frame {
    Frame {
        vlan: None,
        ..frame.clone()
    }
}

fn linked(frame: &Frame) -> Frame {
    Frame {
        to: SERVER_MAC,
        from: INNER_MAC,
        ..frame.clone()
    }
}

fn way(forward: u8) -> Service {
    Service {
        forward,
        ..Service::default()
    }
}

/// Serves the virtual address in a VLAN by a server in another one, and nothing is left of what was before; 0 is no
/// VLAN. The index of that server.
fn serve(bench: &mut Bench, family: usize, near: u16, far: u16, service: Service) -> u32 {
    let (vip, server) = (at(VIP[family]), bench.servers(&[]));
    let service = Service {
        vlan: near.into(),
        ..service
    };
    bench.service(vip, TCP, service, &[at(SERVER[family])]);
    bench.change(server, |s| {
        s.hop.vlan = far;
        s.local = abi::address(at(OWN[family]).ip());
    });
    let mut vips = bench.0.vips().expect("vips");
    let kinds = abi::vip::PORT | u32::from(near) << abi::vip::VLAN_SHIFT;
    vips.insert(abi::address(vip.ip()), kinds, 0).expect("fits");
    let mut flows = bench.0.flows().expect("flows");
    let known: Vec<abi::FlowKey> = flows.keys().flatten().collect();
    for key in known {
        flows.remove(&key).expect("it was there");
    }
    server
}

/// The frame in this VLAN, or untagged.
fn within(vlan: u16, frame: &Frame) -> Frame {
    match vlan {
        0 => untagged(frame),
        vlan => tagged(vlan, frame),
    }
}

#[test]
fn every_way_leads_from_one_vlan_to_another_and_keeps_the_priority() {
    let Some(mut bench) = bench() else {
        return;
    };
    let translated = |f: &Frame, family: usize| Frame {
        dst: at(SERVER[family]),
        ttl: 63,
        ..linked(f)
    };
    for family in 0..2 {
        for (near, far) in [(NEAR, FAR), (NEAR, NEAR), (NEAR, 0), (0, FAR)] {
            for kind in [forward::NAT, forward::DSR, forward::DSCP] {
                let service = Service {
                    dscp: 10,
                    ..way(kind)
                };
                serve(&mut bench, family, near, far, service);
                let syn = tcp(CLIENT[family], VIP[family], SYN, b"kept");
                let wanted = match kind {
                    forward::NAT => translated(&syn, family),
                    forward::DSCP => Frame {
                        tos: 10 << 2,
                        ..translated(&syn, family)
                    },
                    _ => linked(&syn),
                };
                let out = bench.expect(&within(near, &syn).bytes(), XDP_REDIRECT);
                // A tag that comes only now has no priority.
                let priority = if near == 0 { 0 } else { PRIORITY };
                let wanted = Frame {
                    vlan: (far != 0).then_some(far | priority),
                    ..wanted
                };
                same(&out, &wanted.bytes(), "to the server");
                if kind != forward::NAT {
                    continue;
                }
                let back = Frame {
                    to: INNER_MAC,
                    from: SERVER_MAC,
                    ..tcp(SERVER[family], CLIENT[family], SYN | ACK, b"")
                };
                let priority = if far == 0 { 0 } else { PRIORITY };
                let wanted = Frame {
                    vlan: (near != 0).then_some(near | priority),
                    to: CLIENT_MAC,
                    from: OWN_MAC,
                    src: at(VIP[family]),
                    ttl: 63,
                    ..back.clone()
                };
                let out = bench.expect(&within(far, &back).bytes(), XDP_TX);
                same(&out, &wanted.bytes(), "to the client");
            }
        }
    }
}

#[test]
fn tunnels_lead_from_one_vlan_to_another_and_keep_the_priority() {
    let Some(mut bench) = bench() else {
        return;
    };
    for family in 0..2 {
        for (near, far) in [(NEAR, FAR), (NEAR, NEAR), (NEAR, 0), (0, FAR)] {
            for kind in [forward::IPIP, forward::GRE] {
                serve(&mut bench, family, near, far, way(kind));
                let inner = tcp(CLIENT[family], VIP[family], SYN, b"kept");
                let out = bench.expect(&within(near, &inner).bytes(), XDP_REDIRECT);
                let shim = match (kind, family) {
                    (forward::GRE, 0) => vec![0, 0, 8, 0],
                    (forward::GRE, _) => vec![0, 0, 0x86, 0xdd],
                    _ => Vec::new(),
                };
                let proto = match (kind, family) {
                    (forward::GRE, _) => 47,
                    (_, 0) => 4,
                    _ => 41,
                };
                let priority = if near == 0 { 0 } else { PRIORITY };
                let outer = Frame {
                    vlan: (far != 0).then_some(far | priority),
                    src: at(OWN[family]),
                    dst: at(SERVER[family]),
                    id: 0,
                    ttl: 64,
                    load: Load::Raw {
                        proto,
                        data: [shim, inner.packet()].concat(),
                    },
                    ..linked(&inner)
                };
                same(&out, &outer.bytes(), "tunnel");
            }
        }
    }
}

#[test]
fn who_sends_too_much_or_to_nobody_is_told_so_in_its_vlan() {
    let Some(mut bench) = bench() else {
        return;
    };
    for family in 0..2 {
        let server = serve(&mut bench, family, NEAR, FAR, way(forward::IPIP));
        let send =
            |flags, data: &[u8]| tagged(NEAR, &tcp(CLIENT[family], VIP[family], flags, data));
        bench.expect(&send(SYN, b"").bytes(), XDP_REDIRECT);
        let large = send(ACK, &[1; 1460]);
        let out = bench.expect(&large.bytes(), XDP_TX);
        let header = if family == 0 { 20 } else { 40 };
        let (kind, code) = if family == 0 { (3, 4) } else { (2, 0) };
        let answer = |load| Frame {
            vlan: large.vlan,
            id: 0,
            to: CLIENT_MAC,
            from: OWN_MAC,
            ..frame(VIP[family], CLIENT[family], load)
        };
        let wanted = answer(Load::Icmp {
            kind,
            code,
            word: 1500 - header as u32,
            data: large.packet()[..header + 8].to_vec(),
        });
        same(&out, &wanted.bytes(), "too big");
        // The server is gone.
        bench.change(server, |s| s.flags = 0);
        let out = bench.expect(&send(ACK, b"x").bytes(), XDP_TX);
        assert_eq!(out[12..16], [0x81, 0, 0xb0, 100], "a reset in the VLAN");
        let ip = if family == 0 { 18 + 9 } else { 18 + 6 };
        assert_eq!(out[ip], TCP);
    }
}

const ROUTED: u32 = feature::PREFIX | feature::ROUTE;

/// Clients, somebody beyond, and two firewalls, of each family.
const INSIDE: [&str; 2] = ["10.0.0.7:40000", "[fd00::7]:40000"];
const OUTSIDE: [&str; 2] = ["198.51.100.9:443", "[2001:db8::9]:443"];
const FIREWALLS: [[&str; 2]; 2] = [["10.1.0.1:0", "10.1.0.2:0"], ["[fd01::1]:0", "[fd01::2]:0"]];
const ALL: [&str; 2] = ["0.0.0.0/0", "::/0"];
const NUMBER: [u16; 2] = [4, 6];

/// A bench with two firewalls in [`FAR`] for what comes in [`NEAR`]; the first one's index.
fn firewalls(family: usize) -> Option<(Bench, u32)> {
    let mut bench = bench_with(ROUTED)?;
    let route = Service {
        schedule: schedule::PAIR,
        no_flow: no_flow::HASH,
        ..way(forward::ROUTE)
    };
    let here = abi::place(HERE, NEAR);
    let hops: [SocketAddr; 2] = FIREWALLS[family].map(at);
    let first = bench.serve_prefix(here, ALL[family], 0, route, &hops);
    for (n, mac) in [(first, SERVER_MAC), (first + 1, SECOND_MAC)] {
        bench.change(n, |s| {
            s.hop.vlan = FAR;
            s.hop.dst = mac;
        });
        let value = n | u32::from(NEAR) << 16;
        bench.gateway(abi::place(HERE, FAR), mac, NUMBER[family], value);
    }
    Some((bench, first))
}

fn passed_on(frame: &Frame, vlan: u16, to: [u8; 6], from: [u8; 6]) -> Frame {
    Frame {
        to,
        from,
        ttl: frame.ttl - 1,
        ..tagged(vlan, frame)
    }
}

#[test]
fn transit_traffic_of_a_vlan_crosses_a_firewall_in_another() {
    for family in 0..2 {
        let Some((mut bench, _)) = firewalls(family) else {
            return;
        };
        let syn = tagged(NEAR, &tcp(INSIDE[family], OUTSIDE[family], SYN, b""));
        let out = bench.expect(&syn.bytes(), XDP_REDIRECT);
        let mac: [u8; 6] = out[..6].try_into().expect("six bytes");
        same(&out, &passed_on(&syn, FAR, mac, INNER_MAC).bytes(), "SYN");
        let back = Frame {
            to: INNER_MAC,
            from: mac,
            ..tagged(FAR, &tcp(OUTSIDE[family], INSIDE[family], SYN | ACK, b""))
        };
        let out = bench.expect(&back.bytes(), XDP_TX);
        same(
            &out,
            &passed_on(&back, NEAR, CLIENT_MAC, OWN_MAC).bytes(),
            "answer",
        );
        assert_eq!(bench.sessions(), 2);
    }
}

#[test]
fn answers_in_a_vlan_go_back_to_the_firewall_of_the_first_packet() {
    for family in 0..2 {
        for n in 0..2 {
            let Some((mut bench, _)) = firewalls(family) else {
                return;
            };
            let mac = [SERVER_MAC, SECOND_MAC][n];
            let came = Frame {
                from: mac,
                ..tagged(FAR, &tcp(OUTSIDE[family], INSIDE[family], SYN, b""))
            };
            let out = bench.expect(&came.bytes(), XDP_PASS);
            same(&out, &came.bytes(), "for the stack");
            let answer = tagged(NEAR, &tcp(INSIDE[family], OUTSIDE[family], SYN | ACK, b""));
            let out = bench.expect(&answer.bytes(), XDP_REDIRECT);
            same(
                &out,
                &passed_on(&answer, FAR, mac, INNER_MAC).bytes(),
                "answer",
            );
            assert_eq!(bench.0.event("no-flow"), 0);
        }
    }
}

#[test]
fn a_prefix_is_served_in_its_vlan_only() {
    for family in 0..2 {
        let Some((mut bench, first)) = firewalls(family) else {
            return;
        };
        let syn = tcp(INSIDE[family], OUTSIDE[family], SYN, b"");
        for other in [
            untagged(&syn),
            tagged(NEAR + 1, &syn),
            tagged(FAR, &syn),
            // Who is a gateway in one VLAN is anybody in another.
            Frame {
                from: SERVER_MAC,
                ..tagged(NEAR + 1, &syn)
            },
        ] {
            let out = bench.expect(&other.bytes(), XDP_PASS);
            same(&out, &other.bytes(), "untouched");
        }
        assert_eq!(bench.sessions(), 0);
        // The same prefix in another VLAN has firewalls of its own; so has every interface there.
        for (place, vlan) in [
            (abi::place(HERE, NEAR + 1), NEAR + 1),
            (abi::place(0, NEAR + 2), NEAR + 2),
        ] {
            let route = Service {
                schedule: schedule::PAIR,
                ..way(forward::ROUTE)
            };
            let one = [at(FIREWALLS[family][0])];
            let third = bench.serve_prefix(place, ALL[family], 0, route, &one);
            assert!(third > first + 1);
            bench.change(third, |s| s.hop.vlan = FAR + 1);
            let frame = tagged(vlan, &syn);
            let wanted = passed_on(&frame, FAR + 1, SERVER_MAC, INNER_MAC);
            let out = bench.expect(&frame.bytes(), XDP_REDIRECT);
            same(&out, &wanted.bytes(), "its own");
        }
        // What is for this machine is so in every VLAN.
        let own = ["10.0.0.1", "fd00::1"][family];
        let bits = [32, 128][family];
        bench.prefix(0, &format!("{own}/{bits}"), abi::vip::PASS);
        let to = SocketAddr::new(ip(own), 22).to_string();
        let frame = tagged(NEAR, &tcp(INSIDE[family], &to, SYN, b""));
        let out = bench.expect(&frame.bytes(), XDP_PASS);
        same(&out, &frame.bytes(), "for the stack");
    }
}

#[test]
fn servers_in_a_vlan_leave_with_an_address_of_a_pool_in_another() {
    for (family, sources, pool, server) in [
        (0, "10.0.0.0/24", "203.0.113.20", "10.0.0.11:40000"),
        (1, "fd00::/64", "2001:db8:2::20", "[fd00::11]:40000"),
    ] {
        let Some(mut bench) = bench_with(feature::PREFIX | feature::SNAT) else {
            return;
        };
        let service = Service {
            pool_first: abi::address(ip(pool)),
            pool_size: 1,
            port_first: 2000,
            port_last: 2000,
            vlan: NEAR.into(),
            ..Service::default()
        };
        bench.serve_prefix(abi::sources(FAR), sources, 0, service, &[]);
        let syn = tcp(server, OUTSIDE[family], SYN, b"");
        for other in [untagged(&syn), tagged(NEAR, &syn)] {
            let out = bench.expect(&other.bytes(), XDP_PASS);
            same(&out, &other.bytes(), "untouched");
        }
        // The first one waits for a neighbour.
        bench.run(&tagged(FAR, &syn).bytes());
        let key = abi::FlowKey {
            src: abi::address(syn.src.ip()),
            dst: abi::address(syn.dst.ip()),
            sport: syn.src.port().to_be(),
            dport: syn.dst.port().to_be(),
            vlan: FAR,
            proto: TCP,
            pad: 0,
        };
        let mut flows = bench.0.flows().expect("flows");
        let mut flow = flows.get(&key, 0).expect("a session");
        assert_eq!(flow.hop.vlan, NEAR);
        // As if the routes had said so.
        flow.hop = abi::Hop {
            dst: SERVER_MAC,
            src: INNER_MAC,
            ifindex: BEHIND,
            ..flow.hop
        };
        flow.epoch = 0;
        flows.insert(key, flow, 0).expect("there");
        let own = SocketAddr::new(ip(pool), 2000);
        let more = tagged(FAR, &tcp(server, OUTSIDE[family], ACK, b"more"));
        let wanted = Frame {
            src: own,
            ..passed_on(&more, NEAR, SERVER_MAC, INNER_MAC)
        };
        let out = bench.expect(&more.bytes(), XDP_REDIRECT);
        same(&out, &wanted.bytes(), "out");
        let back = Frame {
            to: INNER_MAC,
            from: SERVER_MAC,
            ..tagged(
                NEAR,
                &tcp(OUTSIDE[family], &own.to_string(), SYN | ACK, b"x"),
            )
        };
        let wanted = Frame {
            dst: at(server),
            ..passed_on(&back, FAR, CLIENT_MAC, OWN_MAC)
        };
        let out = bench.expect(&back.bytes(), XDP_TX);
        same(&out, &wanted.bytes(), "back");
    }
}

/// A network namespace of this thread with an interface `own`, behind which the default routes' router is; the
/// interface's number, or `None` where there is no `ip`. It goes with the thread.
fn own_network() -> Option<u32> {
    // SAFETY: a plain call; it changes this thread only.
    let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(moved, 0, "{}", std::io::Error::last_os_error());
    for line in [
        "link set lo up",
        "link add own address 02:00:00:00:00:03 type veth peer name far",
        "link set own up",
        "link set far up",
        "addr add 203.0.113.1/24 dev own",
        "addr add 2001:db8:2::1/64 dev own nodad",
        "neigh add 203.0.113.2 lladdr 02:00:00:00:00:10 dev own",
        "neigh add 2001:db8:2::2 lladdr 02:00:00:00:00:10 dev own",
        "route add default via 203.0.113.2",
        "route add default via 2001:db8:2::2",
    ] {
        let Ok(status) = Command::new("ip").args(line.split(' ')).status() else {
            println!("no 'ip': routes were not asked");
            return None;
        };
        assert!(status.success(), "{line}");
    }
    for setting in ["ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"] {
        let path = format!("/proc/sys/net/{setting}");
        std::fs::write(path, "1").expect("a setting");
    }
    // SAFETY: the name is NUL-terminated.
    Some(unsafe { libc::if_nametoindex(c"own".as_ptr()) })
}

/// A VLAN that has an interface of the kernel's: routes name that one, and frames with the tag leave by the one that
/// it is on. Here a cable stands for it, as what it is on is what the table says.
#[test]
fn who_is_behind_a_vlans_own_interface_is_sent_to_by_the_one_beneath() {
    let asks = || {
        // SAFETY: plain call.
        let own = if unsafe { libc::geteuid() } == 0 {
            own_network()
        } else {
            None
        };
        let Some(own) = own else { return };
        for (beneath, family) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
            let (sources, server) = [
                ("10.0.0.0/24", "10.0.0.11:40000"),
                ("fd00::/64", "[fd00::11]:40000"),
            ][family];
            let pool = ["203.0.113.20", "2001:db8:2::20"][family];
            let Some(mut bench) = bench_with(feature::PREFIX | feature::SNAT) else {
                return;
            };
            if beneath {
                let lane = Lane {
                    ifindex: own,
                    vlan: 0,
                };
                let mut lanes = bench.0.lanes().expect("lanes");
                lanes.insert(lane, BEHIND, 0).expect("fits");
            }
            let service = Service {
                pool_first: abi::address(ip(pool)),
                pool_size: 1,
                port_first: 2000,
                port_last: 2000,
                vlan: NEAR.into(),
                ..Service::default()
            };
            bench.serve_prefix(abi::sources(FAR), sources, 0, service, &[]);
            let syn = tagged(FAR, &tcp(server, OUTSIDE[family], SYN, b""));
            let wanted = Frame {
                src: SocketAddr::new(ip(pool), 2000),
                ..passed_on(&syn, NEAR, SERVER_MAC, INNER_MAC)
            };
            let out = bench.expect(&syn.bytes(), XDP_REDIRECT);
            same(&out, &wanted.bytes(), "out");
            let flows = bench.0.flows().expect("flows");
            let outward = flows.iter().flatten().map(|(_, flow)| flow);
            let mut outward = outward.filter(|f| f.hop.vlan == NEAR);
            let by = outward.next().expect("a session").hop.ifindex;
            assert_eq!(by, if beneath { BEHIND } else { own });
        }
    };
    std::thread::spawn(asks).join().expect("it goes through");
}

#[test]
fn the_number_that_no_vlan_has_is_not_the_lack_of_a_tag() {
    let Some(mut bench) = bench_with(feature::PREFIX | feature::SNAT) else {
        return;
    };
    let service = Service {
        pool_first: abi::address(ip("203.0.113.20")),
        pool_size: 1,
        port_first: 2000,
        port_last: 2000,
        ..Service::default()
    };
    bench.serve_prefix(abi::sources(0), "10.0.0.0/24", 0, service, &[]);
    let frame = tagged(4095, &tcp("10.0.0.11:40000", OUTSIDE[0], SYN, b""));
    let out = bench.expect(&frame.bytes(), XDP_PASS);
    same(&out, &frame.bytes(), "untouched");
    assert_eq!(bench.sessions(), 0);
}

/// A frame with this tag before what it has.
fn behind(kind: [u8; 2], tag: u16, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &kind, &tag.to_be_bytes(), &frame[12..]].concat()
}

#[test]
fn tags_within_tags_are_nobodys() {
    let Some(mut bench) = bench_with(ROUTED | feature::SNAT) else {
        return;
    };
    for family in 0..2 {
        serve(&mut bench, family, NEAR, FAR, way(forward::NAT));
        let place = abi::place(HERE, NEAR);
        let route = Service {
            schedule: schedule::PAIR,
            ..way(forward::ROUTE)
        };
        bench.serve_prefix(place, ALL[family], 0, route, &[at(FIREWALLS[family][0])]);
        // This machine takes part in both VLANs: single tags are taken off for the stack.
        for vlan in [NEAR, FAR] {
            let lane = Lane {
                ifindex: HERE,
                vlan: vlan.into(),
            };
            bench
                .0
                .lanes()
                .expect("lanes")
                .insert(lane, 1, 0)
                .expect("fits");
        }
        let port = Port {
            mac: OWN_MAC,
            ..Port::default()
        };
        bench
            .0
            .ports()
            .expect("ports")
            .insert(HERE, port, 0)
            .expect("fits");
        let own = ["10.0.0.1", "fd00::1"][family];
        bench.prefix(0, &format!("{own}/{}", [32, 128][family]), abi::vip::PASS);
        let to_us = tcp(
            CLIENT[family],
            &SocketAddr::new(ip(own), 22).to_string(),
            SYN,
            b"",
        );
        let out = bench.expect(&tagged(NEAR, &to_us).bytes(), XDP_PASS);
        same(&out, &to_us.bytes(), "for the stack, without the tag");
        let all = Frame {
            to: [0xff; 6],
            ..to_us.clone()
        };
        let frames = [
            tcp(CLIENT[family], VIP[family], SYN, b""),
            tcp(INSIDE[family], OUTSIDE[family], SYN, b""),
            to_us,
            all,
        ];
        for frame in frames {
            let inner = frame.bytes();
            for (outer, outer_tag, tag) in [
                ([0x81, 0], NEAR | PRIORITY, NEAR),
                ([0x81, 0], NEAR, FAR),
                ([0x81, 0], FAR, NEAR),
                ([0x88, 0xa8], NEAR, NEAR),
                ([0x88, 0xa8], 7, FAR),
            ] {
                let once = behind([0x81, 0], tag, &inner);
                let twice = behind(outer, outer_tag, &once);
                same(&bench.expect(&twice, XDP_PASS), &twice, "two tags");
            }
            // A provider's tag alone is no VLAN of ours.
            let provided = behind([0x88, 0xa8], NEAR, &inner);
            same(&bench.expect(&provided, XDP_PASS), &provided, "provider");
        }
        assert_eq!(bench.sessions(), 0);
    }
}
