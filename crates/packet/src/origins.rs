//! Which services expect answers late: sessions of theirs take one entry of the table until the first
//! answer comes, so that half-open connections cost half.
//!
//! That answer names a server only. It belongs to a session where one service alone leads to that server's
//! port, so that the session's first packet can be told from it.

use crate::abi::{self, Origin, OriginKey, ServiceKey};
use crate::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};

/// Finds them, and marks their services. `vlans` are those that servers' packets leave by.
pub(crate) fn find(plan: &mut Plan, vlans: &[u16]) {
    let mut leads: BTreeMap<OriginKey, ServiceKey> = BTreeMap::new();
    let mut early: BTreeSet<ServiceKey> = BTreeSet::new();
    for (key, planned) in &plan.services {
        let service = &planned.service;
        let translates = service.forward == abi::forward::NAT;
        let exact = key.bits == 0 && key.place == 0 && key.port != 0 && key.proto != 0;
        if !translates || !exact {
            continue;
        }
        // Answers to what was under way already need not look like first ones, and a guard may have answered
        // the client before the server does. Half-open sessions from before it was so are answered all the same.
        let at_once =
            planned.guarded || service.pool_size != 0 || service.no_flow == abi::no_flow::HASH;
        let Some((frontend, _)) = plan.tables.get(planned.table) else {
            continue;
        };
        let targets = plan.targets.iter().zip(vlans);
        let targets = targets.filter(|(t, _)| t.frontend.name == *frontend && t.ip.is_some());
        for (target, vlan) in targets {
            let origin = OriginKey {
                address: target.entry.address,
                port: match target.entry.port {
                    0 => key.port,
                    port => port,
                },
                vlan: *vlan,
                proto: key.proto,
                pad: [0; 3],
            };
            let first = *leads.entry(origin).or_insert(*key);
            if first != *key {
                early.extend([first, *key]);
            }
            if at_once {
                early.insert(*key);
            }
        }
    }
    let late: BTreeSet<ServiceKey> = leads.values().copied().collect();
    let late: BTreeSet<ServiceKey> = late.difference(&early).copied().collect();
    for key in &late {
        if let Some(planned) = plan.services.get_mut(key) {
            planned.service.late = 1;
        }
    }
    // Those that have become ambiguous stay: half-open sessions of before may still be answered.
    for (origin, key) in leads {
        let vlan = plan
            .vips
            .get(&key.address)
            .map_or(0, |kinds| kinds >> abi::vip::VLAN_SHIFT);
        let service = Origin {
            address: key.address,
            port: key.port,
            vlan: vlan as u16,
        };
        plan.origins.insert(origin, service);
    }
}
