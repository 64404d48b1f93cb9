//! What belongs to the whole process.

use crate::counters::{Counter, Gauge, PerWorker, Rate};
use crate::errors::Errors;
use crate::events::Events;
use crate::generation::Generation;
use crate::news::{self, Cause, News, Standing};
use crate::{Backend, Server};
use arc_swap::ArcSwap;
use model::LogLevel;
use rules::Wall;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What one worker counts for the process.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct ProcessCounters {
    pub connections: Counter,
    pub requests: Counter,
    pub ssl_connections: Counter,
    pub bytes_out: Counter,
    pub spliced_out: Counter,
    pub dropped_logs: Counter,
    pub conn_rate: Rate,
    pub sess_rate: Rate,
    pub ssl_rate: Rate,
    pub bytes_out_rate: Rate,
    pub comp_in_rate: Rate,
    pub comp_out_rate: Rate,
    /// Percent of the last second that the worker was busy.
    pub busy: Counter,
    /// Its tasks, and those that wait to run.
    pub tasks: Counter,
    pub run_queue: Counter,
    /// Its spare buffers, bytes.
    pub spare_bytes: Counter,
    /// Handshakes with clients that were made in full.
    pub ssl_key_rate: Rate,
    /// Handshakes with servers that were made in full.
    pub ssl_server_key_rate: Rate,
}

/// What may be limited per second for the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// `maxconnrate`.
    Connections,
    /// `maxsessrate`.
    Sessions,
    /// `maxsslrate`.
    SslSessions,
}

/// What the process is told of its machine when it starts.
pub struct Machine {
    /// The machine's name.
    pub hostname: String,
    /// Whether the process replaces another, which may have something to tell it.
    pub replaces: bool,
    /// How much memory connections may take, in megabytes; 0 where nothing is said.
    pub megabytes: u64,
    /// The environment, as it was found.
    pub environment: HashMap<String, String>,
    /// The local time zone at a moment (Unix seconds).
    pub local_zone: fn(i64) -> rules::Zone,
    /// Whether an address is one of the machine.
    pub is_local: fn(IpAddr) -> bool,
    /// What the kernel knows of a TCP connection, by its descriptor.
    pub tcp_info: fn(i32) -> Option<rules::TcpInfo>,
    /// Writes a line to standard output (1) or to standard error (2).
    pub say: fn(i32, &str),
    /// The packet that began a connection, by its descriptor, where it was saved.
    pub saved_syn: fn(i32) -> Option<Vec<u8>>,
    /// The addresses of a connection by its descriptor: ours and the peer's.
    pub addresses: fn(i32) -> Option<(SocketAddr, SocketAddr)>,
    /// Our address of a connection by its descriptor.
    pub own_address: fn(i32) -> Option<SocketAddr>,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            hostname: "localhost".into(),
            replaces: false,
            megabytes: 0,
            environment: HashMap::new(),
            local_zone: rules::Zone::utc,
            is_local: |ip| ip.is_loopback(),
            tcp_info: |_| None,
            say: |_, _| {},
            saved_syn: |_| None,
            addresses: |_| None,
            own_address: |_| None,
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
    hard_maxconn: u32,
    /// Most descriptors.
    pub max_descriptors: u64,
    /// Connections now.
    pub connections: Gauge,
    /// Those of them that begin with TLS.
    pub tls_connections: Gauge,
    /// What the workers counted.
    pub counters: PerWorker<ProcessCounters>,
    /// The last number that a request or session was given.
    numbers: AtomicU64,
    /// The configuration in force.
    pub generation: ArcSwap<Generation>,
    /// What the logs shall tell of servers.
    pub news: News,
    /// What the converter `debug` has told.
    pub events: Events,
    /// The last malformed messages.
    pub errors: Errors,
    /// What is kept alike with another machine.
    pub replication: Arc<crate::Replication>,
    /// What guards of packet frontends did.
    pub guarded: crate::Guarded,
    /// Variables of the `proc` scope.
    pub vars: Mutex<rules::Vars>,
    rate_limits: [AtomicU32; 3],
    /// Idle connections that each worker keeps, by the servers' uids, as of the last second.
    idle: Box<[Mutex<Vec<u32>>]>,
    stopping: AtomicBool,
    /// The grace of the soft end is over, or there is none.
    leaving: AtomicBool,
    /// `set anon global-key`; 0 is as configured.
    anon_key: AtomicU32,
    next_uid: AtomicU32,
    reloads: AtomicU64,
    /// Held while servers follow others: who comes last has seen all that changed.
    following: Mutex<()>,
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
        let rates = [
            config.global.maxconnrate,
            config.global.maxsessrate,
            config.global.maxsslrate,
        ];
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
            hard_maxconn: maxconn,
            max_descriptors,
            connections: Gauge::default(),
            tls_connections: Gauge::default(),
            counters: PerWorker::new(workers),
            numbers: AtomicU64::new(0),
            generation: ArcSwap::from_pointee(Generation::default()),
            news: News::default(),
            events: Events::default(),
            errors: Errors::default(),
            replication: Arc::default(),
            guarded: crate::Guarded::default(),
            vars: Mutex::new(rules::Vars::limited(config.global.tuning.vars)),
            rate_limits: rates.map(|rate| AtomicU32::new(rate.unwrap_or(0))),
            idle: (0..workers).map(|_| Mutex::default()).collect(),
            stopping: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            anon_key: AtomicU32::new(0),
            next_uid: AtomicU32::new(0),
            reloads: AtomicU64::new(0),
            following: Mutex::default(),
        };
        let first = Generation::next(&Generation::default(), config, &process);
        process.generation.store(Arc::new(first));
        process.settle(start);
        Arc::new(process)
    }

    /// The number of one more request or session: more than all that were given, and no less than the
    /// requests so far.
    pub fn next_number(&self) -> u64 {
        let requests = self.counters.sum(|c| &c.requests);
        // Relaxed: nothing else is read by this number.
        let next = |last: u64| Some(last.wrapping_add(1).max(requests));
        let last = self.numbers.fetch_update(Relaxed, Relaxed, next);
        next(last.unwrap_or_else(|last| last)).unwrap_or_default()
    }

    /// Puts another configuration into force for all requests from now on.
    pub fn apply(&self, config: Arc<model::Config>, now: Instant) -> Arc<Generation> {
        let old = self.generation.load_full();
        let next = Arc::new(Generation::next(&old, config, self));
        self.generation.store(Arc::clone(&next));
        let alone = self.following();
        // Of what changed while they were made, the backends of before were told.
        let remade = |b: &&Arc<Backend>| old.backend(&b.name).is_some_and(|o| !Arc::ptr_eq(o, b));
        next.backends
            .iter()
            .filter(remade)
            .for_each(|b| b.refresh());
        next.followers().settle(now);
        drop(alone);
        self.reloads.fetch_add(1, Relaxed);
        next
    }

    /// Whether no configuration is in force yet.
    pub(crate) fn is_new(&self) -> bool {
        self.generation.load().frontends.is_empty() && self.reloads() == 0
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

    /// The most connections that it was started for.
    pub fn hard_maxconn(&self) -> u32 {
        self.hard_maxconn
    }

    /// Changes it (`set maxconn global`): up to what it was started for, which 0 means, too.
    pub fn set_maxconn(&self, maxconn: u32) {
        let wanted = if maxconn == 0 { u32::MAX } else { maxconn };
        self.maxconn.store(wanted.min(self.hard_maxconn), Relaxed);
    }

    /// Events a second at most; 0 is no limit.
    pub fn rate_limit(&self, of: RateLimit) -> u32 {
        self.rate_limits[of as usize].load(Relaxed)
    }

    /// Changes it (`set rate-limit`).
    pub fn set_rate_limit(&self, of: RateLimit, per_second: u32) {
        self.rate_limits[of as usize].store(per_second, Relaxed);
    }

    /// Whether new connections, those that begin with TLS or others, have to wait because of a rate.
    pub fn is_at_rate_limit(&self, now: Instant, tls: bool) -> bool {
        let reached = |of, rate: fn(&ProcessCounters) -> &Rate| {
            let limit = self.rate_limit(of);
            limit > 0 && self.counters.rate(self.millis(now), rate) >= u64::from(limit)
        };
        reached(RateLimit::Connections, |c| &c.conn_rate)
            || reached(RateLimit::Sessions, |c| &c.sess_rate)
            || tls && reached(RateLimit::SslSessions, |c| &c.ssl_rate)
    }

    /// Whether there are as many connections of TLS as `maxsslconn` allows.
    pub fn is_full_of_tls(&self) -> bool {
        let most = self.generation.load().config.global.maxsslconn;
        most.is_some_and(|most| self.tls_connections.now() >= u64::from(most))
    }

    /// Whether it is ending softly: no new connections, kept ones close after their request.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Begins the soft end.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Whether a soft end is past its grace, so that nobody is taken any more.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// The grace of the soft end is over.
    pub fn leave(&self) {
        self.leaving.store(true, Relaxed);
        let generation = self.generation.load();
        for proxy in &generation.config.proxies {
            // Of one that an operator shut it has been told.
            let frontend = generation.frontend(&proxy.name);
            if frontend.is_some_and(|f| f.is_shut()) {
                continue;
            }
            let line = news::stopped(&generation, proxy);
            self.news.tell(proxy, LogLevel::Warning, line);
        }
    }

    /// The key that an operator has set for hiding names; 0 is none.
    pub fn anon_key(&self) -> u32 {
        self.anon_key.load(Relaxed)
    }

    /// Sets it.
    pub fn set_anon_key(&self, key: u32) {
        self.anon_key.store(key, Relaxed);
    }

    /// A worker keeps so many idle connections, by the servers' uids.
    pub fn note_idle(&self, worker: usize, idle: Vec<u32>) {
        if let Some(place) = self.idle.get(worker) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = idle;
        }
    }

    /// Idle connections to a server, as of the last second.
    pub fn idle_connections(&self, uid: u32) -> u64 {
        let of = |place: &Mutex<Vec<u32>>| {
            let idle = place.lock().unwrap_or_else(PoisonError::into_inner);
            u64::from(idle.get(uid as usize).copied().unwrap_or(0))
        };
        self.idle.iter().map(of).sum()
    }

    /// How busy the workers were in the last second, percent of their time.
    pub fn busy_percent(&self) -> u64 {
        let workers = self.workers.max(1) as u64;
        self.counters.sum(|c| &c.busy).div_ceil(workers)
    }

    /// Who may count: the workers, and whoever reads what the kernel counted.
    pub(crate) fn writers(&self) -> usize {
        self.workers + 1
    }

    /// The place in [`PerWorker`] of what the kernel counted.
    pub fn kernel_writer(&self) -> usize {
        self.workers
    }

    /// A server's state has changed since `before`: the schedulers, the logs and those who track it are told.
    /// `backend` may be that of a configuration before: what took long began with it.
    pub fn changed(
        &self,
        backend: &Arc<Backend>,
        server: &Server,
        before: Standing,
        cause: Cause<'_>,
        now: Instant,
    ) {
        let _alone = self.following();
        let generation = self.generation.load_full();
        generation.followers().lead(server, now);
        let backend = generation.home(server).unwrap_or(backend);
        backend.take_change(server);
        self.tell(backend, server, before, cause);
        self.lead(&generation, server, now);
    }

    /// The same where it is told already: those who track a server take over its state. How many servers were
    /// looked at for that.
    pub fn follow(&self, server: &Server, now: Instant) -> usize {
        let _alone = self.following();
        let generation = self.generation.load_full();
        generation.followers().lead(server, now);
        if let Some(backend) = generation.home(server) {
            backend.take_change(server);
        }
        self.lead(&generation, server, now)
    }

    fn lead(&self, generation: &Generation, tracked: &Server, now: Instant) -> usize {
        let followers = generation.followers();
        followers.follow(tracked, now, |backend, server, before, tracked| {
            backend.take_change(server);
            let via = format!("{}/{}", tracked.backend, tracked.name);
            self.tell(backend, server, before, Cause::Via(&via));
        })
    }

    /// Has all who track another be as that is, where states were set that nobody is told of: by a configuration,
    /// or by a file of states.
    pub fn settle(&self, now: Instant) {
        let _alone = self.following();
        self.generation.load().followers().settle(now);
    }

    fn following(&self) -> MutexGuard<'_, ()> {
        self.following
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, backend: &Arc<Backend>, server: &Server, before: Standing, cause: Cause<'_>) {
        let mail = Standing::of(backend, server).is_worth_a_mail(before);
        let lines = news::lines(backend, server, before, cause);
        for (at, (level, text)) in lines.into_iter().enumerate() {
            if mail && at == 0 {
                self.news.mail(backend.proxy(), level, &text);
            }
            self.news.tell(backend.proxy(), level, text);
        }
    }

    /// Milliseconds since the start, the clock of the rates.
    pub fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_millis() as u64
    }
}
