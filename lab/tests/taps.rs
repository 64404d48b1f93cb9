//! Frames through TAP interfaces, byte for byte, where tags and sums come as the kernel hands them on:
//! what a bridge passes and changes, and which VLANs are whose.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "../../crates/packet/tests/common/frame.rs"]
#[allow(dead_code)] // each test file uses its part
mod frame;
#[path = "packet/net.rs"]
mod net;
#[path = "packet/tap.rs"]
mod tap;

use balancer::{Balancer, detach};
use frame::{ACK, FIN, Frame, Load, SYN, tcp, udp};
use net::{Net, possible, wait_until};
use std::net::SocketAddr;
use tap::{Tap, says};

const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xa0];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xa1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
const ALL: [u8; 6] = [0xff; 6];

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn tagged(frame: &[u8], kind: [u8; 2], tag: u16) -> Vec<u8> {
    [&frame[..12], &kind, &tag.to_be_bytes(), &frame[12..]].concat()
}

/// ARP: 1 asks, 2 answers.
fn arp(to: [u8; 6], from: [u8; 6], operation: u8, sender: &str, target: &str) -> Vec<u8> {
    let ip = |text: &str| match at(&format!("{text}:0")) {
        SocketAddr::V4(ip) => ip.ip().octets(),
        SocketAddr::V6(_) => panic!("ARP is of IPv4"),
    };
    let known = if operation == 1 { [0; 6] } else { to };
    let mut frame = [to, from].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend(from);
    frame.extend(ip(sender));
    frame.extend(known);
    frame.extend(ip(target));
    frame
}

/// Whether a frame asks for this address by ARP; `at` is where ARP begins.
fn asks(frame: &[u8], at: usize, target: [u8; 4]) -> bool {
    frame.get(at - 2..at) == Some(&[8, 6])
        && frame.get(at + 7) == Some(&1)
        && frame.get(at + 24..at + 28) == Some(&target)
}

const BRIDGE: &str = "
frontend web
    mode packet
    bind 203.0.113.100:80 interface p0,p1
    default_backend web
backend web
    mode packet
    forward bridge
    server one 203.0.113.11:8080
";

/// Sends a first packet until it comes out: the server has to be found first.
fn begins(from: &Tap, to: &Tap, frame: &[u8], wanted: &[u8], find: impl Fn()) {
    for _ in 0..50 {
        find();
        from.send(frame);
        if to.wanted(|f| f == wanted).is_some() {
            return;
        }
    }
    panic!("no session begins");
}

#[test]
fn a_bridge_passes_frames_as_they_are_and_rewrites_what_it_balances() {
    if !possible() {
        return;
    }
    let net = Net::new(&["l"]);
    let p0 = Tap::new(&net, "l", "p0", "02:00:00:00:00:a0");
    let p1 = Tap::new(&net, "l", "p1", "02:00:00:00:00:a1");
    let balancer = Balancer::start(&net, "l", BRIDGE);

    let other = Frame {
        to: SERVER_MAC,
        ..udp("203.0.113.2:5000", "203.0.113.11:5000", b"passes")
    };
    let later = Frame {
        fragment: 0x2001,
        ..other.clone()
    };
    let six = Frame {
        to: SERVER_MAC,
        ..tcp("[2001:db8:3::2]:1", "[2001:db8:3::3]:2", SYN, b"x")
    };
    let bytes = other.bytes();
    let passes = [
        ("a datagram", bytes.clone()),
        ("a later piece", later.bytes()),
        ("IPv6", six.bytes()),
        ("a tag", tagged(&bytes, [0x81, 0], 0xa12c)),
        (
            "two tags",
            tagged(&tagged(&bytes, [0x81, 0], 7), [0x88, 0xa8], 300),
        ),
        (
            "ARP",
            arp(ALL, CLIENT_MAC, 1, "203.0.113.2", "203.0.113.11"),
        ),
        (
            "all",
            Frame {
                to: ALL,
                ..other.clone()
            }
            .bytes(),
        ),
        (
            "some of IPv6",
            Frame {
                to: [0x33, 0x33, 0, 0, 0, 9],
                ..six.clone()
            }
            .bytes(),
        ),
        (
            "a bridge's own protocol",
            [
                &[1, 0x80, 0xc2, 0, 0, 0][..],
                &CLIENT_MAC,
                &[0, 0x26, 0x42, 0x42, 3],
                &[0; 43],
            ]
            .concat(),
        ),
        (
            "an unknown protocol",
            [&SERVER_MAC[..], &CLIENT_MAC, &[0x88, 0xb5], &[5; 60]].concat(),
        ),
    ];
    for (what, frame) in &passes {
        p0.send(frame);
        p1.gives(frame, what);
        p1.send(frame);
        p0.gives(frame, what);
    }

    // The address is answered for, and not asked for on the other side.
    let question = arp(ALL, CLIENT_MAC, 1, "203.0.113.2", "203.0.113.100");
    p0.send(&question);
    p0.gives(
        &arp(CLIENT_MAC, OWN_MAC, 2, "203.0.113.100", "203.0.113.2"),
        "an answer",
    );
    p1.keeps(|f| asks(f, 14, [203, 0, 113, 100]), "the question stays");

    let first = tcp("203.0.113.2:40000", "203.0.113.100:80", SYN, b"");
    let sent = Frame {
        to: SERVER_MAC,
        dst: at("203.0.113.11:8080"),
        ..first.clone()
    };
    begins(&p0, &p1, &first.bytes(), &sent.bytes(), || {
        if let Some(asked) = p1.wanted(|f| asks(f, 14, [203, 0, 113, 11])) {
            let who: [u8; 6] = asked[6..12].try_into().expect("an address");
            p1.send(&arp(who, SERVER_MAC, 2, "203.0.113.11", "0.0.0.0"));
        }
    });
    // The server answers whom it takes for the client.
    let back = Frame {
        to: CLIENT_MAC,
        from: SERVER_MAC,
        ..tcp("203.0.113.11:8080", "203.0.113.2:40000", SYN | ACK, b"data")
    };
    let restored = Frame {
        from: OWN_MAC,
        src: at("203.0.113.100:80"),
        ..back.clone()
    };
    p1.send(&back.bytes());
    p0.gives(&restored.bytes(), "the answer");
    for flags in [ACK, FIN | ACK] {
        let next = |f: &Frame| Frame {
            load: tcp("1.1.1.1:1", "1.1.1.1:1", flags, b"more").load,
            ..f.clone()
        };
        p0.send(&next(&first).bytes());
        p1.gives(&next(&sent).bytes(), "what follows");
    }

    // What we send ourselves comes back only by another way around.
    let mut loops = bytes.clone();
    loops[6..12].copy_from_slice(&OTHER_MAC);
    p0.send(&loops);
    p1.keeps(|f| f == loops, "a loop is not fed");
    let shown = balancer.control("show packets").unwrap_or_default();
    assert!(shown.contains("loop: 1\n"), "{shown}");
    drop(balancer);
    detach(&net, "l");
    // The kernel lets go of a program when nobody runs it any more.
    wait_until("nothing is left of the bridge", || {
        p0.send(&bytes);
        !p1.comes(|f| f == bytes)
    });
}

const VLANS: &str = "
frontend web
    mode packet
    bind 198.51.100.80:80 interface arm vlan 100
    default_backend web
backend web
    mode packet
    server one 10.0.0.11:8080 vlan 200
";

#[test]
fn frames_of_vlans_are_served_in_theirs_and_others_are_untouched() {
    if !possible() {
        return;
    }
    let net = Net::new(&["l"]);
    let arm = Tap::new(&net, "l", "arm", "02:00:00:00:00:a0");
    net.ip("l", "addr add 10.0.0.1/24 dev arm");
    net.exec("l", "sysctl -qw net.ipv4.ip_forward=1");
    let balancer = Balancer::start(&net, "l", VLANS);
    let of = |vlan, frame: &Frame| Frame {
        vlan: Some(vlan),
        ..frame.clone()
    };
    let question = arp(ALL, CLIENT_MAC, 1, "198.51.100.2", "198.51.100.80");
    let answer = arp(CLIENT_MAC, OWN_MAC, 2, "198.51.100.80", "198.51.100.2");
    arm.send(&tagged(&question, [0x81, 0], 100));
    arm.gives(&tagged(&answer, [0x81, 0], 100), "an answer in its VLAN");
    arm.send(&tagged(&question, [0x81, 0], 101));
    arm.send(&question);
    arm.keeps(|f| f.ends_with(&answer[12..]), "no answer elsewhere");

    let first = tcp("198.51.100.2:40000", "198.51.100.80:80", SYN, b"");
    let sent = Frame {
        to: SERVER_MAC,
        from: OWN_MAC,
        dst: at("10.0.0.11:8080"),
        ttl: 63,
        ..first.clone()
    };
    begins(
        &arm,
        &arm,
        &of(100, &first).bytes(),
        &of(200, &sent).bytes(),
        || {
            let asked =
                arm.wanted(|f| f[12..16] == [0x81, 0, 0, 200] && asks(f, 18, [10, 0, 0, 11]));
            if asked.is_some() {
                let answer = arp(OWN_MAC, SERVER_MAC, 2, "10.0.0.11", "10.0.0.1");
                arm.send(&tagged(&answer, [0x81, 0], 200));
            }
        },
    );
    let back = Frame {
        from: SERVER_MAC,
        ..tcp("10.0.0.11:8080", "198.51.100.2:40000", SYN | ACK, b"data")
    };
    let restored = Frame {
        to: CLIENT_MAC,
        from: OWN_MAC,
        src: at("198.51.100.80:80"),
        ttl: 63,
        ..back.clone()
    };
    arm.send(&of(200, &back).bytes());
    arm.gives(
        &of(100, &restored).bytes(),
        "the answer in the client's VLAN",
    );

    // The server asks for its gateway, which is this machine.
    let asks_us = arp(ALL, SERVER_MAC, 1, "10.0.0.11", "10.0.0.1");
    arm.send(&tagged(&asks_us, [0x81, 0], 200));
    let told = arp(SERVER_MAC, OWN_MAC, 2, "10.0.0.1", "10.0.0.11");
    arm.gives(
        &tagged(&told, [0x81, 0], 200),
        "the kernel's answer in the VLAN",
    );

    // The same packets of other VLANs, or of none, are not ours.
    for other in [
        of(101, &first),
        first.clone(),
        of(201, &back),
        of(100, &back),
    ] {
        arm.send(&other.bytes());
    }
    arm.send(&tagged(&of(100, &first).bytes(), [0x88, 0xa8], 5));
    arm.keeps(
        |f| f.ends_with(&sent.packet()) || f.ends_with(&restored.packet()),
        "others",
    );
    drop(balancer);
    detach(&net, "l");
}

/// Who is asked for may be in any VLAN; what is told of an address is for the network that it is in.
#[test]
fn only_questions_leave_in_every_vlan() {
    if !possible() {
        return;
    }
    let net = Net::new(&["l"]);
    let arm = Tap::new(&net, "l", "arm", "02:00:00:00:00:a0");
    net.ip("l", "addr add 10.0.0.1/24 dev arm");
    // A frontend that only leads outward has VLANs, too.
    let outward = "frontend out
    mode packet
    snat 10.0.0.0/24 vlan 200 to 203.0.113.20 vlan 300
    default_backend web
";
    let balancer = Balancer::start(&net, "l", &format!("{VLANS}{outward}"));
    let told = |operation, sender, target| arp(ALL, OWN_MAC, operation, sender, target);
    let solicits = |kind, src, target: u8| {
        let data = [&[0xfd][..], &[0; 14], &[target]].concat();
        Frame {
            to: [0x33, 0x33, 0, 0, 0, 1],
            from: OWN_MAC,
            ttl: 255,
            ..frame::frame(
                src,
                "[ff02::1]:0",
                Load::Icmp {
                    kind,
                    code: 0,
                    word: 0,
                    data,
                },
            )
        }
        .bytes()
    };
    let asked = [
        told(1, "192.0.2.1", "192.0.2.77"),
        solicits(135, "[fd00::1]:0", 9),
    ];
    let told = [
        ("gratuitous ARP", told(1, "192.0.2.1", "192.0.2.1")),
        ("gratuitous ARP", told(2, "192.0.2.1", "192.0.2.1")),
        ("a probe", told(1, "0.0.0.0", "192.0.2.1")),
        ("an advertisement", solicits(136, "[fd00::1]:0", 1)),
        ("duplicate address detection", solicits(135, "[::]:0", 1)),
    ];
    let untagged = told.iter().map(|(what, frame)| (*what, frame));
    for (what, frame) in untagged.chain(asked.iter().map(|f| ("a question", f))) {
        says(&net, "l", c"arm", frame.clone());
        let mut left = Vec::new();
        // The copies of a question leave before itself.
        let own = arm.wanted(|f| {
            left.push(f.to_vec());
            f == frame
        });
        assert!(own.is_some(), "{what} leaves without a tag");
        for vlan in [100, 200, 300] {
            let asks = left.contains(&tagged(frame, [0x81, 0], vlan));
            assert_eq!(asks, what == "a question", "{what} in VLAN {vlan}");
        }
    }
    drop(balancer);
    detach(&net, "l");
}
