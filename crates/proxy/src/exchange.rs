//! The exchange with a server: the request goes up, the response comes down, at the same time.
//!
//! Everything happens inside one poll: what has been read is judged, edited and written on
//! before the poll ends, so that the plain case reads, writes and waits once in each direction.

mod head;

use crate::account;
use crate::flow::{Broken, Progress};
use crate::hold::Hold;
use crate::observe;
use crate::pool::ServerConn;
use crate::reply::Answer;
use crate::stream::{Halt, Next, Stream};
use crate::termination::{Cause, Phase, Termination};
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

/// What an attempt on one server came to.
pub enum Exchanged {
    /// The response has gone to the client.
    Done(Next),
    /// There was no connection.
    NoConnection(crate::connect::ConnectFailure),
    /// Nothing has gone to the client and the request may be sent again.
    Retry,
    /// It ends here.
    Failed(Halt),
}

/// Where the response is.
#[derive(PartialEq, Eq)]
enum Receiving {
    Head,
    Body,
    Done,
}

/// The state of one attempt.
struct Attempt {
    receiving: Receiving,
    /// A response head that did not come in one piece.
    partial: Vec<u8>,
    /// Bytes of the server past its response.
    surplus: Vec<u8>,
    /// The request will not be sent any further.
    upload_over: bool,
    /// The server's end of stream has been passed on, in a tunnel.
    client_told: bool,
    /// The client's end of stream has been passed on, in a tunnel.
    server_told: bool,
    tunnel: bool,
    /// The response's end is the end of the connection.
    ends_by_close: bool,
    /// Both peers keep their connection.
    server_keeps: bool,
    client_active: Instant,
    server_active: Instant,
    /// Whose silence the armed deadline is about.
    waiting_for: Waiting,
    /// The response waits for rules about its body.
    held: Option<Box<Hold>>,
    /// Tells when the server's sessions are ended.
    cut: Option<state::cut::Watch>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Client,
    Server,
    /// A rule waits for the response's body.
    Rule,
}

impl Stream<'_> {
    /// Sends the request on the connection that was made, and brings back the response.
    pub(crate) async fn exchange(&mut self) -> Exchanged {
        let Some(mut connection) = self.server.take() else {
            let ended = Termination::new(Cause::Internal, Phase::Connect);
            return Exchanged::Failed(Halt::Answer(Answer::error(500), ended));
        };
        let now = self.times.connected.unwrap_or_else(|| self.worker.now());
        let mut attempt = Attempt {
            receiving: Receiving::Head,
            partial: Vec::new(),
            surplus: Vec::new(),
            upload_over: false,
            client_told: false,
            server_told: false,
            tunnel: false,
            ends_by_close: false,
            server_keeps: false,
            client_active: now,
            server_active: now,
            waiting_for: Waiting::Server,
            held: None,
            cut: None,
        };
        let mut started = false;
        let outcome = poll_fn(|cx| {
            if !started {
                started = true;
                attempt.cut = self.slot.as_ref().and_then(|s| s.watch_cuts(cx.waker()));
                self.send_request(cx, &mut attempt, &mut connection);
            }
            let polled = self.poll_exchange(cx, &mut attempt, &mut connection);
            observe::carried(self);
            account::passing(self);
            polled
        })
        .await;
        let reusable = matches!(outcome, Exchanged::Done(_))
            && attempt.server_keeps
            && attempt.surplus.is_empty();
        self.worker.recycle(attempt.partial);
        let cut_short = match &outcome {
            Exchanged::Done(_) => self.ended.cause == Cause::ClientAbort && !attempt.server_told,
            _ => true,
        };
        if cut_short {
            // Else a server might take what it has of the client's for all, and one that goes on answering
            // would do it in vain.
            connection.io.abandon();
        }
        self.server = Some(connection);
        self.keep_server(reusable);
        self.server = None;
        outcome
    }

    /// Writes the request's head and what has come of its body.
    fn send_request(&mut self, cx: &mut Context<'_>, a: &mut Attempt, server: &mut ServerConn) {
        let worker = self.worker;
        self.up.restart(worker);
        let progress = Progress::start(self.request_framing.body);
        self.up.progress = match self.backend().is_some_and(|b| b.side().drop_trailers) {
            true => progress.without_trailers(),
            false => progress,
        };
        let mut build = worker.build.borrow_mut();
        build.clear();
        self.request.write_to(&mut build);
        if self.early_body.is_empty() && !matches!(self.up.progress, Progress::Done) {
            self.early_body = std::mem::take(&mut self.client.carry);
        }
        let sent = if self.early_body.is_empty() {
            self.up.push(worker, cx, &mut server.io, &build, &[])
        } else {
            let fed = self
                .up
                .feed(worker, cx, &mut server.io, &build, &self.early_body);
            fed.map(|used| {
                // What is past the body is the next request's.
                let next = self.early_body.split_off(used.min(self.early_body.len()));
                self.client.carry.splice(..0, next);
            })
        };
        if let Err(broken) = sent {
            // A server that no longer takes the request may have answered already: read on.
            a.upload_over = broken == Broken::ReceiverFailed;
            if broken == Broken::Malformed {
                self.up.progress = Progress::Done;
                self.retry_forbidden = true;
                a.upload_over = true;
                self.ended = Termination::new(Cause::Proxy, Phase::Request);
            }
        }
    }

    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        a: &mut Attempt,
        server: &mut ServerConn,
    ) -> Poll<Exchanged> {
        let before = (
            self.up.received,
            self.up.sent,
            self.down.received,
            self.down.sent,
        );
        if self.ended.cause == Cause::Proxy {
            self.client_close = true;
            let halt = Halt::Answer(Answer::error(400), self.ended);
            return Poll::Ready(Exchanged::Failed(halt));
        }
        if a.tunnel && self.client.seat.was_killed() {
            // Neither side need say that it has understood.
            self.ended = Termination::new(Cause::Killed, Phase::Data);
            return Poll::Ready(Exchanged::Done(Next::Close));
        }
        if !a.upload_over
            && let Some(ended) = self.poll_upload(cx, a, server)
        {
            return Poll::Ready(ended);
        }
        loop {
            match a.receiving {
                Receiving::Head => match self.poll_response_head(cx, a, server) {
                    Poll::Ready(Some(ended)) => return Poll::Ready(ended),
                    Poll::Ready(None) => {
                        // A tunnel has just opened: the client may send again.
                        if a.tunnel
                            && let Some(ended) = self.poll_upload(cx, a, server)
                        {
                            return Poll::Ready(ended);
                        }
                    }
                    Poll::Pending => break,
                },
                Receiving::Body => match self.poll_download(cx, a, server) {
                    Poll::Ready(Some(ended)) => return Poll::Ready(ended),
                    Poll::Ready(None) => {}
                    Poll::Pending => break,
                },
                Receiving::Done => {
                    // A server that answers early may still want the request's body, and its
                    // client may go on with the next request behind it.
                    let told = if a.tunnel {
                        a.server_told
                    } else {
                        a.ends_by_close
                    };
                    if !told && !a.upload_over {
                        break;
                    }
                    return Poll::Ready(self.completed(a));
                }
            }
        }
        self.watch(cx, a, before)
    }

    /// Moves the request's body; `Some` ends the attempt.
    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        a: &mut Attempt,
        server: &mut ServerConn,
    ) -> Option<Exchanged> {
        if self.up.finished() && !a.tunnel {
            a.upload_over = true;
            return None;
        }
        if a.tunnel && !self.client.carry.is_empty() {
            // What came right behind the head that asked for the tunnel.
            let early = std::mem::take(&mut self.client.carry);
            let fed = self.up.feed(self.worker, cx, &mut server.io, &[], &early);
            if fed.is_err() {
                a.upload_over = true;
                return None;
            }
        }
        let client = &mut *self.client;
        let moved = self.up.poll(
            self.worker,
            cx,
            &mut client.io,
            &mut server.io,
            &mut client.carry,
        );
        match moved {
            Poll::Pending => None,
            Poll::Ready(Ok(())) => {
                a.upload_over = true;
                if a.tunnel {
                    server.io.shutdown_write();
                    a.server_told = true;
                }
                None
            }
            Poll::Ready(Err(Broken::ReceiverFailed)) => {
                a.upload_over = true;
                if a.receiving == Receiving::Done {
                    self.ended = Termination::new(Cause::ServerAbort, Phase::Data);
                    if !a.tunnel {
                        account::request_unwanted(self);
                    }
                }
                None
            }
            Poll::Ready(Err(Broken::Malformed)) => {
                // Where the next request would begin is not known any more.
                self.client_close = true;
                let ended = Termination::new(Cause::Proxy, self.phase(a));
                Some(Exchanged::Failed(self.halt(a, 400, ended)))
            }
            Poll::Ready(Err(Broken::SenderClosed | Broken::SenderFailed)) => {
                let ended = Termination::new(Cause::ClientAbort, self.phase(a));
                Some(Exchanged::Failed(Halt::Silent(ended)))
            }
        }
    }

    fn poll_download(
        &mut self,
        cx: &mut Context<'_>,
        a: &mut Attempt,
        server: &mut ServerConn,
    ) -> Poll<Option<Exchanged>> {
        let client = &mut self.client.io;
        match self
            .down
            .poll(self.worker, cx, &mut server.io, client, &mut a.surplus)
        {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                a.receiving = Receiving::Done;
                if a.tunnel && !a.client_told {
                    a.client_told = true;
                    client.shutdown_write();
                }
                Poll::Ready(None)
            }
            Poll::Ready(Err(broken)) => Poll::Ready(Some(self.download_broken(a, broken))),
        }
    }

    /// The response cannot be completed; its head has gone out, so the client must see the cut.
    fn download_broken(&mut self, a: &Attempt, broken: Broken) -> Exchanged {
        let cause = match broken {
            Broken::ReceiverFailed => Cause::ClientAbort,
            Broken::SenderClosed | Broken::SenderFailed | Broken::Malformed => Cause::ServerAbort,
        };
        if a.tunnel {
            // Either side may leave a tunnel as it likes.
            let cause = if broken == Broken::ReceiverFailed {
                cause
            } else {
                Cause::ServerAbort
            };
            self.ended = Termination::new(cause, Phase::Data);
            return Exchanged::Done(Next::Close);
        }
        if broken == Broken::Malformed && self.down.sent == 0 && self.down.drained() {
            return self.junk(a);
        }
        account::response_broken(self, broken);
        Exchanged::Failed(Halt::Silent(Termination::new(cause, Phase::Data)))
    }

    /// Both directions are done.
    fn completed(&mut self, a: &mut Attempt) -> Exchanged {
        if a.tunnel {
            return Exchanged::Done(Next::Close);
        }
        // A request that never became complete ends both connections: what is still to come of its
        // body has no reader any more.
        let request_complete = a.upload_over && self.up.finished();
        a.server_keeps &= request_complete;
        self.client.unread |= !request_complete;
        let keep = request_complete && !self.client_close;
        Exchanged::Done(if keep { Next::KeepAlive } else { Next::Close })
    }

    /// Whether the whole request can be sent again.
    fn may_replay(&self, a: &Attempt) -> bool {
        let whole = matches!(self.up.progress, Progress::Done)
            && self.up.received <= self.early_body.len() as u64;
        whole
            && !a.tunnel
            && !self.retry_forbidden
            && self.down.sent == 0
            && self
                .backend()
                .is_some_and(|b| self.retries < b.side().retries)
    }

    fn retry_on(&self, a: &Attempt, bit: u32) -> bool {
        bit != 0 && self.may_replay(a) && self.backend().is_some_and(|b| b.side().retry_on.has(bit))
    }

    fn retry_on_status(&self, a: &Attempt, status: u16) -> bool {
        self.retry_on(a, model::RetryOn::status_bit(status))
    }

    /// The server closed before its response's head was complete.
    fn server_left_early(&mut self, a: &Attempt, server: &ServerConn) -> Exchanged {
        let silent = a.partial.is_empty();
        // A kept connection may be closed by the server at the moment the request is sent. Where
        // sending twice is harmless (RFC 9110 section 9.2.2) the client need not know.
        let stale = server.served > 0 && silent && self.idempotent() && self.may_replay(a);
        if stale || (silent && self.retry_on(a, model::RetryOn::EMPTY_RESPONSE)) {
            return Exchanged::Retry;
        }
        account::response_missing(self);
        let ended = Termination::new(Cause::ServerAbort, Phase::Headers);
        Exchanged::Failed(Halt::Answer(Answer::error(502), ended))
    }

    fn junk(&mut self, a: &Attempt) -> Exchanged {
        if self.retry_on(a, model::RetryOn::JUNK_RESPONSE) {
            return Exchanged::Retry;
        }
        account::response_missing(self);
        let ended = Termination::new(Cause::Proxy, Phase::Headers);
        Exchanged::Failed(Halt::Answer(Answer::error(502), ended))
    }

    fn idempotent(&self) -> bool {
        matches!(
            self.request.method(),
            b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"
        )
    }

    fn phase(&self, a: &Attempt) -> Phase {
        match a.receiving {
            Receiving::Head if a.upload_over => Phase::Headers,
            Receiving::Head => Phase::Data,
            Receiving::Body => Phase::Data,
            Receiving::Done if a.upload_over => Phase::Last,
            Receiving::Done => Phase::Data,
        }
    }

    /// An answer while the client has had nothing yet, a cut afterwards.
    fn halt(&self, a: &Attempt, status: u16, ended: Termination) -> Halt {
        if a.receiving == Receiving::Head && self.down.sent == 0 {
            Halt::Answer(Answer::error(status), ended)
        } else {
            Halt::Silent(ended)
        }
    }

    /// Nothing can move: arms the deadline of whoever is waited for.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        a: &mut Attempt,
        before: (u64, u64, u64, u64),
    ) -> Poll<Exchanged> {
        let after = (
            self.up.received,
            self.up.sent,
            self.down.received,
            self.down.sent,
        );
        if after != before {
            let now = self.worker.now();
            if after.0 != before.0 || after.3 != before.3 {
                a.client_active = now;
            }
            if after.1 != before.1 || after.2 != before.2 {
                a.server_active = now;
            }
        }
        let abort_on_close = self.backend().is_some_and(|b| b.side().abortonclose);
        if a.upload_over
            && a.receiving != Receiving::Done
            && !a.tunnel
            && match a.receiving {
                // Of many a response the head comes at once, and with it all of it.
                Receiving::Head => self.client.poll_gone_meanwhile(cx, abort_on_close),
                Receiving::Body | Receiving::Done => self.client.poll_gone(cx, abort_on_close),
            }
        {
            let ended = Termination::new(Cause::ClientAbort, self.phase(a));
            return Poll::Ready(Exchanged::Failed(Halt::Silent(ended)));
        }
        // Nobody reads from it while the server does not take what it said (who has heard all may have ended
        // well behind what is still to be read),
        let unheard = !a.upload_over && !self.up.drained();
        if unheard && self.client.poll_gone(cx, false) && !a.client_told {
            let ended = Termination::new(Cause::ClientAbort, self.phase(a));
            return Poll::Ready(Exchanged::Failed(Halt::Silent(ended)));
        }
        // nor, in a tunnel, once it has said all or the server takes no more.
        if a.tunnel && a.upload_over && self.client.io.socket().poll_failed(cx) {
            self.ended = Termination::new(Cause::ClientAbort, Phase::Data);
            return Poll::Ready(Exchanged::Done(Next::Close));
        }
        if a.cut.as_ref().is_some_and(state::cut::Watch::is_cut)
            && let Some(slot) = &self.slot
        {
            let ended = Termination::cut(slot.server(), self.phase(a));
            return Poll::Ready(Exchanged::Failed(self.halt(a, 503, ended)));
        }
        self.arm(a);
        if self.client.timer.poll_expired(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(self.timed_out(a))
    }

    fn arm(&mut self, a: &mut Attempt) {
        let Some(backend) = &self.backend else {
            return;
        };
        let front = crate::overrides::timeouts(&self.frontend.proxy().timeouts, &self.info);
        let back = crate::overrides::timeouts(&backend.proxy().timeouts, &self.info);
        let mut client = None;
        let mut server = None;
        if a.tunnel {
            let patience = back.tunnel.or(front.tunnel);
            let both = a.client_active.max(a.server_active);
            // A side is half closed once what is said to it has ended.
            let client_fin = front.client_fin.filter(|_| a.client_told);
            let client_limit = client_fin.or(patience).or(front.client);
            let server_fin = back.server_fin.filter(|_| a.server_told);
            let server_limit = server_fin.or(patience).or(back.server);
            let (up_waits, down_waits) = (!self.up.drained(), !self.down.drained());
            if has_turn(!a.upload_over, up_waits, down_waits) {
                client = client_limit.map(|t| both + t);
            }
            if has_turn(!a.client_told, down_waits, up_waits) {
                server = server_limit.map(|t| both + t);
            }
        } else {
            if !a.upload_over {
                if self.up.drained() {
                    client = front.client.map(|t| a.client_active + t);
                } else {
                    server = back.server.map(|t| a.server_active + t);
                }
            }
            if a.receiving == Receiving::Body && !self.down.drained() {
                client = earliest(client, front.client.map(|t| a.client_active + t));
            } else if a.upload_over || a.receiving == Receiving::Body {
                server = earliest(server, back.server.map(|t| a.server_active + t));
            }
        }
        a.waiting_for = match (client, server) {
            (Some(c), Some(s)) if c < s || c == s && a.tunnel => Waiting::Client,
            (Some(_), None) => Waiting::Client,
            _ => Waiting::Server,
        };
        let mut first = earliest(client, server);
        if let Some(until) = a.held.as_ref().map(|hold| hold.until())
            && first.is_none_or(|first| until < first)
        {
            first = Some(until);
            a.waiting_for = Waiting::Rule;
        }
        self.client.timer.arm(first);
    }

    fn timed_out(&mut self, a: &Attempt) -> Exchanged {
        let phase = self.phase(a);
        if a.waiting_for == Waiting::Rule {
            return self.hold_timed_out();
        }
        let cause = match a.waiting_for {
            Waiting::Client => Cause::ClientTimeout,
            _ => Cause::ServerTimeout,
        };
        let ended = Termination::new(cause, phase);
        if a.tunnel {
            self.ended = ended;
            return Exchanged::Done(Next::Close);
        }
        if a.waiting_for == Waiting::Client {
            return Exchanged::Failed(self.halt(a, 408, ended));
        }
        if a.receiving == Receiving::Head && self.retry_on(a, model::RetryOn::RESPONSE_TIMEOUT) {
            return Exchanged::Retry;
        }
        account::response_timed_out(self);
        Exchanged::Failed(self.halt(a, 504, ended))
    }
}

/// Whether a tunnel waits for this peer: to say something, while it is `heard` and nothing of what it said
/// `waits` for the other, or to take what is `due` to it.
fn has_turn(heard: bool, waits: bool, due: bool) -> bool {
    heard && !waits || due
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_waits_for_who_can_move_it() {
        // What the client says waits for the server.
        assert!(!has_turn(true, true, false), "the client");
        assert!(has_turn(true, false, true), "the server");
        // Nothing waits: either may speak, unless it has said all.
        assert!(has_turn(true, false, false));
        assert!(!has_turn(false, false, false));
        // Who has said all may still have to take something.
        assert!(has_turn(false, false, true));
    }
}
