//! What a client's first message of TLS listed, kept for `tune.ssl.capture-buffer-size` bytes
//! (manual section 7.3.4).

use super::{FetchDef, fetch, int};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, NONE, args};
use crate::sample::hex;
use crate::{Ctx, Sample};
use std::borrow::Cow;
use tls::Offers;
use xxhash_rust::xxh64::xxh64;

/// 1 leaves out the values that are there to keep servers tolerant (RFC 8701).
const FILTER: ArgSpec = args(&[IntIn(0, 1)], 0);

pub static TABLE: &[FetchDef] = &[
    fetch! { ["ssl_fc_cipherlist_bin"], FILTER, Bin, Tls, "the cipher suites that the client listed (1: without GREASE)",
        "ssl_fc_cipherlist_bin" => "", |a, cx| binary(filtered(a, &offers(cx)?.ciphers))
    },
    fetch! { ["ssl_fc_cipherlist_hex"], FILTER, Str, Tls, "the same in hexadecimal",
        "ssl_fc_cipherlist_hex" => "", |a, cx| Some(Sample::owned(hex(&filtered(a, &offers(cx)?.ciphers))))
    },
    fetch! { ["ssl_fc_cipherlist_str"], FILTER, Str, Tls, "the same by OpenSSL's names, separated by commas",
        "ssl_fc_cipherlist_str" => "", |a, cx| Some(Sample::owned(cipher_names(&filtered(a, &offers(cx)?.ciphers))))
    },
    fetch! { ["ssl_fc_cipherlist_xxh"], NONE, Int, Tls, "the XXH64 hash of that list",
        "ssl_fc_cipherlist_xxh" => "", |_, cx| int(xxh64(&offers(cx)?.ciphers, 0) as i64)
    },
    fetch! { ["ssl_fc_ecformats_bin"], NONE, Bin, Tls, "the formats of points on elliptic curves that the client listed",
        "ssl_fc_ecformats_bin" => "", |_, cx| binary(&*offers(cx)?.point_formats)
    },
    fetch! { ["ssl_fc_eclist_bin"], FILTER, Bin, Tls, "the groups (elliptic curves) that the client listed",
        "ssl_fc_eclist_bin" => "", |a, cx| binary(filtered(a, offers(cx)?.groups.as_ref()?))
    },
    fetch! { ["ssl_fc_extlist_bin"], FILTER, Bin, Tls, "the kinds of extensions in the client's hello, in their order",
        "ssl_fc_extlist_bin" => "", |a, cx| binary(filtered(a, &offers(cx)?.extensions))
    },
    fetch! { ["ssl_fc_protocol_hello_id"], NONE, Int, Tls, "the version that the client's hello names: 771 since TLS 1.2",
        "ssl_fc_protocol_hello_id" => "", |_, cx| int(offers(cx)?.version)
    },
    fetch! { ["ssl_fc_sigalgs_bin"], FILTER, Bin, Tls, "the signature algorithms that the client listed",
        "ssl_fc_sigalgs_bin" => "", |a, cx| binary(filtered(a, &offers(cx)?.signature_algorithms))
    },
    fetch! { ["ssl_fc_supported_versions_bin"], FILTER, Bin, Tls, "the versions of TLS that the client listed",
        "ssl_fc_supported_versions_bin" => "", |a, cx| binary(filtered(a, &offers(cx)?.versions))
    },
];

/// Numbers of cipher suites in hexadecimal, and OpenSSL's names: what `openssl ciphers -V` prints.
const CIPHERS: &str = include_str!("ciphers.txt");

/// OpenSSL's names of cipher suites; those it has none for are shown by their numbers.
fn cipher_names(list: &[u8]) -> String {
    let names = list.chunks_exact(2).map(|pair| {
        let number = pair.iter().fold(0u16, |n, b| n << 8 | u16::from(*b));
        let number = format!("{number:04X}");
        let known = CIPHERS.lines().filter_map(|l| l.split_once(' '));
        let name = known.clone().find(|(n, _)| **n == number);
        name.map_or_else(
            || format!("UNKNOWN({number})"),
            |(_, name)| name.to_string(),
        )
    });
    names.collect::<Vec<_>>().join(",")
}

fn offers<'s>(cx: &'s Ctx<'_>) -> Option<&'s Offers> {
    cx.session.tls.as_ref()?.offers.as_deref()
}

fn binary<'s>(bytes: impl Into<Cow<'s, [u8]>>) -> Option<Sample<'s>> {
    Some(Sample::Bin(bytes.into()))
}

fn filtered<'s>(args: &[Arg], list: &'s [u8]) -> Cow<'s, [u8]> {
    if args.int(0) != Some(1) {
        return Cow::Borrowed(list);
    }
    let real = |pair: &&[u8]| !matches!(pair, [a, b] if a == b && a & 0x0f == 0x0a);
    Cow::Owned(list.chunks(2).filter(real).flatten().copied().collect())
}
