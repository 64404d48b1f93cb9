//! `cargo xtask schedulers --time`: what a choice costs, and what a table costs to make.

use crate::simulation::backend;
use state::{Backend, Maglev, Pick, PickKey};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const WAYS: &[&str] = &[
    "balance roundrobin",
    "balance static-rr",
    "balance leastconn",
    "balance first",
    "balance sticky",
    "balance random",
    "balance source",
    "balance source\n hash-type consistent",
    "balance source\n hash-type consistent\n hash-balance-factor 125",
    "balance maglev",
    "balance response-time",
    "balance fastest",
    "balance weighted-response-time",
    "balance agent",
    "balance bandwidth",
    "balance priority min-active 500 leastconn",
];

/// Prints the times.
pub fn run() -> Result<(), Vec<String>> {
    if cfg!(debug_assertions) {
        let message = "built without optimisation: use 'cargo run --release -p mulgil-xtask -- schedulers --time'";
        return Err(vec![message.to_string()]);
    }
    println!("a choice, its place taken and given back; nanoseconds");
    println!("| scheduler | 10 servers | 1,000 | 10,000 | 1,000, half of the places taken |");
    println!("|---|---|---|---|---|");
    for balance in WAYS {
        let time = |servers: usize, held: usize| {
            let words = |n: usize| match (balance.contains("first"), n % 2) {
                (true, _) => "maxconn 1",
                (_, 0) => "weight 2 maxconn 100",
                _ => "maxconn 100",
            };
            each(&backend(balance, servers, words), held)
        };
        let name = balance.trim_start_matches("balance ").replace("\n ", ", ");
        println!(
            "| {name} | {} | {} | {} | {} |",
            time(10, 0),
            time(1_000, 0),
            time(10_000, 0),
            time(1_000, 500)
        );
    }
    for servers in [100u32, 1_000] {
        let all: Vec<_> = (0..servers).map(|i| (i, u64::from(i), 1 + i % 3)).collect();
        let begin = Instant::now();
        black_box(Maglev::new(&all));
        let took = begin.elapsed().as_micros();
        println!("a Maglev table of {servers} servers is made in {took} µs");
    }
    Ok(())
}

/// Nanoseconds of a choice, while `held` places are taken.
fn each(backend: &Arc<Backend>, held: usize) -> u128 {
    let key = |n: u64| PickKey {
        hash: Some((n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32),
        now: n / 1_000,
    };
    let _taken: Vec<Pick> = (0..held as u64)
        .map(|n| backend.pick(key(n), None))
        .collect();
    let choose = |count: u64| {
        let begin = Instant::now();
        for n in 0..count {
            black_box(backend.pick(key(n), None));
        }
        begin.elapsed().as_nanos() / u128::from(count)
    };
    choose(20_000);
    // The quietest of several: others work on this machine, too.
    (0..5).map(|_| choose(100_000)).min().unwrap_or_default()
}
