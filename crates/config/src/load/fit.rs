//! What does not fit together is told when all has been read.

use super::Loader;
use super::servers::{self, Finding};
use crate::diag::Severity;
use crate::draft::CheckChoice;
use crate::draft::{Draft, sections};
use model::{Balance, LogFormatSpec, Mode};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Keywords that mean something in HTTP mode only.
const NEEDS_HTTP: [&str; 10] = [
    "http-request",
    "http-response",
    "http-after-response",
    "redirect",
    "monitor-uri",
    "stats",
    "option forwardfor",
    "option forwarded",
    "option originalto",
    "option http-buffer-request",
];

impl Loader<'_> {
    pub(super) fn check_ids(&mut self, drafts: &[Draft]) {
        let mut ids: HashMap<u32, &Draft> = HashMap::new();
        for draft in drafts {
            let Some(id) = draft.id else { continue };
            if let Some(other) = ids.insert(id, draft) {
                let place = draft.marks.get("id").unwrap_or(&draft.place);
                let message = format!(
                    "'{}' at {} has id {id} already: give this one another",
                    other.name, other.origin
                );
                self.at(place, Severity::Error, message);
            }
        }
    }

    /// A name in files of statistics stands for one thing.
    pub(super) fn check_guids(&mut self, drafts: &[Draft]) {
        let mut seen: HashMap<Arc<str>, Arc<str>> = HashMap::new();
        for draft in drafts {
            let servers = draft.back.servers.iter();
            let servers = servers.filter_map(|s| Some((s.guid.clone()?, &s.name)));
            let own = draft
                .guid
                .iter()
                .map(|guid| (Arc::clone(guid), &draft.name));
            for (guid, whose) in own.chain(servers) {
                if let Some(other) = seen.insert(Arc::clone(&guid), Arc::clone(whose)) {
                    let message = format!(
                        "'{whose}' has guid '{guid}', and so has '{other}': give one another"
                    );
                    self.at(&draft.place, Severity::Error, message);
                }
            }
        }
    }

    pub(super) fn check_references(
        &mut self,
        draft: &Draft,
        modes: &HashMap<Arc<str>, (Mode, Arc<str>)>,
    ) {
        for reference in &draft.references {
            let (name, keyword) = (&reference.name, reference.keyword);
            let message = match modes.get(name) {
                None => match rules::nearest(name, modes.keys().map(|k| &**k)) {
                    Some(near) => {
                        format!("no backend is called '{name}': did you mean '{near}'?")
                    }
                    None => {
                        format!("no backend is called '{name}': add a section 'backend {name}'")
                    }
                },
                Some(_) if *name == draft.name && draft.has_back() => {
                    format!("'{keyword}' leads '{name}' to itself: name another backend")
                }
                // Sessions of bytes may go on in HTTP, but nothing else mixes.
                Some((mode, origin))
                    if *mode != draft.mode && !(draft.mode == Mode::Tcp && *mode == Mode::Http) =>
                {
                    format!(
                        "'{}' is in 'mode {}', but backend '{name}' at {origin} is in 'mode {}': give both the same mode",
                        draft.name,
                        draft.mode.name(),
                        mode.name()
                    )
                }
                Some(_) => continue,
            };
            self.at(&reference.place, Severity::Error, message);
        }
        for reference in &draft.userlist_references {
            let name = &reference.name;
            if self.config.userlists.contains_key(name) {
                continue;
            }
            let near = rules::nearest(name, self.config.userlists.keys().map(|k| &**k));
            let message = match near {
                Some(near) => format!("no userlist is called '{name}': did you mean '{near}'?"),
                None => format!("no userlist is called '{name}': add a section 'userlist {name}'"),
            };
            self.at(&reference.place, Severity::Error, message);
        }
        for reference in &draft.resolvers_references {
            let name = &reference.name;
            let known = &self.config.resolvers;
            if known.contains_key(name) {
                continue;
            }
            let message = match rules::nearest(name, known.keys().map(|k| &**k)) {
                Some(near) => format!("no 'resolvers {name}' to ask: did you mean '{near}'?"),
                None => format!("no 'resolvers {name}' to ask: add that section"),
            };
            self.at(&reference.place, Severity::Error, message);
        }
        let servers = ["server", "server-template"];
        if draft.server_references.is_empty() || servers.iter().any(|s| draft.refused.contains(s)) {
            return;
        }
        let names: HashSet<&str> = draft.back.servers.iter().map(|s| &*s.name).collect();
        for reference in &draft.server_references {
            let name = &*reference.name;
            if names.contains(name) {
                continue;
            }
            let message = match rules::nearest(name, names.iter().copied()) {
                Some(near) => format!("no server here is called '{name}': did you mean '{near}'?"),
                None => format!("no server here is called '{name}': add 'server {name}'"),
            };
            self.at(&reference.place, Severity::Error, message);
        }
    }

    /// Rules capture into slots that the frontend has.
    pub(super) fn check_captures(&mut self, draft: &Draft) {
        if !draft.has_front() {
            return;
        }
        for reference in &draft.capture_references {
            let (side, slots) = match reference.response {
                true => ("response", draft.front.response_captures.len()),
                false => ("request", draft.front.request_captures.len()),
            };
            if reference.id < slots {
                continue;
            }
            let message = format!(
                "no slot {} for captures of the {side}: '{}' has {slots}, numbered from 0: add 'declare capture {side} len …'",
                reference.id, draft.name
            );
            self.at(&reference.place, Severity::Error, message);
        }
    }

    pub(super) fn check_servers(&mut self, draft: &Draft, tracked: &servers::Tracked) {
        let findings = servers::findings(draft, tracked, &self.config.resolvers);
        self.report_servers(draft, &findings);
    }

    /// Says what was found, each at the line of its server.
    pub(super) fn report_servers(&mut self, draft: &Draft, findings: &[Finding]) {
        self.say_of_servers(draft, findings, Severity::Error);
    }

    /// What is only suspicious.
    pub(super) fn diagnose(&mut self, draft: &Draft) {
        let findings = servers::unfit(draft, |server| {
            let idle = server.weight == 0;
            idle.then(|| {
                format!(
                    "server '{}' has a weight of 0: no scheduler will choose it",
                    server.name
                )
            })
            .into_iter()
            .collect()
        });
        self.say_of_servers(draft, &findings, Severity::Diag);
    }

    fn say_of_servers(&mut self, draft: &Draft, findings: &[Finding], severity: Severity) {
        if findings.is_empty() {
            return;
        }
        let bytes = self.source.read(&draft.place.file).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let places = servers::places(draft, findings, &text, &self.env);
        for finding in findings {
            let Finding { name, nth, .. } = finding;
            let lines = places.get(&**name);
            let place = lines.and_then(|l| l.get(*nth)).unwrap_or(&draft.place);
            let first = lines.and_then(|l| l.first()).map_or(0, |p| p.line);
            self.at(place, severity, finding.message(draft, first));
        }
    }

    /// Rules of checks that speak TLS need to know whom to trust; what a server line does not say,
    /// `global` may.
    pub(super) fn trust_in_checks(&mut self, draft: &mut Draft) {
        let Some(place) = draft.check.tls.clone() else {
            return;
        };
        let mut default = None;
        for server in &mut draft.back.servers {
            let Some(check) = server.check.as_mut().filter(|c| c.script_tls.is_none()) else {
                continue;
            };
            let default = default
                .get_or_insert_with(|| crate::tls::for_rules(None, &self.bases, self.source));
            match default {
                Some(tls) => Arc::make_mut(check).script_tls = Some(tls.clone()),
                None => {
                    let message = format!(
                        "this connects by TLS, but server '{}' does not say whom to trust: add 'ca-file FILE' or 'verify none' there",
                        server.name
                    );
                    self.at(&place, Severity::Error, message);
                    return;
                }
            }
        }
    }

    /// Programs are run only where `global` allows it, for they can do what they like.
    pub(super) fn allow_external(&mut self, draft: &Draft) {
        let Some(place) = &draft.check.external else {
            return;
        };
        if !draft.has_back() || !matches!(draft.check.choice, Some(CheckChoice::External)) {
            return;
        }
        let missing = match (&draft.check.command, self.config.global.external_check) {
            (None, _) => "'option external-check' names no program: add 'external-check command'",
            (_, false) => "programs may not be run by default: add 'external-check' to 'global'",
            _ => return,
        };
        self.at(place, Severity::Error, missing.to_string());
    }

    /// A check that may take as long as the interval is still under way when the next is due.
    pub(super) fn check_intervals(&mut self, draft: &Draft) {
        let Some(patience) = draft.timeouts.check else {
            return;
        };
        let slow = draft.back.servers.iter().find_map(|s| {
            let check = s.check.as_ref()?;
            (check.inter <= patience).then(|| (&s.name, check.inter))
        });
        if let Some((name, inter)) = slow {
            let message = format!(
                "'timeout check' of {patience:?} is not below the interval of {inter:?} between the checks of server '{name}': shorten it, or lengthen 'inter'"
            );
            self.at(&draft.place, Severity::Warning, message);
        }
    }

    pub(super) fn check_timeouts(&mut self, draft: &Draft) {
        let t = &draft.timeouts;
        let mut missing = Vec::new();
        if draft.has_front() && t.client.is_none() {
            missing.push("client");
        }
        if draft.has_back() && !draft.back.servers.is_empty() {
            if t.connect.is_none() && draft.mode != Mode::Udp {
                missing.push("connect");
            }
            if t.server.is_none() {
                missing.push("server");
            }
        }
        if !missing.is_empty() && !draft.refused.contains("timeout") {
            let message = format!(
                "'{}' has no timeout for {}: dead peers would hold their connections for ever; set 'timeout {}'",
                draft.name,
                missing.join(", "),
                missing.join("', 'timeout ")
            );
            self.at(&draft.place, Severity::Warning, message);
        }
        let reachable = !draft.front.binds.is_empty() || draft.refused.contains("bind");
        if draft.has_front() && !reachable && !draft.disabled {
            let message = format!(
                "'{}' has no 'bind' line, so nobody can reach it: add one, or make it a backend",
                draft.name
            );
            self.at(&draft.place, Severity::Warning, message);
        }
    }

    /// Takes out of a proxy in another mode what only HTTP can do, and says so.
    pub(super) fn fit_mode(&mut self, draft: &mut Draft) {
        let mode = draft.mode.name();
        self.fit_switches(draft);
        if draft.mode == Mode::Http {
            return;
        }
        let upgrades = draft.upgrades();
        for keyword in NEEDS_HTTP {
            if let Some(place) = draft.marks.get(keyword).filter(|_| !upgrades)
                && (keyword != "monitor-uri" || draft.has_front())
            {
                let message = format!(
                    "'{keyword}' has no effect in '{}', which is in 'mode {mode}': set 'mode http', or remove it",
                    draft.name
                );
                self.at(place, Severity::Warning, message);
            }
        }
        if !upgrades {
            draft.http_request.clear();
            draft.http_response.clear();
            draft.http_after_response.clear();
            draft.stats = None;
            draft.front.monitor_uri = None;
            draft.http.forwardfor = None;
            draft.http.forwarded = false;
            draft.http.originalto = None;
            draft.http.buffer_request = false;
        }
        let log = &mut draft.front.log_format;
        if draft.section != sections::B
            && draft.mode != Mode::Packet
            && matches!(
                log,
                LogFormatSpec::Http | LogFormatSpec::HttpClf | LogFormatSpec::Https
            )
        {
            let (format, option) = match draft.mode {
                Mode::Smtp => (LogFormatSpec::Smtp, "smtplog"),
                _ => (LogFormatSpec::Tcp, "tcplog"),
            };
            *log = format;
            let message = format!(
                "'{}' is in 'mode {mode}', so its log lines are those of 'option {option}': say that instead",
                draft.name
            );
            let place = draft.marks.get("log-format").unwrap_or(&draft.place);
            self.at(place, Severity::Warning, message);
        }
        if draft.mode != Mode::Packet
            && draft.section != sections::F
            && needs_http(&draft.back.balance)
        {
            draft.back.balance = Balance::RoundRobin;
            let message = format!(
                "'{}' is in 'mode {mode}', where nothing of HTTP can be hashed: 'balance roundrobin' is used",
                draft.name
            );
            let place = draft.marks.get("balance").unwrap_or(&draft.place);
            self.at(place, Severity::Warning, message);
        }
    }

    /// Refuses `switch-mode` where there is no session of bytes to go on in HTTP.
    fn fit_switches(&mut self, draft: &Draft) {
        let mut rules = draft.tcp_request_content.iter();
        if draft.upgrades() || !rules.any(|r| r.switches_mode()) {
            return;
        }
        let (name, mode) = (&draft.name, draft.mode.name());
        let (severity, message) = match draft.mode {
            _ if !draft.has_front() => (
                Severity::Error,
                format!(
                    "'switch-mode' is for frontends, and '{name}' is none: put it where its clients come in"
                ),
            ),
            Mode::Http => (
                Severity::Diag,
                format!(
                    "'switch-mode http' has no effect in '{name}', which is in 'mode http' already: remove it"
                ),
            ),
            _ => (
                Severity::Error,
                format!(
                    "'switch-mode' leads from bytes to HTTP, but '{name}' is in 'mode {mode}': set 'mode tcp', or remove it"
                ),
            ),
        };
        let place = draft.marks.get("tcp-request content");
        self.at(place.unwrap_or(&draft.place), severity, message);
    }

    /// Says which lines have no effect for want of others.
    pub(super) fn check_effects(&mut self, draft: &Draft) {
        let logs =
            !draft.logs.is_empty() || (draft.log_global && !self.config.global.logs.is_empty());
        if draft.has_front()
            && !logs
            && draft.mode != Mode::Packet
            && let Some(place) = draft.marks.get("log-format")
        {
            let message = format!(
                "'{}' writes no log, so its format has no effect: add a 'log' line",
                draft.name
            );
            self.at(place, Severity::Warning, message);
        }
        let rdp = matches!(draft.back.balance, Balance::RdpCookie { .. });
        if draft.has_back() && draft.mode == Mode::Http && (rdp || draft.back.rdp_cookie.is_some())
        {
            let message = format!(
                "'{}' is in 'mode http', where there are no RDP cookies: they are looked for in 'mode tcp' only",
                draft.name
            );
            let place = draft.marks.get("balance").filter(|_| rdp);
            let place = place.unwrap_or(&draft.place);
            self.at(place, Severity::Warning, message);
        }
        for (kind, on) in [
            (
                "http-check",
                matches!(draft.check.choice, Some(CheckChoice::Http)),
            ),
            (
                "tcp-check",
                matches!(draft.check.choice, Some(CheckChoice::Tcp)),
            ),
            (
                "udp-check",
                matches!(draft.check.choice, Some(CheckChoice::Udp)),
            ),
            (
                "external-check",
                matches!(draft.check.choice, Some(CheckChoice::External)),
            ),
        ] {
            if draft.has_back()
                && !on
                && let Some(place) = draft.marks.get(kind)
            {
                let option = match kind {
                    "http-check" => "httpchk",
                    kind => kind,
                };
                let message = format!("'{kind}' has no effect without 'option {option}': add it");
                self.at(place, Severity::Warning, message);
            }
        }
    }
}

/// Whether a way to balance looks at requests of HTTP.
fn needs_http(balance: &Balance) -> bool {
    matches!(
        balance,
        Balance::Uri { .. } | Balance::UrlParam { .. } | Balance::Header { .. }
    )
}
