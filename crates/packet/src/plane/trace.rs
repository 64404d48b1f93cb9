//! What each stage has decided about the packets of one client.

use super::Plane;
use crate::abi::{self, Flow, FlowKey, Hop, flow_state, step};
use crate::kernel::{Error, because};
use crate::plan::Target;
use crate::sessions;
use crate::table::{Walk, get};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;

/// Sessions of one client that are shown.
const SHOWN: usize = 16;

fn proto(number: u8) -> String {
    match number {
        6 => "tcp".into(),
        17 => "udp".into(),
        1 | 58 => "icmp".into(),
        other => other.to_string(),
    }
}

impl Plane {
    /// What each stage decided about this client's sessions, or would decide about its first packet.
    pub fn trace(&mut self, client: IpAddr) -> Result<String, Error> {
        let mut own = Vec::new();
        let mut walk = Walk::<FlowKey, Flow>::new(super::GLANCE);
        loop {
            let (entries, over) = walk
                .next(self.flows.as_fd())
                .map_err(|e| because("sessions cannot be read", &e))?;
            let of = |k: &FlowKey, f: &Flow| sessions::is_forward(f) && abi::ip(&k.src) == client;
            own.extend(entries.into_iter().filter(|(k, f)| of(k, f)));
            if over {
                break;
            }
        }
        let mut out = String::new();
        for (key, flow) in own.iter().take(SHOWN) {
            self.of_session(key, flow, &mut out);
        }
        if own.len() > SHOWN {
            let _ = writeln!(out, "… and {} sessions more", own.len() - SHOWN);
        }
        if own.is_empty() {
            self.of_nobody(client, &mut out);
        }
        Ok(out)
    }

    fn target_at(&self, at: u32) -> Option<&Target> {
        let mut targets = self.plan.targets.iter();
        targets.find(|t| self.places.get(&t.identity) == Some(&at))
    }

    fn name_of(&self, ifindex: u32) -> String {
        let link = self.ways.links.get(&ifindex);
        link.map_or_else(|| format!("interface {ifindex}"), |l| l.name.clone())
    }

    fn hop(&self, hop: &Hop) -> String {
        if hop.ifindex == 0 {
            return "unknown: no neighbour has answered on the way".into();
        }
        let [a, b, c, d, e, f] = hop.dst;
        let vlan = match hop.vlan {
            0 => String::new(),
            vlan => format!(", VLAN {vlan}"),
        };
        let name = self.name_of(hop.ifindex);
        format!("{name} to {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}{vlan}")
    }

    fn of_session(&self, key: &FlowKey, flow: &Flow, out: &mut String) {
        let (client, service) = key.ends();
        let now = sessions::now();
        let _ = writeln!(out, "{} {client} -> {service}", proto(key.proto));
        let vlan = match key.vlan {
            0 => "untagged".into(),
            vlan => format!("VLAN {vlan}"),
        };
        let mut line = |stage: &str, text: &str| {
            let _ = writeln!(out, "  {stage:<9} {text}");
        };
        line("parse", &format!("{}, {vlan}", proto(key.proto)));
        let answers = sessions::other_key(key, flow);
        let back = answers.and_then(|k| get::<_, Flow>(self.flows.as_fd(), &k));
        let known = match (&answers, &back) {
            (None, _) => "answers go past this machine",
            (Some(_), Some(_)) => "answers are known",
            (Some(_), None) => "no answer has come yet",
        };
        line(
            "session",
            &format!(
                "{}, begun {}s ago, last packet {}s ago; {known}",
                sessions::stage(key, flow).name(),
                now.saturating_sub(flow.born),
                sessions::idle(flow, now),
            ),
        );
        let target = self.target_at(flow.server);
        match target {
            Some(t) => {
                let side = t.backend.side();
                let frontend = &t.frontend.name;
                line(
                    "service",
                    &format!("frontend {frontend}, backend {}", t.backend.name),
                );
                let live = self.live.at(flow.server).map_or(0, |n| n.load(Relaxed));
                let takes = match t.entry.flags {
                    f if f & abi::server::TAKES != 0 => "takes sessions",
                    f if f & abi::server::KEEPS != 0 => "keeps those of TCP that it has",
                    _ => "is down: the next packet of TCP is answered by a reset, others move",
                };
                let by = format!("{:?}", side.balance).to_lowercase();
                let by = by.split(['(', ' ', '{']).next().unwrap_or_default();
                line(
                    "schedule",
                    &format!("{} by {by}; it {takes}, {live} sessions", t.server.name),
                );
            }
            None => line("service", "of a configuration before this one"),
        }
        let sent = SocketAddr::from((abi::ip(&flow.dst), u16::from_be(flow.dport)));
        let from = SocketAddr::from((abi::ip(&flow.src), u16::from_be(flow.sport)));
        let entry = self.written.servers.get(&flow.server);
        let changed = match (flow.steps, entry) {
            (s, Some(e)) if s & step::ENCAP != 0 => {
                format!(
                    "inside a packet from {} to {}",
                    abi::ip(&e.local),
                    abi::ip(&e.address)
                )
            }
            (s, _) if s & step::ROUTE != 0 => "nothing but the next hop".into(),
            (s, _) if s & step::ADDRESSES != 0 && from == client => format!("to {sent}"),
            (s, _) if s & step::ADDRESSES != 0 => format!("to {sent}, from {from}"),
            _ => "the address on the link".into(),
        };
        line("rewrite", &changed);
        if let Some(entry) = entry {
            line("leaves by", &self.hop(&entry.hop));
        }
        if let Some(back) = back {
            line("answers", &self.hop(&back.hop));
        }
        if flow.state & flow_state::COUNTED == 0 {
            line(
                "counts",
                "not any more: it is over, or came from another machine",
            );
        }
    }

    /// What a first packet would find.
    fn of_nobody(&self, client: IpAddr, out: &mut String) {
        let _ = writeln!(out, "{client} has no session; a first packet finds");
        for (key, planned) in &self.plan.services {
            let ip = abi::ip(&key.address);
            if ip.is_ipv6() != client.is_ipv6() || abi::is_of_sources(key.place) {
                continue;
            }
            let Some((frontend, turns)) = self.plan.tables.get(planned.table) else {
                continue;
            };
            let mut names: Vec<&str> = turns
                .iter()
                .filter_map(|t| Some(&*self.plan.targets.get(*t)?.server.name))
                .collect();
            names.sort_unstable();
            names.dedup();
            let at = SocketAddr::from((ip, u16::from_be(key.port)));
            let prefix = match key.bits {
                0 => String::new(),
                bits if ip.is_ipv4() => format!(" (/{})", u32::from(bits).saturating_sub(96)),
                bits => format!(" (/{bits})"),
            };
            let whom = match names.as_slice() {
                [] => "nobody: no server takes sessions".into(),
                some => some.join(", "),
            };
            let vlan = match key.bits {
                0 => self
                    .plan
                    .vips
                    .get(&key.address)
                    .map_or(0, |v| v >> abi::vip::VLAN_SHIFT),
                _ => abi::vlan_of(key.place).into(),
            };
            let vlan = match vlan {
                0 => String::new(),
                vlan => format!(" in VLAN {vlan}"),
            };
            let _ = writeln!(
                out,
                "  service   {} {at}{prefix}{vlan} of frontend {frontend}: {whom}",
                proto(key.proto)
            );
        }
        out.push_str("  else      what is no service's is passed on untouched\n");
    }
}
