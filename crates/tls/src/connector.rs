//! The client's side: connections to servers that speak TLS.

use crate::material::Material;
use crate::names::named;
use crate::settings::{ConnectorSettings, Verify};
use crate::store::{Read, Store};
use crate::verify::ServerJudge;
use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use std::net::IpAddr;
use std::sync::Arc;

/// `server … ssl`, ready to connect.
pub struct Connector {
    settings: ConnectorSettings,
    provider: Arc<CryptoProvider>,
    judge: Arc<ServerJudge>,
    config: ArcSwap<ClientConfig>,
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
    /// Reads all files that the settings name. Each connector remembers the sessions of its own
    /// server. Also returns names of ciphers and curves that
    /// there are not.
    pub fn new(
        settings: ConnectorSettings,
        store: &Store,
        read: Read<'_>,
    ) -> Result<(Arc<Connector>, Vec<String>), String> {
        let (provider, judge, unknown) = match store.like(&settings) {
            Some(like) => (
                Arc::clone(&like.provider),
                Arc::clone(&like.judge),
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
                let judge = Arc::new(judge(&settings, &provider, store, read)?);
                (provider, judge, unknown)
            }
        };
        if let Some(path) = &settings.certificate {
            store.material(path, read)?;
        }
        let find = |path: &str| store.find(path, false);
        let config = config(&settings, &provider, &judge, &find)?;
        let connector = Arc::new(Connector {
            settings,
            provider,
            judge,
            config: ArcSwap::from_pointee(config),
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
            judge: Arc::clone(&self.judge),
            config: ArcSwap::from_pointee(config),
        }
    }

    pub(crate) fn settings(&self) -> &ConnectorSettings {
        &self.settings
    }

    /// Makes the settings anew from the certificates as they are now.
    pub(crate) fn rebuild(
        &self,
        find: &dyn Fn(&str) -> Option<Arc<Material>>,
    ) -> Result<(), String> {
        if self.settings.certificate.is_some() {
            let config = config(&self.settings, &self.provider, &self.judge, find)?;
            self.config.store(Arc::new(config));
        }
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
    read: Read<'_>,
) -> Result<ServerJudge, String> {
    if settings.verify == Verify::None {
        return Ok(ServerJudge::Anyone);
    }
    let Some(ca_file) = &settings.ca_file else {
        return Err("verify is enabled but no 'ca-file' says who is trusted: add 'ca-file FILE', 'ca-file @system-ca', or 'verify none'".into());
    };
    let authorities = store.authorities(ca_file, read)?;
    let mut builder = WebPkiServerVerifier::builder_with_provider(
        Arc::clone(&authorities.roots),
        Arc::clone(provider),
    );
    if let Some(path) = &settings.crl_file {
        let lists = store.revocations(path, read)?;
        builder = builder
            .with_crls(lists.iter().cloned())
            .allow_unknown_revocation_status();
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
    Ok(ServerJudge::Chain {
        inner,
        authorities,
        host,
    })
}

fn config(
    settings: &ConnectorSettings,
    provider: &Arc<CryptoProvider>,
    judge: &Arc<ServerJudge>,
    find: &dyn Fn(&str) -> Option<Arc<Material>>,
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
            let material =
                find(path).ok_or_else(|| format!("certificate '{path}' is not there"))?;
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                Arc::clone(&material.key),
            )))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = settings
        .alpn
        .iter()
        .map(|p| p.as_bytes().to_vec())
        .collect();
    if settings.no_reuse {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}
