//! Settings of HTTP whose effect shows in what passes: kept connections, limits, names of servers.

use lab::{Client, Proxy, Server, each, port};
use std::collections::BTreeSet;
use std::io::Write;

const TIMES: &str = "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\n";

/// Answers with the port of the connection that a request came by.
fn telling() -> Server {
    Server::start(|_, stream| {
        let body = stream.peer_addr().map_or(0, |a| a.port()).to_string();
        let length = body.len();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).is_ok()
    })
}

#[test]
fn connections_are_shared_as_far_as_http_reuse_allows() {
    each(|program| {
        // Two requests of each of three clients, one client after the other.
        for (mode, connections) in [("never", 3), ("safe", 3), ("aggressive", 1), ("always", 1)] {
            let (server, web) = (telling(), port());
            let text = format!(
                "    nbthread 1\n{TIMES}listen l\n    bind 127.0.0.1:{web}\n    http-reuse {mode}\n    server s {}\n",
                server.addr
            );
            let _proxy = Proxy::start(program, &text);
            let mut seen = BTreeSet::new();
            for _ in 0..3 {
                let mut client = Client::connect(web);
                for _ in 0..2 {
                    let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                    assert_eq!(answer.status, 200, "{} {mode}", program.name);
                    seen.insert(answer.body);
                }
            }
            assert!(
                seen.len() >= connections,
                "{} {mode}: {seen:?}",
                program.name
            );
            let most = if connections == 1 { 2 } else { 3 };
            assert!(seen.len() <= most, "{} {mode}: {seen:?}", program.name);
        }
    });
}

#[test]
fn a_request_has_no_more_fields_than_it_may() {
    each(|program| {
        let web = port();
        let text = format!(
            "    tune.http.maxhdr 20\n{TIMES}listen l\n    bind 127.0.0.1:{web}\n    http-request return status 200\n"
        );
        let _proxy = Proxy::start(program, &text);
        let ask = |count: usize| {
            let fields: String = (0..count).map(|n| format!("X-{n}: {n}\r\n")).collect();
            Client::connect(web)
                .ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
                .status
        };
        assert_eq!(ask(10), 200, "{}", program.name);
        assert!(matches!(ask(40), 400 | 431), "{}", program.name);
    });
}

#[test]
fn a_server_is_told_its_name() {
    each(|program| {
        let (server, web) = (Server::named("s"), port());
        let text = format!(
            "{TIMES}listen l\n    bind 127.0.0.1:{web}\n    http-send-name-header X-Name\n    server first {}\n",
            server.addr
        );
        let _proxy = Proxy::start(program, &text);
        let mut client = Client::connect(web);
        client.ask("GET / HTTP/1.1\r\nHost: a\r\nx-name: mine\r\nX-Name: too\r\n\r\n");
        let request = server.requests().concat().to_lowercase();
        let names: Vec<&str> = request
            .lines()
            .filter(|l| l.starts_with("x-name:"))
            .collect();
        assert_eq!(names, ["x-name: first"], "{}", program.name);
    });
}
