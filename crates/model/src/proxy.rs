//! `frontend`, `backend`, `listen`.

use crate::{
    Balance, Bind, CheckKind, ErrorPages, HashBalance, HashFunction, HashMethod, LogFormatSpec,
    LogLevel, LogSetting, PreserveAffinity, Server, SourceAddress, Timeouts,
};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use crate::ReuseStrategy as HttpReuse;

/// Which section header made this proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ProxyKind {
    Frontend,
    Backend,
    Listen,
}

impl ProxyKind {
    /// What log lines call it.
    pub fn in_lines(self) -> &'static str {
        match self {
            ProxyKind::Frontend => "frontend",
            ProxyKind::Backend => "backend",
            ProxyKind::Listen => "proxy",
        }
    }
}

/// `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Mode {
    #[default]
    Tcp,
    Http,
    Udp,
    Ftp,
    Smtp,
    /// In the kernel: no connection ends here.
    Packet,
}

impl Mode {
    /// As the language and the statistics write it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Tcp => "tcp",
            Mode::Http => "http",
            Mode::Packet => "packet",
            Mode::Udp => "udp",
            Mode::Ftp => "ftp",
            Mode::Smtp => "smtp",
        }
    }
}

/// One proxy. `listen` has both sides.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Its name, unique among proxies of its side.
    pub name: Arc<str>,
    /// `id`, unique among all; given in order from 2 where not set (as HAProxy numbers them).
    pub id: u32,
    /// The section.
    pub kind: ProxyKind,
    /// Of all that the proxy was read from: its lines and those of its defaults and of `global`,
    /// the files they name, the addresses that names had.
    pub fingerprint: u64,
    /// Where its section starts, `file:line`.
    pub origin: Arc<str>,
    /// `mode`.
    pub mode: Mode,
    /// `disabled`.
    pub disabled: bool,
    /// `guid`: what it is called in files of statistics.
    pub guid: Option<Arc<str>>,
    /// `description`.
    pub description: Option<Arc<str>>,
    /// `timeout …`.
    pub timeouts: Timeouts,
    /// `log` lines (with `log global` resolved).
    pub logs: Vec<Arc<LogSetting>>,
    /// `log-tag`.
    pub log_tag: Option<Arc<str>>,
    /// `errorfile`, `errorloc`, `errorfiles`.
    pub errors: Arc<ErrorPages>,
    /// HTTP behaviour options valid on both sides.
    pub http: HttpOptions,
    /// `stats …`: the page this proxy serves.
    pub stats: Option<Arc<StatsPage>>,
    /// `http-request` rules, in order (`redirect` and `reqadd` kinds included).
    pub http_request: Vec<rules::Rule>,
    /// `http-response` rules.
    pub http_response: Vec<rules::Rule>,
    /// `http-after-response` rules.
    pub http_after_response: Vec<rules::Rule>,
    /// `tcp-request content` rules.
    pub tcp_request_content: Vec<rules::Rule>,
    /// `tcp-response content` rules.
    pub tcp_response_content: Vec<rules::Rule>,
    /// `option independent-streams`: what is sent to a peer is no sign of its life.
    pub independent_streams: bool,
    /// `tcp-request inspect-delay`.
    pub inspect_delay: Option<Duration>,
    /// `tcp-response inspect-delay`.
    pub response_inspect_delay: Option<Duration>,
    /// `guard` lines, in packet mode.
    pub guard: crate::Guard,
    /// The side that faces clients.
    pub frontend: Option<Box<Frontend>>,
    /// The side that faces servers.
    pub backend: Option<Box<Backend>>,
}

impl Proxy {
    /// The backend of what no `use_backend` leads elsewhere: that of `default_backend`, or the other
    /// side of a `listen` section. A frontend and a backend may share a name and nothing more.
    pub fn leads_to(&self) -> Option<&Arc<str>> {
        let default = self.frontend.as_ref()?.default_backend.as_ref();
        default.or_else(|| self.backend.as_ref().map(|_| &self.name))
    }
}

/// How long connections live (`option http-keep-alive|http-server-close|httpclose`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum ConnectionMode {
    #[default]
    KeepAlive,
    ServerClose,
    Close,
}

/// Where a backend's servers find the state they had in the process before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum LoadState {
    #[default]
    None,
    Global,
    Local,
}

/// `option forwardfor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardFor {
    /// `header NAME`; `X-Forwarded-For` when not set.
    pub header: Arc<str>,
    /// `except NET`: (address, prefix length).
    pub except: Option<(IpAddr, u8)>,
    /// `if-none`.
    pub if_none: bool,
}

/// `option originalto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalTo {
    /// `header NAME`; `X-Original-To` when not set.
    pub header: Arc<str>,
    /// `except NET`.
    pub except: Option<(IpAddr, u8)>,
}

/// HTTP options; on a `listen` both sides are the same value. Where frontend and backend differ
/// the stricter connection mode wins, and boolean options count from either side as the manual says.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// Keep-alive mode.
    pub connection: ConnectionMode,
    /// `option forwardfor`.
    pub forwardfor: Option<Arc<ForwardFor>>,
    /// `option http-use-proxy-header`: to requests for a proxy `Proxy-Connection` is what `Connection` is
    /// to others.
    pub proxy_header: bool,
    /// `option forwarded` (RFC 7239) in its plain form.
    pub forwarded: bool,
    /// `option originalto`.
    pub originalto: Option<Arc<OriginalTo>>,
    /// `http-send-name-header NAME`.
    pub send_name_header: Option<Arc<str>>,
    /// `option accept-unsafe-violations-in-http-request` (also the older name).
    pub unsafe_request: bool,
    /// `option accept-unsafe-violations-in-http-response`.
    pub unsafe_response: bool,
    /// `option http-pretend-keepalive`.
    pub pretend_keepalive: bool,
    /// `option http-buffer-request`.
    pub buffer_request: bool,
    /// `option http-no-delay`.
    pub no_delay: bool,
    /// `option http-ignore-probes`.
    pub ignore_probes: bool,
    /// `option h1-case-adjust-bogus-client`.
    pub recase_to_client: bool,
    /// `option h1-case-adjust-bogus-server`.
    pub recase_to_server: bool,
    /// `option http-use-proxy-header`.
    pub use_proxy_header: bool,
    /// `compression …`.
    pub compression: Option<Arc<crate::Compression>>,
    /// `option http-restrict-req-hdr-names preserve|delete|reject`; `None` preserve.
    pub restrict_names: Option<RestrictNames>,
}

/// What happens to request headers whose names are not `[A-Za-z0-9-]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RestrictNames {
    Delete,
    Reject,
}

/// Where a `use_backend` or `default_backend` leads.
#[derive(Clone, Debug)]
pub enum SwitchTarget {
    /// A backend's name, known to exist.
    Name(Arc<str>),
    /// A log-format that gives a name at run time.
    Format(Arc<rules::LogFormat>),
}

/// One `use_backend` line (or, in a backend, `use-server`).
#[derive(Clone, Debug)]
pub struct SwitchRule {
    /// Where to.
    pub target: SwitchTarget,
    /// When; `None`: always.
    pub condition: Option<rules::Cond>,
    /// The line it was read from, `file:number: text`.
    pub line: Arc<str>,
}

/// A slot for what is kept of a message (`capture request header`, `declare capture`, `capture … len`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSlot {
    /// The header whose last line is kept; otherwise rules put something there.
    pub header: Option<Arc<str>>,
    /// Bytes that are kept at most.
    pub len: usize,
}

impl CaptureSlot {
    /// A slot for a header.
    pub fn header(name: &str, len: usize) -> CaptureSlot {
        CaptureSlot {
            header: Some(name.into()),
            len,
        }
    }

    /// A slot for rules.
    pub fn declared(len: usize) -> CaptureSlot {
        CaptureSlot { header: None, len }
    }
}

/// The side that faces clients.
#[derive(Clone, Debug, Default)]
pub struct Frontend {
    /// `bind` lines, expanded.
    pub binds: Vec<Bind>,
    /// `snat` lines, in packet mode.
    pub snat: Vec<crate::Snat>,
    /// `maxconn`; `None`: the process's.
    pub maxconn: Option<u32>,
    /// `backlog`.
    pub backlog: Option<u32>,
    /// `rate-limit sessions`, per second.
    pub rate_limit_sessions: Option<u32>,
    /// `default_backend`; a `listen` leads to itself when `None`.
    pub default_backend: Option<Arc<str>>,
    /// `use_backend` lines in order.
    pub switches: Vec<SwitchRule>,
    /// `tcp-request connection` rules.
    pub tcp_request_connection: Vec<rules::Rule>,
    /// `tcp-request session` rules.
    pub tcp_request_session: Vec<rules::Rule>,
    /// `log-format`, `option httplog` and so on.
    pub log_format: LogFormatSpec,
    /// `error-log-format`.
    pub error_log_format: Option<Arc<rules::LogFormat>>,
    /// `log-format-sd`: what targets of format rfc5424 have as structured data.
    pub structured_log_format: Option<Arc<rules::LogFormat>>,
    /// `unique-id-format`.
    pub unique_id_format: Option<Arc<rules::LogFormat>>,
    /// `unique-id-header`.
    pub unique_id_header: Option<Arc<str>>,
    /// Slots for values of requests, in the order of their lines.
    pub request_captures: Vec<CaptureSlot>,
    /// Slots for values of responses, in the order of their lines.
    pub response_captures: Vec<CaptureSlot>,
    /// `capture cookie NAME len N`; the name with its trailing `*` removed and noted.
    pub capture_cookie: Option<(Arc<str>, bool, usize)>,
    /// `monitor-uri`.
    pub monitor_uri: Option<Arc<str>>,
    /// `monitor fail if …`.
    pub monitor_fail: Vec<rules::Cond>,
    /// `force-be-switch`: where one of these holds, rules lead to backends that are not published.
    pub force_switch: Vec<rules::Cond>,
    /// `option socket-stats`: each socket is counted by itself, too.
    pub socket_stats: bool,
    /// `option dontlognull`.
    pub dontlognull: bool,
    /// `option dontlog-normal`.
    pub dontlog_normal: bool,
    /// `option logasap`.
    pub logasap: bool,
    /// `option log-separate-errors`.
    pub log_separate_errors: bool,
    /// `option clitcpka` and its numbers: (count, idle, interval).
    pub keepalive: Option<(Option<u32>, Option<Duration>, Option<Duration>)>,
    /// `option nolinger`.
    pub nolinger: bool,
    /// `option http-drop-response-trailers`.
    pub drop_trailers: bool,
    /// `option idle-close-on-response`: at a soft stop connections that wait are left to their next
    /// response.
    pub idle_close_on_response: bool,
    /// `option tcp-smart-accept`.
    pub smart_accept: bool,
    /// `max-session-srv-conns`: connections to servers that are kept for one client alone; 5 when not set.
    pub max_session_srv_conns: Option<u32>,
    /// What `mode ftp` says and takes.
    pub ftp: crate::Ftp,
    /// `smtp-request` rules.
    pub smtp_request: Vec<rules::Rule>,
    /// What `mode smtp` says and takes.
    pub smtp: crate::Smtp,
    /// `log-steps`, `level` changes are per rule; the level of normal lines.
    pub normal_log_level: Option<LogLevel>,
}

/// `init-addr` method, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum InitAddr {
    Last,
    Libc,
    None,
    Ip(IpAddr),
}

/// `option redispatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redispatch {
    /// Positive n: on every n-th retry; negative -1: on the last retry only (the default of the option).
    pub interval: i32,
}

/// `retry-on`, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOn(pub u32);

impl RetryOn {
    /// `conn-failure`, the default.
    pub const CONN_FAILURE: u32 = 1;
    /// `empty-response`.
    pub const EMPTY_RESPONSE: u32 = 1 << 1;
    /// `junk-response`.
    pub const JUNK_RESPONSE: u32 = 1 << 2;
    /// `response-timeout`.
    pub const RESPONSE_TIMEOUT: u32 = 1 << 3;
    /// `0rtt-rejected`.
    pub const EARLY_DATA: u32 = 1 << 4;
    /// `401`; further statuses follow as listed by [`RetryOn::STATUSES`].
    pub const STATUS_SHIFT: u32 = 8;
    /// Statuses in the order of their bits from [`RetryOn::STATUS_SHIFT`] on.
    pub const STATUSES: [u16; 13] = [
        401, 403, 404, 405, 407, 408, 421, 425, 429, 500, 501, 502, 503,
    ];
    /// `504`'s bit follows those of `STATUSES`.
    pub const STATUS_504: u32 = 1 << 21;

    /// Whether `bit` is set.
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    /// The bit of a status code, 0 when that status cannot be retried on.
    pub fn status_bit(status: u16) -> u32 {
        if status == 504 {
            return Self::STATUS_504;
        }
        match Self::STATUSES.iter().position(|s| *s == status) {
            Some(i) => 1 << (Self::STATUS_SHIFT + i as u32),
            None => 0,
        }
    }
}

impl Default for RetryOn {
    fn default() -> Self {
        RetryOn(Self::CONN_FAILURE)
    }
}

/// The side that faces servers.
#[derive(Clone, Debug)]
pub struct Backend {
    /// `dispatch`, `option transparent`: a place that all sessions go to instead of a server.
    pub direct: Option<Arc<crate::Server>>,
    /// `be-unpublished`: no rule of a frontend leads here until it is published.
    pub unpublished: bool,
    /// `option checkcache`: a response that a cache might keep must not set a cookie.
    pub check_cache: bool,
    /// `email-alert`, where it is complete.
    pub email: Option<Arc<crate::EmailAlert>>,
    /// `balance`.
    pub balance: Balance,
    /// `hash-type` method.
    pub hash_method: HashMethod,
    /// `hash-type` function and modifier.
    pub hash_function: HashFunction,
    /// `hash-balance-factor`.
    pub hash_balance: HashBalance,
    /// `hash-preserve-affinity`.
    pub preserve_affinity: PreserveAffinity,
    /// `balance priority`: servers of the next level serve, too, while fewer than this many can be
    /// chosen of the levels before.
    pub min_active: Option<u32>,
    /// `server` lines in order (`server-template` expanded).
    pub servers: Vec<Server>,
    /// `use-server` rules.
    pub use_server: Vec<SwitchRule>,
    /// `retries`; 3 when not set.
    pub retries: u32,
    /// `option redispatch`.
    pub redispatch: Option<Redispatch>,
    /// `retry-on`.
    pub retry_on: RetryOn,
    /// `http-reuse`.
    pub reuse: HttpReuse,
    /// `option allbackups`.
    pub allbackups: bool,
    /// `option abortonclose`.
    pub abortonclose: bool,
    /// `option prefer-last-server`.
    pub prefer_last_server: bool,
    /// `option http-drop-request-trailers`.
    pub drop_trailers: bool,
    /// The acknowledgement that ends a handshake does not wait for the first bytes (`no option
    /// tcp-smart-connect`).
    pub prompt_ack: bool,
    /// `max-keep-alive-queue`: how many may wait for that server before another is preferred.
    pub max_keep_alive_queue: Option<u32>,
    /// `cookie`.
    pub cookie: Option<Arc<crate::PersistenceCookie>>,
    /// `dynamic-cookie-key`.
    pub dynamic_cookie_key: Option<Arc<str>>,
    /// `force-persist` and `ignore-persist`, in order.
    pub persist_rules: Vec<crate::PersistRule>,
    /// `persist rdp-cookie`, the cookie's name.
    pub rdp_cookie: Option<Arc<str>>,
    /// `option persist`: a cookie counts even while its server is down.
    pub persist: bool,
    /// `stick` rules, in order.
    pub stick_rules: Vec<crate::StickRule>,
    /// `fullconn`.
    pub fullconn: Option<u32>,
    /// `eject`.
    pub eject: Option<Eject>,
    /// What checks do.
    pub check: Arc<CheckKind>,
    /// `http-check disable-on-404`.
    pub disable_on_404: bool,
    /// `http-check send-state`.
    pub check_send_state: bool,
    /// `option log-health-checks`.
    pub log_health_checks: bool,
    /// `source`.
    pub source: Option<Arc<SourceAddress>>,
    /// `option srvtcpka` and its numbers.
    pub keepalive: Option<(Option<u32>, Option<Duration>, Option<Duration>)>,
    /// `option nolinger`.
    pub nolinger: bool,
    /// `udp-responses`: answers to each datagram after which a session is over; `None`: it lasts
    /// until it is idle.
    pub udp_responses: Option<u32>,
    /// `load-server-state-from-file`.
    pub load_state: LoadState,
    /// `server-state-file-name`; the proxy's own name where it is not set.
    pub state_file: Option<Arc<str>>,
    /// What `mode packet` does with packets.
    pub packets: crate::Packets,
}

impl Default for Backend {
    fn default() -> Self {
        Backend {
            direct: None,
            unpublished: false,
            check_cache: false,
            email: None,
            balance: Balance::default(),
            hash_method: HashMethod::default(),
            hash_function: HashFunction::default(),
            hash_balance: HashBalance::default(),
            preserve_affinity: PreserveAffinity::default(),
            min_active: None,
            servers: Vec::new(),
            use_server: Vec::new(),
            retries: 3,
            redispatch: None,
            retry_on: RetryOn::default(),
            reuse: HttpReuse::default(),
            allbackups: false,
            abortonclose: false,
            prefer_last_server: false,
            drop_trailers: false,
            prompt_ack: false,
            max_keep_alive_queue: None,
            cookie: None,
            dynamic_cookie_key: None,
            persist_rules: Vec::new(),
            rdp_cookie: None,
            persist: false,
            stick_rules: Vec::new(),
            fullconn: None,
            eject: None,
            check: Arc::default(),
            disable_on_404: false,
            check_send_state: false,
            log_health_checks: false,
            source: None,
            keepalive: None,
            nolinger: false,
            udp_responses: None,
            load_state: LoadState::default(),
            state_file: None,
            packets: crate::Packets::default(),
        }
    }
}

/// `stats …` lines: the page a proxy answers with.
#[derive(Clone, Debug)]
pub struct StatsPage {
    /// `stats uri` prefix; `/haproxy?stats` when only `stats enable` is given.
    pub uri: Arc<str>,
    /// `stats refresh`.
    pub refresh: Option<Duration>,
    /// `stats realm`.
    pub realm: Option<Arc<str>>,
    /// `stats auth USER:PASSWORD`.
    pub auth: Vec<(Arc<str>, Arc<str>)>,
    /// `stats scope`; `.` has been replaced by the proxy's own name.
    pub scope: Vec<Arc<str>>,
    /// `stats hide-version`.
    pub hide_version: bool,
    /// `stats show-legends`.
    pub show_legends: bool,
    /// `stats show-node [NAME]`.
    pub show_node: Option<Arc<str>>,
    /// `stats show-desc [TEXT]`.
    pub show_desc: Option<Arc<str>>,
    /// `stats show-modules`.
    pub show_modules: bool,
    /// `stats admin if …`: when changes are allowed.
    pub admin: Vec<rules::Cond>,
    /// `stats http-request` rules.
    pub http_request: Vec<rules::Rule>,
}

/// `eject`: a server whose traffic fails takes no new clients for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eject {
    /// `errors`: so many in a row.
    pub errors: u32,
    /// `for`: how long, the first time.
    pub time: std::time::Duration,
    /// `at-most`: percent of the servers that may be out at a time.
    pub at_most: u8,
}
