//! The packet plane: what `mode packet` means, done in the kernel.
//!
//! A packet's way is in `bpf/`: parse, session, service, server, rewrite, out. User space loads the
//! programs, fills their tables from the same live objects that the proxy works with, keeps the ways
//! to servers, and removes sessions that are over. Nothing here touches a packet.

pub mod abi;
pub mod kernel;
