//! Why a connection failed before it became a session: HAProxy's numbers and words (manual, the
//! table at `fc_err_str`). Those of faults that cannot happen here are left out.

/// Number and words.
pub const NAMES: &[(u8, &str)] = &[
    (0, "Success"),
    (
        11,
        "Connection closed while waiting for PROXY protocol header",
    ),
    (
        12,
        "Connection error while waiting for PROXY protocol header",
    ),
    (13, "Timeout while waiting for PROXY protocol header"),
    (14, "Truncated PROXY protocol header received"),
    (
        15,
        "Received something which does not look like a PROXY protocol header",
    ),
    (16, "Received an invalid PROXY protocol header"),
    (
        17,
        "Received an unhandled protocol in the PROXY protocol header",
    ),
    (
        18,
        "Connection closed while waiting for NetScaler Client IP header",
    ),
    (
        19,
        "Connection error while waiting for NetScaler Client IP header",
    ),
    (20, "Timeout while waiting for a NetScaler Client IP header"),
    (21, "Truncated NetScaler Client IP header received"),
    (22, "Received an invalid NetScaler Client IP magic number"),
    (
        23,
        "Received an unhandled protocol in the NetScaler Client IP header",
    ),
    (24, "Connection closed during SSL handshake"),
    (25, "Connection error during SSL handshake"),
    (26, "Timeout during SSL handshake"),
    (30, "SSL client CA chain cannot be verified"),
    (31, "SSL client certificate not trusted"),
    (
        32,
        "Server presented an SSL certificate different from the configured one",
    ),
    (
        33,
        "Server presented an SSL certificate different from the expected one",
    ),
    (34, "SSL handshake failure"),
    (39, "SOCKS4 Proxy write error during handshake"),
    (40, "SOCKS4 Proxy read error during handshake"),
    (41, "SOCKS4 Proxy deny the request"),
    (42, "SOCKS4 Proxy handshake aborted by server"),
];

/// The name in a server's certificate is not that of `verifyhost`.
pub const OTHER_THAN_CONFIGURED: u8 = 32;
/// The name in a server's certificate is not that which it was asked for.
pub const OTHER_THAN_ASKED: u8 = 33;
/// The handshake of TLS failed.
pub const TLS_FAILED: u8 = 34;

/// A SOCKS proxy did not take our request.
pub const SOCKS_WRITE: u8 = 39;
/// A SOCKS proxy did not answer it.
pub const SOCKS_READ: u8 = 40;
/// A SOCKS proxy answered, but not by a connection.
pub const SOCKS_DENIED: u8 = 41;
/// A SOCKS proxy reset the connection before it answered.
pub const SOCKS_ABORTED: u8 = 42;

/// The number of these words; 6 is a general fault.
pub fn number(words: &str) -> u8 {
    let found = NAMES.iter().find(|(_, w)| *w == words);
    found.map_or(6, |(n, _)| *n)
}

/// The words of a number.
pub fn words(number: u8) -> &'static str {
    let found = NAMES.iter().find(|(n, _)| *n == number);
    found.map_or("General socket error", |(_, w)| w)
}
