//! The engine: listeners, sessions, streams, server connections, checks on the wire, logs.
//!
//! A request's way reads from top to bottom in `session` (a client's transport) and `stream`
//! (one request's itinerary). Everything runs on workers, threads with a reactor of their own
//! that share nothing but the atomics of `state`.

/// What rules may see of a stream, made from its parts so that the borrows stay apart.
macro_rules! ctx {
    ($stream:expr) => {
        rules::Ctx {
            session: &$stream.client.info,
            stream: &$stream.info,
            now: $stream.worker.wall($stream.times.arrival.complete),
            req: Some(&mut $stream.request),
            res: $stream.response.as_deref_mut(),
            req_body: &$stream.body,
            res_body: &$stream.response_body,
            captures: [&$stream.captures.request, &$stream.captures.response],
            vars: &$stream.client.vars,
            facts: &state::View {
                process: &$stream.worker.process,
                generation: &$stream.generation,
                now: $stream.times.arrival.complete,
                tracked: Some(&$stream.client.tracked),
            },
            log: None,
            rng: &$stream.worker.rng,
        }
    };
}

mod account;
mod check;
mod choose;
mod compress;
mod connect;
mod exchange;
mod flow;
mod ftp;
mod hold;
mod inspect;
mod io;
mod listen;
mod listeners;
mod log;
mod mail;
mod malformed;
mod moment;
mod names;
mod netns;
mod observe;
mod opening;
mod overrides;
mod passage;
mod peers;
mod persistence;
mod pipe;
mod place;
mod pool;
mod prelude;
mod present;
mod reactor;
mod relay;
mod reply;
mod report;
mod request;
mod resolve;
mod response;
mod roster;
mod seat;
mod service;
mod session;
mod signature;
mod smtp;
mod socket;
mod stick;
mod stream;
mod tcp;
mod termination;
mod timer;
mod tls;
mod transport;
mod udp;
mod visit;
mod worker;

pub use listeners::{Listeners, Wanted, bind_all};
pub use log::{Logger, Tag};
pub use reply::Answer;
pub use roster::Rosters;
pub use service::{NamedServices, ServiceRequest, Services, StatsPages, StatsRequest};
pub use signature::available as can_sign;
pub use socket::{
    ends as connection_addresses, listen as listen_socket, local_address, saved_syn, tcp_info,
};
pub use worker::{Engine, WorkerSetup, start_workers};

/// The severity of a number from 0 (`emerg`) to 7 (`debug`).
pub(crate) fn log_level(number: u8) -> model::LogLevel {
    use model::LogLevel::*;
    [Emerg, Alert, Crit, Err, Warning, Notice, Info, Debug]
        .get(usize::from(number))
        .copied()
        .unwrap_or(Debug)
}
