//! `mailers` sections and `email-alert` (manual section 3.6).

use crate::LogLevel;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A `mailers` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailers {
    /// `timeout mail`: for one mail, from the connection on.
    pub timeout: Duration,
    /// `mailer` lines: name and address. Each gets every mail.
    pub mailers: Vec<(Arc<str>, SocketAddr)>,
}

impl Default for Mailers {
    fn default() -> Mailers {
        Mailers {
            timeout: Duration::from_secs(10),
            mailers: Vec::new(),
        }
    }
}

/// `email-alert` lines that are complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailAlert {
    /// Who sends the mails on.
    pub mailers: Arc<Mailers>,
    /// The sender.
    pub from: Arc<str>,
    /// The receiver.
    pub to: Arc<str>,
    /// What we call ourselves; the machine's name where it is not set.
    pub hostname: Option<Arc<str>>,
    /// What is less grave is not told.
    pub level: LogLevel,
}
