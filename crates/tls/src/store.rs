//! All TLS files of one configuration, read once, and changed while running.

use crate::acceptor::Acceptor;
use crate::connector::Connector;
use crate::material::{Material, certificates, revocations};
use crate::settings::ConnectorSettings;
use crate::verify::Authorities;
use rustls::RootCertStore;
use rustls::pki_types::CertificateRevocationListDer;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Reads a file.
pub type Read<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

/// The system's own authorities, `ca-file @system-ca`.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

type Lists = Arc<Vec<CertificateRevocationListDer<'static>>>;

/// Files by path, and who uses them.
#[derive(Default)]
pub struct Store {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    files: BTreeMap<Arc<str>, Arc<Material>>,
    /// `set ssl cert` waiting for `commit ssl cert`.
    pending: Option<(Arc<str>, Arc<Material>)>,
    authorities: HashMap<Arc<str>, Arc<Authorities>>,
    revocations: HashMap<Arc<str>, Lists>,
    acceptors: Vec<Weak<Acceptor>>,
    connectors: Vec<Weak<Connector>>,
    /// One connector of each kind: thousands of servers share what does not differ.
    kinds: HashMap<ConnectorSettings, Arc<Connector>>,
}

/// What `show ssl cert` shows.
pub struct Shown {
    /// Paths in use, sorted.
    pub files: Vec<Arc<str>>,
    /// The path that waits for its commit.
    pub pending: Option<Arc<str>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is complete in itself, so what a panicking holder left is usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificate at a path, read on first use together with its companions.
    pub fn material(&self, path: &str, read: Read<'_>) -> Result<Arc<Material>, String> {
        if let Some(known) = self.lock().files.get(path) {
            return Ok(Arc::clone(known));
        }
        let pem = read(path).map_err(|e| format!("certificate '{path}' cannot be read: {e}"))?;
        let beside = |ending: &str| read(&format!("{path}.{ending}")).ok();
        // `site.crt` may have its key in `site.crt.key` or `site.key`.
        let key = beside("key").or_else(|| {
            let stem = path
                .strip_suffix(".crt")
                .or_else(|| path.strip_suffix(".pem"))?;
            read(&format!("{stem}.key")).ok()
        });
        let material = Material::read(
            &pem,
            key.as_deref(),
            beside("ocsp"),
            beside("issuer").as_deref(),
        )
        .map(Arc::new)
        .map_err(|e| format!("certificate '{path}' {e}"))?;
        self.lock().files.insert(path.into(), Arc::clone(&material));
        Ok(material)
    }

    /// The authorities of a `ca-file`.
    pub fn authorities(&self, path: &str, read: Read<'_>) -> Result<Arc<Authorities>, String> {
        if let Some(known) = self.lock().authorities.get(path) {
            return Ok(Arc::clone(known));
        }
        let file = if path == "@system-ca" {
            SYSTEM_AUTHORITIES
        } else {
            path
        };
        let pem = read(file).map_err(|e| format!("ca-file '{file}' cannot be read: {e}"))?;
        let exact = certificates(&pem).map_err(|e| format!("ca-file '{file}' {e}"))?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(exact.iter().cloned());
        let found = Arc::new(Authorities {
            roots: Arc::new(roots),
            exact,
        });
        self.lock()
            .authorities
            .insert(path.into(), Arc::clone(&found));
        Ok(found)
    }

    /// The revocation lists of a `crl-file`.
    pub(crate) fn revocations(&self, path: &str, read: Read<'_>) -> Result<Lists, String> {
        if let Some(known) = self.lock().revocations.get(path) {
            return Ok(Arc::clone(known));
        }
        let pem = read(path).map_err(|e| format!("crl-file '{path}' cannot be read: {e}"))?;
        let found: Lists =
            Arc::new(revocations(&pem).map_err(|e| format!("crl-file '{path}' {e}"))?);
        self.lock()
            .revocations
            .insert(path.into(), Arc::clone(&found));
        Ok(found)
    }

    pub(crate) fn register(&self, acceptor: &Arc<Acceptor>) {
        self.lock().acceptors.push(Arc::downgrade(acceptor));
    }

    pub(crate) fn register_connector(&self, connector: &Arc<Connector>) {
        let mut inner = self.lock();
        inner.connectors.push(Arc::downgrade(connector));
        inner
            .kinds
            .entry(connector.settings().clone())
            .or_insert_with(|| Arc::clone(connector));
    }

    /// A connector with these settings, if there is one.
    pub(crate) fn like(&self, settings: &ConnectorSettings) -> Option<Arc<Connector>> {
        self.lock().kinds.get(settings).cloned()
    }

    /// What there is.
    pub fn shown(&self) -> Shown {
        let inner = self.lock();
        Shown {
            files: inner.files.keys().cloned().collect(),
            pending: inner.pending.as_ref().map(|p| Arc::clone(&p.0)),
        }
    }

    /// The certificate at a path in use, or the one that waits for its commit.
    pub fn find(&self, path: &str, pending: bool) -> Option<Arc<Material>> {
        let inner = self.lock();
        if pending {
            inner
                .pending
                .as_ref()
                .filter(|p| &*p.0 == path)
                .map(|p| Arc::clone(&p.1))
        } else {
            inner.files.get(path).cloned()
        }
    }

    /// `set ssl cert PATH`: holds new content back until the commit. Says whether a transaction
    /// on this file was under way already.
    pub fn set(&self, path: &str, pem: &[u8]) -> Result<bool, String> {
        let mut inner = self.lock();
        let Some((path, old)) = inner
            .files
            .get_key_value(path)
            .map(|(k, v)| (Arc::clone(k), Arc::clone(v)))
        else {
            return Err(format!(
                "Can't replace a certificate which is not referenced by the configuration!\nCan't update {path}!\n"
            ));
        };
        if let Some((other, _)) = inner.pending.as_ref().filter(|p| p.0 != path) {
            return Err(format!(
                "The ongoing transaction is about '{other}' but you are trying to set '{path}'\nCan't update {path}!\n"
            ));
        }
        let mut material = Material::read(pem, None, None, None)
            .map_err(|e| format!("'{path}' {e}\nCan't update {path}!\n"))?;
        if material.certificate() == old.certificate() {
            // The same certificate keeps its OCSP answer.
            material = Material {
                key: Arc::clone(&old.key),
                ..material
            };
        }
        let updated = inner.pending.replace((path, Arc::new(material))).is_some();
        Ok(updated)
    }

    /// `commit ssl cert PATH`: from here on new connections get the new content.
    pub fn commit(&self, path: &str) -> Result<(), String> {
        let (acceptors, connectors) = {
            let mut inner = self.lock();
            let (path, material) = inner.take_pending(path, "No ongoing transaction! !\n")?;
            inner.files.insert(path, material);
            inner.acceptors.retain(|a| a.strong_count() > 0);
            inner.connectors.retain(|c| c.strong_count() > 0);
            let acceptors: Vec<_> = inner.acceptors.iter().filter_map(Weak::upgrade).collect();
            let connectors: Vec<_> = inner.connectors.iter().filter_map(Weak::upgrade).collect();
            (acceptors, connectors)
        };
        let find = |path: &str| self.find(path, false);
        for acceptor in acceptors {
            acceptor.rebuild(&find)?;
        }
        for connector in connectors {
            connector.rebuild(&find)?;
        }
        Ok(())
    }

    /// `abort ssl cert PATH`.
    pub fn abort(&self, path: &str) -> Result<(), String> {
        let taken = self.lock().take_pending(path, "No ongoing transaction!\n");
        taken.map(|_| ())
    }
}

impl Inner {
    /// Ends the transaction on this file.
    fn take_pending(
        &mut self,
        path: &str,
        none: &str,
    ) -> Result<(Arc<str>, Arc<Material>), String> {
        match &self.pending {
            None => return Err(none.into()),
            Some((other, _)) if &**other != path => return Err(other_transaction(other, path)),
            Some(_) => {}
        }
        self.pending.take().ok_or_else(|| none.into())
    }
}

fn other_transaction(other: &str, path: &str) -> String {
    format!("The ongoing transaction is about '{other}' but you are trying to set '{path}'\n")
}
