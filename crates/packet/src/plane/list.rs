//! Sessions and events as the control socket shows them, and sessions that it ends.

use super::{GLANCE, Plane};
use crate::abi::{self, Flow, FlowKey};
use crate::kernel::{Error, because};
use crate::sessions;
use crate::table::Walk;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;

/// A session's line, without its end.
fn line(key: &FlowKey, flow: &Flow, server: &str, now: u32) -> String {
    let (client, service) = key.ends();
    let sent = SocketAddr::from((abi::ip(&flow.dst), u16::from_be(flow.dport)));
    let proto = match key.proto {
        6 => "tcp".to_string(),
        17 => "udp".to_string(),
        other => other.to_string(),
    };
    // A tag of providers has one bit more.
    let vlan = match key.vlan & 0xfff {
        0 => String::new(),
        vlan => format!("vlan={vlan} "),
    };
    let to_vlan = match flow.hop.vlan {
        0 => String::new(),
        vlan => format!("to-vlan={vlan} "),
    };
    format!(
        "proto={proto} src={client} dst={service} {vlan}to={sent} {to_vlan}{server} state={} age={}s idle={}s",
        sessions::stage(key, flow).name(),
        now.saturating_sub(flow.born),
        sessions::idle(flow, now),
    )
}

impl Plane {
    /// Proxies and servers by place, as lines name them.
    fn names(&self) -> HashMap<u32, String> {
        let targets = self.plan.targets.iter();
        let known = targets.filter_map(|t| {
            let (front, back, server) = (&t.frontend.name, &t.backend.name, &t.server.name);
            let name = format!("fe={front} be={back} srv={server}");
            Some((*self.places.get(&t.identity)?, name))
        });
        known.collect()
    }

    /// Calls `each` with every session's direction from the client and its line.
    fn each_session(
        &mut self,
        mut each: impl FnMut(&mut Plane, &FlowKey, &Flow, String),
    ) -> Result<(), Error> {
        let names = self.names();
        let now = sessions::now();
        let mut walk = Walk::<FlowKey, Flow>::new(GLANCE);
        loop {
            let (entries, over) = walk
                .next(self.flows.as_fd())
                .map_err(|e| because("sessions cannot be read", &e))?;
            for (key, flow) in entries.iter().filter(|(_, f)| sessions::is_forward(f)) {
                let name = names.get(&flow.server);
                let name = name.map_or("fe=? be=? srv=?", String::as_str);
                each(self, key, flow, line(key, flow, name, now));
            }
            if over {
                return Ok(());
            }
        }
    }

    /// One line for each session.
    pub fn list(&mut self) -> Result<String, Error> {
        let mut out = String::new();
        self.each_session(|_, _, _, line| {
            out.push_str(&line);
            out.push('\n');
        })?;
        Ok(out)
    }

    /// Ends the sessions whose lines have all of these texts; how many. What their ends send next
    /// belongs to none.
    pub fn clear(&mut self, texts: &[String]) -> Result<usize, Error> {
        let mut cleared = 0;
        self.each_session(|plane, key, flow, line| {
            if texts.iter().all(|t| line.contains(t.as_str())) {
                cleared += usize::from(plane.end(key, flow));
            }
        })?;
        Ok(cleared)
    }

    /// Takes both directions of a session away; whether it was there.
    fn end(&mut self, key: &FlowKey, flow: &Flow) -> bool {
        let Ok(mut table) = self.kernel.flows() else {
            return false;
        };
        // As it is now: the program counts a session off only once.
        let Ok(now) = table.get(key, 0) else {
            return false;
        };
        if table.remove(key).is_err() {
            return false;
        }
        if let Some(other) = sessions::other_key(key, flow) {
            // It may be gone already.
            let _ = table.remove(&other);
        }
        if now.state & abi::flow_state::COUNTED != 0
            && let Some(live) = self.live.at(flow.server)
        {
            let _ = live.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        }
        self.exchange.removed(*key);
        true
    }

    /// Events that the programs counted, by name.
    pub fn events(&mut self) -> Vec<(&'static str, u64)> {
        let names = abi::EVENTS.iter();
        names.map(|name| (*name, self.kernel.event(name))).collect()
    }
}
