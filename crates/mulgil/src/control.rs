//! The control sockets: accepting, reading lines, answering.

use crate::handover;
use crate::life::Life;
use crate::world::{Machine, wall_now};
use crate::{args::Args, descriptors};
use admin::{Cli, Listen, Packets, System, World};
use model::{CliLevel, ShowSeverity, StatsSocket};
use proxy::Rosters;
use state::{VirtualRouters, VrrpStatus};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as PlainStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What conversations need.
pub struct Control {
    /// The serving process.
    pub life: Rc<Life>,
    /// The sessions of the workers.
    pub rosters: Rosters,
    /// The control sockets: address and level.
    pub sockets: Vec<(String, CliLevel)>,
    /// Conversations that may be held at a time (`stats maxconn`).
    pub places: Arc<Semaphore>,
    /// How long a connection may be silent.
    pub timeout: Duration,
}

impl System for Control {
    fn packets(&self, what: Packets<'_>) -> Option<String> {
        let plane = self.life.packets.borrow();
        let plane = plane.as_ref()?;
        match what {
            Packets::Sessions => plane.list(),
            Packets::Clear(texts) => plane.clear(texts),
            Packets::Events => plane.events(),
            Packets::Trace(client) => plane.trace(client),
            Packets::Guard => plane.guard(),
        }
    }

    fn server(&self, _backend: &str, words: &[&str]) -> Result<model::Server, String> {
        let generation = self.life.process.generation.load();
        let server = config::server_from_words(words, &Machine, &generation.config.global)?;
        if let (true, Err(lacking)) = (server.signed.is_some(), proxy::can_sign()) {
            return Err(format!(
                "this kernel cannot sign segments (TCP_MD5SIG: {lacking}): remove 'tcp-md5sig'"
            ));
        }
        Ok(server)
    }

    fn listen(&self, frontend: &str, how: Listen) {
        self.life.listen(frontend, how);
    }

    fn libraries(&self) -> String {
        crate::memory::objects()
    }

    fn reload(&self) -> Result<String, String> {
        self.life.reload()
    }
}

impl VirtualRouters for Control {
    fn status(&self) -> Option<Vec<VrrpStatus>> {
        self.life.vrrp.status()
    }

    fn release(&self, name: Option<&str>, released: bool) -> Result<(), String> {
        self.life.vrrp.release(name, released)
    }
}

/// A bound control socket.
pub struct Bound {
    socket: OwnedFd,
    /// Its address, as dumps show it.
    pub name: String,
    level: CliLevel,
    severity: ShowSeverity,
    internet: bool,
    expose: bool,
}

impl Bound {
    /// Makes the socket.
    pub fn new(s: &StatsSocket) -> Result<Bound, String> {
        let failed =
            |e: io::Error| format!("cannot open stats socket {}: {e}", admin::shown(&s.address));
        let bind = model::Bind {
            address: s.address.clone(),
            prefix: None,
            options: Arc::clone(&s.options),
            origin: "".into(),
            id: 0,
        };
        let socket = proxy::listen_socket(&bind, 10, false).map_err(failed)?;
        let copy = std::net::TcpListener::from(socket.try_clone().map_err(failed)?);
        let internet = copy.local_addr().ok();
        let name = match (&s.address, internet) {
            (model::Address::Fd(_), Some(a)) if a.is_ipv4() => format!("ipv4@{a}"),
            (model::Address::Fd(_), Some(a)) => format!("ipv6@{}:{}", a.ip(), a.port()),
            (address, _) => admin::shown(address),
        };
        Ok(Bound {
            socket,
            name,
            level: s.level,
            severity: s.severity,
            internet: internet.is_some(),
            expose: s.expose_listeners,
        })
    }

    /// What the level of its conversations is.
    pub fn level(&self) -> CliLevel {
        self.level
    }

    /// Calls `talk` with each connection and its place, for ever; connections that find no place
    /// wait in the kernel's queue.
    pub async fn accept(
        self,
        places: Arc<Semaphore>,
        mut talk: impl FnMut(Stream, OwnedSemaphorePermit),
    ) {
        if self.internet {
            let Ok(listener) = TcpListener::from_std(self.socket.into()) else {
                return;
            };
            while let Ok(place) = Arc::clone(&places).acquire_owned().await
                && let Ok((stream, _)) = listener.accept().await
            {
                talk(Stream::Internet(stream), place);
            }
        } else {
            let Ok(listener) = UnixListener::from_std(self.socket.into()) else {
                return;
            };
            while let Ok(place) = Arc::clone(&places).acquire_owned().await
                && let Ok((stream, _)) = listener.accept().await
            {
                talk(Stream::Unix(stream), place);
            }
        }
    }
}

/// Makes the sockets.
pub fn bind(sockets: &[StatsSocket]) -> Result<Vec<Bound>, String> {
    sockets.iter().map(Bound::new).collect()
}

/// A connection to a control socket.
pub enum Stream {
    /// Over TCP.
    Internet(tokio::net::TcpStream),
    /// Over a UNIX socket.
    Unix(UnixStream),
}

impl Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Internet(s) => s.as_fd(),
            Stream::Unix(s) => s.as_fd(),
        }
    }

    /// Reads what there is; 0 is the end.
    pub async fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Internet(s) => s.read(chunk).await,
            Stream::Unix(s) => s.read(chunk).await,
        }
    }

    /// Writes all.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Internet(s) => s.write_all(bytes).await,
            Stream::Unix(s) => s.write_all(bytes).await,
        }
    }
}

/// The longest line of commands, bytes.
const LONGEST: usize = 64 * 1024;

/// Lines as they come in.
#[derive(Default)]
pub struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Whether a whole line is there already.
    pub fn has_line(&self) -> bool {
        self.pending.contains(&b'\n')
    }

    /// The next line without its end; `None` when no more come, one is too long, or the other
    /// side is silent for longer than `patience`.
    pub async fn next(&mut self, stream: &mut Stream, patience: Duration) -> Option<String> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(end) = self.pending.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Some(text(&line));
            }
            match tokio::time::timeout(patience, stream.read(&mut chunk)).await {
                Ok(Ok(n)) if n > 0 && self.pending.len() < LONGEST => {
                    self.pending.extend_from_slice(chunk.get(..n)?);
                }
                // A line without its end counts when nothing more can come.
                Ok(Ok(0)) if !self.pending.is_empty() => {
                    return Some(text(&std::mem::take(&mut self.pending)));
                }
                _ => return None,
            }
        }
    }
}

fn text(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.trim_end_matches(['\r', '\n']).to_string()
}

/// Serves one control socket for ever.
pub async fn serve(bound: Bound, control: Rc<Control>) {
    let (cli, expose) = ((bound.level, bound.severity), bound.expose);
    let start = |stream, place| {
        let control = Rc::clone(&control);
        tokio::task::spawn_local(async move {
            talk(stream, cli, expose, control).await;
            drop(place);
        });
    };
    bound.accept(Arc::clone(&control.places), start).await;
}

/// Serves the connections that the master passes on; ends when the master is gone.
pub async fn serve_door(door: PlainStream, control: Rc<Control>) {
    // SAFETY: the stream is open, and owned by the `AsyncFd` until it is dropped.
    let registered =
        unsafe { AsyncFd::register_with_interest(door, tokio::io::Interest::READABLE) };
    let Ok(door) = registered else { return };
    loop {
        let Ok(mut ready) = door.readable().await else {
            return;
        };
        let mut level = [0];
        let come = ready.try_io(|door| descriptors::receive(door.as_fd(), &mut level));
        match come {
            Err(_would_block) => {}
            Ok(Ok((0, _)) | Err(_)) => return,
            Ok(Ok((_, fds))) => {
                let level = match level[0] {
                    b'u' => CliLevel::User,
                    b'o' => CliLevel::Operator,
                    _ => CliLevel::Admin,
                };
                for fd in fds {
                    let stream = PlainStream::from(fd);
                    let stream = stream
                        .set_nonblocking(true)
                        .and_then(|()| UnixStream::from_std(stream));
                    if let Ok(stream) = stream {
                        let control = Rc::clone(&control);
                        let stream = Stream::Unix(stream);
                        tokio::task::spawn_local(async move {
                            let cli = (level, ShowSeverity::default());
                            talk(stream, cli, false, control).await;
                        });
                    }
                }
            }
        }
    }
}

async fn talk(
    mut stream: Stream,
    (level, severity): (CliLevel, ShowSeverity),
    expose: bool,
    control: Rc<Control>,
) {
    let mut cli = Cli::new(level);
    cli.gravity = severity;
    let mut lines = Lines::default();
    loop {
        let patience = cli.timeout.unwrap_or(control.timeout);
        let Some(line) = lines.next(&mut stream, patience).await else {
            return;
        };
        if expose && line == handover::COMMAND {
            let listeners = Arc::clone(&control.life.listeners.borrow());
            // Whoever asked has gone: there is nobody to tell.
            let _ = handover::give(stream.as_fd(), &listeners);
            return;
        }
        let output = {
            let life = &control.life;
            let env = life.env.borrow().clone();
            let world = World {
                process: &life.process,
                generation: life.process.generation.load_full(),
                env: &env,
                sessions: &control.rosters,
                system: &*control,
                sockets: &control.sockets,
                startup_logs: &life.startup,
                descriptor: stream.as_fd().as_raw_fd(),
                now: Instant::now(),
                wall: wall_now(),
            };
            cli.execute(&line, &world)
        };
        let written = stream.write_all(output.text.as_bytes()).await;
        let over = output.quit || !cli.goes_on() && !lines.has_line();
        if written.is_err() || over {
            return;
        }
    }
}

/// Reads the address of the master's own socket (`-S`), as a `stats socket` line has it but with
/// commas between its words.
pub fn master_socket(args: &Args) -> Result<Option<Bound>, String> {
    let Some(spec) = &args.master_socket else {
        return Ok(None);
    };
    let words: Vec<&str> = spec.split(',').collect();
    let mut socket = config::stats_socket_from_words(&words, &Machine)
        .map_err(|e| format!("'-S {spec}': {e}"))?;
    if !words.contains(&"level") {
        socket.level = CliLevel::Admin;
    }
    Bound::new(&socket).map(Some)
}

#[cfg(test)]
mod tests;
