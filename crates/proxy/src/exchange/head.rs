//! The response's heads as they come: interim ones are passed on, the final one is judged and
//! passed on with what follows it.

use super::{Attempt, Exchanged, Receiving};
use crate::flow::{HEAD_ROOM, Progress, SPLICE_FROM};
use crate::hold::{Held, Hold};
use crate::malformed;
use crate::pool::ServerConn;
use crate::stream::{Halt, Stream};
use crate::termination::{Cause, Phase, Termination};
use crate::worker::SCRATCH;
use crate::{account, observe, response};
use http::{framing, h1};
use std::task::{Context, Poll};

/// What the bytes so far have come to.
enum Heads {
    /// So many are used; the rest is a part of a head.
    Partial(usize),
    /// The final head ends here, and what follows goes with it.
    Final(usize),
    /// The final head is held back, with what follows it.
    Held,
}

impl Stream<'_> {
    /// Reads until the final response's head is complete and has been passed on.
    pub(super) fn poll_response_head(
        &mut self,
        cx: &mut Context<'_>,
        a: &mut Attempt,
        server: &mut ServerConn,
    ) -> Poll<Option<Exchanged>> {
        if a.held.is_some() {
            return self.poll_held_response(cx, a, server);
        }
        loop {
            let worker = self.worker;
            let mut scratch = worker.scratch.borrow_mut();
            let spliced = server.io.plain().is_some() && self.client.io.plain().is_some();
            let room = if spliced { HEAD_ROOM } else { SCRATCH };
            let room = scratch.get_mut(..room).unwrap_or_default();
            let n = match server.io.poll_read(cx, room) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(n)) => n,
                Poll::Ready(Err(_)) => 0,
            };
            if n == 0 {
                drop(scratch);
                return Poll::Ready(Some(self.server_left_early(a, server)));
            }
            a.server_active = self.worker.now();
            if !a.partial.is_empty() {
                a.partial.extend_from_slice(&scratch[..n]);
                let bytes = std::mem::take(&mut a.partial);
                match self.take_heads(cx, a, &bytes) {
                    Ok(Heads::Partial(used)) => {
                        a.partial = bytes;
                        a.partial.drain(..used);
                        continue;
                    }
                    Ok(Heads::Final(used)) => {
                        let passed = self.pass_response(cx, a, &bytes[used..]);
                        worker.recycle(bytes);
                        return Poll::Ready(passed.err());
                    }
                    Ok(Heads::Held) => {
                        worker.recycle(bytes);
                        drop(scratch);
                        return self.poll_held_response(cx, a, server);
                    }
                    Err(ended) => return Poll::Ready(Some(ended)),
                }
            }
            match self.take_heads(cx, a, &scratch[..n]) {
                Ok(Heads::Partial(used)) => {
                    a.partial = worker.buffer();
                    a.partial.extend_from_slice(&scratch[used..n]);
                }
                Ok(Heads::Final(used)) => {
                    let more = self.read_rest(cx, server, n - used, &mut scratch[n..]);
                    let passed = self.pass_response(cx, a, &scratch[used..n + more]);
                    return Poll::Ready(passed.err());
                }
                Ok(Heads::Held) => {
                    drop(scratch);
                    return self.poll_held_response(cx, a, server);
                }
                Err(ended) => return Poll::Ready(Some(ended)),
            }
        }
    }

    /// Reads more of a body of which `come` bytes have come with the head, where too few are missing
    /// to be spliced: the client gets all in one call.
    fn read_rest(
        &self,
        cx: &mut Context<'_>,
        server: &mut ServerConn,
        come: usize,
        room: &mut [u8],
    ) -> usize {
        let Progress::Length(length) = self.down.progress else {
            return 0;
        };
        let missing = length.saturating_sub(come as u64);
        if missing == 0 || missing >= SPLICE_FROM {
            return 0;
        }
        match server.io.poll_read(cx, room) {
            Poll::Ready(Ok(n)) => n,
            // Who reads on is told of the end or the failure.
            _ => 0,
        }
    }

    /// Takes the heads at the start of `bytes`: interim ones are passed on, the final one is judged.
    fn take_heads(
        &mut self,
        cx: &mut Context<'_>,
        a: &mut Attempt,
        bytes: &[u8],
    ) -> Result<Heads, Exchanged> {
        let worker = self.worker;
        let options = self.response_options();
        let mut at = 0;
        loop {
            let mut head = self.response.take().unwrap_or_else(|| worker.head());
            head.reset();
            let rest = bytes.get(at..).unwrap_or_default();
            let parsed = h1::parse_response(rest, &options, &mut head);
            self.response = Some(head);
            match parsed {
                Ok(None) => return Ok(Heads::Partial(at)),
                Err(error) => {
                    malformed::response(self, rest, &error);
                    return Err(self.junk(a));
                }
                Ok(Some(used)) => {
                    at += used;
                    self.server_heads_len += used as u64;
                }
            }
            let Some(head) = self.response.as_mut() else {
                return Ok(Heads::Partial(at));
            };
            let unsafe_response = self
                .backend
                .as_ref()
                .is_some_and(|b| b.proxy().http.unsafe_response);
            let framed = match framing::response(head, self.request.method(), unsafe_response) {
                Ok(framed) => framed,
                Err(error) => {
                    malformed::response(self, rest, &error);
                    return Err(self.junk(a));
                }
            };
            let status = head.status();
            if (100..200).contains(&status) && status != 101 {
                self.pass_interim(cx)?;
                continue;
            }
            if status == 101 && !self.request_framing.upgrade {
                return Err(self.junk(a));
            }
            self.times.responded = Some(a.server_active);
            observe::answered(self);
            if self.retry_on_status(a, status) {
                return Err(Exchanged::Retry);
            }
            a.server_keeps = framed.keep_alive;
            a.tunnel = matches!(framed.body, framing::Body::Tunnel);
            a.ends_by_close = matches!(framed.body, framing::Body::UntilClose);
            self.down.progress = match self.frontend.side().drop_trailers {
                true => Progress::start(framed.body).without_trailers(),
                false => Progress::start(framed.body),
            };
            if let Some(wait) = response::judge(self, &framed).map_err(Exchanged::Failed)? {
                let rest = bytes.get(at..).unwrap_or_default();
                a.held = Some(Hold::new(wait, framed, rest, worker.now()));
                return Ok(Heads::Held);
            }
            return Ok(Heads::Final(at));
        }
    }

    /// Sends the response's head on, with what has come behind it.
    fn pass_response(
        &mut self,
        cx: &mut Context<'_>,
        a: &mut Attempt,
        rest: &[u8],
    ) -> Result<(), Exchanged> {
        let worker = self.worker;
        let mut build = worker.build.borrow_mut();
        build.clear();
        if let Some(head) = &self.response {
            head.write_to(&mut build);
        }
        a.receiving = Receiving::Body;
        if a.tunnel {
            self.up.progress = Progress::UntilClose;
            a.upload_over = false;
        }
        account::response_started(self, build.len());
        self.down.last = self.client_close && a.upload_over && !self.frontend.side().nolinger;
        let fed = self
            .down
            .feed(worker, cx, &mut self.client.io, &build, rest);
        match fed {
            Ok(used) => {
                let surplus = rest.get(used..).unwrap_or_default();
                a.surplus.extend_from_slice(surplus);
                Ok(())
            }
            Err(broken) => Err(self.download_broken(a, broken)),
        }
    }

    /// Goes on with a response that is held back.
    fn poll_held_response(
        &mut self,
        cx: &mut Context<'_>,
        a: &mut Attempt,
        server: &mut ServerConn,
    ) -> Poll<Option<Exchanged>> {
        let Some(mut hold) = a.held.take() else {
            return Poll::Ready(None);
        };
        let before = hold.come();
        let polled = self.poll_held(cx, &mut hold, &mut server.io);
        if hold.come() > before {
            a.server_active = self.worker.now();
        }
        match polled {
            Ok(Held::Waiting) => {
                a.held = Some(hold);
                Poll::Pending
            }
            Ok(Held::Released(came)) => Poll::Ready(self.pass_response(cx, a, &came).err()),
            Err(ended) => Poll::Ready(Some(ended)),
        }
    }

    /// Sends a 1xx on; a client of HTTP/1.0 does not know them.
    fn pass_interim(&mut self, cx: &mut Context<'_>) -> Result<(), Exchanged> {
        if self.request.version() == http::Version::Http10 {
            return Ok(());
        }
        let worker = self.worker;
        let mut build = worker.build.borrow_mut();
        build.clear();
        if let Some(head) = &self.response {
            head.write_to(&mut build);
        }
        self.down
            .push(worker, cx, &mut self.client.io, &build, &[])
            .map_err(|_| {
                let ended = Termination::new(Cause::ClientAbort, Phase::Headers);
                Exchanged::Failed(Halt::Silent(ended))
            })
    }

    fn response_options(&self) -> h1::ParseOptions {
        let tuning = &self.generation.config.global.tuning;
        h1::ParseOptions {
            max_head: tuning.bufsize.saturating_sub(tuning.maxrewrite),
            max_headers: tuning.http_maxhdr,
            accept_unsafe: self
                .backend()
                .is_some_and(|b| b.proxy().http.unsafe_response),
        }
    }
}
