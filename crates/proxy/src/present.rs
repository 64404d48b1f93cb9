//! How a server is told of the client: by a PROXY header, by the address a connection comes from.

use http::Head;
use model::{SendProxy, SourceAddress, UseSource};
use rules::{Ctx, Expr, LogFormat, TlsInfo};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use wire::proxy::{self, Ssl};

/// What a connection to a server is made with, beyond the server's address. It depends on the
/// request, and is found out before the connection is begun.
#[derive(Default)]
pub struct Told {
    /// The name that TLS asks for.
    pub sni: Option<Box<str>>,
    /// What the connection is kept for, where that is not the same (`pool-conn-name`).
    pub name: Option<Box<str>>,
    /// Extensions of the PROXY header.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// The address in the header that `usesrc hdr_ip` names.
    pub header_ip: Option<IpAddr>,
}

impl Told {
    /// What a kept connection must be for.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref().or(self.sni.as_deref())
    }
}

/// What is told of this client to a server with these settings.
pub fn told(
    settings: &model::Server,
    backend: &model::Backend,
    unique: Option<&LogFormat>,
    cx: &Ctx<'_>,
) -> Told {
    let source = settings.source.as_deref().or(backend.source.as_deref());
    let header_ip = match source.and_then(|s| s.usesrc.as_ref()) {
        Some(UseSource::Header { name, occurrence }) => cx
            .request()
            .and_then(|head| header_ip(head, name.as_bytes(), *occurrence)),
        _ => None,
    };
    Told {
        sni: name(settings.tls.as_ref().and_then(|tls| tls.sni.as_ref()), cx),
        name: name(settings.pool_name.as_ref(), cx),
        extensions: extensions(settings, unique, cx),
        header_ip,
    }
}

fn name(expr: Option<&Arc<Expr>>, cx: &Ctx<'_>) -> Option<Box<str>> {
    let name = expr?.eval(cx)?.to_bytes().into_owned();
    let name = String::from_utf8(name).ok()?;
    (!name.is_empty()).then(|| name.into_boxed_str())
}

/// One address of a header with a list of them; negative occurrences count from the end.
fn header_ip(head: &Head, name: &[u8], occurrence: i32) -> Option<IpAddr> {
    let all: Vec<&[u8]> = head.items(name).collect();
    let count = usize::try_from(occurrence.unsigned_abs())
        .ok()?
        .checked_sub(1)?;
    let found = if occurrence > 0 {
        all.get(count)?
    } else {
        all.iter().rev().nth(count)?
    };
    std::str::from_utf8(found).ok()?.trim().parse().ok()
}

/// Extensions of the PROXY header (`proxy-v2-options`, `set-proxy-v2-tlv-fmt`).
pub fn extensions(
    settings: &model::Server,
    unique: Option<&LogFormat>,
    cx: &Ctx<'_>,
) -> Vec<(u8, Vec<u8>)> {
    let Some(SendProxy::V2 {
        authority,
        unique_id,
        ssl,
        ..
    }) = settings.send_proxy
    else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let tls = cx.session.tls.as_deref();
    if authority && let Some(name) = tls.and_then(|t| t.sni.as_ref()) {
        all.push((proxy::AUTHORITY, name.as_bytes().to_vec()));
    }
    if unique_id {
        let id = match (cx.stream.unique_id.get(cx), unique) {
            (Some(id), _) => id.to_vec(),
            (None, Some(format)) => {
                let mut id = Vec::new();
                format.render(cx, &mut id);
                id
            }
            (None, None) => Vec::new(),
        };
        if !id.is_empty() {
            all.push((proxy::UNIQUE_ID, id));
        }
    }
    if ssl {
        all.push((proxy::SSL, ssl_extension(tls, settings.send_proxy)));
    }
    for (kind, format) in settings.proxy_extensions.iter().flat_map(|e| e.iter()) {
        let mut value = Vec::new();
        format.render(cx, &mut value);
        all.push((*kind, value));
    }
    all
}

fn ssl_extension(tls: Option<&TlsInfo>, wanted: Option<SendProxy>) -> Vec<u8> {
    let (
        Some(tls),
        Some(SendProxy::V2 {
            cert_cn,
            ssl_cipher,
            cert_sig,
            cert_key,
            ..
        }),
    ) = (tls, wanted)
    else {
        return proxy::ssl_extension(&Ssl::default(), &[]);
    };
    let certificate = tls.agreed.certificate();
    let facts = certificate.and_then(::tls::facts);
    let name = facts.as_ref().and_then(|f| {
        let mut names = f.subject.iter().filter(|(key, _)| key == "CN");
        names.next_back().map(|(_, name)| name.as_bytes())
    });
    let mut parts: Vec<(u8, &[u8])> = vec![(proxy::SSL_VERSION, tls.agreed.version.as_bytes())];
    if ssl_cipher {
        parts.push((proxy::SSL_CIPHER, tls.agreed.cipher.as_bytes()));
    }
    if cert_cn && let Some(name) = name {
        parts.push((proxy::SSL_CN, name));
    }
    let shown = tls.agreed.shown.as_ref().filter(|_| cert_sig || cert_key);
    let shown = shown.and_then(|s| ::tls::facts(s.parts.certificate()));
    if let Some(shown) = &shown {
        if cert_sig {
            parts.push((proxy::SSL_SIG_ALG, shown.signature_algorithm.as_bytes()));
        }
        if cert_key {
            parts.push((proxy::SSL_KEY_ALG, shown.key.as_bytes()));
        }
    }
    let ssl = Ssl {
        tls: true,
        certificate: certificate.is_some() && !tls.agreed.resumed,
        in_session: certificate.is_some(),
        verify: tls.agreed.verdict.number,
    };
    proxy::ssl_extension(&ssl, &parts)
}

/// The address that a connection for this client presents to its server, where it is not ours.
pub fn foreign_source(
    source: Option<&SourceAddress>,
    client: Option<SocketAddr>,
    header_ip: Option<IpAddr>,
) -> Option<SocketAddr> {
    let plain = client.map(|c| SocketAddr::new(c.ip().to_canonical(), c.port()));
    match source?.usesrc.as_ref()? {
        UseSource::Client => plain,
        UseSource::ClientIp => plain.map(|c| SocketAddr::new(c.ip(), 0)),
        UseSource::Address(address) => Some(*address),
        UseSource::Header { .. } => header_ip.map(|ip| SocketAddr::new(ip, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_occurrence_of_an_address_counts_from_either_end() {
        let mut head = Head::default();
        let options = http::h1::ParseOptions::default();
        let bytes = b"GET / HTTP/1.1\r\nX-F: 192.0.2.1, 192.0.2.2\r\nx-f: 192.0.2.3\r\n\r\n";
        http::h1::parse_request(bytes, &options, &mut head).expect("a request");
        let at = |n| header_ip(&head, b"X-F", n).map(|ip| ip.to_string());
        assert_eq!(at(-1).as_deref(), Some("192.0.2.3"));
        assert_eq!(at(1).as_deref(), Some("192.0.2.1"));
        assert_eq!(at(-3).as_deref(), Some("192.0.2.1"));
        assert_eq!((at(0), at(4), at(-4)), (None, None, None));
    }
}
