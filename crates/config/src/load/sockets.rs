//! Sockets that fit a proxy's mode, and words that fit their sockets.

use super::{Loader, servers};
use crate::diag::Severity;
use crate::draft::CheckChoice;
use crate::draft::Draft;
use model::{
    Address, Balance, BindOptions, CheckAction, CheckKind, Host, Mode, SendProxy, Server,
    SocketKind,
};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Loader<'_> {
    /// Makes the sockets of a proxy in UDP mode those for datagrams, and refuses what does not fit.
    pub(super) fn fit_sockets(&mut self, draft: &mut Draft) {
        let udp = draft.mode == Mode::Udp;
        self.fit_binds(draft, udp);
        self.fit_servers(draft, udp);
        let mut errors: Vec<(&str, String)> = Vec::new();
        if !matches!(draft.mode, Mode::Smtp | Mode::Ftp) {
            errors.extend(starttls(draft));
        }
        if udp
            && draft
                .front
                .tcp_request_connection
                .iter()
                .any(|r| r.expects_proxy())
        {
            let line = "tcp-request connection";
            errors.push((line, unfit(line, "expect-proxy", &draft.name)));
        }
        if udp && draft.has_back() && matches!(draft.back.balance, Balance::RdpCookie { .. }) {
            errors.push(("balance", format!(
                "'balance rdp-cookie' finds no cookie in '{}', which is in 'mode udp': use another way, such as 'balance source'",
                draft.name
            )));
        }
        let asks = matches!(draft.check.choice, Some(CheckChoice::Udp));
        if udp && asks && draft.has_back() {
            let script = &draft.check.udp.steps;
            if !script
                .iter()
                .any(|s| matches!(s.action, CheckAction::Send(_)))
                || !script
                    .iter()
                    .any(|s| matches!(s.action, CheckAction::Expect(_)))
            {
                errors.push(("udp-check", format!(
                    "'option udp-check' of '{}' does not say what is asked and answered, and silence proves nothing: add 'udp-check send' and 'udp-check expect'",
                    draft.name
                )));
            }
        }
        if !udp && draft.has_back() {
            for (keyword, said) in [
                ("option udp-check", asks),
                ("udp-responses", draft.back.udp_responses.is_some()),
            ] {
                if said {
                    errors.push((keyword, format!(
                        "'{keyword}' is for datagrams, but '{}' is in 'mode {}': remove it, or set 'mode udp'",
                        draft.name, draft.mode.name()
                    )));
                }
            }
        }
        for (keyword, message) in errors {
            let place = draft.marks.get(keyword).unwrap_or(&draft.place);
            self.at(place, Severity::Error, message);
        }
    }
}

impl Loader<'_> {
    fn fit_binds(&mut self, draft: &mut Draft, udp: bool) {
        let mut errors: Vec<(usize, String)> = Vec::new();
        for (at, bind) in draft.front.binds.iter_mut().enumerate() {
            match (udp, &mut bind.address) {
                (true, Address::Inet { kind, .. }) => *kind = SocketKind::Datagram,
                (true, other) => errors.push((at, format!(
                    "{} cannot take datagrams for '{}', which is in 'mode udp': name an address and a port",
                    written(other), draft.name
                ))),
                (false, address) if address.is_datagram() => errors.push((at, format!(
                    "{} is for datagrams, but '{}' is in 'mode {}': write tcp@, or set 'mode udp'",
                    written(address),
                    draft.name,
                    draft.mode.name()
                ))),
                (false, _) => {}
            }
            let signed = bind.options.signed.is_some();
            if signed && !matches!(bind.address, Address::Inet { .. }) {
                errors.push((at, format!(
                    "{} of '{}' is no socket of TCP that this program makes, so nothing on it can be signed: remove 'tcp-md5sig'",
                    written(&bind.address), draft.name
                )));
            }
            if udp {
                let words = stream_words(&bind.options);
                errors.extend(words.map(|word| (at, unfit("bind", word, &draft.name))));
            }
        }
        // One line may make many sockets: what is wrong with it is said once.
        let mut said = BTreeSet::new();
        for (at, message) in errors {
            let place = draft.bind_places.get(at).unwrap_or(&draft.place);
            if said.insert((Arc::clone(&place.file), place.line, message.clone())) {
                self.at(place, Severity::Error, message);
            }
        }
    }

    fn fit_servers(&mut self, draft: &mut Draft, udp: bool) {
        let mode = draft.mode;
        let findings = servers::unfit(draft, |server| {
            let mut messages = Vec::new();
            if server.redir.is_some() && !matches!(mode, Mode::Http | Mode::Packet) {
                messages.push(format!(
                    "server '{}' of '{}' has 'redir', which answers requests of HTTP, but 'mode {}' is set: set 'mode http', or remove it",
                    server.name, draft.name, mode.name()
                ));
            }
            match (udp, &server.address) {
                (true, Address::Inet { .. }) => {}
                (true, _) => messages.push(format!(
                    "server '{}' of '{}', which is in 'mode udp', is no Internet address: name an address and a port",
                    server.name, draft.name
                )),
                (false, address) if address.is_datagram() => messages.push(format!(
                    "server '{}' is for datagrams, but '{}' is in 'mode {}': write tcp@, or set 'mode udp'",
                    server.name, draft.name, draft.mode.name()
                )),
                (false, _) => {}
            }
            if let Some(wrong) = astray(draft, server) {
                messages.push(format!(
                    "server '{}' of '{}' has 'socks4', but {wrong}: remove it",
                    server.name, draft.name
                ));
            }
            if let Some(way) = checked_past(draft, server) {
                messages.push(format!(
                    "checks of server '{}' of '{}' are {way}, which no SOCKS proxy passes on: remove 'check-via-socks4'",
                    server.name, draft.name
                ));
            }
            if udp {
                let words = stream_server_words(server);
                messages.extend(words.map(|word| unfit("server", word, &draft.name)));
            }
            messages
        });
        self.report_servers(draft, &findings);
        for server in draft.back.servers.iter_mut().filter(|_| udp) {
            if let Address::Inet { kind, .. } = &mut server.address {
                *kind = SocketKind::Datagram;
            }
        }
    }
}

/// Why the way through a SOCKS proxy cannot lead to this server.
fn astray(draft: &Draft, server: &Server) -> Option<&'static str> {
    server.socks4?;
    match (&server.address, draft.mode) {
        (_, Mode::Packet) => Some("no connection of 'mode packet' begins here"),
        (_, Mode::Ftp) => Some("data connections of 'mode ftp' could not go that way"),
        (
            Address::Inet {
                host: Host::Ip(ip), ..
            },
            _,
        ) if ip.is_ipv6() => {
            Some("its address is one of IPv6, which version 4 of SOCKS does not know")
        }
        (Address::Inet { .. }, _) => None,
        _ => Some("is no Internet address"),
    }
}

/// What checks are that make no connection, where they should go through a SOCKS proxy.
fn checked_past(draft: &Draft, server: &Server) -> Option<&'static str> {
    let check = server.check.as_ref()?;
    (check.via_socks4 && server.socks4.is_some()).then_some(())?;
    match draft.check.choice {
        Some(CheckChoice::Udp) => Some("datagrams"),
        Some(CheckChoice::External) => Some("a program's"),
        Some(CheckChoice::Kind(CheckKind::Echo)) => Some("ICMP echos"),
        Some(CheckChoice::Kind(CheckKind::HalfOpen)) => Some("half a handshake"),
        _ => None,
    }
}

/// TLS that begins later, where no protocol has words for that.
fn starttls(draft: &Draft) -> impl Iterator<Item = (&'static str, String)> {
    let bind = draft.front.binds.iter().any(|b| b.options.starttls);
    let bind = bind.then_some(("bind", "bind".to_string()));
    let offered = |s: &&Server| s.tls.as_ref().is_some_and(|t| t.offered);
    let server = draft.back.servers.iter().find(offered);
    let server = server.map(|s| ("server", format!("server {}", s.name)));
    let (name, mode) = (&draft.name, draft.mode.name());
    [bind, server].into_iter().flatten().map(move |(mark, line)| {
        let message = format!(
            "'{line} … starttls' is for SMTP and FTP, but '{name}' is in 'mode {mode}': write 'ssl', or set 'mode smtp' or 'mode ftp'"
        );
        (mark, message)
    })
}

/// An address as a `bind` line has it.
fn written(address: &Address) -> String {
    match address {
        Address::Unix { path, .. } => format!("'{path}'"),
        Address::Abstract { name, .. } => format!("'abns@{name}'"),
        Address::Fd(fd) => format!("'fd@{fd}'"),
        Address::Inet { .. } => match address.socket() {
            Some(socket) => format!("'udp@{socket}'"),
            None => "'udp@…'".into(),
        },
    }
}

fn unfit(line: &str, word: &str, proxy: &str) -> String {
    format!("'{line} … {word}' is for streams, but '{proxy}' is in 'mode udp': remove '{word}'")
}

/// Words of a `bind` line that mean nothing to datagrams.
fn stream_words(o: &BindOptions) -> impl Iterator<Item = &'static str> {
    [
        ("ssl", o.tls.is_some()),
        ("defer-accept", o.defer_accept),
        ("tfo", o.tfo),
        ("mss", o.mss.is_some()),
        ("tcp-ss", o.save_syn > 0),
        ("tcp-ut", o.tcp_user_timeout.is_some()),
        ("cc", o.congestion.is_some()),
        ("tcp-md5sig", o.signed.is_some()),
    ]
    .into_iter()
    .filter_map(|(word, said)| said.then_some(word))
}

/// Words of a `server` line that mean nothing to datagrams.
fn stream_server_words(s: &Server) -> impl Iterator<Item = &'static str> {
    [
        ("ssl", s.tls.is_some()),
        ("send-proxy", matches!(s.send_proxy, Some(SendProxy::V1))),
        ("tfo", s.tfo),
        ("socks4", s.socks4.is_some()),
        ("tcp-ut", s.tcp_user_timeout.is_some()),
        ("cc", s.congestion.is_some()),
        ("tcp-md5sig", s.signed.is_some()),
    ]
    .into_iter()
    .filter_map(|(word, said)| said.then_some(word))
}
