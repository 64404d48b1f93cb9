//! Failover: which of several machines answers for an address.
//!
//! [`machine`] is VRRP's election without sockets or clock, [`router`] binds several of them into
//! groups that move together. [`Service`] is the thread that runs them: raw sockets, netlink,
//! announcements, tracking. [`sync`] keeps a table alike on two machines.

mod accept;
mod check;
pub mod doctor;
mod door;
pub mod guardian;
mod instance;
mod link;
pub mod machine;
mod notify;
mod peer;
mod rights;
pub mod router;
mod routes;
mod running;
mod service;
mod socket;
pub mod sync;
mod track;
mod virtual_mac;

pub use running::is_left_behind;
pub use service::{Say, Service, Start};
pub use sync::{Replica, Synchroniser};
pub use track::Watch;
