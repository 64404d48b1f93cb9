//! The configuration's times and retries, with what rules say instead for one request.

use model::{Backend, Timeouts};
use rules::StreamInfo;

/// A proxy's times for this request.
pub fn timeouts(of: &Timeouts, info: &StreamInfo) -> Timeouts {
    let rules = &info.overrides;
    Timeouts {
        client: rules.client_timeout.get().or(of.client),
        connect: rules.connect_timeout.get().or(of.connect),
        queue: rules.queue_timeout.get().or(of.queue),
        server: rules.server_timeout.get().or(of.server),
        tarpit: rules.tarpit_timeout.get().or(of.tarpit),
        tunnel: rules.tunnel_timeout.get().or(of.tunnel),
        ..*of
    }
}

/// How often a failed connection of this request is tried again.
pub fn retries(of: &Backend, info: &StreamInfo) -> u32 {
    info.overrides.retries.get().unwrap_or(of.retries)
}
