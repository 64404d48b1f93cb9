//! A TLS client's hello (RFC 5246 section 7.4.1.2): whoever answers with a handshake record or an
//! alert speaks TLS.

use super::{Next, Outcome, Verdict};

/// A hello of TLS 1.2 with the suites that servers have in common.
pub fn hello() -> Vec<u8> {
    const SUITES: &[u8] = &[
        0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30, 0xcc, 0xa9, 0xcc, 0xa8, 0x00, 0x9c, 0x00,
        0x9d, 0x00, 0x2f, 0x00, 0x35,
    ];
    // Groups x25519, P-256, P-384; uncompressed points; signatures by ECDSA and RSA.
    const EXTENSIONS: &[u8] = &[
        0, 10, 0, 8, 0, 6, 0, 29, 0, 23, 0, 24, 0, 11, 0, 2, 1, 0, 0, 13, 0, 14, 0, 12, 4, 3, 5, 3,
        8, 4, 8, 5, 4, 1, 5, 1,
    ];
    let mut body = vec![3, 3];
    // Nothing is kept secret in this handshake, which nobody continues.
    body.extend_from_slice(b"a health check, not a handshake.");
    body.push(0);
    body.extend_from_slice(&(SUITES.len() as u16).to_be_bytes());
    body.extend_from_slice(SUITES);
    body.extend_from_slice(&[1, 0]);
    body.extend_from_slice(&(EXTENSIONS.len() as u16).to_be_bytes());
    body.extend_from_slice(EXTENSIONS);
    let length = (body.len() as u32).to_be_bytes();
    let handshake = [&[1][..], &length[1..], &body].concat();
    let length = (handshake.len() as u16).to_be_bytes();
    [&[22, 3, 1][..], &length, &handshake].concat()
}

pub fn hear(heard: &[u8]) -> Next {
    match heard.first() {
        Some(0x15 | 0x16) => Verdict::of(Outcome::Tls, 0, ""),
        _ => Verdict::of(Outcome::NoTls, 0, ""),
    }
}
