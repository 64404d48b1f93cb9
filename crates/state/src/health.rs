//! The state of a server's health, as its checks see it (manual section 5.2, `rise`, `fall`).
//!
//! A counter from 0 to `rise + fall - 1`; from `rise` on the server is up. A good check of a
//! server that is up jumps to the top; a bad one at `rise` falls to 0.

use std::time::{Duration, Instant};

/// What one check came to, with HAProxy's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CheckStatus {
    Unknown,
    Init,
    Analysis,
    SockErr,
    L4Ok,
    L4TimeOut,
    L4Con,
    L6Ok,
    L6TimeOut,
    L6Response,
    L7Ok,
    L7OkCond,
    L7TimeOut,
    L7Response,
    L7Status,
}

impl CheckStatus {
    /// The code in the statistics.
    pub fn code(self) -> &'static str {
        match self {
            CheckStatus::Unknown => "UNK",
            CheckStatus::Init => "INI",
            CheckStatus::Analysis => "HANA",
            CheckStatus::SockErr => "SOCKERR",
            CheckStatus::L4Ok => "L4OK",
            CheckStatus::L4TimeOut => "L4TOUT",
            CheckStatus::L4Con => "L4CON",
            CheckStatus::L6Ok => "L6OK",
            CheckStatus::L6TimeOut => "L6TOUT",
            CheckStatus::L6Response => "L6RSP",
            CheckStatus::L7Ok => "L7OK",
            CheckStatus::L7OkCond => "L7OKC",
            CheckStatus::L7TimeOut => "L7TOUT",
            CheckStatus::L7Response => "L7RSP",
            CheckStatus::L7Status => "L7STS",
        }
    }

    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            CheckStatus::Unknown => "Unknown",
            CheckStatus::Init => "Initializing",
            CheckStatus::Analysis => "Health analyze",
            CheckStatus::SockErr => "Socket error",
            CheckStatus::L4Ok => "Layer4 check passed",
            CheckStatus::L4TimeOut => "Layer4 timeout",
            CheckStatus::L4Con => "Layer4 connection problem",
            CheckStatus::L6Ok => "Layer6 check passed",
            CheckStatus::L6TimeOut => "Layer6 timeout",
            CheckStatus::L6Response => "Layer6 invalid response",
            CheckStatus::L7Ok => "Layer7 check passed",
            CheckStatus::L7OkCond => "Layer7 check conditionally passed",
            CheckStatus::L7TimeOut => "Layer7 timeout",
            CheckStatus::L7Response => "Layer7 invalid response",
            CheckStatus::L7Status => "Layer7 wrong status",
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            CheckStatus::L4Ok | CheckStatus::L6Ok | CheckStatus::L7Ok => Outcome::Passed,
            CheckStatus::L7OkCond => Outcome::Conditional,
            _ => Outcome::Failed,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Conditional,
    Failed,
}

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

/// A server's health.
#[derive(Clone, Debug)]
pub struct Health {
    rise: u32,
    fall: u32,
    counter: u32,
    stopping: bool,
    /// The last result.
    pub status: CheckStatus,
    /// Its HTTP status, if it has one.
    pub status_code: Option<u16>,
    /// How long it took.
    pub duration: Duration,
    /// Failed checks so far.
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
            status: CheckStatus::Unknown,
            status_code: None,
            duration: Duration::ZERO,
            failed: 0,
            went_down: 0,
            changed: None,
            downtime: Duration::ZERO,
        }
    }

    fn top(&self) -> u32 {
        self.rise + self.fall - 1
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.counter >= self.rise
    }

    /// Whether it is up but takes no new sessions.
    pub fn is_stopping(&self) -> bool {
        self.stopping && self.is_up()
    }

    /// (checks towards the change, checks that the change takes), as `2/3` in the statistics.
    pub fn progress(&self) -> (u32, u32) {
        if self.is_up() {
            (self.counter - self.rise + 1, self.fall)
        } else {
            (self.counter, self.rise)
        }
    }

    /// Whether the counter stands between sure states.
    pub fn in_doubt(&self) -> bool {
        self.counter != 0 && self.counter != self.top()
    }

    /// Takes one check's result at `now`.
    pub fn on_result(
        &mut self,
        status: CheckStatus,
        code: Option<u16>,
        took: Duration,
        now: Instant,
    ) -> Option<Change> {
        (self.status, self.status_code, self.duration) = (status, code, took);
        let was_up = self.is_up();
        match status.outcome() {
            Outcome::Failed => {
                self.failed += 1;
                if self.counter > self.rise {
                    self.counter -= 1;
                    return None;
                }
                self.counter = 0;
                if !was_up {
                    return None;
                }
                self.stopping = false;
                self.went_down += 1;
                self.note(now, was_up);
                Some(Change::Down)
            }
            outcome => {
                if was_up {
                    self.counter = self.top();
                } else {
                    self.counter += 1;
                }
                let stopping = outcome == Outcome::Conditional;
                let turned = stopping != self.stopping;
                if !self.is_up() {
                    return None;
                }
                self.counter = self.top();
                self.stopping = stopping;
                match (was_up, turned) {
                    (false, _) => {
                        self.note(now, was_up);
                        Some(Change::Up)
                    }
                    (true, true) => Some(if stopping {
                        Change::Stopping
                    } else {
                        Change::Running
                    }),
                    (true, false) => None,
                }
            }
        }
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
    pub fn force(&mut self, change: Change, now: Instant) {
        let was_up = self.is_up();
        (self.counter, self.stopping) = match change {
            Change::Down => (0, false),
            Change::Stopping => (self.top(), true),
            Change::Up | Change::Running => (self.top(), false),
        };
        if was_up != self.is_up() {
            self.note(now, was_up);
        }
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
            .map(|r| health.on_result(*r, None, Duration::ZERO, now))
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
