//! Files into a configuration: sections, conditional blocks, defaults, and what must hold in the end.

use crate::condition;
use crate::diag::{Diagnostic, Fault, Report, Severity};
use crate::draft::{Bases, Draft, Line, Place, sections};
use crate::global::{self, Reading};
use crate::keyword::KEYWORDS;
use crate::lexer::{self, Word};
use crate::source::Source;
use model::{CheckKind, Config, ErrorPages, HttpCheckStep, Proxy};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// What to load.
#[derive(Clone, Debug, Default)]
pub struct LoadRequest {
    /// Files and directories, in order (`-f`).
    pub paths: Vec<String>,
    /// The environment.
    pub env: BTreeMap<String, String>,
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
        bases: Bases::default(),
        config: Config::default(),
        defaults: HashMap::new(),
        last_defaults: None,
        section: Section::None,
        drafts: Vec::new(),
        frontends: HashMap::new(),
        backends: HashMap::new(),
        checked: HashMap::new(),
        unnamed: 0,
    };
    let mut files = Vec::new();
    for path in &request.paths {
        match source.list(path) {
            Some(found) => files.extend(found),
            None => files.push(path.clone()),
        }
    }
    if files.is_empty() {
        loader
            .report
            .general(Severity::Error, "no configuration file: name one with -f");
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
    loader.finish()
}

enum Section {
    None,
    Global,
    Proxy(Box<Draft>),
    Errors(Arc<str>, ErrorPages),
    /// Known, but not ours yet, or unknown: lines are not read, the header has been reported.
    Skipped,
}

struct Loader<'a> {
    source: &'a dyn Source,
    report: Report,
    env: BTreeMap<String, String>,
    bases: Bases,
    config: Config,
    defaults: HashMap<Arc<str>, Draft>,
    /// The defaults that sections without `from` start with.
    last_defaults: Option<Draft>,
    section: Section,
    drafts: Vec<Draft>,
    frontends: HashMap<Arc<str>, Arc<str>>,
    backends: HashMap<Arc<str>, Arc<str>>,
    /// Of backends that `track` names: each server, and whether its state is known.
    checked: HashMap<Arc<str>, HashMap<Arc<str>, bool>>,
    unnamed: usize,
}

/// One level of `.if`.
struct Block {
    /// Whether lines count now.
    active: bool,
    /// Whether an arm has been taken.
    taken: bool,
    /// Whether the block around counts.
    outer: bool,
    after_else: bool,
    place: Place,
}

impl Loader<'_> {
    fn file(&mut self, name: &str, bytes: &[u8]) {
        let file: Arc<str> = name.into();
        let text = String::from_utf8_lossy(bytes);
        let mut blocks: Vec<Block> = Vec::new();
        let mut number = 0;
        for raw in text.split_inclusive('\n') {
            number += 1;
            let line = raw.strip_suffix('\n').unwrap_or(raw);
            let line = line.strip_suffix('\r').unwrap_or(line);
            let words = match lexer::words(line, &self.env) {
                Ok(words) => words,
                Err(e) => {
                    if blocks.last().is_none_or(|b| b.active) {
                        self.fault(
                            &file,
                            number,
                            line,
                            &[],
                            e.at,
                            e.at + 1,
                            Severity::Error,
                            e.message,
                        );
                    }
                    continue;
                }
            };
            let Some(first) = words.first() else { continue };
            if first.text.starts_with('.') {
                self.macro_line(&file, number, line, &words, &mut blocks);
            } else if blocks.last().is_none_or(|b| b.active) {
                self.line(&file, number, line, &words);
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

    #[allow(clippy::too_many_arguments)] // a place is made of many parts
    fn fault(
        &mut self,
        file: &Arc<str>,
        line: usize,
        text: &str,
        _words: &[Word],
        start: usize,
        end: usize,
        severity: Severity,
        message: String,
    ) {
        let before = text.get(..start.min(text.len())).unwrap_or(text);
        let inside = text.get(start..end.min(text.len())).unwrap_or_default();
        self.report.push(Diagnostic {
            severity,
            file: Arc::clone(file),
            line,
            column: before.chars().count() + 1,
            text: text.to_string(),
            width: inside.chars().count().max(1),
            message,
        });
    }

    fn at(&mut self, place: &Place, severity: Severity, message: String) {
        let text = Arc::clone(&place.text);
        self.fault(
            &place.file,
            place.line,
            &text,
            &[],
            place.start,
            place.end,
            severity,
            message,
        );
    }

    fn word_fault(
        &mut self,
        file: &Arc<str>,
        number: usize,
        text: &str,
        words: &[Word],
        fault: Fault,
    ) {
        let (start, end) = match words.get(fault.word).or(words.last()) {
            Some(word) if fault.offset > 0 => {
                let at = word.place(fault.offset);
                (at, (at + 1).max(word.end.min(at + 1)))
            }
            Some(word) => (word.start, word.end),
            None => (0, 1),
        };
        self.fault(
            file,
            number,
            text,
            words,
            start,
            end,
            fault.severity,
            fault.message,
        );
    }

    /// `.if`, `.notice` and so on.
    fn macro_line(
        &mut self,
        file: &Arc<str>,
        number: usize,
        text: &str,
        words: &[Word],
        blocks: &mut Vec<Block>,
    ) {
        let name = words.first().map_or("", |w| w.text.as_str());
        let active = blocks.last().is_none_or(|b| b.active);
        let rest: Vec<&str> = words.iter().skip(1).map(|w| w.text.as_str()).collect();
        let rest = rest.join(" ");
        let holds = |loader: &mut Self| {
            condition::evaluate(&rest, &loader.env).unwrap_or_else(|(_, message)| {
                loader.word_fault(file, number, text, words, Fault::at(1, message));
                false
            })
        };
        let place = Place {
            file: Arc::clone(file),
            line: number,
            text: text.into(),
            start: words.first().map_or(0, |w| w.start),
            end: words.first().map_or(0, |w| w.end),
        };
        match name {
            ".if" => {
                let value = active && holds(self);
                blocks.push(Block {
                    active: value,
                    taken: value,
                    outer: active,
                    after_else: false,
                    place,
                });
            }
            ".elif" | ".else" => {
                let wanted = match blocks.last() {
                    None => Err(format!("'{name}' without '.if' before it")),
                    Some(b) if b.after_else => Err(format!("'{name}' after '.else'")),
                    Some(b) => Ok(b.outer && !b.taken),
                };
                match wanted {
                    Err(message) => {
                        self.word_fault(file, number, text, words, Fault::at(0, message))
                    }
                    Ok(open) => {
                        let value = open && (name == ".else" || holds(self));
                        if let Some(block) = blocks.last_mut() {
                            block.active = value;
                            block.taken |= value;
                            block.after_else = name == ".else";
                        }
                    }
                }
            }
            ".endif" if blocks.pop().is_none() => {
                self.word_fault(
                    file,
                    number,
                    text,
                    words,
                    Fault::at(0, "'.endif' without '.if' before it"),
                );
            }
            ".diag" | ".notice" | ".warning" | ".alert" if active => {
                let severity = match name {
                    ".diag" => Severity::Diag,
                    ".notice" => Severity::Notice,
                    ".warning" => Severity::Warning,
                    _ => Severity::Error,
                };
                self.at(&place, severity, rest);
            }
            ".diag" | ".notice" | ".warning" | ".alert" => {}
            _ if active => {
                let names = [
                    ".if", ".elif", ".else", ".endif", ".diag", ".notice", ".warning", ".alert",
                ];
                let message = crate::keyword::near("directive", name, &names);
                self.word_fault(file, number, text, words, Fault::at(0, message));
            }
            _ => {}
        }
    }

    /// A section's header, or a line of the section.
    fn line(&mut self, file: &Arc<str>, number: usize, text: &str, words: &[Word]) {
        let name = words.first().map_or("", |w| w.text.as_str());
        let known = include_str!("known/sections.txt")
            .lines()
            .any(|s| s == name);
        if known {
            self.end_section();
            if let Err(fault) = self.header(file, number, words) {
                self.section = Section::Skipped;
                self.word_fault(file, number, text, words, fault);
            }
            return;
        }
        let negated = name == "no" && words.len() > 1;
        let defaulted = name == "default" && words.len() > 1;
        let shown = words;
        let words = if negated || defaulted {
            words.get(1..).unwrap_or_default()
        } else {
            words
        };
        // Lines of `global` change what all other lines only read: they read a copy.
        let (env, bases) = if matches!(self.section, Section::Global) {
            (self.env.clone(), self.bases.clone())
        } else {
            (
                std::mem::take(&mut self.env),
                std::mem::take(&mut self.bases),
            )
        };
        let mut line = Line {
            words,
            skip: 1,
            negated,
            file,
            number,
            text,
            source: self.source,
            bases: &bases,
            warnings: Vec::new(),
        };
        let result = match &mut self.section {
            Section::None => {
                let sections: Vec<&str> = include_str!("known/sections.txt").lines().collect();
                Err(Fault::at(
                    0,
                    match rules::nearest(name, sections) {
                        Some(near) => format!("unknown section '{name}': did you mean '{near}'?"),
                        None if name.starts_with("//") => {
                            "'//' starts no comment: comments start with '#'".into()
                        }
                        None => format!(
                            "'{name}' stands before any section: start one with global, defaults, frontend, backend or listen"
                        ),
                    },
                ))
            }
            Section::Skipped => Ok(()),
            Section::Global => {
                let mut reading = Reading {
                    global: &mut self.config.global,
                    bases: &mut self.bases,
                    env: &mut self.env,
                };
                global::line(&mut reading, &mut line)
            }
            Section::Errors(_, pages) => error_section_line(pages, &line),
            Section::Proxy(draft) => proxy_line(draft, &mut line, defaulted),
        };
        let warnings = std::mem::take(&mut line.warnings);
        if !matches!(self.section, Section::Global) {
            (self.env, self.bases) = (env, bases);
        }
        let shift = usize::from(negated || defaulted);
        for fault in warnings.into_iter().chain(result.err()) {
            let fault = Fault {
                word: fault.word + shift,
                ..fault
            };
            self.word_fault(file, number, text, shown, fault);
        }
    }

    fn header(&mut self, file: &Arc<str>, number: usize, words: &[Word]) -> Result<(), Fault> {
        let word = |at: usize| words.get(at).map_or("", |w| w.text.as_str());
        let origin: Arc<str> = format!("{file}:{number}").into();
        let kind = word(0);
        let section = match kind {
            "global" => {
                if words.len() > 1 {
                    return Err(Fault::at(1, "'global' has no name: remove it"));
                }
                self.section = Section::Global;
                return Ok(());
            }
            "http-errors" => {
                if word(1).is_empty() {
                    return Err(Fault::at(0, "'http-errors' wants a name"));
                }
                self.section = Section::Errors(word(1).into(), ErrorPages::default());
                return Ok(());
            }
            "defaults" => sections::D,
            "frontend" => sections::F,
            "backend" => sections::B,
            "listen" => sections::L,
            other => {
                let message =
                    format!("'{other}' is a section of HAProxy that mulgil does not have yet");
                return Err(Fault::at(0, message));
            }
        };
        let (name, from) = match (word(1), word(2), word(3)) {
            ("from", base, "") if section == sections::D && !base.is_empty() => ("", base),
            (name, "", _) => (name, ""),
            (name, "from", base) if !base.is_empty() => (name, base),
            (_, "from", _) => {
                return Err(Fault::at(2, "'from' wants the name of a defaults section"));
            }
            (name, other, _) => {
                if section == sections::D || section == sections::B {
                    return Err(Fault::at(
                        2,
                        format!("'{other}' is one word too many after '{kind} {name}': remove it"),
                    ));
                }
                return Err(Fault::at(
                    2,
                    format!(
                        "'{other}' after '{kind} {name}' is not for here: write 'bind {other}' on a line of its own"
                    ),
                ));
            }
        };
        if name.is_empty() && section != sections::D {
            return Err(Fault::at(
                0,
                format!("'{kind}' wants a name, such as '{kind} web'"),
            ));
        }
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if let Some(bad) = name.chars().find(|c| !valid(*c)) {
            return Err(Fault::at(
                1,
                format!("name '{name}' has a '{bad}': use letters, digits, '-', '_', '.' and ':'"),
            ));
        }
        let name: Arc<str> = name.into();
        let base = if from.is_empty() {
            if section == sections::D {
                None
            } else {
                self.last_defaults.clone()
            }
        } else {
            match self.defaults.get(from) {
                Some(draft) => Some(draft.clone()),
                None => {
                    let near = rules::nearest(from, self.defaults.keys().map(|k| &**k));
                    let at = words.len() - 1;
                    return Err(Fault::at(
                        at,
                        match near {
                            Some(near) => {
                                format!("no 'defaults {from}' stands above: did you mean '{near}'?")
                            }
                            None => format!("no 'defaults {from}' stands above"),
                        },
                    ));
                }
            }
        };
        if section == sections::D {
            if !name.is_empty() && self.defaults.contains_key(&name) {
                return Err(Fault::at(
                    1,
                    format!("there is a 'defaults {name}' already: give this one another name"),
                ));
            }
        } else {
            let sides = [
                (section & (sections::F | sections::L), &mut self.frontends),
                (section & (sections::B | sections::L), &mut self.backends),
            ];
            for (has, names) in sides {
                if has == 0 {
                    continue;
                }
                if let Some(first) = names.get(&name) {
                    return Err(Fault::at(
                        1,
                        format!(
                            "there is a proxy '{name}' already, at {first}: give this one another name"
                        ),
                    ));
                }
                names.insert(Arc::clone(&name), Arc::clone(&origin));
            }
        }
        let draft = match base {
            Some(base) => base.inherit(name, section, origin),
            None => Draft::new(name, section, origin),
        };
        self.section = Section::Proxy(Box::new(draft));
        Ok(())
    }

    fn end_section(&mut self) {
        match std::mem::replace(&mut self.section, Section::None) {
            Section::Proxy(draft) if draft.section == sections::D => {
                if draft.name.is_empty() {
                    self.unnamed += 1;
                } else {
                    self.defaults
                        .insert(Arc::clone(&draft.name), (*draft).clone());
                }
                self.last_defaults = Some(*draft);
            }
            Section::Proxy(draft) => self.drafts.push(*draft),
            Section::Errors(name, pages) => {
                let pages = Arc::new(pages);
                self.bases
                    .errors
                    .insert(Arc::clone(&name), Arc::clone(&pages));
                self.config.http_errors.insert(name, pages);
            }
            Section::Global | Section::None | Section::Skipped => {}
        }
    }

    /// Cross-checks, then turns drafts into proxies.
    fn finish(mut self) -> Loaded {
        let mut next_id = 2;
        let mut ids: HashMap<u32, Arc<str>> = HashMap::new();
        self.note_tracked();
        for draft in std::mem::take(&mut self.drafts) {
            self.check_references(&draft);
            self.check_servers(&draft);
            self.check_tracked(&draft);
            self.warn(&draft);
            let id = draft.id.unwrap_or_else(|| {
                while ids.contains_key(&next_id) {
                    next_id += 1;
                }
                next_id
            });
            if let Some(other) = ids.insert(id, Arc::clone(&draft.name)) {
                self.report.general(
                    Severity::Error,
                    format!(
                        "proxies '{other}' and '{}' both have id {id}: give one another",
                        draft.name
                    ),
                );
            }
            let proxy = self.proxy(draft, id);
            self.config.proxies.push(Arc::new(proxy));
        }
        if self.config.proxies.is_empty() && self.report.errors() == 0 {
            self.report.general(
                Severity::Error,
                "there is no frontend, backend or listen section: nothing could be served",
            );
        }
        let environment = self
            .env
            .iter()
            .map(|(k, v)| (k.as_str().into(), Some(v.as_str().into())));
        self.config.global.environment = environment.collect();
        let config = (self.report.errors() == 0).then_some(self.config);
        Loaded {
            config,
            report: self.report,
            env: self.env,
        }
    }

    /// Which servers of backends that are named by `track` have checks.
    fn note_tracked(&mut self) {
        let mut wanted: HashSet<Arc<str>> = HashSet::new();
        for draft in &self.drafts {
            for track in draft.back.servers.iter().filter_map(|s| s.track.as_deref()) {
                let backend = track.split_once('/').map_or(&*draft.name, |(b, _)| b);
                wanted.insert(backend.into());
            }
        }
        let tracked = self
            .drafts
            .iter()
            .filter(|d| d.has_back() && wanted.contains(&d.name));
        self.checked = tracked
            .map(|d| {
                let servers = d.back.servers.iter();
                let known = |s: &model::Server| s.check.is_some() || s.track.is_some();
                (
                    Arc::clone(&d.name),
                    servers.map(|s| (Arc::clone(&s.name), known(s))).collect(),
                )
            })
            .collect();
    }

    fn check_references(&mut self, draft: &Draft) {
        for reference in &draft.references {
            if self.backends.contains_key(&reference.name) {
                continue;
            }
            let near = rules::nearest(&reference.name, self.backends.keys().map(|k| &**k));
            let name = &reference.name;
            let message = match near {
                Some(near) => format!("no backend is called '{name}': did you mean '{near}'?"),
                None => format!("no backend is called '{name}': add a section 'backend {name}'"),
            };
            self.at(&reference.place.clone(), Severity::Error, message);
        }
    }

    /// A server that is tracked must be there and have checks of its own or track another.
    fn check_tracked(&mut self, draft: &Draft) {
        for server in draft.back.servers.iter().filter(|s| s.track.is_some()) {
            let wanted = server.track.as_deref().unwrap_or_default();
            let (backend, name) = wanted.split_once('/').unwrap_or((&draft.name, wanted));
            let checked = self.checked.get(backend).and_then(|all| all.get(name));
            let message = match checked {
                Some(true) if server.check.is_none() => continue,
                Some(true) => format!(
                    "server '{}' cannot both have checks and track '{wanted}'",
                    server.name
                ),
                Some(false) => format!("server '{wanted}' has no checks to track: give it 'check'"),
                None => format!("no server '{wanted}' to track: name one that is there"),
            };
            self.server_fault(draft, &server.name, message);
        }
    }

    fn check_servers(&mut self, draft: &Draft) {
        let mut names: HashMap<&str, ()> = HashMap::with_capacity(draft.back.servers.len());
        let mut ids: HashMap<u32, &str> = HashMap::with_capacity(draft.back.servers.len());
        for server in &draft.back.servers {
            if names.insert(&server.name, ()).is_some() {
                let message = format!(
                    "backend '{}' has two servers called '{}': give one another name",
                    draft.name, server.name
                );
                self.server_fault(draft, &server.name, message);
            }
            if let Some(other) = ids.insert(server.id, &server.name)
                && *other != *server.name
            {
                let message = format!(
                    "servers '{other}' and '{}' of '{}' both have id {}: give one another",
                    server.name, draft.name, server.id
                );
                self.report.general(Severity::Error, message);
            }
        }
    }

    /// The second server line of a name, found again in the file: places of servers are not kept,
    /// because there may be a million of them.
    fn server_fault(&mut self, draft: &Draft, name: &str, message: String) {
        let Some((file, start)) = draft.origin.rsplit_once(':') else {
            return;
        };
        let start: usize = start.parse().unwrap_or(0);
        let Ok(bytes) = self.source.read(file) else {
            return;
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines = text.lines().enumerate().skip(start);
        let mut found = lines.filter_map(|(i, line)| {
            let words = lexer::words(line, &self.env).ok()?;
            let is = words.first()?.text == "server" && words.get(1)?.text == name;
            is.then(|| (i + 1, line.to_string(), words))
        });
        if let (Some(_), Some((number, line, words))) = (found.next(), found.next()) {
            let file: Arc<str> = file.into();
            drop(found);
            self.word_fault(&file, number, &line, &words, Fault::at(1, message));
        } else {
            drop(found);
            self.report.general(Severity::Error, message);
        }
    }

    fn warn(&mut self, draft: &Draft) {
        let t = &draft.timeouts;
        let mut missing = Vec::new();
        if draft.has_front() && t.client.is_none() {
            missing.push("client");
        }
        if draft.has_back() && !draft.back.servers.is_empty() {
            if t.connect.is_none() {
                missing.push("connect");
            }
            if t.server.is_none() {
                missing.push("server");
            }
        }
        if !missing.is_empty() {
            self.report.general(
                Severity::Warning,
                format!(
                    "{}: proxy '{}' has no timeout for {}: dead peers would hold their connections for ever; set 'timeout {}'",
                    draft.origin, draft.name, missing.join(", "), missing.join("', 'timeout ")
                ),
            );
        }
        if draft.section == sections::F && draft.front.binds.is_empty() && !draft.disabled {
            self.report.general(
                Severity::Warning,
                format!(
                    "{}: frontend '{}' has no 'bind' line: nobody can reach it",
                    draft.origin, draft.name
                ),
            );
        }
    }

    fn proxy(&mut self, mut draft: Draft, id: u32) -> Proxy {
        let kind = draft.kind();
        let (has_front, has_back) = (draft.has_front(), draft.has_back());
        let mut logs = std::mem::take(&mut draft.logs);
        if draft.log_global {
            logs.splice(..0, self.config.global.logs.iter().cloned());
        }
        let keepalive =
            |(on, numbers): &(bool, crate::draft::model_keepalive::Numbers)| on.then_some(*numbers);
        draft.front.keepalive = keepalive(&draft.clitcpka);
        draft.back.keepalive = keepalive(&draft.srvtcpka);
        draft.back.check = Arc::new(check_kind(&mut draft));
        draft.back.servers.shrink_to_fit();
        Proxy {
            name: draft.name,
            id,
            kind,
            origin: draft.origin,
            mode: draft.mode,
            disabled: draft.disabled,
            description: draft.description,
            timeouts: draft.timeouts,
            logs,
            log_tag: draft.log_tag,
            errors: Arc::new(draft.errors),
            http: draft.http,
            stats: draft.stats.map(Arc::new),
            http_request: draft.http_request,
            http_response: draft.http_response,
            http_after_response: draft.http_after_response,
            tcp_request_content: draft.tcp_request_content,
            tcp_response_content: draft.tcp_response_content,
            inspect_delay: draft.inspect_delay,
            frontend: has_front.then(|| Box::new(draft.front)),
            backend: has_back.then(|| Box::new(draft.back)),
        }
    }
}

/// What the check settings amount to.
fn check_kind(draft: &mut Draft) -> CheckKind {
    let check = std::mem::take(&mut draft.check);
    if check.http {
        let mut steps = check.steps;
        if !steps.iter().any(|s| matches!(s, HttpCheckStep::Send(_))) {
            let send = check.send.unwrap_or_else(crate::keyword::default_send);
            let at = steps
                .iter()
                .position(|s| !matches!(s, HttpCheckStep::Connect { .. }))
                .unwrap_or(steps.len());
            steps.insert(at, HttpCheckStep::Send(send));
        }
        return CheckKind::Http(steps);
    }
    if check.tcp && !check.script.is_empty() {
        return CheckKind::TcpScript(check.script);
    }
    CheckKind::Tcp
}

/// A line of a proxy section.
fn proxy_line(draft: &mut Draft, line: &mut Line<'_>, defaulted: bool) -> Result<(), Fault> {
    let word = |at: usize| line.words.get(at).map_or("", |w| w.text.as_str());
    let found = KEYWORDS.iter().filter_map(|k| {
        let mut parts = k.name.split(' ').enumerate();
        let matches = parts.all(|(i, part)| word(i) == part);
        matches.then(|| (k, k.name.split(' ').count()))
    });
    let Some((keyword, parts)) = found.max_by_key(|(_, n)| *n) else {
        return Err(Fault::at(0, unknown_keyword(line)));
    };
    line.skip = parts;
    if line.negated && !keyword.negatable {
        return Err(Fault::at(
            0,
            format!(
                "'{}' cannot be taken back with 'no': remove the line that sets it",
                keyword.name
            ),
        ));
    }
    if keyword.sections & draft.section == 0 {
        let here = match draft.section {
            sections::D => "defaults",
            sections::F => "frontend",
            sections::B => "backend",
            _ => "listen",
        };
        let names = [
            (sections::D, "defaults"),
            (sections::F, "frontend"),
            (sections::L, "listen"),
            (sections::B, "backend"),
        ];
        let places: Vec<&str> = names
            .iter()
            .filter(|(bit, _)| keyword.sections & bit != 0)
            .map(|(_, n)| *n)
            .collect();
        // Keywords of the other side in a frontend or backend do nothing and harm nothing.
        let message = format!(
            "'{}' does not belong in '{here}': it is for {}",
            keyword.name,
            places.join(", ")
        );
        if keyword.sections & sections::D != 0 && matches!(draft.section, sections::F | sections::B)
        {
            line.warnings.push(Fault::warning(0, message));
            return Ok(());
        }
        return Err(Fault::at(0, message));
    }
    if defaulted {
        // `default X` is the value X has when nothing is said: that is what `no X` leaves, too.
        line.negated = true;
    }
    (keyword.parse)(draft, line)
}

/// The sentence for a keyword that no table has.
fn unknown_keyword(line: &Line<'_>) -> String {
    let texts: Vec<&str> = line.words.iter().map(|w| w.text.as_str()).collect();
    let name = texts.first().copied().unwrap_or_default();
    let joined = texts.join(" ");
    let known = include_str!("known/proxy.txt");
    if let Some(k) = known.lines().find(|k| {
        *k == name || joined == *k || joined.strip_prefix(k).is_some_and(|r| r.starts_with(' '))
    }) {
        return format!("'{k}' is a keyword of HAProxy that mulgil does not have yet");
    }
    if name.starts_with("//") || name.starts_with(';') {
        return format!("'{name}' starts no comment: comments start with '#'");
    }
    if known.lines().any(|k| k.split(' ').next() == Some(name)) {
        // A first word that is right, followed by one that is not.
        let second = texts.get(1).copied().unwrap_or_default();
        let seconds: Vec<&str> = known
            .lines()
            .filter_map(|k| k.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next())
            .collect();
        return match rules::nearest(second, seconds.iter().copied()) {
            Some(near) => format!("unknown word '{second}' after '{name}': did you mean '{near}'?"),
            None => format!(
                "unknown word '{second}' after '{name}': use {}",
                seconds.join(", ")
            ),
        };
    }
    let names = KEYWORDS.iter().map(|k| k.name).chain(known.lines());
    match rules::nearest(name, names) {
        Some(near) => format!("unknown keyword '{name}': did you mean '{near}'?"),
        None => format!("unknown keyword '{name}'"),
    }
}

fn error_section_line(pages: &mut ErrorPages, line: &Line<'_>) -> Result<(), Fault> {
    let name = line.words.first().map_or("", |w| w.text.as_str());
    if name != "errorfile" {
        return Err(Fault::at(
            0,
            format!(
                "unknown keyword '{name}' in 'http-errors': only 'errorfile CODE FILE' stands there"
            ),
        ));
    }
    let mut draft = Draft::new("".into(), sections::D, "".into());
    let mut inner = Line {
        warnings: Vec::new(),
        ..*line
    };
    crate::keyword::error_file(&mut draft, &mut inner)?;
    pages.pages.extend(draft.errors.pages);
    Ok(())
}
