//! The PROXY protocol, versions 1 and 2: a connection's true addresses, told before its first byte
//! (proxy-protocol.txt, 2020/03/05).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What begins a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;

/// A header that came before a connection's first byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The connection's source and destination; `None` where the sender speaks for itself
    /// (`LOCAL`), or does not know them (`UNKNOWN`).
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// Extensions of version 2: type and value.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Bytes that it takes.
    pub len: usize,
}

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// More bytes are needed.
    NeedMore,
    /// A whole header.
    Header(Header),
    /// Something else.
    Missing,
    /// It begins as one, but is broken.
    Invalid,
    /// It speaks of a protocol that there is none.
    OtherProtocol,
}

/// Extension: the name the client asked for by SNI.
pub const AUTHORITY: u8 = 0x02;
/// Extension: a checksum of the header.
pub const CRC32C: u8 = 0x03;
/// Extension: an identifier of the connection or request.
pub const UNIQUE_ID: u8 = 0x05;
/// The longest [`UNIQUE_ID`], bytes (section 2.2.5).
const LONGEST_UNIQUE_ID: usize = 128;
/// Extension: what is known of TLS.
pub const SSL: u8 = 0x20;

/// Inside [`SSL`]: the version of TLS.
pub const SSL_VERSION: u8 = 0x21;
/// Inside [`SSL`]: the common name in the client's certificate.
pub const SSL_CN: u8 = 0x22;
/// Inside [`SSL`]: the cipher suite.
pub const SSL_CIPHER: u8 = 0x23;
/// Inside [`SSL`]: the kind of signature on the certificate that the client was shown.
pub const SSL_SIG_ALG: u8 = 0x24;
/// Inside [`SSL`]: the kind of key in it.
pub const SSL_KEY_ALG: u8 = 0x25;

/// What [`SSL`] says before its parts (section 2.2.6).
#[derive(Clone, Copy, Debug, Default)]
pub struct Ssl {
    /// The client speaks TLS.
    pub tls: bool,
    /// It showed a certificate on this connection.
    pub certificate: bool,
    /// It showed one on a connection of this TLS session.
    pub in_session: bool,
    /// The result of checking it; 0 is good.
    pub verify: u32,
}

/// The value of [`SSL`].
pub fn ssl_extension(ssl: &Ssl, parts: &[(u8, &[u8])]) -> Vec<u8> {
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    let mut out = vec![flag(ssl.tls, 1) | flag(ssl.certificate, 2) | flag(ssl.in_session, 4)];
    out.extend_from_slice(&ssl.verify.to_be_bytes());
    for (kind, value) in parts {
        if let Ok(length) = u16::try_from(value.len()) {
            out.push(*kind);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(value);
        }
    }
    out
}

/// Reads a header from the start of what has come.
pub fn read(bytes: &[u8]) -> Read {
    if bytes.len() >= SIGNATURE.len() && bytes.starts_with(SIGNATURE) {
        return read_v2(bytes);
    }
    if bytes.starts_with(b"PROXY ") {
        return read_v1(bytes);
    }
    let begins = |full: &[u8]| full.starts_with(bytes);
    if begins(SIGNATURE) || begins(b"PROXY ") {
        Read::NeedMore
    } else {
        Read::Missing
    }
}

/// Reads the header that a datagram begins with: version 2, and whole. `None`: there is none.
pub fn read_datagram(bytes: &[u8]) -> Option<Header> {
    match bytes.starts_with(SIGNATURE).then(|| read_v2(bytes))? {
        Read::Header(header) => Some(header),
        _ => None,
    }
}

fn read_v1(bytes: &[u8]) -> Read {
    let window = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
    let Some(end) = window.iter().position(|b| *b == b'\n') else {
        return if bytes.len() >= LONGEST_LINE {
            Read::Invalid
        } else {
            Read::NeedMore
        };
    };
    let line = bytes.get(..end).unwrap_or_default();
    let Some(line) = line.strip_suffix(b"\r") else {
        return Read::Invalid;
    };
    let kind = line.split(|b| *b == b' ').nth(1);
    if !kind.is_some_and(|kind| matches!(kind, b"TCP4" | b"TCP6" | b"UNKNOWN")) {
        return Read::OtherProtocol;
    }
    let Some(addresses) = std::str::from_utf8(line).ok().and_then(v1_addresses) else {
        return Read::Invalid;
    };
    Read::Header(Header {
        addresses,
        extensions: Vec::new(),
        len: end + 1,
    })
}

/// `Some(None)` is a line that names no addresses.
#[allow(clippy::option_option)] // the outer one is validity, the inner one presence
fn v1_addresses(line: &str) -> Option<Option<(SocketAddr, SocketAddr)>> {
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let kind = words.next()?;
    if kind == "UNKNOWN" {
        // What follows is to be ignored (section 2.1).
        return Some(None);
    }
    let mut ip = || -> Option<IpAddr> {
        let word = words.next()?;
        match kind {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (ip()?, ip()?);
    let mut port = || -> Option<u16> {
        let word = words.next()?;
        let plain =
            word.bytes().all(|b| b.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
        word.parse().ok().filter(|_| plain)
    };
    let (from, to) = (port()?, port()?);
    words.next().is_none().then_some(Some((
        SocketAddr::new(source, from),
        SocketAddr::new(destination, to),
    )))
}

/// Reads an address of a family.
type ReadIp = fn(&[u8]) -> Option<IpAddr>;

fn read_v2(bytes: &[u8]) -> Read {
    let Some((fixed, rest)) = bytes.split_first_chunk::<16>() else {
        return Read::NeedMore;
    };
    let (version, command) = (fixed[12] >> 4, fixed[12] & 15);
    if version != 2 {
        return Read::Missing;
    }
    if command > 1 {
        return Read::Invalid;
    }
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let Some(content) = rest.get(..length) else {
        return Read::NeedMore;
    };
    let len = 16 + length;
    if command == 0 {
        // `LOCAL`: the sender speaks for itself, and whatever else it says is passed over (section 2.2).
        return Read::Header(Header {
            len,
            ..Header::default()
        });
    }
    let (size, ip): (usize, ReadIp) = match fixed[13] {
        0x11 | 0x12 => (4, |b| <[u8; 4]>::try_from(b).ok().map(IpAddr::from)),
        0x21 | 0x22 => (16, |b| <[u8; 16]>::try_from(b).ok().map(IpAddr::from)),
        // UNIX addresses, and what has none.
        0x31 | 0x32 => (108, |_| None),
        0x00 => (0, |_| None),
        _ => return Read::Invalid,
    };
    let block = if size == 108 {
        216
    } else if size == 0 {
        0
    } else {
        size * 2 + 4
    };
    if content.len() < block {
        return Read::Invalid;
    }
    let addresses = || {
        let (source, rest) = content.split_at_checked(size)?;
        let (destination, rest) = rest.split_at_checked(size)?;
        let ports = rest.first_chunk::<4>()?;
        let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
        Some((
            SocketAddr::new(ip(source)?, port(0)),
            SocketAddr::new(ip(destination)?, port(2)),
        ))
    };
    let addresses = addresses();
    let Some(extensions) = extensions(content.get(block..).unwrap_or_default()) else {
        return Read::Invalid;
    };
    if let Some((_, sum)) = extensions.iter().find(|(kind, _)| *kind == CRC32C) {
        let whole = bytes.get(..len).unwrap_or_default();
        if !checksum_holds(whole, sum) {
            return Read::Invalid;
        }
    }
    Read::Header(Header {
        addresses,
        extensions,
        len,
    })
}

fn extensions(mut bytes: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut found = Vec::new();
    while let Some((&[kind, high, low], rest)) = bytes.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(length)?;
        if kind == UNIQUE_ID && length > LONGEST_UNIQUE_ID {
            return None;
        }
        found.push((kind, value.to_vec()));
        bytes = rest;
    }
    bytes.is_empty().then_some(found)
}

/// Whether a header's checksum is right: it is computed with zeros in its own place.
fn checksum_holds(header: &[u8], sum: &[u8]) -> bool {
    let Ok(sum) = <[u8; 4]>::try_from(sum) else {
        return false;
    };
    let mark = [&[CRC32C, 0, 4][..], &sum].concat();
    let Some(at) = header.windows(mark.len()).rposition(|w| w == mark) else {
        return false;
    };
    let mut zeroed = header.to_vec();
    if let Some(place) = zeroed.get_mut(at + 3..at + 7) {
        place.fill(0);
    }
    crc32c(&zeroed) == u32::from_be_bytes(sum)
}

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |mut crc: u32| {
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
        crc
    };
    !bytes
        .iter()
        .fold(!0, |crc, byte| step(crc ^ u32::from(*byte)))
}

/// The line of version 1; without addresses of one family it says `UNKNOWN`.
pub fn line(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let text = match addresses.map(alike) {
        Some((SocketAddr::V4(from), SocketAddr::V4(to))) => {
            format!(
                "PROXY TCP4 {} {} {} {}\r\n",
                from.ip(),
                to.ip(),
                from.port(),
                to.port()
            )
        }
        Some((SocketAddr::V6(from), SocketAddr::V6(to))) => {
            format!(
                "PROXY TCP6 {} {} {} {}\r\n",
                from.ip(),
                to.ip(),
                from.port(),
                to.port()
            )
        }
        _ => "PROXY UNKNOWN\r\n".into(),
    };
    text.into_bytes()
}

/// Both as IPv4 where both are, else both as IPv6.
fn alike((from, to): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    let plain = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
    let (from, to) = (plain(from), plain(to));
    if from.is_ipv4() == to.is_ipv4() {
        return (from, to);
    }
    let mapped = |a: SocketAddr| match a.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), a.port()),
        IpAddr::V6(_) => a,
    };
    (mapped(from), mapped(to))
}

/// The header of version 2 for a stream. Without addresses it says `LOCAL`. `checked` adds a
/// checksum.
pub fn header(
    addresses: Option<(SocketAddr, SocketAddr)>,
    extensions: &[(u8, &[u8])],
    checked: bool,
) -> Vec<u8> {
    build(addresses, extensions, checked, STREAM)
}

/// The header of version 2 that a datagram begins with.
pub fn datagram_header(
    addresses: Option<(SocketAddr, SocketAddr)>,
    extensions: &[(u8, &[u8])],
    checked: bool,
) -> Vec<u8> {
    build(addresses, extensions, checked, DATAGRAM)
}

/// Transport of the addresses: a byte stream.
const STREAM: u8 = 1;
/// Transport of the addresses: datagrams.
const DATAGRAM: u8 = 2;

fn build(
    addresses: Option<(SocketAddr, SocketAddr)>,
    extensions: &[(u8, &[u8])],
    checked: bool,
    transport: u8,
) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    let mut content = Vec::new();
    let (command, family) = match addresses.map(alike) {
        Some((SocketAddr::V4(from), SocketAddr::V4(to))) => {
            content.extend_from_slice(&from.ip().octets());
            content.extend_from_slice(&to.ip().octets());
            content.extend_from_slice(&from.port().to_be_bytes());
            content.extend_from_slice(&to.port().to_be_bytes());
            (0x21, 0x10 | transport)
        }
        Some((SocketAddr::V6(from), SocketAddr::V6(to))) => {
            content.extend_from_slice(&from.ip().octets());
            content.extend_from_slice(&to.ip().octets());
            content.extend_from_slice(&from.port().to_be_bytes());
            content.extend_from_slice(&to.port().to_be_bytes());
            (0x21, 0x20 | transport)
        }
        _ => (0x20, 0x00),
    };
    let mut extend = |kind: u8, value: &[u8]| {
        // A value that does not fit is left out: the length field has two bytes.
        if let Ok(length) = u16::try_from(value.len())
            && content.len() + value.len() + 3 + 7 <= usize::from(u16::MAX)
        {
            content.push(kind);
            content.extend_from_slice(&length.to_be_bytes());
            content.extend_from_slice(value);
        }
    };
    extensions
        .iter()
        .for_each(|(kind, value)| extend(*kind, value));
    if checked {
        extend(CRC32C, &[0; 4]);
    }
    out.extend_from_slice(&[command, family]);
    out.extend_from_slice(&(content.len() as u16).to_be_bytes());
    out.extend_from_slice(&content);
    if checked {
        let sum = crc32c(&out).to_be_bytes();
        let at = out.len() - 4;
        if let Some(place) = out.get_mut(at..) {
            place.copy_from_slice(&sum);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn lines_are_read_as_the_document_says() {
        let good = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET";
        let Read::Header(header) = read(good) else {
            panic!("a header")
        };
        assert_eq!(header.len, good.len() - 3);
        let (from, to) = header.addresses.expect("addresses");
        assert_eq!(
            (from.to_string(), to.to_string()),
            ("192.168.0.1:56324".into(), "192.168.0.11:443".into())
        );
        assert!(
            matches!(read(b"PROXY UNKNOWN ffff::1 whatever\r\n"), Read::Header(h) if h.addresses.is_none())
        );
        for wrong in [
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        ] {
            assert_eq!(read(wrong.as_bytes()), Read::Invalid, "{wrong}");
        }
        for other in [
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        ] {
            assert_eq!(read(other.as_bytes()), Read::OtherProtocol, "{other}");
        }
        assert_eq!(read(b"GET / HTTP/1.1\r\n"), Read::Missing);
        assert_eq!(
            read(&[b"PROXY ".as_slice(), &[b'x'; 120]].concat()),
            Read::Invalid
        );
    }

    /// A header with this command and family, and this behind its length.
    fn two(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u16).to_be_bytes();
        let fixed = [0x20 | command, family, length[0], length[1]];
        [&SIGNATURE[..], &fixed, content].concat()
    }

    #[test]
    fn of_a_sender_that_speaks_for_itself_nothing_else_is_taken() {
        let ends = [192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2];
        let named = [&ends[..], &[AUTHORITY, 0, 1, b'x']].concat();
        let broken = [&ends[..], &[AUTHORITY, 0, 9, b'x']].concat();
        for content in [&[][..], &[1], &named, &broken] {
            let bytes = two(0, 0x11, content);
            let len = bytes.len();
            let local = Header {
                len,
                ..Header::default()
            };
            assert_eq!(read(&bytes), Read::Header(local), "{content:?}");
        }
        assert!(matches!(read(&two(1, 0x11, &named)), Read::Header(h) if h.extensions.len() == 1));
        assert_eq!(read(&two(1, 0x11, &broken)), Read::Invalid);
        assert_eq!(read(&two(2, 0x11, &ends)), Read::Invalid);
        assert_eq!(read(&two(1, 0x11, &ends[..11])), Read::Invalid);
    }

    #[test]
    fn an_identifier_has_128_bytes_at_most() {
        let with = |n: u8| {
            two(
                1,
                0,
                &[&[UNIQUE_ID, 0, n][..], &vec![b'x'; n.into()]].concat(),
            )
        };
        assert!(matches!(read(&with(128)), Read::Header(_)));
        assert_eq!(read(&with(129)), Read::Invalid);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            a in any::<[u8; 16]>(), b in any::<[u8; 16]>(), v6 in any::<bool>(), ports in any::<(u16, u16)>(),
            name in prop::collection::vec(any::<u8>(), 0..300), checked in any::<bool>(), two in any::<bool>(), cut in any::<prop::sample::Index>(),
        ) {
            let ip = |bytes: [u8; 16]| if v6 { IpAddr::from(bytes).to_canonical() } else { IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]) };
            prop_assume!(ip(a).is_ipv4() == ip(b).is_ipv4());
            let pair = (SocketAddr::new(ip(a), ports.0), SocketAddr::new(ip(b), ports.1));
            let bytes = if two { header(Some(pair), &[(AUTHORITY, &name)], checked) } else { line(Some(pair)) };
            let Read::Header(back) = read(&bytes) else { panic!("a header") };
            prop_assert_eq!(back.addresses, Some(pair));
            prop_assert_eq!(back.len, bytes.len());
            prop_assert_eq!(read(&bytes[..cut.index(bytes.len())]), Read::NeedMore);
            if two && checked {
                let mut damaged = bytes.clone();
                let at = 16 + cut.index(bytes.len() - 16);
                damaged[at] ^= 1;
                prop_assert!(!matches!(read(&damaged), Read::Header(h) if h.addresses == Some(pair) && h.extensions == back.extensions));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), start in 0usize..3) {
            let starts: [&[u8]; 3] = [b"", SIGNATURE, b"PROXY "];
            let all = [starts[start], &bytes].concat();
            if let Read::Header(header) = read(&all) {
                prop_assert!(header.len <= all.len());
            }
        }
    }
}
