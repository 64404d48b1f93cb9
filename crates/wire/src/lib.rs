//! Formats of bytes between machines, read and written without I/O.

pub mod announce;
pub mod proxy;
pub mod vrrp;
