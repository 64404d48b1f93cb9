//! Bytes on a connection that is only passed on, as far as they have come (manual section 7.3.5).

use super::{FetchDef, fetch, int, truth};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, NONE, args};
use crate::{Ctx, Sample};
use http::Head;
use std::borrow::Cow;
use tls::{Hello, Offers, Peek};

/// A cookie's name.
const NAME: ArgSpec = args(&[Str], 0);
/// Where the length stands, its bytes, where the value begins.
const LENGTH_VALUE: ArgSpec = args(&[IntIn(0, 1 << 30), IntIn(1, 4), Offset], 2);

pub static TABLE: &[FetchDef] = &[
    fetch! { ["req.len", "req_len"], NONE, Int, Request, "bytes that have come and are not passed on yet",
        "req.len" => "9", |_, cx| {
            cx.stream.inspection.wait();
            int(cx.req_body.len() as i64)
        }
    },
    fetch! { ["req.payload", "payload"], args(&[Int, Int], 2), Bin, Request, "so many of these bytes from an offset on; 0 is all",
        "req.payload(2,3)" => "v&k", |a, cx| payload(a, cx, cx.req_body)
    },
    fetch! { ["req.payload_lv", "payload_lv"], LENGTH_VALUE, Bin, Request, "a value whose length stands at an offset in so many bytes; it follows, or begins at the offset said (+ and -: beyond the length)",
        "req.payload_lv(0,1,4)" => "", |a, cx| payload_lv(a, cx, cx.req_body)
    },
    fetch! { ["req.proto_http", "req_proto_http"], NONE, Bool, Request, "whether they are a request of HTTP/1",
        "req.proto_http" => "1", proto_http
    },
    fetch! { ["req.ssl_alpn"], NONE, Str, Request, "the first protocol of ALPN in a client's hello of TLS",
        "req.ssl_alpn" => "", |_, cx| Some(Sample::owned(hello(cx)?.alpn.into_iter().next()?))
    },
    fetch! { ["req.rdp_cookie", "rdp_cookie"], NAME, Str, Request, "the cookie of a client of RDP, of this name or any",
        "req.rdp_cookie(msts)" => "", |a, cx| rdp_cookie(a, cx).map(Sample::str)
    },
    fetch! { ["req.rdp_cookie_cnt", "rdp_cookie_cnt"], NAME, Int, Request, "whether there is such a cookie: 1 or 0",
        "req.rdp_cookie_cnt" => "0", |a, cx| int(i64::from(rdp_cookie(a, cx).is_some()))
    },
    fetch! { ["req.ssl_cipherlist"], NONE, Bin, Request, "the cipher suites in a client's hello of TLS",
        "req.ssl_cipherlist" => "", |_, cx| binary(offers(cx)?.ciphers)
    },
    fetch! { ["req.ssl_ec_ext"], NONE, Bool, Request, "whether that hello names groups of elliptic curves",
        "req.ssl_ec_ext" => "", |_, cx| truth(offers(cx)?.groups.is_some())
    },
    fetch! { ["req.ssl_hello_type", "req_ssl_hello_type"], NONE, Int, Request, "1 when the bytes are a client's hello of TLS",
        "req.ssl_hello_type" => "", |_, cx| hello(cx).and(int(1))
    },
    fetch! { ["req.ssl_keyshare_groups"], NONE, Bin, Request, "the groups of its key shares",
        "req.ssl_keyshare_groups" => "", |_, cx| binary(offers(cx)?.key_share_groups)
    },
    fetch! { ["req.ssl_sigalgs"], NONE, Bin, Request, "the signature algorithms it lists",
        "req.ssl_sigalgs" => "", |_, cx| binary(offers(cx)?.signature_algorithms)
    },
    fetch! { ["req.ssl_st_ext"], NONE, Int, Request, "whether it speaks of session tickets: 0 no, 1 yes, 2 with a ticket",
        "req.ssl_st_ext" => "", |_, cx| int(match offers(cx)?.ticket {
            None => 0i64,
            Some(0) => 1,
            Some(_) => 2,
        })
    },
    fetch! { ["req.ssl_supported_groups"], NONE, Bin, Request, "the groups it lists",
        "req.ssl_supported_groups" => "", |_, cx| binary(offers(cx)?.groups.unwrap_or_default())
    },
    fetch! { ["req.ssl_sni", "req_ssl_sni"], NONE, Str, Request, "the server name in that hello",
        "req.ssl_sni" => "", |_, cx| Some(Sample::owned(hello(cx)?.sni?))
    },
    fetch! { ["req.ssl_ver", "req_ssl_ver"], NONE, Int, Request, "the version that hello offers, 65536 times its major number plus the minor",
        "req.ssl_ver" => "", |_, cx| {
            let version = hello(cx)?.version;
            int(i64::from(version >> 8) << 16 | i64::from(version & 0xff))
        }
    },
    fetch! { ["res.len"], NONE, Int, Response, "bytes that the server sent and are not passed on yet",
        "res.len" => "4", |_, cx| {
            cx.stream.inspection.wait();
            int(cx.res_body.len() as i64)
        }
    },
    fetch! { ["res.payload"], args(&[Int, Int], 2), Bin, Response, "so many of these bytes from an offset on; 0 is all",
        "res.payload(1,2),hex" => "026F", |a, cx| payload(a, cx, cx.res_body)
    },
    fetch! { ["res.payload_lv"], LENGTH_VALUE, Bin, Response, "a value of these bytes whose length stands at an offset in so many bytes",
        "res.payload_lv(0,2)" => "ok", |a, cx| payload_lv(a, cx, cx.res_body)
    },
    fetch! { ["res.ssl_hello_type", "rep_ssl_hello_type"], NONE, Int, Response, "2 when the bytes are a server's hello of TLS",
        "res.ssl_hello_type" => "", |_, cx| server_hello(cx)
    },
    fetch! { ["wait_end"], NONE, Bool, Internal, "true once tcp-request inspect-delay is over",
        "wait_end" => "1", |_, cx| truth(!cx.stream.inspection.wait())
    },
];

fn payload<'s>(a: &[Arg], cx: &Ctx<'_>, bytes: &'s [u8]) -> Option<Sample<'s>> {
    let (offset, length) = (a.int(0)?, a.int(1)?);
    let length = usize::try_from(length).ok()?;
    part(cx, bytes, usize::try_from(offset).ok()?, length)
}

/// `length` bytes from `offset` on, all that there are where it is 0; they are waited for.
fn part<'s>(cx: &Ctx<'_>, bytes: &'s [u8], offset: usize, length: usize) -> Option<Sample<'s>> {
    let from = bytes.get(offset..);
    let part = match length {
        0 => {
            cx.stream.inspection.wait();
            from
        }
        n => from.and_then(|from| from.get(..n)),
    };
    if part.is_none() {
        cx.stream.inspection.wait();
    }
    part.map(|p| Sample::Bin(Cow::Borrowed(p)))
}

/// A value with its length before it.
fn payload_lv<'s>(a: &[Arg], cx: &Ctx<'_>, bytes: &'s [u8]) -> Option<Sample<'s>> {
    let at = usize::try_from(a.int(0)?).ok()?;
    let behind = at.checked_add(usize::try_from(a.int(1)?).ok()?)?;
    let Some(length) = bytes.get(at..behind) else {
        cx.stream.inspection.wait();
        return None;
    };
    let length = length.iter().fold(0, |n, b| n << 8 | usize::from(*b));
    let begins = match a.text(2) {
        None => behind,
        Some(text) => {
            let n: isize = std::str::from_utf8(text).ok()?.parse().ok()?;
            match text.first() {
                Some(b'+' | b'-') => behind.checked_add_signed(n)?,
                _ => usize::try_from(n).ok()?,
            }
        }
    };
    match length {
        0 => None,
        length => part(cx, bytes, begins, length),
    }
}

/// The cookie of RDP in the bytes that have come.
fn rdp_cookie<'s>(a: &[Arg], cx: &'s Ctx<'_>) -> Option<&'s [u8]> {
    let Some((name, value)) = wire::rdp::pair(cx.req_body) else {
        cx.stream.inspection.wait();
        return None;
    };
    let wanted = a.text(0).filter(|wanted| !wanted.is_empty());
    let fits = wanted.is_none_or(|wanted| name.eq_ignore_ascii_case(wanted));
    fits.then_some(value)
}

/// The type of a server's hello: 2, once its record's head is there (RFC 8446 section 5.1).
fn server_hello<'s>(cx: &Ctx<'_>) -> Option<Sample<'s>> {
    match cx.res_body {
        [22, 3, _, _, _, 2, ..] => int(2),
        [] | [22] | [22, 3] | [22, 3, _] | [22, 3, _, _] | [22, 3, _, _, _] => {
            cx.stream.inspection.wait();
            None
        }
        _ => None,
    }
}

fn proto_http<'s>(_: &'s [Arg], cx: &'s Ctx<'_>) -> Option<Sample<'s>> {
    if cx.request().is_some() {
        return truth(true);
    }
    let mut head = Head::default();
    let options = http::h1::ParseOptions::default();
    let parsed = http::h1::parse_request(cx.req_body, &options, &mut head);
    if matches!(parsed, Ok(None)) && cx.stream.inspection.wait() {
        return None;
    }
    truth(matches!(parsed, Ok(Some(_))))
}

/// The hello in the bytes that have come.
fn hello(cx: &Ctx<'_>) -> Option<Hello> {
    match tls::peek(cx.req_body) {
        Peek::Hello(hello) => Some(hello),
        Peek::NeedMore => {
            cx.stream.inspection.wait();
            None
        }
        Peek::NotTls => None,
    }
}

/// All that the hello in the bytes that have come lists.
fn offers(cx: &Ctx<'_>) -> Option<Offers> {
    hello(cx).and_then(|_| tls::offers(cx.req_body))
}

fn binary<'s>(bytes: Vec<u8>) -> Option<Sample<'s>> {
    Some(Sample::Bin(Cow::Owned(bytes)))
}
