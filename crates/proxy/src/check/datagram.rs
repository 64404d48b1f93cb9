//! Checks by datagrams (`option udp-check`).

use super::clock::{Clock, Phase};
use super::dial::served_port;
use super::probe::{holds, negated};
use crate::socket::{self, Outgoing};
use model::{Check, PortSpec, TcpCheckStep};
use state::health::{CheckStatus, Finding};
use state::{Backend, Server, Target};
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The longest datagram there is, bytes.
const LONGEST: usize = 65_536;

/// Sends what the script says, and waits for what it expects. What else comes meanwhile is passed
/// over, as somebody else's answer may be late.
pub async fn script(
    backend: &Backend,
    server: &Server,
    check: &Check,
    steps: &[TcpCheckStep],
    clock: &Clock,
) -> Result<Finding, Finding> {
    clock.enter(Phase::Answer);
    let socket = open(backend, server, check)?;
    let refused = |e: std::io::Error| Finding::of(CheckStatus::L4Con).because(e.to_string());
    for step in steps {
        match step {
            TcpCheckStep::Send(bytes) => {
                let sent = socket
                    .async_io(Interest::WRITABLE, |fd| send(fd, bytes))
                    .await;
                sent.map_err(refused)?;
            }
            TcpCheckStep::Expect(expect) => loop {
                let mut answer = vec![0; LONGEST];
                let n = socket
                    .async_io(Interest::READABLE, |fd| receive(fd, &mut answer))
                    .await
                    .map_err(refused)?;
                let held = holds(expect, answer.get(..n).unwrap_or_default());
                match (held, negated(expect)) {
                    (true, false) | (false, true) => break,
                    (true, true) => return Err(Finding::of(CheckStatus::L7Response)),
                    (false, false) => {}
                }
            },
            TcpCheckStep::SendFormat(_)
            | TcpCheckStep::Comment(_)
            | TcpCheckStep::Connect { .. } => {}
        }
    }
    Ok(Finding::of(CheckStatus::L7Ok))
}

fn open(backend: &Backend, server: &Server, check: &Check) -> Result<AsyncFd<OwnedFd>, Finding> {
    let unusable = |why: &'static str| Finding::of(CheckStatus::SockErr).because(why);
    let own = check.addr.as_ref().and_then(Target::of);
    let target = own.or_else(|| server.target().map(|t| (*t).clone()));
    let Some(Target::Tcp { ip, port }) = target else {
        return Err(unusable("the server has no address"));
    };
    let own = match port {
        PortSpec::Fixed(port) => Some(port),
        _ => None,
    };
    let port = check.port.or(own).or_else(|| served_port(server));
    let port = port.ok_or_else(|| unusable("no port to check"))?;
    let settings = server.settings();
    let source = settings.source.as_deref();
    let options = Outgoing {
        source: source.or(backend.side().source.as_deref()),
        keepalive: None,
        user_timeout: None,
        fast_open: false,
        congestion: None,
        namespace: settings.namespace.as_deref(),
        many: false,
        foreign: None,
    };
    let failed = |e: std::io::Error| Finding::of(CheckStatus::L4Con).because(e.to_string());
    let fd = socket::connect_udp((ip, port).into(), &options).map_err(failed)?;
    // SAFETY: the `OwnedFd` is open, and stays open and the same until the `AsyncFd` that owns it
    // is dropped: nothing takes it out.
    let registered =
        unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE.add(Interest::WRITABLE)) };
    registered.map_err(|e| failed(e.into()))
}

fn send(fd: &OwnedFd, bytes: &[u8]) -> std::io::Result<usize> {
    socket2::SockRef::from(fd).send(bytes)
}

fn receive(fd: &OwnedFd, into: &mut [u8]) -> std::io::Result<usize> {
    use std::io::Read;
    let socket = socket2::SockRef::from(fd);
    (&*socket).read(into)
}
