//! Stick tables in the end: each named once, there where it is used, and fit for its keys.

use super::Loader;
use crate::diag::Severity;
use crate::draft::{Draft, Place};
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
        self.peers(drafts);
        for section in std::mem::take(&mut self.peers) {
            tables.extend(section.tables.into_iter().map(|(table, _)| table));
        }
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

    /// Checks who is to share tables: this machine must be among the peers, and no other can be yet.
    fn peers(&mut self, drafts: &[Draft]) {
        let mut faults: Vec<(Place, String)> = Vec::new();
        let here = self.env.get("HAPROXY_LOCALPEER").cloned();
        let here = here.unwrap_or_default();
        for section in self.peers.iter().filter(|s| !s.disabled) {
            for (name, place) in section.peers.iter().filter(|(n, _)| **n != *here) {
                let message = format!(
                    "peer '{name}' is not this machine ('{here}'): tables are not shared with \
                     others yet; remove the line, or say 'disabled' in the section. A reload \
                     keeps entries without peers. 'localpeer' and -L say who this machine is"
                );
                faults.push((place.clone(), message));
            }
            if section.peers.is_empty() {
                let message = format!(
                    "'peers {}' has no peer called '{here}', which is this machine: add it, or say \
                     by 'localpeer' or -L who this machine is",
                    section.name
                );
                faults.push((section.place.clone(), message));
            }
        }
        for reference in drafts.iter().filter_map(|d| d.peers.as_ref()) {
            let name = &reference.name;
            if self.peers.iter().any(|s| s.name == *name) {
                continue;
            }
            let message = match rules::nearest(name, self.peers.iter().map(|s| &*s.name)) {
                Some(near) => format!("no 'peers {name}': did you mean '{near}'?"),
                None => format!("no 'peers {name}': add that section, or remove the word"),
            };
            faults.push((reference.place.clone(), message));
        }
        for (place, message) in faults {
            self.at(&place, Severity::Error, message);
        }
    }
}
