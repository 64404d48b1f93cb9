//! `stick` rules: a client goes to the server that a table remembers for it, and the server that
//! serves it is remembered.

use crate::stream::Stream;
use crate::worker::Worker;
use model::{ServerKey, StickRule, StickStore};
use rules::{Ctx, NoTrace};
use state::stick::{Table, Touch};
use state::{Backend, Generation, Server};
use std::sync::Arc;
use std::time::Instant;

/// What the rules found of one request.
#[derive(Default)]
pub struct Sticking {
    /// The server that a table remembers.
    pub server: Option<Arc<Server>>,
    /// Where the server is to be remembered.
    stores: Vec<(Arc<Table>, Box<[u8]>)>,
}

/// How many criteria are kept of a request (manual, `stick store-request`).
const MOST: usize = 8;

/// Evaluates those rules for requests, or for responses, that look for a server (unless `chosen`)
/// or say where to remember it.
pub fn read(
    backend: &Backend,
    generation: &Generation,
    cx: &Ctx<'_>,
    now_ms: u64,
    when: StickStore,
    chosen: bool,
) -> Sticking {
    let mut found = Sticking::default();
    for rule in &backend.side().stick_rules {
        let Some(table) = rule.table.find(&generation.tables, |t| &t.name) else {
            continue;
        };
        let matches = rule.matches && when == StickStore::Request;
        let looks = matches && !chosen && found.server.is_none();
        let known = found.stores.iter().any(|(t, _)| Arc::ptr_eq(t, table));
        let stores = rule.store == when && !known && found.stores.len() < MOST;
        if !looks && !stores || !applies(rule, cx) {
            continue;
        }
        let Some(value) = rule.key.eval(cx) else {
            continue;
        };
        let Some(key) = table.key_type().key(&value, table.key_len()) else {
            continue;
        };
        if looks {
            found.server = remembered(backend, table, &key, now_ms);
        }
        if stores {
            found.stores.push((Arc::clone(table), key[..].into()));
        }
    }
    found
}

/// The same of what is no request of HTTP, those for responses included: nothing more is known of it
/// later.
pub fn connection(
    backend: &Backend,
    generation: &Generation,
    cx: &Ctx<'_>,
    now_ms: u64,
) -> Sticking {
    if backend.side().stick_rules.is_empty() {
        return Sticking::default();
    }
    let read = |when| read(backend, generation, cx, now_ms, when, false);
    let mut found = read(StickStore::Request);
    found.join(read(StickStore::Response));
    found
}

fn applies(rule: &StickRule, cx: &Ctx<'_>) -> bool {
    let condition = rule.condition.as_ref();
    condition.is_none_or(|c| c.eval(cx, &mut NoTrace))
}

/// The server that an entry names, by name or address, or else by number; it must be usable unless
/// `option persist` says otherwise.
fn remembered(backend: &Backend, table: &Table, key: &[u8], now_ms: u64) -> Option<Arc<Server>> {
    use rules::stick::Data;
    let (name, id) = table.with(key, now_ms, Touch::Refresh, |entry| {
        (entry.server_key(), entry.get(Data::ServerId, 0))
    })?;
    let by_name = name.and_then(|name| match table.server_key {
        ServerKey::Name => backend.server(&name),
        ServerKey::Addr => {
            let mut servers = backend.servers().iter();
            servers.find(|s| address(s).is_some_and(|a| a == *name))
        }
    });
    let by_id = || {
        let id = id.filter(|id| *id > 0)?;
        backend.servers().iter().find(|s| u64::from(s.id) == id)
    };
    let server = by_name.or_else(by_id)?;
    let good = server.usable() || backend.side().persist;
    good.then(|| Arc::clone(server))
}

fn address(server: &Server) -> Option<String> {
    let target = server.target()?;
    Some(target.socket(None)?.to_string())
}

impl Sticking {
    /// Takes over where another one says to remember the server.
    fn join(&mut self, other: Sticking) {
        self.stores.extend(other.stores);
    }

    /// Remembers the server, unless it is one that nobody sticks to.
    pub fn store(&self, server: &Server, now_ms: u64) {
        if self.stores.is_empty() || server.settings().non_stick {
            return;
        }
        for (table, key) in &self.stores {
            let name = match table.server_key {
                ServerKey::Name => Some(server.name.to_string()),
                ServerKey::Addr => address(server),
            };
            table.with(key, now_ms, Touch::Create, |entry| {
                entry.set_server(server.id, name.as_deref().unwrap_or_default());
            });
        }
    }
}

/// The rules for the request of a stream.
pub fn request(stream: &mut Stream<'_>, backend: &Backend) {
    if backend.side().stick_rules.is_empty() {
        return;
    }
    let now_ms = stream.worker.millis();
    let chosen = stream.persistence.server().is_some();
    let generation = Arc::clone(&stream.generation);
    let cx = ctx!(stream);
    let mut found = read(
        backend,
        &generation,
        &cx,
        now_ms,
        StickStore::Request,
        chosen,
    );
    if let Some(server) = found.server.take() {
        stream.persistence.stick_to(server);
    }
    stream.sticking = Some(Box::new(found));
}

/// The server's connection is there.
pub fn connected(stream: &Stream<'_>) {
    if let (Some(sticking), Some(slot)) = (&stream.sticking, &stream.slot) {
        sticking.store(slot.server(), now(stream.worker));
    }
}

/// The rules for the response of a stream.
pub fn response(stream: &mut Stream<'_>) {
    let Some(backend) = stream.backend.clone() else {
        return;
    };
    if backend.side().stick_rules.is_empty() {
        return;
    }
    let now_ms = now(stream.worker);
    let generation = Arc::clone(&stream.generation);
    let cx = ctx!(stream);
    let found = read(
        &backend,
        &generation,
        &cx,
        now_ms,
        StickStore::Response,
        true,
    );
    if let Some(slot) = &stream.slot {
        found.store(slot.server(), now_ms);
    }
}

fn now(worker: &Worker) -> u64 {
    let now: Instant = worker.now();
    worker.process.millis(now)
}
