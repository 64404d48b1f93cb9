//! Formats of bytes between machines, read and written without I/O.

pub mod agent;
pub mod announce;
pub mod dns;
pub mod ftp;
pub mod grpc;
pub mod icmp;
pub mod netscaler;
pub mod peers;
pub mod probe;
pub mod proxy;
pub mod rdp;
pub mod smtp;
pub mod socks;
pub mod syn;
pub mod vrrp;
