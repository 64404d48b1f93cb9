//! The process: its environment, its parts, its workers, its reload.

use super::Command;
use crate::cli::{Cli, Grave, Said, World};
use model::CliLevel;
use std::fmt::Write;

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["reload"],
        "reload",
        "read the configuration anew and put it into force",
        CliLevel::Admin,
        |_, w, _, _| match w.system.reload() {
            Ok(said) => Said::message(Grave::Info, format_args!("Success=1\n--\n{said}")),
            Err(said) => Said::fault(format_args!("Success=0\n--\n{said}")),
        },
    ),
    Command::new(
        &["show", "activity"],
        "show activity",
        "show per-thread activity stats (for support/developers)",
        CliLevel::Operator,
        show_activity,
    ),
    Command::new(
        &["show", "backend"],
        "show backend",
        "list backends in the current running config",
        CliLevel::User,
        |_, w, _, _| {
            let names = w
                .generation
                .backends
                .iter()
                .map(|b| format!("{}\n", b.name));
            Said::data(format!("# name\n{}", names.collect::<String>()))
        },
    ),
    Command::new(
        &["show", "env"],
        "show env [var]",
        "dump environment variables known to the process",
        CliLevel::Operator,
        show_env,
    ),
    Command::new(
        &["show", "fd"],
        "show fd [num]",
        "dump list of sessions' file descriptors in use or a specific one",
        CliLevel::Operator,
        show_fd,
    ),
    Command::new(
        &["show", "pools"],
        "show pools",
        "report information about the memory pools usage",
        CliLevel::Operator,
        |_, _, _, _| {
            // Memory comes from the allocator; workers keep a bounded number of spare buffers.
            Said::data(
                "Dumping pools usage.\nTotal: 0 pools, 0 bytes allocated, 0 used (~0 by thread caches).\n",
            )
        },
    ),
    Command::new(
        &["show", "startup-logs"],
        "show startup-logs",
        "report logs emitted during startup",
        CliLevel::Operator,
        |_, w, _, _| Said::message(Grave::Info, w.startup_logs.trim_end()),
    ),
    Command::new(
        &["show", "threads"],
        "show threads",
        "show what the workers have to do",
        CliLevel::Operator,
        show_threads,
    ),
    Command::new(
        &["show", "version"],
        "show version",
        "show version of the current process",
        CliLevel::User,
        |_, _, _, _| Said::message(Grave::Info, crate::VERSION),
    ),
];

fn show_env(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let line = |(k, v): &(String, String)| format!("{k}={v}\n");
    match args.first() {
        None => Said::data(w.env.iter().map(line).collect::<String>()),
        Some(name) => match w.env.iter().find(|(k, _)| k == name) {
            Some(found) => Said::data(line(found)),
            None => Said::fault("Variable not found"),
        },
    }
}

fn show_fd(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let wanted: Option<i32> = args.first().map(|t| t.parse().unwrap_or(0));
    let mut sessions = w.sessions.list(super::sessions::PATIENCE);
    sessions.sort_by_key(|s| s.descriptor);
    let mut out = String::new();
    for s in sessions {
        if wanted.is_none_or(|fd| fd == s.descriptor) {
            let frontend = w.generation.frontends.iter().find(|f| f.id == s.frontend);
            let family = match s.source {
                Some(a) if a.is_ipv4() => "ipv4",
                Some(_) => "ipv6",
                None => "unix",
            };
            let _ = writeln!(
                out,
                "  {:>5} : tid={} sess={:#x} fam={family} fe={}",
                s.descriptor,
                s.worker + 1,
                s.id,
                frontend.map_or("<NONE>", |f| &f.name),
            );
        }
    }
    Said::data(out)
}

fn show_threads(_: &mut Cli, w: &World<'_>, _: &[&str], _: &str) -> Said {
    let sessions = w.sessions.list(super::sessions::PATIENCE);
    let mut out = String::new();
    for worker in 0..w.process.workers {
        let mine = sessions.iter().filter(|s| s.worker == worker);
        let busy = mine.clone().filter(|s| s.stage == state::Stage::Busy);
        let _ = writeln!(
            out,
            "  Thread {:<2}: id=worker-{worker} sess={} busy={}",
            worker + 1,
            mine.count(),
            busy.count(),
        );
    }
    Said::data(out)
}

fn show_activity(_: &mut Cli, w: &World<'_>, _: &[&str], _: &str) -> Said {
    let p = w.process;
    let mut out = format!(
        "thread_id: {0} (1..{0})\ndate_now: {1}.{2:06}\n",
        p.workers, w.wall.secs, w.wall.micros
    );
    let mut row = |name: &str, of: &dyn Fn(&state::ProcessCounters) -> u64| {
        let each: Vec<u64> = (0..p.workers)
            .map(|worker| p.counters.used_by(worker).map_or(0, of))
            .collect();
        let texts: Vec<String> = each.iter().map(u64::to_string).collect();
        let _ = writeln!(
            out,
            "{name}: {} [ {} ]",
            each.iter().sum::<u64>(),
            texts.join(" ")
        );
    };
    row("accepted", &|c| c.connections.get());
    row("requests", &|c| c.requests.get());
    row("bytes_out", &|c| c.bytes_out.get());
    Said::data(out)
}
