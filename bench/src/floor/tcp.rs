//! Bytes both ways between a client and a server, and both ends passed on, each by itself.
//!
//! Of the forms that were tried this takes the least that sockets and epoll can: a connection is
//! registered once, for what comes alone; the request goes with the packet that ends the handshake, and
//! the end with the answer's last bytes where it is known by then; what one call finds is not asked for
//! again, and no option is set that a short connection does without. A socket towards the server whose
//! connection is over on both sides makes the next one, registered as it is.

use crate::args::Args;
use crate::net::{self, Epoll, Event};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

const VALUED: &[&str] = &["--listen", "--to", "--seconds"];
const LISTENER: u64 = u64::MAX;
/// The sides of a pair, by the lowest bit of a token.
const CLIENT: usize = 0;
const SERVER: usize = 1;

/// `bench floor tcp`.
pub fn run(words: &[String]) -> Result<(), String> {
    let args = Args::parse(words, VALUED, &[])?;
    let (listen, to): (SocketAddr, SocketAddr) = (args.need("--listen")?, args.need("--to")?);
    let seconds = args.get("--seconds")?.unwrap_or(600);
    net::raise_descriptors(20_000);
    Relay::new(listen, to)
        .and_then(|relay| relay.serve(Duration::from_secs(seconds)))
        .map_err(|e| format!("floor on {listen}: {e}"))
}

/// One of the two connections of a pair.
struct Side {
    socket: Socket,
    /// Its end has come, behind what is still to be read.
    ending: bool,
    /// Its end has been read.
    ended: bool,
    /// What it has not taken yet.
    waiting: Vec<u8>,
}

impl Side {
    fn new(socket: Socket) -> Side {
        Side {
            socket,
            ending: false,
            ended: false,
            waiting: Vec::new(),
        }
    }

    /// Gives it bytes, the last ones in the packet of the end that follows at once.
    fn give(&mut self, bytes: &[u8], last: bool) -> io::Result<()> {
        let more = if last { libc::MSG_MORE } else { 0 };
        let sent = if self.waiting.is_empty() {
            let flags = libc::MSG_NOSIGNAL | more;
            match self.socket.send_with_flags(bytes, flags) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
                sent => sent?,
            }
        } else {
            0
        };
        self.waiting
            .extend_from_slice(bytes.get(sent..).unwrap_or_default());
        Ok(())
    }

    /// Gives it what waits.
    fn drain(&mut self) -> io::Result<()> {
        let sent = net::send(self.socket.as_raw_fd(), &self.waiting)?;
        self.waiting.drain(..sent.unwrap_or(0));
        Ok(())
    }
}

/// A client and its server.
type Pair = [Side; 2];

/// What a token stands for.
#[derive(Default)]
struct Place {
    pair: Option<Pair>,
    /// A socket towards the server that is registered under this place's token and has no connection.
    spare: Option<Socket>,
}

struct Relay {
    to: SocketAddr,
    listener: Socket,
    epoll: Epoll,
    places: Vec<Place>,
    /// Those that can be taken.
    free: Vec<usize>,
    scratch: Vec<u8>,
}

impl Relay {
    fn new(listen: SocketAddr, to: SocketAddr) -> io::Result<Relay> {
        let listener = net::listen(listen)?;
        let epoll = Epoll::new()?;
        epoll.add(listener.as_raw_fd(), LISTENER, false)?;
        Ok(Relay {
            to,
            listener,
            epoll,
            places: Vec::new(),
            free: Vec::new(),
            scratch: vec![0; 16 * 1024],
        })
    }

    fn serve(mut self, lifetime: Duration) -> io::Result<()> {
        let until = Instant::now() + lifetime;
        let mut events = Vec::new();
        let mut over = Vec::new();
        while Instant::now() < until {
            self.epoll.wait(&mut events, Duration::from_millis(500))?;
            let mut coming = false;
            for event in &events {
                if event.token == LISTENER {
                    coming = true;
                } else if self.hear(*event) {
                    over.push((event.token >> 1) as usize);
                }
            }
            // No place is taken again before all that was said of the pair before has been heard.
            self.free.append(&mut over);
            while coming && let Some(client) = net::accept(&self.listener) {
                // One that fails is closed, and that is all that is owed to it.
                let _ = self.begin(client);
            }
        }
        Ok(())
    }

    /// Does what an event makes possible; whether its pair is over by that.
    fn hear(&mut self, event: Event) -> bool {
        let (at, side) = ((event.token >> 1) as usize, (event.token & 1) as usize);
        let Some(place) = self.places.get_mut(at) else {
            return false;
        };
        let Some(pair) = &mut place.pair else {
            return false;
        };
        if let Some(side) = pair.get_mut(side) {
            side.ending |= event.ended;
        }
        let went = progress(pair, side, event.writable, &mut self.scratch);
        let watched = went.and_then(|over| watch_room(&self.epoll, at, pair).map(|()| over));
        if matches!(watched, Ok(false)) {
            return false;
        }
        if let Some([client, server]) = place.pair.take() {
            drop(client);
            place.spare = watched.ok().and_then(|_| unconnected(server.socket));
        }
        true
    }

    /// Connects a client that has just come, with what it has said by now.
    fn begin(&mut self, client: OwnedFd) -> io::Result<()> {
        let heard = net::recv(client.as_raw_fd(), &mut self.scratch)?;
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        let spare = self.places.get_mut(at).and_then(|p| p.spare.take());
        let paired = self.pair(at, client, heard, spare);
        if paired.is_err() {
            self.free.push(at);
        }
        let pair = paired?;
        if let Some(place) = self.places.get_mut(at) {
            place.pair = Some(pair);
        }
        Ok(())
    }

    fn pair(
        &self,
        at: usize,
        client: OwnedFd,
        heard: Option<usize>,
        spare: Option<Socket>,
    ) -> io::Result<Pair> {
        let fresh = spare.is_none();
        let kind = Type::STREAM.nonblocking();
        let server = match spare {
            Some(socket) => socket,
            None => Socket::new(Domain::for_address(self.to), kind, Some(Protocol::TCP))?,
        };
        if heard.is_some_and(|n| n > 0) {
            // The acknowledgement of the handshake goes with what follows.
            server.set_tcp_quickack(false)?;
        }
        match server.connect(&self.to.into()) {
            Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => return Err(e),
            _ => {}
        }
        let mut pair = [Side::new(client.into()), Side::new(server)];
        let [client, server] = &mut pair;
        match heard {
            None => {}
            Some(0) => {
                client.ended = true;
                server.socket.shutdown(Shutdown::Write)?;
            }
            Some(n) => server.give(self.scratch.get(..n).unwrap_or_default(), false)?,
        }
        if fresh {
            let full = !server.waiting.is_empty();
            let token = (at << 1 | SERVER) as u64;
            self.epoll
                .add_edge(server.socket.as_raw_fd(), token, full)?;
        } else {
            watch_room(&self.epoll, at, &pair)?;
        }
        let token = (at << 1 | CLIENT) as u64;
        self.epoll
            .add_edge(pair[CLIENT].socket.as_raw_fd(), token, false)?;
        Ok(pair)
    }
}

/// Has room be told of where it is missed. Asked for again with each event, which is only then.
fn watch_room(epoll: &Epoll, at: usize, pair: &Pair) -> io::Result<()> {
    for (index, side) in pair.iter().enumerate() {
        if !side.waiting.is_empty() {
            epoll.set_edge(side.socket.as_raw_fd(), (at << 1 | index) as u64)?;
        }
    }
    Ok(())
}

/// A server's socket ready for another connection, where both sides have ended and know it; else it is
/// closed, and the system sees to what is left.
fn unconnected(socket: Socket) -> Option<Socket> {
    socket.shutdown(Shutdown::Write).ok()?;
    net::disconnect(&socket).ok()?.then_some(socket)
}

/// Does what an event of a side makes possible; whether the pair is over.
fn progress(pair: &mut Pair, side: usize, writable: bool, scratch: &mut [u8]) -> io::Result<bool> {
    let [client, server] = pair;
    let (this, other) = if side == CLIENT {
        (client, server)
    } else {
        (server, client)
    };
    if writable && !this.waiting.is_empty() {
        this.drain()?;
        if pass(other, this, scratch)? {
            return Ok(true);
        }
    }
    pass(this, other, scratch)
}

/// Passes on what one side has said, and its end; whether both have ended.
fn pass(from: &mut Side, to: &mut Side, scratch: &mut [u8]) -> io::Result<bool> {
    if from.ended {
        return Ok(false);
    }
    while to.waiting.is_empty() {
        let n = match net::recv(from.socket.as_raw_fd(), scratch)? {
            Some(n) => n,
            None => return Ok(false),
        };
        // A short read behind which the end is known to be has taken all.
        let last = from.ending && n < scratch.len();
        if n > 0 {
            to.give(scratch.get(..n).unwrap_or_default(), last)?;
        }
        if n == 0 || last && to.waiting.is_empty() {
            from.ended = true;
            if !to.ended {
                to.socket.shutdown(Shutdown::Write)?;
            }
            return Ok(to.ended);
        }
        if n < scratch.len() && !last {
            return Ok(false);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn connected(listener: &TcpListener) -> (TcpStream, Socket) {
        let address = listener.local_addr().expect("an address");
        let far = TcpStream::connect(address).expect("connects");
        let (near, _) = listener.accept().expect("accepted");
        near.set_nonblocking(true).expect("set");
        (far, near.into())
    }

    /// Waits for a side to be readable, so that nothing depends on time.
    fn await_bytes(side: &Side) {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        side.socket.set_nonblocking(false).expect("set");
        side.socket.peek(&mut byte).expect("something comes");
        side.socket.set_nonblocking(true).expect("set");
    }

    #[test]
    fn bytes_and_both_ends_are_passed_on_each_by_itself() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (mut client, near_client) = connected(&listener);
        let (mut server, near_server) = connected(&listener);
        let mut pair = [Side::new(near_client), Side::new(near_server)];
        let mut scratch = vec![0; 16];
        client.write_all(b"a question").expect("sent");
        client.shutdown(Shutdown::Write).expect("ended");
        let mut got = Vec::new();
        while !pair[CLIENT].ended {
            await_bytes(&pair[CLIENT]);
            assert!(!progress(&mut pair, CLIENT, false, &mut scratch).expect("passed"));
        }
        server.read_to_end(&mut got).expect("read");
        assert_eq!(got, b"a question");
        // More than fits, and the end known before the last of it.
        let answer = vec![b'x'; 1000];
        server.write_all(&answer).expect("sent");
        drop(server);
        pair[SERVER].ending = true;
        let mut over = false;
        while !over {
            await_bytes(&pair[SERVER]);
            over = progress(&mut pair, SERVER, false, &mut scratch).expect("passed");
        }
        drop(pair);
        got.clear();
        client.read_to_end(&mut got).expect("read");
        assert_eq!(got, answer);
    }

    #[test]
    fn a_socket_whose_connection_is_over_makes_another() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").into();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        for _ in 0..2 {
            socket.connect(&address).expect("connects");
            let (far, _) = listener.accept().expect("accepted");
            drop(far);
            assert_eq!((&socket).read(&mut [0]).expect("its end"), 0);
            socket.shutdown(Shutdown::Write).expect("ended");
            let until = Instant::now() + Duration::from_secs(60);
            while !net::disconnect(&socket).expect("asked") {
                assert!(Instant::now() < until, "never acknowledged");
                std::thread::yield_now();
            }
        }
    }
}
