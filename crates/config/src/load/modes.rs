//! Lines that a proxy's mode gives no meaning: each is told with its place, and none is passed over
//! in silence.

use super::Loader;
use crate::diag::Severity;
use crate::draft::Said::{self, Keyword, Option};
use crate::draft::{Draft, Place};
use model::Mode::{self, Ftp, Http, Packet, Smtp, Tcp, Udp};

/// Whether a line of the defaults is told, too. What many proxies share often fits only some of them, and
/// HAProxy says so of some lines only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Always,
    Here,
}
use Told::{Always, Here};

/// Where all connections are streams.
const STREAMS: &[Mode] = &[Http, Tcp, Smtp, Ftp];
/// Where whatever is served ends here.
const SESSIONS: &[Mode] = &[Http, Tcp, Udp, Smtp, Ftp];
/// Where bytes pass without being read.
const BYTES: &[Mode] = &[Http, Tcp];

/// The modes in which a line has an effect.
const MEANT_FOR: &[(Said, &[Mode], Told)] = &[
    (Option("checkcache"), &[Http], Always),
    (Option("disable-h2-upgrade"), &[Http], Always),
    (Option("http-ignore-probes"), &[Http], Always),
    (Option("http-no-delay"), &[Http], Always),
    (Option("http-pretend-keepalive"), &[Http], Always),
    (Option("http-use-proxy-header"), &[Http], Always),
    (Option("prefer-last-server"), &[Http], Always),
    (Keyword("capture cookie"), &[Http], Always),
    (Keyword("cookie"), &[Http], Always),
    (
        Option("accept-unsafe-violations-in-http-request"),
        &[Http],
        Here,
    ),
    (
        Option("accept-unsafe-violations-in-http-response"),
        &[Http],
        Here,
    ),
    (Option("h1-case-adjust-bogus-client"), &[Http], Here),
    (Option("h1-case-adjust-bogus-server"), &[Http], Here),
    (Option("http-keep-alive"), &[Http], Here),
    (Option("http-restrict-req-hdr-names"), &[Http], Here),
    (Option("http-server-close"), &[Http], Here),
    (Option("httpclose"), &[Http], Here),
    (Keyword("capture request header"), &[Http], Here),
    (Keyword("capture response header"), &[Http], Here),
    (Keyword("compression"), &[Http], Here),
    (Keyword("declare capture"), &[Http], Here),
    (Keyword("dynamic-cookie-key"), &[Http], Here),
    (Keyword("errorfile"), &[Http], Here),
    (Keyword("errorfiles"), &[Http], Here),
    (Keyword("errorloc"), &[Http], Here),
    (Keyword("http-error"), &[Http], Here),
    (Keyword("http-reuse"), &[Http], Here),
    (Keyword("http-send-name-header"), &[Http], Here),
    (Keyword("monitor fail"), &[Http], Here),
    (Keyword("timeout http-keep-alive"), &[Http], Here),
    (Keyword("timeout http-request"), &[Http], Here),
    (Keyword("timeout tarpit"), &[Http], Here),
    (Keyword("unique-id-header"), &[Http], Here),
    (Option("abortonclose"), STREAMS, Here),
    (Option("clitcpka"), STREAMS, Here),
    (Option("independent-streams"), BYTES, Here),
    (Option("logasap"), &[Http, Tcp, Ftp], Here),
    (Option("nolinger"), STREAMS, Here),
    (Option("splice-auto"), &[Http, Tcp, Ftp], Here),
    (Option("splice-request"), &[Http, Tcp, Ftp], Here),
    (Option("splice-response"), &[Http, Tcp, Ftp], Here),
    (Option("srvtcpka"), STREAMS, Here),
    (Option("tcp-smart-accept"), STREAMS, Here),
    (Option("tcp-smart-connect"), STREAMS, Here),
    (Option("tcpka"), STREAMS, Here),
    (Keyword("backlog"), STREAMS, Here),
    (Keyword("clitcpka-cnt"), STREAMS, Here),
    (Keyword("clitcpka-idle"), STREAMS, Here),
    (Keyword("clitcpka-intvl"), STREAMS, Here),
    (Keyword("persist rdp-cookie"), &[Tcp, Smtp], Here),
    (Keyword("srvtcpka-cnt"), STREAMS, Here),
    (Keyword("srvtcpka-idle"), STREAMS, Here),
    (Keyword("srvtcpka-intvl"), STREAMS, Here),
    (
        Keyword("tcp-request inspect-delay"),
        &[Http, Tcp, Smtp, Ftp],
        Here,
    ),
    (Keyword("tcp-response inspect-delay"), BYTES, Here),
    (Keyword("timeout client-fin"), BYTES, Here),
    (Option("httplog"), SESSIONS, Here),
    (Option("redispatch"), SESSIONS, Here),
    (Option("tcplog"), SESSIONS, Here),
    (Keyword("be-unpublished"), SESSIONS, Here),
    (Keyword("force-be-switch"), SESSIONS, Here),
    (Keyword("log-format"), SESSIONS, Here),
    (Keyword("maxconn"), SESSIONS, Here),
    (Keyword("rate-limit sessions"), SESSIONS, Here),
    (Keyword("retries"), SESSIONS, Here),
    (Keyword("stick match"), SESSIONS, Here),
    (Keyword("stick on"), SESSIONS, Here),
    (Keyword("stick store-request"), SESSIONS, Here),
    (Keyword("stick store-response"), SESSIONS, Here),
    (Keyword("timeout client"), SESSIONS, Here),
    (Keyword("timeout server"), SESSIONS, Here),
    // Of checks, too.
    (
        Keyword("timeout connect"),
        &[Http, Tcp, Smtp, Ftp, Packet],
        Here,
    ),
    (Keyword("timeout queue"), STREAMS, Here),
    (Keyword("timeout server-fin"), BYTES, Here),
    (Keyword("timeout tunnel"), &[Http, Tcp, Ftp], Here),
    (Option("http-drop-request-trailers"), &[Http], Here),
    (Option("http-drop-response-trailers"), &[Http], Here),
    (Option("idle-close-on-response"), &[Http], Here),
    (Keyword("max-keep-alive-queue"), &[Http], Here),
    (Keyword("max-session-srv-conns"), &[Http], Here),
    (Keyword("timeout session"), &[Packet], Here),
    (Keyword("timeout session-closed"), &[Packet], Here),
    (Keyword("timeout session-icmp"), &[Packet], Here),
    (Keyword("timeout session-fin"), &[Packet], Here),
    (Keyword("timeout session-syn"), &[Packet], Here),
    (Keyword("timeout session-udp"), &[Packet], Here),
];

impl Loader<'_> {
    /// Warns of lines that have no effect in a proxy's mode, and refuses rules there that would not be
    /// looked at.
    pub(super) fn fit_words(&mut self, draft: &Draft) {
        let mode = draft.mode;
        let own = |place: &Place| place.file == draft.place.file && place.line >= draft.place.line;
        for (said, modes, told) in MEANT_FOR {
            let meant = modes.contains(&mode) || (draft.upgrades() && modes.contains(&Http));
            let Some(place) = draft.said.get(said).filter(|_| !meant) else {
                continue;
            };
            // These are refused there.
            if mode == Packet && matches!(said, Keyword("cookie" | "compression")) {
                continue;
            }
            if *told == Here && !own(place) {
                continue;
            }
            let line = match said {
                Keyword(name) => (*name).to_string(),
                Option(name) => format!("option {name}"),
            };
            let message = format!(
                "'{line}' has no effect in '{}', which is in 'mode {}': remove it, or {}",
                draft.name,
                mode.name(),
                remedy(modes)
            );
            self.at(place, Severity::Warning, message);
        }
        let mut servers = draft.back.servers.iter();
        if mode != Http
            && draft.has_back()
            && let Some(server) = servers.find(|s| s.cookie.is_some())
        {
            let message = format!(
                "server '{}' of '{}' has a 'cookie', which has no effect in 'mode {}': remove it, or set 'mode http'",
                server.name,
                draft.name,
                mode.name()
            );
            self.at(&draft.place, Severity::Warning, message);
        }
        if mode != Http
            && !draft.upgrades()
            && let Some(place) = draft.marks.get("capture").filter(|place| own(place))
        {
            let message = format!(
                "what is captured has no effect in '{}', which is in 'mode {}': keep it by 'set-var', or set 'mode http'",
                draft.name,
                mode.name()
            );
            self.at(place, Severity::Warning, message);
        }
        if mode == Udp && !draft.tcp_response_content.is_empty() {
            let message = format!(
                "'tcp-response content' looks at a stream, but '{}' is in 'mode udp', where answers pass one by one: remove it",
                draft.name
            );
            let place = draft.said.get(&Keyword("tcp-response content"));
            self.at(place.unwrap_or(&draft.place), Severity::Error, message);
        }
    }
}

fn remedy(modes: &[Mode]) -> String {
    let names: Vec<String> = modes
        .iter()
        .map(|m| format!("'mode {}'", m.name()))
        .collect();
    format!("set {}", names.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyword::{OPTIONS, keywords};

    #[test]
    fn every_line_is_one_of_the_tables() {
        for (said, modes, _) in MEANT_FOR {
            let known = match said {
                // A timeout is one of the arguments of its keyword.
                Keyword(name) => {
                    name.starts_with("timeout ") || keywords().any(|k| k.name == *name)
                }
                Option(name) => OPTIONS.iter().any(|o| o.name == *name),
            };
            assert!(known && !modes.is_empty(), "{said:?}");
        }
    }
}
