//! What the first message of a TLS client says, read before the handshake: the certificate and
//! the settings depend on it.

/// What a ClientHello asks for (RFC 8446 section 4.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The server's name (RFC 6066 section 3), in lower case.
    pub sni: Option<String>,
    /// Protocols offered (RFC 7301), in the client's order.
    pub alpn: Vec<Vec<u8>>,
    /// The newest version offered, as on the wire: 0x0304 is TLS 1.3.
    pub version: u16,
}

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peek {
    /// More bytes are needed.
    NeedMore,
    /// A whole ClientHello.
    Hello(Hello),
    /// No TLS client sends this.
    NotTls,
}

/// The largest ClientHello that is put together, bytes.
const LARGEST: usize = 64 * 1024;

/// Looks at the first bytes of a connection.
pub fn peek(bytes: &[u8]) -> Peek {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        let Some((header, body)) = rest.split_first_chunk::<5>() else {
            return if rest.first().is_some_and(|b| *b != HANDSHAKE) {
                Peek::NotTls
            } else {
                Peek::NeedMore
            };
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != HANDSHAKE || header[1] != 3 || length == 0 || length > (1 << 14) + 256 {
            return Peek::NotTls;
        }
        message.extend_from_slice(body.get(..length).unwrap_or(body));
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Peek::NotTls;
        }
        if let Some((&[_, a, b, c], content)) = message.split_first_chunk::<4>() {
            let wanted = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if wanted > LARGEST {
                return Peek::NotTls;
            }
            if let Some(content) = content.get(..wanted) {
                return client_hello(content).map_or(Peek::NotTls, Peek::Hello);
            }
        }
        match body.get(length..) {
            Some(next) => rest = next,
            None => return Peek::NeedMore,
        }
    }
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

fn client_hello(content: &[u8]) -> Option<Hello> {
    let mut reader = Reader(content);
    let mut hello = Hello {
        version: reader.u16()?,
        ..Hello::default()
    };
    reader.take(32)?; // random
    reader.vec8()?; // session
    reader.vec16()?; // cipher suites
    reader.vec8()?; // compression
    if reader.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Reader(reader.vec16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let mut data = Reader(extensions.vec16()?);
        match kind {
            0 => hello.sni = server_name(&mut data),
            16 => {
                let mut list = Reader(data.vec16()?);
                while !list.0.is_empty() {
                    hello.alpn.push(list.vec8()?.to_vec());
                }
            }
            43 => {
                let list = data.vec8()?;
                let offered = list
                    .chunks_exact(2)
                    .map(|v| u16::from_be_bytes([v[0], v[1]]));
                // Values like 0x?a?a are there to keep servers tolerant (RFC 8701).
                let real = offered.filter(|v| (0x0300..=0x03ff).contains(v));
                hello.version = real.max().unwrap_or(hello.version);
            }
            _ => {}
        }
    }
    Some(hello)
}

fn server_name(data: &mut Reader<'_>) -> Option<String> {
    let mut list = Reader(data.vec16()?);
    while !list.0.is_empty() {
        let kind = list.take(1)?;
        let name = list.vec16()?;
        if kind == [0] {
            return String::from_utf8(name.to_ascii_lowercase()).ok();
        }
    }
    None
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn vec8(&mut self) -> Option<&'a [u8]> {
        let n = self.take(1)?;
        self.take(n[0].into())
    }

    fn vec16(&mut self) -> Option<&'a [u8]> {
        let n = self.u16()?;
        self.take(n.into())
    }
}
