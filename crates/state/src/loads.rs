//! Who is least loaded: a tree of which each node is the least of its eight children, the servers'
//! loads at the bottom. A change goes up as far as it makes a difference, a choice goes down once: some
//! dozens of loads from memory for thousands of servers, and nobody locks.
//!
//! What is read may be a few choices of other workers old. A choice then falls on a server that was
//! least loaded a moment ago; limits hold in any case, because a place is taken by the server's own
//! counter. Whatever went stale is put right by the sweep, which looks at one more server at each choice.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

/// What makes a server's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Its place in the order, as long as it has room (`first`).
    Order,
    /// Sessions, and requests that wait for it (`leastconn`).
    Connections,
    /// Sessions times the time of its answers (`response-time`).
    ResponseTime,
    /// The time of its answers alone (`fastest`).
    Fastest,
    /// Bytes a second, both directions (`bandwidth`).
    Bandwidth,
}

/// The loads of the servers that may be chosen, by their place among them.
#[derive(Debug)]
pub(crate) struct Loads {
    /// What is compared.
    pub measure: Measure,
    /// The levels of the tree from the servers up. A key has the load above and the turns taken
    /// below: of equal loads whoever had least turns for its weight is less.
    levels: Vec<Box<[AtomicU64]>>,
    /// Turns taken, in units in which a turn of the heaviest server is `TURN`.
    spent: Box<[AtomicU64]>,
    turns: Box<[u64]>,
    /// The turns of whoever was chosen last: nobody falls behind it and then catches up in a burst.
    clock: AtomicU64,
    sweep: AtomicUsize,
    /// What is usual: the time of an answer in octaves, or bytes of a request; 0 is not known.
    usual: AtomicU64,
    /// What that has been learnt from, while it is little.
    learnt: AtomicU64,
}

/// The place of a server among loads.
#[derive(Debug)]
pub(crate) struct Seat {
    pub loads: Arc<Loads>,
    pub at: usize,
    /// How many times its weight the heaviest server's is.
    pub lighter: f64,
}

/// Children of a node: their keys fill a line of the processor's cache.
const CHILDREN: usize = 8;
/// Bits of a key that count turns.
const TURN_BITS: u32 = 40;
/// A turn of the heaviest server.
const TURN: u64 = 1 << 10;
/// The key of a server without room.
const FULL: u64 = u64::MAX;
/// The largest load.
const MOST: u32 = (1 << (64 - TURN_BITS)) - 2;

/// `log2(n)` in 65,536ths; 0 for what is less than 1.
pub(crate) fn octaves(n: f64) -> u32 {
    (n.max(1.0).log2() * 65_536.0) as u32
}

impl Loads {
    /// For servers of these shares, in order; all without load.
    pub(crate) fn new(measure: Measure, shares: &[u32]) -> Loads {
        let heaviest = u64::from(shares.iter().copied().max().unwrap_or(1).max(1));
        let turn = |share: &u32| TURN * heaviest / u64::from((*share).max(1));
        let mut levels = Vec::new();
        let mut width = shares.len();
        loop {
            levels.push((0..width).map(|_| AtomicU64::new(0)).collect());
            if width <= CHILDREN {
                break;
            }
            width = width.div_ceil(CHILDREN);
        }
        let start = |at: usize| match measure {
            Measure::Order => at as u64,
            _ => 0,
        };
        let loads = Loads {
            measure,
            levels,
            spent: (0..shares.len())
                .map(|at| AtomicU64::new(start(at)))
                .collect(),
            turns: shares.iter().map(turn).collect(),
            clock: AtomicU64::new(0),
            sweep: AtomicUsize::new(0),
            usual: AtomicU64::new(0),
            learnt: AtomicU64::new(0),
        };
        (0..shares.len()).for_each(|at| loads.set(at, Some(0), true));
        loads
    }

    /// Goes on where loads of an earlier moment stood: `at` is the server that was `before` there.
    pub(crate) fn take_over(&self, at: usize, old: &Loads, before: usize) {
        self.usual.store(old.usual.load(Relaxed), Relaxed);
        self.learnt.store(old.learnt.load(Relaxed), Relaxed);
        if let (Some(to), Some(from)) = (self.spent.get(at), old.spent.get(before))
            && self.measure == old.measure
            && self.measure != Measure::Order
        {
            let ahead = from.load(Relaxed).saturating_sub(old.clock.load(Relaxed));
            to.store(ahead, Relaxed);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.spent.len()
    }

    /// Notes the load of a server; `None`: it has no room. With `all` every level above is looked at,
    /// otherwise those that change.
    pub(crate) fn set(&self, at: usize, load: Option<u32>, all: bool) {
        let key = self.levels.first().and_then(|keys| keys.get(at));
        let (Some(key), Some(spent)) = (key, self.spent.get(at)) else {
            return;
        };
        let turns = spent.load(Relaxed).min((1 << TURN_BITS) - 1);
        let new = load.map_or(FULL, |load| {
            (u64::from(load.min(MOST)) << TURN_BITS) | turns
        });
        key.store(new, SeqCst);
        let mut node = at;
        for pair in self.levels.windows(2) {
            let [below, above] = pair else { return };
            node /= CHILDREN;
            let Some(least) = above.get(node) else { return };
            if !renew(least, below, node) && !all {
                return;
            }
        }
    }

    /// The least loaded server with room.
    pub(crate) fn least(&self) -> Option<usize> {
        let (top, below) = self.levels.split_last()?;
        let (mut key, mut at) = least_of(top, 0)?;
        for level in below.iter().rev() {
            (key, at) = least_of(level, at)?;
        }
        (key != FULL).then_some(at)
    }

    /// The key of a server, for looks at all of them.
    pub(crate) fn key(&self, at: usize) -> u64 {
        let key = self.levels.first().and_then(|keys| keys.get(at));
        key.map_or(FULL, |key| key.load(Relaxed))
    }

    /// A server has been chosen: its turn is over.
    pub(crate) fn take_turn(&self, at: usize) {
        let (Some(spent), Some(turn)) = (self.spent.get(at), self.turns.get(at)) else {
            return;
        };
        if self.measure == Measure::Order {
            return;
        }
        let clock = self.clock.load(Relaxed);
        let start = spent.load(Relaxed).max(clock);
        spent.store(start + turn, Relaxed);
        if start > clock {
            self.clock.store(start, Relaxed);
        }
        if start > 1 << (TURN_BITS - 1) {
            self.start_again();
        }
    }

    /// Counts turns from 0 again, long before they are too many.
    fn start_again(&self) {
        let clock = self.clock.swap(0, Relaxed);
        for spent in &self.spent {
            let ahead = spent.load(Relaxed).saturating_sub(clock);
            spent.store(ahead, Relaxed);
        }
    }

    /// The next server to look at.
    pub(crate) fn next(&self) -> usize {
        self.sweep.fetch_add(1, Relaxed) % self.len().max(1)
    }

    /// What is usual.
    pub(crate) fn usual(&self) -> u64 {
        self.usual.load(Relaxed)
    }

    /// Something has been measured that counts for what is usual: the mean at first, so that the very
    /// first does not count for more than others, then a moving one.
    pub(crate) fn learn(&self, value: u64) {
        let count = (self.learnt.load(Relaxed) + 1).min(16);
        let usual = self.usual.load(Relaxed);
        let next = usual - usual / count + value / count;
        self.usual.store(next.max(1), Relaxed);
        self.learnt.store(count, Relaxed);
    }
}

/// The least of the children that a node has on this level, and which it is.
fn least_of(level: &[AtomicU64], node: usize) -> Option<(u64, usize)> {
    let start = node * CHILDREN;
    let end = (start + CHILDREN).min(level.len());
    let keys = level.get(start..end)?.iter();
    let keys = keys.map(|key| key.load(SeqCst)).zip(start..end);
    keys.min_by_key(|(key, _)| *key)
}

/// Makes a node the least of its children; whether that changed it.
fn renew(node: &AtomicU64, below: &[AtomicU64], at: usize) -> bool {
    // Who loses the race twice lost it to somebody who has seen the new key (P. Jayanti, f-arrays,
    // PODC 2002).
    for _ in 0..2 {
        let seen = node.load(SeqCst);
        let now = least_of(below, at).map_or(FULL, |(key, _)| key);
        if seen == now {
            return false;
        }
        if node.compare_exchange(seen, now, SeqCst, SeqCst).is_ok() {
            return true;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_equal_loads_turns_follow_the_weights() {
        let loads = Loads::new(Measure::Connections, &[100, 300]);
        let mut had = [0, 0];
        for _ in 0..400 {
            let at = loads.least().expect("room");
            had[at] += 1;
            loads.take_turn(at);
            loads.set(at, Some(0), false);
        }
        assert_eq!(had, [100, 300]);
    }

    #[test]
    fn who_was_passed_over_long_gets_one_turn_and_not_all_it_missed() {
        let loads = Loads::new(Measure::Connections, &[1, 1]);
        loads.set(1, Some(9), false);
        for _ in 0..1000 {
            assert_eq!(loads.least(), Some(0));
            loads.take_turn(0);
            loads.set(0, Some(0), false);
        }
        loads.set(1, Some(0), false);
        let mut in_a_row = 0;
        while loads.least() == Some(1) {
            in_a_row += 1;
            loads.take_turn(1);
            loads.set(1, Some(0), false);
        }
        assert!((1..=2).contains(&in_a_row), "{in_a_row}");
    }

    #[test]
    fn counting_turns_starts_again_before_there_are_too_many() {
        let loads = Loads::new(Measure::Connections, &[1, 25_600]);
        loads.clock.store((1 << 39) + 5, Relaxed);
        for _ in 0..3 {
            loads.take_turn(0);
            loads.take_turn(1);
        }
        assert!(loads.spent.iter().all(|s| s.load(Relaxed) < 1 << 39));
    }

    proptest! {
        #[test]
        fn the_least_is_the_least(changes in prop::collection::vec((0usize..90, prop::option::of(0u32..1000)), 1..200)) {
            let loads = Loads::new(Measure::Connections, &[1; 90]);
            let mut plain = vec![Some(0); 90];
            for (at, load) in changes {
                loads.set(at, load, false);
                plain[at] = load;
                let least = plain.iter().flatten().min().copied();
                prop_assert_eq!(loads.least().map(|at| plain[at]), least.map(Some));
            }
        }
    }

    #[test]
    fn the_least_is_the_least_after_threads_have_changed_all() {
        let loads = Arc::new(Loads::new(Measure::Connections, &[1; 64]));
        std::thread::scope(|scope| {
            for thread in 0..4usize {
                let loads = &loads;
                scope.spawn(move || {
                    for n in 0..2_000usize {
                        let at = (n * 4 + thread) % 64;
                        loads.set(at, (n % 7 > 0).then_some((n * 31 % 500) as u32), false);
                    }
                });
            }
        });
        (0..64).for_each(|at| loads.set(at, (at != 5).then_some(64 - at as u32), true));
        assert_eq!(loads.least(), Some(63));
    }
}
