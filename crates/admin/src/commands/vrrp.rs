//! Addresses that are shared with other machines.

use super::Command;
use crate::cli::{Cli, Grave, Said, World};
use model::CliLevel;
use state::VrrpStatus;
use std::fmt::Write;

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["show", "vrrp"],
        "show vrrp [<section>]",
        "report state, addresses and counters of virtual routers",
        CliLevel::Operator,
        show,
    ),
    Command::new(
        &["vrrp", "release"],
        "vrrp release [<section>]",
        "let another router be active, for maintenance of this one",
        CliLevel::Admin,
        |_, w, a, _| release(w, a, true),
    ),
    Command::new(
        &["vrrp", "resume"],
        "vrrp resume [<section>]",
        "take part again as configured, after a release",
        CliLevel::Admin,
        |_, w, a, _| release(w, a, false),
    ),
];

fn show(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let Some(all) = w.system.status() else {
        return Said::fault("The virtual routers do not answer.");
    };
    let wanted = args.first().copied();
    let mut text = String::new();
    for one in all.iter().filter(|v| wanted.is_none_or(|n| n == &*v.name)) {
        describe(&mut text, one);
    }
    match (text.is_empty(), wanted) {
        (true, Some(_)) => Said::fault("No such vrrp section."),
        _ => Said::data(text),
    }
}

/// One section, a fact a line, and an empty line after it.
fn describe(out: &mut String, v: &VrrpStatus) {
    let yes = |b: bool| if b { "yes" } else { "no" };
    // Writing into a string does not fail.
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(out, "{name}: {value}");
    };
    line("name", &v.name);
    line("state", &v.state);
    line("reason", &v.fault.as_deref().unwrap_or(v.cause));
    line("since_ms", &v.since.as_millis());
    line("interface", &v.interface);
    line("virtual_router_id", &v.vrid);
    line("version", &v.version);
    line("group", &v.group.as_deref().unwrap_or("-"));
    line("priority", &v.priority);
    line("configured_priority", &v.configured);
    line("interval_ms", &v.interval.as_millis());
    let source = v.source.map_or("-".to_string(), |s| s.to_string());
    line("source", &source);
    for (address, there, ours) in &v.addresses {
        let how = match (there, ours) {
            (true, true) => "here",
            (true, false) => "here before",
            (false, _) => "not here",
        };
        line("address", &format_args!("{address} {how}"));
    }
    if let Some((from, priority, ago)) = &v.heard {
        let ago = ago.as_millis();
        line(
            "heard",
            &format_args!("{from} priority {priority} ago_ms {ago}"),
        );
    }
    line("released", &yes(v.released));
    line("blocked_by_peer", &yes(v.blocked));
    line("waits_for", &v.waits.unwrap_or("-"));
    for (address, said) in &v.peers {
        match said {
            Some((state, ago)) => {
                let ago = ago.as_millis();
                line("peer", &format_args!("{address} {state} ago_ms {ago}"));
            }
            None => line("peer", &format_args!("{address} never answered")),
        }
    }
    for (what, up) in &v.tracks {
        line(
            "track",
            &format_args!("{what} {}", if *up { "up" } else { "down" }),
        );
    }
    for s in &v.sync {
        let (peer, table) = (s.peer, s.table);
        line(
            "sync",
            &format_args!(
                "{table} {peer} sending {} receiving {} lag_ms {} backlog_bytes {}",
                s.sending,
                s.receiving,
                s.lag.as_millis(),
                s.backlog
            ),
        );
        for (name, value) in &s.counters {
            line("sync_count", &format_args!("{table} {peer} {name} {value}"));
        }
        if let Some(why) = &s.broken {
            line("sync_ended", &format_args!("{table} {peer} {why}"));
        }
    }
    for (name, value) in &v.counters {
        line(name, value);
    }
    out.push('\n');
}

fn release(w: &World<'_>, args: &[&str], released: bool) -> Said {
    match w.system.release(args.first().copied(), released) {
        Ok(()) if released => Said::message(Grave::Notice, "Released: resume with 'vrrp resume'."),
        Ok(()) => Said::message(Grave::Notice, "Resumed."),
        Err(why) => Said::fault(why),
    }
}
