//! `timeout` lines.

use std::time::Duration;

/// `timeout` lines of one proxy; `None` is "not set", which for most means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // each field is the keyword of its name, manual section 4.2
pub struct Timeouts {
    pub check: Option<Duration>,
    pub client: Option<Duration>,
    pub client_fin: Option<Duration>,
    pub client_hs: Option<Duration>,
    pub connect: Option<Duration>,
    pub http_keep_alive: Option<Duration>,
    pub http_request: Option<Duration>,
    pub queue: Option<Duration>,
    pub server: Option<Duration>,
    pub server_fin: Option<Duration>,
    pub tarpit: Option<Duration>,
    pub tunnel: Option<Duration>,
    pub session: Option<Duration>,
    pub session_syn: Option<Duration>,
    pub session_fin: Option<Duration>,
    pub session_closed: Option<Duration>,
    pub session_udp: Option<Duration>,
    pub session_icmp: Option<Duration>,
}
