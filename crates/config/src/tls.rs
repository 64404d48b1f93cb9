//! TLS in a configuration: what `global` says of it, and what the words of `bind` and `server`
//! lines have in common.

mod bind;
mod list;
mod server;

pub use bind::{BIND_TLS_WORDS, BindDraft};
pub use server::{SERVER_TLS_WORDS, ServerDraft, for_rules};

use crate::diag::Fault;
use crate::line::Line;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use tls::{AcceptorSettings, ConnectorSettings, Store, Verify, Version, Versions};

macro_rules! word {
    ($name:literal, $args:literal, $example:literal, $doc:literal, $parse:expr) => {
        TlsWord {
            name: $name,
            args: $args,
            example: $example,
            doc: $doc,
            parse: $parse,
        }
    };
}
use word;

/// Words that will not be: what is not spoken, and why.
const REFUSED: &[(&str, &str)] = &[
    ("ca-sign-file", SIGNS_NOTHING),
    ("ca-sign-pass", SIGNS_NOTHING),
    ("generate-certificates", SIGNS_NOTHING),
    (
        "ktls",
        "records are encrypted here, not by the kernel: remove it",
    ),
    ("force-sslv3", TOO_OLD),
    ("force-tlsv10", TOO_OLD),
    ("force-tlsv11", TOO_OLD),
    (
        "npn",
        "NPN was a draft that ALPN (RFC 7301) came of, and rustls does not have it: use alpn",
    ),
    (
        "renegotiate",
        "renegotiation is not made: TLS 1.3 has none, and rustls has none for TLS 1.2: remove it",
    ),
];

const NO_EARLY_DATA: &str = "early data of TLS 1.3 is neither taken nor sent: requests go after the handshake, which nobody can replay";

const SIGNS_NOTHING: &str = "no certificate is signed while a client waits for it: name those that there are by 'crt' or 'crt-list', or add one to the running process by 'new ssl cert' and 'add ssl crt-list'";

const TOO_OLD: &str = "versions below TLS 1.2 are not spoken: they are deprecated (RFC 8996), and rustls does not have them: use force-tlsv12";

macro_rules! versions {
    ($name:literal) => {
        word!($name, "", "", "which versions are spoken", |d, l, at| {
            d.settings.preferences.versions.word(l.arg(at - 1));
            Ok(())
        })
    };
}
use versions;

/// What `global` says about TLS, and what all lines share.
#[derive(Clone)]
pub struct Defaults {
    /// Every certificate that was read.
    pub store: Arc<Store>,
    /// `ssl-default-bind-…`.
    pub bind: AcceptorSettings,
    /// `ssl-default-server-…` and `ssl-server-verify`.
    pub server: ConnectorSettings,
    /// Names of ciphers and curves that have been warned about.
    warned: RefCell<BTreeSet<String>>,
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults {
            store: Arc::default(),
            bind: AcceptorSettings {
                cache: SESSIONS,
                lifetime: LIFETIME,
                ..AcceptorSettings::default()
            },
            server: ConnectorSettings {
                verify: Verify::Required,
                ..ConnectorSettings::default()
            },
            warned: RefCell::default(),
        }
    }
}

/// `tune.ssl.cachesize` when nothing is said.
const SESSIONS: usize = 20_000;

/// `tune.ssl.lifetime` when nothing is said, seconds.
const LIFETIME: u32 = 300;

impl Defaults {
    /// A warning about the names that there are not; each name is warned about once.
    fn unknown(&self, names: Vec<String>, at: usize) -> Option<Fault> {
        let mut warned = self.warned.borrow_mut();
        let new = names.into_iter().filter(|n| warned.insert(n.clone()));
        let new: Vec<String> = new.map(|n| format!("'{n}'")).collect();
        let (last, rest) = new.split_last()?;
        let (all, verb, them) = match rest {
            [] => (last.clone(), "is", "it is"),
            rest => (format!("{} and {last}", rest.join(", ")), "are", "they are"),
        };
        let message = format!(
            "{all} {verb} not among the ciphers and curves that are built in: {them} left out"
        );
        Some(Fault::warning(at, message))
    }
}

/// One TLS word of a `bind` or `server` line.
pub struct TlsWord<D> {
    /// The word.
    pub name: &'static str,
    /// Its arguments.
    pub args: &'static str,
    /// Arguments that are valid.
    pub example: &'static str,
    /// One line.
    pub doc: &'static str,
    parse: fn(&mut D, &Line<'_>, usize) -> Result<(), Fault>,
}

/// Whether a word will not be.
fn refused(word: &str) -> bool {
    REFUSED.iter().any(|(name, _)| *name == word)
}

/// The word at `at` of a table: how many words it took, or `None` if the table does not have it.
fn read<D>(
    table: &[TlsWord<D>],
    draft: &mut D,
    line: &Line<'_>,
    at: usize,
) -> Result<Option<usize>, Fault> {
    let Some(word) = table.iter().find(|w| w.name == line.arg(at)) else {
        let refused = REFUSED.iter().find(|(name, _)| *name == line.arg(at));
        return match refused {
            Some((name, why)) => line.fail(at, format!("'{name}' cannot be had: {why}")),
            None => Ok(None),
        };
    };
    if !word.args.is_empty() && line.arg(at + 1).is_empty() {
        let wanted = word.args.to_lowercase();
        return line.fail(at, format!("'{}' wants {wanted} after it", word.name));
    }
    (word.parse)(draft, line, at + 1)?;
    Ok(Some(1 + usize::from(!word.args.is_empty())))
}

fn ca_path(line: &Line<'_>, at: usize) -> Option<Arc<str>> {
    Some(tls::based(line.bases.ca_base.as_deref(), line.arg(at)))
}

fn crt_path(line: &Line<'_>, at: usize) -> Arc<str> {
    tls::based(line.bases.crt_base.as_deref(), line.arg(at))
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
pub fn default_server_options(line: &Line<'_>, defaults: &mut Defaults) -> Result<(), Fault> {
    let server = &mut defaults.server;
    let no_tickets = &mut server.no_tickets;
    default_options(line, &mut server.preferences.versions, |word| {
        *no_tickets |= word == "no-tls-tickets";
        word == "no-tls-tickets"
    })
}

/// Reads `ssl-load-extra-files`.
pub fn extra_files(line: &Line<'_>) -> Result<(), Fault> {
    let mut found = tls::ExtraFiles::default();
    let keep = |kind: &str| line.texts(0).iter().any(|w| *w == kind || *w == "all");
    for (at, word) in line.texts(0).iter().enumerate() {
        let words = ["none", "all", "bundle", "sctl", "ocsp", "issuer", "key"];
        if !words.contains(word) {
            let message = crate::keyword::near("kind of file", word, &words);
            return line.fail(at, message);
        }
    }
    if line.arg(0).is_empty() {
        return line.fail(
            0,
            "'ssl-load-extra-files' wants none, all, or some of bundle, sctl, ocsp, issuer and key",
        );
    }
    found.bundle = keep("bundle");
    found.sctl = keep("sctl");
    found.ocsp = keep("ocsp");
    found.issuer = keep("issuer");
    found.key = keep("key");
    line.bases.tls.store.set_extra_files(|files| {
        found.instead_of_crt = files.instead_of_crt;
        *files = found;
    });
    Ok(())
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
            word if versions.word(word) || other(word) => {}
            word => return line.fail(at, format!("unknown TLS option '{word}'")),
        }
        at += 1;
    }
    Ok(())
}
