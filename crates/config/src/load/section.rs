//! Section headers, and what becomes of a section at its end.

use super::crt_store::CrtStoreDraft;
use super::peers::PeersDraft;
use super::users::UsersDraft;
use super::{Here, Loader};
use crate::diag::{Fault, Severity};
use crate::draft::{Draft, Place, sections};
use crate::line::Line;
use crate::vrrp::VrrpDraft;
use model::{ErrorPages, Mailers, Resolvers};
use std::sync::Arc;

/// The section being read.
pub(super) enum Section {
    None,
    Global,
    Proxy(Box<Draft>),
    Errors(Arc<str>, ErrorPages),
    Users(Arc<str>, UsersDraft),
    Vrrp(Box<VrrpDraft>),
    Resolvers(Box<Resolvers>, Place),
    Mailers(Arc<str>, Mailers),
    Peers(Box<PeersDraft>),
    CrtStore(CrtStoreDraft),
    /// Not ours yet: the header has been reported, the lines are not read.
    Skipped,
}

/// All sections of the language.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    let ours = ["vrrp"];
    include_str!("../known/sections.txt").lines().chain(ours)
}

/// What is wrong with a line that stands in no section.
pub(super) fn no_section(name: &str) -> Fault {
    let message = match rules::nearest(name, known()) {
        Some(near) => format!("unknown section '{name}': did you mean '{near}'?"),
        None if name.starts_with("//") => "'//' starts no comment: comments start with '#'".into(),
        None => format!(
            "'{name}' stands before any section: start one with global, defaults, frontend, backend or listen"
        ),
    };
    Fault::at(0, message)
}

/// A line of `http-errors`.
pub(super) fn error_page(pages: &mut ErrorPages, line: &Line<'_>) -> Result<(), Fault> {
    let name = line.words.first().map_or("", |w| w.text.as_str());
    if name != "errorfile" {
        let message = format!(
            "unknown keyword '{name}' in 'http-errors': only 'errorfile CODE FILE' stands there"
        );
        return Err(Fault::at(0, message));
    }
    let (status, page) = crate::keyword::error_file(line)?;
    pages.pages.insert(status, page);
    Ok(())
}

/// Whether a name may be that of a section or server; if not, why.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    match name.chars().find(|c| !valid(*c)) {
        Some(bad) => Err(format!(
            "{what} '{name}' has a '{bad}': use letters, digits, '-', '_', '.' and ':'"
        )),
        None => Ok(()),
    }
}

impl Loader<'_> {
    /// Opens the section of this header. An error means that its lines cannot be read; lesser
    /// mistakes are reported, and the lines are read all the same, for theirs.
    pub(super) fn header(&mut self, here: Here<'_>) -> Result<(), Fault> {
        let word = |at: usize| here.word(at);
        let kind = word(0);
        let section = match kind {
            "global" => {
                self.section = Section::Global;
                if !self.drafts.is_empty() || self.last_defaults.is_some() {
                    let message = "this 'global' stands behind other sections: those before it were read without what it says";
                    self.at(&here.place(0), Severity::Diag, message.into());
                }
                if here.words.len() > 1 {
                    self.word_fault(here, Fault::at(1, "'global' has no name: remove it"));
                }
                return Ok(());
            }
            "http-errors" => {
                self.section = Section::Errors(word(1).into(), ErrorPages::default());
                if word(1).is_empty() {
                    self.word_fault(here, Fault::at(0, "'http-errors' wants a name"));
                }
                return Ok(());
            }
            "userlist" => {
                let name: Arc<str> = word(1).into();
                if name.is_empty() {
                    self.word_fault(here, Fault::at(0, "'userlist' wants a name"));
                } else if self.config.userlists.contains_key(&name) {
                    let message =
                        format!("there is a 'userlist {name}' already: this one is not used");
                    self.word_fault(here, Fault::warning(1, message));
                }
                if here.words.len() > 2 {
                    let message = format!("'{}' is one word too many: remove it", word(2));
                    self.word_fault(here, Fault::at(2, message));
                }
                self.section = Section::Users(name, UsersDraft::default());
                return Ok(());
            }
            "vrrp" => {
                self.vrrp_header(here);
                return Ok(());
            }
            "resolvers" => return self.resolvers_header(here),
            "mailers" => {
                let name: Arc<str> = word(1).into();
                self.own_header(here, self.config.mailers.contains_key(&name));
                self.section = Section::Mailers(name, Mailers::default());
                return Ok(());
            }
            "crt-store" => {
                let folders = self.bases.tls.store.folders();
                self.section = Section::CrtStore(CrtStoreDraft::new(word(1).into(), folders));
                if here.words.len() > 2 {
                    let message = format!("'{}' is one word too many: remove it", word(2));
                    self.word_fault(here, Fault::at(2, message));
                }
                return Ok(());
            }
            "peers" => {
                let name = word(1);
                self.own_header(here, self.peers.iter().any(|p| *p.name == *name));
                let draft = PeersDraft::new(name.into(), here.place(1));
                self.section = Section::Peers(Box::new(draft));
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
        let mut address_in_header = false;
        let (name, from) = match (word(1), word(2)) {
            ("from", base) if section == sections::D && !base.is_empty() => ("", Some(2)),
            (name, "from") => (name, Some(3)),
            (name, "") => (name, None),
            (name, other) => {
                address_in_header = true;
                let extra = format!("'{other}' is one word too many after '{kind} {name}'");
                self.word_fault(
                    here,
                    match section {
                        sections::D => Fault::warning(2, format!("{extra}: it is not read")),
                        sections::B => Fault::at(2, format!("{extra}: remove it")),
                        _ => Fault::at(
                            2,
                            format!("{extra}: write 'bind {other}' on a line of its own"),
                        ),
                    },
                );
                (name, None)
            }
        };
        if name.is_empty() && section != sections::D {
            let message = format!("'{kind}' wants a name, such as '{kind} web'");
            self.word_fault(here, Fault::at(0, message));
        }
        if let Err(message) = check_name("name", name) {
            self.word_fault(here, Fault::at(1, message));
        }
        let name: Arc<str> = name.into();
        let place = here.place(0);
        let base = match from {
            Some(at) => match self.base(word(at)) {
                Ok(base) => Some(base),
                Err(message) => {
                    self.word_fault(here, Fault::at(at, message));
                    None
                }
            },
            None if section == sections::D => None,
            None => self.last_defaults.clone(),
        };
        let mut draft = match base {
            Some(base) => {
                if let Some(message) = base.cannot_serve(section) {
                    self.word_fault(here, Fault::at(0, message));
                }
                base.inherit(name, section, place)
            }
            None => Draft::new(name, section, place),
        };
        if address_in_header {
            draft.refused.insert("bind");
        }
        if section != sections::D {
            self.claim(here, &draft);
        }
        self.section = Section::Proxy(Box::new(draft));
        Ok(())
    }

    fn vrrp_header(&mut self, here: Here<'_>) {
        let name: Arc<str> = here.word(1).into();
        if name.is_empty() {
            let message = "'vrrp' wants a name, such as 'vrrp public'";
            self.word_fault(here, Fault::at(0, message));
        } else if let Err(message) = check_name("name", &name) {
            self.word_fault(here, Fault::at(1, message));
        } else if self.vrrp.iter().any(|(other, _)| *other == name) {
            let message = format!("there is a 'vrrp {name}' already: give this one another name");
            self.word_fault(here, Fault::at(1, message));
        }
        if here.words.len() > 2 {
            let message = format!("'{}' is one word too many: remove it", here.word(2));
            self.word_fault(here, Fault::at(2, message));
        }
        self.section = Section::Vrrp(Box::new(VrrpDraft::new(name, here.place(0))));
    }

    /// Judges the header of a section that has a name of its own kind.
    fn own_header(&mut self, here: Here<'_>, known: bool) {
        let (kind, name) = (here.word(0), here.word(1));
        if name.is_empty() {
            self.word_fault(here, Fault::at(0, format!("'{kind}' wants a name")));
        } else if known {
            let message = format!("there is a '{kind} {name}' already: give this one another name");
            self.word_fault(here, Fault::at(1, message));
        }
        if let Err(message) = check_name("name", name) {
            self.word_fault(here, Fault::at(1, message));
        }
        if here.words.len() > 2 {
            let message = format!("'{}' is one word too many: it is not read", here.word(2));
            self.word_fault(here, Fault::warning(2, message));
        }
    }

    fn resolvers_header(&mut self, here: Here<'_>) -> Result<(), Fault> {
        let name = here.word(1);
        self.own_header(here, self.config.resolvers.contains_key(name));
        let section = Box::new(Resolvers::named(name.into()));
        self.section = Section::Resolvers(section, here.place(1));
        Ok(())
    }

    /// The defaults section of a name.
    fn base(&self, from: &str) -> Result<Draft, String> {
        if from.is_empty() {
            return Err("'from' wants the name of a defaults section".into());
        }
        match self.defaults.get(from).map(Vec::as_slice) {
            Some([only]) => Ok(only.clone()),
            Some(several) => {
                let places: Vec<&str> = several.iter().map(|d| &*d.origin).collect();
                Err(format!(
                    "there are several 'defaults {from}', at {}: give them different names",
                    places.join(" and ")
                ))
            }
            None => Err(
                match rules::nearest(from, self.defaults.keys().map(|k| &**k)) {
                    Some(near) => {
                        format!("no 'defaults {from}' stands above: did you mean '{near}'?")
                    }
                    None => format!("no 'defaults {from}' stands above"),
                },
            ),
        }
    }

    /// Takes a proxy's name on its sides; a frontend and a backend may share one.
    fn claim(&mut self, here: Here<'_>, draft: &Draft) {
        let sides = [
            (draft.has_front(), &mut self.frontends),
            (draft.has_back(), &mut self.backends),
        ];
        let mut first = None;
        for (has, names) in sides {
            if !has {
                continue;
            }
            match names.get(&draft.name) {
                Some(place) => first = Some(Arc::clone(place)),
                None => {
                    names.insert(Arc::clone(&draft.name), Arc::clone(&draft.origin));
                }
            }
        }
        if let Some(first) = first {
            let message = format!(
                "there is a proxy '{}' already, at {first}: give this one another name",
                draft.name
            );
            self.word_fault(here, Fault::at(1, message));
        }
    }

    pub(super) fn end_section(&mut self) {
        match std::mem::replace(&mut self.section, Section::None) {
            Section::Proxy(draft) if draft.section == sections::D => {
                if !draft.name.is_empty() {
                    let same = self.defaults.entry(Arc::clone(&draft.name)).or_default();
                    same.push((*draft).clone());
                }
                self.last_defaults = Some(*draft);
            }
            Section::Proxy(draft) => self.drafts.push(*draft),
            Section::Errors(name, pages) => {
                self.config.http_errors.insert(name, Arc::new(pages));
            }
            Section::Users(name, users) => {
                let (users, wrong) = users.finish();
                for (place, message) in wrong {
                    self.at(&place, Severity::Error, message);
                }
                self.config.userlists.entry(name).or_insert(users);
            }
            Section::Peers(draft) => self.peers.push(*draft),
            Section::Vrrp(draft) => self.vrrp.push((draft.name(), *draft)),
            Section::Resolvers(section, place) => {
                if section.nameservers.is_empty() {
                    let message = format!(
                        "'resolvers {}' has no name server to ask: add a 'nameserver' line",
                        section.name
                    );
                    self.at(&place, Severity::Warning, message);
                }
                let name = Arc::clone(&section.name);
                self.config.resolvers.insert(name, Arc::new(*section));
            }
            Section::Mailers(name, mailers) => {
                self.config.mailers.insert(name, Arc::new(mailers));
            }
            Section::Global | Section::CrtStore(_) | Section::None | Section::Skipped => {}
        }
    }
}
