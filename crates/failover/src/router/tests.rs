use super::*;
use crate::machine::{Advert, Health, Settings, Version};
use std::net::IpAddr;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn pair() -> (Router, Instant) {
    let settings = Settings {
        version: Version::V3,
        priority: 100,
        interval: 100 * MS,
        preempt: true,
        preempt_delay: Duration::ZERO,
        own: IpAddr::from([10, 0, 0, 5]),
        refresh: Duration::ZERO,
        grouped: true,
    };
    let now = Instant::now();
    let mut router = Router::default();
    for _ in 0..2 {
        let mut machine = Machine::new(settings.clone());
        machine.start(now);
        router.members.push(Member {
            group: Some("both".into()),
            machine,
        });
    }
    (router, now)
}

fn states(router: &Router) -> Vec<State> {
    router.members.iter().map(|m| m.machine.state()).collect()
}

fn hear(router: &mut Router, member: usize, priority: u8, now: Instant) {
    let advert = Advert {
        from: IpAddr::from([10, 0, 0, 9]),
        priority,
        interval: 100 * MS,
    };
    router.members[member].machine.packet_received(&advert, now);
    router.settle(now);
}

#[test]
fn a_group_claims_when_all_its_members_would() {
    let (mut router, start) = pair();
    let mut now = start;
    for _ in 0..20 {
        now += 100 * MS;
        hear(&mut router, 1, 200, now);
        router.tick(now);
    }
    // The first hears nobody, the second does.
    assert_eq!(states(&router), [State::Backup; 2]);
    assert!(router.members[0].machine.is_pending());
    router.tick(now + 1000 * MS);
    assert_eq!(states(&router), [State::Active; 2]);
}

#[test]
fn a_group_yields_as_one() {
    let (mut router, start) = pair();
    let now = start + 1000 * MS;
    router.tick(now);
    assert_eq!(states(&router), [State::Active; 2]);
    hear(&mut router, 1, 200, now);
    assert_eq!(states(&router), [State::Backup; 2]);
}

#[test]
fn a_fault_of_one_member_is_a_fault_of_all() {
    let (mut router, start) = pair();
    let now = start + 1000 * MS;
    router.tick(now);
    let bad = Health {
        fault: true,
        weight: 0,
    };
    router.members[0].machine.set_health(bad, now);
    router.settle(now);
    assert_eq!(states(&router), [State::Initialize; 2]);
    router.members[0].machine.set_health(Health::default(), now);
    router.settle(now);
    router.tick(now + 1000 * MS);
    assert_eq!(states(&router), [State::Active; 2]);
}

#[test]
fn routers_without_a_group_move_alone() {
    let (mut router, start) = pair();
    router.members[0].group = None;
    router.members[1].group = Some("alone".into());
    let settings = Settings {
        grouped: false,
        ..router.members[0].machine.settings().clone()
    };
    router.members[0].machine.reconfigure(settings, start);
    let now = start + 300 * MS;
    hear(&mut router, 1, 200, now);
    router.tick(now + 200 * MS);
    assert_eq!(states(&router), [State::Active, State::Backup]);
}
