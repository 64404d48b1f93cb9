//! `log`, `log-format`, `option httplog`.

use crate::Address;
use std::sync::Arc;

/// Syslog severity, most severe first (RFC 5424 section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LogLevel {
    Emerg,
    Alert,
    Crit,
    Err,
    Warning,
    Notice,
    Info,
    Debug,
}

/// Syslog facility code, 0 (`kern`) to 23 (`local7`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFacility(pub u8);

/// How a line is framed (`format` on a `log` line).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)] // names of manual section 4.2, `log`
pub enum LogFormatKind {
    Local,
    #[default]
    Rfc3164,
    Rfc5424,
    Priority,
    Short,
    Timed,
    Iso,
    Raw,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// UDP address, UNIX datagram socket, or inherited descriptor.
    Address(Address),
    /// `stdout`.
    Stdout,
    /// `stderr`.
    Stderr,
}

/// One `log` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSetting {
    /// Where lines go.
    pub target: LogTarget,
    /// `len`: longer lines are cut; bytes.
    pub max_len: usize,
    /// `format`.
    pub format: LogFormatKind,
    /// `sample RANGES:SIZE`: which of each `size` lines are sent.
    pub sample: Option<(Vec<(u32, u32)>, u32)>,
    /// Facility.
    pub facility: LogFacility,
    /// Lines less severe than this are not sent.
    pub level: LogLevel,
    /// Lines more severe than this are sent as this.
    pub min_level: LogLevel,
}

/// What a proxy's traffic lines look like.
#[derive(Clone, Debug, Default)]
pub enum LogFormatSpec {
    /// Nothing said: "Connect from …".
    #[default]
    Default,
    /// `option tcplog`.
    Tcp,
    /// `option httplog`.
    Http,
    /// `option httplog clf`.
    HttpClf,
    /// `option httpslog`.
    Https,
    /// `option smtplog`.
    Smtp,
    /// `log-format …`.
    Custom(Arc<rules::LogFormat>),
}
