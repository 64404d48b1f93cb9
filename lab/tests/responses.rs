//! Responses that do not come as one expects: before the request was read, or late where rules want to
//! see their bodies. Each through mulgil and the oracle.

use lab::{Client, LogSink, PATIENCE, Proxy, each, get, port};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};

const TIMES: &str = "defaults\n    mode http\n    timeout client 600ms\n    timeout server 3s\n    timeout connect 1s\n    option httplog\n";

/// What a server that answers early does next.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// It reads the body all the same.
    Reads,
    /// It ends the connection, having read what was there of the body.
    Leaves,
}

/// A server that answers 413 as soon as it has seen the beginning of a request's body. The channel
/// tells how many bytes of body it has seen when `end` came.
fn hasty(then: Then) -> (SocketAddr, Receiver<usize>) {
    let listener = lab::listener();
    let addr = listener.local_addr().expect("an address");
    let (sender, seen) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(PATIENCE));
                while head(&mut stream) {
                    let mut body = vec![0; BEGIN.len()];
                    if stream.read_exact(&mut body).is_err() {
                        return;
                    }
                    let answer = "HTTP/1.1 413 Too\r\nContent-Length: 2\r\n\r\nno";
                    if stream.write_all(answer.as_bytes()).is_err() || then == Then::Leaves {
                        return;
                    }
                    let mut byte = [0; 1];
                    while !body.ends_with(b"end") && matches!(stream.read(&mut byte), Ok(1)) {
                        body.extend_from_slice(&byte);
                    }
                    let _ = sender.send(body.len());
                }
            });
        }
    });
    (addr, seen)
}

/// Reads a request's head, and not a byte more.
fn head(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return false;
        }
        head.extend_from_slice(&byte);
    }
    true
}

/// What the client sends of its body at once.
const BEGIN: &str = "begin";

fn post(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{BEGIN}")
}

fn start(program: &lab::Program, server: SocketAddr) -> (Proxy, LogSink, u16) {
    let (log, port) = (LogSink::new(), port());
    let proxy = Proxy::start(
        program,
        &format!(
            "{TIMES}    log 127.0.0.1:{} local0\nfrontend f\n    bind 127.0.0.1:{port}\n    default_backend b\nbackend b\n    server s {server}\n",
            log.port
        ),
    );
    (proxy, log, port)
}

/// Waits until a counter of the server has a value, then compares several.
fn counts(proxy: &Proxy, name: &str, wanted: &[(&str, &str)]) {
    for (field, value) in wanted {
        proxy.wait_for("b", name, field, value);
    }
}

#[test]
fn a_server_that_answers_early_still_gets_the_body_and_its_client_the_next_answer() {
    each(|program| {
        let (server, seen) = hasty(Then::Reads);
        let (proxy, log, port) = start(program, server);
        let mut client = Client::connect(port);
        for length in [8, 100_000] {
            let answer = client.ask(&post(length));
            let got = (answer.status, answer.body.as_str());
            assert_eq!(got, (413, "no"), "{}", program.name);
            assert_eq!(answer.header("connection"), None, "{}", program.name);
            client.send(vec![b'x'; length - 8]);
            client.send("end");
            let bytes = seen.recv_timeout(PATIENCE).expect("the whole body");
            assert_eq!(bytes, length, "{}", program.name);
            let line = log.line("POST");
            assert!(
                line.contains(" 413 ") && line.contains(" ---- "),
                "{}: {line}",
                program.name
            );
        }
        counts(
            &proxy,
            "s",
            &[
                ("hrsp_4xx", "2"),
                ("eresp", "0"),
                ("cli_abrt", "0"),
                ("srv_abrt", "0"),
            ],
        );
        counts(
            &proxy,
            "BACKEND",
            &[("hrsp_4xx", "2"), ("eresp", "0"), ("req_tot", "2")],
        );
    });
}

#[test]
fn a_client_that_does_not_go_on_after_an_early_answer_is_waited_for_no_longer_than_it_may_take() {
    each(|program| {
        let (server, _seen) = hasty(Then::Leaves);
        let (proxy, log, port) = start(program, server);
        let mut client = Client::connect(port);
        let answer = client.ask(&post(8));
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (413, "no"),
            "{}",
            program.name
        );
        assert!(client.closed(), "{}", program.name);
        let line = log.line("POST");
        assert!(
            line.contains(" 413 ") && line.contains(" cD-- "),
            "{}: {line}",
            program.name
        );
        counts(
            &proxy,
            "s",
            &[
                ("hrsp_4xx", "1"),
                ("cli_abrt", "1"),
                ("srv_abrt", "0"),
                ("eresp", "0"),
            ],
        );
    });
}

#[test]
fn a_server_that_answers_and_leaves_ends_the_request_it_did_not_read() {
    each(|program| {
        let (server, _seen) = hasty(Then::Leaves);
        let (proxy, log, port) = start(program, server);
        let mut client = Client::connect(port);
        let answer = client.ask(&post(10_000_000));
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (413, "no"),
            "{}",
            program.name
        );
        for _ in 0..100 {
            client.send([b'x'; 65_536]);
        }
        assert!(client.closed(), "{}", program.name);
        let line = log.line("POST");
        assert!(
            line.contains(" 413 ") && line.contains(" SD-- "),
            "{}: {line}",
            program.name
        );
        counts(
            &proxy,
            "s",
            &[
                ("hrsp_4xx", "1"),
                ("srv_abrt", "1"),
                ("eresp", "1"),
                ("cli_abrt", "0"),
            ],
        );
    });
}

/// A server that answers in the way that the path names; each answer comes in two parts.
fn piecemeal() -> lab::Server {
    lab::Server::start(|request, stream| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let mut say = |text: &str| stream.write_all(text.as_bytes()).is_ok();
        let pause = || std::thread::sleep(std::time::Duration::from_millis(60));
        match path {
            "/length" | "/least" => {
                say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
                pause();
                say("56789")
            }
            "/chunks" => {
                say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
                pause();
                say("4\r\ndefg\r\n0\r\n\r\n")
            }
            "/close" => {
                say("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
                pause();
                say("defg");
                false
            }
            "/cut" => {
                say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n012");
                false
            }
            "/large" => {
                let body = "x".repeat(100_000);
                say(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{body}"
                ))
            }
            "/none" => say("HTTP/1.1 204 No Content\r\n\r\n"),
            "/stall" => {
                say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n012");
                std::thread::sleep(PATIENCE);
                false
            }
            _ => false,
        }
    })
}

#[test]
fn rules_wait_for_a_responses_body_and_see_it() {
    each(|program| {
        let server = piecemeal();
        let (log, port) = (LogSink::new(), port());
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    log 127.0.0.1:{} local0\nfrontend f\n    bind 127.0.0.1:{port}\n    default_backend b\n\
                 http-request set-var(txn.path) path\n\
                 http-response wait-for-body time 3s at-least 5 if {{ var(txn.path) -m str /least }}\n\
                 http-response wait-for-body time 200ms if {{ var(txn.path) -m str /stall }}\n\
                 http-response wait-for-body time 3s unless {{ var(txn.path) -m str /least }}\n\
                 http-response set-header X-Size %[res.body_size]\n\
                 http-response set-header X-Length %[res.body_len]\n\
                 http-response set-header X-Body %[res.body] if {{ res.body_len lt 20 }}\n\
                 http-response deny deny_status 403 if {{ res.body,bytes(0,3) -m str abc }} {{ var(txn.path) -m str /close }}\n\
                 backend b\n    server s {}\n",
                log.port, server.addr
            ),
        );
        let ask = |path: &str| get(port, path);
        let seen = |path: &str| {
            let answer = ask(path);
            let field = |name| answer.header(name).unwrap_or_default();
            (
                answer.status,
                field("x-body"),
                field("x-length"),
                field("x-size"),
            )
        };
        let of = |status, body: &str, length: &str, size: &str| {
            (
                status,
                body.to_string(),
                length.to_string(),
                size.to_string(),
            )
        };
        assert_eq!(
            seen("/length"),
            of(200, "0123456789", "10", "10"),
            "{}",
            program.name
        );
        assert_eq!(
            seen("/chunks"),
            of(200, "abcdefg", "7", "7"),
            "{}",
            program.name
        );
        assert_eq!(ask("/length").body, "0123456789", "{}", program.name);
        assert!(ask("/chunks").body.contains("defg"), "{}", program.name);
        // What was waited for is what the rules decide by.
        assert_eq!(ask("/close").status, 403, "{}", program.name);
        assert_eq!(seen("/none").0, 204, "{}", program.name);
        let cut = ask("/cut");
        let field = |name| cut.header(name).unwrap_or_default();
        assert_eq!(
            (field("x-body").as_str(), cut.body.as_str()),
            ("012", "012"),
            "{}",
            program.name
        );
        let line = log.line("/cut");
        assert!(line.contains(" SD-- "), "{}: {line}", program.name);
        // A part suffices where the rule says so.
        let least = seen("/least");
        assert!(
            ["5", "10"].contains(&least.2.as_str()),
            "{}: {least:?}",
            program.name
        );
        // Of what does not fit into a buffer the rules see as much as does.
        let large = ask("/large");
        let length: usize = large
            .header("x-length")
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        assert!(
            (10_000..16_384).contains(&length),
            "{}: {length}",
            program.name
        );
        assert_eq!(large.body.len(), 100_000, "{}", program.name);
        let stalled = ask("/stall");
        assert_eq!(stalled.status, 504, "{}", program.name);
        let line = log.line("/stall");
        assert!(
            line.contains(" 504 ") && line.contains(" sR-- "),
            "{}: {line}",
            program.name
        );
        proxy.wait_for("b", "s", "eresp", "1");
        proxy.wait_for("b", "s", "srv_abrt", "1");
    });
}

#[test]
fn a_client_that_can_read_nothing_of_ours_is_not_hidden_by_compression_offload() {
    each(|program| {
        let server = lab::Server::fixed(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi",
            true,
        );
        let port = lab::port();
        let config = format!(
            "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n\
             listen f\n    bind 127.0.0.1:{port}\n    compression algo gzip\n    compression type text/plain\n    compression offload\n    server s {}\n",
            server.addr
        );
        let _proxy = Proxy::start(program, &config);
        for accepted in ["gzip;q=0", "br", "gzip, br"] {
            let request = format!(
                "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: {accepted}\r\nConnection: close\r\n\r\n"
            );
            let mut client = lab::Client::connect(port);
            client.send(request);
            assert!(client.response().status == 200, "{}", program.name);
        }
        let told: Vec<bool> = server
            .requests()
            .iter()
            .map(|r| r.to_lowercase().contains("accept-encoding"))
            .collect();
        assert_eq!(told, [true, true, false], "{}", program.name);
    });
}
