//! The statistics page: who may see it, in which form, and what a form that is sent changes.

mod change;
mod html;
mod routers;

use crate::stat;
use crate::stat_text;
use crate::typed;
use base64::Engine;
use model::StatsPage;
use state::{Generation, Process};
use std::time::Instant;

/// A visit to the page.
pub struct Visit<'a> {
    /// Its settings.
    pub page: &'a StatsPage,
    /// The proxy that has it.
    pub proxy: &'a str,
    /// What was asked for; begins with the page's URI.
    pub target: &'a str,
    /// The `Authorization` field.
    pub authorization: Option<&'a str>,
    /// The form that was sent.
    pub change: Option<&'a [u8]>,
    /// Whether this visitor may change something.
    pub admin: bool,
    /// The process.
    pub process: &'a Process,
    /// The configuration in force.
    pub generation: &'a Generation,
    /// Now.
    pub now: Instant,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// `content-type`.
    pub content_type: &'static str,
    /// Other fields.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Visit<'_> {
    /// Whether a word stands behind the page's URI, between semicolons.
    fn asks(&self, word: &str) -> bool {
        self.options().any(|o| o == word)
    }

    fn options(&self) -> impl Iterator<Item = &str> {
        let rest = self.target.get(self.page.uri.len()..).unwrap_or_default();
        rest.split([';', '&', '?'])
    }
}

/// Answers a visit.
pub fn serve(visit: &Visit<'_>) -> Page {
    let page = visit.page;
    if !page.auth.is_empty() && !authorized(page, visit.authorization) {
        let realm = page
            .realm
            .as_deref()
            .unwrap_or("HAProxy Statistics")
            .replace('"', "'");
        return Page {
            status: 401,
            content_type: "text/html",
            headers: vec![("www-authenticate", format!("Basic realm=\"{realm}\""))],
            body: "<html><body><h1>401 Unauthorized</h1>\nThese statistics need a user name and a password.\n</body></html>\n".into(),
        };
    }
    let no_cache = ("cache-control", "no-cache".to_string());
    if let Some(form) = visit.change {
        // Sent back to the page by GET, so that loading it again does not change things again.
        let outcome = change::apply(visit, form);
        let kept = ["up", "no-maint", "norefresh"];
        let kept = kept.into_iter().filter(|word| visit.asks(word));
        let kept: String = kept.map(|word| format!(";{word}")).collect();
        let location = format!("{};st={}{kept}", page.uri, outcome.code());
        return Page {
            status: 303,
            content_type: "text/plain",
            headers: vec![no_cache, ("location", location)],
            body: String::new(),
        };
    }
    let mut headers = vec![no_cache];
    if let Some(refresh) = page.refresh.filter(|_| !visit.asks("norefresh")) {
        headers.push(("refresh", refresh.as_secs().to_string()));
    }
    let rows = || {
        let mut rows = stat::rows(visit.process, visit.generation, visit.now);
        if !page.scope.is_empty() {
            rows.retain(|r| page.scope.iter().any(|s| **s == *r.get("pxname")));
        }
        for word in ["up", "no-maint"] {
            if visit.asks(word) {
                stat::retain(&mut rows, word);
            }
        }
        rows
    };
    let (content_type, body) = if visit.asks("csv") {
        ("text/plain", stat_text::csv(&rows()))
    } else if visit.asks("typed") {
        ("text/plain", stat_text::typed(&rows(), false))
    } else if visit.asks("json") {
        ("application/json", stat_text::json(&rows()))
    } else if visit.asks("json-schema") {
        ("application/json", typed::schema())
    } else {
        ("text/html", html::page(visit, &rows()))
    };
    Page {
        status: 200,
        content_type,
        headers,
        body,
    }
}

fn authorized(page: &StatsPage, authorization: Option<&str>) -> bool {
    let Some(credentials) = authorization
        .and_then(|a| a.strip_prefix("Basic "))
        .and_then(|b| {
            base64::engine::general_purpose::STANDARD
                .decode(b.trim())
                .ok()
        })
    else {
        return false;
    };
    page.auth.iter().any(|(user, password)| {
        let expected = format!("{user}:{password}").into_bytes();
        // The comparison takes the same time wherever the first difference is.
        expected.len() == credentials.len()
            && expected
                .iter()
                .zip(&credentials)
                .fold(0, |d, (a, b)| d | (a ^ b))
                == 0
    })
}
