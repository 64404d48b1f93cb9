//! The two ends against each other, without a proxy between.

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn bench(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(args).stdin(Stdio::null());
    command
}

fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

struct Origin(Child);

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn origin() -> (Origin, String) {
    let addr = free();
    let child = bench(&["origin", "--listen", &addr, "--seconds", "20"]).spawn();
    let origin = Origin(child.expect("starts"));
    let until = Instant::now() + Duration::from_secs(5);
    while std::net::TcpStream::connect(&addr).is_err() {
        assert!(Instant::now() < until, "the origin does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    (origin, addr)
}

fn load(addr: &str, words: &str) -> Output {
    let mut args = vec!["load", "--to", addr, "--seconds", "10", "--warm-up", "10"];
    args.extend(words.split(' '));
    bench(&args).output().expect("runs")
}

fn value(output: &Output, name: &str) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
    line.and_then(|v| v.parse().ok()).expect("a number")
}

#[test]
fn every_kind_of_load_is_answered_without_an_error() {
    let (origin, addr) = origin();
    let pid = origin.0.id();
    for words in [
        "--path /1k --length 1024 --requests 2000",
        "--path /64k --length 65536 --requests 500",
        "--path /1m --length 1048576 --requests 50 --connections 4",
        "--path /1k --length 1024 --requests 1000 --close",
        "--path /1k --length 1024 --requests 500 --connections 4 --idle 300",
        "--path /health --length 0 --requests 500",
    ] {
        let output = load(&addr, &format!("{words} --watch {pid}"));
        assert!(output.status.success(), "{words}: {output:?}");
        assert_eq!(value(&output, "errors"), 0, "{words}");
        assert!(value(&output, "answered") >= 50, "{words}");
        assert!(value(&output, "rss_kib") > 0, "{words}");
    }
}

#[test]
fn a_body_of_another_length_is_an_error() {
    let (_origin, addr) = origin();
    let output = load(&addr, "--path /1k --length 1000");
    assert!(!output.status.success());
}

#[test]
fn bytes_are_counted() {
    let addr = free();
    let args = [
        "tcp",
        "--to",
        &addr,
        "--listen",
        &addr,
        "--bytes",
        "50000000",
        "--seconds",
        "10",
    ];
    let output = bench(&args).output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    assert!(value(&output, "bytes") >= 50_000_000);
}
