//! Formats of bytes between machines, read and written without I/O.

pub mod agent;
pub mod probe;
pub mod proxy;
