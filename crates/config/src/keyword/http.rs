//! Rules, error pages, the statistics page.

use super::{near, num};
use crate::diag::Fault;
use crate::draft::{Draft, Line, sections};
use crate::units;
use model::{ErrorLocation, ErrorPage, StatsPage};
use rules::{Rule, RuleSet};

/// `http-request …` and its like, by the keyword of the line.
pub fn rule(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let set = match l.keyword().as_str() {
        "http-request" => RuleSet::HttpRequest,
        "http-response" => RuleSet::HttpResponse,
        "http-after-response" => RuleSet::HttpAfterResponse,
        "tcp-request connection" => RuleSet::TcpRequestConnection,
        "tcp-request session" => RuleSet::TcpRequestSession,
        "tcp-request content" => RuleSet::TcpRequestContent,
        _ => RuleSet::TcpResponseContent,
    };
    if d.section == sections::D && d.name.is_empty() {
        return l.fail(0, format!("'{}' may stand in a named defaults section only: name it, and use it by 'from NAME'", l.keyword()));
    }
    let mut rule = l.rules(0, &d.acls, |words, scope| Rule::parse(set, words, scope))?;
    rule.line = l.written();
    if let Some(len) = rule.capture_len {
        let slots = &mut d.front.declared_captures;
        let headers = if set.on_response() {
            &d.front.capture_response
        } else {
            &d.front.capture_request
        };
        let slots = if set.on_response() {
            &mut slots.1
        } else {
            &mut slots.0
        };
        rule.set_capture_slot(headers.len() + slots.len());
        slots.push(len);
    }
    match set {
        RuleSet::HttpRequest => d.http_request.push(rule),
        RuleSet::HttpResponse => d.http_response.push(rule),
        RuleSet::HttpAfterResponse => d.http_after_response.push(rule),
        RuleSet::TcpRequestConnection => d.front.tcp_request_connection.push(rule),
        RuleSet::TcpRequestSession => d.front.tcp_request_session.push(rule),
        RuleSet::TcpRequestContent => d.tcp_request_content.push(rule),
        RuleSet::TcpResponseContent => d.tcp_response_content.push(rule),
    }
    Ok(())
}

/// Statuses that have a page of their own.
pub const PAGE_STATUSES: [u16; 22] = [
    200, 400, 401, 403, 404, 405, 407, 408, 410, 413, 414, 421, 422, 425, 429, 431, 500, 501, 502,
    503, 504, 505,
];

fn status(l: &Line<'_>, at: usize) -> Result<u16, Fault> {
    match l.arg(at).parse::<u16>() {
        Ok(status) if PAGE_STATUSES.contains(&status) => Ok(status),
        _ => {
            let all: Vec<String> = PAGE_STATUSES.iter().map(u16::to_string).collect();
            l.fail(
                at,
                format!(
                    "'{}' is no status with a page: use {}",
                    l.arg(at),
                    all.join(", ")
                ),
            )
        }
    }
}

pub fn error_file(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    l.exactly(2, "a status code and a file")?;
    let status = status(l, 0)?;
    let bytes = l
        .source
        .read(l.arg(1))
        .or_else(|e| l.fail(1, format!("cannot read '{}': {e}", l.arg(1))))?;
    d.errors.pages.insert(status, ErrorPage::Raw(bytes.into()));
    Ok(())
}

pub fn error_location(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    l.exactly(2, "a status code and a URL")?;
    let kind = if l.keyword() == "errorloc303" {
        ErrorLocation::SeeOther303
    } else {
        ErrorLocation::Found302
    };
    d.errors
        .pages
        .insert(status(l, 0)?, ErrorPage::Redirect(kind, l.arg(1).into()));
    Ok(())
}

pub fn error_files(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let Some(pages) = l.bases.errors.get(l.arg(0)) else {
        return l.fail(
            0,
            format!(
                "no 'http-errors {}' stands above: declare that section first",
                l.arg(0)
            ),
        );
    };
    let mut wanted = Vec::new();
    for at in 1..l.args().len() {
        wanted.push(status(l, at)?);
    }
    for (status, page) in &pages.pages {
        if wanted.is_empty() || wanted.contains(status) {
            d.errors.pages.insert(*status, page.clone());
        }
    }
    Ok(())
}

fn page(d: &mut Draft) -> &mut StatsPage {
    d.stats.get_or_insert_with(|| StatsPage {
        uri: "/haproxy?stats".into(),
        refresh: None,
        realm: None,
        auth: Vec::new(),
        scope: Vec::new(),
        hide_version: false,
        show_legends: false,
        show_node: None,
        show_desc: None,
        show_modules: false,
        admin: Vec::new(),
        http_request: Vec::new(),
    })
}

/// `stats …`.
pub fn stats(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let name = d.name.clone();
    match l.arg(0) {
        "enable" => {
            page(d);
        }
        "uri" => match l.arg(1) {
            "" => return l.fail(0, "'stats uri' wants a path, such as /stats"),
            uri => page(d).uri = uri.into(),
        },
        "refresh" => page(d).refresh = Some(l.map(1, units::time(l.arg(1), 1_000_000))?),
        "realm" => page(d).realm = Some(l.arg(1).into()),
        "auth" => match l.arg(1).split_once(':') {
            Some((user, password)) => page(d).auth.push((user.into(), password.into())),
            None => return l.fail(1, format!("'{}' is no USER:PASSWORD", l.arg(1))),
        },
        "scope" => {
            let scope = if l.arg(1) == "." {
                name
            } else {
                l.arg(1).into()
            };
            page(d).scope.push(scope);
        }
        "hide-version" => page(d).hide_version = true,
        "show-legends" => page(d).show_legends = true,
        "show-node" => page(d).show_node = Some(l.arg(1).into()),
        "show-desc" => page(d).show_desc = Some(l.texts(1).join(" ").into()),
        "show-modules" => page(d).show_modules = true,
        "maxconn" => {
            num(l, 1, 1, 1 << 30)?;
        }
        "admin" => {
            let condition = l.rules(1, &d.acls, rules::Cond::parse)?;
            page(d).admin.push(condition);
        }
        "http-request" => {
            let mut rule = l.rules(1, &d.acls, |words, scope| {
                Rule::parse(RuleSet::HttpRequest, words, scope)
            })?;
            rule.line = l.written();
            page(d).http_request.push(rule);
        }
        other => {
            let names = [
                "enable",
                "uri",
                "refresh",
                "realm",
                "auth",
                "scope",
                "hide-version",
                "show-legends",
                "show-node",
                "show-desc",
                "show-modules",
                "admin",
                "http-request",
            ];
            return l.fail(0, near("word of 'stats'", other, &names));
        }
    }
    Ok(())
}
