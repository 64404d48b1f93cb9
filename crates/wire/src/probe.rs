//! Health checks that speak a server's own protocol, as conversations without I/O.
//!
//! A conversation is asked once for what to say first, and then after each piece that comes what
//! to do next. It keeps what it has heard since it last spoke, at most [`HEARD`] bytes.

mod ldap;
mod mysql;
mod pgsql;
mod redis;
mod smtp;
mod tls;

/// Bytes of one answer that are looked at.
pub const HEARD: usize = 16 * 1024;

/// What a check asks for.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// `PING` of Redis.
    Redis,
    /// SMTP's greeting, then this command and `QUIT`.
    Smtp(&'a str),
    /// MySQL's greeting, and a login without a password where a user is named; `old`: as clients
    /// before 4.1 did.
    MySql {
        /// Who logs in.
        user: Option<&'a str>,
        /// `pre-41`.
        old: bool,
    },
    /// PostgreSQL's start as this user.
    PgSql(&'a str),
    /// An anonymous bind to an LDAPv3 server.
    Ldap,
    /// A TLS client's hello.
    TlsHello,
}

/// What an answer says of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is well.
    Passed,
    /// It speaks TLS.
    Tls,
    /// It says itself that it is not well.
    Status,
    /// It does not speak the protocol.
    Invalid,
    /// It does not speak TLS.
    NoTls,
}

/// A conversation's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it means.
    pub outcome: Outcome,
    /// The protocol's own code, 0 where it has none.
    pub code: u32,
    /// What the server said.
    pub text: String,
}

impl Verdict {
    fn of(outcome: Outcome, code: u32, text: impl Into<String>) -> Next {
        Next::End(Verdict {
            outcome,
            code,
            text: text.into(),
        })
    }

    fn passed(code: u32, text: impl Into<String>) -> Next {
        Verdict::of(Outcome::Passed, code, text)
    }

    fn status(code: u32, text: impl Into<String>) -> Next {
        Verdict::of(Outcome::Status, code, text)
    }

    fn invalid(text: impl Into<String>) -> Next {
        Verdict::of(Outcome::Invalid, 0, text)
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for more.
    More,
    /// Say this, then wait.
    Say(Vec<u8>),
    /// It is over.
    End(Verdict),
}

/// One conversation with one server.
#[derive(Debug)]
pub struct Conversation<'a> {
    question: Question<'a>,
    heard: Vec<u8>,
    /// Answers that were understood.
    turn: u8,
}

impl<'a> Conversation<'a> {
    /// One that begins, and what is said first; nothing where the server begins.
    pub fn new(question: Question<'a>) -> (Conversation<'a>, Vec<u8>) {
        let first = match question {
            Question::Redis => redis::PING.to_vec(),
            Question::PgSql(user) => pgsql::start(user),
            Question::Ldap => ldap::BIND.to_vec(),
            Question::TlsHello => tls::hello(),
            Question::Smtp(_) | Question::MySql { .. } => Vec::new(),
        };
        let conversation = Conversation {
            question,
            heard: Vec::new(),
            turn: 0,
        };
        (conversation, first)
    }

    /// Takes what has come; nothing: the server sends no more.
    pub fn hear(&mut self, bytes: &[u8]) -> Next {
        self.heard.extend_from_slice(bytes);
        let ended = bytes.is_empty() || self.heard.len() >= HEARD;
        let heard = &self.heard;
        let next = match self.question {
            _ if heard.is_empty() => self.silence(),
            Question::Redis => redis::hear(heard, ended),
            Question::Smtp(hello) => smtp::hear(heard, ended, self.turn, hello),
            Question::MySql { user, old } => mysql::hear(heard, ended, self.turn, user, old),
            Question::PgSql(_) => pgsql::hear(heard, ended),
            Question::Ldap => ldap::hear(heard, ended),
            Question::TlsHello => tls::hear(heard),
        };
        if let Next::Say(_) = next {
            self.heard.clear();
            self.turn += 1;
        }
        next
    }

    /// The server ended without an answer. The steps are those of HAProxy's own sequences.
    fn silence(&self) -> Next {
        let (outcome, step) = match (self.question, self.turn) {
            (Question::Redis, _) => (Outcome::Status, 2),
            (Question::Smtp(_), 0) => (Outcome::Invalid, 2),
            (Question::Smtp(_), 1) => (Outcome::Status, 5),
            (Question::Smtp(_), _) => (Outcome::Status, 7),
            (Question::MySql { .. }, 1..) => return Verdict::invalid(""),
            (Question::PgSql(_), _) => (Outcome::Invalid, 3),
            (Question::TlsHello, _) => (Outcome::NoTls, 2),
            (Question::MySql { .. } | Question::Ldap, _) => (Outcome::Invalid, 2),
        };
        let text = format!("TCPCHK got an empty response at step {step}");
        Verdict::of(outcome, 0, text)
    }
}

/// A line's text without its end.
fn line(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|b| matches!(b, b'\r' | b'\n' | 0))
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests;
