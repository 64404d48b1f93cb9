//! TLS settings of both sides.

use std::sync::Arc;

/// A protocol version, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum TlsVersion {
    Ssl3,
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

/// The range of versions that may be spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsVersions {
    /// `ssl-min-ver`.
    pub min: Option<TlsVersion>,
    /// `ssl-max-ver`.
    pub max: Option<TlsVersion>,
}

/// `verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
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

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// `crt FILE` or `crt DIR`, the path as found (with `crt-base` applied).
    Path(Arc<str>),
    /// `crt-list FILE`, read.
    List(Arc<str>, Vec<CrtListEntry>),
}

/// One line of a `crt-list` file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CrtListEntry {
    /// The certificate's path.
    pub path: Arc<str>,
    /// Server names this certificate answers for; empty: the names in the certificate. `!name` excludes.
    pub filters: Vec<Arc<str>>,
    /// `[alpn …]`, if given.
    pub alpn: Option<Vec<Arc<str>>>,
    /// `[verify …]`, if given.
    pub verify: Verify,
    /// `[ssl-min-ver …]` and so on.
    pub versions: TlsVersions,
}

/// `ssl …` of a `bind` line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BindTls {
    /// `crt`, `crt-list`, in order; the first certificate is the default one.
    pub certificates: Vec<CertificateSource>,
    /// `default-crt`.
    pub default_certificates: Vec<Arc<str>>,
    /// `alpn`, in order of preference.
    pub alpn: Vec<Arc<str>>,
    /// `strict-sni`.
    pub strict_sni: bool,
    /// `ssl-min-ver`, `ssl-max-ver`, `no-tlsv1x`, `force-…`.
    pub versions: TlsVersions,
    /// `ciphers` (TLS 1.2 and below), OpenSSL names split at `:`.
    pub ciphers: Option<Arc<str>>,
    /// `ciphersuites` (TLS 1.3).
    pub ciphersuites: Option<Arc<str>>,
    /// `curves`.
    pub curves: Option<Arc<str>>,
    /// `verify`.
    pub verify: Verify,
    /// `ca-file`.
    pub ca_file: Option<Arc<str>>,
    /// `crl-file`.
    pub crl_file: Option<Arc<str>>,
    /// `no-tls-tickets`.
    pub no_tickets: bool,
    /// `prefer-client-ciphers`.
    pub prefer_client_ciphers: bool,
    /// `ca-ignore-err all` / `crt-ignore-err all`.
    pub ignore_client_errors: bool,
}

/// `ssl …` of a `server` line.
#[derive(Clone, Debug, Default)]
pub struct ServerTls {
    /// `ca-file`.
    pub ca_file: Option<Arc<str>>,
    /// `crl-file`.
    pub crl_file: Option<Arc<str>>,
    /// `crt`: our own certificate.
    pub certificate: Option<Arc<str>>,
    /// `verify`; unset means required, as `ssl-server-verify` says.
    pub verify: Verify,
    /// `verifyhost`.
    pub verify_host: Option<Arc<str>>,
    /// `sni EXPR`, parsed.
    pub sni: Option<Arc<rules::Expr>>,
    /// `alpn`.
    pub alpn: Vec<Arc<str>>,
    /// Versions.
    pub versions: TlsVersions,
    /// `ciphers`.
    pub ciphers: Option<Arc<str>>,
    /// `ciphersuites`.
    pub ciphersuites: Option<Arc<str>>,
    /// `curves`.
    pub curves: Option<Arc<str>>,
    /// `no-ssl-reuse`.
    pub no_reuse: bool,
}
