//! All TLS files of one configuration, read once, and changed while running. They are looked for by
//! name in memory; most names are paths.

mod change;
mod list;

pub use change::{AddFault, DelFault, Kind, KindFault};
pub use list::ListLine;

use crate::acceptor::Acceptor;
use crate::connector::Connector;
use crate::entry::{self, Folders};
use crate::material::{ChainRules, Material, Parts, certificates, revocations};
use crate::settings::{ConnectorSettings, ListEntry};
use crate::tickets::TicketKeys;
use crate::verify::{Authorities, ServerJudge};
use rustls::pki_types::CertificateRevocationListDer;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Reads a file.
pub type Read<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

/// The system's own authorities, `ca-file @system-ca`.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Revocation lists of one file.
pub type Lists = Arc<Vec<CertificateRevocationListDer<'static>>>;

/// Which files beside a certificate are looked for (`ssl-load-extra-files`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtraFiles {
    /// `FILE.rsa` and `FILE.ecdsa` where there is no `FILE`.
    pub bundle: bool,
    /// `FILE.issuer`.
    pub issuer: bool,
    /// `FILE.key`.
    pub key: bool,
    /// `FILE.ocsp`.
    pub ocsp: bool,
    /// `FILE.sctl`.
    pub sctl: bool,
    /// `ssl-load-extra-del-ext`: the ending takes the place of `.crt`.
    pub instead_of_crt: bool,
}

impl Default for ExtraFiles {
    fn default() -> ExtraFiles {
        ExtraFiles {
            bundle: true,
            issuer: true,
            key: true,
            ocsp: true,
            sctl: true,
            instead_of_crt: false,
        }
    }
}

/// Files by name, and who uses them.
#[derive(Default)]
pub struct Store {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    files: Files,
    pending: Pending,
    chain_rules: ChainRules,
    folders: Folders,
    extra_files: ExtraFiles,
    /// What servers have that are added while running, unless they say otherwise.
    server_settings: ConnectorSettings,
    /// What was left out of files, since this was last asked for.
    warnings: Vec<String>,
    tickets: Vec<Arc<TicketKeys>>,
    acceptors: Vec<Weak<Acceptor>>,
    connectors: Vec<Weak<Connector>>,
    /// One connector of each kind, while it lives: thousands of servers share what does not differ.
    kinds: HashMap<ConnectorSettings, Weak<Connector>>,
}

/// What is in use.
#[derive(Clone, Default)]
struct Files {
    certificates: BTreeMap<Arc<str>, Arc<Material>>,
    authorities: BTreeMap<Arc<str>, Arc<Authorities>>,
    revocations: BTreeMap<Arc<str>, Lists>,
    lists: BTreeMap<Arc<str>, Arc<Vec<ListLine>>>,
}

/// What waits for its commit: one file of each kind at most.
#[derive(Default)]
struct Pending {
    certificate: Option<(Arc<str>, Parts)>,
    authorities: Option<(Arc<str>, Arc<Authorities>)>,
    revocations: Option<(Arc<str>, Lists)>,
}

/// A file that somebody may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Used<'a> {
    Certificate(&'a str),
    Authorities(&'a str),
    Revocations(&'a str),
    List(&'a str),
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

    /// How chains are completed and cut, of certificates that are read from now on.
    pub fn set_chain_rules(&self, change: impl FnOnce(&mut ChainRules)) {
        change(&mut self.lock().chain_rules);
    }

    /// Where files with relative names are looked for from now on.
    pub fn set_folders(&self, change: impl FnOnce(&mut Folders)) {
        change(&mut self.lock().folders);
    }

    /// Where files with relative names are looked for.
    pub fn folders(&self) -> Folders {
        self.lock().folders.clone()
    }

    /// What servers have from now on that say nothing else.
    pub fn set_server_settings(&self, settings: ConnectorSettings) {
        self.lock().server_settings = settings;
    }

    /// What servers have that say nothing else.
    pub fn server_settings(&self) -> ConnectorSettings {
        self.lock().server_settings.clone()
    }

    /// Which files beside certificates are looked for from now on.
    pub fn set_extra_files(&self, change: impl FnOnce(&mut ExtraFiles)) {
        change(&mut self.lock().extra_files);
    }

    /// Which files beside certificates are looked for.
    pub fn extra_files(&self) -> ExtraFiles {
        self.lock().extra_files
    }

    /// Reads the words of a line of a list; nothing where there are none.
    pub fn list_entry(&self, words: &[&str]) -> Result<Option<ListEntry>, String> {
        entry::read(words, &self.folders())
    }

    /// What was left out of files, since this was last asked for.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().warnings)
    }

    /// Has the certificate of this name in memory: read on first use together with the files beside
    /// it.
    pub fn material(&self, path: &str, read: Read<'_>) -> Result<(), String> {
        let (key_base, extra) = {
            let inner = self.lock();
            if inner.files.certificates.contains_key(path) {
                return Ok(());
            }
            (inner.folders.keys.clone(), inner.extra_files)
        };
        let pem = read(path).map_err(|e| format!("certificate '{path}' cannot be read: {e}"))?;
        let wrong = |e: String| format!("certificate '{path}' {e}");
        let mut parts = Parts::read(&pem).map_err(wrong)?;
        let stem = match extra.instead_of_crt {
            true => path.strip_suffix(".crt").unwrap_or(path),
            false => path,
        };
        let beside = |wanted: bool, ending: &str| {
            let file = wanted.then(|| format!("{stem}.{ending}"))?;
            read(&file).ok()
        };
        if parts.key.is_none() && extra.key {
            // `site.crt` may have its key in `site.crt.key` or `site.key`.
            let key = beside(true, "key").or_else(|| {
                let stem = path
                    .strip_suffix(".crt")
                    .or_else(|| path.strip_suffix(".pem"))?;
                read(&format!("{stem}.key")).ok()
            });
            let key = key.or_else(|| {
                let file = path.rsplit('/').next().unwrap_or(path);
                let base = format!("{}/{file}", key_base.as_deref()?);
                read(&format!("{base}.key")).or_else(|_| read(&base)).ok()
            });
            if let Some(key) = key {
                parts.put_key(&key).map_err(wrong)?;
            }
        }
        if let Some(issuer) = beside(extra.issuer, "issuer") {
            parts.put_issuer(&issuer).map_err(wrong)?;
        }
        if beside(extra.sctl, "sctl").is_some() {
            let warning = format!(
                "'{stem}.sctl' is passed over: signed timestamps are not sent beside certificates; ask the authority to put them into the certificate"
            );
            self.lock().warnings.push(warning);
        }
        self.insert(path, parts, beside(extra.ocsp, "ocsp").as_deref())
            .map_err(wrong)
    }

    /// Puts a certificate into memory under a name of its own. An OCSP answer that cannot be shown
    /// with it is left out.
    pub fn insert(&self, name: &str, mut parts: Parts, ocsp: Option<&[u8]>) -> Result<(), String> {
        let rules = self.lock().chain_rules.clone();
        if let Some(ocsp) = ocsp.filter(|o| !o.is_empty()) {
            // The issuer may be known only now that the chain is complete.
            parts = Material::of(name, parts, &rules)?.parts;
            if parts.id().is_none() {
                return Err("has an OCSP answer beside it, but the OCSP certificate ID cannot be computed: add its issuer to the file, or put it beside with the ending .issuer".into());
            }
            if let Err(why) = parts.put_ocsp(ocsp) {
                let warning = format!("the OCSP answer of '{name}' is left out: {why}");
                self.lock().warnings.push(warning);
            }
        }
        let material = Arc::new(Material::of(name, parts, &rules)?);
        self.lock().files.certificates.insert(name.into(), material);
        Ok(())
    }

    /// The authorities of a `ca-file`.
    pub fn authorities(&self, path: &str, read: Read<'_>) -> Result<Arc<Authorities>, String> {
        if let Some(known) = self.lock().files.authorities.get(path) {
            return Ok(Arc::clone(known));
        }
        let file = if path == "@system-ca" {
            SYSTEM_AUTHORITIES
        } else {
            path
        };
        let pem = read(file).map_err(|e| format!("ca-file '{file}' cannot be read: {e}"))?;
        let exact = certificates(&pem).map_err(|e| format!("ca-file '{file}' {e}"))?;
        let found = Arc::new(Authorities::of(exact));
        self.lock()
            .files
            .authorities
            .insert(path.into(), Arc::clone(&found));
        Ok(found)
    }

    /// The revocation lists of a `crl-file`.
    pub(crate) fn revocations(&self, path: &str, read: Read<'_>) -> Result<Lists, String> {
        if let Some(known) = self.lock().files.revocations.get(path) {
            return Ok(Arc::clone(known));
        }
        let pem = read(path).map_err(|e| format!("crl-file '{path}' cannot be read: {e}"))?;
        let found: Lists =
            Arc::new(revocations(&pem).map_err(|e| format!("crl-file '{path}' {e}"))?);
        self.lock()
            .files
            .revocations
            .insert(path.into(), Arc::clone(&found));
        Ok(found)
    }

    /// The keys of a `tls-ticket-keys` file, shared by all that name it.
    pub(crate) fn ticket_keys(
        &self,
        path: &str,
        read: Read<'_>,
    ) -> Result<Arc<TicketKeys>, String> {
        if let Some(known) = self.lock().tickets.iter().find(|k| &*k.path == path) {
            return Ok(Arc::clone(known));
        }
        let text =
            read(path).map_err(|e| format!("tls-ticket-keys '{path}' cannot be read: {e}"))?;
        let keys = Arc::new(TicketKeys::read(path, &text)?);
        self.lock().tickets.push(Arc::clone(&keys));
        Ok(keys)
    }

    /// All files of ticket keys, in the order in which they were first named.
    pub fn all_ticket_keys(&self) -> Vec<Arc<TicketKeys>> {
        self.lock().tickets.clone()
    }

    pub(crate) fn register(&self, acceptor: &Arc<Acceptor>) {
        self.lock().acceptors.push(Arc::downgrade(acceptor));
    }

    pub(crate) fn register_connector(&self, connector: &Arc<Connector>) {
        let mut inner = self.lock();
        inner.connectors.push(Arc::downgrade(connector));
        // Those of servers that are gone go before the table would grow.
        if inner.kinds.len() == inner.kinds.capacity() {
            inner.kinds.retain(|_, c| c.strong_count() > 0);
        }
        let kind = inner.kinds.entry(connector.settings().clone()).or_default();
        if kind.strong_count() == 0 {
            *kind = Arc::downgrade(connector);
        }
    }

    /// A connector with these settings, if there is one.
    pub(crate) fn like(&self, settings: &ConnectorSettings) -> Option<Arc<Connector>> {
        self.lock().kinds.get(settings)?.upgrade()
    }

    /// The certificate of this name in use; it may be empty.
    pub fn find(&self, name: &str) -> Option<Arc<Material>> {
        self.lock().files.certificates.get(name).cloned()
    }

    /// The authorities of this name in use.
    pub fn find_authorities(&self, name: &str) -> Option<Arc<Authorities>> {
        self.lock().files.authorities.get(name).cloned()
    }

    /// The revocation lists of this name in use.
    pub fn find_revocations(&self, name: &str) -> Option<Lists> {
        self.lock().files.revocations.get(name).cloned()
    }

    /// The content of this name that waits for its commit.
    pub fn pending(&self, name: &str) -> Option<Parts> {
        let inner = self.lock();
        let (path, parts) = inner.pending.certificate.as_ref()?;
        (&**path == name).then(|| parts.clone())
    }

    /// The authorities of this name that wait for their commit.
    pub fn pending_authorities(&self, name: &str) -> Option<Arc<Authorities>> {
        let inner = self.lock();
        let (path, found) = inner.pending.authorities.as_ref()?;
        (&**path == name).then(|| Arc::clone(found))
    }

    /// The revocation lists of this name that wait for their commit.
    pub fn pending_revocations(&self, name: &str) -> Option<Lists> {
        let inner = self.lock();
        let (path, found) = inner.pending.revocations.as_ref()?;
        (&**path == name).then(|| Arc::clone(found))
    }

    /// The names of all files of a kind, sorted, and of the one that waits for its commit.
    pub fn names(&self, kind: Kind) -> (Vec<Arc<str>>, Option<Arc<str>>) {
        let inner = self.lock();
        let (files, pending) = (&inner.files, &inner.pending);
        match kind {
            Kind::Certificate => (
                files.certificates.keys().cloned().collect(),
                pending.certificate.as_ref().map(|p| Arc::clone(&p.0)),
            ),
            Kind::Authorities => (
                files.authorities.keys().cloned().collect(),
                pending.authorities.as_ref().map(|p| Arc::clone(&p.0)),
            ),
            Kind::Revocations => (
                files.revocations.keys().cloned().collect(),
                pending.revocations.as_ref().map(|p| Arc::clone(&p.0)),
            ),
        }
    }

    /// How often a file is used: once for each line of a list and each listener or server.
    pub fn uses(&self, kind: Kind, name: &str) -> usize {
        let used = match kind {
            Kind::Certificate => Used::Certificate(name),
            Kind::Authorities => Used::Authorities(name),
            Kind::Revocations => Used::Revocations(name),
        };
        let (acceptors, connectors) = self.users();
        let takes = acceptors.iter().map(|a| a.uses(&used, self));
        takes.sum::<usize>() + connectors.iter().filter(|c| c.uses(&used)).count()
    }

    fn users(&self) -> (Vec<Arc<Acceptor>>, Vec<Arc<Connector>>) {
        let mut inner = self.lock();
        inner.acceptors.retain(|a| a.strong_count() > 0);
        inner.connectors.retain(|c| c.strong_count() > 0);
        inner.kinds.retain(|_, c| c.strong_count() > 0);
        let acceptors = inner.acceptors.iter().filter_map(Weak::upgrade).collect();
        let connectors = inner.connectors.iter().filter_map(Weak::upgrade).collect();
        (acceptors, connectors)
    }

    /// Changes what is in use and has everybody who uses it follow. Where one of them cannot,
    /// nothing has changed.
    fn apply(&self, used: Used<'_>, change: impl FnOnce(&mut Files)) -> Result<(), String> {
        let before = {
            let mut inner = self.lock();
            let before = inner.files.clone();
            change(&mut inner.files);
            before
        };
        let followed = self.follow(used);
        if followed.is_err() {
            self.lock().files = before;
            // What was in use before can be used again.
            let _ = self.follow(used);
        }
        followed
    }

    fn follow(&self, used: Used<'_>) -> Result<(), String> {
        let (acceptors, connectors) = self.users();
        for acceptor in acceptors {
            if acceptor.uses(&used, self) > 0 || matches!(used, Used::List(l) if acceptor.lists(l))
            {
                let forget = matches!(used, Used::Authorities(_) | Used::Revocations(_));
                acceptor.rebuild(self, forget)?;
            }
        }
        let mut judges: HashMap<&ConnectorSettings, Arc<ServerJudge>> = HashMap::new();
        for connector in connectors.iter().filter(|c| c.uses(&used)) {
            let judge = match judges.get(connector.settings()) {
                Some(made) => Arc::clone(made),
                None => connector.judge_anew(self)?,
            };
            connector.rebuild(&judge, self)?;
            judges.insert(connector.settings(), judge);
        }
        Ok(())
    }

    /// The entries of a list, in order.
    pub(crate) fn entries(&self, list: &str) -> Vec<ListEntry> {
        let lines = self.lock().files.lists.get(list).cloned();
        lines.map_or_else(Vec::new, |l| l.iter().map(|l| l.entry.clone()).collect())
    }
}

#[cfg(test)]
mod tests;
