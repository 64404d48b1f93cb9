//! The PROXY protocol on both sides, the same through mulgil and through the oracle.

use lab::{Client, LogSink, Proxy, Server, each, port};
use std::io::{Read, Write};

const TIMES: &str = "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n";

fn accepting(port: u16) -> String {
    format!(
        "frontend f\n    bind 127.0.0.1:{port} accept-proxy name door\n    tcp-request session reject if {{ src 9.9.9.9 }}\n    http-request return status 200 content-type text/plain lf-string \"%[src]:%[src_port] %[dst]:%[dst_port]\"\n"
    )
}

#[test]
fn the_addresses_of_the_header_are_the_connections() {
    each(|program| {
        let (port, sink) = (port(), LogSink::new());
        let text = format!(
            "{TIMES}    option httplog\n    log 127.0.0.1:{} local0\n{}",
            sink.port,
            accepting(port)
        );
        let _proxy = Proxy::start(program, &text);
        let ask = |header: &[u8]| {
            let mut client = Client::connect(port);
            client.send(header);
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            client.response().body
        };
        let one = b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n";
        assert_eq!(
            ask(one),
            "192.0.2.1:1234 198.51.100.2:443",
            "{}",
            program.name
        );
        assert!(
            sink.line("GET /").contains("192.0.2.1:1234 ["),
            "{}",
            program.name
        );
        let six = b"PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n";
        assert_eq!(
            ask(six),
            "2001:db8::1:1234 2001:db8::2:443",
            "{}",
            program.name
        );
        let mut two = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
        two.extend_from_slice(&[192, 0, 2, 7, 198, 51, 100, 8, 0x04, 0xd2, 0x01, 0xbb]);
        assert_eq!(
            ask(&two),
            "192.0.2.7:1234 198.51.100.8:443",
            "{}",
            program.name
        );
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
        assert!(ask(local).starts_with("127.0.0.1:"), "{}", program.name);
        assert!(
            ask(b"PROXY UNKNOWN\r\n").starts_with("127.0.0.1:"),
            "{}",
            program.name
        );
        assert_eq!(
            ask(b"PROXY TCP4 9.9.9.9 198.51.100.2 1234 443\r\n"),
            "",
            "{}",
            program.name
        );
        assert_eq!(ask(b""), "", "{}", program.name);
        let line = sink.line("header");
        assert!(
            line.ends_with(
                "f/door: Received something which does not look like a PROXY protocol header"
            ),
            "{}: {line}",
            program.name
        );
    });
}

#[test]
fn what_follows_a_header_is_read_from_where_it_says_that_it_ends() {
    each(|program| {
        let port = port();
        let _proxy = Proxy::start(program, &format!("{TIMES}{}", accepting(port)));
        let ask = |command: u8, family: u8, content: &[u8]| {
            let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
            header.extend_from_slice(&[command, family]);
            header.extend_from_slice(&(content.len() as u16).to_be_bytes());
            header.extend_from_slice(content);
            let mut client = Client::connect(port);
            client.send(header);
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            client.response().body
        };
        // One that speaks for itself: whatever else it says is passed over.
        let addresses = [192, 0, 2, 7, 198, 51, 100, 8, 0x04, 0xd2, 0x01, 0xbb];
        for (family, content) in [
            (0x00, &b"no extensions"[..]),
            (0x11, &addresses[..]),
            (0x11, &addresses[..1]),
            (0x21, &b""[..]),
            (0xff, &b"GET /other"[..]),
        ] {
            let said = ask(0x20, family, content);
            assert!(said.starts_with("127.0.0.1:"), "{}: {said}", program.name);
        }
        // Padding may make it long.
        let long = [&addresses[..], &[4, 0x2e, 0xe0], &[0; 12_000]].concat();
        let said = ask(0x21, 0x11, &long);
        assert_eq!(said, "192.0.2.7:1234 198.51.100.8:443", "{}", program.name);
        let wrong: [(u8, u8, &[u8]); 6] = [
            (0x22, 0x11, &addresses),
            (0x11, 0x11, &addresses),
            (0x21, 0x41, &addresses),
            (0x21, 0x11, &addresses[..11]),
            (0x21, 0x11, &[&addresses[..], &[4, 0, 9, 0]].concat()),
            (
                0x21,
                0x11,
                &[&addresses[..], &[5, 0, 129], &[b'u'; 129]].concat(),
            ),
        ];
        for (command, family, content) in wrong {
            let said = ask(command, family, content);
            assert_eq!(said, "", "{}: {command:x} {family:x}", program.name);
        }
    });
}

#[test]
fn a_header_may_come_in_pieces() {
    // The oracle wants it in one.
    let port = port();
    let _proxy = Proxy::start(
        &lab::Program::mulgil(),
        &format!("{TIMES}{}", accepting(port)),
    );
    let mut client = Client::connect(port);
    for piece in [
        "PRO",
        "XY TCP4 192.0.2.1 198.51.100.2 ",
        "1 2\r",
        "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        client.send(piece);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(client.response().body, "192.0.2.1:1 198.51.100.2:2");
}

/// Accepts one connection after another and answers with what came before the request.
fn telling() -> Server {
    let listener = lab::listener();
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut all = Vec::new();
                let mut chunk = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut chunk) {
                    all.extend_from_slice(&chunk[..n]);
                    if all.windows(4).any(|w| w == b"\r\n\r\n") && all.ends_with(b"\r\n\r\n") {
                        let request = all.windows(4).rposition(|w| w == b"GET ").unwrap_or(0);
                        let before: String =
                            all[..request].iter().map(|b| format!("{b:02x}")).collect();
                        let text = format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{before}",
                            before.len()
                        );
                        if stream.write_all(text.as_bytes()).is_err() {
                            return;
                        }
                        all.clear();
                    }
                }
            });
        }
    });
    Server::at(addr)
}

#[test]
fn servers_are_told_of_the_client() {
    each(|program| {
        let server = telling();
        let (port, to) = (port(), server.addr);
        let text = format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{port} accept-proxy\n    use_backend %[path,field(2,/)]\nbackend one\n    server s {to} send-proxy\nbackend two\n    server s {to} send-proxy-v2\nbackend sum\n    server s {to} send-proxy-v2 proxy-v2-options crc32c\n"
        );
        let _proxy = Proxy::start(program, &text);
        let mut client = Client::connect(port);
        client.send("PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n");
        let mut ask = |path: &str| {
            client
                .ask(&format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n"))
                .body
        };
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let line = hex(b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n");
        assert_eq!(ask("one"), line, "{}", program.name);
        assert_eq!(
            ask("one"),
            "",
            "{}: the same client's connection is kept",
            program.name
        );
        let signature = hex(b"\r\n\r\n\0\r\nQUIT\n");
        let addresses = "c0000201c633640204d201bb";
        assert_eq!(
            ask("two"),
            format!("{signature}2111000c{addresses}"),
            "{}",
            program.name
        );
        let sum = ask("sum");
        assert!(
            sum.starts_with(&format!("{signature}21110013{addresses}030004")),
            "{}: {sum}",
            program.name
        );
    });
}

#[test]
fn a_header_passes_from_proxy_to_proxy() {
    each(|program| {
        let (front, back) = (port(), port());
        for word in [
            "send-proxy",
            "send-proxy-v2",
            "send-proxy-v2 proxy-v2-options crc32c",
        ] {
            let text = format!(
                "{TIMES}listen a\n    bind 127.0.0.1:{front} accept-proxy\n    server b 127.0.0.1:{back} {word} check\n{}",
                accepting(back)
            );
            let proxy = Proxy::start(program, &text);
            proxy.wait_for("a", "b", "check_status", "L4OK");
            let mut client = Client::connect(front);
            client.send("PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n");
            let answer = client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(
                answer.body, "2001:db8::1:1234 2001:db8::2:443",
                "{}: {word}",
                program.name
            );
        }
    });
}
