//! What virtual routers show of themselves, and what can be asked of them: plain data between who
//! runs them and who shows them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// One virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpStatus {
    /// The section's name.
    pub name: Arc<str>,
    /// Its interface.
    pub interface: Arc<str>,
    /// Its number.
    pub vrid: u8,
    /// The protocol's version.
    pub version: u8,
    /// Its group.
    pub group: Option<Arc<str>>,
    /// `initialize`, `backup` or `active`.
    pub state: &'static str,
    /// Why it is in that state.
    pub cause: &'static str,
    /// For how long.
    pub since: Duration,
    /// What it advertises.
    pub priority: u8,
    /// What is configured.
    pub configured: u8,
    /// Between two adverts.
    pub interval: Duration,
    /// Where its adverts come from.
    pub source: Option<IpAddr>,
    /// The addresses; whether each is on the interface, and whether it was put there by us.
    pub addresses: Vec<(String, bool, bool)>,
    /// The router last heard, its priority, and how long ago.
    pub heard: Option<(IpAddr, u8, Duration)>,
    /// An operator released it.
    pub released: bool,
    /// The second path keeps it from claiming.
    pub blocked: bool,
    /// What keeps a backup from being the active router that it would be otherwise.
    pub waits: Option<&'static str>,
    /// The same router over second paths: its state as it said last, and how long ago.
    pub peers: Vec<(SocketAddr, Option<(&'static str, Duration)>)>,
    /// What is tracked, and whether it is up.
    pub tracks: Vec<(String, bool)>,
    /// Why it takes no part.
    pub fault: Option<String>,
    /// How far its sessions and tables are towards its peers; empty without `sync`.
    pub sync: Vec<crate::SyncStatus>,
    /// Counters by name, in the order they are shown.
    pub counters: Vec<(&'static str, u64)>,
}

/// The virtual routers of this process.
pub trait VirtualRouters {
    /// All of them, in the order of the configuration; `None` when they do not answer.
    fn status(&self) -> Option<Vec<VrrpStatus>>;
    /// Lets another router be active (or no longer), by the section's name or all of them.
    fn release(&self, name: Option<&str>, released: bool) -> Result<(), String>;
}
