//! Entries that sessions and requests hold, and what happens to all of them at once.

use super::{Entry, Spot, Table, Touch, Whose};
use rules::stick::{Data, Lasts};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A hold on an entry: as long as it lasts, the entry stays.
#[derive(Debug)]
pub struct Held {
    table: Arc<Table>,
    spot: Spot,
    /// Whether it counts as one of the connections now.
    counted: bool,
}

impl Held {
    /// Holds the entry of a key, which is made where it is not there. `None` where there is no room.
    pub fn new(table: &Arc<Table>, key: &[u8], now_ms: u64) -> Option<Held> {
        let (mut shard, spot) = table.locate(key, now_ms as u32, Touch::Create)?;
        shard.hold(&table.layout, spot.at);
        table.note(&mut shard, spot.at, Whose::Ours);
        Some(Held {
            table: Arc::clone(table),
            spot,
            counted: false,
        })
    }

    /// The table.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Does something with the entry.
    pub fn with<T>(&self, now_ms: u64, f: impl FnOnce(&mut Entry<'_>) -> T) -> Option<T> {
        let now = now_ms as u32;
        let mut shard = self.table.lock(self.spot.part)?;
        Some(self.table.apply(&mut shard, self.spot.at, now, false, f))
    }

    /// The key, with zeros up to the length of keys.
    pub fn key(&self) -> Vec<u8> {
        let shard = self.table.lock(self.spot.part);
        shard.map_or(Vec::new(), |s| {
            s.key(&self.table.layout, self.spot.at).to_vec()
        })
    }

    /// How many hold the entry.
    pub fn uses(&self) -> u32 {
        let shard = self.table.lock(self.spot.part);
        shard.map_or(0, |s| s.uses(&self.table.layout, self.spot.at))
    }

    /// Milliseconds until the entry would expire.
    pub fn left(&self, now_ms: u64) -> u32 {
        let shard = self.table.lock(self.spot.part);
        shard.map_or(0, |s| self.table.left(&s, self.spot.at, now_ms as u32))
    }

    fn connection_begins(&mut self, now_ms: u64) {
        self.counted = true;
        self.with(now_ms, |e| {
            e.add(&[Data::ConnCnt, Data::ConnRate], 1);
            e.add(&[Data::ConnCur], 1);
        });
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let now = self.table.clock.load(Relaxed);
        let expires = self.table.expires(now);
        let Some(mut shard) = self.table.lock(self.spot.part) else {
            return;
        };
        if self.counted {
            let mut entry = self.table.entry(&mut shard, self.spot.at, now);
            if let Some(current) = entry.get(Data::ConnCur, 0) {
                entry.set(Data::ConnCur, 0, current.saturating_sub(1));
            }
        }
        shard.release(&self.table.layout, self.spot.at, expires);
        self.table.note(&mut shard, self.spot.at, Whose::Ours);
    }
}

/// What one session tracks, by number. Most sessions track nothing, and have two words for that.
#[derive(Debug, Default)]
pub struct Tracked(RefCell<Option<Box<List>>>);

#[derive(Debug, Default)]
struct List {
    all: Vec<Tracking>,
    /// Bytes from the client and to it that have been counted.
    passed: (u64, u64),
}

#[derive(Debug)]
struct Tracking {
    number: usize,
    lasts: Lasts,
    held: Held,
}

impl Tracked {
    /// Begins to track an entry, unless something is tracked under that number.
    pub fn track(&self, number: usize, table: &Arc<Table>, key: &[u8], lasts: Lasts, now_ms: u64) {
        if self.find(number, |_| ()).is_some() {
            return;
        }
        let Some(mut held) = Held::new(table, key, now_ms) else {
            return;
        };
        held.connection_begins(now_ms);
        if lasts == (Lasts::Stream { request: true }) {
            held.with(now_ms, |e| e.add(REQUESTS, 1));
        }
        let tracking = Tracking {
            number,
            lasts,
            held,
        };
        let mut list = self.0.borrow_mut();
        list.get_or_insert_default().all.push(tracking);
    }

    /// Does something with what is tracked under a number.
    pub fn find<T>(&self, number: usize, f: impl FnOnce(&Held) -> T) -> Option<T> {
        let list = self.0.borrow();
        let found = list.as_ref()?.all.iter().find(|t| t.number == number)?;
        Some(f(&found.held))
    }

    fn each(&self, now_ms: u64, f: impl Fn(&mut Entry<'_>)) {
        for tracking in self.0.borrow().iter().flat_map(|list| &list.all) {
            tracking.held.with(now_ms, &f);
        }
    }

    /// The connection became a session.
    pub fn session(&self, now_ms: u64) {
        self.each(now_ms, |e| {
            e.add(&[Data::SessCnt, Data::SessRate], 1);
        });
    }

    /// A request came.
    pub fn request(&self, now_ms: u64) {
        self.each(now_ms, |e| {
            e.add(REQUESTS, 1);
        });
    }

    /// The request was an error of the client.
    pub fn error(&self, now_ms: u64) {
        self.each(now_ms, |e| {
            e.add(&[Data::HttpErrCnt, Data::HttpErrRate], 1);
        });
    }

    /// The response was a failure of the server.
    pub fn failure(&self, now_ms: u64) {
        self.each(now_ms, |e| {
            e.add(&[Data::HttpFailCnt, Data::HttpFailRate], 1);
        });
    }

    /// So many bytes have gone from the client and to it, all in all since the request began, or
    /// the connection in TCP mode. What is new of them is counted.
    pub fn passed(&self, received: u64, sent: u64, now_ms: u64) {
        let new = match self.0.borrow_mut().as_mut() {
            None => return,
            Some(list) => {
                let (all_in, all_out) = &mut list.passed;
                let new = (
                    received.saturating_sub(*all_in),
                    sent.saturating_sub(*all_out),
                );
                (*all_in, *all_out) = (received.max(*all_in), sent.max(*all_out));
                new
            }
        };
        if new != (0, 0) {
            self.each(now_ms, |e| {
                e.add(&[Data::BytesInCnt, Data::BytesInRate], new.0);
                e.add(&[Data::BytesOutCnt, Data::BytesOutRate], new.1);
            });
        }
    }

    /// The request is over: what was tracked for it is let go.
    pub fn end_stream(&self) {
        if let Some(list) = self.0.borrow_mut().as_mut() {
            list.all.retain(|t| t.lasts == Lasts::Session);
            list.passed = (0, 0);
        }
    }
}

const REQUESTS: &[Data] = &[Data::HttpReqCnt, Data::HttpReqRate];
