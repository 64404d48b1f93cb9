//! Formats of bytes between machines, read and written without I/O.

pub mod proxy;
pub mod rdp;
