//! What belongs to the whole process.

use crate::counters::{Counter, Gauge, PerWorker, Rate};
use crate::generation::Generation;
use arc_swap::ArcSwap;
use rules::Wall;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What one worker counts for the process.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct ProcessCounters {
    pub connections: Counter,
    pub requests: Counter,
    pub ssl_connections: Counter,
    pub bytes_out: Counter,
    pub conn_rate: Rate,
    pub sess_rate: Rate,
    pub ssl_rate: Rate,
}

/// What the process is told of its machine when it starts.
pub struct Machine {
    /// The machine's name.
    pub hostname: String,
    /// The environment, as it was found.
    pub environment: HashMap<String, String>,
    /// The local time zone at a moment (Unix seconds).
    pub local_zone: fn(i64) -> rules::Zone,
    /// Whether an address is one of the machine.
    pub is_local: fn(IpAddr) -> bool,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            hostname: "localhost".into(),
            environment: HashMap::new(),
            local_zone: rules::Zone::utc,
            is_local: |ip| ip.is_loopback(),
        }
    }
}

/// The process.
pub struct Process {
    /// Number of workers.
    pub workers: usize,
    /// When it started, by the calendar.
    pub started: Wall,
    /// When it started.
    pub start: Instant,
    /// Its number.
    pub pid: u32,
    /// This machine.
    pub machine: Machine,
    /// The name of this node in the statistics.
    pub node: String,
    /// The most connections.
    maxconn: AtomicU32,
    /// Most descriptors.
    pub max_descriptors: u64,
    /// Connections now.
    pub connections: Gauge,
    /// What the workers counted.
    pub counters: PerWorker<ProcessCounters>,
    /// The configuration in force.
    pub generation: ArcSwap<Generation>,
    /// Variables of the `proc` scope.
    pub vars: Mutex<rules::Vars>,
    stopping: AtomicBool,
    next_uid: AtomicU32,
    reloads: AtomicU64,
}

impl Process {
    /// A process about to serve `config`.
    pub fn new(
        config: Arc<model::Config>,
        workers: usize,
        maxconn: u32,
        max_descriptors: u64,
        started: Wall,
        start: Instant,
        machine: Machine,
    ) -> Arc<Process> {
        let process = Process {
            workers,
            started,
            start,
            pid: std::process::id(),
            node: config
                .global
                .node
                .as_deref()
                .unwrap_or(&machine.hostname)
                .to_string(),
            machine,
            maxconn: AtomicU32::new(maxconn),
            max_descriptors,
            connections: Gauge::default(),
            counters: PerWorker::new(workers),
            generation: ArcSwap::from_pointee(Generation::default()),
            vars: Mutex::new(rules::Vars::limited(config.global.tuning.vars)),
            stopping: AtomicBool::new(false),
            next_uid: AtomicU32::new(0),
            reloads: AtomicU64::new(0),
        };
        let first = Generation::next(&Generation::default(), config, &process);
        process.generation.store(Arc::new(first));
        Arc::new(process)
    }

    /// Puts another configuration into force for all requests from now on.
    pub fn apply(&self, config: Arc<model::Config>) -> Arc<Generation> {
        let next = Arc::new(Generation::next(&self.generation.load(), config, self));
        self.generation.store(Arc::clone(&next));
        self.reloads.fetch_add(1, Relaxed);
        next
    }

    /// Times a configuration was applied after the first.
    pub fn reloads(&self) -> u64 {
        self.reloads.load(Relaxed)
    }

    /// A number for a new server.
    pub(crate) fn uid(&self) -> u32 {
        self.next_uid.fetch_add(1, Relaxed)
    }

    /// The most connections.
    pub fn maxconn(&self) -> u32 {
        self.maxconn.load(Relaxed)
    }

    /// Changes it (`set maxconn global`).
    pub fn set_maxconn(&self, maxconn: u32) {
        self.maxconn.store(maxconn, Relaxed);
    }

    /// Whether it is ending softly: no new connections, kept ones close after their request.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Begins the soft end.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Milliseconds since the start, the clock of the rates.
    pub fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_millis() as u64
    }
}
