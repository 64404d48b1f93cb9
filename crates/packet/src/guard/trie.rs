//! IPv4 prefixes of up to 24 bits, expanded: a packet needs two look-ups, however many there are.

use super::abi::{CELL_CHUNK, Chunk};

/// Chunks for prefixes given as address, length and lists. The first 256 are by an address's first 8 bits,
/// their cells by the next 8; a cell that needs more names a chunk by the third.
pub fn chunks(mut prefixes: Vec<(u32, u8, u32)>) -> Vec<Chunk> {
    // Wider ones first, so that narrower ones begin with what stands there.
    prefixes.sort_unstable_by_key(|(address, length, _)| (*length, *address));
    let mut chunks: Vec<Chunk> = vec![[0; 256]; 256];
    for (address, length, lists) in prefixes {
        let first = (address >> 16) as usize;
        if length <= 16 {
            let cells = chunks.iter_mut().take(256).flatten();
            let count = 1usize << (16 - length);
            cells.skip(first).take(count).for_each(|c| *c |= lists);
            continue;
        }
        let fresh = CELL_CHUNK | u32::try_from(chunks.len()).unwrap_or(0);
        let row = chunks.get_mut(first >> 8);
        let Some(cell) = row.and_then(|c| c.get_mut(first & 255)) else {
            continue;
        };
        let before = *cell;
        if before & CELL_CHUNK == 0 {
            *cell = fresh;
            chunks.push([before; 256]);
        }
        let at = if before & CELL_CHUNK == 0 {
            fresh
        } else {
            before
        };
        let Some(chunk) = chunks.get_mut((at & !CELL_CHUNK) as usize) else {
            continue;
        };
        let third = (address >> 8 & 255) as usize;
        let count = 1usize << (24 - length.min(24));
        let cells = chunk.iter_mut().skip(third).take(count);
        cells.for_each(|c| *c |= lists);
    }
    chunks
}

/// The lists of an address, as the program finds them.
#[cfg(test)]
pub fn find(chunks: &[Chunk], address: u32) -> u32 {
    let cell = chunks[(address >> 24) as usize][(address >> 16 & 255) as usize];
    match cell & CELL_CHUNK {
        0 => cell,
        _ => chunks[(cell & !CELL_CHUNK) as usize][(address >> 8 & 255) as usize],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_is_in_the_lists_of_all_prefixes_that_hold_it(
            prefixes in proptest::collection::vec((any::<u32>(), 0u8..=24, 0u32..31), 0..40),
            address: u32,
        ) {
            let mask = |length: u8| u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            let prefixes: Vec<_> = prefixes
                .into_iter()
                .map(|(a, l, list)| (a & mask(l), l, 1 << list))
                .collect();
            let holds = |(a, l, _): &&(u32, u8, u32)| address & mask(*l) == *a;
            let wanted = prefixes.iter().filter(holds).fold(0, |m, (_, _, list)| m | list);
            let chunks = chunks(prefixes.clone());
            prop_assert_eq!(find(&chunks, address), wanted);
            for (a, l, list) in &prefixes {
                let found = find(&chunks, a | (address & !mask(*l)));
                prop_assert_eq!(found & list, *list);
            }
        }
    }
}
