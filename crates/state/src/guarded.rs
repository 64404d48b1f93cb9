//! What the guards of packet frontends did, for whoever shows it.

use std::sync::{Arc, Mutex, PoisonError};

/// A frontend and what its guard did: reasons and how many packets.
pub type GuardCounts = (Arc<str>, Vec<(&'static str, u64)>);

/// The counts of all guards, written by the packet plane once a second.
#[derive(Debug, Default)]
pub struct Guarded {
    counts: Mutex<Vec<GuardCounts>>,
}

impl Guarded {
    /// Replaces them.
    pub fn set(&self, counts: Vec<GuardCounts>) {
        // A whole value is written, so that what a panicking holder left is one.
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// As they were last written.
    pub fn counts(&self) -> Vec<GuardCounts> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone()
    }
}
