//! Judging the other side's certificate as OpenSSL's users expect.

use crate::provider;
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
    /// As trust anchors.
    pub roots: Arc<RootCertStore>,
    /// As they are: OpenSSL trusts a certificate that is in the file itself, authority or not.
    pub exact: Vec<CertificateDer<'static>>,
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
        CertificateError::UnknownRevocationStatus => 3,
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => 12,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => 26,
        CertificateError::UnhandledCriticalExtension => 34,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => 62,
        CertificateError::BadEncoding => 13,
        _ => 1,
    }
}

/// How a server's certificate is judged.
#[derive(Debug)]
pub enum ServerJudge {
    /// `verify none`: whoever answers is the server.
    Anyone,
    /// By authorities.
    Chain {
        /// Checks chain, times, revocation and name.
        inner: Arc<WebPkiServerVerifier>,
        authorities: Arc<Authorities>,
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
        let ServerJudge::Chain {
            inner,
            authorities,
            host,
        } = self
        else {
            return Ok(ServerCertVerified::assertion());
        };
        let asked = matches!(server_name, ServerName::DnsName(_));
        // `verifyhost` is for connections without SNI.
        let name = asked.then_some(server_name).or(host.as_ref());
        if known_itself(authorities, end_entity, now) {
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
            intermediates,
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
        match self {
            // A signature proves nothing where anyone is believed.
            ServerJudge::Anyone => Ok(HandshakeSignatureValid::assertion()),
            ServerJudge::Chain { .. } => verify_tls12_signature(
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
        match self {
            ServerJudge::Anyone => Ok(HandshakeSignatureValid::assertion()),
            ServerJudge::Chain { .. } => verify_tls13_signature(
                message,
                cert,
                dss,
                &provider().signature_verification_algorithms,
            ),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Whether this very certificate is in the file of authorities, and valid now.
fn known_itself(
    authorities: &Authorities,
    certificate: &CertificateDer<'_>,
    now: UnixTime,
) -> bool {
    let now = now.as_secs() as i64;
    authorities
        .exact
        .iter()
        .any(|c| c.as_ref() == certificate.as_ref())
        && crate::facts(certificate)
            .is_some_and(|f| (f.not_before_unix..=f.not_after_unix).contains(&now))
}

/// How a client's certificate is judged.
#[derive(Debug)]
pub struct ClientJudge {
    /// Checks chain, times and revocation.
    pub inner: Arc<dyn ClientCertVerifier>,
    /// The authorities of `inner`.
    pub authorities: Arc<Authorities>,
    /// `ca-ignore-err`, `crt-ignore-err`: errors are shown, not acted on.
    pub lenient: bool,
}

impl ClientJudge {
    /// OpenSSL's number of what is wrong with a certificate; 0 is nothing.
    pub fn verdict(&self, chain: &[CertificateDer<'_>]) -> u32 {
        let Some((end_entity, intermediates)) = chain.split_first() else {
            return 0;
        };
        match self.judge(end_entity, intermediates, UnixTime::now()) {
            Ok(()) => 0,
            Err(error) => code_of(&error),
        }
    }

    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if known_itself(&self.authorities, end_entity, now) {
            return Ok(());
        }
        self.inner
            .verify_client_cert(end_entity, intermediates, now)
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
        match self.judge(end_entity, intermediates, now) {
            Err(error) if !self.lenient => Err(error),
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
