//! What TLS agreed on (manual section 7.3.4).

use super::{FetchDef, fetch, int, truth};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, NONE, args};
use crate::ctx::TlsInfo;
use crate::{Ctx, Sample};
use std::borrow::Cow;
use tls::Facts;

pub static TABLE: &[FetchDef] = &[
    fetch! { ["ssl_c_der"], NONE, Bin, Tls, "the client's certificate",
        "ssl_c_der" => "", |_, cx| Some(Sample::Bin(Cow::Borrowed(tls(cx)?.peer_certificate.as_deref()?)))
    },
    fetch! { ["ssl_c_err"], NONE, Int, Tls, "the error of the client's certificate, 0 is none",
        "ssl_c_err" => "", |_, cx| int(tls(cx)?.verify)
    },
    fetch! { ["ssl_c_i_dn"], DN, Str, Tls, "the name of the issuer of the client's certificate, or one part of it",
        "ssl_c_i_dn(CN)" => "", |a, cx| name(a, &client(cx)?.issuer)
    },
    fetch! { ["ssl_c_key_alg"], NONE, Str, Tls, "the kind of key in the client's certificate",
        "ssl_c_key_alg" => "", |_, cx| Some(Sample::owned(client(cx)?.key_algorithm))
    },
    fetch! { ["ssl_c_notafter"], NONE, Str, Tls, "until when the client's certificate is valid, YYMMDDhhmmssZ",
        "ssl_c_notafter" => "", |_, cx| Some(Sample::owned(client(cx)?.not_after))
    },
    fetch! { ["ssl_c_notbefore"], NONE, Str, Tls, "from when the client's certificate is valid, YYMMDDhhmmssZ",
        "ssl_c_notbefore" => "", |_, cx| Some(Sample::owned(client(cx)?.not_before))
    },
    fetch! { ["ssl_c_s_dn"], DN, Str, Tls, "the name of whom the client's certificate is for, or one part of it",
        "ssl_c_s_dn(CN)" => "", |a, cx| name(a, &client(cx)?.subject)
    },
    fetch! { ["ssl_c_serial"], NONE, Bin, Tls, "the serial number of the client's certificate",
        "ssl_c_serial,hex" => "", |_, cx| Some(Sample::Bin(Cow::Owned(client(cx)?.serial)))
    },
    fetch! { ["ssl_c_sha1"], NONE, Bin, Tls, "the SHA-1 fingerprint of the client's certificate",
        "ssl_c_sha1,hex" => "", |_, cx| {
            let der = tls(cx)?.peer_certificate.as_deref()?;
            Some(Sample::Bin(Cow::Owned(tls::sha1(der))))
        }
    },
    fetch! { ["ssl_c_sig_alg"], NONE, Str, Tls, "the kind of signature on the client's certificate",
        "ssl_c_sig_alg" => "", |_, cx| Some(Sample::owned(client(cx)?.signature_algorithm))
    },
    fetch! { ["ssl_c_version"], NONE, Int, Tls, "the version of the client's certificate",
        "ssl_c_version" => "", |_, cx| int(client(cx)?.version)
    },
    fetch! { ["ssl_c_used"], NONE, Bool, Tls, "whether the client showed a certificate",
        "ssl_c_used" => "0", |_, cx| truth(tls(cx).is_some_and(|t| t.peer_certificate.is_some()))
    },
    fetch! { ["ssl_c_verify"], NONE, Int, Tls, "the result of checking it, 0 is good",
        "ssl_c_verify" => "", |_, cx| int(tls(cx)?.verify)
    },
    fetch! { ["ssl_fc"], NONE, Bool, Tls, "whether the client speaks TLS",
        "ssl_fc" => "0", |_, cx| truth(tls(cx).is_some())
    },
    fetch! { ["ssl_fc_alpn"], NONE, Str, Tls, "the protocol agreed on by ALPN",
        "ssl_fc_alpn" => "", |_, cx| Some(Sample::str(tls(cx)?.alpn.as_ref()?.as_bytes()))
    },
    fetch! { ["ssl_fc_alg_keysize", "ssl_fc_use_keysize"], NONE, Int, Tls, "bits of the key of the cipher suite",
        "ssl_fc_alg_keysize" => "", |_, cx| int(tls(cx)?.key_bits)
    },
    fetch! { ["ssl_fc_has_crt"], NONE, Bool, Tls, "whether the client showed a certificate on this connection",
        "ssl_fc_has_crt" => "0", |_, cx| truth(tls(cx).is_some_and(|t| t.peer_certificate.is_some() && !t.resumed))
    },
    fetch! { ["ssl_fc_cipher"], NONE, Str, Tls, "the cipher suite",
        "ssl_fc_cipher" => "", |_, cx| Some(Sample::str(tls(cx)?.cipher.as_bytes()))
    },
    fetch! { ["ssl_fc_has_sni"], NONE, Bool, Tls, "whether the client asked for a server name",
        "ssl_fc_has_sni" => "0", |_, cx| truth(tls(cx).is_some_and(|t| t.sni.is_some()))
    },
    fetch! { ["ssl_fc_is_resumed"], NONE, Bool, Tls, "whether the TLS session was resumed",
        "ssl_fc_is_resumed" => "0", |_, cx| truth(tls(cx).is_some_and(|t| t.resumed))
    },
    fetch! { ["ssl_fc_protocol"], NONE, Str, Tls, "the TLS version",
        "ssl_fc_protocol" => "", |_, cx| Some(Sample::str(tls(cx)?.version.as_bytes()))
    },
    fetch! { ["ssl_fc_sni"], NONE, Str, Tls, "the server name the client asked for",
        "ssl_fc_sni" => "", |_, cx| Some(Sample::str(tls(cx)?.sni.as_ref()?.as_bytes()))
    },
    fetch! { ["ssl_bc"], NONE, Bool, Response, "whether the server speaks TLS",
        "ssl_bc" => "0", |_, cx| truth(back(cx).is_some())
    },
    fetch! { ["ssl_bc_alg_keysize", "ssl_bc_use_keysize"], NONE, Int, Response, "bits of the key of the server's cipher suite",
        "ssl_bc_alg_keysize" => "", |_, cx| int(back(cx)?.key_bits)
    },
    fetch! { ["ssl_bc_alpn"], NONE, Str, Response, "the protocol agreed on with the server by ALPN",
        "ssl_bc_alpn" => "", |_, cx| Some(Sample::str(back(cx)?.alpn.as_ref()?.as_bytes()))
    },
    fetch! { ["ssl_bc_cipher"], NONE, Str, Response, "the cipher suite agreed on with the server",
        "ssl_bc_cipher" => "", |_, cx| Some(Sample::str(back(cx)?.cipher.as_bytes()))
    },
    fetch! { ["ssl_bc_is_resumed"], NONE, Bool, Response, "whether the TLS session with the server was resumed",
        "ssl_bc_is_resumed" => "0", |_, cx| truth(back(cx).is_some_and(|t| t.resumed))
    },
    fetch! { ["ssl_bc_protocol"], NONE, Str, Response, "the TLS version spoken with the server",
        "ssl_bc_protocol" => "", |_, cx| Some(Sample::str(back(cx)?.version.as_bytes()))
    },
    fetch! { ["ssl_bc_sni"], NONE, Str, Response, "the name that the server was asked for",
        "ssl_bc_sni" => "", |_, cx| Some(Sample::str(back(cx)?.sni.as_ref()?.as_bytes()))
    },
    fetch! { ["ssl_s_der"], NONE, Bin, Response, "the server's certificate",
        "ssl_s_der" => "", |_, cx| Some(Sample::Bin(Cow::Borrowed(back(cx)?.peer_certificate.as_deref()?)))
    },
    fetch! { ["ssl_s_i_dn"], DN, Str, Response, "the name of the issuer of the server's certificate, or one part of it",
        "ssl_s_i_dn(CN)" => "", |a, cx| name(a, &server(cx)?.issuer)
    },
    fetch! { ["ssl_s_key_alg"], NONE, Str, Response, "the kind of key in the server's certificate",
        "ssl_s_key_alg" => "", |_, cx| Some(Sample::owned(server(cx)?.key_algorithm))
    },
    fetch! { ["ssl_s_notafter"], NONE, Str, Response, "until when the server's certificate is valid, YYMMDDhhmmssZ",
        "ssl_s_notafter" => "", |_, cx| Some(Sample::owned(server(cx)?.not_after))
    },
    fetch! { ["ssl_s_notbefore"], NONE, Str, Response, "from when the server's certificate is valid, YYMMDDhhmmssZ",
        "ssl_s_notbefore" => "", |_, cx| Some(Sample::owned(server(cx)?.not_before))
    },
    fetch! { ["ssl_s_s_dn"], DN, Str, Response, "the name of whom the server's certificate is for, or one part of it",
        "ssl_s_s_dn(CN)" => "", |a, cx| name(a, &server(cx)?.subject)
    },
    fetch! { ["ssl_s_serial"], NONE, Bin, Response, "the serial number of the server's certificate",
        "ssl_s_serial,hex" => "", |_, cx| Some(Sample::Bin(Cow::Owned(server(cx)?.serial)))
    },
    fetch! { ["ssl_s_sha1"], NONE, Bin, Response, "the SHA-1 fingerprint of the server's certificate",
        "ssl_s_sha1,hex" => "", |_, cx| {
            let der = back(cx)?.peer_certificate.as_deref()?;
            Some(Sample::Bin(Cow::Owned(tls::sha1(der))))
        }
    },
    fetch! { ["ssl_s_sig_alg"], NONE, Str, Response, "the kind of signature on the server's certificate",
        "ssl_s_sig_alg" => "", |_, cx| Some(Sample::owned(server(cx)?.signature_algorithm))
    },
    fetch! { ["ssl_s_version"], NONE, Int, Response, "the version of the server's certificate",
        "ssl_s_version" => "", |_, cx| int(server(cx)?.version)
    },
];

/// Part of a name, which one of several, and the form of the whole.
const DN: ArgSpec = args(&[Str, Int, Word(&["rfc2253"])], 0);

/// The facts of the client's certificate.
fn client(cx: &Ctx<'_>) -> Option<Facts> {
    tls::facts(tls(cx)?.peer_certificate.as_deref()?)
}

/// The facts of the server's certificate.
fn server(cx: &Ctx<'_>) -> Option<Facts> {
    tls::facts(back(cx)?.peer_certificate.as_deref()?)
}

/// What was agreed on with the server.
fn back<'s>(cx: &'s Ctx<'_>) -> Option<&'s TlsInfo> {
    cx.stream.server_tls.as_deref()
}

/// One part of a name (the n-th, from the end where negative), or the whole in OpenSSL's one-line
/// form or that of RFC 2253.
fn name<'s>(args: &[Arg], parts: &[(String, String)]) -> Option<Sample<'s>> {
    let wanted = args.text(0).filter(|w| !w.is_empty());
    if let Some(wanted) = wanted {
        let mut values = parts.iter().filter(|(key, _)| key.as_bytes() == wanted);
        let which = args.int(1).filter(|n| *n != 0).unwrap_or(1);
        let nth = usize::try_from(which.unsigned_abs()).ok()? - 1;
        let found = if which > 0 {
            values.nth(nth)
        } else {
            values.nth_back(nth)
        };
        return Some(Sample::owned(found?.1.clone()));
    }
    let whole: String = match args.text(2) {
        Some(_) => {
            let parts: Vec<String> = parts
                .iter()
                .rev()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            parts.join(",")
        }
        None => parts.iter().map(|(k, v)| format!("/{k}={v}")).collect(),
    };
    Some(Sample::owned(whole))
}

fn tls<'s>(cx: &'s Ctx<'_>) -> Option<&'s TlsInfo> {
    cx.session.tls.as_deref()
}
