//! Indices. Strings as a whole, by their beginning or end, and networks are keys of a hash table;
//! other patterns, and a handful of strings, are tried in their order.
//!
//! The table is cut into shards, each replaced as a whole when it changes: readers take no lock, and
//! a change costs the copy of one shard. Beginnings, ends and networks are asked for once for each
//! length that there is.

use crate::Sample;
use crate::pattern::{Match, Pattern, PatternFault, embedded, equal, folded, network, unhex};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// What belongs to a pattern.
#[derive(Debug)]
pub struct Item {
    /// The entry's number; those of entries before are lower.
    pub id: u64,
    /// The pattern as it was given.
    pub key: Arc<str>,
    /// Its value, where the list has values.
    pub value: Option<Sample<'static>>,
}

/// The patterns of one matcher.
#[derive(Debug)]
pub enum Index {
    /// The sample exists.
    Found,
    /// The sample is true.
    True,
    /// By key.
    Keyed(Keyed),
    /// A handful of texts.
    Few(Few),
    /// One after the other, the first counts.
    InOrder(Vec<(Pattern, Arc<Item>)>),
}

impl Index {
    /// What a sample matches: of beginnings and networks the longest, else the first.
    pub fn find(&self, how: Match, sample: &Sample<'_>) -> Option<Arc<Item>> {
        match self {
            Index::Found | Index::True => None,
            Index::Keyed(keyed) => keyed.find(how, sample),
            Index::Few(few) => few.find(how, &sample.to_bytes()),
            Index::InOrder(all) => {
                let found = if how == Match::Int {
                    let n = sample.to_int()?;
                    all.iter().find(|(p, _)| p.matches_int(n))
                } else {
                    let bytes = sample.to_bytes();
                    all.iter().find(|(p, _)| p.matches_bytes(&bytes))
                };
                found.map(|(_, item)| Arc::clone(item))
            }
        }
    }
}

/// A handful of whole texts, beginnings or ends: comparing them one after the other is less work than
/// looking into a table. They never change; with others an index is made anew.
#[derive(Debug)]
pub struct Few {
    /// In the order in which they are tried.
    keys: Vec<(Box<[u8]>, Arc<Item>)>,
    fold: bool,
}

impl Few {
    /// Whether so many patterns that match so are few.
    pub fn holds(how: Match, count: usize) -> bool {
        matches!(how, Match::Str | Match::Beg | Match::End) && count <= FEW
    }

    /// These keys and what belongs to them, in their order.
    pub fn new(how: Match, mut keys: Vec<(Box<[u8]>, Arc<Item>)>, fold: bool) -> Few {
        if how == Match::Beg {
            keys.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
        }
        Few { keys, fold }
    }

    fn find(&self, how: Match, bytes: &[u8]) -> Option<Arc<Item>> {
        let fits = |key: &[u8]| {
            let part = match how {
                Match::Beg => bytes.get(..key.len()),
                Match::End => bytes
                    .len()
                    .checked_sub(key.len())
                    .and_then(|at| bytes.get(at..)),
                _ => Some(bytes),
            };
            part.is_some_and(|part| equal(part, key, self.fold))
        };
        let found = self.keys.iter().find(|(key, _)| fits(key));
        found.map(|(_, item)| Arc::clone(item))
    }
}

type Shard = HashMap<Arc<[u8]>, Arc<Item>>;

/// Patterns by key.
#[derive(Debug)]
pub struct Keyed {
    shards: Box<[ArcSwap<Shard>]>,
    /// Lengths that keys have, the longest first; of networks with the family above ([`FAMILY`]).
    lengths: ArcSwap<Vec<usize>>,
    /// Whether a key stood more than once: only the first is in the table.
    repeated: AtomicBool,
    count: AtomicUsize,
    networks: bool,
    fold: bool,
}

/// So many texts are few.
const FEW: usize = 8;
/// Entries in a shard, about.
const SHARD: usize = 128;
/// Shards at most.
const SHARDS: usize = 4096;
/// What the length of a network of IPv6 has more.
const FAMILY: usize = 256;

impl Keyed {
    /// Whether patterns that match so are found by key.
    pub fn holds(how: Match) -> bool {
        matches!(
            how,
            Match::Str | Match::Bin | Match::Beg | Match::End | Match::Ip
        )
    }

    /// The key of a pattern.
    pub fn key(how: Match, text: &str, fold: bool) -> Result<Box<[u8]>, PatternFault> {
        match how {
            Match::Ip => {
                let (ip, len) = network(text).ok_or_else(|| PatternFault::Address(text.into()))?;
                let mut key = [0; KEY];
                Ok(net_key(ip, len, &mut key).into())
            }
            Match::Bin => unhex(text.as_bytes())
                .map(Vec::into_boxed_slice)
                .ok_or_else(|| PatternFault::Other(format!("'{text}' is not hexadecimal"))),
            _ => Ok(folded(text.as_bytes(), fold)),
        }
    }

    /// A table of keys and what belongs to them, in their order.
    pub fn new(how: Match, items: Vec<(Box<[u8]>, Arc<Item>)>, fold: bool) -> Keyed {
        let networks = how == Match::Ip;
        let shards = (items.len() / SHARD).next_power_of_two().clamp(1, SHARDS);
        let mut maps: Vec<Shard> = (0..shards).map(|_| Shard::new()).collect();
        let mut lengths: Vec<usize> = items.iter().map(|(k, _)| length(k, networks)).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        let (count, mut repeated) = (items.len(), false);
        for (key, item) in items {
            if let Some(map) = maps.get_mut(shard_of(&key, shards)) {
                let mut new = false;
                map.entry(key.into()).or_insert_with(|| {
                    new = true;
                    item
                });
                repeated |= !new;
            }
        }
        Keyed {
            shards: maps.into_iter().map(ArcSwap::from_pointee).collect(),
            lengths: ArcSwap::from_pointee(lengths),
            repeated: AtomicBool::new(repeated),
            count: AtomicUsize::new(count),
            networks,
            fold,
        }
    }

    fn shard(&self, key: &[u8]) -> Option<&ArcSwap<Shard>> {
        self.shards.get(shard_of(key, self.shards.len()))
    }

    fn get(&self, key: &[u8]) -> Option<Arc<Item>> {
        self.shard(key)?.load().get(key).cloned()
    }

    fn find(&self, how: Match, sample: &Sample<'_>) -> Option<Arc<Item>> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        if how == Match::Ip {
            return self.find_network(sample.to_ip()?);
        }
        let bytes = sample.to_bytes();
        let (mut small, lower) = ([0; 128], &mut Vec::new());
        let bytes: &[u8] = match small.get_mut(..bytes.len()) {
            _ if !self.fold => &bytes,
            Some(small) => {
                small.copy_from_slice(&bytes);
                small.make_ascii_lowercase();
                small
            }
            None => {
                *lower = bytes.to_ascii_lowercase();
                lower
            }
        };
        if how == Match::Str || how == Match::Bin {
            return self.get(bytes);
        }
        let lengths = self.lengths.load();
        let fitting = lengths.iter().filter(|n| **n <= bytes.len());
        match how {
            Match::Beg => {
                let mut parts = fitting.filter_map(|n| bytes.get(..*n));
                parts.find_map(|part| self.get(part))
            }
            _ => {
                let parts = fitting.filter_map(|n| bytes.get(bytes.len() - n..));
                let found = parts.filter_map(|part| self.get(part));
                found.min_by_key(|item| item.id)
            }
        }
    }

    /// The longest network that holds an address: of its own family first, then of the other,
    /// where it is one of that, too.
    fn find_network(&self, ip: IpAddr) -> Option<Arc<Item>> {
        let other = match ip {
            IpAddr::V4(ip) => Some(IpAddr::V6(ip.to_ipv6_mapped())),
            IpAddr::V6(ip) => embedded(ip).map(IpAddr::V4),
        };
        let lengths = self.lengths.load();
        let mut key = [0; KEY];
        for ip in [Some(ip), other].into_iter().flatten() {
            for len in lengths.iter() {
                if (*len >= FAMILY) != ip.is_ipv6() {
                    continue;
                }
                let found = self.get(net_key(ip, (*len % FAMILY) as u8, &mut key));
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Takes a key in behind the others; false where the table should be made anew, larger.
    pub fn insert(&self, key: Box<[u8]>, item: Arc<Item>) -> bool {
        let count = self.count.fetch_add(1, Relaxed) + 1;
        if self.shards.len() < SHARDS && count > 8 * SHARD * self.shards.len() {
            return false;
        }
        let Some(shard) = self.shard(&key) else {
            return false;
        };
        let known = self.lengths.load_full();
        let length = length(&key, self.networks);
        if let Err(at) = known.binary_search_by(|n| length.cmp(n)) {
            let mut lengths = Vec::clone(&known);
            lengths.insert(at, length);
            self.lengths.store(Arc::new(lengths));
        }
        if shard.load().contains_key(&*key) {
            self.repeated.store(true, Relaxed);
            return true;
        }
        let mut map = Shard::clone(&shard.load());
        map.insert(key.into(), item);
        shard.store(Arc::new(map));
        true
    }

    /// Gives the entry of that key and number another value.
    pub fn replace(&self, key: &[u8], new: Arc<Item>) {
        let Some(shard) = self.shard(key) else { return };
        if shard.load().get(key).is_some_and(|i| i.id == new.id) {
            let mut map = Shard::clone(&shard.load());
            map.insert(key.into(), new);
            shard.store(Arc::new(map));
        }
    }

    /// Leaves a key out; false where another entry may have the same, so that the table has to be
    /// made anew.
    pub fn remove(&self, key: &[u8]) -> bool {
        if self.repeated.load(Relaxed) {
            return false;
        }
        if let Some(shard) = self.shard(key) {
            let mut map = Shard::clone(&shard.load());
            map.remove(key);
            shard.store(Arc::new(map));
        }
        self.count.fetch_sub(1, Relaxed);
        true
    }
}

fn shard_of(key: &[u8], shards: usize) -> usize {
    match shards {
        1 => 0,
        n => xxhash_rust::xxh3::xxh3_64(key) as usize & (n - 1),
    }
}

/// The most bytes of a network's key.
const KEY: usize = 18;

/// A network's key: family, length, and the bytes of its address with those bits only.
fn net_key(ip: IpAddr, len: u8, key: &mut [u8; KEY]) -> &[u8] {
    *key = [0; KEY];
    let masked = |all: u128, bits: u32| {
        let shift = bits.saturating_sub(u32::from(len));
        all.checked_shr(shift)
            .and_then(|n| n.checked_shl(shift))
            .unwrap_or(0)
    };
    key[1] = len;
    match ip {
        IpAddr::V4(ip) => {
            key[0] = 4;
            let net = masked(u32::from(ip).into(), 32) as u32;
            key[2..6].copy_from_slice(&net.to_be_bytes());
            &key[..6]
        }
        IpAddr::V6(ip) => {
            key[0] = 6;
            key[2..].copy_from_slice(&masked(ip.into(), 128).to_be_bytes());
            key
        }
    }
}

/// The length by which a key is asked for.
fn length(key: &[u8], networks: bool) -> usize {
    match key {
        [6, len, ..] if networks => usize::from(*len) + FAMILY,
        [_, len, ..] if networks => usize::from(*len),
        _ => key.len(),
    }
}
