//! The TLS words of a `server` line.

use super::{
    NO_EARLY_DATA, TlsWord, ca_path, crt_path, protocols, read, refused, verify, version, versions,
    word,
};
use crate::diag::Fault;
use crate::line::{Bases, Line};
use crate::source::Source;
use model::{CheckTls, ServerTls};
use std::sync::Arc;
use tls::{Connector, ConnectorSettings};

/// The TLS part of a `server` line being read.
#[derive(Clone, Default)]
pub struct ServerDraft {
    on: bool,
    /// `ssl` was said, be it only by `default-server`.
    known: bool,
    /// TLS begins when both have agreed on it by `STARTTLS`.
    offered: bool,
    settings: ConnectorSettings,
    sni: Option<Arc<rules::Expr>>,
    /// Where `allow-0rtt` stands.
    early_data: Option<usize>,
    check: Option<bool>,
    /// `check-alpn`.
    check_alpn: Option<Vec<Arc<str>>>,
    check_sni: Option<Arc<str>>,
    /// `check-sni-auto`.
    check_sni_auto: bool,
}

/// The protocols that a server is offered.
fn offered(line: &Line<'_>, at: usize) -> Result<Vec<Arc<str>>, Fault> {
    let offered = protocols(line.arg(at));
    if offered.iter().any(|p| &**p == "h2") {
        return line.fail(
            at,
            "protocol 'h2' is one of HAProxy's that mulgil does not have yet: offer http/1.1",
        );
    }
    Ok(offered)
}

/// What TLS a server has.
#[derive(Default)]
pub struct ServerParts {
    /// That of its traffic.
    pub traffic: Option<Arc<ServerTls>>,
    /// What its traffic would have if it were turned on (`set server … ssl on`).
    pub known: Option<Arc<ServerTls>>,
    /// That of its checks.
    pub check: Option<CheckTls>,
}

impl ServerDraft {
    /// As `global` says.
    fn new(bases: &Bases) -> ServerDraft {
        ServerDraft {
            settings: bases.tls.server.clone(),
            ..ServerDraft::default()
        }
    }

    /// Reads the word at `at`: how many words it took, or `None` if it is none of TLS.
    pub fn word(
        draft: &mut Option<Box<ServerDraft>>,
        line: &Line<'_>,
        at: usize,
    ) -> Result<Option<usize>, Fault> {
        if !SERVER_TLS_WORDS.iter().any(|w| w.name == line.arg(at)) && !refused(line.arg(at)) {
            return Ok(None);
        }
        let draft = draft.get_or_insert_with(|| Box::new(ServerDraft::new(line.bases)));
        read(SERVER_TLS_WORDS, draft, line, at)
    }

    /// Reads the files, once the line is complete. `own_place`: checks go to an address or port
    /// of their own, so that they speak TLS only when told to.
    pub fn finish(&self, line: &mut Line<'_>, own_place: bool) -> Result<ServerParts, Fault> {
        if let Some(at) = self.early_data {
            line.warnings
                .push(Fault::warning(line.skip + at, NO_EARLY_DATA));
        }
        let check = self.check.unwrap_or(self.on && !own_place);
        if !self.known && !self.offered && !check {
            return Ok(ServerParts::default());
        }
        if let (true, true, Some(at)) = (
            self.on,
            self.offered,
            line.texts(0).iter().position(|w| *w == "starttls"),
        ) {
            return line.fail(
                at,
                "'ssl' speaks TLS at once, 'starttls' after the greeting: remove one of them",
            );
        }
        let at = line.texts(0).iter().position(|w| {
            matches!(
                *w,
                "ca-file" | "crt" | "verify" | "ssl" | "starttls" | "check-ssl"
            )
        });
        let at = at.unwrap_or(0);
        let source = line.source;
        let store = &line.bases.tls.store;
        let read = |path: &str| source.read(path);
        let (connector, unknown) =
            line.map(at, Connector::new(self.settings.clone(), store, &read))?;
        let warnings = line.bases.tls.unknown(unknown, line.skip + at);
        line.warnings.extend(warnings);
        let known = (self.known || self.offered).then(|| {
            Arc::new(ServerTls {
                offered: self.offered,
                connector: Arc::clone(&connector),
                sni: self.sni.clone(),
            })
        });
        let connector = match &self.check_alpn {
            Some(alpn) if check => {
                let settings = ConnectorSettings {
                    alpn: alpn.clone(),
                    ..self.settings.clone()
                };
                line.map(at, Connector::new(settings, store, &read))?.0
            }
            _ => connector,
        };
        let check = check.then(|| CheckTls {
            connector,
            sni: self.check_sni.clone(),
            sni_auto: self.check_sni_auto,
        });
        Ok(ServerParts {
            traffic: known.clone().filter(|_| self.on || self.offered),
            known: known.filter(|_| self.known && !self.offered),
            check,
        })
    }
}

/// How rules of checks that ask for TLS speak it to a server with this TLS part, if that or
/// `global` says whom to trust.
pub fn for_rules(
    draft: Option<&ServerDraft>,
    bases: &Bases,
    source: &dyn Source,
) -> Option<CheckTls> {
    let draft = draft.cloned().unwrap_or_else(|| ServerDraft::new(bases));
    let read = |path: &str| source.read(path);
    let made = Connector::new(draft.settings, &bases.tls.store, &read);
    Some(CheckTls {
        connector: made.ok()?.0,
        sni: draft.check_sni,
        // The rule that asks for TLS names the server itself.
        sni_auto: false,
    })
}

/// The TLS words of `server`. The place given to a function is that of its argument.
pub static SERVER_TLS_WORDS: &[TlsWord<ServerDraft>] = &[
    word!(
        "alpn",
        "PROTOCOLS",
        "http/1.1",
        "protocols offered",
        |d, l, at| {
            d.settings.alpn = offered(l, at)?;
            Ok(())
        }
    ),
    word!("no-alpn", "", "", "no protocols offered", |d, _, _| {
        d.settings.alpn.clear();
        Ok(())
    }),
    word!(
        "allow-0rtt",
        "",
        "",
        "taken with a warning: early data is not sent, requests go after the handshake",
        |d, _, at| {
            d.early_data = Some(at - 1);
            Ok(())
        }
    ),
    word!(
        "ca-file",
        "FILE",
        "site.pem",
        "authorities that vouch for the server",
        |d, l, at| {
            d.settings.ca_file = ca_path(l, at);
            Ok(())
        }
    ),
    word!(
        "check-alpn",
        "PROTOCOLS",
        "http/1.1",
        "protocols that checks offer; without it those of alpn",
        |d, l, at| {
            d.check_alpn = Some(offered(l, at)?);
            Ok(())
        }
    ),
    word!(
        "check-sni",
        "NAME",
        "www.example",
        "the name checks ask for",
        |d, l, at| {
            d.check_sni = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "check-sni-auto",
        "",
        "",
        "without check-sni, HTTP checks ask for the name in their Host field",
        |d, _, _| {
            d.check_sni_auto = true;
            Ok(())
        }
    ),
    word!(
        "no-check-sni-auto",
        "",
        "",
        "checks ask for no name but that of check-sni",
        |d, _, _| {
            d.check_sni_auto = false;
            Ok(())
        }
    ),
    word!("check-ssl", "", "", "checks speak TLS", |d, _, _| {
        d.check = Some(true);
        Ok(())
    }),
    word!(
        "no-check-ssl",
        "",
        "",
        "checks speak TLS as the traffic does",
        |d, _, _| {
            d.check = None;
            Ok(())
        }
    ),
    word!(
        "ciphers",
        "LIST",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ciphers of TLS 1.2",
        |d, l, at| {
            d.settings.preferences.ciphers = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "ciphersuites",
        "LIST",
        "TLS_AES_128_GCM_SHA256",
        "cipher suites of TLS 1.3",
        |d, l, at| {
            d.settings.preferences.ciphersuites = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "crl-file",
        "FILE",
        "revoked.pem",
        "servers' certificates that are revoked",
        |d, l, at| {
            d.settings.crl_file = ca_path(l, at);
            Ok(())
        }
    ),
    word!(
        "crt",
        "FILE",
        "site.pem",
        "our own certificate",
        |d, l, at| {
            d.settings.certificate = Some(crt_path(l, at));
            Ok(())
        }
    ),
    word!(
        "curves",
        "LIST",
        "X25519:P-256",
        "curves for the key exchange",
        |d, l, at| {
            d.settings.preferences.curves = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!("no-ssl", "", "", "no TLS to this server", |d, _, _| {
        d.on = false;
        Ok(())
    }),
    word!(
        "no-ssl-reuse",
        "",
        "",
        "a full handshake each time",
        |d, _, _| {
            d.settings.no_reuse = true;
            Ok(())
        }
    ),
    word!(
        "ssl-reuse",
        "",
        "",
        "sessions are taken up again",
        |d, _, _| {
            d.settings.no_reuse = false;
            Ok(())
        }
    ),
    word!(
        "no-tls-tickets",
        "",
        "",
        "sessions of TLS 1.2 are taken up again only where the server keeps them",
        |d, _, _| {
            d.settings.no_tickets = true;
            Ok(())
        }
    ),
    word!(
        "tls-tickets",
        "",
        "",
        "sessions are taken up again by tickets as well",
        |d, _, _| {
            d.settings.no_tickets = false;
            Ok(())
        }
    ),
    word!(
        "no-verifyhost",
        "",
        "",
        "the name in the certificate is that of sni",
        |d, _, _| {
            d.settings.verify_host = None;
            Ok(())
        }
    ),
    word!(
        "sni",
        "EXPRESSION",
        "req.hdr(host)",
        "the name asked for",
        |d, l, at| {
            d.sni = Some(l.expression(at)?);
            Ok(())
        }
    ),
    word!(
        "sni-auto",
        "",
        "",
        "the name asked for is that of the Host header",
        |d, l, _| {
            d.sni = Some(l.rules(0, &rules::Acls::default(), |_, scope| {
                rules::Expr::parse("req.hdr(host),host_only", scope).map(Arc::new)
            })?);
            Ok(())
        }
    ),
    word!(
        "no-sni-auto",
        "",
        "",
        "no name is asked for but that of sni",
        |_, _, _| Ok(())
    ),
    word!("no-sni", "", "", "no name asked for", |d, _, _| {
        d.sni = None;
        Ok(())
    }),
    word!("ssl", "", "", "TLS to this server", |d, _, _| {
        (d.on, d.known) = (true, true);
        Ok(())
    }),
    word!(
        "starttls",
        "",
        "",
        "TLS to this server after its greeting: STARTTLS of SMTP (RFC 3207), AUTH TLS of FTP (RFC 4217)",
        |d, _, _| {
            d.offered = true;
            Ok(())
        }
    ),
    word!(
        "ssl-max-ver",
        "VERSION",
        "TLSv1.3",
        "the newest version",
        |d, l, at| {
            d.settings.preferences.versions.at_most(version(l, at)?);
            Ok(())
        }
    ),
    word!(
        "ssl-min-ver",
        "VERSION",
        "TLSv1.2",
        "the oldest version",
        |d, l, at| {
            d.settings.preferences.versions.at_least(version(l, at)?);
            Ok(())
        }
    ),
    word!(
        "verify",
        "none|required",
        "none",
        "the server's certificate",
        |d, l, at| {
            d.settings.verify = verify(l, at, false)?;
            Ok(())
        }
    ),
    word!(
        "verifyhost",
        "NAME",
        "www.example",
        "the name in the server's certificate",
        |d, l, at| {
            d.settings.verify_host = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "sigalgs",
        "LIST",
        "ECDSA+SHA256:RSA-PSS+SHA256",
        "signatures by which the server proves its certificate",
        |d, l, at| {
            d.settings.preferences.sigalgs = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "client-sigalgs",
        "LIST",
        "ECDSA+SHA256:RSA-PSS+SHA256",
        "signatures by which we prove ours",
        |d, l, at| {
            d.settings.preferences.client_sigalgs = Some(l.arg(at).into());
            Ok(())
        }
    ),
    word!(
        "no-renegotiate",
        "",
        "",
        "accepted: renegotiation is never made",
        |_, _, _| Ok(())
    ),
    versions!("no-sslv3"),
    versions!("no-tlsv10"),
    versions!("no-tlsv11"),
    versions!("no-tlsv12"),
    versions!("no-tlsv13"),
    versions!("force-tlsv12"),
    versions!("force-tlsv13"),
];
