//! Stick tables as peers define them, and their entries.

use super::{bytes, number, put_number};

/// What the keys of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Key {
    Integer,
    Ip,
    Ipv6,
    String,
    Binary,
}

impl Key {
    const ALL: [(Key, u64); 5] = [
        (Key::Integer, 2),
        (Key::Ip, 4),
        (Key::Ipv6, 5),
        (Key::String, 6),
        (Key::Binary, 7),
    ];
}

/// What the values of a kind of data are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Number,
    /// Events in a period.
    Rate,
    /// A text, which a number stands for once it was sent.
    Text,
}

/// What the values of the kind of data with this number are, and whether there are several of it;
/// `None` for numbers that have no meaning yet.
pub fn kind(data: u8) -> Option<(Kind, bool)> {
    Some(match data {
        0..=2 | 4 | 6 | 7 | 9 | 11 | 13 | 15 | 17 | 20 | 25 => (Kind::Number, false),
        3 | 5 | 8 | 10 | 12 | 14 | 16 | 18 | 21 | 26 => (Kind::Rate, false),
        19 => (Kind::Text, false),
        22 | 23 => (Kind::Number, true),
        24 => (Kind::Rate, true),
        _ => return None,
    })
}

/// One kind of data of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its number.
    pub data: u8,
    /// How many of it; 1 where there is one.
    pub count: u32,
    /// Of rates the period in milliseconds.
    pub period: u32,
}

/// What a peer says of a table before it sends entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The sender's number of it.
    pub table: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// Its keys.
    pub key: Key,
    /// Bytes of a key; of strings one more than they may have.
    pub key_len: u64,
    /// What is sent of each entry, in the order of the numbers.
    pub columns: Vec<Column>,
    /// Milliseconds that entries live; 0 is for ever.
    pub expire: u64,
}

/// The events of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Milliseconds since the period began.
    pub elapsed: u32,
    /// Events in it.
    pub current: u32,
    /// Events in the period before.
    pub before: u32,
}

/// A value of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'m> {
    /// A number.
    Number(u64),
    /// Events.
    Rate(Rate),
    /// No text.
    NoText,
    /// The text of a number, or (without one) that which was sent with this number before.
    Text(u64, Option<&'m [u8]>),
}

/// An entry: its key, and for each column as many values as it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'m> {
    /// The key.
    pub key: &'m [u8],
    /// The values.
    pub values: Vec<Value<'m>>,
}

/// Values of one kind that an entry has at most.
const MOST: u64 = 100;

impl Definition {
    pub(super) fn parse(mut body: &[u8]) -> Option<Definition> {
        let from = &mut body;
        let table = number(from)?;
        let len = number(from)?;
        let name = bytes(from, len)?.to_vec();
        let key = number(from)?;
        let key = Key::ALL.into_iter().find(|(_, n)| *n == key)?.0;
        let key_len = number(from)?;
        let bits = number(from)?;
        let expire = number(from)?;
        let mut columns = Vec::new();
        // What has no meaning yet stands behind what has one, here and in entries.
        for data in (0..64).filter(|d| bits >> d & 1 != 0) {
            let Some((kind, array)) = kind(data) else {
                break;
            };
            let mut column = Column {
                data,
                count: 1,
                period: 0,
            };
            if array || kind == Kind::Rate {
                (number(from)? == data.into()).then_some(())?;
            }
            if array {
                let count = number(from)?;
                column.count = (1..=MOST).contains(&count).then_some(count as u32)?;
            }
            if kind == Kind::Rate {
                column.period = u32::try_from(number(from)?).ok()?;
            }
            columns.push(column);
        }
        Some(Definition {
            table,
            name,
            key,
            key_len,
            columns,
            expire,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_number(out, self.table);
        put_number(out, self.name.len() as u64);
        out.extend(&self.name);
        let key = Key::ALL.iter().find(|(k, _)| *k == self.key);
        put_number(out, key.map_or(0, |(_, n)| *n));
        put_number(out, self.key_len);
        let bits = self.columns.iter().map(|c| 1u64 << (c.data & 63));
        put_number(out, bits.fold(0, |all, bit| all | bit));
        put_number(out, self.expire);
        for column in &self.columns {
            let Some((kind, array)) = kind(column.data) else {
                continue;
            };
            if array || kind == Kind::Rate {
                put_number(out, column.data.into());
            }
            if array {
                put_number(out, column.count.into());
            }
            if kind == Kind::Rate {
                put_number(out, column.period.into());
            }
        }
    }

    /// Reads the fields of an update of this table; `None` where they do not fit.
    pub fn read<'m>(&self, mut fields: &'m [u8]) -> Option<Entry<'m>> {
        let from = &mut fields;
        let len = match self.key {
            Key::String => number(from)?,
            Key::Integer => 4,
            _ => self.key_len,
        };
        let key = bytes(from, len)?;
        let mut values = Vec::new();
        for column in &self.columns {
            let (kind, _) = kind(column.data)?;
            for _ in 0..column.count {
                values.push(value(kind, from)?);
            }
        }
        Some(Entry { key, values })
    }

    /// Appends the fields of an update: the key, with as many bytes as keys have, and the values.
    pub fn put(&self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        if self.key == Key::String {
            put_number(out, entry.key.len() as u64);
        }
        out.extend(entry.key);
        for value in &entry.values {
            match value {
                Value::Number(n) => put_number(out, *n),
                Value::Rate(rate) => {
                    for n in [rate.elapsed, rate.current, rate.before] {
                        put_number(out, n.into());
                    }
                }
                Value::NoText => put_number(out, 0),
                Value::Text(id, text) => {
                    let mut inner = Vec::new();
                    put_number(&mut inner, *id);
                    if let Some(text) = text {
                        put_number(&mut inner, text.len() as u64);
                        inner.extend(*text);
                    }
                    put_number(out, inner.len() as u64);
                    out.extend(inner);
                }
            }
        }
    }
}

fn value<'m>(kind: Kind, from: &mut &'m [u8]) -> Option<Value<'m>> {
    Some(match kind {
        Kind::Number => Value::Number(number(from)?),
        Kind::Rate => {
            // Moments are those of a clock of 32 bits that runs over.
            let mut next = || number(from).map(|n| n as u32);
            Value::Rate(Rate {
                elapsed: next()?,
                current: next()?,
                before: next()?,
            })
        }
        Kind::Text => {
            let len = number(from)?;
            let mut inner = bytes(from, len)?;
            if inner.is_empty() {
                return Some(Value::NoText);
            }
            let id = number(&mut inner)?;
            let text = match inner.is_empty() {
                true => None,
                false => {
                    let len = number(&mut inner)?;
                    Some(bytes(&mut inner, len)?)
                }
            };
            Value::Text(id, text)
        }
    })
}
