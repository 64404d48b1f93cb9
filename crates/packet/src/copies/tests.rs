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
        identity: u64, state in 0u32..64, steps: u8, dscp: u8, born in 0u32..100,
        server_vlan in 0u16..3, client: [u8; 6]
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
            hop: abi::Hop { vlan: server_vlan, dst: client, ..abi::Hop::default() },
            state, steps, dscp, born, ..Flow::default()
        };
        // Elsewhere routes say the way.
        let is_sent = vlan != 0 || server_vlan != 0 || steps & step::BRIDGE != 0;
        let hop = if is_sent { flow.hop } else { abi::Hop::default() };
        let (mut name, mut value) = (vec![1, 2, 3], vec![4]);
        write_key(&key, &mut name);
        prop_assert_eq!(read_key(&name), Some(key));
        write(&key, &flow, identity, 90, &mut value);
        let (read, flow_read, age) = read(&key, &value).expect("whole");
        prop_assert_eq!((read, age), (identity, 90u32.saturating_sub(born)));
        let state = state & COMMON | flow_state::FORWARD;
        prop_assert_eq!(flow_read, Flow { state, hop, born: 0, ..flow });
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
        let back = with_deltas(&back_key, answers(&key, &flow, None));
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
    let back = answers(&FlowKey::default(), &flow, None);
    assert_eq!(back.state, flow_state::CONFIRMED | flow_state::PEER_FIN);
    assert_eq!(back.epoch, u32::MAX, "its way is asked for at once");
}

#[test]
fn answers_of_vlans_and_bridges_take_the_way_that_this_machine_has_to_the_client() {
    let vip = address([203, 0, 113, 10]);
    let key = FlowKey {
        dst: vip,
        vlan: 100,
        ..FlowKey::default()
    };
    let client = abi::Hop {
        dst: [2, 0, 0, 0, 0, 1],
        vlan: 200,
        ..abi::Hop::default()
    };
    let flow = Flow {
        steps: step::ADDRESSES | step::BRIDGE,
        state: flow_state::FORWARD,
        server: 7,
        hop: client,
        ..Flow::default()
    };
    let (near, far) = ((3, [2, 0, 0, 0, 0, 3]), (4, [2, 0, 0, 0, 0, 4]));
    let mut sides = Sides::default();
    assert_eq!(sides.back(&vip, 7), None);
    sides.ports.insert(vip, vec![near, far]);
    assert_eq!(sides.back(&vip, 7), Some(near));
    sides.servers.insert(7, near.0);
    assert_eq!(sides.back(&vip, 7), Some(far));
    let back = answers(&key, &flow, Some(far));
    let wanted = abi::Hop {
        dst: client.dst,
        vlan: 100,
        src: far.1,
        mtu: 0,
        ifindex: far.0,
    };
    assert_eq!(back.hop, wanted);
    // Where no interface is named the route is asked, for that VLAN.
    let asked = abi::Hop {
        vlan: 100,
        ..abi::Hop::default()
    };
    assert_eq!(answers(&key, &flow, None).hop, asked);
}
