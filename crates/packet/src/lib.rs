//! The packet plane: what `mode packet` means, done in the kernel.
//!
//! A packet's way is in `bpf/`: parse, session, service, server, rewrite, out. User space loads the
//! programs, fills their tables from the same live objects that the proxy works with, keeps the ways
//! to servers, and removes sessions that are over. Nothing here touches a packet.

pub mod abi;
mod askers;
mod attach;
mod capabilities;
mod copies;
mod device;
pub mod doctor;
pub mod guard;
mod hops;
pub mod kernel;
mod netlink;
mod origins;
mod pins;
mod plan;
mod plane;
mod probe;
pub mod realserver;
mod ring;
mod sessions;
mod settings;
mod table;
mod thread;
mod tunnels;
mod ways;

/// Entries of the table that this many sessions take: where answers come back, each has a direction of its own.
pub fn entries(sessions: u32) -> u32 {
    sessions.saturating_mul(2)
}

pub use copies::{Change, Copies, FORM, Look};
pub use kernel::{Error, Sizes};
pub use plane::{Plane, detach, is_wanted};
pub use thread::Runner;
