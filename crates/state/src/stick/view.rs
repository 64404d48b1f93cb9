//! The tables as rules see them.

use super::{Entry as Bytes, Held, Table, Touch};
use crate::facts::View;
use rules::Sample;
use rules::stick::{Change, Data, Entry, KeyType, Lasts, Read, TableName, Tables};
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

impl View<'_> {
    fn table(&self, name: &TableName) -> Option<&Arc<Table>> {
        name.find(&self.generation.tables, |t| &t.name)
    }

    fn now_ms(&self) -> u64 {
        self.process.millis(self.now)
    }

    /// Does something with what is tracked under a number; where another table is meant, gives
    /// that table and the key in it.
    fn held<T>(
        &self,
        number: usize,
        table: Option<&TableName>,
        f: impl FnOnce(&Held) -> T,
    ) -> Option<Result<T, Elsewhere>> {
        let found = self.tracked?.find(number, |held| match table {
            Some(name) if *name.name != *held.table().name => {
                let table = Arc::clone(self.table(name)?);
                let alike = table.key_type() == held.table().key_type();
                let key = alike.then(|| held.key());
                Some(Err(Elsewhere { table, key }))
            }
            _ => Some(Ok(f(held))),
        });
        found.flatten()
    }
}

/// A table besides the one where something is tracked, with the same key where its keys are alike.
struct Elsewhere {
    table: Arc<Table>,
    key: Option<Vec<u8>>,
}

/// The key that a value makes for a table.
pub(crate) fn key_of<'s>(table: &Table, value: &'s Sample<'_>) -> Option<Cow<'s, [u8]>> {
    table.key_type().key(value, table.key_len())
}

impl Tables for View<'_> {
    fn track(&self, number: usize, table: &TableName, key: &Sample<'_>, lasts: Lasts) {
        let (Some(table), Some(tracked)) = (self.table(table), self.tracked) else {
            return;
        };
        if let Some(key) = key_of(table, key) {
            tracked.track(number, table, &key, lasts, self.now_ms());
        }
    }

    fn tracks(&self, number: usize) -> bool {
        let tracked = self.tracked.and_then(|t| t.find(number, |_| ()));
        tracked.is_some()
    }

    fn read(&self, entry: Entry<'_>, what: Read) -> Option<i64> {
        match entry {
            Entry::Tracked(number, table) => {
                let read = |held: &Held| match what {
                    Read::Value(data, index) => {
                        held.with(self.now_ms(), |e| e.get(data, index)).flatten()
                    }
                    Read::Trackers => Some(held.uses().into()),
                    Read::Expire => Some(held.left(self.now_ms()).into()),
                    Read::Idle => Some(idle(held.table(), held.left(self.now_ms()))),
                    Read::Presence => Some(1),
                };
                match self.held(number, table, read)? {
                    Ok(value) => value.map(signed),
                    Err(other) => self.read_key(&other.table, other.key.as_deref(), what),
                }
            }
            Entry::Key(table, value) => {
                let table = self.table(table)?;
                let key = key_of(table, value)?;
                self.read_key(table, Some(&key), what)
            }
        }
    }

    fn change(&self, entry: Entry<'_>, change: Change) -> Option<i64> {
        let now = self.now_ms();
        let apply = |e: &mut Bytes<'_>| match change {
            Change::Count(counter, n) => Some(e.count(counter, n)),
            Change::Clear(counter) => e.clear(counter),
            Change::Tag(tag, value) => e.tag(tag, value),
            Change::Connection => e.add(&[Data::ConnCnt], 1),
        };
        let value = match entry {
            Entry::Tracked(number, table) => {
                match self.held(number, table, |held| held.with(now, apply))? {
                    Ok(value) => value,
                    Err(other) => other.table.with(&other.key?, now, Touch::Create, apply),
                }
            }
            Entry::Key(table, value) => {
                let table = self.table(table)?;
                let key = key_of(table, value)?;
                table.with(&key, now, Touch::Create, apply)
            }
        };
        value.flatten().map(signed)
    }

    fn used(&self, table: &TableName) -> Option<i64> {
        Some(self.table(table)?.len().into())
    }

    fn free(&self, table: &TableName) -> Option<i64> {
        let table = self.table(table)?;
        Some(table.size().saturating_sub(table.len()).into())
    }

    fn key(&self, number: usize, table: Option<&TableName>) -> Option<Sample<'static>> {
        let value = |held: &Held| value_of(held.table().key_type(), &held.key());
        match self.held(number, table, value)? {
            Ok(value) => value,
            Err(other) => value_of(other.table.key_type(), &other.key?),
        }
    }
}

impl View<'_> {
    fn read_key(&self, table: &Table, key: Option<&[u8]>, what: Read) -> Option<i64> {
        let now = self.now_ms();
        let life = || table.life(key?, now as u32);
        match what {
            Read::Value(data, index) => {
                // An entry that is not there counts 0, whatever is stored.
                let value = key.and_then(|k| table.with(k, now, Touch::No, |e| e.get(data, index)));
                value.map_or(Some(0), |stored| stored.map(signed))
            }
            Read::Trackers => Some(life().map_or(0, |(_, uses)| uses.into())),
            Read::Expire => life().map(|(left, _)| left.into()),
            Read::Idle => life().map(|(left, _)| signed(idle(table, left))),
            Read::Presence => Some(life().is_some().into()),
        }
    }
}

/// How long ago an entry was touched that has so many milliseconds left.
fn idle(table: &Table, left: u32) -> u64 {
    let expire = table.expire.load(std::sync::atomic::Ordering::Relaxed);
    expire.saturating_sub(left).into()
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The value that a key was made from.
fn value_of(kind: KeyType, key: &[u8]) -> Option<Sample<'static>> {
    let end = key.iter().position(|b| *b == 0).unwrap_or(key.len());
    Some(match kind {
        KeyType::Ip => Sample::Ip4(Ipv4Addr::from(<[u8; 4]>::try_from(key).ok()?)),
        KeyType::Ipv6 => Sample::Ip6(Ipv6Addr::from(<[u8; 16]>::try_from(key).ok()?)),
        KeyType::Integer => Sample::Int(u32::from_be_bytes(key.try_into().ok()?).into()),
        KeyType::String => Sample::owned(key.get(..end)?),
        KeyType::Binary => Sample::Bin(Cow::Owned(key.to_vec())),
    })
}
