//! A sender and a receiver over a connection that cuts bytes into any pieces and breaks at any
//! time, in simulated time.

use super::frame::{Channel, Frame, VERSION};
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

const KEY: &[u8] = b"0123456789abcdef";
const MS: Duration = Duration::from_millis(1);

#[derive(Default, Debug, PartialEq)]
struct Entries(BTreeMap<Vec<u8>, Vec<u8>>);

impl Table for Entries {
    fn kind(&self) -> u16 {
        1
    }
    fn layout(&self) -> u16 {
        3
    }
    fn walk(
        &mut self,
        at: Option<&[u8]>,
        most: usize,
        entry: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Option<Vec<u8>> {
        let all = self.0.iter();
        let later = all.skip_while(|(k, _)| at.is_some_and(|a| k.as_slice() <= a));
        let mut last = None;
        for (key, value) in later.take(most) {
            entry(key, value);
            last = Some(key.clone());
        }
        last
    }
}

#[derive(Default)]
struct Mirror {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    fresh: Option<BTreeSet<Vec<u8>>>,
}

impl Copy for Mirror {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.entries.insert(key.to_vec(), value.to_vec());
        if let Some(fresh) = &mut self.fresh {
            fresh.insert(key.to_vec());
        }
    }
    fn remove(&mut self, key: &[u8]) {
        self.entries.remove(key);
    }
    fn begin(&mut self) {
        self.fresh = Some(BTreeSet::new());
    }
    fn complete(&mut self) {
        let fresh = self.fresh.take().unwrap_or_default();
        self.entries.retain(|k, _| fresh.contains(k));
    }
}

struct World {
    table: Entries,
    mirror: Mirror,
    sender: Sender,
    receiver: Receiver,
    now: Instant,
    joined: bool,
    nonce: u8,
    there: Vec<u8>,
    back: Vec<u8>,
}

impl World {
    fn new(limits: Limits) -> World {
        World {
            table: Entries::default(),
            mirror: Mirror::default(),
            sender: Sender::new(77, limits),
            receiver: Receiver::new((1, 3), limits),
            now: Instant::now(),
            joined: false,
            nonce: 0,
            there: Vec::new(),
            back: Vec::new(),
        }
    }

    fn join(&mut self) {
        self.part();
        self.nonce = self.nonce.wrapping_add(2);
        let (now, nonce) = (self.now, self.nonce);
        self.sender
            .connected(&self.table, KEY, [nonce; 16], now, &mut self.there);
        self.receiver.connected(KEY, [nonce + 1; 16], now);
        self.joined = true;
    }

    fn part(&mut self) {
        self.sender.disconnected();
        self.receiver.disconnected();
        self.there.clear();
        self.back.clear();
        self.joined = false;
    }

    fn put(&mut self, key: u16, value: u8) {
        let (key, value) = (key.to_be_bytes().to_vec(), vec![value; 20]);
        self.sender.changed(&key, Some(&value), self.now);
        self.table.0.insert(key, value);
    }

    fn remove(&mut self, key: u16) {
        let key = key.to_be_bytes();
        if self.table.0.remove(key.as_slice()).is_some() {
            self.sender.changed(&key, None, self.now);
        }
    }

    /// Both sides work, and at most so many bytes pass in each direction.
    fn step(&mut self, bytes: usize) -> Result<(), Broken> {
        if !self.joined {
            return Ok(());
        }
        if self.there.len() < 1 << 16 {
            self.sender
                .produce(&mut self.table, self.now, &mut self.there)?;
        }
        self.receiver.produce(self.now, &mut self.back)?;
        let there: Vec<u8> = self.there.drain(..bytes.min(self.there.len())).collect();
        let back: Vec<u8> = self.back.drain(..bytes.min(self.back.len())).collect();
        self.receiver
            .received(&mut self.mirror, &there, self.now, &mut self.back)?;
        self.sender.received(&self.table, &back, self.now)
    }

    fn settle(&mut self) {
        for _ in 0..2000 {
            self.now += 5 * MS;
            self.step(1 << 20).expect("nothing is wrong");
            if self.sender.is_in_step() && self.there.is_empty() && self.back.is_empty() {
                return;
            }
        }
        panic!("never in step");
    }
}

#[test]
fn a_snapshot_and_then_changes_keep_a_copy_alike() {
    let mut w = World::new(Limits::default());
    for key in 0..5000 {
        w.put(key, 1);
    }
    w.join();
    w.settle();
    assert_eq!(w.mirror.entries, w.table.0);
    for key in 0..100 {
        w.put(key, 2);
        w.remove(key + 200);
    }
    w.settle();
    assert_eq!(w.mirror.entries, w.table.0);
    assert!(w.receiver.is_whole());
}

#[test]
fn a_lost_connection_is_resumed_without_a_snapshot() {
    let mut w = World::new(Limits::default());
    for key in 0..5000 {
        w.put(key, 1);
    }
    w.join();
    w.settle();
    w.part();
    w.put(9, 9);
    w.remove(10);
    w.join();
    let mut bytes = 0;
    while !w.sender.is_in_step() {
        w.now += 5 * MS;
        bytes += w.there.len();
        w.step(1 << 20).expect("nothing is wrong");
    }
    assert!(bytes < 2000, "{bytes}");
    assert_eq!(w.mirror.entries, w.table.0);
}

#[test]
fn what_nobody_takes_does_not_grow() {
    let limits = Limits {
        window: 64 << 10,
        ..Limits::default()
    };
    let mut w = World::new(limits);
    w.join();
    w.settle();
    w.part();
    for round in 0..20u8 {
        for key in 0..10_000 {
            w.put(key, round);
            assert!(w.sender.backlog() <= limits.window);
        }
    }
    w.join();
    w.settle();
    assert_eq!(w.mirror.entries, w.table.0);
}

#[test]
fn a_table_that_is_another_one_now_is_sent_anew() {
    let mut w = World::new(Limits::default());
    w.join();
    w.settle();
    w.table.0.insert(vec![7], vec![7]);
    w.sender.restart();
    w.settle();
    assert_eq!(w.mirror.entries, w.table.0);
    w.part();
    w.table.0.clear();
    w.sender.restart();
    w.join();
    w.settle();
    assert_eq!(w.mirror.entries, w.table.0);
}

#[test]
fn a_sender_that_was_started_anew_sends_all_again() {
    let mut w = World::new(Limits::default());
    for key in 0..100 {
        w.put(key, 1);
    }
    w.join();
    w.settle();
    w.part();
    w.sender = Sender::new(78, Limits::default());
    w.table = Entries::default();
    w.put(3, 3);
    w.join();
    w.settle();
    assert_eq!(w.mirror.entries, w.table.0);
}

#[test]
fn either_side_may_start_anew_in_the_middle_of_a_snapshot() {
    for sender in [false, true] {
        let mut w = World::new(Limits::default());
        for key in 0..5000 {
            w.put(key, 1);
        }
        w.join();
        for _ in 0..3 {
            w.now += 5 * MS;
            w.step(20_000).expect("nothing is wrong");
        }
        assert!(!w.receiver.is_whole(), "it is on its way");
        w.part();
        if sender {
            w.sender = Sender::new(78, Limits::default());
        } else {
            w.receiver = Receiver::new((1, 3), Limits::default());
            w.mirror = Mirror::default();
        }
        w.put(4, 4);
        w.remove(5);
        w.join();
        assert!(!w.receiver.is_whole(), "half a snapshot is none");
        w.settle();
        assert_eq!(w.mirror.entries, w.table.0);
    }
}

#[test]
fn a_clock_that_jumps_ends_a_conversation_which_is_resumed() {
    let mut w = World::new(Limits::default());
    for key in 0..5000 {
        w.put(key, 1);
    }
    w.join();
    w.settle();
    w.put(1, 2);
    w.now += Duration::from_secs(86_400);
    assert_eq!(w.step(1 << 20), Err(Broken::Silent));
    w.join();
    let mut bytes = 0;
    while !w.sender.is_in_step() {
        w.now += 5 * MS;
        bytes += w.there.len();
        w.step(1 << 20).expect("nothing is wrong");
    }
    assert!(bytes < 2000, "{bytes}");
    assert_eq!(w.mirror.entries, w.table.0);
}

#[test]
fn another_key_layout_or_version_ends_the_conversation() {
    let mut w = World::new(Limits::default());
    w.join();
    w.receiver.connected(b"fedcba9876543210", [9; 16], w.now);
    assert_eq!(w.step(1 << 20), Err(Broken::Key));
    let mut w = World::new(Limits::default());
    w.receiver = Receiver::new((1, 4), Limits::default());
    w.join();
    assert_eq!(w.step(1 << 20), Err(Broken::Table(1, 3)));
    let mut w = World::new(Limits::default());
    w.join();
    w.there[13] = 9;
    assert_eq!(w.step(1 << 20), Err(Broken::Version(9)));
}

#[test]
fn silence_ends_the_conversation_and_signs_of_life_keep_it() {
    let mut w = World::new(Limits::default());
    w.join();
    w.settle();
    for _ in 0..100 {
        w.now += 500 * MS;
        w.step(1 << 20).expect("both are alive");
    }
    w.now += 3000 * MS;
    assert_eq!(w.step(0), Err(Broken::Silent));
}

#[test]
fn no_frame_passes_twice_out_of_order_or_in_another_conversation() {
    let talk = |nonce: u8| {
        let mut ends = (
            Channel::new(KEY, true, [nonce; 16]),
            Channel::new(KEY, false, [nonce + 1; 16]),
        );
        let hello = |nonce| Frame::Hello {
            version: VERSION,
            table: (1, 3),
            nonce,
            life: 1,
            last: 0,
        };
        let mut bytes = Vec::new();
        ends.0.write(&hello([nonce; 16]), &mut bytes);
        ends.1.feed(&bytes);
        ends.1.read().expect("good").expect("whole");
        bytes.clear();
        ends.1.write(&hello([nonce + 1; 16]), &mut bytes);
        ends.0.feed(&bytes);
        ends.0.read().expect("good").expect("whole");
        ends
    };
    let (mut first, mut second) = talk(1);
    let mut once = Vec::new();
    first.write(&Frame::Ack(5), &mut once);
    second.feed(&once);
    assert_eq!(second.read(), Ok(Some(Frame::Ack(5))));
    second.feed(&once);
    assert_eq!(second.read(), Err(Broken::Frame));
    let (_, mut other) = talk(3);
    other.feed(&once);
    assert_eq!(other.read(), Err(Broken::Key));
    let (mut first, mut second) = talk(5);
    let (mut one, mut two) = (Vec::new(), Vec::new());
    first.write(&Frame::Ack(1), &mut one);
    first.write(&Frame::Ack(2), &mut two);
    second.feed(&two);
    assert_eq!(second.read(), Err(Broken::Frame));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any changes, any cuts, any breaks: in the end both are alike.
    #[test]
    fn a_copy_is_alike_whatever_happens(
        events in proptest::collection::vec((0u8..12, 0u16..60, any::<u8>(), 1usize..3000), 1..200)
    ) {
        let limits = Limits { window: 4000, batch: 7, ..Limits::default() };
        let mut w = World::new(limits);
        for (kind, key, value, bytes) in events {
            w.now += 3 * MS;
            match kind {
                0..=4 => w.put(key, value),
                5 | 6 => w.remove(key),
                7 => w.part(),
                8 => w.join(),
                _ => prop_assert_eq!(w.step(bytes), Ok(())),
            }
            prop_assert!(w.sender.backlog() <= limits.window);
        }
        w.join();
        w.settle();
        prop_assert_eq!(&w.mirror.entries, &w.table.0);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut channel = Channel::new(KEY, false, [1; 16]);
        channel.feed(&bytes);
        while let Ok(Some(_)) = channel.read() {}
    }

    #[test]
    fn damage_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut w = World::new(Limits::default());
        w.join();
        let at = at.index(w.there.len());
        w.there[at] ^= 1 << bit;
        // A length that became longer waits for bytes that do not come.
        let broken = w.step(1 << 20).is_err();
        prop_assert!(broken || !w.receiver.is_whole());
    }
}
