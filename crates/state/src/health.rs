//! The state of a server's health, as its checks see it (manual section 5.2, `rise`, `fall`).
//!
//! A counter from 0 to `rise + fall - 1`; from `rise` on the server is up. A good check of a
//! server that is up jumps to the top; a bad one at `rise` falls to 0.

mod finding;

pub use finding::Finding;
pub use model::{CheckStatus, Outcome};

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
    stopping: bool,
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
    /// As a server starts: up, but one bad check away from down.
    pub fn new(rise: u32, fall: u32) -> Health {
        let rise = rise.max(1);
        Health {
            rise,
            fall: fall.max(1),
            counter: rise,
            stopping: false,
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

    /// Takes one check's result at `now`.
    pub fn on_result(&mut self, found: Finding, now: Instant) -> Noted {
        let before = (self.last.status, self.counter);
        let (was_up, was_stopping) = (self.is_up(), self.is_stopping());
        let outcome = found.status.outcome();
        self.last = found;
        match outcome {
            Outcome::Neutral => return Noted::default(),
            Outcome::Failed => {
                self.failed += u64::from(self.passes());
                if self.counter > self.rise {
                    self.counter -= 1;
                } else {
                    (self.counter, self.stopping) = (0, false);
                }
            }
            Outcome::Passed | Outcome::Conditional => {
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

    /// Maintenance is over: it is as at the start.
    pub fn resume(&mut self, now: Instant) {
        (self.counter, self.stopping) = (self.rise, false);
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

    /// Leaves the sure state, so that the next check comes after `fastinter` (`on-error fastinter`).
    pub fn doubt(&mut self) {
        if self.counter == self.top() && self.counter > self.rise {
            self.counter -= 1;
        }
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
mod tests {
    use super::*;
    use CheckStatus::{L4Con as Bad, L4Ok as Good, L7OkCond as Cond};

    fn run(health: &mut Health, results: &[CheckStatus]) -> Vec<Option<Change>> {
        let now = Instant::now();
        results
            .iter()
            .map(|r| health.on_result(Finding::of(*r), now).change)
            .collect()
    }

    #[test]
    fn one_failure_at_the_start_brings_a_server_down() {
        assert_eq!(run(&mut Health::new(2, 3), &[Bad]), [Some(Change::Down)]);
    }

    #[test]
    fn a_server_known_to_be_good_falls_after_fall_failures_in_a_row() {
        let mut health = Health::new(2, 3);
        let changes = run(&mut health, &[Good, Bad, Bad, Good, Bad, Bad, Bad]);
        assert_eq!(
            changes,
            [None, None, None, None, None, None, Some(Change::Down)]
        );
        assert_eq!((health.failed, health.went_down), (5, 1));
    }

    #[test]
    fn a_server_that_is_down_rises_after_rise_successes_in_a_row() {
        let mut health = Health::new(3, 2);
        run(&mut health, &[Bad]);
        let changes = run(&mut health, &[Good, Good, Bad, Good, Good, Good]);
        assert_eq!(changes, [None, None, None, None, None, Some(Change::Up)]);
    }

    #[test]
    fn a_conditional_pass_stops_a_server_and_a_full_one_starts_it_again() {
        let mut health = Health::new(2, 3);
        let changes = run(&mut health, &[Good, Cond, Cond, Good]);
        assert_eq!(
            changes,
            [None, Some(Change::Stopping), None, Some(Change::Running)]
        );
    }

    #[test]
    fn intervals_follow_the_state() {
        let s = Duration::from_secs;
        let check = model::Check {
            inter: s(2),
            fastinter: Some(s(1)),
            downinter: Some(s(5)),
            ..model::Check::default()
        };
        let mut health = Health::new(2, 3);
        assert_eq!(health.interval(&check), s(1), "in doubt at the start");
        run(&mut health, &[Good]);
        assert_eq!(health.interval(&check), s(2));
        run(&mut health, &[Bad]);
        assert_eq!(health.interval(&check), s(1));
        run(&mut health, &[Bad, Bad]);
        assert_eq!(health.interval(&check), s(5));
        run(&mut health, &[Good]);
        assert_eq!(health.interval(&check), s(1));
    }
}
