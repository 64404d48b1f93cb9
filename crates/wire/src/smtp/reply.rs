//! What a server says (RFC 5321 section 4.2).

use super::Extension;

/// A reply of one line or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// Its lines, each without code and end, at least one.
    pub lines: Vec<Vec<u8>>,
}

/// What a server's bytes begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The end of the reply has not come yet.
    More,
    /// A reply of so many bytes.
    Reply(Reply, usize),
    /// No reply of SMTP.
    Malformed,
}

/// The longest reply that is read, bytes.
const LONGEST: usize = 32 * 1024;

/// Reads the first reply.
pub fn hear(bytes: &[u8]) -> Heard {
    let mut lines = Vec::new();
    let mut code = None;
    let mut at = 0;
    while let Some(length) = rest(bytes, at).iter().position(|b| *b == b'\n') {
        let line = rest(bytes, at).get(..length).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at += length + 1;
        let Some((this, last, text)) = split(line) else {
            return Heard::Malformed;
        };
        if *code.get_or_insert(this) != this || at > LONGEST {
            return Heard::Malformed;
        }
        lines.push(text.to_vec());
        if last {
            return Heard::Reply(Reply { code: this, lines }, at);
        }
    }
    match bytes.len() > LONGEST {
        true => Heard::Malformed,
        false => Heard::More,
    }
}

fn rest(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or_default()
}

/// Code, whether this is the last line, text.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let code: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    if !digits.iter().all(u8::is_ascii_digit) || !(200..600).contains(&code) {
        return None;
    }
    match rest.split_first() {
        None => Some((code, true, rest)),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

impl Reply {
    /// Whether the command was taken.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether the server waits for what belongs to the command: content, or a response.
    pub fn asks_for_more(&self) -> bool {
        (300..400).contains(&self.code)
    }

    /// Appends it as it goes to a client. Control characters, which only a broken server says,
    /// become question marks.
    pub fn write(&self, out: &mut Vec<u8>) {
        let last = self.lines.len().saturating_sub(1);
        for (at, text) in self.lines.iter().enumerate() {
            let sign = if at == last { ' ' } else { '-' };
            out.extend_from_slice(format!("{}{sign}", self.code).as_bytes());
            let shown = text
                .iter()
                .map(|b| if b.is_ascii_control() { b'?' } else { *b });
            out.extend(shown);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// What a reply to `EHLO` announces.
    pub fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        for line in self.lines.iter().skip(1) {
            let mut words = line.split(|b| *b == b' ').filter(|w| !w.is_empty());
            let Some(keyword) = words.next() else {
                continue;
            };
            let is = |name: &str| keyword.eq_ignore_ascii_case(name.as_bytes());
            let known = Extension::ALL.into_iter().find(|e| is(e.name()));
            capabilities.extensions.extend(known);
            if is("AUTH") {
                let mechanisms = words.clone().map(|w| w.to_ascii_uppercase());
                capabilities.mechanisms.extend(mechanisms);
            }
            if is("STARTTLS") {
                capabilities.start_tls = true;
            }
            if is("XCLIENT") {
                let attributes = words.map(|w| String::from_utf8_lossy(w).to_uppercase());
                capabilities.xclient = Some(attributes.collect());
            }
        }
        capabilities
    }
}

/// What a server announces of what matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    extensions: Vec<Extension>,
    /// `AUTH`, the mechanisms, in capitals.
    pub mechanisms: Vec<Vec<u8>>,
    /// `STARTTLS`.
    pub start_tls: bool,
    /// `XCLIENT`, the attributes that it takes, in capitals.
    pub xclient: Option<Vec<String>>,
}

impl Capabilities {
    /// Whether an extension is announced.
    pub fn has(&self, extension: Extension) -> bool {
        self.extensions.contains(&extension)
    }
}
