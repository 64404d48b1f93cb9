//! `show info`, `show stat`, and clearing what they count.

use super::{Command, resolvers};
use crate::cli::{Cli, Said, World};
use crate::stat::{self, RowKind};
use crate::{info, stat_text, stats_file, typed};
use model::CliLevel;

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["clear", "counters"],
        "clear counters [all]",
        "clear max statistics counters (or all counters)",
        CliLevel::Operator,
        clear_counters,
    ),
    Command::new(
        &["dump", "stats-file"],
        "dump stats-file",
        "dump counters of what has a guid, for 'stats-file'",
        CliLevel::Operator,
        |_, w, _, _| Said::data(stats_file::dump(&w.generation)),
    ),
    Command::new(
        &["show", "info"],
        "show info [desc|json|typed|float]*",
        "report information about the running process",
        CliLevel::User,
        show_info,
    ),
    Command::new(
        &["show", "schema", "json"],
        "show schema json",
        "report schema used for stats",
        CliLevel::User,
        |_, _, _, _| Said::data(typed::schema()),
    ),
    Command::new(
        &["show", "stat"],
        "show stat [domain proxy|resolvers] [desc|json|no-maint|typed|up]*",
        "report counters for each proxy and server",
        CliLevel::User,
        show_stat,
    ),
];

fn clear_counters(cli: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let all = args.first() == Some(&"all");
    if all && cli.level() < CliLevel::Admin {
        return Said::fault("Permission denied");
    }
    for frontend in &w.generation.frontends {
        frontend.sessions().clear_max();
        frontend.counters().clear_max();
        if all {
            frontend.counters().clear();
        }
    }
    for backend in &w.generation.backends {
        backend.sessions().clear_max();
        backend.queued().clear_max();
        backend.counters().clear_max();
        if all {
            backend.counters().clear();
        }
        for server in backend.servers() {
            server.sessions.clear_max();
            server.queued.clear_max();
            server.counters.clear_max();
            if all {
                server.counters.clear();
            }
        }
    }
    Said::nothing()
}

fn show_info(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let asked = |word: &str| args.contains(&word);
    let fields = info::fields(w.process, &w.generation, w.now, asked("float"));
    Said::data(if asked("json") {
        info::json(&fields)
    } else {
        info::text(&fields, asked("typed"), asked("desc"))
    })
}

fn show_stat(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let args = match args {
        ["domain", "proxy", rest @ ..] => rest,
        ["domain", "resolvers", rest @ ..] => return resolvers::statistics(w, rest),
        ["domain", ..] => return Said::fault("Invalid statistics domain."),
        rest => rest,
    };
    let mut rows = stat::rows(w.process, &w.generation, w.now);
    let mut words = args;
    // `<iid|proxy> <type> <sid>` before the words chooses rows; -1 is any.
    if let [first, kinds, sid, rest @ ..] = args
        && let (Ok(kinds), Ok(sid)) = (kinds.parse::<i64>(), sid.parse::<i64>())
    {
        words = rest;
        rows.retain(|row| {
            let proxy =
                *first == "-1" || *first == row.get("pxname") || *first == row.iid.to_string();
            let bit = match row.kind {
                RowKind::Frontend => 1,
                RowKind::Backend => 2,
                RowKind::Server => 4,
                RowKind::Listener => 8,
            };
            let numbered = matches!(row.kind, RowKind::Server | RowKind::Listener);
            let own = !numbered || sid < 0 || i64::from(row.sid) == sid;
            proxy && (kinds < 0 || kinds & bit != 0) && own
        });
    }
    words.iter().for_each(|word| stat::retain(&mut rows, word));
    let asked = |word: &str| words.contains(&word);
    Said::data(if asked("json") {
        stat_text::json(&rows)
    } else if asked("typed") {
        stat_text::typed(&rows, asked("desc"))
    } else {
        stat_text::csv(&rows)
    })
}
