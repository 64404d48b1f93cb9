//! Active health checks: what is sent and what is expected.

use crate::{Address, CheckTls, SendProxy};
use std::sync::Arc;
use std::time::Duration;

/// Settings of one server's active check; times as configured, not spread.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// `inter`: between two checks while the state is sure; 2 s when not set.
    pub inter: Duration,
    /// `fastinter`: while the state is changing.
    pub fastinter: Option<Duration>,
    /// `downinter`: while the server is down.
    pub downinter: Option<Duration>,
    /// `rise`: good checks in a row until it is up; 2 when not set.
    pub rise: u32,
    /// `fall`: bad checks in a row until it is down; 3 when not set.
    pub fall: u32,
    /// `addr`.
    pub addr: Option<Address>,
    /// `port`.
    pub port: Option<u16>,
    /// Whether checks speak TLS, and how.
    pub tls: Option<CheckTls>,
    /// How checks speak the PROXY protocol, if they do.
    pub send_proxy: Option<SendProxy>,
}

impl Default for Check {
    fn default() -> Self {
        Check {
            inter: Duration::from_secs(2),
            fastinter: None,
            downinter: None,
            rise: 2,
            fall: 3,
            addr: None,
            port: None,
            tls: None,
            send_proxy: None,
        }
    }
}

/// `agent-check` of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentCheck {
    /// `agent-port`.
    pub port: u16,
    /// `agent-addr`.
    pub addr: Option<Address>,
    /// `agent-inter`.
    pub inter: Duration,
    /// `agent-send`.
    pub send: Option<Arc<str>>,
}

/// What a backend's checks do on the wire.
#[derive(Clone, Debug, Default)]
pub enum CheckKind {
    /// Connect; with `tcp-check` lines, the script.
    #[default]
    Tcp,
    /// `option tcp-check` with its script.
    TcpScript(Vec<TcpCheckStep>),
    /// `option udp-check` with its script: datagrams sent and expected.
    Udp(Vec<TcpCheckStep>),
    /// `option httpchk` with `http-check` lines; never empty of a send step.
    Http(Vec<HttpCheckStep>),
}

/// One line of a `tcp-check` script.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // manual section 4.2, `tcp-check`
pub enum TcpCheckStep {
    Connect {
        port: Option<u16>,
        ssl: bool,
        send_proxy: bool,
        linger: bool,
    },
    Send(Arc<[u8]>),
    SendFormat(Arc<rules::LogFormat>),
    Expect(Expect),
    Comment(Arc<str>),
}

/// One step of an HTTP check.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // manual section 4.2, `http-check`
pub enum HttpCheckStep {
    Connect {
        port: Option<u16>,
        ssl: Option<bool>,
        sni: Option<Arc<str>>,
        send_proxy: bool,
    },
    Send(HttpCheckSend),
    Expect(Expect),
}

/// `http-check send`, or the words of `option httpchk`.
#[derive(Clone, Debug)]
pub struct HttpCheckSend {
    /// `meth`; `OPTIONS` when not set.
    pub method: Arc<str>,
    /// `uri` or `uri-lf`; `/` when not set.
    pub uri: Arc<rules::LogFormat>,
    /// `ver`: `HTTP/1.0` when not set.
    pub version: Arc<str>,
    /// `hdr NAME FMT`, in order.
    pub headers: Vec<(Arc<str>, Arc<rules::LogFormat>)>,
    /// `body` or `body-lf`.
    pub body: Option<Arc<rules::LogFormat>>,
}

/// What an answer must be; `negated` turns the result round.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // manual section 4.2, `http-check expect`, `tcp-check expect`
pub enum Expect {
    /// Status codes and ranges, for example 200-399.
    Status {
        negated: bool,
        ranges: Vec<(u16, u16)>,
    },
    /// The status line's code as text matches the expression.
    StatusRegex { negated: bool, regex: Arc<str> },
    /// The body holds this.
    String { negated: bool, needle: Arc<[u8]> },
    /// The body matches.
    Regex { negated: bool, regex: Arc<str> },
    /// The stream holds these bytes (`binary`).
    Binary { negated: bool, needle: Arc<[u8]> },
}
