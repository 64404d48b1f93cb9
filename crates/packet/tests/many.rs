//! Full NAT for many at once, and which servers sessions get: what hashes are of, who has the fewest, who is kept.

mod common;

use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunOptions};
use common::*;
use packet::abi::{self, Flow, FlowKey, Service, flow_state, forward, hash, schedule};
use packet::kernel::{Kernel, Sizes};
use std::collections::{BTreeSet, HashMap, HashSet};

const CLIENT: &str = "198.51.100.7:40000";
const VIP: &str = "203.0.113.10:80";
const SERVER: &str = "10.0.0.11:8080";
const POOL: &str = "10.0.0.200";

/// First packets of so many clients, each from an address of its own, through a pool of this size.
fn first_packets(clients: u32, addresses: u32, ports: (u16, u16)) -> Option<Bench> {
    // Only to say so where this is not possible.
    bench()?;
    let sizes = Sizes {
        flows: 1 << 18,
        features: 0,
    };
    let kernel = Kernel::load_from(ROUNDS_OBJECT, "again", sizes, None);
    let mut bench = Bench(kernel.expect("it loads"));
    let pool = Service {
        forward: forward::NAT,
        pool_first: abi::address(ip(POOL)),
        pool_size: addresses,
        port_first: ports.0,
        port_last: ports.1,
        ..Service::default()
    };
    bench.service(at(VIP), TCP, pool, &[at(SERVER)]);
    let syn = tcp(CLIENT, VIP, SYN, &[0; 40]).bytes();
    let map = bench.0.map("template").expect("there");
    let mut map: Array<_, Template> = Array::try_from(map).expect("an array");
    map.set(0, Template::of(&syn, true), 0).expect("fits");
    let mut out = vec![0; 2048];
    let mut options = TestRunOptions::new();
    options.data_in = Some(&syn);
    options.data_out = Some(&mut out);
    options.repeat = clients;
    let ran = bench.0.program().expect("loaded").test_run(options);
    ran.expect("it runs");
    Some(bench)
}

/// Both directions of all sessions.
fn directions(bench: &mut Bench) -> [HashMap<FlowKey, Flow>; 2] {
    let flows = bench.0.flows().expect("flows");
    let (there, back) = flows
        .iter()
        .flatten()
        .partition(|(_, f): &(FlowKey, Flow)| f.state & flow_state::FORWARD != 0);
    [there, back]
}

#[test]
fn a_hundred_thousand_sessions_of_full_nat_never_share_a_place() {
    let Some(mut bench) = first_packets(100_000, 4, (1024, 65_535)) else {
        return;
    };
    assert_eq!(bench.0.event("pool-empty"), 0);
    let [there, back] = directions(&mut bench);
    assert_eq!((there.len(), back.len()), (100_000, 100_000));
    let pool: Vec<_> = ["10.0.0.200", "10.0.0.201", "10.0.0.202", "10.0.0.203"]
        .map(|a| abi::address(ip(a)))
        .into();
    let mut places = HashSet::new();
    for (key, flow) in &there {
        assert!(pool.contains(&flow.src), "{:?}", abi::ip(&flow.src));
        assert!(u16::from_be(flow.sport) >= 1024);
        assert!(places.insert((flow.src, flow.sport)), "a place twice");
        // Answers to that place find this client and no other.
        let answers = FlowKey {
            src: flow.dst,
            dst: flow.src,
            sport: flow.dport,
            dport: flow.sport,
            ..*key
        };
        let answers = back.get(&answers).expect("the direction of answers");
        assert_eq!((answers.dst, answers.dport), (key.src, key.sport));
        assert_eq!((answers.src, answers.sport), (key.dst, key.dport));
    }
    let used: BTreeSet<_> = there.values().map(|f| f.src).collect();
    assert_eq!(used.len(), pool.len(), "all addresses take their part");
}

#[test]
fn a_pool_that_is_used_up_turns_the_rest_away_and_counts_them() {
    let Some(mut bench) = first_packets(20_000, 2, (5000, 5999)) else {
        return;
    };
    let [there, back] = directions(&mut bench);
    assert_eq!(there.len(), back.len());
    assert!(there.len() <= 2000);
    // So many clients find almost every place.
    assert!(there.len() > 1900, "{}", there.len());
    let away = bench.0.event("pool-empty");
    assert_eq!(away + there.len() as u64, 20_000);
}

/// A table of servers that no service of `Bench` has.
const TABLE: u32 = 900;

/// The server that a first packet gets, by its address's last byte; no session is left.
fn chosen(bench: &mut Bench, frame: &Frame) -> u8 {
    let flows = bench.0.flows().expect("flows");
    let keys: Vec<_> = flows.keys().flatten().collect();
    let mut flows = bench.0.flows().expect("flows");
    keys.iter().for_each(|key| drop(flows.remove(key)));
    bench.expect(&frame.bytes(), XDP_REDIRECT)[33]
}

#[test]
fn a_hash_is_of_what_is_named_and_of_nothing_else() {
    let Some(mut bench) = bench() else { return };
    let servers: Vec<_> = (11..19).map(|n| at(&format!("10.0.0.{n}:0"))).collect();
    // Frames that differ in one part, by its bit.
    let change = |part: u8, n: u8| {
        let mut f = tcp(CLIENT, VIP, SYN, b"");
        match part {
            hash::SRC => f.src.set_ip(ip(&format!("198.51.100.{n}"))),
            hash::DST => f.dst.set_ip(ip(&format!("203.0.113.{n}"))),
            hash::SPORT => f.src.set_port(50_000 + u16::from(n)),
            hash::DPORT => f.dst.set_port(8000 + u16::from(n)),
            _ => f.from = [2, 0, 0, 9, 9, n],
        }
        f
    };
    let parts = [hash::SRC, hash::DST, hash::SPORT, hash::DPORT, hash::MAC];
    let first = bench.servers(&servers);
    let turns: Vec<u32> = (first..).take(servers.len()).collect();
    for by in [parts.as_slice(), &[hash::SRC | hash::DPORT, 0]].concat() {
        for n in 1..=40 {
            let service = Service {
                forward: forward::NAT,
                schedule: schedule::HASH,
                by,
                ..Service::default()
            };
            // All ports of the address; the table is that of the servers above.
            let address = at(&format!("203.0.113.{n}:0"));
            bench.service(address, 0, service, &[]);
            let key = abi::ServiceKey {
                address: abi::address(address.ip()),
                ..abi::ServiceKey::default()
            };
            let service = Service {
                table: TABLE,
                size: turns.len() as u32,
                ..service
            };
            let mut services = bench.0.services().expect("services");
            services.insert(key, service, 0).expect("fits");
        }
        bench.0.set_table(TABLE, &turns).expect("a table");
        let usual = chosen(&mut bench, &tcp(CLIENT, VIP, SYN, b""));
        for part in parts {
            let met: BTreeSet<u8> = (1..=40)
                .map(|n| chosen(&mut bench, &change(part, n)))
                .collect();
            if by & part != 0 {
                assert!(met.len() > 4, "{by} is of {part}: {met:?}");
            } else {
                assert_eq!(met, [usual].into(), "{by} is not of {part}");
            }
        }
    }
}

/// First packets of clients at these ports; the servers that they get, by their addresses' last bytes.
fn given<const N: usize>(bench: &mut Bench, vip: &str, ports: [u16; N]) -> [u8; N] {
    ports.map(|port| {
        let syn = tcp(&format!("198.51.100.7:{port}"), vip, SYN, b"");
        bench.expect(&syn.bytes(), XDP_REDIRECT)[33]
    })
}

/// Sets how many sessions servers have.
fn have(bench: &mut Bench, sessions: [u32; 3]) {
    let mut live = bench.0.live().expect("live");
    for (at, n) in (0..).zip(sessions) {
        live.set(at, n, 0).expect("room");
    }
}

fn sessions_of(bench: &mut Bench, place: u32) -> u32 {
    bench.0.live().expect("live").get(&place, 0).expect("there")
}

#[test]
fn who_has_the_fewest_sessions_for_its_weight_gets_the_next_one() {
    let Some(mut bench) = bench() else { return };
    let servers: Vec<_> = (11..14).map(|n| at(&format!("10.0.0.{n}:0"))).collect();
    let least = Service {
        schedule: schedule::LEAST,
        ..Service::default()
    };
    bench.service(at(VIP), TCP, least, &servers);
    let mut port = 1000;
    for (sessions, weights, most, wanted) in [
        ([3, 1, 2], [1, 1, 1], [0; 3], 12),
        ([1, 2, 0], [1, 1, 1], [0; 3], 13),
        ([4, 2, 9], [4, 1, 8], [0; 3], 11),
        ([4, 2, 7], [4, 1, 8], [0; 3], 13),
        ([255, 255, 256], [256, 255, 256], [0; 3], 11),
        // Who has all that it takes is passed over.
        ([2, 5, 7], [1, 1, 1], [2, 0, 0], 12),
        ([2, 5, 7], [1, 1, 1], [2, 5, 8], 13),
    ] {
        for (place, (weight, maxconn)) in (0..).zip(weights.into_iter().zip(most)) {
            bench.change(place, |s| (s.weight, s.maxconn) = (weight, maxconn));
        }
        // Whoever the ties begin with.
        for _ in 0..4 {
            have(&mut bench, sessions);
            port += 1;
            let case = format!("{sessions:?} {weights:?} {most:?}");
            assert_eq!(given(&mut bench, VIP, [port]), [wanted], "{case}");
            let place = u32::from(wanted) - 11;
            let now = sessions_of(&mut bench, place);
            assert_eq!(now, sessions[place as usize] + 1, "it counts: {case}");
        }
    }
    for place in 0..3 {
        bench.change(place, |s| (s.weight, s.maxconn) = (1, 0));
    }
    // Ties are broken in turn, and a session's end counts at once.
    have(&mut bench, [0; 3]);
    let mut all = given(&mut bench, VIP, [5001, 5002, 5003]);
    let second = all[1];
    all.sort_unstable();
    assert_eq!(all, [11, 12, 13]);
    let reset = tcp("198.51.100.7:5002", VIP, RST, b"");
    bench.expect(&reset.bytes(), XDP_REDIRECT);
    assert_eq!(sessions_of(&mut bench, u32::from(second) - 11), 0);
    assert_eq!(given(&mut bench, VIP, [5004]), [second]);
    // Nobody has room.
    have(&mut bench, [1; 3]);
    (0..3).for_each(|place| bench.change(place, |s| s.maxconn = 1));
    let syn = tcp("198.51.100.7:5005", VIP, SYN, b"");
    bench.expect(&syn.bytes(), XDP_TX);
    assert_eq!(bench.0.event("no-server"), 1);
}

#[test]
fn a_client_keeps_its_server_with_two_frontends_and_each_counts_its_own() {
    let Some(mut bench) = bench_with(abi::feature::SOURCES) else {
        return;
    };
    let servers = [at("10.0.0.11:8080"), at("10.0.0.12:8080")];
    let vips = [VIP, "203.0.113.10:443"];
    for (frontend, vip) in (0..).zip(vips) {
        let kept = Service {
            source_bits: 128,
            keep: 3600,
            keeper: 7,
            frontend,
            ..Service::default()
        };
        bench.service(at(vip), TCP, kept, &servers);
        // The same two servers, in places of each frontend's own.
        for n in 0..2 {
            let place = 2 * frontend + n;
            bench.change(place, |s| s.member = [n, 77]);
            bench.seat([n, 77], frontend, place);
        }
    }
    for n in 1..=6u16 {
        // Each frontend is the first one for half of the clients.
        let order = [usize::from(n % 2), usize::from((n + 1) % 2)];
        let from = format!("198.51.101.{n}:4000");
        let met = order.map(|frontend| {
            have_none(&mut bench);
            let syn = tcp(&from, vips[frontend], SYN, b"");
            let server = bench.expect(&syn.bytes(), XDP_REDIRECT)[33];
            let place = 2 * frontend as u32 + u32::from(server) - 11;
            let counted: Vec<u32> = (0..4).map(|p| sessions_of(&mut bench, p)).collect();
            let wanted: Vec<u32> = (0..4).map(|p| u32::from(p == place)).collect();
            assert_eq!(counted, wanted, "{from} by frontend {frontend}");
            server
        });
        assert_eq!(met[0], met[1], "{from}");
    }
    // A frontend that has no place for it chooses one that it has.
    let key = abi::SeatKey {
        member: [0, 77],
        frontend: 1,
    };
    bench.0.seats().expect("seats").remove(&key).expect("there");
    let turns: BTreeSet<u8> = (1..=6)
        .map(|n| {
            let syn = tcp(&format!("198.51.101.{n}:4001"), vips[1], SYN, b"");
            bench.expect(&syn.bytes(), XDP_REDIRECT)[33]
        })
        .collect();
    assert_eq!(turns.len(), 2);
}

fn have_none(bench: &mut Bench) {
    let mut live = bench.0.live().expect("live");
    (0..4).for_each(|place| live.set(place, 0, 0).expect("room"));
}
