//! `silent-drop`: the client is not told that its connection is gone.

use lab::{Client, PATIENCE, Program, Proxy, Server, each, port};
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

/// Whether the kernel still has the proxy's end of a client's connection.
fn has_end(port: u16, client: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let ends = |l: &str| {
        let mut words = l.split_whitespace().skip(1);
        let mut end = || words.next()?.rsplit_once(':').map(|w| w.1.to_string());
        end().zip(end())
    };
    let wanted = (format!("{port:04X}"), format!("{client:04X}"));
    table.lines().filter_map(ends).any(|e| e == wanted)
}

/// What a client has heard of its connection once the proxy's end of it is gone: on the loopback a word
/// of it would have arrived with its going. Where one is `due`, it may still be on its way.
fn hears(port: u16, ask: &str, due: bool) -> String {
    let mut client = Client::connect(port);
    let own = client.stream.local_addr().expect("an address").port();
    // What is sent to a connection that is gone already is answered with a reset by any kernel.
    if !ask.is_empty() {
        let body = match ask.starts_with("POST") {
            true => "Content-Length: 2\r\n\r\nhi",
            false => "\r\n",
        };
        client.send(format!("{ask} HTTP/1.1\r\nHost: x\r\n{body}"));
    }
    let end = Instant::now() + PATIENCE;
    while has_end(port, own) {
        assert!(Instant::now() < end, "{ask}: it does not go");
        std::thread::sleep(Duration::from_millis(5));
    }
    client.stream.set_nonblocking(!due).expect("a socket");
    let mut buffer = [0; 20];
    match client.stream.read(&mut buffer) {
        Ok(0) => "the end".into(),
        Ok(n) => String::from_utf8_lossy(&buffer[..n.min(12)]).into_owned(),
        Err(e) if e.kind() == ErrorKind::WouldBlock => "nothing".into(),
        Err(e) => format!("{:?}", e.kind()),
    }
}

fn config(server: &Server, ports: [u16; 4], reset: &str) -> String {
    let [web, early, late, tcp] = ports;
    let (address, open) = (server.addr, "http-request return status 200");
    format!(
        "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n\
         frontend f\n    bind 127.0.0.1:{web}\n    http-request silent-drop{reset} if {{ path /request }}\n    default_backend b\n\
         frontend early\n    bind 127.0.0.1:{early}\n    tcp-request connection silent-drop{reset}\n    {open}\n\
         frontend late\n    bind 127.0.0.1:{late}\n    tcp-request session silent-drop{reset}\n    {open}\n\
         listen tcp\n    mode tcp\n    bind 127.0.0.1:{tcp}\n    tcp-request content silent-drop{reset}\n    server s {address}\n\
         backend b\n    http-response silent-drop{reset} if {{ res.hdr(x-server) gone }}\n    server s {address}\n"
    )
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

#[test]
fn a_connection_is_gone_without_a_word() {
    if !is_root() {
        return println!("only root can keep the kernel quiet");
    }
    each(|program| {
        let server = Server::named("gone");
        let ports = [port(), port(), port(), port()];
        let proxy = Proxy::start(program, &config(&server, ports, ""));
        for (port, ask) in [
            (ports[0], "GET /request"),
            (ports[0], "POST /request"),
            (ports[0], "GET /response"),
            (ports[3], ""),
            (ports[1], ""),
            (ports[2], ""),
        ] {
            let heard = hears(port, ask, false);
            assert_eq!(heard, "nothing", "{} {ask}", program.name);
        }
        proxy.wait_for("f", "FRONTEND", "scur", "0");
    });
}

#[test]
fn a_reset_that_may_pass_some_routers_arrives_here() {
    let server = Server::named("gone");
    let ports = [port(), port(), port(), port()];
    let _proxy = Proxy::start(&Program::mulgil(), &config(&server, ports, " rst-ttl 3"));
    for (port, ask) in ports.into_iter().zip(["GET /request", "", "", ""]) {
        assert_eq!(hears(port, ask, true), "ConnectionReset", "{ask}");
    }
    let heard = hears(ports[0], "POST /request", true);
    assert_eq!(heard, "ConnectionReset", "with a body");
}
