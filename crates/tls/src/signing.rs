//! Keys that sign only as `sigalgs` allows.

use crate::verify::Schemes;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use std::sync::Arc;

/// A key that signs only in some ways.
#[derive(Debug)]
struct Restricted {
    key: Arc<dyn SigningKey>,
    schemes: Arc<[SignatureScheme]>,
}

impl SigningKey for Restricted {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        // Our order counts, as OpenSSL's users expect of a server.
        let mut common = self.schemes.iter().filter(|s| offered.contains(s));
        common.find_map(|scheme| self.key.choose_scheme(&[*scheme]))
    }

    fn public_key(&self) -> Option<rustls::pki_types::SubjectPublicKeyInfoDer<'_>> {
        self.key.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}

/// The same certificate, signing only in these ways.
pub(crate) fn restricted(key: &Arc<CertifiedKey>, schemes: &Schemes) -> Arc<CertifiedKey> {
    let Some(schemes) = schemes else {
        return Arc::clone(key);
    };
    Arc::new(CertifiedKey {
        key: Arc::new(Restricted {
            key: Arc::clone(&key.key),
            schemes: Arc::clone(schemes),
        }),
        ..CertifiedKey::clone(key)
    })
}
