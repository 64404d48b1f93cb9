//! `stick-table` and `stick`.

use super::{Keyword, keyword, near};
use crate::diag::Fault;
use crate::draft::sections::*;
use crate::draft::{Draft, Reference};
use crate::line::Line;
use crate::units;
use model::{ServerKey, StickRule, StickStore, StickTable, Stored};
use rules::stick::{Data, DataKind, KeyType, TableName};
use std::sync::Arc;

/// Keywords of stick tables.
pub(super) static STICK_KEYWORDS: &[Keyword] = &[
    keyword!(
        "stick-table",
        NAMED,
        "type ip|ipv6|integer|string|binary [len N] size N [expire TIME] [nopurge] [srvkey name|addr] [peers SECTION] [store DATA[,DATA]*]*",
        "type ip size 100k expire 10m store conn_cur,http_req_rate(10s)",
        "a table of what clients did, or of their servers",
        table
    ),
    keyword!(
        "stick on",
        L | B,
        "KEY [table TABLE] [if|unless CONDITION]",
        "src table clients if { src 127.0.0.1 }",
        "send a client to the server it had, and remember that server",
        |d, l| rule(d, l, true, StickStore::Request)
    ),
    keyword!(
        "stick match",
        L | B,
        "KEY [table TABLE] [if|unless CONDITION]",
        "src table clients",
        "send a client to the server that the table has",
        |d, l| rule(d, l, true, StickStore::Never)
    ),
    keyword!(
        "stick store-request",
        L | B,
        "KEY [table TABLE] [if|unless CONDITION]",
        "src table clients",
        "remember the server by something of the request",
        |d, l| rule(d, l, false, StickStore::Request)
    ),
    keyword!(
        "stick store-response",
        L | B,
        "KEY [table TABLE] [if|unless CONDITION]",
        "res.cook(sid) table clients",
        "remember the server by something of the response",
        |d, l| rule(d, l, false, StickStore::Response)
    ),
];

const WORDS: [&str; 8] = [
    "type", "size", "expire", "nopurge", "srvkey", "store", "peers", "write-to",
];
/// Bytes of a key where no `len` is given.
const KEY_LEN: usize = 32;
/// Bytes of a key at most: more is surely a mistake, and would take much memory.
const LONGEST: u64 = 1 << 16;
/// Elements of an array at most (manual, `gpc`).
const MOST: u64 = 100;

fn table(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    if let Some((_, first)) = &d.stick_table {
        let message = format!(
            "'{}' has a stick table already, at {}: put this one into a backend of its own",
            d.name,
            first.origin()
        );
        return l.fail(0, message);
    }
    let (table, peers) = read_table(Arc::clone(&d.name), l, 0, true)?;
    d.peers = peers;
    d.stick_table = Some((table, l.place_of_keyword()));
    Ok(())
}

/// Reads the words of a table from argument `at` on, and the section of peers that they name, where
/// they may name one.
pub fn read_table(
    name: Arc<str>,
    l: &mut Line<'_>,
    mut at: usize,
    may_have_peers: bool,
) -> Result<(StickTable, Option<Reference>), Fault> {
    let (mut kind, mut size, mut peers) = (None, None, None);
    let mut table = StickTable {
        name,
        key: KeyType::Ip,
        key_len: 0,
        size: 0,
        expire: None,
        nopurge: false,
        server_key: ServerKey::Name,
        stores: Vec::new(),
        peers: None,
        follows: false,
    };
    while !l.arg(at).is_empty() {
        let word = l.arg(at);
        if word == "nopurge" {
            table.nopurge = true;
            at += 1;
            continue;
        }
        let value = l.arg(at + 1);
        if WORDS.contains(&word) && value.is_empty() {
            return l.fail(at, format!("'{word}' wants a value after it"));
        }
        match word {
            "type" => {
                let (key, len, taken) = key_type(l, at + 1)?;
                (table.key, table.key_len) = (key, len);
                kind = Some(key);
                at += taken;
            }
            "size" => {
                let n = l.map(at + 1, units::size(value))?;
                match u32::try_from(n) {
                    Ok(n) if n > 0 && n < u32::MAX => size = Some(n),
                    _ => return l.fail(at + 1, format!("{n} is out of range: 1 to 4294967294")),
                }
            }
            "expire" => table.expire = l.map(at + 1, units::timeout(value))?,
            "srvkey" => {
                table.server_key = match value {
                    "name" => ServerKey::Name,
                    "addr" => ServerKey::Addr,
                    other => return l.fail(at + 1, near("server key", other, &["name", "addr"])),
                }
            }
            "store" => store(l, at + 1, &mut table)?,
            "peers" if may_have_peers => {
                peers = Some(Reference {
                    name: value.into(),
                    keyword: "peers",
                    place: l.place(at + 1),
                });
            }
            "peers" => {
                let message = "a table of 'peers' belongs to its section: remove 'peers'";
                return l.fail(at, message);
            }
            "write-to" => {
                return l.fail(
                    at,
                    "'write-to' is for tables that other machines fill, which are not there yet: remove it",
                );
            }
            other => return l.fail(at, near("word of 'stick-table'", other, &WORDS)),
        }
        at += 2;
    }
    if kind.is_none() {
        return l.fail(0, "a stick table wants a type, such as 'type ip'");
    }
    let Some(size) = size else {
        return l.fail(0, "a stick table wants a size, such as 'size 100k'");
    };
    table.size = size;
    if table.nopurge && table.expire.is_none() {
        let message = "a table that neither forgets ('expire') nor purges is full for ever once it \
                       is full: add 'expire TIME'";
        l.warnings.push(Fault::warning(l.skip, message));
    }
    Ok((table, peers))
}

/// A type, the length of its keys, and how many words it took besides the first.
fn key_type(l: &Line<'_>, at: usize) -> Result<(KeyType, usize, usize), Fault> {
    let name = l.arg(at);
    let Some(key) = KeyType::ALL.into_iter().find(|k| k.name() == name) else {
        return l.fail(
            at,
            near("table type", name, &KeyType::ALL.map(KeyType::name)),
        );
    };
    match (key.fixed_len(), l.arg(at + 1)) {
        (Some(_), "len") => l.fail(
            at + 1,
            format!("keys of type '{name}' have their length: remove 'len'"),
        ),
        (Some(len), _) => Ok((key, len, 0)),
        (None, "len") => {
            let len = l.map(at + 2, units::number(l.arg(at + 2), 1, LONGEST))?;
            Ok((key, len as usize, 2))
        }
        (None, _) => Ok((key, KEY_LEN, 0)),
    }
}

/// `DATA[(ARGUMENTS)][,DATA…]`.
fn store(l: &mut Line<'_>, at: usize, table: &mut StickTable) -> Result<(), Fault> {
    let mut rest = l.arg(at);
    while !rest.is_empty() {
        let end = rest.find([',', '(']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let (arguments, after) = match after.strip_prefix('(') {
            Some(inner) => match inner.split_once(')') {
                Some((inner, after)) => (Some(inner), after),
                None => return l.fail(at, format!("'{rest}' has no closing parenthesis")),
            },
            None => (None, after),
        };
        rest = match after.strip_prefix(',') {
            Some(rest) => rest,
            None if after.is_empty() => after,
            None => return l.fail(at, format!("'{after}' stands where a comma should")),
        };
        let Some(data) = Data::by_name(name) else {
            let names: Vec<&str> = Data::ALL.iter().map(|d| d.name()).collect();
            return l.fail(at, near("data", name, &names));
        };
        let stored = l.map(at, stored(data, arguments))?;
        if table.stores.iter().any(|s| s.data == data) {
            let message = format!("'{name}' is stored already: remove it here");
            l.warnings.push(Fault::warning(l.skip + at, message));
        }
        table.store(stored);
    }
    for (array, single) in [
        (Data::Gpc, [Data::Gpc0, Data::Gpc1]),
        (Data::GpcRate, [Data::Gpc0Rate, Data::Gpc1Rate]),
        (Data::Gpt, [Data::Gpt0, Data::Gpt0]),
    ] {
        let has = |data| table.stores.iter().any(|s| s.data == data);
        if let Some(single) = single.into_iter().find(|s| has(array) && has(*s)) {
            let message = format!(
                "'{}' and '{}' cannot be stored together: the array has it as its element",
                array.name(),
                single.name()
            );
            return l.fail(at, message);
        }
    }
    Ok(())
}

/// Data with what stands in its parentheses.
fn stored(data: Data, arguments: Option<&str>) -> Result<Stored, String> {
    let name = data.name();
    let rate = data.kind() == DataKind::Rate;
    let mut given = arguments.map(|a| a.split(',').map(str::trim));
    let mut next = |what: &str, example: &str| {
        let given = given.as_mut().and_then(Iterator::next);
        given.ok_or_else(|| format!("'{name}' wants {what}, such as {name}{example}"))
    };
    let mut stored = Stored::plain(data);
    if data.is_array() {
        let example = if rate { "(2,10s)" } else { "(2)" };
        let count = next("how many there are", example)?;
        stored.count = units::number(count, 1, MOST)? as u32;
    }
    if rate {
        let example = if data.is_array() { "(2,10s)" } else { "(10s)" };
        let period = units::timeout(next("a period", example)?)?;
        let Some(period) = period else {
            return Err(format!(
                "the period of '{name}' is 0: write one such as 10s"
            ));
        };
        stored.period = period.as_millis() as u32;
    }
    match given.and_then(|mut given| given.next()) {
        Some(extra) => Err(format!("'{name}' takes no argument '{extra}': remove it")),
        None => Ok(stored),
    }
}

fn rule(d: &mut Draft, l: &mut Line<'_>, matches: bool, store: StickStore) -> Result<(), Fault> {
    if l.arg(0).is_empty() {
        return l.fail(0, format!("'{}' wants a key, such as src", l.keyword()));
    }
    let key = l.expression(0)?;
    if store == StickStore::Response && key.is_of_request_alone() {
        return l.fail(0, "what is of the request is not there any more when the response is: use 'stick store-request'");
    }
    if store != StickStore::Response && key.is_of_response() {
        return l.fail(0, "what is of the response is not there yet when the request is: use 'stick store-response'");
    }
    let mut at = 1;
    let table = if l.arg(at) == "table" {
        at += 2;
        match l.arg(at - 1) {
            "" => return l.fail(at - 2, "'table' wants the name of a stick table after it"),
            name => name,
        }
    } else {
        &*d.name
    };
    let table = TableName::new(table);
    let condition = match l.arg(at) {
        "" => None,
        "if" | "unless" => Some(l.rules(at, &d.acls, rules::Cond::parse)?),
        other => {
            let message = format!("'{other}' stands where 'table', 'if' or 'unless' should");
            return l.fail(at, message);
        }
    };
    l.uses_table(rules::stick::TableUse {
        table: Arc::clone(&table.name),
        key: Some(key.output()),
    });
    d.back.stick_rules.push(StickRule {
        key,
        table,
        matches,
        store,
        condition,
    });
    Ok(())
}
