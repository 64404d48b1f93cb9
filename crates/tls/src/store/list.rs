//! Lists of certificates: `crt-list` files, and directories.

use super::{AddFault, DelFault, Inner, Store, Used};
use crate::settings::ListEntry;
use std::sync::Arc;

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListLine {
    /// Its number; 0 in a directory.
    pub number: usize,
    /// What it says.
    pub entry: ListEntry,
}

impl Store {
    /// Puts a list into memory; one of that name that is there already stays.
    pub fn put_list(&self, name: &str, lines: Vec<ListLine>) {
        let mut inner = self.lock();
        let lists = &mut inner.files.lists;
        lists.entry(name.into()).or_insert_with(|| Arc::new(lines));
    }

    /// The names of all lists, sorted.
    pub fn lists(&self) -> Vec<Arc<str>> {
        self.lock().files.lists.keys().cloned().collect()
    }

    /// The lines of a list.
    pub fn list(&self, name: &str) -> Option<Arc<Vec<ListLine>>> {
        self.lock().files.lists.get(name).cloned()
    }

    /// `add ssl crt-list`: a line at the end, of files that are in memory.
    pub fn add_to_list(&self, list: &str, entry: ListEntry) -> Result<(), AddFault> {
        let missing = {
            let inner = self.lock();
            inner.missing(list, &entry)
        };
        if let Some(fault) = missing {
            return Err(fault);
        }
        let added = self.apply(Used::List(list), |files| {
            if let Some(lines) = files.lists.get_mut(list) {
                let lines = Arc::make_mut(lines);
                let number = lines.iter().map(|l| l.number).max().unwrap_or(0) + 1;
                lines.push(ListLine { number, entry });
            }
        });
        added.map_err(AddFault::Unusable)
    }

    /// `del ssl crt-list`: takes the line of this certificate out, the one of that number where there
    /// are several.
    pub fn delete_from_list(
        &self,
        list: &str,
        certificate: &str,
        number: Option<usize>,
    ) -> Result<(), DelFault> {
        let lines = self.list(list).ok_or(DelFault::NoList)?;
        let found: Vec<&ListLine> = lines
            .iter()
            .filter(|l| &*l.entry.path == certificate)
            .collect();
        let numbers = || found.iter().map(|l| l.number).collect();
        let line = match (found.as_slice(), number) {
            ([], _) => return Err(DelFault::NotThere),
            ([one], None) => one.number,
            (_, None) => return Err(DelFault::Several(numbers())),
            (all, Some(n)) if all.iter().any(|l| l.number == n) => n,
            (_, Some(_)) => return Err(DelFault::WrongLine(numbers())),
        };
        let at = lines
            .iter()
            .position(|l| l.number == line && &*l.entry.path == certificate);
        let at = at.ok_or(DelFault::NotThere)?;
        if at == 0 {
            let (acceptors, _) = self.users();
            let defaults = acceptors.iter().filter(|a| a.default_is_in(list));
            let places: Vec<Arc<str>> = defaults.map(|a| a.place()).collect();
            if !places.is_empty() {
                return Err(DelFault::Default(places));
            }
        }
        let taken = self.apply(Used::List(list), |files| {
            if let Some(lines) = files.lists.get_mut(list) {
                Arc::make_mut(lines).remove(at);
            }
        });
        taken.map_err(DelFault::Unusable)
    }
}

impl Inner {
    /// What a new line names that is not in memory.
    fn missing(&self, list: &str, entry: &ListEntry) -> Option<AddFault> {
        if !self.files.lists.contains_key(list) {
            return Some(AddFault::NoList);
        }
        match self.files.certificates.get(&entry.path) {
            None => return Some(AddFault::NoCertificate),
            Some(material) if material.is_empty() => return Some(AddFault::Empty),
            Some(_) => {}
        }
        let file = |path: &Option<Arc<str>>, known: &dyn Fn(&Arc<str>) -> bool| {
            path.as_ref().filter(|p| !known(p)).cloned()
        };
        if let Some(path) = file(&entry.ca_file, &|p| self.files.authorities.contains_key(p)) {
            return Some(AddFault::NoFile("ca-file", path));
        }
        let path = file(&entry.crl_file, &|p| self.files.revocations.contains_key(p))?;
        Some(AddFault::NoFile("crl-file", path))
    }
}
