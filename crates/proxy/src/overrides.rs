//! The configuration's times and retries, with what rules say instead for one request.

use model::{Backend, Timeouts};
use rules::StreamInfo;

/// A proxy's times for this request.
pub fn timeouts(of: &Timeouts, info: &StreamInfo) -> Timeouts {
    let rules = &info.overrides;
    Timeouts {
        client: rules.given(|g| g.client_timeout.get()).or(of.client),
        connect: rules.given(|g| g.connect_timeout.get()).or(of.connect),
        queue: rules.given(|g| g.queue_timeout.get()).or(of.queue),
        server: rules.given(|g| g.server_timeout.get()).or(of.server),
        tarpit: rules.given(|g| g.tarpit_timeout.get()).or(of.tarpit),
        tunnel: rules.given(|g| g.tunnel_timeout.get()).or(of.tunnel),
        ..*of
    }
}

/// How often a failed connection of this request is tried again.
pub fn retries(of: &Backend, info: &StreamInfo) -> u32 {
    info.overrides
        .given(|g| g.retries.get())
        .unwrap_or(of.retries)
}
