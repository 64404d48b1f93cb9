//! What is said to a control socket and what is said of a configuration file.

use crate::Program;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Sends parts to a control socket and returns what comes within a moment after each; `<end>` stands
/// where the socket was closed.
pub fn converse(path: &str, parts: &[&str]) -> String {
    let mut stream = UnixStream::connect(path).expect("the control socket");
    let mut out = String::new();
    for (n, part) in parts.iter().enumerate() {
        // What comes late is read with the next answer; the last has no next.
        let wait = if n + 1 == parts.len() { 1500 } else { 150 };
        let wait = Some(Duration::from_millis(wait));
        stream.set_read_timeout(wait).expect("a timeout");
        if stream.write_all(part.as_bytes()).is_err() {
            break;
        }
        let mut chunk = [0; 65536];
        while let Ok(n) = stream.read(&mut chunk) {
            if n == 0 {
                return out + "<end>";
            }
            out += &String::from_utf8_lossy(&chunk[..n]);
        }
    }
    out
}

/// What a program says of a configuration file.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// It would start, but not without a word.
    Warned,
    /// It would not start.
    Refused,
}

impl Verdict {
    /// Has the file read by the program; also what it wrote.
    pub fn of(program: &Program, file: &str) -> (Verdict, String) {
        let (status, text) = program.run(&["-c", "-f", file]);
        let warned = text.contains("[WARNING]") || text.contains("warning:");
        let verdict = match (status, warned) {
            (0, false) => Verdict::Fine,
            (0, true) => Verdict::Warned,
            _ => Verdict::Refused,
        };
        (verdict, text)
    }
}
