//! The packet plane: its sessions and what it counted.

use super::Command;
use crate::cli::{Packets, Said, World};
use model::CliLevel;

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["show", "flows"],
        "show flows [text]*",
        "report the sessions of the packet plane, those only that have all of these texts in their line",
        CliLevel::Operator,
        |_, w, a, _| {
            listed(w, |lines| {
                let wanted = lines
                    .lines()
                    .filter(|l| a.iter().all(|text| l.contains(text)));
                wanted.map(|l| format!("{l}\n")).collect()
            })
        },
    ),
    Command::new(
        &["show", "flows", "count"],
        "show flows count [text]*",
        "report the number of sessions of the packet plane, of those only that have all of these texts in their line",
        CliLevel::Operator,
        |_, w, a, _| {
            listed(w, |lines| {
                let has = |l: &&str| a.iter().all(|text| l.contains(text));
                format!("{}\n", lines.lines().filter(has).count())
            })
        },
    ),
    Command::new(
        &["show", "flows", "trace"],
        "show flows trace <address>",
        "report what each stage of the packet plane decided about the sessions of a client",
        CliLevel::Operator,
        |_, w, a, _| {
            let [client] = a else {
                return Said::fault("'show flows trace' wants the address of one client.");
            };
            match client.parse() {
                Ok(ip) => w
                    .system
                    .packets(Packets::Trace(ip))
                    .map_or_else(none, Said::data),
                Err(_) => Said::fault(format!(
                    "'{client}' is no address: 'show flows trace 192.0.2.7' for example."
                )),
            }
        },
    ),
    Command::new(
        &["clear", "flows"],
        "clear flows <text>...|all",
        "end the sessions of the packet plane that have all of these texts in their line",
        CliLevel::Admin,
        |_, w, a, _| {
            let texts = match a {
                [] => {
                    return Said::fault(
                        "'clear flows' wants texts that lines of 'show flows' have, or 'all'.",
                    );
                }
                ["all"] => &[],
                texts => texts,
            };
            w.system
                .packets(Packets::Clear(texts))
                .map_or_else(none, Said::data)
        },
    ),
    Command::new(
        &["show", "guard"],
        "show guard",
        "report what the guards of packet frontends did; their lists are among those of 'show acl'",
        CliLevel::Operator,
        |_, w, _, _| {
            w.system
                .packets(Packets::Guard)
                .map_or_else(none, Said::data)
        },
    ),
    Command::new(
        &["show", "packets"],
        "show packets",
        "report what became of packets that were not simply passed on",
        CliLevel::Operator,
        |_, w, _, _| match w.system.packets(Packets::Events) {
            Some(lines) => Said::data(lines),
            None => none(),
        },
    ),
];

fn listed(w: &World<'_>, show: impl FnOnce(&str) -> String) -> Said {
    match w.system.packets(Packets::Sessions) {
        Some(lines) => Said::data(show(&lines)),
        None => none(),
    }
}

fn none() -> Said {
    Said::fault("No proxy in 'mode packet' is served.")
}
