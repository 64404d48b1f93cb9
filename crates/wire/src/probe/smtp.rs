//! SMTP (RFC 5321): the greeting, one command, `QUIT`.

use super::{Next, Verdict, line};

pub fn hear(heard: &[u8], ended: bool, turn: u8, hello: &str) -> Next {
    let Some(last) = last_line(heard) else {
        return match (ended, malformed(heard)) {
            (false, false) => Next::More,
            _ => Verdict::invalid(line(heard)),
        };
    };
    let digits = last.get(..3).unwrap_or_default();
    let code = digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'));
    let text = line(last.get(4..).unwrap_or_default());
    match (digits.first(), turn) {
        (Some(b'2'), 0) => Next::Say(format!("{hello}\r\n").into_bytes()),
        (Some(b'2'), 1) => Next::Say(b"QUIT\r\n".to_vec()),
        (Some(b'2'), _) => Verdict::passed(code, text),
        _ => Verdict::status(code, text),
    }
}

/// The line that ends a reply: three digits and no hyphen (RFC 5321 section 4.2.1).
fn last_line(heard: &[u8]) -> Option<&[u8]> {
    let whole = heard.split_inclusive(|b| *b == b'\n');
    let mut whole = whole.filter(|l| l.ends_with(b"\n"));
    whole.find(|l| coded(l) && l.get(3) != Some(&b'-'))
}

fn coded(line: &[u8]) -> bool {
    line.get(..3)
        .is_some_and(|d| d.iter().all(u8::is_ascii_digit))
}

/// Whether a whole line has come that is none of a reply.
fn malformed(heard: &[u8]) -> bool {
    let whole = heard.split_inclusive(|b| *b == b'\n');
    let mut whole = whole.filter(|l| l.ends_with(b"\n"));
    whole.any(|l| !coded(l))
}
