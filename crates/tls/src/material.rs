//! A certificate with its chain and key, read from PEM.

use crate::{facts, provider};
use rustls::pki_types::pem::SectionKind;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// Endings of files that lie beside a certificate and belong to it.
pub const COMPANIONS: &[&str] = &["key", "ocsp", "issuer", "sctl", "dh"];

/// Whether a file of a directory is a certificate's companion and not one itself.
pub fn is_companion(path: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, end)| COMPANIONS.contains(&end))
}

/// One certificate, ready for use.
#[derive(Clone, Debug)]
pub struct Material {
    /// Chain, key and OCSP answer.
    pub key: Arc<CertifiedKey>,
    /// The names it answers for, lower case; `*.` starts a wildcard.
    pub names: Vec<String>,
}

/// The sections of PEM text that matter here.
#[derive(Default)]
struct Sections {
    chain: Vec<CertificateDer<'static>>,
    key: Option<PrivateKeyDer<'static>>,
}

fn sections(pem: &[u8], into: &mut Sections) -> Result<(), String> {
    let mut rest = pem;
    loop {
        let found = rustls::pki_types::pem::from_buf(&mut rest);
        let Some((kind, der)) = found.map_err(|e| format!("is no PEM: {e}"))? else {
            return Ok(());
        };
        match kind {
            SectionKind::Certificate => into.chain.push(der.into()),
            SectionKind::PrivateKey => into.key = Some(PrivateKeyDer::Pkcs8(der.into())),
            SectionKind::RsaPrivateKey => into.key = Some(PrivateKeyDer::Pkcs1(der.into())),
            SectionKind::EcPrivateKey => into.key = Some(PrivateKeyDer::Sec1(der.into())),
            _ => {}
        }
    }
}

impl Material {
    /// Reads a certificate, its chain and its key from PEM in any order. `key` is the content of
    /// the `.key` file beside it, `ocsp` of the `.ocsp` file (DER), `issuer` of `.issuer`.
    pub fn read(
        pem: &[u8],
        key: Option<&[u8]>,
        ocsp: Option<Vec<u8>>,
        issuer: Option<&[u8]>,
    ) -> Result<Material, String> {
        let mut all = Sections::default();
        sections(pem, &mut all)?;
        if let Some(key) = key.filter(|_| all.key.is_none()) {
            let mut beside = Sections::default();
            sections(key, &mut beside)?;
            all.key = beside.key;
        }
        if let Some(issuer) = issuer.filter(|_| all.chain.len() == 1) {
            all.chain.extend(certificates(issuer)?);
        }
        if all.chain.is_empty() {
            return Err("has no certificate (-----BEGIN CERTIFICATE-----)".into());
        }
        let Some(key) = all.key else {
            return Err(
                "has no private key: add it to the file, or put it beside with the ending .key"
                    .into(),
            );
        };
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|e| format!("has a private key that cannot be used: {e}"))?;
        let names = facts(&all.chain[0])
            .ok_or("has a certificate that cannot be read")?
            .names;
        let mut certified = CertifiedKey::new(all.chain, key);
        if let Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) =
            certified.keys_match()
        {
            return Err("has a private key that does not belong to its certificate".into());
        }
        certified.ocsp = ocsp.filter(|o| !o.is_empty());
        Ok(Material {
            key: Arc::new(certified),
            names,
        })
    }

    /// The certificate itself, DER.
    pub fn certificate(&self) -> &[u8] {
        self.key.cert.first().map_or(&[], |c| c.as_ref())
    }
}

/// All certificates of a PEM file; what it holds else is passed over.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut all = Sections::default();
    sections(pem, &mut all)?;
    if all.chain.is_empty() {
        return Err("has no certificate (-----BEGIN CERTIFICATE-----)".into());
    }
    Ok(all.chain)
}

/// All revocation lists of a PEM file.
pub fn revocations(
    pem: &[u8],
) -> Result<Vec<rustls::pki_types::CertificateRevocationListDer<'static>>, String> {
    let mut found = Vec::new();
    let mut rest = pem;
    while let Some((kind, der)) =
        rustls::pki_types::pem::from_buf(&mut rest).map_err(|e| format!("is no PEM: {e}"))?
    {
        if kind == SectionKind::Crl {
            found.push(der.into());
        }
    }
    if found.is_empty() {
        return Err("has no revocation list (-----BEGIN X509 CRL-----)".into());
    }
    Ok(found)
}
