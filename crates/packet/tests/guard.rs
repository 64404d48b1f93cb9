//! The guard: which packets it lets through, what it answers.

mod common;

use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunOptions};
use common::*;
use packet::abi::{FlowKey, Service, feature};
use packet::guard::abi::{Guard, Limit, flag, limit};
use packet::guard::{Lists, Tables, counts, set_guard};
use packet::kernel::{Kernel, Sizes};
use proptest::prelude::*;
use rules::{Change, PatternList};
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

const AT: u32 = 3;
const ALL: u32 =
    feature::GUARD | feature::LISTS | feature::LIMITS | feature::COOKIES | feature::SPLICE;

/// One service of each family, both with one guard.
struct Guarded {
    bench: Bench,
    lists: Vec<Arc<PatternList>>,
    known: Lists,
    tables: Tables,
    minute: u32,
}

const VIPS: [(&str, &str); 2] = [
    ("203.0.113.10:80", "10.0.0.11:8080"),
    ("[2001:db8:2::10]:80", "[fd00::11]:8080"),
];

fn guarded(features: u32, guard: Guard, lists: &[&[&str]]) -> Option<Guarded> {
    Some(behind(bench_with(features)?, guard, lists))
}

fn behind(mut bench: Bench, guard: Guard, lists: &[&[&str]]) -> Guarded {
    for (vip, server) in VIPS {
        let service = Service {
            guard: AT,
            ..Service::default()
        };
        bench.service(at(vip), TCP, service, &[at(server)]);
        bench.service(at(vip), UDP, service, &[at(server)]);
    }
    set_guard(&bench.0, AT, &guard).expect("written");
    let list = |entries: &&[&str]| {
        let entries: Vec<String> = entries.iter().map(|e| e.to_string()).collect();
        PatternList::alone(&entries)
    };
    let mut guarded = Guarded {
        bench,
        lists: lists.iter().map(list).collect(),
        known: Lists::default(),
        tables: Tables::default(),
        minute: 1000,
    };
    guarded.write();
    guarded
}

impl Guarded {
    fn write(&mut self) {
        let changes = self.known.follow(&self.lists);
        let said = self
            .tables
            .write(&self.bench.0, &self.known, &changes, self.minute);
        assert_eq!(said.expect("written"), None);
    }

    #[track_caller]
    fn passes(&mut self, frame: &Frame) {
        self.bench.expect(&frame.bytes(), XDP_REDIRECT);
    }

    #[track_caller]
    fn drops(&mut self, frame: &Frame, reason: &str) {
        let before = self.count(reason);
        self.bench.expect(&frame.bytes(), XDP_DROP);
        assert_eq!(self.count(reason), before + 1, "{reason}");
    }

    fn count(&mut self, reason: &str) -> u64 {
        let reasons = packet::guard::abi::REASONS.iter();
        let at = reasons
            .clone()
            .position(|r| *r == reason)
            .expect("a reason");
        counts(&mut self.bench.0, AT).n[at]
    }
}

/// A SYN of this address.
fn syn(from: &str) -> Frame {
    let (client, vip) = match from.contains(':') {
        false => (format!("{from}:40000"), VIPS[0].0),
        true => (format!("[{from}]:40000"), VIPS[1].0),
    };
    tcp(&client, vip, SYN, b"")
}

#[test]
fn sources_in_a_list_are_dropped_and_those_allowed_are_not() {
    let guard = Guard {
        deny: 1,
        allow: 2,
        ..Guard::default()
    };
    let lists: [&[&str]; 2] = [
        &[
            "198.51.100.7",
            "192.0.2.0/24",
            "100.64.0.0/10",
            "198.18.5.128/25",
            "2001:db8:1::7",
            "2001:db8:bad::/48",
        ],
        &["192.0.2.9", "2001:db8:bad:1::/64"],
    ];
    let Some(mut g) = guarded(feature::GUARD | feature::LISTS, guard, &lists) else {
        return;
    };
    for bad in [
        "198.51.100.7",
        "192.0.2.0",
        "192.0.2.255",
        "100.64.0.1",
        "100.127.255.255",
        "198.18.5.128",
        "2001:db8:1::7",
        "2001:db8:bad:2::1",
    ] {
        g.drops(&syn(bad), "denied");
    }
    for good in [
        "198.51.100.8",
        "192.0.3.0",
        "192.0.2.9",
        "100.128.0.0",
        "100.63.255.255",
        "198.18.5.127",
        "2001:db8:1::8",
        "2001:db8:bad:1::1",
        "2001:db8:bae::1",
    ] {
        g.passes(&syn(good));
    }
    // What is no service's is none of the guard's.
    let mut foreign = syn("198.51.100.7");
    foreign.dst = at("203.0.113.99:80");
    g.bench.expect(&foreign.bytes(), XDP_PASS);
}

#[test]
fn a_list_that_changes_is_in_force_for_sessions_that_are_open() {
    let guard = Guard {
        deny: 1,
        ..Guard::default()
    };
    let Some(mut g) = guarded(feature::GUARD | feature::LISTS, guard, &[&[]]) else {
        return;
    };
    for (client, network) in [
        ("198.51.100.7", "198.51.0.0/16"),
        ("2001:db8:1::7", "2001:db8::/32"),
    ] {
        let data = Frame {
            load: Load::Tcp {
                flags: ACK,
                seq: 1,
                ack: 1,
                options: Vec::new(),
                data: b"x".to_vec(),
            },
            ..syn(client)
        };
        g.passes(&syn(client));
        g.passes(&data);
        for entry in [client, network] {
            g.lists[0].add(None, &[(entry, "")]).expect("fits");
            g.write();
            g.drops(&data, "denied");
            g.lists[0].remove(Change::Key(entry));
            g.write();
            g.passes(&data);
        }
    }
    // A list that grows past the room of its table is another table.
    let many: Vec<String> = (0..40_000u32)
        .map(|n| format!("10.9.{}.{}", n >> 8, n & 255))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|m| (m.as_str(), "")).collect();
    g.lists[0].add(None, &many).expect("fits");
    g.write();
    g.drops(&syn("10.9.156.63"), "denied");
    g.passes(&syn("10.9.156.64"));
    g.lists[0].clear(None);
    g.write();
    g.passes(&syn("10.9.156.63"));
}

#[test]
fn whoever_a_list_holds_is_dropped_and_nobody_else() {
    let guard = Guard {
        deny: 1,
        ..Guard::default()
    };
    let Some(g) = guarded(feature::GUARD | feature::LISTS, guard, &[&[]]) else {
        return;
    };
    let g = RefCell::new(g);
    let four = proptest::collection::vec((any::<u32>(), 0u8..=32), 0..30);
    let six = proptest::collection::vec((any::<u64>(), 16u8..=32), 0..30);
    proptest!(ProptestConfig::with_cases(40), |(four in four, six in six, low: u32)| {
        let mut g = g.borrow_mut();
        let v4 = |n: u32| std::net::Ipv4Addr::from(n);
        let v6 = |n: u64| std::net::Ipv6Addr::from(u128::from(n) << 64 | u128::from(low));
        let four_texts = four.iter().map(|(a, l)| format!("{}/{l}", v4(*a)));
        let six_texts = six.iter().map(|(a, l)| format!("{}/{l}", v6(*a)));
        let entries: Vec<String> = four_texts.chain(six_texts).collect();
        g.lists = vec![PatternList::alone(&entries)];
        g.write();
        let nets: Vec<_> = entries.iter().filter_map(|e| rules::network(e)).collect();
        let near4 = four.iter().flat_map(|(a, _)| [*a, a ^ 1, a ^ 1 << 8, a ^ 1 << 20]);
        let near6 = six.iter().flat_map(|(a, _)| [*a, a ^ 1 << 40]);
        let near: Vec<IpAddr> = near4.map(|n| v4(n).into()).chain(near6.map(|n| v6(n).into())).collect();
        for ip in near.into_iter().filter(|ip| !ip.is_unspecified()) {
            let holds = |net: &&(IpAddr, u8)| {
                net.0.is_ipv4() == ip.is_ipv4() && rules::network_contains(net.0, net.1, ip)
            };
            let held = nets.iter().any(|n| holds(&n));
            let (verdict, _) = g.bench.run(&syn(&ip.to_string()).bytes());
            prop_assert_eq!(verdict == XDP_DROP, held, "{}", ip);
        }
    });
}

#[test]
fn flags_that_no_connection_has_are_dropped() {
    let Some(mut g) = guarded(feature::GUARD, Guard::default(), &[]) else {
        return;
    };
    const PSH: u8 = 8;
    const URG: u8 = 32;
    for client in ["198.51.100.7", "2001:db8:1::7"] {
        g.passes(&syn(client));
        let with = |flags: u8| {
            let mut frame = syn(client);
            if let Load::Tcp { flags: f, .. } = &mut frame.load {
                *f = flags;
            }
            frame
        };
        for bad in [
            0,
            FIN,
            FIN | PSH | URG,
            PSH,
            SYN | FIN,
            SYN | RST,
            SYN | RST | ACK,
            FIN | RST | ACK,
            0x3f,
        ] {
            g.drops(&with(bad), "invalid");
        }
        for good in [ACK, ACK | PSH, SYN | ACK, SYN | 0xc0, FIN | ACK | PSH | URG] {
            g.passes(&with(good));
        }
        // Who sends from the address that it sends to.
        let mut land = syn(client);
        land.src = land.dst;
        g.drops(&land, "invalid");
        land.src.set_port(1234);
        g.drops(&land, "invalid");
    }
}

fn limits(set: impl Fn(&mut Guard)) -> Guard {
    let mut guard = Guard::default();
    set(&mut guard);
    guard
}

#[test]
fn a_source_that_sends_too_much_is_held_back_and_others_are_not() {
    let guard = limits(|g| {
        g.flags = flag::SOURCES;
        // One in a day, so that no machine is slow enough for another.
        g.source[limit::SYNS] = Limit {
            cost: 86_400_000_000_000 << 16,
            burst: 86_400_000_000_000 * 5,
        };
    });
    let Some(mut g) = guarded(feature::GUARD | feature::LIMITS, guard, &[]) else {
        return;
    };
    for (client, other) in [
        ("198.51.100.7", "198.51.100.8"),
        ("2001:db8:1::7", "2001:db8:1:1::7"),
    ] {
        for _ in 0..5 {
            g.passes(&syn(client));
        }
        for _ in 0..100 {
            g.drops(&syn(client), "source-limit");
        }
        g.passes(&syn(other));
        // Its session goes on: only SYNs are counted.
        let mut data = syn(client);
        if let Load::Tcp { flags, .. } = &mut data.load {
            *flags = ACK;
        }
        g.passes(&data);
    }
    // In IPv6 the network counts.
    g.drops(&syn("2001:db8:1::ffff:8"), "source-limit");
}

#[test]
fn a_service_that_gets_too_much_drops_the_rest() {
    let day = 86_400_000_000_000u64;
    let guard = limits(|g| {
        g.flags = flag::SERVICE;
        g.service[limit::PACKETS] = Limit {
            cost: day << 16,
            burst: day * 7,
        };
    });
    let Some(mut g) = guarded(feature::GUARD | feature::LIMITS, guard, &[]) else {
        return;
    };
    for n in 0..7 {
        g.passes(&syn(&format!("198.51.100.{n}")));
    }
    g.drops(&syn("198.51.100.99"), "service-limit");
    g.drops(&syn("2001:db8:1::7"), "service-limit");
}

#[test]
fn bytes_are_those_of_packets() {
    let day = 86_400_000_000_000u64;
    let guard = limits(|g| {
        g.flags = flag::SOURCES;
        g.source[limit::BYTES] = Limit {
            cost: (day / 1000) << 16,
            burst: day,
        };
    });
    let Some(mut g) = guarded(feature::GUARD | feature::LIMITS, guard, &[]) else {
        return;
    };
    // 1000 bytes: 528 twice is more.
    let frame = udp("198.51.100.7:5000", VIPS[0].0, &[0; 500]);
    g.passes(&frame);
    g.drops(&frame, "source-limit");
    let small = udp("198.51.100.7:5000", VIPS[0].0, &[0; 400]);
    g.passes(&small);
}

/// The number of a TCP header, and its acknowledgement.
fn numbers(frame: &[u8]) -> (u32, u32) {
    let tcp = &frame[14 + if frame[14] >> 4 == 4 { 20 } else { 40 }..];
    let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
    (word(4), word(8))
}

#[test]
fn under_pressure_a_client_proves_where_it_is_and_then_connects() {
    let guard = Guard {
        flags: flag::COOKIES,
        key: [1, 2],
        ..Guard::default()
    };
    let Some(mut g) = guarded(ALL, guard, &[]) else {
        return;
    };
    for client in ["198.51.100.7", "2001:db8:1::7"] {
        let mut first = syn(client);
        if let Load::Tcp { options, data, .. } = &mut first.load {
            *options = vec![2, 4, 5, 180];
            *data = b"early".to_vec();
        }
        let sessions = g.bench.sessions();
        let got = g.bench.expect(&first.bytes(), XDP_TX);
        let (_, cookie) = numbers(&got);
        let answer = Frame {
            to: CLIENT_MAC,
            from: OWN_MAC,
            src: first.dst,
            dst: first.src,
            id: 0,
            load: Load::Tcp {
                flags: SYN | ACK,
                seq: 0,
                ack: cookie,
                options: Vec::new(),
                data: Vec::new(),
            },
            ..first.clone()
        };
        let mut wanted = answer.bytes();
        let tcp = wanted.len() - 20;
        // No window: nothing may be sent to nobody.
        wanted[tcp + 14..tcp + 16].fill(0);
        wanted[tcp + 16..tcp + 18].fill(0);
        let mut bare = got.clone();
        bare[tcp + 16..tcp + 18].fill(0);
        same(&bare, &wanted, "the challenge");
        assert!(sums_are_right(&got));
        assert_ne!(cookie, 1001, "the acknowledgement must be unacceptable");
        assert_eq!(g.bench.sessions(), sessions, "nothing is kept of it");

        let reset = |seq: u32| Frame {
            load: Load::Tcp {
                flags: RST,
                seq,
                ack: 0,
                options: Vec::new(),
                data: Vec::new(),
            },
            ..first.clone()
        };
        // A guess proves nothing.
        let (before, bytes) = (g.count("proven"), reset(cookie ^ 1).bytes());
        g.bench.expect(&bytes, XDP_DROP);
        g.bench.expect(&first.bytes(), XDP_TX);
        // Nor does an answer that comes two minutes late.
        g.minute += 2;
        g.write();
        g.bench.expect(&reset(cookie).bytes(), XDP_DROP);
        assert_eq!(g.count("proven"), before);
        g.minute -= 1;
        g.write();
        g.drops(&reset(cookie), "proven");
        g.passes(&first);
        g.minute -= 1;
        g.write();
        // Another source has proved nothing by that.
        let other = client.replace('7', "9");
        g.bench.expect(&syn(&other).bytes(), XDP_TX);
    }
}

#[test]
fn two_machines_with_one_key_take_each_others_cookies() {
    let guard = |key| Guard {
        flags: flag::COOKIES,
        key,
        ..Guard::default()
    };
    let ask = |key| {
        let mut g = guarded(ALL, guard(key), &[])?;
        let got = g.bench.expect(&syn("198.51.100.7").bytes(), XDP_TX);
        Some(numbers(&got).1)
    };
    let Some(one) = ask([7, 8]) else { return };
    assert_eq!(ask([7, 8]), Some(one));
    assert_ne!(ask([7, 9]), Some(one));
}

#[test]
fn without_pressure_nobody_is_asked() {
    let day = 86_400_000_000_000u64;
    let guard = Guard {
        flags: flag::COOKIES,
        calm: Limit {
            cost: day << 16,
            burst: day * 3,
        },
        ..Guard::default()
    };
    let Some(mut g) = guarded(ALL, guard, &[]) else {
        return;
    };
    for n in 1..4 {
        g.passes(&syn(&format!("198.51.100.{n}")));
    }
    g.bench.expect(&syn("198.51.100.5").bytes(), XDP_TX);
    assert_eq!(g.count("challenged"), 1);
}

/// The frame with this segment.
fn segment(frame: &Frame, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Frame {
    Frame {
        load: Load::Tcp {
            flags,
            seq,
            ack,
            options: Vec::new(),
            data: data.to_vec(),
        },
        ..frame.clone()
    }
}

/// Bytes of a frame whose segment has this window.
fn with_window(frame: &Frame, window: u16) -> Vec<u8> {
    let mut bytes = frame.bytes();
    let header = if frame.src.is_ipv4() { 20 } else { 40 };
    let options = match &frame.load {
        Load::Tcp { options, .. } => options.len(),
        _ => 0,
    };
    let tcp = 14 + header;
    bytes[tcp + 14..tcp + 16].copy_from_slice(&window.to_be_bytes());
    bytes[tcp + 16..tcp + 18].fill(0);
    let ip = &bytes[14..tcp];
    let addresses = if frame.src.is_ipv4() {
        &ip[12..20]
    } else {
        &ip[8..40]
    };
    let length = (20 + options) as u8;
    let pseudo = [addresses, &[0, 6, 0, length], &bytes[tcp..]].concat();
    let sum = check(&pseudo).to_be_bytes();
    bytes[tcp + 16..tcp + 18].copy_from_slice(&sum);
    bytes
}

#[test]
fn a_client_that_was_answered_by_a_cookie_is_spliced_with_a_server() {
    let guard = Guard {
        flags: flag::COOKIES | flag::SPLICE,
        key: [1, 2],
        ..Guard::default()
    };
    let Some(mut g) = guarded(ALL, guard, &[]) else {
        return;
    };
    for (client, server, ours, said, mss) in [
        ("198.51.100.7", VIPS[0].1, 1460u16, 1399u16, 1380u16),
        ("2001:db8:1::7", VIPS[1].1, 1440, 1360, 1360),
    ] {
        let mut first = syn(client);
        let option = |mss: u16| [[2, 4], mss.to_be_bytes()].concat();
        if let Load::Tcp { options, .. } = &mut first.load {
            *options = [option(said), vec![1, 3, 3, 7]].concat();
        }
        let sessions = g.bench.sessions();
        let got = g.bench.expect(&first.bytes(), XDP_TX);
        let (cookie, _) = numbers(&got);
        let mut answer = Frame {
            to: CLIENT_MAC,
            from: OWN_MAC,
            src: first.dst,
            dst: first.src,
            id: 0,
            ..segment(&first, SYN | ACK, cookie, 1001, b"")
        };
        if let Load::Tcp { options, .. } = &mut answer.load {
            *options = option(ours);
        }
        same(&got, &with_window(&answer, 0xffff), "the answer to a SYN");
        assert_eq!(g.bench.sessions(), sessions, "nothing is kept of it");

        // A number that nobody has got opens nothing.
        let wrong = segment(&first, ACK, 1001, cookie.wrapping_add(9), b"");
        g.bench.expect(&wrong.bytes(), XDP_DROP);
        assert_eq!(g.bench.sessions(), sessions);

        let opens = segment(&first, ACK, 1001, cookie.wrapping_add(1), b"");
        let to_server = |frame: &Frame| Frame {
            to: SERVER_MAC,
            from: INNER_MAC,
            dst: at(server),
            ttl: 63,
            ..frame.clone()
        };
        let mut opening = to_server(&segment(&first, SYN, 1000, 0, b""));
        if let Load::Tcp { options, .. } = &mut opening.load {
            *options = option(mss);
        }
        let opening = with_window(&opening, 0xffff);
        let got = g.bench.expect(&opens.bytes(), XDP_REDIRECT);
        same(&got, &opening, "the SYN that the server gets");
        assert_eq!(g.bench.sessions(), sessions + 2);
        // What comes before the server has answered asks it again; the client sends it once more.
        let data = segment(&first, ACK, 1001, cookie.wrapping_add(1), b"hello");
        let got = g.bench.expect(&data.bytes(), XDP_REDIRECT);
        same(&got, &opening, "the SYN once more");

        let from_server = |flags, seq: u32, ack, data: &[u8]| Frame {
            to: INNER_MAC,
            from: SERVER_MAC,
            src: at(server),
            dst: first.src,
            ..segment(&first, flags, seq, ack, data)
        };
        const ISN: u32 = 0xffff_fff0;
        let accepts = from_server(SYN | ACK, ISN, 1001, b"");
        let mut confirms = to_server(&segment(&first, ACK, 1001, ISN.wrapping_add(1), b""));
        (confirms.ttl, confirms.id) = (64, 0);
        for _ in 0..2 {
            let got = g.bench.expect(&accepts.bytes(), XDP_TX);
            let wanted = with_window(&confirms, 0xffff);
            same(&got, &wanted, "the server is told that the client is there");
        }

        let got = g.bench.expect(&data.bytes(), XDP_REDIRECT);
        let wanted = to_server(&segment(&first, ACK, 1001, ISN.wrapping_add(1), b"hello"));
        same(&got, &wanted.bytes(), "what the client sends");
        let answer = from_server(ACK, ISN.wrapping_add(1), 1006, b"well come");
        let got = g.bench.expect(&answer.bytes(), XDP_TX);
        let wanted = Frame {
            to: CLIENT_MAC,
            from: OWN_MAC,
            src: first.dst,
            ttl: 63,
            ..segment(&answer, ACK, cookie.wrapping_add(1), 1006, b"well come")
        };
        same(&got, &wanted.bytes(), "what the server sends");
        assert!(g.count("spliced") > 0);

        // A router finds that too long, and quotes all of it, or as much as it must.
        let error = |quoted: &Frame, to: SocketAddr, whole: bool| {
            let (header, kind, code) = if first.src.is_ipv4() {
                (20, 3, 4)
            } else {
                (40, 2, 0)
            };
            let mut data = quoted.packet();
            if !whole {
                data.truncate(header + 8);
            }
            Frame {
                dst: SocketAddr::new(to.ip(), 0),
                load: Load::Icmp {
                    kind,
                    code,
                    word: 1400,
                    data,
                },
                ..first.clone()
            }
        };
        for whole in [true, false] {
            let came = error(&wanted, first.dst, whole);
            let undone = Frame {
                ttl: 63,
                ..answer.clone()
            };
            let wanted = Frame {
                to: SERVER_MAC,
                from: INNER_MAC,
                ttl: 63,
                ..error(&undone, at(server), whole)
            };
            let got = g.bench.expect(&came.bytes(), XDP_REDIRECT);
            same(&got, &wanted.bytes(), "an error about what the server sent");
        }
    }
}

#[test]
fn a_server_that_refuses_a_spliced_client_is_heard() {
    let guard = Guard {
        flags: flag::COOKIES | flag::SPLICE,
        ..Guard::default()
    };
    let Some(mut g) = guarded(ALL, guard, &[]) else {
        return;
    };
    let first = syn("198.51.100.7");
    let (cookie, _) = numbers(&g.bench.expect(&first.bytes(), XDP_TX));
    g.passes(&segment(&first, ACK, 1001, cookie.wrapping_add(1), b""));
    let refuses = Frame {
        to: INNER_MAC,
        from: SERVER_MAC,
        src: at(VIPS[0].1),
        dst: first.src,
        ..segment(&first, RST | ACK, 0, 1001, b"")
    };
    let got = g.bench.expect(&refuses.bytes(), XDP_TX);
    let wanted = Frame {
        to: CLIENT_MAC,
        from: OWN_MAC,
        src: first.dst,
        ttl: 63,
        ..segment(&refuses, RST | ACK, cookie.wrapping_add(1), 1001, b"")
    };
    same(&got, &wanted.bytes(), "a reset that the client believes");
}

/// Its SYN cookies connect clients at once.
fn transparent() -> Guard {
    Guard {
        flags: flag::COOKIES | flag::SPLICE,
        ..Guard::default()
    }
}

/// A server's answer to this frame as it comes, and as its client gets it.
fn answer(to: &Frame, server: &str, load: Load) -> (Frame, Frame) {
    let came = Frame {
        to: INNER_MAC,
        from: SERVER_MAC,
        src: at(server),
        dst: to.src,
        load,
        ..to.clone()
    };
    let left = Frame {
        to: CLIENT_MAC,
        from: OWN_MAC,
        src: to.dst,
        ttl: 63,
        ..came.clone()
    };
    (came, left)
}

#[test]
fn first_answers_of_a_service_without_a_guard_are_not_taken_for_spliced_ones() {
    let Some(mut g) = guarded(ALL, transparent(), &[]) else {
        return;
    };
    for (source, vip, server) in [
        ("198.51.100.7", "203.0.113.20:53", "10.0.0.20:5353"),
        ("2001:db8:1::7", "[2001:db8:2::20]:53", "[fd00::20]:5353"),
    ] {
        let late = Service {
            late: 1,
            ..Service::default()
        };
        for proto in [TCP, UDP] {
            g.bench.service(at(vip), proto, late, &[at(server)]);
            g.bench.expect_answers(at(server), at(vip), proto);
        }
        let client = syn(source).src.to_string();
        let first = tcp(&client, vip, SYN, b"");
        g.passes(&first);
        let agrees = segment(&first, SYN | ACK, 77, 1001, b"").load;
        let (came, left) = answer(&first, server, agrees);
        let got = g.bench.expect(&came.bytes(), XDP_TX);
        same(&got, &left.bytes(), "a first answer of TCP");
        let first = udp(&client, vip, b"asked");
        g.passes(&first);
        let (came, left) = answer(&first, server, first.load.clone());
        let got = g.bench.expect(&came.bytes(), XDP_TX);
        same(&got, &left.bytes(), "a first answer of UDP");
        // Beside them clients of the guarded service are spliced.
        let first = syn(source);
        let (cookie, _) = numbers(&g.bench.expect(&first.bytes(), XDP_TX));
        let before = g.count("spliced");
        g.passes(&segment(&first, ACK, 1001, cookie.wrapping_add(1), b""));
        assert_eq!(g.count("spliced"), before + 1);
    }
}

#[test]
fn a_client_that_has_a_session_is_not_asked_and_begins_anew_after_it() {
    let Some(mut g) = guarded(ALL, transparent(), &[]) else {
        return;
    };
    for client in ["198.51.100.7", "2001:db8:1::7"] {
        let first = syn(client);
        let before = g.bench.sessions();
        let (cookie, _) = numbers(&g.bench.expect(&first.bytes(), XDP_TX));
        let opens = segment(&first, ACK, 1001, cookie.wrapping_add(1), b"");
        g.passes(&opens);
        g.passes(&first);
        assert_eq!(g.bench.sessions(), before + 2);
        // It is over: nothing of it is left when the next one is asked.
        g.bench.run(&segment(&first, RST, 1001, 0, b"").bytes());
        g.bench.expect(&first.bytes(), XDP_TX);
        assert_eq!(g.bench.sessions(), before);
        g.passes(&opens);
        assert_eq!(g.bench.sessions(), before + 2);
    }
}

#[test]
fn a_client_that_there_is_no_room_to_splice_has_no_session() {
    let Some(mut g) = guarded(ALL, transparent(), &[]) else {
        return;
    };
    let full = {
        let mut splices = g.bench.0.splices().expect("splices");
        let mut filler = (0u32..).map(|n| FlowKey {
            vlan: 4095,
            sport: n as u16,
            ..FlowKey::default()
        });
        while filler
            .next()
            .is_some_and(|key| splices.insert(key, [0; 16], 0).is_ok())
        {}
        splices.keys().count()
    };
    assert_eq!(full, 1024);
    let first = syn("198.51.100.7");
    let (cookie, _) = numbers(&g.bench.expect(&first.bytes(), XDP_TX));
    let opens = segment(&first, ACK, 1001, cookie.wrapping_add(1), b"");
    let before = g.bench.sessions();
    let refused = g.bench.0.event("table-full");
    g.bench.expect(&opens.bytes(), XDP_DROP);
    assert_eq!(g.bench.sessions(), before);
    assert_eq!(g.bench.0.event("table-full"), refused + 1);
}

#[test]
fn a_guard_is_of_the_interfaces_that_its_service_is_bound_to() {
    let Some(mut bench) = bench_with(ALL) else {
        return;
    };
    let guard = transparent();
    set_guard(&bench.0, AT, &guard).expect("written");
    let (vip, server) = VIPS[0];
    for (ifindex, verdict) in [(BEHIND, XDP_PASS), (HERE, XDP_TX)] {
        let mut service = Service {
            guard: AT,
            ..Service::default()
        };
        service.ifindex[0] = ifindex;
        bench.service(at(vip), TCP, service, &[at(server)]);
        bench.expect(&syn("198.51.100.7").bytes(), verdict);
    }
}

#[test]
fn programs_can_translate_when_no_guard_is_left() {
    let Some(mut g) = guarded(feature::SPLICE, transparent(), &[]) else {
        return;
    };
    g.passes(&syn("198.51.100.7"));
    g.passes(&syn("2001:db8:1::7"));
}

/// Runs a frame so many times, each from another address.
fn rounds(g: &mut Guarded, frame: &Frame, count: u32) {
    let frame = frame.bytes();
    let map = g.bench.0.map("template").expect("there");
    let mut map: Array<_, Template> = Array::try_from(map).expect("an array");
    let template = Template {
        tail: 1,
        ..Template::of(&frame, true)
    };
    map.set(0, template, 0).expect("fits");
    let mut out = vec![0; 2048];
    let mut options = TestRunOptions::new();
    options.data_in = Some(&frame);
    options.data_out = Some(&mut out);
    options.repeat = count;
    let program = g.bench.0.program().expect("loaded");
    program.test_run(options).expect("it runs");
}

#[test]
fn a_session_stays_whole_through_a_flood_of_ten_million_packets() {
    if BEHIND_DRIVER || bench().is_none() {
        return;
    }
    let sizes = Sizes {
        flows: 4096,
        features: ALL,
    };
    let kernel = Kernel::load_from(ROUNDS_OBJECT, "again", sizes, None).expect("it loads");
    let guard = Guard {
        deny: 1,
        allow: 2,
        flags: flag::COOKIES,
        ..Guard::default()
    };
    // Half of all addresses are blocked; of the others nobody is there.
    let lists: [&[&str]; 2] = [&["128.0.0.0/1"], &["198.51.100.7"]];
    let mut g = behind(Bench(kernel), guard, &lists);
    let one = |g: &mut Guarded, frame: &Frame| {
        let frame = frame.bytes();
        let map = g.bench.0.map("template").expect("there");
        let mut map: Array<_, Template> = Array::try_from(map).expect("an array");
        map.set(0, Template::of(&frame, false), 0).expect("fits");
        g.bench.run(&frame)
    };
    let mut client = syn("198.51.100.7");
    if let Load::Tcp { data, .. } = &mut client.load {
        *data = vec![7; 60];
    }
    assert_eq!(one(&mut g, &client).0, XDP_REDIRECT);
    let data = segment(&client, ACK, 1001, 5, &[9; 200]);
    let (_, before) = one(&mut g, &data);
    for _ in 0..10 {
        rounds(&mut g, &client, 1_000_000);
        let (verdict, after) = one(&mut g, &data);
        assert_eq!(verdict, XDP_REDIRECT);
        same(&after, &before, "the session's packet");
    }
    assert_eq!(g.bench.sessions(), 2, "nobody else has a session");
    let stopped = g.count("denied") + g.count("challenged");
    assert!((9_999_000..=10_000_000).contains(&stopped), "{stopped}");
}

/// Their services expected answers late, and do not any more.
#[test]
fn half_open_sessions_are_answered_when_their_service_gets_a_guard_or_a_pool() {
    let Some(mut g) = guarded(ALL, transparent(), &[]) else {
        return;
    };
    for (source, vip, server, ours) in [
        (
            "198.51.100.7",
            "203.0.113.20:53",
            "10.0.0.20:5353",
            "10.0.0.1",
        ),
        (
            "2001:db8:1::7",
            "[2001:db8:2::20]:53",
            "[fd00::20]:5353",
            "fd00::1",
        ),
    ] {
        let late = Service {
            late: 1,
            ..Service::default()
        };
        let behind_guard = Service {
            guard: AT,
            ..Service::default()
        };
        let pool = Service {
            pool_first: packet::abi::address(ours.parse().expect("an address")),
            pool_size: 4,
            port_first: 1024,
            port_last: 65_535,
            ..Service::default()
        };
        for (port, next) in [(0, behind_guard), (1, pool)] {
            let mut client = syn(source).src;
            client.set_port(42_000 + port);
            let client = client.to_string();
            for proto in [TCP, UDP] {
                g.bench.service(at(vip), proto, late, &[at(server)]);
                g.bench.expect_answers(at(server), at(vip), proto);
            }
            let (first, asked) = (tcp(&client, vip, SYN, b""), udp(&client, vip, b"asked"));
            let before = g.bench.sessions();
            g.passes(&first);
            g.passes(&asked);
            assert_eq!(g.bench.sessions(), before + 2, "one entry each");
            for proto in [TCP, UDP] {
                g.bench.service(at(vip), proto, next, &[at(server)]);
            }
            let agrees = segment(&first, SYN | ACK, 77, 1001, b"").load;
            for (first, load) in [(&first, agrees), (&asked, asked.load.clone())] {
                let (came, left) = answer(first, server, load);
                let got = g.bench.expect(&came.bytes(), XDP_TX);
                same(&got, &left.bytes(), "a first answer after the reload");
            }
            g.passes(&tcp(&client, vip, ACK, b"data"));
        }
    }
}
