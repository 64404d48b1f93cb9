//! The server's side: which certificate and which settings a client gets.

use crate::connection::HEADER;
use crate::hello::Hello;
use crate::material::Material;
use crate::names::{named, schemes};
use crate::notes;
use crate::sessions::{Aging, Sessions};
use crate::settings::{AcceptorSettings, ListEntry, Preferences, Source, Verify, Version};
use crate::signing::restricted;
use crate::store::{Read, Store, Used};
use crate::verify::{Authorities, ClientJudge, Schemes};
use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
    StoresServerSessions, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureAlgorithm, SignatureScheme};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `bind … ssl`, ready to take connections.
pub struct Acceptor {
    settings: AcceptorSettings,
    provider: Arc<CryptoProvider>,
    /// File and line that it was read from.
    place: Arc<str>,
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
    /// The newest version that is spoken.
    pub newest: Version,
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

/// What makes a judge of clients: a `crt-list` line may have its own.
#[derive(PartialEq, Eq, Hash)]
struct JudgeKey {
    verify: Verify,
    ca_file: Option<Arc<str>>,
    verify_file: Option<Arc<str>>,
    no_ca_names: bool,
    crl_file: Option<Arc<str>>,
    client_sigalgs: Option<Arc<str>>,
}

impl JudgeKey {
    fn of(settings: &AcceptorSettings, entry: &ListEntry) -> JudgeKey {
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
    fn asks(&self) -> bool {
        matches!(self.verify, Verify::Optional | Verify::Required)
    }

    /// The files of authorities.
    fn authorities(&self) -> impl Iterator<Item = &Arc<str>> {
        self.ca_file.iter().chain(&self.verify_file)
    }
}

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
    /// Reads all files that the settings name; lists are in the store already. `place` is file and
    /// line. Also returns names of ciphers and curves that there are not.
    pub fn new(
        settings: AcceptorSettings,
        place: &str,
        store: &Store,
        read: Read<'_>,
    ) -> Result<(Arc<Acceptor>, Vec<String>), String> {
        if settings.preferences.versions.no_tls12 && settings.preferences.versions.no_tls13 {
            return Err("no TLS version is left: only TLSv1.2 and TLSv1.3 are spoken".into());
        }
        let (provider, mut unknown) = named(&settings.preferences);
        let mut own = vec![ListEntry::default()];
        for source in &settings.certificates {
            match source {
                Source::File(path) => store.material(path, read)?,
                Source::List(list) => own.extend(store.entries(list)),
            }
        }
        for path in &settings.default_certificates {
            store.material(path, read)?;
        }
        for entry in &own {
            unknown.extend(named(&entry.preferences(&settings.preferences)).1);
            if !entry.path.is_empty() {
                store.material(&entry.path, read)?;
            }
            let judged = JudgeKey::of(&settings, entry);
            if judged.asks() {
                for path in judged.authorities() {
                    store.authorities(path, read)?;
                }
                if let Some(path) = &judged.crl_file {
                    store.revocations(path, read)?;
                }
            }
        }
        let tickets: Option<Arc<dyn ProducesTickets>> = match &settings.ticket_keys {
            _ if settings.no_tickets => None,
            Some(path) => {
                let keys = store.ticket_keys(path, read)?;
                Some(Aging::tickets(keys, settings.lifetime))
            }
            None => Some(own_tickets(settings.lifetime)?),
        };
        let resumption = Resumption::new(tickets, &settings);
        let acceptor = Arc::new(Acceptor {
            settings,
            provider: Arc::new(provider),
            place: place.into(),
            resumption: Mutex::new(resumption),
            table: ArcSwap::from_pointee(Table {
                choices: Vec::new(),
                by_name: HashMap::new(),
                default: 0,
            }),
        });
        acceptor.rebuild(store, false)?;
        store.register(&acceptor);
        Ok((acceptor, unknown))
    }

    /// The newest version that is spoken to clients that ask for no name.
    pub fn newest(&self) -> Version {
        self.settings.preferences.versions.newest()
    }

    /// Whether there is no certificate yet that a client could be shown.
    pub fn is_empty(&self, store: &Store) -> bool {
        self.settings.default_certificates.is_empty() && self.entries(store).is_empty()
    }

    /// Bytes to keep of what a ClientHello lists; 0 keeps nothing.
    pub fn capture(&self) -> usize {
        self.settings.capture
    }

    /// Where it was read from: file and line.
    pub(crate) fn place(&self) -> Arc<str> {
        Arc::clone(&self.place)
    }

    /// Whether its certificates come from this list, among others.
    pub(crate) fn lists(&self, list: &str) -> bool {
        let of = |source: &Source| matches!(source, Source::List(l) if &**l == list);
        self.settings.certificates.iter().any(of)
    }

    /// Whether its default certificate is the first of this list.
    pub(crate) fn default_is_in(&self, list: &str) -> bool {
        let first = self.settings.certificates.first();
        self.settings.default_certificates.is_empty()
            && matches!(first, Some(Source::List(l)) if &**l == list)
    }

    /// How often it uses a file.
    pub(crate) fn uses(&self, used: &Used<'_>, store: &Store) -> usize {
        let settings = &self.settings;
        let of_entry = |entry: &ListEntry| match *used {
            Used::Certificate(name) => &*entry.path == name,
            Used::Authorities(_) | Used::Revocations(_) => {
                let judged = JudgeKey::of(settings, entry);
                judged.asks()
                    && match *used {
                        Used::Authorities(name) => judged.authorities().any(|f| **f == *name),
                        Used::Revocations(name) => judged.crl_file.as_deref() == Some(name),
                        _ => false,
                    }
            }
            Used::List(_) => false,
        };
        let defaults = settings.default_certificates.iter();
        let defaults = defaults.filter(|p| matches!(used, Used::Certificate(n) if **n == ***p));
        let entries = self.entries(store);
        entries.iter().filter(|e| of_entry(e)).count() + defaults.count()
    }

    /// All its certificates, with what lists say of them.
    fn entries(&self, store: &Store) -> Vec<ListEntry> {
        let sources = self.settings.certificates.iter();
        let entries = sources.flat_map(|source| match source {
            Source::File(path) => vec![ListEntry {
                path: Arc::clone(path),
                ..ListEntry::default()
            }],
            Source::List(list) => store.entries(list),
        });
        entries.collect()
    }

    /// Takes over the tickets of an acceptor with the same settings, so that clients of the old
    /// one come back without a full handshake. Where clients are judged, they are judged anew.
    pub fn adopt(&self, old: &Acceptor) {
        let mut choices = self.table.load().choices.clone();
        if self.settings != old.settings || choices.iter().any(|c| c.judge.is_some()) {
            return;
        }
        let mut resumption = old.resumption().clone();
        if self.settings.ticket_keys.is_some() {
            // Those of the file as it is now.
            resumption.tickets.clone_from(&self.resumption().tickets);
        }
        for choice in &mut choices {
            let mut config = ServerConfig::clone(&choice.config);
            resumption.apply(&mut config);
            choice.config = Arc::new(config);
        }
        *self.resumption() = resumption;
        let table = self.table.load();
        self.table.store(Arc::new(Table {
            choices,
            by_name: table.by_name.clone(),
            default: table.default,
        }));
    }

    fn resumption(&self) -> MutexGuard<'_, Resumption> {
        self.resumption
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the choices anew from the files as they are now. `forget`: nobody comes back without a
    /// full handshake, because clients are judged by something else.
    pub(crate) fn rebuild(&self, store: &Store, forget: bool) -> Result<(), String> {
        let settings = &self.settings;
        let material = |path: &str| {
            store
                .find(path)
                .filter(|m| !m.is_empty())
                .ok_or_else(|| format!("certificate '{path}' is not there"))
        };
        let mut certificates = Certificates {
            strict: settings.strict_sni,
            ..Certificates::default()
        };
        let mut own = vec![ListEntry::default()];
        let (mut by_name, mut default) = (HashMap::new(), 0);
        for (at, entry) in self.entries(store).iter().enumerate() {
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
                    .push(Arc::clone(&material));
            }
            if certificates.default.is_empty() && settings.default_certificates.is_empty() {
                certificates.default.push(material);
            }
        }
        for path in &settings.default_certificates {
            certificates.default.push(material(path)?);
        }
        // With strict-sni an empty directory may be filled later, over the control socket.
        if certificates.default.is_empty()
            && certificates.by_name.is_empty()
            && !settings.strict_sni
        {
            let empty = settings.certificates.iter().find_map(|s| match s {
                Source::List(list) => Some(format!(
                    "no certificate is in '{list}': put one there, or add 'strict-sni' if it is to be filled later"
                )),
                Source::File(_) => None,
            });
            return Err(empty.unwrap_or_else(|| "no certificate is named: add 'crt FILE'".into()));
        }
        let certificates = Arc::new(certificates);
        let judged = forget
            .then(|| self.resumption().renewed(settings))
            .transpose()?;
        let resumption = judged.unwrap_or_else(|| self.resumption().clone());
        let mut judges = HashMap::new();
        let choices = own
            .iter()
            .map(|own| {
                let judge = match judges.entry(JudgeKey::of(settings, own)) {
                    Entry::Occupied(known) => Option::clone(known.get()),
                    Entry::Vacant(place) => {
                        let made = judge(place.key(), settings, &self.provider, store)?;
                        place.insert(made).clone()
                    }
                };
                self.choice(own, &certificates, judge, &resumption)
            })
            .collect::<Result<_, String>>()?;
        *self.resumption() = resumption;
        self.table.store(Arc::new(Table {
            choices,
            by_name,
            default,
        }));
        Ok(())
    }

    fn choice(
        &self,
        own: &ListEntry,
        certificates: &Arc<Certificates>,
        judge: Option<Arc<ClientJudge>>,
        resumption: &Resumption,
    ) -> Result<Choice, String> {
        let settings = &self.settings;
        let preferences = own.preferences(&settings.preferences);
        let provider = match preferences == settings.preferences {
            true => Arc::clone(&self.provider),
            false => Arc::new(named(&preferences).0),
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&spoken(&preferences, &provider))
            .map_err(|e| {
                format!("these ciphers, curves and versions leave nothing to speak: {e}")
            })?;
        let builder = match &judge {
            Some(judge) => builder.with_client_cert_verifier(Arc::<ClientJudge>::clone(judge)),
            None => builder.with_client_cert_verifier(Arc::new(NoClientAuth)),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Resolver {
            certificates: Arc::clone(certificates),
            schemes: schemes(preferences.sigalgs.as_deref()).0,
        }));
        let alpn = own.alpn.as_ref().unwrap_or(&settings.alpn);
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        config.ignore_client_order = !settings.prefer_client_ciphers;
        config.max_fragment_size = fragment(preferences.max_record);
        if settings.keep_secrets {
            config.key_log = Arc::new(notes::Secrets);
        }
        resumption.apply(&mut config);
        Ok(Choice {
            config: Arc::new(config),
            judge,
            newest: preferences.versions.newest(),
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
    fn new(tickets: Option<Arc<dyn ProducesTickets>>, settings: &AcceptorSettings) -> Resumption {
        let sessions: Arc<dyn StoresServerSessions> = match settings.cache {
            0 => Arc::new(NoServerSessionStorage {}),
            n => Arc::new(Sessions::new(n, settings.lifetime)),
        };
        Resumption { tickets, sessions }
    }

    /// One that knows no session of before. Keys of a farm stay: its other machines give out tickets
    /// under them as well.
    fn renewed(&self, settings: &AcceptorSettings) -> Result<Resumption, String> {
        let tickets = match &self.tickets {
            Some(_) if settings.ticket_keys.is_none() => Some(own_tickets(settings.lifetime)?),
            other => other.clone(),
        };
        Ok(Resumption::new(tickets, settings))
    }

    fn apply(&self, config: &mut ServerConfig) {
        if let Some(tickets) = &self.tickets {
            config.ticketer = Arc::clone(tickets);
        }
        config.session_storage = Arc::clone(&self.sessions);
    }
}

/// Tickets under keys that nobody else has.
fn own_tickets(lifetime: u32) -> Result<Arc<dyn ProducesTickets>, String> {
    let made = rustls::crypto::aws_lc_rs::Ticketer::new();
    let made = made.map_err(|e| format!("no session tickets can be made: {e}"))?;
    Ok(Aging::tickets(made, lifetime))
}

/// rustls's size of a record where so many plain bytes are wanted in it.
pub(crate) fn fragment(max_record: u16) -> Option<usize> {
    (max_record > 0).then(|| usize::from(max_record) + HEADER)
}

/// The versions of the protocol that these preferences leave.
fn spoken(
    preferences: &Preferences,
    provider: &CryptoProvider,
) -> Vec<&'static rustls::SupportedProtocolVersion> {
    let versions = preferences.versions;
    let mut spoken = Vec::new();
    let has12 = provider.cipher_suites.iter().any(|s| s.tls13().is_none());
    if !versions.no_tls12 && has12 {
        spoken.push(&rustls::version::TLS12);
    }
    if !versions.no_tls13 {
        spoken.push(&rustls::version::TLS13);
    }
    spoken
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

fn judge(
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
    let mut builder = WebPkiClientVerifier::builder_with_provider(
        Arc::clone(&authorities.roots),
        Arc::clone(provider),
    )
    .clear_root_hint_subjects();
    if let (Some(path), false) = (&key.ca_file, key.no_ca_names) {
        builder = builder.add_root_hint_subjects(find(path)?.roots.subjects());
    }
    if let Some(path) = &key.crl_file {
        let lists = store
            .find_revocations(path)
            .ok_or_else(|| format!("crl-file '{path}' is not there"))?;
        builder = builder
            .with_crls(lists.iter().cloned())
            .allow_unknown_revocation_status();
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
        ignored: settings.ignored.clone(),
        schemes: schemes(key.client_sigalgs.as_deref()).0,
    })))
}

/// Certificates by the names they answer for.
#[derive(Debug, Default)]
struct Certificates {
    by_name: HashMap<String, Vec<Arc<Material>>>,
    default: Vec<Arc<Material>>,
    strict: bool,
}

/// Chooses the certificate that a client is shown.
#[derive(Debug)]
struct Resolver {
    certificates: Arc<Certificates>,
    /// `sigalgs`.
    schemes: Schemes,
}

/// The wildcard that covers a name: one label wide (RFC 6125 section 6.4.3).
fn wildcard(name: &str) -> Option<String> {
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
        let candidates = match named {
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
