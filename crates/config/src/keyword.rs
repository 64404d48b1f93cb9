//! The table of proxy keywords, and how a line finds its own.

mod back;
mod balance;
mod check;
mod common;
mod compression;
mod datagram;
mod front;
mod ftp;
mod guard;
mod mail;
mod options;
mod packet;
mod pages;
mod persist;
mod ruleset;
mod smtp;
mod stats;
mod stick;

pub use check::finish as check_kind;
pub use options::OPTIONS;
pub use pages::error_file;
pub use stick::read_table;

use crate::diag::Fault;
use crate::draft::sections::{self, *};
use crate::draft::{Draft, Reference, Said};
use crate::line::Line;
use crate::removed;
use crate::units;
use model::{SwitchRule, SwitchTarget};
use std::sync::Arc;
use std::time::Duration;

/// One keyword of a proxy section.
pub struct Keyword {
    /// Its word or words.
    pub name: &'static str,
    /// Where it may stand, bits of [`crate::draft::sections`].
    pub sections: u8,
    /// Whether `no` may stand before it.
    pub negatable: bool,
    /// Its arguments.
    pub args: &'static str,
    /// Arguments that make a valid line.
    pub example: &'static str,
    /// One line.
    pub doc: &'static str,
    parse: fn(&mut Draft, &mut Line<'_>) -> Result<(), Fault>,
}

macro_rules! keyword {
    ($name:literal, $sections:expr, $args:literal, $example:literal, $doc:literal, $parse:expr) => {
        Keyword {
            name: $name,
            sections: $sections,
            negatable: false,
            args: $args,
            example: $example,
            doc: $doc,
            parse: $parse,
        }
    };
    (no $name:literal, $sections:expr, $args:literal, $example:literal, $doc:literal, $parse:expr) => {
        Keyword {
            name: $name,
            sections: $sections,
            negatable: true,
            args: $args,
            example: $example,
            doc: $doc,
            parse: $parse,
        }
    };
}
use keyword;

/// All keywords of proxy sections.
pub fn keywords() -> impl Iterator<Item = &'static Keyword> {
    [
        common::COMMON,
        front::FRONT_KEYWORDS,
        back::BACK_KEYWORDS,
        check::CHECK_KEYWORDS,
        packet::PACKET_KEYWORDS,
        guard::GUARD_KEYWORDS,
        mail::MAIL_KEYWORDS,
        datagram::DATAGRAM_KEYWORDS,
        ftp::FTP_KEYWORDS,
        smtp::SMTP_KEYWORDS,
        ruleset::RULE_KEYWORDS,
        stick::STICK_KEYWORDS,
    ]
    .into_iter()
    .flatten()
}

/// A name in files of statistics, which stands for one thing in all of the configuration.
pub(crate) fn guid(line: &Line<'_>, at: usize) -> Result<Arc<str>, Fault> {
    let name = line.arg(at);
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_:.".contains(&b);
    if name.is_empty() || name.len() > 127 || !name.bytes().all(fits) {
        return line.fail(
            at,
            format!("'{name}' is no name of up to 127 letters, digits and -_:. for 'guid'"),
        );
    }
    Ok(name.into())
}

/// Keywords that are an error on the side they are not for; all others are passed over there,
/// with a warning.
const STRICT: [&str; 9] = [
    "declare capture",
    "default-server",
    "retry-on",
    "server",
    "server-template",
    "tcp-request connection",
    "tcp-request session",
    "tcp-response content",
    "tcp-response inspect-delay",
];

/// Reads a line of a proxy section.
pub fn line(draft: &mut Draft, line: &mut Line<'_>) -> Result<(), Fault> {
    if let Some(fault) = removed::of_proxy(line) {
        if line
            .words
            .first()
            .is_some_and(|w| w.text.ends_with("timeout"))
        {
            draft.refused.insert("timeout");
        }
        return Err(fault);
    }
    let Some((keyword, parts)) = find(line) else {
        return Err(Fault::at(0, unknown_keyword(line)));
    };
    line.skip = parts;
    if line.negated && !keyword.negatable {
        return Err(Fault::at(
            0,
            format!(
                "'{}' cannot be taken back with 'no' or 'default': remove the line that sets it",
                keyword.name
            ),
        ));
    }
    if keyword.sections & draft.section == 0 {
        if draft.section == D || STRICT.contains(&keyword.name) {
            return Err(Fault::at(
                0,
                belongs(keyword.name, draft.section, keyword.sections),
            ));
        }
        return misplaced(draft, line, keyword.name, keyword.sections, keyword.parse);
    }
    if draft.section == D && draft.name.is_empty() && only_named(keyword.name) {
        return Err(Fault::at(
            0,
            format!(
                "'{}' may stand in a named defaults section only: name it, and use it by 'from NAME'",
                keyword.name
            ),
        ));
    }
    if let Err(fault) = (keyword.parse)(draft, line) {
        draft.refused.insert(keyword.name);
        return Err(fault);
    }
    userlists(draft, line);
    let place = line.place_of_keyword();
    let uses = line.table_uses.take().into_iter();
    draft.table_uses.extend(uses.map(|u| (u, place.clone())));
    order(draft, line, keyword.name);
    let said = Said::Keyword(keyword.name);
    match line.negated {
        true => draft.said.remove(&said),
        false => draft.said.insert(said, line.place_of_keyword()),
    };
    if let Some(mark) = mark(keyword.name) {
        draft.marks.insert(mark, line.place_of_keyword());
    }
    Ok(())
}

/// The keyword of a line, and how many words it has: the longest that fits.
fn find(line: &Line<'_>) -> Option<(&'static Keyword, usize)> {
    let word = |at: usize| line.words.get(at).map_or("", |w| w.text.as_str());
    let fits = keywords().filter(|k| {
        let mut parts = k.name.split(' ').enumerate();
        parts.all(|(i, part)| word(i) == part || (i > 0 && called(word(i), part)))
    });
    fits.map(|k| (k, k.name.split(' ').count()))
        .max_by_key(|(_, n)| *n)
}

/// Whether a word is a name with an argument in parentheses.
fn called(word: &str, name: &str) -> bool {
    let argument = word.strip_prefix(name);
    argument.is_some_and(|a| a.starts_with('(') && a.ends_with(')'))
}

/// Whether a keyword may not stand in defaults without a name.
fn only_named(name: &str) -> bool {
    name == "acl"
        || name.starts_with("tcp-re")
        || ruleset::RULE_KEYWORDS.iter().any(|k| k.name == name)
}

/// Notes the userlists that the expressions of a line name: `http_auth(LIST)`.
fn userlists(draft: &mut Draft, line: &Line<'_>) {
    for (at, word) in line.args().iter().enumerate() {
        for fetch in ["http_auth(", "http_auth_group("] {
            let named = word.text.split(fetch).skip(1);
            let named = named.filter_map(|rest| rest.split(')').next());
            draft
                .userlist_references
                .extend(named.map(|name| Reference {
                    name: name.trim_matches('"').into(),
                    keyword: "http_auth",
                    place: line.place(at),
                }));
        }
    }
}

/// Rules in the order in which their kinds are taken, wherever they stand.
const RULE_ORDER: [&str; 9] = [
    "tcp-request connection",
    "tcp-request session",
    "tcp-request content",
    "smtp-request",
    "monitor fail",
    "http-request",
    "redirect",
    "use_backend",
    "use-server",
];

/// Warns of a rule that stands behind one of a kind that is taken later.
fn order(draft: &Draft, line: &mut Line<'_>, name: &str) {
    let Some(rank) = RULE_ORDER.iter().position(|k| *k == name) else {
        return;
    };
    // The last two choose for different sides: neither is before the other.
    if rank + 2 >= RULE_ORDER.len() {
        return;
    }
    let here = |place: &crate::draft::Place| {
        place.file == draft.place.file && place.line >= draft.place.line
    };
    let later = RULE_ORDER.iter().skip(rank + 1);
    let mut later = later.filter_map(|k| Some((k, draft.marks.get(k).filter(|p| here(p))?)));
    if let Some((kind, place)) = later.next() {
        let message = format!(
            "'{name}' stands behind the '{kind}' of line {}, but is still taken before it: move it above",
            place.line
        );
        line.warnings.push(Fault::warning(0, message));
    }
}

/// What a later check wants to know the line of.
fn mark(name: &'static str) -> Option<&'static str> {
    match name {
        "http-check disable-on-404" | "http-check send-state" => None,
        "tcp-request inspect-delay"
        | "id"
        | "balance"
        | "forward"
        | "guard"
        | "no-flow"
        | "source-persistence"
        | "snat"
        | "stats"
        | "redirect"
        | "monitor-uri"
        | "log-format" => Some(name),
        "http-request" | "http-response" | "http-after-response" => Some(name),
        _ if name.starts_with("email-alert ") => Some("email-alert"),
        _ if RULE_ORDER.contains(&name) => Some(name),
        _ if name.starts_with("smtp-") || name.starts_with("ftp-") => Some(name),
        _ if name.starts_with("http-check ") => Some("http-check"),
        _ if name.starts_with("tcp-check ") => Some("tcp-check"),
        _ if name.starts_with("udp-check ") => Some("udp-check"),
        _ if name.starts_with("external-check ") => Some("external-check"),
        _ => None,
    }
}

/// Warns that a keyword has no effect where it stands. Its arguments are read all the same, for
/// their mistakes.
fn misplaced(
    draft: &Draft,
    line: &mut Line<'_>,
    name: &str,
    places: u8,
    parse: fn(&mut Draft, &mut Line<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let message = format!("{}; it has no effect", belongs(name, draft.section, places));
    line.warnings.push(Fault::warning(0, message));
    let mut aside = Draft::new(Arc::clone(&draft.name), draft.section, draft.place.clone());
    aside.acls = draft.acls.clone();
    parse(&mut aside, line)
}

fn belongs(name: &str, here: u8, places: u8) -> String {
    let names = [
        (sections::D, "defaults"),
        (sections::F, "frontend"),
        (sections::L, "listen"),
        (sections::B, "backend"),
    ];
    let name_of = |bits: u8| {
        let places = names.iter().filter(move |(bit, _)| bits & bit != 0);
        places.map(|(_, n)| *n).collect::<Vec<_>>().join(", ")
    };
    format!(
        "'{name}' does not belong in '{}': it is for {}",
        name_of(here),
        name_of(places)
    )
}

fn num(line: &Line<'_>, at: usize, least: u64, most: u64) -> Result<u32, Fault> {
    line.map(at, units::number(line.arg(at), least, most))
        .map(|n| n as u32)
}

fn time(line: &Line<'_>, at: usize) -> Result<Option<Duration>, Fault> {
    line.map(at, units::timeout(line.arg(at)))
}

/// "unknown X 'y': did you mean 'z'?"
pub(crate) fn near(what: &str, word: &str, names: &[&str]) -> String {
    match rules::nearest(word, names.iter().copied()) {
        Some(near) => format!("unknown {what} '{word}': did you mean '{near}'?"),
        None => format!("unknown {what} '{word}': use {}", names.join(", ")),
    }
}

/// The sentence for a word that no table of ours has.
pub(crate) fn unknown_word<'a>(
    what: &str,
    word: &str,
    known: &str,
    ours: impl Iterator<Item = &'a str>,
) -> String {
    if word == "idle-ping" {
        return "'idle-ping' sends pings of HTTP/2, which mulgil speaks with nobody: remove it; 'option clitcpka' and 'option srvtcpka' find out who is gone".into();
    }
    if known.lines().any(|k| k == word) {
        return format!("'{word}' is a keyword of HAProxy that mulgil does not have yet");
    }
    match rules::nearest(word, ours) {
        Some(near) => format!("unknown {what} word '{word}': did you mean '{near}'?"),
        None if word.starts_with("//") || word.starts_with(';') => {
            format!("'{word}' starts no comment: comments start with '#'")
        }
        None => format!("unknown {what} word '{word}'"),
    }
}

fn switch(d: &Draft, l: &Line<'_>) -> Result<SwitchRule, Fault> {
    let name = l.arg(0);
    if name.is_empty() || name == "if" || name == "unless" {
        return l.fail(
            0,
            format!("'{}' wants a name before the condition", l.keyword()),
        );
    }
    let target = if name.contains('%') {
        let format = l.format(0)?;
        match format.fixed() {
            Some(fixed) => SwitchTarget::Name(String::from_utf8_lossy(fixed).as_ref().into()),
            None => SwitchTarget::Format(format),
        }
    } else {
        SwitchTarget::Name(name.into())
    };
    let condition = match l.arg(1) {
        "" => None,
        "if" | "unless" => Some(l.rules(1, &d.acls, rules::Cond::parse)?),
        other => return l.fail(1, format!("'{other}' stands where 'if' or 'unless' should")),
    };
    Ok(SwitchRule {
        target,
        condition,
        line: l.written(),
    })
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
        let mut seconds: Vec<&str> = known
            .lines()
            .filter_map(|k| k.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next())
            .collect();
        seconds.dedup();
        return match rules::nearest(second, seconds.iter().copied()) {
            _ if second.is_empty() => {
                format!("'{name}' wants a word after it: {}", seconds.join(", "))
            }
            Some(near) => format!("unknown word '{second}' after '{name}': did you mean '{near}'?"),
            None => format!(
                "unknown word '{second}' after '{name}': use {}",
                seconds.join(", ")
            ),
        };
    }
    let names = keywords().map(|k| k.name).chain(known.lines());
    match rules::nearest(name, names) {
        Some(near) => format!("unknown keyword '{name}': did you mean '{near}'?"),
        None => format!("unknown keyword '{name}'"),
    }
}
