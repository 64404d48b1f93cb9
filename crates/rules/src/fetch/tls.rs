//! What TLS agreed on (manual section 7.3.4).

use super::{FetchDef, fetch, int, truth};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, NONE, args};
use crate::ctx::TlsInfo;
use crate::{Ctx, Sample};
use std::borrow::Cow;
use tls::Facts;

pub static TABLE: &[FetchDef] = &[
    fetch! { ["ssl_c_der"], NONE, Bin, Tls, "the client's certificate",
        "ssl_c_der" => "", |_, cx| Some(Sample::Bin(Cow::Borrowed(tls(cx)?.agreed.certificate()?)))
    },
    fetch! { ["ssl_c_err"], NONE, Int, Tls, "the error of the client's certificate, 0 is none",
        "ssl_c_err" => "", |_, cx| {
            let verdict = tls(cx)?.agreed.verdict;
            int(if verdict.depth == 0 { verdict.number } else { 0 })
        }
    },
    fetch! { ["ssl_c_ca_err"], NONE, Int, Tls, "the error of those that vouch for the client's certificate, 0 is none",
        "ssl_c_ca_err" => "", |_, cx| {
            let verdict = tls(cx)?.agreed.verdict;
            int(if verdict.depth > 0 { verdict.number } else { 0 })
        }
    },
    fetch! { ["ssl_c_ca_err_depth"], NONE, Int, Tls, "how far from the client's certificate that error is",
        "ssl_c_ca_err_depth" => "", |_, cx| int(tls(cx)?.agreed.verdict.depth)
    },
    fetch! { ["ssl_c_chain_der"], NONE, Bin, Tls, "the certificates that the client sent with its own",
        "ssl_c_chain_der" => "", |_, cx| chain(tls(cx)?.agreed.peer_chain.get(1..)?)
    },
    fetch! { ["ssl_c_r_dn"], DN, Str, Tls, "the name of the authority at the root of the client's certificate, or one part of it",
        "ssl_c_r_dn(CN)" => "", |a, cx| name(a, &tls(cx)?.agreed.root()?.subject)
    },
    fetch! { ["ssl_c_san"], NONE, Str, Tls, "the alternative names in the client's certificate",
        "ssl_c_san" => "", |_, cx| Some(Sample::owned(client(cx)?.alternatives.join(", ")))
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
            let der = tls(cx)?.agreed.certificate()?;
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
        "ssl_c_used" => "0", |_, cx| truth(tls(cx).is_some_and(|t| t.agreed.certificate().is_some()))
    },
    fetch! { ["ssl_c_verify"], NONE, Int, Tls, "the result of checking it, 0 is good",
        "ssl_c_verify" => "", |_, cx| int(tls(cx)?.agreed.verdict.number)
    },
    fetch! { ["ssl_fc"], NONE, Bool, Tls, "whether the client speaks TLS",
        "ssl_fc" => "0", |_, cx| truth(tls(cx).is_some())
    },
    fetch! { ["ssl_fc_alpn"], NONE, Str, Tls, "the protocol agreed on by ALPN",
        "ssl_fc_alpn" => "", |_, cx| Some(Sample::str(tls(cx)?.agreed.alpn.as_ref()?.as_bytes()))
    },
    fetch! { ["ssl_fc_alg_keysize", "ssl_fc_use_keysize"], NONE, Int, Tls, "bits of the key of the cipher suite",
        "ssl_fc_alg_keysize" => "", |_, cx| int(tls(cx)?.agreed.key_bits)
    },
    fetch! { ["ssl_fc_curve"], NONE, Str, Tls, "the group of the key exchange",
        "ssl_fc_curve" => "", |_, cx| Some(Sample::str(tls(cx)?.agreed.curve?.as_bytes()))
    },
    fetch! { ["ssl_fc_crtname"], NONE, Str, Tls, "the name of the certificate that the client was shown, as show ssl cert has it",
        "ssl_fc_crtname" => "", |_, cx| Some(Sample::str(tls(cx)?.agreed.shown.as_ref()?.path.as_bytes()))
    },
    fetch! { ["ssl_fc_err"], NONE, Int, Tls, "the number OpenSSL has for what ended the handshake, 0 for nothing",
        "ssl_fc_err" => "", |_, cx| int(tls(cx)?.fault.number)
    },
    fetch! { ["ssl_fc_err_str"], NONE, Str, Tls, "what ended the handshake, as OpenSSL says it",
        "ssl_fc_err_str" => "", |_, cx| Some(Sample::str(Some(tls(cx)?.fault.text).filter(|t| !t.is_empty())?.as_bytes()))
    },
    fetch! { ["ssl_fc_has_early"], NONE, Bool, Tls, "whether the request came before the handshake was complete: never, since early data is not taken",
        "ssl_fc_has_early" => "0", |_, _| truth(false)
    },
    fetch! { ["ssl_fc_npn"], NONE, Str, Tls, "the protocol agreed on by NPN: never, ALPN came of it",
        "ssl_fc_npn" => "", |_, _| None
    },
    fetch! { ["ssl_fc_has_crt"], NONE, Bool, Tls, "whether the client showed a certificate on this connection",
        "ssl_fc_has_crt" => "0", |_, cx| truth(tls(cx).is_some_and(|t| t.agreed.certificate().is_some() && !t.agreed.resumed))
    },
    fetch! { ["ssl_fc_cipher"], NONE, Str, Tls, "the cipher suite",
        "ssl_fc_cipher" => "", |_, cx| Some(Sample::str(tls(cx)?.agreed.cipher.as_bytes()))
    },
    fetch! { ["ssl_fc_has_sni"], NONE, Bool, Tls, "whether the client asked for a server name",
        "ssl_fc_has_sni" => "0", |_, cx| truth(tls(cx).is_some_and(|t| t.sni.is_some()))
    },
    fetch! { ["ssl_fc_is_resumed"], NONE, Bool, Tls, "whether the TLS session was resumed",
        "ssl_fc_is_resumed" => "0", |_, cx| truth(tls(cx).is_some_and(|t| t.agreed.resumed))
    },
    fetch! { ["ssl_fc_protocol"], NONE, Str, Tls, "the TLS version",
        "ssl_fc_protocol" => "", |_, cx| Some(Sample::str(tls(cx)?.agreed.version.as_bytes()))
    },
    fetch! { ["ssl_fc_session_id"], NONE, Bin, Tls, "the id of the session; nothing with TLS 1.3, which has tickets alone",
        "ssl_fc_session_id,hex" => "", |_, cx| session(tls(cx)?)
    },
    fetch! { ["ssl_fc_sni"], NONE, Str, Tls, "the server name the client asked for",
        "ssl_fc_sni" => "", |_, cx| Some(Sample::str(tls(cx)?.sni.as_ref()?.as_bytes()))
    },
    fetch! { ["ssl_bc"], NONE, Bool, Response, "whether the server speaks TLS",
        "ssl_bc" => "0", |_, cx| truth(back(cx).is_some())
    },
    fetch! { ["ssl_bc_alg_keysize", "ssl_bc_use_keysize"], NONE, Int, Response, "bits of the key of the server's cipher suite",
        "ssl_bc_alg_keysize" => "", |_, cx| int(back(cx)?.agreed.key_bits)
    },
    fetch! { ["ssl_bc_alpn"], NONE, Str, Response, "the protocol agreed on with the server by ALPN",
        "ssl_bc_alpn" => "", |_, cx| Some(Sample::str(back(cx)?.agreed.alpn.as_ref()?.as_bytes()))
    },
    fetch! { ["ssl_bc_cipher"], NONE, Str, Response, "the cipher suite agreed on with the server",
        "ssl_bc_cipher" => "", |_, cx| Some(Sample::str(back(cx)?.agreed.cipher.as_bytes()))
    },
    fetch! { ["ssl_bc_curve"], NONE, Str, Response, "the group of the key exchange with the server",
        "ssl_bc_curve" => "", |_, cx| Some(Sample::str(back(cx)?.agreed.curve?.as_bytes()))
    },
    fetch! { ["ssl_bc_npn"], NONE, Str, Response, "the protocol agreed on by NPN: never, ALPN came of it",
        "ssl_bc_npn" => "", |_, _| None
    },
    fetch! { ["ssl_bc_err"], NONE, Int, Response, "the number OpenSSL has for what ended the last handshake with a server, 0 for nothing",
        "ssl_bc_err" => "", |_, cx| match fault(cx) {
            Some(fault) => int(fault.number),
            None => back(cx).and_then(|_| int(0)),
        }
    },
    fetch! { ["ssl_bc_err_str"], NONE, Str, Response, "what ended that handshake, as OpenSSL says it",
        "ssl_bc_err_str" => "", |_, cx| {
            Some(Sample::str(Some(fault(cx)?.text).filter(|t| !t.is_empty())?.as_bytes()))
        }
    },
    fetch! { ["ssl_bc_is_resumed"], NONE, Bool, Response, "whether the TLS session with the server was resumed",
        "ssl_bc_is_resumed" => "0", |_, cx| truth(back(cx).is_some_and(|t| t.agreed.resumed))
    },
    fetch! { ["ssl_bc_protocol"], NONE, Str, Response, "the TLS version spoken with the server",
        "ssl_bc_protocol" => "", |_, cx| Some(Sample::str(back(cx)?.agreed.version.as_bytes()))
    },
    fetch! { ["ssl_bc_session_id"], NONE, Bin, Response, "the id that the server gave the session; nothing with TLS 1.3, which has tickets alone",
        "ssl_bc_session_id,hex" => "", |_, cx| session(back(cx)?)
    },
    fetch! { ["ssl_bc_sni"], NONE, Str, Response, "the name that the server was asked for",
        "ssl_bc_sni" => "", |_, cx| Some(Sample::str(back(cx)?.sni.as_ref()?.as_bytes()))
    },
    fetch! { ["ssl_s_der"], NONE, Bin, Response, "the server's certificate",
        "ssl_s_der" => "", |_, cx| Some(Sample::Bin(Cow::Borrowed(back(cx)?.agreed.certificate()?)))
    },
    fetch! { ["ssl_s_chain_der"], NONE, Bin, Response, "the server's certificate and those it sent with it",
        "ssl_s_chain_der" => "", |_, cx| chain(&back(cx)?.agreed.peer_chain)
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
            let der = back(cx)?.agreed.certificate()?;
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
pub(super) const DN: ArgSpec = args(&[Str, Int, Word(&["rfc2253"])], 0);

/// Certificates one after another.
fn chain<'s>(chain: &[Vec<u8>]) -> Option<Sample<'s>> {
    (!chain.is_empty()).then(|| Sample::Bin(Cow::Owned(chain.concat())))
}

/// What ended the last handshake with a server.
fn fault(cx: &Ctx<'_>) -> Option<tls::Fault> {
    cx.stream.overrides.given(|g| g.server_tls_fault.get())
}

/// The id of a session of TLS 1.2.
fn session(peer: &TlsInfo) -> Option<Sample<'_>> {
    let id = peer.agreed.session_id.as_deref();
    Some(Sample::Bin(Cow::Borrowed(id?)))
}

/// The facts of the client's certificate.
fn client(cx: &Ctx<'_>) -> Option<Facts> {
    tls::facts(tls(cx)?.agreed.certificate()?)
}

/// The facts of the server's certificate.
fn server(cx: &Ctx<'_>) -> Option<Facts> {
    tls::facts(back(cx)?.agreed.certificate()?)
}

/// What was agreed on with the server.
pub(super) fn back<'s>(cx: &'s Ctx<'_>) -> Option<&'s TlsInfo> {
    cx.stream.server_tls.as_deref()
}

/// One part of a name (the n-th, from the end where negative), or the whole in OpenSSL's one-line
/// form or that of RFC 2253.
pub(super) fn name<'s>(args: &[Arg], parts: &[(String, String)]) -> Option<Sample<'s>> {
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

pub(super) fn tls<'s>(cx: &'s Ctx<'_>) -> Option<&'s TlsInfo> {
    cx.session.tls.as_deref()
}
