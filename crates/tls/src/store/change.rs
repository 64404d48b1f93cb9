//! Changes while running: `new`, `set`, `add`, `commit`, `abort` and `del` of the control socket.

use super::{Inner, Store, Used};
use crate::material::{Material, Parts, certificates, revocations};
use crate::ocsp::CertificateId;
use crate::verify::Authorities;
use std::sync::Arc;

/// A kind of file that is changed in two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ssl cert`.
    Certificate,
    /// `ssl ca-file`.
    Authorities,
    /// `ssl crl-file`.
    Revocations,
}

/// Why a file is not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KindFault {
    /// There is one of this name.
    Exists,
    /// There is none of this name.
    NotThere,
    /// No change of it was begun.
    NothingBegun,
    /// A change of another one is under way.
    Other(Arc<str>),
    /// Somebody uses it.
    InUse,
    /// What was sent is nothing of this kind; why.
    Payload(String),
    /// Somebody who uses it could not do so any longer; why.
    Unusable(String),
}

/// Why a line is not added to a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddFault {
    /// There is no such list.
    NoList,
    /// The certificate is not in memory.
    NoCertificate,
    /// Nothing is known of the certificate yet.
    Empty,
    /// A file that an option names is not in memory.
    NoFile(&'static str, Arc<str>),
    /// A listener could not use it; why.
    Unusable(String),
}

/// Why a line is not taken out of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DelFault {
    /// There is no such list.
    NoList,
    /// The list does not have that certificate.
    NotThere,
    /// It is there more than once: in these lines.
    Several(Vec<usize>),
    /// It is in these lines, not in that one.
    WrongLine(Vec<usize>),
    /// It is the default certificate of the `bind` lines at these places.
    Default(Vec<Arc<str>>),
    /// A listener could not do without; why.
    Unusable(String),
}

/// Endings of what `set ssl cert` may replace by itself.
const PARTS: [&str; 4] = ["key", "ocsp", "issuer", "sctl"];

impl Store {
    /// `new ssl …`: an empty file.
    pub fn create(&self, kind: Kind, name: &str) -> Result<(), KindFault> {
        let mut inner = self.lock();
        let files = &mut inner.files;
        let name: Arc<str> = name.into();
        let exists = match kind {
            Kind::Certificate => files.certificates.contains_key(&name),
            Kind::Authorities => files.authorities.contains_key(&name),
            Kind::Revocations => files.revocations.contains_key(&name),
        };
        if exists {
            return Err(KindFault::Exists);
        }
        match kind {
            Kind::Certificate => {
                let empty = Arc::new(Material::empty(&name));
                files.certificates.insert(name, empty);
            }
            Kind::Authorities => {
                let empty = Arc::new(Authorities::of(Vec::new()));
                files.authorities.insert(name, empty);
            }
            Kind::Revocations => {
                files.revocations.insert(name, Arc::default());
            }
        }
        Ok(())
    }

    /// `set ssl cert NAME[.key|.ocsp|.issuer]`: holds new content back until the commit. Returns the
    /// name of the certificate, and whether a change of it was under way already. `payload` is PEM,
    /// of an OCSP answer base64.
    pub fn set_certificate(
        &self,
        name: &str,
        payload: &[u8],
    ) -> Result<(Arc<str>, bool), KindFault> {
        let mut inner = self.lock();
        let whole = inner.files.certificates.get_key_value(name);
        let (path, part) = match whole {
            Some((path, _)) => (Arc::clone(path), None),
            None => {
                let (stem, ending) = name.rsplit_once('.').ok_or(KindFault::NotThere)?;
                let known = inner.files.certificates.get_key_value(stem);
                let (path, _) = known
                    .filter(|_| PARTS.contains(&ending))
                    .ok_or(KindFault::NotThere)?;
                (Arc::clone(path), Some(ending))
            }
        };
        let (mut parts, under_way) = match &inner.pending.certificate {
            Some((other, _)) if *other != path => {
                return Err(KindFault::Other(Arc::clone(other)));
            }
            Some((_, parts)) => (parts.clone(), true),
            None => {
                let in_use = inner.files.certificates.get(&path);
                (
                    in_use.map_or_else(Parts::default, |m| m.parts.clone()),
                    false,
                )
            }
        };
        let put = match part {
            None => parts.put_certificate(payload),
            Some("key") => parts.put_key(payload),
            Some("issuer") => parts.put_issuer(payload),
            Some("ocsp") => match crate::base64(payload) {
                Some(der) => parts.put_ocsp(&der),
                None => Err("Error reading OCSP response in base64 format".into()),
            },
            Some(_) => Err("signed timestamps of certificates are not sent".into()),
        };
        put.map_err(KindFault::Payload)?;
        inner.pending.certificate = Some((Arc::clone(&path), parts));
        Ok((path, under_way))
    }

    /// `set ssl ca-file`, and `add ssl ca-file`, which keeps what is there: holds new content back
    /// until the commit. Whether a change was under way already.
    pub fn set_authorities(&self, name: &str, pem: &[u8], add: bool) -> Result<bool, KindFault> {
        let mut inner = self.lock();
        let known = inner.files.authorities.get_key_value(name);
        let (path, in_use) = known.ok_or(KindFault::NotThere)?;
        let (path, in_use) = (Arc::clone(path), Arc::clone(in_use));
        let before = match &inner.pending.authorities {
            Some((other, _)) if *other != path => {
                return Err(KindFault::Other(Arc::clone(other)));
            }
            Some((_, pending)) => Some(Arc::clone(pending)),
            None => None,
        };
        let mut exact = match add {
            true => before.as_ref().unwrap_or(&in_use).exact.clone(),
            false => Vec::new(),
        };
        exact.extend(certificates(pem).map_err(KindFault::Payload)?);
        let made = Arc::new(Authorities::of(exact));
        inner.pending.authorities = Some((path, made));
        Ok(before.is_some())
    }

    /// `set ssl crl-file`: holds new content back until the commit. Whether a change was under way
    /// already.
    pub fn set_revocations(&self, name: &str, pem: &[u8]) -> Result<bool, KindFault> {
        let mut inner = self.lock();
        let known = inner.files.revocations.get_key_value(name);
        let path = Arc::clone(known.ok_or(KindFault::NotThere)?.0);
        let under_way = match &inner.pending.revocations {
            Some((other, _)) if *other != path => {
                return Err(KindFault::Other(Arc::clone(other)));
            }
            other => other.is_some(),
        };
        let lists = revocations(pem).map_err(KindFault::Payload)?;
        inner.pending.revocations = Some((path, Arc::new(lists)));
        Ok(under_way)
    }

    /// `commit ssl …`: from here on new connections get the new content. How often it is used.
    pub fn commit(&self, kind: Kind, name: &str) -> Result<usize, KindFault> {
        self.lock().begun(kind, name)?;
        let name: Arc<str> = name.into();
        let done = match kind {
            Kind::Certificate => {
                let (parts, rules) = {
                    let inner = self.lock();
                    let pending = inner.pending.certificate.as_ref();
                    let parts = pending.map(|p| p.1.clone());
                    (
                        parts.ok_or(KindFault::NothingBegun)?,
                        inner.chain_rules.clone(),
                    )
                };
                if parts.chain.is_empty() || parts.key.is_none() {
                    return Err(KindFault::Unusable(
                        "The transaction must contain at least a certificate and a private key!"
                            .into(),
                    ));
                }
                let material = Material::of(&name, parts, &rules)
                    .map_err(|e| KindFault::Unusable(format!("'{name}' {e}")))?;
                self.apply(Used::Certificate(&name), |files| {
                    files
                        .certificates
                        .insert(Arc::clone(&name), Arc::new(material));
                })
            }
            Kind::Authorities => {
                let pending = self.lock().pending.authorities.clone();
                let (_, made) = pending.ok_or(KindFault::NothingBegun)?;
                self.apply(Used::Authorities(&name), |files| {
                    files.authorities.insert(Arc::clone(&name), made);
                })
            }
            Kind::Revocations => {
                let pending = self.lock().pending.revocations.clone();
                let (_, made) = pending.ok_or(KindFault::NothingBegun)?;
                self.apply(Used::Revocations(&name), |files| {
                    files.revocations.insert(Arc::clone(&name), made);
                })
            }
        };
        done.map_err(KindFault::Unusable)?;
        self.lock().pending.end(kind);
        Ok(self.uses(kind, &name))
    }

    /// `abort ssl …`.
    pub fn abort(&self, kind: Kind, name: &str) -> Result<(), KindFault> {
        let mut inner = self.lock();
        inner.begun(kind, name)?;
        inner.pending.end(kind);
        Ok(())
    }

    /// `del ssl …`: forgets a file that nobody uses.
    pub fn delete(&self, kind: Kind, name: &str) -> Result<(), KindFault> {
        if self.uses(kind, name) > 0 {
            return Err(KindFault::InUse);
        }
        let mut inner = self.lock();
        let files = &mut inner.files;
        let listed = || {
            let mut lines = files.lists.values().flat_map(|l| l.iter());
            kind == Kind::Certificate && lines.any(|l| &*l.entry.path == name)
        };
        if listed() {
            return Err(KindFault::InUse);
        }
        let taken = match kind {
            Kind::Certificate => files.certificates.remove(name).is_some(),
            Kind::Authorities => files.authorities.remove(name).is_some(),
            Kind::Revocations => files.revocations.remove(name).is_some(),
        };
        if inner.begun(kind, name).is_ok() {
            inner.pending.end(kind);
        }
        taken.then_some(()).ok_or(KindFault::NotThere)
    }

    /// The certificates that have an OCSP answer: id and name, sorted.
    pub fn ocsp_answers(&self) -> Vec<(CertificateId, Arc<Material>)> {
        let inner = self.lock();
        let all = inner.files.certificates.values();
        all.filter(|m| m.parts.ocsp.is_some())
            .filter_map(|m| Some((m.parts.id()?, Arc::clone(m))))
            .collect()
    }

    /// `set ssl ocsp-response`: a new answer (DER) for the certificates that have one already.
    pub fn set_ocsp_answer(&self, der: &[u8]) -> Result<(), String> {
        let answer = crate::ocsp::read(der)?;
        let about = |id: &CertificateId| answer.singles.iter().any(|s| s.id == *id);
        let found: Vec<_> = self
            .ocsp_answers()
            .into_iter()
            .filter(|(id, _)| about(id))
            .collect();
        if found.is_empty() {
            return Err(
                "OCSP single response: Certificate ID does not match any certificate or issuer"
                    .into(),
            );
        }
        for (_, material) in found {
            let rules = self.lock().chain_rules.clone();
            let mut parts = material.parts.clone();
            parts.put_ocsp(der)?;
            let path = Arc::clone(&material.path);
            let material = Arc::new(Material::of(&path, parts, &rules)?);
            self.apply(Used::Certificate(&path), |files| {
                files.certificates.insert(Arc::clone(&path), material);
            })?;
            self.renew_pending(&path, der);
        }
        Ok(())
    }

    /// Gives a new OCSP answer to a change of this certificate that is under way too, so that its
    /// commit does not bring the old one back. A change to another certificate has no use for it.
    fn renew_pending(&self, name: &str, der: &[u8]) {
        let mut inner = self.lock();
        if let Some((path, parts)) = &mut inner.pending.certificate
            && **path == *name
        {
            let _ = parts.put_ocsp(der);
        }
    }
}

impl Inner {
    /// Whether a change of this file is under way.
    fn begun(&self, kind: Kind, name: &str) -> Result<(), KindFault> {
        let pending = &self.pending;
        let path = match kind {
            Kind::Certificate => pending.certificate.as_ref().map(|p| &p.0),
            Kind::Authorities => pending.authorities.as_ref().map(|p| &p.0),
            Kind::Revocations => pending.revocations.as_ref().map(|p| &p.0),
        };
        match path {
            None => Err(KindFault::NothingBegun),
            Some(other) if &**other != name => Err(KindFault::Other(Arc::clone(other))),
            Some(_) => Ok(()),
        }
    }
}

impl super::Pending {
    fn end(&mut self, kind: Kind) {
        match kind {
            Kind::Certificate => self.certificate = None,
            Kind::Authorities => self.authorities = None,
            Kind::Revocations => self.revocations = None,
        }
    }
}
