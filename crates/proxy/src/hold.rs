//! `http-response wait-for-body`: a response is held back until its rules have seen as much of its
//! body as they ask for (manual section 4.2). The body is kept as it came, because that is how it is
//! passed on.

use crate::exchange::Exchanged;
use crate::reply::Answer;
use crate::response::{self, Point};
use crate::stream::{Halt, Stream};
use crate::termination::{Cause, Phase, Termination};
use crate::transport::Transport;
use http::framing::{self, Body};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A wait that a rule asks for.
pub struct Wait {
    /// At most so long.
    pub time: Duration,
    /// Bytes that suffice.
    pub at_least: Option<u64>,
    /// Where the rules go on.
    pub then: Point,
}

/// A response that is held back.
pub struct Hold {
    framed: framing::Response,
    wait: Wait,
    /// When the rule gives up.
    until: Instant,
    /// The body as it came.
    bytes: Vec<u8>,
    /// The server has ended its stream.
    over: bool,
}

/// What a held response comes to.
pub enum Held {
    /// It waits.
    Waiting,
    /// It may pass; this has come of its body.
    Released(Vec<u8>),
}

impl Hold {
    /// Begins to hold a response back, of whose body this has come already.
    pub fn new(wait: Wait, framed: framing::Response, came: &[u8], now: Instant) -> Box<Hold> {
        Box::new(Hold {
            framed,
            until: now + wait.time,
            wait,
            bytes: came.to_vec(),
            over: false,
        })
    }

    /// When the rule gives up.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Bytes that have come.
    pub fn come(&self) -> usize {
        self.bytes.len()
    }

    /// The payload that has come, and whether it is all.
    fn payload(&self) -> (Vec<u8>, bool) {
        match self.framed.body {
            Body::Length(n) => {
                let n = usize::try_from(n).unwrap_or(usize::MAX);
                let some = self.bytes.get(..n).unwrap_or(&self.bytes);
                (some.to_vec(), some.len() == n)
            }
            Body::Chunked => {
                let mut payload = Vec::new();
                let scan = http::chunk::Decoder::new().payload(&self.bytes, &mut payload);
                // What is malformed is found out where it is passed on.
                (payload, scan.map_or(true, |s| s.done))
            }
            Body::UntilClose => (self.bytes.clone(), false),
            Body::None | Body::Tunnel => (Vec::new(), true),
        }
    }
}

impl Stream<'_> {
    /// Reads more of a held response's body, and runs the rules behind the wait once there is enough.
    pub(crate) fn poll_held(
        &mut self,
        cx: &mut Context<'_>,
        hold: &mut Hold,
        server: &mut Transport,
    ) -> Result<Held, Exchanged> {
        let tuning = &self.generation.config.global.tuning;
        let head = self.response.as_ref().map_or(0, |head| head.arena_len());
        let room = tuning.bufsize.saturating_sub(tuning.maxrewrite + head);
        loop {
            let (payload, all) = hold.payload();
            let at_least = hold.wait.at_least;
            let enough = at_least.is_some_and(|n| payload.len() as u64 >= n);
            if all || enough || hold.over || hold.bytes.len() >= room {
                self.response_body = payload;
                // Rules see no more than a buffer holds, however much came at once.
                self.response_body.truncate(room);
                match response::resume(self, &hold.framed, hold.wait.then) {
                    Err(halt) => return Err(Exchanged::Failed(halt)),
                    Ok(None) => return Ok(Held::Released(std::mem::take(&mut hold.bytes))),
                    Ok(Some(wait)) => {
                        // It may be satisfied already.
                        hold.until = self.worker.now() + wait.time;
                        hold.wait = wait;
                        continue;
                    }
                }
            }
            let worker = self.worker;
            let mut scratch = worker.scratch.borrow_mut();
            match server.poll_read(cx, &mut scratch) {
                Poll::Pending => return Ok(Held::Waiting),
                Poll::Ready(Ok(n)) if n > 0 => {
                    let came = scratch.get(..n).unwrap_or_default();
                    hold.bytes.extend_from_slice(came);
                }
                Poll::Ready(Ok(_)) => hold.over = true,
                Poll::Ready(Err(_)) => {
                    crate::account::response_missing(self);
                    let ended = Termination::new(Cause::ServerAbort, Phase::Headers);
                    let halt = Halt::Answer(Answer::error(502), ended);
                    return Err(Exchanged::Failed(halt));
                }
            }
        }
    }

    /// The body did not come in the time that the rule gives it, which is no fault of the server's
    /// that anybody counts.
    pub(crate) fn hold_timed_out(&self) -> Exchanged {
        let ended = Termination::new(Cause::ServerTimeout, Phase::Request);
        Exchanged::Failed(Halt::Answer(Answer::error(504), ended))
    }
}
