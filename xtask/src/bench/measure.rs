//! One measurement: a fresh network, an origin, a proxy, a load; and what they report.

use super::arena::{self, Folder, Programs, Running};
use super::loads::Load;
use super::peers::Peer;
use std::collections::HashMap;
use std::time::Duration;

/// A peer with a number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contestant {
    /// Who.
    pub peer: Peer,
    /// `nbthread`.
    pub threads: u32,
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub enum Extent {
    /// So many seconds.
    Seconds(u64),
    /// Until so many requests are answered, in no more than so many seconds.
    Requests(u64, u64),
}

/// What one measurement gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Requests answered; in TCP mode, bytes received.
    pub count: f64,
    /// CPU time of all the proxy's threads for each of them, nanoseconds.
    pub cpu: f64,
    /// The same of load generator and origin together.
    pub ends: f64,
    /// Answers a second.
    pub per_second: f64,
    /// Resident memory of the proxy while the load was on, KiB.
    pub rss: f64,
    /// The latency that one in a hundred exceeds, microseconds.
    pub p99: f64,
    /// Part of the time in which the proxy could have run but another process did.
    pub waited: f64,
    /// CPU time by thread, nanoseconds.
    pub threads: Vec<(String, u64)>,
}

/// Errors to a thousand answers that a measurement may have.
const TOLERATED_ERRORS: f64 = 1.0;

impl Sample {
    /// Reads the lines that `bench load` and `bench tcp` print.
    pub fn parse(text: &str) -> Result<Sample, String> {
        let values: HashMap<&str, &str> = text.lines().filter_map(|l| l.split_once('=')).collect();
        let number = |name: &str| -> f64 {
            let value = values.get(name).and_then(|v| v.parse().ok());
            value.unwrap_or_default()
        };
        let count = number("answered") + number("bytes");
        let elapsed = number("elapsed_ns");
        if count == 0.0 || elapsed == 0.0 {
            return Err(format!("nothing was answered: {text}"));
        }
        if number("errors") * 1000.0 > count * TOLERATED_ERRORS {
            let errors = number("errors");
            return Err(format!("{errors} errors to {count} answers"));
        }
        let threads = values.get("threads").copied().unwrap_or_default();
        let threads = threads.split(',').filter_map(|t| {
            let (name, ns) = t.rsplit_once(':')?;
            Some((name.to_string(), ns.parse().ok()?))
        });
        Ok(Sample {
            count,
            cpu: number("cpu_ns") / count,
            ends: number("ends_ns") / count,
            per_second: count * 1e9 / elapsed,
            rss: number("rss_kib"),
            p99: number("p99_ns") / 1000.0,
            waited: number("waited_ns") / elapsed,
            threads: threads.collect(),
        })
    }

    /// The busiest thread's part of the CPU time.
    pub fn busiest(&self) -> f64 {
        let all: u64 = self.threads.iter().map(|(_, ns)| ns).sum();
        let most = self.threads.iter().map(|(_, ns)| *ns).max();
        most.unwrap_or_default() as f64 / (all as f64).max(1.0)
    }
}

/// A proxy in its arena, with an origin behind it.
pub struct Stage {
    proxy: Running,
    origin: Option<Running>,
    _awake: Running,
    _sink: std::net::UdpSocket,
}

impl Stage {
    /// Sets it up in a network of its own.
    pub fn set(
        load: &Load,
        contestant: Contestant,
        programs: &Programs,
        folder: &Folder,
    ) -> Result<Stage, String> {
        let Contestant { peer, threads } = contestant;
        arena::fresh_network();
        let sink = std::net::UdpSocket::bind(("127.0.0.1", arena::SINK));
        let sink = sink.map_err(|e| format!("UDP port {}: {e}", arena::SINK))?;
        let bench = &programs.bench;
        let awake = Running::start(arena::PROXY_CORE, bench, &["awake"])?;
        // In a transfer the load generator is its own origin.
        let origin = if load.is_transfer() {
            None
        } else {
            let listen = address(arena::ORIGIN);
            let args = ["origin", "--listen", &listen];
            let origin = Running::start(arena::ENDS_CORE, bench, &args)?;
            arena::wait_for(arena::ORIGIN)?;
            Some(origin)
        };
        let arguments = peer.arguments(load, threads, folder)?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let cores = if threads > 1 {
            arena::BOTH_CORES
        } else {
            arena::PROXY_CORE
        };
        let proxy = Running::start(cores, &peer.program(programs), &arguments)?;
        arena::wait_for(arena::FRONT)?;
        // Until the first health check has passed.
        std::thread::sleep(Duration::from_millis(300));
        Ok(Stage {
            proxy,
            origin,
            _awake: awake,
            _sink: sink,
        })
    }

    /// The proxy's process.
    pub fn pid(&self) -> u32 {
        self.proxy.pid()
    }

    /// Puts the load on and reads what it reports.
    pub fn run(
        &self,
        load: &Load,
        extent: Extent,
        warm_up: Duration,
        programs: &Programs,
    ) -> Result<Sample, String> {
        let mut command = arena::on(arena::ENDS_CORE, &programs.bench);
        let to = address(arena::FRONT);
        let (seconds, requests) = match extent {
            Extent::Seconds(s) => (s, None),
            Extent::Requests(n, s) => (s, Some(n.to_string())),
        };
        let (seconds, pid) = (seconds.to_string(), self.pid().to_string());
        let connections = load.connections.to_string();
        if load.is_transfer() {
            command.args([
                "tcp",
                "--listen",
                &address(arena::ORIGIN),
                "--seconds",
                "60",
            ]);
        } else {
            command.args(["load", "--path", load.path, "--seconds", &seconds]);
            command.args(["--idle", &load.affordable_idle().to_string()]);
            command.args(["--warm-up", &warm_up.as_millis().to_string()]);
        }
        command.args(["--to", &to, "--connections", &connections, "--watch", &pid]);
        if let Some(origin) = &self.origin {
            command.args(["--beside", &origin.pid().to_string()]);
        }
        if let Some(requests) = requests.filter(|_| !load.is_transfer()) {
            command.args(["--requests", &requests]);
        }
        if let Some(length) = load.length() {
            command.args(["--length", &length.to_string()]);
        }
        if load.close {
            command.arg("--close");
        }
        if load.tls.is_some() {
            command.args(["--tls", "1.3"]);
        }
        let out = command.output().map_err(|e| format!("bench: {e}"))?;
        if !out.status.success() {
            return Err(String::from_utf8_lossy(&out.stderr).trim().to_string());
        }
        Sample::parse(&String::from_utf8_lossy(&out.stdout))
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Sets a stage and measures once.
pub fn once(
    load: &Load,
    contestant: Contestant,
    extent: Extent,
    programs: &Programs,
    folder: &Folder,
) -> Result<Sample, String> {
    let told = |e| format!("{} under '{}': {e}", contestant.peer.name(), load.name);
    let stage = Stage::set(load, contestant, programs, folder).map_err(told)?;
    let sample = stage.run(load, extent, Duration::from_millis(300), programs);
    sample.map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "answered=1000\nerrors=0\nelapsed_ns=500000000\ncpu_ns=14000000\n\
                        waited_ns=5000000\nthreads=main:1000000,w-0:9000000,w-1:4000000\n\
                        ends_ns=8000000\nrss_kib=5000\np50_ns=1000\np99_ns=2000\nmax_ns=3000\n";

    #[test]
    fn a_report_is_read_by_the_request() {
        let sample = Sample::parse(TEXT).expect("reads");
        assert_eq!((sample.cpu, sample.ends), (14000.0, 8000.0));
        assert_eq!((sample.per_second, sample.p99), (2000.0, 2.0));
        assert_eq!((sample.rss, sample.waited), (5000.0, 0.01));
        assert_eq!(sample.threads.len(), 3);
        assert!((sample.busiest() - 9.0 / 14.0).abs() < 1e-9);
    }

    #[test]
    fn a_report_without_answers_or_with_many_errors_is_refused() {
        assert!(Sample::parse("").is_err());
        assert!(Sample::parse("answered=0\nelapsed_ns=1\n").is_err());
        assert!(Sample::parse(&TEXT.replace("errors=0", "errors=2")).is_err());
        assert!(Sample::parse(&TEXT.replace("errors=0", "errors=1")).is_ok());
    }
}
