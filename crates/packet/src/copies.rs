//! Sessions that another machine shall have, too, and those that it sends: their form between
//! machines, what has become of them since the last look, and their way into the table.
//!
//! Only the direction from the client is sent. The other one, the sums' deltas and the server's
//! place follow from it on either machine, because places are found by the names of frontend,
//! backend and server. Half-open connections are not sent: their clients try again. Where no route
//! leads back to a client, in VLANs and over bridges, its address on the link is sent, too.

mod form;

use crate::abi::{self, Address, Flow, FlowKey, News, flow_state};
use crate::kernel::{Error, because};
use crate::sessions;
use crate::table::{self, Shared, Walk, insert_all, insert_new, remove};
use aya::maps::{MapData, RingBuf};
use form::{read, read_key, write, write_key};
use state::{Replication, Role};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::take;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The version of what is sent.
pub const FORM: u16 = form::VERSION;

/// Sessions that the plane has removed and that were not asked for yet, at most.
const MOST_REMOVED: usize = 1 << 20;

/// Entries put into the table by one call.
const AT_ONCE: usize = 1024;

/// News read at one look, at most: others wait for the next.
const MOST_NEWS: usize = 1 << 16;

/// Where servers stand in the tables, by what names them on every machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub places: HashMap<u64, u32>,
    pub identities: HashMap<u32, u64>,
    pub sides: Sides,
}

/// Where clients are who no route leads back to: those in VLANs, and those across a bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sides {
    /// By virtual address: the interfaces that it is served at, with their addresses on the link.
    pub ports: HashMap<Address, Vec<(u32, [u8; 6])>>,
    /// By place: the interface that a server is behind.
    pub servers: HashMap<u32, u32>,
}

impl Sides {
    /// The interface that answers leave by: the only one, or of a bridge the one that the server is
    /// not behind.
    fn back(&self, vip: &Address, server: u32) -> Option<(u32, [u8; 6])> {
        let ports = self.ports.get(vip)?;
        let behind = self.servers.get(&server);
        let other = ports.iter().find(|(port, _)| Some(port) != behind);
        other.or(ports.first()).copied()
    }
}

/// What the plane tells who copies sessions.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    known: Mutex<Arc<Known>>,
    removed: Mutex<Vec<FlowKey>>,
}

impl Exchange {
    pub fn set_places(&self, places: &HashMap<u64, u32>, sides: Sides) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.places != *places || known.sides != sides {
            *known = Arc::new(Known {
                places: places.clone(),
                identities: places.iter().map(|(i, at)| (*at, *i)).collect(),
                sides,
            });
        }
    }

    fn known(&self) -> Arc<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&known)
    }

    pub fn removed(&self, key: FlowKey) {
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        if removed.len() < MOST_REMOVED {
            removed.push(key);
        }
    }

    fn take_removed(&self) -> Vec<FlowKey> {
        take(&mut self.removed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Both ways of copying, for one thread beside the plane's.
pub struct Copies {
    news: RingBuf<MapData>,
    lost: Shared,
    lost_before: u32,
    flows: OwnedFd,
    live: Shared,
    exchange: Arc<Exchange>,
    replication: Arc<Replication>,
    /// As of the last look.
    roles: BTreeMap<Address, Role>,
    known: Arc<Known>,
    served: BTreeSet<Address>,
    /// Seconds as the programs write them, as of the last look.
    now: u32,
    /// A session on its way to others: its key and its value.
    bytes: (Vec<u8>, Vec<u8>),
    /// What is to be put into the table.
    keys: Vec<FlowKey>,
    values: Vec<Flow>,
    /// Counts snapshots; copies carry the number of the last one that named them.
    stamp: u32,
    /// By peer: which addresses its snapshot is about, and where the stamp stood as it began.
    snapshots: HashMap<usize, (u32, BTreeSet<Address>)>,
    /// By peer: of which addresses it keeps the copy up to date.
    held: HashMap<usize, BTreeSet<Address>>,
    /// Servers that a peer's sessions are on and that are not known here.
    strangers: BTreeSet<u64>,
    /// Sessions that could not be taken over.
    pub refused: u64,
}

/// Takes a session's key and its value; without a value it is over.
pub type Change<'a> = dyn FnMut(&[u8], Option<&[u8]>) + 'a;

/// What one look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// All that has become of sessions was handed over.
    All,
    /// Some of it was lost, or other addresses are served now: all sessions are to be sent.
    Anew,
}

impl Copies {
    pub(crate) fn new(
        news: RingBuf<MapData>,
        lost: Shared,
        flows: OwnedFd,
        live: Shared,
        exchange: Arc<Exchange>,
        replication: Arc<Replication>,
    ) -> Copies {
        let lost_before = lost.at(0).map_or(0, |n| n.load(Relaxed));
        Copies {
            news,
            lost,
            lost_before,
            flows,
            live,
            exchange,
            replication,
            roles: BTreeMap::new(),
            known: Arc::default(),
            served: BTreeSet::new(),
            now: sessions::now(),
            bytes: Default::default(),
            keys: Vec::new(),
            values: Vec::new(),
            stamp: 0,
            snapshots: HashMap::new(),
            held: HashMap::new(),
            strangers: BTreeSet::new(),
            refused: 0,
        }
    }

    /// Hands over sessions that are new, changed or (without a value) over since the last look.
    pub fn look(&mut self, change: &mut Change<'_>) -> Look {
        let roles = self.replication.roles();
        self.roles = roles
            .iter()
            .map(|(ip, r)| (abi::address(*ip), *r))
            .collect();
        self.known = self.exchange.known();
        self.now = sessions::now();
        let (mut name, mut value) = take(&mut self.bytes);
        // Before the news: ports that were removed may be those of another session by now.
        for key in self.exchange.take_removed() {
            if self.is_served(&key.dst) {
                write_key(&key, &mut name);
                change(&name, None);
            }
        }
        for _ in 0..MOST_NEWS {
            let Some(item) = self.news.next() else { break };
            let Some(news) = read_news(&item) else {
                continue;
            };
            if !self.roles.contains_key(&news.key.dst) {
                continue;
            }
            write_key(&news.key, &mut name);
            if news.over != 0 {
                change(&name, None);
            } else if !is_spliced(&news.flow)
                && let Some(identity) = self.known.identities.get(&news.flow.server)
            {
                write(&news.key, &news.flow, *identity, self.now, &mut value);
                change(&name, Some(&value));
            }
        }
        self.bytes = (name, value);
        let lost = self.lost.at(0).map_or(0, |n| n.load(Relaxed));
        let missed = std::mem::replace(&mut self.lost_before, lost) != lost;
        let served = self
            .roles
            .iter()
            .filter(|(_, r)| r.active)
            .map(|(ip, _)| *ip);
        let served: BTreeSet<Address> = served.collect();
        let more = !served.is_subset(&self.served);
        self.served = served;
        match missed || more {
            true => Look::Anew,
            false => Look::All,
        }
    }

    fn is_served(&self, address: &Address) -> bool {
        self.roles.get(address).is_some_and(|r| r.active)
    }

    /// Hands over some of the sessions of the addresses served here, from a position on; where to
    /// go on, nothing at the end. The first of all say which addresses these are.
    pub fn walk(
        &mut self,
        at: Option<&[u8]>,
        most: usize,
        entry: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Option<Vec<u8>> {
        let mut walk = Walk::<FlowKey, Flow>::new(most);
        match at {
            None => {
                for address in &self.served {
                    entry(address, &[]);
                }
            }
            Some(at) => walk.seek(u32::from_ne_bytes(at.try_into().ok()?)),
        }
        let (entries, _) = walk.next(self.flows.as_fd()).ok()?;
        let (mut name, mut value) = take(&mut self.bytes);
        for (key, flow) in entries {
            if sessions::is_forward(&flow)
                && is_worth(&key, &flow)
                && self.is_served(&key.dst)
                && let Some(identity) = self.known.identities.get(&flow.server)
            {
                write_key(&key, &mut name);
                write(&key, &flow, *identity, self.now, &mut value);
                entry(&name, &value);
            }
        }
        self.bytes = (name, value);
        walk.position().map(|at| at.to_ne_bytes().to_vec())
    }

    /// A peer's session, new or changed; or, without a value, an address that its snapshot is about.
    /// One that is served here already stays as it is.
    pub fn put(&mut self, peer: usize, key: &[u8], value: &[u8]) {
        if let (Ok(address), []) = (<Address>::try_from(key), value) {
            if let Some((_, about)) = self.snapshots.get_mut(&peer) {
                about.insert(address);
            }
            return;
        }
        let placed = read_key(key)
            .and_then(|key| Some((key, read(&key, value)?)))
            .and_then(|(key, (identity, flow, age))| {
                let role = self.roles.get(&key.dst)?;
                let Some(server) = self.known.places.get(&identity) else {
                    self.strangers.insert(identity);
                    return None;
                };
                let flow = place(flow, *server, age, self.stamp, self.now);
                Some((key, flow, role.active))
            });
        let Some((key, flow, served)) = placed else {
            self.refused += 1;
            return;
        };
        let side = self.known.sides.back(&key.dst, flow.server);
        let back = sessions::other_key(&key, &flow).map(|k| (k, answers(&key, &flow, side)));
        if served {
            // What it was just before we took over, or what two think that are both active.
            if insert_new(self.flows.as_fd(), &key, &with_deltas(&key, flow))
                && let Some((key, flow)) = back
            {
                insert_new(self.flows.as_fd(), &key, &with_deltas(&key, flow));
            }
            return;
        }
        for (key, flow) in back.into_iter().chain([(key, flow)]) {
            self.keys.push(key);
            self.values.push(with_deltas(&key, flow));
        }
        if self.keys.len() >= AT_ONCE {
            self.settle();
        }
    }

    /// A peer's session is over.
    pub fn remove(&mut self, key: &[u8]) {
        let Some(key) = read_key(key) else { return };
        if !self.roles.contains_key(&key.dst) || self.is_served(&key.dst) {
            return;
        }
        self.settle();
        if let Some(flow) = table::take::<FlowKey, Flow>(self.flows.as_fd(), &key) {
            self.forget_other(&key, &flow);
        }
    }

    fn forget(&self, key: &FlowKey, flow: &Flow) {
        remove(self.flows.as_fd(), key);
        self.forget_other(key, flow);
    }

    /// What a session leaves whose entry from the client's side is gone.
    fn forget_other(&self, key: &FlowKey, flow: &Flow) {
        if flow.state & flow_state::COUNTED != 0
            && let Some(live) = self.live.at(flow.server)
        {
            let _ = live.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        }
        if let Some(other) = sessions::other_key(key, flow) {
            remove(self.flows.as_fd(), &other);
        }
    }

    /// A peer's snapshot begins. What was counted here as a connection counts there now.
    pub fn begin(&mut self, peer: usize) {
        self.settle();
        self.stamp = self.stamp.wrapping_add(1).max(1);
        self.snapshots.insert(peer, (self.stamp, BTreeSet::new()));
        let counted = |f: &Flow| f.state & flow_state::COUNTED != 0;
        for (key, mut flow) in self.copies(|_, f| counted(f)) {
            if let Some(live) = self.live.at(flow.server) {
                let _ = live.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
            }
            flow.state &= !flow_state::COUNTED;
            self.keys.push(key);
            self.values.push(flow);
        }
        self.settle();
    }

    /// A peer's snapshot is over: other sessions of the addresses that it was about are, too.
    pub fn complete(&mut self, peer: usize) {
        self.settle();
        let Some((stamp, about)) = self.snapshots.remove(&peer) else {
            return;
        };
        for (key, flow) in self.copies(|k, f| f.epoch < stamp && about.contains(&k.dst)) {
            self.forget(&key, &flow);
        }
        self.held.insert(peer, about);
        self.standing(peer, true);
    }

    /// The copy of a peer's sessions is up to date from now on, or no longer.
    pub fn standing(&mut self, peer: usize, whole: bool) {
        let held: Vec<IpAddr> = self
            .held
            .get(&peer)
            .into_iter()
            .flatten()
            .map(abi::ip)
            .collect();
        self.replication
            .set_copied(held.iter(), whole, Instant::now());
    }

    /// Whether sessions were refused because their servers were not known here, and are now.
    pub fn knows_more(&mut self) -> bool {
        let known = &self.known.places;
        let met = self.strangers.iter().any(|s| known.contains_key(s));
        if met {
            self.strangers.clear();
        }
        met
    }

    /// Sessions of addresses that are kept alike and not served here, from the client's side.
    fn copies(&self, which: impl Fn(&FlowKey, &Flow) -> bool) -> Vec<(FlowKey, Flow)> {
        let mut found = Vec::new();
        let mut walk = Walk::<FlowKey, Flow>::new(1 << 14);
        // A table that cannot be read now is read when the next snapshot comes.
        while let Ok((entries, over)) = walk.next(self.flows.as_fd()) {
            let ours = |k: &FlowKey| self.roles.get(&k.dst).is_some_and(|r| !r.active);
            found.extend(
                entries
                    .into_iter()
                    .filter(|(k, f)| sessions::is_forward(f) && ours(k) && which(k, f)),
            );
            if over {
                break;
            }
        }
        found
    }

    /// Brings what waits into the table.
    pub fn settle(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let put = insert_all(self.flows.as_fd(), &self.keys, &self.values);
        self.refused += (self.keys.len() - put) as u64;
        self.keys.clear();
        self.values.clear();
    }
}

/// Whether a session is to be sent: half-open ones are not.
fn is_worth(key: &FlowKey, flow: &Flow) -> bool {
    sessions::stage(key, flow) != sessions::Stage::Opening && !is_spliced(flow)
}

/// Whether its numbers are translated, by what only this machine knows: no other can go on with it.
fn is_spliced(flow: &Flow) -> bool {
    flow.state & flow_state::SPLICED != 0
}

fn place(flow: Flow, server: u32, age: u32, stamp: u32, now: u32) -> Flow {
    Flow {
        server,
        seen: now,
        born: now.saturating_sub(age),
        epoch: stamp,
        ..flow
    }
}

/// What is done to answers. Their way is asked for when the first one comes; where no route can say it,
/// it is to the client's own address on the link by the interface of `side`.
fn answers(key: &FlowKey, flow: &Flow, side: Option<(u32, [u8; 6])>) -> Flow {
    let known = side.filter(|_| flow.hop.dst != [0; 6]);
    let hop = known.map(|(ifindex, src)| abi::Hop {
        dst: flow.hop.dst,
        src,
        ifindex,
        ..abi::Hop::default()
    });
    let hop = abi::Hop {
        vlan: key.vlan,
        ..hop.unwrap_or_default()
    };
    let has = |bit: u32, then: u32| if flow.state & bit != 0 { then } else { 0 };
    Flow {
        src: key.dst,
        dst: key.src,
        sport: key.dport,
        dport: key.sport,
        hop,
        state: flow.state & (flow_state::CONFIRMED | flow_state::RESET)
            | has(flow_state::FIN, flow_state::PEER_FIN)
            | has(flow_state::PEER_FIN, flow_state::FIN),
        epoch: u32::MAX,
        dscp: 0,
        ..*flow
    }
}

/// The sum of 16-bit words with the carry added again, as the programs make it.
fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

fn words(address: &Address) -> impl Iterator<Item = u32> + '_ {
    let words = address.chunks_exact(2);
    words.map(|w| u32::from(u16::from_ne_bytes([w[0], w[1]])))
}

/// With what the rewrite adds to sums (RFC 1624): `find_deltas` of the programs.
fn with_deltas(key: &FlowKey, flow: Flow) -> Flow {
    let change = |from: &Address, to: &Address| -> u32 {
        let gone: u32 = words(from).map(|w| !w & 0xffff).sum();
        gone + words(to).sum::<u32>()
    };
    let address = fold(change(&key.src, &flow.src) + change(&key.dst, &flow.dst));
    let port = |from: u16, to: u16| u32::from(!from) + u32::from(to);
    Flow {
        address_delta: address,
        ip_delta: address,
        port_delta: fold(port(key.sport, flow.sport) + port(key.dport, flow.dport)),
        ..flow
    }
}

fn read_news(bytes: &[u8]) -> Option<News> {
    // SAFETY: any bytes are news, and the length is checked.
    (bytes.len() == size_of::<News>())
        .then(|| unsafe { bytes.as_ptr().cast::<News>().read_unaligned() })
}

/// A table of the kernel's as the ring that programs write to.
pub(crate) fn ring(map: aya::maps::Map) -> Result<RingBuf<MapData>, Error> {
    RingBuf::try_from(map).map_err(|e| because("table 'news'", &e))
}

#[cfg(test)]
mod tests;
