//! The load generator: connections that ask again as soon as they are answered.
//!
//! First come the idle connections (one request each, then kept), then the busy ones; after a
//! warm-up counters are cleared and the accounts of the watched processes are read, and read again
//! when enough is answered or the time is over.

use crate::args::Args;
use crate::conn::{Conn, Shared, Step};
use crate::histogram::Histogram;
use crate::net::{self, Epoll, Event};
use crate::tls;
use crate::watch::{self, Thread, Usage};
use std::time::{Duration, Instant};

const VALUED: &[&str] = &[
    "--to",
    "--path",
    "--length",
    "--connections",
    "--idle",
    "--tls",
    "--requests",
    "--seconds",
    "--warm-up",
    "--watch",
    "--beside",
];

/// `bench load`.
pub fn run(words: &[String]) -> Result<(), String> {
    let args = Args::parse(words, VALUED, &["--close", "--resume"])?;
    let close = args.has("--close");
    let path: String = args.need("--path")?;
    let connection = if close { "Connection: close\r\n" } else { "" };
    let tls: Option<String> = args.get("--tls")?;
    let tls = tls.map(|v| tls::Client::new(&v, args.has("--resume")));
    let shared = Shared {
        to: args.need("--to")?,
        request: format!("GET {path} HTTP/1.1\r\nHost: bench.example\r\n{connection}\r\n").into(),
        length: args.get("--length")?,
        tls: tls.transpose()?,
        scratch: vec![0; 32 * 1024],
    };
    let plan = Plan {
        connections: args.get("--connections")?.unwrap_or(64),
        idle: args.get("--idle")?.unwrap_or(0),
        close,
        requests: args.get("--requests")?.unwrap_or(u64::MAX),
        seconds: Duration::from_secs(args.get("--seconds")?.unwrap_or(2)),
        warm_up: Duration::from_millis(args.get("--warm-up")?.unwrap_or(300)),
        watch: args.all("--watch")?,
        beside: args.all("--beside")?,
    };
    net::raise_descriptors((plan.connections + plan.idle) as u64 + 100);
    let report = Load::new(shared, plan).map_err(|e| format!("load: {e}"))?;
    print!("{}", report.run()?);
    Ok(())
}

struct Plan {
    connections: usize,
    idle: usize,
    close: bool,
    requests: u64,
    seconds: Duration,
    warm_up: Duration,
    watch: Vec<u32>,
    /// The origin, whose CPU time is told apart.
    beside: Vec<u32>,
}

/// One connection and what it is for.
struct Slot {
    conn: Conn,
    asked_at: Instant,
    /// It is answered once and then kept.
    idle: bool,
    /// It has been answered and waits for the peer to close.
    answered: bool,
    writing: bool,
}

struct Load {
    shared: Shared,
    plan: Plan,
    epoll: Epoll,
    /// Busy connections first, idle ones after them.
    slots: Vec<Option<Slot>>,
    /// Places of connections that could not be opened.
    reopen: Vec<usize>,
    settled: usize,
    answered: u64,
    errors: u64,
    latencies: Histogram,
}

/// Idle connections that are being made at a time.
const OPENING: usize = 64;
/// A load that fails so often says nothing.
const TOO_MANY_ERRORS: u64 = 10_000;
/// How long the idle connections may take to be made.
const PATIENCE: Duration = Duration::from_secs(30);

impl Load {
    fn new(shared: Shared, plan: Plan) -> std::io::Result<Load> {
        Ok(Load {
            epoll: Epoll::new()?,
            slots: (0..plan.connections + plan.idle).map(|_| None).collect(),
            shared,
            plan,
            reopen: Vec::new(),
            settled: 0,
            answered: 0,
            errors: 0,
            latencies: Histogram::new(),
        })
    }

    fn run(mut self) -> Result<String, String> {
        let mut events = Vec::new();
        self.settle(&mut events)?;
        (0..self.plan.connections).for_each(|index| self.open(index));
        let began = Instant::now();
        while began.elapsed() < self.plan.warm_up {
            self.turn(&mut events)?;
        }
        self.answered = 0;
        self.errors = 0;
        self.latencies = Histogram::new();
        let mut all = self.plan.beside.clone();
        all.push(std::process::id());
        let (before, before_all) = (Usage::of(&self.plan.watch), Usage::of(&all));
        let began = Instant::now();
        let mut elapsed = Duration::ZERO;
        while self.answered < self.plan.requests && elapsed < self.plan.seconds {
            self.turn(&mut events)?;
            elapsed = began.elapsed();
        }
        let used = Usage::of(&self.plan.watch).since(&before);
        let used_by_us = Usage::of(&all).since(&before_all);
        let rss = watch::rss_kib(&self.plan.watch);
        Ok(self.report(elapsed, &used, &used_by_us, rss))
    }

    /// Makes the idle connections.
    fn settle(&mut self, events: &mut Vec<Event>) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        let mut begun = 0;
        while self.settled < self.plan.idle {
            while begun < self.plan.idle && begun < self.settled + OPENING {
                self.open(self.plan.connections + begun);
                begun += 1;
            }
            self.turn(events)?;
            if Instant::now() > until {
                let (settled, idle) = (self.settled, self.plan.idle);
                return Err(format!("only {settled} of {idle} connections were made"));
            }
        }
        Ok(())
    }

    fn turn(&mut self, events: &mut Vec<Event>) -> Result<(), String> {
        let wait = self.epoll.wait(events, Duration::from_millis(20));
        wait.map_err(|e| format!("epoll: {e}"))?;
        for event in events.iter() {
            self.progress(event.token as usize, event.writable);
        }
        std::mem::take(&mut self.reopen)
            .into_iter()
            .for_each(|index| self.open(index));
        if self.errors > TOO_MANY_ERRORS || (self.errors > 100 && self.answered == 0) {
            let (errors, answered) = (self.errors, self.answered);
            return Err(format!(
                "{errors} errors, {answered} answers: nothing to measure"
            ));
        }
        Ok(())
    }

    fn open(&mut self, index: usize) {
        let opened = Conn::open(&self.shared).ok().and_then(|mut conn| {
            let asked_at = Instant::now();
            let writing = match conn.ask(&self.shared) {
                Step::Full => true,
                Step::Failed => return None,
                _ => false,
            };
            self.epoll.add(conn.raw(), index as u64, writing).ok()?;
            Some(Slot {
                conn,
                asked_at,
                idle: index >= self.plan.connections,
                answered: false,
                writing,
            })
        });
        if opened.is_none() {
            self.errors += 1;
            self.reopen.push(index);
        }
        self.slots[index] = opened;
    }

    fn progress(&mut self, index: usize, writable: bool) {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let mut step = Step::Wait;
        if writable && slot.writing {
            step = slot.conn.write(&self.shared);
        }
        while step == Step::Wait {
            step = slot.conn.read(&mut self.shared);
            if step == Step::Answered {
                self.answered += 1;
                self.latencies.add(slot.asked_at.elapsed());
                if slot.idle {
                    self.settled += 1;
                    return;
                }
                if self.plan.close {
                    // The end of the stream may be there already.
                    slot.answered = true;
                    step = Step::Wait;
                    continue;
                }
                slot.asked_at = Instant::now();
                step = slot.conn.ask(&self.shared);
            }
            if step == Step::Wait {
                break;
            }
        }
        let writing = step == Step::Full;
        let ended = match step {
            Step::Closed | Step::Failed => true,
            _ if writing != slot.writing => {
                slot.writing = writing;
                let raw = slot.conn.raw();
                self.epoll.set_writing(raw, index as u64, writing).is_err()
            }
            _ => false,
        };
        if ended {
            if !slot.answered {
                self.errors += 1;
            }
            self.slots[index] = None;
            self.open(index);
        }
    }

    fn report(&self, elapsed: Duration, used: &[Thread], ours: &[Thread], rss: u64) -> String {
        let quantile = |share| self.latencies.quantile(share).as_nanos();
        let mut out = format!(
            "answered={}\nerrors={}\nelapsed_ns={}\n",
            self.answered,
            self.errors,
            elapsed.as_nanos()
        );
        out += &account(used);
        let ours: u64 = ours.iter().map(|t| t.cpu).sum();
        out += &format!("ends_ns={ours}\nrss_kib={rss}\n");
        out += &format!(
            "p50_ns={}\np99_ns={}\nmax_ns={}\n",
            quantile(0.5),
            quantile(0.99),
            quantile(1.0)
        );
        out
    }
}

/// The lines about what the watched processes used.
pub fn account(used: &[Thread]) -> String {
    let cpu: u64 = used.iter().map(|t| t.cpu).sum();
    let waited: u64 = used.iter().map(|t| t.waited).sum();
    let threads: Vec<String> = used
        .iter()
        .map(|t| format!("{}:{}", t.name, t.cpu))
        .collect();
    format!(
        "cpu_ns={cpu}\nwaited_ns={waited}\nthreads={}\n",
        threads.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_adds_up_and_names_its_threads() {
        let thread = |name: &str, cpu, waited| Thread {
            name: name.into(),
            cpu,
            waited,
        };
        let text = account(&[thread("worker-0", 70, 1), thread("worker-1", 30, 2)]);
        assert_eq!(
            text,
            "cpu_ns=100\nwaited_ns=3\nthreads=worker-0:70,worker-1:30\n"
        );
    }
}
