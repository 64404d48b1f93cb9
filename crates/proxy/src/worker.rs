//! One worker: a thread with a reactor of its own, and all that its connections share.
//!
//! Nothing here is locked: a worker's buffers, pools and timers are touched by its thread only.
//! The scratch buffers are borrowed inside one poll and never across an await.

use crate::listen::{self, Accepted};
use crate::listeners::Listeners;
use crate::log::LogSinks;
use crate::moment::Moment;
use crate::pipe::{Pipe, Pipes};
use crate::pool::Pools;
use crate::prelude::Headers;
use crate::report::Formats;
use crate::roster::{Roster, Rosters};
use crate::service::Services;
use crate::session::{Client, Session};
use crate::timer::Timers;
use crate::{check, names, peers, reactor};
use http::Head;
use rules::Wall;
use state::{Generation, Process, SessionFacts, Which};
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Bytes that one read may bring at most.
pub const SCRATCH: usize = 128 * 1024;

/// What the connections of one thread share.
pub struct Worker {
    /// From 0; the index of every per-worker counter.
    pub id: usize,
    /// The running process.
    pub process: Arc<Process>,
    /// What every read goes into first.
    pub scratch: RefCell<Box<[u8]>>,
    /// Where message heads and log lines are put together.
    pub build: RefCell<Vec<u8>>,
    /// Where small pieces are joined before they are written.
    pub joined: RefCell<Vec<u8>>,
    /// Deadlines.
    pub timers: Rc<Timers>,
    /// Idle server connections.
    pub pools: Pools,
    /// Where log lines go.
    pub logs: LogSinks,
    /// Statistics page and other inner services.
    pub services: Arc<Services>,
    /// Sessions alive on this worker.
    pub sessions: Cell<usize>,
    /// The same one by one.
    pub roster: Roster,
    /// The ways into all workers.
    pub doors: Arc<Vec<Door>>,
    /// What sessions of datagrams share.
    pub datagrams: crate::udp::Shared,
    /// Conversations with peers.
    pub peers: crate::peers::Talks,
    /// State of the random generator that `rand` and `random` draw from.
    pub rng: Cell<u64>,
    /// The time of this poll, once it has been asked for.
    now: Cell<Option<Instant>>,
    /// The same in milliseconds of the process.
    millis: Cell<Option<u64>>,
    /// (an instant, the same by the calendar), renewed every second.
    clock: Cell<(Instant, Wall)>,
    /// What [`Worker::wall`] said last: a request asks about the same few instants again and again.
    told: Cell<(Instant, Wall)>,
    formats: Formats,
    #[allow(clippy::vec_box)] // they are handed out and taken back as boxes
    heads: RefCell<Vec<Box<Head>>>,
    buffers: RefCell<Vec<Vec<u8>>>,
    pipes: Pipes,
}

/// How many spare heads and buffers are kept.
const SPARES: usize = 256;
/// A buffer that has grown past this is given back to the allocator.
const SPARE_CAPACITY: usize = 16 * 1024;
/// So many pipes a worker may have whatever `maxconn` is.
const FEW_PIPES: usize = 16;

/// Now, by the calendar.
pub fn wall_now() -> Wall {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since = since.unwrap_or_default();
    Wall {
        secs: since.as_secs() as i64,
        micros: since.subsec_micros(),
    }
}

impl Worker {
    /// The state of worker `id`, started at `now`.
    pub fn new(
        id: usize,
        process: Arc<Process>,
        doors: Arc<Vec<Door>>,
        services: Arc<Services>,
        logs: LogSinks,
        now: Instant,
        seed: u64,
    ) -> Rc<Worker> {
        let wall = wall_now();
        Rc::new(Worker {
            id,
            roster: Roster::new(process.start),
            process,
            doors,
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            build: RefCell::new(Vec::with_capacity(4096)),
            joined: RefCell::new(Vec::with_capacity(4096)),
            now: Cell::new(None),
            millis: Cell::new(None),
            timers: Timers::new(now),
            pools: Pools::default(),
            logs,
            services,
            sessions: Cell::new(0),
            datagrams: crate::udp::Shared::default(),
            peers: crate::peers::Talks::default(),
            rng: Cell::new(seed | 1),
            clock: Cell::new((now, wall)),
            told: Cell::new((now, wall)),
            formats: Formats::default(),
            heads: RefCell::default(),
            buffers: RefCell::default(),
            pipes: Pipes::default(),
        })
    }

    /// The configuration in force now.
    pub fn generation(&self) -> Arc<Generation> {
        self.process.generation.load_full()
    }

    /// The time, which stands still while one session is polled: a poll takes microseconds, and
    /// reading the clock at each step of a request costs more than some of the steps.
    pub fn now(&self) -> Instant {
        match self.now.get() {
            Some(now) => now,
            None => {
                let now = Instant::now();
                self.now.set(Some(now));
                now
            }
        }
    }

    /// [`Worker::now`] in milliseconds since the process began.
    pub fn millis(&self) -> u64 {
        match self.millis.get() {
            Some(millis) => millis,
            None => {
                let millis = self.process.millis(self.now());
                self.millis.set(Some(millis));
                millis
            }
        }
    }

    /// An instant to be kept.
    pub fn moment(&self, at: Instant) -> Moment {
        Moment::new(self.process.start, at)
    }

    /// One that was kept.
    pub fn instant(&self, kept: Moment) -> Instant {
        kept.instant(self.process.start)
    }

    /// A poll begins: the time is asked for anew.
    pub fn new_poll(&self) {
        self.now.set(None);
        self.millis.set(None);
    }

    /// An instant by the calendar.
    pub fn wall(&self, at: Instant) -> Wall {
        let (instant, told) = self.told.get();
        if instant == at {
            return told;
        }
        let (base, wall) = self.clock.get();
        let micros = match at.checked_duration_since(base) {
            Some(later) => later.as_micros() as i64,
            None => -(base.saturating_duration_since(at).as_micros() as i64),
        } + i64::from(wall.micros);
        let wall = Wall {
            secs: wall.secs + micros.div_euclid(1_000_000),
            micros: micros.rem_euclid(1_000_000) as u32,
        };
        self.told.set((at, wall));
        wall
    }

    /// The format of a frontend's lines.
    pub fn format_of(&self, frontend: &state::Frontend) -> Arc<rules::LogFormat> {
        self.formats
            .of(&frontend.side().log_format, frontend.proxy().mode)
    }

    /// An empty head.
    pub fn head(&self) -> Box<Head> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a head back.
    pub fn recycle_head(&self, mut head: Box<Head>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < SPARES && head.capacity() <= SPARE_CAPACITY {
            head.reset();
            heads.push(head);
        }
    }

    /// An empty buffer.
    pub fn buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a buffer back; one that never held anything costs nothing.
    pub fn recycle(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > SPARE_CAPACITY {
            return;
        }
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < SPARES {
            buffer.clear();
            buffers.push(buffer);
        }
    }

    /// An empty pipe, unless `nosplice` is set or all are in use: there may be one to four
    /// connections, as in HAProxy, and the limit of descriptors is set so that they have room.
    pub fn pipe(&self) -> Option<Pipe> {
        if self.process.generation.load().config.global.nosplice {
            return None;
        }
        let connections = self.process.hard_maxconn() as usize;
        let share = connections / 4 / self.process.workers.max(1);
        self.pipes.take(share.max(FEW_PIPES))
    }

    /// Has another worker close an idle connection to a server; each turn another one.
    pub fn ask_another_to_let_go(&self, server: u32, turn: usize) {
        let others = self.doors.iter().enumerate();
        let mut others = others.filter(|(id, _)| *id != self.id);
        let count = self.doors.len().saturating_sub(1).max(1);
        if let Some((_, door)) = others.nth(turn % count) {
            // A worker that has ended keeps nothing.
            let _ = door.orders.send(Order::LetGo(server));
        }
    }

    /// Gives a pipe back.
    pub fn recycle_pipe(&self, pipe: Pipe) {
        self.pipes.give_back(pipe);
    }
}

/// What every worker is started with.
pub struct WorkerSetup {
    /// The running process.
    pub process: Arc<Process>,
    /// Inner services.
    pub services: Arc<Services>,
    /// What log lines say of their sender.
    pub tag: crate::log::Tag,
    /// CPUs by worker, where `cpu-map` says so.
    pub cpus: Vec<Vec<usize>>,
}

/// The running workers.
pub struct Engine {
    threads: Vec<std::thread::JoinHandle<()>>,
    doors: Arc<Vec<Door>>,
}

/// The way into a worker from outside its thread.
pub struct Door {
    /// Connections that other workers accepted for this one.
    pub accepted: tokio::sync::mpsc::UnboundedSender<Accepted>,
    /// Orders.
    pub orders: tokio::sync::mpsc::UnboundedSender<Order>,
    /// Sessions alive on it.
    pub load: std::sync::atomic::AtomicUsize,
}

/// What a worker can be told.
pub enum Order {
    /// Other listeners; what is not among them is closed.
    Listen(Arc<Listeners>),
    /// Accept no more.
    StopAccepting,
    /// Say which sessions there are.
    ListSessions(Sender<Vec<SessionFacts>>),
    /// End sessions and say how many.
    EndSessions(Which, Sender<usize>),
    /// Close an idle connection to the server of this `uid`.
    LetGo(u32),
    /// Say how many server connections are idle, by the server's `uid`.
    CountIdle(Sender<Vec<u32>>),
    /// End at once.
    Quit,
}

impl Engine {
    fn tell(&self, order: impl Fn() -> Order) {
        for door in self.doors.iter() {
            // A worker that has ended hears nothing, and needs nothing.
            let _ = door.orders.send(order());
        }
    }

    /// The way to the sessions of all workers.
    pub fn rosters(&self) -> Rosters {
        Rosters {
            doors: Arc::clone(&self.doors),
        }
    }

    /// Accepts on these listeners from now on.
    pub fn listen(&self, listeners: &Arc<Listeners>) {
        self.tell(|| Order::Listen(Arc::clone(listeners)));
    }

    /// Accepts no more.
    pub fn stop_accepting(&self) {
        self.tell(|| Order::StopAccepting);
    }

    /// Ends all workers and waits for their threads.
    pub fn quit(self) {
        self.tell(|| Order::Quit);
        for thread in self.threads {
            // A worker that panicked has said so; there is nothing more to do here.
            let _ = thread.join();
        }
    }
}

/// Starts one thread per worker.
pub fn start_workers(setup: WorkerSetup, listeners: &Arc<Listeners>) -> std::io::Result<Engine> {
    let setup = Arc::new(setup);
    let mut doors = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..setup.process.workers {
        let (accepted, accepted_rx) = tokio::sync::mpsc::unbounded_channel();
        let (orders, orders_rx) = tokio::sync::mpsc::unbounded_channel();
        doors.push(Door {
            accepted,
            orders,
            load: Default::default(),
        });
        receivers.push((accepted_rx, orders_rx));
    }
    let doors = Arc::new(doors);
    let mut threads = Vec::new();
    for (id, (accepted, orders)) in receivers.into_iter().enumerate() {
        let (setup, doors, listeners) = (
            Arc::clone(&setup),
            Arc::clone(&doors),
            Arc::clone(listeners),
        );
        let thread = std::thread::Builder::new()
            .name(format!("worker-{id}"))
            .spawn(move || {
                pin_to(setup.cpus.get(id));
                wake_in_time();
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .enable_time()
                    .on_thread_park(crate::udp::before_sleep)
                    .build_local(Default::default());
                match reactor::start().and(runtime) {
                    Ok(runtime) => {
                        runtime.block_on(run(id, &setup, doors, listeners, accepted, orders));
                    }
                    Err(e) => {
                        let _ = writeln!(std::io::stderr(), "worker {id} could not start: {e}");
                    }
                }
            })?;
        threads.push(thread);
    }
    Ok(Engine { threads, doors })
}

/// Binds the calling thread to CPUs; a machine that has fewer leaves it where it is.
fn pin_to(cpus: Option<&Vec<usize>>) {
    let Some(cpus) = cpus.filter(|c| !c.is_empty()) else {
        return;
    };
    // SAFETY: an all-zero cpu_set_t is the empty set; CPU_SET stays within its size because of
    // the filter; the set outlives the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for cpu in cpus.iter().filter(|c| **c < libc::CPU_SETSIZE as usize) {
            libc::CPU_SET(*cpu, &mut set);
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// Has the calling thread's waits end within a microsecond of when they should: by default the system may
/// be late by fifty, so that several threads wake at once.
fn wake_in_time() {
    let (nanoseconds, unused) = (1_000 as libc::c_ulong, 0 as libc::c_ulong);
    // SAFETY: a plain call with integers, about the calling thread only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanoseconds, unused, unused, unused) };
}

async fn run(
    id: usize,
    setup: &WorkerSetup,
    doors: Arc<Vec<Door>>,
    listeners: Arc<Listeners>,
    mut accepted: tokio::sync::mpsc::UnboundedReceiver<Accepted>,
    mut orders: tokio::sync::mpsc::UnboundedReceiver<Order>,
) {
    let now = Instant::now();
    let seed = u64::from(wall_now().micros) << 32 ^ u64::from(setup.process.pid) << 8 ^ id as u64;
    let logs = LogSinks::new(setup.tag.clone());
    let process = Arc::clone(&setup.process);
    let worker = Worker::new(
        id,
        process,
        doors,
        Arc::clone(&setup.services),
        logs,
        now,
        seed,
    );
    tokio::task::spawn_local(reactor::drive());
    tokio::task::spawn_local(Rc::clone(&worker.timers).drive());
    tokio::task::spawn_local(crate::udp::carry(Rc::clone(&worker)));
    tokio::task::spawn_local(crate::udp::keep(Rc::clone(&worker)));
    tokio::task::spawn_local(tend(Rc::clone(&worker)));
    tokio::task::spawn_local(check::run(Rc::clone(&worker)));
    if id == 0 {
        tokio::task::spawn_local(names::run(Rc::clone(&worker)));
        tokio::task::spawn_local(peers::run(Rc::clone(&worker)));
    }
    let mut accepting = listen::accept_all(&worker, &listeners);
    // Kept here, a socket that is taken away later would stay open.
    drop(listeners);
    loop {
        tokio::select! {
            Some(accepted) = accepted.recv() => {
                listen::serve(&worker, accepted);
            }
            order = orders.recv() => match order {
                Some(Order::Listen(listeners)) => {
                    accepting.drain(..).for_each(|task| task.abort());
                    accepting = listen::accept_all(&worker, &listeners);
                }
                Some(Order::StopAccepting) => {
                    accepting.drain(..).for_each(|task| task.abort());
                    worker.roster.wake();
                    if worker.process.is_stopping() {
                        let generation = worker.generation();
                        worker.roster.let_go(|frontend| closes_idle(&generation, frontend));
                    }
                }
                // Whoever asked may have lost patience: then nobody hears the answer.
                Some(Order::ListSessions(answer)) => {
                    let _ = answer.send(worker.roster.list(id));
                }
                Some(Order::EndSessions(which, answer)) => {
                    let _ = answer.send(worker.roster.end(id, which));
                }
                Some(Order::LetGo(server)) => {
                    worker.pools.let_go(server);
                }
                Some(Order::CountIdle(answer)) => {
                    let _ = answer.send(worker.pools.idle());
                }
                Some(Order::Quit) | None => break,
            },
        }
    }
    if id == 0 {
        check::write_last_news(&worker);
    }
}

/// Whether connections of a frontend that wait for a request are closed at a soft stop. In `mode tcp`
/// only those wait that go on in HTTP.
fn closes_idle(generation: &Generation, frontend: u32) -> bool {
    let frontend = generation.frontends.iter().find(|f| f.id == frontend);
    frontend.is_some_and(|f| {
        let requests = matches!(f.proxy().mode, model::Mode::Http | model::Mode::Tcp);
        requests && !f.side().idle_close_on_response
    })
}

/// What is due every second: the clock, and idle connections.
async fn tend(worker: Rc<Worker>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut measured = (Instant::now(), cpu_time());
    loop {
        tick.tick().await;
        let now = Instant::now();
        let wall = wall_now();
        worker.clock.set((now, wall));
        worker.told.set((now, wall));
        worker.pools.purge(now);
        worker.datagrams.purge(now);
        measured = measure(&worker, measured, now);
        if worker.id == 0 {
            purge_tables(&worker).await;
        }
    }
}

/// The CPU time of this thread.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the clock's value is written to `time`, and nowhere else.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Notes how busy this worker was since it was measured before, and what it has to do.
fn measure(
    worker: &Worker,
    (then, used): (Instant, Duration),
    now: Instant,
) -> (Instant, Duration) {
    let counters = worker.process.counters.of(worker.id);
    let cpu = cpu_time();
    let whole = now.saturating_duration_since(then).as_micros();
    let busy = cpu.saturating_sub(used).as_micros() * 100;
    let percent = busy.checked_div(whole).unwrap_or(0).min(100);
    counters.busy.set(percent as u64);
    let metrics = tokio::runtime::Handle::current().metrics();
    counters.tasks.set(metrics.num_alive_tasks() as u64);
    counters.run_queue.set(metrics.global_queue_depth() as u64);
    counters.dropped_logs.set(worker.logs.dropped());
    let buffers = worker.buffers.borrow();
    let spare = buffers.iter().map(|b| b.capacity() as u64).sum();
    counters.spare_bytes.set(spare);
    worker.process.note_idle(worker.id, worker.pools.idle());
    (now, cpu)
}

/// Removes what is over from the stick tables, a few entries at a time: sessions go on between.
async fn purge_tables(worker: &Worker) {
    let generation = worker.generation();
    for table in &generation.tables {
        let mut part = Some(0);
        while let Some(at) = part {
            part = table.purge(at, worker.process.millis(Instant::now()));
            tokio::task::yield_now().await;
        }
    }
}

/// Serves an accepted connection as a task of its own.
pub fn spawn_session(worker: &Rc<Worker>, client: Client, headers: Headers) {
    tokio::task::spawn_local(Session::new(worker, Box::new(client), headers));
}
