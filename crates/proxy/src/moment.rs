//! Instants in half the room.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// An instant as nanoseconds since the process began: eight bytes, and no more where there may be none,
/// for what is kept as long as a connection is. [`Instant`] takes sixteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(NonZeroU64);

impl Moment {
    /// `at`, counted from `start`. What was before is `start`; what is 584 years after never comes.
    pub fn new(start: Instant, at: Instant) -> Moment {
        let nanos = at.saturating_duration_since(start).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        Moment(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// The instant, where `start` is what it was counted from.
    pub fn instant(self, start: Instant) -> Instant {
        start + Duration::from_nanos(self.0.get() - 1)
    }

    /// The time from `earlier` to this; none where it was not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// So much later.
    pub fn after(self, time: Duration) -> Moment {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(nanos))
    }
}

/// A time in four bytes, to the microsecond: 71 minutes are the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span(u32);

impl Span {
    /// `time`, or the most.
    pub fn new(time: Duration) -> Span {
        Span(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
    }

    /// The same as a duration.
    pub fn duration(self) -> Duration {
        Duration::from_micros(self.0.into())
    }

    /// Whole milliseconds, as logs say them.
    pub fn millis(self) -> i64 {
        i64::from(self.0 / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_instant_it_was_made_of() {
        let start = Instant::now();
        let (first, second) = (Duration::from_nanos(1), Duration::from_secs(86_400 * 400));
        let early = Moment::new(start, start + first);
        let late = Moment::new(start, start + second);
        assert_eq!(early.instant(start), start + first);
        assert_eq!(late.instant(start), start + second);
        assert_eq!(late.since(early), second - first);
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.after(second - first), late);
        assert!(early < late);
    }

    #[test]
    fn a_span_is_a_short_time() {
        let time = Duration::from_micros(1_234_567);
        assert_eq!(Span::new(time).duration(), time);
        assert_eq!(Span::new(time).millis(), 1234);
        assert_eq!(Span::new(Duration::MAX), Span(u32::MAX));
    }

    #[test]
    fn what_was_before_the_start_is_the_start() {
        let start = Instant::now();
        let before = start.checked_sub(Duration::from_millis(1)).unwrap_or(start);
        assert_eq!(Moment::new(start, before).instant(start), start);
        assert_eq!(size_of::<Option<Moment>>(), 8);
    }
}
