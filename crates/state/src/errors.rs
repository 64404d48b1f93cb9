//! The last malformed request and response of each proxy, for `show errors`.

use rules::Wall;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// A message that could not be read.
#[derive(Clone, Debug)]
pub struct Captured {
    /// When it came.
    pub when: Wall,
    /// Its number among all captured, from 0.
    pub event: u64,
    /// Whether it was a response.
    pub response: bool,
    /// The proxy's number and name.
    pub proxy: (u32, Arc<str>),
    /// The other side of the proxy, where it is known: number and name.
    pub other: Option<(u32, Arc<str>)>,
    /// The server, where it is known: number and name.
    pub server: Option<(u32, Arc<str>)>,
    /// The client.
    pub source: Option<SocketAddr>,
    /// What was received.
    pub bytes: Vec<u8>,
    /// The offset of the byte that decided it.
    pub position: usize,
}

/// What is kept: one request and one response a proxy. Only malformed messages come here, so a
/// lock does no harm.
#[derive(Debug, Default)]
pub struct Errors {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    events: u64,
    last: HashMap<(Arc<str>, bool), Captured>,
}

impl Errors {
    /// Keeps a message in place of the last of its proxy and direction.
    pub fn put(&self, mut captured: Captured) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        captured.event = kept.events;
        kept.events += 1;
        let key = (Arc::clone(&captured.proxy.1), captured.response);
        kept.last.insert(key, captured);
    }

    /// How many there were, and the last ones in the order they came.
    pub fn list(&self) -> (u64, Vec<Captured>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Captured> = kept.last.values().cloned().collect();
        all.sort_by_key(|c| (c.proxy.0, c.response));
        (kept.events, all)
    }
}
