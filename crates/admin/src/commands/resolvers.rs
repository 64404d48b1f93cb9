//! Name servers: `show resolvers`.

use super::Command;
use crate::cli::{Cli, Said, World};
use model::CliLevel;
use std::fmt::Write;

pub(super) static COMMANDS: &[Command] = &[Command::new(
    &["show", "resolvers"],
    "show resolvers [<id>]",
    "dumps counters from all resolvers section and associated name servers",
    CliLevel::User,
    show,
)];

fn show(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let sections = &w.generation.resolvers;
    let wanted = args.first().copied();
    if wanted.is_some_and(|name| !sections.contains_key(name)) {
        return Said::fault("Can't find that resolvers section");
    }
    let mut out = String::new();
    for (name, section) in sections {
        if wanted.is_some_and(|w| w != &**name) {
            continue;
        }
        let _ = writeln!(out, "Resolvers section {name}");
        for (server, counters) in section.settings.nameservers.iter().zip(&section.counters) {
            let _ = writeln!(out, " nameserver {}:", server.name);
            for (what, count) in counters.all() {
                let _ = writeln!(out, "  {:<12} {count}", format!("{what}:"));
            }
        }
    }
    Said::data(out)
}
