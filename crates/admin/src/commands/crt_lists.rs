//! `add|del|show ssl crt-list`.

use super::Command;
use super::certificates::store;
use crate::cli::{Cli, Grave, Said, World};
use model::CliLevel;
use std::fmt::Write;
use tls::{AddFault, DelFault};

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["add", "ssl", "crt-list"],
        "add ssl crt-list <list> <cert> [opts]*",
        "add to crt-list file <list> a line <cert> or a payload",
        CliLevel::Admin,
        add,
    ),
    Command::new(
        &["del", "ssl", "crt-list"],
        "del ssl crt-list <list> <cert[:line]>",
        "delete a line <cert> from crt-list file <list>",
        CliLevel::Admin,
        delete,
    ),
    Command::new(
        &["show", "ssl", "crt-list"],
        "show ssl crt-list [-n] [<list>]",
        "show the list of crt-lists or the content of a crt-list file <list>",
        CliLevel::Operator,
        show,
    ),
];

fn add(_: &mut Cli, world: &World<'_>, args: &[&str], payload: &str) -> Said {
    let (list, words) = match args {
        [list, words @ ..] if !words.is_empty() || !payload.is_empty() => (*list, words),
        _ => return Said::fault("'add ssl crtlist' expects a filename and a certificate name"),
    };
    let refuse = |why: String| Said::fault(format!("Can't edit the crt-list: {why}"));
    let mut lines = payload.lines().filter(|l| !l.trim().is_empty());
    let row = lines.next();
    if lines.next().is_some() {
        return refuse("only one line of payload is supported!".into());
    }
    let words: Vec<&str> = match row {
        Some(row) => row.split_whitespace().collect(),
        None => words.to_vec(),
    };
    let list = list.trim_end_matches('/');
    let entry = match store(world).list_entry(&words) {
        Ok(Some(entry)) => entry,
        Ok(None) => return refuse("no certificate found in the entry".into()),
        Err(why) => return refuse(format!("parsing [CLI:1]: {why}")),
    };
    let certificate = entry.path.clone();
    match store(world).add_to_list(list, entry) {
        Ok(()) => Said::data(format!(
            "Inserting certificate '{certificate}' in crt-list '{list}'.\nSuccess!\n"
        )),
        Err(fault) => refuse(match fault {
            AddFault::NoList => format!("crt-list '{list}' does not exist!"),
            AddFault::NoCertificate => format!("certificate '{certificate}' does not exist!"),
            AddFault::Empty => format!("certificate '{certificate}' is empty!"),
            AddFault::NoFile(option, path) => format!("'{option}' : unable to load {path}"),
            AddFault::Unusable(why) => why,
        }),
    }
}

fn delete(_: &mut Cli, world: &World<'_>, args: &[&str], _: &str) -> Said {
    let [list, word, ..] = args else {
        return Said::fault("'del ssl crtlist' expects a filename and a certificate name");
    };
    let list = list.trim_end_matches('/');
    let (certificate, number) = match word.rsplit_once(':') {
        Some((certificate, number)) => match number.parse() {
            // There is no line 0: it is as if none was named.
            Ok(0) => (certificate, None),
            Ok(number) => (certificate, Some(number)),
            Err(_) => (*word, None),
        },
        None => (*word, None),
    };
    let several = |lines: &[usize]| {
        let lines: Vec<String> = lines.iter().map(usize::to_string).collect();
        lines.join(", ")
    };
    let why = match store(world).delete_from_list(list, certificate, number) {
        Ok(()) => {
            let line = format!("Entry '{certificate}' deleted in crtlist '{list}'!");
            return Said::message(Grave::Notice, line);
        }
        Err(DelFault::NoList) => format!("crt-list '{list}' does not exist!"),
        Err(DelFault::NotThere) => {
            format!("certificate '{certificate}' can't be found in crt-list '{list}'!")
        }
        Err(DelFault::Several(lines)) => format!(
            "found the certificate '{certificate}' in several entries, please specify a line number preceded by colons ({})!",
            several(&lines)
        ),
        Err(DelFault::WrongLine(lines)) => format!(
            "found a certificate '{certificate}' but the line number is incorrect, please specify a correct line number preceded by colons ({})!",
            several(&lines)
        ),
        Err(DelFault::Default(places)) => {
            let places: String = places.iter().map(|p| format!("\t- {p}\n")).collect();
            format!(
                "certificate '{certificate}' cannot be deleted, it is used as default certificate by the following frontends:\n{places}"
            )
        }
        Err(DelFault::Unusable(why)) => why,
    };
    Said::fault(format!("Can't delete the entry: {why}"))
}

fn show(_: &mut Cli, world: &World<'_>, args: &[&str], _: &str) -> Said {
    let store = store(world);
    let (numbered, list) = match args {
        ["-n", list, ..] => (true, Some(list)),
        ["-n"] => (true, None),
        [list, ..] => (false, Some(list)),
        [] => (false, None),
    };
    let mut out = String::new();
    let Some(list) = list else {
        for name in store.lists() {
            let _ = writeln!(out, "{name}");
        }
        return Said::data(out);
    };
    let list = list.trim_end_matches('/');
    let Some(lines) = store.list(list) else {
        return Said::fault("didn't find the specified filename");
    };
    let _ = writeln!(out, "# {list}");
    for line in lines.iter() {
        let entry = &line.entry;
        out.push_str(&entry.path);
        if numbered {
            let _ = write!(out, ":{}", line.number);
        }
        if !entry.shown.is_empty() {
            let _ = write!(out, " [{}]", entry.shown);
        }
        for name in &entry.filters {
            let _ = write!(out, " {name}");
        }
        out.push('\n');
    }
    Said::data(out)
}
