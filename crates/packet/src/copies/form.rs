//! A session's bytes between machines: as few as say it, because at a hundred thousand new ones a
//! second each byte is hashed, copied and sent on both.
//!
//! Key: form (1 byte: whether the addresses have 16 bytes or 4), protocol, VLAN (2), ports (2 and
//! 2), source, destination. Value: form (1: which of the rewritten addresses and ports follow, as
//! they are not those of the key, and how long addresses are), the server's identity (8), state,
//! steps, code point, age in seconds (4), what follows. Of a session in a VLAN or of a bridge that is at
//! the end the server's VLAN (2) and the client's address on the link (6): no route says them.

use crate::abi::{Address, Flow, FlowKey, flow_state, step};

/// The version of this form: machines of another one are refused, with a word about it.
pub const VERSION: u16 = 5;

/// States that mean the same on every machine.
pub const COMMON: u32 =
    flow_state::CONFIRMED | flow_state::FIN | flow_state::PEER_FIN | flow_state::RESET;

/// Addresses have 16 bytes.
const WIDE: u8 = 1;
/// What follows in a value.
const SOURCE: u8 = 2;
const DESTINATION: u8 = 4;
const SOURCE_PORT: u8 = 8;
const DESTINATION_PORT: u8 = 16;
const LINK: u8 = 32;

/// What stands before an address of IPv4 in 16 bytes.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

fn form_of(addresses: [&Address; 2]) -> u8 {
    match addresses.iter().all(|a| a.starts_with(&MAPPED)) {
        true => 0,
        false => WIDE,
    }
}

fn put(out: &mut Vec<u8>, form: u8, address: &Address) {
    match address.split_last_chunk::<4>() {
        Some((_, last)) if form & WIDE == 0 => out.extend_from_slice(last),
        _ => out.extend_from_slice(address),
    }
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

fn port(bytes: &mut &[u8]) -> Option<u16> {
    array(bytes).map(u16::from_ne_bytes)
}

fn address(bytes: &mut &[u8], form: u8) -> Option<Address> {
    if form & WIDE != 0 {
        return array(bytes);
    }
    let mut address = [0; 16];
    let (head, last) = address.split_at_mut(12);
    head.copy_from_slice(&MAPPED);
    last.copy_from_slice(&array::<4>(bytes)?);
    Some(address)
}

/// Writes a key in the place of what is there.
pub fn write_key(key: &FlowKey, out: &mut Vec<u8>) {
    let form = form_of([&key.src, &key.dst]);
    out.clear();
    out.extend_from_slice(&[form, key.proto]);
    for number in [key.vlan, key.sport, key.dport] {
        out.extend_from_slice(&number.to_ne_bytes());
    }
    put(out, form, &key.src);
    put(out, form, &key.dst);
}

/// Reads a whole key.
pub fn read_key(mut bytes: &[u8]) -> Option<FlowKey> {
    let b = &mut bytes;
    let [form, proto] = array(b)?;
    let (vlan, sport, dport) = (port(b)?, port(b)?, port(b)?);
    let (src, dst) = (address(b, form)?, address(b, form)?);
    (b.is_empty() && form & !WIDE == 0).then_some(FlowKey {
        src,
        dst,
        sport,
        dport,
        vlan,
        proto,
        pad: 0,
    })
}

/// Writes what is done to a session's packets in the place of what is there; `now` are seconds as
/// the programs write them.
pub fn write(key: &FlowKey, flow: &Flow, identity: u64, now: u32, out: &mut Vec<u8>) {
    let mut form = form_of([&flow.src, &flow.dst]);
    let other = |differs: bool, bit: u8| if differs { bit } else { 0 };
    form |= other(flow.src != key.src, SOURCE) | other(flow.dst != key.dst, DESTINATION);
    form |= other(flow.sport != key.sport, SOURCE_PORT);
    form |= other(flow.dport != key.dport, DESTINATION_PORT);
    let tagged = key.vlan != 0 || flow.hop.vlan != 0;
    form |= other(tagged || flow.steps & step::BRIDGE != 0, LINK);
    out.clear();
    out.push(form);
    out.extend_from_slice(&identity.to_be_bytes());
    out.extend_from_slice(&[(flow.state & COMMON) as u8, flow.steps, flow.dscp]);
    out.extend_from_slice(&now.saturating_sub(flow.born).to_be_bytes());
    for (bit, address) in [(SOURCE, &flow.src), (DESTINATION, &flow.dst)] {
        if form & bit != 0 {
            put(out, form, address);
        }
    }
    for (bit, port) in [(SOURCE_PORT, flow.sport), (DESTINATION_PORT, flow.dport)] {
        if form & bit != 0 {
            out.extend_from_slice(&port.to_ne_bytes());
        }
    }
    if form & LINK != 0 {
        out.extend_from_slice(&flow.hop.vlan.to_ne_bytes());
        out.extend_from_slice(&flow.hop.dst);
    }
}

/// The server's identity, what is done to packets, and the session's age in seconds.
pub fn read(key: &FlowKey, mut bytes: &[u8]) -> Option<(u64, Flow, u32)> {
    let b = &mut bytes;
    let [form] = array(b)?;
    let identity = u64::from_be_bytes(array(b)?);
    let [state, steps, dscp] = array(b)?;
    let age = u32::from_be_bytes(array(b)?);
    let mut flow = Flow {
        src: key.src,
        dst: key.dst,
        sport: key.sport,
        dport: key.dport,
        state: u32::from(state) & COMMON | flow_state::FORWARD,
        steps,
        dscp,
        ..Flow::default()
    };
    if form & SOURCE != 0 {
        flow.src = address(b, form)?;
    }
    if form & DESTINATION != 0 {
        flow.dst = address(b, form)?;
    }
    if form & SOURCE_PORT != 0 {
        flow.sport = port(b)?;
    }
    if form & DESTINATION_PORT != 0 {
        flow.dport = port(b)?;
    }
    if form & LINK != 0 {
        flow.hop.vlan = port(b)?;
        flow.hop.dst = array(b)?;
    }
    b.is_empty().then_some((identity, flow, age))
}
