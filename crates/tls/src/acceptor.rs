//! The server's side: which certificate and which settings a client gets.

use crate::connection::HEADER;
use crate::hello::Hello;
use crate::judge::{JudgeKey, judge};
use crate::material::Material;
use crate::names::{named, schemes};
use crate::notes;
use crate::resolver::{Certificates, Resolver, wildcard};
use crate::sessions::{Aging, Sessions};
use crate::settings::{AcceptorSettings, ListEntry, Preferences, Source, Version};
use crate::store::{Read, Store, Used};
use crate::verify::ClientJudge;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoClientAuth, NoServerSessionStorage, ProducesTickets, StoresServerSessions};
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
        let entries = self.entries(store);
        let mut wildcards: HashMap<String, Vec<Covering<'_>>> = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
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
                if name.starts_with('*') {
                    let covering = (entry, options, Arc::clone(&material));
                    wildcards.entry(name.clone()).or_default().push(covering);
                }
                // Also where it is the default: what a wildcard elsewhere says is not for this name.
                by_name.entry(name.clone()).or_insert(options);
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
        // A name that a line excludes is not covered by the wildcards of that line.
        for name in entries.iter().flat_map(ListEntry::excluded) {
            let covering = wildcard(&name).and_then(|w| wildcards.get(&w));
            if let (Some(all), Entry::Vacant(place)) =
                (covering, certificates.by_name.entry(name.clone()))
            {
                let rest = all.iter().filter(|c| !c.0.excluded().any(|n| n == name));
                let rest: Vec<_> = rest.collect();
                place.insert(rest.iter().map(|c| Arc::clone(&c.2)).collect());
                by_name.insert(name, rest.first().map_or(default, |c| c.1));
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

/// A line of a list one of whose names is a wildcard, the place of its settings, and its certificate.
type Covering<'a> = (&'a ListEntry, usize, Arc<Material>);

impl ListEntry {
    /// The names that this entry's certificate does not answer for (`!name`).
    fn excluded(&self) -> impl Iterator<Item = String> {
        let names = self.filters.iter().filter_map(|f| f.strip_prefix('!'));
        names.map(str::to_ascii_lowercase)
    }

    /// The names that this entry's certificate answers for.
    fn names(&self, material: &Material) -> Vec<String> {
        let wanted = self.filters.iter().filter(|f| !f.starts_with('!'));
        let wanted: Vec<String> = wanted.map(|f| f.to_ascii_lowercase()).collect();
        let excluded: Vec<String> = self.excluded().collect();
        let names = if wanted.is_empty() {
            material.names.clone()
        } else {
            wanted
        };
        names
            .into_iter()
            .filter(|n| !excluded.contains(n))
            .collect()
    }
}
