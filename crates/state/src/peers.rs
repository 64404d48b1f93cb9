//! `peers` sections while they run: whether this process knows what the others know, and what is to
//! be seen of each conversation (manual section 3.5; doc/peers-v2.0.txt, "initial full resync").

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long one step towards knowing everything is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// From whom a full copy comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The process that this one replaces.
    Predecessor,
    /// The peer of this place among the others.
    Peer(usize),
}

/// How this process comes to know what was known before it started.
///
/// The one it replaces is waited for, then one of the others is asked; who has not everything is
/// not asked again. When nobody is left in time, what there is counts as everything.
#[derive(Debug)]
pub struct Resync {
    phase: Phase,
    /// Who had not everything.
    tried: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Start { replaces: bool },
    Predecessor(Instant),
    Anybody(Instant),
    Asked(usize),
    Complete,
}

impl Resync {
    /// A process starts; whether it replaces another.
    pub fn new(replaces: bool) -> Resync {
        Resync {
            phase: Phase::Start { replaces },
            tried: Vec::new(),
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: Instant) {
        self.phase = match self.phase {
            Phase::Start { replaces: true } => Phase::Predecessor(now + PATIENCE),
            Phase::Start { replaces: false } => Phase::Anybody(now + PATIENCE),
            Phase::Predecessor(until) if now >= until => Phase::Anybody(now + PATIENCE),
            Phase::Anybody(until) if now >= until => Phase::Complete,
            other => other,
        };
    }

    /// A conversation with a peer begins, or goes on: whether it is to be asked for everything.
    pub fn ask(&mut self, peer: usize, now: Instant) -> bool {
        self.tick(now);
        let ask = matches!(self.phase, Phase::Anybody(_)) && !self.tried.contains(&peer);
        if ask {
            self.phase = Phase::Asked(peer);
        }
        ask
    }

    /// All that somebody knows has come; whether that was everything.
    pub fn learnt(&mut self, from: From, everything: bool, now: Instant) {
        let expected = match (self.phase, from) {
            (Phase::Asked(asked), From::Peer(peer)) => asked == peer,
            (Phase::Complete, _) => false,
            (_, From::Predecessor) => true,
            _ => false,
        };
        if !expected {
            return;
        }
        self.phase = match from {
            _ if everything => Phase::Complete,
            From::Predecessor => Phase::Predecessor(now + PATIENCE),
            From::Peer(peer) => {
                self.tried.push(peer);
                Phase::Anybody(now + PATIENCE)
            }
        };
    }

    /// A conversation is over.
    pub fn lost(&mut self, from: From, now: Instant) {
        match (self.phase, from) {
            (Phase::Asked(asked), From::Peer(peer)) if asked == peer => {
                self.phase = Phase::Anybody(now + PATIENCE);
            }
            (Phase::Predecessor(_), From::Predecessor) => {
                self.phase = Phase::Predecessor(now + PATIENCE);
            }
            _ => {}
        }
    }

    /// Whether there is nothing more to wait for.
    pub fn is_complete(&self) -> bool {
        self.phase == Phase::Complete
    }
}

/// How it stands with a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Nothing was tried yet.
    #[default]
    None,
    /// It is being connected to.
    Connecting,
    /// It could not be reached, or refused.
    Failed,
    /// Entries pass.
    Established,
}

/// One table in a conversation.
#[derive(Clone, Debug, Default)]
pub struct SharedTable {
    /// Its name here.
    pub name: Arc<str>,
    /// Its number here.
    pub local: u64,
    /// Its number there; 0 until it is known.
    pub remote: u64,
    /// The last change that the peer has confirmed, that was sent, and that came from it.
    pub acked: u64,
    /// See above.
    pub pushed: u64,
    /// See above.
    pub got: u32,
}

/// What is to be seen of a peer.
#[derive(Debug, Default)]
pub struct PeerState {
    /// How it stands.
    pub link: Link,
    /// Since when.
    pub since: Option<Instant>,
    /// Signs of life that were sent and received, and the times that there was none.
    pub heartbeats: [u64; 3],
    /// Connections that were tried, faults against the protocol, conversations given up for a
    /// newer one.
    pub connections: u64,
    /// See above.
    pub faults: u64,
    /// See above.
    pub collisions: u64,
    /// The tables of the conversation.
    pub tables: Vec<SharedTable>,
    /// The last change of each table that it has confirmed: where the next conversation goes on.
    pub acked: HashMap<Arc<str>, u64>,
}

/// A section in force.
#[derive(Debug)]
pub struct PeerSection {
    /// What it says.
    pub settings: Arc<model::Peers>,
    resync: Mutex<Resync>,
    /// The others, in the order of the section.
    others: Vec<Mutex<PeerState>>,
    /// Whether all that this process knows is with the one that replaces it, or nobody does.
    released: AtomicBool,
}

impl PeerSection {
    pub(crate) fn new(settings: Arc<model::Peers>, resync: Resync) -> PeerSection {
        PeerSection {
            others: settings.others.iter().map(|_| Mutex::default()).collect(),
            settings,
            resync: Mutex::new(resync),
            released: AtomicBool::new(false),
        }
    }

    /// How far it is known what the others know.
    pub fn resync(&self) -> MutexGuard<'_, Resync> {
        self.resync.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be seen of the peer at a place.
    pub fn peer(&self, at: usize) -> Option<MutexGuard<'_, PeerState>> {
        let peer = self.others.get(at)?;
        Some(peer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The place of a peer by its name.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.settings.others.iter().position(|p| *p.name == *name)
    }

    /// Nothing more has to be told before the process may end.
    pub fn release(&self) {
        self.released.store(true, Relaxed);
    }

    /// Whether that is so.
    pub fn is_released(&self) -> bool {
        self.released.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Each row: what happens, and whether everything is known then.
    #[test]
    fn everything_is_asked_of_one_after_the_other() {
        let start = Instant::now();
        let mut r = Resync::new(false);
        assert!(r.ask(0, start) && !r.is_complete());
        assert!(!r.ask(1, start), "one is asked at a time");
        r.learnt(From::Peer(1), true, start);
        assert!(
            !r.is_complete(),
            "somebody who was not asked does not count"
        );
        r.learnt(From::Peer(0), false, start);
        assert!(
            !r.ask(0, start),
            "who had not everything is not asked again"
        );
        assert!(r.ask(1, start));
        r.lost(From::Peer(1), start + SECOND);
        assert!(
            r.ask(1, start + SECOND * 5),
            "whose line broke may be asked again"
        );
        r.learnt(From::Peer(1), true, start);
        assert!(r.is_complete());
    }

    #[test]
    fn nobody_in_time_means_that_there_is_nothing_to_learn() {
        let start = Instant::now();
        let mut r = Resync::new(false);
        r.tick(start);
        r.tick(start + SECOND * 4);
        assert!(!r.is_complete());
        r.tick(start + SECOND * 5);
        assert!(r.is_complete() && !r.ask(0, start));
    }

    #[test]
    fn a_process_that_is_replaced_goes_before_all_others() {
        let start = Instant::now();
        let mut r = Resync::new(true);
        r.tick(start);
        assert!(!r.ask(0, start + SECOND * 4));
        r.lost(From::Predecessor, start + SECOND * 4);
        assert!(!r.ask(0, start + SECOND * 8), "it may come again");
        r.learnt(From::Predecessor, true, start + SECOND * 8);
        assert!(r.is_complete());
        let mut r = Resync::new(true);
        r.tick(start);
        r.learnt(From::Predecessor, false, start);
        assert!(r.ask(0, start + SECOND * 5), "then the others are asked");
    }
}
