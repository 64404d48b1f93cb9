//! Bytes in both directions between a client and its server, until both have ended.
//!
//! Each direction ends by itself (half close): the end of one is passed on to its receiver while
//! the other goes on. A direction whose receiver is gone is over, too, and what the receiver had
//! said before it left still reaches the other side.

use crate::flow::{Broken, Flow, Progress};
use crate::moment::{Moment, Tick};
use crate::session::Client;
use crate::termination::{Cause, Phase, Termination};
use crate::transport::Transport;
use crate::visit::Outcome;
use crate::worker::Worker;
use state::{Backend, Slot};
use std::task::{Context, Poll};
use std::time::Duration;

/// What passes between a client and its server. It is all that an idle session of TCP needs
/// besides its connections, so it is kept small.
pub struct Relay {
    /// From the client to the server.
    pub up: Flow,
    /// From the server to the client.
    pub down: Flow,
    up_open: bool,
    down_open: bool,
    /// What the server says is looked at before it may pass.
    held: bool,
    of_client: Activity,
    of_server: Activity,
    /// It has been asked whether the session may be ended because of its server.
    asked: bool,
    /// Ends it so, where that may be.
    cut: Option<Box<state::cut::Watch>>,
    /// What the first direction that broke broke by.
    failed: Option<Cause>,
}

/// When something last happened at one peer.
#[derive(Clone, Copy)]
struct Activity {
    /// Bytes came from it.
    read: Tick,
    /// It took bytes, or bytes for it began to wait.
    written: Tick,
}

/// What a direction is measured by.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Measure {
    received: u64,
    sent: u64,
    drained: bool,
}

impl Measure {
    fn of(flow: &Flow) -> Measure {
        Measure {
            received: flow.received,
            sent: flow.sent,
            drained: flow.drained(),
        }
    }
}

/// Whose turn it is: to say something, to take what waits.
struct Turn {
    reading: bool,
    writing: bool,
}

impl Activity {
    fn begins(now: Moment) -> Activity {
        Activity {
            read: Tick::of(now),
            written: Tick::of(now),
        }
    }

    /// Notes what has moved: in the flow that this peer feeds, and in the one that feeds it.
    fn note(&mut self, now: Moment, from: (Measure, Measure), to: (Measure, Measure)) {
        if from.0.received != from.1.received {
            self.read = Tick::of(now);
        }
        if to.0.sent != to.1.sent || (to.0.drained && !to.1.drained) {
            self.written = Tick::of(now);
        }
    }

    /// When this peer has been silent for too long in its turn.
    fn deadline(
        &self,
        now: Moment,
        limit: Option<Duration>,
        independent: bool,
        turn: &Turn,
    ) -> Option<Moment> {
        let limit = limit?;
        let (read, written) = (self.read.end(now), self.written.end(now));
        // What is sent to a peer counts as its life, unless `option independent-streams` is set.
        let read = if independent { read } else { read.max(written) };
        let reading = turn.reading.then(|| read.after(limit));
        let writing = turn.writing.then(|| written.after(limit));
        reading.into_iter().chain(writing).min()
    }
}

impl Relay {
    /// Nothing has passed yet.
    pub fn new(now: Moment) -> Relay {
        Relay {
            up: Flow::idle(),
            down: Flow::idle(),
            up_open: true,
            down_open: true,
            held: false,
            of_client: Activity::begins(now),
            of_server: Activity::begins(now),
            asked: false,
            cut: None,
            failed: None,
        }
    }

    /// The server is there: from now on bytes may pass.
    pub fn begin(&mut self, now: Moment) {
        self.up.progress = Progress::UntilClose;
        self.down.progress = Progress::UntilClose;
        self.of_client = Activity::begins(now);
        self.of_server = Activity::begins(now);
    }

    /// Lets nothing of what the server says pass until [`Relay::release`].
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Notes that the server has spoken, where its bytes are held.
    pub fn heard(&mut self, now: Moment) {
        self.of_server.read = Tick::of(now);
    }

    /// Lets pass what was held, and all that comes.
    pub fn release(
        &mut self,
        worker: &Worker,
        cx: &mut Context<'_>,
        client: &mut Transport,
        said: &[u8],
    ) -> Result<(), Broken> {
        self.held = false;
        self.down.feed(worker, cx, client, &[], said).map(|_| ())
    }

    /// The server's connection is dead.
    pub fn server_failed(&mut self) {
        self.failed.get_or_insert(Cause::ServerAbort);
    }

    /// The server has said all, and hears no more.
    pub fn end_server(&mut self) {
        self.up_open = false;
        self.down.progress = Progress::Done;
    }

    /// Moves what can be moved; ready when both directions have ended, or one side is silent too
    /// long.
    pub fn poll(
        &mut self,
        worker: &Worker,
        cx: &mut Context<'_>,
        (client, server): (&mut Client, &mut Transport),
        (backend, slot): (&Backend, Option<&Slot>),
    ) -> Poll<Termination> {
        if client.seat.was_killed() {
            return Poll::Ready(Termination::new(Cause::Killed, Phase::Data));
        }
        if !client.carry.is_empty() {
            // What the rules looked at goes first.
            let inspected = std::mem::take(&mut client.carry);
            let fed = self.up.feed(worker, cx, server, &[], &inspected);
            worker.recycle(inspected);
            if fed.is_err() {
                return Poll::Ready(Termination::new(Cause::ServerAbort, Phase::Data));
            }
        }
        if let Some(slot) = slot {
            if !self.asked {
                self.asked = true;
                self.cut = slot.watch_cuts(cx.waker()).map(Box::new);
            }
            if self.cut.as_ref().is_some_and(|w| w.is_cut()) {
                return Poll::Ready(Termination::cut(slot.server(), Phase::Data));
            }
        }
        let before = (Measure::of(&self.up), Measure::of(&self.down));
        if self.up_open {
            let io = (&mut client.io, &mut *server);
            let moved = pass(
                worker,
                cx,
                &mut self.up,
                io,
                &mut self.up_open,
                self.down_open,
            );
            let causes = (Cause::ClientAbort, Cause::ServerAbort);
            if self.breaks(moved, causes) {
                return Poll::Ready(self.end());
            }
        }
        if self.down_open && !self.held {
            let io = (&mut *server, &mut client.io);
            let moved = pass(
                worker,
                cx,
                &mut self.down,
                io,
                &mut self.down_open,
                self.up_open,
            );
            let causes = (Cause::ServerAbort, Cause::ClientAbort);
            if self.breaks(moved, causes) {
                return Poll::Ready(self.end());
            }
        }
        if !self.up_open && !self.down_open {
            return Poll::Ready(self.end());
        }
        // Behind the end of what it says nobody reads from it; and an operator may end the session.
        if client.io.socket().poll_failed(cx) && !self.up_open {
            self.failed.get_or_insert(Cause::ClientAbort);
            return Poll::Ready(self.end());
        }
        let after = (Measure::of(&self.up), Measure::of(&self.down));
        if before != after {
            let (now, now_ms) = (worker.moment(worker.now()), worker.millis());
            let (received, sent) = (self.up.received, self.down.sent);
            client.tracked.passed(received, sent, now_ms);
            if let Some(slot) = slot {
                let carried = self.up.sent + self.down.received;
                slot.carried(carried, now_ms);
            }
            let (up, down) = ((before.0, after.0), (before.1, after.1));
            self.of_client.note(now, up, down);
            self.of_server.note(now, down, up);
        }
        self.poll_patience(worker, cx, client, backend)
    }

    /// What has passed so far, and how it ended.
    pub fn outcome(&self, ended: Termination) -> Outcome {
        Outcome {
            received: self.up.received,
            sent: self.down.sent,
            server_bytes: Some([self.up.sent, self.down.received]),
            status: None,
            ended,
        }
    }

    /// Gives the buffers back.
    pub fn recycle(&mut self, worker: &Worker) {
        self.up.recycle(worker);
        self.down.recycle(worker);
    }

    /// Notes whether a direction broke, by its sender or its receiver; whether that ends both.
    fn breaks(&mut self, moved: Result<(), Broken>, (sender, receiver): (Cause, Cause)) -> bool {
        match moved {
            Ok(()) => false,
            Err(Broken::ReceiverFailed) => {
                self.failed.get_or_insert(receiver);
                false
            }
            Err(_) => {
                self.failed.get_or_insert(sender);
                true
            }
        }
    }

    fn end(&self) -> Termination {
        match self.failed {
            Some(cause) => Termination::new(cause, Phase::Data),
            None => Termination::default(),
        }
    }

    fn poll_patience(
        &self,
        worker: &Worker,
        cx: &mut Context<'_>,
        client: &Client,
        backend: &Backend,
    ) -> Poll<Termination> {
        let (proxy, behind) = (client.frontend.proxy(), backend.proxy());
        let (front, back) = (&proxy.timeouts, &behind.timeouts);
        // A side is half closed once what is said to it has ended.
        let fin = |open: bool, fin: Option<Duration>, usual: Option<Duration>| match open {
            true => back.tunnel.or(usual),
            false => fin.or(back.tunnel).or(usual),
        };
        let (up_waits, down_waits) = (!self.up.drained(), !self.down.drained());
        let now = worker.moment(worker.now());
        let client_deadline = self.of_client.deadline(
            now,
            fin(self.down_open, front.client_fin, front.client),
            proxy.independent_streams,
            &Turn {
                reading: self.up_open && !up_waits,
                writing: self.down_open && down_waits,
            },
        );
        let server_deadline = self.of_server.deadline(
            now,
            fin(self.up_open, back.server_fin, back.server),
            behind.independent_streams,
            &Turn {
                reading: self.down_open && !down_waits,
                writing: self.up_open && up_waits,
            },
        );
        let (deadline, cause) = match (client_deadline, server_deadline) {
            (Some(c), Some(s)) if s < c => (Some(s), Cause::ServerTimeout),
            (Some(c), _) => (Some(c), Cause::ClientTimeout),
            (None, s) => (s, Cause::ServerTimeout),
        };
        client.timer.arm(deadline.map(|d| worker.instant(d)));
        client
            .timer
            .poll_expired(cx)
            .map(|()| Termination::new(cause, Phase::Data))
    }
}

/// Moves what can be moved in one direction, and passes its end on. Where the `other` direction is
/// over already, the connections are closed right away, which says so as well.
fn pass(
    worker: &Worker,
    cx: &mut Context<'_>,
    flow: &mut Flow,
    (from, to): (&mut Transport, &mut Transport),
    open: &mut bool,
    other: bool,
) -> Result<(), Broken> {
    // Everything belongs to the stream: nothing can be left over.
    match flow.poll(worker, cx, from, to, &mut Vec::new()) {
        Poll::Pending => Ok(()),
        Poll::Ready(Ok(())) => {
            *open = false;
            if other || to.plain().is_none() {
                to.shutdown_write();
            }
            Ok(())
        }
        Poll::Ready(Err(broken)) => {
            *open = false;
            flow.restart(worker);
            Err(broken)
        }
    }
}
