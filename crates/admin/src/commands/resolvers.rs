//! Name servers: `show resolvers`.

use super::Command;
use crate::cli::{Cli, Said, World};
use crate::typed::quoted;
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

/// The fields of `show stat domain resolvers`: name and description.
const FIELDS: [(&str, &str); 17] = [
    ("id", "name of the name server"),
    ("pid", "name of its section"),
    ("sent", "questions sent"),
    ("send_error", "questions that could not be sent"),
    ("valid", "valid answers"),
    ("update", "answers that changed something"),
    ("cname", "answers by another name"),
    ("cname_error", "answers by another name that lead nowhere"),
    ("any_err", "answers of nothing"),
    ("nx", "names that there are not"),
    ("timeout", "questions without an answer"),
    ("refused", "questions refused"),
    ("other", "other failures"),
    ("invalid", "answers that are none"),
    ("too_big", "answers that are too long"),
    ("truncated", "answers that were cut"),
    ("outdated", "answers that came too late"),
];

/// `show stat domain resolvers`: a row for each name server.
pub(super) fn statistics(w: &World<'_>, words: &[&str]) -> Said {
    let mut rows = Vec::new();
    for (section, resolvers) in &w.generation.resolvers {
        let servers = resolvers.settings.nameservers.iter();
        for (server, counters) in servers.zip(&resolvers.counters) {
            let counts = counters.all().map(|(_, count)| count.to_string());
            let mut row = vec![server.name.to_string(), section.to_string()];
            row.extend(counts);
            rows.push(row);
        }
    }
    let asked = |word: &str| words.contains(&word);
    Said::data(if asked("json") {
        json(&rows)
    } else if asked("typed") {
        typed(&rows, asked("desc"))
    } else {
        let names = FIELDS.map(|(name, _)| name).join(",");
        let line = |row: &Vec<String>| format!("{},\n", row.join(","));
        format!("# {names},\n{}", rows.iter().map(line).collect::<String>())
    })
}

/// Tags and type of a field: what is configured is a text, all others are counts.
fn nature(at: usize) -> (&'static str, &'static str) {
    if at < 2 {
        ("CGP", "str")
    } else {
        ("MGP", "u64")
    }
}

fn typed(rows: &[Vec<String>], desc: bool) -> String {
    let mut out = String::new();
    for row in rows {
        for (at, ((name, doc), value)) in FIELDS.iter().zip(row).enumerate() {
            let (tags, kind) = nature(at);
            let _ = write!(out, "N.{at}.{name}:{tags}:{kind}:{value}");
            if desc {
                let _ = write!(out, ":\"{doc}\"");
            }
            out.push('\n');
        }
    }
    out
}

fn json(rows: &[Vec<String>]) -> String {
    let field = |(at, ((name, _), value)): (usize, (&(&str, &str), &String))| {
        let (origin, kind) = if at < 2 {
            ("Config", "str")
        } else {
            ("Metric", "u64")
        };
        let value = if at < 2 { quoted(value) } else { value.clone() };
        format!(
            "{{\"field\":{{\"pos\":{at},\"name\":\"{name}\"}},\"tags\":{{\"origin\":\"{origin}\",\
             \"nature\":\"Gauge\",\"scope\":\"Process\"}},\"value\":{{\"type\":\"{kind}\",\"value\":{value}}}}}"
        )
    };
    let row = |row: &Vec<String>| {
        let fields: Vec<String> = FIELDS.iter().zip(row).enumerate().map(field).collect();
        format!("[{}]", fields.join(","))
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    format!("[{}]\n", rows.join(","))
}
