//! One configuration with its living parts. Requests that began with a generation end with it.

use crate::backend::Backend;
use crate::follow::Followers;
use crate::frontend::Frontend;
use crate::peers::{PeerSection, Resync};
use crate::process::Process;
use crate::resolvers::Resolvers;
use crate::server::Server;
use crate::stick::Table;
use model::{Config, Proxy, StickTable};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A configuration in force.
#[derive(Debug, Default)]
pub struct Generation {
    /// As read.
    pub config: Arc<Config>,
    /// In the order of the files.
    pub frontends: Vec<Arc<Frontend>>,
    /// In the order of the files.
    pub backends: Vec<Arc<Backend>>,
    /// Stick tables, in the order of the configuration.
    pub tables: Vec<Arc<Table>>,
    /// `peers` sections, in the order of the files.
    pub peers: Vec<Arc<PeerSection>>,
    /// `resolvers` sections by name.
    pub resolvers: BTreeMap<Arc<str>, Arc<Resolvers>>,
    frontend_names: HashMap<Arc<str>, usize>,
    backend_names: HashMap<Arc<str>, usize>,
    followers: Followers,
}

impl Generation {
    /// The generation of `config` that follows this one. A proxy of which nothing was changed goes
    /// on as it is. What keeps its name keeps its life: a server its weight, state and counters, a
    /// proxy its counters and gauges.
    pub(crate) fn next(&self, config: Arc<Config>, process: &Process) -> Generation {
        let mut next = Generation {
            tables: config.tables.iter().map(|t| self.table_of(t)).collect(),
            config: Arc::clone(&config),
            ..Generation::default()
        };
        for settings in &config.peers {
            let old = self.peers.iter().find(|p| p.settings == *settings);
            next.peers.push(old.cloned().unwrap_or_else(|| {
                let replaces = process.machine.replaces && process.is_new();
                let resync = Resync::new(replaces);
                Arc::new(PeerSection::new(Arc::clone(settings), resync))
            }));
        }
        for (name, settings) in &config.resolvers {
            let old = self.resolvers.get(name);
            let same = old.filter(|r| r.settings == *settings).cloned();
            let live = same.unwrap_or_else(|| Arc::new(Resolvers::new(Arc::clone(settings))));
            next.resolvers.insert(Arc::clone(name), live);
        }
        let before = self.config.proxies.iter();
        let before: HashMap<_, _> = before
            .map(|p| ((&*p.name, p.kind), p.fingerprint))
            .collect();
        for proxy in &config.proxies {
            let unchanged = before.get(&(&*proxy.name, proxy.kind)) == Some(&proxy.fingerprint);
            if proxy.frontend.is_some() {
                let same = self.frontend(&proxy.name).filter(|_| unchanged).cloned();
                let frontend = same.unwrap_or_else(|| self.frontend_of(proxy, process));
                next.frontend_names
                    .insert(Arc::clone(&proxy.name), next.frontends.len());
                next.frontends.push(frontend);
            }
            if let Some(side) = &proxy.backend {
                let fullconn = side.fullconn.filter(|n| *n > 0).map_or_else(
                    || usual_fullconn(&config, &proxy.name, process.maxconn()),
                    u64::from,
                );
                let same = self.backend(&proxy.name).filter(|_| unchanged);
                let same = same.filter(|b| b.fullconn() == fullconn).cloned();
                let backend =
                    same.unwrap_or_else(|| self.backend_of(proxy, side, fullconn, process));
                next.backend_names
                    .insert(Arc::clone(&proxy.name), next.backends.len());
                next.backends.push(backend);
            }
        }
        next.followers = Followers::among(&next.backends, |name| next.backend(name));
        next
    }

    /// Who follows whom.
    pub(crate) fn followers(&self) -> &Followers {
        &self.followers
    }

    /// A stick table: the one there was, where its entries can stay.
    fn table_of(&self, settings: &StickTable) -> Arc<Table> {
        match self.table(&settings.name).filter(|t| t.fits(settings)) {
            Some(table) => {
                table.reconfigure(settings);
                Arc::clone(table)
            }
            None => Arc::new(Table::new(settings)),
        }
    }

    /// A stick table by name.
    pub fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.iter().find(|t| *t.name == *name)
    }

    /// A frontend that is new or was changed.
    fn frontend_of(&self, proxy: &Arc<Proxy>, process: &Process) -> Arc<Frontend> {
        let live = self.frontend(&proxy.name).map(|f| Arc::clone(f.live()));
        Frontend::new(
            Arc::clone(proxy),
            live,
            process.writers(),
            process.maxconn(),
        )
    }

    /// A backend that is new or was changed.
    fn backend_of(
        &self,
        proxy: &Arc<Proxy>,
        side: &model::Backend,
        fullconn: u64,
        process: &Process,
    ) -> Arc<Backend> {
        let old = self.backend(&proxy.name);
        let by_name: HashMap<&str, &Arc<Server>> = old
            .iter()
            .flat_map(|b| b.servers())
            .map(|s| (&*s.name, s))
            .collect();
        let server = |settings: &model::Server| match by_name.get(&*settings.name) {
            Some(server) => {
                server.reconfigure(settings);
                Arc::clone(server)
            }
            None => {
                let uid = process.uid();
                Arc::new(Server::new(uid, &proxy.name, settings, process.writers()))
            }
        };
        let servers = side.servers.iter().map(server).collect();
        let live = old.map(|b| Arc::clone(b.live()));
        let direct = side.direct.as_ref().map(|settings| {
            let uid = process.uid();
            let server = Server::new(uid, &proxy.name, settings, process.writers());
            Arc::new(server)
        });
        Backend::new(
            Arc::clone(proxy),
            servers,
            direct,
            live,
            process.writers(),
            fullconn,
        )
    }

    /// Whether another server tracks this one.
    pub fn is_tracked(&self, server: &Server) -> bool {
        self.followers.has(server)
    }

    /// The backend that this very server is in, if it is still there.
    pub(crate) fn home(&self, server: &Server) -> Option<&Arc<Backend>> {
        self.backend(&server.backend).filter(|b| b.holds(server))
    }

    /// A backend by name.
    pub fn backend(&self, name: &str) -> Option<&Arc<Backend>> {
        self.backend_names
            .get(name)
            .and_then(|i| self.backends.get(*i))
    }

    /// A frontend by name.
    pub fn frontend(&self, name: &str) -> Option<&Arc<Frontend>> {
        self.frontend_names
            .get(name)
            .and_then(|i| self.frontends.get(*i))
    }
}

/// `fullconn` where it is not set: a tenth of what the frontends that lead here may hold.
fn usual_fullconn(config: &model::Config, backend: &str, process_maxconn: u32) -> u64 {
    let leads_here = |proxy: &model::Proxy, side: &model::Frontend| {
        proxy.leads_to().is_some_and(|name| &**name == backend)
            || side.switches.iter().any(|s| match &s.target {
                model::SwitchTarget::Name(name) => &**name == backend,
                model::SwitchTarget::Format(_) => true,
            })
    };
    let sides = config.proxies.iter().filter_map(|p| {
        let side = p.frontend.as_ref()?;
        leads_here(p, side).then(|| u64::from(side.maxconn.unwrap_or(process_maxconn)))
    });
    sides.sum::<u64>().div_ceil(10).max(1)
}
