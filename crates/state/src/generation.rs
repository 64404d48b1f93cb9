//! One configuration with its living parts. Requests that began with a generation end with it.

use crate::backend::Backend;
use crate::frontend::Frontend;
use crate::process::Process;
use crate::server::Server;
use model::Config;
use std::collections::HashMap;
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
    frontend_names: HashMap<Arc<str>, usize>,
    backend_names: HashMap<Arc<str>, usize>,
}

impl Generation {
    /// The generation of `config` that follows this one. What keeps its name keeps its life: a
    /// server its weight, state and counters, a proxy its counters and gauges.
    pub(crate) fn next(&self, config: Arc<Config>, process: &Process) -> Generation {
        let mut next = Generation {
            config: Arc::clone(&config),
            ..Generation::default()
        };
        for proxy in &config.proxies {
            if proxy.frontend.is_some() {
                let live = self.frontend(&proxy.name).map(|f| Arc::clone(f.live()));
                let frontend =
                    Frontend::new(Arc::clone(proxy), live, process.workers, process.maxconn());
                next.frontend_names
                    .insert(Arc::clone(&proxy.name), next.frontends.len());
                next.frontends.push(frontend);
            }
            if let Some(side) = &proxy.backend {
                let old = self.backend(&proxy.name);
                let by_name: HashMap<&str, &Arc<Server>> = old
                    .iter()
                    .flat_map(|b| b.servers())
                    .map(|s| (&*s.name, s))
                    .collect();
                let servers =
                    side.servers
                        .iter()
                        .map(|settings| match by_name.get(&*settings.name) {
                            Some(server) => {
                                server.reconfigure(settings);
                                Arc::clone(server)
                            }
                            None => Arc::new(Server::new(
                                process.uid(),
                                &proxy.name,
                                settings,
                                process.workers,
                            )),
                        });
                let live = old.map(|b| Arc::clone(b.live()));
                let fullconn = side.fullconn.filter(|n| *n > 0).map_or_else(
                    || usual_fullconn(&config, &proxy.name, process.maxconn()),
                    u64::from,
                );
                let servers = servers.collect();
                let backend =
                    Backend::new(Arc::clone(proxy), servers, live, process.workers, fullconn);
                next.backend_names
                    .insert(Arc::clone(&proxy.name), next.backends.len());
                next.backends.push(backend);
            }
        }
        next
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
        let default = side.default_backend.as_deref().unwrap_or(&proxy.name);
        default == backend
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
