//! What must hold in the end, and drafts into proxies.

use super::Loader;
use super::packet;
use super::servers::{self, Finding};
use crate::diag::Severity;
use crate::draft::CheckChoice;
use crate::draft::{Draft, ErrorLine, sections};
use crate::keyword::check_kind;
use crate::load::Loaded;
use model::{Address, Balance, Config, Host, LogFormatSpec, Mode, Proxy, Resolvers};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
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
    /// Cross-checks, then turns drafts into proxies.
    pub(super) fn finish(mut self) -> Loaded {
        let mut drafts = std::mem::take(&mut self.drafts);
        let modes: HashMap<Arc<str>, (Mode, Arc<str>)> = drafts
            .iter()
            .filter(|d| d.has_back())
            .map(|d| (Arc::clone(&d.name), (d.mode, Arc::clone(&d.origin))))
            .collect();
        let backends = packet::backends(&drafts);
        self.compare_packet_binds(&drafts, &backends);
        self.check_ids(&drafts);
        self.check_guids(&drafts);
        self.tables(&drafts);
        self.machines_resolvers();
        let tracked = servers::tracked(&drafts);
        let mut ids: Vec<u32> = drafts.iter().map(|d| d.id.unwrap_or(0)).collect();
        number(ids.iter_mut(), 2);
        for (draft, id) in drafts.iter_mut().zip(ids) {
            packet::default_check(draft);
            self.check_references(draft, &modes);
            self.check_servers(draft, &tracked);
            if draft.mode == Mode::Packet {
                self.fit_packets(draft, &backends);
            } else {
                self.check_timeouts(draft);
                self.refuse_packet_words(draft);
            }
            self.trust_in_checks(draft);
            self.allow_external(draft);
            self.check_intervals(draft);
            if let Some(message) = servers::stray_shard(draft) {
                self.at(&draft.place, Severity::Warning, message);
            }
            self.fit_mode(draft);
            self.fit_words(draft);
            self.fit_sockets(draft);
            self.fit_ftp(draft);
            self.fit_smtp(draft);
            self.check_effects(draft);
            number(draft.front.binds.iter_mut().map(|b| &mut b.id), 1);
            number(draft.back.servers.iter_mut().map(|s| &mut s.id), 1);
            draft.id = Some(id);
        }
        self.finish_vrrp(&mut drafts);
        for draft in drafts {
            let proxy = self.proxy(draft);
            self.config.proxies.push(Arc::new(proxy));
        }
        let environment = self
            .env
            .iter()
            .map(|(k, v)| (k.as_str().into(), Some(v.as_str().into())));
        self.config.global.environment = environment.collect();
        self.config.global.certificates = Arc::clone(&self.bases.tls.store);
        self.bases.lists.seal();
        self.config.global.lists = Arc::clone(&self.bases.lists);
        let config: Option<Config> = (self.report.errors() == 0).then_some(self.config);
        Loaded {
            config,
            report: self.report,
            env: self.env,
        }
    }

    fn finish_vrrp(&mut self, drafts: &mut [Draft]) {
        for (_, draft) in std::mem::take(&mut self.vrrp) {
            let (vrrp, wrong) = draft.finish(
                |name| self.frontends.contains_key(name),
                |name| self.backends.contains_key(name),
                &self.config.vrrp,
            );
            for (place, message) in wrong {
                self.at(&place, Severity::Error, message);
            }
            self.config.vrrp.push(Arc::new(vrrp));
        }
        if self.config.vrrp.iter().any(|v| v.sync.is_some()) {
            for table in &mut self.config.tables {
                Arc::make_mut(table).follows = true;
            }
        }
        let virtuals: HashSet<IpAddr> = self
            .config
            .vrrp
            .iter()
            .flat_map(|v| v.addresses.iter().map(|a| a.ip))
            .collect();
        for bind in drafts.iter_mut().flat_map(|d| &mut d.front.binds) {
            if let Address::Inet {
                host: Host::Ip(ip), ..
            } = &bind.address
                && virtuals.contains(ip)
            {
                Arc::make_mut(&mut bind.options).moves = true;
            }
        }
    }

    /// The section `default` is there without being written: the machine's own name servers.
    fn machines_resolvers(&mut self) {
        let name: Arc<str> = "default".into();
        if self.config.resolvers.contains_key(&name) {
            return;
        }
        let nameservers = super::resolvers::of_machine(self.source).unwrap_or_default();
        if !nameservers.is_empty() {
            let section = Resolvers {
                nameservers,
                ..Resolvers::named(Arc::clone(&name))
            };
            self.config.resolvers.insert(name, Arc::new(section));
        }
    }

    fn check_ids(&mut self, drafts: &[Draft]) {
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
    fn check_guids(&mut self, drafts: &[Draft]) {
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

    fn check_references(&mut self, draft: &Draft, modes: &HashMap<Arc<str>, (Mode, Arc<str>)>) {
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
                // Bytes of HTTP may be passed on as bytes, but nothing else mixes.
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

    fn check_servers(&mut self, draft: &Draft, tracked: &servers::Tracked) {
        let findings = servers::findings(draft, tracked, &self.config.resolvers);
        self.report_servers(draft, &findings);
    }

    /// Says what was found, each at the line of its server.
    pub(super) fn report_servers(&mut self, draft: &Draft, findings: &[Finding]) {
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
            self.at(place, Severity::Error, finding.message(draft, first));
        }
    }

    /// Rules of checks that speak TLS need to know whom to trust; what a server line does not say,
    /// `global` may.
    fn trust_in_checks(&mut self, draft: &mut Draft) {
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
    fn allow_external(&mut self, draft: &Draft) {
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
    fn check_intervals(&mut self, draft: &Draft) {
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

    fn check_timeouts(&mut self, draft: &Draft) {
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
    fn fit_mode(&mut self, draft: &mut Draft) {
        let mode = draft.mode.name();
        if draft.mode == Mode::Http {
            return;
        }
        for keyword in NEEDS_HTTP {
            if let Some(place) = draft.marks.get(keyword)
                && (keyword != "monitor-uri" || draft.has_front())
            {
                let message = format!(
                    "'{keyword}' has no effect in '{}', which is in 'mode {mode}': set 'mode http', or remove it",
                    draft.name
                );
                self.at(place, Severity::Warning, message);
            }
        }
        draft.http_request.clear();
        draft.http_response.clear();
        draft.http_after_response.clear();
        draft.stats = None;
        draft.front.monitor_uri = None;
        draft.http.forwardfor = None;
        draft.http.forwarded = false;
        draft.http.originalto = None;
        draft.http.buffer_request = false;
        let log = &mut draft.front.log_format;
        if draft.section != sections::B
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
        if draft.section != sections::F && needs_http(&draft.back.balance) {
            draft.back.balance = Balance::RoundRobin;
            let message = format!(
                "'{}' is in 'mode {mode}', where nothing of HTTP can be hashed: 'balance roundrobin' is used",
                draft.name
            );
            let place = draft.marks.get("balance").unwrap_or(&draft.place);
            self.at(place, Severity::Warning, message);
        }
    }

    /// Says which lines have no effect for want of others.
    fn check_effects(&mut self, draft: &Draft) {
        let logs =
            !draft.logs.is_empty() || (draft.log_global && !self.config.global.logs.is_empty());
        if draft.has_front()
            && !logs
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

    /// The pages that answer instead of the built-in ones; later lines win.
    fn error_pages(&mut self, lines: Vec<ErrorLine>) -> model::ErrorPages {
        let mut made = model::ErrorPages::default();
        for line in lines {
            match line {
                ErrorLine::Page(status, page) => {
                    made.pages.insert(status, page);
                }
                ErrorLine::Default(status) => {
                    made.pages.remove(&status);
                }
                ErrorLine::Group { name, codes, place } => {
                    let Some(group) = self.config.http_errors.get(&name).cloned() else {
                        let names = self.config.http_errors.keys().map(|k| &**k);
                        let message = match rules::nearest(&name, names) {
                            Some(near) => {
                                format!("no 'http-errors {name}': did you mean '{near}'?")
                            }
                            None => format!("no 'http-errors {name}': add that section"),
                        };
                        self.at(&place, Severity::Error, message);
                        continue;
                    };
                    for code in codes.iter().filter(|c| !group.pages.contains_key(c)) {
                        let message =
                            format!("'http-errors {name}' has no page for {code}: add one there");
                        self.at(&place, Severity::Warning, message);
                    }
                    let taken = group.pages.iter();
                    let taken = taken.filter(|(s, _)| codes.is_empty() || codes.contains(s));
                    made.pages.extend(taken.map(|(s, p)| (*s, p.clone())));
                }
            }
        }
        made
    }

    /// Of all that a proxy was read from. TLS towards servers hangs on this configuration's own
    /// certificates, which the control socket changes: it is never the same as before.
    fn fingerprint(&self, draft: &Draft) -> u64 {
        let mut fingerprint = draft.fingerprint;
        fingerprint.mix((self.common.0, draft.id, draft.section, draft.has_front()));
        let servers = &draft.back.servers;
        if servers.iter().any(|s| s.tls.is_some()) {
            fingerprint.mix(Arc::as_ptr(&self.bases.tls.store) as usize);
        }
        fingerprint.0
    }

    fn proxy(&mut self, mut draft: Draft) -> Proxy {
        let fingerprint = self.fingerprint(&draft);
        let kind = draft.kind();
        let (has_front, has_back) = (draft.has_front(), draft.has_back());
        let mut logs = std::mem::take(&mut draft.logs);
        if draft.log_global {
            logs.splice(..0, self.config.global.logs.iter().cloned());
        }
        let keepalive =
            |(on, numbers): &(bool, crate::draft::model_keepalive::Numbers)| on.then_some(*numbers);
        draft.front.keepalive = keepalive(&draft.clitcpka);
        draft.back.keepalive = keepalive(&draft.srvtcpka);
        draft.back.check = Arc::new(check_kind(
            std::mem::take(&mut draft.check),
            &draft.front.binds,
        ));
        draft.back.email = self.email_alert(&draft);
        draft.back.servers.shrink_to_fit();
        let errors = self.error_pages(std::mem::take(&mut draft.errors));
        Proxy {
            fingerprint,
            name: draft.name,
            id: draft.id.unwrap_or(0),
            kind,
            origin: draft.origin,
            mode: draft.mode,
            disabled: draft.disabled,
            description: draft.description,
            guid: draft.guid,
            timeouts: draft.timeouts,
            logs,
            log_tag: draft.log_tag,
            errors: Arc::new(errors),
            http: draft.http,
            stats: draft.stats.map(Arc::new),
            http_request: draft.http_request,
            http_response: draft.http_response,
            http_after_response: draft.http_after_response,
            tcp_request_content: draft.tcp_request_content,
            tcp_response_content: draft.tcp_response_content,
            inspect_delay: draft.inspect_delay,
            response_inspect_delay: draft.response_inspect_delay,
            independent_streams: draft.independent_streams,
            guard: draft.guard,
            frontend: has_front.then(|| Box::new(draft.front)),
            backend: has_back.then(|| Box::new(draft.back)),
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

/// Numbers those that have none (0): the next free one at or above a counter, which starts at
/// `next` and moves with every member, numbered or not.
fn number<'a>(ids: impl Iterator<Item = &'a mut u32>, mut next: u32) {
    let ids: Vec<&mut u32> = ids.collect();
    let taken: HashSet<u32> = ids.iter().map(|id| **id).filter(|id| *id != 0).collect();
    for id in ids {
        if *id == 0 {
            while taken.contains(&next) {
                next = next.saturating_add(1);
            }
            *id = next;
        }
        next = next.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_count_every_member_and_skip_those_that_are_taken() {
        let mut proxies = [0, 10, 0, 5, 0, 0, 3, 0];
        number(proxies.iter_mut(), 2);
        assert_eq!(proxies, [2, 10, 4, 5, 6, 7, 3, 9]);
        let mut servers = [0, 5, 0, 11, 0, 0, 0, 0];
        number(servers.iter_mut(), 1);
        assert_eq!(servers, [1, 5, 3, 11, 6, 7, 8, 9]);
    }
}
