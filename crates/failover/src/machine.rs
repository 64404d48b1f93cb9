//! One virtual router's election (RFC 9568 section 6; RFC 3768 for version 2), without I/O or clock.
//!
//! ```text
//!             start, priority < 255          timer, nobody heard
//! Initialize ----------------------> Backup ---------------------> Active
//!     ^  |                            ^  |   <---------------------  | ^
//!     |  |                            |  |   a better router heard   | |
//!     |  +----- start, priority 255 --|--|---------------------------|-+
//!     +---------- stop, fault --------+--+---------------------------+
//! ```
//!
//! Whoever owns a machine tells it what happened ([`Machine::packet_received`], [`Machine::tick`]
//! when [`Machine::deadline`] has come, and so on), then does what [`Machine::poll_action`] says.
//! Packets that wait are handed in before a tick: a process that was stopped for a while then sees
//! that somebody else took over before it claims anything.

mod types;

pub use types::{Action, Advert, Cause, Health, Settings, State, Version, Wait};

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The priority of the router that owns the addresses (RFC 9568 section 6.1).
pub const OWNER: u8 = 255;

/// The priority that says "I am leaving" (RFC 9568 section 5.2.4).
pub const LEAVING: u8 = 0;

/// When an address that was just claimed is announced again: caches and switches may have missed
/// the first announcement.
const REPEATS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// The shortest interval that the protocol can carry.
pub const SHORTEST: Duration = Duration::from_millis(10);

/// At most one renewed announcement in this time while two routers contend.
const CALM: Duration = Duration::from_secs(1);

/// Adverts of a contender, one after another, after which it is said loudly.
const CONTENDED: u32 = 3;

/// The election of one virtual router.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Settings,
    state: State,
    running: bool,
    health: Health,
    /// Another member of the group is at fault.
    group_fault: bool,
    released: bool,
    /// Whether this router has what it needs to take over from one that is alive.
    ready: bool,
    /// Active: the next advert. Backup: when the active router counts as gone; none while a claim
    /// waits for the group.
    timer: Option<Instant>,
    /// The interval of the active router, as it advertises it.
    active_interval: Duration,
    /// Since when a worse active router is watched before it is preempted.
    watched: Option<Instant>,
    /// When a worse active router was last heard.
    worse: Option<Instant>,
    /// Whether the active router said that it leaves.
    left: bool,
    /// Second paths: until when each one's word that it is active counts.
    peers: Vec<(IpAddr, Instant)>,
    blocked: bool,
    /// The next announcement, and how many have been made since the claim.
    announce: Option<(Instant, usize)>,
    last_announce: Option<Instant>,
    last_advert: Option<Instant>,
    /// Adverts of a worse router while active, one after another, and the last one.
    contended: u32,
    last_contended: Option<Instant>,
    actions: VecDeque<Action>,
}

impl Machine {
    /// A machine that takes no part yet.
    pub fn new(settings: Settings) -> Machine {
        let active_interval = settings.interval;
        Machine {
            settings,
            state: State::Initialize,
            running: false,
            health: Health::default(),
            group_fault: false,
            released: false,
            ready: true,
            timer: None,
            active_interval: active_interval.max(SHORTEST),
            watched: None,
            worse: None,
            left: false,
            peers: Vec::new(),
            blocked: false,
            announce: None,
            last_announce: None,
            last_advert: None,
            contended: 0,
            last_contended: None,
            actions: VecDeque::new(),
        }
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// What it was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What it was last told by [`Machine::set_health`].
    pub fn health(&self) -> Health {
        self.health
    }

    /// Whether it was started and not stopped.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Whether an operator released it.
    pub fn is_released(&self) -> bool {
        self.released
    }

    /// Whether the second path keeps it from claiming.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether it would claim if its group let it.
    pub fn is_pending(&self) -> bool {
        self.state == State::Backup && self.timer.is_none()
    }

    /// What keeps a backup from being the active router that it would be otherwise.
    pub fn waits(&self, now: Instant) -> Option<Wait> {
        if self.state != State::Backup {
            return None;
        }
        let better = self.watched.is_some() && self.hears_worse(now);
        match better {
            _ if self.blocked => Some(Wait::Peer),
            _ if self.is_pending() => Some(Wait::Group),
            true if !self.ready => Some(Wait::Sessions),
            true if !self.settings.preempt_delay.is_zero() => Some(Wait::Delay),
            _ => None,
        }
    }

    /// The priority it advertises: what is configured and the weights of what it tracks, within
    /// 1 to 254. An owner keeps 255; who was released has 1.
    pub fn priority(&self) -> u8 {
        if self.released {
            return 1;
        }
        if self.settings.priority == OWNER {
            return OWNER;
        }
        let sum = i32::from(self.settings.priority).saturating_add(self.health.weight);
        sum.clamp(1, 254) as u8
    }

    /// How long a backup waits before it claims: three intervals of the active router and the
    /// skew, which is shorter the higher the priority. RFC 9568 section 6.1; RFC 3768 counts the
    /// skew in seconds whatever the interval.
    pub fn active_down_interval(&self) -> Duration {
        self.active_interval * 3 + self.skew()
    }

    fn skew(&self) -> Duration {
        self.skew_of(self.priority())
    }

    fn skew_of(&self, priority: u8) -> Duration {
        let base = match self.settings.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.active_interval,
        };
        base * (256 - u32::from(priority)) / 256
    }

    /// When [`Machine::tick`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        let announce = self.announce.map(|(at, _)| at);
        self.timer.into_iter().chain(announce).min()
    }

    /// What is to be done now; to be asked until there is nothing more.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Begins to take part.
    pub fn start(&mut self, now: Instant) {
        self.running = true;
        self.enter(Cause::Started, now);
    }

    /// Begins as the active router: another process of this machine was that until now and has
    /// left the addresses where they are.
    pub fn inherit(&mut self, now: Instant) {
        self.running = true;
        if self.state == State::Initialize && !self.at_fault() {
            self.become_active(Cause::Inherited, now);
        }
    }

    /// Leaves without a word: another process of this machine goes on in its place, with the
    /// addresses where they are.
    pub fn hand_over(&mut self) {
        self.running = false;
        self.state = State::Initialize;
        (self.timer, self.announce) = (None, None);
        self.actions.clear();
    }

    /// Leaves gracefully: the backup need not wait until we count as gone.
    pub fn stop(&mut self, now: Instant) {
        self.running = false;
        self.leave(State::Initialize, Cause::Stopped, now);
    }

    /// A reload: the state stays, what is advertised follows.
    pub fn reconfigure(&mut self, settings: Settings, now: Instant) {
        let before = self.priority();
        let changed = settings.interval != self.settings.interval;
        self.settings = settings;
        if self.state == State::Active && changed {
            self.active_interval = self.settings.interval.max(SHORTEST);
            self.advertise(now);
        } else {
            self.follow_priority(before, now);
        }
        if self.is_pending() && !self.settings.grouped {
            // There is no group any more that would let it claim.
            self.timer = Some(now);
        }
    }

    /// What tracking found changed.
    pub fn set_health(&mut self, health: Health, now: Instant) {
        let before = self.priority();
        self.health = health;
        self.follow_priority(before, now);
        self.follow_faults(now);
    }

    /// Whether another member of the group is at fault.
    pub fn set_group_fault(&mut self, fault: bool, now: Instant) {
        self.group_fault = fault;
        self.follow_faults(now);
    }

    /// Whether this router has what it needs to take over from one that is alive, its sessions
    /// above all. A dead one's place is taken at once in any case.
    pub fn set_ready(&mut self, ready: bool, now: Instant) {
        let waited = ready && !self.ready;
        self.ready = ready;
        if waited && let Some(since) = self.watched {
            let due = (since + self.settings.preempt_delay).max(now);
            self.timer = self.timer.map(|t| t.min(due));
        }
    }

    /// An operator wants another router to be active. This one stays a backup of the least
    /// priority: it takes over only when there is nobody else.
    pub fn release(&mut self, now: Instant) {
        self.released = true;
        self.leave(State::Backup, Cause::Released, now);
    }

    /// Takes [`Machine::release`] back.
    pub fn resume(&mut self, now: Instant) {
        let before = self.priority();
        self.released = false;
        self.follow_priority(before, now);
    }

    /// What a peer says of itself over the second path; its word counts for `valid`.
    pub fn peer_says(&mut self, peer: IpAddr, active: bool, valid: Duration, now: Instant) {
        self.peers.retain(|(p, until)| *p != peer && *until > now);
        if active {
            self.peers.push((peer, now + valid));
        } else if self.blocked && self.peers.is_empty() {
            // What kept us from claiming is over.
            self.timer = self.timer.map(|t| t.min(now));
        }
    }

    /// An advertisement of another router came.
    pub fn packet_received(&mut self, advert: &Advert, now: Instant) {
        match self.state {
            State::Initialize => {}
            State::Backup => self.hear_as_backup(advert, now),
            State::Active => self.hear_as_active(advert, now),
        }
    }

    /// Time has passed; does what is due.
    pub fn tick(&mut self, now: Instant) {
        if self.timer.is_some_and(|t| t <= now) {
            match self.state {
                State::Initialize => self.timer = None,
                State::Backup => self.active_is_gone(now),
                State::Active => self.advertise(now),
            }
        }
        if let Some((at, made)) = self.announce
            && at <= now
        {
            self.announce_again(made + 1, now);
        }
    }

    /// The group lets this member claim.
    pub fn claim(&mut self, now: Instant) {
        if self.is_pending() {
            self.become_active(self.claim_cause(now), now);
        }
    }

    /// The group needs this member to be a backup.
    pub fn yield_to_group(&mut self, now: Instant) {
        self.leave(State::Backup, Cause::Group, now);
    }

    fn at_fault(&self) -> bool {
        self.health.fault || self.group_fault
    }

    fn preempts(&self) -> bool {
        !self.released && (self.settings.preempt || self.priority() == OWNER)
    }

    fn enter(&mut self, cause: Cause, now: Instant) {
        if self.state != State::Initialize || !self.running || self.at_fault() {
            return;
        }
        if self.priority() == OWNER && !self.settings.grouped {
            return self.become_active(Cause::Owner, now);
        }
        self.become_backup(cause, self.settings.interval, now);
        if self.priority() == OWNER {
            self.timer = None;
        }
    }

    fn follow_faults(&mut self, now: Instant) {
        if self.at_fault() {
            self.leave(State::Initialize, Cause::Fault, now);
        } else {
            self.enter(Cause::Recovered, now);
        }
    }

    /// The priority may have changed: others hear of it at once, and who waits to claim waits as
    /// long as befits the new one.
    fn follow_priority(&mut self, before: u8, now: Instant) {
        match self.state {
            State::Active if self.priority() != before => self.advertise(now),
            State::Backup => {
                let less = self.skew_of(before).saturating_sub(self.skew());
                self.timer = self.timer.map(|t| t.checked_sub(less).unwrap_or(now));
            }
            _ => {}
        }
    }

    /// Goes to a lesser state; who was active says that it leaves.
    fn leave(&mut self, to: State, cause: Cause, now: Instant) {
        match (self.state, to) {
            (State::Active, _) => self.actions.push_back(Action::Advertise(LEAVING)),
            (State::Backup, State::Initialize) => {}
            _ => return,
        }
        if to == State::Backup {
            return self.become_backup(cause, self.settings.interval, now);
        }
        self.change(to, cause);
        self.timer = None;
    }

    fn change(&mut self, to: State, cause: Cause) {
        let from = std::mem::replace(&mut self.state, to);
        if from == State::Active && to != State::Active {
            self.actions.push_back(Action::Yield);
        }
        self.watched = None;
        self.worse = None;
        self.left = false;
        self.blocked = false;
        self.contended = 0;
        self.announce = None;
        self.last_announce = None;
        self.actions.push_back(Action::Changed { from, to, cause });
    }

    fn become_backup(&mut self, cause: Cause, interval: Duration, now: Instant) {
        self.change(State::Backup, cause);
        self.active_interval = interval.max(SHORTEST);
        self.timer = Some(now + self.active_down_interval());
    }

    fn become_active(&mut self, cause: Cause, now: Instant) {
        self.change(State::Active, cause);
        self.active_interval = self.settings.interval;
        self.advertise(now);
        self.actions.push_back(Action::Claim);
        self.last_announce = Some(now);
        self.announce = Some((now + REPEATS[0], 0));
    }

    fn advertise(&mut self, now: Instant) {
        self.actions.push_back(Action::Advertise(self.priority()));
        self.last_advert = Some(now);
        self.timer = Some(now + self.settings.interval);
    }

    fn announce_again(&mut self, made: usize, now: Instant) {
        self.actions.push_back(Action::Announce);
        self.last_announce = Some(now);
        let refresh = self.settings.refresh;
        let next = REPEATS.get(made).copied();
        let next = next.or((!refresh.is_zero()).then_some(refresh));
        self.announce = next.map(|wait| (now + wait, made));
    }

    fn hear_as_backup(&mut self, advert: &Advert, now: Instant) {
        if advert.priority == LEAVING {
            // Never later than before: a storm of farewells must not keep the address unserved.
            self.left = true;
            let due = now + self.skew();
            self.timer = self.timer.map(|t| t.min(due));
            return;
        }
        if advert.priority >= self.priority() || !self.preempts() {
            self.watched = None;
            return self.follow(advert, now);
        }
        let since = *self.watched.get_or_insert(now);
        let due = since + self.settings.preempt_delay;
        self.worse = Some(now);
        if self.ready && now >= due {
            // RFC 9568 section 6.4.2: it is not listened to, and the timer runs out.
            return;
        }
        self.follow(advert, now);
        if self.ready {
            self.timer = self.timer.map(|t| t.min(due));
        }
    }

    fn follow(&mut self, advert: &Advert, now: Instant) {
        self.left = false;
        self.blocked = false;
        self.active_interval = advert.interval.max(SHORTEST);
        self.timer = Some(now + self.active_down_interval());
    }

    fn hear_as_active(&mut self, advert: &Advert, now: Instant) {
        if advert.priority == LEAVING {
            self.contended = 0;
            return self.advertise(now);
        }
        let ours = self.priority();
        let better =
            advert.priority > ours || (advert.priority == ours && advert.from > self.settings.own);
        // We were silent for so long that we counted as gone: whoever speaks took over, and
        // packets that waited are older than what we would say now.
        let gone = self.active_down_interval();
        let silent = self.settings.interval * 3;
        let stalled = self.last_advert.is_some_and(|t| now > t + silent);
        if better || stalled {
            let cause = if better {
                Cause::Better
            } else {
                Cause::Stalled
            };
            return self.become_backup(cause, advert.interval, now);
        }
        if self.last_contended.is_none_or(|t| now > t + gone) {
            self.contended = 0;
        }
        self.last_contended = Some(now);
        self.contended = self.contended.saturating_add(1);
        if self.contended == CONTENDED {
            self.actions.push_back(Action::Contended(*advert));
        }
        // RFC 9568 section 6.4.3: asserted at once, but answers are no more than adverts could be.
        let calm = self.settings.interval / 2;
        if self.last_advert.is_none_or(|t| now >= t + calm) {
            self.advertise(now);
        }
        if self.last_announce.is_none_or(|t| now >= t + CALM) {
            // Its announcements may have displaced ours.
            self.announce_again(0, now);
        }
    }

    fn claim_cause(&self, now: Instant) -> Cause {
        if self.priority() == OWNER {
            Cause::Owner
        } else if self.left {
            Cause::Left
        } else if self.hears_worse(now) {
            Cause::Preempted
        } else {
            Cause::Silence
        }
    }

    fn hears_worse(&self, now: Instant) -> bool {
        self.worse
            .is_some_and(|t| now <= t + self.active_down_interval())
    }

    fn active_is_gone(&mut self, now: Instant) {
        self.peers.retain(|(_, until)| *until > now);
        let until = self.peers.iter().map(|(_, until)| *until).max();
        if let Some(until) = until
            && !self.left
            && !self.hears_worse(now)
        {
            self.timer = Some(until);
            if !std::mem::replace(&mut self.blocked, true) {
                self.actions.push_back(Action::Blocked);
            }
            return;
        }
        self.blocked = false;
        if self.settings.grouped {
            self.timer = None;
        } else {
            self.become_active(self.claim_cause(now), now);
        }
    }
}

#[cfg(test)]
mod tests;
