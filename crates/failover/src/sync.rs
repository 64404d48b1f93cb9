//! Synchronising a table with the backup: a snapshot, then changes in batches, acknowledged and
//! resumed after a loss of the connection. Pure: bytes in, bytes out, time as an argument.
//!
//! [`Sender`] stands on the active router, [`Receiver`] on the backup, one pair for each table. A
//! table is anything that can walk its entries and say what changed ([`Table`]): the flow table of
//! the packet plane, stick tables.
//!
//! The sender numbers changes. What was not acknowledged yet stands in a window of bounded size, in
//! the batches in which it is sent. When the window would grow over its bound, or the receiver
//! resumes at a number that is gone, the table is sent anew: memory never grows with what the other
//! side does not take. See [`frame`] for the bytes.

pub mod frame;
mod link;
mod receiver;
mod sender;
mod thread;

pub use receiver::{Received, Receiver};
pub use sender::Sender;
pub use thread::Synchroniser;

use std::time::Duration;

/// What is kept alike on both sides. Keys and values are opaque bytes that both sides read alike;
/// `KIND` and `LAYOUT` say which table they are of, and how they are laid out.
pub trait Table {
    /// Which table it is.
    fn kind(&self) -> u16;

    /// The version of its layout: another one is refused, said, and not guessed at.
    fn layout(&self) -> u16;

    /// Hands over about `most` entries from a position of the table's own on (from the beginning
    /// without one), and says where to go on; nothing at the end. Entries that come and go
    /// meanwhile may be left out: their changes are sent after the snapshot.
    fn walk(
        &mut self,
        at: Option<&[u8]>,
        most: usize,
        entry: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Option<Vec<u8>>;
}

/// What the receiver keeps alike.
pub trait Copy {
    /// An entry is new, or has another value.
    fn put(&mut self, key: &[u8], value: &[u8]);

    /// An entry is no more.
    fn remove(&mut self, key: &[u8]);

    /// A snapshot begins: entries that it does not name are stale when it is over.
    fn begin(&mut self);

    /// The snapshot is over: entries that were not put since [`Copy::begin`] go.
    fn complete(&mut self);

    /// What was put and removed so far takes effect, at the latest.
    fn settle(&mut self) {}
}

/// Takes an entry's key and its value; without a value it is no more.
pub type Change<'a> = dyn FnMut(&[u8], Option<&[u8]>) + 'a;

/// A table of this machine as the thread that synchronises works with it. Peers are numbered.
pub trait Replica: Table + Copy + Send {
    /// Its name in `show vrrp`.
    fn name(&self) -> &'static str;

    /// Hands over what changed since the last call. False: some of it was lost, or the table is
    /// another one now, and is to be sent anew.
    fn changes(&mut self, change: &mut Change<'_>) -> bool;

    /// What comes next is from this peer.
    fn hear(&mut self, peer: usize);

    /// The copy of what this peer has is up to date from now on, or no longer.
    fn standing(&mut self, whole: bool);

    /// Whether what was refused would be taken now: the peers' tables are asked for again.
    fn wants_all(&mut self) -> bool {
        false
    }

    /// Entries that could not be taken over.
    fn refused(&self) -> u64;
}

/// Bounds of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of changes that were not acknowledged, at most.
    pub window: usize,
    /// Entries of a snapshot in one go, about.
    pub batch: usize,
    /// How long a change waits for others to share its frame.
    pub linger: Duration,
    /// Silence after which the connection counts as lost; a third of it is between two signs of
    /// life.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            window: 32 << 20,
            batch: 512,
            linger: Duration::from_millis(20),
            patience: Duration::from_secs(3),
        }
    }
}

/// Why a conversation ends. The next one resumes, or begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The other side speaks another version of the protocol.
    Version(u8),
    /// It has another table, or one of another layout.
    Table(u16, u16),
    /// A frame is not sealed with our key.
    Key,
    /// What came is no frame, or one that does not belong here.
    Frame,
    /// Nothing came for too long.
    Silent,
}

impl Broken {
    /// In words, with the remedy.
    pub fn words(self) -> String {
        match self {
            Broken::Version(v) => {
                format!("the peer speaks version {v} of the protocol: run the same release on both")
            }
            Broken::Table(kind, layout) => format!(
                "the peer's table is of kind {kind}, layout {layout}: run the same release on both"
            ),
            Broken::Key => {
                "what the peer sends is not sealed with our key: give both the same 'peer-key'"
                    .into()
            }
            Broken::Frame => "what the peer sends is no frame of this protocol".into(),
            Broken::Silent => "the peer is silent".into(),
        }
    }
}

#[cfg(test)]
mod tests;
