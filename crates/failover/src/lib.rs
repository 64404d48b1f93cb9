//! Failover: which of several machines answers for an address.
//!
//! [`machine`] is VRRP's election without sockets or clock, [`router`] binds several of them into
//! groups that move together.

pub mod machine;
pub mod router;
