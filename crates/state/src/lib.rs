//! What lives while the proxy runs: servers, counters, limits, queues, schedulers, health.
//!
//! Pure logic over atomics: it reads no clock and no socket; time comes in as an argument. Locks
//! stand only off the way of an ordinary request (the queue of a full server, a health change).

mod backend;
mod counters;
pub mod cut;
pub mod doctor;
mod eject;
mod errors;
mod events;
mod facts;
mod follow;
mod frontend;
mod generation;
mod guarded;
pub mod hash;
mod haste;
pub mod health;
mod loads;
mod maglev;
pub mod names;
pub mod news;
mod pace;
pub mod peers;
mod process;
mod queue;
mod replication;
mod resolvers;
mod ring;
mod server;
mod sessions;
pub mod stick;
mod vrrp;
mod wheel;

pub use backend::{Backend, Pick, PickKey, Slot, Ticket, Turns};
pub use counters::{
    Average, Counter, Gauge, PerWorker, ProxyCounters, Rate, ServerCounters, StatusClasses,
};
pub use eject::Ejection;
pub use errors::{Captured, Errors};
pub use facts::View;
pub use frontend::{Frontend, SessionGuard, Socket};
pub use generation::Generation;
pub use guarded::{GuardCounts, Guarded};
pub use haste::Haste;
pub use maglev::{ENTRIES as MAGLEV_ENTRIES, Maglev};
pub use process::{Machine, Process, ProcessCounters, RateLimit};
pub use queue::Priority;
pub use replication::{Replication, Role, SyncStatus};
pub use resolvers::{NameserverCounters, Resolvers};
pub use server::{Admin, Server, Target};
pub use sessions::{NoSessions, SessionFacts, Sessions, Stage, Which};
pub use vrrp::{VirtualRouters, VrrpStatus};
