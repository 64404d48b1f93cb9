//! `mode smtp`: mail between clients and servers that recipients, senders or names choose.
//!
//! We are the server to the client until the first recipient of a message says where it is for;
//! then a server is reached, told what the client said, and from there on every command is passed
//! on and its reply passed back, one at a time. Only what was understood is passed on, written
//! anew, so that no client can make a server read more commands than were judged here. A client
//! may send many commands at once (`PIPELINING`, RFC 2920): they wait here for their turn.
//!
//! `talk.rs` moves bytes, `greet.rs` answers what is not about a message, `auth.rs` is logging in,
//! `envelope.rs` is sender
//! and recipients, `content.rs` the message, `server.rs` the conversation behind, `judge.rs` the
//! rules.

mod auth;
mod content;
mod envelope;
mod greet;
mod judge;
mod server;
mod talk;

use crate::passage::Passage;
use crate::session::Client;
use crate::termination::{Cause, Phase, Termination};
use crate::visit::Outcome;
use crate::worker::Worker;
use rules::SmtpInfo;
use server::Server;
use state::Frontend;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use wire::smtp::{Command, Extension, Fault};

/// How far the client's message is.
enum Stage {
    /// There is none.
    Idle,
    /// The sender is known here; no server knows of it.
    Sender,
    /// A server knows the sender.
    Open,
    /// It cannot be taken: every recipient gets this reply.
    Failed(Vec<u8>),
}

/// The sender, as a server will be told.
#[derive(Default)]
struct Sender {
    address: Vec<u8>,
    /// The line that named it, for its parameters.
    line: Vec<u8>,
}

/// The conversation with one client.
struct Conversation<'a> {
    worker: &'a Worker,
    client: &'a mut Client,
    frontend: Arc<Frontend>,
    /// Replies that the client has not been sent yet.
    out: Vec<u8>,
    stage: Stage,
    sender: Sender,
    /// Where this message goes, or the connection before its first one.
    passage: Passage,
    server: Option<Server>,
    login: Login,
    /// Commands that were refused.
    errors: u32,
    /// Of this message: bytes from the client and to it, the last reply that says what became of it.
    received: u64,
    sent: u64,
    status: Option<u16>,
    /// What went wrong with this message, for the log.
    trouble: Termination,
    /// Something was logged of this connection.
    logged: bool,
}

/// Whether the client has logged in, which it has at one server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Login {
    None,
    /// The server that knows it is there.
    Done,
    /// That server is lost.
    Lost,
}

/// The conversation is over, and how it ended.
struct Over(Termination);

/// Serves one connection to its end.
pub async fn run(worker: &Worker, client: &mut Client) {
    let frontend = Arc::clone(&client.frontend);
    let begun = client.seat.accepted();
    client.seat.begin(0);
    let mut conversation = Conversation {
        worker,
        client,
        frontend,
        out: Vec::new(),
        stage: Stage::Idle,
        sender: Sender::default(),
        passage: Passage::new(begun),
        server: None,
        login: Login::None,
        errors: 0,
        received: 0,
        sent: 0,
        status: None,
        trouble: Termination::default(),
        logged: false,
    };
    conversation.passage.info.smtp = Some(Box::default());
    // One that waits for its client hears that the process is about to end.
    let seat = &conversation.client.seat;
    poll_fn(|cx| {
        seat.wake_by(cx.waker());
        Poll::Ready(())
    })
    .await;
    let Over(ended) = conversation.talk().await;
    conversation.finish(ended).await;
}

impl Conversation<'_> {
    /// Greets, then does what is asked until one of the two has enough.
    async fn talk(&mut self) -> Over {
        self.banner();
        loop {
            if matches!(self.stage, Stage::Idle) && self.worker.process.is_leaving() {
                self.say(GOING_AWAY);
                return self.end().await;
            }
            let line = match self.next_line().await {
                Ok(line) => line,
                Err(over) => return over,
            };
            if let Err(over) = self.obey(&line).await {
                return over;
            }
            if self.errors >= self.settings().max_errors {
                self.say("421 4.7.0 too many errors");
                self.trouble = Termination::new(Cause::Proxy, Phase::Request);
                return self.end().await;
            }
        }
    }

    fn settings(&self) -> &model::Smtp {
        &self.frontend.side().smtp
    }

    /// Whether an extension is announced to this client.
    fn offers(&self, extension: Extension) -> bool {
        let announced = &self.settings().extensions;
        let extended = self.passage.info.smtp.as_ref().is_some_and(|s| s.extended);
        if extension == Extension::Auth {
            // RFC 4954 section 4: passwords do not pass in clear text.
            let secure = self.client.info.tls.is_some();
            return extended && secure && !self.settings().auth.is_empty();
        }
        extended && announced.iter().any(|name| **name == *extension.name())
    }

    fn facts(&mut self) -> &mut SmtpInfo {
        self.passage.info.smtp.get_or_insert_default()
    }

    async fn obey(&mut self, line: &[u8]) -> Result<(), Over> {
        let command = match Command::read(line) {
            Ok(command) => command,
            Err(fault @ Fault::Web) => return Err(self.give_up(fault.reply()).await),
            Err(fault) => {
                self.refuse(fault.reply());
                return Ok(());
            }
        };
        match command {
            Command::Ehlo(name) => self.hello(name, true).await,
            Command::Helo(name) => self.hello(name, false).await,
            Command::Mail(path, parameters) => self.mail(line, path, parameters).await?,
            Command::Rcpt(path, parameters) => self.rcpt(path, parameters).await?,
            Command::Data => self.data().await?,
            Command::Rset => {
                self.reset().await;
                self.say("250 2.0.0 ok");
            }
            Command::Noop => self.say("250 2.0.0 ok"),
            Command::Help => self.say(HELP),
            Command::Verify => self.say(VERIFY),
            Command::StartTls => self.start_tls().await?,
            Command::Auth(mechanism, response) => self.auth(mechanism, response).await?,
            Command::Quit => {
                self.say("221 2.0.0 bye");
                return Err(self.end().await);
            }
        }
        Ok(())
    }

    /// Says what was put off, and ends the conversation.
    async fn end(&mut self) -> Over {
        match self.flush().await {
            Ok(()) => Over(self.trouble),
            Err(over) => over,
        }
    }

    /// A message begins: what was counted and logged of the one before is past.
    fn begin_message(&mut self) {
        let now = self.worker.moment(self.worker.now());
        match &self.server {
            Some(_) => self.passage.again(now),
            None => {
                let facts = self.passage.info.smtp.take();
                self.passage = Passage::new(now);
                self.passage.info.smtp = facts;
            }
        }
        (self.received, self.sent) = (0, 0);
        self.status = None;
        self.trouble = Termination::default();
    }

    /// The message is over, delivered or not: it is counted and logged, and what was tracked and
    /// kept for it is let go.
    fn end_message(&mut self, ended: Termination) {
        if matches!(self.stage, Stage::Idle) {
            return;
        }
        self.stage = Stage::Idle;
        self.log(ended);
        let facts = self.facts();
        *facts = SmtpInfo {
            helo: facts.helo.take(),
            extended: facts.extended,
            ..SmtpInfo::default()
        };
        self.client.vars.borrow_mut().end_request();
        self.client.tracked.end_stream();
        if self.server.is_none() {
            self.passage.visit.leave();
        }
    }

    fn log(&mut self, ended: Termination) {
        let ended = match self.client.seat.was_killed() {
            true => Termination::new(Cause::Killed, ended.phase),
            false => ended,
        };
        // To a client that never said a word nothing was said that counts.
        let sent = if self.received == 0 { 0 } else { self.sent };
        let outcome = Outcome {
            server_bytes: None,
            received: self.received,
            sent,
            status: self.status,
            ended,
        };
        self.passage.visit.count(self.worker, self.client, &outcome);
        if let (Some(server), Some(slot)) = (&mut self.server, &self.passage.visit.slot) {
            server.moved += self.received + self.sent;
            let now = self.worker.process.millis(self.worker.now());
            slot.carried(server.moved, now);
        }
        let Passage { info, visit, .. } = &self.passage;
        visit.log(self.worker, self.client, info, &outcome, false);
        self.logged = true;
    }

    /// The message is over as its client wished: servers forget it, too.
    async fn reset(&mut self) {
        if matches!(self.stage, Stage::Open) {
            let good = match &mut self.server {
                Some(server) => {
                    let asked = server.ask(self.worker, self.client, b"RSET");
                    asked.await.is_ok_and(|reply| reply.is_good())
                }
                None => false,
            };
            if !good {
                self.drop_server();
            }
        }
        self.end_message(self.trouble);
    }

    /// Lets the server go; what it has not been told to deliver it forgets.
    fn drop_server(&mut self) {
        self.server = None;
        self.passage.visit.leave();
        if self.login == Login::Done {
            self.login = Login::Lost;
        }
    }

    /// The connection is over.
    async fn finish(&mut self, ended: Termination) {
        let ended = match self.trouble.is_normal() {
            true => ended,
            false => self.trouble,
        };
        let open = matches!(self.stage, Stage::Open);
        self.end_message(ended);
        if !self.logged {
            self.log(ended);
        }
        if let Some(server) = self.server.take() {
            server.bye(open);
        }
        self.passage.visit.leave();
        self.client.unread = true;
    }

    /// Refuses a command, which counts as an error of the client.
    fn refuse(&mut self, reply: &str) {
        self.errors += 1;
        self.frontend.counters().of(self.worker.id).ereq.add(1);
        let now = self.worker.process.millis(self.worker.now());
        self.client.tracked.error(now);
        self.say(reply);
    }
}

const GOING_AWAY: &str = "421 4.3.2 going away: try again later";
const HELP: &str = "214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY STARTTLS AUTH";
const VERIFY: &str = "252 2.1.5 not verified here, but mail for it will be taken";
