//! What a configuration says about TLS, as plain data.

use crate::verify::Ignored;
use std::sync::Arc;

/// A protocol version, oldest first. Only the last two are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Version {
    Ssl3,
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

impl Version {
    /// The version of this name, as `ssl-min-ver` writes it.
    pub fn of(name: &str) -> Option<Version> {
        Some(match name {
            "SSLv3" => Version::Ssl3,
            "TLSv1.0" => Version::Tls10,
            "TLSv1.1" => Version::Tls11,
            "TLSv1.2" => Version::Tls12,
            "TLSv1.3" => Version::Tls13,
            _ => return None,
        })
    }
}

/// The range of versions that may be spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Versions {
    /// `no-tlsv12`, or a minimum above it.
    pub no_tls12: bool,
    /// `no-tlsv13`, or a maximum below it.
    pub no_tls13: bool,
}

impl Versions {
    /// Applies `ssl-min-ver`.
    pub fn at_least(&mut self, version: Version) {
        self.no_tls12 = version > Version::Tls12;
    }

    /// Applies `ssl-max-ver`.
    pub fn at_most(&mut self, version: Version) {
        self.no_tls13 = version < Version::Tls13;
        self.no_tls12 = self.no_tls12 || version < Version::Tls12;
    }

    /// Applies `force-…`.
    pub fn only(&mut self, version: Version) {
        self.no_tls12 = version != Version::Tls12;
        self.no_tls13 = version != Version::Tls13;
    }

    /// The newest version that is left.
    pub fn newest(&self) -> Version {
        match self.no_tls13 {
            true => Version::Tls12,
            false => Version::Tls13,
        }
    }

    /// Applies `no-tlsv12`, `force-tlsv13` and the like; whether it is such a word. What they name
    /// below TLS 1.2 is never spoken.
    pub fn word(&mut self, word: &str) -> bool {
        match word {
            "no-sslv3" | "no-tlsv10" | "no-tlsv11" => {}
            "no-tlsv12" => self.no_tls12 = true,
            "no-tlsv13" => self.no_tls13 = true,
            "force-tlsv12" => self.only(Version::Tls12),
            "force-tlsv13" => self.only(Version::Tls13),
            _ => return false,
        }
        true
    }
}

/// `verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Verify {
    /// Nothing said.
    #[default]
    Unset,
    /// `none`.
    None,
    /// `optional`: a certificate is asked for, and checked when it comes.
    Optional,
    /// `required`.
    Required,
}

/// Cryptographic preferences, as OpenSSL writes them; `None`: all that there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Preferences {
    /// `ciphers`: TLS 1.2, split at `:`.
    pub ciphers: Option<Arc<str>>,
    /// `ciphersuites`: TLS 1.3.
    pub ciphersuites: Option<Arc<str>>,
    /// `curves`.
    pub curves: Option<Arc<str>>,
    /// `sigalgs`: signatures that prove whose a server's certificate is.
    pub sigalgs: Option<Arc<str>>,
    /// `client-sigalgs`: the same of a client's certificate.
    pub client_sigalgs: Option<Arc<str>>,
    /// Versions.
    pub versions: Versions,
    /// `tune.ssl.hard-maxrecord`: plain bytes of a record at most; 0 is no limit of ours.
    pub max_record: u16,
}

/// One line of a `crt-list` file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ListEntry {
    /// The certificate's path.
    pub path: Arc<str>,
    /// Server names it answers for; empty: the names in the certificate. `!name` excludes.
    pub filters: Vec<Arc<str>>,
    /// `alpn`, if given.
    pub alpn: Option<Vec<Arc<str>>>,
    /// `verify`, if given.
    pub verify: Verify,
    /// `ca-file`, if given.
    pub ca_file: Option<Arc<str>>,
    /// `ca-verify-file`, if given.
    pub verify_file: Option<Arc<str>>,
    /// `no-ca-names`.
    pub no_ca_names: bool,
    /// `alpn` named `h2`, which is left out.
    pub without_h2: bool,
    /// `crl-file`, if given.
    pub crl_file: Option<Arc<str>>,
    /// `ssl-min-ver` and so on, if any was given.
    pub versions: Option<Versions>,
    /// `ciphers`, if given.
    pub ciphers: Option<Arc<str>>,
    /// `ciphersuites`, if given.
    pub ciphersuites: Option<Arc<str>>,
    /// `curves`, if given.
    pub curves: Option<Arc<str>>,
    /// `sigalgs`, if given.
    pub sigalgs: Option<Arc<str>>,
    /// `client-sigalgs`, if given.
    pub client_sigalgs: Option<Arc<str>>,
    /// The options as HAProxy shows them, brackets left out.
    pub shown: Arc<str>,
}

impl ListEntry {
    /// What counts for this certificate where the line says `common`.
    pub(crate) fn preferences(&self, common: &Preferences) -> Preferences {
        let or = |own: &Option<Arc<str>>, common: &Option<Arc<str>>| {
            own.clone().or_else(|| common.clone())
        };
        Preferences {
            ciphers: or(&self.ciphers, &common.ciphers),
            ciphersuites: or(&self.ciphersuites, &common.ciphersuites),
            curves: or(&self.curves, &common.curves),
            sigalgs: or(&self.sigalgs, &common.sigalgs),
            client_sigalgs: or(&self.client_sigalgs, &common.client_sigalgs),
            versions: self.versions.unwrap_or(common.versions),
            max_record: common.max_record,
        }
    }
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `crt FILE`.
    File(Arc<str>),
    /// `crt-list`, or the directory of `crt`: a list in the store.
    List(Arc<str>),
}

/// `ssl …` of a `bind` line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AcceptorSettings {
    /// `crt` and `crt-list`, in order.
    pub certificates: Vec<Source>,
    /// `default-crt`; without one the first certificate is the default.
    pub default_certificates: Vec<Arc<str>>,
    /// `alpn`, in order of preference.
    pub alpn: Vec<Arc<str>>,
    /// `strict-sni`.
    pub strict_sni: bool,
    /// Ciphers, curves, versions.
    pub preferences: Preferences,
    /// `verify`.
    pub verify: Verify,
    /// `ca-file`: authorities that vouch for clients, and whose names clients are told.
    pub ca_file: Option<Arc<str>>,
    /// `ca-verify-file`: authorities that vouch as well, and are not named.
    pub verify_file: Option<Arc<str>>,
    /// `no-ca-names`: no authority is named.
    pub no_ca_names: bool,
    /// `crl-file`.
    pub crl_file: Option<Arc<str>>,
    /// `no-tls-tickets`.
    pub no_tickets: bool,
    /// `tls-ticket-keys`: the file of keys of tickets.
    pub ticket_keys: Option<Arc<str>>,
    /// `prefer-client-ciphers`.
    pub prefer_client_ciphers: bool,
    /// `ca-ignore-err` and `crt-ignore-err`.
    pub ignored: Ignored,
    /// `tune.ssl.capture-buffer-size`: bytes kept of what a ClientHello lists; 0 keeps nothing.
    pub capture: usize,
    /// `tune.ssl.keylog`: the secrets of connections are kept for fetches.
    pub keep_secrets: bool,
    /// `tune.ssl.cachesize`, sessions kept for clients without tickets.
    pub cache: usize,
    /// `tune.ssl.lifetime`, seconds after which no session is taken up again.
    pub lifetime: u32,
}

/// `ssl …` of a `server` line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnectorSettings {
    /// `ca-file`.
    pub ca_file: Option<Arc<str>>,
    /// `crl-file`.
    pub crl_file: Option<Arc<str>>,
    /// `crt`: our own certificate.
    pub certificate: Option<Arc<str>>,
    /// `verify`; unset means required.
    pub verify: Verify,
    /// `verifyhost`.
    pub verify_host: Option<Arc<str>>,
    /// `alpn`.
    pub alpn: Vec<Arc<str>>,
    /// Ciphers, curves, versions.
    pub preferences: Preferences,
    /// `no-ssl-reuse`.
    pub no_reuse: bool,
    /// `no-tls-tickets`: none of TLS 1.2 are asked for.
    pub no_tickets: bool,
    /// `tune.ssl.keylog`: the secrets of connections are kept for fetches.
    pub keep_secrets: bool,
}
