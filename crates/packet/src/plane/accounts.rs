//! What the programs counted, brought into the counters that the statistics show.

use super::Plane;
use crate::abi::Traffic;
use model::Balance;
use state::{Backend, Process, ProxyCounters, Server};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

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

    /// Brings what the programs counted into the counters that the statistics show. Rates are those of
    /// the time since the last call.
    pub fn account(&mut self, process: &Process, now: Instant) {
        let now_ms = process.millis(now);
        let since = self.accounted.replace(now);
        let elapsed = since.map(|s| now.saturating_duration_since(s));
        let writer = process.kernel_writer();
        let places: Vec<Option<u32>> = self
            .plan
            .targets
            .iter()
            .map(|t| self.places.get(&t.identity).copied())
            .collect();
        let mut fronts: HashMap<Arc<str>, Sum> = HashMap::new();
        let mut backs: HashMap<Arc<str>, Sum> = HashMap::new();
        let mut servers: HashMap<u32, Sum> = HashMap::new();
        for (nth, at) in places.into_iter().enumerate() {
            let Some(at) = at else { continue };
            let all = self.traffic_of(at);
            let before = self.traffic.insert(at, all).unwrap_or_default();
            let Some(target) = self.plan.targets.get(nth) else {
                continue;
            };
            let live = self.live.at(at).map_or(0, |n| n.load(Relaxed));
            for sum in [
                fronts.entry(Arc::clone(&target.frontend.name)).or_default(),
                backs.entry(Arc::clone(&target.backend.name)).or_default(),
                servers.entry(target.server.uid).or_default(),
            ] {
                sum.add(live, &all, &before);
            }
        }
        self.measure_bytes(&servers, now_ms);
        let of = |map: &mut HashMap<Arc<str>, Sum>, name: &Arc<str>| map.remove(name);
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
            // Each of them once, whichever of its servers comes first.
            let (frontend, backend) = (&target.frontend, &target.backend);
            if let Some(sum) = of(&mut fronts, &frontend.name) {
                frontend.sessions().set(sum.live);
                sum.enter(frontend.counters().of(writer), now_ms, elapsed);
            }
            let chosen = |sum: &Sum, counters: &ProxyCounters| {
                sum.enter(counters, now_ms, elapsed);
                counters.lbtot.add(sum.sessions);
                counters.connect.add(sum.sessions);
            };
            if let Some(sum) = of(&mut backs, &backend.name) {
                backend.sessions().set(sum.live);
                chosen(&sum, backend.counters().of(writer));
            }
            if let Some(sum) = servers.remove(&target.server.uid) {
                target.server.sessions.set(sum.live);
                chosen(&sum, target.server.counters.of(writer));
            }
        }
    }
}

impl Plane {
    /// Has `balance bandwidth` know what servers have moved.
    fn measure_bytes(&self, servers: &HashMap<u32, Sum>, now_ms: u64) {
        type Moved = (Arc<Backend>, HashMap<u32, (Arc<Server>, u64)>);
        let mut moved: HashMap<&str, Moved> = HashMap::new();
        for target in &self.plan.targets {
            let (backend, server) = (&target.backend, &target.server);
            let Some(sum) = servers.get(&server.uid) else {
                continue;
            };
            if !matches!(backend.side().balance, Balance::Bandwidth) {
                continue;
            }
            let bytes = sum.bytes[0].saturating_add(sum.bytes[1]);
            let of = moved.entry(&backend.name);
            let (_, of) = of.or_insert_with(|| (Arc::clone(backend), HashMap::new()));
            of.insert(server.uid, (Arc::clone(server), bytes));
        }
        for (backend, servers) in moved.into_values() {
            backend.moved_packets(servers.into_values(), now_ms);
        }
    }
}

/// What has come for one proxy or server since the last look.
#[derive(Default)]
struct Sum {
    live: u64,
    sessions: u64,
    packets: [u64; 2],
    bytes: [u64; 2],
}

impl Sum {
    fn add(&mut self, live: u32, all: &Traffic, before: &Traffic) {
        self.live += u64::from(live);
        self.sessions += all.sessions.wrapping_sub(before.sessions);
        self.packets[0] += all.packets_in.wrapping_sub(before.packets_in);
        self.packets[1] += all.packets_out.wrapping_sub(before.packets_out);
        self.bytes[0] += all.bytes_in.wrapping_sub(before.bytes_in);
        self.bytes[1] += all.bytes_out.wrapping_sub(before.bytes_out);
    }

    fn enter(&self, counters: &ProxyCounters, now_ms: u64, elapsed: Option<Duration>) {
        let packets = counters.packets.get_or_init(Box::default);
        counters.stot.add(self.sessions);
        counters.conn_tot.add(self.sessions);
        counters.bin.add(self.bytes[0]);
        counters.bout.add(self.bytes[1]);
        packets.packets_in.add(self.packets[0]);
        packets.packets_out.add(self.packets[1]);
        if self.sessions > 0 {
            counters.last_session.raise(now_ms + 1);
        }
        let Some(ms) = elapsed.map(|e| u64::try_from(e.as_millis()).unwrap_or(u64::MAX)) else {
            return;
        };
        let rate = |n: u64| n.saturating_mul(1000) / ms.max(1);
        for (rates, n) in [
            (&counters.sess_rate, self.sessions),
            (&counters.conn_rate, self.sessions),
            (&packets.packets_in_rate, self.packets[0]),
            (&packets.packets_out_rate, self.packets[1]),
            (&packets.bits_in_rate, self.bytes[0].saturating_mul(8)),
            (&packets.bits_out_rate, self.bytes[1].saturating_mul(8)),
        ] {
            rates.measured(now_ms, rate(n));
        }
    }
}
