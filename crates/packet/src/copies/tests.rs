//! Sessions between machines, without either.

use super::form::COMMON;
use super::*;
use crate::abi::step;
use proptest::prelude::*;

fn address(a: [u8; 4]) -> Address {
    abi::address(IpAddr::from(a))
}

#[test]
fn sessions_that_only_this_machine_can_translate_are_not_sent() {
    let key = FlowKey {
        proto: 6,
        ..FlowKey::default()
    };
    let flow = |state| Flow {
        state: flow_state::FORWARD | state,
        ..Flow::default()
    };
    assert!(is_worth(&key, &flow(flow_state::CONFIRMED)));
    assert!(!is_worth(&key, &flow(0)));
    let spliced = flow(flow_state::CONFIRMED | flow_state::SPLICED);
    assert!(!is_worth(&key, &spliced));
}

proptest! {
    #[test]
    fn a_session_is_read_as_it_was_sent(
        from: [u8; 16], to: [u8; 16], src: [u8; 16], dst: [u8; 16], narrow: [bool; 4],
        ports: [u16; 4], same: u8, vlan: u16, proto: u8,
        identity: u64, state in 0u32..64, steps: u8, dscp: u8, born in 0u32..100
    ) {
        let ends = [from, to, src, dst].into_iter().zip(narrow).map(|(a, narrow)| match narrow {
            true => address([a[0], a[1], a[2], a[3]]),
            false => a,
        });
        let ends: Vec<Address> = ends.collect();
        let key = FlowKey {
            src: ends[0], dst: ends[1], sport: ports[0], dport: ports[1], vlan, proto, pad: 0,
        };
        let other = |bit: u8| same & bit != 0;
        let flow = Flow {
            src: if other(1) { ends[2] } else { key.src },
            dst: if other(2) { ends[3] } else { key.dst },
            sport: if other(4) { ports[2] } else { key.sport },
            dport: if other(8) { ports[3] } else { key.dport },
            state, steps, dscp, born, ..Flow::default()
        };
        let (mut name, mut value) = (vec![1, 2, 3], vec![4]);
        write_key(&key, &mut name);
        prop_assert_eq!(read_key(&name), Some(key));
        write(&key, &flow, identity, 90, &mut value);
        let (read, flow_read, age) = read(&key, &value).expect("whole");
        prop_assert_eq!((read, age), (identity, 90u32.saturating_sub(born)));
        let state = state & COMMON | flow_state::FORWARD;
        prop_assert_eq!(flow_read, Flow { state, born: 0, ..flow });
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
        let _ = (read(&FlowKey::default(), &bytes), read_key(&bytes), read_news(&bytes));
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
