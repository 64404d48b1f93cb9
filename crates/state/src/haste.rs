//! The next check of a server, brought forward by what its traffic says (`on-error`). Whoever saw the
//! error may be another worker than the one that checks.

use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

/// When the next check has to begin at the latest.
#[derive(Debug, Default)]
pub struct Haste(Mutex<Wish>);

#[derive(Debug, Default)]
struct Wish {
    due: Option<Instant>,
    waiting: Option<Waker>,
}

impl Haste {
    /// The next check begins no later than this.
    pub fn wish(&self, due: Instant) {
        let mut wish = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wish.due = Some(wish.due.map_or(due, |before| before.min(due)));
        if let Some(waker) = wish.waiting.take() {
            waker.wake();
        }
    }

    /// Takes what was wished for; until then `waker` is woken by the next wish.
    pub fn poll(&self, waker: &Waker) -> Poll<Instant> {
        let mut wish = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match wish.due.take() {
            Some(due) => Poll::Ready(due),
            None => {
                wish.waiting = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// A check begins: whatever was wished for is done.
    pub fn begun(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn of_two_wishes_the_sooner_counts_and_a_check_fulfils_them() {
        let (haste, now) = (Haste::default(), Instant::now());
        let poll = || haste.poll(Waker::noop());
        assert_eq!(poll(), Poll::Pending);
        haste.wish(now + Duration::from_secs(2));
        haste.wish(now + Duration::from_secs(1));
        haste.wish(now + Duration::from_secs(3));
        assert_eq!(poll(), Poll::Ready(now + Duration::from_secs(1)));
        assert_eq!(poll(), Poll::Pending);
        haste.wish(now);
        haste.begun();
        assert_eq!(poll(), Poll::Pending);
    }
}
