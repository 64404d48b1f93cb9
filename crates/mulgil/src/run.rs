//! From arguments to a serving process: load, bind, give up privileges, start the workers.

use crate::args::Args;
use crate::control::{self, Bound, Control};
use crate::handover;
use crate::keeper::{self, Keeper};
use crate::life::{Life, Signals};
use crate::memory;
use crate::pages::Pages;
use crate::signatures;
use crate::vrrp::VirtualAddresses;
use crate::world::{self, wall_now};
use config::{LoadRequest, Severity, Source};
use model::{Address, Config, Host, PortSpec};
use proxy::{Listeners, Services, Tag, WorkerSetup};
use rules::{Ctx, NoTrace, SessionInfo, StreamInfo, Vars, Wall};
use state::Process;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What came of reading the configuration.
pub struct Read {
    /// The configuration; `None` when it cannot be used.
    pub config: Option<Config>,
    /// The environment after `setenv` and its like.
    pub env: Vec<(String, String)>,
    /// What was said of it, as it was printed.
    pub said: String,
}

/// Why a configuration without mistakes is not served.
pub const NO_LISTENER: &str =
    "nothing is listened on: add a 'bind' line to a frontend, or a 'stats socket' to global";

/// Says so, and gives the exit status of HAProxy: 2 where the file was only to be checked.
pub fn nothing_to_listen_on(checked: bool) -> i32 {
    if checked {
        println!("Configuration file has no error but will not start (no listener) => exit(2).");
        return 2;
    }
    eprintln!("error: {NO_LISTENER}");
    1
}

/// What the arguments name, with the variables that the language promises to files (manual 2.3).
pub fn request(args: &Args) -> LoadRequest {
    let mut env: BTreeMap<String, String> = std::env::vars().collect();
    let mut set = |name: &str, value: String| {
        env.insert(format!("HAPROXY_{name}"), value);
    };
    set("STARTUP_VERSION", env!("CARGO_PKG_VERSION").into());
    set(
        "LOCALPEER",
        args.peer.clone().unwrap_or_else(world::hostname),
    );
    if args.master {
        set("MWORKER", "1".into());
    }
    LoadRequest {
        paths: args.files.clone(),
        env,
        lists: None,
        flags: args.flags,
    }
}

/// Loads what the arguments name and prints what is said of it.
/// `lists`: those of the configuration in force.
pub fn load(args: &Args, source: &dyn Source, lists: Option<Arc<rules::PatternLists>>) -> Read {
    let request = LoadRequest {
        lists,
        ..request(args)
    };
    let mut loaded = config::load(&request, source);
    let fatal = |c: &Config| c.global.zero_warning || args.warnings_fatal;
    let mut said = String::new();
    for diagnostic in &loaded.report.diagnostics {
        if !(args.quiet && diagnostic.severity < Severity::Error) {
            said.push_str(&format!("{diagnostic}\n"));
        }
    }
    if loaded.report.suppressed > 0 {
        said.push_str(&format!("and {} messages more\n", loaded.report.suppressed));
    }
    let mut config = loaded.config.take();
    if loaded.report.warned() && config.as_ref().is_some_and(fatal) {
        said.push_str("error: there are warnings, and zero-warning or -dW makes them errors\n");
        config = None;
    }
    let signed = config.as_ref().and_then(signatures::wanted);
    if let (Some(place), Err(lacking)) = (signed, proxy::can_sign()) {
        said.push_str(&format!(
            "error: {place} has 'tcp-md5sig', but this kernel cannot sign segments (TCP_MD5SIG: {lacking}): remove it, or use a kernel with CONFIG_TCP_MD5SIG\n"
        ));
        config = None;
    }
    eprint!("{said}");
    let mut env = loaded.env;
    if let Some(config) = &config {
        let sockets = config.global.stats_sockets.iter();
        let names: Vec<String> = sockets.map(|s| written(&s.address)).collect();
        if !names.is_empty() {
            env.insert("HAPROXY_CLI".into(), names.join(";"));
        }
    }
    if let Some(address) = args.master_socket.as_deref().filter(|_| args.master) {
        // Words behind the address are for the socket.
        let address = address.split(',').next().unwrap_or(address);
        let typed = if address.starts_with('/') {
            "unix@"
        } else {
            ""
        };
        env.insert("HAPROXY_MASTER_CLI".into(), format!("{typed}{address}"));
    }
    Read {
        config,
        env: env.into_iter().collect(),
        said,
    }
}

/// An address in the form that names its family.
pub fn written(address: &Address) -> String {
    match address {
        Address::Unix { path, .. } => format!("unix@{path}"),
        Address::Abstract { name, .. } => format!("abns@{name}"),
        Address::Fd(fd) => format!("fd@{fd}"),
        Address::Inet { host, port, .. } => {
            let port = match port {
                PortSpec::Fixed(port) => *port,
                _ => 0,
            };
            match host {
                Host::Any => format!("ipv4@0.0.0.0:{port}"),
                Host::Any6 => format!("ipv6@[::]:{port}"),
                Host::Ip(ip) if ip.is_ipv4() => format!("ipv4@{ip}:{port}"),
                Host::Ip(ip) => format!("ipv6@[{ip}]:{port}"),
                Host::Name(name) => format!("{name}:{port}"),
            }
        }
    }
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Softly, with nothing left to serve.
    Softly,
    /// By this signal.
    Signal(i32),
}

/// What has been bound before privileges are dropped.
pub struct Prepared {
    config: Arc<Config>,
    listeners: Arc<Listeners>,
    control: Vec<Bound>,
    env: Vec<(String, String)>,
    said: String,
    descriptors: u64,
    states: Vec<(Arc<str>, String)>,
    /// What `stats-file` says, or why it cannot be read.
    statistics: Option<Result<String, String>>,
}

/// Connections when nothing is said about them.
const DEFAULT_MAXCONN: u32 = 10_000;

/// How many connections these megabytes have room for, when each holds as much as it may: a buffer
/// of what is to be sent in each direction, a head, and what is known of both sides.
pub fn room_for(megabytes: u64, tuning: &model::Tuning) -> u32 {
    const PROCESS: u64 = 8 << 20;
    const BESIDES: u64 = 8 << 10;
    let each = 2 * tuning.bufsize as u64 + BESIDES;
    let room = (megabytes << 20).saturating_sub(PROCESS) / each;
    u32::try_from(room).unwrap_or(u32::MAX).max(1)
}

/// Opens every socket of the configuration.
pub fn prepare(args: &Args, mut config: Config, read: Read) -> Result<Prepared, String> {
    // Each session has two sockets, one in four a pipe; the rest is for listeners, checks and logs.
    let maxconn = u64::from(config.global.maxconn.unwrap_or(DEFAULT_MAXCONN));
    let wanted = config
        .global
        .ulimit_n
        .unwrap_or(maxconn * 2 + maxconn / 2 + 200);
    // The limit may be higher already: no more are used than said.
    let hard = config.global.fd_hard_limit.unwrap_or(u64::MAX);
    let descriptors = world::descriptors(wanted.min(hard)).min(hard);
    if config.global.maxconn.is_none() {
        let room = descriptors.saturating_sub(200) / 2;
        config.global.maxconn = Some(
            u32::try_from(room)
                .unwrap_or(u32::MAX)
                .clamp(10, DEFAULT_MAXCONN),
        );
    }
    if let Some(most) = args.megabytes.map(|m| room_for(m, &config.global.tuning)) {
        config.global.maxconn = config.global.maxconn.map(|n| n.min(most));
    }
    // Sockets of a process that is to be replaced may still be in the way: it is told to make room.
    let listeners = bind_with_patience(args, &config)?;
    let control = control::bind(&config.global.stats_sockets)?;
    let states = server_states(&config);
    let statistics = config.global.stats_file.as_ref().map(|path| {
        let text = std::fs::read_to_string(&**path);
        text.map_err(|e| format!("cannot read '{path}': {e}"))
    });
    Ok(Prepared {
        config: Arc::new(config),
        listeners: Arc::new(listeners),
        control,
        env: read.env,
        said: read.said,
        descriptors,
        states,
        statistics,
    })
}

fn bind_with_patience(args: &Args, config: &Config) -> Result<Listeners, String> {
    let replacing = !args.finish.is_empty() || !args.terminate.is_empty();
    let attempts = if replacing { 50 } else { 1 };
    let mut told = false;
    let mut errors = Vec::new();
    // '/dev/null' stands for no socket at all, as in HAProxy's own scripts.
    let mut taken = match args.take_from.as_deref() {
        None | Some("/dev/null") => handover::Sockets::default(),
        Some(path) => handover::take(path)?,
    };
    for _ in 0..attempts {
        let bound = proxy::bind_all(config, &Listeners::default(), &mut |wanted| match taken
            .remove(&wanted.address())
        {
            Some(socket) => wanted.adopt(socket),
            None => wanted.open(),
        });
        match bound {
            Ok(listeners) => return Ok(listeners),
            Err(found) => errors = found,
        }
        if replacing && !told {
            told = true;
            signal_all(&args.finish, libc::SIGTTOU);
            signal_all(&args.terminate, libc::SIGTTOU);
        }
        if replacing {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Err(lines.join("\n"))
}

/// Sends a signal to processes that were named on the command line.
pub fn signal_all(pids: &[i32], signal: i32) {
    for pid in pids.iter().filter(|p| **p > 1) {
        // SAFETY: plain call; a process that is gone gives ESRCH.
        unsafe { libc::kill(*pid, signal) };
    }
}

/// What state files say of the servers of backends that want to know.
fn server_states(config: &Config) -> Vec<(Arc<str>, String)> {
    let base = config.global.server_state_base.as_deref().unwrap_or(".");
    let place = |file: &str| match file.starts_with('/') {
        true => file.to_string(),
        false => format!("{base}/{file}"),
    };
    let mut found = Vec::new();
    for proxy in &config.proxies {
        let Some(side) = &proxy.backend else { continue };
        let path = match &side.load_state {
            model::LoadState::None => continue,
            model::LoadState::Global => config.global.server_state_file.as_deref().map(place),
            model::LoadState::Local => {
                Some(place(side.state_file.as_deref().unwrap_or(&proxy.name)))
            }
        };
        // A state that is not there (yet) is no fault: the first start has none.
        if let Some(text) = path.and_then(|p| std::fs::read_to_string(p).ok()) {
            found.push((Arc::clone(&proxy.name), text));
        }
    }
    found
}

fn restore_states(process: &Process, states: &[(Arc<str>, String)], now: Instant) {
    let generation = process.generation.load();
    for (name, text) in states {
        if let Some(backend) = generation.backend(name) {
            for fault in admin::restore(text, std::slice::from_ref(backend), now) {
                eprintln!("warning: state of the servers of '{name}': {fault}");
            }
        }
    }
    process.settle(now);
}

/// Goes on counting where another process ended.
fn preload(process: &Process, statistics: Option<Result<String, String>>) {
    let generation = process.generation.load();
    let faults = match statistics {
        None => Vec::new(),
        Some(Err(why)) => vec![why],
        Some(Ok(text)) => admin::preload(&text, &generation, process.kernel_writer()),
    };
    for fault in faults {
        eprintln!("warning: the statistics of 'stats-file': {fault}");
    }
}

/// Runs the `set-var` lines of `global`.
pub fn set_variables(process: &Arc<Process>, config: &Config, wall: Wall) {
    let (vars, rng) = (RefCell::new(Vars::default()), Cell::new(1));
    let (session, stream) = (SessionInfo::default(), StreamInfo::default());
    let generation = process.generation.load();
    let view = state::View {
        process,
        generation: &generation,
        now: Instant::now(),
        tracked: None,
    };
    for rule in &config.global.set_vars {
        let mut cx = Ctx::bare(&session, &stream, wall, &vars, &view, &rng);
        let mut effects = rules::action::Effects::default();
        let rules = std::slice::from_ref(&**rule);
        rules::run(rules, 0, &mut cx, &mut effects, &mut NoTrace);
    }
}

/// Who stands behind a serving process.
pub enum Behind {
    /// Nobody yet: a keeper is started if privileges are given up.
    Nobody,
    /// The master: it keeps the privileges, and sends connections of its own control socket.
    Master {
        /// The way to it.
        keeper: UnixStream,
        /// Where connections come from.
        door: UnixStream,
    },
}

/// Loads the packet plane where a proxy wants it. Without it the others are served all the same.
pub fn open_packets(config: &Config) -> Option<packet::Plane> {
    if !packet::is_wanted(config) {
        return None;
    }
    let sizes = packet::Sizes {
        // Where answers come back this way each direction has an entry.
        flows: packet::entries(config.global.tuning.packet_flows),
        features: 0,
    };
    let plane = if world::gives_up_privileges(&config.global) {
        Err("it needs root's rights all the time: remove 'user', 'group' and 'chroot'".to_string())
    } else {
        packet::Plane::open(sizes).map_err(|e| e.to_string())
    };
    plane
        .map_err(|e| eprintln!("error: 'mode packet' is not served: {e}"))
        .ok()
}

/// Sets it to work; with what copies its sessions to other machines.
pub fn start_packets(
    mut plane: packet::Plane,
    process: &Arc<Process>,
) -> Option<(packet::Runner, packet::Copies)> {
    let copies = plane.copies(process);
    let runner = packet::Runner::start(plane, Arc::clone(process));
    runner
        .and_then(|runner| Ok((runner, copies?)))
        .map_err(|e| eprintln!("error: 'mode packet' is not served: {e}"))
        .ok()
}

/// Starts a keeper as a process of its own. Called before there are threads.
fn start_keeper(args: &Args, prepared: Prepared) -> Result<(Keeper, Prepared), String> {
    let failed = |e: std::io::Error| format!("cannot start what keeps the privileges: {e}");
    let (ours, its) = UnixStream::pair().map_err(failed)?;
    // SAFETY: no other thread exists yet, so the child has a whole process to itself.
    match unsafe { libc::fork() } {
        0 => {
            // Sockets that it held would stay open when the serving process closes them.
            drop((ours, prepared));
            world::outlive_signals();
            keeper::serve(its, args, |_| {});
            std::process::exit(0);
        }
        pid if pid > 0 => Ok((Keeper::new(ours), prepared)),
        _ => Err(failed(std::io::Error::last_os_error())),
    }
}

/// Serves until told to end.
pub fn serve(
    args: &Args,
    prepared: Prepared,
    behind: Behind,
    program: &str,
) -> Result<Ended, String> {
    let (keeper, door, prepared) = match behind {
        Behind::Master { keeper, door } => (Some(Keeper::new(keeper)), Some(door), prepared),
        Behind::Nobody if world::gives_up_privileges(&prepared.config.global) => {
            let (keeper, prepared) = start_keeper(args, prepared)?;
            (Some(keeper), None, prepared)
        }
        Behind::Nobody => (None, None, prepared),
    };
    let Prepared {
        config,
        listeners,
        control,
        env,
        said,
        descriptors,
        states,
        statistics,
    } = prepared;
    // The zone is read once, while its file can be reached.
    let _ = world::local_zone(0);
    let plane = open_packets(&config);
    let mut modes = config.proxies.iter().map(|p| p.mode == model::Mode::Packet);
    let only_packets = modes.len() > 0 && modes.all(|packet| packet);
    if plane.is_none() && only_packets && config.vrrp.is_empty() {
        return Err("nothing else is to be served".into());
    }
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let workers = config.global.nbthread.map_or(cores, |n| n as usize);
    let hostname = world::hostname();
    let process = Process::new(
        Arc::clone(&config),
        workers,
        config.global.maxconn.unwrap_or(DEFAULT_MAXCONN),
        descriptors,
        wall_now(),
        Instant::now(),
        state::Machine {
            replaces: !args.finish.is_empty() || !args.terminate.is_empty(),
            megabytes: args.megabytes.unwrap_or(0),
            ..world::facts(env.iter().cloned().collect())
        },
    );
    let sent = config.global.log_send_hostname.as_ref().map(|name| {
        if name.is_empty() {
            hostname.as_str().into()
        } else {
            Arc::clone(name)
        }
    });
    let how = failover::Start {
        replaces: !args.finish.is_empty() || !args.terminate.is_empty(),
        keep_rights: world::gives_up_privileges(&config.global),
    };
    let vrrp = VirtualAddresses::start(&config, &process, how)?;
    world::drop_privileges(&config.global)?;
    if how.keep_rights {
        vrrp.reduce_rights();
    }
    let tag = Tag {
        name: config
            .global
            .log_tag
            .clone()
            .unwrap_or_else(|| program.into()),
        hostname: sent,
        own_hostname: hostname.into(),
        pid: process.pid,
        zone: world::local_zone,
    };
    let cpus = (0..workers as u32).map(|w| {
        let mine = config
            .global
            .cpu_map
            .iter()
            .filter(|(t, _)| t.is_empty() || t.contains(&(w + 1)));
        mine.flat_map(|(_, cpus)| cpus.iter().map(|c| *c as usize))
            .collect()
    });
    let setup = WorkerSetup {
        process: Arc::clone(&process),
        services: Arc::new(Services {
            stats: Box::new(Pages),
            named: Box::new(Pages),
        }),
        tag,
        cpus: cpus.collect(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .map_err(|e| format!("cannot start: {e}"))?;
    // The master starts its worker with signals held back: one that came before this would be lost,
    // or end the worker.
    let signals = {
        let _within = runtime.enter();
        Signals::open()?
    };
    world::let_signals_in();
    set_variables(&process, &config, process.started);
    restore_states(&process, &states, process.start);
    preload(&process, statistics);
    let packets = plane.and_then(|plane| start_packets(plane, &process));
    let (packets, copies) = packets.unzip();
    vrrp.synchronise(copies)?;
    let engine = proxy::start_workers(setup, &listeners)
        .map_err(|e| format!("cannot start workers: {e}"))?;
    let rosters = engine.rosters();
    let life = Rc::new(Life {
        args: args.clone(),
        process,
        keeper,
        startup: said,
        env: RefCell::new(env),
        packets: RefCell::new(packets),
        engine: RefCell::new(Some(engine)),
        listeners: RefCell::new(listeners),
        vrrp,
        stop_by: Cell::new(None),
        grace_until: Cell::new(None),
    });
    let conversations = Rc::new(Control {
        life: Rc::clone(&life),
        rosters,
        places: Arc::new(Semaphore::new(
            config.global.stats_maxconn.unwrap_or(10) as usize
        )),
        sockets: control
            .iter()
            .map(|b| (b.name.clone(), b.level()))
            .collect(),
        timeout: config
            .global
            .stats_timeout
            .unwrap_or(Duration::from_secs(10)),
    });
    memory::forget_the_start();
    let elects = !config.vrrp.is_empty();
    let ended = runtime.block_on(async {
        if !elects {
            tokio::task::spawn_local(memory::forget_the_unused());
        }
        for bound in control {
            tokio::task::spawn_local(control::serve(bound, Rc::clone(&conversations)));
        }
        let orphaned = async {
            match door {
                Some(door) => control::serve_door(door, conversations).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = life.run(signals) => ended,
            // A worker whose master is gone ends, too.
            () = orphaned => Ok(Ended::Signal(libc::SIGTERM)),
        }
    });
    life.vrrp.stop();
    if let Some(engine) = life.engine.take() {
        engine.quit();
    }
    let packets = life.packets.borrow();
    if packets.as_ref().is_some_and(packet::Runner::is_last) {
        eprintln!(
            "notice: what 'mode packet' serves goes on without this process; 'mulgil packet detach' ends that"
        );
    }
    ended
}
