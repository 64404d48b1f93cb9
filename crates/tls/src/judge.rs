//! Who judges clients' certificates, as a `bind` line and the lines of its lists say.

use crate::names::schemes;
use crate::settings::{AcceptorSettings, ListEntry, Verify};
use crate::store::Store;
use crate::verify::{Authorities, ClientJudge, LIST_OVER, NO_LIST};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use std::sync::Arc;

/// What makes a judge of clients: a `crt-list` line may have its own.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct JudgeKey {
    verify: Verify,
    ca_file: Option<Arc<str>>,
    verify_file: Option<Arc<str>>,
    no_ca_names: bool,
    pub(crate) crl_file: Option<Arc<str>>,
    client_sigalgs: Option<Arc<str>>,
}

impl JudgeKey {
    pub(crate) fn of(settings: &AcceptorSettings, entry: &ListEntry) -> JudgeKey {
        let verify = match entry.verify {
            Verify::Unset => settings.verify,
            own => own,
        };
        let or = |own: &Option<Arc<str>>, common: &Option<Arc<str>>| {
            own.clone().or_else(|| common.clone())
        };
        JudgeKey {
            verify,
            ca_file: or(&entry.ca_file, &settings.ca_file),
            verify_file: or(&entry.verify_file, &settings.verify_file),
            no_ca_names: entry.no_ca_names || settings.no_ca_names,
            crl_file: or(&entry.crl_file, &settings.crl_file),
            client_sigalgs: entry.preferences(&settings.preferences).client_sigalgs,
        }
    }

    /// Whether clients are asked for certificates at all.
    pub(crate) fn asks(&self) -> bool {
        matches!(self.verify, Verify::Optional | Verify::Required)
    }

    /// The files of authorities.
    pub(crate) fn authorities(&self) -> impl Iterator<Item = &Arc<str>> {
        self.ca_file.iter().chain(&self.verify_file)
    }
}

/// The judge that a key stands for, made of the files as they are in the store; `None` where nobody
/// is asked.
pub(crate) fn judge(
    key: &JudgeKey,
    settings: &AcceptorSettings,
    provider: &Arc<CryptoProvider>,
    store: &Store,
) -> Result<Option<Arc<ClientJudge>>, String> {
    if !key.asks() {
        return Ok(None);
    }
    let find = |path: &Arc<str>| {
        let found = store.find_authorities(path);
        found.ok_or_else(|| format!("ca-file '{path}' is not there"))
    };
    let found: Vec<_> = key.authorities().map(find).collect::<Result<_, _>>()?;
    let authorities = match found.as_slice() {
        [] => {
            return Err("clients' certificates can be verified only with 'ca-file FILE'".into());
        }
        [one] => Arc::clone(one),
        several => {
            let all = several.iter().flat_map(|a| a.exact.iter().cloned());
            Arc::new(Authorities::of(all.collect()))
        }
    };
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(authorities.anchors(), Arc::clone(provider))
            .clear_root_hint_subjects();
    if let (Some(path), false) = (&key.ca_file, key.no_ca_names) {
        builder = builder.add_root_hint_subjects(find(path)?.all.subjects());
    }
    if let Some(path) = &key.crl_file {
        let lists = store
            .find_revocations(path)
            .ok_or_else(|| format!("crl-file '{path}' is not there"))?;
        if lists.is_empty() {
            return Err(format!("crl-file '{path}' is empty: put a list into it"));
        }
        // OpenSSL wants a list that is not over of every authority in the chain. What is ignored of
        // that must not hide what else is wrong.
        builder = builder.with_crls(lists.iter().cloned());
        if !settings.ignored.ignores(LIST_OVER) {
            builder = builder.enforce_revocation_expiration();
        }
        if settings.ignored.ignores(NO_LIST) {
            builder = builder.allow_unknown_revocation_status();
        }
    }
    if key.verify == Verify::Optional {
        builder = builder.allow_unauthenticated();
    }
    let inner = builder.build().map_err(|e| {
        let files: Vec<String> = key.authorities().map(|f| format!("'{f}'")).collect();
        format!("ca-file {} cannot be used: {e}", files.join(" and "))
    })?;
    Ok(Some(Arc::new(ClientJudge {
        inner,
        authorities,
        revokes: key.crl_file.is_some(),
        ignored: settings.ignored.clone(),
        schemes: schemes(key.client_sigalgs.as_deref()).0,
    })))
}
