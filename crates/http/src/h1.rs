//! Reading HTTP/1 heads (RFC 9112 sections 2 to 5).
//!
//! Strict where leniency has been used to smuggle requests: a space before the colon, a bare CR,
//! a NUL, a second space in the request line are refused. A line ended by LF alone and a folded
//! line are understood and go out in their clean form.

use crate::head::{Field, Head, Known, Span, Version};
use crate::syntax::{is_token, is_token_byte, trim};
use memchr::{memchr, memchr2};

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub struct ParseOptions {
    /// Bytes of the head at most, start line and last line end included.
    pub max_head: usize,
    /// Lines at most, the start line included.
    pub max_headers: usize,
    /// Accept what is unsafe but common: non-ASCII and `#` in the target, odd field names.
    pub accept_unsafe: bool,
}

impl Default for ParseOptions {
    fn default() -> Self {
        ParseOptions {
            max_head: 15360,
            max_headers: 101,
            accept_unsafe: false,
        }
    }
}

/// Why a message is refused, and the offset of the byte that decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    position: usize,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // `describe` has the sentence for each
pub enum ErrorKind {
    Method,
    Target,
    Version,
    StatusLine,
    FieldName,
    FieldValue,
    LineEnd,
    TargetTooLong,
    HeadTooLong,
    TooManyFields,
    ContentLength,
    TransferEncoding,
    UnknownCoding,
    Host,
    BodyNotAllowed,
    Upgrade,
    Chunk,
    ChunkTooLong,
    Trailer,
}

impl Error {
    /// An error at an offset.
    pub fn new(kind: ErrorKind, position: usize) -> Error {
        Error { kind, position }
    }

    /// What is wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Offset of the deciding byte in the bytes parsed.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The status a client is answered with.
    pub fn status(&self) -> u16 {
        match self.kind {
            ErrorKind::TargetTooLong => 414,
            ErrorKind::HeadTooLong | ErrorKind::TooManyFields => 431,
            ErrorKind::BodyNotAllowed => 413,
            ErrorKind::UnknownCoding => 422,
            _ => 400,
        }
    }

    fn describe(&self) -> &'static str {
        match self.kind {
            ErrorKind::Method => "the method is not a token followed by one space",
            ErrorKind::Target => "the request target is empty or has a forbidden character",
            ErrorKind::Version => "the version is not HTTP/1.0 or HTTP/1.1",
            ErrorKind::StatusLine => "the status line is not 'HTTP/1.x NNN reason'",
            ErrorKind::FieldName => "a field name is not a token followed by a colon",
            ErrorKind::FieldValue => "a field value has a forbidden character",
            ErrorKind::LineEnd => "a line is not ended by CR LF",
            ErrorKind::TargetTooLong => "the request line is too long",
            ErrorKind::HeadTooLong => "the head is too long",
            ErrorKind::TooManyFields => "there are too many header fields",
            ErrorKind::ContentLength => "Content-Length is not one decimal number",
            ErrorKind::TransferEncoding => "Transfer-Encoding does not end in one 'chunked'",
            ErrorKind::UnknownCoding => "Transfer-Encoding names a coding before 'chunked'",
            ErrorKind::Host => "Host is missing, doubled or unlike the target's authority",
            ErrorKind::BodyNotAllowed => "an HTTP/1.0 request of this method may not have a body",
            ErrorKind::Upgrade => "the upgrade lacks a field that it needs",
            ErrorKind::Chunk => "a chunk's size line is malformed",
            ErrorKind::ChunkTooLong => "a chunk's size line is too long or the size too large",
            ErrorKind::Trailer => "a trailer field is malformed or forbidden",
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (at byte {})", self.describe(), self.position)
    }
}

impl std::error::Error for Error {}

fn fail<T>(kind: ErrorKind, position: usize) -> Result<T, Error> {
    Err(Error { kind, position })
}

/// Reads a request head. `Ok(Some(n))`: complete in the first `n` bytes, a copy of which is now
/// in `head`. `Ok(None)`: more bytes are needed, `head` means nothing yet.
pub fn parse_request(
    input: &[u8],
    options: &ParseOptions,
    head: &mut Head,
) -> Result<Option<usize>, Error> {
    head.reset();
    let start = skip_empty_lines(input);
    let mut lines = Lines {
        input,
        at: start,
        start,
        options,
    };
    let Some(line) = lines.next(ErrorKind::TargetTooLong)? else {
        // Refuse early what can never become a request.
        let partial = input.get(start..).unwrap_or_default();
        if let Some(cr) = memchr(b'\r', partial).filter(|cr| cr + 1 < partial.len()) {
            return fail(ErrorKind::LineEnd, start + cr);
        }
        let method = partial.split(|b| *b == b' ').next().unwrap_or_default();
        if let Some(bad) = method
            .iter()
            .position(|b| !is_token_byte(*b) && *b != b'\r')
        {
            return fail(ErrorKind::Method, start + bad);
        }
        return Ok(None);
    };
    let (text_start, text_end) = (line.start, line.end);
    let text = input.get(text_start..text_end).unwrap_or_default();
    let Some(sp) = memchr(b' ', text) else {
        return fail(ErrorKind::Method, text_end);
    };
    let method = text.get(..sp).unwrap_or_default();
    if !is_token(method) {
        return fail(ErrorKind::Method, text_start);
    }
    let rest = text.get(sp + 1..).unwrap_or_default();
    let Some(sp2) = memchr(b' ', rest) else {
        return fail(ErrorKind::Version, text_end);
    };
    let target = rest.get(..sp2).unwrap_or_default();
    if target.is_empty() {
        return fail(ErrorKind::Target, text_start + sp + 1);
    }
    if let Some(bad) = target
        .iter()
        .position(|b| !target_byte(*b, options.accept_unsafe))
    {
        return fail(ErrorKind::Target, text_start + sp + 1 + bad);
    }
    let version_start = text_start + sp + 1 + sp2 + 1;
    let version = match rest.get(sp2 + 1..).unwrap_or_default() {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return fail(ErrorKind::Version, version_start),
    };
    head.version = version;
    head.first = Span::new(text_start - start, text_start - start + sp);
    head.target = Span::new(
        text_start - start + sp + 1,
        text_start - start + sp + 1 + sp2,
    );
    if !target_form_fits(method, target) {
        return fail(ErrorKind::Target, text_start + sp + 1);
    }
    finish(lines, line, options.accept_unsafe, head)
}

/// Reads a response head; as [`parse_request`].
pub fn parse_response(
    input: &[u8],
    options: &ParseOptions,
    head: &mut Head,
) -> Result<Option<usize>, Error> {
    head.reset();
    head.response = true;
    let mut lines = Lines {
        input,
        at: 0,
        start: 0,
        options,
    };
    let Some(line) = lines.next(ErrorKind::HeadTooLong)? else {
        let expected = b"HTTP/1.";
        let n = input.len().min(expected.len());
        if input.get(..n) != expected.get(..n) {
            return fail(ErrorKind::StatusLine, 0);
        }
        return Ok(None);
    };
    let text = input.get(line.start..line.end).unwrap_or_default();
    head.version = match text.get(..8) {
        Some(b"HTTP/1.1") => Version::Http11,
        Some(b"HTTP/1.0") => Version::Http10,
        _ => return fail(ErrorKind::StatusLine, 0),
    };
    let Some([b' ', a, b, c, after @ ..]) = text.get(8..) else {
        return fail(ErrorKind::StatusLine, 8);
    };
    if !(a.is_ascii_digit() && b.is_ascii_digit() && c.is_ascii_digit()) || *a == b'0' {
        return fail(ErrorKind::StatusLine, 9);
    }
    head.status = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
    let reason = match after {
        [] => line.end..line.end,
        [b' ', ..] => line.start + 13..line.end,
        _ => return fail(ErrorKind::StatusLine, 12),
    };
    if input
        .get(reason.clone())
        .unwrap_or_default()
        .iter()
        .any(|b| *b == 0 || *b == b'\r')
    {
        return fail(ErrorKind::StatusLine, reason.start);
    }
    head.first = Span::new(reason.start, reason.end);
    finish(lines, line, options.accept_unsafe, head)
}

/// Reads the fields after the start line, then copies everything into the arena.
fn finish(
    mut lines: Lines<'_>,
    first: Line,
    accept_unsafe: bool,
    head: &mut Head,
) -> Result<Option<usize>, Error> {
    let input = lines.input;
    let base = lines.start;
    let mut dirty = !first.clean;
    loop {
        let Some(line) = lines.next(ErrorKind::HeadTooLong)? else {
            return Ok(None);
        };
        if line.start == line.end {
            break;
        }
        let text = input.get(line.start..line.end).unwrap_or_default();
        dirty |= !line.clean;
        if matches!(text.first(), Some(b' ' | b'\t')) {
            // RFC 9112 section 5.2: a folded line belongs to the one before it.
            let Some(previous) = head.fields.last_mut() else {
                return fail(ErrorKind::FieldName, line.start);
            };
            if text.contains(&0) || text.contains(&b'\r') {
                return fail(ErrorKind::FieldValue, line.start);
            }
            previous.line.len = (line.next - base) as u32 - previous.line.start;
            previous.value = Span::new(previous.value.start as usize, line.end - base);
            dirty = true;
            continue;
        }
        // What decides it is the first byte that no name has.
        let is_odd = |b: &u8| !(is_token_byte(*b) || accept_unsafe && is_odd_name_byte(*b));
        let strange = || text.iter().position(is_odd).unwrap_or(0);
        let Some(colon) = memchr(b':', text) else {
            return fail(ErrorKind::FieldName, line.start + strange());
        };
        let name = text.get(..colon).unwrap_or_default();
        if !is_token(name) && (!accept_unsafe || name.is_empty() || name.iter().any(is_odd)) {
            return fail(ErrorKind::FieldName, line.start + strange());
        }
        let raw = text.get(colon + 1..).unwrap_or_default();
        if let Some(bad) = memchr2(0, b'\r', raw) {
            return fail(ErrorKind::FieldValue, line.start + colon + 1 + bad);
        }
        let value = trim(raw);
        // `trim` returns a part of `raw`; its offset follows from the white space before it.
        let before = raw
            .iter()
            .take_while(|b| matches!(b, b' ' | b'\t'))
            .count()
            .min(raw.len());
        let value_start = line.start + colon + 1 + if value.is_empty() { 0 } else { before };
        if head.fields.len() + 1 >= lines.options.max_headers {
            return fail(ErrorKind::TooManyFields, line.start);
        }
        let known = Known::of(name);
        // What frames or routes the message goes out in one form only: white space that is legal
        // here has been overlooked elsewhere.
        let canonical = raw.len() == value.len()
            || (raw.len() == value.len() + 1 && raw.first() == Some(&b' '));
        dirty |= known != Known::Other && !canonical;
        head.fields.push(Field {
            line: Span::new(line.start - base, line.next - base),
            name: Span::new(line.start - base, line.start - base + colon),
            value: Span::new(value_start - base, value_start - base + value.len()),
            known,
        });
    }
    head.line = Span::new(first.start - base, first.next - base);
    head.arena
        .extend_from_slice(input.get(base..lines.at).unwrap_or_default());
    if dirty {
        clean(head);
    }
    Ok(Some(lines.at))
}

/// Writes anew every line that was folded or ended by LF alone, and the known fields whose value
/// stands between odd white space.
fn clean(head: &mut Head) {
    for i in 0..head.fields.len() {
        let Some(field) = head.fields.get(i).copied() else {
            return;
        };
        let end = (field.line.start + field.line.len) as usize;
        let line = head
            .arena
            .get(field.line.start as usize..end)
            .unwrap_or_default();
        let inner = line.strip_suffix(b"\r\n").unwrap_or(line);
        let padding =
            inner.len() - (field.name.len as usize + 1 + field.value.len as usize).min(inner.len());
        let tidy = field.known == Known::Other
            || padding == 0
            || (padding == 1 && inner.get(field.name.len as usize + 1) == Some(&b' '));
        if line.ends_with(b"\r\n") && !inner.contains(&b'\n') && tidy {
            continue;
        }
        let name = slice(&head.arena, field.name).to_vec();
        let mut value = slice(&head.arena, field.value).to_vec();
        for b in value.iter_mut().filter(|b| matches!(b, b'\r' | b'\n')) {
            *b = b' ';
        }
        let rewritten = head.write_line(&name, &value);
        if let Some(slot) = head.fields.get_mut(i) {
            *slot = rewritten;
        }
    }
    let line = slice(&head.arena, head.line);
    if !line.ends_with(b"\r\n") {
        if head.response {
            let reason = head.reason().to_vec();
            head.set_status(head.status, &reason);
        } else {
            let method = head.method().to_vec();
            head.set_method(&method);
        }
    }
}

fn slice(arena: &[u8], span: Span) -> &[u8] {
    arena
        .get(span.start as usize..(span.start + span.len) as usize)
        .unwrap_or_default()
}

/// RFC 9112 section 2.2: empty lines before a request are ignored.
fn skip_empty_lines(input: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match input.get(at..) {
            Some([b'\r', b'\n', ..]) => at += 2,
            Some([b'\n', ..]) => at += 1,
            _ => return at,
        }
    }
}

/// What a field name may hold beside the bytes of a token where odd ones are accepted: no white space,
/// which programs read differently (RFC 9112 section 5.1), and no control characters.
fn is_odd_name_byte(b: u8) -> bool {
    b > b' ' && b != 0x7f
}

fn target_byte(b: u8, accept_unsafe: bool) -> bool {
    match b {
        0x00..=0x20 | 0x7f => false,
        0x80.. | b'#' => accept_unsafe,
        _ => true,
    }
}

/// RFC 9112 section 3.2: which form a target has follows from the method.
fn target_form_fits(method: &[u8], target: &[u8]) -> bool {
    match target.first() {
        Some(b'/') => method != b"CONNECT",
        Some(b'*') => target.len() == 1 && method == b"OPTIONS",
        _ if method == b"CONNECT" => !target.contains(&b'/') && target.contains(&b':'),
        _ => crate::uri::scheme(target).is_some(),
    }
}

struct Line {
    start: usize,
    /// Without its line end.
    end: usize,
    /// After its line end.
    next: usize,
    /// Ended by CR LF.
    clean: bool,
}

struct Lines<'a> {
    input: &'a [u8],
    at: usize,
    start: usize,
    options: &'a ParseOptions,
}

impl Lines<'_> {
    /// The next line; `None` when it is not complete and may still become so.
    fn next(&mut self, too_long: ErrorKind) -> Result<Option<Line>, Error> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let limit = self.start + self.options.max_head;
        let Some(lf) = memchr(b'\n', rest) else {
            if self.input.len() > limit {
                return fail(too_long, limit);
            }
            return Ok(None);
        };
        let next = self.at + lf + 1;
        if next > limit {
            return fail(too_long, limit);
        }
        let clean = lf > 0 && rest.get(lf - 1) == Some(&b'\r');
        let line = Line {
            start: self.at,
            end: next - 1 - usize::from(clean),
            next,
            clean,
        };
        self.at = next;
        Ok(Some(line))
    }
}
