//! A proxy while its section is being read, and the defaults it starts from.

use crate::diag::Fault;
use crate::lexer::Word;
use crate::source::Source;
use model::{Backend, Frontend, HttpOptions, LogSetting, Mode, ProxyKind, StatsPage, Timeouts};
use rules::{Acls, Rule, Scope};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sections a proxy keyword may stand in, as bits.
pub mod sections {
    /// `defaults`.
    pub const D: u8 = 1;
    /// `frontend`.
    pub const F: u8 = 2;
    /// `listen`.
    pub const L: u8 = 4;
    /// `backend`.
    pub const B: u8 = 8;
    /// All of them.
    pub const ALL: u8 = D | F | L | B;
    /// Where there is a server side.
    pub const BACK: u8 = D | L | B;
    /// Where there is a client side.
    pub const FRONT: u8 = D | F | L;
    /// Everywhere but in defaults.
    pub const NAMED: u8 = F | L | B;
}

/// A `defaults`, `frontend`, `backend` or `listen` section as far as it has been read.
#[derive(Clone)]
pub struct Draft {
    /// Its name; empty for anonymous defaults.
    pub name: Arc<str>,
    /// Its section, one of [`sections`].
    pub section: u8,
    /// `file:line` of its first line.
    pub origin: Arc<str>,
    pub id: Option<u32>,
    pub mode: Mode,
    pub disabled: bool,
    pub description: Option<Arc<str>>,
    pub timeouts: Timeouts,
    pub logs: Vec<Arc<LogSetting>>,
    pub log_global: bool,
    pub log_tag: Option<Arc<str>>,
    pub errors: model::ErrorPages,
    pub http: HttpOptions,
    pub stats: Option<StatsPage>,
    pub http_request: Vec<Rule>,
    pub http_response: Vec<Rule>,
    pub http_after_response: Vec<Rule>,
    pub tcp_request_content: Vec<Rule>,
    pub tcp_response_content: Vec<Rule>,
    pub inspect_delay: Option<std::time::Duration>,
    pub front: Frontend,
    pub back: Backend,
    pub acls: Acls,
    pub default_server: Box<crate::server::Reading>,
    pub check: CheckDraft,
    /// Names of backends that must exist, with the place that names them.
    pub references: Vec<Reference>,
    pub clitcpka: (bool, model_keepalive::Numbers),
    pub srvtcpka: (bool, model_keepalive::Numbers),
}

/// Keep-alive numbers before it is known whether the option is on.
pub mod model_keepalive {
    /// Count, idle, interval.
    pub type Numbers = (
        Option<u32>,
        Option<std::time::Duration>,
        Option<std::time::Duration>,
    );
}

/// Check settings before the kind is sure.
#[derive(Clone, Default)]
pub struct CheckDraft {
    pub http: bool,
    pub tcp: bool,
    /// Words of `option httpchk`.
    pub send: Option<model::HttpCheckSend>,
    pub steps: Vec<model::HttpCheckStep>,
    pub script: Vec<model::TcpCheckStep>,
    pub expects: bool,
}

/// A name that another section must have.
#[derive(Clone)]
pub struct Reference {
    pub name: Arc<str>,
    pub place: Place,
}

/// Where something stands, for messages after the section is over.
#[derive(Clone)]
pub struct Place {
    pub file: Arc<str>,
    pub line: usize,
    pub text: Arc<str>,
    pub start: usize,
    pub end: usize,
}

impl Draft {
    pub fn new(name: Arc<str>, section: u8, origin: Arc<str>) -> Draft {
        Draft {
            name,
            section,
            origin,
            id: None,
            mode: Mode::Tcp,
            disabled: false,
            description: None,
            timeouts: Timeouts::default(),
            logs: Vec::new(),
            log_global: false,
            log_tag: None,
            errors: model::ErrorPages::default(),
            http: HttpOptions::default(),
            stats: None,
            http_request: Vec::new(),
            http_response: Vec::new(),
            http_after_response: Vec::new(),
            tcp_request_content: Vec::new(),
            tcp_response_content: Vec::new(),
            inspect_delay: None,
            front: Frontend::default(),
            back: Backend::default(),
            acls: Acls::default(),
            default_server: Box::default(),
            check: CheckDraft::default(),
            references: Vec::new(),
            clitcpka: Default::default(),
            srvtcpka: Default::default(),
        }
    }

    /// A section that starts from these defaults.
    pub fn inherit(&self, name: Arc<str>, section: u8, origin: Arc<str>) -> Draft {
        let mut draft = self.clone();
        draft.name = name;
        draft.section = section;
        draft.origin = origin;
        draft.id = None;
        if section == sections::B {
            // What only a client side has is not for a backend.
            draft.front = Frontend::default();
            draft.references.clear();
        }
        draft
    }

    pub fn kind(&self) -> ProxyKind {
        match self.section {
            sections::F => ProxyKind::Frontend,
            sections::B => ProxyKind::Backend,
            _ => ProxyKind::Listen,
        }
    }

    pub fn has_front(&self) -> bool {
        self.section & (sections::F | sections::L) != 0
    }

    pub fn has_back(&self) -> bool {
        self.section & (sections::B | sections::L) != 0
    }
}

/// One line of a section, for the function of its keyword.
pub struct Line<'a> {
    /// All words, the keyword first (`no` and `default` removed).
    pub words: &'a [Word],
    /// Words that belong to the keyword.
    pub skip: usize,
    /// `no` stood before it.
    pub negated: bool,
    pub file: &'a Arc<str>,
    pub number: usize,
    pub text: &'a str,
    pub source: &'a dyn Source,
    /// Settings of `global` that later sections read.
    pub bases: &'a Bases,
    /// Warnings about this line.
    pub warnings: Vec<Fault>,
}

/// What `global` says about reading other things.
#[derive(Clone, Default)]
pub struct Bases {
    pub ca_base: Option<String>,
    pub crt_base: Option<String>,
    pub errors: BTreeMap<Arc<str>, Arc<model::ErrorPages>>,
}

impl<'a> Line<'a> {
    /// The arguments after the keyword.
    pub fn args(&self) -> &'a [Word] {
        self.words.get(self.skip..).unwrap_or_default()
    }

    /// The argument at `at`, or an empty text.
    pub fn arg(&self, at: usize) -> &'a str {
        self.words
            .get(self.skip + at)
            .map_or("", |w| w.text.as_str())
    }

    /// An error about the argument at `at` (or the last word, when there is none).
    pub fn fail<T>(&self, at: usize, message: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::at(
            (self.skip + at).min(self.words.len().saturating_sub(1)),
            message,
        ))
    }

    /// The keyword as written.
    pub fn keyword(&self) -> String {
        let words: Vec<&str> = self
            .words
            .iter()
            .take(self.skip)
            .map(|w| w.text.as_str())
            .collect();
        words.join(" ")
    }

    /// Exactly `n` arguments.
    pub fn exactly(&self, n: usize, what: &str) -> Result<(), Fault> {
        let have = self.args().len();
        if have < n {
            return self.fail(0, format!("'{}' wants {what}", self.keyword()));
        }
        if have > n {
            let extra = self.arg(n);
            return self.fail(
                n,
                format!(
                    "'{extra}' is one word too many for '{}': remove it",
                    self.keyword()
                ),
            );
        }
        Ok(())
    }

    /// Runs a parser of an argument's text and gives its error that argument's place.
    pub fn map<T>(&self, at: usize, result: Result<T, String>) -> Result<T, Fault> {
        result.or_else(|message| self.fail(at, message))
    }

    /// The argument texts from `at` on.
    pub fn texts(&self, at: usize) -> Vec<&'a str> {
        self.args()
            .iter()
            .skip(at)
            .map(|w| w.text.as_str())
            .collect()
    }

    /// Calls `parse` with a scope for rules, and gives its error a place.
    pub fn rules<T>(
        &self,
        at: usize,
        acls: &Acls,
        parse: impl FnOnce(&[&str], &Scope<'_>) -> Result<T, rules::ParseError>,
    ) -> Result<T, Fault> {
        let read = |path: &str| self.source.read(path);
        let scope = Scope {
            acls,
            read_file: &read,
        };
        parse(&self.texts(at), &scope).map_err(|e| Fault::rule(e, self.skip + at))
    }

    /// The format of a line in the argument at `at`.
    pub fn line_format(&self, at: usize, acls: &Acls) -> Result<Arc<rules::LogFormat>, Fault> {
        self.rules(at, acls, |words, scope| {
            let text = words.first().copied().unwrap_or_default();
            rules::LogFormat::parse_line(text, scope).map(Arc::new)
        })
    }

    /// A log format in the argument at `at`.
    pub fn format(&self, at: usize) -> Result<Arc<rules::LogFormat>, Fault> {
        let none = Acls::default();
        self.rules(at, &none, |words, scope| {
            let text = words.first().copied().unwrap_or_default();
            rules::LogFormat::parse(text, scope).map(Arc::new)
        })
    }

    /// The place of the argument at `at`.
    pub fn place(&self, at: usize) -> Place {
        let word = self.words.get(self.skip + at).or(self.words.last());
        Place {
            file: Arc::clone(self.file),
            line: self.number,
            text: self.text.into(),
            start: word.map_or(0, |w| w.start),
            end: word.map_or(0, |w| w.end),
        }
    }

    /// `file:line`.
    pub fn origin(&self) -> Arc<str> {
        format!("{}:{}", self.file, self.number).into()
    }
}
