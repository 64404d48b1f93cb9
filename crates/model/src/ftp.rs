//! What only `mode ftp` has.

use std::net::Ipv4Addr;
use std::sync::Arc;

/// Settings of a frontend in FTP mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ftp {
    /// `ftp-greeting`: the text of the first reply; a plain one when not set.
    pub greeting: Option<Arc<str>>,
    /// `ftp-data-address`: the address that answers to `PASV` name; that of the control connection
    /// when not set.
    pub data_address: Option<Ipv4Addr>,
    /// `ftp-data-ports`: the first and the last port for data connections of clients; the system
    /// chooses when not set.
    pub data_ports: Option<(u16, u16)>,
}
