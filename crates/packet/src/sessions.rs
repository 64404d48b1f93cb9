//! Sessions as user space sees them: those that are over are removed, and all can be listed.

use crate::abi::{Flow, FlowKey, flow_state, step};
use model::SessionTimeouts;

const TCP: u8 = 6;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Only its first packet has come.
    Opening,
    /// Both sides talk.
    Established,
    /// It has been ended, or its client has said its last where answers are not seen.
    Closing,
    /// No connection: everything but TCP.
    Datagrams,
}

impl Stage {
    /// Its word in lists.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Opening => "SYN",
            Stage::Established => "ESTABLISHED",
            Stage::Closing => "FIN",
            Stage::Datagrams => "UDP",
        }
    }
}

/// The stage of the direction from the client.
pub fn stage(key: &FlowKey, flow: &Flow) -> Stage {
    let has = |bits: u32| flow.state & bits == bits;
    let one_way = !two_ways(flow);
    if key.proto != TCP {
        Stage::Datagrams
    } else if has(flow_state::RESET)
        || has(flow_state::FIN | flow_state::PEER_FIN)
        || one_way && has(flow_state::FIN)
    {
        Stage::Closing
    } else if has(flow_state::CONFIRMED) {
        Stage::Established
    } else {
        Stage::Opening
    }
}

/// Seconds without a packet after which it is over.
pub fn patience(stage: Stage, timeouts: &SessionTimeouts) -> u32 {
    let time = match stage {
        Stage::Opening => timeouts.syn,
        Stage::Established => timeouts.established,
        Stage::Closing => timeouts.fin,
        Stage::Datagrams => timeouts.udp,
    };
    u32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// Whether this is the direction from the client.
pub fn is_forward(flow: &Flow) -> bool {
    flow.state & flow_state::FORWARD != 0
}

/// Whether answers come back this way; without a rewrite most go past us.
fn two_ways(flow: &Flow) -> bool {
    flow.steps & step::ROUTE != 0
        || flow.steps & step::ADDRESSES != 0 && flow.steps & step::DSCP == 0
}

/// Whether the programs have told of its end: it was reset, or both sides have said their last.
pub fn is_told(flow: &Flow) -> bool {
    let both = flow_state::FIN | flow_state::PEER_FIN;
    flow.state & flow_state::RESET != 0 || flow.state & both == both
}

/// The key of the other direction, where answers come back this way.
pub fn other_key(key: &FlowKey, flow: &Flow) -> Option<FlowKey> {
    two_ways(flow).then_some(FlowKey {
        src: flow.dst,
        dst: flow.src,
        sport: flow.dport,
        dport: flow.sport,
        vlan: flow.hop.vlan,
        proto: key.proto,
        pad: 0,
    })
}

/// Seconds since a direction's last packet.
pub fn idle(flow: &Flow, now: u32) -> u32 {
    // A packet that came while we looked may be of a later second.
    let idle = now.wrapping_sub(flow.seen);
    if idle > u32::MAX / 2 { 0 } else { idle }
}

/// Now, as the programs write it: seconds of the monotonic clock.
pub fn now() -> u32 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live value.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u32
}
