//! What is kept alike with other machines, as the failover service works with it.

use failover::Replica;
use failover::sync::{Copy, Table};
use packet::{Copies, Look};

/// The sessions of the packet plane.
pub struct Sessions {
    copies: Copies,
    /// Whom the next entries are from.
    peer: usize,
}

impl Sessions {
    /// For the service.
    pub fn new(copies: Copies) -> Sessions {
        Sessions { copies, peer: 0 }
    }
}

impl Table for Sessions {
    fn kind(&self) -> u16 {
        1
    }

    fn layout(&self) -> u16 {
        packet::abi::ABI as u16
    }

    fn walk(
        &mut self,
        at: Option<&[u8]>,
        most: usize,
        entry: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Option<Vec<u8>> {
        self.copies.walk(at, most, entry)
    }
}

impl Copy for Sessions {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.copies.put(self.peer, key, value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.copies.remove(key);
    }

    fn begin(&mut self) {
        self.copies.begin(self.peer);
    }

    fn complete(&mut self) {
        self.copies.complete(self.peer);
    }

    fn settle(&mut self) {
        self.copies.settle();
    }
}

impl Replica for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn changes(&mut self, change: &mut dyn FnMut(&[u8], Option<&[u8]>)) -> bool {
        self.copies.look(change) == Look::All
    }

    fn hear(&mut self, peer: usize) {
        self.peer = peer;
    }

    fn standing(&mut self, whole: bool) {
        self.copies.standing(self.peer, whole);
    }

    fn wants_all(&mut self) -> bool {
        self.copies.knows_more()
    }

    fn refused(&self) -> u64 {
        self.copies.refused
    }
}
