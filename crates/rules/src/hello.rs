//! The client's hello of TLS as bytes on a connection that is only passed on (RFC 8446 section 4.1.2).

/// What is known of a hello.
#[derive(Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The server name asked for (RFC 6066 section 3).
    pub server_name: Option<&'a [u8]>,
    /// The first protocol of ALPN (RFC 7301).
    pub protocol: Option<&'a [u8]>,
}

/// What bytes hold.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A whole hello.
    Hello(Hello<'a>),
    /// What may become one.
    Part,
    /// Something else.
    Other,
}

/// Looks for a hello in one record at the start of `bytes`.
pub fn look(bytes: &[u8]) -> Seen<'_> {
    // A handshake record (22) of version 3.x that begins with a client hello (1).
    let pattern = [Some(22), Some(3), None, None, None, Some(1)];
    let fits = |(b, p): (&u8, &Option<u8>)| p.is_none_or(|p| p == *b);
    if !bytes.iter().zip(&pattern).all(fits) {
        return Seen::Other;
    }
    let Some(([_, _, _, high, low], rest)) = bytes.split_first_chunk() else {
        return Seen::Part;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    match rest.get(..length) {
        None => Seen::Part,
        Some(record) => parse(record).map_or(Seen::Other, Seen::Hello),
    }
}

fn parse(record: &[u8]) -> Option<Hello<'_>> {
    // Type, length of 24 bits, version, random; then session, ciphers and compressions, each behind
    // its length.
    let mut rest = record.get(4 + 2 + 32..)?;
    rest = counted(rest, 1)?.1;
    rest = counted(rest, 2)?.1;
    rest = counted(rest, 1)?.1;
    let mut hello = Hello {
        server_name: None,
        protocol: None,
    };
    if rest.is_empty() {
        return Some(hello);
    }
    let mut extensions = counted(rest, 2)?.0;
    while let Some((kind, after)) = extensions.split_first_chunk::<2>() {
        let (body, next) = counted(after, 2)?;
        match kind {
            // A list of names, of which a host name has the type 0.
            [0, 0] => {
                let list = counted(body, 2)?.0;
                if let Some((0, name)) = list.split_first() {
                    hello.server_name = Some(counted(name, 2)?.0);
                }
            }
            [0, 16] => hello.protocol = Some(counted(counted(body, 2)?.0, 1)?.0),
            _ => {}
        }
        extensions = next;
    }
    Some(hello)
}

/// The bytes behind a length of `size` bytes, and what follows.
fn counted(bytes: &[u8], size: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(size)?;
    let length = length.iter().fold(0, |n, b| (n << 8) | usize::from(*b));
    rest.split_at_checked(length)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A hello that asks for a name and a protocol.
    pub fn hello(name: &str, protocol: &str) -> Vec<u8> {
        let with = |size: usize, body: &[u8]| {
            let length = (body.len() as u32).to_be_bytes();
            [&length[4 - size..], body].concat()
        };
        let names = with(2, &with(2, &[&[0][..], &with(2, name.as_bytes())].concat()));
        let protocols = with(2, &with(2, &with(1, protocol.as_bytes())));
        let extensions = [&[0, 0][..], &names, &[0, 16], &protocols].concat();
        let body = [
            &[3, 3][..],
            &[7; 32],
            &with(1, &[]),
            &with(2, &[0x13, 1]),
            &with(1, &[0]),
            &with(2, &extensions),
        ]
        .concat();
        let handshake = [&[1][..], &with(3, &body)].concat();
        [&[22, 3, 1][..], &with(2, &handshake)].concat()
    }

    #[test]
    fn a_whole_hello_says_what_is_wanted_and_a_part_says_wait() {
        let bytes = hello("a.example", "h2");
        let whole = Hello {
            server_name: Some(b"a.example"),
            protocol: Some(b"h2"),
        };
        assert_eq!(look(&bytes), Seen::Hello(whole));
        for end in 0..bytes.len() {
            assert_eq!(look(&bytes[..end]), Seen::Part, "{end} bytes");
        }
    }

    #[test]
    fn damage_is_something_else_and_never_a_panic() {
        assert_eq!(look(b"GET / HTTP/1.1\r\n\r\n"), Seen::Other);
        let bytes = hello("a.example", "h2");
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                look(&damaged);
            }
        }
    }
}
