//! TLS over a socket: records on one side, plain bytes on the other.
//!
//! An idle connection holds no buffers: ciphertext is read into a buffer of the worker's thread,
//! and only a record that did not come whole is kept.

use crate::io::Io;
use ::tls::{
    Acceptor, Agreed, Connection, Connector, Error, Fault, Hello, Peek, PeerName, Received,
};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A TLS connection, from its first byte on.
pub struct TlsStream {
    io: Io,
    state: State,
    /// Ciphertext that is not a whole record yet.
    incoming: Vec<u8>,
    /// Plain bytes that had no room in the caller's buffer.
    plain: Vec<u8>,
    /// Ciphertext that the socket has not taken yet.
    out: Vec<u8>,
    ended: bool,
    /// The peer has been told of our end.
    told: bool,
    /// What ended the handshake.
    fault: Fault,
    /// What is wrong with a greeting that is none of TLS.
    spoke: Option<Fault>,
    /// What was agreed on, once noted.
    noted: Option<Arc<rules::TlsInfo>>,
}

enum State {
    /// The client's first message is awaited.
    Greeting {
        acceptor: Arc<Acceptor>,
        tickets: bool,
    },
    Open(Box<Connection>),
}

/// Why a handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The peer left before its first byte.
    Empty,
    /// The peer left in the middle.
    Closed,
    /// The connection failed.
    Failed,
    /// `timeout client` ran out.
    TimedOut,
    /// The two cannot agree.
    Refused,
    /// A certificate is not believed.
    Untrusted,
    /// Those who vouch for a certificate are not.
    UntrustedAuthority,
    /// A server's certificate is for another name.
    WrongName,
}

impl std::fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for HandshakeError {}

impl HandshakeError {
    /// As HAProxy's log says it.
    pub fn message(self) -> &'static str {
        match self {
            HandshakeError::Empty | HandshakeError::Closed => {
                "Connection closed during SSL handshake"
            }
            HandshakeError::Failed => "Connection error during SSL handshake",
            HandshakeError::TimedOut => "Timeout during SSL handshake",
            HandshakeError::Refused => "SSL handshake failure",
            HandshakeError::WrongName => {
                "Server presented an SSL certificate different from the configured one"
            }
            HandshakeError::Untrusted => "SSL client certificate not trusted",
            HandshakeError::UntrustedAuthority => "SSL client CA chain cannot be verified",
        }
    }
}

thread_local! {
    /// Where ciphertext is read to and written from.
    static CIPHERTEXT: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
    static RECORDS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Ciphertext read in one call at most, bytes: four of the largest records.
const READ: usize = 4 * ((1 << 14) + 256 + 5);

/// Plain bytes encrypted in one call at most.
const WRITE: usize = 64 * 1024;

impl TlsStream {
    /// A client's connection that has just been accepted.
    pub fn accept(io: Io, acceptor: Arc<Acceptor>) -> TlsStream {
        let tickets = true;
        TlsStream::new(io, State::Greeting { acceptor, tickets })
    }

    /// The same of a connection on which the client may only send: it is given no tickets.
    pub fn accept_sender(io: Io, acceptor: Arc<Acceptor>) -> TlsStream {
        let tickets = false;
        TlsStream::new(io, State::Greeting { acceptor, tickets })
    }

    /// A connection to a server, whose handshake is still to be made.
    pub fn connect(
        io: Io,
        connector: &Connector,
        name: &PeerName<'_>,
    ) -> Result<TlsStream, HandshakeError> {
        let connection =
            Connection::connect(connector, name).map_err(|_| HandshakeError::Refused)?;
        Ok(TlsStream::new(io, State::Open(Box::new(connection))))
    }

    fn new(io: Io, state: State) -> TlsStream {
        TlsStream {
            io,
            state,
            incoming: Vec::new(),
            plain: Vec::new(),
            out: Vec::new(),
            ended: false,
            told: false,
            fault: Fault::default(),
            spoke: None,
            noted: None,
        }
    }

    /// The socket below.
    pub fn socket(&self) -> &Io {
        &self.io
    }

    /// Makes the handshake. What the client's first message said is left in `greeting`.
    pub fn poll_handshake(
        &mut self,
        cx: &mut Context<'_>,
        greeting: &mut Option<Hello>,
    ) -> Poll<Result<(), HandshakeError>> {
        loop {
            match &self.state {
                State::Greeting { acceptor, tickets } => {
                    let hello = match ::tls::peek(&self.incoming) {
                        Peek::NeedMore => None,
                        Peek::Hello(hello) => Some(Some(hello)),
                        Peek::NotTls => Some(None),
                    };
                    if let Some(hello) = hello {
                        let choice = acceptor
                            .choose(hello.as_ref())
                            .ok_or(HandshakeError::Refused)?;
                        let choice = match tickets {
                            true => choice,
                            false => choice.without_tickets(),
                        };
                        let connection = Connection::accept(choice, hello.as_ref())
                            .map_err(|_| HandshakeError::Refused)?;
                        if hello.is_none() {
                            self.spoke = Some(Fault::of_greeting(&self.incoming));
                        }
                        *greeting = hello;
                        let bytes = acceptor.capture();
                        if let Some(hello) = greeting.as_mut().filter(|_| bytes > 0) {
                            let offers = ::tls::offers(&self.incoming);
                            hello.offers = offers.map(|o| Box::new(o.within(bytes)));
                        }
                        self.state = State::Open(Box::new(connection));
                        self.work()?;
                        continue;
                    }
                }
                State::Open(connection) => {
                    let done = !connection.is_handshaking();
                    let stale = done && connection.is_stale();
                    // A client speaks first.
                    if !done && self.out.is_empty() {
                        self.work()?;
                    }
                    ready!(self.poll_flush(cx)).map_err(|_| HandshakeError::Failed)?;
                    if stale {
                        return Poll::Ready(Err(HandshakeError::Refused));
                    }
                    if done {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
            let read = self.poll_fill(cx);
            match ready!(read) {
                Ok(0)
                    if self.incoming.is_empty() && matches!(self.state, State::Greeting { .. }) =>
                {
                    return Poll::Ready(Err(HandshakeError::Empty));
                }
                Ok(0) => return Poll::Ready(Err(HandshakeError::Closed)),
                Ok(_) if matches!(self.state, State::Open(_)) => self.work()?,
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(HandshakeError::Failed)),
            }
        }
    }

    /// Appends what the socket has to `incoming`.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        CIPHERTEXT.with_borrow_mut(|buffer| {
            let n = ready!(self.io.poll_read(cx, buffer))?;
            self.incoming
                .extend_from_slice(buffer.get(..n).unwrap_or_default());
            Poll::Ready(Ok(n))
        })
    }

    /// Lets the handshake work on what has come.
    fn work(&mut self) -> Result<(), HandshakeError> {
        let State::Open(connection) = &mut self.state else {
            return Ok(());
        };
        let worked =
            connection.receive(&mut self.incoming, &mut [], &mut self.plain, &mut self.out);
        match worked {
            Ok(received) => {
                self.incoming
                    .drain(..received.used.min(self.incoming.len()));
                self.ended = received.closed;
                Ok(())
            }
            Err(error) => {
                self.fault = self.spoke.unwrap_or_else(|| Fault::of(&error));
                // The peer is told why, as far as the socket takes it at once.
                let judged = matches!(error, Error::InvalidCertificate(_));
                let verdict = connection.verdict().filter(|_| judged);
                self.write_now();
                Err(match verdict {
                    Some(verdict) if verdict.depth > 0 => HandshakeError::UntrustedAuthority,
                    Some(_) => HandshakeError::Untrusted,
                    None if is_wrong_name(&error) => HandshakeError::WrongName,
                    None => HandshakeError::Refused,
                })
            }
        }
    }

    /// What ended the handshake.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// What the handshake agreed on.
    pub fn agreed(&mut self) -> Option<Agreed> {
        match &mut self.state {
            State::Open(connection) => Some(connection.agreed()),
            State::Greeting { acceptor, .. } => Some(Agreed::nothing(acceptor.newest())),
        }
    }

    /// Keeps for rules what the handshake with a server of that name agreed on.
    pub fn note(&mut self, name: Option<&str>) {
        self.noted = self.agreed().map(|agreed| {
            let mut told = info(None, agreed, Fault::default());
            told.sni = name.map(str::to_string);
            Arc::new(told)
        });
    }

    /// What was kept.
    pub fn noted(&self) -> Option<Arc<rules::TlsInfo>> {
        self.noted.clone()
    }

    /// See [`crate::transport::Transport::poll_read`].
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if !self.plain.is_empty() {
                let n = buf.len().min(self.plain.len());
                if let (Some(room), Some(bytes)) = (buf.get_mut(..n), self.plain.get(..n)) {
                    room.copy_from_slice(bytes);
                }
                self.plain.drain(..n);
                return Poll::Ready(Ok(n));
            }
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            let received = ready!(self.poll_receive(cx, buf));
            // Answers to what came (a new key, an alert) go out when the socket has room.
            let _ = self.poll_flush(cx)?;
            let received = received?;
            self.ended = received.closed;
            if received.plain > 0 {
                return Poll::Ready(Ok(received.plain));
            }
        }
    }

    /// Reads once and decrypts what came into `buf`.
    fn poll_receive(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<Received>> {
        let ended = Received {
            closed: true,
            ..Received::default()
        };
        let State::Open(connection) = &mut self.state else {
            return Poll::Ready(Ok(ended));
        };
        CIPHERTEXT.with_borrow_mut(|buffer| {
            let kept = self.incoming.len();
            if buffer.len() < kept + READ {
                buffer.resize(kept + READ, 0);
            }
            let (start, room) = buffer.split_at_mut(kept);
            start.copy_from_slice(&self.incoming);
            let n = ready!(self.io.poll_read(cx, room))?;
            if n == 0 {
                // Peers that close without notice are many; HAProxy takes it for an end, too.
                return Poll::Ready(Ok(ended));
            }
            let got = buffer.get_mut(..kept + n).unwrap_or_default();
            let received = connection
                .receive(got, buf, &mut self.plain, &mut self.out)
                .map_err(io::Error::other)?;
            let rest = got.get(received.used..).unwrap_or_default();
            self.incoming = rest.to_vec();
            Poll::Ready(Ok(received))
        })
    }

    /// See [`crate::transport::Transport::poll_write`].
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        let State::Open(connection) = &mut self.state else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        RECORDS.with_borrow_mut(|records| {
            records.clear();
            let taken = match bufs {
                [one] => {
                    let plain = one.get(..one.len().min(WRITE)).unwrap_or_default();
                    connection
                        .send(plain, &mut self.incoming, records)
                        .map(|()| plain.len())
                }
                // A head and its body go into one record where they fit.
                several => GATHERED.with_borrow_mut(|gathered| {
                    gathered.clear();
                    for part in several {
                        let room = part.len().min(WRITE - gathered.len());
                        gathered.extend_from_slice(part.get(..room).unwrap_or_default());
                    }
                    connection
                        .send(gathered, &mut self.incoming, records)
                        .map(|()| gathered.len())
                }),
            };
            let taken = taken.map_err(io::Error::other)?;
            let sent = match self.io.poll_write(cx, &[IoSlice::new(records)]) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => 0,
            };
            self.out
                .extend_from_slice(records.get(sent..).unwrap_or_default());
            Poll::Ready(Ok(taken))
        })
    }

    /// See [`crate::transport::Transport::poll_flush`].
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let n = ready!(self.io.poll_write(cx, &[IoSlice::new(&self.out)]))?;
            self.out.drain(..n);
            if self.out.is_empty() {
                self.out = Vec::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what the socket takes at once, without a wait for the rest.
    fn write_now(&mut self) {
        let n = self.io.write_now(&self.out);
        self.out.drain(..n);
    }

    /// Ends our direction: the notice, then the end of the stream.
    pub fn shutdown_write(&mut self) {
        self.say_goodbye();
        self.io.shutdown_write();
    }

    /// See [`Io::close_at_once`]; the end is not announced either.
    pub fn close_at_once(&mut self) {
        self.told = true;
        self.io.close_at_once();
    }

    /// See [`Io::abandon`]; where it resets, the end is not announced either.
    pub fn abandon(&mut self) {
        self.told |= self.io.abandon();
    }

    /// Announces the end, as far as the socket takes it at once.
    fn say_goodbye(&mut self) {
        if let State::Open(connection) = &mut self.state
            && !connection.is_handshaking()
            && !self.told
        {
            self.told = true;
            if connection.close(&mut self.incoming, &mut self.out).is_ok() {
                self.write_now();
            }
        }
    }

    /// See [`Io::is_quiet`]; bytes inside the TLS layer count as noise.
    pub fn is_quiet(&self) -> bool {
        !self.ended && self.incoming.is_empty() && self.plain.is_empty() && self.io.is_quiet()
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        self.say_goodbye();
    }
}

/// Whether a certificate is good but for the name it is for.
fn is_wrong_name(error: &Error) -> bool {
    use ::tls::CertificateError::{NotValidForName, NotValidForNameContext};
    matches!(
        error,
        Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })
    )
}

/// The greeting's facts and what was agreed on, for rules and logs.
pub fn info(hello: Option<Hello>, agreed: Agreed, fault: Fault) -> rules::TlsInfo {
    let hello = hello.unwrap_or_default();
    rules::TlsInfo {
        sni: hello.sni,
        offers: hello.offers,
        agreed,
        fault,
    }
}
