//! Checks by datagrams (`option udp-check`).

use super::clock::Phase;
use super::dial::served_port;
use super::judge::{self, Verdict};
use super::scene::Scene;
use crate::socket::{self, Outgoing};
use model::{CheckAction, CheckPayload, CheckScript, PortSpec};
use state::Target;
use state::health::{CheckStatus, Finding};
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The longest datagram there is, bytes.
const LONGEST: usize = 65_536;

/// Sends what the script says, and waits for what it expects. What else comes meanwhile is passed
/// over, as somebody else's answer may be late.
pub async fn run(scene: &Scene<'_>, script: &CheckScript) -> Result<Finding, Finding> {
    scene.clock.enter(Phase::Answer);
    let socket = open(scene)?;
    let refused = |e: std::io::Error| Finding::of(CheckStatus::L4Con).because(e.to_string());
    let mut last = Finding::of(CheckStatus::L7Ok);
    for step in &script.steps {
        match &step.action {
            CheckAction::Send(CheckPayload::Bytes(bytes)) => {
                let sent = socket
                    .async_io(Interest::WRITABLE, |fd| send(fd, bytes))
                    .await;
                sent.map_err(refused)?;
            }
            CheckAction::Expect(expect) => loop {
                let mut answer = vec![0; LONGEST];
                let n = socket
                    .async_io(Interest::READABLE, |fd| receive(fd, &mut answer))
                    .await
                    .map_err(refused)?;
                let answer = answer.get(..n).unwrap_or_default();
                let verdict = Verdict {
                    scene,
                    expect,
                    step,
                };
                let holds = judge::bytes(scene, &expect.what, answer);
                let holds = holds.map_err(|why| verdict.unfit(why))?;
                if holds || expect.negated {
                    last = verdict.on_bytes(holds, answer)?;
                    break;
                }
            },
            // Nothing else is said of datagrams.
            _ => {}
        }
    }
    Ok(last)
}

fn open(scene: &Scene<'_>) -> Result<AsyncFd<OwnedFd>, Finding> {
    let (backend, server, check) = (scene.backend, scene.server, scene.check);
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
        mark: backend.check_mark(server),
        tos: None,
        source: source.or(backend.side().source.as_deref()),
        keepalive: None,
        user_timeout: None,
        fast_open: false,
        early: false,
        congestion: None,
        signed: None,
        namespace: settings.namespace.as_deref(),
        silent: false,
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
