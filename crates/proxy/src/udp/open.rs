//! How a session of datagrams begins: limits, rules, and what they may see.

use super::Key;
use crate::listen::judge;
use crate::listeners::Listener;
use crate::roster::Arrived;
use crate::seat::{Places, Seat};
use crate::worker::Worker;
use model::Address;
use rules::action::{Effects, run as run_rules};
use rules::{Ctx, Ends, NoTrace, SessionInfo, StreamInfo, Vars, Verdict};
use state::Frontend;
use state::stick::Tracked;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::proxy::Header;

/// What a session of datagrams begins with.
pub struct OpenedDatagrams {
    /// The frontend.
    pub frontend: Arc<Frontend>,
    /// The listening socket.
    pub socket: Arc<OwnedFd>,
    /// What rules and logs may know of it.
    pub info: Box<SessionInfo>,
    /// Its variables.
    pub vars: RefCell<Vars>,
    /// What it tracks in stick tables.
    pub tracked: Tracked,
    /// When its first datagram came.
    pub at: Instant,
    /// Its place in the worker's load and roster.
    pub seat: Seat,
    _places: Places,
}

/// A session for a client of datagrams, unless a limit or a rule for connections refuses it.
pub fn open_datagrams(
    worker: &Rc<Worker>,
    listener: &Arc<Listener>,
    key: Key,
    header: Option<Header>,
) -> Option<OpenedDatagrams> {
    let generation = worker.generation();
    let frontend = Arc::clone(generation.frontend(&listener.frontend)?);
    let at = worker.now();
    let millis = worker.process.millis(at);
    let counters = frontend.counters().of(worker.id);
    let process = &worker.process;
    let room = process.connections.now() < u64::from(process.maxconn()) && frontend.has_room();
    let paced = frontend.pause(Duration::from_millis(millis)).is_none();
    // Nobody waits: a datagram that finds no room is lost, and its client asks again.
    let places = (room && paced).then(|| listener.place(&frontend)).flatten();
    let Some(places) = places else {
        counters.dreq.add(1);
        return None;
    };
    frontend.pace(Duration::from_millis(millis));
    let port = match &listener.bind.address {
        Address::Inet {
            port: model::PortSpec::Fixed(port),
            ..
        } => Some(*port),
        _ => None,
    };
    let mut info = Box::new(SessionInfo {
        ends: Ends::new(
            Some(key.peer),
            listener.local.or(key.local.zip(port).map(SocketAddr::from)),
        ),
        listener: frontend.listener(&listener.bind),
        accepted: worker.wall(at),
        descriptor: None,
        worker: worker.id as u16,
        fault: 0,
        tls: None,
        proxy_header: None,
    });
    counters.conn_tot.add(1);
    counters.conn_rate.event(millis);
    let vars = RefCell::new(Vars::limited(generation.config.global.tuning.vars));
    let side = frontend.side();
    let tracked = Tracked::default();
    // There is no connection of its own that could be silenced: its datagram is lost all the same.
    let rejects =
        |rules, info: &SessionInfo| judge(worker, rules, info, &vars, &tracked, (at, -1)).0;
    let mut rejected = rejects(&side.tcp_request_connection, &info);
    // As with connections, these rules are about who is there, and those that follow about whom
    // the header names.
    if let Some(header) = header {
        if let Some((source, destination)) = header.addresses {
            info.ends = Ends::new(Some(source), Some(destination));
        }
        info.proxy_header = Some(Box::new(header.extensions));
    }
    rejected = rejected || rejects(&side.tcp_request_session, &info);
    if rejected {
        counters.dreq.add(1);
        return None;
    }
    tracked.session(millis);
    counters.stot.add(1);
    counters.sess_rate.event(millis);
    let descriptor = listener.socket.as_raw_fd();
    let arrived = Arrived {
        source: info.ends.src(),
        frontend: frontend.id,
        accepted: worker.moment(at),
        descriptor,
        shared: true,
    };
    Some(OpenedDatagrams {
        socket: Arc::clone(&listener.socket),
        seat: Seat::of_datagrams(worker, arrived),
        frontend,
        info,
        vars,
        tracked,
        at,
        _places: places,
    })
}

/// Whether the content rules of a proxy let a session begin with this datagram.
pub fn allowed(
    worker: &Worker,
    opened: &OpenedDatagrams,
    proxy: &model::Proxy,
    stream: &StreamInfo,
    first: &[u8],
) -> bool {
    let rules = &proxy.tcp_request_content;
    if rules.is_empty() {
        return true;
    }
    with_ctx(worker, opened, stream, first, |cx| {
        let mut effects = Effects::default();
        let verdict = run_rules(rules, 0, cx, &mut effects, &mut NoTrace);
        !matches!(verdict, Verdict::Reject | Verdict::Deny(_))
    })
}

/// Calls `f` with what expressions may see of a session whose client sent `payload`.
pub fn with_ctx<R>(
    worker: &Worker,
    opened: &OpenedDatagrams,
    stream: &StreamInfo,
    payload: &[u8],
    f: impl FnOnce(&mut Ctx<'_>) -> R,
) -> R {
    let generation = worker.generation();
    let now = worker.now();
    let view = state::View {
        process: &worker.process,
        generation: &generation,
        now,
        tracked: Some(&opened.tracked),
    };
    f(&mut Ctx {
        req_body: payload,
        ..Ctx::bare(
            &opened.info,
            stream,
            worker.wall(now),
            &opened.vars,
            &view,
            &worker.rng,
        )
    })
}
