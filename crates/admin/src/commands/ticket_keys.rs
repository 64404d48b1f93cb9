//! `show tls-keys` and `set ssl tls-key`: keys of session tickets that a farm shares.

use super::Command;
use super::certificates::store;
use crate::cli::{Cli, Grave, Said, World};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::CliLevel;
use std::fmt::Write;
use std::sync::Arc;
use tls::{KeyFault, TicketKeys};

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["set", "ssl", "tls-key"],
        "set ssl tls-key [id|file] <key>",
        "set the next TLS key for the <id> or <file> listener to <key>",
        CliLevel::Admin,
        set,
    ),
    Command::new(
        &["show", "tls-keys"],
        "show tls-keys [id|*]",
        "show tls keys references or dump tls ticket keys when id specified",
        CliLevel::Admin,
        show,
    ),
];

/// The file of this name, or of this number after `#`.
fn found(files: &[Arc<TicketKeys>], word: &str) -> Option<(usize, Arc<TicketKeys>)> {
    let at = match word.strip_prefix('#') {
        Some(number) => number.parse().ok()?,
        None => files.iter().position(|k| &*k.path == word)?,
    };
    Some((at, Arc::clone(files.get(at)?)))
}

fn set(_: &mut Cli, world: &World<'_>, args: &[&str], _: &str) -> Said {
    let [file, key, ..] = args else {
        return Said::fault(
            "'set ssl tls-key' expects a filename and the new TLS key in base64 encoding.",
        );
    };
    let Some((_, keys)) = found(&store(world).all_ticket_keys(), file) else {
        return Said::fault("'set ssl tls-key' unable to locate referenced filename");
    };
    match keys.push(key) {
        Ok(()) => Said::message(Grave::Notice, "TLS ticket key updated!"),
        Err(KeyFault::Encoding) => {
            Said::fault("'set ssl tls-key' received invalid base64 encoded TLS key.")
        }
        Err(KeyFault::Size) => Said::fault("'set ssl tls-key' received a key of wrong size."),
    }
}

fn show(_: &mut Cli, world: &World<'_>, args: &[&str], _: &str) -> Said {
    let files = store(world).all_ticket_keys();
    let mut out = String::new();
    let Some(word) = args.first() else {
        out.push_str("# id (file)\n");
        for (id, keys) in files.iter().enumerate() {
            let _ = writeln!(out, "{id} ({})", keys.path);
        }
        return Said::data(out);
    };
    let wanted: Vec<_> = match *word {
        "*" => files.into_iter().enumerate().collect(),
        word => match found(&files, word) {
            Some(one) => vec![one],
            None => return Said::fault("'show tls-keys' unable to locate referenced filename"),
        },
    };
    out.push_str("# id secret\n");
    for (id, keys) in wanted {
        let _ = writeln!(out, "# {id} ({})", keys.path);
        for (at, key) in keys.keys().iter().enumerate() {
            let _ = writeln!(out, "{id}.{at} {}", STANDARD.encode(key.bytes()));
        }
    }
    Said::data(out)
}
