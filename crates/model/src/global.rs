//! The `global` section.

use crate::{Address, BindOptions, LogSetting};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a control socket's user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum CliLevel {
    /// Look at harmless things.
    User,
    /// Look at everything, reset maximum counters.
    #[default]
    Operator,
    /// Change things.
    Admin,
}

/// One `stats socket`.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsSocket {
    /// Where it listens.
    pub address: Address,
    /// Mode, owner, maxconn.
    pub options: Arc<BindOptions>,
    /// `level`.
    pub level: CliLevel,
    /// `expose-fd listeners`.
    pub expose_listeners: bool,
    /// `severity-output`.
    pub severity: ShowSeverity,
}

/// How the answers of a control socket show their gravity (`severity-output`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShowSeverity {
    /// Not at all.
    #[default]
    None,
    /// `[3]: `.
    Number,
    /// `[err]: `.
    Name,
}

/// How servers' idle connections are shared when a proxy does not say (`http-reuse`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum ReuseStrategy {
    Never,
    #[default]
    Safe,
    Aggressive,
    Always,
}

/// `tune.*` that change what users see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// `tune.bufsize`, bytes.
    pub bufsize: usize,
    /// `tune.maxrewrite`, bytes.
    pub maxrewrite: usize,
    /// `tune.packet.flows`: sessions that the packet plane remembers at most.
    pub packet_flows: u32,
    /// `tune.packet.attach`.
    pub packet_attach: crate::PacketAttach,
    /// `sysctl auto`: settings of the kernel that packets need are set, and restored by `packet detach`.
    pub sysctl_auto: bool,
    /// `tune.http.maxhdr`.
    pub http_maxhdr: usize,
    /// `tune.vars.*-max-size`, bytes.
    pub vars: rules::VarLimits,
    /// `tune.peers.max-updates-at-once`.
    pub peer_updates: u32,
    /// `tune.max-checks-per-thread`; 0 is no limit.
    pub max_checks: u32,
    /// `spread-checks`, percent.
    pub spread_checks: u32,
    /// `max-spread-checks`.
    pub max_spread_checks: Option<std::time::Duration>,
    /// `tune.http.logurilen`, bytes.
    pub http_logurilen: usize,
    /// `tune.http.cookielen`, bytes.
    pub http_cookielen: usize,
    /// `tune.idletimer`/`tune.pool-low-fd-ratio` have no effect here; this is `tune.maxaccept`.
    pub maxaccept: Option<u32>,
    /// `tune.rcvbuf.client` and so on: socket buffers in bytes.
    pub rcvbuf_client: Option<u32>,
    /// `tune.sndbuf.client`.
    pub sndbuf_client: Option<u32>,
    /// `tune.rcvbuf.server`.
    pub rcvbuf_server: Option<u32>,
    /// `tune.sndbuf.server`.
    pub sndbuf_server: Option<u32>,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            peer_updates: 200,
            max_checks: 0,
            spread_checks: 0,
            max_spread_checks: None,
            bufsize: 16384,
            maxrewrite: 1024,
            packet_flows: 1_000_000,
            packet_attach: crate::PacketAttach::Auto,
            sysctl_auto: false,
            http_maxhdr: 101,
            vars: rules::VarLimits::default(),
            http_logurilen: 1024,
            http_cookielen: 63,
            maxaccept: None,
            rcvbuf_client: None,
            sndbuf_client: None,
            rcvbuf_server: None,
            sndbuf_server: None,
        }
    }
}

/// The `global` section.
#[derive(Clone, Debug, Default)]
pub struct Global {
    /// `daemon`.
    pub daemon: bool,
    /// `master-worker`.
    pub master_worker: bool,
    /// `quiet`.
    pub quiet: bool,
    /// `zero-warning`.
    pub zero_warning: bool,
    /// `anonkey`: what names are hidden by in answers of the control socket; 0 is any number.
    pub anon_key: u32,
    /// `dns-accept-family`.
    pub dns_families: crate::Families,
    /// `maxconn`.
    pub maxconn: Option<u32>,
    /// `maxconnrate`, per second.
    pub maxconnrate: Option<u32>,
    /// `maxsessrate`, per second.
    pub maxsessrate: Option<u32>,
    /// `maxsslrate`, per second.
    pub maxsslrate: Option<u32>,
    /// `h1-case-adjust` and its file: names in lower case, and how they are written to whom wants it.
    pub header_case: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// `h1-accept-payload-with-any-method`.
    pub h1_any_payload: bool,
    /// `stats-file`: counters to begin with.
    pub stats_file: Option<Arc<str>>,
    /// `maxcomprate`, kilobytes that are compressed in a second at most; 0 is no limit.
    pub maxcomprate: u32,
    /// `maxcompcpuusage`, the percentage of busy time from which on nothing is compressed; 100 is none.
    pub maxcompcpuusage: Option<u32>,
    /// `harden.reject-privileged-ports.tcp`: connections from ports below 1024 are refused.
    pub reject_privileged: bool,
    /// `maxsslconn`.
    pub maxsslconn: Option<u32>,
    /// `ulimit-n`.
    pub ulimit_n: Option<u64>,
    /// `fd-hard-limit`.
    pub fd_hard_limit: Option<u64>,
    /// `nbthread`.
    pub nbthread: Option<u32>,
    /// `thread-groups`.
    pub thread_groups: Option<u32>,
    /// `cpu-map` lines: (thread numbers from 1, CPUs from 0); empty threads: all.
    pub cpu_map: Vec<(Vec<u32>, Vec<u32>)>,
    /// `user` looked up, or `uid`.
    pub uid: Option<u32>,
    /// `group` looked up, or `gid`.
    pub gid: Option<u32>,
    /// `user` as written.
    pub user: Option<Arc<str>>,
    /// `group` as written.
    pub group: Option<Arc<str>>,
    /// `chroot`.
    pub chroot: Option<Arc<str>>,
    /// `pidfile`.
    pub pidfile: Option<Arc<str>>,
    /// `node`.
    pub node: Option<Arc<str>>,
    /// `description`.
    pub description: Option<Arc<str>>,
    /// `localpeer`.
    pub localpeer: Option<Arc<str>>,
    /// `server-state-base`, `server-state-file`.
    pub server_state_base: Option<Arc<str>>,
    /// `server-state-file`.
    pub server_state_file: Option<Arc<str>>,
    /// `stats socket` lines.
    pub stats_sockets: Vec<StatsSocket>,
    /// `stats timeout`; 10 s when not set.
    pub stats_timeout: Option<Duration>,
    /// `stats maxconn`.
    pub stats_maxconn: Option<u32>,
    /// `log` lines.
    pub logs: Vec<Arc<LogSetting>>,
    /// `log-tag`.
    pub log_tag: Option<Arc<str>>,
    /// `log-send-hostname`; empty string: the machine's own name.
    pub log_send_hostname: Option<Arc<str>>,
    /// `hard-stop-after`.
    pub hard_stop_after: Option<Duration>,
    /// `grace`.
    pub grace: Option<Duration>,
    /// `spread-checks`, percent.
    pub spread_checks: u32,
    /// `pp2-never-send-local`.
    pub pp2_never_send_local: bool,
    /// All certificates of this configuration, changed by `set ssl cert`.
    pub certificates: Arc<tls::Store>,
    /// Lists of patterns, changed by `add map` and so on.
    pub lists: Arc<rules::PatternLists>,
    /// Variables of `setenv` and `presetenv` with their values; `None` removes (`unsetenv`).
    pub environment: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// `set-var`/`set-var-fmt` of the `proc` scope.
    pub set_vars: Vec<Arc<rules::Rule>>,
    /// `nosplice`.
    pub nosplice: bool,
    /// `noreuseport`.
    pub noreuseport: bool,
    /// `insecure-fork-wanted`, needed by external checks.
    pub insecure_fork: bool,
    /// `external-check`.
    pub external_check: bool,
    /// `tune.*`.
    pub tuning: Tuning,
}
