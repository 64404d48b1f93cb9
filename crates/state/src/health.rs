//! The state of a server's health, as its checks see it (manual section 5.2, `rise`, `fall`).
//!
//! A counter from 0 to `rise + fall - 1`; from `rise` on the server is up. A good check of a
//! server that is up jumps to the top; a bad one at `rise` falls to 0.

mod finding;

pub use finding::Finding;
pub use model::{CheckStatus, Outcome};

use model::InitState;
use std::time::{Duration, Instant};

/// What a change of state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change {
    Up,
    Down,
    /// Up, but takes no new sessions (`disable-on-404`).
    Stopping,
    /// Takes new sessions again.
    Running,
}

/// What a look at a server brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// The change of state, if it changed.
    pub change: Option<Change>,
    /// Whether the result or the count differs from the last, which `option log-health-checks` logs.
    pub news: bool,
}

/// What a server's agent said last (manual section 5.2, `agent-check`).
#[derive(Clone, Debug)]
pub struct Agent {
    /// The last result.
    pub last: Finding,
    /// Whether it keeps the server down.
    pub down: bool,
}

/// A server's health: what its checks found, and whether its agent agrees.
#[derive(Clone, Debug)]
pub struct Health {
    rise: u32,
    fall: u32,
    counter: u32,
    /// The counter at the start.
    start: u32,
    stopping: bool,
    /// When a check was last good; before the first, when it was first bad.
    good: Option<Instant>,
    /// The last result.
    pub last: Finding,
    /// Its agent, once there was one.
    agent: Option<Box<Agent>>,
    /// Failed checks so far, while it was up.
    pub failed: u64,
    /// Times it went down.
    pub went_down: u64,
    /// When the state last changed.
    pub changed: Option<Instant>,
    /// Time it was down before the last change.
    pub downtime: Duration,
}

impl Health {
    /// As a server starts: up, but one bad check away from down, if nothing else is said.
    pub fn new(rise: u32, fall: u32, init: InitState) -> Health {
        let (rise, fall) = (rise.max(1), fall.max(1));
        let start = match init {
            InitState::FullyUp => rise + fall - 1,
            InitState::Up => rise,
            InitState::Down => rise - 1,
            InitState::FullyDown => 0,
        };
        Health {
            rise,
            fall,
            counter: start,
            start,
            stopping: false,
            good: None,
            last: Finding::of(CheckStatus::Unknown),
            agent: None,
            failed: 0,
            went_down: 0,
            changed: None,
            downtime: Duration::ZERO,
        }
    }

    fn top(&self) -> u32 {
        self.rise + self.fall - 1
    }

    /// Whether its checks pass.
    pub fn passes(&self) -> bool {
        self.counter >= self.rise
    }

    /// What its agent said last.
    pub fn agent(&self) -> Option<&Agent> {
        self.agent.as_deref()
    }

    /// Whether its agent keeps it down.
    pub fn agent_down(&self) -> bool {
        self.agent.as_ref().is_some_and(|a| a.down)
    }

    /// Whether it is up: both its checks and its agent say so.
    pub fn is_up(&self) -> bool {
        self.passes() && !self.agent_down()
    }

    /// Whether it is up but takes no new sessions.
    pub fn is_stopping(&self) -> bool {
        self.stopping && self.is_up()
    }

    /// (checks towards the change, checks that the change takes), as `2/3` in the statistics.
    pub fn progress(&self) -> (u32, u32) {
        if self.passes() {
            (self.counter - self.rise + 1, self.fall)
        } else {
            (self.counter, self.rise)
        }
    }

    /// The counter, from 0 to `rise + fall - 1`.
    pub fn counter(&self) -> u32 {
        self.counter
    }

    /// Whether the counter stands between sure states.
    pub fn in_doubt(&self) -> bool {
        self.counter != 0 && self.counter != self.top()
    }

    /// When the silence since the last good check has lasted for `check-deadline`.
    pub fn silent_at(&self, check: &model::Check) -> Option<Instant> {
        self.passes()
            .then(|| self.good?.checked_add(check.deadline?))
            .flatten()
    }

    /// Takes one check's result at `now`. With `deadline` a failure ends a silence of that length:
    /// the server is down, whatever tries are left.
    pub fn on_result(&mut self, found: Finding, deadline: Option<Duration>, now: Instant) -> Noted {
        let before = (self.last.status, self.counter);
        let (was_up, was_stopping) = (self.is_up(), self.is_stopping());
        let outcome = found.status.outcome();
        self.last = found;
        match outcome {
            Outcome::Neutral => return Noted::default(),
            Outcome::Failed => {
                self.failed += u64::from(self.passes());
                let since = *self.good.get_or_insert(now);
                let silent = deadline.is_some_and(|d| now.saturating_duration_since(since) >= d);
                if self.counter > self.rise && !silent {
                    self.counter -= 1;
                } else {
                    (self.counter, self.stopping) = (0, false);
                }
            }
            Outcome::Passed | Outcome::Conditional => {
                self.good = Some(now);
                self.counter = (self.counter + 1).min(self.top());
                if self.passes() {
                    self.counter = self.top();
                    self.stopping = outcome == Outcome::Conditional;
                }
            }
        }
        Noted {
            change: self.compare(was_up, was_stopping, now),
            news: before != (self.last.status, self.counter),
        }
    }

    /// Takes what the agent answered at `now`. A result that says nothing of the server, such as
    /// an agent that cannot be reached, leaves the state as it is.
    pub fn on_agent(&mut self, found: Finding, now: Instant) -> Noted {
        let (was_up, was_stopping) = (self.is_up(), self.is_stopping());
        let agent = self.agent.get_or_insert_with(|| {
            Box::new(Agent {
                last: Finding::of(CheckStatus::Init),
                down: false,
            })
        });
        let before = (agent.last.status, agent.down);
        match found.status {
            CheckStatus::L7Ok => agent.down = false,
            CheckStatus::L7Status => agent.down = true,
            _ => {}
        }
        let news = found.status != CheckStatus::Checked && before != (found.status, agent.down);
        agent.last = found;
        Noted {
            change: self.compare(was_up, was_stopping, now),
            news,
        }
    }

    /// Sets what the agent says by hand (`set server … agent`).
    pub fn force_agent(&mut self, down: bool, now: Instant) -> Option<Change> {
        let (was_up, was_stopping) = (self.is_up(), self.is_stopping());
        if let Some(agent) = &mut self.agent {
            agent.down = down;
        } else if down {
            let last = Finding::of(CheckStatus::Init);
            self.agent = Some(Box::new(Agent { last, down }));
        }
        self.compare(was_up, was_stopping, now)
    }

    /// Forgets the agent, because there is none any more.
    pub fn drop_agent(&mut self) {
        self.agent = None;
    }

    /// Maintenance begins: for the statistics it goes down.
    pub fn suspend(&mut self, now: Instant) {
        if self.is_up() {
            self.went_down += 1;
            self.note(now, true);
        }
    }

    /// As a server with these settings starts.
    pub fn of(check: Option<&model::Check>) -> Health {
        match check {
            Some(check) => Health::new(check.rise, check.fall, check.init),
            // Numbers for the statistics: nobody checks it.
            None => Health::new(2, 3, InitState::Up),
        }
    }

    /// Begins anew with these settings but for the agent, whose word does not depend on them.
    pub fn restart(&mut self, check: Option<&model::Check>) {
        let agent = self.agent.take();
        *self = Health {
            agent,
            ..Health::of(check)
        };
    }

    /// Goes on with the tries that these settings want: up or down as it was, and as far from a change.
    pub fn retune(&mut self, check: &model::Check) {
        let new = Health::of(Some(check));
        self.counter = if self.counter == self.top() {
            new.top()
        } else if self.passes() {
            (self.counter - self.rise + new.rise).min(new.top())
        } else {
            self.counter.min(new.rise - 1)
        };
        (self.rise, self.fall, self.start) = (new.rise, new.fall, new.start);
    }

    /// Goes on where another process was that found it up: all its bad checks are left until it is
    /// down.
    pub fn go_on(&mut self) {
        self.counter = self.top();
    }

    /// Maintenance is over: it is as at the start.
    pub fn resume(&mut self, now: Instant) {
        (self.counter, self.stopping) = (self.start, false);
        self.note(now, false);
    }

    /// What changed since, noted with its time.
    fn compare(&mut self, was_up: bool, was_stopping: bool, now: Instant) -> Option<Change> {
        let change = match (was_up, self.is_up()) {
            (true, false) => Change::Down,
            (false, true) => Change::Up,
            (false, false) => return None,
            (true, true) => match (was_stopping, self.is_stopping()) {
                (false, true) => return Some(Change::Stopping),
                (true, false) => return Some(Change::Running),
                _ => return None,
            },
        };
        self.went_down += u64::from(change == Change::Down);
        self.note(now, was_up);
        Some(change)
    }

    /// One failed check away from down (`on-error sudden-death`).
    pub fn brink(&mut self) {
        self.counter = self.counter.min(self.rise);
    }

    /// Sets the state by hand (`set server … health`).
    pub fn force(&mut self, change: Change, now: Instant) -> Option<Change> {
        let (was_up, was_stopping) = (self.is_up(), self.is_stopping());
        (self.counter, self.stopping) = match change {
            Change::Down => (0, false),
            Change::Stopping => (self.top(), true),
            Change::Up | Change::Running => (self.top(), false),
        };
        self.compare(was_up, was_stopping, now)
    }

    fn note(&mut self, now: Instant, was_up: bool) {
        if let (false, Some(since)) = (was_up, self.changed) {
            self.downtime += now.saturating_duration_since(since);
        }
        self.changed = Some(now);
    }

    /// How long until the next check.
    pub fn interval(&self, check: &model::Check) -> Duration {
        if self.counter == 0 {
            check.downinter.unwrap_or(check.inter)
        } else if self.counter == self.top() {
            check.inter
        } else {
            check.fastinter.unwrap_or(check.inter)
        }
    }
}

#[cfg(test)]
mod tests;
