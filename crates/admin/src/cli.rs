//! A conversation on the control socket: lines in, answers out.

use crate::commands::{COMMANDS, Command};
use model::CliLevel;
use state::{Generation, Process};
use std::sync::Arc;
use std::time::Instant;

/// What commands look at and change.
pub struct World<'a> {
    /// The process.
    pub process: &'a Process,
    /// The configuration in force.
    pub generation: Arc<Generation>,
    /// The environment of the process.
    pub env: &'a [(String, String)],
    /// Now.
    pub now: Instant,
}

/// An answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// What is written, an empty line at its end included.
    pub text: String,
    /// Whether the connection closes then.
    pub close: bool,
}

/// One connection's state.
#[derive(Debug)]
pub struct Cli {
    level: CliLevel,
    prompt: bool,
}

/// What ends a line that a payload follows.
const PAYLOAD: &str = "<<";

impl Cli {
    /// A connection to a socket of that level.
    pub fn new(level: CliLevel) -> Cli {
        Cli {
            level,
            prompt: false,
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

    /// Where the first whole message of what has been received ends: a line, or, when the line
    /// ends with `<<`, a line and its payload up to an empty line.
    pub fn message_end(received: &[u8]) -> Option<usize> {
        let line = received.iter().position(|b| *b == b'\n')? + 1;
        let (command, rest) = received.split_at(line);
        if !command.trim_ascii_end().ends_with(PAYLOAD.as_bytes()) {
            return Some(line);
        }
        if rest.first() == Some(&b'\n') {
            return Some(line + 1);
        }
        let end = rest.windows(2).position(|w| w == b"\n\n")?;
        Some(line + end + 2)
    }

    /// Runs one message: commands separated by `;`, or one command with a payload. Without prompt
    /// the connection closes after it.
    pub fn execute(&mut self, message: &str, world: &World<'_>) -> Output {
        let (line, payload) = match message.split_once('\n') {
            Some((line, payload)) => (line.trim_end(), Some(payload)),
            None => (message, None),
        };
        let line = match payload {
            Some(_) => line.trim_end_matches(PAYLOAD),
            None => line,
        };
        let mut out = Output {
            text: String::new(),
            close: !self.prompt,
        };
        for command in split(line, ';') {
            let mut words = split_words(&command);
            words.extend(payload.map(str::to_string));
            // HAProxy's own "expert" words before a command are understood and not needed.
            while words.first().is_some_and(|w| w.starts_with('@')) {
                words.remove(0);
            }
            let first = words.first().map(String::as_str).unwrap_or_default();
            match first {
                "" if !self.prompt => {
                    out.text.push('\n');
                    continue;
                }
                "" => {}
                "quit" => {
                    out.close = true;
                    return out;
                }
                "prompt" => {
                    self.prompt = !self.prompt;
                    out.close = !self.prompt;
                    if self.prompt {
                        out.text.push('\n');
                    }
                    continue;
                }
                _ => {
                    let answer = self.run(&words, world);
                    out.text.push_str(&answer);
                    if !answer.is_empty() && !answer.ends_with('\n') {
                        out.text.push('\n');
                    }
                    out.text.push('\n');
                }
            }
        }
        if self.prompt && !out.close {
            out.text.push_str("> ");
        }
        out
    }

    fn run(&mut self, words: &[String], world: &World<'_>) -> String {
        let texts: Vec<&str> = words.iter().map(String::as_str).collect();
        let found = COMMANDS
            .iter()
            .filter(|c| starts(c, &texts))
            .max_by_key(|c| c.words.len());
        match found {
            Some(command) if command.level > self.level => "Permission denied\n".into(),
            Some(command) => {
                let rest = texts.get(command.words.len()..).unwrap_or_default();
                (command.run)(self, world, rest)
            }
            None => help(&texts, self.level, true),
        }
    }
}

fn starts(command: &Command, words: &[&str]) -> bool {
    command.words.len() <= words.len() && command.words.iter().zip(words).all(|(a, b)| a == b)
}

/// The commands that begin like these words, or all.
pub fn help(words: &[&str], level: CliLevel, unknown: bool) -> String {
    let mut out = String::from(if unknown {
        "Unknown command, but maybe one of the following ones is a better match:\n"
    } else {
        "The following commands are valid at this level:\n"
    });
    let begins = |c: &&Command| {
        let n = words.len().min(c.words.len());
        c.words.iter().zip(words).take(n).all(|(a, b)| a == b)
    };
    let mut listed: Vec<&Command> = COMMANDS
        .iter()
        .filter(|c| c.level <= level)
        .filter(begins)
        .collect();
    if listed.is_empty() {
        out = "Unknown command: '".to_string()
            + &words.join(" ")
            + "'. The following commands are valid at this level:\n";
        listed = COMMANDS.iter().filter(|c| c.level <= level).collect();
    }
    for command in listed {
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

/// Splits at a separator that no backslash protects.
fn split(line: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in line.chars() {
        let Some(part) = parts.last_mut() else { break };
        if escaped {
            if c != separator {
                part.push('\\');
            }
            part.push(c);
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == separator {
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
fn split_words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut escaped = false;
    for c in command.trim().chars() {
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
