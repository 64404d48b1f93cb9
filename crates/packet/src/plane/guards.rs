//! The guards of frontends: their tables written, what they did told.

use super::Plane;
use crate::abi::{FlowKey, flow_state};
use crate::guard::abi::{self, Counts, Guard, Limit, flag, limit};
use crate::guard::{Kept, LISTS, Lists, Tables, counts, set_guard};
use crate::kernel::Error;
use model::{LimitOf, LimitWhat};
use rules::PatternList;
use state::Process;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

/// What stands in the guard's tables.
#[derive(Default)]
pub struct Guards {
    kept: Kept,
    lists: Lists,
    tables: Tables,
    /// By frontend: its place, what stands there, and what it had done when it was last accounted.
    places: BTreeMap<Arc<str>, Place>,
    /// What cookies are made with where no file says it.
    key: Option<[u64; 2]>,
}

struct Place {
    at: u32,
    entry: Guard,
    accounted: Counts,
}

impl Guards {
    /// The place of a frontend's guard; 0: none.
    pub fn of(&self, frontend: &str) -> u32 {
        self.places.get(frontend).map_or(0, |p| p.at)
    }

    /// The key that is drawn for those who name none.
    fn key(&mut self) -> [u64; 2] {
        *self.key.get_or_insert_with(|| {
            let mut key = [0u64; 2];
            // SAFETY: the pointer is to as many bytes as are asked for. So few always come whole, once the
            // machine has any; before that a key of zeros is as good as what follows from nothing.
            unsafe { libc::getrandom(key.as_mut_ptr().cast(), size_of_val(&key), 0) };
            key
        })
    }
}

/// The bits of these lists among all that are followed.
fn bits(lists: &[Arc<PatternList>], of: &[Arc<rules::Matcher>]) -> u32 {
    let at = |m: &Arc<rules::Matcher>| lists.iter().position(|l| Arc::ptr_eq(l, m.list()));
    of.iter().filter_map(at).fold(0, |bits, at| bits | 1 << at)
}

fn entry(guard: &model::Guard, lists: &[Arc<PatternList>], key: [u64; 2]) -> Guard {
    let mut entry = Guard {
        deny: bits(lists, &guard.deny),
        allow: bits(lists, &guard.allow),
        ..Guard::default()
    };
    for l in &guard.limits {
        let (flag, limits) = match l.of {
            LimitOf::Source => (flag::SOURCES, &mut entry.source),
            LimitOf::Service => (flag::SERVICE, &mut entry.service),
        };
        let at = match l.what {
            LimitWhat::Packets => limit::PACKETS,
            LimitWhat::Syns => limit::SYNS,
            LimitWhat::Bytes => limit::BYTES,
        };
        if let Some(place) = limits.get_mut(at) {
            *place = Limit::new(l.rate, l.burst);
        }
        entry.flags |= flag;
    }
    if let Some(cookies) = guard.cookies {
        entry.flags |= flag::COOKIES;
        if cookies.transparent {
            entry.flags |= flag::SPLICE;
        }
        if cookies.above > 0 {
            entry.calm = Limit::new(cookies.above, cookies.above);
        }
        entry.key = match cookies.key {
            Some([a, b, c, d, e, f, g, h, rest @ ..]) => {
                let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
                [first, u64::from_le_bytes(rest)]
            }
            None => key,
        };
    }
    entry
}

/// The minute of the calendar, which machines with a right clock share.
fn minute() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |t| (t.as_secs() / 60) as u32)
}

impl Plane {
    /// Brings lists and guards to what the plan says.
    pub(super) fn write_guards(&mut self, faults: &mut Vec<String>) -> Result<(), Error> {
        let known = &mut self.written.guards;
        if self.plan.guards.is_empty() && known.places.is_empty() {
            return Ok(());
        }
        let mut lists: Vec<Arc<PatternList>> = Vec::new();
        let guards = self.plan.guards.values();
        for matcher in guards.flat_map(|g| g.deny.iter().chain(&g.allow)) {
            if !lists.iter().any(|l| Arc::ptr_eq(l, matcher.list())) {
                lists.push(Arc::clone(matcher.list()));
            }
        }
        if lists.len() > LISTS {
            faults.push(format!(
                "guards name {} files: there is room for {LISTS}, put some together",
                lists.len()
            ));
            lists.truncate(LISTS);
        }
        if let Err(e) = known.kept.follow(&self.pins.changes(), &lists) {
            faults.push(format!(
                "changes of the guard's lists are not kept for the next start: {e}"
            ));
        }
        let changes = known.lists.follow(&lists);
        let written = known
            .tables
            .write(&self.kernel, &known.lists, &changes, minute());
        let stale = written.is_err();
        match written {
            Ok(said) => faults.extend(said),
            Err(e) => {
                // Read anew, and written as a whole, at the next look.
                known.lists = Lists::default();
                faults.push(e.0);
            }
        }

        let key = known.key();
        known
            .places
            .retain(|name, _| self.plan.guards.contains_key(name));
        let mut used: BTreeSet<u32> = known.places.values().map(|p| p.at).collect();
        for (name, guard) in &self.plan.guards {
            let mut entry = entry(guard, &lists, key);
            if stale {
                // Bits mean what was written last.
                let before = known.places.get(name).map(|p| p.entry);
                (entry.deny, entry.allow) = before.map_or((0, 0), |e| (e.deny, e.allow));
            }
            if let Some(place) = known.places.get_mut(name) {
                if place.entry != entry {
                    set_guard(&self.kernel, place.at, &entry)?;
                    place.entry = entry;
                }
                continue;
            }
            let Some(at) = (1..abi::GUARDS).find(|at| !used.contains(at)) else {
                faults.push(format!(
                    "'{name}' has no guard: there is room for those of {} frontends",
                    abi::GUARDS - 1
                ));
                continue;
            };
            used.insert(at);
            set_guard(&self.kernel, at, &entry)?;
            // What was counted for another is not ours to report.
            let accounted = counts(&mut self.kernel, at);
            let place = Place {
                at,
                entry,
                accounted,
            };
            known.places.insert(Arc::clone(name), place);
        }
        Ok(())
    }

    /// Packets that guards dropped since they were last asked, by frontend; all that they did is for whoever
    /// shows it.
    pub(super) fn guarded(&mut self, process: &Process) -> BTreeMap<Arc<str>, u64> {
        let mut dropped = BTreeMap::new();
        let mut shown = Vec::new();
        for (name, place) in &mut self.written.guards.places {
            let now = counts(&mut self.kernel, place.at);
            let both = now.n.iter().zip(place.accounted.n).take(abi::DROPPED);
            let n = both.map(|(now, before)| now.wrapping_sub(before)).sum();
            place.accounted = now;
            dropped.insert(Arc::clone(name), n);
            let reasons = abi::REASONS.into_iter().zip(now.n).collect();
            shown.push((Arc::clone(name), reasons));
        }
        process.guarded.set(shown);
        dropped
    }

    /// Removes splices whose sessions are gone.
    pub(super) fn forget_splices(&mut self) -> Result<(), Error> {
        let keys: Vec<FlowKey> = self.kernel.splices()?.keys().flatten().collect();
        let flows = self.kernel.flows()?;
        let spliced = |key: &FlowKey| {
            let flow = flows.get(key, 0);
            flow.is_ok_and(|f| f.state & flow_state::SPLICED != 0)
        };
        let gone: Vec<FlowKey> = keys.into_iter().filter(|key| !spliced(key)).collect();
        let mut splices = self.kernel.splices()?;
        for key in gone {
            // It may have gone by itself.
            let _ = splices.remove(&key);
        }
        Ok(())
    }

    /// What guards did: a line for each frontend and what it did.
    pub fn guard_lines(&mut self) -> String {
        let mut out = String::new();
        for (name, place) in &self.written.guards.places {
            let counts = counts(&mut self.kernel, place.at);
            for (reason, n) in abi::REASONS.iter().zip(counts.n) {
                out.push_str(&format!("fe={name} {reason}: {n}\n"));
            }
        }
        out
    }
}
