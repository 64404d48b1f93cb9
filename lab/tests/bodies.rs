//! Bodies of all lengths, above all of those around which the way they take changes: through our own
//! memory, or through a pipe of the kernel's. Each through mulgil and the oracle.

use lab::{Client, LogSink, Proxy, Server, each, port};
use std::io::Write;
use std::net::TcpStream;

const TIMES: &str = "defaults\n    mode http\n    timeout client 10s\n    timeout server 10s\n    timeout connect 5s\n";

/// Lengths at both sides of what is read with a head and of what is spliced.
const LENGTHS: &[usize] = &[
    0, 1, 16_000, 16_383, 16_384, 16_385, 32_500, 32_768, 49_152, 65_536, 131_072, 300_000,
    1_048_577,
];

/// Bytes of which none can be lost or doubled without its being seen.
fn body(length: usize) -> String {
    let letter = |i: usize| char::from(b'a' + ((i * 7 + i / 251) % 26) as u8);
    (0..length).map(letter).collect()
}

/// The length that a request's path asks for.
fn asked(request: &str) -> usize {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let digits = path.split('/').nth(1).unwrap_or_default();
    digits.parse().unwrap_or(0)
}

/// Answers with as many bytes as the path asks for, in pieces where it says so, and to a body with
/// whether it is the one that the path promises.
fn origin() -> Server {
    Server::start(|request, stream| {
        let (length, head) = (asked(request), "HTTP/1.1 200 OK\r\nContent-Length: ");
        if request.starts_with("POST") {
            let (_, got) = request.split_once("\r\n\r\n").unwrap_or_default();
            let said = if got == body(length) { "same" } else { "other" };
            return stream
                .write_all(format!("{head}{}\r\n\r\n{said}", said.len()).as_bytes())
                .is_ok();
        }
        let whole = format!("{head}{length}\r\n\r\n{}", body(length));
        if request.contains("/pieces ") {
            return whole
                .as_bytes()
                .chunks(20_000)
                .all(|piece| stream.write_all(piece).is_ok());
        }
        stream.write_all(whole.as_bytes()).is_ok()
    })
}

fn config(port: u16, server: &Server, more: &str) -> String {
    let addr = server.addr;
    format!(
        "global\n    maxconn 64\n{TIMES}    option splice-auto\n    retries 0\n{more}listen l\n    bind 127.0.0.1:{port}\n    server s {addr}\n"
    )
}

#[test]
fn bodies_of_every_length_arrive_whole_and_the_connection_goes_on() {
    each(|program| {
        let (port, server) = (port(), origin());
        let _proxy = Proxy::start(program, &config(port, &server, ""));
        let mut client = Client::connect(port);
        for length in LENGTHS {
            for how in ["whole", "pieces"] {
                let answer =
                    client.ask(&format!("GET /{length}/{how} HTTP/1.1\r\nHost: h\r\n\r\n"));
                let same = answer.body == body(*length);
                assert!(same, "{}: {length} in {how}", program.name);
            }
            // In one piece with the head, and behind it.
            let head =
                format!("POST /{length} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
            let answer = client.ask(&(head.clone() + &body(*length)));
            assert_eq!(answer.body, "same", "{}: {length} up", program.name);
            client.send(&head);
            client.send(body(*length));
            assert_eq!(
                client.response().body,
                "same",
                "{}: {length} up",
                program.name
            );
        }
    });
}

#[test]
fn requests_sent_at_once_with_large_bodies_are_answered_in_order() {
    each(|program| {
        let (port, server) = (port(), origin());
        let _proxy = Proxy::start(program, &config(port, &server, ""));
        let mut client = Client::connect(port);
        let lengths = [40_000, 1, 70_000];
        let mut all = String::new();
        for length in lengths {
            all +=
                &format!("POST /{length} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
            all += &body(length);
            all += &format!("GET /{length} HTTP/1.1\r\nHost: h\r\n\r\n");
        }
        client.send(all);
        for length in lengths {
            assert_eq!(client.response().body, "same", "{}", program.name);
            let answer = client.response();
            assert!(answer.body == body(length), "{}: {length}", program.name);
        }
    });
}

#[test]
fn a_body_that_breaks_off_is_seen_by_its_client_alone() {
    each(|program| {
        let (port, log) = (port(), LogSink::new());
        let server = Server::start(|request, stream: &mut TcpStream| {
            let length = asked(request);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            let sent = if request.contains("/less ") {
                40_000
            } else {
                length
            };
            stream.write_all((head + &body(sent)).as_bytes()).is_ok() && sent == length
        });
        let logging = format!(
            "    log 127.0.0.1:{} local0\n    option httplog\n",
            log.port
        );
        let _proxy = Proxy::start(program, &config(port, &server, &logging));
        for length in [65_536, 1_048_576] {
            let mut client = Client::connect(port);
            let answer = client.ask(&format!("GET /{length}/less HTTP/1.1\r\nHost: h\r\n\r\n"));
            assert!(answer.body == body(40_000), "{}: {length}", program.name);
            assert!(client.closed(), "{}: {length}", program.name);
            let line = log.line(&format!("/{length}/less"));
            assert!(line.contains(" SD-- "), "{}: {line}", program.name);
            let answer = lab::get(port, &format!("/{length}/all"));
            assert!(answer.body == body(length), "{}: {length}", program.name);
        }
    });
}

#[test]
fn readers_that_wait_get_all_of_their_bodies_and_hold_up_nobody() {
    const LENGTH: usize = 2_000_000;
    each(|program| {
        let (port, server) = (port(), origin());
        let _proxy = Proxy::start(program, &config(port, &server, ""));
        // More than may have a pipe.
        let mut waiting: Vec<Client> = (0..20).map(|_| Client::connect(port)).collect();
        for client in &mut waiting {
            client.send(format!("GET /{LENGTH} HTTP/1.1\r\nHost: h\r\n\r\n"));
        }
        let answer = lab::get(port, "/100000");
        assert!(answer.body == body(100_000), "{}", program.name);
        // One leaves with nothing read.
        drop(waiting.pop());
        let whole = body(LENGTH);
        for mut client in waiting {
            assert!(client.response().body == whole, "{}", program.name);
        }
    });
}

#[test]
fn what_comes_behind_a_last_request_does_not_take_its_answer() {
    let server = origin();
    each(|program| {
        let port = port();
        let config = format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n    http-request return status 200 content-type text/plain string own if {{ path /own }}\n    default_backend b\nbackend b\n    server s {}\n",
            server.addr
        );
        let _proxy = Proxy::start(program, &config);
        for (path, wanted) in [("/own", "own".to_string()), ("/300", body(300))] {
            for _ in 0..5 {
                let mut client = Client::connect(port);
                // More than is read with a head, so that bytes wait in the system when the proxy closes.
                let more = "x".repeat(60_000);
                client.send(format!(
                    "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n{more}"
                ));
                assert_eq!(client.response().body, wanted, "{} {path}", program.name);
            }
        }
    });
}
