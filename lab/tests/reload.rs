//! A configuration that changes under load: nobody notices.

use lab::{Client, PATIENCE, Program, Proxy, Server, port};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TIMES: &str = "defaults\n    mode http\n    timeout client 10s\n    timeout server 10s\n    timeout connect 2s\n";

/// Waits until the proxy has said something so many times.
fn said(proxy: &Proxy, text: &str, times: usize) {
    let end = Instant::now() + PATIENCE;
    while proxy.output().matches(text).count() < times {
        assert!(Instant::now() < end, "{text} {times}: {}", proxy.output());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A body that comes slowly enough to outlast every change.
const LARGE: usize = 4_000_000;

fn trickling() -> Server {
    Server::start(|_, stream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
        let piece = [b'x'; LARGE / 200];
        (0..200).all(|_| {
            std::thread::sleep(Duration::from_millis(15));
            stream.write_all(&piece).is_ok()
        })
    })
}

#[test]
fn fifty_changes_under_load_lose_no_request_and_break_no_download() {
    let (a, b, slow) = (Server::named("a"), Server::named("b"), trickling());
    let (port, extra) = (port(), port());
    // Everything about it changes: servers, weights, rules, a whole frontend that comes and goes.
    let text = |n: usize| {
        let server = if n.is_multiple_of(3) { &b } else { &a };
        let more = if n % 2 == 1 {
            format!("frontend g\n    bind 127.0.0.1:{extra}\n    default_backend b\n")
        } else {
            String::new()
        };
        format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n    http-request set-header x-n {n}\n    use_backend slow if {{ path /slow }}\n    default_backend b\n{more}backend b\n    balance roundrobin\n    server s{} {} weight {}\n    server t {}\nbackend slow\n    server s {}\n",
            n % 4,
            server.addr,
            n % 7 + 1,
            a.addr,
            slow.addr
        )
    };
    let proxy = Proxy::start(&Program::mulgil(), &text(0));
    let first = std::fs::read_to_string(&proxy.file).expect("a file");
    let global = first.split(TIMES).next().unwrap_or("").to_string();
    let (over, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let clients: Vec<_> = (0..6)
        .map(|which| {
            let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mut client = Client::connect(port);
                while !over.load(Ordering::Relaxed) {
                    // Half of them keep their connection, half come anew each time.
                    if which % 2 == 1 {
                        client = Client::connect(port);
                    }
                    let answer = client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
                    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let download = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
            .write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("written");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("a whole answer");
        let head = all
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("a head");
        all.len() - head - 4
    });
    let mut refused = 0;
    for n in 1..=50 {
        let good = n % 10 != 5;
        let content =
            global.clone() + &text(n) + if good { "" } else { "    balence roundrobin\n" };
        std::fs::write(&proxy.file, content).expect("written");
        proxy.signal("-HUP");
        if good {
            said(&proxy, "is in force", n - refused);
        } else {
            refused += 1;
            said(&proxy, "stays as it was", refused);
        }
    }
    assert_eq!(download.join().expect("a download"), LARGE);
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no failed request");
    }
    assert_eq!(refused, 5);
    assert!(answered.load(Ordering::Relaxed) > 50, "there was load");
    assert_eq!(proxy.stat("b", "BACKEND", "hrsp_5xx"), "0");
    assert_eq!(proxy.stat("b", "t", "econ"), "0");
}

#[test]
fn requests_survive_servers_that_come_and_go() {
    // Three servers, of which at any time one is being killed and started again on its port.
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let ports = [port(), port(), port()];
    let over = Arc::new(AtomicBool::new(false));
    let gate = Arc::new(AtomicU64::new(0));
    let servers: Vec<_> = ports
        .iter()
        .enumerate()
        .map(|(which, port)| {
            let (over, gate, port) = (Arc::clone(&over), Arc::clone(&gate), *port);
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let closed = || gate.load(Ordering::Relaxed) % 4 == which as u64 + 1;
                    if closed() {
                        std::thread::sleep(Duration::from_millis(2));
                        continue;
                    }
                    let socket = std::net::TcpListener::bind(("127.0.0.1", port));
                    let Ok(listener) = socket else {
                        std::thread::sleep(Duration::from_millis(2));
                        continue;
                    };
                    listener.set_nonblocking(true).expect("non-blocking");
                    // It serves until its turn to be gone comes, then everything is closed.
                    let mut open: Vec<TcpStream> = Vec::new();
                    while !closed() && !over.load(Ordering::Relaxed) {
                        if let Ok((stream, _)) = listener.accept() {
                            stream.set_nonblocking(true).expect("non-blocking");
                            open.push(stream);
                        }
                        open.retain_mut(|stream| {
                            let mut room = [0; 4096];
                            match stream.read(&mut room) {
                                Ok(0) => false,
                                Ok(_) => stream.write_all(answer).is_ok(),
                                Err(e) => e.kind() == std::io::ErrorKind::WouldBlock,
                            }
                        });
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let front = port();
    let lines: String = ports
        .iter()
        .map(|p| format!("    server s{p} 127.0.0.1:{p} check inter 50 fall 1 rise 1\n"))
        .collect();
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}    timeout check 5s\n    retries 5\n    option redispatch 1\n    retry-on conn-failure empty-response\nlisten l\n    bind 127.0.0.1:{front}\n    option httpchk GET /\n{lines}"
        ),
    );
    let clients: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(front);
                for n in 0..REQUESTS / 4 {
                    let answer = client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
                    assert_eq!(
                        (answer.status, answer.body.as_str()),
                        (200, "ok"),
                        "request {n}"
                    );
                }
            })
        })
        .collect();
    while clients.iter().any(|c| !c.is_finished()) {
        gate.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(150));
    }
    for client in clients {
        client.join().expect("no lost request");
    }
    over.store(true, Ordering::Relaxed);
    for server in servers {
        server.join().expect("a server ends");
    }
    let total: u64 = proxy
        .stat("l", "FRONTEND", "req_tot")
        .parse()
        .expect("a number");
    assert_eq!(total, REQUESTS);
}

/// As many as the promise names.
const REQUESTS: u64 = 100_000;
