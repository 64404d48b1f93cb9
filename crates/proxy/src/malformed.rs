//! Keeping the last message of each proxy that could not be read, for `show errors`.

use crate::session::Client;
use crate::stream::Stream;
use crate::worker::Worker;
use http::h1;
use state::Captured;
use std::sync::Arc;
use std::time::Instant;

/// Bytes of a message that are kept at most.
const LONGEST: usize = 16 * 1024;

fn cut(bytes: &[u8]) -> Vec<u8> {
    bytes.get(..LONGEST).unwrap_or(bytes).to_vec()
}

/// A request's head: its bytes are what the client has sent and nobody has taken.
pub fn request(worker: &Worker, client: &Client, error: &h1::Error) {
    worker.process.errors.put(Captured {
        when: worker.wall(Instant::now()),
        event: 0,
        response: false,
        proxy: (client.frontend.id, Arc::clone(&client.frontend.name)),
        other: None,
        server: None,
        source: client.info.ends.src(),
        bytes: cut(&client.carry),
        position: error.position(),
    });
}

/// A request that can be read but not framed.
pub fn framing(s: &Stream<'_>, error: &h1::Error) {
    let mut bytes = Vec::new();
    s.request.write_to(&mut bytes);
    s.worker.process.errors.put(Captured {
        when: s.worker.wall(Instant::now()),
        event: 0,
        response: false,
        proxy: (s.frontend.id, Arc::clone(&s.frontend.name)),
        other: None,
        server: None,
        source: s.client.info.ends.src(),
        bytes: cut(&bytes),
        position: error.position(),
    });
}

/// A response: `bytes` are those that its head should begin with.
pub fn response(s: &Stream<'_>, bytes: &[u8], error: &h1::Error) {
    let Some(backend) = &s.backend else { return };
    let server = s.slot.as_ref().map(|slot| slot.server());
    s.worker.process.errors.put(Captured {
        when: s.worker.wall(Instant::now()),
        event: 0,
        response: true,
        proxy: (backend.id, Arc::clone(&backend.name)),
        other: Some((s.frontend.id, Arc::clone(&s.frontend.name))),
        server: server.map(|s| (s.id, Arc::clone(&s.name))),
        source: s.client.info.ends.src(),
        bytes: cut(bytes),
        position: error.position(),
    });
}
