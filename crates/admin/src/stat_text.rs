//! Rows of the statistics as text: CSV, typed lines, JSON.

use crate::stat::{Row, RowKind};
use crate::stat_fields::{FIELDS, MODULES};
use crate::typed;
use std::fmt::Write;

/// The CSV with its header line.
pub fn csv(rows: &[Row]) -> String {
    let mut out = String::from("# ");
    for field in FIELDS {
        out.push_str(field.name);
        out.push(',');
    }
    out.push_str("-,");
    for field in MODULES {
        out.push_str(field.name);
        out.push(',');
    }
    out.push('\n');
    for row in rows {
        for (at, field) in FIELDS.iter().chain(MODULES).enumerate() {
            if at == FIELDS.len() {
                out.push_str("-,");
            }
            let text = row.get(field.name);
            if text.contains([',', '"', '\n']) {
                let _ = write!(out, "\"{}\"", text.replace('"', "\"\""));
            } else {
                out.push_str(text);
            }
            out.push(',');
        }
        out.push('\n');
    }
    out
}

/// A field a line, with type and tags; `desc` adds what each is.
pub fn typed(rows: &[Row], desc: bool) -> String {
    let mut out = String::new();
    for row in rows {
        let letter = match row.kind {
            RowKind::Frontend => 'F',
            RowKind::Backend => 'B',
            RowKind::Server => 'S',
            RowKind::Listener => 'L',
        };
        let whose = format!("{letter}.{}.{}.", row.iid, row.sid);
        for (at, field) in row.fields() {
            typed::typed(&mut out, &whose, at, &field, row.get(field.name));
            if desc {
                let _ = write!(out, ":\"{}\"", field.doc);
            }
            out.push('\n');
        }
    }
    out
}

/// An array of rows, each an array of fields.
pub fn json(rows: &[Row]) -> String {
    let mut out = String::from("[");
    for (i, row) in rows.iter().enumerate() {
        let kind = match row.kind {
            RowKind::Frontend => "Frontend",
            RowKind::Backend => "Backend",
            RowKind::Server => "Server",
            RowKind::Listener => "Listener",
        };
        let whose = format!(
            "\"objType\":\"{kind}\",\"proxyId\":{},\"id\":{},",
            row.iid, row.sid
        );
        out.push_str(if i == 0 { "[" } else { ",[" });
        for (n, (at, field)) in row.fields().enumerate() {
            if n > 0 {
                out.push(',');
            }
            typed::json(&mut out, &whose, at, &field, row.get(field.name));
        }
        out.push(']');
    }
    out.push_str("]\n");
    out
}
