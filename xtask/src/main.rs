//! `cargo xtask bench | bpf [--check] | check | coverage [--check] | profile LOAD`: what no compiler checks.

mod bench;
mod bpf;
mod check;
mod coverage;
mod profile;

use std::process::exit;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["bench", "packet"] => bpf::bench(),
        ["bench", rest @ ..] => bench::run(rest),
        ["bpf"] => bpf::run(false),
        ["bpf", "--check"] => bpf::run(true),
        ["check"] => check::run(),
        ["coverage"] => coverage::run(false),
        ["coverage", "--check"] => coverage::run(true),
        ["profile", load] => profile::run(load),
        _ => Err(vec![
            "usage: cargo xtask bench [...] | bench packet | bpf [--check] | check | coverage [--check] | profile LOAD"
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
