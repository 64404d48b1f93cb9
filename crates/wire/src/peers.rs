//! HAProxy's protocol between peers, version 2.1: entries of stick tables (doc/peers.txt and
//! doc/peers-v2.0.txt; what they leave out was read from what the running program sends).
//!
//! A conversation begins with lines of text, a hello and a status. Messages follow: a class, a type,
//! and from type 128 on a length with that many bytes.

mod hello;
mod table;

pub use hello::{Hello, HelloRead, Status, read_hello, read_status, write_hello};
pub use table::{Column, Definition, Entry, Key, Kind, Rate, Value, kind};

/// Bytes of one message at most; no peer sends as much.
pub const LONGEST: usize = 1 << 20;

const CONTROL: u8 = 0;
const ERROR: u8 = 1;
const UPDATES: u8 = 10;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'m> {
    /// Everything is asked for.
    ResyncRequest,
    /// Everything was sent by one who is up to date.
    ResyncFinished,
    /// Everything was sent by one who may lack something.
    ResyncPartial,
    /// Either of them has come.
    ResyncConfirm,
    /// The sender lives.
    Heartbeat,
    /// The other does not keep to the protocol.
    ProtocolError,
    /// A message was too long.
    SizeError,
    /// What the following updates are of.
    Definition(Definition),
    /// The table, defined before, that the following updates are of.
    Switch(u64),
    /// An entry.
    Update(Update<'m>),
    /// What was learnt of a table of ours.
    Ack {
        /// Our number of the table.
        table: u64,
        /// The last update.
        update: u32,
    },
    /// One that is not for us: newer versions may say more.
    Other,
}

/// An entry that changed; which fields it has says the definition before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'m> {
    /// Its number; `None`: that of the update before and 1.
    pub number: Option<u32>,
    /// Milliseconds until it expires; `None`: as long as entries of its table live.
    pub expire: Option<u32>,
    /// The key and the values, see [`Definition::read`].
    pub fields: &'m [u8],
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They have no sense.
    Malformed,
    /// The message would be too long.
    TooLong,
}

/// Appends a number in as few bytes as it needs.
pub fn put_number(out: &mut Vec<u8>, mut n: u64) {
    if n < 0xf0 {
        out.push(n as u8);
        return;
    }
    out.push(n as u8 | 0xf0);
    n = (n - 0xf0) >> 4;
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n = (n - 0x80) >> 7;
    }
    out.push(n as u8);
}

/// Takes a number from the front; `None` where it is not complete, or none of 64 bits.
pub fn number(from: &mut &[u8]) -> Option<u64> {
    let (first, mut rest) = from.split_first()?;
    let mut n = u64::from(*first);
    let mut more = n >= 0xf0;
    let mut shift = 4;
    while more {
        let (byte, after) = rest.split_first()?;
        let part = u64::from(*byte);
        if shift > 60 || part > u64::MAX >> shift {
            return None;
        }
        n = n.checked_add(part << shift)?;
        (more, shift, rest) = (*byte >= 0x80, shift + 7, after);
    }
    *from = rest;
    Some(n)
}

/// Takes so many bytes from the front.
fn bytes<'m>(from: &mut &'m [u8], len: u64) -> Option<&'m [u8]> {
    let (taken, rest) = from.split_at_checked(usize::try_from(len).ok()?)?;
    *from = rest;
    Some(taken)
}

/// Takes four bytes from the front, highest first.
fn word(from: &mut &[u8]) -> Option<u32> {
    let taken = bytes(from, 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(taken))
}

/// Reads the message at the front, and how many bytes it takes; `None` where more have to come.
pub fn read(input: &[u8]) -> Result<Option<(Message<'_>, usize)>, Fault> {
    let [class, kind, rest @ ..] = input else {
        return Ok(None);
    };
    if *kind < 128 {
        let message = match (*class, *kind) {
            (CONTROL, 0) => Message::ResyncRequest,
            (CONTROL, 1) => Message::ResyncFinished,
            (CONTROL, 2) => Message::ResyncPartial,
            (CONTROL, 3) => Message::ResyncConfirm,
            (CONTROL, 4) => Message::Heartbeat,
            (ERROR, 0) => Message::ProtocolError,
            (ERROR, 1) => Message::SizeError,
            (CONTROL | ERROR | UPDATES, _) => Message::Other,
            _ => return Err(Fault::Malformed),
        };
        return Ok(Some((message, 2)));
    }
    let mut body = rest;
    let Some(len) = number(&mut body) else {
        // A length takes ten bytes at most.
        return if rest.len() < 10 {
            Ok(None)
        } else {
            Err(Fault::Malformed)
        };
    };
    if len > LONGEST as u64 {
        return Err(Fault::TooLong);
    }
    let Some(message) = bytes(&mut body, len) else {
        return Ok(None);
    };
    let taken = input.len() - body.len();
    if *class != UPDATES {
        return Ok(Some((Message::Other, taken)));
    }
    let message = update(*kind, message).ok_or(Fault::Malformed)?;
    Ok(Some((message, taken)))
}

fn update(kind: u8, mut body: &[u8]) -> Option<Message<'_>> {
    let from = &mut body;
    Some(match kind {
        128 | 129 | 133 | 134 => {
            let own = matches!(kind, 128 | 133);
            let number = if own { Some(word(from)?) } else { None };
            let expire = if kind >= 133 { Some(word(from)?) } else { None };
            Message::Update(Update {
                number,
                expire,
                fields: body,
            })
        }
        130 => Message::Definition(Definition::parse(body)?),
        131 => Message::Switch(number(from)?),
        132 => Message::Ack {
            table: number(from)?,
            update: word(from)?,
        },
        _ => Message::Other,
    })
}

/// Appends a message; one that is not for us has no bytes.
pub fn write(message: &Message<'_>, out: &mut Vec<u8>) {
    let control = |out: &mut Vec<u8>, class, kind| out.extend([class, kind]);
    match message {
        Message::ResyncRequest => control(out, CONTROL, 0),
        Message::ResyncFinished => control(out, CONTROL, 1),
        Message::ResyncPartial => control(out, CONTROL, 2),
        Message::ResyncConfirm => control(out, CONTROL, 3),
        Message::Heartbeat => control(out, CONTROL, 4),
        Message::ProtocolError => control(out, ERROR, 0),
        Message::SizeError => control(out, ERROR, 1),
        Message::Definition(definition) => {
            let mut body = Vec::new();
            definition.write(&mut body);
            long(out, 130, &body);
        }
        Message::Switch(table) => {
            let mut body = Vec::new();
            put_number(&mut body, *table);
            long(out, 131, &body);
        }
        Message::Update(update) => {
            let kind = match (update.number, update.expire) {
                (Some(_), None) => 128,
                (None, None) => 129,
                (Some(_), Some(_)) => 133,
                (None, Some(_)) => 134,
            };
            let mut body = Vec::with_capacity(8 + update.fields.len());
            for word in [update.number, update.expire].into_iter().flatten() {
                body.extend(word.to_be_bytes());
            }
            body.extend(update.fields);
            long(out, kind, &body);
        }
        Message::Ack { table, update } => {
            let mut body = Vec::new();
            put_number(&mut body, *table);
            body.extend(update.to_be_bytes());
            long(out, 132, &body);
        }
        Message::Other => {}
    }
}

fn long(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.extend([UPDATES, kind]);
    put_number(out, body.len() as u64);
    out.extend(body);
}

#[cfg(test)]
mod tests;
