//! Weighted turns, computed ahead: a sequence in which each server stands as often as its weight
//! says, as evenly spread as can be. Picking is one addition.

/// Server indices in turn order. Shared and never changed: a new one is made when weights change.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Wheel {
    turns: Vec<u32>,
}

/// Longest sequence; larger weight sums are scaled down.
const LONGEST: u64 = 1 << 18;

impl Wheel {
    /// The wheel of (server index, weight) pairs; weight 0 gets no turn.
    pub fn new(weights: &[(u32, u32)]) -> Wheel {
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
        // Each server's k-th turn is due at (k + 1/2) / weight of the way round: sorting the due
        // points spreads all of them evenly, and ties keep the order of the servers.
        let mut due: Vec<(u64, u32)> = Vec::with_capacity(total as usize);
        for (index, weight) in &usable {
            for k in 0..*weight {
                due.push((((2 * k + 1) << 32) / (2 * weight), *index));
            }
        }
        due.sort_unstable_by_key(|(at, index)| (*at, *index));
        Wheel {
            turns: due.into_iter().map(|(_, index)| index).collect(),
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
            let wheel = Wheel::new(&pairs);
            let divisor = weights.iter().fold(0, |d, w| gcd(d, u64::from(*w))).max(1);
            for (i, w) in &pairs {
                let turns = wheel.turns.iter().filter(|t| *t == i).count() as u64;
                prop_assert_eq!(turns, u64::from(*w) / divisor);
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
                prop_assert!((had - due).abs() <= weights.len() as f64 / 2.0 + 0.5, "{} had {} of {}", i, had, due);
            }
        }
    }

    #[test]
    fn equal_weights_take_turns_in_order() {
        assert_eq!(Wheel::new(&[(0, 100), (1, 100), (2, 100)]).turns, [0, 1, 2]);
    }

    #[test]
    fn a_heavy_server_does_not_get_its_turns_in_a_row() {
        assert_eq!(
            Wheel::new(&[(0, 5), (1, 1), (2, 1)]).turns,
            [0, 0, 0, 1, 2, 0, 0]
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
