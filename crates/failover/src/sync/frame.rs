//! The bytes between sender and receiver.
//!
//! A frame is its length (4 bytes, of what follows), a counter (8 bytes, from 0 in each direction
//! of a conversation), its kind, its content, and a seal of 32 bytes: HMAC-SHA-256 (RFC 2104) over
//! direction, both sides' nonces, counter, kind and content. With the nonces in it no frame of
//! another conversation passes, with the counter none twice or out of order. The first frame of
//! each side, `Hello`, carries its nonce; the side that answers seals its own with both.

use super::Broken;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The version of the protocol.
pub const VERSION: u8 = 2;

/// The longest frame, so that no length makes anybody wait for, or hold, more.
pub const LONGEST: usize = 1 << 20;

const SEAL: usize = 32;
const HEAD: usize = 4 + 8 + 1;

/// Entries of a table one after another as they are sent, so that a hundred thousand of them in a
/// second cost little more than their copying.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    count: u64,
}

impl Batch {
    /// Appends an entry; without a value it is no more. Each is the key's length, doubled, and one
    /// more when no value follows; the key; the value's length and the value.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let gone = u64::from(value.is_none());
        put_number(&mut self.bytes, (key.len() as u64) << 1 | gone);
        self.bytes.extend_from_slice(key);
        if let Some(value) = value {
            put_number(&mut self.bytes, value.len() as u64);
            self.bytes.extend_from_slice(value);
        }
        self.count += 1;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes that they take.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whole entries, or nothing.
    fn read(bytes: &[u8]) -> Option<Batch> {
        let mut rest = bytes;
        let mut count = 0;
        while !rest.is_empty() {
            take_entry(&mut rest)?;
            count += 1;
        }
        Some(Batch {
            bytes: bytes.to_vec(),
            count,
        })
    }

    /// All of them in their order.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || take_entry(&mut rest))
    }
}

fn take_entry<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let length = take_number(bytes)?;
    let key = take(bytes, usize::try_from(length >> 1).ok()?)?;
    if length & 1 != 0 {
        return Some((key, None));
    }
    let length = take_number(bytes)?;
    Some((key, Some(take(bytes, usize::try_from(length).ok()?)?)))
}

/// A number in sevens of bits, the low ones first; all bytes but the last have their highest bit set.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    // No length needs more than 35 bits.
    for shift in [0, 7, 14, 21, 28] {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// First, from both sides.
    Hello {
        /// Version of the protocol.
        version: u8,
        /// The table's kind and layout.
        table: (u16, u16),
        /// Random bytes of this conversation.
        nonce: [u8; 16],
        /// Sender: the life of its table, a random number made when it started. Receiver: the life
        /// of which it has a copy, 0 for none.
        life: u64,
        /// Receiver: the last change that it has; it wants to go on after it.
        last: u64,
    },
    /// A snapshot begins; its changes count from `number` on.
    Begin {
        /// The number of the last change before the snapshot began.
        number: u64,
    },
    /// Entries of a snapshot.
    Entries(Batch),
    /// The snapshot is over.
    Complete,
    /// Changes after the snapshot or the resumption, in order.
    Changes {
        /// The number of the first one; the others follow it.
        first: u64,
        /// The changes.
        batch: Batch,
    },
    /// From the receiver: everything up to this change is in its copy.
    Ack(u64),
    /// Nothing to say, but alive.
    Alive,
}

/// The table that a conversation is about, as its first bytes say, before anybody has looked at
/// their seal; none while they have not come.
pub fn table_of(bytes: &[u8]) -> Option<u16> {
    const AT: usize = HEAD + 1;
    let kind = bytes.get(AT..AT + 2)?;
    kind.try_into().ok().map(u16::from_be_bytes)
}

/// Seals and opens the frames of one conversation.
#[derive(Clone, Debug)]
pub struct Channel {
    key: Vec<u8>,
    /// Whether this side began the conversation.
    first: bool,
    nonces: ([u8; 16], [u8; 16]),
    sent: u64,
    heard: u64,
    /// What has come, and how much of it has been read.
    input: Vec<u8>,
    read: usize,
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(taken)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    take(bytes, N)?.try_into().ok()
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take_array(bytes).map(u64::from_be_bytes)
}

fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    take_array(bytes).map(u16::from_be_bytes)
}

impl Frame {
    fn kind(&self) -> u8 {
        match self {
            Frame::Hello { .. } => 1,
            Frame::Begin { .. } => 2,
            Frame::Entries(_) => 3,
            Frame::Complete => 4,
            Frame::Changes { .. } => 5,
            Frame::Ack(_) => 6,
            Frame::Alive => 7,
        }
    }

    fn content(&self, out: &mut Vec<u8>) {
        match self {
            Frame::Hello {
                version,
                table,
                nonce,
                life,
                last,
            } => {
                out.push(*version);
                out.extend(table.0.to_be_bytes());
                out.extend(table.1.to_be_bytes());
                out.extend(nonce);
                out.extend(life.to_be_bytes());
                out.extend(last.to_be_bytes());
            }
            Frame::Begin { number } | Frame::Ack(number) => out.extend(number.to_be_bytes()),
            Frame::Entries(batch) => out.extend(&batch.bytes),
            Frame::Changes { first, batch } => {
                out.extend(first.to_be_bytes());
                out.extend(&batch.bytes);
            }
            Frame::Complete | Frame::Alive => {}
        }
    }

    fn read(kind: u8, mut bytes: &[u8]) -> Option<Frame> {
        let b = &mut bytes;
        let frame = match kind {
            1 => {
                let [version] = take_array(b)?;
                Frame::Hello {
                    version,
                    table: (take_u16(b)?, take_u16(b)?),
                    nonce: take_array(b)?,
                    life: take_u64(b)?,
                    last: take_u64(b)?,
                }
            }
            2 => Frame::Begin {
                number: take_u64(b)?,
            },
            3 => Frame::Entries(Batch::read(take(b, b.len())?)?),
            4 => Frame::Complete,
            5 => Frame::Changes {
                first: take_u64(b)?,
                batch: Batch::read(take(b, b.len())?)?,
            },
            6 => Frame::Ack(take_u64(b)?),
            7 => Frame::Alive,
            _ => return None,
        };
        b.is_empty().then_some(frame)
    }
}

impl Channel {
    /// A conversation that this side begins, or answers. `nonce` is random and never used again.
    pub fn new(key: &[u8], first: bool, nonce: [u8; 16]) -> Channel {
        Channel {
            key: key.to_vec(),
            first,
            nonces: (nonce, [0; 16]),
            sent: 0,
            heard: 0,
            input: Vec::new(),
            read: 0,
        }
    }

    /// Our nonce.
    pub fn nonce(&self) -> [u8; 16] {
        self.nonces.0
    }

    fn seal(&self, from_first: bool, counter: u64, said: &[u8]) -> [u8; SEAL] {
        let (ours, theirs) = self.nonces;
        let (first, second) = if self.first {
            (ours, theirs)
        } else {
            (theirs, ours)
        };
        // The very first frame is sealed before the other side's nonce is known.
        let second = if from_first && counter == 0 {
            [0; 16]
        } else {
            second
        };
        let mut seal = [0; SEAL];
        // A key of any length is one (RFC 2104 section 2).
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) {
            mac.update(&[u8::from(from_first)]);
            mac.update(&first);
            mac.update(&second);
            mac.update(said);
            seal = mac.finalize().into_bytes().into();
        }
        seal
    }

    /// Appends a frame to what is to be sent.
    pub fn write(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; 4]);
        out.extend(self.sent.to_be_bytes());
        out.push(frame.kind());
        frame.content(out);
        let seal = self.seal(
            self.first,
            self.sent,
            out.get(start + 4..).unwrap_or_default(),
        );
        out.extend(seal);
        let length = (out.len() - start - 4) as u32;
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        self.sent += 1;
    }

    /// Takes bytes as they come, in any pieces.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.drain(..self.read);
        self.read = 0;
        self.input.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    pub fn read(&mut self) -> Result<Option<Frame>, Broken> {
        let input = self.input.get(self.read..).unwrap_or_default();
        let Some((length, rest)) = input.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if !(HEAD - 4 + SEAL..=LONGEST).contains(&length) {
            return Err(Broken::Frame);
        }
        let Some(whole) = rest.get(..length) else {
            return Ok(None);
        };
        let (said, sealed) = whole.split_at_checked(length - SEAL).ok_or(Broken::Frame)?;
        let (counter, rest) = said.split_first_chunk::<8>().ok_or(Broken::Frame)?;
        let (kind, content) = rest.split_first().ok_or(Broken::Frame)?;
        if u64::from_be_bytes(*counter) != self.heard {
            return Err(Broken::Frame);
        }
        let frame = Frame::read(*kind, content);
        if self.heard == 0
            && let Some(Frame::Hello { nonce, version, .. }) = &frame
        {
            if *version != VERSION {
                return Err(Broken::Version(*version));
            }
            self.nonces.1 = *nonce;
        }
        let right = self.seal(!self.first, self.heard, said);
        let differing = right.iter().zip(sealed).fold(0, |d, (a, b)| d | (a ^ b));
        if differing != 0 {
            return Err(Broken::Key);
        }
        self.heard += 1;
        let frame = frame.ok_or(Broken::Frame)?;
        self.read += 4 + length;
        Ok(Some(frame))
    }
}
