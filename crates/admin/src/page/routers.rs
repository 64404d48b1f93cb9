//! Virtual routers on the page.

use super::html::escape;
use state::VrrpStatus;
use std::fmt::Write;

pub(super) fn routers(all: &[VrrpStatus], out: &mut String) {
    if all.is_empty() {
        return;
    }
    out.push_str(
        "<h2 id=\"vrrp\">Virtual routers</h2><table><thead><tr><th>Section</th><th>State</th>\
         <th>Reason</th><th>For</th><th>Priority</th><th>Addresses</th><th>Times active</th>\
         <th>Sessions and tables</th></tr></thead><tbody>",
    );
    for one in all {
        let class = match one.state {
            "active" => "up",
            "backup" => "maint",
            _ => "down",
        };
        let addresses: Vec<&str> = one.addresses.iter().map(|(a, ..)| a.as_str()).collect();
        let active = one
            .counters
            .iter()
            .find(|(name, _)| *name == "became_active");
        let sync: Vec<String> = one
            .sync
            .iter()
            .map(|s| {
                let lag = s.lag.as_millis();
                format!(
                    "{} {}: to it {} ({lag} ms), from it {}",
                    s.table, s.peer, s.sending, s.receiving
                )
            })
            .collect();
        let _ = writeln!(
            out,
            "<tr><td class=\"s\">{}</td><td class=\"s {class}\">{}</td><td class=\"s\">{}</td>\
             <td>{} s</td><td>{}</td><td class=\"s\">{}</td><td>{}</td><td class=\"s\">{}</td></tr>",
            escape(&one.name),
            one.state,
            escape(one.fault.as_deref().unwrap_or(one.cause)),
            one.since.as_secs(),
            one.priority,
            escape(&addresses.join(", ")),
            active.map_or(0, |(_, n)| *n),
            escape(&sync.join("; ")),
        );
    }
    out.push_str("</tbody></table>\n");
}
