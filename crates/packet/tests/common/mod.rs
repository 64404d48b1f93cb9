//! Frames, made and read without the code under test, and a bench that runs them through the program.
#![allow(dead_code)] // each test file uses its part

pub mod frame;
pub mod prefixes;

use aya::programs::TestRun as _;
use aya::programs::TestRunOptions;
pub use frame::*;
use packet::abi::{self, Server, Service, ServiceKey};
use packet::kernel::{Kernel, Sizes};
use std::net::{IpAddr, SocketAddr};

pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;
pub const XDP_TX: u32 = 3;
pub const XDP_REDIRECT: u32 = 4;

const TC_NEXT: u32 = u32::MAX;
const TC_SHOT: u32 = 2;
const TC_REDIRECT: u32 = 7;

/// Whether this is the test of the program behind drivers.
pub const BEHIND_DRIVER: bool = matches!(
    env!("CARGO_CRATE_NAME").as_bytes(),
    b"behind_nat" | b"behind_forward" | b"behind_guard" | b"behind_corpus"
);

/// The interface that test runs come from: the loopback, which every network namespace has.
pub const HERE: u32 = 1;
/// An interface that servers are behind.
pub const BEHIND: u32 = 7;

pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const INNER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x10];

/// The balancer's program behind one that makes each packet anew, for many rounds of one run.
pub static ROUNDS_OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/bench.bpf.o");

/// `struct template` of `bpf/bench.bpf.c`: what each round begins with.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Template {
    pub bytes: [u8; 80],
    pub frame: u32,
    /// Whether each round comes from another address.
    pub vary: u32,
    pub rounds: u32,
    /// Whether rounds change the size at the end instead of the beginning.
    pub tail: u32,
}

// SAFETY: integers without padding; any bytes are a value.
unsafe impl aya::Pod for Template {}

impl Template {
    /// Of a frame of 80 bytes at least.
    pub fn of(frame: &[u8], vary: bool) -> Template {
        let mut bytes = [0; 80];
        bytes.copy_from_slice(&frame[..80]);
        Template {
            bytes,
            frame: frame.len() as u32,
            vary: vary.into(),
            rounds: 0,
            tail: 0,
        }
    }
}

/// Programs loaded for one test; nothing is attached to anything.
pub struct Bench(pub Kernel);

/// A bench, or `None` with a word of why where loading is not allowed.
pub fn bench() -> Option<Bench> {
    bench_with(0)
}

/// A bench whose program has these features.
pub fn bench_with(features: u32) -> Option<Bench> {
    // SAFETY: plain call.
    if unsafe { libc::geteuid() } != 0 {
        println!("not root: packets were not run through the program");
        return None;
    }
    let sizes = Sizes {
        flows: 4096,
        features,
    };
    let kernel = if BEHIND_DRIVER {
        Kernel::load_classifier(sizes)
    } else {
        Kernel::load(sizes, None)
    };
    let kernel = kernel.expect("the program loads");
    Some(Bench(kernel))
}

impl Bench {
    /// Runs one frame: the verdict and the frame as it is then.
    pub fn run(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut out = vec![0; frame.len() + 256];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        let result = if BEHIND_DRIVER {
            self.0.classifier(false).expect("loaded").test_run(options)
        } else {
            self.0.program().expect("loaded").test_run(options)
        };
        let result = result.expect("it runs");
        out.truncate(result.data_size_out as usize);
        let verdict = match result.return_value {
            verdict if !BEHIND_DRIVER => verdict,
            TC_NEXT => XDP_PASS,
            TC_SHOT => XDP_DROP,
            TC_REDIRECT => XDP_REDIRECT,
            other => panic!("verdict {other}"),
        };
        (verdict, out)
    }

    /// Runs a frame that must have this verdict.
    pub fn expect(&mut self, frame: &[u8], verdict: u32) -> Vec<u8> {
        let (got, out) = self.run(frame);
        // Behind the driver to send something back is to redirect it.
        let verdict = if BEHIND_DRIVER && verdict == XDP_TX {
            XDP_REDIRECT
        } else {
            verdict
        };
        assert_eq!(got, verdict, "verdict for {}", show(frame));
        out
    }

    /// A service of one address and port with these servers, in turns.
    pub fn service(&mut self, at: SocketAddr, proto: u8, service: Service, servers: &[SocketAddr]) {
        let first = self.servers(servers);
        let turns: Vec<u32> = (first..).take(servers.len()).collect();
        let table = first;
        self.0.set_table(table, &turns).expect("a table");
        let service = Service {
            table,
            size: turns.len() as u32,
            ..service
        };
        let key = ServiceKey {
            address: abi::address(at.ip()),
            port: at.port().to_be(),
            proto,
            ..ServiceKey::default()
        };
        let kinds = match (at.port(), proto) {
            (0, 0) => abi::vip::ANY,
            (0, _) => abi::vip::PROTO,
            _ => abi::vip::PORT,
        };
        let mut vips = self.0.vips().expect("vips");
        let known = vips.get(&key.address, 0).unwrap_or(0);
        vips.insert(key.address, known | kinds, 0).expect("fits");
        self.0
            .services()
            .expect("services")
            .insert(key, service, 0)
            .expect("fits");
        for at in turns.iter().filter(|_| service.keep != 0) {
            self.seat(member(*at), service.frontend, *at);
        }
    }

    /// The place of a server as sessions of a frontend have it, where clients keep it.
    pub fn seat(&mut self, member: [u32; 2], frontend: u32, place: u32) {
        let key = abi::SeatKey { member, frontend };
        let mut seats = self.0.seats().expect("seats");
        seats.insert(key, place, 0).expect("fits");
    }

    /// Answers of this server are those of this service, whose directions are made late.
    pub fn expect_answers(&mut self, server: SocketAddr, service: SocketAddr, proto: u8) {
        let key = abi::OriginKey {
            address: abi::address(server.ip()),
            port: server.port().to_be(),
            proto,
            ..abi::OriginKey::default()
        };
        let origin = abi::Origin {
            address: abi::address(service.ip()),
            port: service.port().to_be(),
            vlan: 0,
        };
        let mut origins = self.0.origins().expect("origins");
        origins.insert(key, origin, 0).expect("fits");
    }

    /// Adds servers behind [`BEHIND`]; the index of the first.
    pub fn servers(&mut self, servers: &[SocketAddr]) -> u32 {
        let mut table = self.0.servers().expect("servers");
        let free = |table: &aya::maps::Array<_, Server>, i: &u32| {
            table.get(i, 0).is_ok_and(|s: Server| s.identity == 0)
        };
        let first = (0..1000).find(|i| free(&table, i)).expect("room");
        for (i, at) in (first..).zip(servers) {
            let server = Server {
                address: abi::address(at.ip()),
                hop: abi::Hop {
                    dst: SERVER_MAC,
                    src: INNER_MAC,
                    ifindex: BEHIND,
                    mtu: 1500,
                    vlan: 0,
                },
                flags: abi::server::TAKES,
                weight: 1,
                port: at.port().to_be(),
                identity: 1 + u64::from(i),
                member: member(i),
                ..Server::default()
            };
            table.set(i, server, 0).expect("room");
        }
        first
    }

    /// Changes a server.
    pub fn change(&mut self, index: u32, change: impl Fn(&mut Server)) {
        let mut table = self.0.servers().expect("servers");
        let mut server = table.get(&index, 0).expect("a server");
        change(&mut server);
        table.set(index, server, 0).expect("a server");
    }

    /// Entries of the session table.
    pub fn sessions(&mut self) -> usize {
        self.0.flows().expect("flows").keys().count()
    }
}

/// A server that no other frontend leads to, by its place.
fn member(place: u32) -> [u32; 2] {
    [1000 + place, 1]
}

/// An address and port.
pub fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// An address.
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
