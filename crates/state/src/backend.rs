//! One backend: its servers, who is next, and who waits.

use crate::counters::{Gauge, PerWorker, ProxyCounters};
use crate::queue::{Priority, Queue, Rank, Waiter};
use crate::server::Server;
use arc_swap::ArcSwap;
use census::Census;
use choose::Active;
use model::Proxy;
use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

mod census;
mod changes;
mod choose;
mod packets;

pub(crate) use census::Group;
pub use choose::PickKey;

/// Where the marks of [`Backend::check_mark`] begin.
const CHECK_MARKS: u32 = 0x4d00_0000;

/// What a backend counts and limits: outlives a configuration.
#[derive(Debug)]
pub struct BackendLive {
    /// Sessions in it.
    pub sessions: Gauge,
    /// Places taken on its servers, which is counted where `hash-balance-factor` wants to know it.
    placed: Gauge,
    /// What the workers counted.
    pub counters: PerWorker<ProxyCounters>,
    /// Requests waiting.
    pub queued: Gauge,
    cursor: AtomicU64,
    /// The server that `balance sticky` stays with, by its uid and one; 0 is none yet.
    sticky: AtomicU32,
    queue: Queue,
    turns: Mutex<Turns>,
    /// Where an operator has changed computed cookies: whether there are any, and their secret.
    cookies: Mutex<CookieOrders>,
    /// Whether rules lead here: as configured (0), or as an operator said ([`PUBLISHED`], [`HIDDEN`]).
    published: AtomicU8,
    /// Whether a backup server was given a session since their sessions were last ended.
    on_backup: AtomicBool,
}

const PUBLISHED: u8 = 1;
const HIDDEN: u8 = 2;

/// When a backend was able to serve, and when not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// Whether no server can be chosen.
    pub down: bool,
    /// When that changed; `None` is never.
    pub changed: Option<Instant>,
    /// How long it was so, up to the last change.
    pub downtime: Duration,
    /// How often it went down.
    pub went_down: u64,
}

/// What an operator wants of cookies with computed values; `None` is as configured.
#[derive(Clone, Debug, Default)]
struct CookieOrders {
    computed: Option<bool>,
    key: Option<Arc<str>>,
}

/// One backend of one configuration.
#[derive(Debug)]
pub struct Backend {
    /// Its name.
    pub name: Arc<str>,
    /// Its number.
    pub id: u32,
    proxy: Arc<Proxy>,
    servers: Vec<Arc<Server>>,
    direct: Option<Arc<Server>>,
    active: ArcSwap<Active>,
    /// Changes since `active` was made, and choices since the first of them.
    behind: AtomicU32,
    /// Who could be chosen; held by who makes `active`, so that no older one replaces a newer one.
    census: Mutex<Census>,
    /// Places in `servers` by the servers' uids, in their order.
    places: Box<[(u32, u32)]>,
    /// Places in `servers`, in the order of the servers' names.
    names: Box<[u32]>,
    live: Arc<BackendLive>,
    /// Servers by the cookie value that the configuration gives them.
    cookies: HashMap<Arc<str>, Vec<u32>>,
    /// Sessions in it at which servers with `minconn` reach their `maxconn`.
    fullconn: u64,
    resolves_names: bool,
}

/// Who panicked while holding it left numbers that still count.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the scheduler says.
#[derive(Debug)]
pub enum Pick {
    /// A place on a server.
    Server(Slot),
    /// All places are taken: on this server, or on all.
    Full(Option<Arc<Server>>),
    /// Nobody may be chosen.
    None,
}

/// A place on a server. Dropping it frees the place and hands it to whoever waits.
pub struct Slot {
    server: Arc<Server>,
    backend: Arc<Backend>,
    /// How often sessions on the server had been ended.
    cuts: u32,
    /// Bytes that were counted before they came.
    ahead: Cell<u32>,
    /// Bytes that came.
    moved: Cell<u64>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({}/{})", self.backend.name, self.server.name)
    }
}

impl Slot {
    /// The place that `server` has just been entered for.
    fn new(server: &Arc<Server>, backend: &Arc<Backend>) -> Slot {
        server.weigh();
        // Whether it is asked for or not now: a reload may turn `hash-balance-factor` on.
        backend.live.placed.enter();
        // Before it is known that somebody is there, so that no end of sessions comes in between.
        let cuts = server.cuts.times();
        if server.is_backup() {
            backend.live.on_backup.store(true, Relaxed);
        }
        Slot {
            server: Arc::clone(server),
            backend: Arc::clone(backend),
            cuts,
            ahead: Cell::new(0),
            moved: Cell::new(0),
        }
    }

    /// The server.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Its answer has begun, `took` after it was asked; `now` is in milliseconds of the process.
    pub fn answered(&self, took: Duration, now: u64) {
        self.server.answered(took, now);
    }

    /// It did not answer.
    pub fn failed(&self, now: u64) {
        self.server.failed(now);
    }

    /// So many more bytes have passed, in either direction.
    pub fn passed(&self, more: u64, now: u64) {
        self.carried(self.moved.get() + more, now);
    }

    /// So many bytes have passed in all, in both directions together.
    pub fn carried(&self, all: u64, now: u64) {
        let bytes = all.saturating_sub(self.moved.replace(all));
        if bytes == 0 {
            return;
        }
        let ahead = self.ahead.get();
        let known = bytes.min(u64::from(ahead));
        self.ahead.set(ahead - known as u32);
        self.server.moved(bytes - known, now);
    }

    /// For a session that may be ended because of its server, from when it took this place on: where the
    /// configuration says so, and on backup servers.
    pub fn watch_cuts(&self, waker: &Waker) -> Option<crate::cut::Watch> {
        let settings = self.server.settings();
        let wanted = settings.on_marked_down.is_some() || settings.backup;
        wanted.then(|| self.server.cuts.watch(waker, self.cuts))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.server.sessions.leave();
        self.backend.live.placed.leave();
        self.server
            .left(u64::from(self.ahead.get()), self.moved.get());
        if self.backend.live.queue.len() > 0 {
            self.backend.serve_queue(&self.server);
        }
    }
}

/// A place in the queue. Dropping it leaves the queue.
pub struct Ticket {
    waiter: Arc<Waiter>,
    key: Rank,
    position: usize,
    wanted: Option<Arc<Server>>,
    backend: Arc<Backend>,
}

impl Ticket {
    /// How many stood before it when it joined.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Ready with a place; otherwise `waker` is told.
    pub fn poll(&mut self, waker: &Waker) -> Poll<Slot> {
        match self.waiter.take(waker) {
            Some(slot) => Poll::Ready(slot),
            None => Poll::Pending,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.backend.live.queued.leave();
        if let Some(server) = &self.wanted {
            server.queued.leave();
            server.weigh();
        }
        if !self.backend.live.queue.leave(self.key) {
            // Granted but not taken: the place goes on to the next.
            drop(self.waiter.take_unused());
        }
    }
}

impl Backend {
    /// Whether rules of frontends lead here (`be-unpublished`, `publish backend`).
    pub fn is_published(&self) -> bool {
        match self.live.published.load(Relaxed) {
            0 => !self.side().unpublished,
            said => said == PUBLISHED,
        }
    }

    /// Lets rules lead here from now on, also by other configurations, or no more.
    pub fn publish(&self, on: bool) {
        let said = if on { PUBLISHED } else { HIDDEN };
        self.live.published.store(said, Relaxed);
    }

    /// A backend with these servers; `live` is what an earlier configuration left, or new.
    pub(crate) fn new(
        proxy: Arc<Proxy>,
        servers: Vec<Arc<Server>>,
        direct: Option<Arc<Server>>,
        live: Option<Arc<BackendLive>>,
        workers: usize,
        fullconn: u64,
    ) -> Arc<Backend> {
        let live = live.unwrap_or_else(|| {
            Arc::new(BackendLive {
                sessions: Gauge::default(),
                placed: Gauge::default(),
                counters: PerWorker::new(workers),
                queued: Gauge::default(),
                cursor: AtomicU64::new(0),
                sticky: AtomicU32::new(0),
                queue: Queue::default(),
                turns: Mutex::default(),
                cookies: Mutex::default(),
                published: AtomicU8::default(),
                on_backup: AtomicBool::default(),
            })
        });
        let mut cookies: HashMap<Arc<str>, Vec<u32>> = HashMap::new();
        if proxy.backend.as_ref().is_some_and(|b| b.cookie.is_some()) {
            for (i, server) in servers.iter().enumerate() {
                if let Some(value) = &server.settings().cookie {
                    cookies.entry(Arc::clone(value)).or_default().push(i as u32);
                }
            }
        }
        let mut settings = servers.iter().map(|s| s.settings());
        let resolves_names = settings.any(|s| s.resolution.is_some());
        drop(settings);
        let mut places: Box<[(u32, u32)]> =
            (0..).zip(&servers).map(|(at, s)| (s.uid, at)).collect();
        places.sort_unstable();
        let mut by_name: Vec<(&str, u32)> = servers.iter().map(|s| &*s.name).zip(0..).collect();
        by_name.sort_unstable();
        let names = by_name.into_iter().map(|(_, at)| at).collect();
        // Who was none before this configuration may be a backup server with sessions.
        live.on_backup.store(true, Relaxed);
        let backend = Arc::new(Backend {
            resolves_names,
            cookies,
            fullconn,
            name: Arc::clone(&proxy.name),
            id: proxy.id,
            proxy,
            servers,
            direct,
            active: ArcSwap::default(),
            behind: AtomicU32::new(0),
            census: Mutex::default(),
            places,
            names,
            live,
        });
        backend.refresh();
        backend
    }

    pub(crate) fn live(&self) -> &Arc<BackendLive> {
        &self.live
    }

    /// Sessions at which limits that grow have grown to the full.
    pub fn fullconn(&self) -> u64 {
        self.fullconn
    }

    /// The proxy's settings.
    pub fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    /// The settings of its server side.
    pub fn side(&self) -> &model::Backend {
        static NONE: std::sync::LazyLock<model::Backend> =
            std::sync::LazyLock::new(model::Backend::default);
        self.proxy.backend.as_deref().unwrap_or(&NONE)
    }

    /// The mark of what checks a server by an address beyond it: `forward route`, where what is checked is
    /// whether a firewall lets packets through. The packet plane leads what has the mark there.
    pub fn check_mark(&self, server: &Server) -> Option<u32> {
        let through = self.proxy.mode == model::Mode::Packet
            && self.side().packets.forward == model::Forward::Route
            && server.settings().check.as_ref()?.addr.is_some();
        through.then_some(CHECK_MARKS | (server.uid & 0x00ff_ffff))
    }

    /// All servers in the order of the configuration.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// Whether some of its servers' names are resolved while it runs.
    pub fn resolves_names(&self) -> bool {
        self.resolves_names
    }

    /// Where all sessions go instead of to a server (`dispatch`, `option transparent`).
    pub fn direct(&self) -> Option<&Arc<Server>> {
        self.direct.as_ref()
    }

    /// A server by name.
    pub fn server(&self, name: &str) -> Option<&Arc<Server>> {
        let at = |place: &u32| self.servers.get(*place as usize);
        let order = |place: &u32| at(place).map_or(Ordering::Less, |s| (*s.name).cmp(name));
        let found = self.names.binary_search_by(order);
        at(self.names.get(found.ok()?)?)
    }

    /// The value that names a server in the persistence cookie: its own, or with `dynamic` a hash
    /// of the key, its address and its port, the same on every balancer with that key.
    pub fn cookie_of(&self, server: &Server) -> Option<Arc<str>> {
        if let Some(value) = &server.settings().cookie {
            return Some(Arc::clone(value));
        }
        let key = self.cookie_key()?;
        let addr = server.target()?.socket(None)?;
        let mut bytes = key.as_bytes().to_vec();
        match addr.ip() {
            std::net::IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
            std::net::IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
        }
        bytes.extend_from_slice(&u32::from(addr.port()).to_be_bytes());
        Some(format!("{:016x}", crate::hash::xxh64(&bytes)).into())
    }

    /// The servers that a value of the persistence cookie names, in order.
    pub fn by_cookie<'a>(&'a self, value: &'a [u8]) -> impl Iterator<Item = &'a Arc<Server>> {
        let dynamic = self.side().cookie.is_some() && self.cookie_key().is_some();
        let fixed = std::str::from_utf8(value)
            .ok()
            .and_then(|v| self.cookies.get(v));
        let fixed = fixed.into_iter().flatten();
        let computed = self.servers.iter().filter(move |s| {
            dynamic
                && s.settings().cookie.is_none()
                && self.cookie_of(s).is_some_and(|c| c.as_bytes() == value)
        });
        fixed
            .filter_map(|i| self.servers.get(*i as usize))
            .chain(computed)
    }

    /// What the workers counted.
    pub fn counters(&self) -> &PerWorker<ProxyCounters> {
        &self.live.counters
    }

    /// Sessions in it.
    pub fn sessions(&self) -> &Gauge {
        &self.live.sessions
    }

    /// Requests waiting, those for one server included.
    pub fn queued(&self) -> &Gauge {
        &self.live.queued
    }

    /// Has servers without a cookie of their own known by a computed one, or not
    /// (`enable dynamic-cookie`).
    pub fn compute_cookies(&self, on: bool) {
        lock(&self.live.cookies).computed = Some(on);
    }

    /// Sets the secret in computed cookies (`set dynamic-cookie-key`).
    pub fn set_cookie_key(&self, key: &str) {
        lock(&self.live.cookies).key = Some(key.into());
    }

    /// The secret in computed cookies, where servers have such.
    fn cookie_key(&self) -> Option<Arc<str>> {
        let side = self.side();
        let orders = lock(&self.live.cookies);
        let configured = side.cookie.as_ref()?.dynamic;
        if !orders.computed.unwrap_or(configured) {
            return None;
        }
        let key = orders.key.as_ref().or(side.dynamic_cookie_key.as_ref());
        key.map(Arc::clone)
    }

    /// The most sessions `server` may have now; 0 is no limit. With `minconn` it grows from that to
    /// `maxconn` as the backend fills.
    fn limit(&self, server: &Server) -> u32 {
        let most = server.ramped(server.maxconn());
        if most == 0 {
            return 0;
        }
        let least = server.settings().minconn;
        if least == 0 || least >= most {
            return most;
        }
        let share = u64::from(most) * self.live.sessions.now() / self.fullconn.max(1);
        u32::try_from(share).unwrap_or(most).clamp(least, most)
    }

    /// Whether a place is free now.
    fn has_room(&self, server: &Server) -> bool {
        let limit = self.limit(server);
        limit == 0 || server.sessions.now() < u64::from(limit)
    }

    /// A place on this very server.
    pub fn reserve(self: &Arc<Self>, server: &Arc<Server>) -> Pick {
        // Nobody overtakes the queue: a place that is free now belongs to whoever waits.
        if self.live.queue.len() > 0 && server.maxconn() > 0 && self.has_room(server) {
            while self.has_room(server) && self.serve_queue(server) {}
        }
        if server.try_enter(self.limit(server)) {
            Pick::Server(Slot::new(server, self))
        } else {
            Pick::Full(Some(Arc::clone(server)))
        }
    }

    /// Joins the queue for a server, or for any.
    pub fn enqueue(self: &Arc<Self>, wanted: Option<&Arc<Server>>, priority: Priority) -> Ticket {
        let waiter = Arc::new(Waiter::default());
        let uid = wanted.map(|s| s.uid);
        self.live.queued.enter();
        if let Some(server) = wanted {
            server.queued.enter();
            server.weigh();
        }
        let (key, position) = self.live.queue.join(Arc::clone(&waiter), uid, priority);
        let ticket = Ticket {
            waiter,
            key,
            position,
            wanted: wanted.cloned(),
            backend: Arc::clone(self),
        };
        // A place may have been freed between the refusal and the joining.
        let candidates = self
            .servers
            .iter()
            .filter(|s| uid.is_none_or(|uid| uid == s.uid));
        for server in candidates {
            if server.schedulable() && self.has_room(server) {
                self.serve_queue(server);
            }
        }
        ticket
    }

    /// Gives a free place of `server` to the first who may have it.
    fn serve_queue(self: &Arc<Self>, server: &Arc<Server>) -> bool {
        if !server.usable() {
            return false;
        }
        self.live.queue.serve(server.uid, || {
            let entered = server.try_enter(self.limit(server));
            entered.then(|| Slot::new(server, self))
        })
    }
}
