//! HTTP messages as data: heads, bodies' framing, the HTTP/1 codec.
//!
//! Owns the bytes of a message head and their meaning. Reads no socket and no clock, and never
//! panics on any bytes. Rules, logs and filters see a [`Head`] whatever version of HTTP it came by;
//! an unedited HTTP/1 head goes out as the bytes that came in.

pub mod chunk;
pub mod cookie;
pub mod framing;
pub mod h1;
mod head;
pub mod status;
mod syntax;
pub mod uri;

pub use head::{Head, Known, Version};
