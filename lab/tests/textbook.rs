//! The file of a course: refused with its mistakes, serving once it is corrected.

use lab::{Folder, Program, Proxy, Server, each, get, port};
use std::collections::BTreeMap;

const WITH_MISTAKES: &str = include_str!("../../crates/config/tests/golden/textbook.cfg");

#[test]
fn the_textbook_file_is_refused_by_both_and_explained_by_us() {
    let folder = Folder::new();
    let file = folder.file("textbook.cfg", WITH_MISTAKES.as_bytes());
    each(|program| {
        assert_eq!(program.run(&["-c", "-f", &file]).0, 1, "{}", program.name);
    });
    let (_, text) = Program::mulgil().run(&["-c", "-f", &file]);
    for wanted in [
        "textbook.cfg:1:1: error: '//' starts no comment",
        "textbook.cfg:7:5: error: unknown keyword 'balence': did you mean 'balance'?",
        "textbook.cfg:14:21: error: no backend is called 'application_nodes': did you mean 'applicaton_nodes'?",
        "textbook.cfg:19:33: error: unknown server word 'weghit': did you mean 'weight'?",
        "textbook.cfg:21:12: error: 'applicaton_nodes' has a server 'node2' already, at line 20",
        "textbook.cfg:27:11: error: unknown stats word 'url': did you mean 'uri'?",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
}

#[test]
fn the_corrected_textbook_file_serves_by_the_weights_and_shows_its_statistics() {
    let nodes = ["node1", "node2", "node3", "node4"].map(Server::named);
    each(|program| {
        let (web, stats) = (port(), port());
        let servers: Vec<String> = nodes
            .iter()
            .enumerate()
            .map(|(i, node)| {
                let (n, weight) = (i + 1, (i + 1) * 10);
                format!("    server node{n} {} weight {weight} check\n", node.addr)
            })
            .collect();
        let config = format!(
            "global\n    maxconn 4096\n\ndefaults\n    mode http\n    timeout client 30s\n    timeout server 30s\n    timeout connect 5s\n\n\
             frontend http-in\n    bind 127.0.0.1:{web}\n    default_backend application_nodes\n\n\
             backend application_nodes\n    balance roundrobin\n    option httpchk GET /status\n{}\n\
             listen stats_page\n    bind 127.0.0.1:{stats}\n    stats enable\n    stats uri /\n",
            servers.concat()
        );
        let proxy = Proxy::start(program, &config);
        for n in 1..=4 {
            proxy.wait_for(
                "application_nodes",
                &format!("node{n}"),
                "check_status",
                "L7OK",
            );
        }
        let mut shares: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..100 {
            let answer = get(web, "/");
            assert_eq!(answer.status, 200, "{}", program.name);
            *shares
                .entry(answer.header("x-server").unwrap_or_default())
                .or_default() += 1;
        }
        let shares: Vec<u32> = shares.into_values().collect();
        assert_eq!(shares, [10, 20, 30, 40], "{}", program.name);
        let page = get(stats, "/");
        assert_eq!(page.status, 200, "{}", program.name);
        for wanted in [
            "http-in",
            "application_nodes",
            "node1",
            "node4",
            "stats_page",
        ] {
            assert!(
                page.body.contains(wanted),
                "{}: no {wanted} on the page",
                program.name
            );
        }
    });
}
