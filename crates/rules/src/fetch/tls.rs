//! What TLS agreed on (manual section 7.3.4).

use super::{FetchDef, fetch, int, truth};
use crate::args::NONE;
use crate::ctx::TlsInfo;
use crate::{Ctx, Sample};
use std::borrow::Cow;

pub static TABLE: &[FetchDef] = &[
    fetch! { ["ssl_c_der"], NONE, Bin, Tls, "the client's certificate",
        "ssl_c_der" => "", |_, cx| Some(Sample::Bin(Cow::Borrowed(tls(cx)?.peer_certificate.as_deref()?)))
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
];

fn tls<'s>(cx: &'s Ctx<'_>) -> Option<&'s TlsInfo> {
    cx.session.tls.as_deref()
}
