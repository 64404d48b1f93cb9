//! The packet plane: what `mode packet` means, done in the kernel.
//!
//! A packet's way is in `bpf/`: parse, session, service, server, rewrite, out. User space loads the
//! programs, fills their tables from the same live objects that the proxy works with, keeps the ways
//! to servers, and removes sessions that are over. Nothing here touches a packet.

pub mod abi;
mod attach;
mod copies;
mod device;
pub mod guard;
mod hops;
pub mod kernel;
mod netlink;
mod pins;
mod plan;
mod plane;
pub mod realserver;
mod ring;
mod sessions;
mod table;
mod thread;
mod ways;

pub use copies::{Change, Copies, Look};
pub use kernel::{Error, Sizes};
pub use plane::{Plane, detach, is_wanted};
pub use thread::Runner;
