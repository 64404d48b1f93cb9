//! Words of proxies and servers, each beside the oracle.

use lab::{Client, LogSink, Program, Proxy, Server, each, get, port};
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

const TIMES: &str = "defaults\n    mode http\n    timeout client 2s\n    timeout server 5s\n    timeout connect 500ms\n    timeout queue 5s\n    retries 1\n";

/// A frontend with these lines before a backend with these lines and servers.
fn start(program: &Program, port: u16, front: &str, back: &str) -> Proxy {
    Proxy::start(
        program,
        &format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n{front}    default_backend b\nbackend b\n{back}"
        ),
    )
}

/// A server that is slow: for so long it says nothing.
fn slow(name: &'static str, silence: Duration) -> Server {
    Server::start(move |_, stream| {
        std::thread::sleep(silence);
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Server: {name}\r\n\r\nok"
        )
        .is_ok()
    })
}

#[test]
fn logasap_logs_when_the_response_begins() {
    each(|program| {
        let server = Server::start(|_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
            std::thread::sleep(Duration::from_millis(400));
            stream.write_all(b"cd").is_ok()
        });
        let (log, port) = (LogSink::new(), port());
        let front = format!(
            "    log 127.0.0.1:{} local0\n    option logasap\n    log-format \"asap %ST %tsc %Ta\"\n",
            log.port
        );
        let _proxy = start(
            program,
            port,
            &front,
            &format!("    server s {}\n", server.addr),
        );
        let mut client = Client::connect(port);
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let line = log.line("asap");
        assert!(line.contains("asap 200 ---- +"), "{}: {line}", program.name);
        assert_eq!(client.response().body, "abcd", "{}", program.name);
    });
}

#[test]
fn error_log_format_is_for_what_never_became_a_request() {
    each(|program| {
        let (log, port) = (LogSink::new(), port());
        let front = format!(
            "    log 127.0.0.1:{} local0\n    option dontlog-normal\n    log-format \"line=normal %ST %tsc\"\n    error-log-format \"line=error %ST %tsc\"\n    http-request redirect location /x if {{ path /redirect }}\n    http-request return status 500 if {{ path /500 }}\n    http-request deny\n",
            log.port
        );
        let _proxy = start(program, port, &front, "");
        let expect = |path: &str, wanted: &str| {
            get(port, path);
            let line = log.line("line=");
            assert!(line.contains(wanted), "{}: {path}: {line}", program.name);
        };
        expect("/", "normal 403 PR--");
        // The redirect is normal and leaves no line.
        get(port, "/redirect");
        expect("/500", "normal 500 LR--");
        let mut client = Client::connect(port);
        assert_eq!(client.ask("BAD\r\n\r\n").status, 400);
        let line = log.line("line=");
        assert!(line.contains("error 400 PR--"), "{}: {line}", program.name);
    });
}

#[test]
fn httpslog_has_its_fields_without_tls() {
    each(|program| {
        let server = Server::named("a");
        let (log, port) = (LogSink::new(), port());
        let front = format!(
            "    log 127.0.0.1:{} local0\n    option httpslog\n",
            log.port
        );
        let _proxy = start(
            program,
            port,
            &front,
            &format!("    server s {}\n", server.addr),
        );
        get(port, "/");
        let line = log.line(" f b/s ");
        assert!(
            line.ends_with("\"GET / HTTP/1.1\" 0/-/-/-/0 -/-/-"),
            "{}: {line}",
            program.name
        );
    });
}

#[test]
fn redir_sends_clients_to_the_server_itself() {
    each(|program| {
        let server = Server::named("a");
        let port = port();
        let back = format!("    server s {} redir http://img.example\n", server.addr);
        let _proxy = start(program, port, "", &back);
        let answer = get(port, "/p?q=1");
        assert_eq!(
            (answer.status, answer.header("location").as_deref()),
            (302, Some("http://img.example/p?q=1")),
            "{}",
            program.name
        );
        let mut client = Client::connect(port);
        let posted = client.ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(posted.status, 200, "{}", program.name);
    });
}

#[test]
fn prefer_last_server_keeps_a_client_where_it_was() {
    each(|program| {
        let (a, b) = (Server::named("a"), Server::named("b"));
        let port = port();
        let back = format!(
            "    balance roundrobin\n    option prefer-last-server\n    http-reuse never\n    server a {}\n    server b {}\n",
            a.addr, b.addr
        );
        let _proxy = start(program, port, "", &back);
        for _ in 0..2 {
            let mut client = Client::connect(port);
            let mut ask = || {
                client
                    .ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    .header("x-server")
            };
            let first = ask();
            assert!((0..4).all(|_| ask() == first), "{}", program.name);
        }
        assert!(
            !a.requests().is_empty() && !b.requests().is_empty(),
            "{}",
            program.name
        );
    });
}

#[test]
fn nolinger_takes_leave_by_a_reset() {
    each(|program| {
        let server = Server::named("a");
        let port = port();
        let back = format!("    server s {}\n", server.addr);
        let _proxy = start(program, port, "    option nolinger\n", &back);
        let mut client = Client::connect(port);
        let answer = client.ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(answer.body, "ok", "{}", program.name);
        let end = client.stream.read(&mut [0]).map_err(|e| e.kind());
        // The oracle ends a connection of HTTP in order whatever it is told.
        let ours = program.name == "mulgil";
        let wanted = if ours {
            Err(ErrorKind::ConnectionReset)
        } else {
            Ok(0)
        };
        assert_eq!(end, wanted, "{}", program.name);
    });
}

/// Three clients whose cookie names a server with one place and one place to wait; who answered.
fn full_queue(program: &Program, redispatch: &str) -> Vec<String> {
    let (a, b) = (
        slow("a", Duration::from_millis(1500)),
        slow("b", Duration::ZERO),
    );
    let port = port();
    let back = format!(
        "    cookie S insert indirect\n{redispatch}    server a {} cookie a maxconn 1 maxqueue 1\n    server b {} cookie b\n",
        a.addr, b.addr
    );
    let proxy = start(program, port, "", &back);
    // The first has the place and the second waits before the next one comes.
    let threads: Vec<_> = [Some("scur"), Some("qcur"), None]
        .into_iter()
        .map(|taken| {
            let asking = std::thread::spawn(move || {
                let request =
                    "GET / HTTP/1.1\r\nHost: x\r\nCookie: S=a\r\nConnection: close\r\n\r\n";
                let answer = Client::connect(port).ask(request);
                let status = answer.status.to_string();
                answer.header("x-server").unwrap_or(status)
            });
            if let Some(field) = taken {
                proxy.wait_for("b", "a", field, "1");
            }
            asking
        })
        .collect();
    let answers = threads.into_iter();
    answers.map(|t| t.join().expect("an answer")).collect()
}

#[test]
fn a_full_queue_of_the_cookies_server_sends_the_next_elsewhere() {
    each(|program| {
        let elsewhere = full_queue(program, "    option redispatch\n");
        assert_eq!(elsewhere, ["a", "a", "b"], "{}", program.name);
        assert_eq!(
            full_queue(program, ""),
            ["a", "a", "503"],
            "{}",
            program.name
        );
    });
}

#[test]
fn minconn_lets_the_limit_grow_with_the_load() {
    each(|program| {
        let server = slow("a", Duration::from_millis(1800));
        let port = port();
        let back = format!(
            "    fullconn 4\n    server a {} minconn 1 maxconn 4\n",
            server.addr
        );
        let proxy = start(program, port, "", &back);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                std::thread::sleep(Duration::from_millis(50));
                std::thread::spawn(move || get(port, "/").status)
            })
            .collect();
        // Two sessions of four: half of maxconn, which is two places.
        proxy.wait_for("b", "a", "scur", "2");
        for thread in threads {
            assert_eq!(thread.join().expect("an answer"), 200, "{}", program.name);
        }
    });
}

#[test]
fn rate_limit_sessions_spreads_new_connections_over_time() {
    each(|program| {
        let begin = |limit: &str| {
            let port = port();
            let front = format!("{limit}    http-request return status 200\n");
            (start(program, port, &front, ""), port)
        };
        // All are there at once: who is not taken yet waits in the socket's queue.
        let burst = |port: u16| {
            let mut clients: Vec<Client> = (0..15).map(|_| Client::connect(port)).collect();
            for client in &mut clients {
                client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            }
            for client in &mut clients {
                assert_eq!(client.response().status, 200, "{}", program.name);
            }
        };
        let most = |proxy: &Proxy| -> u32 {
            let rate = proxy.stat("f", "FRONTEND", "rate_max");
            rate.parse().expect("a number")
        };
        let (limited, port) = begin("    rate-limit sessions 5\n");
        burst(port);
        // Rates are of a second that slides: twice the limit may be seen, but not all of them.
        let held = most(&limited);
        assert!((1..15).contains(&held), "{}: {held}", program.name);
        // Without it they are taken as they come, however slow the machine is now and then.
        let (free, port) = begin("");
        let end = std::time::Instant::now() + lab::PATIENCE * 2;
        while most(&free) < 15 {
            assert!(std::time::Instant::now() < end, "{}", program.name);
            burst(port);
        }
    });
}

/// What is asked of a server that dies is asked of another where configuration and method allow that.
#[test]
fn a_request_on_a_server_that_dies_is_asked_again_where_it_may_be() {
    const RETRY: &str = "retry-on conn-failure empty-response";
    const GUARD: &str = "http-request disable-l7-retry if METH_POST";
    // Lines, whether the server takes the request, the method, the status, and how often the server was asked.
    let cases = [
        (vec![], true, "GET", 502, 1),
        (vec![RETRY], true, "GET", 200, 1),
        (vec![RETRY], true, "POST", 200, 1),
        (vec![RETRY, GUARD], true, "GET", 200, 1),
        (vec![RETRY, GUARD], true, "POST", 502, 1),
        (vec![RETRY, "retries 0"], true, "GET", 502, 1),
        (vec!["retry-on response-timeout"], true, "GET", 502, 1),
        (vec!["retry-on all-retryable-errors"], true, "GET", 200, 1),
        // Nothing was said to one that refuses connections.
        (vec![], false, "GET", 200, 0),
        (vec![GUARD], false, "POST", 200, 0),
        (vec!["retries 0"], false, "POST", 503, 0),
        (vec!["retry-on none"], false, "GET", 503, 0),
    ];
    let alive = Server::named("alive");
    each(|program| {
        for (lines, takes, method, status, asked) in &cases {
            let dying = Server::start(|_, _| false);
            let dies = match takes {
                true => dying.addr.to_string(),
                false => format!("127.0.0.1:{}", lab::refusing()),
            };
            let port = port();
            let lines: String = lines.iter().map(|l| format!("    {l}\n")).collect();
            let back = format!(
                "    option redispatch 1\n    server dies {dies}\n    server alive {}\n",
                alive.addr
            );
            let _proxy = start(program, port, "", &(lines.clone() + &back));
            let request = format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
            let answer = Client::connect(port).ask(&request);
            let told = format!("{}: {method} {lines} {takes}", program.name);
            assert_eq!(answer.status, *status, "{told}");
            assert_eq!(dying.requests().len(), *asked, "{told}");
        }
    });
}

/// The payload of a chunked body.
fn unchunked(body: &str) -> usize {
    let size = body.split("\r\n").next().unwrap_or("");
    usize::from_str_radix(size, 16).unwrap_or(0)
}

#[test]
fn compression_follows_what_the_client_takes_and_the_response_is() {
    each(|program| {
        let server = Server::start(|request, stream| {
            let kind = request.split(' ').nth(1).unwrap_or("").replace("/", "");
            let text = "hello ".repeat(100);
            let length = text.len();
            let fields = match kind.as_str() {
                "png" => "Content-Type: image/png\r\n",
                "etag" => "Content-Type: text/plain\r\nETag: \"a\"\r\n",
                "same" => "Content-Type: text/plain\r\nCache-Control: no-transform\r\n",
                _ => "Content-Type: text/plain; charset=utf-8\r\n",
            };
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{fields}\r\n{text}"
            )
            .is_ok()
        });
        let port = port();
        let front = "    compression algo gzip\n    compression type text/plain\n";
        let _proxy = start(
            program,
            port,
            front,
            &format!("    server s {}\n", server.addr),
        );
        let ask = |path: &str, accept: &str| {
            let mut client = Client::connect(port);
            client.ask(&format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {accept}\r\nConnection: close\r\n\r\n"
            ))
        };
        let packed = ask("/", "gzip;q=0.5");
        assert_eq!(
            packed.header("content-encoding").as_deref(),
            Some("gzip"),
            "{}",
            program.name
        );
        assert_eq!(
            packed.header("vary").as_deref(),
            Some("Accept-Encoding"),
            "{}",
            program.name
        );
        assert_eq!(packed.header("content-length"), None, "{}", program.name);
        assert!(
            (1..200).contains(&unchunked(&packed.body)),
            "{}: {}",
            program.name,
            packed.body.len()
        );
        assert_eq!(
            ask("/etag", "gzip").header("etag").as_deref(),
            Some("W/\"a\""),
            "{}",
            program.name
        );
        for (path, accept) in [
            ("/", "br"),
            ("/", "gzip;q=0"),
            ("/png", "gzip"),
            ("/same", "gzip"),
        ] {
            let plain = ask(path, accept);
            assert_eq!(
                plain.header("content-encoding"),
                None,
                "{}: {path}",
                program.name
            );
            assert_eq!(plain.body.len(), 600, "{}: {path}", program.name);
        }
    });
}

#[test]
fn what_was_compressed_can_be_read_again() {
    each(|program| {
        let text: String = (0..40_000).map(|i| format!("{} ", i % 977)).collect();
        let sent = text.clone();
        let server = Server::start(move |_, stream| {
            let half = sent.len() / 2;
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
            let (a, b) = sent.split_at(half);
            write!(
                stream,
                "{head}{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
                a.len(),
                b.len()
            )
            .is_ok()
        });
        let port = port();
        let front = "    compression algo gzip\n    compression offload\n";
        let _proxy = start(
            program,
            port,
            front,
            &format!("    server s {}\n", server.addr),
        );
        let mut client = Client::connect(port);
        client.send(
            "GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
        );
        let mut all = Vec::new();
        client.stream.read_to_end(&mut all).expect("an answer");
        let end = all
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("a head")
            + 4;
        let (mut rest, mut packed) = (&all[end..], Vec::new());
        while let Some(line) = rest.windows(2).position(|w| w == b"\r\n") {
            let size = std::str::from_utf8(&rest[..line]).expect("a size");
            let size = usize::from_str_radix(size, 16).expect("a size");
            packed.extend_from_slice(&rest[line + 2..line + 2 + size]);
            rest = &rest[line + 4 + size..];
        }
        let mut read = String::new();
        let mut decoder = flate2::read::GzDecoder::new(&packed[..]);
        decoder.read_to_string(&mut read).expect("gzip");
        assert!(read == text, "{}", program.name);
        assert!(
            !server.requests()[0]
                .to_lowercase()
                .contains("accept-encoding"),
            "{}",
            program.name
        );
    });
}

#[test]
fn consistent_hashing_moves_only_what_was_on_the_server_that_left() {
    each(|program| {
        let servers = [Server::named("a"), Server::named("b"), Server::named("c")];
        let port = port();
        let lines: String = servers
            .iter()
            .enumerate()
            .map(|(i, s)| format!("    server s{i} {}\n", s.addr))
            .collect();
        let back = format!("    balance uri\n    hash-type consistent djb2 avalanche\n{lines}");
        let proxy = start(program, port, "", &back);
        let homes = || -> Vec<String> {
            let mut client = Client::connect(port);
            (0..60)
                .map(|i| client.ask(&format!("GET /{i} HTTP/1.1\r\nHost: x\r\n\r\n")))
                .map(|answer| answer.header("x-server").unwrap_or_default())
                .collect()
        };
        let before = homes();
        assert_eq!(before, homes(), "{}", program.name);
        proxy.control("disable server b/s1");
        for (before, after) in before.iter().zip(homes()) {
            assert!(
                before == "b" || *before == after,
                "{}: {before} {after}",
                program.name
            );
            assert_ne!(after, "b", "{}", program.name);
        }
    });
}

/// A server whose checks fail from the moment it is told to; requests to `/stream` last for long.
fn moody(name: &'static str) -> (Server, std::sync::Arc<std::sync::atomic::AtomicBool>) {
    use std::sync::atomic::Ordering::Relaxed;
    let sick = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let theirs = std::sync::Arc::clone(&sick);
    let server = Server::start(move |request, stream| {
        if request.starts_with("OPTIONS") || request.contains("/check") {
            let status = if theirs.load(Relaxed) { 500 } else { 200 };
            return write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").is_ok();
        }
        let length = if request.contains("/stream") { 9 } else { 2 };
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Server: {name}\r\n\r\nok");
        stream.write_all(head.as_bytes()).is_ok()
    });
    (server, sick)
}

#[test]
fn sessions_end_with_their_server_and_backups_when_they_are_relieved() {
    each(|program| {
        use std::sync::atomic::Ordering::Relaxed;
        let (main, sick) = moody("main");
        let backup = moody("backup").0;
        let (log, port) = (LogSink::new(), port());
        let front = format!(
            "    log 127.0.0.1:{} local0\n    log-format \"end=%ST/%ts/%s\"\n",
            log.port
        );
        let back = format!(
            "    option httpchk\n    timeout check 9s\n    default-server inter 100ms fall 1 rise 1\n    server main {} check on-marked-down shutdown-sessions on-marked-up shutdown-backup-sessions\n    server backup {} backup\n",
            main.addr, backup.addr
        );
        let proxy = start(program, port, &front, &back);
        let stream = |server: &str| {
            let mut client = Client::connect(port);
            client.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
            proxy.wait_for("b", server, "scur", "1");
            client
        };
        let mut first = stream("main");
        sick.store(true, Relaxed);
        proxy.wait_for("b", "main", "status", "DOWN");
        let ended = log.line("end=200");
        assert!(
            ended.contains("end=200/DD/main"),
            "{}: {ended}",
            program.name
        );
        assert_eq!(first.response().body, "ok", "{}", program.name);
        let _second = stream("backup");
        sick.store(false, Relaxed);
        proxy.wait_for("b", "main", "status", "UP");
        let ended = log.line("end=200");
        assert!(
            ended.contains("end=200/UD/backup"),
            "{}: {ended}",
            program.name
        );
    });
}

#[test]
fn a_server_that_tracks_another_goes_down_and_comes_up_with_it() {
    each(|program| {
        use std::sync::atomic::Ordering::Relaxed;
        let (server, sick) = moody("a");
        let port = port();
        let back = format!(
            "    server t {} track c/real\nbackend c\n    option httpchk\n    timeout check 9s\n    server real {} check inter 100ms fall 1 rise 1\n",
            server.addr, server.addr
        );
        let proxy = start(program, port, "", &back);
        let status_becomes = |wanted: u16| {
            let begun = std::time::Instant::now();
            while get(port, "/").status != wanted {
                assert!(
                    begun.elapsed() < lab::PATIENCE,
                    "{}: no {wanted}",
                    program.name
                );
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        status_becomes(200);
        sick.store(true, Relaxed);
        status_becomes(503);
        sick.store(false, Relaxed);
        status_becomes(200);
        proxy.control("set server c/real state maint");
        status_becomes(503);
        proxy.control("set server c/real state ready");
        status_becomes(200);
    });
}

#[test]
fn a_server_that_starts_slowly_gets_less_at_first() {
    each(|program| {
        let (a, b) = (Server::named("a"), Server::named("b"));
        let port = port();
        let back = format!(
            "    balance roundrobin\n    server a {} weight 100\n    server b {} weight 100 slowstart 20s\n",
            a.addr, b.addr
        );
        let proxy = start(program, port, "", &back);
        proxy.control("disable server b/b");
        proxy.control("enable server b/b");
        let named: Vec<_> = (0..40)
            .filter_map(|_| get(port, "/").header("x-server"))
            .collect();
        let share = named.iter().filter(|n| *n == "b").count();
        assert!(share < 10, "{}: {share} of 40", program.name);
    });
}

#[test]
fn what_cannot_be_tracked_is_refused() {
    each(|program| {
        let folder = lab::Folder::new();
        for servers in [
            "    server a 127.0.0.1:1 track nobody\n",
            "    server a 127.0.0.1:1 track b\n    server b 127.0.0.1:2\n",
        ] {
            let text = format!("{TIMES}backend x\n{servers}frontend f\n    bind 127.0.0.1:0\n");
            let file = folder.file("track.cfg", text.as_bytes());
            let (status, output) = program.run(&["-c", "-f", &file]);
            assert_eq!(status, 1, "{}: {output}", program.name);
        }
    });
}

#[test]
fn errors_of_traffic_count_against_a_server() {
    each(|program| {
        let server = Server::start(|request, stream| {
            let status = match request.split(' ').nth(1) {
                Some("/500") => 500,
                Some("/404") => 404,
                _ => 200,
            };
            write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").is_ok()
        });
        for (words, downs) in [
            ("observe layer7 error-limit 3 on-error mark-down", true),
            (
                "observe layer7 error-limit 1 on-error fail-check fall 2",
                true,
            ),
            ("observe layer4 error-limit 3 on-error mark-down", false),
        ] {
            let port = port();
            let back = format!(
                "    option httpchk\n    server a {} check inter 60s {words}\n",
                server.addr
            );
            let proxy = start(program, port, "", &back);
            proxy.wait_for("b", "a", "check_status", "L7OK");
            // Errors of the client's, and errors with a success between, do not count.
            for path in ["/404", "/404", "/404"] {
                get(port, path);
            }
            assert!(
                proxy.stat("b", "a", "status").starts_with("UP"),
                "{}: {words}",
                program.name
            );
            for _ in 0..4 {
                get(port, "/500");
            }
            let status = proxy.stat("b", "a", "status");
            assert_eq!(
                status.starts_with("DOWN"),
                downs,
                "{}: {words}: {status}",
                program.name
            );
        }
    });
}
