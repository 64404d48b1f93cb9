//! TLS without I/O: certificates and their choice, the settings of both sides, records in and
//! out. rustls on aws-lc-rs does the protocol; what is here is what a load balancer's
//! configuration asks of it.

mod acceptor;
mod connection;
mod connector;
mod entry;
mod fault;
mod hello;
mod judge;
mod material;
mod names;
mod notes;
mod ocsp;
mod resolver;
mod sessions;
mod settings;
mod signing;
mod store;
mod tickets;
mod verify;
mod x509;

pub use acceptor::{Acceptor, Choice};
pub use connection::{Agreed, Connection, Random, Received};
pub use connector::{Connector, PeerName};
pub use entry::{Folders, based};
pub use fault::Fault;
pub use hello::{Hello, Offers, Peek, offers, peek};
pub use material::{ChainRules, Material, Parts, certificates, is_companion};
pub use names::{cipher_name, named};
pub use ocsp::{Answer, CertificateId, Responder, Single, read as read_ocsp};
pub use sessions::session_lookups;
pub use settings::{
    AcceptorSettings, ConnectorSettings, ListEntry, Preferences, Source, Verify, Version, Versions,
};
pub use store::{AddFault, DelFault, ExtraFiles, Kind, KindFault, ListLine, Lists, Read, Store};
pub use tickets::{KeyFault, TicketKey, TicketKeys};
pub use verify::{Authorities, ClientJudge, ERRORS, Ignored, Numbers, Verdict, code_of};
pub use x509::{Facts, ListFacts, facts, list_facts, public_key, sha1};

pub use rustls::{CertificateError, Error};

use rustls::crypto::CryptoProvider;
use std::sync::{Arc, LazyLock};

/// Unix seconds.
fn now() -> i64 {
    let now = rustls::pki_types::UnixTime::now().as_secs();
    i64::try_from(now).unwrap_or(i64::MAX)
}

/// What base64 (RFC 4648 section 4) stands for; white space counts for nothing.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine;
    let text: Vec<u8> = text
        .iter()
        .copied()
        .filter(|b| !b.is_ascii_whitespace())
        .collect();
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// Appends a section of PEM (RFC 7468).
fn pem(out: &mut String, label: &str, der: &[u8]) {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    for row in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(row));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
}

/// The cryptography of every connection.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    &PROVIDER
}
