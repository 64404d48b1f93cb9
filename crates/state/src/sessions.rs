//! Live sessions as `show sess` sees them. They belong to the workers; whoever wants to see or end
//! one asks through [`Sessions`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Stage {
    /// No request is being served: the connection waits for one.
    #[default]
    Idle,
    /// A request, or the bytes of a TCP connection, are under way.
    Busy,
}

/// One live session.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// Unique while the process lives; what `show sess` prints as its address.
    pub id: u64,
    /// Its worker, from 0.
    pub worker: usize,
    /// The client; `None` for one of a UNIX socket.
    pub source: Option<SocketAddr>,
    /// The frontend's number.
    pub frontend: u32,
    /// The backend's number, once it is chosen.
    pub backend: Option<u32>,
    /// The server's number in the backend, once it is chosen.
    pub server: Option<u32>,
    /// When the connection was accepted.
    pub accepted: Instant,
    /// Requests so far.
    pub requests: u32,
    /// Where it stands.
    pub stage: Stage,
    /// The client's descriptor.
    pub descriptor: i32,
}

/// Which sessions are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one of this id.
    One(u64),
    /// All on a server: (backend's number, server's number).
    Server(u32, u32),
}

impl Which {
    /// Whether a session is meant.
    pub fn means(self, s: &SessionFacts) -> bool {
        match self {
            Which::One(id) => s.id == id,
            Which::Server(backend, server) => {
                s.backend == Some(backend) && s.server == Some(server)
            }
        }
    }
}

/// The way to the sessions of all workers.
pub trait Sessions {
    /// All of them; a worker that does not answer within `patience` is left out.
    fn list(&self, patience: Duration) -> Vec<SessionFacts>;
    /// Ends those that are meant, and says how many there were.
    fn end(&self, which: Which, patience: Duration) -> usize;
    /// Idle server connections by worker and by the server's `uid`.
    fn idle(&self, patience: Duration) -> Vec<Vec<u32>>;
}

/// No sessions at all, for where there are no workers.
pub struct NoSessions;

impl Sessions for NoSessions {
    fn list(&self, _: Duration) -> Vec<SessionFacts> {
        Vec::new()
    }
    fn end(&self, _: Which, _: Duration) -> usize {
        0
    }
    fn idle(&self, _: Duration) -> Vec<Vec<u32>> {
        Vec::new()
    }
}
