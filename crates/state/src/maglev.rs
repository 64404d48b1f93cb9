//! Maglev hashing: a table of which each server holds its share, in an order of places that follows
//! from the server alone. When one goes, its entries move and hardly any other does.
//!
//! D. Eisenbud et al., Maglev: A Fast and Reliable Software Network Load Balancer, NSDI 2016,
//! section 3.4. There is no seed: balancers with the same servers have the same table.

/// The table. Shared and never changed: a new one is made when weights change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maglev {
    table: Box<[u32]>,
}

/// Entries; a prime, so that every step through the table meets all of them.
pub const ENTRIES: u32 = 65_537;

/// A server in the making of a table.
struct Filler {
    index: u32,
    weight: u64,
    /// The place it wants next, and how far on the one after is.
    place: u32,
    step: u32,
    credit: u64,
}

impl Maglev {
    /// The table of (server index, key, weight): where a server wants to stand follows from its
    /// key, how often it stands there from its weight; weight 0 is not in it.
    pub fn new(servers: &[(u32, u64, u32)]) -> Maglev {
        let filler = |(index, key, weight): &(u32, u64, u32)| Filler {
            index: *index,
            weight: u64::from(*weight),
            place: (mix(*key) % u64::from(ENTRIES)) as u32,
            step: (mix(!*key) % u64::from(ENTRIES - 1)) as u32 + 1,
            credit: 0,
        };
        let weighty = servers.iter().filter(|(_, _, weight)| *weight > 0);
        let mut fillers: Vec<Filler> = weighty.map(filler).collect();
        // Who may take first must not follow from the order in a file.
        fillers.sort_by_key(|f| (f.place, f.step, f.index));
        let heaviest = fillers.iter().map(|f| f.weight).max().unwrap_or(0);
        if heaviest == 0 {
            return Maglev { table: [].into() };
        }
        let mut table = vec![u32::MAX; ENTRIES as usize].into_boxed_slice();
        let mut left = ENTRIES;
        while left > 0 {
            for filler in &mut fillers {
                filler.credit += filler.weight;
                if filler.credit < heaviest {
                    continue;
                }
                filler.credit -= heaviest;
                filler.take(&mut table);
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        Maglev { table }
    }

    /// Servers in the order in which they stand from the place of `hash` on, once around.
    pub fn from(&self, hash: u32) -> impl Iterator<Item = u32> {
        let at = hash as usize % self.table.len().max(1);
        let (before, after) = self.table.split_at(at.min(self.table.len()));
        after.iter().chain(before).copied()
    }

    /// Whose each entry is.
    pub fn entries(&self) -> &[u32] {
        &self.table
    }
}

impl Filler {
    /// Takes the next place that is free; there is one.
    fn take(&mut self, table: &mut [u32]) {
        for _ in 0..ENTRIES {
            let place = self.place;
            self.place = (self.place + self.step) % ENTRIES;
            if let Some(entry @ &mut u32::MAX) = table.get_mut(place as usize) {
                *entry = self.index;
                return;
            }
        }
    }
}

/// Spreads a key over 64 bits: the finaliser of SplitMix64 (S. Vigna, public domain).
fn mix(key: u64) -> u64 {
    let mut z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(n: u32) -> Vec<(u32, u64, u32)> {
        let key = |i: u32| crate::hash::xxh64(format!("s{i}").as_bytes());
        (0..n).map(|i| (i, key(i), 1)).collect()
    }

    #[test]
    fn each_server_has_its_share_of_the_table() {
        let table = Maglev::new(&[(0, 11, 1), (1, 22, 2), (2, 33, 5), (3, 44, 0)]);
        let had = |i| table.entries().iter().filter(|e| **e == i).count();
        for (server, weight) in [(0, 1), (1, 2), (2, 5), (3, 0)] {
            let due = 65_537 * weight / 8;
            assert!(had(server).abs_diff(due) <= 5, "{server}: {}", had(server));
        }
    }

    #[test]
    fn when_one_of_a_hundred_goes_less_than_one_in_a_hundred_entries_of_others_move() {
        let all = servers(100);
        let before = Maglev::new(&all);
        for gone in 0..100 {
            let rest: Vec<_> = all.iter().filter(|s| s.0 != gone).copied().collect();
            let after = Maglev::new(&rest);
            let pairs = before.entries().iter().zip(after.entries());
            let others = pairs.clone().filter(|(b, _)| **b != gone).count();
            let moved = pairs.filter(|(b, a)| **b != gone && b != a).count();
            assert!(moved * 100 < others, "{gone}: {moved} of {others}");
        }
    }

    #[test]
    fn the_table_does_not_depend_on_the_order_of_servers() {
        let mut all = servers(50);
        let one = Maglev::new(&all);
        all.reverse();
        assert_eq!(one, Maglev::new(&all));
    }

    #[test]
    fn an_empty_table_has_nobody() {
        assert_eq!(Maglev::new(&[]).from(7).next(), None);
        assert_eq!(Maglev::new(&[(0, 1, 0)]).from(7).next(), None);
    }
}
