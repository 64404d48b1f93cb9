//! The TLS words of a `bind` line, and `crt-list` files.

use super::list::{crt_list, of_directory};
use super::{
    NO_EARLY_DATA, TlsWord, ca_path, crt_path, protocols, read, verify, version, versions, word,
};
use crate::diag::Fault;
use crate::line::Line;
use std::sync::Arc;
use tls::{Acceptor, AcceptorSettings, ListLine, Numbers, Source};

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
        let named = [
            self.settings.certificates.is_empty(),
            self.settings.default_certificates.is_empty(),
        ];
        if named == [true, true] && !self.settings.strict_sni {
            return line.fail(at, format!("'{word}' needs a certificate: add 'crt FILE'"));
        }
        let source = line.source;
        let store = &line.bases.tls.store;
        let made = Acceptor::new(self.settings, &line.origin(), store, &|path| {
            source.read(path)
        });
        let (acceptor, unknown) = line.map(certificate.unwrap_or(at), made)?;
        if acceptor.is_empty(store) {
            let message = "no certificate is there yet: clients are refused until one is added to the list of this line; name one by 'crt FILE'";
            line.warnings.push(Fault::warning(line.skip + at, message));
        }
        let left_out = store.take_warnings().into_iter();
        let at_certificate = line.skip + certificate.unwrap_or(at);
        line.warnings
            .extend(left_out.map(|w| Fault::warning(at_certificate, w)));
        let warnings = line.bases.tls.unknown(unknown, line.skip + at);
        line.warnings.extend(warnings);
        Ok(Some(acceptor))
    }
}

const NO_H2: &str = "protocol 'h2' is one of HAProxy's that mulgil does not have yet";

/// That one of several protocols is left out.
fn without_h2(at: usize, place: &str) -> Fault {
    let message = format!("{place}{NO_H2}: clients get the others offered");
    Fault::warning(at, message)
}

/// OpenSSL's numbers of errors, or all.
fn numbers(line: &Line<'_>, at: usize) -> Result<Numbers, Fault> {
    let text = line.arg(at);
    if text == "all" {
        return Ok(Numbers::All);
    }
    let numbers = text.split(',').map(|word| {
        let number = word.trim_start_matches("X509_V_ERR_");
        let named = tls::ERRORS.iter().find(|(name, _)| *name == number);
        number.parse().ok().or(named.map(|n| n.1)).ok_or_else(|| {
            format!("'{word}' is no error of a certificate: use all, or numbers such as 10,18")
        })
    });
    line.map(at, numbers.collect::<Result<_, _>>().map(Numbers::Some))
}

/// The certificates of `crt PATH`: a file, or all files of a directory.
fn certificates(line: &Line<'_>, at: usize) -> Vec<Source> {
    let path = crt_path(line, at);
    match line.source.list(&path) {
        Some(files) => {
            let name = path.trim_end_matches('/');
            line.bases.tls.store.put_list(name, of_directory(&files));
            vec![Source::List(name.into())]
        }
        None => bundle(line, &path).into_iter().map(Source::File).collect(),
    }
}

/// A path, or the files `PATH.rsa`, `PATH.ecdsa`, `PATH.dsa` that stand for it. What is in memory
/// needs no file.
pub(super) fn bundle(line: &Line<'_>, path: &Arc<str>) -> Vec<Arc<str>> {
    let store = &line.bases.tls.store;
    if store.extra_files().bundle && store.find(path).is_none() && line.source.read(path).is_err() {
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
                if d.settings.alpn.is_empty() {
                    return l.fail(at, format!("{NO_H2}: offer http/1.1"));
                }
                // Whoever offers another one beside it can be served.
                d.warnings.push(without_h2(l.skip + at, ""));
            }
            Ok(())
        }
    ),
    word!("no-alpn", "", "", "no protocols offered", |d, _, _| {
        d.settings.alpn.clear();
        Ok(())
    }),
    word!(
        "allow-0rtt",
        "",
        "",
        "taken with a warning: early data is not taken, clients send it after the handshake",
        |d, l, at| {
            d.warnings
                .push(Fault::warning(l.skip + at - 1, NO_EARLY_DATA));
            Ok(())
        }
    ),
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
        |d, l, at| {
            d.settings.ignored.authorities = numbers(l, at)?;
            Ok(())
        }
    ),
    word!(
        "ca-verify-file",
        "FILE",
        "site.pem",
        "authorities that vouch for clients as well, and whose names clients are not told",
        |d, l, at| {
            d.settings.verify_file = ca_path(l, at);
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
        |d, l, at| {
            d.settings.ignored.certificate = numbers(l, at)?;
            Ok(())
        }
    ),
    word!(
        "crt-list",
        "FILE",
        "list.txt",
        "certificates with names and settings",
        |d, l, at| {
            let path = l.arg(at);
            if l.bases.tls.store.list(path).is_none() {
                let lines: Vec<ListLine> = crt_list(l, at)?;
                if let Some(line) = lines.iter().find(|l| l.entry.without_h2) {
                    let place = format!("{path}:{}: ", line.number);
                    d.warnings.push(without_h2(l.skip + at, &place));
                }
                l.bases.tls.store.put_list(path, lines);
            }
            d.settings.certificates.push(Source::List(path.into()));
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
        "clients are not told the names of authorities",
        |d, _, _| {
            d.settings.no_ca_names = true;
            Ok(())
        }
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
    word!(
        "sigalgs",
        "LIST",
        "ECDSA+SHA256:RSA-PSS+SHA256",
        "signatures by which we prove our certificate",
        |d, l, at| {
            d.settings.preferences.sigalgs = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "client-sigalgs",
        "LIST",
        "ECDSA+SHA256:RSA-PSS+SHA256",
        "signatures by which clients prove theirs",
        |d, l, at| {
            d.settings.preferences.client_sigalgs = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "tls-ticket-keys",
        "FILE",
        "tickets.keys",
        "the keys of session tickets, one a line in base64, shared by a farm",
        |d, l, at| {
            d.settings.ticket_keys = Some(l.arg(at).into());
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
