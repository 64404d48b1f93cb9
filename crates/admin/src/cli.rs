//! A conversation on the control socket: lines in, answers out (management.txt section 9.3).

use crate::anon::Veil;
use crate::commands::{self, Command};
use model::{CliLevel, ShowSeverity};
use rules::Wall;
use state::{Generation, Process, Sessions, VirtualRouters};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What commands look at and change.
pub struct World<'a> {
    /// The process.
    pub process: &'a Arc<Process>,
    /// The configuration in force.
    pub generation: Arc<Generation>,
    /// The environment of the process.
    pub env: &'a [(String, String)],
    /// The sessions of the workers.
    pub sessions: &'a dyn Sessions,
    /// What only the program itself can do.
    pub system: &'a dyn System,
    /// The control sockets: address and level.
    pub sockets: &'a [(String, CliLevel)],
    /// What was said while the process started.
    pub startup_logs: &'a str,
    /// The descriptor of this conversation.
    pub descriptor: i32,
    /// Now.
    pub now: Instant,
    /// Now, by the calendar.
    pub wall: Wall,
}

/// What may be asked of the packet plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packets<'a> {
    /// One line for each session.
    Sessions,
    /// Ends the sessions whose lines have all of these texts.
    Clear(&'a [&'a str]),
    /// One line for each kind of event.
    Events,
    /// What each stage decided about a client's sessions.
    Trace(std::net::IpAddr),
    /// One line for each frontend and what its guard did.
    Guard,
}

/// What only the program itself can do.
pub trait System: VirtualRouters {
    /// Asks the packet plane; `None` where there is none.
    fn packets(&self, what: Packets<'_>) -> Option<String>;

    /// Reads the words of a `server` line for a backend, its name first.
    fn server(&self, backend: &str, words: &[&str]) -> Result<model::Server, String>;
    /// Has the sockets of a frontend take connections, refuse them, or closes them.
    fn listen(&self, frontend: &str, how: Listen);
    /// The program's files that are in memory, a line each: from, to, length, path.
    fn libraries(&self) -> String;
    /// Reads the configuration anew and puts it into force; what was said of it either way.
    fn reload(&self) -> Result<String, String>;
}

/// What becomes of a frontend's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Listen {
    Take,
    Refuse,
    Close,
}

/// How grave an answer is, by syslog's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Grave {
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
}

impl Grave {
    fn name(self) -> &'static str {
        match self {
            Grave::Error => "err",
            Grave::Warning => "warning",
            Grave::Notice => "notice",
            Grave::Info => "info",
        }
    }
}

/// What a command says.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// How grave, where it is a message; data has no gravity.
    pub grave: Option<Grave>,
    /// The text; an end of line is added to it.
    pub text: String,
}

impl Said {
    /// Nothing: it is done.
    pub fn nothing() -> Said {
        Said::data("")
    }

    /// What was asked for, lines and all.
    pub fn data(text: impl Into<String>) -> Said {
        Said {
            grave: None,
            text: text.into(),
        }
    }

    /// A message of one line.
    pub fn message(grave: Grave, line: impl std::fmt::Display) -> Said {
        Said {
            grave: Some(grave),
            text: format!("{line}\n"),
        }
    }

    /// A fault, as a line.
    pub fn fault(line: impl std::fmt::Display) -> Said {
        Said::message(Grave::Error, line)
    }

    /// A fault found by a parser: HAProxy leaves no empty line after these.
    pub fn close_fault(text: impl Into<String>) -> Said {
        Said {
            grave: Some(Grave::Error),
            text: text.into(),
        }
    }
}

/// An answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// What is written, an empty line at its end included.
    pub text: String,
    /// Whether the connection is to close at once.
    pub quit: bool,
}

/// One connection's state.
#[derive(Debug)]
pub struct Cli {
    level: CliLevel,
    prompt: bool,
    /// Commands that wait for their payload, as far as it has come.
    payload: Option<(String, String)>,
    /// How answers show their gravity.
    pub gravity: ShowSeverity,
    /// `experimental-mode on`.
    pub experimental: bool,
    /// `expert-mode on`.
    pub expert: bool,
    /// `set anon on`: the key that names and addresses are hidden by.
    pub anon: Option<u32>,
    /// How long it may be silent; `None` is as configured (`set timeout cli`).
    pub timeout: Option<Duration>,
}

/// The largest payload, bytes: nobody may fill memory by it.
const LARGEST: usize = 16 << 20;

impl Cli {
    /// A connection to a socket of that level.
    pub fn new(level: CliLevel) -> Cli {
        Cli {
            level,
            prompt: false,
            payload: None,
            gravity: ShowSeverity::None,
            experimental: false,
            expert: false,
            anon: None,
            timeout: None,
        }
    }

    /// What the connection may do now.
    pub fn level(&self) -> CliLevel {
        self.level
    }

    /// Lowers it; it never rises.
    pub fn lower(&mut self, level: CliLevel) {
        self.level = self.level.min(level);
    }

    /// Whether more is awaited once all lines that have come are answered: with a prompt, or
    /// within a payload.
    pub fn goes_on(&self) -> bool {
        self.prompt || self.payload.is_some()
    }

    /// Takes one line: commands separated by `;`, or a line of the payload of the last of them.
    /// Without prompt the connection closes after the lines that have come with it.
    pub fn execute(&mut self, line: &str, world: &World<'_>) -> Output {
        if let Some((command, mut payload)) = self.payload.take() {
            if !line.is_empty() {
                if payload.len() + line.len() > LARGEST {
                    return Output {
                        text: "The payload is too long.\n\n".into(),
                        quit: true,
                    };
                }
                payload.push_str(line);
                payload.push('\n');
                self.payload = Some((command, payload));
                return self.waiting();
            }
            return self.commands(&command, &payload, world);
        }
        let line = line.trim_start();
        if let Some(command) = line.trim_end().strip_suffix("<<") {
            self.payload = Some((command.trim_end().to_string(), String::new()));
            return self.waiting();
        }
        self.commands(line, "", world)
    }

    fn waiting(&self) -> Output {
        Output {
            text: if self.prompt { "+ " } else { "" }.into(),
            quit: false,
        }
    }

    fn commands(&mut self, line: &str, payload: &str, world: &World<'_>) -> Output {
        let mut out = Output::default();
        let parts = split(line);
        let last = parts.len().saturating_sub(1);
        for (i, command) in parts.iter().enumerate() {
            let words = split_words(command);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match words.first().copied() {
                Some("quit") => {
                    out.quit = true;
                    return out;
                }
                Some("prompt") => {
                    self.prompt = !self.prompt;
                    out.text.push('\n');
                }
                _ => {
                    let payload = if i == last { payload } else { "" };
                    let mut said = self.run(&words, payload, world);
                    if let Some(key) = self.anon {
                        said.text = Veil::new(key, world).hide(&said.text);
                    }
                    self.write(said, &mut out.text);
                }
            }
            if self.prompt {
                out.text.push_str("> ");
            }
        }
        out
    }

    fn write(&self, said: Said, out: &mut String) {
        match (said.grave, self.gravity) {
            (Some(grave), ShowSeverity::Number) => out.push_str(&format!("[{}]: ", grave as u8)),
            (Some(grave), ShowSeverity::Name) => out.push_str(&format!("[{}]: ", grave.name())),
            _ => {}
        }
        out.push_str(&said.text);
        out.push('\n');
    }

    fn run(&mut self, words: &[&str], payload: &str, world: &World<'_>) -> Said {
        let found = commands::all()
            .filter(|c| starts(c, words))
            .max_by_key(|c| c.words.len());
        match found {
            Some(command) if command.experimental && !self.experimental => {
                Said::fault("This command is restricted to experimental mode only.")
            }
            Some(command) if command.level > self.level => Said::fault("Permission denied"),
            Some(command) => {
                let rest = words.get(command.words.len()..).unwrap_or_default();
                (command.run)(self, world, rest, payload)
            }
            None => Said::message(Grave::Info, help(words, self.level, true).trim_end()),
        }
    }
}

fn starts(command: &Command, words: &[&str]) -> bool {
    command.words.len() <= words.len() && command.words.iter().zip(words).all(|(a, b)| a == b)
}

/// The commands that begin like these words, or are near them, or all.
pub fn help(words: &[&str], level: CliLevel, unknown: bool) -> String {
    let begins = |c: &&Command| {
        let n = words.len().min(c.words.len());
        let mut pairs = c.words.iter().zip(words).take(n);
        pairs.all(|(a, b)| a == b || !b.is_empty() && a.starts_with(b))
    };
    let near = |c: &&Command| {
        let first = words.first().copied().unwrap_or_default();
        c.words
            .iter()
            .any(|w| rules::nearest(first, [*w]).is_some())
    };
    let mine = || commands::all().filter(|c| c.level <= level);
    let mut listed: Vec<&Command> = mine().filter(begins).collect();
    // What shares the most words at the beginning, then what is spelt nearly the same.
    for n in (1..words.len()).rev() {
        if listed.is_empty() {
            let shared = words.get(..n).unwrap_or_default();
            listed = mine().filter(|c| c.words.starts_with(shared)).collect();
        }
    }
    if listed.is_empty() {
        listed = mine().filter(near).collect();
    }
    let every = words.is_empty() || listed.is_empty();
    if every {
        listed = mine().collect();
    }
    listed.sort_by_key(|c| c.words);
    let mut out = String::from(match (unknown, every) {
        (true, true) => "Unknown command. Please enter one of the following commands only:\n",
        (true, false) => {
            "Unknown command, but maybe one of the following ones is a better match:\n"
        }
        (false, _) => "The following commands are valid at this level:\n",
    });
    for command in listed.iter().filter(|c| c.words != ["help"]) {
        out.push_str(&format!("  {:<39} : {}\n", command.usage, command.doc));
    }
    for (usage, doc) in [
        ("help [<command>]", "list matching or all commands"),
        ("prompt", "toggle interactive mode with prompt"),
        ("quit", "disconnect"),
    ] {
        out.push_str(&format!("  {usage:<39} : {doc}\n"));
    }
    out
}

/// Splits at each `;` that no backslash protects.
pub fn split(line: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in line.chars() {
        let Some(part) = parts.last_mut() else { break };
        if escaped {
            if c != ';' {
                part.push('\\');
            }
            part.push(c);
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == ';' {
            parts.push(String::new());
        } else {
            part.push(c);
        }
    }
    if escaped && let Some(part) = parts.last_mut() {
        part.push('\\');
    }
    parts
}

/// Words; a backslash keeps a space in one.
pub fn split_words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut escaped = false;
    for c in command.trim_start().chars() {
        match c {
            _ if escaped => {
                word.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            ' ' | '\t' if word.is_empty() => {}
            ' ' | '\t' => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_separates_commands_unless_it_is_escaped() {
        assert_eq!(split("a b;c"), ["a b", "c"]);
        assert_eq!(split(r"a\;b"), ["a;b"]);
        assert_eq!(split(r"a\ b;"), [r"a\ b", ""]);
        assert_eq!(split(r"a\"), [r"a\"]);
    }

    #[test]
    fn a_backslash_keeps_a_space_in_a_word() {
        assert_eq!(split_words(r"  add  a\ b c\\d"), ["add", "a b", r"c\d"]);
        assert!(split_words(" \t ").is_empty());
    }

    #[test]
    fn help_shows_what_begins_like_the_words_or_is_near_or_all() {
        let show = help(&["show", "ser"], CliLevel::Admin, false);
        assert!(show.contains("show servers state") && !show.contains("show stat "));
        let typo = help(&["shwo"], CliLevel::Admin, true);
        assert!(typo.contains("better match") && typo.contains("show info"));
        let none = help(&[], CliLevel::User, true);
        assert!(none.starts_with("Unknown command. Please"));
        assert!(!none.contains("set server"), "a user is not shown it");
    }
}
