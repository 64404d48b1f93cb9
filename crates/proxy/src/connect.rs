//! From a reserved place on a server to a connection: a kept one, or a new one.

use crate::io::Io;
use crate::opening::{Opening, Tunnel, was_made};
use crate::overrides;
use crate::pool::{Room, ServerConn, Wanted};
use crate::present::{self, Told};
use crate::session::Client;
use crate::socket;
use crate::stream::Stream;
use crate::termination::{Cause, Phase, Termination};
use crate::transport::Transport;
use crate::worker::Worker;
use model::{HttpReuse, PortSpec, SendProxy};
use rules::StreamInfo;
use rules::faults::{OTHER_THAN_ASKED, OTHER_THAN_CONFIGURED};
use state::{Backend, Server, Slot, Target};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Refused or unreachable.
    Refused,
    /// Made, and ended by the server at once.
    Reset,
    /// `timeout connect` ran out.
    TimedOut,
    /// The server has no address, or its TLS settings cannot work.
    Unusable,
    /// We have no descriptors, ports or memory left.
    Exhausted,
    /// The client left meanwhile.
    ClientGone,
    /// The server went down meanwhile, or is no longer needed, which ends its sessions.
    Cut,
}

impl ConnectFailure {
    /// The end of a session that is not tried again, as the log names it.
    pub fn ended(self, at: Option<&Server>) -> Termination {
        let cause = match (self, at) {
            (ConnectFailure::Refused | ConnectFailure::Reset | ConnectFailure::Unusable, _) => {
                Cause::ServerAbort
            }
            (ConnectFailure::TimedOut, _) => Cause::ServerTimeout,
            (ConnectFailure::Exhausted, _) => Cause::Resource,
            (ConnectFailure::ClientGone, _) => Cause::ClientAbort,
            (ConnectFailure::Cut, Some(at)) => return Termination::cut(at, Phase::Connect),
            (ConnectFailure::Cut, None) => Cause::ServerDown,
        };
        Termination::new(cause, Phase::Connect)
    }
}

/// How soon it is looked again for what another worker was asked to give up.
const OTHERS_TURN: Duration = Duration::from_millis(1);

/// How long a place is waited for where there is no `timeout connect`: what holds one but no request is
/// idle, used by a check or about to be closed.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);

/// A connection for this stream's request.
pub async fn to_server(stream: &mut Stream<'_>) -> Result<ServerConn, ConnectFailure> {
    let (Some(slot), Some(backend)) = (stream.slot.as_ref(), stream.backend.as_ref()) else {
        return Err(ConnectFailure::Unusable);
    };
    let server = Arc::clone(slot.server());
    let backend = Arc::clone(backend);
    let first = stream.client.requests <= 1;
    let told = told(stream, &backend, &server);
    if stream.retries == 0
        && let Some(kept) = kept(
            stream.worker,
            stream.client,
            &backend,
            &server,
            told.name(),
            first,
            &stream.info,
        )
    {
        let rules = &stream.info.overrides;
        socket::mark(
            kept.io.socket().raw(),
            rules.given(|g| g.bc_tos.get()),
            rules.given(|g| g.bc_mark.get()),
        );
        stream.info.overrides.server_reused.set(Some(true));
        note(stream.worker, stream.client, &stream.info, &kept);
        crate::account::reused(stream, &server);
        return Ok(kept);
    }
    let info = &stream.info;
    let room = room(stream.worker, stream.client, &backend, &server, info).await?;
    let Some(slot) = &stream.slot else {
        return Err(ConnectFailure::Unusable);
    };
    let opened = open(stream.worker, stream.client, &backend, slot, told, info).await;
    opened.map(|connection| ServerConn {
        _room: room,
        ..connection
    })
}

/// A place for one more connection to a server, where connections are bounded (`strict-maxconn`): an idle
/// one gives way, of this worker or else of another, which takes until its next turn.
async fn room(
    worker: &Worker,
    client: &mut Client,
    backend: &Backend,
    server: &Arc<Server>,
    info: &StreamInfo,
) -> Result<Option<Room>, ConnectFailure> {
    let limit = server.maxconn();
    if !server.settings().strict_maxconn || limit == 0 {
        return Ok(None);
    }
    let patience = overrides::timeouts(&backend.proxy().timeouts, info).connect;
    let deadline = worker.now() + patience.unwrap_or(ROOM_PATIENCE);
    for turn in 0.. {
        if let Some(room) = Room::take(server, limit) {
            return Ok(Some(room));
        }
        if worker.pools.let_go(server.uid) {
            continue;
        }
        if worker.now() >= deadline {
            break;
        }
        worker.ask_another_to_let_go(server.uid, turn);
        let mut pause = pin!(tokio::time::sleep(OTHERS_TURN));
        let gone = poll_fn(
            |cx| match client.poll_gone(cx, backend.side().abortonclose) {
                true => Poll::Ready(true),
                false => pause.as_mut().poll(cx).map(|()| false),
            },
        );
        if gone.await {
            return Err(ConnectFailure::ClientGone);
        }
    }
    Err(ConnectFailure::TimedOut)
}

/// What the server is told of this request's client.
fn told(stream: &mut Stream<'_>, backend: &Backend, server: &Server) -> Told {
    let settings = server.settings();
    let plain = settings.tls.is_none() && settings.send_proxy.is_none();
    let plain = plain && settings.pool_name.is_none();
    if plain && settings.source.is_none() && backend.side().source.is_none() {
        return Told::default();
    }
    let frontend = Arc::clone(&stream.frontend);
    let unique = frontend.side().unique_id_format.as_deref();
    present::told(&settings, backend.side(), unique, &ctx!(stream))
}

/// Where the server is for this client: connections are kept under what this says, so that none
/// is used for another address or port than its client came to.
fn target_for(client: &mut Client, server: &Server, info: &StreamInfo) -> Option<Arc<Target>> {
    let target = server.target()?;
    if target.is_fixed() {
        return Some(target);
    }
    target
        .for_client(
            info.overrides
                .given(|g| g.dst.get())
                .or_else(|| client.destination()),
        )
        .map(Arc::new)
}

/// A connection that is already there, as far as `http-reuse` allows.
fn kept(
    worker: &Worker,
    client: &mut Client,
    backend: &Backend,
    server: &Server,
    name: Option<&str>,
    first: bool,
    info: &StreamInfo,
) -> Option<ServerConn> {
    let target = target_for(client, server, info)?;
    let settings = server.settings();
    let wanted = Wanted {
        target: &target,
        name,
        tls: settings.tls.as_ref().filter(|tls| !tls.offered),
        socks4: settings.socks4,
    };
    if let Some(private) = client.private.take()
        && private.0 == server.uid
        && private.1.name.as_deref() == name
        && wanted.is_met_but_for_name(&private.1)
    {
        return Some(private.1);
    }
    // What tells of one client is not for another.
    let source = settings
        .source
        .as_deref()
        .or(backend.side().source.as_deref());
    if settings.send_proxy.is_some() || source.is_some_and(|s| s.usesrc.is_some()) {
        return None;
    }
    let proven = match backend.side().reuse {
        HttpReuse::Never => return None,
        HttpReuse::Safe if first => return None,
        HttpReuse::Aggressive if first => true,
        HttpReuse::Safe | HttpReuse::Aggressive | HttpReuse::Always => false,
    };
    worker.pools.take(server.uid, wanted, proven)
}

/// A new connection, within `timeout connect`, its TLS handshake included.
pub async fn open(
    worker: &Worker,
    client: &mut Client,
    backend: &Backend,
    slot: &Slot,
    told: Told,
    info: &StreamInfo,
) -> Result<ServerConn, ConnectFailure> {
    let server = slot.server();
    let Some(target) = target_for(client, server, info) else {
        return Err(ConnectFailure::Unusable);
    };
    // Read once, so that no change comes in between; let go before anything is waited for.
    let (begun, tls, send_proxy, socks4, tunnel) = {
        let settings = server.settings();
        let tunnel = match settings.socks4 {
            Some(_) => Some(Tunnel::to(&target).ok_or(ConnectFailure::Unusable)?),
            None => None,
        };
        // TLS that is only offered begins later, in the words of the protocol.
        let tls = settings.tls.as_ref().filter(|tls| !tls.offered);
        // Whoever waits for the server's first word must not hold back the packet that opens.
        let early = client.frontend.proxy().mode == model::Mode::Http
            || !client.carry.is_empty()
            || tls.is_some()
            || settings.socks4.is_some()
            || settings.send_proxy.is_some();
        let how = (early, told.header_ip);
        (
            begin(&target, client, backend, &settings, how, info),
            tls.map(|tls| (Arc::clone(tls), tls.connector.edition())),
            settings.send_proxy,
            settings.socks4,
            tunnel,
        )
    };
    let io = begun.map_err(|e| match e.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::EADDRNOTAVAIL) => {
            ConnectFailure::Exhausted
        }
        _ => ConnectFailure::Refused,
    })?;
    crate::account::connecting(worker, backend, server);
    let times = overrides::timeouts(&backend.proxy().timeouts, info);
    let deadline = times.connect.map(|t| worker.now() + t);
    client.timer.arm(deadline);
    let abort_on_close = backend.side().abortonclose;
    let mut io = match &tls {
        None => Transport::Plain(io),
        Some((settings, _)) => {
            Transport::to_server(io, &settings.connector, told.sni.as_deref(), &target)
                .map_err(|_| ConnectFailure::Unusable)?
        }
    };
    let mut opening = Opening {
        tunnel,
        header: proxy_header(send_proxy, client, &told.extensions, info),
    };
    let mut cut = None;
    poll_fn(|cx| {
        match io.poll_established(cx, &mut opening) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(e)) => {
                let of_proxy = opening.fault(&e);
                if of_proxy.is_some() {
                    info.overrides.server_fault.set(of_proxy);
                    return Poll::Ready(Err(ConnectFailure::Refused));
                }
                let made = was_made(&e);
                // What the system did not say was found by TLS, and who lets go does so within it.
                if tls.is_some() && (made || e.raw_os_error().is_none()) {
                    crate::account::server_handshake(worker, backend, server, None);
                    if let Transport::Tls(tls) = &io {
                        let fault = info.overrides.give();
                        fault.server_tls_fault.set(Some(tls.fault()));
                    }
                    let fault = match rules::faults::number(&e.to_string()) {
                        OTHER_THAN_CONFIGURED if told.sni.is_some() => OTHER_THAN_ASKED,
                        OTHER_THAN_CONFIGURED => OTHER_THAN_CONFIGURED,
                        _ => rules::faults::TLS_FAILED,
                    };
                    info.overrides.server_fault.set(Some(fault));
                }
                return Poll::Ready(Err(match made {
                    true => ConnectFailure::Reset,
                    false => ConnectFailure::Refused,
                }));
            }
            Poll::Pending => {}
        }
        if client.timer.poll_expired(cx).is_ready() {
            return Poll::Ready(Err(ConnectFailure::TimedOut));
        }
        if cut.is_none() {
            cut = slot.watch_cuts(cx.waker());
        }
        if client.poll_gone_meanwhile(cx, abort_on_close) {
            return Poll::Ready(Err(ConnectFailure::ClientGone));
        }
        if cut.as_ref().is_some_and(state::cut::Watch::is_cut) {
            return Poll::Ready(Err(ConnectFailure::Cut));
        }
        Poll::Pending
    })
    .await?;
    if let Transport::Tls(tls) = &mut io {
        tls.note(told.sni.as_deref());
        let resumed = tls.noted().is_some_and(|t| t.agreed.resumed);
        crate::account::server_handshake(worker, backend, server, Some(resumed));
    }
    let connection = ServerConn {
        io,
        target,
        name: told.name.or(told.sni),
        tls,
        socks4: socks4.map(Box::new),
        served: 0,
        _room: None,
    };
    info.overrides.server_reused.set(Some(false));
    note(worker, client, info, &connection);
    Ok(connection)
}

/// Lets rules ask for the connection's addresses, and keeps them where the log shows them.
fn note(worker: &Worker, client: &Client, info: &StreamInfo, connection: &ServerConn) {
    let descriptor = connection.io.socket().raw();
    info.overrides.server.set(Some(descriptor));
    info.overrides.server_fault.set(Some(0));
    if connection.socks4.is_some() {
        // The system knows the way only, not where it leads.
        let ours = socket::local_address(descriptor);
        let ends = ours.zip(connection.target.socket(None));
        info.overrides.give().back.set(ends);
        return;
    }
    let frontend = &client.frontend;
    if frontend.proxy().logs.is_empty() {
        return;
    }
    let format = worker.format_of(frontend);
    if format.shows_server_connection() {
        let ends = socket::ends(descriptor);
        info.overrides.give().back.set(ends);
    }
}

/// Begins a connection to another port of the server that `main` leads to.
pub fn beside(
    main: &ServerConn,
    port: u16,
    client: &Client,
    backend: &Backend,
    server: &Server,
    info: &StreamInfo,
) -> io::Result<Io> {
    let Some((_, address)) = socket::ends(main.io.socket().raw()) else {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    };
    let target = Target::Tcp {
        ip: address.ip(),
        port: PortSpec::Fixed(port),
    };
    begin(
        &target,
        client,
        backend,
        &server.settings(),
        (false, None),
        info,
    )
}

/// The PROXY header that tells a server of this client.
fn proxy_header(
    kind: Option<SendProxy>,
    client: &mut Client,
    extensions: &[(u8, Vec<u8>)],
    info: &StreamInfo,
) -> Vec<u8> {
    let Some(kind) = kind else { return Vec::new() };
    let destination = info
        .overrides
        .given(|g| g.dst.get())
        .or_else(|| client.destination());
    let addresses = info.overrides.src(&client.info).zip(destination);
    match kind {
        SendProxy::V1 => wire::proxy::line(addresses),
        SendProxy::V2 { crc32c, .. } => {
            let extensions: Vec<(u8, &[u8])> =
                extensions.iter().map(|(k, v)| (*k, v.as_slice())).collect();
            wire::proxy::header(addresses, &extensions, crc32c)
        }
    }
}

fn begin(
    target: &Target,
    client: &Client,
    backend: &Backend,
    settings: &model::Server,
    (early, header_ip): (bool, Option<IpAddr>),
    info: &StreamInfo,
) -> io::Result<Io> {
    let source = settings
        .source
        .as_deref()
        .or(backend.side().source.as_deref());
    let fd = match target {
        Target::Tcp { .. } => {
            let Some(addr) = target.socket(info.overrides.dst(&client.info)) else {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            };
            let addr = settings.socks4.unwrap_or(addr);
            let options = socket::Outgoing {
                source,
                keepalive: backend.side().keepalive,
                user_timeout: settings.tcp_user_timeout,
                tos: info.overrides.given(|g| g.bc_tos.get()),
                mark: info.overrides.given(|g| g.bc_mark.get()),
                fast_open: settings.tfo && early,
                early: early && !backend.side().prompt_ack,
                congestion: settings.congestion.as_deref(),
                signed: settings.signed.as_deref(),
                namespace: settings.namespace.as_deref(),
                silent: false,
                foreign: present::foreign_source(source, client.info.ends.src(), header_ip),
            };
            socket::connect_tcp(addr, &options)?
        }
        Target::Unix(path) => socket::connect_unix(path)?,
        Target::Abstract { name, padded } => socket::connect_abstract(name, *padded)?,
    };
    Ok(Io::new(fd))
}
