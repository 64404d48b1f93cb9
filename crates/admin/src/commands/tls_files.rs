//! Certificates, authorities and revocation lists changed in two steps: `new`, `set`, `add`, `commit`,
//! `abort` and `del ssl …`; `show ssl ca-file` and `show ssl crl-file`.

use super::Command;
use super::certificates::{certificate, date, hex, named, names, one_line, store};
use crate::cli::{Cli, Grave, Said, World};
use model::CliLevel;
use std::fmt::Write;
use std::sync::Arc;
use tls::{Kind, KindFault};

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["abort", "ssl", "ca-file"],
        "abort ssl ca-file <cafile>",
        "abort a transaction for a CA file",
        CliLevel::Admin,
        |_, w, args, _| abort(w, Kind::Authorities, args),
    ),
    Command::new(
        &["abort", "ssl", "cert"],
        "abort ssl cert <certfile>",
        "abort a transaction for a certificate file",
        CliLevel::Admin,
        |_, w, args, _| abort(w, Kind::Certificate, args),
    ),
    Command::new(
        &["abort", "ssl", "crl-file"],
        "abort ssl crl-file <crlfile>",
        "abort a transaction for a CRL file",
        CliLevel::Admin,
        |_, w, args, _| abort(w, Kind::Revocations, args),
    ),
    Command::new(
        &["add", "ssl", "ca-file"],
        "add ssl ca-file <cafile> <payload>",
        "add certificates to a CA file",
        CliLevel::Admin,
        |_, w, args, payload| set(w, Kind::Authorities, args, payload, true),
    ),
    Command::new(
        &["commit", "ssl", "ca-file"],
        "commit ssl ca-file <cafile>",
        "commit a CA file",
        CliLevel::Admin,
        |_, w, args, _| commit(w, Kind::Authorities, args),
    ),
    Command::new(
        &["commit", "ssl", "cert"],
        "commit ssl cert <certfile>",
        "commit a certificate file",
        CliLevel::Admin,
        |_, w, args, _| commit(w, Kind::Certificate, args),
    ),
    Command::new(
        &["commit", "ssl", "crl-file"],
        "commit ssl crl-file <crlfile>",
        "commit a CRL file",
        CliLevel::Admin,
        |_, w, args, _| commit(w, Kind::Revocations, args),
    ),
    Command::new(
        &["del", "ssl", "ca-file"],
        "del ssl ca-file <cafile>",
        "delete an unused CA file",
        CliLevel::Admin,
        |_, w, args, _| delete(w, Kind::Authorities, args),
    ),
    Command::new(
        &["del", "ssl", "cert"],
        "del ssl cert <certfile>",
        "delete an unused certificate file",
        CliLevel::Admin,
        |_, w, args, _| delete(w, Kind::Certificate, args),
    ),
    Command::new(
        &["del", "ssl", "crl-file"],
        "del ssl crl-file <crlfile>",
        "delete an unused CRL file",
        CliLevel::Admin,
        |_, w, args, _| delete(w, Kind::Revocations, args),
    ),
    Command::new(
        &["new", "ssl", "ca-file"],
        "new ssl ca-file <cafile>",
        "create a new CA file to be used in a crt-list",
        CliLevel::Admin,
        |_, w, args, _| create(w, Kind::Authorities, args),
    ),
    Command::new(
        &["new", "ssl", "cert"],
        "new ssl cert <certfile>",
        "create a new certificate file to be used in a crt-list or a directory",
        CliLevel::Admin,
        |_, w, args, _| create(w, Kind::Certificate, args),
    ),
    Command::new(
        &["new", "ssl", "crl-file"],
        "new ssl crl-file <crlfile>",
        "create a new CRL file to be used in a crt-list",
        CliLevel::Admin,
        |_, w, args, _| create(w, Kind::Revocations, args),
    ),
    Command::new(
        &["set", "ssl", "ca-file"],
        "set ssl ca-file <cafile> <payload>",
        "replace a CA file",
        CliLevel::Admin,
        |_, w, args, payload| set(w, Kind::Authorities, args, payload, false),
    ),
    Command::new(
        &["set", "ssl", "cert"],
        "set ssl cert <certfile> <payload>",
        "replace a certificate file",
        CliLevel::Admin,
        |_, w, args, payload| set(w, Kind::Certificate, args, payload, false),
    ),
    Command::new(
        &["set", "ssl", "crl-file"],
        "set ssl crl-file <crlfile> <payload>",
        "replace a CRL file",
        CliLevel::Admin,
        |_, w, args, payload| set(w, Kind::Revocations, args, payload, false),
    ),
    Command::new(
        &["show", "ssl", "ca-file"],
        "show ssl ca-file [<cafile>[:<index>]]",
        "display the SSL CA files used in memory, or the details of a <cafile>, or a single certificate of index <index> of a CA file <cafile>",
        CliLevel::Operator,
        show_authorities,
    ),
    Command::new(
        &["show", "ssl", "crl-file"],
        "show ssl crl-file [<crlfile[:<index>>]]",
        "display the SSL CRL files used in memory, or the details of a <crlfile>, or a single CRL of index <index> of CRL file <crlfile>",
        CliLevel::Operator,
        show_revocations,
    ),
];

/// The last word of the commands on a kind, what messages call it, and the same short.
fn words(kind: Kind) -> (&'static str, &'static str, &'static str) {
    match kind {
        Kind::Certificate => ("cert", "certificate", "certificate"),
        Kind::Authorities => ("ca-file", "CA file", "CA"),
        Kind::Revocations => ("crl-file", "CRL file", "CRL"),
    }
}

/// What went wrong with a file, as one or two lines of a message.
fn reason(kind: Kind, fault: KindFault, name: &str) -> String {
    let (_, what, _) = words(kind);
    match fault {
        KindFault::Exists => format!("{} '{name}' already exists!", capital(what)),
        KindFault::NotThere => {
            format!("Can't replace a {what} which is not referenced by the configuration!")
        }
        KindFault::NothingBegun => "No ongoing transaction!".into(),
        KindFault::Other(other) => {
            format!("The ongoing transaction is about '{other}' but you are trying to set '{name}'")
        }
        KindFault::InUse => format!("{what} '{name}' in use, can't be deleted!"),
        KindFault::Payload(why) => match kind {
            Kind::Certificate if !is_part(name) => {
                format!("unable to load certificate from file '{name}'.\nCan't load the payload")
            }
            Kind::Certificate => format!("{why}\nCan't load the payload"),
            _ => "Invalid payload".into(),
        },
        KindFault::Unusable(why) => why,
    }
}

fn is_part(name: &str) -> bool {
    [".key", ".ocsp", ".issuer", ".sctl"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

fn capital(what: &str) -> String {
    let mut letters = what.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn create(world: &World<'_>, kind: Kind, args: &[&str]) -> Said {
    let (word, what, _) = words(kind);
    let Some(name) = args.first() else {
        return Said::fault(format!("'new ssl {word}' expects a filename"));
    };
    match store(world).create(kind, name) {
        Ok(()) => Said::message(
            Grave::Notice,
            match kind {
                Kind::Certificate => format!("New empty certificate store '{name}'!"),
                _ => format!("New {what} created '{name}'!"),
            },
        ),
        Err(fault) => Said::fault(reason(kind, fault, name)),
    }
}

/// Holds a file's new content back until its commit.
fn set(world: &World<'_>, kind: Kind, args: &[&str], payload: &str, add: bool) -> Said {
    let (word, _, short) = words(kind);
    let (Some(name), false) = (args.first(), payload.is_empty()) else {
        let verb = if add { "add" } else { "set" };
        let wanted = match kind {
            Kind::Certificate => "a certificate as a payload",
            Kind::Authorities => "CAs as a payload",
            Kind::Revocations => "CRLs as a payload",
        };
        return Said::fault(format!(
            "'{verb} ssl {word} expects a filename and {wanted}"
        ));
    };
    let (store, bytes) = (store(world), payload.as_bytes());
    let done = match kind {
        Kind::Certificate => store.set_certificate(name, bytes),
        Kind::Authorities => {
            let under_way = store.set_authorities(name, bytes, add);
            under_way.map(|u| (Arc::from(*name), u))
        }
        Kind::Revocations => store
            .set_revocations(name, bytes)
            .map(|u| (Arc::from(*name), u)),
    };
    match done {
        Ok((path, under_way)) => {
            let done = if under_way { "updated" } else { "created" };
            // HAProxy writes the first letter like this.
            let begin = if kind == Kind::Certificate { "T" } else { "t" };
            let line = format!("{begin}ransaction {done} for {short} {path}!");
            Said::message(Grave::Notice, line)
        }
        Err(fault) => Said::fault(format!(
            "{}\nCan't update {name}!",
            reason(kind, fault, name)
        )),
    }
}

/// Puts the new content in force.
fn commit(world: &World<'_>, kind: Kind, args: &[&str]) -> Said {
    let (word, ..) = words(kind);
    let Some(name) = args.first() else {
        return Said::fault(format!("'commit ssl {word} expects a filename"));
    };
    match store(world).commit(kind, name) {
        Ok(uses) => {
            let dots = ".".repeat(uses);
            Said::data(format!("Committing {name}{dots}\nSuccess!\n"))
        }
        Err(fault) => {
            let mut why = reason(kind, fault.clone(), name);
            if fault == KindFault::NothingBegun {
                why.push_str(" !");
            }
            Said::fault(format!("{why}\nCan't commit {name}!"))
        }
    }
}

/// Forgets the new content.
fn abort(world: &World<'_>, kind: Kind, args: &[&str]) -> Said {
    let (word, ..) = words(kind);
    let Some(name) = args.first() else {
        return Said::fault(format!("'abort ssl {word}' expects a filename"));
    };
    match store(world).abort(kind, name) {
        Ok(()) => {
            let line = format!("Transaction aborted for certificate '{name}'!");
            Said::message(Grave::Notice, line)
        }
        Err(KindFault::Other(other)) => Said::fault(format!(
            "The ongoing transaction is about '{other}' but you are trying to abort a transaction for '{name}'"
        )),
        Err(fault) => Said::fault(reason(kind, fault, name)),
    }
}

fn delete(world: &World<'_>, kind: Kind, args: &[&str]) -> Said {
    let (word, what, _) = words(kind);
    let Some(name) = args.first() else {
        let wanted = match kind {
            Kind::Certificate => "a certificate name".into(),
            _ => format!("a {what} name"),
        };
        return Said::fault(format!("'del ssl {word}' expects {wanted}"));
    };
    match store(world).delete(kind, name) {
        Ok(()) => Said::message(
            Grave::Notice,
            format!("{} '{name}' deleted!", capital(what)),
        ),
        Err(fault) => {
            let why = match fault {
                KindFault::NotThere => format!("{what} '{name}' doesn't exist!"),
                other => reason(kind, other, name),
            };
            Said::fault(format!("Can't remove the {what}: {why}\n"))
        }
    }
}

/// A name with an index from 1 after a colon. A colon that no number follows belongs to a name,
/// where there is such a file.
fn indexed(word: &str, there: impl Fn(&str) -> bool) -> Result<(&str, Option<usize>), Said> {
    let Some((name, index)) = word.rsplit_once(':').filter(|_| !there(named(word).0)) else {
        return Ok((word, None));
    };
    match index.parse().ok().filter(|n| *n > 0) {
        Some(index) => Ok((name, Some(index))),
        None => Err(Said::close_fault(format!(
            "wrong CA index after colons in '{word}'!"
        ))),
    }
}

/// The files of authorities, or what one says.
fn show_authorities(_: &mut Cli, world: &World<'_>, args: &[&str], _: &str) -> Said {
    let store = store(world);
    let Some(word) = args.first() else {
        let (files, pending) = store.names(Kind::Authorities);
        let mut out = String::new();
        if let Some((path, found)) = pending
            .and_then(|p| Some((store.pending_authorities(&p)?, p)))
            .map(|(found, path)| (path, found))
        {
            let _ = writeln!(
                out,
                "# transaction\n*{path} - {} certificate(s)",
                found.exact.len()
            );
        }
        out.push_str("# filename\n");
        for path in files {
            let count = store.find_authorities(&path).map_or(0, |a| a.exact.len());
            let _ = writeln!(out, "{path} - {count} certificate(s)");
        }
        return Said::data(out);
    };
    let (word, index) = match indexed(word, |name| store.find_authorities(name).is_some()) {
        Ok(found) => found,
        Err(fault) => return fault,
    };
    let (name, pending) = named(word);
    let found = match pending {
        true => store.pending_authorities(name),
        false => store.find_authorities(name),
    };
    let Some(found) = found else {
        return Said::fault("Can't display the CA file : Not found!");
    };
    let wanted = |at: usize| index.is_none_or(|n| n == at);
    let shown = found.exact.iter().enumerate().map(|(at, c)| (at + 1, c));
    let shown: Vec<_> = shown.filter(|(at, _)| wanted(*at)).collect();
    if shown.is_empty() {
        return Said::data("");
    }
    let mut out = head(world, Kind::Authorities, word, name, pending);
    for (at, der) in shown {
        let _ = writeln!(out, " \nCertificate #{at}:");
        certificate(&mut out, der);
    }
    Said::data(out)
}

fn head(world: &World<'_>, kind: Kind, word: &str, name: &str, pending: bool) -> String {
    let used = !pending && store(world).uses(kind, name) > 0;
    let status = if used { "Used" } else { "Unused" };
    format!("Filename: {word}\nStatus: {status}\n")
}

/// The files of revocation lists, or what one says.
fn show_revocations(_: &mut Cli, world: &World<'_>, args: &[&str], _: &str) -> Said {
    let store = store(world);
    let Some(word) = args.first() else {
        return names(store, Kind::Revocations);
    };
    let (word, index) = match indexed(word, |name| store.find_revocations(name).is_some()) {
        Ok(found) => found,
        Err(fault) => return fault,
    };
    let (name, pending) = named(word);
    let found = match pending {
        true => store.pending_revocations(name),
        false => store.find_revocations(name),
    };
    let Some(found) = found else {
        return Said::fault("Can't display the CRL file : Not found!");
    };
    if found.is_empty() {
        return Said::data(format!("Filename: {word}\nStatus: Empty\n"));
    }
    let mut out = head(world, Kind::Revocations, word, name, pending);
    for (at, der) in found.iter().enumerate() {
        if index.is_some_and(|n| n != at + 1) {
            continue;
        }
        let _ = writeln!(out, " \nCertificate Revocation List #{}:", at + 1);
        match tls::list_facts(der) {
            Some(facts) => list(&mut out, &facts),
            None => out.push_str("The list cannot be read\n"),
        }
    }
    Said::data(out)
}

fn list(out: &mut String, facts: &tls::ListFacts) {
    let next = facts.next_update.map_or("NONE".into(), date);
    let _ = write!(
        out,
        "Version {}\nSignature Algorithm: {}\nIssuer: {}\nLast Update: {}\nNext Update: {next}\n",
        facts.version,
        facts.signature_algorithm,
        one_line(&facts.issuer),
        date(facts.last_update),
    );
    if facts.revoked.is_empty() {
        out.push_str("No Revoked Certificates.\n");
        return;
    }
    out.push_str("Revoked Certificates:\n");
    for (serial, when) in &facts.revoked {
        let (serial, when) = (hex(serial), date(*when));
        let _ = write!(
            out,
            "    Serial Number: {serial}\n        Revocation Date: {when}\n"
        );
    }
}
