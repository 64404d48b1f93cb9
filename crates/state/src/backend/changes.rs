//! What a change of a server's state or weight means for its backend.
//!
//! A change is noted at once for the server that changed: its sessions end, it is counted, whoever waits gets its
//! place. To look at all servers, from which follows what schedulers look at, is put off where there are many:
//! so many changes, and choices after them, are saved up that a look costs each of them [`SHARE`]
//! servers, however many there are. Meanwhile a choice passes over who has gone, and where it finds nobody else it
//! looks at once.

use super::census::Census;
use super::choose::Active;
use super::{Backend, Turns, lock};
use crate::server::Server;
use arc_swap::Guard;
use model::MarkedDown;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard, TryLockError};
use std::time::Instant;

/// Servers that one change pays for: with no more than these all are looked at for each.
const SHARE: usize = 16;

/// Whose sessions end, as far as the configuration wants it: those of servers that have just gone down, and
/// those of backup servers when one that is not has just come up. A turn is noted before servers are weighed,
/// because a slow start begins by it; sessions end once the choice of servers knows of it, because they may
/// go on elsewhere.
#[derive(Default)]
struct Ending<'a> {
    gone: Vec<&'a Server>,
    relieved: bool,
}

impl<'a> Ending<'a> {
    fn turn(&mut self, server: &'a Server) {
        let Some(up) = server.turned() else {
            return;
        };
        let settings = server.settings();
        if !up && settings.on_marked_down == Some(MarkedDown::ShutdownSessions) {
            self.gone.push(server);
        }
        self.relieved |= up && settings.shutdown_backup_sessions && !settings.backup;
    }
}

impl Backend {
    /// Who may be chosen, with all changes.
    fn caught_up(self: &Arc<Self>) -> Guard<Arc<Active>> {
        self.catch_up();
        self.active.load()
    }

    /// Servers that the scheduler may choose now.
    pub fn usable(self: &Arc<Self>) -> usize {
        self.caught_up().members.len()
    }

    /// Whether there is any.
    pub fn serves(&self) -> bool {
        lock(&self.census).serves()
    }

    /// How many servers, and how many backup servers, are well enough to be chosen.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let percent = self.side().eject.map_or(0, |e| e.at_most);
        let census = lock(&self.census);
        let of = |backup| census.choosable(backup, percent);
        (of(false), of(true))
    }

    /// Those that the scheduler may choose in the order of their turns, one round of it: indices of
    /// [`Backend::servers`].
    pub fn turns(self: &Arc<Self>) -> Vec<u32> {
        let active = self.caught_up();
        let round = active.wheel.len() as u64;
        (0..round).filter_map(|n| active.wheel.at(n)).collect()
    }

    /// The same servers in the order of the configuration.
    pub fn choosable(self: &Arc<Self>) -> Vec<u32> {
        self.caught_up().members.clone()
    }

    /// Those servers with what counts of their weights, in hundredths.
    pub fn shared(self: &Arc<Self>) -> Vec<(u32, u32)> {
        let active = self.caught_up();
        let members = active.members.iter().copied();
        members.zip(active.shares.iter().copied()).collect()
    }

    /// The sum of their weights, without changes that are put off.
    pub fn total_weight(&self) -> u64 {
        self.active.load().total_weight
    }

    /// How often all its servers were looked at.
    pub fn walks(&self) -> u64 {
        lock(&self.census).walks
    }

    /// Its place among the servers, if this very server is one of them.
    pub(crate) fn place(&self, server: &Server) -> Option<usize> {
        let found = self
            .places
            .binary_search_by_key(&server.uid, |(uid, _)| *uid);
        let (_, place) = self.places.get(found.ok()?)?;
        let same = |s: &Arc<Server>| std::ptr::eq(&**s, server);
        let place = *place as usize;
        self.servers.get(place).is_some_and(same).then_some(place)
    }

    /// Whether this very server is one of them.
    pub fn holds(&self, server: &Server) -> bool {
        self.place(server).is_some()
    }

    /// Looks at all servers. To be called after changes of several; [`Backend::note`] is for one.
    pub fn refresh(self: &Arc<Self>) {
        self.look(lock(&self.census));
    }

    /// The same, if it has been put off.
    pub fn catch_up(self: &Arc<Self>) {
        if self.is_behind() {
            self.refresh();
        }
    }

    /// Whether servers have changed since all were looked at.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Relaxed) > 0
    }

    fn look(self: &Arc<Self>, census: MutexGuard<'_, Census>) {
        self.look_and_end(census, Ending::default());
    }

    fn look_and_end<'a>(
        self: &'a Arc<Self>,
        mut census: MutexGuard<'_, Census>,
        mut ending: Ending<'a>,
    ) {
        // First: a change that comes while servers are looked at wants another look.
        self.behind.store(0, Relaxed);
        self.servers.iter().for_each(|s| ending.turn(s));
        self.pardon();
        self.active.store(Arc::new(self.active()));
        census.take(&self.servers);
        drop(census);
        self.end_sessions(ending);
        for server in &self.servers {
            if self.live.queue.len() == 0 {
                break;
            }
            self.serve_queue_at(server);
        }
    }

    /// Takes note of a change of this server's state or weight.
    pub fn note(self: &Arc<Self>, server: &Server) {
        let place = self.place(server);
        let Some((place, server)) = place.and_then(|p| Some((p, self.servers.get(p)?))) else {
            // Another configuration's.
            return;
        };
        let mut ending = Ending::default();
        ending.turn(server);
        server.weigh();
        let mut census = lock(&self.census);
        census.note(place, server);
        if self.pay() {
            return self.look_and_end(census, ending);
        }
        drop(census);
        self.end_sessions(ending);
        self.serve_queue_at(server);
    }

    /// Takes note of a change of what its checks, its agent or an operator say of this server.
    pub(crate) fn take_change(self: &Arc<Self>, server: &Server) {
        server.mirror_health();
        self.note(server);
        let at = server.health().changed;
        self.note_turn(at);
    }

    /// Pays for the next look at all servers; whether that is due.
    fn pay(&self) -> bool {
        let paid = self.behind.fetch_add(1, Relaxed) as usize + 1;
        paid.saturating_mul(SHARE) >= self.servers.len()
    }

    /// The part of a choice in looking at all servers after changes: nothing where there were none.
    pub(super) fn pay_for_choice(self: &Arc<Self>) {
        // Who stays with one server must hear of each change: it does not go back to who returns.
        let due = self.is_behind() && (self.pay() || self.active.load().is_sticky());
        if !due {
            return;
        }
        // Somebody who looks now has the next choice know; this one passes over who has gone.
        match self.census.try_lock() {
            Ok(census) => self.look(census),
            Err(TryLockError::Poisoned(census)) => self.look(census.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    pub(crate) fn census(&self) -> MutexGuard<'_, Census> {
        lock(&self.census)
    }

    fn serve_queue_at(self: &Arc<Self>, server: &Arc<Server>) {
        while self.live.queue.len() > 0
            && server.schedulable()
            && self.has_room(server)
            && self.serve_queue(server)
        {}
    }

    /// Notes whether it is able to serve, after a change of one of its servers at that time.
    fn note_turn(&self, at: Option<Instant>) {
        let mut turns = lock(&self.live.turns);
        let down = !self.serves() && !self.servers.is_empty();
        if down == turns.down {
            return;
        }
        turns.down = down;
        if down {
            turns.went_down += 1;
        } else if let (Some(since), Some(now)) = (turns.changed, at) {
            turns.downtime += now.saturating_duration_since(since);
        }
        turns.changed = at.or(turns.changed);
    }

    /// When it was able to serve, and when not.
    pub fn ups_and_downs(&self) -> Turns {
        *lock(&self.live.turns)
    }

    fn end_sessions(&self, ending: Ending<'_>) {
        ending.gone.iter().for_each(|s| s.cuts.cut());
        if ending.relieved {
            self.relieve_backups();
        }
    }

    /// Of thousands of servers that come up, the first finds sessions on backup servers.
    fn relieve_backups(&self) {
        if !self.live.on_backup.swap(false, Relaxed) {
            return;
        }
        let backups = self.servers.iter().filter(|s| s.is_backup());
        backups.for_each(|s| s.cuts.cut());
    }
}
