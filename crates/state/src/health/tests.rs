use super::*;
use CheckStatus::{L4Con as Bad, L4Ok as Good, L7OkCond as Cond};

fn run(health: &mut Health, results: &[CheckStatus]) -> Vec<Option<Change>> {
    let now = Instant::now();
    results
        .iter()
        .map(|r| health.on_result(Finding::of(*r), None, now).change)
        .collect()
}

#[test]
fn one_failure_at_the_start_brings_a_server_down() {
    assert_eq!(
        run(&mut Health::new(2, 3, InitState::Up), &[Bad]),
        [Some(Change::Down)]
    );
}

#[test]
fn a_server_starts_as_it_is_told() {
    use InitState::{Down, FullyDown, FullyUp, Up};
    for (init, up, checks, result) in [
        (FullyUp, true, 3, Bad),
        (Up, true, 1, Bad),
        (Down, false, 1, Good),
        (FullyDown, false, 2, Good),
    ] {
        let mut health = Health::new(2, 3, init);
        for _ in 0..2 {
            assert_eq!(health.is_up(), up, "{init:?}");
            for n in 1..=checks {
                let change = health
                    .on_result(Finding::of(result), None, Instant::now())
                    .change;
                assert_eq!(change.is_some(), n == checks, "{init:?}: {n}");
            }
            // And after maintenance again.
            health.resume(Instant::now());
        }
    }
}

#[test]
fn a_server_known_to_be_good_falls_after_fall_failures_in_a_row() {
    let mut health = Health::new(2, 3, InitState::Up);
    let changes = run(&mut health, &[Good, Bad, Bad, Good, Bad, Bad, Bad]);
    assert_eq!(
        changes,
        [None, None, None, None, None, None, Some(Change::Down)]
    );
    assert_eq!((health.failed, health.went_down), (5, 1));
}

#[test]
fn a_server_that_is_down_rises_after_rise_successes_in_a_row() {
    let mut health = Health::new(3, 2, InitState::Up);
    run(&mut health, &[Bad]);
    let changes = run(&mut health, &[Good, Good, Bad, Good, Good, Good]);
    assert_eq!(changes, [None, None, None, None, None, Some(Change::Up)]);
}

#[test]
fn a_conditional_pass_stops_a_server_and_a_full_one_starts_it_again() {
    let mut health = Health::new(2, 3, InitState::Up);
    let changes = run(&mut health, &[Good, Cond, Cond, Good]);
    assert_eq!(
        changes,
        [None, Some(Change::Stopping), None, Some(Change::Running)]
    );
}

/// Every counter of `rise 2 fall 3` (0 to 4, up from 2 on) with every kind of result:
/// counter after it, and what that changes.
#[test]
fn the_table_of_transitions() {
    use Change::{Down, Running, Stopping, Up};
    const NEUTRAL: CheckStatus = CheckStatus::Checked;
    let table = [
        // Down, and sure of it.
        ((0, false), Bad, (0, false), None),
        ((0, false), Good, (1, false), None),
        ((0, false), Cond, (1, false), None),
        // On the way up.
        ((1, false), Bad, (0, false), None),
        ((1, false), Good, (4, false), Some(Up)),
        ((1, false), Cond, (4, true), Some(Up)),
        // Up, one failure from down: as at the start.
        ((2, false), Bad, (0, false), Some(Down)),
        ((2, false), Good, (4, false), None),
        ((2, false), Cond, (4, true), Some(Stopping)),
        ((3, false), Bad, (2, false), None),
        ((3, false), Good, (4, false), None),
        ((3, false), Cond, (4, true), Some(Stopping)),
        // Up, and sure of it.
        ((4, false), Bad, (3, false), None),
        ((4, false), Good, (4, false), None),
        ((4, false), Cond, (4, true), Some(Stopping)),
        // Up, without new sessions.
        ((2, true), Bad, (0, false), Some(Down)),
        ((2, true), Good, (4, false), Some(Running)),
        ((2, true), Cond, (4, true), None),
        ((3, true), Bad, (2, true), None),
        ((3, true), Good, (4, false), Some(Running)),
        ((3, true), Cond, (4, true), None),
        ((4, true), Bad, (3, true), None),
        ((4, true), Good, (4, false), Some(Running)),
        ((4, true), Cond, (4, true), None),
    ];
    for (before, result, after, change) in table {
        let now = Instant::now();
        let mut health = Health::new(2, 3, InitState::Up);
        (health.counter, health.stopping) = before;
        let noted = health.on_result(Finding::of(result), None, now);
        let found = ((health.counter, health.stopping), noted.change);
        assert_eq!(found, (after, change), "{before:?} with {result:?}");
        let same = health.on_result(Finding::of(NEUTRAL), None, now);
        assert_eq!((health.counter, health.stopping), after, "nothing was said");
        assert_eq!(same, Noted::default());
    }
}

#[test]
fn an_agent_takes_a_server_down_and_lets_it_up_only_where_its_checks_do() {
    let now = Instant::now();
    let mut health = Health::new(2, 3, InitState::Up);
    let say = |status| Finding::of(status);
    assert_eq!(
        health.on_agent(say(CheckStatus::L7Status), now).change,
        Some(Change::Down)
    );
    assert_eq!(health.on_agent(say(CheckStatus::L4Con), now).change, None);
    assert!(!health.is_up(), "an agent that is gone takes nothing back");
    run(&mut health, &[Bad]);
    assert_eq!(health.on_agent(say(CheckStatus::L7Ok), now).change, None);
    assert_eq!(run(&mut health, &[Good, Good]), [None, Some(Change::Up)]);
    assert_eq!(health.went_down, 1);
}

#[test]
fn a_silence_as_long_as_the_deadline_brings_a_server_down_at_once() {
    let second = Duration::from_secs(1);
    let start = Instant::now();
    let mut health = Health::new(2, 30, InitState::Up);
    health.on_result(Finding::of(Good), Some(5 * second), start);
    let check = model::Check {
        deadline: Some(5 * second),
        ..model::Check::default()
    };
    assert_eq!(health.silent_at(&check), Some(start + 5 * second));
    let mut fail = |after| {
        let bad = Finding::of(Bad);
        health
            .on_result(bad, Some(5 * second), start + after * second)
            .change
    };
    assert_eq!((fail(2), fail(4)), (None, None));
    assert_eq!(fail(5), Some(Change::Down));
    assert_eq!(health.silent_at(&check), None);
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
    let mut health = Health::new(2, 3, InitState::Up);
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

#[test]
fn other_tries_leave_a_server_up_or_down_and_count_from_then_on() {
    let with = |rise, fall| model::Check {
        rise,
        fall,
        ..model::Check::default()
    };
    let mut health = Health::of(Some(&with(2, 3)));
    run(&mut health, &[Good]);
    health.retune(&with(4, 5));
    assert_eq!(health.progress(), (5, 5), "as good as can be");
    run(&mut health, &[Bad]);
    health.retune(&with(1, 5));
    assert_eq!(health.progress(), (4, 5), "one try is gone");
    health.retune(&with(3, 2));
    assert_eq!(health.progress(), (2, 2), "no more than there are");
    assert_eq!(run(&mut health, &[Bad, Bad]), [None, Some(Change::Down)]);
    run(&mut health, &[Good, Good]);
    health.retune(&with(2, 2));
    assert!(!health.is_up(), "a check has to say so");
    assert_eq!(run(&mut health, &[Good]), [Some(Change::Up)]);
}

#[test]
fn a_server_goes_on_where_another_process_was() {
    let mut health = Health::new(2, 3, InitState::Up);
    health.go_on();
    assert_eq!(health.progress(), (3, 3));
    run(&mut health, &[Bad, Bad]);
    assert!(health.is_up());
}
