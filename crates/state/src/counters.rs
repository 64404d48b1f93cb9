//! Counting without locks: a counter has one writer, its worker; whoever reads adds them up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one worker writes and anyone reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning worker may.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Keeps the larger; only the owning worker may.
    pub fn raise(&self, n: u64) {
        if n > self.0.load(Relaxed) {
            self.0.store(n, Relaxed);
        }
    }

    /// Sets it to what was measured; only the owning worker may.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Starts again at 0 (`clear counters`).
    pub fn clear(&self) {
        self.0.store(0, Relaxed);
    }
}

/// A number that any worker changes, with the largest value it had.
#[derive(Debug, Default)]
pub struct Gauge {
    now: AtomicU64,
    max: AtomicU64,
}

impl Gauge {
    /// One more; returns the number with it.
    pub fn enter(&self) -> u64 {
        let n = self.now.fetch_add(1, Relaxed) + 1;
        if n > self.max.load(Relaxed) {
            self.max.fetch_max(n, Relaxed);
        }
        n
    }

    /// One more, unless there are `limit` already.
    pub fn try_enter(&self, limit: u64) -> bool {
        let entered = self
            .now
            .fetch_update(Relaxed, Relaxed, |n| (n < limit).then_some(n + 1));
        if let Ok(before) = entered
            && before + 1 > self.max.load(Relaxed)
        {
            self.max.fetch_max(before + 1, Relaxed);
        }
        entered.is_ok()
    }

    /// One less.
    pub fn leave(&self) {
        self.now.fetch_sub(1, Relaxed);
    }

    /// The number now.
    pub fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    /// The largest it was.
    pub fn max(&self) -> u64 {
        self.max.load(Relaxed)
    }

    /// What somebody else has counted.
    pub fn set(&self, n: u64) {
        self.now.store(n, Relaxed);
        self.max.fetch_max(n, Relaxed);
    }

    /// Forgets the largest.
    pub fn clear_max(&self) {
        self.max.store(self.now(), Relaxed);
    }
}

/// One value per worker, made when that worker first needs it.
#[derive(Debug)]
pub struct PerWorker<T> {
    slots: Box<[OnceLock<Box<T>>]>,
}

impl<T: Default> PerWorker<T> {
    /// Room for that many workers.
    pub fn new(workers: usize) -> PerWorker<T> {
        PerWorker {
            slots: (0..workers.max(1)).map(|_| OnceLock::new()).collect(),
        }
    }

    /// This worker's value.
    pub fn of(&self, worker: usize) -> &T {
        let slot = self.slots.get(worker).unwrap_or(&self.slots[0]);
        slot.get_or_init(Box::default)
    }

    /// This worker's value, if it has made one.
    pub fn used_by(&self, worker: usize) -> Option<&T> {
        self.slots.get(worker)?.get().map(|b| &**b)
    }

    /// The values that exist.
    pub fn used(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|s| s.get().map(|b| &**b))
    }

    /// The sum of a counter over all workers.
    pub fn sum(&self, counter: impl Fn(&T) -> &Counter) -> u64 {
        self.used()
            .map(|t| counter(t).get())
            .fold(0, u64::wrapping_add)
    }

    /// The largest of a counter over all workers.
    pub fn max(&self, counter: impl Fn(&T) -> &Counter) -> u64 {
        self.used().map(|t| counter(t).get()).max().unwrap_or(0)
    }

    /// The sum of a rate over all workers.
    pub fn rate(&self, now_ms: u64, rate: impl Fn(&T) -> &Rate) -> u64 {
        self.used().map(|t| rate(t).per_second(now_ms)).sum()
    }
}

/// Events in the last second: those of the current second, and the share of the one before that
/// still lies within a second of now.
#[derive(Debug, Default)]
pub struct Rate {
    second: AtomicU64,
    current: AtomicU64,
    previous: AtomicU64,
    max: AtomicU64,
}

impl Rate {
    /// One event at `now_ms`; only the owning worker may.
    pub fn event(&self, now_ms: u64) {
        self.events(now_ms, 1);
    }

    /// Several events at `now_ms`; only the owning worker may.
    pub fn events(&self, now_ms: u64, count: u64) {
        let second = now_ms / 1000;
        let at = self.second.load(Relaxed);
        if at != second {
            let last = if at + 1 == second {
                self.current.load(Relaxed)
            } else {
                0
            };
            self.previous.store(last, Relaxed);
            self.current.store(0, Relaxed);
            self.second.store(second, Relaxed);
        }
        let n = self.current.load(Relaxed) + count;
        self.current.store(n, Relaxed);
        if n > self.max.load(Relaxed) {
            self.max.store(n, Relaxed);
        }
    }

    /// What somebody else has measured holds from now on for a second at least; only the owning
    /// worker may.
    pub fn measured(&self, now_ms: u64, per_second: u64) {
        self.previous.store(0, Relaxed);
        self.current.store(per_second, Relaxed);
        self.second.store(now_ms / 1000 + 1, Relaxed);
        self.max.fetch_max(per_second, Relaxed);
    }

    /// Events in the second before `now_ms`.
    pub fn per_second(&self, now_ms: u64) -> u64 {
        let (second, within) = (now_ms / 1000, now_ms % 1000);
        let at = self.second.load(Relaxed);
        let (current, previous) = (self.current.load(Relaxed), self.previous.load(Relaxed));
        match second.checked_sub(at) {
            Some(0) | None => current + previous * (1000 - within) / 1000,
            Some(1) => current * (1000 - within) / 1000,
            Some(_) => 0,
        }
    }

    /// The most in any one second.
    pub fn max(&self) -> u64 {
        self.max.load(Relaxed)
    }
}

/// Responses by class: 1xx to 5xx, then all others.
#[derive(Debug, Default)]
pub struct StatusClasses(pub [Counter; 6]);

impl StatusClasses {
    /// The counter for a status.
    pub fn of(&self, status: u16) -> &Counter {
        match status / 100 {
            class @ 1..=5 => &self.0[usize::from(class) - 1],
            _ => &self.0[5],
        }
    }
}

/// A time averaged over the last 1024 events or so, in milliseconds.
#[derive(Debug, Default)]
pub struct Average {
    /// Sum over a sliding window.
    sum: AtomicU64,
    events: AtomicU64,
    max: AtomicU64,
}

const WINDOW: u64 = 1024;

impl Average {
    /// One more time; only the owning worker may.
    pub fn event(&self, ms: u64) {
        let (sum, events) = (self.sum.load(Relaxed), self.events.load(Relaxed));
        if events < WINDOW {
            self.sum.store(sum + ms, Relaxed);
            self.events.store(events + 1, Relaxed);
        } else {
            self.sum.store(sum - sum / WINDOW + ms, Relaxed);
        }
        if ms > self.max.load(Relaxed) {
            self.max.store(ms, Relaxed);
        }
    }

    /// Sum and number of events, to be added over the workers.
    pub fn parts(&self) -> (u64, u64) {
        (self.sum.load(Relaxed), self.events.load(Relaxed))
    }

    /// The longest.
    pub fn max(&self) -> u64 {
        self.max.load(Relaxed)
    }
}

/// What packets have been carried without ending their connections (`mode packet`).
#[derive(Debug, Default)]
#[allow(missing_docs)] // the names say it; rates are by second
pub struct PacketCounters {
    pub packets_in: Counter,
    pub packets_out: Counter,
    pub packets_in_rate: Rate,
    pub packets_out_rate: Rate,
    pub bits_in_rate: Rate,
    pub bits_out_rate: Rate,
}

impl PacketCounters {
    fn rates(&self) -> [&Rate; 4] {
        [
            &self.packets_in_rate,
            &self.packets_out_rate,
            &self.bits_in_rate,
            &self.bits_out_rate,
        ]
    }
}

/// What one worker counts for one side of a proxy, or for a server; names as in the CSV (manual,
/// management.txt 9.1).
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct ProxyCounters {
    pub conn_tot: Counter,
    pub stot: Counter,
    pub bin: Counter,
    pub bout: Counter,
    pub dreq: Counter,
    pub dresp: Counter,
    pub ereq: Counter,
    pub econ: Counter,
    pub eresp: Counter,
    pub wretr: Counter,
    pub wredis: Counter,
    pub lbtot: Counter,
    pub req_tot: Counter,
    pub hrsp: StatusClasses,
    pub cli_abrt: Counter,
    pub srv_abrt: Counter,
    pub connect: Counter,
    pub reuse: Counter,
    pub intercepted: Counter,
    pub dcon: Counter,
    pub dses: Counter,
    pub comp_in: Counter,
    pub comp_out: Counter,
    pub comp_rsp: Counter,
    pub comp_byp: Counter,
    pub eint: Counter,
    pub ssl_sess: Counter,
    pub ssl_reused_sess: Counter,
    pub ssl_failed_handshake: Counter,
    pub conn_rate: Rate,
    pub sess_rate: Rate,
    pub req_rate: Rate,
    pub qtime: Average,
    pub ctime: Average,
    pub rtime: Average,
    pub ttime: Average,
    /// When the last session was given to it, ms of the process's clock, plus one; 0 is never.
    pub last_session: Counter,
    /// Of `mode packet`, made when first used.
    pub packets: OnceLock<Box<PacketCounters>>,
}

impl ProxyCounters {
    /// What only grows, by its name in the statistics.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, &Counter)> {
        const CLASSES: [&str; 6] = [
            "hrsp_1xx",
            "hrsp_2xx",
            "hrsp_3xx",
            "hrsp_4xx",
            "hrsp_5xx",
            "hrsp_other",
        ];
        let classes = CLASSES.into_iter().zip(&self.hrsp.0);
        [
            ("conn_tot", &self.conn_tot),
            ("stot", &self.stot),
            ("bin", &self.bin),
            ("bout", &self.bout),
            ("dreq", &self.dreq),
            ("dresp", &self.dresp),
            ("ereq", &self.ereq),
            ("econ", &self.econ),
            ("eresp", &self.eresp),
            ("wretr", &self.wretr),
            ("wredis", &self.wredis),
            ("lbtot", &self.lbtot),
            ("req_tot", &self.req_tot),
            ("cli_abrt", &self.cli_abrt),
            ("srv_abrt", &self.srv_abrt),
            ("connect", &self.connect),
            ("reuse", &self.reuse),
            ("intercepted", &self.intercepted),
            ("dcon", &self.dcon),
            ("dses", &self.dses),
            ("comp_in", &self.comp_in),
            ("comp_out", &self.comp_out),
            ("comp_rsp", &self.comp_rsp),
            ("comp_byp", &self.comp_byp),
            ("eint", &self.eint),
            ("ssl_sess", &self.ssl_sess),
            ("ssl_reused_sess", &self.ssl_reused_sess),
            ("ssl_failed_handshake", &self.ssl_failed_handshake),
        ]
        .into_iter()
        .chain(classes)
    }
}

/// What one worker counts for a server.
pub type ServerCounters = ProxyCounters;

impl PerWorker<ProxyCounters> {
    /// A time averaged over all workers, ms.
    pub fn average(&self, of: impl Fn(&ProxyCounters) -> &Average) -> u64 {
        let parts = self.used().map(|c| of(c).parts());
        let (sum, events) = parts.fold((0, 0), |a, p| (a.0 + p.0, a.1 + p.1));
        sum.checked_div(events).unwrap_or(0)
    }

    /// Responses of a class (0 is 1xx, 5 is all others).
    pub fn responses(&self, class: usize) -> u64 {
        self.used()
            .filter_map(|c| c.hrsp.0.get(class))
            .map(Counter::get)
            .sum()
    }

    /// Forgets the largest rates and times (`clear counters`).
    pub fn clear_max(&self) {
        for c in self.used() {
            let packets = c.packets.get().map(|p| p.rates());
            let rates = [&c.conn_rate, &c.sess_rate, &c.req_rate];
            for rate in rates.into_iter().chain(packets.into_iter().flatten()) {
                rate.max.store(0, Relaxed);
            }
            for average in [&c.qtime, &c.ctime, &c.rtime, &c.ttime] {
                average.max.store(0, Relaxed);
            }
        }
    }

    /// Sets all counts to 0.
    pub fn clear(&self) {
        let all = self.used().flat_map(ProxyCounters::counts);
        all.for_each(|(_, counter)| counter.clear());
        for packets in self.used().filter_map(|c| c.packets.get()) {
            packets.packets_in.clear();
            packets.packets_out.clear();
        }
    }
}
