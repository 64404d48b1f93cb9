//! What must hold in the end, and drafts into proxies.

use super::Loader;
use super::packet;
use super::servers::{self};
use crate::diag::Severity;
use crate::draft::{Draft, ErrorLine};
use crate::keyword::check_kind;
use crate::load::Loaded;
use model::{Address, Config, Host, Mode, Proxy, Resolvers};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

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
        self.families();
        let tracked = servers::tracked(&drafts);
        let mut ids: Vec<u32> = drafts.iter().map(|d| d.id.unwrap_or(0)).collect();
        number(ids.iter_mut(), 2);
        for (draft, id) in drafts.iter_mut().zip(ids) {
            packet::default_check(draft);
            self.check_references(draft, &modes);
            self.check_captures(draft);
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
            let stray = [servers::stray_shard(draft), servers::stray_pool(draft)];
            for message in stray.into_iter().flatten() {
                self.at(&draft.place, Severity::Warning, message);
            }
            self.fit_mode(draft);
            self.fit_words(draft);
            self.fit_sockets(draft);
            self.fit_ftp(draft);
            self.fit_smtp(draft);
            self.check_effects(draft);
            if self.flags.diagnoses {
                self.diagnose(draft);
            }
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
        let tls = &self.bases.tls;
        tls.store.set_server_settings(tls.server.clone());
        self.config.global.certificates = Arc::clone(&tls.store);
        self.bases.lists.seal();
        self.config.global.lists = Arc::clone(&self.bases.lists);
        if self.flags.maxconn.is_some() {
            self.config.global.maxconn = self.flags.maxconn;
        }
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

    /// What `global` says of names is so in every section of name servers.
    fn families(&mut self) {
        let families = self.config.global.dns_families;
        for section in self.config.resolvers.values_mut() {
            Arc::make_mut(section).families = families;
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
        if servers.iter().any(|s| {
            let checked = s.check.as_ref();
            s.tls.is_some()
                || s.tls_known.is_some()
                || checked.is_some_and(|c| c.tls.is_some() || c.script_tls.is_some())
        }) {
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
        draft.front.maxconn = draft.front.maxconn.or(self.flags.frontend_maxconn);
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
