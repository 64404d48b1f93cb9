//! `show|set|commit|abort ssl cert`.

use super::Command;
use crate::cli::{Cli, Grave, Said, World};
use model::CliLevel;
use std::fmt::Write;
use std::sync::Arc;
use tls::{Facts, Material, Store};

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["abort", "ssl", "cert"],
        "abort ssl cert <certfile>",
        "abort a transaction for a certificate file",
        CliLevel::Admin,
        abort,
    ),
    Command::new(
        &["commit", "ssl", "cert"],
        "commit ssl cert <certfile>",
        "commit a certificate file",
        CliLevel::Admin,
        commit,
    ),
    Command::new(
        &["set", "ssl", "cert"],
        "set ssl cert <certfile> <payload>",
        "replace a certificate file",
        CliLevel::Admin,
        set,
    ),
    Command::new(
        &["show", "ssl", "cert"],
        "show ssl cert [<certfile>]",
        "display the SSL certificates used in memory, or the details of a file",
        CliLevel::Operator,
        show,
    ),
];

fn store<'a>(world: &'a World<'_>) -> &'a Arc<Store> {
    &world.generation.config.global.certificates
}

/// Holds a certificate's new content back until its commit.
fn set(_: &mut Cli, world: &World<'_>, args: &[&str], payload: &str) -> Said {
    let (Some(path), false) = (args.first(), payload.is_empty()) else {
        return Said::fault("'set ssl cert expects a filename and a certificate as a payload");
    };
    match store(world).set(path, payload.as_bytes()) {
        Ok(updated) => {
            let word = if updated { "updated" } else { "created" };
            Said::message(
                Grave::Notice,
                format!("Transaction {word} for certificate {path}!"),
            )
        }
        Err(error) => Said::fault(error.trim_end()),
    }
}

/// Puts the new content in force.
fn commit(_: &mut Cli, world: &World<'_>, args: &[&str], _: &str) -> Said {
    let Some(path) = args.first() else {
        return Said::fault("'commit ssl cert expects a filename");
    };
    match store(world).commit(path) {
        Ok(()) => Said::data(format!("Committing {path}.\nSuccess!\n")),
        Err(error) => Said::fault(format!("{error}Can't commit {path}!")),
    }
}

/// Forgets the new content.
fn abort(_: &mut Cli, world: &World<'_>, args: &[&str], _: &str) -> Said {
    let Some(path) = args.first() else {
        return Said::fault("'abort ssl cert' expects a filename");
    };
    match store(world).abort(path) {
        Ok(()) => {
            let line = format!("Transaction aborted for certificate '{path}'!");
            Said::message(Grave::Notice, line)
        }
        Err(error) => Said::fault(error.trim_end()),
    }
}

/// The files, or one file's certificate; `*` before a name means the content not committed yet.
fn show(_: &mut Cli, world: &World<'_>, args: &[&str], _: &str) -> Said {
    let store = store(world);
    let Some(name) = args.first() else {
        return Said::data(list(store));
    };
    let (path, pending) = match name.strip_prefix('*') {
        Some(path) => (path, true),
        None => (*name, false),
    };
    match store.find(path, pending) {
        Some(material) => Said::data(details(name, &material, pending)),
        None => {
            Said::fault("Can't display the certificate: Not found or the certificate is a bundle!")
        }
    }
}

fn list(store: &Store) -> String {
    let shown = store.shown();
    let mut out = String::new();
    if let Some(path) = shown.pending {
        let _ = writeln!(out, "# transaction\n*{path}");
    }
    out.push_str("# filename\n");
    for path in shown.files {
        let _ = writeln!(out, "{path}");
    }
    out
}

fn details(name: &str, material: &Material, pending: bool) -> String {
    let Some(facts) = tls::facts(material.certificate()) else {
        return "Can't display the certificate: it cannot be read\n".into();
    };
    let status = if pending { "Unused" } else { "Used" };
    let names: Vec<String> = facts
        .alternatives
        .iter()
        .map(|n| format!("DNS:{n}"))
        .collect();
    let mut out = String::new();
    let _ = write!(
        out,
        "Filename: {name}\nStatus: {status}\nSerial: {}\nnotBefore: {}\nnotAfter: {}\nSubject Alternative Name: {}\nAlgorithm: {}\nSHA1 FingerPrint: {}\nSubject: {}\nIssuer: {}\n",
        hex(&facts.serial),
        date(facts.not_before_unix),
        date(facts.not_after_unix),
        names.join(", "),
        facts.key,
        hex(&tls::sha1(material.certificate())),
        one_line(&facts.subject),
        one_line(&facts.issuer),
    );
    for link in material.key.cert.iter().skip(1) {
        let subject = tls::facts(link).map(|f: Facts| one_line(&f.subject));
        let _ = writeln!(out, "Chain Subject: {}", subject.unwrap_or_default());
    }
    out.push_str("OCSP Response Key: \n");
    out
}

/// `/C=KR/CN=example.com`.
fn one_line(name: &[(String, String)]) -> String {
    name.iter()
        .map(|(key, value)| format!("/{key}={value}"))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

/// `Nov 21 07:01:28 2026 GMT`.
fn date(unix: i64) -> String {
    let zone = rules::Zone::utc(unix);
    let date = rules::strftime(b"%b %e %H:%M:%S %Y GMT", unix, (0, 0), &zone);
    String::from_utf8_lossy(&date).into_owned()
}
