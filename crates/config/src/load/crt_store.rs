//! The `crt-store` section: certificates whose files are named one by one (manual of 3.0,
//! section 3.11).

use crate::diag::Fault;
use crate::line::Line;
use std::sync::Arc;
use tls::{Folders, Parts};

/// What the section says so far.
pub(super) struct CrtStoreDraft {
    /// Its name; empty where it has none.
    name: Arc<str>,
    /// `crt-base` of the section, or of `global`.
    crt_base: Option<String>,
    /// `key-base` of the section, or of `global`.
    key_base: Option<String>,
}

impl CrtStoreDraft {
    /// A section of this name; `global` is what stands for the folders that it does not name.
    pub(super) fn new(name: Arc<str>, global: Folders) -> CrtStoreDraft {
        CrtStoreDraft {
            name,
            crt_base: global.certificates,
            key_base: global.keys,
        }
    }

    pub(super) fn line(&mut self, l: &mut Line<'_>) -> Result<(), Fault> {
        match l.words.first().map_or("", |w| w.text.as_str()) {
            "crt-base" => {
                l.exactly(1, "a directory")?;
                self.crt_base = Some(l.arg(0).into());
                Ok(())
            }
            "key-base" => {
                l.exactly(1, "a directory")?;
                self.key_base = Some(l.arg(0).into());
                Ok(())
            }
            "load" => self.load(l),
            other => {
                let message = format!(
                    "unknown keyword '{other}' in 'crt-store': use load, crt-base or key-base"
                );
                Err(Fault::at(0, message))
            }
        }
    }

    /// `load crt FILE [key FILE] [ocsp FILE] [issuer FILE] [alias NAME]`.
    fn load(&self, l: &mut Line<'_>) -> Result<(), Fault> {
        let (mut file, mut alias) = (None, None);
        let (mut key, mut ocsp, mut issuer) = (None, None, None);
        let mut at = 0;
        while at < l.args().len() {
            let word = l.arg(at);
            let place = match word {
                "crt" => &mut file,
                "key" => &mut key,
                "ocsp" => &mut ocsp,
                "issuer" => &mut issuer,
                "alias" => &mut alias,
                "ocsp-update" if l.arg(at + 1) == "off" => {
                    at += 2;
                    continue;
                }
                "ocsp-update" => {
                    return l.fail(
                        at,
                        "answers of OCSP are not fetched: put them beside certificates by 'ocsp', or give them to the running process by 'set ssl ocsp-response'",
                    );
                }
                "sctl" => {
                    return l.fail(
                        at,
                        "signed timestamps of certificates are not sent: remove it",
                    );
                }
                other => {
                    let words = ["crt", "key", "ocsp", "issuer", "alias", "ocsp-update"];
                    return l.fail(at, crate::keyword::near("load", other, &words));
                }
            };
            if l.arg(at + 1).is_empty() {
                return l.fail(at, format!("'{word}' wants a value after it"));
            }
            *place = Some(at + 1);
            at += 2;
        }
        let Some(file) = file else {
            return l.fail(0, "'load' wants 'crt FILE'");
        };
        let based = |base: &Option<String>, at: usize| tls::based(base.as_deref(), l.arg(at));
        let path = based(&self.crt_base, file);
        let name: Arc<str> = match (alias, &*self.name) {
            (Some(alias), store) => format!("@{store}/{}", l.arg(alias)).into(),
            (None, "") => Arc::clone(&path),
            (None, store) => format!("@{store}/{}", l.arg(file)).into(),
        };
        let store = &l.bases.tls.store;
        if store.find(&name).is_some() {
            let at = alias.unwrap_or(file);
            return l.fail(
                at,
                format!("there is a certificate '{name}' already: give this one another alias"),
            );
        }
        let read = |path: &str| {
            let read = l.source.read(path);
            read.map_err(|e| format!("'{path}' cannot be read: {e}"))
        };
        if key.is_none() && ocsp.is_none() && issuer.is_none() && *name == *path {
            // As 'crt' does, with what lies beside it.
            return l.map(file, store.material(&path, &|p| l.source.read(p)));
        }
        let pem = l.map(file, read(&path))?;
        let wrong = |e: String| format!("'{path}' {e}");
        let mut parts = l.map(file, Parts::read(&pem).map_err(wrong))?;
        let beside = match key {
            Some(_) => None,
            None if parts.key.is_none() => l.source.read(&format!("{path}.key")).ok(),
            None => None,
        };
        if let Some(pem) = beside {
            l.map(file, parts.put_key(&pem).map_err(wrong))?;
        }
        if let Some(at) = key {
            let base = self.key_base.as_ref().or(self.crt_base.as_ref()).cloned();
            let pem = l.map(at, read(&based(&base, at)))?;
            l.map(
                at,
                parts
                    .put_key(&pem)
                    .map_err(|e| format!("'{}' {e}", l.arg(at))),
            )?;
        }
        if let Some(at) = issuer {
            let pem = l.map(at, read(&based(&self.crt_base, at)))?;
            l.map(
                at,
                parts
                    .put_issuer(&pem)
                    .map_err(|e| format!("'{}' {e}", l.arg(at))),
            )?;
        }
        let ocsp = match ocsp {
            Some(at) => Some(l.map(at, read(&based(&self.crt_base, at)))?),
            None => None,
        };
        l.map(
            file,
            store.insert(&name, parts, ocsp.as_deref()).map_err(wrong),
        )?;
        let left_out = store.take_warnings().into_iter();
        let at = l.skip + file;
        l.warnings.extend(left_out.map(|w| Fault::warning(at, w)));
        Ok(())
    }
}
