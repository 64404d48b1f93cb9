//! The response (manual section 7.3.6).

use super::message::*;
use super::{FetchDef, fetch, int, truth};
use crate::Sample;
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, NONE, args};
use http::{Head, cookie};

const NAME: ArgSpec = args(&[Str], 0);

pub static TABLE: &[FetchDef] = &[
    fetch! { ["capture.res.hdr"], args(&[IntIn(0, i64::MAX)], 1), Str, Response, "what a slot captured of the response",
        "capture.res.hdr(1)" => "rs", |a, cx| captured(a, cx.captures[1])
    },
    fetch! { ["capture.res.ver"], NONE, Str, Response, "the response's version, such as HTTP/1.1",
        "capture.res.ver" => "HTTP/1.1", |_, cx| Some(Sample::str(cx.response()?.version().as_str().as_bytes()))
    },
    fetch! { ["res.body"], NONE, Bin, Response, "the response's body as far as wait-for-body has waited for it",
        "res.body,hex" => "00026F6B", |_, cx| Some(Sample::Bin(cx.res_body.into()))
    },
    fetch! { ["res.body_len"], NONE, Int, Response, "its bytes",
        "res.body_len" => "4", |_, cx| int(cx.res_body.len() as i64)
    },
    fetch! { ["res.body_size"], NONE, Int, Response, "the length that the response names, or the bytes waited for where it names none",
        "res.body_size" => "4", |_, cx| {
            let named = cx.response()?.known(http::Known::ContentLength).next();
            int(named.and_then(|n| Sample::str(n).to_int()).unwrap_or(cx.res_body.len() as i64))
        }
    },
    fetch! { ["res.comp"], NONE, Bool, Response, "in logs: whether the response was compressed here",
        "res.comp" => "0", |_, cx| truth(cx.stream.compressed.is_some())
    },
    fetch! { ["res.comp_algo"], NONE, Str, Response, "in logs: the coding it was compressed with",
        "res.comp_algo" => "", |_, cx| cx.stream.compressed.map(|name| Sample::str(name.as_bytes()))
    },
    fetch! { ["res.cook", "scook", "set-cookie"], NAME, Str, Response, "a cookie that the server sets",
        "res.cook(s)" => "2", |a, cx| {
            let mut values = cookies(a, cx.response()?);
            if a.text(0).is_some() { values.last() } else { values.next() }.map(Sample::str)
        },
        |a, cx, n| cookies(a, cx.response()?).nth(n).map(Sample::str)
    },
    fetch! { ["res.cook_cnt", "scook_cnt"], NAME, Int, Response, "how often the server sets a cookie",
        "res.cook_cnt(s)" => "2", |a, cx| int(cookies(a, cx.response()?).count() as i64)
    },
    fetch! { ["res.cook_names"], NAME, Str, Response, "all names of cookies that the server sets, joined",
        "res.cook_names" => "s,s", |a, cx| {
            let lines = cx.response()?.known(http::Known::SetCookie);
            joined(a, lines.filter_map(cookie::set_pair).map(|(name, _)| name.into()))
        }
    },
    fetch! { ["res.cook_val", "scook_val"], NAME, Int, Response, "a cookie that the server sets, as a number",
        "res.cook_val(s)" => "2", |a, cx| cookies(a, cx.response()?).last().map(|v| number(&Sample::str(v))),
        |a, cx, n| cookies(a, cx.response()?).nth(n).map(|v| number(&Sample::str(v)))
    },
    fetch! { ["res.fhdr"], HEADER, Str, Response, "a header's last (or n-th) whole line",
        "res.fhdr(x-a)" => "2, 192.0.2.9", |a, cx| full_header(a, cx.response()?), |a, cx, n| nth_line(a, cx.response()?, n)
    },
    fetch! { ["res.fhdr_cnt"], HEADER, Int, Response, "number of a header's lines",
        "res.fhdr_cnt(x-a)" => "1", |a, cx| count_lines(a, cx.response()?)
    },
    fetch! { ["res.hdr", "shdr"], HEADER, Str, Response, "a header's last (or n-th) comma-separated value",
        "res.hdr(x-a,1)" => "2", |a, cx| header(a, cx.response()?), |a, cx, n| nth_item(a, cx.response()?, n)
    },
    fetch! { ["res.hdr_cnt", "shdr_cnt"], HEADER, Int, Response, "number of a header's values",
        "res.hdr_cnt(x-a)" => "2", |a, cx| count(a, cx.response()?)
    },
    fetch! { ["res.hdr_ip", "shdr_ip"], HEADER, Addr, Response, "a header's value as an address",
        "res.hdr_ip(x-a)" => "192.0.2.9", |a, cx| address(&header(a, cx.response()?)?),
        |a, cx, n| nth_address(a, cx.response()?, n)
    },
    fetch! { ["res.hdr_names"], NAME, Str, Response, "all header names, joined",
        "res.hdr_names" => "set-cookie,set-cookie,x-a", |a, cx| names(a, cx.response()?)
    },
    fetch! { ["res.hdr_val", "shdr_val"], HEADER, Int, Response, "a header's value as a number",
        "res.hdr_val(x-a,1)" => "2", |a, cx| header(a, cx.response()?).as_ref().map(number),
        |a, cx, n| nth_item(a, cx.response()?, n).as_ref().map(number)
    },
    fetch! { ["res.hdrs"], NONE, Bin, Response, "all headers, a line each",
        "res.hdrs,length" => "63", |_, cx| all(cx.response()?)
    },
    fetch! { ["res.hdrs_bin"], NONE, Bin, Response, "all headers, as lengths and bytes",
        "res.hdrs_bin,hex,length" => "114", |_, cx| all_binary(cx.response()?)
    },
    fetch! { ["res.ver", "resp_ver"], NONE, Str, Response, "the response's version",
        "res.ver" => "1.1", |_, cx| version(cx.response()?)
    },
    fetch! { ["status"], NONE, Int, Response, "the response's status code",
        "status" => "200", |_, cx| int(cx.response()?.status())
    },
];

/// The values of a cookie; of all without a name.
fn cookies<'s>(args: &'s [Arg], head: &'s Head) -> impl Iterator<Item = &'s [u8]> {
    let wanted = args.text(0);
    let pairs = head
        .known(http::Known::SetCookie)
        .filter_map(cookie::set_pair);
    let pairs = pairs.filter(move |(name, _)| wanted.is_none_or(|w| w == *name));
    pairs.map(|(_, value)| value)
}
