//! The lists of one configuration: by name, by number, and where each is used.

use super::PatternList;
use crate::map;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All lists of a configuration.
#[derive(Debug, Default)]
pub struct PatternLists {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    listed: Vec<Listed>,
    /// Where in `listed` a name is.
    files: HashMap<Arc<str>, usize>,
    /// Lists that stand in a line: by proxy and words, and how many there were of the same.
    lines: HashMap<String, usize>,
    /// Those of the configuration before, by the same names.
    before: HashMap<String, Arc<PatternList>>,
    /// The line that is being read: section, file and number.
    section: String,
    file: Arc<str>,
    number: usize,
}

/// A list as the control socket shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its number.
    pub id: u32,
    /// The number is not given by `-u` but free.
    free: bool,
    /// Whether it is shown among maps.
    pub map: bool,
    /// Whether it is shown among ACLs.
    pub acl: bool,
    /// What it is and where it is used.
    pub description: String,
    /// What it is known by to the configuration after this one.
    key: String,
    /// The list.
    pub list: Arc<PatternList>,
}

/// Reads a file.
type Read<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

impl PatternLists {
    /// The lists of a configuration that follows another. What is changed while running stays as
    /// long as the file, or the line, says what it said.
    pub fn after(before: Option<&PatternLists>) -> PatternLists {
        let before = before.map(|b| {
            let inner = b.lock();
            let lists = inner.listed.iter();
            lists
                .map(|l| (l.key.clone(), Arc::clone(&l.list)))
                .collect()
        });
        PatternLists {
            inner: Mutex::new(Inner {
                before: before.unwrap_or_default(),
                ..Inner::default()
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is complete in itself, so what a panicking holder left is usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the line whose patterns are read next.
    pub fn at(&self, section: &str, file: &Arc<str>, number: usize) {
        let mut inner = self.lock();
        if inner.section != section {
            inner.section = section.into();
        }
        inner.file = Arc::clone(file);
        inner.number = number;
    }

    /// The list of a file, `opt@` or `file@` before its name or not, or the one that exists in
    /// memory only (`virt@`). `map`: its lines have a key and a value; `used`: it is looked up here.
    pub fn file(
        &self,
        name: &str,
        map: bool,
        used: bool,
        read: Read<'_>,
    ) -> Result<Arc<PatternList>, String> {
        let optional = name.starts_with("opt@");
        let path = name.strip_prefix("opt@").or(name.strip_prefix("file@"));
        let path = path.unwrap_or(name);
        let mut inner = self.lock();
        if !inner.files.contains_key(path) {
            let bytes = read_list(path, optional, read)?;
            let text = String::from_utf8_lossy(&bytes);
            let entries: Vec<(&str, &str)> = match map {
                true => text.lines().filter_map(map::entry).collect(),
                false => text.lines().filter_map(column).map(|k| (k, "")).collect(),
            };
            let list = inner.take(path, PatternList::new(path, map, &entries));
            let place = inner.listed.len();
            inner.files.insert(path.into(), place);
            inner.listed.push(Listed {
                id: 0,
                free: true,
                map,
                acl: false,
                description: format!("pattern loaded from file '{path}' used "),
                key: path.into(),
                list,
            });
        }
        let here = format!("file '{}' line {}", inner.file, inner.number);
        let Some(place) = inner.files.get(path).copied() else {
            return Err("its list is lost".into());
        };
        let Some(listed) = inner.listed.get_mut(place) else {
            return Err("its list is lost".into());
        };
        if listed.list.has_values() != map && used {
            let (is, wants) = if map {
                ("one column file", "two column file")
            } else {
                ("two column file", "one column file")
            };
            return Err(format!(
                "it is used as a {is} already and cannot be a {wants}: use another file, or 'acl … -M -f'"
            ));
        }
        if used {
            let kind = if map { "map" } else { "acl" };
            if !listed.description.ends_with("used ") {
                listed.description.push_str(", ");
            }
            listed.description.push_str(&format!("by {kind} at {here}"));
        }
        Ok(Arc::clone(&listed.list))
    }

    /// Notes that an ACL looks into a list, too.
    pub fn shown_as_acl(&self, list: &Arc<PatternList>) {
        let mut inner = self.lock();
        if let Some(listed) = inner.listed.iter_mut().find(|l| Arc::ptr_eq(&l.list, list)) {
            listed.acl = true;
        }
    }

    /// The list of patterns that stand in an ACL's line itself. `id`: the number that `-u` gives.
    pub fn line(
        &self,
        criterion: &str,
        patterns: &[String],
        id: Option<u32>,
    ) -> Result<Arc<PatternList>, String> {
        let mut inner = self.lock();
        if let Some(id) = id
            && inner.listed.iter().any(|l| !l.free && l.id == id)
        {
            return Err(format!("the number {id} is taken: give another to '-u'"));
        }
        let words = format!("{} {criterion} {}", inner.section, patterns.join(" "));
        let count = inner.lines.entry(words.clone()).or_default();
        *count += 1;
        let key = format!("\n{count} {words}");
        let entries: Vec<(&str, &str)> = patterns.iter().map(|p| (p.as_str(), "")).collect();
        let list = inner.take(&key, PatternList::new("", false, &entries));
        let name = criterion.split(['(', ',']).next().unwrap_or_default();
        let description = format!("acl '{name}' file '{}' line {}", inner.file, inner.number);
        inner.listed.push(Listed {
            id: id.unwrap_or(0),
            free: id.is_none(),
            map: false,
            acl: true,
            description,
            key,
            list: Arc::clone(&list),
        });
        Ok(list)
    }

    /// Gives numbers to all that have none; the configuration is read.
    pub fn seal(&self) {
        let mut inner = self.lock();
        inner.before = HashMap::new();
        inner.lines = HashMap::new();
        let taken = inner.listed.iter().filter(|l| !l.free).map(|l| l.id);
        let taken: HashSet<u32> = taken.collect();
        let mut free = (0..).filter(|id| !taken.contains(id));
        for listed in inner.listed.iter_mut().filter(|l| l.free) {
            listed.id = free.next().unwrap_or(u32::MAX);
        }
        inner.listed.sort_by_key(|l| l.id);
        let files = inner.listed.iter().enumerate();
        let files = files.filter(|(_, l)| !l.list.name().is_empty());
        inner.files = files.map(|(at, l)| (l.list.name().into(), at)).collect();
    }

    /// All of them, by number.
    pub fn all(&self) -> Vec<Listed> {
        self.lock().listed.clone()
    }

    /// The list of a reference: `#` and a number, or a name.
    pub fn find(&self, reference: &str) -> Option<Listed> {
        let inner = self.lock();
        match reference.strip_prefix('#') {
            Some(id) => {
                let id = id.parse().ok()?;
                inner.listed.iter().find(|l| l.id == id).cloned()
            }
            None => {
                let name = reference.strip_prefix("opt@");
                let name = name.or(reference.strip_prefix("file@"));
                let place = inner.files.get(name.unwrap_or(reference))?;
                inner.listed.get(*place).cloned()
            }
        }
    }
}

impl Inner {
    /// The list of the configuration before where it was made of the same, or this one.
    fn take(&self, key: &str, list: PatternList) -> Arc<PatternList> {
        let before = self.before.get(key).filter(|b| b.made_like(&list));
        before.cloned().unwrap_or_else(|| Arc::new(list))
    }
}

/// The bytes of a list's file.
fn read_list(path: &str, optional: bool, read: Read<'_>) -> Result<Vec<u8>, String> {
    if path.starts_with("virt@") {
        return Ok(Vec::new());
    }
    match read(path) {
        // ENOENT of errno(3), as the standard library words it.
        Err(e) if optional && e.contains("(os error 2)") => Ok(Vec::new()),
        read => read,
    }
}

/// A line of a file of patterns; `None` for an empty line or a comment.
fn column(line: &str) -> Option<&str> {
    if line.starts_with('#') {
        return None;
    }
    let line = line.trim_start_matches([' ', '\t']).trim_end_matches('\r');
    (!line.is_empty()).then_some(line)
}
