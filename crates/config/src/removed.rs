//! Words that the language has lost: older files have them still.

use crate::diag::{Fault, Severity};
use crate::line::Line;

/// The first words of a line, how grave it is that they stand there, and what to do instead.
type Removed = (&'static str, Severity, &'static str);

/// Of proxy sections.
const PROXY: &[Removed] = &[
    ("appsession", Severity::Error, "use 'cookie'"),
    ("bind-process", Severity::Warning, "remove it"),
    ("block", Severity::Error, "use 'http-request deny'"),
    ("clitimeout", Severity::Error, "use 'timeout client'"),
    ("contimeout", Severity::Error, "use 'timeout connect'"),
    (
        "option forceclose",
        Severity::Error,
        "remove it, or use 'option httpclose' if every connection must be closed",
    ),
    ("option http-use-htx", Severity::Warning, "remove it"),
    (
        "option http_proxy",
        Severity::Error,
        "use 'http-request set-dst' and 'http-request set-uri'",
    ),
    ("redisp", Severity::Error, "use 'option redispatch'"),
    ("redispatch", Severity::Error, "use 'option redispatch'"),
    ("reqadd", Severity::Error, "use 'http-request add-header'"),
    ("reqallow", Severity::Error, "use 'http-request allow'"),
    ("reqdel", Severity::Error, "use 'http-request del-header'"),
    ("reqdeny", Severity::Error, "use 'http-request deny'"),
    ("reqiallow", Severity::Error, "use 'http-request allow'"),
    ("reqidel", Severity::Error, "use 'http-request del-header'"),
    ("reqideny", Severity::Error, "use 'http-request deny'"),
    ("reqipass", Severity::Error, "remove it"),
    ("reqirep", Severity::Error, REPLACE_REQUEST),
    ("reqitarpit", Severity::Error, "use 'http-request tarpit'"),
    ("reqpass", Severity::Error, "remove it"),
    ("reqrep", Severity::Error, REPLACE_REQUEST),
    ("reqtarpit", Severity::Error, "use 'http-request tarpit'"),
    ("rspadd", Severity::Error, "use 'http-response add-header'"),
    ("rspdel", Severity::Error, "use 'http-response del-header'"),
    ("rspdeny", Severity::Error, "use 'http-response deny'"),
    ("rspidel", Severity::Error, "use 'http-response del-header'"),
    ("rspideny", Severity::Error, "use 'http-response deny'"),
    ("rspirep", Severity::Error, REPLACE_RESPONSE),
    ("rsprep", Severity::Error, REPLACE_RESPONSE),
    ("srvtimeout", Severity::Error, "use 'timeout server'"),
];

const REPLACE_REQUEST: &str =
    "use 'http-request replace-path', 'http-request replace-uri' or 'http-request replace-header'";
const REPLACE_RESPONSE: &str = "use 'http-response replace-header'";

/// Of `global`. One process is what there is, so that asking for it harms nobody.
const GLOBAL: &[Removed] = &[
    ("debug", Severity::Error, "remove it"),
    ("nbproc 1", Severity::Warning, "remove it"),
    ("nbproc", Severity::Error, "use 'nbthread'"),
    (
        "ssl-engine",
        Severity::Error,
        "remove it: no module of OpenSSL is loaded, and keys are read from files",
    ),
    ("stats bind-process", Severity::Warning, "remove it"),
];

/// Whether this line of a proxy section begins with lost words, as a fault of that severity.
pub fn of_proxy(line: &Line<'_>) -> Option<Fault> {
    fault(PROXY, line)
}

/// Whether this line of `global` begins with lost words, as a fault of that severity.
pub fn of_global(line: &Line<'_>) -> Option<Fault> {
    fault(GLOBAL, line)
}

fn fault(table: &[Removed], line: &Line<'_>) -> Option<Fault> {
    let begins = |words: &str| {
        let mut parts = words.split(' ').enumerate();
        parts.all(|(at, part)| line.words.get(at).is_some_and(|w| w.text == part))
    };
    let (words, severity, remedy) = table.iter().find(|(words, ..)| begins(words))?;
    let effect = match severity {
        Severity::Warning => " and has no effect",
        _ => "",
    };
    Some(Fault {
        severity: *severity,
        ..Fault::at(
            0,
            format!("'{words}' is gone from the language{effect}: {remedy}"),
        )
    })
}
