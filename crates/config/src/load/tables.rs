//! Stick tables in the end: each named once, there where it is used, and fit for its keys.

use super::Loader;
use crate::diag::Severity;
use crate::draft::Draft;
use model::{StickTable, Stored};
use rules::stick::Data;
use std::collections::HashMap;
use std::sync::Arc;

impl Loader<'_> {
    /// Collects the tables of all proxies, and checks who uses them.
    pub(super) fn tables(&mut self, drafts: &[Draft]) {
        let mut tables: Vec<StickTable> = Vec::new();
        let mut places: HashMap<Arc<str>, Arc<str>> = HashMap::new();
        for draft in drafts {
            let Some((table, place)) = &draft.stick_table else {
                continue;
            };
            if let Some(first) = places.insert(Arc::clone(&table.name), place.origin()) {
                let message = format!(
                    "there is a stick table '{}' already, at {first}: give this proxy another name",
                    table.name
                );
                self.at(place, Severity::Error, message);
                continue;
            }
            tables.push(table.clone());
        }
        self.peers(drafts, &mut tables);
        for rule in drafts.iter().flat_map(|d| &d.back.stick_rules) {
            if let Some(table) = tables.iter_mut().find(|t| t.name == rule.table.name) {
                table.store(Stored::plain(Data::ServerId));
                table.store(Stored::plain(Data::ServerKey));
            }
        }
        for (used, place) in drafts.iter().flat_map(|d| &d.table_uses) {
            let name = &used.table;
            let message = match (tables.iter().find(|t| t.name == *name), used.key) {
                (None, _) => match rules::nearest(name, tables.iter().map(|t| &*t.name)) {
                    Some(near) => {
                        format!("no proxy '{name}' has a stick table: did you mean '{near}'?")
                    }
                    None => format!(
                        "no proxy '{name}' has a stick table: add a 'stick-table' line to it, or \
                         name another"
                    ),
                },
                (Some(table), Some(key)) if !table.key.takes(key) => format!(
                    "{} cannot be a key of the stick table '{name}', which is of type '{}': change \
                     the expression or the type",
                    key.name(),
                    table.key.name()
                ),
                _ => continue,
            };
            self.at(place, Severity::Error, message);
        }
        self.config.tables = tables.into_iter().map(Arc::new).collect();
    }
}
