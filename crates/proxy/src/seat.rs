//! What a session holds while it lives: places in the limits of its listener and its frontend, and
//! its part in its worker's load.

use crate::moment::Moment;
use crate::roster::Arrived;
use crate::worker::Worker;
use state::{Gauge, SessionGuard};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

/// A connection's place in its listener and its frontend. The listener's is freed first, because
/// who waits for either is told by the frontend's.
pub struct Places {
    listener: Arc<Gauge>,
    _frontend: SessionGuard,
}

impl Places {
    /// A place that was taken in the listener's gauge, and one in the frontend's.
    pub(crate) fn new(listener: Arc<Gauge>, frontend: SessionGuard) -> Places {
        Places {
            listener,
            _frontend: frontend,
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.listener.leave();
    }
}

/// One session fewer on a worker.
pub(crate) fn leave(worker: &Worker) {
    if let Some(door) = worker.doors.get(worker.id) {
        door.load.fetch_sub(1, Relaxed);
    }
}

/// A session's part in its worker's load; dropping it gives it back.
pub struct Seat {
    worker: Rc<Worker>,
    /// Whether it takes a place among those with TLS.
    tls: bool,
    /// In the roster.
    place: u32,
}

impl Seat {
    /// For a session of datagrams, which nobody has accepted: its worker's load counts it from here.
    pub(crate) fn of_datagrams(worker: &Rc<Worker>, arrived: Arrived) -> Seat {
        if let Some(door) = worker.doors.get(worker.id) {
            door.load.fetch_add(1, Relaxed);
        }
        Seat::take(worker, arrived, false)
    }

    /// For a session that its worker's load counts already; `tls`: one that begins with TLS.
    pub(crate) fn take(worker: &Rc<Worker>, arrived: Arrived, tls: bool) -> Seat {
        if tls {
            worker.process.tls_connections.enter();
        }
        worker.sessions.set(worker.sessions.get() + 1);
        worker.process.connections.enter();
        Seat {
            worker: Rc::clone(worker),
            tls,
            place: worker.roster.add(arrived),
        }
    }

    /// Who serves the session.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// When the session came.
    pub fn accepted(&self) -> Moment {
        self.worker.roster.accepted(self.place)
    }

    /// A request, or a TCP connection's bytes, are under way.
    pub fn begin(&self, requests: u32) {
        self.worker.roster.begin(self.place, requests);
    }

    /// The backend is chosen.
    pub fn enter(&self, backend: u32) {
        self.worker.roster.enter(self.place, backend);
    }

    /// The server is chosen.
    pub fn assign(&self, server: u32) {
        self.worker.roster.assign(self.place, server);
    }

    /// The request is over.
    pub fn end_request(&self) {
        self.worker.roster.end_request(self.place);
    }

    /// Whether an operator has ended the session.
    pub fn was_killed(&self) -> bool {
        self.worker.roster.was_killed(self.place)
    }

    /// Whom to wake when the session is to end.
    pub fn wake_by(&self, waker: &Waker) {
        self.worker.roster.wake_by(self.place, waker);
    }

    /// A session that has begun without TLS goes on with it.
    pub fn begin_tls(&mut self) {
        if !self.tls {
            self.tls = true;
            self.worker.process.tls_connections.enter();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.roster.remove(self.place);
        self.worker.sessions.set(self.worker.sessions.get() - 1);
        self.worker.process.connections.leave();
        if self.tls {
            self.worker.process.tls_connections.leave();
        }
        leave(&self.worker);
    }
}
