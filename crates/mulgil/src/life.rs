//! The serving process while it runs: signals, reload, the end.

use crate::args::Args;
use crate::keeper::{Event, Keeper};
use crate::memory;
use crate::run::{self, Ended};
use crate::vrrp::VirtualAddresses;
use crate::world::{self, Machine, wall_now};
use admin::Listen;
use model::Config;
use proxy::{Engine, Listeners, Wanted};
use state::{Process, RateLimit};
use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a reload replaces, and what it needs.
pub struct Life {
    /// The command line.
    pub args: Args,
    /// The process.
    pub process: Arc<Process>,
    /// What reads and binds for us where we may not, and hears of reloads.
    pub keeper: Option<Keeper>,
    /// What was said at the start.
    pub startup: String,
    /// The environment of the configuration.
    pub env: RefCell<Vec<(String, String)>>,
    /// The packet plane, where a proxy wants it.
    pub packets: RefCell<Option<packet::Runner>>,
    /// The workers, until they are told to end.
    pub engine: RefCell<Option<Engine>>,
    /// The listening sockets.
    pub listeners: RefCell<Arc<Listeners>>,
    /// Addresses shared with other machines.
    pub vrrp: VirtualAddresses,
    /// When a soft end has to be over.
    pub stop_by: Cell<Option<Instant>>,
    /// Until when connections are still taken, once a soft end was asked for.
    pub grace_until: Cell<Option<Instant>>,
}

/// The settings in which two configurations differ and which no reload can change.
fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    let (a, b) = (&old.global, &new.global);
    let differs = [
        ("nbthread", a.nbthread != b.nbthread),
        ("cpu-map", a.cpu_map != b.cpu_map),
        ("user", (a.uid, &a.user) != (b.uid, &b.user)),
        ("group", (a.gid, &a.group) != (b.gid, &b.group)),
        ("chroot", a.chroot != b.chroot),
        ("stats socket", a.stats_sockets != b.stats_sockets),
        ("stats maxconn", a.stats_maxconn != b.stats_maxconn),
        ("stats timeout", a.stats_timeout != b.stats_timeout),
        ("ulimit-n", a.ulimit_n != b.ulimit_n),
        ("node", a.node != b.node),
        ("log-tag", a.log_tag != b.log_tag),
        (
            "log-send-hostname",
            a.log_send_hostname != b.log_send_hostname,
        ),
        ("pidfile", a.pidfile != b.pidfile),
    ];
    let names = differs.into_iter().filter(|(_, differs)| *differs);
    names.map(|(name, _)| name).collect()
}

/// The signals that mean something to a serving process.
pub struct Signals {
    term: Signal,
    interrupt: Signal,
    soft: Signal,
    reload: Signal,
    pause: Signal,
    go_on: Signal,
}

impl Signals {
    /// Catches them from now on. Called within a runtime.
    pub fn open() -> Result<Signals, String> {
        let open = |kind| signal(kind).map_err(|e| format!("cannot wait for signals: {e}"));
        Ok(Signals {
            term: open(SignalKind::terminate())?,
            interrupt: open(SignalKind::interrupt())?,
            soft: open(SignalKind::user_defined1())?,
            reload: open(SignalKind::hangup())?,
            pause: open(SignalKind::from_raw(libc::SIGTTOU))?,
            go_on: open(SignalKind::from_raw(libc::SIGTTIN))?,
        })
    }
}

impl Life {
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.process.generation.load().config)
    }

    fn engine(&self, order: impl FnOnce(&Engine)) {
        if let Some(engine) = &*self.engine.borrow() {
            order(engine);
        }
    }

    fn tell(&self, event: Event) {
        if let Some(keeper) = &self.keeper {
            keeper.tell(event);
        }
    }

    /// Reads the configuration anew and puts it into force; one that cannot be used changes
    /// nothing. Returns what was said either way.
    pub fn reload(&self) -> Result<String, String> {
        self.tell(Event::Reloading);
        self.notify_reloading();
        let result = self.try_reload();
        self.tell(Event::Reloaded(result.is_ok()));
        if self.args.notify {
            world::notify("READY=1\n");
        }
        match result {
            Ok((said, changes)) => {
                let line = format!("notice: the new configuration is in force: {changes}");
                eprintln!("{line}");
                Ok(said + &line)
            }
            Err(said) => {
                eprintln!("error: the configuration stays as it was");
                Err(format!("{said}error: the configuration stays as it was"))
            }
        }
    }

    fn notify_reloading(&self) {
        if self.args.notify {
            world::notify_reloading();
        }
    }

    fn try_reload(&self) -> Result<(String, model::Diff), String> {
        let lists = Some(Arc::clone(&self.config().global.lists));
        let read = match &self.keeper {
            Some(keeper) => {
                let source = keeper.source().map_err(|e| {
                    let said = format!("error: what keeps the privileges does not answer: {e}\n");
                    eprint!("{said}");
                    said
                })?;
                run::load(&self.args, &source, lists)
            }
            None => run::load(&self.args, &Machine, lists),
        };
        let Some(mut config) = read.config else {
            return Err(read.said);
        };
        if !config.listens() {
            run::nothing_to_listen_on(false);
            return Err(format!("{}error: {}\n", read.said, run::NO_LISTENER));
        }
        let old = Arc::clone(&self.listeners.borrow());
        let bound = proxy::bind_all(&config, &old, &mut |wanted| self.open(wanted));
        let sockets = match bound {
            Ok(sockets) => Arc::new(sockets),
            Err(errors) => {
                let lines = errors.iter().map(|e| format!("error: {e}\n"));
                let lines: String = lines.collect();
                eprint!("{lines}");
                return Err(read.said + &lines);
            }
        };
        let mut said = read.said;
        for what in fixed(&self.config(), &config) {
            let line = format!(
                "warning: '{what}' was changed: that takes effect when the process starts anew\n"
            );
            eprint!("{line}");
            said.push_str(&line);
        }
        self.take_limits(&mut config);
        let config = Arc::new(config);
        let changes = model::diff(&self.config(), &config);
        let generation = self.process.apply(Arc::clone(&config), Instant::now());
        // What an operator shut down begins again with the configuration that is read.
        generation.frontends.iter().for_each(|f| f.set_shut(false));
        // Whom an operator had added, the file has now.
        let servers = generation.backends.iter().flat_map(|b| b.servers());
        servers.for_each(|s| s.added.store(false, Relaxed));
        run::set_variables(&self.process, &config, wall_now());
        *self.env.borrow_mut() = read.env;
        let copies = self.sync_packets();
        *self.listeners.borrow_mut() = Arc::clone(&sockets);
        self.engine(|engine| engine.listen(&sockets));
        for line in self.vrrp.reload(&config) {
            eprintln!("{line}");
            said.push_str(&format!("{line}\n"));
        }
        if let Err(why) = self.vrrp.synchronise(copies) {
            eprintln!("error: {why}");
            said.push_str(&format!("error: {why}\n"));
        }
        memory::forget_the_start();
        Ok((said, changes))
    }

    /// Brings the packet plane to the configuration in force; starts it where that is the first to
    /// want it, and returns what copies its sessions.
    fn sync_packets(&self) -> Option<packet::Copies> {
        let mut packets = self.packets.borrow_mut();
        if let Some(runner) = &*packets {
            runner.sync();
        } else {
            let plane = run::open_packets(&self.config());
            let started = plane.and_then(|plane| run::start_packets(plane, &self.process));
            let (runner, copies) = started.unzip();
            *packets = runner;
            return copies;
        }
        None
    }

    /// Has the sockets of a frontend take connections, refuse them, or closes them.
    pub fn listen(&self, frontend: &str, how: Listen) {
        let mut listeners = self.listeners.borrow_mut();
        match how {
            Listen::Refuse => return listeners.refuse(frontend, true),
            Listen::Take => listeners.refuse(frontend, false),
            Listen::Close => *listeners = Arc::new(listeners.without(frontend)),
        }
        self.engine(|engine| engine.listen(&listeners));
    }

    /// Limits of the process that the configuration changes; those that it leaves alone stay as
    /// they were set at run time.
    fn take_limits(&self, config: &mut Config) {
        let old = self.config();
        let (old, new) = (&old.global, &mut config.global);
        // Unset is what was worked out at the start.
        new.maxconn = new.maxconn.or(old.maxconn);
        if let Some(megabytes) = self.args.megabytes {
            let most = run::room_for(megabytes, &new.tuning);
            new.maxconn = new.maxconn.map(|n| n.min(most));
        }
        if let Some(most) = new.maxconn.filter(|_| new.maxconn != old.maxconn) {
            self.process.set_maxconn(most);
        }
        for (limit, before, now) in [
            (RateLimit::Connections, old.maxconnrate, new.maxconnrate),
            (RateLimit::Sessions, old.maxsessrate, new.maxsessrate),
        ] {
            if before != now {
                self.process.set_rate_limit(limit, now.unwrap_or(0));
            }
        }
    }

    /// Closes all listening sockets: connections that come then belong to another process, which
    /// may listen on the same ports already.
    fn release_listeners(&self) {
        self.engine(Engine::stop_accepting);
        *self.listeners.borrow_mut() = Arc::default();
    }

    fn listen_again(&self) {
        if self.process.is_stopping() {
            return;
        }
        let held = Arc::clone(&self.listeners.borrow());
        let bound = proxy::bind_all(&self.config(), &held, &mut |wanted| self.open(wanted));
        match bound {
            Ok(listeners) => {
                let listeners = Arc::new(listeners);
                *self.listeners.borrow_mut() = Arc::clone(&listeners);
                self.engine(|engine| engine.listen(&listeners));
            }
            Err(errors) => errors.iter().for_each(|e| eprintln!("error: {e}")),
        }
    }

    fn open(&self, wanted: &Wanted<'_>) -> std::io::Result<OwnedFd> {
        match &self.keeper {
            Some(keeper) => keeper.open(wanted),
            None => wanted.open(),
        }
    }

    /// No new connections; the end comes when the last one is over.
    fn stop_softly(&self) {
        if !self.process.is_stopping() {
            self.process.stop();
            if self.args.notify {
                world::notify("STOPPING=1\n");
            }
            match self.config().global.grace {
                Some(grace) => self.grace_until.set(Some(Instant::now() + grace)),
                None => self.leave(),
            }
        }
    }

    /// What a soft end does once its grace is over.
    fn leave(&self) {
        self.process.leave();
        // Before nobody listens here any more, the addresses go where somebody does.
        self.vrrp.stop();
        self.release_listeners();
        let patience = self.config().global.hard_stop_after;
        self.stop_by.set(patience.map(|t| Instant::now() + t));
    }

    /// Whether the process that replaces this one knows what it needs, or there is none.
    fn has_told_all(&self) -> bool {
        let generation = self.process.generation.load();
        generation.peers.iter().all(|p| p.is_released())
    }

    /// Waits for signals and does what they say.
    pub async fn run(&self, mut signals: Signals) -> Result<Ended, String> {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        run::signal_all(&self.args.finish, libc::SIGUSR1);
        run::signal_all(&self.args.terminate, libc::SIGTERM);
        if self.args.notify {
            world::notify("READY=1\n");
        }
        self.tell(Event::Ready);
        loop {
            tokio::select! {
                _ = signals.term.recv() => return Ok(Ended::Signal(libc::SIGTERM)),
                _ = signals.interrupt.recv() => return Ok(Ended::Signal(libc::SIGINT)),
                _ = signals.soft.recv() => self.stop_softly(),
                // A process that is to replace this one wants its ports, and gives them back if
                // it cannot start.
                _ = signals.pause.recv() => self.release_listeners(),
                _ = signals.go_on.recv() => self.listen_again(),
                _ = signals.reload.recv() => {
                    // What is said of it has been printed.
                    let _ = self.reload();
                }
                _ = look.tick(), if self.process.is_stopping() => {
                    if let Some(until) = self.grace_until.get() {
                        if Instant::now() < until {
                            continue;
                        }
                        self.grace_until.set(None);
                        self.leave();
                    }
                    let late = self.stop_by.get().is_some_and(|t| Instant::now() >= t);
                    if self.process.connections.now() == 0 && self.has_told_all() || late {
                        return Ok(Ended::Softly);
                    }
                }
            }
        }
    }
}
