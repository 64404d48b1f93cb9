//! Sessions that clients may take up again, as long as that is allowed (`tune.ssl.lifetime`): in
//! tickets that clients keep, or kept here, where they are counted as they are looked for.

use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static LOOKUPS: AtomicU64 = AtomicU64::new(0);
static MISSES: AtomicU64 = AtomicU64::new(0);

/// How often a session was looked for in this process, and how often in vain.
pub fn session_lookups() -> (u64, u64) {
    (LOOKUPS.load(Relaxed), MISSES.load(Relaxed))
}

/// Seconds by which the clock of another machine of a farm may be ahead.
const AHEAD: i64 = 60;

/// A session with the time at which it was made, Unix seconds, before it.
fn dated(session: &[u8], now: i64) -> Vec<u8> {
    let mut dated = now.to_be_bytes().to_vec();
    dated.extend_from_slice(session);
    dated
}

/// A dated session that is at most so many seconds old.
fn young(dated: &[u8], lifetime: u32, now: i64) -> Option<Vec<u8>> {
    let (made, session) = dated.split_first_chunk::<8>()?;
    let age = now.saturating_sub(i64::from_be_bytes(*made));
    (-AHEAD..=i64::from(lifetime))
        .contains(&age)
        .then(|| session.to_vec())
}

/// Tickets that count for a time.
#[derive(Debug)]
pub(crate) struct Aging {
    tickets: Arc<dyn ProducesTickets>,
    /// Seconds.
    lifetime: u32,
}

impl Aging {
    /// Those that `tickets` makes, good for so many seconds.
    pub(crate) fn tickets(
        tickets: Arc<dyn ProducesTickets>,
        lifetime: u32,
    ) -> Arc<dyn ProducesTickets> {
        Arc::new(Aging { tickets, lifetime })
    }
}

impl ProducesTickets for Aging {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    /// A client is told of no more than a week (RFC 8446 §4.6.1).
    fn lifetime(&self) -> u32 {
        self.lifetime.min(604_800)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.encrypt(&dated(plain, crate::now()))
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        young(&self.tickets.decrypt(cipher)?, self.lifetime, crate::now())
    }
}

/// The sessions of one listener.
#[derive(Debug)]
pub(crate) struct Sessions {
    kept: Arc<ServerSessionMemoryCache>,
    /// Seconds.
    lifetime: u32,
}

impl Sessions {
    /// Room for so many, each good for so many seconds.
    pub(crate) fn new(most: usize, lifetime: u32) -> Sessions {
        Sessions {
            kept: ServerSessionMemoryCache::new(most),
            lifetime,
        }
    }

    fn counted(&self, found: Option<Vec<u8>>) -> Option<Vec<u8>> {
        LOOKUPS.fetch_add(1, Relaxed);
        let found = found.and_then(|dated| young(&dated, self.lifetime, crate::now()));
        if found.is_none() {
            MISSES.fetch_add(1, Relaxed);
        }
        found
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.kept.put(key, dated(&value, crate::now()))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.counted(self.kept.get(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.counted(self.kept.take(key))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_counts_for_its_lifetime_and_no_longer() {
        let made = dated(b"state", 1000);
        for (now, counts) in [
            (1000, true),
            (1300, true),
            (1301, false),
            (940, true),
            (939, false),
            (i64::MIN, false),
        ] {
            let wanted = counts.then(|| b"state".to_vec());
            assert_eq!(young(&made, 300, now), wanted, "{now}");
        }
        assert_eq!(young(b"short", 300, 0), None);
    }
}
