//! The request (manual section 7.3.6).

use super::message::*;
use super::{FetchDef, fetch, int, truth};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, NONE, args};
use crate::convert::{avalanche, sdbm};
use crate::{Ctx, Sample};
use base64::Engine;
use http::{Head, cookie, uri};
use std::borrow::Cow;
use std::net::IpAddr;

const NAME: ArgSpec = args(&[Str], 0);
/// Name, the character that begins the query, `i` for any case.
const PARAM: ArgSpec = args(&[Str, Str, Word(&["i"])], 0);

pub static TABLE: &[FetchDef] = &[
    fetch! { ["base"], NONE, Str, Request, "Host and path together",
        "base" => "WWW.Example.org:8080/Static/Logo.png", |_, cx| Some(Sample::owned(base(cx.request()?, path)))
    },
    fetch! { ["base32"], NONE, Int, Request, "the hash of base (SDBM, avalanched)",
        "base32" => "2958291765", |_, cx| int(hashed(&base(cx.request()?, path)))
    },
    fetch! { ["base32+src"], NONE, Bin, Request, "base32 and the client's address",
        "base32+src,hex,length" => "16", |_, cx| with_source(hashed(&base(cx.request()?, path)), cx)
    },
    fetch! { ["baseq"], NONE, Str, Request, "Host, path and query together",
        "baseq" => "WWW.Example.org:8080/Static/Logo.png?a=1&b=%20x", |_, cx| {
            Some(Sample::owned(base(cx.request()?, pathq)))
        }
    },
    fetch! { ["capture.req.hdr"], args(&[IntIn(0, i64::MAX)], 1), Str, Request, "what a slot captured of the request",
        "capture.req.hdr(0)" => "rq", |a, cx| captured(a, cx.captures[0])
    },
    fetch! { ["capture.req.method"], NONE, Str, Request, "the method",
        "capture.req.method" => "GET", |_, cx| Some(Sample::str(cx.request()?.method()))
    },
    fetch! { ["capture.req.uri"], NONE, Str, Request, "path and query, as the request line has them",
        "capture.req.uri" => "/Static/Logo.png?a=1&b=%20x", |_, cx| there(pathq(cx.request()?))
    },
    fetch! { ["capture.req.ver"], NONE, Str, Request, "the version, such as HTTP/1.1",
        "capture.req.ver" => "HTTP/1.1", |_, cx| Some(Sample::str(cx.request()?.version().as_str().as_bytes()))
    },
    fetch! { ["http_auth"], args(&[Str], 1), Bool, Request, "whether a userlist has the user and password of the request",
        "http_auth(users)" => "0", |a, cx| truth(crate::userlist::groups(a.text(0), cx).is_some())
    },
    fetch! { ["http_auth_group"], args(&[Str], 1), Str, Request, "the groups of the user of the request, once proven",
        "http_auth_group(users)" => "",
        |a, cx| Some(Sample::str(crate::userlist::groups(a.text(0), cx)?.first()?.as_bytes())),
        |a, cx, n| Some(Sample::str(crate::userlist::groups(a.text(0), cx)?.get(n)?.as_bytes()))
    },
    fetch! { ["http_auth_bearer"], NAME, Str, Request, "the token of Authorization: Bearer (or of another header)",
        "http_auth_bearer" => "", |a, cx| {
            let (scheme, rest) = credentials(cx.request()?, a.text(0).unwrap_or(b"authorization"))?;
            scheme.eq_ignore_ascii_case(b"bearer").then(|| Sample::str(rest))
        }
    },
    fetch! { ["http_auth_pass"], NONE, Str, Request, "the password of Authorization: Basic",
        "http_auth_pass" => "", |_, cx| Some(Sample::owned(basic(cx.request()?)?.1))
    },
    fetch! { ["http_auth_type"], NONE, Str, Request, "the scheme of Authorization",
        "http_auth_type" => "", |_, cx| credentials(cx.request()?, b"authorization").map(|(s, _)| Sample::str(s))
    },
    fetch! { ["http_auth_user"], NONE, Str, Request, "the user of Authorization: Basic",
        "http_auth_user" => "", |_, cx| Some(Sample::owned(basic(cx.request()?)?.0))
    },
    fetch! { ["method"], NONE, Method, Request, "the method",
        "method" => "GET", |_, cx| Some(Sample::Method(Cow::Borrowed(cx.request()?.method())))
    },
    fetch! { ["path"], NONE, Str, Request, "the path, without query",
        "path" => "/Static/Logo.png", |_, cx| there(path(cx.request()?))
    },
    fetch! { ["pathq"], NONE, Str, Request, "path and query",
        "pathq" => "/Static/Logo.png?a=1&b=%20x", |_, cx| there(pathq(cx.request()?))
    },
    fetch! { ["query"], NONE, Str, Request, "what follows the first '?'",
        "query" => "a=1&b=%20x", |_, cx| Some(Sample::str(cx.request()?.query().unwrap_or_default()))
    },
    fetch! { ["req.body"], NONE, Bin, Request, "the body as far as it was waited for",
        "req.body" => "k=v&k2=v2", |_, cx| Some(Sample::Bin(Cow::Borrowed(cx.req_body)))
    },
    fetch! { ["req.body_len"], NONE, Int, Request, "its length",
        "req.body_len" => "9", |_, cx| int(cx.req_body.len() as i64)
    },
    fetch! { ["req.body_param"], args(&[Str, Word(&["i"])], 0), Bin, Request, "a parameter of a form in the body",
        "req.body_param(k2)" => "v2", |a, cx| param(a, 1, cx.req_body, 0),
        |a, cx, n| param(a, 1, cx.req_body, n)
    },
    fetch! { ["req.body_size"], NONE, Int, Request, "the length that Content-Length announces",
        "req.body_size" => "9", |_, cx| {
            let announced = cx.request()?.get(b"content-length");
            int(announced.and_then(|v| Sample::str(v).to_int()).unwrap_or(cx.req_body.len() as i64))
        }
    },
    fetch! { ["req.cook", "cook", "cookie"], NAME, Str, Request, "a cookie's last value",
        "req.cook(sid)" => "abc", |a, cx| {
            let mut values = cookies(a, cx.request()?);
            if a.text(0).is_some() { values.last() } else { values.next() }.map(Sample::str)
        },
        |a, cx, n| cookies(a, cx.request()?).nth(n).map(Sample::str)
    },
    fetch! { ["req.cook_cnt", "cook_cnt"], NAME, Int, Request, "how often a cookie comes",
        "req.cook_cnt" => "2", |a, cx| int(cookies(a, cx.request()?).count() as i64)
    },
    fetch! { ["req.cook_names"], NAME, Str, Request, "all names of cookies, joined",
        "req.cook_names" => "sid,t", |a, cx| {
            let lines = cx.request()?.known(http::Known::Cookie);
            joined(a, lines.flat_map(cookie::pairs).map(|(name, _)| name.into()))
        }
    },
    fetch! { ["req.cook_val", "cook_val"], NAME, Int, Request, "a cookie's last value as a number",
        "req.cook_val(t)" => "7", |a, cx| cookies(a, cx.request()?).last().map(|v| number(&Sample::str(v))),
        |a, cx, n| cookies(a, cx.request()?).nth(n).map(|v| number(&Sample::str(v)))
    },
    fetch! { ["req.fhdr"], HEADER, Str, Request, "a header's last (or n-th) whole line",
        "req.fhdr(x-list,1)" => "one, two", |a, cx| full_header(a, cx.request()?), |a, cx, n| nth_line(a, cx.request()?, n)
    },
    fetch! { ["req.fhdr_cnt"], HEADER, Int, Request, "number of a header's lines",
        "req.fhdr_cnt(x-list)" => "2", |a, cx| count_lines(a, cx.request()?)
    },
    fetch! { ["hdr"], HEADER, Str, Request, "a header's last (or n-th) value: of the response where there is one, else of the request",
        "hdr(x-a,1)" => "2", |a, cx| header(a, message(cx)?), |a, cx, n| nth_item(a, message(cx)?, n)
    },
    fetch! { ["req.hdr"], HEADER, Str, Request, "a header's last (or n-th) comma-separated value",
        "req.hdr(x-list,-2)" => "two", |a, cx| header(a, cx.request()?), |a, cx, n| nth_item(a, cx.request()?, n)
    },
    fetch! { ["req.hdr_cnt", "hdr_cnt"], HEADER, Int, Request, "number of a header's values",
        "req.hdr_cnt(x-list)" => "3", |a, cx| count(a, cx.request()?)
    },
    fetch! { ["req.hdr_ip", "hdr_ip"], HEADER, Addr, Request, "a header's value as an address",
        "req.hdr_ip(x-ip)" => "10.1.2.3", |a, cx| address(&header(a, cx.request()?)?),
        |a, cx, n| nth_address(a, cx.request()?, n)
    },
    fetch! { ["req.hdr_names"], NAME, Str, Request, "all header names, joined",
        "req.hdr_names(;)" => "host;x-list;x-list;x-num;x-ip;cookie", |a, cx| names(a, cx.request()?)
    },
    fetch! { ["req.hdr_val", "hdr_val"], HEADER, Int, Request, "a header's value as a number",
        "req.hdr_val(x-num)" => "42", |a, cx| header(a, cx.request()?).as_ref().map(number),
        |a, cx, n| nth_item(a, cx.request()?, n).as_ref().map(number)
    },
    fetch! { ["req.hdrs"], NONE, Bin, Request, "all headers, a line each",
        "req.hdrs,length" => "112", |_, cx| all(cx.request()?)
    },
    fetch! { ["req.hdrs_bin"], NONE, Bin, Request, "all headers, as lengths and bytes",
        "req.hdrs_bin,bytes(0,5)" => "\u{4}host", |_, cx| all_binary(cx.request()?)
    },
    fetch! { ["req.ver", "req_ver"], NONE, Str, Request, "the version, such as 1.1",
        "req.ver" => "1.1", |_, cx| version(cx.request()?)
    },
    fetch! { ["url"], NONE, Str, Request, "the request target as it is",
        "url" => "/Static/Logo.png?a=1&b=%20x", |_, cx| Some(Sample::str(cx.request()?.target()))
    },
    fetch! { ["url32"], NONE, Int, Request, "the hash of Host and target (SDBM, avalanched)",
        "url32" => "254327653", |_, cx| int(hashed(&base(cx.request()?, Head::target)))
    },
    fetch! { ["url32+src"], NONE, Bin, Request, "url32 and the client's address",
        "url32+src,hex,bytes(8)" => "C0000207", |_, cx| with_source(hashed(&base(cx.request()?, Head::target)), cx)
    },
    fetch! { ["url_ip"], NONE, Addr, Request, "the address in an absolute target",
        "url_ip" => "", |_, cx| {
            let authority = uri::authority(cx.request()?.target(), false)?;
            Sample::str(uri::split_port(authority).0).to_ip().map(Sample::ip)
        }
    },
    fetch! { ["url_param", "urlp"], PARAM, Str, Request, "a query parameter's value",
        "url_param(b)" => "%20x", |a, cx| param(a, 2, query(a, cx.request()?)?, 0),
        |a, cx, n| param(a, 2, query(a, cx.request()?)?, n)
    },
    fetch! { ["url_port"], NONE, Int, Request, "the port in an absolute target",
        "url_port" => "", |_, cx| {
            let authority = uri::authority(cx.request()?.target(), false)?;
            let port = uri::split_port(authority).1.and_then(|p| Sample::str(p).to_int());
            int(port.unwrap_or(80))
        }
    },
    fetch! { ["urlp_val"], PARAM, Int, Request, "a query parameter's value as a number",
        "urlp_val(a)" => "1", |a, cx| param(a, 2, query(a, cx.request()?)?, 0).as_ref().map(number),
        |a, cx, n| param(a, 2, query(a, cx.request()?)?, n).as_ref().map(number)
    },
];

/// The message that rules are about now.
fn message<'c>(cx: &'c Ctx<'_>) -> Option<&'c Head> {
    cx.response().or(cx.request())
}

fn there(bytes: &[u8]) -> Option<Sample<'_>> {
    (!bytes.is_empty()).then(|| Sample::str(bytes))
}

/// The path: `*` is none.
fn path(head: &Head) -> &[u8] {
    let path = head.path();
    if path == b"*" { b"" } else { path }
}

/// Path and query: `*` is none.
fn pathq(head: &Head) -> &[u8] {
    let pathq = uri::path_and_query(head.target());
    if pathq == b"*" { b"" } else { pathq }
}

/// Host, and a part of the target behind it.
fn base(head: &Head, part: impl Fn(&Head) -> &[u8]) -> Vec<u8> {
    let mut base = head.get(b"host").unwrap_or_default().to_vec();
    base.extend_from_slice(part(head));
    base
}

fn hashed(bytes: &[u8]) -> u32 {
    avalanche(sdbm(bytes))
}

fn with_source<'s>(hash: u32, cx: &Ctx<'_>) -> Option<Sample<'s>> {
    let mut out = hash.to_be_bytes().to_vec();
    match cx.src()?.ip().to_canonical() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    Some(Sample::Bin(Cow::Owned(out)))
}

/// Scheme and credentials of an Authorization line.
fn credentials<'s>(head: &'s Head, name: &[u8]) -> Option<(&'s [u8], &'s [u8])> {
    let line = head.get(name)?;
    let space = line.iter().position(|b| *b == b' ')?;
    Some((line.get(..space)?, line.get(space..)?.trim_ascii()))
}

/// User and password of `Basic` (RFC 7617).
fn basic(head: &Head) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, code) = credentials(head, b"authorization")?;
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(code)
        .ok()?;
    let colon = decoded.iter().position(|b| *b == b':')?;
    Some((
        decoded.get(..colon)?.to_vec(),
        decoded.get(colon + 1..)?.to_vec(),
    ))
}

/// The values of a cookie; of all without a name.
fn cookies<'s>(args: &'s [Arg], head: &'s Head) -> impl Iterator<Item = &'s [u8]> {
    let wanted = args.text(0);
    let pairs = head.known(http::Known::Cookie).flat_map(cookie::pairs);
    let pairs = pairs.filter(move |(name, _)| wanted.is_none_or(|w| w == *name));
    pairs.map(|(_, value)| value)
}

/// Where parameters are looked for: behind the delimiter in the target.
fn query<'s>(args: &[Arg], head: &'s Head) -> Option<&'s [u8]> {
    let target = head.target();
    let delimiter = *args.text(1).and_then(|t| t.first()).unwrap_or(&b'?');
    target.get(target.iter().position(|b| *b == delimiter)? + 1..)
}

/// The n-th value of a parameter; any parameter without a name. The argument at `fold` says
/// whether the name's case counts.
fn param<'s>(args: &'s [Arg], fold: usize, query: &'s [u8], n: usize) -> Option<Sample<'s>> {
    let fold = args.text(fold).is_some();
    let wanted = args.text(0);
    let same = |w: &[u8], name: &[u8]| w == name || (fold && w.eq_ignore_ascii_case(name));
    let mut found =
        uri::params(query, b'&').filter(|(name, _)| wanted.is_none_or(|w| same(w, name)));
    found.nth(n).map(|(_, value)| Sample::str(value))
}
