//! Numbers and addresses as log lines show them. A line has twenty of them, and the machinery of
//! `core::fmt` takes longer over one than all that is decided about the request.

use std::io::Write;
use std::net::IpAddr;

/// Appends a number.
pub fn decimal(n: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Appends the last two digits of a number that is not negative.
pub(crate) fn two(n: i64, out: &mut Vec<u8>) {
    let n = n.rem_euclid(100) as u8;
    out.extend_from_slice(&[b'0' + n / 10, b'0' + n % 10]);
}

/// Appends the last three digits of a number that is not negative.
pub(crate) fn three(n: i64, out: &mut Vec<u8>) {
    out.push(b'0' + (n.rem_euclid(1000) / 100) as u8);
    two(n, out);
}

/// Appends an address.
pub fn address(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => {
            for (i, octet) in ip.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                decimal(octet, out);
            }
        }
        IpAddr::V6(ip) => {
            let _ = write!(out, "{ip}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(f: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn they_show_as_format_shows_them() {
        for n in [0, 7, 10, 99, 100, 123, 999, 1005, i64::MAX] {
            assert_eq!(shown(|o| decimal(n, o)), n.to_string());
            assert_eq!(shown(|o| decimal(-n, o)), (-n).to_string());
            assert_eq!(shown(|o| two(n, o)), format!("{:02}", n % 100));
            assert_eq!(shown(|o| three(n, o)), format!("{:03}", n % 1000));
        }
        for ip in [
            "0.0.0.0",
            "255.10.1.99",
            "::",
            "2001:db8::1",
            "::ffff:1.2.3.4",
        ] {
            let ip: IpAddr = ip.parse().expect("an address");
            assert_eq!(shown(|o| address(ip, o)), ip.to_string());
        }
    }
}
