//! `mode ftp`: control connections whose commands and replies are read, and the data connections
//! that they speak of.
//!
//! A client is greeted here. Its `USER` chooses the backend (`login.rs`); from then on commands and
//! replies pass (`control.rs`), except those about TLS, which ends here on either side by itself, and
//! those that name addresses. Every data connection of a client leads to us, and from here to the
//! server that its control connection leads to (`data.rs`); servers are always asked for a port to
//! connect to, whatever the client asked for. It never leads anywhere else: neither where a client
//! says (RFC 2577) nor where a server does.

mod commands;
mod control;
mod data;
mod door;
mod login;
mod replies;

use crate::passage::Passage;
use crate::pool::ServerConn;
use crate::prelude;
use crate::session::Client;
use crate::termination::{Cause, Phase, Termination};
use crate::visit::Outcome;
use crate::worker::Worker;
use control::{Control, Next};
use std::future::poll_fn;
use std::rc::Rc;

/// Serves one control connection, and the data connections that belong to it, to its end.
pub async fn run(worker: &Rc<Worker>, client: &mut Client) {
    let mut session = Passage::new(client.seat.accepted());
    client.seat.begin(0);
    client.io.socket().take_urgent();
    let mut control = Box::new(Control::new(worker, client));
    let ended = Box::pin(serve(worker, client, &mut session, &mut control)).await;
    let ended = match client.seat.was_killed() {
        true => Termination::new(Cause::Killed, ended.phase),
        false => ended,
    };
    poll_fn(|cx| control.poll_farewell(worker, cx, client)).await;
    // A close with commands unread would be a reset, and might take the last reply away.
    client.unread = true;
    let (received, sent) = control.passed();
    let outcome = Outcome {
        server_bytes: None,
        received,
        sent,
        status: None,
        ended,
    };
    session.visit.count(worker, client, &outcome);
    session.visit.depart();
    if !session.visit.logged_early {
        let info = &session.info;
        session.visit.log(worker, client, info, &outcome, false);
    }
}

async fn serve(
    worker: &Rc<Worker>,
    client: &mut Client,
    session: &mut Passage,
    control: &mut Control,
) -> Termination {
    let mut server: Option<ServerConn> = None;
    loop {
        let next = poll_fn(|cx| control.poll(worker, cx, client, server.as_mut(), session)).await;
        match next {
            Next::Ended(ended) => return ended,
            Next::Secure(acceptor) => {
                if let Err(cause) = prelude::secure(worker, client, acceptor).await {
                    return Termination::new(cause, Phase::Request);
                }
            }
            Next::Login => {
                drop(server.take());
                control.forget_server();
                match login::run(worker, client, session, control).await {
                    Ok(connected) => server = Some(connected),
                    Err((reply, ended)) => {
                        control.say(reply);
                        return ended;
                    }
                }
            }
        }
    }
}
