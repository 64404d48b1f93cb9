//! A proxy while its section is being read, and the defaults it starts from.

use crate::fingerprint::Fingerprint;
use model::{Backend, Frontend, HttpOptions, LogSetting, Mode, ProxyKind, StatsPage, Timeouts};
use rules::stick::TableUse;
use rules::{Acls, Rule};
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
    /// Slots that rules capture into by their numbers.
    pub capture_references: Vec<CaptureReference>,
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

/// A slot for captures that the frontend must have in the end.
#[derive(Clone)]
pub struct CaptureReference {
    pub id: usize,
    /// Whether it is one of the response.
    pub response: bool,
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
            capture_references: Vec::new(),
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

    /// Whether its sessions of bytes may go on in HTTP, by a rule of its own.
    pub fn upgrades(&self) -> bool {
        let mut rules = self.tcp_request_content.iter();
        self.mode == Mode::Tcp && self.has_front() && rules.any(|r| r.switches_mode())
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
