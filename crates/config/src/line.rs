//! One line of a section, as the function of its keyword sees it.

use crate::diag::{Fault, Severity};
use crate::draft::Place;
use crate::lexer::Word;
use crate::source::{DefaultPath, Source};
use rules::stick::TableUse;
use rules::{Acls, Scope};
use std::cell::RefCell;
use std::sync::Arc;

/// One line of a section, for the function of its keyword.
pub struct Line<'a> {
    /// All words, the keyword first (`no` and `default` removed).
    pub words: &'a [Word],
    /// Words that belong to the keyword.
    pub skip: usize,
    /// `no` or `default` stood before it: each word that can be taken back is off unless set.
    pub negated: bool,
    pub file: &'a Arc<str>,
    pub number: usize,
    pub text: &'a str,
    pub source: &'a dyn Source,
    /// Settings of `global` that later sections read.
    pub bases: &'a Bases,
    /// The proxy it stands in; empty where there is none.
    pub proxy: &'a str,
    /// Warnings about this line, and the errors of its words but the last one's.
    pub warnings: Vec<Fault>,
    /// Stick tables that it names.
    pub table_uses: RefCell<Vec<TableUse>>,
}

/// What `global` says about reading other things.
#[derive(Clone, Default)]
pub struct Bases {
    pub default_path: DefaultPath,
    pub ca_base: Option<String>,
    pub crt_base: Option<String>,
    pub tls: crate::tls::Defaults,
    /// `unix-bind`: what stands before the paths of UNIX sockets, and words for them.
    pub unix_bind: (String, model::BindOptions),
    /// The lists of patterns read so far.
    pub lists: Arc<rules::PatternLists>,
    pub stick_counters: Option<usize>,
    /// `pp2-never-send-local`.
    pub never_local: bool,
    /// `-dr`: every server has `none` as its last `init-addr`.
    pub ignores_unresolved: bool,
}

impl<'a> Line<'a> {
    /// The arguments after the keyword.
    pub fn args(&self) -> &'a [Word] {
        self.words.get(self.skip..).unwrap_or_default()
    }

    /// The argument at `at`, or an empty text.
    pub fn arg(&self, at: usize) -> &'a str {
        self.words
            .get(self.skip + at)
            .map_or("", |w| w.text.as_str())
    }

    /// An error about the argument at `at` (or the last word, when there is none).
    pub fn fail<T>(&self, at: usize, message: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::at(
            (self.skip + at).min(self.words.len().saturating_sub(1)),
            message,
        ))
    }

    /// The keyword as written.
    pub fn keyword(&self) -> String {
        let words: Vec<&str> = self
            .words
            .iter()
            .take(self.skip)
            .map(|w| w.text.as_str())
            .collect();
        words.join(" ")
    }

    /// Exactly `n` arguments.
    pub fn exactly(&self, n: usize, what: &str) -> Result<(), Fault> {
        let have = self.args().len();
        if have < n {
            return self.fail(0, format!("'{}' wants {what}", self.keyword()));
        }
        if have > n {
            let message = self.too_many(n, "remove it");
            return self.fail(n, message);
        }
        Ok(())
    }

    /// Warns of the first argument after `n`, which nothing reads.
    pub fn surplus(&mut self, n: usize) {
        if self.args().len() > n {
            let message = self.too_many(n, "it is not read");
            self.warnings.push(Fault::warning(self.skip + n, message));
        }
    }

    /// Warns of the argument at `at`.
    pub fn warn(&mut self, at: usize, message: impl Into<String>) {
        let warning = Fault::warning(self.skip + at, message);
        self.warnings.push(warning);
    }

    fn too_many(&self, n: usize, remedy: &str) -> String {
        let extra = self.arg(n);
        if extra.starts_with("//") {
            return format!("'{extra}' starts no comment: comments start with '#'");
        }
        format!(
            "'{extra}' is one word too many for '{}': {remedy}",
            self.keyword()
        )
    }

    /// Notes what is wrong with the word at `at`, and tells where reading goes on: at the next that
    /// is a word of this line, for its mistakes. What stands between may be arguments.
    pub fn pass(
        &self,
        at: usize,
        fault: Fault,
        faults: &mut Vec<Fault>,
        is_word: impl Fn(&str) -> bool,
    ) -> usize {
        let comment = self.arg(at).starts_with("//") || self.arg(at).starts_with(';');
        faults.push(fault);
        let next = self
            .args()
            .iter()
            .skip(at + 1)
            .position(|w| is_word(&w.text));
        match next {
            Some(n) if !comment => at + 1 + n,
            _ => self.args().len(),
        }
    }

    /// The faults of the words of this line: the last is its error, those before are kept beside.
    pub fn faults(&mut self, mut faults: Vec<Fault>) -> Result<(), Fault> {
        let last = faults.pop();
        self.warnings.append(&mut faults);
        last.map_or(Ok(()), Err)
    }

    /// Runs a parser of an argument's text and gives its error that argument's place.
    pub fn map<T>(&self, at: usize, result: Result<T, String>) -> Result<T, Fault> {
        result.or_else(|message| self.fail(at, message))
    }

    /// The argument texts from `at` on.
    pub fn texts(&self, at: usize) -> Vec<&'a str> {
        self.args()
            .iter()
            .skip(at)
            .map(|w| w.text.as_str())
            .collect()
    }

    /// Calls `parse` with a scope for rules, and gives its error a place.
    pub fn rules<T>(
        &self,
        at: usize,
        acls: &Acls,
        parse: impl FnOnce(&[&str], &Scope<'_>) -> Result<T, rules::ParseError>,
    ) -> Result<T, Fault> {
        let read = |path: &str| self.source.read(path);
        let uses_table = |used| self.uses_table(used);
        let scope = Scope {
            acls,
            read_file: &read,
            lists: Some(&self.bases.lists),
            proxy: self.proxy,
            stick_counters: self.bases.stick_counters.unwrap_or(rules::STICK_COUNTERS),
            uses_table: &uses_table,
        };
        parse(&self.texts(at), &scope).map_err(|e| Fault::rule(e, self.skip + at))
    }

    /// Notes a stick table that the line names.
    pub fn uses_table(&self, used: TableUse) {
        self.table_uses.borrow_mut().push(used);
    }

    /// The format of a line in the argument at `at`.
    pub fn line_format(&self, at: usize, acls: &Acls) -> Result<Arc<rules::LogFormat>, Fault> {
        self.rules(at, acls, |words, scope| {
            let text = words.first().copied().unwrap_or_default();
            rules::LogFormat::parse_line(text, scope).map(Arc::new)
        })
    }

    /// A log format in the argument at `at`.
    pub fn format(&self, at: usize) -> Result<Arc<rules::LogFormat>, Fault> {
        let none = Acls::default();
        self.rules(at, &none, |words, scope| {
            let text = words.first().copied().unwrap_or_default();
            rules::LogFormat::parse(text, scope).map(Arc::new)
        })
    }

    /// An expression in the argument at `at`.
    pub fn expression(&self, at: usize) -> Result<Arc<rules::Expr>, Fault> {
        self.rules(at, &Acls::default(), |words, scope| {
            let text = words.first().copied().unwrap_or_default();
            rules::Expr::parse(text, scope).map(Arc::new)
        })
    }

    /// The place of the keyword's first word.
    pub fn place_of_keyword(&self) -> Place {
        self.place_of(self.words.first())
    }

    /// The place of the argument at `at`.
    pub fn place(&self, at: usize) -> Place {
        self.place_of(self.words.get(self.skip + at).or(self.words.last()))
    }

    fn place_of(&self, word: Option<&Word>) -> Place {
        Place {
            file: Arc::clone(self.file),
            line: self.number,
            text: self.text.into(),
            start: word.map_or(0, |w| w.start),
            end: word.map_or(0, |w| w.end),
        }
    }

    /// The line itself with its place, `file:number: text`.
    pub fn written(&self) -> Arc<str> {
        format!("{}:{}: {}", self.file, self.number, self.text.trim()).into()
    }

    /// `file:line`.
    pub fn origin(&self) -> Arc<str> {
        format!("{}:{}", self.file, self.number).into()
    }
}

/// Reads words that stand in no file as a line of this keyword; `bases` is what `global` said.
pub fn loose_line<T>(
    keyword: &str,
    words: &[&str],
    source: &dyn Source,
    bases: &Bases,
    read: impl FnOnce(&mut Line<'_>) -> Result<T, Fault>,
) -> Result<T, String> {
    let all = std::iter::once(&keyword).chain(words);
    let words: Vec<Word> = all.map(|text| Word::loose(text)).collect();
    let file = "".into();
    let mut line = Line {
        words: &words,
        skip: 1,
        negated: false,
        file: &file,
        number: 0,
        text: "",
        source,
        bases,
        proxy: "",
        warnings: Vec::new(),
        table_uses: RefCell::default(),
    };
    let made = read(&mut line);
    let first = line
        .warnings
        .into_iter()
        .find(|f| f.severity == Severity::Error);
    match (first, made) {
        (Some(fault), _) | (None, Err(fault)) => Err(fault.message),
        (None, Ok(made)) => Ok(made),
    }
}
