//! Synchronising a table with the backup: a snapshot, then changes in batches, acknowledged and
//! resumed after a loss of the connection. Pure: bytes in, bytes out, time as an argument.
//!
//! [`Sender`] stands on the active router, [`Receiver`] on the backup, one pair for each table. A
//! table is anything that can walk its entries and say what changed ([`Table`]): the flow table of
//! the packet plane, stick tables.
//!
//! The sender numbers changes. What was not acknowledged yet stands in a window of bounded size; an
//! entry that changes again replaces its change that waits. When the window would grow over its
//! bound, or the receiver resumes at a number that is gone, the table is sent anew: memory never
//! grows with what the other side does not take. See [`frame`] for the bytes.

pub mod frame;
mod receiver;
mod sender;

pub use receiver::{Received, Receiver};
pub use sender::Sender;

use std::time::Duration;

/// What is kept alike on both sides. Keys and values are opaque bytes that both sides read alike;
/// `KIND` and `LAYOUT` say which table they are of, and how they are laid out.
pub trait Table {
    /// Which table it is.
    fn kind(&self) -> u16;

    /// The version of its layout: another one is refused, said, and not guessed at.
    fn layout(&self) -> u16;

    /// At most `most` entries that come after the key `after` in an order of the table's own (from
    /// the first one without it). Entries that come and go meanwhile may be left out: their
    /// changes are sent after the snapshot.
    fn walk(&self, after: Option<&[u8]>, most: usize) -> Vec<(Vec<u8>, Vec<u8>)>;
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
}

/// Bounds of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of changes that were not acknowledged, at most.
    pub window: usize,
    /// Changes in one frame, at most.
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
