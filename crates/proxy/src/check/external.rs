//! `option external-check`: a program says by its exit status whether a server is well (manual
//! section 4.2, `external-check command`).

use super::clock::Phase;
use super::dial::said;
use super::scene::Scene;
use model::{External, PortSpec};
use state::Target;
use state::health::{CheckStatus, Finding};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use tokio::io::unix::AsyncFd;

/// A program that is ended when nobody waits for it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let _ = self.0.kill();
            // After SIGKILL this does not take long, and leaves no zombie.
            let _ = self.0.wait();
        }
    }
}

/// Runs the program to its end.
pub async fn run(scene: &Scene<'_>, external: &External) -> Result<Finding, Finding> {
    let failed = |e: std::io::Error| Finding::of(CheckStatus::SockErr).because(said(&e));
    if !scene.worker.generation().config.global.insecure_fork {
        let found = Finding::of(CheckStatus::SockErr);
        return Err(found.because("no program may be started: add 'insecure-fork-wanted'"));
    }
    scene.clock.enter(Phase::Program);
    let started = command(scene, external).spawn();
    // As shells do: 255 is a program that cannot be run.
    let started = started.map_err(|e| {
        Finding::of(CheckStatus::ProcErr)
            .with_code(255u32)
            .because(said(&e))
    });
    let mut running = Running(started?);
    let watch = watch(&running.0).map_err(failed)?;
    // SAFETY: the descriptor is owned by what is registered, and is closed with it.
    let ended = unsafe { AsyncFd::register(watch) }.map_err(|e| failed(e.into()))?;
    ended.readable().await.map_err(failed)?.retain_ready();
    let status = running.0.wait().map_err(failed)?;
    Err(match (status.code(), status.signal()) {
        (Some(0), _) => return Ok(Finding::of(CheckStatus::ProcOk).with_code(0u32)),
        (Some(code), _) => Finding::of(CheckStatus::ProcErr).with_code(code.unsigned_abs()),
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            Finding::of(CheckStatus::ProcErr).because(format!("ended by signal {signal}"))
        }
    })
}

/// A descriptor that is readable once the program has ended (pidfd_open(2)).
fn watch(child: &Child) -> std::io::Result<OwnedFd> {
    // SAFETY: a plain system call on the number of our own child, which has not been waited for.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id() as libc::pid_t, 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn command(scene: &Scene<'_>, external: &External) -> Command {
    let (server, backend) = (scene.server, scene.backend);
    let settings = server.settings();
    let (address, port) = match scene.target() {
        Ok(Target::Tcp { ip, port }) => {
            let own = match port {
                PortSpec::Fixed(port) => Some(port),
                _ => super::dial::served_port(server),
            };
            let port = scene.check.port.or(own).unwrap_or(0);
            (ip.to_string(), Some(port))
        }
        Ok(Target::Unix(path)) => (path.to_string(), None),
        Ok(Target::Abstract { name, .. }) => (name.to_string(), None),
        Err(_) => (String::new(), None),
    };
    let (proxy, proxy_port) = match &external.proxy {
        Some((address, port)) => (address.to_string(), *port),
        None => (String::new(), None),
    };
    let or_unused = |text: &str| match text {
        "" => "NOT_USED".to_string(),
        text => text.to_string(),
    };
    let number = |port: Option<u16>| port.map_or(String::new(), |p| p.to_string());
    let protocol = match backend.proxy().mode {
        model::Mode::Http => "h1",
        other => other.name(),
    };
    let mut command = Command::new(&*external.command);
    command
        // Nothing of ours is the program's business: secrets of the configuration may be there.
        .env_clear()
        .env("PATH", external.path.as_deref().unwrap_or_default())
        .args([
            or_unused(&proxy),
            or_unused(&number(proxy_port)),
            address.clone(),
            or_unused(&number(port)),
        ])
        .env("HAPROXY_PROXY_ADDR", &proxy)
        .env("HAPROXY_PROXY_ID", backend.id.to_string())
        .env("HAPROXY_PROXY_NAME", &*backend.name)
        .env("HAPROXY_PROXY_PORT", number(proxy_port))
        .env("HAPROXY_SERVER_ADDR", &address)
        .env("HAPROXY_SERVER_CURCONN", server.sessions.now().to_string())
        .env("HAPROXY_SERVER_ID", server.id.to_string())
        .env("HAPROXY_SERVER_MAXCONN", server.maxconn().to_string())
        .env("HAPROXY_SERVER_NAME", &*server.name)
        .env("HAPROXY_SERVER_PORT", number(port))
        .env(
            "HAPROXY_SERVER_SSL",
            u8::from(settings.tls.is_some()).to_string(),
        )
        .env("HAPROXY_SERVER_PROTO", protocol)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A group of its own: what the terminal sends us is not for it.
        .process_group(0);
    command
}
