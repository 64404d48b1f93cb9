//! What a valid configuration means: plain typed data, without positions, text or I/O.
//!
//! The `config` crate fills it from HAProxy's language; `state` and `proxy` read it. Nothing here
//! checks anything: a [`Config`] that exists is valid (every referenced backend, ACL and file
//! was found when it was made). Names are the identity of things: a server is `backend/name`.

mod address;
mod balance;
mod bind;
mod check;
mod compression;
mod diff;
mod error_pages;
mod ftp;
mod global;
mod guard;
mod log;
mod mail;
mod packet;
mod peers;
mod persistence;
mod proxy;
mod resolvers;
mod server;
mod smtp;
mod stick;
mod timeouts;
mod tls;
mod users;
mod vrrp;

pub use crate::tls::{CheckTls, ServerTls};
pub use address::{Address, Host, PortSpec, SocketKind};
pub use balance::{
    Balance, HashBalance, HashFunction, HashKind, HashMethod, PacketPart, PreserveAffinity,
};
pub use bind::{Bind, BindOptions};
pub use check::{
    AgentCheck, Check, CheckAction, CheckConnect, CheckExpect, CheckKind, CheckPayload, CheckPort,
    CheckScript, CheckStatus, CheckStep, CheckVar, External, HeaderMatch, HttpCheckSend, InitState,
    Match, Outcome, Probe, TextHow, TextMatch, TextPattern, VarValue,
};
pub use compression::{Compression, CompressionAlgo};
pub use diff::{Diff, diff};
pub use error_pages::{ErrorLocation, ErrorPage, ErrorPages};
pub use ftp::Ftp;
pub use global::{CliLevel, Global, ReuseStrategy, ShowSeverity, StatsSocket, Tuning};
pub use guard::{Guard, GuardLimit, LimitOf, LimitWhat, SynCookies};
pub use log::{LogFacility, LogFormatKind, LogFormatSpec, LogLevel, LogSetting, LogTarget};
pub use mail::{EmailAlert, Mailers};
pub use packet::{
    Forward, NoFlow, PacketAttach, Packets, Pool, SessionTimeouts, Snat, SourcePersistence,
    Transport,
};
pub use peers::{Peer, Peers};
pub use persistence::{CookieMode, PersistRule, PersistenceCookie};
pub use proxy::{
    Backend, CaptureSlot, ConnectionMode, Eject, ForwardFor, Frontend, HttpOptions, HttpReuse,
    InitAddr, LoadState, Mode, OriginalTo, Proxy, ProxyKind, Redispatch, RestrictNames, RetryOn,
    StatsPage, SwitchRule, SwitchTarget,
};
pub use resolvers::{Families, Family, Hold, Nameserver, Resolution, Resolvers, names_service};
pub use server::{
    HashKey, MarkedDown, Observe, OnError, SendProxy, Server, SourceAddress, UseSource,
};
pub use smtp::Smtp;
pub use stick::{ServerKey, StickRule, StickStore, StickTable, Stored};
pub use timeouts::Timeouts;

pub use users::{Password, User, UserList};
pub use vrrp::{
    PeerKey, Script, SyncSessions, Track, Tracked, VirtualAddress, VirtualRoute, VirtualRule, Vrrp,
};

use std::collections::BTreeMap;
use std::sync::Arc;

/// A whole, valid configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The `global` section.
    pub global: Global,
    /// Every `frontend`, `backend` and `listen`, in the order of the files.
    pub proxies: Vec<Arc<Proxy>>,
    /// `http-errors` sections by name.
    pub http_errors: BTreeMap<Arc<str>, Arc<ErrorPages>>,
    /// `mailers` sections by name.
    pub mailers: BTreeMap<Arc<str>, Arc<Mailers>>,
    /// `resolvers` sections by name.
    pub resolvers: BTreeMap<Arc<str>, Arc<Resolvers>>,
    /// `userlist` sections by name.
    pub userlists: BTreeMap<Arc<str>, UserList>,
    /// `vrrp` sections, in the order of the files.
    pub vrrp: Vec<Arc<Vrrp>>,
    /// `peers` sections in which this machine has its place, in the order of the files.
    pub peers: Vec<Arc<Peers>>,
    /// All stick tables; the names differ.
    pub tables: Vec<Arc<StickTable>>,
}

impl Config {
    /// Whether anything would be listened on or answered for: a proxy, the control socket, virtual
    /// addresses.
    pub fn listens(&self) -> bool {
        let open = |p: &Arc<Proxy>| {
            !p.disabled && p.frontend.as_ref().is_some_and(|f| !f.binds.is_empty())
        };
        !self.global.stats_sockets.is_empty()
            || !self.vrrp.is_empty()
            || self.proxies.iter().any(open)
    }

    /// The proxy of that name which has a backend side.
    pub fn backend(&self, name: &str) -> Option<&Arc<Proxy>> {
        self.proxies
            .iter()
            .find(|p| p.backend.is_some() && &*p.name == name)
    }

    /// The proxy of that name which has a frontend side.
    pub fn frontend(&self, name: &str) -> Option<&Arc<Proxy>> {
        self.proxies
            .iter()
            .find(|p| p.frontend.is_some() && &*p.name == name)
    }
}
