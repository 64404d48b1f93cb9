//! `AUTH` (RFC 4954): logging in, at a server.
//!
//! We know nobody's password: what the client says goes to a server, which is chosen before there is
//! a recipient and keeps the client for the whole conversation. Only base64 passes to the server, so
//! that nothing but the one exchange can be made of it.

use super::server::Broken;
use super::{Conversation, Login, Over, Stage};
use crate::passage;
use crate::termination::{Cause, Phase, Termination};
use wire::smtp::{Extension, Reply, is_response};

/// The server waits for a response (RFC 4954 section 6).
const CHALLENGE: u16 = 334;

/// What clients hear when no server can be asked now (RFC 4954 section 4.7.0).
const NO_SERVER: &str = "454 4.7.0 no server can be asked now: try again later";

impl Conversation<'_> {
    /// `AUTH`: asks a server, and passes on what both say until it has decided.
    pub(super) async fn auth(
        &mut self,
        mechanism: &[u8],
        response: Option<&[u8]>,
    ) -> Result<(), Over> {
        if let Some(refusal) = self.unready(mechanism) {
            self.refuse(refusal);
            return Ok(());
        }
        self.facts().command = "AUTH";
        if !self.judge().await? {
            return Ok(());
        }
        let mechanism = mechanism.to_ascii_uppercase();
        if !self.reach_for_login(&mechanism).await? {
            return Ok(());
        }
        let mut line = [b"AUTH ", mechanism.as_slice()].concat();
        if let Some(response) = response {
            line.push(b' ');
            line.extend_from_slice(response);
        }
        loop {
            let Some(reply) = self.ask_for_login(&line).await? else {
                return Ok(());
            };
            self.pass_on(&reply);
            match reply.code {
                CHALLENGE => line = self.response().await?,
                235 => {
                    self.login = Login::Done;
                    return Ok(());
                }
                _ => return Ok(()),
            }
        }
    }

    /// Why nobody can log in now in this way, if so.
    fn unready(&self, mechanism: &[u8]) -> Option<&'static str> {
        let known = |name: &&std::sync::Arc<str>| name.as_bytes().eq_ignore_ascii_case(mechanism);
        if self.settings().auth.is_empty() {
            return Some("502 5.5.1 command not offered here");
        }
        if self.client.info.tls.is_none() {
            return Some("538 5.7.11 say STARTTLS first: passwords do not pass in clear text");
        }
        if !self.offers(Extension::Auth) {
            return Some("503 5.5.1 say EHLO first");
        }
        if !matches!(self.stage, Stage::Idle) || self.login != Login::None {
            return Some("503 5.5.1 before the first message, and once");
        }
        if !self.settings().auth.iter().any(|name| known(&name)) {
            return Some("504 5.5.4 no such way to log in here");
        }
        None
    }

    /// A server that knows this way to log in; false: the client has been told that there is none.
    async fn reach_for_login(&mut self, mechanism: &[u8]) -> Result<bool, Over> {
        let Ok(backend) = passage::switch(self.worker, self.client, &self.passage.info) else {
            self.say(NO_SERVER);
            return Ok(false);
        };
        if !self.is_kept(&backend) {
            self.enter(&backend);
            match self.reach(&backend).await {
                Ok(()) => {}
                Err(ended) if ended.cause == Cause::ClientAbort => return Err(Over(ended)),
                Err(_) => {
                    self.drop_server();
                    self.say(NO_SERVER);
                    return Ok(false);
                }
            }
        }
        let server = self.server.as_ref();
        let mut known = server.iter().flat_map(|s| &s.capabilities.mechanisms);
        if !known.any(|name| name == mechanism) {
            self.say("454 4.7.0 this server knows no such way to log in: try another");
            return Ok(false);
        }
        Ok(true)
    }

    /// What the server says to a line of the exchange; `None`: it is lost, and the client knows.
    async fn ask_for_login(&mut self, line: &[u8]) -> Result<Option<Reply>, Over> {
        let heard = match &mut self.server {
            Some(server) => {
                let more = Some(CHALLENGE);
                server.begin(self.worker, self.client, line, more).await
            }
            None => Err(Broken::Lost),
        };
        match heard {
            Ok(reply) => Ok(Some(reply)),
            Err(Broken::ClientGone) => {
                Err(Over(Termination::new(Cause::ClientAbort, Phase::Request)))
            }
            Err(_) => {
                self.drop_server();
                self.say(NO_SERVER);
                Ok(None)
            }
        }
    }

    /// What the client answers to a challenge, as a line for the server.
    async fn response(&mut self) -> Result<Vec<u8>, Over> {
        let line = self.next_line().await?;
        match line == b"*" || is_response(&line) {
            true => Ok(line),
            // The server hears that it comes to nothing, and says so itself.
            false => Ok(b"*".to_vec()),
        }
    }

    /// The server that knew who this is has gone: all there is to do is to begin anew.
    pub(super) async fn forgotten(&mut self) -> Over {
        self.status = Some(421);
        self.say("421 4.4.2 the server that you logged in at is lost: connect again");
        self.trouble = Termination::new(Cause::ServerAbort, Phase::Request);
        self.end().await
    }
}
