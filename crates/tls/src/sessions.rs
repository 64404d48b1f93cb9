//! Sessions kept here for clients that have no tickets, counted as they are looked for.

use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static LOOKUPS: AtomicU64 = AtomicU64::new(0);
static MISSES: AtomicU64 = AtomicU64::new(0);

/// How often a session was looked for in this process, and how often in vain.
pub fn session_lookups() -> (u64, u64) {
    (LOOKUPS.load(Relaxed), MISSES.load(Relaxed))
}

/// The sessions of one listener.
#[derive(Debug)]
pub(crate) struct Sessions(Arc<ServerSessionMemoryCache>);

impl Sessions {
    /// Room for so many.
    pub(crate) fn new(most: usize) -> Sessions {
        Sessions(ServerSessionMemoryCache::new(most))
    }

    fn counted(found: Option<Vec<u8>>) -> Option<Vec<u8>> {
        LOOKUPS.fetch_add(1, Relaxed);
        if found.is_none() {
            MISSES.fetch_add(1, Relaxed);
        }
        found
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.0.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        Sessions::counted(self.0.get(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        Sessions::counted(self.0.take(key))
    }

    fn can_cache(&self) -> bool {
        true
    }
}
