//! Entries of our tables as peers write them.

use rules::stick::{Data, DataKind, KeyType};
use state::stick::{Entry, Table};
use std::collections::HashMap;
use std::sync::Arc;
use wire::peers::{self, Column, Definition, Key, Rate, Value};

/// Texts that a number stands for are as many as HAProxy remembers.
const TEXTS: u64 = 127;
/// The greatest number of a text that is taken.
const GREATEST: u64 = 4096;

/// The texts that we sent, with their numbers.
#[derive(Default)]
pub struct TextsOut {
    numbers: HashMap<Arc<str>, u64>,
    texts: HashMap<u64, Arc<str>>,
    last: u64,
}

impl TextsOut {
    /// The number of a text, and whether the text must go with it. The oldest makes room.
    fn number(&mut self, text: &Arc<str>) -> (u64, bool) {
        if let Some(number) = self.numbers.get(text) {
            return (*number, false);
        }
        self.last = self.last % TEXTS + 1;
        if let Some(before) = self.texts.insert(self.last, Arc::clone(text)) {
            self.numbers.remove(&before);
        }
        self.numbers.insert(Arc::clone(text), self.last);
        (self.last, true)
    }
}

/// The texts that came, by their numbers.
#[derive(Default)]
pub struct TextsIn(HashMap<u64, Arc<str>>);

impl TextsIn {
    /// The text of a value; `None` where the value has none that is known.
    fn text(&mut self, number: u64, text: Option<&[u8]>) -> Option<Arc<str>> {
        if let Some(text) = text.filter(|_| number <= GREATEST) {
            let text: Arc<str> = String::from_utf8_lossy(text).into();
            self.0.insert(number, text);
        }
        self.0.get(&number).cloned()
    }
}

/// The number of a kind of data among peers: kinds stand there in the order in which we have them.
fn number_of(data: Data) -> u8 {
    let place = Data::ALL.iter().position(|d| *d == data);
    place.map_or(u8::MAX, |at| at as u8)
}

/// What is said of a table before its entries.
pub fn definition(table: &Table, number: u64) -> Definition {
    let key = match table.key_type() {
        KeyType::Ip => Key::Ip,
        KeyType::Ipv6 => Key::Ipv6,
        KeyType::Integer => Key::Integer,
        KeyType::String => Key::String,
        KeyType::Binary => Key::Binary,
    };
    let columns = table.stored().map(|stored| Column {
        data: number_of(stored.data),
        count: stored.count,
        period: stored.period,
    });
    Definition {
        table: number,
        name: table.shared_name.as_bytes().to_vec(),
        key,
        // HAProxy counts the zero that ends its strings.
        key_len: table.key_len() as u64 + u64::from(key == Key::String),
        columns: columns.collect(),
        expire: table.expire_ms().into(),
    }
}

/// Whether entries of their table can be entries of ours.
pub fn fits(theirs: &Definition, table: &Table) -> bool {
    definition(table, 0).key == theirs.key
}

/// The fields of an update, and the milliseconds that the entry has left; `None` where it is gone.
pub fn fields(
    table: &Table,
    definition: &Definition,
    key: &[u8],
    texts: &mut TextsOut,
    now_ms: u64,
) -> Option<(Vec<u8>, u32)> {
    let told = table.tell(key, now_ms, |entry, left| {
        let values = table.stored().flat_map(|stored| {
            (0..stored.count).map(move |at| match stored.data.kind() {
                DataKind::Rate => {
                    let events = entry.events(stored.data, at).unwrap_or_default();
                    let [elapsed, current, before] = events;
                    Value::Rate(Rate {
                        elapsed,
                        current,
                        before,
                    })
                }
                DataKind::Server => Value::NoText,
                _ => Value::Number(entry.get(stored.data, at).unwrap_or_default()),
            })
        });
        (values.collect(), entry.server_key(), left)
    });
    let (mut values, server, left): (Vec<Value<'_>>, Option<Arc<str>>, u32) = told?;
    let mut padded = key.to_vec();
    if definition.key != Key::String {
        padded.resize(table.key_len(), 0);
    }
    if let Some(server) = &server {
        let (number, fresh) = texts.number(server);
        let text = fresh.then_some(server.as_bytes());
        for value in values.iter_mut().filter(|v| **v == Value::NoText) {
            *value = Value::Text(number, text);
        }
    }
    let mut out = Vec::new();
    let entry = peers::Entry {
        key: &padded,
        values,
    };
    definition.put(&entry, &mut out);
    Some((out, left))
}

/// Takes an entry of theirs into our table; `None` where its fields have no sense.
pub fn learn(
    table: &Table,
    theirs: &Definition,
    fields: &[u8],
    left: Option<u32>,
    texts: &mut TextsIn,
    now_ms: u64,
) -> Option<()> {
    let entry = theirs.read(fields)?;
    let key = entry.key.get(..table.key_len()).unwrap_or(entry.key);
    if theirs.key == Key::Ip && key.len() != 4 || theirs.key == Key::Ipv6 && key.len() != 16 {
        return None;
    }
    let mut values = entry.values.into_iter();
    // Without an end of its own an entry lives as long as ours do.
    let left = left.filter(|_| theirs.expire > 0);
    let room = table.learn(key, left, now_ms, |ours| {
        for column in &theirs.columns {
            let data = Data::ALL.get(usize::from(column.data)).copied();
            for (at, value) in (0..column.count).zip(values.by_ref()) {
                if let Some(data) = data.filter(|d| *d != Data::ConnCur) {
                    take(ours, data, at, column.period, value, texts);
                }
            }
        }
    });
    if !room {
        // The numbers of texts count even where there is no room for their entry.
        for value in values {
            if let Value::Text(number, text) = value {
                texts.text(number, text);
            }
        }
    }
    Some(())
}

/// Sets one value; data that the table does not store, or with another period, is passed over.
fn take(
    ours: &mut Entry<'_>,
    data: Data,
    at: u32,
    period: u32,
    value: Value<'_>,
    texts: &mut TextsIn,
) {
    match value {
        Value::Number(n) => {
            ours.set(data, at, n);
        }
        Value::Rate(rate) => {
            let events = [rate.elapsed, rate.current, rate.before];
            ours.set_events(data, at, period, events);
        }
        Value::Text(number, text) => {
            if let Some(text) = texts.text(number, text) {
                ours.set_server_key(&text);
            }
        }
        Value::NoText => {}
    }
}
