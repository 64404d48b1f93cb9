//! `option grpc-check`: a call of gRPC's health service. The oracle has no words for it; the server
//! is the test's own and speaks as much HTTP/2 as the call needs.

use lab::real::nginx;
use lab::{Folder, Program, Proxy, port};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u32;
    let mut out = len.to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// A field that is written out (RFC 7541 section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0, name.len() as u8];
    out.extend(name.bytes());
    out.push(value.len() as u8);
    out.extend(value.bytes());
    out
}

/// What a server answers.
#[derive(Clone, Copy)]
enum Answer {
    /// A message and a status behind it.
    Message(&'static [u8], &'static str),
    /// A status at once.
    Status(&'static str),
    /// `:status 404` (entry 13 of HPACK's table).
    NotFound,
    /// HTTP/1.
    Old,
}

fn serve(mut stream: TcpStream, answer: Answer) -> Option<Vec<u8>> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).ok()?;
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    if let Answer::Old = answer {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok()?;
        return None;
    }
    stream.write_all(&frame(4, 0, 0, &[])).ok()?;
    let mut question = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; len as usize];
        stream.read_exact(&mut payload).ok()?;
        match (head[3], head[4]) {
            (4, 0) => stream.write_all(&frame(4, 1, 0, &[])).ok()?,
            (0, flags) => {
                question.extend(payload);
                if flags & 1 == 1 {
                    break;
                }
            }
            _ => {}
        }
    }
    let fields = [vec![0x88], field("content-type", "application/grpc")].concat();
    let frames = match answer {
        Answer::Message(message, status) => [
            frame(1, 4, 1, &fields),
            frame(0, 0, 1, message),
            frame(1, 5, 1, &field("grpc-status", status)),
        ]
        .concat(),
        Answer::Status(status) => {
            let fields = [fields, field("grpc-status", status)].concat();
            frame(1, 5, 1, &fields)
        }
        _ => frame(1, 5, 1, &[0x8d]),
    };
    stream.write_all(&frames).ok()?;
    // The other side ends it.
    let _ = stream.read(&mut [0; 100]);
    Some(question)
}

/// A server that gives the same answer to everybody, if everybody asks for this service.
fn server(answer: Answer, service: &'static str) -> u16 {
    let listener = lab::listener();
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut wanted = vec![0, 0, 0, 0, 0];
                if !service.is_empty() {
                    wanted[4] = service.len() as u8 + 2;
                    wanted.extend([10, service.len() as u8]);
                    wanted.extend(service.bytes());
                }
                if let Some(question) = serve(stream, answer) {
                    assert_eq!(question, wanted);
                }
            });
        }
    });
    port
}

const TIMES: &str =
    "defaults\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n";

#[test]
fn a_server_is_up_where_its_health_service_says_so_and_else_it_is_said_why_not() {
    let serving = Answer::Message(&[0, 0, 0, 0, 2, 8, 1], "0");
    let cases = [
        ("serving", serving, "UP", "L7OK", "SERVING"),
        (
            "not",
            Answer::Message(&[0, 0, 0, 0, 2, 8, 2], "0"),
            "DOWN",
            "L7STS",
            "NOT_SERVING",
        ),
        (
            "unset",
            Answer::Message(&[0, 0, 0, 0, 0], "0"),
            "DOWN",
            "L7STS",
            "UNKNOWN",
        ),
        (
            "status",
            Answer::Status("5"),
            "DOWN",
            "L7STS",
            "grpc-status 5 (NOT_FOUND)",
        ),
        (
            "late",
            Answer::Message(&[], "12"),
            "DOWN",
            "L7STS",
            "grpc-status 12 (UNIMPLEMENTED)",
        ),
        (
            "odd",
            Answer::Message(&[9, 9], "0"),
            "DOWN",
            "L7RSP",
            "none of the health service",
        ),
        ("web", Answer::NotFound, "DOWN", "L7RSP", "HTTP status 404"),
        ("old", Answer::Old, "DOWN", "L7RSP", ""),
    ];
    let mut lines = String::new();
    for (name, answer, ..) in &cases {
        let port = server(*answer, "shop.Cart");
        lines.push_str(&format!(
            "    server {name} 127.0.0.1:{port} check inter 100ms fall 1\n"
        ));
    }
    let config = format!(
        "{TIMES}backend b\n    mode tcp\n    option grpc-check service shop.Cart\n    timeout check 1s\n{lines}backend whole\n    option grpc-check\n    server s 127.0.0.1:{} check inter 100ms fall 1\n",
        server(serving, "")
    );
    let proxy = Proxy::start(&Program::mulgil(), &config);
    for (name, _, state, status, text) in cases {
        proxy.wait_for("b", name, "check_status", status);
        proxy.wait_for("b", name, "status", state);
        let said = proxy.stat("b", name, "last_chk");
        assert!(said.contains(text), "{name}: {said}");
    }
    proxy.wait_for("whole", "s", "check_status", "L7OK");
}

/// nginx speaks HTTP/2; what its health service says stands in a file, which a call is led to.
#[test]
fn nginx_tells_over_http_2_whether_it_serves() {
    let folder = Folder::new();
    folder.file("serving", &[0, 0, 0, 0, 2, 8, 1]);
    folder.file("not", &[0, 0, 0, 0, 2, 8, 2]);
    let state = |name: &str| {
        format!(
            "root {};\ndefault_type application/grpc;\nadd_trailer grpc-status 0 always;\n\
             location = /grpc.health.v1.Health/Check {{ error_page 404 =200 /{name}; }}\n",
            folder.path("")
        )
    };
    let Some(nginx) = nginx("http2", &state("serving")) else {
        return;
    };
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}backend b\n    option grpc-check\n    timeout check 1s\n    server s {} check inter 100ms fall 2 rise 2\n",
            nginx.addr
        ),
    );
    proxy.wait_for("b", "s", "check_status", "L7OK");
    proxy.wait_for("b", "s", "status", "UP");
    nginx.folder.file("server.conf", state("not").as_bytes());
    nginx.hang_up();
    proxy.wait_for("b", "s", "status", "DOWN");
    assert!(proxy.stat("b", "s", "last_chk").contains("NOT_SERVING"));
    nginx
        .folder
        .file("server.conf", state("serving").as_bytes());
    nginx.hang_up();
    proxy.wait_for("b", "s", "status", "UP");
}

/// Over TLS HTTP/2 is agreed on by ALPN: openssl ends TLS here, and shows what was agreed on.
#[test]
fn over_tls_the_check_offers_http_2_and_nothing_else() {
    let folder = Folder::new();
    let (key, cert) = lab::certificate(&folder, "g");
    let port = port();
    let log = std::fs::File::create(folder.path("log")).expect("a file");
    let mut openssl = Command::new("openssl")
        .args(["s_server", "-accept", &format!("127.0.0.1:{port}")])
        .args(["-key", &key, "-cert", &cert, "-alpn", "http/1.1,h2"])
        .args(["-naccept", "1"])
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log)
        .spawn()
        .expect("openssl is installed");
    let config = format!(
        "{TIMES}backend b\n    option grpc-check\n    timeout check 2s\n    server s 127.0.0.1:{port} check check-ssl verify none inter 2s fall 1\n"
    );
    let proxy = Proxy::start(&Program::mulgil(), &config);
    // It is no gRPC server: nobody answers, and the check ends the connection that openssl waits for.
    let end = std::time::Instant::now() + lab::PATIENCE;
    while openssl.try_wait().expect("a child").is_none() {
        if std::time::Instant::now() > end {
            let _ = openssl.kill();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(proxy);
    // It shows bytes of HTTP/2, too.
    let seen = std::fs::read(folder.path("log")).unwrap_or_default();
    let seen = String::from_utf8_lossy(&seen);
    assert!(
        seen.contains("ALPN protocols advertised by the client: h2\n"),
        "{seen}"
    );
    assert!(seen.contains("ALPN protocols selected: h2"), "{seen}");
}
