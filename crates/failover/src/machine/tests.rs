//! The transition table, row by row, then what must hold of any sequence of events.

use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn settings(priority: u8) -> Settings {
    Settings {
        version: Version::V3,
        priority,
        interval: 100 * MS,
        preempt: true,
        preempt_delay: Duration::ZERO,
        own: ip(5),
        refresh: Duration::ZERO,
        grouped: false,
    }
}

fn advert(priority: u8, from: u8) -> Advert {
    Advert {
        from: ip(from),
        priority,
        interval: 100 * MS,
    }
}

fn drain(m: &mut Machine) -> Vec<Action> {
    std::iter::from_fn(|| m.poll_action()).collect()
}

/// A machine in a state, with its actions done, and the time.
fn in_state(state: State, settings: Settings) -> (Machine, Instant) {
    let mut now = Instant::now();
    let mut m = Machine::new(settings);
    if state != State::Initialize {
        m.start(now);
    }
    if state == State::Active && m.state() != State::Active {
        now += m.active_down_interval();
        m.tick(now);
    }
    drain(&mut m);
    assert_eq!(m.state(), state);
    (m, now)
}

/// Everything that a machine can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Start,
    Inherit,
    Stop,
    HandOver,
    Fault,
    Recover,
    GroupFault,
    GroupRecover,
    Weight,
    Reload,
    Release,
    Resume,
    NotReady,
    Ready,
    PeerActive,
    PeerNotActive,
    Timer,
    TimerWhilePeerIsActive,
    Leaving,
    Lower,
    EqualLowerAddress,
    EqualHigherAddress,
    Higher,
    GroupYield,
    Claim,
}

fn happen(m: &mut Machine, event: Event, now: Instant) {
    match event {
        Event::Start => m.start(now),
        Event::Stop => m.stop(now),
        Event::Fault => m.set_health(
            Health {
                fault: true,
                weight: 0,
            },
            now,
        ),
        Event::Recover => m.set_health(Health::default(), now),
        Event::Inherit => m.inherit(now),
        Event::HandOver => m.hand_over(),
        Event::GroupFault => m.set_group_fault(true, now),
        Event::GroupRecover => m.set_group_fault(false, now),
        Event::Weight => m.set_health(
            Health {
                fault: false,
                weight: -30,
            },
            now,
        ),
        Event::Reload => m.reconfigure(settings(90), now),
        Event::Resume => m.resume(now),
        Event::NotReady => m.set_ready(false, now),
        Event::Ready => m.set_ready(true, now),
        Event::PeerActive => m.peer_says(ip(9), true, 500 * MS, now),
        Event::PeerNotActive => m.peer_says(ip(9), false, 500 * MS, now),
        Event::Release => m.release(now),
        Event::Timer => {
            let at = m.deadline().unwrap_or(now);
            m.tick(at);
        }
        Event::TimerWhilePeerIsActive => {
            let at = m.deadline().unwrap_or(now);
            m.peer_says(ip(9), true, 500 * MS, at);
            m.tick(at);
        }
        Event::Leaving => m.packet_received(&advert(0, 9), now),
        Event::Lower => m.packet_received(&advert(50, 9), now),
        Event::EqualLowerAddress => m.packet_received(&advert(100, 1), now),
        Event::EqualHigherAddress => m.packet_received(&advert(100, 9), now),
        Event::Higher => m.packet_received(&advert(200, 1), now),
        Event::GroupYield => m.yield_to_group(now),
        Event::Claim => m.claim(now),
    }
}

/// What happens in a state: event, next state, the actions but the change itself.
type Row = (State, Event, State, &'static [Action]);

const TABLE: &[Row] = {
    use Action::{Advertise, Announce, Blocked, Claim, Yield};
    use State::{Active, Backup, Initialize};
    &[
        (Initialize, Event::Start, Backup, &[]),
        (Initialize, Event::Inherit, Active, &[Advertise(100), Claim]),
        (Initialize, Event::Stop, Initialize, &[]),
        (Initialize, Event::HandOver, Initialize, &[]),
        (Initialize, Event::Fault, Initialize, &[]),
        (Initialize, Event::Recover, Initialize, &[]),
        (Initialize, Event::GroupFault, Initialize, &[]),
        (Initialize, Event::GroupRecover, Initialize, &[]),
        (Initialize, Event::Weight, Initialize, &[]),
        (Initialize, Event::Reload, Initialize, &[]),
        (Initialize, Event::Release, Initialize, &[]),
        (Initialize, Event::Resume, Initialize, &[]),
        (Initialize, Event::NotReady, Initialize, &[]),
        (Initialize, Event::Ready, Initialize, &[]),
        (Initialize, Event::PeerActive, Initialize, &[]),
        (Initialize, Event::PeerNotActive, Initialize, &[]),
        (Initialize, Event::Timer, Initialize, &[]),
        (Initialize, Event::TimerWhilePeerIsActive, Initialize, &[]),
        (Initialize, Event::Leaving, Initialize, &[]),
        (Initialize, Event::Lower, Initialize, &[]),
        (Initialize, Event::EqualLowerAddress, Initialize, &[]),
        (Initialize, Event::EqualHigherAddress, Initialize, &[]),
        (Initialize, Event::Higher, Initialize, &[]),
        (Initialize, Event::GroupYield, Initialize, &[]),
        (Initialize, Event::Claim, Initialize, &[]),
        (Backup, Event::Start, Backup, &[]),
        (Backup, Event::Inherit, Backup, &[]),
        (Backup, Event::Stop, Initialize, &[]),
        (Backup, Event::HandOver, Initialize, &[]),
        (Backup, Event::Fault, Initialize, &[]),
        (Backup, Event::Recover, Backup, &[]),
        (Backup, Event::GroupFault, Initialize, &[]),
        (Backup, Event::GroupRecover, Backup, &[]),
        (Backup, Event::Weight, Backup, &[]),
        (Backup, Event::Reload, Backup, &[]),
        (Backup, Event::Release, Backup, &[]),
        (Backup, Event::Resume, Backup, &[]),
        (Backup, Event::NotReady, Backup, &[]),
        (Backup, Event::Ready, Backup, &[]),
        (Backup, Event::PeerActive, Backup, &[]),
        (Backup, Event::PeerNotActive, Backup, &[]),
        (Backup, Event::Timer, Active, &[Advertise(100), Claim]),
        (Backup, Event::TimerWhilePeerIsActive, Backup, &[Blocked]),
        (Backup, Event::Leaving, Backup, &[]),
        (Backup, Event::Lower, Backup, &[]),
        (Backup, Event::EqualLowerAddress, Backup, &[]),
        (Backup, Event::EqualHigherAddress, Backup, &[]),
        (Backup, Event::Higher, Backup, &[]),
        (Backup, Event::GroupYield, Backup, &[]),
        (Backup, Event::Claim, Backup, &[]),
        (Active, Event::Start, Active, &[]),
        (Active, Event::Inherit, Active, &[]),
        (Active, Event::Stop, Initialize, &[Advertise(0), Yield]),
        (Active, Event::HandOver, Initialize, &[]),
        (Active, Event::Fault, Initialize, &[Advertise(0), Yield]),
        (Active, Event::Recover, Active, &[]),
        (
            Active,
            Event::GroupFault,
            Initialize,
            &[Advertise(0), Yield],
        ),
        (Active, Event::GroupRecover, Active, &[]),
        (Active, Event::Weight, Active, &[Advertise(70)]),
        (Active, Event::Reload, Active, &[Advertise(90)]),
        (Active, Event::Release, Backup, &[Advertise(0), Yield]),
        (Active, Event::Resume, Active, &[]),
        (Active, Event::NotReady, Active, &[]),
        (Active, Event::Ready, Active, &[]),
        (Active, Event::PeerActive, Active, &[]),
        (Active, Event::PeerNotActive, Active, &[]),
        (Active, Event::Timer, Active, &[Advertise(100), Announce]),
        (
            Active,
            Event::TimerWhilePeerIsActive,
            Active,
            &[Advertise(100), Announce],
        ),
        (Active, Event::Leaving, Active, &[Advertise(100)]),
        (Active, Event::Lower, Active, &[]),
        (Active, Event::EqualLowerAddress, Active, &[]),
        (Active, Event::EqualHigherAddress, Backup, &[Yield]),
        (Active, Event::Higher, Backup, &[Yield]),
        (Active, Event::GroupYield, Backup, &[Advertise(0), Yield]),
        (Active, Event::Claim, Active, &[]),
    ]
};

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    for (from, event, to, actions) in TABLE {
        let (mut m, now) = in_state(*from, settings(100));
        happen(&mut m, *event, now + MS);
        let did: Vec<Action> = drain(&mut m)
            .into_iter()
            .filter(|a| !matches!(a, Action::Changed { .. }))
            .collect();
        assert_eq!((m.state(), &*did), (*to, *actions), "{from:?} {event:?}");
        let timed = m.deadline().is_some();
        assert_eq!(timed, *to != State::Initialize, "{from:?} {event:?}");
    }
}

/// Each state has each event once: the events are those of one state, in the same order in all.
#[test]
fn the_table_is_whole() {
    let of = |state| {
        let rows = TABLE.iter().filter(move |r| r.0 == state);
        rows.map(|r| r.1).collect::<Vec<Event>>()
    };
    let events = of(State::Initialize);
    // The last variant's number says how many there are.
    assert_eq!(events.len(), Event::Claim as usize + 1);
    for (at, event) in events.iter().enumerate() {
        assert_eq!(*event as usize, at);
    }
    assert_eq!(of(State::Backup), events);
    assert_eq!(of(State::Active), events);
}

#[test]
fn a_backup_says_what_it_waits_for() {
    let (mut m, mut now) = in_state(State::Backup, settings(200));
    assert_eq!(m.waits(now), None);
    m.set_ready(false, now);
    assert_eq!(m.waits(now), None, "nobody is there to take over from");
    for _ in 0..5 {
        now += 100 * MS;
        m.packet_received(&advert(50, 9), now);
        assert_eq!(m.waits(now), Some(Wait::Sessions));
    }
    m.set_ready(true, now);
    m.tick(now);
    assert_eq!((m.state(), m.waits(now)), (State::Active, None));

    let delayed = Settings {
        preempt_delay: 5000 * MS,
        ..settings(200)
    };
    let (mut m, now) = in_state(State::Backup, delayed);
    m.packet_received(&advert(50, 9), now);
    assert_eq!(m.waits(now), Some(Wait::Delay));
    m.packet_received(&advert(250, 9), now + MS);
    assert_eq!(m.waits(now + MS), None, "the other one is better");

    let (mut m, now) = in_state(State::Backup, settings(200));
    let gone = now + m.active_down_interval();
    m.peer_says(ip(9), true, 500 * MS, gone);
    m.tick(gone);
    assert_eq!(m.waits(gone), Some(Wait::Peer));

    let grouped = Settings {
        grouped: true,
        ..settings(200)
    };
    let (mut m, now) = in_state(State::Backup, grouped);
    let gone = now + m.active_down_interval();
    m.tick(gone);
    assert_eq!(m.waits(gone), Some(Wait::Group));
}

#[test]
fn an_active_router_advertises_each_interval() {
    let (mut m, start) = in_state(State::Active, settings(100));
    let mut sent = Vec::new();
    let mut now = start;
    while now < start + 1000 * MS {
        now = m.deadline().expect("a timer");
        m.tick(now);
        let adverts = drain(&mut m).into_iter();
        sent.extend(
            adverts
                .filter(|a| *a == Action::Advertise(100))
                .map(|_| now - start),
        );
    }
    let wanted: Vec<Duration> = (1..=10).map(|n| n * 100 * MS).collect();
    assert_eq!(sent, wanted);
}

#[test]
fn claimed_addresses_are_announced_again_and_then_refreshed() {
    let mut s = settings(100);
    s.refresh = Duration::from_secs(60);
    let (mut m, start) = in_state(State::Active, s);
    let mut at = Vec::new();
    while at.len() < 6 {
        let now = m.deadline().expect("a timer");
        m.tick(now);
        if drain(&mut m).contains(&Action::Announce) {
            at.push((now - start).as_millis());
        }
    }
    assert_eq!(at, [100, 600, 2600, 7600, 67_600, 127_600]);
}

#[test]
fn the_owner_is_active_at_once_and_never_preempted() {
    let (mut m, now) = in_state(State::Active, settings(OWNER));
    m.packet_received(&advert(254, 9), now + MS);
    m.set_health(
        Health {
            fault: false,
            weight: -200,
        },
        now + MS,
    );
    assert_eq!((m.state(), m.priority()), (State::Active, OWNER));
}

#[test]
fn the_backup_of_highest_priority_waits_least() {
    let wait = |priority| {
        in_state(State::Backup, settings(priority))
            .0
            .active_down_interval()
    };
    assert_eq!(wait(100), 300 * MS + 100 * MS * 156 / 256);
    assert!(wait(254) < wait(253) && wait(253) < wait(1));
    let v2 = Settings {
        version: Version::V2,
        interval: 2000 * MS,
        ..settings(128)
    };
    let (m, _) = in_state(State::Backup, v2);
    assert_eq!(m.active_down_interval(), 6000 * MS + 500 * MS);
}

#[test]
fn a_backup_follows_the_interval_that_the_active_router_advertises() {
    let (mut m, now) = in_state(State::Backup, settings(100));
    let slow = Advert {
        interval: 1000 * MS,
        ..advert(200, 9)
    };
    m.packet_received(&slow, now);
    assert_eq!(m.deadline(), Some(now + m.active_down_interval()));
    assert!(m.active_down_interval() > 3000 * MS);
    m.tick(now + 3000 * MS);
    assert_eq!(m.state(), State::Backup);
}

#[test]
fn an_advertised_interval_of_zero_does_not_make_a_backup_claim_at_once() {
    let (mut m, now) = in_state(State::Backup, settings(100));
    let zero = Advert {
        interval: Duration::ZERO,
        ..advert(200, 9)
    };
    m.packet_received(&zero, now);
    m.tick(now + 30 * MS);
    assert_eq!(m.state(), State::Backup);
}

#[test]
fn without_preemption_a_live_active_router_keeps_its_place() {
    let mut s = settings(200);
    s.preempt = false;
    let (mut m, mut now) = in_state(State::Backup, s);
    for _ in 0..100 {
        now += 100 * MS;
        m.packet_received(&advert(50, 9), now);
        m.tick(now);
    }
    assert_eq!(m.state(), State::Backup);
    now += m.active_down_interval();
    m.tick(now);
    assert_eq!(m.state(), State::Active);
}

#[test]
fn preemption_waits_for_its_delay_and_no_longer() {
    let mut s = settings(200);
    s.preempt_delay = 5000 * MS;
    let (mut m, start) = in_state(State::Backup, s);
    let mut now = start;
    m.packet_received(&advert(50, 9), now);
    while m.state() == State::Backup {
        let next = (now + 100 * MS).min(m.deadline().expect("a timer"));
        now = next;
        m.tick(now);
        if m.state() == State::Backup {
            m.packet_received(&advert(50, 9), now);
        }
    }
    assert_eq!(now - start, 5000 * MS);
    let cause = drain(&mut m).into_iter().find_map(|a| match a {
        Action::Changed { cause, .. } => Some(cause),
        _ => None,
    });
    assert_eq!(cause, Some(Cause::Preempted));
}

#[test]
fn a_dead_active_router_is_replaced_in_spite_of_the_delay() {
    let mut s = settings(200);
    s.preempt_delay = Duration::from_secs(3600);
    let (mut m, now) = in_state(State::Backup, s);
    m.packet_received(&advert(50, 9), now);
    m.tick(now + m.active_down_interval());
    assert_eq!(m.state(), State::Active);
}

#[test]
fn failback_waits_until_sessions_are_there() {
    let (mut m, mut now) = in_state(State::Backup, settings(200));
    m.set_ready(false, now);
    for _ in 0..50 {
        now += 100 * MS;
        m.packet_received(&advert(50, 9), now);
        m.tick(now);
    }
    assert_eq!(m.state(), State::Backup);
    m.set_ready(true, now);
    m.tick(now);
    assert_eq!(m.state(), State::Active);
    // A dead one is replaced whether they are there or not.
    let (mut m, now) = in_state(State::Backup, settings(200));
    m.set_ready(false, now);
    m.packet_received(&advert(50, 9), now);
    m.tick(now + m.active_down_interval());
    assert_eq!(m.state(), State::Active);
}

#[test]
fn a_farewell_shortens_the_wait_to_the_skew_and_many_do_not_lengthen_it() {
    let (mut m, start) = in_state(State::Backup, settings(128));
    m.packet_received(&advert(200, 9), start);
    for n in 0..40 {
        m.packet_received(&advert(0, 9), start + n * MS);
    }
    assert_eq!(m.deadline(), Some(start + 50 * MS));
}

#[test]
fn the_second_path_keeps_a_backup_from_claiming_while_the_peer_says_it_is_active() {
    let (mut m, start) = in_state(State::Backup, settings(100));
    let gone = m.active_down_interval();
    m.peer_says(ip(9), true, 500 * MS, start + gone - MS);
    m.tick(start + gone);
    assert_eq!((m.state(), m.is_blocked()), (State::Backup, true));
    assert_eq!(drain(&mut m), [Action::Blocked]);
    // Silence there never blocks for longer than its last word counts.
    let until = start + gone - MS + 500 * MS;
    assert_eq!(m.deadline(), Some(until));
    m.tick(until);
    assert_eq!(m.state(), State::Active);
}

#[test]
fn a_peer_that_says_it_is_not_active_does_not_block() {
    let (mut m, start) = in_state(State::Backup, settings(100));
    let gone = m.active_down_interval();
    m.peer_says(ip(9), true, 5000 * MS, start);
    m.tick(start + gone);
    assert_eq!(m.state(), State::Backup);
    m.peer_says(ip(9), false, 5000 * MS, start + gone + MS);
    m.tick(start + gone + MS);
    assert_eq!(m.state(), State::Active);
}

#[test]
fn preemption_and_a_farewell_are_no_concern_of_the_second_path() {
    for farewell in [false, true] {
        let (mut m, start) = in_state(State::Backup, settings(200));
        let mut now = start;
        while m.state() == State::Backup && now < start + 1000 * MS {
            now += 50 * MS;
            m.peer_says(ip(9), true, 500 * MS, now);
            m.packet_received(&advert(if farewell { 0 } else { 50 }, 9), now);
            m.tick(now);
        }
        assert_eq!(m.state(), State::Active);
    }
}

#[test]
fn a_process_that_was_stopped_yields_to_who_took_over() {
    let (mut m, now) = in_state(State::Active, settings(200));
    let later = now + Duration::from_secs(10);
    m.packet_received(&advert(50, 9), later);
    m.tick(later);
    assert_eq!(m.state(), State::Backup);
    assert!(drain(&mut m).contains(&Action::Yield));
    // Nobody there: it goes on.
    let (mut m, now) = in_state(State::Active, settings(200));
    m.tick(now + Duration::from_secs(10));
    assert_eq!(m.state(), State::Active);
}

#[test]
fn a_clock_that_jumps_ahead_makes_up_for_nothing() {
    let day = Duration::from_secs(86_400);
    let (mut m, now) = in_state(State::Active, settings(200));
    m.tick(now + day);
    // One advert, not those of a whole day.
    let adverts = drain(&mut m).into_iter();
    let adverts = adverts.filter(|a| *a == Action::Advertise(200)).count();
    assert_eq!((adverts, m.state()), (1, State::Active));
    assert_eq!(m.deadline(), Some(now + day + 100 * MS));
    // A backup that hears the active one first, as what waits is read first, claims nothing.
    let (mut m, now) = in_state(State::Backup, settings(100));
    m.packet_received(&advert(200, 9), now + day);
    m.tick(now + day);
    assert_eq!((m.state(), drain(&mut m)), (State::Backup, Vec::new()));
    // Time that seems to stand still or to go back changes nothing either.
    m.tick(now);
    m.packet_received(&advert(200, 9), now);
    assert_eq!((m.state(), drain(&mut m)), (State::Backup, Vec::new()));
}

#[test]
fn a_contender_is_said_loudly_once() {
    let (mut m, mut now) = in_state(State::Active, settings(200));
    let mut said = 0;
    for _ in 0..50 {
        now += 100 * MS;
        m.packet_received(&advert(50, 9), now);
        m.tick(now);
        let actions = drain(&mut m);
        said += actions
            .iter()
            .filter(|a| matches!(a, Action::Contended(_)))
            .count();
        let adverts = actions
            .iter()
            .filter(|a| **a == Action::Advertise(200))
            .count();
        assert!(adverts <= 2, "{adverts}");
    }
    assert_eq!((m.state(), said), (State::Active, 1));
}

#[test]
fn a_released_router_comes_back_only_when_nobody_else_is_there_or_it_is_resumed() {
    let (mut m, mut now) = in_state(State::Active, settings(200));
    m.release(now);
    for _ in 0..50 {
        now += 100 * MS;
        m.packet_received(&advert(50, 9), now);
        m.tick(now);
    }
    assert_eq!(m.state(), State::Backup);
    m.tick(now + m.active_down_interval());
    assert_eq!((m.state(), m.priority()), (State::Active, 1));
    drain(&mut m);
    m.resume(now);
    assert_eq!(drain(&mut m), [Action::Advertise(200)]);
}

#[test]
fn weights_change_what_an_active_router_advertises_at_once() {
    let (mut m, now) = in_state(State::Active, settings(100));
    m.set_health(
        Health {
            fault: false,
            weight: -30,
        },
        now,
    );
    assert_eq!(drain(&mut m), [Action::Advertise(70)]);
    m.set_health(
        Health {
            fault: false,
            weight: -300,
        },
        now,
    );
    assert_eq!(drain(&mut m), [Action::Advertise(1)]);
    m.set_health(
        Health {
            fault: false,
            weight: 300,
        },
        now,
    );
    assert_eq!(drain(&mut m), [Action::Advertise(254)]);
}

#[test]
fn a_reload_changes_no_state() {
    for state in [State::Initialize, State::Backup, State::Active] {
        let (mut m, now) = in_state(state, settings(100));
        m.reconfigure(settings(90), now);
        assert_eq!(m.state(), state);
        let wanted: &[Action] = match state {
            State::Active => &[Action::Advertise(90)],
            _ => &[],
        };
        assert_eq!(drain(&mut m), wanted);
    }
}

#[test]
fn a_process_that_takes_over_on_the_same_machine_starts_active() {
    let now = Instant::now();
    let mut m = Machine::new(settings(100));
    m.inherit(now);
    assert_eq!(m.state(), State::Active);
    assert!(drain(&mut m).contains(&Action::Advertise(100)));
}

fn event() -> impl Strategy<Value = (u64, u8, u8, u8)> {
    (0u64..400, 0u8..16, any::<u8>(), 1u8..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens: claims and yields alternate, changes join up, an active or backup machine
    /// has a timer unless it waits for its group, and no priority leaves its limits.
    #[test]
    fn any_sequence_of_events_keeps_the_promises(
        priority in 1u8..=255, preempt: bool, grouped: bool, delay in 0u64..1000,
        events in proptest::collection::vec(event(), 1..80),
    ) {
        let mut s = settings(priority);
        s.preempt = preempt;
        s.grouped = grouped;
        s.preempt_delay = Duration::from_millis(delay);
        let mut m = Machine::new(s);
        let mut now = Instant::now();
        let (mut state, mut claimed) = (State::Initialize, false);
        for (wait, kind, a, b) in events {
            now += Duration::from_millis(wait);
            match kind {
                0 => m.start(now),
                1 => m.stop(now),
                2 => m.set_health(Health { fault: a & 1 == 1, weight: i32::from(a) - 128 }, now),
                3 => m.release(now),
                4 => m.resume(now),
                5 => m.peer_says(ip(b), a & 1 == 1, Duration::from_millis(300), now),
                6 => m.set_ready(a & 1 == 1, now),
                7 => m.set_group_fault(a & 1 == 1, now),
                8 => m.claim(now),
                9 => m.yield_to_group(now),
                10 => m.inherit(now),
                11 | 12 => m.packet_received(&advert(a, b), now),
                _ => m.tick(m.deadline().unwrap_or(now).max(now)),
            }
            while let Some(action) = m.poll_action() {
                match action {
                    Action::Claim => {
                        prop_assert!(!claimed);
                        claimed = true;
                    }
                    Action::Yield => {
                        prop_assert!(claimed);
                        claimed = false;
                    }
                    Action::Changed { from, to, .. } => {
                        prop_assert_eq!(from, state);
                        state = to;
                    }
                    Action::Announce => prop_assert!(claimed),
                    _ => {}
                }
            }
            prop_assert_eq!(state, m.state());
            prop_assert_eq!(claimed, state == State::Active);
            prop_assert!(m.priority() > 0);
            prop_assert!(m.deadline().is_some() || state == State::Initialize || m.is_pending());
            prop_assert!(!m.is_pending() || grouped);
        }
    }
}
