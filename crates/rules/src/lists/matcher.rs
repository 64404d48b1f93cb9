//! One way of looking into a list.

use super::PatternList;
use super::index::{Few, Index, Item, Keyed};
use super::list::{Entries, Entry};
use crate::pattern::{Match, Pattern, PatternFault};
use crate::{Sample, Type, map};
use arc_swap::ArcSwap;
use std::sync::Arc;

/// How samples are compared with a list, and the index for it.
#[derive(Debug)]
pub struct Matcher {
    list: Arc<PatternList>,
    how: Match,
    fold: bool,
    output: Type,
    index: ArcSwap<Index>,
}

/// What was found in a list, for who asks what it was.
#[derive(Clone, Debug)]
pub struct Found {
    /// The pattern as it was given.
    pub key: Arc<str>,
    /// Its value, where the list has values.
    pub value: Option<Sample<'static>>,
}

impl Matcher {
    pub(super) fn new(list: Arc<PatternList>, how: Match, fold: bool, output: Type) -> Matcher {
        Matcher {
            list,
            how,
            fold,
            output,
            index: ArcSwap::from_pointee(Index::Found),
        }
    }

    pub(super) fn is(&self, how: Match, fold: bool, output: Type) -> bool {
        (self.how, self.fold, self.output) == (how, fold, output)
    }

    /// The list.
    pub fn list(&self) -> &Arc<PatternList> {
        &self.list
    }

    /// How samples match.
    pub fn how(&self) -> Match {
        self.how
    }

    /// Whether their case does not count.
    pub fn fold(&self) -> bool {
        self.fold
    }

    /// Whether what is found has a value.
    pub fn has_output(&self) -> bool {
        self.output != Type::Any
    }

    /// Whether a pattern is found by its key and not by trying one after the other.
    pub fn is_keyed(&self) -> bool {
        matches!(**self.index.load(), Index::Keyed(_) | Index::Few(_))
    }

    /// Whether a sample matches.
    pub fn matches(&self, sample: &Sample<'_>) -> bool {
        match &**self.index.load() {
            Index::Found => true,
            Index::True => sample.to_bool() == Some(true),
            index => index.find(self.how, sample).is_some(),
        }
    }

    /// The value that belongs to a sample.
    pub fn value(&self, sample: &Sample<'_>) -> Option<Sample<'static>> {
        self.index.load().find(self.how, sample)?.value.clone()
    }

    /// What is found for a sample.
    pub fn found(&self, sample: &Sample<'_>) -> Option<Found> {
        let item = self.index.load().find(self.how, sample)?;
        Some(Found {
            key: Arc::clone(&item.key),
            value: item.value.clone(),
        })
    }

    /// The value with its `\1` and so on filled in from the match of a regular expression.
    pub fn expanded(&self, sample: &Sample<'_>) -> Option<Vec<u8>> {
        let index = self.index.load();
        let Index::InOrder(all) = &**index else {
            return None;
        };
        let bytes = sample.to_bytes();
        all.iter().find_map(|(pattern, item)| {
            let Pattern::Regex(regex) = pattern else {
                return None;
            };
            let captures = regex.captures(&bytes)?;
            let mut out = Vec::new();
            let template = item.value.as_ref()?.to_bytes();
            crate::convert::expand(&captures, &template, &mut out);
            Some(out)
        })
    }

    /// Whether a key and its value can be looked up in this way.
    pub(super) fn check(&self, key: &str, value: &str) -> Result<(), PatternFault> {
        self.item(0, key, value)?;
        match self.how {
            Match::Found | Match::Bool => Ok(()),
            how if Keyed::holds(how) => Keyed::key(how, key, self.fold).map(|_| ()),
            how => Pattern::compile(how, key, self.fold).map(|_| ()),
        }
    }

    fn item(
        &self,
        id: u64,
        key: impl Into<Arc<str>>,
        value: &str,
    ) -> Result<Arc<Item>, PatternFault> {
        let value = match self.output {
            Type::Any => None,
            output => {
                let typed = map::typed(value, output);
                Some(typed.ok_or_else(|| PatternFault::Value(value.into()))?)
            }
        };
        Ok(Arc::new(Item {
            id,
            key: key.into(),
            value,
        }))
    }

    /// Makes the index anew. An error names the entry's place in the order.
    pub(super) fn rebuild(&self, entries: Option<&Entries>) -> Result<(), (usize, PatternFault)> {
        let of = |at: usize| move |fault| (at, fault);
        let index = match self.how {
            Match::Found => Index::Found,
            // What is true matches, whatever the patterns say.
            Match::Bool => Index::True,
            how if Keyed::holds(how) => {
                let mut items = Vec::new();
                for (at, (id, entry)) in Entries::iter(entries).enumerate() {
                    let key = Keyed::key(how, &entry.key, self.fold).map_err(of(at))?;
                    let item = self.item(id, Arc::clone(&entry.key), &entry.value);
                    items.push((key, item.map_err(of(at))?));
                }
                match Few::holds(how, items.len()) {
                    true => Index::Few(Few::new(how, items, self.fold)),
                    false => Index::Keyed(Keyed::new(how, items, self.fold)),
                }
            }
            how => {
                let mut items = Vec::new();
                for (at, (id, entry)) in Entries::iter(entries).enumerate() {
                    let pattern = Pattern::compile(how, &entry.key, self.fold).map_err(of(at))?;
                    let item = self.item(id, Arc::clone(&entry.key), &entry.value);
                    items.push((pattern, item.map_err(of(at))?));
                }
                Index::InOrder(items)
            }
        };
        self.index.store(Arc::new(index));
        Ok(())
    }

    /// Takes entries in behind the others; false where the index has to be made anew.
    pub(super) fn insert<'a>(&self, added: impl Iterator<Item = (u64, &'a Entry)>) -> bool {
        match &**self.index.load() {
            Index::Found | Index::True => true,
            Index::Few(_) => false,
            Index::Keyed(keyed) => {
                for (id, entry) in added {
                    let key = Keyed::key(self.how, &entry.key, self.fold);
                    let item = self.item(id, Arc::clone(&entry.key), &entry.value);
                    let (Ok(key), Ok(item)) = (key, item) else {
                        return false;
                    };
                    if !keyed.insert(key, item) {
                        return false;
                    }
                }
                true
            }
            Index::InOrder(items) => {
                let mut items = items.clone();
                for (id, entry) in added {
                    let pattern = Pattern::compile(self.how, &entry.key, self.fold);
                    let item = self.item(id, Arc::clone(&entry.key), &entry.value);
                    let (Ok(pattern), Ok(item)) = (pattern, item) else {
                        return false;
                    };
                    items.push((pattern, item));
                }
                self.index.store(Arc::new(Index::InOrder(items)));
                true
            }
        }
    }

    /// Takes new values over; false where the index has to be made anew.
    pub(super) fn replace<'a>(&self, changed: impl Iterator<Item = (u64, &'a Entry)>) -> bool {
        let index = self.index.load();
        let mut ordered = match &**index {
            Index::Few(_) => return false,
            Index::InOrder(items) => Some(items.clone()),
            _ => None,
        };
        for (id, entry) in changed {
            let Ok(new) = self.item(id, Arc::clone(&entry.key), &entry.value) else {
                return false;
            };
            match (&**index, &mut ordered) {
                (Index::Keyed(keyed), _) => {
                    let Ok(key) = Keyed::key(self.how, &entry.key, self.fold) else {
                        return false;
                    };
                    keyed.replace(&key, new);
                }
                (_, Some(items)) => {
                    if let Some((_, item)) = items.iter_mut().find(|(_, i)| i.id == id) {
                        *item = new;
                    }
                }
                _ => {}
            }
        }
        if let Some(items) = ordered {
            self.index.store(Arc::new(Index::InOrder(items)));
        }
        true
    }

    /// Leaves entries out; false where the index has to be made anew.
    pub(super) fn remove(&self, gone: &[(u64, Entry)]) -> bool {
        match &**self.index.load() {
            Index::Found | Index::True => true,
            Index::Few(_) => false,
            Index::Keyed(keyed) => gone.iter().all(|(_, entry)| {
                let key = Keyed::key(self.how, &entry.key, self.fold);
                key.is_ok_and(|key| keyed.remove(&key))
            }),
            Index::InOrder(items) => {
                let stays = |id: u64| gone.iter().all(|(g, _)| *g != id);
                let items = items.iter().filter(|(_, i)| stays(i.id));
                let items = items.cloned().collect();
                self.index.store(Arc::new(Index::InOrder(items)));
                true
            }
        }
    }
}
