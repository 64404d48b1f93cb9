//! From configuration text to the model: text, words, keyword tables, a valid [`model::Config`].
//!
//! Reads files, names and users only through [`Source`]. Never stops at the first mistake: every
//! one is reported with its place and its remedy, up to a cap.

mod address;
mod bind;
pub mod condition;
mod control;
mod diag;
mod draft;
mod fingerprint;
mod global;
mod keyword;
mod lexer;
mod line;
mod load;
mod log;
mod removed;
mod server;
mod source;
mod tls;
mod units;
mod vrrp;

pub use control::stats_socket_from_words;
pub use diag::{Diagnostic, Report, Severity};
pub use load::{Flags, LoadRequest, Loaded, load};
pub use server::from_words as server_from_words;
pub use source::Source;

/// Reads a time as the configuration writes it, such as `500ms` or `5s`; a plain number is
/// milliseconds.
pub fn time(text: &str) -> Result<std::time::Duration, String> {
    units::time(text, 1_000)
}

/// The tables, for documentation.
pub mod table {
    pub use crate::bind::BIND_WORDS;
    pub use crate::control::{CONTROL_WORDS, ControlWord};
    pub use crate::global::{GLOBAL_KEYWORDS, GlobalKeyword, TUNES_WITHOUT_EFFECT};
    pub use crate::keyword::{OPTIONS, keywords};
    pub use crate::server::{
        SERVER_CHECK_WORDS, SERVER_POOL_WORDS, SERVER_PROXY_WORDS, SERVER_SOCKET_WORDS,
        SERVER_WORDS,
    };
    pub use crate::tls::{BIND_TLS_WORDS, SERVER_TLS_WORDS};
    pub use crate::vrrp::VRRP_KEYWORDS;
}
