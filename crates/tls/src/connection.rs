//! One connection's records, in and out, without I/O.

use crate::acceptor::Choice;
use crate::connector::{Connector, PeerName};
use crate::hello::Hello;
use crate::material::Material;
use crate::names::{cipher_name, group_name};
use crate::notes::{Notes, while_working};
use crate::settings::Version;
use crate::verify::{ClientJudge, Verdict};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error, HandshakeKind, ProtocolVersion};
use std::sync::Arc;

/// One side of a TLS connection.
pub struct Connection {
    side: Side,
    judge: Option<Arc<ClientJudge>>,
    /// What was told while the handshake was made.
    notes: Notes,
    /// The randoms of both hellos: the client's, the server's.
    randoms: [Option<Random>; 2],
    /// The id of the session that the server's hello named.
    session_id: Option<Box<[u8]>>,
    /// The newest version that both sides might have spoken.
    newest: &'static str,
    /// Plain bytes that fit into a record.
    record: usize,
    /// After an error there is nothing more to say or hear.
    failed: bool,
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What came of received bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received {
    /// Bytes of the input that are done with; the rest must come again, with more after it.
    pub used: usize,
    /// Plain bytes written to the caller's buffer.
    pub plain: usize,
    /// The peer has ended its direction properly.
    pub closed: bool,
}

/// The random of a hello (RFC 8446 section 4.1.2).
pub type Random = [u8; 32];

/// What a handshake agreed on.
#[derive(Clone, Debug, Default)]
pub struct Agreed {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite's OpenSSL name.
    pub cipher: &'static str,
    /// Bits of its key.
    pub key_bits: u16,
    /// The protocol (ALPN).
    pub alpn: Option<String>,
    /// Whether an earlier session was taken up again.
    pub resumed: bool,
    /// The group of the key exchange, OpenSSL's name.
    pub curve: Option<&'static str>,
    /// The peer's certificate and those it sent with it, DER.
    pub peer_chain: Vec<Vec<u8>>,
    /// What is wrong with it.
    pub verdict: Verdict,
    /// Who judged it.
    pub judge: Option<Arc<ClientJudge>>,
    /// The certificate that we showed.
    pub shown: Option<Arc<Material>>,
    /// The random of the client's hello.
    pub client_random: Option<Random>,
    /// That of the server's.
    pub server_random: Option<Random>,
    /// The id of the session, with TLS 1.2.
    pub session_id: Option<Box<[u8]>>,
    /// Secrets by their labels in NSS's key logs, with `tune.ssl.keylog`.
    pub secrets: Vec<(String, Vec<u8>)>,
}

impl Agreed {
    /// Nothing yet, where this would be the newest version.
    pub fn nothing(newest: Version) -> Agreed {
        Agreed {
            version: name(newest),
            cipher: "(NONE)",
            ..Agreed::default()
        }
    }

    /// The peer's certificate, DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.peer_chain.first().map(Vec::as_slice)
    }

    /// The facts of the authority at the root of a client's certificate.
    pub fn root(&self) -> Option<crate::Facts> {
        crate::facts(self.judge.as_ref()?.root(&self.peer_chain)?)
    }

    /// A secret by its label in NSS's key logs.
    pub fn secret(&self, label: &str) -> Option<&[u8]> {
        let found = self.secrets.iter().find(|(l, _)| l == label)?;
        Some(&found.1)
    }
}

impl Connection {
    /// Takes a client's connection.
    pub fn accept(choice: Choice, hello: Option<&Hello>) -> Result<Connection, Error> {
        let newest = match choice.newest {
            Version::Tls13 if hello.is_some_and(|h| h.version < 0x0304) => Version::Tls12,
            newest => newest,
        };
        let newest = name(newest);
        let record = record(choice.config.max_fragment_size);
        let side = UnbufferedServerConnection::new(choice.config)?;
        Ok(Connection {
            side: Side::Server(side),
            judge: choice.judge,
            notes: Notes::default(),
            randoms: [None; 2],
            session_id: None,
            newest,
            record,
            failed: false,
        })
    }

    /// Begins a connection to a server.
    pub fn connect(connector: &Connector, name: &PeerName<'_>) -> Result<Connection, Error> {
        let (config, name) = connector.start(name);
        let record = record(config.max_fragment_size);
        let side = UnbufferedClientConnection::new(config, name)?;
        Ok(Connection {
            side: Side::Client(side),
            judge: None,
            notes: Notes::default(),
            randoms: [None; 2],
            session_id: None,
            newest: "",
            record,
            failed: false,
        })
    }

    /// Whether the handshake is still under way.
    pub fn is_handshaking(&self) -> bool {
        match &self.side {
            Side::Server(c) => c.is_handshaking(),
            Side::Client(c) => c.is_handshaking(),
        }
    }

    /// What was wrong with a client's certificate that ended the handshake.
    pub fn verdict(&self) -> Option<Verdict> {
        self.notes.verdict
    }

    /// What the handshake agreed on; this can be asked once, since it hands over what was noted.
    pub fn agreed(&mut self) -> Agreed {
        let notes = std::mem::take(&mut self.notes);
        let state = match &self.side {
            Side::Server(c) => &***c,
            Side::Client(c) => &***c,
        };
        let version = match state.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "",
        };
        let suite = state.negotiated_cipher_suite().map(|s| s.suite());
        let (cipher, key_bits) = suite.and_then(cipher_name).unwrap_or(("", 0));
        let (cipher, version) = match self.failed || self.is_handshaking() {
            // As OpenSSL has it: TLS 1.2 settles on its cipher at the end.
            true if self.newest == "TLSv1.2" || cipher.is_empty() => ("(NONE)", self.newest),
            true => (cipher, self.newest),
            false => (cipher, version),
        };
        let chain = state.peer_certificates().unwrap_or_default();
        Agreed {
            version,
            cipher,
            key_bits,
            alpn: state
                .alpn_protocol()
                .map(|p| String::from_utf8_lossy(p).into_owned()),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            curve: state
                .negotiated_key_exchange_group()
                .and_then(|g| group_name(g.name())),
            peer_chain: chain.iter().map(|c| c.to_vec()).collect(),
            // A session that is taken up again is judged as it is now.
            verdict: notes.verdict.unwrap_or_else(|| {
                let judge = self.judge.as_ref();
                judge.map_or_else(Verdict::default, |j| j.verdict(chain))
            }),
            judge: self.judge.clone(),
            shown: notes.shown,
            client_random: self.randoms[0],
            server_random: self.randoms[1],
            session_id: self.session_id.take().filter(|_| version == "TLSv1.2"),
            secrets: notes.secrets,
        }
    }

    /// Whether a session was taken up again that who judges clients now would refuse.
    pub fn is_stale(&self) -> bool {
        let (Side::Server(connection), Some(judge)) = (&self.side, &self.judge) else {
            return false;
        };
        let state: &CommonState = connection;
        state.handshake_kind() == Some(HandshakeKind::Resumed)
            && !judge.admits(state.peer_certificates().unwrap_or_default())
    }

    /// Works on received bytes (decrypted in place). Plain bytes go to `plain`, what does not fit
    /// there is appended to `overflow`; what must be sent is appended to `out`, also when there is
    /// an error.
    pub fn receive(
        &mut self,
        incoming: &mut [u8],
        plain: &mut [u8],
        overflow: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Received, Error> {
        if self.failed {
            return Err(Error::General("the connection has failed".into()));
        }
        let handshake = self.is_handshaking();
        let sent = out.len();
        if handshake {
            self.note_hello(incoming);
        }
        let mut sink = Sink {
            plain,
            overflow,
            out,
            done: Received::default(),
            error: None,
        };
        loop {
            let rest = incoming.get_mut(sink.done.used..).unwrap_or_default();
            let side = &mut self.side;
            let mut work = || match side {
                Side::Server(c) => sink.take(c.process_tls_records(rest)),
                Side::Client(c) => sink.take(c.process_tls_records(rest)),
            };
            let step = match handshake {
                true => while_working(&mut self.notes, work),
                false => work(),
            };
            match (step, sink.error.take()) {
                (_, Some(error)) => {
                    self.failed = true;
                    self.collect_alert(sink.out);
                    return Err(error);
                }
                (Step::Rest, None) => {
                    let done = sink.done;
                    if handshake {
                        self.note_hello(out.get(sent..).unwrap_or_default());
                    }
                    return Ok(done);
                }
                (Step::Again, None) => {}
            }
        }
    }

    /// Notes random and session of a hello that these bytes begin with. The first of two is a request
    /// to say hello again, where there are two of a server.
    fn note_hello(&mut self, bytes: &[u8]) {
        let Some((kind, random, rest)) = hello_random(bytes) else {
            return;
        };
        if let Some(place) = self.randoms.get_mut(usize::from(kind) - 1) {
            *place = Some(random);
        }
        if kind == SERVER_HELLO {
            let id = rest.split_first();
            let id = id.and_then(|(length, rest)| rest.get(..usize::from(*length)));
            self.session_id = id.filter(|id| !id.is_empty()).map(Into::into);
        }
    }

    /// After an error: the alert that names it. The input must not be looked at again.
    fn collect_alert(&mut self, out: &mut Vec<u8>) {
        loop {
            let more = match &mut self.side {
                Side::Server(c) if CommonState::wants_write(c) => {
                    alert(c.process_tls_records(&mut []), out)
                }
                Side::Client(c) if CommonState::wants_write(c) => {
                    alert(c.process_tls_records(&mut []), out)
                }
                _ => false,
            };
            if !more {
                return;
            }
        }
    }

    /// Appends `plain`, encrypted, to `out`. Handshake records that are due go first. `incoming`
    /// is what [`Connection::receive`] left of its input.
    pub fn send(
        &mut self,
        plain: &[u8],
        incoming: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.write(|w, out| w.encrypt(plain, out), plain.len(), incoming, out)
    }

    /// Appends the notice that we send no more. `incoming` as for [`Connection::send`].
    pub fn close(&mut self, incoming: &mut [u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.write(|w, out| w.queue_close_notify(out), 0, incoming, out)
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut dyn Writes, &mut [u8]) -> Result<usize, EncryptError>,
        len: usize,
        incoming: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if self.failed {
            return Err(Error::General("the connection has failed".into()));
        }
        let mut write = Some(write);
        let room = len + (len / self.record + 1) * RECORD;
        loop {
            let step = match &mut self.side {
                Side::Server(c) => put(c.process_tls_records(incoming), &mut write, room, out),
                Side::Client(c) => put(c.process_tls_records(incoming), &mut write, room, out),
            };
            self.failed |= step.is_err();
            let again = step?;
            if !again {
                return Ok(());
            }
        }
    }
}

/// OpenSSL's name of a version that is spoken.
fn name(version: Version) -> &'static str {
    match version {
        Version::Tls13 => "TLSv1.3",
        _ => "TLSv1.2",
    }
}

/// Plain bytes in a record where rustls was told a size.
fn record(fragment: Option<usize>) -> usize {
    let most = 1 << 14;
    fragment
        .map_or(most, |n| n.saturating_sub(HEADER))
        .clamp(1, most)
}

/// Bytes before a record's content (RFC 8446 section 5.1).
pub(crate) const HEADER: usize = 5;

/// RFC 8446 section 4.
const SERVER_HELLO: u8 = 2;

/// Which hello a record begins with (1 the client's, 2 the server's), its random, and what follows.
fn hello_random(record: &[u8]) -> Option<(u8, Random, &[u8])> {
    // A record of the handshake: its header, the message's, the version.
    let (head, rest) = record.split_first_chunk::<11>()?;
    let (random, rest) = rest.split_first_chunk::<32>()?;
    (head[0] == 22 && matches!(head[5], 1 | SERVER_HELLO)).then_some((head[5], *random, rest))
}

/// Room that a record takes beyond its content: header, nonce, tag, type.
const RECORD: usize = 64;

/// `WriteTraffic` of either side.
trait Writes {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, EncryptError>;
    fn queue_close_notify(&mut self, out: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<Data> Writes for rustls::unbuffered::WriteTraffic<'_, Data> {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, EncryptError> {
        rustls::unbuffered::WriteTraffic::encrypt(self, plain, out)
    }
    fn queue_close_notify(&mut self, out: &mut [u8]) -> Result<usize, EncryptError> {
        rustls::unbuffered::WriteTraffic::queue_close_notify(self, out)
    }
}

/// One step towards writing at most so many bytes; whether there is another.
fn put<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    write: &mut Option<impl FnOnce(&mut dyn Writes, &mut [u8]) -> Result<usize, EncryptError>>,
    most: usize,
    out: &mut Vec<u8>,
) -> Result<bool, Error> {
    match status.state? {
        ConnectionState::EncodeTlsData(data) => {
            encode(data, out);
            Ok(true)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(true)
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            let Some(write) = write.take() else {
                return Ok(false);
            };
            let start = out.len();
            out.resize(start + most, 0);
            let room = out.get_mut(start..).unwrap_or_default();
            let written = write(&mut traffic, room).map_err(|e| Error::General(e.to_string()))?;
            out.truncate(start + written);
            Ok(false)
        }
        _ => Err(Error::HandshakeNotComplete),
    }
}

/// Takes one record of an alert; whether it was one.
fn alert<Data>(status: UnbufferedStatus<'_, '_, Data>, out: &mut Vec<u8>) -> bool {
    match status.state {
        Ok(ConnectionState::EncodeTlsData(data)) => {
            encode(data, out);
            true
        }
        _ => false,
    }
}

fn encode<Data>(mut data: rustls::unbuffered::EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    let start = out.len();
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        out.resize(start + size.required_size, 0);
        let room = out.get_mut(start..).unwrap_or_default();
        let written = data.encode(room).unwrap_or(0);
        out.truncate(start + written);
    }
}

#[derive(PartialEq)]
enum Step {
    Again,
    Rest,
}

struct Sink<'a> {
    plain: &'a mut [u8],
    overflow: &'a mut Vec<u8>,
    out: &'a mut Vec<u8>,
    done: Received,
    error: Option<Error>,
}

impl Sink<'_> {
    fn take<Data>(&mut self, status: UnbufferedStatus<'_, '_, Data>) -> Step {
        self.done.used += status.discard;
        let state = match status.state {
            Ok(state) => state,
            Err(error) => {
                self.error = Some(error);
                return Step::Rest;
            }
        };
        match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            self.done.used += record.discard;
                            let room = self.plain.get_mut(self.done.plain..).unwrap_or_default();
                            let fits = if self.overflow.is_empty() {
                                room.len().min(record.payload.len())
                            } else {
                                0
                            };
                            let (now, later) = record.payload.split_at(fits);
                            if let Some(room) = room.get_mut(..fits) {
                                room.copy_from_slice(now);
                            }
                            self.done.plain += fits;
                            self.overflow.extend_from_slice(later);
                        }
                        Err(error) => {
                            self.error = Some(error);
                            return Step::Rest;
                        }
                    }
                }
                Step::Again
            }
            ConnectionState::EncodeTlsData(data) => {
                encode(data, self.out);
                Step::Again
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                Step::Again
            }
            ConnectionState::PeerClosed => {
                self.done.closed = true;
                Step::Again
            }
            _ => Step::Rest,
        }
    }
}
