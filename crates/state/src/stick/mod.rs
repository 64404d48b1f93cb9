//! Stick tables: entries by key, each with the data that its table stores. They expire, make room
//! for others when the table is full, and stay where they are while somebody tracks them.
//!
//! A table is shared by all workers. It is cut into parts with a lock each, which are held for one
//! step only; no step takes longer the more entries there are. All entries of a table live equally
//! long, so that the list of the oldest is also the list of those that expire next. Time comes in
//! as milliseconds of the process's clock, of which the lower 32 bits are kept.

mod dump;
mod entry;
mod image;
mod journal;
mod layout;
mod shard;
mod tracked;
mod view;

pub use dump::{Filter, Operator, Shown};
pub use entry::Entry;
pub use journal::{Changes, Whose};
pub use tracked::{Held, Tracked};

use journal::{Journal, Stamp};
use layout::Layout;
use model::{ServerKey, StickTable, Stored};
use rules::stick::{Data, KeyType};
use shard::{NONE, Shard, trimmed};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many parts a table has at most.
const PARTS: u32 = 64;
/// How many entries a part has at least when the table is full. A table of one part knows exactly
/// which of its entries is the oldest.
const PART: u32 = 512;
/// How many entries that are over are removed while others wait.
const AT_ONCE: u32 = 64;

/// A stick table.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: Arc<str>,
    /// What it remembers of servers.
    pub server_key: ServerKey,
    layout: Layout,
    parts: Box<[Part]>,
    hasher: RandomState,
    len: AtomicU32,
    size: AtomicU32,
    /// Milliseconds; 0 is for ever.
    expire: AtomicU32,
    nopurge: AtomicBool,
    /// The latest moment that anybody told.
    clock: AtomicU32,
    /// Names or addresses of servers; entries hold their places, from 1 on.
    servers: Mutex<Vec<Arc<str>>>,
    /// What peers are to be told of; `None` where the table is not shared.
    journal: Option<Journal>,
    /// Its name among peers.
    pub shared_name: Arc<str>,
    /// The section of peers with whom it is shared.
    pub peers: Option<Arc<str>>,
}

/// A part, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Part(Mutex<Shard>);

impl Part {
    /// Every step leaves a part in order, so that one who panicked elsewhere does no harm.
    fn lock(&self) -> MutexGuard<'_, Shard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where an entry is; good while it is held.
#[derive(Clone, Copy, Debug)]
struct Spot {
    part: u32,
    at: u32,
}

/// What is to be done with an entry besides looking at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Nothing.
    No,
    /// Its end is put off.
    Refresh,
    /// It is made where it is not there, and its end is put off.
    Create,
}

fn milliseconds(expire: Option<Duration>) -> u32 {
    let ms = expire.map_or(0, |e| e.as_millis().max(1));
    // Half of the clock's range, so that before and after can be told apart.
    u32::try_from(ms).unwrap_or(u32::MAX).min(i32::MAX as u32)
}

impl Table {
    /// An empty table.
    pub fn new(settings: &StickTable) -> Table {
        let parts = (settings.size / PART).clamp(1, PARTS);
        let parts = 1 << parts.ilog2();
        Table {
            name: Arc::clone(&settings.name),
            server_key: settings.server_key,
            layout: Layout::of(settings),
            parts: (0..parts).map(|_| Part::default()).collect(),
            hasher: RandomState::new(),
            len: AtomicU32::new(0),
            size: AtomicU32::new(settings.size),
            expire: AtomicU32::new(milliseconds(settings.expire)),
            nopurge: AtomicBool::new(settings.nopurge),
            clock: AtomicU32::new(0),
            servers: Mutex::default(),
            journal: settings.is_shared().then(Journal::default),
            shared_name: settings.shared_name().into(),
            peers: settings.peers.clone(),
        }
    }

    /// Whether it can serve as the table of these settings, too: its keys and data are the same, and
    /// who shares them.
    pub fn fits(&self, settings: &StickTable) -> bool {
        let stored = self.layout.cells.iter().map(|(s, _)| s);
        self.name == settings.name
            && self.layout.key == settings.key
            && self.layout.key_len == settings.key_len
            && self.server_key == settings.server_key
            && self.peers == settings.peers
            && self.journal.is_some() == settings.is_shared()
            && stored.eq(settings.stores.iter())
    }

    /// Takes over what may change while there are entries.
    pub fn reconfigure(&self, settings: &StickTable) {
        self.size.store(settings.size, Relaxed);
        self.expire.store(milliseconds(settings.expire), Relaxed);
        self.nopurge.store(settings.nopurge, Relaxed);
    }

    /// What its keys are.
    pub fn key_type(&self) -> KeyType {
        self.layout.key
    }

    /// Bytes of a key at most.
    pub fn key_len(&self) -> usize {
        self.layout.key_len
    }

    /// Entries that there may be.
    pub fn size(&self) -> u32 {
        self.size.load(Relaxed)
    }

    /// Entries that there are.
    pub fn len(&self) -> u32 {
        self.len.load(Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a kind of data is stored.
    pub fn stores(&self, data: Data) -> bool {
        self.layout.value(data, 0).is_some()
    }

    /// What is stored, in the order in which it is shown.
    pub fn stored(&self) -> impl Iterator<Item = Stored> + '_ {
        self.layout.cells.iter().map(|(s, _)| *s)
    }

    /// Bytes that an entry takes, but for its place in the hash (about 4 more).
    pub fn entry_len(&self) -> usize {
        self.layout.stride
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Arc<str>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The part of a key: by the high bits of its hash, because the low ones are for the buckets.
    fn part(&self, hash: u64) -> u32 {
        (hash >> 48) as u32 & (self.parts.len() as u32 - 1)
    }

    fn lock(&self, part: u32) -> Option<MutexGuard<'_, Shard>> {
        self.parts.get(part as usize).map(Part::lock)
    }

    /// Notes the time, and says when what is touched now expires.
    fn expires(&self, now: u32) -> u32 {
        // Read first: the line is shared by all workers, and changes once a millisecond.
        if self.clock.load(Relaxed) != now {
            self.clock.store(now, Relaxed);
        }
        match self.expire.load(Relaxed) {
            0 => now.wrapping_add(i32::MAX as u32),
            expire => now.wrapping_add(expire),
        }
    }

    fn is_over(&self, shard: &Shard, at: u32, now: u32) -> bool {
        self.expire.load(Relaxed) > 0 && shard.is_over(&self.layout, at, now)
    }

    /// The entry of a key, with its part locked.
    fn locate(&self, key: &[u8], now: u32, touch: Touch) -> Option<(MutexGuard<'_, Shard>, Spot)> {
        let key = trimmed(&self.layout, key);
        let hash = self.hash(key);
        let part = self.part(hash);
        let mut shard = self.lock(part)?;
        let mut at = shard.find(&self.layout, key, hash);
        if at != NONE && self.is_over(&shard, at, now) {
            self.remove(&mut shard, at);
            at = NONE;
        }
        let expires = self.expires(now);
        if at != NONE {
            if touch != Touch::No {
                shard.touch(&self.layout, at, expires);
            }
            return Some((shard, Spot { part, at }));
        }
        if touch != Touch::Create {
            return None;
        }
        let mut shard = self.reserve(shard, part, now)?;
        // Somebody else may have made it while another part was asked for room.
        at = shard.find(&self.layout, key, hash);
        if at == NONE {
            at = shard.insert(&self.layout, key, hash, expires, &|k| self.hash(k));
        } else {
            self.len.fetch_sub(1, Relaxed);
        }
        Some((shard, Spot { part, at }))
    }

    /// Takes the place of one more entry, where the table is full from the oldest that nobody
    /// holds: of this part, or else of another, which is locked instead of this one for a while.
    fn reserve<'t>(
        &'t self,
        mut shard: MutexGuard<'t, Shard>,
        part: u32,
        now: u32,
    ) -> Option<MutexGuard<'t, Shard>> {
        let fits = |n: u32| (n < self.size()).then_some(n + 1);
        let mut others = (0..self.parts.len() as u32).filter(|p| *p != part);
        loop {
            if self.len.fetch_update(Relaxed, Relaxed, fits).is_ok() {
                return Some(shard);
            }
            if self.make_room(&mut shard, now) {
                continue;
            }
            drop(shard);
            let mut made = false;
            while !made {
                let mut other = self.lock(others.next()?)?;
                made = self.make_room(&mut other, now);
            }
            shard = self.lock(part)?;
        }
    }

    /// Removes the oldest entry of a part, if it is over or has to make room; whether there is one.
    fn make_room(&self, shard: &mut Shard, now: u32) -> bool {
        let may = |at: &u32| !self.nopurge.load(Relaxed) || self.is_over(shard, *at, now);
        let oldest = shard.oldest().filter(may);
        if let Some(at) = oldest {
            self.remove(shard, at);
        }
        oldest.is_some()
    }

    fn remove(&self, shard: &mut Shard, at: u32) {
        let hash = self.hash(trimmed(&self.layout, shard.key(&self.layout, at)));
        if let (Some(journal), Some(stamp)) = (&self.journal, self.stamp(shard, at)) {
            journal.forget(stamp);
        }
        shard.remove(&self.layout, at, hash);
        self.len.fetch_sub(1, Relaxed);
    }

    fn entry<'e>(&'e self, shard: &'e mut Shard, at: u32, now: u32) -> Entry<'e> {
        Entry {
            table: self,
            bytes: shard.entry_mut(&self.layout, at),
            now,
            changed: false,
        }
    }

    /// Does something with the entry of a key. `None` where there is none, and none can be made.
    pub fn with<T>(
        &self,
        key: &[u8],
        now_ms: u64,
        touch: Touch,
        f: impl FnOnce(&mut Entry<'_>) -> T,
    ) -> Option<T> {
        let now = now_ms as u32;
        let (mut shard, spot) = self.locate(key, now, touch)?;
        let touched = touch != Touch::No;
        Some(self.apply(&mut shard, spot.at, now, touched, f))
    }

    /// Does something with an entry, and notes where that changed it.
    fn apply<T>(
        &self,
        shard: &mut Shard,
        at: u32,
        now: u32,
        touched: bool,
        f: impl FnOnce(&mut Entry<'_>) -> T,
    ) -> T {
        let mut entry = self.entry(shard, at, now);
        let result = f(&mut entry);
        if entry.changed || touched {
            self.note(shard, at, Whose::Ours);
        }
        result
    }

    /// Notes that an entry changed, where peers are to hear of it.
    fn note(&self, shard: &mut Shard, at: u32, whose: Whose) {
        let (Some(journal), Some(before)) = (&self.journal, self.stamp(shard, at)) else {
            return;
        };
        let key = trimmed(&self.layout, shard.key(&self.layout, at));
        let stamp = journal.note(key, before, whose);
        self.put_stamp(shard, at, stamp);
    }

    /// What an entry keeps of its last change, where peers are to hear of it.
    fn stamp(&self, shard: &Shard, at: u32) -> Option<Stamp> {
        let place = self.layout.stamp?;
        Some(Stamp(layout::large(shard.entry(&self.layout, at), place)))
    }

    fn put_stamp(&self, shard: &mut Shard, at: u32, stamp: Stamp) {
        if let Some(place) = self.layout.stamp {
            layout::put_large(shard.entry_mut(&self.layout, at), place, stamp.0);
        }
    }

    /// A key as peers hear of it.
    pub fn told_key<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        trimmed(&self.layout, key)
    }

    /// Takes what a peer says of an entry: it is made where it is not there, and lives for so many
    /// milliseconds more, or (`None`) as long as entries do, or for longer if it would have. `f` is told
    /// whether that crosses a change of ours: one after `known`, the last that the peer had heard of when
    /// it spoke, or (`None`: it never hears of this entry) any since it last spoke of it. Such an entry
    /// stays ours, and is told. `false` where there is no room.
    pub fn learn(
        &self,
        key: &[u8],
        left: Option<u32>,
        known: Option<u64>,
        now_ms: u64,
        f: impl FnOnce(&mut Entry<'_>, bool),
    ) -> bool {
        let now = now_ms as u32;
        let expire = self.expire.load(Relaxed);
        let left = left.filter(|left| expire > 0 && *left < expire);
        let found = self.locate(key, now, Touch::No);
        let is_new = found.is_none();
        let Some((mut shard, spot)) = found.or_else(|| self.locate(key, now, Touch::Create)) else {
            return false;
        };
        match left {
            None => shard.touch(&self.layout, spot.at, self.expires(now)),
            Some(left) if is_new || left > self.left(&shard, spot.at, now) => {
                shard.set_end(&self.layout, spot.at, now.wrapping_add(left), now);
            }
            Some(_) => {}
        }
        let crossing = self.stamp(&shard, spot.at).filter(|s| s.crosses(known));
        f(
            &mut self.entry(&mut shard, spot.at, now),
            crossing.is_some(),
        );
        match crossing {
            Some(stamp) if known.is_none() => self.put_stamp(&mut shard, spot.at, stamp.met()),
            Some(_) => {}
            None => self.note(&mut shard, spot.at, Whose::Theirs),
        }
        true
    }

    /// Some changes after a number, to be told to a peer: those of this process, or all. None where
    /// the table is not shared.
    pub fn changes(&self, after: u64, most: usize, all: bool) -> Changes {
        let journal = self.journal.as_ref();
        journal.map_or_else(Changes::default, |j| j.take(after, most, all))
    }

    /// The number of the last change.
    pub fn last_change(&self) -> u64 {
        self.journal.as_ref().map_or(0, Journal::last)
    }

    /// Has somebody woken at the next change after a number; `false` where it was already.
    pub fn wait_for_change(&self, after: u64, waker: &std::task::Waker) -> bool {
        let journal = self.journal.as_ref();
        journal.is_none_or(|j| j.wait(after, waker))
    }

    /// Reads an entry, with the milliseconds until it expires, as a peer is to hear of it.
    pub fn tell<T>(
        &self,
        key: &[u8],
        now_ms: u64,
        f: impl FnOnce(&Entry<'_>, u32) -> T,
    ) -> Option<T> {
        let now = now_ms as u32;
        let (mut shard, spot) = self.locate(key, now, Touch::No)?;
        let left = self.left(&shard, spot.at, now);
        Some(f(&self.entry(&mut shard, spot.at, now), left))
    }

    /// Milliseconds that entries live; 0 is for ever.
    pub fn expire_ms(&self) -> u32 {
        self.expire.load(Relaxed)
    }

    /// Milliseconds until the entry of a key expires, and how many hold it.
    fn life(&self, key: &[u8], now: u32) -> Option<(u32, u32)> {
        let (shard, spot) = self.locate(key, now, Touch::No)?;
        Some((
            self.left(&shard, spot.at, now),
            shard.uses(&self.layout, spot.at),
        ))
    }

    /// Milliseconds until an entry expires; 0 where it never does.
    fn left(&self, shard: &Shard, at: u32, now: u32) -> u32 {
        if self.expire.load(Relaxed) == 0 {
            return 0;
        }
        let left = shard.expires(&self.layout, at).wrapping_sub(now);
        if left as i32 > 0 { left } else { 0 }
    }

    /// Removes the entry of a key, unless somebody holds it; whether it is gone.
    pub fn clear(&self, key: &[u8], now_ms: u64) -> bool {
        let Some((mut shard, spot)) = self.locate(key, now_ms as u32, Touch::No) else {
            return true;
        };
        let free = shard.uses(&self.layout, spot.at) == 0;
        if free {
            self.remove(&mut shard, spot.at);
        }
        free
    }

    /// Removes some of the entries that are over, from part `part` on; where to go on, `None` at
    /// the end. Others may use the table between two calls.
    pub fn purge(&self, part: u32, now_ms: u64) -> Option<u32> {
        let now = now_ms as u32;
        let mut shard = self.lock(part)?;
        for _ in 0..AT_ONCE {
            let over = shard.oldest().filter(|at| self.is_over(&shard, *at, now));
            let Some(at) = over else {
                drop(shard);
                let next = part + 1;
                return ((next as usize) < self.parts.len()).then_some(next);
            };
            self.remove(&mut shard, at);
        }
        Some(part)
    }

    /// Removes all entries that are over.
    pub fn purge_all(&self, now_ms: u64) {
        let mut part = Some(0);
        while let Some(at) = part {
            part = self.purge(at, now_ms);
        }
    }
}

#[cfg(test)]
mod tests;
