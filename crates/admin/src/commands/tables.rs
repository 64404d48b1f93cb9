//! Stick tables: `show table`, `set table`, `clear table`.

use super::Command;
use crate::cli::{Cli, Said, World};
use model::CliLevel;
use rules::Sample;
use rules::stick::{Data, KeyType};
use state::stick::{Filter, Operator, Table, Touch};
use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        &["clear", "table"],
        "clear table <table> [<filter>]*",
        "remove an entry from a table (filter: data/key)",
        CliLevel::Operator,
        clear,
    ),
    Command::new(
        &["set", "table"],
        "set table <table> key <k> [data.* <v>]*",
        "update or create a table entry's data",
        CliLevel::Operator,
        set,
    ),
    Command::new(
        &["show", "table"],
        "show table <table> [<filter>]*",
        "report table usage stats or dump this table's contents (filter: data/key)",
        CliLevel::Operator,
        show,
    ),
];

fn find<'w>(w: &'w World<'_>, name: &str) -> Option<&'w Arc<Table>> {
    w.generation.tables.iter().find(|t| *t.name == *name)
}

/// The line before the entries.
fn head(out: &mut String, table: &Table) {
    let _ = writeln!(
        out,
        "# table: {}, type: {}, size:{}, used:{}",
        table.name,
        table.key_type().name(),
        table.size(),
        table.len()
    );
}

fn show(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let now = w.process.millis(w.now);
    let mut out = String::new();
    let Some((name, rest)) = args.split_first() else {
        for table in w.generation.tables.iter().rev() {
            table.purge_all(now);
            head(&mut out, table);
        }
        return Said::data(out);
    };
    let Some(table) = find(w, name) else {
        return Said::fault("No such table");
    };
    table.purge_all(now);
    let shown = match meant(table, rest) {
        Ok(Meant::Entry(key)) => match table.show_key(&key, now) {
            Some(shown) => vec![shown],
            None => return Said::nothing(),
        },
        Ok(Meant::All(filters)) => table.show(&filters, now),
        Err(fault) => return Said::fault(fault),
    };
    head(&mut out, table);
    for entry in shown {
        out.push_str(&entry.line);
        out.push('\n');
    }
    Said::data(out)
}

fn clear(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let Some((name, rest)) = args.split_first() else {
        return Said::fault(
            "Required arguments: <table> \"data.<store_data_type>\" <operator> <value> or <table> key <key>",
        );
    };
    let Some(table) = find(w, name) else {
        return Said::fault("No such table");
    };
    let now = w.process.millis(w.now);
    match meant(table, rest) {
        Ok(Meant::Entry(key)) if !table.clear(&key, now) => {
            Said::fault("Entry currently in use, cannot remove")
        }
        Ok(Meant::Entry(_)) => Said::nothing(),
        Ok(Meant::All(filters)) => {
            table.clear_all(&filters, now);
            Said::nothing()
        }
        Err(fault) => Said::fault(fault),
    }
}

fn set(_: &mut Cli, w: &World<'_>, args: &[&str], _: &str) -> Said {
    let Some((name, rest)) = args.split_first() else {
        return Said::fault(
            "Required arguments: <table> key <key> [data.<store_data_type> <value>]*",
        );
    };
    let Some(table) = find(w, name) else {
        return Said::fault("No such table");
    };
    let (key, data) = match rest {
        [] => return Said::nothing(),
        ["key"] => return Said::fault("Key value expected"),
        ["key", key, data @ ..] => (*key, data),
        [word, ..] if word.starts_with("data.") => {
            return Said::fault(
                "content-based lookup is only supported with the \"show\" and \"clear\" actions",
            );
        }
        _ => {
            return Said::fault(
                "Required arguments: <table> key <key> [data.<store_data_type> <value>]*",
            );
        }
    };
    if table.key_type() == KeyType::Binary {
        return Said::fault(
            "Inserting keys into tables of type other than ip, ipv6, string and integer is not supported",
        );
    }
    let key = match key_of(table, key) {
        Ok(key) => key,
        Err(fault) => return Said::fault(fault),
    };
    let mut values = Vec::new();
    for pair in data.chunks(2) {
        let Some(named) = pair.first().and_then(|w| w.strip_prefix("data.")) else {
            return Said::fault("\"data.<type>\" followed by a value expected");
        };
        let Some(data) = Data::by_name(named) else {
            return Said::fault("Unknown data type");
        };
        if !table.stored().any(|s| s.data == data) {
            return Said::fault("Data type not stored in this table");
        }
        // HAProxy takes this word, and does nothing. Of arrays the first element is meant.
        if data == Data::ServerKey {
            return Said::fault(format_args!("Data type '{named}' cannot be set"));
        }
        match pair.get(1).map(|v| v.parse::<u64>()) {
            Some(Ok(value)) => values.push((data, value)),
            _ => return Said::fault("Require a valid integer value to store"),
        }
    }
    let now = w.process.millis(w.now);
    let done = table.with(&key, now, Touch::Create, |entry| {
        for (data, value) in values {
            entry.set(data, 0, value);
        }
    });
    match done {
        Some(()) => Said::nothing(),
        None => Said::fault("Unable to allocate a new entry"),
    }
}

/// What a command means.
enum Meant {
    Entry(Vec<u8>),
    All(Vec<Filter>),
}

fn meant(table: &Table, args: &[&str]) -> Result<Meant, String> {
    match args {
        [] => Ok(Meant::All(Vec::new())),
        ["key"] => Err("Key value expected".into()),
        ["key", key, ..] => Ok(Meant::Entry(key_of(table, key)?)),
        [word, ..] if word.starts_with("data.") => {
            let filters = args.chunks(3).enumerate();
            let filters = filters.map(|(i, words)| {
                filter(table, words).map_err(|e| format!("Filter entry #{}: {e}", i + 1))
            });
            Ok(Meant::All(filters.collect::<Result<_, _>>()?))
        }
        _ => Err(
            "Optional argument only supports \"data.<store_data_type>\" <operator> <value> and key <key>"
                .into(),
        ),
    }
}

fn filter(table: &Table, words: &[&str]) -> Result<Filter, &'static str> {
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    let named = word(0).strip_prefix("data.").unwrap_or_default();
    let data = Data::by_name(named).ok_or("Unknown data type")?;
    if !table.stored().any(|s| s.data == data) {
        return Err("Data type not stored in this table");
    }
    let operator = match word(1) {
        "eq" => Operator::Eq,
        "ne" => Operator::Ne,
        "le" => Operator::Le,
        "ge" => Operator::Ge,
        "lt" => Operator::Lt,
        "gt" => Operator::Gt,
        _ => {
            return Err(
                "Require and operator among \"eq\", \"ne\", \"le\", \"ge\", \"lt\", \"gt\"",
            );
        }
    };
    match word(2).parse() {
        Ok(value) => Ok(Filter {
            data,
            operator,
            value,
        }),
        Err(_) => Err("Require a valid integer value to compare against"),
    }
}

/// The key that a word of the command names.
fn key_of(table: &Table, text: &str) -> Result<Vec<u8>, &'static str> {
    let kind = table.key_type();
    if kind == KeyType::Integer && text.parse::<u32>().is_err() {
        return Err("Invalid key");
    }
    let sample = Sample::str(text.as_bytes());
    let key = kind.key(&sample, table.key_len());
    key.map(Cow::into_owned).ok_or("Invalid key")
}
