//! SMTP between a client and a server (RFC 5321): commands, replies, the content of a message.
//!
//! Nothing here has I/O. What is read is what a client may say to a proxy that must not be talked
//! into anything: a command is taken apart and written anew, so that only what was understood
//! reaches a server; a reply is read to its last line before any of it is believed; and a message
//! ends at one sequence of bytes only, `<CR><LF>.<CR><LF>`.

mod command;
mod content;
mod path;
mod reply;
#[cfg(test)]
mod tests;

pub use command::{Command, Extension, Fault, Parameters, is_response};
pub use content::{Content, Ending};
pub use path::Path;
pub use reply::{Capabilities, Heard, Reply, hear};

/// The longest command line that is read, `<CR><LF>` included, bytes. RFC 5321 section 4.5.3.1.4
/// asks for 512 and has extensions add to that.
pub const LONGEST_COMMAND: usize = 2048;

/// The same where `AUTH` is offered: RFC 4954 section 4 wants its lines to have so many bytes.
pub const LONGEST_RESPONSE: usize = 12_288;

/// What a client's bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line of so many bytes, without its end, which takes `end` more.
    Whole {
        /// Bytes before the line's end.
        length: usize,
        /// Bytes of the line's end.
        end: usize,
    },
    /// The end has not come yet.
    More,
    /// There is no end where there must be one by now.
    TooLong,
    /// A `<LF>` stands without its `<CR>`, or the other way round, or there is a NUL.
    Malformed,
}

/// Finds the first line, of `longest` bytes at most. With `bare` a `<LF>` alone ends one, too.
pub fn line(bytes: &[u8], bare: bool, longest: usize) -> Line {
    let searched = bytes.get(..longest).unwrap_or(bytes);
    let Some(at) = searched.iter().position(|b| *b == b'\n') else {
        return match bytes.len() < longest {
            true => Line::More,
            false => Line::TooLong,
        };
    };
    let before = searched.get(..at).unwrap_or_default();
    let (text, end) = match before.strip_suffix(b"\r") {
        Some(text) => (text, 2),
        None if bare => (before, 1),
        None => return Line::Malformed,
    };
    match text.iter().any(|b| matches!(b, b'\r' | 0)) {
        true => Line::Malformed,
        false => Line::Whole {
            length: text.len(),
            end,
        },
    }
}
