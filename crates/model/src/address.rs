//! Addresses as the language writes them (manual section 11, `bind`, `server`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What kind of socket an address stands for (`tcp@`, `udp@`, ...).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SocketKind {
    /// A byte stream: TCP, or a stream UNIX socket.
    #[default]
    Stream,
    /// Datagrams: UDP, or a datagram UNIX socket.
    Datagram,
}

/// The host part of an Internet address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// All addresses of both families (`*`, or nothing before the colon) or of IPv4 (`0.0.0.0`).
    Any,
    /// All addresses of IPv6 (`::`), with IPv4 where `v4v6` asks for it or the system has it so.
    Any6,
    /// One address.
    Ip(IpAddr),
    /// A name that start-up could not resolve (or was told not to): the server starts without an address.
    Name(Arc<str>),
}

/// The port part of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortSpec {
    /// No port was given: a server takes the port the client connected to.
    None,
    /// One port.
    Fixed(u16),
    /// `first-last`, only for `bind`.
    Range(u16, u16),
    /// `+n` or `-n`: the client's destination port shifted, only for `server`.
    Offset(i32),
}

/// One address of a `bind`, `server`, `log`, `stats socket` or `source`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `host:port`.
    Inet {
        /// The host part.
        host: Host,
        /// The port part.
        port: PortSpec,
        /// Stream or datagram.
        kind: SocketKind,
    },
    /// A UNIX socket by path.
    Unix {
        /// Where the socket stands in the file system.
        path: Arc<str>,
        /// Stream or datagram.
        kind: SocketKind,
    },
    /// A socket of Linux's abstract namespace.
    Abstract {
        /// The name without its leading NUL.
        name: Arc<str>,
        /// Whether trailing NULs pad the name to the full `sun_path` (`abns@`), or not (`abnsz@`).
        padded: bool,
    },
    /// A descriptor that this process inherited.
    Fd(i32),
}

impl Address {
    /// `host:port` of a known socket address, for a stream.
    pub fn from_socket(addr: SocketAddr) -> Self {
        Address::Inet {
            host: Host::Ip(addr.ip()),
            port: PortSpec::Fixed(addr.port()),
            kind: SocketKind::Stream,
        }
    }

    /// Whether it says where to connect to: its port is told, or it needs none.
    pub fn names_port(&self) -> bool {
        match self {
            Address::Inet { port, .. } => {
                matches!(port, PortSpec::Fixed(_) | PortSpec::Range(..))
            }
            _ => true,
        }
    }

    /// Whether it is for datagrams.
    pub fn is_datagram(&self) -> bool {
        match self {
            Address::Inet { kind, .. } | Address::Unix { kind, .. } => {
                *kind == SocketKind::Datagram
            }
            Address::Abstract { .. } | Address::Fd(_) => false,
        }
    }

    /// The socket address, when host and port are both fixed.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet {
                host: Host::Ip(ip),
                port: PortSpec::Fixed(port),
                ..
            } => Some(SocketAddr::new(*ip, *port)),
            _ => None,
        }
    }
}
