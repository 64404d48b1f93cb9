//! Who is least loaded: one number for each server, and the least of each block of servers. A change
//! costs a look over one block, a choice a look over the blocks and one of them: with blocks of
//! `√n` servers both are far below a microsecond for thousands of servers, and nobody locks.
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
    /// The load above, the turns taken below: of equal loads whoever had least turns for its weight.
    keys: Box<[AtomicU64]>,
    /// Turns taken, in units in which a turn of the heaviest server is `TURN`.
    spent: Box<[AtomicU64]>,
    turns: Box<[u64]>,
    minima: Box<[AtomicU64]>,
    block: usize,
    /// The turns of whoever was chosen last: nobody falls behind it and then catches up in a burst.
    clock: AtomicU64,
    sweep: AtomicUsize,
    /// What is usual: the time of an answer in octaves, or bytes of a request; 0 is not known.
    usual: AtomicU64,
}

/// The place of a server among loads.
#[derive(Debug)]
pub(crate) struct Seat {
    pub loads: Arc<Loads>,
    pub at: usize,
    /// By how many octaves (in 65,536ths) its weight is less than the heaviest server's.
    pub handicap: u32,
}

/// Bits of a key that count turns.
const TURN_BITS: u32 = 40;
/// A turn of the heaviest server.
const TURN: u64 = 1 << 10;
/// The key of a server without room.
const FULL: u64 = u64::MAX;
/// The largest load.
const MOST: u32 = (1 << (64 - TURN_BITS)) - 2;

/// `log2(n)` in 65,536ths.
pub(crate) fn octaves(n: u64) -> u32 {
    ((n.max(1) as f64).log2() * 65_536.0) as u32
}

impl Loads {
    /// For servers of these shares, in order; all without load.
    pub(crate) fn new(measure: Measure, shares: &[u32]) -> Loads {
        let heaviest = u64::from(shares.iter().copied().max().unwrap_or(1).max(1));
        let turn = |share: &u32| TURN * heaviest / u64::from((*share).max(1));
        let block = ((shares.len() as f64).sqrt() as usize).next_power_of_two();
        let blocks = shares.len().div_ceil(block.max(1));
        let start = |at: usize| match measure {
            Measure::Order => at as u64,
            _ => 0,
        };
        let loads = Loads {
            measure,
            keys: (0..shares.len()).map(|_| AtomicU64::new(0)).collect(),
            spent: (0..shares.len())
                .map(|at| AtomicU64::new(start(at)))
                .collect(),
            turns: shares.iter().map(turn).collect(),
            minima: (0..blocks).map(|_| AtomicU64::new(0)).collect(),
            block: block.max(1),
            clock: AtomicU64::new(0),
            sweep: AtomicUsize::new(0),
            usual: AtomicU64::new(0),
        };
        (0..shares.len()).for_each(|at| loads.set(at, Some(0)));
        loads
    }

    /// Goes on where loads of an earlier moment stood: `at` is the server that was `before` there.
    pub(crate) fn take_over(&self, at: usize, old: &Loads, before: usize) {
        self.usual.store(old.usual.load(Relaxed), Relaxed);
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
        self.keys.len()
    }

    /// Notes the load of a server; `None`: it has no room.
    pub(crate) fn set(&self, at: usize, load: Option<u32>) {
        let (Some(key), Some(spent)) = (self.keys.get(at), self.spent.get(at)) else {
            return;
        };
        let turns = spent.load(Relaxed).min((1 << TURN_BITS) - 1);
        let new = load.map_or(FULL, |load| {
            (u64::from(load.min(MOST)) << TURN_BITS) | turns
        });
        key.store(new, SeqCst);
        let Some(least) = self.minima.get(at / self.block) else {
            return;
        };
        // Who loses the race twice lost it to somebody who has seen the new key.
        for _ in 0..2 {
            let seen = least.load(SeqCst);
            let now = self.least_of(at / self.block).map_or(FULL, |(key, _)| key);
            if least.compare_exchange(seen, now, SeqCst, SeqCst).is_ok() {
                return;
            }
        }
    }

    /// The least key of a block, and whose it is.
    fn least_of(&self, block: usize) -> Option<(u64, usize)> {
        let start = block * self.block;
        let end = (start + self.block).min(self.keys.len());
        let keys = self.keys.get(start..end)?.iter();
        let keys = keys.map(|key| key.load(SeqCst)).zip(start..end);
        keys.min_by_key(|(key, _)| *key)
    }

    /// The least loaded server with room.
    pub(crate) fn least(&self) -> Option<usize> {
        let blocks = self.minima.iter().map(|m| m.load(SeqCst));
        let (_, block) = blocks.zip(0..).min_by_key(|(least, _)| *least)?;
        match self.least_of(block)? {
            (FULL, _) => None,
            (_, at) => Some(at),
        }
    }

    /// The key of a server, for looks at all of them.
    pub(crate) fn key(&self, at: usize) -> u64 {
        self.keys.get(at).map_or(FULL, |key| key.load(Relaxed))
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
        self.sweep.fetch_add(1, Relaxed) % self.keys.len().max(1)
    }

    /// What is usual.
    pub(crate) fn usual(&self) -> u64 {
        self.usual.load(Relaxed)
    }

    /// Something has been measured that counts for what is usual.
    pub(crate) fn learn(&self, value: u64) {
        let usual = self.usual.load(Relaxed);
        let next = match usual {
            0 => value,
            _ => usual - usual / 64 + value / 64,
        };
        self.usual.store(next.max(1), Relaxed);
    }
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
            loads.set(at, Some(0));
        }
        assert_eq!(had, [100, 300]);
    }

    #[test]
    fn who_was_passed_over_long_gets_one_turn_and_not_all_it_missed() {
        let loads = Loads::new(Measure::Connections, &[1, 1]);
        loads.set(1, Some(9));
        for _ in 0..1000 {
            assert_eq!(loads.least(), Some(0));
            loads.take_turn(0);
            loads.set(0, Some(0));
        }
        loads.set(1, Some(0));
        let mut in_a_row = 0;
        while loads.least() == Some(1) {
            in_a_row += 1;
            loads.take_turn(1);
            loads.set(1, Some(0));
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
                loads.set(at, load);
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
                        loads.set(at, (n % 7 > 0).then_some((n * 31 % 500) as u32));
                    }
                });
            }
        });
        (0..64).for_each(|at| loads.set(at, (at != 5).then_some(64 - at as u32)));
        assert_eq!(loads.least(), Some(63));
    }
}
