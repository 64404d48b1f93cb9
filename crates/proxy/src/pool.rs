//! Idle server connections of one worker.
//!
//! A connection belongs to the worker that opened it and never moves. The pool of a server is
//! made when the first connection to it becomes idle.

use crate::transport::Transport;
use model::ServerTls;
use state::{Server, Target};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How TLS was begun, and of which edition of its files.
pub type TlsUsed = (Arc<ServerTls>, u32);

/// What a connection must be for a request.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Where it leads.
    pub target: &'a Target,
    /// What it is for, or else the name asked for by SNI.
    pub name: Option<&'a str>,
    /// How TLS is begun.
    pub tls: Option<&'a Arc<ServerTls>>,
    /// The SOCKS proxy that leads there.
    pub socks4: Option<SocketAddr>,
}

impl Wanted<'_> {
    /// Whether a connection can carry the request, whatever its name is.
    pub fn is_met_but_for_name(&self, conn: &ServerConn) -> bool {
        let same_tls = match (&conn.tls, self.tls) {
            (None, None) => true,
            (Some(kept), Some(wanted)) => {
                Arc::ptr_eq(&kept.0, wanted) && kept.1 == wanted.connector.edition()
            }
            _ => false,
        };
        let same_way =
            conn.socks4.as_deref() == self.socks4.as_ref() && *conn.target == *self.target;
        same_tls && same_way && conn.io.is_quiet()
    }
}

/// A connection to a server.
pub struct ServerConn {
    /// The transport, past any handshake.
    pub io: Transport,
    /// Where it leads: a server that has moved since does not get it back.
    pub target: Arc<Target>,
    /// The name asked for by SNI, or in HTTP what `pool-conn-name` says instead: another name means
    /// another connection.
    pub name: Option<Box<str>>,
    /// How TLS was begun and the server judged: what another file or command says of that since
    /// means another connection.
    pub tls: Option<TlsUsed>,
    /// The SOCKS proxy that led there; boxed, because most servers have none.
    pub socks4: Option<Box<SocketAddr>>,
    /// Requests it has carried to the end.
    pub served: u32,
    /// Its place, where the server has so many only; held for as long as the connection is there.
    pub _room: Option<Room>,
}

/// A place among the connections to a server that may have so many, kept ones included
/// (`strict-maxconn`).
pub struct Room(Arc<Server>);

impl Room {
    /// A place if one is free.
    pub fn take(server: &Arc<Server>, limit: u32) -> Option<Room> {
        let entered = server.connections.try_enter(limit.into());
        entered.then(|| Room(Arc::clone(server)))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.connections.leave();
    }
}

impl ServerConn {
    /// Closes a connection on which everything has been said. Where nothing is left to deliver,
    /// a reset spares both systems the farewell and its waiting time, as in HAProxy.
    pub fn retire(self) {
        if let Some(socket) = self.io.plain() {
            socket.close_at_once();
        }
    }
}

struct Idle {
    conn: ServerConn,
    since: Instant,
}

/// What one server's pool may keep.
#[derive(Clone, Copy)]
pub struct Limits {
    /// `pool-max-conn`.
    pub max: Option<u32>,
    /// The most sessions that the server ever had at a time: more idle connections than that
    /// could never be of use.
    pub useful: u64,
    /// `pool-purge-delay`.
    pub purge_delay: Duration,
    /// `max-reuse`.
    pub max_reuse: Option<u32>,
}

impl Limits {
    /// What the server line says.
    pub fn of(settings: &model::Server, server: &Server) -> Limits {
        Limits {
            max: settings.pool_max_conn,
            useful: server.sessions.max(),
            purge_delay: settings.pool_purge_delay,
            max_reuse: settings.max_reuse,
        }
    }
}

#[derive(Default)]
struct ServerPool {
    /// The longest idle one first.
    idle: Vec<Idle>,
    purge_delay: Duration,
}

/// Idle connections by server.
#[derive(Default)]
pub struct Pools {
    /// Indexed by `Server::uid`.
    servers: RefCell<Vec<ServerPool>>,
}

impl Pools {
    /// Takes the connection that was used last and is still quiet; dead ones found on the way
    /// are closed. `proven` asks for one that has already carried a request over a second time.
    pub fn take(&self, server: u32, wanted: Wanted<'_>, proven: bool) -> Option<ServerConn> {
        let mut servers = self.servers.borrow_mut();
        let pool = servers.get_mut(server as usize)?;
        let mut at = pool.idle.len();
        while at > 0 {
            at -= 1;
            let conn = &pool.idle[at].conn;
            if (proven && conn.served < 2) || conn.name.as_deref() != wanted.name {
                continue;
            }
            let idle = pool.idle.remove(at);
            if wanted.is_met_but_for_name(&idle.conn) {
                return Some(idle.conn);
            }
            idle.conn.retire();
        }
        None
    }

    /// Keeps a connection that is between two requests, unless a limit says to close it.
    pub fn put(&self, server: u32, conn: ServerConn, limits: Limits, now: Instant) {
        if limits.max_reuse.is_some_and(|max| conn.served > max) {
            return conn.retire();
        }
        let mut servers = self.servers.borrow_mut();
        let index = server as usize;
        if servers.len() <= index {
            servers.resize_with(index + 1, ServerPool::default);
        }
        let pool = &mut servers[index];
        let full = limits
            .max
            .is_some_and(|max| pool.idle.len() >= max as usize);
        if full || pool.idle.len() as u64 >= limits.useful {
            return conn.retire();
        }
        pool.purge_delay = limits.purge_delay;
        pool.idle.push(Idle { conn, since: now });
    }

    /// Closes the connection to a server that has been idle for the longest time; whether there is one.
    pub fn let_go(&self, server: u32) -> bool {
        let mut servers = self.servers.borrow_mut();
        let idle = servers.get_mut(server as usize).map(|pool| &mut pool.idle);
        let Some(idle) = idle.filter(|idle| !idle.is_empty()) else {
            return false;
        };
        idle.remove(0).conn.retire();
        true
    }

    /// Idle connections by the server's `uid`.
    pub fn idle(&self) -> Vec<u32> {
        let servers = self.servers.borrow();
        servers.iter().map(|pool| pool.idle.len() as u32).collect()
    }

    /// Closes what the servers have closed, and half of what has been idle for the purge delay.
    pub fn purge(&self, now: Instant) {
        for pool in self.servers.borrow_mut().iter_mut() {
            let delay = pool.purge_delay;
            let keep = |idle: &Idle| {
                now.saturating_duration_since(idle.since) < delay && idle.conn.io.is_quiet()
            };
            let over = pool.idle.extract_if(.., |idle| !keep(idle));
            over.for_each(|idle| idle.conn.retire());
            if pool.idle.capacity() > 16 && pool.idle.len() * 4 < pool.idle.capacity() {
                pool.idle.shrink_to_fit();
            }
        }
    }
}
