//! The two ends of a benchmark, made to cost less than what stands between them.
//!
//! `origin` is a server that answers from static buffers; `load`, `tcp` and `udp` are clients that check
//! what they get and read the proxy's CPU time at the very moments between which they count;
//! `awake` keeps a core from falling asleep; `floor` is a proxy that does the least. Each has one thread and ends by itself after
//! `--seconds`. The results are lines `name=value` for a program to read.

mod answer;
mod args;
mod conn;
mod floor;
mod histogram;
mod load;
mod net;
mod origin;
mod tcp;
mod tls;
mod udp;
mod watch;

use std::process::exit;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match words.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", &words[..]),
    };
    let result = match command {
        "origin" => origin::run(rest),
        "load" => load::run(rest),
        "tcp" => tcp::run(rest),
        "udp" => udp::run(rest),
        "floor" => floor::run(rest),
        "awake" => net::awake(rest),
        _ => Err(USAGE.to_string()),
    };
    if let Err(message) = result {
        eprintln!("{message}");
        exit(1);
    }
}

const USAGE: &str = "\
usage: bench origin --listen ADDR [--seconds S]
       bench load --to ADDR --path PATH [--length BYTES] [--connections N] [--idle K] [--close]
                  [--tls 1.2|1.3 [--resume]] [--requests N] [--seconds S] [--warm-up MS]
                  [--watch PID]...
       bench tcp --to ADDR --listen ADDR [--bytes N] [--connections N] [--seconds S] [--watch PID]...
       bench udp --to ADDR --listen ADDR [--length BYTES] [--connections N] [--close] [--requests N]
                 [--seconds S] [--watch PID]...
       bench floor tcp --listen ADDR --to ADDR [--seconds S]
       bench floor udp --listen ADDR --to ADDR [--close] [--seconds S]
       bench awake [--seconds S]";
