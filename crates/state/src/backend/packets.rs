//! Schedulers that look at measurements, where programs in the kernel choose: they know turns, weights and
//! connections only, so that what is measured becomes shares, made anew as it changes.

use super::Backend;
use super::choose::PACES;
use crate::server::Server;
use model::{Balance, Mode};
use std::sync::Arc;

/// Bytes of some seconds, for one of a hundred of weight, that make no difference.
const NOISE: u64 = 1_000;

impl Backend {
    /// Whether packets are what is balanced.
    pub(super) fn is_for_packets(&self) -> bool {
        self.proxy().mode == Mode::Packet
    }

    /// Brings shares to what was measured, for the kinds of `balance` that have measurements.
    pub(super) fn follow_for_packets(&self, shares: &mut Vec<(u32, u32)>) {
        match self.side().balance {
            // Connections are compared by weight, so that each counts as long as an answer takes.
            Balance::ResponseTime => self.follow_checks(shares),
            Balance::Fastest => {
                let full: Vec<u32> = shares.iter().map(|(_, share)| *share).collect();
                self.follow_checks(shares);
                let full = full.into_iter().zip(shares.iter());
                let quick: Vec<bool> = full.map(|(full, (_, share))| *share == full).collect();
                let mut quick = quick.into_iter();
                shares.retain(|_| quick.next().unwrap_or(true));
            }
            Balance::Bandwidth => self.follow_bytes(shares),
            _ => {}
        }
    }

    /// Makes shares less for servers that have moved more bytes for their weight than the idlest one.
    fn follow_bytes(&self, shares: &mut [(u32, u32)]) {
        let moved = |(index, share): &(u32, u32)| {
            let server = self.servers.get(*index as usize);
            let bytes = server.map_or(0, |s| s.pace.bytes());
            bytes / u64::from(*share).max(1) + NOISE
        };
        let all: Vec<u64> = shares.iter().map(moved).collect();
        let Some(least) = all.iter().min().copied() else {
            return;
        };
        for ((_, share), bytes) in shares.iter_mut().zip(all) {
            let pace = (PACES.saturating_mul(least))
                .div_ceil(bytes.max(1))
                .clamp(1, PACES);
            *share = u32::try_from(u64::from(*share) * pace / PACES).map_or(1, |s| s.max(1));
        }
    }

    /// Takes note of the bytes that servers have moved since the last time, and makes shares anew where they
    /// follow from that. `now` is in milliseconds of the process.
    pub fn moved_packets(
        self: &Arc<Self>,
        bytes: impl IntoIterator<Item = (Arc<Server>, u64)>,
        now: u64,
    ) {
        for (server, bytes) in bytes {
            server.pace.moved(bytes, now);
        }
        self.refresh();
    }
}
