//! What does not fit `mode ftp`, and what is for it alone.

use super::Loader;
use crate::diag::Severity;
use crate::draft::Draft;
use model::{Address, Balance, BindOptions, Mode};

/// Keywords that only `mode ftp` gives a meaning.
const ONLY_FTP: [&str; 3] = ["ftp-data-address", "ftp-data-ports", "ftp-greeting"];

/// The mark whose line is at fault, and what to say of it.
type Faults = Vec<(&'static str, String)>;

impl Loader<'_> {
    /// Refuses what is for `mode ftp` elsewhere, and there what would lead data connections astray.
    pub(super) fn fit_ftp(&mut self, draft: &Draft) {
        let errors = match draft.mode {
            Mode::Ftp => unfit(draft),
            mode => foreign(draft, mode),
        };
        for (mark, message) in errors {
            let place = draft.marks.get(mark).unwrap_or(&draft.place);
            self.at(place, Severity::Error, message);
        }
    }
}

/// What stands in a proxy of another mode but is for `mode ftp`.
fn foreign(draft: &Draft, mode: Mode) -> Faults {
    let (name, mode) = (&draft.name, mode.name());
    let wrong = |word: &str| {
        format!(
            "'{word}' is for sessions of FTP, but '{name}' is in 'mode {mode}': remove it, or set 'mode ftp'"
        )
    };
    let mut faults = Faults::new();
    if draft.has_front() {
        let marked = ONLY_FTP.into_iter().filter(|k| draft.marks.contains_key(k));
        faults.extend(marked.map(|k| (k, wrong(k))));
    }
    faults
}

/// What stands in a proxy of `mode ftp` and cannot work there.
fn unfit(draft: &Draft) -> Faults {
    let name = &draft.name;
    let mut faults = Faults::new();
    if draft.has_front() {
        for bind in &draft.front.binds {
            if matches!(
                bind.address,
                Address::Unix { .. } | Address::Abstract { .. }
            ) {
                let message = format!(
                    "the 'bind' at {} of '{name}', which is in 'mode ftp', has no port beside which data connections could come in: name an address and a port",
                    bind.origin
                );
                faults.push(("bind", message));
            }
            faults.extend(bind_words(&bind.options).map(|(word, why)| {
                let message = format!(
                    "'bind … {word}' does not work for '{name}', which is in 'mode ftp': {why}; remove '{word}'"
                );
                ("bind", message)
            }));
        }
        if !draft.tcp_response_content.is_empty() {
            let message = format!(
                "'tcp-response content' looks at bytes, but '{name}' is in 'mode ftp', which reads them as replies: remove it"
            );
            faults.push(("tcp-response content", message));
        }
    }
    if draft.has_back() {
        let elsewhere = |a: &Address| matches!(a, Address::Unix { .. } | Address::Abstract { .. });
        if let Some(server) = draft.back.servers.iter().find(|s| elsewhere(&s.address)) {
            let message = format!(
                "server '{}' of '{name}', which is in 'mode ftp', has no address for data connections: name an address and a port",
                server.name
            );
            faults.push(("server", message));
        }
        if matches!(draft.back.balance, Balance::RdpCookie { .. }) {
            let message = format!(
                "'balance rdp-cookie' finds no cookie in '{name}', which is in 'mode ftp': use another way, such as 'balance source'"
            );
            faults.push(("balance", message));
        }
    }
    // One line may make many sockets.
    faults.dedup();
    faults
}

/// Words of a `bind` line that keep a session of FTP from working, and why.
fn bind_words(o: &BindOptions) -> impl Iterator<Item = (&'static str, &'static str)> {
    let silent = "a client waits for our greeting before it speaks";
    [
        ("defer-accept", silent, o.defer_accept),
        (
            "transparent",
            "data connections come to addresses of this machine",
            o.transparent,
        ),
    ]
    .into_iter()
    .filter_map(|(word, why, said)| said.then_some((word, why)))
}
