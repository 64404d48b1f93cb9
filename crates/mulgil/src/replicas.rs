//! What is kept alike with other machines, as the failover service works with it.

use failover::Replica;
use failover::sync::{Change, Copy, Table};
use packet::{Copies, Look};
use state::Process;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// The sessions of the packet plane.
pub struct Sessions {
    copies: Copies,
    /// Whom the next entries are from.
    peer: usize,
}

impl Sessions {
    /// For the service.
    pub fn new(copies: Copies) -> Sessions {
        Sessions { copies, peer: 0 }
    }
}

impl Table for Sessions {
    fn kind(&self) -> u16 {
        1
    }

    fn layout(&self) -> u16 {
        packet::FORM
    }

    fn walk(
        &mut self,
        at: Option<&[u8]>,
        most: usize,
        entry: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Option<Vec<u8>> {
        self.copies.walk(at, most, entry)
    }
}

impl Copy for Sessions {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.copies.put(self.peer, key, value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.copies.remove(key);
    }

    fn begin(&mut self) {
        self.copies.begin(self.peer);
    }

    fn complete(&mut self) {
        self.copies.complete(self.peer);
    }

    fn settle(&mut self) {
        self.copies.settle();
    }
}

impl Replica for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn changes(&mut self, change: &mut Change<'_>) -> bool {
        self.copies.look(change) == Look::All
    }

    fn hear(&mut self, peer: usize) {
        self.peer = peer;
    }

    fn standing(&mut self, whole: bool) {
        self.copies.standing(self.peer, whole);
    }

    fn wants_all(&mut self) -> bool {
        self.copies.knows_more()
    }

    fn refused(&self) -> u64 {
        self.copies.refused
    }
}

/// Changes of one table in one look, at most: others wait for the next.
const CHANGES: usize = 1 << 15;

/// All stick tables. Entries go over when they change, and expire where they are; what changed last
/// counts. A snapshot replaces nothing on the machine that serves.
pub struct Tables {
    process: Arc<Process>,
    /// The tables as they were met last, and which of their changes were handed over.
    met: HashMap<Arc<str>, (Arc<state::stick::Table>, u64)>,
    within_snapshot: bool,
    refused: u64,
}

impl Tables {
    /// Those of a process.
    pub fn new(process: Arc<Process>) -> Tables {
        Tables {
            process,
            met: HashMap::new(),
            within_snapshot: false,
            refused: 0,
        }
    }

    fn now(&self) -> u64 {
        self.process.millis(Instant::now())
    }

    fn tables(&self) -> Vec<Arc<state::stick::Table>> {
        self.process.generation.load().tables.clone()
    }
}

/// A table's name, its length before it, and the entry's key.
fn long_key(table: &str, key: &[u8]) -> Vec<u8> {
    let length = (table.len() as u32).to_be_bytes();
    [&length, table.as_bytes(), key].concat()
}

fn short_key(long: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = long.split_first_chunk()?;
    let (name, key) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((std::str::from_utf8(name).ok()?, key))
}

impl Table for Tables {
    fn kind(&self) -> u16 {
        2
    }

    fn layout(&self) -> u16 {
        1
    }

    /// A position is a table and the number of a change in it.
    fn walk(
        &mut self,
        at: Option<&[u8]>,
        most: usize,
        entry: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Option<Vec<u8>> {
        let tables = self.tables();
        let (name, after) = match at {
            None => (&*tables.first()?.name, 0),
            Some(at) => {
                let (name, number) = short_key(at)?;
                (name, u64::from_be_bytes(number.try_into().ok()?))
            }
        };
        let place = tables.iter().position(|t| *t.name == *name)?;
        let table = tables.get(place)?;
        let changes = table.changes(after, most, true);
        for (_, key) in &changes.entries {
            if let Some(image) = table.image(key, self.now()) {
                entry(&long_key(&table.name, key), &image);
            }
        }
        if changes.entries.len() == most {
            return Some(long_key(&table.name, &changes.upto.to_be_bytes()));
        }
        let next = tables.get(place + 1)?;
        Some(long_key(&next.name, &0u64.to_be_bytes()))
    }
}

impl Copy for Tables {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        let now = self.now();
        let taken = short_key(key).is_some_and(|(name, key)| {
            let table = self.tables().into_iter().find(|t| *t.name == *name);
            let serves = || self.process.replication.roles().values().any(|r| r.active);
            table.is_some_and(|table| {
                let ours = self.within_snapshot && serves() && table.image(key, now).is_some();
                ours || table.take_image(key, value, now)
            })
        });
        self.refused += u64::from(!taken);
    }

    // Entries that are over are so on either machine at their time.
    fn remove(&mut self, _: &[u8]) {}

    fn begin(&mut self) {
        self.within_snapshot = true;
    }

    fn complete(&mut self) {
        self.within_snapshot = false;
    }
}

impl Replica for Tables {
    fn name(&self) -> &'static str {
        "tables"
    }

    fn changes(&mut self, change: &mut Change<'_>) -> bool {
        let now = self.now();
        let tables = self.tables();
        self.met
            .retain(|name, _| tables.iter().any(|t| t.name == *name));
        for table in tables {
            let known = self.met.get(&table.name);
            let after = known.filter(|(met, _)| Arc::ptr_eq(met, &table));
            let after = after.map_or(0, |(_, after)| *after);
            if table.last_change() == after {
                continue;
            }
            let changes = table.changes(after, CHANGES, false);
            for (_, key) in &changes.entries {
                if let Some(image) = table.image(key, now) {
                    change(&long_key(&table.name, key), Some(&image));
                }
            }
            let name = Arc::clone(&table.name);
            self.met.insert(name, (table, changes.upto));
        }
        true
    }

    fn hear(&mut self, _: usize) {}

    fn standing(&mut self, _: bool) {
        self.within_snapshot = false;
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}
