//! `stick-table` and `stick`.

use rules::stick::{Data, DataKind, KeyType, TableName};
use std::sync::Arc;
use std::time::Duration;

/// One kind of data that a table stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Which.
    pub data: Data,
    /// How many of it; 1 where it is no array.
    pub count: u32,
    /// Of rates the period in milliseconds.
    pub period: u32,
}

impl Stored {
    /// Data without arguments.
    pub fn plain(data: Data) -> Stored {
        Stored {
            data,
            count: 1,
            period: 0,
        }
    }

    /// Bytes that it takes in an entry.
    pub fn len(&self) -> usize {
        let one = match self.data.kind() {
            DataKind::Number | DataKind::Server => 4,
            DataKind::Large => 8,
            DataKind::Rate => 12,
        };
        one * self.count as usize
    }

    /// Whether it takes no bytes.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// `srvkey`: what of a server a table remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)] // names of the manual
pub enum ServerKey {
    #[default]
    Name,
    Addr,
}

/// A stick table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickTable {
    /// Its name: that of its proxy.
    pub name: Arc<str>,
    /// Its keys.
    pub key: KeyType,
    /// Bytes of a key at most.
    pub key_len: usize,
    /// Entries at most.
    pub size: u32,
    /// How long an entry lives that nobody touches; `None`: for ever.
    pub expire: Option<Duration>,
    /// A full table takes no more, instead of forgetting its oldest entry.
    pub nopurge: bool,
    /// `srvkey`.
    pub server_key: ServerKey,
    /// What it stores, in the order of [`Data`].
    pub stores: Vec<Stored>,
    /// `peers`: the section with whom it is shared.
    pub peers: Option<Arc<str>>,
    /// `sync sessions` of a `vrrp` section: it follows to another machine.
    pub follows: bool,
}

impl StickTable {
    /// Whether others are told of its changes.
    pub fn is_shared(&self) -> bool {
        self.follows || self.peers.is_some()
    }

    /// Its name among peers: that of a table of their section has no other section's before it.
    pub fn shared_name(&self) -> &str {
        let section = self.peers.as_deref().unwrap_or_default();
        match self.name.strip_prefix(section) {
            Some(rest) if rest.starts_with('/') => rest,
            _ => &self.name,
        }
    }

    /// Adds data that is not stored yet, in its place.
    pub fn store(&mut self, stored: Stored) {
        if self.stores.iter().any(|s| s.data == stored.data) {
            return;
        }
        self.stores.push(stored);
        let place = |s: &Stored| Data::ALL.iter().position(|d| *d == s.data);
        self.stores.sort_by_key(place);
    }
}

/// When a `stick` rule writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickStore {
    /// Never: `stick match`.
    Never,
    /// What it finds in the request.
    Request,
    /// What it finds in the response.
    Response,
}

/// One `stick` line.
#[derive(Clone, Debug)]
pub struct StickRule {
    /// What the key is made from.
    pub key: Arc<rules::Expr>,
    /// The table.
    pub table: TableName,
    /// Whether it leads requests to the server that the table has.
    pub matches: bool,
    /// Whether it writes.
    pub store: StickStore,
    /// When; `None`: always.
    pub condition: Option<rules::Cond>,
}
