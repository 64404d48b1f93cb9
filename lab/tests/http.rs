//! HTTP/1.1 as clients and servers see it, the same through mulgil and through the oracle.

use lab::{Client, LogSink, Proxy, Server, each, get, port};
use std::io::Write;
use std::time::Duration;

const TIMES: &str = "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n";

fn one(port: u16, front: &str, back: &str, server: &Server) -> String {
    format!(
        "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n{front}    default_backend b\nbackend b\n{back}    server s1 {}\n",
        server.addr
    )
}

#[test]
fn round_robin_follows_the_weights() {
    each(|program| {
        let (a, b) = (Server::named("a"), Server::named("b"));
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    balance roundrobin\n    server a {} weight 3\n    server b {} weight 1\n",
                a.addr, b.addr
            ),
        );
        let named: Vec<_> = (0..8)
            .filter_map(|_| get(port, "/").header("x-server"))
            .collect();
        let share = |n: &str| named.iter().filter(|s| *s == n).count();
        assert_eq!(
            (share("a"), share("b")),
            (6, 2),
            "{}: {named:?}",
            program.name
        );
    });
}

#[test]
fn a_connection_carries_many_requests_and_pipelined_ones_in_order() {
    each(|program| {
        let server = Server::start(|request, stream| {
            let path = request.split(' ').nth(1).unwrap_or("").to_string();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}",
                path.len()
            )
            .is_ok()
        });
        let port = port();
        let _proxy = Proxy::start(program, &one(port, "", "", &server));
        let mut client = Client::connect(port);
        client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: x\r\n\r\n");
        let bodies: Vec<_> = (0..3).map(|_| client.response().body).collect();
        assert_eq!(bodies, ["/1", "/2", "/3"], "{}", program.name);
        assert_eq!(client.ask("GET /4 HTTP/1.1\r\nHost: x\r\n\r\n").body, "/4");
    });
}

#[test]
fn bodies_of_every_framing_arrive_whole_in_both_directions() {
    each(|program| {
        let big = "x".repeat(300_000);
        let server = Server::start(|request, stream| {
            let body = request
                .split_once("\r\n\r\n")
                .map_or("", |p| p.1)
                .to_string();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .is_ok()
        });
        let port = port();
        let _proxy = Proxy::start(program, &one(port, "", "", &server));
        let mut client = Client::connect(port);
        let sent = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{big}",
            big.len()
        );
        assert_eq!(client.ask(&sent).body.len(), big.len(), "{}", program.name);
        let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\nT: 1\r\n\r\n";
        let echoed = client.ask(chunked).body;
        assert!(
            echoed.contains("abc") && !echoed.contains("ext"),
            "{}: {echoed:?}",
            program.name
        );
    });
}

#[test]
fn close_delimited_and_chunked_responses_and_bodyless_ones() {
    each(|program| {
        let server = Server::start(|request, stream| {
            let answer: &[u8] = match request.split(' ').nth(1) {
                Some("/close") => b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
                Some("/chunks") => {
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                }
                Some("/none") => b"HTTP/1.1 204 No Content\r\n\r\n",
                Some("/same") => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
                _ => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            };
            stream.write_all(answer).is_ok() && !request.contains("/close")
        });
        let port = port();
        let _proxy = Proxy::start(program, &one(port, "", "", &server));
        assert_eq!(
            get(port, "/close").body,
            "until the end",
            "{}",
            program.name
        );
        let mut client = Client::connect(port);
        let mut ask =
            |m: &str, p: &str| client.ask(&format!("{m} {p} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(ask("GET", "/chunks").body.contains("abc"));
        assert_eq!(ask("GET", "/none").status, 204);
        assert_eq!(ask("GET", "/same").status, 304);
        client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET /none HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut text = String::new();
        while !(text.contains("200") && text.contains("204") && text.ends_with("\r\n\r\n")) {
            let mut chunk = [0; 4096];
            let n = std::io::Read::read(&mut client.stream, &mut chunk).unwrap_or(0);
            assert!(n > 0, "{}: two heads, not {text:?}", program.name);
            text.push_str(&String::from_utf8_lossy(&chunk[..n]));
        }
    });
}

#[test]
fn an_upgrade_opens_a_tunnel() {
    each(|program| {
        let server = Server::start(|_, stream| {
            let _ = stream.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
            );
            let mut chunk = [0; 64];
            while let Ok(n) = std::io::Read::read(stream, &mut chunk) {
                if n == 0 || stream.write_all(&chunk[..n]).is_err() {
                    break;
                }
            }
            false
        });
        let port = port();
        let _proxy = Proxy::start(program, &one(port, "", "", &server));
        let mut client = Client::connect(port);
        let answer =
            client.ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        assert_eq!(answer.status, 101, "{}", program.name);
        client.send("hello");
        let mut chunk = [0; 5];
        std::io::Read::read_exact(&mut client.stream, &mut chunk).expect("the echo");
        assert_eq!(&chunk, b"hello");
    });
}

#[test]
fn what_comes_right_behind_connect_goes_through_the_tunnel() {
    each(|program| {
        let server = Server::start(|_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let mut hello = [0; 5];
            let read = std::io::Read::read_exact(stream, &mut hello);
            read.is_ok() && stream.write_all(&hello).is_err()
        });
        let port = port();
        let _proxy = Proxy::start(program, &one(port, "", "", &server));
        let mut client = Client::connect(port);
        client.send("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\nhello");
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut client.stream, &mut all).expect("the end");
        let all = String::from_utf8_lossy(&all);
        assert!(
            all.starts_with("HTTP/1.1 200") && all.ends_with("\r\n\r\nhello"),
            "{}: {all}",
            program.name
        );
    });
}

#[test]
fn what_could_be_read_in_two_ways_reaches_no_server() {
    each(|program| {
        let server = Server::named("s");
        let port = port();
        let _proxy = Proxy::start(program, &one(port, "", "", &server));
        for bad in [
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nHo st: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            "GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n",
        ] {
            let mut client = Client::connect(port);
            let answer = client.ask(bad);
            assert!(
                (400..500).contains(&answer.status),
                "{}: {bad:?} gave {answer:?}",
                program.name
            );
            assert!(client.closed(), "{}: {bad:?}", program.name);
        }
        assert!(
            server.requests().is_empty(),
            "{}: {:?}",
            program.name,
            server.requests()
        );
    });
}

#[test]
fn a_nul_in_a_field_is_refused_where_the_oracle_lets_it_pass() {
    // RFC 9110 section 5.5 asks for a refusal or a replacement; servers written in C stop at it.
    let server = Server::named("s");
    let port = port();
    let _proxy = Proxy::start(&lab::Program::mulgil(), &one(port, "", "", &server));
    let mut client = Client::connect(port);
    assert_eq!(
        client
            .ask("GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n")
            .status,
        400
    );
    assert!(server.requests().is_empty());
}

#[test]
fn chunks_win_over_a_length_and_the_length_is_not_passed_on() {
    each(|program| {
        let server = Server::named("s");
        let port = port();
        let _proxy = Proxy::start(program, &one(port, "", "", &server));
        let mut client = Client::connect(port);
        let answer = client.ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        assert_eq!(answer.status, 200, "{}", program.name);
        let seen = server.requests().join("").to_lowercase();
        assert!(
            !seen.contains("content-length"),
            "{}: {seen:?}",
            program.name
        );
    });
}

#[test]
fn connection_modes_and_old_clients() {
    each(|program| {
        let server = Server::named("s");
        for (option, to_server, client_closes) in [
            ("", false, false),
            ("    option http-server-close\n", true, false),
            ("    option httpclose\n", true, true),
        ] {
            let port = port();
            let _proxy = Proxy::start(program, &one(port, option, "", &server));
            let mut client = Client::connect(port);
            let answer = client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            let seen = server.requests().pop().unwrap_or_default().to_lowercase();
            assert_eq!(
                seen.contains("connection: close"),
                to_server,
                "{} {option}",
                program.name
            );
            let told = answer.header("connection").is_some_and(|c| c == "close");
            assert_eq!(told, client_closes, "{} {option}", program.name);
            let mut old = Client::connect(port);
            assert_eq!(old.ask("GET / HTTP/1.0\r\n\r\n").status, 200);
            assert!(old.closed(), "{} {option}", program.name);
        }
    });
}

#[test]
fn the_clients_address_is_passed_on_as_the_options_say() {
    each(|program| {
        let server = Server::named("s");
        for (option, wanted, refused) in [
            ("option forwardfor", "x-forwarded-for: 127.0.0.1", "nothing"),
            (
                "option forwardfor header X-Client",
                "x-client: 127.0.0.1",
                "x-forwarded-for",
            ),
            (
                "option forwardfor except 127.0.0.0/8",
                "host:",
                "x-forwarded-for",
            ),
            ("option originalto", "x-original-to: 127.0.0.1", "nothing"),
        ] {
            let port = port();
            let _proxy = Proxy::start(program, &one(port, &format!("    {option}\n"), "", &server));
            get(port, "/");
            let seen = server.requests().pop().unwrap_or_default().to_lowercase();
            assert!(
                seen.contains(wanted) && !seen.contains(refused),
                "{} {option}: {seen}",
                program.name
            );
        }
    });
}

#[test]
fn rules_change_requests_and_responses_and_answer_themselves() {
    each(|program| {
        let server = Server::named("s");
        let port = port();
        let rules = "    acl admin path_beg /admin\n    http-request deny if admin !{ src 10.0.0.0/8 }\n    \
            http-request redirect location /new code 301 if { path /old }\n    \
            http-request return status 200 content-type text/plain lf-string \"%[method] %[path,upper]\" if { path -m end .txt }\n    \
            http-request set-header X-Host %[req.hdr(host),lower]\n    http-request set-path /v2%[path] if { hdr_dom(host) -i example }\n    \
            http-response set-header X-Seen yes\n    http-response del-header X-Server\n";
        let _proxy = Proxy::start(program, &one(port, rules, "", &server));
        assert_eq!(get(port, "/admin/x").status, 403, "{}", program.name);
        let moved = get(port, "/old");
        assert_eq!(
            (moved.status, moved.header("location").as_deref()),
            (301, Some("/new"))
        );
        assert_eq!(get(port, "/a.txt").body, "GET /A.TXT", "{}", program.name);
        let answer = get(port, "/p");
        assert_eq!(
            (
                answer.header("x-seen").as_deref(),
                answer.header("x-server")
            ),
            (Some("yes"), None)
        );
        let seen = server.requests().join("").to_lowercase();
        assert!(
            seen.contains("get /v2/p http/1.1") && seen.contains("x-host: test.example"),
            "{}: {seen}",
            program.name
        );
    });
}

#[test]
fn backends_are_switched_by_path_host_and_method() {
    each(|program| {
        let (a, b, c) = (Server::named("a"), Server::named("b"), Server::named("c"));
        let port = port();
        let config = format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n    use_backend a if {{ path_beg /a }}\n    use_backend b if {{ hdr(host) -i b.example }} METH_POST\n    default_backend c\n\
             backend a\n    server s {}\nbackend b\n    server s {}\nbackend c\n    server s {}\n",
            a.addr, b.addr, c.addr
        );
        let _proxy = Proxy::start(program, &config);
        let mut client = Client::connect(port);
        let mut to = |request: &str| client.ask(request).header("x-server").unwrap_or_default();
        assert_eq!(to("GET /a/1 HTTP/1.1\r\nHost: x\r\n\r\n"), "a");
        assert_eq!(
            to("POST / HTTP/1.1\r\nHost: B.example\r\nContent-Length: 0\r\n\r\n"),
            "b"
        );
        assert_eq!(to("GET / HTTP/1.1\r\nHost: b.example\r\n\r\n"), "c");
    });
}

#[test]
fn each_failure_has_its_status_and_its_log_line() {
    each(|program| {
        let sink = LogSink::new();
        let stalls = Server::start(|_, _| {
            std::thread::sleep(Duration::from_secs(3));
            false
        });
        let junk = Server::fixed(b"garbage\r\n\r\n", false);
        let leaves = Server::start(|_, _| false);
        let (port, nobody) = (port(), port());
        let config = format!(
            "{TIMES}    timeout server 1s\n    timeout http-request 300ms\n    retries 0\n    option httplog\n    log 127.0.0.1:{log} local0\nfrontend f\n    bind 127.0.0.1:{port}\n    http-request deny if {{ path /deny }}\n    \
             use_backend none if {{ path /none }}\n    use_backend refused if {{ path /refused }}\n    use_backend stalls if {{ path /stalls }}\n    use_backend junk if {{ path /junk }}\n    default_backend leaves\n\
             backend none\nbackend refused\n    server s 127.0.0.1:{nobody}\nbackend stalls\n    server s {}\nbackend junk\n    server s {}\nbackend leaves\n    server s {}\n",
            stalls.addr,
            junk.addr,
            leaves.addr,
            log = sink.port
        );
        let _proxy = Proxy::start(program, &config);
        for (path, status, flags, server) in [
            ("/deny", 403, "PR--", "f/<NOSRV>"),
            ("/none", 503, "SC--", "none/<NOSRV>"),
            ("/refused", 503, "SC--", "refused/s"),
            ("/stalls", 504, "sH--", "stalls/s"),
            ("/junk", 502, "PH--", "junk/s"),
            ("/leaves", 502, "SH--", "leaves/s"),
        ] {
            assert_eq!(get(port, path).status, status, "{} {path}", program.name);
            let line = sink.line(&format!("\"GET {path} HTTP/1.1\""));
            assert!(
                line.contains(&format!(" {flags} ")) && line.contains(server),
                "{}: {line}",
                program.name
            );
        }
        let mut slow = Client::connect(port);
        assert_eq!(slow.ask("GET / HT").status, 408, "{}", program.name);
        assert!(sink.line("<BADREQ>").contains(" cR-- "), "{}", program.name);
        let mut bad = Client::connect(port);
        assert_eq!(bad.ask("BAD\r\n\r\n").status, 400, "{}", program.name);
        assert!(sink.line("<BADREQ>").contains(" PR-- "), "{}", program.name);
    });
}

#[test]
fn the_http_log_line_has_every_field() {
    each(|program| {
        let sink = LogSink::new();
        let server = Server::named("s");
        let port = port();
        let front = format!(
            "    option httplog\n    log 127.0.0.1:{} local0\n    capture request header Host len 4\n",
            sink.port
        );
        let _proxy = Proxy::start(program, &one(port, &front, "", &server));
        get(port, "/x?y=z");
        let line = sink.line("/x?y=z");
        let fields: Vec<&str> = line
            .split_once("127.0.0.1:")
            .expect("a client")
            .1
            .split(' ')
            .collect();
        assert_eq!(fields[2..4], ["f", "b/s1"], "{}: {line}", program.name);
        assert_eq!(fields[5], "200");
        assert_eq!(fields[7..10], ["-", "-", "----"]);
        assert_eq!(fields[10], "1/1/0/0/0", "{}: {line}", program.name);
        assert_eq!(
            fields[11..],
            ["0/0", "{test}", "\"GET", "/x?y=z", "HTTP/1.1\""],
            "{}: {line}",
            program.name
        );
        assert!(line.starts_with("<134>"), "{line}");
    });
}

#[test]
fn a_full_server_makes_requests_wait_and_the_queue_has_its_timeout() {
    each(|program| {
        let server = Server::start(|request, stream| {
            let slow = request.contains("/slow");
            std::thread::sleep(Duration::from_millis(if slow { 1800 } else { 1 }));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .is_ok()
        });
        let port = port();
        let config = format!(
            "{TIMES}    timeout queue 250ms\n    timeout server 9s\nlisten l\n    bind 127.0.0.1:{port}\n    server s {} maxconn 1\n",
            server.addr
        );
        let proxy = Proxy::start(program, &config);
        let mut first = Client::connect(port);
        first.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        proxy.wait_for("l", "s", "scur", "1");
        assert_eq!(
            get(port, "/late").status,
            503,
            "{}: waited too long",
            program.name
        );
        assert_eq!(first.response().status, 200);
        assert_eq!(
            get(port, "/now").status,
            200,
            "{}: the place is free again",
            program.name
        );
    });
}

#[test]
fn a_dead_server_is_left_for_another_when_redispatch_says_so() {
    each(|program| {
        let server = Server::named("alive");
        let (port, nobody) = (port(), port());
        let config = format!(
            "{TIMES}    retries 1\n    option redispatch\nlisten l\n    bind 127.0.0.1:{port}\n    server dead 127.0.0.1:{nobody}\n    server alive {}\n",
            server.addr
        );
        let _proxy = Proxy::start(program, &config);
        for _ in 0..4 {
            assert_eq!(
                get(port, "/").header("x-server").as_deref(),
                Some("alive"),
                "{}",
                program.name
            );
        }
    });
}

#[test]
fn checks_take_servers_out_and_bring_them_back_and_backups_step_in() {
    each(|program| {
        let healthy = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let state = std::sync::Arc::clone(&healthy);
        let server = Server::start(move |_, stream| {
            let status = if state.load(std::sync::atomic::Ordering::Relaxed) {
                "200 OK"
            } else {
                "500 Bad"
            };
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: 0\r\nX-Server: main\r\n\r\n"
            )
            .is_ok()
        });
        let backup = Server::named("backup");
        let port = port();
        let config = format!(
            "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    option httpchk GET /status\n    timeout check 5s\n    default-server inter 50ms rise 2 fall 2\n    server main {} check\n    server spare {} check backup\n",
            server.addr, backup.addr
        );
        let proxy = Proxy::start(program, &config);
        proxy.wait_for("l", "main", "check_status", "L7OK");
        // One good check after a late one does not bring it back yet.
        proxy.wait_for("l", "main", "status", "UP");
        assert_eq!(
            get(port, "/").header("x-server").as_deref(),
            Some("main"),
            "{}",
            program.name
        );
        healthy.store(false, std::sync::atomic::Ordering::Relaxed);
        proxy.wait_for("l", "main", "status", "DOWN");
        // While a check runs a star stands before it.
        proxy.wait_for("l", "main", "check_status", "L7STS");
        assert_eq!(
            get(port, "/").header("x-server").as_deref(),
            Some("backup"),
            "{}",
            program.name
        );
        healthy.store(true, std::sync::atomic::Ordering::Relaxed);
        proxy.wait_for("l", "main", "status", "UP");
        assert_eq!(
            get(port, "/").header("x-server").as_deref(),
            Some("main"),
            "{}",
            program.name
        );
    });
}

#[test]
fn error_pages_come_from_files_and_locations() {
    each(|program| {
        let folder = lab::Folder::new();
        let page = folder.file(
            "503.http",
            b"HTTP/1.0 503 Gone fishing\r\nContent-Type: text/plain\r\n\r\nback soon\n",
        );
        let port = port();
        let config = format!(
            "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    errorfile 503 {page}\n    errorloc 403 http://sorry.example/\n    http-request deny if {{ path /no }}\n"
        );
        let _proxy = Proxy::start(program, &config);
        let answer = get(port, "/");
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (503, "back soon\n"),
            "{}",
            program.name
        );
        let moved = get(port, "/no");
        assert_eq!(
            (moved.status, moved.header("location").as_deref()),
            (302, Some("http://sorry.example/")),
            "{}",
            program.name
        );
    });
}

#[test]
fn a_server_that_misbehaves_costs_one_request_only() {
    each(|program| {
        let server = Server::start(|request, stream| {
            let (answer, goes_on): (&[u8], bool) = match request.split(' ').nth(1) {
                Some("/short") => (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", false),
                Some("/long") => (
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
                    true,
                ),
                Some("/chunk") => (
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                    false,
                ),
                Some("/two") => (
                    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                    false,
                ),
                _ => (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
            };
            stream.write_all(answer).is_ok() && goes_on
        });
        let port = port();
        let _proxy = Proxy::start(program, &one(port, "", "", &server));
        for path in ["/short", "/long", "/chunk", "/two"] {
            get(port, path);
            assert_eq!(
                get(port, "/good").body,
                "ok",
                "{} after {path}",
                program.name
            );
        }
        assert_eq!(get(port, "/two").status, 502, "{}", program.name);
    });
}

#[test]
fn tcp_mode_moves_bytes_both_ways_and_closes_one_way_at_a_time() {
    each(|program| {
        let listener = lab::listener();
        let addr = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let mut all = Vec::new();
                    let _ = std::io::Read::read_to_end(&mut stream, &mut all);
                    let _ = stream.write_all(&all);
                });
            }
        });
        let port = port();
        let config = format!(
            "defaults\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\nlisten l\n    mode tcp\n    bind 127.0.0.1:{port}\n    server s {addr}\n"
        );
        let _proxy = Proxy::start(program, &config);
        let mut client = Client::connect(port);
        let data = vec![7u8; 500_000];
        client.send(&data);
        client
            .stream
            .shutdown(std::net::Shutdown::Write)
            .expect("half close");
        let mut back = Vec::new();
        std::io::Read::read_to_end(&mut client.stream, &mut back).expect("the echo");
        assert_eq!(back.len(), data.len(), "{}", program.name);
    });
}
