//! The running system as the rules see it.

use crate::backend::Backend;
use crate::generation::Generation;
use crate::process::Process;
use crate::server::Server;
use rules::Facts;
use std::sync::Arc;
use std::time::Instant;

/// A process and the generation a request began with.
pub struct View<'a> {
    /// The process.
    pub process: &'a Process,
    /// The generation.
    pub generation: &'a Generation,
    /// Now.
    pub now: Instant,
}

impl View<'_> {
    fn server(&self, backend: &str, server: &str) -> Option<&Arc<Server>> {
        self.generation.backend(backend)?.server(server)
    }

    fn backend(&self, name: &str) -> Option<&Arc<Backend>> {
        self.generation.backend(name)
    }
}

impl Facts for View<'_> {
    fn groups(&self, list: &str, user: &[u8], password: &[u8]) -> Option<&[Arc<str>]> {
        self.generation
            .config
            .userlists
            .get(list)?
            .groups(user, password)
    }
    fn nbsrv(&self, backend: &str) -> Option<i64> {
        let servers = self.backend(backend)?.servers().iter();
        Some(servers.filter(|s| s.usable() && !s.is_stopping()).count() as i64)
    }
    fn be_conn(&self, backend: &str) -> Option<i64> {
        Some(self.backend(backend)?.sessions().now() as i64)
    }
    fn fe_conn(&self, frontend: &str) -> Option<i64> {
        Some(self.generation.frontend(frontend)?.sessions().now() as i64)
    }
    fn queue(&self, backend: &str) -> Option<i64> {
        Some(self.backend(backend)?.queued().now() as i64)
    }
    fn connslots(&self, backend: &str) -> Option<i64> {
        let mut free = 0;
        for server in self.backend(backend)?.servers() {
            if server.schedulable() {
                if server.maxconn() == 0 {
                    return Some(-1);
                }
                free += i64::from(server.maxconn()) - server.sessions.now() as i64;
                let settings = server.settings();
                free += i64::from(settings.maxqueue) - server.queued.now() as i64;
            }
        }
        Some(free)
    }
    fn be_sess_rate(&self, backend: &str) -> Option<i64> {
        let now = self.process.millis(self.now);
        Some(
            self.backend(backend)?
                .counters()
                .rate(now, |c| &c.sess_rate) as i64,
        )
    }
    fn fe_sess_rate(&self, frontend: &str) -> Option<i64> {
        let now = self.process.millis(self.now);
        Some(
            self.generation
                .frontend(frontend)?
                .counters()
                .rate(now, |c| &c.sess_rate) as i64,
        )
    }
    fn fe_req_rate(&self, frontend: &str) -> Option<i64> {
        let now = self.process.millis(self.now);
        Some(
            self.generation
                .frontend(frontend)?
                .counters()
                .rate(now, |c| &c.req_rate) as i64,
        )
    }
    fn srv_conn(&self, backend: &str, server: &str) -> Option<i64> {
        Some(self.server(backend, server)?.sessions.now() as i64)
    }
    fn srv_is_up(&self, backend: &str, server: &str) -> Option<bool> {
        Some(self.server(backend, server)?.usable())
    }
    fn srv_queue(&self, backend: &str, server: &str) -> Option<i64> {
        Some(self.server(backend, server)?.queued.now() as i64)
    }
    fn srv_weight(&self, backend: &str, server: &str) -> Option<i64> {
        Some(self.server(backend, server)?.weight().into())
    }
    fn act_conn(&self) -> i64 {
        self.process.connections.now() as i64
    }
    fn env(&self, name: &str) -> Option<String> {
        let mut set = self.generation.config.global.environment.iter().rev();
        match set.find(|(n, _)| &**n == name) {
            Some((_, value)) => value.as_deref().map(str::to_string),
            None => None,
        }
    }
    fn hostname(&self) -> &str {
        &self.process.hostname
    }
    fn nbthread(&self) -> i64 {
        self.process.workers as i64
    }
}
