//! What a packet costs, by BPF_PROG_TEST_RUN: nanoseconds per packet, the least of interleaved runs.

#[path = "../tests/common/mod.rs"]
mod common;

use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunOptions};
use common::*;
use packet::abi::{Flow, FlowKey, Service, forward};
use packet::kernel::{Kernel, Sizes};
use std::net::{Ipv4Addr, SocketAddr};

static OBJECT: &[u8] = aya::include_bytes_aligned!("../bpf/bench.bpf.o");

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

/// Which packets a case is about.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    /// One session's, again and again.
    One,
    /// First packets, each of another client.
    Beginnings,
    /// Each of another one of this many sessions that are there.
    Any(u32),
}

struct Case {
    name: String,
    bench: Bench,
    frame: Vec<u8>,
    of: Of,
    /// Where the next run goes on among the sessions.
    next: u32,
    /// Nanoseconds at most, where there is a promise.
    bar: Option<u32>,
    best: f64,
}

const ROUNDS: u32 = 200_000;
const RUNS: usize = 15;

fn load(program: &'static str) -> Bench {
    load_for(program, 1 << 20)
}

fn load_for(program: &'static str, flows: u32) -> Bench {
    Bench(Kernel::load_from(OBJECT, program, Sizes { flows, features: 0 }, None).expect("it loads"))
}

impl Case {
    fn run(&mut self) {
        let mut bytes = [0; 80];
        bytes.copy_from_slice(&self.frame[..80]);
        let template = Template {
            bytes,
            frame: self.frame.len() as u32,
            vary: (self.of != Of::One).into(),
            rounds: self.next,
            pad: 0,
        };
        if let Of::Any(sessions) = self.of {
            // Those that were met last are the last to come again.
            self.next = (self.next + ROUNDS) % (sessions - ROUNDS).max(1);
        }
        if self.of == Of::Beginnings {
            // Sessions of the run before would be hits.
            let keys: Vec<_> = self
                .bench
                .0
                .flows()
                .expect("flows")
                .keys()
                .flatten()
                .collect();
            let mut flows = self.bench.0.flows().expect("flows");
            keys.iter().for_each(|k| drop(flows.remove(k)));
        }
        let map = self.bench.0.map("template").expect("there");
        let mut map: Array<_, Template> = Array::try_from(map).expect("an array");
        map.set(0, template, 0).expect("fits");
        let mut out = vec![0; 2048];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&self.frame);
        options.data_out = Some(&mut out);
        options.repeat = match self.of {
            Of::Beginnings => ROUNDS / 10,
            _ => ROUNDS,
        };
        let result = self.bench.0.program().expect("loaded").test_run(options);
        let took = result.expect("it runs").duration.as_nanos() as f64;
        self.best = self.best.min(took);
    }
}

fn way(forward: u8) -> Service {
    Service {
        forward,
        dscp: 10,
        ..Service::default()
    }
}

/// A service with one session of this client, and others where `of` names them.
fn served(mut bench: Bench, client: &str, vip: &str, server: &str, of: Of) -> Bench {
    bench.service(at(vip), TCP, way(forward::NAT), &[at(server)]);
    let mut opening = Case {
        name: String::new(),
        bench,
        frame: tcp(client, vip, SYN, &[0; 40]).bytes(),
        of: Of::One,
        next: 0,
        bar: None,
        best: 0.0,
    };
    opening.run();
    let mut bench = opening.bench;
    let first = |flow: &Flow| flow.state & packet::abi::flow_state::FORWARD != 0;
    let flows = bench.0.flows().expect("flows");
    let flow = flows.iter().flatten().map(|(_, f)| f).find(first);
    fill(&mut bench, client, vip, flow.expect("a session"), of);
    bench
}

/// Sessions of the clients that the wrapper makes, one for each round.
fn fill(bench: &mut Bench, client: &str, vip: &str, flow: Flow, of: Of) {
    let Of::Any(sessions) = of else { return };
    let mut key = FlowKey {
        src: packet::abi::address(at(client).ip()),
        dst: packet::abi::address(at(vip).ip()),
        sport: at(client).port().to_be(),
        dport: at(vip).port().to_be(),
        proto: TCP,
        ..FlowKey::default()
    };
    let mut flows = bench.0.flows().expect("flows");
    for round in 1..=sessions {
        let address = round.wrapping_mul(0x9e37_79b1);
        key.src[12..].copy_from_slice(&address.to_ne_bytes());
        flows.insert(key, flow, 0).expect("fits");
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
    let mut add = |name: &str, bench: Bench, frame: Vec<u8>, of, bar| {
        let (name, best) = (name.to_string(), f64::MAX);
        cases.push(Case {
            name,
            bench,
            frame,
            of,
            next: 0,
            bar,
            best,
        });
    };
    add("the wrapper alone", load("nothing"), empty, Of::One, None);
    for (family, (client, vip, server, ours)) in [("IPv4", four), ("IPv6", six)] {
        let pool = Service {
            pool_first: packet::abi::address(ip(ours)),
            pool_size: 4,
            port_first: 1024,
            port_last: 65535,
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
            Of::One,
            Some(75),
        );
        for (name, service, syn_bar) in ways {
            let mut bench = load("again");
            bench.service(at(vip), TCP, service, &[at(server)]);
            bench.expect_answers(at(server), at(vip));
            // One run of the first packet opens the session that the others belong to.
            let mut opening = Case {
                name: String::new(),
                bench,
                frame: syn.clone(),
                of: Of::One,
                next: 0,
                bar: None,
                best: 0.0,
            };
            opening.run();
            add(
                &format!("{family} {name} hit"),
                opening.bench,
                data.clone(),
                Of::One,
                Some(90),
            );
            let mut bench = load("again");
            bench.service(at(vip), TCP, service, &[at(server)]);
            bench.expect_answers(at(server), at(vip));
            add(
                &format!("{family} {name} SYN"),
                bench,
                syn.clone(),
                Of::Beginnings,
                Some(syn_bar).filter(|b| *b > 0),
            );
        }
    }
    let (client, vip, server, _) = four;
    let data = tcp(client, vip, ACK, &[0; 40]).bytes();
    for services in [10, 10_000] {
        let mut bench = served(load("again"), client, vip, server, Of::One);
        let shape = way(forward::NAT);
        for n in 1..services {
            let other = SocketAddr::new(
                Ipv4Addr::from(0xcb00_7200 + n / 100).into(),
                81 + (n % 100) as u16,
            );
            bench.service(other, TCP, shape, &[]);
        }
        add(
            &format!("one of {services} services"),
            bench,
            data.clone(),
            Of::One,
            None,
        );
    }
    for flows in [1000, 4_000_000] {
        let bench = served(
            load_for("again", 5 << 20),
            client,
            vip,
            server,
            Of::Any(flows),
        );
        add(
            &format!("one of {flows} flows"),
            bench,
            data.clone(),
            Of::One,
            None,
        );
    }
    let any = Of::Any(4_000_000);
    let random = served(load_for("again", 5 << 20), client, vip, server, any);
    add("any of 4000000 flows", random, data.clone(), any, None);
    let mut bare = load_for("look", 5 << 20);
    fill(&mut bare, client, vip, Flow::default(), any);
    add("bare look-up of any", bare, data, any, None);
    for _ in 0..RUNS {
        cases.iter_mut().for_each(Case::run);
    }
    println!("{:<22} {:>9} {:>6}", "", "ns/packet", "bar");
    for case in &cases {
        let bar = case.bar.map_or(String::new(), |b| b.to_string());
        let over = case.bar.is_some_and(|b| case.best > f64::from(b));
        println!(
            "{:<22} {:>9.0} {bar:>6}{}",
            case.name,
            case.best,
            if over { "  over" } else { "" }
        );
    }
}
