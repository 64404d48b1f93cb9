//! What checks send: `option httpchk`, `http-check send`, `tcp-check send` and its kin.

use super::{Kind, fixed, near, push, unhex, value};
use crate::diag::Fault;
use crate::draft::{CheckChoice, Draft, RequestDraft};
use crate::line::Line;
use model::{CheckAction, CheckPayload};

/// `option httpchk [URI | METHOD URI [VERSION [HOST]]]`.
pub fn httpchk(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    d.check.choice = Some(CheckChoice::Http);
    if !l.arg(5).is_empty() {
        return l.exactly(5, "a request");
    }
    let mut send = RequestDraft::default();
    match (l.arg(1), l.arg(2)) {
        ("", _) => {}
        (uri, "") => send.uri = Some(fixed(uri)),
        (method, uri) => {
            send.method = Some(method.into());
            send.uri = Some(fixed(uri));
        }
    }
    // What follows the version is the Host, or header lines joined by `\r\n` in older files.
    let version = l.arg(3);
    if !version.is_empty() {
        if version.contains("\r\n") {
            let message = "headers behind the version are an old way to name them: use 'http-check send hdr NAME VALUE'";
            l.warnings.push(Fault::warning(l.skip + 3, message));
        }
        let mut parts = version.split("\r\n");
        send.version = parts.next().map(Into::into);
        for header in parts {
            if let Some((name, value)) = header.split_once(':') {
                let field = (name.trim().into(), fixed(value.trim()));
                send.headers.push(field);
            }
        }
    }
    match l.arg(4) {
        "" => {}
        host => send.headers.push((
            "Host".into(),
            fixed(host.strip_prefix("Host: ").unwrap_or(host)),
        )),
    }
    d.check.option = send;
    Ok(())
}

const WORDS: [&str; 8] = [
    "meth", "uri", "uri-lf", "ver", "hdr", "body", "body-lf", "comment",
];

pub(super) fn request(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let steps = &Kind::Http.rules(d).steps;
    let mut last = steps
        .iter()
        .rev()
        .filter(|s| matches!(s.action, CheckAction::Connect(_) | CheckAction::Request(_)));
    let again = matches!(
        last.next().map(|s| &s.action),
        Some(CheckAction::Request(_))
    );
    if again {
        return l.fail(
            0,
            "a connection carries one request: put an 'http-check connect' before this line",
        );
    }
    let mut send = RequestDraft::default();
    let mut comment = None;
    let mut at = 0;
    while !l.arg(at).is_empty() {
        let word = l.arg(at);
        if !WORDS.contains(&word) {
            return l.fail(at, near("http-check send word", word, &WORDS));
        }
        let text = value(l, at)?;
        match word {
            "meth" => send.method = Some(token(l, at + 1, "method")?.into()),
            "uri" => send.uri = Some(fixed(text)),
            "uri-lf" => send.uri = Some(l.format(at + 1)?),
            "ver" => send.version = Some(text.into()),
            "hdr" => {
                let name = token(l, at + 1, "header name")?;
                if l.args().len() <= at + 2 {
                    return l.fail(at, "'hdr' wants a name and a value after it");
                }
                send.headers.push((name.into(), l.format(at + 2)?));
                at += 1;
            }
            "body" => send.body = Some(fixed(text)),
            "body-lf" => send.body = Some(l.format(at + 1)?),
            _ => comment = Some(text.into()),
        }
        at += 2;
    }
    // The first request says the rest of what `option httpchk` leaves open, and the other way
    // round; the line may still come.
    let made = send.clone().over(&RequestDraft::default());
    Kind::Http.rules(d).first.get_or_insert(send);
    push(d, Kind::Http, CheckAction::Request(Box::new(made)), comment);
    Ok(())
}

/// A token (RFC 9110 section 5.6.2), so that no line of a request can be broken.
fn token<'a>(l: &Line<'a>, at: usize, what: &str) -> Result<&'a str, Fault> {
    let text = l.arg(at);
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match text.bytes().all(valid) {
        true => Ok(text),
        false => l.fail(
            at,
            format!("'{text}' is no {what}: use letters, digits and '-'"),
        ),
    }
}

/// How a payload is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Text,
    Hex,
    Format,
    HexFormat,
}

pub(super) fn bytes(d: &mut Draft, l: &mut Line<'_>, kind: Kind, how: How) -> Result<(), Fault> {
    if l.args().is_empty() {
        return l.exactly(1, "what to send");
    }
    let payload = match how {
        How::Text => CheckPayload::Bytes(l.arg(0).as_bytes().into()),
        How::Hex => CheckPayload::Bytes(unhex(l, 0)?),
        How::Format => CheckPayload::Format(l.format(0)?),
        How::HexFormat => CheckPayload::HexFormat(l.format(0)?),
    };
    let comment = match l.arg(1) {
        "" => None,
        "comment" => Some(value(l, 1)?.into()),
        other => return l.fail(1, near("word", other, &["comment"])),
    };
    if l.args().len() > 3 {
        return l.exactly(3, "what to send and a comment");
    }
    push(d, kind, CheckAction::Send(payload), comment);
    Ok(())
}
