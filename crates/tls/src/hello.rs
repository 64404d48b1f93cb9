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
    /// All it lists, where that is to be kept.
    pub offers: Option<Box<Offers>>,
}

/// What a ClientHello lists, as it lists it: numbers of two bytes, big-endian, where nothing else
/// is said (RFC 8446 section 4.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// The version that the message itself names; since TLS 1.3 it says 1.2 (0x0303).
    pub version: u16,
    /// Cipher suites.
    pub ciphers: Vec<u8>,
    /// The kinds of extensions, in their order.
    pub extensions: Vec<u8>,
    /// `supported_groups`; nothing without that extension.
    pub groups: Option<Vec<u8>>,
    /// `ec_point_formats`, one byte each.
    pub point_formats: Vec<u8>,
    /// `signature_algorithms`.
    pub signature_algorithms: Vec<u8>,
    /// `supported_versions`.
    pub versions: Vec<u8>,
    /// The groups of `key_share`.
    pub key_share_groups: Vec<u8>,
    /// The length of the session ticket (RFC 5077), if there is that extension.
    pub ticket: Option<usize>,
}

impl Offers {
    /// Cut to so many bytes, in the order of `tune.ssl.capture-buffer-size`: ciphers, extensions,
    /// groups, point formats, and what else there is.
    pub fn within(mut self, mut budget: usize) -> Offers {
        let groups = self.groups.as_mut();
        let lists = [&mut self.ciphers, &mut self.extensions];
        let rest = [
            &mut self.point_formats,
            &mut self.signature_algorithms,
            &mut self.versions,
            &mut self.key_share_groups,
        ];
        for list in lists.into_iter().chain(groups).chain(rest) {
            list.truncate(budget);
            budget -= list.len();
        }
        self
    }
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

/// The handshake message that a connection begins with.
enum First {
    NeedMore,
    Whole(Vec<u8>),
    NotTls,
}

/// Looks at the first bytes of a connection.
pub fn peek(bytes: &[u8]) -> Peek {
    match first(bytes) {
        First::NeedMore => Peek::NeedMore,
        First::Whole(content) => client_hello(&content).map_or(Peek::NotTls, Peek::Hello),
        First::NotTls => Peek::NotTls,
    }
}

/// All lists of the whole ClientHello that these bytes begin with.
pub fn offers(bytes: &[u8]) -> Option<Offers> {
    match first(bytes) {
        First::Whole(content) => read_offers(&content),
        First::NeedMore | First::NotTls => None,
    }
}

/// Puts the content of the first message together from the records it comes in.
fn first(bytes: &[u8]) -> First {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        let Some((header, body)) = rest.split_first_chunk::<5>() else {
            return if rest.first().is_some_and(|b| *b != HANDSHAKE) {
                First::NotTls
            } else {
                First::NeedMore
            };
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != HANDSHAKE || header[1] != 3 || length == 0 || length > (1 << 14) + 256 {
            return First::NotTls;
        }
        message.extend_from_slice(body.get(..length).unwrap_or(body));
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return First::NotTls;
        }
        if let Some((&[_, a, b, c], content)) = message.split_first_chunk::<4>() {
            let wanted = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if wanted > LARGEST {
                return First::NotTls;
            }
            if content.len() >= wanted {
                message.truncate(wanted + 4);
                message.drain(..4);
                return First::Whole(message);
            }
        }
        match body.get(length..) {
            Some(next) => rest = next,
            None => return First::NeedMore,
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

fn read_offers(content: &[u8]) -> Option<Offers> {
    let mut reader = Reader(content);
    let mut offers = Offers {
        version: reader.u16()?,
        ..Offers::default()
    };
    reader.take(32)?; // random
    reader.vec8()?; // session
    offers.ciphers = reader.vec16()?.to_vec();
    reader.vec8()?; // compression
    if reader.0.is_empty() {
        return Some(offers);
    }
    let mut extensions = Reader(reader.vec16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        offers.extensions.extend(kind.to_be_bytes());
        let body = extensions.vec16()?;
        let mut data = Reader(body);
        match kind {
            10 => offers.groups = Some(data.vec16()?.to_vec()),
            11 => offers.point_formats = data.vec8()?.to_vec(),
            13 => offers.signature_algorithms = data.vec16()?.to_vec(),
            35 => offers.ticket = Some(body.len()),
            43 => offers.versions = data.vec8()?.to_vec(),
            51 => {
                let mut shares = Reader(data.vec16()?);
                while !shares.0.is_empty() {
                    offers.key_share_groups.extend(shares.take(2)?);
                    shares.vec16()?;
                }
            }
            _ => {}
        }
    }
    Some(offers)
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
