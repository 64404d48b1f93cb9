//! Formats of bytes between machines, read and written without I/O.

pub mod agent;
pub mod announce;
pub mod dns;
pub mod ftp;
pub mod grpc;
pub mod icmp;
pub mod netscaler;
pub mod peers;
pub mod probe;
pub mod proxy;
pub mod rdp;
pub mod smtp;
pub mod socks;
pub mod syn;
pub mod vrrp;

/// Whether a line that begins with this word is a request of HTTP (RFC 9110 section 9, RFC 5789, RFC 9113
/// section 3.4): a web page may have a browser send one to any port.
fn is_web(word: &[u8]) -> bool {
    let methods: [&[u8]; 10] = [
        b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH",
        b"PRI",
    ];
    methods.contains(&word)
}
