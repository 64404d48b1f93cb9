//! One frontend: how many may be in, and what is counted.

use crate::counters::{Counter, Gauge, PerWorker, ProxyCounters};
use model::{Bind, Proxy};
use rules::Listener;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// What a frontend counts and limits: outlives a configuration.
#[derive(Debug)]
pub struct FrontendLive {
    sessions: Gauge,
    counters: PerWorker<ProxyCounters>,
    maxconn: AtomicU32,
    disabled: AtomicBool,
    shut: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
    /// Its sockets, where they are counted by themselves.
    sockets: Mutex<Vec<Arc<Socket>>>,
    /// Connections by the number of the listener that they came in by.
    listeners: Mutex<Vec<(u32, Arc<Gauge>)>>,
    /// Lines that each worker logged (`%lc`).
    lines: PerWorker<Counter>,
    /// When the sessions so far would have come at an even pace, in microseconds of the process.
    paced_until: AtomicU64,
}

/// One frontend of one configuration.
#[derive(Debug)]
pub struct Frontend {
    /// Its name.
    pub name: Arc<str>,
    /// Its number.
    pub id: u32,
    proxy: Arc<Proxy>,
    live: Arc<FrontendLive>,
    sockets: Vec<Arc<Socket>>,
    /// One for each of them, then the one for all others.
    entrances: Vec<Arc<Entrance>>,
    /// What sessions know of its listeners, by their numbers.
    listeners: Vec<Arc<Listener>>,
}

/// A listening socket of a frontend with `option socket-stats`.
#[derive(Debug)]
pub struct Socket {
    /// Its name, or `sock-N`.
    pub name: Arc<str>,
    /// Its number.
    pub id: u32,
    /// The most connections at a time; 0 is no limit of its own.
    pub maxconn: u32,
    sessions: Gauge,
    counters: PerWorker<ProxyCounters>,
}

impl Socket {
    /// Sessions that came in by it.
    pub fn sessions(&self) -> &Gauge {
        &self.sessions
    }

    /// What the workers counted.
    pub fn counters(&self) -> &PerWorker<ProxyCounters> {
        &self.counters
    }
}

/// A session's place in its frontend; dropping it lets the next one in.
#[derive(Debug)]
pub struct SessionGuard(Arc<Entrance>);

/// A way into a frontend: one word for what a session counts in.
#[derive(Debug)]
struct Entrance {
    live: Arc<FrontendLive>,
    socket: Option<Arc<Socket>>,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.0.live.sessions.leave();
        if let Some(socket) = &self.0.socket {
            socket.sessions.leave();
        }
        self.0.live.wake();
    }
}

impl FrontendLive {
    fn wake(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain(..).for_each(Waker::wake);
    }

    /// The sockets to be counted: those that were before keep what they have counted.
    fn sockets_of(&self, proxy: &Proxy, workers: usize) -> Vec<Arc<Socket>> {
        let counted = proxy.frontend.as_ref().filter(|f| f.socket_stats);
        let binds = counted.into_iter().flat_map(|f| &f.binds);
        let mut known = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = binds
            .map(|bind| {
                let name = match &bind.options.name {
                    Some(name) => Arc::clone(name),
                    None => format!("sock-{}", bind.id).into(),
                };
                let maxconn = bind.options.maxconn.unwrap_or(0);
                let same = known
                    .iter()
                    .find(|s| s.id == bind.id && s.name == name && s.maxconn == maxconn);
                same.cloned().unwrap_or_else(|| {
                    Arc::new(Socket {
                        name,
                        id: bind.id,
                        maxconn,
                        sessions: Gauge::default(),
                        counters: PerWorker::new(workers),
                    })
                })
            })
            .collect();
        known.clone_from(&all);
        all
    }
}

/// What sessions know of a listener.
fn listener(proxy: &Proxy, bind: &Bind) -> Arc<Listener> {
    Arc::new(Listener {
        frontend: Arc::clone(&proxy.name),
        frontend_id: proxy.id,
        name: bind.options.name.clone().unwrap_or_default(),
        id: bind.id,
    })
}

impl Frontend {
    pub(crate) fn new(
        proxy: Arc<Proxy>,
        live: Option<Arc<FrontendLive>>,
        workers: usize,
        process_maxconn: u32,
    ) -> Arc<Frontend> {
        let configured = proxy.frontend.as_ref().and_then(|f| f.maxconn);
        let maxconn = configured.unwrap_or(process_maxconn);
        let live = live.unwrap_or_else(|| {
            Arc::new(FrontendLive {
                sessions: Gauge::default(),
                counters: PerWorker::new(workers),
                maxconn: AtomicU32::new(maxconn),
                disabled: AtomicBool::new(proxy.disabled),
                shut: AtomicBool::new(false),
                waiting: Mutex::default(),
                sockets: Mutex::default(),
                listeners: Mutex::default(),
                lines: PerWorker::new(workers),
                paced_until: AtomicU64::new(0),
            })
        });
        live.maxconn.store(maxconn, Relaxed);
        let sockets = live.sockets_of(&proxy, workers);
        let ways = sockets.iter().cloned().map(Some).chain([None]);
        let entrances = ways.map(|socket| {
            let live = Arc::clone(&live);
            Arc::new(Entrance { live, socket })
        });
        let binds = proxy.frontend.iter().flat_map(|f| &f.binds);
        let mut listeners: Vec<_> = binds.map(|bind| listener(&proxy, bind)).collect();
        listeners.sort_by_key(|l| l.id);
        Arc::new(Frontend {
            name: Arc::clone(&proxy.name),
            listeners,
            id: proxy.id,
            entrances: entrances.collect(),
            sockets,
            proxy,
            live,
        })
    }

    /// What sessions know of one of its listeners.
    pub fn listener(&self, bind: &Bind) -> Arc<Listener> {
        let name = bind.options.name.as_deref().unwrap_or_default();
        let at = self.listeners.binary_search_by_key(&bind.id, |l| l.id);
        let known = at.ok().and_then(|at| self.listeners.get(at));
        let known = known.filter(|l| *l.name == *name);
        // A connection may come in by a socket whose line has changed meanwhile.
        known.map_or_else(|| listener(&self.proxy, bind), Arc::clone)
    }

    /// Tells where the connections of a listener of its are counted.
    pub fn listens(&self, id: u32, connections: &Arc<Gauge>) {
        let listeners = self.live.listeners.lock();
        let mut listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|(known, _)| *known != id);
        listeners.push((id, Arc::clone(connections)));
    }

    /// Connections that came in by a listener of its.
    pub fn listener_connections(&self, id: u32) -> Option<u64> {
        let listeners = self.live.listeners.lock();
        let listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        let (_, gauge) = listeners.iter().find(|(known, _)| *known == id)?;
        Some(gauge.now())
    }

    /// Its sockets, where they are counted by themselves.
    pub fn sockets(&self) -> &[Arc<Socket>] {
        &self.sockets
    }

    /// The socket of that number, if it is counted by itself.
    pub fn socket(&self, id: u32) -> Option<&Arc<Socket>> {
        self.sockets.iter().find(|s| s.id == id)
    }

    pub(crate) fn live(&self) -> &Arc<FrontendLive> {
        &self.live
    }

    /// The proxy's settings.
    pub fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    /// The settings of its client side.
    pub fn side(&self) -> &model::Frontend {
        static NONE: std::sync::LazyLock<model::Frontend> =
            std::sync::LazyLock::new(model::Frontend::default);
        self.proxy.frontend.as_deref().unwrap_or(&NONE)
    }

    /// What the workers counted.
    pub fn counters(&self) -> &PerWorker<ProxyCounters> {
        &self.live.counters
    }

    /// The lines that each worker logged.
    pub fn lines(&self) -> &PerWorker<Counter> {
        &self.live.lines
    }

    /// Sessions in it.
    pub fn sessions(&self) -> &Gauge {
        &self.live.sessions
    }

    /// The most sessions at a time.
    pub fn maxconn(&self) -> u32 {
        self.live.maxconn.load(Relaxed)
    }

    /// Changes it.
    pub fn set_maxconn(&self, maxconn: u32) {
        self.live.maxconn.store(maxconn, Relaxed);
        self.live.wake();
    }

    /// Whether it takes sessions.
    pub fn is_enabled(&self) -> bool {
        !self.live.disabled.load(Relaxed)
    }

    /// `enable frontend`, `disable frontend`.
    pub fn set_enabled(&self, enabled: bool) {
        self.live.disabled.store(!enabled, Relaxed);
        self.live.wake();
    }

    /// Whether it has been shut down for good (`shutdown frontend`).
    pub fn is_shut(&self) -> bool {
        self.live.shut.load(Relaxed)
    }

    /// Shuts it down, or lets a configuration that is read anew begin with it again.
    pub fn set_shut(&self, shut: bool) {
        self.live.shut.store(shut, Relaxed);
        self.live.wake();
    }

    /// Whether one more session may come in now.
    pub fn has_room(&self) -> bool {
        self.is_enabled() && !self.is_shut() && self.live.sessions.now() < u64::from(self.maxconn())
    }

    /// How long the next session is to wait so that there are no more than `rate-limit sessions` in a
    /// second; `now` is the time of the process.
    pub fn pause(&self, now: Duration) -> Option<Duration> {
        let limit = self.side().rate_limit_sessions.filter(|n| *n > 0)?;
        let paced = Duration::from_micros(self.live.paced_until.load(Relaxed));
        // A second's sessions may come at once.
        let rest = Duration::from_secs(1).saturating_sub(Duration::from_secs(1) / limit);
        let next = paced.checked_sub(rest)?;
        next.checked_sub(now).filter(|wait| !wait.is_zero())
    }

    /// A session has come, for [`Frontend::pause`].
    pub fn pace(&self, now: Duration) {
        let Some(limit) = self.side().rate_limit_sessions.filter(|n| *n > 0) else {
            return;
        };
        let (now, step) = (now.as_micros() as u64, 1_000_000 / u64::from(limit));
        // Relaxed: only this number matters, and it only grows.
        let _ = self
            .live
            .paced_until
            .fetch_update(Relaxed, Relaxed, |until| Some(until.max(now) + step));
    }

    /// The place of a session that has been accepted. Workers that accept at the same moment may
    /// together go past the limit by their number, as their connections are there already. `socket` is
    /// the number of the one it came by.
    pub fn enter(&self, socket: u32) -> SessionGuard {
        self.live.sessions.enter();
        let at = self.sockets.iter().position(|s| s.id == socket);
        let at = at.unwrap_or(self.sockets.len());
        let entrance = self.entrances.get(at).cloned().unwrap_or_else(|| {
            let live = Arc::clone(&self.live);
            Arc::new(Entrance { live, socket: None })
        });
        if let Some(socket) = &entrance.socket {
            socket.sessions.enter();
        }
        SessionGuard(entrance)
    }

    /// Has `waker` told when it is worth asking again. Whoever waits must ask once more after
    /// this, because a place may have been freed in between.
    pub fn wait(&self, waker: &Waker) {
        let mut waiting = self
            .live
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|w| !w.will_wake(waker));
        waiting.push(waker.clone());
    }
}
