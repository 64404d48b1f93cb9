//! What a packet costs, by BPF_PROG_TEST_RUN: nanoseconds per packet, the least of interleaved runs.

#[path = "../tests/common/mod.rs"]
mod common;

use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunOptions};
use common::*;
use packet::abi::{FlowKey, Service, feature, forward};
use packet::guard::abi::{Guard, flag};
use packet::guard::{Lists, Tables, set_guard};
use packet::kernel::{Kernel, Sizes};
use rules::PatternList;
use std::sync::Arc;

struct Case {
    name: String,
    bench: Bench,
    frame: Vec<u8>,
    /// Clients that take turns; 0: one only.
    clients: u32,
    /// The sessions that they leave.
    left: Vec<FlowKey>,
    tail: bool,
    /// Nanoseconds at most, where there is a promise.
    bar: Option<u32>,
    best: f64,
}

const ROUNDS: u32 = 200_000;
const RUNS: usize = 15;
/// Clients whose sessions are made in memory that the processor has near, again and again: as with hits,
/// what the program does is measured, not how far away memory is.
const FEW: u32 = 1000;
/// So many runs of these come after one another.
const AGAIN: usize = 20;
/// Clients that each have their first session in memory that was not used for long.
const MANY: u32 = 20_000;

fn load(program: &'static str) -> Bench {
    load_with(program, 0)
}

fn load_with(program: &'static str, features: u32) -> Bench {
    Bench(
        Kernel::load_from(
            ROUNDS_OBJECT,
            program,
            Sizes {
                flows: 1 << 20,
                features,
            },
            None,
        )
        .expect("it loads"),
    )
}

/// A million of each: hosts and prefixes of both families, by a generator of numbers (Knuth's).
fn million() -> Arc<PatternList> {
    let mut seed = 1u64;
    let mut next = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        seed >> 32
    };
    let mut entries = Vec::new();
    for n in 0..500_000 {
        let (a, b) = (next() as u32, next() as u32);
        entries.push(std::net::Ipv4Addr::from(a).to_string());
        entries.push(format!("{}/{}", std::net::Ipv4Addr::from(b), 17 + n % 8));
        entries.push(format!(
            "2001:db8:{:x}:{:x}::{:x}",
            a >> 16,
            a & 0xffff,
            b >> 16
        ));
        entries.push(format!("2001:{:x}:{:x}::/48", b >> 16, b & 0xffff));
    }
    entries.extend(BLOCKED.map(String::from));
    PatternList::alone(&entries)
}

/// A host and a prefix of each family that are in the lists.
const BLOCKED: [&str; 4] = [
    "192.0.2.7",
    "198.18.7.0/24",
    "2001:db8:bad::7",
    "2001:dead:bad::/48",
];

const LISTS: u32 = feature::GUARD | feature::LISTS;
const COOKIES: u32 = feature::GUARD | feature::COOKIES | feature::SPLICE;

/// A service behind a guard with these lists.
fn guarded(features: u32, vip: &str, server: &str, list: &Arc<PatternList>) -> Bench {
    let mut bench = load_with("again", features);
    let service = Service {
        guard: 1,
        ..Service::default()
    };
    bench.service(at(vip), TCP, service, &[at(server)]);
    let guard = Guard {
        deny: 1,
        ..Guard::default()
    };
    set_guard(&bench.0, 1, &guard).expect("written");
    let mut lists = Lists::default();
    let changes = lists.follow(std::slice::from_ref(list));
    let said = Tables::default().write(&bench.0, &lists, &changes, 1);
    assert_eq!(said.expect("written"), None);
    bench
}

/// Takes a case: its name, bench and frame, how many clients there are, and its bar.
type Add<'a> = dyn FnMut(&str, Bench, Vec<u8>, u32, Option<u32>) + 'a;

/// The cases of guards, of one family.
fn guards(
    (client, vip, server, _): (&str, &str, &str, &str),
    blocked: [&str; 2],
    list: &Arc<PatternList>,
    add: &mut Add<'_>,
) {
    let nobody = PatternList::alone(&[]);
    for (name, list, bar) in [
        ("empty lists", &nobody, Some(90)),
        ("a million", list, None),
    ] {
        let mut opening = Case {
            name: String::new(),
            bench: guarded(LISTS, vip, server, list),
            frame: tcp(client, vip, SYN, &[0; 40]).bytes(),
            clients: 0,
            left: Vec::new(),
            tail: false,
            bar: None,
            best: 0.0,
        };
        opening.run();
        let data = tcp(client, vip, ACK, &[0; 40]).bytes();
        add(&format!("nat hit, {name}"), opening.bench, data, 0, bar);
    }
    for (name, from) in ["host", "prefix"].iter().zip(blocked) {
        let frame = tcp(from, vip, SYN, &[0; 40]).bytes();
        let bench = guarded(LISTS, vip, server, list);
        add(&format!("blocked {name}"), bench, frame, 0, Some(130));
    }
    let asks = tcp(client, vip, SYN, &[0; 40]).bytes();
    for (name, flags) in [("challenge", 0), ("transparent", flag::SPLICE)] {
        let bench = guarded(COOKIES, vip, server, &nobody);
        let guard = Guard {
            flags: flag::COOKIES | flags,
            ..Guard::default()
        };
        set_guard(&bench.0, 1, &guard).expect("written");
        let name = format!("SYN answered, {name} cookie");
        add(&name, bench, asks.clone(), 0, None);
    }
    let mut foreign = tcp(client, vip, ACK, &[0; 40]);
    foreign.dst.set_port(9999);
    for (name, list) in [("without lists", &nobody), ("a million", list)] {
        let bench = guarded(LISTS, vip, server, list);
        add(
            &format!("random sources, {name}"),
            bench,
            foreign.bytes(),
            MANY,
            None,
        );
    }
}

impl Case {
    fn run(&mut self) {
        let template = Template {
            tail: self.tail.into(),
            ..Template::of(&self.frame, self.clients > 0)
        };
        // Sessions of the run before would be hits.
        let mut flows = self.bench.0.flows().expect("flows");
        self.left.iter().for_each(|k| drop(flows.remove(k)));
        let map = self.bench.0.map("template").expect("there");
        let mut map: Array<_, Template> = Array::try_from(map).expect("an array");
        map.set(0, template, 0).expect("fits");
        let mut out = vec![0; 2048];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&self.frame);
        options.data_out = Some(&mut out);
        options.repeat = if self.clients > 0 {
            self.clients
        } else {
            ROUNDS
        };
        let result = self.bench.0.program().expect("loaded").test_run(options);
        let took = result.expect("it runs").duration.as_nanos() as f64;
        self.best = self.best.min(took);
        if self.clients > 0 && self.left.is_empty() {
            let flows = self.bench.0.flows().expect("flows");
            self.left = flows.keys().flatten().collect();
        }
    }

    /// The runs of one turn.
    fn turn(&mut self) {
        let runs = if self.clients == FEW { AGAIN } else { 1 };
        (0..runs).for_each(|_| self.run());
    }
}

/// Stays on one processor: each has its own store of free entries of a table.
fn stay_here() {
    // SAFETY: plain calls; the set is large enough for the processor's number, which is checked.
    unsafe {
        let here = libc::sched_getcpu();
        let mut only: libc::cpu_set_t = std::mem::zeroed();
        if let Ok(here) = usize::try_from(here)
            && here < libc::CPU_SETSIZE as usize
        {
            libc::CPU_SET(here, &mut only);
            libc::sched_setaffinity(0, size_of_val(&only), &only);
        }
    }
}

fn main() {
    // `cargo test` runs this, too, and wants no figures.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    if bench().is_none() {
        return;
    }
    stay_here();
    let four = (
        "198.51.100.7:40000",
        "203.0.113.10:80",
        "10.0.0.11:8080",
        "10.0.0.1",
    );
    let six = (
        "[2001:db8:1::7]:40000",
        "[2001:db8:2::10]:80",
        "[fd00::11]:8080",
        "fd00::1",
    );
    let mut cases = Vec::new();
    let empty = tcp(four.0, four.1, ACK, &[0; 40]).bytes();
    let mut add = |name: &str, bench: Bench, frame: Vec<u8>, clients, bar| {
        let tail = name.ends_with("cookie");
        let (name, best) = (name.to_string(), f64::MAX);
        cases.push(Case {
            name,
            bench,
            frame,
            clients,
            left: Vec::new(),
            tail,
            bar,
            best,
        });
    };
    add("the wrapper alone", load("nothing"), empty, 0, None);
    for (family, (client, vip, server, ours)) in [("IPv4", four), ("IPv6", six)] {
        let pool = Service {
            pool_first: packet::abi::address(ip(ours)),
            pool_size: 4,
            port_first: 1024,
            port_last: 65535,
            ..Service::default()
        };
        let way = |forward| Service {
            forward,
            dscp: 10,
            ..Service::default()
        };
        let ways = [
            (
                "nat",
                Service {
                    late: 1,
                    ..way(forward::NAT)
                },
                420,
            ),
            ("nat, two services", way(forward::NAT), 0),
            ("full nat", pool, 0),
            ("dsr", way(forward::DSR), 0),
            ("tunnel", way(forward::IPIP), 220),
            ("dscp", way(forward::DSCP), 0),
        ];
        let data = tcp(client, vip, ACK, &[0; 40]).bytes();
        let syn = tcp(client, vip, SYN, &[0; 40]).bytes();
        let mut other = load("again");
        other.service(at(vip), TCP, way(forward::NAT), &[at(server)]);
        let mut foreign = tcp(client, vip, ACK, &[0; 40]);
        foreign.dst.set_ip(ip(if family == "IPv4" {
            "203.0.113.99"
        } else {
            "2001:db8:2::99"
        }));
        add(
            &format!("{family} not ours"),
            other,
            foreign.bytes(),
            0,
            Some(75),
        );
        for (name, service, syn_bar) in ways {
            let mut bench = load("again");
            bench.service(at(vip), TCP, service, &[at(server)]);
            bench.expect_answers(at(server), at(vip), TCP);
            // One run of the first packet opens the session that the others belong to.
            let mut opening = Case {
                name: String::new(),
                bench,
                frame: syn.clone(),
                clients: 0,
                left: Vec::new(),
                tail: false,
                bar: None,
                best: 0.0,
            };
            opening.run();
            add(
                &format!("{family} {name} hit"),
                opening.bench,
                data.clone(),
                0,
                Some(90),
            );
            let bar = Some(syn_bar).filter(|b| *b > 0);
            for (which, clients, bar) in [("SYN", FEW, bar), ("SYN, cold", MANY, None)] {
                let mut bench = load("again");
                bench.service(at(vip), TCP, service, &[at(server)]);
                bench.expect_answers(at(server), at(vip), TCP);
                let name = format!("{family} {name} {which}");
                add(&name, bench, syn.clone(), clients, bar);
            }
        }
    }
    let list = million();
    for (family, ends, blocked) in [
        ("IPv4", four, ["192.0.2.7:4000", "198.18.7.9:4000"]),
        (
            "IPv6",
            six,
            ["[2001:db8:bad::7]:4000", "[2001:dead:bad::9]:4000"],
        ),
    ] {
        guards(
            ends,
            blocked,
            &list,
            &mut |name, bench, frame, clients, bar| {
                add(&format!("{family} {name}"), bench, frame, clients, bar);
            },
        );
    }
    for _ in 0..RUNS {
        cases.iter_mut().for_each(Case::turn);
    }
    println!("{:<34} {:>9} {:>6}", "", "ns/packet", "bar");
    for case in &cases {
        let bar = case.bar.map_or(String::new(), |b| b.to_string());
        let over = case.bar.is_some_and(|b| case.best > f64::from(b));
        println!(
            "{:<34} {:>9.0} {bar:>6}{}",
            case.name,
            case.best,
            if over { "  over" } else { "" }
        );
    }
}
