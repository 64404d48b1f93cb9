//! Error pages: from files, from `http-errors` sections, or made here.

use super::near;
use crate::diag::Fault;
use crate::draft::{Draft, ErrorLine};
use crate::line::Line;
use http::h1;
use model::{ErrorLocation, ErrorPage};
use rules::LogFormat;
use std::sync::Arc;

/// Statuses that have a page of their own.
const PAGE_STATUSES: [u16; 22] = [
    200, 400, 401, 403, 404, 405, 407, 408, 410, 413, 414, 421, 422, 425, 429, 431, 500, 501, 502,
    503, 504, 505,
];

fn status(l: &Line<'_>, at: usize) -> Result<u16, Fault> {
    match l.arg(at).parse::<u16>() {
        Ok(status) if PAGE_STATUSES.contains(&status) => Ok(status),
        _ => {
            let all: Vec<String> = PAGE_STATUSES.iter().map(u16::to_string).collect();
            l.fail(
                at,
                format!(
                    "'{}' is no status with a page: use {}",
                    l.arg(at),
                    all.join(", ")
                ),
            )
        }
    }
}

/// Reads `CODE FILE`.
pub fn error_file(l: &Line<'_>) -> Result<(u16, ErrorPage), Fault> {
    if l.args().len() < 2 {
        return l.fail(
            0,
            format!("'{}' wants a status code and a file", l.keyword()),
        );
    }
    let status = status(l, 0)?;
    Ok((status, ErrorPage::Raw(message(l, 1)?)))
}

/// `errorfile CODE FILE`.
pub(super) fn error_file_line(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    l.surplus(2);
    let (status, page) = error_file(l)?;
    d.errors.push(ErrorLine::Page(status, page));
    Ok(())
}

/// The whole message, head and body, in the file that the argument at `at` names; empty when the
/// connection is to be closed without a word.
fn message(l: &Line<'_>, at: usize) -> Result<Arc<[u8]>, Fault> {
    let file = l.arg(at);
    let bytes = l.source.read(file);
    let bytes = bytes.or_else(|e| l.fail(at, format!("cannot read '{file}': {e}")))?;
    if bytes.is_empty() {
        return Ok(bytes.into());
    }
    let message = with_line_ends(&bytes);
    let mut head = http::Head::default();
    let used = match h1::parse_response(&message, &h1::ParseOptions::default(), &mut head) {
        Ok(Some(used)) => used,
        Ok(None) => {
            return l.fail(
                at,
                format!("'{file}' has no empty line between head and body: add one"),
            );
        }
        Err(e) => {
            return l.fail(
                at,
                format!("'{file}' is no HTTP response ({e}): start it with a status line, such as HTTP/1.1 503 Service Unavailable"),
            );
        }
    };
    let body = message.len() - used;
    let announced = head.get(b"content-length").map(String::from_utf8_lossy);
    match announced {
        Some(length) if length != body.to_string() => l.fail(
            at,
            format!("'{file}' says Content-Length: {length}, but its body has {body} bytes: correct or remove that line"),
        ),
        _ => Ok(message.into()),
    }
}

/// The head's lines ended as HTTP wants; files that people write often end them otherwise.
fn with_line_ends(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let (line, after) = rest.split_at(end);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
        rest = after.get(1..).unwrap_or_default();
        if line.is_empty() {
            break;
        }
    }
    out.extend_from_slice(rest);
    out
}

/// `errorloc CODE URL` and its like.
pub(super) fn error_location(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    if l.args().len() < 2 {
        return l.fail(
            0,
            format!("'{}' wants a status code and a URL", l.keyword()),
        );
    }
    l.surplus(2);
    let kind = if l.keyword() == "errorloc303" {
        ErrorLocation::SeeOther303
    } else {
        ErrorLocation::Found302
    };
    let page = ErrorPage::Redirect(kind, l.arg(1).into());
    d.errors.push(ErrorLine::Page(status(l, 0)?, page));
    Ok(())
}

/// `errorfiles NAME [CODE]*`.
pub(super) fn error_files(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    if l.args().is_empty() {
        return l.fail(0, "'errorfiles' wants the name of an http-errors section");
    }
    let codes = (1..l.args().len()).map(|at| status(l, at));
    let codes = codes.collect::<Result<_, _>>()?;
    d.errors.push(ErrorLine::Group {
        name: l.arg(0).into(),
        codes,
        place: l.place(0),
    });
    Ok(())
}

const PARTS: [&str; 9] = [
    "content-type",
    "string",
    "lf-string",
    "file",
    "lf-file",
    "errorfile",
    "errorfiles",
    "default-errorfiles",
    "hdr",
];

/// `http-error status CODE …`.
pub(super) fn http_error(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    if l.arg(0) != "status" || l.arg(1).is_empty() {
        return l.fail(
            0,
            "'http-error' wants a status, such as 'http-error status 503'",
        );
    }
    let status = status(l, 1)?;
    let (mut content_type, mut headers) = (None, String::new());
    let mut body: Option<(usize, Vec<u8>)> = None;
    let mut line = None;
    let mut at = 2;
    while at < l.args().len() {
        let (word, value) = (l.arg(at), l.arg(at + 1));
        if !PARTS.contains(&word) {
            return l.fail(at, near("http-error word", word, &PARTS));
        }
        if value.is_empty() && word != "default-errorfiles" {
            return l.fail(at, format!("'{word}' wants a value after it"));
        }
        match word {
            "content-type" => content_type = Some(value),
            "string" => body = Some((at, value.into())),
            "file" => {
                let read = l.source.read(value);
                let read = read.or_else(|e| l.fail(at + 1, format!("cannot read '{value}': {e}")));
                body = Some((at, read?));
            }
            "lf-string" => body = Some((at, fixed(l, at + 1, value)?)),
            "lf-file" => {
                let read = l.source.read(value);
                let read = read.or_else(|e| l.fail(at + 1, format!("cannot read '{value}': {e}")));
                let text = String::from_utf8_lossy(&read?).into_owned();
                body = Some((at, fixed(l, at + 1, &text)?));
            }
            "errorfile" => {
                let page = ErrorPage::Raw(message(l, at + 1)?);
                line = Some(ErrorLine::Page(status, page));
            }
            "errorfiles" => {
                line = Some(ErrorLine::Group {
                    name: value.into(),
                    codes: vec![status],
                    place: l.place(at + 1),
                });
            }
            "default-errorfiles" => line = Some(ErrorLine::Default(status)),
            _ => {
                if l.arg(at + 2).is_empty() {
                    return l.fail(at, "'hdr' wants a name and a value");
                }
                let value = fixed(l, at + 2, l.arg(at + 2))?;
                let value = String::from_utf8_lossy(&value).into_owned();
                headers.push_str(&format!("{}: {value}\r\n", l.arg(at + 1)));
                at += 1;
            }
        }
        at += if word == "default-errorfiles" { 1 } else { 2 };
    }
    let line = match (line, body) {
        (Some(line), _) => line,
        (None, Some((at, body))) if !body.is_empty() && content_type.is_none() => {
            let _ = body;
            return l.fail(
                at,
                "a body wants 'content-type' beside it, such as content-type text/plain",
            );
        }
        (None, body) => {
            let body = body.map(|(_, b)| b).unwrap_or_default();
            if let Some(kind) = content_type.filter(|_| !body.is_empty()) {
                headers.push_str(&format!("content-type: {kind}\r\n"));
            }
            let reason = http::status::reason(status);
            let mut page = format!(
                "HTTP/1.1 {status} {reason}\r\n{headers}content-length: {}\r\n\r\n",
                body.len()
            )
            .into_bytes();
            page.extend_from_slice(&body);
            ErrorLine::Page(status, ErrorPage::Raw(page.into()))
        }
    };
    d.errors.push(line);
    Ok(())
}

/// A format that is the same for every request.
fn fixed(l: &Line<'_>, at: usize, text: &str) -> Result<Vec<u8>, Fault> {
    let format =
        LogFormat::parse(text, &rules::Scope::bare()).or_else(|e| l.fail(at, e.message))?;
    match format.fixed() {
        Some(fixed) => Ok(fixed.to_vec()),
        None => l.fail(
            at,
            "a page of 'http-error' that differs by request is something of HAProxy that mulgil does not have yet",
        ),
    }
}
