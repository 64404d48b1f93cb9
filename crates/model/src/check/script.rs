//! The rules of `http-check` and `tcp-check` (manual section 4.2).

use super::CheckStatus;
use crate::Address;
use rules::{Expr, LogFormat, Regex, VarCondition, VarName};
use std::sync::Arc;

/// A sequence of rules.
#[derive(Clone, Debug)]
pub struct CheckScript {
    /// Whether they speak HTTP.
    pub http: bool,
    /// The rules in their order; the first connection is among them.
    pub steps: Vec<CheckStep>,
}

impl CheckScript {
    /// Whether rules say which port every connection goes to.
    pub fn names_port(steps: &[CheckStep]) -> bool {
        let mut connects = steps.iter().filter_map(|step| match &step.action {
            CheckAction::Connect(rule) => {
                Some(rule.port.is_some() || rule.addr.as_ref().is_some_and(Address::names_port))
            }
            _ => None,
        });
        connects.next() == Some(true) && connects.all(|named| named)
    }
}

/// One rule.
#[derive(Clone, Debug)]
pub struct CheckStep {
    /// What it does.
    pub action: CheckAction,
    /// What is told when it fails.
    pub comment: Option<Arc<str>>,
    /// Its number as the file has it, from 1; 0 for what the file does not have.
    pub number: u32,
}

/// What a rule does.
#[derive(Clone, Debug)]
pub enum CheckAction {
    /// Opens a connection, in place of one that is open.
    Connect(Box<CheckConnect>),
    /// Sends bytes.
    Send(CheckPayload),
    /// Sends a request.
    Request(Box<HttpCheckSend>),
    /// Waits for an answer and judges it.
    Expect(Box<CheckExpect>),
    /// Sets a variable.
    SetVar(Box<CheckVar>),
    /// Forgets a variable.
    UnsetVar(VarName),
}

/// `connect`.
#[derive(Clone, Debug, Default)]
pub struct CheckConnect {
    /// `default`, and the connection that no rule asks for: as the server line says.
    pub default: bool,
    /// `port`.
    pub port: Option<CheckPort>,
    /// `addr`.
    pub addr: Option<Address>,
    /// `send-proxy`.
    pub send_proxy: bool,
    /// `via-socks4`.
    pub via_socks4: bool,
    /// `ssl`.
    pub ssl: bool,
    /// `sni`.
    pub sni: Option<Arc<str>>,
    /// `alpn`.
    pub alpn: Vec<Arc<str>>,
    /// `linger`: never end by a reset.
    pub linger: bool,
}

/// A port, or how it is found.
#[derive(Clone, Debug)]
pub enum CheckPort {
    /// A number.
    Fixed(u16),
    /// An expression.
    Expr(Arc<Expr>),
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum CheckPayload {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// What a format gives.
    Format(Arc<LogFormat>),
    /// What a format gives in hexadecimal.
    HexFormat(Arc<LogFormat>),
}

/// `http-check send`, or the words of `option httpchk`.
#[derive(Clone, Debug)]
pub struct HttpCheckSend {
    /// `meth`; `OPTIONS` when not set.
    pub method: Arc<str>,
    /// `uri` or `uri-lf`; `/` when not set.
    pub uri: Arc<LogFormat>,
    /// `ver`: `HTTP/1.0` when not set.
    pub version: Arc<str>,
    /// `hdr NAME FMT`, in order.
    pub headers: Vec<(Arc<str>, Arc<LogFormat>)>,
    /// `body` or `body-lf`.
    pub body: Option<Arc<LogFormat>>,
}

/// `expect`.
#[derive(Clone, Debug)]
pub struct CheckExpect {
    /// What the answer must be.
    pub what: Match,
    /// `!`: must not be.
    pub negated: bool,
    /// `min-recv`: bytes that must be there before it is decided; 0: decided at once.
    pub min_recv: Option<u32>,
    /// `ok-status`.
    pub ok: CheckStatus,
    /// `error-status`; `None`: as the match has it.
    pub error: Option<CheckStatus>,
    /// `tout-status`.
    pub timeout: CheckStatus,
    /// `on-success`.
    pub on_success: Option<Arc<LogFormat>>,
    /// `on-error`.
    pub on_error: Option<Arc<LogFormat>>,
    /// `status-code`.
    pub code: Option<Arc<Expr>>,
}

/// How an answer is judged.
#[derive(Clone, Debug)]
pub enum Match {
    /// Statuses and ranges of them, for example 200-399.
    Status(Vec<(u16, u16)>),
    /// The status as text.
    StatusRegex(Regex),
    /// A field of the head.
    Header(Box<HeaderMatch>),
    /// It holds this text.
    Text(Arc<[u8]>),
    /// It holds what a format gives.
    TextFormat(Arc<LogFormat>),
    /// It holds these bytes.
    Binary(Arc<[u8]>),
    /// It holds the bytes that a format gives in hexadecimal.
    BinaryFormat(Arc<LogFormat>),
    /// It matches.
    Regex(Regex),
    /// In upper case hexadecimal it matches.
    BinaryRegex(Regex),
}

/// `hdr` or `fhdr`.
#[derive(Clone, Debug)]
pub struct HeaderMatch {
    /// `fhdr`: values are not split at commas.
    pub full: bool,
    /// The names that are looked at.
    pub name: TextMatch,
    /// What one of their values must be; without it the field must be there.
    pub value: Option<TextMatch>,
}

/// A text that is compared.
#[derive(Clone, Debug)]
pub struct TextMatch {
    /// How.
    pub how: TextHow,
    /// With what.
    pub pattern: TextPattern,
}

/// `-m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // names of the manual
pub enum TextHow {
    Str,
    Beg,
    End,
    Sub,
    Reg,
}

/// What a text is compared with.
#[derive(Clone, Debug)]
pub enum TextPattern {
    /// This text.
    Text(Arc<str>),
    /// What a format gives.
    Format(Arc<LogFormat>),
    /// An expression, with [`TextHow::Reg`].
    Regex(Regex),
}

/// `set-var`, `set-var-fmt`.
#[derive(Clone, Debug)]
pub struct CheckVar {
    /// The variable.
    pub name: VarName,
    /// When it is set.
    pub conditions: Vec<VarCondition>,
    /// To what.
    pub value: VarValue,
}

/// What a variable is set to.
#[derive(Clone, Debug)]
pub enum VarValue {
    /// What an expression gives.
    Expr(Arc<Expr>),
    /// What a format gives, as text.
    Format(Arc<LogFormat>),
}
