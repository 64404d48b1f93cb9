//! Clients and servers that do not keep to the protocol: what each gets, what the log says of it, and
//! that the next request is served as if nothing had been. Each through mulgil and the oracle.

use lab::{LogSink, Program, Proxy, Server, each, get, port};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const TIMES: &str = "defaults\n    mode http\n    timeout client 2s\n    timeout http-request 400ms\n    timeout server 1s\n    timeout connect 500ms\n    retries 0\n";

/// Requests that are none, and the status each gets. Those about which the oracle is laxer stand in
/// `conformance/requests.txt`.
const REQUESTS: &[(&str, u16)] = &[
    ("BAD\r\n\r\n", 400),
    ("GET\r\n\r\n", 400),
    ("GET / FOO/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\n: c\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\nfoo\r\n\r\n", 400),
    ("G\u{1}T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /\u{1} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    ("GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: a\r\n\r\n",
        400,
    ),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        400,
    ),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
        400,
    ),
    ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: \r\n\r\n", 400),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        400,
    ),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        400,
    ),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: foo\r\n\r\n",
        400,
    ),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, foo\r\n\r\n",
        400,
    ),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    // Not malformed, but never complete.
    ("GET / HTTP/1.1\r\nHost: x\r\nA: b", 408),
];

fn ask(port: u16, bytes: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    let _ = stream.set_read_timeout(Some(lab::PATIENCE));
    let _ = stream.write_all(bytes.as_bytes());
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn what_is_no_request_gets_its_status_and_a_line_in_the_log() {
    each(|program| {
        let (server, log, port) = (Server::named("a"), LogSink::new(), port());
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    log 127.0.0.1:{} local0\n    option httplog\nfrontend f\n    bind 127.0.0.1:{port}\n    default_backend b\nbackend b\n    server s {}\n",
                log.port, server.addr
            ),
        );
        for (at, (bytes, status)) in REQUESTS.iter().enumerate() {
            let answer = ask(port, bytes);
            let first = format!("HTTP/1.1 {status} ");
            assert!(
                answer.starts_with(&first),
                "{}: {bytes:?}: {answer}",
                program.name
            );
            assert_eq!(
                answer.matches("HTTP/1.1 ").count(),
                1,
                "{}: {bytes:?}",
                program.name
            );
            let line = log.line("<BADREQ>");
            let flags = if *status == 408 { "cR--" } else { "PR--" };
            let fields: Vec<&str> = line.split(' ').collect();
            let after = |n: usize| {
                let from = fields
                    .iter()
                    .position(|f| *f == "f/<NOSRV>")
                    .expect("a line of a request");
                fields.get(from + n).copied().unwrap_or_default()
            };
            let wanted = (status.to_string(), flags);
            assert_eq!(
                (after(2).to_string(), after(6)),
                wanted,
                "{}: {bytes:?}: {line}",
                program.name
            );
            assert!(
                after(1).starts_with("-1/-1/-1/-1/"),
                "{}: {line}",
                program.name
            );
            assert_eq!(
                proxy.stat("f", "FRONTEND", "ereq"),
                (at + 1).to_string(),
                "{}: {bytes:?}",
                program.name
            );
        }
        assert!(
            server.requests().is_empty(),
            "{}: none came to the server",
            program.name
        );
        assert_eq!(get(port, "/").status, 200, "{}", program.name);
    });
}

/// What a server does with a request for this path.
fn misbehave(path: &str, stream: &mut TcpStream) -> bool {
    let mut say = |text: &str| stream.write_all(text.as_bytes()).is_ok();
    match path {
        "/ok" => return say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        "/leaves" => {}
        "/garbage" => {
            say("what is this?\r\n\r\n");
        }
        "/half-a-head" => {
            say("HTTP/1.1 200 OK\r\nContent-Le");
        }
        "/short" => {
            say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        }
        "/long" => {
            return say(
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
            );
        }
        "/bad-chunk" => {
            say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n");
        }
        "/two-lengths" => {
            say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
        }
        "/no-name" => {
            say("HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 0\r\n\r\n");
        }
        "/stalls" => std::thread::sleep(Duration::from_millis(2500)),
        "/stalls-within" => {
            say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
            std::thread::sleep(Duration::from_millis(2500));
        }
        _ => {}
    }
    false
}

#[test]
fn a_server_that_misbehaves_costs_one_request() {
    // Path, status, termination.
    let table = [
        ("/leaves", 502, "SH--"),
        ("/garbage", 502, "PH--"),
        ("/half-a-head", 502, "SH--"),
        ("/short", 200, "SD--"),
        ("/long", 200, "----"),
        ("/bad-chunk", 502, "PH--"),
        ("/two-lengths", 502, "PH--"),
        ("/no-name", 502, "PH--"),
        ("/stalls", 504, "sH--"),
        ("/stalls-within", 200, "sD--"),
    ];
    each(|program| {
        let server = Server::start(|request, stream| {
            misbehave(request.split(' ').nth(1).unwrap_or_default(), stream)
        });
        let (log, port) = (LogSink::new(), port());
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    log 127.0.0.1:{} local0\n    option httplog\nfrontend f\n    bind 127.0.0.1:{port}\n    default_backend b\nbackend b\n    server s {}\n",
                log.port, server.addr
            ),
        );
        for (path, status, flags) in table {
            let answer = ask(
                port,
                &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            );
            let first = format!("HTTP/1.1 {status} ");
            assert!(
                answer.starts_with(&first),
                "{}: {path}: {answer}",
                program.name
            );
            assert!(
                !answer.contains("forged"),
                "{}: {path}: {answer}",
                program.name
            );
            let line = log.line(&format!("\"GET {path} "));
            assert!(
                line.contains(&format!(" {status} ")),
                "{}: {line}",
                program.name
            );
            assert!(
                line.contains(&format!(" {flags} ")),
                "{}: {path}: {line}",
                program.name
            );
            assert_eq!(
                get(port, "/ok").body,
                "ok",
                "{}: after {path}",
                program.name
            );
        }
        assert!(
            proxy.control("show info").contains("Pid"),
            "{}",
            program.name
        );
    });
}

#[test]
fn the_misbehaving_are_told_apart_in_the_counters() {
    let count = |program: &Program| {
        let server = Server::start(|request, stream| {
            misbehave(request.split(' ').nth(1).unwrap_or_default(), stream)
        });
        let port = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen f\n    bind 127.0.0.1:{port}\n    server s {}\n",
                server.addr
            ),
        );
        for path in [
            "/leaves",
            "/garbage",
            "/short",
            "/two-lengths",
            "/stalls",
            "/ok",
        ] {
            ask(
                port,
                &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            );
        }
        proxy.wait_for("f", "BACKEND", "hrsp_2xx", "2");
        [
            "eresp", "srv_abrt", "cli_abrt", "hrsp_5xx", "hrsp_2xx", "wretr", "econ",
        ]
        .map(|field| format!("{field} {}", proxy.stat("f", "s", field)))
    };
    if let Some(oracle) = Program::haproxy() {
        assert_eq!(count(&Program::mulgil()), count(&oracle));
    }
}
