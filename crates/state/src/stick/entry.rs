//! What an entry of a table stores, while its part is locked.

use super::{Table, layout};
use model::Stored;
use rules::stick::{Counter, Data, DataKind};
use std::sync::Arc;

/// The bytes of an entry, to read and write what it stores.
pub struct Entry<'e> {
    pub(super) table: &'e Table,
    pub(super) bytes: &'e mut [u8],
    pub(super) now: u32,
    /// Whether it was written.
    pub(super) changed: bool,
}

impl Entry<'_> {
    /// A value; `None` where it is not stored.
    pub fn get(&self, data: Data, index: u32) -> Option<u64> {
        let cell = self.table.layout.value(data, index)?;
        Some(layout::get(self.bytes, cell, self.now))
    }

    /// Sets a value; whether it is stored.
    pub fn set(&mut self, data: Data, index: u32, value: u64) -> bool {
        let Some(cell) = self.table.layout.value(data, index) else {
            return false;
        };
        layout::set(self.bytes, cell, value, self.now);
        self.changed = true;
        true
    }

    /// Adds to all of these that are stored; what the first of them is then.
    pub fn add(&mut self, what: &[Data], n: u64) -> Option<u64> {
        self.changed = true;
        let cells = what.iter().map(|d| self.table.layout.value(*d, 0));
        add_all(self.bytes, cells, n, self.now)
    }

    /// Adds to a counter and its rate; the new value, 0 where neither is stored.
    pub fn count(&mut self, counter: Counter, n: u32) -> u64 {
        self.changed = true;
        let cells = self.table.layout.counter(counter);
        add_all(self.bytes, cells.into_iter(), n.into(), self.now).unwrap_or(0)
    }

    /// Sets a counter to 0; the value before.
    pub fn clear(&mut self, counter: Counter) -> Option<u64> {
        let [cell, _] = self.table.layout.counter(counter);
        let cell = cell?;
        let before = layout::get(self.bytes, cell, self.now);
        layout::set(self.bytes, cell, 0, self.now);
        self.changed = true;
        Some(before)
    }

    /// Sets a tag; `None` where it is not stored.
    pub fn tag(&mut self, tag: Counter, value: u32) -> Option<u64> {
        let cell = self.table.layout.tag(tag)?;
        layout::set(self.bytes, cell, value.into(), self.now);
        self.changed = true;
        Some(value.into())
    }

    /// The server, by what the table remembers of it.
    pub fn server_key(&self) -> Option<Arc<str>> {
        let place = self.get(Data::ServerKey, 0)?.checked_sub(1)?;
        let servers = self.table.servers();
        servers.get(usize::try_from(place).ok()?).cloned()
    }

    /// Remembers a server: its number, its name or address.
    pub fn set_server(&mut self, id: u32, key: &str) {
        self.set(Data::ServerId, 0, id.into());
        self.set_server_key(key);
    }

    /// Remembers a server by its name or address alone.
    pub fn set_server_key(&mut self, key: &str) {
        if self.table.layout.value(Data::ServerKey, 0).is_some() {
            let place = {
                let mut servers = self.table.servers();
                let known = servers.iter().position(|s| **s == *key);
                known.unwrap_or_else(|| {
                    servers.push(key.into());
                    servers.len() - 1
                })
            };
            self.set(Data::ServerKey, 0, place as u64 + 1);
        }
    }

    /// The events that a rate is worked out from: milliseconds since the period began, events in it
    /// and in the one before.
    pub fn events(&self, rate: Data, index: u32) -> Option<[u32; 3]> {
        let (_, at) = self.table.layout.value(rate, index)?;
        (rate.kind() == DataKind::Rate).then(|| layout::events(self.bytes, at, self.now))
    }

    /// Sets them, where the period is this one; whether it is.
    pub fn set_events(&mut self, rate: Data, index: u32, period: u32, events: [u32; 3]) -> bool {
        match self.table.layout.value(rate, index) {
            Some((stored, at)) if stored.period == period && period > 0 => {
                layout::set_events(self.bytes, at, events, self.now);
                true
            }
            _ => false,
        }
    }
}

fn add_all(
    bytes: &mut [u8],
    cells: impl Iterator<Item = Option<(Stored, usize)>>,
    n: u64,
    now: u32,
) -> Option<u64> {
    let mut first = None;
    for cell in cells.flatten() {
        let value = layout::add(bytes, cell, n, now);
        first.get_or_insert(value);
    }
    first
}
