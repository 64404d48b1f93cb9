//! The certificate that a client was shown (manual section 7.3.4).

use super::tls::{DN, name, tls};
use super::{FetchDef, fetch, int};
use crate::args::NONE;
use crate::{Ctx, Sample};
use std::borrow::Cow;
use tls::Facts;

pub static TABLE: &[FetchDef] = &[
    fetch! { ["ssl_f_der"], NONE, Bin, Tls, "the certificate that the client was shown",
        "ssl_f_der" => "", |_, cx| Some(Sample::Bin(Cow::Borrowed(shown(cx)?)))
    },
    fetch! { ["ssl_f_i_dn"], DN, Str, Tls, "the name of its issuer, or one part of it",
        "ssl_f_i_dn(CN)" => "", |a, cx| name(a, &own(cx)?.issuer)
    },
    fetch! { ["ssl_f_key_alg"], NONE, Str, Tls, "the kind of key in it",
        "ssl_f_key_alg" => "", |_, cx| Some(Sample::owned(own(cx)?.key_algorithm))
    },
    fetch! { ["ssl_f_notafter"], NONE, Str, Tls, "until when it is valid, YYMMDDhhmmssZ",
        "ssl_f_notafter" => "", |_, cx| Some(Sample::owned(own(cx)?.not_after))
    },
    fetch! { ["ssl_f_notbefore"], NONE, Str, Tls, "from when it is valid, YYMMDDhhmmssZ",
        "ssl_f_notbefore" => "", |_, cx| Some(Sample::owned(own(cx)?.not_before))
    },
    fetch! { ["ssl_f_s_dn"], DN, Str, Tls, "the name of whom it is for, or one part of it",
        "ssl_f_s_dn(CN)" => "", |a, cx| name(a, &own(cx)?.subject)
    },
    fetch! { ["ssl_f_serial"], NONE, Bin, Tls, "its serial number",
        "ssl_f_serial,hex" => "", |_, cx| Some(Sample::Bin(Cow::Owned(own(cx)?.serial)))
    },
    fetch! { ["ssl_f_sha1"], NONE, Bin, Tls, "its SHA-1 fingerprint",
        "ssl_f_sha1,hex" => "", |_, cx| Some(Sample::Bin(Cow::Owned(tls::sha1(shown(cx)?))))
    },
    fetch! { ["ssl_f_sig_alg"], NONE, Str, Tls, "the kind of signature on it",
        "ssl_f_sig_alg" => "", |_, cx| Some(Sample::owned(own(cx)?.signature_algorithm))
    },
    fetch! { ["ssl_f_version"], NONE, Int, Tls, "its version",
        "ssl_f_version" => "", |_, cx| int(own(cx)?.version)
    },
];

fn shown<'s>(cx: &'s Ctx<'_>) -> Option<&'s [u8]> {
    Some(tls(cx)?.agreed.shown.as_ref()?.parts.certificate())
}

fn own(cx: &Ctx<'_>) -> Option<Facts> {
    tls::facts(shown(cx)?)
}
