//! Failover: which of several machines answers for an address.
//!
//! [`machine`] is VRRP's election without sockets or clock, [`router`] binds several of them into
//! groups that move together. [`Service`] is the thread that runs them: raw sockets, netlink,
//! announcements, tracking.

mod check;
mod instance;
mod link;
pub mod machine;
mod notify;
mod peer;
pub mod router;
mod running;
mod service;
mod socket;
mod track;

pub use service::{Say, Service};
pub use track::Watch;
