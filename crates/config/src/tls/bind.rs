//! The TLS words of a `bind` line, and `crt-list` files.

use super::{
    TlsWord, based, ca_path, crt_path, protocols, read, verify, version, version_word, versions,
    word,
};
use crate::diag::Fault;
use crate::draft::Line;
use crate::lexer;
use std::collections::BTreeMap;
use std::sync::Arc;
use tls::{Acceptor, AcceptorSettings, ListEntry, Verify, Version};

/// The TLS part of a `bind` line being read.
pub struct BindDraft {
    on: bool,
    /// TLS is offered, not spoken at once.
    offered: bool,
    settings: AcceptorSettings,
    warnings: Vec<Fault>,
}

impl BindDraft {
    /// As `global` says.
    pub fn new(line: &Line<'_>) -> BindDraft {
        BindDraft {
            on: false,
            offered: false,
            settings: line.bases.tls.bind.clone(),
            warnings: Vec::new(),
        }
    }

    /// Reads the word at `at`: how many words it took, or `None` if it is none of TLS.
    pub fn word(&mut self, line: &Line<'_>, at: usize) -> Result<Option<usize>, Fault> {
        read(BIND_TLS_WORDS, self, line, at)
    }

    /// Whether TLS is offered, not spoken at once.
    pub fn offered(&self) -> bool {
        self.offered
    }

    /// Reads the files, once the line is complete.
    pub fn finish(self, line: &mut Line<'_>) -> Result<Option<Arc<Acceptor>>, Fault> {
        line.warnings.extend(self.warnings);
        let place = |word: &str| line.texts(0).iter().position(|w| *w == word);
        let certificate = place("crt").or_else(|| place("crt-list"));
        if let (true, true, Some(at)) = (self.on, self.offered, place("starttls")) {
            return line.fail(
                at,
                "'ssl' speaks TLS at once, 'starttls' when a client asks: remove one of them, or use two ports",
            );
        }
        if !self.on && !self.offered {
            if let Some(at) = certificate {
                let message = "a certificate is named but TLS is not turned on: add 'ssl'";
                line.warnings.push(Fault::warning(line.skip + at, message));
            }
            return Ok(None);
        }
        let word = if self.on { "ssl" } else { "starttls" };
        let at = place(word).unwrap_or(0);
        if self.settings.certificates.is_empty() && self.settings.default_certificates.is_empty() {
            return line.fail(at, format!("'{word}' needs a certificate: add 'crt FILE'"));
        }
        let source = line.source;
        let made = Acceptor::new(self.settings, &line.bases.tls.store, &|path| {
            source.read(path)
        });
        let (acceptor, unknown) = line.map(certificate.unwrap_or(at), made)?;
        let warnings = line.bases.tls.unknown(unknown, line.skip + at);
        line.warnings.extend(warnings);
        Ok(Some(acceptor))
    }
}

/// The certificates of `crt PATH`: a file, or all files of a directory.
fn certificates(line: &Line<'_>, at: usize) -> Vec<ListEntry> {
    let path = crt_path(line, at);
    let entry = |path: Arc<str>| ListEntry {
        path,
        ..ListEntry::default()
    };
    match line.source.list(&path) {
        Some(files) => {
            let all = files.iter().filter(|f| !tls::is_companion(f));
            all.map(|f| entry(f.as_str().into())).collect()
        }
        None => bundle(line, &path).into_iter().map(entry).collect(),
    }
}

/// A path, or the files `PATH.rsa`, `PATH.ecdsa`, `PATH.dsa` that stand for it.
fn bundle(line: &Line<'_>, path: &Arc<str>) -> Vec<Arc<str>> {
    if line.source.read(path).is_err() {
        let parts = ["rsa", "ecdsa"].map(|kind| Arc::<str>::from(format!("{path}.{kind}")));
        let found: Vec<_> = parts
            .into_iter()
            .filter(|p| line.source.read(p).is_ok())
            .collect();
        if !found.is_empty() {
            return found;
        }
    }
    vec![Arc::clone(path)]
}

/// The TLS words of `bind`. The place given to a function is that of its argument.
pub static BIND_TLS_WORDS: &[TlsWord<BindDraft>] = &[
    word!(
        "alpn",
        "PROTOCOLS",
        "http/1.1",
        "protocols offered",
        |d, l, at| {
            d.settings.alpn = protocols(l.arg(at));
            let before = d.settings.alpn.len();
            d.settings.alpn.retain(|p| &**p != "h2");
            if d.settings.alpn.len() < before {
                let message = "protocol 'h2' is one of HAProxy's that mulgil does not have yet: ";
                if d.settings.alpn.is_empty() {
                    return l.fail(at, format!("{message}offer http/1.1"));
                }
                // Whoever offers another one beside it can be served.
                let message = format!("{message}clients get the others offered");
                d.warnings.push(Fault::warning(l.skip + at, message));
            }
            Ok(())
        }
    ),
    word!("no-alpn", "", "", "no protocols offered", |d, _, _| {
        d.settings.alpn.clear();
        Ok(())
    }),
    word!(
        "ca-file",
        "FILE",
        "site.pem",
        "authorities that vouch for clients",
        |d, l, at| {
            d.settings.ca_file = ca_path(l, at);
            Ok(())
        }
    ),
    word!(
        "ca-ignore-err",
        "all|N",
        "all",
        "errors of authorities that are let pass",
        |d, _, _| {
            d.settings.ignore_client_errors = true;
            Ok(())
        }
    ),
    word!(
        "ca-verify-file",
        "FILE",
        "site.pem",
        "authorities that vouch, and are not announced",
        |d, l, at| {
            d.settings.ca_file = ca_path(l, at);
            Ok(())
        }
    ),
    word!(
        "ciphers",
        "LIST",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ciphers of TLS 1.2",
        |d, l, at| {
            d.settings.preferences.ciphers = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "ciphersuites",
        "LIST",
        "TLS_AES_128_GCM_SHA256",
        "cipher suites of TLS 1.3",
        |d, l, at| {
            d.settings.preferences.ciphersuites = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "crl-file",
        "FILE",
        "revoked.pem",
        "clients' certificates that are revoked",
        |d, l, at| {
            d.settings.crl_file = ca_path(l, at);
            Ok(())
        }
    ),
    word!(
        "crt",
        "FILE|DIR",
        "site.pem",
        "a certificate, with chain and key",
        |d, l, at| {
            d.settings.certificates.extend(certificates(l, at));
            Ok(())
        }
    ),
    word!(
        "crt-ignore-err",
        "all|N",
        "all",
        "errors of certificates that are let pass",
        |d, _, _| {
            d.settings.ignore_client_errors = true;
            Ok(())
        }
    ),
    word!(
        "crt-list",
        "FILE",
        "list.txt",
        "certificates with names and settings",
        |d, l, at| {
            d.settings.lists.push(l.arg(at).into());
            d.settings.certificates.extend(crt_list(l, at)?);
            Ok(())
        }
    ),
    word!(
        "curves",
        "LIST",
        "X25519:P-256",
        "curves for the key exchange",
        |d, l, at| {
            d.settings.preferences.curves = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "default-crt",
        "FILE",
        "site.pem",
        "the certificate for names that none is for",
        |d, l, at| {
            let path = crt_path(l, at);
            d.settings.default_certificates.extend(bundle(l, &path));
            Ok(())
        }
    ),
    word!(
        "ecdhe",
        "CURVE",
        "prime256v1",
        "the curve for the key exchange",
        |d, l, at| {
            d.settings.preferences.curves = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "no-ca-names",
        "",
        "",
        "accepted: names of authorities help clients to choose",
        |_, _, _| Ok(())
    ),
    word!(
        "no-tls-tickets",
        "",
        "",
        "sessions are kept here, not by clients",
        |d, _, _| {
            d.settings.no_tickets = true;
            Ok(())
        }
    ),
    word!(
        "tls-tickets",
        "",
        "",
        "sessions are kept by clients",
        |d, _, _| {
            d.settings.no_tickets = false;
            Ok(())
        }
    ),
    word!(
        "prefer-client-ciphers",
        "",
        "",
        "the client's order of ciphers counts",
        |d, _, _| {
            d.settings.prefer_client_ciphers = true;
            Ok(())
        }
    ),
    word!("ssl", "", "", "TLS on this listener", |d, _, _| {
        d.on = true;
        Ok(())
    }),
    word!(
        "starttls",
        "",
        "",
        "TLS when a client asks for it: STARTTLS of SMTP (RFC 3207), AUTH TLS of FTP (RFC 4217)",
        |d, _, _| {
            d.offered = true;
            Ok(())
        }
    ),
    word!(
        "ssl-max-ver",
        "VERSION",
        "TLSv1.3",
        "the newest version",
        |d, l, at| {
            d.settings.preferences.versions.at_most(version(l, at)?);
            Ok(())
        }
    ),
    word!(
        "ssl-min-ver",
        "VERSION",
        "TLSv1.2",
        "the oldest version",
        |d, l, at| {
            d.settings.preferences.versions.at_least(version(l, at)?);
            Ok(())
        }
    ),
    word!(
        "strict-sni",
        "",
        "",
        "no certificate for other names",
        |d, _, _| {
            d.settings.strict_sni = true;
            Ok(())
        }
    ),
    word!(
        "no-strict-sni",
        "",
        "",
        "the default certificate for other names",
        |d, _, _| {
            d.settings.strict_sni = false;
            Ok(())
        }
    ),
    word!(
        "verify",
        "none|optional|required",
        "none",
        "clients' certificates",
        |d, l, at| {
            d.settings.verify = verify(l, at, true)?;
            Ok(())
        }
    ),
    versions!("no-sslv3"),
    versions!("no-tlsv10"),
    versions!("no-tlsv11"),
    versions!("no-tlsv12"),
    versions!("no-tlsv13"),
    versions!("force-tlsv12"),
    versions!("force-tlsv13"),
];

/// Reads a `crt-list`: `FILE [\[options\]] [[!]name …]` a line.
fn crt_list(line: &Line<'_>, at: usize) -> Result<Vec<ListEntry>, Fault> {
    let path = line.arg(at);
    let bytes = line
        .source
        .read(path)
        .map_err(|e| format!("crt-list '{path}' cannot be read: {e}"));
    let bytes = line.map(at, bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (mut entries, none) = (Vec::new(), BTreeMap::new());
    for (index, row) in text.lines().enumerate() {
        let wrong = |message: String| format!("{path}:{}: {message}", index + 1);
        let variables = lexer::Variables {
            env: &none,
            file: path,
            line: index + 1,
            section: "",
        };
        let words = lexer::words(row, &variables).map_err(|e| wrong(e.message));
        let words: Vec<String> = line.map(at, words)?.into_iter().map(|w| w.text).collect();
        let Some((file, rest)) = words.split_first() else {
            continue;
        };
        let entry = line.map(at, list_entry(line, file, rest).map_err(wrong))?;
        for path in bundle(line, &based(&line.bases.crt_base, file)) {
            entries.push(ListEntry {
                path,
                ..entry.clone()
            });
        }
    }
    if entries.is_empty() {
        return line.fail(at, format!("crt-list '{path}' names no certificate"));
    }
    Ok(entries)
}

fn list_entry(line: &Line<'_>, file: &str, rest: &[String]) -> Result<ListEntry, String> {
    let mut entry = ListEntry {
        path: file.into(),
        ..ListEntry::default()
    };
    let mut names = rest;
    if rest.first().is_some_and(|w| w.starts_with('[')) {
        let end = rest
            .iter()
            .position(|w| w.ends_with(']'))
            .ok_or("the bracket is not closed")?;
        let inside = rest[..=end].join(" ");
        names = rest.get(end + 1..).unwrap_or_default();
        let options: Vec<&str> = inside.trim_matches(['[', ']']).split_whitespace().collect();
        let mut options = options.into_iter();
        while let Some(option) = options.next() {
            let mut value = || {
                options
                    .next()
                    .ok_or_else(|| format!("'{option}' wants a value after it"))
            };
            let mut versions = entry.versions.unwrap_or_default();
            match option {
                "alpn" => entry.alpn = Some(protocols(value()?)),
                "no-alpn" => entry.alpn = Some(Vec::new()),
                "ciphers" => entry.ciphers = Some(value()?.into()),
                "ciphersuites" => entry.ciphersuites = Some(value()?.into()),
                "curves" | "ecdhe" => entry.curves = Some(value()?.into()),
                "ca-file" | "ca-verify-file" => {
                    entry.ca_file = Some(based(&line.bases.ca_base, value()?));
                }
                "crl-file" => entry.crl_file = Some(based(&line.bases.ca_base, value()?)),
                // As on the line: names of authorities only help clients to choose.
                "no-ca-names" => {}
                "verify" => {
                    entry.verify = match value()? {
                        "none" => Verify::None,
                        "optional" => Verify::Optional,
                        "required" => Verify::Required,
                        other => {
                            return Err(format!(
                                "'{other}' is no kind of verification: use none, optional or required"
                            ));
                        }
                    };
                }
                "ssl-min-ver" | "ssl-max-ver" => {
                    let name = value()?;
                    let version = Version::of(name).ok_or_else(|| {
                        format!("unknown version '{name}': use TLSv1.2 or TLSv1.3")
                    })?;
                    if option == "ssl-min-ver" {
                        versions.at_least(version);
                    } else {
                        versions.at_most(version);
                    }
                    entry.versions = Some(versions);
                }
                other if version_word(other, &mut versions) => entry.versions = Some(versions),
                other => {
                    return Err(format!(
                        "'{other}' cannot be set for one certificate: set it on the 'bind' line"
                    ));
                }
            }
        }
    }
    entry.filters = names.iter().map(|n| n.as_str().into()).collect();
    Ok(entry)
}
