//! `cargo xtask bench | bpf [--check] | check | coverage [--check] | profile LOAD |
//! schedulers [--check|--time]`: what no compiler checks.

mod bench;
mod bpf;
mod check;
mod choosing;
mod coverage;
mod profile;
mod schedulers;
mod simulation;

use std::process::exit;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["bench", rest @ ..] => bench::run(rest),
        ["bpf"] => bpf::run(false),
        ["bpf", "--check"] => bpf::run(true),
        ["check"] => check::run(),
        ["coverage"] => coverage::run(false),
        ["coverage", "--check"] => coverage::run(true),
        ["profile", load] => profile::run(load),
        ["schedulers"] => schedulers::run(false),
        ["schedulers", "--time"] => choosing::run(),
        ["schedulers", "--check"] => schedulers::run(true),
        _ => Err(vec![
            "usage: cargo xtask bench [...] | bpf [--check] | check | coverage [--check] | profile LOAD | schedulers [--check|--time]"
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
