//! `show errors`: the last malformed request and response of each proxy.

use super::Command;
use crate::cli::{Cli, Said, World};
use crate::time::stamp;
use model::{CliLevel, Proxy};
use state::{Captured, Process};
use std::fmt::Write;
use std::sync::Arc;

pub(super) static COMMANDS: &[Command] = &[Command::new(
    &["show", "errors"],
    "show errors [<px>] [request|response]",
    "report last request and/or response errors for each proxy",
    CliLevel::Operator,
    show_errors,
)];

fn show_errors(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let mut wanted: Option<Vec<u32>> = None;
    let mut direction = None;
    for (i, word) in args.iter().enumerate() {
        match *word {
            "request" => direction = Some(false),
            "response" => direction = Some(true),
            "-1" => {}
            name if i == 0 => {
                let proxies = &w.generation.config.proxies;
                // A frontend and a backend may share a name.
                let meant = |p: &&Arc<Proxy>| *p.name == *name || p.id.to_string() == name;
                let ids: Vec<u32> = proxies.iter().filter(meant).map(|p| p.id).collect();
                if ids.is_empty() {
                    return Said::fault("No such proxy.");
                }
                wanted = Some(ids);
            }
            _ => {}
        }
    }
    let (events, all) = w.process.errors.list();
    let mut out = format!(
        "Total events captured on [{}] : {events}\n",
        stamp(w.wall, w.process, 3)
    );
    for captured in all {
        let concerns = wanted.as_ref().is_none_or(|ids| {
            let other = captured.other.as_ref().map(|o| o.0);
            ids.contains(&captured.proxy.0) || other.is_some_and(|id| ids.contains(&id))
        });
        if concerns && direction.is_none_or(|d| d == captured.response) {
            dump(w.process, &captured, &mut out);
        }
    }
    Said::data(out)
}

fn dump(process: &Process, c: &Captured, out: &mut String) {
    let name = |n: &Option<(u32, Arc<str>)>| match n {
        Some((id, name)) => format!("{name} (#{id})"),
        None => "<NONE> (#-1)".into(),
    };
    let (side, what, other) = if c.response {
        ("backend", "response", "frontend")
    } else {
        ("frontend", "request", "backend")
    };
    let source = c.source.map_or("unix:1".into(), |s| s.to_string());
    let _ = writeln!(
        out,
        " \n[{}] {side} {} (#{}): invalid {what}\n  {other} {}, server {}, event #{}, src {source}\n  \
         len {}, error at position {}:\n  ",
        stamp(c.when, process, 3),
        c.proxy.1,
        c.proxy.0,
        name(&c.other),
        name(&c.server),
        c.event,
        c.bytes.len(),
        c.position,
    );
    lines(&c.bytes, out);
}

/// Bytes of a line of the dump before it is continued on another.
const WIDTH: usize = 70;

/// The bytes, a line of the message a line; a line that goes on has a `+` after its offset.
fn lines(bytes: &[u8], out: &mut String) {
    let mut at = 0;
    let mut goes_on = false;
    while at < bytes.len() {
        let _ = write!(out, "  {at:05}{} ", if goes_on { '+' } else { ' ' });
        let mut width = 0;
        goes_on = true;
        while let Some(&byte) = bytes.get(at) {
            let shown = match byte {
                b'\r' => "\\r".to_string(),
                b'\n' => "\\n".to_string(),
                b'\t' => "\\t".to_string(),
                b'\\' => "\\\\".to_string(),
                b' '..=b'~' => char::from(byte).to_string(),
                _ => format!("\\x{byte:02X}"),
            };
            if width + shown.len() > WIDTH {
                break;
            }
            width += shown.len();
            out.push_str(&shown);
            at += 1;
            if byte == b'\n' {
                goes_on = false;
                break;
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_shows_every_byte_at_its_offset_and_continues_long_lines() {
        let mut out = String::new();
        lines(b"GET /x\r\nb\xFF\x01\\\t\r\n", &mut out);
        assert_eq!(
            out,
            "  00000  GET /x\\r\\n\n  00008  b\\xFF\\x01\\\\\\t\\r\\n\n"
        );
        out.clear();
        lines(&[b'y'; 100], &mut out);
        let first = format!("  00000  {}\n  00070+ {}\n", "y".repeat(70), "y".repeat(30));
        assert_eq!(out, first);
    }
}
