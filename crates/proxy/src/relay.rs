//! Bytes in both directions between a client and its server, until both have ended.
//!
//! Each direction ends by itself (half close): the end of one is passed on to its receiver while
//! the other goes on. A direction whose receiver is gone is over, too, and what the receiver had
//! said before it left still reaches the other side.

use crate::flow::{Broken, Flow, Progress};
use crate::pool::ServerConn;
use crate::session::Client;
use crate::termination::{Cause, Phase, Termination};
use crate::transport::Transport;
use crate::worker::Worker;
use state::{Backend, Slot};
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What stands between a client and its server.
pub struct Between<'a> {
    /// From the client to the server.
    pub up: &'a mut Flow,
    /// From the server to the client.
    pub down: &'a mut Flow,
    /// The place on the server.
    pub slot: Option<&'a Slot>,
    /// The server.
    pub server: &'a mut ServerConn,
}

/// When something last happened at one peer.
#[derive(Clone, Copy)]
struct Activity {
    /// Bytes came from it.
    read: Instant,
    /// It took bytes, or bytes for it began to wait.
    written: Instant,
}

/// What a direction is measured by: bytes read, bytes written, whether some wait.
fn measure(flow: &Flow) -> (u64, u64, bool) {
    (flow.received, flow.sent, flow.drained())
}

impl Activity {
    /// Notes what has moved: in the flow that this peer feeds, and in the one that feeds it.
    fn note(&mut self, now: Instant, from: [(u64, u64, bool); 2], to: [(u64, u64, bool); 2]) {
        if from[0].0 != from[1].0 {
            self.read = now;
        }
        if to[0].1 != to[1].1 || (to[0].2 && !to[1].2) {
            self.written = now;
        }
    }

    /// When this peer has been silent for too long, as far as it is its turn: to say something, or
    /// to take what waits for it.
    fn deadline(
        &self,
        limit: Option<Duration>,
        independent: bool,
        reading: bool,
        writing: bool,
    ) -> Option<Instant> {
        let limit = limit?;
        // What is sent to a peer counts as its life, unless `option independent-streams` is set.
        let read = if independent {
            self.read
        } else {
            self.read.max(self.written)
        };
        let reading = reading.then(|| read + limit);
        let writing = writing.then(|| self.written + limit);
        reading.into_iter().chain(writing).min()
    }
}

/// One direction's state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    Ended,
}

/// Moves bytes until both directions have ended, or one side is silent too long.
pub async fn run(
    worker: &Worker,
    client: &mut Client,
    backend: &Backend,
    between: Between<'_>,
) -> Termination {
    let Between {
        up,
        down,
        slot,
        server,
    } = between;
    up.progress = Progress::UntilClose;
    down.progress = Progress::UntilClose;
    let front = client.frontend.proxy().timeouts;
    let back = backend.proxy().timeouts;
    let independent = (
        client.frontend.proxy().independent_streams,
        backend.proxy().independent_streams,
    );
    let (mut up_way, mut down_way) = (Way::Open, Way::Open);
    let now = worker.now();
    let mut of_client = Activity {
        read: now,
        written: now,
    };
    let mut of_server = of_client;
    let mut cut = None;
    let mut failed = None;
    let mut inspected = std::mem::take(&mut client.carry);
    poll_fn(|cx| {
        if !inspected.is_empty() {
            // What the rules looked at goes first.
            let fed = up.feed(worker, cx, &mut server.io, &[], &inspected);
            worker.recycle(std::mem::take(&mut inspected));
            if fed.is_err() {
                return Poll::Ready(Termination::new(Cause::ServerAbort, Phase::Data));
            }
        }
        if let Some(slot) = slot {
            let watch = cut.get_or_insert_with(|| slot.watch_cuts(cx.waker()));
            if watch.as_ref().is_some_and(state::cut::Watch::is_cut) {
                return Poll::Ready(Termination::cut(slot.server(), Phase::Data));
            }
        }
        let before = (measure(up), measure(down));
        if up_way == Way::Open {
            let moved = pass(worker, cx, up, &mut client.io, &mut server.io, &mut up_way);
            if let Err(broken) = moved {
                failed.get_or_insert(match broken {
                    Broken::ReceiverFailed => Cause::ServerAbort,
                    _ => Cause::ClientAbort,
                });
                if broken != Broken::ReceiverFailed {
                    return Poll::Ready(ended(failed));
                }
            }
        }
        if down_way == Way::Open {
            let moved = pass(
                worker,
                cx,
                down,
                &mut server.io,
                &mut client.io,
                &mut down_way,
            );
            if let Err(broken) = moved {
                failed.get_or_insert(match broken {
                    Broken::ReceiverFailed => Cause::ClientAbort,
                    _ => Cause::ServerAbort,
                });
                if broken != Broken::ReceiverFailed {
                    return Poll::Ready(ended(failed));
                }
            }
        }
        if up_way == Way::Ended && down_way == Way::Ended {
            return Poll::Ready(ended(failed));
        }
        let after = (measure(up), measure(down));
        if before != after {
            let now = worker.now();
            of_client.note(now, [before.0, after.0], [before.1, after.1]);
            of_server.note(now, [before.1, after.1], [before.0, after.0]);
        }
        let fin = |way: Way, fin: Option<Duration>, else_: Option<Duration>| match way {
            Way::Ended => fin.or(else_),
            Way::Open => else_,
        };
        // A side is half closed once what is said to it has ended.
        let client_limit = fin(down_way, front.client_fin, back.tunnel.or(front.client));
        let server_limit = fin(up_way, back.server_fin, back.tunnel.or(back.server));
        let (up_open, down_open) = (up_way == Way::Open, down_way == Way::Open);
        let (up_waits, down_waits) = (!up.drained(), !down.drained());
        let client_deadline = of_client.deadline(
            client_limit,
            independent.0,
            up_open && !up_waits,
            down_open && down_waits,
        );
        let server_deadline = of_server.deadline(
            server_limit,
            independent.1,
            down_open && !down_waits,
            up_open && up_waits,
        );
        let (deadline, cause) = match (client_deadline, server_deadline) {
            (Some(c), Some(s)) if s < c => (Some(s), Cause::ServerTimeout),
            (Some(c), _) => (Some(c), Cause::ClientTimeout),
            (None, s) => (s, Cause::ServerTimeout),
        };
        client.timer.arm(deadline);
        if client.timer.poll_expired(cx).is_ready() {
            return Poll::Ready(Termination::new(cause, Phase::Data));
        }
        Poll::Pending
    })
    .await
}

fn ended(failed: Option<Cause>) -> Termination {
    match failed {
        Some(cause) => Termination::new(cause, Phase::Data),
        None => Termination::default(),
    }
}

/// Moves what can be moved in one direction, and passes its end on.
fn pass(
    worker: &Worker,
    cx: &mut Context<'_>,
    flow: &mut Flow,
    from: &mut Transport,
    to: &mut Transport,
    way: &mut Way,
) -> Result<(), Broken> {
    // Everything belongs to the stream: nothing can be left over.
    match flow.poll(worker, cx, from, to, &mut Vec::new()) {
        Poll::Pending => Ok(()),
        Poll::Ready(Ok(())) => {
            *way = Way::Ended;
            to.shutdown_write();
            Ok(())
        }
        Poll::Ready(Err(broken)) => {
            *way = Way::Ended;
            flow.restart(worker);
            Err(broken)
        }
    }
}
