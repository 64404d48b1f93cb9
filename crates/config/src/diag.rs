//! Diagnostics: what is wrong, where, and what to do.

use std::fmt::Write;
use std::sync::Arc;

/// How grave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Severity {
    Diag,
    Notice,
    Warning,
    Error,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Diag => "diag",
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How grave.
    pub severity: Severity,
    /// The file; empty when the message is about the whole configuration.
    pub file: Arc<str>,
    /// Line, from 1; 0: none.
    pub line: usize,
    /// Column, from 1, in characters; 0: none.
    pub column: usize,
    /// The line itself.
    pub text: String,
    /// How many characters the caret underlines.
    pub width: usize,
    /// Lowercase, names the value, ends with the remedy.
    pub message: String,
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = self.severity.word();
        if self.line == 0 {
            return write!(f, "{word}: {}", self.message);
        }
        write!(
            f,
            "{}:{}:{}: {word}: {}",
            self.file,
            self.line,
            self.column.max(1),
            self.message
        )?;
        if self.column == 0 {
            return Ok(());
        }
        // Long lines are shown around the place.
        let skip = if self.column > 60 {
            self.column - 40
        } else {
            0
        };
        let shown: String = self
            .text
            .chars()
            .skip(skip)
            .take(100)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let number = self.line.to_string();
        let mut caret = String::new();
        let _ = write!(caret, "{:1$}", "", self.column - 1 - skip);
        caret.push_str(&"^".repeat(self.width.clamp(1, 100)));
        write!(f, "\n {number:>4} | {shown}\n      | {caret}")
    }
}

/// Words before which a secret stands, on lines that begin with the first of a pair.
const SECRETS: &[(Option<&str>, &str)] = &[
    (None, "tcp-md5sig"),
    (None, "dynamic-cookie-key"),
    (None, "anonkey"),
    (Some("user"), "password"),
    (Some("user"), "insecure-password"),
    (Some("stats"), "auth"),
    (Some("guard"), "key"),
];

/// A line as it may be shown: an asterisk for each character of a secret.
pub(crate) fn without_secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut first, mut word) = (None, String::new());
    let (mut quote, mut escaped, mut secret) = (None, false, false);
    for c in text.chars() {
        let space = c.is_whitespace() && quote.is_none() && !escaped;
        if space && !word.is_empty() {
            first.get_or_insert_with(|| word.clone());
            let before = std::mem::take(&mut word);
            let begins = |w: &Option<&str>| w.is_none() || first.as_deref() == *w;
            secret = SECRETS.iter().any(|(w, name)| begins(w) && before == *name);
        }
        if !space {
            word.push(c);
        }
        match (quote, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        out.push(if secret && !space { '*' } else { c });
    }
    out
}

/// All messages of one load.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order of the lines they are about.
    pub diagnostics: Vec<Diagnostic>,
    /// How many more there are than the caps let be shown.
    pub suppressed: usize,
    errors: usize,
    others: usize,
}

/// Errors shown at most, and messages of all other kinds: warnings never hide an error.
const CAP: usize = 100;

impl Report {
    /// Adds one, unless the same has been said of the same place: a line of `defaults` is read
    /// once, and meant by every section below.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.contains(&diagnostic) {
            return;
        }
        let count = if diagnostic.severity == Severity::Error {
            &mut self.errors
        } else {
            &mut self.others
        };
        *count += 1;
        if *count > CAP {
            self.suppressed += 1;
        } else {
            self.diagnostics.push(diagnostic);
        }
    }

    /// A message about no line.
    pub fn general(&mut self, severity: Severity, message: impl Into<String>) {
        self.push(Diagnostic {
            severity,
            file: "".into(),
            line: 0,
            column: 0,
            text: String::new(),
            width: 0,
            message: message.into(),
        });
    }

    /// Orders the messages as their lines stand in these files; those about no line come last.
    pub fn order(&mut self, files: &[String]) {
        let position = |d: &Diagnostic| files.iter().position(|f| **f == *d.file);
        self.diagnostics
            .sort_by_key(|d| (position(d).unwrap_or(files.len()), d.line));
    }

    /// Errors so far.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Whether there is a warning.
    pub fn warned(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|d| d.severity == Severity::Warning)
    }
}

/// What is wrong with one line, before its place is known.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Index of the word.
    pub word: usize,
    /// Byte in the word.
    pub offset: usize,
    /// The message.
    pub message: String,
    /// How grave.
    pub severity: Severity,
}

impl Fault {
    /// An error about a word.
    pub fn at(word: usize, message: impl Into<String>) -> Fault {
        Fault {
            word,
            offset: 0,
            message: message.into(),
            severity: Severity::Error,
        }
    }

    /// A warning about a word.
    pub fn warning(word: usize, message: impl Into<String>) -> Fault {
        Fault {
            severity: Severity::Warning,
            ..Fault::at(word, message)
        }
    }

    /// A rule's error, `words` words further on.
    pub fn rule(error: rules::ParseError, words: usize) -> Fault {
        Fault {
            word: error.word + words,
            offset: error.offset,
            message: error.message,
            severity: Severity::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_line_are_not_shown() {
        for (line, shown) in [
            (
                " server s :1 tcp-md5sig top chek",
                " server s :1 tcp-md5sig *** chek",
            ),
            ("bind :1 tcp-md5sig \"a b\" x", "bind :1 tcp-md5sig ***** x"),
            ("bind :1 tcp-md5sig a\\ b x", "bind :1 tcp-md5sig **** x"),
            (
                "user a insecure-password 'b c",
                "user a insecure-password ****",
            ),
            ("stats auth me:too x", "stats auth ****** x"),
            ("acl password path /key", "acl password path /key"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(line), shown);
        }
    }
}
