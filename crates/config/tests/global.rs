//! The `global` section.

mod common;

use common::{Files, load_text, said};

const PROXY: &str =
    "listen l\n bind :80\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n";

fn says(line: &str) -> Vec<String> {
    said(&load_text(&format!("global\n {line}\n{PROXY}")))
}

#[test]
fn log_targets_are_addresses_descriptors_and_paths() {
    for line in [
        "log 127.0.0.1 local0",
        "log [::1]:514 local0",
        "log /dev/log local0 notice err",
        "log fd@1 local0",
        "log stdout format raw daemon",
        "no log",
    ] {
        assert_eq!(says(line), [""; 0], "{line}");
    }
    for line in [
        "log nosuch.example local0",
        "log 127.0.0.1 nosuch",
        "log global",
        "no log x",
    ] {
        assert!(says(line).iter().any(|s| s.contains("error")), "{line}");
    }
}

#[test]
fn relative_names_start_where_default_path_says() {
    for (policy, found) in [
        ("current", "p.http"),
        ("config", "conf/site/p.http"),
        ("parent", "conf/site/../p.http"),
        ("origin /srv/x", "/srv/x/p.http"),
    ] {
        let mut files = Files::default();
        let text =
            format!("global\n default-path {policy}\n{PROXY} mode http\n errorfile 503 p.http\n");
        files.0.insert("conf/site/a.cfg".into(), text);
        let missing = files.load(&["conf/site/a.cfg"]);
        assert_eq!(missing.report.errors(), 1, "{policy}");
        files.0.insert(found.into(), String::new());
        let loaded = files.load(&["conf/site/a.cfg"]);
        assert_eq!(said(&loaded), [""; 0], "{policy}");
    }
    for wrong in ["", "nosuch", "origin", "config x", "origin a b"] {
        let line = format!("default-path {wrong}");
        assert!(says(&line).iter().any(|s| s.contains("error")), "{line}");
    }
}

#[test]
fn the_environment_is_set_and_forgotten_as_lines_go_by() {
    let text = format!(
        "global\n setenv A one\n presetenv A two\n presetenv B three\n unsetenv HOME\n localpeer me\n\
         .notice \"$A $B ${{HOME-none}} $HAPROXY_LOCALPEER $HAPROXY_CFGFILES\"\n resetenv A\n.notice \"$A ${{B-gone}}\"\n{PROXY}"
    );
    let loaded = load_text(&text);
    assert_eq!(
        said(&loaded),
        ["7: note: one three none me a.cfg", "9: note: one gone"]
    );
}

#[test]
fn keys_of_a_store_lie_where_global_says_unless_the_store_says_otherwise() {
    let global = "global\n crt-base /crts\n key-base /keys\n";
    let load = "load crt site.crt key site.key alias site\n";
    for (store, folder) in [
        (format!("{global}crt-store s\n {load}"), "/keys"),
        (
            format!("{global}crt-store s\n key-base /own\n {load}"),
            "/own",
        ),
        (
            format!("global\n crt-base /crts\ncrt-store s\n {load}"),
            "/crts",
        ),
    ] {
        let mut files = Files::with(&format!("{store}{PROXY} bind :443 ssl crt @s/site\n"));
        let site = files.0["site.pem"].clone();
        let (certificate, key) = site
            .split_once("-----BEGIN PRIVATE")
            .expect("the key is last");
        files.0.extend([
            ("/crts/site.crt".to_string(), certificate.to_string()),
            (
                format!("{folder}/site.key"),
                format!("-----BEGIN PRIVATE{key}"),
            ),
        ]);
        assert_eq!(said(&files.load(&["a.cfg"])), [""; 0], "{store}");
    }
}
