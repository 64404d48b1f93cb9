//! What the rules may see and change.

use crate::date::Zone;
use crate::stick::Tables;
use crate::vars::{Condition, VarName, VarScope};
use crate::{Overrides, Sample, SessionInfo, UniqueId, Vars};
use http::{Head, h1};
use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// A moment by the calendar: Unix time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wall {
    /// Seconds since 1970.
    pub secs: i64,
    /// And microseconds.
    pub micros: u32,
}

/// What the kernel knows of a TCP connection (tcp(7), `TCP_INFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // counters by their names in the manual, section 7.3.3
pub struct TcpInfo {
    /// Smoothed round-trip time, microseconds.
    pub rtt_us: u32,
    /// Its variance, microseconds.
    pub rttvar_us: u32,
    pub unacked: u32,
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    pub fackets: u32,
    pub reordering: u32,
}

/// What a handshake agreed on.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// The name the client asked for.
    pub sni: Option<String>,
    /// What its first message lists, where `tune.ssl.capture-buffer-size` has that kept.
    pub offers: Option<Box<tls::Offers>>,
    /// What both sides agreed on.
    pub agreed: tls::Agreed,
    /// What ended the handshake, where it failed.
    pub fault: tls::Fault,
}

/// What has been decided of one request so far.
#[derive(Clone, Debug, Default)]
pub struct StreamInfo {
    /// The backend's name.
    pub backend: Option<Arc<str>>,
    /// The backend's number.
    pub backend_id: u32,
    /// The server's name.
    pub server: Option<Arc<str>>,
    /// The server's number.
    pub server_id: u32,
    /// What the handshake with the server agreed on.
    pub server_tls: Option<Arc<TlsInfo>>,
    /// Whether the session had a request before this one.
    pub follows: bool,
    /// `set-priority-class`, -2047 to 2047.
    pub priority_class: i32,
    /// `set-priority-offset`, milliseconds, -524287 to 524287.
    pub priority_offset: i32,
    /// `set-log-level`, where bytes or mail pass; a request of HTTP keeps its own.
    pub log_level: crate::LogLevelChange,
    /// `unique-id-format`.
    pub unique_id: UniqueId,
    /// Whether more bytes may come before the rules have to decide.
    pub inspection: Inspection,
    /// Where rules differ from the configuration and the connection.
    pub overrides: Overrides,
    /// How many waited before it in the server's queue, and in the backend's.
    pub queued: [u32; 2],
    /// The coding that the response was compressed with here.
    pub compressed: Option<&'static str>,
    /// What a client of `mode smtp` has said.
    pub smtp: Option<Box<SmtpInfo>>,
    /// What a client of `mode ftp` has said.
    pub ftp: Option<Box<FtpInfo>>,
}

/// What a client of FTP has said so far, for rules and logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FtpInfo {
    /// The name in `USER`.
    pub user: Box<[u8]>,
    /// Whether its data connections are protected (`PROT P`).
    pub protected: bool,
}

/// What a client of SMTP has said so far (RFC 5321), for rules and logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmtpInfo {
    /// The command that is being judged.
    pub command: &'static str,
    /// The name in `HELO` or `EHLO`.
    pub helo: Option<Box<[u8]>>,
    /// Whether it was `EHLO`.
    pub extended: bool,
    /// The address in `MAIL FROM`; empty for reports of failures.
    pub from: Option<Box<[u8]>>,
    /// The address in the last `RCPT TO`.
    pub rcpt: Option<Box<[u8]>>,
    /// Recipients that were taken for this message.
    pub rcpts: u32,
    /// `SIZE=` of `MAIL FROM`, bytes.
    pub size: Option<u64>,
}

impl StreamInfo {
    /// Takes what rules said of the rank in a queue.
    pub fn prioritise(&mut self, effects: &crate::action::Effects) {
        self.priority_class = effects.priority_class.unwrap_or(self.priority_class);
        self.priority_offset = effects.priority_offset.unwrap_or(self.priority_offset);
    }
}

/// The wait of `tcp-request inspect-delay`.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// More may come.
    pub waiting: bool,
    /// A value was asked for that more bytes may change: the rules' decision does not count yet.
    pub undecided: Cell<bool>,
    /// The bytes are those of a session that may be anything: a request of HTTP is looked for in them
    /// where one is asked for.
    pub bytes: bool,
    /// That request, once it is known whether it is one. Boxed as a whole: sessions of bytes are small.
    request: OnceCell<Box<Option<Head>>>,
}

impl Inspection {
    /// Notes that more bytes may change what was asked for; whether they may still come.
    pub fn wait(&self) -> bool {
        if self.waiting {
            self.undecided.set(true);
        }
        self.waiting
    }

    /// The rules have decided: what is asked from now on is answered with what is there.
    pub fn settle(&mut self) {
        self.waiting = false;
        self.undecided.set(false);
    }

    /// The request of HTTP/1 that these bytes begin with.
    fn request(&self, bytes: &[u8]) -> Option<&Head> {
        if !self.bytes {
            return None;
        }
        if self.request.get().is_none() {
            let mut head = Head::default();
            match h1::parse_request(bytes, &h1::ParseOptions::default(), &mut head) {
                Ok(None) => {
                    self.wait();
                }
                // Neither becomes anything else by what follows.
                known => {
                    let head = known.is_ok().then_some(head);
                    let _ = self.request.set(Box::new(head));
                }
            }
        }
        self.request.get()?.as_ref().as_ref()
    }
}

/// A time that a configuration sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // names of the manual
pub enum Timeout {
    Client,
    Connect,
    Queue,
    Server,
    Tarpit,
    Tunnel,
}

/// Where the converter `debug` may tell what it sees.
pub const SINKS: &[&str] = &["buf0", "stdout", "stderr"];

/// The running system, as far as rules ask for it. Names that do not exist give `None`.
pub trait Facts {
    /// A number that no other request or session has: the next one after those so far.
    fn next_number(&self) -> u64 {
        0
    }
    /// How many lines a frontend has logged.
    fn lines(&self, _frontend: &str) -> u64 {
        0
    }
    /// Usable servers of a backend.
    fn nbsrv(&self, _backend: &str) -> Option<i64> {
        None
    }
    /// Sessions of a backend.
    fn be_conn(&self, _backend: &str) -> Option<i64> {
        None
    }
    /// Places that a backend's usable servers have free; -1 when one has no limit.
    fn be_conn_free(&self, _backend: &str) -> Option<i64> {
        None
    }
    /// Sessions of a frontend.
    fn fe_conn(&self, _frontend: &str) -> Option<i64> {
        None
    }
    /// A frontend's default backend.
    fn fe_defbe(&self, _frontend: &str) -> Option<String> {
        None
    }
    /// Requests waiting in a backend, its servers' queues included.
    fn queue(&self, _backend: &str) -> Option<i64> {
        None
    }
    /// Free places of a backend's servers and their queues; -1 when one has no limit.
    fn connslots(&self, _backend: &str) -> Option<i64> {
        None
    }
    /// New sessions of a backend in the last second.
    fn be_sess_rate(&self, _backend: &str) -> Option<i64> {
        None
    }
    /// New sessions of a frontend in the last second.
    fn fe_sess_rate(&self, _frontend: &str) -> Option<i64> {
        None
    }
    /// Requests of a frontend in the last second.
    fn fe_req_rate(&self, _frontend: &str) -> Option<i64> {
        None
    }
    /// A time of a proxy in milliseconds; 0 where none is set.
    fn timeout(&self, _proxy: &str, _which: Timeout) -> Option<i64> {
        None
    }
    /// `retries` of a backend.
    fn retries(&self, _backend: &str) -> Option<i64> {
        None
    }
    /// Sessions of a server.
    fn srv_conn(&self, _backend: &str, _server: &str) -> Option<i64> {
        None
    }
    /// Places that a server has free; -1 without a limit.
    fn srv_conn_free(&self, _backend: &str, _server: &str) -> Option<i64> {
        None
    }
    /// Whether a server is usable.
    fn srv_is_up(&self, _backend: &str, _server: &str) -> Option<bool> {
        None
    }
    /// Requests waiting for a server.
    fn srv_queue(&self, _backend: &str, _server: &str) -> Option<i64> {
        None
    }
    /// New sessions of a server in the last second.
    fn srv_sess_rate(&self, _backend: &str, _server: &str) -> Option<i64> {
        None
    }
    /// A server's weight now.
    fn srv_weight(&self, _backend: &str, _server: &str) -> Option<i64> {
        None
    }
    /// A server's weight in the configuration.
    fn srv_iweight(&self, _backend: &str, _server: &str) -> Option<i64> {
        None
    }
    /// Connections of the process.
    fn act_conn(&self) -> i64 {
        0
    }
    /// An environment variable.
    fn env(&self, _name: &str) -> Option<String> {
        None
    }
    /// This machine's name.
    fn hostname(&self) -> &str {
        "localhost"
    }
    /// The addresses of a connection by its descriptor: ours and the peer's.
    fn addresses(&self, _descriptor: i32) -> Option<(SocketAddr, SocketAddr)> {
        None
    }
    /// Our address of a connection by its descriptor, known when the peer is gone as well.
    fn own_address(&self, _descriptor: i32) -> Option<SocketAddr> {
        None
    }
    /// Whether an address is one of this machine.
    fn is_local(&self, _ip: IpAddr) -> bool {
        false
    }
    /// What the kernel knows of a TCP connection.
    fn tcp_info(&self, _descriptor: i32) -> Option<TcpInfo> {
        None
    }
    /// Tells one of [`SINKS`] a line.
    fn tell(&self, _sink: &str, _now: Wall, _line: String) {}
    /// The packet that began a connection, by its descriptor, where it was saved (`tcp-ss`).
    fn saved_syn(&self, _descriptor: i32) -> Option<Vec<u8>> {
        None
    }
    /// Connections of a listener by its number, of a frontend.
    fn listener_conn(&self, _frontend: &str, _listener: u32) -> Option<i64> {
        None
    }
    /// The local time zone at a moment (Unix seconds).
    fn local_zone(&self, secs: i64) -> Zone {
        Zone::utc(secs)
    }
    /// Number of workers.
    fn nbthread(&self) -> i64 {
        1
    }
    /// The variables of the process, shared by all sessions.
    fn vars(&self) -> Option<&Mutex<Vars>> {
        None
    }
    /// The stick tables.
    fn tables(&self) -> Option<&dyn Tables> {
        None
    }
    /// The process's number.
    fn pid(&self) -> u32 {
        1
    }
    /// Whether the process is stopping.
    fn stopping(&self) -> bool {
        false
    }
    /// Seconds since the process started.
    fn uptime(&self) -> i64 {
        0
    }
    /// The groups of the user whom these credentials prove in a userlist; `None` when they prove
    /// nobody.
    fn groups(&self, _list: &str, _user: &[u8], _password: &[u8]) -> Option<&[Arc<str>]> {
        None
    }
}

/// Facts of a system that does not run.
pub struct NoFacts;

impl Facts for NoFacts {}

/// The times of one session in milliseconds; -1 is not reached (manual section 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // names of the manual
pub struct Timers {
    pub th: i64,
    pub ti: i64,
    pub tr_request: i64,
    pub tw: i64,
    pub tc: i64,
    pub tr: i64,
    pub td: i64,
    pub ta: i64,
    pub tt: i64,
}

impl Timers {
    /// Handshake, idle and request time together (`%Tq`).
    pub fn tq(&self) -> i64 {
        match self.tr_request {
            -1 => -1,
            request => self.th.max(0) + self.ti.max(0) + request,
        }
    }

    /// The total time without the idle time (`%Tu`).
    pub fn tu(&self) -> i64 {
        match self.tt {
            -1 => -1,
            total => total - self.ti.max(0),
        }
    }
}

/// What log tags show that only the engine knows.
#[derive(Debug, Default)]
#[allow(missing_docs)] // each field is the tag's name in the manual, section 8.2.6
pub struct LogFacts<'a> {
    pub request: Wall,
    pub end: Wall,
    pub timers: Option<Timers>,
    pub termination: [u8; 4],
    pub status: Option<u16>,
    pub bytes_read: u64,
    pub bytes_uploaded: u64,
    /// Bytes sent to the server and received from it, where they were counted apart from the client's.
    pub server_bytes: Option<[u64; 2]>,
    pub actconn: u64,
    pub feconn: u64,
    pub beconn: u64,
    pub srv_conn: u64,
    pub retries: u32,
    pub redispatched: bool,
    pub srv_queue: u32,
    pub backend_queue: u32,
    /// The request line as received; empty when there was none that could be read.
    pub request_line: &'a [u8],
    /// `name=value` that `capture cookie` found in the request and in the response.
    pub cookie_captures: [Option<&'a [u8]>; 2],
    pub server_address: Option<SocketAddr>,
    /// Whether the line says "+" at numbers that still grow (`option logasap`).
    pub unfinished: bool,
    /// Whether the frontend speaks TLS (the tilde after its name).
    pub tls: bool,
}

/// Slots of captures; those with nothing in them are `None`.
pub type Captured<'a> = &'a [Option<Box<[u8]>>];

/// What the rules may see and change while one request is handled.
pub struct Ctx<'a> {
    /// The connection.
    pub session: &'a SessionInfo,
    /// What has been decided.
    pub stream: &'a StreamInfo,
    /// Now, by the calendar.
    pub now: Wall,
    /// The request, once there is one.
    pub req: Option<&'a mut Head>,
    /// The response, once there is one.
    pub res: Option<&'a mut Head>,
    /// The request's body as far as it was waited for.
    pub req_body: &'a [u8],
    /// What the server said, as far as it was waited for.
    pub res_body: &'a [u8],
    /// What was captured of the request and of the response before these rules.
    pub captures: [Captured<'a>; 2],
    /// Variables of the session and the request.
    pub vars: &'a RefCell<Vars>,
    /// The running system.
    pub facts: &'a dyn Facts,
    /// Set while a log line is written.
    pub log: Option<&'a LogFacts<'a>>,
    /// State of the random generator.
    pub rng: &'a Cell<u64>,
}

impl<'a> Ctx<'a> {
    /// A connection whose messages are not there (yet): nothing is parsed, buffered, captured or logged.
    pub fn bare(
        session: &'a SessionInfo,
        stream: &'a StreamInfo,
        now: Wall,
        vars: &'a RefCell<Vars>,
        facts: &'a dyn Facts,
        rng: &'a Cell<u64>,
    ) -> Ctx<'a> {
        Ctx {
            session,
            stream,
            now,
            req: None,
            res: None,
            req_body: &[],
            res_body: &[],
            captures: [&[], &[]],
            vars,
            facts,
            log: None,
            rng,
        }
    }

    /// The request, to look at.
    pub fn request(&self) -> Option<&Head> {
        match self.req.as_deref() {
            None => self.stream.inspection.request(self.req_body),
            request => request,
        }
    }

    /// The response, to look at.
    pub fn response(&self) -> Option<&Head> {
        self.res.as_deref()
    }

    /// The client's address as it counts now (`set-src`).
    pub fn src(&self) -> Option<SocketAddr> {
        self.stream.overrides.src(self.session)
    }

    /// The address the client connected to as it counts now (`set-dst`).
    pub fn dst(&self) -> Option<SocketAddr> {
        let set = self.stream.overrides.given(|g| g.dst.get());
        set.or_else(|| self.connected_to())
    }

    /// The address that the client connected to. Where the listening socket has all addresses, the system
    /// is asked which it was, when somebody wants to know.
    pub fn connected_to(&self) -> Option<SocketAddr> {
        let asked = || {
            self.session.ends.src()?;
            self.facts.own_address(self.session.descriptor?.number())
        };
        self.session.ends.dst().or_else(asked)
    }

    /// A variable's value, if it was set.
    pub fn var(&self, name: &VarName) -> Option<Sample<'static>> {
        self.vars_of(name, |vars| vars.get(name).cloned())
    }

    /// Sets a variable where all conditions hold and there is room; whether it did.
    pub fn set_var(&self, name: &VarName, value: Sample<'static>, when: &[Condition]) -> bool {
        self.vars_of(name, |vars| vars.set_if(name, value, when))
    }

    /// Forgets a variable.
    pub fn unset_var(&self, name: &VarName) {
        self.vars_of(name, |vars| vars.unset(name));
    }

    /// The variables that a name belongs to: the process's, or the session's.
    fn vars_of<T>(&self, name: &VarName, f: impl FnOnce(&mut Vars) -> T) -> T {
        match self.facts.vars() {
            Some(shared) if name.scope == VarScope::Proc => {
                // Who panicked while setting one left it as it was.
                f(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
            }
            _ => f(&mut self.vars.borrow_mut()),
        }
    }

    /// The next random number.
    pub fn random(&self) -> u64 {
        random(self.rng)
    }
}

/// The next random number of a generator with this state (xorshift64*, Vigna 2016).
pub fn random(state: &Cell<u64>) -> u64 {
    let mut x = state.get().max(1);
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    state.set(x);
    x.wrapping_mul(0x2545_F491_4F6C_DD1D)
}
