//! The content of a message, from `DATA` to its end (RFC 5321 sections 2.3.8 and 4.1.1.4).
//!
//! Servers differ in what they take for the end of a message when a `<CR>` or a `<LF>` stands
//! alone, or when a NUL, which no text has (RFC 2045 section 2.8), stands beside a dot and is passed
//! over. Who gets such bytes past one of them smuggles messages to the next, so here they either
//! end the conversation or are made into what every server reads in the same way.

/// What feeding bytes came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The message goes on.
    Open,
    /// It ended with the byte before this index.
    At(usize),
    /// A `<CR>` or `<LF>` stands alone, or there is a NUL, and that is refused.
    Bare,
}

/// Where in a line the last byte was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a line; whether `<CR><LF>` stands before it.
    Start(bool),
    /// A dot stands at the start of such a line.
    Dot(bool),
    /// And `<CR>` behind that.
    DotCr(bool),
    Inside,
    /// A `<CR>` came.
    Cr,
    Ended,
}

/// Follows the content of one message.
#[derive(Clone, Debug)]
pub struct Content {
    state: State,
    lenient: bool,
    length: u64,
}

impl Content {
    /// Nothing has come yet. With `lenient` a `<LF>` alone becomes `<CR><LF>`, a `<CR>` alone and a NUL
    /// a blank; still only `<CR><LF>.<CR><LF>` ends the message, and what a server might take for
    /// that afterwards gets another dot.
    pub fn new(lenient: bool) -> Content {
        Content {
            state: State::Start(true),
            lenient,
            length: 0,
        }
    }

    /// How long the message is so far, as `SIZE` counts: without its end, and without the dots that keep
    /// its lines from being that (RFC 1870 section 3), bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Takes bytes from the client, and appends those for the server, the end included. What must
    /// still be decided is kept back until the bytes after it have come.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Ending {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if matches!(self.state, State::Inside) {
                // The long way goes at once.
                let rest = bytes.get(at..).unwrap_or_default();
                let plain = rest.iter().position(|b| matches!(b, b'\r' | b'\n' | 0));
                let plain = plain.unwrap_or(rest.len());
                if plain > 0 {
                    out.extend_from_slice(rest.get(..plain).unwrap_or_default());
                    self.length += plain as u64;
                    at += plain;
                    continue;
                }
            }
            let held = matches!(self.state, State::Dot(_) | State::DotCr(_));
            let before = out.len();
            if !self.step(*byte, out) {
                return Ending::Bare;
            }
            at += 1;
            if self.state == State::Ended {
                return Ending::At(at);
            }
            // Of what a line begins with that was held back, the dot goes no further than the server.
            let grown = out.len() - before;
            self.length += grown.saturating_sub(usize::from(held)) as u64;
        }
        Ending::Open
    }

    /// One byte; false: it stands where it must not.
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) -> bool {
        let lenient = self.lenient;
        let byte = match byte {
            0 if lenient => b' ',
            0 => return false,
            other => other,
        };
        self.state = match (self.state, byte) {
            (State::Ended, _) => State::Ended,
            (State::Start(proper), b'.') => State::Dot(proper),
            (State::Start(_) | State::Inside, b'\r') => State::Cr,
            (State::Start(_) | State::Inside, b'\n') if lenient => {
                out.extend_from_slice(b"\r\n");
                State::Start(false)
            }
            (State::Dot(proper), b'\r') => State::DotCr(proper),
            (State::DotCr(true), b'\n') => {
                out.extend_from_slice(b".\r\n");
                State::Ended
            }
            // A line with nothing but a dot that is no end: to the server it must not be one.
            (State::DotCr(false), b'\n') if lenient => {
                out.extend_from_slice(b"..\r\n");
                State::Start(true)
            }
            (State::Dot(_), b'\n') if lenient => {
                out.extend_from_slice(b"..\r\n");
                State::Start(false)
            }
            (State::Dot(_), other) if other != b'\n' => {
                out.extend_from_slice(&[b'.', other]);
                State::Inside
            }
            (State::DotCr(_), other) if lenient => {
                out.extend_from_slice(b". ");
                return self.again(other, out);
            }
            (State::Cr, b'\n') => {
                out.extend_from_slice(b"\r\n");
                State::Start(true)
            }
            (State::Cr, other) if lenient => {
                out.push(b' ');
                return self.again(other, out);
            }
            (State::Start(_) | State::Inside, other) if other != b'\n' => {
                out.push(other);
                State::Inside
            }
            _ => return false,
        };
        true
    }

    /// A byte behind a `<CR>` that has become a blank.
    fn again(&mut self, byte: u8, out: &mut Vec<u8>) -> bool {
        self.state = State::Inside;
        self.step(byte, out)
    }
}
