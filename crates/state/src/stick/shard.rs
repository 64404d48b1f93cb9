//! One part of a table: entries in rows of chunks, found by a hash that grows one bucket at a
//! time, and listed by age while nobody holds them. Every step takes the same time however many
//! entries there are.

use super::layout::{HEADER, Layout, number, put};

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// Places in the header of an entry.
const NEXT: usize = 0;
const OLDER: usize = 4;
const NEWER: usize = 8;
const EXPIRES: usize = 12;
const USES: usize = 16;

/// Entries in the first chunk. Each further one doubles what there is, and none is ever moved: growing
/// copies nothing, the kernel gives pages as they are used, and finding an entry's chunk stays in the
/// nearest cache.
const CHUNK: u32 = 64;

/// Entries that are looked at to find the place of one that is to live less long than others.
const LOOKS: u32 = 128;

/// The chunk of an entry, and its place there.
fn chunk_of(at: u32) -> (usize, usize) {
    match (at / CHUNK).checked_ilog2() {
        None => (0, at as usize),
        Some(doubled) => (doubled as usize + 1, (at - (CHUNK << doubled)) as usize),
    }
}

#[derive(Debug)]
pub(super) struct Shard {
    chunks: Vec<Box<[u8]>>,
    /// The first entry of each chain.
    buckets: Vec<u32>,
    /// Entries that were freed, linked by `NEXT`.
    free: u32,
    /// The first entry that was never used.
    fresh: u32,
    len: u32,
    oldest: u32,
    newest: u32,
}

impl Default for Shard {
    fn default() -> Shard {
        Shard {
            chunks: Vec::new(),
            buckets: vec![NONE],
            free: NONE,
            fresh: 0,
            len: 0,
            oldest: NONE,
            newest: NONE,
        }
    }
}

/// Whether a moment has come, on a clock of milliseconds that runs over.
fn reached(moment: u32, now: u32) -> bool {
    now.wrapping_sub(moment) as i32 >= 0
}

impl Shard {
    /// The bytes of an entry; empty for one that there is not.
    pub fn entry(&self, l: &Layout, at: u32) -> &[u8] {
        let (chunk, place) = chunk_of(at);
        let from = place * l.stride;
        self.chunks
            .get(chunk)
            .and_then(|c| c.get(from..from + l.stride))
            .unwrap_or_default()
    }

    /// The same, to change.
    pub fn entry_mut(&mut self, l: &Layout, at: u32) -> &mut [u8] {
        let (chunk, place) = chunk_of(at);
        let from = place * l.stride;
        self.chunks
            .get_mut(chunk)
            .and_then(|c| c.get_mut(from..from + l.stride))
            .unwrap_or_default()
    }

    /// The key of an entry, with zeros up to the length of keys.
    pub fn key<'s>(&'s self, l: &Layout, at: u32) -> &'s [u8] {
        let entry = self.entry(l, at);
        entry.get(HEADER..HEADER + l.key_len).unwrap_or_default()
    }

    /// How many hold it.
    pub fn uses(&self, l: &Layout, at: u32) -> u32 {
        number(self.entry(l, at), USES)
    }

    /// When it expires.
    pub fn expires(&self, l: &Layout, at: u32) -> u32 {
        number(self.entry(l, at), EXPIRES)
    }

    /// Entries.
    pub fn len(&self) -> u32 {
        self.len
    }

    fn bucket(&self, hash: u64) -> usize {
        place(hash, self.buckets.len())
    }

    /// The entry of a key.
    pub fn find(&self, l: &Layout, key: &[u8], hash: u64) -> u32 {
        let mut at = *self.buckets.get(self.bucket(hash)).unwrap_or(&NONE);
        while at != NONE && !same(self.key(l, at), key) {
            at = number(self.entry(l, at), NEXT);
        }
        at
    }

    /// Makes an entry of a key that is not there, all zeros, which `NONE` of the chains and lists
    /// holds yet but its chain; it expires when `expires` comes.
    pub fn insert(
        &mut self,
        l: &Layout,
        key: &[u8],
        hash: u64,
        expires: u32,
        hash_of: &dyn Fn(&[u8]) -> u64,
    ) -> u32 {
        let at = self.take(l);
        let bucket = self.bucket(hash);
        let first = *self.buckets.get(bucket).unwrap_or(&NONE);
        let entry = self.entry_mut(l, at);
        entry.fill(0);
        put(entry, NEXT, first);
        put(entry, EXPIRES, expires);
        if let Some(place) = entry.get_mut(HEADER..HEADER + key.len().min(l.key_len)) {
            place.copy_from_slice(key.get(..place.len()).unwrap_or_default());
        }
        if let Some(place) = self.buckets.get_mut(bucket) {
            *place = at;
        }
        self.len += 1;
        self.append(l, at);
        if self.len as usize > self.buckets.len() {
            self.grow(l, hash_of);
        }
        at
    }

    /// A place for an entry.
    fn take(&mut self, l: &Layout) -> u32 {
        if self.free != NONE {
            let at = self.free;
            self.free = number(self.entry(l, at), NEXT);
            return at;
        }
        if chunk_of(self.fresh).0 == self.chunks.len() {
            let entries = self.fresh.max(CHUNK) as usize;
            self.chunks
                .push(vec![0; entries * l.stride].into_boxed_slice());
        }
        self.fresh += 1;
        self.fresh - 1
    }

    /// Adds a bucket, and shares the chain between it and the one that its keys were in (linear
    /// hashing, Litwin 1980).
    fn grow(&mut self, l: &Layout, hash_of: &dyn Fn(&[u8]) -> u64) {
        let added = self.buckets.len();
        self.buckets.push(NONE);
        let half = (added + 1).next_power_of_two() / 2;
        let from = added - half;
        let mut at = *self.buckets.get(from).unwrap_or(&NONE);
        let (mut stay, mut go) = (NONE, NONE);
        while at != NONE {
            let next = number(self.entry(l, at), NEXT);
            let goes = self.bucket(hash_of(trimmed(l, self.key(l, at)))) == added;
            let chain = if goes { &mut go } else { &mut stay };
            let before = std::mem::replace(chain, at);
            put(self.entry_mut(l, at), NEXT, before);
            at = next;
        }
        for (bucket, chain) in [(from, stay), (added, go)] {
            if let Some(place) = self.buckets.get_mut(bucket) {
                *place = chain;
            }
        }
    }

    /// Removes an entry that nobody holds.
    pub fn remove(&mut self, l: &Layout, at: u32, hash: u64) {
        self.unlist(l, at);
        let next = number(self.entry(l, at), NEXT);
        let bucket = self.bucket(hash);
        let mut before = *self.buckets.get(bucket).unwrap_or(&NONE);
        if before == at {
            if let Some(place) = self.buckets.get_mut(bucket) {
                *place = next;
            }
        } else {
            while before != NONE {
                let after = number(self.entry(l, before), NEXT);
                if after == at {
                    put(self.entry_mut(l, before), NEXT, next);
                    break;
                }
                before = after;
            }
        }
        let free = self.free;
        put(self.entry_mut(l, at), NEXT, free);
        self.free = at;
        self.len -= 1;
    }

    /// Makes an entry the newest of the list.
    fn append(&mut self, l: &Layout, at: u32) {
        let newest = self.newest;
        self.list_after(l, at, newest);
    }

    fn unlist(&mut self, l: &Layout, at: u32) {
        let entry = self.entry(l, at);
        let (older, newer) = (number(entry, OLDER), number(entry, NEWER));
        if older == NONE {
            self.oldest = newer;
        } else {
            put(self.entry_mut(l, older), NEWER, newer);
        }
        if newer == NONE {
            self.newest = older;
        } else {
            put(self.entry_mut(l, newer), OLDER, older);
        }
    }

    /// Puts off the end of an entry; it is the youngest now.
    pub fn touch(&mut self, l: &Layout, at: u32, expires: u32) {
        put(self.entry_mut(l, at), EXPIRES, expires);
        if self.uses(l, at) == 0 {
            self.unlist(l, at);
            self.append(l, at);
        }
    }

    /// Says when an entry expires, and puts it behind those that expire sooner. Who would have to
    /// look at more than some of them to find its place lets it live a little longer instead.
    pub fn set_end(&mut self, l: &Layout, at: u32, expires: u32, now: u32) {
        put(self.entry_mut(l, at), EXPIRES, expires);
        if self.uses(l, at) > 0 {
            return;
        }
        self.unlist(l, at);
        let left = |moment: u32| moment.wrapping_sub(now) as i32;
        let mut before = self.newest;
        for _ in 0..LOOKS {
            if before == NONE || left(self.expires(l, before)) <= left(expires) {
                break;
            }
            before = number(self.entry(l, before), OLDER);
        }
        if before != NONE && left(self.expires(l, before)) > left(expires) {
            let end = self.expires(l, before);
            put(self.entry_mut(l, at), EXPIRES, end);
        }
        self.list_after(l, at, before);
    }

    /// Lists an entry behind another, or as the oldest.
    fn list_after(&mut self, l: &Layout, at: u32, before: u32) {
        let after = match before {
            NONE => self.oldest,
            _ => number(self.entry(l, before), NEWER),
        };
        let entry = self.entry_mut(l, at);
        put(entry, OLDER, before);
        put(entry, NEWER, after);
        match before {
            NONE => self.oldest = at,
            _ => put(self.entry_mut(l, before), NEWER, at),
        }
        match after {
            NONE => self.newest = at,
            _ => put(self.entry_mut(l, after), OLDER, at),
        }
    }

    /// Holds an entry: it neither expires nor makes room for others.
    pub fn hold(&mut self, l: &Layout, at: u32) {
        let uses = self.uses(l, at);
        if uses == 0 {
            self.unlist(l, at);
        }
        put(self.entry_mut(l, at), USES, uses.saturating_add(1));
    }

    /// Lets go of an entry that is held; the last one makes it the youngest.
    pub fn release(&mut self, l: &Layout, at: u32, expires: u32) {
        let uses = self.uses(l, at).saturating_sub(1);
        let entry = self.entry_mut(l, at);
        put(entry, USES, uses);
        put(entry, EXPIRES, expires);
        if uses == 0 {
            self.append(l, at);
        }
    }

    /// The entry that nobody has held or touched for the longest time.
    pub fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Whether an entry is over.
    pub fn is_over(&self, l: &Layout, at: u32, now: u32) -> bool {
        self.uses(l, at) == 0 && reached(self.expires(l, at), now)
    }

    /// All entries.
    pub fn all<'s>(&'s self, l: &'s Layout) -> impl Iterator<Item = u32> + 's {
        self.buckets.iter().flat_map(move |first| {
            let chain = |at: &u32| Some(number(self.entry(l, *at), NEXT));
            std::iter::successors(Some(*first), chain).take_while(|at| *at != NONE)
        })
    }
}

/// The bucket of a hash among so many.
fn place(hash: u64, buckets: usize) -> usize {
    let whole = buckets.next_power_of_two();
    let bucket = hash as usize & (whole - 1);
    if bucket < buckets {
        bucket
    } else {
        bucket & (whole / 2 - 1)
    }
}

/// Whether a stored key is this one.
fn same(stored: &[u8], key: &[u8]) -> bool {
    stored
        .strip_prefix(key)
        .is_some_and(|rest| rest.iter().all(|b| *b == 0))
}

/// A stored key without the zeros behind it, as far as its type has keys of different lengths.
pub(super) fn trimmed<'k>(l: &Layout, stored: &'k [u8]) -> &'k [u8] {
    if l.key.fixed_len().is_some() {
        return stored;
    }
    let end = stored.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    stored.get(..end).unwrap_or(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_has_a_place_of_its_own() {
        let mut next = (0, 0);
        for at in 0..5000 {
            let (chunk, place) = chunk_of(at);
            if (chunk, place) != next {
                assert_eq!((chunk, place), (next.0 + 1, 0), "{at}");
            }
            next = (chunk, place + 1);
        }
    }
}
