//! What becomes of the connections that listening sockets accept.
//!
//! Every worker accepts from every socket; one that has clearly more sessions than another hands
//! the connection over. A frontend that is full leaves connections in the kernel's queue.

use crate::io::Io;
use crate::listeners::{Listener, Listeners};
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
use rules::action::{Effects, run};
use rules::{Ctx, Descriptor, Ends, NoTrace, Rule, SessionInfo, StreamInfo, Vars, Verdict};
use state::Frontend;
use state::stick::Tracked;
use std::cell::RefCell;
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
        // A socket that was refusing looks closed ever after: there is no waiting for it. Where it takes
        // connections again, another task is about to take over from this one.
        let looks_closed = ready.ready().is_read_closed();
        let accepted = ready.try_io(|fd| accept_one(fd.as_raw_fd()));
        if !matches!(accepted, Ok(Ok(_))) {
            listener.sessions.leave();
        }
        match accepted {
            Err(_) | Ok(Err(_)) if looks_closed => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
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
        descriptor: Descriptor::new(fd.as_raw_fd()),
        worker: worker.id as u16,
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
    let mut cx = Ctx::bare(info, &stream, worker.wall(at), vars, &view, &worker.rng);
    let verdict = run(rules, 0, &mut cx, &mut effects, &mut NoTrace);
    let rejected = matches!(verdict, Verdict::Reject);
    if let Some(silence) = effects.silence {
        socket::silence(descriptor, silence);
    }
    (rejected, effects)
}
