//! Consistent hashing: each server stands at many points of a circle, and a hash belongs to the next
//! point. When a server comes or goes only what belonged to its points moves.

use rules::hash::avalanche;

/// The points, sorted. Shared and never changed: a new one is made when weights change.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Ring {
    /// (place, server index).
    points: Vec<(u32, u32)>,
}

/// Points of a server of weight 1; more spread the load more evenly.
const POINTS: u64 = 16;
/// Most points in all, as far as each server has one.
const MOST: u64 = 1 << 19;

impl Ring {
    /// The ring of (server index, key, weight). The places follow from the key alone, so that
    /// balancers whose servers have the same numbers, or addresses, agree.
    pub fn new(servers: &[(u32, u32, u32)]) -> Ring {
        let total: u64 = servers.iter().map(|(_, _, w)| u64::from(*w) * POINTS).sum();
        let scale = total.div_ceil(MOST).max(1);
        let mut points = Vec::with_capacity((total / scale) as usize + servers.len());
        for (index, id, weight) in servers.iter().filter(|(_, _, w)| *w > 0) {
            let own = (u64::from(*weight) * POINTS / scale).max(1) as u32;
            let start = avalanche(*id);
            points.extend((0..own).map(|k| (avalanche(start.wrapping_add(k)), *index)));
        }
        points.sort_unstable();
        Ring { points }
    }

    /// Servers in the order in which `hash` meets their points, once around; one may come again.
    pub fn from(&self, hash: u32) -> impl Iterator<Item = u32> {
        let at = self.points.partition_point(|(place, _)| *place < hash);
        let (before, after) = self.points.split_at(at);
        after.iter().chain(before).map(|(_, index)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(ring: &Ring) -> Vec<Option<u32>> {
        (0..10_000u32)
            .map(|k| ring.from(avalanche(k)).next())
            .collect()
    }

    #[test]
    fn only_what_belonged_to_a_server_moves_when_it_goes() {
        let all = homes(&Ring::new(&[(0, 1, 10), (1, 2, 10), (2, 3, 10)]));
        let less = homes(&Ring::new(&[(0, 1, 10), (2, 3, 10)]));
        for (before, after) in all.iter().zip(&less) {
            assert!(before == after || *before == Some(1));
            assert_ne!(*after, Some(1));
        }
    }

    #[test]
    fn shares_follow_the_weights_roughly() {
        let homes = homes(&Ring::new(&[(0, 1, 10), (1, 2, 30)]));
        let heavy = homes.iter().filter(|h| **h == Some(1)).count();
        assert!(
            (6_500..8_500).contains(&heavy),
            "{heavy} of 10000, not 7500"
        );
    }

    #[test]
    fn an_empty_ring_and_a_weight_of_nothing_have_no_server() {
        assert_eq!(Ring::new(&[]).from(1).next(), None);
        assert_eq!(Ring::new(&[(0, 1, 0)]).from(1).next(), None);
    }

    #[test]
    fn very_many_servers_have_a_point_each() {
        let servers: Vec<_> = (0..100_000).map(|i| (i, i, 256)).collect();
        let ring = Ring::new(&servers);
        assert!(ring.points.len() >= 100_000 && ring.points.len() as u64 <= MOST + 100_000);
    }
}
