//! Peers: `show peers`.

use super::Command;
use crate::cli::{Cli, Said, World};
use model::{Address, CliLevel, Host, PortSpec};
use state::peers::{Link, PeerSection};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Instant;

pub(super) static COMMANDS: &[Command] = &[Command::new(
    &["show", "peers"],
    "show peers [dict|-] [section]",
    "dump some information about all the peers or this peers section",
    CliLevel::Operator,
    show,
)];

fn show(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    // HAProxy's caches of names are shown by 'dict'; ours belong to conversations.
    let named = match args {
        ["dict" | "-", rest @ ..] => rest.first(),
        rest => rest.first(),
    };
    let sections = &w.generation.peers;
    let wanted = |s: &PeerSection| named.is_none_or(|n| **n == *s.settings.name);
    if named.is_some() && !sections.iter().any(|s| wanted(s)) {
        return Said::fault("No such peers");
    }
    let mut out = String::new();
    for section in sections.iter().filter(|s| wanted(s)) {
        put_section(&mut out, w, section);
    }
    Said::data(out)
}

fn put_section(out: &mut String, w: &World<'_>, section: &PeerSection) {
    let settings = &section.settings;
    let secs = w.wall.secs;
    let zone = (w.process.machine.local_zone)(secs);
    let date = rules::strftime(b"%d/%b/%Y:%T", secs, (0, 1), &zone);
    let date = String::from_utf8_lossy(&date);
    let resync = match section.resync().is_complete() {
        true => "<PAST>",
        false => "pending",
    };
    let _ = writeln!(
        out,
        "[{date}] id={} disabled=0 resync_timeout={resync}",
        settings.name
    );
    for (at, peer) in settings.others.iter().enumerate() {
        let Some(state) = section.peer(at) else {
            continue;
        };
        let (link, active) = match state.link {
            Link::None => ("NONE", "inactive"),
            Link::Connecting => ("RETR", "active"),
            Link::Failed => ("CONN", "active"),
            Link::Established => ("ESTA", "active"),
        };
        let since = match state.since {
            Some(since) => ago(since, w.now),
            None => "<NEVER>".into(),
        };
        let _ = writeln!(
            out,
            "  id={}(remote,{active}) addr={} last_status={link} last_hdshk={since}",
            peer.name,
            shown(&peer.address)
        );
        let [sent, received, missed] = state.heartbeats;
        let _ = writeln!(
            out,
            "        tx_hbt={sent} rx_hbt={received} no_hbt={missed} new_conn={} proto_err={} coll={}",
            state.connections, state.faults, state.collisions
        );
        let _ = writeln!(out, "        shared tables:");
        for table in &state.tables {
            let _ = writeln!(
                out,
                "          local_id={} remote_id={}\n              last_acked={} last_pushed={} last_get={}",
                table.local, table.remote, table.acked, table.pushed, table.got
            );
            let update = w
                .generation
                .table(&table.name)
                .map_or(0, |t| t.last_change());
            let _ = writeln!(
                out,
                "              table: id={} update={update}",
                table.name
            );
        }
    }
    let address = settings.binds.first().map(|b| shown(&b.address));
    let _ = writeln!(
        out,
        "  id={}(local,inactive) addr={} last_status=NONE last_hdshk=<NEVER>",
        settings.local,
        address.unwrap_or_default()
    );
}

fn ago(since: Instant, now: Instant) -> String {
    format!("{}s", now.saturating_duration_since(since).as_secs())
}

fn shown(address: &Address) -> String {
    match address {
        Address::Inet { host, port, .. } => {
            let host = match host {
                Host::Any => "*".into(),
                Host::Any6 => "[::]".into(),
                Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
                Host::Ip(ip) => ip.to_string(),
                Host::Name(name) => name.to_string(),
            };
            match port {
                PortSpec::Fixed(port) => format!("{host}:{port}"),
                _ => host,
            }
        }
        Address::Unix { path, .. } => format!("unix@{path}"),
        Address::Abstract { name, .. } => format!("abns@{name}"),
        Address::Fd(fd) => format!("fd@{fd}"),
    }
}
