//! Maps and ACLs: `show|get|add|set|del|clear|prepare|commit map|acl`.

use super::Command;
use crate::cli::{Grave, Said, World};
use model::CliLevel;
use rules::{Change, Listed, MATCHES, Matcher, PatternFault, Sample};
use std::fmt::Write;

/// The commands of one kind of list.
macro_rules! commands {
    ($kind:ident, $word:literal, $name:literal, $key:literal) => {
        [
            Command::new(
                &["add", $word],
                concat!("add ", $word, " [@<ver>] <", $word, "> ", $key),
                concat!("add ", $name, " entries"),
                CliLevel::Admin,
                |_, w, a, p| add(w, &Kind::$kind, a, p),
            ),
            Command::new(
                &["clear", $word],
                concat!("clear ", $word, " [@<ver>] <", $word, ">"),
                concat!("clear the contents of this ", $name),
                CliLevel::Admin,
                |_, w, a, _| clear(w, &Kind::$kind, a),
            ),
            Command::new(
                &["commit", $word],
                concat!("commit ", $word, " @<ver> <", $word, ">"),
                concat!("commit the ", $name, " at this version"),
                CliLevel::Admin,
                |_, w, a, _| commit(w, &Kind::$kind, a),
            ),
            Command::new(
                &["del", $word],
                concat!("del ", $word, " <", $word, "> [<key>|#<ref>]"),
                concat!("delete ", $name, " entries matching a key"),
                CliLevel::Admin,
                |_, w, a, _| delete(w, &Kind::$kind, a),
            ),
            Command::new(
                &["get", $word],
                concat!("get ", $word, " <", $word, "> <value>"),
                concat!("report the patterns matching a sample for this ", $name),
                CliLevel::Operator,
                |_, w, a, _| get(w, &Kind::$kind, a),
            ),
            Command::new(
                &["prepare", $word],
                concat!("prepare ", $word, " <", $word, ">"),
                concat!("prepare a new version for atomic ", $name, " replacement"),
                CliLevel::Admin,
                |_, w, a, _| prepare(w, &Kind::$kind, a),
            ),
            Command::new(
                &["show", $word],
                concat!("show ", $word, " [@<ver>] <", $word, ">]"),
                concat!("report available ", $name, "s or dump one's contents"),
                CliLevel::Operator,
                |_, w, a, _| show(w, &Kind::$kind, a),
            ),
        ]
    };
}

static MAPS: [Command; 7] = commands!(Map, "map", "map", "[<key> <val>|payload]");
static ACLS: [Command; 7] = commands!(Acl, "acl", "acl", "<pattern>");
static SET: [Command; 1] = [Command::new(
    &["set", "map"],
    "set map <map> [<key>|#<ref>] <value>",
    "modify a map entry",
    CliLevel::Admin,
    |_, w, a, _| set(w, a),
)];

pub(super) fn commands() -> impl Iterator<Item = &'static Command> {
    MAPS.iter().chain(&ACLS).chain(&SET)
}

/// What a command is about.
enum Kind {
    Map,
    Acl,
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Map => "map",
            Kind::Acl => "ACL",
        }
    }

    fn find(&self, world: &World<'_>, reference: Option<&&str>) -> Result<Listed, Said> {
        let listed = reference.and_then(|r| world.generation.config.global.lists.find(r));
        let mine = listed.filter(|l| match self {
            Kind::Map => l.map,
            Kind::Acl => l.acl,
        });
        mine.ok_or_else(|| {
            let name = self.name();
            Said::fault(format!(
                "Unknown {name} identifier. Please use #<id> or <file>."
            ))
        })
    }
}

/// `@VERSION` before the other words, if it is there.
fn version<'a>(args: &'a [&'a str]) -> Result<(Option<u32>, &'a [&'a str]), Said> {
    match args.split_first() {
        Some((first, rest)) if first.starts_with('@') => match first[1..].parse() {
            Ok(version) => Ok((Some(version), rest)),
            Err(_) => Err(Said::fault(format!(
                "'{first}' is no version: write '@' and a number."
            ))),
        },
        _ => Ok((None, args)),
    }
}

/// The answer that one side of a result holds.
fn either(result: Result<Said, Said>) -> Said {
    result.unwrap_or_else(|said| said)
}

fn fault(fault: &PatternFault) -> Said {
    Said::fault(match fault {
        PatternFault::Number(t) => format!("'{t}' is not a number."),
        PatternFault::Address(t) => format!("'{t}' is not a valid IPv4 or IPv6 address."),
        PatternFault::Value(t) => format!("unable to parse '{t}'."),
        PatternFault::Other(reason) => format!("{reason}."),
    })
}

fn show(world: &World<'_>, kind: &Kind, args: &[&str]) -> Said {
    if args.is_empty() {
        return Said::data(overview(world, kind));
    }
    either(version(args).and_then(|(version, args)| {
        let listed = kind.find(world, args.first())?;
        let mut out = String::new();
        for (id, entry) in listed.list.entries(version) {
            let _ = write!(out, "{id:#x} {}", entry.key);
            if listed.list.has_values() {
                let _ = write!(out, " {}", entry.value);
            }
            out.push('\n');
        }
        Ok(Said::data(out))
    }))
}

fn overview(world: &World<'_>, kind: &Kind) -> String {
    let mut out = String::from("# id (file) description\n");
    for listed in world.generation.config.global.lists.all() {
        let shown = match kind {
            Kind::Map => listed.map,
            Kind::Acl => listed.acl,
        };
        if !shown {
            continue;
        }
        let list = &listed.list;
        let (current, newest) = list.versions();
        let _ = writeln!(
            out,
            "{} ({}) {}. curr_ver={current} next_ver={newest} entry_cnt={}",
            listed.id,
            list.name(),
            listed.description,
            list.count() * list.matchers().len().max(1),
        );
    }
    out
}

fn get(world: &World<'_>, kind: &Kind, args: &[&str]) -> Said {
    let (Some(reference), Some(key)) = (args.first(), args.get(1)) else {
        let name = kind.name();
        return Said::fault(format!("Missing {name} identifier and/or key."));
    };
    either(kind.find(world, Some(reference)).map(|listed| {
        let mut out = String::new();
        for matcher in listed.list.matchers() {
            out.push_str(&looked_up(&matcher, kind, key));
            out.push('\n');
        }
        Said::data(out)
    }))
}

/// What one way of looking finds for a text.
fn looked_up(matcher: &Matcher, kind: &Kind, key: &str) -> String {
    let name = MATCHES.iter().find(|(_, how)| *how == matcher.how());
    let name = name.map_or("?", |(name, _)| name);
    let case = if matcher.fold() {
        "insensitive"
    } else {
        "sensitive"
    };
    let what = match kind {
        Kind::Map => "found",
        Kind::Acl => "match",
    };
    let sample = match matcher.how() {
        rules::Match::Bin => rules::unhex(key.as_bytes()).map(|b| Sample::Bin(b.into())),
        _ => Some(Sample::str(key.as_bytes())),
    };
    let Some(found) = sample.and_then(|s| matcher.found(&s)) else {
        return format!("type={name}, case={case}, {what}=no");
    };
    let index = if matcher.is_keyed() && !(matcher.fold() && name != "ip") && name != "end" {
        "tree"
    } else {
        "list"
    };
    let start = format!("type={name}, case={case}, {what}=yes, idx={index}");
    match (kind, found.value) {
        (Kind::Acl, _) => format!("{start}, pattern=\"{}\"", found.key),
        (Kind::Map, None) => format!("{start}, key=\"{}\", value=none", found.key),
        (Kind::Map, Some(value)) => {
            let kind = match value {
                Sample::Int(_) => "sint",
                Sample::Ip4(_) => "ipv4",
                Sample::Ip6(_) => "ipv6",
                _ => "str",
            };
            let value = String::from_utf8_lossy(&value.to_text()).into_owned();
            let key = &found.key;
            format!("{start}, key=\"{key}\", value=\"{value}\", type=\"{kind}\"")
        }
    }
}

fn add(world: &World<'_>, kind: &Kind, args: &[&str], payload: &str) -> Said {
    either(version(args).and_then(|(version, args)| {
        let missing = || {
            Said::fault(match kind {
                Kind::Map => {
                    "'add map' expects three parameters (map identifier, key and value) or one parameter (map identifier) and a payload"
                }
                Kind::Acl => "'add acl' expects two parameters: ACL identifier and pattern.",
            })
        };
        let (reference, words) = args.split_first().ok_or_else(missing)?;
        let mut entries = Vec::new();
        match (kind, words) {
            (Kind::Map, [key, value, ..]) => entries.push((*key, *value)),
            (Kind::Acl, [key, ..]) => entries.push((*key, "")),
            (_, []) if !payload.is_empty() => {
                for line in payload.lines() {
                    let line = line.trim_start_matches([' ', '\t']);
                    let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
                    let value = value.trim_start_matches([' ', '\t']);
                    match kind {
                        Kind::Map if value.is_empty() => {
                            let message = format!("Missing value for key '{key}'.");
                            return Err(Said::fault(message));
                        }
                        Kind::Map => entries.push((key, value)),
                        Kind::Acl => entries.push((line, "")),
                    }
                }
            }
            _ => return Err(missing()),
        }
        let listed = kind.find(world, Some(reference))?;
        let list = &listed.list;
        if list.has_values() && matches!(kind, Kind::Acl) {
            return Err(Said::fault(
                "This ACL is shared with a map containing samples. You must use the command 'add map' to add values.",
            ));
        }
        let (_, newest) = list.versions();
        if version.is_some_and(|v| v > newest) {
            let name = format!("{} {}", "prepare", kind.name().to_lowercase());
            return Err(Said::fault(format!(
                "Version number in the future, please use '{name}' before."
            )));
        }
        list.add(version, &entries).map_err(|e| fault(&e))?;
        Ok(Said::nothing())
    }))
}

/// A key, or `#` and the number that `show` gives.
fn which(text: &str) -> Option<Change<'_>> {
    match text.strip_prefix('#') {
        None => Some(Change::Key(text)),
        Some(number) => {
            let digits = number.strip_prefix("0x").unwrap_or(number);
            let id = u64::from_str_radix(digits, 16).ok()?;
            Some(Change::Entry(id))
        }
    }
}

fn set(world: &World<'_>, args: &[&str]) -> Said {
    let (Some(reference), Some(key), Some(value)) = (args.first(), args.get(1), args.get(2)) else {
        return Said::fault("'set map' expects three parameters: map identifier, key and value.");
    };
    either(Kind::Map.find(world, Some(reference)).and_then(|listed| {
        let Some(which) = which(key) else {
            return Err(Said::fault(
                "Malformed identifier. Please use #<id> or <file>.",
            ));
        };
        match listed.list.set(which, value) {
            Ok(true) => Ok(Said::nothing()),
            Ok(false) => Err(Said::fault(match which {
                Change::Key(_) => "entry not found.",
                Change::Entry(_) => "key or pattern not found.",
            })),
            Err(e) => Err(fault(&e)),
        }
    }))
}

fn delete(world: &World<'_>, kind: &Kind, args: &[&str]) -> Said {
    let (Some(reference), Some(key)) = (args.first(), args.get(1)) else {
        let name = kind.name();
        let missing = match args.first() {
            Some(reference) if kind.find(world, Some(reference)).is_err() => None,
            _ => Some(format!(
                "This command expects two parameters: {name} identifier and key."
            )),
        };
        return match missing {
            Some(message) => Said::fault(message),
            None => either(kind.find(world, args.first()).map(|_| Said::nothing())),
        };
    };
    either(kind.find(world, Some(reference)).and_then(|listed| {
        let Some(which) = which(key) else {
            return Err(Said::fault(
                "Malformed identifier. Please use #<id> or <file>.",
            ));
        };
        match listed.list.remove(which) {
            true => Ok(Said::nothing()),
            false => Err(Said::fault("Key not found.")),
        }
    }))
}

fn clear(world: &World<'_>, kind: &Kind, args: &[&str]) -> Said {
    either(version(args).and_then(|(version, args)| {
        if args.is_empty() {
            let name = kind.name();
            return Err(Said::fault(format!("Missing {name} identifier.")));
        }
        kind.find(world, args.first())?.list.clear(version);
        Ok(Said::nothing())
    }))
}

fn prepare(world: &World<'_>, kind: &Kind, args: &[&str]) -> Said {
    either(kind.find(world, args.first()).map(|listed| {
        let version = listed.list.prepare();
        Said::message(Grave::Info, format!("New version created: {version}"))
    }))
}

fn commit(world: &World<'_>, kind: &Kind, args: &[&str]) -> Said {
    either(version(args).and_then(|(version, args)| {
        let Some(version) = version else {
            return Err(Said::fault("Missing version number."));
        };
        match kind.find(world, args.first())?.list.commit(version) {
            true => Ok(Said::nothing()),
            false => Err(Said::fault("Version number out of range.")),
        }
    }))
}
