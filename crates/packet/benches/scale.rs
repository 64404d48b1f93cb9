//! What many services and many sessions cost, by BPF_PROG_TEST_RUN: nanoseconds per packet, the least of
//! interleaved runs. One session is met again and again ("one of"), or each packet is of another one ("any of"), beside
//! a bare look-up of the same.

#[path = "../tests/common/mod.rs"]
mod common;

use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunOptions};
use common::*;
use packet::abi::{self, Flow, FlowKey, Service, forward};
use packet::kernel::{Kernel, Sizes};
use std::net::{Ipv4Addr, SocketAddr};

static OBJECT: &[u8] = aya::include_bytes_aligned!("../bpf/bench.bpf.o");

const CLIENT: &str = "198.51.100.7:40000";
const VIP: &str = "203.0.113.10:80";
const SERVER: &str = "10.0.0.11:8080";

/// `struct template` of `bpf/bench.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Template {
    bytes: [u8; 80],
    frame: u32,
    vary: u32,
    rounds: u32,
    pad: u32,
}

// SAFETY: integers without padding; any bytes are a value.
unsafe impl aya::Pod for Template {}

const ROUNDS: u32 = 200_000;
const RUNS: usize = 15;
/// Sessions of a large balancer, and the table's room.
const MANY: u32 = 4_000_000;
const ROOM: u32 = 5 << 20;

struct Case {
    name: String,
    bench: Bench,
    frame: Vec<u8>,
    /// Sessions that are there, each of which has its turn; 0: one session only.
    sessions: u32,
    /// Where the next run goes on among them.
    next: u32,
    best: f64,
}

impl Case {
    fn new(name: &str, program: &'static str, room: u32) -> Case {
        let sizes = Sizes {
            flows: room,
            features: 0,
        };
        Case {
            name: name.into(),
            bench: Bench(Kernel::load_from(OBJECT, program, sizes, None).expect("it loads")),
            frame: tcp(CLIENT, VIP, ACK, &[0; 40]).bytes(),
            sessions: 0,
            next: 0,
            best: f64::MAX,
        }
    }

    /// With a service, and one session of its client.
    fn served(mut self) -> Case {
        let nat = Service {
            forward: forward::NAT,
            ..Service::default()
        };
        self.bench.service(at(VIP), TCP, nat, &[at(SERVER)]);
        let data = std::mem::replace(&mut self.frame, tcp(CLIENT, VIP, SYN, &[0; 40]).bytes());
        self.run();
        self.frame = data;
        self.best = f64::MAX;
        self
    }

    fn services(mut self, count: u32) -> Case {
        for n in 1..count {
            let ip = Ipv4Addr::from(0xcb00_7200 + n / 100);
            let other = SocketAddr::new(ip.into(), 81 + (n % 100) as u16);
            self.bench.service(other, TCP, Service::default(), &[]);
        }
        self
    }

    /// Sessions of the clients that the wrapper makes, one for each round.
    fn fill(mut self, sessions: u32) -> Case {
        let mut flows = self.bench.0.flows().expect("flows");
        let first = flows.iter().flatten().map(|(_, f)| f);
        let mut first = first.filter(|f: &Flow| f.state & abi::flow_state::FORWARD != 0);
        let flow = first.next().unwrap_or_default();
        drop(first);
        let mut key = FlowKey {
            src: abi::address(at(CLIENT).ip()),
            dst: abi::address(at(VIP).ip()),
            sport: at(CLIENT).port().to_be(),
            dport: at(VIP).port().to_be(),
            proto: TCP,
            ..FlowKey::default()
        };
        for round in 1..=sessions {
            let address = round.wrapping_mul(0x9e37_79b1);
            key.src[12..].copy_from_slice(&address.to_ne_bytes());
            flows.insert(key, flow, 0).expect("fits");
        }
        self
    }

    /// Each packet is of another of these sessions.
    fn any(mut self, sessions: u32) -> Case {
        self.sessions = sessions;
        self
    }

    fn run(&mut self) {
        let mut bytes = [0; 80];
        bytes.copy_from_slice(&self.frame[..80]);
        let template = Template {
            bytes,
            frame: self.frame.len() as u32,
            vary: (self.sessions > 0).into(),
            rounds: self.next,
            pad: 0,
        };
        if self.sessions > ROUNDS {
            // Those that were met last are the last to come again.
            self.next = (self.next + ROUNDS) % (self.sessions - ROUNDS);
        }
        let map = self.bench.0.map("template").expect("there");
        let mut map: Array<_, Template> = Array::try_from(map).expect("an array");
        map.set(0, template, 0).expect("fits");
        let mut out = vec![0; 2048];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&self.frame);
        options.data_out = Some(&mut out);
        options.repeat = ROUNDS;
        let result = self.bench.0.program().expect("loaded").test_run(options);
        let took = result.expect("it runs").duration.as_nanos() as f64;
        self.best = self.best.min(took);
    }
}

fn main() {
    // `cargo test` runs this, too, and wants no figures.
    if !std::env::args().any(|a| a == "--bench") || bench().is_none() {
        return;
    }
    let new = |name: &str, room| Case::new(name, "again", room).served();
    let mut cases = vec![
        new("one of 10 services", 1 << 16).services(10),
        new("one of 10000 services", 1 << 16).services(10_000),
        new("one of 1000 flows", ROOM).fill(1000),
        new("one of 4000000 flows", ROOM).fill(MANY),
        new("any of 4000000 flows", ROOM).fill(MANY).any(MANY),
        Case::new("a bare look-up of any", "look", ROOM)
            .fill(MANY)
            .any(MANY),
    ];
    for _ in 0..RUNS {
        cases.iter_mut().for_each(Case::run);
    }
    println!("{:<24} {:>9}", "", "ns/packet");
    for case in &cases {
        println!("{:<24} {:>9.0}", case.name, case.best);
    }
}
