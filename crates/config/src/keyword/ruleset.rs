//! Keywords that are rules: an action, and when it is taken.

use super::{Keyword, keyword};
use crate::diag::Fault;
use crate::draft::sections::*;
use crate::draft::{CaptureReference, Draft, Reference};
use crate::line::Line;
use model::CaptureSlot;
use rules::{Rule, RuleSet};

/// Keywords of rules.
pub(super) static RULE_KEYWORDS: &[Keyword] = &[
    keyword!(
        "http-request",
        ALL,
        "ACTION [if|unless CONDITION]",
        "set-header X-Proxy mulgil",
        "a rule for requests",
        rule
    ),
    keyword!(
        "http-response",
        ALL,
        "ACTION [if|unless CONDITION]",
        "del-header Server",
        "a rule for responses",
        rule
    ),
    keyword!(
        "http-after-response",
        ALL,
        "ACTION [if|unless CONDITION]",
        "set-header X-Proxy mulgil",
        "a rule for all responses, our own included",
        rule
    ),
    keyword!(
        "redirect",
        NAMED,
        "location|prefix|scheme FMT [code N] [OPTION]* [if|unless CONDITION]",
        "location /new if { path /old }",
        "send clients elsewhere",
        |d, l| {
            let mut rule = l.rules(0, &d.acls, rules::Rule::redirect)?;
            rule.line = l.written();
            d.http_request.push(rule);
            Ok(())
        }
    ),
    keyword!(
        "tcp-request connection",
        FRONT,
        "ACTION [if|unless CONDITION]",
        "reject if { src 192.0.2.0/24 }",
        "a rule for new connections",
        rule
    ),
    keyword!(
        "tcp-request session",
        FRONT,
        "ACTION [if|unless CONDITION]",
        "accept",
        "a rule for new sessions",
        rule
    ),
    keyword!(
        "tcp-request inspect-delay",
        F | L | B,
        "TIME",
        "5s",
        "how long content may be waited for",
        |d, l| {
            l.exactly(1, "a time, such as 5s")?;
            d.inspect_delay = super::time(l, 0)?;
            Ok(())
        }
    ),
    keyword!(
        "tcp-request content",
        ALL,
        "ACTION [if|unless CONDITION]",
        "reject if { src 192.0.2.0/24 }",
        "a rule for content",
        rule
    ),
    keyword!(
        "smtp-request",
        FRONT,
        "ACTION [if|unless CONDITION]",
        "deny status 450 if { smtp.rcpt_domain slow.example }",
        "a rule for what clients of SMTP ask: taken at MAIL and at each RCPT",
        rule
    ),
    keyword!(
        "tcp-response inspect-delay",
        L | B,
        "TIME",
        "5s",
        "how long a server's content may be waited for",
        |d, l| {
            l.exactly(1, "a time, such as 5s")?;
            d.response_inspect_delay = super::time(l, 0)?;
            Ok(())
        }
    ),
    keyword!(
        "tcp-response content",
        D | L | B,
        "ACTION [if|unless CONDITION]",
        "reject if { res.len gt 1000 }",
        "a rule for what a server says",
        rule
    ),
];

/// Actions whose first argument is a header's name.
const HEADER_ACTIONS: [&str; 6] = [
    "add-header",
    "del-header",
    "early-hint",
    "replace-header",
    "replace-value",
    "set-header",
];

/// `http-request …` and its like, by the keyword of the line.
fn rule(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let set = match l.keyword().as_str() {
        "http-request" => RuleSet::HttpRequest,
        "http-response" => RuleSet::HttpResponse,
        "http-after-response" => RuleSet::HttpAfterResponse,
        "tcp-request connection" => RuleSet::TcpRequestConnection,
        "tcp-request session" => RuleSet::TcpRequestSession,
        "tcp-request content" => RuleSet::TcpRequestContent,
        "smtp-request" => RuleSet::SmtpRequest,
        _ => RuleSet::TcpResponseContent,
    };
    let mut rule = l.rules(0, &d.acls, |words, scope| Rule::parse(set, words, scope))?;
    rule.line = l.written();
    if let Some(name) = rule.resolvers() {
        d.resolvers_references.push(Reference {
            name: name.into(),
            keyword: "do-resolve",
            place: l.place(0),
        });
    }
    if HEADER_ACTIONS.contains(&l.arg(0)) && l.arg(1).ends_with(':') {
        let message = format!(
            "'{}' names a header, and no colon is part of that: it is left out",
            l.arg(1)
        );
        l.warnings.push(Fault::warning(l.skip + 1, message));
    }
    if rule.capture_len.is_some() || rule.named_capture_slot().is_some() {
        d.marks.insert("capture", l.place(0));
    }
    if let Some(id) = rule.named_capture_slot() {
        d.capture_references.push(CaptureReference {
            id,
            response: set.on_response(),
            place: l.place(0),
        });
    }
    if let Some(len) = rule.capture_len {
        if d.section == B {
            return l.fail(0, "a backend has no captures of its own: use 'capture … id N' and 'declare capture' in the frontend");
        }
        let slots = if set.on_response() {
            &mut d.front.response_captures
        } else {
            &mut d.front.request_captures
        };
        rule.set_capture_slot(slots.len());
        slots.push(CaptureSlot::declared(len));
    }
    match set {
        RuleSet::HttpRequest => d.http_request.push(rule),
        RuleSet::HttpResponse => d.http_response.push(rule),
        RuleSet::HttpAfterResponse => d.http_after_response.push(rule),
        RuleSet::TcpRequestConnection => d.front.tcp_request_connection.push(rule),
        RuleSet::TcpRequestSession => d.front.tcp_request_session.push(rule),
        RuleSet::TcpRequestContent => d.tcp_request_content.push(rule),
        RuleSet::TcpResponseContent => d.tcp_response_content.push(rule),
        RuleSet::SmtpRequest => d.front.smtp_request.push(rule),
    }
    Ok(())
}
