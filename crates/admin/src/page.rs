//! The statistics page: HTML, and the CSV behind `;csv`.

use crate::stat::{self, Row, RowKind};
use base64::Engine;
use model::StatsPage;
use state::{Generation, Process};
use std::fmt::Write;
use std::time::Instant;

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

/// Answers a request whose target begins with the page's URI.
pub fn serve(
    page: &StatsPage,
    proxy: &str,
    target: &str,
    authorization: Option<&str>,
    process: &Process,
    generation: &Generation,
    now: Instant,
) -> Page {
    if !page.auth.is_empty() && !authorized(page, authorization) {
        let realm = page
            .realm
            .as_deref()
            .unwrap_or("Statistics")
            .replace('"', "'");
        return Page {
            status: 401,
            content_type: "text/html",
            headers: vec![("www-authenticate", format!("Basic realm=\"{realm}\""))],
            body: "<html><body><h1>401 Unauthorized</h1>\nThese statistics need a user name and a password.\n</body></html>\n".into(),
        };
    }
    let mut rows = stat::rows(process, generation, now);
    if !page.scope.is_empty() {
        rows.retain(|r| page.scope.iter().any(|s| **s == *r.get("pxname")));
    }
    let options = target.get(page.uri.len()..).unwrap_or_default();
    let option = |name: &str| options.split([';', '&', '?']).any(|o| o == name);
    ["up", "no-maint"]
        .into_iter()
        .filter(|word| option(word))
        .for_each(|word| stat::retain(&mut rows, word));
    let no_cache = ("cache-control", "no-cache".to_string());
    if option("csv") {
        return Page {
            status: 200,
            content_type: "text/plain",
            headers: vec![no_cache],
            body: stat::csv(&rows),
        };
    }
    let mut headers = vec![no_cache];
    if let Some(refresh) = page.refresh.filter(|_| !option("norefresh")) {
        headers.push(("refresh", refresh.as_secs().to_string()));
    }
    Page {
        status: 200,
        content_type: "text/html",
        headers,
        body: html(page, proxy, &rows, process, generation, now),
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

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:1.5rem;color:#1b2330;background:#fff}\
h1{font-size:1.4rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .6rem;border-bottom:1px solid #dde3ea;text-align:right}\
th{background:#f2f5f8;font-weight:600}th:first-child,td:first-child,td.s{text-align:left}\
.up{color:#0a6b2d}.down{color:#b00020;font-weight:600}.maint{color:#8a5a00}.sum{background:#f8fafc}\
p{margin:.2rem 0;color:#4a5568}a{color:#0b5cad}";

fn html(
    page: &StatsPage,
    proxy: &str,
    rows: &[Row],
    process: &Process,
    generation: &Generation,
    now: Instant,
) -> String {
    let mut out = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    let node = page.show_node.as_ref().map_or(String::new(), |n| {
        format!(
            " on {}",
            escape(if n.is_empty() { &process.node } else { n })
        )
    });
    let version = if page.hide_version {
        String::new()
    } else {
        format!(" {}", crate::VERSION)
    };
    let up = now.saturating_duration_since(process.start).as_secs();
    let _ = writeln!(
        out,
        "<title>Statistics{node}</title><style>{STYLE}</style></head><body>\
         <h1>Mulgil{version}{node}</h1>\
         <p>pid {}, up {}d {}h {}m {}s, {} of {} connections, {} workers</p>\
         <p><a href=\"{uri};csv\">CSV</a></p>",
        process.pid,
        up / 86400,
        up / 3600 % 24,
        up / 60 % 60,
        up % 60,
        process.connections.now(),
        process.maxconn(),
        process.workers,
        uri = escape(&page.uri),
    );
    if let Some(text) = &page.show_desc {
        let text = match (&**text, &generation.config.global.description) {
            ("", Some(global)) => global,
            _ => text,
        };
        let _ = writeln!(out, "<p>{}</p>", escape(text));
    }
    let _ = proxy;
    let mut current = "";
    for row in rows {
        if row.get("pxname") != current {
            if !current.is_empty() {
                out.push_str("</tbody></table>\n");
            }
            current = row.get("pxname");
            let _ = writeln!(
                out,
                "<h2 id=\"{0}\">{0}</h2><table><thead><tr><th>Name</th><th>Status</th><th>Weight</th>\
                 <th>Queue</th><th>Sessions</th><th>Max</th><th>Limit</th><th>Total</th><th>Rate</th>\
                 <th>In</th><th>Out</th><th>2xx</th><th>3xx</th><th>4xx</th><th>5xx</th><th>Denied</th>\
                 <th>Errors</th><th>Retries</th><th>Check</th></tr></thead><tbody>",
                escape(current)
            );
        }
        let status = row.get("status");
        let class = match status.split(' ').next() {
            Some("UP" | "OPEN" | "no") => "up",
            Some("MAINT" | "DRAIN" | "NOLB") => "maint",
            _ => "down",
        };
        let sum = if row.kind == RowKind::Server {
            ""
        } else {
            " class=\"sum\""
        };
        let total = |names: &[&str]| {
            names
                .iter()
                .filter_map(|n| row.get(n).parse::<u64>().ok())
                .sum::<u64>()
        };
        let _ = write!(
            out,
            "<tr{sum}><td>{}</td><td class=\"s {class}\">{}</td>",
            escape(row.get("svname")),
            escape(status)
        );
        for name in [
            "weight", "qcur", "scur", "smax", "slim", "stot", "rate", "bin", "bout", "hrsp_2xx",
            "hrsp_3xx", "hrsp_4xx", "hrsp_5xx",
        ] {
            let _ = write!(out, "<td>{}</td>", row.get(name));
        }
        let _ = writeln!(
            out,
            "<td>{}</td><td>{}</td><td>{}</td><td class=\"s\">{} {}</td></tr>",
            total(&["dreq", "dresp"]),
            total(&["ereq", "econ", "eresp"]),
            total(&["wretr", "wredis"]),
            row.get("check_status"),
            row.get("check_code"),
        );
    }
    if !current.is_empty() {
        out.push_str("</tbody></table>\n");
    }
    out.push_str("</body></html>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
