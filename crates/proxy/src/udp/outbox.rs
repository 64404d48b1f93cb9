//! Answers of many sessions to their clients, which all leave by the listening socket: those that
//! sessions have at the same time go in one call.

use super::batch::{MOST, Parcel, send_parcels};
use crate::worker::Worker;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// Longer ones are not worth the copy.
pub const LONGEST: usize = 2048;

/// What waits for the sessions that have something to say now.
#[derive(Default)]
pub struct Outbox {
    waiting: RefCell<Waiting>,
    /// Of the task that sends.
    waker: Cell<Option<Waker>>,
}

#[derive(Default)]
struct Waiting {
    socket: Option<Arc<OwnedFd>>,
    parcels: Vec<Parcel>,
    bytes: Vec<u8>,
}

impl Waiting {
    fn send(&mut self) {
        if let Some(socket) = self.socket.take() {
            send_parcels(socket.as_raw_fd(), &self.parcels, &self.bytes);
            self.parcels.clear();
            self.bytes.clear();
        }
    }
}

impl Outbox {
    /// Has a datagram sent when the sessions that are to run now have run.
    pub fn put(
        &self,
        socket: &Arc<OwnedFd>,
        to: &socket2::SockAddr,
        from: Option<IpAddr>,
        bytes: &[u8],
    ) {
        let mut waiting = self.waiting.borrow_mut();
        let other = |s: &Arc<OwnedFd>| !Arc::ptr_eq(s, socket);
        if waiting.parcels.len() >= MOST || waiting.socket.as_ref().is_some_and(other) {
            waiting.send();
        }
        if waiting.socket.is_none() {
            waiting.socket = Some(Arc::clone(socket));
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        waiting.bytes.extend_from_slice(bytes);
        let end = waiting.bytes.len();
        waiting.parcels.push(Parcel {
            to: to.clone(),
            from,
            end,
        });
    }

    /// Sends what waits, before something else is sent.
    pub fn send(&self) {
        self.waiting.borrow_mut().send();
    }
}

/// Sends what sessions have left, for the life of the worker. Those that were woken together have run
/// when this, which the first of them wakes, does.
pub async fn carry(worker: Rc<Worker>) {
    poll_fn(|cx| -> Poll<()> {
        let outbox = &worker.datagrams.outbox;
        outbox.send();
        outbox.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    })
    .await;
}
