//! `server` lines, with `default-server` already merged in.

use crate::{Address, AgentCheck, Check, Resolution, ServerTls};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// `observe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Observe {
    Layer4,
    Layer7,
}

/// `on-error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum OnError {
    FastInter,
    #[default]
    FailCheck,
    SuddenDeath,
    MarkDown,
}

/// `on-marked-down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MarkedDown {
    ShutdownSessions,
    Drain,
}

/// How the PROXY protocol tells a server of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendProxy {
    /// A line of text.
    V1,
    /// A binary header, with what `proxy-v2-options` adds.
    V2 {
        /// `crc32c`.
        crc32c: bool,
        /// `authority`: the name the client asked for by SNI.
        authority: bool,
        /// `unique-id`: what the frontend's `unique-id-format` gives.
        unique_id: bool,
        /// `ssl`: what is known of TLS to the client.
        ssl: bool,
        /// `cert-cn`: with the common name of its certificate.
        cert_cn: bool,
        /// `ssl-cipher`: with the cipher suite.
        ssl_cipher: bool,
        /// `cert-sig`: with the kind of signature on the certificate that the client was shown.
        cert_sig: bool,
        /// `cert-key`: with the kind of key in it.
        cert_key: bool,
        /// `pp2-never-send-local`: checks name the ends of their own connection.
        never_local: bool,
    },
}

/// `source` (of a server or a backend).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceAddress {
    /// The address to connect from; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// The end of a port range, if one was given.
    pub last_port: Option<u16>,
    /// `interface NAME`.
    pub interface: Option<Arc<str>>,
    /// `usesrc`.
    pub usesrc: Option<UseSource>,
}

/// `usesrc`: the address, not one of ours, that a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UseSource {
    /// The client's, with its port.
    Client,
    /// The client's, from any port.
    ClientIp,
    /// This one; port 0 is any.
    Address(SocketAddr),
    /// One that a header of the request names.
    Header {
        /// The header, a list of addresses.
        name: Arc<str>,
        /// Which of them: from 1, or from the end where negative.
        occurrence: i32,
    },
}

/// `hash-key`: what its places on the ring of `hash-type consistent` and in a Maglev table follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HashKey {
    /// Its number on a ring, its name in a Maglev table.
    #[default]
    Id,
    /// Its IP address.
    Addr,
    /// Its IP address and port.
    AddrPort,
}

/// One server; rare settings are boxed, because a hundred thousand of these is normal.
#[derive(Clone, Debug)]
pub struct Server {
    /// Unique in its backend.
    pub name: Arc<str>,
    /// `id`, unique in its backend; given in order from 1 where not set.
    pub id: u32,
    /// Where it is.
    pub address: Address,
    /// The host as written when it was a name, else `None` (shown as the fqdn).
    pub hostname: Option<Arc<str>>,
    /// `resolvers` and its like: how that name is resolved while the process runs.
    pub resolution: Option<Arc<Resolution>>,
    /// `weight`, 0 to 256.
    pub weight: u16,
    /// `priority`, its level with `balance priority`: 1, served first, to 256.
    pub priority: u16,
    /// `hash-key`.
    pub hash_key: HashKey,
    /// `backup`.
    pub backup: bool,
    /// `disabled`: starts in maintenance.
    pub disabled: bool,
    /// `maxconn`; 0 is no limit.
    pub maxconn: u32,
    /// `minconn`.
    pub minconn: u32,
    /// `maxqueue`; 0 is no limit.
    pub maxqueue: u32,
    /// `cookie`.
    pub cookie: Option<Arc<str>>,
    /// `check`; boxed settings are shared between the servers of a `default-server`.
    pub check: Option<Arc<Check>>,
    /// `agent-check`.
    pub agent: Option<Arc<AgentCheck>>,
    /// `track BACKEND/SERVER`.
    pub track: Option<Arc<str>>,
    /// `ssl …`, where that is on.
    pub tls: Option<Arc<ServerTls>>,
    /// The same where it is known how, on or off (`set server … ssl`).
    pub tls_known: Option<Arc<ServerTls>>,
    /// `source`.
    pub source: Option<Arc<SourceAddress>>,
    /// `slowstart`.
    pub slowstart: Option<Duration>,
    /// `pool-max-conn`; `None`: no limit.
    pub pool_max_conn: Option<u32>,
    /// `pool-purge-delay`; 5 s when not set.
    pub pool_purge_delay: Duration,
    /// `max-reuse`; `None`: no limit.
    pub max_reuse: Option<u32>,
    /// `send-proxy`, `send-proxy-v2`.
    pub send_proxy: Option<SendProxy>,
    /// `set-proxy-v2-tlv-fmt`: more extensions of the header, by type.
    pub proxy_extensions: Option<Arc<Vec<(u8, rules::LogFormat)>>>,
    /// `xclient`: a server of SMTP is told of the client by `XCLIENT`.
    pub xclient: bool,
    /// `observe`.
    pub observe: Option<Observe>,
    /// `error-limit`; 10 when not set.
    pub error_limit: u32,
    /// `on-error`.
    pub on_error: OnError,
    /// `on-marked-down`.
    pub on_marked_down: Option<MarkedDown>,
    /// `on-marked-up shutdown-backup-sessions`.
    pub shutdown_backup_sessions: bool,
    /// `guid`: what it is called in files of statistics.
    pub guid: Option<Arc<str>>,
    /// `redir PREFIX`.
    pub redir: Option<Arc<str>>,
    /// `non-stick`: no `stick` rule remembers it.
    pub non_stick: bool,
    /// `socks4`: the SOCKS proxy that connections to it go through.
    pub socks4: Option<SocketAddr>,
    /// `tcp-ut`.
    pub tcp_user_timeout: Option<Duration>,
    /// `tfo`: the first bytes go with the packet that opens the connection (RFC 7413).
    pub tfo: bool,
    /// `cc`: the congestion control of TCP, by the system's name.
    pub congestion: Option<Arc<str>>,
    /// `tcp-md5sig`: the word that segments are signed with (RFC 2385), 80 bytes at most.
    pub signed: Option<Arc<str>>,
    /// `shard`, of peers.
    pub shard: u16,
    /// `namespace`: the network namespace to connect from.
    pub namespace: Option<Arc<str>>,
    /// `vlan N`, in packet mode: the VLAN that it is in.
    pub vlan: Option<u16>,
}
