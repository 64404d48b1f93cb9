//! Tables that new sessions are scheduled by.

/// A name's two numbers for the permutation of [`maglev`].
fn numbers(name: &[u8], size: usize) -> (usize, usize) {
    let hash = state::hash::xxh64(name);
    // The golden ratio turns the first hash into one that has nothing to do with it.
    let other = state::hash::xxh64(&hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    (
        (hash % size as u64) as usize,
        (other % (size as u64 - 1)) as usize + 1,
    )
}

/// The size of a table for so many servers: a prime about a hundred times as large, so that shares
/// differ by about one percent.
pub fn maglev_size(servers: usize) -> usize {
    // Primes, each about twice the one before.
    const SIZES: [usize; 9] = [251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_537];
    let wanted = servers.saturating_mul(100);
    SIZES.into_iter().find(|s| *s >= wanted).unwrap_or(65_537)
}

/// Consistent hashing by a table (Eisenbud and others, "Maglev", NSDI 2016, section 3.4): each
/// server, by its name, prefers the places in an order of its own, and they take turns in taking
/// places, as often as their weights say. The same servers give the same table everywhere; one that
/// goes or comes moves little else.
pub fn maglev(servers: &[(u32, &[u8], u32)]) -> Vec<u32> {
    let size = maglev_size(servers.len());
    let most = servers.iter().map(|(_, _, w)| *w).max().unwrap_or(0);
    if most == 0 {
        return Vec::new();
    }
    let starts: Vec<_> = servers
        .iter()
        .map(|(_, name, _)| numbers(name, size))
        .collect();
    let mut next = vec![0usize; servers.len()];
    let mut credit = vec![0u64; servers.len()];
    let mut table: Vec<Option<u32>> = vec![None; size];
    let mut taken = 0;
    while taken < size {
        let each = servers
            .iter()
            .zip(&starts)
            .zip(next.iter_mut().zip(credit.iter_mut()));
        for (((index, _, weight), (offset, skip)), (next, credit)) in each {
            *credit += u64::from(*weight);
            if *credit < u64::from(most) || taken == size {
                continue;
            }
            *credit -= u64::from(most);
            loop {
                let at = (offset + *next * skip) % size;
                *next += 1;
                match table.get_mut(at) {
                    Some(place @ None) => {
                        *place = Some(*index);
                        taken += 1;
                        break;
                    }
                    Some(_) => {}
                    None => break,
                }
            }
        }
    }
    table.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(names: &[(u32, u32)]) -> Vec<u32> {
        let named: Vec<_> = names
            .iter()
            .map(|(i, w)| (*i, format!("s{i}"), *w))
            .collect();
        let servers: Vec<_> = named
            .iter()
            .map(|(i, n, w)| (*i, n.as_bytes(), *w))
            .collect();
        maglev(&servers)
    }

    fn share(table: &[u32], server: u32) -> f64 {
        table.iter().filter(|s| **s == server).count() as f64 / table.len() as f64
    }

    #[test]
    fn shares_follow_weights() {
        let table = table(&[(0, 1), (1, 2), (2, 5)]);
        for (server, wanted) in [(0, 0.125), (1, 0.25), (2, 0.625)] {
            assert!((share(&table, server) - wanted).abs() < 0.01);
        }
        assert!(super::maglev(&[]).is_empty());
    }

    #[test]
    fn little_moves_when_a_server_goes() {
        let all: Vec<_> = (0..20).map(|i| (i, 1)).collect();
        let before = table(&all);
        let after = table(&all[1..]);
        assert_eq!(before.len(), after.len());
        let pairs = before.iter().zip(&after);
        let moved = pairs.filter(|(b, a)| **b != 0 && b != a).count();
        assert!(
            (moved as f64) < 0.08 * before.len() as f64,
            "{moved} of {}",
            before.len()
        );
    }

    proptest! {
        #[test]
        fn every_place_is_taken_and_nobody_without_weight_is_in_it(weights in proptest::collection::vec(0u32..257, 1..30)) {
            let servers: Vec<_> = (0..).zip(weights).collect();
            let table = table(&servers);
            let any = servers.iter().any(|(_, w)| *w > 0);
            prop_assert_eq!(table.len(), if any { maglev_size(servers.len()) } else { 0 });
            for (server, weight) in servers {
                prop_assert!(weight > 0 || !table.contains(&server));
            }
        }
    }
}
