//! `expect` of `http-check` and `tcp-check`.

use super::{Kind, near, push, unhex, value};
use crate::diag::Fault;
use crate::draft::Draft;
use crate::line::Line;
use model::{
    CheckAction, CheckExpect, CheckStatus, HeaderMatch, Match, TextHow, TextMatch, TextPattern,
};
use rules::Regex;

const HTTP: [&str; 7] = [
    "status",
    "rstatus",
    "hdr",
    "fhdr",
    "string",
    "rstring",
    "string-lf",
];
const TCP: [&str; 6] = [
    "string",
    "rstring",
    "string-lf",
    "binary",
    "rbinary",
    "binary-lf",
];

pub(super) fn expect(d: &mut Draft, l: &mut Line<'_>, kind: Kind) -> Result<(), Fault> {
    let mut expect = CheckExpect {
        what: Match::Status(Vec::new()),
        negated: false,
        min_recv: None,
        ok: CheckStatus::L7Ok,
        error: None,
        timeout: CheckStatus::L7TimeOut,
        on_success: None,
        on_error: None,
        code: None,
    };
    let mut comment = None;
    let mut at = 0;
    // Words about how the result is told stand before the pattern.
    loop {
        match l.arg(at) {
            "min-recv" => {
                expect.min_recv = match value(l, at)?.parse::<i64>() {
                    Ok(-1) => None,
                    Ok(n) if (0..=i64::from(i32::MAX)).contains(&n) => Some(n as u32),
                    _ => {
                        let text = l.arg(at + 1);
                        return l.fail(
                            at + 1,
                            format!("'{text}' is no number of bytes: use -1 or more"),
                        );
                    }
                };
            }
            "comment" => comment = Some(value(l, at)?.into()),
            "ok-status" => expect.ok = status(l, at, &["L4OK", "L6OK", "L7OK", "L7OKC"])?,
            "error-status" => {
                let names = ["L4CON", "L6RSP", "L7OKC", "L7RSP", "L7STS"];
                expect.error = Some(status(l, at, &names)?);
            }
            "tout-status" => {
                expect.timeout = status(l, at, &["L4TOUT", "L6TOUT", "L7TOUT"])?;
            }
            "on-success" => {
                value(l, at)?;
                expect.on_success = Some(l.format(at + 1)?);
            }
            "on-error" => {
                value(l, at)?;
                expect.on_error = Some(l.format(at + 1)?);
            }
            "status-code" => {
                value(l, at)?;
                expect.code = Some(l.expression(at + 1)?);
            }
            _ => break,
        }
        at += 2;
    }
    while l.arg(at) == "!" {
        expect.negated = !expect.negated;
        at += 1;
    }
    let names: &[&str] = match kind {
        Kind::Http => &HTTP,
        Kind::Tcp | Kind::Udp => &TCP,
    };
    let word = l.arg(at);
    if word.is_empty() || l.arg(at + 1).is_empty() {
        let example = match kind {
            Kind::Http => "status 200",
            Kind::Tcp | Kind::Udp => "string +PONG",
        };
        return l.fail(
            at,
            format!(
                "'{} expect' wants a kind and a pattern, such as {example}",
                kind.word()
            ),
        );
    }
    if !names.contains(&word) {
        return l.fail(at, near("expectation", word, names));
    }
    let (what, end) = pattern(l, at)?;
    if l.args().len() > end {
        return l.exactly(end, "one pattern");
    }
    expect.what = what;
    push(d, kind, CheckAction::Expect(Box::new(expect)), comment);
    Ok(())
}

fn status(l: &Line<'_>, at: usize, names: &[&str]) -> Result<CheckStatus, Fault> {
    let text = value(l, at)?;
    match CheckStatus::by_code(text).filter(|_| names.contains(&text)) {
        Some(status) => Ok(status),
        None => l.fail(at + 1, near(l.arg(at), text, names)),
    }
}

/// The match that the word at `at` begins, and where it ends.
fn pattern(l: &Line<'_>, at: usize) -> Result<(Match, usize), Fault> {
    let text = l.arg(at + 1);
    let what = match l.arg(at) {
        "status" => Match::Status(statuses(l, at + 1)?),
        "rstatus" => Match::StatusRegex(regex(l, at + 1, false)?),
        "string" => Match::Text(text.as_bytes().into()),
        "string-lf" => Match::TextFormat(l.format(at + 1)?),
        "rstring" => Match::Regex(regex(l, at + 1, false)?),
        "binary" => Match::Binary(unhex(l, at + 1)?),
        "binary-lf" => Match::BinaryFormat(l.format(at + 1)?),
        "rbinary" => Match::BinaryRegex(regex(l, at + 1, false)?),
        word => return header(l, at, word == "fhdr"),
    };
    Ok((what, at + 2))
}

fn statuses(l: &Line<'_>, at: usize) -> Result<Vec<(u16, u16)>, Fault> {
    let text = l.arg(at);
    let ranges = text.split(',').map(|range| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let (low, high) = (low.parse::<u16>().ok()?, high.parse::<u16>().ok()?);
        (low <= high).then_some((low, high))
    });
    match ranges.collect::<Option<Vec<_>>>() {
        Some(ranges) => Ok(ranges),
        None => l.fail(
            at,
            format!("'{text}' is no list of statuses, such as 200-399"),
        ),
    }
}

fn regex(l: &Line<'_>, at: usize, fold: bool) -> Result<Regex, Fault> {
    l.map(at, Regex::new(l.arg(at), fold))
}

/// `hdr|fhdr name|name-lf [-m METH] NAME [value|value-lf [-m METH] VALUE]`.
fn header(l: &Line<'_>, at: usize, full: bool) -> Result<(Match, usize), Fault> {
    if !matches!(l.arg(at + 1), "name" | "name-lf") {
        return l.fail(
            at + 1,
            format!(
                "'{}' wants name or name-lf first, and the header's name",
                l.arg(at)
            ),
        );
    }
    let (name, mut end) = text_match(l, at + 1, true)?;
    let mut value = None;
    if matches!(l.arg(end), "value" | "value-lf") {
        let (text, after) = text_match(l, end, false)?;
        (value, end) = (Some(text), after);
    }
    let header = HeaderMatch { full, name, value };
    Ok((Match::Header(Box::new(header)), end))
}

/// `WORD [-m METH] TEXT` from `at` on, and where it ends; WORD may end with `-lf`.
fn text_match(l: &Line<'_>, at: usize, fold: bool) -> Result<(TextMatch, usize), Fault> {
    let format = l.arg(at).ends_with("-lf");
    let mut text_at = at + 1;
    let mut how = TextHow::Str;
    if l.arg(text_at) == "-m" {
        how = match l.arg(text_at + 1) {
            "str" => TextHow::Str,
            "beg" => TextHow::Beg,
            "end" => TextHow::End,
            "sub" => TextHow::Sub,
            "reg" => TextHow::Reg,
            other => {
                let names = ["str", "beg", "end", "sub", "reg"];
                return l.fail(text_at + 1, near("matching method", other, &names));
            }
        };
        text_at += 2;
    }
    if l.arg(text_at).is_empty() {
        return l.fail(at, format!("'{}' wants a pattern after it", l.arg(at)));
    }
    let pattern = match (how, format) {
        (TextHow::Reg, true) => {
            return l.fail(
                text_at,
                "a format cannot be a regular expression: use name or value",
            );
        }
        (TextHow::Reg, false) => TextPattern::Regex(regex(l, text_at, fold)?),
        (_, true) => TextPattern::Format(l.format(text_at)?),
        (_, false) => TextPattern::Text(l.arg(text_at).into()),
    };
    Ok((TextMatch { how, pattern }, text_at + 1))
}
