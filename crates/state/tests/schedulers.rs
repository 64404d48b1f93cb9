//! Every scheduler under random changes of its servers: who may not be chosen never is, and what
//! weights promise is kept.

mod common;

use common::{process_with, server};
use model::{Balance, HashBalance, HashMethod, PreserveAffinity};
use proptest::prelude::*;
use state::health::Change;
use state::{Admin, Backend, Pick, PickKey, Process, Server, Slot};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Each way to choose, and the settings that change it.
fn ways() -> Vec<(&'static str, model::Backend)> {
    let with = |balance: Balance| model::Backend {
        balance,
        ..model::Backend::default()
    };
    let ring = |side: model::Backend| model::Backend {
        hash_method: HashMethod::Consistent,
        ..side
    };
    let uri = || Balance::Uri {
        len: None,
        depth: None,
        whole: false,
        path_only: false,
    };
    let header = Balance::Header {
        name: "host".into(),
        use_domain_only: false,
    };
    let parameter = Balance::UrlParam {
        name: "k".into(),
        check_post: false,
    };
    let rdp = Balance::RdpCookie {
        name: "mstshash".into(),
    };
    vec![
        ("roundrobin", with(Balance::RoundRobin)),
        ("static-rr", with(Balance::StaticRr)),
        ("leastconn", with(Balance::LeastConn)),
        ("first", with(Balance::First)),
        ("sticky", with(Balance::Sticky)),
        ("source", with(Balance::Source)),
        ("uri", with(uri())),
        ("url_param", with(parameter)),
        ("hdr", with(header)),
        ("rdp-cookie", with(rdp)),
        ("random(1)", with(Balance::Random { draws: 1 })),
        ("random(3)", with(Balance::Random { draws: 3 })),
        ("hash", with(Balance::Hash(Arc::from([])))),
        ("consistent", ring(with(Balance::Source))),
        (
            "consistent, bounded",
            model::Backend {
                hash_balance: HashBalance(125),
                ..ring(with(uri()))
            },
        ),
        (
            "consistent, maxconn",
            model::Backend {
                preserve_affinity: PreserveAffinity::Maxconn,
                ..ring(with(uri()))
            },
        ),
        (
            "map-based, maxqueue",
            model::Backend {
                preserve_affinity: PreserveAffinity::Maxqueue,
                ..with(uri())
            },
        ),
        ("maglev", with(Balance::Maglev(Arc::from([])))),
        ("response-time", with(Balance::ResponseTime)),
        ("fastest", with(Balance::Fastest)),
        (
            "weighted-response-time",
            with(Balance::WeightedResponseTime),
        ),
        ("agent", with(Balance::Agent)),
        ("bandwidth", with(Balance::Bandwidth)),
        (
            "priority leastconn",
            model::Backend {
                min_active: Some(2),
                ..with(Balance::LeastConn)
            },
        ),
        (
            "leastconn, allbackups",
            model::Backend {
                allbackups: true,
                ..with(Balance::LeastConn)
            },
        ),
    ]
}

const SERVERS: u32 = 7;

/// Five servers and two backups; some with limits, slow starts and levels.
fn farm(mut side: model::Backend) -> (Arc<Process>, Arc<Backend>) {
    side.fullconn = Some(20);
    side.servers = (1..=SERVERS)
        .map(|id| model::Server {
            weight: 1 + (id as u16 * 5) % 9,
            backup: id > 5,
            priority: 1 + (id as u16) / 2,
            minconn: if id == 2 { 1 } else { 0 },
            slowstart: (id == 3).then_some(Duration::from_secs(2)),
            maxqueue: 2,
            hash_key: match id % 3 {
                0 => model::HashKey::Id,
                1 => model::HashKey::Addr,
                _ => model::HashKey::AddrPort,
            },
            address: model::Address::from_socket(([10, 0, 0, id as u8], 80).into()),
            ..server(id, if id % 2 == 0 { 3 } else { 0 })
        })
        .collect();
    let process = process_with(side);
    let generation = process.generation.load_full();
    let backend = Arc::clone(generation.backend("b").expect("it is there"));
    (process, backend)
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Happens {
    Asked { hash: Option<u32>, avoid: bool },
    Wanted,
    Done,
    Answered(u64),
    Failed,
    Carried(u64),
    Weight(u32),
    Maxconn(u32),
    Maintenance(bool),
    Drain(bool),
    Health(Change),
    Checked(u64),
    Passes(u64),
}

fn happens() -> impl Strategy<Value = (usize, Happens)> {
    let change = prop::sample::select(vec![
        Change::Up,
        Change::Down,
        Change::Stopping,
        Change::Running,
    ]);
    let what = prop_oneof![
        8 => (prop::option::of(any::<u32>()), any::<bool>())
            .prop_map(|(hash, avoid)| Happens::Asked { hash, avoid }),
        1 => Just(Happens::Wanted),
        6 => Just(Happens::Done),
        3 => (0u64..10_000_000).prop_map(Happens::Answered),
        1 => Just(Happens::Failed),
        2 => any::<u64>().prop_map(Happens::Carried),
        2 => (0u32..=256).prop_map(Happens::Weight),
        1 => (0u32..5).prop_map(Happens::Maxconn),
        1 => any::<bool>().prop_map(Happens::Maintenance),
        1 => any::<bool>().prop_map(Happens::Drain),
        2 => change.prop_map(Happens::Health),
        1 => (0u64..1_000_000).prop_map(Happens::Checked),
        2 => (0u64..5_000).prop_map(Happens::Passes),
    ];
    (0usize..SERVERS as usize, what)
}

/// Who may be chosen now, as the manual says it.
fn choosable(backend: &Backend) -> Vec<u32> {
    let side = backend.side();
    let open = |backup: bool| {
        let all = backend.servers().iter();
        let all = all.filter(|s| s.schedulable() && s.settings().backup == backup);
        all.cloned().collect::<Vec<Arc<Server>>>()
    };
    let mut servers = open(false);
    if let Some(least) = side.min_active {
        servers.sort_by_key(|s| s.settings().priority);
        let last = servers.get(least as usize - 1).or(servers.last());
        let last = last.map(|s| s.settings().priority);
        servers.retain(|s| Some(s.settings().priority) <= last);
    }
    if servers.is_empty() {
        servers = open(true);
        if !side.allbackups {
            servers.truncate(1);
        }
    }
    servers.iter().map(|s| s.uid).collect()
}

fn has_room(server: &Server) -> bool {
    server.maxconn() == 0 || server.sessions.now() < u64::from(server.maxconn())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_chosen_who_may_not_be(story in prop::collection::vec(happens(), 1..250)) {
        for (name, side) in ways() {
            let (_process, backend) = farm(side);
            let (start, mut now) = (Instant::now(), 0u64);
            let mut slots: Vec<Slot> = Vec::new();
            for (at, what) in &story {
                let server = &backend.servers()[*at];
                let slot = (!slots.is_empty()).then(|| at % slots.len());
                match what {
                    Happens::Asked { hash, avoid } => {
                        let key = PickKey { hash: *hash, now };
                        let open = choosable(&backend);
                        let avoid = avoid.then_some(server.uid);
                        match backend.pick(key, avoid) {
                            Pick::Server(slot) => {
                                let chosen = slot.server().uid;
                                prop_assert!(open.contains(&chosen), "{name}: {chosen} of {open:?}");
                                prop_assert!(Some(chosen) != avoid || open.len() == 1, "{name}");
                                slots.push(slot);
                            }
                            Pick::None => prop_assert!(open.is_empty(), "{name}: {open:?}"),
                            Pick::Full(_) => prop_assert!(!open.is_empty(), "{name}"),
                        }
                    }
                    Happens::Wanted => {
                        if server.usable() && let Pick::Server(slot) = backend.reserve(server) {
                            slots.push(slot);
                        }
                    }
                    Happens::Done => drop(slot.map(|at| slots.swap_remove(at))),
                    Happens::Answered(micros) => {
                        let took = Duration::from_micros(*micros);
                        slot.map(|at| slots[at].answered(took, now)).unwrap_or_default();
                    }
                    Happens::Failed => slot.map(|at| slots[at].failed(now)).unwrap_or_default(),
                    Happens::Carried(all) => {
                        slot.map(|at| slots[at].carried(*all, now)).unwrap_or_default();
                    }
                    Happens::Weight(weight) => {
                        server.set_weight(*weight);
                        backend.refresh();
                    }
                    Happens::Maxconn(most) => server.set_maxconn(*most),
                    Happens::Maintenance(on) => {
                        server.change_admin(Admin::FORCED_MAINT, *on);
                        backend.refresh();
                    }
                    Happens::Drain(on) => {
                        server.change_admin(Admin::FORCED_DRAIN, *on);
                        backend.refresh();
                    }
                    Happens::Health(change) => {
                        server.health().force(*change, start + Duration::from_millis(now));
                        server.mirror_health();
                        backend.refresh();
                    }
                    Happens::Checked(micros) => {
                        backend.checked(server, Duration::from_micros(*micros));
                    }
                    Happens::Passes(millis) => {
                        now += millis;
                        for server in backend.servers() {
                            if server.advance_start(now) {
                                backend.refresh();
                            }
                        }
                    }
                }
                let places: u64 = backend.servers().iter().map(|s| s.sessions.now()).sum();
                prop_assert_eq!(places, slots.len() as u64, "{}", name);
            }
            slots.clear();
            prop_assert!(backend.servers().iter().all(|s| s.sessions.now() == 0), "{}", name);
        }
    }

    #[test]
    fn who_takes_turns_or_looks_at_load_finds_room_wherever_there_is_room(
        held in prop::collection::vec(0usize..SERVERS as usize, 0..40),
    ) {
        for (name, side) in ways() {
            let hashed = matches!(
                side.balance,
                Balance::Sticky | Balance::Source | Balance::Uri { .. } | Balance::UrlParam { .. }
                    | Balance::Header { .. } | Balance::RdpCookie { .. } | Balance::Hash(_)
                    | Balance::Maglev(_)
            );
            if hashed {
                continue;
            }
            let (_process, backend) = farm(side);
            backend.servers().iter().for_each(|s| s.set_maxconn(4));
            let slots: Vec<Pick> = held
                .iter()
                .filter_map(|at| backend.servers().get(*at))
                .map(|server| backend.reserve(server))
                .collect();
            let open = choosable(&backend);
            let open = backend.servers().iter().filter(|s| open.contains(&s.uid));
            // With `minconn` a limit may be less than `maxconn`.
            let room = open.filter(|s| s.settings().minconn == 0).any(|s| has_room(s));
            let pick = backend.pick(PickKey { hash: Some(7), now: 0 }, None);
            prop_assert!(!room || matches!(pick, Pick::Server(_)), "{name}: {pick:?}");
            drop(slots);
        }
    }

    #[test]
    fn shares_follow_the_weights_also_after_they_change(
        weights in prop::collection::vec(1u32..20, 5), seed in any::<u32>(),
    ) {
        for (name, side) in ways() {
            // These do not share out at all, or not all requests.
            if matches!(side.balance, Balance::First | Balance::Sticky) || side.min_active.is_some() {
                continue;
            }
            let (_process, backend) = farm(side);
            for (server, weight) in backend.servers().iter().zip(&weights) {
                server.set_weight(*weight);
                server.set_maxconn(0);
            }
            backend.refresh();
            let total: u32 = weights.iter().sum();
            let rounds = 4_000 / total + 1;
            let mut had = [0u32; SERVERS as usize];
            for n in 0..rounds * total {
                // One after the other, so that nobody is busier than others.
                let hash = n.wrapping_mul(0x9e37_79b1).wrapping_add(seed);
                let Pick::Server(slot) = backend.pick(PickKey { hash: Some(hash), now: n.into() }, None)
                else {
                    panic!("{name}: everybody is there");
                };
                slot.answered(Duration::from_millis(5), n.into());
                slot.carried(1_000, n.into());
                had[slot.server().id as usize - 1] += 1;
            }
            let even = matches!(name, "roundrobin" | "static-rr" | "agent" | "weighted-response-time");
            for (had, weight) in had.iter().zip(&weights) {
                let due = f64::from(rounds * weight);
                let (least, most) = match name {
                    _ if even => (due - 1.0, due + 1.0),
                    // Points on a ring are few where weights are small.
                    _ if name.starts_with("consistent") => (due * 0.2, due * 3.0),
                    // What is measured of equals is equal to a quarter octave.
                    _ => (due * 0.7 - 10.0, due * 1.3 + 10.0),
                };
                let had = f64::from(*had);
                prop_assert!((least..=most).contains(&had), "{name}: {had}, not {due}: {weights:?}");
            }
        }
    }
}

#[test]
fn a_slow_start_and_a_drain_hold_under_every_scheduler() {
    for (name, side) in ways() {
        let (_process, backend) = farm(side);
        let slow = &backend.servers()[2];
        let turn = |change: Change| {
            slow.health().force(change, Instant::now());
            slow.mirror_health();
            backend.refresh();
        };
        turn(Change::Down);
        turn(Change::Up);
        assert_eq!(slow.share(), slow.weight(), "{name}: one per cent at first");
        for (now, percent) in [(1_000, 1), (2_000, 50), (3_100, 100)] {
            slow.advance_start(now);
            backend.refresh();
            assert_eq!(slow.share(), slow.weight() * percent, "{name} at {now}");
        }
        slow.change_admin(Admin::FORCED_DRAIN, true);
        backend.refresh();
        for hash in 0..200 {
            let pick = backend.pick(
                PickKey {
                    hash: Some(hash),
                    now: 0,
                },
                None,
            );
            let Pick::Server(slot) = pick else {
                panic!("{name}: others are there: {pick:?}");
            };
            assert_ne!(slot.server().uid, slow.uid, "{name}");
        }
        assert!(
            matches!(backend.reserve(slow), Pick::Server(_)),
            "{name}: persistence holds"
        );
    }
}

#[test]
fn levels_join_in_while_too_few_of_those_before_are_there() {
    let side = model::Backend {
        min_active: Some(2),
        ..model::Backend::default()
    };
    let (_process, backend) = farm(side);
    let serving = || {
        let mut ids: Vec<u32> = (0..200)
            .filter_map(|_| match backend.pick(PickKey::default(), None) {
                Pick::Server(slot) => Some(slot.server().id),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let maintain = |id: usize, on: bool| {
        backend.servers()[id - 1].change_admin(Admin::FORCED_MAINT, on);
        backend.refresh();
    };
    // Levels: server 1 has 1, servers 2 and 3 have 2, servers 4 and 5 have 3.
    assert_eq!(serving(), [1, 2, 3]);
    maintain(2, true);
    assert_eq!(serving(), [1, 3]);
    maintain(3, true);
    assert_eq!(serving(), [1, 4, 5]);
    maintain(2, false);
    assert_eq!(serving(), [1, 2]);
    for id in 1..=5 {
        maintain(id, true);
    }
    assert_eq!(serving(), [6], "the first backup");
}

#[test]
fn sticky_stays_until_its_server_goes_and_does_not_come_back() {
    let side = model::Backend {
        balance: Balance::Sticky,
        ..model::Backend::default()
    };
    let (_process, backend) = farm(side);
    backend.servers().iter().for_each(|s| s.set_maxconn(0));
    let serving = || match backend.pick(PickKey::default(), None) {
        Pick::Server(slot) => slot.server().id,
        _ => 0,
    };
    let maintain = |id: usize, on: bool| {
        backend.servers()[id - 1].change_admin(Admin::FORCED_MAINT, on);
        backend.refresh();
    };
    assert_eq!((serving(), serving()), (1, 1));
    maintain(1, true);
    assert_eq!(serving(), 2);
    maintain(1, false);
    assert_eq!(serving(), 2);
    maintain(2, true);
    assert_eq!(serving(), 3);
}

#[test]
fn first_is_the_lowest_number_with_room() {
    let side = model::Backend {
        balance: Balance::First,
        servers: [30, 10, 20].map(|id| server(id, 1)).into(),
        ..model::Backend::default()
    };
    let process = process_with(side);
    let generation = process.generation.load_full();
    let backend = generation.backend("b").expect("it is there");
    let mut slots = Vec::new();
    let mut order = Vec::new();
    while let Pick::Server(slot) = backend.pick(PickKey::default(), None) {
        order.push(slot.server().id);
        slots.push(slot);
    }
    assert_eq!(order, [10, 20, 30]);
    slots.remove(1);
    assert!(
        matches!(backend.pick(PickKey::default(), None), Pick::Server(s) if s.server().id == 20)
    );
}

/// Who gets how many of a round, in `mode packet`, and what each counts.
struct Turns(Arc<Backend>);

impl Turns {
    fn of(balance: Balance, side: model::Backend) -> Turns {
        let side = model::Backend {
            balance,
            servers: (1..=3).map(|id| server(id, 0)).collect(),
            ..side
        };
        let process = common::process_in(model::Mode::Packet, side);
        let generation = process.generation.load_full();
        let backend = Arc::clone(generation.backend("b").expect("it is there"));
        Turns(backend)
    }

    /// Parts of a hundred of the turns.
    fn parts(&self) -> [usize; 3] {
        let turns = self.0.turns();
        [0, 1, 2].map(|i| turns.iter().filter(|t| **t == i).count() * 100 / turns.len().max(1))
    }

    fn checked(&self, millis: [u64; 3]) {
        for (server, ms) in self.0.servers().iter().zip(millis) {
            // Times are smoothed: as often as it takes to be there.
            for _ in 0..40 {
                self.0.checked(server, Duration::from_millis(ms));
            }
        }
    }

    fn moved(&self, bytes: [u64; 3], now: u64) {
        let servers = self.0.servers().iter().map(Arc::clone);
        self.0.moved_packets(servers.zip(bytes), now);
    }
}

#[test]
fn turns_of_packets_follow_weights_and_states_while_running() {
    let weights = |balance: Balance| {
        let turns = Turns::of(balance, model::Backend::default());
        assert_eq!(turns.parts(), [33, 33, 33]);
        // As by the control socket, or by an agent.
        turns.0.servers()[0].set_weight(2);
        turns.0.refresh();
        assert_eq!(turns.parts(), [50, 25, 25]);
        turns.0.servers()[2].change_admin(Admin::FORCED_MAINT, true);
        turns.0.refresh();
        assert_eq!(turns.parts(), [66, 33, 0]);
        turns.0.servers()[2].change_admin(Admin::FORCED_MAINT, false);
        turns.0.refresh();
        assert_eq!(turns.parts(), [50, 25, 25]);
    };
    weights(Balance::RoundRobin);
    weights(Balance::Agent);
}

#[test]
fn turns_of_packets_are_those_of_the_first_levels() {
    let mut servers: Vec<model::Server> = (1..=3).map(|id| server(id, 0)).collect();
    servers[1].priority = 2;
    servers[2].priority = 3;
    let side = model::Backend {
        servers,
        min_active: Some(1),
        ..model::Backend::default()
    };
    let process = common::process_in(model::Mode::Packet, side);
    let generation = process.generation.load_full();
    let backend = generation.backend("b").expect("it is there");
    for serving in [0, 1, 2] {
        let turns = backend.turns();
        assert!(!turns.is_empty() && turns.iter().all(|t| *t == serving));
        backend.servers()[serving as usize].change_admin(Admin::FORCED_MAINT, true);
        backend.refresh();
    }
    assert!(backend.turns().is_empty());
}

#[test]
fn turns_of_packets_follow_the_times_of_checks() {
    let turns = Turns::of(Balance::WeightedResponseTime, model::Backend::default());
    turns.checked([10, 10, 40]);
    let [a, b, c] = turns.parts();
    assert!(a == b && c * 3 < a, "{a} {b} {c}");
    turns.checked([40, 10, 10]);
    let [a, b, c] = turns.parts();
    // A weight is made anew when the time has changed by an eighth.
    assert!(b.abs_diff(c) < 6 && a * 3 < b.min(c), "{a} {b} {c}");
}

#[test]
fn a_connection_of_packets_counts_as_long_as_checks_take() {
    let turns = Turns::of(Balance::ResponseTime, model::Backend::default());
    assert_eq!(turns.0.shared(), [(0, 100), (1, 100), (2, 100)]);
    turns.checked([10, 20, 40]);
    assert_eq!(turns.0.shared(), [(0, 100), (1, 50), (2, 25)]);
}

#[test]
fn packets_go_to_the_fastest_by_its_checks() {
    let turns = Turns::of(Balance::Fastest, model::Backend::default());
    assert_eq!(turns.parts(), [33, 33, 33]);
    turns.checked([20, 10, 30]);
    assert_eq!(turns.parts(), [0, 100, 0]);
    turns.checked([20, 40, 30]);
    assert_eq!(turns.parts(), [100, 0, 0]);
}

#[test]
fn turns_of_packets_follow_the_bytes_that_servers_move() {
    let turns = Turns::of(Balance::Bandwidth, model::Backend::default());
    assert_eq!(turns.parts(), [33, 33, 33]);
    turns.moved([40_000_000, 10_000_000, 10_000_000], 1000);
    let [a, b, c] = turns.parts();
    assert!(b == c && a * 3 < b, "{a} {b} {c}");
    // Heavier servers may move more.
    turns.0.servers()[0].set_weight(4);
    turns.moved([0, 0, 0], 1000);
    assert_eq!(turns.parts(), [66, 16, 16]);
    // What was long ago is forgotten.
    turns.moved([0, 0, 0], 60_000_000);
    assert_eq!(turns.parts(), [66, 16, 16]);
    turns.0.servers()[0].set_weight(1);
    turns.moved([0, 0, 0], 60_000_001);
    assert_eq!(turns.parts(), [33, 33, 33]);
}
