//! The control connection while it is served: what waits to be said to either side, what is expected
//! of the server, and for how long anybody is waited for.

use super::data::Data;
use crate::passage::Passage;
use crate::pool::ServerConn;
use crate::session::Client;
use crate::termination::{Cause, Phase, Termination};
use crate::transport::Transport;
use crate::worker::Worker;
use ::tls::Acceptor;
use model::BindOptions;
use rules::FtpInfo;
use state::cut::Watch;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use wire::ftp::{self, Replies};

/// What the outer loop is to do.
pub enum Next {
    /// Make the TLS handshake that the client has asked for.
    Secure(Arc<Acceptor>),
    /// Find a server for the user.
    Login,
    /// The session is over.
    Ended(Termination),
}

/// What a client wants of a data connection.
#[derive(Clone, Copy)]
pub enum Wish {
    /// `PASV`.
    Passive,
    /// `EPSV`.
    Extended,
    /// `PORT` or `EPRT`: where the client listens.
    Active(SocketAddr),
}

/// What a reply answers, in the order in which replies come.
pub enum Expected {
    /// A command that passed as it is.
    Passed,
    /// `USER`, `PASS` or `ACCT`.
    Login,
    /// `STAT`, which may be answered while a transfer is under way.
    Status,
    /// A transfer, and whether it has begun.
    Transfer(bool),
    /// A port of the server for data.
    Port(Wish),
    Features,
    Quit,
    /// None of the server's: what we say in its place.
    Ours(Vec<u8>),
}

/// Those a session is between.
pub struct Scene<'a> {
    pub worker: &'a Rc<Worker>,
    pub client: &'a mut Client,
    pub server: Option<&'a mut ServerConn>,
    pub session: &'a mut Passage,
}

/// A control connection.
pub struct Control {
    /// The words of the line that the client came in by.
    pub(super) bind: Arc<BindOptions>,
    to_client: Vec<u8>,
    pub(super) to_server: Vec<u8>,
    /// What the server has said and nobody has read.
    pub from_server: Vec<u8>,
    pub(super) expected: VecDeque<Expected>,
    pub(super) replies: Replies,
    /// Which of those expected the reply under way answers.
    pub(super) answered: usize,
    pub(super) data: Option<Data>,
    /// Bytes of data connections that are over: from the client, and to it.
    passed: (u64, u64),
    /// `PBSZ` was said.
    pub(super) sized: bool,
    /// `PROT P` was said.
    pub(super) protected: bool,
    /// `EPSV ALL` was said.
    pub(super) only_extended: bool,
    pub(super) logged_in: bool,
    pub(super) user: Vec<u8>,
    /// A command that cannot be followed yet.
    held: Option<Vec<u8>>,
    /// The end of a transfer, which the client hears of when its bytes have left.
    pub(super) completion: Option<Vec<u8>>,
    /// The lines of it that came before the last.
    pub(super) closing: Vec<u8>,
    /// What is to be done once everything is said.
    pub(super) next: Option<Next>,
    /// The server has said goodbye.
    pub(super) parting: bool,
    client_open: bool,
    /// The server knows that the client says no more.
    told_end: bool,
    /// Ends the session because of its server, once that is watched for.
    cut: Option<Option<Watch>>,
    /// When something last happened.
    heard: Instant,
}

impl Control {
    /// The client is to be greeted.
    pub fn new(worker: &Worker, client: &Client) -> Control {
        let greeting = client.frontend.side().ftp.greeting.as_deref();
        let greeting = greeting.unwrap_or("FTP service ready.");
        Control {
            bind: client.bind().cloned().unwrap_or_default(),
            to_client: format!("220 {greeting}\r\n").into_bytes(),
            to_server: Vec::new(),
            from_server: Vec::new(),
            expected: VecDeque::new(),
            replies: Replies::default(),
            answered: 0,
            data: None,
            passed: (0, 0),
            sized: false,
            protected: false,
            only_extended: false,
            logged_in: false,
            user: Vec::new(),
            held: None,
            completion: None,
            closing: Vec::new(),
            next: None,
            parting: false,
            client_open: true,
            told_end: false,
            cut: None,
            heard: worker.now(),
        }
    }

    /// What rules may know of it.
    pub fn known(&self) -> FtpInfo {
        FtpInfo {
            user: self.user.as_slice().into(),
            protected: self.protected,
        }
    }

    /// Bytes of data connections: from the client, and to it.
    pub fn passed(&self) -> (u64, u64) {
        let now = self.data.as_ref().map_or((0, 0), Data::passed);
        (self.passed.0 + now.0, self.passed.1 + now.1)
    }

    /// A server is chosen anew: what was said to the one before and heard from it is over.
    pub fn forget_server(&mut self) {
        self.to_server.clear();
        self.from_server.clear();
        self.expected.clear();
        self.closing.clear();
        self.replies = Replies::default();
        self.cut = None;
    }

    /// The server is ready to hear who the user is.
    pub fn login(&mut self) {
        self.to_server.extend_from_slice(b"USER ");
        self.to_server.extend_from_slice(&self.user);
        self.to_server.extend_from_slice(b"\r\n");
        self.expected.push_back(Expected::Login);
    }

    /// Says something to the client, now.
    pub fn say(&mut self, reply: impl AsRef<[u8]>) {
        self.to_client.extend_from_slice(reply.as_ref());
    }

    /// Answers a command in the server's place, when its turn comes.
    pub(super) fn answer(&mut self, reply: impl AsRef<[u8]>) {
        let reply = reply.as_ref();
        if self.expected.is_empty() {
            self.say(reply);
        } else {
            self.expected.push_back(Expected::Ours(reply.to_vec()));
        }
    }

    /// The one at `at` has been answered; what we have to say after it follows.
    pub(super) fn settle(&mut self, at: usize) {
        self.expected.remove(at);
        while let Some(Expected::Ours(_)) = self.expected.front() {
            if let Some(Expected::Ours(reply)) = self.expected.pop_front() {
                self.say(reply);
            }
        }
    }

    /// Whether a transfer is under way, or asked for.
    pub(super) fn transfers(&self) -> bool {
        let mut expected = self.expected.iter();
        expected.any(|e| matches!(e, Expected::Transfer(_)))
    }

    /// Ends the data connection there is.
    pub(super) fn drop_data(&mut self, worker: &Worker) {
        self.passed = self.passed();
        if let Some(data) = self.data.take() {
            data.close(worker);
        }
    }

    /// Serves both sides until something is to be done that takes more than that.
    pub fn poll(
        &mut self,
        worker: &Rc<Worker>,
        cx: &mut Context<'_>,
        client: &mut Client,
        server: Option<&mut ServerConn>,
        session: &mut Passage,
    ) -> Poll<Next> {
        // Behind the end of what it says nobody reads from it.
        let gone = client.poll_gone(cx, false);
        if client.seat.was_killed() {
            return self.end(worker, Termination::new(Cause::ClientAbort, Phase::Data));
        }
        if gone && !self.client_open && !self.transfers() {
            let ended = self.client_gone(Phase::Data);
            return self.end(worker, ended);
        }
        let mut scene = Scene {
            worker,
            client,
            server,
            session,
        };
        if let Some(slot) = &scene.session.visit.slot {
            let watch = self.cut.get_or_insert_with(|| slot.watch_cuts(cx.waker()));
            if watch.as_ref().is_some_and(Watch::is_cut) {
                let ended = Termination::cut(slot.server(), Phase::Data);
                self.say(CLOSING);
                return self.end(worker, ended);
            }
        }
        loop {
            match self.step(cx, &mut scene) {
                Err(Next::Ended(ended)) => return self.end(worker, ended),
                Err(next) => return Poll::Ready(next),
                Ok(false) => break,
                Ok(true) => {
                    self.heard = worker.now();
                    self.count(&scene);
                }
            }
        }
        self.poll_patience(cx, &mut scene)
    }

    fn end(&mut self, worker: &Worker, ended: Termination) -> Poll<Next> {
        self.drop_data(worker);
        Poll::Ready(Next::Ended(ended))
    }

    fn count(&self, scene: &Scene<'_>) {
        let now = scene.worker.process.millis(scene.worker.now());
        let (received, sent) = self.passed();
        scene.client.tracked.passed(received, sent, now);
        if let Some(slot) = &scene.session.visit.slot {
            slot.carried(received + sent, now);
        }
    }

    /// Does what can be done now; whether that was anything.
    fn step(&mut self, cx: &mut Context<'_>, scene: &mut Scene<'_>) -> Result<bool, Next> {
        let mut progress = send(&mut scene.client.io, cx, &mut self.to_client)
            .map_err(|_| Next::Ended(self.client_gone(self.phase(scene))))?;
        if let Some(server) = scene.server.as_deref_mut() {
            match send(&mut server.io, cx, &mut self.to_server) {
                Ok(sent) => progress |= sent,
                Err(_) => return Err(self.server_gone()),
            }
            if !self.client_open && !self.told_end && self.to_server.is_empty() {
                self.told_end = true;
                server.io.shutdown_write();
            }
        }
        if self.to_client.is_empty()
            && let Some(next) = self.next.take()
        {
            return Err(next);
        }
        if let Some(data) = &mut self.data {
            let before = data.passed();
            progress |= data.poll(scene.worker, cx);
            if before != data.passed() {
                self.heard = scene.worker.now();
                self.count(scene);
            }
        }
        if self.data.as_ref().is_none_or(Data::is_settled)
            && let Some(completion) = self.completion.take()
        {
            self.complete(&completion);
            progress = true;
        }
        progress |= self.hear_server(cx, scene)?;
        progress |= self.hear_client(cx, scene)?;
        Ok(progress)
    }

    fn hear_server(&mut self, cx: &mut Context<'_>, scene: &mut Scene<'_>) -> Result<bool, Next> {
        let mut progress = false;
        while self.completion.is_none() && self.to_client.len() < UNSENT && self.next.is_none() {
            if let Some(end) = ftp::line(&self.from_server) {
                let line: Vec<u8> = self.from_server.drain(..end).collect();
                self.reply(scene, &line)?;
                progress = true;
                continue;
            }
            let Some(server) = scene.server.as_deref_mut() else {
                break;
            };
            match fill(scene.worker, &mut server.io, cx, &mut self.from_server) {
                Poll::Pending => break,
                Poll::Ready(true) if self.from_server.len() <= LONGEST => progress = true,
                Poll::Ready(_) => return Err(self.server_gone()),
            }
        }
        Ok(progress)
    }

    fn hear_client(&mut self, cx: &mut Context<'_>, scene: &mut Scene<'_>) -> Result<bool, Next> {
        let mut progress = false;
        while self.client_open
            && self.next.is_none()
            && self.expected.len() < PIPELINED
            && self.to_client.len() < UNSENT
            && self.to_server.len() < UNSENT
        {
            let line = self.held.take().or_else(|| {
                let end = ftp::line(&scene.client.carry)?;
                Some(scene.client.carry.drain(..end).collect())
            });
            if let Some(line) = line {
                if !self.command(scene, &line) {
                    self.held = Some(line);
                    break;
                }
                progress = true;
                continue;
            }
            if scene.client.carry.len() > LONGEST {
                self.say("500 Command line too long.\r\n");
                self.say(CLOSING);
                return Err(ended(Cause::Proxy, self.phase(scene)));
            }
            match fill(
                scene.worker,
                &mut scene.client.io,
                cx,
                &mut scene.client.carry,
            ) {
                Poll::Pending => break,
                Poll::Ready(true) => progress = true,
                Poll::Ready(false) => {
                    self.client_open = false;
                    progress = true;
                    // The server answers what is asked already, and closes then.
                    if scene.server.is_none() {
                        return Err(ended(Cause::ClientAbort, Phase::Request));
                    }
                }
            }
        }
        Ok(progress)
    }

    /// The server has closed the control connection, or has said what nobody understands.
    pub(super) fn server_gone(&mut self) -> Next {
        if self.parting || !self.client_open && self.expected.is_empty() {
            return Next::Ended(Termination::default());
        }
        if self.transfers() {
            self.say(ABORTED);
        }
        self.say(CLOSING);
        ended(Cause::ServerAbort, Phase::Data)
    }

    /// The client hears nothing any more, which is no abort where it has said goodbye.
    fn client_gone(&self, phase: Phase) -> Termination {
        match self.parting || matches!(self.expected.front(), Some(Expected::Quit)) {
            true => Termination::default(),
            false => Termination::new(Cause::ClientAbort, phase),
        }
    }

    fn phase(&self, scene: &Scene<'_>) -> Phase {
        match scene.server {
            Some(_) => Phase::Data,
            None => Phase::Request,
        }
    }

    /// Whose turn it is and for how long; ready when that is over.
    fn poll_patience(&mut self, cx: &mut Context<'_>, scene: &mut Scene<'_>) -> Poll<Next> {
        let front = scene.client.frontend.proxy().timeouts;
        let back = scene.session.backend();
        let back = back.map(|b| b.proxy().timeouts).unwrap_or_default();
        let dialling = self.data.as_ref().is_some_and(Data::is_dialling);
        let moving = self.data.as_ref().is_some_and(|d| !d.is_settled()) && self.transfers();
        let patience = if dialling {
            back.connect.or(front.client)
        } else if self.completion.is_some() {
            Some(SETTLING)
        } else if moving {
            let slower = front.client.zip(back.server).map(|(c, s)| c.max(s));
            back.tunnel.or(slower)
        } else if self.expected.is_empty() && self.to_server.is_empty() {
            front.client
        } else {
            back.server
        };
        scene.client.timer.arm(patience.map(|t| self.heard + t));
        if scene.client.timer.poll_expired(cx).is_pending() {
            return Poll::Pending;
        }
        self.heard = scene.worker.now();
        let cause = match &mut self.data {
            Some(data) if dialling || moving => {
                // Who is silent finds out, and then the server says how the transfer went.
                let (client_waits, server_waits) = data.waits();
                let cause = match (client_waits, server_waits) {
                    (true, _) => Cause::ClientTimeout,
                    _ => Cause::ServerTimeout,
                };
                data.abort(cause);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            _ if self.expected.is_empty() && self.to_server.is_empty() => Cause::ClientTimeout,
            _ => Cause::ServerTimeout,
        };
        self.say(TIMEOUT);
        let phase = self.phase(scene);
        self.end(scene.worker, Termination::new(cause, phase))
    }

    /// Sends what is left to be said to a client whose session is over.
    pub fn poll_farewell(
        &mut self,
        worker: &Worker,
        cx: &mut Context<'_>,
        client: &mut Client,
    ) -> Poll<()> {
        self.drop_data(worker);
        client.timer.arm(Some(self.heard + SETTLING));
        match send(&mut client.io, cx, &mut self.to_client) {
            Ok(_) if !self.to_client.is_empty() => client.timer.poll_expired(cx).map(|_| ()),
            _ => Poll::Ready(()),
        }
    }
}

pub(super) fn ended(cause: Cause, phase: Phase) -> Next {
    Next::Ended(Termination::new(cause, phase))
}

/// Writes what there is, as far as it is taken now; whether that was anything.
fn send(io: &mut Transport, cx: &mut Context<'_>, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut progress = false;
    while !bytes.is_empty() {
        match io.poll_write(cx, &[IoSlice::new(bytes)]) {
            Poll::Ready(n) => drop(bytes.drain(..n?)),
            Poll::Pending => break,
        }
        progress = true;
    }
    if let Poll::Ready(flushed) = io.poll_flush(cx) {
        flushed?;
    }
    Ok(progress)
}

/// Reads what is there; `false` at its end.
fn fill(
    worker: &Worker,
    io: &mut Transport,
    cx: &mut Context<'_>,
    into: &mut Vec<u8>,
) -> Poll<bool> {
    let mut scratch = worker.scratch.borrow_mut();
    io.poll_read(cx, &mut scratch).map(|read| {
        let n = read.unwrap_or(0);
        into.extend_from_slice(scratch.get(..n).unwrap_or_default());
        n > 0
    })
}

/// RFC 959 section 4.2.1: the control connection is closed by us.
pub(super) const CLOSING: &str = "421 Service not available, closing control connection.\r\n";
const TIMEOUT: &str = "421 Timeout, closing control connection.\r\n";
/// A data connection broke.
pub(super) const ABORTED: &str = "426 Connection closed; transfer aborted.\r\n";
/// A data connection could not be made.
pub(super) const NO_DATA: &str = "425 Can't open data connection.\r\n";

/// The longest line that is waited for, bytes.
pub const LONGEST: usize = 16 * 1024;
/// Bytes that wait for one side before the other is heard again.
const UNSENT: usize = 64 * 1024;
/// Commands that may wait for their replies.
const PIPELINED: usize = 32;
/// How long a client may leave the last bytes of a transfer, or of its session, where they are.
const SETTLING: Duration = Duration::from_secs(5);
