//! Outlier ejection: a server whose traffic fails again and again takes no new clients for a while,
//! whatever its checks say, as long as enough others are left.

use crate::backend::Group;
use crate::{Backend, Server};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A server is out for this many times the time at most, however often it was before.
const MOST_TIMES: u32 = 10;

/// Whether the traffic of a server fails.
#[derive(Debug, Default)]
pub struct Outlier {
    /// Failures in a row.
    failures: AtomicU32,
    /// Whether it is out for that.
    out: AtomicBool,
    ejection: Mutex<Ejection>,
}

/// How often a server was out, and until when.
#[derive(Debug, Default)]
pub struct Ejection {
    times: u32,
    /// Milliseconds of the process's clock.
    until: u64,
}

impl Ejection {
    /// It is out from now on: until when. Each time in a row takes longer by `time`; a server that
    /// did well for as long as it was out last begins anew.
    pub fn begin(&mut self, time: Duration, now: u64) -> u64 {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let last = time.saturating_mul(self.times.into());
        if now > self.until.saturating_add(last) {
            self.times = 0;
        }
        self.times = (self.times + 1).min(MOST_TIMES);
        self.until = now.saturating_add(time.saturating_mul(self.times.into()));
        self.until
    }

    /// Until when it is or was out.
    pub fn until(&self) -> u64 {
        self.until
    }
}

/// How many of so many servers may be out at a time: no more than the percentage, and never all.
pub fn allowed(servers: usize, percent: u8) -> usize {
    (servers * usize::from(percent) / 100).min(servers.saturating_sub(1))
}

impl Server {
    /// Whether it is out because its traffic failed.
    pub fn is_ejected(&self) -> bool {
        self.outlier.out.load(Relaxed)
    }

    /// Takes it out or back; back it begins as one that comes up.
    fn set_ejected(&self, out: bool) {
        self.outlier.failures.store(0, Relaxed);
        if !out {
            self.begin_slowly();
        }
        self.outlier.out.store(out, Relaxed);
    }

    fn ejection(&self) -> MutexGuard<'_, Ejection> {
        let ejection = self.outlier.ejection.lock();
        ejection.unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a request of it went well or failed; whether so many in a row have failed now.
    pub fn fails(&self, ok: bool, limit: u32) -> bool {
        let failures = &self.outlier.failures;
        if ok {
            // Read first: on a good server nobody writes.
            if failures.load(Relaxed) != 0 {
                failures.store(0, Relaxed);
            }
            return false;
        }
        failures.fetch_add(1, Relaxed) + 1 >= limit
    }
}

impl Backend {
    /// Takes a server out, if there may be one more, until the moment that comes back.
    pub fn eject(self: &Arc<Self>, server: &Server, now: u64) -> Option<u64> {
        let settings = self.side().eject?;
        // Held until it is out: no other worker takes one out of the same number.
        let mut census = self.census();
        if server.is_ejected() || !server.is_fit() {
            return None;
        }
        let Group { fit, out } = census.group(server.is_backup());
        if out >= allowed(fit, settings.at_most) {
            return None;
        }
        let until = server.ejection().begin(settings.time, now);
        server.set_ejected(true);
        census.note(self.place(server)?, server);
        drop(census);
        self.note(server);
        server.is_ejected().then_some(until)
    }

    /// Takes a server back whose time is over; whether it was out until now.
    pub fn take_back(self: &Arc<Self>, server: &Server, now: u64) -> bool {
        let over = server.is_ejected() && now >= server.ejection().until();
        if over {
            server.set_ejected(false);
            self.note(server);
        }
        over
    }

    /// Takes servers back before their time when others have gone: a backend is never empty, nor
    /// emptier than it may be, because servers were taken out.
    pub(crate) fn pardon(&self) {
        if !self.servers().iter().any(|s| s.is_ejected()) {
            return;
        }
        let percent = self.side().eject.map_or(0, |e| e.at_most);
        for backup in [false, true] {
            let (fit, mut out) = self.fit(backup);
            out.sort_by_key(|s| std::cmp::Reverse(s.ejection().until()));
            let more = out.split_off(allowed(fit, percent).min(out.len()));
            more.iter().for_each(|s| s.set_ejected(false));
        }
    }

    /// How many servers could be chosen but for being out, and which of them are.
    fn fit(&self, backup: bool) -> (usize, Vec<&Arc<Server>>) {
        let fit = |s: &&Arc<Server>| s.is_fit() && s.is_backup() == backup;
        let fit: Vec<_> = self.servers().iter().filter(fit).collect();
        let out = fit.iter().copied().filter(|s| s.is_ejected());
        (fit.len(), out.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_again_soon_is_out_for_longer_each_time_up_to_a_bound() {
        let time = Duration::from_secs(10);
        let mut e = Ejection::default();
        assert_eq!(e.begin(time, 1_000), 11_000);
        assert_eq!(e.begin(time, 12_000), 32_000);
        assert_eq!(e.begin(time, 32_000), 62_000);
        // As long without a fault as it was out.
        assert_eq!(e.begin(time, 92_001), 102_001);
        let mut now = 102_001;
        for _ in 0..20 {
            let until = e.begin(time, now);
            assert!(until - now <= 100_000);
            now = until;
        }
        assert_eq!(e.begin(time, now), now + 100_000);
    }

    #[test]
    fn some_may_be_out_but_never_all() {
        for (servers, percent, most) in [
            (0, 50, 0),
            (1, 100, 0),
            (2, 50, 1),
            (3, 50, 1),
            (10, 33, 3),
            (10, 100, 9),
            (3, 10, 0),
        ] {
            assert_eq!(allowed(servers, percent), most, "{servers} {percent}");
        }
    }
}
