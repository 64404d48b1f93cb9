//! What a packet costs, by BPF_PROG_TEST_RUN: nanoseconds per packet, the least of interleaved runs.
//!
//! `--only TEXT` takes the rows whose names have that text, `--beside OBJECT` another build of
//! `bench.bpf.o` with the same tables, each row's runs in turns with ours.

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
use std::borrow::Cow;
use std::cell::LazyCell;
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
/// Entries of the session table.
const ROOM: u32 = 1 << 20;
/// Clients whose sessions are made in memory that the processor has near, again and again: as with hits,
/// what the program does is measured, not how far away memory is.
const FEW: u32 = 1000;
/// So many runs of these come after one another.
const AGAIN: usize = 10;
/// Clients that each have their first session in memory that was not used for long.
const MANY: u32 = 20_000;

/// Cases of one build of the programs, in their order.
struct Rows {
    object: Cow<'static, [u8]>,
    /// What names of rows must have.
    only: Option<String>,
    cases: Vec<Case>,
}

impl Rows {
    fn wants(&self, name: &str) -> bool {
        let only = self.only.as_deref();
        only.is_none_or(|text| name.contains(text))
    }

    fn load(&self, program: &'static str, features: u32) -> Bench {
        let sizes = Sizes {
            flows: ROOM,
            features,
        };
        Bench(Kernel::load_from(&self.object, program, sizes, None).expect("it loads"))
    }

    /// Adds a case, if it is wanted: its name, how its bench is made, its frame, how many clients there are,
    /// and its bar.
    fn add(
        &mut self,
        name: &str,
        make: impl FnOnce(&Rows) -> Bench,
        frame: Vec<u8>,
        clients: u32,
        bar: Option<u32>,
    ) {
        if !self.wants(name) {
            return;
        }
        let bench = make(self);
        let tail = name.ends_with("cookie");
        let case = Case::new(name, bench, frame, clients, bar);
        self.cases.push(Case { tail, ..case });
    }
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
fn guarded(rows: &Rows, features: u32, ends: &Ends, list: &Arc<PatternList>) -> Bench {
    let mut bench = rows.load("again", features);
    let service = Service {
        guard: 1,
        ..Service::default()
    };
    bench.service(at(ends.vip), TCP, service, &[at(ends.server)]);
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

/// Whose packets are measured.
struct Ends {
    family: &'static str,
    client: &'static str,
    vip: &'static str,
    /// Where nothing is served.
    foreign: &'static str,
    server: &'static str,
    /// Ours towards it.
    ours: &'static str,
    /// A host and a member of a prefix that are in the lists.
    blocked: [&'static str; 2],
}

const BOTH: [Ends; 2] = [
    Ends {
        family: "IPv4",
        client: "198.51.100.7:40000",
        vip: "203.0.113.10:80",
        foreign: "203.0.113.99:80",
        server: "10.0.0.11:8080",
        ours: "10.0.0.1",
        blocked: ["192.0.2.7:4000", "198.18.7.9:4000"],
    },
    Ends {
        family: "IPv6",
        client: "[2001:db8:1::7]:40000",
        vip: "[2001:db8:2::10]:80",
        foreign: "[2001:db8:2::99]:80",
        server: "[fd00::11]:8080",
        ours: "fd00::1",
        blocked: ["[2001:db8:bad::7]:4000", "[2001:dead:bad::9]:4000"],
    },
];

/// The ways to forward: their names, services, and the bars of first packets.
fn ways(ends: &Ends) -> [(&'static str, Service, Option<u32>); 6] {
    let way = |forward| Service {
        forward,
        dscp: 10,
        ..Service::default()
    };
    let late = Service {
        late: 1,
        ..way(forward::NAT)
    };
    let pool = Service {
        pool_first: packet::abi::address(ip(ends.ours)),
        pool_size: 4,
        port_first: 1024,
        port_last: 65535,
        ..Service::default()
    };
    [
        ("nat", late, Some(420)),
        ("nat, two services", way(forward::NAT), None),
        ("full nat", pool, None),
        ("dsr", way(forward::DSR), None),
        ("tunnel", way(forward::IPIP), Some(220)),
        ("dscp", way(forward::DSCP), None),
    ]
}

/// The cases of the ways to forward, of one family.
fn forwarded(rows: &mut Rows, ends: &Ends) {
    let Ends { family, .. } = ends;
    let data = tcp(ends.client, ends.vip, ACK, &[0; 40]).bytes();
    let syn = tcp(ends.client, ends.vip, SYN, &[0; 40]).bytes();
    let served = |rows: &Rows, service| {
        let mut bench = rows.load("again", 0);
        bench.service(at(ends.vip), TCP, service, &[at(ends.server)]);
        bench.expect_answers(at(ends.server), at(ends.vip), TCP);
        bench
    };
    let foreign = tcp(ends.client, ends.foreign, ACK, &[0; 40]).bytes();
    let nat = Service::default();
    let name = format!("{family} not ours");
    rows.add(&name, |rows| served(rows, nat), foreign, 0, Some(75));
    for (name, service, bar) in ways(ends) {
        // One run of the first packet opens the session that the others belong to.
        let open = |rows: &Rows| Case::opened(served(rows, service), &syn);
        let hit = format!("{family} {name} hit");
        rows.add(&hit, open, data.clone(), 0, Some(90));
        for (which, clients, bar) in [("SYN", FEW, bar), ("SYN, cold", MANY, None)] {
            let name = format!("{family} {name} {which}");
            let make = |rows: &Rows| served(rows, service);
            rows.add(&name, make, syn.clone(), clients, bar);
        }
    }
}

/// The cases of guards, of one family.
fn guards(rows: &mut Rows, ends: &Ends, list: &dyn Fn() -> Arc<PatternList>) {
    let Ends { family, .. } = ends;
    let nobody = PatternList::alone(&[]);
    let syn = tcp(ends.client, ends.vip, SYN, &[0; 40]).bytes();
    let data = tcp(ends.client, ends.vip, ACK, &[0; 40]).bytes();
    let empty = || Arc::clone(&nobody);
    let lists: [(&str, &dyn Fn() -> Arc<PatternList>, _); 2] =
        [("empty lists", &empty, Some(90)), ("a million", list, None)];
    for (name, list, bar) in lists {
        let open = |rows: &Rows| Case::opened(guarded(rows, LISTS, ends, &list()), &syn);
        let name = format!("{family} nat hit, {name}");
        rows.add(&name, open, data.clone(), 0, bar);
    }
    for (name, from) in ["host", "prefix"].iter().zip(ends.blocked) {
        let frame = tcp(from, ends.vip, SYN, &[0; 40]).bytes();
        let make = |rows: &Rows| guarded(rows, LISTS, ends, &list());
        rows.add(
            &format!("{family} blocked {name}"),
            make,
            frame,
            0,
            Some(130),
        );
    }
    for (name, flags) in [("challenge", 0), ("transparent", flag::SPLICE)] {
        let make = |rows: &Rows| {
            let bench = guarded(rows, COOKIES, ends, &nobody);
            let guard = Guard {
                flags: flag::COOKIES | flags,
                ..Guard::default()
            };
            set_guard(&bench.0, 1, &guard).expect("written");
            bench
        };
        let name = format!("{family} SYN answered, {name} cookie");
        rows.add(&name, make, syn.clone(), 0, None);
    }
    let mut foreign = tcp(ends.client, ends.vip, ACK, &[0; 40]);
    foreign.dst.set_port(9999);
    for (name, list, _) in [
        ("without lists", &empty as &dyn Fn() -> _, ()),
        ("a million", list, ()),
    ] {
        let make = |rows: &Rows| guarded(rows, LISTS, ends, &list());
        let name = format!("{family} random sources, {name}");
        rows.add(&name, make, foreign.bytes(), MANY, None);
    }
}

impl Case {
    fn new(name: &str, bench: Bench, frame: Vec<u8>, clients: u32, bar: Option<u32>) -> Case {
        Case {
            name: name.to_string(),
            bench,
            frame,
            clients,
            left: Vec::new(),
            tail: false,
            bar,
            best: f64::MAX,
        }
    }

    /// A bench with the session that a first packet opens.
    fn opened(bench: Bench, first: &[u8]) -> Bench {
        let mut opening = Case::new("", bench, first.to_vec(), 0, None);
        opening.run();
        opening.bench
    }

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

/// What follows a word on the command line.
fn after(word: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|a| a != word);
    args.nth(1)
}

/// All rows that are wanted, of one build.
fn rows(object: Cow<'static, [u8]>, list: &dyn Fn() -> Arc<PatternList>) -> Vec<Case> {
    let mut rows = Rows {
        object,
        only: after("--only"),
        cases: Vec::new(),
    };
    let [four, _] = &BOTH;
    let empty = tcp(four.client, four.vip, ACK, &[0; 40]).bytes();
    let nothing = |rows: &Rows| rows.load("nothing", 0);
    rows.add("the wrapper alone", nothing, empty, 0, None);
    BOTH.iter().for_each(|ends| forwarded(&mut rows, ends));
    BOTH.iter().for_each(|ends| guards(&mut rows, ends, list));
    rows.cases
}

fn main() {
    // `cargo test` runs this, too, and wants no figures.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    if bench().is_none() {
        return;
    }
    let list = LazyCell::new(million);
    let list = || Arc::clone(&list);
    let mut cases = rows(Cow::Borrowed(ROUNDS_OBJECT), &list);
    let beside = after("--beside").map(|path| std::fs::read(path).expect("an object"));
    let mut beside = beside.map_or_else(Vec::new, |object| rows(Cow::Owned(object), &list));
    for _ in 0..RUNS {
        for (at, case) in cases.iter_mut().enumerate() {
            case.turn();
            beside.get_mut(at).into_iter().for_each(Case::turn);
        }
    }
    let head = if beside.is_empty() { "" } else { "beside" };
    println!("{:<34} {:>9} {:>6} {head:>6}", "", "ns/packet", "bar");
    for (at, case) in cases.iter().enumerate() {
        let bar = case.bar.map_or(String::new(), |b| b.to_string());
        let over = case.bar.is_some_and(|b| case.best > f64::from(b));
        let other = beside.get(at);
        let other = other.map_or(String::new(), |c| format!("{:.0}", c.best));
        println!(
            "{:<34} {:>9.0} {bar:>6} {other:>6}{}",
            case.name,
            case.best,
            if over { "  over" } else { "" }
        );
    }
}
