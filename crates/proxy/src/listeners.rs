//! The sockets that listen: bound as the configuration wants them, taken over from the process before,
//! left out where their frontend is.

use crate::seat::Places;
use crate::{signature, socket};
use model::{Address, Bind, Config, Mode};
use state::{Frontend, Gauge};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// One listening socket.
pub struct Listener {
    /// The frontend, or the `peers` section.
    pub(crate) frontend: Arc<str>,
    /// Whether peers come in here.
    pub(crate) of_peers: bool,
    pub(crate) bind: Bind,
    pub(crate) socket: Arc<OwnedFd>,
    backlog: u32,
    /// The address, where it is one and the same for every connection.
    pub(crate) local: Option<SocketAddr>,
    /// Connections that came in here.
    pub(crate) sessions: Arc<Gauge>,
}

impl Listener {
    /// A place for one more session, unless there are too many.
    pub(crate) fn place(&self, frontend: &Frontend) -> Option<Places> {
        self.sessions
            .try_enter(self.most())
            .then(|| Places::new(Arc::clone(&self.sessions), frontend.enter(self.bind.id)))
    }

    /// The most connections at a time.
    pub(crate) fn most(&self) -> u64 {
        self.bind.options.maxconn.map_or(u64::MAX, u64::from)
    }
}

/// All listening sockets of a configuration.
#[derive(Default)]
pub struct Listeners {
    pub(crate) all: Vec<Arc<Listener>>,
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

impl Listeners {
    /// Every socket with its address, as `bind` lines write it.
    pub fn sockets(&self) -> impl Iterator<Item = (String, &OwnedFd)> {
        let all = self.all.iter();
        all.map(|l| (shown(&l.bind.address), &*l.socket))
    }

    /// Those of all frontends but this.
    pub fn without(&self, frontend: &str) -> Listeners {
        let of = |l: &&Arc<Listener>| !l.of_peers && *l.frontend == *frontend;
        let all = self.all.iter().filter(|l| !of(l));
        Listeners {
            all: all.cloned().collect(),
        }
    }

    /// Refuses connections to a frontend, or takes them again, by its TCP sockets. They stay
    /// bound. Workers must be given the listeners anew after the latter, because a socket that
    /// was refusing looks closed to their reactors.
    pub fn refuse(&self, frontend: &str, refuse: bool) {
        let of = |l: &&Arc<Listener>| !l.of_peers && *l.frontend == *frontend;
        for listener in self.all.iter().filter(of) {
            let fd = listener.socket.as_raw_fd();
            if socket::local_address(fd).is_none() {
                continue;
            }
            // SAFETY: plain calls on a descriptor that `listener` keeps open.
            unsafe {
                if refuse {
                    libc::shutdown(fd, libc::SHUT_RD);
                } else {
                    libc::listen(fd, listener.backlog as i32);
                }
            }
        }
    }
}

/// A socket that a configuration wants.
pub struct Wanted<'a> {
    /// The index of the proxy in the configuration; `peers` sections follow the last of them.
    pub proxy: usize,
    /// The index of the `bind` in it.
    pub index: usize,
    /// What is to be bound.
    pub bind: &'a Bind,
    backlog: u32,
    reuse_port: bool,
    late: bool,
}

impl Wanted<'_> {
    /// The `bind` at these indices of a configuration.
    pub fn at(config: &Config, proxy: usize, index: usize) -> Option<Wanted<'_>> {
        let side = config.proxies.get(proxy).map(|p| p.frontend.as_ref());
        let binds = match side {
            Some(side) => &side?.binds,
            None => &config.peers.get(proxy - config.proxies.len())?.binds,
        };
        let (bind, side) = (binds.get(index)?, side.flatten());
        let backlog = side.and_then(|s| s.backlog.or(s.maxconn));
        let backlog = bind.options.backlog.or(backlog).unwrap_or(4096);
        Some(Wanted {
            proxy,
            index,
            bind,
            backlog: backlog.clamp(1, 65535),
            reuse_port: !config.global.noreuseport,
            late: side.is_some_and(|s| s.smart_accept),
        })
    }

    /// Its address, as `bind` lines write it.
    pub fn address(&self) -> String {
        shown(&self.bind.address)
    }

    /// Makes it.
    pub fn open(&self) -> io::Result<OwnedFd> {
        socket::listen(self.bind, self.backlog, self.reuse_port)
    }

    /// Takes over what another process made for its address.
    pub fn adopt(&self, socket: OwnedFd) -> io::Result<OwnedFd> {
        signature::sign_kept(&socket, self.bind)?;
        Ok(socket)
    }
}

/// The sockets of a configuration: those of `old` that it still wants, and what `open` makes or finds.
pub fn bind_all(
    config: &Config,
    old: &Listeners,
    open: &mut dyn FnMut(&Wanted<'_>) -> io::Result<OwnedFd>,
) -> Result<Listeners, Vec<BindError>> {
    let mut kept: HashMap<&Address, &Arc<Listener>> =
        old.all.iter().map(|l| (&l.bind.address, l)).collect();
    let mut all: Vec<Arc<Listener>> = Vec::new();
    let mut errors = Vec::new();
    let mut signed_anew = Vec::new();
    let failed = |owner: &Arc<str>, bind: &Bind, error| BindError {
        proxy: Arc::clone(owner),
        origin: bind.origin.clone(),
        address: shown(&bind.address),
        error,
    };
    let proxies = config.proxies.iter();
    let proxies = proxies.map(|p| (&p.name, !p.disabled && p.mode != Mode::Packet));
    let owners = proxies.chain(config.peers.iter().map(|p| (&p.name, true)));
    for (at, (owner, here)) in owners.enumerate() {
        let mut binds = (0..).map_while(|index| Wanted::at(config, at, index));
        while let Some(wanted) = binds.next().filter(|_| here) {
            let bind = wanted.bind;
            let mut sessions = Arc::default();
            let socket = match kept.remove(&bind.address) {
                Some(listener) => {
                    sessions = Arc::clone(&listener.sessions);
                    if let (Some(new), Some(old)) = (&bind.options.tls, &listener.bind.options.tls)
                    {
                        new.adopt(old);
                    }
                    if bind.options.signed != listener.bind.options.signed {
                        signed_anew.push(all.len());
                    }
                    Ok(Arc::clone(&listener.socket))
                }
                None => open(&wanted).map(Arc::new),
            };
            match socket {
                Ok(socket) => {
                    let fd = socket.as_raw_fd();
                    socket::acknowledge(fd, wanted.late);
                    let local = socket::local_address(fd).filter(|a| !a.ip().is_unspecified());
                    let listener = Listener {
                        frontend: Arc::clone(owner),
                        of_peers: at >= config.proxies.len(),
                        bind: bind.clone(),
                        socket,
                        backlog: wanted.backlog,
                        local,
                        sessions,
                    };
                    all.push(Arc::new(listener));
                }
                Err(error) => errors.push(failed(owner, bind, error)),
            }
        }
    }
    if errors.is_empty() {
        // Only now: what is refused leaves the sockets as they are.
        for listener in signed_anew.into_iter().filter_map(|at| all.get(at)) {
            let Listener {
                frontend,
                socket,
                bind,
                ..
            } = &**listener;
            let signed = signature::sign_kept(socket, bind);
            errors.extend(signed.err().map(|error| failed(frontend, bind, error)));
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
        Address::Inet { host, port, kind } => {
            let kind = match kind {
                model::SocketKind::Stream => "",
                model::SocketKind::Datagram => "udp@",
            };
            let host = match host {
                model::Host::Any => "*".to_string(),
                model::Host::Any6 => "[::]".to_string(),
                model::Host::Ip(ip) => ip.to_string(),
                model::Host::Name(name) => name.to_string(),
            };
            match port {
                model::PortSpec::Fixed(port) => format!("{kind}{host}:{port}"),
                _ => format!("{kind}{host}"),
            }
        }
    }
}
