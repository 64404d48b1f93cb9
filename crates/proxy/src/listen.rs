//! Listening sockets, and what becomes of the connections they accept.
//!
//! Every worker accepts from every socket; one that has clearly more sessions than another hands
//! the connection over. A frontend that is full leaves connections in the kernel's queue.

use crate::io::Io;
use crate::moment::Span;
use crate::peers;
use crate::prelude::Headers;
use crate::roster::Arrived;
use crate::seat::{Places, Seat, leave};
use crate::session::Client;
use crate::socket;
use crate::tls::TlsStream;
use crate::transport::Transport;
use crate::udp;
use crate::worker::{Worker, spawn_session};
use model::{Address, Bind, Config, Mode};
use rules::action::{Effects, run};
use rules::{Ctx, Ends, NoTrace, Rule, SessionInfo, StreamInfo, Vars, Verdict};
use state::stick::Tracked;
use state::{Frontend, Gauge};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

/// One listening socket.
pub struct Listener {
    /// The frontend, or the `peers` section.
    pub(crate) frontend: Arc<str>,
    /// Whether peers come in here.
    pub(crate) of_peers: bool,
    pub(crate) bind: Bind,
    pub(crate) socket: Arc<OwnedFd>,
    backlog: u32,
    /// The address, where it is one and the same for every connection.
    pub(crate) local: Option<SocketAddr>,
    /// Connections that came in here.
    sessions: Arc<Gauge>,
}

impl Listener {
    /// A place for one more session, unless there are too many.
    pub(crate) fn place(&self, frontend: &Frontend) -> Option<Places> {
        self.sessions
            .try_enter(self.most())
            .then(|| Places::new(Arc::clone(&self.sessions), frontend.enter(self.bind.id)))
    }

    /// The most connections at a time.
    fn most(&self) -> u64 {
        self.bind.options.maxconn.map_or(u64::MAX, u64::from)
    }
}

/// All listening sockets of a configuration.
#[derive(Default)]
pub struct Listeners {
    all: Vec<Arc<Listener>>,
}

/// A socket that could not be made.
#[derive(Debug)]
pub struct BindError {
    /// The frontend.
    pub proxy: Arc<str>,
    /// Where its `bind` line stands.
    pub origin: Arc<str>,
    /// The address.
    pub address: String,
    /// Why.
    pub error: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BindError {
            proxy,
            origin,
            address,
            error,
        } = self;
        write!(
            f,
            "{origin}: proxy '{proxy}' cannot listen on {address}: {error}"
        )
    }
}

impl Listeners {
    /// Every socket with its address, as `bind` lines write it.
    pub fn sockets(&self) -> impl Iterator<Item = (String, &OwnedFd)> {
        let all = self.all.iter();
        all.map(|l| (shown(&l.bind.address), &*l.socket))
    }

    /// Those of all frontends but this.
    pub fn without(&self, frontend: &str) -> Listeners {
        let of = |l: &&Arc<Listener>| !l.of_peers && *l.frontend == *frontend;
        let all = self.all.iter().filter(|l| !of(l));
        Listeners {
            all: all.cloned().collect(),
        }
    }

    /// Refuses connections to a frontend, or takes them again, by its TCP sockets. They stay
    /// bound. Workers must be given the listeners anew after the latter, because a socket that
    /// was refusing looks closed to their reactors.
    pub fn refuse(&self, frontend: &str, refuse: bool) {
        let of = |l: &&Arc<Listener>| !l.of_peers && *l.frontend == *frontend;
        for listener in self.all.iter().filter(of) {
            let fd = listener.socket.as_raw_fd();
            if socket::local_address(fd).is_none() {
                continue;
            }
            // SAFETY: plain calls on a descriptor that `listener` keeps open.
            unsafe {
                if refuse {
                    libc::shutdown(fd, libc::SHUT_RD);
                } else {
                    libc::listen(fd, listener.backlog as i32);
                }
            }
        }
    }
}

/// A socket that a configuration wants.
pub struct Wanted<'a> {
    /// The index of the proxy in the configuration; `peers` sections follow the last of them.
    pub proxy: usize,
    /// The index of the `bind` in it.
    pub index: usize,
    /// What is to be bound.
    pub bind: &'a Bind,
    backlog: u32,
    reuse_port: bool,
    late: bool,
}

impl Wanted<'_> {
    /// The `bind` at these indices of a configuration.
    pub fn at(config: &Config, proxy: usize, index: usize) -> Option<Wanted<'_>> {
        let side = config.proxies.get(proxy).map(|p| p.frontend.as_ref());
        let binds = match side {
            Some(side) => &side?.binds,
            None => &config.peers.get(proxy - config.proxies.len())?.binds,
        };
        let (bind, side) = (binds.get(index)?, side.flatten());
        let backlog = side.and_then(|s| s.backlog.or(s.maxconn));
        let backlog = bind.options.backlog.or(backlog).unwrap_or(4096);
        Some(Wanted {
            proxy,
            index,
            bind,
            backlog: backlog.clamp(1, 65535),
            reuse_port: !config.global.noreuseport,
            late: side.is_some_and(|s| s.smart_accept),
        })
    }

    /// Its address, as `bind` lines write it.
    pub fn address(&self) -> String {
        shown(&self.bind.address)
    }

    /// Makes it.
    pub fn open(&self) -> io::Result<OwnedFd> {
        socket::listen(self.bind, self.backlog, self.reuse_port)
    }
}

/// The sockets of a configuration: those of `old` that it still wants, and what `open` makes or finds.
pub fn bind_all(
    config: &Config,
    old: &Listeners,
    open: &mut dyn FnMut(&Wanted<'_>) -> io::Result<OwnedFd>,
) -> Result<Listeners, Vec<BindError>> {
    let mut kept: HashMap<&Address, &Arc<Listener>> =
        old.all.iter().map(|l| (&l.bind.address, l)).collect();
    let mut all = Vec::new();
    let mut errors = Vec::new();
    let proxies = config.proxies.iter();
    let proxies = proxies.map(|p| (&p.name, !p.disabled && p.mode != Mode::Packet));
    let owners = proxies.chain(config.peers.iter().map(|p| (&p.name, true)));
    for (at, (owner, here)) in owners.enumerate() {
        let mut binds = (0..).map_while(|index| Wanted::at(config, at, index));
        while let Some(wanted) = binds.next().filter(|_| here) {
            let bind = wanted.bind;
            let mut sessions = Arc::default();
            let socket = match kept.remove(&bind.address) {
                Some(listener) => {
                    sessions = Arc::clone(&listener.sessions);
                    if let (Some(new), Some(old)) = (&bind.options.tls, &listener.bind.options.tls)
                    {
                        new.adopt(old);
                    }
                    Ok(Arc::clone(&listener.socket))
                }
                None => open(&wanted).map(Arc::new),
            };
            match socket {
                Ok(socket) => {
                    let fd = socket.as_raw_fd();
                    socket::acknowledge(fd, wanted.late);
                    let local = socket::local_address(fd).filter(|a| !a.ip().is_unspecified());
                    let listener = Listener {
                        frontend: Arc::clone(owner),
                        of_peers: at >= config.proxies.len(),
                        bind: bind.clone(),
                        socket,
                        backlog: wanted.backlog,
                        local,
                        sessions,
                    };
                    all.push(Arc::new(listener));
                }
                Err(error) => errors.push(BindError {
                    proxy: Arc::clone(owner),
                    origin: bind.origin.clone(),
                    address: shown(&bind.address),
                    error,
                }),
            }
        }
    }
    if errors.is_empty() {
        Ok(Listeners { all })
    } else {
        Err(errors)
    }
}

fn shown(address: &Address) -> String {
    match address {
        Address::Unix { path, .. } => path.to_string(),
        Address::Abstract { name, .. } => format!("abns@{name}"),
        Address::Fd(fd) => format!("fd@{fd}"),
        Address::Inet { host, port, kind } => {
            let kind = match kind {
                model::SocketKind::Stream => "",
                model::SocketKind::Datagram => "udp@",
            };
            let host = match host {
                model::Host::Any => "*".to_string(),
                model::Host::Any6 => "[::]".to_string(),
                model::Host::Ip(ip) => ip.to_string(),
                model::Host::Name(name) => name.to_string(),
            };
            match port {
                model::PortSpec::Fixed(port) => format!("{kind}{host}:{port}"),
                _ => format!("{kind}{host}"),
            }
        }
    }
}

/// A connection on its way to the worker that will serve it.
pub struct Accepted {
    fd: OwnedFd,
    peer: Option<SocketAddr>,
    listener: Arc<Listener>,
    frontend: Arc<Frontend>,
    guard: Places,
    at: Instant,
}

/// Starts accepting on all listeners; dropping the tasks stops it.
pub fn accept_all(worker: &Rc<Worker>, listeners: &Arc<Listeners>) -> Vec<JoinHandle<()>> {
    let start = |(at, listener): (usize, &Arc<Listener>)| {
        let worker = Rc::clone(worker);
        let listener = Arc::clone(listener);
        if listener.of_peers {
            let first = worker.id == 0;
            return first.then(|| tokio::task::spawn_local(peers::accept(worker, listener)));
        }
        if !listener.bind.address.is_datagram() {
            return Some(tokio::task::spawn_local(accept(worker, listener)));
        }
        // One worker serves all sessions of a socket: they are told apart by what they send.
        let ours = at % worker.process.workers.max(1) == worker.id;
        ours.then(|| tokio::task::spawn_local(udp::serve(worker, listener)))
    };
    listeners.all.iter().enumerate().filter_map(start).collect()
}

async fn accept(worker: Rc<Worker>, listener: Arc<Listener>) {
    let fd = match listener.socket.try_clone() {
        Ok(fd) => fd,
        Err(_) => return,
    };
    if let Some(frontend) = worker.generation().frontend(&listener.frontend) {
        frontend.listens(listener.bind.id, &listener.sessions);
    }
    // SAFETY: the `OwnedFd` is open, and stays open and the same until the `AsyncFd` that owns it
    // is dropped: nothing takes it out.
    let socket = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    let Ok(socket) = socket else { return };
    loop {
        let generation = worker.generation();
        let Some(frontend) = generation.frontend(&listener.frontend).cloned() else {
            return;
        };
        drop(generation);
        room(&worker, &frontend, &listener).await;
        let Ok(mut ready) = socket.readable().await else {
            return;
        };
        let age = || Duration::from_millis(worker.process.millis(Instant::now()));
        while let Some(pause) = frontend.pause(age()) {
            tokio::time::sleep(pause).await;
        }
        // Another worker may have taken the last place meanwhile.
        if !listener.sessions.try_enter(listener.most()) {
            continue;
        }
        let accepted = ready.try_io(|fd| accept_one(fd.as_raw_fd()));
        if !matches!(accepted, Ok(Ok(_))) {
            listener.sessions.leave();
        }
        match accepted {
            Err(_would_block) => {}
            Ok(Err(e)) => {
                // No descriptors left: wait for sessions to end instead of spinning.
                if matches!(
                    e.raw_os_error(),
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)
                ) {
                    worker.datagrams.give_up_resting();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            Ok(Ok((fd, peer))) => {
                let at = Instant::now();
                let listener = Arc::clone(&listener);
                let entered = frontend.enter(listener.bind.id);
                let guard = Places::new(Arc::clone(&listener.sessions), entered);
                frontend.pace(age());
                let accepted = Accepted {
                    fd,
                    peer,
                    listener,
                    frontend,
                    guard,
                    at,
                };
                place(&worker, accepted);
            }
        }
    }
}

/// Waits until the listener, the frontend and the process have room for one more session.
async fn room(worker: &Worker, frontend: &Frontend, listener: &Listener) {
    let options = &listener.bind.options;
    let tls = options.tls.is_some() && !options.starttls;
    // Rates fall by themselves: nobody tells when.
    let process = &worker.process;
    while process.is_at_rate_limit(Instant::now(), tls) || tls && process.is_full_of_tls() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let free = || {
        process.connections.now() < u64::from(process.maxconn())
            && frontend.has_room()
            && listener.sessions.now() < listener.most()
    };
    while !free() {
        let mut told = false;
        poll_fn(|cx| {
            if told || free() {
                return Poll::Ready(());
            }
            told = true;
            frontend.wait(cx.waker());
            // A place may have been freed before the waker was known.
            if free() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

pub(crate) fn accept_one(fd: i32) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    // SAFETY: the storage is large enough for any address and its length says so; the new
    // descriptor, when there is one, is ours alone; `SockAddrStorage` is a transparent wrapper of
    // `sockaddr_storage`.
    unsafe {
        let mut storage: libc::sockaddr_storage = std::mem::zeroed();
        let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let new = libc::accept4(fd, (&raw mut storage).cast(), &raw mut len, flags);
        if new < 0 {
            return Err(io::Error::last_os_error());
        }
        let owned = <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(new);
        let address = socket2::SockAddr::new(
            std::mem::transmute::<libc::sockaddr_storage, socket2::SockAddrStorage>(storage),
            len,
        );
        Ok((owned, address.as_socket()))
    }
}

/// Serves the connection here, or where there is clearly less to do.
fn place(worker: &Rc<Worker>, accepted: Accepted) {
    let own = worker.sessions.get();
    let doors = &worker.doors;
    let least = doors
        .iter()
        .enumerate()
        .filter(|(id, _)| *id != worker.id)
        .min_by_key(|(_, door)| door.load.load(Relaxed));
    if let Some((_, door)) = least
        && door.load.load(Relaxed) + HANDOVER < own
    {
        door.load.fetch_add(1, Relaxed);
        if let Err(back) = door.accepted.send(accepted) {
            serve(worker, back.0);
        }
        return;
    }
    if let Some(door) = doors.get(worker.id) {
        door.load.fetch_add(1, Relaxed);
    }
    serve(worker, accepted);
}

/// How many more sessions a worker must have before it hands one over.
const HANDOVER: usize = 1;

/// Serves a connection, which another worker may have accepted.
pub fn serve(worker: &Rc<Worker>, accepted: Accepted) {
    let Accepted {
        fd,
        peer,
        listener,
        frontend,
        guard,
        at,
    } = accepted;
    let options = &listener.bind.options;
    if let Some(keepalive) = frontend.side().keepalive {
        socket::keep_alive(&fd, keepalive);
    }
    let info = SessionInfo {
        ends: Ends::new(peer, listener.local.filter(|_| peer.is_some())),
        listener: frontend.listener(&listener.bind),
        accepted: worker.wall(at),
        descriptor: Some(fd.as_raw_fd()),
        worker: worker.id as u32,
        fault: 0,
        tls: None,
        proxy_header: None,
    };
    let now = worker.process.millis(at);
    let counters = frontend.counters().of(worker.id);
    counters.conn_tot.add(1);
    counters.conn_rate.event(now);
    let process = worker.process.counters.of(worker.id);
    process.connections.add(1);
    process.conn_rate.event(now);
    let vars = RefCell::new(Vars::limited(worker.generation().config.global.tuning.vars));
    let side = frontend.side();
    let tracked = Tracked::default();
    let descriptor = fd.as_raw_fd();
    let judge = |rules| judge(worker, rules, &info, &vars, &tracked, (at, descriptor));
    let (mut rejected, effects) = judge(&side.tcp_request_connection);
    let privileged = peer.is_some_and(|a| a.port() < 1024);
    rejected |= privileged && worker.generation().config.global.reject_privileged;
    let headers = Headers {
        proxy: options.accept_proxy || effects.expect_proxy,
        netscaler: match effects.expect_netscaler {
            true => Some(options.netscaler.unwrap_or(0)),
            false => options.netscaler,
        },
    };
    // Where something comes before the session, its rules come after that.
    let tls = options.tls.as_ref().filter(|_| !options.starttls);
    let at_once = headers == Headers::default() && tls.is_none();
    let socket = frontend.socket(listener.bind.id);
    let socket = socket.map(|s| s.counters().of(worker.id));
    let counted = || [Some(counters), socket].into_iter().flatten();
    if rejected {
        counted().for_each(|c| c.dcon.add(1));
    } else if at_once {
        rejected = judge(&side.tcp_request_session).0;
        counted().for_each(|c| c.dses.add(u64::from(rejected)));
    }
    if rejected {
        leave(worker);
        return;
    }
    if at_once {
        tracked.session(now);
    }
    counted().for_each(|c| c.stot.add(1));
    counters.sess_rate.event(now);
    process.sess_rate.event(now);
    let io = Io::new(fd);
    let accepted = worker.moment(at);
    let arrived = Arrived {
        source: peer,
        frontend: frontend.id,
        accepted,
        descriptor,
        shared: false,
    };
    let seat = Seat::take(worker, arrived, tls.is_some());
    let client = Client {
        io: match tls {
            None => Transport::Plain(io),
            Some(acceptor) => Transport::Tls(Box::new(TlsStream::accept(io, Arc::clone(acceptor)))),
        },
        carry: Vec::new(),
        timer: worker.timers.timer(),
        info,
        frontend,
        requests: 0,
        unread: false,
        last_server: None,
        idle_since: accepted,
        handshake: Span::default(),
        private: None,
        vars,
        tracked,
        _guard: guard,
        seat,
    };
    spawn_session(worker, client, headers);
}

/// Whether the `tcp-request session` rules refuse a connection whose prelude is over.
pub fn session_rejected(worker: &Worker, client: &Client) -> bool {
    let rules = &client.frontend.side().tcp_request_session;
    let (vars, tracked, now) = (&client.vars, &client.tracked, worker.now());
    let at = (now, client.io.socket().raw());
    let (rejected, _) = judge(worker, rules, &client.info, vars, tracked, at);
    if rejected {
        crate::account::of_client(worker, client).for_each(|c| c.dses.add(1));
    } else {
        tracked.session(worker.process.millis(now));
    }
    rejected
}

/// Whether rules refuse a connection that has brought no request yet, and what else they want of
/// it; now, and its descriptor.
pub(crate) fn judge(
    worker: &Worker,
    rules: &[Rule],
    info: &SessionInfo,
    vars: &RefCell<Vars>,
    tracked: &Tracked,
    (at, descriptor): (Instant, RawFd),
) -> (bool, Effects) {
    let mut effects = Effects::default();
    if rules.is_empty() {
        return (false, effects);
    }
    let generation = worker.generation();
    let view = state::View {
        process: &worker.process,
        generation: &generation,
        now: at,
        tracked: Some(tracked),
    };
    let stream = StreamInfo::default();
    let mut cx = Ctx {
        session: info,
        stream: &stream,
        now: worker.wall(at),
        req: None,
        res: None,
        req_body: &[],
        res_body: &[],
        captures: [&[], &[]],
        vars,
        facts: &view,
        log: None,
        rng: &worker.rng,
    };
    let verdict = run(rules, 0, &mut cx, &mut effects, &mut NoTrace);
    let rejected = matches!(verdict, Verdict::Reject);
    if let Some(silence) = effects.silence {
        socket::silence(descriptor, silence);
    }
    (rejected, effects)
}
