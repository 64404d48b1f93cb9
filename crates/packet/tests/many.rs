//! Full NAT for many at once, and what hashes are of.

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
