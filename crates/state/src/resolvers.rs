//! One `resolvers` section while it runs: what its name servers said, and the answers that
//! `do-resolve` may take again.

use model::Family;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What is counted of one name server (management.txt, `show resolvers`).
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct NameserverCounters {
    pub sent: AtomicU64,
    pub snd_error: AtomicU64,
    pub valid: AtomicU64,
    pub update: AtomicU64,
    pub cname: AtomicU64,
    pub cname_error: AtomicU64,
    pub any_err: AtomicU64,
    pub nx: AtomicU64,
    pub timeout: AtomicU64,
    pub refused: AtomicU64,
    pub other: AtomicU64,
    pub invalid: AtomicU64,
    pub too_big: AtomicU64,
    pub truncated: AtomicU64,
    pub outdated: AtomicU64,
}

impl NameserverCounters {
    /// All of them with their names, in the order in which they are shown.
    pub fn all(&self) -> [(&'static str, u64); 15] {
        [
            ("sent", &self.sent),
            ("snd_error", &self.snd_error),
            ("valid", &self.valid),
            ("update", &self.update),
            ("cname", &self.cname),
            ("cname_error", &self.cname_error),
            ("any_err", &self.any_err),
            ("nx", &self.nx),
            ("timeout", &self.timeout),
            ("refused", &self.refused),
            ("other", &self.other),
            ("invalid", &self.invalid),
            ("too_big", &self.too_big),
            ("truncated", &self.truncated),
            ("outdated", &self.outdated),
        ]
        .map(|(name, counter)| (name, counter.load(Relaxed)))
    }
}

type Remembered = HashMap<(Box<str>, Family), (IpAddr, Instant)>;

/// A section in force.
#[derive(Debug)]
pub struct Resolvers {
    /// As configured.
    pub settings: Arc<model::Resolvers>,
    /// By name server, in the order of the section.
    pub counters: Vec<NameserverCounters>,
    remembered: Mutex<Remembered>,
}

/// Names that are remembered at most: clients choose them.
const MOST: usize = 10_000;

impl Resolvers {
    /// A section about which nothing is known yet.
    pub fn new(settings: Arc<model::Resolvers>) -> Resolvers {
        let servers = settings.nameservers.iter();
        Resolvers {
            counters: servers.map(|_| NameserverCounters::default()).collect(),
            settings,
            remembered: Mutex::default(),
        }
    }

    /// The answer for a name that is not older than `hold valid`.
    pub fn recall(&self, name: &str, prefer: Family, now: Instant) -> Option<IpAddr> {
        let known = self.remembered.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        let (ip, at) = known.get(&(name.into(), prefer))?;
        let age = now.saturating_duration_since(*at);
        (age < self.settings.hold.valid).then_some(*ip)
    }

    /// Keeps an answer for later.
    pub fn remember(&self, name: &str, prefer: Family, ip: IpAddr, now: Instant) {
        let hold = self.settings.hold.valid;
        let known = self.remembered.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, (_, at)| now.saturating_duration_since(*at) < hold);
        }
        if known.len() < MOST {
            known.insert((name.into(), prefer), (ip, now));
        }
    }
}
