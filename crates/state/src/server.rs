//! One server: an identity that outlives configurations.

mod load;

use crate::counters::{Gauge, PerWorker, ServerCounters};
use crate::cut::Cuts;
use crate::eject::Outlier;
use crate::haste::Haste;
use crate::health::Health;
use crate::loads::Seat;
use crate::names::Given;
use crate::pace::Pace;
use arc_swap::{ArcSwap, ArcSwapOption};
use model::{Address, Host, PortSpec};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// TCP; see [`Target::socket`] for the port.
    Tcp {
        /// The address.
        ip: IpAddr,
        /// The port, which may depend on the client's.
        port: PortSpec,
    },
    /// A UNIX socket.
    Unix(Arc<str>),
    /// A socket of the abstract namespace.
    Abstract {
        /// Its name.
        name: Arc<str>,
        /// Whether the name is padded with NULs.
        padded: bool,
    },
}

impl Target {
    /// The target an address means; `None` while it has no IP address.
    pub fn of(address: &Address) -> Option<Target> {
        match address {
            Address::Inet { host, port, .. } => {
                let ip = match host {
                    Host::Ip(ip) => *ip,
                    Host::Any => IpAddr::from([0, 0, 0, 0]),
                    Host::Any6 => IpAddr::from([0u16; 8]),
                    Host::Name(_) => return None,
                };
                Some(Target::Tcp { ip, port: *port })
            }
            Address::Unix { path, .. } => Some(Target::Unix(Arc::clone(path))),
            Address::Abstract { name, padded } => Some(Target::Abstract {
                name: Arc::clone(name),
                padded: *padded,
            }),
            Address::Fd(_) => None,
        }
    }

    /// The socket address for a client that came to the address `client`: it gives what the
    /// server's leaves open, be it the IP address (`0.0.0.0`, `*`, `::`) or the port.
    pub fn socket(&self, client: Option<SocketAddr>) -> Option<SocketAddr> {
        let Target::Tcp { ip, port } = self else {
            return None;
        };
        let client_port = client.map(|c| c.port());
        let port = match port {
            PortSpec::Fixed(port) | PortSpec::Range(port, _) => *port,
            PortSpec::None => client_port?,
            PortSpec::Offset(offset) => {
                u16::try_from(i32::from(client_port?).checked_add(*offset)?).ok()?
            }
        };
        let ip = if ip.is_unspecified() {
            client.map_or(*ip, |c| c.ip())
        } else {
            *ip
        };
        Some(SocketAddr::new(ip, port))
    }

    /// Whether it is the same for every client.
    pub fn is_fixed(&self) -> bool {
        match self {
            Target::Tcp { ip, port } => {
                !ip.is_unspecified() && matches!(port, PortSpec::Fixed(_) | PortSpec::Range(..))
            }
            Target::Unix(_) | Target::Abstract { .. } => true,
        }
    }

    /// Where it leads a client that came to the address `client`.
    pub fn for_client(&self, client: Option<SocketAddr>) -> Option<Target> {
        let socket = self.socket(client)?;
        Some(Target::Tcp {
            ip: socket.ip(),
            port: PortSpec::Fixed(socket.port()),
        })
    }
}

/// Why an operator or the configuration keeps a server out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admin(pub u8);

impl Admin {
    /// Maintenance asked for at run time.
    pub const FORCED_MAINT: u8 = 1;
    /// The server it tracks is in maintenance.
    pub const INHERITED_MAINT: u8 = 1 << 1;
    /// `disabled` in the configuration.
    pub const CONFIGURED_MAINT: u8 = 1 << 2;
    /// Drain asked for at run time.
    pub const FORCED_DRAIN: u8 = 1 << 3;
    /// The server it tracks drains.
    pub const INHERITED_DRAIN: u8 = 1 << 4;
    /// Its name has no address.
    pub const UNRESOLVED: u8 = 1 << 5;

    /// Whether it is in maintenance.
    pub fn in_maintenance(self) -> bool {
        let maintenance = Admin::FORCED_MAINT | Admin::INHERITED_MAINT | Admin::CONFIGURED_MAINT;
        self.0 & (maintenance | Admin::UNRESOLVED) != 0
    }

    /// Whether it drains.
    pub fn draining(self) -> bool {
        self.0 & (Admin::FORCED_DRAIN | Admin::INHERITED_DRAIN) != 0
    }
}

/// One server.
#[derive(Debug)]
pub struct Server {
    /// Unique in the process, from 0: the index of per-worker pools.
    pub uid: u32,
    /// Its number in the backend.
    pub id: u32,
    /// Its name in the backend.
    pub name: Arc<str>,
    /// The backend's name.
    pub backend: Arc<str>,
    settings: ArcSwap<model::Server>,
    target: ArcSwapOption<Target>,
    /// The name that it was given while running, by a service or an operator.
    given: ArcSwapOption<Given>,
    /// Whether an operator moved it: what its name resolved to before counts no more.
    pinned: AtomicBool,
    weight: AtomicU32,
    maxconn: AtomicU32,
    admin: AtomicU8,
    up: AtomicBool,
    stopping: AtomicBool,
    /// Whether it was usable when the backend last looked.
    was_usable: AtomicBool,
    /// Percent of its weight that count, below 100 after a slow start.
    ramp: AtomicU8,
    /// Since when it starts slowly: 0 it does not, 1 the time is not known yet, else milliseconds + 2.
    rising: AtomicU64,
    /// Errors that traffic has met, since the last success.
    errors: AtomicU32,
    /// Whether its traffic fails.
    pub(crate) outlier: Outlier,
    /// The next check, brought forward.
    pub haste: Haste,
    /// Ends its sessions.
    pub cuts: Arc<Cuts>,
    /// Sessions on it.
    pub sessions: Gauge,
    /// Requests waiting for it alone.
    pub queued: Gauge,
    /// Connections to it, kept ones too, as far as they are bounded (`strict-maxconn`).
    pub connections: Gauge,
    /// Its checks.
    health: Mutex<Health>,
    /// Whether active checks run (`enable|disable health`).
    pub checks_enabled: AtomicBool,
    /// Whether its agent is asked (`enable|disable agent`).
    pub agent_enabled: AtomicBool,
    /// What the workers counted.
    pub counters: PerWorker<ServerCounters>,
    /// What is measured of it, for schedulers that look at that.
    pub(crate) pace: Pace,
    /// Its place among the loads that are compared, while it may be chosen by load.
    seat: ArcSwapOption<Seat>,
    /// What `seat`, `target` and `settings` say, for those who look at all servers at each change of one.
    seated: AtomicBool,
    has_target: AtomicBool,
    /// Whether an operator added it while running.
    pub added: AtomicBool,
    /// Held while the server is moved, by an operator or by what resolves its name.
    moving: Mutex<()>,
    backup: AtomicBool,
}

/// [`Admin::UNRESOLVED`] where a server starts with a name that has no address yet.
fn unresolved(settings: &model::Server) -> u8 {
    match Target::of(&settings.address) {
        None if settings.hostname.is_some() => Admin::UNRESOLVED,
        _ => 0,
    }
}

impl Server {
    /// A server as configured.
    pub fn new(uid: u32, backend: &Arc<str>, settings: &model::Server, workers: usize) -> Server {
        let health = Health::of(settings.check.as_deref());
        let mut admin = unresolved(settings);
        if settings.disabled {
            admin |= Admin::CONFIGURED_MAINT;
        }
        Server {
            uid,
            id: settings.id,
            name: Arc::clone(&settings.name),
            backend: Arc::clone(backend),
            target: ArcSwapOption::from(Target::of(&settings.address).map(Arc::new)),
            given: ArcSwapOption::empty(),
            pinned: AtomicBool::new(false),
            weight: AtomicU32::new(settings.weight.into()),
            maxconn: AtomicU32::new(settings.maxconn),
            admin: AtomicU8::new(admin),
            up: AtomicBool::new(health.is_up()),
            stopping: AtomicBool::new(false),
            was_usable: AtomicBool::new(true),
            ramp: AtomicU8::new(100),
            rising: AtomicU64::new(0),
            errors: AtomicU32::new(0),
            outlier: Outlier::default(),
            haste: Haste::default(),
            cuts: Arc::default(),
            sessions: Gauge::default(),
            queued: Gauge::default(),
            connections: Gauge::default(),
            health: Mutex::new(health),
            checks_enabled: AtomicBool::new(true),
            agent_enabled: AtomicBool::new(true),
            counters: PerWorker::new(workers),
            pace: Pace::default(),
            seat: ArcSwapOption::empty(),
            seated: AtomicBool::new(false),
            has_target: AtomicBool::new(Target::of(&settings.address).is_some()),
            added: AtomicBool::new(false),
            moving: Mutex::default(),
            backup: AtomicBool::new(settings.backup),
            settings: ArcSwap::from_pointee(settings.clone()),
        }
    }

    /// Takes new settings: weight and administrative state chosen at run time stay; a changed
    /// address starts its health anew, as does another kind of judge of it.
    pub fn reconfigure(&self, settings: &model::Server) {
        let old = self.settings.swap(Arc::new(settings.clone()));
        self.backup.store(settings.backup, Relaxed);
        if old.weight != settings.weight {
            self.weight.store(settings.weight.into(), Relaxed);
        }
        if old.maxconn != settings.maxconn {
            self.maxconn.store(settings.maxconn, Relaxed);
        }
        if old.disabled != settings.disabled {
            self.change_admin(Admin::CONFIGURED_MAINT, settings.disabled);
        }
        // An address that was resolved meanwhile is better than the one of the start.
        let follows = |s: &model::Server| (s.hostname.clone(), s.resolution.clone());
        let resolved = settings.resolution.is_some() && follows(&old) == follows(settings);
        if old.address != settings.address && !resolved {
            self.give(None);
            self.pin(false);
            self.change_admin(Admin::UNRESOLVED, unresolved(settings) != 0);
            self.put_target(Target::of(&settings.address));
            *self.health() = Health::of(settings.check.as_deref());
            self.pace.forget();
        }
        if settings.track.is_none() {
            self.change_admin(Admin::INHERITED_MAINT | Admin::INHERITED_DRAIN, false);
        }
        let judges = |s: &model::Server| (s.track.is_some(), s.check.is_some());
        match settings.check.as_deref() {
            // What nobody says any more holds no more.
            check if judges(&old) != judges(settings) => self.health().restart(check),
            Some(check) => self.health().retune(check),
            None => {}
        }
        if settings.agent.is_none() {
            self.health().drop_agent();
        }
        self.mirror_health();
    }

    /// The settings in force.
    pub fn settings(&self) -> arc_swap::Guard<Arc<model::Server>> {
        self.settings.load()
    }

    /// Changes settings at run time; the next configuration that is read has the last word.
    pub fn change_settings(&self, change: impl Fn(&mut model::Server)) {
        self.settings.rcu(|old| {
            let mut next = model::Server::clone(old);
            change(&mut next);
            next
        });
        self.backup.store(self.settings().backup, Relaxed);
    }

    /// Where it is; `None` while its name has no address.
    pub fn target(&self) -> Option<Arc<Target>> {
        self.target.load_full()
    }

    /// The name that it was given while running.
    pub fn given(&self) -> Option<Arc<Given>> {
        self.given.load_full()
    }

    /// Gives it a name, or takes it back.
    pub fn give(&self, name: Option<Given>) {
        self.given.store(name.map(Arc::new));
    }

    /// Whether an operator moved it by its address.
    pub fn is_pinned(&self) -> bool {
        self.pinned.load(Relaxed)
    }

    /// Notes that it was moved by an operator, or that its name has the word again.
    pub fn pin(&self, on: bool) {
        self.pinned.store(on, Relaxed);
    }

    /// Leaves it without an address.
    pub fn clear_target(&self) {
        self.put_target(None);
    }

    /// Moves it (`set server … addr`).
    pub fn set_target(&self, target: Target) {
        self.put_target(Some(target));
    }

    fn put_target(&self, target: Option<Target>) {
        let _alone = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_target.store(target.is_some(), Relaxed);
        self.target.store(target.map(Arc::new));
    }

    /// Whether it serves only when all others are out (`backup`).
    pub fn is_backup(&self) -> bool {
        self.backup.load(Relaxed)
    }

    /// The weight chosen by the configuration or at run time, 0 to 256.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// Changes the weight; the backend is to take note of it.
    pub fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Relaxed);
    }

    /// The most sessions at a time; 0 is no limit.
    pub fn maxconn(&self) -> u32 {
        self.maxconn.load(Relaxed)
    }

    /// Changes it (`set maxconn server`).
    pub fn set_maxconn(&self, maxconn: u32) {
        self.maxconn.store(maxconn, Relaxed);
        self.weigh();
    }

    /// What keeps it out.
    pub fn admin(&self) -> Admin {
        Admin(self.admin.load(Relaxed))
    }

    /// Sets or clears a flag of [`Admin`]; the backend is to take note of it.
    pub fn change_admin(&self, flag: u8, on: bool) {
        if on {
            self.admin.fetch_or(flag, Relaxed);
        } else {
            self.admin.fetch_and(!flag, Relaxed);
        }
    }

    /// The same at `now`, as an operator or the agent has it: maintenance counts as time down, and
    /// after it the server begins anew.
    pub fn administer(&self, flag: u8, on: bool, now: std::time::Instant) {
        let before = self.admin().in_maintenance();
        self.change_admin(flag, on);
        match (before, self.admin().in_maintenance()) {
            (false, true) => self.health().suspend(now),
            (true, false) => self.health().resume(now),
            _ => return,
        }
        self.mirror_health();
    }

    /// Ends maintenance and drain (`set server … state ready`).
    pub fn make_ready(&self, now: std::time::Instant) {
        for flag in [
            Admin::FORCED_MAINT,
            Admin::CONFIGURED_MAINT,
            Admin::FORCED_DRAIN,
        ] {
            self.administer(flag, false, now);
        }
    }

    /// Whether its agent is asked.
    pub fn has_agent(&self) -> bool {
        self.settings().agent.is_some() && self.agent_enabled.load(Relaxed)
    }

    /// Whether its health is checked.
    pub fn has_check(&self) -> bool {
        self.settings().check.is_some() && self.checks_enabled.load(Relaxed)
    }

    /// Whether its checks and its agent say that it is up.
    pub fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// Whether its checks say that it ends its work.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Its health, for whoever checks or shows it.
    pub fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies what the checks say to where the schedulers look.
    pub fn mirror_health(&self) {
        let health = self.health();
        self.up.store(health.is_up(), Relaxed);
        self.stopping.store(health.is_stopping(), Relaxed);
    }

    /// Whether it may get sessions that insist on it (persistence).
    pub fn usable(&self) -> bool {
        self.is_up() && !self.admin().in_maintenance() && self.has_target.load(Relaxed)
    }

    /// Whether the scheduler may choose it.
    pub fn schedulable(&self) -> bool {
        self.is_fit() && !self.is_ejected()
    }

    /// The same, but for being out.
    pub(crate) fn is_fit(&self) -> bool {
        self.usable() && !self.is_stopping() && !self.admin().draining() && self.weight() > 0
    }

    /// Begins slowly, where the configuration wants that.
    pub(crate) fn begin_slowly(&self) {
        if self.settings().slowstart.is_some() {
            self.ramp.store(1, Relaxed);
            self.rising.store(1, Relaxed);
        }
    }

    /// What counts of its weight when servers are chosen, in hundredths: less after a slow start.
    pub fn share(&self) -> u32 {
        self.weight() * u32::from(self.ramp.load(Relaxed))
    }

    /// The part of a limit that holds during a slow start.
    pub(crate) fn ramped(&self, limit: u32) -> u32 {
        match (limit, self.ramp.load(Relaxed)) {
            (0, _) | (_, 100..) => limit,
            (limit, ramp) => (u64::from(limit) * u64::from(ramp) / 100).max(1) as u32,
        }
    }

    /// Moves a slow start on to `now`, milliseconds of the process; true when the share changed.
    pub fn advance_start(&self, now: u64) -> bool {
        let whole = match self.settings().slowstart {
            Some(time) if self.rising.load(Relaxed) != 0 => time.as_millis().max(1) as u64,
            _ => return false,
        };
        let _ = self.rising.compare_exchange(1, now + 2, Relaxed, Relaxed);
        let since = self.rising.load(Relaxed).saturating_sub(2);
        let percent = (now.saturating_sub(since) * 100 / whole).clamp(1, 100) as u8;
        if percent == 100 {
            self.rising.store(0, Relaxed);
        }
        self.ramp.swap(percent, Relaxed) != percent
    }

    /// Takes what traffic met (`observe`); `Some` when errors in a row have reached `error-limit`.
    pub fn observed(&self, ok: bool) -> Option<model::OnError> {
        if ok {
            // Read first: on a good server nobody writes.
            if self.errors.load(Relaxed) != 0 {
                self.errors.store(0, Relaxed);
            }
            return None;
        }
        let settings = self.settings();
        if self.errors.fetch_add(1, Relaxed) + 1 < settings.error_limit {
            return None;
        }
        self.errors.store(0, Relaxed);
        Some(settings.on_error)
    }

    /// Notes whether it is usable now; `Some` when that has changed.
    pub(crate) fn turned(&self) -> Option<bool> {
        let usable = self.usable();
        if self.was_usable.swap(usable, Relaxed) == usable {
            return None;
        }
        let slow = usable && self.settings().slowstart.is_some();
        self.ramp.store(if slow { 1 } else { 100 }, Relaxed);
        self.rising.store(slow.into(), Relaxed);
        Some(usable)
    }

    /// Takes over the state of the server that it tracks; true when that changed something.
    pub fn follow(&self, tracked: &Server, now: std::time::Instant) -> bool {
        use crate::health::Change;
        let before = (self.is_up(), self.is_stopping(), self.admin());
        let change = match (tracked.is_up(), tracked.is_stopping()) {
            (false, _) => Change::Down,
            (true, true) => Change::Stopping,
            (true, false) => Change::Up,
        };
        // First: the end of maintenance begins its health anew, and the word of the tracked one is the last.
        self.administer(
            Admin::INHERITED_MAINT,
            tracked.admin().in_maintenance(),
            now,
        );
        self.change_admin(Admin::INHERITED_DRAIN, tracked.admin().draining());
        self.mirror_health();
        if (self.is_up(), self.is_stopping()) != (tracked.is_up(), tracked.is_stopping()) {
            self.health().force(change, now);
            self.mirror_health();
        }
        before != (self.is_up(), self.is_stopping(), self.admin())
    }

    /// Takes a place unless `limit` are taken; 0 is no limit.
    pub(crate) fn try_enter(&self, limit: u32) -> bool {
        match limit {
            0 => {
                self.sessions.enter();
                true
            }
            limit => self.sessions.try_enter(limit.into()),
        }
    }
}
