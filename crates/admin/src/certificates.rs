//! `show|set|commit|abort ssl cert`.

use crate::cli::World;
use std::fmt::Write;
use std::sync::Arc;
use tls::{Facts, Material, Store};

fn store<'a>(world: &'a World<'_>) -> &'a Arc<Store> {
    &world.generation.config.global.certificates
}

/// Holds a certificate's new content back until its commit.
pub fn set(world: &World<'_>, args: &[&str]) -> String {
    let [path, pem] = args else {
        return "'set ssl cert expects a filename and a certificate as a payload\n".into();
    };
    match store(world).set(path, pem.as_bytes()) {
        Ok(true) => format!("Transaction updated for certificate {path}!\n"),
        Ok(false) => format!("Transaction created for certificate {path}!\n"),
        Err(error) => error,
    }
}

/// Puts the new content in force.
pub fn commit(world: &World<'_>, args: &[&str]) -> String {
    let [path] = args else {
        return "'commit ssl cert expects a filename\n".into();
    };
    match store(world).commit(path) {
        Ok(()) => format!("Committing {path}.\nSuccess!\n"),
        Err(error) => format!("{error}Can't commit {path}!\n"),
    }
}

/// Forgets the new content.
pub fn abort(world: &World<'_>, args: &[&str]) -> String {
    let [path] = args else {
        return "'abort ssl cert' expects a filename\n".into();
    };
    match store(world).abort(path) {
        Ok(()) => format!("Transaction aborted for certificate '{path}'!\n"),
        Err(error) => error,
    }
}

/// The files, or one file's certificate; `*` before a name means the content not committed yet.
pub fn show(world: &World<'_>, args: &[&str]) -> String {
    let store = store(world);
    let Some(name) = args.first() else {
        return list(store);
    };
    let (path, pending) = match name.strip_prefix('*') {
        Some(path) => (path, true),
        None => (*name, false),
    };
    match store.find(path, pending) {
        Some(material) => details(name, &material, pending),
        None => "Can't display the certificate: Not found or the certificate is a bundle!\n".into(),
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
    String::from_utf8_lossy(&rules::strftime(b"%b %e %H:%M:%S %Y GMT", unix)).into_owned()
}
