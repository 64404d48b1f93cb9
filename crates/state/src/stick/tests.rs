use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn table(key: KeyType, size: u32, expire_ms: u64, stores: &[Data]) -> Arc<Table> {
    let mut settings = StickTable {
        name: "t".into(),
        key,
        key_len: key.fixed_len().unwrap_or(8),
        size,
        expire: (expire_ms > 0).then(|| Duration::from_millis(expire_ms)),
        nopurge: false,
        server_key: ServerKey::Name,
        stores: Vec::new(),
        peers: None,
        follows: true,
    };
    for data in stores {
        settings.store(Stored {
            period: 1000,
            ..Stored::plain(*data)
        });
    }
    Arc::new(Table::new(&settings))
}

fn hit(table: &Table, key: u32, now: u64) -> Option<u64> {
    table
        .with(&key.to_be_bytes(), now, Touch::Create, |e| {
            e.add(&[Data::ConnCnt], 1)
        })
        .flatten()
}

fn look(table: &Table, key: u32, now: u64) -> Option<u64> {
    table
        .with(&key.to_be_bytes(), now, Touch::No, |e| {
            e.get(Data::ConnCnt, 0)
        })
        .flatten()
}

#[test]
fn a_full_table_forgets_its_oldest_entry_unless_it_must_not() {
    let t = table(KeyType::Integer, 3, 0, &[Data::ConnCnt]);
    for key in [1, 2, 3, 1, 4] {
        hit(&t, key, 0);
    }
    assert_eq!(
        [1, 2, 3, 4].map(|k| look(&t, k, 0)),
        [Some(2), None, Some(1), Some(1)]
    );
    assert_eq!(t.len(), 3);
    t.nopurge.store(true, Relaxed);
    assert_eq!(hit(&t, 5, 0), None);
    assert_eq!(hit(&t, 1, 0), Some(3));
}

#[test]
fn an_entry_is_gone_when_it_expires_and_begins_anew() {
    let t = table(KeyType::Integer, 10, 100, &[Data::ConnCnt]);
    hit(&t, 1, 50);
    hit(&t, 2, 100);
    assert_eq!(look(&t, 1, 149), Some(1));
    assert_eq!(look(&t, 1, 150), None);
    assert_eq!(t.len(), 1);
    assert_eq!(hit(&t, 2, 199), Some(2));
    assert_eq!(hit(&t, 2, 300), Some(1));
}

/// What a peer says of an entry: its count, and how long it lives.
fn told(table: &Table, known: Option<u64>, count: u64, left: Option<u32>, now: u64) -> bool {
    let mut crossed = false;
    let room = table.learn(&1u32.to_be_bytes(), left, known, now, |entry, crosses| {
        crossed = crosses;
        if !crosses {
            entry.set(Data::ConnCnt, 0, count);
        }
    });
    assert!(room);
    crossed
}

#[test]
fn a_lesson_never_makes_an_entry_live_shorter_and_crossing_or_not_it_may_live_longer() {
    let t = table(KeyType::Integer, 10, 100, &[Data::ConnCnt]);
    // What is new lives as long as it is said to.
    told(&t, Some(0), 5, Some(30), 0);
    assert_eq!([29, 30].map(|now| look(&t, 1, now)), [Some(5), None]);
    hit(&t, 1, 50);
    assert!(told(&t, Some(0), 7, Some(20), 100), "it is ours");
    assert_eq!(look(&t, 1, 149), Some(1));
    assert!(told(&t, Some(0), 7, Some(90), 100));
    assert_eq!(look(&t, 1, 189), Some(1));
    assert!(told(&t, Some(0), 7, None, 140), "a change of theirs");
    assert_eq!(look(&t, 1, 239), Some(1));
    assert!(!told(&t, Some(u64::MAX), 7, Some(1), 200), "it knew ours");
    assert_eq!([239, 240].map(|now| look(&t, 1, now)), [Some(7), None]);
}

#[test]
fn who_is_never_told_crosses_a_change_once() {
    let t = table(KeyType::Integer, 10, 100, &[Data::ConnCnt]);
    let said = |count| told(&t, None, count, None, 0);
    assert!(!said(5), "nothing was there");
    assert!(!said(6), "nothing was done since");
    hit(&t, 1, 0);
    assert!(said(6));
    assert!(!said(0), "nothing was done since");
    assert_eq!(look(&t, 1, 0), Some(0));
    // Whether anybody else has been told of a change or not, another one makes it new.
    hit(&t, 1, 0);
    assert!(said(0));
    hit(&t, 1, 0);
    assert!(said(0) && !said(0));
    hit(&t, 1, 0);
    assert!(said(0));
    // It is still to be told to those who are told.
    assert_eq!(t.changes(0, 10, false).entries.len(), 1);
    assert!(!said(0));
    assert_eq!(t.changes(0, 10, false).entries.len(), 0);
}

#[test]
fn purging_removes_what_is_over_a_few_at_a_time() {
    let t = table(KeyType::Integer, 5000, 100, &[Data::ConnCnt]);
    for key in 0..5000 {
        hit(&t, key, u64::from(key / 2500 * 1000));
    }
    let (mut part, mut steps) = (Some(0), 0);
    while let Some(at) = part {
        let before = t.len();
        part = t.purge(at, 200);
        assert!(before - t.len() <= AT_ONCE);
        steps += 1;
    }
    assert!(steps >= 2500 / AT_ONCE);
    assert_eq!(t.len(), 2500);
}

#[test]
fn what_is_held_neither_expires_nor_makes_room() {
    let t = table(KeyType::Integer, 2, 100, &[Data::ConnCnt]);
    let held = Held::new(&t, &1u32.to_be_bytes(), 0).expect("room");
    let second = Held::new(&t, &2u32.to_be_bytes(), 0).expect("room");
    assert!(
        Held::new(&t, &3u32.to_be_bytes(), 0).is_none(),
        "all are held"
    );
    assert_eq!(look(&t, 1, 500), Some(0));
    assert!(!t.clear(&1u32.to_be_bytes(), 500));
    drop(second);
    assert!(Held::new(&t, &3u32.to_be_bytes(), 600).is_some());
    assert_eq!(look(&t, 1, 700), Some(0));
    assert_eq!(held.uses(), 1);
    drop(held);
    // Let go at the last moment the table knows of, it lives as long as any other from then on.
    assert_eq!(look(&t, 1, 799), Some(0));
    assert_eq!(look(&t, 1, 800), None);
}

#[test]
fn tracking_counts_for_as_long_as_it_lasts() {
    use rules::stick::Lasts;
    let stores = [
        Data::ConnCnt,
        Data::ConnCur,
        Data::HttpReqCnt,
        Data::SessCnt,
        Data::BytesInCnt,
    ];
    let t = table(KeyType::Integer, 10, 100, &stores);
    let all = |tracked: &Tracked, n| {
        tracked
            .find(n, |h| {
                h.with(0, |e| stores.map(|d| e.get(d, 0).unwrap_or(99)))
            })
            .flatten()
    };
    let (session, key) = (Tracked::default(), 7u32.to_be_bytes());
    session.track(0, &t, &key, Lasts::Session, 0);
    session.session(0);
    session.request(0);
    session.track(1, &t, &key, Lasts::Stream { request: true }, 0);
    session.track(1, &t, &[0; 4], Lasts::Session, 0);
    session.passed(3, 0, 0);
    session.passed(5, 0, 0);
    assert_eq!(all(&session, 0), Some([2, 2, 2, 1, 10]));
    session.end_stream();
    assert_eq!(all(&session, 1), None);
    assert_eq!(all(&session, 0), Some([2, 1, 2, 1, 10]));
    drop(session);
    let left = t.with(&key, 0, Touch::No, |e| e.get(Data::ConnCur, 0));
    assert_eq!(left, Some(Some(0)));
}

#[test]
fn texts_are_cut_and_bytes_filled_up() {
    let t = table(KeyType::Binary, 10, 0, &[Data::Gpc0]);
    t.with(b"ab\0", 0, Touch::Create, |_| ());
    assert!(t.with(b"ab", 0, Touch::No, |_| ()).is_some());
    assert_eq!(
        t.show(&[], 0)[0].line.split(' ').nth(1),
        Some("key=6162000000000000")
    );
    let t = table(KeyType::String, 10, 0, &[Data::Gpc0]);
    t.with(b"a b=\x01", 0, Touch::Create, |_| ());
    assert!(
        t.show(&[], 0)[0]
            .line
            .contains(r"key=a\ b\=\x01 use=0 exp=0 gpc0=0")
    );
}

proptest! {
    /// Against a plain list of (key, count, last touch) in order of age.
    #[test]
    fn a_table_of_one_part_is_a_list_of_the_youngest(
        steps in prop::collection::vec((0u32..40, 0u64..30), 1..400),
        size in 1u32..40,
    ) {
        let t = table(KeyType::Integer, size, 100, &[Data::ConnCnt]);
        let mut list: Vec<(u32, u64, u64)> = Vec::new();
        let mut now = 0;
        for (key, pause) in steps {
            now += pause;
            list.retain(|(_, _, touched)| touched + 100 > now);
            let count = match list.iter().position(|(k, ..)| *k == key) {
                Some(at) => list.remove(at).1 + 1,
                None => 1,
            };
            if list.len() >= size as usize {
                list.remove(0);
            }
            list.push((key, count, now));
            prop_assert_eq!(hit(&t, key, now), Some(count));
        }
        t.purge_all(now);
        prop_assert_eq!(t.len() as usize, list.len());
        for (key, count, _) in list {
            prop_assert_eq!(look(&t, key, now), Some(count));
        }
    }

    #[test]
    fn many_keys_are_found_again_and_only_they(keys in prop::collection::vec(any::<u32>(), 1..3000)) {
        let t = table(KeyType::Integer, 100_000, 0, &[Data::ConnCnt]);
        let mut counts: HashMap<u32, u64> = HashMap::new();
        for key in &keys {
            *counts.entry(*key).or_default() += 1;
            hit(&t, *key, 0);
        }
        prop_assert_eq!(t.len() as usize, counts.len());
        for (key, count) in &counts {
            prop_assert_eq!(look(&t, *key, 0), Some(*count));
            prop_assert!(t.clear(&key.to_be_bytes(), 0));
            prop_assert_eq!(look(&t, *key, 0), None);
        }
        prop_assert!(t.is_empty());
    }
}

#[test]
fn workers_share_a_table_without_losing_a_count() {
    let t = table(KeyType::Integer, 3000, 50, &[Data::ConnCnt]);
    std::thread::scope(|s| {
        for worker in 0..4u32 {
            let t = &t;
            s.spawn(move || {
                for i in 0..20_000u32 {
                    let key = i.wrapping_mul(7) % 4001;
                    let held = Held::new(t, &key.to_be_bytes(), u64::from(i / 50));
                    if let Some(held) = held {
                        held.with(0, |e| e.add(&[Data::ConnCnt], 1));
                    }
                    if i % 97 == worker {
                        t.purge_all(u64::from(i / 50));
                    }
                }
            });
        }
    });
    assert!(t.len() <= 3000);
    assert_eq!(t.show(&[], 0).len() as u32, t.len());
    t.clear_all(&[], 0);
    assert!(t.is_empty(), "nothing is held any more");
}

#[test]
fn an_entry_goes_over_to_another_machine_with_all_that_it_stores() {
    let all: Vec<Data> = Data::ALL.to_vec();
    let (here, there) = (
        table(KeyType::Integer, 10, 60_000, &all),
        table(KeyType::Integer, 10, 60_000, &all),
    );
    let key = 7u32.to_be_bytes();
    let made = here.with(&key, 0, Touch::Create, |e| {
        e.add(&[Data::ConnCnt, Data::ConnRate], 5);
        e.add(&[Data::ConnCur], 1);
        e.set(Data::BytesInCnt, 0, u64::MAX);
        e.set_server(3, "app/one");
    });
    assert!(made.is_some());
    let image = here.image(&key, 400).expect("it is there");
    assert!(there.take_image(&key, &image, 400));
    let line = |t: &Table| t.show_key(&key, 400).expect("it is there").line;
    let shown = |t: &Table| line(t).split(" exp=").nth(1).map(str::to_string);
    let ours = shown(&here)
        .expect("a line")
        .replace("conn_cur=1", "conn_cur=0");
    assert_eq!(shown(&there), Some(ours));
    assert_eq!(here.image(&[9; 4], 400), None);
    for cut in 1..image.len() {
        // Whatever is cut off, nothing panics; less may still be whole values.
        there.take_image(&key, &image[..cut], 400);
    }
    // What came from there is not told back.
    assert_eq!(there.changes(0, 10, false).entries.len(), 0);
    assert_eq!(there.changes(0, 10, true).entries.len(), 1);
}
