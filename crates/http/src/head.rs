//! A message head: one arena of bytes, and where in it everything stands.
//!
//! Fields are ranges of whole lines. An edit appends the new line to the arena and moves the
//! range; serialising copies the ranges in order, neighbours in one piece.

use crate::syntax::trim;

/// The version in the start line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
#[allow(missing_docs)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
    Http3,
}

impl Version {
    /// As the start line of HTTP/1 writes it (`HTTP/2.0` and `HTTP/3.0` for the others).
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
            Version::Http3 => "HTTP/3.0",
        }
    }
}

/// Field names that the proxy itself acts upon, recognised once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Known {
    Other,
    Connection,
    ContentLength,
    TransferEncoding,
    Host,
    Upgrade,
    Expect,
    KeepAlive,
    ProxyConnection,
    Te,
    Trailer,
    Cookie,
    SetCookie,
    XForwardedFor,
}

impl Known {
    /// The known name that `name` is, in any case.
    pub fn of(name: &[u8]) -> Known {
        let candidates: &[(&[u8], Known)] = match name.len() {
            2 => &[(b"te", Known::Te)],
            4 => &[(b"host", Known::Host)],
            6 => &[(b"cookie", Known::Cookie), (b"expect", Known::Expect)],
            7 => &[(b"upgrade", Known::Upgrade), (b"trailer", Known::Trailer)],
            10 => &[
                (b"connection", Known::Connection),
                (b"keep-alive", Known::KeepAlive),
                (b"set-cookie", Known::SetCookie),
            ],
            14 => &[(b"content-length", Known::ContentLength)],
            15 => &[(b"x-forwarded-for", Known::XForwardedFor)],
            16 => &[(b"proxy-connection", Known::ProxyConnection)],
            17 => &[(b"transfer-encoding", Known::TransferEncoding)],
            _ => &[],
        };
        // Nearly all names differ in the first letter from those of their length.
        let first = name.first().map(u8::to_ascii_lowercase);
        let found = candidates
            .iter()
            .find(|(known, _)| known.first().copied() == first && is_lower_of(known, name));
        found.map_or(Known::Other, |(_, known)| *known)
    }
}

/// Whether a name of this length is `lower` in any case. It looks at all of it, because mostly it is:
/// that goes by many bytes at a time.
fn is_lower_of(lower: &[u8], name: &[u8]) -> bool {
    let pairs = lower.iter().zip(name);
    pairs.fold(0, |other, (l, n)| other | (l ^ n.to_ascii_lowercase())) == 0
}

/// A range of the arena. Heads are far below 4 GiB: the parser's limit sees to it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            len: end.saturating_sub(start) as u32,
        }
    }

    fn end(self) -> u32 {
        self.start + self.len
    }

    fn of(self, arena: &[u8]) -> &[u8] {
        arena
            .get(self.start as usize..self.end() as usize)
            .unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// The whole line with its CRLF.
    pub line: Span,
    pub name: Span,
    /// Without white space at the ends.
    pub value: Span,
    pub known: Known,
}

/// A request's or a response's head.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub(crate) arena: Vec<u8>,
    pub(crate) response: bool,
    /// The start line with its CRLF.
    pub(crate) line: Span,
    /// Method, or reason phrase.
    pub(crate) first: Span,
    /// Target; empty in a response.
    pub(crate) target: Span,
    pub(crate) version: Version,
    pub(crate) status: u16,
    pub(crate) fields: Vec<Field>,
}

impl Head {
    /// Empties it; memory is kept for the next message.
    pub fn reset(&mut self) {
        self.arena.clear();
        self.fields.clear();
        self.response = false;
        self.line = Span::default();
        self.first = Span::default();
        self.target = Span::default();
        self.version = Version::default();
        self.status = 0;
    }

    /// Makes it a request without fields.
    pub fn start_request(&mut self, method: &[u8], target: &[u8], version: Version) {
        self.reset();
        self.version = version;
        self.write_request_line(method, target);
    }

    /// Makes it a response without fields.
    pub fn start_response(&mut self, version: Version, status: u16, reason: &[u8]) {
        self.reset();
        self.response = true;
        self.version = version;
        self.set_status(status, reason);
    }

    /// Whether this is a request.
    pub fn is_request(&self) -> bool {
        !self.response
    }

    /// The method; empty in a response.
    pub fn method(&self) -> &[u8] {
        if self.response {
            &[]
        } else {
            self.first.of(&self.arena)
        }
    }

    /// The request target as received or set; empty in a response.
    pub fn target(&self) -> &[u8] {
        self.target.of(&self.arena)
    }

    /// The target's path, without query, also of an absolute-form target.
    pub fn path(&self) -> &[u8] {
        crate::uri::path(self.target())
    }

    /// What follows the first `?` of the target.
    pub fn query(&self) -> Option<&[u8]> {
        crate::uri::query(self.target())
    }

    /// The start line's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The status code; 0 in a request.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase; empty in a request.
    pub fn reason(&self) -> &[u8] {
        if self.response {
            self.first.of(&self.arena)
        } else {
            &[]
        }
    }

    /// The start line without its line end.
    pub fn start_line(&self) -> &[u8] {
        let line = self.line.of(&self.arena);
        line.strip_suffix(b"\r\n").unwrap_or(line)
    }

    /// Number of field lines.
    pub fn count(&self) -> usize {
        self.fields.len()
    }

    /// (name as received, value without white space around) of each line, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields
            .iter()
            .map(|f| (f.name.of(&self.arena), f.value.of(&self.arena)))
    }

    fn matching<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a Field> {
        self.fields.iter().filter(move |f| {
            f.name.len as usize == name.len() && f.name.of(&self.arena).eq_ignore_ascii_case(name)
        })
    }

    /// The first line of that name, in any case.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields
            .iter()
            .find(|f| {
                f.name.len as usize == name.len()
                    && f.name.of(&self.arena).eq_ignore_ascii_case(name)
            })
            .map(|f| f.value.of(&self.arena))
    }

    /// Each line of that name.
    pub fn values<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.matching(name).map(|f| f.value.of(&self.arena))
    }

    /// Each comma-separated item of all lines of that name; commas in quotes do not separate.
    pub fn items<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.values(name).flat_map(split_items)
    }

    /// Whether a comma list of that name holds the token, in any case.
    pub fn has_token(&self, name: &[u8], token: &[u8]) -> bool {
        self.items(name)
            .any(|item| item.eq_ignore_ascii_case(token))
    }

    /// Each line of a known name.
    pub fn known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.fields
            .iter()
            .filter(move |f| f.known == known)
            .map(|f| f.value.of(&self.arena))
    }

    /// Removes all lines of a known name; returns how many there were.
    pub fn remove_known(&mut self, known: Known) -> usize {
        let before = self.fields.len();
        if self.fields.iter().any(|f| f.known == known) {
            self.fields.retain(|f| f.known != known);
        }
        before - self.fields.len()
    }

    /// Adds a line at the end. Bytes that would end the line (CR, LF) or that no field may hold
    /// (NUL) become spaces, so that no value can add a line of its own.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        let field = self.write_line(name, value);
        self.fields.push(field);
    }

    /// Replaces all lines of that name by one at the end.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.append(name, value);
    }

    /// Removes all lines of that name; returns how many there were.
    pub fn remove(&mut self, name: &[u8]) -> usize {
        let arena = &self.arena;
        let before = self.fields.len();
        self.fields.retain(|f| {
            f.name.len as usize != name.len() || !f.name.of(arena).eq_ignore_ascii_case(name)
        });
        before - self.fields.len()
    }

    /// Keeps the lines for which `keep` of (name, value) holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let arena = &self.arena;
        self.fields
            .retain(|f| keep(f.name.of(arena), f.value.of(arena)));
    }

    /// Writes names otherwise, letter by letter: `other` says how a name is to be written, in as many
    /// bytes; anything longer or shorter leaves it.
    pub fn recase<'n>(&mut self, other: impl Fn(&[u8]) -> Option<&'n [u8]>) {
        for field in &self.fields {
            let name = field.name;
            let place = self.arena.get_mut(name.start as usize..name.end() as usize);
            let Some(place) = place else { continue };
            if let Some(new) = other(place).filter(|n| n.eq_ignore_ascii_case(place)) {
                place.copy_from_slice(new);
            }
        }
    }

    /// Gives each line of that name the value that `change` returns; `None` leaves it.
    pub fn rewrite_values(
        &mut self,
        name: &[u8],
        mut change: impl FnMut(&[u8]) -> Option<Vec<u8>>,
    ) {
        for i in 0..self.fields.len() {
            let Some(field) = self.fields.get(i).copied() else {
                return;
            };
            let own_name = field.name.of(&self.arena);
            if !own_name.eq_ignore_ascii_case(name) {
                continue;
            }
            if let Some(value) = change(field.value.of(&self.arena)) {
                let own_name = own_name.to_vec();
                let line = self.write_line(&own_name, &value);
                if let Some(slot) = self.fields.get_mut(i) {
                    *slot = line;
                }
            }
        }
    }

    /// Changes the method.
    pub fn set_method(&mut self, method: &[u8]) {
        let target = self.target().to_vec();
        self.write_request_line(method, &target);
    }

    /// Changes the whole target.
    pub fn set_target(&mut self, target: &[u8]) {
        let method = self.method().to_vec();
        self.write_request_line(&method, target);
    }

    /// Changes the version in the start line.
    pub fn set_version(&mut self, version: Version) {
        if self.version == version {
            return;
        }
        self.version = version;
        if self.response {
            let reason = self.reason().to_vec();
            self.set_status(self.status, &reason);
        } else {
            let method = self.method().to_vec();
            self.set_method(&method);
        }
    }

    /// Changes status and reason.
    pub fn set_status(&mut self, status: u16, reason: &[u8]) {
        let reason = reason.to_vec();
        self.status = status;
        let start = self.arena.len();
        self.arena
            .extend_from_slice(self.version.as_str().as_bytes());
        self.arena.push(b' ');
        let digits = [
            b'0' + (status / 100 % 10) as u8,
            b'0' + (status / 10 % 10) as u8,
            b'0' + (status % 10) as u8,
        ];
        self.arena.extend_from_slice(&digits);
        self.arena.push(b' ');
        let at = self.arena.len();
        push_clean(&mut self.arena, &reason);
        self.first = Span::new(at, self.arena.len());
        self.arena.extend_from_slice(b"\r\n");
        self.line = Span::new(start, self.arena.len());
    }

    fn write_request_line(&mut self, method: &[u8], target: &[u8]) {
        let start = self.arena.len();
        push_without_space(&mut self.arena, method);
        self.first = Span::new(start, self.arena.len());
        self.arena.push(b' ');
        let at = self.arena.len();
        push_without_space(&mut self.arena, target);
        self.target = Span::new(at, self.arena.len());
        self.arena.push(b' ');
        self.arena
            .extend_from_slice(self.version.as_str().as_bytes());
        self.arena.extend_from_slice(b"\r\n");
        self.line = Span::new(start, self.arena.len());
    }

    pub(crate) fn write_line(&mut self, name: &[u8], value: &[u8]) -> Field {
        let value = trim(value);
        let start = self.arena.len();
        push_clean(&mut self.arena, name);
        let name_end = self.arena.len();
        self.arena.extend_from_slice(b": ");
        let value_start = self.arena.len();
        push_clean(&mut self.arena, value);
        let value_end = self.arena.len();
        self.arena.extend_from_slice(b"\r\n");
        Field {
            line: Span::new(start, self.arena.len()),
            name: Span::new(start, name_end),
            value: Span::new(value_start, value_end),
            known: Known::of(name),
        }
    }

    /// Appends the head as HTTP/1 sends it: start line, field lines, empty line.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut run = self.line;
        for field in &self.fields {
            if field.line.start == run.end() {
                run.len += field.line.len;
            } else {
                out.extend_from_slice(run.of(&self.arena));
                run = field.line;
            }
        }
        out.extend_from_slice(run.of(&self.arena));
        out.extend_from_slice(b"\r\n");
    }

    /// Bytes of the arena in use: grows with each edit.
    pub fn arena_len(&self) -> usize {
        self.arena.len()
    }

    /// Bytes of memory the arena holds.
    pub fn capacity(&self) -> usize {
        self.arena.capacity()
    }
}

fn push_clean(arena: &mut Vec<u8>, bytes: &[u8]) {
    let start = arena.len();
    arena.extend_from_slice(bytes);
    if let Some(added) = arena.get_mut(start..) {
        for b in added
            .iter_mut()
            .filter(|b| matches!(**b, b'\r' | b'\n' | 0))
        {
            *b = b' ';
        }
    }
}

/// A start line has spaces only between its parts: one inside a part would move the border.
fn push_without_space(arena: &mut Vec<u8>, bytes: &[u8]) {
    for b in bytes {
        match b {
            b' ' => arena.extend_from_slice(b"%20"),
            b'\t' | b'\r' | b'\n' | 0 => arena.extend_from_slice(b"%00"),
            _ => arena.push(*b),
        }
    }
}

/// The items of a comma list, trimmed, empty ones left out.
pub(crate) fn split_items(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        loop {
            let line = rest?;
            let mut quoted = false;
            let mut escaped = false;
            let comma = line.iter().position(|b| {
                if escaped {
                    escaped = false;
                } else if quoted && *b == b'\\' {
                    escaped = true;
                } else if *b == b'"' {
                    quoted = !quoted;
                } else if *b == b',' && !quoted {
                    return true;
                }
                false
            });
            let item = match comma {
                Some(at) => {
                    rest = line.get(at + 1..);
                    line.get(..at).unwrap_or_default()
                }
                None => {
                    rest = None;
                    line
                }
            };
            let item = trim(item);
            if !item.is_empty() || rest.is_none() {
                return if item.is_empty() { None } else { Some(item) };
            }
        }
    })
}
