//! Connections that come in as TCP and become ones of HTTP: by their backend, or by `switch-mode`.

use lab::{Client, LogSink, Proxy, Server, each, port};

const TIMES: &str =
    "defaults\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\n";

/// Fields of the last request that a server saw, in lower case and sorted.
fn last(server: &Server) -> String {
    let all = server.requests();
    let mut lines: Vec<String> = all.last().map_or(Vec::new(), |r| {
        r.trim_end().lines().map(str::to_lowercase).collect()
    });
    lines.sort();
    lines.join("|")
}

#[test]
fn a_backend_of_http_makes_http_of_the_connection() {
    each(|program| {
        let (server, web, log) = (Server::named("s"), port(), LogSink::new());
        let config = format!(
            "{TIMES}frontend f\n    mode tcp\n    option tcplog\n    log 127.0.0.1:{} local0\n    bind 127.0.0.1:{web}\n    \
             http-request set-header X-F f\n    default_backend b\n\
             backend b\n    mode http\n    http-request set-header X-B b\n    http-response set-header X-R r\n    server s {}\n",
            log.port, server.addr
        );
        let _proxy = Proxy::start(program, &config);
        let mut client = Client::connect(web);
        for target in ["/a", "/b"] {
            // The head may come in pieces.
            client.send("GE");
            let answer = client.ask(&format!("T {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
            assert_eq!(answer.status, 200, "{}: {}", program.name, answer.head);
            assert_eq!(
                answer.header("x-r").as_deref(),
                Some("r"),
                "{}",
                program.name
            );
            let wanted = format!("get {target} http/1.1|host: x|x-b: b|x-f: f");
            assert_eq!(last(&server), wanted, "{}", program.name);
        }
        drop(client);
        // What is no request is refused as such.
        let mut client = Client::connect(web);
        let answer = client.ask("SSH-2.0-x\r\n\r\n");
        assert_eq!(answer.status, 400, "{}", program.name);
        assert_eq!(server.requests().len(), 2, "{}", program.name);
        // Two workers write them.
        let mut lines: Vec<String> = (0..3)
            .map(|_| log.line(" f "))
            .map(|l| l.split(' ').rev().nth(5).unwrap_or_default().to_string())
            .collect();
        lines.sort();
        assert_eq!(lines, ["b/s", "b/s", "f/<NOSRV>"], "{}", program.name);
    });
}

#[test]
fn a_rule_makes_http_of_the_connections_that_are() {
    each(|program| {
        let (plain, web_server, web) = (Server::named("tcp"), Server::named("http"), port());
        let config = format!(
            "{TIMES}frontend f\n    mode tcp\n    bind 127.0.0.1:{web}\n    tcp-request inspect-delay 4s\n    \
             acl inner path_beg /web\n    tcp-request content switch-mode http if HTTP\n    \
             tcp-request content accept if {{ req.len gt 3 }} !HTTP\n    \
             http-request set-header X-F f\n    http-request deny if {{ path /web/none }}\n    \
             use_backend web if inner\n    default_backend plain\n\
             backend plain\n    mode tcp\n    server s {}\n\
             backend web\n    mode http\n    http-request set-header X-B b\n    server s {}\n",
            plain.addr, web_server.addr
        );
        let _proxy = Proxy::start(program, &config);
        let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut client = Client::connect(web);
        for target in ["/web/a", "/web/b"] {
            let answer = client.ask(&get(target));
            assert_eq!(
                answer.header("x-server").as_deref(),
                Some("http"),
                "{}",
                program.name
            );
            let wanted = format!("get {target} http/1.1|host: x|x-b: b|x-f: f");
            assert_eq!(last(&web_server), wanted, "{}", program.name);
        }
        assert_eq!(
            client.ask(&get("/web/none")).status,
            403,
            "{}",
            program.name
        );
        // A request does not go to a server of TCP.
        let mut client = Client::connect(web);
        client.send(get("/elsewhere"));
        assert!(client.closed(), "{}", program.name);
        assert_eq!(plain.requests().len(), 0, "{}", program.name);
        // What is none goes there as it came.
        let mut client = Client::connect(web);
        let answer = client.ask("SSH-2.0-x\r\n\r\n");
        assert_eq!(
            answer.header("x-server").as_deref(),
            Some("tcp"),
            "{}",
            program.name
        );
        assert_eq!(plain.requests(), ["SSH-2.0-x\r\n\r\n"], "{}", program.name);
    });
}

#[test]
fn a_backend_that_was_chosen_by_bytes_stays_the_first_requests() {
    each(|program| {
        let (plain, web_server, web) = (Server::named("tcp"), Server::named("http"), port());
        let config = format!(
            "{TIMES}frontend f\n    mode tcp\n    bind 127.0.0.1:{web}\n    tcp-request inspect-delay 4s\n    \
             tcp-request content accept if {{ req.len gt 3 }}\n    \
             use_backend web if {{ req.payload(0,3) -m str GET }}\n    default_backend plain\n\
             backend plain\n    mode tcp\n    server s {}\n\
             backend web\n    mode http\n    tcp-request content set-var(txn.t) str(t)\n    \
             http-request set-header X-T %[var(txn.t)]\n    server s {}\n",
            plain.addr, web_server.addr
        );
        let _proxy = Proxy::start(program, &config);
        let mut client = Client::connect(web);
        let answer = client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(
            answer.header("x-server").as_deref(),
            Some("http"),
            "{}",
            program.name
        );
        assert_eq!(
            last(&web_server),
            "get / http/1.1|host: x|x-t: t",
            "{}",
            program.name
        );
    });
}
