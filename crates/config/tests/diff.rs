//! What a change of the configuration is found to change.

mod common;

use common::Files;
use model::{Config, diff};

const BASE: &str = "global\n maxconn 100\ndefaults\n mode http\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n\
frontend f\n bind 127.0.0.1:8001\n errorfile 503 sorry.http\n default_backend a\n\
backend a\n server s 127.0.0.1:8080 weight 3\n\
backend b\n server s localhost:8080\n";

fn config(files: &Files) -> Config {
    let loaded = files.load(&["a.cfg"]);
    loaded
        .config
        .unwrap_or_else(|| panic!("{:?}", common::said(&files.load(&["a.cfg"]))))
}

/// What is said of the change from the base to this text.
fn change(text: &str) -> String {
    diff(&config(&Files::with(BASE)), &config(&Files::with(text))).to_string()
}

#[test]
fn what_is_written_otherwise_and_means_the_same_is_no_change() {
    assert_eq!(change(BASE), "0 added, 0 changed, 0 removed, 3 unchanged");
    let spaced = BASE.replace(" weight 3", "    \"weight\"   3   # three");
    assert_eq!(
        change(&spaced),
        "0 added, 0 changed, 0 removed, 3 unchanged"
    );
    assert_eq!(
        change(&format!("# a comment\n\n{BASE}")),
        "0 added, 0 changed, 0 removed, 3 unchanged"
    );
}

#[test]
fn a_proxy_changes_with_its_lines_and_those_it_starts_from() {
    assert_eq!(
        change(&BASE.replace("weight 3", "weight 4")),
        "0 added, 1 changed, 0 removed, 2 unchanged"
    );
    assert_eq!(
        change(&BASE.replace("timeout server 1s", "timeout server 2s")),
        "0 added, 3 changed, 0 removed, 0 unchanged"
    );
    assert_eq!(
        change(&BASE.replace("maxconn 100", "maxconn 200")),
        "0 added, 3 changed, 0 removed, 0 unchanged"
    );
    let more = format!("{BASE}backend c\n server s 127.0.0.1:1\n");
    assert_eq!(change(&more), "1 added, 0 changed, 0 removed, 3 unchanged");
    let fewer = BASE.replace("backend b\n server s localhost:8080\n", "");
    assert_eq!(change(&fewer), "0 added, 0 changed, 1 removed, 2 unchanged");
    let renamed = BASE.replace("backend b", "backend c");
    assert_eq!(
        change(&renamed),
        "1 added, 0 changed, 1 removed, 2 unchanged"
    );
}

#[test]
fn a_proxy_changes_with_the_files_it_names() {
    let old = config(&Files::with(BASE));
    let mut files = Files::with(BASE);
    let page = "HTTP/1.1 503 Service Unavailable\ncontent-type: text/plain\n\nlater\n";
    files.0.insert("sorry.http".into(), page.into());
    let found = diff(&old, &config(&files));
    assert_eq!(
        found.changed.iter().map(|n| &**n).collect::<Vec<_>>(),
        ["f"]
    );
}

#[test]
fn a_frontend_and_a_backend_of_one_name_are_two() {
    let twins = |weight| {
        let text = BASE
            .replace("backend a", "backend f")
            .replace("default_backend a", "default_backend f");
        config(&Files::with(&text.replace("weight 3", weight)))
    };
    let found = diff(&twins("weight 3"), &twins("weight 5"));
    assert_eq!((found.changed.len(), found.unchanged.len()), (1, 2));
}
