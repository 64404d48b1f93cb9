//! What rules come to, and what they change besides the message.

use super::{Redirect, Reply, Resolve, Service, Silence};

/// A change of the log level by a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevelChange {
    /// None.
    #[default]
    Unchanged,
    /// No line at all.
    Silent,
    /// This severity (0 `emerg` to 7 `debug`).
    Level(u8),
}

/// What the rules came to.
#[derive(Debug)]
pub enum Verdict<'r> {
    /// The end of the rules.
    Continue,
    /// No further rules.
    Allow,
    /// Refuse with this answer.
    Deny(&'r Reply),
    /// Refuse with this answer, late.
    Tarpit(&'r Reply),
    /// Answer with this.
    Return(&'r Reply),
    /// Send the client elsewhere.
    Redirect(&'r Redirect),
    /// Close without a word.
    Reject,
    /// Close the connection to the server; what it said may pass.
    CloseServer,
    /// The session goes on as one of HTTP.
    SwitchMode,
    /// Have this service answer.
    Service(Service),
    /// Go on at the rule of this index after a time.
    Pause {
        /// Milliseconds.
        time_ms: u64,
        /// Where to go on.
        resume: usize,
    },
    /// Wait for the body, then go on at the rule of this index.
    WaitForBody {
        /// Milliseconds at most.
        time_ms: u64,
        /// Bytes that suffice.
        at_least: Option<u64>,
        /// Where to go on.
        resume: usize,
    },
    /// Ask name servers, set the variable, then go on at the rule of this index.
    Resolve {
        /// What is asked, of whom, and for which variable.
        rule: &'r Resolve,
        /// The name.
        name: Box<str>,
        /// Where to go on.
        resume: usize,
    },
}

/// What rules change besides the message.
#[derive(Debug, Default)]
pub struct Effects {
    /// `set-log-level`.
    pub log_level: LogLevelChange,
    /// `disable-l7-retry`.
    pub no_retry: bool,
    /// `expect-proxy`: a PROXY header comes before everything else.
    pub expect_proxy: bool,
    /// `expect-netscaler-cip`: a header of a NetScaler's comes before everything else.
    pub expect_netscaler: bool,
    /// `set-tos`: for the client's connection.
    pub tos: Option<u8>,
    /// `set-mark`: for the client's connection.
    pub mark: Option<u32>,
    /// `silent-drop`: how the connection ends, which rules have rejected.
    pub silence: Option<Silence>,
    /// `set-priority-class`.
    pub priority_class: Option<i32>,
    /// `set-priority-offset`, milliseconds.
    pub priority_offset: Option<i32>,
    /// `early-hint`: fields that go ahead of the response.
    pub early_hints: Vec<(Box<[u8]>, Vec<u8>)>,
    /// `capture`: slot and value.
    pub captures: Vec<(usize, Box<[u8]>)>,
}
