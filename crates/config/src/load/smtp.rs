//! What `mode smtp` needs, and what does not fit it or is for it alone.

use super::Loader;
use crate::diag::Severity;
use crate::draft::Draft;
use model::{Balance, LogFormatSpec, Mode};

/// Keywords that only `mode smtp` gives a meaning.
const ONLY_SMTP: [&str; 10] = [
    "smtp-request",
    "smtp-name",
    "smtp-banner",
    "smtp-extensions",
    "smtp-size",
    "smtp-max-errors",
    "smtp-max-rcpts",
    "smtp-bare-newline",
    "smtp-auth",
    "smtp-require-tls",
];

/// The mark whose line is at fault, and what to say of it.
type Faults = Vec<(&'static str, String)>;

impl Loader<'_> {
    /// Refuses what is for `mode smtp` elsewhere, and there what is for bytes that nobody reads.
    pub(super) fn fit_smtp(&mut self, draft: &Draft) {
        let errors = match draft.mode {
            Mode::Smtp => unfit(draft),
            mode => foreign(draft, mode),
        };
        for (mark, message) in errors {
            let place = draft.marks.get(mark).unwrap_or(&draft.place);
            self.at(place, Severity::Error, message);
        }
    }
}

/// What stands in a proxy of another mode but is for `mode smtp`.
fn foreign(draft: &Draft, mode: Mode) -> Faults {
    let (name, mode) = (&draft.name, mode.name());
    let wrong = |word: &str| {
        format!(
            "'{word}' is for conversations of SMTP, but '{name}' is in 'mode {mode}': remove it, or set 'mode smtp'"
        )
    };
    let mut faults = Faults::new();
    if draft.has_front() {
        let marked = ONLY_SMTP
            .into_iter()
            .filter(|k| draft.marks.contains_key(k));
        faults.extend(marked.map(|k| (k, wrong(k))));
        if matches!(draft.front.log_format, LogFormatSpec::Smtp) {
            faults.push(("log-format", wrong("option smtplog")));
        }
    }
    if draft.has_back()
        && let Some(server) = draft.back.servers.iter().find(|s| s.xclient)
    {
        let line = format!("server {} … xclient", server.name);
        faults.push(("server", wrong(&line)));
    }
    faults
}

/// What stands in a proxy of `mode smtp` and cannot work there.
fn unfit(draft: &Draft) -> Faults {
    let name = &draft.name;
    let mut faults = Faults::new();
    for (mark, said) in [
        ("tcp-request content", !draft.tcp_request_content.is_empty()),
        ("tcp-request inspect-delay", draft.inspect_delay.is_some()),
        (
            "tcp-response content",
            !draft.tcp_response_content.is_empty(),
        ),
    ] {
        if said {
            let message = format!(
                "'{mark}' looks at bytes, but '{name}' is in 'mode smtp', which reads them as commands: use 'smtp-request'"
            );
            faults.push((mark, message));
        }
    }
    if draft.has_front() && draft.front.logasap {
        let message = format!(
            "'option logasap' has nothing to write early in '{name}', which is in 'mode smtp', where a line tells how a message ended: remove it"
        );
        faults.push(("option logasap", message));
    }
    if draft.has_back() && matches!(draft.back.balance, Balance::RdpCookie { .. }) {
        let message = format!(
            "'balance rdp-cookie' finds no cookie in '{name}', which is in 'mode smtp': use another way, such as 'balance leastconn'"
        );
        faults.push(("balance", message));
    }
    if draft.has_back() && draft.back.rdp_cookie.is_some() {
        let message = format!(
            "'persist rdp-cookie' finds no cookie in '{name}', which is in 'mode smtp': use 'stick on' with a table"
        );
        faults.push(("persist", message));
    }
    if draft.has_front()
        && !draft.front.smtp.auth.is_empty()
        && draft.front.binds.iter().all(|b| b.options.tls.is_none())
    {
        let message = format!(
            "'smtp-auth' of '{name}' is announced to nobody, because no 'bind' has TLS and passwords do not pass in clear text: add 'starttls crt FILE' to one"
        );
        faults.push(("smtp-auth", message));
    }
    let mut binds = draft.front.binds.iter();
    if draft.has_front()
        && draft.front.smtp.require_tls
        && let Some(plain) = binds.find(|b| b.options.tls.is_none())
    {
        let message = format!(
            "'smtp-require-tls' refuses all mail that comes in by the 'bind' at {}, which has no TLS: add 'starttls crt FILE' there",
            plain.origin
        );
        faults.push(("smtp-require-tls", message));
    }
    faults
}
