//! PostgreSQL's protocol 3.0: the start-up message (PostgreSQL manual, "Message Formats").

use super::{Next, Verdict, line};

pub fn start(user: &str) -> Vec<u8> {
    let mut body = vec![0, 3, 0, 0];
    for text in ["user", user, ""] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    let mut out = (body.len() as u32 + 4).to_be_bytes().to_vec();
    out.append(&mut body);
    out
}

pub fn hear(heard: &[u8], ended: bool) -> Next {
    match heard {
        // AuthenticationRequest of whatever kind: there is somebody who would let us in.
        [b'R', 0, 0, 0, 8..=255, 0, 0, 0, _, ..] => Verdict::passed(0, "PostgreSQL server is ok"),
        [b'E', _, _, _, _, _, text @ ..] if ended || text.contains(&0) => {
            Verdict::invalid(line(text))
        }
        [b'R' | b'E', ..] if !ended && heard.len() < 9 => Next::More,
        [b'E', ..] if !ended => Next::More,
        _ => Verdict::status(0, "PostgreSQL unknown error"),
    }
}
