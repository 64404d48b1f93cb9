//! The thread that keeps tables alike with the peers: listens, connects, hands changes over.

use super::frame::table_of;
use super::link::{Link, Peer};
use super::{Limits, Replica};
use crate::service::Say;
use model::{PeerKey, Vrrp};
use socket2::{Domain, Socket, Type};
use state::Replication;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at what changed: with the linger of the protocol, how old a change may get here.
const LOOK: Duration = Duration::from_millis(20);

/// Between two attempts to listen where it failed.
const AGAIN: Duration = Duration::from_secs(1);

/// Connections that have not said which table they are for, at most, and for how long.
const UNNAMED: usize = 16;
const UNNAMED_FOR: Duration = Duration::from_secs(3);

/// The same line is said once in this time.
const QUIET: Duration = Duration::from_secs(60);

enum Order {
    Peers(Vec<Peer>),
    Table(Box<dyn Replica>),
    Stop,
}

/// Keeps tables alike with other machines until it is dropped.
pub struct Synchroniser {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Synchroniser {
    /// Starts the thread. `changed` is called when a copy has become whole, or is no longer.
    pub fn start(
        sections: &[Arc<Vrrp>],
        tables: Vec<Box<dyn Replica>>,
        replication: Arc<Replication>,
        changed: Box<dyn Fn() + Send>,
        say: Say,
    ) -> Result<Synchroniser, String> {
        let (orders, taken) = channel();
        let mut running = Running {
            peers: Vec::new(),
            tables: Vec::new(),
            links: Vec::new(),
            listeners: Vec::new(),
            listened: None,
            unnamed: Vec::new(),
            said: Vec::new(),
            replication,
            changed,
            say,
        };
        running.follow(peers_of(sections));
        for table in tables {
            running.add(table);
        }
        let thread = std::thread::Builder::new().name("sync".into());
        let thread = thread.spawn(move || running.run(&taken));
        Ok(Synchroniser {
            orders,
            thread: Some(thread.map_err(|e| format!("cannot start to synchronise: {e}"))?),
        })
    }

    /// Follows other sections.
    pub fn reload(&self, sections: &[Arc<Vrrp>]) {
        // It only ends with us.
        let _ = self.orders.send(Order::Peers(peers_of(sections)));
    }

    /// One more table.
    pub fn add(&self, table: Box<dyn Replica>) {
        let _ = self.orders.send(Order::Table(table));
    }
}

impl Drop for Synchroniser {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn peers_of(sections: &[Arc<Vrrp>]) -> Vec<Peer> {
    let mut peers: Vec<Peer> = Vec::new();
    for section in sections {
        let Some(sync) = &section.sync else { continue };
        for address in &section.peers {
            if peers.iter().any(|p| p.address == *address) {
                continue;
            }
            let key = section.peer_key.as_ref();
            peers.push(Peer {
                address: *address,
                key: key.map_or_else(|| Arc::from([]), |PeerKey(key)| Arc::clone(key)),
                dedicated: sync.dedicated.clone(),
            });
        }
    }
    peers
}

struct Listening {
    socket: TcpListener,
    ipv6: bool,
    port: u16,
    dedicated: Option<Arc<str>>,
}

struct Unnamed {
    stream: TcpStream,
    peer: usize,
    since: Instant,
    came: Vec<u8>,
}

struct Running {
    peers: Vec<Peer>,
    tables: Vec<Box<dyn Replica>>,
    links: Vec<Link>,
    listeners: Vec<Listening>,
    listened: Option<Instant>,
    unnamed: Vec<Unnamed>,
    said: Vec<(String, Instant)>,
    replication: Arc<Replication>,
    changed: Box<dyn Fn() + Send>,
    say: Say,
}

impl Running {
    fn run(&mut self, orders: &Receiver<Order>) {
        let mut whole = Vec::new();
        loop {
            match orders.try_recv() {
                Ok(Order::Peers(peers)) => self.follow(peers),
                Ok(Order::Table(table)) => self.add(table),
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            let now = Instant::now();
            self.listen(now);
            self.accept(now);
            self.collect(now);
            for at in 0..self.links.len() {
                self.work(at, now);
            }
            let status = self.links.iter().filter_map(|l| {
                let (peer, table) = (self.peers.get(l.peer)?, self.tables.get(l.table)?);
                Some(l.status(peer, &**table, now))
            });
            let status: Vec<_> = status.collect();
            let now_whole: Vec<_> = status.iter().map(|s| s.receiving).collect();
            self.replication.set_status(status);
            if std::mem::replace(&mut whole, now_whole.clone()) != now_whole {
                (self.changed)();
            }
            self.wait();
        }
    }

    /// Waits for the network, for as long as changes may wait.
    fn wait(&self) {
        let now = Instant::now();
        let due = self.links.iter().filter_map(Link::deadline).min();
        let due = due.map_or(LOOK, |at| at.saturating_duration_since(now).min(LOOK));
        let links = self.links.iter().flat_map(Link::interests);
        let listeners = self
            .listeners
            .iter()
            .map(|l| (l.socket.as_raw_fd(), libc::POLLIN));
        let mut polled: Vec<libc::pollfd> = links
            .chain(listeners)
            .map(|(fd, events)| libc::pollfd {
                fd,
                events,
                revents: 0,
            })
            .collect();
        let ms = i32::try_from(due.as_micros().div_ceil(1000)).unwrap_or(20);
        // SAFETY: the array is a live variable, and the count is the array's.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, ms) };
    }

    /// What changed goes to all peers.
    fn collect(&mut self, now: Instant) {
        for (at, table) in self.tables.iter_mut().enumerate() {
            let mut links: Vec<&mut Link> =
                self.links.iter_mut().filter(|l| l.table == at).collect();
            let all = table.changes(&mut |key, value| {
                for link in &mut links {
                    link.changed(key, value, now);
                }
            });
            let again = table.wants_all();
            for link in links {
                if !all {
                    link.restart();
                }
                if again {
                    link.ask_anew();
                }
            }
        }
    }

    fn work(&mut self, at: usize, now: Instant) {
        let Some(link) = self.links.get_mut(at) else {
            return;
        };
        let (Some(peer), Some(table)) =
            (self.peers.get(link.peer), self.tables.get_mut(link.table))
        else {
            return;
        };
        if let Some(wrong) = link.work(peer, &mut **table, now) {
            let line = format!(
                "error: vrrp: sessions are not synchronised with {}: {wrong}",
                peer.address
            );
            self.say(line, now);
        }
    }

    fn say(&mut self, line: String, now: Instant) {
        self.said.retain(|(_, at)| now < *at + QUIET);
        if !self.said.iter().any(|(said, _)| *said == line) && self.said.len() < 64 {
            (self.say)(&line);
            self.said.push((line, now));
        }
    }

    fn add(&mut self, table: Box<dyn Replica>) {
        let at = self.tables.len();
        self.tables.push(table);
        self.join(at);
    }

    /// Links of a table with all peers.
    fn join(&mut self, at: usize) {
        let Some(table) = self.tables.get(at) else {
            return;
        };
        let kind = (table.kind(), table.layout());
        let limits = Limits {
            batch: 8192,
            ..Limits::default()
        };
        let now = Instant::now();
        let peers = 0..self.peers.len();
        self.links
            .extend(peers.map(|peer| Link::new(peer, at, kind, limits, now)));
    }

    /// Other peers: those that were there before begin anew, too, but only if anything differs.
    fn follow(&mut self, peers: Vec<Peer>) {
        if peers == self.peers {
            return;
        }
        for table in &mut self.tables {
            for peer in 0..self.peers.len() {
                table.hear(peer);
                table.standing(false);
            }
        }
        self.peers = peers;
        self.links.clear();
        self.unnamed.clear();
        self.listeners.clear();
        self.listened = None;
        for at in 0..self.tables.len() {
            self.join(at);
        }
        for peer in &self.peers {
            if let Some(interface) = &peer.dedicated {
                (self.say)(&format!(
                    "notice: vrrp: sessions are synchronised with {} without a key: only over {interface}",
                    peer.address
                ));
            }
        }
    }

    /// Listens where peers connect to.
    fn listen(&mut self, now: Instant) {
        let mut wanted: Vec<(bool, u16, Option<Arc<str>>)> = Vec::new();
        for peer in &self.peers {
            let one = (
                peer.address.is_ipv6(),
                peer.address.port(),
                peer.dedicated.clone(),
            );
            if !wanted.contains(&one) {
                wanted.push(one);
            }
        }
        if wanted.len() == self.listeners.len() || self.listened.is_some_and(|t| now < t + AGAIN) {
            return;
        }
        self.listened = Some(now);
        for (ipv6, port, dedicated) in wanted {
            let there = |l: &Listening| (l.ipv6, l.port, &l.dedicated) == (ipv6, port, &dedicated);
            if self.listeners.iter().any(there) {
                continue;
            }
            match open(ipv6, port, dedicated.as_deref()) {
                Ok(socket) => self.listeners.push(Listening {
                    socket,
                    ipv6,
                    port,
                    dedicated,
                }),
                Err(e) => {
                    let line = format!(
                        "error: vrrp: cannot listen on TCP port {port} for sessions of peers: {e}"
                    );
                    self.say(line, now);
                }
            }
        }
    }

    /// Takes connections of peers, and hands them on when they say which table they are for.
    fn accept(&mut self, now: Instant) {
        let mut strangers = Vec::new();
        for listener in &self.listeners {
            while let Ok((stream, from)) = listener.socket.accept() {
                let from = from.ip().to_canonical();
                let peer = self.peers.iter().position(|p| p.address.ip() == from);
                match peer {
                    Some(peer) if stream.set_nonblocking(true).is_ok() => {
                        self.unnamed.push(Unnamed {
                            stream,
                            peer,
                            since: now,
                            came: Vec::new(),
                        });
                    }
                    _ => strangers.push(from),
                }
            }
        }
        for from in strangers {
            let line = format!(
                "warning: vrrp: {from} wants to send sessions and is no 'peer' of a section with 'sync sessions': it is not listened to"
            );
            self.say(line, now);
        }
        let excess = self.unnamed.len().saturating_sub(UNNAMED);
        self.unnamed.drain(..excess);
        for mut one in std::mem::take(&mut self.unnamed) {
            let mut buffer = [0; 4096];
            match one.stream.read(&mut buffer) {
                Ok(0) => continue,
                Ok(n) => one
                    .came
                    .extend_from_slice(buffer.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => continue,
            }
            match table_of(&one.came) {
                Some(kind) => self.name(one, kind, now),
                None if now < one.since + UNNAMED_FOR => self.unnamed.push(one),
                None => {}
            }
        }
    }

    fn name(&mut self, one: Unnamed, kind: u16, now: Instant) {
        let table = self.tables.iter().position(|t| t.kind() == kind);
        let link = self
            .links
            .iter_mut()
            .find(|l| l.peer == one.peer && Some(l.table) == table);
        let (Some(link), Some(peer)) = (link, self.peers.get(one.peer)) else {
            let peer = self.peers.get(one.peer).map(|p| p.address.to_string());
            let line = format!(
                "warning: vrrp: {} sends a table that is not here: give both machines the same proxies and run the same release",
                peer.unwrap_or_default()
            );
            return self.say(line, now);
        };
        if let Some(table) = self.tables.get_mut(link.table)
            && let Some(wrong) = link.accept(one.stream, &one.came, peer, &mut **table)
        {
            let line = format!(
                "error: vrrp: sessions are not synchronised with {}: {wrong}",
                peer.address
            );
            self.say(line, now);
        }
    }
}

fn open(ipv6: bool, port: u16, dedicated: Option<&str>) -> io::Result<TcpListener> {
    let (domain, any): (Domain, IpAddr) = match ipv6 {
        true => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
        false => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    if ipv6 {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    // The process that this one replaces listens still.
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    if let Some(interface) = dedicated {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.bind(&SocketAddr::new(any, port).into())?;
    socket.listen(16)?;
    Ok(socket.into())
}
