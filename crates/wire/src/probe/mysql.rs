//! MySQL's client/server protocol: the greeting, a login without a password, the end
//! (dev.mysql.com, "Connection Phase Packets").

use super::{Next, Verdict};

pub fn hear(heard: &[u8], ended: bool, turn: u8, user: Option<&str>, old: bool) -> Next {
    let packet = match packet(heard) {
        Ok(Some(packet)) => packet,
        Ok(None) if !ended => return Next::More,
        _ => return Verdict::invalid(""),
    };
    match (packet, turn, user) {
        ([0xff, low, high, text @ ..], ..) => {
            let code = u32::from(u16::from_le_bytes([*low, *high]));
            Verdict::status(code, String::from_utf8_lossy(text))
        }
        ([], ..) => Verdict::invalid(""),
        (_, 0, Some(user)) => Next::Say(login(user, old)),
        _ => Verdict::passed(0, ""),
    }
}

/// The payload of the first packet, once it is there; an error when it is too long to be one of
/// this phase.
fn packet(heard: &[u8]) -> Result<Option<&[u8]>, ()> {
    let [a, b, c, _, payload @ ..] = heard else {
        return Ok(None);
    };
    let length = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
    match length {
        0..=4096 => Ok(payload.get(..length)),
        _ => Err(()),
    }
}

/// Handshake response and `COM_QUIT`.
fn login(user: &str, old: bool) -> Vec<u8> {
    let mut payload = Vec::new();
    if old {
        // Capabilities: secure connection; the largest packet, three bytes.
        payload.extend_from_slice(&[0x00, 0x80, 0x00, 0x00, 0x01]);
    } else {
        // Capabilities: protocol 4.1 and secure connection; the largest packet; utf8.
        payload.extend_from_slice(&[0x00, 0x82, 0x00, 0x00, 0x00, 0x80, 0x00, 0x01, 0x21]);
        payload.extend_from_slice(&[0; 23]);
    }
    payload.extend_from_slice(user.as_bytes());
    // The end of the name, and a password of no bytes.
    payload.extend_from_slice(&[0, 0]);
    let length = (payload.len() as u32).to_le_bytes();
    let mut out = vec![length[0], length[1], length[2], 1];
    out.append(&mut payload);
    out.extend_from_slice(&[1, 0, 0, 0, 1]);
    out
}
