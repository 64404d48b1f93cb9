//! The address that a client came to: where it is known, servers that have the same, answers that leave from it.

use lab::net::{self, Net, Router};
use lab::{Client, PATIENCE, Proxy, Server, each, get, port, ports};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

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

#[test]
fn the_address_that_a_client_came_to_is_known_where_its_socket_has_all_of_them() {
    let all_families = std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only")
        .is_ok_and(|text| text.trim() == "0");
    each(|program| {
        let (four, six) = (port(), port());
        let config = format!(
            "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 5s\n\
             frontend f\n    bind *:{four}\n    bind :::{six}\n    \
             tcp-request connection set-var(sess.first) dst\n    tcp-request content set-var(sess.then) dst_port\n    \
             http-request deny if {{ dst 127.0.0.3 ::ffff:127.0.0.3 }}\n    \
             http-request return status 200 content-type text/plain lf-string \
             \"%[var(sess.first)] %[var(sess.then)] %[dst] %[dst_port] %[dst_is_local] %fi %fp\"\n"
        );
        let _proxy = Proxy::start(program, &config);
        let ask = |to: &str, port: u16| {
            let to = SocketAddr::new(to.parse().expect("an address"), port);
            let mut client = Client::connect_to(to);
            let response = client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            // The oracle writes IPv4 as IPv6 where the socket is of that.
            (response.status, response.body.replace("::ffff:", ""))
        };
        let mut ways = vec![("127.0.0.1", four), ("127.0.0.2", four), ("::1", six)];
        if all_families {
            ways.extend([("127.0.0.1", six), ("127.0.0.2", six)]);
            assert_eq!(ask("127.0.0.3", six).0, 403, "{}", program.name);
        }
        assert_eq!(ask("127.0.0.3", four).0, 403, "{}", program.name);
        for (to, port) in ways {
            let wanted = format!("{to} {port} {to} {port} 1 {to} {port}");
            assert_eq!(ask(to, port), (200, wanted), "{}", program.name);
        }
    });
}

#[test]
fn answers_to_what_was_sent_to_everybody_leave_from_an_address_of_ours() {
    if !net::possible() {
        return;
    }
    let net = Net::new(1);
    // Answers come from where the questions go, which is the router itself.
    let server = net::within(&net.router(1), || {
        UdpSocket::bind("127.0.0.1:0").expect("a port")
    });
    let echo = server.try_clone().expect("a descriptor");
    let to = server.local_addr().expect("an address");
    let answering = std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((n @ 1.., from)) = echo.recv_from(&mut buffer) {
            let _ = echo.send_to(&buffer[..n], from);
        }
    });
    let config = format!(
        "defaults\n    mode udp\n    timeout client 5s\n    timeout server 5s\n\
         listen four\n    bind *:5300\n    server s {to}\n\
         listen six\n    bind :::5300 v6only\n    server s {to}\n\
         listen both\n    bind :::5301 v4v6\n    server s {to}\n"
    );
    let router = Router::start(&net, 1, &config);
    let link = net.ip(&net.client(), "-o link show dev br0");
    let link: u32 = link
        .split(':')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("an index");
    let asked = |from: &'static str, to: SocketAddr| {
        net::within(&net.client(), move || {
            let client = UdpSocket::bind(from).expect("a port");
            client.set_broadcast(true).expect("allowed");
            let slice = Duration::from_millis(200);
            client.set_read_timeout(Some(slice)).expect("a timeout");
            let end = Instant::now() + PATIENCE;
            loop {
                assert!(Instant::now() < end, "{to} does not answer");
                // The link may only just have come up.
                if client.send_to(b"hello", to).is_err() {
                    std::thread::sleep(slice);
                    continue;
                }
                if let Ok((_, from)) = client.recv_from(&mut [0; 64]) {
                    return from.to_string();
                }
            }
        })
    };
    for (from, to, wanted) in [
        ("0.0.0.0:0", "203.0.113.1:5300", "203.0.113.1:5300"),
        ("0.0.0.0:0", "203.0.113.255:5300", "203.0.113.1:5300"),
        ("0.0.0.0:0", "203.0.113.1:5301", "203.0.113.1:5301"),
        ("0.0.0.0:0", "203.0.113.255:5301", "203.0.113.1:5301"),
        ("[::]:0", "[2001:db8::1]:5300", "[2001:db8::1]:5300"),
        ("[::]:0", "[ff02::1]:5300", "[fe80::"),
    ] {
        let mut to: SocketAddr = to.parse().expect("an address");
        if let SocketAddr::V6(to) = &mut to {
            to.set_scope_id(link);
        }
        let answer = asked(from, to);
        assert!(answer.starts_with(wanted), "{to}: {answer}");
    }
    router.stop();
    // Nothing is the end.
    net::within(&net.router(1), move || {
        let last = UdpSocket::bind("127.0.0.1:0").expect("a port");
        last.send_to(b"", to).expect("sent");
    });
    answering.join().expect("no panic");
}
