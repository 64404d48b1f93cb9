//! A seeded simulation of clients and servers around a real backend of `state`: time is made up, and
//! the same seed gives the same choices.

use config::{LoadRequest, Source};
use state::{Backend, Pick, PickKey, Process, Slot};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Servers in every simulation.
pub const SERVERS: usize = 5;
/// What each server does at a time; what is more waits within it.
const CORES: usize = 4;
/// What an answer takes on an ordinary server, microseconds on average.
pub const ORDINARY: f64 = 10_000.0;

/// How servers behave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speeds {
    /// All alike.
    Equal,
    /// Two take twice the time.
    Unequal,
    /// One takes ten times the time.
    OneSlow,
    /// One is down for a second in every three.
    Flapping,
    /// All alike, and every answer takes nearly the same time.
    Steady,
}

/// How clients behave.
#[derive(Clone, Copy)]
pub enum Clients {
    /// Requests come by chance, so many a second on average.
    Open(f64),
    /// One request after the other.
    OneByOne,
}

/// What happens once; in the middle, unless it says otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Nothing,
    /// Nobody asks for a minute.
    Pause,
    /// One answer of the first server takes two seconds.
    SlowAnswer,
    /// The very first answer does.
    SlowStart,
}

/// One simulation.
pub struct Run {
    /// Lines of the backend.
    pub balance: &'static str,
    /// Words of each server's line.
    pub words: [&'static str; SERVERS],
    pub speeds: Speeds,
    pub clients: Clients,
    pub event: Event,
    pub requests: usize,
}

/// What came of it.
pub struct Outcome {
    /// Which server each request went to, and how long its answer took, microseconds; `None` where
    /// there was none.
    pub answers: Vec<Option<(usize, u64)>>,
    /// The first request after the event.
    pub event_at: usize,
}

impl Outcome {
    /// The share of each server of the requests from `from` to `to`.
    pub fn shares(&self, from: usize, to: usize) -> [f64; SERVERS] {
        let part = self.answers.get(from..to).unwrap_or_default();
        let mut shares = [0.0; SERVERS];
        for (server, _) in part.iter().flatten() {
            shares[*server] += 1.0 / part.len() as f64;
        }
        shares
    }

    /// The time of an answer that so many of a thousand do not exceed, milliseconds.
    pub fn quantile(&self, thousandths: usize) -> f64 {
        let mut times: Vec<u64> = self
            .answers
            .iter()
            .flatten()
            .map(|(_, took)| *took)
            .collect();
        times.sort_unstable();
        let at = times.len() * thousandths / 1000;
        times.get(at).map_or(0.0, |t| *t as f64 / 1000.0)
    }
}

/// Chance with a seed: SplitMix64 (S. Vigna, public domain).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Exponentially distributed around a mean.
    fn around(&mut self, mean: f64) -> u64 {
        let uniform = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        (-mean * (1.0 - uniform).ln()) as u64
    }
}

/// One file in memory.
struct File(String);

impl Source for File {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.clone().into_bytes())
    }
    fn list(&self, _: &str) -> Option<Vec<String>> {
        None
    }
    fn resolve(&self, _: &str) -> Vec<IpAddr> {
        Vec::new()
    }
    fn user(&self, _: &str) -> Option<u32> {
        None
    }
    fn group(&self, _: &str) -> Option<u32> {
        None
    }
}

/// A backend of these lines, with so many servers, each with its words. `balance agent` is put in
/// afterwards: it wants agents to be configured, and here nobody would answer for them.
pub fn backend(
    balance: &str,
    servers: usize,
    words: impl Fn(usize) -> &'static str,
) -> Arc<Backend> {
    let agent = balance == "balance agent";
    let lines = if agent { "balance roundrobin" } else { balance };
    let mut text = format!(
        "defaults\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n\
         listen b\n mode http\n bind 127.0.0.1:1\n {lines}\n"
    );
    for n in 0..servers {
        let (a, b) = (n / 250, n % 250 + 1);
        text += &format!(" server s{} 10.0.{a}.{b}:80 {}\n", n + 1, words(n));
    }
    let request = LoadRequest {
        paths: vec!["simulation.cfg".to_string()],
        env: BTreeMap::new(),
        lists: None,
        flags: config::Flags::default(),
    };
    let loaded = config::load(&request, &File(text));
    let mut config = loaded.config.expect("the simulation's lines are valid");
    if agent {
        for proxy in &mut config.proxies {
            if let Some(side) = &mut Arc::make_mut(proxy).backend {
                side.balance = model::Balance::Agent;
            }
        }
    }
    let wall = rules::Wall::default();
    let machine = state::Machine::default();
    let (config, start) = (Arc::new(config), Instant::now());
    let process = Process::new(config, 1, 10_000, 10_000, wall, start, machine);
    let generation = process.generation.load_full();
    Arc::clone(generation.backend("b").expect("it is configured"))
}

/// A request on its way.
struct Under {
    number: usize,
    slot: Slot,
    server: usize,
    began: u64,
}

/// The state of a simulation.
struct World<'r> {
    run: &'r Run,
    backend: Arc<Backend>,
    start: Instant,
    chance: Chance,
    /// When each server's cores are free.
    cores: [[u64; CORES]; SERVERS],
    under: BTreeMap<u64, Under>,
    /// When answers end: time and number of the request.
    ends: BinaryHeap<Reverse<(u64, u64)>>,
    answers: Vec<Option<(usize, u64)>>,
    slow_once: bool,
    /// Requests so far.
    asked: usize,
    /// The request whose answer is the slow one, and the first one after that.
    slow: Option<usize>,
    after_slow: Option<usize>,
}

impl World<'_> {
    fn mean(&self, server: usize) -> f64 {
        match self.run.speeds {
            Speeds::OneSlow if server == SERVERS - 1 => ORDINARY * 10.0,
            Speeds::Unequal if server >= SERVERS - 2 => ORDINARY * 2.0,
            _ => ORDINARY,
        }
    }

    /// Answers that end up to `now`.
    fn finish(&mut self, now: u64) {
        while let Some(Reverse((end, number))) = self.ends.peek().copied()
            && end <= now
        {
            self.ends.pop();
            let Some(done) = self.under.remove(&number) else {
                continue;
            };
            let took = end - done.began;
            done.slot.answered(Duration::from_micros(took), end / 1000);
            let bytes = 1_000 + self.chance.around(9_000.0);
            done.slot.carried(bytes, end / 1000);
            if self.slow == Some(done.number) {
                self.slow = None;
                self.after_slow = Some(self.asked);
            }
            if let Some(answer) = self.answers.get_mut(done.number) {
                *answer = Some((done.server, took));
            }
        }
    }

    /// A request at `now`; false when there is nobody to take it.
    fn ask(&mut self, now: u64, number: usize) -> bool {
        self.asked = number + 1;
        // Some thousand clients, each with a hash of its own.
        let client = self.chance.next() % 5_000;
        let random = self.chance.next();
        let hash = match self.run.balance.contains("random") {
            true => (random >> 32) as u32,
            false => (Chance(client).next() >> 32) as u32,
        };
        let key = PickKey {
            hash: Some(hash),
            now: now / 1000,
        };
        let Pick::Server(slot) = self.backend.pick(key, None) else {
            return false;
        };
        let servers = self.backend.servers();
        let server = servers.iter().position(|s| Arc::ptr_eq(s, slot.server()));
        let server = server.unwrap_or_default();
        let mean = self.mean(server);
        let mut service = match self.run.speeds {
            Speeds::Steady => mean as u64 + self.chance.around(mean / 20.0),
            _ => self.chance.around(mean).max(1),
        };
        if server == 0 && std::mem::take(&mut self.slow_once) {
            service = 2_000_000;
            self.slow = Some(number);
        }
        let cores = &mut self.cores[server];
        cores.sort_unstable();
        let end = cores[0].max(now) + service;
        cores[0] = end;
        let number_of_under = number as u64;
        self.ends.push(Reverse((end, number_of_under)));
        self.under.insert(
            number_of_under,
            Under {
                number,
                slot,
                server,
                began: now,
            },
        );
        true
    }

    /// What checks, agents and breakdowns do every tenth of a second.
    fn tick(&mut self, now: u64) {
        let servers = self.backend.servers().to_vec();
        let moment = self.start + Duration::from_micros(now);
        for (n, server) in servers.iter().enumerate() {
            let mean = self.mean(n);
            if now.is_multiple_of(1_000_000) {
                let took = (mean / 10.0) as u64 + self.chance.around(mean / 50.0);
                self.backend.checked(server, Duration::from_micros(took));
            }
            if self.run.balance == "balance agent" && now == 0 {
                server.set_weight((100.0 * ORDINARY / mean) as u32);
                self.backend.refresh();
            }
        }
        let phase = now % 3_000_000;
        if self.run.speeds == Speeds::Flapping
            && let Some(last) = servers.last()
        {
            let change = match phase {
                1_000_000 => state::health::Change::Down,
                2_000_000 => state::health::Change::Up,
                _ => return,
            };
            last.health().force(change, moment);
            last.mirror_health();
            self.backend.refresh();
        }
    }
}

/// Runs a simulation to the end of its last request.
pub fn run(run: &Run) -> Outcome {
    let words = |n: usize| run.words.get(n).copied().unwrap_or_default();
    let mut world = World {
        run,
        backend: backend(run.balance, SERVERS, words),
        start: Instant::now(),
        chance: Chance(1),
        cores: [[0; CORES]; SERVERS],
        under: BTreeMap::new(),
        ends: BinaryHeap::new(),
        answers: vec![None; run.requests],
        slow_once: run.event == Event::SlowStart,
        asked: 0,
        slow: None,
        after_slow: None,
    };
    let event_at = run.requests / 3;
    let (mut now, mut ticked) = (0u64, 0u64);
    for number in 0..run.requests {
        now += match run.clients {
            Clients::Open(rate) => world.chance.around(1_000_000.0 / rate),
            // The answer before, and a little.
            Clients::OneByOne => {
                let end = world.ends.iter().map(|Reverse((end, _))| *end).max();
                end.map_or(0, |end| end.saturating_sub(now)) + 10
            }
        };
        if number == event_at {
            match run.event {
                Event::Nothing | Event::SlowStart => {}
                Event::Pause => now += 60_000_000,
                Event::SlowAnswer => world.slow_once = true,
            }
        }
        while ticked <= now {
            world.finish(ticked);
            world.tick(ticked);
            ticked += 100_000;
        }
        world.finish(now);
        world.ask(now, number);
    }
    world.finish(u64::MAX);
    Outcome {
        answers: world.answers,
        event_at: world.after_slow.unwrap_or(event_at),
    }
}
