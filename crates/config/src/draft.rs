//! A proxy while its section is being read, and the defaults it starts from.

use crate::diag::{Fault, Severity};
use crate::fingerprint::Fingerprint;
use crate::lexer::Word;
use crate::source::{DefaultPath, Source};
use model::{Backend, Frontend, HttpOptions, LogSetting, Mode, ProxyKind, StatsPage, Timeouts};
use rules::stick::TableUse;
use rules::{Acls, Rule, Scope};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
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

/// What a line of a proxy says, by its name in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Said {
    /// A keyword; one of `timeout` with the timeout's name.
    Keyword(&'static str),
    /// An option, without that word.
    Option(&'static str),
}

/// A `defaults`, `frontend`, `backend` or `listen` section as far as it has been read.
#[derive(Clone)]
pub struct Draft {
    /// Its name; empty for anonymous defaults.
    pub name: Arc<str>,
    /// Its section, one of [`sections`].
    pub section: u8,
    /// Its first line.
    pub place: Place,
    /// `file:line` of its first line.
    pub origin: Arc<str>,
    pub id: Option<u32>,
    /// Of all that it was read from so far.
    pub fingerprint: Fingerprint,
    pub mode: Mode,
    pub disabled: bool,
    pub description: Option<Arc<str>>,
    pub guid: Option<Arc<str>>,
    pub timeouts: Timeouts,
    pub logs: Vec<Arc<LogSetting>>,
    pub log_global: bool,
    pub log_tag: Option<Arc<str>>,
    pub email: crate::load::EmailDraft,
    /// What answers instead of built-in pages; later lines win.
    pub errors: Vec<ErrorLine>,
    pub http: HttpOptions,
    pub stats: Option<StatsPage>,
    pub http_request: Vec<Rule>,
    pub http_response: Vec<Rule>,
    pub http_after_response: Vec<Rule>,
    pub tcp_request_content: Vec<Rule>,
    pub tcp_response_content: Vec<Rule>,
    pub inspect_delay: Option<std::time::Duration>,
    pub response_inspect_delay: Option<std::time::Duration>,
    pub independent_streams: bool,
    pub guard: model::Guard,
    pub front: Frontend,
    /// Where the line of each of its `bind`s stands.
    pub bind_places: Vec<Place>,
    pub back: Backend,
    pub acls: Acls,
    pub default_server: Box<crate::server::Reading>,
    pub check: CheckDraft,
    /// Names of backends that must exist, with the place that names them.
    pub references: Vec<Reference>,
    /// Names of userlists that must exist.
    pub userlist_references: Vec<Reference>,
    pub resolvers_references: Vec<Reference>,
    /// Names of servers that must exist here.
    pub server_references: Vec<Reference>,
    /// `stick-table`.
    pub stick_table: Option<(model::StickTable, Place)>,
    /// The section that its table is shared by.
    pub peers: Option<Reference>,
    /// Stick tables that rules use.
    pub table_uses: Vec<(TableUse, Place)>,
    /// The first line of each keyword that has no effect without something said elsewhere.
    pub marks: BTreeMap<&'static str, Place>,
    /// Of every keyword and option the last line, those of the defaults included.
    pub said: BTreeMap<Said, Place>,
    /// Keywords of lines that were refused: what they would have set is not missing, too.
    pub refused: BTreeSet<&'static str>,
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
    /// The last option that says what checks do.
    pub choice: Option<CheckChoice>,
    /// Words of `option httpchk`.
    pub option: RequestDraft,
    /// `http-check` rules.
    pub http: CheckRules,
    /// `tcp-check` rules.
    pub tcp: CheckRules,
    /// `udp-check` rules.
    pub udp: CheckRules,
    /// The first rule that connects by TLS.
    pub tls: Option<Place>,
    /// Where `option external-check` stands.
    pub external: Option<Place>,
    /// `external-check command`.
    pub command: Option<Arc<str>>,
    /// `external-check path`.
    pub path: Option<Arc<str>>,
}

/// What checks do, as options say it.
#[derive(Clone)]
pub enum CheckChoice {
    /// `option httpchk`.
    Http,
    /// `option tcp-check`.
    Tcp,
    /// `option udp-check`.
    Udp,
    /// `option external-check`.
    External,
    /// An option that says all.
    Kind(model::CheckKind),
}

/// Rules of one kind.
#[derive(Clone, Default)]
pub struct CheckRules {
    pub steps: Vec<model::CheckStep>,
    /// Lines so far, comments included.
    pub lines: u32,
    /// Of the line before, for the next rule.
    pub comment: Option<Arc<str>>,
    /// Words of the first request.
    pub first: Option<RequestDraft>,
    /// They are of the defaults: the first own rule takes their place.
    pub inherited: bool,
}

/// A request as far as it is said.
#[derive(Clone, Default)]
pub struct RequestDraft {
    pub method: Option<Arc<str>>,
    pub uri: Option<Arc<rules::LogFormat>>,
    pub version: Option<Arc<str>>,
    pub headers: Vec<(Arc<str>, Arc<rules::LogFormat>)>,
    pub body: Option<Arc<rules::LogFormat>>,
}

/// A name that must exist in the end.
#[derive(Clone)]
pub struct Reference {
    pub name: Arc<str>,
    /// The keyword that names it.
    pub keyword: &'static str,
    pub place: Place,
}

/// A line about error pages.
#[derive(Clone)]
pub enum ErrorLine {
    Page(u16, model::ErrorPage),
    /// Back to the page that stands when nothing is said.
    Default(u16),
    /// Pages of an `http-errors` section; no codes: all of them.
    Group {
        name: Arc<str>,
        codes: Vec<u16>,
        place: Place,
    },
}

/// Where something stands, for messages after the section is over.
#[derive(Clone, Debug)]
pub struct Place {
    pub file: Arc<str>,
    pub line: usize,
    pub text: Arc<str>,
    pub start: usize,
    pub end: usize,
}

impl Draft {
    pub fn new(name: Arc<str>, section: u8, place: Place) -> Draft {
        Draft {
            name,
            section,
            origin: place.origin(),
            place,
            id: None,
            fingerprint: Fingerprint::default(),
            mode: Mode::Tcp,
            disabled: false,
            description: None,
            guid: None,
            timeouts: Timeouts::default(),
            logs: Vec::new(),
            log_global: false,
            log_tag: None,
            email: Default::default(),
            errors: Vec::new(),
            http: HttpOptions::default(),
            stats: None,
            http_request: Vec::new(),
            http_response: Vec::new(),
            http_after_response: Vec::new(),
            tcp_request_content: Vec::new(),
            tcp_response_content: Vec::new(),
            inspect_delay: None,
            response_inspect_delay: None,
            independent_streams: false,
            guard: model::Guard::default(),
            front: Frontend::default(),
            bind_places: Vec::new(),
            back: Backend::default(),
            acls: Acls::default(),
            default_server: Box::default(),
            check: CheckDraft::default(),
            references: Vec::new(),
            userlist_references: Vec::new(),
            resolvers_references: Vec::new(),
            server_references: Vec::new(),
            stick_table: None,
            peers: None,
            table_uses: Vec::new(),
            marks: BTreeMap::new(),
            said: BTreeMap::new(),
            refused: BTreeSet::new(),
            clitcpka: Default::default(),
            srvtcpka: Default::default(),
        }
    }

    /// A section that starts from these defaults.
    pub fn inherit(&self, name: Arc<str>, section: u8, place: Place) -> Draft {
        let mut draft = self.clone();
        draft.name = name;
        draft.section = section;
        draft.origin = place.origin();
        draft.place = place;
        draft.id = None;
        // Rules keep the ACLs they were read with; the names are known to their section only.
        draft.acls = Acls::default();
        draft.check.http.inherited = true;
        draft.check.tcp.inherited = true;
        draft.check.udp.inherited = true;
        if section == sections::B {
            // What only a client side has is not for a backend.
            draft.front = Frontend::default();
            draft.references.clear();
        }
        draft
    }

    /// Why a section of this kind cannot start from these defaults, if so.
    pub fn cannot_serve(&self, section: u8) -> Option<String> {
        let connection = !self.front.tcp_request_connection.is_empty()
            || !self.front.tcp_request_session.is_empty();
        let response = !self.tcp_response_content.is_empty();
        let rules = connection
            || response
            || !self.http_request.is_empty()
            || !self.http_response.is_empty()
            || !self.http_after_response.is_empty()
            || !self.tcp_request_content.is_empty()
            || !self.front.smtp_request.is_empty()
            || self.inspect_delay.is_some();
        let what = match section {
            sections::L if rules => "'listen' cannot start from defaults with rules",
            sections::D if rules => "'defaults' cannot start from defaults with rules",
            sections::B if connection => {
                "'backend' cannot start from defaults with rules for connections or sessions"
            }
            sections::F if response => {
                "'frontend' cannot start from defaults with rules for TCP responses"
            }
            _ => return None,
        };
        Some(format!(
            "{what}, as those at {} have: move the rules, or start from others by 'from'",
            self.origin
        ))
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

impl Place {
    /// `file:line`.
    pub fn origin(&self) -> Arc<str> {
        format!("{}:{}", self.file, self.line).into()
    }
}

/// One line of a section, for the function of its keyword.
pub struct Line<'a> {
    /// All words, the keyword first (`no` and `default` removed).
    pub words: &'a [Word],
    /// Words that belong to the keyword.
    pub skip: usize,
    /// `no` or `default` stood before it: each word that can be taken back is off unless set.
    pub negated: bool,
    pub file: &'a Arc<str>,
    pub number: usize,
    pub text: &'a str,
    pub source: &'a dyn Source,
    /// Settings of `global` that later sections read.
    pub bases: &'a Bases,
    /// The proxy it stands in; empty where there is none.
    pub proxy: &'a str,
    /// Warnings about this line, and the errors of its words but the last one's.
    pub warnings: Vec<Fault>,
    /// Stick tables that it names.
    pub table_uses: RefCell<Vec<TableUse>>,
}

/// What `global` says about reading other things.
#[derive(Clone, Default)]
pub struct Bases {
    pub default_path: DefaultPath,
    pub ca_base: Option<String>,
    pub crt_base: Option<String>,
    pub tls: crate::tls::Defaults,
    /// `unix-bind`: what stands before the paths of UNIX sockets, and words for them.
    pub unix_bind: (String, model::BindOptions),
    /// The lists of patterns read so far.
    pub lists: Arc<rules::PatternLists>,
    pub stick_counters: Option<usize>,
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
            let message = self.too_many(n, "remove it");
            return self.fail(n, message);
        }
        Ok(())
    }

    /// Warns of the first argument after `n`, which nothing reads.
    pub fn surplus(&mut self, n: usize) {
        if self.args().len() > n {
            let message = self.too_many(n, "it is not read");
            self.warnings.push(Fault::warning(self.skip + n, message));
        }
    }

    /// Warns of the argument at `at`.
    pub fn warn(&mut self, at: usize, message: impl Into<String>) {
        let warning = Fault::warning(self.skip + at, message);
        self.warnings.push(warning);
    }

    fn too_many(&self, n: usize, remedy: &str) -> String {
        let extra = self.arg(n);
        if extra.starts_with("//") {
            return format!("'{extra}' starts no comment: comments start with '#'");
        }
        format!(
            "'{extra}' is one word too many for '{}': {remedy}",
            self.keyword()
        )
    }

    /// Notes what is wrong with the word at `at`, and tells where reading goes on: at the next that
    /// is a word of this line, for its mistakes. What stands between may be arguments.
    pub fn pass(
        &self,
        at: usize,
        fault: Fault,
        faults: &mut Vec<Fault>,
        is_word: impl Fn(&str) -> bool,
    ) -> usize {
        let comment = self.arg(at).starts_with("//") || self.arg(at).starts_with(';');
        faults.push(fault);
        let next = self
            .args()
            .iter()
            .skip(at + 1)
            .position(|w| is_word(&w.text));
        match next {
            Some(n) if !comment => at + 1 + n,
            _ => self.args().len(),
        }
    }

    /// The faults of the words of this line: the last is its error, those before are kept beside.
    pub fn faults(&mut self, mut faults: Vec<Fault>) -> Result<(), Fault> {
        let last = faults.pop();
        self.warnings.append(&mut faults);
        last.map_or(Ok(()), Err)
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
        let uses_table = |used| self.uses_table(used);
        let scope = Scope {
            acls,
            read_file: &read,
            lists: Some(&self.bases.lists),
            proxy: self.proxy,
            stick_counters: self.bases.stick_counters.unwrap_or(rules::STICK_COUNTERS),
            uses_table: &uses_table,
        };
        parse(&self.texts(at), &scope).map_err(|e| Fault::rule(e, self.skip + at))
    }

    /// Notes a stick table that the line names.
    pub fn uses_table(&self, used: TableUse) {
        self.table_uses.borrow_mut().push(used);
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

    /// An expression in the argument at `at`.
    pub fn expression(&self, at: usize) -> Result<Arc<rules::Expr>, Fault> {
        self.rules(at, &Acls::default(), |words, scope| {
            let text = words.first().copied().unwrap_or_default();
            rules::Expr::parse(text, scope).map(Arc::new)
        })
    }

    /// The place of the keyword's first word.
    pub fn place_of_keyword(&self) -> Place {
        self.place_of(self.words.first())
    }

    /// The place of the argument at `at`.
    pub fn place(&self, at: usize) -> Place {
        self.place_of(self.words.get(self.skip + at).or(self.words.last()))
    }

    fn place_of(&self, word: Option<&Word>) -> Place {
        Place {
            file: Arc::clone(self.file),
            line: self.number,
            text: self.text.into(),
            start: word.map_or(0, |w| w.start),
            end: word.map_or(0, |w| w.end),
        }
    }

    /// The line itself with its place, `file:number: text`.
    pub fn written(&self) -> Arc<str> {
        format!("{}:{}: {}", self.file, self.number, self.text.trim()).into()
    }

    /// `file:line`.
    pub fn origin(&self) -> Arc<str> {
        format!("{}:{}", self.file, self.number).into()
    }
}

/// Reads words that stand in no file as a line of this keyword.
pub fn loose_line<T>(
    keyword: &str,
    words: &[&str],
    source: &dyn Source,
    read: impl FnOnce(&mut Line<'_>) -> Result<T, Fault>,
) -> Result<T, String> {
    let all = std::iter::once(&keyword).chain(words);
    let words: Vec<Word> = all.map(|text| Word::loose(text)).collect();
    let file = "".into();
    let mut line = Line {
        words: &words,
        skip: 1,
        negated: false,
        file: &file,
        number: 0,
        text: "",
        source,
        bases: &Bases::default(),
        proxy: "",
        warnings: Vec::new(),
        table_uses: RefCell::default(),
    };
    let made = read(&mut line);
    let first = line
        .warnings
        .into_iter()
        .find(|f| f.severity == Severity::Error);
    match (first, made) {
        (Some(fault), _) | (None, Err(fault)) => Err(fault.message),
        (None, Ok(made)) => Ok(made),
    }
}
