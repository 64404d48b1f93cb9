//! `stats socket`: the words of a `bind` line, and some of its own.

use crate::address::{self, Purpose};
use crate::bind::options;
use crate::diag::Fault;
use crate::line::{Bases, Line, loose_line};
use crate::source::Source;
use model::{Address, CliLevel, ShowSeverity, StatsSocket};
use std::sync::Arc;

/// Reads the words of a `stats socket` that stands in no file (the master's own, `-S`).
pub fn stats_socket_from_words(words: &[&str], source: &dyn Source) -> Result<StatsSocket, String> {
    loose_line(
        "stats socket",
        words,
        source,
        &Bases::default(),
        stats_socket,
    )
}

/// One word that `stats socket` has beside those of `bind`.
pub struct ControlWord {
    /// The word.
    pub name: &'static str,
    /// Its arguments.
    pub args: &'static str,
    /// Arguments that are valid.
    pub example: &'static str,
    /// One line.
    pub doc: &'static str,
    parse: fn(&mut StatsSocket, &Line<'_>, usize) -> Result<(), Fault>,
}

/// All of them. The place given to a function is that of its argument.
pub static CONTROL_WORDS: &[ControlWord] = &[
    ControlWord {
        name: "expose-fd",
        args: "listeners",
        example: "listeners",
        doc: "of `stats socket`: who asks is given the listening sockets (`-x`)",
        parse: |socket, line, at| {
            if line.arg(at) != "listeners" {
                let other = line.arg(at);
                return line.fail(at, format!("'expose-fd' knows 'listeners', not '{other}'"));
            }
            socket.expose_listeners = true;
            Ok(())
        },
    },
    ControlWord {
        name: "level",
        args: "user|operator|admin",
        example: "admin",
        doc: "of `stats socket`: what may be asked and changed there",
        parse: |socket, line, at| {
            socket.level = match line.arg(at) {
                "user" => CliLevel::User,
                "operator" => CliLevel::Operator,
                "admin" => CliLevel::Admin,
                other => {
                    return line.fail(
                        at,
                        format!("unknown level '{other}': use user, operator or admin"),
                    );
                }
            };
            Ok(())
        },
    },
    ControlWord {
        name: "severity-output",
        args: "none|number|string",
        example: "number",
        doc: "of `stats socket`: whether answers begin with how grave they are",
        parse: |socket, line, at| {
            socket.severity = match line.arg(at) {
                "none" => ShowSeverity::None,
                "number" => ShowSeverity::Number,
                "string" => ShowSeverity::Name,
                other => {
                    return line.fail(
                        at,
                        format!(
                            "unknown way '{other}' to show severities: use none, number or string"
                        ),
                    );
                }
            };
            Ok(())
        },
    },
];

/// Reads `stats socket ADDRESS [words]`.
pub fn stats_socket(line: &mut Line<'_>) -> Result<StatsSocket, Fault> {
    let (address, _) = line.map(
        0,
        address::parse(line.arg(0), Purpose::Listen, None, line.source),
    )?;
    let mut socket = StatsSocket {
        address,
        options: Arc::default(),
        level: CliLevel::default(),
        expose_listeners: false,
        severity: ShowSeverity::default(),
    };
    let mut kept: Vec<crate::lexer::Word> =
        line.words.iter().take(line.skip + 1).cloned().collect();
    let mut at = 1;
    while at < line.args().len() {
        match CONTROL_WORDS.iter().find(|w| w.name == line.arg(at)) {
            Some(word) => {
                (word.parse)(&mut socket, line, at + 1)?;
                at += 2;
            }
            None => {
                kept.extend(line.args().get(at).cloned());
                at += 1;
            }
        }
    }
    let mut rest = Line {
        words: &kept,
        warnings: Vec::new(),
        table_uses: Default::default(),
        ..*line
    };
    let read = options(&mut rest, 1);
    line.warnings = rest.warnings;
    let (options, _) = read?;
    if options.signed.is_some() && !matches!(socket.address, Address::Inet { .. }) {
        let message = "no socket of TCP that this program makes is here, so nothing on it can be signed: remove 'tcp-md5sig'";
        return line.fail(0, message);
    }
    socket.options = Arc::new(options);
    Ok(socket)
}
