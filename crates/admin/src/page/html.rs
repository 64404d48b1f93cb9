//! The page as HTML.

use super::Visit;
use super::change::{CHANGES, Outcome};
use super::routers::routers;
use crate::stat::{self, Row, RowKind};
use std::fmt::Write;

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:1.5rem;color:#1b2330;background:#fff}\
h1{font-size:1.4rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .6rem;border-bottom:1px solid #dde3ea;text-align:right}\
th{background:#f2f5f8;font-weight:600}th:first-child,td:first-child,td.s{text-align:left}\
.up{color:#0a6b2d}.down{color:#b00020;font-weight:600}.maint{color:#8a5a00}.sum{background:#f8fafc}\
.note{background:#fff6dd;padding:.3rem .6rem}p{margin:.2rem 0;color:#4a5568}a{color:#0b5cad}";

pub(super) fn page(visit: &Visit<'_>, rows: &[Row]) -> String {
    let mut out = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    head(visit, &mut out);
    if visit.page.show_legends {
        legend(visit, &mut out);
    }
    tables(visit, rows, &mut out);
    routers(&visit.process.replication.routers(), &mut out);
    out.push_str("</body></html>\n");
    out
}

fn head(visit: &Visit<'_>, out: &mut String) {
    let (page, process) = (visit.page, visit.process);
    let node = page.show_node.as_ref().map_or(String::new(), |n| {
        let name = if n.is_empty() { &process.node } else { &**n };
        format!(" on {}", escape(name))
    });
    let version = match page.hide_version {
        true => String::new(),
        false => format!(" {}", crate::VERSION),
    };
    let up = visit.now.saturating_duration_since(process.start).as_secs();
    let _ = write!(
        out,
        "<title>Statistics{node}</title><style>{STYLE}</style></head><body>\
         <h1>Mulgil{version}{node}</h1>\
         <p>pid {}, up {}d {}h {}m {}s, {} of {} connections, {} workers</p><p>",
        process.pid,
        up / 86400,
        up / 3600 % 24,
        up / 60 % 60,
        up % 60,
        process.connections.now(),
        process.maxconn(),
        process.workers,
    );
    let uri = escape(&page.uri);
    let up = if visit.asks("up") { "" } else { ";up" };
    let still = if visit.asks("norefresh") {
        ";norefresh"
    } else {
        ""
    };
    let words = match visit.asks("up") {
        true => "All servers",
        false => "Only servers that are up",
    };
    let _ = write!(out, "<a href=\"{uri}{up}{still}\">{words}</a>");
    if page.refresh.is_some() {
        let (still, words) = match visit.asks("norefresh") {
            true => ("", "Refresh by itself"),
            false => (";norefresh", "Stop refreshing"),
        };
        let _ = write!(out, " · <a href=\"{uri}{still}\">{words}</a>");
    }
    for (word, name) in [("csv", "CSV"), ("json", "JSON"), ("typed", "Typed")] {
        let _ = write!(out, " · <a href=\"{uri};{word};norefresh\">{name}</a>");
    }
    out.push_str("</p>\n");
    if let Some(text) = &page.show_desc {
        let text = match (&**text, &visit.generation.config.global.description) {
            ("", Some(global)) => global,
            _ => text,
        };
        let _ = writeln!(out, "<p>{}</p>", escape(text));
    }
    let outcome = visit.options().find_map(|o| o.strip_prefix("st="));
    if let Some(sentence) = outcome.and_then(Outcome::sentence) {
        let _ = writeln!(out, "<p class=\"note\">{sentence}</p>");
    }
}

/// What else is known of each proxy: mode, balancing, addresses (`stats show-legends`).
fn legend(visit: &Visit<'_>, out: &mut String) {
    out.push_str("<details><summary>Legend</summary><ul>");
    for proxy in &visit.generation.config.proxies {
        let listed = visit.page.scope.is_empty() || visit.page.scope.contains(&proxy.name);
        if !listed {
            continue;
        }
        let mode = proxy.mode.name();
        let _ = write!(out, "<li>{} (id {}, {mode}", escape(&proxy.name), proxy.id);
        for bind in proxy.frontend.iter().flat_map(|f| &f.binds) {
            let _ = write!(out, ", listens on {}", escape(&crate::shown(&bind.address)));
        }
        if let Some(side) = proxy.backend.as_ref().filter(|b| !b.servers.is_empty()) {
            let _ = write!(out, ", balances by {}", crate::algorithm(&side.balance));
        }
        out.push_str(")</li>");
    }
    out.push_str("</ul></details>\n");
}

fn tables(visit: &Visit<'_>, rows: &[Row], out: &mut String) {
    let mut rest = rows;
    while let Some(first) = rest.first() {
        let name = first.get("pxname");
        let end = rest.iter().position(|r| r.get("pxname") != name);
        let (own, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        let form = visit.admin && own.iter().any(|r| r.kind == RowKind::Server);
        table(visit, name, own, form, out);
    }
}

fn table(visit: &Visit<'_>, name: &str, rows: &[Row], form: bool, out: &mut String) {
    let name = escape(name);
    let _ = write!(out, "<h2 id=\"{name}\">{name}</h2>");
    if form {
        let _ = write!(
            out,
            "<form method=\"post\" action=\"{}\">",
            escape(visit.target)
        );
    }
    out.push_str("<table><thead><tr>");
    if form {
        out.push_str("<th></th>");
    }
    out.push_str(
        "<th>Name</th><th>Status</th><th>Weight</th><th>Queue</th><th>Sessions</th><th>Max</th>\
         <th>Limit</th><th>Total</th><th>Rate</th><th>In</th><th>Out</th>",
    );
    let carries_packets = rows.iter().any(|r| r.get("mode") == "packet");
    out.push_str(match carries_packets {
        true => {
            "<th>Packets in</th><th>Packets out</th><th>in/s</th><th>out/s</th><th>Bits in/s</th>\
             <th>Bits out/s</th>"
        }
        false => "<th>2xx</th><th>3xx</th><th>4xx</th><th>5xx</th>",
    });
    out.push_str(
        "<th>Denied</th><th>Errors</th><th>Retries</th><th>Check</th></tr></thead><tbody>",
    );
    for row in rows {
        line(row, form, out);
    }
    out.push_str("</tbody></table>");
    if form {
        out.push_str(
            "<p>Change the servers chosen: <select name=\"action\"><option value=\"\"></option>",
        );
        for (value, text) in CHANGES {
            let _ = write!(out, "<option value=\"{value}\">{text}</option>");
        }
        let id = rows.first().map_or(0, |r| r.iid);
        let _ = write!(
            out,
            "</select><input type=\"hidden\" name=\"b\" value=\"#{id}\"> \
             <input type=\"submit\" value=\"Apply\"></p></form>"
        );
    }
    out.push('\n');
}

fn line(row: &Row, form: bool, out: &mut String) {
    let status = row.get("status");
    let class = match status.split(' ').next() {
        Some("UP" | "OPEN" | "no") => "up",
        Some("MAINT" | "DRAIN" | "NOLB" | "PAUSED") => "maint",
        _ => "down",
    };
    let server = row.kind == RowKind::Server;
    let total = |names: &[&str]| {
        let numbers = names.iter().filter_map(|n| row.get(n).parse::<u64>().ok());
        numbers.sum::<u64>()
    };
    out.push_str(if server { "<tr>" } else { "<tr class=\"sum\">" });
    let name = escape(row.get("svname"));
    match (form, server) {
        (true, true) => {
            let _ = write!(
                out,
                "<td><input type=\"checkbox\" name=\"s\" value=\"{name}\" aria-label=\"{name}\"></td>"
            );
        }
        (true, false) => out.push_str("<td></td>"),
        (false, _) => {}
    }
    let _ = write!(
        out,
        "<td class=\"s\">{name}</td><td class=\"s {class}\">{}</td>",
        escape(status)
    );
    let answers: &[&str] = match row.get("mode") {
        "packet" => &stat::PACKETS,
        _ => &["hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx"],
    };
    let first = [
        "weight", "qcur", "scur", "smax", "slim", "stot", "rate", "bin", "bout",
    ];
    for name in first.iter().chain(answers) {
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

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
