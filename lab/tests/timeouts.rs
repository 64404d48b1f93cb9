//! What running out of patience looks like: status and flags, the same through mulgil and through
//! the oracle.

use lab::{Client, LogSink, Program, Proxy, Server, each, port};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// A proxy before one server, whose log lines are `end=STATUS/FLAGS`.
fn start(program: &Program, log: &LogSink, front: &str, back: &str) -> (Proxy, u16) {
    let port = port();
    let text = format!(
        "defaults\n    mode http\n    timeout connect 400ms\n    timeout client 8s\n    timeout server 8s\n    retries 0\n\
         frontend f\n    bind 127.0.0.1:{port}\n    log 127.0.0.1:{} local0\n    log-format \"end=%ST/%ts\"\n{front}    default_backend b\n\
         backend b\n{back}",
        log.port
    );
    (Proxy::start(program, &text), port)
}

fn expect(program: &Program, log: &LogSink, wanted: &str) {
    let line = log.line("end=");
    assert!(
        line.ends_with(wanted),
        "{}: {line}, not {wanted}",
        program.name
    );
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_client_that_does_not_finish_its_request() {
    each(|program| {
        let log = LogSink::new();
        let (_proxy, port) = start(program, &log, "    timeout http-request 300ms\n", "");
        let mut client = Client::connect(port);
        client.send("GET / HTTP/1.1\r\n");
        assert_eq!(client.response().status, 408, "{}", program.name);
        expect(program, &log, "end=408/cR");
    });
}

#[test]
fn an_idle_kept_connection_ends_without_a_word() {
    each(|program| {
        let (log, server) = (LogSink::new(), Server::named("a"));
        let front = "    timeout http-keep-alive 300ms\n";
        let (_proxy, port) = start(
            program,
            &log,
            front,
            &format!("    server a {}\n", server.addr),
        );
        let mut client = Client::connect(port);
        assert_eq!(client.ask(GET).status, 200, "{}", program.name);
        assert!(client.closed(), "{}", program.name);
        expect(program, &log, "end=200/--");
    });
}

#[test]
fn a_server_that_does_not_accept() {
    each(|program| {
        let log = LogSink::new();
        // A listener whose queue is full drops what comes.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).expect("a port");
        socket.listen(0).expect("it listens");
        let listener = TcpListener::from(socket);
        let addr = listener.local_addr().expect("an address");
        let _waiting: Vec<_> = (0..4)
            .map(|_| TcpStream::connect_timeout(&addr, Duration::from_millis(100)))
            .collect();
        let (_proxy, port) = start(program, &log, "", &format!("    server a {addr}\n"));
        let mut client = Client::connect(port);
        assert_eq!(client.ask(GET).status, 503, "{}", program.name);
        expect(program, &log, "end=503/sC");
    });
}

#[test]
fn a_server_that_does_not_answer_or_does_not_finish() {
    each(|program| {
        let log = LogSink::new();
        let silent = Server::start(|request, stream| {
            if request.contains("/half") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
            }
            std::thread::sleep(Duration::from_secs(2));
            false
        });
        let back = format!("    timeout server 1s\n    server a {}\n", silent.addr);
        let (_proxy, port) = start(program, &log, "", &back);
        assert_eq!(
            Client::connect(port).ask(GET).status,
            504,
            "{}",
            program.name
        );
        expect(program, &log, "end=504/sH");
        let mut client = Client::connect(port);
        let half = client.ask("GET /half HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(
            (half.status, half.body.as_str()),
            (200, "half"),
            "{}",
            program.name
        );
        assert!(client.closed(), "{}", program.name);
        expect(program, &log, "end=200/sD");
    });
}

#[test]
fn a_place_that_does_not_become_free() {
    each(|program| {
        let log = LogSink::new();
        let slow = Server::start(|_, stream| {
            std::thread::sleep(Duration::from_secs(4));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .is_ok()
        });
        let back = format!(
            "    timeout queue 200ms\n    server a {} maxconn 1\n",
            slow.addr
        );
        let (proxy, port) = start(program, &log, "", &back);
        let mut first = Client::connect(port);
        first.send(GET);
        proxy.wait_for("b", "a", "scur", "1");
        assert_eq!(
            Client::connect(port).ask(GET).status,
            503,
            "{}",
            program.name
        );
        expect(program, &log, "end=503/sQ");
        assert_eq!(first.response().status, 200, "{}", program.name);
    });
}

#[test]
fn a_client_that_does_not_read() {
    each(|program| {
        let log = LogSink::new();
        let big = Server::start(|_, stream| {
            let body = vec![b'x'; 64 << 20];
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&body);
            false
        });
        let (_proxy, port) = start(
            program,
            &log,
            "    timeout client 400ms\n",
            &format!("    server a {}\n", big.addr),
        );
        let mut client = Client::connect(port);
        client.send(GET);
        expect(program, &log, "end=200/cD");
        let mut some = [0; 100];
        assert!(
            client.stream.read(&mut some).is_ok_and(|n| n > 0),
            "{}",
            program.name
        );
    });
}

#[test]
fn a_request_in_the_tarpit() {
    each(|program| {
        let log = LogSink::new();
        let front = "    timeout tarpit 300ms\n    http-request tarpit\n";
        let (_proxy, port) = start(program, &log, front, "");
        let begun = std::time::Instant::now();
        assert_eq!(
            Client::connect(port).ask(GET).status,
            500,
            "{}",
            program.name
        );
        assert!(
            begun.elapsed() >= Duration::from_millis(290),
            "{}",
            program.name
        );
        expect(program, &log, "end=500/PT");
    });
}

#[test]
fn a_client_that_leaves_the_queue() {
    // HAProxy 2.6.12 does not look at a connection whose request it has: the manual's promise of
    // `abortonclose` is kept here alone.
    let program = &Program::mulgil();
    let log = LogSink::new();
    let slow = Server::start(|_, stream| {
        std::thread::sleep(Duration::from_secs(4));
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .is_ok()
    });
    let back = format!(
        "    option abortonclose\n    timeout queue 10s\n    server a {} maxconn 1\n",
        slow.addr
    );
    let (proxy, port) = start(program, &log, "", &back);
    let mut first = Client::connect(port);
    first.send(GET);
    proxy.wait_for("b", "a", "scur", "1");
    let mut second = Client::connect(port);
    second.send(GET);
    proxy.wait_for("b", "BACKEND", "qcur", "1");
    drop(second);
    expect(program, &log, "/CQ");
    assert_eq!(first.response().status, 200, "{}", program.name);
}
