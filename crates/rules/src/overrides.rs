//! What rules say about one request or connection that everything behind them goes by.

use crate::{Facts, SessionInfo};
use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What rules and the connection to the server leave behind for what comes after them.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Few requests have any, so that they take room only then.
    given: OnceCell<Box<Given>>,
    /// The descriptor of the connection to the server, while there is one: the system is asked for
    /// its addresses by whoever wants them.
    pub server: Cell<Option<i32>>,
    /// The server's status, before any rule changed it.
    pub server_status: Cell<Option<u16>>,
    /// Why the connection to the server failed, by HAProxy's number; 0 once it is made, `None` before.
    pub server_fault: Cell<Option<u8>>,
    /// Whether that connection had served another request before; `None` before it is made.
    pub server_reused: Cell<Option<bool>>,
    /// The line of the last rule that ended its rules, `file:number: text`.
    pub last_rule: RefCell<Option<Arc<str>>>,
}

/// Where rules differ from the configuration and from the connection; `None` does not differ.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// What ended the last handshake with a server.
    pub server_tls_fault: Cell<Option<tls::Fault>>,
    /// `set-src` and `set-src-port`.
    pub src: Cell<Option<SocketAddr>>,
    /// `set-dst` and `set-dst-port`.
    pub dst: Cell<Option<SocketAddr>>,
    /// `set-timeout client`.
    pub client_timeout: Cell<Option<Duration>>,
    /// `set-timeout server`.
    pub server_timeout: Cell<Option<Duration>>,
    /// `set-timeout tunnel`.
    pub tunnel_timeout: Cell<Option<Duration>>,
    /// `set-timeout connect`.
    pub connect_timeout: Cell<Option<Duration>>,
    /// `set-timeout queue`.
    pub queue_timeout: Cell<Option<Duration>>,
    /// `set-timeout tarpit`.
    pub tarpit_timeout: Cell<Option<Duration>>,
    /// `set-retries`.
    pub retries: Cell<Option<u32>>,
    /// `set-bc-tos`: for the server's connection.
    pub bc_tos: Cell<Option<u8>>,
    /// `set-bc-mark`: for the server's connection.
    pub bc_mark: Cell<Option<u32>>,
    /// `capture-req` and `capture-res`: whether it belongs to the response, slot, value.
    pub captured: RefCell<Vec<Capture>>,
    /// The line of a rule that something is waited for by, `file:number: text`.
    pub waiting: RefCell<Option<Arc<str>>>,
    /// The request's own number, where something has shown it.
    pub number: Cell<Option<u64>>,
    /// The addresses of the server's connection, for a log line that shows them when it is over.
    pub back: Cell<Option<(SocketAddr, SocketAddr)>>,
}

/// Whether it belongs to the response, the slot, the value.
pub type Capture = (bool, usize, Box<[u8]>);

impl Overrides {
    /// What rules have given, if they have.
    pub fn given<T>(&self, of: impl FnOnce(&Given) -> Option<T>) -> Option<T> {
        self.given.get().and_then(|given| of(given))
    }

    /// To give something.
    pub fn give(&self) -> &Given {
        self.given.get_or_init(Box::default)
    }

    /// The number of the request or session (`%rt`): given when it is first asked for, so that requests
    /// of which nothing shows it share no counter.
    pub fn number(&self, facts: &dyn Facts) -> u64 {
        let number = &self.give().number;
        number.get().unwrap_or_else(|| {
            let next = facts.next_number();
            number.set(Some(next));
            next
        })
    }

    /// What a rule waited for has come.
    pub fn waited(&self) {
        self.given(|given| given.waiting.borrow_mut().take());
    }

    /// The client's address as it counts now.
    pub fn src(&self, session: &SessionInfo) -> Option<SocketAddr> {
        self.given(|g| g.src.get()).or_else(|| session.ends.src())
    }

    /// Our address on the connection to the server, and the server's.
    pub fn back(&self, facts: &dyn Facts) -> Option<(SocketAddr, SocketAddr)> {
        let asked = || facts.addresses(self.server.get()?);
        self.given(|g| g.back.get()).or_else(asked)
    }

    /// The address that the client connected to, as it counts now.
    pub fn dst(&self, session: &SessionInfo) -> Option<SocketAddr> {
        self.given(|g| g.dst.get()).or_else(|| session.ends.dst())
    }
}
