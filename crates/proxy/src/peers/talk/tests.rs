//! Two conversations with each other, without sockets.

use super::*;
use model::{Config, Peer, Peers, ServerKey, StickTable, Stored};
use rules::stick::{Data, KeyType};
use state::stick::Touch;
use state::{Machine, Process};

/// A machine called `name` with one other, and a table of texts with so many entries.
struct Side {
    process: Arc<Process>,
    talk: Talk,
}

fn side(name: &str, other: &str, entries: u32, start: Instant) -> Side {
    side_of_shards(name, other, entries, start, (0, 0))
}

/// The same; keys are cut into so many parts, and the other is told of one of them.
fn side_of_shards(
    name: &str,
    other: &str,
    entries: u32,
    start: Instant,
    (shards, shard): (u16, u16),
) -> Side {
    let mut table = StickTable {
        name: "t".into(),
        key: KeyType::String,
        key_len: 10,
        size: 5000,
        expire: Some(Duration::from_secs(600)),
        nopurge: false,
        server_key: ServerKey::Name,
        stores: Vec::new(),
        peers: Some("us".into()),
        follows: false,
    };
    for data in [Data::Gpc0, Data::ConnCur, Data::ServerKey, Data::ServerId] {
        table.store(Stored::plain(data));
    }
    let rate = Data::Gpc0Rate;
    let period = 60_000;
    table.store(Stored {
        period,
        ..Stored::plain(rate)
    });
    let address = model::Address::Fd(-1);
    let peers = Peers {
        name: "us".into(),
        local: name.into(),
        binds: Vec::new(),
        successor: None,
        others: vec![Peer {
            name: other.into(),
            address,
            tls: None,
            source: None,
            signed: None,
            namespace: None,
            shard,
        }],
        shards,
    };
    let config = Config {
        tables: vec![Arc::new(table)],
        peers: vec![Arc::new(peers)],
        ..Config::default()
    };
    let wall = rules::Wall::default();
    let machine = Machine::default();
    let process = Process::new(Arc::new(config), 1, 10, 10, wall, start, machine);
    let generation = process.generation.load_full();
    for n in 0..entries {
        count(&process, &format!("{name}{n}"), 0);
    }
    let section = Arc::clone(&generation.peers[0]);
    let with = With::Source(From::Peer(0));
    let talk = Talk::new(section, &generation.tables, with, 50, start);
    Side { process, talk }
}

fn count(process: &Process, key: &str, now_ms: u64) {
    let generation = process.generation.load();
    generation.tables[0].with(key.as_bytes(), now_ms, Touch::Create, |e| {
        e.add(&[Data::Gpc0], 1);
        e.add(&[Data::Gpc0Rate], 1);
        e.add(&[Data::ConnCur], 1);
        e.set_server(3, "s3");
    });
}

impl Side {
    /// Begins another conversation.
    fn begin(&mut self, now: Instant) {
        let generation = self.process.generation.load_full();
        let section = Arc::clone(&generation.peers[0]);
        let with = With::Source(From::Peer(0));
        self.talk = Talk::new(section, &generation.tables, with, 50, now);
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.process.generation.load().tables[0])
    }

    fn value(&self, key: &str, data: Data, now_ms: u64) -> Option<u64> {
        let get = |e: &mut state::stick::Entry<'_>| e.get(data, 0);
        self.table()
            .with(key.as_bytes(), now_ms, Touch::No, get)
            .flatten()
    }
}

/// Lets both speak until neither has anything to say; the bytes arrive in pieces.
fn settle(one: &mut Side, two: &mut Side, start: Instant, at_ms: u64) {
    let now = start + Duration::from_millis(at_ms);
    for _ in 0..10_000 {
        let mut said = 0;
        for turn in 0..2 {
            let (from, to) = match turn {
                0 => (&mut *one, &mut *two),
                _ => (&mut *two, &mut *one),
            };
            let mut out = Vec::new();
            from.talk.speak(now, at_ms, &mut out).expect("in order");
            said += out.len();
            let mut answer = Vec::new();
            for piece in out.chunks(7) {
                to.talk.hear(piece, now, at_ms, &mut answer).expect("sense");
            }
            said += answer.len();
            let mut none = Vec::new();
            from.talk
                .hear(&answer, now, at_ms, &mut none)
                .expect("sense");
            assert!(none.is_empty(), "an answer to an answer");
        }
        if said == 0 {
            return;
        }
    }
    panic!("they never end");
}

#[test]
fn two_that_meet_know_what_both_knew_and_tell_each_other_what_comes() {
    let start = Instant::now();
    let (mut one, mut two) = (side("one", "two", 700, start), side("two", "one", 3, start));
    settle(&mut one, &mut two, start, 1000);
    assert_eq!((one.table().len(), two.table().len()), (703, 703));
    assert_eq!(two.value("one699", Data::Gpc0, 1000), Some(1));
    assert_eq!(two.value("one699", Data::Gpc0Rate, 1000), Some(1));
    assert_eq!(two.value("one699", Data::ServerId, 1000), Some(3));
    let server = two
        .table()
        .with(b"one699", 1000, Touch::No, |e| e.server_key());
    assert_eq!(server.flatten().as_deref(), Some("s3"));
    // How many there are now is everybody's own.
    assert_eq!(two.value("one699", Data::ConnCur, 1000), Some(0));
    count(&two.process, "one1", 2000);
    count(&one.process, "new", 2000);
    settle(&mut one, &mut two, start, 2000);
    assert_eq!(one.value("one1", Data::Gpc0, 2000), Some(2));
    assert_eq!(two.value("new", Data::Gpc0, 2000), Some(1));
}

#[test]
fn what_is_taught_lives_as_long_as_it_would_have_where_it_was() {
    let start = Instant::now();
    let (mut one, mut two) = (side("one", "two", 5, start), side("two", "one", 0, start));
    count(&two.process, "younger", 300_000);
    let later = start + Duration::from_secs(300);
    one.begin(later);
    two.begin(later);
    settle(&mut one, &mut two, start, 300_000);
    assert_eq!(two.value("one4", Data::Gpc0, 599_999), Some(1));
    assert_eq!(two.value("one4", Data::Gpc0, 600_000), None);
    two.table().purge_all(600_000);
    assert_eq!(two.table().len(), 1, "the list of the oldest is in order");
}

#[test]
fn a_conversation_after_another_goes_on_where_that_ended() {
    let start = Instant::now();
    let (mut one, mut two) = (side("one", "two", 5, start), side("two", "one", 0, start));
    settle(&mut one, &mut two, start, 1000);
    one.begin(start);
    two.begin(start);
    count(&one.process, "six", 1500);
    let mut out = Vec::new();
    let now = start + Duration::from_millis(1500);
    one.talk.speak(now, 1500, &mut out).expect("in order");
    let (mut rest, mut updates) = (&out[..], 0);
    while let Ok(Some((message, taken))) = read(rest) {
        updates += u32::from(matches!(message, Message::Update(_)));
        rest = &rest[taken..];
    }
    assert_eq!(updates, 1, "only what is new");
}

#[test]
fn silence_is_broken_by_signs_of_life_and_not_borne_for_long() {
    let start = Instant::now();
    let (mut one, mut two) = (side("one", "two", 0, start), side("two", "one", 0, start));
    settle(&mut one, &mut two, start, 1000);
    let mut out = Vec::new();
    let at = |s: u64| (start + Duration::from_secs(s), s * 1000);
    let (now, ms) = at(3);
    one.talk.speak(now, ms, &mut out).expect("in order");
    assert!(out.is_empty());
    let (now, ms) = at(4);
    one.talk.speak(now, ms, &mut out).expect("in order");
    assert_eq!(out, [0, 4]);
    let (now, ms) = at(6);
    assert_eq!(one.talk.speak(now, ms, &mut out), Err(Broken::Silent));
}

#[test]
fn faults_end_a_conversation_and_strange_tables_do_not() {
    let start = Instant::now();
    let hear = |bytes: &[u8]| {
        let mut one = side("one", "two", 0, start);
        let mut out = Vec::new();
        let heard = one.talk.hear(bytes, start, 0, &mut out);
        (heard, out)
    };
    // An update of no table, a switch to one that was never defined, bytes without sense.
    let protocol = (Err(Broken::Protocol), vec![1, 0]);
    assert_eq!(hear(&[10, 128, 5, 0, 0, 0, 1, 0]), protocol);
    assert_eq!(hear(&[10, 131, 1, 9]), protocol);
    assert_eq!(hear(&[99, 1]), protocol);
    assert_eq!(hear(&[1, 0]).0, Err(Broken::Accused));
    // A table called 'u' of numbers, and an entry of it: confirmed, and nothing more.
    let bytes = [10, 130, 7, 8, 1, b'u', 2, 4, 0, 0];
    let update = [10, 128, 8, 0, 0, 0, 7, 0, 0, 0, 1];
    let (heard, out) = hear(&[&bytes[..], &update].concat());
    assert_eq!(
        (heard, &out[..]),
        (Ok(()), &[10, 132, 5, 8, 0, 0, 0, 7][..])
    );
}

/// What was said before a change of ours came takes nothing back, and both end with the same.
#[test]
fn a_lesson_that_crosses_a_fresh_count_does_not_bring_the_older_value_back() {
    let start = Instant::now();
    let (mut one, mut two) = (side("one", "two", 1, start), side("two", "one", 0, start));
    settle(&mut one, &mut two, start, 1000);
    let values = |one: &Side, two: &Side, data: Data| {
        [one, two].map(|side| side.value("one0", data, 3000).unwrap_or_default())
    };
    assert_eq!(values(&one, &two, Data::Gpc0), [1, 1]);
    count(&two.process, "one0", 2000);
    let mut late = Vec::new();
    let now = start + Duration::from_millis(2000);
    two.talk.speak(now, 2000, &mut late).expect("in order");
    for _ in 0..3 {
        count(&one.process, "one0", 2000);
    }
    let mut answer = Vec::new();
    one.talk.hear(&late, now, 2000, &mut answer).expect("sense");
    two.talk
        .hear(&answer, now, 2000, &mut Vec::new())
        .expect("sense");
    assert_eq!(values(&one, &two, Data::Gpc0), [4, 2]);
    assert_eq!(values(&one, &two, Data::Gpc0Rate), [4, 2]);
    settle(&mut one, &mut two, start, 3000);
    assert_eq!(values(&one, &two, Data::Gpc0), [4, 4]);
    assert_eq!(values(&one, &two, Data::Gpc0Rate), [4, 4]);
    // Whoever knew what was there may set it back.
    let set = |e: &mut state::stick::Entry<'_>| e.set(Data::Gpc0, 0, 1);
    one.table().with(b"one0", 3000, Touch::Create, set);
    settle(&mut one, &mut two, start, 4000);
    assert_eq!(values(&one, &two, Data::Gpc0), [1, 1]);
}

/// One tells the other everything, and is told of half the keys.
#[test]
fn who_is_never_told_of_a_key_is_heard_as_long_as_nothing_is_done_here() {
    let start = Instant::now();
    let mut one = side("one", "two", 0, start);
    let mut two = side_of_shards("two", "one", 0, start, (2, 1));
    let is_told = |key: &str| state::hash::xxh64(key.as_bytes()).is_multiple_of(2);
    let mut keys = (0..50).map(|n| format!("key{n}"));
    let untold = keys.find(|key| !is_told(key)).expect("half of them");
    let known = keys.find(|key| is_told(key)).expect("half of them");
    let (key, mut at_ms) = (untold.as_str(), 0);
    let set = |side: &Side, key: &str, to: u64, at_ms: u64| {
        let set = |e: &mut state::stick::Entry<'_>| e.set(Data::Gpc0, 0, to);
        side.table().with(key.as_bytes(), at_ms, Touch::Create, set);
    };
    let mut settled = |one: &mut Side, two: &mut Side, key: &str| {
        at_ms += 100;
        settle(one, two, start, at_ms);
        [&*one, &*two].map(|side| side.value(key, Data::Gpc0, at_ms).unwrap_or_default())
    };
    set(&one, key, 1, 0);
    assert_eq!(settled(&mut one, &mut two, key), [1, 1]);
    set(&two, key, 4, 0);
    assert_eq!(settled(&mut one, &mut two, key), [1, 4]);
    // It has not heard of four, so that what it counts takes nothing back.
    set(&one, key, 2, 0);
    assert_eq!(settled(&mut one, &mut two, key), [2, 4]);
    // Nothing has been done here since.
    set(&one, key, 0, 0);
    assert_eq!(settled(&mut one, &mut two, key), [0, 0]);
    set(&two, key, 3, 0);
    set(&one, key, 1, 0);
    assert_eq!(settled(&mut one, &mut two, key), [1, 3]);
    set(&one, key, 0, 0);
    assert_eq!(settled(&mut one, &mut two, key), [0, 0]);
    // A key of which both tell goes on as ever.
    set(&two, &known, 4, 0);
    assert_eq!(settled(&mut one, &mut two, &known), [4, 4]);
    set(&one, &known, 0, 0);
    assert_eq!(settled(&mut one, &mut two, &known), [0, 0]);
}

#[test]
fn of_two_servers_that_are_stored_at_once_one_is_kept_by_both() {
    let start = Instant::now();
    let (mut one, mut two) = (side("one", "two", 1, start), side("two", "one", 0, start));
    settle(&mut one, &mut two, start, 1000);
    for (side, id) in [(&one, 5), (&two, 6)] {
        let store = |e: &mut state::stick::Entry<'_>| e.set_server(id, "other");
        side.table().with(b"one0", 2000, Touch::Create, store);
    }
    settle(&mut one, &mut two, start, 3000);
    let stored = [&one, &two].map(|side| side.value("one0", Data::ServerId, 3000));
    assert_eq!(stored, [Some(5); 2]);
}
