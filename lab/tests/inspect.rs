//! `tcp-request content` and its wait, the same through mulgil and through the oracle.

use lab::{Client, LogSink, Proxy, each, get, port};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const TIMES: &str =
    "defaults\n    timeout client 3s\n    timeout server 3s\n    timeout connect 1s\n";

/// A server that says its name and then what it gets, byte for byte.
fn echo(name: &'static str) -> std::net::SocketAddr {
    let listener = lab::listener();
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.write_all(name.as_bytes());
                let mut buffer = [0; 4096];
                while let Ok(n) = stream.read(&mut buffer) {
                    if n == 0 || stream.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

/// A hello of TLS that asks for a name.
fn hello(name: &str) -> Vec<u8> {
    let with = |size: usize, body: &[u8]| {
        let length = (body.len() as u32).to_be_bytes();
        [&length[4 - size..], body].concat()
    };
    let names = with(2, &with(2, &[&[0][..], &with(2, name.as_bytes())].concat()));
    let extensions = [&[0, 0][..], &names].concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &with(1, &[]),
        &with(2, &[0x13, 1]),
        &with(1, &[0]),
        &with(2, &extensions),
    ]
    .concat();
    let handshake = [&[1][..], &with(3, &body)].concat();
    [&[22, 3, 1][..], &with(2, &handshake)].concat()
}

/// Sends the pieces with pauses, then reads for a while.
fn talk(port: u16, pieces: &[&[u8]]) -> Vec<u8> {
    let mut client = Client::connect(port);
    for piece in pieces {
        client.send(piece);
        std::thread::sleep(Duration::from_millis(40));
    }
    let _ = client.stream.set_read_timeout(Some(Duration::from_secs(2)));
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(n) = client.stream.read(&mut buffer) {
        if n == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..n]);
    }
    all
}

#[test]
fn connections_go_by_the_name_in_their_hello() {
    each(|program| {
        let (a, b) = (echo("<a>"), echo("<b>"));
        let (log, port) = (LogSink::new(), port());
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    mode tcp\n    bind 127.0.0.1:{port}\n    log 127.0.0.1:{} local0\n    option tcplog\n    tcp-request inspect-delay 2s\n    tcp-request content accept if {{ req_ssl_hello_type 1 }}\n    tcp-request content reject\n    use_backend a if {{ req_ssl_sni -i a.example }}\n    use_backend b if {{ req.ssl_sni -m end .b.example }}\n    default_backend none\n\
                 backend a\n    mode tcp\n    server a {a}\nbackend b\n    mode tcp\n    server b {b}\nbackend none\n    mode tcp\n",
                log.port
            ),
        );
        let first = hello("A.example");
        let answer = talk(port, &[&first, b"more"]);
        assert_eq!(
            answer,
            [b"<a>", &first[..], b"more"].concat(),
            "{}",
            program.name
        );
        // In pieces, of which none is enough but the last.
        let second = hello("www.b.example");
        let (head, tail) = second.split_at(20);
        let answer = talk(port, &[&head[..3], &head[3..], tail]);
        assert_eq!(answer, [b"<b>", &second[..]].concat(), "{}", program.name);
        assert!(
            talk(port, &[b"GET / HTTP/1.1\r\n\r\n"]).is_empty(),
            "{}",
            program.name
        );
        let line = log.line(" PR ");
        assert!(line.contains(" PR "), "{}: {line}", program.name);
    });
}

#[test]
fn a_port_for_http_and_for_something_else() {
    each(|program| {
        let (web, ssh) = (echo("<web>"), echo("<ssh>"));
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    mode tcp\n    bind 127.0.0.1:{port}\n    tcp-request inspect-delay 300ms\n    tcp-request content accept if HTTP\n    use_backend web if HTTP\n    default_backend ssh\n\
                 backend web\n    mode tcp\n    server s {web}\nbackend ssh\n    mode tcp\n    server s {ssh}\n"
            ),
        );
        let answer = talk(port, &[b"GET / HTTP/1.1\r\n", b"Host: x\r\n\r\n"]);
        assert!(
            answer.starts_with(b"<web>GET"),
            "{}: {answer:?}",
            program.name
        );
        // Whoever waits for the server to speak first is let through when the delay is over.
        let begun = Instant::now();
        let mut client = Client::connect(port);
        let mut word = [0; 5];
        client.stream.read_exact(&mut word).expect("a greeting");
        assert_eq!(&word, b"<ssh>", "{}", program.name);
        assert!(
            begun.elapsed() >= Duration::from_millis(280),
            "{}",
            program.name
        );
    });
}

#[test]
fn bytes_and_their_number_can_be_asked_for() {
    each(|program| {
        let (a, b) = (echo("<a>"), echo("<b>"));
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    mode tcp\n    bind 127.0.0.1:{port}\n    tcp-request inspect-delay 1s\n    tcp-request content reject if {{ req.payload(0,4) -m bin 42414421 }}\n    tcp-request content accept if {{ req.len gt 8 }}\n    use_backend a if {{ req.payload(0,2) -m str aa }}\n    use_backend a if {{ req.len gt 12 }}\n    default_backend b\n\
                 backend a\n    mode tcp\n    server s {a}\nbackend b\n    mode tcp\n    server s {b}\n"
            ),
        );
        assert_eq!(
            talk(port, &[b"aabb", b"ccddee"]),
            b"<a>aabbccddee",
            "{}",
            program.name
        );
        assert_eq!(
            talk(port, &[b"bbaa", b"ccddee"]),
            b"<b>bbaaccddee",
            "{}",
            program.name
        );
        assert_eq!(
            talk(port, &[b"bbaaccddeeffgg"]),
            b"<a>bbaaccddeeffgg",
            "{}",
            program.name
        );
        assert!(talk(port, &[b"BA", b"D!"]).is_empty(), "{}", program.name);
    });
}

#[test]
fn content_rules_hold_for_requests_too() {
    each(|program| {
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    mode http\n    bind 127.0.0.1:{port}\n    tcp-request inspect-delay 10m\n    tcp-request content reject if {{ path /no }}\n    tcp-request content accept if {{ path /now }}\n    tcp-request content accept if WAIT_END\n    http-request return status 200\n"
            ),
        );
        assert_eq!(get(port, "/now").status, 200, "{}", program.name);
        assert_eq!(get(port, "/no").status, 0, "{}", program.name);
        // The request is there: nothing more is waited for.
        assert_eq!(get(port, "/later").status, 200, "{}", program.name);
    });
}
