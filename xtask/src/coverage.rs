//! `docs/compatibility.md`: which words of HAProxy's language are there, printed from the tables.

use std::collections::BTreeSet;
use std::fmt::Write;

const FILE: &str = "docs/compatibility.md";

pub fn run(check: bool) -> Result<(), Vec<String>> {
    let text = document();
    if check {
        let there = std::fs::read_to_string(FILE).unwrap_or_default();
        if there != text {
            return Err(vec![format!(
                "{FILE} is not current: run 'cargo xtask coverage'"
            )]);
        }
        return Ok(());
    }
    std::fs::write(FILE, text).map_err(|e| vec![format!("cannot write {FILE}: {e}")])
}

struct Part<'a> {
    title: &'a str,
    known: &'a str,
    ours: Vec<(String, &'static str)>,
}

fn document() -> String {
    let owned = |name: &str, doc: &'static str| (name.to_string(), doc);
    let parts = [
        Part {
            title: "Keywords of `global`",
            known: include_str!("../../crates/config/src/known/global.txt"),
            ours: config::table::GLOBAL_KEYWORDS
                .iter()
                .map(|k| owned(k.name, k.doc))
                .chain(
                    config::table::TUNES_WITHOUT_EFFECT
                        .iter()
                        .map(|n| owned(n, "accepted, without effect: it tunes what is not here")),
                )
                .collect(),
        },
        Part {
            title: "Keywords of proxies",
            known: include_str!("../../crates/config/src/known/proxy.txt"),
            ours: config::table::keywords()
                .map(|k| owned(k.name, k.doc))
                .collect(),
        },
        Part {
            title: "Keywords of `vrrp` sections, which HAProxy does not have",
            known: "",
            ours: config::table::VRRP_KEYWORDS
                .iter()
                .map(|k| owned(k.name, k.doc))
                .collect(),
        },
        Part {
            title: "Options",
            known: include_str!("../../crates/config/src/known/options.txt"),
            ours: config::table::OPTIONS
                .iter()
                .map(|k| owned(k.name, k.doc))
                .collect(),
        },
        Part {
            title: "Words of `bind`",
            known: include_str!("../../crates/config/src/known/bind.txt"),
            ours: config::table::BIND_WORDS
                .iter()
                .map(|k| owned(k.name, k.doc))
                .chain(
                    config::table::BIND_TLS_WORDS
                        .iter()
                        .map(|k| owned(k.name, k.doc)),
                )
                .chain(
                    config::table::CONTROL_WORDS
                        .iter()
                        .map(|k| owned(k.name, k.doc)),
                )
                .collect(),
        },
        Part {
            title: "Words of `server`",
            known: include_str!("../../crates/config/src/known/server.txt"),
            ours: config::table::SERVER_WORDS
                .iter()
                .chain(config::table::SERVER_CHECK_WORDS)
                .chain(config::table::SERVER_POOL_WORDS)
                .chain(config::table::SERVER_PROXY_WORDS)
                .chain(config::table::SERVER_SOCKET_WORDS)
                .map(|k| owned(k.name, k.doc))
                .chain(
                    config::table::SERVER_TLS_WORDS
                        .iter()
                        .map(|k| owned(k.name, k.doc)),
                )
                .collect(),
        },
        Part {
            title: "Actions",
            known: include_str!("../../crates/rules/src/known/actions.txt"),
            ours: rules::table::actions()
                .map(|k| owned(k.name, k.doc))
                .collect(),
        },
        Part {
            title: "Sample fetches",
            known: include_str!("../../crates/rules/src/known/fetches.txt"),
            ours: rules::table::fetches()
                .flat_map(|k| k.names.iter().map(|n| owned(n, k.doc)))
                .collect(),
        },
        Part {
            title: "Converters",
            known: include_str!("../../crates/rules/src/known/converters.txt"),
            ours: rules::table::converters()
                .map(|k| owned(k.name, k.doc))
                .collect(),
        },
        Part {
            title: "Commands of the control socket",
            known: "",
            ours: admin::commands()
                .map(|c| owned(&c.words.join(" "), c.doc))
                .collect(),
        },
    ];
    let mut out = String::from(
        "# What of HAProxy's language is there\n\nPrinted from the tables by `cargo xtask coverage`; a test keeps it current. A word that is \
         not there yet is refused by name; nothing is accepted and ignored, except what is marked so.\n",
    );
    for part in parts {
        let known: BTreeSet<&str> = part.known.lines().collect();
        let ours: BTreeSet<&str> = part.ours.iter().map(|(n, _)| n.as_str()).collect();
        let there = known.iter().filter(|k| covers(&ours, k)).count();
        let _ = writeln!(out, "\n## {}\n", part.title);
        if !known.is_empty() {
            let _ = writeln!(out, "{there} of {} names.\n", known.len());
        }
        let mut rows = part.ours.clone();
        rows.sort();
        out.push_str("| name | what it does |\n|---|---|\n");
        for (name, doc) in rows {
            let _ = writeln!(out, "| `{name}` | {} |", doc.replace('|', "\\|"));
        }
        let missing: Vec<String> = known
            .iter()
            .filter(|k| !covers(&ours, k))
            .map(|k| format!("`{k}`"))
            .collect();
        if !missing.is_empty() {
            let _ = writeln!(out, "\nNot yet: {}.", missing.join(", "));
        }
    }
    out
}

/// `timeout` covers `timeout client` and so on.
fn covers(ours: &BTreeSet<&str>, name: &str) -> bool {
    ours.contains(name)
        || name.split_once(' ').is_some_and(|(first, _)| {
            matches!(first, "timeout" | "option" | "stats") && ours.contains(first)
        })
}
