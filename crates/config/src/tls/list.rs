//! Lists of certificates: `crt-list` files and directories.

use super::bind::bundle;
use crate::diag::Fault;
use crate::lexer;
use crate::line::Line;
use std::collections::BTreeMap;
use tls::{ListEntry, ListLine};

/// The files of a directory that are certificates.
pub(super) fn of_directory(files: &[String]) -> Vec<ListLine> {
    let all = files.iter().filter(|f| !tls::is_companion(f));
    let line = |file: &String| ListLine {
        number: 0,
        entry: ListEntry {
            path: file.as_str().into(),
            ..ListEntry::default()
        },
    };
    all.map(line).collect()
}

/// Reads a `crt-list`: `FILE [\[options\]] [[!]name …]` a line.
pub(super) fn crt_list(line: &Line<'_>, at: usize) -> Result<Vec<ListLine>, Fault> {
    let path = line.arg(at);
    let bytes = line
        .source
        .read(path)
        .map_err(|e| format!("crt-list '{path}' cannot be read: {e}"));
    let bytes = line.map(at, bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = Vec::new();
    for (index, row) in text.lines().enumerate() {
        let number = index + 1;
        let read = list_line(line, row, number);
        let read = read.map_err(|message| format!("{path}:{number}: {message}"));
        let Some(entry) = line.map(at, read)? else {
            continue;
        };
        for path in bundle(line, &entry.path) {
            let entry = ListEntry {
                path,
                ..entry.clone()
            };
            lines.push(ListLine { number, entry });
        }
    }
    if lines.is_empty() {
        return line.fail(at, format!("crt-list '{path}' names no certificate"));
    }
    Ok(lines)
}

fn list_line(line: &Line<'_>, row: &str, number: usize) -> Result<Option<ListEntry>, String> {
    let none = BTreeMap::new();
    let variables = lexer::Variables {
        env: &none,
        file: line.arg(0),
        line: number,
        section: "",
    };
    let words = lexer::words(row, &variables).map_err(|e| e.message)?;
    let words: Vec<&str> = words.iter().map(|w| w.text.as_str()).collect();
    line.bases.tls.store.list_entry(&words)
}
