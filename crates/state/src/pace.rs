//! What is measured of one server for the schedulers that look at it: how long its answers and its
//! checks take, how many bytes pass.

use crate::loads::{Loads, Measure, octaves};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The measurements.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The smoothed time of its answers, microseconds in octaves; 0 is not known.
    answer: AtomicU32,
    /// Bytes of the last seconds, fading.
    bytes: AtomicU64,
    /// When either last changed, milliseconds of the process.
    at: AtomicU64,
    /// How often it was found slow when it was tried again, and above that whether it has been
    /// passed over since.
    tried: AtomicU32,
    /// The smoothed time of its checks, microseconds; 0 is not known.
    check: AtomicU32,
    /// The time of its checks that its weight was last made from.
    check_used: AtomicU32,
}

/// After this time without news about two thirds of what was measured are forgotten, milliseconds.
const MEMORY: u64 = 10_000;
/// The same for bytes.
const BYTES_MEMORY: u64 = 5_000;
/// A server that was passed over in a whole sweep forgets one part in so many of what sets it apart,
/// and in twice as many for each time it was tried and was slow again: after one slow answer it is soon
/// tried, and who stays slow is tried less and less.
const SWEEP_MEMORY: i64 = 3;
/// So many times are counted.
const TRIES: u32 = 2;
/// In what is noted of trials: it has been passed over.
const PASSED_OVER: u32 = 1 << 31;
/// Added to each time, microseconds: what is far less than a millisecond is noise, such as that of a
/// server whose caches are warm because it was asked last.
const NOISE: u64 = 1_000;
/// Times that differ from what is usual by less than this part of an octave are equal: a quarter, 19
/// per cent.
const GRAIN: u32 = 1 << 14;
/// What a failure counts: an answer that took sixteen times the usual time. No answer counts for more.
const FAILURE: u32 = 4 << 16;
/// What takes so much longer than usual is slow: an octave, twice the time.
const SLOW: u32 = 1 << 16;

impl Pace {
    /// Takes the time of an answer. For `response-time` it goes up at once and down slowly, otherwise
    /// slowly both ways.
    pub(crate) fn answered(&self, took: Duration, loads: &Loads, now: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut sample = octaves(micros.saturating_add(NOISE) as f64);
        let usual = u32::try_from(loads.usual()).unwrap_or(u32::MAX);
        if usual > 0 {
            sample = sample.min(usual.saturating_add(FAILURE));
            self.judge(sample > usual.saturating_add(SLOW));
        }
        let old = self.answer.load(Relaxed);
        let peak = loads.measure == Measure::ResponseTime;
        let new = match old {
            0 => sample,
            old if peak && sample > old => sample,
            old => old - old / 4 + sample / 4,
        };
        self.answer.store(new, Relaxed);
        self.at.store(now, Relaxed);
        loads.learn(new.into());
    }

    /// Notes whether it is slow, where it was passed over before: answers that were under way when it
    /// became slow are no trials.
    fn judge(&self, slow: bool) {
        let tried = self.tried.load(Relaxed);
        let count = tried & !PASSED_OVER;
        let new = match slow {
            true if tried & PASSED_OVER == 0 => return,
            true => (count + 1).min(TRIES),
            false => count / 2,
        };
        self.tried.store(new, Relaxed);
    }

    /// Takes a connection that could not be made, or an answer that did not come.
    pub(crate) fn failed(&self, loads: &Loads, now: u64) {
        self.judge(true);
        let usual = u32::try_from(loads.usual()).unwrap_or(u32::MAX).max(1);
        let old = self.answer.load(Relaxed);
        self.answer
            .store(old.max(usual.saturating_add(FAILURE)), Relaxed);
        self.at.store(now, Relaxed);
    }

    /// Counts bytes.
    pub(crate) fn moved(&self, bytes: u64, now: u64) {
        self.fade_bytes(now);
        let more = |all: u64| Some(all.saturating_add(bytes));
        // The closure never refuses.
        let _ = self.bytes.fetch_update(Relaxed, Relaxed, more);
    }

    /// The bytes of the last seconds.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Starts like others: who comes new has nothing to catch up on.
    pub(crate) fn start_like(&self, bytes: u64) {
        self.bytes.store(bytes, Relaxed);
    }

    /// Takes back bytes that were counted ahead and did not come.
    pub(crate) fn unmoved(&self, bytes: u64) {
        let less = |all: u64| Some(all.saturating_sub(bytes));
        // The closure never refuses.
        let _ = self.bytes.fetch_update(Relaxed, Relaxed, less);
    }

    fn fade_bytes(&self, now: u64) {
        let passed = now.saturating_sub(self.at.swap(now, Relaxed));
        if passed > 0 {
            let left = |all: u64| {
                Some(
                    (u128::from(all) * u128::from(BYTES_MEMORY) / u128::from(BYTES_MEMORY + passed))
                        as u64,
                )
            };
            let _ = self.bytes.fetch_update(Relaxed, Relaxed, left);
        }
    }

    /// Nobody has asked this server since the last sweep: what is known of it fades towards what is
    /// usual, so that one slow answer does not keep it from being asked again.
    pub(crate) fn fade(&self, loads: &Loads, now: u64) {
        if loads.measure == Measure::Bandwidth {
            return self.fade_bytes(now);
        }
        let (answer, usual) = (self.answer.load(Relaxed), loads.usual());
        if answer == 0 || usual == 0 {
            return;
        }
        let passed = now.saturating_sub(self.at.swap(now, Relaxed));
        let tried = self.tried.fetch_or(PASSED_OVER, Relaxed) & !PASSED_OVER;
        let apart = i64::from(answer) - usual as i64;
        let left = apart - apart / (SWEEP_MEMORY << tried.min(TRIES));
        let left =
            left.saturating_mul(MEMORY as i64) / (MEMORY as i64).saturating_add(passed as i64);
        let faded = (usual as i64 + left).clamp(1, i64::from(u32::MAX));
        self.answer.store(faded as u32, Relaxed);
    }

    /// The load that `loads` compares, for so many sessions and waiting requests on a server that is
    /// so many times lighter than the heaviest. Of idle servers weights decide by turns alone, so that
    /// one request after the other does not always go to the heaviest.
    pub(crate) fn load(&self, loads: &Loads, lighter: f64, sessions: u64) -> u32 {
        let coarse = |octaves: u32| octaves / GRAIN * GRAIN;
        let usual = u32::try_from(loads.usual()).unwrap_or(u32::MAX);
        let answer = || match self.answer.load(Relaxed) {
            // Who has never been asked is asked at once, by one request; others wait for its answer.
            0 if sessions == 0 => 0,
            0 => coarse(usual),
            // What is nearly usual is usual: no border between two grains lies there.
            known if known.abs_diff(usual) < GRAIN => coarse(usual),
            known => coarse(known),
        };
        let busy = sessions as f64 * lighter;
        // Sessions count a little where something else decides, so that those who come before it shows
        // in what is measured do not all go the same way: fifteen count as twice the time, or bytes.
        let crowd = || octaves(busy + 1.0) / 4;
        match loads.measure {
            Measure::Order => 0,
            Measure::Connections if sessions == 0 => 0,
            Measure::Connections => 1 + octaves(busy),
            Measure::ResponseTime => answer() + octaves(busy + 1.0),
            Measure::Fastest => answer() + crowd(),
            Measure::Bandwidth => match self.bytes.load(Relaxed) {
                0 => 0,
                bytes => coarse(octaves(bytes as f64 * lighter)) + crowd(),
            },
        }
    }

    /// Takes the time of a check; true when the weight that follows from it should be made anew.
    pub(crate) fn checked(&self, took: Duration) -> bool {
        let sample = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let old = self.check.load(Relaxed);
        let new = if old == 0 {
            sample
        } else {
            old - old / 4 + sample / 4
        }
        .max(1);
        self.check.store(new, Relaxed);
        let used = self.check_used.load(Relaxed);
        new.abs_diff(used) > used / 8
    }

    /// The smoothed time of its checks, microseconds, to make a weight from.
    pub(crate) fn check_time(&self) -> Option<u32> {
        let time = self.check.load(Relaxed);
        self.check_used.store(time, Relaxed);
        (time > 0).then_some(time)
    }

    /// Forgets what was measured at another address.
    pub(crate) fn forget(&self) {
        self.answer.store(0, Relaxed);
        self.tried.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
        self.check.store(0, Relaxed);
    }
}
