//! One table and one peer: the connection that we send over and the one that the peer sends over.

use super::{Broken, Limits, Receiver, Replica, Sender};
use socket2::{Domain, SockAddr, Socket, Type};
use state::SyncStatus;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(500);

/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Bytes read from one connection before others get their turn.
const TURN: usize = 1 << 20;

/// Room for the next bytes of a connection.
const PIECE: usize = 64 << 10;

/// Bytes that wait to be sent, about, before no more are made.
const WAITING: usize = 256 << 10;

/// A peer and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it listens; we listen at the same port.
    pub address: SocketAddr,
    /// What seals all frames; empty on a link of their own.
    pub key: Arc<[u8]>,
    /// The interface of that link: nothing else is used.
    pub dedicated: Option<Arc<str>>,
}

/// Random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: the pointer and length describe `bytes`.
    let n = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    debug_assert!(n == N as isize);
    bytes
}

/// A connection with what waits to be sent.
struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    /// What has come; filled anew by each [`Connection::read`].
    came: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        // Without it the only loss is some milliseconds.
        let _ = stream.set_nodelay(true);
        Connection {
            stream,
            out: Vec::new(),
            came: Vec::new(),
        }
    }

    /// Reads what has come, and says how much; nothing more at the end is an error, too.
    fn read(&mut self) -> io::Result<usize> {
        let mut n = 0;
        while n < TURN {
            if self.came.len() < n + PIECE {
                self.came.resize(n + PIECE, 0);
            }
            match self.stream.read(self.came.get_mut(n..).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => n += more,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(n)
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.out.drain(..n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn interest(&self) -> (RawFd, i16) {
        let write = if self.out.is_empty() {
            0
        } else {
            libc::POLLOUT
        };
        (self.stream.as_raw_fd(), libc::POLLIN | write)
    }
}

/// Our way to the peer.
enum Way {
    /// None; the next attempt.
    Waiting(Instant),
    Connecting(Socket, Instant),
    Connected(Connection),
}

/// One table and one peer.
pub struct Link {
    /// The peer's place.
    pub peer: usize,
    /// The table's place.
    pub table: usize,
    sender: Sender,
    receiver: Receiver,
    way: Way,
    incoming: Option<Connection>,
    whole: bool,
    broken: Option<String>,
    sent: u64,
    taken: u64,
    snapshots: u64,
    lost: u64,
}

/// Why a conversation ended: by the protocol, or by the network.
enum End {
    Broken(Broken),
    Network(io::Error),
}

impl From<Broken> for End {
    fn from(broken: Broken) -> End {
        End::Broken(broken)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Network(error)
    }
}

impl End {
    fn words(&self) -> String {
        match self {
            End::Broken(broken) => broken.words(),
            End::Network(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                "the peer has closed the connection".into()
            }
            End::Network(e) => e.to_string(),
        }
    }
}

impl Link {
    /// Neither connected nor with anything sent or taken.
    pub fn new(peer: usize, table: usize, kind: (u16, u16), limits: Limits, now: Instant) -> Link {
        Link {
            peer,
            table,
            sender: Sender::new(u64::from_ne_bytes(random()), limits),
            receiver: Receiver::new(kind, limits),
            way: Way::Waiting(now),
            incoming: None,
            whole: false,
            broken: None,
            sent: 0,
            taken: 0,
            snapshots: 0,
            lost: 0,
        }
    }

    /// Something changed in the table.
    pub fn changed(&mut self, key: &[u8], value: Option<&[u8]>, now: Instant) {
        self.sender.changed(key, value, now);
        self.sent += 1;
    }

    /// The table is to be sent anew.
    pub fn restart(&mut self) {
        self.sender.restart();
    }

    /// The peer's table is asked for anew.
    pub fn ask_anew(&mut self) {
        self.incoming = None;
        self.receiver.forget();
    }

    /// The peer has connected to send its table. A connection before this one is over.
    /// What is to be said, if anything.
    pub fn accept(
        &mut self,
        stream: TcpStream,
        came: &[u8],
        peer: &Peer,
        table: &mut dyn Replica,
    ) -> Option<String> {
        self.receiver.disconnected();
        self.incoming = Some(Connection::new(stream));
        let now = Instant::now();
        self.receiver.connected(&peer.key, random(), now);
        let end = self.take(came, table, now)?;
        Some(end.words())
    }

    /// Descriptors and what is waited for on them.
    pub fn interests(&self) -> impl Iterator<Item = (RawFd, i16)> {
        let way = match &self.way {
            Way::Waiting(_) => None,
            Way::Connecting(socket, _) => Some((socket.as_raw_fd(), libc::POLLOUT)),
            Way::Connected(c) => Some(c.interest()),
        };
        way.into_iter()
            .chain(self.incoming.iter().map(Connection::interest))
    }

    /// When it has something to do of its own accord.
    pub fn deadline(&self) -> Option<Instant> {
        let way = match &self.way {
            Way::Waiting(at) => Some(*at),
            Way::Connecting(_, since) => Some(*since + ATTEMPT),
            // Room for more is noticed by the descriptor.
            Way::Connected(c) if !c.out.is_empty() => None,
            Way::Connected(_) => self.sender.deadline(),
        };
        let incoming = self.receiver.deadline().filter(|_| self.incoming.is_some());
        way.into_iter().chain(incoming).min()
    }

    /// Does what can be done now; what is to be said, if anything.
    pub fn work(&mut self, peer: &Peer, table: &mut dyn Replica, now: Instant) -> Option<String> {
        let outgoing = self.send(peer, table, now).err();
        if let Some(end) = &outgoing {
            self.sender.disconnected();
            self.lost += u64::from(matches!(self.way, Way::Connected(_)));
            self.way = Way::Waiting(now + RETRY);
            self.broken = Some(end.words());
        }
        let incoming = self.receive(table, now);
        let ends = [outgoing, incoming].into_iter().flatten();
        // That a peer is away is no news at every attempt; that it is the wrong one is.
        let loud = ends.filter(|e| matches!(e, End::Broken(b) if *b != Broken::Silent));
        loud.last().map(|end| end.words())
    }

    fn send(&mut self, peer: &Peer, table: &mut dyn Replica, now: Instant) -> Result<(), End> {
        match &self.way {
            Way::Waiting(at) if *at <= now => {
                self.way = Way::Connecting(connect(peer)?, now);
                return Ok(());
            }
            Way::Waiting(_) => return Ok(()),
            Way::Connecting(socket, since) => {
                if let Some(e) = socket.take_error()? {
                    return Err(e.into());
                }
                if socket.peer_addr().is_err() {
                    return match now >= *since + ATTEMPT {
                        true => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                        false => Ok(()),
                    };
                }
                let mut connection = Connection::new(socket.try_clone()?.into());
                let hello = &mut connection.out;
                self.sender
                    .connected(table, &peer.key, random(), now, hello);
                self.way = Way::Connected(connection);
            }
            Way::Connected(_) => {}
        }
        let Way::Connected(connection) = &mut self.way else {
            return Ok(());
        };
        let n = connection.read()?;
        let came = connection.came.get(..n).unwrap_or_default();
        if !came.is_empty() {
            self.sender.received(table, came, now)?;
        }
        while connection.out.len() < WAITING {
            let before = connection.out.len();
            let all = self.sender.is_sending_all();
            self.sender.produce(table, now, &mut connection.out)?;
            self.snapshots += u64::from(all && !self.sender.is_sending_all());
            connection.write()?;
            if connection.out.len() >= before && !self.sender.is_sending_all() {
                break;
            }
        }
        connection.write()?;
        Ok(())
    }

    fn receive(&mut self, table: &mut dyn Replica, now: Instant) -> Option<End> {
        let connection = self.incoming.as_mut()?;
        let n = match connection.read() {
            Ok(n) => n,
            Err(e) => return Some(self.end(End::Network(e), table)),
        };
        let came = std::mem::take(&mut connection.came);
        let end = self.take(came.get(..n).unwrap_or_default(), table, now);
        if let Some(connection) = &mut self.incoming {
            connection.came = came;
        }
        end
    }

    /// Bytes came from the peer's sender.
    fn take(&mut self, came: &[u8], table: &mut dyn Replica, now: Instant) -> Option<End> {
        let connection = self.incoming.as_mut()?;
        table.hear(self.peer);
        let out = &mut connection.out;
        let result = if came.is_empty() {
            self.receiver.produce(now, out)
        } else {
            let received = self.receiver.received(table, came, now, out);
            table.settle();
            received.map(|r| self.taken += r.taken as u64)
        };
        let sent = result
            .map_err(End::from)
            .and_then(|()| Ok(connection.write()?));
        if let Err(end) = sent {
            return Some(self.end(end, table));
        }
        self.stand(table);
        None
    }

    fn end(&mut self, end: End, table: &mut dyn Replica) -> End {
        self.incoming = None;
        self.receiver.disconnected();
        self.lost += 1;
        self.broken = Some(end.words());
        self.stand(table);
        end
    }

    /// Says when the copy has become whole, or is no longer kept up to date.
    fn stand(&mut self, table: &mut dyn Replica) {
        let whole = self.incoming.is_some() && self.receiver.is_whole();
        if std::mem::replace(&mut self.whole, whole) != whole {
            table.hear(self.peer);
            table.standing(whole);
        }
    }

    /// How far it is.
    pub fn status(&self, peer: &Peer, table: &dyn Replica, now: Instant) -> SyncStatus {
        SyncStatus {
            peer: peer.address,
            table: table.name(),
            sending: match &self.way {
                Way::Waiting(_) | Way::Connecting(..) => "unconnected",
                _ if !self.sender.is_talking() => "greeting",
                _ if self.sender.is_sending_all() => "snapshot",
                _ if self.sender.is_in_step() => "in-sync",
                _ => "changes",
            },
            receiving: match (&self.incoming, self.whole) {
                (None, _) => "unconnected",
                (Some(_), true) => "in-sync",
                (Some(_), false) => "snapshot",
            },
            lag: self.sender.lag(now),
            backlog: self.sender.backlog(),
            broken: self.broken.clone(),
            counters: vec![
                ("changes_sent", self.sent),
                ("snapshots_sent", self.snapshots),
                ("entries_taken", self.taken),
                ("entries_refused", table.refused()),
                ("conversations_ended", self.lost),
            ],
        }
    }
}

/// Begins to connect.
fn connect(peer: &Peer) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(peer.address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if let Some(interface) = &peer.dedicated {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    match socket.connect(&SockAddr::from(peer.address)) {
        Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
        _ => Ok(socket),
    }
}
