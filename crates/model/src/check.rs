//! Active health checks: what is sent and what is expected.

mod script;
mod status;

pub use script::{
    CheckAction, CheckConnect, CheckExpect, CheckPayload, CheckPort, CheckScript, CheckStep,
    CheckVar, HeaderMatch, HttpCheckSend, Match, TextHow, TextMatch, TextPattern, VarValue,
};
pub use status::{CheckStatus, Outcome};

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
    /// `check-deadline`: so long without a good check, and it is down whatever `fall` says.
    pub deadline: Option<Duration>,
    /// `addr`.
    pub addr: Option<Address>,
    /// `port`.
    pub port: Option<u16>,
    /// Whether checks speak TLS, and how.
    pub tls: Option<CheckTls>,
    /// How connections of rules speak TLS that ask for it (`connect … ssl`).
    pub script_tls: Option<CheckTls>,
    /// How checks speak the PROXY protocol, if they do.
    pub send_proxy: Option<SendProxy>,
    /// `check-via-socks4`: through the SOCKS proxy of the server.
    pub via_socks4: bool,
    /// `check-reuse-pool`: over an idle connection to the server, if there is one.
    pub reuse_pool: bool,
    /// `check-pool-conn-name`: the name of such a connection.
    pub pool_name: Option<Arc<str>>,
    /// `init-state`.
    pub init: InitState,
}

/// What a server counts as before its first check, and after maintenance (manual 3.1, `init-state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitState {
    /// Up, and down after `fall` bad checks.
    FullyUp,
    /// Up, and down after one bad check.
    #[default]
    Up,
    /// Down, and up after one good check.
    Down,
    /// Down, and up after `rise` good checks.
    FullyDown,
}

impl Default for Check {
    fn default() -> Self {
        Check {
            inter: Duration::from_secs(2),
            fastinter: None,
            downinter: None,
            rise: 2,
            fall: 3,
            deadline: None,
            addr: None,
            port: None,
            tls: None,
            script_tls: None,
            send_proxy: None,
            via_socks4: false,
            reuse_pool: false,
            pool_name: None,
            init: InitState::default(),
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
    /// Connect.
    #[default]
    Tcp,
    /// `option tcp-check` or `option httpchk` with their rules.
    Script(CheckScript),
    /// `option udp-check` with its rules: datagrams sent and expected.
    Udp(CheckScript),
    /// A conversation in a protocol that is known.
    Probe(Probe),
    /// A call of gRPC's health service for a service, or (an empty name) for the server itself
    /// (`option grpc-check`).
    Grpc(Arc<str>),
    /// An ICMP echo (`option icmp-check`).
    Echo,
    /// A handshake that is not finished (`option half-open-check`).
    HalfOpen,
    /// A program that is run (`option external-check`).
    External(External),
}

/// Protocols that checks speak themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `option redis-check`.
    Redis,
    /// `option smtpchk`: the command after the greeting.
    Smtp(Arc<str>),
    /// `option mysql-check`.
    MySql {
        /// `user`.
        user: Option<Arc<str>>,
        /// `pre-41`.
        old: bool,
    },
    /// `option pgsql-check user`.
    PgSql(Arc<str>),
    /// `option ldap-check`.
    Ldap,
    /// `option ssl-hello-chk`.
    TlsHello,
}

/// A program that checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// `external-check command`.
    pub command: Arc<str>,
    /// `external-check path`.
    pub path: Option<Arc<str>>,
    /// The first address of the section that has one, and its port.
    pub proxy: Option<(Arc<str>, Option<u16>)>,
}
