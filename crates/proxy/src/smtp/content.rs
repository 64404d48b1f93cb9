//! The content of a message: to its server as it comes, up to the one end that it has.

use super::server::Broken;
use super::talk::{Read, SMUGGLED};
use super::{Conversation, Login, Over, Stage};
use crate::termination::{Cause, Phase, Termination};
use wire::smtp::{Content, Ending, Reply};

/// The server waits for content (RFC 5321 section 4.2.3).
const CONTENT: u16 = 354;

/// What becomes of the content that still comes.
enum Fate {
    /// The server gets it.
    Passed,
    /// Nobody gets it: its client hears this at its end.
    Dropped(Vec<u8>),
}

impl Conversation<'_> {
    /// `DATA`, the content, and what the server says to it.
    pub(super) async fn data(&mut self) -> Result<(), Over> {
        match &self.stage {
            Stage::Idle => {
                self.refuse("503 5.5.1 say MAIL first");
                return Ok(());
            }
            Stage::Sender => {
                self.refuse("503 5.5.1 say RCPT first");
                return Ok(());
            }
            Stage::Failed(reply)
                if self.passage.info.smtp.as_ref().is_some_and(|s| s.rcpts > 0) =>
            {
                let reply = reply.clone();
                self.out.extend_from_slice(&reply);
                self.end_message(self.trouble);
                return Ok(());
            }
            Stage::Failed(_) => {
                self.refuse("554 5.5.1 no valid recipients");
                return Ok(());
            }
            Stage::Open => {}
        }
        if self.facts().rcpts == 0 {
            self.refuse("554 5.5.1 no valid recipients");
            return Ok(());
        }
        let Some(reply) = self.begin_content().await? else {
            self.end_message(self.trouble);
            return Ok(());
        };
        self.pass_on(&reply);
        if reply.code != CONTENT {
            self.reset().await;
            return Ok(());
        }
        self.flush().await?;
        match self.content().await? {
            Fate::Dropped(reply) => self.out.extend_from_slice(&reply),
            Fate::Passed => {
                if let Some(reply) = self.verdict().await? {
                    self.pass_on(&reply);
                    // What recipients were refused for is told by their own replies.
                    self.trouble = Termination::default();
                }
            }
        }
        self.end_message(self.trouble);
        Ok(())
    }

    /// Has the server wait for content, or refuse it; `None`: it is lost, and the client knows.
    async fn begin_content(&mut self) -> Result<Option<Reply>, Over> {
        let heard = match &mut self.server {
            Some(server) => {
                let more = Some(CONTENT);
                server.begin(self.worker, self.client, b"DATA", more).await
            }
            None => Err(Broken::Lost),
        };
        // A client must not take that for a message that was delivered.
        let heard = heard.and_then(|reply| match reply.is_good() {
            true => Err(Broken::Lost),
            false => Ok(reply),
        });
        self.or_lose(heard)
    }

    /// Moves the content up to its end.
    async fn content(&mut self) -> Result<Fate, Over> {
        let mut content = Content::new(self.settings().normalize);
        let mut fate = Fate::Passed;
        let mut fresh = self.worker.buffer();
        let mut bytes = std::mem::take(&mut self.client.carry);
        let mut ending = content.feed(&bytes, &mut fresh);
        let mut came = bytes.len();
        loop {
            let taken = match ending {
                Ending::At(taken) => taken,
                _ => came,
            };
            self.received += taken as u64;
            if ending == Ending::Bare {
                return Err(self.smuggled().await);
            }
            if matches!(fate, Fate::Passed)
                && let Some(most) = self.settings().size
                && content.length() > most
            {
                self.status = Some(552);
                self.trouble = Termination::new(Cause::Proxy, Phase::Data);
                self.server = None;
                if self.login == Login::Done {
                    self.login = Login::Lost;
                }
                let reply =
                    format!("552 5.3.4 the message is too long: {most} bytes are taken\r\n");
                fate = Fate::Dropped(reply.into_bytes());
            }
            if matches!(fate, Fate::Passed)
                && let Err(broken) = self.forward(&fresh).await
            {
                fate = self.dropped(broken).await?;
            }
            fresh.clear();
            if matches!(ending, Ending::At(_)) {
                break;
            }
            bytes.clear();
            let patience = self.patience();
            self.client
                .timer
                .arm(patience.map(|t| self.worker.now() + t));
            let read = self
                .read(|carry, piece| {
                    ending = content.feed(piece, &mut fresh);
                    came = piece.len();
                    if let Ending::At(taken) = ending {
                        // What follows the message is the next command.
                        carry.extend_from_slice(piece.get(taken..).unwrap_or_default());
                    }
                })
                .await;
            let cause = match read {
                Read::Bytes => continue,
                Read::ServerCut => {
                    // The client is told at the end of the message.
                    came = 0;
                    fate = self.dropped(Broken::Cut).await?;
                    continue;
                }
                Read::Stopping | Read::Closed => Cause::ClientAbort,
                Read::TimedOut => Cause::ClientTimeout,
            };
            self.server = None;
            return Err(Over(Termination::new(cause, Phase::Data)));
        }
        if let Ending::At(taken) = ending
            && !bytes.is_empty()
        {
            bytes.drain(..taken.min(bytes.len()));
            self.client.carry = bytes;
        }
        self.worker.recycle(fresh);
        Ok(fate)
    }

    async fn forward(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        match &mut self.server {
            Some(server) => server.send(self.worker, self.client, bytes).await,
            None => Err(Broken::Lost),
        }
    }

    /// What the server says to the whole message.
    async fn verdict(&mut self) -> Result<Option<Reply>, Over> {
        let heard = match &mut self.server {
            Some(server) => server.listen(self.worker, self.client).await,
            None => Err(Broken::Lost),
        };
        let heard = heard.and_then(|reply| match reply.asks_for_more() {
            true => Err(Broken::Lost),
            false => Ok(reply),
        });
        self.or_lose(heard)
    }

    /// The server is lost while the client still sends; it hears so at the end, or what the server said
    /// that closed because it did not want the message: who only hears to try again will, for days.
    async fn dropped(&mut self, broken: Broken) -> Result<Fate, Over> {
        let words = match &mut self.server {
            Some(server) if broken == Broken::Lost => {
                let heard = server.listen(self.worker, self.client).await.ok();
                heard.filter(|reply| reply.code >= 400)
            }
            _ => None,
        };
        let said = self.out.len();
        self.lose(broken)?;
        let mut reply = self.out.split_off(said);
        if let Some(words) = words {
            reply.clear();
            words.write(&mut reply);
            self.status = Some(words.code);
        }
        Ok(Fate::Dropped(reply))
    }

    /// A line ends in a way that servers read differently: nothing that follows can be trusted.
    async fn smuggled(&mut self) -> Over {
        // The server has not seen the end of the message, and forgets it.
        self.server = None;
        self.status = Some(521);
        self.give_up(SMUGGLED).await
    }
}
