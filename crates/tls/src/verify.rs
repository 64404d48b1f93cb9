//! Judging the other side's certificate as OpenSSL's users expect.

use crate::provider;
use crate::x509::is_self_issued;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use std::sync::Arc;

/// The certificates that vouch for others.
#[derive(Debug)]
pub struct Authorities {
    /// Those that vouch for themselves, as trust anchors: a chain must end in one of them.
    roots: Arc<RootCertStore>,
    /// All of them, whose names clients are told.
    pub all: Arc<RootCertStore>,
    /// Those that others vouch for: they complete chains, and end none.
    others: Vec<CertificateDer<'static>>,
    /// As they are: OpenSSL trusts a certificate that vouches for itself and is in the file,
    /// authority or not.
    pub exact: Vec<CertificateDer<'static>>,
}

impl Authorities {
    /// Those of a file.
    pub fn of(exact: Vec<CertificateDer<'static>>) -> Authorities {
        let store = |certificates: &[CertificateDer<'static>]| {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(certificates.iter().cloned());
            Arc::new(store)
        };
        let (own, others): (Vec<_>, Vec<_>) =
            exact.iter().cloned().partition(|c| is_self_issued(c));
        Authorities {
            roots: store(&own),
            all: store(&exact),
            others,
            exact,
        }
    }

    /// The anchors that rustls is to know. It takes no empty set; where nothing is an anchor,
    /// `complete` refuses everybody before it is asked.
    pub(crate) fn anchors(&self) -> Arc<RootCertStore> {
        Arc::clone(match self.roots.is_empty() {
            true => &self.all,
            false => &self.roots,
        })
    }

    /// What may stand between a certificate and an anchor: what the other side sent, and what the
    /// file has.
    fn complete<'a>(
        &'a self,
        sent: &'a [CertificateDer<'a>],
    ) -> Result<Vec<CertificateDer<'a>>, Error> {
        if self.roots.is_empty() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let known = self.others.iter();
        let all = sent.iter().map(|c| &**c).chain(known.map(|c| &**c));
        Ok(all.map(CertificateDer::from).collect())
    }

    /// Whether this very certificate vouches for itself, is in the file, and valid now. Where lists
    /// of revoked certificates are asked (`revokes`), nothing is known of it.
    fn has(
        &self,
        certificate: &CertificateDer<'_>,
        revokes: bool,
        now: UnixTime,
    ) -> Result<bool, Error> {
        let now = now.as_secs() as i64;
        let same = |c: &CertificateDer<'_>| c.as_ref() == certificate.as_ref();
        let known = self.exact.iter().any(same)
            && is_self_issued(certificate)
            && crate::facts(certificate)
                .is_some_and(|f| (f.not_before_unix..=f.not_after_unix).contains(&now));
        if known && revokes {
            return Err(CertificateError::UnknownRevocationStatus.into());
        }
        Ok(known)
    }
}

/// Which algorithms of signatures the other side may use: all, or these (`sigalgs`).
pub type Schemes = Option<Arc<[SignatureScheme]>>;

/// Those of `all` that may be used.
fn within(schemes: &Schemes, all: Vec<SignatureScheme>) -> Vec<SignatureScheme> {
    match schemes {
        Some(wanted) => wanted.iter().copied().filter(|s| all.contains(s)).collect(),
        None => all,
    }
}

/// Refuses a signature that was not offered.
fn offered(schemes: &Schemes, dss: &DigitallySignedStruct) -> Result<(), Error> {
    if schemes.as_ref().is_some_and(|s| !s.contains(&dss.scheme)) {
        return Err(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    Ok(())
}

/// OpenSSL's number (`X509_V_ERR_…`) of what is wrong with a certificate.
pub fn code_of(error: &Error) -> u32 {
    let Error::InvalidCertificate(error) = error else {
        return 1;
    };
    match error {
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => 9,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => 10,
        CertificateError::BadSignature => 7,
        CertificateError::UnknownIssuer => 20,
        CertificateError::Revoked => 23,
        CertificateError::UnknownRevocationStatus => NO_LIST,
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => LIST_OVER,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => 26,
        CertificateError::UnhandledCriticalExtension => 34,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => 62,
        CertificateError::BadEncoding => 13,
        _ => 1,
    }
}

/// How a server's certificate is judged.
#[derive(Debug)]
pub struct ServerJudge {
    /// Whom to believe.
    pub belief: Belief,
    /// `sigalgs`.
    pub schemes: Schemes,
}

/// Which server is believed.
#[derive(Debug)]
pub enum Belief {
    /// `verify none`: whoever answers is the server.
    Anyone,
    /// By authorities.
    Chain {
        /// Checks chain, times, revocation and name.
        inner: Arc<WebPkiServerVerifier>,
        authorities: Arc<Authorities>,
        /// Whether lists of revoked certificates are asked.
        revokes: bool,
        /// `verifyhost`.
        host: Option<ServerName<'static>>,
    },
}

impl ServerCertVerifier for ServerJudge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Belief::Chain {
            inner,
            authorities,
            revokes,
            host,
        } = &self.belief
        else {
            return Ok(ServerCertVerified::assertion());
        };
        let asked = matches!(server_name, ServerName::DnsName(_));
        // `verifyhost` is for connections without SNI.
        let name = asked.then_some(server_name).or(host.as_ref());
        if authorities.has(end_entity, *revokes, now)? {
            return match name {
                Some(name) => {
                    let parsed = rustls::server::ParsedCertificate::try_from(end_entity)?;
                    rustls::client::verify_server_name(&parsed, name)
                        .map(|()| ServerCertVerified::assertion())
                }
                None => Ok(ServerCertVerified::assertion()),
            };
        }
        let judged = inner.verify_server_cert(
            end_entity,
            &authorities.complete(intermediates)?,
            name.unwrap_or(server_name),
            ocsp_response,
            now,
        );
        match judged {
            // The name is judged last: all else is good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if name.is_none() => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        offered(&self.schemes, dss)?;
        match self.belief {
            // A signature proves nothing where anyone is believed.
            Belief::Anyone => Ok(HandshakeSignatureValid::assertion()),
            Belief::Chain { .. } => verify_tls12_signature(
                message,
                cert,
                dss,
                &provider().signature_verification_algorithms,
            ),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        offered(&self.schemes, dss)?;
        match self.belief {
            Belief::Anyone => Ok(HandshakeSignatureValid::assertion()),
            Belief::Chain { .. } => verify_tls13_signature(
                message,
                cert,
                dss,
                &provider().signature_verification_algorithms,
            ),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let all = &provider().signature_verification_algorithms;
        within(&self.schemes, all.supported_schemes())
    }
}

/// How a client's certificate is judged.
#[derive(Debug)]
pub struct ClientJudge {
    /// Checks chain, times and revocation.
    pub inner: Arc<dyn ClientCertVerifier>,
    /// The authorities of `inner`.
    pub authorities: Arc<Authorities>,
    /// Whether lists of revoked certificates are asked.
    pub revokes: bool,
    /// `ca-ignore-err`, `crt-ignore-err`.
    pub ignored: Ignored,
    /// `client-sigalgs`.
    pub schemes: Schemes,
}

/// Errors that are shown, not acted on: of the certificate itself, and of those that vouch for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// `crt-ignore-err`.
    pub certificate: Numbers,
    /// `ca-ignore-err`.
    pub authorities: Numbers,
}

/// OpenSSL's numbers of errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Every one.
    All,
    /// These.
    Some(Vec<u32>),
}

impl Numbers {
    fn has(&self, number: u32) -> bool {
        match self {
            Numbers::All => true,
            Numbers::Some(numbers) => numbers.contains(&number),
        }
    }
}

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers::Some(Vec::new())
    }
}

impl Ignored {
    /// Whether an error is ignored wherever in the chain it is.
    pub(crate) fn ignores(&self, number: u32) -> bool {
        self.certificate.has(number) && self.authorities.has(number)
    }

    fn ignores_verdict(&self, verdict: Verdict) -> bool {
        match (verdict.number, verdict.depth) {
            // Who vouches for a certificate needs a list, too, and only the first fault is told.
            (number @ (NO_LIST | LIST_OVER), _) => self.ignores(number),
            (number, 0) => self.certificate.has(number),
            (number, _) => self.authorities.has(number),
        }
    }
}

/// What is wrong with a certificate and those that vouch for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// OpenSSL's number of the first thing wrong, 0 for nothing (`ssl_c_verify`).
    pub number: u32,
    /// How far from the certificate itself that is: 0 is the certificate.
    pub depth: u32,
}

impl Verdict {
    fn of(error: &Error, chain: &[CertificateDer<'_>]) -> Verdict {
        let number = code_of(error);
        let at = |number, depth: usize| Verdict {
            number,
            depth: u32::try_from(depth).unwrap_or(u32::MAX),
        };
        let own = |der: &CertificateDer<'_>| is_self_issued(der);
        let Some(last) = chain.last() else {
            return at(number, 0);
        };
        match number {
            // OpenSSL builds the chain first, and finds fault with its parts afterwards.
            UNKNOWN_ISSUER | UNSPECIFIED if own(last) && chain.len() == 1 => at(SELF_SIGNED, 0),
            UNKNOWN_ISSUER if own(last) => at(SELF_SIGNED_IN_CHAIN, chain.len() - 1),
            UNKNOWN_ISSUER => at(UNKNOWN_ISSUER, chain.len() - 1),
            _ => at(number, 0),
        }
    }
}

/// Names of errors, without their `X509_V_ERR_`, and their numbers.
pub const ERRORS: &[(&str, u32)] = &[
    ("UNABLE_TO_GET_ISSUER_CERT", 2),
    ("UNABLE_TO_GET_CRL", NO_LIST),
    ("CERT_SIGNATURE_FAILURE", 7),
    ("CERT_NOT_YET_VALID", 9),
    ("CERT_HAS_EXPIRED", 10),
    ("CRL_HAS_EXPIRED", LIST_OVER),
    ("DEPTH_ZERO_SELF_SIGNED_CERT", SELF_SIGNED),
    ("SELF_SIGNED_CERT_IN_CHAIN", SELF_SIGNED_IN_CHAIN),
    ("UNABLE_TO_GET_ISSUER_CERT_LOCALLY", UNKNOWN_ISSUER),
    ("UNABLE_TO_VERIFY_LEAF_SIGNATURE", 21),
    ("CERT_REVOKED", 23),
    ("INVALID_CA", 24),
    ("INVALID_PURPOSE", 26),
    ("CERT_UNTRUSTED", 27),
    ("CERT_REJECTED", 28),
];

/// The longest chain that is followed.
const DEEPEST: usize = 16;

/// `X509_V_ERR_UNABLE_TO_GET_CRL`.
pub(crate) const NO_LIST: u32 = 3;
/// `X509_V_ERR_CRL_HAS_EXPIRED`.
pub(crate) const LIST_OVER: u32 = 12;
/// `X509_V_ERR_UNSPECIFIED`.
const UNSPECIFIED: u32 = 1;
/// `X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY`.
const UNKNOWN_ISSUER: u32 = 20;
/// `X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT`.
const SELF_SIGNED: u32 = 18;
/// `X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN`.
const SELF_SIGNED_IN_CHAIN: u32 = 19;

impl ClientJudge {
    /// What is wrong with a certificate, the first of a chain.
    pub fn verdict(&self, chain: &[CertificateDer<'_>]) -> Verdict {
        let Some((end_entity, intermediates)) = chain.split_first() else {
            return Verdict::default();
        };
        match self.judge(end_entity, intermediates, UnixTime::now()) {
            Ok(()) => Verdict::default(),
            Err(error) => Verdict::of(&error, chain),
        }
    }

    /// Whether a client that takes up an earlier session again may come in: another judge, or none,
    /// let it in then.
    pub(crate) fn admits(&self, chain: &[CertificateDer<'_>]) -> bool {
        if chain.is_empty() {
            return !self.inner.client_auth_mandatory();
        }
        let verdict = self.verdict(chain);
        verdict.number == 0 || self.ignored.ignores_verdict(verdict)
    }

    /// The authority at the root of a chain (DER).
    pub fn root(&self, chain: &[Vec<u8>]) -> Option<&CertificateDer<'static>> {
        let last = crate::facts(chain.last()?)?;
        let mut wanted = last.issuer;
        let mut found = None;
        // A chain is short; that somebody vouches for whom vouches for them must end, too.
        for _ in 0..DEEPEST {
            let named =
                |c: &&CertificateDer<'_>| crate::facts(c).is_some_and(|f| f.subject == wanted);
            let Some(next) = self.authorities.exact.iter().find(named) else {
                return found;
            };
            found = Some(next);
            let facts = crate::facts(next)?;
            if facts.issuer == facts.subject {
                return found;
            }
            wanted = facts.issuer;
        }
        found
    }

    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.authorities.has(end_entity, self.revokes, now)? {
            return Ok(());
        }
        self.inner
            .verify_client_cert(end_entity, &self.authorities.complete(intermediates)?, now)
            .map(|_| ())
    }
}

impl ClientCertVerifier for ClientJudge {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Err(error) = self.judge(end_entity, intermediates, now) else {
            return Ok(ClientCertVerified::assertion());
        };
        let chain: Vec<_> = [end_entity]
            .into_iter()
            .chain(intermediates)
            .cloned()
            .collect();
        let verdict = Verdict::of(&error, &chain);
        crate::notes::judged(verdict);
        if self.ignored.ignores_verdict(verdict) {
            return Ok(ClientCertVerified::assertion());
        }
        Err(error)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        offered(&self.schemes, dss)?;
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        offered(&self.schemes, dss)?;
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        within(&self.schemes, self.inner.supported_verify_schemes())
    }
}
