//! Instants in half the room.

use std::num::{NonZeroU32, NonZeroU64};
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

/// A moment of the last 49 days in four bytes, to the millisecond: what is longer ago seems to be as many
/// times 49 days later. Enough to measure a time limit by, which is 24 days at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick(u32);

impl Tick {
    /// The one that this moment is in.
    pub fn of(at: Moment) -> Tick {
        Tick((at.0.get() / Tick::NANOS) as u32)
    }

    /// The end of this tick, which was at `now` or before: what is measured from there is never early.
    pub fn end(self, now: Moment) -> Moment {
        let last = now.0.get() / Tick::NANOS;
        let age = (last as u32).wrapping_sub(self.0);
        let next = last.saturating_sub(age.into()) + 1;
        let nanos = NonZeroU64::new(next.saturating_mul(Tick::NANOS));
        Moment(nanos.unwrap_or(NonZeroU64::MIN))
    }

    const NANOS: u64 = 1_000_000;
}

/// How much later than another moment one is, in whole milliseconds: four bytes, and no more where there
/// may be none. 49 days are the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag(NonZeroU32);

impl Lag {
    /// From `earlier` to `later`.
    pub fn new(earlier: Moment, later: Moment) -> Lag {
        let millis = u32::try_from(later.since(earlier).as_millis());
        Lag(NonZeroU32::MIN.saturating_add(millis.unwrap_or(u32::MAX)))
    }

    /// Milliseconds.
    pub fn millis(self) -> u64 {
        u64::from(self.0.get() - 1)
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
    fn a_tick_tells_a_moment_to_the_millisecond_and_never_too_early() {
        let start = Instant::now();
        let day = Duration::from_secs(86_400);
        let moment = |time| Moment::new(start, start + time);
        for seen in [
            Duration::ZERO,
            Duration::from_nanos(1_999_999),
            day * 49,
            day * 400,
        ] {
            let tick = Tick::of(moment(seen));
            for later in [Duration::ZERO, Duration::from_nanos(1), day, day * 49] {
                let told = tick.end(moment(seen + later)).instant(start) - start;
                let late = told.checked_sub(seen).expect("no earlier than it was");
                assert!(
                    late <= Duration::from_millis(1),
                    "{seen:?} {later:?} {late:?}"
                );
            }
        }
    }

    #[test]
    fn a_lag_is_in_milliseconds() {
        let start = Instant::now();
        let moment = |time| Moment::new(start, start + time);
        let lag = |time| Lag::new(moment(Duration::from_secs(1)), moment(time)).millis();
        assert_eq!(lag(Duration::ZERO), 0);
        assert_eq!(lag(Duration::from_micros(1_002_900)), 2);
        assert_eq!(
            lag(Duration::from_secs(86_400 * 60)),
            u64::from(u32::MAX) - 1
        );
        assert_eq!(size_of::<Option<Lag>>(), 4);
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
