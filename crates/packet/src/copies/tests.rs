//! Sessions between machines, without either.

use super::*;
use crate::abi::step;
use proptest::prelude::*;

fn address(a: [u8; 4]) -> Address {
    abi::address(IpAddr::from(a))
}

proptest! {
    #[test]
    fn a_session_is_read_as_it_was_sent(
        src: [u8; 16], dst: [u8; 16], ports: (u16, u16), identity: u64,
        state in 0u32..64, steps: u8, dscp: u8
    ) {
        let flow = Flow {
            src, dst, sport: ports.0, dport: ports.1, state, steps, dscp, ..Flow::default()
        };
        let (read, flow_read, age) = decode(&encode(&flow, identity)).expect("whole");
        prop_assert_eq!((read, age), (identity, sessions::now()));
        let state = state & COMMON | flow_state::FORWARD;
        prop_assert_eq!(flow_read, Flow { state, ..flow });
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
        let _ = (decode(&bytes), read_key(&bytes), read_news(&bytes));
    }

    /// Twice there and back changes no sum.
    #[test]
    fn the_deltas_of_both_directions_undo_each_other(
        client: [u8; 4], vip: [u8; 4], pool: [u8; 4], server: [u8; 4], ports: [u16; 4]
    ) {
        let key = FlowKey {
            src: address(client), dst: address(vip), sport: ports[0], dport: ports[1],
            proto: 6, ..FlowKey::default()
        };
        let flow = Flow {
            src: address(pool), dst: address(server), sport: ports[2], dport: ports[3],
            steps: step::ADDRESSES | step::TTL, state: flow_state::FORWARD, ..Flow::default()
        };
        let back_key = sessions::other_key(&key, &flow).expect("answers come back");
        let back = with_deltas(&back_key, answers(&key, &flow));
        let flow = with_deltas(&key, flow);
        let both = |a: u16, b: u16| fold(u32::from(a) + u32::from(b));
        prop_assert_eq!(both(flow.address_delta, back.address_delta), 0xffff);
        prop_assert_eq!(both(flow.port_delta, back.port_delta), 0xffff);
    }
}

#[test]
fn answers_of_a_session_that_is_half_closed_are_half_closed_from_the_other_side() {
    let flow = Flow {
        state: flow_state::FORWARD | flow_state::CONFIRMED | flow_state::FIN,
        steps: step::ADDRESSES,
        ..Flow::default()
    };
    let back = answers(&FlowKey::default(), &flow);
    assert_eq!(back.state, flow_state::CONFIRMED | flow_state::PEER_FIN);
    assert_eq!(back.epoch, u32::MAX, "its way is asked for at once");
}
