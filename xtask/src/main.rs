//! `cargo xtask bench | check | coverage [--check] | failover [KILLS] | profile LOAD`: what no compiler checks.

mod bench;
mod check;
mod coverage;
mod failover;
mod profile;

use std::process::exit;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["bench", rest @ ..] => bench::run(rest),
        ["failover", rest @ ..] => failover::run(rest),
        ["check"] => check::run(),
        ["coverage"] => coverage::run(false),
        ["coverage", "--check"] => coverage::run(true),
        ["profile", load] => profile::run(load),
        _ => Err(vec![
            "usage: cargo xtask bench [...] | check | coverage [--check] | failover [KILLS] | profile LOAD"
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
