//! The response's head on its way to the client.

use crate::account;
use crate::hold::Wait;
use crate::reply::Answer;
use crate::stream::{Halt, Stream};
use crate::termination::{Cause, Phase, Termination};
use http::framing::{self, Body};
use http::{Head, Known, Version};
use model::LogLevel;
use rules::action::{Effects, run};
use rules::{NoTrace, Rule, Verdict};
use std::sync::Arc;
use std::time::Duration;

/// Where in the rules about responses we are.
#[derive(Clone, Copy)]
pub struct Point {
    /// In the frontend's, which come after the backend's.
    frontend: bool,
    rule: usize,
}

/// Applies the rules to the response's head and makes it fit the client's connection. A rule may
/// want to see the body first: then the rest of it is [`resume`].
pub fn judge(stream: &mut Stream<'_>, framed: &framing::Response) -> Result<Option<Wait>, Halt> {
    let Some(head) = stream.response.as_mut() else {
        return Ok(None);
    };
    let upgrade = head.status() == 101;
    let status = head.status();
    stream.status = Some(status);
    stream.info.overrides.server_status.set(Some(status));
    drop_hop_by_hop(head, upgrade);
    if framed.body == Body::UntilClose {
        stream.client_close = true;
    }
    if stream.request.version() == Version::Http10 && head.remove_known(Known::TransferEncoding) > 0
    {
        // HTTP/1.0 has no chunks: the close is the body's end.
        stream.client_close = true;
        stream.down.unchunk = true;
    }
    crate::observe::response(stream, Some(status));
    account::response_judged(stream, status);
    account::server_answered(stream, status);
    account::capture_response(stream);
    stream.client.vars.borrow_mut().begin_response();
    let backend = stream.backend.as_ref().map(|b| Arc::clone(b.proxy()));
    if let Some(proxy) = &backend {
        content_rules(stream, proxy)?;
    }
    let start = Point {
        frontend: false,
        rule: 0,
    };
    resume(stream, framed, start)
}

/// The rules from a point on, and all that comes after them.
pub fn resume(
    stream: &mut Stream<'_>,
    framed: &framing::Response,
    mut from: Point,
) -> Result<Option<Wait>, Halt> {
    let backend = stream.backend.as_ref().map(|b| Arc::clone(b.proxy()));
    let frontend = Arc::clone(stream.frontend.proxy());
    let same = backend.as_ref().is_some_and(|b| Arc::ptr_eq(b, &frontend));
    if !from.frontend {
        if let Some(proxy) = &backend
            && let Some(wait) = response_rules(stream, &proxy.http_response, framed, from)?
        {
            return Ok(Some(wait));
        }
        from = Point {
            frontend: true,
            rule: 0,
        };
    }
    if !same && let Some(wait) = response_rules(stream, &frontend.http_response, framed, from)? {
        return Ok(Some(wait));
    }
    refuse_cacheable(stream)?;
    crate::stick::response(stream);
    crate::persistence::write(stream);
    after_response(stream);
    stream.down.encoder = crate::compress::begin(stream, framed.body);
    if stream.down.encoder.is_some() {
        stream.info.compressed = stream.compression.map(model::CompressionAlgo::token);
    }
    finish_head(stream);
    Ok(None)
}

/// `tcp-response content`. The response is there, so that nothing has to be waited for.
fn content_rules(stream: &mut Stream<'_>, proxy: &model::Proxy) -> Result<(), Halt> {
    let rules = &proxy.tcp_response_content;
    if rules.is_empty() {
        return Ok(());
    }
    let mut effects = Effects::default();
    let verdict = run(rules, 0, &mut ctx!(stream), &mut effects, &mut NoTrace);
    stream.take_effects(effects, true);
    match verdict {
        Verdict::Reject | Verdict::Deny(_) => {
            account::response_denied(stream);
            let ended = Termination::new(Cause::Proxy, Phase::Headers);
            Err(Halt::Silent(ended))
        }
        Verdict::CloseServer => {
            stream.server_close = true;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `option checkcache`: a cookie of the server's must not come to many clients.
fn refuse_cacheable(stream: &mut Stream<'_>) -> Result<(), Halt> {
    let Some(backend) = stream.backend.as_ref().filter(|b| b.side().check_cache) else {
        return Ok(());
    };
    let head = stream.response.as_ref();
    if !head.is_some_and(|head| shares_cookie(stream.request.method(), head)) {
        return Ok(());
    }
    let proxy = backend.proxy();
    let message = format!(
        "Blocking cacheable cookie in response from instance {}, server {}.",
        backend.name,
        stream.info.server.as_deref().unwrap_or("<NOSRV>")
    );
    let (worker, tag) = (stream.worker, proxy.log_tag.as_deref());
    let now = worker.wall(worker.now());
    worker.logs.send(
        &proxy.logs,
        tag,
        LogLevel::Alert,
        now,
        message.as_bytes(),
        b"",
    );
    account::response_denied(stream);
    let ended = Termination::new(Cause::Proxy, Phase::Headers);
    Err(Halt::Answer(Answer::error(502), ended))
}

/// Whether a cache between us and the clients may keep the response with its cookie (manual, `option
/// checkcache`).
fn shares_cookie(method: &[u8], head: &Head) -> bool {
    if head.known(Known::SetCookie).next().is_none() {
        return false;
    }
    if head.has_token(b"pragma", b"no-cache") {
        return false;
    }
    let mut public = false;
    for item in head.items(b"cache-control") {
        let item = item.to_ascii_lowercase();
        match &item[..] {
            b"private" | b"no-store" | b"max-age=0" | b"s-maxage=0" | b"no-cache" => return false,
            item if item.starts_with(b"no-cache=\"set-cookie") => return false,
            b"public" => public = true,
            _ => {}
        }
    }
    let keeps = matches!(
        head.status(),
        200 | 203 | 204 | 206 | 300 | 301 | 404 | 405 | 410 | 414 | 501
    );
    public || keeps && matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE")
}

/// One set of rules; what it wants to wait for.
fn response_rules(
    stream: &mut Stream<'_>,
    rules: &[Rule],
    framed: &framing::Response,
    from: Point,
) -> Result<Option<Wait>, Halt> {
    if rules.is_empty() {
        return Ok(None);
    }
    let mut at = from.rule;
    let verdict = loop {
        let mut effects = Effects::default();
        let verdict = run(rules, at, &mut ctx!(stream), &mut effects, &mut NoTrace);
        stream.take_effects(effects, true);
        let Verdict::WaitForBody {
            time_ms,
            at_least,
            resume,
        } = verdict
        else {
            break verdict;
        };
        let bodyless = matches!(framed.body, Body::None | Body::Length(0) | Body::Tunnel);
        if !bodyless {
            return Ok(Some(Wait {
                time: Duration::from_millis(time_ms),
                at_least,
                then: Point {
                    rule: resume,
                    ..from
                },
            }));
        }
        at = resume;
    };
    let ended = Termination::new(Cause::Proxy, Phase::Headers);
    match verdict {
        Verdict::Deny(reply) => {
            account::response_denied(stream);
            Err(Halt::Answer(Answer::from_rule(reply, &ctx!(stream)), ended))
        }
        Verdict::Return(reply) => {
            let ended = Termination::new(Cause::Local, Phase::Headers);
            Err(Halt::Answer(Answer::from_rule(reply, &ctx!(stream)), ended))
        }
        Verdict::Redirect(redirect) => {
            let ended = Termination::new(Cause::Local, Phase::Headers);
            Err(Halt::Answer(
                Answer::redirect(redirect, &ctx!(stream)),
                ended,
            ))
        }
        Verdict::Reject => {
            account::response_denied(stream);
            Err(Halt::Silent(ended))
        }
        Verdict::Continue
        | Verdict::Allow
        | Verdict::CloseServer
        | Verdict::SwitchMode
        | Verdict::Tarpit(_)
        | Verdict::Resolve { .. }
        | Verdict::Service(_)
        | Verdict::Pause { .. }
        | Verdict::WaitForBody { .. } => Ok(None),
    }
}

/// `http-after-response`: for every response, our own included.
pub fn after_response(stream: &mut Stream<'_>) {
    let backend = stream.backend.as_ref().map(|b| Arc::clone(b.proxy()));
    let frontend = Arc::clone(stream.frontend.proxy());
    let same = backend.as_ref().is_some_and(|b| Arc::ptr_eq(b, &frontend));
    let first = backend.as_ref().map(|p| &p.http_after_response);
    let second = (!same).then_some(&frontend.http_after_response);
    for rules in [first, second].into_iter().flatten() {
        if !rules.is_empty() {
            let mut effects = Effects::default();
            let _ = run(rules, 0, &mut ctx!(stream), &mut effects, &mut NoTrace);
            stream.take_effects(effects, true);
        }
    }
}

/// Says what becomes of the client's connection.
pub fn finish_head(stream: &mut Stream<'_>) {
    let client_is_old = stream.request.version() == Version::Http10;
    let close = stream.client_close;
    // A browser that speaks to a proxy looks for a field of its own.
    let name: &[u8] = match stream.frontend.proxy().http.proxy_header && stream.means_a_proxy() {
        true => b"Proxy-Connection",
        false => b"Connection",
    };
    let Some(head) = stream.response.as_mut() else {
        return;
    };
    stream.status = Some(head.status());
    if head.status() == 101 {
        head.append(b"Connection", b"upgrade");
    } else if close {
        head.append(name, b"close");
    } else if client_is_old || head.version() == Version::Http10 {
        head.append(name, b"keep-alive");
    }
    if stream.frontend.proxy().http.recase_to_client {
        crate::request::recase(head, &stream.generation.config);
    }
}

/// Removes the fields that concern one connection only (RFC 9110 section 7.6.1), and those that
/// `Connection` names; `Upgrade` stays when the protocol is to be changed.
pub fn drop_hop_by_hop(head: &mut Head, upgrade: bool) {
    if head.known(Known::Connection).next().is_some() {
        let named: Vec<Vec<u8>> = head
            .items(b"connection")
            .filter(|name| !PROTECTED.iter().any(|p| name.eq_ignore_ascii_case(p)))
            .map(<[u8]>::to_vec)
            .collect();
        head.remove_known(Known::Connection);
        for name in named {
            head.remove(&name);
        }
    }
    head.remove_known(Known::KeepAlive);
    head.remove_known(Known::ProxyConnection);
    if !upgrade {
        head.remove_known(Known::Upgrade);
    }
}

/// Names that `Connection` cannot take away: they frame or route the message, or are options of
/// the connection themselves.
const PROTECTED: [&[u8]; 8] = [
    b"close",
    b"keep-alive",
    b"upgrade",
    b"te",
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"x-forwarded-for",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_shared_only_where_a_cache_may_keep_it() {
        for (method, status, field, shared) in [
            ("GET", 200, "", true),
            ("GET", 404, "", true),
            ("GET", 302, "", false),
            ("POST", 200, "", false),
            ("POST", 302, "Public", true),
            ("GET", 200, "max-age=10", true),
            ("GET", 200, "max-age=0", false),
            ("GET", 200, "s-maxage=0", false),
            ("GET", 200, "no-store", false),
            ("GET", 200, "No-Cache", false),
            ("GET", 200, "no-cache=\"Set-Cookie\"", false),
            ("GET", 200, "no-cache=\"x\"", true),
            ("GET", 200, "public, private", false),
        ] {
            let mut head = Head::default();
            head.start_response(Version::Http11, status, b"x");
            head.append(b"set-cookie", b"a=b");
            head.append(b"cache-control", field.as_bytes());
            assert_eq!(
                shares_cookie(method.as_bytes(), &head),
                shared,
                "{method} {status} {field}"
            );
            head.remove(b"set-cookie");
            assert!(!shares_cookie(method.as_bytes(), &head));
        }
    }
}
