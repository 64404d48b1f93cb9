//! Virtual routers, and how far their sessions are towards the peers. HAProxy has none, so that the
//! names are our own; nothing stands here without a `vrrp` section.

use super::{COUNTER, GAUGE, head};
use crate::typed::quoted;
use state::VrrpStatus;
use std::fmt::Write;

const STATES: [&str; 3] = ["initialize", "backup", "active"];

pub(super) fn of_routers(out: &mut String, routers: &[VrrpStatus]) {
    let Some(first) = routers.first() else { return };
    let label = |v: &VrrpStatus| format!("section={}", quoted(&v.name));
    let name = "mulgil_vrrp_state";
    head(
        out,
        name,
        "State of the virtual router: 1 for the one it is in.",
        GAUGE,
    );
    for router in routers {
        for state in STATES {
            let is = u8::from(router.state == state);
            let _ = writeln!(out, "{name}{{{},state=\"{state}\"}} {is}", label(router));
        }
    }
    let name = "mulgil_vrrp_priority";
    head(out, name, "Priority that is advertised.", GAUGE);
    for router in routers {
        let _ = writeln!(out, "{name}{{{}}} {}", label(router), router.priority);
    }
    for (at, (counter, _)) in first.counters.iter().enumerate() {
        let name = format!("mulgil_vrrp_{counter}_total");
        head(out, &name, &format!("'{counter}' of 'show vrrp'."), COUNTER);
        for router in routers {
            let value = router.counters.get(at).map_or(0, |(_, value)| *value);
            let _ = writeln!(out, "{name}{{{}}} {value}", label(router));
        }
    }
    sync(out, routers);
}

fn sync(out: &mut String, routers: &[VrrpStatus]) {
    let all: Vec<(String, &state::SyncStatus)> = routers
        .iter()
        .flat_map(|v| v.sync.iter().map(move |s| (v, s)))
        .map(|(v, s)| {
            let peer = quoted(&s.peer.to_string());
            let table = quoted(s.table);
            (
                format!("section={},peer={peer},table={table}", quoted(&v.name)),
                s,
            )
        })
        .collect();
    let Some((_, first)) = all.first() else {
        return;
    };
    let name = "mulgil_sync_in_step";
    head(
        out,
        name,
        "Whether the copy is up to date, in either direction.",
        GAUGE,
    );
    for (labels, s) in &all {
        for (direction, state) in [("sending", s.sending), ("receiving", s.receiving)] {
            let is = u8::from(state == "in-sync");
            let _ = writeln!(out, "{name}{{{labels},direction=\"{direction}\"}} {is}");
        }
    }
    let name = "mulgil_sync_lag_seconds";
    head(
        out,
        name,
        "How long the oldest change has waited for the peer.",
        GAUGE,
    );
    for (labels, s) in &all {
        let _ = writeln!(out, "{name}{{{labels}}} {:.3}", s.lag.as_secs_f64());
    }
    let name = "mulgil_sync_backlog_bytes";
    head(out, name, "Changes that wait for the peer.", GAUGE);
    for (labels, s) in &all {
        let _ = writeln!(out, "{name}{{{labels}}} {}", s.backlog);
    }
    for (at, (counter, _)) in first.counters.iter().enumerate() {
        let name = format!("mulgil_sync_{counter}_total");
        head(out, &name, &format!("'{counter}' of 'show vrrp'."), COUNTER);
        for (labels, s) in &all {
            let value = s.counters.get(at).map_or(0, |(_, value)| *value);
            let _ = writeln!(out, "{name}{{{labels}}} {value}");
        }
    }
}
