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

/// What a peer says of an entry.
pub struct Lesson<'a> {
    /// Of their table.
    pub definition: &'a Definition,
    /// Key and values.
    pub fields: &'a [u8],
    /// How long it still lives, milliseconds, where that is said.
    pub left: Option<u32>,
    /// The last change of ours that the peer had heard of, `None` where it hears of none of that key.
    pub known: &'a dyn Fn(&[u8]) -> Option<u64>,
    /// Of values that cross each other and are neither more nor less, whether theirs is taken.
    pub prevails: bool,
}

/// Takes an entry of theirs into our table; `None` where its fields have no sense.
///
/// A change of ours that the peer had not heard of when it spoke is not undone by what it said: of
/// counts the greater one stays. The peer does the same with ours, which is on its way, so that both
/// end with the same. A peer that is never told of a key crosses each change of ours once: what it says
/// after that, while nothing happens here, is taken.
pub fn learn(table: &Table, lesson: &Lesson<'_>, texts: &mut TextsIn, now_ms: u64) -> Option<()> {
    let theirs = lesson.definition;
    let entry = theirs.read(lesson.fields)?;
    let key = entry.key.get(..table.key_len()).unwrap_or(entry.key);
    if theirs.key == Key::Ip && key.len() != 4 || theirs.key == Key::Ipv6 && key.len() != 16 {
        return None;
    }
    let mut values = entry.values.into_iter();
    // Without an end of its own an entry lives as long as ours do.
    let left = lesson.left.filter(|_| theirs.expire > 0);
    let known = (lesson.known)(table.told_key(key));
    let room = table.learn(key, left, known, now_ms, |ours, crossed| {
        for column in &theirs.columns {
            let data = Data::ALL.get(usize::from(column.data)).copied();
            for (at, value) in (0..column.count).zip(values.by_ref()) {
                let Some(data) = data.filter(|d| *d != Data::ConnCur) else {
                    continue;
                };
                // The numbers of texts count whether theirs are taken or not.
                let value = match value {
                    Value::Text(number, text) => Said::Text(texts.text(number, text)),
                    Value::Number(n) => Said::Number(n),
                    Value::Rate(rate) => Said::Rate([rate.elapsed, rate.current, rate.before]),
                    Value::NoText => Said::Text(None),
                };
                if !crossed || goes_before(ours, data, at, &value, lesson.prevails) {
                    take(ours, data, at, column.period, value);
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

/// A value, its text found.
enum Said {
    Number(u64),
    Rate([u32; 3]),
    Text(Option<Arc<str>>),
}

/// Whether a value of theirs is taken although ours is as new: counts only grow, and of what is no
/// count one end's is taken by both.
fn goes_before(ours: &Entry<'_>, data: Data, at: u32, theirs: &Said, prevails: bool) -> bool {
    match theirs {
        _ if matches!(
            data,
            Data::Gpt | Data::Gpt0 | Data::ServerId | Data::ServerKey
        ) =>
        {
            prevails
        }
        Said::Number(n) => ours.get(data, at).is_none_or(|own| *n > own),
        Said::Rate([_, current, before]) => {
            let all = |current: u32, before: u32| u64::from(current) + u64::from(before);
            ours.events(data, at)
                .is_none_or(|[_, c, b]| all(*current, *before) > all(c, b))
        }
        Said::Text(_) => prevails,
    }
}

/// Sets one value; data that the table does not store, or with another period, is passed over.
fn take(ours: &mut Entry<'_>, data: Data, at: u32, period: u32, value: Said) {
    match value {
        Said::Number(n) => {
            ours.set(data, at, n);
        }
        Said::Rate(events) => {
            ours.set_events(data, at, period, events);
        }
        Said::Text(Some(text)) => ours.set_server_key(&text),
        Said::Text(None) => {}
    }
}
