//! The server's side: which certificate and which settings a client gets.

use crate::hello::Hello;
use crate::material::Material;
use crate::names::named;
use crate::settings::{AcceptorSettings, ListEntry, Verify};
use crate::store::{Read, Store};
use crate::verify::ClientJudge;
use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
    ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureAlgorithm};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

/// `bind … ssl`, ready to take connections.
pub struct Acceptor {
    settings: AcceptorSettings,
    provider: Arc<CryptoProvider>,
    /// By `verify`, `ca-file` and `crl-file`, because a `crt-list` line may have its own.
    judges: HashMap<JudgeKey, Option<Arc<ClientJudge>>>,
    resumption: Mutex<Resumption>,
    table: ArcSwap<Table>,
}

/// What lets a client come back without a full handshake; outlives a change of configuration.
#[derive(Clone)]
struct Resumption {
    tickets: Option<Arc<dyn ProducesTickets>>,
    sessions: Arc<dyn StoresServerSessions>,
}

/// How a connection is to be taken.
#[derive(Clone)]
pub struct Choice {
    /// rustls's settings.
    pub config: Arc<ServerConfig>,
    /// Who judges the client's certificate, if one is asked for.
    pub judge: Option<Arc<ClientJudge>>,
}

impl Choice {
    /// The same, but the client is given no tickets of TLS 1.3: one that only sends would leave them
    /// unread, and a close with bytes unread is a reset, which takes the last of what it sent away.
    pub fn without_tickets(mut self) -> Choice {
        let mut config = ServerConfig::clone(&self.config);
        config.send_tls13_tickets = 0;
        self.config = Arc::new(config);
        self
    }
}

struct Table {
    choices: Vec<Choice>,
    /// Settings by server name.
    by_name: HashMap<String, usize>,
    /// Those of the default certificate, for other names.
    default: usize,
}

/// `verify`, `ca-file` and `crl-file`.
type JudgeKey = (Verify, Option<Arc<str>>, Option<Arc<str>>);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Acceptor {
    fn eq(&self, other: &Acceptor) -> bool {
        self.settings == other.settings
    }
}

impl Acceptor {
    /// Reads all files that the settings name. Also returns names of ciphers and curves that
    /// there are not.
    pub fn new(
        settings: AcceptorSettings,
        store: &Store,
        read: Read<'_>,
    ) -> Result<(Arc<Acceptor>, Vec<String>), String> {
        if settings.preferences.versions.no_tls12 && settings.preferences.versions.no_tls13 {
            return Err("no TLS version is left: only TLSv1.2 and TLSv1.3 are spoken".into());
        }
        let (provider, mut unknown) = named(&settings.preferences);
        for entry in &settings.certificates {
            unknown.extend(named(&entry.preferences(&settings.preferences)).1);
        }
        let provider = Arc::new(provider);
        let mut judges = HashMap::new();
        let common = ListEntry::default();
        for entry in settings.certificates.iter().chain([&common]) {
            let key = judge_key(&settings, entry);
            if let Entry::Vacant(place) = judges.entry(key) {
                let judge = judge(
                    place.key(),
                    settings.ignore_client_errors,
                    &provider,
                    store,
                    read,
                )?;
                place.insert(judge);
            }
        }
        let tickets = if settings.no_tickets {
            None
        } else {
            let made = rustls::crypto::aws_lc_rs::Ticketer::new();
            Some(made.map_err(|e| format!("no session tickets can be made: {e}"))?)
        };
        let sessions: Arc<dyn StoresServerSessions> = match settings.cache {
            0 => Arc::new(NoServerSessionStorage {}),
            n => ServerSessionMemoryCache::new(n),
        };
        for path in settings.paths() {
            store.material(&path, read)?;
        }
        let acceptor = Arc::new(Acceptor {
            settings,
            provider,
            judges,
            resumption: Mutex::new(Resumption { tickets, sessions }),
            table: ArcSwap::from_pointee(Table {
                choices: Vec::new(),
                by_name: HashMap::new(),
                default: 0,
            }),
        });
        acceptor.rebuild(&|path| store.find(path, false))?;
        store.register(&acceptor);
        Ok((acceptor, unknown))
    }

    /// Bytes to keep of what a ClientHello lists; 0 keeps nothing.
    pub fn capture(&self) -> usize {
        self.settings.capture
    }

    /// Takes over the tickets of an acceptor with the same settings, so that clients of the old
    /// one come back without a full handshake. Where clients are judged, they are judged anew.
    pub fn adopt(&self, old: &Acceptor) {
        if self.settings != old.settings || self.judges.values().any(Option::is_some) {
            return;
        }
        let of_old = old
            .resumption
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        *self
            .resumption
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = of_old;
        let table = self.table.load();
        let resumption = self
            .resumption
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let choices = table.choices.iter().map(|choice| {
            let mut config = ServerConfig::clone(&choice.config);
            resumption.apply(&mut config);
            Choice {
                config: Arc::new(config),
                judge: choice.judge.clone(),
            }
        });
        let table = Table {
            choices: choices.collect(),
            by_name: table.by_name.clone(),
            default: table.default,
        };
        self.table.store(Arc::new(table));
    }

    /// Makes the choices anew from the certificates as they are now.
    pub(crate) fn rebuild(
        &self,
        find: &dyn Fn(&str) -> Option<Arc<Material>>,
    ) -> Result<(), String> {
        let settings = &self.settings;
        let material =
            |path: &str| find(path).ok_or_else(|| format!("certificate '{path}' is not there"));
        let mut certificates = Certificates {
            strict: settings.strict_sni,
            ..Certificates::default()
        };
        let mut own = vec![ListEntry::default()];
        let (mut by_name, mut default) = (HashMap::new(), 0);
        for (at, entry) in settings.certificates.iter().enumerate() {
            let material = material(&entry.path)?;
            // What makes a choice is all but the certificate.
            let options = ListEntry {
                path: Arc::from(""),
                filters: Vec::new(),
                ..entry.clone()
            };
            let options = own.iter().position(|o| *o == options).unwrap_or_else(|| {
                own.push(options);
                own.len() - 1
            });
            if at == 0 && settings.default_certificates.is_empty() {
                default = options;
            }
            for name in entry.names(&material) {
                if options != default {
                    by_name.entry(name.clone()).or_insert(options);
                }
                certificates
                    .by_name
                    .entry(name)
                    .or_default()
                    .push(Arc::clone(&material.key));
            }
            if certificates.default.is_empty() && settings.default_certificates.is_empty() {
                certificates.default.push(Arc::clone(&material.key));
            }
        }
        for path in &settings.default_certificates {
            certificates.default.push(Arc::clone(&material(path)?.key));
        }
        if certificates.default.is_empty() && certificates.by_name.is_empty() {
            return Err("no certificate is named: add 'crt FILE'".into());
        }
        let certificates = Arc::new(certificates);
        let choices = own
            .iter()
            .map(|own| self.choice(own, &certificates))
            .collect::<Result<_, _>>()?;
        self.table.store(Arc::new(Table {
            choices,
            by_name,
            default,
        }));
        Ok(())
    }

    fn choice(&self, own: &ListEntry, certificates: &Arc<Certificates>) -> Result<Choice, String> {
        let settings = &self.settings;
        let preferences = own.preferences(&settings.preferences);
        let provider = match preferences == settings.preferences {
            true => Arc::clone(&self.provider),
            false => Arc::new(named(&preferences).0),
        };
        let versions = preferences.versions;
        let mut spoken = Vec::new();
        let has12 = provider.cipher_suites.iter().any(|s| s.tls13().is_none());
        if !versions.no_tls12 && has12 {
            spoken.push(&rustls::version::TLS12);
        }
        if !versions.no_tls13 {
            spoken.push(&rustls::version::TLS13);
        }
        let key = judge_key(settings, own);
        let judge = self.judges.get(&key).cloned().flatten();
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&spoken)
            .map_err(|e| {
                format!("these ciphers, curves and versions leave nothing to speak: {e}")
            })?;
        let builder = match &judge {
            Some(judge) => builder.with_client_cert_verifier(Arc::<ClientJudge>::clone(judge)),
            None => builder.with_client_cert_verifier(Arc::new(NoClientAuth)),
        };
        let mut config = builder.with_cert_resolver(Arc::<Certificates>::clone(certificates));
        let alpn = own.alpn.as_ref().unwrap_or(&settings.alpn);
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        config.ignore_client_order = !settings.prefer_client_ciphers;
        config.max_fragment_size = None;
        self.resumption
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .apply(&mut config);
        Ok(Choice {
            config: Arc::new(config),
            judge,
        })
    }

    /// How a client that says this is taken. `None` is a client whose first message could not be
    /// read; it gets the error it deserves from the default settings.
    pub fn choose(&self, hello: Option<&Hello>) -> Option<Choice> {
        let table = self.table.load();
        let sni = hello.and_then(|h| h.sni.as_deref());
        let own = sni.and_then(|name| {
            let found = table.by_name.get(name);
            found.or_else(|| table.by_name.get(&wildcard(name)?))
        });
        table
            .choices
            .get(own.copied().unwrap_or(table.default))
            .cloned()
    }
}

impl Resumption {
    fn apply(&self, config: &mut ServerConfig) {
        if let Some(tickets) = &self.tickets {
            config.ticketer = Arc::clone(tickets);
        }
        config.session_storage = Arc::clone(&self.sessions);
    }
}

impl AcceptorSettings {
    /// All certificate files.
    fn paths(&self) -> Vec<Arc<str>> {
        let listed = self.certificates.iter().map(|e| &e.path);
        listed.chain(&self.default_certificates).cloned().collect()
    }
}

impl ListEntry {
    /// The names that this entry's certificate answers for.
    fn names(&self, material: &Material) -> Vec<String> {
        let filters = self.filters.iter().map(|f| f.to_ascii_lowercase());
        let (excluded, wanted): (Vec<_>, Vec<_>) = filters.partition(|f| f.starts_with('!'));
        let names = if wanted.is_empty() {
            material.names.clone()
        } else {
            wanted
        };
        let out = |name: &String| excluded.iter().any(|e| e.get(1..) == Some(name.as_str()));
        names.into_iter().filter(|n| !out(n)).collect()
    }
}

fn judge_key(settings: &AcceptorSettings, entry: &ListEntry) -> JudgeKey {
    let verify = if entry.verify == Verify::Unset {
        settings.verify
    } else {
        entry.verify
    };
    (
        verify,
        entry.ca_file.clone().or_else(|| settings.ca_file.clone()),
        entry.crl_file.clone().or_else(|| settings.crl_file.clone()),
    )
}

fn judge(
    (verify, ca_file, crl_file): &JudgeKey,
    lenient: bool,
    provider: &Arc<CryptoProvider>,
    store: &Store,
    read: Read<'_>,
) -> Result<Option<Arc<ClientJudge>>, String> {
    if matches!(verify, Verify::Unset | Verify::None) {
        return Ok(None);
    }
    let Some(ca_file) = ca_file else {
        return Err("clients' certificates can be verified only with 'ca-file FILE'".into());
    };
    let authorities = store.authorities(ca_file, read)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(
        Arc::clone(&authorities.roots),
        Arc::clone(provider),
    );
    if let Some(path) = crl_file {
        let lists = store.revocations(path, read)?;
        builder = builder
            .with_crls(lists.iter().cloned())
            .allow_unknown_revocation_status();
    }
    if *verify == Verify::Optional {
        builder = builder.allow_unauthenticated();
    }
    let inner = builder
        .build()
        .map_err(|e| format!("ca-file '{ca_file}' cannot be used: {e}"))?;
    Ok(Some(Arc::new(ClientJudge {
        inner,
        authorities,
        lenient,
    })))
}

/// Certificates by the names they answer for.
#[derive(Debug, Default)]
struct Certificates {
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    default: Vec<Arc<CertifiedKey>>,
    strict: bool,
}

/// The wildcard that covers a name: one label wide (RFC 6125 section 6.4.3).
fn wildcard(name: &str) -> Option<String> {
    let (_, parent) = name.split_once('.')?;
    Some(format!("*.{parent}"))
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| {
            let name = name.to_ascii_lowercase();
            let exact = self.by_name.get(&name);
            exact.or_else(|| self.by_name.get(&wildcard(&name)?))
        });
        let candidates = match named {
            Some(found) => found,
            None if self.strict => return None,
            None => &self.default,
        };
        let usable =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let elliptic = |key: &&Arc<CertifiedKey>| key.key.algorithm() != SignatureAlgorithm::RSA;
        // A name with both kinds of key: the cheaper one, if the client knows it.
        let mut all = candidates.iter().filter(usable);
        let cheap = candidates.iter().filter(usable).find(elliptic);
        cheap.or_else(|| all.next()).or(candidates.first()).cloned()
    }
}
