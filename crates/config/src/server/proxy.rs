//! The words of a `server` line about the PROXY protocol.

use super::{Reading, ServerWord};
use crate::diag::Fault;
use crate::line::Line;
use model::SendProxy;
use std::sync::Arc;

/// All of them. The place given to a function is that of its argument.
pub static SERVER_PROXY_WORDS: &[ServerWord] = &[
    word!(
        "proxy-v2-options",
        "crc32c|authority|unique-id|ssl|cert-cn|ssl-cipher|cert-sig|cert-key[,…]",
        "crc32c",
        "what the header of version 2 holds",
        |r, l, at| {
            for option in l.arg(at).split(',') {
                match PROXY_OPTIONS.iter().find(|o| **o == option) {
                    Some(known) => r.proxy_options.push(known),
                    None => {
                        return l.fail(at, crate::keyword::near("option", option, &PROXY_OPTIONS));
                    }
                }
            }
            Ok(())
        }
    ),
    word!(
        "send-proxy",
        "",
        "",
        "connections begin with a PROXY line",
        |r, _, _| {
            r.server.send_proxy = Some(SendProxy::V1);
            Ok(())
        }
    ),
    word!("no-send-proxy", "", "", "no PROXY line", |r, _, _| {
        r.server.send_proxy = None;
        Ok(())
    }),
    word!(
        "send-proxy-v2",
        "",
        "",
        "connections begin with a binary PROXY header",
        |r, _, _| {
            r.server.send_proxy = Some(PLAIN_V2);
            Ok(())
        }
    ),
    word!(
        "send-proxy-v2-ssl",
        "",
        "",
        "the same, with what is known of TLS to the client",
        |r, _, _| {
            r.server.send_proxy = Some(PLAIN_V2);
            r.proxy_options.push("ssl");
            Ok(())
        }
    ),
    word!(
        "no-send-proxy-v2-ssl",
        "",
        "",
        "no PROXY header",
        |r, _, _| {
            r.server.send_proxy = None;
            r.proxy_options.clear();
            Ok(())
        }
    ),
    word!(
        "send-proxy-v2-ssl-cn",
        "",
        "",
        "the same, with the name in the client's certificate",
        |r, _, _| {
            r.server.send_proxy = Some(PLAIN_V2);
            r.proxy_options.push("cert-cn");
            Ok(())
        }
    ),
    word!(
        "no-send-proxy-v2-ssl-cn",
        "",
        "",
        "no PROXY header",
        |r, _, _| {
            r.server.send_proxy = None;
            r.proxy_options.clear();
            Ok(())
        }
    ),
    word!(
        "set-proxy-v2-tlv-fmt",
        "(TYPE) FMT",
        "(0xE0) %[src]",
        "an extension of the header of version 2",
        |_, _, _| Ok(())
    ),
    word!("no-send-proxy-v2", "", "", "no PROXY header", |r, _, _| {
        r.server.send_proxy = None;
        Ok(())
    }),
];

/// The binary header without extensions.
const PLAIN_V2: SendProxy = SendProxy::V2 {
    crc32c: false,
    authority: false,
    unique_id: false,
    ssl: false,
    cert_cn: false,
    ssl_cipher: false,
    cert_sig: false,
    cert_key: false,
    never_local: false,
};

/// Words of `proxy-v2-options`.
const PROXY_OPTIONS: [&str; 8] = [
    "crc32c",
    "authority",
    "unique-id",
    "ssl",
    "cert-cn",
    "ssl-cipher",
    "cert-sig",
    "cert-key",
];

/// Reads `set-proxy-v2-tlv-fmt(TYPE) FMT`; `rest` is what follows the name in its word. Returns where
/// the next word stands.
pub(super) fn extension(
    reading: &mut Reading,
    line: &Line<'_>,
    at: usize,
    rest: &str,
) -> Result<usize, Fault> {
    let (kind, format) = match rest {
        "" => (line.arg(at + 1), at + 2),
        rest => (rest, at + 1),
    };
    let inner = kind.strip_prefix('(').and_then(|k| k.strip_suffix(')'));
    let number = inner.and_then(|n| match n.strip_prefix("0x") {
        Some(hex) => u8::from_str_radix(hex, 16).ok(),
        None => n.parse().ok(),
    });
    let Some(number) = number else {
        return line.fail(
            at,
            "'set-proxy-v2-tlv-fmt' wants a type from 0 to 255 and a format, such as set-proxy-v2-tlv-fmt(0xE0) %[src]",
        );
    };
    if line.arg(format).is_empty() {
        return line.fail(
            at,
            "'set-proxy-v2-tlv-fmt' wants a format after it, such as %[src]",
        );
    }
    let read = rules::LogFormat::parse(line.arg(format), &rules::Scope::bare());
    let read = line.map(format, read.map_err(|e| e.message))?;
    let all = reading.server.proxy_extensions.get_or_insert_default();
    Arc::make_mut(all).push((number, read));
    Ok(format + 1)
}
