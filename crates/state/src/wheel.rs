//! Weighted turns, computed ahead: a sequence in which each server stands as often as its weight
//! says, as evenly spread as can be. Picking is one addition.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Server indices in turn order. Shared and never changed: a new one is made when weights change.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Wheel {
    turns: Vec<u32>,
}

/// Puts the turns of servers of these weights in order; the second is the sum of the weights.
type Order = fn(&[(u32, u64)], u64) -> Vec<u32>;

/// Longest sequence; larger weight sums are scaled down.
const LONGEST: u64 = 1 << 18;

impl Wheel {
    /// The wheel of (server index, weight) pairs; weight 0 gets no turn.
    pub fn new(weights: &[(u32, u32)]) -> Wheel {
        Wheel::with(weights, spread)
    }

    /// The same as the map of `hash-type map-based` and `static-rr`: a hash leads to the server that
    /// HAProxy's map has at that place.
    pub fn map(weights: &[(u32, u32)]) -> Wheel {
        Wheel::with(weights, behind_most)
    }

    fn with(weights: &[(u32, u32)], order: Order) -> Wheel {
        let usable: Vec<(u32, u64)> = weights
            .iter()
            .filter(|(_, w)| *w > 0)
            .map(|(i, w)| (*i, u64::from(*w)))
            .collect();
        let divisor = usable.iter().fold(0, |d, (_, w)| gcd(d, *w)).max(1);
        let mut usable: Vec<(u32, u64)> = usable.iter().map(|(i, w)| (*i, w / divisor)).collect();
        let mut total: u64 = usable.iter().map(|(_, w)| w).sum();
        if usable.iter().all(|(_, w)| *w == 1) {
            return Wheel {
                turns: usable.into_iter().map(|(i, _)| i).collect(),
            };
        }
        if total > LONGEST.max(usable.len() as u64) {
            let scale = total.div_ceil(LONGEST.max(usable.len() as u64));
            for (_, weight) in &mut usable {
                *weight = (*weight / scale).max(1);
            }
            total = usable.iter().map(|(_, w)| w).sum();
        }
        Wheel {
            turns: order(&usable, total),
        }
    }

    /// Number of turns in one round.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whose turn it is at a count that only grows.
    pub fn at(&self, count: u64) -> Option<u32> {
        let len = self.turns.len() as u64;
        if len == 0 {
            return None;
        }
        self.turns.get((count % len) as usize).copied()
    }
}

/// Puts each server's turns where its share asks for them. In a round of `T` turns the `k`-th turn
/// (from 0) of a server of weight `w` may not come before place `⌊kT/w⌋` and must have come by
/// place `⌈(k+1)T/w⌉`. Giving each place to the server whose deadline is nearest meets all of them
/// (the quota method of apportionment), so that in any part of a round each server has had its
/// share to within one turn.
fn spread(weights: &[(u32, u64)], total: u64) -> Vec<u32> {
    let mut turns = Vec::with_capacity(total as usize);
    let weight = |at: usize| weights.get(at).map_or(1, |(_, w)| *w);
    // (first place allowed, position in `weights`, turns had), then the same by deadline.
    let mut waiting: BinaryHeap<Reverse<(u64, usize, u64)>> =
        (0..weights.len()).map(|at| Reverse((0, at, 0))).collect();
    let mut ready: BinaryHeap<Reverse<(u64, usize, u64)>> = BinaryHeap::new();
    for place in 0..total {
        while let Some(Reverse((from, at, had))) = waiting.peek().copied()
            && from <= place
        {
            waiting.pop();
            ready.push(Reverse((((had + 1) * total).div_ceil(weight(at)), at, had)));
        }
        let Some(Reverse((_, at, had))) = ready.pop() else {
            continue;
        };
        turns.extend(weights.get(at).map(|(index, _)| *index));
        if had + 1 < weight(at) {
            waiting.push(Reverse(((had + 1) * total / weight(at), at, had + 1)));
        }
    }
    turns
}

/// Gives place `t` (from 0) of `T` to the server that is furthest behind in whole turns,
/// `⌊w(t+1)/T⌋` less those it had; among equals to the first. Found from the answers of the oracle.
fn behind_most(weights: &[(u32, u64)], total: u64) -> Vec<u32> {
    let mut turns = Vec::with_capacity(total as usize);
    // At which place each server's next turn falls due, and how far behind each is now.
    let mut due: BinaryHeap<Reverse<(u64, usize, u64)>> = BinaryHeap::new();
    let mut behind: Vec<i64> = weights.iter().map(|_| 0).collect();
    // An entry is out of date when its server is not that far behind any more.
    let mut order: BinaryHeap<(i64, Reverse<usize>)> = BinaryHeap::new();
    for (at, (_, weight)) in weights.iter().enumerate() {
        due.push(Reverse((total.div_ceil(*weight) - 1, at, 1)));
        order.push((0, Reverse(at)));
    }
    for place in 0..total {
        while let Some(Reverse((when, at, turn))) = due.peek().copied()
            && when <= place
        {
            due.pop();
            let (Some(lag), Some((_, weight))) = (behind.get_mut(at), weights.get(at)) else {
                continue;
            };
            *lag += 1;
            order.push((*lag, Reverse(at)));
            due.push(Reverse((
                ((turn + 1) * total).div_ceil(*weight) - 1,
                at,
                turn + 1,
            )));
        }
        while let Some((lag, Reverse(at))) = order.pop() {
            let Some(now) = behind.get_mut(at).filter(|now| **now == lag) else {
                continue;
            };
            *now -= 1;
            order.push((*now, Reverse(at)));
            turns.extend(weights.get(at).map(|(index, _)| *index));
            break;
        }
    }
    turns
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn in_one_round_each_server_has_its_weight_of_turns(weights in prop::collection::vec(0u32..20, 1..10)) {
            let pairs: Vec<_> = weights.iter().enumerate().map(|(i, w)| (i as u32, *w)).collect();
            for wheel in [Wheel::new(&pairs), Wheel::map(&pairs)] {
            let divisor = weights.iter().fold(0, |d, w| gcd(d, u64::from(*w))).max(1);
            for (i, w) in &pairs {
                let turns = wheel.turns.iter().filter(|t| *t == i).count() as u64;
                prop_assert_eq!(turns, u64::from(*w) / divisor);
            }
            }
        }

        #[test]
        fn shares_follow_weights_to_within_one_request_over_any_part_of_a_round(
            weights in prop::collection::vec(1u32..30, 1..8), part in 0usize..200,
        ) {
            let pairs: Vec<_> = weights.iter().enumerate().map(|(i, w)| (i as u32, *w)).collect();
            let wheel = Wheel::new(&pairs);
            let part = part % (wheel.len() + 1);
            let total: u32 = weights.iter().sum();
            for (i, w) in &pairs {
                let had = wheel.turns[..part].iter().filter(|t| *t == i).count() as f64;
                let due = part as f64 * f64::from(*w) / f64::from(total);
                prop_assert!((had - due).abs() <= 1.0, "{} had {} of {}", i, had, due);
            }
        }
    }

    #[test]
    fn the_map_is_the_one_that_haproxy_has() {
        // Read off haproxy 2.6, place by place.
        let map = |weights: &[u32]| {
            let pairs: Vec<_> = (0..).zip(weights.iter().copied()).collect();
            Wheel::map(&pairs).turns
        };
        assert_eq!(map(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(map(&[5, 1, 1]), [0, 0, 0, 1, 0, 0, 2]);
        assert_eq!(map(&[1, 5, 1, 3]), [0, 1, 1, 3, 1, 1, 3, 1, 2, 3]);
        assert_eq!(map(&[4, 3, 2, 1]), [0, 1, 0, 1, 2, 0, 1, 0, 2, 3]);
        assert_eq!(
            map(&[12, 7, 7]),
            [
                0, 1, 0, 2, 0, 1, 0, 2, 0, 1, 0, 2, 0, 1, 2, 0, 1, 0, 2, 0, 1, 0, 2, 0, 1, 2
            ]
        );
    }

    #[test]
    fn equal_weights_take_turns_in_order() {
        assert_eq!(Wheel::new(&[(0, 100), (1, 100), (2, 100)]).turns, [0, 1, 2]);
    }

    #[test]
    fn light_servers_stand_between_the_turns_of_a_heavy_one() {
        assert_eq!(
            Wheel::new(&[(0, 5), (1, 1), (2, 1)]).turns,
            [0, 0, 0, 1, 0, 0, 2]
        );
    }

    #[test]
    fn huge_weight_sums_are_scaled_and_nobody_is_left_out() {
        let pairs: Vec<_> = (0..3000).map(|i| (i, 256 - i % 7)).collect();
        let wheel = Wheel::new(&pairs);
        assert!(wheel.len() as u64 <= LONGEST + 3000);
        assert!((0..3000).all(|i| wheel.turns.contains(&i)));
    }
}
