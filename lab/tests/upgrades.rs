//! Sessions of `mode tcp` that go on in HTTP, by `switch-mode` or because their backend is one of HTTP, the
//! same through mulgil and through the oracle.

use lab::{Client, Folder, LogSink, Program, Proxy, Server, each, port};
use std::io::{Read, Write};
use std::net::TcpListener;

/// A server of bytes that says who it is, and then what it gets.
fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.write_all(b"<raw>");
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

fn frontend(port: u16, sink: &LogSink, lines: &str) -> String {
    format!(
        "defaults\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\n    log 127.0.0.1:{} local0\n\
         frontend f\n    mode tcp\n    bind 127.0.0.1:{port}\n    tcp-request inspect-delay 5s\n{lines}",
        sink.port
    )
}

fn asked(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[test]
fn a_port_tells_requests_from_other_bytes_and_has_rules_for_requests() {
    each(|program| {
        let (web, raw, door, sink) = (Server::named("web"), echo(), port(), LogSink::new());
        let lines = format!(
            "    option tcplog\n    tcp-request content set-var(sess.seen) str(before)\n    \
             tcp-request content switch-mode http if HTTP\n    tcp-request content set-var(sess.seen) str(behind)\n    \
             http-request set-header x-seen %[var(sess.seen)]\n    \
             http-request return status 200 content-type text/plain string front if {{ path /front }}\n    \
             http-request deny status 429 if {{ path /much }}\n    \
             use_backend web if {{ hdr(host) web }}\n    default_backend raw\n\
             backend web\n    mode http\n    option forwardfor\n    server s {}\n\
             backend raw\n    mode tcp\n    server s {raw}\n",
            web.addr
        );
        let proxy = Proxy::start(program, &frontend(door, &sink, &lines));
        // Several requests of one connection, the first one in pieces.
        let mut client = Client::connect(door);
        client.send("GET / HT");
        std::thread::sleep(std::time::Duration::from_millis(30));
        client.send("TP/1.1\r\nHost: web\r\n\r\n");
        assert_eq!(client.response().header("x-server").as_deref(), Some("web"));
        assert_eq!(client.ask(&asked("web")).status, 200, "{}", program.name);
        let answer = client.ask("GET /front HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(answer.body, "front", "{}", program.name);
        let answer = client.ask("GET /much HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(answer.status, 429, "{}", program.name);
        let seen = web.requests();
        assert_eq!(seen.len(), 2, "{}", program.name);
        for request in seen {
            let request = request.to_lowercase();
            assert!(request.contains("x-seen: before\r\n"), "{request}");
            assert!(
                request.contains("x-forwarded-for: 127.0.0.1\r\n"),
                "{request}"
            );
        }
        // What is no request passes as it is.
        let mut other = Client::connect(door);
        other.send("HELLO THERE\r\n\r\n");
        let mut got = [0; 20];
        other.stream.read_exact(&mut got).expect("its bytes");
        assert_eq!(&got, b"<raw>HELLO THERE\r\n\r\n", "{}", program.name);
        drop(other);
        // No request goes to a server of bytes.
        let mut lost = Client::connect(door);
        lost.send(asked("elsewhere"));
        assert!(lost.closed(), "{}", program.name);
        assert!(
            sink.line("raw/<NOSRV>").contains(" IR "),
            "{}",
            program.name
        );
        assert_eq!(
            proxy.stat("web", "BACKEND", "stot"),
            "2",
            "{}",
            program.name
        );
        assert_eq!(proxy.stat("raw", "s", "stot"), "1", "{}", program.name);
    });
}

#[test]
fn a_backend_of_http_has_what_comes_to_it_read_as_requests() {
    each(|program| {
        let (raw, door, sink) = (echo(), port(), LogSink::new());
        let lines = format!(
            "    tcp-request content accept if HTTP\n    http-request set-header x-front 1\n    \
             use_backend second if {{ hdr(host) second }}\n    use_backend raw if {{ hdr(host) raw }}\n    \
             default_backend first\n\
             backend first\n    mode http\n    \
             http-request return status 200 content-type text/plain lf-string \"first %[req.hdr(x-front)]\"\n\
             backend second\n    mode http\n    http-request return status 200 content-type text/plain string second\n\
             backend raw\n    mode tcp\n    server s {raw}\n"
        );
        let _proxy = Proxy::start(program, &frontend(door, &sink, &lines));
        let mut client = Client::connect(door);
        // Rules for requests are the backend's alone, as the manual says; the oracle says that it
        // ignores those of the frontend, and runs them. Each request may lead elsewhere.
        let first = client.ask(&asked("first")).body;
        let wanted = if program.name == "mulgil" {
            "first "
        } else {
            "first 1"
        };
        assert_eq!(first, wanted);
        assert_eq!(
            client.ask(&asked("second")).body,
            "second",
            "{}",
            program.name
        );
        client.send(asked("raw"));
        assert!(client.closed(), "{}", program.name);
        // Where the first one leads to a server of bytes it passes as they are.
        let mut client = Client::connect(door);
        client.send(asked("raw"));
        let mut got = [0; 8];
        client.stream.read_exact(&mut got).expect("its bytes");
        assert_eq!(&got, b"<raw>GET", "{}", program.name);
        let mut client = Client::connect(door);
        assert_eq!(
            client.ask("BAD STUFF\r\n\r\n").status,
            400,
            "{}",
            program.name
        );
    });
}

#[test]
fn requests_can_be_looked_at_in_a_session_of_bytes() {
    each(|program| {
        let (raw, door, sink) = (echo(), port(), LogSink::new());
        let lines = format!(
            "    tcp-request content accept if {{ hdr(host) -i www.example }} {{ method GET }}\n    \
             tcp-request content accept if {{ path_beg /open/ }}\n    tcp-request content reject\n    \
             use_backend second if {{ url_param(n) 2 }}\n    default_backend first\n\
             backend first\n    mode tcp\n    server s {raw}\n\
             backend second\n    mode tcp\n    tcp-request content reject unless {{ cook(a) b }}\n    server s {raw}\n"
        );
        let proxy = Proxy::start(program, &frontend(door, &sink, &lines));
        let passes = |pieces: &[&str]| {
            let mut client = Client::connect(door);
            for piece in pieces {
                client.send(piece);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            let mut got = [0; 5];
            client.stream.read_exact(&mut got).is_ok() && &got == b"<raw>"
        };
        for (pieces, wanted) in [
            (&["GET / HTTP/1.1\r\nHost: WWW.example\r\n\r\n"][..], true),
            (
                &["GET / HTTP/1.1\r\nHo", "st: www.example\r\n", "\r\n"],
                true,
            ),
            (&["POST / HTTP/1.1\r\nHost: www.example\r\n\r\n"], false),
            (&["POST /open/ HTTP/1.1\r\nHost: x\r\n\r\n"], true),
            (&["GET /open/?n=2 HTTP/1.1\r\nHost: x\r\n\r\n"], false),
            (
                &["GET /open/?n=2 HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n\r\n"],
                true,
            ),
            (&["SSH-2.0-x\r\n\r\n"], false),
        ] {
            assert_eq!(passes(pieces), wanted, "{}: {pieces:?}", program.name);
        }
        let counted = proxy.stats("second", "s", &["stot"]);
        assert_eq!(counted, ["1"], "{}", program.name);
    });
}

#[test]
fn an_upgraded_session_waits_for_requests_and_ends_softly() {
    let (door, sink) = (port(), LogSink::new());
    let lines = "    tcp-request content switch-mode http proto h1 if HTTP\n    default_backend web\n\
                 backend web\n    mode http\n    http-request return status 204\n";
    let mut proxy = Proxy::start(&Program::mulgil(), &frontend(door, &sink, lines));
    let mut client = Client::connect(door);
    assert_eq!(client.ask(&asked("x")).status, 204);
    proxy.signal("-USR1");
    assert!(client.closed());
    assert_eq!(proxy.ended(), 0);
}

#[test]
fn the_backend_that_bytes_led_to_has_the_first_request() {
    each(|program| {
        let (raw, door, sink) = (echo(), port(), LogSink::new());
        let lines = format!(
            "    tcp-request content accept if {{ req.len gt 4 }}\n    \
             use_backend web if {{ req.payload(0,4) -m str \"GET \" }}\n    default_backend raw\n\
             backend web\n    mode http\n    http-request return status 200 content-type text/plain string web\n\
             backend raw\n    mode tcp\n    server s {raw}\n"
        );
        let _proxy = Proxy::start(program, &frontend(door, &sink, &lines));
        let mut client = Client::connect(door);
        assert_eq!(client.ask(&asked("x")).body, "web", "{}", program.name);
    });
}

#[test]
fn a_backend_is_chosen_by_what_is_there_once_the_rules_are_done() {
    each(|program| {
        let (raw, door, sink) = (echo(), port(), LogSink::new());
        // Nothing in these rules waits, and a client that says nothing has sent no request.
        let lines = format!(
            "    tcp-request content set-var(sess.seen) str(x)\n    use_backend raw if !HTTP\n    default_backend web\n\
             backend web\n    mode http\n    http-request return status 200\n\
             backend raw\n    mode tcp\n    server s {raw}\n"
        );
        let _proxy = Proxy::start(program, &frontend(door, &sink, &lines));
        let mut client = Client::connect(door);
        let mut got = [0; 5];
        client.stream.read_exact(&mut got).expect("a greeting");
        assert_eq!(&got, b"<raw>", "{}", program.name);
    });
}

#[test]
fn the_time_for_a_request_begins_with_the_upgrade() {
    let (door, sink) = (port(), LogSink::new());
    let patience = std::time::Duration::from_millis(400);
    let lines = "    timeout http-request 400ms\n    tcp-request content accept if { req.len gt 4 }\n    \
                 default_backend web\nbackend web\n    mode http\n    http-request return status 204\n";
    let _proxy = Proxy::start(&Program::mulgil(), &frontend(door, &sink, lines));
    let mut client = Client::connect(door);
    std::thread::sleep(patience);
    let begun = std::time::Instant::now();
    client.send("GET / HT");
    assert_eq!(client.response().status, 408);
    // It may be longer where the machine is slow, but never shorter.
    assert!(begun.elapsed() >= patience);
}

#[test]
fn what_cannot_be_switched_is_told() {
    let folder = Folder::new();
    for (lines, wanted) in [
        (
            "mode tcp\n tcp-request content switch-mode tcp",
            "stands where 'http' should",
        ),
        (
            "mode tcp\n tcp-request content switch-mode http proto h2",
            "write h1",
        ),
        (
            "mode udp\n tcp-request content switch-mode http",
            "leads from bytes to HTTP",
        ),
        (
            "mode http\n tcp-request content switch-mode http",
            "is in 'mode http' already",
        ),
        (
            "mode tcp\n tcp-request connection switch-mode http",
            "switch-mode",
        ),
    ] {
        let text = format!("frontend f\n timeout client 1s\n bind 127.0.0.1:1\n {lines}\n");
        let file = folder.file("a.cfg", text.as_bytes());
        let (_, said) = Program::mulgil().run(&["-c", "-dD", "-f", &file]);
        assert!(said.contains(wanted), "{lines}: {said}");
    }
    let text = "backend b\n mode tcp\n tcp-request content switch-mode http\n";
    let file = folder.file("a.cfg", text.as_bytes());
    let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
    assert!(status != 0 && said.contains("is for frontends"), "{said}");
    // With the rule, what is said of requests in a frontend of bytes is meant.
    let text = "frontend f\n timeout client 1s\n mode tcp\n bind 127.0.0.1:1\n option forwardfor\n \
                tcp-request content switch-mode http if HTTP\n http-request deny\n";
    let file = folder.file("a.cfg", text.as_bytes());
    let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
    assert_eq!((status, said.contains("no effect")), (0, false), "{said}");
}
