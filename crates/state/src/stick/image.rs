//! Entries as bytes, for the machine that takes over: what they store, and how long they have left.
//!
//! Milliseconds left (4 bytes; the greatest number: as long as entries live there), then each value:
//! the place of its kind in [`Data::ALL`] and its index (4 bytes together), and 8 bytes, or for rates
//! 4 numbers of 4 bytes, or for servers a text with its length before it (2 bytes). Numbers are in
//! network order.

use super::Table;
use rules::stick::{Data, DataKind};

const FOR_EVER: u32 = u32::MAX;

enum Value<'a> {
    Number(u64),
    /// Period, milliseconds since it began, events in it and in the one before.
    Rate([u32; 4]),
    Server(&'a str),
}

impl Table {
    /// An entry as bytes; none where there is none.
    pub fn image(&self, key: &[u8], now_ms: u64) -> Option<Vec<u8>> {
        self.tell(key, now_ms, |entry, left| {
            let left = if self.expire_ms() == 0 {
                FOR_EVER
            } else {
                left
            };
            let mut out = left.to_be_bytes().to_vec();
            for stored in self.stored() {
                // Whoever is connected there is not connected here.
                if stored.data == Data::ConnCur {
                    continue;
                }
                let kind = Data::ALL.iter().position(|d| *d == stored.data);
                for index in 0..stored.count.max(1) {
                    let Some(value) = entry.get(stored.data, index) else {
                        continue;
                    };
                    out.extend((kind.unwrap_or_default() as u16).to_be_bytes());
                    out.extend((index as u16).to_be_bytes());
                    match stored.data.kind() {
                        DataKind::Number | DataKind::Large => out.extend(value.to_be_bytes()),
                        DataKind::Rate => {
                            let events = entry.events(stored.data, index).unwrap_or_default();
                            let all = [stored.period].into_iter().chain(events);
                            out.extend(all.flat_map(u32::to_be_bytes));
                        }
                        DataKind::Server => {
                            let server = entry.server_key().unwrap_or_default();
                            let length = u16::try_from(server.len()).unwrap_or(0);
                            out.extend(length.to_be_bytes());
                            out.extend(server.bytes().take(length.into()));
                        }
                    }
                }
            }
            out
        })
    }

    /// Takes an entry from bytes; whether they are one and there is room. What this table does not
    /// store is passed over.
    pub fn take_image(&self, key: &[u8], image: &[u8], now_ms: u64) -> bool {
        let Some((left, values)) = read(image) else {
            return false;
        };
        let left = (left != FOR_EVER).then_some(left);
        self.learn(key, left, Some(u64::MAX), now_ms, |entry, _| {
            for (data, index, value) in values {
                match value {
                    Value::Number(n) => {
                        entry.set(data, index, n);
                    }
                    Value::Rate([period, elapsed, current, before]) => {
                        entry.set_events(data, index, period, [elapsed, current, before]);
                    }
                    Value::Server("") => {}
                    Value::Server(server) => entry.set_server_key(server),
                }
            }
        })
    }
}

/// Milliseconds left, and each value with its kind and index.
type Read<'a> = (u32, Vec<(Data, u32, Value<'a>)>);

fn read(mut bytes: &[u8]) -> Option<Read<'_>> {
    fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
        let (taken, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(taken)
    }
    let b = &mut bytes;
    let left = u32::from_be_bytes(*take(b)?);
    let mut values = Vec::new();
    while !b.is_empty() {
        let data = *Data::ALL.get(usize::from(u16::from_be_bytes(*take(b)?)))?;
        let index = u16::from_be_bytes(*take(b)?).into();
        let value = match data.kind() {
            DataKind::Number | DataKind::Large => Value::Number(u64::from_be_bytes(*take(b)?)),
            DataKind::Rate => {
                let mut all = [0; 4];
                for one in &mut all {
                    *one = u32::from_be_bytes(*take(b)?);
                }
                Value::Rate(all)
            }
            DataKind::Server => {
                let length = u16::from_be_bytes(*take(b)?);
                let (text, rest) = b.split_at_checked(length.into())?;
                *b = rest;
                Value::Server(std::str::from_utf8(text).ok()?)
            }
        };
        values.push((data, index, value));
    }
    Some((left, values))
}
