//! `stats socket`: the words of a `bind` line, and some of its own.

use crate::address::{self, Purpose};
use crate::bind::options;
use crate::diag::Fault;
use crate::line::{Bases, Line, loose_line};
use crate::source::Source;
use model::{CliLevel, ShowSeverity};
use std::sync::Arc;

/// Reads the words of a `stats socket` that stands in no file (the master's own, `-S`).
pub fn stats_socket_from_words(
    words: &[&str],
    source: &dyn Source,
) -> Result<model::StatsSocket, String> {
    loose_line(
        "stats socket",
        words,
        source,
        &Bases::default(),
        stats_socket,
    )
}

/// Reads `stats socket ADDRESS [words] [level L] [expose-fd listeners]`.
pub fn stats_socket(line: &mut Line<'_>) -> Result<model::StatsSocket, Fault> {
    let (address, _) = line.map(
        0,
        address::parse(line.arg(0), Purpose::Listen, None, line.source),
    )?;
    let mut level = CliLevel::default();
    let mut severity = ShowSeverity::default();
    let mut expose_listeners = false;
    let mut kept: Vec<crate::lexer::Word> =
        line.words.iter().take(line.skip + 1).cloned().collect();
    let mut at = 1;
    while at < line.args().len() {
        match line.arg(at) {
            "level" => {
                level = match line.arg(at + 1) {
                    "user" => CliLevel::User,
                    "operator" => CliLevel::Operator,
                    "admin" => CliLevel::Admin,
                    other => {
                        return line.fail(
                            at + 1,
                            format!("unknown level '{other}': use user, operator or admin"),
                        );
                    }
                };
                at += 2;
            }
            "severity-output" => {
                severity = match line.arg(at + 1) {
                    "none" => ShowSeverity::None,
                    "number" => ShowSeverity::Number,
                    "string" => ShowSeverity::Name,
                    other => {
                        return line.fail(
                            at + 1,
                            format!("unknown way '{other}' to show severities: use none, number or string"),
                        );
                    }
                };
                at += 2;
            }
            "expose-fd" => {
                if line.arg(at + 1) != "listeners" {
                    return line.fail(
                        at + 1,
                        format!("'expose-fd' knows 'listeners', not '{}'", line.arg(at + 1)),
                    );
                }
                expose_listeners = true;
                at += 2;
            }
            _ => {
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
    Ok(model::StatsSocket {
        address,
        options: Arc::new(options),
        level,
        expose_listeners,
        severity,
    })
}
