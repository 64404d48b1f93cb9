//! The TLS words of `global`, `bind` and `server` lines, and `crt-list` files.

use crate::diag::Fault;
use crate::draft::Line;
use crate::lexer;
use model::{CheckTls, ServerTls};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tls::{
    Acceptor, AcceptorSettings, Connector, ConnectorSettings, ListEntry, Preferences, Store,
    Verify, Version, Versions,
};

/// What `global` says about TLS, and what all lines share.
#[derive(Clone)]
pub struct Defaults {
    /// Every certificate that was read.
    pub store: Arc<Store>,
    /// `ssl-default-bind-…`.
    pub bind: AcceptorSettings,
    /// `ssl-default-server-…`.
    pub server: Preferences,
    /// `ssl-server-verify`.
    pub server_verify: Verify,
    /// Names of ciphers and curves that have been warned about.
    warned: RefCell<BTreeSet<String>>,
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults {
            store: Arc::default(),
            bind: AcceptorSettings {
                cache: SESSIONS,
                ..AcceptorSettings::default()
            },
            server: Preferences::default(),
            server_verify: Verify::Required,
            warned: RefCell::default(),
        }
    }
}

/// `tune.ssl.cachesize` when nothing is said.
const SESSIONS: usize = 20_000;

impl Defaults {
    /// Warnings about names that there are not; each name is warned about once.
    fn unknown(&self, names: Vec<String>, at: usize) -> Vec<Fault> {
        let mut warned = self.warned.borrow_mut();
        let new = names.into_iter().filter(|n| warned.insert(n.clone()));
        new.map(|name| {
            let message = format!(
                "'{name}' is not among the ciphers and curves that are built in: it is left out"
            );
            Fault::warning(at, message)
        })
        .collect()
    }
}

/// One TLS word of a `bind` or `server` line.
pub struct TlsWord<D> {
    /// The word.
    pub name: &'static str,
    /// Its arguments.
    pub args: &'static str,
    /// One line.
    pub doc: &'static str,
    parse: fn(&mut D, &Line<'_>, usize) -> Result<(), Fault>,
}

macro_rules! word {
    ($name:literal, $args:literal, $doc:literal, $parse:expr) => {
        TlsWord {
            name: $name,
            args: $args,
            doc: $doc,
            parse: $parse,
        }
    };
}

/// The word at `at` of a table: how many words it took, or `None` if the table does not have it.
fn read<D>(
    table: &[TlsWord<D>],
    draft: &mut D,
    line: &Line<'_>,
    at: usize,
) -> Result<Option<usize>, Fault> {
    let Some(word) = table.iter().find(|w| w.name == line.arg(at)) else {
        return Ok(None);
    };
    if !word.args.is_empty() && line.arg(at + 1).is_empty() {
        let wanted = word.args.to_lowercase();
        return line.fail(at, format!("'{}' wants {wanted} after it", word.name));
    }
    (word.parse)(draft, line, at + 1)?;
    Ok(Some(1 + usize::from(!word.args.is_empty())))
}

/// The TLS part of a `bind` line being read.
pub struct BindDraft {
    on: bool,
    settings: AcceptorSettings,
}

impl BindDraft {
    /// As `global` says.
    pub fn new(line: &Line<'_>) -> BindDraft {
        BindDraft {
            on: false,
            settings: line.bases.tls.bind.clone(),
        }
    }

    /// Reads the word at `at`: how many words it took, or `None` if it is none of TLS.
    pub fn word(&mut self, line: &Line<'_>, at: usize) -> Result<Option<usize>, Fault> {
        read(BIND_TLS_WORDS, self, line, at)
    }

    /// Reads the files, once the line is complete.
    pub fn finish(self, line: &mut Line<'_>) -> Result<Option<Arc<Acceptor>>, Fault> {
        let place = |word: &str| line.texts(0).iter().position(|w| *w == word);
        let certificate = place("crt").or_else(|| place("crt-list"));
        if !self.on {
            if let Some(at) = certificate {
                let message = "a certificate is named but TLS is not turned on: add 'ssl'";
                line.warnings.push(Fault::warning(line.skip + at, message));
            }
            return Ok(None);
        }
        let at = place("ssl").unwrap_or(0);
        if self.settings.certificates.is_empty() && self.settings.default_certificates.is_empty() {
            return line.fail(at, "'ssl' needs a certificate: add 'crt FILE'");
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

fn based(base: &Option<String>, path: &str) -> Arc<str> {
    match base {
        Some(base) if !path.starts_with('/') && !path.starts_with('@') => {
            format!("{base}/{path}").into()
        }
        _ => path.into(),
    }
}

fn ca_path(line: &Line<'_>, at: usize) -> Option<Arc<str>> {
    Some(based(&line.bases.ca_base, line.arg(at)))
}

fn crt_path(line: &Line<'_>, at: usize) -> Arc<str> {
    based(&line.bases.crt_base, line.arg(at))
}

fn protocols(text: &str) -> Vec<Arc<str>> {
    text.split(',')
        .filter(|p| !p.is_empty())
        .map(Into::into)
        .collect()
}

fn version(line: &Line<'_>, at: usize) -> Result<Version, Fault> {
    let text = line.arg(at);
    line.map(
        at,
        Version::of(text)
            .ok_or_else(|| format!("unknown version '{text}': use TLSv1.2 or TLSv1.3")),
    )
}

fn verify(line: &Line<'_>, at: usize, optional: bool) -> Result<Verify, Fault> {
    match line.arg(at) {
        "none" => Ok(Verify::None),
        "optional" if optional => Ok(Verify::Optional),
        "required" => Ok(Verify::Required),
        other => {
            let choice = if optional {
                "none, optional or required"
            } else {
                "none or required"
            };
            line.fail(
                at,
                format!("'{other}' is no kind of verification: use {choice}"),
            )
        }
    }
}

/// `no-tlsv12`, `force-tlsv13` and the like; what they name below TLS 1.2 is never spoken.
fn version_word(word: &str, versions: &mut Versions) -> bool {
    match word {
        "no-sslv3" | "no-tlsv10" | "no-tlsv11" => {}
        "no-tlsv12" => versions.no_tls12 = true,
        "no-tlsv13" => versions.no_tls13 = true,
        "force-sslv3" | "force-tlsv10" | "force-tlsv11" => versions.only(Version::Tls11),
        "force-tlsv12" => versions.only(Version::Tls12),
        "force-tlsv13" => versions.only(Version::Tls13),
        _ => return false,
    }
    true
}

macro_rules! versions {
    ($name:literal) => {
        word!($name, "", "which versions are spoken", |d, l, at| {
            version_word(l.arg(at - 1), &mut d.settings.preferences.versions);
            Ok(())
        })
    };
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
    word!("alpn", "PROTOCOLS", "protocols offered", |d, l, at| {
        d.settings.alpn = protocols(l.arg(at));
        if let Some(other) = d.settings.alpn.iter().find(|p| &***p == "h2") {
            return l.fail(at, format!("protocol '{other}' is one of HAProxy's that mulgil does not have yet: offer http/1.1"));
        }
        Ok(())
    }),
    word!("no-alpn", "", "no protocols offered", |d, _, _| {
        d.settings.alpn.clear();
        Ok(())
    }),
    word!(
        "ca-file",
        "FILE",
        "authorities that vouch for clients",
        |d, l, at| {
            d.settings.ca_file = ca_path(l, at);
            Ok(())
        }
    ),
    word!(
        "ca-ignore-err",
        "all|N",
        "errors of authorities that are let pass",
        |d, _, _| {
            d.settings.ignore_client_errors = true;
            Ok(())
        }
    ),
    word!(
        "ca-verify-file",
        "FILE",
        "authorities that vouch, and are not announced",
        |d, l, at| {
            d.settings.ca_file = ca_path(l, at);
            Ok(())
        }
    ),
    word!("ciphers", "LIST", "ciphers of TLS 1.2", |d, l, at| {
        d.settings.preferences.ciphers = Some(l.arg(at).into());
        Ok(())
    }),
    word!(
        "ciphersuites",
        "LIST",
        "cipher suites of TLS 1.3",
        |d, l, at| {
            d.settings.preferences.ciphersuites = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "crl-file",
        "FILE",
        "clients' certificates that are revoked",
        |d, l, at| {
            d.settings.crl_file = ca_path(l, at);
            Ok(())
        }
    ),
    word!(
        "crt",
        "FILE|DIR",
        "a certificate, with chain and key",
        |d, l, at| {
            d.settings.certificates.extend(certificates(l, at));
            Ok(())
        }
    ),
    word!(
        "crt-ignore-err",
        "all|N",
        "errors of certificates that are let pass",
        |d, _, _| {
            d.settings.ignore_client_errors = true;
            Ok(())
        }
    ),
    word!(
        "crt-list",
        "FILE",
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
        "curves for the key exchange",
        |d, l, at| {
            d.settings.preferences.curves = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "default-crt",
        "FILE",
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
        "the curve for the key exchange",
        |d, l, at| {
            d.settings.preferences.curves = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "generate-certificates",
        "",
        "refused: certificates are not made here",
        |_, l, at| {
            l.fail(
                at - 1,
                "'generate-certificates' is a keyword of HAProxy that mulgil does not have yet",
            )
        }
    ),
    word!(
        "no-ca-names",
        "",
        "accepted: names of authorities help clients to choose",
        |_, _, _| Ok(())
    ),
    word!(
        "no-tls-tickets",
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
        "sessions are kept by clients",
        |d, _, _| {
            d.settings.no_tickets = false;
            Ok(())
        }
    ),
    word!(
        "prefer-client-ciphers",
        "",
        "the client's order of ciphers counts",
        |d, _, _| {
            d.settings.prefer_client_ciphers = true;
            Ok(())
        }
    ),
    word!("ssl", "", "TLS on this listener", |d, _, _| {
        d.on = true;
        Ok(())
    }),
    word!(
        "ssl-max-ver",
        "VERSION",
        "the newest version",
        |d, l, at| {
            d.settings.preferences.versions.at_most(version(l, at)?);
            Ok(())
        }
    ),
    word!(
        "ssl-min-ver",
        "VERSION",
        "the oldest version",
        |d, l, at| {
            d.settings.preferences.versions.at_least(version(l, at)?);
            Ok(())
        }
    ),
    word!(
        "strict-sni",
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
        "the default certificate for other names",
        |d, _, _| {
            d.settings.strict_sni = false;
            Ok(())
        }
    ),
    word!(
        "verify",
        "none|optional|required",
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
    versions!("force-sslv3"),
    versions!("force-tlsv10"),
    versions!("force-tlsv11"),
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
    let mut entries = Vec::new();
    for (index, row) in text.lines().enumerate() {
        let wrong = |message: String| format!("{path}:{}: {message}", index + 1);
        let words = lexer::words(row, &BTreeMap::new()).map_err(|e| wrong(e.message));
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
                "ca-file" => entry.ca_file = Some(based(&line.bases.ca_base, value()?)),
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

/// The TLS part of a `server` line being read.
#[derive(Clone, Default)]
pub struct ServerDraft {
    on: bool,
    settings: ConnectorSettings,
    sni: Option<Arc<rules::Expr>>,
    check: Option<bool>,
    check_sni: Option<Arc<str>>,
}

/// What TLS a server has: of its traffic and of its checks.
pub type ServerParts = (Option<Arc<ServerTls>>, Option<CheckTls>);

impl ServerDraft {
    /// As `global` says.
    fn new(line: &Line<'_>) -> ServerDraft {
        ServerDraft {
            settings: ConnectorSettings {
                verify: line.bases.tls.server_verify,
                preferences: line.bases.tls.server.clone(),
                ..ConnectorSettings::default()
            },
            ..ServerDraft::default()
        }
    }

    /// Reads the word at `at`: how many words it took, or `None` if it is none of TLS.
    pub fn word(
        draft: &mut Option<Box<ServerDraft>>,
        line: &Line<'_>,
        at: usize,
    ) -> Result<Option<usize>, Fault> {
        if !SERVER_TLS_WORDS.iter().any(|w| w.name == line.arg(at)) {
            return Ok(None);
        }
        let draft = draft.get_or_insert_with(|| Box::new(ServerDraft::new(line)));
        read(SERVER_TLS_WORDS, draft, line, at)
    }

    /// Reads the files, once the line is complete. `own_place`: checks go to an address or port
    /// of their own, so that they speak TLS only when told to.
    pub fn finish(&self, line: &mut Line<'_>, own_place: bool) -> Result<ServerParts, Fault> {
        let check = self.check.unwrap_or(self.on && !own_place);
        if !self.on && !check {
            return Ok((None, None));
        }
        let at = line
            .texts(0)
            .iter()
            .position(|w| matches!(*w, "ca-file" | "crt" | "verify" | "ssl" | "check-ssl"));
        let at = at.unwrap_or(0);
        let source = line.source;
        let made = Connector::new(self.settings.clone(), &line.bases.tls.store, &|path| {
            source.read(path)
        });
        let (connector, unknown) = line.map(at, made)?;
        let warnings = line.bases.tls.unknown(unknown, line.skip + at);
        line.warnings.extend(warnings);
        let traffic = self.on.then(|| {
            Arc::new(ServerTls {
                connector: Arc::clone(&connector),
                sni: self.sni.clone(),
            })
        });
        let check = check.then(|| CheckTls {
            connector,
            sni: self.check_sni.clone(),
        });
        Ok((traffic, check))
    }
}

/// The TLS words of `server`. The place given to a function is that of its argument.
pub static SERVER_TLS_WORDS: &[TlsWord<ServerDraft>] = &[
    word!("alpn", "PROTOCOLS", "protocols offered", |d, l, at| {
        d.settings.alpn = protocols(l.arg(at));
        if d.settings.alpn.iter().any(|p| &**p == "h2") {
            return l.fail(
                at,
                "protocol 'h2' is one of HAProxy's that mulgil does not have yet: offer http/1.1",
            );
        }
        Ok(())
    }),
    word!("no-alpn", "", "no protocols offered", |d, _, _| {
        d.settings.alpn.clear();
        Ok(())
    }),
    word!(
        "ca-file",
        "FILE",
        "authorities that vouch for the server",
        |d, l, at| {
            d.settings.ca_file = ca_path(l, at);
            Ok(())
        }
    ),
    word!(
        "check-sni",
        "NAME",
        "the name checks ask for",
        |d, l, at| {
            d.check_sni = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!("check-ssl", "", "checks speak TLS", |d, _, _| {
        d.check = Some(true);
        Ok(())
    }),
    word!(
        "no-check-ssl",
        "",
        "checks speak TLS as the traffic does",
        |d, _, _| {
            d.check = None;
            Ok(())
        }
    ),
    word!("ciphers", "LIST", "ciphers of TLS 1.2", |d, l, at| {
        d.settings.preferences.ciphers = Some(l.arg(at).into());
        Ok(())
    }),
    word!(
        "ciphersuites",
        "LIST",
        "cipher suites of TLS 1.3",
        |d, l, at| {
            d.settings.preferences.ciphersuites = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "crl-file",
        "FILE",
        "servers' certificates that are revoked",
        |d, l, at| {
            d.settings.crl_file = ca_path(l, at);
            Ok(())
        }
    ),
    word!("crt", "FILE", "our own certificate", |d, l, at| {
        d.settings.certificate = Some(crt_path(l, at));
        Ok(())
    }),
    word!(
        "curves",
        "LIST",
        "curves for the key exchange",
        |d, l, at| {
            d.settings.preferences.curves = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!("no-ssl", "", "no TLS to this server", |d, _, _| {
        d.on = false;
        Ok(())
    }),
    word!(
        "no-ssl-reuse",
        "",
        "a full handshake each time",
        |d, _, _| {
            d.settings.no_reuse = true;
            Ok(())
        }
    ),
    word!("ssl-reuse", "", "sessions are taken up again", |d, _, _| {
        d.settings.no_reuse = false;
        Ok(())
    }),
    word!(
        "no-tls-tickets",
        "",
        "sessions are not taken up again",
        |d, _, _| {
            d.settings.no_reuse = true;
            Ok(())
        }
    ),
    word!(
        "tls-tickets",
        "",
        "sessions are taken up again",
        |d, _, _| {
            d.settings.no_reuse = false;
            Ok(())
        }
    ),
    word!(
        "no-verifyhost",
        "",
        "the name in the certificate is that of sni",
        |d, _, _| {
            d.settings.verify_host = None;
            Ok(())
        }
    ),
    word!("sni", "EXPRESSION", "the name asked for", |d, l, at| {
        d.sni = Some(l.expression(at)?);
        Ok(())
    }),
    word!("no-sni", "", "no name asked for", |d, _, _| {
        d.sni = None;
        Ok(())
    }),
    word!("ssl", "", "TLS to this server", |d, _, _| {
        d.on = true;
        Ok(())
    }),
    word!(
        "ssl-max-ver",
        "VERSION",
        "the newest version",
        |d, l, at| {
            d.settings.preferences.versions.at_most(version(l, at)?);
            Ok(())
        }
    ),
    word!(
        "ssl-min-ver",
        "VERSION",
        "the oldest version",
        |d, l, at| {
            d.settings.preferences.versions.at_least(version(l, at)?);
            Ok(())
        }
    ),
    word!(
        "verify",
        "none|required",
        "the server's certificate",
        |d, l, at| {
            d.settings.verify = verify(l, at, false)?;
            Ok(())
        }
    ),
    word!(
        "verifyhost",
        "NAME",
        "the name in the server's certificate",
        |d, l, at| {
            d.settings.verify_host = Some(l.arg(at).into());
            Ok(())
        }
    ),
    versions!("no-sslv3"),
    versions!("no-tlsv10"),
    versions!("no-tlsv11"),
    versions!("no-tlsv12"),
    versions!("no-tlsv13"),
    versions!("force-sslv3"),
    versions!("force-tlsv10"),
    versions!("force-tlsv11"),
    versions!("force-tlsv12"),
    versions!("force-tlsv13"),
];

/// Reads `ssl-default-bind-options`.
pub fn default_bind_options(line: &Line<'_>, settings: &mut AcceptorSettings) -> Result<(), Fault> {
    default_options(line, &mut settings.preferences.versions, |word| {
        match word {
            "no-tls-tickets" => settings.no_tickets = true,
            "prefer-client-ciphers" => settings.prefer_client_ciphers = true,
            "strict-sni" => settings.strict_sni = true,
            _ => return false,
        }
        true
    })
}

/// Reads `ssl-default-server-options`.
pub fn default_server_options(line: &Line<'_>, preferences: &mut Preferences) -> Result<(), Fault> {
    default_options(line, &mut preferences.versions, |word| {
        word == "no-tls-tickets"
    })
}

fn default_options(
    line: &Line<'_>,
    versions: &mut Versions,
    mut other: impl FnMut(&str) -> bool,
) -> Result<(), Fault> {
    if line.arg(0).is_empty() {
        return line.fail(
            0,
            format!(
                "'{}' wants options, such as ssl-min-ver TLSv1.2",
                line.keyword()
            ),
        );
    }
    let mut at = 0;
    while !line.arg(at).is_empty() {
        match line.arg(at) {
            "ssl-min-ver" => {
                at += 1;
                versions.at_least(version(line, at)?);
            }
            "ssl-max-ver" => {
                at += 1;
                versions.at_most(version(line, at)?);
            }
            word if version_word(word, versions) || other(word) => {}
            word => return line.fail(at, format!("unknown TLS option '{word}'")),
        }
        at += 1;
    }
    Ok(())
}
