//! `cargo xtask bench [--write] | check | coverage [--check]`: what no compiler checks.

mod bench;
mod check;
mod coverage;

use std::process::exit;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["bench"] => bench::run(false),
        ["bench", "--write"] => bench::run(true),
        ["check"] => check::run(),
        ["coverage"] => coverage::run(false),
        ["coverage", "--check"] => coverage::run(true),
        _ => Err(vec![
            "usage: cargo xtask bench [--write] | check | coverage [--check]".to_string(),
        ]),
    };
    if let Err(faults) = result {
        for fault in faults {
            eprintln!("{fault}");
        }
        exit(1);
    }
}
