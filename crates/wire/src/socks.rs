//! SOCKS 4, as far as a balancer speaks it: a proxy is asked to connect to an IPv4 address (Ying-Da
//! Lee, "SOCKS: A protocol for TCP proxy across firewalls").

use std::net::SocketAddrV4;

/// How long an answer is.
pub const ANSWER: usize = 8;

/// The request to connect to `to` on behalf of `user`, whose name holds no NUL.
pub fn request(to: SocketAddrV4, user: &str) -> Vec<u8> {
    let mut bytes = vec![4, 1];
    bytes.extend(to.port().to_be_bytes());
    bytes.extend(to.ip().octets());
    bytes.extend(user.bytes().filter(|b| *b != 0));
    bytes.push(0);
    bytes
}

/// Whether the proxy has connected. What else an answer holds means nothing here.
pub fn is_granted(answer: [u8; ANSWER]) -> bool {
    answer[0] == 0 && answer[1] == 90
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_port_address_and_user() {
        let to = SocketAddrV4::new([192, 0, 2, 9].into(), 80);
        assert_eq!(request(to, "me"), b"\x04\x01\x00\x50\xc0\x00\x02\x09me\0");
        assert_eq!(request(to, "a\0b"), b"\x04\x01\x00\x50\xc0\x00\x02\x09ab\0");
    }

    #[test]
    fn only_one_answer_is_a_yes() {
        for first in 0..=255 {
            for second in 0..=255 {
                let answer = [first, second, 9, 9, 9, 9, 9, 9];
                assert_eq!(is_granted(answer), (first, second) == (0, 90));
            }
        }
    }
}
