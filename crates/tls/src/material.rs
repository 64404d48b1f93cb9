//! A certificate with its chain and key, read from PEM.

use crate::ocsp::{self, CertificateId};
use crate::{facts, provider};
use rustls::pki_types::pem::{self, SectionKind};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// Endings of files that lie beside a certificate and belong to it.
pub const COMPANIONS: &[&str] = &["key", "ocsp", "issuer", "sctl", "dh"];

/// Whether a file of a directory is a certificate's companion and not one itself.
pub fn is_companion(path: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, end)| COMPANIONS.contains(&end))
}

/// What a certificate's file and those beside it say; complete or not.
#[derive(Clone, Default)]
pub struct Parts {
    /// The certificate, then those that vouch for it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: Option<Arc<PrivateKeyDer<'static>>>,
    /// The OCSP answer about it (DER).
    pub ocsp: Option<Vec<u8>>,
    /// Who signed it, where that is not in the chain: questions and answers of OCSP name them.
    pub issuer: Option<CertificateDer<'static>>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys stay out of every log.
        f.debug_struct("Parts")
            .field("chain", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// How chains are completed and cut before they are sent.
#[derive(Clone, Debug, Default)]
pub struct ChainRules {
    /// `issuers-chain-path`: chains for certificates that come alone.
    pub chains: Vec<Vec<CertificateDer<'static>>>,
    /// `ssl-skip-self-issued-ca`: certificates that vouch for themselves are not sent.
    pub skip_self_issued: bool,
}

/// One certificate, ready for use, or empty so far (`new ssl cert`).
#[derive(Clone, Debug)]
pub struct Material {
    /// Its name in memory: most often the path it came from.
    pub path: Arc<str>,
    /// What it was made from.
    pub parts: Parts,
    /// Chain and key, with the OCSP answer; nothing as long as it is empty.
    stapled: Option<Arc<CertifiedKey>>,
    /// The same without an answer.
    bare: Option<Arc<CertifiedKey>>,
    /// Until when the OCSP answer may be shown, Unix seconds.
    staple_ends: i64,
    /// The names it answers for, lower case; `*.` starts a wildcard.
    pub names: Vec<String>,
}

/// The sections of PEM text that matter here.
#[derive(Default)]
struct Sections {
    chain: Vec<CertificateDer<'static>>,
    key: Option<PrivateKeyDer<'static>>,
}

/// What is wrong with text that is nearly PEM.
fn broken(error: pem::Error) -> String {
    let text = String::from_utf8_lossy;
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("is cut off: -----END {}----- is missing", text(&end_marker))
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("has a line that begins no section: {}", text(&line))
        }
        pem::Error::Base64Decode(_) => "has a section that is no base64: it is damaged".into(),
        other => format!("is no PEM: {other}"),
    }
}

fn sections(text: &[u8]) -> Result<Sections, String> {
    let mut into = Sections::default();
    let mut rest = text;
    loop {
        let found = pem::from_buf(&mut rest);
        let Some((kind, der)) = found.map_err(broken)? else {
            return Ok(into);
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

/// Why a file in which nothing was found has it in a form that is not read.
fn unreadable(pem: &[u8]) -> Option<&'static str> {
    let says = |text: &str| memfind(pem, text.as_bytes());
    if says("-----BEGIN ENCRYPTED PRIVATE KEY-----") || says("Proc-Type: 4,ENCRYPTED") {
        return Some(
            "has a private key that is encrypted, and nobody is there to type its passphrase: decrypt it with 'openssl pkey -in FILE -out FILE'",
        );
    }
    // The tag of a SEQUENCE (X.690): a certificate, a key or PKCS#12 in binary.
    // Its length is written long (the high bit), which a text that begins with '0' has not.
    if pem.first() == Some(&0x30) && pem.get(1).is_some_and(|b| b & 0x80 != 0) {
        return Some(
            "is binary (DER or PKCS#12), not PEM: convert it with 'openssl x509 -inform der', 'openssl pkey -inform der' or 'openssl pkcs12 -nodes'",
        );
    }
    None
}

fn memfind(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|w| w == wanted)
}

impl Parts {
    /// Reads certificates and key from PEM in any order; at least one certificate.
    pub fn read(pem: &[u8]) -> Result<Parts, String> {
        let mut parts = Parts::default();
        parts.put_certificate(pem)?;
        Ok(parts)
    }

    /// Takes another certificate, with its chain and key; without one, the key is still to come. The
    /// OCSP answer stays with the certificate that it is about.
    pub fn put_certificate(&mut self, pem: &[u8]) -> Result<(), String> {
        let found = sections(pem);
        let complete = |f: &Sections| f.key.is_some() && !f.chain.is_empty();
        if !found.as_ref().is_ok_and(complete)
            && let Some(why) = unreadable(pem)
        {
            return Err(why.into());
        }
        let found = found?;
        if found.chain.is_empty() {
            return Err("has no certificate (-----BEGIN CERTIFICATE-----)".into());
        }
        if found.chain.first() != self.chain.first() {
            self.ocsp = None;
        }
        self.chain = found.chain;
        self.key = found.key.map(Arc::new);
        Ok(())
    }

    /// Takes another key, from PEM.
    pub fn put_key(&mut self, pem: &[u8]) -> Result<(), String> {
        match (sections(pem), unreadable(pem)) {
            (Ok(Sections { key: Some(key), .. }), _) => {
                self.key = Some(Arc::new(key));
                Ok(())
            }
            (_, Some(why)) => Err(why.into()),
            (Ok(_), None) => Err("has no private key".into()),
            (Err(why), None) => Err(why),
        }
    }

    /// Takes another issuer, from PEM.
    pub fn put_issuer(&mut self, pem: &[u8]) -> Result<(), String> {
        let found = sections(pem)?.chain.into_iter().next();
        self.issuer = Some(found.ok_or("has no certificate (-----BEGIN CERTIFICATE-----)")?);
        Ok(())
    }

    /// Takes another OCSP answer (DER); it must be about this certificate and say that it is good.
    pub fn put_ocsp(&mut self, der: &[u8]) -> Result<(), String> {
        let id = self
            .id()
            .ok_or("the OCSP certificate ID cannot be computed: the issuer is not known")?;
        ocsp::check(der, &id, crate::now())?;
        self.ocsp = Some(der.to_vec());
        Ok(())
    }

    /// The certificate itself, DER.
    pub fn certificate(&self) -> &[u8] {
        self.chain.first().map_or(&[], |c| c.as_ref())
    }

    /// Chain and key as PEM.
    pub fn to_pem(&self) -> String {
        let mut out = String::new();
        for certificate in &self.chain {
            crate::pem(&mut out, "CERTIFICATE", certificate);
        }
        if let Some(key) = &self.key {
            let label = match **key {
                PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
                PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
                _ => "PRIVATE KEY",
            };
            crate::pem(&mut out, label, key.secret_der());
        }
        out
    }

    /// By what OCSP knows the certificate; nothing where its issuer is not known.
    pub fn id(&self) -> Option<CertificateId> {
        // One that is told apart may be of the certificate before this one.
        let own = self.chain.first()?;
        let issuer = self.issuer.as_ref().filter(|i| signed_by(own, i));
        let issuer = issuer.or_else(|| self.chain.get(1));
        ocsp::id_of(self.certificate(), issuer?)
    }
}

/// What names a certificate's issuer the same way as the certificate its own subject.
fn signed_by(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
    match (facts(certificate), facts(issuer)) {
        (Some(one), Some(other)) => one.issuer == other.subject,
        _ => false,
    }
}

impl Material {
    /// A certificate of which nothing is known yet (`new ssl cert`).
    pub fn empty(path: &str) -> Material {
        Material {
            path: path.into(),
            parts: Parts::default(),
            stapled: None,
            bare: None,
            staple_ends: 0,
            names: Vec::new(),
        }
    }

    /// Puts the parts together; the key must be that of the certificate.
    pub fn of(path: &str, parts: Parts, rules: &ChainRules) -> Result<Material, String> {
        let Some(first) = parts.chain.first() else {
            return Err("has no certificate (-----BEGIN CERTIFICATE-----)".into());
        };
        let own = facts(first).ok_or("has a certificate that cannot be read")?;
        let Some(key) = &parts.key else {
            return Err(
                "has no private key: add it to the file, or put it beside with the ending .key"
                    .into(),
            );
        };
        let key = provider()
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|_| {
                format!(
                    "has a private key that cannot be used (that of the certificate is {}): RSA keys have 2048 to 8192 bits, elliptic ones are P-256, P-384, P-521 or Ed25519",
                    own.key
                )
            })?;
        let mut parts = parts;
        let mut chain = parts.chain.clone();
        if let [alone] = chain.as_slice() {
            let fits = |c: &&Vec<_>| c.first().is_some_and(|top| signed_by(alone, top));
            if let Some(rest) = rules.chains.iter().find(fits) {
                let told = parts.issuer.filter(|i| signed_by(alone, i));
                parts.issuer = told.or_else(|| rest.first().cloned());
                chain.extend(rest.iter().cloned());
            }
        }
        if rules.skip_self_issued {
            let mut place = 0;
            chain.retain(|c| {
                place += 1;
                place == 1 || !signed_by(c, c)
            });
        }
        let mut certified = CertifiedKey::new(chain, key);
        if let Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) =
            certified.keys_match()
        {
            return Err("has a private key that does not belong to its certificate".into());
        }
        let bare = Arc::new(certified.clone());
        certified.ocsp.clone_from(&parts.ocsp);
        let answer = parts.ocsp.as_deref().zip(parts.id());
        let staple_ends = answer.and_then(|(der, id)| ocsp::ends(der, &id));
        Ok(Material {
            path: path.into(),
            parts,
            stapled: Some(Arc::new(certified)),
            bare: Some(bare),
            staple_ends: staple_ends.unwrap_or(i64::MAX),
            names: own.names,
        })
    }

    /// Chain and key for a client now, with the OCSP answer while that counts.
    pub(crate) fn key(&self) -> Option<&Arc<CertifiedKey>> {
        if self.parts.ocsp.is_some() && crate::now() <= self.staple_ends {
            return self.stapled.as_ref();
        }
        self.bare.as_ref()
    }

    /// Whether nothing is known of it yet.
    pub fn is_empty(&self) -> bool {
        self.bare.is_none()
    }

    /// The certificates that are sent with it, itself first.
    pub fn sent(&self) -> &[CertificateDer<'static>] {
        self.bare.as_ref().map_or(&[], |k| &k.cert)
    }
}

/// All certificates of a PEM file; what it holds else is passed over.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = sections(pem)?.chain;
    if chain.is_empty() {
        return Err("has no certificate (-----BEGIN CERTIFICATE-----)".into());
    }
    Ok(chain)
}

/// All revocation lists of a PEM file.
pub fn revocations(text: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((kind, der)) = pem::from_buf(&mut rest).map_err(broken)? {
        if kind == SectionKind::Crl {
            found.push(der.into());
        }
    }
    if found.is_empty() {
        return Err("has no revocation list (-----BEGIN X509 CRL-----)".into());
    }
    Ok(found)
}
