//! Two and three routers of either version, some with an owner of the addresses, over a network that
//! loses, delays, doubles and splits, in thousands of seeded runs of simulated time. Two promises
//! hold in each: a connected, settled network has exactly one active router, and nobody is without
//! one longer than three intervals, the skew and 50 ms (what a packet may be on its way).

use failover::machine::{Action, Advert, Health, Machine, OWNER, Settings, State, Version};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const SEEDS: u64 = 10_000;
const SLACK: Duration = Duration::from_millis(50);

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

fn address(node: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, node as u8 + 1])
}

struct Node {
    machine: Machine,
    settings: Settings,
    alive: bool,
    paused: bool,
    /// Packets that came while it was paused.
    waiting: Vec<Advert>,
    side: u64,
    /// Since when it could be active.
    able_since: Instant,
    /// When there was last an active router on its side.
    served: Instant,
}

impl Node {
    fn able(&self) -> bool {
        self.alive && !self.paused && self.machine.state() != State::Initialize
    }
    fn active(&self) -> bool {
        self.able() && self.machine.state() == State::Active
    }
}

/// An advert on its way: when it arrives, a number that orders equal times, from, to, priority.
type Flying = (Instant, u64, usize, usize, u8);

struct World {
    seed: u64,
    rng: Rng,
    now: Instant,
    start: Instant,
    nodes: Vec<Node>,
    flying: BinaryHeap<Reverse<Flying>>,
    count: u64,
    loss: u64,
    doubled: u64,
    delay: Duration,
    interval: Duration,
    log: Vec<String>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng(seed);
        let now = Instant::now();
        // Version 2 counts in whole seconds, its skew too.
        let (version, choice) = match rng.chance(25) {
            true => (Version::V2, [1000, 1000, 2000]),
            false => (Version::V3, [10, 100, 1000]),
        };
        let interval = Duration::from_millis(choice[rng.below(3) as usize]);
        let count = 2 + rng.below(2) as usize;
        // At most one can own the addresses.
        let owner = rng.chance(15).then(|| rng.below(count as u64) as usize);
        let nodes = (0..count).map(|n| {
            // Equal priorities are common enough to be tried.
            let priority = [50, 100, 100, 150, 254][rng.below(5) as usize];
            let settings = Settings {
                version,
                priority: if owner == Some(n) { OWNER } else { priority },
                interval,
                preempt: rng.chance(70),
                preempt_delay: interval * (rng.below(3) * rng.below(8)) as u32,
                own: address(n),
                refresh: Duration::ZERO,
                grouped: false,
            };
            let mut machine = Machine::new(settings.clone());
            machine.start(now);
            Node {
                machine,
                settings,
                alive: true,
                paused: false,
                waiting: Vec::new(),
                side: 0,
                able_since: now,
                served: now,
            }
        });
        World {
            nodes: nodes.collect(),
            seed,
            rng,
            now,
            start: now,
            flying: BinaryHeap::new(),
            count: 0,
            loss: 0,
            doubled: 0,
            delay: Duration::from_millis(1),
            interval,
            log: Vec::new(),
        }
    }

    fn note(&mut self, what: String) {
        self.log.push(format!("{:?} {what}", self.now - self.start));
    }

    /// Does what the machines want done; adverts start flying.
    fn act(&mut self) {
        for from in 0..self.nodes.len() {
            while let Some(action) = self.nodes[from].machine.poll_action() {
                match action {
                    Action::Advertise(priority) => self.send(from, priority),
                    other => self.note(format!("{from}: {other:?}")),
                }
            }
        }
    }

    fn send(&mut self, from: usize, priority: u8) {
        for to in 0..self.nodes.len() {
            if to == from || self.rng.chance(self.loss) {
                continue;
            }
            for _ in 0..1 + u64::from(self.rng.chance(self.doubled)) {
                let wait = self.rng.below(self.delay.as_micros() as u64 + 1);
                let at = self.now + Duration::from_micros(wait);
                self.count += 1;
                self.flying
                    .push(Reverse((at, self.count, from, to, priority)));
            }
        }
    }

    /// Lets time pass until `end`, checking the second promise at every step.
    fn run_until(&mut self, end: Instant, mut each: impl FnMut(&World)) {
        loop {
            self.act();
            self.check_served();
            each(self);
            let timers = self.nodes.iter().filter(|n| n.alive && !n.paused);
            let timers = timers.filter_map(|n| n.machine.deadline());
            let packet = self.flying.peek().map(|p| p.0.0);
            let next = timers.chain(packet).min().unwrap_or(end);
            if next >= end {
                self.now = end;
                return self.check_served();
            }
            self.now = self.now.max(next);
            while let Some(Reverse((at, _, from, to, priority))) = self.flying.peek().copied() {
                if at > self.now {
                    break;
                }
                self.flying.pop();
                let joined = self.nodes[from].side == self.nodes[to].side;
                let advert = Advert {
                    from: address(from),
                    priority,
                    interval: self.interval,
                };
                let node = &mut self.nodes[to];
                if !joined || !node.alive {
                    continue;
                }
                if node.paused {
                    node.waiting.push(advert);
                } else {
                    node.machine.packet_received(&advert, self.now);
                }
            }
            for node in self.nodes.iter_mut().filter(|n| n.alive && !n.paused) {
                node.machine.tick(self.now);
            }
        }
    }

    fn check_served(&mut self) {
        for n in 0..self.nodes.len() {
            let side = self.nodes[n].side;
            let served = self.nodes.iter().any(|o| o.side == side && o.active());
            let node = &mut self.nodes[n];
            if served || !node.able() {
                node.served = self.now;
                continue;
            }
            let since = node.served.max(node.able_since);
            let limit = node.machine.active_down_interval() + SLACK;
            assert!(
                self.now <= since + limit,
                "seed {}: router {n} sees nobody active for {:?}\n{}",
                self.seed,
                self.now - since,
                self.log.join("\n")
            );
        }
    }

    /// Something goes wrong, or well again.
    fn chaos(&mut self) {
        let n = self.rng.below(self.nodes.len() as u64) as usize;
        let kind = self.rng.below(12);
        let now = self.now;
        match kind {
            0 => {
                self.nodes[n].alive = false;
                self.note(format!("{n} is killed"));
            }
            1 | 2 => self.revive(n),
            3 => {
                self.nodes[n].paused = true;
                self.note(format!("{n} is paused"));
            }
            4 | 5 => self.wake(n),
            6 => {
                let sides = 1 + self.rng.below(self.nodes.len() as u64);
                for node in 0..self.nodes.len() {
                    self.nodes[node].side = self.rng.below(sides);
                }
                let all: Vec<u64> = self.nodes.iter().map(|n| n.side).collect();
                self.note(format!("sides {all:?}"));
            }
            7 => self.nodes.iter_mut().for_each(|n| n.side = 0),
            8 => {
                self.loss = self.rng.below(60);
                self.doubled = self.rng.below(50);
                self.delay =
                    Duration::from_millis(self.rng.below(49)).max(Duration::from_millis(1));
                self.note(format!("loss {} delay {:?}", self.loss, self.delay));
            }
            9 if self.nodes[n].alive && !self.nodes[n].paused => {
                let fault = self.rng.chance(50);
                let weight = self.rng.below(100) as i32 - 50;
                let before = self.nodes[n].able();
                self.nodes[n]
                    .machine
                    .set_health(Health { fault, weight }, now);
                if !before {
                    self.nodes[n].able_since = now;
                }
                self.note(format!("{n} fault {fault} weight {weight}"));
            }
            10 if self.nodes[n].alive && !self.nodes[n].paused => {
                self.nodes[n].machine.release(now);
                self.note(format!("{n} is released"));
            }
            11 if self.nodes[n].alive && !self.nodes[n].paused => {
                self.nodes[n].machine.resume(now);
                // A shorter wait may be over already.
                self.nodes[n].machine.tick(now);
            }
            _ => {}
        }
    }

    fn revive(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        if node.alive {
            return;
        }
        node.machine = Machine::new(node.settings.clone());
        node.machine.start(now);
        node.waiting.clear();
        (node.alive, node.paused, node.able_since) = (true, false, now);
        self.note(format!("{n} is started"));
    }

    fn wake(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        if !node.alive || !node.paused {
            return;
        }
        (node.paused, node.able_since) = (false, now);
        for advert in std::mem::take(&mut node.waiting) {
            node.machine.packet_received(&advert, now);
        }
        node.machine.tick(now);
        self.note(format!("{n} goes on"));
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    let interval = world.interval;
    let events = 5 + world.rng.below(25);
    for _ in 0..events {
        let wait = interval.mul_f64(world.rng.below(800) as f64 / 100.0);
        let end = world.now + wait;
        world.run_until(end, |_| {});
        world.chaos();
    }
    // The network heals and settles; some routers may stay dead.
    (world.loss, world.doubled, world.delay) = (0, 0, (interval / 4).min(SLACK));
    for n in 0..world.nodes.len() {
        world.nodes[n].side = 0;
        world.wake(n);
        if n == 0 || world.rng.chance(70) {
            world.revive(n);
        }
        let now = world.now;
        if world.nodes[n].alive {
            let was = world.nodes[n].able();
            world.nodes[n].machine.set_health(Health::default(), now);
            world.nodes[n].machine.tick(now);
            if !was {
                world.nodes[n].able_since = now;
            }
        }
    }
    world.note("healed".into());
    let settled = world.now + interval * 40;
    world.run_until(settled, |_| {});
    let end = world.now + interval * 20;
    world.run_until(end, |w| {
        let active = w.nodes.iter().filter(|n| n.active()).count();
        assert_eq!(active, 1, "seed {}:\n{}", w.seed, w.log.join("\n"));
    });
}

#[test]
fn a_settled_network_has_one_active_router_and_nobody_waits_too_long() {
    for seed in 0..SEEDS {
        run(seed);
    }
}

/// The link between two routers fails, the second path does not: nobody claims needlessly. Then
/// the active router dies, and the other one does.
#[test]
fn a_second_path_prevents_a_second_active_router_but_never_a_needed_one() {
    for seed in 0..500 {
        let mut world = World::new(seed);
        world.nodes.truncate(2);
        let (interval, valid) = (world.interval, world.interval * 3);
        let end = world.now + interval * 40;
        world.run_until(end, |_| {});
        let first = (0..2)
            .find(|n| world.nodes[*n].active())
            .expect("one is active");
        let other = 1 - first;
        world.nodes[other].side = 1;
        world.loss = 100;
        for step in 0..200 {
            // The second path loses some of what is said on it, too, but not three in a row.
            if step % 3 == 0 || world.rng.chance(70) {
                let now = world.now;
                for n in 0..2 {
                    let active = world.nodes[1 - n].active();
                    let peer = address(1 - n);
                    world.nodes[n].machine.peer_says(peer, active, valid, now);
                }
            }
            // Only the promise of one active router is asked for here.
            world.nodes[other].served = world.now;
            world.nodes[other].able_since = world.now + Duration::from_secs(3600);
            let end = world.now + interval;
            world.run_until(end, |_| {});
            assert!(
                !world.nodes[other].active(),
                "seed {seed}:\n{}",
                world.log.join("\n")
            );
        }
        world.nodes[first].alive = false;
        let end = world.now + valid + interval * 4;
        world.run_until(end, |_| {});
        assert!(world.nodes[other].active(), "seed {seed}");
    }
}
