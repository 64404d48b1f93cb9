//! Live sessions: listing and ending them.

use super::{Command, conversation, with_server};
use crate::cli::{Cli, Packets, Said, World};
use crate::time::stamp;
use model::{CliLevel, Mode};
use rules::Wall;
use state::{SessionFacts, Stage, Which};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// How long a worker may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["show", "sess"],
        "show sess [id|all|older <age>]",
        "report the list of current sessions or dump this exact session",
        CliLevel::Operator,
        show_sess,
    ),
    Command::new(
        &["shutdown", "session"],
        "shutdown session [id]",
        "kill a specific session",
        CliLevel::Admin,
        |_, w, a, _| match a.first().and_then(|t| id(t)) {
            None => Said::fault("Session pointer expected (use 'show sess')."),
            Some(id) if w.sessions.end(Which::One(id), PATIENCE) > 0 => Said::nothing(),
            Some(_) => Said::fault("No such session (use 'show sess')."),
        },
    ),
    Command::new(
        &["shutdown", "sessions", "server"],
        "shutdown sessions server <bk>/<srv>",
        "kill sessions on a server",
        CliLevel::Admin,
        |_, w, a, _| {
            with_server(w, a, |b, s| {
                w.sessions.end(Which::Server(b.id, s.id), PATIENCE);
                if b.proxy().mode == Mode::Packet {
                    let own = format!(" be={} srv={} ", b.name, s.name);
                    w.system.packets(Packets::Clear(&[own.as_str()]));
                }
                Said::nothing()
            })
        },
    ),
];

/// The number that stands for a session's address.
fn id(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// A session with the names that its numbers stand for.
struct Shown {
    facts: SessionFacts,
    frontend: Arc<str>,
    mode: Mode,
    backend: Option<Arc<str>>,
    server: Option<(Arc<str>, String)>,
}

fn shown(w: &World<'_>, facts: SessionFacts) -> Shown {
    let frontend = w
        .generation
        .frontends
        .iter()
        .find(|f| f.id == facts.frontend);
    let backend = w
        .generation
        .backends
        .iter()
        .find(|b| Some(b.id) == facts.backend);
    let server = backend.and_then(|b| b.servers().iter().find(|s| Some(s.id) == facts.server));
    let address = |s: &state::Server| {
        let target = s.target().and_then(|t| t.socket(None));
        target.map_or("-".to_string(), |a| a.to_string())
    };
    Shown {
        frontend: frontend.map_or("<NONE>".into(), |f| Arc::clone(&f.name)),
        mode: frontend.map_or(Mode::Tcp, |f| f.proxy().mode),
        backend: backend.map(|b| Arc::clone(&b.name)),
        server: server.map(|s| (Arc::clone(&s.name), address(s))),
        facts,
    }
}

fn show_sess(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let sessions = w.sessions.list(PATIENCE);
    let wanted = args.first().copied().unwrap_or_default();
    let mut out = String::new();
    match (wanted, id(wanted)) {
        (_, Some(id)) => match sessions.into_iter().find(|s| s.id == id) {
            Some(one) => whole(w, &shown(w, one), &mut out),
            None => return Said::fault("Session not found."),
        },
        ("older", _) => {
            let Some(least) = args.get(1).and_then(|text| conversation::seconds(text)) else {
                return Said::fault("Expects a minimum age (in seconds by default).");
            };
            let old = |s: &SessionFacts| {
                let age = w.now.saturating_duration_since(s.accepted);
                s.stage == Stage::Busy && age >= least
            };
            for one in sessions.into_iter().filter(old) {
                line(w, &shown(w, one), &mut out);
            }
        }
        ("all", _) => {
            for one in sessions {
                whole(w, &shown(w, one), &mut out);
            }
        }
        _ => {
            // A connection that waits for a request is no session in this list.
            for one in sessions.into_iter().filter(|s| s.stage == Stage::Busy) {
                line(w, &shown(w, one), &mut out);
            }
            own_line(w, &mut out);
        }
    }
    Said::data(out)
}

/// The conversation in which this is asked is a session, too.
fn own_line(w: &World<'_>, out: &mut String) {
    let _ = writeln!(
        out,
        "{:#x}: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0 age=0s \
         calls=1 rate=0 cpu=0 lat=0 scf=[8,0h,fd={}] exp= rc=0 c_exp=",
        u32::MAX,
        w.descriptor,
    );
}

fn source(facts: &SessionFacts) -> (&'static str, String) {
    match facts.source {
        Some(a) if a.is_ipv4() => ("tcpv4", a.to_string()),
        Some(a) => ("tcpv6", a.to_string()),
        None => ("unix_stream", "unix:1".into()),
    }
}

fn line(w: &World<'_>, s: &Shown, out: &mut String) {
    let (proto, src) = source(&s.facts);
    let _ = writeln!(
        out,
        "{:#x}: proto={proto} src={src} fe={} be={} srv={} ts=00 epoch=0 age={} calls={} rate=0 \
         cpu=0 lat=0 scf=[8,0h,fd={}] exp= rc=0 c_exp=",
        s.facts.id,
        s.frontend,
        s.backend.as_deref().unwrap_or("<NONE>"),
        s.server.as_ref().map_or("<none>", |(n, _)| n),
        age(w.now.saturating_duration_since(s.facts.accepted)),
        s.facts.requests,
        s.facts.descriptor,
    );
}

fn whole(w: &World<'_>, s: &Shown, out: &mut String) {
    let (proto, src) = source(&s.facts);
    let since = w.now.saturating_duration_since(s.facts.accepted);
    let mode = s.mode.name();
    let _ = writeln!(
        out,
        "{:#x}: [{}] id={} proto={proto} source={src}",
        s.facts.id,
        stamp(earlier(w.wall, since), w.process, 6),
        s.facts.id & 0xFFFF_FFFF,
    );
    let _ = writeln!(
        out,
        "  frontend={} (id={} mode={mode}), worker={}, fd={}, requests={}, state={}, age={}",
        s.frontend,
        s.facts.frontend,
        s.facts.worker + 1,
        s.facts.descriptor,
        s.facts.requests,
        if s.facts.stage == Stage::Busy {
            "EST"
        } else {
            "IDLE"
        },
        age(since),
    );
    match (&s.backend, s.facts.backend) {
        (Some(name), Some(id)) => {
            let _ = writeln!(out, "  backend={name} (id={id} mode={mode})");
        }
        _ => out.push_str("  backend=<NONE> (id=-1 mode=-)\n"),
    }
    match (&s.server, s.facts.server) {
        (Some((name, address)), Some(id)) => {
            let _ = writeln!(out, "  server={name} (id={id}) addr={address}");
        }
        _ => out.push_str("  server=<NONE> (id=-1)\n"),
    }
}

fn earlier(wall: Wall, by: Duration) -> Wall {
    let micros = wall.secs * 1_000_000 + i64::from(wall.micros) - by.as_micros() as i64;
    Wall {
        secs: micros.div_euclid(1_000_000),
        micros: micros.rem_euclid(1_000_000) as u32,
    }
}

/// A time in its two largest units, as HAProxy shows ages: `1h2m`, `12s`.
fn age(time: Duration) -> String {
    let s = time.as_secs();
    let units = [
        (s / 86400, 'd'),
        (s / 3600 % 24, 'h'),
        (s / 60 % 60, 'm'),
        (s % 60, 's'),
    ];
    let first = units.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let two = units.iter().skip(first).take(2).filter(|(n, _)| *n > 0);
    let text: String = two.map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_shown_in_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m1s"),
            (3600, "1h"),
            (90061, "1d1h"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_session_is_named_by_a_hexadecimal_number() {
        assert_eq!(id("0x1f"), Some(31));
        assert_eq!((id("31"), id("0x"), id("0xzz")), (None, None, None));
    }
}
