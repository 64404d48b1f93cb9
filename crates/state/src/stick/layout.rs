//! What an entry is made of: where in its bytes each kind of data stands, and how it is counted.

use model::{StickTable, Stored};
use rules::stick::{Counter, Data, DataKind, KeyType};

/// Bytes before the key: the links of its chain and of the list of the oldest, when it expires,
/// who uses it.
pub(super) const HEADER: usize = 20;

/// The places in an entry.
#[derive(Debug)]
pub(super) struct Layout {
    /// The keys.
    pub key: KeyType,
    /// Bytes of a key.
    pub key_len: usize,
    /// Each kind of data with its place.
    pub cells: Box<[(Stored, usize)]>,
    /// Where an entry keeps what the journal of changes knows it by, if the table is shared.
    pub stamp: Option<usize>,
    /// Bytes of an entry.
    pub stride: usize,
}

impl Layout {
    pub fn of(table: &StickTable) -> Layout {
        let mut at = HEADER + table.key_len;
        let place = |stored: &Stored| {
            let here = at;
            at += stored.len();
            (*stored, here)
        };
        let cells = table.stores.iter().map(place).collect();
        let stamp = table.is_shared().then_some(at);
        at += stamp.map_or(0, |_| 8);
        Layout {
            key: table.key,
            key_len: table.key_len,
            cells,
            stamp,
            stride: at,
        }
    }

    /// A kind of data and its place.
    pub fn cell(&self, data: Data) -> Option<(Stored, usize)> {
        self.cells.iter().copied().find(|(s, _)| s.data == data)
    }

    /// The place of one value. What is named 0 or 1 is also the first or second of an array.
    pub fn value(&self, data: Data, index: u32) -> Option<(Stored, usize)> {
        if let Some((stored, at)) = self.cell(data) {
            let one = stored.len() / stored.count.max(1) as usize;
            return (index < stored.count).then_some((stored, at + one * index as usize));
        }
        let (array, index) = match data {
            Data::Gpc0 => (Data::Gpc, 0),
            Data::Gpc1 => (Data::Gpc, 1),
            Data::Gpc0Rate => (Data::GpcRate, 0),
            Data::Gpc1Rate => (Data::GpcRate, 1),
            Data::Gpt0 => (Data::Gpt, 0),
            _ => return None,
        };
        self.value(array, index)
    }

    /// The places of a counter and of its rate.
    pub fn counter(&self, counter: Counter) -> [Option<(Stored, usize)>; 2] {
        match counter {
            Counter::Named(0) => [self.value(Data::Gpc0, 0), self.value(Data::Gpc0Rate, 0)],
            Counter::Named(_) => [self.value(Data::Gpc1, 0), self.value(Data::Gpc1Rate, 0)],
            Counter::Indexed(i) => [self.value(Data::Gpc, i), self.value(Data::GpcRate, i)],
        }
    }

    /// The place of a tag.
    pub fn tag(&self, tag: Counter) -> Option<(Stored, usize)> {
        match tag {
            Counter::Named(_) => self.value(Data::Gpt0, 0),
            Counter::Indexed(i) => self.value(Data::Gpt, i),
        }
    }
}

/// The number at a place; 0 outside of the entry, where nothing ever stands.
pub(super) fn number(entry: &[u8], at: usize) -> u32 {
    let bytes = entry.get(at..at + 4).and_then(|b| b.try_into().ok());
    u32::from_ne_bytes(bytes.unwrap_or_default())
}

/// Writes a number.
pub(super) fn put(entry: &mut [u8], at: usize, n: u32) {
    if let Some(place) = entry.get_mut(at..at + 4) {
        place.copy_from_slice(&n.to_ne_bytes());
    }
}

/// The large number at a place.
pub(super) fn large(entry: &[u8], at: usize) -> u64 {
    let bytes = entry.get(at..at + 8).and_then(|b| b.try_into().ok());
    u64::from_ne_bytes(bytes.unwrap_or_default())
}

/// Writes a large number.
pub(super) fn put_large(entry: &mut [u8], at: usize, n: u64) {
    if let Some(place) = entry.get_mut(at..at + 8) {
        place.copy_from_slice(&n.to_ne_bytes());
    }
}

/// A value as it is read at a moment (ms).
pub(super) fn get(entry: &[u8], (stored, at): (Stored, usize), now: u32) -> u64 {
    match stored.data.kind() {
        DataKind::Number | DataKind::Server => number(entry, at).into(),
        DataKind::Large => large(entry, at),
        DataKind::Rate => rate(entry, at, stored.period, now).into(),
    }
}

/// Sets a value; a rate counts from now on.
pub(super) fn set(entry: &mut [u8], (stored, at): (Stored, usize), n: u64, now: u32) {
    let short = u32::try_from(n).unwrap_or(u32::MAX);
    match stored.data.kind() {
        DataKind::Number | DataKind::Server => put(entry, at, short),
        DataKind::Large => put_large(entry, at, n),
        DataKind::Rate => {
            put(entry, at, now);
            put(entry, at + 4, short);
            put(entry, at + 8, 0);
        }
    }
}

/// The events of a period as they are kept: milliseconds since it began, events in it and in the one
/// before.
pub(super) fn events(entry: &[u8], at: usize, now: u32) -> [u32; 3] {
    let elapsed = now.wrapping_sub(number(entry, at));
    [elapsed, number(entry, at + 4), number(entry, at + 8)]
}

/// Sets them.
pub(super) fn set_events(entry: &mut [u8], at: usize, events: [u32; 3], now: u32) {
    let [elapsed, current, before] = events;
    put(entry, at, now.wrapping_sub(elapsed));
    put(entry, at + 4, current);
    put(entry, at + 8, before);
}

/// Adds to a value; what it is then.
pub(super) fn add(entry: &mut [u8], cell: (Stored, usize), n: u64, now: u32) -> u64 {
    let (stored, at) = cell;
    match stored.data.kind() {
        DataKind::Number | DataKind::Server => {
            put(entry, at, number(entry, at).wrapping_add(n as u32));
        }
        DataKind::Large => put_large(entry, at, large(entry, at).wrapping_add(n)),
        DataKind::Rate => count(entry, at, stored.period, n, now),
    }
    get(entry, cell, now)
}

/// Events fall into the period that began with the first of them, or into one that follows; the
/// count of the period before is kept.
fn count(entry: &mut [u8], at: usize, period: u32, n: u64, now: u32) {
    let n = u32::try_from(n).unwrap_or(u32::MAX);
    let (begin, current) = (number(entry, at), number(entry, at + 4));
    let elapsed = now.wrapping_sub(begin);
    if elapsed < period && (current, number(entry, at + 8)) != (0, 0) {
        put(entry, at + 4, current.saturating_add(n));
        return;
    }
    let follows = elapsed < period.saturating_mul(2) && elapsed >= period && current > 0;
    put(
        entry,
        at,
        if follows {
            begin.wrapping_add(period)
        } else {
            now
        },
    );
    put(entry, at + 4, n);
    put(entry, at + 8, if follows { current } else { 0 });
}

/// Events of this period, and the share of the one before that still lies within a period of now.
/// A single event of the period before counts until this one is over, or slow events would be seen
/// only half of the time.
fn rate(entry: &[u8], at: usize, period: u32, now: u32) -> u32 {
    let elapsed = now.wrapping_sub(number(entry, at));
    let (mut current, mut before) = (number(entry, at + 4), number(entry, at + 8));
    let mut into = elapsed;
    if elapsed >= period {
        into = elapsed - period;
        if into >= period {
            return 0;
        }
        (before, current) = (current, 0);
    }
    if current == 0 && before <= 1 {
        return before;
    }
    let left = u64::from(before) * u64::from(period - into) / u64::from(period.max(1));
    current.saturating_add(left as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell() -> (Stored, usize) {
        let stored = Stored {
            data: Data::ConnRate,
            count: 1,
            period: 1000,
        };
        (stored, 0)
    }

    /// Values read from the running oracle, every 80 ms.
    #[test]
    fn a_rate_falls_as_the_oracles_does() {
        let mut three = [0; 12];
        add(&mut three, cell(), 3, 5000);
        for (after, expected) in [(0, 3), (969, 3), (1050, 2), (1292, 2), (1373, 1), (1615, 1)] {
            assert_eq!(get(&three, cell(), 5000 + after), expected, "{after}");
        }
        assert_eq!(get(&three, cell(), 6696), 0);
        let mut one = [0; 12];
        add(&mut one, cell(), 1, 5000);
        assert_eq!(get(&one, cell(), 6936), 1);
        assert_eq!(get(&one, cell(), 7000), 0);
        let mut ten = [0; 12];
        add(&mut ten, cell(), 10, 0);
        for (at, expected) in [(1055, 9), (1457, 5), (1779, 2), (1940, 0)] {
            assert_eq!(get(&ten, cell(), at), expected, "{at}");
        }
    }

    #[test]
    fn a_period_follows_the_one_before_without_a_gap_or_begins_anew() {
        let mut entry = [0; 12];
        add(&mut entry, cell(), 4, 100);
        // The second period is that from 1100 to 2100.
        assert_eq!(add(&mut entry, cell(), 1, 1600), 1 + 2);
        assert_eq!(get(&entry, cell(), 2099), 1);
        assert_eq!(add(&mut entry, cell(), 2, 2100), 2 + 1);
        // After two periods without any it begins with the event.
        assert_eq!(add(&mut entry, cell(), 1, 9999), 1);
        assert_eq!(get(&entry, cell(), 10998), 1);
    }

    #[test]
    fn the_clock_may_run_over() {
        let mut entry = [0; 12];
        add(&mut entry, cell(), 2, u32::MAX - 10);
        assert_eq!(add(&mut entry, cell(), 2, 10), 4);
    }
}
