//! Listening sockets, and what becomes of the connections they accept.
//!
//! Every worker accepts from every socket; one that has clearly more sessions than another hands
//! the connection over. A frontend that is full leaves connections in the kernel's queue.

use crate::io::Io;
use crate::session::Client;
use crate::socket;
use crate::transport::Transport;
use crate::worker::{Door, Worker, spawn_session};
use model::{Address, Bind, Config};
use rules::action::{Effects, run};
use rules::{Ctx, NoTrace, SessionInfo, StreamInfo, Vars, Verdict};
use state::{Frontend, SessionGuard};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
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
    frontend: Arc<str>,
    bind: Bind,
    socket: Arc<OwnedFd>,
    /// The address, where it is one and the same for every connection.
    local: Option<SocketAddr>,
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

/// Makes the sockets of a configuration; those of `old` that it still wants are kept.
pub fn bind_all(config: &Config, old: &Listeners) -> Result<Listeners, Vec<BindError>> {
    let mut kept: HashMap<&Address, &Arc<Listener>> =
        old.all.iter().map(|l| (&l.bind.address, l)).collect();
    let mut all = Vec::new();
    let mut errors = Vec::new();
    for proxy in &config.proxies {
        let Some(side) = proxy.frontend.as_ref().filter(|_| !proxy.disabled) else {
            continue;
        };
        for bind in &side.binds {
            let socket = match kept.remove(&bind.address) {
                Some(listener) => Ok(Arc::clone(&listener.socket)),
                None => {
                    let backlog = bind.options.backlog.or(side.backlog).or(side.maxconn);
                    let backlog = backlog.unwrap_or(4096).clamp(1, 65535);
                    let reuse_port = !config.global.noreuseport;
                    socket::listen(bind, backlog, reuse_port).map(Arc::new)
                }
            };
            match socket {
                Ok(socket) => {
                    let local = socket::local_address(socket.as_raw_fd())
                        .filter(|a| !a.ip().is_unspecified());
                    let listener = Listener {
                        frontend: proxy.name.clone(),
                        bind: bind.clone(),
                        socket,
                        local,
                    };
                    all.push(Arc::new(listener));
                }
                Err(error) => errors.push(BindError {
                    proxy: proxy.name.clone(),
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
        Address::Inet { host, port, .. } => {
            let host = match host {
                model::Host::Any => "*".to_string(),
                model::Host::Any6 => "[::]".to_string(),
                model::Host::Ip(ip) => ip.to_string(),
                model::Host::Name(name) => name.to_string(),
            };
            match port {
                model::PortSpec::Fixed(port) => format!("{host}:{port}"),
                _ => host,
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
    guard: SessionGuard,
    at: Instant,
}

/// Starts accepting on all listeners; dropping the tasks stops it.
pub fn accept_all(
    worker: &Rc<Worker>,
    doors: &Arc<Vec<Door>>,
    listeners: &Arc<Listeners>,
) -> Vec<JoinHandle<()>> {
    let start = |listener: &Arc<Listener>| {
        let task = accept(Rc::clone(worker), Arc::clone(doors), Arc::clone(listener));
        tokio::task::spawn_local(task)
    };
    listeners.all.iter().map(start).collect()
}

async fn accept(worker: Rc<Worker>, doors: Arc<Vec<Door>>, listener: Arc<Listener>) {
    let fd = match listener.socket.try_clone() {
        Ok(fd) => fd,
        Err(_) => return,
    };
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
        room(&worker, &frontend).await;
        let Ok(mut ready) = socket.readable().await else {
            return;
        };
        let accepted = ready.try_io(|fd| accept_one(fd.as_raw_fd()));
        match accepted {
            Err(_would_block) => {}
            Ok(Err(e)) => {
                // No descriptors left: wait for sessions to end instead of spinning.
                if matches!(
                    e.raw_os_error(),
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)
                ) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            Ok(Ok((fd, peer))) => {
                let at = Instant::now();
                let listener = Arc::clone(&listener);
                let guard = frontend.enter();
                let accepted = Accepted {
                    fd,
                    peer,
                    listener,
                    frontend,
                    guard,
                    at,
                };
                place(&worker, &doors, accepted);
            }
        }
    }
}

/// Waits until the frontend and the process have room for one more session.
async fn room(worker: &Worker, frontend: &Frontend) {
    let free = || {
        let process = &worker.process;
        process.connections.now() < u64::from(process.maxconn()) && frontend.has_room()
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

fn accept_one(fd: i32) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
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
fn place(worker: &Rc<Worker>, doors: &Arc<Vec<Door>>, accepted: Accepted) {
    let own = worker.sessions.get();
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
            serve(worker, doors, back.0);
        }
        return;
    }
    if let Some(door) = doors.get(worker.id) {
        door.load.fetch_add(1, Relaxed);
    }
    serve(worker, doors, accepted);
}

/// How many more sessions a worker must have before it hands one over.
const HANDOVER: usize = 1;

/// Serves a connection that another worker accepted.
pub fn adopt(worker: &Rc<Worker>, doors: &Arc<Vec<Door>>, accepted: Accepted) {
    serve(worker, doors, accepted);
}

fn serve(worker: &Rc<Worker>, doors: &Arc<Vec<Door>>, accepted: Accepted) {
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
    let info = Box::new(SessionInfo {
        src: peer,
        dst: if peer.is_some() { listener.local } else { None },
        frontend: Arc::clone(&frontend.name),
        frontend_id: frontend.id,
        listener: options.name.clone().unwrap_or_else(|| worker.no_name()),
        listener_id: listener.bind.id,
        worker: worker.id as u32,
        accepted: worker.wall(at),
        tls: None,
    });
    let now = worker.process.millis(at);
    let counters = frontend.counters().of(worker.id);
    counters.conn_tot.add(1);
    counters.conn_rate.event(now);
    let process = worker.process.counters.of(worker.id);
    process.connections.add(1);
    process.conn_rate.event(now);
    let vars = RefCell::new(Vars::limited(worker.generation().config.global.tuning.vars));
    if rejected(worker, &frontend, &info, &vars, at) {
        counters.dreq.add(1);
        leave(doors, worker.id);
        return;
    }
    counters.stot.add(1);
    counters.sess_rate.event(now);
    process.sess_rate.event(now);
    let Ok(io) = Io::new(fd) else {
        leave(doors, worker.id);
        return;
    };
    let client = Client {
        io: Transport::Plain(io),
        carry: Vec::new(),
        timer: worker.timers.timer(),
        info,
        frontend,
        requests: 0,
        accepted: at,
        handshake: Duration::ZERO,
        private: None,
        vars,
        _guard: guard,
        _seat: Seat::take(worker, doors),
    };
    spawn_session(worker, client);
}

/// `tcp-request connection` and `tcp-request session` rules.
fn rejected(
    worker: &Worker,
    frontend: &Frontend,
    info: &SessionInfo,
    vars: &RefCell<Vars>,
    at: Instant,
) -> bool {
    let side = frontend.side();
    if side.tcp_request_connection.is_empty() && side.tcp_request_session.is_empty() {
        return false;
    }
    let generation = worker.generation();
    let view = state::View {
        process: &worker.process,
        generation: &generation,
        now: at,
    };
    let stream = StreamInfo::default();
    let mut cx = Ctx {
        session: info,
        stream: &stream,
        now: worker.wall(at),
        req: None,
        res: None,
        req_body: &[],
        captures: [&[], &[]],
        vars,
        facts: &view,
        log: None,
        rng: &worker.rng,
    };
    let mut effects = Effects::default();
    [&side.tcp_request_connection, &side.tcp_request_session]
        .into_iter()
        .any(|rules| {
            matches!(
                run(rules, 0, &mut cx, &mut effects, &mut NoTrace),
                Verdict::Reject
            )
        })
}

fn leave(doors: &[Door], worker: usize) {
    if let Some(door) = doors.get(worker) {
        door.load.fetch_sub(1, Relaxed);
    }
}

/// A session's part in its worker's load; dropping it gives it back.
pub struct Seat {
    worker: Rc<Worker>,
    doors: Arc<Vec<Door>>,
}

impl Seat {
    fn take(worker: &Rc<Worker>, doors: &Arc<Vec<Door>>) -> Seat {
        worker.sessions.set(worker.sessions.get() + 1);
        worker.process.connections.enter();
        Seat {
            worker: Rc::clone(worker),
            doors: Arc::clone(doors),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.sessions.set(self.worker.sessions.get() - 1);
        self.worker.process.connections.leave();
        leave(&self.doors, self.worker.id);
    }
}
