//! `stats`: the statistics page.

use super::near;
use crate::diag::Fault;
use crate::draft::Draft;
use crate::line::Line;
use crate::units;
use model::StatsPage;
use rules::{Rule, RuleSet};

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

const WORDS: [&str; 13] = [
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

/// `stats …`.
pub(super) fn stats(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let own_name = d.name.clone();
    let word = l.arg(0);
    if word.is_empty() {
        return l.fail(0, format!("'stats' wants a word: {}", WORDS.join(", ")));
    }
    let wanted = match word {
        "uri" => "a path, such as /stats",
        "refresh" => "a time",
        "realm" => "a text",
        "auth" => "USER:PASSWORD",
        "scope" => "a proxy's name, or . for this one",
        _ => "",
    };
    if !wanted.is_empty() && l.arg(1).is_empty() {
        return l.fail(0, format!("'stats {word}' wants {wanted}"));
    }
    match word {
        "enable" => {
            page(d);
        }
        "uri" => page(d).uri = l.arg(1).into(),
        "refresh" => page(d).refresh = Some(l.map(1, units::time(l.arg(1), 1_000_000))?),
        "realm" => page(d).realm = Some(l.arg(1).into()),
        "auth" => match l.arg(1).split_once(':') {
            Some((user, password)) => page(d).auth.push((user.into(), password.into())),
            None => return l.fail(1, format!("'{}' is no USER:PASSWORD", l.arg(1))),
        },
        "scope" => {
            let scope = match l.arg(1) {
                "." => own_name,
                other => other.into(),
            };
            page(d).scope.push(scope);
        }
        "hide-version" => page(d).hide_version = true,
        "show-legends" => page(d).show_legends = true,
        "show-node" => page(d).show_node = Some(l.arg(1).into()),
        "show-desc" => page(d).show_desc = Some(l.texts(1).join(" ").into()),
        "show-modules" => page(d).show_modules = true,
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
        other => return l.fail(0, near("stats word", other, &WORDS)),
    }
    match word {
        "show-desc" | "admin" | "http-request" => {}
        "show-node" => l.surplus(2),
        _ => l.surplus(if wanted.is_empty() { 1 } else { 2 }),
    }
    Ok(())
}
