//! What a session holds while it lives: places in the limits of its listener and its frontend, and
//! its part in its worker's load.

use crate::roster::Live;
use crate::worker::{Door, Worker};
use state::{Gauge, SessionGuard};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

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
pub(crate) fn leave(doors: &[Door], worker: usize) {
    if let Some(door) = doors.get(worker) {
        door.load.fetch_sub(1, Relaxed);
    }
}

/// A session's part in its worker's load; dropping it gives it back.
pub struct Seat {
    worker: Rc<Worker>,
    doors: Arc<Vec<Door>>,
    /// Whether it takes a place among those with TLS.
    tls: bool,
    /// What others may see of the session.
    pub live: Rc<Live>,
}

impl Seat {
    /// For a session of datagrams, which nobody has accepted: its worker's load counts it from here.
    pub(crate) fn of_datagrams(
        worker: &Rc<Worker>,
        doors: &Arc<Vec<Door>>,
        live: Rc<Live>,
    ) -> Seat {
        if let Some(door) = doors.get(worker.id) {
            door.load.fetch_add(1, Relaxed);
        }
        Seat::take(worker, doors, live, false)
    }

    /// For a session that its worker's load counts already; `tls`: one that begins with TLS.
    pub(crate) fn take(
        worker: &Rc<Worker>,
        doors: &Arc<Vec<Door>>,
        live: Rc<Live>,
        tls: bool,
    ) -> Seat {
        if tls {
            worker.process.tls_connections.enter();
        }
        worker.sessions.set(worker.sessions.get() + 1);
        worker.process.connections.enter();
        Seat {
            worker: Rc::clone(worker),
            doors: Arc::clone(doors),
            tls,
            live,
        }
    }

    /// Who serves the session.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
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
        self.worker.roster.remove(&self.live);
        self.worker.sessions.set(self.worker.sessions.get() - 1);
        self.worker.process.connections.leave();
        if self.tls {
            self.worker.process.tls_connections.leave();
        }
        leave(&self.doors, self.worker.id);
    }
}
