//! What the running system knows of a name, and variables.

use super::{ConvertDef, convert, int};
use crate::args::{Arg, ArgKind, ArgKind::*, ArgList, NONE, args};
use crate::vars::Condition;
use crate::{Ctx, Sample};

const CONDITION: ArgKind = Word(Condition::NAMES);

pub static TABLE: &[ConvertDef] = &[
    convert! { "capture-req", args(&[IntIn(0, 1 << 16)], 1), Str => Str,
        "itself, captured in a slot of the request",
        "str(x),capture-req(0)" => "x", |a, s, cx| captured(a, s, cx, false)
    },
    convert! { "capture-res", args(&[IntIn(0, 1 << 16)], 1), Str => Str,
        "itself, captured in a slot of the response",
        "str(x),capture-res(0)" => "x", |a, s, cx| captured(a, s, cx, true)
    },
    convert! { "debug", args(&[Str, Word(crate::ctx::SINKS)], 0), Any => Any,
        "itself, told to whoever reads 'show events buf0', or on stdout or stderr, behind a word of ours",
        "str(x),debug(seen)" => "x", |a, s, cx| {
            let prefix = String::from_utf8_lossy(a.text(0).unwrap_or_default()).into_owned();
            let sink = a.text(1).and_then(|t| std::str::from_utf8(t).ok()).unwrap_or("buf0");
            // Nobody forges a line or speaks to a terminal.
            let printable = |b: &u8| match b {
                b' '..=b'~' => char::from(*b),
                _ => '.',
            };
            let value: String = s.to_text().iter().map(printable).collect();
            let line = format!("[debug] {prefix}: type={} <{value}>", s.type_name());
            cx.facts.tell(sink, cx.now, line);
            Some(s)
        }
    },
    convert! { "fe_exists", NONE, Str => Bool, "whether there is a frontend of that name",
        "str(none),fe_exists" => "0",
        |_, s, cx| Some(Sample::Bool(cx.facts.fe_conn(&name(&s)).is_some()))
    },
    convert! { "nbsrv", NONE, Str => Int, "usable servers of the backend of that name",
        "str(none),nbsrv" => "", |_, s, cx| cx.facts.nbsrv(&name(&s)).and_then(int)
    },
    convert! { "set-var", args(&[Var, CONDITION, CONDITION, CONDITION, CONDITION], 1), Any => Any,
        "itself, kept in a variable; no value where a condition does not hold",
        "str(x),set-var(txn.v),upper,concat(-,txn.v)" => "X-x", |a, s, cx| {
            let s = s.into_owned();
            let names = (1..5).filter_map(|i| std::str::from_utf8(a.text(i)?).ok());
            let conditions: Vec<_> = names.filter_map(Condition::by_name).collect();
            cx.set_var(a.var(0)?, s.clone(), &conditions).then_some(s)
        }
    },
    convert! { "srv_is_up", NONE, Str => Bool, "whether the server [backend/]name is usable",
        "str(b/none),srv_is_up" => "", |_, s, cx| {
            let (backend, server) = server(&s, cx)?;
            cx.facts.srv_is_up(&backend, &server).map(Sample::Bool)
        }
    },
    convert! { "srv_queue", NONE, Str => Int, "requests waiting for the server [backend/]name",
        "str(b/none),srv_queue" => "", |_, s, cx| {
            let (backend, server) = server(&s, cx)?;
            cx.facts.srv_queue(&backend, &server).and_then(int)
        }
    },
    convert! { "unset-var", args(&[Var], 1), Any => Any, "itself; the variable is forgotten",
        "str(x),set-var(txn.u),unset-var(txn.u),concat(-,txn.u)" => "x-", |a, s, cx| {
            cx.unset_var(a.var(0)?);
            Some(s)
        }
    },
    convert! { "when", args(&[Word(OUTCOMES)], 1), Any => Any,
        "itself where that holds of the request, and no value where it does not; what became of it is known in logs",
        "str(x),when(normal)" => "x", |a, s, cx| {
            let word = std::str::from_utf8(a.text(0)?).ok()?;
            let (name, wanted) = match word.strip_prefix('!') {
                Some(name) => (name, false),
                None => (word, true),
            };
            (outcome(name, cx) == wanted).then_some(s)
        }
    },
];

/// What `when` asks for.
const OUTCOMES: &[&str] = &[
    "error",
    "!error",
    "forwarded",
    "!forwarded",
    "normal",
    "!normal",
    "processed",
    "!processed",
    "stopping",
    "!stopping",
    "toapplet",
    "!toapplet",
];

/// Whether the request came to this. Errors are what `option dontlog-normal` leaves in the log.
fn outcome(name: &str, cx: &Ctx<'_>) -> bool {
    let server = cx.stream.server.as_deref();
    // What answers itself has its name in brackets.
    let applet = server.is_some_and(|s| s.starts_with('<'));
    let error = cx.log.is_some_and(|log| {
        let failed = !matches!(log.termination.first(), None | Some(b'-' | 0));
        failed || log.retries > 0 || log.redispatched || log.status.is_some_and(|s| s >= 500)
    });
    match name {
        "error" => error,
        "normal" => !error,
        "forwarded" => server.is_some() && !applet,
        "processed" => server.is_some(),
        "stopping" => cx.facts.stopping(),
        _ => applet,
    }
}

fn captured<'s>(
    args: &[Arg],
    sample: Sample<'s>,
    cx: &Ctx<'_>,
    response: bool,
) -> Option<Sample<'s>> {
    let slot = usize::try_from(args.int(0)?).ok()?;
    let value = sample.to_bytes().into_owned().into();
    let given = cx.stream.overrides.give();
    given.captured.borrow_mut().push((response, slot, value));
    Some(sample)
}

fn name(sample: &Sample<'_>) -> String {
    String::from_utf8_lossy(&sample.to_bytes()).into_owned()
}

fn server(sample: &Sample<'_>, cx: &Ctx<'_>) -> Option<(String, String)> {
    let name = name(sample);
    match name.split_once('/') {
        Some((backend, server)) => Some((backend.into(), server.into())),
        None => Some((cx.stream.backend.as_deref()?.into(), name)),
    }
}
