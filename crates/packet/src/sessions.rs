//! Sessions as user space sees them: those that are over are removed, and all can be listed.

use crate::abi::{Flow, FlowKey, flow_state, step};
use model::SessionTimeouts;

const TCP: u8 = 6;
/// Of IPv4 and of IPv6.
const ICMP: [u8; 2] = [1, 58];

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Only its first packet has come.
    Opening,
    /// Both sides talk.
    Established,
    /// One side has said its last.
    Closing,
    /// Both have, or one has reset it.
    Closed,
    /// No connection: everything but TCP and ICMP.
    Datagrams,
    /// Echoes.
    Icmp,
}

impl Stage {
    /// Its word in lists.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Opening => "SYN",
            Stage::Established => "ESTABLISHED",
            Stage::Closing => "FIN",
            Stage::Closed => "CLOSED",
            Stage::Datagrams => "UDP",
            Stage::Icmp => "ICMP",
        }
    }
}

/// The stage of the direction from the client.
pub fn stage(key: &FlowKey, flow: &Flow) -> Stage {
    let has = |bits: u32| flow.state & bits == bits;
    if ICMP.contains(&key.proto) {
        Stage::Icmp
    } else if key.proto != TCP {
        Stage::Datagrams
    } else if is_told(flow) {
        Stage::Closed
    } else if has(flow_state::FIN) || has(flow_state::PEER_FIN) {
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
        Stage::Closed => timeouts.closed,
        Stage::Datagrams => timeouts.udp,
        Stage::Icmp => timeouts.icmp,
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_state_has_its_own_timeout() {
        use flow_state::{CONFIRMED, FIN, PEER_FIN, RESET};
        let timeouts = SessionTimeouts {
            syn: Duration::from_secs(1),
            established: Duration::from_secs(2),
            fin: Duration::from_secs(3),
            closed: Duration::from_secs(4),
            udp: Duration::from_secs(5),
            icmp: Duration::from_secs(6),
        };
        for (proto, state, stage, seconds) in [
            (TCP, 0, Stage::Opening, 1),
            (TCP, CONFIRMED, Stage::Established, 2),
            (TCP, CONFIRMED | FIN, Stage::Closing, 3),
            (TCP, CONFIRMED | PEER_FIN, Stage::Closing, 3),
            (TCP, CONFIRMED | FIN | PEER_FIN, Stage::Closed, 4),
            (TCP, RESET, Stage::Closed, 4),
            (17, CONFIRMED, Stage::Datagrams, 5),
            (132, 0, Stage::Datagrams, 5),
            (1, 0, Stage::Icmp, 6),
            (58, CONFIRMED, Stage::Icmp, 6),
        ] {
            let key = FlowKey {
                proto,
                ..FlowKey::default()
            };
            let flow = Flow {
                state: state | flow_state::FORWARD,
                ..Flow::default()
            };
            assert_eq!(super::stage(&key, &flow), stage, "{proto} {state}");
            assert_eq!(patience(stage, &timeouts), seconds);
        }
    }
}
