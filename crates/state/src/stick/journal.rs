//! Which entries of a table changed, in order, for those who tell peers of it.
//!
//! An entry stands here once, by the number of its last change, which the entry itself has too. One
//! that changed again before anybody took its change keeps its number: what changes all the time
//! costs a comparison. Who takes a change reads the entry afterwards, so that a change that comes
//! between is either read with it or noted anew.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The changes of one table. The lock is taken with that of a part held, never the other way.
#[derive(Debug, Default)]
pub(super) struct Journal {
    noted: Mutex<Noted>,
    /// The last change that anybody took.
    taken: AtomicU64,
}

#[derive(Debug, Default)]
struct Noted {
    last: u64,
    changes: BTreeMap<u64, (Box<[u8]>, Whose)>,
    waiting: Vec<Waker>,
}

/// Who changed an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This process.
    Ours,
    /// A peer, who tells the others itself.
    Theirs,
}

/// Some changes in order.
#[derive(Debug, Default)]
pub struct Changes {
    /// Each with its number and the entry's key.
    pub entries: Vec<(u64, Box<[u8]>)>,
    /// Up to which number changes were looked at.
    pub upto: u64,
}

/// What an entry keeps of its last change; 0 where it never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(pub u64);

impl Stamp {
    const OURS: u64 = 1;
    const MET: u64 = 2;

    fn new(number: u64, whose: Whose) -> Stamp {
        let ours = match whose {
            Whose::Ours => Self::OURS,
            Whose::Theirs => 0,
        };
        Stamp(number << 2 | ours)
    }

    fn number(self) -> u64 {
        self.0 >> 2
    }

    fn is_ours(self) -> bool {
        self.0 & Self::OURS != 0
    }

    /// Whether what a peer says crosses the change that this is of: it is one of this process, after the
    /// last that the peer knows, or, where it is never told of any (`None`), one that has met nothing yet.
    pub fn crosses(self, known: Option<u64>) -> bool {
        let unknown = known.map_or(self.0 & Self::MET == 0, |known| self.number() > known);
        self.is_ours() && unknown
    }

    /// The same change, after what a peer said that is never told of it.
    pub fn met(self) -> Stamp {
        Stamp(self.0 | Self::MET)
    }

    /// The same change, after another one that it stands for as well.
    fn again(self) -> Stamp {
        Stamp(self.0 & !Self::MET)
    }
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an entry changed; its part is locked. Returns what it is to keep of it.
    pub fn note(&self, key: &[u8], before: Stamp, whose: Whose) -> Stamp {
        let waits = before.is_ours() && before.number() > self.taken.load(Relaxed);
        if waits && whose == Whose::Ours {
            return before.again();
        }
        let mut noted = self.lock();
        noted.changes.remove(&before.number());
        noted.last += 1;
        let number = noted.last;
        noted.changes.insert(number, (key.into(), whose));
        if whose == Whose::Ours {
            noted.waiting.drain(..).for_each(Waker::wake);
        }
        Stamp::new(number, whose)
    }

    /// The entry is no more.
    pub fn forget(&self, stamp: Stamp) {
        if stamp.number() > 0 {
            self.lock().changes.remove(&stamp.number());
        }
    }

    /// Looks at changes after a number, `most` of them, and gives those of this process, or all.
    pub fn take(&self, after: u64, most: usize, all: bool) -> Changes {
        let noted = self.lock();
        let mut found = Changes {
            entries: Vec::new(),
            upto: after,
        };
        let later = noted.changes.range(after.saturating_add(1)..);
        let mut looked = 0;
        for (number, (key, whose)) in later.take(most) {
            looked += 1;
            found.upto = *number;
            if all || *whose == Whose::Ours {
                found.entries.push((*number, key.clone()));
            }
        }
        if looked < most {
            found.upto = noted.last.max(after);
        }
        self.taken.fetch_max(found.upto, Relaxed);
        found
    }

    /// The last change.
    pub fn last(&self) -> u64 {
        self.lock().last
    }

    /// Wakes somebody at the next change of ours after a number; `false` where it was already.
    pub fn wait(&self, after: u64, waker: &Waker) -> bool {
        let mut noted = self.lock();
        if noted.last > after {
            return false;
        }
        if !noted.waiting.iter().any(|w| w.will_wake(waker)) {
            noted.waiting.push(waker.clone());
        }
        true
    }
}
