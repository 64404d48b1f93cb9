//! Connections that checks make.

use super::clock::{Clock, Phase};
use crate::io::Io;
use crate::opening::{Opening, Tunnel};
use crate::socket::{self, Outgoing};
use crate::tls::HandshakeError;
use crate::transport::Transport;
use model::{Check, CheckTls, PortSpec, SendProxy};
use state::health::{CheckStatus, Finding};
use state::{Backend, Server, Target};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

/// Where and how to connect.
pub struct Route<'a> {
    /// The address; its port counts when none is given here.
    pub target: Target,
    /// The port.
    pub port: Option<u16>,
    /// TLS, if any.
    pub tls: Option<&'a CheckTls>,
    /// How the PROXY protocol says that this is a check, if it does.
    pub send_proxy: Option<SendProxy>,
    /// The SOCKS proxy that leads there.
    pub socks4: Option<SocketAddr>,
    /// That the connection can be made is all.
    pub silent: bool,
}

impl Route<'_> {
    /// Where checks of this server go when nothing else is said.
    pub fn of_check<'c>(server: &Server, check: &'c Check) -> Result<Route<'c>, Finding> {
        Ok(Route {
            target: target(server, check)?,
            port: check.port,
            tls: check.tls.as_ref(),
            send_proxy: check.send_proxy,
            socks4: server.settings().socks4.filter(|_| check.via_socks4),
            silent: false,
        })
    }
}

/// Whom checks of this server ask when nothing else is said.
pub fn target(server: &Server, check: &Check) -> Result<Target, Finding> {
    let own = check.addr.as_ref().and_then(Target::of);
    own.or_else(|| server.target().map(|t| (*t).clone()))
        .ok_or_else(|| Finding::of(CheckStatus::SockErr).because("the server has no address"))
}

/// What the system says of an error, without its number.
pub fn said(e: &io::Error) -> String {
    let text = e.to_string();
    match text.split_once(" (os error") {
        Some((said, _)) => said.to_string(),
        None => text,
    }
}

/// The server's port, if it does not depend on clients.
pub fn served_port(server: &Server) -> Option<u16> {
    match server.target().as_deref() {
        Some(Target::Tcp {
            port: PortSpec::Fixed(port),
            ..
        }) => Some(*port),
        _ => None,
    }
}

/// Makes a connection, TLS and PROXY header included.
pub async fn connect(
    backend: &Backend,
    server: &Server,
    route: &Route<'_>,
    clock: &Clock,
) -> Result<Transport, Finding> {
    clock.enter(Phase::Connect);
    let settings = server.settings();
    let source = settings
        .source
        .as_deref()
        .or(backend.side().source.as_deref());
    let mut opening = Opening::default();
    let fd = match &route.target {
        Target::Tcp { ip, port } => {
            let own = match port {
                PortSpec::Fixed(port) => Some(*port),
                _ => None,
            };
            let Some(port) = route.port.or(own).or_else(|| served_port(server)) else {
                return Err(Finding::of(CheckStatus::SockErr).because("no port to check"));
            };
            let options = Outgoing {
                tos: None,
                mark: backend.check_mark(server),
                source,
                keepalive: None,
                user_timeout: settings.tcp_user_timeout,
                fast_open: false,
                early: false,
                congestion: settings.congestion.as_deref(),
                signed: settings.signed.as_deref(),
                namespace: settings.namespace.as_deref(),
                silent: route.silent,
                foreign: None,
            };
            let there = SocketAddr::from((*ip, port));
            if route.socks4.is_some() {
                opening.tunnel = Some(through(there)?);
            }
            socket::connect_tcp(route.socks4.unwrap_or(there), &options)
        }
        Target::Unix(path) => socket::connect_unix(path),
        Target::Abstract { name, padded } => socket::connect_abstract(name, *padded),
    };
    let refused = |e: io::Error| Finding::of(CheckStatus::L4Con).because(said(&e));
    let io = fd.map(Io::new).map_err(refused)?;
    match poll_fn(|cx| io.poll_connected(cx)).await {
        // Nobody resets what is not there yet: such a connection is refused.
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset && route.silent => {}
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(broken(&e)),
        connected => connected.map_err(refused)?,
    }
    let failed = |e: &str| Finding::of(CheckStatus::L6Response).because(e);
    let mut io = match route.tls {
        None => Transport::Plain(io),
        Some(tls) => {
            clock.enter(Phase::Handshake);
            Transport::to_server(io, &tls.connector, tls.sni.as_deref(), &route.target)
                .map_err(|e| failed(e.message()))?
        }
    };
    // There is no client to tell of: version 1 tells of this connection, as HAProxy does, and
    // version 2 has a command for it, which not every server understands.
    opening.header = match route.send_proxy {
        None => Vec::new(),
        Some(SendProxy::V1) => wire::proxy::line(socket::ends(io.socket().raw())),
        Some(SendProxy::V2 {
            crc32c,
            never_local,
            ..
        }) => {
            let ends = never_local.then(|| socket::ends(io.socket().raw()));
            wire::proxy::header(ends.flatten(), &[], crc32c)
        }
    };
    if route.tls.is_some() || route.socks4.is_some() || !opening.header.is_empty() {
        let made = poll_fn(|cx| io.poll_established(cx, &mut opening)).await;
        made.map_err(|e| match opening.fault(&e) {
            Some(fault) => Finding::of(CheckStatus::SockErr).because(rules::faults::words(fault)),
            None => failed(&torn(&e)),
        })?;
    }
    clock.enter(Phase::Answer);
    Ok(io)
}

/// The request to a SOCKS proxy for a connection there.
fn through(there: SocketAddr) -> Result<Tunnel, Finding> {
    let target = Target::Tcp {
        ip: there.ip(),
        port: PortSpec::Fixed(there.port()),
    };
    Tunnel::to(&target)
        .ok_or_else(|| Finding::of(CheckStatus::SockErr).because("SOCKS 4 leads to IPv4 only"))
}

/// A connection that the other side or the system has ended.
fn broken(e: &io::Error) -> Finding {
    Finding::of(CheckStatus::SockErr).because(said(e))
}

/// A handshake that came to nothing, word for word as HAProxy says it.
fn torn(e: &io::Error) -> String {
    match e.get_ref().and_then(|e| e.downcast_ref()) {
        Some(HandshakeError::Empty | HandshakeError::Closed | HandshakeError::Failed) => {
            HandshakeError::Refused.message().into()
        }
        Some(other) => other.message().into(),
        None => format!("{} ({})", HandshakeError::Refused, said(e)),
    }
}

/// Sends all of it.
pub async fn send(io: &mut Transport, bytes: &[u8]) -> Result<(), Finding> {
    let failed = |e: io::Error| broken(&e);
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|r| !r.is_empty()) {
        let n = poll_fn(|cx| io.poll_write(cx, &[IoSlice::new(rest)])).await;
        at += n.map_err(failed)?;
    }
    poll_fn(|cx| io.poll_flush(cx)).await.map_err(failed)
}

/// Appends what comes next; whether that was anything. Behind bytes a reset is the end of them: some
/// servers close with what they have not read.
pub async fn receive(io: &mut Transport, into: &mut Vec<u8>) -> Result<bool, Finding> {
    let mut chunk = [0; 4096];
    let read = poll_fn(|cx| io.poll_read(cx, &mut chunk)).await;
    let n = match read {
        Err(e) if e.raw_os_error().is_some() && into.is_empty() => return Err(broken(&e)),
        // What TLS says of an end that was not announced.
        read => read.unwrap_or(0),
    };
    into.extend_from_slice(chunk.get(..n).unwrap_or_default());
    Ok(n > 0)
}
