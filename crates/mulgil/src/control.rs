//! The control sockets: accepting, reading lines, answering.

use admin::{Cli, World};
use model::{CliLevel, StatsSocket};
use state::Process;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

/// What conversations need.
pub struct Control {
    /// The process.
    pub process: Arc<Process>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// How long a connection may be silent.
    pub timeout: Duration,
}

/// A bound control socket.
pub struct Bound {
    socket: OwnedFd,
    level: CliLevel,
    internet: bool,
}

/// Makes the sockets.
pub fn bind(sockets: &[StatsSocket]) -> Result<Vec<Bound>, String> {
    let make = |s: &StatsSocket| {
        let bind = model::Bind {
            address: s.address.clone(),
            options: Arc::clone(&s.options),
            origin: "".into(),
            id: 0,
        };
        let socket = proxy::listen_socket(&bind, 10, false)
            .map_err(|e| format!("cannot open stats socket {:?}: {e}", s.address))?;
        let internet = std::net::TcpListener::from(
            socket
                .try_clone()
                .map_err(|e| format!("cannot open stats socket: {e}"))?,
        )
        .local_addr()
        .is_ok();
        Ok(Bound {
            socket,
            level: s.level,
            internet,
        })
    };
    sockets.iter().map(make).collect()
}

/// Serves one control socket for ever.
pub async fn serve(bound: Bound, control: Rc<Control>) {
    if bound.internet {
        let Ok(listener) = TcpListener::from_std(bound.socket.into()) else {
            return;
        };
        while let Ok((stream, _)) = listener.accept().await {
            let control = Rc::clone(&control);
            tokio::task::spawn_local(async move { talk(stream, bound.level, control).await });
        }
    } else {
        let Ok(listener) = UnixListener::from_std(bound.socket.into()) else {
            return;
        };
        while let Ok((stream, _)) = listener.accept().await {
            let control = Rc::clone(&control);
            tokio::task::spawn_local(async move { talk(stream, bound.level, control).await });
        }
    }
}

/// The longest line of commands, bytes.
const LONGEST: usize = 64 * 1024;

async fn talk<S>(mut stream: S, level: CliLevel, control: Rc<Control>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut cli = Cli::new(level);
    let mut pending = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let line = match Cli::message_end(&pending) {
            Some(end) => pending.drain(..end).collect(),
            None => {
                let read = tokio::time::timeout(control.timeout, stream.read(&mut chunk)).await;
                match read {
                    Ok(Ok(n)) if n > 0 && pending.len() < LONGEST => {
                        pending.extend_from_slice(&chunk[..n]);
                        continue;
                    }
                    // A line without its end counts when nothing more can come.
                    Ok(Ok(0)) if !pending.is_empty() => std::mem::take(&mut pending),
                    _ => return,
                }
            }
        };
        let text = String::from_utf8_lossy(&line).into_owned();
        let output = {
            let now = Instant::now();
            let world = World {
                process: &control.process,
                generation: control.process.generation.load_full(),
                env: &control.env,
                now,
            };
            cli.execute(text.trim_end_matches(['\r', '\n']), &world)
        };
        if stream.write_all(output.text.as_bytes()).await.is_err() || output.close {
            let _ = stream.shutdown().await;
            return;
        }
    }
}
