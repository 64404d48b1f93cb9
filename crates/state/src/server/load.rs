//! A server's load, as far as its scheduler goes by load: it has a seat there, and tells it of what changes.

use super::Server;
use crate::loads::{Loads, Measure, Seat};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Server {
    /// Gives it a seat, or takes it away; the one before.
    pub(crate) fn sit(&self, seat: Option<Arc<Seat>>) -> Option<Arc<Seat>> {
        self.seated.store(seat.is_some(), Relaxed);
        self.seat.swap(seat)
    }

    /// Whether it has one.
    pub(crate) fn is_seated(&self) -> bool {
        self.seated.load(Relaxed)
    }

    /// Has its loads take over what those of the seat before had.
    pub(crate) fn take_over(&self, before: &Seat) {
        if let Some(now) = self.seat.load().as_ref() {
            now.loads.take_over(now.at, &before.loads, before.at);
        }
    }

    /// Its load as `loads` measures it, with so many sessions and waiting requests.
    pub(crate) fn load(&self, loads: &Loads, sessions: u64) -> u32 {
        let lighter = self.seat.load().as_ref().map_or(1.0, |seat| seat.lighter);
        self.pace.load(loads, lighter, sessions)
    }

    /// Tells the scheduler its load, if that goes by load.
    pub(crate) fn weigh(&self) {
        self.tell(false);
    }

    /// The same, and puts right what went stale on the way.
    pub(crate) fn weigh_again(&self) {
        self.tell(true);
    }

    fn tell(&self, all: bool) {
        let Some(seat) = &*self.seat.load() else {
            return;
        };
        let sessions = self.sessions.now();
        let limit = u64::from(self.ramped(self.maxconn()));
        let room = (limit == 0 || sessions < limit) && self.schedulable();
        let busy = sessions + self.queued.now();
        let load = room.then(|| self.pace.load(&seat.loads, seat.lighter, busy));
        seat.loads.set(seat.at, load, all);
    }

    /// An answer of it has begun.
    pub(crate) fn answered(&self, took: std::time::Duration, now: u64) {
        let Some(seat) = &*self.seat.load() else {
            return;
        };
        if matches!(seat.loads.measure, Measure::ResponseTime | Measure::Fastest) {
            self.pace.answered(took, &seat.loads, now);
            self.weigh();
        }
    }

    /// It could not be reached, or did not answer.
    pub(crate) fn failed(&self, now: u64) {
        let Some(seat) = &*self.seat.load() else {
            return;
        };
        if matches!(seat.loads.measure, Measure::ResponseTime | Measure::Fastest) {
            self.pace.failed(&seat.loads, now);
            self.weigh();
        }
    }

    /// Bytes have passed.
    pub(crate) fn moved(&self, bytes: u64, now: u64) {
        let Some(seat) = &*self.seat.load() else {
            return;
        };
        if bytes > 0 && seat.loads.measure == Measure::Bandwidth {
            self.pace.moved(bytes, now);
            self.weigh();
        }
    }

    /// A session has left it, which moved so many bytes; `ahead` were counted and did not come.
    pub(crate) fn left(&self, ahead: u64, moved: u64) {
        let Some(seat) = &*self.seat.load() else {
            return;
        };
        if seat.loads.measure == Measure::Bandwidth {
            self.pace.unmoved(ahead);
            seat.loads.learn(moved);
        }
        self.weigh();
    }
}
