//! `show ssl cert`, and how certificates are shown.

use super::Command;
use crate::cli::{Cli, Said, World};
use model::CliLevel;
use std::fmt::Write;
use std::sync::Arc;
use tls::{Kind, Parts, Store};

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["dump", "ssl", "cert"],
        "dump ssl cert <certfile>",
        "dump the SSL certificates in PEM, its key included",
        CliLevel::Admin,
        dump,
    ),
    Command::new(
        &["show", "ssl", "cert"],
        "show ssl cert [<certfile>]",
        "display the SSL certificates used in memory, or the details of a file",
        CliLevel::Operator,
        show,
    ),
    Command::new(
        &["show", "ssl", "providers"],
        "show ssl providers",
        "show loaded SSL providers",
        CliLevel::Operator,
        |_, _, _, _| Said::data("Loaded providers : \n\t- rustls with aws-lc-rs\n"),
    ),
];

pub(super) fn store<'a>(world: &'a World<'_>) -> &'a Arc<Store> {
    &world.generation.config.global.certificates
}

/// A name as commands write it: `*` before it means the content not committed yet, `\` that what
/// follows is the name even if it begins with `*`.
pub(super) fn named(word: &str) -> (&str, bool) {
    let (name, pending) = match word.strip_prefix('*') {
        Some(name) => (name, true),
        None => (word, false),
    };
    (name.strip_prefix('\\').unwrap_or(name), pending)
}

/// The files of a kind, behind the one that is being changed.
pub(super) fn names(store: &Store, kind: Kind) -> Said {
    let (files, pending) = store.names(kind);
    let mut out = String::new();
    if let Some(path) = pending {
        let _ = writeln!(out, "# transaction\n*{path}");
    }
    out.push_str("# filename\n");
    for path in files {
        let _ = writeln!(out, "{path}");
    }
    Said::data(out)
}

/// The files, or one file's certificate.
fn show(_: &mut Cli, world: &World<'_>, args: &[&str], _: &str) -> Said {
    let store = store(world);
    let Some(word) = args.first() else {
        return names(store, Kind::Certificate);
    };
    let (name, pending) = named(word);
    let parts = match pending {
        true => store.pending(name),
        false => store.find(name).map(|m| m.parts.clone()),
    };
    if let Some(parts) = parts {
        let status = match store.uses(Kind::Certificate, name) {
            _ if parts.chain.is_empty() => "Empty",
            0 => "Unused",
            _ if pending => "Unused",
            _ => "Used",
        };
        return Said::data(details(word, status, &parts));
    }
    // `FILE.ocsp`: the answer about it.
    let answer = name.strip_suffix(".ocsp").and_then(|of| match pending {
        true => store.pending(of)?.ocsp,
        false => store.find(of)?.parts.ocsp.clone(),
    });
    match answer {
        Some(der) => Said::data(super::ocsp::text(&der)),
        None => {
            Said::fault("Can't display the certificate: Not found or the certificate is a bundle!")
        }
    }
}

fn details(name: &str, status: &str, parts: &Parts) -> String {
    let mut out = format!("Filename: {name}\nStatus: {status}\n");
    if !parts.chain.is_empty() {
        certificate(&mut out, parts.certificate());
    }
    for link in parts.chain.iter().skip(1) {
        let Some(facts) = tls::facts(link) else {
            continue;
        };
        let (subject, issuer) = (one_line(&facts.subject), one_line(&facts.issuer));
        let _ = write!(out, "Chain Subject: {subject}\nChain Issuer: {issuer}\n");
    }
    let id = parts.ocsp.as_ref().and_then(|_| parts.id());
    let key = id.map(|id| lower_hex(&id.der())).unwrap_or_default();
    let _ = writeln!(out, "OCSP Response Key: {key}");
    out
}

/// Appends what a certificate (DER) says.
pub(super) fn certificate(out: &mut String, der: &[u8]) {
    let Some(facts) = tls::facts(der) else {
        out.push_str("The certificate cannot be read\n");
        return;
    };
    let _ = write!(
        out,
        "Serial: {}\nnotBefore: {}\nnotAfter: {}\nSubject Alternative Name: {}\nAlgorithm: {}\nSHA1 FingerPrint: {}\nSubject: {}\nIssuer: {}\n",
        hex(&facts.serial),
        date(facts.not_before_unix),
        date(facts.not_after_unix),
        facts.alternatives.join(", "),
        facts.key,
        hex(&tls::sha1(der)),
        one_line(&facts.subject),
        one_line(&facts.issuer),
    );
}

/// Everything of a certificate, as PEM.
fn dump(_: &mut Cli, world: &World<'_>, args: &[&str], _: &str) -> Said {
    let Some(word) = args.first() else {
        return Said::fault("'dump ssl cert' expects a filename");
    };
    let (name, pending) = named(word);
    let store = store(world);
    let parts = match pending {
        true => store.pending(name),
        false => store.find(name).map(|m| m.parts.clone()),
    };
    match parts {
        Some(parts) => Said::data(parts.to_pem()),
        None => {
            Said::fault("Can't display the certificate: Not found or the certificate is a bundle!")
        }
    }
}

/// `/C=KR/CN=example.com`.
pub(super) fn one_line(name: &[(String, String)]) -> String {
    name.iter()
        .map(|(key, value)| format!("/{key}={value}"))
        .collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

pub(super) fn lower_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `Nov 21 07:01:28 2026 GMT`.
pub(super) fn date(unix: i64) -> String {
    let zone = rules::Zone::utc(unix);
    let date = rules::strftime(b"%b %e %H:%M:%S %Y GMT", unix, (0, 0), &zone);
    String::from_utf8_lossy(&date).into_owned()
}
