//! TLS without I/O: certificates and their choice, the settings of both sides, records in and
//! out. rustls on aws-lc-rs does the protocol; what is here is what a load balancer's
//! configuration asks of it.

mod acceptor;
mod connection;
mod connector;
mod hello;
mod material;
mod names;
mod settings;
mod store;
mod verify;
mod x509;

pub use acceptor::{Acceptor, Choice};
pub use connection::{Agreed, Connection, Received};
pub use connector::{Connector, PeerName};
pub use hello::{Hello, Offers, Peek, offers, peek};
pub use material::{Material, is_companion};
pub use names::{cipher_name, named};
pub use settings::{
    AcceptorSettings, ConnectorSettings, ListEntry, Preferences, Verify, Version, Versions,
};
pub use store::{Read, Shown, Store};
pub use verify::code_of;
pub use x509::{Facts, facts, public_key, sha1};

use rustls::crypto::CryptoProvider;
use std::sync::{Arc, LazyLock};

/// The cryptography of every connection.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    &PROVIDER
}
