//! Variables of the process: `get var`, `set var`.

use super::Command;
use crate::cli::{Cli, Said, World};
use model::CliLevel;
use rules::{
    Ctx, Expr, LogFormat, Sample, Scope, SessionInfo, StreamInfo, Type, VarName, VarScope, Vars,
};
use std::cell::{Cell, RefCell};
use std::sync::{MutexGuard, PoisonError};

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["get", "var"],
        "get var <name>",
        "retrieve contents of a process-wide variable",
        CliLevel::Operator,
        get_var,
    ),
    Command::new(
        &["set", "var"],
        "set var <name> [fmt|expr] {<fmt>|<expr>}",
        "set variable from an expression",
        CliLevel::Admin,
        set_var,
    )
    .experimental(),
];

/// The variables of the process.
fn variables<'a>(w: &'a World<'_>) -> MutexGuard<'a, Vars> {
    let vars = &w.process.vars;
    vars.lock().unwrap_or_else(PoisonError::into_inner)
}

fn get_var(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let Some(text) = args.first() else {
        return Said::fault("Missing process-wide variable identifier.");
    };
    let name = VarName::parse(text).ok();
    match name.filter(|n| n.scope == VarScope::Proc) {
        Some(name) => match variables(w).get(&name) {
            Some(value) => Said::data(format!(
                "{text}: type={} value=<{}>",
                kind(value),
                String::from_utf8_lossy(&value.to_text())
            )),
            None => Said::fault("Variable not found."),
        },
        None => Said::fault("Variable not found."),
    }
}

/// The name of a value's type, as HAProxy says it.
fn kind(value: &Sample<'_>) -> &'static str {
    match value {
        Sample::Ip4(_) => "ipv4",
        Sample::Ip6(_) => "ipv6",
        other => match other.kind() {
            Type::Bool => "bool",
            Type::Int => "sint",
            Type::Bin => "bin",
            Type::Method => "meth",
            _ => "str",
        },
    }
}

fn set_var(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let (text, how, value) = match args {
        [] => return Said::fault("Missing process-wide variable identifier."),
        [_] => return Said::fault("Missing either 'expr', 'fmt' or expression."),
        [text, how @ ("expr" | "fmt"), value, ..] => (*text, *how, *value),
        [_, how @ ("expr" | "fmt")] => {
            return Said::fault(format_args!("Missing expression after '{how}'."));
        }
        [text, value, ..] => (*text, "expr", *value),
    };
    let name = match VarName::parse(text) {
        Ok(name) if name.scope == VarScope::Proc => name,
        Ok(_) => {
            return Said::close_fault(format!(
                "'set var': cannot set variable '{text}', only scope 'proc' is permitted here."
            ));
        }
        Err(message) => return Said::close_fault(message),
    };
    let (vars, rng) = (RefCell::new(Vars::default()), Cell::new(1));
    let (session, stream) = (SessionInfo::default(), StreamInfo::default());
    let view = state::View {
        process: w.process,
        generation: &w.generation,
        now: w.now,
        tracked: None,
    };
    let cx = Ctx::bare(&session, &stream, w.wall, &vars, &view, &rng);
    let scope = Scope::bare();
    let value = if how == "fmt" {
        LogFormat::parse(value, &scope).map(|format| {
            let mut out = Vec::new();
            format.render(&cx, &mut out);
            Some(Sample::owned(out))
        })
    } else {
        Expr::parse(value, &scope).map(|expr| expr.eval(&cx).map(Sample::into_owned))
    };
    match value {
        Ok(value) => {
            match value {
                Some(value) => {
                    // Without room it stays as it was (`tune.vars.proc-max-size`).
                    let _ = variables(w).set(&name, value);
                }
                None => variables(w).unset(&name),
            }
            Said::nothing()
        }
        Err(e) => Said::close_fault(e.message),
    }
}
