//! The running system as the rules see it.

use crate::backend::Backend;
use crate::generation::Generation;
use crate::process::Process;
use crate::server::Server;
use crate::stick::Tracked;
use rules::stick::Tables;
use rules::{Facts, Timeout, Zone};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A process and the generation a request began with.
pub struct View<'a> {
    /// The process.
    pub process: &'a Process,
    /// The generation.
    pub generation: &'a Generation,
    /// Now.
    pub now: Instant,
    /// What the session tracks, where there is one.
    pub tracked: Option<&'a Tracked>,
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
    fn tcp_info(&self, descriptor: i32) -> Option<rules::TcpInfo> {
        (self.process.machine.tcp_info)(descriptor)
    }
    fn tell(&self, sink: &str, now: rules::Wall, line: String) {
        match sink {
            "stdout" => (self.process.machine.say)(1, &line),
            "stderr" => (self.process.machine.say)(2, &line),
            _ => self.process.events.note(now, line),
        }
    }
    fn next_number(&self) -> u64 {
        self.process.next_number()
    }
    fn lines(&self, frontend: &str) -> u64 {
        let frontend = self.generation.frontend(frontend);
        frontend.map_or(0, |frontend| frontend.lines().sum(|lines| lines))
    }
    fn saved_syn(&self, descriptor: i32) -> Option<Vec<u8>> {
        (self.process.machine.saved_syn)(descriptor)
    }
    fn listener_conn(&self, frontend: &str, listener: u32) -> Option<i64> {
        let frontend = self.generation.frontend(frontend)?;
        Some(frontend.listener_connections(listener)? as i64)
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
    fn be_conn_free(&self, backend: &str) -> Option<i64> {
        let servers = self.backend(backend)?.servers().iter();
        let free = servers.filter(|s| s.usable()).map(free_places);
        Some(free.reduce(joined).unwrap_or(0))
    }
    fn fe_defbe(&self, frontend: &str) -> Option<String> {
        let frontend = self.generation.frontend(frontend)?;
        frontend
            .side()
            .default_backend
            .as_deref()
            .map(str::to_string)
    }
    fn timeout(&self, proxy: &str, which: Timeout) -> Option<i64> {
        let front = || self.generation.frontend(proxy).map(|f| f.proxy());
        let proxy = self.backend(proxy).map(|b| b.proxy()).or_else(front)?;
        let set = match which {
            Timeout::Client => proxy.timeouts.client,
            Timeout::Connect => proxy.timeouts.connect,
            Timeout::Queue => proxy.timeouts.queue,
            Timeout::Server => proxy.timeouts.server,
            Timeout::Tarpit => proxy.timeouts.tarpit,
            Timeout::Tunnel => proxy.timeouts.tunnel,
        };
        Some(set.map_or(0, |t| t.as_millis() as i64))
    }
    fn retries(&self, backend: &str) -> Option<i64> {
        Some(self.backend(backend)?.side().retries.into())
    }
    fn srv_conn_free(&self, backend: &str, server: &str) -> Option<i64> {
        Some(free_places(self.server(backend, server)?))
    }
    fn srv_sess_rate(&self, backend: &str, server: &str) -> Option<i64> {
        let now = self.process.millis(self.now);
        let counters = &self.server(backend, server)?.counters;
        Some(counters.rate(now, |c| &c.sess_rate) as i64)
    }
    fn srv_iweight(&self, backend: &str, server: &str) -> Option<i64> {
        Some(self.server(backend, server)?.settings().weight.into())
    }
    fn act_conn(&self) -> i64 {
        self.process.connections.now() as i64
    }
    fn env(&self, name: &str) -> Option<String> {
        let mut set = self.generation.config.global.environment.iter().rev();
        match set.find(|(n, _)| &**n == name) {
            Some((_, value)) => value.as_deref().map(str::to_string),
            None => self.process.machine.environment.get(name).cloned(),
        }
    }
    fn addresses(&self, descriptor: i32) -> Option<(SocketAddr, SocketAddr)> {
        (self.process.machine.addresses)(descriptor)
    }
    fn own_address(&self, descriptor: i32) -> Option<SocketAddr> {
        (self.process.machine.own_address)(descriptor)
    }
    fn is_local(&self, ip: IpAddr) -> bool {
        (self.process.machine.is_local)(ip)
    }
    fn local_zone(&self, secs: i64) -> Zone {
        (self.process.machine.local_zone)(secs)
    }
    fn vars(&self) -> Option<&Mutex<rules::Vars>> {
        Some(&self.process.vars)
    }
    fn tables(&self) -> Option<&dyn Tables> {
        Some(self)
    }
    fn pid(&self) -> u32 {
        self.process.pid
    }
    fn stopping(&self) -> bool {
        self.process.is_stopping()
    }
    fn uptime(&self) -> i64 {
        self.now
            .saturating_duration_since(self.process.start)
            .as_secs() as i64
    }
    fn hostname(&self) -> &str {
        &self.process.machine.hostname
    }
    fn nbthread(&self) -> i64 {
        self.process.workers as i64
    }
}

/// Places that a server has free; -1 without a limit.
fn free_places(server: &Arc<Server>) -> i64 {
    match server.maxconn() {
        0 => -1,
        most => (i64::from(most) - server.sessions.now() as i64).max(0),
    }
}

/// Places of two servers together; without a limit where one has none.
fn joined(a: i64, b: i64) -> i64 {
    if a < 0 || b < 0 { -1 } else { a + b }
}
