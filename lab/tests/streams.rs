//! `mode tcp`: bytes, ends and faults on either side, the same through mulgil and through the
//! oracle.

use lab::{LogSink, PATIENCE, Proxy, each, port, ports};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

/// A frontend that logs to `sink`, and its server.
fn config(port: u16, sink: &LogSink, server: &str, more: &str) -> String {
    format!(
        "defaults\n    mode tcp\n    timeout client 5s\n    timeout server 5s\n    timeout connect 1s\n    option tcplog\n    log 127.0.0.1:{} local0\n{more}\
         frontend f\n    bind 127.0.0.1:{port} name door\n    default_backend b\nbackend b\n    server s {server}\n",
        sink.port
    )
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn listener() -> (TcpListener, String) {
    let listener = lab::listener();
    let addr = listener.local_addr().expect("an address").to_string();
    (listener, addr)
}

fn take(stream: &mut impl Read, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    stream.read_exact(&mut bytes).expect("so many bytes");
    bytes
}

/// All until the end; whether that was an end and not a failure.
fn rest(stream: &mut impl Read) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes).is_ok();
    (bytes, ended)
}

/// Closing will reset the connection.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .expect("set");
}

/// The state of a session at its end, as `option tcplog` shows it.
fn flags(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|w| *w == "b/s").expect("a server");
    words[at + 3].to_string()
}

/// Bytes that differ from place to place.
fn pattern(n: usize) -> Vec<u8> {
    (0..n as u32)
        .flat_map(|i| (i.wrapping_mul(2654435761)).to_le_bytes())
        .take(n)
        .collect()
}

#[test]
fn every_byte_arrives_in_both_directions_at_once() {
    each(|program| {
        let (origin, addr) = listener();
        let (port, sink) = (port(), LogSink::new());
        // HAProxy 2.6 now and then loses the end of such a stream when it splices.
        let more = match program.name {
            "mulgil" => {
                "    option splice-auto\n    option splice-request\n    option splice-response\n"
            }
            _ => "",
        };
        let _proxy = Proxy::start(program, &config(port, &sink, &addr, more));
        let bytes = pattern(20_000_000);
        let (mut client, mut server) = (connect(port), accept(&origin));
        let threads = [client.try_clone(), server.try_clone()].map(|stream| {
            let (mut stream, bytes) = (stream.expect("a clone"), bytes.clone());
            std::thread::spawn(move || {
                // Small pieces first, then many at a time.
                for piece in bytes[..100_000].chunks(777) {
                    stream.write_all(piece).expect("taken");
                }
                stream.write_all(&bytes[100_000..]).expect("taken");
                stream.shutdown(Shutdown::Write).expect("shut");
            })
        });
        let check = move |stream: &mut TcpStream, name: &str| {
            let (got, end) = rest(stream);
            let wrong = got.iter().zip(&bytes).position(|(a, b)| a != b);
            assert_eq!((got.len(), wrong), (bytes.len(), None), "{name}: {end:?}");
        };
        let other = {
            let (check, name) = (check.clone(), program.name);
            std::thread::spawn(move || check(&mut server, name))
        };
        check(&mut client, program.name);
        other.join().expect("the server got all");
        for thread in threads {
            thread.join().expect("all was taken");
        }
        let line = sink.line("b/s");
        assert_eq!(flags(&line), "--", "{}: {line}", program.name);
        assert!(line.contains(" 20000000 -- "), "{}: {line}", program.name);
    });
}

#[test]
fn either_side_may_end_its_direction_and_go_on_listening() {
    each(|program| {
        let (origin, addr) = listener();
        let (port, sink) = (port(), LogSink::new());
        let _proxy = Proxy::start(program, &config(port, &sink, &addr, ""));
        // The client ends first.
        let (mut client, mut server) = (connect(port), accept(&origin));
        client.write_all(b"question").expect("sent");
        client.shutdown(Shutdown::Write).expect("shut");
        assert_eq!(
            rest(&mut server),
            (b"question".to_vec(), true),
            "{}",
            program.name
        );
        std::thread::sleep(Duration::from_millis(50));
        server.write_all(b"answer").expect("sent");
        drop(server);
        assert_eq!(
            rest(&mut client),
            (b"answer".to_vec(), true),
            "{}",
            program.name
        );
        assert_eq!(flags(&sink.line("b/s")), "--", "{}", program.name);
        // The server ends first.
        let (mut client, mut server) = (connect(port), accept(&origin));
        server.write_all(b"greeting").expect("sent");
        server.shutdown(Shutdown::Write).expect("shut");
        assert_eq!(
            rest(&mut client),
            (b"greeting".to_vec(), true),
            "{}",
            program.name
        );
        std::thread::sleep(Duration::from_millis(50));
        client.write_all(b"late").expect("sent");
        drop(client);
        assert_eq!(
            rest(&mut server),
            (b"late".to_vec(), true),
            "{}",
            program.name
        );
        assert_eq!(flags(&sink.line("b/s")), "--", "{}", program.name);
    });
}

#[test]
fn a_side_that_resets_ends_the_other() {
    each(|program| {
        let (origin, addr) = listener();
        let (port, sink) = (port(), LogSink::new());
        let _proxy = Proxy::start(program, &config(port, &sink, &addr, ""));
        let (mut client, mut server) = (connect(port), accept(&origin));
        client.write_all(b"hello").expect("sent");
        assert_eq!(take(&mut server, 5), b"hello");
        reset(client);
        assert!(rest(&mut server).0.is_empty(), "{}", program.name);
        assert_eq!(flags(&sink.line("b/s")), "CD", "{}", program.name);
        let (mut client, mut server) = (connect(port), accept(&origin));
        client.write_all(b"hello").expect("sent");
        assert_eq!(take(&mut server, 5), b"hello");
        reset(server);
        assert!(rest(&mut client).0.is_empty(), "{}", program.name);
        assert_eq!(flags(&sink.line("b/s")), "SD", "{}", program.name);
    });
}

#[test]
fn what_a_server_said_before_it_left_arrives_though_the_client_goes_on_sending() {
    // The oracle drops what it had not passed on yet: only mulgil is held to this.
    let program = &lab::Program::mulgil();
    {
        let (origin, addr) = listener();
        let (port, sink) = (port(), LogSink::new());
        let _proxy = Proxy::start(program, &config(port, &sink, &addr, ""));
        let (mut client, mut server) = (connect(port), accept(&origin));
        client.write_all(b"x").expect("sent");
        assert_eq!(take(&mut server, 1), b"x");
        let bytes = pattern(300_000);
        server.write_all(&bytes).expect("sent");
        // Gone in both directions, with nothing left unread that would make it a reset.
        drop(server);
        std::thread::sleep(Duration::from_millis(50));
        // Sent to one that has closed.
        for _ in 0..20 {
            let _ = client.write_all(b"more");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(rest(&mut client).0 == bytes, "{}", program.name);
        sink.line("b/s");
    }
}

#[test]
fn a_silent_session_ends_by_the_timeout_of_the_side_whose_turn_it_is() {
    each(|program| {
        let (origin, addr) = listener();
        for (more, wanted) in [
            ("    timeout client 200ms\n", "cD"),
            ("    timeout server 200ms\n", "sD"),
            ("    timeout tunnel 200ms\n", "cD"),
        ] {
            let (port, sink) = (port(), LogSink::new());
            let proxy = Proxy::start(program, &config(port, &sink, &addr, more));
            let (mut client, mut server) = (connect(port), accept(&origin));
            assert!(rest(&mut client).0.is_empty(), "{}", program.name);
            assert!(rest(&mut server).0.is_empty(), "{}", program.name);
            let line = sink.line("b/s");
            assert_eq!(flags(&line), wanted, "{} with {more}", program.name);
            drop(proxy);
        }
    });
}

#[test]
fn a_half_closed_session_has_patience_of_its_own() {
    each(|program| {
        let (origin, addr) = listener();
        let (port, sink) = (port(), LogSink::new());
        let more = "    timeout client-fin 200ms\n    timeout server-fin 200ms\n";
        let _proxy = Proxy::start(program, &config(port, &sink, &addr, more));
        let (mut client, mut server) = (connect(port), accept(&origin));
        client.write_all(b"x").expect("sent");
        assert_eq!(take(&mut server, 1), b"x");
        client.shutdown(Shutdown::Write).expect("shut");
        assert!(rest(&mut server).1, "{}", program.name);
        assert_eq!(flags(&sink.line("b/s")), "sD", "{}", program.name);
        let (mut client, mut server) = (connect(port), accept(&origin));
        client.write_all(b"x").expect("sent");
        assert_eq!(take(&mut server, 1), b"x");
        server.shutdown(Shutdown::Write).expect("shut");
        assert!(rest(&mut client).1, "{}", program.name);
        assert_eq!(flags(&sink.line("b/s")), "cD", "{}", program.name);
    });
}

#[test]
fn a_session_that_an_operator_ends_does_not_wait_for_its_server() {
    each(|program| {
        let (origin, addr) = listener();
        let (port, sink) = (port(), LogSink::new());
        let more = "    timeout tunnel 1h\n";
        let proxy = Proxy::start(program, &config(port, &sink, &addr, more));
        // The oracle waits for its server where the client has said all.
        let halves = [false, true];
        let halves = halves
            .iter()
            .filter(|half| !*half || program.name == "mulgil");
        for half_closed in halves {
            let (mut client, mut server) = (connect(port), accept(&origin));
            client.write_all(b"x").expect("sent");
            assert_eq!(take(&mut server, 1), b"x");
            if *half_closed {
                client.shutdown(Shutdown::Write).expect("shut");
                assert!(rest(&mut server).1);
            }
            proxy.wait_for("b", "s", "scur", "1");
            proxy.control("shutdown sessions server b/s");
            let flags = flags(&sink.line("b/s"));
            assert!(flags.starts_with('K'), "{}: {flags}", program.name);
            proxy.wait_for("b", "s", "scur", "0");
        }
    });
}

#[test]
fn what_is_sent_to_a_peer_is_a_sign_of_its_life_unless_streams_are_independent() {
    // As the manual says; the oracle's 2.6 lets the option be without effect here.
    let program = &lab::Program::mulgil();
    {
        let (origin, addr) = listener();
        for (more, stays) in [("", true), ("    option independent-streams\n", false)] {
            let (port, sink) = (port(), LogSink::new());
            let more = format!("    timeout server 1s\n{more}");
            let proxy = Proxy::start(program, &config(port, &sink, &addr, &more));
            let (mut client, mut server) = (connect(port), accept(&origin));
            // The client talks for longer than the server may be silent.
            let talked = (0..20).all(|_| {
                std::thread::sleep(Duration::from_millis(100));
                client.write_all(b"word").is_ok() && server.read_exact(&mut [0; 4]).is_ok()
            });
            assert_eq!(talked, stays, "{} with {more}", program.name);
            drop((client, server));
            let wanted = if stays { "--" } else { "sD" };
            assert_eq!(
                flags(&sink.line("b/s")),
                wanted,
                "{} with {more}",
                program.name
            );
            drop(proxy);
        }
    }
}

#[test]
fn a_receiver_that_stalls_holds_the_sender_back_and_ends_by_its_timeout() {
    each(|program| {
        let (origin, addr) = listener();
        let (port, sink) = (port(), LogSink::new());
        let _proxy = Proxy::start(
            program,
            &config(port, &sink, &addr, "    timeout client 1s\n"),
        );
        let (client, mut server) = (connect(port), accept(&origin));
        server
            .set_write_timeout(Some(Duration::from_millis(200)))
            .expect("set");
        let chunk = pattern(1 << 20);
        let mut sent = 0;
        // Sockets and one buffer hold some megabytes; what is more is held back.
        let held = loop {
            match server.write(&chunk) {
                Ok(n) => sent += n,
                Err(e) => break matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
            assert!(sent < 64 << 20, "{}: nothing holds it back", program.name);
        };
        assert!(held, "{}", program.name);
        assert_eq!(flags(&sink.line("b/s")), "cD", "{}", program.name);
        drop(client);
    });
}

#[test]
fn unix_and_abstract_sockets_carry_streams_on_both_sides() {
    each(|program| {
        let (port, sink) = (port(), LogSink::new());
        let folder = lab::Folder::new();
        let (door, behind) = (folder.path("door"), folder.path("behind"));
        let name = format!("lab-streams-{}", std::process::id());
        let origin = UnixListener::bind(&behind).expect("a socket");
        // In by TCP, on by an abstract socket, on by a path.
        let text = format!(
            "{}listen two\n    bind abns@{name}\n    bind {door} mode 600\n    server t unix@{behind}\n",
            config(port, &sink, &format!("abns@{name}"), "")
        );
        let _proxy = Proxy::start(program, &text);
        let mut client = connect(port);
        let (mut server, _) = origin.accept().expect("a connection");
        server.set_read_timeout(Some(PATIENCE)).expect("set");
        let bytes = pattern(500_000);
        let sender = {
            let (mut client, bytes) = (client.try_clone().expect("a clone"), bytes.clone());
            std::thread::spawn(move || {
                client.write_all(&bytes).expect("sent");
                client.shutdown(Shutdown::Write).expect("shut");
            })
        };
        assert!(rest(&mut server).0 == bytes, "{}", program.name);
        sender.join().expect("sent");
        server.write_all(b"back").expect("sent");
        drop(server);
        assert_eq!(rest(&mut client).0, b"back", "{}", program.name);
        // In by the path.
        let mut client = UnixStream::connect(&door).expect("it listens");
        client.write_all(b"hello").expect("sent");
        let (mut server, _) = origin.accept().expect("a connection");
        assert_eq!(take(&mut server, 5), b"hello", "{}", program.name);
    });
}

#[test]
fn a_listener_takes_no_more_than_its_maxconn() {
    each(|program| {
        let (origin, addr) = listener();
        let (port, other, sink) = (port(), port(), LogSink::new());
        let text = config(port, &sink, &addr, "").replace(
            "name door",
            &format!("name door maxconn 1 backlog 10\n    bind 127.0.0.1:{other} id 7"),
        );
        let _proxy = Proxy::start(program, &text);
        let (mut first, mut to_first) = (connect(port), accept(&origin));
        first.write_all(b"1").expect("sent");
        assert_eq!(take(&mut to_first, 1), b"1");
        let mut second = connect(port);
        second.write_all(b"2").expect("sent");
        // The frontend's other listener is not concerned.
        let (mut third, mut to_third) = (connect(other), accept(&origin));
        third.write_all(b"3").expect("sent");
        assert_eq!(take(&mut to_third, 1), b"3", "{}", program.name);
        drop((first, to_first));
        let mut to_second = accept(&origin);
        assert_eq!(take(&mut to_second, 1), b"2", "{}", program.name);
    });
}

#[test]
fn a_range_of_ports_listens_on_each_and_servers_follow_the_port() {
    each(|program| {
        let first = ports(4);
        let origins: Vec<TcpListener> = (2..4)
            .map(|i| TcpListener::bind(("127.0.0.1", first + i)).expect("a port"))
            .collect();
        let sink = LogSink::new();
        let text = config(first, &sink, "127.0.0.1:+2", "").replace(
            &format!("127.0.0.1:{first} name"),
            &format!("127.0.0.1:{first}-{} name", first + 1),
        );
        let _proxy = Proxy::start(program, &text);
        for (i, origin) in origins.iter().enumerate() {
            let mut client = connect(first + i as u16);
            client.write_all(b"x").expect("sent");
            assert_eq!(take(&mut accept(origin), 1), b"x", "{}", program.name);
        }
    });
}

/// A number that a socket of this machine's connection table has: the options a proxy set on its
/// own sockets cannot be asked for from outside, but keep-alive timers show in `ss`.
fn timers(port: u16) -> String {
    let out = std::process::Command::new("ss")
        .args([
            "-tno",
            "state",
            "established",
            &format!("( sport = :{port} )"),
        ])
        .output()
        .expect("ss runs");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn keep_alive_is_on_where_asked_for() {
    each(|program| {
        let (origin, addr) = listener();
        let (port, sink) = (port(), LogSink::new());
        let more = "    option clitcpka\n    clitcpka-idle 100s\n    clitcpka-intvl 7s\n    clitcpka-cnt 3\n    option srvtcpka\n    srvtcpka-idle 200s\n    srvtcpka-intvl 9s\n    srvtcpka-cnt 4\n    option tcp-smart-accept\n    option tcp-smart-connect\n";
        let _proxy = Proxy::start(program, &config(port, &sink, &addr, more));
        let (mut client, mut server) = (connect(port), accept(&origin));
        client.write_all(b"x").expect("sent");
        assert_eq!(take(&mut server, 1), b"x");
        let to_client = timers(port);
        assert!(
            to_client.contains("keepalive,1min"),
            "{}: {to_client}",
            program.name
        );
        let from = server.peer_addr().expect("an address").port();
        let to_server = timers(from);
        assert!(
            to_server.contains("keepalive,3min"),
            "{}: {to_server}",
            program.name
        );
    });
}

#[test]
fn nolinger_ends_connections_by_a_reset() {
    each(|program| {
        let (origin, addr) = listener();
        let (port, sink) = (port(), LogSink::new());
        let more = "    option nolinger\n";
        let _proxy = Proxy::start(program, &config(port, &sink, &addr, more));
        let (mut client, mut server) = (connect(port), accept(&origin));
        client.write_all(b"x").expect("sent");
        assert_eq!(take(&mut server, 1), b"x");
        server.write_all(b"y").expect("sent");
        assert_eq!(take(&mut client, 1), b"y");
        client.shutdown(Shutdown::Write).expect("shut");
        rest(&mut server);
        drop(server);
        sink.line("b/s");
        // Ended in order or not, nothing may stay behind in TIME_WAIT on the proxy's side.
        let out = std::process::Command::new("ss")
            .args(["-tn", "state", "time-wait", &format!("( sport = :{port} )")])
            .output()
            .expect("ss runs");
        let left = String::from_utf8_lossy(&out.stdout).into_owned();
        assert_eq!(left.lines().count(), 1, "{}: {left}", program.name);
    });
}

#[test]
fn options_of_sockets_are_taken_and_bytes_pass() {
    each(|program| {
        let (origin, addr) = listener();
        let (port, sink) = (port(), LogSink::new());
        let text = config(
            port,
            &sink,
            &format!("{addr} tfo tcp-ut 5s source 127.0.0.1:20000-60000"),
            "    retry-on conn-failure\n    option tcpka\n",
        )
        .replace(
            "name door",
            "name door id 42 interface lo tfo mss 1400 defer-accept backlog 64 tcp-ut 5s nice 10",
        );
        let _proxy = Proxy::start(program, &text);
        let mut client = connect(port);
        client.write_all(b"x").expect("sent");
        let mut server = accept(&origin);
        assert_eq!(take(&mut server, 1), b"x");
        let size = socket2::SockRef::from(&client).tcp_mss().expect("a size");
        assert!(size <= 1400, "{}: {size}", program.name);
        let from = server.peer_addr().expect("an address").port();
        assert!((20000..=60000).contains(&from), "{}: {from}", program.name);
    });
}

#[test]
fn many_short_connections_leave_no_descriptor_behind() {
    each(|program| {
        let (origin, addr) = listener();
        let (port, sink) = (port(), LogSink::new());
        let proxy = Proxy::start(program, &config(port, &sink, &addr, ""));
        // A connection that was reset before it was accepted never comes to the server.
        std::thread::spawn(move || {
            for (i, server) in origin.incoming().flatten().enumerate() {
                let mut server: TcpStream = server;
                if i % 3 == 0 {
                    reset(server);
                } else {
                    let _ = server.write_all(b"bye");
                }
            }
        });
        for i in 0..400 {
            let mut client = connect(port);
            match i % 4 {
                0 => reset(client),
                1 => drop(client),
                _ => {
                    let _ = client.write_all(b"hello");
                    let _ = rest(&mut client);
                }
            }
        }
        proxy.wait_for("f", "FRONTEND", "scur", "0");
        proxy.wait_for("b", "BACKEND", "scur", "0");
        let pid = proxy.control("show info");
        let pid = pid
            .lines()
            .find_map(|l| l.strip_prefix("Pid: "))
            .expect("a pid")
            .to_string();
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let links = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("readable");
            let sockets = links.count();
            if sockets < 60 {
                break;
            }
            assert!(
                std::time::Instant::now() < end,
                "{}: {sockets}",
                program.name
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}
