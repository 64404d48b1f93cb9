//! ICMP echo, both versions (RFC 792, RFC 4443 section 4).

/// The Internet checksum (RFC 1071) of these bytes, which are even in number or end with a zero.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            let high = u32::from(pair.first().copied().unwrap_or(0));
            let low = u32::from(pair.get(1).copied().unwrap_or(0));
            sum += high << 8 | low;
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An echo request. The checksum of version 6 covers addresses too, and is left to the kernel.
pub fn request(v6: bool, id: u16, sequence: u16) -> Vec<u8> {
    let mut out = vec![if v6 { 128 } else { 8 }, 0, 0, 0];
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(b"health check");
    if !v6 {
        let sum = checksum(&[&out]).to_be_bytes();
        out[2..4].copy_from_slice(&sum);
    }
    out
}

/// Whether these bytes are the reply to a request with these numbers; without `id` the kernel has
/// seen to it. What a raw socket of version 4 receives begins with the IP header.
pub fn is_reply(v6: bool, bytes: &[u8], id: Option<u16>, sequence: u16) -> bool {
    let message = match bytes.first() {
        Some(first) if !v6 && first >> 4 == 4 => bytes.get(usize::from(first & 0x0f) * 4..),
        _ => Some(bytes),
    };
    match message {
        Some([kind, 0, _, _, a, b, c, d, ..]) => {
            *kind == if v6 { 129 } else { 0 }
                && id.is_none_or(|id| id == u16::from_be_bytes([*a, *b]))
                && u16::from_be_bytes([*c, *d]) == sequence
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_sums_up_to_nothing() {
        assert_eq!(checksum(&[&request(false, 7, 9)]), 0);
        assert_eq!(request(true, 7, 9).first(), Some(&128));
    }

    #[test]
    fn a_reply_has_the_same_numbers() {
        let mut reply = request(false, 7, 9);
        reply[0] = 0;
        assert!(is_reply(false, &reply, Some(7), 9));
        assert!(is_reply(false, &reply, None, 9));
        assert!(!is_reply(false, &reply, Some(8), 9));
        assert!(!is_reply(false, &reply, Some(7), 8));
        assert!(
            !is_reply(false, &request(false, 7, 9), Some(7), 9),
            "a request"
        );
        let mut header = vec![0x45; 20];
        header.extend_from_slice(&reply);
        assert!(is_reply(false, &header, Some(7), 9));
        let mut reply = request(true, 7, 9);
        reply[0] = 129;
        assert!(is_reply(true, &reply, Some(7), 9));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..80), v6: bool) {
            let _ = is_reply(v6, &bytes, Some(1), 1);
        }
    }
}
