//! Which certificate a client is shown.

use crate::material::Material;
use crate::notes;
use crate::signing::restricted;
use crate::verify::Schemes;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use std::collections::HashMap;
use std::sync::Arc;

/// Certificates by the names they answer for.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    pub(crate) by_name: HashMap<String, Vec<Arc<Material>>>,
    pub(crate) default: Vec<Arc<Material>>,
    pub(crate) strict: bool,
}

/// Chooses the certificate that a client is shown.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) certificates: Arc<Certificates>,
    /// `sigalgs`.
    pub(crate) schemes: Schemes,
}

/// The wildcard that covers a name: one label wide (RFC 6125 section 6.4.3).
pub(crate) fn wildcard(name: &str) -> Option<String> {
    let (_, parent) = name.split_once('.')?;
    Some(format!("*.{parent}"))
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = &self.certificates;
        let named = hello.server_name().and_then(|name| {
            let name = name.to_ascii_lowercase();
            let exact = certificates.by_name.get(&name);
            exact.or_else(|| certificates.by_name.get(&wildcard(&name)?))
        });
        let candidates = match named.filter(|found| !found.is_empty()) {
            Some(found) => found,
            None if certificates.strict => return None,
            None => &certificates.default,
        };
        let offered: Vec<SignatureScheme> = match &self.schemes {
            Some(ours) => hello
                .signature_schemes()
                .iter()
                .copied()
                .filter(|s| ours.contains(s))
                .collect(),
            None => hello.signature_schemes().to_vec(),
        };
        let usable = |material: &&Arc<Material>| {
            material
                .key()
                .is_some_and(|k| k.key.choose_scheme(&offered).is_some())
        };
        let elliptic = |material: &&Arc<Material>| {
            material
                .key()
                .is_some_and(|k| k.key.algorithm() != SignatureAlgorithm::RSA)
        };
        // A name with both kinds of key: the cheaper one, if the client knows it.
        let mut all = candidates.iter().filter(usable);
        let cheap = candidates.iter().filter(usable).find(elliptic);
        let material = cheap.or_else(|| all.next()).or(candidates.first())?;
        notes::shown(material);
        Some(restricted(material.key()?, &self.schemes))
    }
}
