//! Files into a configuration: lines, sections, and what is said about them.

mod blocks;
mod crt_store;
mod finish;
mod fit;
mod ftp;
mod mailers;
mod modes;
mod packet;
mod peers;
mod resolvers;
mod section;
mod servers;
mod smtp;
mod sockets;
mod tables;
mod users;

use crate::diag::{Diagnostic, Fault, Report, Severity};
use crate::draft::{Draft, Place, sections};
use crate::fingerprint::{Fingerprint, Remembering};
use crate::global::{self, Reading};
use crate::keyword;
use crate::lexer::{self, Variables, Word};
use crate::line::{Bases, Line};
use crate::source::{Source, Within};
use crate::vrrp::VrrpDraft;
use blocks::Block;
pub(crate) use mailers::EmailDraft;
use model::Config;
pub(crate) use resolvers::Unnamed;
use section::Section;
pub(crate) use section::check_name;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What to load.
#[derive(Clone, Debug, Default)]
pub struct LoadRequest {
    /// Files and directories, in order (`-f`).
    pub paths: Vec<String>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// The lists of patterns of the configuration in force, for those that are the same.
    pub lists: Option<Arc<rules::PatternLists>>,
    /// What the command line says beside the files.
    pub flags: Flags,
}

/// What the command line says beside the files (management guide, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `-n`: connections at most, whatever `maxconn` of `global` says.
    pub maxconn: Option<u32>,
    /// `-N`: connections at most of each frontend that says nothing about it.
    pub frontend_maxconn: Option<u32>,
    /// `-dS`, as `nosplice`.
    pub nosplice: bool,
    /// `-dR`, as `noreuseport`.
    pub noreuseport: bool,
    /// `-dI`, as `insecure-fork-wanted`.
    pub insecure_fork: bool,
    /// `-dV`, as `ssl-server-verify none`.
    pub trusts_servers: bool,
    /// `-dr`: servers whose names are not resolved start without an address.
    pub ignores_unresolved: bool,
    /// `-dD`: what is only suspicious is said, too.
    pub diagnoses: bool,
}

/// What came of it.
pub struct Loaded {
    /// The configuration; `None` when there is an error.
    pub config: Option<Config>,
    /// What was said.
    pub report: Report,
    /// The environment after `setenv` and its like.
    pub env: BTreeMap<String, String>,
}

/// Loads everything, reporting all that is wrong.
pub fn load(request: &LoadRequest, source: &dyn Source) -> Loaded {
    let mut loader = Loader {
        source,
        report: Report::default(),
        env: request.env.clone(),
        bases: Bases {
            lists: Arc::new(rules::PatternLists::after(request.lists.as_deref())),
            ..Bases::default()
        },
        config: Config::default(),
        defaults: HashMap::new(),
        last_defaults: None,
        section: Section::None,
        section_name: String::new(),
        drafts: Vec::new(),
        peers: Vec::new(),
        frontends: HashMap::new(),
        backends: HashMap::new(),
        common: Fingerprint::default(),
        vrrp: Vec::new(),
        flags: request.flags,
    };
    loader.apply_flags();
    let mut files = Vec::new();
    for path in &request.paths {
        match source.list(path) {
            Some(found) => files.extend(found.into_iter().filter(|f| f.ends_with(".cfg"))),
            None => files.push(path.clone()),
        }
    }
    if files.is_empty() {
        loader
            .report
            .general(Severity::Error, "no configuration file: name one with -f");
    }
    loader
        .env
        .insert("HAPROXY_CFGFILES".into(), files.join(";"));
    for (name, format) in [
        ("HTTP", rules::formats::HTTP),
        ("HTTP_CLF", rules::formats::HTTP_CLF),
        ("HTTPS", rules::formats::HTTPS),
        ("TCP", rules::formats::TCP),
    ] {
        let name = format!("HAPROXY_{name}_LOG_FMT");
        loader.env.insert(name, format.into());
    }
    for file in &files {
        match source.read(file) {
            Ok(bytes) => loader.file(file, &bytes),
            Err(e) => loader
                .report
                .general(Severity::Error, format!("cannot read '{file}': {e}")),
        }
    }
    loader.end_section();
    let mut loaded = loader.finish();
    loaded.report.order(&files);
    loaded
}

struct Loader<'a> {
    source: &'a dyn Source,
    report: Report,
    env: BTreeMap<String, String>,
    bases: Bases,
    config: Config,
    /// Named defaults; each name with all sections that bear it.
    defaults: HashMap<Arc<str>, Vec<Draft>>,
    /// The defaults that sections without `from` start with.
    last_defaults: Option<Draft>,
    section: Section,
    /// What `.SECTION` stands for.
    section_name: String,
    drafts: Vec<Draft>,
    peers: Vec<peers::PeersDraft>,
    frontends: HashMap<Arc<str>, Arc<str>>,
    backends: HashMap<Arc<str>, Arc<str>>,
    /// Of all sections that are no proxies.
    common: Fingerprint,
    /// `vrrp` sections by name.
    vrrp: Vec<(Arc<str>, VrrpDraft)>,
    flags: Flags,
}

/// A line as it stands in its file, with its words.
#[derive(Clone, Copy)]
struct Here<'a> {
    file: &'a Arc<str>,
    number: usize,
    text: &'a str,
    words: &'a [Word],
}

impl<'a> Here<'a> {
    /// The text of the word at `at`, or an empty one.
    fn word(&self, at: usize) -> &'a str {
        self.words.get(at).map_or("", |w| w.text.as_str())
    }

    /// The word at `at`, or the last one.
    fn place(&self, at: usize) -> Place {
        let word = self.words.get(at).or(self.words.last());
        Place {
            file: Arc::clone(self.file),
            line: self.number,
            text: self.text.into(),
            start: word.map_or(0, |w| w.start),
            end: word.map_or(0, |w| w.end),
        }
    }
}

impl Loader<'_> {
    fn file(&mut self, name: &str, bytes: &[u8]) {
        let file: Arc<str> = name.into();
        let text = String::from_utf8_lossy(bytes);
        let mut blocks: Vec<Block> = Vec::new();
        for (index, text) in text.split('\n').enumerate() {
            let number = index + 1;
            let text = text.strip_suffix('\r').unwrap_or(text);
            let active = blocks.last().is_none_or(|b| b.active);
            let variables = Variables {
                env: &self.env,
                file: name,
                line: number,
                section: &self.section_name,
            };
            let words = match lexer::words(text, &variables) {
                Ok(words) => words,
                Err(e) => {
                    if active && !matches!(self.section, Section::Skipped) {
                        let place = Place {
                            file: Arc::clone(&file),
                            line: number,
                            text: text.into(),
                            start: e.at,
                            end: e.at + 1,
                        };
                        self.at(&place, Severity::Error, e.message);
                    }
                    continue;
                }
            };
            let mut here = Here {
                file: &file,
                number,
                text,
                words: &words,
            };
            let Some(first) = words.first() else { continue };
            if first.text.starts_with('.') {
                self.directive(here, &mut blocks);
            } else if active {
                self.cut(&mut here);
                if !here.words.is_empty() {
                    self.line(here);
                }
            }
        }
        if let Some(open) = blocks.last() {
            let place = open.place.clone();
            self.at(
                &place,
                Severity::Error,
                "this '.if' has no '.endif' in its file".into(),
            );
        }
    }

    /// An empty word ends its line, and so does a carriage return: what follows would be lost
    /// without a word.
    fn cut(&mut self, here: &mut Here<'_>) {
        if let Some(at) = here.words.iter().position(|w| w.text.is_empty()) {
            if at + 1 < here.words.len() {
                let message = "an empty word ends the line: remove it, or what follows it";
                self.word_fault(*here, Fault::warning(at, message));
            }
            here.words = here.words.get(..at).unwrap_or_default();
        }
        let Some(end) = here.words.last().map(|w| w.end) else {
            return;
        };
        let rest = here.text.get(end..).unwrap_or_default();
        let lost = rest.trim_start_matches([' ', '\t']);
        if lost.starts_with('\r') && !lost.trim_start().is_empty() {
            let mut place = here.place(0);
            place.start = here.text.len() - lost.trim_start().len();
            place.end = here.text.len();
            let message = "a carriage return ends the line: what follows it is not read";
            self.at(&place, Severity::Warning, message.into());
        }
    }

    /// What lines may still say otherwise. The rest is for the end.
    fn apply_flags(&mut self) {
        let global = &mut self.config.global;
        global.nosplice = self.flags.nosplice;
        global.noreuseport = self.flags.noreuseport;
        global.insecure_fork = self.flags.insecure_fork;
        self.bases.ignores_unresolved = self.flags.ignores_unresolved;
        if self.flags.trusts_servers {
            self.bases.tls.server.verify = tls::Verify::None;
        }
    }

    fn at(&mut self, place: &Place, severity: Severity, message: String) {
        if severity == Severity::Diag && !self.flags.diagnoses {
            return;
        }
        let text = &*place.text;
        let before = text.get(..place.start).unwrap_or(text);
        let inside = text
            .get(place.start..place.end.min(text.len()))
            .unwrap_or_default();
        self.report.push(Diagnostic {
            severity,
            file: Arc::clone(&place.file),
            line: place.line,
            column: before.chars().count() + 1,
            text: crate::diag::without_secrets(text),
            width: inside.chars().count().max(1),
            message,
        });
    }

    fn word_fault(&mut self, here: Here<'_>, fault: Fault) {
        let mut place = here.place(fault.word);
        if fault.offset > 0
            && let Some(word) = here.words.get(fault.word).or(here.words.last())
        {
            place.start = word.place(fault.offset);
            place.end = place.start + 1;
        }
        self.at(&place, fault.severity, fault.message);
    }

    /// A section's header, or a line of the section.
    fn line(&mut self, here: Here<'_>) {
        let name = here.word(0);
        if section::known().any(|s| s == name) {
            self.end_section();
            self.section_name = here.words.get(1).map_or(name, |w| w.text.as_str()).into();
            if let Err(fault) = self.header(here) {
                self.section = Section::Skipped;
                self.word_fault(here, fault);
            }
            return;
        }
        let negated = name == "no" && here.words.len() > 1;
        let defaulted = name == "default" && here.words.len() > 1;
        let shift = usize::from(negated || defaulted);
        // Lines of `global` change what all other lines only read: they read a copy.
        let (env, bases) = if matches!(self.section, Section::Global) {
            (self.env.clone(), self.bases.clone())
        } else {
            (
                std::mem::take(&mut self.env),
                std::mem::take(&mut self.bases),
            )
        };
        let proxy = match &self.section {
            Section::Proxy(draft) if draft.section != sections::D => Arc::clone(&draft.name),
            _ => "".into(),
        };
        let within = Within {
            source: self.source,
            folder: bases.default_path.folder(here.file),
            env: &env,
        };
        let source = Remembering {
            source: &within,
            said: Cell::default(),
        };
        bases.lists.at(&self.section_name, here.file, here.number);
        let mut line = Line {
            words: here.words.get(shift..).unwrap_or_default(),
            skip: 1,
            negated: negated || defaulted,
            file: here.file,
            number: here.number,
            text: here.text,
            source: &source,
            bases: &bases,
            proxy: &proxy,
            warnings: Vec::new(),
            table_uses: Default::default(),
        };
        let result = match &mut self.section {
            Section::None => Err(section::no_section(name)),
            Section::Skipped => Ok(()),
            Section::Global => {
                let mut reading = Reading {
                    global: &mut self.config.global,
                    bases: &mut self.bases,
                    env: &mut self.env,
                };
                global::line(&mut reading, &mut line)
            }
            Section::Errors(_, pages) => section::error_page(pages, &line),
            Section::Users(_, users) => users.line(here),
            Section::Mailers(_, mailers) => mailers::line(mailers, &mut line),
            Section::CrtStore(draft) => draft.line(&mut line),
            Section::Vrrp(draft) => draft.line(&mut line),
            Section::Resolvers(resolvers, _) => resolvers::line(resolvers, &mut line),
            Section::Peers(draft) => {
                let here = env.get("HAPROXY_LOCALPEER").map_or("", String::as_str);
                draft.line(&mut line, here)
            }
            Section::Proxy(draft) => keyword::line(draft, &mut line),
        };
        let warnings = std::mem::take(&mut line.warnings);
        let fingerprint = match &mut self.section {
            Section::Proxy(draft) => &mut draft.fingerprint,
            Section::Vrrp(draft) => &mut draft.fingerprint,
            _ => &mut self.common,
        };
        fingerprint.mix_line(here.words);
        fingerprint.mix(source.said.get().0);
        if !matches!(self.section, Section::Global) {
            (self.env, self.bases) = (env, bases);
        }
        for fault in warnings.into_iter().chain(result.err()) {
            let fault = Fault {
                word: fault.word + shift,
                ..fault
            };
            self.word_fault(here, fault);
        }
    }
}
