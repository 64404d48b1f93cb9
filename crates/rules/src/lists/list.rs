//! One list: its entries, version by version, and the matchers to keep up to date.

use super::Matcher;
use crate::Type;
use crate::pattern::{Match, PatternFault};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A list of patterns, or of keys and their values.
#[derive(Debug)]
pub struct PatternList {
    /// The file's name; empty where the patterns stand in a line.
    name: Arc<str>,
    /// Whether there are values beside the keys.
    values: bool,
    /// Of what it was made of.
    fingerprint: u64,
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    current: u32,
    newest: u32,
    versions: BTreeMap<u32, Entries>,
    /// Numbers of entries begin at 1.
    last_entry: u64,
    matchers: Vec<Weak<Matcher>>,
    /// Changes of the current version so far, and the last of them: whether a key came or went.
    changes: u64,
    journal: VecDeque<(bool, Arc<str>)>,
}

/// Keys that came (`true`) or went, in order.
pub type Passed = Vec<(bool, Arc<str>)>;

/// The entries of one version.
#[derive(Debug, Default)]
pub(super) struct Entries {
    by_id: BTreeMap<u64, Entry>,
    by_key: HashMap<Arc<str>, Vec<u64>>,
}

/// A key and its value, which is empty in a list without values.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Entry {
    pub key: Arc<str>,
    pub value: Arc<str>,
}

/// Which entries a command means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// All of this key.
    Key(&'a str),
    /// The one of this number.
    Entry(u64),
}

/// From so many entries on indices are made anew instead of being changed one by one.
const MANY: usize = 64;

/// Changes that whoever follows a list can take one by one.
const JOURNAL: usize = 1024;

impl PatternList {
    /// A list of these entries.
    pub(super) fn new(name: &str, values: bool, entries: &[(&str, &str)]) -> PatternList {
        let mut hasher = DefaultHasher::new();
        (values, entries).hash(&mut hasher);
        let mut content = Content::default();
        for (key, value) in entries {
            content.push(0, key, value);
        }
        PatternList {
            name: name.into(),
            values,
            fingerprint: hasher.finish(),
            content: Mutex::new(content),
        }
    }

    /// A list that no registry knows, of patterns that stand in a line.
    pub fn alone(patterns: &[String]) -> Arc<PatternList> {
        let entries: Vec<(&str, &str)> = patterns.iter().map(|p| (p.as_str(), "")).collect();
        Arc::new(PatternList::new("", false, &entries))
    }

    /// Whether both were made of the same, whatever became of them since.
    pub(super) fn made_like(&self, other: &PatternList) -> bool {
        self.fingerprint == other.fingerprint && self.values == other.values
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        // Every change is complete in itself, so what a panicking holder left is usable.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file's name; empty where the patterns stand in a line.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there are values beside the keys.
    pub fn has_values(&self) -> bool {
        self.values
    }

    /// The matcher of this list for a way of matching. `output`: the type of the values; `Any` where
    /// only the match counts. An error names the entry it is about.
    pub fn matcher(
        self: &Arc<Self>,
        how: Match,
        fold: bool,
        output: Type,
    ) -> Result<Arc<Matcher>, (usize, PatternFault)> {
        let mut content = self.lock();
        let mut all = content.matchers.iter().filter_map(Weak::upgrade);
        if let Some(same) = all.find(|m| m.is(how, fold, output)) {
            return Ok(same);
        }
        drop(all);
        let matcher = Matcher::new(Arc::clone(self), how, fold, output);
        matcher.rebuild(content.current())?;
        let matcher = Arc::new(matcher);
        content.matchers.retain(|m| m.strong_count() > 0);
        content.matchers.push(Arc::downgrade(&matcher));
        Ok(matcher)
    }

    /// The matchers in use, in the order in which they were made.
    pub fn matchers(&self) -> Vec<Arc<Matcher>> {
        let content = self.lock();
        content.matchers.iter().filter_map(Weak::upgrade).collect()
    }

    /// The current version and the newest that was begun.
    pub fn versions(&self) -> (u32, u32) {
        let content = self.lock();
        (content.current, content.newest)
    }

    /// Entries of all versions together.
    pub fn count(&self) -> usize {
        let content = self.lock();
        content.versions.values().map(|e| e.by_id.len()).sum()
    }

    /// The entries of a version (none: the current one), each with its number.
    pub fn entries(&self, version: Option<u32>) -> Vec<(u64, Entry)> {
        let content = self.lock();
        let version = version.unwrap_or(content.current);
        let entries = content.versions.get(&version).map(|e| e.by_id.iter());
        entries
            .into_iter()
            .flatten()
            .map(|(id, e)| (*id, e.clone()))
            .collect()
    }

    /// Of what the list was made of, whatever became of it since.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// What became of the current version after so many changes: how many there are by now, and the keys that
    /// came (`true`) or went since; `None` where those are too many, or all have changed.
    pub fn since(&self, changes: u64) -> (u64, Option<Passed>) {
        let content = self.lock();
        let missed = content.changes.checked_sub(changes);
        let missed = missed.and_then(|n| usize::try_from(n).ok());
        let known = missed.and_then(|n| content.journal.len().checked_sub(n));
        let since = known.map(|at| content.journal.range(at..).cloned().collect());
        (content.changes, since)
    }

    /// Adds entries behind all others. Either all are added or none.
    pub fn add(&self, version: Option<u32>, new: &[(&str, &str)]) -> Result<(), PatternFault> {
        let mut content = self.lock();
        let matchers: Vec<_> = content.matchers.iter().filter_map(Weak::upgrade).collect();
        for (key, value) in new {
            matchers.iter().try_for_each(|m| m.check(key, value))?;
        }
        let current = content.current;
        let version = version.unwrap_or(current);
        let ids: Vec<u64> = new
            .iter()
            .map(|(k, v)| content.push(version, k, v))
            .collect();
        if version != current {
            return Ok(());
        }
        for matcher in &matchers {
            let entries = content.current();
            if new.len() >= MANY {
                // What was checked above does not fail.
                let _ = matcher.rebuild(entries);
                continue;
            }
            let added = ids.iter().filter_map(|id| Some((*id, content.entry(*id)?)));
            if !matcher.insert(added) {
                let _ = matcher.rebuild(content.current());
            }
        }
        Ok(())
    }

    /// Gives entries another value; whether there were any.
    pub fn set(&self, which: Change<'_>, value: &str) -> Result<bool, PatternFault> {
        let mut content = self.lock();
        let ids = content.ids(which);
        let Some(key) = ids.first().and_then(|id| content.entry(*id)) else {
            return Ok(false);
        };
        let key = Arc::clone(&key.key);
        let matchers: Vec<_> = content.matchers.iter().filter_map(Weak::upgrade).collect();
        matchers.iter().try_for_each(|m| m.check(&key, value))?;
        let value: Arc<str> = value.into();
        let current = content.current;
        if let Some(entries) = content.versions.get_mut(&current) {
            for id in &ids {
                if let Some(entry) = entries.by_id.get_mut(id) {
                    entry.value = Arc::clone(&value);
                }
            }
        }
        for matcher in &matchers {
            let changed = ids.iter().filter_map(|id| Some((*id, content.entry(*id)?)));
            if !matcher.replace(changed) {
                let _ = matcher.rebuild(content.current());
            }
        }
        Ok(true)
    }

    /// Gives a key a value, whether it is there or not (`set-map`). What cannot be a key or a value
    /// here changes nothing.
    pub fn put(&self, key: &str, value: &str) {
        if let Ok(false) = self.set(Change::Key(key), value) {
            let _ = self.add(None, &[(key, value)]);
        }
    }

    /// Adds a pattern unless it is there (`add-acl`).
    pub fn put_pattern(&self, key: &str) {
        if !self
            .lock()
            .current()
            .is_some_and(|e| e.by_key.contains_key(key))
        {
            let _ = self.add(None, &[(key, "")]);
        }
    }

    /// Removes entries; whether there were any.
    pub fn remove(&self, which: Change<'_>) -> bool {
        let mut content = self.lock();
        let ids = content.ids(which);
        let gone: Vec<(u64, Entry)> = ids
            .iter()
            .filter_map(|id| Some((*id, content.forget(*id)?)))
            .collect();
        for matcher in content.matchers.iter().filter_map(Weak::upgrade) {
            if !matcher.remove(&gone) {
                let _ = matcher.rebuild(content.current());
            }
        }
        !gone.is_empty()
    }

    /// Removes all entries of a version (none: the current one).
    pub fn clear(&self, version: Option<u32>) {
        let mut content = self.lock();
        let version = version.unwrap_or(content.current);
        content.versions.remove(&version);
        if version == content.current {
            content.refresh();
        }
    }

    /// Begins a version beside the current one: its number.
    pub fn prepare(&self) -> u32 {
        let mut content = self.lock();
        content.newest = content.newest.saturating_add(1);
        content.newest
    }

    /// Puts a version that was begun in place of the current one, at once for all who look; false
    /// where there is no such version.
    pub fn commit(&self, version: u32) -> bool {
        let mut content = self.lock();
        if version <= content.current || version > content.newest {
            return false;
        }
        content.current = version;
        content.versions.retain(|v, _| *v >= version);
        content.refresh();
        true
    }
}

impl Entries {
    /// All entries in their order; none where there is no version.
    pub(super) fn iter(entries: Option<&Entries>) -> impl Iterator<Item = (u64, &Entry)> {
        let entries = entries.map(|e| e.by_id.iter());
        entries.into_iter().flatten().map(|(id, e)| (*id, e))
    }
}

impl Content {
    fn current(&self) -> Option<&Entries> {
        self.versions.get(&self.current)
    }

    fn entry(&self, id: u64) -> Option<&Entry> {
        self.current()?.by_id.get(&id)
    }

    fn note(&mut self, came: bool, key: &Arc<str>) {
        self.changes += 1;
        self.journal.push_back((came, Arc::clone(key)));
        if self.journal.len() > JOURNAL {
            self.journal.pop_front();
        }
    }

    fn push(&mut self, version: u32, key: &str, value: &str) -> u64 {
        self.last_entry += 1;
        let id = self.last_entry;
        let entries = self.versions.entry(version).or_default();
        let known = entries
            .by_key
            .get_key_value(key)
            .map(|(k, _)| Arc::clone(k));
        let key = known.unwrap_or_else(|| key.into());
        entries.by_key.entry(Arc::clone(&key)).or_default().push(id);
        let value = value.into();
        let noted = Arc::clone(&key);
        entries.by_id.insert(id, Entry { key, value });
        if version == self.current {
            self.note(true, &noted);
        }
        id
    }

    fn ids(&self, which: Change<'_>) -> Vec<u64> {
        match which {
            Change::Entry(id) => self.entry(id).map(|_| id).into_iter().collect(),
            Change::Key(key) => {
                let ids = self.current().and_then(|e| e.by_key.get(key));
                ids.cloned().unwrap_or_default()
            }
        }
    }

    fn forget(&mut self, id: u64) -> Option<Entry> {
        let entries = self.versions.get_mut(&self.current)?;
        let entry = entries.by_id.remove(&id)?;
        if let Some(ids) = entries.by_key.get_mut(&entry.key) {
            ids.retain(|i| *i != id);
            if ids.is_empty() {
                entries.by_key.remove(&entry.key);
            }
        }
        self.note(false, &entry.key);
        Some(entry)
    }

    /// Makes all indices anew.
    fn refresh(&mut self) {
        self.changes += 1;
        self.journal.clear();
        for matcher in self.matchers.iter().filter_map(Weak::upgrade) {
            // Entries of versions that come were checked when they were added.
            let _ = matcher.rebuild(self.current());
        }
    }
}
