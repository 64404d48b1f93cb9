//! TLS on the way to a server.

use std::sync::Arc;

/// `ssl …` of a `server` line, or `starttls …`.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// `starttls`: TLS begins once the server has agreed, not with the connection.
    pub offered: bool,
    /// Makes the connections.
    pub connector: Arc<tls::Connector>,
    /// `sni EXPR`.
    pub sni: Option<Arc<rules::Expr>>,
}

/// TLS of a server's checks.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckTls {
    /// Makes the connections.
    pub connector: Arc<tls::Connector>,
    /// `check-sni`.
    pub sni: Option<Arc<str>>,
    /// `check-sni-auto`: without `check-sni` the name is that of the Host field that a check sends.
    pub sni_auto: bool,
}
