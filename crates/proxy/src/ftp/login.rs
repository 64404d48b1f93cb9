//! From a user's name to a server that is ready to hear it.

use super::control::Control;
use crate::opening::Opening;
use crate::passage::Passage;
use crate::pool::ServerConn;
use crate::session::Client;
use crate::tcp;
use crate::termination::{Cause, Phase, Termination};
use crate::tls::TlsStream;
use crate::transport::server_name;
use crate::visit::Outcome;
use crate::worker::Worker;
use state::Server;
use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use wire::ftp::{self, Replies};

/// What the client is told when nothing came of it, and how its session ended.
pub type Refusal = (&'static str, Termination);

const DENIED: &str = "530 Access denied.\r\n";
const UNAVAILABLE: &str = "421 Service not available, closing control connection.\r\n";

/// Chooses a backend and a server for the user that the client has named, and takes the server's
/// greeting. A server that does not greet is one that could not be reached: there are retries.
pub async fn run(
    worker: &Rc<Worker>,
    client: &mut Client,
    session: &mut Passage,
    control: &mut Control,
) -> Result<ServerConn, Refusal> {
    session.visit.leave();
    session.info.ftp = Some(Box::new(control.known()));
    let chosen = tcp::choose_backend(worker, client, &mut session.info).await;
    // No rule of this mode leads to HTTP, and no backend.
    let none = Termination::new(Cause::Internal, Phase::Request);
    let chosen = chosen.and_then(|way| match way {
        tcp::Way::Bytes(backend) => Ok(backend),
        tcp::Way::Http(_) => Err(none),
    });
    let backend = chosen.map_err(|ended| {
        let reply = match ended.cause {
            Cause::Proxy => DENIED,
            _ => UNAVAILABLE,
        };
        (reply, ended)
    })?;
    session.enter(worker, client, Arc::clone(&backend));
    let server = loop {
        let reached = session.reach(worker, client, &backend).await;
        let connection = reached.map_err(|ended| (UNAVAILABLE, ended))?;
        let patience = backend.proxy().timeouts.server;
        client.timer.arm(patience.map(|t| worker.now() + t));
        let Some(server) = session.visit.slot.as_ref().map(|s| Arc::clone(s.server())) else {
            let ended = Termination::new(Cause::Internal, Phase::Connect);
            return Err((UNAVAILABLE, ended));
        };
        match greeted(worker, client, connection, &server, control).await {
            Ok(connection) => break connection,
            Err(Cause::ClientAbort) => {
                let ended = Termination::new(Cause::ClientAbort, Phase::Connect);
                return Err((UNAVAILABLE, ended));
            }
            Err(cause) => {
                let again = session.dismiss(worker, &backend, cause);
                again.map_err(|ended| (UNAVAILABLE, ended))?;
                control.forget_server();
            }
        }
    };
    if client.frontend.side().logasap && !session.visit.logged_early {
        session.visit.logged_early = true;
        let info = &session.info;
        session
            .visit
            .log(worker, client, info, &Outcome::default(), true);
    }
    control.login();
    Ok(server)
}

/// Takes the greeting, and agrees on TLS where the server's line says so.
async fn greeted(
    worker: &Worker,
    client: &mut Client,
    mut connection: ServerConn,
    server: &Server,
    control: &mut Control,
) -> Result<ServerConn, Cause> {
    let inbox = &mut control.from_server;
    ask(worker, client, &mut connection, inbox, b"", 220).await?;
    let Some(tls) = server.settings().tls.clone() else {
        return Ok(connection);
    };
    if tls.offered {
        ask(worker, client, &mut connection, inbox, b"AUTH TLS\r\n", 234).await?;
        // What came in the clear behind that reply is not from whom the certificate will name.
        if !inbox.is_empty() {
            return Err(Cause::ServerAbort);
        }
        let name = server_name(connection.sni.as_deref(), &connection.target);
        let connect = |io| TlsStream::connect(io, &tls.connector, &name);
        if !matches!(connection.io.begin_tls(connect), Ok(Ok(()))) {
            return Err(Cause::ServerAbort);
        }
        let io = &mut connection.io;
        let made = poll_fn(|cx| {
            let made = io.poll_established(cx, &mut Opening::default());
            waiting(client, cx, made)
        });
        made.await?.map_err(|_| Cause::ServerAbort)?;
    }
    ask(worker, client, &mut connection, inbox, b"PBSZ 0\r\n", 200).await?;
    ask(worker, client, &mut connection, inbox, b"PROT P\r\n", 200).await?;
    Ok(connection)
}

/// Sends a command, if there is one, and takes its reply, whose code must be this.
async fn ask(
    worker: &Worker,
    client: &mut Client,
    connection: &mut ServerConn,
    inbox: &mut Vec<u8>,
    command: &[u8],
    wanted: u16,
) -> Result<(), Cause> {
    let mut rest = command.to_vec();
    let mut replies = Replies::default();
    poll_fn(|cx| {
        let done = poll_ask(worker, cx, connection, inbox, &mut rest, &mut replies);
        waiting(client, cx, done)
    })
    .await?
    .and_then(|code| match code == wanted {
        true => Ok(()),
        false => Err(Cause::ServerAbort),
    })
}

/// What there is, unless the client has gone or the server takes too long.
fn waiting<T>(client: &mut Client, cx: &mut Context<'_>, done: Poll<T>) -> Poll<Result<T, Cause>> {
    if let Poll::Ready(done) = done {
        return Poll::Ready(Ok(done));
    }
    if client.timer.poll_expired(cx).is_ready() {
        return Poll::Ready(Err(Cause::ServerTimeout));
    }
    match client.poll_gone(cx, false) {
        true => Poll::Ready(Err(Cause::ClientAbort)),
        false => Poll::Pending,
    }
}

fn poll_ask(
    worker: &Worker,
    cx: &mut Context<'_>,
    connection: &mut ServerConn,
    inbox: &mut Vec<u8>,
    rest: &mut Vec<u8>,
    replies: &mut Replies,
) -> Poll<Result<u16, Cause>> {
    let failed = |_| Cause::ServerAbort;
    while !rest.is_empty() {
        match connection.io.poll_write(cx, &[IoSlice::new(rest)]) {
            Poll::Ready(n) => drop(rest.drain(..n.map_err(failed)?)),
            Poll::Pending => return Poll::Pending,
        }
    }
    if connection.io.poll_flush(cx).map_err(failed)?.is_pending() {
        return Poll::Pending;
    }
    loop {
        while let Some(end) = ftp::line(inbox) {
            let line: Vec<u8> = inbox.drain(..end).collect();
            let line = replies.line(&line).map_err(|_| Cause::ServerAbort)?;
            if line.last && !line.is_preliminary() {
                return Poll::Ready(Ok(line.code));
            }
        }
        let mut scratch = worker.scratch.borrow_mut();
        match connection.io.poll_read(cx, &mut scratch) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(n)) if n > 0 && inbox.len() < super::control::LONGEST => {
                inbox.extend_from_slice(scratch.get(..n).unwrap_or_default());
            }
            Poll::Ready(_) => return Poll::Ready(Err(Cause::ServerAbort)),
        }
    }
}
