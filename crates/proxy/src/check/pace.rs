//! When checks may begin: how many at a time, and how far apart.

use crate::worker::Worker;
use std::cell::Cell;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A worker's checks that are under way (`tune.max-checks-per-thread`).
#[derive(Default)]
pub struct Pace {
    running: Cell<u32>,
    ended: Notify,
}

/// One check that is under way.
pub struct Running<'a>(&'a Pace);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        self.0.ended.notify_one();
    }
}

impl Pace {
    /// Waits until another check may begin.
    pub async fn enter(&self, worker: &Worker) -> Running<'_> {
        loop {
            let most = worker.generation().config.global.tuning.max_checks;
            if most == 0 || self.running.get() < most {
                self.running.set(self.running.get() + 1);
                return Running(self);
            }
            self.ended.notified().await;
        }
    }
}

/// The interval, longer or shorter by up to `percent` (`spread-checks`); `random` decides.
pub fn spread(interval: Duration, percent: u32, random: u64) -> Duration {
    if percent == 0 {
        return interval;
    }
    // From -1 to 1 in steps that are small enough.
    let part = (random % 2001) as f64 / 1000.0 - 1.0;
    interval.mul_f64(1.0 + part * f64::from(percent.min(50)) / 100.0)
}

/// When a check begins that is `due`: together with others, so that neither this machine nor the
/// servers' are woken for each. That is at most half a hundredth of the interval sooner or later, and
/// a check that keeps its interval stays with those it began with.
pub fn gather(due: Instant, start: Instant, interval: Duration) -> Instant {
    let grain = (interval / 100).as_nanos();
    let since = due.saturating_duration_since(start).as_nanos();
    let Some(past) = since.checked_rem(grain) else {
        return due;
    };
    let nanos = |n: u128| Duration::from_nanos(n as u64);
    match past * 2 < grain {
        true => due - nanos(past),
        false => due + nanos(grain - past),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_that_are_due_at_nearly_the_same_time_begin_together() {
        let start = Instant::now();
        let begins = |due_ms: u64| {
            let due = start + Duration::from_millis(due_ms);
            let begins = gather(due, start, Duration::from_secs(2));
            begins.duration_since(start).as_millis()
        };
        assert_eq!([2000, 2003, 2009].map(begins), [2000; 3]);
        assert_eq!([2011, 2020, 2029].map(begins), [2020; 3]);
        assert_eq!(gather(start, start, Duration::ZERO), start);
    }

    #[test]
    fn an_interval_is_spread_evenly_to_both_sides() {
        let second = Duration::from_secs(1);
        assert_eq!(spread(second, 0, 77), second);
        assert_eq!(spread(second, 50, 0), second / 2);
        assert_eq!(spread(second, 50, 1000), second);
        assert_eq!(spread(second, 50, 2000), second * 3 / 2);
    }
}
