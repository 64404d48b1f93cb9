//! A short wait before a worker sleeps, while datagrams come fast.
//!
//! A worker that is faster than those around it finds one or two datagrams each time it looks, and goes
//! to sleep between: to sleep, to be woken and to look costs more than to pass a datagram on, for it
//! and for whoever wakes it. Where many come a second, it therefore does what network cards do with
//! their interrupts: it waits a moment, in which nobody has to wake it, and finds several. Those who
//! come one by one wait for nothing.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// How long it waits: less than a datagram takes from one machine of a network to another and back.
const MOMENT: Duration = Duration::from_micros(30);

/// The mean time between two datagrams, up to which that is worth it: a client that waits for each
/// answer before it asks again, alone, takes longer.
const APART: Duration = Duration::from_micros(16);

/// So many datagrams the mean is of.
const SOME: u32 = 32;

/// As many as that are worth waking up for.
const ENOUGH: u32 = 16;

/// How fast datagrams have come of late.
#[derive(Debug, Default)]
struct Pace {
    /// When the worker last went to sleep after it had passed on datagrams.
    slept: Option<Instant>,
    /// When those that are counted now began to come.
    since: Option<Instant>,
    counted: u32,
    fast: bool,
}

impl Pace {
    /// Whether it is worth waiting before the worker sleeps, now that it has passed on so many.
    fn is_worth_waiting(&mut self, passed: u32, now: Instant) -> bool {
        let lately = self.slept.replace(now);
        let (Some(lately), Some(since)) = (lately, self.since) else {
            self.since = Some(now);
            return false;
        };
        if now.saturating_duration_since(lately) > APART * SOME {
            (self.since, self.counted, self.fast) = (Some(now), 0, false);
            return false;
        }
        self.counted = self.counted.saturating_add(passed);
        if self.counted >= SOME {
            self.fast = now.saturating_duration_since(since) < APART * self.counted;
            (self.since, self.counted) = (Some(now), 0);
        }
        self.fast && passed < ENOUGH
    }
}

thread_local! {
    /// Datagrams that this worker has passed on since it last slept.
    static PASSED: Cell<u32> = const { Cell::new(0) };
    static PACE: RefCell<Pace> = RefCell::default();
}

/// So many more datagrams were passed on.
pub fn passed(more: usize) {
    PASSED.with(|passed| passed.set(passed.get().saturating_add(more as u32)));
}

/// Waits, if that is worth it. Nothing is left to do for this worker when this is called.
pub fn before_sleep() {
    let passed = PASSED.with(|passed| passed.take());
    if passed == 0 {
        return;
    }
    let now = Instant::now();
    if PACE.with(|pace| pace.borrow_mut().is_worth_waiting(passed, now)) {
        std::thread::sleep(MOMENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a worker waits that finds so many datagrams every so many microseconds.
    fn waits(pace: &mut Pace, begin: Instant, passed: u32, micros: u64, times: u32) -> u32 {
        let at = |n: u32| begin + Duration::from_micros(micros) * n;
        (1..=times)
            .filter(|n| pace.is_worth_waiting(passed, at(*n)))
            .count() as u32
    }

    #[test]
    fn who_asks_alone_and_waits_for_its_answer_is_never_made_to_wait() {
        let begin = Instant::now();
        assert_eq!(waits(&mut Pace::default(), begin, 1, 17, 10_000), 0);
        assert_eq!(waits(&mut Pace::default(), begin, 1, 1_000_000, 100), 0);
    }

    #[test]
    fn where_many_come_one_by_one_the_worker_waits() {
        let mut pace = Pace::default();
        let begin = Instant::now();
        assert_eq!(waits(&mut pace, begin, 2, 30, 16), 0);
        // The first time begins the count: the next makes it full.
        let then = begin + Duration::from_micros(30) * 16;
        assert_eq!(waits(&mut pace, then, 2, 30, 1000), 1000);
        // Those that come many at a time need no wait, nor those after a silence.
        let then = then + Duration::from_micros(30) * 1000;
        assert_eq!(waits(&mut pace, then, 16, 30, 1000), 0);
        let later = begin + Duration::from_secs(1);
        assert_eq!(waits(&mut pace, later, 2, 30, 16), 0);
    }
}
