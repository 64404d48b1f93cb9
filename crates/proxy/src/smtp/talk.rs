//! Bytes between us and the client: lines in, replies out.

use super::server::Server;
use super::{Conversation, GOING_AWAY, Over, Stage};
use crate::termination::{Cause, Phase, Termination};
use std::future::poll_fn;
use std::io::IoSlice;
use std::task::{Poll, ready};
use std::time::Duration;
use wire::smtp::{Extension, LONGEST_COMMAND, LONGEST_RESPONSE, Line, line};

/// What a client hears whose lines servers might read differently.
pub(super) const SMUGGLED: &str =
    "521 5.5.2 lines end in <CR><LF>, and no <CR>, <LF> or NUL stands elsewhere";

/// What reading from a client came to.
pub(super) enum Read {
    /// So many bytes came.
    Bytes,
    /// It ended its direction, or is gone.
    Closed,
    TimedOut,
    /// The server went down, and its sessions are to end.
    ServerCut,
    /// The process is about to end, and there is no message.
    Stopping,
}

impl Conversation<'_> {
    /// Puts a line off until the client has nothing more to say, or must hear it.
    pub(super) fn say(&mut self, reply: &str) {
        self.out.extend_from_slice(reply.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// How long the client may take.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.frontend.proxy().timeouts.client
    }

    /// Sends what was put off.
    pub(super) async fn flush(&mut self) -> Result<(), Over> {
        if self.out.is_empty() {
            return Ok(());
        }
        let until = self.patience().map(|t| self.worker.now() + t);
        let client = &mut *self.client;
        client.timer.arm(until);
        let out = &self.out;
        let mut done = 0;
        let sent = poll_fn(|cx| {
            while let Some(rest) = out.get(done..).filter(|r| !r.is_empty()) {
                match client.io.poll_write(cx, &[IoSlice::new(rest)]) {
                    Poll::Ready(Ok(n)) => done += n,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Cause::ClientAbort)),
                    Poll::Pending => {
                        ready!(client.timer.poll_expired(cx));
                        return Poll::Ready(Err(Cause::ClientTimeout));
                    }
                }
            }
            match client.io.poll_flush(cx) {
                Poll::Ready(flushed) => Poll::Ready(flushed.map_err(|_| Cause::ClientAbort)),
                Poll::Pending => client
                    .timer
                    .poll_expired(cx)
                    .map(|()| Err(Cause::ClientTimeout)),
            }
        })
        .await;
        self.sent += done as u64;
        self.out.clear();
        sent.map_err(|cause| Over(Termination::new(cause, Phase::Request)))
    }

    /// Waits for the client's next line, and takes it.
    pub(super) async fn next_line(&mut self) -> Result<Vec<u8>, Over> {
        let until = self.patience();
        let longest = match self.offers(Extension::Auth) {
            true => LONGEST_RESPONSE,
            false => LONGEST_COMMAND,
        };
        let mut armed = false;
        loop {
            let bare = self.settings().normalize;
            match line(&self.client.carry, bare, longest) {
                Line::Whole { length, end } => {
                    self.received += (length + end) as u64;
                    let mut line: Vec<u8> = self.client.carry.drain(..length + end).collect();
                    line.truncate(length);
                    return Ok(line);
                }
                Line::TooLong => return Err(self.give_up("500 5.5.2 line too long").await),
                Line::Malformed => return Err(self.give_up(SMUGGLED).await),
                Line::More => {}
            }
            self.flush().await?;
            if !armed {
                // A command has this long to come, however slowly its bytes do.
                armed = true;
                self.client.timer.arm(until.map(|t| self.worker.now() + t));
            }
            match self
                .read(|carry, bytes| carry.extend_from_slice(bytes))
                .await
            {
                Read::Bytes => {}
                Read::ServerCut => self.cut_off()?,
                Read::Stopping => {
                    self.say(GOING_AWAY);
                    return Err(self.end().await);
                }
                Read::Closed => return Err(self.gone(Cause::ClientAbort)),
                Read::TimedOut => {
                    self.say("421 4.4.2 timeout");
                    // It may be slow to hear this, too.
                    let _ = self.flush().await;
                    return Err(self.gone(Cause::ClientTimeout));
                }
            }
        }
    }

    /// Reads once from the client, within its timer, and hands over what came and what is left.
    pub(super) async fn read(&mut self, mut take: impl FnMut(&mut Vec<u8>, &[u8])) -> Read {
        let (worker, client) = (self.worker, &mut *self.client);
        let server = self.server.as_ref();
        let idle = matches!(self.stage, Stage::Idle);
        poll_fn(|cx| {
            let mut scratch = worker.scratch.borrow_mut();
            match client.io.poll_read(cx, &mut scratch) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    take(&mut client.carry, scratch.get(..n).unwrap_or_default());
                    Poll::Ready(Read::Bytes)
                }
                Poll::Ready(_) => Poll::Ready(Read::Closed),
                Poll::Pending if server.is_some_and(Server::is_cut) => Poll::Ready(Read::ServerCut),
                Poll::Pending if idle && worker.process.is_leaving() => Poll::Ready(Read::Stopping),
                Poll::Pending => client.timer.poll_expired(cx).map(|()| Read::TimedOut),
            }
        })
        .await
    }

    /// Sends a client away that cannot be understood safely.
    pub(super) async fn give_up(&mut self, reply: &str) -> Over {
        self.refuse(reply);
        self.client.carry.clear();
        self.trouble = Termination::new(Cause::Proxy, Phase::Request);
        self.end().await
    }

    /// The client has left, or is silent for too long.
    pub(super) fn gone(&self, cause: Cause) -> Over {
        // Between messages a close is no abort.
        if matches!(self.stage, Stage::Idle) && self.logged && cause == Cause::ClientAbort {
            return Over(Termination::default());
        }
        Over(Termination::new(cause, Phase::Request))
    }
}
