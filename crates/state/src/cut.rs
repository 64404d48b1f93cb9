//! Ending the sessions of a server that went down (`on-marked-down shutdown-sessions`) or that is no
//! longer needed (`on-marked-up shutdown-backup-sessions`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Tells the sessions of one server.
#[derive(Debug, Default)]
pub struct Cuts {
    /// How often sessions have been ended.
    count: AtomicU32,
    next: AtomicU64,
    watching: Mutex<BTreeMap<u64, Waker>>,
}

impl Cuts {
    fn watching(&self) -> MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the sessions there are now.
    pub fn cut(&self) {
        self.count.fetch_add(1, SeqCst);
        // Woken, they look at the count.
        for waker in std::mem::take(&mut *self.watching()).into_values() {
            waker.wake();
        }
    }

    /// How often sessions were ended.
    pub fn times(&self) -> u32 {
        self.count.load(SeqCst)
    }

    /// A session that wants to be told, which began when sessions had been ended `begun` times.
    pub fn watch(self: &Arc<Self>, waker: &Waker, begun: u32) -> Watch {
        let id = self.next.fetch_add(1, SeqCst);
        self.watching().insert(id, waker.clone());
        Watch {
            cuts: Arc::clone(self),
            id,
            begun,
        }
    }
}

/// One session's interest; dropping it ends that.
#[derive(Debug)]
pub struct Watch {
    cuts: Arc<Cuts>,
    id: u64,
    begun: u32,
}

impl Watch {
    /// Whether the session is to end.
    pub fn is_cut(&self) -> bool {
        self.cuts.count.load(SeqCst) != self.begun
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.cuts.watching().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_before_are_cut_and_those_of_after_are_not() {
        let cuts = Arc::new(Cuts::default());
        let before = cuts.watch(Waker::noop(), 0);
        let gone = cuts.watch(Waker::noop(), 0);
        drop(gone);
        assert_eq!(cuts.watching().len(), 1);
        cuts.cut();
        let after = cuts.watch(Waker::noop(), cuts.times());
        assert!(before.is_cut() && !after.is_cut());
        let told_late = cuts.watch(Waker::noop(), 0);
        assert!(told_late.is_cut());
    }
}
