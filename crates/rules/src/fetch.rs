//! The table of sample fetches (manual section 7.3).

use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, NONE, args};
use crate::{Ctx, Sample, Type};
use http::{Head, cookie, uri};
use std::borrow::Cow;
use std::net::SocketAddr;

type Eval = for<'s> fn(&'s [Arg], &'s Ctx<'_>) -> Option<Sample<'s>>;
type EvalNth = for<'s> fn(&'s [Arg], &'s Ctx<'_>, usize) -> Option<Sample<'s>>;

/// One fetch.
pub struct FetchDef {
    /// Its names; the first is the one to teach.
    pub names: &'static [&'static str],
    /// Its arguments.
    pub args: ArgSpec,
    /// The type of its value.
    pub output: Type,
    /// Where its value comes from.
    pub layer: Layer,
    /// One line.
    pub doc: &'static str,
    /// The value.
    pub eval: Eval,
    /// The n-th value, where an ACL looks at several.
    pub each: Option<EvalNth>,
}

/// Where a value comes from, and so from when on it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Layer {
    Internal,
    Connection,
    Tls,
    Request,
    Response,
}

impl std::fmt::Debug for FetchDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.names.first().unwrap_or(&""))
    }
}

/// Fetches that ACLs also know by a name with the match in it, such as `path_beg` (manual 7.3.6).
const ACL_BASES: &[(&str, &str)] = &[
    ("base", "base"),
    ("cook", "req.cook"),
    ("hdr", "req.hdr"),
    ("path", "path"),
    ("pathq", "pathq"),
    ("query", "query"),
    ("req.cook", "req.cook"),
    ("req.hdr", "req.hdr"),
    ("res.cook", "res.cook"),
    ("res.hdr", "res.hdr"),
    ("scook", "res.cook"),
    ("shdr", "res.hdr"),
    ("url", "url"),
    ("urlp", "url_param"),
    ("url_param", "url_param"),
];

const ACL_SUFFIXES: &[&str] = &["beg", "dir", "dom", "end", "len", "reg", "sub"];

/// The fetch and match of an ACL name such as `hdr_dom`.
pub fn acl_alias(name: &str) -> Option<(&'static str, &str)> {
    let (base, suffix) = name.rsplit_once('_')?;
    let suffix = ACL_SUFFIXES.iter().find(|s| **s == suffix)?;
    ACL_BASES
        .iter()
        .find(|(b, _)| *b == base)
        .map(|(_, fetch)| (*fetch, *suffix))
}

/// Every name with a match in it, for documentation.
pub fn acl_names() -> impl Iterator<Item = String> {
    ACL_BASES
        .iter()
        .flat_map(|(b, _)| ACL_SUFFIXES.iter().map(move |s| format!("{b}_{s}")))
}

macro_rules! fetch {
    ($names:expr, $args:expr, $out:ident, $layer:ident, $doc:literal, $eval:expr) => {
        FetchDef {
            names: &$names,
            args: $args,
            output: Type::$out,
            layer: Layer::$layer,
            doc: $doc,
            eval: $eval,
            each: None,
        }
    };
    ($names:expr, $args:expr, $out:ident, $layer:ident, $doc:literal, $eval:expr, $each:expr) => {
        FetchDef {
            names: &$names,
            args: $args,
            output: Type::$out,
            layer: Layer::$layer,
            doc: $doc,
            eval: $eval,
            each: Some($each),
        }
    };
}

const NAME: ArgSpec = args(&[Str], 1);
const MAYBE_NAME: ArgSpec = args(&[Str], 0);
const HEADER: ArgSpec = args(&[Str, Int], 0);
const PARAM: ArgSpec = args(&[Str, Str, Str], 0);

/// All fetches.
pub static FETCHES: &[FetchDef] = &[
    // Internal states
    fetch!(["always_true"], NONE, Bool, Internal, "true", |_, _| Some(
        Sample::Bool(true)
    )),
    fetch!(
        ["always_false"],
        NONE,
        Bool,
        Internal,
        "false",
        |_, _| Some(Sample::Bool(false))
    ),
    fetch!(["str"], NAME, Str, Internal, "the given string", |a, _| a
        .text(0)
        .map(Sample::str)),
    fetch!(
        ["int"],
        args(&[Int], 1),
        Int,
        Internal,
        "the given number",
        |a, _| a.int(0).map(Sample::Int)
    ),
    fetch!(
        ["bool"],
        NAME,
        Bool,
        Internal,
        "the given boolean",
        |a, _| Some(Sample::Bool(matches!(a.text(0)?, b"true" | b"1")))
    ),
    fetch!(
        ["bin"],
        NAME,
        Bin,
        Internal,
        "the bytes of the given hexadecimal digits",
        |a, _| { crate::pattern::unhex(a.text(0)?).map(|b| Sample::Bin(Cow::Owned(b))) }
    ),
    fetch!(
        ["ipv4"],
        NAME,
        Addr,
        Internal,
        "the given IPv4 address",
        |a, _| Sample::str(a.text(0)?).to_ip().map(Sample::ip)
    ),
    fetch!(
        ["ipv6"],
        NAME,
        Addr,
        Internal,
        "the given IPv6 address",
        |a, _| Sample::str(a.text(0)?).to_ip().map(Sample::ip)
    ),
    fetch!(
        ["meth"],
        NAME,
        Method,
        Internal,
        "the given method",
        |a, _| Some(Sample::Method(Cow::Borrowed(a.text(0)?)))
    ),
    fetch!(
        ["var"],
        args(&[Var, Str], 1),
        Any,
        Internal,
        "a variable",
        |a, cx| match cx.vars.borrow().get(a.var(0)?) {
            Some(value) => Some(value.clone()),
            None => a.text(1).map(Sample::str),
        }
    ),
    fetch!(
        ["env"],
        NAME,
        Str,
        Internal,
        "an environment variable",
        |a, cx| {
            cx.facts
                .env(std::str::from_utf8(a.text(0)?).ok()?)
                .map(Sample::owned)
        }
    ),
    fetch!(
        ["rand"],
        args(&[Int], 0),
        Int,
        Internal,
        "a random number below the given one (2^32)",
        |a, cx| {
            let range = a.int(0).filter(|r| *r > 0).unwrap_or(1 << 32) as u64;
            Some(Sample::Int(
                ((u128::from(cx.random()) * u128::from(range)) >> 64) as i64,
            ))
        }
    ),
    fetch!(
        ["date"],
        args(&[Int, Str], 0),
        Int,
        Internal,
        "seconds (or ms, us) since 1970, shifted",
        |a, cx| {
            let offset = a.int(0).unwrap_or(0);
            Some(Sample::Int(match a.text(1) {
                Some(b"ms") => cx.now.secs * 1000 + i64::from(cx.now.micros / 1000) + offset,
                Some(b"us") => cx.now.secs * 1_000_000 + i64::from(cx.now.micros) + offset,
                _ => cx.now.secs + offset,
            }))
        }
    ),
    fetch!(
        ["date_us"],
        NONE,
        Int,
        Internal,
        "microseconds of the current second",
        |_, cx| Some(Sample::Int(i64::from(cx.now.micros)))
    ),
    fetch!(
        ["hostname"],
        NONE,
        Str,
        Internal,
        "this machine's name",
        |_, cx| Some(Sample::str(cx.facts.hostname().as_bytes()))
    ),
    fetch!(
        ["nbthread"],
        NONE,
        Int,
        Internal,
        "number of workers",
        |_, cx| Some(Sample::Int(cx.facts.nbthread()))
    ),
    fetch!(
        ["nbproc"],
        NONE,
        Int,
        Internal,
        "number of processes: 1",
        |_, _| Some(Sample::Int(1))
    ),
    fetch!(
        ["act_conn"],
        NONE,
        Int,
        Internal,
        "connections of the process",
        |_, cx| Some(Sample::Int(cx.facts.act_conn()))
    ),
    fetch!(
        ["nbsrv"],
        MAYBE_NAME,
        Int,
        Internal,
        "usable servers of a backend",
        |a, cx| cx.facts.nbsrv(backend(a, cx)?).map(Sample::Int)
    ),
    fetch!(
        ["be_conn"],
        MAYBE_NAME,
        Int,
        Internal,
        "sessions of a backend",
        |a, cx| cx.facts.be_conn(backend(a, cx)?).map(Sample::Int)
    ),
    fetch!(
        ["queue"],
        MAYBE_NAME,
        Int,
        Internal,
        "requests waiting in a backend",
        |a, cx| cx.facts.queue(backend(a, cx)?).map(Sample::Int)
    ),
    fetch!(
        ["avg_queue"],
        MAYBE_NAME,
        Int,
        Internal,
        "requests waiting per usable server",
        |a, cx| {
            let name = backend(a, cx)?;
            let (queued, servers) = (cx.facts.queue(name)?, cx.facts.nbsrv(name)?);
            Some(Sample::Int(if servers > 0 {
                (queued + servers - 1) / servers
            } else {
                queued * 2
            }))
        }
    ),
    fetch!(
        ["connslots"],
        MAYBE_NAME,
        Int,
        Internal,
        "free places of a backend's servers",
        |a, cx| cx.facts.connslots(backend(a, cx)?).map(Sample::Int)
    ),
    fetch!(
        ["be_sess_rate"],
        MAYBE_NAME,
        Int,
        Internal,
        "new sessions a second of a backend",
        |a, cx| cx.facts.be_sess_rate(backend(a, cx)?).map(Sample::Int)
    ),
    fetch!(
        ["fe_conn"],
        MAYBE_NAME,
        Int,
        Internal,
        "sessions of a frontend",
        |a, cx| cx.facts.fe_conn(frontend(a, cx)?).map(Sample::Int)
    ),
    fetch!(
        ["fe_sess_rate"],
        MAYBE_NAME,
        Int,
        Internal,
        "new sessions a second of a frontend",
        |a, cx| cx.facts.fe_sess_rate(frontend(a, cx)?).map(Sample::Int)
    ),
    fetch!(
        ["fe_req_rate"],
        MAYBE_NAME,
        Int,
        Internal,
        "requests a second of a frontend",
        |a, cx| cx.facts.fe_req_rate(frontend(a, cx)?).map(Sample::Int)
    ),
    fetch!(
        ["srv_conn"],
        NAME,
        Int,
        Internal,
        "sessions of [backend/]server",
        |a, cx| {
            let (b, s) = server(a, cx)?;
            cx.facts.srv_conn(b, s).map(Sample::Int)
        }
    ),
    fetch!(
        ["srv_is_up"],
        NAME,
        Bool,
        Internal,
        "whether [backend/]server is usable",
        |a, cx| {
            let (b, s) = server(a, cx)?;
            cx.facts.srv_is_up(b, s).map(Sample::Bool)
        }
    ),
    fetch!(
        ["srv_queue"],
        NAME,
        Int,
        Internal,
        "requests waiting for [backend/]server",
        |a, cx| {
            let (b, s) = server(a, cx)?;
            cx.facts.srv_queue(b, s).map(Sample::Int)
        }
    ),
    fetch!(
        ["srv_weight"],
        NAME,
        Int,
        Internal,
        "weight of [backend/]server",
        |a, cx| {
            let (b, s) = server(a, cx)?;
            cx.facts.srv_weight(b, s).map(Sample::Int)
        }
    ),
    fetch!(
        ["be_name"],
        NONE,
        Str,
        Internal,
        "the backend's name",
        |_, cx| cx
            .stream
            .backend
            .as_deref()
            .map(|b| Sample::str(b.as_bytes()))
    ),
    fetch!(
        ["be_id"],
        NONE,
        Int,
        Internal,
        "the backend's number",
        |_, cx| cx
            .stream
            .backend
            .as_ref()
            .map(|_| Sample::Int(cx.stream.backend_id.into()))
    ),
    fetch!(
        ["srv_name"],
        NONE,
        Str,
        Internal,
        "the server's name",
        |_, cx| cx
            .stream
            .server
            .as_deref()
            .map(|s| Sample::str(s.as_bytes()))
    ),
    fetch!(
        ["srv_id"],
        NONE,
        Int,
        Internal,
        "the server's number",
        |_, cx| cx
            .stream
            .server
            .as_ref()
            .map(|_| Sample::Int(cx.stream.server_id.into()))
    ),
    fetch!(
        ["uuid"],
        args(&[Int], 0),
        Str,
        Internal,
        "a random UUID (RFC 9562 version 4)",
        |_, cx| {
            let (a, b) = (cx.random(), cx.random());
            let a = (a & 0xffff_ffff_ffff_0fff) | 0x4000;
            let b = (b & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
            Some(Sample::owned(format!(
                "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                a >> 32,
                (a >> 16) & 0xffff,
                a & 0xffff,
                b >> 48,
                b & 0xffff_ffff_ffff
            )))
        }
    ),
    // Connection
    fetch!(
        ["src"],
        NONE,
        Addr,
        Connection,
        "the client's address",
        |_, cx| cx.session.src.map(|a| Sample::ip(a.ip().to_canonical()))
    ),
    fetch!(
        ["src_port"],
        NONE,
        Int,
        Connection,
        "the client's port",
        |_, cx| port(cx.session.src)
    ),
    fetch!(
        ["dst"],
        NONE,
        Addr,
        Connection,
        "the address the client connected to",
        |_, cx| cx.session.dst.map(|a| Sample::ip(a.ip().to_canonical()))
    ),
    fetch!(
        ["dst_port"],
        NONE,
        Int,
        Connection,
        "the port the client connected to",
        |_, cx| port(cx.session.dst)
    ),
    fetch!(
        ["fe_name"],
        NONE,
        Str,
        Connection,
        "the frontend's name",
        |_, cx| Some(Sample::str(cx.session.frontend.as_bytes()))
    ),
    fetch!(
        ["fe_id"],
        NONE,
        Int,
        Connection,
        "the frontend's number",
        |_, cx| Some(Sample::Int(cx.session.frontend_id.into()))
    ),
    fetch!(
        ["so_id"],
        NONE,
        Int,
        Connection,
        "the listener's number",
        |_, cx| Some(Sample::Int(cx.session.listener_id.into()))
    ),
    fetch!(
        ["so_name"],
        NONE,
        Str,
        Connection,
        "the listener's name",
        |_, cx| Some(Sample::str(cx.session.listener.as_bytes()))
    ),
    // TLS
    fetch!(
        ["ssl_fc"],
        NONE,
        Bool,
        Tls,
        "whether the client speaks TLS",
        |_, cx| Some(Sample::Bool(cx.session.tls.is_some()))
    ),
    fetch!(
        ["ssl_fc_sni"],
        NONE,
        Str,
        Tls,
        "the server name the client asked for",
        |_, cx| Some(Sample::str(
            cx.session.tls.as_ref()?.sni.as_ref()?.as_bytes()
        ))
    ),
    fetch!(
        ["ssl_fc_has_sni"],
        NONE,
        Bool,
        Tls,
        "whether the client asked for a server name",
        |_, cx| Some(Sample::Bool(
            cx.session.tls.as_ref().is_some_and(|t| t.sni.is_some())
        ))
    ),
    fetch!(
        ["ssl_fc_protocol"],
        NONE,
        Str,
        Tls,
        "the TLS version",
        |_, cx| Some(Sample::str(cx.session.tls.as_ref()?.version.as_bytes()))
    ),
    fetch!(
        ["ssl_fc_cipher"],
        NONE,
        Str,
        Tls,
        "the cipher suite",
        |_, cx| Some(Sample::str(cx.session.tls.as_ref()?.cipher.as_bytes()))
    ),
    fetch!(
        ["ssl_fc_alpn"],
        NONE,
        Str,
        Tls,
        "the protocol agreed on by ALPN",
        |_, cx| Some(Sample::str(
            cx.session.tls.as_ref()?.alpn.as_ref()?.as_bytes()
        ))
    ),
    fetch!(
        ["ssl_fc_is_resumed"],
        NONE,
        Bool,
        Tls,
        "whether the TLS session was resumed",
        |_, cx| Some(Sample::Bool(
            cx.session.tls.as_ref().is_some_and(|t| t.resumed)
        ))
    ),
    fetch!(
        ["ssl_c_used"],
        NONE,
        Bool,
        Tls,
        "whether the client showed a certificate",
        |_, cx| Some(Sample::Bool(
            cx.session
                .tls
                .as_ref()
                .is_some_and(|t| t.peer_certificate.is_some())
        ))
    ),
    fetch!(
        ["ssl_c_verify"],
        NONE,
        Int,
        Tls,
        "the result of checking it, 0 is good",
        |_, cx| Some(Sample::Int(cx.session.tls.as_ref()?.verify.into()))
    ),
    fetch!(
        ["ssl_c_der"],
        NONE,
        Bin,
        Tls,
        "the client's certificate",
        |_, cx| Some(Sample::Bin(Cow::Borrowed(
            cx.session.tls.as_ref()?.peer_certificate.as_deref()?
        )))
    ),
    // Request
    fetch!(["method"], NONE, Method, Request, "the method", |_, cx| {
        Some(Sample::Method(Cow::Borrowed(cx.request()?.method())))
    }),
    fetch!(
        ["path"],
        NONE,
        Str,
        Request,
        "the path, without query",
        |_, cx| text(cx.request()?.path())
    ),
    fetch!(["pathq"], NONE, Str, Request, "path and query", |_, cx| {
        text(uri::path_and_query(cx.request()?.target()))
    }),
    fetch!(
        ["query"],
        NONE,
        Str,
        Request,
        "what follows the first '?'",
        |_, cx| Some(Sample::str(cx.request()?.query().unwrap_or_default()))
    ),
    fetch!(
        ["url"],
        NONE,
        Str,
        Request,
        "the request target as it is",
        |_, cx| Some(Sample::str(cx.request()?.target()))
    ),
    fetch!(
        ["base"],
        NONE,
        Str,
        Request,
        "Host and path together",
        |_, cx| {
            let head = cx.request()?;
            let mut base = head.get(b"host").unwrap_or_default().to_vec();
            base.extend_from_slice(head.path());
            Some(Sample::owned(base))
        }
    ),
    fetch!(
        ["url_ip"],
        NONE,
        Addr,
        Request,
        "the address in an absolute target",
        |_, cx| {
            let authority = uri::authority(cx.request()?.target(), false)?;
            Sample::str(uri::split_port(authority).0)
                .to_ip()
                .map(Sample::ip)
        }
    ),
    fetch!(
        ["url_port"],
        NONE,
        Int,
        Request,
        "the port in an absolute target",
        |_, cx| {
            let authority = uri::authority(cx.request()?.target(), false)?;
            Some(Sample::Int(
                uri::split_port(authority)
                    .1
                    .and_then(|p| Sample::str(p).to_int())
                    .unwrap_or(80),
            ))
        }
    ),
    fetch!(
        ["req.ver", "req_ver"],
        NONE,
        Str,
        Request,
        "the version, such as 1.1",
        |_, cx| version(cx.request()?)
    ),
    fetch!(
        ["http_auth"],
        args(&[Str], 1),
        Bool,
        Request,
        "whether a userlist has the user and password of the request",
        |a, cx| Some(Sample::Bool(
            crate::userlist::groups(a.text(0), cx).is_some()
        ))
    ),
    fetch!(
        ["http_auth_group"],
        args(&[Str], 1),
        Str,
        Request,
        "the groups of the user of the request, once proven",
        |a, cx| Some(Sample::str(
            crate::userlist::groups(a.text(0), cx)?.first()?.as_bytes()
        )),
        |a, cx, n| Some(Sample::str(
            crate::userlist::groups(a.text(0), cx)?.get(n)?.as_bytes()
        ))
    ),
    fetch!(
        ["req.hdr", "hdr"],
        HEADER,
        Str,
        Request,
        "a header's last (or n-th) comma-separated value",
        |a, cx| header(a, cx.request()?),
        |a, cx, n| nth_item(a, cx.request()?, n)
    ),
    fetch!(
        ["req.fhdr"],
        HEADER,
        Str,
        Request,
        "a header's last (or n-th) whole line",
        |a, cx| full_header(a, cx.request()?),
        |a, cx, n| nth_line(a, cx.request()?, n)
    ),
    fetch!(
        ["req.hdr_cnt", "hdr_cnt"],
        HEADER,
        Int,
        Request,
        "number of a header's values",
        |a, cx| count(a, cx.request()?)
    ),
    fetch!(
        ["req.fhdr_cnt"],
        HEADER,
        Int,
        Request,
        "number of a header's lines",
        |a, cx| count_lines(a, cx.request()?)
    ),
    fetch!(
        ["req.hdr_ip", "hdr_ip"],
        HEADER,
        Addr,
        Request,
        "a header's value as an address",
        |a, cx| header(a, cx.request()?).as_ref().and_then(address),
        |a, cx, n| nth_item(a, cx.request()?, n).map(|s| address(&s).unwrap_or(Sample::str(b"")))
    ),
    fetch!(
        ["req.hdr_val", "hdr_val"],
        HEADER,
        Int,
        Request,
        "a header's value as a number",
        |a, cx| header(a, cx.request()?)?.to_int().map(Sample::Int),
        |a, cx, n| nth_item(a, cx.request()?, n)
            .map(|s| s.to_int().map_or(Sample::str(b""), Sample::Int))
    ),
    fetch!(
        ["req.hdr_names"],
        MAYBE_NAME,
        Str,
        Request,
        "all header names, joined",
        |a, cx| names(a, cx.request()?)
    ),
    fetch!(
        ["req.hdrs"],
        NONE,
        Str,
        Request,
        "all headers, a line each",
        |_, cx| Some(all_headers(cx.request()?))
    ),
    fetch!(
        ["req.cook", "cook", "cookie"],
        MAYBE_NAME,
        Str,
        Request,
        "a cookie's value",
        |a, cx| request_cookie(a, cx.request()?, 0),
        |a, cx, n| request_cookie(a, cx.request()?, n)
    ),
    fetch!(
        ["req.cook_cnt", "cook_cnt"],
        MAYBE_NAME,
        Int,
        Request,
        "how often a cookie comes",
        |a, cx| Some(Sample::Int(
            (0..)
                .take_while(|n| request_cookie(a, cx.request().unwrap_or(&EMPTY), *n).is_some())
                .count() as i64
        ))
    ),
    fetch!(
        ["req.cook_val", "cook_val"],
        MAYBE_NAME,
        Int,
        Request,
        "a cookie's value as a number",
        |a, cx| request_cookie(a, cx.request()?, 0)?
            .to_int()
            .map(Sample::Int)
    ),
    fetch!(
        ["url_param", "urlp"],
        PARAM,
        Str,
        Request,
        "a query parameter's value",
        |a, cx| parameter(a, cx.request()?, 0),
        |a, cx, n| parameter(a, cx.request()?, n)
    ),
    fetch!(
        ["urlp_val"],
        PARAM,
        Int,
        Request,
        "a query parameter's value as a number",
        |a, cx| parameter(a, cx.request()?, 0)?.to_int().map(Sample::Int)
    ),
    fetch!(
        ["req.body"],
        NONE,
        Bin,
        Request,
        "the body as far as it was waited for",
        |_, cx| Some(Sample::Bin(Cow::Borrowed(cx.req_body)))
    ),
    fetch!(
        ["req.body_len"],
        NONE,
        Int,
        Request,
        "its length",
        |_, cx| Some(Sample::Int(cx.req_body.len() as i64))
    ),
    fetch!(
        ["req.body_size"],
        NONE,
        Int,
        Request,
        "the length that Content-Length announces",
        |_, cx| {
            Some(Sample::Int(
                cx.request()?
                    .get(b"content-length")
                    .and_then(|v| Sample::str(v).to_int())
                    .unwrap_or(cx.req_body.len() as i64),
            ))
        }
    ),
    fetch!(
        ["req.body_param"],
        MAYBE_NAME,
        Str,
        Request,
        "a parameter of a form in the body",
        |a, cx| { uri::query_param_raw(cx.req_body, a.text(0)?, b'&').map(Sample::str) }
    ),
    fetch!(
        ["unique-id"],
        NONE,
        Str,
        Request,
        "the request's unique ID",
        |_, cx| cx.stream.unique_id.as_deref().map(Sample::str)
    ),
    // Bytes on a connection that is only passed on
    fetch!(
        ["wait_end"],
        NONE,
        Bool,
        Internal,
        "true once tcp-request inspect-delay is over",
        |_, cx| Some(Sample::Bool(!cx.stream.inspection.wait()))
    ),
    fetch!(
        ["req.len", "req_len"],
        NONE,
        Int,
        Request,
        "bytes that have come and are not passed on yet",
        |_, cx| {
            cx.stream.inspection.wait();
            Some(Sample::Int(cx.req_body.len() as i64))
        }
    ),
    fetch!(
        ["req.payload", "payload"],
        args(&[Int, Int], 2),
        Bin,
        Request,
        "so many of these bytes from an offset on; 0 is all",
        payload
    ),
    fetch!(
        ["req.proto_http", "req_proto_http"],
        NONE,
        Bool,
        Request,
        "whether they are a request of HTTP/1",
        proto_http
    ),
    fetch!(
        ["req.ssl_hello_type", "req_ssl_hello_type"],
        NONE,
        Int,
        Request,
        "1 when they are a client's hello of TLS",
        |_, cx| hello(cx).map(|_| Sample::Int(1))
    ),
    fetch!(
        ["req.ssl_sni", "req_ssl_sni"],
        NONE,
        Str,
        Request,
        "the server name in that hello",
        |_, cx| hello(cx)?.server_name.map(Sample::str)
    ),
    fetch!(
        ["req.ssl_alpn"],
        NONE,
        Str,
        Request,
        "the first protocol of ALPN in that hello",
        |_, cx| hello(cx)?.protocol.map(Sample::str)
    ),
    // Response
    fetch!(
        ["status"],
        NONE,
        Int,
        Response,
        "the response's status code",
        |_, cx| Some(Sample::Int(cx.response()?.status().into()))
    ),
    fetch!(
        ["res.ver", "resp_ver"],
        NONE,
        Str,
        Response,
        "the response's version",
        |_, cx| version(cx.response()?)
    ),
    fetch!(
        ["res.hdr", "shdr"],
        HEADER,
        Str,
        Response,
        "a header's last (or n-th) comma-separated value",
        |a, cx| header(a, cx.response()?),
        |a, cx, n| nth_item(a, cx.response()?, n)
    ),
    fetch!(
        ["res.fhdr"],
        HEADER,
        Str,
        Response,
        "a header's last (or n-th) whole line",
        |a, cx| full_header(a, cx.response()?),
        |a, cx, n| nth_line(a, cx.response()?, n)
    ),
    fetch!(
        ["res.hdr_cnt", "shdr_cnt"],
        HEADER,
        Int,
        Response,
        "number of a header's values",
        |a, cx| count(a, cx.response()?)
    ),
    fetch!(
        ["res.fhdr_cnt"],
        HEADER,
        Int,
        Response,
        "number of a header's lines",
        |a, cx| count_lines(a, cx.response()?)
    ),
    fetch!(
        ["res.hdr_ip", "shdr_ip"],
        HEADER,
        Addr,
        Response,
        "a header's value as an address",
        |a, cx| header(a, cx.response()?).as_ref().and_then(address)
    ),
    fetch!(
        ["res.hdr_val", "shdr_val"],
        HEADER,
        Int,
        Response,
        "a header's value as a number",
        |a, cx| header(a, cx.response()?)?.to_int().map(Sample::Int)
    ),
    fetch!(
        ["res.hdr_names"],
        MAYBE_NAME,
        Str,
        Response,
        "all header names, joined",
        |a, cx| names(a, cx.response()?)
    ),
    fetch!(
        ["res.hdrs"],
        NONE,
        Str,
        Response,
        "all headers, a line each",
        |_, cx| Some(all_headers(cx.response()?))
    ),
    fetch!(
        ["res.cook", "scook"],
        MAYBE_NAME,
        Str,
        Response,
        "a cookie that the server sets",
        |a, cx| response_cookie(a, cx.response()?)
    ),
];

static EMPTY: std::sync::LazyLock<Head> = std::sync::LazyLock::new(Head::default);

fn text(bytes: &[u8]) -> Option<Sample<'_>> {
    (!bytes.is_empty()).then(|| Sample::str(bytes))
}

fn port<'s>(address: Option<SocketAddr>) -> Option<Sample<'s>> {
    address.map(|a| Sample::Int(a.port().into()))
}

fn name_arg(args: &[Arg]) -> Option<&str> {
    args.text(0)
        .and_then(|t| std::str::from_utf8(t).ok())
        .filter(|t| !t.is_empty())
}

fn backend<'s>(args: &'s [Arg], cx: &'s Ctx<'_>) -> Option<&'s str> {
    name_arg(args).or(cx.stream.backend.as_deref())
}

fn frontend<'s>(args: &'s [Arg], cx: &'s Ctx<'_>) -> Option<&'s str> {
    name_arg(args).or(Some(&cx.session.frontend))
}

fn server<'s>(args: &'s [Arg], cx: &'s Ctx<'_>) -> Option<(&'s str, &'s str)> {
    let name = name_arg(args)?;
    match name.split_once('/') {
        Some(pair) => Some(pair),
        None => cx.stream.backend.as_deref().map(|b| (b, name)),
    }
}

fn version<'s>(head: &Head) -> Option<Sample<'s>> {
    head.version()
        .as_str()
        .strip_prefix("HTTP/")
        .map(|v| Sample::str(v.as_bytes()))
}

/// The value at `occurrence`: 1 is the first, -1 the last; without one, the last.
fn pick<'s>(
    mut values: impl Iterator<Item = &'s [u8]>,
    occurrence: Option<i64>,
) -> Option<Sample<'s>> {
    match occurrence.unwrap_or(-1) {
        -1 | 0 => values.last(),
        n if n > 0 => values.nth(usize::try_from(n).ok()? - 1),
        n => {
            let all: Vec<_> = values.collect();
            all.len()
                .checked_sub(usize::try_from(n.unsigned_abs()).ok()?)
                .and_then(|i| all.get(i).copied())
        }
    }
    .map(Sample::str)
}

fn header<'s>(args: &'s [Arg], head: &'s Head) -> Option<Sample<'s>> {
    pick(head.items(args.text(0)?), args.int(1))
}

fn full_header<'s>(args: &'s [Arg], head: &'s Head) -> Option<Sample<'s>> {
    pick(head.values(args.text(0)?), args.int(1))
}

fn nth_item<'s>(args: &'s [Arg], head: &'s Head, n: usize) -> Option<Sample<'s>> {
    if args.int(1).is_some() {
        return if n == 0 { header(args, head) } else { None };
    }
    let name = args.text(0)?;
    // A header that is there but empty still is a value.
    head.items(name)
        .nth(n)
        .map(Sample::str)
        .or_else(|| (n == 0 && head.get(name).is_some()).then(|| Sample::str(b"")))
}

fn nth_line<'s>(args: &'s [Arg], head: &'s Head, n: usize) -> Option<Sample<'s>> {
    if args.int(1).is_some() {
        return if n == 0 {
            full_header(args, head)
        } else {
            None
        };
    }
    head.values(args.text(0)?).nth(n).map(Sample::str)
}

fn count<'s>(args: &[Arg], head: &Head) -> Option<Sample<'s>> {
    let n = match args.text(0) {
        Some(name) => head.items(name).count(),
        None => head.count(),
    };
    Some(Sample::Int(n as i64))
}

fn count_lines<'s>(args: &[Arg], head: &Head) -> Option<Sample<'s>> {
    let n = match args.text(0) {
        Some(name) => head.values(name).count(),
        None => head.count(),
    };
    Some(Sample::Int(n as i64))
}

/// An address, with or without port and brackets.
fn address<'s>(sample: &Sample<'_>) -> Option<Sample<'s>> {
    let bytes = sample.to_bytes();
    let plain = Sample::str(&bytes).to_ip();
    plain
        .or_else(|| {
            let (host, _) = uri::split_port(&bytes);
            let host = host
                .strip_prefix(b"[")
                .and_then(|h| h.strip_suffix(b"]"))
                .unwrap_or(host);
            Sample::str(host).to_ip()
        })
        .map(Sample::ip)
}

fn names<'s>(args: &[Arg], head: &Head) -> Option<Sample<'s>> {
    let delimiter = args.text(0).unwrap_or(b",");
    let mut out = Vec::new();
    for (i, (name, _)) in head.fields().enumerate() {
        if i > 0 {
            out.extend_from_slice(delimiter);
        }
        out.extend(name.to_ascii_lowercase());
    }
    Some(Sample::owned(out))
}

fn all_headers<'s>(head: &Head) -> Sample<'s> {
    let mut out = Vec::new();
    for (name, value) in head.fields() {
        out.extend(name.to_ascii_lowercase());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Sample::owned(out)
}

fn request_cookie<'s>(args: &'s [Arg], head: &'s Head, n: usize) -> Option<Sample<'s>> {
    let wanted = args.text(0);
    head.known(http::Known::Cookie)
        .flat_map(cookie::pairs)
        .filter(|(name, _)| wanted.is_none_or(|w| w == *name))
        .nth(n)
        .map(|(_, value)| Sample::str(value))
}

fn response_cookie<'s>(args: &'s [Arg], head: &'s Head) -> Option<Sample<'s>> {
    let wanted = args.text(0);
    head.known(http::Known::SetCookie)
        .filter_map(cookie::set_pair)
        .find(|(name, _)| wanted.is_none_or(|w| w == *name))
        .map(|(_, value)| Sample::str(value))
}

fn parameter<'s>(args: &'s [Arg], head: &'s Head, n: usize) -> Option<Sample<'s>> {
    let query = match args.text(1).and_then(|t| t.first()) {
        Some(delimiter) => {
            let target = head.target();
            target.get(memchr_byte(target, *delimiter)? + 1..)?
        }
        None => head.query()?,
    };
    let fold = args.text(2) == Some(b"i");
    let wanted = args.text(0);
    uri::params(query, b'&')
        .filter(|(name, _)| {
            wanted.is_none_or(|w| w == *name || (fold && w.eq_ignore_ascii_case(name)))
        })
        .nth(n)
        .map(|(_, value)| Sample::str(value))
}

fn memchr_byte(haystack: &[u8], needle: u8) -> Option<usize> {
    haystack.iter().position(|b| *b == needle)
}

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
        return Some(Sample::Bool(true));
    }
    let mut head = Head::default();
    let parsed =
        http::h1::parse_request(cx.req_body, &http::h1::ParseOptions::default(), &mut head);
    if matches!(parsed, Ok(None)) && cx.stream.inspection.wait() {
        return None;
    }
    Some(Sample::Bool(matches!(parsed, Ok(Some(_)))))
}

/// The hello in the bytes that have come.
fn hello<'s>(cx: &'s Ctx<'_>) -> Option<crate::hello::Hello<'s>> {
    match crate::hello::look(cx.req_body) {
        crate::hello::Seen::Hello(hello) => Some(hello),
        crate::hello::Seen::Part => {
            cx.stream.inspection.wait();
            None
        }
        crate::hello::Seen::Other => None,
    }
}
