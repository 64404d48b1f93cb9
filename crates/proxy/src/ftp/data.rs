//! One data connection: a client's end, a server's end, and bytes in both directions between them.

use super::door::Door;
use crate::flow::{Broken, Flow, Progress};
use crate::io::Io;
use crate::opening::Opening;
use crate::termination::Cause;
use crate::tls::TlsStream;
use crate::transport::Transport;
use crate::worker::Worker;
use ::tls::Acceptor;
use model::ServerTls;
use state::Target;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

/// One end.
pub enum End {
    /// The client is to come.
    Awaited(Door),
    /// It is to be connected to once bytes are to move.
    Later(SocketAddr),
    /// The connection is being made.
    Dialled(Io),
    /// TLS is being agreed on.
    Greeting(Transport),
    Open(Transport),
    /// Closed, or it could not be made.
    Gone,
}

impl End {
    fn transport(&mut self) -> Option<&mut Transport> {
        match self {
            End::Open(transport) | End::Greeting(transport) => Some(transport),
            _ => None,
        }
    }

    /// Ends it so that nobody takes what came for all that there was.
    fn abort(&mut self) {
        if let Some(transport) = self.transport() {
            transport.close_at_once();
        }
        *self = End::Gone;
    }
}

/// TLS on the way to the server's end.
pub struct Secured {
    pub tls: Arc<ServerTls>,
    pub sni: Option<Box<str>>,
    pub target: Arc<Target>,
}

/// A data connection.
pub struct Data {
    client: End,
    server: End,
    /// The only address that a client's end may have.
    from: IpAddr,
    /// TLS at the client's end (`PROT P`).
    acceptor: Option<Arc<Acceptor>>,
    secured: Option<Secured>,
    up: Flow,
    down: Flow,
    up_open: bool,
    down_open: bool,
    /// Why it came to nothing.
    failed: Option<Cause>,
}

impl Data {
    /// Nothing has passed yet. The server's end is being connected.
    pub fn new(
        client: End,
        server: Io,
        from: IpAddr,
        acceptor: Option<Arc<Acceptor>>,
        secured: Option<Secured>,
    ) -> Data {
        let flow = || {
            let mut flow = Flow::idle();
            flow.progress = Progress::UntilClose;
            flow
        };
        Data {
            client,
            server: End::Dialled(server),
            from,
            acceptor,
            secured,
            up: flow(),
            down: flow(),
            up_open: true,
            down_open: true,
            failed: None,
        }
    }

    /// Bytes so far: from the client, and to it.
    pub fn passed(&self) -> (u64, u64) {
        (self.up.received, self.down.sent)
    }

    /// Where the client's end is for us to connect to.
    pub fn later(&self) -> Option<SocketAddr> {
        match self.client {
            End::Later(address) => Some(address),
            _ => None,
        }
    }

    /// Connects the client's end.
    pub fn dial(&mut self, io: Io) {
        self.client = End::Dialled(io);
    }

    /// Whether the client's end is being connected.
    pub fn is_dialling(&self) -> bool {
        matches!(self.client, End::Dialled(_))
    }

    /// Why it came to nothing, if it did.
    pub fn failed(&self) -> Option<Cause> {
        self.failed
    }

    /// Whether all that the server had to say has left.
    pub fn is_settled(&self) -> bool {
        !self.down_open || self.failed.is_some()
    }

    /// Whether bytes wait for the client, for the server.
    pub fn waits(&self) -> (bool, bool) {
        (!self.down.drained(), !self.up.drained())
    }

    /// Ends both sides, and neither takes what came for all that there was.
    pub fn abort(&mut self, cause: Cause) {
        self.failed.get_or_insert(cause);
        self.client.abort();
        self.server.abort();
        (self.up_open, self.down_open) = (false, false);
    }

    /// Whether bytes have gone one way, and all of them.
    fn is_complete(&self) -> bool {
        let ended = |flow: &Flow, open: bool| !open || flow.received == 0;
        (!self.up_open || !self.down_open)
            && ended(&self.up, self.up_open)
            && ended(&self.down, self.down_open)
    }

    /// Ends it where it stands: what is under way is broken off.
    pub fn close(mut self, worker: &Worker) {
        if !self.is_complete() {
            self.client.abort();
            self.server.abort();
        }
        self.up.recycle(worker);
        self.down.recycle(worker);
    }

    /// Moves what can be moved; whether an end has come or gone.
    pub fn poll(&mut self, worker: &Worker, cx: &mut Context<'_>) -> bool {
        let mut progress = self.open_client(cx);
        progress |= self.open_server(cx);
        let before = (self.up_open, self.down_open);
        let (End::Open(client), End::Open(server)) = (&mut self.client, &mut self.server) else {
            return progress;
        };
        let (up_over, down_over) = (!self.up_open, !self.down_open);
        let up = (&mut self.up, &mut self.up_open, down_over);
        let sides = (Cause::ClientAbort, Cause::ServerAbort);
        let moved = pass(worker, cx, up, (client, server), sides);
        let down = (&mut self.down, &mut self.down_open, up_over);
        let sides = (Cause::ServerAbort, Cause::ClientAbort);
        let broken = moved.and_then(|()| pass(worker, cx, down, (server, client), sides));
        progress |= before != (self.up_open, self.down_open);
        if let Err(cause) = broken {
            self.abort(cause);
            return true;
        }
        if !self.up_open && !self.down_open {
            (self.client, self.server) = (End::Gone, End::Gone);
        }
        progress
    }

    fn open_client(&mut self, cx: &mut Context<'_>) -> bool {
        let io = match &mut self.client {
            End::Awaited(door) => match door.poll_accept(cx, self.from) {
                Poll::Pending => return false,
                Poll::Ready(Ok(fd)) => Io::new(fd),
                Poll::Ready(Err(_)) => {
                    self.abort(Cause::Resource);
                    return true;
                }
            },
            End::Dialled(io) => match io.poll_connected(cx) {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => {
                    self.abort(Cause::ClientAbort);
                    return true;
                }
                Poll::Ready(Ok(())) => match std::mem::replace(&mut self.client, End::Gone) {
                    End::Dialled(io) => io,
                    _ => return false,
                },
            },
            End::Greeting(_) => {
                let greeted = greet(&mut self.client, cx);
                if greeted == Some(false) {
                    self.abort(Cause::ClientAbort);
                }
                return greeted.is_some();
            }
            _ => return false,
        };
        self.client = match &self.acceptor {
            None => End::Open(Transport::Plain(io)),
            Some(acceptor) => {
                let tls = TlsStream::accept_sender(io, Arc::clone(acceptor));
                End::Greeting(Transport::Tls(Box::new(tls)))
            }
        };
        true
    }

    fn open_server(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.server {
            End::Dialled(io) => match io.poll_connected(cx) {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => {
                    self.abort(Cause::ServerAbort);
                    return true;
                }
                Poll::Ready(Ok(())) => {}
            },
            End::Greeting(_) => {
                let greeted = greet(&mut self.server, cx);
                if greeted == Some(false) {
                    self.abort(Cause::ServerAbort);
                }
                return greeted.is_some();
            }
            _ => return false,
        }
        let End::Dialled(io) = std::mem::replace(&mut self.server, End::Gone) else {
            return false;
        };
        self.server = match &self.secured {
            None => End::Open(Transport::Plain(io)),
            Some(s) => {
                match Transport::to_server(io, &s.tls.connector, s.sni.as_deref(), &s.target) {
                    Ok(transport) => End::Greeting(transport),
                    Err(_) => {
                        self.abort(Cause::ServerAbort);
                        return true;
                    }
                }
            }
        };
        true
    }
}

/// Moves what can be moved in one direction and passes its end on. `over`: that the other one has
/// ended. Who has failed, where somebody has: the sender or the receiver.
fn pass(
    worker: &Worker,
    cx: &mut Context<'_>,
    (flow, open, over): (&mut Flow, &mut bool, bool),
    (from, to): (&mut Transport, &mut Transport),
    (sender, receiver): (Cause, Cause),
) -> Result<(), Cause> {
    if !*open {
        return Ok(());
    }
    match flow.poll(worker, cx, from, to, &mut Vec::new()) {
        Poll::Pending => Ok(()),
        Poll::Ready(Ok(())) => {
            *open = false;
            to.shutdown_write();
            Ok(())
        }
        // Bytes go in one direction. Once they have, the other one has no more to say, and some
        // peers end it by a reset.
        Poll::Ready(Err(_)) if over && flow.received == 0 => {
            *open = false;
            Ok(())
        }
        Poll::Ready(Err(Broken::ReceiverFailed)) => Err(receiver),
        Poll::Ready(Err(_)) => Err(sender),
    }
}

/// Goes on with a handshake: whether it is made, once that is known.
fn greet(end: &mut End, cx: &mut Context<'_>) -> Option<bool> {
    let transport = end.transport()?;
    let Poll::Ready(made) = transport.poll_established(cx, &mut Opening::default()) else {
        return None;
    };
    if let End::Greeting(transport) = std::mem::replace(end, End::Gone) {
        *end = End::Open(transport);
    }
    Some(made.is_ok())
}
