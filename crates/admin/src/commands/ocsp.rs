//! `set|show ssl ocsp-response`.

use super::Command;
use super::certificates::{date, hex, lower_hex, store};
use crate::cli::{Cli, Grave, Said, World};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::CliLevel;
use std::fmt::Write;
use tls::{CertificateId, Responder};

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["set", "ssl", "ocsp-response"],
        "set ssl ocsp-response <resp|payload>",
        "update a certificate's OCSP Response from a base64-encode DER",
        CliLevel::Admin,
        set,
    ),
    Command::new(
        &["show", "ssl", "ocsp-response"],
        "show ssl ocsp-response [[text|base64] <id|path>]",
        "display the IDs of the OCSP responses used in memory, or the details of a single OCSP response (in text or base64 format)",
        CliLevel::Operator,
        show,
    ),
];

fn set(_: &mut Cli, world: &World<'_>, args: &[&str], payload: &str) -> Said {
    let text: String = match args.first() {
        Some(word) if payload.is_empty() => (*word).into(),
        _ => payload.split_whitespace().collect(),
    };
    if text.is_empty() {
        return Said::fault("'set ssl ocsp-response' expects response in base64 encoding.");
    }
    let Ok(der) = STANDARD.decode(text) else {
        return Said::fault("'set ssl ocsp-response' received invalid base64 encoded response.");
    };
    match store(world).set_ocsp_answer(&der) {
        Ok(()) => Said::message(Grave::Notice, "OCSP Response updated!"),
        Err(why) => Said::fault(format!("{why}.")),
    }
}

fn show(_: &mut Cli, world: &World<'_>, args: &[&str], _: &str) -> Said {
    let answers = store(world).ocsp_answers();
    let mut out = String::new();
    if args.is_empty() {
        out.push_str("# Certificate IDs\n");
        for (id, material) in answers {
            let _ = writeln!(out, "Certificate ID key : {}", lower_hex(&id.der()));
            let _ = writeln!(out, "Certificate path : {}", material.path);
            out.push_str(" Certificate ID:\n");
            identify(&mut out, "   ", &id);
        }
        return Said::data(out);
    }
    let (base64, word) = match args {
        ["base64", word, ..] => (true, *word),
        ["text", word, ..] => (false, *word),
        [word, ..] => (false, *word),
        [] => (false, ""),
    };
    let same = |id: &CertificateId| lower_hex(&id.der()) == word.to_ascii_lowercase();
    let found = answers
        .iter()
        .find(|(id, material)| same(id) || &*material.path == word);
    let Some(der) = found.and_then(|(_, m)| m.parts.ocsp.as_ref()) else {
        return Said::fault("Certificate ID does not match any certificate.");
    };
    match base64 {
        true => Said::data(format!("{}\n", STANDARD.encode(der))),
        false => Said::data(text(der)),
    }
}

fn identify(out: &mut String, indent: &str, id: &CertificateId) {
    let _ = write!(
        out,
        "{indent}Issuer Name Hash: {}\n{indent}Issuer Key Hash: {}\n{indent}Serial Number: {}\n",
        hex(&id.name_hash),
        hex(&id.key_hash),
        hex(&id.serial),
    );
}

/// An answer as OpenSSL's tools show it, without the certificates in it.
pub(super) fn text(der: &[u8]) -> String {
    let answer = match tls::read_ocsp(der) {
        Ok(answer) => answer,
        Err(why) => return format!("{why}\n"),
    };
    let responder = match &answer.responder {
        Responder::Name(name) => {
            let parts: Vec<String> = name.iter().map(|(k, v)| format!("{k} = {v}")).collect();
            parts.join(", ")
        }
        Responder::Key(hash) => hex(hash),
    };
    let mut out = format!(
        "OCSP Response Data:\n    OCSP Response Status: successful (0x0)\n    Response Type: Basic OCSP Response\n    Version: 1 (0x0)\n    Responder Id: {responder}\n    Produced At: {}\n    Responses:\n",
        date(answer.produced)
    );
    for single in &answer.singles {
        out.push_str("    Certificate ID:\n      Hash Algorithm: sha1\n");
        identify(&mut out, "      ", &single.id);
        let _ = writeln!(out, "    Cert Status: {}", single.status);
        if let Some(when) = single.revoked {
            let _ = writeln!(out, "    Revocation Time: {}", date(when));
        }
        let _ = writeln!(out, "    This Update: {}", date(single.from));
        if let Some(until) = single.until {
            let _ = writeln!(out, "    Next Update: {}", date(until));
        }
        out.push_str(" \n");
    }
    let _ = write!(
        out,
        "    Signature Algorithm: {}\n    Signature Value:\n",
        answer.algorithm
    );
    for row in answer.signature.chunks(18) {
        let bytes: Vec<String> = row.iter().map(|b| format!("{b:02x}")).collect();
        let _ = writeln!(out, "        {}", bytes.join(":"));
    }
    out
}
