//! What is told of one check.

use super::CheckStatus;
use std::time::Duration;

/// Bytes of a text that are kept, as many as HAProxy keeps: what a server says goes into logs.
const LONGEST: usize = 127;

/// One check's result with all that is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The result.
    pub status: CheckStatus,
    /// A code of the protocol: an HTTP status, an exit status.
    pub code: Option<u32>,
    /// What the server or the system said, or where a script ended; may be empty, and has [`LONGEST`] bytes at most.
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
        let mut info: Box<str> = info.into();
        if info.len() > LONGEST {
            let end = (0..=LONGEST).rfind(|at| info.is_char_boundary(*at));
            info = info.get(..end.unwrap_or(0)).unwrap_or_default().into();
        }
        self.info = info;
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

/// With all that is not printable ASCII as `<0A>`, and the quotation mark, so that a server cannot break log lines.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | ..0x20 | 0x7f.. => out.push_str(&format!("<{byte:02X}>")),
            _ => out.push(byte.into()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_bounded_and_breaks_no_log_line() {
        let found = Finding::of(CheckStatus::L7Status).because("a\tb \"q\" \\ \u{e9}\n");
        assert_eq!(
            found.reason(),
            r#"Layer7 wrong status, info: "a<09>b <22>q<22> \ <C3><A9><0A>", check duration: 0ms"#
        );
        let long = Finding::of(CheckStatus::L7Status).because("\u{e9}".repeat(100));
        assert_eq!(long.info.len(), 126, "no half characters");
    }
}
