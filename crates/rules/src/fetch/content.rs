//! Bytes on a connection that is only passed on, as far as they have come (manual section 7.3.5).

use super::{FetchDef, fetch, int, truth};
use crate::args::{Arg, ArgKind::*, ArgList, NONE, args};
use crate::{Ctx, Sample};
use http::Head;
use std::borrow::Cow;
use tls::{Hello, Peek};

pub static TABLE: &[FetchDef] = &[
    fetch! { ["req.len", "req_len"], NONE, Int, Request, "bytes that have come and are not passed on yet",
        "req.len" => "9", |_, cx| {
            cx.stream.inspection.wait();
            int(cx.req_body.len() as i64)
        }
    },
    fetch! { ["req.payload", "payload"], args(&[Int, Int], 2), Bin, Request, "so many of these bytes from an offset on; 0 is all",
        "req.payload(2,3)" => "v&k", payload
    },
    fetch! { ["req.proto_http", "req_proto_http"], NONE, Bool, Request, "whether they are a request of HTTP/1",
        "req.proto_http" => "1", proto_http
    },
    fetch! { ["req.ssl_alpn"], NONE, Str, Request, "the first protocol of ALPN in a client's hello of TLS",
        "req.ssl_alpn" => "", |_, cx| Some(Sample::owned(hello(cx)?.alpn.into_iter().next()?))
    },
    fetch! { ["req.ssl_hello_type", "req_ssl_hello_type"], NONE, Int, Request, "1 when the bytes are a client's hello of TLS",
        "req.ssl_hello_type" => "", |_, cx| hello(cx).and(int(1))
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
    fetch! { ["wait_end"], NONE, Bool, Internal, "true once tcp-request inspect-delay is over",
        "wait_end" => "1", |_, cx| truth(!cx.stream.inspection.wait())
    },
];

fn payload<'s>(a: &'s [Arg], cx: &'s Ctx<'_>) -> Option<Sample<'s>> {
    let (offset, length) = (a.int(0)?, a.int(1)?);
    let from = cx.req_body.get(usize::try_from(offset).ok()?..);
    let length = usize::try_from(length).ok()?;
    let part = match (from, length) {
        (Some(from), 0) => {
            cx.stream.inspection.wait();
            Some(from)
        }
        (Some(from), n) => from.get(..n),
        (None, _) => None,
    };
    if part.is_none() {
        cx.stream.inspection.wait();
    }
    part.map(|p| Sample::Bin(Cow::Borrowed(p)))
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
