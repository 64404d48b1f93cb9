//! How long a check may take (manual, `timeout check`): without that timeout, `inter` bounds all
//! of it; with it, `inter` and `timeout connect` bound the connection, and it the answer.

use model::Timeouts;
use state::health::{CheckStatus, Finding};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::{Duration, Instant};

/// What a check is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A connection.
    Connect,
    /// The TLS handshake.
    Handshake,
    /// An answer.
    Answer,
    /// A program.
    Program,
}

/// The time that is left to one check.
pub struct Clock {
    begin: Instant,
    deadline: Cell<Instant>,
    end: Option<Instant>,
    connect: Option<Duration>,
    answer: Option<Duration>,
    phase: Cell<Phase>,
    /// What it is that takes so long, where there is more to say than the phase.
    step: RefCell<Timeout>,
}

/// What a check is when its time is over, if not what its phase says.
#[derive(Clone, Debug, Default)]
pub struct Timeout {
    /// `tout-status`.
    pub status: Option<CheckStatus>,
    /// Which step it was.
    pub info: String,
}

impl Clock {
    /// The time of a check that begins now.
    pub fn new(begin: Instant, inter: Duration, timeouts: &Timeouts) -> Clock {
        let connect = timeouts
            .check
            .map(|_| timeouts.connect.map_or(inter, |t| t.min(inter)));
        Clock {
            begin,
            deadline: Cell::new(begin + connect.unwrap_or(inter)),
            end: None,
            connect,
            answer: timeouts.check,
            phase: Cell::new(Phase::Connect),
            step: RefCell::default(),
        }
    }

    /// No later than this, whatever else is allowed.
    pub fn at_latest(&mut self, end: Option<Instant>) {
        self.end = end;
    }

    /// Says what is waited for from now on.
    pub fn enter(&self, phase: Phase) {
        let limit = match phase {
            Phase::Connect => self.connect,
            Phase::Answer | Phase::Program => self.answer,
            Phase::Handshake => None,
        };
        if phase != self.phase.get()
            && let Some(limit) = limit
        {
            self.deadline.set(Instant::now() + limit);
        }
        self.phase.set(phase);
    }

    /// Says which step is under way.
    pub fn step(&self, timeout: Timeout) {
        self.step.replace(timeout);
    }

    /// Waits for the check, but not for longer than it may take.
    pub async fn bound(&self, check: impl Future<Output = Finding>) -> Finding {
        let mut found = match self.within(check).await {
            Some(found) => found,
            None => self.timed_out(),
        };
        found.took = self.begin.elapsed();
        found
    }

    /// The same for what an agent sends.
    pub async fn bound_bytes(
        &self,
        asking: impl Future<Output = Result<Vec<u8>, Finding>>,
    ) -> Result<Vec<u8>, Finding> {
        match self.within(asking).await {
            Some(answer) => answer,
            None => Err(self.timed_out()),
        }
    }

    fn timed_out(&self) -> Finding {
        let step = self.step.borrow();
        let status = match self.phase.get() {
            Phase::Connect => CheckStatus::L4TimeOut,
            Phase::Handshake => CheckStatus::L6TimeOut,
            Phase::Answer => step.status.unwrap_or(CheckStatus::L7TimeOut),
            Phase::Program => CheckStatus::ProcTimeOut,
        };
        let mut found = Finding::of(status).because(step.info.as_str());
        if status == CheckStatus::ProcTimeOut {
            found = found.with_code(0u32);
        }
        found
    }

    async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let deadline = || {
            let deadline = self.deadline.get();
            self.end.map_or(deadline, |end| deadline.min(end)).into()
        };
        let mut sleep = pin!(tokio::time::sleep_until(deadline()));
        poll_fn(|cx| {
            if let std::task::Poll::Ready(result) = work.as_mut().poll(cx) {
                return std::task::Poll::Ready(Some(result));
            }
            loop {
                let until = deadline();
                if sleep.deadline() == until {
                    std::task::ready!(sleep.as_mut().poll(cx));
                    return std::task::Poll::Ready(None);
                }
                sleep.as_mut().reset(until);
            }
        })
        .await
    }
}
