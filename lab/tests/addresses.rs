//! Servers whose address or port is the one the client came to.

use lab::{Client, Proxy, Server, each, get, port, ports};
use std::io::Write;
use std::net::{TcpListener, TcpStream};

#[test]
fn a_server_without_port_or_with_an_offset_is_reached_at_the_clients_port() {
    // The two listening ports are two above the server's and two above one where nobody is, so that a
    // connection kept for one would be wrong for the other.
    let near_port = ports(4);
    let (one, other) = (near_port + 2, near_port + 3);
    let listener = TcpListener::bind(("127.0.0.1", near_port)).expect("a port");
    let _near = Server::on(listener, |_, stream| {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Server: near\r\n\r\nok";
        stream.write_all(text.as_bytes()).is_ok()
    });
    each(|program| {
        let config = format!(
            "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n    retries 0\n\
             frontend f\n    bind 127.0.0.1:{one}\n    bind 127.0.0.1:{other}\n    default_backend b\n\
             backend b\n    http-reuse always\n    server s 127.0.0.1:-2\n"
        );
        let _proxy = Proxy::start(program, &config);
        for _ in 0..3 {
            assert_eq!(get(one, "/").status, 200, "{}", program.name);
            assert_eq!(get(other, "/").status, 503, "{}", program.name);
        }
    });
}

#[test]
fn a_server_at_any_address_is_reached_at_the_clients_address() {
    // Two servers on one port, each at an address of its own.
    let pair = || {
        let first = TcpListener::bind("127.0.0.1:0").ok()?;
        let port = first.local_addr().ok()?.port();
        let second = TcpListener::bind(("127.0.0.2", port)).ok()?;
        Some((first, second, port))
    };
    let found = (0..20).find_map(|_| pair());
    let (first, second, server_port) = found.expect("a port that is free at both addresses");
    let says = |name: &'static str| {
        move |_: &str, stream: &mut TcpStream| {
            let text =
                format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Server: {name}\r\n\r\nok");
            stream.write_all(text.as_bytes()).is_ok()
        }
    };
    let _servers = [
        Server::on(first, says("first")),
        Server::on(second, says("second")),
    ];
    each(|program| {
        for any in ["*", "0.0.0.0"] {
            let web = port();
            let config = format!(
                "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n\
                 listen l\n    bind :{web}\n    http-reuse always\n    server s {any}:{server_port}\n"
            );
            let _proxy = Proxy::start(program, &config);
            for _ in 0..2 {
                for (ip, name) in [([127, 0, 0, 1], "first"), ([127, 0, 0, 2], "second")] {
                    let mut client = Client::connect_to((ip, web).into());
                    let answer = client
                        .ask("GET / HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n");
                    assert_eq!(
                        answer.header("x-server").as_deref(),
                        Some(name),
                        "{} {any}",
                        program.name
                    );
                }
            }
        }
    });
}
