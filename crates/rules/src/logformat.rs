//! Log formats: text, `%tags` and `%[expressions]` (manual section 8.2.6).

use crate::error::ParseError;
use crate::expr::Expr;
use crate::sample::hex;
use crate::tags::{self, TagDef};
use crate::{Ctx, Scope};
use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `Q`: in double quotes.
    pub quote: bool,
    /// `X`: numbers and addresses in hexadecimal.
    pub hex: bool,
    /// `E`: escape quotes, backslashes and brackets with a backslash.
    pub escape: bool,
}

#[derive(Clone, Debug)]
enum Part {
    Text(Box<[u8]>),
    Tag(&'static TagDef, Flags),
    Expr(Box<Expr>, Flags),
}

/// A parsed format.
#[derive(Clone, Debug, Default)]
pub struct LogFormat {
    parts: Vec<Part>,
    shows_server_connection: bool,
}

/// The unique ID of a session or request (`unique-id-format`): made where it is first asked for, and the
/// same from then on.
#[derive(Clone, Debug, Default)]
pub struct UniqueId {
    format: RefCell<Option<Arc<LogFormat>>>,
    id: OnceCell<Box<[u8]>>,
}

impl UniqueId {
    /// One that is still to be made.
    pub fn later(format: Arc<LogFormat>) -> UniqueId {
        UniqueId {
            format: RefCell::new(Some(format)),
            id: OnceCell::new(),
        }
    }

    /// One that has been made.
    pub fn made(id: Vec<u8>) -> UniqueId {
        UniqueId {
            format: RefCell::default(),
            id: OnceCell::from(Box::from(id)),
        }
    }

    /// The ID, where there is one.
    pub fn get(&self, cx: &Ctx<'_>) -> Option<&[u8]> {
        // Taken before it is used: a format that asks for the ID itself finds none.
        if let Some(format) = self.format.take() {
            let mut id = Vec::new();
            format.render(cx, &mut id);
            self.id.get_or_init(|| id.into());
        }
        self.id.get().map(|id| &**id)
    }
}

impl LogFormat {
    /// Reads a format; an error's offset points into the text.
    pub fn parse(text: &str, scope: &Scope<'_>) -> Result<LogFormat, ParseError> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut global = Flags::default();
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(&b) = bytes.get(at) {
            if b != b'%' {
                literal.push(b);
                at += 1;
                continue;
            }
            let start = at;
            let fail = |message: String| ParseError {
                word: 0,
                offset: start,
                message,
            };
            at += 1;
            if bytes.get(at) == Some(&b'%') {
                literal.push(b'%');
                at += 1;
                continue;
            }
            let mut flags = global;
            if bytes.get(at) == Some(&b'{') {
                let rest = text.get(at + 1..).unwrap_or_default();
                let end = rest
                    .find('}')
                    .ok_or_else(|| fail("'%{' has no '}'".into()))?;
                apply_flags(rest.get(..end).unwrap_or_default(), &mut flags).map_err(fail)?;
                at += end + 2;
            }
            // A name in parentheses belongs to some encodings; it names nothing here.
            if bytes.get(at) == Some(&b'(') {
                let rest = text.get(at..).unwrap_or_default();
                at += rest
                    .find(')')
                    .ok_or_else(|| fail("'%(' has no ')'".into()))?
                    + 1;
            }
            if !literal.is_empty() && bytes.get(at).is_some() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            if bytes.get(at) == Some(&b'[') {
                let rest = text.get(at + 1..).unwrap_or_default();
                let end = closing(rest).ok_or_else(|| fail("'%[' has no ']'".into()))?;
                let inner = rest.get(..end).unwrap_or_default().trim();
                let expr = Expr::parse(inner, scope).map_err(|e| ParseError {
                    word: 0,
                    offset: at + 1 + e.offset,
                    message: e.message,
                })?;
                parts.push(Part::Expr(Box::new(expr), flags));
                at += end + 2;
                continue;
            }
            let rest = text.get(at..).unwrap_or_default();
            let name: &str = {
                let end = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
                rest.get(..end).unwrap_or_default()
            };
            if name == "o" {
                // `%{+Q}o` sets the flags of all that follows.
                global = flags;
                at += 1;
                continue;
            }
            // The longest tag counts: `%Tr` is not `%T` and an r.
            let tag = (1..=name.len())
                .rev()
                .find_map(|n| tags::find(name.get(..n)?));
            match tag {
                Some(tag) => {
                    at += tag.name.len();
                    parts.push(Part::Tag(tag, flags));
                }
                None if name.is_empty() => {
                    return Err(fail(
                        "a '%' alone means nothing: write '%%' for a percent sign".into(),
                    ));
                }
                None => {
                    let names = tags::TAGS.iter().map(|t| t.name);
                    return Err(fail(match crate::nearest(name, names) {
                        Some(near) => format!("unknown log tag '%{name}': did you mean '%{near}'?"),
                        None => format!("unknown log tag '%{name}'"),
                    }));
                }
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        let shows_server_connection = parts.iter().any(|part| match part {
            Part::Text(_) => false,
            Part::Tag(tag, _) => matches!(tag.name, "bi" | "bp"),
            Part::Expr(expr, _) => expr.fetch_name().starts_with("bc_"),
        });
        Ok(LogFormat {
            parts,
            shows_server_connection,
        })
    }

    /// Whether it may show the addresses of the connection to the server.
    pub fn shows_server_connection(&self) -> bool {
        self.shows_server_connection
    }

    /// Reads the format of a log line or a unique ID: of several spaces one stays, of those at its
    /// beginning none.
    pub fn parse_line(text: &str, scope: &Scope<'_>) -> Result<LogFormat, ParseError> {
        let mut format = LogFormat::parse(text, scope)?;
        if let Some(Part::Text(text)) = format.parts.first_mut() {
            let blank = text.iter().take_while(|b| **b == b' ').count();
            *text = text.get(blank..).unwrap_or_default().into();
        }
        for part in &mut format.parts {
            if let Part::Text(text) = part {
                let mut merged = text.to_vec();
                merged.dedup_by(|b, a| *a == b' ' && *b == b' ');
                *text = merged.into();
            }
        }
        Ok(format)
    }

    /// Whether it is fixed text; then rendering always gives this.
    pub fn fixed(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [] => Some(&[]),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text as a log line shows it: empty values as `-`, control characters as `#XX`.
    pub fn render_log(&self, cx: &Ctx<'_>, out: &mut Vec<u8>) {
        // Captures that no line asks for are left out with the space behind them.
        let mut spaced = true;
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    let text = match &**text {
                        [b' ', rest @ ..] if spaced => rest,
                        text => text,
                    };
                    out.extend_from_slice(text);
                    spaced = text.last().map_or(spaced, |b| *b == b' ');
                    continue;
                }
                Part::Tag(tag, flags) => {
                    let before = out.len();
                    tags::write(tag, *flags, cx, out);
                    if tag.is_optional() && out.len() == before {
                        continue;
                    }
                }
                Part::Expr(expr, flags) => {
                    let sample = expr.eval(cx);
                    let text = sample.as_ref().map(|s| s.to_text());
                    log_text(text.as_deref().unwrap_or_default(), *flags, out);
                }
            }
            spaced = false;
        }
    }

    /// Appends the text as headers, targets and bodies want it: nothing for empty values, control
    /// characters as `%XX`, so that no value can begin a new line.
    pub fn render(&self, cx: &Ctx<'_>, out: &mut Vec<u8>) {
        self.render_with(cx, out, |text, flags, out| {
            for b in text {
                match b {
                    b'"' | b'\\' | b']' if flags.escape => out.extend_from_slice(&[b'\\', *b]),
                    b'\t' => out.push(*b),
                    0..=0x1f | 0x7f => {
                        out.push(b'%');
                        out.extend_from_slice(&hex(&[*b]));
                    }
                    _ => out.push(*b),
                }
            }
        });
    }

    /// Appends the text as variables want it: bytes as they are.
    pub fn render_plain(&self, cx: &Ctx<'_>, out: &mut Vec<u8>) {
        self.render_with(cx, out, |text, flags, out| {
            let quote: &[u8] = if flags.quote { b"\"" } else { b"" };
            out.extend_from_slice(quote);
            out.extend_from_slice(text);
            out.extend_from_slice(quote);
        });
    }

    fn render_with(
        &self,
        cx: &Ctx<'_>,
        out: &mut Vec<u8>,
        show: impl Fn(&[u8], Flags, &mut Vec<u8>),
    ) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Tag(tag, flags) => {
                    let before = out.len();
                    tags::write(tag, *flags, cx, out);
                    if out.get(before..) == Some(b"-") {
                        out.truncate(before);
                    }
                }
                Part::Expr(expr, flags) => {
                    if let Some(sample) = expr.eval(cx) {
                        show(&sample.to_text(), *flags, out);
                    }
                }
            }
        }
    }
}

/// Appends a value as a log line shows it: only what would break the line is escaped (`#XX`).
pub(crate) fn log_text(text: &[u8], flags: Flags, out: &mut Vec<u8>) {
    if text.is_empty() && !flags.quote {
        out.push(b'-');
        return;
    }
    let quote: &[u8] = if flags.quote { b"\"" } else { b"" };
    out.extend_from_slice(quote);
    for b in text {
        match b {
            b'"' | b'\\' | b']' if flags.escape => out.extend_from_slice(&[b'\\', *b]),
            0..=0x1f | 0x7f => {
                out.push(b'#');
                out.extend_from_slice(&hex(&[*b]));
            }
            _ => out.push(*b),
        }
    }
    out.extend_from_slice(quote);
}

fn apply_flags(text: &str, flags: &mut Flags) -> Result<(), String> {
    let mut on = true;
    for c in text.chars() {
        match c {
            '+' => on = true,
            '-' => on = false,
            ',' | ' ' => {}
            'Q' => flags.quote = on,
            'X' => flags.hex = on,
            'E' => flags.escape = on,
            _ => return Err(format!("unknown log flag '{c}': use Q, X or E with + or -")),
        }
    }
    Ok(())
}

/// Where the `]` that ends an expression stands: not one in quotes or parentheses.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0usize;
    let mut escaped = false;
    for (i, b) in text.bytes().enumerate() {
        match (b, quote) {
            _ if escaped => escaped = false,
            (b'\\', _) => escaped = true,
            (b, Some(q)) if b == q => quote = None,
            (_, Some(_)) => {}
            (b'"' | b'\'', None) if depth > 0 => quote = Some(b),
            (b'(', None) => depth += 1,
            (b')', None) => depth = depth.saturating_sub(1),
            (b']', None) if depth == 0 => return Some(i),
            _ => {}
        }
    }
    None
}
