//! Every mistake of a file is reported in one pass, each with its place and its remedy.

mod common;

use common::{Files, load_text, said};

const TEXTBOOK: &str = include_str!("golden/textbook.cfg");
const TEXTBOOK_SAID: &str = include_str!("golden/textbook.txt");

#[test]
fn the_textbook_file_has_every_mistake_reported_with_place_and_remedy() {
    let mut files = Files::default();
    files.0.insert("textbook.cfg".into(), TEXTBOOK.into());
    let loaded = files.load(&["textbook.cfg"]);
    let shown: Vec<String> = loaded
        .report
        .diagnostics
        .iter()
        .map(|d| format!("{d}\n"))
        .collect();
    assert_eq!(shown.concat(), TEXTBOOK_SAID);
    assert!(loaded.config.is_none());
}

#[test]
fn the_textbook_file_loads_once_it_is_corrected() {
    let corrected = TEXTBOOK
        .replace("// a load", "# a load")
        .replace("balence", "balance")
        .replace("connect 5 s", "connect 5s")
        .replace("applicaton_nodes", "application_nodes")
        .replace("   // each", "   # each")
        .replace("weghit", "weight")
        .replace("node2 10.0.0.13", "node3 10.0.0.13")
        .replace(
            "server node4",
            "server node4 10.0.0.14:8080 weight 40 check",
        )
        .replace("stats url", "stats uri");
    let loaded = load_text(&corrected);
    assert_eq!(said(&loaded), [""; 0]);
    let config = loaded.config.expect("valid");
    let backend = config.backend("application_nodes").expect("it is there");
    let servers = &backend.backend.as_ref().expect("a server side").servers;
    let weights: Vec<u16> = servers.iter().map(|s| s.weight).collect();
    assert_eq!(weights, [10, 20, 30, 40]);
}

#[test]
fn a_hundred_warnings_do_not_hide_an_error() {
    let mut text = String::from("frontend f\n bind :80\n timeout client 1s\n");
    text.push_str(&" balance roundrobin\n".repeat(150));
    text.push_str(" maxcon 5\n");
    let loaded = load_text(&text);
    assert_eq!(loaded.report.errors(), 1);
    let last = said(&loaded).pop().expect("something was said");
    assert_eq!(
        last,
        "154: error: unknown keyword 'maxcon': did you mean 'maxconn'?"
    );
    assert_eq!(loaded.report.suppressed, 50);
}
