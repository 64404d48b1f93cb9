//! How much is looked at in one go, so that as many sessions can end in a second as begin.

use super::{Error, GLANCE, Plane, abi, because, sessions, table};
use state::Process;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long removing may go on at a time, about, while everything else waits.
const HURRY: Duration = Duration::from_millis(20);

impl Plane {
    /// Looks at some more sessions and removes those that are over. Where that is much of what it
    /// meets it goes on for a while. Returns how many it removed.
    pub fn tidy(&mut self, process: &Process) -> Result<usize, Error> {
        let end = Instant::now() + HURRY;
        let mut removed = 0;
        loop {
            let more = self.tidy_some(process)?;
            removed += more;
            if more < GLANCE / 8 || Instant::now() >= end {
                return Ok(removed);
            }
        }
    }

    /// Looks at some more sessions and removes those that are over. Returns how many it removed.
    fn tidy_some(&mut self, process: &Process) -> Result<usize, Error> {
        let timeouts = self.timeouts();
        let roles = process.replication.roles();
        let (entries, over) = self
            .walk
            .next(self.flows.as_fd())
            .map_err(|e| because("sessions cannot be read", &e))?;
        let now = sessions::now();
        let splices = self.kernel.descriptor("splices")?;
        let mut table = self.kernel.flows()?;
        let mut removed = 0;
        for (key, flow) in entries {
            let limits = timeouts.get(&flow.server).copied().unwrap_or_default();
            let patience = sessions::patience(sessions::stage(&key, &flow), &limits);
            let mut idle = sessions::idle(&flow, now);
            let other = sessions::other_key(&key, &flow);
            let other = other.and_then(|k| Some((k, table.get(&k, 0).ok()?)));
            if let Some((_, other)) = &other {
                idle = idle.min(sessions::idle(other, now));
            }
            if sessions::is_forward(&flow) {
                *self.met.entry(flow.server).or_insert(0) += 1;
            } else if other.is_some_and(|(_, o)| sessions::is_forward(&o)) {
                // The direction from the client decides for both.
                continue;
            }
            if let Some(role) = roles.get(&abi::ip(&key.dst)) {
                if role.copied && !role.active {
                    // Whoever serves it sees its packets, and says when it is over.
                    continue;
                }
                // A packet may have come while another machine served it.
                let served = role.since.elapsed().as_secs();
                idle = idle.min(u32::try_from(served).unwrap_or(u32::MAX));
            }
            if idle < patience {
                continue;
            }
            if sessions::is_forward(&flow) && !roles.is_empty() && !sessions::is_told(&flow) {
                self.exchange.removed(key);
            }
            if flow.state & abi::flow_state::COUNTED != 0
                && let Some(live) = self.live.at(flow.server)
            {
                let _ = live.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
            }
            for key in std::iter::once(key).chain(other.map(|(k, _)| k)) {
                // First, or it could be that of a session that has just begun with this key.
                if flow.state & abi::flow_state::SPLICED != 0 {
                    table::remove(splices.as_fd(), &key);
                }
                removed += usize::from(table.remove(&key).is_ok());
            }
        }
        if over {
            self.met_before = std::mem::take(&mut self.met);
            self.release_places()?;
            self.forget_splices()?;
        }
        Ok(removed)
    }

    /// Looks at some more clients and forgets the servers of those that have not come for long.
    pub fn tidy_sources(&mut self) -> Result<(), Error> {
        if self.sizes.features & abi::feature::SOURCES == 0 {
            return Ok(());
        }
        let (entries, _) = self
            .sources_walk
            .next(self.sources.as_fd())
            .map_err(|e| because("clients' servers cannot be read", &e))?;
        let now = sessions::now();
        for (key, _) in entries.iter().filter(|(_, kept)| kept.until <= now) {
            table::remove(self.sources.as_fd(), key);
        }
        Ok(())
    }
}
