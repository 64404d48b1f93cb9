//! A number that differs when anything differs that a section was read from.

use crate::lexer::Word;
use crate::source::Source;
use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

/// The number, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Goes on with a value.
    pub fn mix(&mut self, value: impl Hash) {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        value.hash(&mut hasher);
        self.0 = hasher.finish();
    }

    /// Goes on with a line.
    pub fn mix_line(&mut self, words: &[Word]) {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        words.iter().for_each(|w| w.text.hash(&mut hasher));
        self.0 = hasher.finish();
    }
}

/// A source that remembers, as a fingerprint, what it was asked and what it said.
pub struct Remembering<'a> {
    /// The source.
    pub source: &'a dyn Source,
    /// What was said.
    pub said: Cell<Fingerprint>,
}

impl Remembering<'_> {
    fn note<T: Hash>(&self, answer: T) -> T {
        let mut said = self.said.get();
        said.mix(&answer);
        self.said.set(said);
        answer
    }
}

impl Source for Remembering<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.note(self.source.read(path))
    }
    fn list(&self, path: &str) -> Option<Vec<String>> {
        self.note(self.source.list(path))
    }
    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        self.note(self.source.resolve(name))
    }
    fn user(&self, name: &str) -> Option<u32> {
        self.note(self.source.user(name))
    }
    fn group(&self, name: &str) -> Option<u32> {
        self.note(self.source.group(name))
    }
    fn variable(&self, name: &str) -> Option<String> {
        self.note(self.source.variable(name))
    }
}
