//! The chunked coding (RFC 9112 section 7.1).
//!
//! A machine over bytes: any split of the input gives the same result. What is canonical is
//! forwarded as it is; chunk extensions are left out, because readers differ about them.

use crate::h1::{Error, ErrorKind};
use crate::syntax::{is_token, is_token_byte};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Size digits; whether one was seen.
    Size {
        any: bool,
    },
    /// White space after the size, then an extension or the line end.
    AfterSize,
    /// Inside an extension.
    Extension,
    /// After the CR of a size line.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    TrailerStart,
    TrailerName,
    TrailerValue,
    /// After the CR of a trailer line.
    TrailerLf,
    /// After the CR of the last, empty line.
    EndLf,
    Done,
}

/// Decodes one chunked body.
#[derive(Clone, Debug)]
pub struct Decoder {
    stage: Stage,
    /// Size being read, or payload bytes left of the current chunk.
    left: u64,
    /// Bytes of the extension or trailer section so far.
    spent: u32,
    /// The trailer line being read, of which the name is checked at its end.
    line: Vec<u8>,
    /// Trailers are left out of what is forwarded.
    without_trailers: bool,
}

/// What one call took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Bytes of input that belong to this body.
    pub consumed: usize,
    /// Those bytes may be forwarded as they are; otherwise what was appended to `cleaned` goes out.
    pub as_is: bool,
    /// The body is complete.
    pub done: bool,
}

/// Bytes of extensions in one size line, and of the whole trailer section, at most.
const EXTENSION_LIMIT: u32 = 4096;
const TRAILER_LIMIT: u32 = 8192;

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new()
    }
}

impl Decoder {
    /// At the start of a body.
    pub fn new() -> Decoder {
        Decoder {
            stage: Stage::Size { any: false },
            left: 0,
            spent: 0,
            line: Vec::new(),
            without_trailers: false,
        }
    }

    /// Leaves trailers out of what is forwarded; they are checked all the same.
    pub fn drop_trailers(&mut self) {
        self.without_trailers = true;
    }

    /// Payload bytes to come before the next size line; 0 between chunks.
    pub fn remaining(&self) -> u64 {
        if self.stage == Stage::Data {
            self.left
        } else {
            0
        }
    }

    /// `n` payload bytes were moved past this decoder; at most [`Decoder::remaining`].
    pub fn skip(&mut self, n: u64) {
        if self.stage == Stage::Data {
            self.left = self.left.saturating_sub(n);
            if self.left == 0 {
                self.stage = Stage::DataCr;
            }
        }
    }

    /// Takes what belongs to the body. `cleaned` must be empty; see [`Scan::as_is`].
    pub fn scan(&mut self, input: &[u8], cleaned: &mut Vec<u8>) -> Result<Scan, Error> {
        let mut as_is = true;
        // Bytes up to here are in `cleaned`, once the first had to be left out.
        let mut out = |from: usize, to: usize, keep: bool, as_is: &mut bool| {
            if !keep && *as_is {
                *as_is = false;
                cleaned.extend_from_slice(input.get(..from).unwrap_or_default());
            } else if keep && !*as_is {
                cleaned.extend_from_slice(input.get(from..to).unwrap_or_default());
            }
        };
        let dropped = self.without_trailers;
        let consumed = self.run(input, |from, to, kind| {
            let keep = match kind {
                Piece::Framing | Piece::Payload => true,
                Piece::Extension => false,
                Piece::Trailer => !dropped,
            };
            out(from, to, keep, &mut as_is);
        })?;
        Ok(Scan {
            consumed,
            as_is,
            done: self.stage == Stage::Done,
        })
    }

    /// As [`Decoder::scan`], but appends the payload alone to `payload`.
    pub fn payload(&mut self, input: &[u8], payload: &mut Vec<u8>) -> Result<Scan, Error> {
        let consumed = self.run(input, |from, to, kind| {
            if kind == Piece::Payload {
                payload.extend_from_slice(input.get(from..to).unwrap_or_default());
            }
        })?;
        Ok(Scan {
            consumed,
            as_is: false,
            done: self.stage == Stage::Done,
        })
    }

    fn run(
        &mut self,
        input: &[u8],
        mut piece: impl FnMut(usize, usize, Piece),
    ) -> Result<usize, Error> {
        let mut at = 0;
        while let Some(&b) = input.get(at) {
            if self.stage == Stage::Done {
                break;
            }
            if self.stage == Stage::Data {
                let here = (input.len() - at) as u64;
                let n = self.left.min(here) as usize;
                piece(at, at + n, Piece::Payload);
                self.skip(n as u64);
                at += n;
                continue;
            }
            let kind = self.step(b, at)?;
            piece(at, at + 1, kind);
            at += 1;
        }
        Ok(at)
    }

    /// One byte outside the payload.
    fn step(&mut self, b: u8, at: usize) -> Result<Piece, Error> {
        let bad = |kind| Err(Error::new(kind, at));
        let (stage, kind) = match (self.stage, b) {
            (Stage::Size { .. }, b) if b.is_ascii_hexdigit() => {
                let digit = u64::from(crate::uri::hex(b).unwrap_or(0));
                match self.left.checked_mul(16).and_then(|n| n.checked_add(digit)) {
                    // The largest size leaves room for arithmetic on positions.
                    Some(n) if n <= i64::MAX as u64 && self.spent < 16 => self.left = n,
                    _ => return bad(ErrorKind::ChunkTooLong),
                }
                self.spent += 1;
                (Stage::Size { any: true }, Piece::Framing)
            }
            (Stage::Size { any: true }, b'\r') => (Stage::SizeLf, Piece::Framing),
            (Stage::Size { any: true } | Stage::AfterSize, b' ' | b'\t') => {
                self.spent += 1;
                if self.spent > EXTENSION_LIMIT {
                    return bad(ErrorKind::ChunkTooLong);
                }
                (Stage::AfterSize, Piece::Extension)
            }
            (Stage::Size { any: true } | Stage::AfterSize, b';') => {
                (Stage::Extension, Piece::Extension)
            }
            (Stage::AfterSize, b'\r') => (Stage::SizeLf, Piece::Framing),
            (Stage::Extension, b'\r') => (Stage::SizeLf, Piece::Framing),
            (Stage::Extension, b) if b != b'\n' && b != 0 => {
                self.spent += 1;
                if self.spent > EXTENSION_LIMIT {
                    return bad(ErrorKind::ChunkTooLong);
                }
                (Stage::Extension, Piece::Extension)
            }
            (Stage::SizeLf, b'\n') => {
                self.spent = 0;
                let next = if self.left == 0 {
                    Stage::TrailerStart
                } else {
                    Stage::Data
                };
                (next, Piece::Framing)
            }
            (Stage::DataCr, b'\r') => (Stage::DataLf, Piece::Framing),
            (Stage::DataLf, b'\n') => {
                self.left = 0;
                self.spent = 0;
                (Stage::Size { any: false }, Piece::Framing)
            }
            (Stage::TrailerStart, b'\r') => (Stage::EndLf, Piece::Framing),
            (Stage::EndLf, b'\n') => (Stage::Done, Piece::Framing),
            (Stage::TrailerStart | Stage::TrailerName, b) if is_token_byte(b) => {
                self.trailer_byte(b, at)?;
                (Stage::TrailerName, Piece::Trailer)
            }
            (Stage::TrailerName, b':') => {
                self.check_trailer(at)?;
                (Stage::TrailerValue, Piece::Trailer)
            }
            (Stage::TrailerValue, b'\r') => (Stage::TrailerLf, Piece::Trailer),
            (Stage::TrailerLf, b'\n') => {
                self.line.clear();
                (Stage::TrailerStart, Piece::Trailer)
            }
            (Stage::TrailerValue, b) if b != 0 && b != b'\n' => {
                self.spent += 1;
                if self.spent > TRAILER_LIMIT {
                    return bad(ErrorKind::Trailer);
                }
                (Stage::TrailerValue, Piece::Trailer)
            }
            (
                Stage::TrailerStart
                | Stage::TrailerName
                | Stage::TrailerValue
                | Stage::TrailerLf
                | Stage::EndLf,
                _,
            ) => return bad(ErrorKind::Trailer),
            _ => return bad(ErrorKind::Chunk),
        };
        self.stage = stage;
        Ok(kind)
    }

    fn trailer_byte(&mut self, b: u8, at: usize) -> Result<(), Error> {
        self.spent += 1;
        if self.spent > TRAILER_LIMIT {
            return Err(Error::new(ErrorKind::Trailer, at));
        }
        self.line.push(b);
        Ok(())
    }

    /// RFC 9110 section 6.5.1: fields that frame or route a message may not come as trailers.
    fn check_trailer(&mut self, at: usize) -> Result<(), Error> {
        let forbidden = FORBIDDEN_TRAILERS
            .iter()
            .any(|f| self.line.eq_ignore_ascii_case(f));
        if forbidden || !is_token(&self.line) {
            return Err(Error::new(ErrorKind::Trailer, at));
        }
        Ok(())
    }
}

const FORBIDDEN_TRAILERS: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// Size lines and line ends.
    Framing,
    /// A trailer with its line end.
    Trailer,
    /// An extension, which is left out.
    Extension,
    Payload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_are_left_out_however_the_bytes_come() {
        let body = b"3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\nGET";
        for cut in 0..body.len() {
            let mut decoder = Decoder::new();
            decoder.drop_trailers();
            let (mut passed, mut used) = (Vec::new(), 0);
            for end in [cut, body.len()] {
                let (part, mut cleaned) = (&body[used..end], Vec::new());
                let scan = decoder.scan(part, &mut cleaned).expect("a body");
                match scan.as_is {
                    true => passed.extend_from_slice(&part[..scan.consumed]),
                    false => passed.extend(cleaned),
                }
                used += scan.consumed;
            }
            let text = String::from_utf8_lossy(&passed).into_owned();
            assert_eq!(text, "3\r\nabc\r\n0\r\n\r\n", "{cut}");
            assert_eq!(used, body.len() - 3, "{cut}");
        }
        let mut decoder = Decoder::new();
        decoder.drop_trailers();
        let forbidden = b"0\r\nContent-Length: 1\r\n\r\n";
        assert!(decoder.scan(forbidden, &mut Vec::new()).is_err());
    }
}
