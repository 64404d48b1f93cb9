//! One backend: its servers, who is next, and who waits.

use crate::counters::{Gauge, PerWorker, ProxyCounters};
use crate::queue::{Queue, Waiter};
use crate::ring::Ring;
use crate::server::Server;
use crate::wheel::Wheel;
use arc_swap::ArcSwap;
use model::{Balance, HashMethod, MarkedDown, Proxy};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Poll, Waker};

/// Who may be chosen now; replaced whole when a state or weight changes.
#[derive(Debug, Default)]
struct Active {
    wheel: Wheel,
    /// With `hash-type consistent`.
    ring: Option<Ring>,
    /// Indices of schedulable servers.
    members: Vec<u32>,
    total_weight: u64,
}

/// What a backend counts and limits: outlives a configuration.
#[derive(Debug)]
pub struct BackendLive {
    /// Sessions in it.
    pub sessions: Gauge,
    /// What the workers counted.
    pub counters: PerWorker<ProxyCounters>,
    /// Requests waiting.
    pub queued: Gauge,
    cursor: AtomicU64,
    queue: Queue,
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
    active: ArcSwap<Active>,
    live: Arc<BackendLive>,
    /// Servers by the cookie value that the configuration gives them.
    cookies: HashMap<Arc<str>, Vec<u32>>,
    /// Sessions in it at which servers with `minconn` reach their `maxconn`.
    fullconn: u64,
}

/// A key to schedule by.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickKey {
    /// The hash for the kinds of `balance` that have one; the random number for `random`.
    pub hash: Option<u32>,
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
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({}/{})", self.backend.name, self.server.name)
    }
}

impl Slot {
    /// The server.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

impl Slot {
    /// For a session that may be ended because of its server: where the configuration says so, and
    /// on backup servers.
    pub fn watch_cuts(&self, waker: &Waker) -> Option<crate::cut::Watch> {
        let settings = self.server.settings();
        let wanted = settings.on_marked_down.is_some() || settings.backup;
        wanted.then(|| self.server.cuts.watch(waker))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.server.sessions.leave();
        if self.backend.live.queue.len() > 0 {
            self.backend.serve_queue(&self.server);
        }
    }
}

/// A place in the queue. Dropping it leaves the queue.
pub struct Ticket {
    waiter: Arc<Waiter>,
    key: (i32, u64),
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
        }
        if !self.backend.live.queue.leave(self.key) {
            // Granted but not taken: the place goes on to the next.
            drop(self.waiter.take_unused());
        }
    }
}

impl Backend {
    /// A backend with these servers; `live` is what an earlier configuration left, or new.
    pub(crate) fn new(
        proxy: Arc<Proxy>,
        servers: Vec<Arc<Server>>,
        live: Option<Arc<BackendLive>>,
        workers: usize,
        fullconn: u64,
    ) -> Arc<Backend> {
        let live = live.unwrap_or_else(|| {
            Arc::new(BackendLive {
                sessions: Gauge::default(),
                counters: PerWorker::new(workers),
                queued: Gauge::default(),
                cursor: AtomicU64::new(0),
                queue: Queue::default(),
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
        let backend = Arc::new(Backend {
            cookies,
            fullconn,
            name: Arc::clone(&proxy.name),
            id: proxy.id,
            proxy,
            servers,
            active: ArcSwap::default(),
            live,
        });
        backend.refresh();
        backend
    }

    pub(crate) fn live(&self) -> &Arc<BackendLive> {
        &self.live
    }

    /// Sessions at which limits that grow have grown to the full.
    pub(crate) fn fullconn(&self) -> u64 {
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

    /// All servers in the order of the configuration.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// A server by name.
    pub fn server(&self, name: &str) -> Option<&Arc<Server>> {
        self.servers.iter().find(|s| &*s.name == name)
    }

    /// The value that names a server in the persistence cookie: its own, or with `dynamic` a hash
    /// of the key, its address and its port, the same on every balancer with that key.
    pub fn cookie_of(&self, server: &Server) -> Option<Arc<str>> {
        if let Some(value) = &server.settings().cookie {
            return Some(Arc::clone(value));
        }
        let side = self.side();
        let key = side.dynamic_cookie_key.as_ref()?;
        if !side.cookie.as_ref()?.dynamic {
            return None;
        }
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
        let dynamic = self.side().cookie.as_ref().is_some_and(|c| c.dynamic);
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

    /// Servers that the scheduler may choose now.
    pub fn usable(&self) -> usize {
        self.active.load().members.len()
    }

    /// Those servers in the order of their turns, one round of it: indices of [`Backend::servers`].
    pub fn turns(&self) -> Vec<u32> {
        let active = self.active.load();
        let round = active.wheel.len() as u64;
        (0..round).filter_map(|n| active.wheel.at(n)).collect()
    }

    /// The same servers in the order of the configuration.
    pub fn members(&self) -> Vec<u32> {
        self.active.load().members.clone()
    }

    /// The sum of their weights.
    pub fn total_weight(&self) -> u64 {
        self.active.load().total_weight
    }

    /// Recomputes who may be chosen. To be called after any change of a server's state or weight.
    pub fn refresh(self: &Arc<Self>) {
        self.end_sessions();
        let choose = |backup: bool| {
            let all = self.servers.iter().enumerate();
            let all = all.filter(|(_, s)| s.settings().backup == backup && s.schedulable());
            all.map(|(i, s)| (i as u32, s.share())).collect::<Vec<_>>()
        };
        let mut weights = choose(false);
        if weights.is_empty() {
            weights = choose(true);
            if !self.side().allbackups {
                weights.truncate(1);
            }
        }
        let turns = match self.side().balance {
            // These look at every member or at the first with room; turns only break ties.
            Balance::LeastConn | Balance::First => {
                weights.iter().map(|(i, _)| (*i, 1)).collect::<Vec<_>>()
            }
            _ => weights.clone(),
        };
        let consistent = self.side().hash_method == HashMethod::Consistent;
        let ring = consistent.then(|| {
            let id = |i: u32| self.servers.get(i as usize).map_or(0, |s| s.id);
            let weight = |share: u32| share.div_ceil(100);
            let servers: Vec<_> = weights
                .iter()
                .map(|(i, share)| (*i, id(*i), weight(*share)))
                .collect();
            Ring::new(&servers)
        });
        self.active.store(Arc::new(Active {
            ring,
            wheel: Wheel::new(&turns),
            members: weights.iter().map(|(i, _)| *i).collect(),
            total_weight: weights
                .iter()
                .filter_map(|(i, _)| self.servers.get(*i as usize))
                .map(|s| u64::from(s.weight()))
                .sum(),
        }));
        for server in &self.servers {
            if self.live.queue.len() == 0 {
                break;
            }
            while server.schedulable() && self.has_room(server) && self.serve_queue(server) {}
        }
    }

    /// Ends the sessions of servers that have just gone down, and of backup servers when one that is
    /// not has just come up, as far as the configuration wants it.
    fn end_sessions(&self) {
        let mut relieved = false;
        for server in &self.servers {
            let settings = server.settings();
            match server.turned() {
                Some(false) if settings.on_marked_down == Some(MarkedDown::ShutdownSessions) => {
                    server.cuts.cut();
                }
                Some(true) => relieved |= settings.shutdown_backup_sessions && !settings.backup,
                _ => {}
            }
        }
        if relieved {
            let backups = self.servers.iter().filter(|s| s.settings().backup);
            backups.for_each(|s| s.cuts.cut());
        }
    }

    /// The scheduler's choice. `avoid` is passed over while there is another.
    pub fn pick(self: &Arc<Self>, key: PickKey, avoid: Option<u32>) -> Pick {
        let active = self.active.load();
        if active.members.is_empty() {
            return Pick::None;
        }
        let chosen = match (&self.side().balance, key.hash) {
            (Balance::LeastConn, _) => self.least_connected(&active, avoid),
            (Balance::First, _) => self.first_with_room(&active, avoid),
            (Balance::Random { draws }, Some(random)) => {
                self.random(&active, random, *draws, avoid)
            }
            (Balance::RoundRobin | Balance::StaticRr | Balance::Random { .. }, _) | (_, None) => {
                return self.in_turn(&active, avoid);
            }
            (_, Some(hash)) => self.hashed(&active, hash, avoid),
        };
        match chosen {
            Some(server) => match self.reserve(&server) {
                // Where the choice is by load, a full choice means that all are full.
                Pick::Full(_) if self.by_load() => Pick::Full(None),
                pick => pick,
            },
            None if avoid.is_some() => self.pick(key, None),
            None => Pick::Full(None),
        }
    }

    fn by_load(&self) -> bool {
        matches!(
            self.side().balance,
            Balance::LeastConn | Balance::First | Balance::Random { .. }
        )
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
            Pick::Server(Slot {
                server: Arc::clone(server),
                backend: Arc::clone(self),
            })
        } else {
            Pick::Full(Some(Arc::clone(server)))
        }
    }

    fn in_turn(self: &Arc<Self>, active: &Active, avoid: Option<u32>) -> Pick {
        for _ in 0..active.wheel.len() {
            let turn = self.live.cursor.fetch_add(1, Relaxed);
            let Some(server) = active
                .wheel
                .at(turn)
                .and_then(|i| self.servers.get(i as usize))
            else {
                return Pick::None;
            };
            if avoid == Some(server.uid) && active.members.len() > 1 {
                continue;
            }
            if let pick @ Pick::Server(_) = self.reserve(server) {
                return pick;
            }
        }
        Pick::Full(None)
    }

    fn each<'a>(&'a self, active: &'a Active) -> impl Iterator<Item = &'a Arc<Server>> {
        active
            .members
            .iter()
            .filter_map(|i| self.servers.get(*i as usize))
    }

    fn least_connected(&self, active: &Active, avoid: Option<u32>) -> Option<Arc<Server>> {
        // Start at another member each time, so that equals take turns.
        let count = active.members.len();
        let start = self.live.cursor.fetch_add(1, Relaxed) as usize % count.max(1);
        let (tail, head) = active.members.split_at_checked(start)?;
        let load = |s: &Arc<Server>| {
            (s.sessions.now() + s.queued.now()) * 25_600 / u64::from(s.share().max(1))
        };
        head.iter()
            .chain(tail)
            .filter_map(|i| self.servers.get(*i as usize))
            .filter(|s| avoid != Some(s.uid) && self.has_room(s))
            .min_by_key(|s| load(s))
            .cloned()
    }

    fn first_with_room(&self, active: &Active, avoid: Option<u32>) -> Option<Arc<Server>> {
        self.each(active)
            .find(|s| avoid != Some(s.uid) && self.has_room(s))
            .cloned()
    }

    fn random(
        &self,
        active: &Active,
        random: u32,
        draws: u32,
        avoid: Option<u32>,
    ) -> Option<Arc<Server>> {
        let mut number = u64::from(random);
        let mut best: Option<&Arc<Server>> = None;
        for _ in 0..draws.max(1) {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let server = self.servers.get(active.wheel.at(number >> 32)? as usize)?;
            if avoid == Some(server.uid) {
                continue;
            }
            if best.is_none_or(|b| server.sessions.now() < b.sessions.now()) {
                best = Some(server);
            }
        }
        best.cloned()
    }

    fn hashed(&self, active: &Active, hash: u32, avoid: Option<u32>) -> Option<Arc<Server>> {
        if let Some(ring) = &active.ring {
            let mut servers = ring
                .from(hash)
                .filter_map(|i| self.servers.get(i as usize))
                .filter(|s| avoid != Some(s.uid));
            let first = servers.next()?;
            let mut all = std::iter::once(first).chain(servers);
            return all
                .find(|s| self.within_balance(active, s))
                .or(Some(first))
                .cloned();
        }
        let len = active.wheel.len() as u64;
        (0..len)
            .filter_map(|step| active.wheel.at(u64::from(hash) + step))
            .filter_map(|i| self.servers.get(i as usize))
            .find(|s| avoid != Some(s.uid))
            .cloned()
    }

    /// Whether one more session leaves the server within `hash-balance-factor` of its share.
    fn within_balance(&self, active: &Active, server: &Server) -> bool {
        let factor = u64::from(self.side().hash_balance.0);
        if factor == 0 {
            return true;
        }
        let all = self.live.sessions.now() + 1;
        let share = factor * all * u64::from(server.weight());
        server.sessions.now() < share.div_ceil(100 * active.total_weight.max(1))
    }

    /// Joins the queue for a server, or for any. Lower `priority` values go first.
    pub fn enqueue(self: &Arc<Self>, wanted: Option<&Arc<Server>>, priority: i32) -> Ticket {
        let waiter = Arc::new(Waiter::default());
        let uid = wanted.map(|s| s.uid);
        self.live.queued.enter();
        if let Some(server) = wanted {
            server.queued.enter();
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
            entered.then(|| Slot {
                server: Arc::clone(server),
                backend: Arc::clone(self),
            })
        })
    }
}
