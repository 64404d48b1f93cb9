//! The first packet of the Remote Desktop Protocol, where it carries a cookie: MS-RDPBCGR section
//! 2.2.1.1, in TPKT (RFC 1006) and a connection request of X.224.

use std::net::{Ipv4Addr, SocketAddrV4};

/// TPKT's header.
const TPKT: usize = 4;
/// X.224's fixed part of a connection request, its length byte included.
const X224: usize = 7;

/// Name and value of the cookie in a packet that may be incomplete.
pub fn pair(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let [3, _, _, _, length, 0xe0, ..] = packet else {
        return None;
    };
    let end = TPKT + 1 + usize::from(*length);
    let text = packet.get(TPKT + X224..packet.len().min(end))?;
    let text = text.strip_prefix(b"Cookie:")?.trim_ascii_start();
    let text = text.get(..text.windows(2).position(|w| w == b"\r\n")?)?;
    let equals = text.iter().position(|b| *b == b'=')?;
    Some((text.get(..equals)?, text.get(equals + 1..)?))
}

/// The value of the cookie `name`, whose case does not count, in a packet that may be incomplete.
pub fn cookie<'a>(packet: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = pair(packet)?;
    found.eq_ignore_ascii_case(name).then_some(value)
}

/// The server that a routing token names: address and port as decimal numbers of their bytes in
/// reverse, and four digits more.
pub fn routing_token(value: &[u8]) -> Option<SocketAddrV4> {
    let mut parts = std::str::from_utf8(value).ok()?.split('.');
    let address: u32 = parts.next()?.parse().ok()?;
    let port: u16 = parts.next()?.parse().ok()?;
    parts.next()?;
    let address = Ipv4Addr::from(address.to_le_bytes());
    Some(SocketAddrV4::new(address, port.swap_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(text: &[u8]) -> Vec<u8> {
        let x224 = [(6 + text.len()) as u8, 0xe0, 0, 0, 0, 0, 0];
        let all = (4 + x224.len() + text.len()) as u16;
        [&[3, 0], &all.to_be_bytes()[..], &x224, text].concat()
    }

    #[test]
    fn a_cookie_is_found_by_its_name() {
        let packet = packet(b"Cookie: mstshash=alice\r\n\x01\x00\x08\x00\x03\x00\x00\x00");
        assert_eq!(cookie(&packet, b"MSTShash"), Some(&b"alice"[..]));
        assert_eq!(cookie(&packet, b"msts"), None);
    }

    #[test]
    fn a_token_names_an_address() {
        // The example of MS-RDPBCGR: 10.0.0.17 and port 3389 would be written so.
        let token = routing_token(b"285212682.15629.0000");
        assert_eq!(token, Some(SocketAddrV4::new([10, 0, 0, 17].into(), 3389)));
        assert_eq!(routing_token(b"285212682.15629"), None);
        assert_eq!(routing_token(b"x.1.0000"), None);
    }

    #[test]
    fn no_beginning_of_a_packet_and_no_change_of_one_is_a_panic() {
        let whole = packet(b"Cookie: msts=285212682.15629.0000\r\n");
        for end in 0..=whole.len() {
            let _ = cookie(&whole[..end], b"msts");
            for byte in [0, 3, 255] {
                let mut bent = whole.clone();
                if let Some(b) = bent.get_mut(end) {
                    *b = byte;
                }
                let _ = cookie(&bent, b"msts");
            }
        }
        assert_eq!(
            cookie(&whole, b"msts").and_then(routing_token),
            Some(SocketAddrV4::new([10, 0, 0, 17].into(), 3389))
        );
    }
}
