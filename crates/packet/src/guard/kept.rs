//! What was changed in lists while running, in a file for each, so that the next process goes on with it.
//!
//! A file begins with the list's fingerprint: changes belong to what the list was made of. A line each
//! follows, `+` for an entry that came, `-` for one that went, `=` for a list that begins anew.

use rules::{Change, PatternList};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Changes after which a file is written anew: the list itself is shorter then.
const MANY: usize = 100_000;

/// The lists of one plane and the folder of their changes.
#[derive(Default)]
pub struct Kept {
    lists: Vec<List>,
}

struct List {
    list: Arc<PatternList>,
    /// How many of its changes are in the file,
    seen: u64,
    /// and in how many lines.
    lines: usize,
}

/// The file of a list's changes.
fn file(folder: &Path, list: &PatternList) -> PathBuf {
    folder.join(format!(
        "{:016x}",
        state::hash::xxh64(list.name().as_bytes())
    ))
}

fn head(list: &PatternList) -> String {
    format!("{:016x}", list.fingerprint())
}

impl Kept {
    /// Brings lists that are new here to what the process before had, and notes what has changed in the
    /// others.
    pub fn follow(&mut self, folder: &Path, lists: &[Arc<PatternList>]) -> io::Result<()> {
        self.lists
            .retain(|k| lists.iter().any(|l| Arc::ptr_eq(l, &k.list)));
        for list in lists {
            if let Some(known) = self.lists.iter_mut().find(|k| Arc::ptr_eq(&k.list, list)) {
                known.note(folder)?;
                continue;
            }
            let lines = resume(folder, list)?;
            let (seen, _) = list.since(0);
            let list = Arc::clone(list);
            self.lists.push(List { list, seen, lines });
        }
        Ok(())
    }
}

impl List {
    fn note(&mut self, folder: &Path) -> io::Result<()> {
        let (now, since) = self.list.since(self.seen);
        if now == self.seen {
            return Ok(());
        }
        let path = file(folder, &self.list);
        match since {
            Some(changes) if self.lines > 0 && self.lines + changes.len() < MANY => {
                let mut out = OpenOptions::new().append(true).open(&path)?;
                let lines = changes.iter().map(|(came, key)| {
                    let sign = if *came { '+' } else { '-' };
                    format!("{sign}{key}\n")
                });
                out.write_all(lines.collect::<String>().as_bytes())?;
                self.lines += changes.len();
            }
            _ => {
                fs::create_dir_all(folder)?;
                let fresh = path.with_extension("new");
                let mut out = BufWriter::new(File::create(&fresh)?);
                writeln!(out, "{}\n=", head(&self.list))?;
                for (_, entry) in self.list.entries(None) {
                    writeln!(out, "+{}", entry.key)?;
                }
                out.into_inner()?.flush()?;
                fs::rename(fresh, path)?;
                self.lines = 1;
            }
        }
        self.seen = now;
        Ok(())
    }
}

/// Does again what a file says was done; how many lines that are, 0 where there is none for this list.
fn resume(folder: &Path, list: &PatternList) -> io::Result<usize> {
    let path = file(folder, list);
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        text => text?,
    };
    let mut lines = text.lines();
    if lines.next() != Some(head(list).as_str()) {
        // The file of the list says something else now, which counts.
        fs::remove_file(&path)?;
        return Ok(0);
    }
    let mut coming = Vec::new();
    let mut count = 0;
    for line in lines {
        count += 1;
        if let Some(key) = line.strip_prefix('+') {
            coming.push((key, ""));
            continue;
        }
        // What cannot be an entry was none before.
        let _ = list.add(None, &std::mem::take(&mut coming));
        match line.strip_prefix('-') {
            Some(key) => _ = list.remove(Change::Key(key)),
            None => list.clear(None),
        }
    }
    let _ = list.add(None, &coming);
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Arc<PatternList> {
        PatternList::alone(&["192.0.2.1".into(), "192.0.2.2".into()])
    }

    fn keys(list: &PatternList) -> Vec<String> {
        let entries = list.entries(None);
        entries.iter().map(|(_, e)| e.key.to_string()).collect()
    }

    #[test]
    fn the_next_process_has_the_list_as_it_was_left() {
        let folder = std::env::temp_dir().join(format!("mulgil-kept-{}", std::process::id()));
        let first = [list()];
        let mut kept = Kept::default();
        kept.follow(&folder, &first).expect("kept");
        assert!(!folder.exists(), "nothing has changed");
        first[0].add(None, &[("192.0.2.3", "")]).expect("fits");
        kept.follow(&folder, &first).expect("kept");
        first[0].remove(Change::Key("192.0.2.1"));
        first[0].add(None, &[("192.0.2.4", "")]).expect("fits");
        kept.follow(&folder, &first).expect("kept");
        let next = [list()];
        let mut kept = Kept::default();
        kept.follow(&folder, &next).expect("kept");
        assert_eq!(keys(&next[0]), ["192.0.2.2", "192.0.2.3", "192.0.2.4"]);

        next[0].clear(None);
        kept.follow(&folder, &next).expect("kept");
        let third = [list()];
        Kept::default().follow(&folder, &third).expect("kept");
        assert!(keys(&third[0]).is_empty());

        let other = [PatternList::alone(&["198.51.100.1".into()])];
        Kept::default().follow(&folder, &other).expect("kept");
        assert_eq!(keys(&other[0]), ["198.51.100.1"], "another file counts");
        fs::remove_dir_all(&folder).expect("removed");
    }
}
