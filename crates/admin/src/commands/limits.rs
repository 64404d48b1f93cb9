//! Frontends, and the limits of frontends and the process.

use super::{Command, with_frontend};
use crate::cli::{Cli, Grave, Listen, Said, World};
use model::{CliLevel, LogLevel, Mode};
use state::RateLimit;
use state::news::{self, Turned};

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["disable", "frontend"],
        "disable frontend <frontend>",
        "temporarily disable specific frontend",
        CliLevel::Admin,
        |_, w, a, _| enable(w, a, false),
    ),
    Command::new(
        &["enable", "frontend"],
        "enable frontend <frontend>",
        "re-enable specific frontend",
        CliLevel::Admin,
        |_, w, a, _| enable(w, a, true),
    ),
    Command::new(
        &["publish", "backend"],
        "publish backend <backend>",
        "let rules of frontends lead to a backend",
        CliLevel::Operator,
        |_, w, a, _| publish(w, a, true),
    ),
    Command::new(
        &["unpublish", "backend"],
        "unpublish backend <backend>",
        "have rules of frontends pass over a backend",
        CliLevel::Operator,
        |_, w, a, _| publish(w, a, false),
    ),
    Command::new(
        &["set", "maxconn", "frontend"],
        "set maxconn frontend <frontend> <value>",
        "change a frontend's maxconn setting",
        CliLevel::Admin,
        |_, w, a, _| {
            with_frontend(w, a, |f| match integer(a.get(1)) {
                Ok(_) if f.proxy().mode == Mode::Packet => Said::fault(
                    "'maxconn' of a frontend has no effect in 'mode packet': set that of its servers.",
                ),
                Ok(n) => {
                    f.set_maxconn(n);
                    Said::nothing()
                }
                Err(_) if a.get(1).is_none() => Said::fault("Integer value expected."),
                Err(fault) => fault,
            })
        },
    ),
    Command::new(
        &["set", "maxconn", "global"],
        "set maxconn global <value>",
        "change the per-process maxconn setting",
        CliLevel::Admin,
        |_, w, a, _| match integer(a.first()) {
            Ok(n) => {
                w.process.set_maxconn(n);
                Said::nothing()
            }
            Err(fault) => fault,
        },
    ),
    Command::new(
        &["set", "rate-limit"],
        "set rate-limit <setting> <value>",
        "change a rate limiting value",
        CliLevel::Admin,
        set_rate_limit,
    ),
    Command::new(
        &["shutdown", "frontend"],
        "shutdown frontend <frontend>",
        "stop a specific frontend",
        CliLevel::Admin,
        shutdown_frontend,
    ),
];

/// A number from 0; the fault otherwise.
fn integer(text: Option<&&str>) -> Result<u32, Said> {
    let Some(text) = text else {
        return Err(Said::fault("Expects an integer value."));
    };
    match text.parse::<i64>() {
        Ok(n) => u32::try_from(n).map_err(|_| Said::fault("Value out of range.")),
        Err(_) => Err(Said::fault("Expects an integer value.")),
    }
}

fn publish(w: &World<'_>, args: &[&str], on: bool) -> Said {
    let Some(name) = args.first() else {
        return Said::fault("A backend name is expected.");
    };
    let Some(backend) = w.generation.backend(name) else {
        return Said::fault("No such backend.");
    };
    if backend.proxy().mode == Mode::Packet {
        return Said::fault(
            "A backend in 'mode packet' is always published: disable the frontend or the servers.",
        );
    }
    backend.publish(on);
    let done = if on { "published" } else { "unpublished" };
    Said::message(Grave::Info, format_args!("Backend {done}."))
}

fn enable(w: &World<'_>, args: &[&str], on: bool) -> Said {
    with_frontend(w, args, |f| {
        if f.is_shut() {
            let what = if on { "enable" } else { "disable" };
            return Said::fault(format_args!(
                "Frontend was previously shut down, cannot {what}."
            ));
        }
        if f.is_enabled() == on {
            let state = if on { "enabled" } else { "disabled" };
            return Said::message(
                Grave::Notice,
                format_args!("All sockets are already {state}."),
            );
        }
        if on {
            w.system.listen(&f.name, Listen::Take);
        }
        f.set_enabled(on);
        if !on {
            // After that nobody is about to accept any more.
            w.system.listen(&f.name, Listen::Refuse);
        }
        let line = news::turned(f, if on { Turned::On } else { Turned::Off });
        w.process.news.tell(f.proxy(), LogLevel::Warning, line);
        Said::nothing()
    })
}

fn shutdown_frontend(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    with_frontend(w, args, |f| {
        if f.is_shut() {
            return Said::message(Grave::Notice, "Frontend was already shut down.");
        }
        f.set_shut(true);
        w.system.listen(&f.name, Listen::Close);
        let line = news::stopped(&w.generation, f.proxy());
        w.process.news.tell(f.proxy(), LogLevel::Warning, line);
        Said::nothing()
    })
}

fn set_rate_limit(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let limit = match args {
        ["connections", "global", ..] => RateLimit::Connections,
        ["sessions", "global", ..] => RateLimit::Sessions,
        ["ssl-sessions", "global", ..] => RateLimit::SslSessions,
        _ => {
            return Said::fault(
                "'set rate-limit' only supports :\n   \
                 - 'connections global' to set the per-process maximum connection rate\n   \
                 - 'sessions global' to set the per-process maximum session rate\n   \
                 - 'ssl-sessions global' to set the per-process maximum SSL session rate",
            );
        }
    };
    match integer(args.get(2)) {
        Ok(n) => {
            w.process.set_rate_limit(limit, n);
            Said::nothing()
        }
        Err(fault) => fault,
    }
}
