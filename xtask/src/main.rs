//! `cargo xtask bench [nat|packet] | bpf [--check] | check | checks [N [ROUNDS]] | connections [N] | coverage [--check] | failover [KILLS | sync [SECONDS]] | profile LOAD [PEER] |
//! schedulers [--check|--time] | tables`: what no compiler checks.

mod bench;
mod bpf;
mod check;
mod checks;
mod choosing;
mod connections;
mod coverage;
mod failover;
mod namespaces;
mod nat;
mod profile;
mod schedulers;
mod simulation;
mod sync;
mod tables;

use std::process::exit;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["bench", "packet", rest @ ..] => bpf::bench(rest),
        ["bench", "nat", rest @ ..] => nat::run(rest),
        ["bench", rest @ ..] => bench::run(rest),
        ["bpf"] => bpf::run(false),
        ["bpf", "--check"] => bpf::run(true),
        ["failover", "sync", rest @ ..] => sync::run(rest),
        ["failover", rest @ ..] => failover::run(rest),
        ["check"] => check::run(),
        ["checks", rest @ ..] => checks::run(rest),
        ["connections", rest @ ..] => connections::run(rest),
        ["coverage"] => coverage::run(false),
        ["coverage", "--check"] => coverage::run(true),
        ["profile", load] => profile::run(load, "mulgil"),
        ["profile", load, peer] => profile::run(load, peer),
        ["schedulers"] => schedulers::run(false),
        ["schedulers", "--time"] => choosing::run(),
        ["schedulers", "--check"] => schedulers::run(true),
        ["tables"] => tables::run(),
        _ => Err(vec![
            "usage: cargo xtask bench [...] | bench nat [ROUNDS] | bench packet [--only TEXT] [--beside OBJECT] | bpf [--check] | check | connections [N [PROGRAM]] | coverage [--check] | failover [KILLS | sync [SECONDS]] | profile LOAD [PEER] | schedulers [--check|--time] | tables"
                .to_string(),
        ]),
    };
    if let Err(faults) = result {
        for fault in faults {
            eprintln!("{fault}");
        }
        exit(1);
    }
}
