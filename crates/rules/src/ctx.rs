//! What the rules may see and change.

use crate::Vars;
use http::Head;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;

/// A moment by the calendar: Unix time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wall {
    /// Seconds since 1970.
    pub secs: i64,
    /// And microseconds.
    pub micros: u32,
}

/// The connection a request came on: fixed while it lasts.
#[derive(Clone, Debug, Default)]
pub struct SessionInfo {
    /// The client's address; `None` on a UNIX socket.
    pub src: Option<SocketAddr>,
    /// The address it connected to.
    pub dst: Option<SocketAddr>,
    /// The frontend's name.
    pub frontend: Arc<str>,
    /// The frontend's number.
    pub frontend_id: u32,
    /// The listener's name, empty when it has none.
    pub listener: Arc<str>,
    /// The listener's number.
    pub listener_id: u32,
    /// When it was accepted.
    pub accepted: Wall,
    /// What TLS agreed on, if there is TLS.
    pub tls: Option<Arc<TlsInfo>>,
}

/// What a handshake agreed on.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// The name the client asked for.
    pub sni: Option<String>,
    /// `TLSv1.3` and so on.
    pub version: &'static str,
    /// The cipher suite's OpenSSL name.
    pub cipher: &'static str,
    /// Bits of its key.
    pub key_bits: u16,
    /// The protocol agreed on.
    pub alpn: Option<String>,
    /// Whether the session was resumed.
    pub resumed: bool,
    /// The client's certificate, DER.
    pub peer_certificate: Option<Vec<u8>>,
    /// OpenSSL's verify result; 0 is good.
    pub verify: u32,
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
    /// `unique-id-format`, rendered.
    pub unique_id: Option<Box<[u8]>>,
    /// Whether more bytes may come before the rules have to decide.
    pub inspection: Inspection,
}

/// The wait of `tcp-request inspect-delay`.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// More may come.
    pub waiting: bool,
    /// A value was asked for that more bytes may change: the rules' decision does not count yet.
    pub undecided: Cell<bool>,
}

impl Inspection {
    /// Notes that more bytes may change what was asked for; whether they may still come.
    pub fn wait(&self) -> bool {
        if self.waiting {
            self.undecided.set(true);
        }
        self.waiting
    }
}

/// The running system, as far as rules ask for it. Names that do not exist give `None`.
pub trait Facts {
    /// Usable servers of a backend.
    fn nbsrv(&self, backend: &str) -> Option<i64>;
    /// Sessions of a backend.
    fn be_conn(&self, backend: &str) -> Option<i64>;
    /// Sessions of a frontend.
    fn fe_conn(&self, frontend: &str) -> Option<i64>;
    /// Requests waiting in a backend, its servers' queues included.
    fn queue(&self, backend: &str) -> Option<i64>;
    /// Free places of a backend's servers; -1 when one has no limit.
    fn connslots(&self, backend: &str) -> Option<i64>;
    /// New sessions of a backend in the last second.
    fn be_sess_rate(&self, backend: &str) -> Option<i64>;
    /// New sessions of a frontend in the last second.
    fn fe_sess_rate(&self, frontend: &str) -> Option<i64>;
    /// Requests of a frontend in the last second.
    fn fe_req_rate(&self, frontend: &str) -> Option<i64>;
    /// Sessions of a server.
    fn srv_conn(&self, backend: &str, server: &str) -> Option<i64>;
    /// Whether a server is usable.
    fn srv_is_up(&self, backend: &str, server: &str) -> Option<bool>;
    /// Requests waiting for a server.
    fn srv_queue(&self, backend: &str, server: &str) -> Option<i64>;
    /// A server's weight now.
    fn srv_weight(&self, backend: &str, server: &str) -> Option<i64>;
    /// Connections of the process.
    fn act_conn(&self) -> i64;
    /// An environment variable.
    fn env(&self, name: &str) -> Option<String>;
    /// This machine's name.
    fn hostname(&self) -> &str;
    /// Number of workers.
    fn nbthread(&self) -> i64;
    /// The groups of the user whom these credentials prove in a userlist; `None` when they prove
    /// nobody.
    fn groups(&self, _list: &str, _user: &[u8], _password: &[u8]) -> Option<&[Arc<str>]> {
        None
    }
}

/// Facts of a system that does not run.
pub struct NoFacts;

impl Facts for NoFacts {
    fn nbsrv(&self, _: &str) -> Option<i64> {
        None
    }
    fn be_conn(&self, _: &str) -> Option<i64> {
        None
    }
    fn fe_conn(&self, _: &str) -> Option<i64> {
        None
    }
    fn queue(&self, _: &str) -> Option<i64> {
        None
    }
    fn connslots(&self, _: &str) -> Option<i64> {
        None
    }
    fn be_sess_rate(&self, _: &str) -> Option<i64> {
        None
    }
    fn fe_sess_rate(&self, _: &str) -> Option<i64> {
        None
    }
    fn fe_req_rate(&self, _: &str) -> Option<i64> {
        None
    }
    fn srv_conn(&self, _: &str, _: &str) -> Option<i64> {
        None
    }
    fn srv_is_up(&self, _: &str, _: &str) -> Option<bool> {
        None
    }
    fn srv_queue(&self, _: &str, _: &str) -> Option<i64> {
        None
    }
    fn srv_weight(&self, _: &str, _: &str) -> Option<i64> {
        None
    }
    fn act_conn(&self) -> i64 {
        0
    }
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn hostname(&self) -> &str {
        "localhost"
    }
    fn nbthread(&self) -> i64 {
        1
    }
}

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
    pub request_captures: &'a [Option<Box<[u8]>>],
    pub response_captures: &'a [Option<Box<[u8]>>],
    /// `name=value` that `capture cookie` found in the request and in the response.
    pub cookie_captures: [Option<&'a [u8]>; 2],
    pub request_counter: u64,
    pub pid: u32,
    pub server_address: Option<SocketAddr>,
    pub backend_source: Option<SocketAddr>,
    /// Whether the line says "+" at numbers that still grow (`option logasap`).
    pub unfinished: bool,
    /// Whether the frontend speaks TLS (the tilde after its name).
    pub tls: bool,
}

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
    /// Variables.
    pub vars: &'a RefCell<Vars>,
    /// The running system.
    pub facts: &'a dyn Facts,
    /// Set while a log line is written.
    pub log: Option<&'a LogFacts<'a>>,
    /// State of the random generator.
    pub rng: &'a Cell<u64>,
}

impl Ctx<'_> {
    /// The request, to look at.
    pub fn request(&self) -> Option<&Head> {
        self.req.as_deref()
    }

    /// The response, to look at.
    pub fn response(&self) -> Option<&Head> {
        self.res.as_deref()
    }

    /// The next random number (xorshift64*, Vigna 2016).
    pub fn random(&self) -> u64 {
        let mut x = self.rng.get().max(1);
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.rng.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}
