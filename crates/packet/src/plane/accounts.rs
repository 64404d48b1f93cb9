//! What the programs counted, brought into the counters that the statistics show.

use super::Plane;
use crate::abi::Traffic;
use state::{Process, ProxyCounters};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

impl Plane {
    pub(super) fn traffic_of(&mut self, at: u32) -> Traffic {
        let mut sum = Traffic::default();
        let Ok(table) = self.kernel.traffic() else {
            return sum;
        };
        let Ok(parts) = table.get(&at, 0) else {
            return sum;
        };
        for part in parts.iter() {
            sum.sessions += part.sessions;
            sum.packets_in += part.packets_in;
            sum.bytes_in += part.bytes_in;
            sum.packets_out += part.packets_out;
            sum.bytes_out += part.bytes_out;
            sum.resets += part.resets;
        }
        sum
    }

    /// Brings what the programs counted into the counters that the statistics show.
    pub fn account(&mut self, process: &Process, now: Instant) {
        let now_ms = process.millis(now);
        let writer = process.kernel_writer();
        let places: Vec<Option<u32>> = self
            .plan
            .targets
            .iter()
            .map(|t| self.places.get(&t.identity).copied())
            .collect();
        let mut fronts: HashMap<Arc<str>, u64> = HashMap::new();
        let mut backs: HashMap<Arc<str>, u64> = HashMap::new();
        let mut servers: HashMap<u32, u64> = HashMap::new();
        for (nth, at) in places.into_iter().enumerate() {
            let Some(at) = at else { continue };
            let all = self.traffic_of(at);
            let before = self.traffic.insert(at, all).unwrap_or_default();
            let Some(target) = self.plan.targets.get(nth) else {
                continue;
            };
            let live = self.live.at(at).map_or(0, |n| n.load(Relaxed));
            *fronts.entry(Arc::clone(&target.frontend.name)).or_insert(0) += u64::from(live);
            *backs.entry(Arc::clone(&target.backend.name)).or_insert(0) += u64::from(live);
            *servers.entry(target.server.uid).or_insert(0) += u64::from(live);
            let sessions = all.sessions.wrapping_sub(before.sessions);
            let add = |counters: &ProxyCounters| {
                counters.stot.add(sessions);
                counters.conn_tot.add(sessions);
                counters.bin.add(all.bytes_in.wrapping_sub(before.bytes_in));
                counters
                    .bout
                    .add(all.bytes_out.wrapping_sub(before.bytes_out));
                if sessions > 0 {
                    counters.sess_rate.events(now_ms, sessions);
                    counters.conn_rate.events(now_ms, sessions);
                    counters.last_session.raise(now_ms + 1);
                }
            };
            add(target.frontend.counters().of(writer));
            for counters in [
                target.backend.counters().of(writer),
                target.server.counters.of(writer),
            ] {
                add(counters);
                counters.lbtot.add(sessions);
                counters.connect.add(sessions);
            }
        }
        let dropped = self.guarded(process);
        for (name, _) in &self.plan.tables {
            let frontend = self.plan.targets.iter().map(|t| &t.frontend);
            if let (Some(n), Some(frontend)) = (
                dropped.get(name),
                frontend.into_iter().find(|f| f.name == *name),
            ) {
                frontend.counters().of(writer).dreq.add(*n);
            }
        }
        for target in &self.plan.targets {
            let of =
                |map: &HashMap<Arc<str>, u64>, name: &Arc<str>| map.get(name).copied().unwrap_or(0);
            target
                .frontend
                .sessions()
                .set(of(&fronts, &target.frontend.name));
            target
                .backend
                .sessions()
                .set(of(&backs, &target.backend.name));
            target
                .server
                .sessions
                .set(servers.get(&target.server.uid).copied().unwrap_or(0));
        }
    }
}
