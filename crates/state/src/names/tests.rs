use super::*;
use proptest::prelude::*;

fn ip(last: u8) -> IpAddr {
    [127, 0, 0, last].into()
}

fn seat(now: Option<u8>, shares: bool) -> Seat {
    Seat {
        now: now.map(ip),
        nets: Vec::new(),
        shares,
    }
}

fn place(host: &str, port: u16) -> Place {
    Place {
        host: host.into(),
        port,
        weight: 0,
        address: None,
    }
}

#[test]
fn an_address_of_the_network_goes_before_others() {
    let near = Seat {
        nets: vec![(ip(8), 30)],
        ..seat(None, false)
    };
    assert_eq!(addresses_for(&[near], &[ip(1), ip(9)]), [Some(ip(9))]);
}

#[test]
fn who_may_share_takes_what_nobody_has_before_what_another_has() {
    let seats = [seat(Some(1), true), seat(None, true), seat(None, true)];
    let given = addresses_for(&seats, &[ip(1), ip(2)]);
    assert_eq!(given, [Some(ip(1)), Some(ip(2)), Some(ip(1))]);
}

#[test]
fn a_place_is_kept_and_a_new_one_goes_to_who_has_none() {
    let places = [place("c", 1), place("a", 1), place("b", 2)];
    let had = [Some(("a", 1)), Some(("b", 1)), None];
    assert_eq!(places_for(&had, &places), [Some(1), Some(0), Some(2)]);
    assert_eq!(places_for(&had, &places[..1]), [Some(0), None, None]);
}

#[test]
fn the_weight_of_a_record_becomes_that_of_a_server() {
    let weights = [0, 10, 256, 300, 2560, 65535].map(weight_of);
    assert_eq!(weights, [0, 1, 1, 2, 10, 256]);
}

#[test]
fn a_record_counts_until_it_is_obsolete_and_a_good_answer_holds_against_bad_ones() {
    let start = Instant::now();
    let at = |secs| start + Duration::from_secs(secs);
    let same = |a: &u8, b: &u8| a == b;
    let obsolete = Duration::from_secs(10);
    let mut known = Known::new(start);
    assert_eq!(known.learn(vec![1, 2], same, obsolete, at(0)), [1, 2]);
    assert_eq!(known.learn(vec![2, 3], same, obsolete, at(5)), [2, 3, 1]);
    assert_eq!(known.learn(vec![3], same, obsolete, at(10)), [3, 2]);
    assert!(known.holds(Duration::from_secs(3), at(12)));
    assert!(!known.holds(Duration::from_secs(3), at(13)));
    known.forget();
    assert_eq!(known.learn(vec![4], same, obsolete, at(14)), [4]);
}

proptest! {
    #[test]
    fn servers_that_do_not_share_have_different_addresses_and_move_only_when_they_must(
        now in proptest::collection::btree_set(0u8..20, 0..8),
        unseated in 0usize..6,
        addresses in proptest::collection::btree_set(0u8..20, 0..12),
    ) {
        let mut seats: Vec<Seat> = now.iter().map(|n| seat(Some(*n), false)).collect();
        seats.extend((0..unseated).map(|_| seat(None, false)));
        let addresses: Vec<IpAddr> = addresses.into_iter().map(ip).collect();
        let given = addresses_for(&seats, &addresses);
        let mut taken: Vec<IpAddr> = given.iter().flatten().copied().collect();
        prop_assert_eq!(taken.len(), seats.len().min(addresses.len()));
        prop_assert!(taken.iter().all(|ip| addresses.contains(ip)));
        taken.sort();
        taken.dedup();
        prop_assert_eq!(taken.len(), given.iter().flatten().count());
        for (seat, ip) in seats.iter().zip(&given) {
            if seat.now.is_some_and(|n| addresses.contains(&n)) {
                prop_assert_eq!(*ip, seat.now);
            }
        }
    }
}
