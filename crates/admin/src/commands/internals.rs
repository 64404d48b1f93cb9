//! What HAProxy shows of its insides, as far as there is the like here: tasks, libraries, traces,
//! sinks of events, caches.

use super::Command;
use crate::cli::{Cli, Said, World};
use model::CliLevel;
use std::fmt::Write;

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["set", "profiling"],
        "set profiling <what> {auto|on|off}",
        "enable/disable resource profiling (tasks,memory); there is none to enable",
        CliLevel::Admin,
        set_profiling,
    ),
    Command::new(
        &["show", "cache"],
        "show cache",
        "show cache status; there are no caches",
        CliLevel::Operator,
        |_, _, _, _| Said::data(""),
    ),
    Command::new(
        &["show", "events"],
        "show events [<sink>] [-w] [-n]",
        "show event sink state",
        CliLevel::Operator,
        show_events,
    ),
    Command::new(
        &["show", "libs"],
        "show libs",
        "show loaded object files and libraries",
        CliLevel::Operator,
        |_, w, _, _| Said::data(w.system.libraries()),
    ),
    Command::new(
        &["show", "profiling"],
        "show profiling [<what>|<#lines>|byaddr]*",
        "show profiling state (all,status,tasks,memory)",
        CliLevel::Operator,
        |_, _, _, _| Said::data(PROFILING),
    ),
    Command::new(
        &["show", "tasks"],
        "show tasks",
        "show running tasks",
        CliLevel::Operator,
        show_tasks,
    ),
    Command::new(
        &["show", "trace"],
        "show trace [<module>]",
        "show live tracing state",
        CliLevel::Operator,
        |_, _, a, _| match a.first() {
            None => Said::data(
                "Supported trace sources and states (.=stopped, w=waiting, R=running) :\n",
            ),
            Some(_) => Said::fault("No such trace source"),
        },
    ),
    Command::new(
        &["trace"],
        "trace [<module>|0] [cmd [args...]]",
        "manage live tracing (empty to list, 0 to stop all); there is nothing to trace",
        CliLevel::Admin,
        |_, _, a, _| match a.first() {
            None => Said::data(
                "Supported trace sources and states (.=stopped, w=waiting, R=running) :\n \
                 [.] 0          : not a source, will immediately stop all traces\n",
            ),
            Some(&"0") => Said::nothing(),
            Some(_) => Said::fault("No such trace source"),
        },
    ),
];

const PROFILING: &str = "\
Per-task CPU profiling              : off           # set profiling tasks {on|auto|off}
Memory usage profiling              : off           # set profiling memory {on|off}
";

/// What there is not is off already; on it cannot be.
fn set_profiling(_: &mut Cli, _: &World<'_>, args: &[&str], _: &str) -> Said {
    match args {
        ["tasks" | "memory", "off", ..] => Said::nothing(),
        ["tasks" | "memory", ..] => {
            Said::fault("There is no profiling to enable: use 'perf' on the process.")
        }
        _ => Said::fault("Expects either 'tasks' or 'memory'."),
    }
}

fn show_events(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    match args.first() {
        Some(&"buf0") => {
            let mut out = String::new();
            for (at, line) in w.process.events.all() {
                let zone = (w.process.machine.local_zone)(at.secs);
                let micros = (i64::from(at.micros), 1_000_000);
                let date = rules::strftime(b"%FT%T.%N%z", at.secs, micros, &zone);
                let mut date = String::from_utf8_lossy(&date).into_owned();
                // RFC 3339 wants a colon in the offset.
                date.insert(date.len().saturating_sub(2), ':');
                let _ = writeln!(out, "<0>{date} {line}");
            }
            Said::data(out)
        }
        None => Said::data(
            "Supported events sinks are listed below. Add -w(wait), -n(new). Any key to stop\n    \
             stdout     : type=fd, 0 dropped, standard output (fd#1)\n    \
             stderr     : type=fd, 0 dropped, standard output (fd#2)\n    \
             buf0       : type=buffer, 0 dropped, in-memory ring buffer\n",
        ),
        Some(&("stdout" | "stderr")) => Said::fault("Nothing to report for this sink"),
        Some(_) => Said::fault("No such event sink"),
    }
}

/// What each worker has to do, as of the last second.
fn show_tasks(_: &mut Cli, w: &World<'_>, _: &[&str], _: &str) -> Said {
    let counters = &w.process.counters;
    let all = counters.sum(|c| &c.tasks);
    let mut out = format!(
        "Running tasks: {} ({} threads)\n  function                     places     %    lat_tot   lat_avg\n",
        counters.sum(|c| &c.run_queue),
        w.process.workers,
    );
    for worker in 0..w.process.workers {
        let mine = counters.used_by(worker).map_or(0, |c| c.tasks.get());
        let percent = (mine * 100).checked_div(all).unwrap_or(0);
        let name = format!("worker-{worker}");
        let _ = writeln!(
            out,
            "  {name:<28} {mine:>6} {percent:>5}         -         -"
        );
    }
    Said::data(out)
}
