//! What is told of one check.

use super::CheckStatus;
use std::time::Duration;

/// One check's result with all that is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The result.
    pub status: CheckStatus,
    /// A code of the protocol: an HTTP status, an exit status.
    pub code: Option<u32>,
    /// What the server or the system said, or where a script ended; may be empty.
    pub info: Box<str>,
    /// How long the check took.
    pub took: Duration,
}

impl Finding {
    /// A result without code and text.
    pub fn of(status: CheckStatus) -> Finding {
        Finding {
            status,
            code: None,
            info: "".into(),
            took: Duration::ZERO,
        }
    }

    /// The same with a code.
    pub fn with_code(mut self, code: impl Into<u32>) -> Finding {
        self.code = Some(code.into());
        self
    }

    /// The same with a text.
    pub fn because(mut self, info: impl Into<Box<str>>) -> Finding {
        self.info = info.into();
        self
    }

    /// Why it came to this, as log lines tell it.
    pub fn reason(&self) -> String {
        let code = self.code.map_or(String::new(), |c| format!(", code: {c}"));
        let info = match &*self.info {
            "" => String::new(),
            info => format!(", info: \"{}\"", printable(info)),
        };
        let (status, took) = (self.status.describe(), self.took.as_millis());
        format!("{status}{code}{info}, check duration: {took}ms")
    }
}

/// With control characters as `<0A>`, so that a server cannot break log lines.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii_control() {
            true => out.push_str(&format!("<{:02X}>", c as u32)),
            false => out.push(c),
        }
    }
    out
}
