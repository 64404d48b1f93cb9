//! The scheduler's choice: `balance`, over the servers that may be chosen now.

use super::{Backend, Pick, Slot};
use crate::loads::{Loads, Measure, Seat};
use crate::maglev::Maglev;
use crate::ring::Ring;
use crate::server::Server;
use crate::wheel::Wheel;
use model::{Balance, HashKey, HashMethod, PreserveAffinity};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A key to schedule by.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickKey {
    /// The hash for the kinds of `balance` that have one; the random number for `random`.
    pub hash: Option<u32>,
    /// The time, milliseconds of the process.
    pub now: u64,
}

/// Who may be chosen now; replaced whole when a state or weight changes.
#[derive(Debug, Default)]
pub(super) struct Active {
    way: Way,
    /// Whose turn it is, also where a hash has nothing to go by.
    pub(super) wheel: Wheel,
    /// Indices of schedulable servers.
    pub(super) members: Vec<u32>,
    /// Their shares, in the same order.
    pub(super) shares: Vec<u32>,
    pub(super) total_weight: u64,
}

/// How a server is found.
#[derive(Debug, Default)]
enum Way {
    /// Each in turn.
    #[default]
    Turns,
    /// The least loaded of so many by chance.
    Random(u32),
    /// A hash is a place on the wheel.
    Map,
    /// A hash is a place on the ring.
    Ring(Ring),
    /// A hash is an entry of the table.
    Maglev(Maglev),
    /// The least loaded.
    Load(Arc<Loads>),
    /// This one.
    Sticky(u32),
}

/// What a `balance` looks at in servers that are not all the same to it.
fn measure(balance: &Balance) -> Option<Measure> {
    match balance {
        Balance::First => Some(Measure::Order),
        Balance::LeastConn => Some(Measure::Connections),
        Balance::ResponseTime => Some(Measure::ResponseTime),
        Balance::Fastest => Some(Measure::Fastest),
        Balance::Bandwidth => Some(Measure::Bandwidth),
        _ => None,
    }
}

/// Whether a hash chooses, as `hash-type` says.
fn by_hash(balance: &Balance) -> bool {
    matches!(
        balance,
        Balance::Source
            | Balance::Uri { .. }
            | Balance::UrlParam { .. }
            | Balance::Header { .. }
            | Balance::RdpCookie { .. }
            | Balance::Hash(_)
    )
}

/// Whether weights of this `balance` change at run time only by making a new map (manual).
fn is_static(side: &model::Backend) -> bool {
    let map = side.hash_method == HashMethod::MapBased;
    matches!(side.balance, Balance::StaticRr) || (map && by_hash(&side.balance))
}

/// Whether a server may be chosen still, where one is to be passed over.
fn is_open(server: &Server, avoid: Option<u32>) -> bool {
    avoid != Some(server.uid) && server.schedulable()
}

/// Steps in which a weight follows the times of checks: the slowest server has a sixteenth.
pub(super) const PACES: u64 = 16;

impl Active {
    /// Whether one server gets everything.
    pub(super) fn is_sticky(&self) -> bool {
        matches!(self.way, Way::Sticky(_))
    }
}

impl Backend {
    /// Who may be chosen, with their shares: servers that are no backups, of as many levels as
    /// `balance priority` wants; without any the first backup, or all of them.
    fn shares(&self) -> Vec<(u32, u32)> {
        let side = self.side();
        let choose = |backup: bool| {
            let all = self.servers.iter().enumerate();
            let all = all.filter(|(_, s)| s.is_backup() == backup && s.schedulable());
            let fixed = is_static(side);
            let share = |s: &Server| if fixed { s.weight() * 100 } else { s.share() };
            all.map(|(i, s)| (i as u32, share(s))).collect::<Vec<_>>()
        };
        let mut shares = choose(false);
        if let Some(least) = side.min_active {
            self.keep_levels(&mut shares, least as usize);
        }
        if shares.is_empty() {
            shares = choose(true);
            if !side.allbackups {
                shares.truncate(1);
            }
        }
        if matches!(side.balance, Balance::First) {
            // From the lowest number to the highest (manual, `balance first`).
            shares.sort_by_key(|(i, _)| self.servers.get(*i as usize).map(|s| s.id));
        }
        match side.balance {
            Balance::WeightedResponseTime => self.follow_checks(&mut shares),
            _ if self.is_for_packets() => self.follow_for_packets(&mut shares),
            _ => {}
        }
        shares
    }

    /// Leaves the first levels that have `least` servers together.
    fn keep_levels(&self, shares: &mut Vec<(u32, u32)>, least: usize) {
        let level = |(index, _): &(u32, u32)| {
            let server = self.servers.get(*index as usize);
            server.map_or(0, |s| s.settings().priority)
        };
        let mut levels: Vec<u16> = shares.iter().map(level).collect();
        levels.sort_unstable();
        // The level of the server that completes the number is the last that serves.
        let last = levels.get(least.max(1) - 1).or(levels.last()).copied();
        shares.retain(|share| Some(level(share)) <= last);
    }

    /// Makes shares less for servers whose checks take longer than the quickest one's.
    pub(super) fn follow_checks(&self, shares: &mut [(u32, u32)]) {
        let server = |index: u32| self.servers.get(index as usize);
        let time = |index: u32| server(index).and_then(|s| s.pace.check_time());
        let times: Vec<Option<u32>> = shares.iter().map(|(i, _)| time(*i)).collect();
        let Some(quickest) = times.iter().flatten().min().copied() else {
            return;
        };
        for ((_, share), time) in shares.iter_mut().zip(times) {
            // Without a check yet, a server counts as the quickest.
            let time = u64::from(time.unwrap_or(quickest).max(1));
            let pace = (PACES * u64::from(quickest)).div_ceil(time).clamp(1, PACES);
            *share = u32::try_from(u64::from(*share) * pace / PACES).map_or(1, |s| s.max(1));
        }
    }

    /// Makes what the scheduler looks at, from the state of the servers now.
    pub(super) fn active(&self) -> Active {
        let side = self.side();
        let shares = self.shares();
        // Programs in the kernel choose by turns and weights only.
        let measure = measure(&side.balance).filter(|_| !self.is_for_packets());
        let way = match measure {
            Some(measure) => Way::Load(self.seat(measure, &shares)),
            None => self.way(&shares),
        };
        if !matches!(way, Way::Load(_)) {
            let seated = self.servers.iter().filter(|s| s.is_seated());
            seated.for_each(|s| drop(s.sit(None)));
        }
        let wheel = match way {
            Way::Load(_) | Way::Sticky(_) => Wheel::default(),
            _ if is_static(side) => Wheel::map(&shares),
            _ => Wheel::new(&shares),
        };
        let weights = shares
            .iter()
            .filter_map(|(i, _)| self.servers.get(*i as usize));
        Active {
            wheel,
            way,
            total_weight: weights.map(|s| u64::from(s.weight())).sum(),
            members: shares.iter().map(|(i, _)| *i).collect(),
            shares: shares.iter().map(|(_, share)| *share).collect(),
        }
    }

    /// How servers are found where none is measured.
    fn way(&self, shares: &[(u32, u32)]) -> Way {
        let side = self.side();
        let server = |index: u32| self.servers.get(index as usize);
        let weight = |share: u32| share.div_ceil(100);
        match side.balance {
            Balance::Random { draws } => Way::Random(draws.max(1)),
            Balance::Sticky => self.stay(shares),
            Balance::Maglev(_) => {
                let entry = |(index, share): &(u32, u32)| {
                    let key = server(*index).map_or(0, |s| s.table_key());
                    (*index, key, weight(*share))
                };
                Way::Maglev(Maglev::new(&shares.iter().map(entry).collect::<Vec<_>>()))
            }
            _ if !by_hash(&side.balance) => Way::Turns,
            _ => match side.hash_method {
                HashMethod::MapBased => Way::Map,
                HashMethod::Consistent => {
                    let point = |(index, share): &(u32, u32)| {
                        let key = server(*index).map_or(0, |s| s.ring_key());
                        (*index, key, weight(*share))
                    };
                    Way::Ring(Ring::new(&shares.iter().map(point).collect::<Vec<_>>()))
                }
            },
        }
    }

    /// Gives servers their seats among new loads; who may not be chosen has none.
    fn seat(&self, measure: Measure, shares: &[(u32, u32)]) -> Arc<Loads> {
        let only: Vec<u32> = match measure {
            // The order is that of their numbers, and no weight counts (manual, `first`).
            Measure::Order => shares.iter().map(|_| 1).collect(),
            _ => shares.iter().map(|(_, share)| *share).collect(),
        };
        let loads = Arc::new(Loads::new(measure, &only));
        let heaviest = only.iter().copied().max().unwrap_or(1);
        let mut seats: Vec<Option<Arc<Seat>>> = self.servers.iter().map(|_| None).collect();
        for (at, ((index, _), share)) in shares.iter().zip(&only).enumerate() {
            let lighter = f64::from(heaviest) / f64::from((*share).max(1));
            if let Some(seat) = seats.get_mut(*index as usize) {
                *seat = Some(Arc::new(Seat {
                    loads: Arc::clone(&loads),
                    at,
                    lighter,
                }));
            }
        }
        let old = shares
            .iter()
            .filter_map(|(i, _)| self.servers.get(*i as usize));
        let old = old.filter(|s| s.is_seated());
        let (sum, count) = old.fold((0u64, 0), |(sum, n), s| {
            (sum.saturating_add(s.pace.bytes()), n + 1)
        });
        let usual = sum / u64::max(count, 1);
        for (server, seat) in self.servers.iter().zip(seats) {
            if seat.is_some() && !server.is_seated() {
                server.pace.start_like(usual);
            }
            if let Some(before) = server.sit(seat) {
                server.take_over(&before);
            }
            server.weigh();
        }
        loads
    }

    /// The server that gets everything: the one from before, or the one after it.
    fn stay(&self, shares: &[(u32, u32)]) -> Way {
        let uid = |(index, _): &&(u32, u32)| {
            let server = self.servers.get(*index as usize);
            server.map_or(0, |s| s.uid + 1)
        };
        let before = self.live.sticky.load(Relaxed);
        let place = self.servers.iter().position(|s| s.uid + 1 == before);
        let after = |(index, _): &&(u32, u32)| place.is_none_or(|p| *index as usize >= p);
        let chosen = shares.iter().find(after).or(shares.first());
        match chosen {
            Some(share) => {
                self.live.sticky.store(uid(&share), Relaxed);
                Way::Sticky(share.0)
            }
            None => Way::Turns,
        }
    }

    /// The scheduler's choice. `avoid` is passed over while there is another, and whoever cannot be chosen
    /// any more always is.
    pub fn pick(self: &Arc<Self>, key: PickKey, avoid: Option<u32>) -> Pick {
        self.pay_for_choice();
        let pick = self.pick_of_known(key, avoid);
        if matches!(pick, Pick::Server(_)) || !self.is_behind() {
            return pick;
        }
        // Others may have come.
        self.refresh();
        self.pick_of_known(key, avoid)
    }

    /// The choice among those known from the last look at all servers.
    fn pick_of_known(self: &Arc<Self>, key: PickKey, avoid: Option<u32>) -> Pick {
        let active = self.active.load();
        if active.members.is_empty() {
            return Pick::None;
        }
        let avoid = avoid.filter(|_| active.members.len() > 1);
        let chosen = match (&active.way, key.hash) {
            (Way::Load(loads), _) => return self.least_loaded(&active, loads, key.now, avoid),
            (Way::Random(draws), Some(number)) => {
                let chosen = self.random(&active, number, *draws, avoid);
                return match chosen.map(|server| self.reserve(server)) {
                    Some(Pick::Full(_)) | None => self.in_turn(&active, avoid),
                    Some(pick) => pick,
                };
            }
            (Way::Sticky(index), _) => {
                let others = self.members(&active);
                let first = self.servers.get(*index as usize);
                let mut all = first.into_iter().chain(others);
                all.find(|s| is_open(s, avoid))
            }
            (Way::Map, Some(hash)) => {
                let len = active.wheel.len() as u64;
                let start = u64::from(hash) % len.max(1);
                let places = (0..len).filter_map(|step| active.wheel.at(start + step));
                self.by_hash(places, avoid)
            }
            (Way::Ring(ring), Some(hash)) if self.side().hash_balance.0 > 0 => {
                self.within_balance(&active, ring.from(hash), avoid)
            }
            (Way::Ring(ring), Some(hash)) => self.by_hash(ring.from(hash), avoid),
            (Way::Maglev(table), Some(hash)) => self.by_hash(table.from(hash), avoid),
            _ => return self.in_turn(&active, avoid),
        };
        match chosen {
            Some(server) => self.reserve(server),
            None => Pick::Full(None),
        }
    }

    /// Each in turn; who is full is passed over.
    fn in_turn(self: &Arc<Self>, active: &Active, avoid: Option<u32>) -> Pick {
        for _ in 0..active.wheel.len() {
            let turn = self.live.cursor.fetch_add(1, Relaxed);
            let Some(server) = active
                .wheel
                .at(turn)
                .and_then(|i| self.servers.get(i as usize))
            else {
                return Pick::None;
            };
            if !is_open(server, avoid) {
                continue;
            }
            if let pick @ Pick::Server(_) = self.reserve(server) {
                return pick;
            }
        }
        Pick::Full(None)
    }

    fn members<'a>(&'a self, active: &'a Active) -> impl Iterator<Item = &'a Arc<Server>> {
        let members = active.members.iter();
        members.filter_map(|i| self.servers.get(*i as usize))
    }

    /// The least loaded server. One more is looked at on the way, so that nothing that is measured
    /// grows stale while nobody asks it.
    fn least_loaded(
        self: &Arc<Self>,
        active: &Active,
        loads: &Loads,
        now: u64,
        avoid: Option<u32>,
    ) -> Pick {
        let server = |at: usize| self.servers.get(*active.members.get(at)? as usize);
        if let Some(next) = server(loads.next()) {
            if next.sessions.now() == 0 {
                next.pace.fade(loads, now);
            }
            next.weigh_again();
        }
        let chosen = loads.least().and_then(|at| Some((at, server(at)?)));
        if let Some((at, server)) = chosen.filter(|(_, s)| is_open(s, avoid)) {
            loads.take_turn(at);
            if let Pick::Server(slot) = self.reserve(server) {
                slot.charge(loads, now);
                return Pick::Server(slot);
            }
        }
        // One is to be passed over, or its limit is less than it was, or it has just gone: all are looked at.
        let open = (0..loads.len()).filter_map(|at| Some((at, server(at)?)));
        let open = open.filter(|(_, s)| is_open(s, avoid) && self.has_room(s));
        let best = open.min_by_key(|(at, s)| {
            let queued = s.sessions.now() + s.queued.now();
            (s.load(loads, queued), loads.key(*at))
        });
        let Some((at, server)) = best else {
            return Pick::Full(None);
        };
        loads.take_turn(at);
        match self.reserve(server) {
            Pick::Server(slot) => {
                slot.charge(loads, now);
                Pick::Server(slot)
            }
            _ => Pick::Full(None),
        }
    }

    /// The least loaded of some that chance names, by weight (M. Mitzenmacher, The Power of Two
    /// Choices in Randomized Load Balancing, 2001).
    fn random<'a>(
        &'a self,
        active: &Active,
        random: u32,
        draws: u32,
        avoid: Option<u32>,
    ) -> Option<&'a Arc<Server>> {
        let mut number = u64::from(random);
        let mut best: Option<(&Arc<Server>, u64)> = None;
        for _ in 0..draws {
            // Knuth's linear congruential generator; its upper half is what is used.
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let server = self.servers.get(active.wheel.at(number >> 32)? as usize)?;
            if !is_open(server, avoid)
                || !self.has_room(server)
                || !self.is_within_balance(active, server)
            {
                continue;
            }
            let load = server.sessions.now() * 25_600 / u64::from(server.share().max(1));
            if best.is_none_or(|(_, least)| load < least) {
                best = Some((server, load));
            }
        }
        best.map(|(server, _)| server)
    }

    /// The first server that a hash leads to, or the next that is less busy where
    /// `hash-preserve-affinity` prefers that.
    fn by_hash(
        &self,
        servers: impl Iterator<Item = u32>,
        avoid: Option<u32>,
    ) -> Option<&Arc<Server>> {
        let mut servers = servers
            .filter_map(|i| self.servers.get(i as usize))
            .filter(|s| is_open(s, avoid));
        let first = servers.next()?;
        let busy = |server: &Arc<Server>| match self.side().preserve_affinity {
            PreserveAffinity::Always => false,
            PreserveAffinity::Maxconn => !self.has_room(server),
            PreserveAffinity::Maxqueue => {
                let most = u64::from(server.settings().maxqueue);
                most > 0 && server.queued.now() >= most
            }
        };
        if !busy(first) {
            return Some(first);
        }
        servers.find(|s| !busy(s)).or(Some(first))
    }

    /// The first server on the ring that stays within `hash-balance-factor`.
    fn within_balance(
        &self,
        active: &Active,
        servers: impl Iterator<Item = u32>,
        avoid: Option<u32>,
    ) -> Option<&Arc<Server>> {
        let mut servers = servers
            .filter_map(|i| self.servers.get(i as usize))
            .filter(|s| is_open(s, avoid));
        let first = servers.next()?;
        let mut all = std::iter::once(first).chain(servers);
        all.find(|s| self.is_within_balance(active, s))
            .or(Some(first))
    }

    /// Whether one more session leaves the server within `hash-balance-factor` of its share.
    fn is_within_balance(&self, active: &Active, server: &Server) -> bool {
        let factor = u64::from(self.side().hash_balance.0);
        if factor == 0 {
            return true;
        }
        let all = self.live.placed.now() + 1;
        let share = factor * all * u64::from(server.weight());
        server.sessions.now() < share.div_ceil(100 * active.total_weight.max(1))
    }

    /// Whether no weight but 0 and that of the configuration can be set at run time: maps are made for
    /// weights that stay (manual, `static-rr` and `hash-type`).
    pub fn weights_stay(&self) -> bool {
        is_static(self.side())
    }

    /// Takes note of how long a check of a server took; weights may follow from it.
    pub fn checked(self: &Arc<Self>, server: &Server, took: std::time::Duration) {
        let stale = server.pace.checked(took);
        let counts = match self.side().balance {
            Balance::WeightedResponseTime => true,
            Balance::ResponseTime | Balance::Fastest => self.is_for_packets(),
            _ => false,
        };
        if stale && counts {
            self.note(server);
        }
    }
}

impl Slot {
    /// Counts what a request usually moves ahead, so that those who come at once do not all see the
    /// same idle server.
    fn charge(&self, loads: &Loads, now: u64) {
        if loads.measure == Measure::Bandwidth {
            let ahead = u32::try_from(loads.usual()).unwrap_or(u32::MAX);
            self.ahead.set(ahead);
            self.server.pace.moved(u64::from(ahead), now);
            self.server.weigh();
        }
    }
}

impl Server {
    /// What its places on a ring follow from.
    fn ring_key(&self) -> u32 {
        match self.address_key() {
            Some(key) => (key ^ (key >> 32)) as u32,
            None => self.id,
        }
    }

    /// What its places in a Maglev table follow from.
    fn table_key(&self) -> u64 {
        let name = || crate::hash::xxh64(self.name.as_bytes());
        self.address_key().unwrap_or_else(name)
    }

    /// The hash of the address, where `hash-key` asks for that and there is one.
    fn address_key(&self) -> Option<u64> {
        let wanted = self.settings().hash_key;
        let with_port = match wanted {
            HashKey::Id => return None,
            HashKey::Addr => false,
            HashKey::AddrPort => true,
        };
        let address = self.target()?.socket(None)?;
        let mut bytes = match address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
            std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        if with_port {
            bytes.extend_from_slice(&address.port().to_be_bytes());
        }
        Some(crate::hash::xxh64(&bytes))
    }
}
