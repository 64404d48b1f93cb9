//! Requests that wait for a place on a server.
//!
//! Whoever waits is in the queue before it looks again for a free place, and whoever frees a
//! place looks into the queue afterwards: a place and a waiter cannot miss each other.

use crate::backend::Slot;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// One waiting request.
#[derive(Default)]
pub(crate) struct Waiter {
    state: Mutex<WaitState>,
}

#[derive(Default)]
struct WaitState {
    granted: Option<Slot>,
    waker: Option<Waker>,
}

impl Waiter {
    fn state(&self) -> MutexGuard<'_, WaitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place, if one was granted; otherwise `waker` is told when one is.
    pub(crate) fn take(&self, waker: &Waker) -> Option<Slot> {
        let mut state = self.state();
        let granted = state.granted.take();
        if granted.is_none() {
            state.waker = Some(waker.clone());
        }
        granted
    }

    pub(crate) fn grant(&self, slot: Slot) {
        let mut state = self.state();
        state.granted = Some(slot);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn take_unused(&self) -> Option<Slot> {
        self.state().granted.take()
    }
}

struct Entry {
    waiter: Arc<Waiter>,
    /// The one server it waits for; `None`: any.
    wanted: Option<u32>,
}

/// A request's rank in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Priority {
    /// Lower classes go first (`set-priority-class`).
    pub class: i32,
    /// Within a class, by how many milliseconds it counts as later than it is (`set-priority-offset`).
    pub offset: i32,
    /// When it joins, milliseconds of the process.
    pub now: u64,
}

/// Class, time as it counts, number of arrival.
pub(crate) type Rank = (i32, i64, u64);

/// The queue of one backend, in order of priority and arrival.
#[derive(Default)]
pub(crate) struct Queue {
    entries: Mutex<BTreeMap<Rank, Entry>>,
    len: AtomicUsize,
    arrivals: AtomicU64,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queue({})", self.len())
    }
}

impl Queue {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<Rank, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waiting requests.
    pub(crate) fn len(&self) -> usize {
        self.len.load(SeqCst)
    }

    /// Joins; returns the key to leave by, and how many stand before.
    pub(crate) fn join(
        &self,
        waiter: Arc<Waiter>,
        wanted: Option<u32>,
        priority: Priority,
    ) -> (Rank, usize) {
        let when = (priority.now as i64).saturating_add(priority.offset.into());
        let key = (priority.class, when, self.arrivals.fetch_add(1, SeqCst));
        let mut entries = self.entries();
        let before = entries.range(..key).count();
        entries.insert(key, Entry { waiter, wanted });
        self.len.store(entries.len(), SeqCst);
        (key, before)
    }

    /// Leaves; false when it was not there any more (a place has been granted).
    pub(crate) fn leave(&self, key: Rank) -> bool {
        let mut entries = self.entries();
        let was = entries.remove(&key).is_some();
        self.len.store(entries.len(), SeqCst);
        was
    }

    /// Takes out the first that waits for `server` or for any, if `reserve` gets it a place.
    pub(crate) fn serve(&self, server: u32, reserve: impl FnOnce() -> Option<Slot>) -> bool {
        let mut entries = self.entries();
        let first = entries
            .iter()
            .find(|(_, e)| e.wanted.is_none_or(|w| w == server))
            .map(|(key, _)| *key);
        let Some(key) = first else { return false };
        let Some(slot) = reserve() else { return false };
        let entry = entries.remove(&key);
        self.len.store(entries.len(), SeqCst);
        drop(entries);
        match entry {
            Some(entry) => {
                entry.waiter.grant(slot);
                true
            }
            None => false,
        }
    }
}
