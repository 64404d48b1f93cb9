//! The client's side: connections to servers that speak TLS.

use crate::acceptor::fragment;
use crate::names::{named, schemes};
use crate::settings::{ConnectorSettings, Verify};
use crate::signing::restricted;
use crate::store::{Read, Store, Used};
use crate::verify::{Belief, ServerJudge};
use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::client::{Resumption, Tls12Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// `server … ssl`, ready to connect.
pub struct Connector {
    settings: ConnectorSettings,
    provider: Arc<CryptoProvider>,
    judge: ArcSwap<ServerJudge>,
    config: ArcSwap<ClientConfig>,
    /// How often a file of it was replaced.
    edition: AtomicU32,
}

/// Whom a connection asks for.
pub enum PeerName<'a> {
    /// By name, sent as SNI.
    Name(&'a str),
    /// Nobody by name; the address tells sessions of different servers apart.
    Address(IpAddr),
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Connector {
    fn eq(&self, other: &Connector) -> bool {
        self.settings == other.settings
    }
}

impl Connector {
    /// Reads all files that the settings name. Each connector remembers the sessions of its own server. Also returns names of ciphers and curves
    /// that there are not.
    pub fn new(
        settings: ConnectorSettings,
        store: &Store,
        read: Read<'_>,
    ) -> Result<(Arc<Connector>, Vec<String>), String> {
        let (provider, judge, unknown) = match store.like(&settings) {
            Some(like) => (
                Arc::clone(&like.provider),
                like.judge.load_full(),
                Vec::new(),
            ),
            None => {
                let versions = settings.preferences.versions;
                if versions.no_tls12 && versions.no_tls13 {
                    return Err(
                        "no TLS version is left: only TLSv1.2 and TLSv1.3 are spoken".into(),
                    );
                }
                let (provider, unknown) = named(&settings.preferences);
                let provider = Arc::new(provider);
                if settings.verify != Verify::None {
                    if let Some(path) = &settings.ca_file {
                        store.authorities(path, read)?;
                    }
                    if let Some(path) = &settings.crl_file {
                        store.revocations(path, read)?;
                    }
                }
                let judge = Arc::new(judge(&settings, &provider, store)?);
                (provider, judge, unknown)
            }
        };
        if let Some(path) = &settings.certificate {
            store.material(path, read)?;
        }
        let config = config(&settings, &provider, &judge, store)?;
        let connector = Arc::new(Connector {
            settings,
            provider,
            judge: ArcSwap::new(judge),
            config: ArcSwap::from_pointee(config),
            edition: AtomicU32::new(0),
        });
        store.register_connector(&connector);
        Ok((connector, unknown))
    }

    /// The same, offering other protocols.
    pub fn offering(&self, protocols: &[Arc<str>]) -> Connector {
        let mut config = ClientConfig::clone(&self.config.load());
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        Connector {
            settings: ConnectorSettings {
                alpn: protocols.to_vec(),
                ..self.settings.clone()
            },
            provider: Arc::clone(&self.provider),
            judge: ArcSwap::new(self.judge.load_full()),
            config: ArcSwap::from_pointee(config),
            edition: AtomicU32::new(0),
        }
    }

    /// Of which edition of its files a connection is that begins now: each commit makes another one.
    pub fn edition(&self) -> u32 {
        self.edition.load(Ordering::Acquire)
    }

    pub(crate) fn settings(&self) -> &ConnectorSettings {
        &self.settings
    }

    /// Whether it uses a file.
    pub(crate) fn uses(&self, used: &Used<'_>) -> bool {
        let settings = &self.settings;
        let verifies = settings.verify != Verify::None;
        match *used {
            Used::Certificate(name) => settings.certificate.as_deref() == Some(name),
            Used::Authorities(name) => verifies && settings.ca_file.as_deref() == Some(name),
            Used::Revocations(name) => verifies && settings.crl_file.as_deref() == Some(name),
            Used::List(_) => false,
        }
    }

    /// Whom servers are believed by, from the files as they are now.
    pub(crate) fn judge_anew(&self, store: &Store) -> Result<Arc<ServerJudge>, String> {
        judge(&self.settings, &self.provider, store).map(Arc::new)
    }

    /// Makes the settings anew from the files as they are now.
    pub(crate) fn rebuild(&self, judge: &Arc<ServerJudge>, store: &Store) -> Result<(), String> {
        let config = config(&self.settings, &self.provider, judge, store)?;
        self.judge.store(Arc::clone(judge));
        self.config.store(Arc::new(config));
        // Who sees the new number sees the new judge.
        self.edition.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// rustls's settings and the peer's name. A name that is none is asked for by address.
    pub(crate) fn start(&self, name: &PeerName<'_>) -> (Arc<ClientConfig>, ServerName<'static>) {
        let nobody = ServerName::IpAddress(IpAddr::from([127, 0, 0, 1]).into());
        let name = match name {
            PeerName::Name(name) => ServerName::try_from(name.to_string()).unwrap_or(nobody),
            PeerName::Address(ip) => ServerName::IpAddress((*ip).into()),
        };
        (self.config.load_full(), name)
    }
}

fn judge(
    settings: &ConnectorSettings,
    provider: &Arc<CryptoProvider>,
    store: &Store,
) -> Result<ServerJudge, String> {
    let (schemes, _) = schemes(settings.preferences.sigalgs.as_deref());
    if settings.verify == Verify::None {
        let belief = Belief::Anyone;
        return Ok(ServerJudge { belief, schemes });
    }
    let Some(ca_file) = &settings.ca_file else {
        return Err("verify is enabled but no 'ca-file' says who is trusted: add 'ca-file FILE', 'ca-file @system-ca', or 'verify none'".into());
    };
    let authorities = store
        .find_authorities(ca_file)
        .ok_or_else(|| format!("ca-file '{ca_file}' is not there"))?;
    let mut builder =
        WebPkiServerVerifier::builder_with_provider(authorities.anchors(), Arc::clone(provider));
    if let Some(path) = &settings.crl_file {
        let lists = store
            .find_revocations(path)
            .ok_or_else(|| format!("crl-file '{path}' is not there"))?;
        if lists.is_empty() {
            return Err(format!("crl-file '{path}' is empty: put a list into it"));
        }
        // OpenSSL wants a list that is not over of every authority in the chain.
        builder = builder
            .with_crls(lists.iter().cloned())
            .enforce_revocation_expiration();
    }
    let inner = builder
        .build()
        .map_err(|e| format!("ca-file '{ca_file}' cannot be used: {e}"))?;
    let host = match &settings.verify_host {
        Some(host) => Some(
            ServerName::try_from(host.to_string())
                .map_err(|_| format!("verifyhost '{host}' is no host name"))?,
        ),
        None => None,
    };
    let belief = Belief::Chain {
        inner,
        authorities,
        revokes: settings.crl_file.is_some(),
        host,
    };
    Ok(ServerJudge { belief, schemes })
}

fn config(
    settings: &ConnectorSettings,
    provider: &Arc<CryptoProvider>,
    judge: &Arc<ServerJudge>,
    store: &Store,
) -> Result<ClientConfig, String> {
    let versions = settings.preferences.versions;
    let mut spoken = Vec::new();
    if !versions.no_tls12 && provider.cipher_suites.iter().any(|s| s.tls13().is_none()) {
        spoken.push(&rustls::version::TLS12);
    }
    if !versions.no_tls13 {
        spoken.push(&rustls::version::TLS13);
    }
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&spoken)
        .map_err(|e| format!("these ciphers, curves and versions leave nothing to speak: {e}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<ServerJudge>::clone(judge));
    let mut config = match &settings.certificate {
        Some(path) => {
            let material = store
                .find(path)
                .ok_or_else(|| format!("certificate '{path}' is not there"))?;
            let key = material
                .key()
                .ok_or_else(|| format!("certificate '{path}' is empty"))?;
            let (schemes, _) = schemes(settings.preferences.client_sigalgs.as_deref());
            let key = restricted(key, &schemes);
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = settings
        .alpn
        .iter()
        .map(|p| p.as_bytes().to_vec())
        .collect();
    config.max_fragment_size = fragment(settings.preferences.max_record);
    if settings.keep_secrets {
        config.key_log = Arc::new(crate::notes::Secrets);
    }
    if settings.no_tickets {
        let resumption = config.resumption.clone();
        config.resumption = resumption.tls12_resumption(Tls12Resumption::SessionIdOnly);
    }
    if settings.no_reuse {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}
